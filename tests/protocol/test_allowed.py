"""When a call is allowed at all: op_states, lifecycle states, entry states while the TD cannot run, entropy."""

import pytest

from harness.memory.layout import PAMT_BEPOCH, TDR_LIFECYCLE, TDVPS_TDCX
from harness.protocol.seamcall_abi import Faults
from harness.protocol.releases import BY_NAME
from harness.protocol.seamcalls import by_name, seamcalls
from kernels.epoch import epoch_word
from kernels.ops import Register as R
from kernels.words import (
    HKID_FLUSHED, HKID_FREE, HPA_MASK, OP_STATE_START_EXPORT, PT_EPT, PT_REG, STATE, TD_HKID_ASSIGNED, TD_KEYS_CONFIGURED, TDCS_PAGES,
    TDCS_PAGES_MAX, TDEL, TDHP, TDVPS_PAGES, TDVPS_PAGES_MAX,
    status_name,
)
from tests.accesses import recorded
from tests.protocol.alone import Try, list_pages
from tests.protocol.order_lines import LOOK
from tests.protocol.test_orders import LINES, line_of
from tests.protocol.test_seamcalls import LEAVES, locks_of
from tests.ready import caller, levels, ready, vcpu_word
from tests.stage import Stage

# --- op_states ---

# op_state_lookup.c, by call: UNINITIALIZED 0, INITIALIZED 1, RUNNABLE 2, LIVE_EXPORT 3, PAUSED_EXPORT 4, POST_EXPORT 5,
# MEMORY_IMPORT 6, STATE_IMPORT 7, POST_IMPORT 8, LIVE_IMPORT 9, FAILED_IMPORT 10.
OP_STATES = {
    "tdh_mng_init": "0", "tdh_mng_rdwr": "1 2 3 4 5 6 7 8 9 10", "tdh_mr_extend": "1", "tdh_mr_finalize": "1",
    "tdh_vp_create": "1 7", "tdh_vp_addcx": "1 7", "tdh_vp_init": "1", "tdh_vp_init_apicid": "1", "tdh_vp_enter": "2 3 9",
    "tdh_vp_rd_wr": "1 2 3 4 5 6 7 8 9 10", "tdh_mem_page_add": "1", "tdh_mem_sept_add": "1 2 3 6 7 8 9",
    "tdh_mem_page_aug": "1 2 3 9", "tdh_mem_range_block": "1 2 3 4 5 8 9", "tdh_mem_range_unblock": "1 2 3 4 5 8 9",
    "tdh_mem_track": "1 2 3 4 5 6 7 8 9", "tdh_mem_page_remove": "1 2 3 4 5 8 9 10",
    "tdh_mem_sept_remove": "1 2 3 4 5 6 7 8 9 10", "tdh_mem_sept_rd": "1 2 3 4 5 6 7 8 9 10",
    "tdh_mem_rd": "1 2 3 4 5 6 7 8 9 10", "tdh_mem_wr": "1 2 3 6 7 8 9 10", "tdh_mem_page_promote": "1 2 3 4 5 8 9", "tdh_mem_page_demote": "1 2 3 4 5 8 9",
    "tdh_mem_page_relocate": "1 2 3 4 5 8 9",
}
MODELLED = (0, 1, 2, 3, 9)       # those of a TD of which nothing is on its way to or from another machine
WITHOUT = {"tdh_mng_create", "tdh_mng_add_cx", "tdh_mng_key_config", "tdh_mng_vpflushdone", "tdh_mng_key_freeid",
           "tdh_vp_flush"}       # they look at the lifecycle


def test_every_call_that_looks_at_the_op_state_is_in_the_table():
    looks = {order.call for release, order, level in LINES if " OPS/" in f" {order.take}"}
    assert {call.partition(",")[0] for call in looks} == set(OP_STATES)


@pytest.mark.parametrize("call", OP_STATES)
@pytest.mark.parametrize("release", ["1.5.05", "1.5.24", "1.5.34"])
def test_a_call_is_allowed_in_the_op_states_of_the_modules_table(release, call):
    allowed = {int(word) for word in OP_STATES[call].split()}
    row = by_name(BY_NAME[release])[call]
    for op_state in range(11):
        tried = Try(release, call, levels(row)[0])
        tried.set("op_state", op_state)
        answer = tried.run()[1]
        refused = answer.startswith("TDX_OP_STATE_INCORRECT")
        assert refused == (op_state not in allowed), op_state
        assert refused or op_state not in MODELLED or answer == "TDX_SUCCESS"
        if refused:
            assert locks_of(tried.stage) == {}


