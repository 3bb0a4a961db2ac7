"""Live migration: lists of pages entry by entry, streams, phases; what one busy entry ends, and what it only notes."""

import pytest

from harness.memory.layout import MIGSC_INITIALIZED, PAMT_BEPOCH, PAMT_TYPE, STREAMS
from harness.protocol.phrases.imports import NO_NEW_PAGE, NOT_NOW, PAGE_BUSY
from harness.protocol.phrases.locking import INTERRUPT
from harness.protocol.phrases.migration import (
    BLOCK_WRITING, DONE, ENTRY_BUSY, ENTRY_STATE, EXPORT, NOT_TRACKED, RESTORE, THIS_EPOCH, WALK_FAILED,
)
from harness.protocol.releases import RELEASES
from harness.protocol.seamcalls import seamcalls
from kernels.epoch import epoch_word
from kernels.ops import Op, Register as R
from kernels.words import (
    ENTRY_STATES, HP, OP_STATE_FAILED_IMPORT, OP_STATE_LIVE_EXPORT, OP_STATE_LIVE_IMPORT, OP_STATE_MEMORY_IMPORT,
    OP_STATE_PAUSED_EXPORT, OP_STATE_POST_EXPORT, OP_STATE_POST_IMPORT, OP_STATE_RUNNABLE, OP_STATE_START_EXPORT,
    OP_STATE_START_IMPORT, OP_STATE_UNINITIALIZED, PT_NDA, PT_REG, STATE, TDEL, TDHP, TDX_FATAL, status, status_name,
)
from tests.protocol.test_seamcalls import list_of, locks_of
from tests.ready import PAGE, migration, ready
from tests.by_release import DIFFER
from tests.stage import Stage

pytestmark = pytest.mark.usefixtures("both_primitives")
NAMES = [release.name for release in RELEASES if not release.report_only]
# One of each kind: plain stores, both writes and priority on the tree, checked writes, the count elsewhere.
KINDS = ("1.5.05", "1.5.20", "1.5.28", "1.5.34")
ALL = [state.name for state in ENTRY_STATES]


def start(call: str, release="1.5.05", op_state: int | None = None, **keys) -> tuple[Stage, object]:
    stage = Stage(release=release, owners=True, **keys)
    ready(stage, call, 0)
    if op_state is not None:
        stage.set_word("op_state", op_state, width=64)
    return stage, stage.actor("host0")


def noted(stage: Stage, actor) -> list[int]:
    return [stage.memory.word(list_of(stage, actor) + number, 8) for number in range(2)]


def outcome(stage: Stage, actor, call: str) -> tuple[str, list[int]]:
    """The answer, and what is noted of the two entries; the number of those that are wrong is checked."""
    answer = actor.call(call, PAGE)
    codes = noted(stage, actor)
    if answer < 3:
        assert answer == sum(code != DONE for code in codes) * stage.release.list_count_in_rax
        return "gone through", codes
    return status_name(answer), codes


# --- lists: every state, in every phase ---

def after(transitions) -> dict[str, str]:
    return {before: state for states, state in transitions for before in states}


CLEAN, WRITABLE = ("EXP_BLOCKEDW", "PEND_EXP_BLOCKEDW"), ("MAPPED", "EXP_DIRTY", "PENDING", "PEND_EXP_DIRTY")
EXPORTED = {**after(EXPORT)}
LISTS = [
    ("tdh_export_blockw", OP_STATE_LIVE_EXPORT, after(BLOCK_WRITING)),
    ("tdh_export_restore", OP_STATE_RUNNABLE,
     {before: state for before, state in after(RESTORE).items() if "EXP" in before}),
    ("tdh_export_mem", OP_STATE_LIVE_EXPORT,
     {before: state for before, state in EXPORTED.items() if before not in CLEAN + WRITABLE}),
    ("tdh_export_mem", OP_STATE_PAUSED_EXPORT,
     {before: state for before, state in EXPORTED.items() if before not in CLEAN}),
    ("tdh_export_mem", OP_STATE_POST_EXPORT, EXPORTED),
    ("tdh_import_mem", OP_STATE_MEMORY_IMPORT, dict.fromkeys(("FREE", "REMOVED", "MAPPED", "PENDING"), "MAPPED")),
    ("tdh_import_mem", OP_STATE_POST_IMPORT, dict.fromkeys(("FREE", "REMOVED"), "MAPPED")),
    ("tdh_import_mem_cancel", OP_STATE_MEMORY_IMPORT, dict.fromkeys(("MAPPED", "PENDING"), "REMOVED")),
]


