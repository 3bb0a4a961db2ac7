"""Every interleaving: known answers, counts derived by hand, the reduction, and replay."""

import tomllib
from dataclasses import replace
from math import comb
from pathlib import Path

import numpy as np
import pytest

from harness.results import grading
from harness.engines.explore import search as explore
from harness.engines.replay import processes
from harness.engines.replay.steps import Replay, execute
from harness.protocol.policies import POLICIES
from harness.protocol.liveness import live_registers
from harness.protocol.releases import READ
from harness.experiment.scenario_file import load, parse
from harness.experiment.scenario_grades import answers_of_step
from harness.experiment.schedule import Schedule
from kernels import moves, states
from kernels.ops import Register as R

ROOT = Path(__file__).parent.parent.parent
FILES = sorted((ROOT / "configs/explore").glob("*.toml"))
LONG = {"pairs", "pairs_suspected", "pairs_tables", "fault_zap_two_vcpus"}
SMALL = [file.stem for file in FILES if file.stem not in LONG]


def scenarios(name: str, *modules: str):
    return load(ROOT / f"configs/explore/{name}.toml", list(modules) or None)


def world(actors: dict, pages: dict | None = None, **keys):
    """One scenario from its actors."""
    [scenario] = parse({"actors": actors, "start": {"pages": pages or {}} | keys.pop("start", {})} | keys, "test")
    return scenario


def judged(scenario):
    found = explore.run(scenario)
    return found, grading.judge(found, lambda derived, preemptions: explore.run(derived, preemptions=preemptions))


def kinds(found) -> set:
    return {(ending.kind, ending.answers, ending.words) for ending in found.endings}


# --- known answers ---------------------------------------------------------------------------

@pytest.mark.parametrize("name", SMALL)
def test_a_shipped_scenario_comes_out_as_its_file_says(name):
    for scenario in scenarios(name):
        found, verdict_ = judged(scenario)
        assert found.complete and not verdict_.failures, (scenario.module, verdict_.failures)


@pytest.mark.parametrize("path", sorted((ROOT / "configs/explore/reports").glob("*.toml")), ids=lambda path: path.stem)
def test_a_scenario_of_a_report_comes_out_as_its_file_says(path):
    for scenario in load(path):
        found, verdict_ = judged(scenario)
        assert found.complete and not verdict_.failures, (scenario.module, verdict_.failures)
        assert scenario.must_violate or "interesting" in {grade for grade, _ in verdict_.grades}, scenario.module


@pytest.mark.parametrize("path", [path if path.stem == "ignored" else pytest.param(path, marks=pytest.mark.slow)
                                  for path in sorted((ROOT / "configs/explore/huge").glob("*.toml"))], ids=lambda path: path.stem)
def test_a_scenario_of_large_pages_comes_out_as_its_file_says(path):
    [scenario] = load(path)
    found, verdict_ = judged(scenario)
    assert found.complete and not verdict_.failures, verdict_.failures


def test_the_call_that_shuts_the_module_down_stands_behind_those_that_have_answered():
    scenario = load(ROOT / "configs/explore/known/rtmr_underflow.toml", ["1.5.05"])[0]
    halted = {ending.answers[2] for ending in explore.run(scenario).endings if ending.kind == "halted"}
    assert halted == {("TDX_OPERAND_BUSY|RTMR", "HALT")}


KNOWN = sorted((ROOT / "configs/explore/known").glob("*.toml"))


@pytest.mark.parametrize("path", KNOWN, ids=lambda path: path.stem)
def test_a_known_defect_is_in_the_releases_that_its_file_says_and_in_no_other(path):
    searched = {}
    for scenario in load(path):
        key = scenario.behaviour()
        if key not in searched:
            searched[key] = explore.run(scenario)
        found = replace(searched[key], scenario=scenario)
        verdict_ = grading.judge(found, lambda derived, preemptions: explore.run(derived, preemptions=preemptions))
        assert found.complete and not verdict_.failures, (scenario.module, verdict_.failures)
    assert {scenario.module for scenario in load(path)} == {
        name for each in READ if each.dynamic_pamt or not scenario.file.dynamic_pamt for name in (each.name, *each.also)}
    assert len(searched) < len(READ)


