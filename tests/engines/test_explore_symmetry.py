"""One order of actors that are alike stands for all: with it and without, a search says the same.

vCPUs with KVM's flows around them too: each has words of its own, and a kick tells one after the other.
"""

from dataclasses import replace
from math import factorial
from pathlib import Path

import numpy as np
import pytest

from harness.engines.explore import checkpoint, search as explore
from harness.engines.explore.ways import Unproved
from harness.engines.replay.steps import Replay, execute
from harness.experiment.scenario_file import load, parse
from harness.experiment.schedule import Schedule
from harness.protocol.policies import BY_NAME
from kernels import search as kernel, states, symmetry
from kernels.ops import Op, Register as R
from tests.engines.orbits import orbits

ROOT = Path(__file__).parent.parent.parent
CONFIGS = {file.stem: file for file in sorted((ROOT / "configs/explore").glob("*.toml"))}
SMALL = [name for name in CONFIGS if not name.startswith("pairs") and name != "fault_zap_two_vcpus"]
ACCEPT, AUG, BLOCK, TRACK = ("tdg_mem_page_accept 3", "tdh_mem_page_aug 3", "tdh_mem_range_block 3",
                             "tdh_mem_track 0 retry forever")

# name: actors, state of page 3, whether some are alike, further keys
WORLDS = {
    "three hosts": ({f"host{place}": AUG for place in range(3)}, "FREE", True, {}),
    "two and two": ({"host0": AUG, "host1": BLOCK, "host2": AUG, "host3": BLOCK}, "FREE", True, {}),
    "two vCPUs": ({"vcpu0": ACCEPT, "vcpu1": ACCEPT, "host0": AUG}, "FREE", True, {}),
    "two calls each": ({"vcpu0": ACCEPT, "host0": [BLOCK, TRACK], "host1": [BLOCK, TRACK]}, "MAPPED", True, {}),
    "the module halts": ({"vcpu0": ACCEPT, "host0": AUG, "host1": AUG}, "FREE", True, {"module": "1.5.20"}),
    "a broken lock": ({f"host{place}": AUG for place in range(3)}, "FREE", True, {"busted": ["entry_lock"]}),
    "busy for ever": ({"host0": TRACK, "host1": TRACK}, "FREE", True,
                      {"must_violate": ["livelock"], "start": {"words": {"epoch_lock": 1}}}),
    "a guest in the way": ({"vcpu0": f"{ACCEPT} retry forever", "host0": f"{AUG} retry forever",
                            "host1": f"{AUG} retry forever"}, "FREE", True, {}),
    "two removals": ({"host0": {"remove": [3]}, "host1": {"remove": [3]}}, "MAPPED", False, {}),
    "two removals beside alike guests": ({"vcpu0": ACCEPT, "vcpu1": ACCEPT, "host0": {"remove": [3]}, "host1": {"remove": [3]}}, "MAPPED", True,
                                         {"module": "1.5.34", "policy": "kick_vcpus"}),
    "owners are looked at": ({"host0": AUG, "host1": AUG}, "FREE", False, {"watch": ["mmu_owner"]}),
    "nothing contested": ({"vcpu0": ACCEPT, "vcpu1": ACCEPT}, "PENDING+HP", True, {"module": "1.5.34"}),
    "one has other calls": ({"host0": AUG, "host1": BLOCK}, "FREE", False, {}),
}


def world(name: str):
    actors, state, _, keys = WORLDS[name]
    table = {"actors": actors} | keys
    [scenario] = parse(table | {"start": {"pages": {"3": state}} | keys.get("start", {})}, "test")
    return scenario


def says(found) -> tuple:
    """All that a user reads, but for the number of states and the ways themselves."""
    endings = {(each.kind, each.answers, each.words): (each.count, len(each.turns)) for each in found.endings}
    # The lead into a livelock is followed as far as everybody has had a turn, which may differ.
    lengths = {name: len(turns) for name, turns in found.violations.items() if name != explore.LIVELOCK}
    return endings, lengths, set(found.violations), found.depth, found.answered


