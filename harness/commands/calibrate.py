"""What micro-ops cost on this machine, measured, as a file that a config's machine.costs can name.

Each kind of micro-op is timed as the processes engine executes it: in a loop of many rows of that
kind, by the same compiled driver, with the time of an empty loop taken off.  So the simulator can say
what the processes will measure here.  It is not what a SEAMCALL costs: nobody has published that.

    local, load, store, locked      a row on registers, on a word of this processor's own
    mark                            half of CALL_BEGIN and CALL_END: time stamps and counting
    page_zero                       a row that zeroes 4 KiB
    transfer                        half of a cache line's round trip between two processors (ping-pong;
                                    needs two processors)

What cannot be measured here keeps its default: interrupts (processes have none: their vCPUs look at a
word, so ipi_ns and ipi_handled_ns are 0), other sockets, switches between threads.
"""

import dataclasses
import multiprocessing
import os
import time
from pathlib import Path

import numpy as np

from harness import stops
from harness.files import write_file
from harness.host import clocks, fingerprint
from harness.experiment.config import Config
from harness.engines.processes.worker import Drive
from harness.memory.layout import LINE, PAGE
from harness.memory.block import Memory
from harness.experiment.plan import make_plan
from harness.protocol.assemble import Listing
from kernels import marks, realtime, record
from kernels.pingpong import hand_over
from kernels.ops import Op, Register as R

ROWS = 64                        # rows of one kind in a loop
LOOPS = 300
ROUNDS = 100
HANDOVERS, HANDOVERS_S = 500, 1.0    # short rounds for a second: some are undisturbed on a busy machine


def measure() -> dict[str, float]:
    """Nanoseconds by key of [machine]; the quietest of several rounds."""
    bench = Bench()
    empty = bench.time("empty")
    found = {f"{kind}_ns": max(0.0, (bench.time(kind) - empty) / ROWS) for kind in ("local", "load", "store", "locked")}
    found["mark_ns"] = max(0.0, (bench.time("mark") - empty) / ROWS)
    found["page_zero_ns"] = max(0.0, (bench.time("page_zero") - empty) / ROWS)
    found |= {"ipi_ns": 0.0, "ipi_handled_ns": 0.0}
    processors = sorted(os.sched_getaffinity(0))
    if len(processors) > 1:
        found["transfer_ns"] = handover_ns(bench.memory, processors[:2]) / 2
    return {key: round(value, 2) for key, value in found.items()}


def costs_file(values: dict[str, float]) -> str:
    """The text of a costs file."""
    facts = fingerprint.fingerprint()
    where = f"{facts['processor']}, {facts['processors_count']} processors, Linux {facts['kernel']}"
    clock = clocks.calibrate()
    lines = ["# Written by `python -m harness doctor --calibrate`: what micro-ops cost the processes engine here.",
             f'measured_on = "{where}, {time.strftime("%Y-%m-%d")}"',
             f"clock_ns = {clock.reading_ticks / clock.ticks_per_ns:.1f}                  # one reading of the clock",
             "", "[machine]", *(f"{key} = {value:g}" for key, value in values.items())]
    return "\n".join(lines) + "\n"


def run(path: str) -> str:
    """Measure, and write the costs file; returns its text.  Raises OSError."""
    text = costs_file(measure())
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
        """Nanoseconds of one loop of rows."""
        registers = self.memory.registers(0)
        best = float("inf")
        for _ in range(ROUNDS):
            registers[:] = 0
            registers[R.ME] = 1
            registers[R.PC], registers[R.INDEX] = self.program.labels[name], LOOPS
            began = time.perf_counter_ns()
            self.drive(self.plan.actors[0])
            best = min(best, (time.perf_counter_ns() - began) / LOOPS)
        return best


def handover_ns(memory: Memory, processors: list[int]) -> float:
    """Nanoseconds from one processor's write of a word to the other's; the quietest round."""
    address = memory.base + memory.layout.at("epoch_lock")
    assert address % LINE == 0
    memory.set_word(memory.layout.at("epoch_lock"), 0)
    hand_over(address, 0, 0, 1)                          # compiled before the fork
    context, before = multiprocessing.get_context("fork"), os.sched_getaffinity(0)
    partner = context.Process(target=_partner, args=(address, processors[1], os.getpid()), daemon=True)
    partner.start()
    best = float("inf")
    try:
        os.sched_setaffinity(0, {processors[0]})
        limit = time.monotonic() + HANDOVERS_S
        while best == float("inf") or time.monotonic() < limit:
            began = time.perf_counter_ns()
            hand_over(address, 0, 1, HANDOVERS)
            best = min(best, (time.perf_counter_ns() - began) / HANDOVERS / 2)
    finally:
        os.sched_setaffinity(0, before)
        partner.kill()
        partner.join()
    return best


def _partner(address: int, processor: int, parent: int) -> None:
    stops.ignore()
    os.sched_setaffinity(0, {processor})
    while os.getppid() == parent:
        hand_over(address, 1, 0, HANDOVERS)
