"""KVM's handling of a private EPT violation on PAGE: tdx_handle_ept_violation, kvm_tdp_mmu_map.

Under mmu_lock read, for each level from the top: freeze the mirror entry by compare-and-swap,
tdh_mem_sept_add (or tdh_mem_page_aug at the bottom), publish the mirror entry or roll it back.

    fault         handle the violation
    fault.again   the same, once more, without entering the guest
    fault.retry   the stop conditions of local retry, then fault.again
    fault.out     leave (where memslots can be deleted: the SRCU read side ends)

A fault that finds an entry frozen by another, a page that is being invalidated or an invalid memslot
is RET_PF_RETRY: what then happens is the policy's site `frozen`.  BUSY from the SEAMCALL is its site
`install`.  A page that is shared by its attributes, or has lost its memslot, is KVM_EXIT_MEMORY_FAULT:
userspace converts it, or puts the memslot back, and enters the guest again, which faults at the same
instruction.
"""

from harness.memory.layout import MMU_NONPRESENT
from harness.protocol.policy import Response
from harness.protocol.locate import index, locate
from harness.protocol.flows import large as large_pages, memslot, seam, zap
from harness.protocol.flows.flow import FROZEN_SPTE, MMU_LARGE, MMU_PRESENT, Flow
from harness.protocol.flows.responses import Responses
from kernels.ops import LEVELS, Op, Register as R

INSTALL = ("tdh_mem_page_aug", "tdh_mem_sept_add", "tdh_mem_sept_add")    # by level


def write(flow: Flow) -> None:
    flow.label("fault")
    memslot.read_lock(flow)
    flow.begin("fault")
    flow.label("fault.again")
    if pairs := seam.page_pairs(flow):
        pairs.top_up()
    zap.read_sequence(flow)
    _attributes(flow)
    if flow.memslots:
        memslot.look(flow, retry=lambda: _retry_fault(flow, locked=False))
    with flow.mmu_lock("shared"):
        if flow.invalidates:
            met = flow.fresh("fault.stale")
            zap.stale(flow, met)
            with flow.aside(met):
                flow.count("invalidations_met")
                _retry_fault(flow)
        for level in reversed(range(LEVELS)):
            if flow.splits and level == 1:
                _large(flow)
            if flow.large and level == 1:
                large_pages.choose_size(flow, install)
            install(flow, level)
        if flow.splits or flow.large:
            flow.label("fault.mapped")
    flow.end("fault")
    flow.goto(flow.fault_done)
    flow.listing.flush()

    flow.label("fault.retry")
    flow.count("local_retries")
    if "event" in flow.policy.stop_on:
        flow.not_requested(otherwise=flow.fault_done)
    if flow.memslots and "invalid_slot" in flow.policy.stop_on:
        memslot.stop_if_invalid(flow)
    flow.poll("vcpu", leave=memslot.read_unlock)
    flow.row(Op.YIELD, next="fault.again", text="cond_resched()")
    flow.listing.flush()
    memslot.write_out(flow)


def _large(flow: Flow) -> None:
    """Where memory consists of large pages, the fault adds a whole one."""
    small = flow.fresh("fault.small")
    flow.row(Op.INDEX, register=R.OLD, source=R.PAGE, width=9, mask=-1, match=1, text="which 2 MiB")
    flow.row(Op.TEST, register=R.OLD, mask=-1, next=small, otherwise="fault.large", text="the first")
    with flow.aside("fault.large"):
        install(flow, 1, large=True)
        flow.goto("fault.mapped")
    flow.label(small)


def _attributes(flow: Flow) -> None:
    """4.1: a private fault on a page that is shared goes to userspace, which converts it sooner or later.

    The page's word says how many such exits it takes until userspace has converted it.
    """
    if not flow.converts:
        return
    index(flow.listing, R.CURSOR, flow.layout.at("shared"), 0, 8)
    shared, private = flow.fresh("fault.shared"), flow.fresh("fault.private")
    flow.row(Op.LOAD, base=R.CURSOR, register=R.OLD, mask=-1, match=0, otherwise=shared,
             text="page's attributes")
    with flow.aside(shared):
        skipped, out = flow.fresh("fault.skipped"), flow.fresh("fault.converted")
        flow.count("memory_fault_exits")
        flow.spend("userspace_exit_ns")
        flow.row(Op.SWAP, base=R.CURSOR, register=R.OLD, source=R.OLD, value=-1, otherwise=out,
                 text="userspace converts, or puts it off")
        flow.row(Op.TEST, register=R.OLD, mask=-1, match=1, next=out, otherwise=skipped, text="converted")
        flow.label(skipped)
        flow.count("conversions_skipped")
        flow.label(out)
        flow.end("fault")
        flow.goto(flow.fault_done)
    flow.label(private)


def _retry_fault(flow: Flow, locked: bool = True) -> None:
    """RET_PF_RETRY without a SEAMCALL that failed, and without a mirror entry to look at again."""
    respond = _back_outs(flow.back_out if locked else flow.goto, flow.fault_done, "fault.retry")
    Responses(flow, "frozen", respond=respond, without=("retry",), last=Response("resume_guest")).write()


