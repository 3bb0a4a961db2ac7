"""Phrases about SEPT entries and the pages they map: checks, writes, TLB tracking."""


from harness.memory.layout import ENTRIES, PAMT_BEPOCH, PAMT_BYTES, PAMT_TYPE
from harness.protocol.call import Call
from harness.protocol.frames import hosts_words
from harness.protocol.phrases.locking import FOUND, NAMED, check_found, with_node
from harness.protocol.phrases.nodes import check_no_pamt_page, count_used
from harness.protocol.phrases.phrase import Phrase
from harness.protocol.releases import CHECKED_SWAP, STORE, SWAP_STORE
from kernels import epoch
from kernels.ops import Op, Register as R
from kernels.words import (
    ANY_BLOCKED, ENTRY_STATES, HPA_MASK, NEEDS_NO_TRACKING, OP_STATE_LIVE_EXPORT, OP_STATE_LIVE_IMPORT,
    OP_STATE_MEMORY_IMPORT, OP_STATE_POST_IMPORT, OP_STATE_RUNNABLE, OP_STATE_START_EXPORT, OP_STATE_STATE_IMPORT,
    PT_NDA, STATE, TDEL, TDHP, states,
)

TRACKED_OP_STATES = (OP_STATE_RUNNABLE, OP_STATE_LIVE_EXPORT, OP_STATE_LIVE_IMPORT, OP_STATE_START_EXPORT)
IMPORTING = (OP_STATE_MEMORY_IMPORT, OP_STATE_STATE_IMPORT, OP_STATE_POST_IMPORT, OP_STATE_LIVE_IMPORT)
LEAVES = tuple(state.name for state in ENTRY_STATES if state.leaf)
PAGE_NUMBER = (1 << 28) - 1      # which page of its group a physical address names (memory.HPA_STEP)


def page_mask(level: int) -> int:
    """The address bits of a leaf's word: below them a PENDING large page keeps its accept counter."""
    return HPA_MASK & ~((1 << 12 + 9 * level) - 1)


def large_entry(call: Call, register: R, entry: R, text: str) -> None:
    """register = the PAMT entry of the page, of the call's level, that an SEPT entry (in a register) maps."""
    layout, level = call.options.layout, call.level
    if layout.whole and level == 1:
        hosts_words(call.listing, layout, (register, register), "data", entry, 12, mask=PAGE_NUMBER)
        return
    call.row(Op.INDEX, register=register, base=R.TD, offset=call.td(f"pamt_{('4k', '2m', '1g')[level]}.data"), source=entry,
             width=12 + 9 * level, mask=PAGE_NUMBER >> 9 * level, match=PAMT_BYTES, text=text)


class OwnPage(Phrase):
    """PAMT = the PAMT entry, of its own size, of the page that the entry maps.

    checked   whether its type is looked at: it must be in use (locking.check_found), or the module halts
    With Dynamic PAMT, NODE = the 2M entry above; 0 of a large page.
    """

    checked: bool = False

    leveled = True

    def emit(self, call: Call):
        if call.level:
            sept_page, found = call.fresh("sept_page"), call.fresh("found")
            call.row(Op.IN, source=R.STATE, mask=states(*LEAVES), otherwise=sept_page, text="leaf")
            with call.listing.aside(sept_page):
                if call.dynamic_pamt:
                    call.row(Op.LET, register=R.NODE, source=R.TARGET_2M, text="and its node")
                call.row(Op.LET, register=R.PAMT, source=R.TARGET_4K, next=found, text="SEPT page")
        large_entry(call, R.PAMT, R.COPY, "PAMT entry of the page")
        if call.dynamic_pamt and call.level:
            call.row(Op.LET, register=R.NODE, text="no node")
        elif call.dynamic_pamt and call.options.layout.frames:
            hosts_words(call.listing, call.options.layout, (R.NODE, R.NODE), "data", R.COPY, 12, mask=PAGE_NUMBER)
        elif call.dynamic_pamt:
            call.row(Op.INDEX, register=R.NODE, base=R.TD, offset=call.td("pamt_2m.data"), source=R.COPY,
                     width=12 + 9, mask=PAGE_NUMBER >> 9, match=PAMT_BYTES, text="its node")
        if call.level:
            call.listing.label(found)
        if self.checked:
            check_found(call, "PAGE")


