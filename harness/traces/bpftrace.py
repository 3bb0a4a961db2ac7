"""Lines of `bpftrace -f json`: maps and histograms, as examples/tdx.bt names them, and texts of printf.

    {"type": "hist", "data": {"@ns": {"tdh_mem_page_aug": [{"min": 512, "max": 1023, "count": 7}, ...]}}}
    {"type": "hist", "data": {"@usecs_tdh_mem_track": [{"min": 0, "max": 0, "count": 513}, ...]}}
    {"type": "map", "data": {"@status": {"tdh_mem_track,9223372036854775808": 5}}}

A map that is printed again is the same map with more in it: the last one counts.
"""

from typing import NamedTuple

from harness.files import from_json
from harness.traces.events import CALL

UNITS_NS = {"ns": 1, "nsecs": 1, "us": 1_000, "usecs": 1_000, "ms": 1_000_000, "msecs": 1_000_000}
MAPS = ("status", "vcpu_faults", "page_faults", "removed", "seconds")


class Times(NamedTuple):
    """A histogram: (from, to, count) in ns, `to` inclusive."""

    call: str
    buckets: list[tuple[int, int, int]]


class Counts(NamedTuple):
    """A map of counts."""

    name: str
    counts: dict[str, int]


def read(line: str) -> list | None:
    """Times, Counts and texts of a line; [] for what bpftrace says about itself; None for a line that is not known."""
    try:
        said = from_json(line, keep="\n\t")
        kind, data = said["type"], said.get("data")
        if kind in ("attached_probes", "lost_events", "time"):
            return []
        if kind == "printf":
            return [str(data)]
        if kind not in ("hist", "lhist", "map", "stats"):
            return None
        found = [each for name, value in data.items() for each in _map(kind, name.lstrip("@"), value)]
        return found or None
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        return None


def _map(kind: str, name: str, value) -> list:
    if kind == "map" and name in MAPS:
        held = value if isinstance(value, dict) else {"": value}
        return [Counts(name, {str(key): int(count) for key, count in held.items() if int(count) >= 0})]
    if kind not in ("hist", "lhist"):
        return []
    unit = next((UNITS_NS[word] for word in name.split("_") if word in UNITS_NS), None)
    keyed = value if isinstance(value, dict) else {name: value}
    calls = [(CALL.search(key), buckets) for key, buckets in keyed.items()]
    return [Times(call[0], _buckets(buckets, unit)) for call, buckets in calls if call and unit]


def _buckets(buckets, unit: int) -> list[tuple[int, int, int]]:
    """The first bucket may be open to below, the last to above."""
    found = []
    for bucket in buckets:
        if "max" not in bucket and "min" not in bucket or int(bucket["count"]) < 0:
            raise ValueError("a bucket")
        most = bucket.get("max", bucket.get("min"))
        least = max(0, bucket.get("min", 0))
        if max(least, most) >= 1 << 64:
            raise ValueError("no number of bpftrace")
        if most >= 0:
            found.append((int(least) * unit, (int(most) + 1) * unit - 1, int(bucket["count"])))
    return found
