"""What must be true of a whole result: counts that add up, rates that follow from them, quantiles that ascend.

Each is a row of RULES (of a result), CALL_RULES (of a call) or SUMMARY_RULES (of a histogram's summary).
A result that breaks one is UNTRUSTWORTHY when it is made (trust.py), and refused with the key when it
is read and does not say so itself (store.py).

To add a rule: add a row, and a result that breaks it in tests/results/test_consistency.py.
"""

import functools
import math
from typing import Any, Callable, Iterator, NamedTuple

from pydantic import BaseModel

from harness.results.schema import (
    HANGS_LOGGED, SHARES, Busy, Causes, Part, Result, Summary, net_of_preempted, samples_needed,
)


KICKS_OVER_THE_ENDS = 4          # of a vCPU: one at the beginning, one at the end, and a worker may be late at both


class Rule(NamedTuple):
    """What must be true of a whole result, or of one of its calls.

    key     what is wrong where it is not true
    holds   of the Call, or the Result
    must    the sentence
    exact   asked only where every attempt was answered (invariants.conservation is 0): a worker that
            was lost, or a module that has shut down, leaves attempts without an answer
    """

    key: str
    holds: Callable[[Any], bool]
    must: str
    exact: bool = False


def _add_up(causes: Causes | None, total: int) -> bool:
    return causes is None or causes.total() == total


def _is_ratio(value: float | None, part: int, whole: int) -> bool:
    return value is None if not whole else value is not None and math.isclose(value, part / whole, rel_tol=1e-6)


def _total(result: Result, key: str) -> int:
    return sum(getattr(call, key) for call in result.host_calls.values())


def _net_is_ratio(busy: Busy) -> bool:
    answers, attempts = (net_of_preempted(count, busy.by_cause) for count in (busy.answers, busy.attempts))
    return _is_ratio(busy.net.per_attempt, answers or 0, attempts or 0)


def _net_is_share(busy: Busy) -> bool:
    """Of operations with BUSY, those count that had one without a preempted holder."""
    if busy.by_cause is None or not busy.operations:
        return busy.net.per_operation is None
    return busy.net.per_operation is not None and busy.net.per_operation <= busy.per_operation


def _stored(result: Result, kind: str, summaries: dict[str, Summary]) -> bool:
    """Whether the histograms of a kind hold as many values as their summaries say."""
    stored = getattr(result.histograms, kind)
    return all(each.count == (summaries[name].count if name in summaries else 0)
               for name, each in stored.items()) \
        and all(name in stored for name, summary in summaries.items() if summary.count)


def _is_of_a_histogram(s: Summary) -> bool:
    """Whether each quantile is there that has enough samples, and they ascend."""
    quantiles = [getattr(s, key) for key in SHARES if s.count >= samples_needed(key)] + [s.max] * (s.count > 0)
    return None not in quantiles and quantiles == sorted(quantiles) \
        and sum(getattr(s, key) is not None for key in (*SHARES, "max")) == len(quantiles)


