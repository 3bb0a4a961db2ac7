"""When a call is allowed at all: op_states, lifecycle states, entry states while the TD cannot run, entropy."""

import pytest

from harness.memory.layout import PAMT_BEPOCH
from harness.protocol.seamcall_abi import Faults
from harness.protocol.releases import BY_NAME
from harness.protocol.seamcalls import by_name, seamcalls
from kernels.epoch import epoch_word
from kernels.words import (
        OP_STATE_START_EXPORT, PT_EPT, PT_REG, STATE, TD_KEYS_CONFIGURED, TDCS_PAGES, TDCS_PAGES_MAX, TDVPS_PAGES, TDVPS_PAGES_MAX, status_name,
)
from tests.accesses import recorded
from tests.protocol.alone import Try
from tests.protocol.test_orders import LINES, line_of
from tests.protocol.test_seamcalls import LEAVES, locks_of
from tests.ready import caller, levels, ready
from tests.stage import Stage

# --- op_states ---

# op_state_lookup.c, by call: UNINITIALIZED 0, INITIALIZED 1, RUNNABLE 2, LIVE_EXPORT 3, PAUSED_EXPORT 4, POST_EXPORT 5,
# MEMORY_IMPORT 6, STATE_IMPORT 7, POST_IMPORT 8, LIVE_IMPORT 9, FAILED_IMPORT 10.  From 1.5.24 on START_IMPORT 11, in which
# none of these is allowed; from 1.5.34 on START_EXPORT 12, which is as RUNNABLE.
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
STATES_OF = {"1.5.05": range(11), "1.5.24": range(12), "1.5.34": range(13)}
MODELLED = (0, 1, 2, 3, 9, 12)   # those of a TD of which nothing is on its way to or from another machine
WITHOUT = {"tdh_mng_create", "tdh_mng_add_cx", "tdh_mng_key_config", "tdh_mng_vpflushdone", "tdh_mng_key_freeid",
           "tdh_vp_flush"}       # they look at the lifecycle


def allowed_in(release: str, call: str) -> list[int]:
    """The op_states of a release in which a call is allowed."""
    allowed = [int(word) for word in OP_STATES[call].split()]
    return allowed + [OP_STATE_START_EXPORT] * (2 in allowed and OP_STATE_START_EXPORT in STATES_OF[release])


def test_every_call_that_looks_at_the_op_state_is_in_the_table():
    looks = {order.call for release, order, level in LINES if " OPS/" in f" {order.take}"}
    assert {call.partition(",")[0] for call in looks} == set(OP_STATES)


@pytest.mark.parametrize("call", OP_STATES)
@pytest.mark.parametrize("release", ["1.5.05", "1.5.24", "1.5.34"])
def test_a_call_is_allowed_in_the_op_states_of_the_modules_table(release, call):
    allowed = allowed_in(release, call)
    row = by_name(BY_NAME[release])[call]
    for op_state in STATES_OF[release]:
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
            (TDCS_PAGES - 1, 0, "TDX_SUCCESS"), (TDCS_PAGES - 1, 2, "TDX_SUCCESS"),
            *((pages, 0, "TDX_SUCCESS") for pages in range(TDCS_PAGES, TDCS_PAGES_MAX)),
            *((TDCS_PAGES, op_state, "TDX_OP_STATE_INCORRECT") for op_state in STATES_OF[release][1:]),
            *((pages, 2, "TDX_OP_STATE_INCORRECT") for pages in range(TDCS_PAGES, TDCS_PAGES_MAX)),
            (TDCS_PAGES_MAX, 0, "TDX_TDCX_NUM_INCORRECT"), (255, 0, "TDX_TDCX_NUM_INCORRECT")]:
        tried = Try(release, call, "tdcx")
        tried.stage.set_lifecycle(TD_KEYS_CONFIGURED, tdcx=pages)
        tried.set("op_state", op_state)
        assert tried.run()[1].startswith(wanted), (pages, op_state)


@pytest.mark.parametrize("call", ["tdh_vp_enter", "tdh_vp_init", "tdh_vp_init_apicid", "tdh_vp_rd_wr"])
@pytest.mark.parametrize("release", ["1.5.05", "1.5.24", "1.5.34"])
def test_a_vcpu_needs_its_tdcx_pages_and_may_have_those_of_l2_vms(release, call):
    """MIN_TDVPS_PAGES, MAX_TDVPS_PAGES: the TDVPR is one of them."""
    for pages in range(TDVPS_PAGES_MAX):
        tried = Try(release, call, 0)
        tried.set("tdcx", pages)
        assert (tried.run()[1] == "TDX_SUCCESS") == (pages >= TDVPS_PAGES - 1), pages


