"""What `make bench` says of the search: states and transitions per second, counted on one processor.

As `explore` does it; with actors that are alike in every order; with all distinguished that nobody can see; with every access
a step (no reduction); and with one thread and two.
The tables have been in use before, so that their pages are there.  Seconds are of the processor, not of
the clock: the search is one thread that waits for nothing.
"""

import time
from pathlib import Path

from harness.results import grading
from harness.engines.explore import search as explore
from harness.experiment import litmus
from harness.experiment.scenario_file import load, parse
from kernels import moves, states

ROOT = Path(__file__).parent.parent.parent
ACCEPT, AUG = "tdg_mem_page_accept 3", "tdh_mem_page_aug 3 retry 2"
WORLDS = {
    "2 actors: ACCEPT twice, AUG": {"vcpu0": [ACCEPT, ACCEPT], "host0": AUG},
    "3 actors: ACCEPT twice, 2 x AUG": {"vcpu0": [ACCEPT, ACCEPT], "host0": AUG, "host1": AUG},
    "4 actors: ACCEPT, 3 x AUG": {"vcpu0": ACCEPT, "host0": AUG, "host1": AUG, "host2": AUG},
}
VARIANTS = {"": {}, ", alike hosts in every order": {"symmetry": False}, ", every access a step": {"reduce": False}}
FLOWS = ROOT / "configs/explore/fault_zap_two_vcpus.toml", "1.5.24", "2 vCPUs touch, 1 removal"
REDUCTIONS = {"": {}, ", vCPUs in every order": {"symmetry": False}, ", RIPs of entries distinguished": {"forget": moves.LOST_TRIES}}
LARGE = ROOT / "configs/explore/large/three_vcpus_again.toml", "1.5.34", "3 vCPUs touch twice, 1 removal"
ROUNDS, PAIRED_ROUNDS, SHARED_ROUNDS = 3, 10, 2
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
            rows.append(timed(name + variant, scenario, options))
    path, module, name = FLOWS
    return rows + [timed(name + variant, load(path, [module])[0], options) for variant, options in REDUCTIONS.items()]


def timed(name: str, scenario, options: dict) -> list:
    """A line of `searching`."""
    search, best = explore.Search(scenario, **options), float("inf")
    if "reduce" not in options:
        search.scout()
    for _ in range(ROUNDS):
        began = time.process_time()
        search.search()
        best = min(best, time.process_time() - began)
    found, transitions = int(search.counts[states.N_STATES]), int(search.counts[states.TRANSITIONS])
    return [name, found, round(search.bytes_used() / found), f"{found / best / 1e6:.2f}", f"{transitions / best / 1e6:.2f}"]


def sharing() -> list[list]:
    """[threads, states, bytes a state, s, s of processor, M states/s] of a large search: the fastest of SHARED_ROUNDS by the clock."""
    path, module, name = LARGE
    rows = []
    for jobs in (1, 2):
        search, best = explore.Search(load(path, [module])[0]), (float("inf"), 0.0)
        search.scout()
        for _ in range(SHARED_ROUNDS):
            began, used = time.perf_counter(), time.process_time()
            search.search(jobs=jobs)
            best = min(best, (time.perf_counter() - began, time.process_time() - used))
        found = int(search.counts[states.N_STATES])
        rows.append([f"{name}, {jobs} thread{'s' * (jobs > 1)}", found, round(search.bytes_used() / found), *(f"{each:.1f}" for each in best),
                     f"{found / best[0] / 1e6:.2f}"])
    return rows


