"""Large pages in KVM's flows: which size a fault maps, ACCEPTs of another size than is mapped, removals of a part or of all."""

import pytest
from pydantic import ValidationError

from harness.engines import checks
from harness.engines.explore import search
from harness.engines.simulate import simulation
from harness.errors import UsageError
from harness.experiment import scenario_file
from harness.experiment.plan import make_plan
from harness.memory.layout import KICK_SMALL
from harness.protocol.flows.flow import FROZEN_SPTE, MMU_LARGE, MMU_PRESENT, REQUEST
from harness.protocol.flows.large import LEAF
from harness.results import document
from kernels.ops import Op
from tests.scene import Scene
from tests.stage import config

BASE = "do_no_vcpus_619"
READ = {"base": BASE, "split_lock": "read"}
PAGE = 700                       # of the second 2 MiB, in the middle
RANGE = PAGE >> 9


def scene(policy=BASE, page=PAGE, accept_first=1.0, guest="svsm", accept_2m=False, **keys) -> Scene:
    workload = {"accept_2m": accept_2m} | keys.pop("workload", {})
    td = {"memory_mib": 4, "large_pages": True} | keys.pop("td", {})
    return Scene(policy, page=page, accept_first=accept_first, guest=guest, workload=workload, td=td,
                 **{"module": "1.5.24"} | keys)


def mapped_as_one(made: Scene) -> bool:
    return made.word("mirror.1", RANGE) & LEAF == LEAF


def with_one_page(made: Scene) -> Scene:
    """Mapped as 2 MiB, by a touch."""
    made.until("vcpu0", counter="large_installs").until("vcpu0", label="guest.touch")
    assert mapped_as_one(made)
    return made


def together(made: Scene, done, names=("host0", "vcpu0"), each=lambda: None) -> Scene:
    """Move actors in turn: who waits for a kick needs the other one."""
    for _ in range(20_000):
        for name in names:
            if done():
                return made
            made.step(name)
            each()
    raise AssertionError("does not get there")


def test_a_touch_maps_2_mib_and_an_accept_of_them_all_is_enough_for_each_page():
    made = scene(accept_2m=True).until("vcpu0", counter="large_accepts").until("vcpu0", counter="touches")
    assert made.counters["large_installs"] == 1 and not made.counters["installs"]
    made.page = PAGE - 100
    accepts = made.attempts["tdg_mem_page_accept"]
    made.until("vcpu0", label="guest.next").until("vcpu0", counter="touches")
    made.until("vcpu1", label="vcpu.run").until("vcpu1", counter="touches")
    assert made.attempts["tdg_mem_page_accept"] == accepts and made.attempts["tdh_mem_page_aug"] == 1


def test_an_accept_of_a_part_makes_kvm_split_once_for_both_vcpus():
    made = with_one_page(scene(accept_first=0.0))
    made.until("vcpu0", label="mismatch")            # both come out before either has split
    made.page = PAGE + 1
    made.until("vcpu1", label="vcpu.run").until("vcpu1", label="mismatch")
    made.until("vcpu0", counter="splits").until("vcpu0", label="guest.accepted")
    assert made.word("inhibited", RANGE) == 1 and not mapped_as_one(made)
    made.until("vcpu1", label="guest.accepted")
    assert made.counters["splits"] == made.attempts["tdh_mem_page_demote"] == 1 and not made.bugs
    assert made.entry(PAGE) == made.entry(PAGE + 1) == "MAPPED" and made.entry(PAGE + 2) == "PENDING"


@pytest.mark.parametrize("inhibited", [0, 1])
def test_who_finds_2_mib_inhibited_takes_no_lock(inhibited):
    made = scene()
    made.memory.set_word(made.layout.at("inhibited", RANGE), inhibited)
    made.until("vcpu0", counter="installs")          # an ACCEPT of 4 KiB where nothing is mapped
    assert made.counters["mismatched_accepts"] == 1 - inhibited and made.word("inhibited", RANGE) == 1
    assert not made.counters["splits"] and not made.counters["large_installs"]


def test_an_ignored_mismatch_comes_again_and_again():
    made = with_one_page(scene({"base": BASE, "accept_mismatch": "ignore"}, accept_first=0.0))
    for _ in range(5):
        made.until("vcpu0", counter="accept_faults")
    assert mapped_as_one(made) and made.attempts["tdh_mem_range_block"] == 0 and made.attempts["tdh_mem_page_aug"] == 1


def test_a_guest_that_accepts_2_mib_where_4_kib_are_mapped_steps_down():
    made = scene(accept_2m=True)
    made.memory.set_word(made.layout.at("inhibited", RANGE), 1)
    made.until("vcpu0", label="guest.accepted")
    assert made.answered["tdg_mem_page_accept", "TDX_PAGE_SIZE_MISMATCH|level 1"] == 1 and made.entry() == "MAPPED"


