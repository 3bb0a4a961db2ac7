"""Does virtual time agree with real time?  The same workloads under both, side by side.

Each policy's config of configs/ is cut down to one vCPU and one host thread (with `--workers`: more, which share two
processors in both engines), and run several times by real processes and in virtual time with costs that were measured on
this machine just before (calibrate.py).  Every number is shown as its median
with the least and greatest of the runs behind it.  The two engines *agree* on a number if those
intervals meet; the ratio of the medians says how far apart they are.

What this machine takes for a row may change from one second to the next (a virtual machine's processors move, and share
cores with others).  So costs are measured anew before each run in real time, and the run in virtual time that goes with it
has those.

Two workloads (WORKLOADS): the config's own, a closed loop in which calls rarely meet; and one page
that touches and removals ask for at random times, with calls that last, where one in ten is BUSY.  Only
arrivals at random make a BUSY rate comparable: two closed loops of calls that cost the same every time fall
into step in virtual time, and then meet always or never.  For the same reason TD entry lasts longer there
than a BLOCK: a vCPU back from a fault and a host that waited for the same mmu_lock would else race for
the entry within nanoseconds, which virtual time decides the same way every time.

What only processes do is left out: their look at who caused a BUSY takes lines from the holder, so that a guest that is
refused goes round half as fast (of ACCEPTs on one page 7 % were BUSY with it and 13 % without, in turns).

Both run releases 1.5.24 and 1.5.34.  Up to 1.5.16 a listed page that is PENDING keeps the only vCPU out for ever,
and what is measured then is when that happened.

Virtual time knows no other load, so runs in real time count only if both workers ran for most of the
time, or with more workers if others took little of the processors (QUIET_SHARE).  Where there are too few of them the best of all tries are taken, and the table
says what they are worth.
"""

import tempfile
from pathlib import Path
from typing import Callable

from harness import stops
from harness.commands import calibrate, running
from harness.files import write_file
from harness.experiment import config_file, shipped as shipped_files
from harness.protocol.policies import POLICIES
from harness.reports.validation import COMPARED, DURATION_S, QUIET_SHARE, RUNS, Row, make_row
from harness.results.schema import Result

TRIES = 12                       # in real time, for RUNS that count
RELEASES = ("1.5.24", "1.5.34")
WARMUP_S = 0.02
SETTINGS = ["checks.exclusive_ownership=false", "checks.attribution=false", f"duration_s={DURATION_S}", f"warmup_s={WARMUP_S}"]
TICK_NS = 4_000_000              # Linux ends slices at its ticks, of which many kernels have 250 a second
WORKERS = {2: (1, 1), 4: (3, 1), 8: (6, 2)}      # vCPUs and host threads
SHARED = ["machine.processors=2", "machine.preempt=yielding", f"machine.time_slice_ns={TICK_NS}"]
WORKLOADS = {
    "its own workload": [],
    "one page, random arrivals": [
        "workload.pages=1", "workload.hot_pages=1", "workload.accept_first=1.0", "workload.loop=open",
        "workload.touches_per_s=200000", "workload.removals_per_s=50000",
        "costs_ns.tdg_mem_page_accept=2000", "costs_ns.tdh_mem_range_block=1000", "costs_ns.td_entry=3000"],
}


def run(paths: list[str], progress: Callable[[float], None] = lambda _: None, workers: int = 2) -> list[Row]:
    """A row per config, workload, release and number: medians, intervals, ratio, how well they agree.

    Of a request to stop (stops.noted) the rows of the cases that are whole.  Raises UsageError for a config that is none.
    """
    rows, cases = [], [(path, workload, release) for path in paths for workload in WORKLOADS for release in RELEASES]
    vcpus, hosts = WORKERS[workers]
    machine = [] if workers == 2 else SHARED
    for path, _, _ in cases[::len(WORKLOADS) * len(RELEASES)]:
        config_file.load(path, SETTINGS)                 # refused before anything is measured
    calibrator = calibrate.Calibrator()
    with tempfile.TemporaryDirectory() as folder:
        costs = Path(folder) / "costs.toml"
        for index, (path, workload, release) in enumerate(cases):
            settings = [*SETTINGS, *WORKLOADS[workload], f"td.vcpus={vcpus}", f"workload.hosts={hosts}", f'module="{release}"']
            found = []
            for seed in range(1, TRIES + 1):
                write_file(calibrate.costs_file(calibrator.measure()), costs)
                real = _result(path, seed, [*settings, "engine=processes"])
                virtual = _result(path, seed + TRIES, [*settings, *machine, "engine=simulate", f'machine.costs="{costs}"'])
                if stops.asked():
                    return rows
                found.append((quiet_share(real), -seed, real, virtual))
                progress((index + seed / TRIES) / len(cases))
                if sum(share >= QUIET_SHARE for share, *_ in found) == RUNS:
                    break
            best = sorted(found, reverse=True)[:RUNS]
            made = (make_row(f"{Path(path).stem}, {workload}, {release}", metric, [run[2] for run in best], [run[3] for run in best],
                             best[-1][0]) for metric in COMPARED)
            rows += [row for row in made if row]
    return rows


def quiet_share(result: Result) -> float:
    """The share of the time in which the workers had the processors to themselves."""
    if len(result.conditions.workers) > 2:
        return max(0.0, 1 - (result.conditions.other_load_share or 0.0) - (result.conditions.steal_share or 0.0))
    return result.conditions.full_concurrency_share or 0.0


def shipped() -> list[str]:
    """The configs that differ in their policy only."""
    folder = shipped_files.folder()
    return [str(folder / f"{policy.name}.toml") for policy in POLICIES if (folder / f"{policy.name}.toml").exists()]


def _result(path: str, seed: int, settings: list[str]) -> Result:
    return running.measure(running.prepare(config_file.load(path, [*settings, f"seed={seed}"])))
