"""Responses and switches of policies, moved step by step; each known mistake is seen to be made."""

import numpy as np
import pytest

from harness.engines import checks
from harness.memory.layout import KICK_SRCU, MMU_NONPRESENT, TDVPS_STEPPING
from harness.experiment.plan import make_plan
from harness.protocol.invariants import NAMES
from harness.protocol.policies import BY_NAME, POLICIES
from harness.protocol.flows.flow import FROZEN_SPTE, IN_GUEST, MMU_PRESENT, REQUEST
from kernels.epoch import epoch_word
from kernels.ops import Op
from kernels.stepping import EPF_LENGTH, EPF_LIST
from tests.scene import Scene
from tests.stage import config


def faulting(policy, page=4, **keys) -> Scene:
    """vcpu0 has built the tables and is about to handle a fault on `page`."""
    scene = Scene(policy, **keys).until("vcpu0", counter="touches")
    scene.page = page
    return scene.until("vcpu0", label="fault")


def removing(policy, **keys) -> Scene:
    """Page 3 is mapped, nobody is in the guest, and host0 is about to remove it."""
    scene = Scene(policy, **keys).until("vcpu0", counter="touches").until("host0", label="host.start")
    scene.memory.set_word(scene.layout.at("kick"), IN_GUEST | REQUEST)
    return scene.until("vcpu0", label="vcpu.run")


def arm(scene, page):
    """vcpu0 has `page` listed by the zero-step mitigation, and is about to enter."""
    stepping = scene.layout.at("tdvps", 0) + TDVPS_STEPPING
    scene.memory.set_word(stepping + EPF_LENGTH, 1, 8)
    scene.memory.set_word(stepping + EPF_LIST, page)
    return scene


# --- the catalogue ---

CATALOGUE = """spinlock_vm retry16 retry16_clobber zero_tolerance adaptive_1024 resume_then_kick frozen_local
    mmu_local2 kick_first kick_on_busy kick_on_busy_618 do_no_vcpus_619 busy_bitmask_bug ignore_eagain
    reenter_irqoff no_post_kick inject47 yield_on_busy zero_step_exit""".split()


def test_every_position_of_the_list_is_a_row():
    assert set(CATALOGUE) <= set(BY_NAME)
    assert BY_NAME["kick_first"] is BY_NAME["kick_vcpus"]


def test_what_a_policy_is_known_to_break_are_invariants():
    for policy in POLICIES:
        assert set(policy.breaks) <= set(NAMES)


def test_a_program_holds_only_what_its_policy_and_workload_use():
    plain = make_plan(config("kick_on_busy")).program
    for word in ("map_gpa", "srcu", "slot", "spam", "helped", "injected", "clobbered", "string", "memory_fault",
                 "other_errors", "doubled", "drained", "seamcall_lock", "mirror_race"):
        assert not any(word in row.text or any(word in label for label in row.labels) for row in plain.listing), word


# --- install ---

def test_a_limit_that_is_reached_is_doubled_for_the_whole_vm_up_to_its_maximum():
    assert str(BY_NAME["adaptive_1024"].install) == "retry 16 doubling 1024"
    scene = faulting({"base": "adaptive_1024", "install": ["retry 4 doubling 32"]})
    scene.hold_tree()
    scene.until("vcpu0", label="vcpu.run")
    assert scene.attempts["tdh_mem_page_aug"] == 1 + 1 + 32
    assert scene.counters["retry_limit_doubled"] == 3               # 4, 8, 16 -> 32
    assert scene.bugs == [("tdh_mem_page_aug", "TDX_OPERAND_BUSY|SEPT_TREE")]
    assert scene.word("seamcall_lock") == 0 and scene.word("mmu_lock") == 0


@pytest.mark.parametrize("policy", ["spinlock_vm", "adaptive_1024"])
def test_the_spinlock_of_the_vm_is_held_around_each_call_and_keeps_others_out(policy):
    scene = faulting(policy)
    scene.until("vcpu0", label="tdh_mem_page_aug")
    assert scene.word("seamcall_lock") == 1
    scene.page = 3
    scene.until("vcpu0", op=Op.CALL_END)
    scene.until("vcpu0", label="vcpu.run")
    assert scene.word("seamcall_lock") == 0
    scene.memory.set_word(scene.layout.at("seamcall_lock"), 99)
    scene.until("host0", label="zap.page").until("host0", op=Op.WAIT_IS)
    assert scene.blocked("host0")


