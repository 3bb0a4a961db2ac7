"""The driver of virtual time: calls `step` for all actors of a run, in the order of a queue.

The simulated machine has *processors*; an actor sits on one.  Each micro-op has a price in ticks.
The loop takes the actor that is due first and executes rows of it for as long as no other is due.  Only accesses to shared words must keep the order of time: what an actor does to its own
registers and records no other can see, so such rows are executed together with the access before.

Whoever cannot go on is not asked again and again: `step` says BLOCKED, and the actor is put into the
list of those that wait for that cache line.  Every write to the line takes all of them off the list
and lets each look again; so no wake-up can be missed, and who looks first is the order in which they
began to wait.

An interrupt is a request that another actor writes into a vCPU's kick word.  It reaches a vCPU that is
in the guest after the time that delivery takes, and cuts the guest's own work short; the rest is owed, and
done first when the guest is in again.  A guest that only waits for something to do owes nothing: it knows
until when it waits, wherever it is meanwhile.

With more actors than processors an actor runs until its time slice ends, it gives way (YIELD), it
sleeps (an idle SPEND or ARRIVE) or it waits for another with nothing locked.  Then the next one that
is ready gets the processor, in turn.  Who spins for a lock or with one (CLOSED rows) keeps its processor.
A guest that has nothing to do is asked to leave when another is ready.
Where a slice may end:

    ANYWHERE       before any access, with locks held or not
    OUTSIDE        as on real hardware: never inside a SEAMCALL, never with a spinning lock held; a
                   guest is interrupted, as by a timer, and gives way once it is out
    YIELDING       anywhere, and whoever has to wait gives way at once, even inside a SEAMCALL or with a spinning
                   lock, and spins where it has to sleep for a moment only: as the processes of this harness do
                   (realtime.py, SPINS_CROWDED and SLEEP_FLOOR_US)

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
from kernels.wheel import NOBODY

# A row's tag: what the loop must know before it executes the row.
ORDERED = 1                      # others see it, or it sees others: in the order of time
PRICED = 2                       # it reaches for a cache line
WRITES = 4                       # it needs the line for itself
IN_GUEST = 8                     # the guest's own row: an interrupt takes it out
CLOSED = 16                      # interrupts or preemption are off
WAITS = 32                       # it may have to wait
PRICE_SHIFT = 8                  # above: its price in ticks

OUTSIDE, ANYWHERE, YIELDING = 0, 1, 2    # where a time slice may end

# Why `run` returns.
ALARM, TURN, QUIET, HALTED, RESET, UNKNOWN = range(6)
GOES_ON, NEXT = 6, 7             # it does not: the actor goes on, the next one is due

# Elements of `control`.
STEPS, LIVE, WHO, NOW, BEGIN, END, SLICE, SWITCH, INTERRUPT, HANDLED, RULE, REQUEST, GUEST_MODE, \
    WAKES, TURNS, STALL_EVERY, STALL, SERVED, NOTICED, \
    PACE_SHIFT, SLEEPS_FROM = range(21)
CONTROL = 21

LINE_MASK = (1 << lines.LINE_SHIFT) - 1

ON, PARKED, OFF, SPINS = 0, 1, 2, 4      # `place`: has its processor; or bits: waits for a line, has no
                                         # processor, keeps it while it waits
DURATION_STREAM = 0x6A09_E667_F3BC_C908  # apart from the stream of choices
STALL_STREAM = 0x3C6E_F372_FE94_F82B
PACE_STREAM = 0x1F83_D9AB_FB41_BD6B

interpret = marks.interpreter(marks.as_given, draw, marks.by_the_clock)


# One record for each actor, changed in place:
#     scratch     address of the record that holds what is in progress
#     halves      address of the first of the two halves of its record
#     counts_in   address of the half that counts now
#     key         of its random streams
#     draws       durations drawn so far
#     since       when it came to the row at which it waits; 0: it does not
#     processor   which one it sits on
#     place       ON, or bits PARKED, OFF and SPINS
#     slack       ticks of guest work in what it is doing: an interrupt cuts them
#     owed        ticks of guest work still to be done: the guest does them when it is next in;
#                 or less than 0: it has nothing to do until that time, negated
#     behind      next in the list of waiters, or of those that are ready
ACTOR = np.dtype([(name, np.int64) for name in (
    "scratch", "halves", "counts_in", "key", "draws", "since", "processor", "place", "slack", "owed", "behind")])

# One for each processor: who runs there and ran last, until when, and who is ready (first and last of a list);
# when it stalls next, and how often it has drawn that.
PROCESSOR = np.dtype([(name, np.int64) for name in ("running", "last", "slice_end", "first", "final", "stall_at", "stalls")])


class Machine(NamedTuple):
    """The simulated machine: all that changes while it runs, but memory.

    control      int64 (CONTROL,): elements named above
    queue        nodes: actors, then the alarm, then processors
    registers    int64 (actors, REGISTERS)
    actors       (actors,) of ACTOR
    processors   (processors,) of PROCESSOR
    paces        int64 (1 << lines.SPREAD_BITS,): quantiles of the pace, in units of 1 / lines.SPREAD_UNIT; or (0,): always 1
    """

    control: np.ndarray
    queue: wheel.Wheel
    registers: np.ndarray
    actors: np.ndarray
    processors: np.ndarray
    lines: lines.Lines
    paces: np.ndarray


class Code(NamedTuple):
    """What is executed.

    rows           (R,) of ops.ROW
    tags           int64 (R,), see above
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