def same(scenario) -> explore.Found:
    found, whole = explore.run(scenario), explore.run(scenario, symmetry=False)
    assert found.complete and whole.complete and not whole.alike
    assert says(found) == says(whole), scenario.name
    assert (found.states < whole.states) == bool(found.alike) or whole.states == 1
    return found


@pytest.mark.parametrize("name", SMALL)
def test_a_shipped_scenario_says_the_same_in_one_order_and_in_all(name):
    for scenario in load(CONFIGS[name]):
        same(scenario)


@pytest.mark.parametrize("name", ["pairs", "pairs_suspected", "pairs_tables"])
@pytest.mark.parametrize("module", ["1.5.05", "1.5.20"])
def test_a_pair_of_the_same_call_says_the_same_in_one_order_and_in_both(name, module):
    scenarios = load(CONFIGS[name], [module])
    twice = [scenario for scenario in scenarios if len({script.steps for script in scenario.scripts}) == 1]
    alike = [same(scenario).alike for scenario in twice]
    assert alike.count([("host0", "host1")]) >= 12


@pytest.mark.parametrize("name", WORLDS)
def test_a_world_says_the_same_in_one_order_and_in_all(name):
    assert bool(same(world(name)).alike) == WORLDS[name][2]


def test_each_of_those_alike_has_a_turn_in_a_fair_cycle():
    found = explore.run(world("a guest in the way"))
    assert found.alike and set(found.violations) == {"starvation"}
    cycle = found.cycles["starvation"]
    once, twice = (execute(Schedule(found.scenario, found.violations["starvation"] + times * cycle)) for times in (1, 2))
    assert once[1] == twice[1]
    assert {turn.actor for turn in cycle} >= {0} and len({turn.actor for turn in cycle}) > 1


def test_of_actors_that_always_differ_one_order_is_a_factorial_of_all():
    """Each takes and drops the lock alone or is refused: with three hosts nearly every state has six."""
    whole, one = (explore.run(world("three hosts"), symmetry=symmetry) for symmetry in (False, True))
    assert whole.states / factorial(3) < one.states < whole.states / factorial(3) * 1.2


def each_ending_is_reached(found) -> None:
    """Follow the way to each ending: it ends with the answers and the words that the ending is said to have."""
    scenario = found.scenario
    for ending in found.endings:
        replay = Replay(scenario)
        for number, turn in enumerate(ending.turns):
            replay.follow(turn, number)
        answers = tuple(replay.answers(place) for place in range(len(scenario.scripts)))
        said = tuple(tuple("-" if answer == "HALT" else answer for answer in each) for each in ending.answers)
        assert (answers, replay.watched()) == (said, ending.words)


@pytest.mark.parametrize("name", ["two and two", "a broken lock", "two calls each"])
def test_the_way_to_each_ending_leads_there_also_where_actors_changed_places(name):
    scenario = world(name)
    found = explore.run(scenario)
    each_ending_is_reached(found)
    for name, turns in found.violations.items():
        if name == "exclusive_ownership":
            accesses, _ = execute(Schedule(scenario, turns))
            assert "exclusive_ownership" in accesses[-1].mark


def test_a_livelock_of_actors_that_are_alike_comes_back_to_where_it_began():
    scenario = world("busy for ever")
    found = explore.run(scenario)
    assert {turn.actor for turn in found.cycles["livelock"]} == {0, 1}
    once, twice = (execute(Schedule(scenario, found.violations["livelock"] + times * found.cycles["livelock"]))
                   for times in (1, 2))
    assert once[1] == twice[1] and len(once[0]) < len(twice[0])


