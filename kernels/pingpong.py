"""Two processors and a clock: what a cache line's way from one to the other takes, and what keeps a processor from its work."""

from kernels import atomics
from kernels.compiling import kernel


@kernel(entry=True)
def hand_over(address, mine, other, count):
    """Wait for `mine` in a word and write `other`, so many times."""
    for _ in range(count):
        while atomics.load64(address) != mine:
            atomics.pause()
        atomics.store64(address, other)


@kernel(entry=True)
def round_trips(address, mine, other, ticks):
    """hand_over once for each element of `ticks`, int64, where the clock's ticks from one to the next are put."""
    before = atomics.ticks()
    for index in range(len(ticks)):
        while atomics.load64(address) != mine:
            atomics.pause()
        atomics.store64(address, other)
        now = atomics.ticks()
        ticks[index] = now - before
        before = now


@kernel(entry=True)
def gaps(least, duration, ticks):
    """Read the clock for `duration` ticks; what passes between two readings, if more than `least`, is put into `ticks`.

    Returns how many there were; those that there is no room for are counted only.
    """
    begin = now = atomics.ticks()
    count = 0
    while now - begin < duration:
        before, now = now, atomics.ticks()
        if now - before > least:
            if count < len(ticks):
                ticks[count] = now - before
            count += 1
    return count
