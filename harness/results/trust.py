"""Whether to believe a result: VALID, DEGRADED or UNTRUSTWORTHY, with the reasons.

DEGRADED says what to make allowance for, UNTRUSTWORTHY what went wrong.  Every reason is a row of
REASONS: a function that looks at the result and says its sentences.
"""

from typing import Callable, Iterable, NamedTuple

from harness.results import expectations
from harness.results.consistency import contradictions
from harness.results.schema import DEGRADED, SHARES, STATUSES, UNTRUSTWORTHY, VALID, Result, Verdict, samples_needed

FEW_ATTEMPTS = 1000              # fewer SEAMCALLs than that say nothing about rates
STEAL_SHARE = 0.01               # of the processors' time
OTHER_SHARE, OTHER_S = 0.05, 0.05    # and at least so much: /proc/stat counts in hundredths of a second
CLOCK_OFFSET_NS = 1000           # calls take hundreds of nanoseconds, preemptions a million
CLOCK_DRIFT_SHARE = 0.001
SPEED_DRIFT_SHARE = 0.05
SATURATED_SHARE = 0.95           # of the arrivals in an open loop must have been served

STOPPED_S = 0.1                  # what two looks at a worker may be apart
UNWATCHED_S = 0.5                # in which nobody looks for a hang; a slow disk is soon over
LATE_SHARE, LATE_S = 1.1, 1.0    # how much longer than it should a run may be measured, on a busy machine

# Parts that can be broken without anything going wrong by that alone.
SILENT = {"tracking_check"}


class Reason(NamedTuple):
    """One thing that can be the matter with a result.

    find   result -> sentences; none if all is well, or if that is not known
    """

    name: str
    status: str
    find: Callable[[Result], list[str]]


def _records(result):
    return [f"the record of {name} is {state}" for name, state in result.records.items() if state != "whole"]


def _conservation(result):
    if result.invariants["conservation"]:
        return ["counters are not conserved: attempts differ from success + busy + other, or BUSY from its"
                " causes"]
    return []


def _contradiction(result):
    return [f"contradicts itself: {sentence}" for sentence in contradictions(result)]


def _control(result):
    """What is broken on purpose must be seen to be broken."""
    broken = [part for part in result.config["checks"]["busted"] if part not in SILENT]
    seen = any(result.invariants.values()) or any(result.bugs.values())
    if broken and not seen:
        return [f"negative control did not fail: {', '.join(broken)} was broken on purpose and nothing was"
                " found"]
    return []


def _crowded(result):
    workers, processors = result.workers.count, len(result.workers.processors)
    if workers <= processors or result.conditions is None:
        return []
    return [f"{workers} workers share {processors} processor{'s' * (processors > 1)}: BUSY includes lock holders"
            " that were preempted"]


def _quota(result):
    conditions = result.conditions
    if conditions is None:
        return []
    found, allowed = [], conditions.quota_processors
    wanted = min(result.workers.count, len(result.workers.processors))
    if allowed is not None and allowed < wanted:
        found.append(f"CPU quota: this control group may use {allowed:g} processors, the workers want"
                     f" {wanted}")
    if conditions.throttled_count:
        found.append(f"CPU quota: the workers were stopped {conditions.throttled_count} times, for"
                     f" {conditions.throttled_s:g} s in all")
    return found


def _steal(result):
    share = result.conditions and result.conditions.steal_share
    if share is None or share <= STEAL_SHARE:
        return []
    return [f"steal time: the hypervisor gave {100 * share:.3g} % of the workers' processors to others"]


def _other_load(result):
    share = result.conditions and result.conditions.other_load_share
    processors = result.workers.processors
    if share is None or share <= OTHER_SHARE or share * result.measured_s * len(processors) <= OTHER_S:
        return []
    return [f"another load took {100 * share:.3g} % of the workers' processors"]


def _clock(result):
    if result.conditions is None:
        return []
    clock, found = result.conditions.clock, []
    if clock.invariant is False:
        found.append("clock not invariant: the processor does not promise constant_tsc and nonstop_tsc")
    if clock.offset_ns is not None and clock.offset_ns > CLOCK_OFFSET_NS:
        found.append(f"clock not synchronous: two processors are {clock.offset_ns:.0f} ns apart")
    if abs(clock.rate_drift_share) > CLOCK_DRIFT_SHARE:
        found.append(f"clock not invariant: its rate changed by {100 * clock.rate_drift_share:+.2g} %")
    return found


def _speed(result):
    drift = result.conditions and result.conditions.speed_drift_share
    if drift is None or abs(drift) <= SPEED_DRIFT_SHARE:
        return []
    return [f"frequency drift: the same work took {100 * drift:+.2g} % of its time at the end"]


def _saturated(result):
    """Behind an open loop that is not served the queue grows, and with it every latency."""
    found = []
    for what, stream in (result.arrivals or {}).items():
        if stream.offered_per_s is None:
            continue
        offered, served = stream.offered_per_s * result.measured_s, stream.served_per_s * result.measured_s
        if SATURATED_SHARE * offered - served > 3 * offered ** 0.5:
            found.append(f"open loop saturated: of {stream.offered_per_s:g} {what} per s only"
                         f" {stream.served_per_s:g} were served; latencies grow as long as it runs")
    return found


