"""Phrases that take locks, and those that give one back early.

Busy is TDX_OPERAND_BUSY with the operand that a phrase names; the call then gets out by itself.
"""

from typing import ClassVar

from harness.memory.layout import PAMT_LOCK, PAMT_TYPE, TDR_FATAL, TDR_LIFECYCLE, TDR_READY, TDR_TDCX
from harness.protocol.assemble import Held
from harness.protocol.call import EXCLUSIVE, SHARED, Call
from harness.protocol.locate import write_walk
from harness.protocol.phrases.nodes import check_no_pamt_page, check_node
from harness.protocol.phrases.phrase import Phrase
from harness.protocol.releases import DEFAULT, NOTHING, PRIORITY, Release
from kernels.ops import Op, Register as R
from kernels.words import (
    ANY_BLOCKED, HP, OP_STATE_RUNNABLE, OP_STATE_START_EXPORT, PT_NDA, PT_PAMT, PT_RSVD, PT_TDR, PT_TDVPR, READ, TD_KEYS_CONFIGURED,
    TDCS_PAGES, states, status,
)

# Pages that a caller names, and the registers with their PAMT entries: 4K, 2M, 1G.
NAMED = {
    "TDR": (R.TDR_4K, R.TDR_2M, R.TDR_1G),
    "TDVPR": (R.TDVPR_4K, R.TDVPR_2M, R.TDVPR_1G),
    "PAGE": (R.TARGET_4K, R.TARGET_2M, R.TARGET_1G),
    "TARGET": (R.TARGET_4K, R.TARGET_2M, R.TARGET_1G),
    "PAIR0": (R.PAIR0_4K, R.PAIR0_2M, R.PAIR0_1G),
    "PAIR1": (R.PAIR1_4K, R.PAIR1_2M, R.PAIR1_1G),
}
# Pages that the module finds itself: the TD's own TDR, the page that an SEPT entry maps; with the 2M entry above.
FOUND = {"TDR": (R.TDR_4K, R.TDR_2M), "PAGE": (R.PAMT, R.NODE)}
SIZE_NAMES = ("", ".2M", ".1G")

INTERRUPT = 1                    # bit of the word at Register.KICK: an interrupt is pending


class Explicit(Phrase):
    """A page that the caller names by address: the PAMT entries above its own shared, its own in `mode`.

    Then its type must match.  A page of 4 KiB, or with `own_size` of the size of the call's level;
    the entry of a large page is taken shared and then promoted.  A page in the middle of a large one is found
    out on the way: the walk stops at the large page's entry, in `mode` too; with Dynamic PAMT also at 2 MiB that
    have no pair, and then a page that should be free answers TDX_MISSING_PAMT_PAGE_PAIR.
    pamt_manager.c:191-284 (walk), 286-325 (unwalk); 1.5.24 :378-440
    Abstracted away: alignment, HKID bits and TDMR coverage of the address; that a TDR or a TDVPR could lie in
    a large page.
    """

    page: str
    mode: str
    operand: str
    page_type: int
    own_size: bool = False
    wrong: str = "TDX_PAGE_METADATA_INCORRECT"

    def locks(self, level: int = 0, release: Release = DEFAULT):
        own = level if self.own_size else 0
        above = range(2, own, -1) if release.pamt_parents else ()
        return (*(Held(self.page + SIZE_NAMES[size], SHARED, "hp", NAMED[self.page][size], PAMT_LOCK)
                  for size in above),
                Held(self.page + SIZE_NAMES[own], self.mode, "hp", NAMED[self.page][own], PAMT_LOCK))

    def emit(self, call: Call):
        *above, own = self.locks(call.level, call.release)
        busy = status("TDX_OPERAND_BUSY", self.operand)
        for lock in above:
            call.take(lock, busy)
            if self.page_type not in (PT_TDR, PT_TDVPR):
                self._stop(call, lock, busy)
        call.take(own, busy, promoted=self.own_size and call.level > 0 and self.mode == EXCLUSIVE)
        wrong = call.fail(self.wrong, self.operand)
        call.row(Op.LOAD, base=own.base, offset=PAMT_TYPE, width=8, mask=-1, match=self.page_type, otherwise=wrong,
                 text=f"type of {self.page}")
        if call.dynamic_pamt and self.page_type == PT_NDA and own.base == NAMED[self.page][0]:
            check_no_pamt_page(call, own.base, self.page, wrong)

    def _stop(self, call: Call, lock: Held, busy: int):
        """The walk ends at this lock's entry, unless its type says that it goes on below."""
        size, stopped = NAMED[self.page].index(lock.base), call.fresh("stopped")
        below, why = below_type(call, size)
        call.row(Op.LOAD, base=lock.base, offset=PAMT_TYPE, width=8, register=R.OLD, mask=-1, match=below,
                 otherwise=stopped, text=f"type of {lock.resource}: {why}")
        with call.listing.aside(stopped):
            if below == PT_PAMT and self.page_type == PT_NDA:
                missing, large = call.fresh("missing"), call.fresh("large")
                call.row(Op.TEST, register=R.OLD, mask=-1, match=PT_NDA, next=missing, otherwise=large,
                         text="nothing there?")
                with call.listing.aside(missing):
                    self._end(call, lock, busy, "TDX_MISSING_PAMT_PAGE_PAIR")
                call.listing.label(large)
            self._end(call, lock, busy, self.wrong)

    def _end(self, call: Call, lock: Held, busy: int, wrong: str):
        if self.mode == EXCLUSIVE:
            call.promote(lock, busy)
        call.row(Op.LET, next=call.fail(wrong, self.operand))


