"""Does virtual time agree with real time?  The same workloads under both, side by side.

Each policy's config of configs/ is cut down to one vCPU and one host thread, so that two processors
are enough, and run several times by real processes and, on other seeds, in virtual time with costs
that were measured on this machine just before (calibrate.py).  Every number is shown as its median
with the least and greatest of the runs behind it.  The two engines *agree* on a number if those
intervals meet; the ratio of the medians says how far apart they are.

Virtual time knows no other load, so of many short runs in real time those count in which the workers
had their processors for the greatest share of the time.  That share is shown: on a machine that does
other things as well it is low, and then nothing here says much.
"""

import importlib
import resource
import statistics
import tempfile
from pathlib import Path
from typing import Callable

from harness import calibrate, config, results
from harness.judge import lookup
from harness.plan import make_plan
from harness.policies import POLICIES
from harness.report import number, table_of, wrap

RUNS = 5                         # that count ...
TRIES = 60                       # ... of so many in real time
QUIET_SHARE = 0.9                # of the time that workers must have run
DURATION_S, WARMUP_S = 0.08, 0.02
SETTINGS = ["td.vcpus=1", "workload.hosts=1", "checks.exclusive_ownership=false",
            f"duration_s={DURATION_S}", f"warmup_s={WARMUP_S}"]

# What is compared: heading, unit, how to get it from a result.
HOST_CALLS = ("tdh_mem_page_aug", "tdh_vp_enter", "tdh_mem_range_block", "tdh_mem_track", "tdh_mem_page_remove")


def _busy(name: str) -> Callable:
    def get(result):
        call = result["seamcalls"][name]
        return 100 * call["busy"] / call["attempts"] if call["attempts"] else None
    return get


METRICS = (
    *((f"BUSY, {name}", "%", _busy(name)) for name in (*HOST_CALLS, "tdg_mem_page_accept")),
    ("BUSY per attempt", "%", lambda r: 100 * (r["busy"]["per_attempt"] or 0)),
    ("retries, greatest", "", lambda r: r["busy"]["retries_max"]),
    ("removals", "per ms", lambda r: r["throughput"]["removals_per_s"] / 1000),
    ("installs", "per ms", lambda r: r["throughput"]["installs_per_s"] / 1000),
    ("touches", "per ms", lambda r: r["throughput"]["touches_per_s"] / 1000),
    ("removal, p50", "us", lambda r: (lookup(r, "spans_ns.removal.p50") or 0) / 1000),
    ("guest time lost", "%", lambda r: 100 * r["kicks"]["guest_time_lost_share"]),
)


def run(paths: list[str], progress: Callable[[float], None] = lambda _: None) -> list[dict]:
    """A row per config and number: medians, intervals, ratio, whether they agree.

    Raises UsageError for a config that is none.
    """
    with tempfile.TemporaryDirectory() as folder:
        costs = Path(folder) / "costs.toml"
        calibrate.run(str(costs))
        rows = []
        for index, path in enumerate(paths):
            real, share = _real(path)
            progress((index + 0.8) / len(paths))
            virtual = [_result(path, seed, ["engine=simulate", f'machine.costs="{costs}"'])
                       for seed in range(1, RUNS + 1)]
            progress((index + 1) / len(paths))
            rows += [row(Path(path).stem, *metric, real, virtual, share) for metric in METRICS]
    return [row for row in rows if row]


def shipped() -> list[str]:
    """The configs that differ in their policy only."""
    folder = Path(__file__).parent.parent / "configs"
    return [str(folder / f"{policy.name}.toml") for policy in POLICIES if (folder / f"{policy.name}.toml").exists()]


def report(rows: list[dict]) -> str:
    """The comparison as a table; how much of the time the workers ran says what it is worth."""
    def shown(values):
        return f"{number(statistics.median(values))} ({number(min(values))} .. {number(max(values))})"

    parts = [f"1 vCPU + 1 host on 2 processors; median (least .. greatest) of {RUNS} runs of {DURATION_S:g} s"]
    for policy in dict.fromkeys(row["policy"] for row in rows):
        mine = [row for row in rows if row["policy"] == policy]
        parts.append(f"\n{policy}; workers ran for {100 * mine[0]['workers_ran']:.0f} % of the time")
        parts.append(table_of([
            {"number": row["number"], "unit": row["unit"], "processes": shown(row["processes"]),
             "simulate": shown(row["simulate"]), "ratio": number(row["ratio"]),
             "": "agree" if row["agree"] else "differ"} for row in mine], "table"))
    if min(row["workers_ran"] for row in rows) < QUIET_SHARE:
        parts.append(wrap("\nDEGRADED: other work kept the workers from their processors; virtual time knows none."
                          " Repeat this on a quiet machine"))
    return "\n".join(parts)


def _real(path: str) -> tuple[list[dict], float]:
    """The runs in which the workers ran most, and the least share of the time that they did."""
    found = []
    for seed in range(1, TRIES + 1):
        before = _workers_s()
        result = _result(path, seed, ["engine=processes"])
        found.append(((_workers_s() - before) / (2 * (result["measured_s"] + WARMUP_S)), seed, result))
    best = sorted(found, reverse=True)[:RUNS]
    return [result for _, _, result in best], min(share for share, _, _ in best)


def _workers_s() -> float:
    """Processor time of all workers that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _result(path: str, seed: int, settings: list[str]) -> dict:
    plan = make_plan(config.load(path, [*SETTINGS, *settings, f"seed={seed}"]))
    engine = importlib.import_module(f"harness.engines.{plan.config.engine}")
    return results.from_measured(engine.run(plan))


def row(name: str, metric: str, unit: str, get: Callable, real: list[dict], virtual: list[dict],
        share: float) -> dict | None:
    """One line of the comparison; None where neither engine has anything to say."""
    ours, theirs = ([value for value in map(get, found) if value is not None] for found in (real, virtual))
    if not ours or not theirs or not any(ours) and not any(theirs):
        return None
    meet = min(ours) <= max(theirs) and min(theirs) <= max(ours)
    one, other = statistics.median(ours), statistics.median(theirs)
    return {"policy": name, "number": metric, "unit": unit, "processes": ours, "simulate": theirs,
            "ratio": other / one if one else None, "agree": meet, "workers_ran": share}
