"""The simulated machine: actors on processors, which they may have to share, lists of those that wait, and interrupts.

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
    YIELDING       anywhere, and whoever has waited for PATIENCE gives way, even inside a SEAMCALL or with a spinning
                   lock, and spins where it has to sleep for a moment only, or something arrives soon; a guest that has nothing to do gives way
                   without leaving, and comes back to a kick: as the processes of this harness do (realtime.py, SPINS_CROWDED,
                   SLEEP_FLOOR_US and WAKE_EARLY_US)
"""

from typing import NamedTuple

import numpy as np

from kernels import atomics, lines, wheel
from kernels.compiling import kernel
from kernels.ops import Register
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

# Elements of `control`.
STEPS, LIVE, WHO, NOW, BEGIN, END, SLICE, SWITCH, INTERRUPT, HANDLED, RULE, REQUEST, GUEST_MODE, \
    WAKES, TURNS, STALL_EVERY, STALL, SERVED, NOTICED, \
    PACE_SHIFT, SLEEPS_FROM, PATIENCE, WAKES_EARLY = range(23)
CONTROL = 23

ON, PARKED, OFF, SPINS, IDLES = 0, 1, 2, 4, 8    # `place`: has its processor; or bits: waits for a line, has no
                                                 # processor, keeps it while it waits, idles in the guest without one

assert ON == 0 and sum((PARKED, OFF, SPINS, IDLES)) == PARKED | OFF | SPINS | IDLES


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
    patient_until = machine.queue.times[running] + machine.control[PATIENCE]     # it began to wait then
    if machine.control[PATIENCE] and now < patient_until:
        look_soon(machine, processor, patient_until)
    elif machine.actors[running].place & SPINS == 0:
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
    """An actor that could go on lets the others of its processor go first; a guest that idles, until it has something to do."""
    actors = machine.actors
    if machine.control[RULE] == YIELDING and now < -actors[actor].owed:
        sleep(machine, actor, now, -actors[actor].owed)
        actors[actor].place |= IDLES
        return
    get_ready(machine, actor, now)
    dispatch(machine, actors[actor].processor, now)


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
    if actors[vcpu].place & IDLES:               # it looks when its turn comes
        wheel.remove(queue, vcpu)
        get_ready(machine, vcpu, now)
        return
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
        if machine.control[RULE] == YIELDING:            # it may have been woken, and wait again
            make_way(machine, processor, running, now)
        else:
            actors[running].place |= OFF
            dispatch(machine, processor, now)
    elif actors[running].owed < 0 and tags[machine.registers[running, Register.PC]] & IN_GUEST:
        if machine.control[RULE] == YIELDING:
            if now < -actors[running].owed:
                wheel.remove(machine.queue, running)
                step_back(machine, running, now)
            return
        processors[processor].slice_end = now
        atomics.fetch_or64(base + machine.registers[running, Register.KICK], machine.control[REQUEST])
        interrupt(machine, tags, running, now)
