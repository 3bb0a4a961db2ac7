"""KVM's and the guest's flows, moved step by step: what each policy makes of BUSY, in counts and words."""

import numpy as np
import pytest

from harness.engines import checks
from harness.memory.layout import MMU_NONPRESENT, TDVPS_STEPPING
from harness.protocol.policies import POLICIES
from harness.protocol.flows.flow import FROZEN_SPTE, IN_GUEST, MMU_PRESENT, REQUEST
from kernels import marks, stepping
from harness.protocol.flows.build import RESUMES_MAX
from kernels.locks import PRIMITIVES
from kernels.ops import Op, Register as R
from kernels.words import STATE, TDHP, signed, status, unsigned
from tests.scene import Scene


def test_a_first_touch_builds_the_tree_adds_accepts_and_signs_the_page():
    scene = Scene("kick_on_busy").until("vcpu0", counter="touches")
    assert scene.entry() == "MAPPED"
    assert scene.attempts["tdh_mem_sept_add"] == 2 and scene.attempts["tdh_mem_page_aug"] == 1
    assert scene.attempts["tdg_mem_page_accept"] == 1
    assert scene.counters["private_faults"] == 1
    assert [call for _, call in scene.trace] == [
        "tdh_vp_enter", "tdh_mem_sept_add", "tdh_mem_sept_add", "tdh_mem_page_aug", "tdh_vp_enter",
        "tdg_mem_page_accept"]
    hpa = scene.layout.hpa("data", scene.page)
    assert scene.mirror() == hpa | MMU_PRESENT
    content = scene.memory.view("content")[scene.page]
    assert content[0] != 0 and not content[1:].any()
    scene.until("vcpu0", counter="touches")
    assert scene.attempts["tdh_vp_enter"] == 2                      # the second touch is a hit


@pytest.mark.parametrize("primitive", PRIMITIVES)
def test_s29_faults_of_accept_are_not_counted_however_many(primitive):
    scene = Scene("resume_guest", accept_first=1.0, primitive=primitive)
    scene.hold_tree()                                               # SEPT.ADD stays BUSY, the guest faults again
    for _ in range(100):
        scene.until("vcpu0", counter="accept_faults")
    stepping_words = scene.memory.view("tdvps", np.uint8)[0][TDVPS_STEPPING:]
    assert stepping_words[stepping.EPF_COUNT] == stepping_words[stepping.EPF_LENGTH] == 0
    assert scene.counters["private_faults"] == 0


def test_a_guest_that_touches_in_the_same_place_is_armed_by_the_seventh_fault():
    scene = Scene("resume_guest")
    scene.hold_tree()
    for fault in range(1, 8):
        scene.until("vcpu0", counter="private_faults").until("vcpu0", label="vcpu.run")
        assert scene.counters["zero_step.armed"] == (fault == 7)


def test_host_priority_that_nobody_takes_back_ends_in_a_td_exit_and_the_host_enters_again():
    scene = Scene("kick_on_busy").until("vcpu0", counter="installs").until("vcpu0", label="guest.accept")
    place = scene.layout.at("sept.0", scene.page)
    scene.memory.set_word(place, scene.memory.word(place) | TDHP)   # a host lost the entry and gave up
    refused = "tdg_mem_page_accept", "TDX_OPERAND_BUSY_HOST_PRIORITY|RCX"
    scene.overdue = 1                                               # the clock may be where it wants:
    scene.until("vcpu0", op=Op.OVERDUE)
    assert scene.answered[refused] == 1                             # the first refusal only starts it
    scene.until("vcpu0", counter="userspace_exits")
    assert scene.counters["host_priority.timeouts"] == 1
    assert scene.answered["tdg_mem_page_accept", "TDX_HOST_PRIORITY_BUSY_TIMEOUT"] == 1
    assert scene.word("epoch") & 0xFFFF_FFFF == 0                   # outside
    scene.overdue = 0
    scene.memory.set_word(place, scene.memory.word(place) & ~TDHP)
    scene.until("vcpu0", counter="touches")


