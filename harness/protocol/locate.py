"""Registers that a call finds set: where the words of a page, of the entries above it and of its pair are.

`locate` is written once before a call, by whoever makes it; `write_walk` and `locate_entries` also inside one.
"""

from harness.memory.layout import HOST, PAIRS, PAMT_BYTES, Layout
from harness.protocol.assemble import Listing
from harness.protocol.frames import entries_around, frame_of_pairs_page, home_of_now, hosts_words
from kernels.ops import LEVELS, Op, Register as R

SIZES = (("4k", 0, R.TARGET_4K), ("2m", 9, R.TARGET_2M), ("1g", 18, R.TARGET_1G))


def locate(listing: Listing, layout: Layout, level: int, leaf: bool | None = None, comes_back: bool = False) -> None:
    """Registers for PAGE: the entries above it, and the page that a call at `level` is about.

    leaf         whether that is a data page of the level's size; otherwise it is an SEPT page (default: a
                 data page at level 0, an SEPT page above)
    comes_back   whether a data page is taken from the host now: with a placement other than by_use, at another
                 address than the last time
    """
    locate_entries(listing, layout)
    index(listing, R.ENTRY, layout.at(f"sept.{level}"), 9 * level, 8, text="the entry")
    group = "data" if (level == 0 if leaf is None else leaf) else ("", "pt_pages", "pd_pages")[level]
    unit = 0 if group == "data" else 9 * level       # guest pages to pages of the group
    if level:
        index(listing, R.CHILDREN, layout.at(f"sept.{level - 1}"), 9 * level, 8 * 512,
              text="first entry in it")
    listing.row(Op.LET, register=R.LEVEL, value=level)
    if layout.frames:
        source = R.PAGE
        if comes_back and not layout.whole:
            home_of_now(listing, layout)
            source = R.TARGET_4K
        _locate_placed(listing, layout, group, source, unit, aligned=9 * level if group == "data" else 0)
        return
    first = 9 * level if group == "data" else 0      # a large page begins at a multiple of its size
    for size, shift, register in SIZES:
        own = max(shift, first)
        index(listing, register, layout.at(f"pamt_{size}.{group}"), unit + own, PAMT_BYTES << own - shift,
              text=f"PAMT {size.upper()} entry of the page")
    index(listing, R.HPA, layout.hpa(group), unit + first, 4096 << first, source=R.PAGE, base=R.TD_HPA,
          text="its physical address")


def _locate_placed(listing: Listing, layout: Layout, group: str, source: R, unit: int = 0, number: int = 0, aligned: int = 0) -> None:
    """HPA and the TARGET registers of a page, number (source >> unit) + number of its group, that a placement says.

    aligned   of a large page: log2 of how many pages it has
    """
    hosts_words(listing, layout, (R.TARGET_2M, R.TARGET_1G), group, source, unit, number)
    index(listing, R.HPA, layout.hpa(group, number), unit + aligned, 4096 << aligned, source=source, base=R.TD_HPA,
          text="its physical address")
    index(listing, R.TARGET_4K, layout.at(f"pamt_4k.{group}", number), unit + aligned, PAMT_BYTES << aligned, source=source,
          text="PAMT 4K entry of the page")


def locate_entries(listing: Listing, layout: Layout) -> None:
    """Registers for PAGE: the SEPT entries that map it at each level."""
    for level, register in enumerate((R.ENTRY_PT, R.ENTRY_PD, R.ENTRY_PDPT)):
        index(listing, register, layout.at(f"sept.{level}"), 9 * level, 8, text=f"entry at level {level}")


def locate_page(listing: Listing, layout: Layout, group: str, number: int = 0, source: R = R.ZERO) -> None:
    """Registers for a page of another group, number `number` plus what is in `source`."""
    if layout.frames:
        _locate_placed(listing, layout, group, source, number=number)
        return
    for size, shift, register in SIZES:
        index(listing, register, layout.at(f"pamt_{size}.{group}") + (number >> shift) * PAMT_BYTES, shift,
              PAMT_BYTES, source=source, text=f"PAMT {size.upper()} entry of the page")
    index(listing, R.HPA, layout.hpa(group, number), 0, 4096, source=source, base=R.TD_HPA,
          text="its physical address")


