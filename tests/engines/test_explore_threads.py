"""One search by several threads: the same states, verdicts and lengths as by one."""

from dataclasses import replace

import numpy as np
import pytest

from harness.__main__ import main
from harness.engines.explore import search as explore
from harness.engines.explore import forgetting, threads
from harness.engines.explore.tables import Search
from harness.experiment.scenario_file import load
from harness.memory.tables import APART
from kernels import independence, packed, search as kernel, states
from kernels.ops import REGISTERS
from tests.command_line import ROOT

SHARED = [("fault_zap", "1.5.24"), ("skipped_kick", None), ("two_hosts", None), ("accept_remove", "1.5.20")]


def said(found) -> tuple:
    """All that does not depend on which of the shortest ways is found first."""
    return (found.states, found.transitions, found.executed, found.depth, found.complete, found.checked, found.answered, found.entries,
            [(each.kind, each.answers, each.words, each.count, len(each.turns)) for each in found.endings],
            {name: len(turns) for name, turns in found.violations.items() if name not in explore.CYCLES}, set(found.cycles))


@pytest.fixture
def endings(monkeypatch) -> list[int]:
    """All levels are shared; how each worker came back."""
    noted: list[int] = []
    go_on = threads.Workers._go_on

    def noting(self, worker, limits):
        go_on(self, worker, limits)
        noted.append(worker.ending)
    monkeypatch.setattr("harness.engines.explore.tables.LEVEL_BROAD", 2)
    monkeypatch.setattr(threads.Workers, "_go_on", noting)
    return noted


@pytest.mark.parametrize("name, module", SHARED)
def test_two_threads_find_what_one_finds(name, module, endings):
    [*scenarios] = load(ROOT / f"configs/explore/{name}.toml", [module] if module else None)
    scenario = scenarios[-1]
    alone = explore.run(scenario, symmetry=False)
    assert not endings
    assert said(explore.run(scenario, symmetry=False, jobs=2)) == said(alone) and endings


ALIKE = [("fault_zap_two_vcpus", "1.5.24"), ("two_hosts", "1.5.24"), ("mirror_race", "1.5.05")]


@pytest.mark.parametrize("name, module", ALIKE)
def test_two_threads_find_what_one_finds_of_actors_that_are_alike(name, module, endings):
    """Which of them stands for all depends on what is met first, and with it which moves are made once; nothing else does."""
    [scenario] = load(ROOT / f"configs/explore/{name}.toml", [module], policy="kick_vcpus")
    alone = explore.run(scenario)
    assert alone.alike and not endings
    for _ in range(2):
        shared = explore.run(scenario, jobs=2)
        assert said(replace(shared, executed=0)) == said(replace(alone, executed=0)) and shared.alike == alone.alike
    assert endings


def test_what_cannot_be_done_while_others_work_is_done_alone(monkeypatch, endings):
    """A search that has not scouted meets words, values and contested bytes for the first time while it is shared."""
    [scenario] = load(ROOT / "configs/explore/fault_zap.toml", ["1.5.24"])
    alone = explore.run(scenario)
    monkeypatch.setattr("harness.engines.explore.tables.Search.scout", lambda self: None)
    assert said(explore.run(scenario, jobs=2)) == said(alone)
    assert {kernel.ASKING, kernel.CROWDED} <= set(endings)


def test_tables_that_get_full_stop_all_threads(endings):
    [scenario] = load(ROOT / "configs/explore/fault_zap_two_vcpus.toml", ["1.5.24"])
    found = explore.run(scenario, memory_mib=4, jobs=2)
    assert not found.complete and "--memory-mib 4" in found.stopped and 0 < found.expanded < found.states < 58_321


def lines(array) -> set[int]:
    """The cache lines that an array lies in."""
    return set(range(array.ctypes.data >> 6, (array.ctypes.data + array.nbytes + 63) >> 6))


def test_what_a_thread_writes_at_each_state_is_on_cache_lines_of_its_own():
    [scenario] = load(ROOT / "configs/explore/fault_zap.toml", ["1.5.24"])
    search = Search(scenario, memory_mib=64)
    workers = threads.Workers(2, search.world, search.known, search.stored, search.run).workers
    given = [[worker.run.mine, worker.run.made, worker.run.here, worker.run.chain, worker.run.candidates, worker.run.registers, worker.known.asks,
              worker.tables.states.rows, *(table.given for table in (
                  worker.tables.moves, worker.tables.states.table, worker.tables.memories.table, worker.tables.locals.table))] for worker in workers]
    assert not {each.ctypes.data % APART for each in sum(given, [])} - {0}
    one, other = (set().union(*map(lines, arrays)) for arrays in given)
    assert not one & other


