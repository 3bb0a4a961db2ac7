"""A TD's life: it is created, gets its keys and pages, is built, finalized, torn down: TDH.MNG.*, TDH.MR.*."""

from harness.protocol.calls.op_states import BUILDING, NEW, READ
from harness.protocol.calls.row import PAGE_SIZES, TDR_SIZES, Seamcall
from harness.protocol.phrases.life import (
    DrawRandom, HasVcpus, HkidBecomes, HkidIs, InitTd, KeyConfigured, Lifecycle, LifecycleBecomes, MoreTdcx,
    NewTdcx, NewTdr, NoKeyYet, NobodyAssociated, NotFatal, OpStateBecomes, TdcsStillNew, WrittenBack,
)
from harness.protocol.phrases.locking import Drop, Explicit, KeyTable, Kot, OpState, WalkToLeaf, Work
from harness.protocol.phrases.pages import Children, PageBecomes, StateIs
from harness.protocol.releases import EXCLUSIVE, SHARED, TDR, Release
from kernels.words import (
    HKID_ASSIGNED, HKID_FLUSHED, HKID_FREE, OP_STATE_INITIALIZED, OP_STATE_RUNNABLE, PT_NDA, PT_TDCX, PT_TDR,
    TD_BLOCKED, TD_HKID_ASSIGNED, TD_KEYS_CONFIGURED, TD_TEARDOWN,
)


def rows(release: Release) -> tuple[Seamcall, ...]:
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
            source="tdh_mng_create.c:69-152; 1.5.20 c2300; 1.5.24 c2300; 2.0.08 c2300",
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
            source="tdh_mng_add_cx.c:69-206; 1.5.05:88-93; 1.5.24:189-204; 2.0.08 c2400; 2.0.12 c2300; 2.0.14 c2700",
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
            source="tdh_mng_key_config.c:61-129; 1.5.05:91-97; 2.0.08 c2600; PCONFIG: src/common/helpers/helpers.c:86-91",
        ),
        Seamcall(
            "tdh_mng_init", 21, "host", (
                Explicit("TDR", EXCLUSIVE, "RCX", PT_TDR),
                OpState(None, NEW),
                InitTd(OP_STATE_INITIALIZED),
            ),
            source="tdh_mng_init.c 1.5.05 c25500; 1.5.28 c29000; 2.0.08 c28600; 2.0.12 c29300; 2.0.18 c29000",
        ),
        Seamcall(
            "tdh_mng_rdwr", 11, "host", (
                Explicit("TDR", SHARED, "RCX", PT_TDR),
                OpState(SHARED, READ),                   # TDH.MNG.WR is not allowed while a TD is exported
            ),
            source="tdh_mng_rd_wr.c:168-174 (leaves 11 and 13); 2.0.08 c3600",
        ),
        Seamcall(
            "tdh_mr_extend", 16, "host", (
                Explicit("TDR", EXCLUSIVE, "RDX", PT_TDR),
                OpState(None, BUILDING),
                WalkToLeaf(),
                StateIs(("MAPPED",), "TDX_EPT_ENTRY_NOT_PRESENT"),
            ),
            source="tdh_mr_extend.c 1.5.06 c3500; 1.5.24:119-139; 2.0.08 c4000; 2.0.14 c2900; 2.0.18 c2600",
        ),
        Seamcall(
            "tdh_mr_finalize", 17, "host", (
                Explicit("TDR", EXCLUSIVE, "RCX", PT_TDR),
                OpState(None, BUILDING),
                HasVcpus(),
                OpStateBecomes(OP_STATE_RUNNABLE),
            ),
            source="tdh_mr_finalize.c 1.5.05 c2500; 1.5.28 c2200; 2.0.08 c2700; 2.0.14 c2600",
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
            source="tdh_mng_vpflushdone.c 1.5.20 c2200; 1.5.24 c2200; 2.0.08 c2200",
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
            source="tdh_mng_key_freeid.c 1.5.01 c2500; 2.0.08 c2800",
        ),
    )