@pytest.mark.parametrize("call", ["tdh_mng_add_cx"])
@pytest.mark.parametrize("release", ["1.5.05", "1.5.24", "1.5.34"])
def test_a_td_with_all_the_tdcx_pages_it_must_have_gets_more_only_while_it_is_new(release, call):
    """With fewer it has no op_state.  tdh_mng_add_cx.c:88-93"""
    for pages, op_state, wanted in [
            (TDCS_PAGES - 1, 0, "TDX_SUCCESS"), (TDCS_PAGES - 1, 2, "TDX_SUCCESS"), (TDCS_PAGES, 0, "TDX_SUCCESS"),
            (TDCS_PAGES_MAX - 1, 0, "TDX_SUCCESS"), (TDCS_PAGES, 1, "TDX_OP_STATE_INCORRECT"), (TDCS_PAGES, 10, "TDX_OP_STATE_INCORRECT"),
            (TDCS_PAGES_MAX - 1, 2, "TDX_OP_STATE_INCORRECT"), (TDCS_PAGES_MAX, 0, "TDX_TDCX_NUM_INCORRECT"),
            (255, 0, "TDX_TDCX_NUM_INCORRECT")]:
        tried = Try(release, call, "tdcx")
        tried.stage.set_lifecycle(TD_KEYS_CONFIGURED, tdcx=pages)
        tried.set("op_state", op_state)
        assert tried.run()[1].startswith(wanted), (pages, op_state)


@pytest.mark.parametrize("call, level", [("tdh_mem_page_remove", 0), ("tdh_mem_page_remove", 1)])
@pytest.mark.parametrize("release", ["1.5.05", "1.5.24", "1.5.34"])
def test_a_page_that_is_removed_while_its_td_is_imported_leaves_a_mark(release, call, level):
    """From MEMORY_IMPORT to LIVE_IMPORT; what was removed then is not imported again by mistake.  tdh_mem_page_remove.c"""
    for op_state in map(int, OP_STATES[call].split()):
        tried = Try(release, call, level)
        tried.set("op_state", op_state)
        assert tried.run()[1] == "TDX_SUCCESS"
        left = "REMOVED" if 6 <= op_state <= 9 else "FREE"
        assert tried.stage.entry(tried.page, level) == tried.stage.as_state(left, tried.page, level), op_state


@pytest.mark.parametrize("call, level", [("tdh_mem_sept_remove", 1), ("tdh_mem_sept_remove", 2)])
@pytest.mark.parametrize("release", ["1.5.05", "1.5.24", "2.0.14", "1.5.28", "2.0.16", "1.5.34"])
def test_an_sept_page_is_removed_only_if_all_its_entries_are_free(release, call, level):
    """From 1.5.28 and 2.0.16 a REMOVED one counts as free.  tdh_mem_sept_remove.c"""
    free = ("FREE", "REMOVED") if release in ("1.5.28", "2.0.16", "1.5.34") else ("FREE",)
    for place in (0, 511):
        for state in STATE.values():
            tried = Try(release, call, level)
            below = tried.stage.layout.at(f"sept.{level - 1}", (tried.page >> 9 * (level - 1)) + place)
            tried.stage.memory.set_word(below, state.word(0 if state.name in ("FREE", "REMOVED") else 1 << 30))
            answer = tried.run()[1]
            assert answer.startswith("TDX_SUCCESS" if state.name in free else "TDX_EPT_PAGE_NOT_FREE"), (state.name, answer)


# While the TD may run: RUNNABLE, LIVE_EXPORT, LIVE_IMPORT, from 1.5.34 START_EXPORT.  helpers.h:1218-1236
MAY_RUN = (2, 3, 9)
TRACKING = [("tdh_mem_page_remove", 0), ("tdh_mem_page_remove", 1), ("tdh_mem_sept_remove", 1), ("tdh_mem_sept_remove", 2),
            ("tdh_mem_page_promote", 1), ("tdh_mem_page_demote", 1), ("tdh_mem_page_relocate", 0), ("tdh_mem_range_unblock", 0)]


@pytest.mark.parametrize("call, level", TRACKING)
@pytest.mark.parametrize("release", ["1.5.05", "1.5.24", "1.5.34"])
def test_tracking_is_asked_for_while_the_td_may_run(release, call, level):
    for op_state in map(int, OP_STATES[call].split()):
        tried = Try(release, call, level)
        tried.set("op_state", op_state)
        tried.stage.set_word("epoch", epoch_word(0), width=64)       # no epoch has passed since the BLOCK
        answer = tried.run()[1]
        assert answer.startswith("TDX_TLB_TRACKING_NOT_DONE" if op_state in MAY_RUN else "TDX_SUCCESS"), (op_state, answer)


@pytest.mark.parametrize("call, level", [("tdg_mem_page_accept", 0), ("tdg_mem_page_accept", 1)])
@pytest.mark.parametrize("release", ["1.5.05", "1.5.24", "1.5.34"])
def test_a_page_that_is_accepted_already_is_not_zeroed_again(release, call, level):
    stage = Stage(release=release)
    page = 512 if level else 3
    stage.map_page(page, "MAPPED", level)
    stage.memory.set_word(stage.layout.at("content", page), 7)
    assert status_name(caller(stage, call).call(call, page, level)).startswith("TDX_PAGE_ALREADY_ACCEPTED")
    assert stage.memory.word(stage.layout.at("content", page)) == 7


