"""Pages by name, the words about them, and a call's registers."""

import functools
import re
from typing import NamedTuple

import numpy as np

from harness.memory.block import Memory
from harness.memory.layout import (
    ENTRIES, PAIRS, PAMT_BIT, PAMT_BYTES, PAMT_COUNT, PAMT_LOCK, PAMT_PAIR, PAMT_TYPE, TDVPS_EPOCH, Layout,
)
from kernels.epoch import epoch_word
from kernels.ops import Register as R
from kernels.words import (
    HPA_MASK, PT_EPT, PT_NDA, PT_PAMT, PT_REG, PT_TDCX, PT_TDR, PT_TDVPR, STATE, state_of, status as status_of,
)
from tests.conformance.reading import Line, number

RANGES = {"R": ("data", 0, 0), "R2": ("data", 1, 0), "S": ("data", 0, 1), "T": ("data", 0, 2), "P": (PAIRS, 0, 0),
          "sept": ("pt_pages", 0, 0)}                        # name -> group, number of the 2 MiB, TD
ADDRESSES = {"R": 0x1C000_0000, "S": 0x30000_0000, "P": 0x38000_0000}          # where the files have them
PAIR_PAGES = {"R": 48, "S": 50, "T": 52, "sept": 54, "P": 56, "R2": 58}        # of P
NODES = (*[name for name in RANGES if name != "R2"],)
NAMED_TYPES = {"TDVPR": PT_TDVPR, "TDCX": PT_TDCX, "REG": PT_REG, "EPT": PT_EPT, "TDR": PT_TDR}
PAGE = re.compile(r"(?P<range>\w+)\+(?P<number>\d+)$|pair\((?P<of>\w+)\)(?P<half>[01])$|(?P<alias>first|own(?P<part>\d+))$")
EPOCH = 5                        # by which everything is tracked; bepochs are 0
SEPT_USED = 16                   # SEPT pages in use, unless a file says otherwise
PAIR_CALLS = {"tdh_phymem_pamt_add": ("rdx", "r8"), "tdh_mem_page_demote": ("r12", "r13")}
TABLE_CALLS = ("tdh_mem_page_demote", "tdh_mem_page_promote", "tdh_mem_sept_add", "tdh_mem_sept_remove")
PAIRS_BACK = {"tdh_phymem_pamt_remove": ("rdx", "r8"), "tdh_mem_page_promote": ("r12", "r13")}
ADDRESS_REFUSED = (status_of("TDX_OPERAND_INVALID"), status_of("TDX_OPERAND_ADDR_RANGE_ERROR"))
GOOD = ("P+500", "P+501")        # in place of addresses that are not looked at
HINTED = ("tdh_mem_page_remove", "tdh_mem_sept_remove", "tdh_mem_page_relocate", "tdh_mem_page_promote")
VCPUS, HOSTS, TDS = 3, 3, 3
TDVPR_SIZES, PAGE_SIZES = (R.TDVPR_4K, R.TDVPR_2M, R.TDVPR_1G), (R.TARGET_4K, R.TARGET_2M, R.TARGET_1G)
PAIR_SIZES = (R.PAIR0_4K, R.PAIR0_2M, R.PAIR0_1G), (R.PAIR1_4K, R.PAIR1_2M, R.PAIR1_1G)


class Page(NamedTuple):
    """A page of a range."""

    range: str
    number: int

    def __str__(self):
        return f"{self.range}+{self.number}"


def page_of(name: str) -> Page | None:
    """R+3, pair(R)0; `first` and `own5` are pages of R.  None if it is no such name."""
    found = PAGE.match(name)
    if not found:
        return None
    if found["of"]:
        return Page("P", PAIR_PAGES[found["of"]] + int(found["half"])) if found["of"] in PAIR_PAGES else None
    if found["alias"]:
        return Page("R", int(found["part"] or 0))
    return Page(found["range"], int(found["number"])) if found["range"] in RANGES else None


def spell_page(page: Page) -> str:
    for name, first in PAIR_PAGES.items():
        if page.range == "P" and page.number in (first, first + 1):
            return f"pair({name}){page.number - first}"
    return str(page)


# --- the world -------------------------------------------------------------------------------

