"""Large pages in KVM's flows: which size a fault maps, ACCEPTs of another size than is mapped, removals of a part or of all."""

import random

import pytest

from harness.engines import checks
from harness.engines.explore import search
from harness.errors import UsageError
from harness.experiment import scenario_file
from harness.memory.layout import KICK_SMALL
from harness.protocol.flows.flow import FROZEN_SPTE, MMU_LARGE, MMU_PRESENT, REQUEST
from harness.protocol.flows.large import LEAF
from kernels.ops import Op, Register as R
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


def test_who_finds_2_mib_inhibited_takes_no_lock():
    made = with_one_page(scene(accept_first=0.0)).until("vcpu0", counter="splits").until("vcpu0", label="guest.accepted")
    made.until("vcpu1", label="vcpu.run")
    made.page = PAGE + 1
    made.memory.set_word(made.layout.at("sept.0", PAGE + 1), made.memory.word(made.layout.at("sept.0")))       # FREE
    made.memory.set_word(made.layout.at("mirror.0", PAGE + 1), made.memory.word(made.layout.at("mirror.0")))
    made.memory.set_word(made.layout.at("pamt_4k.data", PAGE + 1) + 2, 0, 8)
    made.registers[made.numbers["vcpu1"]][R.PAGE] = PAGE + 1
    made.registers[made.numbers["vcpu1"]][R.PC] = made.program.labels["mismatch"]
    locked = made.counters["mismatched_accepts"]
    made.until("vcpu1", counter="installs")
    assert made.counters["mismatched_accepts"] == locked and made.word("mmu_lock") & 0xFF == 0


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
    made.until("host0", label="host.next").until("host0", label="zap.page_done")
    if splits:
        assert not made.bugs and made.counters["removals"] == made.counters["splits"] == 1
        assert made.entry() == "FREE" and made.entry(PAGE) in ("PENDING", "MAPPED") and checks.mirror_differs(made.memory) == 0
    else:
        assert made.bugs == [("tdh_mem_range_block", "TDX_EPT_WALK_FAILED|RCX")]


def test_2_mib_are_removed_as_one_and_can_be_mapped_as_one_again():
    made = with_one_page(scene(accept_2m=True, workload={"removal_pages": 512}))
    made.until("vcpu0", counter="large_accepts")
    made.until("host0", label="host.next")
    for _ in range(200_000):                         # the guest has to take the kick
        made.step("host0")
        made.step("vcpu0")
        if made.counters["large_removals"]:
            break
    assert made.counters["large_removals"] == 1 and not made.counters["splits"] and not made.bugs
    generations = made.memory.view("generation")[512:1024, 0]
    assert set(generations.tolist()) == {1}
    made.until("host0", label="host.next")
    made.until("vcpu0", counter="large_installs").until("vcpu0", counter="touches")
    assert mapped_as_one(made)


@pytest.mark.parametrize("design, busy_tries", [("dpamt_merged", 2), ("dpamt_demote_bare", 0)])
def test_a_demote_that_is_made_again_behind_a_kick_holds_the_designs_lock_again(design, busy_tries):
    """It was made without pamt_lock the second time."""
    made = with_one_page(scene(accept_2m=True, td={"dynamic_pamt": True, "dpamt": design}))
    made.page = PAGE + 5
    held = []
    while made.counters["splits"] == 0:
        before = made.attempts["tdh_mem_page_demote"]
        made.step("host0")
        if made.attempts["tdh_mem_page_demote"] > before:
            queue = made.memory.view("dpamt_queue")[:, 0]
            held.append(int(made.word("dpamt_next")) > int(queue.max()))
            made.hold_entry(held=before == 0, level=1)
        elif made.attempts["tdh_mem_page_demote"] == 1 and made.answered.get(("tdh_mem_page_demote", "TDX_OPERAND_BUSY|RCX")):
            made.hold_entry(held=False, level=1)
    assert len(held) == 2 and sum(held) == busy_tries


