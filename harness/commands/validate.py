"""Does virtual time agree with real time?  The same workloads under both, side by side.

Each policy's config of configs/ is cut down to one vCPU and one host thread, so that two processors
are enough, and run several times by real processes and, on other seeds, in virtual time with costs
that were measured on this machine just before (calibrate.py).  Every number is shown as its median
with the least and greatest of the runs behind it.  The two engines *agree* on a number if those
intervals meet; the ratio of the medians says how far apart they are.

Two workloads (WORKLOADS): the config's own, a closed loop in which calls rarely meet; and one page
that touches and removals ask for at random times, with calls that last, where one in ten is BUSY.  Only
arrivals at random make a BUSY rate comparable: two closed loops whose calls cost the same every time fall
into step in virtual time, and then meet always or never.  For the same reason TD entry lasts longer there
than a BLOCK: a vCPU back from a fault and a host that waited for the same mmu_lock would else race for
the entry within nanoseconds, which virtual time decides the same way every time.

Both run release 1.5.24.  Up to 1.5.16 a listed page that is PENDING keeps the only vCPU out for ever,
and what is measured then is when that happened.

Virtual time knows no other load, so runs in real time count only if both workers ran for most of the
time (QUIET_SHARE).  Where there are too few of them the best of all tries are taken, and the table
says what they are worth.
"""

import statistics
import tempfile
from pathlib import Path
from typing import Callable

from harness.commands import calibrate, running
from harness.experiment import config_file
from harness.results.trust import lookup
from harness.protocol.policies import POLICIES
from harness.reports.text import number, table_of, wrap

RUNS = 7                         # that count ...
TRIES = 40                       # ... of at most so many in real time
QUIET_SHARE = 0.95               # of the time that both workers must have run
DURATION_S, WARMUP_S = 0.1, 0.02
CLOSE = 0.1                      # medians that differ by no more are called close
SETTINGS = ["td.vcpus=1", "workload.hosts=1", "checks.exclusive_ownership=false", 'module="1.5.24"',
            f"duration_s={DURATION_S}", f"warmup_s={WARMUP_S}"]
WORKLOADS = {
    "its own workload": [],
    "one page, random arrivals": [
        "workload.pages=1", "workload.hot_pages=1", "workload.accept_first=1.0", "workload.loop=open",
        "workload.touches_per_s=200000", "workload.removals_per_s=50000",
        "costs_ns.tdg_mem_page_accept=2000", "costs_ns.tdh_mem_range_block=1000", "costs_ns.td_entry=3000"],
}

AGREE, NEAR, DIFFER = "agree", f"within {100 * CLOSE:g} %", "differ"

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
    ("bugs", "per ms", lambda r: sum(r["bugs"].values()) / r["measured_s"] / 1000),
    ("guest time lost", "%", lambda r: 100 * r["kicks"]["guest_time_lost_share"]),
)


def run(paths: list[str], progress: Callable[[float], None] = lambda _: None) -> list[dict]:
    """A row per config, workload and number: medians, intervals, ratio, how well they agree.

    Raises UsageError for a config that is none.
    """
    rows, cases = [], [(path, workload) for path in paths for workload in WORKLOADS]
    with tempfile.TemporaryDirectory() as folder:
        costs = Path(folder) / "costs.toml"
        calibrate.run(str(costs))
        for index, (path, workload) in enumerate(cases):
            settings = [*SETTINGS, *WORKLOADS[workload]]
            real, share = _real(path, settings)
            progress((index + 0.8) / len(cases))
            virtual = [_result(path, seed, [*settings, "engine=simulate", f'machine.costs="{costs}"'])
                       for seed in range(1, RUNS + 1)]
            progress((index + 1) / len(cases))
            rows += [row(f"{Path(path).stem}, {workload}", *metric, real, virtual, share) for metric in METRICS]
    return [row for row in rows if row]


def shipped() -> list[str]:
    """The configs that differ in their policy only."""
    folder = Path(__file__).parent.parent.parent / "configs"
    return [str(folder / f"{policy.name}.toml") for policy in POLICIES if (folder / f"{policy.name}.toml").exists()]


def report(rows: list[dict]) -> str:
    """The comparison as a table; how much of the time the workers ran says what it is worth."""
    def shown(values):
        return f"{number(statistics.median(values))} ({number(min(values))} .. {number(max(values))})"

    parts = [f"1 vCPU + 1 host on 2 processors, module 1.5.24; median (least .. greatest) of {RUNS} runs of"
             f" {DURATION_S:g} s"]
    for case in dict.fromkeys(row["case"] for row in rows):
        mine = [row for row in rows if row["case"] == case]
        parts.append(f"\n{case}; both workers ran for {100 * mine[0]['workers_ran']:.0f} % of the time or more")
        parts.append(table_of([
            {"": ", ".join(filter(None, (row["number"], row["unit"]))), "processes": shown(row["processes"]),
             "simulate": shown(row["simulate"]), "ratio": number(row["ratio"]),
             "verdict": row["verdict"]} for row in mine], "table"))
    counts = {verdict: sum(row["verdict"] == verdict for row in rows) for verdict in (AGREE, NEAR, DIFFER)}
    parts.append("\n" + ", ".join(f"{count} {verdict}" for verdict, count in counts.items()) + f" of {len(rows)} numbers")
    if min(row["workers_ran"] for row in rows) < QUIET_SHARE:
        parts.append(wrap("\nDEGRADED: other work kept the workers from their processors; virtual time knows none."
                          " Repeat this on a quiet machine"))
    return "\n".join(parts)


def _real(path: str, settings: list[str]) -> tuple[list[dict], float]:
    """Runs in which both workers ran nearly always, and the least share of the time that they did."""
    found = []
    for seed in range(1, TRIES + 1):
        result = _result(path, seed, [*settings, "engine=processes"])
        found.append((result["conditions"]["full_concurrency_share"] or 0.0, seed, result))
        quiet = [each for each in found if each[0] >= QUIET_SHARE]
        if len(quiet) == RUNS:
            break
    best = quiet if len(quiet) == RUNS else sorted(found, reverse=True)[:RUNS]
    return [result for _, _, result in best], min(share for share, _, _ in best)


def _result(path: str, seed: int, settings: list[str]) -> dict:
    return running.measure(running.prepare(config_file.load(path, [*settings, f"seed={seed}"])))


def row(case: str, metric: str, unit: str, get: Callable, real: list[dict], virtual: list[dict],
        share: float) -> dict | None:
    """One line of the comparison; None where neither engine has anything to say."""
    ours, theirs = ([value for value in map(get, found) if value is not None] for found in (real, virtual))
    if not ours or not theirs or not any(ours) and not any(theirs):
        return None
    meet = min(ours) <= max(theirs) and min(theirs) <= max(ours)
    one, other = statistics.median(ours), statistics.median(theirs)
    ratio = other / one if one else None
    verdict = AGREE if meet else NEAR if ratio and abs(ratio - 1) <= CLOSE else DIFFER
    return {"case": case, "number": metric, "unit": unit, "processes": ours, "simulate": theirs,
            "ratio": ratio, "verdict": verdict, "workers_ran": share}
