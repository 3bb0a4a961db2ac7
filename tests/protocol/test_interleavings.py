"""Interleavings of the module's lock steps, with every word and every status.

S1 ... S30 number sequences worked out from the module's source (release 1.5.05; hosts, guests and
words as there).  Those that need 2 MiB pages, a later release or a flow are elsewhere; test_sequences.py
holds that none is left out, and that both primitives are tried.
"""

import numpy as np
import pytest

from harness.memory.layout import PAMT_BEPOCH
from kernels import locks
from kernels.compiling import for_python
from kernels.epoch import epoch_word
from kernels.ops import Op, Register as R
from kernels.words import EXIT_REASON_EPT_VIOLATION, status
from tests.stage import Stage

G = 3                            # the page all the fuss is about
BUSY_ENTRY = status("TDX_OPERAND_BUSY", "RCX")
BUSY_TREE = status("TDX_OPERAND_BUSY", "SEPT_TREE")
BUSY_EPOCH = status("TDX_OPERAND_BUSY", "TD_EPOCH")


class Word:
    """A lock word on its own, and single steps of kernels.locks on it."""

    def __init__(self, value=0):
        self.cell = np.array([value], np.uint64)
        self.tally = np.zeros(1, np.int64)

    def do(self, step, *arguments):
        """One step; returns (outcome, word after)."""
        function = for_python(step)
        return function(self.cell.ctypes.data, *arguments), int(self.cell[0])


DONE, BUSY, PRIORITY, HALTS = locks.DONE, locks.BUSY, locks.PRIORITY, locks.HALTS


def test_s1_failed_shared_tries_stay_until_the_exclusive_release():
    word = Word()
    assert word.do(locks.sharex_take_exclusive) == (DONE, 1)
    assert word.do(locks.sharex_take_shared) == (BUSY, 3)
    assert word.do(locks.sharex_take_shared) == (BUSY, 5)
    assert word.do(locks.sharex_drop_exclusive) == (DONE, 0)
    assert word.do(locks.sharex_take_shared) == (DONE, 2)


def test_s2_an_exclusive_try_fails_until_all_readers_are_gone():
    word = Word()
    assert word.do(locks.sharex_take_shared) == (DONE, 2)
    assert word.do(locks.sharex_take_shared) == (DONE, 4)
    assert word.do(locks.sharex_take_exclusive) == (BUSY, 4)
    assert word.do(locks.sharex_drop_shared) == (DONE, 2)
    assert word.do(locks.sharex_take_exclusive) == (BUSY, 2)
    assert word.do(locks.sharex_drop_shared) == (DONE, 0)
    assert word.do(locks.sharex_take_exclusive) == (DONE, 1)


def test_s3_demotion_wipes_a_failed_count():
    word = Word(2)
    assert word.do(locks.sharex_promote) == (DONE, 1)
    assert word.do(locks.sharex_take_shared) == (BUSY, 3)
    assert word.do(locks.sharex_demote) == (DONE, 2)
    assert word.do(locks.sharex_take_shared) == (DONE, 4)
    assert word.do(locks.sharex_promote) == (BUSY, 4)


def test_s4_a_host_that_lost_gets_in_next_and_clears_its_priority():
    word = Word()
    assert word.do(locks.hp_take_exclusive) == (DONE, 1)
    assert word.do(locks.hp_take_shared) == (BUSY, 5)
    assert word.do(locks.hp_request) == (DONE, 7)
    assert word.do(locks.hp_drop_exclusive) == (DONE, 2)
    assert word.do(locks.hp_take_shared) == (PRIORITY, 6)
    assert word.do(locks.hp_clear) == (DONE, 4)
    assert word.do(locks.hp_drop_shared) == (DONE, 0)


def test_s5_host_priority_can_land_on_a_lock_that_is_free_by_then():
    word = Word(1)
    assert word.do(locks.hp_take_shared) == (BUSY, 5)
    assert word.do(locks.hp_drop_exclusive) == (DONE, 0)
    assert word.do(locks.hp_request) == (DONE, 2)
    assert word.do(locks.hp_take_exclusive) == (PRIORITY, 2)
    assert word.do(locks.hp_take_exclusive_over_priority) == (DONE, 1)
    assert word.do(locks.hp_drop_exclusive) == (DONE, 0)


