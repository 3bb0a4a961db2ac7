"""What a large search does not distinguish changes nothing that it says: contexts, and orders that nobody can tell any more.

Small scenarios are searched so from their first state on, and held against the search that distinguishes all that.
"""

from pathlib import Path

import numpy as np
import pytest

from harness.engines.explore import forgetting, search as explore, tables
from harness.engines.replay.steps import Replay, execute
from harness.experiment.scenario_file import load, parse
from harness.experiment.schedule import Schedule
from kernels import contexts as kernel, moves, search as search_kernel, states
from kernels.compiling import for_python
from kernels.ops import Op, Register as R
from tests.engines.test_explore_symmetry import kicked, world

ROOT = Path(__file__).parent.parent.parent
CONFIGS = {file.stem: file for folder in ("", "known", "reports", "guests", "huge")
           for file in sorted((ROOT / "configs/explore" / folder).glob("*.toml")) if file.stem not in ("accept_zap", "accept_huge")}
KEPT, CONTEXTS, ALL = (moves.LOST_TRIES | moves.ENTRIES | bits for bits in (0, moves.CONTEXTS, moves.CONTEXTS | moves.ORDERS))
SMALL = ["two vCPUs", "busy for ever", "a guest in the way"]
WORLDS = [*SMALL, *(pytest.param(name, marks=pytest.mark.slow) for name in (
    "three hosts", "two and two", "two calls each", "a broken lock", "two removals", "two removals beside alike guests"))]


def says(found) -> tuple:
    """All that a user reads, but for numbers of states and steps; and for how far others had come where the module halts."""
    ends = {(each.kind, each.answers, each.words) for each in found.endings if each.kind != tables.HALTED}
    return (ends, any(each.kind == tables.HALTED for each in found.endings), set(found.violations), set(found.cycles), found.answered,
            found.entries, found.checked)


def each_way_leads_there(found) -> None:
    """Follow the way to each ending; once and twice round a cycle is the same state."""
    for ending in found.endings:
        replay = Replay(found.scenario)
        for number, turn in enumerate(ending.turns):
            replay.follow(turn, number)
        answers = tuple(replay.answers(place) for place in range(len(found.scenario.scripts)))
        said = tuple(tuple("-" if answer == "HALT" else answer for answer in each) for each in ending.answers)
        assert (answers, replay.watched()) == (said, ending.words)
    for name, cycle in found.cycles.items():
        once, twice = (execute(Schedule(found.scenario, found.violations[name] + times * cycle)) for times in (1, 2))
        assert once[1] == twice[1] and len(once[0]) < len(twice[0])


def same(scenario, forget: int = ALL, **keys) -> tuple[explore.Found, explore.Found]:
    found, whole = explore.run(scenario, forget=forget, **keys), explore.run(scenario, forget=KEPT, **keys)
    assert found.complete and whole.complete
    assert says(found) == says(whole), (scenario.name, scenario.module)
    assert found.states <= whole.states
    each_way_leads_there(found)
    return found, whole


@pytest.mark.parametrize("name", WORLDS)
def test_a_world_says_the_same(name):
    same(world(name))


@pytest.mark.parametrize("policy", ["kick_on_busy", "kick_vcpus"])
def test_one_vcpu_and_a_removal_have_fewer_states_and_say_the_same(policy):
    found, whole = same(kicked(policy, 1))
    assert 1.2 * found.states < whole.states


def test_two_vcpus_and_a_removal_have_half_the_states_and_say_the_same():
    scenario = kicked("kick_vcpus")
    found, whole = same(scenario)
    assert found.alike == whole.alike and 2 * found.states < whole.states


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["kick_vcpus", "kick_on_busy"])
def test_in_every_order_of_the_vcpus_it_is_the_same(policy):
    every, _ = same(kicked(policy), symmetry=False)
    assert says(every) == says(explore.run(kicked(policy), forget=ALL))


@pytest.mark.parametrize("name", [pytest.param(name, marks=() if name in ("fault_zap", "accept_remove") else pytest.mark.slow) for name in CONFIGS])
def test_a_shipped_scenario_says_the_same(name):
    searched = set()
    for scenario in load(CONFIGS[name]):
        if scenario.behaviour() not in searched:
            searched.add(scenario.behaviour())
            same(scenario)


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["spinlock_vm", "retry16", "zero_step_exit", "do_no_vcpus_619", "reenter_irqoff", "no_post_kick", "yield_on_busy",
                                    "resume_guest", "frozen_local", "mmu_local2", "ignore_eagain", "busy_bitmask_bug"])
@pytest.mark.parametrize("actors", [
    {"vcpu0": {"touch": [3]}, "vcpu1": {"touch": [3]}, "host0": {"remove": [3]}},
    {"vcpu0": {"touch": [3, 4]}, "host0": {"remove": [3]}, "host1": {"remove": [4]}},
    {"vcpu0": {"touch": [3, 3]}, "vcpu1": {"touch": [4]}, "host0": {"remove": [3]}}], ids=["two vCPUs", "two hosts", "two pages"])
