"""Phrases of live migration: the TD's migration context and its streams, the phases, lists of pages.

    op_state   RUNNABLE - LIVE_EXPORT - PAUSED_EXPORT - POST_EXPORT, back by EXPORT.ABORT
               UNINITIALIZED - MEMORY_IMPORT - STATE_IMPORT - POST_IMPORT - LIVE_IMPORT, on by IMPORT.END

Abstracted away: contents, keys, MACs and bundles (what comes over the network is always right), checks of
operands, L2 VMs, non-blocking export, resumption: a call that was interrupted is made again about the rest,
which is another call here.
"""

import abc
from typing import ClassVar

from harness.memory.layout import (
    ENTRIES, LINE, MIGSC_INITIALIZED, STREAMS, STREAMS_FORWARD, TDVPS_STATE,
)
from harness.protocol.assemble import Held
from harness.protocol.call import EXCLUSIVE, Call
from harness.protocol.locate import write_walk
from harness.protocol.phrases.life import OpStateBecomes
from harness.protocol.phrases.locking import Entry, GiveWay
from harness.protocol.phrases.pages import page_mask, write_entry
from harness.protocol.phrases.phrase import Phrase
from harness.protocol.releases import DEFAULT, Release
from kernels import epoch
from kernels.answers import AnswerKind
from kernels.ops import Op, Register as R
from kernels.words import (
    OP_STATE_FAILED_IMPORT, OP_STATE_LIVE_EXPORT, OP_STATE_MEMORY_IMPORT, OP_STATE_PAUSED_EXPORT,
    OP_STATE_POST_EXPORT, OP_STATE_POST_IMPORT, OP_STATE_RUNNABLE,
    OP_STATE_STATE_IMPORT, STATE, TDHP, TDX_FATAL, VCPU_UNINITIALIZED, states, status,
)

BY_PAGE, FIRST, BACKWARD = "by page", "first", "backward"
LIST_ENTRIES = 2                 # GPAs of a list: a page and the one behind it
IN_ORDER = (OP_STATE_MEMORY_IMPORT, OP_STATE_STATE_IMPORT)

# What is noted in an entry of a list.  tdx_api_defs.h (1.5.25: line 1105)
DONE, WALK_FAILED, ENTRY_BUSY, ENTRY_STATE, NOT_TRACKED = 0, 2, 3, 4, 5
THIS_EPOCH = 7

MAPPED_STATES = ("MAPPED", "BLOCKEDW", "EXP_BLOCKEDW", "EXP_DIRTY", "EXP_DIRTY_BLOCKEDW")
PENDING_STATES = ("PENDING", "PEND_BLOCKEDW", "PEND_EXP_BLOCKEDW", "PEND_EXP_DIRTY", "PEND_EXP_DIRTY_BLOCKEDW")
NEVER_EXPORTED = ("MAPPED", "BLOCKEDW", "PENDING", "PEND_BLOCKEDW")
EXPORTED_CLEAN = ("EXP_BLOCKEDW", "PEND_EXP_BLOCKEDW")
EXPORTED_DIRTY = ("EXP_DIRTY", "EXP_DIRTY_BLOCKEDW", "PEND_EXP_DIRTY", "PEND_EXP_DIRTY_BLOCKEDW")
BLOCKED_FOR_WRITING = tuple(state for state in MAPPED_STATES + PENDING_STATES if state.endswith("BLOCKEDW"))


# --- the context and its streams ---------------------------------------------------------------

class Migration(Phrase):
    """The lock of the TD's migration context.

    It cannot be busy: whoever wants it exclusively holds op_state exclusively, whoever wants it shared holds that
    shared, each taken before and kept longer.
    """

    mode: str

    operand: ClassVar[str] = "MIG"

    def locks(self, level: int = 0, release: Release = DEFAULT):
        return (Held("MIG", self.mode, "sharex", R.TD, "mig_lock"),)

    def emit(self, call: Call):
        call.take(self.locks()[0], status("TDX_OPERAND_BUSY", self.operand))


