"""Who gets nowhere: TDs in which nothing goes on, and actors that wait for ever.

The engine looks here every few ticks; two things are distinguished.  A *hang*: no vCPU completes a touch,
though all may be running, refused again and again.  A *deadlock*: an actor stands at one wait and does
not move, though the condition should long be true (invariant no_deadlock); other vCPUs may go on
merrily, as beside a host thread that waits for one SRCU reader.

Neither is reported before every worker has had its chance since it was suspected (patience.py): on a busy
machine whoever they all wait for may only have been preempted.
"""

from typing import Callable

import numpy as np

from harness.engines.processes.patience import Patience
from harness.engines.whereabouts import where
from harness.host import procfs
from harness.memory.block import Memory
from harness.experiment.plan import Plan
from harness.results.measured import Hang
from kernels.ops import OP_TABLE, Kind, Register as R

HANG_S = 1.5                     # no vCPU has completed a touch for so long: the TD hangs ...
HANG_COSTS = 100                 # ... or for so many times the dearest cost that is configured
STUCK_S = 1.5                    # an actor has stood at one wait for so long ...
STUCK_S_PER_ACTOR = 0.02         # ... or for its turn on a crowded processor, many times over
SUSPECT_SHARE = 0.15             # ... or, at the end of a run, for this share of it: then the verdict is waited for
CHANCE_S = 0.25                  # ... and since then everybody has had so much time, in which nothing came of it
BLIND_S = 0.25                   # the engine itself was preempted for so long: no worker is to blame


class Watchdog:
    """Looks at actors' registers and records; `deadlocks` counts what it has found."""

    def __init__(self, plan: Plan, memory: Memory, workers: Callable[[], list[int]]):
        """`workers` gives the ids of the worker processes that live."""
        self.plan, self.memory, self.workers = plan, memory, workers
        self.registers = memory.view("registers", np.int64)
        self.records = memory.view("records", np.int64)
        self.waits = np.array([OP_TABLE[row.op].kind == Kind.WAIT for row in plan.program.listing])
        # hp_lock_timeout is no time that anybody spends.
        costs = [cost for name, cost in zip(plan.program.costs, plan.costs_ns()) if name != "hp_lock_timeout_ns"]
        self.hang_s = max(HANG_S, HANG_COSTS * max(costs, default=0) / 1e9)
        self.stuck_s = max(STUCK_S, STUCK_S_PER_ACTOR * len(plan.actors), self.hang_s)
        self.deadlocks = 0
        self.touches_seen = (-1, 0.0)        # touches of all vCPUs, and since when they are so many
        self.seen = self._where()            # where each actor is, and what it has done ...
        self.since = np.zeros(len(plan.actors))      # ... and since when that is so
        self.reported = False                # whether the deadlock in progress has been reported
        self.looked = 0.0
        self.patience: Patience | None = None        # since something was suspected

    def look(self, now: float) -> Hang | None:
        """What has been found since the last look, for the engine to end."""
        if self.looked and now - self.looked > BLIND_S:
            self.since += now - self.looked
            self.touches_seen = (self.touches_seen[0], self.touches_seen[1] + now - self.looked)
        self.looked = now
        waiting = self.waiting(now)
        self.reported = self.reported and bool(waiting)
        touches = self.touches()
        if touches != self.touches_seen[0]:
            self.touches_seen = (touches, now)
        deadlock = bool(waiting) and not self.reported
        # (Where an actor waits, it is soon known whether that is why there is no progress.)
        hang = now - self.touches_seen[1] > self.hang_s and not self.waiting(now, self.hang_s / 2)
        if (deadlock or hang) and self._is_stopped():
            self.since[:], self.touches_seen = now, (self.touches_seen[0], now)
            deadlock = hang = False
        if not deadlock and not hang:
            self.patience = None
            return None
        self.patience = self.patience or Patience(now, self.workers())
        if self.patience.look(now, self.workers()) < CHANCE_S:
            return None
        self.patience, self.touches_seen = None, (-1, now)
        if not deadlock:
            return self._hang(now, [])
        self.reported = True
        self.deadlocks += 1
        # Whoever they wait for began to wait at about the same time.
        return self._hang(now, self.waiting(now, self.stuck_s / 2))

    def waiting(self, now: float, limit_s: float | None = None) -> list:
        """The actors that have stood at one wait for too long."""
        where = self._where()
        moved = (where != self.seen).any(axis=1)
        self.since[moved | (self.since == 0)] = now      # (0: at the first look)
        self.seen = where
        stuck = self.waits[where[:, 0]] & (now - self.since > (limit_s or self.stuck_s))
        return [self.plan.actors[number] for number in np.flatnonzero(stuck)]

    def _is_stopped(self) -> bool:
        """Whether a worker is stopped from outside: what the others wait for then is no fault of the protocol."""
        return any(procfs.state(pid) in procfs.STOPPED for pid in self.workers())

    def suspects(self, now: float) -> bool:
        """Whether actors have stood at one wait for some time, which may become a deadlock."""
        return not self.reported and bool(self.waiting(now, self.stuck_s * SUSPECT_SHARE)) and not self._is_stopped()

    def hopeless(self, now: float) -> bool:
        """Whether the actors that were reported still wait, though the VM has since been given up."""
        return self.reported and any(now - self.since[actor.number] > 2 * self.stuck_s for actor in self.waiting(now))

    def _where(self) -> np.ndarray:
        """int64 (actors, 2): the row of each actor, and a number that changes when it does something."""
        tables, program = self.plan.tables, self.plan.program
        done = np.zeros(len(self.plan.actors), np.int64)
        for start in (0, tables.half):
            for first, count in ((tables.attempts, len(program.calls)), (tables.counters, len(program.counters))):
                done += self.records[:, start + first:start + first + count].sum(axis=1)
        return np.stack([self.registers[:, R.PC], done], axis=1)

    def touches(self) -> int:
        """Touches completed by all vCPUs, in both halves."""
        at = self.plan.tables.counters + self.plan.program.counters.index("touches")
        return int(self.records[:, [at, self.plan.tables.half + at]].sum())

    def _hang(self, now: float, waiting) -> Hang:
        vcpus = (actor for actor in self.plan.actors if actor.kind == "vcpu")
        return Hang(now, tuple(f"{actor.name} {self.last_answer(actor)}" for actor in vcpus),
                    tuple(f"{actor.name} waits {where(self.plan, self.memory, actor)}" for actor in waiting))

    def last_answer(self, actor) -> str:
        """The last call an actor made, and how it ended."""
        registers, program = self.memory.registers(actor.number), self.plan.program
        return f"{program.calls[registers[R.CALL]]}: {program.answers[registers[R.ANSWER]].name}"
