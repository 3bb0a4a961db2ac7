"""THE TABLE: every call of the TDX module that the harness makes, as a row.

A row lists, in the module's order, the locks (and the operand id that a lost try reports), the
checks and their statuses, the writes and how they are made.  The package phrases says what each word
of it becomes in micro-ops; how a call gets out when something fails is derived, not written here.

    Explicit(page, mode, operand)   a page named by the caller: PAMT 1G, 2M shared, its own in `mode`
    Implicit(page, mode, operand)   a page the module knows: its own PAMT entry only
    OpState(mode, allowed)          op_state lock, then op_state must be allowed
    Tree(mode)                      SEPT tree lock, then the walk
    Entry(allowed)                  SEPT entry lock, read again, state must be allowed
    Become(transitions, hpa, ..)    the entry's new word

Sources name files of the module's src/vmm_dispatcher/api_calls unless a directory is given; line
numbers are those of the public 1.5.01 tree.  Where releases differ, a row asks `release`
(releases.py).  What a call does besides (checks of operands, contents of control pages, L2 VMs) is
abstracted away; a phrase says what more.  Rows of migration, service TDs, the module's own life and devices
are in calls/; what has no row, and why, is calls/without.py and docs/calls.md.

To add a call: add a row, and its allowed states, lock order and place in the contention matrix are
tested because it is listed.
"""

import functools

from harness.protocol.assemble import Held, Listing
from harness.protocol import faults
from harness.protocol.call import EXCLUSIVE, SHARED, Call, Options
from harness.protocol.calls import devices, migration, services, system
from harness.protocol.calls.row import PAGE_SIZES, TDR_SIZES, TDVPR_SIZES, Seamcall
from harness.protocol.phrases.guests import Accept, ReadAttributes, WriteAttributes
from harness.protocol.phrases.large import Merge, Merged, Split, SplitPamt
from harness.protocol.phrases.life import (
    BeginWriteBack, DrawRandom, HasVcpus, HkidBecomes, HkidIs, InitTd, KeyConfigured, Lifecycle, LifecycleBecomes, MoreTdcx,
    NewTdcx, NewTdr, NobodyAssociated, NoKeyYet, NotFatal, OpStateBecomes, Reclaimable, ResumeWriteBack, TdcsStillNew, WriteCachesBack,
    WrittenBack,
)
from harness.protocol.phrases.locking import (
    Drop, Entry, EpochLock, Explicit, GiveWay, Implicit, KeyTable, Kot, Leaf, OpState, Tree, TreeToLeaf, Walk, WalkToLeaf, Work,
    WriteBack,
)
from harness.protocol.phrases.pairs import Enabled, GivePair, TakePair
from harness.protocol.phrases.pages import (
    IMPORTING, LEAVES, Add, Advance, Become, Children, ChildrenFree, Count, CountUsed, NoteBlocked, OwnPage, PageBecomes, PagesBelowFree,
    PageType, StateIs, Tracked, TypeIs,
)
from harness.protocol.phrases.system import enter, leave
from harness.protocol.phrases.vcpus import (
    REFCOUNT, Associate, CountIn, Dissociate, EntryFilter, Exit, InitVcpu, MoreVcpuPages, NewVcpu, NewVcpuPage, VcpuComplete,
    VcpuIs,
)
from harness.protocol.releases import DEFAULT, TDR, Release
from kernels.ops import LEVELS, Op, Register as R
from kernels.words import (
    ANY_BLOCKED, ENTRY_STATES, GUEST_ACCESSIBLE, HKID_ASSIGNED, HKID_FLUSHED, HKID_FREE, MMIO_STATES, OP_STATE_FAILED_IMPORT,
    OP_STATE_INITIALIZED, OP_STATE_LIVE_EXPORT, OP_STATE_LIVE_IMPORT, OP_STATE_PAUSED_EXPORT, OP_STATE_POST_EXPORT, OP_STATE_POST_IMPORT, OP_STATE_RUNNABLE, OP_STATE_STATE_IMPORT,
    OP_STATE_UNINITIALIZED, PT_EPT, PT_NDA, PT_PAMT, PT_REG, PT_TDCX, PT_TDR, PT_TDVPR, TD_BLOCKED, TD_HKID_ASSIGNED,
    TD_KEYS_CONFIGURED, TD_TEARDOWN, VCPU_UNINITIALIZED,
)