class Stream(Phrase):
    """A migration stream: one bit, set and cleared, no host priority.  Here a byte of its own.

    which         BY_PAGE: pages with an even number go through the first, the others through the second;
                  FIRST; BACKWARD
    initialized   whether it must have been used in this session before
    begins        whether it is initialized by the call otherwise
    """

    which: str = FIRST
    initialized: bool = False
    begins: bool = False

    operand: ClassVar[str] = "MIGSC"

    def locks(self, level: int = 0, release: Release = DEFAULT):
        return (Held("MIGSC", EXCLUSIVE, "mutex", R.STREAM),)

    def emit(self, call: Call):
        if self.which == BY_PAGE:
            call.row(Op.INDEX, register=R.STREAM, base=R.TD, offset=call.td("migsc"), source=R.PAGE,
                     mask=STREAMS_FORWARD - 1, width=0, match=LINE, text="the page's stream")
        else:
            number = STREAMS - 1 if self.which == BACKWARD else 0
            call.row(Op.LET, register=R.STREAM, source=R.TD, value=call.options.layout.at("migsc", number),
                     text=f"the {self.which} stream")
        call.take(self.locks()[0], status("TDX_OPERAND_BUSY", self.operand))
        if self.initialized:
            call.row(Op.LOAD, base=R.STREAM, offset=MIGSC_INITIALIZED, width=8, mask=-1, match=1,
                     otherwise=call.fail("TDX_MIGRATION_STREAM_STATE_INCORRECT"), text="initialized?")
        if self.begins:
            call.row(Op.STORE, base=R.STREAM, offset=MIGSC_INITIALIZED, width=8, value=1, text="initialized")


class EnoughStreams(Phrase):
    """One forward and one backward at the least."""

    def emit(self, call: Call):
        call.row(Op.LOAD_IN, base=R.TD, offset=call.td("num_migs"), mask=~0b11, text="num_migs: 2 or more",
                 otherwise=call.fail("TDX_MIN_MIGS_NOT_CREATED"))


class RoomForStream(Phrase):
    """The module has room for 512 streams, the model for STREAMS."""

    def emit(self, call: Call):
        call.row(Op.LOAD_IN, base=R.TD, offset=call.td("num_migs"), mask=(1 << STREAMS) - 1, text="num_migs",
                 otherwise=call.fail("TDX_MAX_MIGS_NUM_EXCEEDED"))


class NewStream(Phrase):
    """The new page is the stream's; it is not initialized.  No lock of it: op_state is held exclusively."""

    def emit(self, call: Call):
        call.row(Op.LOAD, base=R.TD, offset=call.td("num_migs"), register=R.OLD, text="num_migs")
        call.row(Op.INDEX, register=R.STREAM, base=R.TD, offset=call.td("migsc"), source=R.OLD, mask=-1, match=LINE,
                 text="the new stream")
        call.row(Op.STORE, base=R.STREAM, width=16, text="its lock, initialized")
        call.row(Op.STORE, base=R.TD, offset=call.td("num_migs"), source=R.OLD, value=1, text="num_migs")


class StreamsForgotten(Phrase):
    """None of the TD's streams is initialized any more, or the first only."""

    first: int = 0

    def emit(self, call: Call):
        for number in range(STREAMS):
            call.row(Op.STORE, base=R.TD, offset=call.options.layout.at("migsc", number) + MIGSC_INITIALIZED, width=8,
                     value=self.first if number == 0 else 0, text=f"stream {number}: initialized")


# --- phases --------------------------------------------------------------------------------------

class Interruptible(Phrase):
    """Between two pages of what is exported or imported: an interrupt, and in some releases host priority on the tree.

    state   what op_state is left as by a session that has begun, in releases that have that state
    """

    state: int = 0

    def emit(self, call: Call):
        begun = self.state and call.release.op_states > self.state
        GiveWay(call.release.list_gives_way, "TDX_INTERRUPTED_RESUMABLE",
                leaves=(OpStateBecomes(self.state),) if begun else ()).emit(call)


class NothingExported(Phrase):
    """Every page of the session before has been taken back by EXPORT.RESTORE."""

    def emit(self, call: Call):
        call.row(Op.LOAD, base=R.TD, offset=call.td("mig_count"), mask=-1, text="mig_count",
                 otherwise=call.fail("TDX_PREVIOUS_EXPORT_CLEANUP_INCOMPLETE"))


class ExportBegins(Phrase):
    def emit(self, call: Call):
        for word in ("mig_epoch", "dirty_count"):
            call.row(Op.STORE, base=R.TD, offset=call.td(word), text=word)
        StreamsForgotten(first=1).emit(call)


class EpochMoves(Phrase):
    """td_epoch + 1, without its lock: the TDR is held exclusively, so no vCPU is inside, or the module halts."""

    def emit(self, call: Call):
        halts = call.fresh("halts")
        with call.listing.aside(halts):
            call.halt()
        call.row(Op.LOAD, base=R.TD, offset=call.td("epoch"), register=R.EPOCH_WORD, mask=(1 << epoch.EPOCH_SHIFT) - 1,
                 otherwise=halts, text="nobody inside")
        call.row(Op.INDEX, register=R.OLD, source=R.EPOCH_WORD, width=epoch.EPOCH_SHIFT, mask=-1, match=1)
        call.row(Op.STORE, base=R.TD, offset=call.td("epoch") + epoch.EPOCH_BYTE, width=32, source=R.OLD, value=1,
                 text="td_epoch")