@pytest.mark.parametrize("call", ["tdg_mem_page_accept"])
@pytest.mark.parametrize("release", ["1.5.05", "1.5.24", "1.5.34"])
def test_a_page_that_is_accepted_in_another_size_says_in_which(release, call):
    """Of a page of 4 KiB in a large one: the level of the entry that maps it."""
    for level in (1, 2):
        stage = Stage(release=release)
        stage.build_tables(0, level)
        stage.set_entry(0, "MAPPED", level)
        assert status_name(caller(stage, call).call(call, 3, 0)) == f"TDX_PAGE_ALREADY_ACCEPTED|level {level}"


# --- lifecycle states ---

# HKID_ASSIGNED 0, KEYS_CONFIGURED 1, BLOCKED 2, TEARDOWN 3.
LIFECYCLES = {"tdh_mng_add_cx": (1,), "tdh_mng_key_config": (0,), "tdh_mng_vpflushdone": (0, 1), "tdh_mng_key_freeid": (2,),
              "tdh_vp_flush": (1,), "tdh_phymem_page_reclaim": (3,), "tdh_phymem_page_reclaim, a TDR": (3,)}


@pytest.mark.parametrize("call", LIFECYCLES)
@pytest.mark.parametrize("release", ["1.5.05", "1.5.24", "1.5.34"])
def test_a_call_is_allowed_in_its_lifecycle_states_only(release, call):
    row = by_name(BY_NAME[release])[call.partition(",")[0]]
    for state in range(4):
        tried = Try(release, call, levels(row)[0])
        tried.set("lifecycle", state)
        assert (tried.run()[1] == "TDX_SUCCESS") == (state in LIFECYCLES[call]), state


# --- entry states before the TD runs ---

UNBLOCKED = {"BLOCKED": "MAPPED", "PEND_BLOCKED": "PENDING"}
# What an entry becomes while nobody can have a translation to its page, so that it need not be blocked and tracked.
UNTRACKED = {
    "tdh_mem_page_remove": dict.fromkeys(("MAPPED", "BLOCKED", "BLOCKEDW", "PENDING", "PEND_BLOCKED", "PEND_BLOCKEDW"), "FREE"),
    "tdh_mem_sept_remove": dict.fromkeys(("NL_MAPPED", "NL_BLOCKED"), "FREE"),
    "tdh_mem_page_promote": dict.fromkeys(("NL_MAPPED", "NL_BLOCKED"), "MAPPED"),
    "tdh_mem_page_demote": dict.fromkeys(("MAPPED", "BLOCKED", "PENDING", "PEND_BLOCKED"), "NL_MAPPED"),
    "tdh_mem_page_relocate": {state: UNBLOCKED.get(state, state) for state in LEAVES},
    "tdh_mem_range_unblock": {"NL_BLOCKED": "NL_MAPPED", **UNBLOCKED},
}


@pytest.mark.parametrize("release, call", [(release, call) for release in ("1.5.05", "1.5.24", "1.5.34") for call in UNTRACKED])
def test_before_the_td_runs_nothing_has_to_be_blocked_or_tracked(release, call):
    for state, after in UNTRACKED[call].items():
        for level in levels(by_name(BY_NAME[release])[call]):
            stage = Stage(release=release)
            page = ready(stage, call, level)
            stage.set_word("op_state", 1, width=64)
            stage.set_entry(page, state, level)
            if state.startswith("NL_") and level:
                stage.set_type(("", "pt_pages", "pd_pages")[level], page >> 9 * level, PT_EPT)
            else:
                stage.set_type("data", page >> 9 * level, PT_REG, ("4k", "2m", "1g")[level])
            for region in stage.layout.regions:
                if region.name.startswith("pamt_"):
                    stage.memory.set_word(region.offset + PAMT_BEPOCH, 5)
            assert status_name(stage.actor("host0").call(call, page, level)) == "TDX_SUCCESS", state
            word = stage.as_state(after, page, level)
            if call == "tdh_mem_page_relocate":
                word = STATE[after].word(stage.layout.hpa("data", stage.layout.pages), access=stage.release.access)
            assert stage.entry(page, level) == word, state
            if call == "tdh_mem_page_demote":
                parts = {"MAPPED": "MAPPED", "PENDING": "PENDING"}.get(state) or UNBLOCKED[state]
                assert [stage.entry(part) for part in (0, 511)] == [stage.as_state(parts, part) for part in (0, 511)]


# --- the entry as it is read under its lock ---

ANOTHER = 5                      # the page that the entry maps by the time it is locked
MAPS_ANOTHER = ("tdh_mem_page_remove", "tdh_mem_range_block", "tdh_mem_range_unblock", "tdh_mem_page_relocate")


