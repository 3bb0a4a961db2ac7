"""For each call, a TD in which it succeeds: what tests start from when they ask the same of all calls."""

from harness.memory.layout import KOT_PACKAGES, TDVPS_LP, TDVPS_STATE, TDVPS_TDCX
from kernels.epoch import epoch_word
from kernels.words import (
    HKID_ASSIGNED, HKID_FLUSHED, HKID_FREE, PT_EPT, PT_NDA, PT_REG, TD_BLOCKED, TD_HKID_ASSIGNED,
    TD_KEYS_CONFIGURED, TD_TEARDOWN, TDCS_PAGES, TDVPS_PAGES, VCPU_UNINITIALIZED,
)
from tests.stage import ABOUT_PAGES, Stage

PAGE = 3
BY_VCPU = ("tdh_vp_create", "tdh_vp_addcx", "tdh_vp_init", "tdh_vp_init_apicid", "tdh_vp_enter", "tdh_vp_flush",
           "tdh_vp_rd_wr", "tdg_mem_page_accept", "tdg_mem_page_attr_rd", "tdg_mem_page_attr_wr")
BUILDING = ("tdh_mr_extend", "tdh_mr_finalize", "tdh_mem_page_add", "tdh_vp_create", "tdh_vp_addcx", "tdh_vp_init",
            "tdh_vp_init_apicid")


def caller(stage: Stage, call: str, number: int = 0):
    """The actor that makes a call."""
    return stage.actor(f"vcpu{number}" if call in BY_VCPU else f"host{number}")


def levels(row) -> tuple:
    """The levels, or the groups of pages, at which `ready` knows a call."""
    return {"tdh_mng_add_cx": ("tdcx",), "tdh_vp_addcx": ("tdcx",)}.get(
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
    """A page whose entry a call at a level is about: one that begins at a multiple of its size."""
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


def _reclaim(stage):
    stage.set_lifecycle(TD_TEARDOWN)
    stage.set_type("data", PAGE, PT_REG)
    return PAGE


def _extend(stage):
    stage.map_page(PAGE)
    return PAGE


def _nothing(stage):
    assert stage.word("kot", width=64) == HKID_ASSIGNED


_LIFE = {
    "tdh_mng_create": _new_td, "tdh_mng_add_cx": _add_cx, "tdh_mng_key_config": _key_config,
    "tdh_mng_init": lambda stage: stage.set_word("op_state", 0, width=64),
    "tdh_mng_rdwr": _nothing, "tdh_mr_extend": _extend, "tdh_mr_finalize": _nothing, "tdh_mng_vpflushdone": _nothing,
    "tdh_mng_key_freeid": _key_freeid,
    "tdh_vp_create": _vp_create, "tdh_vp_addcx": _vp_addcx, "tdh_vp_init": _vp_init, "tdh_vp_init_apicid": _vp_init,
    "tdh_vp_enter": _nothing, "tdh_vp_flush": _vp_flush, "tdh_vp_rd_wr": _nothing,
    "tdh_phymem_page_reclaim": _reclaim, "tdh_phymem_cache_wb": _cache_wb,
    "tdh_phymem_page_wbinvd": lambda stage: PAGE, "tdh_phymem_page_rdmd": lambda stage: PAGE,
}
