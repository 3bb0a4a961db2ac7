"""With Dynamic PAMT: single calls, and interleavings, in a world of 2 MiB ranges that have a pair of PAMT pages or not.

    R       data pages of the TD, from guest page 0 on; R2 the 2 MiB behind them
    S, T    data pages of two other TDs
    P       pages that are there to be given, pair(X)0 and pair(X)1 among them
    sept    the TD's SEPT pages of level 1

The addresses of a file are these names; what is wrong with an address itself is not modelled.  Names of a page:
R+3, pair(R)0.  Names of words: R.1g, R.2m (lock words), R.2m.type or R.type, R.2m.count, R.2m.pages, R.entries,
R+3.4k (a lock word), R+3.type, bit(R+3); a word that is not there (the PAMT entry of a page without a pair) has no value.
"""

import functools
import re
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from harness.engines.explore import search as explore
from harness.engines.explore.tables import HALTED
from harness.experiment.plan import make_actors, start_registers
from harness.experiment.scenario import File, Scenario, Script
from harness.memory.block import Memory
from harness.memory.layout import (
    ENTRIES, PAIRS, PAMT_BIT, PAMT_BYTES, PAMT_COUNT, PAMT_LOCK, PAMT_PAIR, PAMT_TYPE, TDR_LIFECYCLE,
    TDR_TDCX, TDVPS_EPOCH, TDVPS_STATE, TDVPS_TDCX, Layout,
)
from harness.protocol import policies, releases
from harness.protocol.assemble import Listing, Program
from harness.protocol.call import Options
from harness.protocol.flows.script import ANSWER_BITS, Step
from harness.protocol.liveness import live_registers
from harness.protocol.seamcalls import by_name, entry_label, write_calls
from kernels.epoch import epoch_word
from kernels.ops import Op, Register as R
from kernels.words import (
    HPA_MASK, OP_STATE_INITIALIZED, PT_EPT, PT_NDA, PT_PAMT, PT_REG, PT_TDCX, PT_TDR, PT_TDVPR, STATE, STATUS_CLASS,
    TD_TEARDOWN, VCPU_UNINITIALIZED, spell_entry, state_of, status as status_of,
)
from tests.conformance.abstractions import OPERAND, TURNED_OFF, covering
from tests.conformance.calls import ROWS, answer, finish
from tests.conformance.interleavings import HALT, UNFINISHED, group
from tests.conformance.reading import Compared, Line, Vectors, fields, number
from tests.ready import BY_VCPU
from tests.stage import Player

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
def _layout(dynamic_pamt: bool) -> Layout:
    hints = tuple((f"hint_{name}", 1) for name in "abc")
    return Layout(VCPUS, TDS * (VCPUS + HOSTS), 2 * ENTRIES, 0, content_bytes=8, tds=TDS, variables=hints,
                  dynamic_pamt=dynamic_pamt)


# --- single calls ----------------------------------------------------------------------------

class Stage(NamedTuple):
    """What a Player needs."""

    program: Program
    memory: Memory
    layout: Layout


class Calls:
    """Calls that are made one after the other, each from a world laid anew."""

    def __init__(self, release: str, dynamic_pamt: bool):
        layout = _layout(dynamic_pamt)
        options = Options(layout, owners=False, release=releases.find(release))
        self.rows = by_name(options.release)
        listing = Listing()
        write_calls(listing, options)
        listing.label("behind")
        listing.row(Op.STOP)
        self.stage = Stage(listing.program(), Memory(layout), layout)
        self.block = np.frombuffer(self.stage.memory.block, np.uint64)
        self.fresh = self.block.copy()
        self.world = World(layout, self.stage.memory)
        self.world.access = options.release.access

    def player(self, call: str, registers: dict[R, int], level: int) -> Player:
        actors = make_actors(VCPUS, HOSTS, TDS)
        actor = next(each for each in actors if each.kind == ("vcpu" if call in BY_VCPU else "host"))
        player = Player(self.stage, actor.number, start_registers(self.stage.layout, actor))
        for register, value in registers.items():
            player.registers[register] = value
        player.registers[R.PC] = self.stage.program.labels[entry_label(self.rows[call], level)]
        player.registers[R.LINK] = self.stage.program.labels["behind"]
        return player


calls_of = functools.lru_cache(maxsize=8)(Calls)


