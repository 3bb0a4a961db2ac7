"""What differs between releases, in words: each row of harness/protocol/releases.py is seen to matter.

Sequences S13, S20, S27, S28 and S30 are here because they depend on the release or need a 2 MiB page;
the others are in test_interleavings.
"""

import pytest

from harness.memory.layout import PAMT_BEPOCH
from harness.protocol.seamcalls import held_by, seamcalls
from harness.protocol.releases import BY_NAME, LOOK_SET, NOTHING, PRIORITY, RELEASES, SET_LOOK, STORE, SWAP_STORE, suggestion
from kernels.epoch import epoch_word
from kernels.ops import Op, Register as R
from kernels.words import (
    ACCEPTABLE, GUEST_ACCESSIBLE, EXIT_REASON_EPT_VIOLATION, EXIT_REASON_EXTERNAL_INTERRUPT, PT_EPT, PT_NDA, PT_REG, STATE, TDHP, VCPU_ACTIVE, status,
)
from tests.ready import PAGE, ready, tracked
from tests.stage import Stage
from tests.protocol.test_interleavings import BUSY_ENTRY, BUSY_TREE, listed

SUCCESS = 0
STORES = [release.name for release in RELEASES if release.entry_write == STORE]
SWAPS = [release.name for release in RELEASES if release.entry_write != STORE]
TREE_WITH_PRIORITY = [release.name for release in RELEASES if release.tree == "hp"]
PLAIN_TREE = [release.name for release in RELEASES if release.tree == "sharex"]
SOURCES = [release.name for release in RELEASES if not release.report_only]
G = PAGE


@pytest.fixture(params=["cas", "bts"])
def primitive(request):
    return request.param


# --- the new word of an entry ---

@pytest.mark.parametrize("release", SWAPS)
def test_s13_host_priority_outlives_accepts_write_from_1_5_20(release, primitive):
    stage = Stage(primitive=primitive, release=release)
    stage.map_page(G, "PENDING")
    guest, host = stage.actor("vcpu0"), stage.actor("host0")
    guest.begin("tdg_mem_page_accept", G).before(Op.ZERO_PAGE)
    assert host.call("tdh_mem_range_block", G) == BUSY_ENTRY
    assert stage.entry(G) == stage.as_state("PENDING", G, lock=True, priority=True)
    guest.through(Op.ENTRY_REPLACE)
    assert stage.entry(G) == stage.as_state("MAPPED", G, lock=True, priority=True)
    assert guest.finish() == SUCCESS
    assert stage.entry(G) == stage.as_state("MAPPED", G, priority=True)
    assert host.call("tdh_mem_range_block", G) == SUCCESS
    assert stage.entry(G) == stage.as_state("BLOCKED", G)
    assert stage.counters == {"host_priority.set": 1, "host_priority.cleared": 1}


@pytest.mark.parametrize("release", STORES)
def test_s13_host_priority_is_lost_in_accepts_store_up_to_1_5_16(release, primitive):
    stage = Stage(primitive=primitive, release=release)
    stage.map_page(G, "PENDING")
    guest, host = stage.actor("vcpu0"), stage.actor("host0")
    guest.begin("tdg_mem_page_accept", G).before(Op.ZERO_PAGE)
    assert host.call("tdh_mem_range_block", G) == BUSY_ENTRY
    guest.through(Op.STORE)
    assert stage.entry(G) == stage.as_state("MAPPED", G, lock=True)
    assert guest.finish() == SUCCESS
    assert stage.counters == {"host_priority.set": 1}       # set, never cleared, and not there: lost


def test_s20_a_late_plain_store_erases_a_guests_lock_in_1_5_20_only(primitive):
    for release in SWAPS:
        stage = Stage(primitive=primitive, release=release)
        page = ready(stage, "tdh_mem_page_remove", 0)
        host, guest = stage.actor("host0"), stage.actor("vcpu0")
        host.begin("tdh_mem_page_remove", page).through(Op.ENTRY_REPLACE)
        assert stage.entry(page) == STATE["FREE"].word()
        guest.begin("tdg_mem_page_accept", page).through(Op.ENTRY_TAKE)
        assert stage.entry(page) == STATE["FREE"].word(lock=True)
        host.step()
        erased = BY_NAME[release].entry_write == SWAP_STORE
        assert stage.entry(page) == STATE["FREE"].word(lock=not erased)
        if erased:
            guest.through(Op.ENTRY_CHECK)
            assert guest.registers[R.PC] == 0               # the sanity check fails: the module halts
        else:
            assert guest.finish() == EXIT_REASON_EPT_VIOLATION
        assert host.finish() == SUCCESS


