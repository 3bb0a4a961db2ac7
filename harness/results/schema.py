"""The shape of result.json, with types: what every reader of a result goes through.

    result.busy.net.per_attempt              a field
    result.seamcalls["tdh_mem_track"].busy   a table by name

document.py builds a Result, store.py writes and reads one.  A file that is damaged inside (a count
that is a word, a missing key, NaN, a rate above 1, counts that do not add up) is refused as a whole,
with the key that is wrong, and is never half used.  More keys are welcome.

Ranges are looked at when a file is read.  What a run has measured is kept whatever it is, and judged
by trust.py.
"""

import datetime
import functools
import math
import re
from typing import Annotated, Any, Callable, Iterator, NamedTuple

from pydantic import AfterValidator, BaseModel, ConfigDict, PlainValidator, ValidationError, ValidationInfo
from pydantic_core import PydanticCustomError

from harness.errors import ResultError

SCHEMA = "tdx-sept-harness/result/1"
FROM_A_FILE = {"ranges": True}   # the context in which ranges are looked at
HANGS_LOGGED = 16                # the first of them
GREATEST = 1e21                  # of any number in a result; beyond it sums are no longer finite


# --- the kinds of values ----------------------------------------------------------------------

def _refuse(must: str):
    raise PydanticCustomError("value", must)


def _number(kinds: tuple[type, ...], least: float = -GREATEST, most: float = GREATEST, above: bool = False) -> PlainValidator:
    """A number as it is (an int stays one); `above`: `least` itself is too little."""
    def check(value: Any, info: ValidationInfo):
        if not isinstance(value, kinds) or isinstance(value, bool):
            _refuse("must be a count" if kinds == (int,) else "must be a number")
        if isinstance(value, float) and not math.isfinite(value):
            _refuse("must be a finite number")
        if info.context and (value < least or above and value == least):
            _refuse(f"must be {'above' if above else 'at least'} {least:g}")
        if info.context and value > most:
            _refuse(f"must be at most {most:g}")
        return value

    return PlainValidator(check)


def _text(pattern: str, must: str) -> PlainValidator:
    def check(value: Any):
        if not isinstance(value, str) or not re.fullmatch(pattern, value):
            _refuse(f"must be {must}")
        return value

    return PlainValidator(check)


def _moment(value: Any) -> str:
    try:
        datetime.datetime.strptime(value, "%Y-%m-%dT%H:%M:%SZ")
    except (TypeError, ValueError):
        _refuse("must be a time such as 2026-11-21T03:00:00Z")
    return value


Count = Annotated[int, _number((int,), least=0)]
Number = Annotated[float, _number((int, float), least=0)]
Share = Annotated[float, _number((int, float), least=0, most=1)]
Seconds = Annotated[float, _number((int, float), least=0, above=True)]
Signed = Annotated[float, _number((int, float))]
Moment = Annotated[str, PlainValidator(_moment)]
Status = Annotated[str, _text("VALID|DEGRADED|UNTRUSTWORTHY", "VALID, DEGRADED or UNTRUSTWORTHY")]
Buckets = Annotated[str, _text(r"(\d{1,4}:[1-9]\d{0,17}( (?=\d)|$))*", "bucket:count bucket:count ...")]


class Part(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True)


# --- the parts, in the order of the file ------------------------------------------------------

class Verdict(Part):
    """Whether to believe the result (trust.py)."""

    status: Status
    reasons: list[str]


class Workers(Part):
    count: Count
    vcpus: Count
    hosts: Count
    processors: list[Count]


class WorkerTimes(Part):
    ran_s: Number
    waited_s: Number
    involuntary_switches_count: Count


class Clock(Part):
    """What was found out about the clock that spans are measured with; null: not known."""

    source: str | None
    invariant: bool | None
    offset_ns: Number | None
    rate_drift_share: Signed


class Conditions(Part):
    """What else the machine did meanwhile (host/conditions.py); null: not known."""

    full_concurrency_share: Share | None
    involuntary_switches_count: Count | None
    steal_share: Number | None
    other_load_share: Number | None
    quota_processors: Number | None
    throttled_count: Count | None
    throttled_s: Number | None
    clock: Clock
    speed_drift_share: Signed | None
    workers: dict[str, WorkerTimes]


