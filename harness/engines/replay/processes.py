"""The engine that runs scenarios as real processes: one for each actor.

`run` holds them to the turns of a schedule by a gate; `race` lets them go all at once, again and again.

Each process has its own registers and executes its rows with the same `step` on the shared block;
the gate is one word that says whose turn it is.  What comes out must be, word by word, what the
search and `schedule.execute` say of the same schedule.
"""

import mmap
import multiprocessing
import time

import numpy as np

from harness.errors import UsageError
from harness.experiment.scenario import Scenario, answers_of
from harness.experiment.schedule import Player, Schedule, Turn, difference, prepare
from kernels.machine import step_once
from kernels.ops import Op, Register as R

LIMIT_S = 120.0                  # a schedule of some hundred turns takes milliseconds
NAP_S = 0.0002


def run(schedule: Schedule) -> dict[str, str]:
    """The words that differ from the start once all turns are taken.  Raises UsageError if they are not."""
    memory, players, start = prepare(schedule.scenario)
    _compile(players[0])
    gate = np.frombuffer(mmap.mmap(-1, mmap.PAGESIZE), np.int64)
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_work, args=(player, schedule, gate)) for player in players]
    for worker in workers:
        worker.start()
    try:
        limit = time.monotonic() + LIMIT_S
        while any(worker.is_alive() for worker in workers) and time.monotonic() < limit:
            if any(worker.exitcode for worker in workers):
                break
            time.sleep(NAP_S)
    finally:
        for worker in workers:
            if worker.is_alive():
                worker.kill()
            worker.join()
    if gate[0] < len(schedule.turns):
        raise UsageError(f"{schedule.scenario.name}: turn {int(gate[0])} of {len(schedule.turns)} was not taken"
                         f" within {LIMIT_S:g} s")
    return difference(schedule.scenario, memory, start)


def _compile(player: Player) -> None:
    """Load `step` while there is only one process."""
    registers = player.registers.copy()
    registers[R.PC] = next(number for number, row in enumerate(player.program.listing) if row.op == Op.STOP)
    step_once(player.program.rows, registers, player.memory.base)


def _work(player: Player, schedule: Schedule, gate: np.ndarray) -> None:
    for number, turn in enumerate(schedule.turns):
        if turn.actor == player.place:
            while gate[0] != number:
                time.sleep(NAP_S)
            player.take(turn, number, [])
            gate[0] = number + 1


def race(scenario: Scenario, runs: int) -> set[tuple]:
    """The endings (answers by actor, words) of so many runs in which all processes go at once.

    Only for scripts of calls: KVM's flows wait for one another, which a row at a time does badly.
    """
    memory, players, _ = prepare(scenario)
    start = np.frombuffer(memory.block, np.uint8)[:scenario.layout.at("image")].copy()
    first = [player.registers.copy() for player in players]
    _compile(players[0])
    gate = np.frombuffer(mmap.mmap(-1, mmap.PAGESIZE), np.int64)     # [go, stop, done by actor ...]
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_race, args=(player, gate), daemon=True) for player in players]
    for worker in workers:
        worker.start()
    endings = set()
    try:
        for number in range(1, runs + 1):
            np.frombuffer(memory.block, np.uint8)[:len(start)] = start
            for player, registers in zip(players, first):
                player.registers[:] = registers
            gate[0] = number
            limit = time.monotonic() + LIMIT_S
            while any(gate[2 + place] != number for place in range(len(players))):
                if time.monotonic() > limit or any(worker.exitcode for worker in workers):
                    raise UsageError(f"{scenario.name}: run {number} did not end within {LIMIT_S:g} s")
                time.sleep(0)
            answers = tuple(answers_of(scenario, place, int(player.registers[R.OUTCOMES]))
                            for place, player in enumerate(players))
            words = tuple(scenario.spell(name, memory.word(offset & ~7) >> 8 * (offset & 7))
                          for name, offset in scenario.watched())
            endings.add((answers, words))
    finally:
        gate[1] = 1
        for worker in workers:
            worker.join(1)
            worker.kill()
            worker.join()
    return endings


def _race(player: Player, gate: np.ndarray) -> None:
    number = 0
    once = Turn(player.place, 1, 0)
    while not gate[1]:
        if gate[0] == number:
            time.sleep(0)
            continue
        number = int(gate[0])
        while player.row_op() not in (Op.STOP, Op.HALT):
            player.take(once, 0, [])
        gate[2 + player.place] = number
