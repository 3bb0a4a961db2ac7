"""Litmus tests run by real processes, millions of times: how often each final state comes.

    run(test, runs, seed, progress) -> Ran        until all runs are done, or a stop is asked for (stops.noted)
    record(test, runs, seed) -> Traced            some runs more, with the clock read around each access and call

A process for each of the test, pinned to a processor of its own where there are enough, goes through batches of cells
(kernels/cells.py); this process looks at what each cell has come to, and puts the memory of the start back.  From
batch to batch the processes change processors, and how far apart they begin.
"""

import ctypes
import mmap
import os
import signal
import time
from collections import Counter
from dataclasses import replace
from typing import Callable, NamedTuple

import numpy as np

from harness import stops
from harness.experiment.litmus import Test
from harness.experiment.litmus_rows import PROCESS, own_accesses
from harness.experiment.world import World
from harness.host import clocks
from harness.memory.block import Memory
from harness.memory.layout import LINE, VARIABLE
from harness.results.measured import Ending, Traced, log_of
from kernels import cells, cells_logged, record as records
from kernels.atomics import address_of

CELLS_MOST, BYTES_MOST = 4096, 64 << 20
SPREADS = (0, 3, 15, 63)         # pauses at most before a cell, by batch
WAIT_NS = 100_000_000            # a row that waits so long waits for ever
LOST_S = 60                      # a batch that takes so long has lost a process
LOG_ROOM = 4096                  # accesses, calls and spans of a process that are kept of recorded runs ...
RUNS_ROOM = 256                  # ... so many of them whole runs, which no loop in one can keep out
READING, APART = "a reading of the clock takes, ns", "clocks of two processors differ by at least, ns"
RECORDED_SPREAD = 15             # pauses at most before each of those ...
RECORDED_BATCHES = 10            # ... in one of so many batches
PR_SET_PDEATHSIG = 1
_ODD = np.random.default_rng(1).integers(1, 1 << 62, 256) | 1       # a word of a row of up to so many
KINDS = {cells.DONE: "done", cells.WAITS: "deadlock", cells.HALTED: "halt", cells.ENDLESS: "endless"}


class Ran(NamedTuple):
    """What came of all runs.

    crowded    there were fewer processors than processes
    given_up   so many runs did not end that no more were made
    """

    endings: list[Ending]
    runs: int
    seconds: float
    processors: tuple[int, ...]
    crowded: bool
    given_up: bool
    interrupted: bool


def run(test: Test, runs: int, seed: int, progress: Callable[[float, dict], None] = lambda share, counters: None) -> Ran:
    """Raises RuntimeError if a process is lost."""
    world = _World(test)
    endings: Counter = Counter()
    began, done = time.monotonic(), 0
    random = np.random.default_rng(seed)
    with _Workers(world, random) as workers:
        while done < runs and not world.given_up and not stops.asked():
            workers.batch(min(world.cells, runs - done), SPREADS[workers.batches % len(SPREADS)])
            endings += world.tally()
            done = sum(endings.values())
            progress(done / runs, {})
        given_up = world.given_up
    return Ran([Ending(kind, words, count) for (kind, words), count in endings.items()], done, time.monotonic() - began,
               tuple(world.processors), world.processes > len(world.processors), given_up, stops.asked())


def record(test: Test, runs: int, seed: int) -> Traced:
    """Run a test so often (a batch at most) with what each process does noted.  Raises RuntimeError if a process is lost.

    Of several batches the one that took least is kept: there a process is least likely to have lost its processor.
    """
    world, clock = _World(test), clocks.calibrate()
    notes, count = _Notes(world), min(world.cells, runs)
    kept, least = None, None
    with _Workers(world, np.random.default_rng(seed), notes) as workers:
        for _ in range(RECORDED_BATCHES):
            workers.batch(count, RECORDED_SPREAD)
            logs, took = notes.taken()
            if least is None or took < least or world.given_up:
                kept, least = (logs, [Ending(*world.came_to(cell), 1) for cell in range(count) if world.was_run(cell)]), took
            if world.given_up:
                break
    apart = clocks.offset(tuple(world.processors))
    said = {READING: round(clock.reading_ticks / clock.ticks_per_ns, 1), APART: None if apart is None else round(apart / clock.ticks_per_ns, 1)}
    return Traced(world.program, notes.spans, *kept, clock.ticks_per_ns, LOG_ROOM, said)


