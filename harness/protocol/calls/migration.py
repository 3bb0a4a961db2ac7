"""Live migration: TDH.EXPORT.*, TDH.IMPORT.*, TDH.MIG.STREAM.CREATE.

Files of src/vmm_dispatcher/migration_api_calls; `1.5.25:N` is a line there, `2.0.08 cN` a character of the file
in that release.  The locks of these calls are the same in every release that was read.
"""

from harness.protocol.calls.op_states import EXPORTING, IMPORTING
from harness.protocol.calls.row import PAGE_SIZES, TDR_SIZES, Seamcall, td_exclusive, td_shared
from harness.protocol.phrases.life import DrawRandom, OpStateBecomes
from harness.protocol.phrases.locking import Entry, Explicit, Implicit, OpState, Tree, TreeLock
from harness.protocol.phrases.imports import CancelPages, ImportPages
from harness.protocol.phrases.migration import (
    BACKWARD, BLOCKED_FOR_WRITING, BY_PAGE, EXPORTED_CLEAN, EXPORTED_DIRTY, NEVER_EXPORTED, UNBLOCK_WRITING,
    BlockWriting, CountDirty, EnoughStreams, EpochMoves, EpochToken, ExportBegins, ExportEnds, ExportPages,
    Interruptible, Migration, NewOrFatal, NewStream, NothingExported, RestorePages, RoomForStream, StartToken, Stream,
)
from harness.protocol.phrases.pages import Become, Children, PageBecomes
from harness.protocol.phrases.vcpus import Associate, InitVcpu, VcpuComplete
from harness.protocol.releases import EXCLUSIVE, SHARED, Release
from kernels.words import (
    OP_STATE_FAILED_IMPORT, OP_STATE_INITIALIZED, OP_STATE_LIVE_EXPORT, OP_STATE_LIVE_IMPORT, OP_STATE_MEMORY_IMPORT,
    OP_STATE_PAUSED_EXPORT, OP_STATE_POST_IMPORT, OP_STATE_RUNNABLE, OP_STATE_START_EXPORT,
    OP_STATE_START_IMPORT, OP_STATE_STATE_IMPORT, OP_STATE_UNINITIALIZED, PT_NDA, PT_TDCX, PT_TDVPR, TDX_FATAL,
)

# op_state_lookup.c: in which op_states a call is allowed; START_IMPORT from 1.5.24 on.
STREAMS_MADE = (OP_STATE_UNINITIALIZED, OP_STATE_INITIALIZED, OP_STATE_RUNNABLE)
TARGET_NEW = (OP_STATE_UNINITIALIZED, OP_STATE_START_IMPORT)


def rows(release: Release) -> tuple[Seamcall, ...]:
    if release.report_only:
        return ()
    return (*_export(), *_import())


