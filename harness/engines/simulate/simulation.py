"""The engine of virtual time: all actors of a plan in one loop, under a clock of its own.

The same program, memory layout, choices and checks as with real processes; what differs is that time
is what the config's [machine] says it is.  Nothing here asks this machine's clock, so the same plan
gives the same result wherever and however often it runs.

The loop itself is kernels/simulate.py.  What is here does what a coordinator does: begins and ends
the phases, watches for TDs that hang, builds a fresh TD, shows progress, and hears Ctrl-C.
"""

import time
from dataclasses import dataclass
from typing import Callable

import numpy as np

from harness import stops
from harness.engines import checks
from harness.engines.simulate import prices
from harness.engines.whereabouts import where
from harness.errors import UsageError
from harness.memory.layout import LINE
from harness.experiment.plan import Actor, Plan
from harness.protocol.flows.flow import DEAD, IN_GUEST, REQUEST
from harness.results.measured import Hang, Measured, log_of
from harness.memory.sparse import GATHERED_PAGES, SparseMemory, reserve
from kernels import lines, realtime, record, simulate, simulated, wheel
from kernels.dice import Dice
from kernels.ops import LEVELS, REGISTERS, Op, Register as R
from kernels.words import TDHP

ORIGIN = 1                       # the first tick; 0 stands for "never" in records
TURN = 2_000_000                 # micro-ops between two looks at the real world
HANG_NS = 5_000_000              # no vCPU has completed a touch for so long: the TD hangs ...
HANG_COSTS = 100                 # ... or for so many times the dearest cost
PROGRESS_S = 1.0
STUCK_HANGS = 4                  # an actor waits at one row for so many times that: a deadlock
STUCK_LIMIT = 3                  # after so many aborts without progress the run ends


def run(plan: Plan, progress: Callable[[float, dict], None] = lambda *_: None) -> Measured:
    """Run a plan in virtual time.

    progress   called about once a second with (share of the virtual time gone, counters so far by name)
    Raises UsageError for a machine that cannot be.
    """
    simulation = Simulation(plan)
    simulation.run(progress)
    return simulation.measured()


@dataclass
class Watched:
    """A TD, and what was seen of it when it was last looked at."""

    number: int
    actors: list[Actor]
    touches: int = -1                # completed so far
    reported: bool = False           # the deadlock in it has been reported
    gave_up: int = 0                 # times that it was ended, and still nobody moved

    @property
    def vcpus(self) -> list[Actor]:
        return [actor for actor in self.actors if actor.kind == "vcpu"]