@pytest.mark.parametrize("release", KINDS)
@pytest.mark.parametrize("call, op_state, becomes", LISTS, ids=[f"{call}-{op_state}" for call, op_state, _ in LISTS])
def test_each_state_has_one_outcome_in_a_list(call, op_state, becomes, release):
    for state in ALL:
        stage, actor = start(call, release, op_state)
        stage.set_entry(PAGE, state)
        if STATE[state].leaf:
            stage.set_type("data", PAGE, PT_REG)
        answer, codes = outcome(stage, actor, call)
        imports = op_state == OP_STATE_MEMORY_IMPORT
        if state in becomes:
            assert (answer, codes[0]) == ("gone through", DONE), state
            assert stage.entry(PAGE) == stage.as_state(becomes[state], PAGE), state
        else:
            over = "TDX_EPT_ENTRY_STATE_INCORRECT|GPA_LIST_ENTRY|FATAL"
            assert (answer, codes[0]) == (over if imports else "gone through", ENTRY_STATE), state
            assert stage.entry(PAGE) == stage.as_state(state, PAGE), state
            assert (stage.word("op_state", width=64) == OP_STATE_FAILED_IMPORT) == imports
        assert locks_of(stage) == {}


def test_every_call_about_a_list_is_here():
    assert {row.name for row in seamcalls() if any(hasattr(phrase, "_one") for phrase in row.phrases)} == {
        call for call, _, _ in LISTS}


@pytest.mark.parametrize("call", ["tdh_export_blockw", "tdh_export_restore", "tdh_export_mem"])
def test_an_export_notes_an_entry_that_is_busy_and_goes_on_with_the_next(call):
    for busy in (PAGE, PAGE + 1):
        stage, actor = start(call)
        before = stage.entry(busy)
        stage.memory.set_word(stage.layout.at("sept.0", busy), before | TDEL)
        _, codes = outcome(stage, actor, call)
        assert codes[busy - PAGE] == ENTRY_BUSY and codes[PAGE + 1 - busy] == DONE
        assert stage.entry(busy) == before | TDEL | TDHP             # and asks for host priority
    stage, actor = start(call)
    stage.set_entry(PAGE, "NL_BLOCKED", 1)
    assert outcome(stage, actor, call) == ("gone through", [WALK_FAILED] * 2)
    assert locks_of(stage) == {}


def test_the_last_page_of_a_table_is_a_list_of_its_own():
    stage, actor = start("tdh_export_blockw")
    stage.map_page(511)
    stage.map_page(512)
    assert actor.call("tdh_export_blockw", 511) == 0
    assert stage.entry(511) == stage.as_state("BLOCKEDW", 511) and stage.entry(512) == stage.as_state("MAPPED", 512)


def test_a_page_is_exported_only_when_no_tlb_lets_it_be_written():
    stage, actor = start("tdh_export_blockw")
    stage.set_word("epoch", epoch_word(5, odd=1), width=64)          # a vCPU of epoch 5 is inside
    assert outcome(stage, actor, "tdh_export_blockw") == ("gone through", [DONE] * 2)
    assert stage.word("bw_epoch", width=64) == 5
    assert outcome(stage, actor, "tdh_export_mem") == ("gone through", [NOT_TRACKED] * 2)
    assert actor.call("tdh_mem_track") == 0
    assert outcome(stage, actor, "tdh_export_mem") == ("gone through", [NOT_TRACKED] * 2)
    stage.set_word("epoch", epoch_word(6), width=64)                 # it has left
    assert outcome(stage, actor, "tdh_export_mem") == ("gone through", [DONE] * 2)
    assert stage.word("mig_count", width=64) == 11 and stage.word("dirty_count", width=64) == 9


