"""One SEAMCALL of a removal or of a split, with what the policy does when it is BUSY; and the bar against entry.

mmu_lock is held, and with it no vCPU can be on its way into KVM's fault path; vCPUs in the guest, or entering it, are what
makes these calls BUSY.  A call that fails for good is a KVM_BUG_ON.
"""

from typing import Callable

from harness.protocol.flows import seam
from harness.protocol.flows.flow import Flow
from harness.protocol.flows.responses import Responses
from kernels.ops import Op, Register as R
from kernels.words import OPERAND_BUSY, STATUS_CLASS

REMOVAL_SITES = ("block", "track", "remove")


def step(flow: Flow, mode: str, site: str, name: str, level: int = 0, *, stem: str, finish: str = "",
         attempt=seam.attempt) -> None:
    """One SEAMCALL of a removal or of a split, with the policy's responses.

    mode     how mmu_lock is held
    stem     what labels begin with; `{stem}.{site}` makes the call
    finish   where what a KVM_BUG_ON has ended goes on (default: `{stem}.finish`)
    attempt  writes one try of the call
    """
    again, done = f"{stem}.{site}", f"{stem}.{site}.done"
    failed, behind = f"{again}.failed", flow.fresh(f"{again}.answered")
    seam.begin_operation(flow, site)
    flow.label(again)
    attempt(flow, name, behind, level)
    flow.succeeded(otherwise=failed)
    with flow.aside(failed):
        if flow.policy.bar == "removal":
            _refused_behind_bar(flow, again)
        Responses(
            flow, site, again=again, done=done, call=name, behind=behind,
            without=() if flow.behaviour.may_sleep else ("drop_lock_and_yield",),
            respond={
                "kick": lambda: _kick_and_repeat(flow, lambda behind: attempt(flow, name, behind, level), again, done),
                "drop_lock_and_yield": lambda: _yield_and_repeat(flow, mode, again),
                "bug_vm": lambda: _bug(flow, site, done, finish or f"{stem}.finish"),
            },
        ).write()
    flow.label(done)
    seam.end_operation(flow)


def _bug(flow: Flow, site: str, done: str, finish: str) -> None:
    """tdx_track has nothing to return: after a TRACK that failed the removal goes on, and fails again."""
    if site == "track":
        flow.bug(done)
    else:
        seam.end_operation(flow)
        flow.bug(finish)


def _yield_and_repeat(flow: Flow, mode: str, again: str) -> None:
    flow.count("zap_yields")
    yield_lock(flow, mode)
    flow.goto(again)


def yield_lock(flow: Flow, mode: str) -> None:
    """Drop mmu_lock, let others run, take it again."""
    flow.drop_mmu_lock()
    flow.row(Op.YIELD, text="cond_resched()")
    flow.take_mmu_lock(mode)


def _kick_and_repeat(flow: Flow, attempt: Callable, stem: str, done: str) -> None:
    """tdx_no_vcpus_enter_start, the call once more (`attempt(behind)`), tdx_no_vcpus_enter_stop.

    Falls through if the call failed again.
    """
    bar_call = flow.policy.bar == "call"
    if bar_call:
        bar(flow, True)
    flow.kick_all()
    attempt(flow.fresh(f"{stem}.repeated"))
    if bar_call:
        bar(flow, False)
    failed = flow.fresh(f"{stem}.failed_again")
    flow.row(Op.TEST, register=R.STATUS, mask=-1, next=done, otherwise=failed, text="TDX_SUCCESS")
    flow.label(failed)
    _refused_behind_bar(flow, stem)


def _refused_behind_bar(flow: Flow, stem: str) -> None:
    """I6: with entry barred and all vCPUs out, no actor is left that could make a call BUSY."""
    other = flow.fresh(f"{stem}.not_barred")
    flow.row(Op.TEST, register=R.STATUS, mask=STATUS_CLASS, match=OPERAND_BUSY, otherwise=other,
             next=flow.violation("barred_retry", other), text="BUSY all the same")
    flow.label(other)


# --- kvm_tdx->wait_for_sept_zap ---

def bar(flow: Flow, on: bool) -> None:
    """Set or clear the bar; only who holds mmu_lock for write may (I7)."""
    if on and flow.options.owners:
        fine = flow.fresh("bar.locked")
        flow.row(Op.LOAD, register=R.OLD, **flow.at("mmu_owner"))
        flow.row(Op.TEST, register=R.OLD, source=R.ME, mask=-1, next=fine,
                 otherwise=flow.violation("bar_under_lock", fine), text="this actor")
        flow.label(fine)
    flow.row(Op.STORE, value=int(on), **flow.at("wait_for_sept_zap"))
    (flow.begin if on else flow.end)("entry_barred")


def bar_is_off(flow: Flow) -> None:
    """I7: mmu_lock is not released while entry is barred."""
    bars = flow.policy.bar == "removal" or any(flow.policy.answers(site, "kick") for site in REMOVAL_SITES)
    if bars and flow.options.owners:
        fine = flow.fresh("bar.off")
        flow.row(Op.LOAD, **flow.at("wait_for_sept_zap", mask=-1, match=0,
                                    otherwise=flow.violation("bar_under_lock", fine)))
        flow.label(fine)