class World:
    """A TD with some pages, laid anew for each line; words by the names of the files."""

    def __init__(self, layout: Layout, memory: Memory):
        self.layout, self.memory = layout, memory

    def entry(self, page: Page, size: str = "4k") -> int:
        """Where a PAMT entry of a page lies."""
        group, place, td = RANGES[page.range]
        return self.layout.at(f"pamt_{size}.{group}",
                              place * ENTRIES + page.number >> {"4k": 0, "2m": 9, "1g": 18}[size], td)

    def node(self, name: str) -> int:
        return self.entry(Page(name, 0), "2m")

    def hpa(self, page: Page) -> int:
        group, place, td = RANGES[page.range]
        return self.layout.hpa(group, place * ENTRIES + page.number, td)

    def get(self, offset: int, width: int) -> int:
        return self.memory.word(offset, width)

    def set(self, offset: int, value: int, width: int) -> None:
        self.memory.set_word(offset, value, width)

    def set_type(self, page: Page, page_type: int) -> None:
        self.set(self.entry(page) + PAMT_TYPE, page_type, 8)

    def has_entries(self, name: str) -> bool:
        return self.get(self.node(name) + PAMT_TYPE, 8) == PT_PAMT

    # --- before ---

    def lay_base(self) -> None:
        """No data page has a pair, the SEPT and control pages have; a built TD, tables mapped."""
        self.memory.take_pairs()
        for td in range(1, TDS):
            for group in (*self.layout.by_name,):
                if group.startswith("pamt_"):
                    self.memory.view(group, np.uint8, td)[:] = 0
        for place, group in enumerate(("control", "pd_pages", "tdcx")):
            self.give(self.layout.at(f"pamt_2m.{group}"), 1, ENTRIES + 2 * place)
        self.lay_range("sept", "pair", SEPT_USED)
        self.set(self.layout.at("chldcnt"), 100, 64)
        self.set(self.layout.at("epoch"), epoch_word(EPOCH), 64)
        self.set(self.layout.at("tdvps") + TDVPS_EPOCH, EPOCH, 64)
        self.lay_entry("NL_MAPPED", 0, 2)
        self.lay_entry("NL_MAPPED", 0, 1)

    def lay_range(self, name: str, what: str, count: int | None = None) -> None:
        """What 2 MiB are: `none`, `reg`, `pair` (with a count of pages in use), `type N`."""
        node, kind = self.node(name), what.split()
        if kind[0] == "type":
            self.set(node + PAMT_TYPE, int(kind[1]), 8)
        elif what == "pair":
            self.give(node, count or 0, PAIR_PAGES[name])
        else:
            self.set(node + PAMT_TYPE, {"none": PT_NDA, "reg": PT_REG}[what], 8)
            self.set(node + PAMT_COUNT, 0, 16)

    def give(self, node: int, count: int, page: int) -> None:
        """A pair of two pages of P."""
        self.set(node + PAMT_TYPE, PT_PAMT, 8)
        self.set(node + PAMT_COUNT, count, 16)
        for half in range(2):
            entry = self.layout.at(f"pamt_4k.{PAIRS}", page + half)
            self.set(node + PAMT_PAIR + 4 * half, (entry - node) // PAMT_BYTES & 0xFFFF_FFFF, 32)
            self.set(entry + PAMT_BIT, 1, 8)

    def lay_entry(self, spelled: str, guest_page: int, level: int, mapped: Page | None = None) -> None:
        """An entry in a state, and the type of the page that it maps (default: R's, or that of its level)."""
        state = STATE[spelled]
        if level == 2:
            hpa = self.layout.hpa("pd_pages")
        elif mapped is None:
            mapped = page_mapped(state, guest_page, level)
        if level < 2:
            hpa = self.hpa(mapped)
        used = state.name not in ("FREE", "REMOVED")
        if level == 1:
            self.set_type(Page("sept", guest_page >> 9), PT_NDA)         # unless it is mapped here
        self.set(self.layout.at(f"sept.{level}", guest_page >> 9 * level),
                 state.word(hpa if used else 0, access=self.access), 64)
        if used and level < 2 and not (level and state.leaf):
            self.set_type(mapped, PT_REG if state.leaf else PT_EPT)

    access = STATE["MAPPED"].word()          # put right by `lay`

    # --- words by name ---

    def word(self, name: str) -> str | None:
        """A word as a file spells it; None if there is none now."""
        owner, _, what = name.rpartition(".")
        if name.startswith("bit("):
            return str(self.get(self.entry(page_of(name[4:-1])) + PAMT_BIT, 8))
        page = page_of(owner)
        if page:
            if not self.has_entries(page.range) or (held := self._pages(page.range)) and (
                    held.split(",")[page.number // 256] != f"pair({page.range}){page.number // 256}"):
                return None              # a file looks for it in the range's own pair
            if what == "type":
                return str(self.get(self.entry(page) + PAMT_TYPE, 8))
            return f"{self.get(self.entry(page) + PAMT_LOCK, 16):#x}"
        owner = owner.removesuffix(".2m")
        if owner in RANGES and what in ("1g", "2m"):
            return f"{self.get(self.entry(Page(owner, 0), what) + PAMT_LOCK, 16):#x}"
        if owner in RANGES and what == "type":
            return str(self.get(self.node(owner) + PAMT_TYPE, 8))
        if owner in RANGES and not self.has_entries(owner):
            return None
        if owner in RANGES:
            return {"count": self._count, "pages": self._pages, "entries": self._entries}[what](owner)
        raise KeyError(name)

    def _count(self, name: str) -> str:
        return str(self.get(self.node(name) + PAMT_COUNT, 16) & 0x3FF)

    def _pages(self, name: str) -> str | None:
        node, found = self.node(name), []
        if not self.get(node + PAMT_PAIR, 64):
            return None
        for half in range(2):
            distance = self.get(node + PAMT_PAIR + 4 * half, 32)
            entry = node + (distance - (1 << 32) * (distance >> 31)) * PAMT_BYTES
            place = next((each, (entry - self.entry(Page(each, 0))) // PAMT_BYTES) for each in RANGES
                         if 0 <= entry - self.entry(Page(each, 0)) < ENTRIES * PAMT_BYTES)
            found.append(spell_page(Page(*place)))
        return ",".join(found)

    def _entries(self, name: str) -> str:
        spelled = []
        for index in range(ENTRIES):
            at = self.entry(Page(name, index))
            lock = self.get(at + PAMT_LOCK, 16)
            spelled.append(f"{self.get(at + PAMT_TYPE, 8)}" + f" lock {lock:#x}" * bool(lock))
        most = max(dict.fromkeys(spelled), key=spelled.count)
        return "|".join([most, *(f"{index}:{text}" for index, text in enumerate(spelled) if text != most)])

    def spell_entry(self, word: int, short: bool) -> str:
        """An SEPT entry as the files have it: its bits, and which page it maps."""
        state, hpa = state_of(word), word & HPA_MASK
        if state is None or state.name in ("FREE", "REMOVED"):
            return f"{word:#x}"
        for name in RANGES:
            number_ = (hpa - self.hpa(Page(name, 0))) >> 12
            if 0 <= number_ < ENTRIES:
                if not short:
                    where = f"{name}+{number_}"
                elif name in ("R", "R2"):
                    where = "data"
                elif name == "sept":
                    where = "sept"
                else:
                    where = f"{ADDRESSES.get(name, 0) + (number_ << 12):#x}"
                return f"{word & ~HPA_MASK:#x}@{where}"
        return f"{word:#x}"


def page_mapped(state, guest_page: int, level: int) -> Page:
    """The page that an entry maps, unless a call has put another one there."""
    if not state.leaf and level:
        return Page("sept", guest_page >> 9)
    return Page("R", guest_page) if guest_page < ENTRIES else Page("R2", guest_page - ENTRIES)


# --- registers -------------------------------------------------------------------------------

def registers_of(world: World, call: str, keys: dict[str, str], line: Line, column: str) -> dict[R, int]:
    """What the caller's operands, and the module's own finding, put into registers."""
    layout, found = world.layout, {}

    def place(registers, page: Page):
        for register, size in zip(registers, ("4k", "2m", "1g")):
            found[register] = world.entry(page, size)
        if registers == PAGE_SIZES:
            found[R.HPA] = world.hpa(page)

    def named(key: str) -> Page:
        page = page_of(keys.get(key, ""))
        if page is None:
            raise line.refuse(column, f"{key}={keys.get(key, '')}", "must be a page such as R+3 or pair(R)0")
        return page

    level = number(line, column, keys.get("level", "0"))
    if "gpa" in keys:
        guest_page = number(line, column, keys["gpa"]) >> 12
        found |= {R.PAGE: guest_page, R.LEVEL: level, R.ENTRY: layout.at(f"sept.{level}", guest_page >> 9 * level)}
        for at, register in enumerate((R.ENTRY_PT, R.ENTRY_PD, R.ENTRY_PDPT)):
            found[register] = layout.at(f"sept.{at}", guest_page >> 9 * at)
        if level:
            found[R.CHILDREN] = layout.at("sept.0", guest_page)
            place(PAGE_SIZES, Page("sept", guest_page >> 9))
    if call.startswith("tdh_phymem_pamt"):
        name = range_of(keys)
        if name is None:
            raise line.refuse(column, str(keys), "must name a range such as range=R")
        place(PAGE_SIZES, Page(name, 0))
    for key in PAIR_CALLS.get(call, ()):
        place(PAIR_SIZES[PAIR_CALLS[call].index(key)], named(key))
    for key in ("page", "target"):
        if key in keys:
            place(PAGE_SIZES, named(key))
    if call == "tdh_mem_page_demote":
        place(PAGE_SIZES, named("r8"))
    if "tdvpr" in keys:
        place(TDVPR_SIZES, named("tdvpr"))
    return found


def range_of(keys: dict[str, str]) -> str | None:
    """The 2 MiB that RCX names, if it is one of ours at level 1."""
    if "range" in keys:
        return keys["range"] if keys["range"] in RANGES else None
    rcx = int(keys.get("rcx", "0"), 0)
    return next((name for name, address in ADDRESSES.items() if rcx == address | 1), None)


def keys_of(line: Line, column: str, text: str) -> dict[str, str]:
    if any("=" not in word for word in text.split()):
        raise line.refuse(column, text, "must be KEY=VALUE...")
    return dict(word.split("=", 1) for word in text.split())


@functools.lru_cache(maxsize=8)
def layout_of(dynamic_pamt: bool) -> Layout:
    hints = tuple((f"hint_{name}", ("",)) for name in "abc")
    return Layout(VCPUS, TDS * (VCPUS + HOSTS), 2 * ENTRIES, 0, content_bytes=8, tds=TDS, variables=hints,
                  dynamic_pamt=dynamic_pamt)