def test_a_file_that_names_the_wrong_releases_for_a_defect_fails():
    text = (ROOT / "configs/explore/known/priority_lost.toml").read_text()
    for right, wrong, module, says in (
            ('"1.5.01 to 1.5.20"', '"1.5.01 to 1.5.16"', "1.5.20", "forbidden outcome"),
            ('"1.5.01 to 1.5.20"', '"1.5.01 to 1.5.24"', "1.5.24", "expected and never reached")):
        assert right in text
        [scenario] = parse(tomllib.loads(text.replace(right, wrong)), "wrong", modules=[module])
        _, verdict_ = judged(scenario)
        assert [failure for failure in verdict_.failures if failure.startswith(says)], verdict_.failures


@pytest.mark.parametrize("name", ["priority_hammered", "listed_pending", "import_ends", "counter_underflow"])
def test_releases_whose_programs_and_starts_are_equal_come_to_the_same(name):
    """Each is searched, though one would do."""
    by_behaviour: dict[str, list] = {}
    for scenario in load(ROOT / f"configs/explore/known/{name}.toml"):
        by_behaviour.setdefault(scenario.behaviour(), []).append(scenario)
    assert len(by_behaviour) > 1
    alike = max(by_behaviour.values(), key=len)
    first, last = explore.run(alike[0]), explore.run(alike[-1])
    assert len(alike) > 2 and kinds(first) == kinds(last) and first.states == last.states
    assert {name: len(way) for name, way in first.violations.items()} == {
        name: len(way) for name, way in last.violations.items()}


def lost_priority(found) -> bool:
    return ("done", (("TDX_SUCCESS",), ("TDX_OPERAND_BUSY|RCX",)), ("MAPPED",)) in kinds(found)


@pytest.mark.parametrize("module, lost", [
    ("1.5.01", True), ("1.5.05", True), ("1.5.16", True), ("1.5.20", True), ("1.5.24", False)])
def test_accept_against_block_loses_host_priority_until_it_is_kept(module, lost):
    [scenario] = scenarios("accept_block", module)
    assert lost_priority(explore.run(scenario)) == lost


def test_the_shortest_way_to_lose_host_priority_is_known():
    """G reads, takes, looks for priority, reads; H reads, is refused, asks; G stores: then the release."""
    [scenario] = scenarios("accept_block", "1.5.05")
    [ending] = [each for each in explore.run(scenario).endings
                if each.words == ("MAPPED",) and each.answers[1] == ("TDX_OPERAND_BUSY|RCX",)]
    assert [turn.actor for turn in ending.turns[2:]] == [0, 0, 0, 0, 1, 1, 1, 0, 0, 0]


@pytest.mark.slow
def test_policies_are_told_apart_by_what_they_can_reach():
    """No kick before the removal: KVM_BUG_ON.  Back to the guest after a lost install: BUSY for ever."""
    found = {policy.name: set() for policy in POLICIES}
    for policy in POLICIES:
        for name in ("fault_zap_pending", "mirror_race"):
            for scenario in load(ROOT / f"configs/explore/{name}.toml", ["1.5.05"], policy.name):
                found[policy.name] |= set(explore.run(scenario).violations)
    assert "no_bug" in found["retry16"] & found["zero_tolerance"] & found["resume_guest"]
    assert "no_bug" not in found["kick_on_busy"] | found["kick_vcpus"]
    assert "livelock" in found["kick_vcpus"] and found["kick_on_busy"] == {"starvation"}


def test_a_wait_that_nobody_ends_is_a_deadlock():
    found = explore.run(world({"vcpu0": {"touch": [3]}}, {"3": "MAPPED"}, start={"words": {"wait_for_sept_zap": 1}}))
    assert set(found.violations) == {"deadlock"} and found.complete


# --- counts derived by hand ------------------------------------------------------------------

@pytest.mark.parametrize("takes", [(1, 1), (2, 1), (3, 2), (2, 2)])
def test_independent_steps_have_as_many_interleavings_as_there_are_paths(takes):
    """Taking and dropping a lock shared is two steps: n and m steps give n + m choose n paths."""
    scripts = {f"host{place}": ["hp_shared op_state_lock"] * count for place, count in enumerate(takes)}
    search = explore.Search(world(scripts), reduce=False)
    assert search.search() == moves.FINISHED
    n, m = (2 * count for count in takes)
    assert search.counts[states.N_STATES] == (n + 1) * (m + 1)
    assert search.counts[states.TRANSITIONS] == n * (m + 1) + m * (n + 1)
    assert explore.interleavings(search) == comb(n + m, n)