class Tracked(Phrase):
    """While the TD may run, the page must be blocked, and no TLB may hold a translation to it.

    Not of an entry in a state in which the processor cannot have used it.

    epoch.py; helpers.h:1218-1236.  The epoch and its counts are read in one access by a
    compare-and-swap that cannot succeed, as the module reads its 16 bytes by CMPXCHG16B.
    """

    not_tracked: str = "RCX"
    not_blocked: bool = True     # whether "not blocked" is checked here (UNBLOCK has checked it)
    idle: bool = False           # whether the states before allow one that needs no tracking

    def emit(self, call: Call):
        if "tracking_check" in call.options.busted:
            return
        skip, read = (call.fresh(part) for part in ("untracked", "read"))
        call.row(Op.IN, source=R.OP_STATE, mask=sum(1 << state for state in TRACKED_OP_STATES),
                 otherwise=skip, text="TD may run")
        if self.idle:
            call.row(Op.IN, source=R.STATE, mask=~states(*NEEDS_NO_TRACKING), otherwise=skip, text="may be in use")
        if self.not_blocked:
            call.row(Op.IN, source=R.STATE, mask=states(*ANY_BLOCKED),
                     otherwise=call.fail("TDX_GPA_RANGE_NOT_BLOCKED", "RCX"), text="blocked")
        call.row(Op.LOAD, base=R.PAMT, offset=PAMT_BEPOCH, register=R.BEPOCH, text="bepoch")
        call.row(Op.LET, register=R.EPOCH_WORD)
        call.row(Op.SWAP, base=R.TD, offset=call.td("epoch"), register=R.EPOCH_WORD, otherwise=read,
                 text="td_epoch and counts")
        call.listing.label(read)
        call.row(Op.EPOCH_TRACKED, register=R.EPOCH_WORD, source=R.BEPOCH, text="tracked",
                 otherwise=call.fail("TDX_TLB_TRACKING_NOT_DONE", self.not_tracked))
        call.listing.label(skip)


# What is added to the bits of a state where an entry is built anew, by `hpa` of Become.
BUILT = {"none": R.ZERO, "new": R.HPA}


class Become(Phrase):
    """The new word of the entry.

    transitions   ((states before), state after), ...: one write each
    hpa           "new": built from constants and the page's address, host priority lost;
                  "copy": the entry as read under its lock, with its state, access bits and lock changed;
                  "moved": the same with another page's address; "none": no address
    releases      the word has TDEL clear, so that the write is the release
    keeps_counter   with "copy": how far an ACCEPT of the large page has got stays in the word
    importing     with "none": the state instead while the TD is imported
    How it is written is the release's (releases.py): up to 1.5.16 one plain store.
    """

    transitions: tuple[tuple[tuple[str, ...], str], ...]
    hpa: str
    releases: bool
    keeps_counter: bool = False
    importing: str = ""

    @property
    def leveled(self):
        return self.hpa == "copy"

    def emit(self, call: Call):
        call.work(call.name + "_ns")
        if self.hpa in BUILT:
            [(_, after)] = self.transitions
            if self.importing:
                self._leave(call, after)
                return
            write_entry(call, self.releases, BUILT[self.hpa], self._word(call, after), f"entry as {after}")
            return
        write = call.fresh("write")
        for before, after in self.transitions[:-1]:
            other = call.fresh("from")
            call.row(Op.IN, source=R.STATE, mask=states(*before), otherwise=other, text=" ".join(before))
            self._merge(call, after, next=write)
            call.listing.label(other)
        self._merge(call, self.transitions[-1][1])
        call.listing.label(write)
        if self.hpa == "moved":
            call.row(Op.INDEX, register=R.NEW, base=R.NEW, source=R.HPA, mask=-1, match=1, text="to the new page")
        write_entry(call, self.releases)

    def _leave(self, call, after):
        """NEW = what is left of the page, and the write."""
        importing, left = call.fresh("importing"), call.fresh("left")
        call.row(Op.LET, register=R.NEW, value=self._word(call, after), text=f"as {after}")
        call.row(Op.IN, source=R.OP_STATE, mask=sum(1 << state for state in IMPORTING), next=importing,
                 otherwise=left, text="TD is imported")
        with call.listing.aside(importing):
            call.row(Op.LET, register=R.NEW, value=self._word(call, self.importing), next=left,
                     text=f"as {self.importing}")
        call.listing.label(left)
        write_entry(call, self.releases, text="entry")

    def _word(self, call, after) -> int:
        """The state's bits, and the lock if the write keeps it."""
        locked = any(lock.resource == "SEPT_ENTRY" for lock in call.listing.held)
        return STATE[after].word(lock=locked and not self.releases, access=call.release.access)

    def _merge(self, call, after, **fields):
        # What counts accepted chunks is cleared with the leaf's state, but for UNBLOCK, which keeps the address bits.
        address = page_mask(call.level) if STATE[after].leaf and not self.keeps_counter else HPA_MASK
        call.row(Op.MERGE, register=R.NEW, value=self._word(call, after), source=R.COPY,
                 mask=(address if self.hpa == "copy" else 0) | TDHP, text=f"as {after}", **fields)