@pytest.mark.parametrize("again, ends", [("interrupts_on", True), ("interrupts_off", False)])
def test_a_demote_that_an_interrupt_has_ended_is_made_again(again, ends):
    made = with_one_page(scene({"base": BASE, "demote_again": again}, accept_first=0.0, module="1.5.05"))
    while not made.attempts["tdh_mem_page_demote"]:
        made.step("vcpu0")
    place = made.layout.at("kick")
    made.memory.set_word(place, made.memory.word(place) | REQUEST)
    for _ in range(3):
        made.until("vcpu0", label="mismatch.split.finish" if ends else None, counter="demotes_interrupted")
    assert (made.counters["splits"] == 1) == ends and made.counters["demotes_interrupted"] == (1 if ends else 3)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("policy", [BASE, READ, "kick_vcpus", "kick_on_busy"])
def test_whatever_the_order_the_mirror_and_the_sept_agree_at_the_end_of_each_operation(policy, seed):
    """Steps of two vCPUs and a host thread in random order."""
    draw = random.Random(seed)
    made = scene(policy, accept_first=float(seed != 1), guest="svsm", accept_2m=True, workload={"removal_pages": 512 if seed == 2 else 4})
    names = ("vcpu0", "vcpu1", "host0")
    for step in range(60_000):
        if step % 97 == 0:
            made.page = draw.randrange(1024)
        made.step(draw.choice(names))
    assert not made.bugs and made.counters["touches"] and made.counters["large_installs"]
    assert not any(count for name, count in made.counters.items() if name.startswith("violation"))
    assert made.counters["large_removals" if seed == 2 else "removals"]
    assert checks.orphaned_entries(made.memory) == 0 == checks.pages_mapped_twice(made.memory)


# --- what is not modelled is refused -------------------------------------------------------------

@pytest.mark.parametrize("keys, part", [
    ({"workload": {"removal": "build"}}, "a workload.removal other than build"),
    ({"machine": {"placement": "packed"}}, "machine.placement = 'by_use'"),
    ({"td": {"dynamic_pamt": True}, "module": "1.5.24"}, "td.dpamt where td.dynamic_pamt is on"),
    ({"policy": {"base": "kick_on_busy", "zap_lock": "read"}}, "zap_lock = 'write'"),
])
def test_a_config_with_large_pages_that_are_not_modelled_is_refused(keys, part):
    policy = keys.pop("policy", BASE)
    with pytest.raises(UsageError, match="td.large_pages") as refused:
        config(policy, **keys | {"td": {"large_pages": True, "memory_mib": 4} | keys.get("td", {})})
    assert part in str(refused.value) and "\n" not in str(refused.value)


def test_a_share_of_parts_needs_large_pages():
    with pytest.raises(UsageError, match="workload.accept_parts = 0.5: needs td.large_pages"):
        config(BASE, workload={"accept_parts": 0.5, "accept_2m": True})


START = {"start": {"pages": {"0 level 1": "PENDING"}}, "actors": {"vcpu0": {"touch": [0]}}, "policy": BASE}


def test_a_touch_below_a_large_page_is_modelled_or_refused_and_never_a_bug_of_kvms():
    with pytest.raises(UsageError, match="need large_pages = true"):
        scenario_file.parse(START, "large")
    found = search.run(scenario_file.parse(START | {"large_pages": True}, "large")[0])
    assert found.complete and not found.violations
    assert found.outcomes and all(words == ("MAPPED",) for words in (each.words for each in found.outcomes))


@pytest.mark.parametrize("keys, part", [
    ({"dynamic_pamt": True, "module": "1.5.24"}, "dynamic_pamt = false"),
    ({"policy": {"base": BASE, "zap_lock": "read"}}, "zap_lock = 'write'"),
    ({"actors": {"vcpu0": "tdg_mem_page_accept 0 level 1"}}, "an actor with KVM's flows"),
])
def test_a_scenario_with_large_pages_that_are_not_modelled_is_refused(keys, part):
    with pytest.raises(UsageError, match="large_pages = true: needs") as refused:
        scenario_file.parse(START | {"large_pages": True} | keys, "large")
    assert part in str(refused.value)


assert MMU_LARGE | MMU_PRESENT == LEAF != FROZEN_SPTE
