"""The engine that runs scenarios as real processes: one for each actor.

`run` holds them to the turns of a schedule by a gate; `race` lets them go all at once, again and again.

Each process has its own registers and executes its rows by the same compiled code (kernels/moves.py) on the
shared block; the gate is one word that says which turn is to be taken.  What comes out must be, word by word,
what the search and `steps.execute` say of the same schedule.
"""

import mmap
import multiprocessing
import time

import numpy as np

from harness.engines.replay.steps import Replay
from harness.errors import UsageError
from harness.experiment.scenario import Scenario
from harness.experiment.schedule import Schedule, Turn

LIMIT_S = 120.0                  # a schedule of some hundred turns takes milliseconds
NAP_S = 0.0002
GO, STOP, DONE = 0, 1, 2         # words of a race's gate: the run to make, whether to end, by actor the run made


def run(schedule: Schedule) -> dict[str, str]:
    """The words that differ from the start once all turns are taken.  Raises UsageError if they are not."""
    replay = Replay(schedule.scenario)
    gate = _gate()
    workers = _start(replay, _work, schedule, gate)
    try:
        limit = time.monotonic() + LIMIT_S
        while any(worker.is_alive() for worker in workers) and time.monotonic() < limit:
            if any(worker.exitcode for worker in workers):
                break
            time.sleep(NAP_S)
    finally:
        _end(workers)
    if gate[GO] < len(schedule.turns):
        raise UsageError(f"{schedule.scenario.name}: turn {int(gate[GO])} of {len(schedule.turns)} was not taken"
                         f" within {LIMIT_S:g} s")
    return replay.difference()


def _gate() -> np.ndarray:
    return np.frombuffer(mmap.mmap(-1, mmap.PAGESIZE), np.int64)


def _start(replay: Replay, work, *arguments) -> list:
    """A process for each actor, each with `work(replay, its place, ...)`."""
    replay.take(Turn(0, 0, 0))           # compiles, or loads, while there is only one process
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=work, args=(replay, place, *arguments), daemon=True)
               for place in range(len(replay.registers))]
    for worker in workers:
        worker.start()
    return workers


def _end(workers) -> None:
    for worker in workers:
        if worker.is_alive():
            worker.kill()
        worker.join()


def _work(replay: Replay, place: int, schedule: Schedule, gate: np.ndarray) -> None:
    for number, turn in enumerate(schedule.turns):
        if turn.actor == place:
            while gate[GO] != number:
                time.sleep(NAP_S)
            replay.follow(turn, number)
            gate[GO] = number + 1


def race(scenario: Scenario, runs: int) -> set[tuple]:
    """The endings (answers by actor, words) of so many runs in which all processes go at once.

    Only for scripts of calls: KVM's flows wait for one another, which a row at a time does badly.
    """
    replay = Replay(scenario)
    gate, actors, endings = _gate(), len(replay.registers), set()
    workers = _start(replay, _race, gate)
    try:
        for number in range(1, runs + 1):
            replay.world.block[:replay.cells] = replay.world.start[:replay.cells]
            for registers, start in zip(replay.registers, replay.world.start_registers):
                registers[:] = start
            gate[GO] = number
            limit = time.monotonic() + LIMIT_S
            while (gate[DONE:DONE + actors] != number).any():
                if time.monotonic() > limit or any(worker.exitcode for worker in workers):
                    raise UsageError(f"{scenario.name}: run {number} did not end within {LIMIT_S:g} s")
                time.sleep(0)
            endings.add((tuple(replay.answers(place) for place in range(actors)), replay.watched()))
    finally:
        gate[STOP] = 1
        for worker in workers:
            worker.join(1)
        _end(workers)
    return endings


def _race(replay: Replay, place: int, gate: np.ndarray) -> None:
    number, row = 0, Turn(place, 1, 0)
    while not gate[STOP]:
        if gate[GO] == number:
            time.sleep(0)
            continue
        number = int(gate[GO])
        while len(replay.take(row)):             # a row at a time, so that others come between
            pass
        gate[DONE + place] = number