@pytest.mark.parametrize("release", [pytest.param(name, marks=[] if name in DIFFER else [pytest.mark.slow]) for name in NAMES])
def test_a_list_gives_way_between_two_entries(release):
    for call in ("tdh_export_blockw", "tdh_export_mem", "tdh_import_mem", "tdh_import_mem_cancel"):
        stage, actor = start(call, release)
        second = stage.entry(PAGE + 1)
        stage.set_word("host_interrupt", INTERRUPT, width=64)
        assert actor.call(call, PAGE) == status("TDX_INTERRUPTED_RESUMABLE")
        assert noted(stage, actor) == [DONE, 0] and stage.entry(PAGE + 1) == second and locks_of(stage) == {}


@pytest.mark.parametrize("release", NAMES)
def test_n10_a_reader_of_the_tree_takes_back_what_a_block_has_asked_for(release):
    """From 1.5.20 a list looks for host priority on the tree; a reader that came in between has cleared it."""
    for reader in (False, True):
        stage, actor = start("tdh_export_blockw", release)
        if stage.release.tree != "hp":
            return
        other = stage.actor("host1")
        actor.begin("tdh_export_blockw", PAGE).before(Op.ENTRY_DROP)
        assert stage.word("secure_ept_lock") == 4
        stage.map_page(9)
        assert other.call("tdh_mem_range_block", 9) == status("TDX_OPERAND_BUSY", "SEPT_TREE")
        assert stage.word("secure_ept_lock") == 4 | HP
        if reader:
            assert other.call("tdh_mem_sept_rd", 9) == 0
            assert stage.word("secure_ept_lock") == 4
        assert status_name(actor.finish()) == ("TDX_SUCCESS" if reader else "TDX_INTERRUPTED_BUSY")
        assert stage.word("secure_ept_lock") == (0 if reader else HP)      # left on: BLOCK takes it with 2 -> 1
        assert other.call("tdh_mem_range_block", 9) == 0 and stage.word("secure_ept_lock") == 0


# --- import ---

@pytest.mark.parametrize("op_state, over", [(OP_STATE_MEMORY_IMPORT, True), (OP_STATE_POST_IMPORT, False),
                                            (OP_STATE_LIVE_IMPORT, False)])
@pytest.mark.parametrize("release", KINDS)
def test_n19_a_look_at_an_entry_ends_a_migration_in_the_in_order_phase(release, op_state, over):
    stage, importing = start("tdh_import_mem", release, op_state)
    reading = stage.actor("host1").begin("tdh_mem_sept_rd", PAGE).through(Op.ENTRY_TAKE).through(Op.ENTRY_CLEAR_PRIORITY)
    assert stage.entry(PAGE) == STATE["FREE"].word(lock=True)
    answer, codes = outcome(stage, importing, "tdh_import_mem")
    assert codes == [ENTRY_BUSY, 0 if over else DONE]
    assert stage.entry(PAGE) == STATE["FREE"].word(lock=True, priority=True)
    assert answer == ("TDX_OPERAND_BUSY|GPA_LIST_ENTRY|FATAL" if over else "gone through")
    assert reading.finish() == 0 and locks_of(stage) == {f"sept.0[{PAGE}]": STATE["FREE"].word(priority=True)}
    wrong = status("TDX_OP_STATE_INCORRECT", 10 if stage.release.op_state_status else 0)
    assert (importing.call("tdh_import_mem", PAGE + 3) == wrong) == over


def test_n20_a_new_page_whose_pamt_is_busy_ends_it_too():
    stage, importing = start("tdh_import_mem")
    stage.set_word("pamt_2m.data", 1)
    answer = importing.call("tdh_import_mem", PAGE)
    assert answer == status("TDX_OPERAND_BUSY", "NEW_PAGE_LIST_ENTRY") | TDX_FATAL == 0xA000_0200_0000_0063
    assert noted(stage, importing) == [NO_NEW_PAGE, 0]
    stage.set_word("pamt_2m.data", 0)
    assert locks_of(stage) == {} and stage.entry(PAGE) == STATE["FREE"].word()


