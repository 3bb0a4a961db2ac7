"""A host thread that takes memory back, again and again.

    host.next     wait, choose pages
    host.start    what the workload wants done with them; the pages themselves go in zap.py

    punch_hole       guest_memfd truncates: zap, then the range's faults stay stale for a while (cost
                     `invalidate`, as between kvm_mmu_invalidate_begin and _end)
    conversion       KVM_SET_MEMORY_ATTRIBUTES to shared: the same, and the pages become shared
    split            large pages are split into pages of 4 KiB (split.py)
    memslot_delete   the memslot of 2 MiB that holds the page is deleted and created again
    teardown         the VM's file is closed: all vCPUs leave, all memory is removed, a fresh TD is built
    build            the same, and the fresh TD has to be built first (build.py)
"""

from harness.protocol.flows import build, machine_check, map_gpa, memslot, reclaim, split, zap
from harness.protocol.flows.flow import CLOSING, Flow
from kernels.ops import Op, Register as R


def write(flow: Flow) -> None:
    behaviour = flow.behaviour
    flow.label("host")
    if flow.builds:
        build.write(flow)
    flow.label("host.next")
    flow.poll("host")
    if flow.open_loop:
        flow.listing.arrive("removal_since_intended", "removal_interval_ns", otherwise="host.next", idle=True)
        flow.count("removal_arrivals")
    else:
        flow.spend("removal_interval_ns", idle=True)
    if behaviour.removal in ("teardown", "build"):
        flow.row(Op.STORE, value=CLOSING, **flow.at("vm_dead"))
        flow.tell_all()
        flow.goto("host.dead")
    elif flow.splits:
        split.write(flow)
    else:
        flow.listing.choose(R.PAGE, "remove")
        machine_check.write(flow)
        flow.label("host.start")
        if behaviour.removal == "memslot_delete":
            memslot.delete(flow, then="host.next")
        else:
            _remove(flow)
    flow.listing.flush()
    if flow.builds:
        flow.park("host", may_rebuild=True, destroy=lambda: build.destroy(flow),
                  begin_again=lambda: build.begin_again(flow))
    else:
        flow.park("host", may_rebuild=True, destroy=lambda: reclaim.write(flow))


def _remove(flow: Flow) -> None:
    pages = flow.behaviour.removal_pages
    if pages > 1:
        flow.row(Op.MERGE, register=R.PAGE, source=R.PAGE, mask=-pages, text="first page of the range")
    flow.row(Op.LET, register=R.RANGE_END, source=R.PAGE, value=pages)
    flow.row(Op.LET, register=R.RETURN, value="host.zapped", next="zap")
    flow.label("host.zapped")
    if flow.behaviour.removal == "conversion":
        map_gpa.set_attributes(flow, pages, 1 + flow.behaviour.userspace_skips)
    if flow.invalidates:
        flow.spend("invalidate_ns")
        zap.invalidate_end(flow)
    flow.goto("host.next")
