"""Pages of 4 KiB and SEPT pages, by GPA: TDH.MEM.*."""

from harness.protocol.calls.op_states import BUILDING, BUILT, CHANGES, GROWS, READ, SHRINKS, TABLES_GROW, WRITTEN
from harness.protocol.calls.row import ANY_LEVEL, LEAF_LEVELS, PAGE_SIZES, TABLE_LEVELS, TDR_SIZES, Seamcall, td_shared
from harness.protocol.phrases.locking import Entry, EpochLock, Explicit, Implicit, OpState, Tree, TreeToLeaf, Walk
from harness.protocol.phrases.pages import (
    Add, Advance, Become, Children, ChildrenFree, Count, NoteBlocked, OwnPage, PageBecomes, PagesBelowFree, Tracked,
)
from harness.protocol.releases import EXCLUSIVE, SHARED, TDR, Release
from kernels.words import ANY_BLOCKED, ENTRY_STATES, GUEST_ACCESSIBLE, MMIO_STATES, PT_EPT, PT_NDA, PT_REG, PT_TDR

ALL_STATES = tuple(state.name for state in ENTRY_STATES)
DEVICE_STATES = tuple(state.name for state in MMIO_STATES)
BLOCK = ((("MAPPED", "BLOCKEDW"), "BLOCKED"),
         (("PENDING", "PEND_BLOCKEDW"), "PEND_BLOCKED"),
         (("NL_MAPPED",), "NL_BLOCKED"))
UNBLOCK = ((("NL_BLOCKED",), "NL_MAPPED"),
           (("BLOCKED",), "MAPPED"),
           (("PEND_BLOCKED",), "PENDING"))


