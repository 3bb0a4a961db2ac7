"""Results made by hand: that of a run in which nothing happened, with the numbers a test wants.

    result = made("kick_vcpus", block=3, removals_per_s=1000.0)
    meet_busy(result, "tdh_mem_track", attempts=1000, busy=10)
"""

import copy
import functools

from harness.experiment.plan import make_plan
from harness.results import document
from harness.results.schema import (
    SHARES, Block, Call, Causes, Net, Result, StoredHistogram, Summary, Verdict, samples_needed,
)
from harness.results.trust import VALID
from tests.stage import config

NUMBERS = {
    "lost_share": ("kicks", "guest_time_lost_share"), "removals_per_s": ("throughput", "removals_per_s"),
    "removal_p99_ns": ("spans_ns", "removal", "p99"), "armed": ("zero_step", "armed_per_million_faults"),
}


@functools.cache
def _empty(policy: str) -> Result:
    return document.example(make_plan(config(policy, name=policy)))


def made(policy="kick_vcpus", name=None, block=0, session="s1", order=0, of=7, **numbers) -> Result:
    """A VALID result; `numbers` are keys of NUMBERS, or fields of the result itself."""
    result = copy.deepcopy(_empty(policy))
    result.name = result.config["name"] = name or policy
    result.started_at = f"2026-11-21T03:00:{block:02d}Z"
    result.seed = result.config["seed"] = 1 + block
    result.verdict = Verdict(status=VALID, reasons=[])
    if session:
        result.block = Block(session=session, plan="p", number=block, order=order, of=of)
    for key, value in numbers.items():
        *parts, last = NUMBERS.get(key, (key,))
        setattr(functools.reduce(getattr, parts, result), last, value)
    return result


def of(count: int, value: float = 0) -> Summary:
    """A histogram of so many values that are all the same."""
    return Summary(count=count, **{key: value if count >= samples_needed(key) else None for key in SHARES},
                   max=value if count else None)


def stored(count: int, value: int = 0) -> StoredHistogram:
    return StoredHistogram(buckets=f"{value}:{count}", sum=count * value, max=value)


def meet_busy(result: Result, name: str, attempts: int, busy: int, operand: str = "TD_EPOCH") -> None:
    """A SEAMCALL that was made so often, and so often BUSY for another; each operation that was BUSY was so once."""
    operations = attempts - busy
    result.seamcalls[name] = Call(
        attempts=attempts, success=operations, busy=busy, busy_by_operand={operand: busy} if busy else {},
        busy_by_cause=Causes(running=busy, preempted=0, gone=0, recaptured=0, host_priority=0),
        other=0, other_by_status={}, operations=operations, contended=busy, retries=of(operations, int(busy > 0)),
        latency_ns=of(operations, 40))
    result.histograms.retries[name] = stored(operations, int(busy > 0))
    result.histograms.latency_ns[name] = stored(operations, 40)
    calls, total = result.host_calls.values(), result.busy
    total.attempts, total.answers, total.operations = (
        sum(getattr(call, key) for call in calls) for key in ("attempts", "busy", "operations"))
    contended = sum(call.contended for call in calls)
    total.per_attempt, total.per_operation = total.answers / total.attempts, contended / total.operations
    total.net = Net(per_attempt=total.per_attempt, per_operation=total.per_operation)
    total.by_cause.running, total.retries_max = total.answers, max(call.retries.max or 0 for call in calls)
