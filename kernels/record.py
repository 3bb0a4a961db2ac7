"""What an actor measures: counters and histograms in private rows that a reader can merge.

Each actor writes only its own record, pages away from the others', with plain adds; the coordinator
reads at any time and adds the actors up.  A record is a flat array of 64-bit integers; where each
table of it begins depends on how many calls, answers, counters and spans the program has, which
`tables` works out.  A record has two halves, warm-up and measured, alike; which half an actor
writes is settled where nothing is in progress (Op.POLL).  An operation that goes on beyond that counts
wholly, with all its attempts, in the half in which the first of them was made; so each half is consistent
in itself.

    attempts[call]           CALL_BEGINs
    answered[call, answer]   CALL_ENDs, by the answer the call gave
    bugs[call, answer]       KVM_BUG_ONs, by what caused them
    operations[call]         runs of attempts that ended in an answer that is not BUSY, or were given up
    contended[call]          those that were refused with BUSY at least once
    waited[call]             ticks from the first BUSY answer of an operation to its end
    retries[call]            histogram: BUSY answers per operation
    latency[call]            histogram: ticks from an operation's first attempt to its end
    causes[call, cause]      BUSY answers by who caused them (kernels/blame.py)
    late_holds[call]         holds that were over their time when they refused another actor, each once
    contended_net[call]      operations with a BUSY that was not a preempted holder's
    counters[counter]        whatever a flow counts
    spans[span]              histogram: ticks from BEGIN to END

An *operation* is what a caller wants done (this page added, that epoch tracked), however many
attempts it takes.

Histograms have fixed buckets: values below 64 exactly, above that 32 buckets for each power of two,
so a percentile is off by at most 1 in 64 (the middle of its bucket).  Behind the buckets stand the
sum and the greatest value, exactly.
"""

from typing import NamedTuple

import numpy as np

from kernels import atomics
from kernels.compiling import kernel

SUB_BITS = 5
SUB_BUCKETS = 1 << SUB_BITS
VALUE_BITS = 44                                  # greater values count as 2**44 - 1 (an hour of ticks)
BUCKETS = (VALUE_BITS - SUB_BITS + 1) * SUB_BUCKETS
SUM, MAX = BUCKETS, BUCKETS + 1
HISTOGRAM = BUCKETS + 2                          # words of one histogram

WORD = 8
BUG_LOG = 16
LOGGED = 4                       # words of an entry of the log
CAUSES = 5                       # of BUSY, named in kernels/blame.py


class Tables(NamedTuple):
    """Where each table of a record begins, in words from the record's start (see `tables`)."""

    attempts: int
    answered: int
    bugs: int
    operations: int
    contended: int
    waited: int
    retries: int
    latency: int
    causes: int
    late_holds: int
    contended_net: int
    counters: int
    spans: int
    answers: int                 # width of `answered` and `bugs`
    half: int                    # words of one half
    busy_count: int              # from here on scratch, after both halves: BUSYs so far, by call
    counts_in: int               # address of the half in which the operation in progress counts, by call
    first_start: int             # when the operation in progress began, by call
    first_busy: int              # when it was first refused with BUSY, by call
    busy_net: int                # BUSYs so far that were not a preempted holder's, by call
    last_refusal: int            # who refused this operation last, by call: the actor, when its
                                 # call began, and the lock word; -1: nobody was seen
    late_hold: int               # the hold that was last found over its time: when that call began, and the holder
    span_start: int              # when the span in progress began, or 0
    intended: int                # when the next arrival is meant to begin, or 0 (kernels/arrivals.py)
    call_start: int
    bug_count: int               # KVM_BUG_ONs in this half so far, and of the first BUG_LOG of them:
    bug_log: int                 # when (ticks), which call, which answer
    log: int                     # how many calls and spans have ended in this half so far, and of the first `log_room` of
                                 # them: begin, end (ticks), call (a span: -1 - its number), answer
    seal: int                    # sequence and checksum of all words before (harness/engines/processes/record_seal.py)
    words: int                   # words of the whole record
    log_room: int                # 0: nothing is logged


