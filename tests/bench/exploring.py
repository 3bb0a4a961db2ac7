"""What `make bench` says of the search: states and transitions per second, counted on one processor.

As `explore` does it; with hosts that are alike in every order; and with every access a step (no reduction).
The tables have been in use before, so that their pages are there.  Seconds are of the processor, not of
the clock: the search is one thread that waits for nothing.
"""

import time
from pathlib import Path

from harness.results import grading
from harness.engines.explore import search as explore
from harness.experiment.scenario_file import load, parse
from kernels import states

ROOT = Path(__file__).parent.parent.parent
ACCEPT, AUG = "tdg_mem_page_accept 3", "tdh_mem_page_aug 3 retry 2"
WORLDS = {
    "2 actors: ACCEPT twice, AUG": {"vcpu0": [ACCEPT, ACCEPT], "host0": AUG},
    "3 actors: ACCEPT twice, 2 x AUG": {"vcpu0": [ACCEPT, ACCEPT], "host0": AUG, "host1": AUG},
    "4 actors: ACCEPT, 3 x AUG": {"vcpu0": ACCEPT, "host0": AUG, "host1": AUG, "host2": AUG},
}
VARIANTS = {"": {}, ", alike hosts in every order": {"symmetry": False}, ", every access a step": {"reduce": False}}
ROUNDS = 3
PAIRS_MODULE = "1.5.05"


def searching() -> list[list]:
    """[name, states, bytes a state, M states/s, M transitions/s] of each world, reduced and not."""
    rows = []
    for name, actors in WORLDS.items():
        for variant, options in VARIANTS.items():
            if "reduce" in options and name.startswith("4"):
                continue                 # a hundred million states say nothing new
            if "symmetry" in options and name.startswith("2"):
                continue                 # no two hosts
            [scenario] = parse({"actors": actors, "start": {"pages": {"3": "FREE"}}}, "bench")
            search, best = explore.Search(scenario, **options), float("inf")
            if "reduce" not in options:
                search.scout()
            for _ in range(ROUNDS):
                began = time.process_time()
                search.search()
                best = min(best, time.process_time() - began)
            found, transitions = int(search.counts[states.N_STATES]), int(search.counts[states.TRANSITIONS])
            rows.append([name + variant, found, round(search.bytes_used() / found),
                         f"{found / best / 1e6:.2f}", f"{transitions / best / 1e6:.2f}"])
    return rows


def pairs() -> list[list]:
    """[what, seconds, limit]: all shipped pair scenarios of one release, with their verdicts."""
    began, count = time.process_time(), 0
    for file in sorted((ROOT / "configs/explore").glob("pairs*.toml")):
        for scenario in load(file, [PAIRS_MODULE]):
            grading.judge(explore.run(scenario), lambda derived, bound: explore.run(derived, preemptions=bound))
            count += 1
    return [[f"explore of all {count} pair scenarios of {PAIRS_MODULE}, s of processor",
             f"{time.process_time() - began:.1f}", "under 20"]]
