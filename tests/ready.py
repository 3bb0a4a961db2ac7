"""For each call, a TD in which it succeeds: what tests start from when they ask the same of all calls."""

from harness.memory.layout import (
    BOUND, KOT_PACKAGES, MIGSC_INITIALIZED, MMIOMT_MAPPED, NOT_BOUND, NOTED, PRE_BOUND, STREAMS, SYS_CONFIG_DONE, SYS_INIT_DONE,
    SYS_INIT_PENDING, SYS_READY, TDVPS_LP, TDVPS_STATE, TDVPS_TDCX,
    WBT_POINT,
)
from kernels.epoch import epoch_word
from kernels.words import (
    HKID_ASSIGNED, HKID_FLUSHED, HKID_FREE, OP_STATE_LIVE_EXPORT, OP_STATE_MEMORY_IMPORT, OP_STATE_PAUSED_EXPORT,
    OP_STATE_POST_EXPORT, OP_STATE_POST_IMPORT, OP_STATE_STATE_IMPORT, OP_STATE_UNINITIALIZED, PT_EPT, PT_NDA, PT_REG, TD_BLOCKED, TD_HKID_ASSIGNED,
    TD_KEYS_CONFIGURED, TD_TEARDOWN, TDCS_PAGES, TDVPS_PAGES, VCPU_UNINITIALIZED,
)
from tests.stage import ABOUT_PAGES, Stage

PAGE = 3
BY_VCPU = ("tdh_vp_create", "tdh_vp_addcx", "tdh_vp_init", "tdh_vp_init_apicid", "tdh_vp_enter", "tdh_vp_flush",
           "tdh_vp_rd_wr", "tdh_export_state_vp", "tdh_import_state_vp", "tdg_mem_page_accept", "tdg_mem_page_attr_rd", "tdg_mem_page_attr_wr",
           "tdg_servtd_rd", "tdg_servtd_wr", "tdg_mr_rtmr_extend", "tdg_mr_report", "tdg_mr_key_get",
           "tdg_tdi_mmio_accept")
BUILDING = ("tdh_mr_extend", "tdh_mr_finalize", "tdh_mem_page_add", "tdh_vp_create", "tdh_vp_addcx", "tdh_vp_init",
            "tdh_vp_init_apicid")


def caller(stage: Stage, call: str, number: int = 0):
    """The actor that makes a call."""
    return stage.actor(f"vcpu{number}" if call in BY_VCPU else f"host{number}")


def levels(row) -> tuple:
    """The levels, or the groups of pages, at which `ready` knows a call."""
    return dict.fromkeys(("tdh_mng_add_cx", "tdh_vp_addcx", "tdh_mig_stream_create"), ("tdcx",)).get(
        row.name, ("data",) if row.name in ABOUT_PAGES else row.levels)


def ready(stage: Stage, call: str, level) -> int:
    """Bring a built TD into a state in which a call at a level succeeds; returns the page it is about."""
    if not stage.layout.dynamic_pamt:
        return _ready(stage, call, level)
    stage.memory.take_pairs()
    page = _ready(stage, call, level)
    stage.memory.give_pairs(data=(call, level) not in (("tdh_phymem_pamt_add", 1), ("tdh_mem_page_aug", 1)))
    return page


def _ready(stage: Stage, call: str, level) -> int:
    if call in BUILDING:
        stage.set_word("op_state", 1, width=64)
    if call in _LIFE:
        return _LIFE[call](stage) or 0
    if call.startswith("tdh_phymem_pamt"):
        return 0
    if call in ("tdh_mem_sept_add", "tdh_mem_page_aug", "tdh_mem_page_add"):
        stage.build_tables(PAGE, level)
    elif call == "tdg_mem_page_accept":
        stage.map_page(page(level), "PENDING", level)
    elif call in ("tdh_mem_page_remove", "tdh_mem_range_unblock", "tdh_mem_page_demote", "tdh_mem_page_relocate"):
        if level < 2:
            stage.map_page(page(level), "BLOCKED", level)
        else:
            table(stage, "NL_BLOCKED", level)
        tracked(stage)
    elif call in ("tdh_mem_sept_remove", "tdh_mem_page_promote"):
        table(stage, "NL_BLOCKED", level)
        tracked(stage)
        if call == "tdh_mem_page_promote":
            for part in range(512):
                stage.set_entry(part, "MAPPED")
                stage.set_type("data", part, PT_REG)
    elif level == 2:
        table(stage, "NL_MAPPED", level)
    else:
        stage.map_page(page(level), "MAPPED", level)
    return page(level)


def page(level: int) -> int:
    """A page with the entry that a call at a level is about: one that begins at a multiple of its size."""
    return PAGE if level == 0 else 0


