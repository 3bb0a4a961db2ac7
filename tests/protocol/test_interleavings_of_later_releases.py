"""Interleavings worked out from the module's releases of 2025 and 2026, with every word and every status.

N1 ... N28 number them as S1 ... S30 of test_interleavings; what a release does otherwise stands beside it.  N10, N19,
N20, N22, N23, N25 and N27 are of migration (test_migration), N14, N15 and N24 of services and devices (test_services).
"""

import pytest

from harness.memory.layout import PAMT_COUNT, SYS_READY, SYS_SHUTDOWN
from harness.protocol.releases import CHECKED_SWAP, ENTRY, LOOK_ADD, LOOK_SET, NOTHING, PRIORITY, READ, STORE
from kernels import locks
from kernels.compiling import for_python
from kernels.ops import Op, Register as R
from kernels.words import (
    OP_STATE_MEMORY_IMPORT, PT_NDA, PT_REG, PT_TDVPR, STATE, TDEL, TDHP, signed, status, status_name,
)
from tests.protocol.test_interleavings import BUSY, BUSY_ENTRY, BUSY_TREE, DONE, PRIORITY as ASKED
from tests.ready import migration, ready, tracked
from tests.by_release import DIFFER
from tests.stage import Stage

G = 3
LAST = 511                       # of its 2 MiB: a list of pages ends there
SUCCESS = 0
EVERY = tuple(release.name for release in READ)
BUSY_PAGE, BUSY_NEW_PAGE = status("TDX_OPERAND_BUSY", "RCX"), status("TDX_OPERAND_BUSY", "R8")
MISSING = status("TDX_MISSING_PAMT_PAGE_PAIR", "R8")


def those(condition) -> list[str]:
    found = [release.name for release in READ if condition(release)]
    assert found and len(found) < len(READ)              # the condition tells releases apart
    return found


def in_releases(names):
    return pytest.mark.parametrize("release", names)


LOOKS_FIRST, SETS_FIRST = those(lambda each: each.guest_entry == LOOK_SET), those(lambda each: each.guest_entry != LOOK_SET)
# A stage with Dynamic PAMT takes long to write: of most releases when slow.
DYNAMIC = [pytest.param(name, marks=[] if name in ("1.5.24", "1.5.34") else pytest.mark.slow)
           for name in those(lambda each: each.dynamic_pamt)]


@pytest.fixture(params=["cas", "bts"])
def primitive(request):
    return request.param


@pytest.fixture
def stage(primitive, release):
    return Stage(primitive=primitive, release=release)


@pytest.fixture
def dynamic(primitive, release):
    return Stage(primitive=primitive, release=release, dynamic_pamt=True)


def refused_for_priority(stage: Stage, guest) -> bool:
    return stage.program.answers[guest.registers[R.ANSWER]].name.startswith("TDX_OPERAND_BUSY_HOST_PRIORITY")


# --- the guest and an entry ---

@in_releases(LOOKS_FIRST)
def test_n1_a_guest_that_has_looked_before_the_host_asked_takes_the_entry_over_its_head(stage):
    stage.map_page(G, "PENDING")
    late, first, host = stage.actor("vcpu0"), stage.actor("vcpu1"), stage.actor("host0")
    first.begin("tdg_mem_page_accept", G).through(Op.ENTRY_TAKE)
    late.begin("tdg_mem_page_accept", G).through(Op.ENTRY_SEE_PRIORITY)
    assert host.call("tdh_mem_range_block", G) == BUSY_ENTRY
    assert stage.entry(G) == stage.as_state("PENDING", G, lock=True, priority=True)
    assert first.finish() == SUCCESS
    assert stage.entry(G) == stage.as_state("MAPPED", G, priority=True)
    late.through(Op.ENTRY_TAKE)
    assert stage.entry(G) == stage.as_state("MAPPED", G, lock=True, priority=True)
    assert host.call("tdh_mem_range_block", G) == BUSY_ENTRY
    assert late.finish() == status("TDX_PAGE_ALREADY_ACCEPTED", 0)
    assert stage.entry(G) == stage.as_state("MAPPED", G, priority=True)
    assert late.call("tdg_mem_page_accept", G) == BUSY_ENTRY         # once only
    assert host.call("tdh_mem_range_block", G) == SUCCESS
    assert stage.entry(G) == stage.as_state("BLOCKED", G)


