"""Fair cycles: small graphs by hand, random ones against all subsets, and what they say of KVM's flows."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from harness.engines.explore import search
from harness.engines.explore.fairness import fair_states, round_trip
from harness.engines.replay.steps import execute
from harness.experiment.scenario_file import load, parse
from harness.experiment.schedule import Schedule
from kernels import judging, moves, search as kernel, states

ROOT = Path(__file__).parent.parent.parent
A, B = 0, 1


def tables(moves: dict[int, list[tuple[int, int]]], states: int):
    """The tables of a graph: state -> [(who, next state)]."""
    rows = [moves.get(state, []) for state in range(states)]
    first = np.cumsum([0, *map(len, rows)])
    flat = [move for row in rows for move in row]
    return first, np.array([then for _, then in flat], np.int32), np.array([who for who, _ in flat], np.int8)


def fair(moves, states) -> list[int]:
    return fair_states(*tables(moves, states), np.ones(states, bool)).tolist()


@pytest.mark.parametrize("moves, states, expected", [
    # A spins while B, who could end it, gets no turn: unfair.
    ({0: [(A, 0), (B, 1)]}, 2, []),
    # The same, but B can only wait.
    ({0: [(A, 0)]}, 2, [0]),
    # Each refuses the other, in turns; either could get out.
    ({0: [(A, 1), (B, 2)], 1: [(B, 0), (A, 2)]}, 3, [0, 1]),
    # B is able to move again and again, though not always, and never does: unfair (strongly).
    ({0: [(A, 1), (B, 2)], 1: [(A, 0)]}, 3, []),
    # A cycle of both, and one within it that is unfair to B.
    ({0: [(A, 0), (B, 1)], 1: [(A, 0)]}, 2, [0, 1]),
    # Only a part of what hangs together is fair: without the state in which B could leave.
    ({0: [(A, 1)], 1: [(A, 0), (A, 2)], 2: [(A, 0), (B, 3)]}, 4, [0, 1]),
    # No way back at all.
    ({0: [(A, 1), (B, 2)], 1: [(B, 2)]}, 3, []),
])
def test_what_is_fair_of_a_small_graph(moves, states, expected):
    assert fair(moves, states) == expected


def fair_by_trying(moves, states) -> bool:
    """Whether any subset of states is fair, by the words of the definition."""
    for size in range(1, states + 1):
        for members in combinations(range(states), size):
            inner = {state: [(who, then) for who, then in moves.get(state, []) if then in members] for state in members}
            able = {who for state in members for who, _ in moves.get(state, [])}
            moving = {who for row in inner.values() for who, _ in row}

            def reached(start):
                seen, waiting = set(), [start]
                while waiting:
                    for _, then in inner[waiting.pop()]:
                        if then not in seen:
                            seen.add(then)
                            waiting.append(then)
                return seen

            if able == moving and all(reached(state) == set(members) for state in members):
                return True
    return False


def test_random_graphs_are_fair_exactly_if_some_subset_is():
    source, answers = np.random.default_rng(1), []
    for _ in range(400):
        states, actors = int(source.integers(2, 7)), int(source.integers(1, 4))
        moves = {state: [(int(source.integers(actors)), int(source.integers(states)))
                         for _ in range(source.integers(0, 4))] for state in range(states)}
        found = fair(moves, states)
        answers.append(bool(found))
        assert bool(found) == fair_by_trying(moves, states), moves
        if found:
            trip = round_trip(*tables(moves, states), np.array(found))
            at, moved = found[0], set()
            for state, place in trip:
                assert state == at and at in found
                who, at = moves[state][place]
                moved.add(who)
            assert at == found[0] and moved == {who for state in found for who, _ in moves[state]}
    assert 50 < sum(answers) < 350       # of both kinds


def found_in(name: str, policy: str | None = None, module: str = "1.5.05"):
    [scenario] = load(ROOT / f"configs/explore/{name}.toml", [module], policy)
    return search.run(scenario)


@pytest.mark.parametrize("module", ["1.5.05", "1.5.24"])
def test_an_accept_in_a_loop_can_starve_an_install_in_every_release(module):
    found = found_in("mirror_race", module=module)
    assert set(found.violations) == {"starvation"}
    cycle = found.cycles["starvation"]
    assert {turn.actor for turn in cycle} == {0, 1}
    once, twice = (execute(Schedule(found.scenario, found.violations["starvation"] + times * cycle)) for times in (1, 2))
    assert once[1] == twice[1]
    again = [access.status for access in twice[0][len(once[0]):] if access.status]
    assert any(status.startswith("TDX_OPERAND_BUSY") for status in again) and "TDX_SUCCESS" not in again


@pytest.mark.parametrize("name, policy, expected", [
    ("mirror_race", "spinlock_vm", set()),               # gives up instead
    ("mirror_race", "kick_vcpus", {"livelock"}),         # no schedule at all ends it
    ("fault_zap_pending", "kick_on_busy", set()),        # the second try is made while nobody is inside
    ("fault_zap_pending", "yield_on_busy", {"starvation"}),
    ("fault_zap", "kick_on_busy", set()),
])
def test_policies_differ_in_who_can_be_kept_waiting_for_ever(name, policy, expected):
    assert set(found_in(name, policy).violations) & {"livelock", "starvation"} == expected


@pytest.mark.parametrize("call", ["tdh_mem_page_aug 3", "tdh_mem_range_block 3"])
@pytest.mark.parametrize("module", ["1.5.05", "1.5.24"])
def test_accept_and_a_host_that_both_retry_for_ever_can_starve_each_other(module, call):
    [scenario] = parse({"module": module, "actors": {"vcpu0": "tdg_mem_page_accept 3 retry forever",
                                                     "host0": f"{call} retry forever"}}, "test")
    assert "starvation" in search.run(scenario).violations


def test_who_retries_for_ever_is_not_starved_by_who_ends():
    [scenario] = parse({"actors": {f"host{place}": "tdh_mem_track 0 retry forever" for place in range(2)}}, "test")
    found = search.run(scenario)
    assert not found.violations and "starvation" in found.checked


def test_starvation_that_nobody_has_graded_fails():
    from harness.results import grading

    [scenario] = load(ROOT / "configs/explore/fault_zap_pending.toml", ["1.5.05"], "yield_on_busy")
    assert grading.judge(search.run(scenario), None).failures == ["starvation is violated"]


@pytest.mark.parametrize("name", ["fault_zap", "mirror_race", "skipped_kick"])
def test_one_pass_marks_what_can_end_and_what_lies_on_a_cycle(name):
    """Held against all that can be reached from each state, by its arcs alone."""
    [*scenarios] = load(ROOT / f"configs/explore/{name}.toml")
    whole = search.Search(scenarios[0], symmetry=False)
    whole.scout()
    whole.search()
    count = int(whole.counts[states.N_STATES])
    first, arcs, _ = whole.successors(np.arange(count))
    back: list[list[int]] = [[] for _ in range(count)]
    onto: list[set[int]] = [set(arcs[first[state]:first[state + 1], kernel.THEN].tolist()) for state in range(count)]
    for state, thens in enumerate(onto):
        for then in thens:
            back[then].append(state)

    def reached(starts, ways) -> set[int]:
        seen, waiting = set(starts), list(starts)
        while waiting:
            for then in ways[waiting.pop()]:
                if then not in seen:
                    seen.add(then)
                    waiting.append(then)
        return seen

    ends = reached([state for state in range(count) if not onto[state]], back)
    marks = whole.marks()
    assert marks is not None and set(np.flatnonzero(marks & judging.ENDS)) == ends
    some = {*range(0, count, max(1, count // 60)), *np.flatnonzero(marks & judging.CYCLE)[:40].tolist()}
    for state in some:
        assert bool(marks[state] & judging.CYCLE) == (state in reached(onto[state], onto))


def test_arcs_for_which_there_is_no_room_are_looked_up_once_more(monkeypatch):
    [scenario] = load(ROOT / "configs/explore/fault_zap_two_vcpus.toml", ["1.5.24"], policy="kick_vcpus")
    roomy, cramped = search.Search(scenario), search.Search(scenario)
    roomy.scout(), roomy.search()
    kept = roomy.marks()
    assert kept is not None and not roomy.counts[states.NO_ARCS]
    cramped.scout()
    cramped.memory_bytes = roomy.bytes_used() + (1 << 16)
    assert cramped.search() == moves.FINISHED and cramped.counts[states.NO_ARCS]
    monkeypatch.setattr("harness.engines.explore.tables.READ_AT_ONCE", 1_000)
    assert (cramped.marks() == kept).all()
