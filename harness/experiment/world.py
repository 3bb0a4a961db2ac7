"""A scenario's world as arrays: memory at its start, its actors' registers, and what each is to do.

What kernels/moves.py executes, for whoever drives it: the search, or a schedule that is run again.
"""

import numpy as np

from harness.experiment.scenario import Scenario
from harness.memory.block import Memory
from harness.memory.tables import zeros
from harness.protocol import contexts
from harness.protocol.counters import EVENTS
from harness.protocol.flows.script import LEAVE
from harness.protocol.store_buffers import orders
from kernels import moves, record, symmetry
from kernels.moves import ACTORS_MAX

TRIED = ("accept_first", "accept_part", "either")       # choices of which both outcomes are tried; of the others the script says


class World:
    """Its arrays live as long as it does, so it must live as long as `arrays` is used."""

    def __init__(self, scenario: Scenario):
        program = scenario.program
        self.scenario, self.actors = scenario, len(scenario.scripts)
        assert self.actors <= ACTORS_MAX
        self.memory = Memory(scenario.layout)
        self.start_registers = scenario.start(self.memory)
        self.block = np.frombuffer(self.memory.block, np.int64)
        self.start = self.block.copy()
        self.violations = [name for name in program.counters if name in EVENTS]
        at = record.tables(len(program.calls), len(program.answers), len(program.counters), len(program.spans))
        self.tables = at
        self.record = self.new_record()
        scripts, values = np.zeros((self.actors, 2), np.int64), [0]
        for place, script in enumerate(scenario.scripts):
            scripts[place] = len(values), len(script.flow or ())
            values += script.flow or ()
        self.arrays = moves.World(
            rows=program.rows, live=scenario.live, contexts=contexts.none(len(program.rows)), base=self.memory.base, start=self.start,
            scripts=scripts, values=_int64(values),
            branches=_int64([2 if name in TRIED else 0 for name in program.choices] or [0]),
            timeouts=2 if scenario.file.timeouts else 1,
            leave=_int64([self._leave(place) for place in range(self.actors)]),
            order=orders(program, scenario.file.seamcall_drains, scenario.at_once) if scenario.tso else np.zeros(1, np.int64),
            alike=np.zeros((self.actors, len(symmetry.COLUMNS)), np.int64),
            own=self.record.ctypes.data, at=at, answer_kinds=_int64([answer.kind for answer in program.answers]),
            violations=_int64([program.counters.index(name) for name in self.violations]))

    def new_record(self) -> np.ndarray:
        """A record of nothing.  A move may end a call that none here has begun: all calls count in the half that is measured."""
        made, at = zeros(self.tables.words, np.int64), self.tables
        made[at.counts_in:at.first_start] = made[at.half:].ctypes.data
        return made

    def _leave(self, place: int) -> int:
        """The row at which a vCPU goes on when its script is over; 0 for a host, which just stops."""
        vcpu = self.scenario.scripts[place].actor.kind == "vcpu"
        return self.scenario.program.labels.get(LEAVE, 0) if vcpu else 0

    def answered(self) -> set[tuple[int, int]]:
        """(call, answer), as numbers, of all that has been answered."""
        half = self.record[self.words_answered()].reshape(-1, self.tables.answers)
        return {(int(call), int(answer)) for call, answer in np.argwhere(half)}

    def words_answered(self) -> slice:
        """Of a record: the words that say which calls have been answered, and how."""
        first = self.tables.half + self.tables.answered
        return slice(first, first + len(self.scenario.program.calls) * self.tables.answers)


def _int64(values) -> np.ndarray:
    return np.array(values, np.int64)
