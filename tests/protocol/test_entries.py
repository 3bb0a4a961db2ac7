"""What calls make of an SEPT entry: which page counts, what is kept of it, and what a guest is answered."""

import pytest

from harness.memory.layout import PAMT_BEPOCH, TDVPS_TLB, TLB_ENTRIES
from harness.protocol.releases import BY_NAME, ENTRY
from kernels.epoch import epoch_word
from kernels.ops import Op, Register as R
from kernels.words import ENTRY_STATES, HPA_MASK, PT_EPT, PT_NDA, PT_REG, STATE, TDEL, TDHP, status_name
from tests.protocol.alone import Try, list_pages
from tests.protocol.order_lines import LOOK
from tests.protocol.test_orders import LINES, line_of
from tests.protocol.test_seamcalls import BECOMES, expected, locks_of
from tests.ready import caller, ready
from tests.stage import Stage

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


LOCKING = [(release, call) for release in ("1.5.05", "1.5.24", "1.5.34")
           for call in sorted({order.call for each, order, _ in LINES if each == release and " ENT" in order.take and "," not in order.call})]


@pytest.mark.parametrize("release, call", LOCKING)
def test_an_entry_that_a_call_has_locked_is_locked_for_all_until_it_is_given_back(release, call):
    """Also where it is written in between."""
    for level in [level for each, order, level in LINES if (each, order.call) == (release, call)]:
        tried = Try(release, call, level)
        actor, rows = tried.actor.begin(call, tried.begins_with, level), 0
        while actor.row.op != Op.CALL_END:
            for held in actor.row.held:
                if (held.resource, held.mode) == ("SEPT_ENTRY", "exclusive"):
                    rows += 1
                    assert tried.stage.memory.word(int(actor.registers[held.base]) + held.offset) & TDEL, actor
            actor.step()
        assert rows, level


CHANGES_MEANWHILE = [("tdh_mem_rd", 0), ("tdh_mem_wr", 0), ("tdg_mem_page_accept", 0), ("tdg_mem_page_accept", 1)]


@pytest.mark.parametrize("release", ["1.5.05", "1.5.24", "1.5.34"])
@pytest.mark.parametrize("call, level", CHANGES_MEANWHILE)
def test_the_state_that_counts_is_that_of_the_locked_entry(release, call, level):
    """Whatever the walk has found; but up to 1.5.25 ACCEPT knows from the walk whether the entry is a leaf."""
    order = next(order for each, order, at in LINES if (each, order.call, at) == (release, call, level))
    parts = line_of(release, order, level).parts
    locks = next(index for index, part in enumerate(parts) if part.token.startswith("ENT"))
    before = sum(len(part.accesses) for part in parts[:locks])
    for found in ("FREE", "PENDING") if call == "tdg_mem_page_accept" else ("MAPPED",):
        for state in (state.name for state in ENTRY_STATES if level or not state.name.startswith("NL_")):
            tried = Try(release, call, level)
            tried.stage.set_entry(tried.page, found, level)
            word = tried.stage.as_state(state, tried.page, level)
            assert tried.run({before: lambda: tried.set("ENTRY", word)})[1] == meanwhile(release, call, found, state, level), (found, state)


@pytest.mark.parametrize("release", ["1.5.05", "1.5.24", "1.5.34"])
@pytest.mark.parametrize("call, level", [("tdh_mem_rd", 0), ("tdh_mem_wr", 0)])
def test_a_large_page_that_is_split_behind_the_walk_is_not_read(release, call, level):
    for state in ("NL_MAPPED", "NL_BLOCKED"):
        stage = Stage(release=release)
        page = ready(stage, call, level)
        stage.map_page(page, "MAPPED", 1)
        actor = caller(stage, call).begin(call, page, level).before(Op.ENTRY_TAKE)
        stage.set_entry(page, state, 1)
        assert status_name(actor.finish()) == "TDX_EPT_ENTRY_STATE_INCORRECT|RCX", state


def meanwhile(release, call, found, state, level) -> str:
    """The answer where the walk has found the entry in one state and the lock in another."""
    if call != "tdg_mem_page_accept":
        return "TDX_SUCCESS" if state in BECOMES[call] else "TDX_EPT_ENTRY_STATE_INCORRECT|RCX"
    if BY_NAME[release].accept_leaf == ENTRY:
        return expected(call, state, level, release)
    if found == "FREE" and state != "FREE":
        return f"TDX_PAGE_SIZE_MISMATCH|level {level}"
    return expected(call, state, level, release) if STATE[state].leaf else "EXIT_REASON_EPT_VIOLATION"


