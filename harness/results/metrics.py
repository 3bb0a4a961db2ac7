"""The numbers of a result, as rows: one table for `run`, `compare`, `sweep`, `nightly`, `report` and `doctor --validate`.

    key        in arguments, CSV, JSON and history files; the unit is in it
    name       in tables, with the unit
    get        the number from a result, in the unit of the name; None where there is none
    better     "less" or "more"; "" where neither is better in itself
    heading    the name over a narrow column, broken into lines
    of         of a share: of how many; 0 of n is shown as at most 3 / n (rule of three, 95 %)
    times      of a share: what 1 is in the unit of the name
    events     of what is fatal and rare: how often it happened.  Such a number is never shown as a
               median, which hides it, but as a total and in how many runs
    scale      of its plot (plots.curves)

To add a number: add a row.  Who shows numbers chooses rows by their keys (`chosen`); what `compare`
shows and what `nightly` watches stands at the end.
"""

import statistics
from typing import Callable, NamedTuple, Sequence

from harness.results.schema import Result, net_of_preempted

LESS, MORE = "less", "more"


class Metric(NamedTuple):
    key: str
    name: str
    get: Callable[[Result], float | None]
    better: str = ""
    heading: str = ""
    of: Callable[[Result], int | None] | None = None
    times: float = 1
    events: Callable[[Result], int] | None = None
    scale: str = "linear"

    @property
    def title(self) -> str:
        """The name without its unit."""
        return self.name.partition(", ")[0]

    def said(self, value: str) -> str:
        """`BUSY per attempt 0.05 %`: the name, a value, the unit."""
        return f"{self.title} {value} {self.name.partition(', ')[2]}".rstrip()


def impossible(metric: Metric, value: float) -> str:
    """Why a value cannot be one of a metric; "" if it can."""
    if value < 0:
        return "must be at least 0"
    return "must be at most 100" if value > 100 and metric.of and metric.times == 100 else ""


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share


def _thousandth(value: float | None) -> float | None:
    return None if value is None else value / 1000


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def _busy_of(name: str) -> Metric:
    def percent(result: Result) -> float | None:
        call = result.seamcalls.get(name)
        return call and _percent(_ratio(call.busy, call.attempts))

    return Metric(f"busy_percent.{name}", f"{name} BUSY, %", percent, LESS,
                  of=lambda r: r.seamcalls[name].attempts, times=100)