def test_s6_a_guest_backs_off_from_host_priority():
    word = Word(2)
    assert word.do(locks.hp_take_shared_guest) == (PRIORITY, 6)
    assert word.do(locks.hp_withdraw) == (DONE, 2)
    assert word.do(locks.hp_take_exclusive) == (PRIORITY, 2)
    assert Word(6).do(locks.hp_take_exclusive) == (BUSY, 6)


def test_s7_a_guest_that_backs_off_makes_a_host_busy():
    word = Word(2)
    assert word.do(locks.hp_take_shared_guest) == (PRIORITY, 6)
    assert word.do(locks.hp_take_exclusive) == (BUSY, 6)
    assert word.do(locks.hp_request) == (DONE, 6)
    assert word.do(locks.hp_withdraw) == (DONE, 2)
    assert word.do(locks.hp_take_exclusive) == (PRIORITY, 2)
    assert word.do(locks.hp_take_exclusive_over_priority) == (DONE, 1)


def test_s8_a_guest_that_backs_off_too_late_underflows_the_counter():
    word = Word(1)
    assert word.do(locks.hp_take_shared) == (BUSY, 5)
    assert word.do(locks.hp_request) == (DONE, 7)
    assert word.do(locks.hp_take_shared_guest) == (PRIORITY, 0xB)
    assert word.do(locks.hp_drop_exclusive) == (DONE, 2)
    assert word.do(locks.hp_withdraw) == (DONE, 0xFFFE)
    assert word.do(locks.hp_take_shared) == (PRIORITY + HALTS, 2)


def test_s9_a_failed_promotion_leaves_stale_priority():
    word = Word(8)
    assert word.do(locks.hp_promote) == (BUSY, 8)
    assert word.do(locks.hp_request) == (DONE, 0xA)
    assert word.do(locks.hp_drop_shared) == (DONE, 6)
    assert word.do(locks.hp_drop_shared) == (DONE, 2)
    assert word.do(locks.hp_take_shared) == (PRIORITY, 6)
    assert word.do(locks.hp_clear) == (DONE, 4)


def test_s10_promotion_over_priority_takes_two_tries():
    word = Word(6)
    assert word.do(locks.hp_promote) == (PRIORITY, 6)
    assert word.do(locks.hp_promote_over_priority) == (DONE, 1)
    assert word.do(locks.hp_drop_exclusive) == (DONE, 0)


def test_s10b_the_next_entry_clears_priority_that_a_flush_left_on_the_tdvpr():
    stage = Stage()
    vcpu = stage.actor("vcpu0")
    vcpu.call("tdh_vp_enter")
    tdvpr = stage.layout.at("pamt_4k.control", 1)
    assert stage.memory.word(tdvpr, 16) == 4
    stage.memory.set_word(tdvpr, 6, 16)                  # TDH.VP.FLUSH found it shared and asked for it
    vcpu.leave_guest()
    assert stage.memory.word(tdvpr, 16) == 2
    vcpu.begin("tdh_vp_enter").through(Op.HP_TAKE_SHARED, 3)
    assert stage.memory.word(tdvpr, 16) == 6
    vcpu.through(Op.HP_CLEAR)
    assert stage.memory.word(tdvpr, 16) == 4


# --- SEPT entry ---

def test_s11_aug_alone(stage):
    stage.build_tables(G)
    host = stage.actor("host0").begin("tdh_mem_page_aug", G)
    assert host.through(Op.ENTRY_TAKE) and stage.entry(G) == stage.as_state("FREE", G, lock=True)
    assert host.through(Op.ENTRY_CLEAR_PRIORITY) and stage.entry(G) == stage.as_state("FREE", G, lock=True)
    assert host.through(Op.STORE) and stage.entry(G) == stage.as_state("PENDING", G)
    assert host.finish() == 0


