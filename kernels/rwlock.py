"""KVM's mmu_lock: a spinning reader-writer lock among the host's own threads.

The module never sees it and the guest never takes it.  That is the root of the whole argument: it
orders AUG against BLOCK, and orders neither against TDH.VP.ENTER nor against TDG.MEM.PAGE.ACCEPT.

    7:0 a writer holds it     bit 8 a writer waits     63:9 readers that hold it, or are next

Fair as Linux's queued lock is: a reader that meets a writer is counted at once and goes when that
writer has gone, before another writer can; a writer that waits holds off readers that come later.
(Linux keeps a queue; the order among those who wait for the same thing is not modelled.)  Each
function takes effect in one compare-and-swap.

Source: Linux kernel/locking/qrwlock.c.
"""

from kernels import atomics
from kernels.compiling import kernel

WRITER, WAITING, READER = 1, 1 << 8, 1 << 9      # Linux's _QW_LOCKED (the byte that its unlock stores), _QW_WAITING, _QR_BIAS

TAKEN, QUEUED, NOT_YET = 0, 1, 2         # a taker goes on; waits for the writer; tries again


@kernel
def take_shared(address):
    """TAKEN; QUEUED (counted, and in as soon as WRITER is clear); NOT_YET (a writer waits)."""
    old = atomics.load64(address)
    while old & WRITER or not old & WAITING:
        seen = atomics.compare_swap64(address, old, old + READER)
        if seen == old:
            return QUEUED if old & WRITER else TAKEN
        old = seen
    return NOT_YET


@kernel
def take_exclusive(address):
    """TAKEN; or NOT_YET, with a note in the word that a writer waits."""
    old = atomics.load64(address)
    while True:
        free = old & ~WAITING == 0
        if not free and old & WAITING:
            return NOT_YET
        seen = atomics.compare_swap64(address, old, WRITER if free else old | WAITING)
        if seen == old:
            return TAKEN if free else NOT_YET
        old = seen


@kernel
def drop_shared(address):
    atomics.fetch_add64(address, -READER)


@kernel
def drop_exclusive(address):
    """Other waiting writers keep their note."""
    atomics.fetch_and64(address, ~WRITER)
