"""The driver of virtual time: calls `step` for all actors of a run, in the order of a queue.

The simulated machine has *processors*; an actor sits on one.  Each micro-op has a price in ticks.
The loop takes the actor that is due first and executes rows of it for as long as nobody else is
due.  Only accesses to shared words must keep the order of time: what an actor does to its own
registers and records no other can see, so such rows are executed together with the access before.

Whoever cannot go on is not asked again and again: `step` says BLOCKED, and the actor is put into the
list of those that wait for that cache line.  Every write to the line takes all of them off the list
and lets each look again; so no wake-up can be missed, and who looks first is the order in which they
began to wait.

An interrupt is a request that somebody else writes into a vCPU's kick word.  It reaches a vCPU that is
in the guest after the time that delivery takes, and cuts the guest's own work short; the rest is owed, and
done first when the guest is in again.  A guest that only waits for something to do owes nothing: it knows
until when it waits, wherever it is meanwhile.

With more actors than processors an actor runs until its time slice ends, it gives way (YIELD), it
sleeps (an idle SPEND or ARRIVE) or it waits for somebody with nothing locked.  Then the next one that
is ready gets the processor, in turn.  Who spins for a lock or with one (CLOSED rows) keeps its processor.
A guest that has nothing to do is asked to leave when another is ready.
Where a slice may end:

    ANYWHERE       before any access, with locks held or not
    OUTSIDE        as on real hardware: never inside a SEAMCALL, never with a spinning lock held; a
                   guest is interrupted, as by a timer, and gives way once it is out

What is drawn, counted and recorded is as in kernels/realtime.py; a time stamp is the virtual clock.
"""

from typing import NamedTuple

import numpy as np

from kernels import arrivals, atomics, durations, lines, record, wheel
from kernels.answers import AnswerKind
from kernels.compiling import kernel
from kernels.realtime import GOLDEN, choose
from kernels.guest import mix
from kernels.machine import BLOCKED, CONTINUE, step
from kernels.ops import Op, Register
from kernels.wheel import NOBODY

# A row's tag: what the loop must know before it executes the row.
ORDERED = 1                      # others see it, or it sees others: in the order of time
PRICED = 2                       # it reaches for a cache line
WRITES = 4                       # it needs the line for itself
IN_GUEST = 8                     # the guest's own row: an interrupt takes it out
CLOSED = 16                      # interrupts or preemption are off
WAITS = 32                       # it may have to wait
PRICE_SHIFT = 8                  # above: its price in ticks

OUTSIDE, ANYWHERE = 0, 1         # where a time slice may end

# Why `run` returns.
ALARM, TURN, QUIET, HALTED, RESET, UNKNOWN = range(6)

# Elements of `control`.
STEPS, LIVE, WHO, NOW, BEGIN, END, SLICE, SWITCH, INTERRUPT, HANDLED, RULE, REQUEST, GUEST_MODE, \
    WAKES, TURNS = range(15)
CONTROL = 15

LINE_MASK = (1 << lines.LINE_SHIFT) - 1

ON, PARKED, OFF, SPINS = 0, 1, 2, 4      # `place`: has its processor; or bits: waits for a line, has no
                                         # processor, keeps it while it waits
DURATION_STREAM = 0x6A09_E667_F3BC_C908  # apart from the stream of choices


class Actors(NamedTuple):
    """All actors; int64 arrays (actors,) unless said otherwise, changed in place.

    registers   (actors, REGISTERS)
    scratch     address of the record that holds what is in progress
    halves      address of the half of a record that counts now
    measured    address of the half that counts from the end of the warm-up on
    keys        of its random streams
    draws       durations drawn so far
    since       when it came to the row at which it waits; 0: it does not
    processor   which one it sits on
    place       ON, or bits PARKED, OFF and SPINS
    slack       ticks of guest work in what it is doing: an interrupt cuts them
    owed        ticks of guest work still to be done: the guest does them when it is next in;
                or less than 0: it has nothing to do until that time, negated
    behind      next in the list of waiters, or of those that are ready
    """

    registers: np.ndarray
    scratch: np.ndarray
    halves: np.ndarray
    measured: np.ndarray
    keys: np.ndarray
    draws: np.ndarray
    since: np.ndarray
    processor: np.ndarray
    place: np.ndarray
    slack: np.ndarray
    owed: np.ndarray
    behind: np.ndarray