def below_type(call: Call, size: int) -> tuple[int, str]:
    """The type of a 2M or 1G PAMT entry below which a walk goes on, and in words."""
    return (PT_PAMT, "has a pair") if call.dynamic_pamt and size == 1 else (PT_NDA, "no large page")


class Leaf(Phrase):
    """A page that the caller names by address, of whatever size its PAMT entry is: a walk down to the leaf.

    then    what is done about it, written once for each size
    A large page's entry is taken shared, and promoted for `mode` exclusive; those below are not taken.
    """

    page: str
    mode: str
    operand: str
    then: tuple

    def locks(self, level: int = 0, release: Release = DEFAULT):
        own = Explicit(self.page, self.mode, self.operand, PT_NDA).locks(0, release)
        then = [lock for phrase in self.then if hasattr(phrase, "locks") for lock in phrase.locks(0, release)]
        # Of a large page, its own entry in `mode`.
        large = [own[1]._replace(mode=EXCLUSIVE)] if self.mode == EXCLUSIVE and len(own) > 1 else []
        return (*own, *large, *then)

    def emit(self, call: Call):
        *above, own = Explicit(self.page, self.mode, self.operand, PT_NDA).locks(0, call.release)
        busy = status("TDX_OPERAND_BUSY", self.operand)
        for lock in above:
            size = NAMED[self.page].index(lock.base)
            call.take(lock, busy)
            large = call.fresh("large")
            below, why = below_type(call, size)
            call.row(Op.LOAD, base=lock.base, offset=PAMT_TYPE, width=8, mask=-1, match=below, otherwise=large,
                     text=f"type of {lock.resource}: {why}")
            with call.listing.aside(large):
                if self.mode == EXCLUSIVE:
                    call.promote(lock, busy)
                self._rest(call, size)
                call.succeed()
        call.take(own, busy)
        self._rest(call, 0)

    def _rest(self, call: Call, size: int):
        level, call.level = call.level, size
        for phrase in self.then:
            phrase.emit(call)
        call.level = level


