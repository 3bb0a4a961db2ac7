"""What KVM itself keeps apart: for each call, when KVM makes it and which of its own locks it holds then.

The module knows nothing of this.  Two calls on one TD cannot meet if KVM makes them in different
phases of the TD's life, or under a lock that one of them holds exclusively.

    phase     boot (the module is initialized), create (until TDH.MNG.INIT), build (until TDH.MR.FINALIZE), run, destroy
    lock      name and mode; a lock that stands for one thing (a vCPU, a GPA) counts only where the
              contended resource is of that thing

A call that KVM makes from several places has several contexts; two calls are kept apart if no context
of the one can meet one of the other.

Linux 6.16: arch/x86/kvm/vmx/tdx.c, arch/x86/kvm/mmu/tdp_mmu.c, virt/kvm/kvm_main.c.
"""

from typing import NamedTuple

from harness.protocol.releases import EXCLUSIVE, SHARED

BOOT, CREATE, BUILD, RUN, DESTROY = "boot", "create", "build", "run", "destroy"

# A lock that is one per thing orders only those who are about the same thing.
OF_RESOURCES = {
    "vcpu": ("TDVPR",),                                  # vcpu->mutex, or the processor that it is loaded on
    "mirror": ("SEPT_ENTRY", "PAGE"),                    # a frozen mirror entry
    "page": ("PAGE",),                                   # who owns a page: guest_memfd, or the page's allocator
}
# Locks of the host, not of one VM: they also order calls of different TDs.
OF_THE_HOST = ("tdx", "module")


class Context(NamedTuple):
    """When KVM makes a call, under which locks (name and mode), and where to read it."""

    phase: str
    locks: dict[str, str]
    source: str


def _context(phase: str, source: str, **locks: str) -> Context:
    return Context(phase, locks, source)


_INIT = (_context(CREATE, "tdx_td_init, under kvm->lock", kvm=EXCLUSIVE, page=EXCLUSIVE),)
# kvm->slots_lock and guest_memfd's filemap_invalidate_lock: TDX_INIT_MEM_REGION and FINALIZE hold both, a
# memslot's deletion the first, a punch-hole the second.  One name for the two.
_POPULATE = _context(BUILD, "tdx_gmem_post_populate, tdx_td_finalize", populate=EXCLUSIVE, page=EXCLUSIVE)
_VCPU_INIT = (_context(BUILD, "tdx_td_vcpu_init, under vcpu->mutex", vcpu=EXCLUSIVE, page=EXCLUSIVE),)
_FAULT = _context(RUN, "tdp_mmu_map_handle_target_level: mmu_lock read, mirror entry frozen",
                  mmu=SHARED, mirror=EXCLUSIVE, page=EXCLUSIVE)
_ZAP = (_context(BUILD, "tdx_sept_remove_private_spte: mmu_lock write",
                 mmu=EXCLUSIVE, populate=EXCLUSIVE, page=EXCLUSIVE),
        _context(RUN, "tdx_sept_remove_private_spte: mmu_lock write", mmu=EXCLUSIVE, page=EXCLUSIVE))
_RELEASE = (_context(DESTROY, "tdx_mmu_release_hkid, under tdx_lock", tdx=EXCLUSIVE),)
_RUN_VCPU = (_context(RUN, "tdx_vcpu_run, under vcpu->mutex", vcpu=EXCLUSIVE),)
_GUEST = (_context(RUN, "the guest's own call: KVM holds nothing"),)
# arch/x86/virt/vmx/tdx/tdx.c.  One name for what keeps the steps apart: each begins when the one before is over.
_MODULE = (_context(BOOT, "init_tdx_module, under tdx_module_lock", module=EXCLUSIVE),)

