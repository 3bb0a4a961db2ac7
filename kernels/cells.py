"""Many runs of a small world by real processes: a cell of memory for each run, gone through side by side.

A litmus test is a few accesses long, and what it asks about happens within nanoseconds.  So each process goes through
the cells one by one, all of them begin each cell together, each a few pauses earlier or later, and what a cell comes
to is looked at when the batch is over.  Rows are executed by `step` like anywhere else; marks are passed over
(cells_logged.py notes them, in runs of its own).  KVM's own
flows choose the pages of their scripts, one after the other, and end then (as in kernels/moves.py); a choice that the
search tries both ways is drawn.

The control words are bytes from the start of the block, a cache line each:

    BATCH      the number of the batch that may be run
    ARRIVED    how many processes have come to a cell, of all cells of the batch
    FINISHED   how many processes have gone through the batch
    STOPPED    not zero: give up
"""

from typing import NamedTuple

import numpy as np

from kernels import atomics
from kernels.compiling import kernel
from kernels.machine import BLOCKED, CONTINUE, step
from kernels.ops import Op, Register

BATCH, ARRIVED, FINISHED, STOPPED = 0, 64, 128, 192
CONTROL_BYTES = 256
DONE, WAITS, HALTED, ENDLESS = 0, 1, 2, 3        # how a process ended in a cell ...
NOT_RUN = 255                    # ... to which it has not come
LOOK_EVERY = 1 << 12             # tries of a row that waits, rows of a process, between looks at the clock
SPINS = 1 << 10                  # looks at the others before the processor is given up
ROWS_MOST = 1 << 24              # of a process in a cell: more is an endless loop
STUCK_MOST = 20                  # cells of a batch in which a process may wait or go round for ever


class Script(NamedTuple):
    """What a process chooses: the values of its script, the row at which it leaves then (0: it just stops), and by choice
    of the program how many outcomes are drawn from (0: the script says)."""

    values: np.ndarray
    leave: int
    branches: np.ndarray


@kernel
def mix(word):
    """The next random word (xorshift)."""
    word ^= word << 13
    word ^= word >> 7 & 0x01FF_FFFF_FFFF_FFFF
    return word ^ word << 17


@kernel
def choose(row, pc, registers, script, random):
    """CHOOSE: the row to go on at."""
    draws, branches = registers[Register.DRAWS], script.branches[row.value]
    if branches > 0:
        registers[row.register] = (random >> 32 & 0xFFFF) % branches
        return pc
    if draws >= script.values.size:
        registers[Register.DRAWS] = script.values.size + 1           # the script is over: the actor leaves instead
        return np.uint32(script.leave)
    registers[Register.DRAWS] = draws + 1
    registers[row.register] = script.values[draws]
    return pc


def walker(clock, access, mark):
    """`one`, for who notes what a process does, or does not; `to` is for these kernels.

    clock(to)                                      what time it is, when a row is begun
    access(to, here, row, registers, began)        a row has been executed
    mark(to, row, signal, registers)               a row that `step` only reports, beside those that are decided here
    """
    @kernel
    def one(rows, registers, base, script, random, limit_ns, stopped, to):
        """A process in a cell, to its end; `random`: of its free choices; `limit_ns`: how long a row may wait."""
        pc, tried, since, began = np.uint32(registers[Register.PC]), 0, 0, 0
        for _ in range(ROWS_MOST):
            here = pc
            row = rows[here]
            if tried == 0:
                began = clock(to)
            pc, signal = step(rows, here, registers, base)
            if signal == CONTINUE:
                tried = 0
                access(to, here, row, registers, began)
            elif signal == BLOCKED:
                if tried == 0:
                    since = atomics.monotonic_ns()
                tried += 1
                atomics.pause()
                if tried % LOOK_EVERY == 0:
                    atomics.sleep_us(1)
                    if atomics.monotonic_ns() - since > limit_ns or atomics.load64(stopped) != 0:
                        return WAITS
            elif signal == Op.STOP:
                return DONE
            elif signal == Op.HALT:
                return HALTED
            elif signal == Op.CHOOSE:
                random = mix(random)
                pc = choose(row, pc, registers, script, random)
            elif signal == Op.POLL:          # a vCPU stops once it has left, a host before it would choose
                last = script.values.size - (1 if script.leave == 0 else 0)
                registers[Register.STOPPING] = 1 if registers[Register.DRAWS] > last else 0
            elif signal == Op.OVERDUE:
                registers[row.register] = 0
            else:
                mark(to, row, signal, registers)
        return ENDLESS

    return one


@kernel
def no_time(to):
    return 0


@kernel
def no_access(to, here, row, registers, began):
    pass


@kernel
def no_mark(to, row, signal, registers):
    if signal == Op.CALL_BEGIN:
        registers[Register.CALL] = row.value


one = walker(no_time, no_access, no_mark)


@kernel
def together(block, processes, cell):
    """Wait until all processes have come to a cell; False if the batch is given up."""
    atomics.fetch_add64(block + ARRIVED, 1)
    looks = 0
    while atomics.load64(block + ARRIVED) < processes * (cell + 1):
        atomics.pause()
        looks += 1
        if looks % SPINS == 0:
            atomics.sleep_us(0)
            if atomics.load64(block + STOPPED) != 0:
                break
    return atomics.load64(block + STOPPED) == 0


@kernel(entry=True)
def batch(rows, start, registers, script, block, cells_at, stride, cells, processes, ended, random, spread, limit_ns):
    """One process's part of a batch: `cells` cells from block + cells_at on, `stride` bytes from one to the next.

    start, registers   its registers at the start of a cell, and to work with
    script             Script
    ended              (cells,) how it ended in each
    random, spread     a random word, and how many pauses at most it waits before a cell (a power of two less one)
    A batch with too many cells that do not end is given up.  Returns the next random word.
    """
    stuck = 0
    for cell in range(cells):
        for number in range(start.size):
            registers[number] = start[number]
        if not together(block, processes, cell):
            break
        random = mix(random)
        for _ in range(random >> 20 & spread):
            atomics.pause()
        ended[cell] = one(rows, registers, block + cells_at + cell * stride, script, random, limit_ns, block + STOPPED, 0)
        if ended[cell] != DONE:
            stuck += 1
            if stuck == STUCK_MOST:
                atomics.store64(block + STOPPED, 1)
    atomics.fetch_add64(block + FINISHED, 1)
    return random