def test_two_streams_fail_one_after_the_other():
    """op_state is written under its lock in shared mode: the other stream goes on, and notes what was to end it."""
    stage, first = start("tdh_import_mem")
    second = stage.actor("host1")
    first.begin("tdh_import_mem", PAGE).before(Op.ENTRY_TAKE)
    stage.set_type("data", PAGE + 5, PT_REG)             # the second's new page is not free
    assert second.call("tdh_import_mem", PAGE + 5) == status("TDX_PAGE_METADATA_INCORRECT", "NEW_PAGE_LIST_ENTRY") | TDX_FATAL
    stage.set_entry(PAGE, "FREE", lock=True)
    assert first.finish() == 1 and noted(stage, first) == [ENTRY_BUSY, DONE]


@pytest.mark.parametrize("release", KINDS)
def test_n25_an_import_writes_the_entry_twice(release):
    stage, importing = start("tdh_import_mem", release)
    importing.begin("tdh_import_mem", PAGE).through(Op.HP_DROP_EXCLUSIVE)
    while stage.entry(PAGE) == STATE["FREE"].word(lock=True):
        importing.step()
    assert stage.entry(PAGE) == stage.as_state("BLOCKED", PAGE, lock=True)
    assert stage.actor("host1").call("tdh_mem_sept_rd", PAGE) == status("TDX_OPERAND_BUSY", "RCX")
    while stage.entry(PAGE) & TDEL:
        importing.step()
    kept = stage.release.entry_write in ("swap", "checked swap")     # a plain store loses it, a late one too
    assert importing.finish() == 0
    assert stage.entry(PAGE) == stage.as_state("MAPPED", PAGE, priority=kept)


def test_a_page_is_imported_once_in_an_epoch():
    stage, importing = start("tdh_import_mem")
    assert importing.call("tdh_import_mem", PAGE) == 0
    assert stage.memory.word(stage.layout.at("pamt_4k.data", PAGE) + PAMT_BEPOCH) == 3
    assert stage.memory.word(stage.layout.at("pamt_4k.data", PAGE) + PAMT_TYPE, 8) == PT_REG
    assert importing.call("tdh_import_track") == 0
    assert importing.call("tdh_import_mem", PAGE) == 0               # in the next one again
    assert importing.call("tdh_import_mem", PAGE) == status("TDX_MIGRATED_IN_CURRENT_EPOCH", "GPA_LIST_ENTRY") | TDX_FATAL
    assert noted(stage, importing)[0] == THIS_EPOCH and stage.word("op_state", width=64) == OP_STATE_FAILED_IMPORT
    assert locks_of(stage) == {}


# --- pages that are taken back ---

def owned(stage: Stage, page: int) -> int:
    return stage.memory.word(stage.layout.at("pamt_4k.data", page) + PAMT_TYPE, 8)


@pytest.mark.parametrize("release", KINDS)
def test_a_page_that_is_taken_back_is_nobodys_and_its_entry_removed(release):
    stage, importing = start("tdh_import_mem_cancel", release)
    for word in ("chldcnt", "mem_count"):
        stage.set_word(word, 9, width=64)
    assert importing.call("tdh_import_mem_cancel", PAGE) == 0 and noted(stage, importing) == [DONE] * 2
    assert [stage.entry(page) for page in (PAGE, PAGE + 1)] == [STATE["REMOVED"].word()] * 2
    assert [owned(stage, page) for page in (PAGE, PAGE + 1)] == [PT_NDA] * 2 and locks_of(stage) == {}
    assert (stage.word("chldcnt", width=64), stage.word("mem_count", width=64)) == (7, 7 if stage.release.counters else 9)
    assert importing.call("tdh_import_track") == 0
    assert importing.call("tdh_import_mem", PAGE) == 0               # and may come again


def test_a_page_that_came_in_this_epoch_is_not_taken_back():
    stage, importing = start("tdh_import_mem")
    assert importing.call("tdh_import_mem", PAGE) == 0
    same = status("TDX_MIGRATED_IN_CURRENT_EPOCH", "GPA_LIST_ENTRY") | TDX_FATAL
    assert importing.call("tdh_import_mem_cancel", PAGE) == same and noted(stage, importing)[0] == THIS_EPOCH
    assert stage.word("op_state", width=64) == OP_STATE_FAILED_IMPORT and locks_of(stage) == {}
    assert stage.entry(PAGE) == stage.as_state("MAPPED", PAGE) and owned(stage, PAGE) == PT_REG