class NextEpoch(Phrase):
    """mig_epoch + 1, nobody else being there (op_state or the TDR is held exclusively)."""

    def emit(self, call: Call):
        call.row(Op.LOAD, base=R.TD, offset=call.td("mig_epoch"), register=R.OLD, text="mig_epoch")
        call.row(Op.STORE, base=R.TD, offset=call.td("mig_epoch"), source=R.OLD, value=1, text="mig_epoch")


class EpochToken(Phrase):
    """EXPORT.TRACK: of a TD that is exported live, the next epoch; of a paused one, the end of the in-order phase."""

    def emit(self, call: Call):
        paused = call.fresh("paused")
        call.row(Op.IN, source=R.OP_STATE, mask=~(1 << OP_STATE_PAUSED_EXPORT), otherwise=paused, text="not paused")
        with call.listing.aside(paused):
            call.row(Op.LOAD, base=R.TD, offset=call.td("dirty_count"), mask=-1, text="dirty_count",
                     otherwise=call.fail("TDX_EXPORTED_DIRTY_PAGES_REMAIN"))
            NextEpoch().emit(call)
            OpStateBecomes(OP_STATE_POST_EXPORT).emit(call)
            call.succeed()
        NextEpoch().emit(call)


class StartToken(Phrase):
    """IMPORT.TRACK: while memory is imported the next epoch; after the TD's state, the end of the in-order phase."""

    def emit(self, call: Call):
        start = call.fresh("start")
        NextEpoch().emit(call)
        call.row(Op.IN, source=R.OP_STATE, mask=~(1 << OP_STATE_STATE_IMPORT), otherwise=start, text="state not yet there")
        with call.listing.aside(start):
            OpStateBecomes(OP_STATE_POST_IMPORT).emit(call)
            call.succeed()


class ExportEnds(Phrase):
    """EXPORT.ABORT: after the in-order phase only with the abort token, which comes by the backward stream."""

    operand: ClassVar[str] = Stream.operand

    def locks(self, level: int = 0, release: Release = DEFAULT):
        return Stream(BACKWARD).locks()

    def emit(self, call: Call):
        post = call.fresh("post")
        call.row(Op.IN, source=R.OP_STATE, mask=~(1 << OP_STATE_POST_EXPORT), otherwise=post, text="in order")
        with call.listing.aside(post):
            Stream(BACKWARD, begins=True).emit(call)
            self._end(call)
            call.succeed()
        self._end(call)

    @staticmethod
    def _end(call: Call):
        StreamsForgotten().emit(call)
        OpStateBecomes(OP_STATE_RUNNABLE).emit(call)


class NewOrFatal(Phrase):
    """A vCPU must be uninitialized, or the session is over."""

    def emit(self, call: Call):
        other = call.fresh("other")
        call.row(Op.LOAD, base=R.TDVPS, offset=TDVPS_STATE, width=8, register=R.OLD, mask=-1, match=VCPU_UNINITIALIZED,
                 otherwise=other, text="vCPU state")
        with call.listing.aside(other):
            OpStateBecomes(OP_STATE_FAILED_IMPORT).emit(call)
            carries = {"source": R.OLD} if call.release.vcpu_state_status else {}
            call.listing.answer(status("TDX_VCPU_STATE_INCORRECT") | TDX_FATAL, next=call.unwinding(), **carries)


# --- lists of pages ------------------------------------------------------------------------------

