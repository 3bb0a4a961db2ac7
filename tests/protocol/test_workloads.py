"""Guests, userspace and callers of removals that a workload can ask for, moved step by step."""

import numpy as np
import pytest

from harness.engines import checks
from harness.memory.layout import PAMT_TYPE, TDVPS_STEPPING
from harness.protocol.flows.flow import CLOSING, IN_GUEST, REQUEST
from kernels import stepping
from kernels.ops import Op
from kernels.words import HKID_ASSIGNED, HKID_FREE, OP_STATE_INITIALIZED, STATE, TDCS_PAGES, state_of
from tests.scene import Scene


def test_a_lazy_userspace_arms_the_mitigation_though_kvm_is_correct():
    """Six exits convert nothing, and the seventh fault at one instruction is counted against the host."""
    scene = Scene("kick_on_busy", workload={"removal": "conversion", "userspace_skips": 6})
    scene.until("host0", label="host.next")
    assert scene.word("shared", 3) == 7
    scene.until("vcpu0", counter="zero_step.armed")
    assert scene.counters["memory_fault_exits"] == scene.counters["conversions_skipped"] == 6
    scene.until("vcpu0", counter="memory_fault_exits")
    assert scene.word("shared", 3) == 1                             # this exit converts it
    scene.until("vcpu0", label="fault").until("vcpu0", counter="installs")
    assert scene.word("shared", 3) == 0


def test_a_prompt_userspace_does_not():
    scene = Scene("kick_on_busy", workload={"removal": "conversion"})
    scene.until("host0", label="host.next")
    scene.until("vcpu0", counter="touches")
    assert scene.counters["memory_fault_exits"] == 1 and scene.counters["zero_step.armed"] == 0


def test_a_fault_that_saw_attributes_of_before_a_conversion_is_stale():
    """vcpu0 has seen the page private; then it is zapped and becomes shared before vcpu0 has mmu_lock."""
    scene = Scene("kick_on_busy", workload={"removal": "conversion"}).until("vcpu0", counter="touches")
    scene.page = 4
    scene.until("vcpu0", label="fault").until("vcpu0", op=Op.MMU_TAKE_SHARED)
    scene.until("host0", label="host.next")
    scene.until("vcpu0", counter="invalidations_met")
    assert scene.entry(4) == "FREE"


@pytest.mark.parametrize("end", ["before", "in", "behind"])
def test_of_two_invalidations_kvm_keeps_the_range_that_holds_both(end):
    pages = {"before": (3, 7), "in": (3, 3), "behind": (7, 3)}[end]
    scene = Scene("kick_on_busy", workload={"hosts": 2}, costs_ns={"invalidate": 100})
    for host, page in zip(("host0", "host1"), pages):
        scene.page = page
        scene.until(host, label="zap.page_done").until(host, label="host.zapped")
    at = scene.layout.at("invalidate")
    assert scene.memory.word(at) == 2
    assert (scene.memory.word(at + 8), scene.memory.word(at + 16)) == (min(pages), max(pages) + 1)
    scene.page = 5
    met = scene.until("vcpu0", label="fault").counters["invalidations_met"]
    scene.until("vcpu0", label="fault.retry" if end != "in" else "vcpu.run")
    assert scene.counters["invalidations_met"] == met + (end != "in")


def test_map_gpa_goes_to_userspace_in_pieces_and_back_to_private():
    scene = Scene("kick_on_busy", td={"memory_mib": 4}, workload={"map_gpa_share": 0.5, "map_gpa_pages": 1024})
    scene.until("vcpu0", counter="touches")
    scene.converting = 1
    scene.until("vcpu0", label="map_gpa.done")
    assert scene.counters["userspace_exits"] == 2 and scene.counters["removals"] == 1
    assert scene.word("shared", 0) == scene.word("shared", 1023) == 1
    scene.until("vcpu0", counter="conversions")
    assert scene.counters["userspace_exits"] == 4 and scene.word("shared", 1023) == 0
    scene.converting = 0
    scene.until("vcpu0", counter="touches")
    assert scene.entry() == "MAPPED"


@pytest.mark.parametrize("retries, given_up", [(0, 1), (2, 0), (None, 0)])
def test_an_event_between_two_pieces_is_status_retry_and_guests_differ_in_what_they_do(retries, given_up):
    scene = Scene("kick_on_busy", td={"memory_mib": 4},
                  workload={"map_gpa_share": 0.5, "map_gpa_pages": 1024, "map_gpa_retries": retries})
    scene.converting = 1
    scene.until("vcpu0", label="map_gpa.piece")
    scene.memory.set_word(scene.layout.at("kick"), REQUEST)
    scene.until("vcpu0", label="guest.told_to_retry").until("vcpu0", label="map_gpa.private")
    assert scene.counters["map_gpa_status_retry"] == 1
    assert scene.counters.get("conversions_given_up", 0) == given_up
    assert scene.counters["map_gpa_calls"] == 2 - given_up