def test_an_accept_of_2_mib_that_was_kicked_goes_on_after_the_next_entry():
    made = scene(accept_2m=True).until("vcpu0", counter="large_installs").until("vcpu0", op=Op.ZERO_PAGE)
    place = made.layout.at("kick")
    made.memory.set_word(place, made.memory.word(place) | REQUEST)
    made.until("vcpu0", counter="kicks_taken")
    assert made.answered["tdg_mem_page_accept", "EXIT_REASON_EXTERNAL_INTERRUPT"] == 1
    assert checks.mirror_differs(made.memory) == 0               # half accepted, and still the same page
    made.until("vcpu0", counter="large_accepts")


def test_under_read_what_is_busy_is_rolled_back_and_the_guest_comes_again():
    made = with_one_page(scene(READ, accept_first=0.0))
    while not made.attempts["tdh_mem_page_demote"]:
        made.step("vcpu0")
    made.hold_entry(level=1)
    while not made.attempts["tdh_mem_range_unblock"]:
        made.step("vcpu0")
    made.hold_entry(held=False, level=1)
    made.until("vcpu0", counter="splits_rolled_back")
    assert not made.bugs and made.memory.word(made.layout.at("kick") + KICK_SMALL) == RANGE + 1
    made.until("vcpu0", label="vcpu.run")
    assert mapped_as_one(made) and not made.word("mmu_lock")
    made.until("vcpu0", counter="splits").until("vcpu0", label="guest.accepted")
    assert made.word("inhibited", RANGE) == 0


def test_under_read_a_vcpu_that_wants_small_pages_maps_no_large_one():
    made = scene(READ)
    made.until("vcpu0", label="guest.accepted")
    assert made.counters["installs"] == 1 and not made.counters["large_installs"]


@pytest.mark.parametrize("splits", [True, False])
def test_a_part_is_split_off_before_it_is_removed_or_the_removal_fails(splits):
    made = with_one_page(scene({"base": BASE, "split_before_removal": splits}, accept_2m=True))
    made.page = PAGE + 5
    together(made, lambda: made.counters["removals"] or made.bugs)
    if splits:
        assert not made.bugs and made.counters["removals"] == made.counters["splits"] == 1
        assert made.entry() == "FREE" and made.entry(PAGE) in ("PENDING", "MAPPED") and checks.mirror_differs(made.memory) == 0
    else:
        assert made.bugs == [("tdh_mem_range_block", "TDX_EPT_WALK_FAILED|RCX")]


def test_2_mib_are_removed_as_one_and_can_be_mapped_as_one_again():
    made = with_one_page(scene(accept_2m=True, workload={"removal_pages": 512}))
    together(made, lambda: made.counters["large_removals"])
    assert made.counters["large_removals"] == 1 and not made.counters["splits"] and not made.bugs
    generations = made.memory.view("generation")[512:1024, 0]
    assert set(generations.tolist()) == {1}
    made.until("host0", label="host.next")
    made.until("vcpu0", counter="large_installs").until("vcpu0", counter="touches")
    assert mapped_as_one(made)


@pytest.mark.parametrize("design, locked", [("dpamt_merged", 1), ("dpamt_demote_bare", 0)])
def test_a_demote_that_is_made_again_behind_a_kick_holds_the_designs_lock_again(design, locked):
    """It was made without pamt_lock the second time."""
    made = with_one_page(scene(accept_2m=True, td={"dynamic_pamt": True, "dpamt": design}))
    made.page, tickets, held, tries = PAGE + 5, [], [], made.attempts

    def watch():
        if tries["tdh_mem_page_demote"] > len(tickets):
            tickets.append(made.word("dpamt_next"))
            if len(tickets) == 1:
                made.hold_entry(level=1)
        elif len(tickets) == len(held) + 1 and made.answered.get(("tdh_mem_page_demote", "TDX_OPERAND_BUSY|RCX")):
            held.append(False)
            made.hold_entry(held=False, level=1)

    together(made, lambda: made.counters["splits"], each=watch)
    assert len(tickets) == 2 and tickets[1] - tickets[0] == locked


@pytest.mark.parametrize("again, ends", [("interrupts_on", True), ("interrupts_off", False)])
def test_a_demote_that_an_interrupt_has_ended_is_made_again(again, ends):
    made = with_one_page(scene({"base": BASE, "demote_again": again}, accept_first=0.0, module="1.5.05"))
    while not made.attempts["tdh_mem_page_demote"]:
        made.step("vcpu0")
    place = made.layout.at("kick")
    made.memory.set_word(place, made.memory.word(place) | REQUEST)
    if ends:
        made.until("vcpu0", counter="splits")
    else:
        made.until("vcpu0", counter="demotes_interrupted").until("vcpu0", counter="demotes_interrupted")
    assert made.counters["demotes_interrupted"] == (1 if ends else 2) and not made.bugs