@pytest.mark.parametrize("call, level", [("tdh_mem_page_remove", 0), ("tdh_mem_page_remove", 1)])
@pytest.mark.parametrize("release", ["1.5.05", "1.5.24", "1.5.34"])
def test_a_page_that_is_removed_while_its_td_is_imported_leaves_a_mark(release, call, level):
    """From MEMORY_IMPORT to LIVE_IMPORT; what was removed then is not imported again by mistake.  tdh_mem_page_remove.c"""
    for op_state in allowed_in(release, call):
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
MAY_RUN = (2, 3, 9, OP_STATE_START_EXPORT)
TRACKING = [("tdh_mem_page_remove", 0), ("tdh_mem_page_remove", 1), ("tdh_mem_sept_remove", 1), ("tdh_mem_sept_remove", 2),
            ("tdh_mem_page_promote", 1), ("tdh_mem_page_demote", 1), ("tdh_mem_page_relocate", 0), ("tdh_mem_range_unblock", 0)]


@pytest.mark.parametrize("call, level", TRACKING)
@pytest.mark.parametrize("release", ["1.5.05", "1.5.24", "1.5.34"])
def test_tracking_is_asked_for_while_the_td_may_run(release, call, level):
    for op_state in allowed_in(release, call):
        tried = Try(release, call, level)
        tried.set("op_state", op_state)
        tried.stage.set_word("epoch", epoch_word(0), width=64)       # no epoch has passed since the BLOCK
        answer = tried.run()[1]
        assert answer.startswith("TDX_TLB_TRACKING_NOT_DONE" if op_state in MAY_RUN else "TDX_SUCCESS"), (op_state, answer)


@pytest.mark.parametrize("call, level", TRACKING)
@pytest.mark.parametrize("release", ["1.5.05", "1.5.24", "1.5.34"])
def test_a_call_that_asks_for_tracking_leaves_the_epoch_as_it_is(release, call, level):
    """Also where the compare-and-swap that reads it with its counts succeeds."""
    for word in (0, 1, epoch_word(5)):
        tried = Try(release, call, level)
        tried.stage.set_word("epoch", word, width=64)
        tried.run()
        assert tried.stage.word("epoch", width=64) == word


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

BLOCKED_COUNTS = ("blocked_count", "pending_blocked_count")     # from 1.5.34 on, in pages of 4 KiB
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
            for word in BLOCKED_COUNTS:
                stage.set_word(word, 1 << 20, width=64)
            assert status_name(stage.actor("host0").call(call, page, level)) == "TDX_SUCCESS", state
            fewer = [(1 << 20) - stage.word(word, width=64) for word in BLOCKED_COUNTS]
            size = 512 ** level * (release == "1.5.34")
            assert fewer == [size * (state in ("NL_BLOCKED", "BLOCKED")), size * (state == "PEND_BLOCKED")], state
            word = stage.as_state(after, page, level)
            if call == "tdh_mem_page_relocate":
                word = STATE[after].word(stage.layout.hpa("data", stage.layout.pages), access=stage.release.access)
            assert stage.entry(page, level) == word, state
            if call == "tdh_mem_page_demote":
                parts = {"MAPPED": "MAPPED", "PENDING": "PENDING"}.get(state) or UNBLOCKED[state]
                assert [stage.entry(part) for part in (0, 511)] == [stage.as_state(parts, part) for part in (0, 511)]


# --- entropy ---

NO_ENTROPY = Faults(no_entropy_share=1.0)
DRAWS = {
    # call: answer, how many of its accesses come before
    "tdh_mng_create": ("TDX_RND_NO_ENTROPY", "?kot"),
    "tdh_mng_add_cx": ("TDX_RND_NO_ENTROPY", "F.PAGE/EX"),
    "tdh_mng_key_config": ("TDX_KEY_GENERATION_FAILED", "KET"),
}


@pytest.mark.parametrize("call", DRAWS)
@pytest.mark.parametrize("release", [name if name in ("1.5.05", "1.5.24", "2.0.18") else pytest.param(name, marks=pytest.mark.slow)
                                     for name in BY_NAME if name != "report-2024"])
def test_a_call_that_draws_no_random_number_gives_back_what_it_has_and_writes_nothing(release, call):
    answer, behind = DRAWS[call]
    for given, order, level in LINES:
        if order.call != call or given != release:
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


def test_calls_are_those_of_the_tables():
    names = {row.name for row in seamcalls()}
    assert set(OP_STATES) | WITHOUT <= names and set(DRAWS) <= names and not set(OP_STATES) & WITHOUT