def test_mmu_local2_retries_a_call_and_a_frozen_entry_twice_per_level():
    scene = faulting("mmu_local2")
    scene.hold_tree()
    before = scene.attempts["tdh_mem_page_aug"]
    scene.until("vcpu0", label="vcpu.run")
    assert scene.attempts["tdh_mem_page_aug"] == before + 3
    scene = faulting("mmu_local2")
    scene.memory.set_word(scene.layout.at("mirror.0", 4), FROZEN_SPTE)
    scene.until("vcpu0", label="vcpu.run")
    assert scene.counters["frozen_met"] == 3 and scene.counters["local_retries"] == 0


@pytest.mark.parametrize("stale, met", [(False, 1), (True, 3)])
def test_a_stale_old_value_makes_a_retry_blind_to_what_another_has_published(stale, met):
    """Its two retries still expect the entry to be empty, though it has been filled in between."""
    scene = faulting({"base": "mmu_local2", "stale_old": stale})
    place = scene.layout.at("mirror.0", 4)
    scene.memory.set_word(place, FROZEN_SPTE)
    scene.until("vcpu0", counter="frozen_met")
    scene.memory.set_word(place, scene.layout.hpa("data", 4) | MMU_PRESENT)
    scene.until("vcpu0", label="vcpu.run")
    assert scene.counters["frozen_met"] == met


def test_frozen_local_retries_what_is_frozen_in_the_host_and_what_is_busy_through_the_guest():
    scene = faulting("frozen_local")
    scene.memory.set_word(scene.layout.at("mirror.0", 4), FROZEN_SPTE)
    scene.until("vcpu0", label="fault.retry")
    scene = faulting("frozen_local")
    scene.hold_tree()
    scene.until("vcpu0", label="vcpu.run")
    assert scene.counters["local_retries"] == 0


def test_a_clobbered_retry_never_reaches_the_module_and_kills_the_vm():
    scene = faulting("retry16_clobber")
    scene.hold_tree()
    scene.until("vcpu0", op=Op.CALL_END)
    scene.hold_tree(0)                                              # it would succeed now
    scene.until("vcpu0", label="vcpu.run")
    assert scene.counters["clobbered_calls"] == 1
    assert scene.bugs == [("tdh_mem_page_aug", "TDX_OPERAND_INVALID|RDX")]


def test_inject47_answers_every_47th_call_and_makes_all_others():
    scene = faulting("inject47")
    scene.memory.set_word(scene.layout.at("calls_injected"), 46)
    scene.until("vcpu0", counter="installs")
    assert scene.answered["tdh_mem_page_aug", "TDX_OPERAND_BUSY|SEPT_TREE (injected)"] == 1
    assert scene.word("calls_injected") == 1                        # the retry counts from the start again


# --- the mirror race of 19 Jan 2023 ---

@pytest.mark.parametrize("freeze, zap_lock, raced", [
    (False, "read", 1), (True, "read", 0), (False, "write", 0), (True, "write", 0),
])
def test_the_mirror_race_needs_both_mistakes(freeze, zap_lock, raced):
    """A zap comes between the mirror and the SEPT of an install: vcpu0 stands before its AUG."""
    scene = faulting({"base": "kick_on_busy", "freeze": freeze, "zap_lock": zap_lock})
    scene.until("vcpu0", label="tdh_mem_page_aug")
    scene.until("host0", label="zap")
    if zap_lock == "write":
        scene.step("host0")
        assert scene.blocked("host0")                               # until the fault is over
    else:
        scene.until("host0", label="host.next")
        assert len(scene.bugs) == raced                             # it zaps what is not there yet
    scene.until("vcpu0", counter="installs")
    assert scene.counters.get("violation: mirror_race", 0) == raced
    assert checks.mirror_differs(scene.memory) == raced
    assert scene.counters["violation: one_freezer"] == 2 * raced    # seen when taking and when giving back
    assert scene.entry(4) == "PENDING"