PAIR_REGISTERS = ((R.PAIR0_4K, R.PAIR0_2M, R.PAIR0_1G), (R.PAIR1_4K, R.PAIR1_2M, R.PAIR1_1G))


def locate_pair(listing: Listing, layout: Layout) -> None:
    """Registers for the pair of pages that the host keeps for the 2 MiB of data around PAGE (Layout.ranges)."""
    if layout.frames:
        locate_placed_pair(listing, layout, pool=False)
        return
    for number, registers in enumerate(PAIR_REGISTERS):
        for register, size, shift in zip(registers, ("4k", "2m", "1g"), (0, 9, 18)):
            # Two for each 2 MiB of data: of 2^9 such pages, one 2M entry.
            index(listing, register, layout.at(f"pamt_{size}.{PAIRS}") + (0 if shift else number * PAMT_BYTES),
                  9 + (shift and shift - 1), PAMT_BYTES if shift else 2 * PAMT_BYTES,
                  text=f"PAMT {size.upper()} entry of page {number} of its pair")


def locate_placed_pair(listing: Listing, layout: Layout, pool: bool, around: R = R.TARGET_2M) -> None:
    """The same for the 2 MiB that have the PAMT entry at `around`; with `pool`, in 2 MiB that have no other pages."""
    frames = layout.frames
    two_m, pages = layout.at(f"pamt_2m.{HOST}"), layout.at(f"pamt_4k.{HOST}")
    for number, (four_k, two, one) in enumerate(PAIR_REGISTERS):
        listing.row(Op.INDEX, register=four_k, offset=pages + number * PAMT_BYTES - 2 * two_m, source=around, mask=-1,
                    match=2, text=f"PAMT 4K entry of page {number} of its pair")
        if pool:
            listing.row(Op.INDEX, register=one, offset=-(pages // PAMT_BYTES), source=four_k, width=4, mask=-1, match=1,
                        text="its place in the pool")
            listing.row(Op.INDEX, register=two, offset=two_m + frames.ranges * PAMT_BYTES, source=one, width=9, mask=-1,
                        match=PAMT_BYTES, text="PAMT 2M entry around it")
            listing.row(Op.LET, register=one, value=layout.at(f"pamt_1g.{HOST}", layout.by_name[f"pamt_1g.{HOST}"].count - 1))
            continue
        frame_of_pairs_page(listing, layout, one, four_k)
        entries_around(listing, layout, two, one, single=True)


def locate_parts_pair(listing: Listing, layout: Layout, pool: bool = False) -> None:
    """The same, with a placement, for the 2 MiB around PAGE that are one page and are to be split; OWN_SIZE = their PAMT entry."""
    hosts_words(listing, layout, (R.OWN_SIZE, R.OWN_SIZE), "data", R.PAGE)
    locate_placed_pair(listing, layout, pool, R.OWN_SIZE)


def write_walk(listing: Listing, stopped: str) -> None:
    """COPY = the entry at LEVEL, read without its lock; to `stopped` where a walk cannot go on.

    sept_manager.c, secure_ept_walk: an entry above LEVEL must have access bits and be no leaf.
    """
    found = listing.fresh("found")
    for level in reversed(range(LEVELS)):
        listing.row(Op.WALK, base=(R.ENTRY_PT, R.ENTRY_PD, R.ENTRY_PDPT)[level], value=level, otherwise=stopped,
                    priority=found, text=f"SEPT, level {level}")
    listing.label(found)


def index(listing, register, start, shift, stride, source=R.PAGE, text="", base=R.TD):
    """register = base + start + (source >> shift) * stride

    `start` is a place in the first TD's block; with base TD, the default, it is found in the actor's own.
    """
    listing.row(Op.INDEX, register=register, base=base, offset=start, source=source, width=shift, mask=-1,
                match=stride, text=text)