class Pages(Phrase, abc.ABC):
    """A list of GPAs, one entry after the other: walk, entry lock, look, write, drop.

    allowed   states in which the entry may be; another is noted in the list

    An entry that is busy or wrong ends nothing: it is noted in the list (the word `gpa_list` of the actor, a byte
    for each entry) and counted in the answer.  Behind every entry but the last the call looks whether it has to
    give way.  The list is PAGE and the page behind it; of the last page of a table, that page alone.
    """

    allowed: tuple[str, ...]

    operand: ClassVar[str] = "GPA_LIST_ENTRY"

    def locks(self, level: int = 0, release: Release = DEFAULT):
        return Entry(()).locks()

    def emit(self, call: Call):
        more, end = call.fresh("more"), call.fresh("all")
        call.row(Op.LET, register=R.INDEX, text="entries noted as wrong")
        self._one(call, 0)
        call.row(Op.TEST, register=R.PAGE, mask=ENTRIES - 1, match=ENTRIES - 1, next=end, otherwise=more, text="all")
        call.listing.label(more)
        GiveWay(call.release.list_gives_way, "TDX_INTERRUPTED_RESUMABLE").emit(call)
        self._advance(call)
        self._one(call, 1)
        call.listing.label(end)
        noted, none = call.fresh("noted"), call.fresh("none")
        call.row(Op.TEST, register=R.INDEX, mask=-1, next=none, otherwise=noted, text="all went through?")
        with call.listing.aside(noted):
            carries = {"source": R.INDEX} if call.release.list_count_in_rax else {}
            call.listing.answer(0, AnswerKind.NOTED, next=call.unwinding(), **carries)
        call.listing.label(none)

    def _one(self, call: Call, number: int):
        outside, behind = call.listing.held, call.fresh("behind")

        def wrong(code: int, ends: int | None = None, always: bool = False) -> str:
            """The label of code that notes what is wrong, and goes on behind this entry.

            ends     with which status the call ends instead, where one entry can end it (always: everywhere)
            """
            label = call.fresh("wrong")
            with call.listing.aside(label):
                self._note(call, number, code)
                if always:
                    session_over(call, ends)
                    return label
                self._may_end(call, ends)
                for lock in reversed(call.listing.held[len(outside):]):
                    call.drop(lock)
                call.row(Op.LET, register=R.INDEX, source=R.INDEX, value=1, next=behind, text="one more")
            return label

        write_walk(call.listing, stopped=wrong(WALK_FAILED, status("TDX_EPT_WALK_FAILED", self.operand)))
        lock = call.take(Entry(()).locks()[0], wrong(ENTRY_BUSY, status("TDX_OPERAND_BUSY", self.operand)))
        call.row(Op.READ_ENTRY, base=R.ENTRY, mask=states(*self.allowed), text=" ".join(self.allowed),
                 otherwise=wrong(ENTRY_STATE, status("TDX_EPT_ENTRY_STATE_INCORRECT", self.operand)))
        self._change(call, number, wrong)
        self._note(call, number, DONE)
        if lock in call.listing.held:
            call.drop(lock)
        call.listing.label(behind)

    @staticmethod
    def _note(call: Call, number: int, code: int):
        call.row(Op.INDEX, register=R.CURSOR, base=R.TD, offset=call.td("gpa_list") - LINE + number, source=R.ROLE,
                 mask=-1, match=LINE, text="entry of this actor's list")
        call.row(Op.STORE, base=R.CURSOR, width=8, value=code, text="its status")

    @staticmethod
    def _advance(call: Call):
        call.row(Op.LET, register=R.ENTRY_PT, source=R.ENTRY_PT, value=8, text="the entry behind")
        call.row(Op.LET, register=R.ENTRY, source=R.ENTRY_PT)

    def _may_end(self, call: Call, ends: int | None):          # noqa: B027 - most have no such place
        """Where one entry that is wrong can end the call."""

    @abc.abstractmethod
    def _change(self, call: Call, number: int, wrong):
        """What the call does to the entry; `wrong(code, status)` is where it goes if that cannot be."""

    @staticmethod
    def _as(call: Call, transitions, releases: bool = False):
        """The entry in its new state: the copy with state, access bits and lock changed; one write."""
        write, last = call.fresh("write"), len(transitions) - 1
        for number, (before, after) in enumerate(transitions):
            other = call.fresh("from")
            if number < last:
                call.row(Op.IN, source=R.STATE, mask=states(*before), otherwise=other, text=" ".join(before))
            call.row(Op.MERGE, register=R.NEW, source=R.COPY, mask=page_mask(0) | TDHP, text=f"as {after}",
                     value=STATE[after].word(lock=not releases, access=call.release.access),
                     next=write if number < last else None)
            if number < last:
                call.listing.label(other)
        call.listing.label(write)
        write_entry(call, releases)

    @staticmethod
    def _count(call: Call, word: str, change: int, before: tuple[str, ...]):
        skip = call.fresh("uncounted")
        call.row(Op.IN, source=R.STATE, mask=states(*before), otherwise=skip, text=" ".join(before))
        call.row(Op.ADD, base=R.TD, offset=call.td(word), value=change, text=word)
        call.listing.label(skip)


BLOCK_WRITING = ((("MAPPED",), "BLOCKEDW"), (("EXP_DIRTY",), "EXP_DIRTY_BLOCKEDW"), (("PENDING",), "PEND_BLOCKEDW"),
                 (("PEND_EXP_DIRTY",), "PEND_EXP_DIRTY_BLOCKEDW"))
