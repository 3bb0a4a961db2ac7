"""A host thread that does nothing but split large pages (workload.removal = "split"); large.py says how.

All memory behind the first 2 MiB is of large pages: faults there add a whole one, and the spammers'
ACCEPT is of the first of them, at level 1: the module zeroes 2 MiB under that entry's lock.

    host.start   add the next large page, as KVM_PRE_FAULT_MEMORY would, and split it; when all are
                 split, the VM is closed and the next one begins with whole pages
"""

from harness.memory.layout import ENTRIES
from harness.protocol.flows import fault, large, seam
from harness.protocol.flows.guests import FIRST_LARGE
from harness.protocol.flows.flow import CLOSING, Flow
from kernels.ops import LEVELS, Op, Register as R


def large_pages(flow: Flow) -> int:
    return flow.layout.pages // ENTRIES - 1


def write(flow: Flow) -> None:
    flow.listing.choose(R.COIN, "split")
    flow.label("host.start")
    flow.row(Op.INDEX, register=R.PAGE, offset=FIRST_LARGE, source=R.COIN, width=0, mask=-1, match=ENTRIES,
             text="first page of a large one")
    if pairs := seam.page_pairs(flow):
        pairs.top_up()
    with flow.mmu_lock("shared"):
        fault.install(flow, LEVELS - 1, out="host.next", retry="host.next")
        fault.install(flow, 1, large=True, out="host.next", retry="host.next")
    shared = flow.policy.split_lock == "read"
    with flow.mmu_lock("shared" if shared else "exclusive"), flow.listing.within(flow="split"):
        large.is_large(flow, otherwise="split.none")
        with flow.aside("split.none"):
            flow.back_out("host.next")
        (large.under_read if shared else large.under_write)(flow, "split", *["host.next"] * shared)
    if large_pages(flow) > 1:
        last = flow.fresh("host.last_split")
        flow.row(Op.TEST, register=R.COIN, mask=-1, next=last, otherwise="host.next", text="all split")
        flow.label(last)
    flow.row(Op.STORE, value=CLOSING, **flow.at("vm_dead"))
    flow.tell_all()
    flow.goto("host.dead")