def rows(release: Release) -> tuple[Seamcall, ...]:
    return (
        Seamcall(
            "tdh_mem_sept_add", 3, "host", (
                *td_shared("RDX", TABLES_GROW),
                Tree(SHARED),
                Entry(("FREE",)),
                Explicit("PAGE", EXCLUSIVE, "R8", PT_NDA),
                # The page's 512 entries are FREE already: a fresh TD, SEPT.REMOVE and PROMOTE leave them so.
                PageBecomes(PT_EPT, clear_bepoch=True),
                Children(+1),
                Become(((("FREE",), "NL_MAPPED"),), hpa="new", releases=False),
            ),
            source="tdh_mem_sept_add.c:476-510; 1.5.05:51-217; 1.5.13 c13000; 1.5.28 c9700; 2.0.08 c10000; 2.0.12 c10000; 2.0.14 c9800; 2.0.18 c9000; write:"
                   " src/common/memory_handlers/sept_manager.c 1.5.20 c20100; 1.5.24 c20200; 1.5.28 c20200; 1.5.34 c22000;"
                   " 2.0.12 c20200; 2.0.16 c20200",
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
            source="tdh_mem_page_add.c; 1.5.05:148-165; 1.5.13 c2500; 1.5.24:145-198; 2.0.08 c4200; 2.0.12 c4200; 2.0.14 c4400; 2.0.18 c3500; write:"
                   " src/common/memory_handlers/sept_manager.c:449-456",
        ),
        Seamcall(
            "tdh_mem_page_aug", 6, "host", (
                *td_shared("RDX", GROWS),
                Tree(SHARED),
                Entry(("FREE", "REMOVED")),
                Explicit("PAGE", EXCLUSIVE, "R8", PT_NDA, own_size=True),
                PagesBelowFree(),
                Count("mem_count", +1),
                Become(((("FREE", "REMOVED"), "PENDING"),), hpa="new", releases=True),
                Children(+1, own_size=True),
                PageBecomes(PT_REG, clear_bepoch=True, own_size=True),
            ),
            source="tdh_mem_page_aug.c:66-215; 1.5.13 c2300; 1.5.28 c5700; 2.0.08 c5500; 2.0.12 c3800; 2.0.14 c3300; 2.0.18 c1400;"
                   " 1.5.34 = 2.0.18",
            levels=LEAF_LEVELS,
        ),
        Seamcall(
            "tdh_mem_range_block", 7, "host", (
                *td_shared("RDX", CHANGES),
                Tree(EXCLUSIVE),
                Entry(("NL_MAPPED", "MAPPED", "BLOCKEDW", "PENDING", "PEND_BLOCKEDW"),
                      blocked="TDX_GPA_RANGE_ALREADY_BLOCKED"),
                Count("blocked", +1),
                OwnPage(checked=True),
                Become(BLOCK, hpa="copy", releases=False),
                NoteBlocked(),
            ),
            source="tdh_mem_range_block.c:118-300; 1.5.05 c4700; 1.5.13 c4900; 1.5.16 c4900; 2.0.08 c6300;"
                   " 2.0.12 c6300; 2.0.14 c6300; 2.0.18 c1400; 1.5.34 = 2.0.18",
            levels=ANY_LEVEL,
        ),
        Seamcall(
            "tdh_mem_range_unblock", 39, "host", (
                *td_shared("RDX", CHANGES),
                Tree(EXCLUSIVE),
                Entry(("NL_BLOCKED", "BLOCKED", "PEND_BLOCKED")),
                OwnPage(checked=True),
                Tracked(not_tracked=release.unblock_operand, not_blocked=False),
                Become(UNBLOCK, hpa="copy", releases=True, keeps_counter=True),
                Count("blocked", -1),
            ),
            source="tdh_mem_range_unblock.c:90-260; 1.5.05 c2300; 1.5.13 c2200; 1.5.16 c5000; 1.5.20 c6500; 1.5.24 c3600;"
                   " 1.5.34 c1400; 2.0.08 c3000; 2.0.12 c7000; 2.0.14 c8000; 2.0.18 c3000",
            levels=ANY_LEVEL,
        ),
        Seamcall(
            "tdh_mem_track", 38, "host", (
                Explicit("TDR", SHARED, "RCX", PT_TDR),
                OpState(SHARED, BUILT),
                EpochLock(EXCLUSIVE),
                Advance(),
            ),
            source="tdh_mem_track.c:60-140; 1.5.05 c2100; 1.5.13 c2200; 1.5.20 c2600; 1.5.24 c2600; 2.0.08 c2100; 2.0.14 c2000",
        ),
        Seamcall(
            "tdh_mem_page_remove", 29, "host", (
                *td_shared("RDX", SHRINKS),
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
            source="tdh_mem_page_remove.c:66-265; 1.5.13 c2000; 1.5.16 c5000; 1.5.20 c3300; 1.5.24 c3300; 2.0.08 c5500;"
                   " 2.0.12 c4300; 2.0.14 c5700; 1.5.34 c1400; 2.0.18 c8500",
            levels=LEAF_LEVELS,
        ),
        Seamcall(
            "tdh_mem_sept_remove", 30, "host", (
                *td_shared("RDX", READ),
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
            source="tdh_mem_sept_remove.c:66-330; 1.5.13 c2500; 1.5.16 c5000; 1.5.20 c3900; 1.5.24 c3900;"
                   " 1.5.28 c9000; 2.0.08 c5500; 2.0.12 c6300; 2.0.14 c9000; 2.0.16 c9000;"
                   " 1.5.34 c1400; 2.0.18 c1000",
            order=("SEPT_ENTRY", "PAGE", "SEPT_TREE", "OP_STATE", *TDR_SIZES),
            levels=TABLE_LEVELS,
        ),
        Seamcall(
            "tdh_mem_sept_rd", 25, "host", (
                *td_shared("RDX", READ),
                Tree(SHARED),
                Entry(ALL_STATES + DEVICE_STATES * release.connect),
            ),
            source="tdh_mem_sept_rd.c 1.5.01 c3700; 1.5.28 c3300; 1.5.34 c1300; 2.0.08 c5200; 2.0.12 c3500",
            levels=ANY_LEVEL,
        ),
        *(
            Seamcall(
                name, leaf, "host", (
                    *td_shared("RDX", op_states),
                    TreeToLeaf(SHARED),
                    Entry(states),
                ),
                source="tdh_mem_rd_wr.c:193-215; 1.5.34 c3000; 2.0.08 c3700; only debug TDs: all TDs here are",
                order=(*TDR_SIZES, "SEPT_ENTRY", "SEPT_TREE", "OP_STATE") if release.rd_wr_drops_first == TDR else (),
            )
            for name, leaf, op_states, states in (
                ("tdh_mem_rd", 12, READ, GUEST_ACCESSIBLE),
                ("tdh_mem_wr", 14, WRITTEN, ("MAPPED", "EXP_DIRTY")),
            )
        ),
    )
