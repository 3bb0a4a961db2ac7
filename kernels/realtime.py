"""The driver of real processes: calls `step` for one actor, in real time, until it is done.

What `step` only reports is done here: time is spent by spinning or sleeping, choices are drawn from
the actor's own random stream, marks go to the actor's record (kernels/marks.py), a blocked row is tried
again after a pause.  Two words at the start of shared memory belong to the coordinator:

    PHASE   start line, warm-up, measured, stop; an actor looks at it where nothing is in progress
            (Op.POLL)
    ABORT   not zero: give up wherever you are (a worker was killed, or the module has halted)
"""

from typing import NamedTuple

import numpy as np

from kernels import atomics, blame, dice, marks, record
from kernels.answers import AnswerKind
from kernels.compiling import kernel
from kernels.machine import BLOCKED, CONTINUE, step
from kernels.marks import START_LINE
from kernels.ops import Op, Register
from kernels.record import WORD
from kernels.words import TDHP

PHASE, READY, ABORT = 0, 64, 128     # bytes from the start of memory; a cache line each
CONTROL_BYTES = 192
NOT_ABORTED, WORKER_LOST, MODULE_HALTED = 0, 1, 2

DONE, ABORTED, HALTED = 0, 1, 2  # how `run` ended

START_LINE_US = 200              # how long to sleep between looks at the start line ...
START_LINE_CROWDED_US = 5_000    # ... where workers share processors
SPINS = 2000                     # tries of a blocked row before the processor is given up ...
SPINS_CROWDED = 20               # ... where workers share processors
CLOCK_BATCHES, CLOCK_READINGS = 20, 100
WAKE_EARLY_US = 200              # before an arrival; the rest is spun
SLEEP_MOST_US = 10_000           # an actor that waits for one looks up as often as that
SLEEP_FLOOR_US = 20              # shorter idle times are spun
UNREAD = 0                       # of a time: the clock has not been read yet


class Fresh(NamedTuple):
    """A fresh TD: the address of its image, its offset in memory, its bytes."""

    image: int
    offset: int
    size: int


@kernel
def clock(now):
    """What time it is, unless it has just been read."""
    return atomics.ticks() if now == UNREAD else now


interpret = marks.interpreter(clock, dice.draw, marks.by_the_clock)


@kernel
def aborted(base):
    return atomics.load64(base + ABORT) != NOT_ABORTED


@kernel
def line_up(base, crowded):
    """Wait at the start line; returns False if the run is given up there."""
    atomics.fetch_add64(base + READY, 1)
    while atomics.load64(base + PHASE) == START_LINE:
        if aborted(base):
            return False
        atomics.sleep_us(START_LINE_CROWDED_US if crowded else START_LINE_US)
    return True


@kernel
def spend(duration_ticks, idle, ticks_per_us):
    """Let time pass: busy as a processor in a call is, or idle as a thread that waits."""
    until = atomics.ticks() + duration_ticks
    if idle:
        duration_us = duration_ticks // ticks_per_us
        if duration_us >= SLEEP_FLOOR_US:
            atomics.sleep_us(duration_us)
    while atomics.ticks() < until:
        atomics.pause()


@kernel
def await_arrival(left_us, idle):
    """Let some of the time pass that is left until an arrival."""
    if idle and left_us > 2 * WAKE_EARLY_US:
        atomics.sleep_us(min(left_us - WAKE_EARLY_US, SLEEP_MOST_US))
    else:
        atomics.pause()


@kernel
def count_bits(address, bytes_, bits):
    """How many 64-bit words of a stretch of memory have any of `bits`."""
    found = 0
    for place in range(address, address + bytes_, 8):
        if atomics.load64(place) & bits:
            found += 1
    return found


@kernel
def rebuild(row, registers, base, half, at, fresh):
    """RESET: a fresh TD; what the old one leaves behind in its SEPT entries (offset, mask bytes) is counted first."""
    found = count_bits(base + registers[row.base] + row.offset, row.mask, TDHP)
    record.add(half + WORD * (at.counters + row.value), found)
    atomics.copy(base + registers[Register.TD] + fresh.offset, fresh.image, fresh.size)


@kernel(entry=True)
def run(rows, registers, base, own, at, answer_kinds, dice, others, ticks_per_us, crowded, fresh):
    """Drive one actor from Register.PC until it stops, is aborted, or the module halts.

    rows            (R,) of ops.ROW
    registers       int64 (REGISTERS,), in shared memory so that others can see where it is
    base            address of shared memory
    own             address of this actor's record; at: record.Tables
    answer_kinds    int64 (answers,): AnswerKind
    dice            dice.Dice; others: blame.Others
    crowded         whether workers share processors
    fresh           Fresh
    Returns DONE, ABORTED or HALTED.  Changed in place: registers, memory, the record.
    """
    if not line_up(base, crowded):
        return ABORTED
    pc = np.uint32(registers[Register.PC])
    half = own
    spins = 0
    patience = SPINS_CROWDED if crowded else SPINS
    while True:
        here = pc
        pc, signal = step(rows, here, registers, base)
        if signal == CONTINUE:
            registers[Register.PC] = pc
            continue

        if signal == BLOCKED:
            spins += 1
            if spins < patience:
                atomics.pause()
            else:
                spins = 0
                if aborted(base):
                    return ABORTED
                atomics.sched_yield()
            continue

        registers[Register.PC] = pc
        row, now = rows[here], UNREAD
        if signal == Op.CALL_END and others.actors != 0:
            kind = answer_kinds[registers[Register.ANSWER]]
            if kind >= AnswerKind.BUSY:
                now = atomics.ticks()
                blame.note_busy(own, at, others, registers[Register.ME] - 1, registers[Register.CALL], kind,
                                registers[Register.CONTENDED], now)
        if interpret(row, signal, registers, own, half, at, answer_kinds, now, dice):
            if signal == Op.CALL_END and aborted(base):
                return ABORTED
        elif signal == Op.SPEND:
            spend(dice.ticks[row.value], row.width != 0, ticks_per_us)
        elif signal == Op.POLL:
            half = marks.poll(registers, own, half, own, at, atomics.load64(base + PHASE))
            if aborted(base):
                return ABORTED
        elif signal == Op.YIELD:
            if crowded:
                atomics.sched_yield()
        elif signal == Op.ARRIVE:
            left = marks.arrive(row, registers, own, at, atomics.ticks(), dice)
            if left > 0:
                registers[Register.PC] = pc = row.otherwise
                await_arrival(left // ticks_per_us, row.width != 0)
        elif signal == Op.RESET:
            rebuild(row, registers, base, half, at, fresh)
        elif signal == Op.STOP:
            return DONE
        else:
            atomics.store64(base + ABORT, MODULE_HALTED)
            return HALTED


@kernel(entry=True)
def set_bits(address, bits):
    """Set bits of a 64-bit word that actors change too."""
    atomics.fetch_or64(address, bits)


@kernel(entry=True)
def read_clock():
    """The clock that actors use, for the coordinator to compare with its own.

    Returns (ticks now, ticks that one reading costs: of the fastest of many batches).
    """
    least = 1 << 62
    now = atomics.ticks()
    for _ in range(CLOCK_BATCHES):
        before = now
        for _ in range(CLOCK_READINGS):
            now = atomics.ticks()
        least = min(least, now - before)
    return now, least // CLOCK_READINGS