@pytest.mark.parametrize("change", [{"value": 1}, {"source": R.ROLE}, {"mask": -1, "match": 1}])
def test_a_row_that_makes_more_of_a_number_than_a_name_ends_the_short_cut(change):
    """The row that leaves the owner's name is spoilt; the search must notice, and take every order."""
    scenario = world("three hosts")
    rows = scenario.program.rows.copy()
    names = (rows["op"] == Op.EXCHANGE) & (rows["source"] == R.ME)
    assert names.any()
    for field, value in change.items():
        rows[field][names] = value
    scenario.__dict__["program"] = replace(scenario.program, rows=rows)
    search = explore.Search(scenario)
    assert search.groups
    search.search()
    assert not search.groups and search.counts[states.N_STATES] > 1000


# --- vCPUs with words of their own ---

def kicked(policy: str, vcpus: int = 2, actors=None, **keys):
    """vCPUs that touch page 3 while a host removes it."""
    actors = actors or {f"vcpu{place}": {"touch": [3]} for place in range(vcpus)} | {"host0": {"remove": [3]}}
    [scenario] = parse({"policy": policy, "module": "1.5.24", "actors": actors, "start": {"pages": {"3": "MAPPED"}}} | keys, "test")
    return scenario


def test_vcpus_change_places_and_nothing_else_does():
    """Says the same with and without; has as many states as there are orbits; each way found can be run again."""
    scenario = kicked("kick_vcpus")
    found = explore.run(scenario)
    plain = explore.Search(scenario, symmetry=False)
    plain.scout()
    plain.search()
    assert found.alike == [("vcpu0", "vcpu1")]
    assert (found.states, True) == orbits(plain, [0, 1])
    assert says(found) == says(explore._found(plain, 0, 1024))
    again(found)


def again(found) -> None:
    """Run each way again: to the ending that it is said to lead to; once and twice round each cycle is the same state."""
    scenario = found.scenario
    each_ending_is_reached(found)
    for name, cycle in found.cycles.items():
        once, twice = (execute(Schedule(scenario, found.violations[name] + times * cycle)) for times in (1, 2))
        assert once[1] == twice[1]
    for name in {"no_bug", "no_halt"} & set(found.violations):
        accesses, _ = execute(Schedule(scenario, found.violations[name]))
        assert accesses


MANY_STATES = {"adaptive_1024", "inject47"}      # counts up to 1,024 and 47 are part of their states


@pytest.mark.slow
@pytest.mark.parametrize("policy", sorted({policy.name for policy in BY_NAME.values()} - MANY_STATES))
def test_two_vcpus_say_the_same_under_every_policy(policy):
    scenario = kicked(policy)
    found, whole = explore.run(scenario), explore.run(scenario, symmetry=False)
    assert found.complete and whole.complete and says(found) == says(whole)
    again(found)
    if found.alike:
        plain = explore.Search(scenario, symmetry=False)
        plain.scout()
        plain.search()
        assert (found.states, True) == orbits(plain, [0, 1])


def test_vcpus_with_other_programs_stay_where_they_are():
    search = explore.Search(kicked("kick_vcpus", actors={"vcpu0": {"touch": [3]}, "vcpu1": {"touch": [4]}, "host0": {"remove": [3]}}))
    assert not search.groups and not search.known.owner.any()


def test_each_loop_over_all_vcpus_has_one_first_access():
    scenario = kicked("kick_vcpus")
    search, labels = explore.Search(scenario), scenario.program.labels
    begins = [row for label, row in labels.items() if label.startswith("kick.next.")]
    picks = (search.known.loops == symmetry.PICKS).nonzero()[0]
    assert len(begins) == len(picks) > 2
    assert (scenario.program.rows["base"][picks] == R.CURSOR).all()


def test_a_row_that_makes_another_address_of_a_vcpus_word_ends_the_short_cut():
    scenario = kicked("kick_vcpus")
    rows = scenario.program.rows.copy()
    entries = (rows["op"] == Op.OR) & (rows["base"] == R.KICK)
    assert entries.any()
    rows["source"][entries] = R.TDVPS
    scenario.__dict__["program"] = replace(scenario.program, rows=rows)
    search = explore.Search(scenario)
    assert search.groups
    search.scout(1)
    assert not search.groups


# --- with packed tables (harness/engines/explore/stored.py) ---

