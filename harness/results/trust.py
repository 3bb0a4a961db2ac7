"""Whether to believe a result, and whether it is what its config expects.

`verdict` becomes part of the result: VALID; DEGRADED, with what to make allowance for; or
UNTRUSTWORTHY, with what went wrong.  Every reason is a row of REASONS: a function that looks at the
result and says its sentences.  `failures` are the sentences that make a run exit with 1, and
`check_expectations` refuses a config that expects what no result can say.
"""

from typing import Callable, NamedTuple

from harness.errors import UsageError, nearest

VALID, DEGRADED, UNTRUSTWORTHY = "VALID", "DEGRADED", "UNTRUSTWORTHY"

FEW_ATTEMPTS = 1000              # fewer SEAMCALLs than that say nothing about rates
STEAL_SHARE = 0.01               # of the processors' time
OTHER_SHARE, OTHER_S = 0.05, 0.05    # and at least so much: /proc/stat counts in hundredths of a second
CLOCK_OFFSET_NS = 1000           # calls take hundreds of nanoseconds, preemptions a million
CLOCK_DRIFT_SHARE = 0.001
SPEED_DRIFT_SHARE = 0.05
SATURATED_SHARE = 0.95           # of the arrivals in an open loop must have been served

# Where each percentile stands, and so how many samples it takes for one to lie beyond it.
SHARES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99_9": 0.999, "p99_99": 0.9999}

# Parts that can be broken without anything going wrong by that alone.
SILENT = {"tracking_check"}


def samples_needed(percentile: str) -> int:
    """The least number of samples of which one is expected beyond a percentile."""
    return round(1 / (1 - SHARES[percentile]))


# --- reasons ----------------------------------------------------------------------------------

class Reason(NamedTuple):
    """One thing that can be the matter with a result.

    find   result -> sentences; none if all is well, or if that is not known
    """

    name: str
    status: str
    find: Callable[[dict], list[str]]


def _records(result):
    return [f"the record of {name} is {state}" for name, state in result["records"].items()
            if state != "whole"]


def _conservation(result):
    if result["invariants"]["conservation"]:
        return ["counters are not conserved: attempts differ from success + busy + other, or BUSY from its"
                " causes"]
    return []


def _control(result):
    """What is broken on purpose must be seen to be broken."""
    broken = [part for part in result["config"]["checks"]["busted"] if part not in SILENT]
    seen = any(result["invariants"].values()) or any(result["bugs"].values())
    if broken and not seen:
        return [f"negative control did not fail: {', '.join(broken)} was broken on purpose and nothing was"
                " found"]
    return []


def _crowded(result):
    workers, processors = result["workers"]["count"], len(result["workers"]["processors"])
    if workers <= processors or result["conditions"] is None:
        return []
    return [f"{workers} workers share {processors} processors: BUSY includes lock holders"
            " that were preempted"]


def _quota(result):
    conditions, workers = result["conditions"], result["workers"]
    if not conditions:
        return []
    found, allowed = [], conditions["quota_processors"]
    wanted = min(workers["count"], len(workers["processors"]))
    if allowed is not None and allowed < wanted:
        found.append(f"CPU quota: this control group may use {allowed:g} processors, the workers want"
                     f" {wanted}")
    if conditions["throttled_count"]:
        found.append(f"CPU quota: the workers were stopped {conditions['throttled_count']} times, for"
                     f" {conditions['throttled_s']:g} s in all")
    return found


def _steal(result):
    share = (result["conditions"] or {}).get("steal_share")
    if share is None or share <= STEAL_SHARE:
        return []
    return [f"steal time: the hypervisor gave {100 * share:.3g} % of the workers' processors to others"]


def _other_load(result):
    share = (result["conditions"] or {}).get("other_load_share")
    processors = result["workers"]["processors"]
    if share is None or share <= OTHER_SHARE or share * result["measured_s"] * len(processors) <= OTHER_S:
        return []
    return [f"another load took {100 * share:.3g} % of the workers' processors"]


def _clock(result):
    clock, found = (result["conditions"] or {}).get("clock"), []
    if not clock:
        return []
    if clock["invariant"] is False:
        found.append("clock not invariant: the processor does not promise constant_tsc and nonstop_tsc")
    if clock["offset_ns"] is not None and clock["offset_ns"] > CLOCK_OFFSET_NS:
        found.append(f"clock not synchronous: two processors are {clock['offset_ns']:.0f} ns apart")
    if abs(clock["rate_drift_share"]) > CLOCK_DRIFT_SHARE:
        found.append(f"clock not invariant: its rate changed by {100 * clock['rate_drift_share']:+.2g} %")
    return found


def _speed(result):
    drift = (result["conditions"] or {}).get("speed_drift_share")
    if drift is None or abs(drift) <= SPEED_DRIFT_SHARE:
        return []
    return [f"frequency drift: the same work took {100 * drift:+.2g} % of its time at the end"]


def _saturated(result):
    """Behind an open loop that is not served the queue grows, and with it every latency."""
    found = []
    for what, stream in (result["arrivals"] or {}).items():
        if "offered_per_s" not in stream:
            continue
        offered, served = (stream[key] * result["measured_s"] for key in ("offered_per_s", "served_per_s"))
        if SATURATED_SHARE * offered - served > 3 * offered ** 0.5:
            found.append(f"open loop saturated: of {stream['offered_per_s']:g} {what} per s only"
                         f" {stream['served_per_s']:g} were served; latencies grow as long as it runs")
    return found