def test_a_page_whose_pamt_is_busy_ends_the_session_when_it_is_taken_back():
    stage, importing = start("tdh_import_mem_cancel")
    place = stage.layout.at("pamt_4k.data", PAGE)
    stage.memory.set_word(place, 1, 16)                              # RDMD of it holds it shared, RECLAIM exclusively
    assert importing.call("tdh_import_mem_cancel", PAGE) == status("TDX_OPERAND_BUSY", "GPA_LIST_ENTRY") | TDX_FATAL
    assert noted(stage, importing) == [PAGE_BUSY, 0] and stage.memory.word(place, 16) == 1 | HP
    assert stage.word("op_state", width=64) == OP_STATE_FAILED_IMPORT
    assert stage.entry(PAGE) == stage.as_state("MAPPED", PAGE)


@pytest.mark.parametrize("op_state, becomes, fatal", [
    (OP_STATE_POST_IMPORT, OP_STATE_FAILED_IMPORT, TDX_FATAL), (OP_STATE_LIVE_IMPORT, OP_STATE_RUNNABLE, 0)])
@pytest.mark.parametrize("release", KINDS)
def test_nothing_is_taken_back_in_the_out_of_order_phase(release, op_state, becomes, fatal):
    stage, importing = start("tdh_import_mem_cancel", release, op_state)
    carried = op_state if stage.release.op_state_status else 0
    assert importing.call("tdh_import_mem_cancel", PAGE) == status("TDX_OP_STATE_INCORRECT", carried) | fatal
    assert noted(stage, importing) == [NOT_NOW, 0] and stage.word("op_state", width=64) == becomes
    assert stage.entry(PAGE) == stage.as_state("MAPPED", PAGE) and locks_of(stage) == {}


# --- streams ---

def test_two_calls_on_one_stream_exclude_each_other_and_two_streams_do_not():
    stage, first = start("tdh_export_mem")
    stage.map_page(PAGE + 5, "BLOCKEDW")
    second = stage.actor("host1")
    first.begin("tdh_export_mem", PAGE).through(Op.MUTEX_TAKE)
    assert second.call("tdh_export_mem", PAGE + 2) == status("TDX_OPERAND_BUSY", "MIGSC")
    assert second.call("tdh_export_mem", PAGE + 5) in (0, 1, 2)
    assert first.finish() == 0 and locks_of(stage) == {}


def test_n27_the_lock_of_the_migration_context_is_never_what_is_busy():
    stage, tracking = start("tdh_export_track")
    ready(stage, "tdh_export_mem", 0)
    exporting = stage.actor("host1")
    tracking.begin("tdh_export_track").through(Op.SHAREX_TAKE_EXCLUSIVE)
    assert exporting.call("tdh_export_mem", PAGE) == status("TDX_OPERAND_BUSY", "OP_STATE")
    assert stage.word("op_state_lock") == 7
    assert tracking.finish() == 0
    exporting.begin("tdh_export_mem", PAGE).through(Op.SHAREX_TAKE_SHARED)
    assert tracking.call("tdh_export_track") == status("TDX_OPERAND_BUSY", "OP_STATE")
    assert exporting.finish() == 0


def test_streams_are_made_one_by_one_until_there_is_no_room():
    stage = Stage(owners=True)
    actor = stage.actor("host0")
    for number in range(STREAMS):
        stage.set_type("tdcx", number, PT_NDA)
        assert actor.call("tdh_mig_stream_create", number, "tdcx") == 0
        assert stage.word("num_migs", width=64) == number + 1
    stage.set_type("tdcx", 0, PT_NDA)
    assert actor.call("tdh_mig_stream_create", 0, "tdcx") == status("TDX_MAX_MIGS_NUM_EXCEEDED")
    stage.set_word("num_migs", 1, width=64)
    assert actor.call("tdh_export_state_immutable") == status("TDX_MIN_MIGS_NOT_CREATED")
    assert locks_of(stage) == {}