def tables(calls: int, answers: int, counters: int, spans: int, log_room: int = 0) -> Tables:
    """The layout of a record for so many calls, answers, counters and spans, and so many ends that are logged."""
    sizes = {
        "attempts": calls, "answered": calls * answers, "bugs": calls * answers,
        "operations": calls, "contended": calls, "waited": calls,
        "retries": calls * HISTOGRAM, "latency": calls * HISTOGRAM,
        "causes": calls * CAUSES, "late_holds": calls, "contended_net": calls,
        "counters": counters, "spans": spans * HISTOGRAM,
    }
    offsets, at = {}, 0
    for name, size in sizes.items():
        offsets[name], at = at, at + size
    half = at
    at = 2 * half
    for name, size in {"busy_count": calls, "counts_in": calls, "first_start": calls, "first_busy": calls, "busy_net": calls,
                       "last_refusal": 3 * calls, "late_hold": 2, "span_start": spans, "intended": spans,
                       "call_start": 1, "bug_count": 1,
                       "bug_log": 3 * BUG_LOG, "log": 1 + LOGGED * log_room, "seal": 2}.items():
        offsets[name], at = at, at + size
    return Tables(**offsets, answers=answers, half=half, words=at, log_room=log_room)


@kernel
def bucket_of(value):
    """The bucket that counts `value`."""
    if value < 0:
        return 0
    if value >> VALUE_BITS != 0:
        return BUCKETS - 1
    if value < 2 * SUB_BUCKETS:
        return value
    shift = 63 - SUB_BITS - atomics.leading_zeros(value)
    return shift * SUB_BUCKETS + (value >> shift)


def bucket_range(bucket: int) -> tuple[int, int]:
    """The first value that a bucket counts, and the first that it does not."""
    if bucket < 2 * SUB_BUCKETS:
        return bucket, bucket + 1
    shift = bucket // SUB_BUCKETS - 1
    first = (bucket - shift * SUB_BUCKETS) << shift
    return first, first + (1 << shift)


@kernel
def add(address, amount):
    """Add to a word that only this actor writes."""
    atomics.store64(address, atomics.load64(address) + amount)


@kernel
def bump(address):
    """Add one to a word that only this actor writes."""
    atomics.store64(address, atomics.load64(address) + 1)


@kernel
def add_value(histogram, value):
    """Count `value` in the histogram at address `histogram`."""
    bump(histogram + WORD * bucket_of(value))
    add(histogram + WORD * SUM, value)
    if value > atomics.load64(histogram + WORD * MAX):
        atomics.store64(histogram + WORD * MAX, value)


@kernel
def begin_call(record, half, at, call, now):
    """An attempt begins; the first of an operation settles which half the operation counts in."""
    counts_in = record + WORD * (at.counts_in + call)
    if atomics.load64(record + WORD * (at.busy_count + call)) == 0:
        atomics.store64(counts_in, half)
    bump(atomics.load64(counts_in) + WORD * (at.attempts + call))
    atomics.store64(record + WORD * at.call_start, now)


@kernel
def log(record, at, begin, end, what, answer):
    """Note a call or a span that has ended, if it is among the first."""
    count = atomics.load64(record + WORD * at.log)
    if count < at.log_room:
        entry = record + WORD * (at.log + 1 + LOGGED * count)
        atomics.store64(entry, begin)
        atomics.store64(entry + WORD, end)
        atomics.store64(entry + 2 * WORD, what)
        atomics.store64(entry + 3 * WORD, answer)
        atomics.store64(record + WORD * at.log, count + 1)


@kernel
def half_of(record, at, call):
    """The half in which the operation counts that a call is part of."""
    return atomics.load64(record + WORD * (at.counts_in + call))