def lay(calls: Calls, line: Line, call: str, keys: dict[str, str]) -> None:
    """Memory as a line says, but for lock words and what else is laid last."""
    world, layout = calls.world, calls.stage.layout
    before = fields(line, "before")
    calls.block[:] = calls.fresh
    world.lay_base()
    for name in RANGES:
        if name in before:
            count = before.get(f"{name}.count")
            try:
                world.lay_range(name, before[name], count and int(count))
            except (KeyError, ValueError, IndexError):
                raise line.refuse("before", before[name], "must be none, reg, pair, or type N") from None
    guest_page = number(line, "args", keys.get("gpa", "0")) >> 12
    level = number(line, "args", keys.get("level", "0"))
    if "entry" in before:
        if before["entry"] not in STATE:
            raise line.refuse("before", before["entry"], f"must be one of {', '.join(STATE)}")
        world.lay_entry(before["entry"], guest_page, level)
    if call == "tdh_mem_page_promote":
        for part in range(ENTRIES):
            world.lay_entry("MAPPED", guest_page + part, 0)
    tdvps, tdr = layout.at("tdvps"), layout.at("tdr_state")
    plain = {"op_state": (layout.at("op_state"), 64), "vcpu_state": (tdvps + TDVPS_STATE, 8),
             "tdcx": (tdr + TDR_TDCX, 8), "lifecycle": (tdr + TDR_LIFECYCLE, 8),
             "chldcnt": (layout.at("chldcnt"), 64), "op_state_lock": (layout.at("op_state_lock"), 16),
             "tree": (layout.at("secure_ept_lock"), 16), "tdr.4k": (layout.at("pamt_4k.control"), 16)}
    for name, text in before.items():
        if name in RANGES or name in ("entry", "dynamic_pamt"):
            continue
        value = number(line, "before", text)
        if name in plain:
            world.set(plain[name][0], value, plain[name][1])
        elif name == "tdvps_pages":
            world.set(tdvps + TDVPS_TDCX, value - 1, 8)
        elif not _lay_word(world, aliases(call, keys), name, value):
            raise line.refuse("before", name, "no such word")


def aliases(call: str, keys: dict[str, str]) -> dict[str, Page | None]:
    """What a line calls the pages that its call is about."""
    first, second = PAIR_CALLS.get(call, ("", ""))
    level = int(keys.get("level", "0"), 0)
    return {"page": page_of(keys.get("page") or keys.get("tdvpr") or ("R+0" if level else "R+3")),
            "sept": Page("sept", 0), "target": page_of(keys.get("target", "")), "first": Page("R", 0),
            "hpa0": page_of(keys.get(first, "")), "hpa1": page_of(keys.get(second, ""))}


def _lay_word(world: World, known: dict[str, Page | None], name: str, value: int) -> bool:
    """A word by a file's name; whether there is one."""
    if name.startswith("bit("):
        page = known.get(name[4:-1]) or page_of(name[4:-1])
        if page:
            world.set(world.entry(page) + PAMT_BIT, value, 8)
        return page is not None
    owner, _, what = name.partition(".")
    page = known.get(owner) or page_of(owner)
    if owner in RANGES and what in ("1g", "2m"):
        world.set(world.entry(Page(owner, 0), what) + PAMT_LOCK, value, 16)
    elif owner in RANGES and what in ("count", "2m.count"):
        world.set(world.node(owner) + PAMT_COUNT, value, 16)
    elif page and what == "4k":
        world.set(world.entry(page) + PAMT_LOCK, value, 16)
    elif page and what in ("4k.type", "type"):
        world.set_type(page, value)
    else:
        return False
    return True


def names_of(call: str, keys: dict[str, str]) -> dict[str, str]:
    """The words that a line names if they change: by the file's name, by ours."""
    found = {}
    for name in NODES:
        found |= {f"{name}.{what}": f"{name}.{what}" for what in ("1g", "2m", "2m.type", "2m.count", "2m.pages")}
    found |= {f"{name}.entries": f"{name}.entries" for name in ("R", "S", "T", "P")}
    known = aliases(call, keys)
    for name, page in known.items():
        shown = {"sept": call in TABLE_CALLS, "first": False, "page": not call.startswith("tdh_phymem_pamt")
                 and call not in ("tdh_mem_sept_add", "tdh_mem_sept_remove", "tdh_mem_page_promote")}
        if page and shown.get(name, True):
            found |= {f"{name}.4k": f"{page}.4k", f"{name}.4k.type": f"{page}.type"}
            if name in ("hpa0", "hpa1"):
                found[f"bit({name})"] = f"bit({page})"
    return found


