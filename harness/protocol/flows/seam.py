"""One of KVM's SEPT SEAMCALLs from KVM's side: its spinlock, its wrapper, and what must hold when it is made.

    begin_operation(flow, "install")     the policy's spinlock, its count of tries
    attempt(flow, name, behind)          the call; or, as the policy has it, an injected BUSY
    end_operation(flow)

Ownership of mirror entries (invariants one_freezer and seamcall_covered) is kept in the shadow word
of the entry, as that of the module's locks is, and under the same switch of the config.
"""

from harness.protocol.flows import pamt
from harness.protocol.flows.flow import FROZEN_SPTE, Flow
from kernels.answers import AnswerKind
from kernels.ops import Op, Register as R
from kernels.words import status


def begin_operation(flow: Flow, site: str) -> None:
    """Before the first attempt: the VM's spinlock, and no tries so far."""
    if flow.policy.seamcall_lock:
        flow.spin_lock("seamcall_lock")
    flow.first_try(site)


def end_operation(flow: Flow) -> None:
    if flow.policy.seamcall_lock:
        flow.spin_unlock("seamcall_lock")


def attempt(flow: Flow, name: str, behind: str, level: int = 0) -> None:
    """Make a call; it comes back at `behind`, the label of the next row, with R.STATUS."""
    every = flow.policy.inject_every
    if every:
        chosen = flow.fresh(f"{name}.injected")
        # The word counts calls; who finds it at its limit takes that many away again.
        flow.row(Op.ADD, value=1, register=R.OLD, **flow.at("calls_injected"))
        made = flow.fresh(f"{name}.made")
        flow.row(Op.TEST, register=R.OLD, mask=-1, match=every - 1, next=chosen, otherwise=made,
                 text=f"call number {every}?")
        with flow.aside(chosen):
            flow.row(Op.ADD, value=-every, **flow.at("calls_injected"))
            answer_without_call(flow, name, status("TDX_OPERAND_BUSY", "SEPT_TREE"), behind, AnswerKind.INJECTED)
        flow.label(made)
    flow.call(name, behind, level)


def page_pairs(flow: Flow, data: bool = True) -> pamt.Writer | None:
    """Get and put of a page's PAMT page pair, where they are modelled: without a placement only of data pages."""
    design = flow.behaviour.design if data or flow.layout.frames else None
    behaviour = flow.behaviour
    return pamt.Writer(flow.listing, flow.options, design, False, flow.calls, behaviour.pamt_cache, behaviour.pamt_queue) if design else None


def put_after_failure(flow: Flow, pairs: pamt.Writer | None) -> None:
    """The pair that was got for a call that has failed is put; what follows is still about the call."""
    if pairs:
        kept = ((R.BEPOCH, R.CALL), (R.EPOCH_WORD, R.ANSWER))
        for copy, register in kept:
            flow.row(Op.LET, register=copy, source=register)
        pairs.put(used=False)
        for copy, register in kept:
            flow.row(Op.LET, register=register, source=copy)


def answer_without_call(flow: Flow, name: str, code: int, behind: str, kind: AnswerKind = AnswerKind.OTHER) -> None:
    """An attempt that is answered before the module has touched anything."""
    flow.row(Op.CALL_BEGIN, value=flow.listing.call_number(name), text=name)
    flow.listing.answer(code, kind)
    flow.row(Op.CALL_END, text=name, next=behind)


def clobbered_attempt(flow: Flow, name: str, behind: str) -> None:
    """A retry with the operands that the failed try has returned.

    The module returns 0 in RCX and RDX when a lock is BUSY, so the second try names address 0 as the
    TDR.  That is refused before a lock is taken; with what status depends on the page there.
    """
    flow.count("clobbered_calls")
    operand = "RCX" if name == "tdh_mem_track" else "RDX"
    answer_without_call(flow, name, status("TDX_OPERAND_INVALID", operand), behind)


# --- who owns a mirror entry ---

def own_mirror(flow: Flow, taking: bool) -> None:
    """I2: between freeze and publish a mirror entry is one actor's."""
    if not flow.options.owners:
        return
    owned = flow.fresh("mirror.owned")
    shadow = {"base": R.MIRROR, "offset": flow.layout.shadow_delta, "register": R.OLD,
              "text": "owner of the mirror entry"}
    violated = flow.violation("one_freezer", owned)
    if taking:
        flow.row(Op.EXCHANGE, source=R.ME, mask=-1, match=0, otherwise=violated, **shadow)
    else:
        flow.row(Op.EXCHANGE, **shadow)
        flow.row(Op.TEST, register=R.OLD, source=R.ME, mask=-1, next=owned, otherwise=violated,
                 text="this actor")
    flow.label(owned)


def covered(flow: Flow) -> None:
    """I3: who makes a SEAMCALL on an entry has frozen its mirror, or holds mmu_lock for write."""
    if not flow.options.owners:
        return
    holds_write = any(held.resource == "mmu_lock" and held.mode == "exclusive" for held in flow.listing.held)
    fine = flow.fresh("mirror.covered")
    violated = flow.violation("seamcall_covered", fine)
    if holds_write:
        flow.row(Op.LOAD, register=R.OLD, **flow.at("mmu_owner"))
        flow.row(Op.TEST, register=R.OLD, source=R.ME, mask=-1, next=fine, otherwise=violated,
                 text="this actor")
    else:
        flow.row(Op.LOAD, base=R.MIRROR, mask=-1, match=FROZEN_SPTE, otherwise=violated, text="still frozen")
    flow.label(fine)
