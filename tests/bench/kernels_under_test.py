"""What `make bench` times, as loops that do the same as straight_line.c."""

import numpy as np

from kernels import atomics, locks
from kernels.compiling import kernel
from kernels.machine import CONTINUE, step
from kernels.ops import Op


@kernel(entry=True)
def pairs(entry, count, primitive, tally):
    """Take and drop an entry lock, as whole operations; returns how often that failed."""
    wrong = 0
    for _ in range(count):
        wrong += locks.entry_acquire_host(entry, primitive, tally) != locks.DONE
        wrong += locks.entry_release(entry, primitive, tally) != locks.DONE
    return wrong


@kernel(entry=True)
def augs(rows, start, registers, base, status, entry, free_word, page_type, count):
    """A call from its first micro-op to its end, `count` times, as a driver makes it; returns how often it failed."""
    wrong = 0
    for _ in range(count):
        pc = np.uint32(start)
        while True:
            pc, signal = step(rows, pc, registers, base)
            if signal == CONTINUE:
                continue
            if signal == Op.CALL_END:
                break
        wrong += registers[status] != 0
        atomics.store64(base + entry, free_word)
        atomics.store8(base + page_type, 0)
    return wrong
