"""The shape of result.json, with types: what every reader of a result goes through.

    result.busy.net.per_attempt              a field
    result.seamcalls["tdh_mem_track"].busy   a table by name

document.py builds a Result, store.py writes and reads one, consistency.py says whether it can be
true.  More keys are welcome.

Ranges are looked at when a file is read.  What a run has measured is kept whatever it is, and judged
by trust.py.
"""

import datetime
import math
import re
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, PlainValidator, ValidationError, ValidationInfo
from pydantic_core import PydanticCustomError

SCHEMA = "tdx-sept-harness/result/1"
FROM_A_FILE = {"ranges": True}   # the context in which ranges are looked at
VALID, DEGRADED, UNTRUSTWORTHY = STATUSES = ("VALID", "DEGRADED", "UNTRUSTWORTHY")        # from good to bad
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


def first_problem(errors: ValidationError) -> str:
    """`busy.per_attempt = 1.5: must be at most 1`: key, value, what is allowed."""
    error = errors.errors(include_url=False)[0]
    given = "" if error["type"] == "missing" else f" = {repr(error['input'])[:60]}"
    return f"{'.'.join(map(str, error['loc']))}{given}: {error['msg'][:1].lower()}{error['msg'][1:]}"


Count = Annotated[int, _number((int,), least=0)]
Number = Annotated[float, _number((int, float), least=0)]
Share = Annotated[float, _number((int, float), least=0, most=1)]
Seconds = Annotated[float, _number((int, float), least=0, above=True)]
Signed = Annotated[float, _number((int, float))]
Moment = Annotated[str, PlainValidator(_moment)]
Status = Annotated[str, _text("|".join(STATUSES), "VALID, DEGRADED or UNTRUSTWORTHY")]
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