# --- phases ---

def test_n23_a_stream_that_is_made_makes_an_entry_busy():
    stage = Stage(owners=True)
    page = ready(stage, "tdh_mig_stream_create", "tdcx")
    host, vcpu = stage.actor("host0"), stage.actor("vcpu0")
    host.begin("tdh_mig_stream_create", page, "tdcx").through(Op.SHAREX_TAKE_EXCLUSIVE)
    assert stage.word("op_state_lock") == 1
    assert vcpu.call("tdh_vp_enter") == status("TDX_OPERAND_BUSY", "OP_STATE")
    assert stage.word("op_state_lock") == 7
    assert host.finish() == 0 and stage.word("op_state_lock") == HP
    assert vcpu.call("tdh_vp_enter") == 0 and stage.word("op_state_lock") == 0


def test_n22_a_pause_is_refused_for_as_long_as_one_vcpu_is_inside():
    stage, host = start("tdh_export_pause")
    one, two = stage.actor("vcpu0"), stage.actor("vcpu1")
    busy = status("TDX_OPERAND_BUSY", "RCX")
    assert one.call("tdh_vp_enter") == 0 and host.call("tdh_export_pause") == busy
    assert stage.word("pamt_4k.control", 0) == 4 | HP
    assert two.call("tdh_vp_enter") == 0 and stage.word("pamt_4k.control", 0) == 8    # the wish is gone
    one.leave_guest()
    assert host.call("tdh_export_pause") == busy
    two.leave_guest()
    assert stage.word("pamt_4k.control", 0) == HP
    epoch = stage.word("epoch", width=64)
    assert host.call("tdh_export_pause") == 0 and stage.word("pamt_4k.control", 0) == 0
    assert stage.word("epoch", width=64) >> 32 == (epoch >> 32) + 1
    assert stage.word("op_state", width=64) == OP_STATE_PAUSED_EXPORT


@pytest.mark.parametrize("release", KINDS)
def test_a_td_is_exported_from_beginning_to_end(release):
    stage = Stage(release=release, owners=True)
    migration(stage, OP_STATE_RUNNABLE)
    stage.set_word("mig_count", 0, width=64)
    stage.map_page(PAGE)
    stage.map_page(PAGE + 1)
    host, vcpu = stage.actor("host0"), stage.actor("vcpu0")
    for call in ("tdh_export_state_immutable", "tdh_export_blockw", "tdh_mem_track", "tdh_export_mem", "tdh_export_track",
                 "tdh_export_pause", "tdh_export_state_td"):
        assert status_name(host.call(call, PAGE)) == "TDX_SUCCESS", call
    for number in range(2):
        assert stage.actor(f"vcpu{number}").call("tdh_export_state_vp") == 0
    stage.set_word("dirty_count", 1, width=64)
    assert host.call("tdh_export_track") == status("TDX_EXPORTED_DIRTY_PAGES_REMAIN")
    stage.set_word("dirty_count", 0, width=64)
    assert host.call("tdh_export_track") == 0 and stage.word("op_state", width=64) == OP_STATE_POST_EXPORT
    assert stage.word("mig_count", width=64) == 2
    assert status_name(vcpu.call("tdh_vp_enter")).startswith("TDX_OP_STATE_INCORRECT")
    assert host.call("tdh_export_abort") == 0                        # and back
    assert [stage.word("migsc", number, width=16) for number in range(STREAMS)] == [0] * STREAMS
    assert host.call("tdh_export_state_immutable") == status("TDX_PREVIOUS_EXPORT_CLEANUP_INCOMPLETE")
    assert host.call("tdh_export_restore", PAGE) == 0 and stage.word("mig_count", width=64) == 0
    assert stage.entry(PAGE) == stage.as_state("MAPPED", PAGE)
    assert host.call("tdh_export_state_immutable") == 0
    assert locks_of(stage) == {}


