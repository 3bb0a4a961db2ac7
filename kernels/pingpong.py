"""Ping-pong between two processors: the cost of a cache-line transfer."""

from kernels import atomics
from kernels.compiling import kernel


@kernel(entry=True)
def hand_over(address, mine, other, count):
    """Wait for `mine` in a word and write `other`, so many times."""
    for _ in range(count):
        while atomics.load64(address) != mine:
            atomics.pause()
        atomics.store64(address, other)
