"""Who caused a BUSY: looked up by the actor that got it, at the moment it got it.

Nothing is added to a call that goes through.  An actor that is refused knows the lock word
(Register.CONTENDED).  Which row every other actor is about to execute stands in its registers, which
are shared memory, and which locks are held at a row is known from the program.  So it walks over the
others, finds who holds that word, and reads in the holder's record when its call began.

    RUNNING      the holder is within the time that its call's programmed work takes
    GONE         no actor holds the word any more: the holder went on at once.  (Or none did, as the
                 policy had injected the BUSY.)
    PREEMPTED    the operating system took the processor away from every holder: it is pinned to the
                 processor that this actor runs on, or it is in its call for longer than the call's
                 work and SLACK
    PRIORITY     the guest was refused because a host had asked first
    RECAPTURED   the holder is who it was at this operation's last BUSY, but in another call: it has
                 dropped the lock and won it again

PREEMPTED asks what a real host would have seen, where interrupts are off inside a call: a hold that
is over its time would have ended there, so no call would have been refused.  A BUSY that comes while
a preempted holder's time is not over yet would have come there too, and counts as RUNNING.

A vCPU holds some locks while its guest runs; how long is up to the guest, so there only the
processor tells.  An actor that was preempted right behind the instruction that took the lock still
seems to be about to take it; it is found out when an operation is refused again with nobody to be
seen.  What is read of another actor can be old by the time it is used (it works on), so a
single BUSY may be given to the wrong cause; that takes tens of nanoseconds, and calls take hundreds.
"""

from typing import NamedTuple

import numpy as np

from kernels import atomics
from kernels.answers import AnswerKind
from kernels.compiling import kernel
from kernels.ops import Register
from kernels.record import CAUSES, WORD, bump, half_of

RUNNING, GONE, PREEMPTED, PRIORITY, RECAPTURED = range(CAUSES)
CAUSE_NAMES = ("running", "gone", "preempted", "host_priority", "recaptured")

HOLD_WORDS = 3                   # of a row: first of its locks, first that is not, the call it is in
LOCK_WORDS = 3                   # of a lock: register, offset, how it is held:
SHARED, EXCLUSIVE, PERHAPS = 0, 1, 2     # PERHAPS: the row is about to take it, or just has

assert len(CAUSE_NAMES) == CAUSES


class Others(NamedTuple):
    """Where to look up what the other actors do.

    actors       how many there are; 0: nothing is looked up
    holds        int64 (rows, HOLD_WORDS)
    locks        int64 (locks, LOCK_WORDS)
    limits       int64 (calls + 1,): ticks after which a call in progress must have been preempted;
                 the last for rows that are in no call
    processors   int64 (actors,): which processor each is pinned to
    registers    address of the register files, `registers_bytes` apart
    records      address of the records, `records_bytes` apart
    """

    actors: int
    holds: np.ndarray
    locks: np.ndarray
    limits: np.ndarray
    processors: np.ndarray
    registers: int
    registers_bytes: int
    records: int
    records_bytes: int


@kernel
def note_busy(record, at, others, me, call, kind, word, now):
    """An attempt came back BUSY: count it by its cause.  Before record.end_call.

    others   Others
    me       this actor's number
    kind     AnswerKind: BUSY, BUSY_FOR_PRIORITY or INJECTED
    word     offset of the lock word from the start of memory
    """
    half = half_of(record, at, call)
    last = record + WORD * (at.last_refusal + 3 * call)          # holder, when its call began, word
    last_holder, last_start = atomics.load64(last), atomics.load64(last + WORD)
    again = (atomics.load64(record + WORD * (at.busy_count + call)) != 0
             and atomics.load64(last + 2 * WORD) == word)
    known = again and last_holder >= 0
    cause, holder, began = GONE, -1, 0
    # Whoever held it last time is the likeliest; with an exclusive holder the search is over.
    other = last_holder if known else 0
    for _ in range(others.actors if kind == AnswerKind.BUSY else 0):
        registers = others.registers + other * others.registers_bytes
        pc = atomics.load64(registers + WORD * Register.PC)
        for number in range(others.holds[pc, 0], others.holds[pc, 1]):
            base = atomics.load64(registers + WORD * others.locks[number, 0])
            if base + others.locks[number, 1] != word or other == me or cause == RUNNING:
                continue
            perhaps = others.locks[number, 2] == PERHAPS
            if perhaps and (not again or known and last_holder != other):
                continue
            began_now = atomics.load64(others.records + other * others.records_bytes + WORD * at.call_start)
            late = now - began_now > others.limits[others.holds[pc, 2]]
            late = late or others.processors[other] == others.processors[me]
            if perhaps and not late:
                continue
            cause, holder, began = PREEMPTED if late else RUNNING, other, began_now
            if others.locks[number, 2] == EXCLUSIVE:
                break
        if cause == RUNNING:
            break
        other = other + 1 if other + 1 < others.actors else 0

    if kind == AnswerKind.BUSY_FOR_PRIORITY:
        cause = PRIORITY
    elif cause == PREEMPTED:
        late_hold = record + WORD * at.late_hold
        if atomics.load64(late_hold) != began or atomics.load64(late_hold + WORD) != holder:
            bump(half + WORD * (at.late_holds + call))
            atomics.store64(late_hold, began)
            atomics.store64(late_hold + WORD, holder)
    elif cause == RUNNING and known and holder == last_holder and began != last_start:
        cause = RECAPTURED
    if cause != PREEMPTED:
        bump(record + WORD * (at.busy_net + call))
    atomics.store64(last, holder)
    atomics.store64(last + WORD, began)
    atomics.store64(last + 2 * WORD, word)
    bump(half + WORD * (at.causes + call * CAUSES + cause))
