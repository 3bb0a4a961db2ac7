"""The module itself: TDH.SYS.*.

Files of src/vmm_dispatcher/api_calls; `1.5.25:N` is a line there, `2.0.08 cN` a character of the file.
"""

from harness.memory.layout import SYS_CONFIG_DONE, SYS_INIT_DONE, SYS_INIT_PENDING, SYS_READY, SYS_SHUTDOWN
from harness.protocol.calls.row import Seamcall
from harness.protocol.phrases.life import DrawRandom
from harness.protocol.phrases.system import (
    Global, InitProcessor, InitTdmr, KeyPackage, NobodyElseInside, ProcessorPending, ProcessorsReady, SysState, SysStateBecomes,
    Tdmr,
)
from harness.protocol.releases import EXCLUSIVE, SHARED, Release


def rows(release: Release) -> tuple[Seamcall, ...]:
    if release.report_only:
        return ()
    return (
        Seamcall(
            "tdh_sys_init", 33, "host", (
                Global(EXCLUSIVE),
                SysState(SYS_INIT_PENDING, "TDX_SYS_INIT_NOT_PENDING"),
                DrawRandom(),                            # the stack canary
                SysStateBecomes(SYS_INIT_DONE),
            ),
            source="tdh_sys_init.c 1.5.05 c57100; 1.5.20 c63200; 1.5.24 c63500; 1.5.25:1512; 1.5.34 c64000; 2.0.08 c65500;"
            " 2.0.18 c66400",
        ),
        Seamcall(
            "tdh_sys_lp_init", 35, "host", (
                Global(SHARED),
                SysState(SYS_INIT_DONE, "TDX_SYS_LP_INIT_NOT_PENDING"),
                ProcessorPending(),
                *([DrawRandom()] if release.lp_init_draws else []),      # where single-stepping's random numbers begin
                InitProcessor(),
            ),
            source="tdh_sys_lp_init.c 1.5.01 c17900; 1.5.05 c17900; 1.5.06 c17950; 1.5.13 c18700; 1.5.16 c18650; 1.5.20 c18900;"
            " 1.5.24 c18600; 1.5.25:500;"
            " 1.5.34 c18600; 2.0.08 c22750; 2.0.18 c22600",
        ),
        Seamcall(
            "tdh_sys_config", 45, "host", (
                Global(EXCLUSIVE),
                SysState(SYS_INIT_DONE, "TDX_SYS_CONFIG_NOT_PENDING"),
                ProcessorsReady("TDX_SYS_CONFIG_NOT_PENDING"),
                SysStateBecomes(SYS_CONFIG_DONE),
            ),
            source="tdh_sys_config.c 1.5.25:764; 2.0.08 c31300",
        ),
        Seamcall(
            "tdh_sys_key_config", 31, "host", (
                Global(EXCLUSIVE),
                SysState(SYS_CONFIG_DONE, "TDX_SYS_KEY_CONFIG_NOT_PENDING"),
                DrawRandom("TDX_KEY_GENERATION_FAILED"),     # PCONFIG
                KeyPackage(SYS_READY),
            ),
            source="tdh_sys_key_config.c 1.5.25:43; 2.0.08 c2200",
        ),
        Seamcall(
            "tdh_sys_tdmr_init", 36, "host", (
                Tdmr(),
                InitTdmr(),
            ),
            source="tdh_sys_tdmr_init.c 1.5.01 c2200; 1.5.25:89; 2.0.08 c3300",
        ),
        Seamcall(
            "tdh_sys_shutdown", 52, "host", (
                Global(EXCLUSIVE),
                SysState(SYS_READY, "TDX_SYS_NOT_READY"),
                SysStateBecomes(SYS_SHUTDOWN),
                NobodyElseInside(),
            ),
            source="tdh_sys_shutdown.c 1.5.01 c2600; 1.5.24 c2800; 1.5.25:51-139; 2.0.08 c2700",
        ),
        Seamcall(
            "tdh_sys_update", 53, "host", (
                Global(EXCLUSIVE),
                SysState(SYS_INIT_DONE, "TDX_SYS_STATE_INCORRECT"),
                ProcessorsReady("TDX_SYS_STATE_INCORRECT"),
                SysStateBecomes(SYS_READY),
            ),
            source="tdh_sys_update.c 1.5.20 c2200; 1.5.24 c2200; 1.5.25:49; 2.0.08 c2200-4200; 2.0.18 c2900",
        ),
    )