def test_s12_accept_against_aug_on_a_free_entry(stage):
    stage.build_tables(G)
    guest, host = stage.actor("vcpu0"), stage.actor("host0")
    guest.begin("tdg_mem_page_accept", G).through(Op.ENTRY_SEE_PRIORITY)
    assert stage.entry(G) == stage.as_state("FREE", G, lock=True)
    host.begin("tdh_mem_page_aug", G).through(Op.ENTRY_TAKE)
    assert stage.entry(G) == stage.as_state("FREE", G, lock=True)
    host.through(Op.ENTRY_REQUEST_PRIORITY)
    assert stage.entry(G) == stage.as_state("FREE", G, lock=True, priority=True)
    assert host.finish() == BUSY_ENTRY
    assert guest.finish() == EXIT_REASON_EPT_VIOLATION
    assert stage.entry(G) == stage.as_state("FREE", G, priority=True)
    host.begin("tdh_mem_page_aug", G).through(Op.ENTRY_TAKE)
    assert stage.entry(G) == stage.as_state("FREE", G, lock=True, priority=True)
    host.through(Op.ENTRY_CLEAR_PRIORITY)
    assert stage.entry(G) == stage.as_state("FREE", G, lock=True)
    assert host.finish() == 0
    assert stage.entry(G) == stage.as_state("PENDING", G)


def test_s12_variant_the_guest_sees_the_request_and_is_told_busy(stage):
    stage.build_tables(G)
    guest, host = stage.actor("vcpu0"), stage.actor("host0")
    guest.begin("tdg_mem_page_accept", G).through(Op.ENTRY_TAKE)
    assert host.call("tdh_mem_page_aug", G) == BUSY_ENTRY
    assert guest.finish() == BUSY_ENTRY                  # the refusal for host priority, rewritten
    assert stage.program.answers[guest.registers[R.ANSWER]].name == "TDX_OPERAND_BUSY_HOST_PRIORITY|RCX"
    assert stage.entry(G) == stage.as_state("FREE", G, priority=True)


def test_s13_accept_loses_the_host_priority_that_was_set_while_it_zeroed(stage):
    stage.map_page(G, "PENDING")
    guest, host = stage.actor("vcpu0"), stage.actor("host0")
    guest.begin("tdg_mem_page_accept", G).before(Op.ZERO_PAGE)
    assert stage.entry(G) == stage.as_state("PENDING", G, lock=True)
    assert host.call("tdh_mem_range_block", G) == BUSY_ENTRY
    assert stage.entry(G) == stage.as_state("PENDING", G, lock=True, priority=True)
    guest.through(Op.STORE)
    assert stage.entry(G) == stage.as_state("MAPPED", G, lock=True)
    guest.through(Op.ENTRY_DROP)
    assert stage.entry(G) == stage.as_state("MAPPED", G)
    host.begin("tdh_mem_range_block", G).through(Op.MERGE).through(Op.STORE)
    assert stage.entry(G) == stage.as_state("BLOCKED", G, lock=True)
    assert host.finish() == 0
    assert stage.entry(G) == stage.as_state("BLOCKED", G)


def test_s14_a_request_after_the_guests_store_stays_and_refuses_the_guest(stage):
    stage.map_page(G, "PENDING")
    guest, host = stage.actor("vcpu0"), stage.actor("host0")
    guest.begin("tdg_mem_page_accept", G).through(Op.STORE)
    assert host.call("tdh_mem_range_block", G) == BUSY_ENTRY
    assert stage.entry(G) == stage.as_state("MAPPED", G, lock=True, priority=True)
    assert guest.finish() == 0
    assert stage.entry(G) == stage.as_state("MAPPED", G, priority=True)
    assert guest.call("tdg_mem_page_accept", G) == BUSY_ENTRY       # not ALREADY_ACCEPTED
    assert stage.entry(G) == stage.as_state("MAPPED", G, priority=True)


