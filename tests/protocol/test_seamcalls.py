"""The calls, alone: what they write, what they answer, and that a failure leaves nothing behind."""


import numpy as np
import pytest

from harness.memory.layout import (
    PAMT_BEPOCH, PAMT_LOCK, PAMT_TYPE, TDR_READY, TDR_TDCX, TDVPS_EPOCH, TDVPS_LP, TDVPS_STATE,
    TDVPS_STEPPING,
)
from harness.protocol.phrases.guests import Accept, ReadAttributes, WriteAttributes
from harness.protocol.phrases.locking import Entry, WalkToLeaf
from harness.protocol.phrases.migration import ENTRY_BUSY
from harness.protocol.seamcalls import held_by, seamcalls
from harness.protocol.releases import BY_NAME as RELEASE, RELEASES
from kernels import stepping
from kernels.epoch import epoch_word
from kernels.locks import PRIMITIVES
from kernels.ops import OP_TABLE, Op, Price, Register as R
from kernels.words import (
    ANY_BLOCKED, ENTRY_STATES, EXIT_REASON_EPT_VIOLATION, GUEST_ACCESSIBLE, HP, PT_EPT, PT_NDA, PT_REG, STATE,
    TD_HKID_ASSIGNED, TDCS_PAGES, TDEL, TDHP, TDVPS_PAGES, VCPU_ACTIVE, VCPU_READY, state_of, status, status_name,
)
from tests.by_release import by_release
from tests.ready import PAGE, caller, levels, ready
from tests.stage import Stage

SUCCESS = 0
PAIRED = ("1.5.24", "1.5.34")    # releases with every call made with Dynamic PAMT too
SUCCEEDS = {"tdh_import_abort": "TDX_SUCCESS|FATAL"}         # the others: TDX_SUCCESS
ROWS = [(release.name, row, level) for release in RELEASES for row in seamcalls(release) for level in levels(row)]
IDS = [f"{release}-{row.name}-{level}" for release, row, level in ROWS]


def stages(release: str, row, **options):
    """Where a call can be made: without and with Dynamic PAMT."""
    only = row.name.startswith("tdh_phymem_pamt")
    for dynamic_pamt in (True,) if only else (False, True) if release in PAIRED else (False,):
        yield Stage(release=release, dynamic_pamt=dynamic_pamt, **options)

# Ops that are one locked read-modify-write in the module, to count them (facts: "cost").
LOCKED = {info.op for info in OP_TABLE if info.price == Price.LOCKED}


@pytest.mark.parametrize("release, row, level", by_release(ROWS, IDS))
def test_every_call_succeeds_where_it_should_and_holds_nothing_after(release, row, level):
    for stage in (stage for primitive in PRIMITIVES for stage in stages(release, row, primitive=primitive, owners=True)):
        page = ready(stage, row.name, level)
        actor = caller(stage, row.name)
        assert status_name(actor.call(row.name, page, level)) == SUCCEEDS.get(row.name, "TDX_SUCCESS")
        if row.keeps:
            held = {"shared": 4, "exclusive": 1}
            assert stage.word("pamt_4k.control", 0) == 4          # TDR shared by the running vCPU
            assert stage.word("pamt_4k.control", 1) == held[stage.release.enter_tdvpr]
            actor.leave_guest()
        assert locks_of(stage) == {}