COUNTED = [states.N_STATES, states.N_MOVES, states.N_MEMORIES, states.N_LOCALS, states.TRANSITIONS]


def test_vcpus_change_places_in_fields_that_have_to_grow():
    """A search that knows nothing at first: values that fields have no room for are met while actors are exchanged, too.

    All its arcs are found again then, and nothing new.
    """
    knowing, unknowing = explore.Search(kicked("kick_vcpus")), explore.Search(kicked("kick_vcpus"))
    knowing.scout()
    for search in (knowing, unknowing):
        search.search()
        assert search.groups
    counts = knowing.counts[COUNTED].tolist()
    assert unknowing.counts[COUNTED].tolist() == counts and unknowing.depth() == knowing.depth()
    _, arcs, _ = unknowing.successors(np.arange(counts[0]))
    assert [*unknowing.counts[COUNTED[:-1]].tolist(), len(arcs)] == counts


def test_an_interrupted_search_of_vcpus_that_change_places_is_gone_on_with(tmp_path):
    """What loops have kicked whom is kept, too."""
    scenario = kicked("kick_vcpus")
    search = explore.Search(scenario)
    search.scout()

    def stop(expanded: int, _) -> None:
        raise KeyboardInterrupt

    search._call = lambda *given, **keys: explore.Search._call(search, *given, **{"pause": 3000} | keys)
    search.search(stop)
    assert search.interrupted and search.tables.locals.kicked.any()
    checkpoint.keep(search, tmp_path / "kept")
    found, whole = explore.run(scenario, kept=tmp_path / "kept", resume=True), explore.run(scenario)
    assert (found.states, found.transitions, found.alike) == (whole.states, whole.transitions, whole.alike)
    assert (found.endings, found.violations, found.cycles) == (whole.endings, whole.violations, whole.cycles)


def test_a_way_that_true_numbers_do_not_spell_has_all_searched_again_in_every_order():
    """A kick waits for two vCPUs that never acknowledge: the kernel's own loop is stuck at the first, but here either may be that."""
    [scenario] = parse({"module": "1.5.24", "policy": "kick_vcpus", "must_violate": ["deadlock"],
                        "actors": {"vcpu0": ACCEPT, "vcpu1": ACCEPT, "host0": {"remove": [3]}},
                        "start": {"pages": {"3": "MAPPED"}, "words": {"kick 0": 1 << 8, "kick 1": 1 << 8}}}, "test")
    search = explore.Search(scenario)
    search.scout()
    ending = search.search()
    assert search.groups == [[0, 1]]
    with pytest.raises(Unproved):
        explore._found(search, ending, 1024)
    found, whole = explore.run(scenario), explore.run(scenario, symmetry=False)
    assert not found.alike and says(found) == says(whole) and found.states == whole.states
    assert len(found.violations["deadlock"]) == len(whole.violations["deadlock"])
    execute(Schedule(scenario, found.violations["deadlock"]))


def test_a_move_that_is_not_in_the_tables_any_more_is_not_passed_over():
    [scenario] = load(CONFIGS["two_hosts"], ["1.5.24"])
    search = explore.Search(scenario)
    search.scout()
    search.search()
    numbers = np.arange(int(search.counts[states.N_STATES]))
    first, arcs, _ = search.successors(numbers)
    of = search.tables.states
    assert search.counts[states.N_ARCS] == len(arcs) == search.counts[states.TRANSITIONS]
    for state, begin, end in zip(numbers, first, first[1:]):     # what the search has kept for judging are these
        kept = of.arcs[of.first[state]:of.first[state] + end - begin]
        assert (kept & states.LAST - 1).tolist() == arcs[begin:end, kernel.THEN].tolist()
        assert ((kept & states.LAST) != 0).tolist() == [False] * (end - begin - 1) + [True] if end > begin else of.first[state] < 0
    search.tables.moves.rows[arcs[-1, kernel.MOVE], 0] ^= 1 << 20
    with pytest.raises(AssertionError, match="what a search has made is not in its tables"):
        search.successors(numbers)