# --- removals ---

def test_a_bitmask_takes_other_errors_for_busy_and_equality_does_not():
    for policy, kicks, bugs in (("busy_bitmask_bug", 1, 0), ("kick_on_busy", 0, 1)):
        scene = removing(policy).until("host0", label="zap.track")
        place = scene.layout.at("epoch")
        scene.memory.set_word(place, epoch_word(5, even=1))         # a vCPU still runs at epoch 4
        before = scene.counters["kick_broadcasts"]
        scene.until("host0", op=Op.CALL_END)
        scene.memory.set_word(place, epoch_word(5))                 # the kick has driven it out
        scene.until("host0", label="zap.track.done")
        assert scene.counters.get("other_errors_taken_for_busy", 0) == kicks
        assert len(scene.bugs) == bugs
        assert scene.counters["kick_broadcasts"] == before + 1      # a real kick, or the news of the VM's death


def test_ignoring_busy_from_block_ends_in_a_page_that_cannot_be_removed():
    scene = removing("ignore_eagain")
    scene.hold_tree()
    scene.until("host0", label="zap.track")
    scene.hold_tree(0)
    scene.until("host0", label="host.next")
    [(call, cause)] = scene.bugs
    assert call == "tdh_mem_page_remove" and cause.startswith(("TDX_GPA_RANGE_NOT_BLOCKED", "TDX_TLB_TRACKING"))


def test_without_the_kick_after_track_the_old_epoch_is_still_in_use():
    """Page 3's REMOVE and page 4's TRACK both find vcpu0 in the guest since before."""
    scene = Scene("no_post_kick", workload={"removal_pages": 8}).until("vcpu0", counter="touches")
    scene.page = 4
    scene.until("vcpu0", counter="touches")
    scene.until("host0", label="host.next")
    assert scene.bugs == [("tdh_mem_page_remove", "TDX_TLB_TRACKING_NOT_DONE|RCX")]
    assert scene.answered["tdh_mem_track", "TDX_PREVIOUS_TLB_EPOCH_BUSY"] == 1


def test_release_and_yield_lets_others_in_and_leaves_the_entry_frozen():
    scene = removing("yield_on_busy")
    scene.hold_tree()
    scene.until("host0", op=Op.YIELD)
    assert scene.word("mmu_lock") == 0 and scene.mirror() == FROZEN_SPTE
    scene.hold_tree(0)
    scene.until("host0", label="host.next")
    assert scene.attempts["tdh_mem_range_block"] == 2 and not scene.bugs
    assert scene.mirror() == MMU_NONPRESENT and scene.entry() == "FREE"


def test_a_caller_that_may_not_sleep_gets_the_next_response_instead():
    scene = removing("yield_on_busy", workload={"may_sleep": False})
    scene.hold_tree()
    scene.until("host0", label="host.next")
    assert scene.attempts["tdh_mem_range_block"] == 17
    assert scene.bugs == [("tdh_mem_range_block", "TDX_OPERAND_BUSY|SEPT_TREE")]


def test_a_track_that_fails_is_followed_by_a_remove_that_fails_and_only_the_first_is_news():
    scene = removing("zero_tolerance").until("host0", label="zap.track")
    scene.memory.set_word(scene.layout.at("epoch_lock"), 1, 16)
    scene.until("host0", op=Op.CALL_END)
    scene.memory.set_word(scene.layout.at("epoch_lock"), 0, 16)
    scene.until("host0", label="host.next")
    assert scene.bugs == [("tdh_mem_track", "TDX_OPERAND_BUSY|TD_EPOCH")]
    assert scene.answered["tdh_mem_page_remove", "TDX_TLB_TRACKING_NOT_DONE|RCX"] == 1


# --- kicks and entries ---

def test_a_kick_interrupts_who_is_in_the_guest_and_nobody_else():
    scene = Scene("kick_on_busy").until("vcpu0", counter="touches").until("host0", label="host.start")
    scene.until("host0", op=Op.WAIT_NOT)
    assert scene.word("kick", 0) == IN_GUEST | REQUEST and scene.word("kick", 1) == 0
    assert scene.counters["kicks_sent"] == 1
    assert scene.blocked("host0")
    scene.until("vcpu0", label="vcpu.run")
    scene.until("host0", label="zap.remove")


