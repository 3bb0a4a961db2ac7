"""Phrases about large pages: 512 pages merged into one, one split into 512, a page moved.

PROMOTE merges what the entries of an SEPT page map and gives that page back; DEMOTE does the reverse.
Both also turn the pages' PAMT entries around, under the large one's lock, which they take and drop
within; with Dynamic PAMT DEMOTE is given the pair of pages that those of the parts will lie in, and
PROMOTE gives it back.  Between PROMOTE and the next use of the SEPT page nobody can reach its entries; the model
leaves them FREE there, so that SEPT.ADD, which fills the page in the module, need not.

Abstracted away: 1 GiB pages work the same way one level up, but no flow makes them; L2 SEPT pages.
"""

from typing import ClassVar

from harness.memory.layout import ENTRIES, PAMT_BEPOCH, PAMT_BYTES, PAMT_LOCK, PAMT_TYPE
from harness.protocol.assemble import Held
from harness.protocol.call import EXCLUSIVE, Call
from harness.protocol.phrases.locking import NAMED
from harness.protocol.phrases.pages import each, large_entry, page_mask, write_entry
from harness.protocol.phrases.pairs import NAMES, GivePair, drop_bit, read_pair
from harness.protocol.phrases.phrase import Phrase
from harness.protocol.releases import DEFAULT, Release
from kernels.ops import Op, Register as R
from kernels.words import ACCESSED, DIRTY, PAIR_USED_MAX, PT_NDA, PT_PAMT, PT_REG, STATE, TDEL, TDHP, states, status

LARGE = Held("PAMT large page", EXCLUSIVE, "hp", R.OWN_SIZE, PAMT_LOCK)
PAIR = GivePair(("R12", "R13"), PT_REG, PAIR_USED_MAX, own=False, node=R.OWN_SIZE, first=R.CURSOR)


def _turn_pamt(call: Call, entry: R, large: int, parts: int, clear_bepoch: bool) -> None:
    """Types of the PAMT entries of a large page and of its 512 parts; `entry` maps it, or the first of them.

    With Dynamic PAMT the 2 MiB lose their pair, or get one.  pamt_manager.c, pamt_promote and pamt_demote
    """
    above = PT_PAMT if call.dynamic_pamt else PT_NDA
    part = ("4k", "2m")[call.level - 1]
    large_entry(call, R.OWN_SIZE, entry, "PAMT entry of the large page")
    halts = call.fresh("halts")
    with call.listing.aside(halts):
        call.halt()
    call.row(Op.LOAD, base=R.OWN_SIZE, offset=PAMT_TYPE, width=8, mask=-1, match=above if large == PT_REG else PT_REG,
             otherwise=halts, text="type of the large page")
    lock = call.take(LARGE, status("TDX_OPERAND_BUSY", Merged.operand))
    call.row(Op.INDEX, register=R.CURSOR, base=R.TD, offset=call.td(f"pamt_{part}.data"), source=entry,
             width=12 + 9 * (call.level - 1), mask=(1 << 28) - 1 >> 9 * (call.level - 1), match=PAMT_BYTES,
             text="PAMT entry of its first part")

    if call.dynamic_pamt and parts == PT_REG:
        PAIR.emit(call)
        call.drop(lock)
        return
    if call.dynamic_pamt:
        call.row(Op.LOAD, base=R.CURSOR, offset=PAMT_TYPE, width=8, register=R.OLD, text="type of its first part")
        call.row(Op.STORE, base=R.OWN_SIZE, offset=PAMT_TYPE, width=8, source=R.OLD, text="type of the large page")
        read_pair(call, R.OWN_SIZE)
        call.row(Op.STORE, base=R.OWN_SIZE, offset=PAMT_BEPOCH, text="bepoch")
        for name in NAMES:
            drop_bit(call, NAMED[name][0])
        call.drop(lock)
        return
    if parts == PT_NDA:
        halts = call.fresh("halts")
        with call.listing.aside(halts):
            call.halt()

    def turn():
        if parts == PT_NDA:
            call.row(Op.LOAD, base=R.CURSOR, offset=PAMT_TYPE, width=8, mask=-1, match=large, otherwise=halts,
                     text="type of a part: all of one")
        call.row(Op.STORE, base=R.CURSOR, offset=PAMT_TYPE, width=8, value=parts, text="type of a part")
        if clear_bepoch:
            call.row(Op.STORE, base=R.CURSOR, offset=PAMT_BEPOCH, text="bepoch")

    each(call, R.CURSOR, PAMT_BYTES, turn)
    call.row(Op.STORE, base=R.OWN_SIZE, offset=PAMT_TYPE, width=8, value=large, text="type of the large page")
    call.drop(lock)