SUMMARY_RULES = (
    Rule("", _is_of_a_histogram, "must have ascending quantiles, each where one sample or more is expected beyond it"),
)
CALL_RULES = (
    Rule("success", lambda c: c.success <= c.attempts, "must be at most attempts"),
    Rule("busy", lambda c: c.busy <= c.attempts, "must be at most attempts"),
    Rule("other", lambda c: c.other <= c.attempts, "must be at most attempts"),
    Rule("attempts", lambda c: c.success + c.busy + c.other <= c.attempts, "must be at least success + busy + other"),
    Rule("attempts", lambda c: c.success + c.busy + c.other == c.attempts, "must be success + busy + other", exact=True),
    Rule("busy_by_operand", lambda c: sum(c.busy_by_operand.values()) == c.busy, "must add up to busy"),
    Rule("busy_by_cause", lambda c: _add_up(c.busy_by_cause, c.busy), "must add up to busy", exact=True),
    Rule("other_by_status", lambda c: sum(c.other_by_status.values()) == c.other, "must add up to other"),
    Rule("contended", lambda c: c.contended <= c.operations, "must be at most operations"),
    Rule("retries.count", lambda c: c.retries.count == c.operations, "must be operations"),
    Rule("latency_ns.count", lambda c: c.latency_ns.count <= c.operations, "must be at most operations"),
)
RULES = (
    Rule("busy.answers", lambda r: r.busy.answers == _total(r, "busy"), "must be busy of all SEAMCALLs"),
    Rule("busy.attempts", lambda r: r.busy.attempts == _total(r, "attempts"), "must be attempts of all SEAMCALLs"),
    Rule("busy.operations", lambda r: r.busy.operations == _total(r, "operations"),
         "must be operations of all SEAMCALLs"),
    Rule("busy.per_attempt", lambda r: _is_ratio(r.busy.per_attempt, r.busy.answers, r.busy.attempts),
         "must be answers / attempts"),
    Rule("busy.per_operation", lambda r: _is_ratio(r.busy.per_operation, _total(r, "contended"), r.busy.operations),
         "must be contended operations / operations"),
    Rule("busy.retries_max", lambda r: r.busy.retries_max == max(
        (call.retries.max or 0 for call in r.host_calls.values()), default=0), "must be the greatest of all SEAMCALLs"),
    Rule("busy.by_cause", lambda r: _add_up(r.busy.by_cause, r.busy.answers), "must add up to answers", exact=True),
    Rule("busy.net.per_attempt", lambda r: _net_is_ratio(r.busy), "must be answers / attempts, both without by_cause.preempted", exact=True),
    Rule("busy.net.per_operation", lambda r: _net_is_share(r.busy), "must be at most per_operation", exact=True),
    Rule("busy.late_holds", lambda r: (r.busy.late_holds is None) == (r.busy.by_cause is None),
         "must be known where by_cause is, and there only"),
    Rule("zero_step.armed_per_million_faults", lambda r: (r.zero_step.armed_per_million_faults is None)
         == (r.zero_step.private_faults == 0) and (not r.zero_step.private_faults or math.isclose(
             r.zero_step.armed_per_million_faults, 1e6 * r.zero_step.armed / r.zero_step.private_faults, abs_tol=0.06)),
         "must be armed / private_faults"),
    Rule("kicks.guest_time_lost_share", lambda r: r.kicks.guest_time_lost_share
         <= 1 + KICKS_OVER_THE_ENDS * (r.kicks.guest_time_lost_ns.max or 0) / 1e9 / r.measured_s,
         "must be at most 1, but for kicks that reach over the ends of the measurement"),
    Rule("hangs.count", lambda r: r.hangs.count >= r.hangs.deadlocks, "must be at least deadlocks"),
    Rule("hangs.log", lambda r: len(r.hangs.log) == min(r.hangs.count, HANGS_LOGGED),
         f"must hold the first {HANGS_LOGGED} of hangs.count"),
    Rule("histograms.latency_ns", lambda r: _stored(r, "latency_ns", {name: call.latency_ns for name, call in r.seamcalls.items()}),
         "must hold as many values as seamcalls say"),
    Rule("histograms.retries", lambda r: _stored(r, "retries", {name: call.retries for name, call in r.seamcalls.items()}),
         "must hold as many values as seamcalls say"),
    Rule("histograms.span_ns", lambda r: _stored(r, "span_ns", dict(r.spans_ns)), "must hold as many values as spans_ns say"),
)


def contradictions(result: Result) -> Iterator[str]:
    """Where a result cannot be true, as sentences that begin with the key."""
    exact = result.invariants.get("conservation") == 0
    parts = [*((key, SUMMARY_RULES, summary) for key, summary in _summaries(result)),
             *((f"seamcalls.{name}", CALL_RULES, call) for name, call in result.seamcalls.items()), ("", RULES, result)]
    for prefix, rules, part in parts:
        for rule in rules:
            if (exact or not rule.exact) and not rule.holds(part):
                yield f"{'.'.join(filter(None, (prefix, rule.key)))}{_given(part, rule.key)}: {rule.must}"


def _summaries(value: Any, key: str = "") -> Iterator[tuple[str, Summary]]:
    """Every Summary of a result, by its key."""
    if isinstance(value, Summary):
        yield key, value
    elif isinstance(value, BaseModel | dict):
        for name, inner in value.items() if isinstance(value, dict) else value:
            yield from _summaries(inner, f"{key}.{name}".removeprefix("."))


def _given(part: Part, key: str) -> str:
    """` = 5`, where what is wrong is one number."""
    value = functools.reduce(getattr, key.split("."), part) if key else None
    return f" = {value}" if isinstance(value, int | float) else ""