# op_state_lookup.c: in which op_states a call is allowed; the same in all releases (START_EXPORT as RUNNABLE).
NEW, BUILDING = (OP_STATE_UNINITIALIZED,), (OP_STATE_INITIALIZED,)
VCPUS_MADE = (OP_STATE_INITIALIZED, OP_STATE_STATE_IMPORT)
RUNNING = (OP_STATE_RUNNABLE, OP_STATE_LIVE_EXPORT, OP_STATE_LIVE_IMPORT)
GROWS = (OP_STATE_INITIALIZED, *RUNNING)
TABLES_GROW = (OP_STATE_INITIALIZED, OP_STATE_RUNNABLE, OP_STATE_LIVE_EXPORT, *IMPORTING)
EXPORTING = (OP_STATE_LIVE_EXPORT, OP_STATE_PAUSED_EXPORT, OP_STATE_POST_EXPORT)
CHANGES = (OP_STATE_INITIALIZED, OP_STATE_RUNNABLE, *EXPORTING, OP_STATE_POST_IMPORT, OP_STATE_LIVE_IMPORT)
SHRINKS = (*CHANGES, OP_STATE_FAILED_IMPORT)
BUILT = (OP_STATE_INITIALIZED, OP_STATE_RUNNABLE, *EXPORTING, *IMPORTING)
READ = (*BUILT, OP_STATE_FAILED_IMPORT)
WRITTEN = (*TABLES_GROW, OP_STATE_FAILED_IMPORT)

ALL_STATES = tuple(state.name for state in ENTRY_STATES)
DEVICE_STATES = tuple(state.name for state in MMIO_STATES)
BLOCK = ((("MAPPED", "BLOCKEDW"), "BLOCKED"),
         (("PENDING", "PEND_BLOCKEDW"), "PEND_BLOCKED"),
         (("NL_MAPPED",), "NL_BLOCKED"))
UNBLOCK = ((("NL_BLOCKED",), "NL_MAPPED"),
           (("BLOCKED",), "MAPPED"),
           (("PEND_BLOCKED",), "PENDING"))
RELOCATED = ((("MAPPED", "BLOCKED"), "MAPPED"), (("PENDING", "PEND_BLOCKED"), "PENDING"),
             *(((state,), state) for state in LEAVES
               if state not in ("MAPPED", "BLOCKED", "PENDING", "PEND_BLOCKED")))


def _td(allowed: tuple[int, ...]) -> tuple:
    """How every call on an entry begins: the TDR named in RDX, then the TDCS."""
    return Explicit("TDR", SHARED, "RDX", PT_TDR), OpState(SHARED, allowed)


# The lock report's rows, in its order.
IN_REPORT = (
    "tdh_mng_create", "tdh_mng_add_cx", "tdh_mng_init", "tdh_mng_vpflushdone", "tdh_mng_key_config",
    "tdh_mng_key_freeid", "tdh_mng_rdwr", "tdh_mr_extend", "tdh_mr_finalize", "tdh_vp_create", "tdh_vp_addcx",
    "tdh_vp_init", "tdh_vp_init_apicid", "tdh_vp_enter", "tdh_vp_flush", "tdh_vp_rd_wr", "tdh_mem_sept_add",
    "tdh_mem_sept_remove", "tdh_mem_page_add", "tdh_mem_page_aug", "tdh_mem_page_remove", "tdh_mem_range_block",
    "tdh_mem_track", "tdh_mem_range_unblock", "tdh_phymem_page_reclaim", "tdh_phymem_cache_wb",
    "tdh_phymem_page_wbinvd", "tdg_mem_page_accept",
)


ANY_LEVEL = tuple(range(LEVELS))
LEAF_LEVELS = (0, 1)             # pages of 4 KiB and 2 MiB; KVM makes no larger ones
TABLE_LEVELS = (1, 2)            # entries that can map an SEPT page


@functools.cache
def seamcalls(release: Release = DEFAULT) -> tuple[Seamcall, ...]:
    """All calls of a release."""
    rows = (*_life(release), *_vcpus(release), *_memory(release), *_large_pages(release), *_others(release),
            *_guest(release), *migration.rows(release), *services.rows(release), *system.rows(release),
            *devices.rows(release))
    if not release.report_only:
        return rows
    # The report speaks of 4 KiB pages only.
    return tuple(row._replace(levels=(0,)) if row.levels == LEAF_LEVELS else row
                 for row in rows if row.name in IN_REPORT)


