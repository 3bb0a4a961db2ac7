"""A vCPU, KVM's side: vcpu_run, vcpu_enter_guest, tdx_vcpu_run.

    vcpu          a new vCPU
    vcpu.run      the outer loop; interrupts are on, nothing is held
    vcpu.enter    mark the vCPU as in the guest, refuse while entry is barred, tdh_vp_enter
    vcpu.refused  tdh_vp_enter came back without running the guest

The guest goes on at the row in R.RESUME.
"""

from harness.protocol.policy import Response
from harness.protocol.flows import build, guest, reclaim
from harness.memory.layout import LINE
from harness.protocol.flows.flow import IN_GUEST, REQUEST, Flow
from harness.protocol.flows.responses import TREE_BUSY, Responses
from kernels.ops import Op, Register as R
from kernels.words import EXIT_REASON_EPT_VIOLATION, TDX_SW_ERROR, status


def write(flow: Flow) -> None:
    flow.label("vcpu")
    if flow.builds:
        build.create_vcpu(flow)
    guest.begin(flow)
    flow.label("vcpu.run")
    flow.poll("vcpu")
    if flow.behaviour.migrate_share:
        _migrate(flow)
    flow.label("vcpu.enter")
    flow.enter_guest_mode(otherwise="vcpu.requested")
    with flow.aside("vcpu.requested"):
        flow.leave_guest_mode()
        flow.row(Op.YIELD, next="vcpu.run")
    flow.first_try("enter", "zero_step")
    flow.label("vcpu.try")
    flow.row(Op.LOAD, **flow.at("wait_for_sept_zap", mask=-1, match=0, otherwise="vcpu.barred"))
    with flow.aside("vcpu.barred"):
        _barred(flow)
    flow.call("tdh_vp_enter", behind="vcpu.answered")
    flow.succeeded(otherwise="vcpu.refused")
    with flow.aside("vcpu.refused"):
        _refused(flow)
    flow.listing.held = flow.held_in_guest
    flow.end("guest_time_lost")
    flow.row(Op.GO, register=R.RESUME, text="go on in the guest")
    flow.listing.held = ()
    flow.listing.flush()
    if flow.builds:
        flow.park("vcpu", may_rebuild=False, leave=lambda: build.flush_vcpu(flow))
    else:
        flow.park("vcpu", may_rebuild=flow.hosts == 0, destroy=lambda: reclaim.write(flow))


def _migrate(flow: Flow) -> None:
    """tdx_vcpu_load: on another processor than last time, the one before has to flush the vCPU first (tdx_flush_vp_on_cpu).

    KVM sends it an interrupt for that and waits.  There the next vCPU runs by now, which comes out of its guest; the call is made
    with nothing else of the vCPU's in progress, so that one that fails is a KVM_BUG_ON ("no need to retry").  The processor that
    makes it, and the vCPU's next one, are its own again here.
    """
    moved, stayed, failed, bug = (flow.fresh(f"vcpu.{part}") for part in ("moved", "stayed", "unflushed", "bug"))
    flow.listing.choose(R.COIN, "migrate")
    flow.row(Op.TEST, register=R.COIN, mask=-1, match=1, next=moved, otherwise=stayed,
             text="another processor?")
    with flow.aside(moved):
        flow.count("migrations")
        if flow.layout.vcpus > 1:
            _interrupt_next(flow)
        flow.call("tdh_vp_flush", behind=flow.fresh("vcpu.flush_answered"))
        flow.row(Op.TEST, register=R.STATUS, mask=-1, next=stayed, otherwise=failed, text="TDX_SUCCESS")
        flow.label(failed)
        flow.row(Op.TEST, register=R.STATUS, mask=-1, match=status("TDX_VCPU_NOT_ASSOCIATED"), next=stayed,
                 otherwise=bug, text="on no processor")
        flow.label(bug)
        flow.bug("vcpu.run")
    flow.label(stayed)