def test_one_instruction_over_eight_unmapped_pages_does_not_arm_because_each_ve_asks_for_its_information():
    scene = Scene("kick_on_busy", page=8, workload={"string_pages": 8})
    scene.until("vcpu1", label="guest.help")
    for page in range(8, 14):
        scene.until("vcpu0", label="guest.ask").until("vcpu0", label="guest.touch")
        scene.until("vcpu1", counter="helped")
        scene.until("vcpu0", counter="touches")
        assert scene.entry(page) == "MAPPED"
    assert scene.counters["private_faults"] == 6
    scene.until("vcpu0", label="guest.ask")                         # #VE for the seventh
    assert scene.counters["private_faults"] == 7 and scene.counters["zero_step.armed"] == 0
    assert scene.memory.word(scene.layout.at("tdvps") + TDVPS_STEPPING + stepping.EPF_COUNT, 8) == 0


def test_seven_pages_one_after_the_other_by_seven_instructions_do_not_arm():
    scene = Scene("kick_on_busy")
    for page in range(8, 16):
        scene.page = page
        scene.until("vcpu0", counter="touches")
    assert scene.counters["zero_step.armed"] == 0


def test_a_spammer_accepts_page_0_without_end_and_leaves_for_a_kick():
    scene = Scene("kick_on_busy", workload={"spammers": 1})
    for _ in range(5):
        scene.until("vcpu1", counter="spammed")
    assert scene.entry(0) == "MAPPED" and scene.attempts["tdg_mem_page_accept"] == 5
    assert scene.answered["tdg_mem_page_accept", "TDX_PAGE_ALREADY_ACCEPTED|level 0"] >= 3
    scene.memory.set_word(scene.layout.at("kick", 1), IN_GUEST | REQUEST)
    scene.until("vcpu1", label="vcpu.run")
    scene.until("vcpu0", counter="touches")                         # the other guest is as ever


@pytest.mark.parametrize("ladder, given_up, attempts", [(["retry 3"], 1, 4), (["fail"], 1, 1), ([], 1, 1)])
def test_a_guest_with_a_limit_gives_a_busy_page_up(ladder, given_up, attempts):
    scene = Scene("kick_on_busy", guest={"busy_4k": ladder}).until("vcpu0", label="guest.accept")
    scene.hold_entry()
    scene.until("vcpu0", label="guest.next")
    assert scene.counters["accepts_given_up"] == given_up
    assert scene.attempts["tdg_mem_page_accept"] == attempts


def test_a_zap_of_many_pages_lets_others_in_between_two_pages_if_its_caller_may_sleep():
    for may_sleep in (True, False):
        scene = Scene("kick_on_busy", workload={"removal_pages": 8, "may_sleep": may_sleep})
        scene.until("vcpu0", counter="touches")
        scene.page = 20
        scene.until("vcpu1", op=Op.MMU_TAKE_SHARED).until("host0", label="zap.page")
        scene.step("vcpu1")                                         # waits for the writer
        scene.until("host0", op=Op.YIELD) if may_sleep else scene.until("host0", label="zap.absent")
        assert scene.counters.get("zap_yields", 0) == may_sleep
        assert (scene.word("mmu_lock") & 1 == 0) == may_sleep


def test_teardown_removes_all_memory_once_every_vcpu_has_left_and_builds_the_next_td():
    scene = Scene("kick_on_busy", workload={"removal": "teardown"}).until("vcpu0", counter="touches")
    scene.until("host0", label="host.dead")
    assert scene.word("vm_dead") == CLOSING
    scene.until("host0", op=Op.WAIT_IS)
    assert scene.blocked("host0")
    scene.until("vcpu0", op=Op.WAIT_NOT).until("vcpu1", op=Op.WAIT_NOT)
    scene.until("host0", label="host.torn_down")
    assert scene.counters["removals"] == 1 and scene.counters["removals_skipped"] == 511
    assert scene.entry() == "FREE" and not scene.bugs
    scene.until("host0", label="host.next")
    assert scene.word("vm_dead") == 0
    scene.until("vcpu0", counter="touches")


# --- large pages ---

def splitting(policy, **keys) -> Scene:
    keys = {"td": {"memory_mib": 4}, "workload": {"removal": "split", "spammers": 1}} | keys
    return Scene(policy, **keys).until("vcpu0", counter="touches").until("host0", label="split.block")


