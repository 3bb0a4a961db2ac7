"""Schedules: who executes how many rows, in which order; run again step by step, with every word.

A schedule is all that a run of a scenario depends on, so a counterexample is one.  It is kept as a
file that says the scenario too, and the words that memory ends with.

    schedule = Schedule(scenario, turns, "host priority is lost")
    schedule.write(path)                  # Schedule.read(path) gives it back
    accesses, final = execute(schedule)   # what each step read and wrote
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from harness.errors import ResultError
from harness.files import read_json, write_file
from harness.memory.block import Memory
from harness.experiment import litmus
from harness.experiment.scenario import Scenario
from harness.experiment.scenario_file import parse
from harness.protocol.counters import VIOLATIONS
from harness.protocol.flows.script import LEAVE
from kernels.machine import step_once
from kernels.ops import OF_ROW, OP_TABLE, ZEROED, Kind, Op, Register as R
from kernels.search import BRANCHES_MAX, ROWS_MAX
from kernels.words import unsigned

SCHEMA = "tdx-sept-harness/schedule/1"
KEYS = {"name": (str,), "module": (str,), "reason": (str,), "policy": (str,), "scenario": (dict,), "turns": (list,),
        "final": (dict, type(None))}
KIND_NAMES = {str: "text", dict: "a table", list: "a list"}


class Turn(NamedTuple):
    """A piece of a schedule: this actor executes so many rows; `branch` is its choice, if it makes one."""

    actor: int                   # its place among the scenario's scripts
    rows: int
    branch: int


class Access(NamedTuple):
    """One access to a shared word, or the answer of a call."""

    turn: int
    actor: str
    text: str                    # what the row does, for a person
    word: str                    # the word by its name
    before: int
    after: int
    bits: int
    status: str = ""             # the call's answer, where one ends
    mark: str = ""               # KVM_BUG_ON, a violation that was counted


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
            if not isinstance(given.get(key), kinds):
                raise ResultError(f"{path}: {key} = {given.get(key)!r:.60}: must be {KIND_NAMES[kinds[0]]}")
        if "litmus" in given["scenario"]:
            return _of_litmus(given, path)
        table, name = given["scenario"] | {"policy": given["scenario"].get("policy", given["policy"])}, given["name"]
        for scenario in parse(table, name, path, [given["module"]]):
            if scenario.name == name:
                actors = len(scenario.scripts)
                turns = [_turn(path, number, turn, actors) for number, turn in enumerate(given["turns"])]
                return Schedule(scenario, turns, given["reason"], given["final"])
        raise ResultError(f"{path}: scenario = {name!r}: not in the file's own table")

    @staticmethod
    def read(path: str | Path) -> "Schedule":
        return Schedule.from_json(read_json(path), str(path))


def _of_litmus(given: dict, path: str) -> Schedule:
    """A schedule of a C litmus test, whose whole text it carries."""
    text = given["scenario"]["litmus"]
    if not isinstance(text, str):
        raise ResultError(f"{path}: scenario.litmus must be the test's text")
    test = litmus.parse(text, f"{path}: {given['name']}")
    turns = [_turn(path, number, turn, len(test.scripts)) for number, turn in enumerate(given["turns"])]
    return Schedule(test, turns, given["reason"], given["final"])


def _turn(path: str, number: int, given, actors: int) -> Turn:
    """Raises ResultError for what is no turn."""
    limits = (actors - 1, 2 * ROWS_MAX, BRANCHES_MAX)
    if not (isinstance(given, list) and len(given) == len(limits) and all(
            isinstance(value, int) and 0 <= value <= limit for value, limit in zip(given, limits))):
        raise ResultError(f"{path}: turns[{number}] = {given!r:.60}: must be [actor, rows, branch],"
                          f" at most {list(limits)}")
    return Turn(*given)


def leave_of(scenario: Scenario, place: int) -> int:
    """The row at which a vCPU goes on when its script is over; 0 for a host, which just stops."""
    return scenario.program.labels.get(LEAVE, 0) if scenario.scripts[place].actor.kind == "vcpu" else 0


class Player:
    """One actor that takes its turns; what only a driver can know is settled as the search does it."""

    def __init__(self, scenario: Scenario, place: int, registers: np.ndarray, memory: Memory):
        self.scenario, self.place, self.registers, self.memory = scenario, place, registers, memory
        self.script = scenario.scripts[place]
        self.program = scenario.program
        self.leave = leave_of(scenario, place)
        self.pages = self.script.flow or ()

    def row_op(self) -> Op:
        """The op of the row that it is about to execute."""
        return self.program.listing[int(self.registers[R.PC])].op

    def take(self, turn: Turn, number: int, accesses: list[Access]) -> None:
        """Execute a turn's rows; notes its accesses."""
        for _ in range(turn.rows):
            if self.row_op() in (Op.STOP, Op.HALT):
                raise ResultError(f"{self.scenario.name}: turns[{number}] = {list(turn)}:"
                                  f" {self.script.actor.name} has come to its end before")
            self._row(turn, number, accesses)

    def _row(self, turn: Turn, number: int, accesses: list[Access]) -> None:
        registers, pc = self.registers, int(self.registers[R.PC])
        row, listed = self.program.rows[pc], self.program.listing[pc]
        name = self.script.actor.name
        if listed.op == Op.CHOOSE:
            self._choose(turn, row)
            return
        if listed.op == Op.POLL:
            registers[R.STOPPING] = int(registers[R.DRAWS] > len(self.pages) - (self.leave == 0))
        elif listed.op == Op.CALL_BEGIN:
            registers[R.CALL] = row["value"]
        elif listed.op == Op.CALL_END:
            accesses.append(Access(number, name, listed.text, "", 0, 0, 0,
                                   self.program.answers[registers[R.ANSWER]].name))
        elif listed.op == Op.BUG or listed.op == Op.COUNT and listed.text in VIOLATIONS:
            accesses.append(Access(number, name, listed.text, "", 0, 0, 0, mark=listed.text))
        where, bits = self._place_of(row, listed)
        before = self.memory.word(where, bits) if bits else 0
        step_once(self.program.rows, registers, self.memory.base)
        if bits:
            text = f"{listed.op.name.lower()} {listed.text}".strip()
            accesses.append(Access(number, name, text, self.scenario.layout.name_of(where), before,
                                   self.memory.word(where, bits), bits))
        if not registers[R.PC]:
            accesses.append(Access(number, name, listed.text, "", 0, 0, 0, mark="the module halts"))

    def _choose(self, turn: Turn, row) -> None:
        registers = self.registers
        if self.program.choices[row["value"]] == "accept_first":
            registers[row["register"]] = turn.branch
        elif registers[R.DRAWS] >= len(self.pages):
            registers[R.DRAWS] = len(self.pages) + 1
            registers[R.PC] = self.leave
            return
        else:
            registers[row["register"]] = self.pages[registers[R.DRAWS]]
            registers[R.DRAWS] += 1
        registers[R.PC] = row["next"]

    def _place_of(self, row, listed) -> tuple[int, int]:
        """(offset, bits) of the shared word that a row accesses; no bits: none."""
        info = OP_TABLE[listed.op]
        if info.kind not in (Kind.SHARED, Kind.WAIT):
            return 0, 0
        where = int(self.registers[row["base"]] + row["offset"])
        return where, {OF_ROW: int(row["width"]), ZEROED: 64}.get(info.bytes, 8 * info.bytes)


