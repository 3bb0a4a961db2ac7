"""One run in at most 25 lines: what was asked, the verdict, what happened, where to look next.

Every table of a run is in reports/run.py (`run -v`), every number in its result.
"""

import itertools
from collections import Counter

from harness.reports.numbers import over_runs, reasons_of
from harness.reports.run import bug_lines, death_lines, hang_lines, invariant_line, title
from harness.reports.text import count, formatted, number, share_of, wrap
from harness.results.metrics import BY_KEY
from harness.results.schema import Result

LINES = 25                       # of a summary, the last of them what to look at next
CALLS, OPERANDS = 5, 3          # at most so many are shown
VERDICT_LINES = 4                # of reasons; none is cut off in its middle


def summary(result: Result) -> str:
    """What one run came to."""
    above = [*title(result).splitlines(), *_verdict(result)]
    below = [*_numbers(result), *_first(bug_lines(result), 2), *_first(death_lines(result), 1), *_first(hang_lines(result), 1),
             *invariant_line(result).splitlines()[:2], *wrap(_next(result)).splitlines()]
    for operands, calls in itertools.product(range(OPERANDS, 0, -1), range(CALLS, 0, -1)):        # as much of the table as there is room for
        lines = [*above, *_busy(result, calls, operands), *below]
        if len(lines) <= LINES:
            break
    return "\n".join(lines)


def _first(lines: list[str], most: int) -> list[str]:
    """The first lines, each one line of text: without the list that one announces."""
    return [line.splitlines()[0].removesuffix(":") for line in lines[:most]]


def _verdict(result: Result) -> list[str]:
    reasons = [reason for reason, _ in reasons_of([result])]
    if not reasons:
        return [result.verdict.status]
    lines, said = [], 0
    for reason in map(wrap, reasons):
        if said and len(lines) + reason.count("\n") + 1 > VERDICT_LINES:
            break
        lines, said = [*lines, *reason.splitlines()], said + 1
    return [*lines, *([f"  and {count(len(reasons) - said, 'more reason')}"] if said < len(reasons) else [])]


def _busy(result: Result, calls: int, operands: int) -> list[str]:
    """The calls that were BUSY most often, at most so many, and for which operands, at most so many."""
    busy = sorted((item for item in result.seamcalls.items() if item[1].busy), key=lambda item: -item[1].busy)
    if not busy:
        return [f"BUSY: none of {number(sum(call.attempts for call in result.seamcalls.values()))} attempts"]
    rows = [{"call": name, "tries": number(call.attempts), "BUSY": number(call.busy),
             "BUSY %": share_of(call.busy, call.attempts), "most retries": number(call.retries.max),
             "BUSY by operand": ", ".join(f"{operand} {number(times)}" for operand, times in
                                          Counter(call.busy_by_operand).most_common(operands))}
            for name, call in busy[:calls]]
    more = [f"and {count(len(busy) - calls, 'more call')} that were BUSY"] if len(busy) > calls else []
    return ["", *formatted(rows, "table").splitlines(), *more, ""]


def _numbers(result: Result) -> list[str]:
    """Removals, zero-step and kicks."""
    def said(*keys: str) -> str:
        return "; ".join(f"{BY_KEY[key].name.strip()} {over_runs(BY_KEY[key], [result])}" for key in keys)
    return _first([said("removals_per_s", "private_faults", "zero_step_armed"),
                   said("entries_refused_tree", "kick_broadcasts", "vcpus_interrupted")], 2)


def _next(result: Result) -> str:
    """Where to look next, by the gravest thing that happened."""
    if result.verdict.status == "UNTRUSTWORTHY":
        return "next: do not use these numbers; mend what the verdict names and run again"
    if any(result.invariants.values()):
        return "next: an invariant is violated: -v says which and how often; explain CALL shows the call"
    if result.bugs:
        return f"next: `policies {result.policy}` says what KVM answers to BUSY; -v prints every table"
    if result.hangs.log:
        return "next: -v says where each vCPU waited"
    return "next: -v prints every table; --repeats 7 with another config compares them"