@pytest.mark.parametrize("call", MAPS_ANOTHER)
def test_what_counts_is_the_page_that_the_entry_maps_when_it_is_locked(call):
    """Another call has put another page there since the walk: that one's PAMT entry is used."""
    for release, order, level in LINES:
        if order.call != call or level:
            continue
        line = line_of(release, order, level)
        locked = next(part for part in line.parts if part.token == "ENT" and part.kind == LOOK)
        before = sum(len(part.accesses) for part in line.parts[:line.parts.index(locked)])
        tried = Try(release, call, level)
        tried.stage.set_type("data", ANOTHER, tried.get("MAPPED.type"))
        state = "MAPPED" if call == "tdh_mem_range_block" else "BLOCKED"
        hpa = tried.stage.layout.hpa("data", ANOTHER)
        accesses, answer = tried.run({before: lambda: tried.set("ENTRY", STATE[state].word(hpa, lock=True))})
        assert answer == "TDX_SUCCESS"
        own = {tried.words["MAPPED"][0] + offset for offset in (0, 2, PAMT_BEPOCH)}
        its = {tried.stage.layout.at("pamt_4k.data", ANOTHER) + offset for offset in (0, 2, PAMT_BEPOCH)}
        touched = {access.offset for access in accesses}
        assert touched & its and not touched & own, release


# --- the epoch at which something was blocked, and its address ---

PLACES = {0: "pamt_4k.data", 1: "pamt_2m.data", 2: "pamt_1g.data"}
TABLES = {1: "pamt_4k.pt_pages", 2: "pamt_4k.pd_pages"}


@pytest.mark.parametrize("release", ["1.5.05", "1.5.24", "1.5.34"])
@pytest.mark.parametrize("level, leaf", [(0, True), (1, True), (1, False), (2, True), (2, False)])
def test_the_epoch_of_a_block_is_kept_with_the_page_of_its_size(release, level, leaf):
    """A large page's in its own PAMT entry, an SEPT page's in that of 4 KiB; UNBLOCK looks for it there."""
    stage = Stage(release=release)
    page = 512 if level == 1 else 0 if level else 3
    stage.build_tables(page, level)
    stage.set_entry(page, "MAPPED" if leaf else "NL_MAPPED", level)
    group, size = ("data", ("4k", "2m", "1g")[level]) if leaf else (("", "pt_pages", "pd_pages")[level], "4k")
    stage.set_type(group, page >> 9 * level, PT_REG if leaf else PT_EPT, size)
    stage.set_word("epoch", epoch_word(7), width=64)
    host = stage.actor("host0")
    assert host.call("tdh_mem_range_block", page, level) == 0
    regions = [region for region in stage.layout.regions if region.name.startswith("pamt_")]
    noted = {(region.name, index) for region in regions for index in range(region.count)
             if stage.memory.word(stage.layout.at(region.name, index) + PAMT_BEPOCH)}
    assert noted == {(PLACES[level] if leaf else TABLES[level], page >> 9 * level)}
    assert status_name(host.call("tdh_mem_range_unblock", page, level)).startswith("TDX_TLB_TRACKING_NOT_DONE")
    assert host.call("tdh_mem_track") == 0
    assert host.call("tdh_mem_range_unblock", page, level) == 0
    assert stage.entry(page, level) == stage.as_state("MAPPED" if leaf else "NL_MAPPED", page, level)


# Every bit that an address may have, where no page is looked for by it.
ALL = HPA_MASK
KEEP_THE_ADDRESS = [
    # call, level, state before, after, the page, address
    ("tdh_mem_range_block", 0, "MAPPED", "BLOCKED", 3, None), ("tdh_mem_range_block", 0, "PENDING", "PEND_BLOCKED", 3, None),
    ("tdh_mem_range_block", 1, "MAPPED", "BLOCKED", 512, None), ("tdh_mem_range_block", 1, "PENDING", "PEND_BLOCKED", 512, None),
    ("tdh_mem_range_block", 1, "NL_MAPPED", "NL_BLOCKED", 0, None), ("tdh_mem_range_block", 2, "NL_MAPPED", "NL_BLOCKED", 0, None),
    ("tdh_mem_range_unblock", 0, "BLOCKED", "MAPPED", 3, None), ("tdh_mem_range_unblock", 0, "PEND_BLOCKED", "PENDING", 3, None),
    ("tdh_mem_range_unblock", 1, "BLOCKED", "MAPPED", 512, None), ("tdh_mem_range_unblock", 1, "PEND_BLOCKED", "PENDING", 512, None),
    ("tdh_mem_range_unblock", 1, "NL_BLOCKED", "NL_MAPPED", 0, None), ("tdh_mem_range_unblock", 2, "NL_BLOCKED", "NL_MAPPED", 0, None),
    ("tdg_mem_page_accept", 0, "PENDING", "MAPPED", 3, ALL), ("tdg_mem_page_accept", 0, "PEND_EXP_DIRTY", "EXP_DIRTY", 3, ALL),
    ("tdg_mem_page_accept", 1, "PENDING", "MAPPED", 512, ALL & -1 << 21),
    ("tdg_mem_page_accept", 1, "PEND_EXP_DIRTY", "EXP_DIRTY", 512, ALL & -1 << 21),
]


