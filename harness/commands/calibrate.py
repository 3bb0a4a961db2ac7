"""What micro-ops cost on this machine, measured, as a file that a config's machine.costs can name.

Rows are timed as the processes engine executes them, first each kind alone, in a loop of many rows by the same compiled
driver, with the time of an empty loop taken off; then in their sequences, calls and flows as they are (sequences.py); then
while two processes run beside each other (free_calls.py).
So the simulator can say what the processes will measure here.  It is not what a SEAMCALL costs: nobody has published that.

    local, load, store, locked      a row on registers, on a word of this processor's own: as rows cost each other in sequences,
                                    times what all are dearer in calls that run freely
    mark                            CALL_BEGIN, CALL_END and their like: time stamps and counting, the same way
    page_zero                       a row that zeroes 4 KiB, in calls that run freely
    spend                           what a row that spends 200 ns takes beyond them
    transfer                        a cache line from the other processor, in calls that run freely; as a distribution: how the time
                                    of a single hand-over varies (ping-pong), the clock's own time taken off
    noticed                         what a hand-over takes beyond that: until who waits has looked again
    pace                            how blocks of rows vary, of some us, each beside its own median: as a distribution
    stall, stall_every              gaps between two readings of the clock on a processor that does nothing else,
                                    STALL_LEAST_NS to STALL_MOST_NS long: as a distribution, and how often.  Longer ones are
                                    another thread's turn, and a run with many of those does not count

What needs two processors and finds one keeps its default.  So does what cannot be measured here: interrupts (processes have none: their vCPUs look at a
word, so ipi_ns and ipi_handled_ns are 0), other sockets, switches between threads.
"""

import dataclasses
import multiprocessing
import os
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

from harness import stops
from harness.commands import free_calls, sequences
from harness.files import write_file
from harness.host import clocks, fingerprint
from harness.experiment.config import Config
from harness.engines.processes.worker import Drive
from harness.memory.layout import LINE, PAGE
from harness.memory.block import Memory
from harness.experiment.plan import make_plan
from harness.protocol.assemble import Listing
from kernels import marks, realtime, record
from kernels.pingpong import gaps, hand_over, round_trips
from kernels.ops import Op, Register as R

ROWS = 64                        # rows of one kind in a loop
LOOPS = 300
ROUNDS = 20
HANDOVERS, HANDOVERS_S = 500, 0.1    # of a round, and for how long
HANDOVER_MOST = 20               # times the median: a hand-over that takes longer was interrupted
SPENT_NS = 200
GAPS_S = 0.1                     # of looking for stalls, on each processor
STALL_LEAST_NS, STALL_MOST_NS = 200, 100_000
BUCKETS = 40                     # of a histogram in a costs file


class Costs(NamedTuple):
    """What was measured.

    values        ns by key of [machine]
    histograms    {cost: [(from ns, to ns, count)]}
    notes         {what: value}, for whoever reads the file
    """

    values: dict[str, float]
    histograms: dict[str, list[tuple[float, float, int]]] = {}
    notes: dict[str, float] = {}


class Calibrator:
    """All that is timed, made once: `measure` may be called again when the machine may have changed its pace."""

    def __init__(self):
        self.bench, self.sequences = Bench(), sequences.make()

    def measure(self) -> Costs:
        return measure(self.bench, self.sequences)