def test_a_split_maps_the_parts_in_the_mirror_and_in_the_sept_alike():
    scene = splitting("kick_on_busy")
    assert scene.memory.word(scene.layout.at("sept.1", 1)) == STATE["PENDING"].word(scene.layout.hpa("data", 512))
    scene.until("vcpu0", op=Op.CHOOSE)
    scene.memory.set_word(scene.layout.at("kick"), IN_GUEST | REQUEST)
    scene.until("vcpu0", label="vcpu.run").until("host0", counter="splits").until("host0", label="host.dead")
    assert scene.entry(512) == scene.entry(1023) == "PENDING"
    assert checks.mirror_differs(scene.memory) == checks.orphaned_entries(scene.memory) == 0
    assert checks.pages_mapped_twice(scene.memory) == 0


def test_a_spammer_accepts_a_large_page_and_is_told_once_it_has_been_split():
    scene = splitting("kick_on_busy")
    scene.until("vcpu1", op=Op.CALL_BEGIN).until("vcpu1", counter="spammed")
    large = scene.memory.word(scene.layout.at("sept.1", 1))
    assert large == STATE["MAPPED"].word(scene.layout.hpa("data", 512))
    scene.memory.set_word(scene.layout.at("kick"), IN_GUEST | REQUEST)
    scene.until("vcpu0", label="vcpu.run")
    scene.memory.set_word(scene.layout.at("kick", 1), IN_GUEST | REQUEST)
    scene.until("vcpu1", label="vcpu.run").until("host0", counter="splits")
    scene.until("vcpu1", counter="spammed")
    assert scene.answered["tdg_mem_page_accept", "TDX_PAGE_SIZE_MISMATCH|level 1"] == 1


def test_ignoring_busy_from_block_ends_in_a_demote_that_is_refused():
    scene = splitting("ignore_eagain")
    scene.hold_tree()
    scene.until("host0", label="split.track")
    scene.hold_tree(0)
    scene.memory.set_word(scene.layout.at("kick"), IN_GUEST | REQUEST)
    scene.until("vcpu0", label="vcpu.run").until("host0", label="split.finish")
    [(call, cause)] = scene.bugs
    assert call == "tdh_mem_page_demote" and cause.startswith(("TDX_GPA_RANGE_NOT_BLOCKED", "TDX_TLB_TRACKING"))


# --- building, moving, taking apart ---

def building(policy, tds=1) -> Scene:
    return Scene(policy, workload={"removal": "build", "build_pages": 2, "removals_per_s": 0.0}, td={"count": tds})


def test_a_td_is_created_built_runs_and_is_taken_apart_to_its_last_page():
    scene = building("kick_on_busy")
    assert scene.blocked("vcpu0") and scene.blocked("vcpu1")        # until there is a TD
    assert scene.word("chldcnt") == 0 and scene.word("kot") == HKID_FREE
    scene.until("host0", label="host.build_region")
    assert scene.attempts["tdh_mng_add_cx"] == scene.word("chldcnt") == TDCS_PAGES
    assert scene.word("op_state") == OP_STATE_INITIALIZED and scene.word("kot") == HKID_ASSIGNED
    for vcpu in ("vcpu0", "vcpu1"):
        scene.until(vcpu, label="vcpu.create").until(vcpu, op=Op.WAIT_IS)
    assert scene.blocked("vcpu0")                                   # until the TD is finalized
    scene.until("host0", label="host.next")
    assert scene.entry(0) == scene.entry(1) == "MAPPED" and scene.attempts["tdh_mr_extend"] == 32
    scene.page = 1
    scene.until("vcpu0", counter="touches").until("vcpu1", counter="touches")
    assert scene.counters["private_faults"] == 0
    scene.until("host0", label="host.dead")
    scene.until("vcpu0", op=Op.WAIT_NOT).until("vcpu1", op=Op.WAIT_NOT).until("host0", counter="destroyed")
    assert scene.counters["removals"] == 2 and scene.counters["destroy_failures"] == 0
    assert not scene.memory.view("pamt_4k.control", np.uint8)[:, PAMT_TYPE].any()
    assert scene.word("chldcnt") == 0
    scene.until("host0", label="host.build").until("host0", label="host.build_region")
    for vcpu in ("vcpu0", "vcpu1"):
        scene.until(vcpu, label="vcpu.create").until(vcpu, op=Op.WAIT_IS)
    scene.until("host0", counter="builds")
    assert not scene.bugs and scene.counters["builds"] == 2


