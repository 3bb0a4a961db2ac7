"""`run --check-outcomes`: could what a real run has met come out of any interleaving at all?

What a run has met is every (call, answer) of its SEAMCALLs and TDCALLs, and what the SEPT entries spell
when it has ended.  It is held against small worlds with the same policy, release and primitive, every
interleaving of which is explored.  One that is too large for that is explored as far as
MEMORY_MIB goes, and sampled by random runs besides; what has been met in any of them can happen.

So a sentence says one of two things: that the run, or the search, does what the other cannot, which is
a fault of this harness; or that the worlds here are too small to show it.
"""

import functools
from typing import NamedTuple

from harness.engines.explore import search
from harness.errors import UsageError
from harness.experiment.plan import behaviour
from harness.protocol.counted_answers import REFUSALS
from harness.protocol.policies import Policy
from harness.protocol.flows.flow import Behaviour
from harness.experiment.scenario import Scenario
from harness.experiment.scenario_file import parse
from harness.results.schema import Result

MEMORY_MIB = 96                  # of tables for each world
RUNS, SEED = 400, 1              # of a world that does not fit
PHASES = (1, 2, 3, 5, 8)         # of a policy that answers every nth call itself: calls until it does
SAME_CALLS = ("loop",)           # keys of a workload that change no flow

TOUCH, TWICE, REMOVE = {"touch": [3]}, {"touch": [3, 3]}, {"remove": [3]}
MAPPED, PENDING, NO_TABLES = {"pages": {"3": "MAPPED"}}, {"pages": {"3": "PENDING"}}, {"tables": False}
TWO_PAGES = {"pages": {"3": "MAPPED", "4": "MAPPED"}}
# (actors, start, whether vCPUs ACCEPT before they touch), with what each is for.
WORLDS = (
    ({"vcpu0": TWICE, "host0": REMOVE}, MAPPED, "either"),                                 # a fault and a removal
    ({"vcpu0": TOUCH, "host0": REMOVE}, PENDING | {"listed": {"vcpu0": [3]}}, "either"),   # the entry filter
    ({"vcpu0": TOUCH, "host0": REMOVE}, PENDING, "either"),                                # ACCEPT and BLOCK
    ({"vcpu0": TWICE, "host0": {"remove": [3, 3]}}, MAPPED, "either"),
    ({"vcpu0": TOUCH, "host0": REMOVE, "host1": {"remove": [4]}}, TWO_PAGES, True),        # one TRACK and another
    ({"vcpu0": TOUCH, "vcpu1": TOUCH}, NO_TABLES, True),                                   # SEPT pages are added
    ({"vcpu0": TOUCH, "vcpu1": TOUCH}, NO_TABLES | {"listed": {"vcpu1": [3]}}, True),      # ... and the filter
    ({"vcpu0": TOUCH, "vcpu1": TOUCH, "host0": REMOVE}, MAPPED | {"listed": {"vcpu0": [3]}}, True),
)
INJECTED_WORLDS = (0, 6)         # in which a policy's own answers are looked for


class Possible(NamedTuple):
    """What the worlds can come to."""

    answers: set[tuple[str, str]]                    # (call, answer)
    entries: set[str]
    complete: bool


def check_config(config) -> None:
    """Raises UsageError for a run whose flows the worlds do not have."""
    wanted, plain = behaviour(config.workload), Behaviour()
    for key in Behaviour._fields:
        if key not in SAME_CALLS and getattr(wanted, key) != getattr(plain, key):
            raise UsageError(f"{config.name}: workload.{key} = {getattr(wanted, key)!r}: --check-outcomes knows"
                             f" touches and removals of single pages; must be {getattr(plain, key)!r}")
    for name in ("faults", "checks"):
        for key, value in getattr(config, name):
            default = type(getattr(config, name)).model_fields[key].default
            if key in ("busted", "seamcall", "no_entropy_share", "machine_check_share") and value != default:
                raise UsageError(f"{config.name}: {name}.{key} = {value!r}: --check-outcomes knows no run in which"
                                 f" something is broken on purpose; must be {default!r}")


def worlds(policy: Policy, module: str, primitive: str) -> list[Scenario]:
    starts = list(WORLDS)
    if policy.inject_every:
        starts += [(WORLDS[place][0], WORLDS[place][1] | {"words": {"calls_injected": policy.inject_every - calls}},
                    WORLDS[place][2]) for place in INJECTED_WORLDS for calls in PHASES]
    return [scenario for actors, start, accepts in starts
            for scenario in parse({"actors": actors, "start": start, "accept_first": accepts, "policy": policy,
                                   "module": module, "primitive": primitive, "timeouts": True,
                                   "must_violate": ["livelock"]}, "outcomes")]



@functools.cache
def possible(policy: Policy, module: str, primitive: str = "cas") -> Possible:
    answers, entries, complete = set(), set(), True
    for scenario in worlds(policy, module, primitive):
        found = [search.run(scenario, MEMORY_MIB)]
        if not found[0].complete:
            complete = False
            found.append(search.sample(scenario, RUNS, SEED, memory_mib=MEMORY_MIB))
        for each in found:
            if each.interrupted:
                raise KeyboardInterrupt
            answers |= each.answered
            entries |= each.entries
    return Possible(answers, entries, complete)


def unexplored(result: Result, policy: Policy) -> list[str]:
    """What a run has met and no interleaving of the worlds comes to, as sentences."""
    can = possible(policy, result.module, result.primitive)
    note = "" if can.complete else " (the search was not complete)"
    answers = sorted(answered(result) - can.answers)
    # Entries that somebody has locked are between two words, not outcomes.
    entries = sorted(set(result.entries or ()) - {name for name in can.entries if "+EL" not in name})
    return ([f"outcome {call}: {answer} was not met by explore{note}" for call, answer in answers]
            + [f"outcome SEPT entry: {name} was not met by explore{note}" for name in entries])


def answered(result: Result) -> set[tuple[str, str]]:
    """(call, answer) of all that a run's calls were answered."""
    seen = set()
    for call, counts in result.seamcalls.items():
        seen |= {(call, "TDX_SUCCESS")} if counts.success else set()
        seen |= {(call, REFUSALS[operand].name) for operand, count in counts.busy_by_operand.items() if count}
        seen |= {(call, name) for name, count in counts.other_by_status.items() if count}
    return seen
