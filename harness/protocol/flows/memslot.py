"""Memslots and SRCU: a slot can be deleted while vCPUs fault on it.

A vCPU thread is an SRCU reader from the exit that brought it into KVM until it enters the guest or
returns to userspace, and so also while it retries a fault.  Who deletes a slot marks it invalid, waits
for all readers that have begun before, and only then zaps it.  Linux 6.16 retried a fault on an invalid
slot locally, as a reader, until the slot was valid again: neither could go on (commit 2bc2694fe20b).

There is a memslot for each 2 MiB.  A vCPU's SRCU word is odd while it is a reader, and goes up by one
at each end of a read side, so that a wait for "this reader" is a wait for another value.

Source: Linux virt/kvm/kvm_main.c (kvm_invalidate_memslot, kvm_swap_active_memslots), 6.16.
"""

from harness.memory.layout import KICK_SRCU, LINE
from harness.protocol.locate import index
from harness.protocol.flows.flow import Flow
from kernels.ops import Op, Register as R

VALID, INVALID, DELETED = 0, 1, 2
SLOT_SHIFT = 9                   # pages of a memslot, as a power of two


def _srcu(flow: Flow) -> None:
    flow.row(Op.ADD, base=R.KICK, offset=KICK_SRCU, value=1, text="srcu")


def read_lock(flow: Flow) -> None:
    if flow.memslots:
        _srcu(flow)


def read_unlock(flow: Flow) -> None:
    if flow.memslots:
        _srcu(flow)


def write_out(flow: Flow) -> None:
    if flow.memslots:
        flow.label("fault.out")
        read_unlock(flow)
        flow.goto("vcpu.run")
        flow.listing.flush()


def _find(flow: Flow, source: R = R.PAGE, slots_before: int = 0) -> None:
    index(flow.listing, R.CURSOR, flow.layout.at("memslot") - LINE * slots_before, SLOT_SHIFT, LINE, source=source,
          text="memslot")


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
    flow.row(Op.MERGE, register=R.PAGE, source=R.PAGE, mask=-1 << SLOT_SHIFT,
             text="first page of its memslot")
    flow.row(Op.LET, register=R.RANGE_END, source=R.PAGE, value=1 << SLOT_SHIFT)
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
        reader, out = flow.fresh("srcu.reader"), flow.fresh("srcu.out")
        flow.row(Op.LOAD, base=R.CURSOR, offset=KICK_SRCU, register=R.OLD, mask=1, match=0, next=out,
                 otherwise=reader, text="srcu")
        with flow.aside(reader):
            flow.row(Op.WAIT_NOT, base=R.CURSOR, offset=KICK_SRCU, source=R.OLD, mask=-1, match=0, next=out,
                     text="srcu reader has left")
        flow.label(out)
    flow.end("srcu_wait")