class Simulation:
    """One run: its memory, its arrays, and how far it has come."""

    def __init__(self, plan: Plan):
        self.plan = plan
        self.machine, _ = prices.resolve(plan.config)
        self.memory = SparseMemory(plan.layout)
        self.count = len(plan.actors)
        self.processors_count = min(self.machine.processors or self.count, self.count)
        if self.processors_count >= lines.OWNER:
            raise UsageError(f"{plan.config.name}: {self.processors_count} processors, one for each vCPU and host"
                             f" thread; machine.processors must be less than {lines.OWNER}")
        self.tags = prices.make_tags(plan, self.machine)
        self.durations = prices.make_durations(plan, self.machine)
        self.halves = np.zeros((plan.layout.tds, 2, plan.tables.half), np.int64)     # one record for each TD
        self.scratch = np.zeros((self.count, plan.tables.words - plan.tables.busy_count), np.int64)
        self.alarm = self.count                  # the node that stands for the coordinator
        self.hardware = simulated.Machine(
            self._control(), wheel.make(self.count + 1 + self.processors_count), self._registers(), self._actors(),
            self._processors(), self._lines(), prices.make_spread(plan.config, self.machine, "pace"))
        self.control, self.queue, self.registers, self.actors, _, self.lines, _ = self.hardware
        answer_kinds = np.array([answer.kind for answer in plan.program.answers], np.int64)
        ticks = self.durations.table[:, 1].copy()
        self.code = simulate.Code(
            plan.program.rows, self.tags, self.memory.base, plan.tables, answer_kinds,
            Dice(0, *plan.choices, ticks, self.durations.logarithms), self.durations)
        # Limits are no work; and a guest is idle for as long as nothing arrives.
        spent = [row.value if row.op == Op.SPEND else row.mask for row in plan.program.listing
                 if row.op in (Op.SPEND, Op.ARRIVE)]
        dearest = int(self.durations.table[spent, 1].max(initial=0))
        self.hang_ticks = max(prices.ticks(HANG_NS), HANG_COSTS * dearest)
        slices = self.control[simulated.SLICE] * self.count // self.processors_count
        self.stuck_ticks = STUCK_HANGS * (self.hang_ticks + (slices if self.count > self.processors_count else 0))
        self.tds = [Watched(td, [actor for actor in plan.actors if actor.td == td])
                    for td in range(plan.layout.tds)]
        self.deadlocks, self.deadlocked = 0, False
        self.interrupted, self.stopping = False, False
        self.problems: list[str] = []
        self.hangs: list[Hang] = []
        self.halt = ""

    # --- arrays ---

    def _registers(self) -> np.ndarray:
        registers = self.memory.view("registers", np.int64)
        for actor in self.plan.actors:
            registers[actor.number] = self.plan.start(actor)
        return registers.reshape(self.count, REGISTERS)

    def _actors(self) -> np.ndarray:
        plan, actors = self.plan, np.zeros(self.count, simulated.ACTOR)
        scratch = self.scratch.ctypes.data + np.arange(self.count) * self.scratch.strides[0]
        actors["scratch"] = scratch - record.WORD * plan.tables.busy_count
        actors["halves"] = actors["counts_in"] = [self.halves[actor.td].ctypes.data for actor in plan.actors]
        actors["key"] = [plan.random_key(actor) for actor in plan.actors]
        actors["processor"] = [plan.processor_of(actor, self.processors_count) for actor in plan.actors]
        actors["behind"] = wheel.NOBODY
        return actors

    def _processors(self) -> np.ndarray:
        processors = np.zeros(self.processors_count, simulated.PROCESSOR)
        for name in ("running", "last", "first", "final"):
            processors[name] = wheel.NOBODY
        return processors

    def _lines(self) -> lines.Lines:
        layout, lines_count = self.plan.layout, self.plan.layout.size // LINE + 1
        self._line_block = reserve(lines_count * lines.STRIDE * 8, scattered=layout.pages >= GATHERED_PAGES)
        words = np.frombuffer(self._line_block, np.int64)
        for actor in self.plan.actors:
            if actor.kind == "vcpu":
                line = layout.at("kick", actor.index, actor.td) // LINE
                words[line * lines.STRIDE] = lines.DOORBELL | actor.number << lines.ACTOR_SHIFT
        wide = lines.words_for(self.processors_count)
        self._copies_block = reserve((lines_count + 1) * wide * 8 if wide > 1 else 8, scattered=False)
        copies = np.frombuffer(self._copies_block, np.int64)
        copies = copies[:len(copies) // wide * wide].reshape(-1, wide)
        sockets = np.arange(self.processors_count) * self.machine.sockets // self.processors_count
        return lines.Lines(words, copies, sockets.astype(np.int64), prices.ticks(self.machine.transfer_ns),
                           prices.ticks(self.machine.transfer_far_ns), self.plan.random_stream("machine"),
                           prices.make_spread(self.plan.config, self.machine, "transfer"))

    def _control(self) -> np.ndarray:
        config, machine = self.plan.config, self.machine
        control = np.zeros(simulated.CONTROL, np.int64)
        control[simulated.LIVE] = self.count
        control[simulated.BEGIN] = ORIGIN + prices.ticks(config.warmup_s * 1e9)
        control[simulated.END] = control[simulated.BEGIN] + prices.ticks(config.duration_s * 1e9)
        control[simulated.SLICE] = prices.ticks(machine.time_slice_ns)
        control[simulated.SWITCH] = prices.ticks(machine.switch_ns)
        control[simulated.INTERRUPT] = prices.ticks(machine.ipi_ns)
        control[simulated.HANDLED] = prices.ticks(machine.ipi_handled_ns)
        if machine.preempt == "yielding":
            control[simulated.SLEEPS_FROM] = prices.ticks(1000 * realtime.SLEEP_FLOOR_US)
            control[simulated.WAKES_EARLY] = prices.ticks(1000 * realtime.WAKE_EARLY_US)
            control[simulated.PATIENCE] = prices.ticks(machine.patience_ns)
        control[simulated.NOTICED] = prices.ticks(machine.noticed_ns)
        control[simulated.PACE_SHIFT] = prices.ticks(machine.pace_ns).bit_length() - 1
        control[simulated.STALL_EVERY] = prices.ticks(machine.stall_every_ns)
        control[simulated.STALL] = len(self.durations.table) + prices.STALL
        control[simulated.RULE] = getattr(simulated, machine.preempt.upper())
        control[simulated.REQUEST], control[simulated.GUEST_MODE] = REQUEST, IN_GUEST
        return control

    # --- the run ---

    def run(self, progress=lambda *_: None) -> None:
        with stops.noted():
            self._run(progress)

    def _run(self, progress) -> None:
        self.start()
        reported = time.monotonic()
        while self.goes_on(self.move(TURN)):
            if stops.asked() and not self.stopping:
                self.interrupted = True
                self._stop(int(self.control[simulated.NOW]))
            if time.monotonic() - reported >= PROGRESS_S:
                reported = time.monotonic()
                progress(self._share(), self.counters())

    def start(self) -> None:
        """Put all actors at their beginning."""
        for actor in range(self.count):
            simulate.make_ready(self.hardware, actor, ORIGIN)
        self._set_alarm()

    def goes_on(self, reason: int) -> bool:
        """See to what the loop came back for; returns whether there is more to simulate."""
        if reason == simulate.QUIET:
            return False
        if reason == simulate.HALTED:
            actor = self.plan.actors[self.control[simulated.WHO]]
            self.halt = f"the module halted: {actor.name} {where(self.plan, self.memory, actor)}"
            return False
        if reason == simulate.RESET:
            self._rebuild()
        assert reason != simulate.UNKNOWN, where(self.plan, self.memory, self.plan.actors[self.control[simulated.WHO]])
        return reason != simulate.ALARM or self._alarm()

    def move(self, turn: int) -> int:
        """Let the loop run for about so many micro-ops; returns why it came back."""
        return simulate.run(self.hardware, self.code, turn)

    def _share(self) -> float:
        """How far it has come, warm-up included."""
        return min(1.0, (self.control[simulated.NOW] - ORIGIN) / (self.control[simulated.END] - ORIGIN))

    # --- alarms: phases and hangs ---

    def _set_alarm(self) -> None:
        """The next time to look: the end of a phase, or whether the TDs still get on."""
        now = int(self.queue.clock[0])
        times = [now + self.hang_ticks]
        times += [int(self.control[name]) for name in (simulated.BEGIN, simulated.END) if self.control[name] > now]
        simulate.schedule(self.queue, self.alarm, min(times))

    def _alarm(self) -> bool:
        """Returns whether to go on."""
        now = int(self.control[simulated.NOW])
        if now == self.control[simulated.BEGIN]:
            self._ask(self.plan.actors, now)
        elif now >= self.control[simulated.END] and not self.stopping:
            self._stop(now)
        elif not all([self._gets_on(td, now) for td in self.tds]):
            return False
        self._set_alarm()
        return True

    def _stop(self, now: int) -> None:
        self.stopping = True
        self.control[simulated.END] = min(self.control[simulated.END], now)
        self._ask(self.plan.actors, now)

    def _ask(self, actors, now: int) -> None:
        """Tell those of them that are vCPUs to come out of the guest and look."""
        for actor in actors:
            if actor.kind == "vcpu":
                word = self.memory.base + self.plan.layout.at("kick", actor.index, actor.td)
                simulate.ask(self.hardware, self.tags, word, actor.number, now)

    def _gets_on(self, td: Watched, now: int) -> bool:
        """A TD in which nothing goes on is noted and ended, as an operator would end it.

        Returns False where not even that helps, and the run must end.
        """
        stuck = self._waiting(td, now, self.stuck_ticks)
        self.deadlocks += bool(stuck) and not td.reported
        found, td.reported = bool(stuck) and not td.reported, bool(stuck)
        touches = self.touches(td)
        if not found and (touches != td.touches or self._at_rest(td)):
            td.touches, td.gave_up = touches, 0
            return True
        if not stuck and self._waiting(td, now, self.hang_ticks // 2):
            return True                  # it is soon known whether that is why
        td.gave_up += 1
        if td.gave_up > STUCK_LIMIT:
            if stuck:
                self.deadlocked = True
            else:
                self.problems += [f"{actor.name} did not stop: {where(self.plan, self.memory, actor)}"
                                  for actor in td.actors if self.actors["place"][actor.number] != simulated.OFF]
            return False
        if not self.stopping:
            self.hangs.append(Hang(
                self.seconds(now - self.control[simulated.BEGIN]),
                tuple(f"{actor.name} {self.last_answer(actor)}" for actor in td.vcpus),
                # Whoever they wait for began to wait at about the same time.
                tuple(f"{actor.name} waits {where(self.plan, self.memory, actor)}"
                      for actor in stuck and self._waiting(td, now, self.stuck_ticks // 2))))
        self.memory.set_word(self.plan.layout.at("vm_dead", td=td.number), DEAD)
        self._wake(td, now)
        self._ask(td.actors, now)
        return True

    def _waiting(self, td: Watched, now: int, limit: int) -> list[Actor]:
        """The actors of a TD that have waited at one row for longer than that."""
        since = self.actors["since"]
        return [actor for actor in td.actors if since[actor.number] and now - since[actor.number] > limit]

    def last_answer(self, actor: Actor) -> str:
        """The last call an actor made, and how it ended."""
        registers, program = self.memory.registers(actor.number), self.plan.program
        return f"{program.calls[registers[R.CALL]]}: {program.answers[registers[R.ANSWER]].name}"

    def _at_rest(self, td: Watched) -> bool:
        """Userspace has taken all vCPUs out, or at the end all are done: none of them is blocked."""
        listing = self.plan.program.listing
        return all(listing[self.registers[actor.number, R.PC]].op == Op.STOP
                   for actor in (td.actors if self.stopping else td.vcpus))

    def _rebuild(self) -> None:
        """A fresh TD for an actor that asked for it; what the old one leaves in its entries is counted."""
        actor = self.plan.actors[self.control[simulated.WHO]]
        row = next(row for row in self.plan.program.listing if row.op == Op.RESET)
        self.memory.look()
        left = sum(int((self.memory.view(f"sept.{level}", td=actor.td) & np.uint64(TDHP) != 0).sum())
                   for level in range(LEVELS))
        half = self.actors["counts_in"][actor.number] != self.actors["halves"][actor.number]
        self.halves[actor.td, int(half), self.plan.tables.counters + row.value] += left
        self.memory.reset(actor.td)
        self._wake(self.tds[actor.td], int(self.control[simulated.NOW]))

    def _wake(self, td: Watched, now: int) -> None:
        """Words of a TD have changed without a micro-op: let all of its actors that wait look again."""
        for actor in td.actors:
            if self.actors["place"][actor.number] & simulated.PARKED:
                registers = self.registers[actor.number]
                row = self.plan.program.listing[registers[R.PC]]
                line = (int(registers[row.base]) + row.offset) // LINE
                simulate.wake_line(self.hardware, line * lines.STRIDE, now)

    # --- what it measured ---

    def touches(self, td: Watched) -> int:
        """Touches completed in a TD, in both halves."""
        at = self.plan.tables.counters + self.plan.program.counters.index("touches")
        return int(self.halves[td.number, :, at].sum())

    def counters(self) -> dict[str, int]:
        first = self.plan.tables.counters
        return dict(zip(self.plan.program.counters, map(int, self.halves[:, 1, first:].sum(axis=0))))

    def seconds(self, ticks: int) -> float:
        return int(ticks) / prices.TICKS_PER_NS / 1e9

    def measured(self) -> Measured:
        control, plan = self.control, self.plan
        ended = min(int(control[simulated.NOW]), int(control[simulated.END]))
        in_warm_up = ended <= control[simulated.BEGIN]        # interrupted, though coming to rest took longer
        records = np.zeros((plan.layout.tds, plan.tables.words), np.int64)
        records[:, :2 * plan.tables.half] = self.halves.reshape(plan.layout.tds, -1)
        quiet = not self.problems and not self.halt and not self.deadlocked
        noticed = {"no_halt": int(bool(self.halt)), "no_deadlock": self.deadlocks}
        self.memory.look()
        return Measured(
            plan=plan,
            halves=list(self.halves[:, 0 if in_warm_up else 1]),
            measured_s=self.seconds(max(1, ended - (ORIGIN if in_warm_up else control[simulated.BEGIN]))),
            ticks_per_ns=float(prices.TICKS_PER_NS),
            processors=list(range(self.processors_count)), started_at=time.time(),
            invariants=checks.check(plan, self.memory, list(records), quiet) | noticed,
            host_priority=checks.host_priority(plan, self.memory, list(records)),
            bugs=self._bugs(), hangs=self.hangs, interrupted=self.interrupted,
            problems=self.problems, halt=self.halt,
            logs={actor.name: log_of(scratch, plan.tables.log - plan.tables.busy_count)
                  for actor, scratch in zip(plan.actors, self.scratch)},
            extra={"simulation": {
                "micro_ops": int(control[simulated.STEPS]), "turns": int(control[simulated.TURNS]),
                "wakes": int(control[simulated.WAKES]), "ended_at_s": self.seconds(control[simulated.NOW] - ORIGIN),
                "assumptions": prices.assumptions(plan.config)}})

    def _bugs(self):
        tables, found = self.plan.tables, []
        for actor, scratch in zip(self.plan.actors, self.scratch):
            count = min(int(scratch[tables.bug_count - tables.busy_count]), record.BUG_LOG)
            entries = scratch[tables.bug_log - tables.busy_count:][:3 * count].reshape(-1, 3)
            found += [(self.seconds(when - self.control[simulated.BEGIN]), actor.name, int(call), int(answer))
                      for when, call, answer in entries]
        return sorted(found)
