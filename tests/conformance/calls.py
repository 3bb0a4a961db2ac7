"""Single calls: memory is laid as a line says, the call runs alone, and status, end and every word are compared.

A world has one TD, a vCPU and a host thread, built and finalized.  The entry that a call is about is that of
page 3 (level 0) or of page 0 (above); the page that it maps is the GPA's own, an SEPT page that of its level.
"""

import functools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from harness.memory.layout import (
    KOT_PACKAGES, KOT_STATE, PAMT_BEPOCH, PAMT_LOCK, PAMT_TYPE, TDR_FATAL, TDR_LIFECYCLE, TDR_TDCX, TDVPS_EPOCH,
    TDVPS_LP, TDVPS_STATE, TDVPS_TDCX,
)
from harness.protocol.seamcalls import by_name
from kernels.answers import AnswerKind
from kernels.epoch import EPOCH_BYTE, REFCOUNT_BYTES
from kernels.machine import NO_OP, steps
from kernels.ops import LEVELS, Op, Register as R
from kernels.words import (
    EXIT_REASONS, HPA_MASK, PT_NDA, STATE, TDCS_PAGES, TDEL, TDHP, state_of, status, unsigned,
)
from tests.conformance.abstractions import covering
from tests.conformance.reading import Compared, Line, Vectors, fields, number
from tests.ready import BY_VCPU
from tests.stage import ABOUT_PAGES, Player, Stage

PAGES = 512                      # of the TD; the target of RELOCATE is the page behind them
STEPS_MAX = 200_000
SIZES = (("4k", 0), ("2m", 9), ("1g", 18))
TABLES = ("", "pt_pages", "pd_pages")            # group of the SEPT page that an entry of a level maps
EXTRA = {"tdh_mng_add_cx": TDCS_PAGES - 1, "tdh_vp_addcx": TDCS_PAGES}
# Names of calls in the files where a row of the table stands for two.
ROWS = {"tdh_mng_rd": "tdh_mng_rdwr", "tdh_mng_wr": "tdh_mng_rdwr", "tdh_vp_rd": "tdh_vp_rd_wr",
        "tdh_vp_wr": "tdh_vp_rd_wr"}
CHILDREN = {"free": "FREE", "mapped": "MAPPED", "blocked": "BLOCKED", "pending": "PENDING"}


class Place(NamedTuple):
    """A word by its offset and width, and how much more it says here than in a file (all ones: the same)."""

    offset: int
    width: int = 64
    more: int = 0

    def say(self, word: int) -> int:
        """A word from here as a file has it."""
        ones = (1 << self.width) - 1
        return word if word == ones else word - self.more & ones


class Outcome(NamedTuple):
    status: int
    end: str
    after: dict[str, str]


@functools.lru_cache(maxsize=8)
def world(release: str) -> "World":
    return World(release)


class World:
    """A TD in which calls are made one after the other, each from the same words."""

    def __init__(self, release: str):
        self.stage = Stage(vcpus=1, hosts=1, pages=PAGES, release=release)
        layout = self.stage.layout
        self.rows = by_name(self.stage.release)
        self.set(Place(layout.at("chldcnt")), 100)
        self.set(Place(layout.at("tdvps") + TDVPS_EPOCH), 1)
        self.block = np.frombuffer(self.stage.memory.block, np.uint64)
        self.fresh = self.block.copy()
        ignored = np.zeros(8 * len(self.block), bool)
        for name in ("shadow", "content", "registers", "records", "image", "control"):
            region = layout.by_name[name]
            ignored[region.offset:region.end] = True
        self.compared = ~ignored.reshape(-1, 8).any(axis=1)

    def set(self, place: Place, value: int) -> None:
        self.stage.memory.set_word(place.offset, value + place.more & (1 << place.width) - 1, place.width)

    def get(self, place: Place) -> int:
        return place.say(self.stage.memory.word(place.offset, place.width))

    def restore(self) -> None:
        self.block[:] = self.fresh
        self.stage.players.clear()           # with what their registers hold


def page_of(level: int) -> int:
    return 3 if level == 0 else 0