@in_releases(SETS_FIRST)
def test_n1_before_that_it_sees_the_request_behind_its_own_take_and_gives_back(stage):
    stage.map_page(G, "MAPPED")
    stage.set_entry(G, "MAPPED", priority=True)
    guest, host = stage.actor("vcpu0"), stage.actor("host0")
    guest.begin("tdg_mem_page_accept", G).through(Op.ENTRY_TAKE)
    assert stage.entry(G) == stage.as_state("MAPPED", G, lock=True, priority=True)
    assert guest.finish() == BUSY_ENTRY and refused_for_priority(stage, guest)
    assert host.call("tdh_mem_range_block", G) == SUCCESS


@in_releases(LOOKS_FIRST)
def test_n2_refused_guests_leave_the_word_alone_and_the_host_wins_at_every_point(stage):
    asked = stage.as_state("PENDING", G, priority=True)
    for guests in range(3):
        stage.map_page(G, "PENDING")
        stage.set_entry(G, "PENDING", priority=True)
        for number in range(guests):
            guest = stage.actor(f"vcpu{number}").begin("tdg_mem_page_accept", G)
            guest.through(Op.ENTRY_SEE_PRIORITY)
            assert stage.entry(G) == asked
        assert stage.actor("host0").call("tdh_mem_range_block", G) == SUCCESS
        for number in range(guests):
            assert stage.actor(f"vcpu{number}").finish() == BUSY_ENTRY
        assert stage.entry(G) == stage.as_state("PEND_BLOCKED", G)


@in_releases(SETS_FIRST)
def test_n2_before_that_a_refused_guest_holds_the_entry_for_a_moment_in_which_the_host_loses(stage):
    stage.map_page(G, "PENDING")
    stage.set_entry(G, "PENDING", priority=True)
    guest = stage.actor("vcpu0").begin("tdg_mem_page_accept", G).through(Op.ENTRY_TAKE)
    assert stage.actor("host0").call("tdh_mem_range_block", G) == BUSY_ENTRY
    assert guest.finish() == BUSY_ENTRY and refused_for_priority(stage, guest)


@in_releases(EVERY)
def test_n3_an_entry_that_is_held_and_asked_for_refuses_a_guest_in_one_way_or_the_other(stage):
    looks_first = stage.release.guest_entry == LOOK_SET
    stage.map_page(G, "PENDING")
    stage.set_entry(G, "PENDING", lock=True, priority=True)
    guest = stage.actor("vcpu0")
    assert guest.call("tdg_mem_page_accept", G) == BUSY_ENTRY        # the guest gets the same answer
    assert refused_for_priority(stage, guest) == looks_first
    stage.overdue = 1
    again = guest.call("tdg_mem_page_accept", G)
    assert again == (status("TDX_HOST_PRIORITY_BUSY_TIMEOUT") if looks_first else BUSY_ENTRY)
    assert stage.entry(G) == stage.as_state("PENDING", G, lock=True, priority=True)


@in_releases(EVERY)
def test_n4_a_page_added_behind_accepts_walk_is_accepted_if_the_entry_itself_is_asked(stage):
    stage.build_tables(G)
    guest = stage.actor("vcpu0").begin("tdg_mem_page_accept", G).through(Op.WALK, 3)
    assert stage.actor("host0").call("tdh_mem_page_aug", G) == SUCCESS
    assert stage.entry(G) == stage.as_state("PENDING", G)
    asks_entry = stage.release.accept_leaf == ENTRY
    assert guest.finish() == (SUCCESS if asks_entry else status("TDX_PAGE_SIZE_MISMATCH", 0))
    assert stage.entry(G) == stage.as_state("MAPPED" if asks_entry else "PENDING", G)


