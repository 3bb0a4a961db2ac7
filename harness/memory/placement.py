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

Abstracted away: the allocator's own lists and locks (per processor, in Linux: what is given back last is given out
first, without a word that processors share), so a slot costs a line and no more; control and SEPT pages keep their
frames; the module's own linear table, in which neighbours' 4K entries share a cache line, is as in by_use.
"""

from typing import NamedTuple

PAGES_PER_MIB = 256               # of 4 KiB
BY_USE, PACKED, RANDOM = "by_use", "packed", "random"
PLACEMENTS = (BY_USE, PACKED, RANDOM)
SLOTS = 64                       # frames to spare of a host on which frames pass on
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