UNBLOCK_WRITING = ((("BLOCKEDW",), "MAPPED"), (("EXP_BLOCKEDW", "EXP_DIRTY_BLOCKEDW"), "EXP_DIRTY"),
                   (("PEND_BLOCKEDW",), "PENDING"),
                   (("PEND_EXP_BLOCKEDW", "PEND_EXP_DIRTY_BLOCKEDW"), "PEND_EXP_DIRTY"))
EXPORT = ((MAPPED_STATES, "EXP_BLOCKEDW"), (PENDING_STATES, "PEND_EXP_BLOCKEDW"))
RESTORE = ((MAPPED_STATES, "MAPPED"), (PENDING_STATES, "PENDING"))


class BlockWriting(Pages):
    """EXPORT.BLOCKW: the page cannot be written any more; then bw_epoch := td_epoch, one for all pages of the TD."""

    def _change(self, call: Call, number: int, wrong):
        self._as(call, BLOCK_WRITING)
        call.row(Op.LOAD, base=R.TD, offset=call.td("epoch") + epoch.EPOCH_BYTE, width=32, register=R.BEPOCH,
                 text="td_epoch")
        call.row(Op.STORE, base=R.TD, offset=call.td("bw_epoch"), source=R.BEPOCH, text="bw_epoch")


class RestorePages(Pages):
    """EXPORT.RESTORE: what an export that was aborted has left; a count that is 0 already is a halt (306)."""

    def _change(self, call: Call, number: int, wrong):
        none, some = call.fresh("none"), call.fresh("some")
        call.row(Op.ADD, base=R.TD, offset=call.td("mig_count"), value=-1, register=R.OLD, text="mig_count")
        call.row(Op.TEST, register=R.OLD, mask=-1, next=none, otherwise=some, text="none has been exported")
        with call.listing.aside(none):
            call.halt()
        call.listing.label(some)
        self._as(call, RESTORE)


class ExportPages(Pages):
    """EXPORT.MEM: the page is encrypted under its entry's lock.

    While the TD runs it must be blocked for writing, and no TLB may still hold a translation that allows writing;
    what has been exported and not written since is not exported again, but for the out-of-order phase.
    Abstracted away: CANCEL.
    """

    def _change(self, call: Call, number: int, wrong):
        allowed, live, in_order = (call.fresh(part) for part in ("allowed", "live", "in_order"))
        bad_state = wrong(ENTRY_STATE)
        paused = call.fresh("paused")
        call.row(Op.IN, source=R.OP_STATE, mask=1 << OP_STATE_LIVE_EXPORT, next=live, otherwise=paused, text="live")
        call.listing.label(live)
        call.row(Op.IN, source=R.STATE, mask=states(*set(BLOCKED_FOR_WRITING) - set(EXPORTED_CLEAN)),
                 otherwise=bad_state, text="blocked for writing, not exported as it is")
        call.row(Op.LOAD, base=R.TD, offset=call.td("bw_epoch"), register=R.BEPOCH, text="bw_epoch")
        read = call.fresh("read")
        call.row(Op.LET, register=R.EPOCH_WORD)
        call.row(Op.SWAP, base=R.TD, offset=call.td("epoch"), register=R.EPOCH_WORD, otherwise=read,
                 text="td_epoch and counts")
        call.listing.label(read)
        call.row(Op.EPOCH_TRACKED, register=R.EPOCH_WORD, source=R.BEPOCH, next=allowed, text="tracked",
                 otherwise=wrong(NOT_TRACKED))
        call.listing.label(paused)
        call.row(Op.IN, source=R.OP_STATE, mask=1 << OP_STATE_PAUSED_EXPORT, next=in_order, otherwise=allowed,
                 text="paused, in order")
        call.listing.label(in_order)
        call.row(Op.IN, source=R.STATE, mask=~states(*EXPORTED_CLEAN), otherwise=bad_state,
                 text="not exported as it is")
        call.listing.label(allowed)
        self._as(call, EXPORT)
        self._count(call, "mig_count", +1, NEVER_EXPORTED)
        self._count(call, "dirty_count", -1, EXPORTED_DIRTY)
        call.work(call.name + "_ns")


class CountDirty(Phrase):
    """EXPORT.UNBLOCKW: a page that had been exported as it is can be written again."""

    def emit(self, call: Call):
        Pages._count(call, "dirty_count", +1, EXPORTED_CLEAN)


def session_over(call: Call, ends: int) -> None:
    """An import has failed: the TD can only be torn down."""
    OpStateBecomes(OP_STATE_FAILED_IMPORT).emit(call)
    call.listing.answer(ends | TDX_FATAL, next=call.unwinding())
