"""Who caused a BUSY in real processes, some of which are stopped: at random instants, and at every kind of row."""

import math
import random
import time
from typing import NamedTuple

import numpy as np
import psutil
import pytest

from harness.results import document
from harness.engines.processes import coordinator
from harness.experiment.plan import Plan, make_plan
from harness.protocol.assemble import Held, Listing
from harness.protocol.locate import locate
from harness.protocol.flows import write_flows
from harness.protocol.seamcalls import entry_label, write_calls
from kernels import blame, locks, realtime, record
from kernels.compiling import for_python
from kernels.ops import Op, Register as R
from kernels.words import EXCLUSIVE
from tests.stage import config
from tests.tries import LIMIT_S, until

# --- real processes: a worker that is stopped ---

HOLD_NS, GAP_NS = 200_000, 200_000
LATE_S = 0.005                   # a hold that has lasted for so long is over its time, whenever it began
STOPS_MAX = 400


def write_holder_and_taker(options, *_):
    """A host that holds the epoch lock half of the time (TDH.MEM.TRACK), a vCPU that keeps entering."""
    listing = Listing()
    for who in ("vcpu", "host"):
        listing.label(who)
        listing.row(Op.POLL)
        listing.row(Op.TEST, register=R.STOPPING, mask=-1, otherwise="stop")
        if who == "host":
            listing.row(Op.CALL, next="tdh_mem_track", otherwise="host.tracked")
            listing.label("host.tracked")
            listing.spend(f"{GAP_NS} ns", next="host")
        else:
            listing.count("touches")
            listing.row(Op.CALL, next="tdh_vp_enter", otherwise="vcpu.answered")
            listing.label("vcpu.answered")
            listing.row(Op.TEST, register=R.STATUS, mask=-1, otherwise="vcpu")
            listing.row(Op.CALL, next="td_exit", otherwise="vcpu.out")
            listing.label("vcpu.out")
            listing.row(Op.LET, next="vcpu")
    listing.label("stop")
    listing.row(Op.STOP)
    write_calls(listing, options)
    return listing.program()


class Stop(NamedTuple):
    """What came of one stop of the host."""

    inside: bool                 # the lock was held
    noticed: bool                # the taker has noted just this hold, or, outside, any hold, as over its time
    began: int                   # when the host's call began


class Stopper:
    """Stops the host at random instants, each time until the taker has tried often enough to notice.

    What is asked of the machine is only that it runs everybody sooner or later.
    """

    def __init__(self, watcher):
        self.watcher, self.random, self.stops = watcher, random.Random(1), []
        program, at = watcher.plan.program, watcher.plan.tables
        vcpu, host = watcher.plan.actors
        self.vcpu, self.host = (watcher.memory.record(actor.number) for actor in (vcpu, host))
        self.worker = psutil.Process(watcher.workers[host].pid)
        self.late_hold, self.call_start = at.late_hold, at.call_start
        self.touches = at.half + at.counters + program.counters.index("touches")

    def until(self, reached) -> None:
        limit = time.monotonic() + LIMIT_S
        while not reached():
            assert time.monotonic() < limit, "nobody runs on this machine"
            time.sleep(0.0005)

    def tries(self, count: int) -> None:
        """Let the taker try so often."""
        wanted = self.vcpu[self.touches] + count
        self.until(lambda: self.vcpu[self.touches] >= wanted)

    def stop(self) -> Stop:
        last = self.stops[-1].began if self.stops else 0
        self.until(lambda: self.host[self.call_start] != last)       # it has got on since
        time.sleep(self.random.uniform(0, 0.003))
        self.worker.suspend()
        try:
            self.until(lambda: self.worker.status() == psutil.STATUS_STOPPED)
            memory, layout = self.watcher.memory, self.watcher.plan.layout
            inside = bool(memory.word(layout.at("epoch_lock"), 16) & EXCLUSIVE)
            began = int(self.host[self.call_start])
            if inside:
                time.sleep(LATE_S)
                self.tries(5)
                return Stop(inside, self.vcpu[self.late_hold] == began, began)
            self.tries(3)                        # the last one that the host has refused is noted by then
            before = self.vcpu[self.late_hold]
            time.sleep(LATE_S)
            self.tries(20)
            return Stop(inside, self.vcpu[self.late_hold] != before, began)
        finally:
            self.worker.resume()


