"""Shared memory: one block, laid out by one table, and a fresh TD written into it.

Every word that an actor can reach has a place here and a name (`Memory.name_of`).  Lock words have
their real width, SEPT and mirror entries lie packed eight to a cache line as in real page tables,
PAMT entries are 16 bytes apart.  The TD's own fields lie a cache line apart, as do the words of each
vCPU; where the module puts them relative to each other is not modelled.

First come the words of the machine (Key Ownership Table, key tables, write-back mutexes, the module's own
state and TDMRs), then one
block for each TD, all alike: KVM's words about the VM, the module's words, their shadows, the pages.
A row names a TD's word as it lies in the first block; Register.TD is how far the actor's own is away.

Pages of one use lie together in physical memory, unless a placement says otherwise (placement.py): the TD's control pages (TDR, one TDVPR per vCPU),
the TDCX pages behind them, the SEPT pages of each level, the data pages and a spare one per host
thread.  Each such group has PAMT words of its own for the 1G, 2M and 4K entries above its pages.  A
guest page always gets the same physical page, as with guest_memfd, or with a placement another one each time (2 MiB of a guest that are
2 MiB of the host, once they were taken back as one page), until TDH.MEM.PAGE.RELOCATE takes a spare one; what can be distinguished is its *generation* (kernels/guest.py).  Contents are kept by guest
page, not by physical page.

Nothing is named in the file system: the block is an anonymous mapping that forked workers inherit,
so nothing can be left behind.
"""

import bisect
from typing import NamedTuple

from harness.memory.placement import BY_USE, RANGE_SLOTS, SLOTS, Frames, WholeFrames, lay_out, lay_out_whole
from kernels import realtime, stepping
from kernels.ops import REGISTERS
from kernels.words import (
    TD_KEYS_CONFIGURED, TDCS_PAGES, TDVPS_PAGES,
)

LINE = 64                        # bytes of a cache line
PAGE = 4096
ENTRIES = 512                    # entries of a page table
SLOT_PAGES = ENTRIES             # pages of a memslot, if not said otherwise
TLB_ENTRIES = 64                 # translations that a vCPU remembers (kernels/guest.py)
MMU_NONPRESENT = 1 << 63         # SHADOW_NONPRESENT_VALUE: a mirror entry that maps nothing (spte.h)

# Within a PAMT entry.  The module keeps the page's owner there too; every page here has one owner.
PAMT_BYTES, PAMT_LOCK, PAMT_TYPE, PAMT_BEPOCH = 16, 0, 2, 8
# Dynamic PAMT: of 2 MiB with a pair, how many pages are in use, and where the PAMT entries of the pair's two pages lie
# (two numbers of 32 bits with a sign, counted in PAMT entries from this one); of a page, the bit that says that it
# holds PAMT entries (in the module a bit of a bitmap of its own).
PAMT_COUNT, PAMT_PAIR, PAMT_BIT = 4, 8, 4