def prepare(scenario: Scenario) -> tuple[Memory, list[Player], bytes]:
    """A fresh world: memory, its players (registers in shared memory), and memory at the start."""
    memory = Memory(scenario.layout)
    players = []
    for place, start in enumerate(scenario.start(memory)):
        registers = memory.registers(scenario.scripts[place].actor.number)
        registers[:] = start
        players.append(Player(scenario, place, registers, memory))
    return memory, players, bytes(memory.block[:scenario.layout.at("image")])


def execute(schedule: Schedule) -> tuple[list[Access], dict[str, str]]:
    """Run a schedule step by step, alone: (its accesses, the words that differ from the start)."""
    memory, players, start = prepare(schedule.scenario)
    accesses: list[Access] = []
    for number, turn in enumerate(schedule.turns):
        players[turn.actor].take(turn, number, accesses)
    return accesses, difference(schedule.scenario, memory, start)


def difference(scenario: Scenario, memory: Memory, start: bytes) -> dict[str, str]:
    """The words that differ from the start, by name."""
    before = np.frombuffer(start, np.uint64)
    after = np.frombuffer(memory.block, np.uint64)[:len(before)]
    return {scenario.layout.name_of(8 * int(cell)): f"{unsigned(after[cell]):#018x}"
            for cell in np.flatnonzero(before != after)}
