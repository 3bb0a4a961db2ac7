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

from harness.protocol.counters import COUNTERS, HOST_PRIORITY, REFUSED_FOR_PRIORITY, SPANS

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
Engine = Annotated[str, _text("processes|simulate", "processes or simulate")]
Primitive = Annotated[str, _text("cas|bts", "cas or bts")]
Loop = Annotated[str, _text("closed|open", "closed or open")]
Buckets = Annotated[str, _text(r"(\d{1,4}:[1-9]\d{0,17}( (?=\d)|$))*", "bucket:count bucket:count ...")]


class Part(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True)


# --- the parts, in the order of the file ------------------------------------------------------

class Verdict(Part):
    """Whether to believe the result (trust.py)."""

    status: Annotated[Status, "VALID, DEGRADED or UNTRUSTWORTHY"]
    reasons: Annotated[list[str], "why not VALID, one sentence each"]


class Workers(Part):
    count: Annotated[Count, "actors: vCPUs and host threads, of all TDs"]
    vcpus: Count
    hosts: Count
    processors: Annotated[list[Count], "processor ids that they are pinned to, in turn"]


class WorkerTimes(Part):
    ran_s: Annotated[Number, "time on a processor"]
    waited_s: Annotated[Number, "time ready, without one"]
    involuntary_switches_count: Annotated[Count, "how often the processor was taken away"]
    stopped_s: Annotated[Number, "stopped from outside, by a signal or a debugger"] = 0


class Clock(Part):
    """What was found out about the clock that spans are measured with; null: not known."""

    source: Annotated[str | None, "the clock"]
    invariant: Annotated[bool | None, "whether it ticks evenly whatever the processor does"]
    offset_ns: Annotated[Number | None, "the farthest that two processors' clocks may be apart"]
    rate_drift_share: Annotated[Signed, "its ticks per nanosecond at the end against the start"]


class Conditions(Part):
    """What else the machine did meanwhile (host/conditions.py); null: not known."""

    full_concurrency_share: Annotated[Share | None, "of the time, in which no worker was kept off its processor"]
    involuntary_switches_count: Annotated[Count | None, "of all workers"]
    steal_share: Annotated[Number | None, "of processor time, taken by the hypervisor"]
    other_load_share: Annotated[Number | None, "of processor time, used by others"]
    quota_processors: Annotated[Number | None, "what the control group allows"]
    throttled_count: Annotated[Count | None, "how often the control group stopped the workers"]
    throttled_s: Annotated[Number | None, "for how long in all"]
    clock: Clock
    speed_drift_share: Annotated[Signed | None, "time of a fixed piece of work at the end against the start"]
    stopped_s: Annotated[Number, "all of the run stopped from outside: Ctrl-Z, a frozen control group"] = 0
    unwatched_s: Annotated[Number, "the coordinator alone stopped, or kept by a disk, while workers went on"] = 0
    workers: Annotated[dict[str, WorkerTimes], "each worker"]


class Causes(Part):
    """BUSY answers by cause (kernels/blame.py)."""

    running: Annotated[Count, "the holder was within the time of its call"]
    gone: Annotated[Count, "no actor held the lock any more, or the BUSY was injected"]
    preempted: Annotated[Count, "the operating system had taken the processor away from every holder"]
    host_priority: Annotated[Count, "a guest was refused because a host had asked first"]
    recaptured: Annotated[Count, "the same holder as last time, in another call"]

    def total(self) -> int:
        return self.running + self.gone + self.preempted + self.host_priority + self.recaptured


def net_of_preempted(count: int, by_cause: Causes | None) -> int | None:
    """BUSY answers, or attempts, without those caused by a preempted holder; None: not looked for."""
    return None if by_cause is None else count - by_cause.preempted


class Net(Part):
    """BUSY rates without those that met a preempted holder; null: not looked for, or no attempts."""

    per_attempt: Annotated[Share | None, "BUSY answers / attempts"]
    per_operation: Annotated[Share | None, "operations that met at least one such BUSY / operations"]


