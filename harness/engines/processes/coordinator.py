"""The engine of real processes: one pinned worker per actor, real atomics, real BUSY.

The coordinator compiles, forks, and then only looks on: workers share one block of memory and never
speak to it.  It starts them together, ends the warm-up, ends the run, and watches in between for a
worker that has died or does not stop.  It never waits without a limit, and whatever happens it
leaves no process behind.

SEAMCALLs run with interrupts off, a worker process does not: one that the operating system preempts
inside a call makes others BUSY in a way that a real host would not see.  With a processor for each
worker that is rare.  With more workers than processors it is not, and the result says so.
"""

import multiprocessing
import os
import signal
import time
from multiprocessing.connection import wait as wait_for_any
from typing import Callable

import numpy as np

from harness.host import clocks, conditions, procfs
from harness import stops
from harness.engines import checks
from harness.engines.processes import record_seal
from harness.errors import UsageError
from harness.files import reason
from harness.engines.processes.patience import Patience
from harness.engines.processes.watchdog import Watchdog
from harness.engines.whereabouts import where
from harness.engines.processes.worker import EXIT_CODES, Drive, work
from harness.memory.block import Memory
from harness.experiment.plan import Actor, Plan
from harness.protocol.flows.flow import DEAD, REQUEST
from harness.results.measured import Hang, Measured, log_of
from kernels import marks, realtime
from kernels.ops import Op, Register as R
from kernels.record import BUG_LOG

WORKERS_MAX = 512                # one process each
START_LIMIT_S = 60.0             # forked workers are at the start line in milliseconds
STOP_LIMIT_S = 1.5               # a worker that has not ended so long after the stop is stuck ...
STOP_CHANCE_S = 0.5              # ... if it has had so much of that time (patience.py)
ABORT_CHANCE_S = 0.2             # the same of one that was asked to stop wherever it is
TICK_S = 0.05                    # how often the coordinator looks
LOOKS_SHARE = 0.01               # of the coordinator's time, at most, goes into looking at the workers' times


def run(plan: Plan, progress: Callable[[float, dict], None] = lambda *_: None) -> Measured:
    """Run a plan in real processes.

    progress   called about once a second with (share of the time gone, counters so far by name)
    """
    if len(plan.actors) > WORKERS_MAX:
        raise UsageError(f"{plan.config.name}: td.vcpus = {plan.config.td.vcpus}: engine processes runs each vCPU"
                         f" and host in a process of its own; must be at most {WORKERS_MAX - plan.config.workload.hosts}")
    memory = Memory(plan.layout)
    for actor in plan.actors:
        memory.registers(actor.number)[:] = plan.start(actor)
    calibration = clocks.calibrate()
    processors = sorted(os.sched_getaffinity(0))
    crowded = len(plan.actors) > len(processors)
    drive_actor = Drive(plan, memory, calibration.ticks_per_ns, crowded, processors)
    _compile(plan, drive_actor)

    with stops.noted():
        coordinator = Coordinator(plan, memory, drive_actor, processors, progress)
        coordinator.run()
        return coordinator.measured(calibration)


