"""The random choices of a program as tables, from which a driver draws with one random word each.

Which page is touched or removed goes by the workload's pattern; everything else is yes or no, with the
share of yes in the config.
"""

from typing import NamedTuple

import numpy as np

from harness.errors import UsageError
from harness.experiment.config import Config
from kernels.dice import SEQUENCE, SPLIT, WEIGHTED

WEIGHTED_PAGES = 1 << 22         # a weight for each of more pages takes too long to prepare

# Choices between no and yes: the table and the key of the config that say how often it is yes.
SHARES = {
    "accept_first": ("workload", "accept_first"), "map_gpa": ("workload", "map_gpa_share"),
    "accept_part": ("workload", "accept_parts"),
    "migrate": ("workload", "migrate_share"), "seamcall_fault": ("faults", "seamcall_share"),
    "no_entropy": ("faults", "no_entropy_share"), "machine_check": ("faults", "machine_check_share"),
}


class Choice(NamedTuple):
    """One choice (kernels/dice.py `choose`)."""

    kind: int
    count: int                   # outcomes
    thresholds: list | np.ndarray
    aliases: list | np.ndarray


class Choices(NamedTuple):
    """All choices of a program, one after the other.

    table        int64 (choices, 3): kind, first element in the arrays below, count
    thresholds   int64
    aliases      int64
    """

    table: np.ndarray
    thresholds: np.ndarray
    aliases: np.ndarray


def make_choices(config: Config, names: tuple[str, ...]) -> Choices:
    """Raises UsageError for a choice among too many."""
    choices = [make_choice(config, name) for name in names]
    first = np.cumsum([0, *(len(choice.thresholds) for choice in choices)])
    rows = [(choice.kind, begin, choice.count) for choice, begin in zip(choices, first)]
    return Choices(np.array(rows, np.int64).reshape(-1, 3),
                   *(np.concatenate([np.zeros(0, np.int64), *column]).astype(np.int64) for column in
                     ([choice.thresholds for choice in choices], [choice.aliases for choice in choices])))


def make_choice(config: Config, name: str) -> Choice:
    """A choice by the name that flows call it by."""
    if name in SHARES:
        table, key = SHARES[name]
        share = getattr(getattr(config, table), key)
        return Choice(WEIGHTED, 2, *alias_table(np.array([1 - share, share])))
    if name == "split":              # each large page in turn; the first 2 MiB are small pages
        return _in_turn(config.td.memory_mib // 2 - 1)
    pattern = config.workload.remove_pattern if name == "remove" else "same"
    if pattern == "same":
        pattern = config.workload.pattern
    if name == "remove" and pattern == "boot":
        pattern = "sequential"       # host threads have no pieces
    return PATTERNS[pattern](config, working_pages(config))


def working_pages(config: Config) -> int:
    """The pages that are touched and removed one by one."""
    all_pages = 512 if config.workload.removal == "split" else config.td.pages
    return min(config.workload.pages or all_pages, all_pages)


def _in_turn(outcomes: int, piece: int = 1, left_out: int = 0) -> Choice:
    return Choice(SEQUENCE, outcomes, [piece], [left_out])


def _sequential(_: Config, pages: int) -> Choice:
    return _in_turn(pages)


def _boot(config: Config, pages: int) -> Choice:
    vcpus, piece = config.guest.acceptors_of(config.td.vcpus, pages)
    return _in_turn(pages, piece, (vcpus - 1) * piece)


def page_before(config: Config, kind: str, index: int) -> int:
    """The page before the one where an actor's sequence begins: its share of the pages, or its first piece of them."""
    pages = working_pages(config)
    if kind == "vcpu" and config.workload.pattern == "boot":
        vcpus, piece = config.guest.acceptors_of(config.td.vcpus, pages)
        return (index - (vcpus - 1)) * piece - 1
    return index * pages // config.td.vcpus - 1


def _uniform(_: Config, pages: int) -> Choice:
    return Choice(SPLIT, pages, [1 << 32], [pages])


def _hot(config: Config, pages: int) -> Choice:
    hot = config.workload.hot_pages
    if hot >= pages:
        return _uniform(config, pages)
    return Choice(SPLIT, pages, [round(config.workload.hot_share * (1 << 32))], [hot])


def _zipf(config: Config, pages: int) -> Choice:
    if pages > WEIGHTED_PAGES:
        raise UsageError(f"{config.name}: workload.pattern = 'zipf': {pages} pages are in play; must be at most"
                         f" {WEIGHTED_PAGES} (set workload.pages)")
    return Choice(WEIGHTED, pages, *alias_table(1 / np.arange(1, pages + 1) ** config.workload.zipf_exponent))


PATTERNS = {"sequential": _sequential, "boot": _boot, "uniform": _uniform, "hot": _hot, "zipf": _zipf}


def alias_table(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Walker's alias method: (thresholds, aliases), both int64 (outcomes,).

    An outcome is drawn by picking an index evenly and then, with a 32-bit number below
    thresholds[index], that index, otherwise aliases[index].
    """
    count = len(weights)
    scaled = np.asarray(weights, float) * count / np.sum(weights)
    thresholds = np.full(count, 1 << 32, np.int64)
    aliases = np.arange(count, dtype=np.int64)
    small = [index for index in range(count) if scaled[index] < 1]
    large = [index for index in range(count) if scaled[index] >= 1]
    while small and large:
        less, more = small.pop(), large[-1]
        thresholds[less], aliases[less] = int(scaled[less] * (1 << 32)), more
        scaled[more] -= 1 - scaled[less]
        if scaled[more] < 1:
            small.append(large.pop())
    return thresholds, aliases