class _Notes:
    """A record for each process, shared with it, in which it notes what it does."""

    def __init__(self, world: "_World"):
        program = world.program
        self.spans = [*program.spans, PROCESS]
        self.world, self.at = world, records.tables(len(program.calls), len(program.answers), len(program.counters), len(self.spans), LOG_ROOM)
        self.words = [np.frombuffer(mmap.mmap(-1, 8 * self.at.words), np.int64) for _ in range(world.processes)]
        for words in self.words:
            words[self.at.counts_in:self.at.first_start] = words[self.at.half:].ctypes.data
        self.kinds = np.array([answer.kind for answer in program.answers], np.int64)
        self.accesses = own_accesses(program, world.test.shown)

    def of(self, process: int) -> cells_logged.Notes:
        within = self.at._replace(log_room=LOG_ROOM - RUNS_ROOM)
        return cells_logged.Notes(self.words[process].ctypes.data, within, self.at, self.kinds, self.accesses, self.spans.index(PROCESS),
                                  len(self.spans))

    def taken(self) -> tuple[dict[str, np.ndarray], int]:
        """(what the processes have noted of a batch, by process; ticks from the first to the last), and forget it.

        A span that is a run has the run's number in place of an answer.
        """
        found = {script.actor.name: log_of(words, self.at.log) for script, words in zip(self.world.test.scripts, self.words)}
        for words, log in zip(self.words, found.values()):
            words[self.at.log] = 0
            runs = log[:, 2] == -1 - self.spans.index(PROCESS)
            log[runs, 3] = np.arange(runs.sum())
        whole = np.concatenate(list(found.values()))
        return found, int(whole[:, 1].max() - whole[:, 0].min()) if len(whole) else 0