def measure(bench: "Bench", timed: list[sequences.Sequence]) -> Costs:
    """Measure everything.  Medians: the quickest of many rounds is faster than the machine is."""
    empty = bench.time("empty")
    alone = {str(kind): max(0.01, (bench.time(kind.removesuffix("_ns")) - empty) / ROWS) for kind in sequences.KINDS}
    values = {"page_zero_ns": max(0.0, (bench.time("page_zero") - empty) / ROWS), "ipi_ns": 0.0, "ipi_handled_ns": 0.0,
              "spend_ns": max(0.0, (bench.time("spend") - empty) / ROWS - SPENT_NS)}
    processors, clock = sorted(os.sched_getaffinity(0)), clocks.calibrate()
    handed = handovers_ns(bench.memory, processors[:2], clock) if len(processors) > 1 else np.zeros(1)
    handover = float(handed.mean())
    found = sequences.measure(timed, alone, clock.ticks_per_ns)
    values |= found.prices
    notes = {f"{kind.removesuffix('_ns')}_alone_ns": price for kind, price in alone.items()}
    notes |= {"overlap_share": found.overlap_share, "misfit_share": found.misfit_share, "handover_ns": handover}
    histograms = {}
    if len(processors) > 1:
        free = free_calls.measure({**values, "noticed_ns": handover})
        values |= {kind: price * free.rows_share for kind, price in found.prices.items()}
        values["page_zero_ns"] = values["page_zero_ns"] * free.rows_share + free.page_ns
        values |= {"transfer_ns": free.transfer_ns, "noticed_ns": max(0.0, handover - free.transfer_ns)}
        notes |= {"free_rows_share": free.rows_share, "free_misfit_share": free.misfit_share}
        histograms["transfer"] = histogram(handed)
    values["pace_ns"], histograms["pace"] = found.block_ns, histogram(found.paces)
    gaps = stalls_ns(processors, clock)
    if len(gaps):
        values |= {"stall_every_ns": GAPS_S * len(processors) * 1e9 / len(gaps), "stall_ns": float(gaps.mean())}
        histograms["stall"] = histogram(gaps)
    return Costs({key: round(value, 2) for key, value in values.items()}, histograms, {key: round(value, 4) for key, value in notes.items()})


def histogram(values: np.ndarray) -> list[tuple[float, float, int]]:
    """Buckets of even ratio, those with something in them, from above 0."""
    edges = np.geomspace(max(0.1, values.min()), max(0.1, values.max()) * 1.001, BUCKETS + 1)
    counts, _ = np.histogram(values, edges)
    return [(float(f"{begin:.4g}"), float(f"{end:.4g}"), int(count)) for begin, end, count in zip(edges, edges[1:], counts) if count]


def costs_file(costs: Costs) -> str:
    """The text of a costs file."""
    facts = fingerprint.fingerprint()
    where = f"{facts['processor']}, {facts['processors_count']} processors, Linux {facts['kernel']}"
    clock = clocks.calibrate()
    text = ["# Written by `python -m harness doctor --calibrate`: what micro-ops cost the processes engine here.",
            f'measured_on = "{where}, {time.strftime("%Y-%m-%d")}"',
            f"clock_ns = {clock.reading_ticks / clock.ticks_per_ns:.1f}                  # one reading of the clock",
            "", "[machine]", *(f"{key} = {value:g}" for key, value in costs.values.items()),
            "", "[notes]                          # of rows alone; what they take in sequences, of that; how well that fits; the same of calls",
            *(f"{key} = {value:g}" for key, value in costs.notes.items()),
            "", "[histograms]                     # from ns, to ns, count; of the pace: from, to, count"]
    for name, buckets in costs.histograms.items():
        text += [f"{name} = [", *(f"    [{begin:g}, {end:g}, {count}]," for begin, end, count in buckets), "]"]
    return "\n".join(text) + "\n"


def run(path: str) -> str:
    """Measure, and write the costs file; returns its text.  Raises OSError."""
    text = costs_file(Calibrator().measure())
    write_file(text, Path(path))
    return text


