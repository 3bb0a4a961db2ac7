"""A single call, made with Dynamic PAMT and compared: status, end, every word, what it hands back."""

import functools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from harness.experiment.plan import make_actors, start_registers
from harness.memory.block import Memory
from harness.memory.layout import (
    ENTRIES, PAMT_BIT, PAMT_BYTES, PAMT_COUNT, PAMT_LOCK, TDR_LIFECYCLE,
    TDR_TDCX, TDVPS_STATE, TDVPS_TDCX, Layout,
)
from harness.protocol import releases
from harness.protocol.assemble import Listing, Program
from harness.protocol.call import Options
from harness.protocol.seamcalls import by_name, entry_label, write_calls
from kernels.ops import Op, Register as R
from kernels.words import STATE, STATUS_CLASS
from tests.conformance.abstractions import OPERAND, TURNED_OFF, covering
from tests.conformance.calls import ROWS, answer, finish
from tests.conformance.interleavings import HALT
from tests.conformance.reading import Compared, Line, Vectors, fields, number
from tests.ready import BY_VCPU
from tests.stage import Player
from tests.conformance.dynamic_pamt.world import (
    ADDRESS_REFUSED, GOOD, HINTED, HOSTS, NODES, PAIR_CALLS, PAIRS_BACK, RANGES, TABLE_CALLS, TDS, VCPUS,
    keys_of, layout_of, Page, page_of, range_of, registers_of, spell_page, World,
)


class Stage(NamedTuple):
    """What a Player needs."""

    program: Program
    memory: Memory
    layout: Layout


class Calls:
    """Calls that are made one after the other, each from a world laid anew."""

    def __init__(self, release: str, dynamic_pamt: bool):
        layout = layout_of(dynamic_pamt)
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
        keys |= {key: name for key, name in zip(PAIR_CALLS.get(call, ()), GOOD) if page_of(keys.get(key, "")) is None}
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
    return any(value.startswith("0x") for key, value in keys.items() if key not in ("gpa", "level", "rcx"))


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


def compare(vectors: Vectors) -> Iterator[Compared]:
    """Each line's call, made and compared."""
    for line in vectors.lines:
        enabled = fields(line, "before").get("dynamic_pamt", "1") != "0"
        words = difference(calls_of(vectors.release, enabled), line)
        what = "; ".join(f"{name} {was}, here {here}" for name, (was, here) in words.items())
        yield Compared(line["call"], f"{line.place}: {what}" if words else "",
                       covering(vectors.release, line, words) if words else "")
