"""A guest is interrupted between two of its instructions, or leaves by itself: the TD exit as flows make it."""

from harness.memory.layout import TDVPS_STEPPING
from harness.protocol.flows.flow import Flow
from harness.protocol.seamcalls import TD_EXIT
from kernels.ops import Op, Register as R

STEPPING = {"base": R.TDVPS, "offset": TDVPS_STEPPING}


def interruptible(flow: Flow, resume: str) -> None:
    """Interrupts arrive between instructions: the TD exits, and later goes on at `resume`."""
    kicked = flow.fresh("guest.kicked")
    flow.not_requested(otherwise=kicked)
    with flow.aside(kicked):
        flow.row(Op.LET, register=R.RESUME, value=resume)
        flow.count("kicks_taken")
        flow.begin("guest_time_lost")
        flow.row(Op.STEPPING_EXIT, **STEPPING)
        td_exit(flow, flow.fresh("guest.out"))
        # Another vCPU that was kicked may wait for this processor.
        flow.row(Op.YIELD, next="vcpu.run")


def td_exit(flow: Flow, out: str) -> None:
    """The TD exits; the rows behind, from the label `out` on, are KVM's."""
    flow.row(Op.CALL, next=TD_EXIT, otherwise=out, text=TD_EXIT)
    flow.listing.held = ()
    flow.label(out)
    flow.leave_guest_mode()