class Processors(NamedTuple):
    """int64 (processors,) each: who runs there and ran last, until when, and who is ready (a list)."""

    running: np.ndarray
    last: np.ndarray
    slice_end: np.ndarray
    first: np.ndarray
    final: np.ndarray


# --- processors that are shared ---------------------------------------------------------------

@kernel
def dispatch(control, queue, actors, processors, processor, now):
    """Give a processor to the next one that is ready, if any."""
    actor = processors.first[processor]
    processors.running[processor] = actor
    if actor == NOBODY:
        return
    processors.first[processor] = actors.behind[actor]
    actors.place[actor] = ON
    start = now + (0 if processors.last[processor] == actor else control[SWITCH])
    processors.last[processor] = actor
    processors.slice_end[processor] = start + control[SLICE]
    wheel.push(queue, actor, start)


@kernel
def get_ready(control, queue, actors, processors, actor, now):
    """An actor without a processor can go on: it gets its processor, or stands in line."""
    processor = actors.processor[actor]
    actors.place[actor] = OFF
    actors.behind[actor] = NOBODY
    if processors.first[processor] == NOBODY:
        processors.first[processor] = actor
    else:
        actors.behind[processors.final[processor]] = actor
    processors.final[processor] = actor
    running = processors.running[processor]
    if running == NOBODY:
        dispatch(control, queue, actors, processors, processor, now)
    elif actors.place[running] & PARKED:
        make_way(control, queue, actors, processors, processor, running, now)
    elif actors.owed[running] < 0:
        look_soon(queue, actors, processor, now)


@kernel
def look_soon(queue, actors, processor, when):
    """Have the loop look then whether the one that a processor runs should give way (give_way)."""
    node = len(actors.place) + 1 + processor
    if queue.times[node] == 0:
        wheel.push(queue, node, when)


@kernel
def make_way(control, queue, actors, processors, processor, running, now):
    """The one that a processor runs only waits, and another is ready: now, at the end of its slice, or not."""
    if actors.place[running] & SPINS == 0:
        actors.place[running] |= OFF
        dispatch(control, queue, actors, processors, processor, now)
    elif control[RULE] == ANYWHERE:
        look_soon(queue, actors, processor, max(now, processors.slice_end[processor]))


@kernel
def sleep(control, queue, actors, processors, processor, actor, now, until):
    """An actor sleeps for a while; its processor is free meanwhile."""
    actors.slack[actor] = 0
    actors.place[actor] = OFF
    wheel.push(queue, actor, until)
    dispatch(control, queue, actors, processors, processor, now)


# --- waiting ----------------------------------------------------------------------------------

@kernel
def wait(table, actors, at, actor):
    """Put an actor at the end of those that wait for a line."""
    both = table.words[at + lines.WAITERS]
    actors.behind[actor] = NOBODY
    if table.words[at] & lines.AWAITED:
        actors.behind[both & wheel.TAIL] = actor
        table.words[at + lines.WAITERS] = both & ~wheel.TAIL | actor
    else:
        table.words[at + lines.WAITERS] = actor << 32 | actor
        table.words[at] |= lines.AWAITED
    actors.place[actor] |= PARKED


@kernel
def wake(control, queue, actors, processors, table, at, now):
    """Let all that wait for a line look again, in the order in which they began to wait."""
    actor = table.words[at + lines.WAITERS] >> 32
    table.words[at] &= ~lines.AWAITED
    while actor != NOBODY:
        behind = actors.behind[actor]
        control[WAKES] += 1
        actors.place[actor] &= OFF
        when = max(now, queue.times[actor])          # not before it has finished looking
        if actors.place[actor] == ON:
            wheel.push(queue, actor, when)
        else:
            get_ready(control, queue, actors, processors, actor, when)
        actor = behind


