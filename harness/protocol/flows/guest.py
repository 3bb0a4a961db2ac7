"""A vCPU, the guest's side: touch pages for ever.  (guests.py has guests that behave otherwise.)

    guest.next        choose a page
    guest.touch       touch it: through a remembered translation, or by a walk of the SEPT
    guest.accept      TDG.MEM.PAGE.ACCEPT, in the largest size that fits (guest.accept_1g, guest.accept_2m, guest.accept_4k)
    guest.dies        the guest's policy was to end itself
    guest.unmapped    a private EPT violation: the module walks the SEPT again, to see what it is
    guest.ve          ... a #VE: the page is PENDING, and the TD has pending #VE enabled
    guest.unaccepted  ... PENDING, and it has not: the host hears of it, and KVM ends the VM
    guest.violation   ... any other, that the host will hear of
    guest.exit        the TD exits, on to KVM's fault path

R.RIP / 4 counts instructions; the ACCEPT that belongs to one stands at RIP | 1, the TDG.VP.VEINFO.GET that a
#VE handler has to make first at RIP | 2: each is a VM exit at another RIP.  An instruction that
did not complete is executed again at the same RIP, which is what the zero-step mitigation looks at.
"""

from harness.memory.layout import ENTRIES, LINE, TDVPS_TLB, TLB_ENTRIES
from harness.protocol.guest_policies import KINDS, LAST, SIZES, STATUS
from harness.protocol.counters import died_of, violation
from harness.protocol.flows import guests
from harness.protocol.flows.flow import SIGN, SMALL_ACCEPT_EXITS, Flow
from harness.protocol.flows.interrupts import STEPPING, interruptible, td_exit
from harness.protocol.flows.responses import Responses
from harness.protocol.call import forget_refusals
from harness.protocol.locate import index, locate, locate_entries, write_walk
from kernels.ops import Op, Register as R
from kernels.words import ACCEPTABLE, EXIT_REASON_EPT_VIOLATION, EXIT_REASON_EXTERNAL_INTERRUPT, PS, RWX, STATUS_CLASS, STATUSES, states, status

PAGES_PER_GIB = ENTRIES * ENTRIES
ACCEPTED = ("guest.accepted", "guest.accepted_2m")

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

    _accept(flow)
    _die(flow)
    flow.listing.held = flow.held_in_guest

    _violation(flow)
    flow.row(Op.LET, register=R.RESUME, value="guest.touch", next="guest.exit")
    flow.listing.flush()

    _exit(flow, "guest.exit", "fault")
    if flow.mismatches:
        _exit(flow, SMALL_ACCEPT_EXITS, "mismatch")


def _exit(flow: Flow, label: str, then: str) -> None:
    flow.listing.held = flow.held_in_guest
    flow.label(label)
    flow.begin("touch_stalled")
    if flow.open_loop:
        flow.listing.begin_with("fault_since_intended", "touch_since_intended")
    td_exit(flow, f"{label}ed")
    flow.goto(then)
    flow.listing.flush()


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
    write_walk(flow.listing, stopped="guest.stopped" if flow.large else "guest.unmapped")
    flow.row(Op.TEST, register=R.COPY, mask=RWX, match=RWX, otherwise="guest.unmapped", text="accessible")
    if flow.large:
        with flow.aside("guest.stopped"):
            flow.row(Op.TEST, register=R.COPY, mask=PS | RWX, match=PS | RWX, next="guest.walked", otherwise="guest.unmapped",
                     text="2 MiB, accessible")
        flow.label("guest.walked")
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
    """TDG.MEM.PAGE.ACCEPT of the page, in one size or the other, and what the guest makes of the answer."""
    flow.label("guest.accept")
    if flow.guest.one_at_a_time:
        _alone(flow)
    if flow.guest.counts_tries():
        flow.row(Op.LET, register=R.GUEST_TRIES)
    knows_2m = flow.behaviour.accept_2m and flow.guest.largest != "4k"
    if knows_2m and flow.guest.largest == "1g":
        _try_1g(flow)
    if flow.large and knows_2m:
        _in_2m(flow)
    elif knows_2m:
        flow.row(Op.TEST, register=R.GUEST_PAGE, mask=ENTRIES - 1, match=0, next="guest.accept_2m",
                 otherwise="guest.accept_4k", text="first page of 2 MiB")
        with flow.aside("guest.accept_2m"):
            _accept_as(flow, 1)
    flow.label("guest.accept_4k")
    _accept_as(flow, 0)
    flow.listing.flush()

    if flow.large:
        _accepted_2m(flow)
    flow.label("guest.accepted")
    flow.count("accepts")
    flow.label("guest.note")
    if _notes(flow):
        flow.row(Op.LOAD, base=R.PAGE_GENERATION, register=R.GENERATION, text="page's generation")
        index(flow.listing, R.CURSOR, flow.layout.at("accepted"), 0, 8, source=R.GUEST_PAGE)
        flow.row(Op.STORE, base=R.CURSOR, source=R.GENERATION, value=1, text="generation accepted, + 1")
    _no_longer_alone(flow)
    flow.goto("guest.touch")
    flow.listing.flush()