def test_a_td_exit_for_an_ept_violation_does_not_stop_the_timer_of_host_priority_but_a_plain_busy_does():
    scene = Scene("kick_on_busy").until("vcpu0", counter="installs").until("vcpu0", label="guest.accept")
    registers = scene.registers[scene.numbers["vcpu0"]]
    place = scene.layout.at("sept.0", scene.page)
    pending = scene.memory.word(place)
    scene.memory.set_word(place, pending | TDHP)
    scene.until("vcpu0", op=Op.CALL_END).until("vcpu0", label="guest.accept")
    assert registers[R.REFUSED] == 1
    scene.memory.set_word(place, STATE["FREE"].word())              # the host has removed the page
    scene.until("vcpu0", label="guest.exit")
    assert scene.counters["accept_faults"] == 1 and registers[R.REFUSED] == 1
    scene.until("vcpu0", label="guest.accept")
    scene.hold_entry()
    scene.until("vcpu0", op=Op.CALL_END)
    assert registers[R.REFUSED] == 0


def test_a_violation_is_looked_at_twice_so_an_accept_in_between_makes_it_one_that_the_host_hears_of():
    scene = Scene("kick_on_busy").until("vcpu0", counter="installs").until("vcpu0", label="guest.unmapped")
    scene.until("vcpu1", counter="accepts")
    counted = scene.counters["private_faults"]
    scene.until("vcpu0", label="guest.exit")
    assert scene.counters["private_faults"] == counted + 1


def test_without_pending_ve_a_touch_of_a_pending_page_is_counted_and_kvm_ends_the_vm():
    scene = Scene("kick_on_busy", td={"pending_ve": False}).until("vcpu0", counter="installs")
    place = scene.layout.at("tdvps") + TDVPS_STEPPING + stepping.EPF_COUNT
    counted = scene.memory.word(place, 8)
    scene.until("vcpu0", counter="unaccepted_touches")
    assert scene.memory.word(place, 8) == counted + 1
    assert scene.until("vcpu0", op=Op.STOP).word("vm_dead") and not scene.bugs


def test_a_guest_that_accepts_first_takes_its_violation_through_accept_and_is_not_counted():
    scene = Scene("kick_on_busy", accept_first=1.0).until("vcpu0", counter="touches")
    assert scene.counters["private_faults"] == 0
    assert scene.counters["accept_faults"] == 1                     # KVM fills in all levels at once
    assert scene.entry() == "MAPPED"


def test_a_second_vcpu_finds_the_page_and_its_signature():
    scene = Scene("kick_on_busy").until("vcpu0", counter="touches").until("vcpu1", counter="touches")
    assert scene.attempts["tdh_mem_page_aug"] == 1
    assert scene.counters["violation: page_signature"] == 0


def test_contents_that_nobody_wrote_are_seen():
    scene = Scene("kick_on_busy").until("vcpu0", counter="touches")
    scene.memory.view("content")[scene.page][0] ^= 1
    scene.until("vcpu0", counter="touches")
    assert scene.counters["violation: page_signature"] == 1


def test_a_stale_translation_is_seen():
    scene = Scene("kick_on_busy").until("vcpu0", counter="touches")
    scene.memory.view("generation")[scene.page] += 1                # the host took the page, no flush
    scene.until("vcpu0", counter="violation: stale_translation")


# --- installs that come back BUSY ---