@pytest.mark.parametrize("release", ["1.5.05", "1.5.24", "1.5.34"])
@pytest.mark.parametrize("call, level, before, after, page, address", KEEP_THE_ADDRESS)
def test_an_entry_that_is_copied_keeps_each_bit_of_its_address(release, call, level, before, after, page, address):
    stage = Stage(release=release)
    stage.build_tables(page, level)
    stage.set_word("epoch", epoch_word(5), width=64)
    address = stage.hpa(page, level, leaf=STATE[before].leaf) if address is None else address
    group, size = ("data", ("4k", "2m", "1g")[level]) if STATE[before].leaf else (("", "pt_pages", "pd_pages")[level], "4k")
    stage.set_type(group, page >> 9 * level, PT_REG if STATE[before].leaf else PT_EPT, size)
    stage.memory.set_word(stage.layout.at(f"sept.{level}", page >> 9 * level), STATE[before].word(address, access=stage.release.access))
    answer = status_name(caller(stage, call).call(call, page, level))
    assert answer == "TDX_SUCCESS"
    assert stage.entry(page, level) == STATE[after].word(address, access=stage.release.access)


def test_an_interrupted_accept_keeps_each_bit_of_the_address_and_counts_above_it():
    for state in ("PENDING", "PEND_EXP_DIRTY"):
        for done in (0, 5):
            stage = Stage()
            stage.build_tables(512, 1)
            address = ALL & -1 << 21
            place = stage.layout.at("sept.1", 1)
            stage.memory.set_word(place, STATE[state].word(address) | done << 12)
            stage.set_word("kick", 1, width=64)
            answer = status_name(stage.actor("vcpu0").call("tdg_mem_page_accept", 512, 1))
            assert answer == "EXIT_REASON_EXTERNAL_INTERRUPT"
            assert stage.entry(512, 1) == STATE[state].word(address) | done + 1 << 12


def test_one_vcpu_is_enough_to_finalize_a_td():
    for vcpus in (1, 2, 3):
        stage = Stage()
        ready(stage, "tdh_mr_finalize", 0)
        stage.set_word("num_vcpus", vcpus, width=64)
        assert stage.actor("host0").call("tdh_mr_finalize") == 0


# --- several packages ---

def test_every_package_configures_its_key_and_writes_its_caches_back():
    stage = Stage(packages=3)
    stage.set_lifecycle(TD_HKID_ASSIGNED)
    stage.set_word("keys", 0, width=64)
    hosts = [stage.actor(f"host{number}") for number in range(3)]         # vcpu0 and vcpu1 are on the first two
    assert [int(host.registers[R.PACKAGE]) for host in hosts] == [2, 0, 1]
    for number, host in enumerate(hosts):
        assert host.call("tdh_mng_key_config") == 0
        lifecycle = stage.word("tdr_state", width=64) >> 8 * TDR_LIFECYCLE & 0xFF
        assert lifecycle == (TD_KEYS_CONFIGURED if number == 2 else TD_HKID_ASSIGNED)
    assert stage.word("keys", width=64) == 0x01_0101
    assert hosts[0].call("tdh_mng_vpflushdone") == 0
    assert stage.word("kot", width=64) == HKID_FLUSHED | 0x01_0101_00
    for left, host in zip((0x00_0101_00, 0x00_0100_00, 0), hosts):
        assert status_name(hosts[0].call("tdh_mng_key_freeid")) == "TDX_WBCACHE_NOT_COMPLETE"
        assert host.call("tdh_phymem_cache_wb") == 0
        assert stage.word("kot", width=64) == HKID_FLUSHED | left
    assert hosts[0].call("tdh_mng_key_freeid") == 0
    assert stage.word("kot", width=64) == HKID_FREE


@pytest.mark.parametrize("release", ["1.5.05", "1.5.34"])
def test_a_write_back_that_is_interrupted_and_resumed_is_about_what_was_flushed_when_it_began(release):
    stage = Stage(release=release, packages=2)
    hosts = {int(host.registers[R.PACKAGE]): host for host in (stage.actor("host0"), stage.actor("host1"))}
    stage.set_word("kot", HKID_FLUSHED | 0x01_00_00, width=64)       # package 0 has written back already
    stage.set_word("host_interrupt", 1, 0, width=64)
    stage.set_word("host_interrupt", 1, 1, width=64)
    assert status_name(hosts[0].call("tdh_phymem_cache_wb")) == "TDX_INTERRUPTED_RESUMABLE"
    assert stage.word("kot", width=64) == HKID_FLUSHED | 0x01_00_00
    assert status_name(hosts[1].call("tdh_phymem_cache_wb")) == "TDX_INTERRUPTED_RESUMABLE"
    assert stage.word("kot", width=64) == HKID_FLUSHED | 0x02_00_00
    stage.set_word("kot", HKID_FLUSHED | 0x02_01_00, width=64)       # and is to do so again
    assert hosts[0].call("tdh_phymem_cache_wb_resume") == 0
    assert stage.word("kot", width=64) == HKID_FLUSHED | 0x02_01_00
    assert hosts[1].call("tdh_phymem_cache_wb_resume") == 0
    assert stage.word("kot", width=64) == HKID_FLUSHED | 0x01_00
    assert status_name(hosts[1].call("tdh_phymem_cache_wb_resume")) == "TDX_WBCACHE_RESUME_ERROR"