def test_s15_a_request_can_land_on_a_free_entry(stage):
    stage.map_page(G, "PENDING")
    guest, host = stage.actor("vcpu0"), stage.actor("host0")
    guest.begin("tdg_mem_page_accept", G).through(Op.STORE)
    host.begin("tdh_mem_range_block", G).through(Op.ENTRY_TAKE)
    assert guest.finish() == 0
    assert stage.entry(G) == stage.as_state("MAPPED", G)
    assert host.finish() == BUSY_ENTRY
    assert stage.entry(G) == stage.as_state("MAPPED", G, priority=True)


def test_s16_a_host_erases_the_request_of_another_host(stage):
    stage.build_tables(G)
    a, b = stage.actor("host0"), stage.actor("host1")
    a.begin("tdh_mem_page_aug", G).through(Op.ENTRY_TAKE)
    b.begin("tdh_mem_page_aug", G).through(Op.ENTRY_REQUEST_PRIORITY)
    assert stage.entry(G) == stage.as_state("FREE", G, lock=True, priority=True)
    a.through(Op.ENTRY_CLEAR_PRIORITY)
    assert stage.entry(G) == stage.as_state("FREE", G, lock=True)
    assert b.finish() == BUSY_ENTRY and a.finish() == 0


def test_s17_aug_against_aug(stage):
    stage.build_tables(G)
    a, b = stage.actor("host0"), stage.actor("host1")
    a.begin("tdh_mem_page_aug", G).through(Op.ENTRY_CLEAR_PRIORITY)
    assert b.call("tdh_mem_page_aug", G) == BUSY_ENTRY
    assert stage.entry(G) == stage.as_state("FREE", G, lock=True, priority=True)
    assert a.finish() == 0
    assert stage.entry(G) == stage.as_state("PENDING", G)           # the request is gone
    assert b.call("tdh_mem_page_aug", G) == status("TDX_EPT_ENTRY_STATE_INCORRECT", "RCX")


def test_s18_block_unblock_remove(stage):
    stage.map_page(G)
    stage.set_word("epoch", epoch_word(7), width=64)
    host = stage.actor("host0")
    host.begin("tdh_mem_range_block", G).through(Op.MERGE).through(Op.STORE)
    assert stage.entry(G) == stage.as_state("BLOCKED", G, lock=True)
    assert host.finish() == 0 and stage.entry(G) == stage.as_state("BLOCKED", G)
    host.begin("tdh_mem_range_block", G).through(Op.ENTRY_TAKE)
    assert stage.entry(G) == stage.as_state("BLOCKED", G, lock=True)
    assert host.finish() == status("TDX_GPA_RANGE_ALREADY_BLOCKED", "RCX")
    assert stage.entry(G) == stage.as_state("BLOCKED", G)
    assert host.call("tdh_mem_track") == 0
    assert host.call("tdh_mem_range_unblock", G) == 0 and stage.entry(G) == stage.as_state("MAPPED", G)
    host.call("tdh_mem_range_block", G)
    host.call("tdh_mem_track")
    assert host.call("tdh_mem_page_remove", G) == 0 and stage.entry(G) == stage.as_state("FREE", G)


def test_s19_sept_add_keeps_its_lock_until_the_end(stage):
    stage.set_entry(G, "NL_MAPPED", level=2)
    host = stage.actor("host0").begin("tdh_mem_sept_add", G, level=1)
    host.through(Op.ENTRY_TAKE)
    assert stage.entry(G, 1) == stage.as_state("FREE", G, 1, lock=True)
    host.through(Op.STORE, 2)                            # the page's type and bepoch come first
    assert stage.entry(G, 1) == stage.as_state("FREE", G, 1, lock=True)
    host.through(Op.STORE)
    assert stage.entry(G, 1) == stage.as_state("NL_MAPPED", G, 1, lock=True)
    host.through(Op.ENTRY_DROP)
    assert stage.entry(G, 1) == stage.as_state("NL_MAPPED", G, 1)
    assert host.finish() == 0