@pytest.mark.parametrize("policy, workload, met", [
    (BASE, {"removal": "teardown", "removals_per_s": 1_500}, "splits"),
    (READ, {"removal": "punch_hole", "removal_pages": 4}, "splits"),
    ("kick_vcpus", {"removal": "punch_hole", "removal_pages": 512}, "large_removals"),
    ("kick_on_busy", {"removal": "conversion", "removal_pages": 64}, "splits"),
])
def test_a_run_keeps_the_invariants_and_meets_what_it_is_about(policy, workload, met):
    given = {"pattern": "uniform", "accept_2m": True, "accept_parts": 0.3, "accept_first": 0.5, "hosts": 1}
    result = document.from_measured(simulation.run(make_plan(config(
        policy, engine="simulate", module="1.5.24", guest="linux_convert", duration_s=0.002, warmup_s=0,
        td={"vcpus": 3, "memory_mib": 8, "large_pages": True}, workload=given | workload))))
    assert result.counters["large_installs"] and result.counters["large_accepts"] and result.counters[met]
    assert not any(result.invariants.values()) and None not in result.invariants.values() and not result.bugs


# --- what is not modelled is refused -------------------------------------------------------------

@pytest.mark.parametrize("keys, part", [
    ({"workload": {"removal": "build"}}, "a workload.removal other than build"),
    ({"machine": {"placement": "packed"}, "td": {"memory_mib": 2}}, "td.memory_mib of at least 4"),
    ({"td": {"dynamic_pamt": True}, "module": "1.5.24"}, "td.dpamt where td.dynamic_pamt is on"),
    ({"policy": {"base": "kick_on_busy", "zap_lock": "read"}}, "zap_lock = 'write'"),
])
def test_a_config_with_large_pages_that_are_not_modelled_is_refused(keys, part):
    policy = keys.pop("policy", BASE)
    with pytest.raises(ValidationError, match="needs") as refused:
        config(policy, **keys | {"td": {"large_pages": True, "memory_mib": 4} | keys.get("td", {})})
    assert part in str(refused.value)


def test_a_share_of_parts_needs_large_pages():
    with pytest.raises(ValidationError, match="needs td.large_pages and workload.accept_2m"):
        config(BASE, workload={"accept_parts": 0.5, "accept_2m": True})


START = {"start": {"pages": {"0 level 1": "PENDING"}}, "actors": {"vcpu0": {"touch": [0]}}, "policy": BASE}


def test_a_touch_below_a_large_page_is_modelled_or_refused_and_never_a_bug_of_kvms():
    with pytest.raises(UsageError, match="need large_pages = true"):
        scenario_file.parse(START, "large")
    found = search.run(scenario_file.parse(START | {"large_pages": True}, "large")[0])
    assert found.complete and not found.violations
    assert [ending.words for ending in found.endings] == [("MAPPED",)]


@pytest.mark.parametrize("more", [{"large_pages": True}, {}])
def test_kvms_flows_below_a_page_of_1_gib_are_refused(more):
    """KVM was accused of a KVM_BUG_ON."""
    with pytest.raises(UsageError, match="have none of 1 GiB, nor has KVM's series for TDX; allowed there: NL_MAPPED") as refused:
        scenario_file.parse(START | {"start": {"pages": {"0 level 2": "PENDING"}}} | more, "large")
    assert "\n" not in str(refused.value) and "start.pages.0 level 2 = 'PENDING'" in str(refused.value)
    scenario_file.parse(START | {"start": {"pages": {"0 level 2": "NL_MAPPED"}}} | more, "large")


@pytest.mark.parametrize("keys, part", [
    ({"dynamic_pamt": True, "module": "1.5.24"}, "needs dpamt where dynamic_pamt is on"),
    ({"policy": {"base": BASE, "zap_lock": "read"}}, "zap_lock = 'write'"),
    ({"actors": {"vcpu0": "tdg_mem_page_accept 0 level 1"}}, "an actor with KVM's flows"),
])
def test_a_scenario_with_large_pages_that_are_not_modelled_is_refused(keys, part):
    with pytest.raises(UsageError, match="large_pages = true: needs") as refused:
        scenario_file.parse(START | {"large_pages": True} | keys, "large")
    assert part in str(refused.value)


assert MMU_LARGE | MMU_PRESENT == LEAF != FROZEN_SPTE
