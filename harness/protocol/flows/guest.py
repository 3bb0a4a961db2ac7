"""A vCPU, the guest's side: touch pages for ever.  (guests.py has guests that behave otherwise.)

    guest.next        choose a page
    guest.touch       touch it: through a remembered translation, or by a walk of the SEPT
    guest.accept      TDG.MEM.PAGE.ACCEPT
    guest.unmapped    a private EPT violation: the module walks the SEPT again, to see what it is
    guest.ve          ... a #VE: the page is PENDING, and the TD has pending #VE enabled
    guest.unaccepted  ... PENDING, and it has not: the host hears of it, and KVM ends the VM
    guest.violation   ... any other, that the host will hear of
    guest.exit        the TD exits, on to KVM's fault path

R.RIP / 4 counts instructions; the ACCEPT that belongs to one stands at RIP | 1, the TDG.VP.VEINFO.GET that a
#VE handler has to make first at RIP | 2: each is a VM exit at another RIP.  An instruction that
did not complete is executed again at the same RIP, which is what the zero-step mitigation looks at.
"""

from harness.memory.layout import LINE, TDVPS_TLB, TLB_ENTRIES
from harness.protocol.policy import Response
from harness.protocol.counters import violation
from harness.protocol.flows import guests
from harness.protocol.flows.flow import Flow
from harness.protocol.flows.interrupts import STEPPING, interruptible, td_exit
from harness.protocol.flows.responses import Responses
from harness.protocol.call import forget_refusals, index, locate, locate_entries, write_walk
from kernels.ops import Op, Register as R
from kernels.words import ACCEPTABLE, EXIT_REASON_EPT_VIOLATION, RWX, states, status

TLB = {"base": R.TDVPS, "offset": TDVPS_TLB, "value": TLB_ENTRIES}


def begin(flow: Flow) -> None:
    """Where a vCPU's guest starts, once it has been entered."""
    flow.row(Op.LET, register=R.RESUME, value="guest.next")
    guests.begin(flow)


def write(flow: Flow) -> None:
    flow.listing.held = flow.held_in_guest
    flow.label("guest.next")
    if flow.open_loop:
        # A guest that has nothing to do waits inside, where kicks reach it.
        interruptible(flow, resume="guest.next")
        flow.listing.arrive("touch_since_intended", "touch_interval_ns", otherwise="guest.idle",
                            ends="fault_since_intended")
        with flow.aside("guest.idle"):
            flow.row(Op.YIELD, next="guest.next")
        flow.count("touch_arrivals")
    flow.first_try("accept", tries=R.GUEST_TRIES)
    flow.listing.choose(R.GUEST_PAGE, "touch")
    guests.choose(flow)
    if 0 < flow.accept_first < 1:
        flow.listing.choose(R.COIN, "accept_first")
    flow.row(Op.LET, register=R.RIP, source=R.RIP, value=4, text="next instruction")

    flow.label("guest.touch")
    interruptible(flow, resume="guest.touch")
    flow.row(Op.MERGE, register=R.RIP, source=R.RIP, mask=~3)
    flow.row(Op.LET, register=R.PAGE, source=R.GUEST_PAGE)
    index(flow.listing, R.PAGE_GENERATION, flow.layout.at("generation"), 0, LINE)
    index(flow.listing, R.CONTENT, flow.layout.at("content"), 0, flow.layout.content_bytes)
    flow.row(Op.TLB_FIND, otherwise="guest.miss", **TLB)
    with flow.aside("guest.miss"):
        _miss(flow)
    flow.label("guest.access")
    _access(flow)
    flow.count("touches")
    flow.end("touch_stalled")
    if flow.open_loop:
        flow.end("touch_since_intended")
        flow.end("fault_since_intended")
    guests.next_of_string(flow)
    flow.spend("guest_work_ns")
    flow.goto("guest.next")
    flow.listing.flush()

    flow.label("guest.accept")
    interruptible(flow, resume="guest.accept")
    _accept(flow)
    flow.listing.flush()

    _violation(flow)
    flow.row(Op.LET, register=R.RESUME, value="guest.touch", next="guest.exit")
    flow.listing.flush()

    flow.label("guest.exit")
    flow.begin("touch_stalled")
    if flow.open_loop:
        flow.listing.begin_with("fault_since_intended", "touch_since_intended")
    td_exit(flow, "guest.exited")
    flow.goto("fault")