def _life(release: Release) -> tuple[Seamcall, ...]:
    """A TD is created, gets its keys and pages, is built, finalized, torn down."""
    return (
        Seamcall(
            "tdh_mng_create", 9, "host", (
                Explicit("TDR", EXCLUSIVE, "RCX", PT_NDA),
                Kot(EXCLUSIVE),
                HkidIs(HKID_FREE, "TDX_HKID_NOT_FREE"),
                DrawRandom(),                            # TD_UUID
                NewTdr(),
                HkidBecomes(HKID_ASSIGNED),
                LifecycleBecomes(TD_HKID_ASSIGNED),
                PageBecomes(PT_TDR, page="TDR"),
            ),
            source="tdh_mng_create.c:69-152",
        ),
        Seamcall(
            "tdh_mng_add_cx", 1, "host", (
                Explicit("TDR", EXCLUSIVE, "RDX", PT_TDR),
                NotFatal(),
                Lifecycle((TD_KEYS_CONFIGURED,), wrong="TDX_TD_KEYS_NOT_CONFIGURED"),
                MoreTdcx(),
                Explicit("PAGE", EXCLUSIVE, "RCX", PT_NDA),
                TdcsStillNew(),
                DrawRandom(last_page=True),              # a key for migration
                NewTdcx(),
                Children(+1),
                PageBecomes(PT_TDCX),
            ),
            source="tdh_mng_add_cx.c:69-206; 1.5.05:88-93; 1.5.24:189-204; 2.0.08 c2400",
            order=(*TDR_SIZES, *PAGE_SIZES) if release.add_cx_drops_first == TDR else (*PAGE_SIZES, *TDR_SIZES),
        ),
        Seamcall(
            "tdh_mng_key_config", 8, "host", (
                Explicit("TDR", EXCLUSIVE, "RCX", PT_TDR),
                NotFatal(),
                Lifecycle((TD_HKID_ASSIGNED,)),
                NoKeyYet(),
                KeyTable(),
                DrawRandom("TDX_KEY_GENERATION_FAILED"),     # PCONFIG
                Work(),
                Drop("KET"),
                KeyConfigured(TD_KEYS_CONFIGURED),
            ),
            source="tdh_mng_key_config.c:61-129; 1.5.05:91-97; PCONFIG: src/common/helpers/helpers.c:86-91",
        ),
        Seamcall(
            "tdh_mng_init", 21, "host", (
                Explicit("TDR", EXCLUSIVE, "RCX", PT_TDR),
                OpState(None, NEW),
                InitTd(OP_STATE_INITIALIZED),
            ),
            source="tdh_mng_init.c",
        ),
        Seamcall(
            "tdh_mng_rdwr", 11, "host", (
                Explicit("TDR", SHARED, "RCX", PT_TDR),
                OpState(SHARED, READ),                   # TDH.MNG.WR is not allowed while a TD is exported
            ),
            source="tdh_mng_rd_wr.c:168-174 (leaves 11 and 13)",
        ),
        Seamcall(
            "tdh_mr_extend", 16, "host", (
                Explicit("TDR", EXCLUSIVE, "RDX", PT_TDR),
                OpState(None, BUILDING),
                WalkToLeaf(),
                StateIs(("MAPPED",), "TDX_EPT_ENTRY_NOT_PRESENT"),
            ),
            source="tdh_mr_extend.c; 1.5.24:119-139",
        ),
        Seamcall(
            "tdh_mr_finalize", 17, "host", (
                Explicit("TDR", EXCLUSIVE, "RCX", PT_TDR),
                OpState(None, BUILDING),
                HasVcpus(),
                OpStateBecomes(OP_STATE_RUNNABLE),
            ),
            source="tdh_mr_finalize.c",
        ),
        Seamcall(
            "tdh_mng_vpflushdone", 19, "host", (
                Explicit("TDR", EXCLUSIVE, "RCX", PT_TDR),
                Kot(EXCLUSIVE),
                Lifecycle((TD_KEYS_CONFIGURED, TD_HKID_ASSIGNED)),
                NobodyAssociated(),
                HkidBecomes(HKID_FLUSHED),
                LifecycleBecomes(TD_BLOCKED),
            ),
            source="tdh_mng_vpflushdone.c",
        ),
        Seamcall(
            "tdh_mng_key_freeid", 20, "host", (
                Explicit("TDR", EXCLUSIVE, "RCX", PT_TDR),
                Lifecycle((TD_BLOCKED,)),
                Kot(EXCLUSIVE),
                WrittenBack(),
                HkidBecomes(HKID_FREE),
                LifecycleBecomes(TD_TEARDOWN),
            ),
            source="tdh_mng_key_freeid.c",
        ),
    )