@pytest.mark.parametrize("call", ["tdh_mem_page_remove"])
@pytest.mark.parametrize("release", ["1.5.05", "1.5.24", "1.5.34"])
def test_a_large_page_is_given_back_in_its_own_pamt_entry(release, call):
    stage, page = Stage(release=release), 512                    # not the first, of which a sum of nothing is right
    stage.map_page(page, "BLOCKED", 1)
    stage.set_word("epoch", epoch_word(5), width=64)
    assert status_name(stage.actor("host0").call(call, page, 1)) == "TDX_SUCCESS" and stage.type_of("data", 1, "2m") == PT_NDA


@pytest.mark.parametrize("call", ["tdh_vp_flush"])
@pytest.mark.parametrize("release", ["1.5.05", "1.5.24", "1.5.34"])
def test_translations_are_forgotten_where_a_vcpu_leaves_its_processor(release, call):
    tried = Try(release, call, 0)
    kept = [tried.stage.layout.at("tdvps") + TDVPS_TLB + 8 * index for index in range(TLB_ENTRIES)]
    for offset in kept:
        tried.stage.memory.set_word(offset, 1)
    assert tried.run()[1] == "TDX_SUCCESS" and not any(map(tried.stage.memory.word, kept))


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


LETS_IN = {"MAPPED": True, "EXP_DIRTY": True, "PENDING": None, "PEND_EXP_DIRTY": None}


@pytest.mark.parametrize("release", ["1.5.05", "1.5.24", "1.5.34"])
def test_of_every_state_a_listed_page_lets_the_vcpu_in_in_four(release):
    """Those with every access, and from 1.5.20 those that a guest may accept: not one that is blocked for writing, exported or not.

    Nor does a table that is blocked.
    """
    for state in (state for state in STATE if state != "NL_MAPPED" and not state.startswith("MMIO_")):
        stage = Stage(release=release)
        list_pages(stage, 3)
        stage.map_page(3)
        stage.set_entry(3, state, 1 if state == "NL_BLOCKED" else 0)
        fine = LETS_IN.get(state, False)
        lets_in = release != "1.5.05" if fine is None else fine
        answer = status_name(stage.actor("vcpu0").call("tdh_vp_enter"))
        assert answer == ("TDX_SUCCESS" if lets_in else "EXIT_REASON_EPT_VIOLATION"), state


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


# --- PROMOTE ---

@pytest.mark.parametrize("release", ["1.5.05", "1.5.24", "1.5.34"])
@pytest.mark.parametrize("call", ["tdh_mem_page_promote"])
def test_pages_are_merged_if_they_are_mapped_or_pending_all_of_them(release, call):
    """tdh_mem_page_promote.c: the first is looked at, the others must be like it."""
    for state in (state.name for state in ENTRY_STATES if state.leaf):
        stage = Stage(release=release)
        page = ready(stage, call, 1)
        for part in range(512):
            stage.set_entry(part, state)
        answer = status_name(caller(stage, call).call(call, page, 1))
        assert answer == ("TDX_SUCCESS" if state in ("MAPPED", "PENDING") else "TDX_EPT_INVALID_PROMOTE_CONDITIONS|RCX"), state
        assert locks_of(stage) == {}


# --- ACCEPT below a large page ---

ACCEPTED = ("MAPPED", "BLOCKEDW", "EXP_BLOCKEDW", "EXP_DIRTY", "EXP_DIRTY_BLOCKEDW")


@pytest.mark.parametrize("release", ["1.5.05", "1.5.24", "1.5.34"])
@pytest.mark.parametrize("level, above", [(0, 1), (0, 2), (1, 2)])
@pytest.mark.parametrize("call", ["tdg_mem_page_accept"])
def test_accept_below_a_large_page_says_at_which_level_it_is_accepted(release, call, level, above):
    for state in (state for state in STATE.values() if state.leaf and not state.name.startswith("MMIO")):
        stage = Stage(release=release)
        stage.map_page(0, state.name, above)
        answer = status_name(caller(stage, call).call(call, 512 if level else 5, level))
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


# --- ACCEPT of what is accepted ---

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