@pytest.mark.parametrize("release", ["1.5.05", "1.5.34"])
def test_a_key_that_is_flushed_while_a_package_writes_back_is_still_to_be_written_back(release):
    stage = Stage(release=release)
    stage.set_word("kot", HKID_FLUSHED | 0x01_00, width=64)
    host = stage.actor("host0").begin("tdh_phymem_cache_wb")
    while host.row.text != "interrupt pending?":
        host.step()
    assert stage.word("kot", width=64) == HKID_FLUSHED | 0x02_00
    stage.set_word("kot", HKID_FLUSHED | 0x01_00, width=64)
    assert host.finish() == 0 and stage.word("kot", width=64) == HKID_FLUSHED | 0x01_00


# --- several listed pages ---

@pytest.mark.parametrize("release", ["1.5.05", "1.5.24", "1.5.34"])
@pytest.mark.parametrize("gone", [None, 0, 1, 2])
def test_the_entry_filter_looks_at_every_listed_page_and_names_the_first_that_would_fault(release, gone):
    stage = Stage(release=release)
    listed = (3, 700, 5)
    list_pages(stage, *listed)
    for number, page in enumerate(listed):
        stage.map_page(page, "BLOCKED" if gone is not None and number >= gone else "MAPPED")
    vcpu = stage.actor("vcpu0")
    answer = status_name(vcpu.call("tdh_vp_enter", 9))
    assert answer == ("TDX_SUCCESS" if gone is None else "EXIT_REASON_EPT_VIOLATION")
    assert stage.counters["zero_step.entries_with_lock"] == 1
    assert stage.counters.get("zero_step.synthetic_exits", 0) == (gone is not None)
    if gone is not None:
        assert vcpu.registers[R.PAGE] == listed[gone]
        assert locks_of(stage) == {}


@pytest.mark.parametrize("state, level, fine", [
    ("MAPPED", 0, True), ("PENDING", 0, None), ("BLOCKED", 0, False), ("FREE", 0, False), ("PEND_BLOCKED", 0, False),
    ("MAPPED", 1, True), ("PENDING", 1, None), ("BLOCKED", 1, False), ("FREE", 1, False), ("FREE", 2, False),
    ("BLOCKEDW", 0, False),
])
@pytest.mark.parametrize("release", ["1.5.05", "1.5.24", "1.5.34"])
def test_a_listed_page_lets_the_vcpu_in_if_the_processors_own_walk_would_pass(release, state, level, fine):
    """None: PENDING, which refuses entry up to 1.5.16 and then means a #VE in the guest."""
    stage = Stage(release=release)
    list_pages(stage, 3)
    stage.build_tables(3, level)
    stage.set_entry(3, state, level)
    lets_in = release != "1.5.05" if fine is None else fine
    assert status_name(stage.actor("vcpu0").call("tdh_vp_enter")) == ("TDX_SUCCESS" if lets_in else "EXIT_REASON_EPT_VIOLATION")


# --- entropy ---

NO_ENTROPY = Faults(no_entropy_share=1.0)
DRAWS = {
    # call: answer, how many of its accesses come before
    "tdh_mng_create": ("TDX_RND_NO_ENTROPY", "?kot"),
    "tdh_mng_add_cx": ("TDX_RND_NO_ENTROPY", "F.PAGE/EX"),
    "tdh_mng_key_config": ("TDX_KEY_GENERATION_FAILED", "KET"),
}


@pytest.mark.parametrize("call", DRAWS)
def test_a_call_that_draws_no_random_number_gives_back_what_it_has_and_writes_nothing(call):
    answer, behind = DRAWS[call]
    for release, order, level in LINES:
        if order.call != call or release == "report-2024":
            continue
        line = line_of(release, order, level)
        count = sum(len(part.accesses) for part in line.parts[:1 + max(
            index for index, part in enumerate(line.parts) if part.token == behind)])
        stage = Stage(release=release, faults=NO_ENTROPY)
        page = ready(stage, call, level)
        before = stage.snapshot()
        actor = caller(stage, call).begin(call, page, level)
        accesses = recorded(actor)
        assert status_name(actor.status) == answer
        assert [access.verb for access in accesses[:count]] == [verb for verb, _, _ in line.success()[:count]]
        assert stage.snapshot() == before and locks_of(stage) == {}
        assert len(accesses) > count and not {access.verb for access in accesses[count:]} & {"store", "add"}


def test_only_the_last_tdcx_page_of_a_td_needs_a_random_number():
    """It is a key for migration, which the module draws when the TDCS is complete."""
    for tdcx in range(TDCS_PAGES):
        stage = Stage(faults=NO_ENTROPY)
        page = ready(stage, "tdh_mng_add_cx", "tdcx")
        stage.set_lifecycle(1, tdcx=tdcx)
        answer = status_name(stage.actor("host0").call("tdh_mng_add_cx", page, "tdcx"))
        assert answer == ("TDX_RND_NO_ENTROPY" if tdcx == TDCS_PAGES - 1 else "TDX_SUCCESS")