def test_every_policy_says_the_same(policy, actors):
    same(kicked(policy, actors=actors, start={"pages": {"3": "MAPPED", "4": "MAPPED"}}))


def test_under_store_buffers_and_with_few_preemptions_orders_are_kept():
    scenario = kicked("kick_on_busy", 1, memory_model="tso")
    found, whole = same(scenario)
    assert found.states < whole.states                   # by contexts alone
    assert not explore.Search(scenario, forget=ALL).forget & moves.ORDERS
    assert not explore.Search(kicked("kick_on_busy", 1), forget=ALL, preemptions=2).forget & moves.ORDERS


def test_what_is_touched_later_and_not_foreseen_would_be_missed(monkeypatch):
    """Negative control: if nobody were going to touch anything, most of what can happen is lost."""
    scenario = kicked("kick_vcpus", 1)
    whole = explore.run(scenario, forget=KEPT)
    monkeypatch.setattr(forgetting.contexts, "find_future", lambda *_: None)
    assert says(explore.run(scenario, forget=ALL)) != says(whole)


def test_a_row_that_touches_more_than_was_known_begins_the_search_again(monkeypatch):
    """Without random runs before it, a search learns all that rows touch from itself."""
    scenario, begun, begin = kicked("kick_vcpus", 1), [], tables.Search._begin
    known = explore.run(scenario, forget=ALL)
    monkeypatch.setattr(tables.Search, "scout", lambda *_: None)
    monkeypatch.setattr(tables.Search, "_begin", lambda self: begun.append(self) or begin(self))
    found = explore.run(scenario, forget=ALL)
    assert len(begun) > 2 and says(found) == says(known)


def test_what_makes_no_difference_does_not_begin_the_search_again(monkeypatch):
    """Rows touch what their actor was known to touch later anyway.  What was decided is decided again in the same way: each state is where its
    parent leads."""
    scenario, begun, begin, scout = kicked("kick_vcpus", 1), [], tables.Search._begin, tables.Search.scout
    monkeypatch.setattr(tables.Search, "scout", lambda self: scout(self, 1))
    monkeypatch.setattr(tables.Search, "_begin", lambda self: begun.append(self) or begin(self))
    found = explore.run(scenario, forget=ALL)
    [search], count = begun, found.states
    news = search.known.touches.any(axis=2) & ~search.known.foreseen.any(axis=2)
    assert news.any()
    search.known.touches[news] = 1 << 61                 # what conflicts with nobody
    first, arcs, _ = search.successors(np.arange(count))
    parents = search.tables.states.parents[:count]
    assert all(state in arcs[first[parents[state]]:first[parents[state] + 1], search_kernel.THEN] for state in range(1, count))
    monkeypatch.setattr(forgetting, "is_foreseen", lambda search: False)
    assert says(explore.run(scenario, forget=ALL)) == says(found) and len(begun) == 3


@pytest.mark.parametrize("touched, says", [((1, 0, 0), True), ((1, 1, 0), False), ((1, 0, 1), False), ((3, 0, 0), False)])
def test_what_was_not_known_of_a_word_makes_a_difference_unless_it_is_changed(touched, says):
    """A row that was known to read one word; all of another, which is changed, may be read or counted in, too."""
    some, others = np.array([[1, 4, 0]]), np.array([touched]) | np.array([4, 4, 4])
    assert forgetting._same(some, others) == says


def test_an_epoch_that_makes_no_difference_is_not_kept():
    """A vCPU comes out without a translation: its next entry flushes nothing, whatever the TD's epoch is then.  Ways have the rows
    of that flush, or do not, as memory has it."""
    scenario = kicked("kick_on_busy", 1)
    kept = explore.Search(scenario, forget=ALL)
    table = kept.world.arrays.contexts
    at = table.exits.copy()
    at[kernel.EPOCH_AT] = at[kernel.EXIT_AT]             # puts the state back as it is
    kept.world.arrays = kept.world.arrays._replace(contexts=table._replace(exits=at))
    kept.scout()
    kept.search()
    found = explore.run(scenario, forget=ALL)
    assert 1.1 * found.states < kept.counts[states.N_STATES]


def test_ways_without_the_rows_of_a_flush_would_end_too_early(monkeypatch):
    """Negative control of counted.py."""
    def all_have_stopped(ending) -> bool:
        replay = Replay(scenario)
        for number, turn in enumerate(ending.turns):
            replay.follow(turn, number)
        return all(scenario.program.rows["op"][registers[R.PC]] == Op.STOP for registers in replay.registers)

    scenario = kicked("kick_on_busy", 1)
    assert all(map(all_have_stopped, explore.run(scenario, forget=ALL).endings))
    monkeypatch.setattr(explore, "_count", lambda *_: None)
    assert not all(map(all_have_stopped, explore.run(scenario, forget=ALL).endings))