class Causes(Part):
    """BUSY answers by cause (kernels/blame.py)."""

    running: Count
    gone: Count
    preempted: Count
    host_priority: Count
    recaptured: Count

    def total(self) -> int:
        return self.running + self.gone + self.preempted + self.host_priority + self.recaptured


def net_of_preempted(count: int, by_cause: Causes | None) -> int | None:
    """BUSY answers, or attempts, without those that met a preempted holder; None: not looked for."""
    return None if by_cause is None else count - by_cause.preempted


class Net(Part):
    """BUSY rates without those that met a preempted holder; null: not looked for, or no attempts."""

    per_attempt: Share | None
    per_operation: Share | None


class Busy(Part):
    """Rates of BUSY over all SEAMCALLs; how they are defined: document.py."""

    per_attempt: Share | None
    per_operation: Share | None
    per_time: Number | None
    retries_max: Count
    answers: Count
    attempts: Count
    operations: Count
    waited_s: Number
    by_cause: Causes | None
    net: Net
    late_holds: Count | None


# Where each percentile stands, and so how many samples it takes for one to lie beyond it.
SHARES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99_9": 0.999, "p99_99": 0.9999}


def samples_needed(percentile: str) -> int:
    """The least number of samples of which one is expected beyond a percentile."""
    return round(1 / (1 - SHARES[percentile]))


class Summary(Part):
    """Of a histogram; quantiles are null where less than one value is expected beyond them."""

    count: Count
    p50: Number | None
    p90: Number | None
    p99: Number | None
    p99_9: Number | None
    p99_99: Number | None
    max: Number | None


class Call(Part):
    attempts: Count
    success: Count
    busy: Count
    busy_by_operand: dict[str, Count]
    busy_by_cause: Causes | None
    other: Count
    other_by_status: dict[str, Count]
    operations: Count
    contended: Count
    retries: Summary
    latency_ns: Summary


class ZeroStep(Part):
    private_faults: Count
    armed: Count
    armed_per_million_faults: Number | None
    entries_with_lock: Count
    busy_entries: Count
    synthetic_exits: Count


class Kicks(Part):
    broadcasts: Count
    vcpus_interrupted: Count
    entries_refused: Count
    wait_ns: Summary
    entry_barred_ns: Summary
    guest_time_lost_ns: Summary
    guest_time_lost_share: Number


class NaiveDecoding(Part):
    """What a decoding of bits 15:0 alone would have taken refused entries for (counted.py)."""

    without_exit: Count
    nmi: Count
    external_interrupt: Count
    tdcall: Count
    by_status: dict[str, Count]


class MachineChecks(Part):
    count: Count
    private: Count
    not_private: Count
    not_in_vmx_operation: Count
    no_module: Count
    busy: Count


class Faults(Part):
    """What was injected and what came of it (counted.py): the keys of what was injected only."""

    seamcall: str | None = None
    status: str | None = None
    status_name: str | None = None
    refused: Count | None = None
    init_errno: str | None = None
    rebooting: bool | None = None
    internal_errors: Count | None = None
    no_entropy: Count | None = None
    machine_checks: MachineChecks | None = None


class Bug(Part):
    """One of the first KVM_BUG_ONs; seconds since the measurement began."""

    at_s: Signed
    actor: str
    cause: str


class Hang(Part):
    """A TD found hanging: what each vCPU was answered last; who waited for what, if it was a deadlock."""

    at_s: Signed
    vcpus: list[str]
    waiting: list[str]


class Hangs(Part):
    count: Count
    deadlocks: Count
    log: list[Hang]


class Throughput(Part):
    touches_per_s: Number
    private_faults_per_s: Number
    installs_per_s: Number
    accepts_per_s: Number
    removals_per_s: Number


class Spans(Part):
    """Of every span that the program has; the fields are of every program."""

    __pydantic_extra__: dict[str, Summary]

    touch_stalled: Summary
    fault: Summary
    removal: Summary


class Stream(Part):
    """Of an open loop: what was meant to begin, and how long it took from then on."""

    offered_per_s: Number | None = None
    served_per_s: Number | None = None
    since_intended_ns: Summary


