"""What any run can come to at all, beside what every interleaving of small worlds does come to."""

import pytest

from harness.engines.explore import search
from harness.engines.thread_modular.actor import ALIVE, INSIDE, Actors
from harness.engines.thread_modular.bound import PAGE, bound, smallest
from harness.engines.thread_modular.closure import Closure
from harness.engines.thread_modular.words import ELSEWHERE, FREE, HERE, Words
from harness.experiment.plan import make_plan
from harness.experiment.scenario_file import parse
from harness.protocol.policies import BY_NAME, POLICIES, Policy
from tests.stage import config

MEMORY_MIB = 600                 # of tables for each world
RUNS, SEED = 400, 1              # of a world that does not fit
PHASES = (1, 2, 3, 5, 8)         # of a policy that answers every nth call itself: calls until it does

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
    ({"vcpu0": TOUCH, "vcpu1": TOUCH, "host0": REMOVE}, PENDING, False),                   # a fault behind a bug
)
INJECTED_WORLDS = (0, 6)         # in which a policy's own answers are looked for
# What no world shows, and the bound does not exclude: nobody says that an entry which is published before its call
# is held.
NOT_SHOWN = {"spinlock_vm": {("tdh_mem_range_block", f"TDX_{status}|RCX") for status in (
    "EPT_ENTRY_STATE_INCORRECT", "EPT_WALK_FAILED", "GPA_RANGE_ALREADY_BLOCKED")}}

# Everything that one page's words can be is followed: vCPUs fault on it and two host threads remove it.
FAULTS_AND_REMOVALS = {"td": {"vcpus": 4}, "workload": {"hosts": 2, "accept_first": 0.5}, "restart_on_bug": True,
                       "costs_ns": {"invalidate": 1}}


def explored(policy: Policy, module: str) -> set[tuple[str, str]]:
    """All (call, answer) of every interleaving of the small worlds."""
    starts = list(WORLDS)
    if policy.inject_every:
        starts += [(WORLDS[place][0], WORLDS[place][1] | {"words": {"calls_injected": policy.inject_every - calls}},
                    WORLDS[place][2]) for place in INJECTED_WORLDS for calls in PHASES]
    answers = set()
    for actors, start, accepts in starts:
        for scenario in parse({"actors": actors, "start": start, "accept_first": accepts, "policy": policy,
                               "module": module, "timeouts": True, "must_violate": ["livelock"]}, "small"):
            found = search.run(scenario, MEMORY_MIB)
            answers |= found.answered
            if not found.complete:
                answers |= search.sample(scenario, RUNS, SEED, memory_mib=MEMORY_MIB).answered
    return answers


def both(policy: str, module: str) -> tuple[set, set]:
    return set(bound(config(policy, module=module, **FAULTS_AND_REMOVALS)).answers), explored(BY_NAME[policy], module)


@pytest.mark.parametrize("policy, module", [
    pytest.param(*case, marks=pytest.mark.slow) for case in (("kick_on_busy", "1.5.05"), ("resume_guest", "1.5.24"))])
def test_what_can_be_is_what_small_worlds_come_to(policy, module):
    """Neither less, which would fail correct runs, nor more, which would let wrong ones pass."""
    can, does = both(policy, module)
    assert can == does


@pytest.mark.slow
@pytest.mark.parametrize("module", ["1.5.05", "1.5.20", "1.5.24"])
@pytest.mark.parametrize("policy", [policy.name for policy in POLICIES])
def test_what_can_be_under_any_policy_is_what_small_worlds_come_to(policy, module):
    can, does = both(policy, module)
    assert does <= can and can - does <= NOT_SHOWN.get(policy, set())


@pytest.mark.slow
def test_a_fault_that_waited_for_a_removal_that_failed_finds_the_page_still_there():
    """The page is out of the mirror and in the SEPT once BLOCK was BUSY: whoever faults then adds it again."""
    behind_a_bug = ("tdh_mem_page_aug", "TDX_EPT_ENTRY_STATE_INCORRECT|RCX")
    assert behind_a_bug in bound(config("resume_guest", module="1.5.24", **FAULTS_AND_REMOVALS)).answers
    assert behind_a_bug not in bound(config("kick_on_busy", module="1.5.24", **FAULTS_AND_REMOVALS)).answers


def test_sizes_rates_and_times_make_no_difference():
    few = config("kick_on_busy", **FAULTS_AND_REMOVALS)
    many = config("kick_on_busy", **FAULTS_AND_REMOVALS | {
        "name": "many", "seed": 7, "td": {"vcpus": 900, "memory_mib": 64}, "costs_ns": {"invalidate": 50_000},
        "checks": {"busted": ["entry_lock"]}, "expect": {"bugs.total": 0},
        "workload": {"hosts": 40, "accept_first": 0.5, "pattern": "zipf"}})
    assert repr(smallest(few)) != repr(smallest(config("kick_on_busy")))
    assert repr(smallest(many)) == repr(smallest(few.model_copy(update={
        "td": few.td.model_copy(update={"vcpus": 8}), "workload": few.workload.model_copy(update={"hosts": 3})})))


@pytest.mark.slow
def test_one_vcpu_alone_is_never_refused_and_two_are():
    """Who does the same as others meets them only where there are others."""
    one, two = (bound(config("kick_on_busy", td={"vcpus": vcpus}, workload={"hosts": 0})).answers for vcpus in (1, 2))
    assert one < two and not any("BUSY" in answer for _, answer in one)
    assert ("tdg_mem_page_accept", "TDX_OPERAND_BUSY|RCX") in two


# --- its parts ---

@pytest.fixture(scope="module")
def closure() -> Closure:
    return Closure(make_plan(smallest(config("kick_vcpus", workload={"removal": "teardown"}))), PAGE)


def test_no_two_who_hold_a_lock_exclusively_are_there_at_once(closure):
    """Locked entries and mmu_lock have a holder wherever an actor finds them so."""
    words, views = closure.words, closure.views
    for view, stands in closure.pairs.items():
        for held in stands:
            for offset, _ in views.owned[view]:
                holders = {held for held in closure.met[view] if closure.actors.held[held][1].get(offset)}
                assert holders or views.words[view][closure.mmu] == ELSEWHERE, words.layout.name_of(offset)


def test_mmu_lock_is_held_here_elsewhere_or_not_at_all(closure):
    assert {closure.views.words[view][closure.mmu] for view in closure.pairs} == {FREE, HERE, ELSEWHERE}


def test_everybody_but_who_is_parked_is_alive(closure):
    parked = {closure.plan.program.listing[stand.pc].text for stand in closure.actors.stands
              if (ALIVE, False) not in stand.marks and (ALIVE, True) not in stand.marks}
    assert parked == {"vm_generation"}


def test_a_row_that_reads_what_is_unknown_goes_to_each_of_its_outcomes():
    """Whether entry is barred is not known: the vCPU goes on into tdh_vp_enter, INSIDE, or back to vcpu.run."""
    plan = make_plan(smallest(config("kick_on_busy", **FAULTS_AND_REMOVALS)))
    actors = Actors(plan, Words(plan, PAGE))
    registers = list(map(int, plan.start(plan.actors[0])))
    found = actors.behind(plan.actors[0].number, plan.program.labels["vcpu.try"], registers, (), frozenset())
    stands = [actors.stands[number] for _, bits in found for number in range(bits.bit_length()) if bits >> number & 1]
    assert {plan.program.listing[stand.pc].place for stand in stands} == {"tdh_vp_enter", "vcpu"}
    assert all(((INSIDE, False) in stand.marks) == (plan.program.listing[stand.pc].place == "tdh_vp_enter")
               for stand in stands)
