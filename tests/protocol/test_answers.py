"""Who gives an answer and who may hold the lock: the tables of `decode` against the rows that they are read off."""

import json

import pytest

from harness.protocol import answers, contention, kept_answers, leaves
from harness.protocol.answers import KEPT, rows, rows_of
from harness.protocol.leaves import GUEST, HOST, by_name, by_number
from harness.protocol.releases import BY_NAME, DEFAULT, READ, RELEASES, find
from harness.protocol.errnos import GUEST_SITES, SITES
from harness.protocol.seamcalls import seamcalls
from kernels.words import STATUSES, known_class, status

TREE = status("TDX_OPERAND_BUSY", "SEPT_TREE")
NEWER = BY_NAME["1.5.20"]


def names(found):
    return {giver.name for giver in found}


def test_every_row_is_found_by_its_number_and_by_its_name():
    for release in RELEASES:
        for row in seamcalls(release):
            leaf = by_name(row.name)
            assert leaf == by_number(row.side, row.leaf), row.name
            assert row in rows_of(seamcalls(release), leaf)


@pytest.mark.parametrize("spelled", ["TDH.MEM.PAGE.AUG", "TDH_MEM_PAGE_AUG", "tdh_mem_page_aug", "TDHMEMPAGEAUG", "TDH_MEM_PAGE_AUG_LEAF"])
def test_a_call_has_many_spellings(spelled):
    assert by_name(spelled) == (HOST, 6, "TDH.MEM.PAGE.AUG")


def test_a_leaf_may_carry_a_version_and_nothing_more():
    assert by_number(HOST, 0x1_0016).name == "TDH.VP.INIT" and by_number(GUEST, 6).name == "TDG.MEM.PAGE.ACCEPT"
    assert by_number(HOST, 1 << 63) is None and by_number(HOST, 46) is None


def test_a_row_of_two_leaves_stands_for_both():
    assert [row.name for row in rows_of(rows(DEFAULT), by_name("TDH.VP.WR"))] == ["tdh_vp_rd_wr"]
    assert {row.name for row in rows_of(rows(DEFAULT), by_name("TDH.VP.INIT"))} == {"tdh_vp_init", "tdh_vp_init_apicid"}
    assert not rows_of(rows(DEFAULT), by_name("TDH.SYS.INFO"))


BY_DEFAULT = ("1.5.05", "2.0.18")


@pytest.mark.parametrize("release", [
    pytest.param(release, id=release.name, marks=[] if release.name in BY_DEFAULT else [pytest.mark.slow]) for release in READ])
def test_what_is_kept_of_the_rows_is_what_the_rows_say(release):
    def unordered(found):
        return {row.name: row._replace(uses=frozenset(row.uses), uses_under_kvm=frozenset(row.uses_under_kvm)) for row in found}
    assert unordered(rows(release)) == unordered(kept_answers.read(release)), "make docs"
    assert {row.name for row in rows(release)} == {row.name for row in seamcalls(release)}


def test_what_is_kept_is_of_every_release_and_equal_ones_share_it():
    assert json.loads(KEPT.read_text())["releases"] == [release.name for release in READ]
    assert rows(BY_NAME["1.5.25"]) == rows(BY_NAME["1.5.24"])


def test_of_a_release_of_ones_own_the_rows_are_asked():
    own = find("1.5.34+promote_gives_way=interrupt or priority")
    interrupted = status("TDX_INTERRUPTED_BUSY")
    def promote(release):
        return next(row for row in rows(release) if row.name == "tdh_mem_page_promote").words
    assert interrupted in promote(own) and interrupted not in promote(BY_NAME["1.5.34"])


def test_every_answer_of_every_row_leads_back_to_it():
    ended: dict[int, set] = {}
    for release in READ:
        for row in rows(release):
            for word in row.words:
                ended.setdefault(word, set()).add((row.name, release.name))
    for word, there in ended.items():
        assert there <= {(giver.name, name) for giver in answers.givers(word) for name in giver.releases}, hex(word)


def test_who_gives_an_answer():
    assert names(answers.givers(status("TDX_GPA_RANGE_ALREADY_BLOCKED", "RCX"))) == {"tdh_mem_range_block"}
    assert names(answers.givers(status("TDX_PAGE_SIZE_MISMATCH", 1))) >= {"tdg_mem_page_accept"}
    assert names(answers.givers(status("TDX_SYS_LP_INIT_DONE"))) >= {"tdh_sys_lp_init"}
    assert not answers.givers(status("TDX_OPERAND_BUSY", 77))


@pytest.mark.parametrize("name, operand, gives", [
    ("TDX_OPERAND_BUSY", "R12", {"tdh_mem_page_demote"}),                    # with Dynamic PAMT only
    ("TDX_PAGE_NOT_FREE", "R13", {"tdh_mem_page_demote"}),
    ("TDX_KEY_GENERATION_FAILED", 0, {"tdh_mng_key_config", "tdh_sys_key_config"}),      # without entropy only
    ("TDX_RND_NO_ENTROPY", 0, {"tdh_sys_init", "tdh_sys_lp_init", "tdh_mng_create", "tdh_mng_add_cx", "tdh_export_state_immutable"}),
])
def test_who_gives_an_answer_that_takes_a_fault_or_dynamic_pamt(name, operand, gives):
    assert names(answers.givers(status(name, operand))) == gives