class Bench:
    """Loops of rows, each begun by a label, on a word of one's own."""

    def __init__(self):
        plan = make_plan(Config.model_validate({
            "name": "calibrate", "policy": "kick_on_busy", "td": {"vcpus": 1, "memory_mib": 2}, "workload": {"hosts": 0}}))
        listing = Listing()
        call = listing.call_number("tdh_mem_track")
        word, page = plan.layout.at("secure_ept_lock"), plan.layout.at("content")
        rows = {
            "empty": lambda _: None,
            "local": lambda _: listing.row(Op.LET, register=R.OLD, source=R.ME, value=1),
            "load": lambda _: listing.row(Op.LOAD, offset=word, register=R.OLD),
            "store": lambda _: listing.row(Op.STORE, offset=word, source=R.ME),
            "locked": lambda _: listing.row(Op.OR, offset=word, value=1, register=R.OLD),
            "spend": lambda _: listing.spend(f"{SPENT_NS} ns"),
            "page_zero": lambda _: listing.row(Op.ZERO_PAGE, offset=page, value=PAGE),
            "mark": lambda number: listing.row((Op.CALL_BEGIN, Op.CALL_END)[number % 2], value=call),
        }
        for name, write in rows.items():
            listing.label(name)
            for number in range(ROWS):
                write(number)
            listing.row(Op.LET, register=R.INDEX, source=R.INDEX, value=-1)
            listing.row(Op.TEST, register=R.INDEX, mask=-1, next="done", otherwise=name)
        listing.label("done")
        listing.row(Op.STOP)
        self.program = listing.program()
        tables = record.tables(len(self.program.calls), len(self.program.answers), 0, 0)
        self.plan = dataclasses.replace(plan, program=self.program, tables=tables)
        self.memory = Memory(plan.layout)
        self.memory.view("control", np.int64)[0][realtime.PHASE // 8] = marks.WARM_UP
        self.drive = Drive(self.plan, self.memory, clocks.calibrate().ticks_per_ns, crowded=False)
        self.time("empty")                               # loads or compiles the driver

    def time(self, name: str) -> float:
        """Nanoseconds of one loop of rows, the median of several rounds."""
        registers = self.memory.registers(0)
        took = []
        for _ in range(ROUNDS):
            registers[:] = 0
            registers[R.ME] = 1
            registers[R.PC], registers[R.INDEX] = self.program.labels[name], LOOPS
            began = time.perf_counter_ns()
            self.drive(self.plan.actors[0])
            took.append((time.perf_counter_ns() - began) / LOOPS)
        return float(np.median(took))


def handovers_ns(memory: Memory, processors: list[int], clock: clocks.Calibration) -> np.ndarray:
    """Nanoseconds from one processor's write of a word to the other's, many of them, without the clock's own."""
    address = memory.base + memory.layout.at("epoch_lock")
    assert address % LINE == 0
    memory.set_word(memory.layout.at("epoch_lock"), 0)
    hand_over(address, 0, 0, 1)                          # compiled before the fork
    context, before = multiprocessing.get_context("fork"), os.sched_getaffinity(0)
    partner = context.Process(target=_partner, args=(address, processors[1], os.getpid()), daemon=True)
    partner.start()
    rounds, ticks = [], np.zeros(HANDOVERS, np.int64)
    try:
        os.sched_setaffinity(0, {processors[0]})
        limit = time.monotonic() + HANDOVERS_S
        while not rounds or time.monotonic() < limit:
            round_trips(address, 0, 1, ticks)
            rounds.append(ticks[1:].copy())
    finally:
        os.sched_setaffinity(0, before)
        partner.kill()
        partner.join()
    handed = np.concatenate(rounds)
    handed = handed[handed <= HANDOVER_MOST * np.median(handed)]
    return np.maximum(1, handed - clock.reading_ticks) / clock.ticks_per_ns / 2


def _partner(address: int, processor: int, parent: int) -> None:
    stops.ignore()
    os.sched_setaffinity(0, {processor})
    while os.getppid() == parent:
        hand_over(address, 1, 0, HANDOVERS)


def stalls_ns(processors: list[int], clock: clocks.Calibration) -> np.ndarray:
    """Nanoseconds of each stall that was seen in GAPS_S on each processor."""
    before, found, ticks = os.sched_getaffinity(0), [], np.zeros(1 << 16, np.int64)
    try:
        for processor in processors:
            os.sched_setaffinity(0, {processor})
            count = gaps(int(STALL_LEAST_NS * clock.ticks_per_ns), int(GAPS_S * 1e9 * clock.ticks_per_ns), ticks)
            found.append(ticks[:count].copy())
    finally:
        os.sched_setaffinity(0, before)
    lengths = np.concatenate(found) / clock.ticks_per_ns
    return lengths[lengths <= STALL_MOST_NS]
