"""Phrases of Dynamic PAMT: 2 MiB get a pair of pages for their PAMT entries, or lose it.

    TDH.PHYMEM.PAMT.ADD     a pair for 2 MiB of which nothing is in use
    TDH.PHYMEM.PAMT.REMOVE  the pair back, if none of the 512 pages is in use
    TDH.MEM.PAGE.DEMOTE     a pair for the 512 parts of a 2 MiB page; PROMOTE gives it back (large.py)

Nobody may hold the PAMT entry of a page of the 2 MiB meanwhile, so the 2 MiB's own is held exclusively.

Abstracted away: what an address must be like (aligned, without HKID, in a TDMR); where the entries lie: those of
2 MiB have one place here, whichever pages hold them.
"""


from harness.memory.layout import ENTRIES, PAMT_BEPOCH, PAMT_BIT, PAMT_BYTES, PAMT_COUNT, PAMT_LOCK, PAMT_PAIR, PAMT_TYPE
from harness.protocol.assemble import Held
from harness.protocol.call import SHARED, Call
from harness.protocol.phrases.locking import NAMED, SIZE_NAMES
from harness.protocol.phrases.pages import each
from harness.protocol.phrases.phrase import Phrase
from harness.protocol.releases import DEFAULT, Release
from kernels.ops import Op, Register as R
from kernels.words import PT_NDA, PT_PAMT, status

NAMES = ("PAIR0", "PAIR1")
TYPE_SHIFT = 8 * PAMT_TYPE
LOW = (1 << 32) - 1


class Enabled(Phrase):
    """The module has been configured for Dynamic PAMT, or the call ends here."""

    def emit(self, call: Call):
        if not call.dynamic_pamt:
            call.row(Op.LET, next=call.fail("TDX_OPERAND_INVALID"))


class GivePair(Phrase):
    """The two pages that the caller names become the pair of PAGE's 2 MiB; its own PAMT entry is held exclusively.

    operands   that name the two pages
    parts      type of the 512 PAMT entries, and how many of them are thus in use
    own        whether pages of the 2 MiB themselves will do: they have no PAMT entry to walk to
    node       register with the 2 MiB's PAMT entry
    first      register with the PAMT entry of the first of the 512 pages
    Each page is walked to, as far down as there are PAMT entries, and held shared until the pair is there.
    """

    operands: tuple[str, str]
    parts: int
    used: int
    own: bool
    node: R
    first: R

    def locks(self, level: int = 0, release: Release = DEFAULT):
        return tuple(lock for name in NAMES for lock in self._walk(name)) if release.dynamic_pamt else ()

    def operand_of(self, lock: Held) -> str:
        """Of the BUSY that one of its locks answers."""
        return self.operands[NAMES.index(lock.resource.partition(".")[0])]

    @staticmethod
    def _walk(name: str) -> tuple[Held, ...]:
        return tuple(Held(name + SIZE_NAMES[size], SHARED, "hp", NAMED[name][size], PAMT_LOCK) for size in (2, 1, 0))

    def emit(self, call: Call):
        if not call.dynamic_pamt:
            return
        done = call.fresh("paired")
        self._reach(call, 0, done)
        call.listing.label(done)

    def _reach(self, call: Call, which: int, done: str):
        """The walk to one of the pages, then to the other one, then what is to be done; written for each way down."""
        if which == len(NAMES):
            self._give(call, done)
            return
        held, name, busy = call.listing.held, NAMES[which], status("TDX_OPERAND_BUSY", self.operands[which])
        elsewhere, own = call.fresh("elsewhere"), call.fresh("own")
        if self.own:
            call.row(Op.TEST, register=NAMED[name][1], source=self.node, mask=-1, next=own, otherwise=elsewhere,
                     text=f"{name} lies in the 2 MiB")
            with call.listing.aside(own):
                self._reach(call, which + 1, done)
            call.listing.label(elsewhere)
        *above, last = self._walk(name)
        for lock in above:
            call.take(lock, busy)
            size, stopped, found = NAMED[name].index(lock.base), call.fresh("stopped"), call.fresh("found")
            down = PT_PAMT if size == 1 else PT_NDA
            call.row(Op.LOAD, base=lock.base, offset=PAMT_TYPE, width=8, register=R.OLD, mask=-1, match=down,
                     otherwise=stopped, text=f"type of {lock.resource}")
            with call.listing.aside(stopped):
                call.row(Op.TEST, register=R.OLD, mask=-1, match=PT_NDA, next=found,
                         otherwise=call.fail("TDX_PAGE_NOT_FREE", self.operands[which]), text="not in use")
                call.listing.label(found)
                self._reach(call, which + 1, done)
        call.take(last, busy)
        call.row(Op.LOAD, base=last.base, offset=PAMT_TYPE, width=8, mask=-1, match=PT_NDA,
                 otherwise=call.fail("TDX_PAGE_NOT_FREE", self.operands[which]), text=f"type of {name}")
        self._reach(call, which + 1, done)
        call.listing.held = held

    def _give(self, call: Call, done: str):
        first, second = (NAMED[name][0] for name in NAMES)
        self._take_bit(call, 0, call.fail("TDX_PAGE_NOT_FREE", self.operands[0]))
        not_free = call.fail("TDX_PAGE_NOT_FREE", self.operands[1])
        back = call.fresh("back")
        self._take_bit(call, 1, back)
        with call.listing.aside(back):
            drop_bit(call, first)
            call.row(Op.LET, next=not_free)
        if not _timed(call):
            each(call, self.first, PAMT_BYTES, lambda: self._fill(call))
        write_pair(call, self.node, first, second)
        call.row(Op.STORE, base=self.node, offset=PAMT_COUNT, width=16, value=self.used, text="pages in use")
        call.row(Op.STORE, base=self.node, offset=PAMT_TYPE, width=8, value=PT_PAMT, text="type of the 2 MiB")
        for lock in reversed(call.listing.held):
            if lock.resource.startswith(NAMES):
                call.drop(lock)
        call.listing.jump(done)

    @staticmethod
    def _take_bit(call: Call, which: int, otherwise: str):
        call.row(Op.EXCHANGE, base=NAMED[NAMES[which]][0], offset=PAMT_BIT, width=8, register=R.OLD, value=1, mask=-1,
                 otherwise=otherwise, text=f"{NAMES[which]} holds PAMT entries")

    def _fill(self, call: Call):
        call.row(Op.STORE, base=R.CURSOR, width=32, value=self.parts << TYPE_SHIFT, text="a new PAMT entry")
        call.row(Op.STORE, base=R.CURSOR, offset=PAMT_BEPOCH, text="bepoch")


