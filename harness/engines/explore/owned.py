"""Which actors of a scenario are alike, and which words are an actor's own (kernels/symmetry.py says what that means).

An actor's own words are found by where the layout puts what its registers point to: KVM's word about a vCPU (of a
host thread, its interrupt's), the PAMT words of its TDVPR page, its TDVPS, and the shadows of these.
"""

import numpy as np

from harness.experiment.scenario import Scenario
from harness.experiment.world import World
from harness.memory.layout import LINE, PAMT_BYTES, TDVPS_BYTES, TDVPS_LP
from harness.protocol.assemble import Program
from kernels import moves, symmetry
from kernels.ops import OP_TABLE, Access, Op, Register as R

BLOCKS = (LINE, TDVPS_BYTES, PAMT_BYTES)         # bytes of an actor's own blocks: KICK, TDVPS, TDVPR_4K; then the shadows
LOOP, LOOP_END = "kick.next.", "kick.done."      # labels that Flow.each_vcpu writes


def words(scenario: Scenario, world: World) -> np.ndarray:
    """Where each actor's own words lie: int64 (actors, parts), in words; -1 where it has none."""
    layout = scenario.layout
    found = []
    for registers in world.start_registers:
        starts = [int(registers[register]) for register in (R.KICK, R.TDVPS, R.TDVPR_4K)]
        blocks = [*zip(starts, BLOCKS), *((start + layout.shadow_delta if start else 0, size)
                                          for start, size in zip(starts[1:], BLOCKS[1:]))]
        found.append([word if start else -1 for start, size in blocks
                      for word in range(start >> 3, start + size >> 3)])
    return np.array(found, np.int64)


def kicks(scenario: Scenario) -> np.ndarray:
    """Where the words lie that loops over all vCPUs go through: Known.kicks."""
    layout = scenario.layout
    region = layout.by_name["kick"]
    return np.array([(region.offset + td * layout.td_stride, region.end + td * layout.td_stride)
                     for td in range(layout.tds)], np.int64)


def loops(program: Program) -> np.ndarray:
    """What each row has to do with loops over all vCPUs: Known.loops."""
    found = np.zeros(len(program.rows), np.int8)
    for label, first in program.labels.items():
        if not label.startswith(LOOP):
            continue
        # The label behind the loop has the next number.
        end = program.labels[f"{LOOP_END}{int(label.removeprefix(LOOP)) + 1}"]
        waiting, within = [first], set()
        while waiting:
            row = waiting.pop()
            if row == end or row in within:
                continue
            within.add(row)
            info = OP_TABLE[program.rows["op"][row]]
            waiting += [int(program.rows[field][row]) for field in ("next", "otherwise", "priority")[:info.outcomes]]
        found[sorted(within)] = symmetry.WITHIN
        row = first
        while OP_TABLE[program.rows["op"][row]].access is Access.NONE:
            row = int(program.rows["next"][row])
        if program.rows["base"][row] == R.CURSOR and program.rows["op"][row] != Op.HALT:
            found[row] = symmetry.PICKS
    return found


def groups(scenario: Scenario, world: World, known: moves.Known) -> list[list[int]]:
    """Places of actors with the same script and start, but for their number and own words; none where numbers show."""
    shown = {offset >> 3 for _, offset in scenario.watched()}
    if (any(known.ghosts[8 * word] for word in shown)
            or world.start.view(np.uint8)[known.ghosts == symmetry.GHOST].any()):
        return []
    found: dict[tuple, list[int]] = {}
    for place, (script, registers) in enumerate(zip(scenario.scripts, world.start_registers)):
        start, own = registers.copy(), known.own[place]
        live = int(scenario.live[start[R.PC]])
        start[[register for register in range(64) if not live >> register & 1]] = 0
        start[[R.ME, R.ROLE, *symmetry.OWN]] = 0
        if shown & set(own.tolist()):
            continue
        own_words = np.where(own < 0, 0, world.start[own])
        key = script.actor.kind, script.actor.td, script.steps, script.flow, start.tobytes(), own_words.tobytes()
        found.setdefault(key, []).append(place)
    return [places for places in found.values() if len(places) > 1]


def tell(alike: list[list[int]], scenario: Scenario, known: moves.Known) -> None:
    """Note in `known` which words are own ones of actors that are alike."""
    known.owner[:] = known.part[:] = 0
    known.ghosts[known.ghosts == symmetry.NAMED] = 0
    for place in (place for places in alike for place in places):
        parts = np.flatnonzero(known.own[place] >= 0)
        known.owner[known.own[place, parts]], known.part[known.own[place, parts]] = place + 1, parts
        tdvps = known.own[place, LINE >> 3]
        if tdvps >= 0:
            at = 8 * int(tdvps) + TDVPS_LP
            known.ghosts[at:at + 4] = symmetry.NAMED
