"""Shared memory: the block that actors share, and a fresh TD written into it.

Nothing is named in the file system: the block is an anonymous mapping that forked workers inherit,
so nothing can be left behind.
"""

import mmap

import numpy as np

from harness.memory.layout import (
    ENTRIES, GROUPS, HOST, MMU_NONPRESENT, PAIRS, PAMT_BIT, PAMT_BYTES, PAMT_COUNT, PAMT_PAIR, PAMT_TYPE, SINGLE, TDR_READY, TDVPS_EPOCH, TDVPS_LP, TDVPS_STATE, TDVPS_TDCX, Layout,
)
from harness.memory.placement import SLOTS
from kernels import epoch, guest
from kernels.atomics import address_of
from kernels.ops import LEVELS
from kernels.words import (
    HKID_ASSIGNED, NO_LP, OP_STATE_RUNNABLE, PT_NDA, PT_PAMT, PT_REG, PT_TDCX, PT_TDR, PT_TDVPR, STATE, TDCS_PAGES, TDVPS_PAGES,
    VCPU_READY, signed,
)


class Memory:
    """The block itself, with numpy views of its regions.  Inherited by forked workers.

    The TDs in it have been built and finalized, unless the layout says that there are none yet.
    """

    def __init__(self, layout: Layout):
        self.layout = layout
        self.block = mmap.mmap(-1, layout.size)
        self.base = address_of(self.block)
        self._bytes = np.frombuffer(self.block, np.uint8)
        self.format_td()
        start, first = layout.at("image"), layout.td_start
        image = self._bytes[start:start + layout.td_bytes]
        image[:] = self._bytes[first:first + layout.td_bytes]
        for td in range(layout.tds):
            place = first + td * layout.td_stride
            self._bytes[place:place + layout.td_bytes] = image
            if layout.created:
                self.set_word(layout.at("kot", td), HKID_ASSIGNED)
        self.format_host()

    def view(self, name: str, dtype=np.uint64, td: int = 0) -> np.ndarray:
        """A region as an array (count, stride / width of dtype); flat if that is one word each."""
        region = self.layout.by_name[name]
        start = self.layout.at(name, td=td)
        words = self._bytes[start:start + region.stride * region.count].view(dtype)
        per_item = region.stride // np.dtype(dtype).itemsize
        return words.reshape(region.count, per_item) if per_item > 1 else words

    def page_numbers(self, td: int = 0) -> np.ndarray:
        """The guest pages that `view` of a TD's table with an element per page tells of."""
        return np.arange(self.layout.pages)

    def word(self, offset: int, width: int = 64) -> int:
        """One word, as an unsigned integer."""
        dtype = {8: np.uint8, 16: np.uint16, 32: np.uint32, 64: np.uint64}[width]
        return int(self._bytes[offset:offset + width // 8].view(dtype)[0])

    def set_word(self, offset: int, value: int, width: int = 64) -> None:
        dtype = {8: np.uint8, 16: np.uint16, 32: np.uint32, 64: np.uint64}[width]
        self._bytes[offset:offset + width // 8].view(dtype)[0] = value

    def registers(self, actor: int) -> np.ndarray:
        """The register file of an actor, int64, in shared memory."""
        return self.view("registers", np.int64)[actor]

    def record(self, actor: int) -> np.ndarray:
        return self.view("records", np.int64)[actor]

    def format_td(self) -> None:
        """Write the first TD: built and finalized, with no memory yet; or not there at all."""
        for level in range(LEVELS):
            self.view(f"sept.{level}")[:] = STATE["FREE"].word()
            self.view(f"mirror.{level}")[:] = MMU_NONPRESENT
        self.format_control()

    def format_control(self, td: int = 0) -> None:
        """The words of a fresh TD that are neither zero nor entries."""
        layout = self.layout
        for vcpu in range(layout.vcpus):
            self.set_word(layout.at("tdvps", vcpu, td) + TDVPS_LP, NO_LP, 32)
        assert PT_NDA == 0           # no page is in use yet
        if layout.created:
            self._format_created(td)
        if layout.dynamic_pamt and not layout.frames:
            self.give_pairs(td, data=not layout.counted_pairs)
        if layout.whole_from and "inhibited" in layout.by_name:
            self.view("inhibited", td=td)[:layout.whole_from // ENTRIES, 0] = 1

    def spare_frames(self) -> tuple[np.ndarray, np.ndarray]:
        """With WholeFrames, what the host has to spare at the start: single frames, and 2 MiB by their first; before 2 MiB are scattered."""
        frames = self.layout.frames
        return frames.single(frames.spare + np.arange(SLOTS)), frames.spare_ranges(self.layout.tds)

    def single_frames(self, td: int) -> np.ndarray:
        """How far the guest pages of a TD that lie by themselves are from the first of its 2 MiB, int64."""
        frames, numbers = self.layout.frames, np.arange(self.layout.whole_from)
        places = td * frames.each_td + frames.first[SINGLE] + numbers
        return frames.single(places) - (frames.data + td * frames.data_each + numbers)

    def format_host(self) -> None:
        """With a placement: what the host has to spare.  With Dynamic PAMT: the 2 MiB that have a page in use, or all, have their pair."""
        if self.layout.whole:
            for name, frames in zip(("frame_slot", "range_slot"), self.spare_frames()):
                self.view(name, np.int64)[:, 0] = frames
            for td in range(self.layout.tds):
                Memory.view(self, "frame", np.int64, td)[:self.layout.whole_from] = self.single_frames(td)
        if self.layout.dynamic_pamt and self.layout.frames:
            self.count_host(pairs=not self.layout.counted_pairs)

    def count_host(self, pairs: bool) -> None:
        """The host's 2 MiB count the pages of them that are in use, by their PAMT entries, and have a pair if there are any.

        pairs   whether those without a page in use have one too
        """
        layout = self.layout
        used = np.zeros(layout.frames.ranges, np.int64)
        for td in range(layout.tds):
            for group in GROUPS:
                types = self.view(f"pamt_4k.{group}", np.uint8, td)[:, PAMT_TYPE]
                frames = self.frames_of(group, np.flatnonzero(types), td)
                used += np.bincount(frames >> 9, minlength=len(used))
        if layout.counted_pairs:
            self.view("dpamt_ref")[:, 0] = used
        for number in range(len(used)):
            node = layout.at(f"pamt_2m.{HOST}", number)
            entries = [layout.at(f"pamt_4k.{HOST}", 2 * number + half) for half in (0, 1)]
            large = self.word(node + PAMT_TYPE, 8) == PT_REG
            if not large and (used[number] or pairs):
                self._give(node, int(used[number]), entries)
                continue
            self._take(node, entries)
            self.set_word(node + PAMT_TYPE, PT_REG if large else PT_NDA, 8)

    def frames_of(self, group: str, numbers: np.ndarray, td: int = 0) -> np.ndarray:
        """The frames in which pages of a group lie now, int64."""
        moved = self.view("frame", np.int64, td)[numbers] if self.layout.passing and group == "data" else 0
        return self.layout.frames.of(group, numbers, td, moved)

    def _format_created(self, td: int) -> None:
        layout = self.layout
        self.set_word(layout.at("op_state", td=td), OP_STATE_RUNNABLE)
        self.set_word(layout.at("tdr_state", td=td), TDR_READY)
        self.set_word(layout.at("keys", td=td), all_packages(layout.packages))
        self.set_word(layout.at("epoch", td=td), epoch.epoch_word(epoch.FIRST_EPOCH))
        self.set_word(layout.at("pamt_4k.control", 0, td) + PAMT_TYPE, PT_TDR, 8)
        self.set_word(layout.at("pamt_4k.service", 0, td) + PAMT_TYPE, PT_TDR, 8)
        self.set_word(layout.at("service_op_state", td=td), OP_STATE_RUNNABLE)
        self.set_word(layout.at("num_vcpus", td=td), layout.vcpus)
        self.set_word(layout.at("chldcnt", td=td), TDCS_PAGES + layout.vcpus * TDVPS_PAGES)
        for vcpu in range(layout.vcpus):
            self.set_word(layout.at("tdvps", vcpu, td) + TDVPS_STATE, VCPU_READY, 8)
            self.set_word(layout.at("tdvps", vcpu, td) + TDVPS_TDCX, TDVPS_PAGES - 1, 8)
            self.set_word(layout.at("tdvps", vcpu, td) + TDVPS_EPOCH, epoch.FIRST_EPOCH)
            self.set_word(layout.at("pamt_4k.control", 1 + vcpu, td) + PAMT_TYPE, PT_TDVPR, 8)
        self.view("pamt_4k.tdcx", np.uint8, td)[:TDCS_PAGES + layout.vcpus * (TDVPS_PAGES - 1), PAMT_TYPE] = PT_TDCX

    def give_pairs(self, td: int = 0, data: bool = True) -> None:
        """With Dynamic PAMT: each 2 MiB have a pair of pages of the group PAIRS, unless they are a large page.

        data   whether those of data pages have one of which no page is in use
        """
        layout = self.layout
        for number, (group, place) in enumerate(layout.ranges()):
            large = group == "data" and layout.large_from <= place * ENTRIES < layout.pages
            if large or self.word(layout.at(f"pamt_2m.{group}", place, td) + PAMT_TYPE, 8) != PT_NDA:
                continue
            used = self.used_of(group, place, td)
            if data or used or group != "data":
                self.give_pair(group, place, (2 * number, 2 * number + 1), td)
            if layout.counted_pairs and group == "data" and used:
                self.set_word(layout.at("dpamt_ref", place, td), used)

    def take_pairs(self) -> None:
        """No 2 MiB of the first TD have a pair."""
        self.view(f"pamt_4k.{PAIRS}", np.uint8)[:, PAMT_BIT] = 0
        for group, place in self.layout.ranges():
            node = self.layout.at(f"pamt_2m.{group}", place)
            if self.word(node + PAMT_TYPE, 8) == PT_PAMT:
                self._take(node)

    def give_pair(self, group: str, place: int, pages: tuple[int, int], td: int = 0) -> None:
        """2 MiB have a pair of PAMT pages (of the group PAIRS); the pages of them that are in use are counted."""
        layout = self.layout
        node = layout.at(f"pamt_2m.{group}", place, td)
        self._give(node, self.used_of(group, place, td), [layout.at(f"pamt_4k.{PAIRS}", page, td) for page in pages])

    def used_of(self, group: str, place: int, td: int = 0) -> int:
        """How many pages of 2 MiB are in use, by use."""
        return int(np.count_nonzero(self.view(f"pamt_4k.{group}", np.uint8, td)[place * ENTRIES:(place + 1) * ENTRIES, PAMT_TYPE]))

    def _take(self, node: int, entries=()) -> None:
        for offset, width in ((PAMT_TYPE, 8), (PAMT_COUNT, 16), (PAMT_PAIR, 64)):
            self.set_word(node + offset, 0, width)
        for entry in entries:
            self.set_word(entry + PAMT_BIT, 0, 8)

    def _give(self, node: int, used: int, entries: list[int]) -> None:
        """The node of 2 MiB, with `used` pages in use, and the PAMT entries of its pair's pages."""
        self.set_word(node + PAMT_TYPE, PT_PAMT, 8)
        self.set_word(node + PAMT_COUNT, used, 16)
        for half, entry in enumerate(entries):
            self.set_word(node + PAMT_PAIR + 4 * half, (entry - node) // PAMT_BYTES & 0xFFFF_FFFF, 32)
            self.set_word(entry + PAMT_BIT, 1, 8)


def all_packages(packages: int) -> int:
    """A word with a byte for each package, all of them 1."""
    return sum(1 << 8 * package for package in range(packages))


assert signed(MMU_NONPRESENT) < 0 and guest.POISON > 0
