"""Phrases of the guest's calls on an SEPT entry: TDG.MEM.PAGE.ACCEPT, ATTR.RD, ATTR.WR.

All three walk without any lock, then take the entry's lock on the guest's side, whatever state it is
in: that is why a host's call on a FREE entry can find it busy.
"""

from typing import ClassVar

from harness.memory.layout import ENTRIES
from harness.protocol.call import Call
from harness.protocol.locate import write_walk
from harness.protocol.phrases.locking import INTERRUPT, Entry
from harness.protocol.phrases.pages import LEAVES, page_mask, write_entry
from harness.protocol.phrases.phrase import Phrase
from harness.protocol.releases import DEFAULT, ENTRY, WALK, Release
from kernels.ops import LEVELS, Op, Register as R
from kernels.words import (
    ACCEPTABLE, EXIT_REASON_EPT_VIOLATION, EXIT_REASON_EXTERNAL_INTERRUPT, GUEST_ACCESSIBLE, PS, STATE, TDHP, states,
)

COUNTER_SHIFT = 12               # ACCEPT_COUNTER: bits 20:12 of a PENDING large page's entry


def violation(call: Call) -> str:
    """The label of code that ends the call as an EPT-violation TD exit."""
    label = call.fresh("violation")
    with call.listing.aside(label):
        call.listing.answer(EXIT_REASON_EPT_VIOLATION, next=call.unwinding(forgets=False))
    return label


def stopped_above(call: Call) -> None:
    """The walk ended at an entry above: a large page that is accessible has been accepted."""
    exits = violation(call)
    call.row(Op.STATE, register=R.STATE, source=R.COPY)
    known = call.fresh("known")
    call.row(Op.IN, source=R.STATE, mask=states(*GUEST_ACCESSIBLE), next=known, otherwise=exits,
             text="accepted")
    call.listing.label(known)
    for level in range(call.level + 1, LEVELS):
        at = call.fresh("above")
        call.row(Op.TEST, register=R.WALK, mask=-1, match=level, otherwise=at,
                 next=call.fail("TDX_PAGE_ALREADY_ACCEPTED", level), text=f"at level {level}")
        call.listing.label(at)
    call.row(Op.LET, next=exits)


class Accept(Phrase):
    """Walk without any lock, lock the entry on the guest's side, decide, zero the page, write.

    Up to 1.5.25 the "is it a leaf" of the unlocked walk is kept and used after the entry has been locked and
    read again: a page that the host adds in between is refused as PAGE_SIZE_MISMATCH.
    A 2 MiB page is zeroed in 512 chunks under the lock; after each the call looks for an interrupt,
    and if there is one it writes how far it got, and is made again after the TD exit.
    tdg_mem_page_accept.c:49-326
    """

    leveled = True

    operand: ClassVar[str] = "RCX"

    def locks(self, level: int = 0, release: Release = DEFAULT):
        return Entry(()).locks()

    def emit(self, call: Call):
        stopped, accepted, decide, refused = (
            call.fresh(part) for part in ("stopped", "accepted", "decide", "refused"))
        write_walk(call.listing, stopped=stopped)
        with call.listing.aside(stopped):
            stopped_above(call)
        if call.release.accept_leaf == WALK:
            call.row(Op.LET, register=R.UNLOCKED, source=R.COPY)
        Entry(()).emit(call)
        with call.listing.aside(refused):
            call.listing.answer(EXIT_REASON_EPT_VIOLATION, next=call.unwinding(forgets=False))
        # What is no leaf is no page; from 1.5.28 on that is asked of the entry itself, and REMOVED is free too.
        locked = call.release.accept_leaf == ENTRY
        call.row(Op.IN, source=R.STATE, mask=states("FREE", *("REMOVED",) * locked), next=refused, otherwise=decide,
                 text="FREE")
        call.listing.label(decide)
        call.row(Op.TEST, register=R.COPY if locked else R.UNLOCKED, mask=PS, match=PS, text="is a leaf",
                 otherwise=call.fail("TDX_PAGE_SIZE_MISMATCH", call.level))
        call.row(Op.IN, source=R.STATE, mask=states(*ACCEPTABLE), otherwise=accepted,
                 text=" ".join(ACCEPTABLE))
        with call.listing.aside(accepted):
            call.row(Op.IN, source=R.STATE, mask=states(*GUEST_ACCESSIBLE), otherwise=refused,
                     next=call.fail("TDX_PAGE_ALREADY_ACCEPTED", call.level))
        if call.level:
            self._zero_in_chunks(call)
        else:
            call.row(Op.ZERO_PAGE, base=R.CONTENT, value=call.options.layout.content_bytes, text="4 KiB")
        call.work(call.name + "_ns")
        self._become(call, "MAPPED", "EXP_DIRTY")
        write_entry(call, releases=False)

    @staticmethod
    def _become(call: Call, pending: str, dirty: str):
        """NEW = the entry in its next state: one for a page that was PENDING, one for an exported dirty page."""
        other, built = call.fresh("dirty"), call.fresh("built")

        def merge(state, **fields):
            call.row(Op.MERGE, register=R.NEW, value=STATE[state].word(lock=True, access=call.release.access), source=R.COPY,
                     mask=page_mask(call.level) | TDHP, text=f"as {state}", **fields)

        call.row(Op.IN, source=R.STATE, mask=states("PENDING"), otherwise=other, text="PENDING")
        merge(pending, next=built)
        call.listing.label(other)
        merge(dirty)
        call.listing.label(built)

    def _zero_in_chunks(self, call: Call):
        chunks = ENTRIES ** call.level
        again, done, more, stop = (call.fresh(part) for part in ("chunk", "zeroed", "more", "interrupted"))
        bytes_ = call.options.layout.content_bytes
        call.row(Op.INDEX, register=R.INDEX, source=R.COPY, width=COUNTER_SHIFT, mask=chunks - 1, match=1,
                 text="chunks done")
        call.listing.label(again)
        call.row(Op.INDEX, register=R.CURSOR, base=R.CONTENT, source=R.INDEX, mask=-1, match=bytes_,
                 text="next chunk")
        call.row(Op.ZERO_PAGE, base=R.CURSOR, value=bytes_, text="4 KiB")
        call.row(Op.TEST, register=R.INDEX, mask=-1, match=chunks - 1, next=done, otherwise=more, text="the last")
        call.listing.label(more)
        call.row(Op.LET, register=R.INDEX, source=R.INDEX, value=1)
        call.row(Op.LOAD, base=R.KICK, mask=INTERRUPT, next=again, otherwise=stop, text="interrupt pending?")
        with call.listing.aside(stop):
            self._stop(call)
        call.listing.label(done)

    def _stop(self, call: Call):
        """How far it got goes into the entry; RAX and RIP stay as they were."""
        self._become(call, "PENDING", "PEND_EXP_DIRTY")
        call.row(Op.INDEX, register=R.NEW, base=R.NEW, source=R.INDEX, mask=-1, match=1 << COUNTER_SHIFT,
                 text="chunks done")
        write_entry(call, releases=False)
        call.listing.answer(EXIT_REASON_EXTERNAL_INTERRUPT, next=call.unwinding())