@pytest.mark.parametrize("release", SWAPS)
def test_a_host_that_gives_up_leaves_priority_on_a_page_that_aug_adds(release):
    """Because the write keeps it now: the guest is refused until a host takes the entry."""
    stage = Stage(release=release)
    stage.build_tables(G)
    a, b = stage.actor("host0"), stage.actor("host1")
    a.begin("tdh_mem_page_aug", G).through(Op.ENTRY_CLEAR_PRIORITY)
    assert b.call("tdh_mem_page_aug", G) == BUSY_ENTRY
    assert a.finish() == SUCCESS
    assert stage.entry(G) == stage.as_state("PENDING", G, priority=True)
    assert stage.actor("vcpu0").call("tdg_mem_page_accept", G) == BUSY_ENTRY


# --- the SEPT tree and the entry filter ---

@pytest.mark.parametrize("release", PLAIN_TREE)
def test_s28_two_suspected_vcpus_refuse_each_other_up_to_1_5_16(release, primitive):
    stage, a, b = suspected(release, primitive)
    a.begin("tdh_vp_enter").through(Op.SHAREX_TAKE_EXCLUSIVE)
    assert stage.word("secure_ept_lock") == 1
    assert b.call("tdh_vp_enter") == BUSY_TREE
    assert a.finish() == SUCCESS and b.call("tdh_vp_enter") == SUCCESS


@pytest.mark.parametrize("release", TREE_WITH_PRIORITY)
def test_s28_two_suspected_vcpus_both_enter_from_1_5_20(release, primitive):
    stage, a, b = suspected(release, primitive)
    a.begin("tdh_vp_enter").before(Op.WALK)
    assert stage.word("secure_ept_lock") == 4
    assert b.call("tdh_vp_enter") == SUCCESS
    assert stage.actor("host0").call("tdh_mem_page_aug", 5) == SUCCESS
    assert stage.actor("host0").call("tdh_mem_range_block", 5) == BUSY_TREE
    assert stage.word("secure_ept_lock") == 6               # the host's BLOCK has asked for priority ...
    assert stage.actor("host1").call("tdh_mem_page_aug", 6) == SUCCESS
    assert stage.word("secure_ept_lock") == 4               # ... and any reader of the host's takes it back
    assert a.finish() == SUCCESS and stage.word("secure_ept_lock") == 0


def suspected(release, primitive):
    stage = Stage(primitive=primitive, release=release)
    stage.map_page(G)
    listed(stage, 0, G)
    listed(stage, 1, G)
    return stage, stage.actor("vcpu0"), stage.actor("vcpu1")


@pytest.mark.parametrize("release", [release.name for release in RELEASES])
@pytest.mark.parametrize("state", ACCEPTABLE)
def test_s27_a_listed_pending_page_refuses_entry_for_ever_up_to_1_5_16(release, primitive, state):
    stage = Stage(primitive=primitive, release=release)
    stage.map_page(G, state)
    listed(stage, 0, G)
    answers = {stage.actor("vcpu0").call("tdh_vp_enter") for _ in range(5 if stage.release.filter_pending else 1)}
    assert answers == {EXIT_REASON_EPT_VIOLATION if stage.release.filter_pending else SUCCESS}


@pytest.mark.parametrize("release", [pytest.param(name, marks=[] if name in ("1.5.05", "1.5.24") else [pytest.mark.slow])
                                     for name in SOURCES])
def test_s27_without_pending_ve_it_refuses_entry_in_every_release(release):
    stage = Stage(release=release, pending_ve=False)
    for state in ACCEPTABLE:
        stage.map_page(G, state)
        listed(stage, 0, G)
        assert stage.actor("vcpu0").call("tdh_vp_enter") == EXIT_REASON_EPT_VIOLATION


@pytest.mark.parametrize("state", [name for name, state in STATE.items() if name not in (*ACCEPTABLE, *GUEST_ACCESSIBLE)
                                   and "MMIO" not in name and (state.leaf or name in ("FREE", "REMOVED"))])
def test_a_listed_page_in_any_other_state_that_a_touch_faults_on_refuses_entry(state):
    stage = Stage(release="1.5.24")
    stage.map_page(G)
    stage.set_entry(G, state)
    listed(stage, 0, G)
    assert stage.actor("vcpu0").call("tdh_vp_enter") == EXIT_REASON_EPT_VIOLATION


