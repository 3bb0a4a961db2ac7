"""Under which conditions a run was measured: what lies between two readings, as a part of its result.

Values only; results/trust.py decides what is too much.  Unknown is None.

    full_concurrency_share   share of the time in which no worker was ready to run and kept off its
                             processor; at least this much, as no two are taken to have waited together
                             within the time between two looks
"""

from typing import Callable, NamedTuple

from harness.host.procfs import Moment, Worker


class Clocks(NamedTuple):
    """What was found out about the actors' clock and about the processors' speed (kernels/clock_checks.py)."""

    source: str | None
    invariant: bool | None
    offset_ns: float | None      # the farthest that two processors' clocks may be apart
    rate_drift: float            # ticks per ns at the end against the start, as a share
    speed_drift: float           # time of a fixed piece of work, the same


class Concurrency:
    """Adds up, look by look, the time in which every worker ran or slept of its own will."""

    def __init__(self):
        self.first: dict[str, Worker] = {}
        self.last: dict[str, Worker] = {}
        self.looked_s = self.full_s = self.at_s = 0.0
        self.stopped_s: dict[str, float] = {}            # by worker, if it was stopped from outside at all

    def look(self, now_s: float, workers: dict[str, Worker | None]) -> None:
        """`workers` as they are now; a look at which one has ended already says nothing."""
        if None in workers.values():
            return
        if self.last:
            waited_s = sum(worker.waited_s - self.last[name].waited_s for name, worker in workers.items())
            self.looked_s += now_s - self.at_s
            self.full_s += max(0.0, now_s - self.at_s - waited_s)
            for name, worker in workers.items():         # half of the time between two looks that differ
                if looks := worker.stopped + self.last[name].stopped:
                    self.stopped_s[name] = self.stopped_s.get(name, 0.0) + looks / 2 * (now_s - self.at_s)
        self.first = self.first or workers
        self.last, self.at_s = workers, now_s

    def there_s(self, since_s: float, workers: dict[str, Worker | None]) -> float:
        """How long one of the workers at least has run or waited for a processor since then."""
        known = [now.ran_s + now.waited_s - self.last[name].ran_s - self.last[name].waited_s
                 for name, now in workers.items() if now and name in self.last]
        return max(0.0, max(known, default=0.0) - max(0.0, since_s - self.at_s))

    def share(self) -> float | None:
        return self.full_s / self.looked_s if self.looked_s else None


class Pauses:
    """Adds up the time in which a process that never sleeps for long was there neither to run nor to wait for a
    processor: all of a run was stopped (Ctrl-Z), or frozen with its control group (docker pause).

    Time in which a worker was there is none: the process alone was kept from looking, by a signal or a disk.
    """

    def __init__(self, asleep_s: float):
        """asleep_s   the longest that the process sleeps between two looks"""
        self.asleep_s, self.stopped_s, self.unwatched_s = asleep_s, 0.0, 0.0
        self.at_s, self.last = 0.0, None

    def look(self, now_s: float, me: Worker | None, counts: bool = True, others_s: Callable[[float], float] = lambda since_s: 0.0) -> None:
        """
        counts     not of a time in which it may have slept for another reason, such as a terminal that takes no more
        others_s   how long a worker was there since a time; asked only if the process was not
        """
        if counts and me and self.last:
            there_s = me.ran_s - self.last.ran_s + me.waited_s - self.last.waited_s
            gone_s = now_s - self.at_s - there_s - self.asleep_s
            if gone_s > self.asleep_s:
                stopped_s = max(0.0, gone_s - others_s(self.at_s))
                self.stopped_s += stopped_s
                self.unwatched_s += gone_s - stopped_s
        self.at_s, self.last = now_s, me


def between(start: Moment, end: Moment, processors: list[int], concurrency: Concurrency,
            clocks: Clocks, pauses: Pauses) -> dict:
    """The conditions between two moments, as the result says them.

    processors   those that workers were pinned to
    """
    duration_s = end.at_s - start.at_s
    shared_s = duration_s * len(processors)
    workers = {name: _worker(concurrency.first[name], last) | {"stopped_s": round(concurrency.stopped_s.get(name, 0.0), 6)}
               for name, last in concurrency.last.items()}
    known = bool(workers)
    busy_s = steal_s = None
    if all(number in moment.processors for number in processors for moment in (start, end)):
        busy_s, steal_s = (
            sum(getattr(end.processors[number], what) - getattr(start.processors[number], what)
                for number in processors) for what in ("busy_s", "steal_s"))
    ours_s = sum(worker["ran_s"] for worker in workers.values()) if known else None
    other_s = max(0.0, busy_s - ours_s) if busy_s is not None and known else None
    quota = end.quota
    return {
        "full_concurrency_share": _rounded(concurrency.share()),
        "involuntary_switches_count": sum(worker["involuntary_switches_count"] for worker in workers.values())
        if known else None,
        "steal_share": _share(steal_s, shared_s), "other_load_share": _share(other_s, shared_s),
        "quota_processors": quota and quota.processors,
        "throttled_count": quota and start.quota and quota.throttled_count - start.quota.throttled_count,
        "throttled_s": quota and start.quota and round(quota.throttled_s - start.quota.throttled_s, 6),
        "clock": {"source": clocks.source, "invariant": clocks.invariant,
                  "offset_ns": None if clocks.offset_ns is None else round(clocks.offset_ns, 1),
                  "rate_drift_share": _rounded(clocks.rate_drift)},
        "speed_drift_share": _rounded(clocks.speed_drift),
        "stopped_s": round(pauses.stopped_s, 6),
        "unwatched_s": round(pauses.unwatched_s, 6),
        "workers": workers,
    }


def _worker(start: Worker, end: Worker) -> dict:
    return {"ran_s": round(end.ran_s - start.ran_s, 6), "waited_s": round(end.waited_s - start.waited_s, 6),
            "involuntary_switches_count": end.involuntary_switches - start.involuntary_switches}


def _share(part_s, whole_s) -> float | None:
    return None if part_s is None or not whole_s else _rounded(part_s / whole_s)


def _rounded(value) -> float | None:
    return None if value is None else round(value, 6)