def test_a_td_is_imported_from_beginning_to_end():
    stage = Stage(owners=True)
    migration(stage, OP_STATE_UNINITIALIZED)
    stage.build_tables(PAGE)
    host = stage.actor("host0")
    for call in ("tdh_import_state_immutable", "tdh_import_mem", "tdh_import_track", "tdh_import_state_td"):
        assert status_name(host.call(call, PAGE)) == "TDX_SUCCESS", call
    vcpu = stage.actor("vcpu0")
    failed = status("TDX_VCPU_STATE_INCORRECT") | TDX_FATAL          # it is not a new one: the session is over
    assert vcpu.call("tdh_import_state_vp") == failed
    migration(stage, None)
    stage.set_word("op_state", 7, width=64)
    ready(stage, "tdh_import_state_vp", 0)
    assert vcpu.call("tdh_import_state_vp") == 0
    for call in ("tdh_import_track", "tdh_import_commit", "tdh_import_end"):
        assert host.call(call) == 0, call
    assert stage.word("op_state", width=64) == OP_STATE_RUNNABLE and vcpu.call("tdh_vp_enter") == 0


@pytest.mark.parametrize("call, state", [("tdh_export_state_immutable", OP_STATE_START_EXPORT),
                                         ("tdh_import_state_immutable", OP_STATE_START_IMPORT)])
@pytest.mark.parametrize("release", KINDS)
def test_a_session_that_is_interrupted_as_it_begins_has_a_state_of_its_own_in_later_releases(release, call, state):
    stage, host = start(call, release)
    before = stage.word("op_state", width=64)
    stage.set_word("host_interrupt", INTERRUPT, width=64)
    assert host.call(call) == status("TDX_INTERRUPTED_RESUMABLE")
    assert stage.word("op_state", width=64) == (state if stage.release.op_states > state else before)
    assert locks_of(stage) == {}
    if stage.release.op_states > state:
        stage.set_word("host_interrupt", 0, width=64)
        assert host.call(call) == 0


def test_a_stream_that_was_not_used_in_the_session_is_refused():
    for call in ("tdh_export_track", "tdh_export_state_td", "tdh_import_track", "tdh_import_state_td"):
        stage, host = start(call)
        stage.memory.set_word(stage.layout.at("migsc") + MIGSC_INITIALIZED, 0, 8)
        assert host.call(call) == status("TDX_MIGRATION_STREAM_STATE_INCORRECT")
        assert locks_of(stage) == {}


def test_two_halts():
    stage, host = start("tdh_export_pause")
    stage.set_word("epoch", epoch_word(5, odd=1), width=64)          # a vCPU is counted though the TDR is free
    host.begin("tdh_export_pause")
    with pytest.raises(AssertionError):
        host.finish()
    stage, host = start("tdh_export_restore")
    stage.set_word("mig_count", 0, width=64)
    host.begin("tdh_export_restore", PAGE)
    with pytest.raises(AssertionError):
        host.finish()
    assert host.registers[R.PC] == 0


# --- Dynamic PAMT ---

@pytest.mark.parametrize("release", ["1.5.24", "1.5.34"])
def test_an_import_without_a_pair_stops_and_two_of_them_end_the_session(release):
    """N20: what is harmless alone, resumable, makes the other one BUSY; and that is the end in the in-order phase."""
    stage, first = start("tdh_import_mem", release, dynamic_pamt=True)
    stage.set_type("data", 0, PT_NDA, "2m")              # the pair is taken away
    assert first.call("tdh_import_mem", PAGE) == status("TDX_INTERRUPTED_PAMT", 0)
    assert noted(stage, first) == [0, 0] and stage.word("op_state", width=64) == OP_STATE_MEMORY_IMPORT
    assert locks_of(stage) == {}
    second = stage.actor("host1")
    first.begin("tdh_import_mem", PAGE).before(Op.HP_PROMOTE)
    assert stage.word("pamt_2m.data") == 4
    assert second.call("tdh_import_mem", PAGE + 1) == 0xA000_0200_0000_0063
    assert stage.word("pamt_2m.data") == 4 | HP
    assert first.finish() == status("TDX_INTERRUPTED_PAMT", 0) and stage.word("pamt_2m.data") == 0
    assert stage.word("op_state", width=64) == OP_STATE_FAILED_IMPORT
