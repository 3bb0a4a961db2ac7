"""Litmus tests in virtual time: how long their processes take on the simulated machine.

    run(test, config, runs, seed, progress) -> Ran

The loop, the prices and the cache lines are those of every simulated run (kernels/simulate.py, prices.py).  Each process
has a processor of its own; from run to run they begin up to APART_NS apart, each as drawn.  Each run begins with the
memory of the start and with no line in any cache.
"""

import time
from dataclasses import replace
from typing import Callable, NamedTuple

import numpy as np

from harness import stops
from harness.engines.simulate import prices
from harness.experiment.choices import Choices, alias_table
from harness.experiment.config import Config
from harness.experiment.litmus import Test
from harness.experiment.litmus_rows import PROCESS
from harness.experiment.plan import configured_costs
from harness.memory.block import Memory
from harness.memory.layout import LINE
from harness.protocol.flows.flow import IN_GUEST, REQUEST
from harness.results.measured import Ending, Traced, log_of
from kernels import lines, record, simulate, simulated, wheel
from kernels.dice import WEIGHTED, Dice
from kernels.record import HISTOGRAM, SUM

APART_NS = 200                   # the processes of a run begin within so much
ORIGIN = 1                       # the first tick
TICKS_PER_NS = prices.TICKS_PER_NS
LIMIT_NS = 1_000_000             # a run that takes longer does not end: an endless loop, or all wait
ROWS_MOST = 1 << 40
LOG_ROOM = 256                   # calls and spans of a process that are kept of a run
ENDLESS_MOST = 20                # after so many runs that do not end no more are made


class Ran(NamedTuple):
    """What came of all runs that were made.

    given_up  so many runs did not end that no more were made
    took_ns   float64 (runs that ended, processes): how long each process took
    whole_ns  float64 (runs that ended,): from the first that begins to the last that ends
    traced    the first runs, laid one behind another
    """

    endings: list[Ending]
    runs: int
    seconds: float
    given_up: bool
    took_ns: np.ndarray
    whole_ns: np.ndarray
    traced: Traced


class _Plan(NamedTuple):
    """What prices.py asks of a plan."""

    config: Config
    program: object
    layout: object

    def costs_ns(self) -> list[int]:
        configured = configured_costs(self.config)
        return [configured.get(name) or int(name.removesuffix(" ns")) for name in self.program.costs]


def run(test: Test, config: Config, runs: int, seed: int, progress: Callable[[float, dict], None] = lambda share, counters: None,
        traced: int = 0) -> Ran:
    """Raises UsageError for a machine that cannot be.

    config   its [machine] and costs_ns are used
    traced   of so many runs, the first ones, calls and spans are kept one by one
    """
    world, random = _World(test, config, LOG_ROOM if traced else 0), np.random.default_rng(seed)
    counts, took, whole, began, endless = {}, [], [], time.monotonic(), 0
    logs, firsts, behind = [], [], 0
    with stops.noted():
        for number in range(runs):
            if stops.asked() or endless == ENDLESS_MOST:
                break
            starts = ORIGIN + random.integers(0, prices.ticks(APART_NS) + 1, world.count)
            kind = world.once(starts)
            key = kind, world.words()
            counts[key] = counts.get(key, 0) + 1
            endless += kind == "endless"
            if number < traced:
                logs.append(world.logs(number, behind))
                firsts.append(Ending(*key, 1))
                behind = max((int(log[:, 1].max()) for log in logs[-1] if len(log)), default=behind) + prices.ticks(APART_NS)
            if kind == "done":
                ticks = world.took()
                took.append(ticks)
                whole.append((starts + ticks).max() - starts.min())
            if number % 256 == 0:
                progress(number / runs, {})
    return Ran([Ending(*key, count) for key, count in counts.items()], sum(counts.values()), time.monotonic() - began, endless == ENDLESS_MOST,
               np.array(took, float).reshape(-1, world.count) / prices.TICKS_PER_NS, np.array(whole, float) / prices.TICKS_PER_NS,
               Traced(world.test.program, list(world.test.program.spans),
                      {script.actor.name: np.concatenate(parts) for script, parts in zip(test.scripts, zip(*logs))},
                      firsts, prices.TICKS_PER_NS, 0, {}))


def _timed(test: Test) -> Test:
    """As it is run: with a span around each process, and what is shown of it left in memory."""
    return replace(test, timed=True, leaves=True)