class TakePair(Phrase):
    """None of the 512 pages of PAGE's 2 MiB may be in use: then the pair is taken away from them.

    Only types are looked at; a count that says otherwise is against all that the module knows.
    """

    def emit(self, call: Call):
        node, half = NAMED["PAGE"][1], ENTRIES // 2
        if _timed(call):
            call.row(Op.LOAD, base=node, offset=PAMT_COUNT, width=16, mask=-1,
                     otherwise=call.fail("TDX_PAMT_PAGE_NOT_EMPTY", 0), text="pages in use")
        for part in range(2) if not _timed(call, spend=False) else ():
            not_empty = call.fail("TDX_PAMT_PAGE_NOT_EMPTY", part)
            each(call, NAMED["PAGE"][0], PAMT_BYTES, lambda: call.row(
                Op.LOAD, base=R.CURSOR, offset=PAMT_TYPE, width=8, mask=-1, match=PT_NDA, otherwise=not_empty,
                text="type of a page"), offset=part * half * PAMT_BYTES, count=half)
        miscounted = call.fresh("miscounted")
        call.row(Op.LOAD, base=node, offset=PAMT_COUNT, width=16, mask=-1, otherwise=miscounted, text="pages in use")
        with call.listing.aside(miscounted):
            call.halt()
        read_pair(call, node)
        for name in NAMES:
            drop_bit(call, NAMED[name][0])
        call.row(Op.STORE, base=node, offset=PAMT_TYPE, width=8, value=PT_NDA, text="type of the 2 MiB")


def _timed(call: Call, spend: bool = True) -> bool:
    """Whether a config says how long PAMT.ADD or REMOVE takes (costs_ns), which is then spent in place of going through
    512 PAMT entries one by one: their types stay as they are, and the count says whether a page is in use."""
    timed = call.name in ("tdh_phymem_pamt_add", "tdh_phymem_pamt_remove") and f"{call.name}_ns" in call.options.costs
    if timed and spend:
        call.work(f"{call.name}_ns")
    return timed


def drop_bit(call: Call, page: R) -> None:
    """A page holds no PAMT entries any more."""
    call.row(Op.EXCHANGE, base=page, offset=PAMT_BIT, width=8, register=R.OLD, text="holds no PAMT entries")


def write_pair(call: Call, node: R, first: R, second: R) -> None:
    """Which pages they are, in one word: two distances from the node, in PAMT entries."""
    shift = PAMT_BYTES.bit_length() - 1
    call.row(Op.INDEX, register=R.OLD, base=second, source=node, mask=-1, match=-1, text="how far the second page is")
    call.row(Op.INDEX, register=R.NEW, source=R.OLD, width=shift, mask=-1, match=1 << 32)
    call.row(Op.INDEX, register=R.OLD, base=first, source=node, mask=-1, match=-1, text="how far the first page is")
    call.row(Op.INDEX, register=R.NEW, base=R.NEW, source=R.OLD, width=shift, mask=LOW, match=1)
    call.row(Op.STORE, base=node, offset=PAMT_PAIR, source=R.NEW, text="pages of the pair")


def read_pair(call: Call, node: R) -> None:
    """PAIR0_4K, PAIR1_4K = the pages of a pair."""
    call.row(Op.LOAD, base=node, offset=PAMT_PAIR, register=R.OLD, text="pages of the pair")
    call.row(Op.INDEX, register=R.PAIR1_4K, base=node, source=R.OLD, width=32, mask=-1, match=PAMT_BYTES)
    call.row(Op.INDEX, register=R.OLD, source=R.OLD, mask=-1, match=1 << 32)
    call.row(Op.INDEX, register=R.PAIR0_4K, base=node, source=R.OLD, width=32, mask=-1, match=PAMT_BYTES)