@pytest.mark.parametrize("policy, attempts, ends_at", [
    ("retry16", 17, "vcpu.run"),             # 1 + 16 retries, then back to the guest
    ("resume_guest", 1, "vcpu.run"),
    ("kick_vcpus", 1, "vcpu.run"),
    ("kick_on_busy", 1, "fault.retry"),
    ("zero_tolerance", 1, "bug"),
])
def test_what_a_policy_does_when_the_tree_is_busy_at_an_install(policy, attempts, ends_at):
    scene = Scene(policy).until("vcpu0", counter="touches")
    scene.page = 4
    scene.until("vcpu0", label="fault")
    scene.hold_tree()
    if ends_at == "bug":
        scene.until("vcpu0", label="vcpu.run")
        assert scene.bugs == [("tdh_mem_page_aug", "TDX_OPERAND_BUSY|SEPT_TREE")]
        assert scene.word("vm_dead") == 1
    else:
        scene.until("vcpu0", label=ends_at)
        assert not scene.bugs
    assert scene.attempts["tdh_mem_page_aug"] == 1 + attempts
    assert scene.mirror() == MMU_NONPRESENT                         # rolled back
    assert scene.word("mmu_lock") == 0


def test_the_retries_of_one_operation_do_not_count_against_the_next():
    scene = Scene("retry16").until("vcpu0", counter="touches")
    scene.page = 4
    scene.until("vcpu0", label="fault")
    scene.hold_tree()
    for _ in range(5):
        scene.until("vcpu0", op=Op.CALL_END)
    scene.hold_tree(0)
    scene.until("vcpu0", counter="touches")
    scene.page = 5
    scene.until("vcpu0", label="fault")
    scene.hold_tree()
    before = scene.attempts["tdh_mem_page_aug"]
    scene.until("vcpu0", label="vcpu.run")
    assert scene.attempts["tdh_mem_page_aug"] == before + 17


def test_retry16_does_not_retry_an_entry_that_is_busy_and_bugs_the_vm():
    scene = Scene("retry16").until("vcpu0", counter="touches")
    scene.page = 4
    scene.until("vcpu0", label="fault")
    scene.hold_entry()
    scene.until("vcpu0", label="vcpu.run")
    assert scene.bugs == [("tdh_mem_page_aug", "TDX_OPERAND_BUSY|RCX")]
    assert scene.attempts["tdh_mem_page_aug"] == 2


def test_local_retry_stops_for_a_kick_and_goes_on_without_one():
    scene = Scene("kick_on_busy").until("vcpu0", counter="touches")
    scene.page = 4
    scene.until("vcpu0", label="fault")
    scene.hold_tree()
    entries = scene.attempts["tdh_vp_enter"]
    for _ in range(10):
        scene.until("vcpu0", label="fault.retry")
    assert scene.attempts["tdh_vp_enter"] == entries                # never went back to the guest
    scene.memory.set_word(scene.layout.at("kick"), REQUEST)
    scene.until("vcpu0", label="vcpu.run")


def test_local_retry_never_arms_and_resuming_does():
    for policy, armed in (("kick_on_busy", 0), ("resume_guest", 1)):
        scene = Scene(policy).until("vcpu0", counter="touches")
        scene.page = 4
        scene.memory.set_word(scene.layout.at("mirror.0", 4), FROZEN_SPTE)
        for _ in range(7):
            scene.until("vcpu0", counter="frozen_met")
        assert scene.counters["zero_step.armed"] == armed, policy
        assert scene.counters["private_faults"] == 1 + (7 if armed else 1)


# --- removals ---

def mapped(policy, **keys) -> Scene:
    """A scene where vcpu0 is in the guest and page 3 is mapped, and the host is about to remove it."""
    scene = Scene(policy, **keys).until("vcpu0", counter="touches")
    return scene.until("host0", label="host.start")


