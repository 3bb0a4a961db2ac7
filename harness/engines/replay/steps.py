"""A schedule again, step by step, with every word: what each row of it reads and writes.

    accesses, final = execute(schedule)
"""

import numpy as np

from harness.errors import ResultError
from harness.experiment.scenario import Scenario, answers_of
from harness.experiment.schedule import Access, Schedule, Turn
from harness.experiment.world import World
from harness.protocol.counters import EVENTS
from kernels import buffers, moves
from kernels.ops import Op, Order, Register as R
from kernels.words import unsigned


STORES_MOST = 64                 # in a store buffer


class Replay:
    """A scenario in which turns are taken; memory, and the registers in it, are shared with forked processes."""

    def __init__(self, scenario: Scenario):
        self.scenario, self.program = scenario, scenario.program
        self.world = World(scenario)
        self.memory = self.world.memory
        self.registers = [self.memory.registers(script.actor.number) for script in scenario.scripts]
        if scenario.tso:                 # the buffers lie behind them; no real process is held to such a schedule
            self.registers = [np.zeros(buffers.registers_with(STORES_MOST), np.int64) for _ in self.registers]
        for registers, start in zip(self.registers, self.world.start_registers):
            registers[:len(start)] = start
        self.noted = np.zeros((2 * moves.ROWS_MAX, len(moves.NOTED)), np.int64)
        self.cells = scenario.layout.at("image") // 8        # what comes behind is of real processes
        self.made: dict[int, str] = {}       # by actor: what has made its last call

    def take(self, turn: Turn) -> np.ndarray:
        """Execute a turn's rows, or fewer if the actor comes to its end; what was noted of each (moves.NOTED)."""
        executed = moves.take(self.world.arrays, self.registers[turn.actor], turn.actor, turn.branch, turn.rows, self.noted)
        return self.noted[:executed]

    def follow(self, turn: Turn, number: int) -> np.ndarray:
        """A turn of a schedule, its `number`-th: all of it.  Raises ResultError."""
        noted = self.take(turn)
        if len(noted) < turn.rows:
            raise ResultError(f"{self.scenario.name}: turns[{number}] = {list(turn)}: {self.name(turn.actor)}"
                              " has come to its end before")
        return noted

    def name(self, place: int) -> str:
        return self.scenario.scripts[place].actor.name

    def answers(self, place: int) -> tuple[str, ...]:
        """What the calls of an actor's script have answered so far."""
        return answers_of(self.scenario, place, int(self.registers[place][R.OUTCOMES]))

    def watched(self) -> tuple[str, ...]:
        """The words of an outcome (Scenario.watched), as they are now."""
        return self.scenario.outcome(lambda offset: self.memory.word(offset & ~7) >> 8 * (offset & 7),
                                     lambda place, register: unsigned(self.registers[place][register]))

    def difference(self) -> dict[str, str]:
        """The words that differ from the start, by name."""
        before, after = (block[:self.cells].view(np.uint64) for block in (self.world.start, self.world.block))
        return {self.scenario.layout.name_of(8 * int(cell)): f"{unsigned(after[cell]):#018x}"
                for cell in np.flatnonzero(before != after)}


def execute(schedule: Schedule) -> tuple[list[Access], dict[str, str]]:
    """Run a schedule step by step, alone: (its accesses, the words that differ from the start).

    Raises ResultError for a schedule that goes on behind an actor's end.
    """
    replay = Replay(schedule.scenario)
    accesses: list[Access] = []
    for number, turn in enumerate(schedule.turns):
        for noted in replay.follow(turn, number).tolist():
            accesses += _accesses(replay, turn, number, *noted)
    return accesses, replay.difference()


def _accesses(replay: Replay, turn: Turn, number: int, pc: int, where: int, bits: int, before: int, after: int,
              then: int) -> list[Access]:
    """What a person is shown of one row (moves.NOTED)."""
    name = replay.name(turn.actor)
    if pc < 0:
        return [Access(number, name, "its store arrives", replay.scenario.layout.name_of(where), unsigned(before),
                       unsigned(after), bits)]
    row, found = replay.program.listing[pc], []
    if bits:
        text = f"{row.op.name.lower()} {row.text}".strip()
        if turn.branch == moves.HOLD and replay.world.arrays.order[pc] == Order.STORE and before == after:
            text += ": held back"
        found.append(Access(number, name, text, replay.scenario.layout.name_of(where), unsigned(before),
                            unsigned(after), bits, call=row.call))
    elif row.op == Op.CALL:
        replay.made[turn.actor] = row.text
    elif row.op in (Op.CALL_BEGIN, Op.CALL_END) and not row.text:        # a note of what was answered, no call
        pass
    elif row.op == Op.CALL_BEGIN:
        found.append(Access(number, name, row.text, "", 0, 0, 0, begins=replay.made.get(turn.actor, row.text)))
    elif row.op == Op.CALL_END:
        found.append(Access(number, name, row.text, "", 0, 0, 0, replay.program.answers[after].name))
    elif row.op == Op.OVERDUE and after:
        found.append(Access(number, name, row.text, "", 0, 0, 0, mark="time has run out"))
    elif row.op == Op.BUG or row.op == Op.COUNT and row.text in EVENTS:
        found.append(Access(number, name, row.text, "", 0, 0, 0, mark=row.text))
    if then == 0:
        found.append(Access(number, name, row.text, "", 0, 0, 0, mark="the module halts"))
    return found
