"""The rows that `step` leaves to a driver, interpreted in one place for all drivers.

    CALL_BEGIN CALL_END COUNT BEGIN END SETTLE BUG   write to the actor's record           } `interpreter`
    CHOOSE OVERDUE                                   write what is decided to a register   }
    POLL                                             whether to end, and where to record from here on
    ARRIVE                                           whether the next thing of an open loop is there

What remains to a driver itself is how time passes while an actor does nothing with the protocol (SPEND, YIELD,
what is left until an arrival) and how actors begin and end (RESET, STOP, HALT).

Drivers differ in three things, and each is an argument: the time (a clock, virtual time, none at all), the dice
(an actor's random stream, or what a search tries next), and the record (an actor's, or one that a search looks
at behind each move).
"""

from kernels import arrivals, dice as dices, record
from kernels.answers import AnswerKind
from kernels.compiling import kernel
from kernels.ops import Op, Register
from kernels.record import WORD

START_LINE, WARM_UP, MEASURED, STOP = 0, 1, 2, 3         # phases of a run


def interpreter(clock, choose, overdue):
    """The interpreter for a driver that says, by these kernels, what only a driver knows.

    clock(now)                            what time it is, where the driver says `now`
    choose(dice, row, registers)          the outcome of a CHOOSE row
    overdue(dice, row, own, at, now)      the outcome of an OVERDUE row: 0 or 1
    """
    @kernel
    def interpret(row, op, registers, own, half, at, answer_kinds, now, dice):
        """Do what a row asks for; returns False, with nothing done, for rows that are not for here.

        op             what `step` has signalled
        registers      the actor's
        own, half      addresses: its record, and the half of a record that counts now
        at             record.Tables
        answer_kinds   int64 (answers,): AnswerKind
        now, dice      for the driver's kernels
        """
        value = row.value
        if op == Op.CALL_BEGIN:
            registers[Register.CALL] = value
            record.begin_call(own, half, at, value, clock(now))
        elif op == Op.CALL_END:
            answer = registers[Register.ANSWER]
            busy = answer_kinds[answer] >= AnswerKind.BUSY
            record.end_call(own, at, registers[Register.CALL], answer, busy, clock(now))
        elif op == Op.COUNT:
            record.bump(half + WORD * (at.counters + value))
        elif op == Op.BEGIN:
            since = record.span_start(own, at, row.mask - 1) if row.mask else clock(now)
            record.begin_span(own, at, value, since)
        elif op == Op.END:
            if record.in_span(own, at, value):
                record.end_span(own, half, at, value, clock(now))
        elif op == Op.SETTLE:
            record.settle(own, at, value, clock(now))
        elif op == Op.BUG:
            record.note_bug(own, half, at, registers[Register.CALL], registers[Register.ANSWER], clock(now))
        elif op == Op.CHOOSE:
            registers[row.register] = choose(dice, row, registers)
        elif op == Op.OVERDUE:
            registers[row.register] = overdue(dice, row, own, at, clock(now))
        else:
            return False
        return True

    return interpret


@kernel
def as_given(now):
    """The clock of a driver that decides what time it is."""
    return now


@kernel
def by_the_clock(dice, row, own, at, now):
    """OVERDUE: whether the span has begun and has lasted for the cost that the row names."""
    return record.overdue(own, at, row.value, dice.ticks[row.mask], now)


@kernel
def poll(registers, own, half, halves, at, phase):
    """POLL, where nothing is in progress: whether to end; returns the half that counts from here on.

    halves   address of the first of the two halves: the warm-up's, and the one that is measured
    """
    registers[Register.STOPPING] = 1 if phase == STOP else 0
    measured = halves + WORD * at.half
    if phase == MEASURED and half != measured:
        record.forget_logs(own, at)
        return measured
    return half


@kernel
def arrive(row, registers, own, at, now, dice):
    """ARRIVE: ticks until the next thing of an open loop arrives; 0 or less: it has, and its span has begun."""
    left = arrivals.arrive(own, at, row.value, row.match, dices.interval(dice, row, registers), now)
    if left <= 0:
        registers[Register.DRAWS] += 1
    return left