# --- processors that are shared ---------------------------------------------------------------

@kernel
def dispatch(machine, processor, now):
    """Give a processor to the next one that is ready, if any."""
    control, actors, processors = machine.control, machine.actors, machine.processors
    actor = processors[processor].first
    processors[processor].running = actor
    if actor == NOBODY:
        return
    processors[processor].first = actors[actor].behind
    actors[actor].place = ON
    start = now + (0 if processors[processor].last == actor else control[SWITCH])
    processors[processor].last = actor
    processors[processor].slice_end = start + control[SLICE]
    wheel.push(machine.queue, actor, start)


@kernel
def get_ready(machine, actor, now):
    """An actor without a processor can go on: it gets its processor, or stands in line."""
    actors, processors = machine.actors, machine.processors
    processor = actors[actor].processor
    actors[actor].place = OFF
    actors[actor].behind = NOBODY
    if processors[processor].first == NOBODY:
        processors[processor].first = actor
    else:
        actors[processors[processor].final].behind = actor
    processors[processor].final = actor
    running = processors[processor].running
    if running == NOBODY:
        dispatch(machine, processor, now)
    elif actors[running].place & PARKED:
        make_way(machine, processor, running, now)
    elif actors[running].owed < 0:
        look_soon(machine, processor, now)


@kernel
def look_soon(machine, processor, when):
    """Have the loop look then whether the one that a processor runs should give way (give_way)."""
    node = len(machine.actors) + 1 + processor
    if machine.queue.times[node] == 0:
        wheel.push(machine.queue, node, when)


@kernel
def make_way(machine, processor, running, now):
    """The one that a processor runs only waits, and another is ready: now, at the end of its slice, or not."""
    if machine.actors[running].place & SPINS == 0:
        machine.actors[running].place |= OFF
        dispatch(machine, processor, now)
    elif machine.control[RULE] == ANYWHERE:
        look_soon(machine, processor, max(now, machine.processors[processor].slice_end))


@kernel
def sleep(machine, actor, now, until):
    """An actor sleeps for a while; its processor is free meanwhile."""
    machine.actors[actor].slack = 0
    machine.actors[actor].place = OFF
    wheel.push(machine.queue, actor, until)
    dispatch(machine, machine.actors[actor].processor, now)


@kernel
def step_back(machine, actor, now):
    """An actor that could go on lets the others of its processor go first."""
    get_ready(machine, actor, now)
    dispatch(machine, machine.actors[actor].processor, now)


# --- waiting ----------------------------------------------------------------------------------

@kernel
def wait(machine, at, actor):
    """Put an actor at the end of those that wait for a line."""
    actors, words = machine.actors, machine.lines.words
    both = words[at + lines.WAITERS]
    actors[actor].behind = NOBODY
    if words[at] & lines.AWAITED:
        actors[both & wheel.TAIL].behind = actor
        words[at + lines.WAITERS] = both & ~wheel.TAIL | actor
    else:
        words[at + lines.WAITERS] = actor << 32 | actor
        words[at] |= lines.AWAITED
    actors[actor].place |= PARKED


@kernel
def wake(machine, at, now):
    """Let all that wait for a line look again, in the order in which they began to wait."""
    actors, words = machine.actors, machine.lines.words
    actor = words[at + lines.WAITERS] >> 32
    words[at] &= ~lines.AWAITED
    while actor != NOBODY:
        behind = actors[actor].behind
        machine.control[WAKES] += 1
        actors[actor].place &= OFF
        when = max(now + machine.control[NOTICED], machine.queue.times[actor])     # not before it has finished looking
        if actors[actor].place == ON:
            wheel.push(machine.queue, actor, when)
        else:
            get_ready(machine, actor, when)
        actor = behind


@kernel
def interrupt(machine, tags, vcpu, now):
    """An interrupt for a vCPU: if it is in the guest it stops there once it has been delivered."""
    control, queue, actors = machine.control, machine.queue, machine.actors
    if actors[vcpu].place != ON or not tags[machine.registers[vcpu, Register.PC]] & IN_GUEST:
        return
    due, slack = queue.times[vcpu], actors[vcpu].slack
    arrives = max(now + control[INTERRUPT], due - slack)
    if arrives < due and actors[vcpu].owed >= 0:
        actors[vcpu].owed += due - arrives
    actors[vcpu].slack = 0
    wheel.remove(queue, vcpu)
    wheel.push(queue, vcpu, arrives + control[HANDLED])


@kernel
def give_way(machine, tags, base, processor, now):
    """Another is ready: whoever only waits, or idles in the guest, must let go of the processor."""
    actors, processors = machine.actors, machine.processors
    running = processors[processor].running
    if processors[processor].first == NOBODY or running == NOBODY:
        return
    if actors[running].place & PARKED:
        actors[running].place |= OFF
        dispatch(machine, processor, now)
    elif actors[running].owed < 0 and tags[machine.registers[running, Register.PC]] & IN_GUEST:
        processors[processor].slice_end = now
        atomics.fetch_or64(base + machine.registers[running, Register.KICK], machine.control[REQUEST])
        interrupt(machine, tags, running, now)


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
    elif signal == Op.POLL:
        half = marks.poll(registers, scratch, half, actors[actor].halves, code.at, phase(control, time))
        actors[actor].counts_in = half
    elif signal == Op.YIELD:
        if crowded and processors[processor].first != NOBODY and not tag & IN_GUEST:
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


assert ON == 0 and PARKED & OFF == PARKED & SPINS == OFF & SPINS == 0