def test_s21_a_page_added_during_accepts_walk_is_refused_as_of_the_wrong_size(stage):
    stage.build_tables(G)
    guest = stage.actor("vcpu0").begin("tdg_mem_page_accept", G).before(Op.ENTRY_TAKE)
    assert stage.actor("host0").call("tdh_mem_page_aug", G) == 0
    guest.through(Op.ENTRY_TAKE)
    assert stage.entry(G) == stage.as_state("PENDING", G, lock=True)
    assert guest.finish() == status("TDX_PAGE_SIZE_MISMATCH", 0)
    assert stage.entry(G) == stage.as_state("PENDING", G)


# --- epoch ---

def test_s22_track_against_enter(stage):
    host, vcpu = stage.actor("host0"), stage.actor("vcpu0")
    host.begin("tdh_mem_track").through(Op.SHAREX_TAKE_EXCLUSIVE)
    assert stage.word("epoch_lock") == 1
    vcpu.begin("tdh_vp_enter").through(Op.SHAREX_TAKE_SHARED)
    assert stage.word("epoch_lock") == 3
    assert vcpu.finish() == BUSY_EPOCH
    assert stage.word("epoch", width=64) == epoch_word(1)
    assert stage.word("num_assoc_vcpus", width=64) == 1             # association is not undone
    assert host.finish() == 0 and stage.word("epoch_lock") == 0
    vcpu.begin("tdh_vp_enter").through(Op.SHAREX_TAKE_SHARED)
    assert stage.word("epoch_lock") == 2
    assert host.call("tdh_mem_track") == BUSY_EPOCH and stage.word("epoch_lock") == 2
    assert vcpu.finish() == 0


def test_s23_track_waits_for_vcpus_of_the_epoch_before(stage):
    stage.set_word("epoch", epoch_word(4, odd=1), width=64)
    host = stage.actor("host0")
    assert host.call("tdh_mem_track") == status("TDX_PREVIOUS_TLB_EPOCH_BUSY")
    assert stage.word("epoch", width=64) == epoch_word(4, odd=1)
    stage.set_word("epoch", epoch_word(4), width=64)
    assert host.call("tdh_mem_track") == 0
    assert stage.word("epoch", width=64) == epoch_word(5)


def test_s24_remove_waits_for_track_and_for_the_vcpus_that_were_in(stage):
    stage.map_page(G)
    stage.set_word("epoch", epoch_word(7), width=64)
    host, vcpu = stage.actor("host0"), stage.actor("vcpu0")
    assert vcpu.call("tdh_vp_enter") == 0
    assert stage.word("epoch", width=64) == epoch_word(7, odd=1)
    assert host.call("tdh_mem_page_remove", G) == status("TDX_GPA_RANGE_NOT_BLOCKED", "RCX")
    assert host.call("tdh_mem_range_block", G) == 0
    assert stage.memory.word(stage.layout.at("pamt_4k.data", G) + PAMT_BEPOCH) == 7
    not_done = status("TDX_TLB_TRACKING_NOT_DONE", "RCX")
    assert host.call("tdh_mem_page_remove", G) == not_done
    assert host.call("tdh_mem_track") == 0
    assert stage.word("epoch", width=64) == epoch_word(8, odd=1)
    assert host.call("tdh_mem_page_remove", G) == not_done
    vcpu.leave_guest()
    assert host.call("tdh_mem_page_remove", G) == 0
    assert stage.entry(G) == stage.as_state("FREE", G)


def test_s25_pages_of_a_fresh_td_are_tracked_unless_a_vcpu_entered_at_an_even_epoch(stage):
    stage.map_page(G, "BLOCKED")
    host = stage.actor("host0")
    stage.set_word("epoch", epoch_word(1, even=1), width=64)
    assert host.call("tdh_mem_page_remove", G) == status("TDX_TLB_TRACKING_NOT_DONE", "RCX")
    stage.set_word("epoch", epoch_word(1, odd=1), width=64)
    assert host.call("tdh_mem_page_remove", G) == 0


# --- zero-step ---

