"""Guests that do not just touch a page and accept it.

    string instruction   one instruction touches `string_pages` pages in a row, at one RIP; its #VE
                         handler leaves the ACCEPT to the vCPU behind it (guest.help), as a guest does
                         that accepts memory on another CPU
    halted vCPU          has no memory to accept at boot, or has given up for good (guest.halted)
    spammer              ACCEPTs page 0, or the first large page, for ever, whatever the answer (guest.spam)
    MapGPA               converts the pages around its page to shared, and back (guest.convert)

A helper accepts for the string instruction, as a guest does that accepts memory on another CPU.  It does not make
the zero-step mitigation see a stuck instruction: a #VE handler has to fetch what happened by TDG.VP.VEINFO.GET, an
exit at another RIP, which is forward progress to the mitigation and empties its list.
"""

from harness.memory.layout import KICK_MAILBOX, LINE
from harness.protocol.locate import index, locate
from harness.protocol.flows.flow import SIGN, Flow
from harness.protocol.flows.interrupts import STEPPING, interruptible, td_exit
from kernels.ops import Op, Register as R
from kernels.words import EXIT_REASON_EPT_VIOLATION

FIRST_LARGE = 512                # the first page of the memory that consists of large ones (split.py)


def begin(flow: Flow) -> None:
    """Some vCPUs begin elsewhere than at guest.next: the last as spammers, or halted; helpers are every second."""
    if _some_halt(flow):
        _last_begin_at(flow, "guest.halted", flow.behaviour.acceptors)
    if flow.behaviour.spammers:
        _last_begin_at(flow, "guest.spam", flow.layout.vcpus - flow.behaviour.spammers)
    if flow.behaviour.string_pages > 1:
        helper, plain = flow.fresh("vcpu.helper"), flow.fresh("vcpu.toucher")
        flow.row(Op.TEST, register=R.ROLE, mask=1, match=0, next=helper, otherwise=plain,
                 text="every second helps")
        with flow.aside(helper):
            flow.row(Op.LET, register=R.RESUME, value="guest.help", next=plain)
        flow.label(plain)


def _some_halt(flow: Flow) -> bool:
    return flow.behaviour.acceptors is not None and flow.behaviour.acceptors < flow.layout.vcpus


def _last_begin_at(flow: Flow, label: str, first: int) -> None:
    """vCPU `first` and those behind it begin at `label`."""
    last, plain = flow.fresh("vcpu.last"), flow.fresh("vcpu.plain")
    flow.row(Op.LET, register=R.OLD, value=first + 1)                # R.ROLE is an actor's number + 1
    flow.row(Op.TEST, register=R.ROLE, source=R.OLD, mask=SIGN, next=last, otherwise=plain, text=f"vcpu{first} or later")
    with flow.aside(last):
        flow.row(Op.LET, register=R.RESUME, value=label, next=plain)
    flow.label(plain)


def choose(flow: Flow) -> None:
    """Behind the choice of a page: is this step a conversion, is there room for the whole string?"""
    if flow.behaviour.map_gpa_share:
        plain = flow.fresh("guest.plain")
        flow.listing.choose(R.COIN, "map_gpa")
        flow.row(Op.TEST, register=R.COIN, mask=-1, match=1, next="guest.convert", otherwise=plain,
                 text="convert?")
        flow.label(plain)
    if flow.behaviour.string_pages > 1:
        flow.row(Op.MERGE, register=R.GUEST_PAGE, source=R.GUEST_PAGE, mask=-flow.behaviour.string_pages,
                 text="first page of the string")


def next_of_string(flow: Flow) -> None:
    """The same instruction, at the same RIP, goes on with the next page."""
    pages = flow.behaviour.string_pages
    if pages > 1:
        done = flow.fresh("guest.string_done")
        flow.row(Op.LET, register=R.GUEST_PAGE, source=R.GUEST_PAGE, value=1)
        flow.row(Op.TEST, register=R.GUEST_PAGE, mask=pages - 1, next=done, otherwise="guest.touch",
                 text="whole string")
        flow.label(done)


def on_pending(flow: Flow) -> str:
    """Where a #VE on a pending page goes."""
    return "guest.accept" if flow.behaviour.string_pages == 1 else "guest.ask"


def write(flow: Flow) -> None:
    if flow.behaviour.string_pages > 1:
        _string(flow)
    if flow.behaviour.spammers:
        _spam(flow)
    if _some_halt(flow) or flow.guest.halts():
        _halt(flow)
    if flow.behaviour.map_gpa_share:
        _convert(flow)
    flow.listing.held = ()


