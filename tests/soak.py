"""No correct run is failed by `run --check-outcomes`: very many calls, under all policies and several releases.

    python -m tests.soak [--operations 1e8] [--seed N] [--releases 1.5.05,1.5.20,1.5.24]
                         [--engines processes,simulate] [--virtual-s 0.01] [--kept FILE] [--minutes M]

Round after round, each with another workload and other sizes, every policy is run under every release, in real
and in virtual time, and what its calls answered is held against what can be.  Ends with exit code 1, and with
the config that did it, when an answer cannot be.  Operations are calls of runs that were judged.

A run follows from the seed and its number alone.  So it can be done piece by piece: with --kept, a file has what was done, and
the same command goes on behind it; --minutes ends a piece.
"""

import argparse
import itertools
import json
import random
import sys
import time
from collections import Counter
from pathlib import Path

from harness import engines
from harness.commands import check_outcomes
from harness.engines.thread_modular.bound import bound
from harness.experiment.config import Config
from harness.experiment.plan import make_plan
from harness.files import read_json, write_file
from harness.protocol.policies import POLICIES
from harness.results import document

RELEASES = "1.5.05,1.5.20,1.5.24"
# A workload, and the share of a run's virtual time that it gets: less where guests spend most of it without calls.
SHAPES = (
    ({"removal": "punch_hole"}, 1.0),
    ({"removal": "punch_hole", "removal_pages": 8, "spammers": 1}, 0.2),
    ({"removal": "conversion", "userspace_skips": 1}, 1.0),
    ({"removal": "memslot_delete"}, 0.1),
    ({"removal": "teardown"}, 0.1),
    ({"removal": "punch_hole", "removal_pages": 4, "may_sleep": False, "migrate_share": 0.01}, 1.0),
    ({"removal": "punch_hole", "string_pages": 4}, 0.1),
)
REAL_S, VIRTUAL_S = 4.0, 0.01    # of a run
# Costs that vary, so that virtual time shows many interleavings; a guest that works lets virtual time pass without calls.
VARYING = {"stall_every_ns": 2_000, "stall_ns": 400,
           "distribution": {"transfer": "exponential", "stall": "exponential", "guest_work": "exponential"}}
GUEST_WORK_NS = {"processes": (0,), "simulate": (200, 1_000, 5_000)}


def config(shape: dict, policy: str, module: str, engine: str, duration_s: float, dice: random.Random) -> Config:
    """One workload of a shape: many faults on few pages, and hosts that remove them as fast as they can."""
    pages = dice.choice((8, 16, 64))
    return Config.model_validate({
        "name": "soak", "engine": engine, "policy": policy, "module": module, "seed": dice.randrange(1 << 32),
        "duration_s": duration_s, "machine": VARYING if engine == "simulate" else {}, "warmup_s": 0,
        "restart_on_bug": True, "primitive": dice.choice(("cas", "bts")),
        "td": {"vcpus": dice.randint(2, 6), "memory_mib": 2},
        "workload": shape | {"pages": pages, "hot_pages": dice.randint(1, 8), "accept_first": dice.choice((0, 0.5, 0.9, 1)),
                             "hosts": dice.randint(1, 3), "removals_per_s": dice.choice((0, 20_000, 200_000))},
        "costs_ns": {"invalidate": dice.choice((0, 2_000)), "tdh_mem_page_aug": dice.choice((0, 500)),
                     "tdg_mem_page_accept": dice.choice((0, 500)), "guest_work": dice.choice(GUEST_WORK_NS[engine])},
        "checks": {"exclusive_ownership": dice.random() < 0.5},
    })


class Done:
    """What was done so far: runs, the calls of those that were judged, the different answers; maybe kept in a file."""

    def __init__(self, path: str | None):
        self.path = path and Path(path)
        kept = read_json(self.path) if self.path and self.path.exists() else {}
        self.runs, self.unjudged, self.seconds = (kept.get(name, 0) for name in ("runs", "unjudged", "seconds"))
        self.operations = Counter(kept.get("operations", {}))
        self.met = {tuple(answer) for answer in kept.get("met", ())}

    def keep(self) -> None:
        if self.path:
            write_file(json.dumps(vars(self) | {"path": None, "met": sorted(self.met)}) + "\n", self.path)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__.splitlines()[0])
    parser.add_argument("--operations", type=float, default=1e8)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--releases", default=RELEASES)
    parser.add_argument("--engines", default="processes,simulate")
    parser.add_argument("--virtual-s", type=float, default=VIRTUAL_S)
    parser.add_argument("--kept", metavar="FILE", help="go on behind what it has, and keep there what was done")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="end then, with exit code 0, and with --kept go on another time")
    options = parser.parse_args(arguments)
    done, began = Done(options.kept), time.monotonic()
    cases = list(itertools.product(SHAPES, [policy.name for policy in POLICIES], options.releases.split(","), options.engines.split(",")))
    random.Random(options.seed).shuffle(cases)           # so that a part of a round has some of everything
    while sum(done.operations.values()) < options.operations and time.monotonic() - began < 60 * options.minutes:
        (shape, share), policy, module, engine = cases[done.runs % len(cases)]
        duration_s = share * options.virtual_s if engine == "simulate" else REAL_S
        since = time.monotonic()
        each = config(shape, policy, module, engine, duration_s, random.Random(f"{options.seed} {done.runs}"))
        result = document.from_measured(engines.load(engine).run(make_plan(each)))
        done.runs += 1
        if check_outcomes.why_not(result):
            done.unjudged += 1
        else:
            done.operations[engine] += sum(call.attempts for call in result.seamcalls.values())
            done.met |= {(policy, module, *answer) for answer in check_outcomes.answered(result)}
            if wrong := check_outcomes.impossible(result, each):
                print("\n".join(wrong), each, f"bound {sorted(bound(each).answers)}", sep="\n")
                return 1
        done.seconds += time.monotonic() - since
        done.keep()
        if done.runs % (len(cases) // len(SHAPES)) == 0:
            print(f"{done.runs} runs, the last {policy} {module} {shape}: {sum(done.operations.values()):.3g} calls so far, {done.seconds:.0f} s", flush=True)
    print(f"{sum(done.operations.values()):.3g} calls without an answer that cannot be"
          f" ({', '.join(f'engine {engine} {count:.3g}' for engine, count in done.operations.items())}) in {done.runs} runs,"
          f" {done.seconds:.0f} s; {len(POLICIES)} policies, releases {options.releases};"
          f" {len(done.met)} different (policy, release, call, answer) met; {done.unjudged} runs not judged, and not counted")
    return 0


if __name__ == "__main__":
    sys.exit(main())