def test_three_actors_have_the_multinomial_number_of_interleavings():
    search = explore.Search(world({f"host{place}": "hp_shared op_state_lock" for place in range(3)}), reduce=False)
    search.search()
    assert explore.interleavings(search) == 90           # 6! / (2! 2! 2!)


def test_no_preemption_is_one_after_the_other():
    scenario = world({f"host{place}": "hp_shared op_state_lock" for place in range(3)})
    search = explore.Search(scenario, reduce=False, preemptions=0)
    search.search()
    assert explore.interleavings(search) == 6


# --- what the reduction may not change -------------------------------------------------------

@pytest.mark.parametrize("name", [name for name in SMALL if not name.startswith("accept_two")])
def test_the_reduction_changes_no_verdict(name):
    """Lost tries for ever leave counts for ever: where flows retry, those are forgotten on both sides."""
    scenario = scenarios(name)[-1]
    endless = scenario.uses_flows or name in ("filter_block", "accept_aug")
    reduced, whole = explore.run(scenario), explore.run(scenario, reduce=False, forget=moves.LOST_TRIES * endless)
    assert whole.complete
    assert kinds(reduced) == kinds(whole)
    assert set(reduced.violations) == set(whole.violations)
    assert reduced.states <= whole.states


def of_a_search(found) -> tuple:
    """All that a search says, but for how many states there are and how far the last of them is."""
    cycles = {name: len(turns) for name, turns in found.cycles.items()}
    return (kinds(found), {name: len(turns) for name, turns in found.violations.items()}, cycles, found.answered, found.entries,
            {len(ending.turns) for ending in found.endings})


@pytest.mark.parametrize("policy", ["kick_on_busy", "zero_step_exit", "retry16", "no_post_kick"])
@pytest.mark.parametrize("name", ["fault_zap", "fault_zap_suspected", "mirror_race"])
def test_the_rip_of_an_entry_that_nobody_can_tell_changes_nothing(name, policy):
    scenario = load(ROOT / f"configs/explore/{name}.toml", policy=policy)[0]
    forgotten, kept = (explore.run(scenario, forget=bits) for bits in (moves.LOST_TRIES | moves.ENTRIES, moves.LOST_TRIES))
    assert of_a_search(forgotten) == of_a_search(kept)
    assert forgotten.states <= kept.states


@pytest.mark.parametrize("name", ["accept_block", "fault_zap_pending", "listed_pending"])
def test_a_register_that_nobody_reads_may_hold_anything(name):
    """Garbage in the registers that are said to be dead, before each turn: the words are the same."""
    scenario = scenarios(name, "1.5.05")[0]
    found = explore.run(scenario)
    ways = [ending.turns for ending in found.endings] + list(found.violations.values())
    live = live_registers(scenario.program, (scenario.program.labels.get("script.leave", 0),))
    source = np.random.default_rng(1)
    for turns_ in ways:
        _, expected = execute(Schedule(scenario, turns_))
        replay = Replay(scenario)
        for number, turn in enumerate(turns_):
            registers = replay.registers[turn.actor]
            dead = [register for register in range(1, 64) if not live[registers[R.PC]] >> register & 1]
            registers[dead] = source.integers(1 << 40, size=len(dead))
            replay.follow(turn, number)
        assert replay.difference() == expected


# --- more than fits --------------------------------------------------------------------------

def test_a_search_that_does_not_fit_says_so():
    [scenario] = scenarios("fault_zap_two_vcpus", "1.5.05")
    found = explore.run(scenario, memory_mib=2)
    assert not found.complete and "--memory-mib 2" in found.stopped
    assert 0 < found.states < 50_000


def test_random_runs_repeat_with_their_seed_and_stay_within_what_can_happen():
    [scenario] = scenarios("accept_block", "1.5.05")
    whole = explore.run(scenario)
    one, again, other = (explore.sample(scenario, 200, seed) for seed in (1, 1, 2))
    counts = [[ending.count for ending in found.endings] for found in (one, again, other)]
    assert counts[0] == counts[1] != counts[2]
    assert kinds(one) == kinds(whole) and sum(counts[0]) == 200


def test_pct_states_its_bound():
    [scenario] = scenarios("accept_block", "1.5.05")
    found = explore.sample(scenario, 300, 1, depth=3)
    assert "with probability" in found.stopped and lost_priority(found)