# The same calls on the same entries, as C and as a scenario; in both the answers are kept.
TWO_AUGS = "u64 a = tdh_mem_page_aug(td, 0x3000, 0, page); u64 b = tdh_mem_page_aug(td, 0x4000, 0, page);"
RETRIED = "u64 a; int i = 0; do a = tdh_mem_page_aug(td, 0x3000, 0, page); while (tdx_operand_busy(a) && i++ < 2);"
ACCEPTED = "u64 a = tdg_mem_page_accept(0x3000, 0); u64 b = tdg_mem_page_accept(0x3000, 0);"
TWO_BLOCKS = "u64 a = tdh_mem_range_block(td, 0x3000, 0); u64 b = tdh_mem_range_block(td, 0x4000, 0);"
BESIDE = {
    "3 x AUG of two pages": ({f"host{number}": ["tdh_mem_page_aug 3", "tdh_mem_page_aug 4"] for number in range(3)}, [TWO_AUGS] * 3),
    "2 x AUG and 2 x BLOCK of two pages": (
        {**{f"host{number}": ["tdh_mem_page_aug 3", "tdh_mem_page_aug 4"] for number in (0, 1)},
         **{f"host{number}": ["tdh_mem_range_block 3", "tdh_mem_range_block 4"] for number in (2, 3)}}, [TWO_AUGS] * 2 + [TWO_BLOCKS] * 2),
    "ACCEPT twice and 2 x AUG that retries": ({"vcpu0": [ACCEPT, ACCEPT], "host0": AUG, "host1": AUG}, [ACCEPTED, RETRIED, RETRIED]),
    "the mirror race: 2 faults": ({"vcpu0": {"touch": [3]}, "vcpu1": {"touch": [3]}}, ["fault(0x3000);"] * 2),
}


def both_forms(name: str) -> tuple:
    """(the test in C, the scenario) of BESIDE; with the same locals and answers to be seen at the end."""
    actors, bodies = BESIDE[name]
    [scenario] = parse({"actors": actors, "start": {"pages": {"3": "FREE", "4": "FREE"}}}, "bench")
    shown = "; ".join(f"{number}:{local}" for number, body in enumerate(bodies) for local in "ab" if f"u64 {local}" in body)
    return litmus.parse("C bench\n{ page 3 = FREE; page 4 = FREE; }\n" + "".join(
        f"P{number}() {{ {body} }}\n" for number, body in enumerate(bodies)) + f"locations [{shown}]" * bool(shown)
        + "\nforall (true)\n", "bench"), scenario


def litmus_beside() -> list[list]:
    """[what, ns a state of C, of the scenario, ratio]: both searched in turn, the fastest of PAIRED_ROUNDS each."""
    rows = []
    for name in BESIDE:
        searches, best = [explore.Search(each, symmetry=False) for each in both_forms(name)], [float("inf")] * 2
        for search in searches:
            search.scout()
        for number in range(PAIRED_ROUNDS):
            for place in (0, 1) if number % 2 else (1, 0):
                began = time.process_time()
                searches[place].search()
                best[place] = min(best[place], time.process_time() - began)
        each = [1e9 * took / int(search.counts[states.N_STATES]) for took, search in zip(best, searches)]
        rows.append([f"{name} ({int(searches[0].counts[states.N_STATES])} and {int(searches[1].counts[states.N_STATES])} states)",
                     *(f"{one:.0f}" for one in each), f"{each[0] / each[1]:.2f}"])
    return rows


def assembling() -> list[list]:
    """[what, seconds, limit]: 500 lines of C as rows."""
    helpers = "".join(f"static int f{i}(int *x, int *y, int n)\n{{\n\tint i, r = 0;\n\n\tfor (i = 0; i < 2; i++) {{\n\t\tif (READ_ONCE(*x) == n)\n"
                      f"\t\t\tr += cmpxchg(y, {i}, n);\n\t\telse\n\t\t\tatomic_fetch_add(2, x);\n\t}}\n\treturn r;\n}}\n" for i in range(38))
    text = f"C t\n{{ }}\n{helpers}P0(int *x, int *y)\n{{\n\tint r = 0;\n" + "".join(f"\tr += f{i}(x, y, {i});\n" for i in range(38)) + "}\n"
    began = time.process_time()
    rows = len(litmus.parse(text, "bench").program.rows)
    return [[f"{len(text.splitlines())} lines of C as {rows} rows, s of processor", f"{time.process_time() - began:.2f}", "under 1"]]


def pairs() -> list[list]:
    """[what, seconds, limit]: all shipped pair scenarios of one release, with their verdicts."""
    began, count = time.process_time(), 0
    for file in sorted((ROOT / "configs/explore").glob("pairs*.toml")):
        for scenario in load(file, [PAIRS_MODULE]):
            grading.judge(explore.run(scenario), lambda derived, bound: explore.run(derived, preemptions=bound))
            count += 1
    return [[f"explore of all {count} pair scenarios of {PAIRS_MODULE}, s of processor",
             f"{time.process_time() - began:.1f}", "under 20"]]