def words_of(calls: Calls, call: str, keys: dict[str, str]) -> dict[str, str]:
    """All words with a name, as a file spells them."""
    world, layout = calls.world, calls.stage.layout
    found = {name: world.word(ours) for name, ours in names_of(call, keys).items()}
    found |= {"tree": f"{world.get(layout.at('secure_ept_lock'), 16):#x}",
              "op_state_lock": f"{world.get(layout.at('op_state_lock'), 16):#x}",
              "chldcnt": f"{world.get(layout.at('chldcnt'), 64):#x}",
              "tdr.4k": f"{world.get(layout.at('pamt_4k.control'), 16):#x}",
              "entry0": world.spell_entry(world.get(layout.at("sept.0", 3), 64), short=True),
              "entry1": world.spell_entry(world.get(layout.at("sept.1", 0), 64), short=True)}
    return found


def difference(calls: Calls, line: Line) -> dict[str, tuple[str, str]]:
    """What differs: by word, or "status", "end" and outputs, what it is in the file and here."""
    call = ROWS.get(line["call"], line["call"])
    keys = keys_of(line, "args", line["args"])
    level = number(line, "args", keys.get("level", "1" if call.startswith("tdh_phymem_pamt") else "0"))
    row = calls.rows.get(call)
    if row is None or level not in row.levels:
        return {"end": (line["end"], f"no row of {call} at level {level}")}
    status = number(line, "status", line["status"])
    if not calls.stage.layout.dynamic_pamt:
        return _disabled(calls, line, call, level, status)
    if raw_operands(call, keys):
        if status & STATUS_CLASS in ADDRESS_REFUSED:
            return {OPERAND: (line["status"], "a good page")}
        keys |= {key: name for key, name in zip(PAIR_CALLS.get(call, ()), GOOD) if page_of(keys[key]) is None}
        keys |= {"range": "R"} if call.startswith("tdh_phymem_pamt") else {}
    lay(calls, line, call, keys)
    player = calls.player(call, registers_of(calls.world, call, keys, line, "args"), level)
    was = words_of(calls, call, keys)
    end = finish(player)
    now = words_of(calls, call, keys)
    ours = 0 if end == HALT else answer(player)
    here = {"status": f"{ours:#x}", "end": end}
    if ours == 0 and end == "return":
        here |= outputs(calls, call, keys, player)
    here |= {name: word if word is not None else "gone" for name, word in now.items()
             if word != was[name] and not (word is None and not name.endswith((".count", ".pages")))}
    theirs = {"status": f"{status:#x}", "end": line["end"]} | fields(line, "after")
    theirs |= {name: value for name, value in fields(line, "regs").items() if name != "fatal"}
    return {name: (theirs.get(name, "as before"), here.get(name, "as before"))
            for name in {**theirs, **here} if theirs.get(name) != here.get(name)}


def _disabled(calls: Calls, line: Line, call: str, level: int, status: int) -> dict[str, tuple[str, str]]:
    """A call of Dynamic PAMT in a module that has not been configured for it; others are made in calls.py."""
    if not call.startswith("tdh_phymem_pamt"):
        return {TURNED_OFF: (line["status"], "not made")}
    player = calls.player(call, {}, level)
    finish(player)
    return {} if answer(player) == status else {"status": (line["status"], f"{answer(player):#x}")}


def raw_operands(call: str, keys: dict[str, str]) -> bool:
    """Whether an address is not one of a page, or of a range, that has a name."""
    if call.startswith("tdh_phymem_pamt") and range_of(keys) is None:
        return True
    return any(keys.get(key, "").startswith("0x") for key in PAIR_CALLS.get(call, ()))