def _string(flow: Flow) -> None:
    """The mailbox of a vCPU holds the page it wants accepted, + 1; the vCPU behind it looks there."""
    flow.listing.held = flow.held_in_guest
    flow.label("guest.ask")
    flow.row(Op.STORE, base=R.KICK, offset=KICK_MAILBOX, source=R.GUEST_PAGE, value=1, next="guest.touch",
             text="page to accept, + 1")
    flow.label("guest.help")
    interruptible(flow, resume="guest.help")
    flow.row(Op.LOAD, base=R.KICK, offset=KICK_MAILBOX - LINE, register=R.OLD, mask=-1, match=0,
             next="guest.idle", otherwise="guest.asked", text="page to accept, + 1")
    with flow.aside("guest.idle"):
        flow.row(Op.YIELD, next="guest.help")
    flow.label("guest.asked")
    flow.row(Op.STORE, base=R.KICK, offset=KICK_MAILBOX - LINE, text="page to accept, + 1")
    flow.row(Op.LET, register=R.GUEST_PAGE, source=R.OLD, value=-1)
    _accept_once(flow, "guest.help", "helped")


def _halt(flow: Flow) -> None:
    """A vCPU that has nothing to do, or has given up, waits inside, where kicks reach it."""
    flow.listing.held = flow.held_in_guest
    flow.label("guest.halted")
    interruptible(flow, resume="guest.halted")
    flow.row(Op.YIELD, next="guest.halted")
    flow.listing.flush()


def _spam(flow: Flow) -> None:
    flow.listing.held = flow.held_in_guest
    flow.label("guest.spam")
    interruptible(flow, resume="guest.spam")
    flow.row(Op.LET, register=R.GUEST_PAGE, value=FIRST_LARGE if flow.splits else 0)
    _accept_once(flow, "guest.spam", "spammed", level=int(flow.splits))


def _accept_once(flow: Flow, then: str, counter: str, level: int = 0) -> None:
    """One ACCEPT of GUEST_PAGE, whatever comes of it; on at `then`."""
    flow.row(Op.LET, register=R.PAGE, source=R.GUEST_PAGE)
    flow.row(Op.LET, register=R.RIP, source=R.RIP, value=4, text="next instruction")
    flow.row(Op.STEPPING_EXIT, text="TDCALL is a VM exit", **STEPPING)
    locate(flow.listing, flow.layout, level, leaf=True)
    index(flow.listing, R.CONTENT, flow.layout.at("content"), 0, flow.layout.content_bytes)
    flow.call("tdg_mem_page_accept", behind=flow.fresh(f"{then}.answered"), level=level)
    flow.count(counter)
    fault, done = flow.fresh(f"{then}.fault"), flow.fresh(f"{then}.done")
    flow.row(Op.TEST, register=R.STATUS, mask=-1, match=EXIT_REASON_EPT_VIOLATION, next=fault, otherwise=done,
             text="TD exit")
    with flow.aside(fault):
        flow.count("accept_faults")
        flow.row(Op.LET, register=R.RESUME, value=then, next=flow.exit_of_accept(level))
    flow.label(done)
    flow.row(Op.SETTLE, value=flow.listing.call_number("tdg_mem_page_accept"),
             text="tdg_mem_page_accept", next=then)
    flow.listing.flush()


def _convert(flow: Flow) -> None:
    retries = flow.behaviour.map_gpa_retries
    flow.listing.held = flow.held_in_guest
    flow.label("guest.convert")
    flow.row(Op.MERGE, register=R.GUEST_PAGE, source=R.GUEST_PAGE, mask=-flow.behaviour.map_gpa_pages,
             text="first page of the range")
    flow.row(Op.LET, register=R.RANGE_END, source=R.GUEST_PAGE)
    flow.row(Op.LET, register=R.GUEST_TRIES)
    flow.label("guest.call_map_gpa")
    _exit(flow, "map_gpa")

    flow.listing.held = flow.held_in_guest
    flow.label("guest.told_to_retry")
    if retries is not None:
        given_up, more = flow.fresh("guest.gives_up"), flow.fresh("guest.retries")
        flow.row(Op.TEST, register=R.GUEST_TRIES, mask=-1, match=retries, next=given_up, otherwise=more,
                 text="retries so far")
        with flow.aside(given_up):
            flow.count("conversions_given_up", next="guest.convert_back")
        flow.label(more)
        flow.row(Op.LET, register=R.GUEST_TRIES, source=R.GUEST_TRIES, value=1)
    flow.goto("guest.call_map_gpa")
    flow.listing.flush()

    flow.label("guest.convert_back")
    _exit(flow, "map_gpa.private")


def _exit(flow: Flow, then: str) -> None:
    """The TD exits by TDG.VP.VMCALL, on to KVM at `then`."""
    flow.row(Op.LET, register=R.RIP, source=R.RIP, value=4, text="next instruction")
    flow.row(Op.STEPPING_EXIT, **STEPPING)
    td_exit(flow, flow.fresh("guest.vmcall"))
    flow.goto(then)
    flow.listing.flush()