@pytest.mark.parametrize("policy, hangs", [("reenter_irqoff", True), ("kick_on_busy", False)])
def test_a_refused_entry_with_interrupts_off_hangs_who_kicks(policy, hangs):
    """vcpu1 is past the point where it counts as in the guest when the bar is set and it is kicked."""
    scene = removing(policy).until("vcpu1", label="vcpu.try")
    scene.hold_tree()
    scene.until("host0", op=Op.CALL_END)
    scene.hold_tree(0)
    scene.until("host0", op=Op.WAIT_NOT)                            # bar set, vcpu0 and vcpu1 notified
    assert scene.word("wait_for_sept_zap") == 1
    scene.until("vcpu1", op=Op.WAIT_IS)                             # it finds the bar
    assert scene.blocked("vcpu1")
    for _ in range(20):
        scene.step("host0")
    assert (scene.at("host0").startswith("kick")) == hangs
    if not hangs:
        scene.until("host0", label="zap.block.done")


@pytest.mark.parametrize("policy, counter", [
    ("resume_then_kick", "kick_broadcasts"), ("zero_step_exit", "userspace_exits"),
    ("adaptive_1024", "mmu_lock_drained"),
])
def test_a_policy_that_knows_that_zero_step_fired_answers_in_its_own_way(policy, counter):
    scene = Scene(policy).until("vcpu0", counter="touches")
    scene.memory.set_word(scene.layout.at("kick"), IN_GUEST | REQUEST)
    scene.until("vcpu0", label="vcpu.run")
    arm(scene, page=3).hold_tree()
    before = scene.counters.get(counter, 0)
    scene.until("vcpu0", counter="zero_step_answers").until("vcpu0", label="vcpu.run")
    assert scene.counters[counter] == before + 1
    assert scene.word("kick") == 0 and scene.word("mmu_lock") == 0
    assert scene.answered["tdh_vp_enter", "TDX_OPERAND_BUSY|SEPT_TREE"] == 1


def test_busy_on_the_epoch_is_not_taken_for_zero_step():
    scene = Scene("zero_step_exit").until("vcpu0", label="vcpu.try")
    scene.memory.set_word(scene.layout.at("epoch_lock"), 1, 16)
    scene.until("vcpu0", label="vcpu.run")
    assert scene.answered["tdh_vp_enter", "TDX_OPERAND_BUSY|TD_EPOCH"] == 1
    assert scene.counters["zero_step_answers"] == 0 and scene.counters["userspace_exits"] == 0


# --- the stop conditions of local retry ---

@pytest.mark.parametrize("stop_on, stops", [(["event"], True), ([], False)])
def test_a_pending_event_ends_a_local_retry_if_it_is_a_stop_condition(stop_on, stops):
    scene = faulting({"base": "kick_on_busy", "stop_on": stop_on})
    scene.hold_tree()
    scene.until("vcpu0", label="fault.retry")
    scene.memory.set_word(scene.layout.at("kick"), REQUEST)
    scene.until("vcpu0", label="vcpu.run" if stops else "fault.retry")


def test_the_end_of_the_vm_ends_a_local_retry():
    scene = faulting("kick_on_busy")
    scene.hold_tree()
    scene.until("vcpu0", label="fault.retry")
    scene.memory.set_word(scene.layout.at("vm_dead"), 1)
    scene.until("vcpu0", label="vcpu.dead")


@pytest.mark.parametrize("policy, deadlocks", [
    ("kick_on_busy", True), ("kick_on_busy_618", False), ("resume_guest", False),
])
def test_local_retry_on_an_invalid_memslot_deadlocks_in_616_and_not_in_618(policy, deadlocks):
    scene = faulting(policy, workload={"removal": "memslot_delete"})
    scene.until("vcpu0", label="fault.again")                       # an SRCU reader from here on
    scene.until("host0", op=Op.WAIT_NOT)
    assert scene.blocked("host0")                                   # synchronize_srcu
    assert scene.memory.word(scene.layout.at("kick") + KICK_SRCU) % 2 == 1
    if deadlocks:
        for _ in range(50):
            scene.until("vcpu0", label="fault.retry")
            assert scene.blocked("host0")
    else:
        scene.until("vcpu0", label="vcpu.run")
        scene.until("host0", counter="slots_deleted")
    assert scene.counters["invalid_slots_met"] > 0


