"""A machine check on a host's processor: the handler asks the module who owns the page that was hit.

tdx_dump_mce_info, paddr_is_tdx_private (arch/x86/virt/vmx/tdx/tdx.c, Linux 6.16): one
tdh_phymem_page_rdmd, without any retry, and its answer decides which line the kernel prints.  It may
be made while the processor is not in VMX operation, KVM not being loaded: #UD then is no error but
the answer "no TDX private pages" (Kai Huang, Re: [PATCH v11 05/20] x86/virt/tdx: Add SEAMCALL
infrastructure, 7 Jun 2023).  So is any other failure; and BUSY is a failure, so that a private page
with a locked PAMT entry at that moment is taken for an ordinary one.

    machine_checks                     how many there were
    machine_check.private              the page is the module's or a TD's: "TDX private memory error"
    machine_check.not_private          the module said that it is not
    machine_check.not_in_vmx_operation #UD: taken for not private, rightly
    machine_check.no_module            #GP or VMfailInvalid: the same
    machine_check.busy                 a lock was lost: taken for not private, rightly or not
"""

from harness.protocol.locate import locate
from harness.protocol.faults import happens
from harness.protocol.flows.flow import Flow
from harness.protocol.seamcall_abi import PROBED
from kernels.ops import Op, Register as R
from kernels.words import PT_NDA, TDX_SW_ERROR, status

PROBE = "tdh_phymem_page_rdmd"


def write(flow: Flow) -> None:
    """In a host thread's turn, with the configured share: a machine check on PAGE.  Nothing is held."""
    share = flow.options.faults.machine_check_share
    if not share:
        return
    done, failed = flow.fresh("host.checked"), flow.fresh("host.probe_failed")
    outcomes = {name: flow.fresh(f"host.{name}") for name in PROBED}
    happens(flow.listing, "machine_check", share, otherwise=done)
    flow.count("machine_checks")
    locate(flow.listing, flow.layout, 0)
    flow.call(PROBE, behind=flow.fresh("host.probed"))
    flow.succeeded(otherwise=failed)
    # The page type, in RCX of the answer (R.COPY).  A page of the PAMT itself is not among ours.
    flow.row(Op.TEST, register=R.COPY, mask=-1, match=PT_NDA, next=outcomes["not_private"],
             otherwise=outcomes["private"], text="PT_NDA")
    with flow.aside(failed):
        software = flow.fresh("host.software_error")
        flow.row(Op.TEST, register=R.STATUS, mask=TDX_SW_ERROR, match=TDX_SW_ERROR, next=software,
                 otherwise=outcomes["busy"], text="TDX_SW_ERROR")
        flow.label(software)
        flow.row(Op.TEST, register=R.STATUS, mask=-1, match=status("TDX_SEAMCALL_UD"),
                 next=outcomes["not_in_vmx_operation"], otherwise=outcomes["no_module"], text="#UD")
    for name, label in outcomes.items():
        flow.label(label)
        flow.count(f"machine_check.{name}", next=done)
    flow.label(done)