def write_entry(call: Call, releases: bool, source: R = R.NEW, value: int = 0,
                text: str = "SEPT entry", how: str | None = None) -> None:
    """Write source + value into the entry, as the release does it; `releases`: that is the release of its lock."""
    text += " (releases it)" * releases
    if releases:
        call.check_owner(next(lock for lock in call.listing.held if lock.resource == "SEPT_ENTRY"), taking=False)
    how = how or call.release.entry_write
    if how != STORE:
        call.row(Op.ENTRY_REPLACE, base=R.ENTRY, register=R.NEW, source=source, value=value, text=text,
                 mask=int(how == CHECKED_SWAP))
        source, value = R.NEW, 0
    if how in (STORE, SWAP_STORE):
        call.row(Op.STORE, base=R.ENTRY, source=source, value=value, text=text)
    if releases:
        call.listing.release("SEPT_ENTRY")


class StateIs(Phrase):
    """The entry at which a walk has ended (COPY) must be in one of these states."""

    allowed: tuple[str, ...]
    wrong: str

    def emit(self, call: Call):
        call.row(Op.STATE, register=R.STATE, source=R.COPY)
        call.row(Op.IN, source=R.STATE, mask=states(*self.allowed), otherwise=call.fail(self.wrong),
                 text=" ".join(self.allowed))


class Add(Phrase):
    """The first word of an entry that is not locked: the module halts if it is.

    Written by a plain store in every release: a TDHP that is on the entry is lost.  sept_manager.c:449-456
    """

    state: str

    def emit(self, call: Call):
        locked = call.fresh("locked")
        call.row(Op.LOAD, base=R.ENTRY, mask=TDEL, otherwise=locked, text="not locked")
        with call.listing.aside(locked):
            call.halt()
        call.work(call.name + "_ns")
        write_entry(call, False, R.HPA, STATE[self.state].word(access=call.release.access), f"entry as {self.state}", STORE)


class Children(Phrase):
    """TDR.chldcnt in pages of 4 KiB, counted with a locked add because the TDR is locked shared only."""

    change: int
    own_size: bool = False

    @property
    def leveled(self):
        return self.own_size

    def emit(self, call: Call):
        pages = ENTRIES ** call.level if self.own_size else 1
        call.row(Op.ADD, base=R.TD, offset=call.td("chldcnt"), value=self.change * pages, text="TDR.chldcnt")


class PageType(Phrase):
    """The type of PAGE is returned, in RCX (R.COPY).  Abstracted away: its owner, size and bepoch."""

    def emit(self, call: Call):
        call.row(Op.LOAD, base=NAMED["PAGE"][call.level], offset=PAMT_TYPE, width=8, register=R.COPY,
                 text="type of PAGE")


class TypeIs(Phrase):
    """PAGE, of whatever size, must have a type."""

    page_type: int
    leveled = True

    def emit(self, call: Call):
        call.row(Op.LOAD, base=NAMED["PAGE"][call.level], offset=PAMT_TYPE, width=8, mask=-1, match=self.page_type,
                 otherwise=call.fail("TDX_PAGE_METADATA_INCORRECT", "RCX"), text="type of PAGE")


class Count(Phrase):
    """One of the counters that releases from 1.5.34 on keep of a TD, in pages of 4 KiB, by a locked add.

    name     a word of the layout; or "blocked": blocked_count, or pending_blocked_count of a pending page
    sign     +1, -1
    before   only if the entry was in one of these states
    """

    name: str
    sign: int
    before: tuple[str, ...] = ()
    leveled = True

    def emit(self, call: Call):
        if not call.release.counters:
            return
        skip = call.fresh("uncounted")
        if self.before:
            call.row(Op.IN, source=R.STATE, mask=states(*self.before), otherwise=skip, text=" ".join(self.before))
        if self.name == "blocked":
            pending, counted = call.fresh("pending"), call.fresh("counted")
            call.row(Op.IN, source=R.STATE, mask=states(*(state.name for state in ENTRY_STATES if "PEND" in state.name)),
                     next=pending, otherwise=counted, text="pending")
            call.listing.label(pending)
            self._add(call, "pending_blocked_count", next=skip)
            call.listing.label(counted)
            self._add(call, "blocked_count")
        else:
            self._add(call, self.name)
        call.listing.label(skip)

    def _add(self, call: Call, name: str, **fields):
        call.row(Op.ADD, base=R.TD, offset=call.td(name), value=self.sign * ENTRIES ** call.level, text=name, **fields)