def _vcpus(release: Release) -> tuple[Seamcall, ...]:
    return (
        Seamcall(
            "tdh_vp_create", 10, "host", (
                Explicit("TDR", SHARED, "RDX", PT_TDR),
                OpState(SHARED, VCPUS_MADE),
                Explicit("TDVPR", EXCLUSIVE, "RCX", PT_NDA),
                NewVcpu(),
                Children(+1),
                PageBecomes(PT_TDVPR, page="TDVPR"),
            ),
            source="tdh_vp_create.c",
        ),
        Seamcall(
            "tdh_vp_addcx", 4, "host", (
                Explicit("TDVPR", EXCLUSIVE, "RDX", PT_TDVPR),
                Implicit("TDR", SHARED, "TDR"),
                OpState(SHARED, VCPUS_MADE),
                VcpuIs(VCPU_UNINITIALIZED),
                MoreVcpuPages(),
                Explicit("PAGE", EXCLUSIVE, "RCX", PT_NDA),
                NewVcpuPage(),
                Children(+1),
                PageBecomes(PT_TDCX),
            ),
            source="tdh_vp_addcx.c",
            order=(*TDVPR_SIZES, *PAGE_SIZES, "OP_STATE", "TDR"),
        ),
        *(
            Seamcall(
                name, 22, "host", (
                    Explicit("TDVPR", EXCLUSIVE, "RCX", PT_TDVPR),
                    Implicit("TDR", mode, "TDR"),
                    OpState(SHARED, BUILDING),
                    VcpuComplete(),
                    VcpuIs(VCPU_UNINITIALIZED),
                    InitVcpu(),
                ),
                source=source,
            )
            for name, mode, source in (
                ("tdh_vp_init", SHARED, "tdh_vp_init.c, version 0"),
                ("tdh_vp_init_apicid", release.init_apicid_tdr, "tdh_vp_init.c:143-149, version 1; 2.0.08 c4000"),
            )
        ),
        Seamcall(
            "tdh_vp_enter", 0, "host", (
                Explicit("TDVPR", release.enter_tdvpr, "RCX", PT_TDVPR),
                Implicit("TDR", SHARED, "TDR"),
                OpState(SHARED, RUNNING),
                Associate(),
                CountIn(),
                EntryFilter(),
            ),
            source="src/td_transitions/tdh_vp_enter.c:553-975; 1.5.05:606; 1.5.24:696; 1.5.34 c24000; 2.0.18 c17000",
            order=("TD_EPOCH", "SEPT_TREE", "TD_EPOCH count", "OP_STATE", "TDR", *TDVPR_SIZES),
            keeps=True,
        ),
        Seamcall(
            "tdh_vp_flush", 18, "host", (
                Explicit("TDVPR", EXCLUSIVE, "RCX", PT_TDVPR),
                Implicit("TDR", SHARED, "TDR"),
                Lifecycle((TD_KEYS_CONFIGURED,), wrong="TDX_TD_KEYS_NOT_CONFIGURED"),
                VcpuComplete(),
                Dissociate(),
            ),
            source="tdh_vp_flush.c:124-151",
        ),
        Seamcall(
            "tdh_vp_rd_wr", 26, "host", (
                Explicit("TDVPR", SHARED, "RCX", PT_TDVPR),
                Implicit("TDR", SHARED, "TDR"),
                OpState(SHARED, READ),
                Associate(),
            ),
            source="tdh_vp_rd_wr.c (leaves 26 and 43)",
        ),
    )