# Within the words of a vCPU (its TDVPS, plus the translations its processor remembers).
TDVPS_STATE, TDVPS_TDCX, TDVPS_LP, TDVPS_EPOCH, TDVPS_STEPPING = 0, 1, 8, 16, LINE
TDVPS_TLB = -(-(TDVPS_STEPPING + stepping.STEPPING_BYTES) // LINE) * LINE
TDVPS_BYTES = TDVPS_TLB + 8 * TLB_ENTRIES

# Within the words that KVM keeps of a vCPU ("kick"; the first is its mode), and of invalidations in progress.
KICK_SRCU, KICK_MAILBOX, KICK_PAIRS, KICK_SMALL = 8, 16, 24, 32
INVALIDATE_COUNT, INVALIDATE_START, INVALIDATE_END, INVALIDATE_SEQUENCE = 0, 8, 16, 24

# Within the word of a TDR that says how far its TD has come: three bytes, read in one access.
TDR_FATAL, TDR_LIFECYCLE, TDR_TDCX = 0, 1, 2
TDR_READY = TD_KEYS_CONFIGURED << 8 * TDR_LIFECYCLE | TDCS_PAGES << 8 * TDR_TDCX     # and not fatal

# Migration streams that the model has room for, the last of them backward; and within the word of a stream.
STREAMS, STREAMS_FORWARD = 3, 2
MIGSC_LOCK, MIGSC_INITIALIZED = 0, 1

# How far the module is (0, so that it is up unless a scenario says otherwise); and within the word of a TDMR.
SYS_READY, SYS_INIT_PENDING, SYS_INIT_DONE, SYS_CONFIG_DONE, SYS_SHUTDOWN = range(5)
TDMR_LOCK, TDMR_PENDING = 0, 1

# Within the word of the TD's one page of a device: its lock, whether it is mapped; its bepoch where a PAMT entry has it.
MMIOMT_LOCK, MMIOMT_MAPPED = 0, 1

# How far a service TD is bound.
NOT_BOUND, PRE_BOUND, BOUND = 0, 1, 2

# Within words that have a byte for each package; the KOT's has the HKID's state in its lowest byte.
KOT_STATE, KOT_PACKAGES = 0, 1
PACKAGES_MAX = 7
TO_WRITE_BACK, NOTED = 1, 2      # of a package: still to be written back; the same, by the session that is under way

# Within a package's entry of the table of write-backs: its mutex, and how far an interrupted session has got.
WBT_LOCK, WBT_POINT = 0, 8

# Physical pages by use, far apart so that no two groups and no two TDs share a 1G region.
HPA_STEP, TD_HPA_STEP = 1 << 40, 1 << 44
GROUPS = ("control", "pd_pages", "pt_pages", "data", "tdcx", "service")
PAIRS = "pamt_pages"             # a group of pages that the host gives for PAMT entries, with Dynamic PAMT
SINGLE = "single"                # of a TD, with WholeFrames: guest pages that lie by themselves
HOST = "host"                    # in place of a group: the 2 MiB and 1 GiB of all of them (placement.py)
SIZE_SHIFTS = {"4k": 0, "2m": 9, "1g": 18}
TDS_MAX = 128
assert (2 + len(GROUPS)) * HPA_STEP <= TD_HPA_STEP and TDS_MAX * TD_HPA_STEP <= 1 << 52


VARIABLE = "C."                  # before the names of a litmus test's own words


class Region(NamedTuple):
    """`count` things that lie `stride` bytes apart from `offset` on."""

    name: str
    offset: int
    stride: int
    count: int

    @property
    def end(self) -> int:
        return self.offset + self.stride * self.count


class Layout:
    """Where everything lies, in bytes from the start of the block.

    vcpus           number of vCPUs of each TD
    actors          number of actors (vCPUs and host threads of all TDs)
    pages           guest pages of 4 KiB of each TD, a multiple of 512
    record_words    words of an actor's record
    content_bytes   bytes kept of each data page: 4096, or 8 where only the signature matters
    tds             number of TDs
    packages        number of processor packages: each has a key table and a write-back mutex
    variables       shared objects of a C litmus test: (name, what stands behind it for each of its words)
    dynamic_pamt    whether the PAMT entries of 4 KiB pages lie in pages that the host gives: here each 2 MiB have
                    their place for 512 of them, whether they have a pair or not, and two pages of the group PAIRS
    large_from      the first guest page of the memory that consists of large pages: their 2 MiB have no pair
    inhibits        whether KVM has a word for each 2 MiB that says that they are not to be mapped as one page
    accepting       whether the guest has a word for each 2 MiB that it is accepting (guest_policies.py)
    counted_pairs   whether the host counts the pages of each 2 MiB of data for their pair, which none has at the start
    placement       where physical pages lie (placement.py)
    passing         whether frames pass on, with a placement other than by_use
    slot_pages      pages of a memslot, a power of two
    whole_from      with a placement: from which guest page on 2 MiB are whole 2 MiB of the host (0 or 512); None: every page
                    lies by itself
    created         whether a fresh TD has been created, built and finalized; otherwise there is none yet
    """

    def __init__(self, vcpus, actors, pages, record_words, content_bytes=PAGE, tds=1, packages=1,
                 created=True, variables=(), dynamic_pamt=False,
                 large_from=None, accepting=False, counted_pairs=False, placement=BY_USE, passing=False, inhibits=False, whole_from=None,
                 slot_pages=SLOT_PAGES):
        assert pages % ENTRIES == 0 and 1 <= tds <= TDS_MAX and 1 <= packages <= PACKAGES_MAX
        assert actors % tds == 0
        self.vcpus, self.actors, self.pages = vcpus, actors, pages
        self.hosts = actors // tds - vcpus
        self.tds, self.packages, self.created = tds, packages, created
        self.content_bytes, self.dynamic_pamt = content_bytes, dynamic_pamt
        self.counted_pairs = counted_pairs
        self.large_from = pages if large_from is None else large_from
        self.whole_from = whole_from if placement != BY_USE else None
        self.regions: list[Region] = []
        self.by_name: dict[str, Region] = {}
        self.size = 0
        self.tables = pages // ENTRIES
        self.directories = -(-self.tables // ENTRIES)

        self._add_machine()
        # The first TD; the others follow at distances of td_stride.
        self.first_td = self._align(PAGE)
        self._add_vm(slot_pages)
        # From here to td_end lies what a fresh TD starts from; `shadow` mirrors it word by word.
        self.td_start = self._align(PAGE)
        self._add_td()
        homes = self._add_physical_pages(placement, passing)
        self._add_guest_pages(accepting, inhibits)
        self.td_end = self._align(PAGE)
        self.td_bytes = self.td_end - self.td_start
        # With very many actors and little memory: no word of the TD's own lies as far from the start as a shadow from its word.
        self.size = max(self.size, self.td_start + self.by_name["tdvps"].offset)
        self._add("shadow", 1, self.td_bytes)
        self.shadow_delta = self.by_name["shadow"].offset - self.td_start
        self.passing = placement != BY_USE and (passing or self.whole)
        if self.passing:                 # not of a fresh TD: what it gives back does not come back with it
            self._add("frame", homes, 8, LINE)
        self._add("content", pages, content_bytes, PAGE)
        self.td_stride = self._align(PAGE) - self.first_td
        self.size += (tds - 1) * self.td_stride
        self.host_words = range(0)       # where the host's own lie, with a placement
        if self.frames:
            self._add_host_words()
        if counted_pairs:                # not before the TDs: their words lie before the first TD's shadow
            self._add("dpamt_queue", 1 << (actors - 1).bit_length(), LINE)

        self.variables_from = self.size          # a litmus test's own words, if it has any
        self.words_of = {f"{VARIABLE}{name}": words for name, words in variables}
        for name, words in self.words_of.items():
            self._add(name, len(words), 8)

        self._add("image", 1, self.td_bytes, PAGE)
        self._add("registers", actors, 8 * REGISTERS, PAGE)
        # Last, so that how long they are moves nothing else (experiment/plan.py).
        self._add("records", actors, -(-8 * record_words // PAGE) * PAGE, PAGE)
        self._align(PAGE)

    @property
    def whole(self) -> bool:
        """Whether guest memory comes in whole 2 MiB of the host."""
        return self.whole_from is not None

    def _add_machine(self) -> None:
        """The words that all TDs share: the module's own and the host's."""
        self._add("control", 1, realtime.CONTROL_BYTES)
        for name, count in (("kot_lock", 1), ("kot", self.tds), ("ket", self.packages), ("wbt", self.packages), ("tdx_lock", 1),
                            ("global_lock", 1), ("sys_state", 1), ("lp_pending", self.actors), ("lp_busy", self.actors),
                            ("package_pending", self.packages), ("tdmr", 1)):
            self._add(name, count, LINE)
        for name in ("dpamt_lock", "dpamt_next", "dpamt_serving") if self.counted_pairs else ():
            self._add(name, 1, LINE)

    def _add_vm(self, slot_pages) -> None:
        """KVM's words about a VM, which a fresh TD leaves as they are."""
        for name in ("mmu_lock", "mmu_owner", "wait_for_sept_zap", "vm_dead", "vm_generation", "parked",
                     "seamcall_lock", "vm_state_lock", "slots_lock", "created", "built", "vcpus_created", "retry_limit",
                     "calls_injected", "invalidate"):
            self._add(name, 1, LINE)
        self._add("kick", self.vcpus, LINE)
        self._add("host_interrupt", max(1, self.hosts), LINE)
        self._add("memslot", self.pages // slot_pages, LINE)

    def _add_td(self) -> None:
        """The module's words about a TD and its vCPUs."""
        for name in ("op_state_lock", "op_state", "tdr_state", "keys", "secure_ept_lock", "epoch_lock", "epoch",
                     "chldcnt", "num_vcpus", "num_assoc_vcpus", "mem_count", "blocked_count",
                     "pending_blocked_count", "mig_lock", "num_migs", "mig_count", "dirty_count", "mig_epoch",
                     "bw_epoch", "rtmr_lock", "servtd_bindings_lock", "servtd_binding", "service_op_state_lock",
                     "service_op_state", "mmiomt", "devifcs", "iommu"):
            self._add(name, 1, LINE)
        self._add("migsc", STREAMS, LINE)
        self._add("gpa_list", self.vcpus + self.hosts, LINE)
        self._add("tdvps", self.vcpus, TDVPS_BYTES)

    def _add_physical_pages(self, placement, passing) -> int:
        """The PAMT words of a TD's physical pages, by use, and what its placement is (`frames`); how many homes of data there are."""
        self.data_frames = self.pages + max(1, self.hosts)     # data pages and spare ones
        if self.whole:
            self.data_frames = -(-self.data_frames // ENTRIES) * ENTRIES
        homes = self.data_frames * (1 if placement == BY_USE or self.whole else 2)
        tdcx = TDCS_PAGES + self.vcpus * (TDVPS_PAGES - 1)
        counts = dict(zip(GROUPS, (1 + self.vcpus, self.directories, self.tables, homes, tdcx, 1)))
        if self.dynamic_pamt and placement == BY_USE:
            ranges = sum(-(-count // ENTRIES) for count in counts.values())
            counts[PAIRS] = 2 * (ranges + ranges // 255 + 2) + ENTRIES    # for its own too, and some to spare
            counts = {group: -(-count // ENTRIES) * ENTRIES for group, count in counts.items()}
        self.frames: Frames | WholeFrames | None = None
        if self.whole:
            single = {group: count for group, count in counts.items() if group != "data"} | {SINGLE: self.whole_from}
            self.frames = lay_out_whole(placement, single, self.tds, self.data_frames, self.dynamic_pamt)
        elif placement != BY_USE:
            self.frames = lay_out(placement, counts, self.tds, passing)
        for group, count in counts.items():
            for size, shift in SIZE_SHIFTS.items():
                align = PAGE if (size, group) == ("4k", "data") else LINE
                self._add(f"pamt_{size}.{group}", (count - 1 >> shift) + 1, PAMT_BYTES, align)
        return homes

    def _add_guest_pages(self, accepting, inhibits) -> None:
        """What the module, KVM and the guest know of each guest page and of its 2 MiB."""
        for kind in ("sept", "mirror"):
            for level, count in enumerate((self.pages, self.directories * ENTRIES, -(-self.directories // 8) * 8)):
                self._add(f"{kind}.{level}", count, 8, PAGE)
        self._add("generation", self.pages, LINE)
        self._add("accepted", self.pages, 8, LINE)
        self._add("shared", self.pages, 8, LINE)
        of_ranges = ("dpamt_ref", "dpamt_range_lock") if self.counted_pairs and not self.frames else ()
        for name in ("accepting",) * accepting + ("inhibited",) * inhibits + of_ranges:
            self._add(name, self.tables, LINE)

    def _add_host_words(self) -> None:
        """The PAMT entries of the host's 2 MiB and 1 GiB, and their shadows as far away as a TD's.

        With Dynamic PAMT also those of the pages of pairs.  Behind the 2 MiB of the frames are those of a pool for
        pairs, which only some designs use (protocol/dpamt.py).
        """
        start, ranges = self._align(PAGE), self.frames.ranges
        pool = -(-2 * ranges // ENTRIES) if self.dynamic_pamt else 0
        self._add(f"pamt_2m.{HOST}", ranges + pool, PAMT_BYTES)
        self._add(f"pamt_1g.{HOST}", -(-(ranges + pool) // ENTRIES), PAMT_BYTES)
        if self.dynamic_pamt:
            self._add(f"pamt_4k.{HOST}", 2 * ranges, PAMT_BYTES)
        for name in ("dpamt_ref", "dpamt_range_lock") if self.counted_pairs else ():
            self._add(name, ranges, LINE)
        if self.passing:
            self._add("frame_slot", SLOTS, LINE)
        if self.whole:
            self._add("range_slot", RANGE_SLOTS, LINE)
        words = self.size - start
        self.host_words = range(start, self.size)
        assert words <= self.shadow_delta, "the shadows of the host's words would lie among them"
        self.size = start + self.shadow_delta + words

    def _align(self, bytes_) -> int:
        self.size = -(-self.size // bytes_) * bytes_
        return self.size

    def _add(self, name, count, stride, align=LINE):
        region = Region(name, self._align(align), stride, count)
        self.regions.append(region)
        self.by_name[name] = region
        self.size = region.end

    def at(self, name: str, index: int = 0, td: int = 0) -> int:
        """The offset of the `index`-th thing called `name` (of a TD, where each has its own)."""
        region = self.by_name[name]
        assert 0 <= index < region.count, (name, index)
        assert td == 0 or self.first_td <= region.offset < self.first_td + self.td_stride
        return region.offset + index * region.stride + td * self.td_stride

    def pamt(self, size: str, group: str, number: int, td: int = 0) -> int:
        """The offset of the PAMT entry ("4k", "2m" or "1g") of a page, or of those around it."""
        shift = SIZE_SHIFTS[size]
        if self.frames and shift:
            return self.at(f"pamt_{size}.{HOST}", self.frames.of(group, number, td) >> shift)
        return self.at(f"pamt_{size}.{group}", number >> shift, td)

    def hpa(self, group: str, index: int = 0, td: int = 0) -> int:
        """The physical address of a page."""
        return td * TD_HPA_STEP + (1 + (*GROUPS, PAIRS).index(group)) * HPA_STEP + index * PAGE

    def ranges(self) -> list[tuple[str, int]]:
        """(group, number) of all 2 MiB with 4 KiB pages that need PAMT entries, those of data pages first."""
        groups = sorted((*GROUPS, PAIRS), key=lambda group: group != "data")
        return [(group, number) for group in groups for number in range(self.by_name[f"pamt_2m.{group}"].count)]

    def name_of(self, offset: int) -> str:
        """What lies at an offset, as a person reads it."""
        td, within = divmod(offset - self.first_td, self.td_stride)
        if 0 < td < self.tds:
            return f"{self.name_of(self.first_td + within)}, TD {td}"
        if self.td_start <= offset - self.shadow_delta < self.td_end or offset - self.shadow_delta in self.host_words:
            return f"owner of {self.name_of(offset - self.shadow_delta)}"
        region = self.regions[bisect.bisect_right(self.regions, offset, key=lambda region: region.offset) - 1]
        if not region.offset <= offset < region.end:
            return f"byte {offset:#x}"
        index, byte = divmod(offset - region.offset, region.stride)
        if region.name in self.words_of:
            return region.name.removeprefix(VARIABLE) + self.words_of[region.name][index]
        return _describe(region, index, byte)


LEVEL_NAMES = ("PT", "PD", "PDPT")


def _describe(region: Region, index: int, byte: int) -> str:
    name, _, part = region.name.partition(".")
    if name in ("sept", "mirror"):
        level = int(part)
        gpa = index << 12 + 9 * level
        return f"{'SEPT' if name == 'sept' else 'mirror'} {LEVEL_NAMES[level]} entry of GPA {gpa:#x}"
    if name.startswith("pamt_"):
        size = name[5:].upper()
        owner = {"control": "TDR" if index == 0 else f"TDVPR of vcpu{index - 1}",
                 "data": f"GPA {index << 12:#x}"}.get(part, f"{part} {index}")
        if part == HOST and size == "4K":
            owner = f"page {index % 2} of the pair of the host's 2 MiB number {index // 2}"
        elif part == HOST:
            owner = f"the host's {'2 MiB' if size == '2M' else 'GiB'} number {index}"
        elif size != "4K":
            owner = f"the {part} pages"
        return f"PAMT {size} entry of {owner}"
    if name == "tdvps":
        return f"TDVPS of vcpu{index} + {byte}"
    if name in ("generation", "accepted", "shared", "content"):
        return f"{name} of GPA {index << 12:#x}" + (f" + {byte}" if byte else "")
    if region.count > 1:
        return f"{name}[{index}]" + (f" + {byte}" if byte else "")
    return name + (f" + {byte}" if byte else "")