class Implicit(Phrase):
    """A page that the module itself knows: its own PAMT entry only.  pamt_manager.c:516-538

    Before it tries the lock it looks at the page's type by a plain load: one that says that nothing owns the page
    or reserved is against all that the module knows, and it shuts itself down.  A call that lets go of an SEPT
    entry before it has written the page's type (AUG) leaves that window to whoever takes the entry next.
    """

    page: str
    mode: str
    operand: str

    def locks(self, level: int = 0, release: Release = DEFAULT):
        return (Held(self.page, self.mode, "hp", FOUND[self.page][0], PAMT_LOCK),)

    def emit(self, call: Call):
        check_found(call, self.page)
        call.take(self.locks()[0], status("TDX_OPERAND_BUSY", self.operand))


def check_found(call: Call, page: str) -> None:
    """The module's own check of a page that it names itself: the type is neither NDA nor reserved, or it halts.

    In releases with Dynamic PAMT nor PAMT; and the 2 MiB of a page of 4 KiB must have a pair.
    """
    base, node = FOUND[page]
    if call.dynamic_pamt:
        with_node(call, page, lambda: check_node(call, node, page))
    types = (PT_NDA, PT_RSVD, *((PT_PAMT,) if call.release.dynamic_pamt else ()))
    unowned = call.fresh("unowned")
    call.row(Op.LOAD_IN, base=base, offset=PAMT_TYPE, width=8, mask=~sum(1 << each for each in types),
             otherwise=unowned, text=f"type of {page}: must be in use")
    with call.listing.aside(unowned):
        call.halt()


class OpState(Phrase):
    """The TD must not be fatal, have its keys and its TDCX pages; op_state lock; op_state allowed.

    mode   None: the lock is not taken (the TDR is held exclusively)
    The three conditions are plain reads of fields that change only while the TDR is held exclusively;
    here they are one read.  helpers.c:499-587
    START_EXPORT, in the releases that have it, is allowed wherever RUNNABLE is.
    """

    mode: str | None
    allowed: tuple[int, ...]

    operand: ClassVar[str] = "OP_STATE"

    def locks(self, level: int = 0, release: Release = DEFAULT):
        return (Held("OP_STATE", self.mode, "hp", R.TD, "op_state_lock"),) if self.mode else ()

    def emit(self, call: Call):
        unready, keyed, ready = (call.fresh(part) for part in ("unready", "keyed", "ready"))
        call.row(Op.LOAD, base=R.TD, offset=call.td("tdr_state"), register=R.OLD, mask=-1, match=TDR_READY,
                 otherwise=unready, text="fatal? keys? TDCX pages?")
        with call.listing.aside(unready):
            call.row(Op.TEST, register=R.OLD, mask=0xFF << 8 * TDR_FATAL, otherwise=call.fail("TDX_TD_FATAL"),
                     text="TDR.fatal")
            call.row(Op.TEST, register=R.OLD, mask=0xFF << 8 * TDR_LIFECYCLE, next=keyed,
                     match=TD_KEYS_CONFIGURED << 8 * TDR_LIFECYCLE,
                     otherwise=call.fail("TDX_TD_KEYS_NOT_CONFIGURED"), text="keys configured")
            call.listing.label(keyed)
            call.row(Op.INDEX, register=R.OLD, source=R.OLD, width=8 * TDR_TDCX, mask=0xFF, match=1, text="num_tdcx")
            call.row(Op.IN, source=R.OLD, mask=at_least(TDCS_PAGES), next=ready,
                     otherwise=call.fail("TDX_TDCS_NOT_ALLOCATED"), text="enough")
        call.listing.label(ready)
        for lock in self.locks():
            call.take(lock, status("TDX_OPERAND_BUSY", self.operand))
        self.check(call)

    def check(self, call: Call) -> None:
        """op_state must be allowed."""
        allowed = set(self.allowed)
        if OP_STATE_RUNNABLE in allowed and call.release.op_states > OP_STATE_START_EXPORT:
            allowed.add(OP_STATE_START_EXPORT)
        call.row(Op.LOAD_IN, base=R.TD, offset=call.td("op_state"), register=R.OP_STATE,
                 mask=sum(1 << state for state in allowed), text="op_state allowed",
                 otherwise=call.fail("TDX_OP_STATE_INCORRECT",
                                     carries=R.OP_STATE if call.release.op_state_status else None))