def locks_of(stage: Stage, ignore=0) -> dict[str, int]:
    """Every lock word of the TD that is not free, by name."""
    found = {}
    for region in stage.layout.regions:
        if region.name.startswith("pamt_"):
            locks = stage.memory.view(region.name, np.uint16)[:, PAMT_LOCK // 2] & ~np.uint16(ignore)
            found |= {f"{region.name}[{index}]": int(locks[index]) for index in locks.nonzero()[0]}
    for name in ("op_state_lock", "secure_ept_lock", "epoch_lock", "kot_lock", "mig_lock", "rtmr_lock",
                 "servtd_bindings_lock", "service_op_state_lock", "global_lock"):
        if word := stage.word(name) & ~ignore:
            found[name] = word
    for name in ("ket", "wbt", "migsc", "tdmr", "mmiomt", "devifcs", "iommu"):
        for index in range(stage.layout.by_name[name].count):
            if word := stage.word(name, index, width=8):
                found[f"{name}[{index}]"] = word
    for level in range(3):
        words = stage.memory.view(f"sept.{level}")
        for index in (words & (TDEL | (0 if ignore else TDHP))).nonzero()[0]:
            found[f"sept.{level}[{index}]"] = int(words[index])
    return found


# Locked accesses of an uncontended success, counted in the module's source.  TRACK and REMOVE read
# the epoch and its counts by CMPXCHG16B there, by a compare-and-swap here.
@pytest.mark.parametrize("call, locked", [
    ("tdh_mem_page_aug", 19), ("tdh_mem_range_block", 13), ("tdh_mem_page_remove", 16),
    ("tdh_mem_track", 10), ("tdh_mem_sept_add", 20), ("tdg_mem_page_accept", 2), ("tdh_vp_enter", 11),
])
def test_locked_accesses_are_as_many_as_the_modules(stage, call, locked):
    level = 1 if call == "tdh_mem_sept_add" else 0
    page = ready(stage, call, level)
    actor = caller(stage, call).begin(call, page, level)
    count = 0
    while actor.row.op != Op.CALL_END:
        count += actor.row.op in LOCKED
        actor.step()
    assert actor.status == SUCCESS
    assert count == locked        # tdh_vp_enter: 10, and one more for a new association


def test_an_exit_takes_five_locked_accesses(stage):
    actor = stage.actor("vcpu0")
    actor.call("tdh_vp_enter")
    actor.registers[R.PC] = stage.program.labels["td_exit"]
    count = 0
    while actor.row.op != Op.GO:
        count += actor.row.op in LOCKED
        actor.step()
    assert count == 5


def test_aug_makes_the_page_pending_and_the_tds():
    stage = Stage()
    stage.build_tables(PAGE)
    stage.memory.set_word(stage.layout.at("pamt_4k.data", PAGE) + PAMT_BEPOCH, 77)
    assert stage.actor("host0").call("tdh_mem_page_aug", PAGE) == SUCCESS
    assert stage.entry(PAGE) == stage.as_state("PENDING", PAGE)
    place = stage.layout.at("pamt_4k.data", PAGE)
    assert stage.memory.word(place + PAMT_TYPE, 8) == PT_REG
    assert stage.memory.word(place + PAMT_BEPOCH) == 0
    assert stage.word("chldcnt", width=64) == control_pages(stage) + 1


def control_pages(stage: Stage) -> int:
    """TDCX pages of the TD, TDVPR and TDCX pages of its vCPUs."""
    return TDCS_PAGES + stage.layout.vcpus * TDVPS_PAGES


def test_sept_add_builds_the_tree_level_by_level():
    stage = Stage()
    host = stage.actor("host0")
    walk_failed = status("TDX_EPT_WALK_FAILED", "RCX")
    assert host.call("tdh_mem_page_aug", PAGE) == walk_failed
    assert host.call("tdh_mem_sept_add", PAGE, 1) == walk_failed
    assert host.call("tdh_mem_sept_add", PAGE, 2) == SUCCESS
    assert host.call("tdh_mem_page_aug", PAGE) == walk_failed
    assert host.call("tdh_mem_sept_add", PAGE, 1) == SUCCESS
    assert stage.entry(PAGE, 1) == stage.as_state("NL_MAPPED", PAGE, 1)
    assert stage.memory.word(stage.layout.at("pamt_4k.pt_pages") + PAMT_TYPE, 8) == PT_EPT
    assert host.call("tdh_mem_page_aug", PAGE) == SUCCESS
    assert host.call("tdh_mem_sept_add", PAGE, 1) == status("TDX_EPT_ENTRY_STATE_INCORRECT", "RCX")


def test_sept_remove_wants_512_free_children_and_gives_the_page_back():
    stage = Stage()
    stage.build_tables(PAGE)
    host = stage.actor("host0")
    stage.set_word("epoch", epoch_word(5), width=64)
    stage.set_entry(PAGE, "NL_BLOCKED", 1)
    stage.set_entry(511, "PENDING")
    assert host.call("tdh_mem_sept_remove", PAGE, 1) == status("TDX_EPT_PAGE_NOT_FREE", "RCX")
    stage.set_entry(511, "FREE", priority=True)          # host priority is no state
    assert host.call("tdh_mem_sept_remove", PAGE, 1) == SUCCESS
    assert stage.entry(PAGE, 1) == STATE["FREE"].word()
    assert stage.memory.word(stage.layout.at("pamt_4k.pt_pages") + PAMT_TYPE, 8) == PT_NDA


def test_the_life_of_a_page():
    stage = Stage()
    stage.build_tables(PAGE)
    host, vcpu = stage.actor("host0"), stage.actor("vcpu0")
    stage.memory.view("content", "u1")[PAGE][:] = 0xAA
    assert host.call("tdh_mem_page_aug", PAGE) == SUCCESS
    assert vcpu.call("tdg_mem_page_accept", PAGE) == SUCCESS
    assert stage.entry(PAGE) == stage.as_state("MAPPED", PAGE)
    assert not stage.memory.view("content", "u1")[PAGE].any()          # all 4096 bytes are zero
    assert vcpu.call("tdg_mem_page_accept", PAGE) == status("TDX_PAGE_ALREADY_ACCEPTED", 0)
    assert host.call("tdh_mem_range_block", PAGE) == SUCCESS
    assert stage.entry(PAGE) == stage.as_state("BLOCKED", PAGE)
    assert host.call("tdh_mem_range_block", PAGE) == status("TDX_GPA_RANGE_ALREADY_BLOCKED", "RCX")
    assert vcpu.call("tdg_mem_page_accept", PAGE) == EXIT_REASON_EPT_VIOLATION
    assert host.call("tdh_mem_page_remove", PAGE) == status("TDX_TLB_TRACKING_NOT_DONE", "RCX")
    assert host.call("tdh_mem_track") == SUCCESS
    assert host.call("tdh_mem_range_unblock", PAGE) == SUCCESS
    assert stage.entry(PAGE) == stage.as_state("MAPPED", PAGE)
    assert host.call("tdh_mem_page_remove", PAGE) == status("TDX_GPA_RANGE_NOT_BLOCKED", "RCX")
    assert host.call("tdh_mem_range_block", PAGE) == SUCCESS
    assert host.call("tdh_mem_track") == SUCCESS
    assert host.call("tdh_mem_page_remove", PAGE) == SUCCESS
    assert stage.entry(PAGE) == STATE["FREE"].word()
    assert stage.word("chldcnt", width=64) == control_pages(stage)
    assert vcpu.call("tdg_mem_page_accept", PAGE) == EXIT_REASON_EPT_VIOLATION


# --- every lock of every call ---

@pytest.mark.parametrize("release, row, level", by_release(ROWS, IDS))
def test_a_busy_lock_is_reported_with_its_operand_and_nothing_is_left_held(release, row, level):
    locks = held_by(row, 0 if isinstance(level, str) else level, RELEASE[release])
    for lock in locks:
        paired = "PAIR0.1G" in {each.resource for each in locks}          # all of which are taken with Dynamic PAMT
        *_, stage = stages(release, row) if not paired else [Stage(release=release, dynamic_pamt=True)]
        page = ready(stage, row.name, level)
        actor = caller(stage, row.name)
        if row.keeps:
            listed_page(stage)                           # a listed GPA: the filter runs
        actor.begin(row.name, page, level)
        offset = place_of(stage, actor, lock, page, level, row)
        width = {"entry": 64, "entries": 64, "mutex": 8}.get(lock.discipline, 16)
        taken = stage.memory.word(offset, 64) | TDEL if width == 64 else 1
        stage.memory.set_word(offset, taken, width)
        # A vCPU's TDVPR lies in the same 2M and 1G as its TDR: whichever is taken first is busy.
        first = next(other for other in locks if place_of(stage, actor, other, page, level, row) == offset)
        answer, operand = status_name(actor.finish()), OPERANDS_OF_LOCKS[row.name](first)
        if operand == NOTED:                             # in the list; the answer counts such entries
            assert actor.status == int(stage.release.list_count_in_rax)
            assert stage.memory.word(list_of(stage, actor), 8) == ENTRY_BUSY
        else:
            assert answer == (operand if operand == "TDX_SYS_BUSY" else f"TDX_OPERAND_BUSY|{operand}"), lock
        left = stage.memory.word(offset, width)
        if width == 64:
            assert left == taken | (TDHP if row.side == "host" else 0), lock
            stage.memory.set_word(offset, left & ~(TDEL | TDHP), 64)
        else:
            # Still exclusive; a failed shared try leaves its count, a failed host asks for priority.  The
            # entry of a large page is taken shared first.
            unit = {"hp": 4, "sharex": 2}.get(lock.discipline, 0)
            promoted = lock.resource == "PAGE.2M" and lock.mode == "exclusive"
            shared = unit if lock.mode == "shared" or promoted else 0
            assert left == 1 | shared | (HP if lock.discipline == "hp" and row.side == "host" else 0), lock
            stage.memory.set_word(offset, 0, width)
        assert locks_of(stage) == {}, lock
        assert stage.word("epoch", width=64) & 0xFFFF_FFFF == 0, lock     # no vCPU is left counted


def list_of(stage, actor) -> int:
    """Where the list of GPAs of an actor lies."""
    return stage.layout.at("gpa_list", int(actor.registers[R.ROLE]) - 1)


def listed_page(stage) -> None:
    stage.memory.set_word(stage.layout.at("tdvps") + TDVPS_STEPPING + stepping.EPF_LENGTH, 1, 8)


def place_of(stage, actor, lock, page, level, row) -> int:
    """Where a lock of a call lies that is about to be made."""
    if lock.base == R.PAMT:                              # found on the way, in the SEPT entry
        if row.name in ("tdh_mem_sept_remove", "tdh_mem_page_promote"):
            return stage.layout.at(f"pamt_4k.{('', 'pt_pages', 'pd_pages')[level]}", page >> 9 * level)
        return stage.layout.at(f"pamt_{('4k', '2m')[level]}.data", page >> 9 * level)
    if lock.base == R.STREAM:                            # chosen by the call
        twin = Stage(release=stage.release.name)
        ready(twin, row.name, level)
        other = caller(twin, row.name)
        other.begin(row.name, page, level).through(Op.MUTEX_TAKE)
        return int(other.registers[R.STREAM])
    if lock.base == R.OWN_SIZE:
        return stage.layout.at("pamt_2m.data", page >> 9)
    if lock.discipline == "entries":
        return int(actor.registers[R.CHILDREN]) + 8 * 300                 # one in the middle
    return int(actor.registers[lock.base]) + word_of(stage, lock)


def word_of(stage, lock) -> int:
    return stage.layout.at(lock.offset) if isinstance(lock.offset, str) else lock.offset


def operands(**by_resource):
    """The operand of a lock, by its resource; OP_STATE, SEPT_TREE and TD_EPOCH name themselves."""
    named = {"OP_STATE": "OP_STATE", "SEPT_TREE": "SEPT_TREE", "TD_EPOCH": "TD_EPOCH", "SEPT_ENTRY": "RCX",
             "CHILD_ENTRIES": "RCX", "PAMT large page": "RCX", "KOT": "KOT", "KET": "KET", "WBT": "WBCACHE", "MIG": "MIG",
             "MIGSC": "MIGSC", "RTMR": "RTMR", "SERVTD_BINDINGS": "SERVTD_BINDINGS", "SERVICE_OP_STATE": "OP_STATE",
             "SERVICE_TDR": "RDX", "GLOBAL": "TDX_SYS_BUSY", "TDMR": "RCX"} | by_resource
    return lambda lock: named[lock.resource.partition(".")[0]]


NOTED = "noted"
# As the public source and the lock report's readers have them: which operand register each call names.
OPERANDS_OF_LOCKS = {
    "tdh_mng_create": operands(TDR="RCX"), "tdh_mng_add_cx": operands(TDR="RDX", PAGE="RCX"),
    "tdh_mng_key_config": operands(TDR="RCX"), "tdh_mng_init": operands(TDR="RCX"),
    "tdh_mng_rdwr": operands(TDR="RCX"), "tdh_mr_extend": operands(TDR="RDX"),
    "tdh_mr_finalize": operands(TDR="RCX"), "tdh_mng_vpflushdone": operands(TDR="RCX"),
    "tdh_mng_key_freeid": operands(TDR="RCX"), "tdh_vp_create": operands(TDR="RDX", TDVPR="RCX"),
    "tdh_vp_addcx": operands(TDVPR="RDX", TDR="TDR", PAGE="RCX"), "tdh_vp_init": operands(TDVPR="RCX", TDR="TDR"),
    "tdh_vp_init_apicid": operands(TDVPR="RCX", TDR="TDR"), "tdh_vp_enter": operands(TDVPR="RCX", TDR="TDR"),
    "tdh_vp_flush": operands(TDVPR="RCX", TDR="TDR"), "tdh_vp_rd_wr": operands(TDVPR="RCX", TDR="TDR"),
    "tdh_mem_sept_add": operands(TDR="RDX", PAGE="R8"), "tdh_mem_page_add": operands(TDR="RDX", PAGE="R8"),
    "tdh_mem_page_aug": operands(TDR="RDX", PAGE="R8"), "tdh_mem_range_block": operands(TDR="RDX"),
    "tdh_mem_range_unblock": operands(TDR="RDX"), "tdh_mem_track": operands(TDR="RCX"),
    "tdh_mem_page_remove": operands(TDR="RDX", PAGE="RCX"), "tdh_mem_sept_remove": operands(TDR="RDX", PAGE="RCX"),
    "tdh_mem_sept_rd": operands(TDR="RDX"), "tdh_mem_rd": operands(TDR="RDX"), "tdh_mem_wr": operands(TDR="RDX"),
    "tdh_mem_page_promote": operands(TDR="RDX", PAGE="RCX"), "tdh_mem_page_demote": operands(TDR="RDX", PAGE="R8", PAIR0="R12", PAIR1="R13"),
    "tdh_mem_page_relocate": operands(TDR="RDX", PAGE="RCX", TARGET="R8"),
    "tdh_phymem_page_reclaim": operands(PAGE="RCX", TDR="TDR"), "tdh_phymem_cache_wb": operands(),
    "tdh_phymem_cache_wb_resume": operands(),
    "tdh_phymem_page_wbinvd": operands(PAGE="RCX"), "tdh_phymem_page_rdmd": operands(PAGE="RCX"),
    "tdh_phymem_pamt_add": operands(PAGE="RCX", PAIR0="RDX", PAIR1="R8"), "tdh_phymem_pamt_remove": operands(PAGE="RCX"),
    "tdg_mem_page_accept": operands(), "tdg_mem_page_attr_rd": operands(), "tdg_mem_page_attr_wr": operands(),
    "tdh_mig_stream_create": operands(TDR="RDX", PAGE="RCX"),
    **dict.fromkeys(("tdh_export_blockw", "tdh_export_restore", "tdh_export_mem"), operands(TDR="RDX", SEPT_ENTRY=NOTED)),
    "tdh_export_unblockw": operands(TDR="RDX"),
    **dict.fromkeys(("tdh_export_state_vp", "tdh_import_state_vp"), operands(TDVPR="RCX", TDR="TDR")),
    **dict.fromkeys((f"tdh_{way}" for way in (
        "export_state_immutable", "export_pause", "export_track", "export_state_td", "export_abort",
        "import_state_immutable", "import_track", "import_state_td", "import_commit", "import_end", "import_abort",
    )), operands(TDR="RCX")),
    **dict.fromkeys(("tdh_servtd_bind", "tdh_servtd_prebind"), operands(TDR="RCX")),
    **dict.fromkeys(("tdg_servtd_rd", "tdg_servtd_wr"), operands(TDR="TDR")),
    **dict.fromkeys(("tdg_mr_rtmr_extend", "tdg_mr_report", "tdg_mr_key_get", "tdg_tdi_mmio_accept"), operands()),
    "tdh_mmio_map": operands(TDR="RDX", MMIOMT="RCX", DEVIFCS="R8", IOMMU="RCX"), "tdh_mmio_block": operands(TDR="RDX"),
    "tdh_mmio_unmap": operands(TDR="RDX", DEVIFCS="RCX"),
    **dict.fromkeys((f"tdh_sys_{what}" for what in (
        "init", "lp_init", "config", "key_config", "tdmr_init", "shutdown", "update")), operands()),
    # In the in-order phase one that is busy ends the session.
    "tdh_import_mem": operands(TDR="RDX", SEPT_ENTRY="GPA_LIST_ENTRY|FATAL", PAGE="NEW_PAGE_LIST_ENTRY|FATAL"),
    "tdh_import_mem_cancel": operands(TDR="RDX", SEPT_ENTRY="GPA_LIST_ENTRY|FATAL", PAGE="GPA_LIST_ENTRY|FATAL"),
}


# --- every entry state ---

LEAVES = [state.name for state in ENTRY_STATES if state.leaf]
ALL = [state.name for state in ENTRY_STATES]
NOT_BLOCKED = "TDX_GPA_RANGE_NOT_BLOCKED|RCX"
WRONG = "TDX_EPT_ENTRY_STATE_INCORRECT|RCX"
VIOLATION = "EXIT_REASON_EPT_VIOLATION"
# The new state by the old one.  sept_state_lookup.c, and what each call writes.
UNBLOCKED = {"NL_BLOCKED": "NL_MAPPED", "BLOCKED": "MAPPED", "PEND_BLOCKED": "PENDING"}
BECOMES = {
    "tdh_mem_sept_add": {"FREE": "NL_MAPPED"},
    "tdh_mem_page_add": {"FREE": "MAPPED"},
    "tdh_mem_page_aug": {"FREE": "PENDING", "REMOVED": "PENDING"},
    "tdh_mem_range_block": {"NL_MAPPED": "NL_BLOCKED", "MAPPED": "BLOCKED", "BLOCKEDW": "BLOCKED",
                            "PENDING": "PEND_BLOCKED", "PEND_BLOCKEDW": "PEND_BLOCKED"},
    "tdh_mem_range_unblock": UNBLOCKED,
    "tdh_mem_page_remove": dict.fromkeys(("BLOCKED", "PEND_BLOCKED"), "FREE"),
    "tdh_mem_sept_remove": {"NL_BLOCKED": "FREE"},
    "tdh_mem_page_promote": {"NL_BLOCKED": "MAPPED"},
    "tdh_mem_page_demote": dict.fromkeys(("BLOCKED", "PEND_BLOCKED"), "NL_MAPPED"),
    # Of a page that is exported and blocked for writing no TLB can hold what would have to be tracked.
    "tdh_mem_page_relocate": {"BLOCKED": "MAPPED", "PEND_BLOCKED": "PENDING",
                              **{state: state for state in ("EXP_BLOCKEDW", "PEND_EXP_BLOCKEDW")}},
    "tdh_mr_extend": {"MAPPED": "MAPPED"},
    # Of a page of a device, in the 2.0 line; no state of memory is theirs.
    "tdh_mmio_map": {"FREE": "MMIO_PENDING"}, "tdh_mmio_block": {}, "tdh_mmio_unmap": {},
    "tdh_export_unblockw": {"BLOCKEDW": "MAPPED", "EXP_BLOCKEDW": "EXP_DIRTY", "EXP_DIRTY_BLOCKEDW": "EXP_DIRTY",
                            "PEND_BLOCKEDW": "PENDING", "PEND_EXP_BLOCKEDW": "PEND_EXP_DIRTY",
                            "PEND_EXP_DIRTY_BLOCKEDW": "PEND_EXP_DIRTY"},
    "tdh_mem_sept_rd": {state: state for state in ALL},
    "tdh_mem_rd": {state: state for state in GUEST_ACCESSIBLE},
    "tdh_mem_wr": {state: state for state in ("MAPPED", "EXP_DIRTY")},
    "tdg_mem_page_accept": {"PENDING": "MAPPED", "PEND_EXP_DIRTY": "EXP_DIRTY"},
    "tdg_mem_page_attr_rd": {state: state for state in (
        *GUEST_ACCESSIBLE, "PENDING", "PEND_BLOCKEDW", "PEND_EXP_BLOCKEDW", "PEND_EXP_DIRTY",
        "PEND_EXP_DIRTY_BLOCKEDW")},
    "tdg_mem_page_attr_wr": {state: state for state in ("MAPPED", "EXP_DIRTY", "PENDING", "PEND_EXP_DIRTY")},
}
# Allowed by the module's table, but a page that a TLB may hold must be blocked first.
UNTRACKED = {
    "tdh_mem_page_remove": ("MAPPED", "BLOCKEDW", "PENDING", "PEND_BLOCKEDW"),
    "tdh_mem_sept_remove": ("NL_MAPPED",),
    "tdh_mem_page_promote": ("NL_MAPPED",),
    "tdh_mem_page_demote": ("MAPPED", "PENDING"),
    "tdh_mem_page_relocate": tuple(state for state in LEAVES if state not in ("BLOCKED", "PEND_BLOCKED")),
}
ABSENT = "TDX_EPT_ENTRY_NOT_PRESENT"


def expected(call: str, state: str, level: int, release: str) -> str:
    """The one answer of a call on an entry in a state."""
    if state in BECOMES[call]:
        return "TDX_SUCCESS"
    if state in UNTRACKED.get(call, ()):
        return NOT_BLOCKED
    if call == "tdh_mem_range_block" and state in ANY_BLOCKED:
        return "TDX_GPA_RANGE_ALREADY_BLOCKED|RCX"
    if call == "tdg_mem_page_accept":
        if state in GUEST_ACCESSIBLE:
            return f"TDX_PAGE_ALREADY_ACCEPTED|level {level}"
        no_leaf = ("NL_MAPPED", "NL_BLOCKED", *("REMOVED",) * (RELEASE[release].accept_leaf == "walk"))
        return f"TDX_PAGE_SIZE_MISMATCH|level {level}" if state in no_leaf else VIOLATION
    if call == "tdg_mem_page_attr_wr" and state != "FREE" and state not in LEAVES:
        return f"TDX_PAGE_SIZE_MISMATCH|level {level}"
    if call in ("tdh_mr_extend", "tdh_mem_rd", "tdh_mem_wr"):
        if state not in (*GUEST_ACCESSIBLE, "NL_MAPPED"):        # the walk itself wants a page that can be read
            return f"{ABSENT}|RCX"
        return ABSENT if call == "tdh_mr_extend" else WRONG
    return VIOLATION if call.startswith("tdg") else WRONG


PRODUCT = [(release, row, level) for release, row, level in ROWS if row.name in BECOMES]
# Calls on one large page: of PROMOTE, DEMOTE and REMOVE of an SEPT page all 512 parts would have to be there.
LARGE = [(release, row, level) for release, row, level in PRODUCT if level == 1 and row.name not in (
    "tdh_mem_page_promote", "tdh_mem_page_demote", "tdh_mem_sept_remove", "tdh_mmio_block", "tdh_mmio_unmap")]


def test_every_call_that_looks_at_an_entry_is_in_the_product():
    looks = {row.name for row in seamcalls(RELEASE["2.0.18"]) if any(isinstance(phrase, (
        Entry, WalkToLeaf, Accept, ReadAttributes, WriteAttributes)) for phrase in row.phrases)}
    assert looks == set(BECOMES)


@pytest.mark.parametrize("release, row, level", by_release(
    PRODUCT, [f"{release}-{row.name}-{level}" for release, row, level in PRODUCT]))
def test_each_state_has_one_outcome_in_each_call_level_and_release(release, row, level):
    """The whole product: sixteen states, each with one status and one word that the layout allows."""
    for state in ALL:
        check_product(release, row, level, state)


@pytest.mark.parametrize("release, row, level", by_release(
    LARGE, [f"{release}-{row.name}" for release, row, level in LARGE]))
def test_the_word_of_a_large_page_has_its_own_address(release, row, level):
    """The same for the second 2 MiB, with the lowest bit of a large page's address."""
    for state in BECOMES[row.name]:
        check_product(release, row, level, state, 512)


def check_product(release, row, level, state, other_page=None):
    stage = Stage(release=release)
    page = ready(stage, row.name, level)
    if other_page:
        page = other_page
        stage.build_tables(page, level)
    stage.set_entry(page, state, level)
    if STATE[state].leaf:
        stage.set_type("data", page >> 9 * level, PT_REG, ("4k", "2m", "1g")[level])
    elif level and state in ("NL_MAPPED", "NL_BLOCKED"):
        stage.set_type(("", "pt_pages", "pd_pages")[level], page >> 9 * level, PT_EPT)
    answer = status_name(caller(stage, row.name).call(row.name, page, level))
    assert answer == expected(row.name, state, level, release), state
    after = BECOMES[row.name].get(state, state) if answer == "TDX_SUCCESS" else state
    word = stage.as_state(after, page, level)
    if row.name == "tdh_mem_page_relocate" and answer == "TDX_SUCCESS":
        word = STATE[after].word(stage.layout.hpa("data", stage.layout.pages), access=stage.release.access)
    assert stage.entry(page, level) == word, state
    assert state_of(word).name == after
    assert locks_of(stage) == {}


# --- vCPU state and association ---

def test_enter_associates_once_and_refuses_another_processor():
    stage = Stage()
    vcpu = stage.actor("vcpu0")
    assert vcpu.call("tdh_vp_enter") == SUCCESS
    place = stage.layout.at("tdvps")
    assert stage.memory.word(place + TDVPS_STATE, 8) == VCPU_ACTIVE
    assert stage.memory.word(place + TDVPS_LP, 32) == vcpu.registers[R.ME]
    assert stage.word("num_assoc_vcpus", width=64) == 1
    assert stage.word("epoch", width=64) == epoch_word(1, odd=1)
    other = stage.actor("vcpu1")
    other.registers[R.TDVPS] = place                     # the same vCPU, on another processor
    assert other.call("tdh_vp_enter") == status("TDX_VCPU_STATE_INCORRECT")
    vcpu.leave_guest()
    assert stage.memory.word(place + TDVPS_STATE, 8) == VCPU_READY
    assert other.call("tdh_vp_enter") == status("TDX_VCPU_ASSOCIATED")
    assert stage.word("epoch", width=64) == epoch_word(1)
    assert vcpu.call("tdh_vp_enter") == SUCCESS
    assert stage.word("num_assoc_vcpus", width=64) == 1


def test_enter_flushes_translations_only_when_the_epoch_has_moved():
    stage = Stage()
    vcpu, host = stage.actor("vcpu0"), stage.actor("host0")
    tlb = stage.memory.view("tdvps")[0]
    vcpu.call("tdh_vp_enter")
    vcpu.leave_guest()
    tlb[-1] = 99
    vcpu.call("tdh_vp_enter")
    vcpu.leave_guest()
    assert tlb[-1] == 99
    assert host.call("tdh_mem_track") == SUCCESS
    vcpu.call("tdh_vp_enter")
    assert tlb[-1] == 0
    assert stage.memory.word(stage.layout.at("tdvps") + TDVPS_EPOCH) == 2


# --- page types and op_state ---

def test_a_page_of_the_wrong_type_is_refused_with_its_operand():
    stage = Stage()
    stage.build_tables(PAGE)
    stage.memory.set_word(stage.layout.at("pamt_4k.data", PAGE) + PAMT_TYPE, PT_REG, 8)
    assert stage.actor("host0").call("tdh_mem_page_aug", PAGE) == status("TDX_PAGE_METADATA_INCORRECT", "R8")
    assert stage.entry(PAGE) == STATE["FREE"].word()
    assert locks_of(stage) == {}


def test_a_fatal_td_and_a_wrong_op_state_are_refused():
    stage = Stage()
    stage.build_tables(PAGE)
    stage.set_word("op_state", 5, width=64)              # POST_EXPORT
    assert stage.actor("host0").call("tdh_mem_page_aug", PAGE) == status("TDX_OP_STATE_INCORRECT")
    assert stage.actor("vcpu0").call("tdh_vp_enter") == status("TDX_OP_STATE_INCORRECT")
    for state, answer in ((TDR_READY | 1, "TDX_TD_FATAL"), (TD_HKID_ASSIGNED, "TDX_TD_KEYS_NOT_CONFIGURED"),
                          (TDR_READY - (1 << 8 * TDR_TDCX), "TDX_TDCS_NOT_ALLOCATED")):
        stage.set_word("tdr_state", state, width=64)
        assert stage.actor("host0").call("tdh_mem_page_aug", PAGE) == status(answer)
    assert locks_of(stage) == {}


def test_before_the_td_runs_a_page_is_removed_without_tracking():
    stage = Stage()
    stage.map_page(PAGE)
    stage.set_word("op_state", 1, width=64)              # INITIALIZED
    assert stage.actor("host0").call("tdh_mem_page_remove", PAGE) == SUCCESS
