"""Results made by hand: the document of a run in which nothing happened, with the numbers a test wants.

    result = made("kick_vcpus", block=3, removals_per_s=1000.0, per_attempt=0.01)
"""

import copy
import functools

from harness.results import document
from harness.results.trust import VALID
from harness.experiment.plan import make_plan
from tests.stage import config

NUMBERS = {
    "per_attempt": ("busy", "per_attempt"), "per_operation": ("busy", "per_operation"),
    "retries_max": ("busy", "retries_max"), "lost_share": ("kicks", "guest_time_lost_share"),
    "removals_per_s": ("throughput", "removals_per_s"), "removal_p99_ns": ("spans_ns", "removal", "p99"),
    "armed": ("zero_step", "armed_per_million_faults"),
}


@functools.cache
def _empty(policy: str) -> dict:
    return document.example(make_plan(config(policy, name=policy)))


def made(policy="kick_vcpus", name=None, block=0, session="s1", order=0, of=7, **numbers) -> dict:
    """A VALID result; `numbers` are keys of NUMBERS, or keys of the result itself."""
    result = copy.deepcopy(_empty(policy))
    result["name"] = result["config"]["name"] = name or policy
    result["started_at"] = f"2026-11-21T03:00:{block:02d}Z"
    result["seed"] = result["config"]["seed"] = 1 + block
    result["verdict"] = {"status": VALID, "reasons": []}
    if session:
        result["block"] = {"session": session, "plan": "p", "number": block, "order": order, "of": of}
    for key, value in numbers.items():
        if key not in NUMBERS:
            result[key] = value
            continue
        *tables, last = NUMBERS[key]
        functools.reduce(lambda table, inner: table[inner], tables, result)[last] = value
    return result