def _memory(release: Release) -> tuple[Seamcall, ...]:
    return (
        Seamcall(
            "tdh_mem_sept_add", 3, "host", (
                *_td(TABLES_GROW),
                Tree(SHARED),
                Entry(("FREE",)),
                Explicit("PAGE", EXCLUSIVE, "R8", PT_NDA),
                # The page's 512 entries are FREE already: a fresh TD, SEPT.REMOVE and PROMOTE leave them so.
                PageBecomes(PT_EPT, clear_bepoch=True),
                Children(+1),
                Become(((("FREE",), "NL_MAPPED"),), hpa="new", releases=False),
            ),
            source="tdh_mem_sept_add.c:476-510; 1.5.05:51-217; 1.5.28 c9700; 2.0.12 c10000; 2.0.18 c9000; write:"
                   " src/common/memory_handlers/sept_manager.c 1.5.24 c20200; 1.5.28 c20200; 1.5.34 c22000; 2.0.12 c20200;"
                   " 2.0.16 c20200",
            order=("SEPT_ENTRY", *PAGE_SIZES, "SEPT_TREE", "OP_STATE", *TDR_SIZES),
            levels=TABLE_LEVELS,
        ),
        Seamcall(
            "tdh_mem_page_add", 2, "host", (
                Explicit("TDR", EXCLUSIVE, "RDX", PT_TDR),
                OpState(None, BUILDING),
                Walk(),
                Entry(("FREE",), locked=False),
                Explicit("PAGE", EXCLUSIVE, "R8", PT_NDA),
                Count("mem_count", +1),
                Add("MAPPED"),
                Children(+1),
                PageBecomes(PT_REG, clear_bepoch=True),
            ),
            source="tdh_mem_page_add.c; 1.5.05:148-165; 1.5.24:145-198; 2.0.18 c3500; write:"
                   " src/common/memory_handlers/sept_manager.c:449-456",
        ),
        Seamcall(
            "tdh_mem_page_aug", 6, "host", (
                *_td(GROWS),
                Tree(SHARED),
                Entry(("FREE", "REMOVED")),
                Explicit("PAGE", EXCLUSIVE, "R8", PT_NDA, own_size=True),
                PagesBelowFree(),
                Count("mem_count", +1),
                Become(((("FREE", "REMOVED"), "PENDING"),), hpa="new", releases=True),
                Children(+1, own_size=True),
                PageBecomes(PT_REG, clear_bepoch=True, own_size=True),
            ),
            source="tdh_mem_page_aug.c:66-215; 2.0.18 c1400; 1.5.34 = 2.0.18",
            levels=LEAF_LEVELS,
        ),
        Seamcall(
            "tdh_mem_range_block", 7, "host", (
                *_td(CHANGES),
                Tree(EXCLUSIVE),
                Entry(("NL_MAPPED", "MAPPED", "BLOCKEDW", "PENDING", "PEND_BLOCKEDW"),
                      blocked="TDX_GPA_RANGE_ALREADY_BLOCKED"),
                Count("blocked", +1),
                OwnPage(checked=True),
                Become(BLOCK, hpa="copy", releases=False),
                NoteBlocked(),
            ),
            source="tdh_mem_range_block.c:118-300; 2.0.18 c1400; 1.5.34 = 2.0.18",
            levels=ANY_LEVEL,
        ),
        Seamcall(
            "tdh_mem_range_unblock", 39, "host", (
                *_td(CHANGES),
                Tree(EXCLUSIVE),
                Entry(("NL_BLOCKED", "BLOCKED", "PEND_BLOCKED")),
                OwnPage(checked=True),
                Tracked(not_tracked=release.unblock_operand, not_blocked=False),
                Become(UNBLOCK, hpa="copy", releases=True, keeps_counter=True),
                Count("blocked", -1),
            ),
            source="tdh_mem_range_unblock.c:90-260; 1.5.34 c1400; 2.0.08 c3000; 2.0.12 c7000; 2.0.14 c8000; 2.0.18 c3000",
            levels=ANY_LEVEL,
        ),
        Seamcall(
            "tdh_mem_track", 38, "host", (
                Explicit("TDR", SHARED, "RCX", PT_TDR),
                OpState(SHARED, BUILT),
                EpochLock(EXCLUSIVE),
                Advance(),
            ),
            source="tdh_mem_track.c:60-140; 2.0.08 c2100",
        ),
        Seamcall(
            "tdh_mem_page_remove", 29, "host", (
                *_td(SHRINKS),
                Tree(SHARED),
                Entry(("MAPPED", "BLOCKED", "BLOCKEDW", "PENDING", "PEND_BLOCKED", "PEND_BLOCKEDW")),
                OwnPage(),
                Implicit("PAGE", EXCLUSIVE, "RCX"),
                Tracked(),
                Count("blocked", -1, before=ANY_BLOCKED),
                Count("mem_count", -1),
                Become((((), "FREE"),), hpa="none", releases=True, importing="REMOVED"),
                Children(-1, own_size=True),
                PageBecomes(PT_NDA, page="found"),
            ),
            source="tdh_mem_page_remove.c:66-265; 1.5.34 c1400; 2.0.18 c8500",
            levels=LEAF_LEVELS,
        ),
        Seamcall(
            "tdh_mem_sept_remove", 30, "host", (
                *_td(READ),
                Tree(EXCLUSIVE),
                Entry(("NL_MAPPED", "NL_BLOCKED")),
                OwnPage(),
                Implicit("PAGE", EXCLUSIVE, "RCX"),
                Tracked(),
                ChildrenFree(),
                Become((((), "FREE"),), hpa="none", releases=True),
                Children(-1),
                PageBecomes(PT_NDA, page="found"),
                Count("blocked", -1, before=ANY_BLOCKED),
            ),
            source="tdh_mem_sept_remove.c:66-330; 1.5.34 c1400; 2.0.18 c1000",
            order=("SEPT_ENTRY", "PAGE", "SEPT_TREE", "OP_STATE", *TDR_SIZES),
            levels=TABLE_LEVELS,
        ),
        Seamcall(
            "tdh_mem_sept_rd", 25, "host", (
                *_td(READ),
                Tree(SHARED),
                Entry(ALL_STATES + DEVICE_STATES * release.connect),
            ),
            source="tdh_mem_sept_rd.c; 1.5.34 c1300",
            levels=ANY_LEVEL,
        ),
        *(
            Seamcall(
                name, leaf, "host", (
                    *_td(op_states),
                    TreeToLeaf(SHARED),
                    Entry(states),
                ),
                source="tdh_mem_rd_wr.c:193-215; 1.5.34 c3000; only debug TDs: all TDs here are",
                order=(*TDR_SIZES, "SEPT_ENTRY", "SEPT_TREE", "OP_STATE") if release.rd_wr_drops_first == TDR else (),
            )
            for name, leaf, op_states, states in (
                ("tdh_mem_rd", 12, READ, GUEST_ACCESSIBLE),
                ("tdh_mem_wr", 14, WRITTEN, ("MAPPED", "EXP_DIRTY")),
            )
        ),
    )


