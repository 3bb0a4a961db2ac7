"""What was found by running the module's own code beside the rows: a test for each line of that table of corrections.

A line that a test elsewhere holds is in ELSEWHERE, with that test.  Releases are those on either side of a change.
"""

import importlib

import pytest

from kernels.words import HP, PT_EPT, TD_HKID_ASSIGNED, TDEL, TDHP, status
from tests.protocol.alone import Try
from tests.ready import ready
from tests.stage import Stage

ACCESSED, DIRTY = 1 << 8, 1 << 9
ELSEWHERE = {
    "the guest's order of taking and looking, by release": (
        "test_interleavings_of_later_releases", "test_n1_before_that_it_sees_the_request_behind_its_own_take_and_gives_back"),
    "KEY.CONFIG of a package that has the key": ("test_packages", "test_each_package_gets_the_key_once_and_the_last_one_configures_the_td"),
    "CACHE.WB: nothing flushed": ("test_cache_wb", "test_with_nothing_flushed_there_are_no_caches_to_write_back"),
    "CACHE.WB: interrupted and resumed": ("test_cache_wb", "test_an_interrupt_ends_a_write_back_with_both_locks_dropped_and_it_is_resumed"),
    "CACHE.WB: resumed by KVM 10,000 times": ("test_flows", "test_a_write_back_that_interrupts_end_again_and_again_is_given_up_after_10_000_times"),
    "RECLAIM of a large page": ("test_large_pages_by_address", "test_a_large_page_that_is_reclaimed_is_counted_in_pages_of_4_kib"),
    "ATTR.RD takes no level": ("test_entries", "test_attr_rd_locks_the_entry_at_which_its_walk_stops_and_attr_wr_none"),
    "a #VE handler resets the mitigation": (
        "test_workloads", "test_one_instruction_over_eight_unmapped_pages_does_not_arm_because_each_ve_asks_for_its_information"),
    "the filter's exemption needs pending #VE": ("test_releases", "test_s27_without_pending_ve_it_refuses_entry_in_every_release"),
    "without pending #VE a touch counts": (
        "test_flows", "test_without_pending_ve_a_touch_of_a_pending_page_is_counted_and_kvm_ends_the_vm"),
    "a violation is read twice": (
        "test_flows", "test_a_violation_is_looked_at_twice_so_an_accept_in_between_makes_it_one_that_the_host_hears_of"),
    "the first refusal starts the clock": ("test_entries", "test_the_first_refusal_starts_the_timer_and_a_later_one_may_end_it"),
    "an EPT violation does not stop it": (
        "test_flows", "test_a_td_exit_for_an_ept_violation_does_not_stop_the_timer_of_host_priority_but_a_plain_busy_does"),
}


@pytest.mark.parametrize("line", ELSEWHERE)
def test_a_line_that_is_held_elsewhere_has_its_test(line):
    file, name = ELSEWHERE[line]
    assert callable(getattr(importlib.import_module(f"tests.protocol.{file}"), name))


def releases_of(tried: Try, *words: str) -> list[str]:
    """The order in which a call gives back those locks that it goes through."""
    accesses, answer = tried.run()
    assert answer == "TDX_SUCCESS"
    last = {name: max(number for number, access in enumerate(accesses) if access.offset == tried.place(name)[0]
                      and access.before != access.after) for name in words}
    return sorted(words, key=last.__getitem__)


@pytest.mark.parametrize("release, first", [("1.5.05", "TDR"), ("1.5.13", "PAGE"), ("1.5.24", "PAGE"), ("2.0.08", "PAGE")])
def test_add_cx_drops_the_page_first_from_1_5_13(release, first):
    assert releases_of(Try(release, "tdh_mng_add_cx", "tdcx"), "TDR", "PAGE")[0] == first


def test_add_cx_wants_the_keys_configured():
    tried = Try("1.5.05", "tdh_mng_add_cx", "tdcx")
    tried.set("lifecycle", TD_HKID_ASSIGNED)
    assert tried.run()[1] == "TDX_TD_KEYS_NOT_CONFIGURED"


@pytest.mark.parametrize("call", ["tdh_mem_rd", "tdh_mem_wr"])
@pytest.mark.parametrize("release, order", [("1.5.05", ["TDR", "ENTRY", "SEPT_TREE", "OP_STATE"]),
                                            ("1.5.13", ["ENTRY", "SEPT_TREE", "OP_STATE", "TDR"])])
