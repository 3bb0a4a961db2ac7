"""What the movement of cache lines costs: a word is quick to reach where it was last used.

Every cache line of shared memory has a record of a few words:

    [STATE]    who wrote it last (processor + 1, 0 for none), who else has a copy, flags, the actor of a doorbell
    [READY]    when the last transfer of it ends: two processors that want a line are served in turn
    [WAITERS]  actors that wait for a word in it (simulate.py)
    [SHARERS]  a bit for each processor that has a copy; with more than 64 processors, the number of
               a row of the table `copies`, given to a line when it is first shared

A processor that has the line pays nothing extra.  A read of a line that another wrote last, and a
write to a line of which others have copies, pay for one transfer: from the same socket, or from
another.  Capacity is not modelled: a line stays where it is until it is written.

How long a transfer takes may vary: `spread` has its length at so many quantiles, as multiples of the mean,
and which of them a transfer gets goes by when it begins, to whom and of what, scattered with the seed.  So
nothing has to be kept, and the same plan gives the same transfers.
"""

from typing import NamedTuple

import numpy as np

from kernels.compiling import kernel
from kernels.dice import GOLDEN
from kernels.guest import mix

STATE, READY, WAITERS, SHARERS = 0, 1, 2, 3      # words of a line's record ...
STRIDE = 4                                       # ... which has so many
LINE_SHIFT = 6                                   # bytes of a line, as a power of two

OWNER = 0xFFFF
COPY_NEAR = 1 << 16              # a processor of the owner's socket has a copy
COPY_FAR = 1 << 17               # one of another socket has
COPIES = COPY_NEAR | COPY_FAR
AWAITED = 1 << 18                # an actor waits for a word in it
DOORBELL = 1 << 19               # another's write to it interrupts a vCPU: the actor numbered above
ACTOR_SHIFT = 20
SPECIAL = AWAITED | DOORBELL | -1 << ACTOR_SHIFT

SPREAD_BITS = 10                 # quantiles of a transfer, as a power of two
SPREAD_UNIT = 1 << SPREAD_BITS   # the mean, in `spread`


class Lines(NamedTuple):
    """All lines, and what transfers cost.

    words      int64, STRIDE for each line
    copies     int64 (rows, words of a bit per processor); row 0 counts how many are given away
    sockets    int64 (processors,): which socket a processor sits in
    near, far  ticks of a transfer within a socket, and between two: means
    key        of the random stream of this machine
    spread     int64 (1 << SPREAD_BITS,): quantiles of a transfer in units of mean / SPREAD_UNIT; or (0,): all alike
    """

    words: np.ndarray
    copies: np.ndarray
    sockets: np.ndarray
    near: int
    far: int
    key: int
    spread: np.ndarray


def words_for(processors: int) -> int:
    """Words that hold a bit for each processor."""
    return -(-processors // 64)


@kernel
def has_copy(lines, at, processor):
    sharers = lines.words[at + SHARERS]
    if lines.copies.shape[1] == 1:
        return sharers >> processor & 1 != 0
    return sharers != 0 and lines.copies[sharers, processor >> 6] >> (processor & 63) & 1 != 0


@kernel
def note_copy(lines, at, processor):
    if lines.copies.shape[1] == 1:
        lines.words[at + SHARERS] |= 1 << processor
        return
    if lines.words[at + SHARERS] == 0:
        lines.copies[0, 0] += 1
        lines.words[at + SHARERS] = lines.copies[0, 0]
    lines.copies[lines.words[at + SHARERS], processor >> 6] |= 1 << (processor & 63)


@kernel
def forget_copies(lines, at):
    if lines.copies.shape[1] == 1:
        lines.words[at + SHARERS] = 0
        return
    for word in range(lines.copies.shape[1]):
        lines.copies[lines.words[at + SHARERS], word] = 0


@kernel
def reach(lines, at, processor, write, now):
    """The ticks that `processor` waits for the line with its record at `at`; it then has it.

    write   whether the access needs the line for itself (a failed compare-and-swap does too)
    """
    words = lines.words
    state = words[at]
    mine = processor + 1
    owner = state & OWNER
    if owner == mine and (not write or state & COPIES == 0):
        return 0
    if not write and state & COPIES and has_copy(lines, at, processor):
        return 0
    same_socket = owner == 0 or lines.sockets[owner - 1] == lines.sockets[processor]
    transfer = lines.near if same_socket and (state & COPY_FAR == 0 or not write) else lines.far
    if len(lines.spread):
        quantile = mix((lines.key ^ at) + (now + mine) * GOLDEN) & (1 << SPREAD_BITS) - 1
        transfer = transfer * lines.spread[quantile] >> SPREAD_BITS
    # A line that others only have copies of is handed out to any number of readers at once.
    begins = max(now, words[at + READY])
    waits = begins - now + transfer
    if write:
        if state & COPIES:
            forget_copies(lines, at)
        words[at] = state & SPECIAL | mine
        words[at + READY] = begins + transfer
    else:
        if state & COPIES == 0:
            words[at + READY] = begins + transfer
        note_copy(lines, at, processor)
        words[at] = state | (COPY_NEAR if same_socket else COPY_FAR)
    return waits