def _export() -> tuple[Seamcall, ...]:
    return (
        Seamcall(
            "tdh_mig_stream_create", 96, "host", (
                *td_shared("RDX", STREAMS_MADE, EXCLUSIVE),
                Migration(EXCLUSIVE),
                RoomForStream(),
                Explicit("PAGE", EXCLUSIVE, "RCX", PT_NDA),
                Children(+1),
                PageBecomes(PT_TDCX),
                NewStream(),
            ),
            source="tdh_mig_stream_create.c 1.5.25:62-173; 2.0.08 c2700-7200",
        ),
        Seamcall(
            "tdh_export_state_immutable", 72, "host", (
                *td_shared("RCX", (OP_STATE_RUNNABLE, OP_STATE_LIVE_IMPORT), EXCLUSIVE),
                Migration(EXCLUSIVE),
                NothingExported(),
                EnoughStreams(),
                Stream(),
                DrawRandom(),                            # the next session's key
                ExportBegins(),
                Interruptible(OP_STATE_START_EXPORT),
                OpStateBecomes(OP_STATE_LIVE_EXPORT),
            ),
            source="tdh_export_state_immutable.c 2.0.08 c2500-22400; START_EXPORT derived",
        ),
        Seamcall(
            "tdh_export_blockw", 65, "host", (
                *td_shared("RDX", (OP_STATE_LIVE_EXPORT,)),
                TreeLock(SHARED),
                BlockWriting(("MAPPED", "EXP_DIRTY", "PENDING", "PEND_EXP_DIRTY")),
            ),
            source="tdh_export_blockw.c 1.5.25:73-324; 2.0.08 c3300; 2.0.18 c2500",
        ),
        Seamcall(
            "tdh_export_unblockw", 75, "host", (
                *td_shared("RDX", (OP_STATE_RUNNABLE, *EXPORTING)),
                Tree(SHARED),
                Entry(BLOCKED_FOR_WRITING),
                Become(UNBLOCK_WRITING, hpa="copy", releases=False),
                CountDirty(),
            ),
            source="tdh_export_unblockw.c 1.5.25:74-274; 2.0.08 c3300; 2.0.18 c2000",
        ),
        Seamcall(
            "tdh_export_restore", 66, "host", (
                *td_shared("RDX", (OP_STATE_RUNNABLE,)),
                TreeLock(SHARED),
                RestorePages((*EXPORTED_CLEAN, *EXPORTED_DIRTY)),
            ),
            source="tdh_export_restore.c 2.0.08 c2500-13100; 2.0.18 c6000",
        ),
        Seamcall(
            "tdh_export_mem", 68, "host", (
                *td_shared("RDX", EXPORTING),
                Migration(SHARED),
                Stream(BY_PAGE, begins=True),
                TreeLock(SHARED),
                ExportPages((*NEVER_EXPORTED, *EXPORTED_CLEAN, *EXPORTED_DIRTY)),
            ),
            source="tdh_export_mem.c 2.0.08 c6500-40700; 1.5.34 c24000",
            order=("MIGSC", "SEPT_ENTRY", "SEPT_TREE", "MIG", "OP_STATE", *TDR_SIZES),
        ),
        Seamcall(
            "tdh_export_pause", 70, "host", (
                *td_exclusive("RCX", (OP_STATE_LIVE_EXPORT,)),
                EpochMoves(),
                OpStateBecomes(OP_STATE_PAUSED_EXPORT),
            ),
            source="tdh_export_pause.c 2.0.08 c2200-5500; 2.0.18 c1400",
        ),
        Seamcall(
            "tdh_export_track", 71, "host", (
                *td_shared("RCX", (OP_STATE_LIVE_EXPORT, OP_STATE_PAUSED_EXPORT), EXCLUSIVE),
                Migration(EXCLUSIVE),
                Stream(initialized=True),
                EpochToken(),
            ),
            source="tdh_export_track.c 2.0.08 c2100-10300; 2.0.18 c1400",
        ),
        Seamcall(
            "tdh_export_state_td", 73, "host", (
                *td_shared("RCX", (OP_STATE_PAUSED_EXPORT,), EXCLUSIVE),
                Stream(initialized=True),
                Interruptible(),
            ),
            source="tdh_export_state_td.c 2.0.08 c2200-15900",
        ),
        Seamcall(
            "tdh_export_state_vp", 74, "host", (
                Explicit("TDVPR", EXCLUSIVE, "RCX", PT_TDVPR),
                Implicit("TDR", SHARED, "TDR"),
                OpState(SHARED, (OP_STATE_PAUSED_EXPORT,)),
                Associate(),
                Stream(begins=True),
                Interruptible(),
            ),
            source="tdh_export_state_vp.c 2.0.08 c2100-18400",
        ),
        Seamcall(
            "tdh_export_abort", 64, "host", (
                *td_shared("RCX", EXPORTING, EXCLUSIVE),
                Migration(EXCLUSIVE),
                ExportEnds(),
            ),
            source="tdh_export_abort.c 2.0.08 c2200-10500; 1.5.34 c1400",
        ),
    )


