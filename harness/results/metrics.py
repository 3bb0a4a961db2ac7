"""The numbers that policies are compared by, as rows: one table for `run`, `compare`, `nightly` and `report`.

    key        in arguments, CSV, JSON and history files; the unit is in it
    name       in tables, with the unit
    heading    the same over a narrow column, broken into lines; "": not in the table of one line per policy
    better     "less" or "more"; "" where neither is better in itself
    watched    whether nightly jobs look for changes in it
    get        the number from a result, in the unit of the name; None where there is none

To add a metric: add a row.
"""

from typing import Callable, NamedTuple


class Metric(NamedTuple):
    key: str
    name: str
    heading: str
    better: str
    watched: bool
    get: Callable[[dict], float | None]

    def said(self, value: str) -> str:
        """`BUSY per attempt 0.05 %`: the name, a value, the unit."""
        name, _, unit = self.name.partition(", ")
        return f"{name} {value} {unit}".rstrip()


def _percent(share):
    return None if share is None else 100 * share


def _over(value, divisor):
    return None if value is None or not divisor else value / divisor


LESS, MORE = "less", "more"

METRICS = (
    Metric("busy_per_attempt_percent", "BUSY per attempt, %", "BUSY %\nof at-\ntempts", LESS, True,
           lambda r: _percent(r["busy"]["per_attempt"])),
    Metric("busy_net_percent", "BUSY net of the scheduler, %", "net of\nsche-\nduler", LESS, True,
           lambda r: _percent(r["busy"]["net"]["per_attempt"])),
    Metric("busy_per_operation_percent", "BUSY per operation, %", "", LESS, False,
           lambda r: _percent(r["busy"]["per_operation"])),
    Metric("retries_max", "most retries of one operation", "", LESS, False,
           lambda r: r["busy"]["retries_max"]),
    Metric("bugs_per_s", "KVM_BUG_ONs per s", "bugs\n\nper s", LESS, True,
           lambda r: sum(r["bugs"].values()) / r["measured_s"]),
    Metric("hangs_per_s", "hangs per s", "hangs\n\nper s", LESS, False,
           lambda r: r["hangs"]["count"] / r["measured_s"]),
    Metric("invariants_violated", "invariants violated", "bro-\nken", LESS, False,
           lambda r: sum(bool(count) for count in r["invariants"].values())),
    Metric("armed_per_million_faults", "zero-step armed per million faults", "armed\nper M\nfaults", LESS, True,
           lambda r: r["zero_step"]["armed_per_million_faults"]),
    Metric("synthetic_exits_per_s", "synthetic EPT violations per s", "synth.\nexits\nper s", LESS, False,
           lambda r: r["zero_step"]["synthetic_exits"] / r["measured_s"]),
    Metric("kicks_per_removal", "kick broadcasts per removal", "kicks\n/ re-\nmoval", LESS, False,
           lambda r: _over(r["kicks"]["broadcasts"], r["counters"]["removals"])),
    Metric("guest_time_lost_percent", "guest time lost to kicks, %", "guest\ntime\nlost %", LESS, True,
           lambda r: _percent(r["kicks"]["guest_time_lost_share"])),
    Metric("removal_p99_us", "removal p99, us", "remo-\nval us\np99", LESS, True,
           lambda r: _over(r["spans_ns"]["removal"]["p99"], 1000)),
    Metric("removals_per_s", "removals per s", "remo-\nvals\nper s", MORE, True,
           lambda r: r["throughput"]["removals_per_s"]),
)
BY_KEY = {metric.key: metric for metric in METRICS}
WATCHED = tuple(metric for metric in METRICS if metric.watched)

assert len(BY_KEY) == len(METRICS)
assert all(metric.better in (LESS, MORE, "") for metric in METRICS)
