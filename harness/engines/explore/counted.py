"""How many rows the turns of a way really have.

A search that forgets of a vCPU at which epoch it entered last (kernels/contexts.py `forget_own`) does not know whether its next entry
flushes, and leaves the rows of a flush out where it counts. So a way is followed once in memory as it really is.
"""

import numpy as np

from harness.engines.explore.tables import BUFFER_MOST
from harness.experiment.scenario import Scenario
from harness.experiment.schedule import Turn
from harness.experiment.world import World
from kernels import buffers, moves
from kernels.ops import REGISTERS, Register as R


def counted(scenario: Scenario, turns: list[Turn], contexts) -> list[Turn]:
    """Turns of which such rows were not counted, with all of their rows.  contexts: moves.World.contexts."""
    world, flushes = World(scenario), contexts.flushes
    registers = np.zeros((world.actors, buffers.registers_with(BUFFER_MOST) if scenario.tso else REGISTERS), np.int64)
    for mine, start in zip(registers, world.start_registers):
        mine[:len(start)] = start
    noted, found = np.zeros((2 * moves.ROWS_MAX, len(moves.NOTED)), np.int64), []
    for turn in turns:
        rows, left, branch = 0, turn.rows, turn.branch
        while left:
            taken = moves.take(world.arrays, registers[turn.actor], turn.actor, branch, left, noted)
            rows, branch = rows + taken, 0
            left = int(np.count_nonzero(flushes[noted[:taken, moves.ROW]])) if taken == left else 0
            if not left and flushes[registers[turn.actor, R.PC]]:
                left = 1
        found.append(turn._replace(rows=rows))
    return found


def counted_cycle(scenario: Scenario, turns: list[Turn], cycle: list[Turn], contexts) -> tuple[list[Turn], list[Turn]]:
    """A way and the cycle behind it; if the cycle's first round is not as the others are, it is part of the way."""
    found = counted(scenario, turns + 2 * cycle, contexts)
    way, first, second = found[:len(turns)], found[len(turns):len(turns) + len(cycle)], found[len(turns) + len(cycle):]
    return (way, first) if first == second else (way + first, second)
