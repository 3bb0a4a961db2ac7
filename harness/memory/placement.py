"""Where physical pages lie: which 2 MiB and which 1 GiB of the host each page of each TD is in.

    by_use    pages of one use of one TD lie together, far from all others: no 2 MiB are shared
    packed    one after the other, TD after TD, as by an allocator that has just begun: 2 MiB at the borders are shared
    random    scattered over all of the host's 2 MiB, as by one that has run for long: uses and TDs share them all

In the module the lock words of the 2 MiB and of the 1 GiB around a page are its PAMT 2M and 1G entries.  With a
placement other than by_use they lie in one table for the host (pamt_2m.host, pamt_1g.host), found by the page's
*frame*: the frames of a TD follow each other, by group and number.  Scattered, the number of a frame is
multiplied by an odd constant modulo a power of two, which is one to one and leaves no two neighbours in one 2 MiB.
A page's own PAMT entry stays where by_use has it: whatever the placement, nobody shares it.

A guest page has two homes: addresses, with a PAMT 4K entry each, that it has in turn.  Which it gets says the number of
times that it has been taken back.  Which frame a home lies in is the host's to say:

    a scenario   the home's own: a page comes back at the other of its two addresses, so in other 2 MiB
    a run        frames pass on, between pages and between TDs: a frame that is given back goes to the host, which gives the
                 home another one in its place, where the page will be the next time but one.  The host has SLOTS frames to
                 spare, one for each page number modulo SLOTS: it is the frame that the last such page, of whichever TD, has
                 left.  (`frame` of a TD, `frame_slot` of the host: words that say how far a home's frame, or a slot's, is
                 from the one that it began with.)

Where KVM maps 2 MiB as one page, guest memory comes in whole 2 MiB of the host (`WholeFrames`), as from a pool of such pages: a
guest's 2 MiB have 2 MiB of their own, mapped as one page or as 512, which lie there in order and stay there; all other pages
lie in the rest, the pages of pairs among them.  In a run a TD's first 2 MiB are of single pages from there too, as what
begins or ends in the middle of 2 MiB is.  A guest page has one home then, and what passes on is a single page, or 2 MiB that
are taken back as one page: they come to another TD, which may map them as 512 pages.

Abstracted away: the allocator's own lists and locks (per processor, in Linux: what is given back last is given out
first, without a word that processors share), so a slot costs a line and no more; control and SEPT pages keep their
frames; the module's own linear table, in which neighbours' 4K entries share a cache line, is as in by_use.
"""

from typing import NamedTuple

import numpy as np

PAGES_PER_MIB = 256               # of 4 KiB
BY_USE, PACKED, RANDOM = "by_use", "packed", "random"
PLACEMENTS = (BY_USE, PACKED, RANDOM)
SLOTS = 64                       # frames to spare of a host on which frames pass on
RANGE_SLOTS = 8                  # the same of 2 MiB, where those of guests are whole ones of the host
SINGLE_RANGES = {PACKED: 4, RANDOM: 64}    # 2 MiB for single pages there, at least: scattered, so many that some hold no page that stays
SCATTER = 0x9E37_79B1            # odd; 2**32 divided by the golden ratio: consecutive multiples lie as far apart as can be


class Frames(NamedTuple):
    """The host's frames.

    first      of each group of pages: its first frame, within a TD's
    each_td    frames of a TD
    spare      the first of the frames that the host has to spare; none, if they do not pass on
    bits       the host has 2**bits of them
    factor     by which a frame's number is multiplied
    pairs      the first of the frames for PAMT page pairs, two for each 2 MiB (Dynamic PAMT): the 2 MiB's pair has its number
    """

    first: dict[str, int]
    each_td: int
    spare: int
    bits: int
    factor: int
    pairs: int

    @property
    def ranges(self) -> int:
        """How many 2 MiB the host has."""
        return 1 << self.bits - 9

    def of(self, group: str, number, td: int = 0, moved=0):
        """The frame of a page (or, of an array of numbers, of each), `moved` away from the one that it began with."""
        return (td * self.each_td + self.first[group] + number + moved) * self.factor & (1 << self.bits) - 1