@kernel
def interrupt(control, queue, actors, rows_tags, vcpu, now):
    """An interrupt for a vCPU: if it is in the guest it stops there once it has been delivered."""
    if actors.place[vcpu] != ON or not rows_tags[actors.registers[vcpu, Register.PC]] & IN_GUEST:
        return
    due, slack = queue.times[vcpu], actors.slack[vcpu]
    arrives = max(now + control[INTERRUPT], due - slack)
    if arrives < due and actors.owed[vcpu] >= 0:
        actors.owed[vcpu] += due - arrives
    actors.slack[vcpu] = 0
    wheel.remove(queue, vcpu)
    wheel.push(queue, vcpu, arrives + control[HANDLED])


@kernel
def give_way(control, queue, actors, processors, tags, base, processor, now):
    """Another is ready: whoever only waits, or idles in the guest, must let go of the processor."""
    running = processors.running[processor]
    if processors.first[processor] == NOBODY or running == NOBODY:
        return
    if actors.place[running] & PARKED:
        actors.place[running] |= OFF
        dispatch(control, queue, actors, processors, processor, now)
    elif actors.owed[running] < 0 and tags[actors.registers[running, Register.PC]] & IN_GUEST:
        processors.slice_end[processor] = now
        atomics.fetch_or64(base + actors.registers[running, Register.KICK], control[REQUEST])
        interrupt(control, queue, actors, tags, running, now)


# --- the loop ---------------------------------------------------------------------------------