def test_how_many_rows_there_are_is_not_on_the_line_that_each_look_up_reads():
    """Who adds a state would take that line from all others, at each state."""
    counts = Search(next(iter(load(ROOT / "configs/explore/fault_zap.toml", ["1.5.24"]))), memory_mib=64).counts
    at = [lines(counts[each:each + 1]) for each in range(states.COUNTS)]
    added = set().union(*(at[each] for each in (states.N_MEMORIES, states.N_MOVES, states.N_STATES)), at[states.N_ARCS], at[states.NEXT])
    read = set().union(*at[states.LOCAL_SLOTS:states.STATE_SLOTS + 1], at[states.STOPS], at[states.NO_ARCS], at[states.GOES_BACK])
    assert not added & read


def test_one_scenario_is_shared_by_jobs(endings, capsys, tmp_path):
    for jobs in ("1", "2"):
        assert not endings
        assert main(["explore", str(ROOT / "configs/explore/fault_zap.toml"), "--module", "1.5.24", "--jobs", jobs, "--out", str(tmp_path)]) == 0
        assert "1 scenario, 1909 states: 1 passed" in capsys.readouterr().out
    assert endings


def test_what_is_looked_up_again_by_two_threads_is_what_one_finds(endings):
    [scenario] = load(ROOT / "configs/explore/fault_zap_two_vcpus.toml", ["1.5.24"])
    search = Search(scenario)
    search.scout()
    search.search(jobs=2)
    numbers = np.arange(int(search.counts[states.N_STATES]))[::3]
    shared, search.jobs = search.successors(numbers), 1
    assert all((mine == other).all() for mine, other in zip(search.successors(numbers), shared))
    first, arcs = search.arcs(int(search.counts[states.NEXT]))
    for number, begin, end in zip(numbers[::50], shared[0][::50], shared[0][1::50]):
        then = arcs[first[number]:first[number] + end - begin]
        assert (then & states.LAST - 1 == shared[1][begin:end, kernel.THEN]).all() and (then & states.LAST != 0).tolist() == [False] * (end - begin - 1) + [True]


def test_who_finds_a_twin_at_an_actors_own_place_finds_all_of_them(monkeypatch):
    """Another worker looks there only, and takes what is missing for a row: it waited for ever for that row's number."""
    [scenario] = load(ROOT / "configs/explore/fault_zap_two_vcpus.toml", ["1.5.24"])
    search = Search(scenario, memory_mib=64)
    search.scout()
    search.search()
    twins, rows, put, count = search.tables.locals.twins, search.tables.locals.rows, [], int(search.counts[states.N_LOCALS])
    [places] = search.groups
    local = next(row for row in range(count) if rows[row, REGISTERS] == places[0] and twins[row, places[0]])
    monkeypatch.setattr(states, "put_twin", lambda _twins, of, place, twin: put.append((int(of), int(place), int(twin))))
    monkeypatch.setattr(states, "intern", lambda table, _adds: (int(np.flatnonzero((table.rows[:count] == table.given).all(axis=1))[0]), False))
    monkeypatch.setattr(states, "note_locals", states.note_locals.py_func)
    states.add_twins.py_func(local, search.world.arrays.alike, search.tables.locals)
    assert {(of, place): twin for of, place, twin in put} == {
        (of, place): int(twins[of, place]) for of in twins[local, places] - 1 for place in places}
    for of in twins[local, places] - 1:
        assert [place for each, place, _ in put if each == of][-1] == rows[of, REGISTERS]
    assert put[-1][:2] == (local, places[0])


@pytest.mark.parametrize("named", [False, True])
def test_what_rows_touch_is_noted_by_one_alone(named):
    """Two that note at once could give one word two names, or lose a touch: a conflict would not be seen, and nothing would tell."""
    [scenario] = load(ROOT / "configs/explore/fault_zap.toml", ["1.5.24"])
    search = Search(scenario, memory_mib=64)
    search.scout(forgetting.SCOUTS)
    forgetting.forget(search, forgetting.MORE)
    known, touch = search.known, (0, 3, independence.TOUCH_READ)
    known.names[5], known.named[:], known.touches[touch], known.asks[:] = 7 if named else 0, (7, 0), 0, (packed.NOTHING, 1)
    for shared in (1, 0):
        known.asks[packed.SHARED] = shared
        independence.add_touch.py_func(known, *touch, independence.bit_of.py_func(known, 5))
        noted = (int(known.touches[touch]), known.named.tolist(), int(known.names[5]))
        assert noted == ((0, [7, 0], 7 * named) if shared else (1 << (6 if named else 7), [7 + (not named), 1], 7 + (not named)))
        assert known.asks[packed.WHAT] == packed.ALONE