# --- TDVPR, UNBLOCK, VP.INIT, key table, PAMT parents ---

def test_only_the_report_has_the_tdvpr_exclusive_while_the_guest_runs():
    for release in RELEASES:
        stage = Stage(release=release.name)
        vcpu = stage.actor("vcpu0")
        assert vcpu.call("tdh_vp_enter") == SUCCESS
        reader = stage.actor("host0")
        for register in (R.TDVPR_4K, R.TDVPR_2M, R.TDVPR_1G, R.TDVPS):
            reader.registers[register] = vcpu.registers[register]
        answer = reader.call("tdh_vp_rd_wr")
        busy = status("TDX_OPERAND_BUSY", "RCX")
        active = status("TDX_VCPU_STATE_INCORRECT", VCPU_ACTIVE if release.vcpu_state_status else 0)
        assert answer == (busy if release.name == "report-2024" else active)


def test_the_operand_of_an_untracked_unblock_changed_with_1_5_05():
    for release in RELEASES:
        stage = Stage(release=release.name)
        stage.map_page(G, "BLOCKED")
        stage.memory.set_word(stage.layout.at("pamt_4k.data", G) + PAMT_BEPOCH, 1)
        answer = stage.actor("host0").call("tdh_mem_range_unblock", G)
        operand = "SEPT_TREE" if release.name == "1.5.01" else "RCX"
        assert answer == status("TDX_TLB_TRACKING_NOT_DONE", operand)


def modes(release, call, resource):
    row = next(row for row in seamcalls(release) if row.name == call)
    return [lock.mode for lock in held_by(row, release=release) if lock.resource == resource]


def test_vp_init_with_an_apic_id_takes_the_tdr_exclusively_from_1_5_05():
    found = {release.name: modes(release, "tdh_vp_init_apicid", "TDR") for release in RELEASES}
    assert found.pop("1.5.01") == ["shared"]
    assert set(map(tuple, found.values())) == {("exclusive",)}


def test_the_report_knows_no_key_table_and_no_pamt_parents():
    for release in RELEASES:
        real = release.name != "report-2024"
        assert (modes(release, "tdh_mng_key_config", "KET") == ["exclusive"]) == real
        assert (modes(release, "tdh_mem_track", "TDR.2M") == ["shared"]) == real
    assert len(seamcalls(BY_NAME["report-2024"])) == 28


# --- 2 MiB pages ---

@pytest.mark.parametrize("release", SOURCES)
def test_s30_a_large_aug_is_busy_while_another_call_is_in_the_same_2m(release, primitive):
    stage = Stage(primitive=primitive, release=release)
    stage.build_tables(0, 1)
    stage.build_tables(512)                                  # of the pages behind it, in another 2 MiB
    a, b = stage.actor("host0"), stage.actor("host1")
    place = stage.layout.at("pamt_2m.data", 0)
    reader = b.begin("tdh_phymem_page_wbinvd", 7, "data").through(Op.HP_TAKE_SHARED, times=2)
    assert stage.memory.word(place, 16) == 4
    a.begin("tdh_mem_page_aug", 0, 1).before(Op.HP_PROMOTE)
    assert stage.memory.word(place, 16) == 8
    a.through(Op.HP_REQUEST)
    assert stage.memory.word(place, 16) == 0xA
    a.through(Op.HP_DROP_SHARED)
    assert stage.memory.word(place, 16) == 6
    assert a.finish() == status("TDX_OPERAND_BUSY", "R8")
    assert stage.entry(0, 1) == STATE["FREE"].word()
    assert reader.finish() == SUCCESS
    assert stage.memory.word(place, 16) == 2
    assert a.call("tdh_mem_page_aug", 0, 1) == SUCCESS
    assert stage.memory.word(place, 16) == 0
    assert stage.entry(0, 1) == stage.as_state("PENDING", 0, 1)


def test_a_large_page_is_added_only_if_all_its_parts_are_free():
    stage = Stage()
    stage.build_tables(0, 1)
    stage.set_type("data", 511, PT_REG)
    assert stage.actor("host0").call("tdh_mem_page_aug", 0, 1) == status("TDX_PAGE_METADATA_INCORRECT", "R8")
    stage.set_type("data", 511, PT_NDA)
    children = stage.word("chldcnt", width=64)
    assert stage.actor("host0").call("tdh_mem_page_aug", 0, 1) == SUCCESS
    assert stage.word("chldcnt", width=64) == children + 512
    assert stage.type_of("data", 0, "2m") == PT_REG