def _try_1g(flow: Flow) -> None:
    """At the first page of each whole GiB, an ACCEPT of 1 GiB: TDX_OPERAND_INVALID, no lock taken.  Then the next smaller size.

    tdx_accept_memory (arch/x86/coco/tdx/tdx-shared.c) tries each size that is aligned and long enough.
    tdg_mem_page_accept.c looks at the level first.
    """
    whole = flow.layout.pages // PAGES_PER_GIB * PAGES_PER_GIB
    if not whole:
        return
    first, inside, smaller = (flow.fresh(f"guest.{part}") for part in ("first_of_1g", "whole_1g", "less_than_1g"))
    flow.row(Op.TEST, register=R.GUEST_PAGE, mask=PAGES_PER_GIB - 1, next=first, otherwise=smaller, text="first page of 1 GiB")
    with flow.aside(first):
        flow.row(Op.LET, register=R.NEW, source=R.GUEST_PAGE, value=-whole)
        flow.row(Op.TEST, register=R.NEW, mask=SIGN, match=SIGN, next=inside, otherwise=smaller, text="all of it is there")
        flow.label(inside)
        flow.row(Op.MERGE, register=R.RIP, value=1, source=R.RIP, mask=~3)
        flow.row(Op.STEPPING_EXIT, text="TDCALL is a VM exit", **STEPPING)
        flow.spend("tdg_mem_page_accept_ns")
        flow.count("accepts_of_1g", next=smaller)
    flow.label(smaller)


def _in_2m(flow: Flow) -> None:
    """The 2 MiB around the page as one, or, of a share of ACCEPTs, a part of them; behind it, 4 KiB."""
    if flow.behaviour.accept_parts == 1:
        return
    if flow.behaviour.accept_parts:
        flow.listing.choose(R.OLD, "accept_part")
        flow.row(Op.TEST, register=R.OLD, mask=-1, match=1, next="guest.accept_4k", otherwise="guest.accept_2m", text="a part?")
    else:
        flow.goto("guest.accept_2m")
    with flow.aside("guest.accept_2m"):
        _accept_as(flow, 1)