def test_a_search_that_grows_large_forgets_more(monkeypatch):
    scenario = kicked("kick_vcpus")
    from_the_first = explore.run(scenario, forget=ALL)
    monkeypatch.setattr(tables, "LARGE_STATES", 5_000)
    monkeypatch.setattr(tables, "LEVEL_BROAD", 50)
    found = explore.run(scenario)
    assert says(found) == says(from_the_first) and found.states < 1.1 * from_the_first.states


@pytest.mark.slow
def test_two_threads_find_what_one_finds(monkeypatch):
    """Also where it begins again on its way, as more is forgotten."""
    scenario = kicked("kick_vcpus")
    monkeypatch.setattr(tables, "LEVEL_BROAD", 50)
    for forget, large in ((ALL, tables.LARGE_STATES), (None, 5_000)):
        monkeypatch.setattr(tables, "LARGE_STATES", large)
        one, two = (explore.run(scenario, forget=forget, jobs=jobs) for jobs in (1, 2))
        assert says(two) == says(one) and two.states == one.states


@pytest.mark.slow
def test_a_search_that_is_kept_goes_on_as_it_was(monkeypatch, tmp_path):
    scenario, kept = kicked("kick_vcpus"), tmp_path / "kept"
    whole = explore.run(scenario, forget=ALL)
    monkeypatch.setattr(tables, "LARGE_STATES", 2_000)
    monkeypatch.setattr(tables, "LEVEL_BROAD", 50)

    def stop(done, known, **_):
        if done >= 3_000:
            raise KeyboardInterrupt
    begun = explore.run(scenario, tick=stop, kept=kept)
    assert begun.interrupted and kept.exists() and begun.states < whole.states
    found = explore.run(scenario, kept=kept, resume=True)
    assert says(found) == says(whole) and found.states < 1.1 * whole.states


# --- contexts ---

@pytest.mark.parametrize("policy", ["kick_on_busy", "kick_vcpus"])
def test_a_register_that_is_not_read_in_a_context_may_hold_anything(policy):
    """Garbage in the registers that are said to be dead, before each turn: the words are the same."""
    scenario = kicked(policy, 1)
    search, at = explore.Search(scenario, forget=ALL), for_python(kernel.context_at)
    table, source, cleared = search.world.arrays.contexts, np.random.default_rng(1), 0
    found = explore.run(scenario, forget=KEPT)
    for turns in [ending.turns for ending in found.endings] + list(found.violations.values()):
        _, expected = execute(Schedule(scenario, turns))
        replay = Replay(scenario)
        for number, turn in enumerate(turns):
            registers = replay.registers[turn.actor]
            context = at(table, registers[R.PC], registers, search.world.arrays.scripts[turn.actor, 1])
            assert context >= 0
            low, high, *_ = table.live[context].tolist()
            dead = [each for each in range(1, len(R)) if not (high if each >= 64 else low) >> (each & 63) & 1]
            cleared += len([each for each in dead if each < 64 and scenario.live[registers[R.PC]] >> each & 1])
            registers[dead] = source.integers(1 << 40, size=len(dead))
            replay.follow(turn, number)
        assert replay.difference() == expected
    assert cleared > 100                 # that are read from the same row in another context


@pytest.mark.parametrize("value, bits, more, says", [
    (5, -1, 3, (8, -1)), (0, ~0xFF, 0x100, (0x100, ~0xFF)), (0, ~0xFF, 1, (0, 0)), (0, 0, 0, (0, 0)), (0, 0, 8, (0, 0)),
    (1 << 40, ~0xFFFF, -1 << 50, ((1 << 40) - (1 << 50), ~0xFFFF)), (0, (1 << 62) - 1, 1, (0, 0))])
def test_what_is_known_of_a_sum(value, bits, more, says):
    assert for_python(kernel.shifted)(value, bits, more) == says


# --- nobody is kept from moving, and checks see what they saw ---

STUCK = {"host0": "tdh_mem_track 0 retry forever", "host1": "tdh_mem_page_aug 3", "host2": "tdh_mem_page_aug 3"}


def test_a_loop_that_nobody_can_tell_keeps_nobody_from_being_tried():
    """A host that tries for ever, of which nobody can tell, beside two of which a broken lock lets both in."""
    [scenario] = parse({"actors": STUCK, "busted": ["entry_lock"], "must_violate": ["livelock"],
                        "start": {"pages": {"3": "FREE"}, "words": {"epoch_lock": 1}}}, "test")
    found, whole = (explore.run(scenario, forget=bits) for bits in (ALL, KEPT))
    assert says(found) == says(whole) and {"livelock", "exclusive_ownership"} <= set(found.violations)


@pytest.mark.parametrize("name", ["busted_lock", "skipped_kick", "unfrozen_mirror", "no_entry_barrier"])
def test_a_control_is_caught(name):
    [scenario] = load(CONFIGS[name])[:1]
    found, whole = (explore.run(scenario, forget=bits) for bits in (ALL, KEPT))
    assert set(found.violations) == set(whole.violations) >= set(scenario.must_violate) > set()