class _World:
    """The block: control words, the ends of processes, and the cells."""

    def __init__(self, test: Test):
        test = replace(test, leaves=True)
        self.test, self.processes = test, len(test.scripts)
        memory = Memory(test.layout)
        self.registers = [each.copy() for each in test.start(memory)]
        whole = np.frombuffer(memory.block, np.uint8)
        first, last = self._span()
        self.image, self.first = whole[first:last].copy(), first
        self.stride = -(-(last - first) // LINE) * LINE
        self.cells = max(1, min(CELLS_MOST, BYTES_MOST // self.stride))
        self.ended_at = cells.CONTROL_BYTES
        self.cells_at = -(-(self.ended_at + self.processes * self.cells) // LINE) * LINE
        self.block = mmap.mmap(-1, self.cells_at + self.cells * self.stride)
        self.bytes = np.frombuffer(self.block, np.uint8)
        self.base = address_of(self.block)
        self.control = self.bytes[:cells.CONTROL_BYTES].view(np.int64)
        self.ended = self.bytes[self.ended_at:self.ended_at + self.processes * self.cells].reshape(self.processes, self.cells)
        self.memory = self.bytes[self.cells_at:].reshape(self.cells, self.stride)
        self.names = [name for name, _ in test.watched()]
        self.words = [offset - first for _, offset in test.watched()]
        self.processors = sorted(os.sched_getaffinity(0))
        self.program = test.program
        whole = World(test).arrays       # its memory is another
        self.scripts = [cells.Script(whole.values[first:first + length].copy(), int(whole.leave[place]) if script.flow else 0, whole.branches)
                        for place, (script, (first, length)) in enumerate(zip(test.scripts, whole.scripts))]

    def _span(self) -> tuple[int, int]:
        """What of a scenario's memory a cell has: the shared words alone where the test is about no TD."""
        regions = [region for region in self.test.layout.regions if region.name.startswith(VARIABLE)]
        if self.test.of_td or not regions:
            return 0, self.test.layout.size
        return min(region.offset for region in regions) // LINE * LINE, max(region.end for region in regions)

    @property
    def given_up(self) -> bool:
        return bool(self.control[cells.STOPPED // 8])

    def fresh(self, count: int) -> None:
        """The memory of the start in so many cells."""
        self.memory[:count, :len(self.image)] = self.image
        self.ended[:] = cells.NOT_RUN
        self.control[cells.ARRIVED // 8] = self.control[cells.FINISHED // 8] = 0

    def tally(self) -> Counter:
        """(kind, words), and in how many cells; of those to which all processes have come."""
        kinds = self.ended.max(axis=0).astype(np.int64)
        run = kinds != cells.NOT_RUN
        columns = [kinds[run]] + [self.memory[run, at:at + 8].copy().view(np.int64).ravel() for at in self.words]
        found, counts = _distinct(np.stack(columns, axis=1))
        return Counter({self._spelled(kind, words): int(times) for (kind, *words), times in zip(found, counts)})

    def was_run(self, cell: int) -> bool:
        return bool(self.ended[:, cell].max() != cells.NOT_RUN)

    def came_to(self, cell: int) -> tuple[str, tuple[str, ...]]:
        """(kind, words) of one cell."""
        return self._spelled(self.ended[:, cell].max(), [self.memory[cell, at:at + 8].view(np.int64)[0] for at in self.words])

    def _spelled(self, kind, words) -> tuple[str, tuple[str, ...]]:
        return KINDS[int(kind)], tuple(self.test.spell(name, int(word)) for name, word in zip(self.names, words))


def _distinct(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(the rows that differ, how often each is there): as np.unique does, by one word for each row where that tells all apart.

    Most of the time between two batches went into the order of whole rows.
    """
    words = rows @ _ODD[:rows.shape[1]] if rows.shape[1] <= _ODD.size else rows[:, 0]
    _, first, place, counts = np.unique(words, return_index=True, return_inverse=True, return_counts=True)
    if np.array_equal(rows, rows[first[place]]):
        return rows[first], counts
    return np.unique(rows, axis=0, return_counts=True)


class _Workers:
    """A process for each of the test's, while a batch of cells is to be run; `notes`: where they note what they do."""

    def __init__(self, world: _World, random, notes: _Notes | None = None):
        self.world, self.notes, self.batches, self.pids = world, notes, 0, []
        self.order = [int(each) for each in random.permutation(len(world.processors))]
        self.words = [int(each) | 1 for each in random.integers(1, 1 << 62, world.processes)]

    def __enter__(self):
        world, parent = self.world, os.getpid()
        self.shape = np.frombuffer(mmap.mmap(-1, mmap.PAGESIZE), np.int64)       # cells and spread of the batch
        # Compiled before the fork, once for all.
        self._go(0, world.registers[0].copy(), 0, 1, 0)
        for number in range(world.processes):
            pid = os.fork()
            if not pid:
                self._work(number, parent)
            self.pids.append(pid)
        return self

    def _work(self, number: int, parent: int) -> None:
        """The life of a process; does not return."""
        code = 1
        try:
            stops.ignore()
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:
                os._exit(1)
            world, known, random = self.world, 0, self.words[number]
            registers = world.registers[number].copy()
            while not world.control[cells.STOPPED // 8]:
                if world.control[cells.BATCH // 8] == known:
                    time.sleep(2e-5)
                    continue
                known = int(world.control[cells.BATCH // 8])
                place = self.order[(number + known) % len(self.order)]
                os.sched_setaffinity(0, {world.processors[place]})
                random = self._go(number, registers, int(self.shape[0]), random, int(self.shape[1]))
            code = 0
        finally:
            os._exit(code)

    def _go(self, number: int, registers: np.ndarray, count: int, random: int, spread: int) -> int:
        """A process's part of a batch; returns the next random word."""
        world = self.world
        given = (world.program.rows, world.registers[number], registers, world.scripts[number], world.base, world.cells_at - world.first,
                 world.stride, count, world.processes, world.ended[number], random, spread, WAIT_NS)
        return cells.batch(*given) if self.notes is None else cells_logged.batch(*given, self.notes.of(number))

    def batch(self, count: int, spread: int) -> None:
        """Run so many cells.  Raises RuntimeError if a process is lost."""
        world = self.world
        world.fresh(count)
        self.shape[:2] = count, spread
        self.batches += 1
        world.control[cells.BATCH // 8] = self.batches
        until = time.monotonic() + LOST_S
        while world.control[cells.FINISHED // 8] < world.processes:
            time.sleep(5e-5)
            for pid in list(self.pids):
                gone, status = os.waitpid(pid, os.WNOHANG)
                if gone:
                    self.pids.remove(pid)
                if gone and (status or not world.given_up):          # of a batch that is given up they go one by one
                    raise RuntimeError(f"process {pid} of the test is gone (wait status {status})")
            if time.monotonic() > until:
                raise RuntimeError(f"a batch of {count} runs is not done after {LOST_S} s")

    def __exit__(self, *problem):
        self.world.control[cells.STOPPED // 8] = 1
        for pid in self.pids:
            os.waitpid(pid, 0)
