"""Two or three calls at once: a scenario is explored, and the sets of outcomes are compared.

An outcome is what each call answered, and the words at the end: the entry, the tree's lock, PAMT lock word and type
of the data page, the epoch's lock, td_epoch and op_state's lock.  Where a call halts the module no word counts.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from harness.engines.explore import search as explore
from harness.engines.explore.tables import HALTED
from harness.experiment.scenario import Scenario
from harness.experiment.scenario_file import parse
from harness.protocol.seamcalls import by_name
from harness.protocol.releases import BY_NAME as RELEASES
from kernels.answers import AnswerKind
from kernels.epoch import EPOCH_SHIFT, epoch_word
from kernels.words import EXIT_REASONS, HPA_MASK, STATE, spell_entry, state_of, status
from tests.conformance.calls import ROWS
from tests.conformance.reading import Compared, Line, Vectors, number
from tests.ready import BY_VCPU

PAGE_BITS = 12
ACTORS = ("a", "b", "c")
SCENARIO = ("release", "scenario", *ACTORS, "start", "listed")
PRIORITY = status("TDX_OPERAND_BUSY_HOST_PRIORITY", "RCX")
HALT, UNFINISHED = "halt", "-"
WORDS = ("entry", "entry_state", "tree", "page_pamt", "page_type", "epoch_lock", "td_epoch", "op_state_lock")


class Outcome(NamedTuple):
    answers: tuple[str, ...]     # of a, b, c; of a call made twice FIRST>SECOND
    words: tuple[str, ...]       # as WORDS; none where the module halted

    def __str__(self) -> str:
        return " ".join(self.answers) + (" -> " + " ".join(self.words) if self.words else "")


class Made(NamedTuple):
    """A call of a scenario, as a file has it: NAME [twice] KEY=VALUE..."""

    name: str
    twice: bool
    keys: dict[str, str]

    @property
    def level(self) -> int:
        return int(self.keys.get("level", "0"))

    @property
    def page(self) -> int:
        return int(self.keys.get("gpa", "0"), 0) >> PAGE_BITS


def made(line: Line, column: str) -> Made:
    words = line[column].split()
    twice = "twice" in words
    keys = dict(word.split("=", 1) for word in words[1:] if "=" in word)
    if not words or any("=" not in word and word != "twice" for word in words[1:]):
        raise line.refuse(column, line[column], "must be CALL [twice] KEY=VALUE...")
    for key in ("gpa", "level"):
        number(line, column, keys.get(key, "0"))
    return Made(words[0], twice, keys)


def group(lines: list[Line]) -> dict[tuple[str, ...], list[Line]]:
    """Lines by scenario: its number, and what it is, as a file may be of several releases or joined of several."""
    found: dict[tuple[str, ...], list[Line]] = {}
    for line in lines:
        found.setdefault(tuple(line.cells.get(column, "") for column in SCENARIO), []).append(line)
    return found


# --- a scenario ------------------------------------------------------------------------------

START = re.compile(r"(?P<state>\w+)(?P<hp>\+HP)?(?: children (?P<children>\w+))?(?: td_epoch (?P<epoch>\d+))?$")


def table_of(line: Line) -> tuple[dict, list[str], int, int]:
    """The scenario file that a line stands for, the actors of a, b, c, and the entry's page and level."""
    calls = [made(line, column) for column in ACTORS if line[column]]
    about = next((call for call in calls if "gpa" in call.keys), Made("", False, {"gpa": "0x3000"}))
    page, level = about.page, about.level
    actors, names, count = {}, [], {"vcpu": 0, "host": 0}
    release = RELEASES[line["release"]]
    for call in calls:
        row = ROWS.get(call.name, call.name)
        if row not in by_name(release):
            raise line.refuse("a, b, c", call.name, f"no row of {release.name}")
        kind = "vcpu" if row in BY_VCPU else "host"
        names.append(f"{kind}{count[kind]}")
        count[kind] += 1
        text = row if "gpa" not in call.keys else f"{row} {call.page} level {call.level}"
        actors[names[-1]] = [text] * (1 + call.twice)
    start = START.match(line["start"])
    if not start or start["state"] not in STATE or start["children"] and start["children"] not in STATE:
        raise line.refuse("start", line["start"], "must be STATE[+HP] [children STATE] [td_epoch N]")
    key = f"{page} level {level}"
    words = {"epoch": epoch_word(int(start["epoch"]))} if start["epoch"] else {}
    table = {"module": release.name, "exclusive_ownership": False, "actors": actors,
             "start": {"pages": {key: start["state"] + (start["hp"] or "")}, "words": words},
             "watch": watched(page, level)}
    if start["children"]:
        table["start"]["children"] = {key: start["children"]}
    if line["listed"] and line["listed"] != "empty":
        pages = [number(line, "listed", gpa) >> PAGE_BITS for gpa in line["listed"].split()]
        table["start"]["listed"] = {name: pages for name, call in zip(names, calls) if call.name == "tdh_vp_enter"}
    return table, names, page, level


