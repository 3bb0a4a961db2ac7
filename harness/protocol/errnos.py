"""Which errno the kernel or KVM makes of an answer, site by site; and what a guest's kernel does about that of a TDCALL.

    errno_of      the errno of an answer at a site
    SITES         the sites, each with the answers that it tells apart
    GUEST_SITES   by TDCALL: what Linux does as a guest

Sources: those of seamcall_abi.py.
"""

import errno
from typing import NamedTuple

from harness.protocol.seamcall_abi import status_class
from kernels.words import STATUSES, status, unsigned


class Errno(NamedTuple):
    """An answer that has an errno of its own: exactly this one, or with any operand behind it.

    then   what else comes of it there
    """

    status: str
    errno: int
    any_operand: bool = False
    then: str = ""


class Site(NamedTuple):
    """A place that turns answers into errnos: success is 0, what `errnos` does not list is -EIO.

    calls    the calls that end there, as the kernel spells them
    bugs     whether -EIO comes with KVM_BUG_ON there
    first    what is done about TDX_OPERAND_BUSY before the answer counts
    then     what else comes of an error
    returns  whether the errno goes anywhere
    """

    text: str
    source: str
    bugs: bool
    errnos: tuple[Errno, ...]
    calls: tuple[str, ...] = ()
    first: str = ""
    then: str = ""
    returns: bool = True