def _few(result):
    attempts = sum(call["attempts"] for call in result["seamcalls"].values())
    return [f"only {attempts} SEAMCALLs were made"] if attempts < FEW_ATTEMPTS else []


def _claims(result):
    """Percentiles that [expect] bounds, with too few samples behind them."""
    found = []
    for key in result["config"]["expect"]:
        where, _, percentile = key.rpartition(".")
        if percentile in SHARES:
            count = lookup(result, f"{where}.count")
            if count is not None and count < samples_needed(percentile):
                found.append(f"too few operations for expect.{key}: {count} samples, it takes at least"
                             f" {samples_needed(percentile)}")
    return found


def _interrupted(result):
    return ["interrupted"] if result["interrupted"] else []


REASONS = (
    Reason("worker record", UNTRUSTWORTHY, _records),
    Reason("conservation", UNTRUSTWORTHY, _conservation),
    Reason("negative control", UNTRUSTWORTHY, _control),
    Reason("more workers than processors", DEGRADED, _crowded),
    Reason("CPU quota", DEGRADED, _quota),
    Reason("steal time", DEGRADED, _steal),
    Reason("another load", DEGRADED, _other_load),
    Reason("clock", DEGRADED, _clock),
    Reason("frequency", DEGRADED, _speed),
    Reason("open loop", DEGRADED, _saturated),
    Reason("few operations", DEGRADED, _few),
    Reason("claims", DEGRADED, _claims),
    Reason("interrupted", DEGRADED, _interrupted),
)


def verdict(result: dict, problems: list[str], halt: str) -> dict:
    """Whether to believe a result: VALID, DEGRADED or UNTRUSTWORTHY, with the reasons.

    problems   what went wrong with the run itself; any makes it UNTRUSTWORTHY
    halt       how the module shut itself down, if it did: the run was shorter than meant
    """
    found = {UNTRUSTWORTHY: list(problems), DEGRADED: [halt] if halt else []}
    for reason in REASONS:
        found[reason.status] += reason.find(result)
    status = UNTRUSTWORTHY if found[UNTRUSTWORTHY] else DEGRADED if found[DEGRADED] else VALID
    return {"status": status, "reasons": found[UNTRUSTWORTHY] + found[DEGRADED]}


# --- expectations -----------------------------------------------------------------------------

def failures(result: dict, expect: dict) -> list[str]:
    """Invariants that were violated and expectations that were not met, as sentences.

    expect   dotted key of the result -> Bound; an invariant that has a bound is judged by that alone, and
             an empty bound asks nothing
    `bugs.total` and `invariants.total` are sums.
    """
    failed = [f"invariant {name}: {count} violations" for name, count in result["invariants"].items()
              if count and f"invariants.{name}" not in expect and "invariants.total" not in expect]
    for key, bound in expect.items():
        value = lookup(result, key)
        wanted = " and ".join(f"at {word} {limit:g}" for word, limit in (("least", bound.min), ("most", bound.max))
                              if limit is not None)
        if not wanted:
            continue                     # whatever it is, even if it could not be checked
        if value is None or not (bound.min is None or value >= bound.min) \
                or not (bound.max is None or value <= bound.max):
            failed.append(f"expected {key} {wanted}, got {value}")
    return failed


def lookup(result: dict, key: str):
    """A number of a result by its dotted key; None if there is none, 0 for a cause that did not occur."""
    if key in ("bugs.total", "invariants.total"):
        return sum(count or 0 for count in result[key.split(".")[0]].values())
    if key.startswith("bugs."):
        return result["bugs"].get(key.removeprefix("bugs."), 0)
    call, found, status = key.removeprefix("seamcalls.").partition(".other_by_status.")
    if found and call in result["seamcalls"]:
        return result["seamcalls"][call]["other_by_status"].get(status, 0)
    value = result
    parts = key.split(".")
    while parts:
        # Keys of a result may hold dots themselves (counters).
        for taken in range(len(parts), 0, -1):
            name = ".".join(parts[:taken])
            if isinstance(value, dict) and name in value:
                value, parts = value[name], parts[taken:]
                break
        else:
            return 0 if len(parts) == 1 and isinstance(value, dict) and not value else None
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def check_expectations(plan, example: dict) -> None:
    """Refuse an [expect] key that no result of this plan can have.  Raises UsageError.

    example   any result of the plan
    """
    known = set(_keys(example))
    known |= {"bugs.total", "invariants.total"}
    for call in plan.program.calls:
        known |= {f"bugs.{call}: {answer.name}" for answer in plan.program.answers}
        known |= {f"seamcalls.{call}.other_by_status.{answer.name}" for answer in plan.program.answers}
    for key in plan.config.expect:
        if key not in known:
            raise UsageError(f"{plan.config.name}: expect.{key}: no result has this number{nearest(key, known)}")


def _keys(value, prefix=""):
    """Dotted keys of all numbers (and nulls) in a result."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _keys(inner, f"{prefix}{key}.")
    elif not isinstance(value, str | list | bool):
        yield prefix.removesuffix(".")
