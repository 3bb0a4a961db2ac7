"""Memslots and SRCU: a slot can be deleted while vCPUs fault on it.

A vCPU thread is an SRCU reader from the exit that brought it into KVM until it enters the guest or
returns to userspace, and so also while it retries a fault.  Who deletes a slot marks it invalid, waits
for all readers that have begun before, and only then zaps it.  Linux 6.16 retried a fault on an invalid
slot locally, as a reader, until the slot was valid again: neither could go on (commit 2bc2694fe20b).

There is a memslot for each 2 MiB, in a scenario for so many pages as it says (Behaviour.slot_pages).  A vCPU's SRCU word says
whether it is a reader, and whether its end is waited for: the host marks it so, and a reader that leaves takes the mark with it, so
that one which comes later is not waited for.  (slots_lock lets one thread wait at a time.)

Source: Linux virt/kvm/kvm_main.c (kvm_invalidate_memslot, kvm_swap_active_memslots), 6.16.
"""

from harness.memory.layout import KICK_SRCU, LINE
from harness.protocol.locate import index
from harness.protocol.flows.flow import Flow
from kernels.ops import Op, Register as R

VALID, INVALID, DELETED = 0, 1, 2
READER, AWAITED = 1, 2           # bits of a vCPU's SRCU word


def read_lock(flow: Flow) -> None:
    if flow.memslots:
        flow.row(Op.OR, base=R.KICK, offset=KICK_SRCU, value=READER, text="srcu_read_lock")


def read_unlock(flow: Flow) -> None:
    if flow.memslots:
        flow.row(Op.AND, base=R.KICK, offset=KICK_SRCU, value=~(READER | AWAITED), text="srcu_read_unlock")


def write_out(flow: Flow) -> None:
    if flow.memslots:
        flow.label("fault.out")
        read_unlock(flow)
        flow.goto("vcpu.run")
        flow.listing.flush()


def _find(flow: Flow, source: R = R.PAGE, slots_before: int = 0) -> None:
    index(flow.listing, R.CURSOR, flow.layout.at("memslot") - LINE * slots_before, _pages(flow).bit_length() - 1, LINE,
          source=source, text="memslot")


def _pages(flow: Flow) -> int:
    return flow.behaviour.slot_pages


def look(flow: Flow, retry) -> None:
    """A fault looks its memslot up: valid, invalid (RET_PF_RETRY: `retry`) or gone (to userspace)."""
    bad, gone, fine = (flow.fresh(f"fault.slot_{part}") for part in ("bad", "gone", "fine"))
    _find(flow)
    flow.row(Op.LOAD, base=R.CURSOR, register=R.OLD, mask=-1, match=VALID, otherwise=bad, text="memslot")
    with flow.aside(bad):
        invalid = flow.fresh("fault.slot_invalid")
        flow.row(Op.TEST, register=R.OLD, mask=-1, match=INVALID, next=invalid, otherwise=gone,
                 text="invalid")
        flow.label(invalid)
        flow.count("invalid_slots_met")
        retry()
        flow.label(gone)
        flow.end("fault")
        flow.exit_userspace(flow.fault_done)
    flow.label(fine)


def stop_if_invalid(flow: Flow) -> None:
    """6.18: a local retry ends when the slot is invalid, so that the reader leaves."""
    _find(flow)
    flow.row(Op.LOAD, base=R.CURSOR, register=R.OLD, mask=-1, match=INVALID, next=flow.fault_done,
             otherwise=(fine := flow.fresh("fault.slot_still_there")), text="memslot")
    flow.label(fine)


def delete(flow: Flow, then: str) -> None:
    """Delete the memslot of PAGE, zap it, create it again; then on at `then`."""
    flow.row(Op.MERGE, register=R.PAGE, source=R.PAGE, mask=-_pages(flow),
             text="first page of its memslot")
    flow.row(Op.LET, register=R.RANGE_END, source=R.PAGE, value=_pages(flow))
    flow.begin("slot_deletion")
    flow.spin_lock("slots_lock")
    _set(flow, INVALID)
    _synchronize(flow)
    flow.row(Op.LET, register=R.RETURN, value="host.flushed")
    flow.goto("zap")
    flow.label("host.flushed")
    _set(flow, DELETED)
    _synchronize(flow)
    flow.spend("userspace_exit_ns")
    _set(flow, VALID)
    flow.spin_unlock("slots_lock")
    flow.end("slot_deletion")
    flow.count("slots_deleted")
    flow.goto(then)


def _set(flow: Flow, state: int) -> None:
    # RANGE_END lies one memslot further, and is kept by the zap.
    _find(flow, R.RANGE_END, slots_before=1)
    flow.row(Op.STORE, base=R.CURSOR, value=state, text="memslot")


def _synchronize(flow: Flow) -> None:
    """synchronize_srcu: wait for every vCPU that is a reader now."""
    flow.begin("srcu_wait")
    with flow.each_vcpu():
        out = flow.fresh("srcu.out")
        flow.row(Op.LET, register=R.OLD, value=READER)
        flow.row(Op.SWAP, base=R.CURSOR, offset=KICK_SRCU, register=R.OLD, value=READER | AWAITED, otherwise=out,
                 text="an SRCU reader: wait for it")
        flow.label(out)
    with flow.each_vcpu():
        flow.row(Op.WAIT_NOT, base=R.CURSOR, offset=KICK_SRCU, mask=AWAITED, match=AWAITED, text="srcu reader has left")
    flow.end("srcu_wait")