def _large_pages(release: Release) -> tuple[Seamcall, ...]:
    return (
        Seamcall(
            "tdh_mem_page_promote", 23, "host", (
                *_td(CHANGES),
                Tree(release.promote_tree),
                Entry(("NL_MAPPED", "NL_BLOCKED")),
                OwnPage(),
                Implicit("PAGE", EXCLUSIVE, "RCX"),
                Tracked(),
                Merge(),
                GiveWay(release.promote_gives_way),
                Merged(),
                Children(-1),
                PageBecomes(PT_NDA, page="found"),
                Count("blocked", -1, before=ANY_BLOCKED),
            ),
            source="tdh_mem_page_promote.c:55-103 and after; 1.5.24:50-83; 1.5.34 c1400; 2.0.12 c1400; 2.0.14 c1400",
            levels=(1,),
        ),
        Seamcall(
            "tdh_mem_page_demote", 15, "host", (
                *_td(CHANGES),
                Tree(SHARED),
                Entry(("MAPPED", "BLOCKED", "PENDING", "PEND_BLOCKED")),
                OwnPage(checked=True),
                Tracked(),
                Explicit("PAGE", EXCLUSIVE, "R8", PT_NDA),
                GiveWay(release.demote_gives_way),
                SplitPamt(),
                Split(),         # the module fills the page first, which no other call can see before the entry is written
                Become((((), "NL_MAPPED"),), hpa="new", releases=False),
                Count("blocked", -1, before=ANY_BLOCKED),
                PageBecomes(PT_EPT),
                Children(+1),
            ),
            source="tdh_mem_page_demote.c:405; 1.5.28 c13000; 1.5.34 c1400; 2.0.16 c16500",
            levels=(1,),
        ),
        Seamcall(
            "tdh_mem_page_relocate", 5, "host", (
                *_td(CHANGES),
                Tree(SHARED),
                Entry(LEAVES),
                OwnPage(),
                Implicit("PAGE", EXCLUSIVE, "RCX"),
                Tracked(idle=True),
                Explicit("TARGET", EXCLUSIVE, "R8", PT_NDA),
                PageBecomes(PT_NDA, page="found", counted=False),
                PageBecomes(PT_REG, clear_bepoch=True, page="TARGET"),
                Become(RELOCATED, hpa="moved", releases=False),
                CountUsed("found", -1),
                Count("blocked", -1, before=ANY_BLOCKED),
            ),
            source="tdh_mem_page_relocate.c:273-278; 1.5.34 c3500",
        ),
    )