class Merge(Phrase):
    """PROMOTE's check of the 512 entries, then the PAMT entries, then the entry itself.

    All must be leaves in one state, of pages that follow each other; up to 1.5.16 each entry is locked
    on the way, from 1.5.20 on they are compared without TDHP, A and D.  The new word is the first entry's,
    TDEL set.  tdh_mem_page_promote.c (is_sept_page_valid_for_merge)
    """

    operand: ClassVar[str] = "RCX"

    def locks(self, level: int = 0, release: Release = DEFAULT):
        return (Held("CHILD_ENTRIES", EXCLUSIVE, "entries", R.CURSOR),) if release.promote_children else ()

    def emit(self, call: Call):
        listing, child = call.listing, 4096 << 9 * (call.level - 1)
        again, first, other, same, done, lost = (
            call.fresh(part) for part in ("entry", "first", "other", "same", "merged", "lost"))
        call.row(Op.LET, register=R.CURSOR, source=R.CHILDREN)
        call.row(Op.LET, register=R.INDEX)
        for lock in self.locks(release=call.release):
            listing.hold(lock)
        wrong = call.fail("TDX_EPT_INVALID_PROMOTE_CONDITIONS", "RCX")
        listing.label(again)
        if call.release.promote_children:
            place = {"base": R.CURSOR, "value": call.primitive, "text": "an entry in it"}
            call.row(Op.ENTRY_TAKE, otherwise=lost, **place)
            with listing.aside(lost):
                call.request_priority(place)
                call.answer_busy(status("TDX_OPERAND_BUSY", self.operand), place)
            call.clear_priority(place)
        call.row(Op.LET, register=R.INDEX, source=R.INDEX, value=1)
        call.row(Op.LOAD, base=R.CURSOR, register=R.OLD, text="an entry in it")
        if call.release.promote_masks:
            call.row(Op.MERGE, register=R.OLD, source=R.OLD, mask=~(TDHP | ACCESSED | DIRTY), text="without TDHP, A, D")
        call.row(Op.TEST, register=R.INDEX, mask=-1, match=1, next=first, otherwise=other, text="the first?")
        with listing.aside(first):
            call.row(Op.TEST, register=R.OLD, otherwise=wrong, text="aligned",
                     mask=(1 << 12 + 9 * call.level) - (1 << 12 + 9 * (call.level - 1)))
            call.row(Op.STATE, register=R.NEW, source=R.OLD)
            call.row(Op.IN, source=R.NEW, mask=states("MAPPED", "PENDING"), otherwise=wrong,
                     text="MAPPED PENDING")
            call.row(Op.LET, register=R.FIRST, source=R.OLD)
            call.row(Op.LET, register=R.UNLOCKED, source=R.OLD, value=child, next=same)
        listing.label(other)
        call.row(Op.TEST, register=R.OLD, source=R.UNLOCKED, mask=-1, otherwise=wrong, text="the one that follows")
        call.row(Op.LET, register=R.UNLOCKED, source=R.UNLOCKED, value=child)
        listing.label(same)
        call.row(Op.LET, register=R.CURSOR, source=R.CURSOR, value=8)
        call.row(Op.TEST, register=R.INDEX, mask=-1, match=ENTRIES, next=done, otherwise=again, text="all 512")
        listing.label(done)


class Merged(Phrase):
    """The commit of PROMOTE.  tdh_mem_page_promote.c"""

    operand: ClassVar[str] = "RCX"

    def locks(self, level: int = 0, release: Release = DEFAULT):
        return (LARGE,)

    def emit(self, call: Call):
        _turn_pamt(call, R.FIRST, PT_REG, PT_NDA, clear_bepoch=False)
        if call.release.promote_children:
            call.row(Op.LOAD, base=R.CHILDREN, register=R.FIRST, text="the first entry")
        call.row(Op.MERGE, register=R.NEW, value=TDEL, source=R.FIRST, mask=-1, text="as the first entry")
        write_entry(call, releases=False)
        for lock in Merge().locks(release=call.release):
            call.listing.release(lock.resource)          # the page with these entries is given back, locks and all
        each(call, R.CHILDREN, 8, lambda: call.row(
            Op.STORE, base=R.CURSOR, value=STATE["FREE"].word(), text="an entry in it"))


class Split(Phrase):
    """The commit of DEMOTE but for the entry: 512 unblocked entries in the new SEPT page, PAMT entries."""

    def emit(self, call: Call):
        child = 4096 << 9 * (call.level - 1)
        pending, fill = call.fresh("pending"), call.fresh("fill")
        call.row(Op.IN, source=R.STATE, mask=states("PENDING", "PEND_BLOCKED"), next=pending, otherwise=fill,
                 text="PENDING PEND_BLOCKED")
        mask = page_mask(call.level) | TDHP
        filled = call.fresh("filled")
        with call.listing.aside(pending):
            call.row(Op.MERGE, register=R.FIRST, value=STATE["PENDING"].word(), source=R.COPY, mask=mask,
                     next=filled, text="as PENDING")
        call.listing.label(fill)
        call.row(Op.MERGE, register=R.FIRST, value=STATE["MAPPED"].word(access=call.release.access), source=R.COPY,
                 mask=mask, text="as MAPPED")
        call.listing.label(filled)
        call.row(Op.LET, register=R.NEW, source=R.FIRST)

        def write():
            call.row(Op.STORE, base=R.CURSOR, source=R.NEW, text="an entry in it")
            call.row(Op.LET, register=R.NEW, source=R.NEW, value=child)

        each(call, R.CHILDREN, 8, write)


class SplitPamt(Phrase):
    """The split page's PAMT entry and those of its parts."""

    operand: ClassVar[str] = "RCX"

    def locks(self, level: int = 0, release: Release = DEFAULT):
        return (LARGE, *PAIR.locks(level, release))

    def operand_of(self, lock: Held) -> str:
        return self.operand if lock == LARGE else PAIR.operand_of(lock)

    def emit(self, call: Call):
        _turn_pamt(call, R.COPY, PT_NDA, PT_REG, clear_bepoch=True)