def _accepted_2m(flow: Flow) -> None:
    """All pages of 2 MiB are accepted; a guest that keeps that in mind notes each."""
    flow.label(ACCEPTED[1])
    flow.count("large_accepts")
    if _notes(flow):
        again, done = flow.fresh("guest.note_each"), flow.fresh("guest.noted_all")
        flow.row(Op.LET, register=R.INDEX)
        index(flow.listing, R.NEW, flow.layout.at("accepted"), 0, 8)
        index(flow.listing, R.CURSOR, flow.layout.at("generation"), 0, LINE)
        flow.label(again)
        flow.row(Op.LOAD, base=R.CURSOR, register=R.GENERATION, text="page's generation")
        flow.row(Op.STORE, base=R.NEW, source=R.GENERATION, value=1, text="generation accepted, + 1")
        flow.row(Op.LET, register=R.CURSOR, source=R.CURSOR, value=LINE)
        flow.row(Op.LET, register=R.NEW, source=R.NEW, value=8)
        flow.row(Op.LET, register=R.INDEX, source=R.INDEX, value=1)
        flow.row(Op.TEST, register=R.INDEX, mask=-1, match=ENTRIES, next=done, otherwise=again, text="all pages")
        flow.label(done)
    _no_longer_alone(flow)
    flow.goto("guest.touch")
    flow.listing.flush()


def _notes(flow: Flow) -> bool:
    """Whether the guest keeps in mind what it has accepted."""
    return flow.accept_first > 0 or flow.guest.one_at_a_time


def _alone(flow: Flow) -> None:
    """Wait until no other vCPU accepts in the same 2 MiB; what has been accepted meanwhile is not accepted again."""
    interruptible(flow, resume="guest.accept")
    waits, done, fresh = (flow.fresh(f"guest.{part}") for part in ("waits", "accepted_meanwhile", "still_pending"))
    _unit(flow)
    flow.row(Op.LET, register=R.OLD)
    flow.row(Op.SWAP, base=R.CURSOR, register=R.OLD, value=1, otherwise=waits, text="2 MiB: being accepted")
    with flow.aside(waits):
        flow.row(Op.YIELD, next="guest.accept")
    flow.row(Op.LOAD, base=R.PAGE_GENERATION, register=R.GENERATION, text="page's generation")
    index(flow.listing, R.CURSOR, flow.layout.at("accepted"), 0, 8, source=R.GUEST_PAGE)
    flow.row(Op.LOAD, base=R.CURSOR, register=R.OLD, text="generation accepted, + 1")
    flow.row(Op.TEST, register=R.OLD, source=R.GENERATION, mask=-1, match=1, next=done, otherwise=fresh, text="accepted?")
    with flow.aside(done):
        _no_longer_alone(flow)
        flow.goto("guest.touch")
    flow.label(fresh)


def _unit(flow: Flow) -> None:
    index(flow.listing, R.CURSOR, flow.layout.at("accepting"), 9, LINE, source=R.GUEST_PAGE)


def _no_longer_alone(flow: Flow) -> None:
    if flow.guest.one_at_a_time:
        _unit(flow)
        flow.row(Op.STORE, base=R.CURSOR, text="2 MiB: being accepted")