def _interrupt_next(flow: Flow) -> None:
    """The vCPU behind this one, or the first, has the processor: its guest is interrupted, and has come out when the flush is made."""
    sent, sends, last, other = (flow.fresh(f"vcpu.{part}") for part in ("flush_ipi_sent", "flush_ipi", "is_last", "is_not_last"))
    flow.row(Op.LET, register=R.CURSOR, source=R.KICK, value=LINE)
    flow.row(Op.TEST, register=R.ROLE, mask=-1, match=flow.layout.vcpus, next=last, otherwise=other, text="the last vCPU")
    with flow.aside(last):
        flow.row(Op.LET, register=R.CURSOR, source=R.TD, value=flow.layout.at("kick"), next=other)
    flow.label(other)
    flow.row(Op.LET, register=R.OLD, value=IN_GUEST)
    flow.row(Op.SWAP, base=R.CURSOR, register=R.OLD, value=IN_GUEST | REQUEST, next=sends, otherwise=sent, text="in the guest: IPI")
    flow.label(sends)
    flow.count("flush_ipis")
    flow.label(sent)
    flow.row(Op.WAIT_NOT, base=R.CURSOR, mask=REQUEST | IN_GUEST, match=REQUEST | IN_GUEST, text="interrupt taken")


def _barred(flow: Flow) -> None:
    """tdx_vcpu_run finds wait_for_sept_zap set: EXIT_FASTPATH_EXIT_HANDLED.

    KVM goes round its loop and is refused again until the bar is lifted; waiting for that is the same
    without the spinning.  With interrupts off it does so in the fast path, where no kick reaches it.
    """
    flow.count("entries_refused")
    on = flow.policy.interrupts_at_reentry == "on"
    if on:
        flow.leave_guest_mode()
    flow.begin("guest_time_lost")
    flow.row(Op.WAIT_IS, **flow.at("wait_for_sept_zap", mask=-1, match=0,
             next="vcpu.run" if on else "vcpu.try"))


def _refused(flow: Flow) -> None:
    busy = flow.fresh("vcpu.busy")
    flow.row(Op.TEST, register=R.STATUS, mask=-1, match=EXIT_REASON_EPT_VIOLATION, otherwise=busy,
             text="EPT violation")
    flow.leave_guest_mode()
    flow.goto("fault")
    flow.label(busy)
    _software_error(flow)
    if flow.policy.zero_step:
        fired, other = flow.fresh("vcpu.zero_step"), flow.fresh("vcpu.other")
        flow.row(Op.TEST, register=R.STATUS, mask=-1, match=TREE_BUSY, next=fired, otherwise=other,
                 text="TDX_OPERAND_BUSY|SEPT_TREE")
        with flow.aside(fired):
            flow.count("zero_step_answers")
            _answer(flow, "zero_step")
        flow.label(other)
    _answer(flow, "enter")


def _answer(flow: Flow, site: str) -> None:
    def resume():
        flow.row(Op.YIELD, next="vcpu.run", text="EXIT_FASTPATH_EXIT_HANDLED")

    def kick():
        flow.kick_all()
        flow.goto("vcpu.run")

    def drain():
        with flow.mmu_lock("exclusive"):
            flow.count("mmu_lock_drained")
        flow.goto("vcpu.run")

    Responses(
        flow, site, again="vcpu.try",
        before_retry=lambda: _still_wanted(flow),
        undo=flow.leave_guest_mode,
        respond={
            "resume_guest": resume, "kick": kick, "drain_mmu_lock": drain,
            "exit_userspace": lambda: flow.exit_userspace("vcpu.run"),
            "bug_vm": lambda: flow.bug("vcpu.run"),
        },
        # An error that KVM does not know goes to userspace as KVM_EXIT_INTERNAL_ERROR.
        last=Response("exit_userspace"),
    ).write()


def _software_error(flow: Flow) -> None:
    """SEAMCALL has not reached the module: KVM_BUG_ON unless rebooting (tdx_handle_exit), then to userspace.

    KVM looks for this before it looks for BUSY.  Userspace does not enter a vCPU again that came out
    with KVM_EXIT_INTERNAL_ERROR.
    """
    faults = flow.options.faults
    if not faults.status:
        return
    software, answered = flow.fresh("vcpu.software_error"), flow.fresh("vcpu.module_answered")
    flow.row(Op.TEST, register=R.STATUS, mask=TDX_SW_ERROR, match=TDX_SW_ERROR, next=software,
             otherwise=answered, text="TDX_SW_ERROR")
    flow.label(software)
    flow.leave_guest_mode()
    flow.count("internal_errors")
    if faults.rebooting:
        flow.goto("vcpu.stop")
    else:
        flow.bug("vcpu.run")
    flow.label(answered)


def _still_wanted(flow: Flow) -> None:
    """Before entering again in the fast path KVM looks for pending work (kvm_vcpu_exit_request)."""
    if flow.policy.interrupts_at_reentry == "off":
        return
    requested = flow.fresh("vcpu.interrupted")
    flow.not_requested(otherwise=requested)
    with flow.aside(requested):
        flow.leave_guest_mode()
        flow.goto("vcpu.run")