def places(world: World, call: str, level: int) -> dict[str, Place]:
    """The words that a file names, with those that a call changes first."""
    layout, page = world.stage.layout, page_of(level)
    found = {}
    groups = [("data", "data", page), ("tdr", "control", 0), ("tdvpr", "control", 1), ("target", "data", PAGES),
              ("extra", "tdcx", EXTRA.get(call, 0))]
    if level:
        groups.append(("sept", TABLES[level], page >> 9 * level))
    for name, group, index in groups:
        for size, shift in SIZES:
            at = layout.at(f"pamt_{size}.{group}", index >> shift)
            found[f"{name}.{size}"] = Place(at + PAMT_LOCK, 16)
            found[f"{name}.{size}.type"] = Place(at + PAMT_TYPE, 8)
            found[f"{name}.{size}.bepoch"] = Place(at + PAMT_BEPOCH)
    for name, word in (("tree", "secure_ept_lock"), ("op_state_lock", "op_state_lock"),
                       ("epoch_lock", "epoch_lock"), ("kot_lock", "kot_lock")):
        found[name] = Place(layout.at(word), 16)
    for name in ("op_state", "chldcnt", "num_vcpus"):
        found[name] = Place(layout.at(name))
    tdr, kot, tdvps = layout.at("tdr_state"), layout.at("kot"), layout.at("tdvps")
    found |= {
        "num_assoc": Place(layout.at("num_assoc_vcpus"), 32),
        "td_epoch": Place(layout.at("epoch") + EPOCH_BYTE, 32),
        "ref0": Place(layout.at("epoch"), 16), "ref1": Place(layout.at("epoch") + REFCOUNT_BYTES, 16),
        "fatal": Place(tdr + TDR_FATAL, 8), "lifecycle": Place(tdr + TDR_LIFECYCLE, 8),
        "tdcx": Place(tdr + TDR_TDCX, 8),
        "kot_state": Place(kot + KOT_STATE, 8), "wb": Place(kot + KOT_PACKAGES, 8),
        "vcpu_state": Place(tdvps + TDVPS_STATE, 8), "tdvps_pages": Place(tdvps + TDVPS_TDCX, 8, -1),
        "vcpu_epoch": Place(tdvps + TDVPS_EPOCH), "lp": Place(tdvps + TDVPS_LP, 32, 1),
        "interrupt": Place(layout.at("kick" if call in BY_VCPU else "host_interrupt"))}
    for name in ("mem_count", "blocked_count", "pending_blocked_count"):
        if name in layout.by_name:
            found[name] = Place(layout.at(name))
    return found


# --- before ---

def entry_word(world: World, state: str, page: int, level: int, lock=False, priority=False) -> int:
    return world.stage.as_state(state, page, level, lock, priority)


def lay(world: World, line: Line, call: str, level: int, named: dict[str, Place]) -> None:
    """Memory as a line says."""
    stage, page = world.stage, page_of(level)
    for above in range(level + 1, 3):
        stage.set_entry(page, "NL_MAPPED", above)
    if line["state"] not in STATE:
        raise line.refuse("state", line["state"], f"must be one of {', '.join(STATE)}")
    for bit in ("el", "hp"):
        if line[bit] not in ("0", "1"):
            raise line.refuse(bit, line[bit], "must be 0 or 1")
    before = fields(line, "before")
    if call in EXTRA:
        stage.set_type("tdcx", EXTRA[call], PT_NDA)
    stage.set_entry(page, line["state"], level, line["el"] == "1", line["hp"] == "1")
    for name, text in before.items():
        if name == "parent":
            if text not in STATE or level + 1 == LEVELS:
                raise line.refuse("before", f"parent={text}", f"must be one of {', '.join(STATE)}, below level {LEVELS - 1}")
            stage.set_entry(page, text, level + 1)
        elif name == "children":
            _lay_children(world, line, text, level)
        elif name == "counter":
            place = stage.layout.at(f"sept.{level}", page >> 9 * level)
            stage.memory.set_word(place, stage.memory.word(place) | number(line, "before", text) << 12)
        elif name in named:
            value = number(line, "before", text)
            world.set(named[name], value)
            if name == "data.4k.type" and level == 1:            # the pages that the entries below map
                world.stage.memory.view("pamt_4k.data", np.uint8)[:PAGES, PAMT_TYPE] = value
        else:
            raise line.refuse("before", name, f"no such word; known: parent, children, counter, {', '.join(named)}")