@pytest.mark.parametrize("release", SOURCES)
def test_a_large_accept_stops_for_an_interrupt_after_each_chunk_and_goes_on_where_it_was(release, primitive):
    stage = Stage(primitive=primitive, release=release)
    stage.map_page(0, "PENDING", 1)
    stage.memory.view("content", "u1")[:512] = 0xAA
    guest = stage.actor("vcpu0")
    kick = stage.layout.at("kick")
    for chunks in (1, 2, 3):
        stage.memory.set_word(kick, 1)
        assert guest.call("tdg_mem_page_accept", 0, 1) == EXIT_REASON_EXTERNAL_INTERRUPT
        assert stage.entry(0, 1) == stage.as_state("PENDING", 0, 1) | chunks << 12
        assert not stage.memory.view("content", "u1")[:chunks].any()
        assert (stage.memory.view("content", "u1")[chunks:512] == 0xAA).all()
    stage.memory.set_word(kick, 0)
    guest.begin("tdg_mem_page_accept", 0, 1)
    zeroed = 0
    while guest.row.op != Op.CALL_END:
        zeroed += guest.row.op == Op.ZERO_PAGE
        guest.step()
    assert zeroed == 512 - 3 and guest.status == SUCCESS
    assert stage.entry(0, 1) == stage.as_state("MAPPED", 0, 1)
    assert guest.call("tdg_mem_page_accept", 0, 1) == status("TDX_PAGE_ALREADY_ACCEPTED", 1)
    assert guest.call("tdg_mem_page_accept", 5, 0) == status("TDX_PAGE_ALREADY_ACCEPTED", 1)


def test_a_block_forgets_how_far_a_large_accept_got():
    stage = Stage()
    stage.map_page(0, "PENDING", 1)
    stage.memory.set_word(stage.layout.at("kick"), 1)
    assert stage.actor("vcpu0").call("tdg_mem_page_accept", 0, 1) == EXIT_REASON_EXTERNAL_INTERRUPT
    assert stage.actor("host0").call("tdh_mem_range_block", 0, 1) == SUCCESS
    assert stage.entry(0, 1) == stage.as_state("PEND_BLOCKED", 0, 1)


@pytest.mark.parametrize("release", SOURCES)
def test_promote_and_demote_turn_512_entries_and_pamt_entries_around(release, primitive):
    stage = Stage(primitive=primitive, release=release)
    page = ready(stage, "tdh_mem_page_promote", 1)
    host = stage.actor("host0")
    assert host.call("tdh_mem_page_promote", page, 1) == SUCCESS
    assert stage.entry(0, 1) == stage.as_state("MAPPED", 0, 1)
    assert stage.type_of("data", 0, "2m") == PT_REG and stage.type_of("data", 300) == PT_NDA
    assert stage.type_of("pt_pages", 0) == PT_NDA
    assert {stage.entry(part) for part in range(512)} == {STATE["FREE"].word()}
    assert host.call("tdh_mem_range_block", 0, 1) == SUCCESS
    assert host.call("tdh_mem_page_demote", 0, 1) == status("TDX_TLB_TRACKING_NOT_DONE", "RCX")
    assert host.call("tdh_mem_track") == SUCCESS
    assert host.call("tdh_mem_page_demote", 0, 1) == SUCCESS
    assert stage.entry(0, 1) == stage.as_state("NL_MAPPED", 0, 1)
    assert [stage.entry(part) for part in (0, 1, 511)] == [stage.as_state("MAPPED", part) for part in (0, 1, 511)]
    assert stage.type_of("data", 0, "2m") == PT_NDA and stage.type_of("data", 300) == PT_REG
    assert stage.type_of("pt_pages", 0) == PT_EPT


@pytest.mark.parametrize("release", SOURCES)
def test_demote_turns_the_pamt_entries_of_its_own_page_and_of_no_other(release):
    """It is this actor's first call, and the page is not the first: nothing that an earlier call left can help."""
    stage = Stage(release=release)
    stage.map_page(512, "BLOCKED", 1)
    tracked(stage)
    assert stage.actor("host0").call("tdh_mem_page_demote", 512, 1) == SUCCESS
    assert [stage.type_of("data", page) for page in (0, 300, 511, 512, 700, 1023)] == [PT_NDA] * 3 + [PT_REG] * 3