class Busy(Part):
    """Rates of BUSY over all SEAMCALLs; how they are defined: document.py."""

    per_attempt: Annotated[Share | None, "BUSY answers / attempts"]
    per_operation: Annotated[Share | None, "operations that met BUSY / operations"]
    per_time: Annotated[Number | None, "BUSY answers / seconds between an operation's first BUSY and its end"]
    retries_max: Annotated[Count, "the most BUSY that one operation met"]
    answers: Annotated[Count, "BUSY answers"]
    attempts: Annotated[Count, "calls made"]
    operations: Annotated[Count, "things to be done by calls, however many attempts each took"]
    waited_s: Annotated[Number, "seconds between first BUSY and end, all operations together"]
    by_cause: Annotated[Causes | None, "the cause of each; null: not looked for"]
    net: Net
    late_holds: Annotated[Count | None, "preempted holds that refused another, each once for each that it refused"]


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
    attempts: Annotated[Count, "how often it was made"]
    success: Annotated[Count, "answers TDX_SUCCESS"]
    busy: Annotated[Count, "answers BUSY"]
    busy_by_operand: Annotated[dict[str, Count], "the same by the operand named"]
    busy_by_cause: Annotated[Causes | None, "the same by cause; null: not looked for"]
    other: Annotated[Count, "all other answers"]
    other_by_status: Annotated[dict[str, Count], "the same by status"]
    operations: Annotated[Count, "things to be done by this call"]
    contended: Annotated[Count, "operations that met BUSY"]
    retries: Annotated[Summary, "BUSY answers of each operation"]
    latency_ns: Annotated[Summary, "from an operation's first attempt to its end, of those that ended without BUSY"]


class ZeroStep(Part):
    private_faults: Annotated[Count, COUNTERS["private_faults"]]
    armed: Annotated[Count, COUNTERS["zero_step.armed"]]
    armed_per_million_faults: Annotated[Number | None, "armed / private_faults"]
    entries_with_lock: Annotated[Count, COUNTERS["zero_step.entries_with_lock"]]
    busy_entries: Annotated[Count, "entries BUSY on the SEPT tree, which only the mitigation makes so"]
    synthetic_exits: Annotated[Count, COUNTERS["zero_step.synthetic_exits"]]


class Kicks(Part):
    broadcasts: Annotated[Count, COUNTERS["kick_broadcasts"]]
    vcpus_interrupted: Annotated[Count, COUNTERS["kicks_sent"]]
    entries_refused: Annotated[Count, COUNTERS["entries_refused"]]
    wait_ns: Annotated[Summary, SPANS["kick_wait"]]
    entry_barred_ns: Annotated[Summary, SPANS["entry_barred"]]
    guest_time_lost_ns: Annotated[Summary, SPANS["guest_time_lost"]]
    guest_time_lost_share: Annotated[Number, "their sum / the run's time of all vCPUs"]


class Pairs(Part):
    """Getting and putting PAMT page pairs (td.dpamt)."""

    wait_share: Annotated[Number, "waiting for pamt_lock, or a range's: the sum of pamt_wait / the run's time of all actors"]


class NaiveDecoding(Part):
    """What a decoding of bits 15:0 alone would have taken refused entries for (counted.py)."""

    without_exit: Annotated[Count, "entries that came back without an exit reason"]
    nmi: Annotated[Count, "of them, taken for an NMI"]
    external_interrupt: Annotated[Count, "for an interrupt"]
    tdcall: Annotated[Count, "for a TDCALL"]
    by_status: Annotated[dict[str, Count], "those that were taken for anything, by status"]


class MachineChecks(Part):
    count: Annotated[Count, COUNTERS["machine_checks"]]
    private: Annotated[Count, COUNTERS["machine_check.private"]]
    not_private: Annotated[Count, COUNTERS["machine_check.not_private"]]
    not_in_vmx_operation: Annotated[Count, COUNTERS["machine_check.not_in_vmx_operation"]]
    no_module: Annotated[Count, COUNTERS["machine_check.no_module"]]
    busy: Annotated[Count, COUNTERS["machine_check.busy"]]