def with_node(call: Call, page: str, write) -> None:
    """What `write()` writes, for a page of 4 KiB: one that an entry maps may be a large one; its NODE is 0."""
    if page == "PAGE" and call.level:
        small, large = call.fresh("small"), call.fresh("large")
        call.row(Op.TEST, register=R.NODE, mask=-1, next=large, otherwise=small, text="a large page?")
        call.listing.label(small)
        write()
        call.listing.label(large)
    else:
        write()


def at_least(number: int) -> int:
    """The numbers from `number` on, as a set of bits for IN and LOAD_IN."""
    return -1 << number


class TreeLock(Phrase):
    """The SEPT tree lock."""

    mode: str

    operand: ClassVar[str] = "SEPT_TREE"

    def locks(self, level: int = 0, release: Release = DEFAULT):
        return (Held("SEPT_TREE", self.mode, release.tree, R.TD, "secure_ept_lock"),)

    def emit(self, call: Call):
        call.take(self.locks(release=call.release)[0], status("TDX_OPERAND_BUSY", self.operand))


class Tree(TreeLock):
    """The SEPT tree lock, then the walk to the entry at LEVEL.  helpers.c:705-766"""

    def emit(self, call: Call):
        super().emit(call)
        Walk().emit(call)


class Walk(Phrase):
    """The walk to the entry at LEVEL, without the tree lock (the TDR is held exclusively)."""

    def emit(self, call: Call):
        write_walk(call.listing, stopped=call.fail("TDX_EPT_WALK_FAILED", "RCX"))


class WalkToLeaf(Phrase):
    """The walk to the leaf that maps PAGE, of whatever size, without any lock; ENTRY is where it lies.

    The leaf must be readable, or the call ends with TDX_EPT_ENTRY_NOT_PRESENT.
    """

    def emit(self, call: Call):
        absent = call.fail("TDX_EPT_ENTRY_NOT_PRESENT", "RCX")
        found, stopped = call.fresh("found"), call.fresh("stopped")
        call.row(Op.LET, register=R.ENTRY, source=R.ENTRY_PT)
        write_walk(call.listing, stopped=stopped)
        with call.listing.aside(stopped):
            above = call.fresh("above")
            call.row(Op.TEST, register=R.WALK, mask=-1, match=1, otherwise=above, text="at level 1")
            call.row(Op.LET, register=R.ENTRY, source=R.ENTRY_PD, next=found)
            call.listing.label(above)
            call.row(Op.LET, register=R.ENTRY, source=R.ENTRY_PDPT, next=found)
        call.listing.label(found)
        call.row(Op.TEST, register=R.COPY, mask=READ, match=READ, otherwise=absent, text="readable")


class TreeToLeaf(TreeLock):
    """The SEPT tree lock, then the walk to the leaf: a walk that fails gives the tree back first."""

    def emit(self, call: Call):
        super().emit(call)
        WalkToLeaf().emit(call)


class Entry(Phrase):
    """The entry's lock, then the entry is read again and its state checked.

    `allowed` are the states of sept_state_lookup; in any other the call ends with
    TDX_EPT_ENTRY_STATE_INCORRECT, and in a blocked one with `blocked` if that is given.  A guest's
    call decides itself what to make of the state.  `locked` False: read without the lock.
    """

    allowed: tuple[str, ...]
    blocked: str = ""
    locked: bool = True

    operand: ClassVar[str] = "RCX"

    def locks(self, level: int = 0, release: Release = DEFAULT):
        return (Held("SEPT_ENTRY", EXCLUSIVE, "entry", R.ENTRY),) if self.locked else ()

    def emit(self, call: Call):
        for lock in self.locks():
            call.take(lock, status("TDX_OPERAND_BUSY", self.operand))
        call.end_step()
        if call.guest:
            call.row(Op.READ_ENTRY, base=R.ENTRY, mask=-1, text="SEPT entry")
            return
        wrong = call.fail("TDX_EPT_ENTRY_STATE_INCORRECT", "RCX")
        if self.blocked:
            other = call.fresh("other")
            with call.listing.aside(other):
                call.row(Op.IN, source=R.STATE, mask=states(*ANY_BLOCKED),
                         next=call.fail(self.blocked, "RCX"), otherwise=wrong)
            wrong = other
        call.row(Op.READ_ENTRY, base=R.ENTRY, mask=states(*self.allowed), otherwise=wrong,
                 text=" ".join(self.allowed))