def _few(result):
    attempts = sum(call.attempts for call in result.seamcalls.values())
    return [f"only {attempts} SEAMCALLs were made"] if attempts < FEW_ATTEMPTS else []


def _claims(result):
    """Percentiles that [expect] bounds, with too few samples behind them."""
    found = []
    for key in result.config["expect"]:
        where, _, percentile = key.rpartition(".")
        if percentile in SHARES:
            count = expectations.lookup(result, f"{where}.count")
            if count is not None and count < samples_needed(percentile):
                found.append(f"too few operations for expect.{key}: {count} samples, it takes at least"
                             f" {samples_needed(percentile)}")
    return found


def _deaths(result):
    """Nothing happens in a TD between its end and the next one's first entry; without restart_on_bug the run ends there."""
    dead = sum(result.guest_deaths.values())
    who = "1 TD was ended by its guest" if dead == 1 else f"{dead} TDs were ended by their guests"
    return [f"{who}: rates include the time without one"] if dead else []


def _interrupted(result):
    return ["interrupted"] if result.interrupted else []


def _stopped(result):
    """Real time goes on while a run is suspended, and what was counted does not."""
    wanted_s, measured_s = result.config["duration_s"], result.measured_s
    if result.engine != "processes":
        return []
    found = [f"worker {name} was stopped from outside for {worker.stopped_s:.2g} s"
             for name, worker in (result.conditions.workers if result.conditions else {}).items() if worker.stopped_s > STOPPED_S]
    if result.conditions and result.conditions.stopped_s > STOPPED_S:
        found.append(f"measured for {measured_s:.3g} s in place of {wanted_s:g} s: the run was stopped from outside for"
                     f" {result.conditions.stopped_s:.2g} s (Ctrl-Z, or a frozen control group)")
    elif _late(result):
        found.append(f"measured for {measured_s:.3g} s in place of {wanted_s:g} s: {_absent(result) or 'it was stopped meanwhile'}")
    return found


def _late(result):
    return result.measured_s > LATE_SHARE * result.config["duration_s"] + LATE_S


def _absent(result):
    """Of a coordinator that was not there, in words; "" if it was."""
    unwatched_s = result.conditions.unwatched_s if result.conditions else 0.0
    return f"the coordinator was stopped for {unwatched_s:.2g} s" if unwatched_s > UNWATCHED_S else ""


def _unwatched(result):
    """What the workers did meanwhile is counted, and the time of it too."""
    if not (absent := _absent(result)) or _late(result):
        return []
    return [f"{absent}, its workers not: no hang was looked for meanwhile"]


REASONS = (
    Reason("worker record", UNTRUSTWORTHY, _records),
    Reason("conservation", UNTRUSTWORTHY, _conservation),
    Reason("contradiction", UNTRUSTWORTHY, _contradiction),
    Reason("stopped meanwhile", UNTRUSTWORTHY, _stopped),
    Reason("negative control", UNTRUSTWORTHY, _control),
    Reason("more workers than processors", DEGRADED, _crowded),
    Reason("CPU quota", DEGRADED, _quota),
    Reason("steal time", DEGRADED, _steal),
    Reason("another load", DEGRADED, _other_load),
    Reason("clock", DEGRADED, _clock),
    Reason("frequency", DEGRADED, _speed),
    Reason("coordinator", DEGRADED, _unwatched),
    Reason("open loop", DEGRADED, _saturated),
    Reason("few operations", DEGRADED, _few),
    Reason("claims", DEGRADED, _claims),
    Reason("dead guests", DEGRADED, _deaths),
    Reason("interrupted", DEGRADED, _interrupted),
)


def disturbed(result: Result) -> list[str]:
    """What else used the processors meanwhile, so that its rates are not this machine's own."""
    return _steal(result) + _other_load(result)


def worst(results: Iterable[Result]) -> str:
    """The worst status of several results."""
    return max((result.verdict.status for result in results), key=STATUSES.index)


def degrade(result: Result, reason: str) -> None:
    """Give a result one more reason for doubt."""
    status = DEGRADED if result.verdict.status == VALID else result.verdict.status
    result.verdict = Verdict(status=status, reasons=[*result.verdict.reasons, reason])


def verdict(result: Result, problems: list[str], halt: str) -> Verdict:
    """Whether to believe a result, with the reasons.

    problems   what went wrong with the run itself; any makes it UNTRUSTWORTHY
    halt       how the module shut itself down, if it did: the run was shorter than meant
    """
    found = {UNTRUSTWORTHY: list(problems), DEGRADED: [halt] if halt else []}
    for reason in REASONS:
        found[reason.status] += reason.find(result)
    status = UNTRUSTWORTHY if found[UNTRUSTWORTHY] else DEGRADED if found[DEGRADED] else VALID
    return Verdict(status=status, reasons=found[UNTRUSTWORTHY] + found[DEGRADED])