def test_promote_wants_512_entries_in_one_state_of_pages_that_follow_each_other():
    wrong = status("TDX_EPT_INVALID_PROMOTE_CONDITIONS", "RCX")
    for release in SOURCES:
        for part, state in ((0, "FREE"), (77, "PENDING"), (511, "FREE")):
            stage = Stage(release=release)
            page = ready(stage, "tdh_mem_page_promote", 1)
            stage.set_entry(part, state)
            before = stage.snapshot()
            assert stage.actor("host0").call("tdh_mem_page_promote", page, 1) == wrong
            assert stage.snapshot() == before, "every lock is given back, nothing is changed"


def test_promote_locks_the_512_entries_up_to_1_5_16_only():
    for release in SOURCES:
        stage = Stage(release=release)
        page = ready(stage, "tdh_mem_page_promote", 1)
        stage.set_entry(0, "NL_MAPPED", 1)                   # the guest was there before the range was blocked
        last = {SET_LOOK: Op.ENTRY_SEE_PRIORITY, LOOK_SET: Op.ENTRY_TAKE}[stage.release.guest_entry]
        guest = stage.actor("vcpu0").begin("tdg_mem_page_attr_rd", 200).through(last)
        stage.set_entry(0, "NL_BLOCKED", 1)
        answer = stage.actor("host0").call("tdh_mem_page_promote", page, 1)
        if stage.release.promote_children:
            assert answer == BUSY_ENTRY
            assert stage.entry(200) == stage.as_state("MAPPED", 200, lock=True, priority=True)
            assert [stage.entry(part) for part in (0, 199)] == [stage.as_state("MAPPED", part) for part in (0, 199)]
            assert guest.finish() == SUCCESS
        else:
            # The entry's lock is of no account; that its TDEL makes the words differ is.
            assert answer == status("TDX_EPT_INVALID_PROMOTE_CONDITIONS", "RCX")


@pytest.mark.parametrize("call", ["tdh_mem_page_promote", "tdh_mem_page_demote"])
@pytest.mark.parametrize("release", SOURCES)
def test_long_calls_give_way_to_an_interrupt_and_some_to_a_host_that_wants_the_tree(release, call):
    stage = Stage(release=release)
    page = ready(stage, call, 1)
    host, other = stage.actor("host0"), stage.actor("host1")
    interrupt = stage.layout.at("host_interrupt")
    stage.memory.set_word(interrupt, 1)
    before = stage.snapshot()
    gives_way = getattr(stage.release, f"{call.removeprefix('tdh_mem_page_')}_gives_way")
    if gives_way != NOTHING:
        assert host.call(call, page, 1) == status("TDX_INTERRUPTED_RESTARTABLE")
        assert stage.snapshot() == before
        stage.memory.set_word(interrupt, 0)
    host.begin(call, page, 1).before(Op.WALK)
    assert other.call("tdh_mem_range_block", 600) == BUSY_TREE
    answer = host.finish()
    assert answer == (status("TDX_INTERRUPTED_BUSY") if gives_way == PRIORITY else SUCCESS)


def test_a_relocated_page_is_blocked_and_removed_where_it_lies_now():
    stage = Stage()
    page = ready(stage, "tdh_mem_page_relocate", 0)
    host, spare = stage.actor("host0"), stage.layout.pages
    assert host.call("tdh_mem_page_relocate", page) == SUCCESS
    assert stage.entry(page) == STATE["MAPPED"].word(stage.layout.hpa("data", spare))
    assert stage.type_of("data", page) == PT_NDA and stage.type_of("data", spare) == PT_REG
    stage.set_word("epoch", epoch_word(9), width=64)
    assert host.call("tdh_mem_range_block", page) == SUCCESS
    assert stage.memory.word(stage.layout.at("pamt_4k.data", spare) + PAMT_BEPOCH) == 9
    assert host.call("tdh_mem_track") == SUCCESS
    assert host.call("tdh_mem_page_remove", page) == SUCCESS
    assert stage.type_of("data", spare) == PT_NDA
    assert not stage.entry(page) & TDHP


@pytest.mark.parametrize("asked, meant", [
    ("1.5.07", "1.5.06"), ("1.5.21", "1.5.20"), ("1.5.99", "1.5.34"), ("1.5.00", "1.5.01"), ("2.0.10", "2.0.08"), ("2.0.20", "2.0.18"),
    ("2.0.02", "2.0.08"), ("3.0.1", "2.0.18"), ("3.0", "2.0.18"), ("1.5", "1.5.01"), ("1.4.09", None), ("newst", "newest"), ("0", None)])
def test_a_release_that_is_not_known_is_answered_by_the_nearest_earlier_one(asked, meant):
    assert suggestion(asked) == (f"did you mean {meant}? " if meant else "")