def watched(page: int, level: int) -> list[str]:
    size, place = ("4k", "2m")[min(level, 1)], page >> 9 * min(level, 1)
    return [f"sept.{level} {page >> 9 * level}", "secure_ept_lock", f"pamt_{size}.data {place}",
            f"pamt_{size}.data {place} type", "epoch_lock", "epoch", "op_state_lock"]


def outcomes(line: Line) -> set[Outcome]:
    """All that can come of a scenario."""
    table, names, page, level = table_of(line)
    [scenario] = parse(table, f"scenario {line['scenario']}")
    found = explore.run(scenario, forget=0)
    if not found.complete:
        raise line.refuse("scenario", line["scenario"], f"too large to be explored: {found.stopped}")
    # In a scenario the vCPUs come first.
    place = {script.actor.name: number for number, script in enumerate(scenario.scripts)}
    numbers = {answer.name: answer for answer in scenario.program.answers}
    watch = [name for name, _ in scenario.watched()]
    result = set()
    for ending in found.endings:
        answers = tuple(">".join(_answer(numbers, name, scenario.scripts[place[actor]].steps[0].call)
                                 for name in _until_halt(ending.answers[place[actor]])) for actor in names)
        words = () if ending.kind == HALTED else _words(scenario, dict(zip(watch, ending.words)), page, level)
        if HALT in answers:              # whoever else was not finished, or was and nobody asked
            answers = tuple(HALT if answer == HALT else UNFINISHED for answer in answers)
        result.add(Outcome(answers, words))
    return result


def _until_halt(answers: tuple[str, ...]) -> tuple[str, ...]:
    """Of a script that did not get to its end, only how it ended."""
    if "HALT" in answers:
        return (HALT,)
    return (UNFINISHED,) if UNFINISHED in answers else answers


def _answer(numbers, name: str, call: str) -> str:
    """RAX; td_exit, entered."""
    if name in (HALT, UNFINISHED):
        return name
    answer = numbers[name]
    if answer.status in EXIT_REASONS:
        return "td_exit"
    if call == "tdh_vp_enter" and answer.status == 0:
        return "entered"
    return f"{PRIORITY if answer.kind == AnswerKind.BUSY_FOR_PRIORITY else answer.status:#x}"


def _words(scenario: Scenario, words: dict[str, str], page: int, level: int) -> tuple[str, ...]:
    entry, tree, pamt, page_type, epoch_lock, epoch, op_state = (int(words[name], 16) for name in watched(page, level))
    return (_entry(scenario, entry, page, level), spell_entry(entry).replace("+EL", ""), f"{tree:#x}", f"{pamt:#x}",
            str(page_type), f"{epoch_lock:#x}", str(epoch >> EPOCH_SHIFT), f"{op_state:#x}")


def _entry(scenario: Scenario, word: int, page: int, level: int) -> str:
    state, hpa = state_of(word), word & HPA_MASK
    if state is None or state.name in ("FREE", "REMOVED"):
        return f"{word:#x}"
    layout = scenario.layout
    known = {layout.hpa("data", page): "data", layout.hpa("data", layout.pages): "target",
             layout.hpa("pt_pages", page >> 9): "sept"}
    return f"{word & ~HPA_MASK:#x}@{known.get(hpa, hex(hpa))}"


def theirs(lines: list[Line]) -> set[Outcome]:
    """The outcomes that the module's own code had."""
    found = set()
    for line in lines:
        answers = tuple(line[f"status_{name}"] for name in ACTORS if line[name])
        found.add(Outcome(answers, () if line["end"] == HALT else tuple(line[name] for name in WORDS)))
    return found


def difference(lines: list[Line]) -> str:
    """How a scenario's outcomes differ from ours: nothing if they do not."""
    here, there = outcomes(lines[0]), theirs(lines)
    found = [f"not here: {outcome}" for outcome in sorted(there - here)]
    found += [f"only here: {outcome}" for outcome in sorted(here - there)]
    return "; ".join(found)


def compare(vectors: Vectors) -> Iterator[Compared]:
    """Each scenario, explored and compared."""
    for lines in group(vectors.lines).values():
        first = lines[0]
        what = difference(lines)
        calls = " / ".join(made(first, column).name for column in ACTORS if first[column])
        yield Compared(calls, f"{first.place}: scenario {first['scenario']}, {first['start']}: {what}" if what else "")