def _back_outs(go, out: str, retry: str) -> dict:
    return {"resume_guest": lambda: go(out), "local_retry": lambda: go(retry),
            "drop_lock_and_yield": lambda: go(retry)}


def install(flow: Flow, level: int, large: bool = False, out: str = "", retry: str = "fault.retry") -> None:
    """Freeze, SEAMCALL, publish, for the entry of PAGE at `level`; mmu_lock is held for read.

    large   a page of 2 MiB at level 1, instead of an SEPT page
    out     where a fault goes that is given up (default: Flow.fault_done)
    retry   where one goes that is retried without entering the guest
    """
    name, policy, out = "tdh_mem_page_aug" if large else INSTALL[level], flow.policy, out or flow.fault_done
    present_bits = MMU_PRESENT | MMU_LARGE if large else MMU_PRESENT
    back_outs = _back_outs(flow.back_out, out, retry)
    taken, present, frozen, stale, failed, installed, answered = (
        flow.fresh(f"fault.{level}.{part}")
        for part in ("taken", "present", "frozen", "stale", "failed", "installed", "answered"))
    locate(flow.listing, flow.layout, level, leaf=large or None, comes_back=level == 0)
    index(flow.listing, R.MIRROR, flow.layout.at(f"mirror.{level}"), 9 * level, 8, text="mirror entry")
    flow.first_try("frozen")
    look = flow.label(flow.fresh(f"fault.{level}.look"))
    flow.row(Op.LOAD, base=R.MIRROR, register=R.OLD, mask=-1, match=MMU_NONPRESENT, otherwise=taken,
             text="mirror entry")
    with flow.aside(taken):
        flow.row(Op.TEST, register=R.OLD, mask=-1, match=FROZEN_SPTE, next=frozen, otherwise=present,
                 text="FROZEN_SPTE?")
        flow.label(present)
        if flow.large and level == 1:
            large_pages.other_size(flow, large, name, same := flow.fresh("fault.this_size"))
            flow.label(same)
        # Another vCPU has installed it; an operation of this vCPU that was refused with BUSY is over.
        flow.row(Op.SETTLE, value=flow.listing.call_number(name), text=name, next=installed)
        flow.label(frozen)
        flow.count("frozen_met")
        Responses(flow, "frozen", again=stale if policy.stale_old else look, respond=back_outs,
                  last=Response("resume_guest")).write()
    if policy.stale_old:
        flow.label(stale)
        flow.row(Op.LET, register=R.OLD, value=MMU_NONPRESENT, text="the value expected, as it once was")
    if policy.freeze:
        flow.row(Op.SWAP, base=R.MIRROR, register=R.OLD, value=FROZEN_SPTE, otherwise=frozen,
                 text="freeze the mirror entry")
    else:
        flow.row(Op.SWAP, base=R.MIRROR, register=R.OLD, source=R.HPA, value=present_bits, otherwise=frozen,
                 text="mirror entry: published at once")
    seam.own_mirror(flow, taking=True)
    seam.covered(flow)
    pairs = None if large else seam.page_pairs(flow, data=level == 0)        # 2 MiB have no pair
    if pairs:
        no_pair = flow.fresh("fault.no_pair")
        pairs.get(failed=no_pair, cached=True)
        with flow.aside(no_pair):            # -EIO: userspace ends the VM
            seam.own_mirror(flow, taking=False)
            flow.row(Op.STORE, base=R.MIRROR, value=MMU_NONPRESENT, text="mirror entry: roll back")
            held = flow.listing.held
            flow.drop_mmu_lock()
            flow.kill(out)
            flow.listing.held = held
    seam.begin_operation(flow, "install")
    again = flow.label(flow.fresh(f"fault.{level}.call"))
    seam.attempt(flow, name, answered, level)
    flow.succeeded(otherwise=failed)
    with flow.aside(failed):
        def undo():
            seam.end_operation(flow)
            seam.put_after_failure(flow, pairs)
            seam.own_mirror(flow, taking=False)
            flow.row(Op.STORE, base=R.MIRROR, value=MMU_NONPRESENT, text="mirror entry: roll back")

        Responses(
            flow, "install", again=again, undo=undo, call=name, behind=answered,
            respond=back_outs | {
                "exit_userspace": lambda: (flow.drop_mmu_lock(), flow.exit_userspace(out)),
                "bug_vm": lambda: flow.bug(out, before=flow.drop_mmu_lock),
            },
        ).write()
    seam.end_operation(flow)
    seam.own_mirror(flow, taking=False)
    if policy.freeze:
        flow.row(Op.STORE, base=R.MIRROR, source=R.HPA, value=present_bits, text="mirror entry: publish")
    else:
        _mirror_race(flow, present_bits)
    if level == 0 or large:
        flow.count("large_installs" if large and flow.large else "installs")
    flow.label(installed)


def _mirror_race(flow: Flow, present_bits: int) -> None:
    """The page is in the SEPT now.  Does the mirror still say so, or was it zapped in between?"""
    fine = flow.fresh("mirror.fine")
    flow.row(Op.LOAD, base=R.MIRROR, register=R.OLD, text="mirror entry")
    flow.row(Op.TEST, register=R.OLD, source=R.HPA, mask=-1, match=present_bits, next=fine,
             otherwise=flow.violation("mirror_race", fine), text="as published")
    flow.label(fine)
