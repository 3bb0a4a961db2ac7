"""The bytes a state that a search prints: what of its tables is in use, no less and no more."""

import numpy as np
import pytest

from harness.engines.explore import search as explore
from harness.engines.explore.tables import Search
from harness.experiment.scenario_file import load
from harness.reports.exploration import coverage
from kernels import states
from tests.command_line import ROOT

MEMORY_MIB = 64                  # all of it is written once
SPARE = 1                        # the row that is being made, which may turn out to be known


def searched(name: str, module: str) -> Search:
    [scenario] = load(ROOT / f"configs/explore/{name}.toml", [module])
    search = Search(scenario, memory_mib=MEMORY_MIB)
    search.scout()
    for table in (*search.tables.locals, *search.tables.memories, *search.tables.moves, *search.tables.states):
        table[:] = 0             # so that what is not zero was written by the search
    search.search()
    return search


@pytest.mark.parametrize("name, module", [("fault_zap", "1.5.24"), ("accept_block", "1.5.05")])
def test_nothing_is_written_behind_what_is_counted_and_what_is_counted_is_written(name, module):
    search = searched(name, module)
    counts, tables = search.counts, search.tables
    used = 0
    for kind, rows in (("locals", states.N_LOCALS), ("memories", states.N_MEMORIES), ("moves", states.N_MOVES),
                       ("states", states.N_STATES)):
        for label, array in getattr(tables, kind)._asdict().items():
            written = array.reshape(len(array), -1).any(axis=1)
            last = int(np.flatnonzero(written)[-1]) + 1 if written.any() else 0
            if label == "index":
                size = int(counts[{"locals": states.LOCAL_MASK, "memories": states.MEMORY_MASK, "moves": states.MOVE_MASK,
                                   "states": states.STATE_MASK}[kind]]) + 1
                assert written.sum() <= counts[rows] < size / 2 and last <= size
            else:
                size = int(counts[states.N_ARCS if label in ("arcs", "movers") else rows])
                assert last <= size + SPARE
            used += size * array[:1].nbytes
    assert search.bytes_used() == used > 0


def test_bytes_a_state_are_printed():
    [scenario] = load(ROOT / "configs/explore/fault_zap.toml", ["1.5.24"])
    found = explore.run(scenario)
    assert found.bytes / found.states == pytest.approx(438, rel=0.5)          # few states: rows of memories are most
    assert f"{found.states} states, {round(found.bytes / found.states)} B each, " in coverage(found)
