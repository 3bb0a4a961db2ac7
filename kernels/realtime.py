"""The driver of real processes: calls `step` for one actor, in real time, until it is done.

What `step` only reports is done here: time is spent by spinning or sleeping, choices are drawn from
the actor's own random stream, marks go to the actor's record, a blocked row is tried again after a
pause.  Two words at the start of shared memory belong to the coordinator:

    PHASE   start line, warm-up, measured, stop; an actor looks at it where nothing is in progress
            (Op.POLL)
    ABORT   not zero: give up wherever you are (a worker was killed, or the module has halted)
"""

import numpy as np

from kernels import arrivals, atomics, blame, record
from kernels.answers import AnswerKind
from kernels.compiling import kernel
from kernels.guest import mix
from kernels.machine import BLOCKED, CONTINUE, step
from kernels.ops import Op, Register
from kernels.words import TDHP

PHASE, READY, ABORT = 0, 64, 128     # bytes from the start of memory; a cache line each
CONTROL_BYTES = 192
START_LINE, WARM_UP, MEASURED, STOP = 0, 1, 2, 3
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

GOLDEN = -7046029254386353131    # 2**64 / golden ratio, odd: the step of SplitMix64's counter

WEIGHTED, SEQUENCE, SPLIT = 0, 1, 2      # kinds of choice


@kernel
def choose(kind, count, thresholds, aliases, previous, word):
    """One outcome below `count`.

    SEQUENCE   the next one
    WEIGHTED   with weights, by Walker's alias method: outcome i is i if the lower half of the random
               `word` is below thresholds[i], else aliases[i]
    SPLIT      evenly among the first aliases[0] if the lower half is below thresholds[0], else evenly
               among the others
    """
    if kind == SEQUENCE:
        return (previous + 1) % count
    fraction = word >> 32 & 0xFFFFFFFF
    if kind == SPLIT:
        first = aliases[0]
        if word & 0xFFFFFFFF < thresholds[0]:
            return fraction * first >> 32
        return first + (fraction * (count - first) >> 32)
    index = fraction * count >> 32
    return index if word & 0xFFFFFFFF < thresholds[index] else aliases[index]


@kernel
def count_bits(address, bytes_, bits):
    """How many 64-bit words of a stretch of memory have any of `bits`."""
    found = 0
    for place in range(address, address + bytes_, 8):
        if atomics.load64(place) & bits:
            found += 1
    return found


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


@kernel(entry=True)
def run(rows, registers, base, records, at, answer_kinds, costs, choices, thresholds, aliases,
        key, ticks_per_us, crowded, image, image_at, image_bytes, others):
    """Drive one actor from Register.PC until it stops, is aborted, or the module halts.

    rows            (R,) of ops.ROW
    registers       int64 (REGISTERS,), in shared memory so that others can see where it is
    base            address of shared memory
    records         address of this actor's record
    at              record.Tables
    answer_kinds    int64 (answers,): AnswerKind
    costs           int64: ticks, by cost
    choices         int64 (choices, 3): kind, first element in thresholds and aliases, count
    key             random stream of this actor
    crowded         whether workers share processors
    image           address of a fresh TD, its offset in memory, its bytes
    others          blame.Others
    Returns DONE, ABORTED or HALTED.  Changed in place: registers, memory, the record.
    """
    atomics.fetch_add64(base + READY, 1)
    while atomics.load64(base + PHASE) == START_LINE:
        if atomics.load64(base + ABORT) != NOT_ABORTED:
            return ABORTED
        atomics.sleep_us(START_LINE_CROWDED_US if crowded else START_LINE_US)
    pc = np.uint32(registers[Register.PC])
    half = records
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
                if atomics.load64(base + ABORT) != NOT_ABORTED:
                    return ABORTED
                atomics.sched_yield()
            continue

        registers[Register.PC] = pc
        row = rows[here]
        value = row.value
        if signal == Op.CALL_BEGIN:
            registers[Register.CALL] = value
            record.begin_call(records, half, at, value, atomics.ticks())
        elif signal == Op.CALL_END:
            answer = registers[Register.ANSWER]
            now, kind = atomics.ticks(), answer_kinds[answer]
            busy = kind >= AnswerKind.BUSY
            if busy and others.actors != 0:
                blame.note_busy(records, half, at, others, registers[Register.ME] - 1,
                                registers[Register.CALL], kind, registers[Register.CONTENDED], now)
            record.end_call(records, half, at, registers[Register.CALL], answer, busy, now)
            if atomics.load64(base + ABORT) != NOT_ABORTED:
                return ABORTED
        elif signal == Op.COUNT:
            record.bump(half + record.WORD * (at.counters + value))
        elif signal == Op.BEGIN:
            since = atomics.ticks()
            if row.mask != 0:        # as long ago as another span
                since = atomics.load64(records + record.WORD * (at.span_start + row.mask - 1))
            record.begin_span(records, at, value, since)
        elif signal == Op.END:
            if record.in_span(records, at, value):
                record.end_span(records, half, at, value, atomics.ticks())
        elif signal == Op.SETTLE:
            record.settle(records, half, at, value, atomics.ticks())
        elif signal == Op.BUG:
            record.note_bug(records, half, at, registers[Register.CALL], registers[Register.ANSWER],
                            atomics.ticks())
        elif signal == Op.CHOOSE:
            registers[Register.DRAWS] += 1
            start, count = choices[value, 1], choices[value, 2]
            registers[row.register] = choose(
                choices[value, 0], count, thresholds[start:], aliases[start:], registers[row.register],
                mix(key + registers[Register.DRAWS] * GOLDEN))
        elif signal == Op.SPEND:
            spend(costs[value], row.width != 0, ticks_per_us)
        elif signal == Op.POLL:
            phase = atomics.load64(base + PHASE)
            registers[Register.STOPPING] = 1 if phase == STOP else 0
            half = records if phase == WARM_UP else records + record.WORD * at.half
            if atomics.load64(base + ABORT) != NOT_ABORTED:
                return ABORTED
        elif signal == Op.YIELD:
            if crowded:
                atomics.sched_yield()
        elif signal == Op.OVERDUE:
            registers[row.register] = record.overdue(records, at, value, costs[row.mask], atomics.ticks())
        elif signal == Op.ARRIVE:
            word = mix(key + (registers[Register.DRAWS] + 1) * GOLDEN)
            left = arrivals.arrive(records, at, value, row.match, arrivals.interval(costs[row.mask], word),
                                   atomics.ticks())
            if left <= 0:
                registers[Register.DRAWS] += 1
            else:
                registers[Register.PC] = pc = row.otherwise
                left_us = left // ticks_per_us
                if row.width != 0 and left_us > 2 * WAKE_EARLY_US:
                    atomics.sleep_us(min(left_us - WAKE_EARLY_US, SLEEP_MOST_US))
                else:
                    atomics.pause()
        elif signal == Op.RESET:
            # What the old TD leaves behind in its SEPT entries (offset, mask bytes) is counted first.
            found = count_bits(base + registers[row.base] + row.offset, row.mask, TDHP)
            record.add(half + record.WORD * (at.counters + value), found)
            atomics.copy(base + registers[Register.TD] + image_at, image, image_bytes)
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
