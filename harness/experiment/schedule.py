"""Schedules: who executes how many rows, in which order, as a file.

A schedule is all that a run of a scenario depends on, so a counterexample is one.  It is kept as a
file that says the scenario too, and the words that memory ends with.

    schedule = Schedule(scenario, turns, "host priority is lost")
    schedule.write(path)                  # Schedule.read(path) gives it back

engines/replay runs it again.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from harness.errors import ResultError, escaped
from harness.files import read_json, write_file
from harness.experiment import litmus
from harness.experiment.scenario import Scenario
from harness.experiment.scenario_file import parse
from kernels.moves import HOLD, ROWS_MAX

SCHEMA = "tdx-sept-harness/schedule/1"
BYTES_MOST = 4 << 20             # a hundred thousand turns; a counterexample has less than a thousand
KEYS = {"name": (str,), "module": (str,), "reason": (str,), "policy": (str,), "scenario": (dict,), "turns": (list,),
        "final": (dict, type(None))}
KIND_NAMES = {str: "text", dict: "a table", list: "a list"}


class Turn(NamedTuple):
    """A piece of a schedule: this actor executes so many rows.

    branch   what is decided in one of them, if anything is: the outcome of a choice, or whether time runs out; with store
             buffers DRAIN: the oldest store arrives, HOLD: the first row's store goes into the buffer (kernels/moves.py)
    """

    actor: int                   # its place among the scenario's scripts
    rows: int
    branch: int


class Access(NamedTuple):
    """One access to a shared word, or the begin or the answer of a call."""

    turn: int
    actor: str
    text: str                    # what the row does, for a person
    word: str                    # the word by its name
    before: int
    after: int
    bits: int
    status: str = ""             # the call's answer, where one ends
    mark: str = ""               # KVM_BUG_ON, a violation that was counted, time that has run out
    call: str = ""               # the call of the module that it is a part of
    begins: str = ""             # where a call begins: its name, or the line of C that makes it


@dataclass
class Schedule:
    scenario: Scenario
    turns: list[Turn]
    reason: str = ""
    final: dict[str, str] | None = None      # word by name -> value, of all that differ from the start

    def as_json(self) -> dict:
        scenario = self.scenario
        return {"schema": SCHEMA, "name": scenario.name, "module": scenario.module, "reason": self.reason,
                "policy": scenario.policy.name, "primitive": scenario.primitive,
                "scenario": scenario.table, "turns": [list(turn) for turn in self.turns], "final": self.final}

    def write(self, path: Path) -> Path:
        """Write the file.  Raises OSError."""
        path.parent.mkdir(parents=True, exist_ok=True)
        return write_file(json.dumps(self.as_json(), indent=1) + "\n", path)

    @staticmethod
    def from_json(given: dict, path: str = "schedule") -> "Schedule":
        """Raises ResultError, or UsageError for a scenario that this version refuses."""
        if not isinstance(given, dict) or given.get("schema") != SCHEMA:
            schema = given.get("schema") if isinstance(given, dict) else None
            raise ResultError(f"{path}: schema = {schema!r}: must be {SCHEMA!r}")
        for key, kinds in KEYS.items():
            if key not in given:
                raise ResultError(f"{path}: {key}: is missing; must be {KIND_NAMES[kinds[0]]}")
            if not isinstance(given.get(key), kinds):
                raise ResultError(f"{path}: {key} = {given.get(key)!r:.60}: must be {KIND_NAMES[kinds[0]]}")
        if "litmus" in given["scenario"]:
            return _of_litmus(given, path)
        table, name = given["scenario"] | {"policy": given["scenario"].get("policy", given["policy"])}, given["name"]
        for scenario in parse(table, name, path, [given["module"]]):
            if scenario.name == name:
                actors = len(scenario.scripts)
                turns = [_turn(path, number, turn, actors) for number, turn in enumerate(given["turns"])]
                return Schedule(scenario, turns, escaped(given["reason"]), given["final"])
        raise ResultError(f"{path}: scenario = {name!r}: not in the file's own table")

    @staticmethod
    def read(path: str | Path) -> "Schedule":
        return Schedule.from_json(read_json(path, keep="\n\r\t", most=BYTES_MOST), str(path))


def _of_litmus(given: dict, path: str) -> Schedule:
    """A schedule of a C litmus test; it carries the whole text."""
    text = given["scenario"]["litmus"]
    if not isinstance(text, str):
        raise ResultError(f"{path}: scenario.litmus must be the test's text")
    said = {key: given["scenario"][key] for key in litmus.GIVEN if key in given["scenario"]}
    test = litmus.parse(text, f"{path}: {given['name']}", said)
    turns = [_turn(path, number, turn, len(test.scripts)) for number, turn in enumerate(given["turns"])]
    return Schedule(test, turns, escaped(given["reason"]), given["final"])


def _turn(path: str, number: int, given, actors: int) -> Turn:
    """Raises ResultError for what is no turn."""
    limits = (actors - 1, 2 * ROWS_MAX, HOLD)
    if not (isinstance(given, list) and len(given) == len(limits) and all(
            isinstance(value, int) and 0 <= value <= limit for value, limit in zip(given, limits))):
        raise ResultError(f"{path}: turns[{number}] = {given!r:.60}: must be [actor, rows, branch],"
                          f" at most {list(limits)}")
    return Turn(*given)
