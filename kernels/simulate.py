"""The driver of virtual time: calls `step` for all actors of a run, in the order of a queue.

The simulated machine (simulated.py) has *processors*; an actor sits on one.  Each micro-op has a price in ticks.
The loop takes the actor that is due first and executes rows of it for as long as no other is due.  Only accesses
to shared words must keep the order of time: what an actor does to its own registers and records no other can see,
so such rows are executed together with the access before.

A processor's pace may change: for a while all its rows take so many times their price, drawn from a distribution.
And it may stall, for nothing that the model knows of (an interrupt of its own, a hypervisor): at random
instants, for a time from a distribution, locks held or not.  Whoever runs there then goes on later.

What is drawn, counted and recorded is as in real time (kernels/marks.py); a time stamp is the virtual clock.
"""

from typing import NamedTuple

import numpy as np

from kernels import atomics, durations, lines, marks, record, wheel
from kernels.compiling import kernel
from kernels.dice import GOLDEN, Dice, draw
from kernels.guest import mix
from kernels.machine import BLOCKED, CONTINUE, step
from kernels.marks import MEASURED, STOP, WARM_UP
from kernels.ops import Op, Register
from kernels.simulated import (
    BEGIN, CLOSED, END, GUEST_MODE, IN_GUEST, LIVE, NOW, OFF, ORDERED, OUTSIDE, PACE_SHIFT, PRICED, PRICE_SHIFT,
    REQUEST, RULE, SERVED, SLEEPS_FROM, SPINS, STALL, STALL_EVERY, STEPS, TURNS, WAITS, WAKES_EARLY, WHO, WRITES, YIELDING,
    dispatch, get_ready, give_way, interrupt, make_way, sleep, step_back, wait, wake,
)
from kernels.wheel import NOBODY

# Why `run` returns.
ALARM, TURN, QUIET, HALTED, RESET, UNKNOWN = range(6)
GOES_ON, NEXT = 6, 7             # it does not: the actor goes on, the next one is due

LINE_MASK = (1 << lines.LINE_SHIFT) - 1

DURATION_STREAM = 0x6A09_E667_F3BC_C908  # apart from the stream of choices
STALL_STREAM = 0x3C6E_F372_FE94_F82B
PACE_STREAM = 0x1F83_D9AB_FB41_BD6B

interpret = marks.interpreter(marks.as_given, draw, marks.by_the_clock)


class Code(NamedTuple):
    """What is executed.

    rows           (R,) of ops.ROW
    tags           int64 (R,), see simulated.py
    base           address of shared memory
    at             record.Tables
    answer_kinds   int64 (answers,): AnswerKind
    dice           dice.Dice, without a key
    lengths        durations.Durations
    """

    rows: np.ndarray
    tags: np.ndarray
    base: int
    at: record.Tables
    answer_kinds: np.ndarray
    dice: Dice
    lengths: durations.Durations


# --- what a processor does by itself ----------------------------------------------------------

@kernel
def stall_end(machine, code, processor, time):
    """A processor was to stall by now: until when it does (`time` or less: that is over); the next stall is drawn.

    A stall of control[STALL], a cost of the program, begins STALL_EVERY ticks after the last, on average.
    """
    control, processors = machine.control, machine.processors
    begins = processors[processor].stall_at
    processors[processor].stalls += 1
    word = (machine.lines.key ^ STALL_STREAM) + (processors[processor].stalls * len(processors) + processor) * 2 * GOLDEN
    over = begins + durations.draw(code.lengths, control[STALL], mix(word)) if begins else time
    processors[processor].stall_at = max(time, over) + 1 + durations.exponential_ticks(
        code.lengths.logarithms, control[STALL_EVERY], mix(word + GOLDEN))
    return over


@kernel
def pace_of(machine, processor, time):
    """(the pace of a processor, until when): each lasts for 1 << control[PACE_SHIFT] ticks."""
    if len(machine.paces) == 0:
        return lines.SPREAD_UNIT, wheel.NEVER
    window = time >> machine.control[PACE_SHIFT]
    word = mix((machine.lines.key ^ PACE_STREAM) + (window * len(machine.processors) + processor) * GOLDEN)
    return machine.paces[word & (1 << lines.SPREAD_BITS) - 1], window + 1 << machine.control[PACE_SHIFT]


# --- a row ------------------------------------------------------------------------------------

@kernel
def tell(machine, code, row, line, special, word, before, actor, time):
    """A write to a line that is awaited or a doorbell: wake those who wait, interrupt the vCPU.

    A write that leaves the word as it was is no news.  (Zeroing reaches beyond one word.)
    """
    after = atomics.load64(code.base + (word & ~7))
    if after == before and row.op != Op.ZERO_PAGE:
        return False
    if special & lines.AWAITED:
        wake(machine, line, time)
    vcpu = special >> lines.ACTOR_SHIFT
    asked = after & ~before & machine.control[REQUEST]
    if special & lines.DOORBELL and asked and vcpu != actor and word & LINE_MASK == 0:
        interrupt(machine, code.tags, vcpu, time)
    return True


