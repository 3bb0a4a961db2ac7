"""Every leaf that has no row in THE TABLE, and why: it takes no lock, or what is missing; and what is missing of rows.

Leaves and names are leaves.py's; docs/calls.md is made from both.
"""

from harness.protocol.leaves import GUEST, HOST

NO_LOCK = "takes no lock"
CONNECT = ("not modelled: TDX Connect; its tables of IOMMUs, SPDM sessions, IDE streams, device interfaces and DMA"
           " remapping are not in the model, and their locks were not read")
SCAN = ("not modelled: only where non-blocking export is configured, which is abstracted away; otherwise"
        " TDX_OPERAND_INVALID|RAX before any lock")
OWN_VCPU = f"{NO_LOCK}: about the vCPU that makes it"
FIELDS = f"{NO_LOCK}: fields that do not change"

# By side and leaf.
WITHOUT = {
    HOST: {
        27: f"{NO_LOCK}: succeeds and does nothing, for old hosts (tdh_mng_key_reclaimid.c)",
        32: f"{FIELDS} (tdh_sys_info.c)", 34: f"{FIELDS} (tdh_sys_rd.c)", 37: f"{FIELDS}, as TDH.SYS.RD; derived",
        42: "no handler in any release that was read",
        44: f"{NO_LOCK}: succeeds and does nothing, for old hosts (tdh_sys_lp_shutdown.c)",
        **dict.fromkeys(range(92, 96), SCAN),
        97: "only a number: no handler in 1.5.34 (tdx_vmm_dispatcher.c, characters 7000 to 28500), and its file is empty in 2.0.16",
        **dict.fromkeys((*range(128, 141), *range(150, 158), *range(161, 167)), CONNECT),
    },
    GUEST: {
        0: f"{OWN_VCPU} (tdg_vp_vmcall.c); ends as a TD exit, which is one",
        1: f"{OWN_VCPU} (tdg_vp_info.c)",
        3: f"{OWN_VCPU}; it resets the zero-step counter, which the guest's flow has (tdg_vp_veinfo_get.c)",
        5: f"{OWN_VCPU} (tdg_vp_cpuidve_set.c)",
        7: f"{NO_LOCK}: a field of its own TD (tdg_vm_rd_wr.c 2.0.08)", 8: f"{NO_LOCK}: as TDG.VM.RD",
        9: f"{OWN_VCPU} (tdg_vp_rd_wr.c 2.0.08)", 10: f"{OWN_VCPU}, as TDG.VP.RD",
        11: f"{FIELDS}; derived", 12: f"{FIELDS}; derived",
        22: f"{NO_LOCK}: checks a report that the guest brings; derived",
        25: "not modelled: L2 VMs; the vCPU holds what it held",
        26: f"{NO_LOCK}: flushes translations of L2 VMs (tdg_vp_invept.c 2.0.08)",
        27: f"{NO_LOCK}: as TDG.VP.INVEPT; derived",
        33: "only a number: no handler in 1.5.34 (tdx_td_dispatcher.c, characters 10000 to 16500), and its file is empty in 2.0.18",
        **dict.fromkeys((*range(64, 71), 72), CONNECT),
    },
}

# What a leaf with a row does besides, on locks, that its row does not: by side and leaf.
PARTLY = {
    HOST: {
        68: "not modelled: list entries that say CANCEL; that it is resumed",
        83: "not modelled: lists that say different things of their pages; pages that come as PENDING; in which epoch a page"
            " was removed; that it is resumed",
    },
    GUEST: {
        23: "not modelled: attributes of L2 VMs", 24: "not modelled: attributes of L2 VMs",
    },
}