def table(stage: Stage, state: str, level: int) -> None:
    """An SEPT page with nothing in it, in the entry of page 0."""
    stage.build_tables(0, level)
    stage.set_entry(0, state, level)
    stage.set_type(("", "pt_pages", "pd_pages")[level], 0, PT_EPT)


def tracked(stage: Stage) -> None:
    stage.set_word("epoch", epoch_word(5), width=64)


def vcpu_word(stage: Stage, offset: int, value: int, width: int) -> None:
    stage.memory.set_word(stage.layout.at("tdvps") + offset, value, width)


def _new_td(stage):
    stage.set_type("control", 0, PT_NDA)
    stage.set_word("kot", HKID_FREE, width=64)


def _add_cx(stage):
    stage.set_lifecycle(TD_KEYS_CONFIGURED, tdcx=TDCS_PAGES - 1)
    stage.set_type("tdcx", TDCS_PAGES - 1, PT_NDA)
    return TDCS_PAGES - 1


def _key_config(stage):
    stage.set_lifecycle(TD_HKID_ASSIGNED)
    stage.set_word("keys", 0, width=64)


def _vp_create(stage):
    stage.set_type("control", 1, PT_NDA)


def _vp_addcx(stage):
    vcpu_word(stage, TDVPS_STATE, VCPU_UNINITIALIZED, 8)
    vcpu_word(stage, TDVPS_TDCX, 0, 8)
    stage.set_type("tdcx", TDCS_PAGES, PT_NDA)
    return TDCS_PAGES


def _vp_init(stage):
    vcpu_word(stage, TDVPS_STATE, VCPU_UNINITIALIZED, 8)
    vcpu_word(stage, TDVPS_TDCX, TDVPS_PAGES - 1, 8)


def _vp_flush(stage):
    vcpu_word(stage, TDVPS_LP, 1, 32)                    # vcpu0 is logical processor 1 (Register.ME)
    stage.set_word("num_assoc_vcpus", 1, width=64)


def _key_freeid(stage):
    stage.set_lifecycle(TD_BLOCKED)
    stage.set_word("kot", HKID_FLUSHED, width=64)


def _cache_wb(stage):
    stage.set_word("kot", HKID_FLUSHED | 1 << 8 * KOT_PACKAGES, width=64)


def _cache_wb_resume(stage):
    _cache_wb(stage)
    stage.memory.set_word(stage.layout.at("wbt") + WBT_POINT, 1)
    stage.memory.set_word(stage.layout.at("kot") + KOT_PACKAGES, NOTED, 8)


def _reclaim(stage):
    stage.set_lifecycle(TD_TEARDOWN)
    stage.set_type("data", PAGE, PT_REG)
    return PAGE


def _extend(stage):
    stage.map_page(PAGE)
    return PAGE


def _nothing(stage):
    assert stage.word("kot", width=64) == HKID_ASSIGNED


# --- migration ---

def migration(stage: Stage, op_state: int | None = None, epoch: int = 0) -> None:
    """Streams have been made, and a session has come as far as op_state."""
    stage.set_word("num_migs", STREAMS, width=64)
    stage.set_word("mig_epoch", epoch, width=64)
    stage.set_word("mig_count", 10, width=64)
    stage.set_word("dirty_count", 10, width=64)
    for number in range(STREAMS - 1):
        stage.memory.set_word(stage.layout.at("migsc", number) + MIGSC_INITIALIZED, 1, 8)
    if op_state is not None:
        stage.set_word("op_state", op_state, width=64)


def _stream_create(stage):
    stage.set_type("tdcx", TDCS_PAGES, PT_NDA)
    return TDCS_PAGES


def _export_begins(stage):
    migration(stage)
    stage.set_word("mig_count", 0, width=64)


def _import_vp(stage):
    migration(stage, OP_STATE_STATE_IMPORT)
    vcpu_word(stage, TDVPS_STATE, VCPU_UNINITIALIZED, 8)


def _listed(op_state, state, also=""):
    """PAGE and the page behind it in a state (or another), epoch 5 having come since they were blocked."""
    def prepare(stage):
        migration(stage, op_state, epoch=3)
        stage.build_tables(PAGE)
        for page, name in ((PAGE, state), (PAGE + 1, also or state)):
            if name != "FREE":
                stage.map_page(page, name)
        tracked(stage)
        return PAGE
    return prepare


def _at(op_state):
    return lambda stage: migration(stage, op_state)