class Priority(Part):
    """What became of host-priority bits (invariants.host_priority)."""

    set: Count
    cleared: Count
    timeouts: Count
    locks_set: Count
    locks_cleared: Count
    orphaned: Count
    lost: Signed
    locks_left: Count
    guest_refused_ns: Summary


class StoredHistogram(Part):
    """A histogram as text (histogram.py)."""

    buckets: Buckets
    sum: Number
    max: Number

    @property
    def count(self) -> int:
        return sum(int(part.partition(":")[2]) for part in self.buckets.split())


class Histograms(Part):
    """Everything that was counted in histograms, for adding up results, by name; empty ones are left out."""

    latency_ns: dict[str, StoredHistogram]
    retries: dict[str, StoredHistogram]
    span_ns: dict[str, StoredHistogram]


class Timer(Part):
    ticks_per_ns: Number
    reading_costs_ns: Number


class Assumption(Part):
    key: str
    value: Any
    unit: str
    provenance: str


class Simulation(Part):
    """What a run in virtual time was, and what its times rest on."""

    micro_ops: Count
    turns: Count
    wakes: Count
    ended_at_s: Number
    assumptions: list[Assumption]


class Block(Part):
    """Where a run stands in its session (commands/session.py); absent from results made otherwise."""

    session: str
    plan: str
    number: Count
    order: Count
    of: Count


def _with_removals(counters: dict[str, int], info: ValidationInfo) -> dict[str, int]:
    if info.context and "removals" not in counters:
        _refuse("must have removals")
    return counters


class Result(Part):
    """What a run came to."""

    name: str
    engine: str
    module: str
    policy: str
    seed: Count
    primitive: str
    loop: str
    verdict: Verdict
    started_at: Moment
    measured_s: Seconds
    interrupted: bool
    workers: Workers
    conditions: Conditions | None
    records: dict[str, str]
    busy: Busy
    seamcalls: dict[str, Call]
    zero_step: ZeroStep
    kicks: Kicks
    naive_decoding: NaiveDecoding
    faults: Faults
    bugs: dict[str, Count]
    bug_log: list[Bug]
    hangs: Hangs
    invariants: dict[str, Count | None]
    throughput: Throughput
    spans_ns: Spans
    arrivals: dict[str, Stream] | None
    counters: Annotated[dict[str, Count], AfterValidator(_with_removals)]
    host_priority: Priority
    lost_swaps: Count
    histograms: Histograms
    clock: Timer
    simulation: Simulation | None = None
    entries: dict[str, Count] | None = None
    config: dict
    machine: dict
    block: Block | None = None

    @property
    def host_calls(self) -> dict[str, Call]:
        """The SEAMCALLs; a guest's TDCALLs are the guest's own affair."""
        return {name: call for name, call in self.seamcalls.items() if not name.startswith("tdg_")}

    def document(self) -> dict:
        """As it stands in the file."""
        return {"schema": SCHEMA, **self.model_dump(exclude_unset=True)}


# --- counts that do not add up ----------------------------------------------------------------

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
    """Of operations that met BUSY those count that met one without a preempted holder."""
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
         <= 1 + (r.kicks.guest_time_lost_ns.max or 0) / 1e9 / r.measured_s,
         "must be at most 1, but for a kick that began before the measurement"),
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


# --- from a file ------------------------------------------------------------------------------

def _small(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:]


def check(document: dict, path) -> Result:
    """A result from what a file says; raises ResultError naming the file and the first key that is wrong.

    A result that says of itself that it is UNTRUSTWORTHY need not add up.
    """
    try:
        result = Result.model_validate({key: value for key, value in document.items() if key != "schema"},
                                       context=FROM_A_FILE)
    except ValidationError as errors:
        error = errors.errors(include_url=False)[0]
        key = ".".join(map(str, error["loc"]))
        given = "" if error["type"] == "missing" else f" = {repr(error['input'])[:60]}"
        raise ResultError(f"{path}: {key}{given}: {_small(error['msg'])} (damaged, or of another version)") from None
    if result.verdict.status != "UNTRUSTWORTHY" and (wrong := next(contradictions(result), None)):
        raise ResultError(f"{path}: {wrong} (damaged, or of another version)")
    return result