class Faults(Part):
    """What was injected and what came of it (counted.py): the keys of what was injected only."""

    seamcall: Annotated[str | None, "the fault that kept SEAMCALL from the module"] = None
    status: Annotated[str | None, "the status word that Linux answers for it"] = None
    status_name: Annotated[str | None, "its name"] = None
    refused: Annotated[Count | None, "SEAMCALLs that it kept"] = None
    init_errno: Annotated[str | None, "what it would have come to at initialization"] = None
    rebooting: Annotated[bool | None, "whether Linux was rebooting, so that it is no bug"] = None
    internal_errors: Annotated[Count | None, COUNTERS["internal_errors"]] = None
    no_entropy: Annotated[Count | None, "answers that there is no entropy"] = None
    machine_checks: MachineChecks | None = None


class Bug(Part):
    """One of the first KVM_BUG_ONs; seconds since the measurement began."""

    at_s: Annotated[Signed, "seconds since the measurement began"]
    actor: str
    cause: Annotated[str, "the call, and what it answered"]


class Hang(Part):
    """A TD found hanging: what each vCPU was answered last; who waited for what, if it was a deadlock."""

    at_s: Annotated[Signed, "seconds since the measurement began"]
    vcpus: Annotated[list[str], "what each vCPU was answered last"]
    waiting: Annotated[list[str], "who waited for what, if it was a deadlock"]


class Hangs(Part):
    count: Count
    deadlocks: Annotated[Count, "of them, those in which an actor waited for ever"]
    log: Annotated[list[Hang], "the first of them"]


class Throughput(Part):
    touches_per_s: Annotated[Number, COUNTERS["touches"]]
    private_faults_per_s: Annotated[Number, COUNTERS["private_faults"]]
    installs_per_s: Annotated[Number, COUNTERS["installs"]]
    accepts_per_s: Annotated[Number, COUNTERS["accepts"]]
    removals_per_s: Annotated[Number, COUNTERS["removals"]]


class Spans(Part):
    """Of every span that the program has; the fields are of every program."""

    __pydantic_extra__: dict[str, Summary]

    touch_stalled: Annotated[Summary, SPANS["touch_stalled"]]
    fault: Annotated[Summary, SPANS["fault"]]
    removal: Annotated[Summary, SPANS["removal"]]


class Stream(Part):
    """Of an open loop: what was meant to begin, and how long it took from then on."""

    offered_per_s: Annotated[Number | None, "the rate that the config asks for, all actors together"] = None
    served_per_s: Annotated[Number | None, "how many were begun"] = None
    since_intended_ns: Annotated[Summary, "from the intended start to the end"]


class Priority(Part):
    """What became of host-priority bits over the whole run, the warm-up included."""

    set: Annotated[Count, HOST_PRIORITY["set"]]
    cleared: Annotated[Count, HOST_PRIORITY["cleared"]]
    timeouts: Annotated[Count, HOST_PRIORITY["timeouts"]]
    locks_set: Annotated[Count, HOST_PRIORITY["locks_set"]]
    locks_cleared: Annotated[Count, HOST_PRIORITY["locks_cleared"]]
    orphaned: Annotated[Count, HOST_PRIORITY["orphaned"]]
    lost: Annotated[Signed, HOST_PRIORITY["lost"]]
    locks_left: Annotated[Count, HOST_PRIORITY["locks_left"]]
    guest_refused_ns: Annotated[Summary, SPANS[REFUSED_FOR_PRIORITY]]


class StoredHistogram(Part):
    """A histogram as text (histogram.py)."""

    buckets: Annotated[Buckets, "number of a bucket:count, in order"]
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
    ticks_per_ns: Annotated[Number, "of the clock that spans are measured with"]
    reading_costs_ns: Annotated[Number, "of one reading of it"]


class Assumption(Part):
    key: str
    value: Any
    unit: str
    provenance: Annotated[str, "where the value is from"]