# --- counts of TDCX pages ---

def test_a_vcpu_takes_tdcx_pages_until_it_has_all():
    for tdcx in range(TDVPS_PAGES_MAX):
        stage = Stage()
        page = ready(stage, "tdh_vp_addcx", "tdcx")
        vcpu_word(stage, TDVPS_TDCX, tdcx, 8)
        answer = status_name(stage.actor("vcpu0").call("tdh_vp_addcx", page, "tdcx"))
        assert answer == ("TDX_TDCX_NUM_INCORRECT" if tdcx == TDVPS_PAGES_MAX - 1 else "TDX_SUCCESS")
        assert stage.memory.word(stage.layout.at("tdvps") + TDVPS_TDCX, 8) == min(tdcx + 1, TDVPS_PAGES_MAX - 1)


# --- ATTR.RD locks whatever entry its walk stops at ---

@pytest.mark.parametrize("release", ["1.5.05", "1.5.24", "1.5.34"])
def test_attr_rd_locks_the_entry_at_which_its_walk_stops_and_attr_wr_none(release):
    for call, locks in (("tdg_mem_page_attr_rd", True), ("tdg_mem_page_attr_wr", False)):
        for level in (1, 2):
            stage = Stage(release=release)
            if level == 1:
                stage.map_page(0, "MAPPED", 1)
            else:
                stage.set_entry(0, "FREE", 2)
            free = stage.entry(0, level)
            stage.set_entry(0, "MAPPED" if level == 1 else "FREE", level, lock=True)
            answer = status_name(stage.actor("vcpu0").call(call, 7))
            assert answer == ("TDX_OPERAND_BUSY|RCX" if locks else "EXIT_REASON_EPT_VIOLATION")
            assert stage.entry(0, level) == free | TDEL
            stage.set_entry(0, "MAPPED" if level == 1 else "FREE", level)
            answer = status_name(stage.actor("vcpu0").call(call, 7))
            assert answer == ("TDX_SUCCESS" if locks and level == 1 else "EXIT_REASON_EPT_VIOLATION")
            assert stage.entry(0, level) == free


def test_calls_are_those_of_the_tables():
    names = {row.name for row in seamcalls()}
    assert set(OP_STATES) | WITHOUT <= names and set(DRAWS) <= names and not set(OP_STATES) & WITHOUT


# --- START_EXPORT, from 1.5.34 ---

STARTING = [row.name for row in seamcalls(BY_NAME["1.5.34"]) if row.name in OP_STATES and "2" in OP_STATES[row.name].split()]


@pytest.mark.parametrize("call", STARTING)
def test_a_td_is_one_that_runs_while_its_export_starts(call):
    tried = Try("1.5.34", call, levels(by_name(BY_NAME["1.5.34"])[call])[0])
    tried.set("op_state", OP_STATE_START_EXPORT)
    assert tried.run()[1] == "TDX_SUCCESS"


# --- TDCX pages ---

@pytest.mark.parametrize("release", ["1.5.05", "1.5.34"])
@pytest.mark.parametrize("call", OP_STATES)
def test_a_td_may_have_more_tdcx_pages_than_it_needs(release, call):
    for count in range(TDCS_PAGES + 1, TDCS_PAGES_MAX + 1):
        tried = Try(release, call, levels(by_name(BY_NAME[release])[call])[0])
        tried.set("num_tdcx", count)
        assert tried.run()[1] == "TDX_SUCCESS", count


@pytest.mark.parametrize("release", ["1.5.05", "1.5.34"])
def test_a_vcpu_of_any_number_of_tdcx_pages_can_be_flushed(release):
    """VP.FLUSH asks for as many as ENTER does, and refuses no more than those."""
    for count in range(TDVPS_PAGES_MAX):
        tried = Try(release, "tdh_vp_flush", 0)
        tried.set("tdcx", count)
        enough = TDVPS_PAGES - 1 <= count
        assert (tried.run()[1] == "TDX_SUCCESS") == enough, count


# --- a guest that is refused for a host's priority ---

GUESTS = ("tdg_mem_page_accept", "tdg_mem_page_attr_rd", "tdg_mem_page_attr_wr")


@pytest.mark.parametrize("release", ["1.5.05", "1.5.24", "1.5.34"])
@pytest.mark.parametrize("call", GUESTS)
def test_the_first_refusal_starts_the_timer_and_a_later_one_may_end_it(release, call):
    """hp_lock_timeout: BUSY while it runs, TIMEOUT once it has run out, and then, or after a call that gets on, anew."""
    stage = Stage(release=release)
    page = ready(stage, call, 0)
    guest = caller(stage, call)

    def answers(overdue):
        stage.overdue = overdue
        return status_name(guest.call(call, page, 0)), int(guest.registers[R.REFUSED])

    refused = "TDX_OPERAND_BUSY|RCX", 1                      # that it was for the priority is taken out of the answer
    free = stage.entry(page)
    stage.memory.set_word(stage.layout.at("sept.0", page), free | TDHP)
    assert answers(1) == refused                             # nobody looks at the clock: it starts now
    assert answers(0) == refused and answers(0) == refused
    assert answers(1) == ("TDX_HOST_PRIORITY_BUSY_TIMEOUT", 0)
    assert answers(1) == refused                             # it starts anew
    stage.memory.set_word(stage.layout.at("sept.0", page), free)
    assert answers(1) == ("TDX_SUCCESS", 0)
    stage.memory.set_word(stage.layout.at("sept.0", page), free | TDHP)
    assert answers(1) == refused