def listed(stage, vcpu: int, *pages: int) -> None:
    """Put pages in a vCPU's list of last faulting GPAs."""
    place = stage.layout.at("tdvps", vcpu) + 64
    stage.memory.set_word(place + 9, len(pages), 8)
    for index, page in enumerate(pages):
        stage.memory.set_word(place + 16 + 8 * index, page)


def test_s26_the_three_outcomes_of_the_entry_filter(stage):
    stage.build_tables(G)
    listed(stage, 0, G)
    vcpu, host = stage.actor("vcpu0"), stage.actor("host0")
    # (a) another actor has the tree: BUSY, and the vCPU is not counted
    host.begin("tdh_mem_page_aug", G + 1).through(Op.SHAREX_TAKE_SHARED)
    assert stage.word("secure_ept_lock") == 2
    assert vcpu.call("tdh_vp_enter") == BUSY_TREE
    assert stage.word("secure_ept_lock") == 2
    assert stage.word("epoch", width=64) == epoch_word(1)
    assert host.finish() == 0
    # (b) the page would fault again: an EPT violation without an entry, and nothing changes
    vcpu.begin("tdh_vp_enter").through(Op.SHAREX_TAKE_EXCLUSIVE)
    assert stage.word("secure_ept_lock") == 1
    assert vcpu.finish() == EXIT_REASON_EPT_VIOLATION
    assert vcpu.registers[R.PAGE] == G
    assert stage.word("secure_ept_lock") == 0
    assert stage.word("epoch", width=64) == epoch_word(1)
    assert stage.memory.word(stage.layout.at("tdvps") + 64 + 9, 8) == 1
    # (c) it is mapped: the tree is held until just before the guest runs
    stage.map_page(G)
    vcpu.begin("tdh_vp_enter").through(Op.HP_DROP_SHARED)
    assert stage.word("secure_ept_lock") == 1
    assert host.call("tdh_mem_page_aug", G + 2) == BUSY_TREE
    assert stage.word("secure_ept_lock") == 3
    vcpu.through(Op.SHAREX_DROP_EXCLUSIVE)
    assert stage.word("secure_ept_lock") == 0
    assert vcpu.finish() == 0
    assert stage.word("epoch", width=64) == epoch_word(1, odd=1)


def test_s27_a_pending_page_that_is_listed_refuses_entry_for_ever(stage):
    stage.map_page(G, "PENDING")
    listed(stage, 0, G)
    vcpu = stage.actor("vcpu0")
    for _ in range(10):
        assert vcpu.call("tdh_vp_enter") == EXIT_REASON_EPT_VIOLATION
    assert stage.actor("vcpu1").call("tdg_mem_page_accept", G) == 0
    assert vcpu.call("tdh_vp_enter") == 0


def test_s28_two_suspected_vcpus_refuse_each_other(stage):
    stage.map_page(G)
    listed(stage, 0, G)
    listed(stage, 1, G)
    a, b = stage.actor("vcpu0"), stage.actor("vcpu1")
    a.begin("tdh_vp_enter").through(Op.SHAREX_TAKE_EXCLUSIVE)
    assert b.call("tdh_vp_enter") == BUSY_TREE
    assert a.finish() == 0
    assert b.call("tdh_vp_enter") == 0


@pytest.mark.parametrize("pages", [1, 2, 32])
def test_the_filter_walks_every_listed_page(pages):
    stage = Stage()
    for page in range(pages):
        stage.map_page(page)
    listed(stage, 0, *range(pages))
    vcpu = stage.actor("vcpu0").begin("tdh_vp_enter")
    walks = 0
    while vcpu.row.op != Op.CALL_END:
        walks += vcpu.row.op == Op.WALK
        vcpu.step()
    assert walks == 3 * pages and vcpu.status == 0
    stage.set_entry(pages - 1, "FREE")
    vcpu.leave_guest()
    assert vcpu.call("tdh_vp_enter") == EXIT_REASON_EPT_VIOLATION
    assert vcpu.registers[R.PAGE] == pages - 1