def _others(release: Release) -> tuple[Seamcall, ...]:
    return (
        Seamcall(
            "tdh_phymem_page_reclaim", 28, "host", (
                Leaf("PAGE", EXCLUSIVE, "RCX", (
                    Reclaimable(),
                    Implicit("TDR", SHARED, "TDR"),
                    Lifecycle((TD_TEARDOWN,)),
                    Children(-1, own_size=True),
                    PageBecomes(PT_NDA, own_size=True),
                )),
            ),
            source="tdh_phymem_page_reclaim.c; 1.5.24:87-153; 2.0.08 c1800-10300",
        ),
        *(
            Seamcall(
                name, 40, "host", (
                    WriteBack(),
                    Kot(SHARED),
                    session,
                    WriteCachesBack(begins),
                ),
                source=f"tdh_phymem_cache_wb.c, RCX = {int(not begins)}; 1.5.24:117-168; 2.0.08 c2900-8300",
            )
            for name, session, begins in (
                ("tdh_phymem_cache_wb", BeginWriteBack(), True),
                ("tdh_phymem_cache_wb_resume", ResumeWriteBack(), False),
            )
        ),
        Seamcall(
            "tdh_phymem_page_wbinvd", 41, "host", (
                Leaf("PAGE", SHARED, "RCX", (
                    TypeIs(PT_NDA),
                )),
            ),
            source="tdh_phymem_page_wbinvd.c",
        ),
        Seamcall(
            "tdh_phymem_page_rdmd", 24, "host", (
                Leaf("PAGE", SHARED, "RCX", (
                    PageType(),
                )),
            ),
            source="tdh_phymem_page_rdmd.c:46-110",
        ),
        *(_dynamic_pamt() if release.dynamic_pamt else ()),
    )


def _dynamic_pamt() -> tuple[Seamcall, ...]:
    """2 MiB of physical memory get the pages for the PAMT entries of their 4 KiB pages, or lose them."""
    return (
        Seamcall(
            "tdh_phymem_pamt_add", 58, "host", (
                Enabled(),
                Explicit("PAGE", EXCLUSIVE, "RCX", PT_NDA, own_size=True, wrong="TDX_HPA_RANGE_NOT_FREE"),
                GivePair(("RDX", "R8"), PT_NDA, 0, own=True, node=R.TARGET_2M, first=R.TARGET_4K),
            ),
            source="tdh_phymem_pamt_add.c; walk: src/common/memory_handlers/pamt_manager.c 1.5.24:378-440; 2.0.08 c15000",
            levels=(1,),
        ),
        Seamcall(
            "tdh_phymem_pamt_remove", 59, "host", (
                Enabled(),
                Explicit("PAGE", EXCLUSIVE, "RCX", PT_PAMT, own_size=True, wrong="TDX_NO_PAMT_PAGE_PAIR"),
                TakePair(),
            ),
            source="tdh_phymem_pamt_remove.c 1.5.24:119; walk: src/common/memory_handlers/pamt_manager.c 2.0.08 c15000",
            levels=(1,),
        ),
    )