def stopped_run(monkeypatch, enough):
    """A run in which the host is stopped again and again; until enough(stops)."""
    monkeypatch.setattr("harness.experiment.plan.write_program", write_holder_and_taker)
    plan = make_plan(config(td={"vcpus": 1}, duration_s=3600.0, warmup_s=0.0, costs_ns={"tdh_mem_track": HOLD_NS}))
    stoppers = []

    def look(watcher, now):
        if not stoppers:
            stoppers.append(Stopper(watcher))
        [stopper] = stoppers
        stopper.stops.append(stopper.stop())
        watcher.interrupted = enough(stopper.stops) or len(stopper.stops) == STOPS_MAX

    monkeypatch.setattr(coordinator.Coordinator, "_look_for_hang", look)
    return document.from_measured(coordinator.run(plan)), stoppers[0].stops


def test_a_holder_that_is_stopped_in_its_hold_is_noticed_and_one_outside_is_not(monkeypatch):
    """Each stop alone, whatever else the machine does: the lock word says whether it fell into a hold."""
    result, stops = stopped_run(
        monkeypatch, lambda stops: min(sum(stop.inside == kind for stop in stops) for kind in (True, False)) >= 3)
    assert {stop.inside for stop in stops} == {True, False}
    assert all(stop.noticed == stop.inside for stop in stops), stops
    assert result.busy.late_holds >= len({stop.began for stop in stops if stop.inside})


# --- real processes: a worker that is stopped at a given row ---

# Lock words that the taker below is refused on, by resource, and how each is taken and dropped.
REFUSING = {"SEPT_ENTRY": "sept.2", "SEPT_TREE": "secure_ept_lock", "TD_EPOCH": "epoch_lock"}
TAKE = {"entry": locks.entry_take, "exclusive": locks.sharex_take_exclusive, "shared": locks.sharex_take_shared}
DROP = {"entry": locks.entry_drop, "exclusive": locks.sharex_drop_exclusive, "shared": locks.sharex_drop_shared}


def write_idler_and_taker(options, policy, hosts, *rest, **keys):
    """All of the plan's calls; a host that makes none, and a vCPU that blocks the top entry and tracks, for ever."""
    flow = write_flows(options, policy, hosts, *rest, **keys, calls=[("tdh_mem_range_block", 2)])
    listing = flow.listing
    listing.label("idler")
    listing.row(Op.POLL)
    listing.row(Op.TEST, register=R.STOPPING, mask=-1, otherwise="idler.stop")
    listing.row(Op.YIELD, next="idler")
    listing.label("taker")
    listing.row(Op.POLL)
    listing.row(Op.TEST, register=R.STOPPING, mask=-1, otherwise="idler.stop")
    listing.count("touches")
    listing.row(Op.LET, register=R.PAGE)
    locate(listing, options.layout, 2)
    for name, level in (("tdh_mem_range_block", 2), ("tdh_mem_track", 0)):
        listing.row(Op.CALL, next=entry_label(flow.rows[name], level), otherwise=f"taker.{name}", text=name)
        listing.label(f"taker.{name}")
    listing.row(Op.LET, next="taker")
    listing.label("idler.stop")
    listing.row(Op.STOP)
    return listing.program()


class Place(NamedTuple):
    """A row at which a worker is stopped, and the lock there that the taker wants."""

    pc: int
    lock: Held
    taking: bool = False         # the row is about to take it, or just has