def _import() -> tuple[Seamcall, ...]:
    return (
        Seamcall(
            "tdh_import_state_immutable", 85, "host", (
                *td_exclusive("RCX", TARGET_NEW),
                EnoughStreams(),
                Stream(begins=True),
                Interruptible(OP_STATE_START_IMPORT),
                OpStateBecomes(OP_STATE_MEMORY_IMPORT),
            ),
            source="tdh_import_state_immutable.c 2.0.08 c13000-25000; START_IMPORT: 1.5.25:540",
        ),
        *(
            Seamcall(
                name, 83, "host", (
                    *td_shared("RDX", IMPORTING),
                    Migration(SHARED),
                    Stream(BY_PAGE, begins=True),
                    TreeLock(SHARED),
                    pages(("FREE", "REMOVED", "MAPPED", "PENDING")),
                ),
                source=source,
                order=(*PAGE_SIZES, "SEPT_ENTRY", "MIGSC", "MIG", "SEPT_TREE", "OP_STATE", *TDR_SIZES),
            )
            # One leaf, two rows: each list says one thing of all its pages.  A list that brings some pages and takes back others is
            # in no row (each entry is done by itself, under its own locks: phrases/imports.py).
            for name, pages, source in (
                ("tdh_import_mem", ImportPages, "tdh_import_mem.c 1.5.25:534-1593; 1.5.20 c38000-54000; 1.5.24 c10500-54000;"
                 " 2.0.08 c13800-70900; 1.5.34 c22000-54000"),
                ("tdh_import_mem_cancel", CancelPages, "tdh_import_mem.c 1.5.20 c63000; 1.5.24 c16000-65000; 1.5.28 c61200;"
                 " 1.5.34 c61200; 2.0.08 c63500; 2.0.12 c63000; 2.0.16 c63000; 2.0.18 c64500"),
            )
        ),
        Seamcall(
            "tdh_import_track", 84, "host", (
                *td_exclusive("RCX", (OP_STATE_MEMORY_IMPORT, OP_STATE_STATE_IMPORT)),
                Stream(initialized=True),
                StartToken(),
            ),
            source="tdh_import_track.c 2.0.08 c2100-9300",
        ),
        Seamcall(
            "tdh_import_state_td", 86, "host", (
                *td_exclusive("RCX", (OP_STATE_MEMORY_IMPORT,)),
                Stream(initialized=True),
                Interruptible(),
                OpStateBecomes(OP_STATE_STATE_IMPORT),
            ),
            source="tdh_import_state_td.c 2.0.08 c2200-18400; op_state derived",
        ),
        Seamcall(
            "tdh_import_state_vp", 87, "host", (
                Explicit("TDVPR", EXCLUSIVE, "RCX", PT_TDVPR),
                Implicit("TDR", SHARED, "TDR"),
                OpState(SHARED, (OP_STATE_STATE_IMPORT,)),
                VcpuComplete(),
                Stream(begins=True),
                NewOrFatal(),
                Interruptible(),
                InitVcpu(),
            ),
            source="tdh_import_state_vp.c 1.5.25:219-578; 2.0.08 c3200-25000",
        ),
        Seamcall(
            "tdh_import_commit", 82, "host", (
                *td_exclusive("RCX", (OP_STATE_POST_IMPORT,)),
                OpStateBecomes(OP_STATE_LIVE_IMPORT),
            ),
            source="tdh_import_commit.c 2.0.08 c1900-4100",
        ),
        Seamcall(
            "tdh_import_end", 81, "host", (
                *td_exclusive("RCX", (OP_STATE_POST_IMPORT, OP_STATE_LIVE_IMPORT)),
                OpStateBecomes(OP_STATE_RUNNABLE),
            ),
            source="tdh_import_end.c 1.5.01 c1800-4300; 2.0.08 c2200",
        ),
        Seamcall(
            "tdh_import_abort", 80, "host", (
                *td_exclusive("RCX", (OP_STATE_MEMORY_IMPORT, OP_STATE_STATE_IMPORT, OP_STATE_POST_IMPORT,
                                      OP_STATE_FAILED_IMPORT)),
                Stream(BACKWARD, begins=True),
                OpStateBecomes(OP_STATE_FAILED_IMPORT),
            ),
            source="tdh_import_abort.c 2.0.08 c2100-7900",
            success=TDX_FATAL,                           # gone through, and the TD can only be torn down
        ),
    )