def _compile(plan: Plan, drive_actor: Drive) -> None:
    """Compile, or load what was compiled before, while there is only one process."""
    control = drive_actor.memory.view("control", np.int64)[0]
    registers = drive_actor.memory.registers(0)
    start = registers.copy()
    registers[R.PC] = next(number for number, row in enumerate(plan.program.listing) if row.op == Op.STOP)
    control[realtime.PHASE // 8] = marks.WARM_UP
    ended = drive_actor(plan.actors[0])
    assert ended == realtime.DONE, ended
    control[:] = 0                   # none is ready, all are at the start line
    registers[:] = start
    realtime.set_bits(drive_actor.memory.base + plan.layout.at("kick"), 0)


class Coordinator:
    """Starts, watches and ends the workers of one run."""

    def __init__(self, plan, memory, drive_actor, processors, progress):
        self.plan, self.memory, self.progress = plan, memory, progress
        self.processors = processors
        self.control = memory.view("control", np.int64)[0]
        context = multiprocessing.get_context("fork")
        self.workers = {
            actor: context.Process(
                target=work, name=actor.name,
                args=(drive_actor, actor, processors[plan.processor_of(actor, len(processors))], os.getpid()))
            for actor in plan.actors}
        self.problems: list[str] = []
        self.halt = ""
        self.hangs: list[Hang] = []
        self.watchdog = Watchdog(plan, memory, self._living)
        self.deadlocked = False
        self.interrupted = False
        self.ended_in_warm_up = False
        self.started_at = time.time()
        self.measured_s = 0.0
        self.moments: list[procfs.Moment] = []                 # at the start and at the end
        self.concurrency, self.pauses = conditions.Concurrency(), conditions.Pauses(TICK_S)
        self.look_again_at = 0.0
        self.began, self.began_ticks = time.perf_counter(), realtime.read_clock()[0]

    def run(self) -> None:
        try:
            for worker in self.workers.values():
                worker.start()
            self._measure()
        except OSError as problem:
            self.problems.append(f"cannot start {len(self.workers)} workers: {reason(problem)}")
        finally:
            self._end()

    def _is_asked_to_stop(self) -> bool:
        self.interrupted = self.interrupted or stops.asked()
        return self.interrupted

    def _set_phase(self, phase: int) -> None:
        """Tell all actors; those in the guest are made to look by a kick."""
        self.control[realtime.PHASE // 8] = phase
        layout = self.plan.layout
        for td in range(layout.tds):
            for vcpu in range(layout.vcpus):
                realtime.set_bits(self.memory.base + layout.at("kick", vcpu, td), REQUEST)

    def _measure(self) -> None:
        config = self.plan.config
        if not self._line_up():
            return
        if config.warmup_s:              # otherwise nothing may be counted as warm-up, not for an instant
            self._set_phase(marks.WARM_UP)
            if not self._watch(config.warmup_s, report=False):
                self.ended_in_warm_up = True
                return
        # What lies between the clock and the phase, at both ends, is as short as can be.
        self.moments.append(self._moment())
        self._look_at_myself()
        self.began, self.began_ticks = time.perf_counter(), realtime.read_clock()[0]
        self._set_phase(marks.MEASURED)
        finished = self._watch(config.duration_s, report=True)
        self.moments.append(self._moment())
        self.measured_s = time.perf_counter() - self.began
        if finished:
            self._await_verdict()

    def _await_verdict(self) -> None:
        """Actors that stand at a wait now may be in a deadlock that began before the end; a stop would dissolve it."""
        if self._may_be_deadlocked():
            self._set_phase(marks.WARM_UP)               # what is done from now on does not count
        while self._may_be_deadlocked() and not self._is_asked_to_stop() and not self._look():
            self._look_for_hang(time.perf_counter())
            self._until_one_ends(TICK_S)

    def _may_be_deadlocked(self) -> bool:
        return self._has_vcpus() and self.watchdog.suspects(time.perf_counter())

    def _line_up(self) -> bool:
        """Wait until all workers stand at the start line."""
        limit = time.perf_counter() + START_LIMIT_S
        while self.control[realtime.READY // 8] < len(self.workers):
            if self._is_asked_to_stop() or self._look():
                return False
            if time.perf_counter() > limit:
                self.problems.append(f"only {self.control[realtime.READY // 8]} of {len(self.workers)} workers started"
                                     f" within {START_LIMIT_S:g} s")
                return False
            time.sleep(0.001)
        return True

    def _watch(self, duration_s: float, report: bool) -> bool:
        """Let the workers work; returns False if there is no more to wait for."""
        began = time.perf_counter()
        reported = began
        while True:
            now = time.perf_counter()
            left = duration_s - (now - began)
            if report:
                self._look_at_myself()
            if report and now - reported >= 1.0:
                reported = now
                self.progress(1 - left / duration_s, self.counters())
                self._look_at_myself(counts=False)
            if left <= 0:
                return True
            if self._is_asked_to_stop() or not self._living() or self._look():
                return False
            self._look_for_hang(now)
            if report and now >= self.look_again_at:
                self.concurrency.look(now, self._times())
                self.look_again_at = now + (time.perf_counter() - now) / LOOKS_SHARE
            self._until_one_ends(min(left, TICK_S))

    def _living(self) -> list[int]:
        """The ids of the workers that have not ended."""
        return [worker.pid for worker in self.workers.values() if worker.is_alive()]

    def _until_one_ends(self, limit_s: float) -> None:
        wait_for_any([worker.sentinel for worker in self.workers.values() if worker.is_alive()], limit_s)

    def _times(self) -> dict[str, procfs.Worker | None]:
        """What the kernel counts of each worker; None of one that has ended."""
        return {actor.name: procfs.worker(worker.pid) for actor, worker in self.workers.items()}

    def _look_at_myself(self, counts: bool = True) -> None:
        self.pauses.look(time.perf_counter(), procfs.worker(os.getpid()), counts,
                         lambda since_s: self.concurrency.there_s(since_s, self._times()))

    def _moment(self) -> procfs.Moment:
        moment = procfs.take(time.perf_counter(), self._times())
        self.concurrency.look(moment.at_s, moment.workers)
        return moment

    def _look(self) -> bool:
        """Whether a worker was lost or the module has halted; notes which, and informs the others."""
        for actor, worker in self.workers.items():
            code = worker.exitcode
            if code in (None, EXIT_CODES[realtime.DONE], EXIT_CODES[realtime.ABORTED]):
                continue
            if code == EXIT_CODES[realtime.HALTED]:
                self.halt = f"the module halted: {actor.name} {self.where(actor)}"
            else:
                self.control[realtime.ABORT // 8] = realtime.WORKER_LOST
                self.problems.append(f"worker {actor.name} (pid {worker.pid}) {_cause(code)} {self.where(actor)}")
            return True
        return False

    def _look_for_hang(self, now: float) -> None:
        """A TD in which nothing goes on is noted and ended, as an operator would end it.

        Actors that do not even notice its end are ended themselves, and with them the run.
        """
        if not self._has_vcpus():
            return                   # userspace has taken all vCPUs out: none of them is blocked
        hang = self.watchdog.look(now)
        if hang:
            self.hangs.append(hang._replace(at_s=now - self.began))
            for td in range(self.plan.layout.tds):
                self.memory.set_word(self.plan.layout.at("vm_dead", td=td), DEAD)
            self._set_phase(int(self.control[realtime.PHASE // 8]))
        elif self.watchdog.hopeless(now):
            self.deadlocked = True
            self.control[realtime.ABORT // 8] = realtime.WORKER_LOST

    def _has_vcpus(self) -> bool:
        return any(worker.is_alive() for actor, worker in self.workers.items() if actor.kind == "vcpu")

    def _end(self) -> None:
        """Stop the workers; end those that do not."""
        self._set_phase(marks.STOP)
        self._await_end(STOP_LIMIT_S, STOP_CHANCE_S, given_up=self._lost_since)
        self.deadlocked |= bool(self._living()) and self.watchdog.reported       # they notice no end of the TD either
        if not self._lost_since() and not self.deadlocked:
            self.problems += [f"worker {actor.name} (pid {worker.pid}) {_did_not_stop(worker.pid)}: {self.where(actor)}"
                              for actor, worker in sorted(self.workers.items(), key=lambda each: not _is_stopped(each[1].pid)) if worker.is_alive()]
        self.control[realtime.ABORT // 8] = self.control[realtime.ABORT // 8] or realtime.WORKER_LOST
        self._await_end(0.0, ABORT_CHANCE_S)
        for worker in self.workers.values():
            if worker.is_alive():
                worker.kill()
            if worker.pid:
                worker.join()

    def _await_end(self, limit_s: float, chance_s: float, given_up: Callable[[], bool] = lambda: False) -> None:
        """Wait until all workers have ended; or for so long, and until each has had its chance to."""
        began = time.perf_counter()
        patience = Patience(began, self._living())
        while living := self._living():
            now = time.perf_counter()
            # (Not each time that one of hundreds ends.)
            if given_up() or now - patience.at >= TICK_S \
                    and patience.look(now, living) >= chance_s and now - began >= limit_s:
                return
            self._until_one_ends(TICK_S)

    def _lost_since(self) -> bool:
        return bool(self.problems or self.halt) or self._look()

    # --- what it was doing, what it measured ---

    def where(self, actor: Actor) -> str:
        """What an actor was doing, and the locks it held."""
        return where(self.plan, self.memory, actor)

    def counters(self) -> dict[str, int]:
        """The measured counters so far, summed over actors; read while they change."""
        names, first = self.plan.program.counters, self.plan.tables.half + self.plan.tables.counters
        sums = sum(self.memory.record(actor.number)[first:first + len(names)] for actor in self.plan.actors)
        return dict(zip(names, sums))

    def conditions(self, calibration: clocks.Calibration) -> dict | None:
        """None for a run that never came to be measured."""
        if len(self.moments) < 2:
            return None
        return conditions.between(*self.moments, self.processors, self.concurrency,
                                  clocks.compared(calibration, self.processors), self.pauses)

    def measured(self, calibration: clocks.Calibration) -> Measured:
        plan, tables = self.plan, self.plan.tables
        half = 0 if self.ended_in_warm_up else 1
        records = [self.memory.record(actor.number) for actor in plan.actors]
        states = {actor.name: record_seal.state(record, tables) for actor, record in zip(plan.actors, records)}
        quiet = not self.problems and not self.halt and not self.deadlocked
        noticed = {"no_halt": int(bool(self.halt)), "no_deadlock": self.watchdog.deadlocks}
        return Measured(
            plan=plan,
            halves=[record[half * tables.half:(half + 1) * tables.half].copy() for record in records],
            measured_s=self.measured_s or time.time() - self.started_at,
            ticks_per_ns=calibration.ticks_per_ns, clock_ticks=calibration.reading_ticks,
            conditions=self.conditions(calibration), records=states,
            processors=self.processors, started_at=self.started_at,
            invariants=checks.check(plan, self.memory, records, quiet) | noticed,
            host_priority=checks.host_priority(plan, self.memory, records),
            lost_swaps=int(sum(self.memory.registers(actor.number)[R.LOST_SWAPS] for actor in plan.actors)),
            bugs=self._bugs(records, calibration.ticks_per_ns), hangs=self.hangs,
            interrupted=self._is_asked_to_stop(), problems=self.problems, halt=self.halt,
            extra={"entries": checks.entries(plan, self.memory) if quiet else {}},
            logs={actor.name: log_of(record, tables.log) for actor, record in zip(plan.actors, records)},
        )


    def _bugs(self, records, ticks_per_ns):
        found = []
        for actor, record in zip(self.plan.actors, records):
            count = min(int(record[self.plan.tables.bug_count]), BUG_LOG)
            entries = record[self.plan.tables.bug_log:][:3 * count].reshape(-1, 3)
            found += [((int(when) - self.began_ticks) / ticks_per_ns / 1e9, actor.name, int(call), int(answer))
                      for when, call, answer in entries]
        return sorted(found)


def _did_not_stop(pid: int) -> str:
    return "is stopped from outside (state T)" if _is_stopped(pid) else "did not stop"


def _is_stopped(pid: int) -> bool:
    return procfs.state(pid) in procfs.STOPPED


def _cause(code: int) -> str:
    if code < 0:
        return f"was killed by {signal.Signals(-code).name}"
    return f"ended with exit code {code}"