class WholeFrames(NamedTuple):
    """The host's frames, where the 2 MiB of a guest are 2 MiB of the host.

    first      of each group of single pages: its first place, within a TD's
    each_td    places of a TD
    spare      the first of the places that the host has to spare
    small      2 MiB for single pages, a power of two: the first ones, before 2 MiB are scattered
    whole      2 MiB of guest memory of a TD; behind those of all TDs the host has RANGE_SLOTS more to spare
    bits       the host has 2**bits frames
    factor     by which the numbers of single pages' frames are multiplied, and those of 2 MiB

    Single pages lie in every second frame of theirs, the pages of pairs in the others: two for each 2 MiB of the host.
    """

    first: dict[str, int]
    each_td: int
    spare: int
    small: int
    whole: int
    bits: int
    factor: int

    @property
    def ranges(self) -> int:
        """How many 2 MiB the host has."""
        return 1 << self.bits - 9

    @property
    def data(self) -> int:
        """Where the first TD's guest memory begins, before 2 MiB are scattered; another TD's follows `data_each` frames behind."""
        return self.small << 9

    @property
    def data_each(self) -> int:
        return self.whole << 9

    def spare_ranges(self, tds: int) -> np.ndarray:
        """The 2 MiB to spare, by their first frame."""
        return self.data + tds * self.data_each + (np.arange(RANGE_SLOTS) << 9)

    def single(self, place):
        """The frame at a place for single pages, before 2 MiB are scattered."""
        return 2 * place * self.factor & (self.small << 9) - 1

    def of_pairs(self) -> np.ndarray:
        """The frames of the pages of pairs: of each 2 MiB of the host, two."""
        return self.scattered((2 * np.arange(2 * self.ranges) + 1) * self.factor & (self.small << 9) - 1)

    def scattered(self, frame):
        """Where a frame lies, once 2 MiB are scattered."""
        return ((frame >> 9) * self.factor & self.ranges - 1) << 9 | frame & 511

    def of(self, group: str, number, td: int = 0, moved=0):
        """The frame of a page (or, of an array of numbers, of each); one of guest memory `moved` away from where 2 MiB of its own begin."""
        if group == "data":
            return self.scattered(self.data + td * self.data_each + number + moved)
        return self.scattered(self.single(td * self.each_td + self.first[group] + number))


def lay_out_whole(placement: str, counts: dict[str, int], tds: int, pages: int, pairs: bool) -> WholeFrames:
    """counts    pages of each group of single pages of a TD
    pages     frames of guest memory of a TD, a multiple of 512
    pairs     whether 2 MiB may have a pair
    """
    first, end = {}, 0
    for group, count in counts.items():
        first[group], end = end, end + count
    single, whole, bits, small = tds * end + SLOTS, pages >> 9, 18, 0
    while not small or small + tds * whole + RANGE_SLOTS > 1 << bits - 9:
        bits += small > 0
        frames = 2 * max(single, pairs << bits - 8)
        small = max(SINGLE_RANGES[placement], 1 << (frames - 1 >> 9).bit_length())
    return WholeFrames(first, end, tds * end, small, whole, bits, SCATTER if placement == RANDOM else 1)


def lay_out(placement: str, counts: dict[str, int], tds: int, passing: bool) -> Frames:
    """counts    pages of each group of a TD
    passing   whether frames pass on
    """
    first, end = {}, 0
    for group, count in counts.items():
        first[group], end = end, end + count
    all_of_them = tds * end + SLOTS * passing
    bits = max(18, (all_of_them - 1).bit_length())
    bits += all_of_them + (2 << bits - 9) > 1 << bits            # room for a pair of pages of each 2 MiB
    return Frames(first, end, tds * end, bits, SCATTER if placement == RANDOM else 1, all_of_them)
