"""What any run of a config can come to at all: answers of calls, and what SEPT entries spell.

    bound(config)      found once for all configs that differ only in sizes, rates and times

A bound is an upper one: what is not in it cannot be; what is in it need not be possible.
"""

from typing import NamedTuple

from harness.engines.thread_modular.closure import Closure
from harness.experiment.config import Checks, Config
from harness.experiment.plan import make_plan
from kernels.words import TDEL, spell_entry

# What is taken for granted, by the names of the invariants that a run checks.
TAKEN_FOR_GRANTED = ("exclusive_ownership", "one_freezer", "no_halt")
PAGE = 3                         # any page below the large ones,
LARGE_PAGE = 512 + PAGE          # and any of those
MEMORY_MIB = 6                   # so that a page of each kind has others beside it

# Of actors that do the same, two are as good as any number; these are how many kinds there can be.
VCPUS, SPAMMERS, HOSTS, TDS = 4, 2, 3, 2


class Bound(NamedTuple):
    answers: frozenset[tuple[str, str]]              # (call, answer)
    entries: frozenset[str]                          # that nobody has locked


_known: dict[str, Bound] = {}


def bound(config: Config) -> Bound:
    """All that any run of a config, without what it breaks on purpose, can come to."""
    small = smallest(config)
    key = repr(small)
    if key not in _known:
        plan = make_plan(small)
        pages = (PAGE, LARGE_PAGE) if small.workload.removal == "split" else (PAGE,)
        closures = [Closure(plan, page) for page in pages]
        _known[key] = Bound(frozenset().union(*(each.answers for each in closures)),
                            frozenset(spell_entry(word) for each in closures for word in each.entries if not word & TDEL))
    return _known[key]


def smallest(config: Config) -> Config:
    """The smallest config with the flows of `config`: sizes, rates, times and checks do not matter."""
    td, workload = config.td, config.workload
    spammers = min(workload.spammers, SPAMMERS)
    return Config.model_construct(**(dict(config) | {
        "name": "smallest", "engine": "simulate", "seed": 1, "expect": {}, "checks": Checks(exclusive_ownership=False),
        "td": td.model_copy(update={"vcpus": min(td.vcpus, VCPUS + spammers), "memory_mib": MEMORY_MIB,
                                    "count": min(td.count, TDS)}),
        "workload": workload.model_copy(update={
            "spammers": spammers, "hosts": min(workload.hosts, HOSTS), "build_pages": min(workload.build_pages, 2 * PAGE),
            "pattern": "uniform", "remove_pattern": "same", "pages": None}),
        "costs_ns": config.costs_ns.model_copy(update={name: min(cost, 1) for name, cost in config.costs_ns}),
    }))