METRICS = (
    # BUSY
    Metric("busy_per_attempt_percent", "BUSY per attempt, %", lambda r: _percent(r.busy.per_attempt), LESS,
           "BUSY,\n% of\ntries", of=lambda r: r.busy.attempts, times=100, scale="symlog"),
    Metric("busy_net_percent", "BUSY net of the scheduler, %", lambda r: _percent(r.busy.net.per_attempt), LESS,
           "BUSY\nnet,\n%", of=lambda r: net_of_preempted(r.busy.attempts, r.busy.by_cause), times=100),
    Metric("busy_per_operation_percent", "BUSY per operation, %", lambda r: _percent(r.busy.per_operation), LESS,
           "BUSY,\n% of\nops", of=lambda r: r.busy.operations, times=100),
    Metric("busy_net_per_operation_percent", "BUSY per operation net of the scheduler, %",
           lambda r: _percent(r.busy.net.per_operation), LESS, of=lambda r: r.busy.operations, times=100),
    Metric("busy_per_waited_ms", "BUSY per ms of waiting", lambda r: _thousandth(r.busy.per_time), LESS),
    Metric("busy_per_1000_operations", "BUSY answers per 1000 operations",
           lambda r: _ratio(1000 * r.busy.answers, r.busy.operations), LESS, of=lambda r: r.busy.operations, times=1000),
    Metric("retries_max", "most retries of one operation", lambda r: r.busy.retries_max, LESS),
    Metric("late_holds", "preempted holds that refused", lambda r: r.busy.late_holds),
    *(_busy_of(call) for call in ("tdh_mem_page_aug", "tdh_vp_enter", "tdh_mem_range_block", "tdh_mem_track",
                                  "tdh_mem_page_remove", "tdg_mem_page_accept")),

    # what is fatal
    Metric("bugs_per_s", "KVM_BUG_ONs, per s", lambda r: sum(r.bugs.values()) / r.measured_s, LESS, "bugs",
           events=lambda r: sum(r.bugs.values())),
    Metric("guest_deaths_per_s", "dead guests, per s", lambda r: sum(r.guest_deaths.values()) / r.measured_s, LESS,
           "dead\nguests", events=lambda r: sum(r.guest_deaths.values())),
    Metric("hangs_per_s", "hangs, per s", lambda r: r.hangs.count / r.measured_s, LESS, "hangs",
           events=lambda r: r.hangs.count),
    Metric("invariants_violated", "violations of invariants", lambda r: sum(map(bool, r.invariants.values())), LESS,
           "broken", events=lambda r: sum(count or 0 for count in r.invariants.values())),

    # zero-step mitigation
    Metric("private_faults", "private faults", lambda r: r.zero_step.private_faults),
    Metric("zero_step_armed", "zero-step armed", lambda r: r.zero_step.armed, LESS),
    Metric("armed_per_million_faults", "zero-step armed per million faults",
           lambda r: r.zero_step.armed_per_million_faults, LESS, "armed\nper M\nfaults",
           of=lambda r: r.zero_step.private_faults, times=1e6, scale="symlog"),
    Metric("entries_with_tree_lock", "entries with tree lock", lambda r: r.zero_step.entries_with_lock, LESS),
    Metric("entries_refused_tree", "entries refused, tree BUSY", lambda r: r.zero_step.busy_entries, LESS),
    Metric("synthetic_exits", "synthetic EPT violations", lambda r: r.zero_step.synthetic_exits, LESS),
    Metric("synthetic_exits_per_s", "synthetic EPT violations per s", lambda r: r.zero_step.synthetic_exits / r.measured_s,
           LESS, "synth.\nexits\nper s"),

    # host priority
    Metric("priority_set", "host priority (TDHP) set", lambda r: r.host_priority.set),
    Metric("priority_cleared", "host priority cleared by a host", lambda r: r.host_priority.cleared),
    Metric("priority_lost", "host priority lost in a store", lambda r: r.host_priority.lost, LESS),
    Metric("priority_orphaned", "host priority orphaned", lambda r: r.host_priority.orphaned, LESS),
    Metric("priority_timeouts", "TD exits after hp_lock_timeout", lambda r: r.host_priority.timeouts, LESS),
    Metric("guest_refused_p50_us", "guest refused for host priority p50, us",
           lambda r: _thousandth(r.host_priority.guest_refused_ns.p50), LESS),
    Metric("guest_refused_max_us", "guest refused for host priority max, us",
           lambda r: _thousandth(r.host_priority.guest_refused_ns.max), LESS),

    # kicks
    Metric("kick_broadcasts", "kick broadcasts", lambda r: r.kicks.broadcasts),
    Metric("kicks_per_removal", "kick broadcasts per removal",
           lambda r: _ratio(r.kicks.broadcasts, r.counters["removals"]), LESS, "kicks\nper\nremoval",
           of=lambda r: r.counters["removals"]),
    Metric("vcpus_interrupted", "vCPUs interrupted", lambda r: r.kicks.vcpus_interrupted),
    Metric("kick_wait_p50_us", "kick wait p50, us", lambda r: _thousandth(r.kicks.wait_ns.p50), LESS),
    Metric("kick_wait_p99_us", "kick wait p99, us", lambda r: _thousandth(r.kicks.wait_ns.p99), LESS),
    Metric("entries_barred", "entries refused by the bar", lambda r: r.kicks.entries_refused),
    Metric("guest_time_lost_percent", "guest time lost to kicks, %", lambda r: _percent(r.kicks.guest_time_lost_share),
           LESS, "guest\ntime\nlost %"),
    Metric("time_lost_p50_us", "guest time lost per kick p50, us", lambda r: _thousandth(r.kicks.guest_time_lost_ns.p50), LESS),
    Metric("time_lost_p99_us", "guest time lost per kick p99, us", lambda r: _thousandth(r.kicks.guest_time_lost_ns.p99), LESS),

    # Dynamic PAMT
    Metric("pamt_wait_percent", "time waiting for pamt_lock, %", lambda r: r.pamt_pairs and _percent(r.pamt_pairs.wait_share), LESS,
           "wait\npamt\n%"),
    Metric("fault_p99_us", "fault p99, us", lambda r: _thousandth(r.spans_ns.fault.p99), LESS, "fault\np99,\nus", scale="log"),

    # throughput and times
    Metric("touches_per_s", "touches per s", lambda r: r.throughput.touches_per_s, MORE, "touches\nper s", scale="log"),
    Metric("installs_per_s", "installs per s", lambda r: r.throughput.installs_per_s, MORE, "installs\nper s"),
    Metric("removals_per_s", "removals per s", lambda r: r.throughput.removals_per_s, MORE, "removals\nper s"),
    Metric("removal_p50_us", "removal p50, us", lambda r: _thousandth(r.spans_ns.removal.p50), LESS,
           "remove\np50,\nus", scale="log"),
    Metric("removal_p99_us", "removal p99, us", lambda r: _thousandth(r.spans_ns.removal.p99), LESS,
           "remove\np99,\nus", scale="log"),
    Metric("stall_max_ms", "longest stall of a touch, ms", lambda r: (r.spans_ns.touch_stalled.max or 0) / 1e6, LESS),
)
BY_KEY = {metric.key: metric for metric in METRICS}

