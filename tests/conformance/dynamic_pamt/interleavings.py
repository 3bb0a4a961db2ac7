"""Every outcome of two or three calls at once with Dynamic PAMT, compared as sets."""

import functools
import re
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from harness.engines.explore import search as explore
from harness.engines.explore.tables import HALTED
from harness.experiment.plan import make_actors, start_registers
from harness.experiment.scenario import Scenario, Script
from harness.experiment.scenario_keys import File
from harness.memory.block import Memory
from harness.memory.layout import (
    ENTRIES, PAMT_PAIR, TDR_LIFECYCLE,
    TDVPS_STATE, Layout,
)
from harness.protocol import policies, releases
from harness.protocol.assemble import Listing, Program
from harness.protocol.call import Options
from harness.protocol.flows.script import ANSWER_BITS, Step
from harness.protocol.liveness import live_registers
from harness.protocol.seamcalls import by_name, entry_label, write_calls
from kernels.ops import Op, Register as R
from kernels.words import (
    OP_STATE_INITIALIZED, STATE, TD_TEARDOWN, VCPU_UNINITIALIZED, spell_entry,
)
from tests.conformance.calls import ROWS
from tests.conformance.interleavings import HALT, UNFINISHED, group
from tests.conformance.reading import Compared, Line, Vectors, fields, number
from tests.ready import BY_VCPU
from tests.conformance.dynamic_pamt.world import (
    HINTED, HOSTS, NAMED_TYPES, RANGES, TDS, VCPUS, keys_of, layout_of, Page, page_of, registers_of, World,
)


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
        return layout_of(True)

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
            offsets_of(World(layout_of(True), None), name)
        except (KeyError, ValueError):
            raise line.refuse("words", name, "no such word") from None
    object.__setattr__(scenario, "words", list(names))
    return scenario


def outcomes(scenario: DynamicScenario) -> set[Outcome]:
    found = explore.run(scenario, forget=0)
    if not found.complete:
        raise scenario.line.refuse("scenario", scenario.name, f"too large to be explored: {found.stopped}")
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
    level = {number(scenario.line, "a, b, c", call.keys["gpa"]) >> 12: scenario.level(call) for call in scenario.calls
             if "gpa" in call.keys} | {page: at for _, page, at in begun(scenario.line).entries}
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
            at = level.get(page, 0)
            word = world.get(world.layout.at(f"sept.{at}", page >> 9 * at), 64)
            found[name] = f"{world.spell_entry(word, short=False)} {spell_entry(word)}"
        else:
            word = world.word(name)
            if word is not None:
                found[name] = word
    return found


def theirs(lines: list[Line]) -> set[Outcome]:
    return {Outcome(tuple(line[f"status_{name}"] for name in ACTORS if line[name]),
                    frozenset(f"{name}={word}" for name, word in fields(line, "words").items())) for line in lines}


def compare(vectors: Vectors) -> Iterator[Compared]:
    """Each scenario, explored and compared."""
    for lines in group(vectors.lines).values():
        first, scenario = lines[0], scenario_of(lines)
        here, there = outcomes(scenario), theirs(lines)
        what = "; ".join([f"not here: {outcome}" for outcome in sorted(there - here, key=str)]
                         + [f"only here: {outcome}" for outcome in sorted(here - there, key=str)])
        calls = " / ".join(call.name for call in scenario.calls)
        yield Compared(calls, f"{first.place}: scenario {first['scenario']}, {first['start']}: {what}" if what else "")