_MIGRATION = {
    "tdh_mig_stream_create": _stream_create,
    "tdh_export_state_immutable": _export_begins, "tdh_export_pause": _at(OP_STATE_LIVE_EXPORT),
    "tdh_export_blockw": _listed(OP_STATE_LIVE_EXPORT, "MAPPED", "EXP_DIRTY"),
    "tdh_export_unblockw": _listed(OP_STATE_LIVE_EXPORT, "BLOCKEDW"),
    "tdh_export_mem": _listed(OP_STATE_LIVE_EXPORT, "BLOCKEDW", "PEND_EXP_DIRTY_BLOCKEDW"),
    "tdh_export_restore": _listed(None, "EXP_BLOCKEDW", "PEND_EXP_DIRTY"),
    "tdh_export_track": _at(OP_STATE_LIVE_EXPORT), "tdh_export_state_td": _at(OP_STATE_PAUSED_EXPORT),
    "tdh_export_state_vp": _at(OP_STATE_PAUSED_EXPORT), "tdh_export_abort": _at(OP_STATE_POST_EXPORT),
    "tdh_import_state_immutable": _at(OP_STATE_UNINITIALIZED),
    "tdh_import_mem": _listed(OP_STATE_MEMORY_IMPORT, "FREE"),
    "tdh_import_mem_cancel": _listed(OP_STATE_MEMORY_IMPORT, "MAPPED", "PENDING"), "tdh_import_track": _at(OP_STATE_MEMORY_IMPORT),
    "tdh_import_state_td": _at(OP_STATE_MEMORY_IMPORT), "tdh_import_state_vp": _import_vp,
    "tdh_import_commit": _at(OP_STATE_POST_IMPORT), "tdh_import_end": _at(OP_STATE_POST_IMPORT),
    "tdh_import_abort": _at(OP_STATE_MEMORY_IMPORT),
}
# --- service TDs, the module itself ---

def _bound(stage, state=BOUND, op_state=None):
    stage.set_word("servtd_binding", state, width=64)
    if op_state is not None:
        stage.set_word("op_state", op_state, width=64)


def _device(state):
    def prepare(stage):
        stage.build_tables(PAGE)
        if state:
            stage.set_entry(PAGE, state)
            stage.memory.set_word(stage.layout.at("mmiomt") + MMIOMT_MAPPED, 1, 8)
        tracked(stage)
        return PAGE
    return prepare


def _sys(state, pending=()):
    def prepare(stage):
        stage.set_word("sys_state", state, width=64)
        for region in pending:
            for number in range(stage.layout.by_name[region].count):
                stage.set_word(region, 1, number, width=64)
    return prepare


_MODULE = {
    "tdh_servtd_bind": lambda stage: _bound(stage, PRE_BOUND),
    "tdh_servtd_prebind": lambda stage: _bound(stage, NOT_BOUND, OP_STATE_UNINITIALIZED),
    **dict.fromkeys(("tdg_servtd_rd", "tdg_servtd_wr", "tdg_mr_rtmr_extend", "tdg_mr_report", "tdg_mr_key_get"), _bound),
    "tdh_mmio_map": _device(""), "tdh_mmio_block": _device("MMIO_MAPPED"), "tdh_mmio_unmap": _device("MMIO_BLOCKED"),
    "tdg_tdi_mmio_accept": _device("MMIO_PENDING"),
    "tdh_sys_init": _sys(SYS_INIT_PENDING), "tdh_sys_lp_init": _sys(SYS_INIT_DONE, ["lp_pending"]),
    "tdh_sys_config": _sys(SYS_INIT_DONE), "tdh_sys_key_config": _sys(SYS_CONFIG_DONE, ["package_pending"]),
    "tdh_sys_tdmr_init": lambda stage: stage.set_word("tdmr", 1 << 8), "tdh_sys_shutdown": _sys(SYS_READY),
    "tdh_sys_update": _sys(SYS_INIT_DONE),
}
_LIFE = {
    **_MIGRATION, **_MODULE,
    "tdh_mng_create": _new_td, "tdh_mng_add_cx": _add_cx, "tdh_mng_key_config": _key_config,
    "tdh_mng_init": lambda stage: stage.set_word("op_state", 0, width=64),
    "tdh_mng_rdwr": _nothing, "tdh_mr_extend": _extend, "tdh_mr_finalize": _nothing, "tdh_mng_vpflushdone": _nothing,
    "tdh_mng_key_freeid": _key_freeid,
    "tdh_vp_create": _vp_create, "tdh_vp_addcx": _vp_addcx, "tdh_vp_init": _vp_init, "tdh_vp_init_apicid": _vp_init,
    "tdh_vp_enter": _nothing, "tdh_vp_flush": _vp_flush, "tdh_vp_rd_wr": _nothing,
    "tdh_phymem_page_reclaim": _reclaim, "tdh_phymem_cache_wb": _cache_wb,
    "tdh_phymem_cache_wb_resume": _cache_wb_resume,
    "tdh_phymem_page_wbinvd": lambda stage: PAGE, "tdh_phymem_page_rdmd": lambda stage: PAGE,
}