def _miss(flow: Flow) -> None:
    """No translation: walk the SEPT as the processor does, or ACCEPT first."""
    if flow.accept_first > 0:
        if flow.accept_first < 1:
            flow.row(Op.TEST, register=R.COIN, mask=-1, match=1, otherwise="guest.walk",
                     text="accept first?")
        # A guest that accepts first knows which pages it has accepted since the host last took them
        # (a conversion informs it); that knowledge is one word per page.
        flow.row(Op.LOAD, base=R.PAGE_GENERATION, register=R.GENERATION, text="page's generation")
        index(flow.listing, R.CURSOR, flow.layout.at("accepted"), 0, 8)
        flow.row(Op.LOAD, base=R.CURSOR, register=R.OLD, text="generation accepted, + 1")
        flow.row(Op.TEST, register=R.OLD, source=R.GENERATION, mask=-1, match=1,
                 otherwise="guest.accept", text="accepted?")
    flow.label("guest.walk")
    locate_entries(flow.listing, flow.layout)
    flow.row(Op.LET, register=R.LEVEL)
    write_walk(flow.listing, stopped="guest.unmapped")
    flow.row(Op.TEST, register=R.COPY, mask=RWX, match=RWX, otherwise="guest.unmapped", text="accessible")
    flow.row(Op.LOAD, base=R.PAGE_GENERATION, register=R.GENERATION, text="page's generation")
    flow.row(Op.TLB_REMEMBER, next="guest.access", **TLB)


def _violation(flow: Flow) -> None:
    """The module's part of a private EPT violation: it looks for itself.  td_ept_violation.c:100-132"""
    flow.label("guest.unmapped")
    flow.row(Op.STEPPING_EXIT, **STEPPING)
    write_walk(flow.listing, stopped="guest.looked")
    flow.label("guest.looked")
    flow.row(Op.STATE, register=R.STATE, source=R.COPY)
    flow.row(Op.IN, source=R.STATE, mask=states(*ACCEPTABLE), otherwise="guest.violation", text=" ".join(ACCEPTABLE),
             next="guest.ve" if flow.options.pending_ve else "guest.unaccepted")
    if flow.options.pending_ve:
        with flow.aside("guest.ve"):
            flow.row(Op.MERGE, register=R.RIP, value=2, source=R.RIP, mask=~3)
            flow.row(Op.STEPPING_EXIT, text="TDG.VP.VEINFO.GET is a VM exit", **STEPPING)
            flow.row(Op.MERGE, register=R.RIP, source=R.RIP, mask=~3)
            forget_refusals(flow.listing)
            flow.goto(guests.on_pending(flow))
    else:
        with flow.aside("guest.unaccepted"):
            _log(flow)
            flow.row(Op.LET, register=R.RESUME, value="guest.touch")
            td_exit(flow, flow.fresh("guest.out"))
            # tdx_handle_ept_violation: "Guest access before accepting", kvm_vm_dead.
            flow.count("unaccepted_touches")
            flow.kill("vcpu.run")
    flow.label("guest.violation")
    _log(flow)


def _log(flow: Flow) -> None:
    """The zero-step mitigation counts a violation that the host hears of."""
    armed, logged = flow.fresh("guest.armed"), flow.fresh("guest.logged")
    flow.count("private_faults")
    flow.row(Op.STEPPING_LOG, otherwise=armed, value=flow.options.release.epf_threshold,
             mask=flow.options.release.epf_list, text="fault on PAGE at RIP", **STEPPING)
    with flow.aside(armed):
        flow.count("zero_step.armed", next=logged)
    flow.label(logged)