CONTEXTS = {
    "tdh_mng_create": (_context(CREATE, "__tdx_td_init, under kvm->lock and tdx_lock",
                                kvm=EXCLUSIVE, tdx=EXCLUSIVE, page=EXCLUSIVE),),
    "tdh_mng_key_config": _INIT,
    "tdh_mng_add_cx": _INIT,
    "tdh_mng_init": _INIT,
    "tdh_mng_rdwr": _INIT,
    # These three hold the TDR exclusively, _VCPU_INIT shared: nothing keeps them apart before 6.19.
    "tdh_mem_page_add": (_POPULATE,),
    "tdh_mr_extend": (_POPULATE,),
    "tdh_mr_finalize": (_POPULATE,),
    "tdh_vp_create": _VCPU_INIT,
    "tdh_vp_addcx": _VCPU_INIT,
    "tdh_vp_init": _VCPU_INIT,
    "tdh_vp_init_apicid": _VCPU_INIT,
    "tdh_vp_enter": _RUN_VCPU,
    "tdh_vp_rd_wr": _RUN_VCPU,
    "tdh_vp_flush": tuple(_context(phase, "tdx_flush_vp, where the vCPU was loaded, interrupts off", vcpu=EXCLUSIVE)
                          for phase in (BUILD, RUN, DESTROY)),
    "tdh_mem_sept_add": (_POPULATE, _FAULT),
    "tdh_mem_page_aug": (_FAULT,),
    "tdh_mem_range_block": _ZAP,
    "tdh_mem_track": _ZAP[1:],
    "tdh_mem_page_remove": _ZAP,
    "tdh_mem_sept_remove": _ZAP,
    "tdh_mem_range_unblock": _ZAP,
    "tdh_phymem_page_wbinvd": (_context(RUN, "a page that KVM has taken back", page=EXCLUSIVE),
                               _context(DESTROY, "a page that KVM has taken back", page=EXCLUSIVE)),
    "tdh_phymem_page_reclaim": (_context(DESTROY, "tdx_reclaim_page", page=EXCLUSIVE),),
    "tdh_mng_vpflushdone": _RELEASE,
    "tdh_phymem_cache_wb": _RELEASE,
    "tdh_phymem_cache_wb_resume": _RELEASE,
    "tdh_mng_key_freeid": _RELEASE,
    "tdh_sys_init": (_context(BOOT, "try_init_module_global, under sysinit_lock", module=EXCLUSIVE),),
    "tdh_sys_lp_init": (_context(BOOT, "tdx_cpu_enable, on all processors at once", module=SHARED),),
    **dict.fromkeys(("tdh_sys_config", "tdh_sys_key_config", "tdh_sys_tdmr_init"), _MODULE),
    "tdg_mr_rtmr_extend": _GUEST,
    "tdg_mr_report": _GUEST,
    "tdg_mem_page_accept": _GUEST,
    "tdg_mem_page_attr_rd": _GUEST,
    "tdg_mem_page_attr_wr": _GUEST,
}
# Calls that KVM 6.16 does not make: it has no large pages for TDs, no migration, and no use for the others.
NOT_MADE = (
    "tdh_mem_page_promote", "tdh_mem_page_demote", "tdh_mem_page_relocate", "tdh_mem_sept_rd", "tdh_mem_rd",
    "tdh_mem_wr", "tdh_phymem_page_rdmd", "tdh_mig_stream_create", "tdh_phymem_pamt_add", "tdh_phymem_pamt_remove",
    *(f"tdh_{way}_{what}" for way in ("export", "import") for what in (
        "mem", "track", "abort", "state_immutable", "state_td", "state_vp")),
    "tdh_export_blockw", "tdh_export_unblockw", "tdh_export_restore", "tdh_export_pause",
    "tdh_import_mem_cancel", "tdh_import_commit", "tdh_import_end", "tdh_servtd_bind", "tdh_servtd_prebind", "tdg_servtd_rd", "tdg_servtd_wr",
    "tdh_sys_shutdown", "tdh_sys_update", "tdh_mmio_map", "tdh_mmio_block", "tdh_mmio_unmap", "tdg_tdi_mmio_accept",
    "tdg_mr_key_get", "tdh_phymem_pamt_add", "tdh_phymem_pamt_remove",
)
# KVM 6.16 gives TDs pages of 4 KiB only, so it never has another to take back either.
SMALL_PAGES_ONLY = ("tdh_mem_page_aug", "tdh_mem_page_remove", "tdh_phymem_page_reclaim")

# Shared by all TDs: that two TDs are in different phases does not help.
MACHINE_WIDE = ("KOT", "KET", "WBT", "GLOBAL", "TDMR")


def excluded(a: str, b: str, resource: str, phase: str | None = None) -> bool:
    """Whether KVM keeps two calls from contending for a resource (in a phase of the TD's life)."""
    if a in NOT_MADE or b in NOT_MADE:
        return True
    return not any(_meet(one, other, resource) for one in CONTEXTS[a] for other in CONTEXTS[b]
                   if phase is None or one.phase == other.phase == phase)


def _meet(one: Context, other: Context, resource: str) -> bool:
    """Whether nothing keeps two contexts apart where the resource is the same."""
    machine_wide = resource in MACHINE_WIDE
    if one.phase != other.phase and not machine_wide:
        return False
    for lock in one.locks.keys() & other.locks.keys():
        of_both = resource in OF_RESOURCES.get(lock, (resource,)) and (not machine_wide or lock in OF_THE_HOST)
        if of_both and EXCLUSIVE in (one.locks[lock], other.locks[lock]):
            return False
    return True