def test_a_removal_takes_the_page_and_the_guest_faults_it_in_again():
    scene = mapped("kick_on_busy")
    scene.until("host0", op=Op.WAIT_NOT)
    assert scene.entry() == "BLOCKED" and scene.mirror() == MMU_NONPRESENT
    assert scene.blocked("host0")                                   # vcpu0 is in the guest
    scene.until("vcpu0", label="vcpu.run")
    assert scene.counters["kicks_taken"] == 1
    scene.until("host0", counter="removals")
    assert scene.entry() == "FREE" and scene.word("generation", 3) == 1
    assert scene.memory.view("content")[3][0] != 0                  # poisoned
    scene.until("host0", label="host.next")
    scene.until("vcpu0", counter="installs").until("vcpu0", counter="touches")
    assert scene.entry() == "MAPPED" and scene.counters["violation: stale_translation"] == 0


@pytest.mark.parametrize("step, site", [("tdh_mem_range_block", "block"), ("tdh_mem_page_remove", "remove")])
def test_kick_on_busy_kicks_bars_and_repeats_the_call_once(step, site):
    scene = mapped("kick_on_busy")
    if site == "remove":
        scene.until("host0", op=Op.WAIT_NOT).until("vcpu0", label="vcpu.run")
        scene.until("host0", label="zap.remove")
    scene.hold_tree()
    scene.until("host0", op=Op.CALL_END)
    if site == "block":
        scene.until("host0", op=Op.WAIT_NOT)
        assert scene.word("wait_for_sept_zap") == 1
        assert scene.blocked("host0")
        scene.until("vcpu0", label="vcpu.barred")                   # left, and cannot come back
        scene.until("vcpu0", op=Op.WAIT_IS)
        assert scene.blocked("vcpu0")
    scene.hold_tree(0)
    scene.until("host0", label=f"zap.{site}.done")
    assert scene.attempts[step] == 2
    assert scene.word("wait_for_sept_zap") == 0 and not scene.bugs


@pytest.mark.parametrize("policy", ["kick_on_busy", "zero_tolerance", "kick_vcpus", "resume_guest"])
def test_a_second_busy_bugs_the_vm(policy):
    scene = mapped(policy)
    scene.until("vcpu0", op=Op.CHOOSE)
    scene.memory.set_word(scene.layout.at("kick"), 0)               # nobody to wait for
    scene.hold_tree()
    scene.until("host0", label="host.next")
    assert scene.bugs == [("tdh_mem_range_block", "TDX_OPERAND_BUSY|SEPT_TREE")]
    assert scene.attempts["tdh_mem_range_block"] == (2 if policy == "kick_on_busy" else 1)
    assert scene.word("wait_for_sept_zap") == 0 and scene.word("mmu_lock") == 0


def test_kick_vcpus_keeps_them_out_from_before_block_until_remove_is_done():
    scene = mapped("kick_vcpus")
    scene.until("host0", op=Op.WAIT_NOT)
    assert scene.word("wait_for_sept_zap") == 1 and scene.entry() == "MAPPED"
    scene.until("vcpu0", op=Op.WAIT_IS)
    for label in ("zap.block", "zap.track", "zap.remove"):
        scene.until("host0", label=label)
        assert scene.word("wait_for_sept_zap") == 1
        assert scene.word("kick") & IN_GUEST == 0
    scene.until("host0", label="host.next")
    assert scene.word("wait_for_sept_zap") == 0 and scene.entry() == "FREE"
    assert scene.counters["kick_broadcasts"] == 1


def test_retry16_gives_block_17_tries_and_remove_as_many_as_it_takes():
    scene = mapped("retry16")
    scene.hold_tree()
    scene.until("host0", label="host.next")
    assert scene.attempts["tdh_mem_range_block"] == 17 and len(scene.bugs) == 1
    scene = mapped("retry16")
    scene.until("host0", op=Op.WAIT_NOT).until("vcpu0", label="vcpu.run").until("host0", label="zap.remove")
    scene.hold_tree()
    for _ in range(100):
        scene.until("host0", op=Op.CALL_END)
    assert scene.attempts["tdh_mem_page_remove"] >= 100 and not scene.bugs
    scene.hold_tree(0)
    scene.until("host0", counter="removals")