def _lay_children(world: World, line: Line, text: str, level: int) -> None:
    """`STATE[,INDEX:WHAT]...`: 512 entries in the table, of pages that follow each other."""
    kind, *odd = text.split(",")
    if kind not in CHILDREN or level == 0:
        raise line.refuse("before", text, f"must be one of {', '.join(CHILDREN)}, of an entry above level 0")
    stage, shift = world.stage, 9 * (level - 1)
    words = stage.memory.view(f"sept.{level - 1}")
    for index in range(min(512, len(words))):
        words[index] = stage.as_state(CHILDREN[kind], index << shift, level - 1) if kind != "free" or level == 1 \
            else STATE["FREE"].word()
    for item in odd:
        index, _, what = item.partition(":")
        if not index.isdecimal() or int(index) >= min(512, len(words)):
            raise line.refuse("before", item, f"must be INDEX:WHAT, of an index below {min(512, len(words))}")
        index = int(index)
        if what == "EL":
            words[index] |= np.uint64(TDEL)
        elif what == "HP":
            words[index] |= np.uint64(TDHP)
        elif what == "skip":
            words[index] += np.uint64(4096 << shift)
        elif what in STATE:
            words[index] = stage.as_state(what, index << shift, level - 1)
        else:
            raise line.refuse("before", text, f"known behind an index: EL, HP, skip, {', '.join(STATE)}")


# --- after ---

def spell(world: World, word: int, level: int) -> str:
    """An entry as the files have it: its bits without the address, and which page that is."""
    state, hpa = state_of(word), word & HPA_MASK
    if state is None or state.name in ("FREE", "REMOVED"):
        return f"{word:#x}"
    stage = world.stage
    known = {stage.layout.hpa("data", page_of(level)): "data", stage.layout.hpa("data", PAGES): "target"}
    if level:
        known[stage.layout.hpa(TABLES[level], 0)] = "sept"
    counter = hpa >> 12 & 511 if level == 1 and state.leaf else 0
    name = known.get(hpa - (counter << 12), f"{hpa:#x}")
    return f"{word & ~HPA_MASK:#x}@{name}" + f"+{counter}" * bool(counter)


def spell_children(world: World, level: int) -> str:
    """The 512 entries below: the most common, then those that are not like it."""
    words, shift = world.stage.memory.view(f"sept.{level - 1}"), 9 * (level - 1)

    def one(index):
        word = int(words[index])
        hpa = word & HPA_MASK
        if hpa == world.stage.layout.hpa("data", index << shift):
            return f"{word & ~HPA_MASK:#x}@seq"
        return f"{word:#x}"

    spelled = [one(index) for index in range(min(512, len(words)))]
    most = max(set(spelled), key=spelled.count)
    return "|".join([most, *(f"{index}:{text}" for index, text in enumerate(spelled) if text != most)])


