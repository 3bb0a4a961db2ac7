"""Rows that find the PAMT entries of the host's 2 MiB and 1 GiB around a page, where a placement says in which it lies.

memory/placement.py says how frames are numbered; the words here are its formulas, and `frame`, which says how far a guest page's
frame is from the first one that it had.
"""

from harness.memory.layout import ENTRIES, HOST, LINE, PAMT_BYTES, PAMT_TYPE, SIZE_SHIFTS, TD_HPA_STEP, Layout
from harness.memory.placement import SLOTS, WholeFrames
from harness.protocol.assemble import Listing
from kernels.ops import Op, Register as R

TD_SHIFT = TD_HPA_STEP.bit_length() - 1          # of TD_HPA: which TD it is


def home_of_now(listing: Listing, layout: Layout) -> None:
    """TARGET_4K = the number of the one of PAGE's two homes that it has now (memory/placement.py)."""
    listing.row(Op.INDEX, register=R.TARGET_4K, base=R.TD, offset=layout.at("generation"), source=R.PAGE, mask=-1, match=LINE)
    listing.row(Op.LOAD, base=R.TARGET_4K, register=R.TARGET_4K, text="page's generation")
    listing.row(Op.INDEX, register=R.TARGET_4K, base=R.PAGE, source=R.TARGET_4K, mask=1, match=layout.data_frames,
                text="which of its two homes")


def hosts_words(listing: Listing, layout: Layout, registers: tuple[R, R], group: str, source: R, unit: int = 0,
                number: int = 0, mask: int = -1) -> None:
    """Registers for the PAMT 2M and 1G entries around a page, number ((source >> unit) & mask) + number of its group.

    One register twice: the 2M entry only.
    """
    two_m, one_g = registers
    frames, moved, data = layout.frames, R.ZERO, group == "data"
    if layout.passing and data:
        moved = one_g
        listing.row(Op.INDEX, register=one_g, base=R.TD, offset=layout.at("frame", number), source=source, width=unit, mask=mask, match=8)
        listing.row(Op.LOAD, base=one_g, register=one_g, text="how far its frame is from its first")
    if isinstance(frames, WholeFrames):
        first, each, step = (frames.data, frames.data_each, 1) if data else (2 * frames.first[group], 2 * frames.each_td, 2)
    else:
        first, each, step = frames.first[group], frames.each_td, 1
    listing.row(Op.INDEX, register=one_g, base=moved, offset=first + step * number, source=R.TD_HPA, width=TD_SHIFT, mask=-1, match=each,
                text="first frame of the group")
    listing.row(Op.INDEX, register=one_g, base=one_g, source=source, width=unit, mask=mask, match=step, text="its frame")
    entries_around(listing, layout, two_m, one_g, single=not data)


def entries_around(listing: Listing, layout: Layout, two_m: R, one_g: R, single: bool) -> None:
    """The PAMT 2M and 1G entries around the frame that `one_g` numbers, before it is scattered.

    single   of a page that lies by itself, where others are in whole 2 MiB
    """
    frames, shift_of = layout.frames, dict(SIZE_SHIFTS)
    if frames.factor != 1 and (single or not layout.whole):
        listing.row(Op.INDEX, register=one_g, source=one_g, mask=-1, match=frames.factor, text="scattered")
    if isinstance(frames, WholeFrames):
        listing.row(Op.INDEX, register=one_g, source=one_g, width=9, mask=frames.small - 1 if single else -1, match=frames.factor,
                    text="its 2 MiB, scattered" if frames.factor != 1 else "its 2 MiB")
        shift_of = {size: shift - 9 for size, shift in SIZE_SHIFTS.items()}
    for register, size in ((two_m, "2m"), (one_g, "1g"))[:1 if two_m == one_g else 2]:
        listing.row(Op.INDEX, register=register, offset=layout.at(f"pamt_{size}.{HOST}"), source=one_g, width=shift_of[size],
                    mask=(1 << frames.bits - SIZE_SHIFTS[size]) - 1, match=PAMT_BYTES, text=f"PAMT {size.upper()} entry around the page")