def test_mem_rd_and_wr_drop_the_tdr_last_from_1_5_13(call, release, order):
    assert releases_of(Try(release, call, 0), "ENTRY", "SEPT_TREE", "OP_STATE", "TDR") == order


@pytest.mark.parametrize("call", ["tdh_mem_rd", "tdh_mem_wr"])
def test_mem_rd_and_wr_look_at_the_leaf_before_they_take_its_entry(call):
    for state, answer in (("MAPPED", "TDX_OPERAND_BUSY|RCX"), ("PENDING", "TDX_EPT_ENTRY_NOT_PRESENT|RCX")):
        stage = Stage(release="1.5.24")
        page = ready(stage, call, 0)
        stage.set_entry(page, state, lock=True)
        assert stage.actor("host0").call(call, page) == status(*answer.split("|"))
        assert stage.entry(page) == stage.as_state(state, page, lock=True, priority=state == "MAPPED")


@pytest.mark.parametrize("release", ["1.5.05", "1.5.24", "1.5.34"])
def test_page_add_looks_at_the_entry_before_it_locks_the_page(release):
    for state, answer in (("MAPPED", "TDX_EPT_ENTRY_STATE_INCORRECT|RCX"), ("FREE", "TDX_OPERAND_BUSY|R8")):
        tried = Try(release, "tdh_mem_page_add", 0)
        tried.stage.set_entry(tried.page, state)
        tried.set("PAGE", 1)
        assert tried.run()[1] == answer


@pytest.mark.parametrize("release", ["1.5.05", "1.5.24", "1.5.34"])
def test_page_add_stores_its_entry_so_priority_of_a_free_one_is_lost_in_every_release(release):
    tried = Try(release, "tdh_mem_page_add", 0)
    tried.set("ENTRY", tried.get("ENTRY") | TDHP)
    assert tried.run()[1] == "TDX_SUCCESS" and tried.get("ENTRY") == tried.stage.as_state("MAPPED", tried.page)


def test_key_config_does_not_try_the_key_table_for_a_package_that_has_its_key():
    for has_key, answer in ((1, "TDX_KEY_CONFIGURED"), (0, "TDX_OPERAND_BUSY|KET")):
        tried = Try("1.5.05", "tdh_mng_key_config", 0)
        tried.set("key", has_key)
        tried.set("KET", 1)
        assert tried.run()[1] == answer


@pytest.mark.parametrize("state, answer", [("FREE", status("TDX_EPT_ENTRY_NOT_PRESENT", "RCX")), ("PENDING", None), ("BLOCKED", None)])
def test_mr_extend_of_what_is_not_mapped_finds_it_not_present(state, answer):
    stage = Stage(release="1.5.24")
    page = ready(stage, "tdh_mr_extend", 0)
    stage.set_entry(page, state)
    found = stage.actor("host0").call("tdh_mr_extend", page)
    assert found in ({answer} if answer else {status("TDX_EPT_ENTRY_NOT_PRESENT"), status("TDX_EPT_ENTRY_NOT_PRESENT", "RCX")})


@pytest.mark.parametrize("release, mapped, table", [
    ("1.5.05", 0x8000_0001_2345_60F7, 0x8000_0001_2345_6007), ("1.5.13", 0x8000_0001_2345_64F7, 0x8000_0001_2345_6407),
    ("2.0.08", 0x8000_0001_2345_64F7, 0x8000_0001_2345_6407), ("1.5.34", 0x8000_0001_2345_64F7, 0x8000_0001_2345_6407)])
def test_full_access_has_bit_10_from_1_5_13(release, mapped, table):
    mask = 0xFFF0_0000_0000_0FFF                         # without the address
    stage = Stage(release=release)
    page = ready(stage, "tdg_mem_page_accept", 0)
    assert stage.actor("vcpu0").call("tdg_mem_page_accept", page) == 0 and stage.entry(page) & mask == mapped & mask
    stage = Stage(release=release)
    page = ready(stage, "tdh_mem_sept_add", 1)
    assert stage.actor("host0").call("tdh_mem_sept_add", page, 1) == 0 and stage.entry(page, 1) & mask == table & mask


