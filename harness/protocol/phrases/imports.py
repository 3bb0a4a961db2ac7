"""Phrases of TDH.IMPORT.MEM: pages that come, and pages that are taken back before the TD runs.

A list of GPAs as in migration.py; each entry says what is to be done with its page.  The rows have lists that say
one thing throughout: tdh_import_mem imports (MIGRATE, or REMIGRATE of a page that is there), tdh_import_mem_cancel
takes back (CANCEL).

Abstracted away: a list that brings some pages and takes back others.  Each entry is done by itself, its locks are taken
and given back before the next one's, so a mixed list is the rows' steps one after the other; but no row makes them in one call.
"""

from typing import Any, ClassVar

from harness.memory.layout import PAMT_BEPOCH, PAMT_BYTES, PAMT_TYPE
from harness.protocol.assemble import Held
from harness.protocol.call import EXCLUSIVE, Call
from harness.protocol.phrases.life import OpStateBecomes
from harness.protocol.phrases.locking import NAMED, Explicit, Implicit, below_type
from harness.protocol.phrases.migration import ENTRY_STATE, IN_ORDER, THIS_EPOCH, Pages, session_over
from harness.protocol.phrases.nodes import check_no_pamt_page
from harness.protocol.phrases.pages import Count, CountUsed, OwnPage, write_entry
from harness.protocol.releases import DEFAULT, Release
from kernels.ops import Op, Register as R
from kernels.words import (
    OP_STATE_FAILED_IMPORT, OP_STATE_LIVE_IMPORT, OP_STATE_RUNNABLE, PT_NDA, PT_PAMT, PT_REG, STATE, TDX_FATAL, states, status,
)

# What is noted in an entry of a list, besides migration.py's.  tdx_api_defs.h (1.5.25: line 1105)
NOT_NOW, NO_NEW_PAGE, PAGE_BUSY = 6, 9, 12


class Imported(Pages):
    """In the in-order phase no bundle may be lost: a list entry that is busy or wrong ends the session, op_state is
    FAILED_IMPORT (written under op_state shared) and bit 61 is set.  In the out-of-order phase it is noted.
    """

    def _may_end(self, call: Call, ends: int | None):
        if ends is None:
            return
        over, noted = call.fresh("over"), call.fresh("noted")
        self._in_order(call, yes=over, no=noted)
        with call.listing.aside(over):
            session_over(call, ends)
        call.listing.label(noted)

    @staticmethod
    def _in_order(call: Call, yes: str, no: str):
        call.row(Op.LOAD_IN, base=R.TD, offset=call.td("op_state"), mask=sum(1 << state for state in IN_ORDER),
                 next=yes, otherwise=no, text="in order?")

    def _epoch_before(self, call: Call, wrong):
        """The page must have been imported in an epoch before this one."""
        same, before = wrong(THIS_EPOCH, status("TDX_MIGRATED_IN_CURRENT_EPOCH", self.operand), always=True), call.fresh("before")
        call.row(Op.LOAD, base=R.PAMT, offset=PAMT_BEPOCH, register=R.BEPOCH, text="epoch of its last import")
        call.row(Op.LOAD, base=R.TD, offset=call.td("mig_epoch"), register=R.OLD, text="mig_epoch")
        call.row(Op.TEST, register=R.OLD, source=R.BEPOCH, mask=-1, next=same, otherwise=before, text="the same epoch?")
        call.listing.label(before)