# --- a guest and a sharex_hp lock ---

def report(stage: Stage, name: str):
    """A vCPU that is about to take the RTMR lock shared; no other lock is in its way."""
    return stage.actor(name).begin("tdg_mr_report")


def word_of(stage: Stage) -> int:
    return stage.word("rtmr_lock")


def host_takes(stage: Stage, step, *expected):
    """A step of a host on the RTMR lock: (outcome, word after)."""
    place = stage.memory.base + stage.layout.at("rtmr_lock")
    assert (for_python(step)(place), word_of(stage)) == expected


@in_releases(those(lambda each: each.guest_shared == LOOK_ADD))
def test_n5_a_guest_that_looks_first_cannot_make_the_counter_underflow(stage):
    host_takes(stage, locks.hp_take_exclusive, DONE, 1)
    host_takes(stage, locks.hp_take_shared, BUSY, 5)
    host_takes(stage, locks.hp_request, DONE, 7)
    guest = report(stage, "vcpu0")
    assert guest.finish() == status("TDX_OPERAND_BUSY", "RTMR") and refused_for_priority(stage, guest)
    assert word_of(stage) == 7
    host_takes(stage, locks.hp_drop_exclusive, DONE, 2)
    host_takes(stage, locks.hp_take_shared, ASKED, 6)
    host_takes(stage, locks.hp_clear, DONE, 4)
    host_takes(stage, locks.hp_drop_shared, DONE, 0)


@in_releases(those(lambda each: each.guest_shared == LOOK_ADD))
def test_n6_a_guest_that_has_looked_before_the_host_asked_reads_over_its_head(stage):
    host_takes(stage, locks.hp_take_exclusive, DONE, 1)
    guest = report(stage, "vcpu0").before(Op.ADD)        # it has looked: no priority
    host_takes(stage, locks.hp_take_shared, BUSY, 5)
    host_takes(stage, locks.hp_request, DONE, 7)
    host_takes(stage, locks.hp_drop_exclusive, DONE, 2)
    guest.through(Op.ADD)
    assert word_of(stage) == 6
    guest.through(Op.TEST)
    host_takes(stage, locks.hp_take_shared, ASKED, 0xA)
    host_takes(stage, locks.hp_clear, DONE, 8)
    assert guest.finish() == SUCCESS and word_of(stage) == 4


@in_releases(those(lambda each: each.guest_shared == LOOK_ADD))
def test_n7_a_guest_that_finds_the_lock_held_leaves_its_count_until_the_release(stage):
    host_takes(stage, locks.hp_take_exclusive, DONE, 1)
    guest = report(stage, "vcpu0")
    assert guest.finish() == status("TDX_OPERAND_BUSY", "RTMR") and not refused_for_priority(stage, guest)
    assert word_of(stage) == 5
    host_takes(stage, locks.hp_drop_exclusive, DONE, 0)
    host_takes(stage, locks.hp_take_exclusive, DONE, 1)


@in_releases(EVERY)
def test_n24_a_service_td_that_meets_a_hosts_request_on_op_state_exits_and_a_plain_busy_it_is_told(stage):
    ready(stage, "tdg_servtd_rd", 0)
    guest, place = stage.actor("vcpu0"), stage.layout.at("op_state_lock")
    stage.memory.set_word(place, 2, 16)                  # stale: a host asked, and went away
    assert guest.call("tdg_servtd_rd") == status("TDX_CROSS_TD_TRAP")
    assert stage.memory.word(place, 16) == 2
    stage.memory.set_word(place, 1, 16)
    assert guest.call("tdg_servtd_rd") == status("TDX_OPERAND_BUSY", "OP_STATE")
    assert stage.memory.word(place, 16) == 5


# --- large pages ---