class Simulation(Part):
    """What a run in virtual time was, and what its times rest on."""

    micro_ops: Annotated[Count, "rows executed"]
    turns: Annotated[Count, "how often an actor was taken from the queue"]
    wakes: Annotated[Count, "how often one that waited was let look again"]
    ended_at_s: Annotated[Number, "virtual time"]
    assumptions: list[Assumption]


class Provoked(Part):
    """A config with `until_seen_s` was run again, on other seeds, until what it expects had occurred.

    So its result, that of the last run, shows that it occurs, and nothing of how often.
    """

    runs: Count
    measured_s: Seconds          # of all runs together
    seen: bool


class Block(Part):
    """Where a run stands in its session (commands/session.py); absent from results made otherwise."""

    session: Annotated[str, "the runs that were interleaved"]
    plan: Annotated[str, "what was planned for it"]
    number: Annotated[Count, "the block that this run stands in"]
    order: Annotated[Count, "its place there"]
    of: Annotated[Count, "how many blocks"]


def _with_removals(counters: dict[str, int], info: ValidationInfo) -> dict[str, int]:
    if info.context and "removals" not in counters:
        _refuse("must have removals")
    return counters


class Result(Part):
    """What a run came to."""

    name: Annotated[str, "of the config"]
    engine: Annotated[Engine, "processes or simulate"]
    module: Annotated[str, "the release"]
    policy: str
    seed: Count
    primitive: Annotated[Primitive, "how entry bits are changed: cas or bts"]
    loop: Annotated[Loop, "closed or open"]
    verdict: Verdict
    started_at: Moment
    measured_s: Annotated[Seconds, "without the warm-up"]
    interrupted: Annotated[bool, "whether a person ended it"]
    workers: Workers
    conditions: Annotated[Conditions | None, "null in virtual time"]
    records: Annotated[dict[str, str], "how each worker's record was found"]
    busy: Annotated[Busy, "rates of BUSY, over all SEAMCALLs"]
    seamcalls: Annotated[dict[str, Call], "each call of the program, TDCALLs too"]
    zero_step: ZeroStep
    kicks: Kicks
    pamt_pairs: Annotated[Pairs | None, "null without td.dpamt"] = None
    naive_decoding: NaiveDecoding
    faults: Faults
    bugs: Annotated[dict[str, Count], "KVM_BUG_ONs, by the call and its answer"]
    bug_log: Annotated[list[Bug], "the first of them"]
    guest: Annotated[str, "the guest's policy"] = "svsm"
    guest_deaths: Annotated[dict[str, Count], "TDs ended by their guest, by the kind of answer that it"
                            " cannot bear: busy, mismatch (TDX_PAGE_SIZE_MISMATCH), accepted (TDX_PAGE_ALREADY_ACCEPTED)"] = {}
    hangs: Hangs
    invariants: Annotated[dict[str, Count | None], "violations of each; null: not checked"]
    throughput: Annotated[Throughput, "counters a second"]
    spans_ns: Annotated[Spans, "see below"]
    arrivals: Annotated[dict[str, Stream] | None, "of an open loop: touches, removals, faults"]
    counters: Annotated[Annotated[dict[str, Count], AfterValidator(_with_removals)], "see below"]
    host_priority: Priority
    lost_swaps: Annotated[Count, "compare-and-swaps of the primitive cas that were repeated"]
    histograms: Histograms
    clock: Timer
    simulation: Annotated[Simulation | None, "of engine simulate"] = None
    entries: Annotated[dict[str, Count] | None, "SEPT entries of 4K pages at the end, by what they spell"] = None
    config: Annotated[dict, "the config as it was run, every key"]
    machine: Annotated[dict, "where it ran"]
    provoked: Annotated[Provoked | None, "only where `until_seen_s` asks for it"] = None
    block: Block | None = None

    @property
    def host_calls(self) -> dict[str, Call]:
        """The SEAMCALLs; a guest's TDCALLs are the guest's own affair."""
        return {name: call for name, call in self.seamcalls.items() if not name.startswith("tdg_")}

    def document(self) -> dict:
        """As it stands in the file."""
        return {"schema": SCHEMA, **self.model_dump(exclude_unset=True)}
