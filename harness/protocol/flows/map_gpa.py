"""Conversion on the guest's demand: TDG.VP.VMCALL<MapGPA>, carried out on the vCPU's own thread.

    guest.convert       the guest converts the pages around GUEST_PAGE to shared, and later back
    map_gpa             KVM: a piece of 2 MiB at a time to userspace, which sets the pages' attributes
    map_gpa.private     the same, back to private: nothing is mapped, so nothing is removed

Between two pieces KVM looks for pending events, and if there are any asks the guest to call again
for the rest (TDVMCALL_STATUS_RETRY).  How often a guest does so differs: Linux for ever, td-shim three
times, EDK2 long not at all (workload.map_gpa_retries).

Source: Linux 6.16 arch/x86/kvm/vmx/tdx.c (__tdx_map_gpa, tdx_complete_vmcall_map_gpa).
"""

from harness.protocol.locate import index
from harness.protocol.flows import zap
from harness.protocol.flows.flow import REQUEST, Flow
from kernels.ops import Op, Register as R

PIECE = 512                      # TDX_MAP_GPA_MAX_LEN: 2 MiB


def set_attributes(flow: Flow, pages: int, value: int) -> None:
    """The words of the `pages` pages before RANGE_END: 0 private; n shared until the n-th private fault."""
    again, done = flow.fresh("attributes.next"), flow.fresh("attributes.done")
    index(flow.listing, R.CURSOR, flow.layout.at("shared"), 0, 8, source=R.RANGE_END)
    flow.row(Op.LET, register=R.OLD, source=R.CURSOR)
    flow.row(Op.LET, register=R.CURSOR, source=R.CURSOR, value=-8 * pages)
    flow.label(again)
    flow.row(Op.STORE, base=R.CURSOR, value=value, text="page's attributes")
    flow.row(Op.LET, register=R.CURSOR, source=R.CURSOR, value=8)
    flow.row(Op.TEST, register=R.CURSOR, source=R.OLD, mask=-1, next=done, otherwise=again, text="all pages")
    flow.label(done)


def write(flow: Flow) -> None:
    if not flow.behaviour.map_gpa_share:
        return
    pages = flow.behaviour.map_gpa_pages
    piece = min(PIECE, pages)
    flow.label("map_gpa")
    flow.count("map_gpa_calls")
    flow.begin("map_gpa")
    flow.label("map_gpa.piece")
    flow.row(Op.LET, register=R.PAGE, source=R.RANGE_END)
    flow.row(Op.LET, register=R.RANGE_END, source=R.RANGE_END, value=piece)
    _exit(flow)
    flow.row(Op.LET, register=R.RETURN, value="map_gpa.zapped", next="zap")
    flow.label("map_gpa.zapped")
    set_attributes(flow, piece, 1 + flow.behaviour.userspace_skips)
    zap.invalidate_end(flow)
    flow.row(Op.TEST, register=R.RANGE_END, source=R.GUEST_PAGE, mask=-1, match=pages, next="map_gpa.done",
             otherwise="map_gpa.event", text="all pieces")
    with flow.aside("map_gpa.event"):
        flow.row(Op.LOAD, base=R.KICK, mask=REQUEST, match=0, next="map_gpa.piece", otherwise="map_gpa.retry",
                 text="event pending?")
        with flow.aside("map_gpa.retry"):
            flow.count("map_gpa_status_retry")
            flow.end("map_gpa")
            flow.row(Op.LET, register=R.RESUME, value="guest.told_to_retry", next="vcpu.run")
    flow.label("map_gpa.done")
    flow.end("map_gpa")
    flow.row(Op.LET, register=R.RESUME, value="guest.convert_back", next="vcpu.run")
    flow.listing.flush()

    flow.label("map_gpa.private")
    flow.row(Op.LET, register=R.RANGE_END, source=R.GUEST_PAGE, value=pages)
    for _ in range(pages // piece):
        _exit(flow)
    set_attributes(flow, pages, 0)
    flow.count("conversions")
    flow.row(Op.LET, register=R.RESUME, value="guest.next", next="vcpu.run")
    flow.listing.flush()


def _exit(flow: Flow) -> None:
    flow.count("userspace_exits")
    flow.spend("userspace_exit_ns")