def large(stage: Stage, state="BLOCKED") -> None:
    """A blocked page of 2 MiB, tracked, and a new SEPT page for its parts."""
    stage.map_page(0, state, level=1)
    tracked(stage)


@in_releases(those(lambda each: each.tree == "hp"))
def test_n8_demote_gives_way_to_a_host_that_wants_the_tree_or_not(stage):
    large(stage)
    demote, block = stage.actor("host0"), stage.actor("host1")
    demote.begin("tdh_mem_page_demote", 0, 1).through(Op.ENTRY_TAKE)
    assert stage.word("secure_ept_lock") == 4
    assert block.call("tdh_mem_range_block", 0, 1) == BUSY_TREE
    assert stage.word("secure_ept_lock") == 6
    if stage.release.demote_gives_way == PRIORITY:
        assert demote.finish() == status("TDX_INTERRUPTED_BUSY")
        assert stage.entry(0, 1) == stage.as_state("BLOCKED", 0, 1)
    else:
        assert stage.release.demote_gives_way == NOTHING and demote.finish() == SUCCESS
        assert stage.entry(0, 1) == stage.as_state("NL_MAPPED", 0, 1)
    assert stage.word("secure_ept_lock") == 2
    assert block.call("tdh_mem_range_block", 0, 1) in (SUCCESS, status("TDX_GPA_RANGE_ALREADY_BLOCKED", "RCX"))
    assert stage.word("secure_ept_lock") == 0


@in_releases(EVERY)
@pytest.mark.parametrize("state, part", [("BLOCKED", "MAPPED"), ("PEND_BLOCKED", "PENDING")])
def test_n9_demote_copies_a_losers_priority_into_all_parts(stage, state, part):
    large(stage, state)
    demote, other, guest = stage.actor("host0"), stage.actor("host1"), stage.actor("vcpu0")
    demote.begin("tdh_mem_page_demote", 0, 1).through(Op.ENTRY_CLEAR_PRIORITY)
    assert other.call("tdh_mem_page_aug", 0, 1) == BUSY_ENTRY
    assert stage.entry(0, 1) == stage.as_state(state, 0, 1, lock=True, priority=True)
    assert demote.finish() == SUCCESS
    assert all(stage.entry(page) == stage.as_state(part, page, priority=True) for page in range(512))
    kept = stage.release.entry_write != STORE
    assert stage.entry(0, 1) == stage.as_state("NL_MAPPED", 0, 1, priority=kept)
    assert guest.call("tdg_mem_page_accept", G) == BUSY_ENTRY and refused_for_priority(stage, guest)
    assert other.call("tdh_mem_sept_rd", G) == SUCCESS               # a host that takes the part clears it
    assert stage.entry(G) == stage.as_state(part, G)


@in_releases(EVERY)
def test_n18_promote_meets_a_part_that_a_guest_holds(stage):
    page = ready(stage, "tdh_mem_page_promote", 1)
    stage.set_entry(page + 7, "MAPPED", lock=True)
    answer = stage.actor("host0").call("tdh_mem_page_promote", page, 1)
    locked = stage.release.promote_children
    assert answer == (BUSY_ENTRY if locked else status("TDX_EPT_INVALID_PROMOTE_CONDITIONS", "RCX"))
    assert stage.entry(page + 7) == stage.as_state("MAPPED", page + 7, lock=True, priority=locked)


# --- Dynamic PAMT ---

def node(stage: Stage) -> int:
    """The lock word of the 2M entry above the data pages."""
    return stage.word("pamt_2m.data")


def until_node(stage: Stage, actor, word: int):
    """Steps of an actor until the 2M entry's lock word is so."""
    for _ in range(200):
        if node(stage) == word:
            return actor
        actor.step()
    raise AssertionError(f"never {word:#x}")


def paired(stage: Stage, pairs: bool) -> None:
    stage.memory.take_pairs()
    stage.build_tables(G)
    stage.memory.give_pairs(data=pairs)