def frame_of_pairs_page(listing: Listing, layout: Layout, register: R, four_k: R) -> None:
    """register = the frame, before it is scattered, of a page of a pair, from its PAMT 4K entry."""
    frames = layout.frames
    first, step = (1, 2) if isinstance(frames, WholeFrames) else (frames.pairs, 1)
    listing.row(Op.INDEX, register=register, offset=first - step * (layout.at(f"pamt_4k.{HOST}") // PAMT_BYTES), source=four_k,
                width=PAMT_BYTES.bit_length() - 1, mask=-1, match=step, text="its frame")


# --- what is given back passes on ----------------------------------------------------------------

def pass_on(listing: Listing, layout: Layout) -> None:
    """PAGE is given back: the frame of its home goes to the host, and the home gets the one that the host has in its place.

    OLD, NEW, CURSOR and the TARGET registers are lost.
    """
    if layout.whole:
        _pass_on_whole(listing, layout, "frame_slot", unit=0)
        listing.row(Op.STORE, base=R.CURSOR, source=R.OLD, text="frame of the page: the spare one")
        return
    frames = layout.frames
    home_of_now(listing, layout)
    # TARGET_1G = how far the slot's first frame is from the home's first one.
    listing.row(Op.INDEX, register=R.TARGET_1G, offset=frames.spare - frames.first["data"], source=R.TD_HPA,
                width=TD_SHIFT, mask=-1, match=-frames.each_td)
    listing.row(Op.INDEX, register=R.TARGET_1G, base=R.TARGET_1G, source=R.TARGET_4K, mask=-1, match=-1)
    listing.row(Op.INDEX, register=R.TARGET_1G, base=R.TARGET_1G, source=R.PAGE, mask=SLOTS - 1, match=1, text="from its frame to the slot's")
    listing.row(Op.INDEX, register=R.CURSOR, base=R.TD, offset=layout.at("frame"), source=R.TARGET_4K, mask=-1, match=8)
    listing.row(Op.LOAD, base=R.CURSOR, register=R.NEW, text="frame of the page")
    listing.row(Op.INDEX, register=R.NEW, base=R.NEW, source=R.TARGET_1G, mask=-1, match=-1)
    _exchange(listing, layout, "frame_slot", unit=0)
    listing.row(Op.INDEX, register=R.OLD, base=R.OLD, source=R.TARGET_1G, mask=-1, match=1)
    listing.row(Op.STORE, base=R.CURSOR, source=R.OLD, text="frame of the page: the spare one")


def pass_on_range(listing: Listing, layout: Layout) -> None:
    """The same of PAGE's 2 MiB, all 512 pages of them, with WholeFrames."""
    again, done = listing.fresh("frame.part"), listing.fresh("frame.parts")
    _pass_on_whole(listing, layout, "range_slot", unit=9)
    listing.row(Op.LET, register=R.NEW, source=R.CURSOR, value=8 * ENTRIES)
    listing.label(again)
    listing.row(Op.STORE, base=R.CURSOR, source=R.OLD, text="frame of a part: in the spare 2 MiB")
    listing.row(Op.LET, register=R.CURSOR, source=R.CURSOR, value=8)
    listing.row(Op.TEST, register=R.CURSOR, source=R.NEW, mask=-1, next=done, otherwise=again, text="all parts")
    listing.label(done)


def _pass_on_whole(listing: Listing, layout: Layout, slot: str, unit: int) -> None:
    """CURSOR = the word of PAGE's frame, or of that of the first page of its 2 MiB; OLD = what is to be written there."""
    frames, step = layout.frames, 1 << unit
    assert isinstance(frames, WholeFrames)
    listing.row(Op.INDEX, register=R.TARGET_1G, offset=frames.data, source=R.TD_HPA, width=TD_SHIFT, mask=-1, match=frames.data_each)
    listing.row(Op.INDEX, register=R.TARGET_1G, base=R.TARGET_1G, source=R.PAGE, width=unit, mask=-1, match=step, text="its first frame")
    listing.row(Op.INDEX, register=R.CURSOR, base=R.TD, offset=layout.at("frame"), source=R.PAGE, width=unit, mask=-1, match=8 * step)
    listing.row(Op.LOAD, base=R.CURSOR, register=R.NEW, text="frame of the page")
    listing.row(Op.INDEX, register=R.NEW, base=R.NEW, source=R.TARGET_1G, mask=-1, match=1)
    _exchange(listing, layout, slot, unit)
    listing.row(Op.INDEX, register=R.OLD, base=R.OLD, source=R.TARGET_1G, mask=-1, match=-1)


def _exchange(listing: Listing, layout: Layout, slot: str, unit: int) -> None:
    """The slot of PAGE, or of its 2 MiB, gets the frame in NEW; OLD = what it had."""
    again = listing.fresh("frame.slot")
    listing.row(Op.INDEX, register=R.TARGET_2M, offset=layout.at(slot), source=R.PAGE, width=unit, mask=layout.by_name[slot].count - 1, match=LINE,
                text="where the host keeps one")
    listing.label(again)
    listing.row(Op.LOAD, base=R.TARGET_2M, register=R.OLD, text="frame to spare")
    listing.row(Op.SWAP, base=R.TARGET_2M, register=R.OLD, source=R.NEW, otherwise=again, text="frame to spare: the page's")


def free_ranges(listing: Listing, layout: Layout) -> None:
    """The whole 2 MiB of a TD that begins anew are nobody's.  OLD, OWN_SIZE are lost."""
    again, done = listing.fresh("frame.frees"), listing.fresh("frame.freed")
    listing.row(Op.LET, register=R.OLD, value=layout.whole_from)
    listing.label(again)
    hosts_words(listing, layout, (R.OWN_SIZE, R.OWN_SIZE), "data", R.OLD)
    listing.row(Op.STORE, base=R.OWN_SIZE, offset=PAMT_TYPE, width=8, text="type of the 2 MiB")
    listing.row(Op.LET, register=R.OLD, source=R.OLD, value=ENTRIES)
    listing.row(Op.TEST, register=R.OLD, mask=-1, match=layout.pages, next=done, otherwise=again, text="all of them")
    listing.label(done)