@kernel
def spend(machine, code, row, tag, actor, time):
    """SPEND: (when the actor goes on, whether it is idle until then)."""
    actors, value = machine.actors, row.value
    ticks = code.lengths.table[value, 1]
    if code.lengths.table[value, 0] != durations.CONSTANT:
        actors[actor].draws += 1
        ticks = durations.draw(code.lengths, value, mix(
            (actors[actor].key ^ DURATION_STREAM) + actors[actor].draws * GOLDEN))
    if tag & IN_GUEST:
        actors[actor].owed += ticks              # it works in `before_access`, unless it is asked to leave
        ticks = 0
    in_turn = code.lengths.table[value, 4]
    if in_turn:                                  # its row is ORDERED, so whoever comes first is served first
        control = machine.control
        control[SERVED] = max(time, control[SERVED]) + in_turn
        time = control[SERVED]
    return time + ticks, row.width != 0


@kernel
def await_arrival(machine, row, tag, actor, time, left):
    """ARRIVE, but nothing has arrived yet: (when the actor goes on, whether it is idle until then)."""
    if tag & IN_GUEST:
        machine.actors[actor].owed = -(time + left)
        return time, False
    return time + left, row.width != 0


@kernel
def attend(machine, code, dice, row, signal, tag, registers, half, line, actor, time, pc):
    """What `step` leaves to a driver: (when the actor goes on, at which row, the half that counts, what next).

    What next is GOES_ON, NEXT, or why `run` returns.
    """
    control, actors, processors = machine.control, machine.actors, machine.processors
    crowded, processor = len(processors) < len(actors), actors[actor].processor
    scratch, until, sleeps = actors[actor].scratch, time, False
    registers[Register.PC] = pc
    if signal == BLOCKED:
        machine.queue.times[actor] = time
        wait(machine, line, actor)
        if tag & CLOSED and control[RULE] != YIELDING:
            actors[actor].place |= SPINS
        if crowded and processors[processor].first != NOBODY:
            make_way(machine, processor, actor, time)
        return time, pc, half, NEXT
    if interpret(row, signal, registers, scratch, half, code.at, code.answer_kinds, time, dice):
        return time, pc, half, GOES_ON
    if signal == Op.SPEND:
        until, sleeps = spend(machine, code, row, tag, actor, time)
    elif signal == Op.ARRIVE:
        left = marks.arrive(row, registers, scratch, code.at, time, dice)
        if left <= 0:
            actors[actor].owed = 0
        else:
            registers[Register.PC] = pc = row.otherwise
            until, sleeps = await_arrival(machine, row, tag, actor, time, left)
            early = control[WAKES_EARLY]         # what is left then is spun
            if early:
                sleeps = sleeps and left > 2 * early
                until -= early if sleeps else 0
    elif signal == Op.POLL:
        half = marks.poll(registers, scratch, half, actors[actor].halves, code.at, phase(control, time))
        actors[actor].counts_in = half
    elif signal == Op.YIELD:
        if crowded and processors[processor].first != NOBODY and (
                not tag & IN_GUEST or control[RULE] == YIELDING and actors[actor].owed == 0):
            step_back(machine, actor, time)
            return time, pc, half, NEXT
    elif signal == Op.STOP:
        control[LIVE] -= 1
        actors[actor].place = OFF
        dispatch(machine, processor, time)
        return time, pc, half, NEXT if control[LIVE] else QUIET
    elif signal == Op.RESET:
        wheel.push(machine.queue, actor, time)
        return time, pc, half, RESET
    else:
        return time, pc, half, HALTED if signal == Op.HALT else UNKNOWN
    if sleeps and crowded and until - time >= control[SLEEPS_FROM]:
        sleep(machine, actor, time, until)
        return until, pc, half, NEXT
    return until, pc, half, GOES_ON


@kernel
def phase(control, time):
    if time >= control[END]:
        return STOP
    return MEASURED if time >= control[BEGIN] else WARM_UP


@kernel
def before_access(machine, base, registers, tag, actor, time):
    """What comes before an access that others see: (when it comes, of that the guest's own work, whether it comes).

    The guest does the work that it owes, unless it is asked to leave.  An actor at the end of its time slice
    lets go of its processor where that may be, and a guest is asked to leave.
    """
    control, actors, processors = machine.control, machine.actors, machine.processors
    crowded, processor = len(processors) < len(actors), actors[actor].processor
    slack = 0
    if tag & IN_GUEST and actors[actor].owed != 0 \
            and not atomics.load64(base + registers[Register.KICK]) & control[REQUEST]:
        slack = actors[actor].owed
        if slack > 0:
            actors[actor].owed = 0
        else:
            slack = max(0, -slack - time)
            if crowded and slack > 0 and processors[processor].first != NOBODY:
                slack = 0
                processors[processor].slice_end = time       # below it is asked to leave
        time += slack
    if crowded and time >= processors[processor].slice_end and processors[processor].first != NOBODY:
        kick = base + registers[Register.KICK]
        if control[RULE] != OUTSIDE or not tag & (CLOSED | IN_GUEST) \
                and not atomics.load64(kick) & control[GUEST_MODE]:
            return time, slack, False
        if tag & IN_GUEST:
            atomics.fetch_or64(kick, control[REQUEST])
    return time, slack, True