def test_no_call_is_said_once_more_to_give_what_a_row_of_it_gives():
    said = {(known_class(word)[0], by_name(row.name)) for release in READ for row in rows(release) for word in row.words}
    assert not said & {(STATUSES[name], by_name(call)) for name, calls in answers.MORE.items() for call in calls}


def test_a_module_that_is_shut_down_refuses_every_host_call():
    refused = names(answers.givers(status("TDX_SYS_SHUTDOWN")))
    assert refused == {row.name for release in READ for row in rows(release) if row.side == HOST}


def test_a_status_without_its_operand_is_that_of_all_that_give_it_with_one():
    bare = status("TDX_TLB_TRACKING_NOT_DONE")
    assert answers.operands(bare) == ["RCX", "SEPT_TREE"]
    assert names(answers.givers(bare)) == {name for operand in ("RCX", "SEPT_TREE")
                                           for name in names(answers.givers(status("TDX_TLB_TRACKING_NOT_DONE", operand)))}
    assert answers.operands(bare, by_name("tdh_mem_page_remove")) == ["RCX"]
    assert not answers.operands(status("TDX_OP_STATE_INCORRECT"))             # its low half is no operand


def test_a_state_in_the_low_half_does_not_change_who_gives_an_answer_and_an_operand_does():
    assert names(answers.givers(status("TDX_OP_STATE_INCORRECT", 4))) == names(answers.givers(status("TDX_OP_STATE_INCORRECT")))
    assert names(answers.givers(status("TDX_OPERAND_BUSY", "TD_EPOCH"))) == {"tdh_vp_enter", "tdh_mem_track"}


def test_an_answer_with_bit_61_is_an_imports():
    assert names(answers.givers(status("TDX_OPERAND_BUSY", "GPA_LIST_ENTRY") | 1 << 61)) == {
        "tdh_import_mem", "tdh_import_mem_cancel"}
    assert not names(answers.givers(TREE | 1 << 61)) & {"tdh_mem_page_aug", "tdh_vp_enter"}


def test_the_holders_of_a_lock_are_those_that_contention_has():
    for operand in ("RCX", "RDX", "R8", "TDR", "TD_EPOCH", "SEPT_TREE", "KOT"):
        for lock in answers.locks(operand, DEFAULT):
            pairs = {pair for each in contention.pairs(contention.conflicts(DEFAULT, lock.resource), lock.resource)
                     for pair in (each, each[::-1])}
            for holder in lock.exclusive + lock.shared:
                assert any((loser, holder) in pairs for loser in lock.losers)
            assert set(lock.under_kvm) <= set(lock.exclusive + lock.shared)


def test_who_may_hold_the_tree_against_a_removal():
    [lock] = answers.holders(TREE, DEFAULT, by_name("tdh_mem_page_remove"))
    assert lock.resource == "SEPT_TREE" and not lock.shared and lock.under_kvm == ("tdh_vp_enter",)
    assert set(lock.exclusive) == {"tdh_mem_range_block", "tdh_mem_range_unblock", "tdh_mem_sept_remove", "tdh_vp_enter"}
    [lock] = answers.holders(TREE, NEWER, by_name("tdh_mem_page_remove"))
    assert "tdh_vp_enter" not in lock.exclusive and not lock.under_kvm       # the entry filter takes it shared now


def test_a_running_vcpu_holds_its_tdvpr_until_it_exits():
    locks = {lock.resource: lock for lock in answers.holders(status("TDX_OPERAND_BUSY", "RCX"), DEFAULT, by_name("tdh_vp_flush"))}
    assert locks["TDVPR"].in_guest and "tdh_vp_enter" in locks["TDVPR"].shared
    assert not answers.holders(TREE, DEFAULT, by_name("tdh_mem_page_aug"))[0].in_guest


def test_only_busy_with_an_operand_is_about_a_lock():
    assert not answers.holders(status("TDX_PREVIOUS_TLB_EPOCH_BUSY"), DEFAULT)
    assert not answers.holders(status("TDX_OPERAND_BUSY", 0x77), DEFAULT)
    assert not answers.holders(status("TDX_EPT_WALK_FAILED", "RCX"), DEFAULT)


def test_the_sites_of_the_kernel_name_calls_that_there_are():
    for call in [call for site in SITES.values() for call in site.calls]:
        assert by_name(call).side == HOST and by_name(call).name.replace(".", "_") == call
    assert all(by_name(call).side == GUEST for call in GUEST_SITES)
    assert len({call for site in SITES.values() for call in site.calls}) == sum(len(site.calls) for site in SITES.values())


def test_every_call_that_kvm_makes_has_a_site_or_is_the_entry():
    from harness.protocol.kvm_locks import CONTEXTS, NOT_MADE
    handled = {by_name(call) for site in SITES.values() for call in site.calls} | {by_name("tdh_vp_enter")}
    # KVM 6.16 calls neither; the contexts have them for policies that do.
    unused = {by_name(call) for call in ("tdh_mem_sept_remove", "tdh_mem_range_unblock")}
    made = {by_name(call) for call in CONTEXTS if call.startswith("tdh")} - {by_name(call) for call in NOT_MADE}
    assert made - unused <= handled


def test_what_a_call_returns_is_of_a_kind_that_is_put_in_words():
    assert {register for kinds in leaves.RETURNS.values() for register in kinds} <= {"RCX", "RDX", "R8", "R9"}