# --- checks can fail ---

def test_a_bar_without_the_lock_and_one_that_is_left_are_seen():
    scene = removing("kick_vcpus").until("host0", label="zap.page")
    scene.memory.set_word(scene.layout.at("mmu_owner"), 99)
    scene.until("host0", counter="violation: bar_under_lock")
    scene = removing("kick_on_busy").until("host0", label="zap.page")
    scene.memory.set_word(scene.layout.at("wait_for_sept_zap"), 1)
    scene.until("host0", counter="violation: bar_under_lock")


def test_busy_behind_the_bar_is_seen():
    scene = removing("kick_on_busy")
    scene.hold_tree()
    scene.until("host0", counter="violation: barred_retry")


def test_a_mirror_entry_that_another_has_taken_or_changed_is_seen():
    scene = faulting("kick_on_busy")
    scene.memory.set_word(scene.layout.at("mirror.0", 4) + scene.layout.shadow_delta, 99)
    scene.until("vcpu0", counter="violation: one_freezer")
    scene.memory.set_word(scene.layout.at("mirror.0", 4), 0)
    scene.until("vcpu0", counter="violation: seamcall_covered")


def test_a_removal_without_mmu_lock_for_write_is_seen():
    scene = removing("kick_on_busy").until("host0", label="zap.page")
    scene.memory.set_word(scene.layout.at("mmu_owner"), 99)
    scene.until("host0", counter="violation: seamcall_covered")


def test_entries_without_a_parent_and_pages_mapped_twice_are_seen():
    scene = Scene("kick_on_busy").until("vcpu0", counter="touches")
    memory, layout = scene.memory, scene.layout
    assert checks.orphaned_entries(memory) == checks.pages_mapped_twice(memory) == 0
    memory.set_word(layout.at("sept.0", 5), scene.word("sept.0", 3))
    assert checks.pages_mapped_twice(memory) == 1
    memory.set_word(layout.at("sept.1", 0), scene.word("sept.1", 1))    # FREE
    assert checks.orphaned_entries(memory) == 2


def test_sleeping_under_mmu_lock_is_read_off_the_program():
    plan = make_plan(config("kick_on_busy"))
    assert checks.sleeps_under_lock(plan) == 0
    held = next(row for row in plan.program.listing if any(lock.resource == "mmu_lock" for lock in row.held))
    held.op = Op.YIELD
    assert checks.sleeps_under_lock(plan) == 1


@pytest.mark.parametrize("policy", [policy.name for policy in POLICIES])
def test_no_policy_sleeps_under_mmu_lock(policy):
    assert checks.sleeps_under_lock(make_plan(config(policy))) == 0


def test_answers_that_no_removal_and_no_install_may_get_are_counted():
    plan = make_plan(config("kick_on_busy"))
    records = [np.zeros(plan.tables.words, np.int64)]
    calls, answers = plan.program.calls, [answer.name for answer in plan.program.answers]

    def put(table, call, answer):
        at = getattr(plan.tables, table) + calls.index(call) * len(answers) + answers.index(answer)
        records[0][at] += 1

    put("answered", "tdh_mem_track", "TDX_PREVIOUS_TLB_EPOCH_BUSY")
    assert checks.answered(plan, records, "answered", checks.OLD_EPOCH) == 1
    put("bugs", "tdh_mem_page_remove", "TDX_TLB_TRACKING_NOT_DONE|RCX")
    assert checks.answered(plan, records, "bugs", checks.NOT_TRACKED) == 1
    put("bugs", "tdh_mem_page_aug", "TDX_EPT_ENTRY_STATE_INCORRECT|RCX")
    assert checks.answered(plan, records, "bugs", checks.MAPPED_TWICE) == 1

