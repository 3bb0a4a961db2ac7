"""vCPUs: TDH.VP.*."""

from harness.protocol.calls.op_states import BUILDING, READ, RUNNING, VCPUS_MADE
from harness.protocol.calls.row import PAGE_SIZES, TDVPR_SIZES, Seamcall
from harness.protocol.phrases.life import Lifecycle
from harness.protocol.phrases.locking import Explicit, Implicit, OpState
from harness.protocol.phrases.pages import Children, PageBecomes
from harness.protocol.phrases.vcpus import (
    Associate, CountIn, Dissociate, EntryFilter, InitVcpu, MoreVcpuPages, NewVcpu, NewVcpuPage, VcpuComplete,
    VcpuIs,
)
from harness.protocol.releases import EXCLUSIVE, SHARED, Release
from kernels.words import PT_NDA, PT_TDCX, PT_TDR, PT_TDVPR, TD_KEYS_CONFIGURED, VCPU_UNINITIALIZED

# Of both versions of TDH.VP.INIT: the same file has them.
INIT = "1.5.05 c4400; 1.5.13 c4300; 1.5.16 c4300; 2.0.08 c4000; 2.0.16 c3500"


def rows(release: Release) -> tuple[Seamcall, ...]:
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
            source="tdh_vp_create.c 1.5.01 c3200; 1.5.28 c3000; 2.0.08 c3000; 2.0.14 c2500",
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
            source="tdh_vp_addcx.c 1.5.28 c2600; 2.0.08 c3300",
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
                ("tdh_vp_init", SHARED, f"tdh_vp_init.c 1.5.01 c5000, version 0; {INIT}"),
                ("tdh_vp_init_apicid", release.init_apicid_tdr, f"tdh_vp_init.c:143-149, version 1; {INIT}"),
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
            source="src/td_transitions/tdh_vp_enter.c:553-975; 1.5.05:606; 1.5.06 c27000; 1.5.13 c27500; 1.5.16 c27500; 1.5.24:696;"
                   " 1.5.28 c29600; 1.5.34 c24000; 2.0.08 c28500; 2.0.12 c28500; 2.0.14 c33000; 2.0.16 c30000; 2.0.18 c17000;"
                   " filter: src/td_transitions/td_exit_stepping.c 1.5.20 c11000; 2.0.08 c11000; 2.0.12 c5000",
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
            source="tdh_vp_flush.c:124-151; 1.5.13 c2200; 1.5.28 c2400; 2.0.08 c3100",
        ),
        Seamcall(
            "tdh_vp_rd_wr", 26, "host", (
                Explicit("TDVPR", SHARED, "RCX", PT_TDVPR),
                Implicit("TDR", SHARED, "TDR"),
                OpState(SHARED, READ),
                Associate(),
            ),
            source="tdh_vp_rd_wr.c 2.0.08 c4400 (leaves 26 and 43)",
        ),
    )