class ImportPages(Imported):
    """IMPORT.MEM: of a FREE or REMOVED entry a new page is mapped; a page that is there is written anew.

    In the out-of-order phase a page that is there is wrong.  A new page is written twice: BLOCKED first.
    Abstracted away: pages that come as PENDING; the epoch in which a page was removed.
    tdh_import_mem.c
    """

    page: ClassVar[Explicit] = Explicit("PAGE", EXCLUSIVE, "NEW_PAGE_LIST_ENTRY", PT_NDA)

    def locks(self, level: int = 0, release: Release = DEFAULT):
        return (*super().locks(level, release), *self.page.locks(level, release))

    def operand_of(self, lock: Held) -> str:
        return self.operand if lock.resource == "SEPT_ENTRY" else self.page.operand

    @staticmethod
    def _advance(call: Call):
        Pages._advance(call)
        call.row(Op.LET, register=R.TARGET_4K, source=R.TARGET_4K, value=PAMT_BYTES, text="the new page behind")
        call.row(Op.LET, register=R.HPA, source=R.HPA, value=4096)

    def _change(self, call: Call, number: int, wrong):
        new, done = call.fresh("new"), call.fresh("imported")
        entry, there = call.listing.held[-1], call.fresh("there")
        call.row(Op.IN, source=R.STATE, mask=states("FREE", "REMOVED"), next=new, otherwise=there, text="FREE REMOVED")
        with call.listing.aside(there):
            self._again(call, wrong)
            call.drop(entry)
            call.row(Op.LET, next=done)
        call.listing.label(new)
        page = self._take_new_page(call, number, wrong)
        Count("mem_count", +1).emit(call)
        call.row(Op.ADD, base=R.TD, offset=call.td("chldcnt"), value=1, text="TDR.chldcnt")
        call.row(Op.STORE, base=R.TARGET_4K, offset=PAMT_TYPE, width=8, value=PT_REG, text="type of PAGE")
        self._note_epoch(call, R.TARGET_4K)
        CountUsed("PAGE", +1).emit(call)
        for lock in reversed(page):
            call.drop(lock)
        blocked = STATE["BLOCKED"].word(lock=True, access=call.release.access)
        write_entry(call, False, R.HPA, blocked, "entry as BLOCKED")
        call.row(Op.LET, register=R.COPY, source=R.HPA, value=blocked)
        write_entry(call, True, R.HPA, STATE["MAPPED"].word(access=call.release.access), "entry as MAPPED")
        call.listing.label(done)

    def _take_new_page(self, call: Call, number: int, wrong) -> list[Held]:
        """With Dynamic PAMT and no pair for it the call ends, can be resumed, and has not touched this entry."""
        def fails(name: str) -> str:
            return wrong(NO_NEW_PAGE, status(name, self.page.operand))

        *above, own = self.page.locks(0, call.release)
        taken = []
        for lock in above:
            taken.append(call.take(lock, fails("TDX_OPERAND_BUSY")))
            stopped = call.fresh("stopped")
            below, why = below_type(call, NAMED["PAGE"].index(lock.base))
            call.row(Op.LOAD, base=lock.base, offset=PAMT_TYPE, width=8, register=R.OLD, mask=-1, match=below,
                     otherwise=stopped, text=f"type of {lock.resource}: {why}")
            with call.listing.aside(stopped):
                if below == PT_PAMT:
                    missing, large = call.fresh("missing"), call.fresh("large")
                    call.row(Op.TEST, register=R.OLD, mask=-1, match=PT_NDA, next=missing, otherwise=large,
                             text="nothing there?")
                    with call.listing.aside(missing):
                        call.promote(lock, fails("TDX_OPERAND_BUSY"))
                        call.row(Op.LET, next=call.fail("TDX_INTERRUPTED_PAMT", number))
                    call.listing.label(large)
                call.promote(lock, fails("TDX_OPERAND_BUSY"))
                call.row(Op.LET, next=fails("TDX_PAGE_METADATA_INCORRECT"))
        taken.append(call.take(own, fails("TDX_OPERAND_BUSY")))
        call.row(Op.LOAD, base=own.base, offset=PAMT_TYPE, width=8, mask=-1, match=PT_NDA, text="type of PAGE",
                 otherwise=fails("TDX_PAGE_METADATA_INCORRECT"))
        if call.dynamic_pamt:
            check_no_pamt_page(call, own.base, "PAGE", fails("TDX_PAGE_METADATA_INCORRECT"))
        return taken

    def _again(self, call: Call, wrong):
        """A page that was imported in an epoch before: data, epoch, one write."""
        in_order = call.fresh("in_order")
        self._in_order(call, yes=in_order, no=wrong(ENTRY_STATE))
        call.listing.label(in_order)
        OwnPage(checked=True).emit(call)
        self._epoch_before(call, wrong)
        self._note_epoch(call, R.PAMT)
        self._as(call, ((("MAPPED", "PENDING"), "MAPPED"),))

    @staticmethod
    def _note_epoch(call: Call, page: R):
        call.row(Op.LOAD, base=R.TD, offset=call.td("mig_epoch"), register=R.BEPOCH, text="mig_epoch")
        call.row(Op.STORE, base=page, offset=PAMT_BEPOCH, source=R.BEPOCH, text="epoch of the import")


