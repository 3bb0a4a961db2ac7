"""Scripts: an actor that makes some calls, one after the other, each tried again on BUSY as often as it says.

    write_program   a program of scripts, and of KVM's flows if a policy is given

The answers are kept in the actor's register OUTCOMES, ANSWER_BITS each, the last call's lowest; 0 where a
call was not made.  A vCPU that TDH.VP.ENTER let in leaves by TD exit; one that was refused does nothing of
what it would have done in the guest.
"""

from typing import NamedTuple

from harness.memory.layout import Layout
from harness.protocol.assemble import Held, Listing, Program
from harness.protocol.call import Call, Options
from harness.protocol.locate import locate, locate_page, locate_pair, locate_parts_pair
from harness.protocol.dpamt import Design
from harness.protocol.flows import pamt, write_flows
from harness.protocol.flows.flow import Behaviour, Flow
from harness.protocol.flows.interrupts import STEPPING, td_exit
from harness.protocol.policy import FOREVER, Policy
from harness.protocol.releases import EXCLUSIVE, SHARED
from harness.protocol.seamcalls import TD_EXIT, by_name, entry_label, write_calls
from kernels.answers import AnswerKind
from kernels.ops import Op, Register as R
from kernels.words import OPERAND_BUSY, STATUS_CLASS, status

ANSWER_BITS = 9                  # of R.OUTCOMES, for each call of a script
CALLS_MAX = 63 // ANSWER_BITS
LEAVE = "script.leave"           # where a vCPU goes on when its guest has nothing left to do

# Calls that name a page itself and not an entry: its group; and those about a data page at any level.
ABOUT_PAGES = {"tdh_mng_add_cx": "tdcx", "tdh_vp_addcx": "tdcx", "tdh_mig_stream_create": "tdcx",
               "tdh_phymem_page_reclaim": "data", "tdh_phymem_page_wbinvd": "data", "tdh_phymem_page_rdmd": "data"}
LEAF_CALLS = ("tdh_mem_page_aug", "tdh_mem_page_add", "tdg_mem_page_accept", "tdh_phymem_pamt_add",
              "tdh_phymem_pamt_remove")
PAIR_CALLS = ("tdh_phymem_pamt_add", "tdh_mem_page_demote")      # that are given a pair of pages

# Lock steps on their own: taken and dropped again, on a word by its name (of sharex_hp locks).
LOCK_WORDS = ("op_state_lock",)
LOCK_STEPS = {"hp_shared": SHARED, "hp_exclusive": EXCLUSIVE, "hp_shared_guest": "guest"}


class Step(NamedTuple):
    """One call of a script."""

    call: str
    page: int = 0
    level: int = 0
    retries: int = 0             # on BUSY; FOREVER: no limit
    word: str = ""               # of a lock step

    @property
    def large(self) -> bool:
        """Whether it is about a large page, by what it says."""
        return self.level > 0 and "pamt" not in self.call and (
            self.call in LEAF_CALLS or "promote" in self.call or "demote" in self.call)

    def __str__(self):
        if self.word:
            return f"{self.call} {self.word}"
        retry = f" retry {'forever' if self.retries == FOREVER else self.retries}" * (self.retries != 0)
        return f"{self.call} {self.page}" + f" level {self.level}" * bool(self.level) + retry


def write_program(options: Options, policy: Policy | None, hosts: int, accept_first: float,
                  scripts: tuple[tuple[str, tuple[Step, ...]], ...], behaviour: Behaviour = Behaviour(),
                  design: Design | None = None, crossed: bool = False,
                  users: tuple[str, ...] = ()) -> Program:
    """A program of scripts, each begun by its label; with a policy, of KVM's flows too ("vcpu", "host").

    hosts, accept_first, behaviour   as write_flows wants them
    design, crossed, users           users of page pairs too (flows/pamt.py), of these kinds; KVM's flows have the design in `behaviour`
    """
    steps = [step for _, script in scripts for step in script]
    calls = [(step.call, step.level) for step in steps if step.call != TD_EXIT and not step.word]
    if policy:
        flow = write_flows(options, policy, hosts, accept_first=accept_first, behaviour=behaviour,
                           calls=calls)
        listing = flow.listing
        write_leave(flow)
    else:
        listing = Listing()
        write_calls(listing, options, calls)
    if users:
        with listing.within(flow="pamt"):
            pamt.Writer(listing, options, design, crossed, cache=behaviour.pamt_cache).write(users, calls=not policy)
    with listing.within(flow="script"):
        for label, script in scripts:
            _write_script(listing, options, label, script)
    for step in dict.fromkeys(step for step in steps if step.word):
        with listing.within(call=str(step)):
            _write_lock_step(listing, options, step)
    return listing.program()


def write_leave(flow: Flow) -> None:
    """A guest leaves at the end of its script, and its vCPU stops at the next look (Op.POLL)."""
    with flow.listing.within(flow="script"):
        flow.label(LEAVE)
        flow.row(Op.STEPPING_EXIT, **STEPPING)
        td_exit(flow, flow.fresh(LEAVE))
        flow.goto("vcpu.run")


