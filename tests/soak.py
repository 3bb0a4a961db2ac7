"""No correct run is failed by `run --check-outcomes`: very many calls, under all policies and several releases.

    python -m tests.soak [--operations 1e8] [--seed N] [--releases 1.5.05,1.5.20,1.5.24]
                         [--engines processes,simulate] [--virtual-s 0.01]

Round after round, each with another workload and other sizes, every policy is run under every release, in real
and in virtual time, and what its calls answered is held against what can be.  Ends with exit code 1, and with
the config that did it, when an answer cannot be.  Operations are calls that were answered.
"""

import argparse
import itertools
import random
import sys
import time
from collections import Counter

from harness import engines
from harness.commands import check_outcomes
from harness.engines.thread_modular.bound import bound
from harness.experiment.config import Config
from harness.experiment.plan import make_plan
from harness.protocol.policies import POLICIES
from harness.results import document

RELEASES = "1.5.05,1.5.20,1.5.24"
SHAPES = (
    {"removal": "punch_hole"},
    {"removal": "punch_hole", "removal_pages": 8, "spammers": 1},
    {"removal": "conversion", "userspace_skips": 1},
    {"removal": "memslot_delete"},
    {"removal": "teardown"},
    {"removal": "punch_hole", "removal_pages": 4, "may_sleep": False, "migrate_share": 0.01},
    {"removal": "punch_hole", "string_pages": 4},
)
REAL_S, VIRTUAL_S = 4.0, 0.01    # of a run
# Costs that vary, so that virtual time shows many interleavings.
VARYING = {"stall_every_ns": 2_000, "stall_ns": 400, "distribution": {"transfer": "exponential", "stall": "exponential"}}


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
                     "tdg_mem_page_accept": dice.choice((0, 500))},
        "checks": {"exclusive_ownership": dice.random() < 0.5},
    })


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__.splitlines()[0])
    parser.add_argument("--operations", type=float, default=1e8)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--releases", default=RELEASES)
    parser.add_argument("--engines", default="processes,simulate")
    parser.add_argument("--virtual-s", type=float, default=VIRTUAL_S)
    options = parser.parse_args(arguments)
    durations_s = {"processes": REAL_S, "simulate": options.virtual_s}
    dice, began = random.Random(options.seed), time.monotonic()
    operations, runs, unjudged, met = Counter(), Counter(), 0, set()
    for number, shape in enumerate(itertools.cycle(SHAPES)):
        for policy, module in itertools.product([policy.name for policy in POLICIES], options.releases.split(",")):
            for engine in options.engines.split(","):
                each = config(shape, policy, module, engine, durations_s[engine], dice)
                result = document.from_measured(engines.load(engine).run(make_plan(each)))
                operations[engine] += sum(call.attempts for call in result.seamcalls.values())
                runs[engine] += 1
                if check_outcomes.why_not(result):
                    unjudged += 1
                    continue
                met |= {(policy, module, *answer) for answer in check_outcomes.answered(result)}
                if wrong := check_outcomes.impossible(result, each):
                    print("\n".join(wrong), each, f"bound {sorted(bound(each).answers)}", sep="\n")
                    return 1
        print(f"round {number + 1}, {shape}: {sum(operations.values()):.3g} calls so far in {sum(runs.values())} runs,"
              f" {time.monotonic() - began:.0f} s", flush=True)
        if sum(operations.values()) >= options.operations:
            break
    print(f"{sum(operations.values()):.3g} calls without an answer that cannot be:"
          f" {', '.join(f'{count:.3g} in {runs[engine]} runs of engine {engine}' for engine, count in operations.items())};"
          f" {len(POLICIES)} policies, releases {options.releases}; {len(met)} different (policy, release, call, answer) met;"
          f" {unjudged} runs not judged")
    return 0


if __name__ == "__main__":
    sys.exit(main())