@in_releases(DYNAMIC)
def test_n11_pamt_add_beside_aug_in_the_same_2_mib(dynamic):
    paired(dynamic, True)
    aug, add = dynamic.actor("host0"), dynamic.actor("host1")
    until_node(dynamic, aug.begin("tdh_mem_page_aug", G), 4)
    until_node(dynamic, add.begin("tdh_phymem_pamt_add", 0, 1), 8)
    assert add.finish() == BUSY_PAGE and node(dynamic) == 6
    assert aug.finish() == SUCCESS and node(dynamic) == 2            # stale
    assert add.call("tdh_phymem_pamt_add", 0, 1) == status("TDX_HPA_RANGE_NOT_FREE", "RCX") and node(dynamic) == 0


@in_releases(DYNAMIC)
def test_n12_two_augs_without_a_pair_make_each_other_busy(dynamic):
    paired(dynamic, False)
    a, b = dynamic.actor("host0"), dynamic.actor("host1")
    until_node(dynamic, a.begin("tdh_mem_page_aug", G), 4)
    until_node(dynamic, b.begin("tdh_mem_page_aug", G + 1), 8)
    assert a.finish() == BUSY_NEW_PAGE and node(dynamic) == 6
    assert b.finish() == MISSING and node(dynamic) == 0


@in_releases(DYNAMIC)
def test_n13_pamt_remove_beside_aug(dynamic):
    paired(dynamic, True)
    remove, aug = dynamic.actor("host0"), dynamic.actor("host1")
    until_node(dynamic, remove.begin("tdh_phymem_pamt_remove", 0, 1), 1)
    assert aug.call("tdh_mem_page_aug", G) == BUSY_NEW_PAGE and node(dynamic) == 7
    assert remove.finish() == SUCCESS and node(dynamic) == 2
    assert aug.call("tdh_mem_page_aug", G) == MISSING and node(dynamic) == 0


@in_releases(DYNAMIC)
def test_n13b_a_running_vcpu_keeps_the_pair_around_its_tdvpr(dynamic):
    vcpu, host, layout = dynamic.actor("vcpu0"), dynamic.actor("host0"), dynamic.layout
    word = layout.at("pamt_2m.control")

    def remove() -> int:
        host.begin("tdh_phymem_pamt_remove", 0, 1)
        for register, size in ((R.TARGET_4K, "4k"), (R.TARGET_2M, "2m"), (R.TARGET_1G, "1g")):
            host.registers[register] = layout.at(f"pamt_{size}.control")
        return host.finish()

    assert vcpu.call("tdh_vp_enter") == SUCCESS
    for _ in range(2):
        assert remove() == BUSY_PAGE and dynamic.memory.word(word, 16) == 6
    vcpu.leave_guest()
    assert dynamic.memory.word(word, 16) == 2
    assert remove() == status("TDX_PAMT_PAGE_NOT_EMPTY", 0) and dynamic.memory.word(word, 16) == 0
    assert dynamic.type_of("control", 1) == PT_TDVPR


@in_releases(DYNAMIC)
def test_n13c_a_pair_from_inside_the_page_that_is_demoted_is_busy_at_every_try(dynamic):
    dynamic.memory.take_pairs()
    large(dynamic)
    dynamic.memory.give_pairs()
    host, layout = dynamic.actor("host0"), dynamic.layout
    for _ in range(3):
        host.begin("tdh_mem_page_demote", 0, 1)
        for register, size, index in ((R.PAIR0_4K, "4k", 8), (R.PAIR0_2M, "2m", 0), (R.PAIR0_1G, "1g", 0)):
            host.registers[register] = layout.at(f"pamt_{size}.data", index)
        assert host.finish() == status("TDX_OPERAND_BUSY", "R12") and node(dynamic) == 2
    assert dynamic.entry(0, 1) == dynamic.as_state("BLOCKED", 0, 1)