def outputs(calls: Calls, call: str, keys: dict[str, str], player: Player) -> dict[str, str]:
    """The registers of a success that a file shows."""
    registers, found = player.registers, {}
    level = int(keys.get("level", "0"), 0)
    for key, register in zip(PAIRS_BACK.get(call, ()), (R.PAIR0_4K, R.PAIR1_4K)):
        entry = int(registers[register])
        page = next(Page(each, (entry - calls.world.entry(Page(each, 0))) // PAMT_BYTES) for each in RANGES
                    if 0 <= entry - calls.world.entry(Page(each, 0)) < ENTRIES * PAMT_BYTES)
        found[key] = spell_page(page)
    if call in HINTED:
        page = Page("sept", 0) if call in TABLE_CALLS else Page("R", 0 if level else 3)
        found["rcx"] = f"{page}" + "+hint" * bool(registers[R.HINT])
    if call == "tdh_phymem_page_reclaim":
        found["r9"] = "hint" if registers[R.HINT] else "no hint"
    return found


def compare_calls(vectors: Vectors) -> Iterator[Compared]:
    """Each line's call, made and compared."""
    for line in vectors.lines:
        enabled = fields(line, "before").get("dynamic_pamt", "1") != "0"
        words = difference(calls_of(vectors.release, enabled), line)
        what = "; ".join(f"{name} {was}, here {here}" for name, (was, here) in words.items())
        yield Compared(line["call"], f"{line.place}: {what}" if words else "",
                       covering(vectors.release, line, words) if words else "")


# --- interleavings ---------------------------------------------------------------------------

ACTORS = ("a", "b", "c")
KINDS = r"none|pair|reg|type \d+"
START = re.compile(
    rf"(?P<range>\w+)=(?P<kind>{KINDS})(?: count (?P<count>\d+))?"
    rf"|(?P<page>\w+\+\d+) (?P<type>{'|'.join(NAMED_TYPES)})"
    r"|(?P<torn>TD torn down)|(?P<unfinished>TD not finalized)"
    r"|gpa (?P<entries>\w+(?:,? \w+)*?)(?: at level (?P<level>\d))?(?: and tracked)?$")
GPA = {"2M": 512}                # what a file calls guest pages, besides their numbers


class Made(NamedTuple):
    """A call of a scenario: NAME KEY=VALUE..."""

    name: str
    keys: dict[str, str]


def made(line: Line, column: str) -> Made:
    name, _, rest = line[column].partition(" ")
    return Made(ROWS.get(name, name), keys_of(line, column, rest))


class Begun(NamedTuple):
    """How a scenario begins."""

    ranges: dict[str, tuple[str, int]] = {}
    types: dict[Page, int] = {}
    entries: tuple[tuple[str, int, int], ...] = ()           # (state, guest page, level)
    children: str = ""           # state of 512 entries below the first of them
    torn: bool = False
    unfinished: bool = False


def begun(line: Line) -> Begun:
    """`R=pair count 1 S=none, R+3 TDVPR, gpa 0 BLOCKED, 2M FREE at level 1`"""
    found, rest = Begun({}, {}), line["start"]
    while rest := rest.strip(" ,"):
        match = START.match(rest)
        if not match or (match["range"] or "R") not in RANGES:
            raise line.refuse("start", rest, f"must be RANGE={KINDS} [count N], PAGE TYPE, TD torn down, TD not"
                              " finalized, gpa GPA STATE [, 512 STATE] [at level N] [and tracked]")
        rest = rest[match.end():]
        if match["range"]:
            found.ranges[match["range"]] = match["kind"], int(match["count"] or 0)
        elif match["page"]:
            found.types[page_of(match["page"])] = NAMED_TYPES[match["type"]]
        elif match["entries"]:
            found = _begun_entries(line, found, match["entries"], match["level"])
        else:
            found = found._replace(torn=found.torn or bool(match["torn"]),
                                   unfinished=found.unfinished or bool(match["unfinished"]))
    return found


def _begun_entries(line: Line, found: Begun, text: str, level: str | None) -> Begun:
    entries, waiting = [], []
    for item in text.split(", "):
        gpa, _, state = item.partition(" ")
        if state and state not in STATE or not (gpa in GPA or gpa.isdecimal()):
            raise line.refuse("start", item, f"must be a guest page (a number, or 2M) and one of {', '.join(STATE)}")
        if gpa == "512":
            found = found._replace(children=state)
            continue
        waiting.append(GPA.get(gpa) if gpa in GPA else int(gpa))
        if state:
            at = int(level) if level else int(not STATE[state].leaf and state not in ("FREE", "REMOVED"))
            entries += [(state, page, at) for page in waiting]
            waiting = []
    return found._replace(entries=tuple(entries))


class DynamicScenario(Scenario):
    """Some calls at once, in a world of ranges."""

    line: Line
    words: list[str]

    @functools.cached_property
    def calls(self) -> list[Made]:
        return [made(self.line, column) for column in ACTORS if self.line[column]]

    @functools.cached_property
    def layout(self) -> Layout:
        return _layout(True)

    @functools.cached_property
    def program(self) -> Program:
        options = Options(self.layout, owners=False, release=releases.find(self.module), attribution=False)
        rows, listing = by_name(options.release), Listing()
        levels = [self.level(call) for call in self.calls]
        write_calls(listing, options, [(call.name, level) for call, level in zip(self.calls, levels)])
        world = World(self.layout, None)
        for column, script, call, level in zip(ACTORS, self.scripts, self.calls, levels):
            label = listing.label(script.label)
            for register, value in registers_of(world, call.name, call.keys, self.line, column).items():
                listing.row(Op.LET, register=register, value=value)
            listing.row(Op.CALL, next=entry_label(rows[call.name], level), otherwise=f"{label}.back", text=call.name)
            listing.label(f"{label}.back")
            listing.row(Op.INDEX, register=R.OUTCOMES, base=R.ANSWER, offset=1, source=R.OUTCOMES, mask=-1,
                        match=1 << ANSWER_BITS, text="keep the answer, + 1")
            listing.row(Op.STORE, base=R.ZERO, offset=self.layout.at(f"C.hint_{column}"), source=R.HINT, text="hint")
            listing.row(Op.STOP)
            listing.flush()
        return listing.program()

    @functools.cached_property
    def live(self) -> np.ndarray:
        return live_registers(self.program)

    @staticmethod
    def level(call: Made) -> int:
        return int(call.keys.get("level", "1" if call.name.startswith("tdh_phymem_pamt") else "0"), 0)

    def watched(self) -> list[tuple[str, int]]:
        """Every word that any name of ours is made of, in words of 64 bits."""
        world, offsets = World(self.layout, None), {}
        for name in self.words:
            for offset in offsets_of(world, name):
                offsets[str(offset & ~7)] = offset & ~7
        return list(offsets.items())

    def spell(self, name: str, word: int) -> str:
        return f"{word:#x}"

    def start(self, memory: Memory) -> list[np.ndarray]:
        world, start = World(self.layout, memory), begun(self.line)
        world.access = releases.find(self.module).access
        world.lay_base()
        for name, (kind, count) in start.ranges.items():
            world.lay_range(name, kind, count)
        for state, page, level in start.entries:
            world.lay_entry(state, page, level)
            for part in range(ENTRIES) if start.children else ():
                world.lay_entry(start.children, page + part, 0)
        for page, page_type in start.types.items():
            world.set_type(page, page_type)
        if start.torn:
            world.set(self.layout.at("tdr_state") + TDR_LIFECYCLE, TD_TEARDOWN, 8)
        if start.unfinished:
            world.set(self.layout.at("op_state"), OP_STATE_INITIALIZED, 64)
            world.set(self.layout.at("tdvps") + TDVPS_STATE, VCPU_UNINITIALIZED, 8)
        actors = []
        for script in self.scripts:
            registers = start_registers(self.layout, script.actor)
            registers[R.PC] = self.program.labels[script.label]
            actors.append(registers)
        return actors


def offsets_of(world: World, name: str) -> list[int]:
    """Where the words lie that a name is made of."""
    if name == "tree":
        return [world.layout.at("secure_ept_lock")]
    if name.startswith("hint_"):
        return [world.layout.at(f"C.{name}")]
    if name.startswith("gpa"):
        page = GPA.get(name[3:]) if name[3:] in GPA else int(name[3:])
        return [world.layout.at(f"sept.{level}", page >> 9 * level) for level in (0, 1)]
    page = page_of(name[4:-1] if name.startswith("bit(") else name.rpartition(".")[0])
    if page:
        return [world.entry(page), world.node(page.range), world.node(page.range) + PAMT_PAIR]
    owner = name.partition(".")[0]
    if owner not in RANGES:
        raise KeyError(name)
    return [world.entry(Page(owner, 0), "1g"), world.node(owner), world.node(owner) + PAMT_PAIR]


class Words:
    """The words of an ending, read as memory is."""

    def __init__(self, words: dict[str, str]):
        self.words = {int(offset): int(word, 16) for offset, word in words.items()}

    def word(self, offset: int, width: int) -> int:
        return self.words[offset & ~7] >> 8 * (offset & 7) & (1 << width) - 1


class Outcome(NamedTuple):
    answers: tuple[str, ...]
    words: frozenset[str]

    def __str__(self) -> str:
        return " ".join(self.answers) + " -> " + ";".join(sorted(self.words))


def scenario_of(lines: list[Line]) -> DynamicScenario:
    line, count, scripts = lines[0], {"vcpu": 0, "host": 0}, []
    actors = {actor.name: actor for actor in make_actors(VCPUS, HOSTS, TDS)}
    rows = by_name(releases.find(line["release"]))
    for column in ACTORS:
        if not line[column]:
            continue
        call = made(line, column)
        if call.name not in rows or DynamicScenario.level(call) not in rows[call.name].levels:
            raise line.refuse(column, line[column], "no row of that call at that level")
        kind = "vcpu" if call.name in BY_VCPU else "host"
        scripts.append(Script(actors[f"td0.{kind}{count[kind]}"], (Step(call.name, word=column),)))
        count[kind] += 1
    file = File.model_validate({"name": line["scenario"], "module": line["release"], "dynamic_pamt": True})
    scenario = DynamicScenario(f"scenario {line['scenario']}", line["release"], policies.BY_NAME["kick_on_busy"],
                               "cas", tuple(scripts), file)
    object.__setattr__(scenario, "line", line)
    names = dict.fromkeys(name for each in lines for name in fields(each, "words"))
    for name in names:
        try:
            offsets_of(World(_layout(True), None), name)
        except (KeyError, ValueError):
            raise line.refuse("words", name, "no such word") from None
    object.__setattr__(scenario, "words", list(names))
    return scenario


def outcomes(scenario: DynamicScenario) -> set[Outcome]:
    found = explore.run(scenario, forget=False)
    assert found.complete, f"{scenario.line.place}: {found.stopped}"
    watch, numbers = [name for name, _ in scenario.watched()], {each.name: each for each in scenario.program.answers}
    result = set()
    for ending in found.endings:
        answers = tuple(name if name in (HALT, UNFINISHED) else
                        HALT if name == "HALT" else f"{numbers[name].status:#x}" for [name] in ending.answers)
        if HALT in answers:
            answers = tuple(each if each == HALT else UNFINISHED for each in answers)
        words = {} if ending.kind == HALTED else _words(scenario, Words(dict(zip(watch, ending.words))), answers)
        result.add(Outcome(answers, frozenset(f"{name}={word}" for name, word in words.items())))
    return result


def _words(scenario: DynamicScenario, memory: Words, answers: tuple[str, ...]) -> dict[str, str]:
    """Those that the file has names for, as it spells them; without those that are not there."""
    world, found = World(scenario.layout, memory), {}
    level = {page: at for _, page, at in begun(scenario.line).entries}
    hinted = dict(zip([column for column in ACTORS if scenario.line[column]], zip(answers, scenario.calls)))
    for name in scenario.words:
        if name == "tree":
            found[name] = f"{world.get(offsets_of(world, name)[0], 16):#x}"
        elif name.startswith("hint_"):
            status, call = hinted[name[5:]]
            if status == "0x0" and call.name in HINTED + ("tdh_phymem_page_reclaim",):
                found[name] = str(world.get(offsets_of(world, name)[0], 8))
        elif name.startswith("gpa"):
            page = GPA.get(name[3:]) if name[3:] in GPA else int(name[3:])
            word = world.get(world.layout.at(f"sept.{level[page]}", page >> 9 * level[page]), 64)
            found[name] = f"{world.spell_entry(word, short=False)} {spell_entry(word)}"
        else:
            word = world.word(name)
            if word is not None:
                found[name] = word
    return found


def theirs(lines: list[Line]) -> set[Outcome]:
    return {Outcome(tuple(line[f"status_{name}"] for name in ACTORS if line[name]),
                    frozenset(f"{name}={word}" for name, word in fields(line, "words").items())) for line in lines}


def compare_interleavings(vectors: Vectors) -> Iterator[Compared]:
    """Each scenario, explored and compared."""
    for lines in group(vectors.lines).values():
        first, scenario = lines[0], scenario_of(lines)
        here, there = outcomes(scenario), theirs(lines)
        what = "; ".join([f"not here: {outcome}" for outcome in sorted(there - here, key=str)]
                         + [f"only here: {outcome}" for outcome in sorted(here - there, key=str)])
        calls = " / ".join(call.name for call in scenario.calls)
        yield Compared(calls, f"{first.place}: scenario {first['scenario']}, {first['start']}: {what}" if what else "")