def words_after(world: World, before: np.ndarray, level: int, named: dict[str, Place]) -> dict[str, str]:
    """Every word that differs from before, by its name in the files, or by ours if they have none."""
    layout, found = world.stage.layout, {}
    changed = set((8 * np.flatnonzero((world.block != before) & world.compared)).tolist())
    old = before.view(np.uint8)

    def was(place: Place) -> int:
        raw = old[place.offset:place.offset + place.width // 8].tobytes()
        return place.say(int.from_bytes(raw, "little"))

    cells = set()
    for name, place in named.items():
        cells.add(place.offset & ~7)
        if place.offset & ~7 in changed and place.offset not in {named[other].offset for other in found} and (
                world.get(place) != was(place)):
            found[name] = f"{world.get(place):#x}"
    page = page_of(level)
    entry = layout.at(f"sept.{level}", page >> 9 * level)
    if entry in changed:
        found["entry"] = spell(world, world.stage.memory.word(entry), level)
    cells.add(entry)
    if level:
        region = layout.by_name[f"sept.{level - 1}"]
        below = set(range(region.offset, region.end, 8))
        if below & changed:
            found["children"] = spell_children(world, level)
        cells |= below
    if level == 1:                       # the types of all parts of a large page, which change together
        first = layout.at("pamt_4k.data")
        types = world.stage.memory.view("pamt_4k.data", np.uint8)[:PAGES, PAMT_TYPE]
        if len(set(types.tolist())) == 1:
            cells |= set(range(first, first + 16 * PAGES, 8))
    for cell in sorted(changed - cells):
        found[layout.name_of(cell)] = f"{world.stage.memory.word(cell):#x}"
    return found


# --- the call ---

def run(world: World, line: Line) -> Outcome:
    """Make the call of a line in a fresh world."""
    call = ROWS.get(line["call"], line["call"])
    level = number(line, "level", line["level"])
    if not 0 <= level < LEVELS:
        raise line.refuse("level", level, f"must be from 0 to {LEVELS - 1}")
    row = world.rows.get(call)
    by_level = row and (row.leveled or len(row.levels) > 1)
    if row is None or by_level and level not in row.levels:
        return Outcome(0, f"no row of {call} at level {level}", {})
    world.restore()
    named = places(world, call, level)
    lay(world, line, call, level, named)
    actor = world.stage.actor("vcpu0" if call in BY_VCPU else "host0")
    group = level if by_level else row.levels[0]
    page = page_of(level)
    if call in ABOUT_PAGES:
        group = "tdcx" if call in EXTRA else "data"
        page = EXTRA.get(call, page)
    before = world.block.copy()
    actor.begin(call, page, group)
    end = finish(actor)
    return Outcome(answer(actor) if end != "halt" else 0, _end(end, call, actor), words_after(world, before, level, named))


BEFORE = NO_OP.copy()
BEFORE[Op.OVERDUE] = True


def finish(actor: Player) -> str:
    """Execute to the end of the call: "return" or "halt"."""
    program, registers, base = actor.stage.program, actor.registers, actor.stage.memory.base
    for _ in range(STEPS_MAX):
        row = program.listing[registers[R.PC]]
        signal = steps(program.rows, registers, base, 1 if row.op == Op.OVERDUE else STEPS_MAX, BEFORE)
        if signal == Op.CALL_END:
            return "return"
        if row.op == Op.OVERDUE:
            registers[row.register] = 0
        if not registers[R.PC]:
            return "halt"
    raise AssertionError(f"{actor} does not end")


def answer(actor: Player) -> int:
    """RAX; of a guest's call that was refused for host priority, what its function returns."""
    named = actor.stage.program.answers[actor.registers[R.ANSWER]]
    if named.kind == AnswerKind.BUSY_FOR_PRIORITY:
        return status("TDX_OPERAND_BUSY_HOST_PRIORITY", "RCX")
    return unsigned(actor.registers[R.STATUS])


def _end(end: str, call: str, actor: Player) -> str:
    if end == "return" and call == "tdh_vp_enter" and actor.status == 0:
        return "entered"
    if end == "return" and call.startswith("tdg_") and actor.status in EXIT_REASONS:
        return "td_exit"
    return end


def difference(world: World, line: Line) -> dict[str, tuple[str, str]]:
    """What differs: by word, or "status" and "end", what it is in the file and here."""
    ours = run(world, line)
    theirs = {"status": f"{number(line, 'status', line['status']):#x}", "end": line["end"]} | fields(line, "after")
    here = {"status": f"{ours.status:#x}", "end": ours.end} | ours.after
    return {name: (theirs.get(name, "as before"), here.get(name, "as before"))
            for name in {**theirs, **here} if theirs.get(name) != here.get(name)}


def compare(vectors: Vectors) -> Iterator[Compared]:
    """Each line's call, made and compared."""
    there = world(vectors.release)
    for line in vectors.lines:
        words = difference(there, line)
        what = "; ".join(f"{name} {was}, here {here}" for name, (was, here) in words.items())
        yield Compared(line["call"], f"{line.place}: {what}" if words else "",
                       covering(vectors.release, line, words) if words else "")