def places(program) -> list[Place]:
    """Of each call: its rows that take or clear an entry, and the one in the middle of those that hold a lock."""
    found = []
    for call in program.calls:
        held = [Place(pc, lock) for pc, row in enumerate(program.listing) if row.call == call
                for lock in row.held if lock.resource in REFUSING]
        entries = [each for each in held if program.listing[each.pc].op in (Op.ENTRY_TAKE, Op.ENTRY_CLEAR_PRIORITY)]
        taking = [Place(pc, lock, True) for pc, row in enumerate(program.listing)
                  if row.call == call and row.op == Op.ENTRY_TAKE
                  for lock in program.listing[pc + 1].held if lock.resource == "SEPT_ENTRY"]
        found += [*held[len(held) // 2:][:1], *entries, *taking]
    return list(dict.fromkeys(found))


class Stand:
    """The idler, stopped; and its registers, as if that had happened at another row with a lock in hand.

    So each row can be had, however short: the process does not run, the lock word is taken, and who looks
    sees what it would see of a worker that the operating system has stopped just there.
    """

    def __init__(self, watcher):
        self.watcher, plan = watcher, watcher.plan
        self.vcpu, self.host = plan.actors
        self.record, self.at = watcher.memory.record(self.vcpu.number), plan.tables
        self.touches = self.at.half + self.at.counters + plan.program.counters.index("touches")
        self.tally = np.zeros(1, np.int64)

    def look(self, place: Place) -> list[int]:
        """Stand there for LATE_S, then let the taker try; the causes of its BUSYs behind that."""
        memory, layout = self.watcher.memory, self.watcher.plan.layout
        registers, word = memory.registers(self.host.number), layout.at(REFUSING[place.lock.resource])
        kept = registers.copy()
        arguments = (memory.base + word, 0, self.tally) if place.lock.discipline == "entry" else (memory.base + word,)
        kind = "entry" if place.lock.discipline == "entry" else place.lock.mode
        until_true(lambda: for_python(TAKE[kind])(*arguments) == locks.DONE)
        memory.record(self.host.number)[self.at.call_start] = realtime.read_clock()[0]
        registers[R.PC], registers[place.lock.base] = place.pc, word - place.lock.offset
        time.sleep(LATE_S)
        self.tries(3)
        before = self.causes()
        self.tries(5)
        causes = self.causes() - before
        registers[:] = kept
        for_python(DROP[kind])(*arguments)
        return causes

    def tries(self, count: int) -> None:
        wanted = self.record[self.touches] + count
        until_true(lambda: self.record[self.touches] >= wanted)

    def causes(self):
        calls = len(self.watcher.plan.program.calls)
        return sum(self.record[start + self.at.causes:][:calls * record.CAUSES].reshape(calls, -1).sum(axis=0)
                   for start in (0, self.at.half))


def until_true(reached) -> None:
    limit = time.monotonic() + LIMIT_S
    while not reached():
        assert time.monotonic() < limit, "nobody runs on this machine"
        time.sleep(0.0005)


def test_a_worker_that_is_stopped_at_any_kind_of_row_is_seen_as_preempted(monkeypatch):
    """At ENTRY_TAKE and ENTRY_CLEAR_PRIORITY of each call that has them, and in the middle of each call."""
    monkeypatch.setattr("harness.experiment.plan.write_program", write_idler_and_taker)
    monkeypatch.setattr("harness.experiment.plan.Plan.start", starts_elsewhere(Plan.start))
    plan = make_plan(config(td={"vcpus": 1}, duration_s=3600.0, warmup_s=0.0))
    program, seen = plan.program, {}

    def look(watcher, now):
        worker = psutil.Process(watcher.workers[plan.actors[1]].pid)
        worker.suspend()
        try:
            until_true(lambda: worker.status() == psutil.STATUS_STOPPED)
            stand = Stand(watcher)
            seen.update({place: stand.look(place) for place in places(program)})
        finally:
            worker.resume()
        watcher.interrupted = True

    monkeypatch.setattr(coordinator.Coordinator, "_look_for_hang", look)
    coordinator.run(plan)
    kinds = {(program.listing[place.pc].call, program.listing[place.pc].op) for place in seen}
    assert {call for call, _ in kinds} >= {"tdh_mem_track", "tdg_mem_page_accept"}
    for call in ("tdh_mem_sept_add", "tdh_mem_page_aug", "tdh_mem_range_block", "tdh_mem_page_remove"):
        assert {(call, Op.ENTRY_TAKE), (call, Op.ENTRY_CLEAR_PRIORITY)} <= kinds
    for place, causes in seen.items():
        row = program.listing[place.pc]
        assert causes[blame.PREEMPTED] >= 3, f"row {place.pc} of {row.call}: {row.op.name} with {place.lock}: {causes}"
        assert causes.sum() == causes[blame.PREEMPTED], (row, causes)


def starts_elsewhere(start):
    """Plan.start with the actors at the idler and the taker."""
    def changed(plan, actor):
        registers = start(plan, actor)
        registers[R.PC] = plan.program.labels["taker" if actor.kind == "vcpu" else "idler"]
        return registers
    return changed


def band(count, share, confidence=0.99):
    """The least and the most successes of `count` trials that are not too rare."""
    weights = np.array([math.comb(count, k) * share ** k * (1 - share) ** (count - k) for k in range(count + 1)])
    below = np.cumsum(weights)
    tail = (1 - confidence) / 2
    return int(np.searchsorted(below, tail)), int(np.searchsorted(below, 1 - tail))


@pytest.mark.slow
def test_stops_are_attributed_as_often_as_the_lock_is_held(monkeypatch):
    """Stops at random instants fall into a hold as often as the lock is held: a binomial band.

    A wide one, as a test may not fail once in a hundred times; and for a machine that takes processors away.
    """
    result, stops = stopped_run(monkeypatch, lambda stops: len(stops) >= 150)
    assert all(stop.noticed == stop.inside for stop in stops), stops
    holds = result.seamcalls["tdh_mem_track"].success
    share = holds * HOLD_NS / 1e9 / result.conditions.workers["host0"].ran_s
    least, most = band(len(stops), min(1.0, share), confidence=1 - 1e-9)
    noticed = sum(stop.noticed for stop in stops)
    print(f"{len(stops)} stops, held {share:.3f} of the time: {least} .. {most} expected, {noticed} noticed")
    assert least <= noticed <= most


@pytest.mark.slow
def test_with_a_processor_for_each_worker_few_holds_are_late():
    """No more than processors were taken away, by the operating system or by the hypervisor; of a few runs, in one.

    (An interrupt that takes long makes a hold late, too, and nothing counts those.)
    """
    def few(result):
        conditions = result.conditions
        print(result.busy, conditions)
        stolen_s = (conditions.steal_share or 0) * result.measured_s * len(result.workers.processors)
        taken = conditions.involuntary_switches_count + stolen_s / 1e-3
        return result.verdict.status != "VALID" or result.busy.late_holds <= 10 + taken

    keys = {"td": {"vcpus": 1}, "workload": {"removals_per_s": 200_000.0}}
    until(few, lambda duration_s: document.from_measured(coordinator.run(make_plan(config(duration_s=duration_s, **keys)))),
          first_s=5.0)


def test_each_busy_of_a_run_has_one_cause():
    keys = {"duration_s": 0.2, "warmup_s": 0.0, "restart_on_bug": True,
            "workload": {"removals_per_s": 200_000.0}, "costs_ns": {"invalidate": 2000}}
    result = document.from_measured(coordinator.run(make_plan(config("retry16", **keys))))
    assert result.invariants["conservation"] == 0
    for name, call in result.seamcalls.items():
        assert call.busy_by_cause.total() == call.busy, name
    assert result.busy.by_cause.total() == result.busy.answers