@pytest.mark.parametrize("release, masks", [("1.5.16", False), ("1.5.20", True), ("2.0.08", False), ("1.5.34", True)])
def test_promote_compares_without_priority_accessed_and_dirty_from_1_5_20(release, masks):
    for bit in (TDHP, ACCESSED, DIRTY):
        stage = Stage(release=release)
        page = ready(stage, "tdh_mem_page_promote", 1)
        stage.memory.set_word(stage.layout.at("sept.0", page + 300), stage.entry(page + 300) | bit)
        answer = stage.actor("host0").call("tdh_mem_page_promote", page, 1)
        # A host that locks the part clears its priority, so only the other two can make it differ.
        same = masks or bit == TDHP
        assert answer == (0 if same else status("TDX_EPT_INVALID_PROMOTE_CONDITIONS", "RCX")), hex(bit)


@pytest.mark.parametrize("release", ["1.5.05", "1.5.24"])
def test_attr_wr_of_a_table_is_of_the_wrong_size_and_of_a_free_entry_a_td_exit(release):
    stage = Stage(release=release)
    page = ready(stage, "tdg_mem_page_attr_wr", 0)
    assert stage.actor("vcpu0").call("tdg_mem_page_attr_wr", page, 1) == status("TDX_PAGE_SIZE_MISMATCH", 1)
    stage.set_entry(page, "FREE")
    assert stage.actor("vcpu0").call("tdg_mem_page_attr_wr", page) == 0x30


@pytest.mark.parametrize("release, writes", [("1.5.05", []), ("1.5.16", []), ("1.5.20", ["cas", "store"]), ("1.5.24", ["cas"])])
def test_attr_wr_writes_the_entry_from_1_5_20(release, writes):
    tried = Try(release, "tdg_mem_page_attr_wr", 0)
    accesses, answer = tried.run()
    assert answer == "TDX_SUCCESS"
    assert [access.verb for access in accesses if access.offset == tried.place("ENTRY")[0]
            and access.verb in ("cas", "store")] == writes


def test_sept_add_writes_the_page_and_the_count_before_the_entry():
    tried = Try("1.5.24", "tdh_mem_sept_add", 1)
    accesses, _ = tried.run()
    where = {name: next(number for number, access in enumerate(accesses) if access.offset == tried.place(name)[0]
                        and access.verb in ("store", "add", "cas")) for name in ("PAGE.type", "PAGE.bepoch", "chldcnt", "ENTRY")}
    assert max(where, key=where.__getitem__) == "ENTRY"
    assert accesses[where["PAGE.type"]].after == PT_EPT


def test_sept_add_gives_the_words_of_a_page_that_cannot_be_had_back_before_the_entry():
    tried = Try("1.5.24", "tdh_mem_sept_add", 1)
    tried.set("PAGE", 1)
    accesses, answer = tried.run()
    assert answer == "TDX_OPERAND_BUSY|R8" and tried.get("PAGE") & HP
    last = {name: max(number for number, access in enumerate(accesses) if access.offset == tried.place(name)[0])
            for name in ("PAGE.2M", "PAGE.1G", "ENTRY")}
    assert max(last, key=last.__getitem__) == "ENTRY" and not tried.get("ENTRY") & TDEL


@pytest.mark.parametrize("release, op_state, vcpu_state", [("1.5.13", 0, 0), ("1.5.16", 0, 4), ("1.5.20", 4, 4), ("2.0.08", 0, 4)])
def test_a_status_carries_the_vcpus_state_from_1_5_16_and_the_op_state_from_1_5_20(release, op_state, vcpu_state):
    stage = Stage(release=release)
    stage.set_word("op_state", 4, width=64)
    assert stage.actor("vcpu0").call("tdh_vp_enter") == status("TDX_OP_STATE_INCORRECT", op_state)
    stage = Stage(release=release)
    assert stage.actor("vcpu0").call("tdh_vp_enter") == 0
    assert stage.actor("vcpu0").call("tdh_vp_enter") == status("TDX_VCPU_STATE_INCORRECT", vcpu_state)


def test_the_control_pages_of_a_td_are_counted_before_its_state_is_looked_at():
    tried = Try("1.5.24", "tdh_mem_track", 0)
    tried.set("num_tdcx", 0)
    tried.set("op_state", 99)
    assert tried.run()[1] == "TDX_TDCS_NOT_ALLOCATED"