class CancelPages(Imported):
    """IMPORT.MEM, CANCEL: a page that came in an epoch before is taken back, and its entry is REMOVED.

    In the in-order phase only.  What is wrong with the page itself ends the session in every phase, a PAMT entry
    that is busy too.  The entry is let go of before the page's type says that nothing owns it.
    The caller gives no list into which the page could be noted: up to 1.5.25 the count of pages in use of its
    2 MiB is then left as it was (Release.cancel_counts).
    Abstracted away: in which epoch the page was removed.
    tdh_import_mem.c 1.5.24
    """

    page: ClassVar[Implicit] = Implicit("PAGE", EXCLUSIVE, Pages.operand)

    def locks(self, level: int = 0, release: Release = DEFAULT):
        return (*super().locks(level, release), *self.page.locks(level, release))

    def _change(self, call: Call, number: int, wrong):
        in_order = call.fresh("in_order")
        self._in_order(call, yes=in_order, no=self._too_late(call, number))
        call.listing.label(in_order)
        call.row(Op.IN, source=R.STATE, mask=states("MAPPED", "PENDING"), text="MAPPED PENDING",
                 otherwise=wrong(ENTRY_STATE, status("TDX_EPT_ENTRY_STATE_INCORRECT", self.operand), always=True))
        OwnPage(checked=True).emit(call)
        page = call.take(self.page.locks()[0], wrong(PAGE_BUSY, status("TDX_OPERAND_BUSY", self.operand), always=True))
        self._epoch_before(call, wrong)
        call.row(Op.LET, register=R.NEW, value=STATE["REMOVED"].word(), text="as REMOVED")
        write_entry(call, True, text="entry")
        Count("mem_count", -1).emit(call)
        call.row(Op.ADD, base=R.TD, offset=call.td("chldcnt"), value=-1, text="TDR.chldcnt")
        call.row(Op.STORE, base=R.PAMT, offset=PAMT_TYPE, width=8, value=PT_NDA, text="type of PAGE")
        if call.release.cancel_counts:
            CountUsed("found", -1).emit(call)
        call.drop(page)

    def _too_late(self, call: Call, number: int) -> str:
        """The label of code that ends the session in the out-of-order phase; a TD that runs already goes on to run."""
        label, live = call.fresh("late"), call.fresh("live")
        with call.listing.aside(label):
            self._note(call, number, NOT_NOW)
            call.row(Op.LOAD, base=R.TD, offset=call.td("op_state"), register=R.OLD, text="op_state")
            carries: dict[str, Any] = {"source": R.OLD} if call.release.op_state_status else {}
            gone = call.fresh("gone")
            call.row(Op.TEST, register=R.OLD, mask=-1, match=OP_STATE_LIVE_IMPORT, next=live, otherwise=gone, text="live?")
            call.listing.label(gone)
            OpStateBecomes(OP_STATE_FAILED_IMPORT).emit(call)
            call.listing.answer(status("TDX_OP_STATE_INCORRECT") | TDX_FATAL, next=call.unwinding(), **carries)
        with call.listing.aside(live):
            OpStateBecomes(OP_STATE_RUNNABLE).emit(call)
            call.listing.answer(status("TDX_OP_STATE_INCORRECT"), next=call.unwinding(), **carries)
        return label
