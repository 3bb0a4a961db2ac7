"""A worker: one forked process that drives one actor on one processor.

It inherits the shared block and the compiled driver, so it needs nothing but its actor's number.
What it has measured lies in shared memory, so nothing is lost whatever happens to it.
"""

import ctypes
import os
import signal

import numpy as np

from harness.engines.processes import lock_holders, record_seal
from harness.memory.block import Memory
from harness.experiment.plan import Actor, Plan
from kernels import durations, realtime
from kernels.dice import Dice

PR_SET_PDEATHSIG, PR_SET_TIMERSLACK = 1, 29      # linux/prctl.h

# Exit codes that tell the coordinator how the driver ended; anything else is a worker lost.
EXIT_CODES = {realtime.DONE: 0, realtime.ABORTED: 10, realtime.HALTED: 11}


class Drive:
    """The driver with everything that is the same for all actors of a plan."""

    def __init__(self, plan: Plan, memory: Memory, ticks_per_ns: float, crowded: bool,
                 processors: list[int] = (0,)):
        self.plan, self.memory, self.crowded = plan, memory, crowded
        self.answer_kinds = _int64([answer.kind for answer in plan.program.answers])
        self.others = lock_holders.others(plan, memory, processors, ticks_per_ns)
        ticks = _int64([round(cost * ticks_per_ns) for cost in plan.costs_ns()] or [0])
        self.dice = Dice(0, *plan.choices, ticks, durations.logarithms())
        self.ticks_per_us = max(1, round(ticks_per_ns * 1000))

    def __call__(self, actor: Actor) -> int:
        """Run an actor to its end; returns realtime.DONE, ABORTED or HALTED."""
        plan, memory, layout = self.plan, self.memory, self.plan.layout
        return realtime.run(
            plan.program.rows, memory.registers(actor.number), memory.base,
            memory.base + layout.at("records", actor.number), plan.tables, self.answer_kinds,
            self.dice._replace(key=plan.random_key(actor)), self.others, self.ticks_per_us, self.crowded,
            realtime.Fresh(memory.base + layout.at("image"), layout.td_start, layout.td_bytes))


def _int64(values) -> np.ndarray:
    return np.array(values, np.int64)


def work(drive_actor: Drive, actor: Actor, processor: int, coordinator: int) -> None:
    """The whole life of a worker process; does not return."""
    code = 1
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)     # the coordinator decides what Ctrl-C means
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        libc = ctypes.CDLL(None)
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)     # never outlive the coordinator
        libc.prctl(PR_SET_TIMERSLACK, 1)                 # sleep as exactly as can be
        if os.getppid() != coordinator:
            os._exit(1)
        os.sched_setaffinity(0, {processor})
        record, tables = drive_actor.memory.record(actor.number), drive_actor.plan.tables
        record_seal.begin(record, tables)
        code = EXIT_CODES[drive_actor(actor)]
        record_seal.end(record, tables)
    finally:
        os._exit(code)
