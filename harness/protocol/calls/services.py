"""Service TDs and measurements: TDH.SERVTD.*, TDG.SERVTD.*, TDG.MR.RTMR.EXTEND, TDG.MR.REPORT.

Files of src/vmm_dispatcher/migration_api_calls; `1.5.25:N` is a line there, `2.0.08 cN` a character of the file.
"""

from harness.protocol.calls.row import Seamcall, td_shared
from harness.protocol.phrases.services import (
    Bind, Bindings, Hashed, IsBound, Prebind, ReportInterruptible, Rtmr, ServiceOpState, ServiceTdr, Target,
)
from harness.protocol.releases import EXCLUSIVE, SHARED, Release
from kernels.words import (
    OP_STATE_INITIALIZED, OP_STATE_LIVE_EXPORT, OP_STATE_LIVE_IMPORT, OP_STATE_PAUSED_EXPORT, OP_STATE_POST_EXPORT,
    OP_STATE_POST_IMPORT, OP_STATE_RUNNABLE, OP_STATE_UNINITIALIZED,
)

# op_state_lookup.c: in which op_states a call is allowed, of the target and of the service TD.
BOUND_IN = (OP_STATE_UNINITIALIZED, OP_STATE_INITIALIZED, OP_STATE_RUNNABLE, OP_STATE_LIVE_EXPORT, OP_STATE_POST_IMPORT,
            OP_STATE_LIVE_IMPORT)
SERVES_IN = (OP_STATE_RUNNABLE, OP_STATE_LIVE_EXPORT, OP_STATE_PAUSED_EXPORT, OP_STATE_POST_EXPORT, OP_STATE_POST_IMPORT,
             OP_STATE_LIVE_IMPORT)


def rows(release: Release) -> tuple[Seamcall, ...]:
    if release.report_only:
        return ()
    read = tuple(range(release.op_states))
    written = tuple(state for state in read if state not in (OP_STATE_PAUSED_EXPORT, OP_STATE_POST_EXPORT))
    return (
        Seamcall(
            "tdh_servtd_bind", 48, "host", (
                *td_shared("RCX", BOUND_IN),
                ServiceTdr(),
                ServiceOpState(SERVES_IN),
                Bindings(EXCLUSIVE),
                Rtmr(SHARED),
                Hashed(),
                Bind(),
            ),
            source="tdh_servtd_bind.c 2.0.08 c2800-12500; 1.5.34 c3500",
        ),
        Seamcall(
            "tdh_servtd_prebind", 49, "host", (
                *td_shared("RCX", (OP_STATE_UNINITIALIZED, OP_STATE_INITIALIZED)),
                Bindings(EXCLUSIVE),
                Prebind(),
            ),
            source="tdh_servtd_prebind.c 1.5.25:60-187; 2.0.08 c2600-7400",
        ),
        *(
            Seamcall(
                name, leaf, "guest", (
                    Target(allowed),
                    Bindings(SHARED),
                    IsBound(),
                    Rtmr(SHARED),
                    Hashed(),
                ),
                source="tdg_servtd_rd_wr.c 1.5.01 c2300; 1.5.13 c4400; 1.5.16 c1900; 1.5.25:93-290; 2.0.08 c4200; 2.0.16 c4000;"
                       " 2.0.18 c4200",
            )
            for name, leaf, allowed in (("tdg_servtd_rd", 18, read), ("tdg_servtd_wr", 20, written))
        ),
        Seamcall(
            "tdg_mr_rtmr_extend", 2, "guest", (
                Rtmr(EXCLUSIVE),
                Hashed(),
            ),
            source="src/td_dispatcher/vm_exits/tdg_mr_rtmr_extend.c 1.5.25:53-149; 2.0.08 c4500",
        ),
        Seamcall(
            "tdg_mr_report", 4, "guest", (
                Rtmr(SHARED),
                Hashed(),
                ReportInterruptible(),
            ),
            source="src/td_dispatcher/vm_exits/tdg_mr_report.c 1.5.34 c1400; 2.0.08 c2000; lock: helpers.c 1.5.25:2172-2282",
        ),
        *([
            Seamcall(
                "tdg_mr_key_get", 29, "guest", (
                    Rtmr(SHARED, plain=True),
                    Hashed(keeps=True),
                ),
                source="src/td_dispatcher/vm_exits/tdg_mr_key_get.c 1.5.34 c1800-12300",
            ),
        ] if release.mr_key_get else []),
    )