def _accept_as(flow: Flow, level: int) -> None:
    """One try in the size of a level; on at guest.accepted, or where the guest's policy says."""
    size = SIZES[level]
    place = f"guest.accept_{size}"
    interruptible(flow, resume=place)
    flow.row(Op.MERGE, register=R.RIP, value=1, source=R.RIP, mask=~3)
    flow.row(Op.STEPPING_EXIT, text="TDCALL is a VM exit", **STEPPING)
    if flow.large:                       # of 2 MiB, the first page
        flow.row(Op.MERGE, register=R.PAGE, source=R.GUEST_PAGE, mask=-ENTRIES if level else -1, text="the page's address")
        index(flow.listing, R.CONTENT, flow.layout.at("content"), 0, flow.layout.content_bytes)
    locate(flow.listing, flow.layout, level, leaf=True if level else None)
    flow.call("tdg_mem_page_accept", behind=f"{place}.answered", level=level)
    failed, fault, other, timeout = (f"{place}.{part}" for part in ("failed", "fault", "other", "timeout"))
    flow.row(Op.TEST, register=R.STATUS, mask=-1, next=ACCEPTED[level * flow.large], otherwise=failed, text="TDX_SUCCESS")
    flow.label(failed)
    flow.row(Op.TEST, register=R.STATUS, mask=-1, match=EXIT_REASON_EPT_VIOLATION, next=fault, otherwise=other,
             text="TD exit")
    with flow.aside(fault):
        # Violations that ACCEPT raises are not counted by the zero-step mitigation.
        flow.count("accept_faults")
        flow.row(Op.LET, register=R.RESUME, value=place, next=flow.exit_of_accept(level))
    flow.label(other)
    if flow.large and level:
        whole = flow.fresh(f"{place}.not_interrupted")
        flow.row(Op.TEST, register=R.STATUS, mask=-1, match=EXIT_REASON_EXTERNAL_INTERRUPT, next=place, otherwise=whole,
                 text="interrupted: the same instruction again")
        flow.label(whole)
    kinds = [f"{place}.{kind}" for kind in KINDS]
    flow.row(Op.TEST, register=R.STATUS, mask=-1, match=status("TDX_HOST_PRIORITY_BUSY_TIMEOUT"), next=timeout,
             otherwise=kinds[0], text="refused for host priority too long")
    with flow.aside(timeout):
        _time_out(flow, place)
    for kind, label, following in zip(KINDS, kinds, [*kinds[1:], None]):
        flow.label(label)
        if following:                    # (what is none of the others is the last)
            met = f"{label}.met"
            flow.row(Op.TEST, register=R.STATUS, mask=STATUS_CLASS, match=STATUSES[STATUS[kind]], next=met,
                     otherwise=following, text=STATUS[kind])
            flow.label(met)
        _answer(flow, kind, size, place)


def _answer(flow: Flow, kind: str, size: str, place: str) -> None:
    """What the guest's policy does about an answer."""
    def leave(then: str, counter: str = ""):
        if kind == "busy":               # nobody will try this call again
            flow.row(Op.SETTLE, value=flow.listing.call_number("tdg_mem_page_accept"), text="tdg_mem_page_accept")
        if counter:
            flow.count(counter)
        if then in ("guest.touch", "guest.next", "guest.halted"):
            _no_longer_alone(flow)
        if then == "guest.accept_4k" and flow.guest.counts_tries():
            flow.row(Op.LET, register=R.GUEST_TRIES)
        flow.goto(then)

    Responses(flow, f"{kind}_{size}", again=place, tries=R.GUEST_TRIES, last=LAST,
              responses=getattr(flow.guest, f"{kind}_{size}"), respond={
                  "down": lambda: leave("guest.accept_4k"), "skip": lambda: leave("guest.note"),
                  "touch": lambda: leave("guest.touch"), "halt": lambda: leave("guest.halted", "vcpus_halted"), "lost": lambda: leave("guest.note", "accepts_lost"),
                  "fail": lambda: leave("guest.next", "accepts_given_up"),
                  "panic": lambda: leave(f"guest.dies.{kind}")}).write()


def _die(flow: Flow) -> None:
    """A guest that panics tells the host (TDG.VP.VMCALL<ReportFatalError>), which ends the VM."""
    for kind in flow.guest.deaths():
        flow.listing.held = flow.held_in_guest
        flow.label(f"guest.dies.{kind}")
        flow.row(Op.LET, register=R.RESUME, value="guest.next")
        td_exit(flow, flow.fresh("guest.out"))
        flow.guest_dies(died_of(kind), "vcpu.run")
        flow.listing.flush()


def _time_out(flow: Flow, place: str) -> None:
    """The TD has exited because host priority refused it for hp_lock_timeout.

    KVM does not know the status and exits to userspace (KVM_EXIT_INTERNAL_ERROR), which enters again.
    The guest sees BUSY, its instruction done.  tdx_td_dispatcher.c:419-432
    """
    flow.row(Op.LET, register=R.RESUME, value=place)
    flow.count("host_priority.timeouts")
    td_exit(flow, flow.fresh("guest.out"))
    flow.exit_userspace("vcpu.run")