# --- the loop ---------------------------------------------------------------------------------

@kernel
def go_on(machine, code, actor, steps):
    """Execute rows of the actor that is due, until another is or it lets go of its processor.

    Returns (micro-ops so far, NEXT or why `run` returns).
    """
    queue, actors, base = machine.queue, machine.actors, code.base
    processor, registers, half = actors[actor].processor, machine.registers[actor], actors[actor].counts_in
    dice = Dice(actors[actor].key, code.dice.choices, code.dice.thresholds, code.dice.aliases, code.dice.ticks,
                code.dice.logarithms)
    time, horizon, line = queue.clock[0], wheel.horizon(queue), 0
    if machine.control[STALL_EVERY] and time >= machine.processors[processor].stall_at:
        over = stall_end(machine, code, processor, time)
        if over > time:
            actors[actor].slack = 0
            wheel.push(queue, actor, over)
            return steps, NEXT
    pace, changes = pace_of(machine, processor, time)
    if machine.control[STALL_EVERY]:
        changes = min(changes, machine.processors[processor].stall_at)
    pc = np.uint32(registers[Register.PC])
    while True:
        tag, row = code.tags[pc], code.rows[pc]
        special, word, before = 0, 0, 0
        if tag & PRICED:
            word = registers[row.base] + row.offset
            line = (word >> lines.LINE_SHIFT) * lines.STRIDE
            time += lines.reach(machine.lines, line, processor, tag & WRITES != 0, time)
            if tag & WRITES:
                special = machine.lines.words[line] & lines.SPECIAL
                if special:
                    before = atomics.load64(base + (word & ~7))
        pc, signal = step(code.rows, pc, registers, base)
        steps += 1
        time += (tag >> PRICE_SHIFT) * pace + lines.SPREAD_UNIT // 2 >> lines.SPREAD_BITS
        if special and tell(machine, code, row, line, special, word, before, actor, time):
            horizon = wheel.horizon(queue)
        if tag & WAITS:
            if signal != BLOCKED:
                actors[actor].since = 0
            elif actors[actor].since == 0:
                actors[actor].since = time
        if signal != CONTINUE:
            time, pc, half, then = attend(machine, code, dice, row, signal, tag, registers, half, line, actor, time, pc)
            if then != GOES_ON:
                if then != NEXT:
                    machine.control[NOW], machine.control[WHO] = time, actor
                return steps, then

        tag = code.tags[pc]
        if tag & ORDERED:
            if time >= changes:                  # another pace, or a stall: seen to where this begins
                registers[Register.PC] = pc
                actors[actor].slack = 0
                wheel.push(queue, actor, time)
                return steps, NEXT
            time, slack, comes = before_access(machine, base, registers, tag, actor, time)
            if not comes or time >= horizon:
                registers[Register.PC] = pc
                if comes:
                    actors[actor].slack = slack
                    wheel.push(queue, actor, time)
                else:
                    step_back(machine, actor, time)
                return steps, NEXT


@kernel(entry=True)
def run(machine, code, turn):
    """Move actors until an alarm is due, none can move, or `turn` more micro-ops are done.

    Returns ALARM, TURN, QUIET (all have stopped, or none is due), HALTED, RESET or UNKNOWN (a row that
    this driver does not know); control[WHO] says which actor's row it was, control[NOW] when.  All of the
    machine, memory and records are changed in place, and the next call goes on where this one ended.
    """
    control, queue, actors = machine.control, machine.queue, machine.actors
    count, limit = len(actors), control[STEPS] + turn
    crowded = len(machine.processors) < count
    steps, then = control[STEPS], NEXT
    while then == NEXT:
        if steps >= limit:
            control[NOW] = queue.clock[0]
            then = TURN
            continue
        actor = wheel.pop(queue)
        time = queue.clock[0]
        if actor == NOBODY or actor == count:
            control[NOW] = time
            then = QUIET if actor == NOBODY else ALARM
        elif actor > count:
            queue.times[actor] = 0
            give_way(machine, code.tags, code.base, actor - count - 1, time)
        elif crowded and actors[actor].place & OFF:      # it has slept
            get_ready(machine, actor, time)
        else:
            control[TURNS] += 1
            steps, then = go_on(machine, code, actor, steps)
    control[STEPS] = steps
    return then


@kernel(entry=True)
def ask(machine, tags, word, vcpu, now):
    """What a coordinator does at the end of a phase: request, in its word, that a vCPU leave the guest."""
    atomics.fetch_or64(word, machine.control[REQUEST])
    interrupt(machine, tags, vcpu, now)


@kernel(entry=True)
def schedule(queue, node, time):
    """Put a node into the queue."""
    wheel.push(queue, node, time)


@kernel(entry=True)
def wake_line(machine, at, now):
    """Let all look again that wait for the line with its record at `at`."""
    if machine.lines.words[at] & lines.AWAITED:
        wake(machine, at, now)


@kernel(entry=True)
def make_ready(machine, actor, now):
    """Let an actor begin: on its processor if that is free, otherwise in line."""
    get_ready(machine, actor, now)