@kernel(entry=True)
def run(rows, tags, base, control, queue, actors, processors, table, lengths, at, answer_kinds,
        choices, thresholds, aliases, turn):
    """Move actors until an alarm is due, nobody can move, or `turn` more micro-ops are done.

    rows           (R,) of ops.ROW
    tags           int64 (R,), see above
    base           address of shared memory
    control        int64 (CONTROL,): elements named above
    queue          wheel.Wheel; nodes: actors, then the alarm, then processors
    actors, processors, table (lines.Lines), lengths (durations.Durations)
    at             record.Tables
    answer_kinds   int64 (answers,): AnswerKind
    choices, thresholds, aliases   plan.Choices
    Returns ALARM, TURN, QUIET (all have stopped, or nobody is due), HALTED, RESET or UNKNOWN (a row that
    this driver does not know); control[WHO] says whose row it was, control[NOW] when.  All arrays,
    memory and records are changed in place, and the next call goes on where this one ended.
    """
    count = len(actors.place)
    crowded = len(processors.running) < count
    steps, limit = control[STEPS], control[STEPS] + turn
    while True:
        if steps >= limit:
            reason = TURN
            control[NOW] = queue.clock[0]
            break
        actor = wheel.pop(queue)
        time = queue.clock[0]
        if actor >= count or actor == NOBODY:
            if actor == NOBODY or actor == count:
                reason = QUIET if actor == NOBODY else ALARM
                control[NOW] = time
                break
            queue.times[actor] = 0
            give_way(control, queue, actors, processors, tags, base, actor - count - 1, time)
            continue
        processor = actors.processor[actor]
        if crowded and actors.place[actor] & OFF:        # it has slept
            get_ready(control, queue, actors, processors, actor, time)
            continue

        control[TURNS] += 1
        registers = actors.registers[actor]
        scratch, half = actors.scratch[actor], actors.halves[actor]
        pc = np.uint32(registers[Register.PC])
        horizon = wheel.horizon(queue)
        slack = 0
        line = 0
        while True:
            here = pc
            tag = tags[here]
            row = rows[here]
            special, word, before = 0, 0, 0
            if tag & PRICED:
                word = registers[row.base] + row.offset
                line = (word >> lines.LINE_SHIFT) * lines.STRIDE
                time += lines.reach(table, line, processor, tag & WRITES != 0, time)
                if tag & WRITES:
                    special = table.words[line] & lines.SPECIAL
                    if special:
                        before = atomics.load64(base + (word & ~7))
            pc, signal = step(rows, here, registers, base)
            steps += 1
            time += tag >> PRICE_SHIFT
            # A write that leaves the word as it was is no news.  (Zeroing reaches beyond one word.)
            if special and (before != atomics.load64(base + (word & ~7)) or row.op == Op.ZERO_PAGE):
                if special & lines.AWAITED:
                    wake(control, queue, actors, processors, table, line, time)
                vcpu = special >> lines.WHOSE_SHIFT
                asked = atomics.load64(base + (word & ~7)) & ~before & control[REQUEST]
                if special & lines.DOORBELL and asked and vcpu != actor and word & LINE_MASK == 0:
                    interrupt(control, queue, actors, tags, vcpu, time)
                horizon = wheel.horizon(queue)

            if tag & WAITS:
                if signal != BLOCKED:
                    actors.since[actor] = 0
                elif actors.since[actor] == 0:
                    actors.since[actor] = time
            if signal != CONTINUE:
                value = row.value
                if signal == BLOCKED:
                    registers[Register.PC] = pc
                    queue.times[actor] = time
                    wait(table, actors, line, actor)
                    if tag & CLOSED:
                        actors.place[actor] |= SPINS
                    if crowded and processors.first[processor] != NOBODY:
                        make_way(control, queue, actors, processors, processor, actor, time)
                    break
                elif signal == Op.CALL_BEGIN:
                    registers[Register.CALL] = value
                    record.begin_call(scratch, half, at, value, time)
                elif signal == Op.CALL_END:
                    answer = registers[Register.ANSWER]
                    record.end_call(scratch, half, at, registers[Register.CALL], answer,
                                    answer_kinds[answer] >= AnswerKind.BUSY, time)
                elif signal == Op.COUNT:
                    record.bump(half + record.WORD * (at.counters + value))
                elif signal == Op.BEGIN:
                    record.begin_span(scratch, at, value, time)
                elif signal == Op.END:
                    if record.in_span(scratch, at, value):
                        record.end_span(scratch, half, at, value, time)
                elif signal == Op.OVERDUE:
                    registers[row.register] = record.overdue(scratch, at, value, lengths.table[row.mask, 1], time)
                elif signal == Op.SETTLE:
                    record.settle(scratch, half, at, value, time)
                elif signal == Op.BUG:
                    record.note_bug(scratch, half, at, registers[Register.CALL],
                                    registers[Register.ANSWER], time)
                elif signal == Op.CHOOSE:
                    registers[Register.DRAWS] += 1
                    start, outcomes = choices[value, 1], choices[value, 2]
                    registers[row.register] = choose(
                        choices[value, 0], outcomes, thresholds[start:], aliases[start:],
                        registers[row.register], mix(actors.keys[actor] + registers[Register.DRAWS] * GOLDEN))
                elif signal == Op.SPEND:
                    ticks = lengths.table[value, 1]
                    if lengths.table[value, 0] != durations.CONSTANT:
                        actors.draws[actor] += 1
                        ticks = durations.draw(lengths, value, mix(
                            (actors.keys[actor] ^ DURATION_STREAM) + actors.draws[actor] * GOLDEN))
                    if tag & IN_GUEST:
                        actors.owed[actor] += ticks          # it works below, unless it is asked to leave
                        ticks = 0
                    if crowded and row.width != 0:
                        registers[Register.PC] = pc
                        sleep(control, queue, actors, processors, processor, actor, time, time + ticks)
                        break
                    time += ticks
                elif signal == Op.ARRIVE:
                    word = mix(actors.keys[actor] + (registers[Register.DRAWS] + 1) * GOLDEN)
                    gap = durations.exponential_ticks(lengths.logarithms, lengths.table[row.mask, 1], word)
                    left = arrivals.arrive(scratch, at, value, row.match, gap, time)
                    if left <= 0:
                        registers[Register.DRAWS] += 1
                        actors.owed[actor] = 0
                    else:
                        pc = row.otherwise
                        if tag & IN_GUEST:
                            actors.owed[actor] = -(time + left)
                        elif crowded and row.width != 0:
                            registers[Register.PC] = pc
                            sleep(control, queue, actors, processors, processor, actor, time, time + left)
                            break
                        else:
                            time += left
                elif signal == Op.POLL:
                    registers[Register.STOPPING] = 1 if time >= control[END] else 0
                    if time >= control[BEGIN]:
                        half = actors.measured[actor]
                        actors.halves[actor] = half
                elif signal == Op.YIELD:
                    if crowded and processors.first[processor] != NOBODY and not tag & IN_GUEST:
                        registers[Register.PC] = pc
                        get_ready(control, queue, actors, processors, actor, time)
                        dispatch(control, queue, actors, processors, processor, time)
                        break
                elif signal == Op.STOP:
                    registers[Register.PC] = pc
                    control[LIVE] -= 1
                    actors.place[actor] = OFF
                    dispatch(control, queue, actors, processors, processor, time)
                    if control[LIVE] == 0:
                        control[STEPS], control[NOW] = steps, time
                        return QUIET
                    break
                elif signal == Op.RESET:
                    registers[Register.PC] = pc
                    wheel.push(queue, actor, time)
                    control[STEPS], control[NOW], control[WHO] = steps, time, actor
                    return RESET
                else:
                    registers[Register.PC] = pc
                    control[STEPS], control[NOW], control[WHO] = steps, time, actor
                    return HALTED if signal == Op.HALT else UNKNOWN

            tag = tags[pc]
            if tag & ORDERED:
                slack = 0
                if tag & IN_GUEST and actors.owed[actor] != 0 \
                        and not atomics.load64(base + registers[Register.KICK]) & control[REQUEST]:
                    slack = actors.owed[actor]
                    if slack > 0:
                        actors.owed[actor] = 0
                    else:
                        slack = max(0, -slack - time)
                        if crowded and slack > 0 and processors.first[processor] != NOBODY:
                            slack = 0
                            processors.slice_end[processor] = time       # below it is asked to leave
                    time += slack
                if crowded and time >= processors.slice_end[processor] \
                        and processors.first[processor] != NOBODY:
                    kick = base + registers[Register.KICK]
                    if control[RULE] == ANYWHERE or not tag & (CLOSED | IN_GUEST) \
                            and not atomics.load64(kick) & control[GUEST_MODE]:
                        registers[Register.PC] = pc
                        get_ready(control, queue, actors, processors, actor, time)
                        dispatch(control, queue, actors, processors, processor, time)
                        break
                    if tag & IN_GUEST:
                        atomics.fetch_or64(kick, control[REQUEST])
                if time >= horizon:
                    registers[Register.PC] = pc
                    actors.slack[actor] = slack
                    wheel.push(queue, actor, time)
                    break
    control[STEPS] = steps
    return reason


@kernel(entry=True)
def ask(base, word, request, queue, actors, control, tags, vcpu, now):
    """What a coordinator does at the end of a phase: request that a vCPU leave the guest."""
    atomics.fetch_or64(base + word, request)
    interrupt(control, queue, actors, tags, vcpu, now)


@kernel(entry=True)
def schedule(queue, node, time):
    """Put a node into the queue."""
    wheel.push(queue, node, time)


@kernel(entry=True)
def wake_line(control, queue, actors, processors, table, at, now):
    """Let all look again that wait for the line whose record is at `at`."""
    if table.words[at] & lines.AWAITED:
        wake(control, queue, actors, processors, table, at, now)


@kernel(entry=True)
def make_ready(control, queue, actors, processors, actor, now):
    """Let an actor begin: on its processor if that is free, otherwise in line."""
    get_ready(control, queue, actors, processors, actor, now)


assert ON == 0 and PARKED & OFF == PARKED & SPINS == OFF & SPINS == 0