_BUSY = Errno("TDX_OPERAND_BUSY", errno.EBUSY, any_operand=True)
_KICKED = "entry barred, all vCPUs kicked, one more try"
SITES = {
    "init": Site("initialization of the module", "sc_retry_prerr", False, (
        Errno("TDX_SEAMCALL_VMFAILINVALID", errno.ENODEV),
        Errno("TDX_SEAMCALL_GP", errno.EOPNOTSUPP),
        Errno("TDX_SEAMCALL_UD", errno.EACCES),
    ), ("TDH_SYS_INIT", "TDH_SYS_LP_INIT", "TDH_SYS_RD", "TDH_SYS_CONFIG", "TDH_SYS_KEY_CONFIG", "TDH_SYS_TDMR_INIT"),
        then="printed, with the leaf's number"),
    "create": Site("creation of a TD", "__tdx_td_init", False, (
        Errno("TDX_RND_NO_ENTROPY", errno.EAGAIN),
    ), ("TDH_MNG_CREATE", "TDH_MNG_ADDCX"), then="WARN; the TD is torn down"),
    "key_config": Site("the TD's key on each package", "tdx_do_tdh_mng_key_config", True, (),
                       ("TDH_MNG_KEY_CONFIG",)),
    "td_init": Site("TD parameters from userspace", "__tdx_td_init", False, (
        Errno("TDX_OPERAND_INVALID", errno.EINVAL, any_operand=True, then="the answer goes to userspace as hw_error"),
    ), ("TDH_MNG_INIT",), then="WARN; the TD is torn down"),
    "add": Site("initial memory", "tdx_gmem_post_populate", False, (_BUSY,), ("TDH_MEM_PAGE_ADD",)),
    "extend": Site("measurement of initial memory", "tdx_gmem_post_populate", False, (), ("TDH_MR_EXTEND",),
                   then="the page cannot be added again, so the TD is of no use"),
    # tdx_sept_link_private_spt does the same.
    "may_fail": Site("a page for a fault", "tdx_mem_page_aug ...", True, (
        _BUSY._replace(then="the fault is handled again on the spot, until an event or a signal is pending"),
    ), ("TDH_MEM_SEPT_ADD", "TDH_MEM_PAGE_AUG")),
    "finalize": Site("the end of building", "tdx_td_finalize", True, (_BUSY,), ("TDH_MR_FINALIZE",)),
    "block": Site("a page is taken away, first step", "tdx_sept_zap_private_spte", True, (), ("TDH_MEM_RANGE_BLOCK",),
                  first=_KICKED, then="but before the TD runs TDX_EPT_ENTRY_STATE_INCORRECT|RCX of a page that was"
                                      " never added is no error"),
    "track": Site("a page is taken away, second step", "tdx_track", True, (), ("TDH_MEM_TRACK",), first=_KICKED,
                  then="TDH_MEM_PAGE_REMOVE is made all the same", returns=False),
    "no_fail": Site("a page is taken away, last step", "tdx_sept_drop_private_spte", True, (),
                    ("TDH_MEM_PAGE_REMOVE",), first=_KICKED, then="the page is leaked"),
    "vcpu": Site("creation of a vCPU", "tdx_td_vcpu_init", True, (),
                 ("TDH_VP_CREATE", "TDH_VP_ADDCX", "TDH_VP_INIT")),
    "vcpu_field": Site("a vCPU's field", "tdh_vp_rd_failed, tdh_vp_wr_failed", True, (), ("TDH_VP_RD", "TDH_VP_WR"),
                       then="the field reads as 0", returns=False),
    "td_field": Site("a TD's field", "tdx_td_metadata_field_read", False, (), ("TDH_MNG_RD",)),
    "flush": Site("a vCPU leaves its processor", "tdx_flush_vp", True, (
        Errno("TDX_VCPU_NOT_ASSOCIATED", 0, then="nothing was to do"),
    ), ("TDH_VP_FLUSH",), returns=False),
    "release": Site("the end of a TD", "tdx_mmu_release_hkid", True, (
        Errno("TDX_FLUSHVP_NOT_DONE", 0, then="given up, to be called again when the vCPUs are gone"),
    ), ("TDH_MNG_VPFLUSHDONE",), then="the HKID is leaked", returns=False),
    "write_back": Site("caches written back", "smp_func_do_phymem_cache_wb", False, (
        Errno("TDX_INTERRUPTED_RESUMABLE", 0, then="called again, up to 10000 times"),
        Errno("TDX_NO_HKID_READY_TO_WBCACHE", 0, then="another processor has done it"),
    ), ("TDH_PHYMEM_CACHE_WB",), then="WARN, and TDH_MNG_KEY_FREEID will fail", returns=False),
    "free_key": Site("the HKID is freed", "tdx_mmu_release_hkid", True, (), ("TDH_MNG_KEY_FREEID",),
                     then="the HKID is leaked", returns=False),
    "reclaim": Site("a page of a TD that is gone", "__tdx_reclaim_page", False, (), ("TDH_PHYMEM_PAGE_RECLAIM",),
                    then="WARN once; the page is leaked"),
    "flush_page": Site("a page's cache lines written back", "tdx_sept_drop_private_spte", True, (),
                       ("TDH_PHYMEM_PAGE_WBINVD",), then="the page is leaked"),
}
# Who makes a TDCALL is the guest's kernel: Linux as a guest, arch/x86/coco/tdx.
_PANICS = ("panic, \"TDCALL ... failed (Buggy TDX module!)\"", "tdcall")
_ATTESTS = "-EBUSY for TDX_OPERAND_BUSY, -ENXIO for TDX_OPERAND_INVALID, -EIO for others"
GUEST_SITES = {
    "TDG_MEM_PAGE_ACCEPT": ("tries the next smaller size; at 4 KiB panic, \"TDX: Failed to accept memory\"",
                            "try_accept_one"),
    "TDG_VP_VMCALL": ("panic if the TDCALL itself fails", "__tdx_hypercall"),
    "TDG_MR_REPORT": (_ATTESTS, "tdx_mcall_get_report0"),
    "TDG_MR_RTMR_EXTEND": (_ATTESTS, "tdx_mcall_extend_rtmr"),
    "TDG_VP_INFO": _PANICS,
    "TDG_VP_VEINFO_GET": _PANICS,
    "TDG_VM_RD": _PANICS,
}


def errno_of(word: int, site: str = "init") -> int:
    """What the kernel returns for an answer: 0 or a negative errno, as the kernel writes it.

    site   of SITES.  Retries, the wrapper's and a policy's, have been made before this.
    """
    word = unsigned(word)
    if word == STATUSES["TDX_SUCCESS"]:
        return 0
    known = known_at(word, site)
    return -known.errno if known else -errno.EIO


def known_at(word: int, site: str) -> Errno | None:
    """What a site makes of an answer that it knows; nothing for all others, which are -EIO there."""
    for known in SITES[site].errnos:
        if (status_class(word) if known.any_operand else word) == status(known.status):
            return known
    return None


def errno_name(value: int) -> str:
    """`-EACCES` for -13, `0` for 0; a number without a name (the kernel's own from 512 on, too) stays one."""
    # EOPNOTSUPP and ENOTSUP are one number on Linux; the kernel knows the first.
    return "-EOPNOTSUPP" if -value == errno.EOPNOTSUPP else f"-{errno.errorcode.get(-value, -value)}" if value else "0"