def test_a_long_failing_run_is_cut_down_until_each_step_is_needed():
    scenario = world({f"host{place}": "tdh_mem_page_aug 3 retry 30" for place in range(2)},
                     {"3": "FREE"}, busted=["entry_lock"])
    found = explore.sample(scenario, 50, 1)
    turns_ = found.violations["exclusive_ownership"]
    shortest = explore.run(scenario).violations["exclusive_ownership"]
    assert len(shortest) <= len(turns_) <= len(shortest) + 2
    accesses, _ = execute(Schedule(scenario, turns_))
    assert any("exclusive_ownership" in access.mark for access in accesses)


@pytest.mark.slow
def test_a_random_run_of_200000_steps_is_cut_down_to_as_few_as_the_shortest_has():
    """Two hosts that break the entry lock take some ten steps each, among those of one who is BUSY for ever."""
    aug = "tdh_mem_page_aug 3"
    scenario = world({"host0": aug, "host1": aug, "host2": "tdh_mem_track 0 retry forever"}, {"3": "FREE"},
                     start={"words": {"epoch_lock": 1}}, busted=["entry_lock"], must_violate=["livelock"])
    search = explore.Search(scenario)
    search.scout()
    search.settle()
    flag = 2 + search.violations.index("violation: exclusive_ownership")

    def failed_after() -> int:
        return int(search.events[flag, 0])

    rare = 6e-5
    for seed in range(1000):
        actors = np.random.default_rng(seed).choice(3, size=200_000, p=[rare, rare, 1 - 2 * rare])
        ways = (actors << 8).astype(np.int16)
        if search.follow(ways) and failed_after() >= 100_000:
            break
    assert failed_after() >= 100_000
    turns_ = search.shrink(ways, failed_after)
    assert len(turns_) == len(explore.run(scenario).violations["exclusive_ownership"])
    assert {turn.actor for turn in turns_[len(scenario.scripts):]} == {0, 1}
    accesses, _ = execute(Schedule(scenario, turns_))
    assert "exclusive_ownership" in accesses[-1].mark


# --- schedules -------------------------------------------------------------------------------

def test_a_schedule_runs_again_as_real_processes_with_the_same_words(tmp_path):
    for name in ("accept_block", "fault_zap"):
        [scenario] = scenarios(name, "1.5.05")
        ending = explore.run(scenario).endings[-1]
        schedule = Schedule(scenario, ending.turns, "shown")
        _, schedule.final = execute(schedule)
        kept = Schedule.read(schedule.write(tmp_path / f"{name}.json"))
        assert kept.turns == schedule.turns and kept.final == schedule.final
        assert processes.run(kept) == schedule.final


def test_a_schedule_ends_in_the_words_that_the_search_says():
    [scenario] = scenarios("two_hosts", "1.5.24")
    for ending in explore.run(scenario).endings:
        replay = Replay(scenario)
        for number, turn in enumerate(ending.turns):
            replay.follow(turn, number)
        assert replay.watched() == ending.words


@pytest.mark.parametrize("name", ["accept_block", "two_hosts"])
def test_what_real_processes_reach_is_among_what_was_explored(name):
    for scenario in scenarios(name, "1.5.05"):
        explored = {(ending.answers, ending.words) for ending in explore.run(scenario).endings}
        met = set()
        for _ in range(100):                 # mostly once: on one processor they seldom get into each other's way
            met |= processes.race(scenario, 150)
            assert met <= explored
            if len(met) > 1:
                break
        assert len(met) > 1


# --- what a scenario can begin with ----------------------------------------------------------

def answers(scenario) -> set:
    return {ending.answers for ending in explore.run(scenario).endings}


def test_an_entry_can_have_priority_and_be_locked_at_the_start():
    held = world({"host0": "tdh_mem_range_block 3"}, {"3": "MAPPED+EL"})
    assert kinds(explore.run(held)) == {("done", (("TDX_OPERAND_BUSY|RCX",),), ("MAPPED+EL+HP",))}
    asked = world({"vcpu0": "tdg_mem_page_accept 3"}, {"3": "PENDING+HP"}, module="1.5.34")
    assert kinds(explore.run(asked)) == {("done", (("TDX_OPERAND_BUSY_HOST_PRIORITY|RCX",),), ("PENDING+HP",))}


