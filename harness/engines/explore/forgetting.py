"""What a large search does not distinguish: contexts (kernels/contexts.py), and orders that nobody can tell (kernels/independence.py)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from harness.protocol.contexts import halves
from kernels import contexts, independence, moves

if TYPE_CHECKING:
    from harness.engines.explore.tables import Search

MORE = moves.CONTEXTS | moves.ORDERS
COLUMNS = np.arange(independence.TOUCHES)
SCOUTS = 1_000                   # random runs that learn what rows touch, in half a second: what they do not meet has the search begin again
# Known.names, named, touches, foreseen, future, halves, of a search that has no use for them.
NOTHING = np.zeros(1, np.int32), np.zeros(2, np.int64), *np.zeros((3, 1, 1, independence.TOUCHES), np.int64), np.zeros(1, np.uint8)


def forget(search: Search, more: int) -> None:
    """From now on: the tables have to be empty, or what is in them has been found so.  more: bits of MORE."""
    scenario = search.scenario
    found = scenario.contexts(search.world.start_registers) if more else None
    if not found:
        return
    search.world.arrays = search.world.arrays._replace(contexts=found)
    search.forget |= more & ~(moves.ORDERS * (search.preemptions >= 0 or scenario.tso))
    if search.forget & moves.ORDERS:
        search.known = search.known._replace(
            names=np.zeros(2 * len(search.world.block), np.int32), named=np.zeros(2, np.int64), halves=halves(scenario.program, scenario.live),
            touches=np.zeros((search.actors, len(scenario.program.rows), independence.TOUCHES), np.int64))
        search.known = search.known._replace(foreseen=search.known.touches.copy())


def foresee(search: Search, touches: np.ndarray) -> None:
    """What each actor may still touch, by what has been noted so far."""
    search.known = search.known._replace(foreseen=touches.copy(), future=_future(search, touches))


def is_foreseen(search: Search) -> bool:
    """Whether what has been noted since then makes no difference to what was decided: the futures are the same, and of rows of which
    something was known, it was all (of others nothing was taken for granted)."""
    known = search.known
    seen = known.foreseen.any(axis=2)
    return _same(known.touches[seen], known.foreseen[seen]) and _same(_future(search, known.touches), known.future)


def _same(some: np.ndarray, others: np.ndarray) -> bool:
    """Whether the same conflicts with both.  What conflicts with a word that is read or counted in conflicts with one that is changed."""
    one, other = (each & ~np.where(COLUMNS == independence.TOUCH_CHANGE, 0, each[..., independence.TOUCH_CHANGE, None]) for each in (some, others))
    return np.array_equal(one, other)


def _future(search: Search, touches: np.ndarray) -> np.ndarray:
    found = search.world.arrays.contexts
    future = np.zeros((search.actors, max(1, len(found.live)), independence.TOUCHES), np.int64)
    contexts.find_future(found, touches, future)
    return future