@in_releases(DYNAMIC)
def test_n21_a_page_that_an_import_takes_back_stays_counted_and_shuts_the_module_down_up_to_1_5_25(dynamic):
    paired(dynamic, True)
    migration(dynamic, OP_STATE_MEMORY_IMPORT, epoch=3)
    dynamic.build_tables(LAST)
    dynamic.map_page(LAST, "MAPPED")
    host, place = dynamic.actor("host0"), dynamic.layout.at("pamt_2m.data")
    dynamic.memory.set_word(place + PAMT_COUNT, 1, 16)               # the page
    assert host.call("tdh_import_mem_cancel", LAST) == SUCCESS
    assert dynamic.entry(LAST) == STATE["REMOVED"].word()
    counted = dynamic.memory.word(place + PAMT_COUNT, 16)
    host.begin("tdh_phymem_pamt_remove", 0, 1)
    for _ in range(20_000):
        if not host.registers[R.PC] or host.row.op == Op.CALL_END:
            break
        host.step()
    if dynamic.release.cancel_counts:
        assert counted == 0 and host.status == SUCCESS
    else:
        assert counted == 1 and not host.registers[R.PC] and node(dynamic) == 1      # halted, with the lock


# --- how the new word is written ---

@in_releases(those(lambda each: each.entry_write != STORE))
@pytest.mark.parametrize("wrong", ["lock bit", "state"])
def test_n16_a_word_that_has_changed_besides_priority_is_overwritten_or_halts_the_module(stage, wrong):
    stage.build_tables(G)
    host = stage.actor("host0").begin("tdh_mem_page_aug", G).before(Op.ENTRY_REPLACE)
    place = stage.layout.at("sept.0", G)
    stage.memory.set_word(place, stage.memory.word(place) ^ (TDEL if wrong == "lock bit" else 1 << 53))
    host.through(Op.ENTRY_REPLACE)
    halted = not host.registers[R.PC]
    assert halted == (stage.release.entry_write == CHECKED_SWAP)
    if not halted:
        assert stage.entry(G) == stage.as_state("PENDING", G)


@in_releases(those(lambda each: each.counters))
def test_n17_blocked_pages_are_counted_before_or_after_the_entry_says_so(stage):
    stage.map_page(G)
    tracked(stage)
    host, place = stage.actor("host0"), stage.layout.at("blocked_count")

    def counted() -> int:
        return signed(stage.memory.word(place))

    host.begin("tdh_mem_range_block", G).before(Op.ENTRY_REPLACE)
    assert counted() == 1 and stage.entry(G) == stage.as_state("MAPPED", G, lock=True)
    assert host.finish() == SUCCESS and counted() == 1
    host.call("tdh_mem_track")
    host.begin("tdh_mem_range_unblock", G).through(Op.ENTRY_REPLACE)
    assert counted() == 1 and stage.entry(G) == stage.as_state("MAPPED", G)
    assert host.finish() == SUCCESS and counted() == 0
    host.call("tdh_mem_range_block", G)
    host.call("tdh_mem_track")
    host.begin("tdh_mem_page_remove", G).before(Op.ENTRY_REPLACE)
    assert counted() == 0 and stage.entry(G) == stage.as_state("BLOCKED", G, lock=True)
    assert host.finish() == SUCCESS and counted() == 0


# --- AUG, half done ---

def aug_until_the_entry_is_there(stage: Stage):
    aug = stage.actor("host0").begin("tdh_mem_page_aug", G)
    for _ in range(200):
        if stage.entry(G) & ~TDHP == stage.as_state("PENDING", G):
            return aug
        aug.step()
    raise AssertionError("never PENDING")


def run(actor) -> str:
    """An actor to the end of its call: its answer, or HALT."""
    for _ in range(20_000):
        if actor.step() == Op.CALL_END:
            return status_name(actor.status)
        if not actor.registers[R.PC]:
            return "HALT"
    raise AssertionError("does not end")