def test_only_the_first_bug_of_a_vm_counts():
    scene = mapped("zero_tolerance")
    scene.memory.set_word(scene.layout.at("kick"), 0)
    scene.hold_tree()
    scene.until("host0", label="host.next")
    scene.page = 9
    scene.until("vcpu0", label="vcpu.dead")
    assert len(scene.bugs) == 1


# --- the end of a VM ---

def test_a_dead_vm_is_built_anew_by_one_actor_once_all_are_parked():
    scene = mapped("zero_tolerance", restart_on_bug=True)
    scene.hold_tree()
    scene.until("host0", label="host.dead")
    scene.hold_tree(0)
    scene.until("host0", op=Op.WAIT_IS)
    assert scene.blocked("host0")
    scene.until("vcpu0", op=Op.WAIT_NOT)
    assert scene.blocked("host0")
    scene.until("vcpu1", op=Op.WAIT_NOT)
    assert scene.blocked("vcpu0") and scene.blocked("vcpu1")
    scene.until("host0", label="host.next")
    assert scene.counters["rebuilds"] == 1
    assert scene.entry() == "FREE" and scene.word("vm_dead") == 0 and scene.word("parked") == 0
    scene.until("vcpu0", counter="touches").until("vcpu1", counter="touches")
    assert scene.entry() == "MAPPED"


@pytest.mark.parametrize("hosts, rebuilder, parked, ending", [
    (2, "host0", ["vcpu0", "vcpu2"], "host1"), (0, "vcpu0", ["vcpu2"], "vcpu3"),
])
def test_who_ends_while_a_vm_is_dead_lets_nobody_go_and_is_waited_for_by_nobody(hosts, rebuilder, parked, ending):
    """The run is stopped while the rebuilder waits for vcpu1, which is still in the guest of the dead VM.

    An actor that ended used to let the parked ones go; they ended, too, were counted a second time, and
    the TD was made fresh under vcpu1.
    """
    scene = Scene("kick_on_busy", td={"vcpus": 4 if hosts == 0 else 3}, workload={"hosts": hosts},
                  restart_on_bug=True)
    for vcpu in (name for name in scene.numbers if name.startswith("vcpu")):
        scene.until(vcpu, counter="touches")
    scene.memory.set_word(scene.layout.at("vm_dead"), 1)

    def interrupt(vcpu):
        scene.memory.set_word(scene.layout.at("kick", int(vcpu[-1])), REQUEST | IN_GUEST)

    def go(name, op):
        if name.startswith("vcpu"):
            interrupt(name)
        scene.until(name, op=op)

    go(rebuilder, Op.WAIT_IS)
    for name in parked:
        go(name, Op.WAIT_NOT)
    scene.stopping = True
    go(ending, Op.STOP)
    assert all(scene.blocked(name) for name in (rebuilder, *parked))
    go("vcpu1", Op.STOP)
    assert checks.locks_held(scene.plan, scene.memory) == 0
    for name in (rebuilder, *parked):
        scene.until(name, op=Op.STOP)
    assert scene.counters["rebuilds"] == 1
    assert checks.locks_held(scene.plan, scene.memory) == checks.counts_left(scene.plan, scene.memory) == 0


def test_without_restart_all_end_when_the_vm_is_dead():
    scene = mapped("zero_tolerance")
    scene.hold_tree()
    for name in ("host0", "vcpu0", "vcpu1"):
        scene.until(name, op=Op.STOP)
    assert len(scene.bugs) == 1 and scene.word("mmu_lock") == 0


@pytest.mark.parametrize("policy", [policy.name for policy in POLICIES])
def test_an_ended_run_leaves_everything_quiet(policy):
    scene = mapped(policy)
    scene.stopping = True
    scene.memory.set_word(scene.layout.at("kick"), REQUEST | IN_GUEST)
    scene.until("vcpu0", op=Op.STOP).until("host0", op=Op.STOP)
    assert checks.locks_held(scene.plan, scene.memory) == 0
    assert checks.counts_left(scene.plan, scene.memory) == 0
    assert checks.mirror_differs(scene.memory) == 0
    assert checks.foreign_contents(scene.plan, scene.memory) == 0