@pytest.mark.parametrize("release", ["1.5.05", "1.5.34"])
@pytest.mark.parametrize("call", GUESTS)
def test_an_ept_violation_of_a_guests_call_leaves_the_timer_running_wherever_its_walk_ended(release, call):
    for level in (0, 1):                                     # at the entry, or above it
        stage = Stage(release=release)
        page = ready(stage, call, 0)
        guest = caller(stage, call)
        stage.memory.set_word(stage.layout.at("sept.0", page), stage.entry(page) | TDHP)
        assert status_name(guest.call(call, page, 0)) == "TDX_OPERAND_BUSY|RCX" and guest.registers[R.REFUSED] == 1
        stage.set_entry(page, "FREE", level)
        assert status_name(guest.call(call, page, 0)) == "EXIT_REASON_EPT_VIOLATION" and guest.registers[R.REFUSED] == 1


# --- ACCEPT below a large page ---

ACCEPTED = ("MAPPED", "BLOCKEDW", "EXP_BLOCKEDW", "EXP_DIRTY", "EXP_DIRTY_BLOCKEDW")


@pytest.mark.parametrize("release", ["1.5.05", "1.5.24", "1.5.34"])
@pytest.mark.parametrize("above", [1, 2])
def test_accept_below_a_large_page_says_at_which_level_it_is_accepted(release, above):
    for state in (state for state in STATE.values() if state.leaf and not state.name.startswith("MMIO")):
        stage = Stage(release=release)
        stage.map_page(0, state.name, above)
        answer = status_name(caller(stage, "tdg_mem_page_accept").call("tdg_mem_page_accept", 5, 0))
        assert answer == (f"TDX_PAGE_ALREADY_ACCEPTED|level {above}" if state.name in ACCEPTED
                          else "EXIT_REASON_EPT_VIOLATION"), state.name
        assert locks_of(stage) == {}


@pytest.mark.parametrize("release", ["1.5.05", "1.5.24", "1.5.34"])
@pytest.mark.parametrize("call", ["tdh_mem_rd", "tdh_mem_wr", "tdh_mr_extend"])
@pytest.mark.parametrize("above", [1, 2])
def test_a_walk_to_the_leaf_ends_at_a_large_page(release, call, above):
    """Its own entry is the one that is locked, where one is."""
    stage = Stage(release=release)
    page = ready(stage, call, 0)
    stage.map_page(page, "MAPPED", above)
    actor = caller(stage, call)
    assert status_name(actor.call(call, page, 0)) == "TDX_SUCCESS"
    assert locks_of(stage) == {}
    stage.set_entry(page, "MAPPED", above, lock=True)
    locks = any(order.call == call and each == release and "ENT" in order.take.split() for each, order, _ in LINES)
    assert status_name(actor.call(call, page, 0)) == ("TDX_OPERAND_BUSY|RCX" if locks else "TDX_SUCCESS")


# --- a key on each package ---

@pytest.mark.parametrize("release", ["1.5.05", "1.5.34"])
def test_each_package_gets_the_key_once_and_the_last_one_configures_the_td(release):
    """Each host works for the package of its processor; which comes first does not matter."""
    for first, second in ((0, 1), (1, 0)):
        stage = Stage(release=release, packages=2)
        ready(stage, "tdh_mng_key_config", 0)
        stage.set_word("keys", 0, width=64)
        hosts = [stage.actor("host0"), stage.actor("host1")]
        assert {int(host.registers[R.PACKAGE]) for host in hosts} == {0, 1}
        hosts.sort(key=lambda host: int(host.registers[R.PACKAGE]))
        assert status_name(hosts[first].call("tdh_mng_key_config")) == "TDX_SUCCESS"
        assert stage.word("keys", width=64) == 1 << 8 * first
        assert stage.word("tdr_state", width=64) >> 8 * TDR_LIFECYCLE & 0xFF == TD_HKID_ASSIGNED
        assert status_name(hosts[first].call("tdh_mng_key_config")) == "TDX_KEY_CONFIGURED"
        assert status_name(hosts[second].call("tdh_mng_key_config")) == "TDX_SUCCESS"
        assert stage.word("keys", width=64) == 1 | 1 << 8
        assert stage.word("tdr_state", width=64) >> 8 * TDR_LIFECYCLE & 0xFF == TD_KEYS_CONFIGURED
        assert locks_of(stage) == {}
