"""What is known of each word of memory while one page of it is followed.

    FOLLOWED    its value is kept together with where an actor stands: a *view* is the values of all of
                these, in the order of `Words.places`
    COLLECTED   every value that anybody has ever written to it
    PRIVATE     the actor's own, kept with where it stands
    SPIN        a lock of KVM's: who holds it is known from the rows (assemble.Held)
    PARKING     how the end of a VM is waited for
    UNKNOWN     anything may be in it

Some followed words are not what memory holds but what follows from it:

    mmu_lock    FREE; held for write by an actor that is at this page (HERE) or at another one (ELSEWHERE)
    epoch       1 while a vCPU may run that entered before the current epoch
    bepoch      1 while td_epoch has not gone up since the page was blocked
"""

from enum import Enum
from typing import NamedTuple

import numpy as np

from harness.experiment.plan import Plan
from harness.memory.block import Memory
from harness.memory.layout import PAMT_BEPOCH, TDVPS_LP, TDVPS_STATE, TDVPS_TDCX
from harness.protocol.flows.flow import FROZEN_SPTE
from kernels.words import PS, TDEL, signed

FREE, HERE, ELSEWHERE = 0, 1, 2
LARGE_MASK = ~(((1 << 21) - 1) & ~0xFFF)         # of a large page's entry: without the counter of ACCEPT

Knowledge = Enum("Knowledge", "FOLLOWED COLLECTED PRIVATE SPIN PARKING UNKNOWN")
FOLLOWED, COLLECTED, PRIVATE, SPIN, PARKING, UNKNOWN = Knowledge

REGIONS = dict.fromkeys(("vm_dead", "created", "built", "host_interrupt"), COLLECTED) | dict.fromkeys(
    ("seamcall_lock", "vm_state_lock", "slots_lock", "tdx_lock"), SPIN) | dict.fromkeys(
    ("parked", "vm_generation"), PARKING)


class Place(NamedTuple):
    """A followed word; `own` if it is the page's own, not one that other pages share with it."""

    name: str
    offset: int
    own: bool = False


class Words:
    """The words of a plan's first TD, for who follows `page`."""

    def __init__(self, plan: Plan, page: int):
        self.layout, self.page = plan.layout, page
        self.memory = Memory(plan.layout)
        self.array = np.frombuffer(self.memory.block, np.int64)
        self.first = self.array.copy()
        shared = [Place(f"{table}.{level}", self._at(f"{table}.{level}", page >> 9 * level))
                  for level in (2, 1) for table in ("sept", "mirror")]
        shared += [Place(name, self._at(f"pamt_4k.{name}", page >> shift)) for name, shift in
                   (("pd_pages", 18), ("pt_pages", 9))]
        large = self._at("pamt_2m.data", page >> 9)
        shared += [Place("large", large), Place("large.bepoch", large + PAMT_BEPOCH)]
        shared += [Place(name, self._at(name)) for name in ("op_state", "tdr_state", "mmu_lock", "epoch")]
        small = self._at("pamt_4k.data", page)
        own = [Place("sept.0", self._at("sept.0", page), True), Place("mirror.0", self._at("mirror.0", page), True),
               Place("small", small, True), Place("small.bepoch", small + PAMT_BEPOCH, True)]
        self.places = tuple(shared + own)
        self.shared = len(shared)                    # the page's own come behind these in a view
        self.number = {place.name: number for number, place in enumerate(self.places)}
        self.by_word = {place.offset >> 3: number for number, place in enumerate(self.places)}
        self.derived = {self.number[name] for name in ("epoch", "large.bepoch", "small.bepoch")}
        self.entries = {self.number[f"sept.{level}"] for level in range(3)}
        self.mirrors = {place.offset for place in self.places if place.name.startswith("mirror.")}
        self.own = {place.offset for place in own}
        view = [int(self.first[place.offset >> 3]) for place in self.places]
        view[self.number["epoch"]] = 0
        self.view = tuple(view)                      # of a fresh TD
        self._known: dict[int, Knowledge] = {}

    def _at(self, name: str, index: int = 0) -> int:
        return self.layout.at(name, index)

    def known(self, offset: int) -> Knowledge:
        """What is known of the word at an offset."""
        if offset not in self._known:
            self._known[offset] = self._find(offset)
        return self._known[offset]

    def _find(self, offset: int) -> Knowledge:
        if offset >> 3 in self.by_word:
            return FOLLOWED
        region = next(each for each in self.layout.regions if each.offset <= offset < each.end)
        byte = (offset - region.offset) % region.stride
        if region.name == "tdvps":
            return PRIVATE if byte in (TDVPS_STATE, TDVPS_TDCX, TDVPS_LP) else UNKNOWN
        if region.name.startswith("pamt_") and region.name not in ("pamt_4k.data", "pamt_2m.data") and byte < PAMT_BEPOCH:
            return COLLECTED
        return REGIONS.get(region.name, UNKNOWN)

    def as_followed(self, place: int, word: int) -> int:
        """A word as views hold it: of a large page's entry without how far its ACCEPT has got."""
        return word & LARGE_MASK if place in self.entries and word & PS and self.places[place].name != "sept.0" else word

    def owned(self, view) -> list[int]:
        """The offsets of what an actor must hold: locked entries, frozen mirror entries."""
        return [place.offset for number, (place, word) in enumerate(zip(self.places, view))
                if number in self.entries and word & TDEL
                or place.offset in self.mirrors and word == FROZEN]


FROZEN = signed(FROZEN_SPTE)