def test_creating_a_vcpu_beside_measuring_memory_bugs_the_vm_in_616():
    """TDH.VP.CREATE holds the TDR shared when TDH.MR.EXTEND wants it exclusively."""
    scene = building("kick_on_busy").until("host0", label="tdh_mr_extend").until("vcpu0", label="tdh_vp_create")
    for _ in range(3):                                              # the TDR's PAMT words of 1G, 2M and 4K
        scene.until("vcpu0", op=Op.HP_TAKE_SHARED)
        scene.step("vcpu0")
    scene.until("host0", label="host.build_failed")
    assert scene.bugs == [("tdh_mr_extend", "TDX_OPERAND_BUSY|RDX")]


def test_the_guard_of_619_keeps_them_apart():
    scene = building("do_no_vcpus_619").until("host0", label="tdh_mr_extend").until("vcpu0", op=Op.WAIT_IS)
    assert scene.blocked("vcpu0")
    scene.until("host0", op=Op.WAIT_IS)                             # all memory is there, it waits for vCPUs
    scene.until("vcpu0", op=Op.MMU_TAKE_EXCLUSIVE)                  # TDH.VP.INIT under mmu_lock
    scene.until("vcpu0", counter="vcpus_created")
    assert not scene.bugs


def test_a_vcpu_that_has_moved_is_flushed_and_enters_again():
    scene = Scene("kick_on_busy", workload={"migrate_share": 0.5}).until("vcpu0", counter="touches")
    assert scene.counters["migrations"] >= 2 and not scene.bugs
    assert scene.answered["tdh_vp_flush", "TDX_VCPU_NOT_ASSOCIATED"] == 1           # before it first ran
    assert scene.answered["tdh_vp_flush", "TDX_SUCCESS"] >= 1


@pytest.mark.parametrize("mover, there", [("vcpu0", "vcpu1"), ("vcpu1", "vcpu0")])
def test_the_processor_that_flushes_a_vcpu_takes_its_guest_out_first(mover, there):
    scene = Scene("kick_on_busy", workload={"migrate_share": 0.5}).until(there, counter="touches")
    scene.until(mover, counter="flush_ipis")
    flushed = scene.attempts["tdh_vp_flush"]
    assert scene.blocked(mover) and scene.attempts["tdh_vp_flush"] == flushed
    scene.until(there, counter="kicks_taken").until(there, label="vcpu.run").until(mover, label="tdh_vp_flush")
    scene.until(mover, counter="touches")
    assert not scene.bugs


def test_a_processor_on_which_no_guest_runs_flushes_at_once():
    scene = Scene("kick_on_busy", workload={"migrate_share": 0.5}).until("vcpu0", label="tdh_vp_flush")
    assert not scene.counters["flush_ipis"]



def test_two_tds_created_at_once_meet_on_the_key_table_and_not_on_the_ownership_table():
    """KVM's tdx_lock is around TDH.MNG.CREATE, nothing is around TDH.MNG.KEY.CONFIG."""
    scene = building("kick_on_busy", tds=2)
    scene.until("td0.host0", op=Op.SHAREX_TAKE_EXCLUSIVE)
    scene.step("td0.host0")                                         # it has the KOT ...
    scene.until("td1.host0", op=Op.WAIT_IS)
    assert scene.blocked("td1.host0")                               # ... and tdx_lock, which the other waits for
    scene.until("td0.host0", op=Op.MUTEX_TAKE)
    scene.step("td0.host0")
    scene.until("td1.host0", label="host.build_failed")
    assert scene.bugs == [("tdh_mng_key_config", "TDX_OPERAND_BUSY|KET")]
    assert scene.memory.word(scene.layout.at("vm_dead", td=1)) and not scene.memory.word(scene.layout.at("vm_dead"))


def test_without_the_hosts_mutex_they_meet_on_the_ownership_table():
    scene = building({"base": "kick_on_busy", "tdx_lock": False}, tds=2)
    scene.until("td0.host0", op=Op.SHAREX_TAKE_EXCLUSIVE)
    scene.step("td0.host0")
    scene.until("td1.host0", label="host.build_failed")
    assert scene.bugs == [("tdh_mng_create", "TDX_OPERAND_BUSY|KOT")]


def test_pages_of_two_tds_have_words_and_addresses_of_their_own():
    scene = building("kick_on_busy", tds=2)
    for td in (0, 1):
        scene.until(f"td{td}.host0", label="tdh_mr_extend")
    entries = [scene.memory.view("sept.0", td=td)[0] for td in (0, 1)]
    assert entries[0] != entries[1] and {state_of(int(entry)).name for entry in entries} == {"MAPPED"}