@kernel
def end_call(record, at, call, answer, busy, now):
    """An attempt has been answered; unless that was BUSY, its operation ends."""
    if at.log_room != 0:
        log(record, at, atomics.load64(record + WORD * at.call_start), now, call, answer)
    half = half_of(record, at, call)
    bump(half + WORD * (at.answered + call * at.answers + answer))
    busy_count = record + WORD * (at.busy_count + call)
    first_start = record + WORD * (at.first_start + call)
    first_busy = record + WORD * (at.first_busy + call)
    if busy:
        if atomics.load64(busy_count) == 0:
            atomics.store64(first_start, atomics.load64(record + WORD * at.call_start))
            atomics.store64(first_busy, now)
        bump(busy_count)
    else:
        started = atomics.load64(record + WORD * at.call_start)
        if atomics.load64(busy_count) == 0:
            bump(half + WORD * (at.operations + call))
            bump(half + WORD * (at.retries + call * HISTOGRAM))
        else:
            started = atomics.load64(first_start)
            settle(record, at, call, now)
        add_value(half + WORD * (at.latency + call * HISTOGRAM), now - started)


@kernel
def settle(record, at, call, now):
    """An operation with a BUSY is over: it succeeded, or it will not be tried again."""
    half = half_of(record, at, call)
    busy_count = record + WORD * (at.busy_count + call)
    retries = atomics.load64(busy_count)
    if retries == 0:
        return
    atomics.store64(busy_count, 0)
    bump(half + WORD * (at.operations + call))
    bump(half + WORD * (at.contended + call))
    if atomics.load64(record + WORD * (at.busy_net + call)) != 0:
        atomics.store64(record + WORD * (at.busy_net + call), 0)
        bump(half + WORD * (at.contended_net + call))
    add(half + WORD * (at.waited + call), now - atomics.load64(record + WORD * (at.first_busy + call)))
    add_value(half + WORD * (at.retries + call * HISTOGRAM), retries)


@kernel
def note_bug(record, half, at, call, answer, now):
    """A KVM_BUG_ON: counted by its cause, the first ones with their time."""
    bump(half + WORD * (at.bugs + call * at.answers + answer))
    count = atomics.load64(record + WORD * at.bug_count)
    bump(record + WORD * at.bug_count)
    if count < BUG_LOG:
        entry = record + WORD * (at.bug_log + 3 * count)
        atomics.store64(entry, now)
        atomics.store64(entry + WORD, call)
        atomics.store64(entry + 2 * WORD, answer)


@kernel
def forget_logs(record, at):
    """What is logged from here on is measured."""
    atomics.store64(record + WORD * at.bug_count, 0)
    atomics.store64(record + WORD * at.log, 0)


@kernel
def span_start(record, at, span):
    """When the span in progress began, or 0."""
    return atomics.load64(record + WORD * (at.span_start + span))


@kernel
def begin_span(record, at, span, now):
    """A span begins, unless it has: at `now`, which may be past."""
    start = record + WORD * (at.span_start + span)
    if atomics.load64(start) == 0:
        atomics.store64(start, now)


@kernel
def in_span(record, at, span):
    """Whether a span has begun."""
    return span_start(record, at, span) != 0


@kernel
def end_span(record, half, at, span, now):
    """End a span that has begun."""
    start = record + WORD * (at.span_start + span)
    if at.log_room != 0:
        log(record, at, atomics.load64(start), now, -1 - span, 0)
    add_value(half + WORD * (at.spans + span * HISTOGRAM), now - atomics.load64(start))
    atomics.store64(start, 0)


@kernel
def overdue(record, at, span, limit, now):
    """1 if a span has begun and has lasted for `limit` ticks or longer, else 0."""
    start = span_start(record, at, span)
    return 1 if start != 0 and now - start >= limit else 0


def quantile(histogram: np.ndarray, share: float) -> float:
    """The value below which `share` of the counted values lie; the middle of its bucket, at most MAX.

    histogram   int64 (HISTOGRAM,)
    Returns NaN for an empty histogram.
    """
    counts = histogram[:BUCKETS]
    total = int(counts.sum())
    if total == 0:
        return float("nan")
    rank = min(total - 1, int(share * total))
    bucket = int(np.searchsorted(np.cumsum(counts), rank, side="right"))
    first, after = bucket_range(bucket)
    return min((first + after - 1) / 2, float(histogram[MAX]))