class PageBecomes(Phrase):
    """A page's PAMT entry: its type, and bepoch cleared where it becomes the TD's.

    page       one that the caller names (locking.NAMED), or "found" in the SEPT entry
    own_size   of the call's level, not 4 KiB
    counted    with Dynamic PAMT, whether its node's count follows at once
    """

    page_type: int
    clear_bepoch: bool = False
    page: str = "PAGE"
    own_size: bool = False
    counted: bool = True

    @property
    def leveled(self):
        return self.own_size

    def emit(self, call: Call):
        base = R.PAMT if self.page == "found" else NAMED[self.page][call.level if self.own_size else 0]
        call.row(Op.STORE, base=base, offset=PAMT_TYPE, width=8, value=self.page_type,
                 text=f"type of {'PAGE' if self.page == 'found' else self.page}")
        if self.clear_bepoch:
            call.row(Op.STORE, base=base, offset=PAMT_BEPOCH, text="bepoch")
        if self.counted and not (self.own_size and call.level):
            CountUsed(self.page, -1 if self.page_type == PT_NDA else +1).emit(call)


class CountUsed(Phrase):
    """With Dynamic PAMT: one page more, or less, is in use of the 2 MiB around a page (as in PageBecomes)."""

    page: str
    change: int

    def emit(self, call: Call):
        if not call.dynamic_pamt:
            return
        if self.page == "found":
            with_node(call, "PAGE", lambda: count_used(call, FOUND["PAGE"][1], self.change))
        else:
            count_used(call, NAMED[self.page][1], self.change)


class NoteBlocked(Phrase):
    """bepoch := td_epoch, after the entry is blocked, without the epoch's or any PAMT lock."""

    def emit(self, call: Call):
        call.row(Op.LOAD, base=R.TD, offset=call.td("epoch") + epoch.EPOCH_BYTE, width=32,
                 register=R.BEPOCH, text="td_epoch")
        call.row(Op.STORE, base=R.PAMT, offset=PAMT_BEPOCH, source=R.BEPOCH, text="bepoch")


def each(call: Call, start: R, stride: int, write, offset: int = 0, count: int = ENTRIES) -> None:
    """Rows of `write()` with CURSOR at each of `count` words from `start` on (which may be CURSOR itself)."""
    again, done = call.fresh("each"), call.fresh("all")
    call.row(Op.LET, register=R.CURSOR, source=start, value=offset)
    call.row(Op.LET, register=R.INDEX)
    call.listing.label(again)
    write()
    call.row(Op.LET, register=R.CURSOR, source=R.CURSOR, value=stride)
    call.row(Op.LET, register=R.INDEX, source=R.INDEX, value=1)
    call.row(Op.TEST, register=R.INDEX, mask=-1, match=count, next=done, otherwise=again, text=f"all {count}")
    call.listing.label(done)


class ChildrenFree(Phrase):
    """All 512 entries in the SEPT page must be FREE; in some releases REMOVED will do."""

    def emit(self, call: Call):
        free = ("FREE", "REMOVED") if call.release.removed_children else ("FREE",)
        not_free = call.fail("TDX_EPT_PAGE_NOT_FREE", "RCX")

        def check():
            call.row(Op.LOAD, base=R.CURSOR, register=R.OLD, text="an entry in it")
            call.row(Op.STATE, register=R.OLD, source=R.OLD)
            call.row(Op.IN, source=R.OLD, mask=states(*free), otherwise=not_free, text=" ".join(free))

        each(call, R.CHILDREN, 8, check)


class PagesBelowFree(Phrase):
    """A large page that is added must be free in each of its 512 parts.  tdh_mem_page_aug.c

    With Dynamic PAMT none of them may hold PAMT entries: without a pair none can be in use.
    """

    leveled = True

    def emit(self, call: Call):
        wrong = call.fail("TDX_PAGE_METADATA_INCORRECT", "R8") if call.level else ""
        if call.level and call.dynamic_pamt:
            each(call, NAMED["PAGE"][call.level - 1], PAMT_BYTES,
                 lambda: check_no_pamt_page(call, R.CURSOR, "a part", wrong))
        elif call.level:
            each(call, NAMED["PAGE"][call.level - 1], PAMT_BYTES, lambda: call.row(
                Op.LOAD, base=R.CURSOR, offset=PAMT_TYPE, width=8, mask=-1, match=PT_NDA,
                otherwise=wrong, text="type of a part"))


class Advance(Phrase):
    """td_epoch goes up, unless a vCPU still runs that entered before the current epoch."""

    def emit(self, call: Call):
        call.row(Op.LOAD, base=R.TD, offset=call.td("epoch"), register=R.EPOCH_WORD,
                 text="td_epoch and counts")
        call.row(Op.EPOCH_PREVIOUS, register=R.EPOCH_WORD,
                 otherwise=call.fail("TDX_PREVIOUS_TLB_EPOCH_BUSY"), text="none of the epoch before")
        call.work(call.name + "_ns")
        call.row(Op.INDEX, register=R.OLD, source=R.EPOCH_WORD, width=epoch.EPOCH_SHIFT, mask=-1, match=1)
        call.row(Op.STORE, base=R.TD, offset=call.td("epoch") + epoch.EPOCH_BYTE, width=32,
                 source=R.OLD, value=1, text="td_epoch")