def _guest(release: Release) -> tuple[Seamcall, ...]:
    return (
        Seamcall(
            "tdg_mem_page_accept", 6, "guest", (
                Accept(),
            ),
            source="src/td_dispatcher/vm_exits/tdg_mem_page_accept.c:49-326; 1.5.28 c1400; 2.0.08 c6000; 2.0.18 c1400;"
                   " 1.5.34 = 2.0.18",
            levels=LEAF_LEVELS,
        ),
        Seamcall(
            "tdg_mem_page_attr_rd", 23, "guest", (
                ReadAttributes((*GUEST_ACCESSIBLE, "PENDING", "PEND_BLOCKEDW", "PEND_EXP_BLOCKEDW", "PEND_EXP_DIRTY",
                                "PEND_EXP_DIRTY_BLOCKEDW")),
            ),
            source="src/td_dispatcher/vm_exits/tdg_mem_page_attr_rd.c:75-79",
        ),
        Seamcall(
            "tdg_mem_page_attr_wr", 24, "guest", (
                WriteAttributes(("MAPPED", "EXP_DIRTY", "PENDING", "PEND_EXP_DIRTY")),
            ),
            source="src/td_dispatcher/vm_exits/tdg_mem_page_attr_wr.c; 1.5.05:273-277; 1.5.24:367; 1.5.34 c1400;"
                   " 2.0.12 c12000",
            levels=LEAF_LEVELS,
        ),
    )


SEAMCALLS = seamcalls()
BY_NAME = {call.name: call for call in SEAMCALLS}


def by_name(release: Release) -> dict[str, Seamcall]:
    return {call.name: call for call in seamcalls(release)}


def draws_random(name: str) -> bool:
    """Whether a call draws a random number, and so may find no entropy."""
    return any(isinstance(phrase, DrawRandom) for phrase in BY_NAME[name].phrases)


def held_by(row: Seamcall, level: int = 0, release: Release = DEFAULT) -> tuple[Held, ...]:
    """The locks of a call in acquisition order, as the row says them (PAMT 1G and 2M included)."""
    return tuple(lock for phrase in row.phrases if hasattr(phrase, "locks")
                 for lock in phrase.locks(level, release))


def held_in_guest(release: Release = DEFAULT) -> tuple[Held, ...]:
    """What a vCPU holds while its guest runs, and drops when the TD exits."""
    return (*Explicit("TDVPR", release.enter_tdvpr, "RCX", PT_TDVPR).locks(release=release),
            *Implicit("TDR", SHARED, "TDR").locks(), REFCOUNT)


# --- written as subroutines ------------------------------------------------------------------

TD_EXIT = "td_exit"


def entry_label(row: Seamcall, level: int) -> str:
    """Where a call on an entry at `level` is entered."""
    return f"{row.name}.level{level}" if level and row.leveled else row.name


def write_call(listing: Listing, row: Seamcall, options: Options, level: int = 0) -> None:
    """Write a call as a subroutine: enter at its label with LINK set, it returns there."""
    guest = row.side == "guest"
    call = Call(listing, row.name, options, row.order, level, guest)
    with listing.within(call=row.name):
        listing.label(entry_label(row, level))
        listing.row(Op.CALL_BEGIN, value=listing.call_number(row.name), text=row.name)
        if not guest:
            call.work("seamcall_ns")
            faults.refuse(call)
            if options.inside:
                enter(call)
        for phrase in row.phrases:
            call.step(phrase)
        call.succeed(keeping=row.keeps, status=row.success)
    listing.flush()
    listing.held = ()


def write_exit(listing: Listing, options: Options) -> None:
    """Write the TD exit, the other half of tdh_vp_enter, as a subroutine."""
    call = Call(listing, TD_EXIT, options)
    with listing.within(call=TD_EXIT):
        listing.label(TD_EXIT)
        listing.held = held_in_guest(options.release)
        Exit().emit(call)
        if options.inside:
            leave(call)
        listing.row(Op.GO, register=R.LINK, text="return")
    listing.flush()
    listing.held = ()


def write_calls(listing: Listing, options: Options, wanted=None) -> None:
    """Write calls, each at each level where it differs, and the TD exit.

    wanted   pairs of name and level; default: all calls at all their levels
    """
    rows = by_name(options.release)
    if wanted is None:
        wanted = [(row.name, level) for row in rows.values() for level in row.levels]
    written = {}
    for name, level in wanted:
        written.setdefault(entry_label(rows[name], level), (rows[name], level))
    for row, level in written.values():
        write_call(listing, row, options, level)
    write_exit(listing, options)