@pytest.mark.parametrize("children, answer", [
    ("FREE", "TDX_SUCCESS"), ("MAPPED", "TDX_EPT_PAGE_NOT_FREE|RCX"), ("REMOVED", "TDX_EPT_PAGE_NOT_FREE|RCX")])
def test_512_entries_below_one_have_a_state_at_the_start(children, answer):
    scenario = world({"host0": "tdh_mem_sept_remove 0 level 1"}, {"0 level 1": "NL_BLOCKED"},
                     start={"children": {"0 level 1": children}, "words": {"epoch": 5 << 32}})
    assert answers(scenario) == {((answer,),)}


def test_a_page_has_a_type_that_can_be_set_and_watched():
    scenario = world({"host0": "tdh_mem_page_aug 3"}, watch=["pamt_4k.data 3 type", "pamt_4k.data 3"])
    [ending] = explore.run(scenario).endings
    assert ending.words == ("PENDING", "0x3", "0x0")
    scenario = world({"host0": "tdh_mem_page_aug 3"}, start={"words": {"pamt_4k.data 3 type": 8}})
    assert answers(scenario) == {(("TDX_PAGE_METADATA_INCORRECT|R8",),)}


def test_with_dynamic_pamt_the_2_mib_of_data_have_a_pair_or_not():
    keys = {"module": "1.5.24", "dynamic_pamt": True, "watch": ["pamt_2m.data type"]}
    calls = {"host0": "tdh_mem_page_aug 3"}
    assert answers(world(calls, **keys)) == {(("TDX_SUCCESS",),)}
    assert answers(world(calls, start={"pairs": False}, **keys)) == {(("TDX_MISSING_PAMT_PAGE_PAIR|R8",),)}
    add = {"host0": "tdh_phymem_pamt_add 0 level 1", "host1": "tdh_mem_page_aug 3"}
    assert answers(world(add, start={"pairs": False}, **keys)) == {
        (("TDX_SUCCESS",), (answer,)) for answer in (
            "TDX_SUCCESS", "TDX_OPERAND_BUSY|R8", "TDX_MISSING_PAMT_PAGE_PAIR|R8")} | {
        (("TDX_OPERAND_BUSY|RCX",), (answer,)) for answer in ("TDX_OPERAND_BUSY|R8", "TDX_MISSING_PAMT_PAGE_PAIR|R8")}


# --- verdicts --------------------------------------------------------------------------------

def test_a_negative_control_that_is_not_caught_fails():
    scenario = world({"host0": "tdh_mem_track"}, must_violate=["no_halt"], expect=[{"grade": "acceptable"}])
    assert judged(scenario)[1].failures == ["no_halt was to be violated and holds"]


@pytest.mark.parametrize("name, module, share", [
    pytest.param("pairs", "1.5.05", 1, marks=pytest.mark.slow), pytest.param("pairs_tables", "1.5.24", 1, marks=pytest.mark.slow), ("pairs", "1.5.05", 5)])
def test_what_a_call_is_said_to_answer_is_what_it_answers(name, module, share):
    """Read off the rows, against all that any interleaving of a pair was answered."""
    for scenario in scenarios(name, module)[::share]:
        endings = explore.run(scenario).endings
        for place, script in enumerate(scenario.scripts):
            can = answers_of_step(scenario, script.steps[0])
            assert {ending.answers[place][0] for ending in endings} <= can | {"-", "HALT"}


# --- slow ------------------------------------------------------------------------------------

@pytest.mark.slow
@pytest.mark.parametrize("name", ["pairs", "pairs_suspected", "pairs_tables"])
@pytest.mark.parametrize("module", ["1.5.01", "1.5.05", "1.5.16", "1.5.20", "1.5.24"])
def test_every_pair_of_calls_on_one_entry_comes_out_as_its_file_says(module, name):
    for scenario in scenarios(name, module):
        found, verdict_ = judged(scenario)
        assert found.complete and not verdict_.failures, (scenario.name, verdict_.failures)


def test_two_vcpus_and_a_removal_find_no_way_into_trouble_under_kick_on_busy_but_in_1_5_20():
    for scenario in scenarios("fault_zap_two_vcpus"):
        found, verdict_ = judged(scenario)
        known = {"no_halt", "exclusive_ownership"} if scenario.module == "1.5.20" else set()
        assert found.complete and set(found.violations) == {"starvation"} | known and not verdict_.failures