@in_releases(EVERY)
@pytest.mark.parametrize("call", ["tdh_mem_page_remove", "tdh_mem_page_relocate"])
def test_n28_whoever_takes_an_entry_that_aug_has_let_go_of_finds_its_page_nobodys_and_halts(stage, call):
    stage.build_tables(G)
    aug, other = aug_until_the_entry_is_there(stage), stage.actor("host1")
    assert stage.type_of("data", G) == PT_NDA
    assert run(other.begin(call, G)) == "HALT"
    assert stage.word("pamt_4k.data", G) == 1 and stage.entry(G) & TDEL and aug.registers[R.PC]


@in_releases(EVERY)
def test_n28_an_access_later_it_is_busy_on_the_page_and_an_access_earlier_on_the_entry(stage):
    stage.build_tables(G)
    aug, other = aug_until_the_entry_is_there(stage), stage.actor("host1")
    while stage.type_of("data", G) != PT_REG:
        aug.step()
    assert other.call("tdh_mem_page_remove", G) == BUSY_PAGE and stage.word("pamt_4k.data", G) == 3
    assert aug.finish() == SUCCESS and stage.word("pamt_4k.data", G) == 2
    assert other.call("tdh_mem_page_remove", G) == status("TDX_GPA_RANGE_NOT_BLOCKED", "RCX")


@in_releases(EVERY)
def test_n28_before_the_entry_is_written_remove_stops_at_it(stage):
    stage.build_tables(G)
    aug, other = stage.actor("host0").begin("tdh_mem_page_aug", G), stage.actor("host1")
    aug.before(Op.STORE if stage.release.entry_write == STORE else Op.ENTRY_REPLACE)
    assert other.call("tdh_mem_page_remove", G) == BUSY_ENTRY
    assert stage.entry(G) == STATE["FREE"].word(lock=True, priority=True)
    assert aug.finish() == SUCCESS
    assert stage.entry(G) == stage.as_state("PENDING", G, priority=stage.release.entry_write != STORE)


# --- who is inside the module ---

@pytest.mark.parametrize("release", [pytest.param(name, marks=[] if name in DIFFER else [pytest.mark.slow]) for name in EVERY])
def test_n26_a_shutdown_that_finds_somebody_inside_is_taken_back_and_has_disturbed_others(primitive, release):
    stage = Stage(primitive=primitive, release=release, inside=True)
    shutting, other, third = stage.actor("host0"), stage.actor("host1"), stage.actor("host2")
    stage.map_page(G)
    stage.set_word("sys_state", SYS_READY, width=64)
    other.begin("tdh_mem_sept_rd", G).through(Op.ENTRY_TAKE)
    shutting.begin("tdh_sys_shutdown")
    while stage.word("sys_state", width=64) != SYS_SHUTDOWN:
        shutting.step()
    assert stage.word("global_lock") == 1
    assert third.call("tdh_mem_sept_rd", G) == status("TDX_SYS_SHUTDOWN") == 0xC000_0506_0000_0000     # though nobody shuts it down
    assert shutting.finish() == status("TDX_SYS_BUSY") and stage.word("global_lock") == 0
    assert stage.word("sys_state", width=64) == SYS_READY
    assert other.finish() == SUCCESS and third.call("tdh_mem_sept_rd", G) == SUCCESS
    assert shutting.call("tdh_sys_shutdown") == SUCCESS and stage.word("sys_state", width=64) == SYS_SHUTDOWN
    assert other.call("tdh_mem_sept_rd", G) == status("TDX_SYS_SHUTDOWN")


@in_releases(EVERY)
def test_n26_a_processor_in_a_guest_is_inside_until_its_td_exit(primitive, release):
    stage = Stage(primitive=primitive, release=release, inside=True)
    vcpu, host = stage.actor("vcpu0"), stage.actor("host0")
    stage.set_word("sys_state", SYS_READY, width=64)
    assert vcpu.call("tdh_vp_enter") == SUCCESS
    assert host.call("tdh_sys_shutdown") == status("TDX_SYS_BUSY")
    vcpu.leave_guest()
    assert host.call("tdh_sys_shutdown") == SUCCESS