class _World:
    """The simulated machine with a test on it, made once and put back to its start for each run."""

    def __init__(self, test: Test, config: Config, log_room: int):
        self.test, self.count, self.config = _timed(test), len(test.scripts), config
        test, program = self.test, self.test.program
        machine, _ = prices.resolve(config)
        plan = _Plan(config, program, test.layout)
        self.memory = Memory(test.layout)
        self.start_registers = np.array(test.start(self.memory))
        self.bytes = np.frombuffer(self.memory.block, np.uint8)
        self.image = self.bytes.copy()
        self.tables = record.tables(len(program.calls), len(program.answers), len(program.counters), len(program.spans), log_room)
        self.records = np.zeros((self.count, self.tables.words), np.int64)
        lengths = prices.make_durations(plan, machine)
        self.code = simulate.Code(
            program.rows, prices.make_tags(plan, machine), self.memory.base, self.tables,
            np.array([answer.kind for answer in program.answers], np.int64),
            Dice(0, *_choices(program), lengths.table[:, 1].copy(), lengths.logarithms), lengths)
        self.hardware = simulated.Machine(
            np.zeros(simulated.CONTROL, np.int64), wheel.make(2 * self.count + 1), self.start_registers.copy(),
            np.zeros(self.count, simulated.ACTOR), np.zeros(self.count, simulated.PROCESSOR), self._lines(machine),
            prices.make_spread(config, machine, "pace"))
        control = self.hardware.control
        control[simulated.SLICE], control[simulated.SWITCH] = prices.ticks(machine.time_slice_ns), 0
        control[simulated.INTERRUPT], control[simulated.HANDLED] = prices.ticks(machine.ipi_ns), prices.ticks(machine.ipi_handled_ns)
        control[simulated.REQUEST], control[simulated.GUEST_MODE] = REQUEST, IN_GUEST
        control[simulated.PACE_SHIFT] = prices.ticks(machine.pace_ns).bit_length() - 1
        control[simulated.NOTICED], control[simulated.END] = prices.ticks(machine.noticed_ns), wheel.NEVER
        self.fresh = [(each, each.copy()) for part in (self.hardware.lines[:2], (control, self.hardware.processors)) for each in part]
        self.runs = 0

    def _lines(self, machine) -> lines.Lines:
        words = np.zeros((self.test.layout.size // LINE + 1) * lines.STRIDE, np.int64)
        for place, script in enumerate(self.test.scripts):
            if script.actor.kind == "vcpu":
                line = self.test.layout.at("kick", script.actor.index) // LINE
                words[line * lines.STRIDE] = lines.DOORBELL | place << lines.ACTOR_SHIFT
        copies = np.zeros((len(words) // lines.STRIDE + 1, lines.words_for(self.count)), np.int64)
        sockets = (np.arange(self.count) * machine.sockets // self.count).astype(np.int64)
        return lines.Lines(words, copies, sockets, prices.ticks(machine.transfer_ns), prices.ticks(machine.transfer_far_ns), 0,
                           prices.make_spread(self.config, machine, "transfer"))

    def once(self, starts: np.ndarray) -> str:
        """One run: "done", "deadlock", "halt" or "endless"."""
        hardware = self.hardware
        self.bytes[:] = self.image
        self.records[:] = 0
        for array, was in self.fresh:
            array[:] = was
        hardware.registers[:] = self.start_registers
        for array, was in zip(hardware.queue, wheel.make(2 * self.count + 1)):
            array[:] = was
        self.runs += 1
        hardware.control[simulated.LIVE] = self.count
        for name in ("running", "last", "first", "final"):
            hardware.processors[name] = wheel.NOBODY
        actors = hardware.actors
        actors[:] = np.zeros(1, simulated.ACTOR)
        actors["scratch"] = actors["halves"] = actors["counts_in"] = [each.ctypes.data for each in self.records]
        actors["key"] = self.runs * self.count + np.arange(self.count)
        actors["processor"], actors["behind"] = np.arange(self.count), wheel.NOBODY
        for actor, when in enumerate(starts):
            simulate.make_ready(hardware, actor, int(when))
        simulate.schedule(hardware.queue, self.count, ORIGIN + prices.ticks(LIMIT_NS))
        why = simulate.run(hardware, self.code, ROWS_MOST)
        waits = actors["place"] & (simulated.PARKED | simulated.OFF) != 0
        return {simulate.HALTED: "halt", simulate.QUIET: "done"}.get(why, "deadlock" if waits.all() else "endless")

    def words(self) -> tuple[str, ...]:
        return tuple(self.test.spell(name, self.memory.word(offset)) for name, offset in self.test.watched())

    def logs(self, number: int, behind: int) -> list[np.ndarray]:
        """What each process has called in the run that has ended, the `number`-th, as if that had begun `behind` ticks later."""
        found = [log_of(words, self.tables.log) for words in self.records]
        for log in found:
            log[:, :2] += behind
            log[log[:, 2] == -1 - self.test.program.spans.index(PROCESS), 3] = number
        return found

    def took(self) -> np.ndarray:
        """Ticks of each process in the run that has ended."""
        at = self.tables.spans + self.test.program.spans.index(PROCESS) * HISTOGRAM + SUM
        return self.records[:, at].copy()


def _choices(program) -> Choices:
    """Each choice of a test is a hint of which both answers are as likely."""
    thresholds, aliases = alias_table(np.ones(2))
    rows = [(WEIGHTED, 0, 2)] * len(program.choices)
    return Choices(np.array(rows, np.int64).reshape(-1, 3), thresholds.astype(np.int64), aliases.astype(np.int64))