def _write_script(listing: Listing, options: Options, label: str, steps: tuple[Step, ...]) -> None:
    listing.label(label)
    for number, step in enumerate(steps):
        place = f"{label}#{number}"
        if step.call == TD_EXIT:
            listing.row(Op.CALL, next=TD_EXIT, otherwise=f"{place}.left", text=TD_EXIT)
            listing.label(f"{place}.left")
            continue
        _write_operands(listing, options.layout, step)
        _write_call(listing, options, place, step)
        listing.row(Op.INDEX, register=R.OUTCOMES, base=R.ANSWER, offset=1, source=R.OUTCOMES, mask=-1,
                    match=1 << ANSWER_BITS, text="keep the answer, + 1")
        if step.call == "tdh_vp_enter":
            out = next(later for later in range(number, len(steps)) if steps[later].call == TD_EXIT)
            inside = sum(later.call != TD_EXIT for later in steps[number + 1:out])
            _write_refused(listing, place, f"{label}#{out}.left", inside)
    listing.row(Op.STOP)
    listing.flush()


def _write_operands(listing: Listing, layout: Layout, step: Step) -> None:
    """The registers that say which page and which entry a call is about."""
    listing.row(Op.LET, register=R.PAGE, value=step.page)
    listing.row(Op.LET, register=R.GUEST_PAGE, value=step.page)
    listing.row(Op.LET, register=R.CONTENT, value=layout.at("content", step.page))
    if step.word:
        return
    if step.call in ABOUT_PAGES:
        locate_page(listing, layout, ABOUT_PAGES[step.call], source=R.PAGE)
    else:
        locate(listing, layout, step.level, leaf=True if step.call in LEAF_CALLS else None)
    if step.call == "tdh_mem_page_relocate":
        locate_page(listing, layout, "data", layout.pages)               # to the first spare page
    if layout.dynamic_pamt and step.call in PAIR_CALLS:
        (locate_parts_pair if layout.frames and "demote" in step.call else locate_pair)(listing, layout)


def _write_call(listing: Listing, options: Options, place: str, step: Step) -> None:
    """The call, and again on BUSY as often as the step says."""
    entry = str(step) if step.word else entry_label(by_name(options.release)[step.call], step.level)
    if step.retries > 0:
        listing.row(Op.LET, register=R.TRIES)
    listing.label(f"{place}.again")
    listing.row(Op.CALL, next=entry, otherwise=f"{place}.answered", text=str(step) if step.word else step.call)
    listing.label(f"{place}.answered")
    if not step.retries:
        return
    busy, more, done = f"{place}.busy", f"{place}.more", f"{place}.done"
    listing.row(Op.TEST, register=R.STATUS, mask=STATUS_CLASS, match=OPERAND_BUSY, next=busy, otherwise=done,
                text="TDX_OPERAND_BUSY")
    listing.label(busy)
    if step.retries == FOREVER:
        listing.jump(f"{place}.again")
    else:
        listing.row(Op.TEST, register=R.TRIES, mask=-1, match=step.retries, next=done, otherwise=more,
                    text="retries so far")
        listing.label(more)
        listing.row(Op.LET, register=R.TRIES, source=R.TRIES, value=1, next=f"{place}.again")
    listing.label(done)


def _write_refused(listing: Listing, place: str, left: str, inside: int) -> None:
    """A vCPU that was refused goes on where it would have left; `inside` calls have not been made."""
    refused, entered = f"{place}.refused", f"{place}.entered"
    listing.row(Op.TEST, register=R.STATUS, mask=-1, next=entered, otherwise=refused, text="TDX_SUCCESS")
    with listing.aside(refused):
        listing.row(Op.INDEX, register=R.OUTCOMES, source=R.OUTCOMES, mask=-1, match=1 << ANSWER_BITS * inside,
                    next=left, text="what is left out")
    listing.label(entered)


def _write_lock_step(listing: Listing, options: Options, step: Step) -> None:
    """A sharex_hp lock taken and dropped, as a subroutine."""
    name, mode = str(step), LOCK_STEPS[step.call]
    call = Call(listing, name, options)
    lock = Held(step.word, EXCLUSIVE if mode == EXCLUSIVE else SHARED, "hp", R.TD, options.layout.at(step.word))
    listing.label(name)
    listing.row(Op.CALL_BEGIN, value=listing.call_number(name), text=name)
    if mode == "guest":
        refused = call.fresh("refused")
        with listing.aside(refused):
            listing.answer(status("TDX_OPERAND_BUSY_HOST_PRIORITY"), AnswerKind.BUSY_FOR_PRIORITY, next=call.unwinding())
        call.take_shared_as_guest(lock, OPERAND_BUSY, refused)
    else:
        lock = call.take(lock, OPERAND_BUSY)
    call.drop(lock)
    call.succeed()
    listing.flush()
    listing.held = ()