class EpochLock(Phrase):
    """The lock of td_epoch and its counts."""

    mode: str

    operand: ClassVar[str] = "TD_EPOCH"

    def locks(self, level: int = 0, release: Release = DEFAULT):
        return (Held("TD_EPOCH", self.mode, "sharex", R.TD, "epoch_lock"),)

    def emit(self, call: Call):
        call.take(self.locks()[0], status("TDX_OPERAND_BUSY", self.operand))


class Kot(Phrase):
    """The lock of the Key Ownership Table, one for the whole machine."""

    mode: str

    operand: ClassVar[str] = "KOT"

    def locks(self, level: int = 0, release: Release = DEFAULT):
        return (Held("KOT", self.mode, "sharex", R.ZERO, "kot_lock"),)

    def emit(self, call: Call):
        call.take(self.locks()[0], status("TDX_OPERAND_BUSY", self.operand))


class KeyTable(Phrase):
    """The processor package's key table, which PCONFIG takes for itself.  helpers.c:86-91

    A lock of the hardware: modelled as a mutex of the module's kind.
    """

    operand: ClassVar[str] = "KET"

    def locks(self, level: int = 0, release: Release = DEFAULT):
        return (Held("KET", EXCLUSIVE, "mutex", R.KET),) if release.key_table else ()

    def emit(self, call: Call):
        for lock in self.locks(release=call.release):
            call.take(lock, status("TDX_OPERAND_BUSY", self.operand))


class WriteBack(Phrase):
    """The package's entry in the table of cache write-backs."""

    operand: ClassVar[str] = "WBCACHE"

    def locks(self, level: int = 0, release: Release = DEFAULT):
        return (Held("WBT", EXCLUSIVE, "mutex", R.WBT),)

    def emit(self, call: Call):
        call.take(self.locks()[0], status("TDX_OPERAND_BUSY", self.operand))


class Drop(Phrase):
    """Drop a lock before the end of the call, if the release takes it at all."""

    resource: str

    def emit(self, call: Call):
        for lock in call.listing.held:
            if lock.resource == self.resource:
                call.drop(lock)


class Work(Phrase):
    """What the call does that has no words here, and takes its time."""

    def emit(self, call: Call):
        call.work(call.name + "_ns")


class GiveWay(Phrase):
    """A long call looks for an interrupt, and for a host that wants the tree exclusively, as far as `how` says.

    Abstracted away: interrupts reach a host thread only where a test or an explored scenario sets its
    word; KVM's threads are not interrupted in these runs.
    """

    how: str
    interrupted: str = "TDX_INTERRUPTED_RESTARTABLE"     # or, where what was done is kept, ..._RESUMABLE
    leaves: tuple = ()                                   # phrases: what a call that stops leaves behind

    def emit(self, call: Call):
        if self.how != NOTHING:
            call.row(Op.LOAD, base=R.KICK, mask=INTERRUPT, otherwise=self._stop(call, self.interrupted),
                     text="interrupt pending?")
        if self.how == PRIORITY:
            call.row(Op.LOAD, base=R.TD, offset=call.td("secure_ept_lock"), width=16, mask=HP,
                     otherwise=self._stop(call, "TDX_INTERRUPTED_BUSY"), text="host priority on the tree?")

    def _stop(self, call: Call, name: str) -> str:
        if not self.leaves:
            return call.fail(name)
        label = call.fresh("stops")
        with call.listing.aside(label):
            for phrase in self.leaves:
                phrase.emit(call)
            call.row(Op.LET, next=call.fail(name))
        return label