assert len(BY_KEY) == len(METRICS)
assert all(metric.better in (LESS, MORE, "") for metric in METRICS)


def legend(metrics: Sequence[Metric]) -> str:
    """What each heading stands for: `BUSY, % of tries: BUSY per attempt, %; ...`; of those that say less than the name."""
    said = {" ".join(metric.heading.split()): metric.title if metric.events else metric.name for metric in metrics if metric.heading}
    return "; ".join(f"{heading}: {name}" for heading, name in said.items() if heading != name)


def chosen(*keys: str) -> tuple[Metric, ...]:
    """Rows by their keys."""
    return tuple(BY_KEY[key] for key in keys)


# What `compare` shows, and history files hold.
COMPARED = chosen(
    "busy_per_attempt_percent", "busy_net_percent", "busy_per_operation_percent", "retries_max", "bugs_per_s",
    "guest_deaths_per_s", "hangs_per_s", "invariants_violated", "armed_per_million_faults", "synthetic_exits_per_s", "kicks_per_removal",
    "guest_time_lost_percent", "removal_p99_us", "removals_per_s")

# What nightly jobs look for changes in.
WATCHED = chosen(
    "busy_per_attempt_percent", "busy_net_percent", "bugs_per_s", "armed_per_million_faults",
    "guest_time_lost_percent", "removal_p99_us", "removals_per_s")

FATAL = tuple(metric for metric in METRICS if metric.events)


# --- over several runs ------------------------------------------------------------------------

class Events(NamedTuple):
    """How often something happened, in how many of how many runs."""

    total: int
    in_runs: int
    runs: int


def events(metric: Metric, results: Sequence[Result]) -> Events:
    """Of a metric that counts events."""
    counts = [metric.events(result) for result in results]
    return Events(sum(counts), sum(map(bool, counts)), len(counts))


def values(metric: Metric, results: Sequence[Result]) -> list[float]:
    """Of those results that have it."""
    return [value for result in results if (value := metric.get(result)) is not None]


def none_of(metric: Metric, results: Sequence[Result]) -> int | None:
    """Of how many none was seen, where the median of a share is 0: those of the runs that saw none."""
    if metric.of is None:
        return None
    counted = [(value, metric.of(result) or 0) for result in results if (value := metric.get(result)) is not None]
    if not counted or statistics.median(value for value, _ in counted):
        return None
    return sum(whole for value, whole in counted if not value)