def _access(flow: Flow) -> None:
    """Access the page through a remembered translation, and check that this was right."""
    flow.row(Op.LOAD, base=R.PAGE_GENERATION, register=R.OLD, text="page's generation")
    flow.row(Op.TEST, register=R.OLD, source=R.GENERATION, mask=-1, otherwise="guest.stale",
             text="translation still good")
    with flow.aside("guest.stale"):
        flow.count(violation("stale_translation"))
        flow.row(Op.TLB_FORGET, next="guest.next", **TLB)
    flow.row(Op.LOAD, base=R.CONTENT, register=R.OLD, text="first word of the page")
    flow.row(Op.SIGN, value=flow.seed)
    flow.row(Op.TEST, register=R.OLD, source=R.SIGNATURE, mask=-1, otherwise="guest.unsigned", text="signed")
    with flow.aside("guest.unsigned"):
        flow.row(Op.TEST, register=R.OLD, mask=-1, otherwise="guest.corrupt", text="zeroed")
        flow.row(Op.STORE, base=R.CONTENT, source=R.SIGNATURE, next="guest.signed", text="sign it")
        with flow.aside("guest.corrupt"):
            flow.count(violation("page_signature"), next="guest.signed")
    flow.label("guest.signed")


def _accept(flow: Flow) -> None:
    """TDG.MEM.PAGE.ACCEPT of the page, and what the guest makes of the answer."""
    flow.row(Op.MERGE, register=R.RIP, value=1, source=R.RIP, mask=~3)
    flow.row(Op.STEPPING_EXIT, text="TDCALL is a VM exit", **STEPPING)
    locate(flow.listing, flow.layout, 0)
    flow.call("tdg_mem_page_accept", behind="guest.answered")
    flow.succeeded(otherwise="guest.not_accepted")
    with flow.aside("guest.not_accepted"):
        fault, known, busy, other = (flow.fresh(f"guest.{part}") for part in ("fault", "known", "busy", "other"))
        flow.row(Op.TEST, register=R.STATUS, mask=-1, match=EXIT_REASON_EPT_VIOLATION,
                 next=fault, otherwise=known, text="TD exit")
        flow.label(known)
        flow.row(Op.TEST, register=R.STATUS, mask=-1, match=status("TDX_PAGE_ALREADY_ACCEPTED", 0),
                 next="guest.note", otherwise=other, text="already accepted")
        flow.label(other)
        flow.row(Op.TEST, register=R.STATUS, mask=-1, match=status("TDX_HOST_PRIORITY_BUSY_TIMEOUT"),
                 next="guest.timeout", otherwise=busy, text="refused for host priority too long")
        with flow.aside("guest.timeout"):
            _time_out(flow)
        flow.label(busy)
        # What is not BUSY is PAGE_SIZE_MISMATCH: Linux panics, this guest touches the page again.
        Responses(flow, "accept", again="guest.accept", unmatched="guest.touch", tries=R.GUEST_TRIES,
                  respond={"give_up": lambda: flow.count("accepts_given_up", next="guest.next")},
                  last=Response("give_up")).write()
        flow.label(fault)
        # Violations that ACCEPT raises are not counted by the zero-step mitigation.
        flow.count("accept_faults")
        flow.row(Op.LET, register=R.RESUME, value="guest.accept", next="guest.exit")
    flow.count("accepts")
    flow.label("guest.note")
    if flow.accept_first > 0:
        flow.row(Op.LOAD, base=R.PAGE_GENERATION, register=R.GENERATION, text="page's generation")
        index(flow.listing, R.CURSOR, flow.layout.at("accepted"), 0, 8, source=R.GUEST_PAGE)
        flow.row(Op.STORE, base=R.CURSOR, source=R.GENERATION, value=1, text="generation accepted, + 1")
    flow.goto("guest.touch")


def _time_out(flow: Flow) -> None:
    """The TD has exited because host priority refused it for hp_lock_timeout.

    KVM does not know the status and exits to userspace (KVM_EXIT_INTERNAL_ERROR), which enters again.
    The guest sees BUSY, its instruction done.  tdx_td_dispatcher.c:419-432
    """
    flow.row(Op.LET, register=R.RESUME, value="guest.accept")
    flow.count("host_priority.timeouts")
    td_exit(flow, flow.fresh("guest.out"))
    flow.exit_userspace("vcpu.run")