class ReadAttributes(Phrase):
    """ATTR.RD: the entry at which the walk ends is locked, whatever it is, its state looked at, the answer given.

    It takes no level.  Abstracted away: what is read, attributes of L2 VMs.  tdg_mem_page_attr_rd.c:75-79
    """

    allowed: tuple[str, ...]

    operand: ClassVar[str] = "RCX"

    def locks(self, level: int = 0, release: Release = DEFAULT):
        return Entry(()).locks()

    def emit(self, call: Call):
        found, stopped, above = call.fresh("found"), call.fresh("stopped"), call.fresh("above")
        call.row(Op.LET, register=R.ENTRY, source=R.ENTRY_PT)
        write_walk(call.listing, stopped=stopped)
        with call.listing.aside(stopped):
            call.row(Op.TEST, register=R.WALK, mask=-1, match=1, otherwise=above, text="at level 1")
            call.row(Op.LET, register=R.ENTRY, source=R.ENTRY_PD, next=found)
            call.listing.label(above)
            call.row(Op.LET, register=R.ENTRY, source=R.ENTRY_PDPT, next=found)
        call.listing.label(found)
        Entry(()).emit(call)
        call.row(Op.IN, source=R.STATE, mask=states(*self.allowed), otherwise=violation(call), text="allowed")


class WriteAttributes(Phrase):
    """ATTR.WR: the entry at a level is locked, its state looked at; from 1.5.20 on it is written, though as it was.

    Abstracted away: what is written, attributes of L2 VMs.  tdg_mem_page_attr_wr.c
    """

    allowed: tuple[str, ...]

    leveled = True

    operand: ClassVar[str] = "RCX"

    def locks(self, level: int = 0, release: Release = DEFAULT):
        return Entry(()).locks()

    def emit(self, call: Call):
        write_walk(call.listing, stopped=violation(call))
        Entry(()).emit(call)
        refused, leaf, other = violation(call), call.fresh("leaf"), call.fresh("other")
        call.row(Op.IN, source=R.STATE, mask=states("FREE", *LEAVES), next=leaf, text="leaf or FREE", otherwise=other)
        call.listing.label(other)
        call.row(Op.LET, next=call.fail("TDX_PAGE_SIZE_MISMATCH", call.level))
        call.listing.label(leaf)
        call.row(Op.IN, source=R.STATE, mask=states(*self.allowed), otherwise=refused, text="allowed")
        if call.release.attr_wr_writes:
            write_entry(call, releases=False, source=R.COPY)