# --- invariants can fail ---

def test_each_quiet_check_sees_what_it_is_for():
    scene = Scene("kick_on_busy").until("vcpu0", counter="touches")
    scene.stopping = True
    scene.memory.set_word(scene.layout.at("kick"), REQUEST | IN_GUEST)
    scene.until("vcpu0", op=Op.STOP)
    plan, memory = scene.plan, scene.memory
    scene.hold_entry()
    assert checks.locks_held(plan, memory) == 1
    scene.hold_entry(False)
    memory.set_word(plan.layout.at("pamt_2m.data"), 4, 16)
    assert checks.locks_held(plan, memory) == 1
    memory.set_word(plan.layout.at("pamt_2m.data"), 2, 16)
    assert checks.locks_held(plan, memory) == 0
    records = [memory.record(actor.number) for actor in plan.actors]
    assert checks.host_priority(plan, memory, records)["locks_left"] == 1
    entry = memory.word(plan.layout.at("sept.0", 3))
    memory.set_word(plan.layout.at("sept.0", 3), entry | TDHP)
    at = plan.tables.counters + plan.program.counters.index("host_priority.set")
    records[0][at], records[1][plan.tables.half + at] = 2, 1         # three were set: one is here, one cleared
    records[0][plan.tables.counters + plan.program.counters.index("host_priority.cleared")] = 1
    found = checks.host_priority(plan, memory, records)
    assert (found["set"], found["cleared"], found["orphaned"], found["lost"]) == (3, 1, 1, 1)
    memory.set_word(plan.layout.at("sept.0", 3), entry)
    memory.set_word(plan.layout.at("epoch"), 1 << 32 | 1, 64)
    assert checks.counts_left(plan, memory) == 1
    memory.set_word(plan.layout.at("mirror.0", 3), MMU_NONPRESENT)
    assert checks.mirror_differs(memory) == 1
    memory.set_word(plan.layout.at("mirror.0", 3), FROZEN_SPTE)
    assert checks.mirror_differs(memory) == 2
    memory.view("content")[3][0] = 12345
    assert checks.foreign_contents(plan, memory) == 1


def test_an_unknown_status_is_not_taken_for_busy():
    assert unsigned(status("TDX_PREVIOUS_TLB_EPOCH_BUSY")) >> 32 != status("TDX_OPERAND_BUSY") >> 32
    assert marks.STOP > marks.MEASURED > marks.WARM_UP > marks.START_LINE


@pytest.mark.parametrize("resumed, once_more", [(0, True), (RESUMES_MAX - 2, True), (RESUMES_MAX - 1, False)])
def test_a_write_back_that_interrupts_end_again_and_again_is_given_up_after_10_000_times(resumed, once_more):
    assert RESUMES_MAX == 10_000                         # TDX_SEAMCALL_RETRIES of the kernel
    scene = Scene("do_no_vcpus_619", workload={"removal": "build"})
    registers = scene.registers[scene.numbers["host0"]]
    registers[R.PC] = next(number for number, row in enumerate(scene.program.listing)
                           if any(label.startswith("host.write_back_test.") for label in row.labels))
    registers[R.TRIES], registers[R.STATUS] = resumed, signed(status("TDX_INTERRUPTED_RESUMABLE"))
    for _ in range(20):
        scene.step("host0")
        if scene.attempts["tdh_phymem_cache_wb_resume"] or scene.counters["destroy_failures"]:
            break
    assert scene.attempts["tdh_phymem_cache_wb_resume"] == once_more
    assert scene.counters["destroy_failures"] == (not once_more)
    assert registers[R.TRIES] == resumed + 1
