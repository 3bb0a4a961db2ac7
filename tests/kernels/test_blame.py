"""Whose fault a BUSY was: each cause on a stage, where every holder stands still; then real processes."""

import math
import random
import time
from typing import NamedTuple

import numpy as np
import psutil
import pytest

from harness.engines.processes import lock_holders
from harness.results import document
from harness.engines.processes import coordinator
from harness.memory.block import Memory
from harness.experiment.plan import make_plan
from harness.protocol.assemble import Listing
from harness.protocol.seamcalls import write_calls
from kernels import blame, record
from kernels.compiling import for_python
from kernels.ops import Op, Register as R
from kernels.words import EXCLUSIVE
from tests.stage import config
from tests.tries import LIMIT_S, until

note_busy = for_python(blame.note_busy)
end_call = for_python(record.end_call)
LATE, IN_TIME = 1_000_000, 100       # ticks since the holder's call began (a tick is a nanosecond here)


class Scene:
    """Actors of a real plan, put at rows by hand; `me` is refused, the others hold or do not."""

    def __init__(self, vcpus=3, hosts=1, processors=None, costs=None):
        self.plan = make_plan(config(td={"vcpus": vcpus}, workload={"hosts": hosts}, costs_ns=costs or {}))
        self.memory = Memory(self.plan.layout)
        for actor in self.plan.actors:
            self.memory.registers(actor.number)[:] = self.plan.start(actor)
        self.at, self.program = self.plan.tables, self.plan.program
        self.others = lock_holders.others(self.plan, self.memory, processors or list(range(vcpus + hosts)), 1.0)
        self.me = len(self.plan.actors) - 1
        self.now = 10_000_000

    def call(self, name):
        return self.program.calls.index(name)

    def put(self, actor, call, resource, word, since=IN_TIME):
        """An actor at the last row of a call at which it holds a resource, which lies at `word`."""
        number = self.call(call) if call else len(self.program.calls)
        places = lock_holders.calls_of(self.program)
        rows = [(pc, lock) for pc, row in enumerate(self.program.listing)
                for lock in row.held if places[pc] == number and lock.resource == resource]
        pc, lock = rows[-1]
        registers = self.memory.registers(actor)
        registers[R.PC], registers[lock.base] = pc, word - lock.offset
        self.memory.record(actor)[self.at.call_start] = self.now - since

    def leave(self, actor):
        self.memory.registers(actor)[R.PC] = self.program.labels["vcpu.run"]

    def busy(self, word, call="tdh_mem_track", kind=blame.BUSY) -> str:
        """`me` is refused once; returns the cause that was counted."""
        address = self.memory.record(self.me).ctypes.data
        before = self.causes()
        note_busy(address, address, self.at, self.others, self.me, self.call(call), kind, word, self.now)
        end_call(address, address, self.at, self.call(call), 1, True, self.now)
        [cause] = np.flatnonzero(self.causes() - before)
        return blame.CAUSE_NAMES[cause]

    def succeed(self, call="tdh_mem_track"):
        address = self.memory.record(self.me).ctypes.data
        end_call(address, address, self.at, self.call(call), 0, False, self.now)

    def causes(self):
        calls = len(self.program.calls)
        return self.memory.record(self.me)[self.at.causes:][:calls * record.CAUSES].reshape(calls, -1).sum(axis=0)

    def count(self, table, call="tdh_mem_track"):
        return int(self.memory.record(self.me)[getattr(self.at, table) + self.call(call)])


WORD = 4096


def test_a_holder_within_its_time_runs_and_one_over_it_was_preempted():
    scene = Scene()
    scene.put(0, "tdh_vp_enter", "TD_EPOCH", WORD, since=IN_TIME)
    assert scene.busy(WORD) == "running"
    scene.put(0, "tdh_vp_enter", "TD_EPOCH", WORD, since=LATE)
    assert scene.busy(WORD) == "preempted"


def test_work_that_the_config_gives_a_call_is_not_preemption():
    scene = Scene(costs={"td_entry": 2 * LATE})
    scene.put(0, "tdh_vp_enter", "TD_EPOCH", WORD, since=LATE)
    assert scene.busy(WORD) == "running"


def test_a_holder_on_the_processor_of_who_it_refuses_was_preempted():
    scene = Scene(processors=[0, 1, 2, 0])
    scene.put(0, "tdh_vp_enter", "TD_EPOCH", WORD)
    assert scene.busy(WORD) == "preempted"
    scene.leave(0)
    scene.put(1, "tdh_vp_enter", "TD_EPOCH", WORD)
    assert scene.busy(WORD) == "running"


def test_a_holder_of_another_word_is_not_to_blame():
    scene = Scene()
    scene.put(0, "tdh_vp_enter", "TD_EPOCH", WORD + 64, since=LATE)
    assert scene.busy(WORD) == "gone"


def test_of_several_sharers_one_that_runs_is_enough():
    scene = Scene()
    scene.put(0, "tdh_vp_enter", "TD_EPOCH", WORD, since=LATE)
    scene.put(1, "tdh_vp_enter", "TD_EPOCH", WORD, since=LATE)
    assert scene.busy(WORD) == "preempted"
    scene.put(2, "tdh_vp_enter", "TD_EPOCH", WORD, since=IN_TIME)
    assert scene.busy(WORD) == "running"


def test_a_guest_that_runs_is_not_over_its_time():
    """Between entry and exit a vCPU holds TDR shared, for as long as the guest likes."""
    scene = Scene()
    scene.put(0, None, "TDR", WORD, since=1000 * LATE)
    assert scene.busy(WORD) == "running"


def test_a_refusal_for_priority_has_its_own_cause():
    assert Scene().busy(WORD, kind=blame.BUSY_FOR_PRIORITY) == "host_priority"


def test_who_holds_it_again_in_another_call_has_recaptured_it():
    scene = Scene()
    scene.put(1, "tdh_mem_page_aug", "SEPT_ENTRY", WORD)
    assert scene.busy(WORD) == "running"
    assert scene.busy(WORD) == "running"                 # the same hold
    scene.put(1, "tdh_mem_page_aug", "SEPT_ENTRY", WORD, since=IN_TIME - 50)
    assert scene.busy(WORD) == "recaptured"
    scene.leave(1)
    scene.put(2, "tdh_mem_page_aug", "SEPT_ENTRY", WORD, since=IN_TIME - 60)
    assert scene.busy(WORD) == "running"                 # somebody else
    scene.succeed()
    scene.put(2, "tdh_mem_page_aug", "SEPT_ENTRY", WORD, since=IN_TIME - 70)
    assert scene.busy(WORD) == "running"                 # another operation


def test_who_was_put_aside_right_behind_taking_is_found_out_at_the_second_refusal():
    scene = Scene()
    registers, listing = scene.memory.registers(0), scene.program.listing
    start = scene.program.labels["tdh_vp_enter"]
    pc = next(pc for pc in range(start, len(listing)) if listing[pc].op == Op.SHAREX_TAKE_SHARED)
    registers[R.PC], registers[listing[pc].base] = pc, WORD - listing[pc].offset
    record_ = scene.memory.record(0)
    record_[scene.at.call_start] = scene.now - IN_TIME
    assert [scene.busy(WORD), scene.busy(WORD)] == ["gone", "gone"]      # it may be about to try
    scene.succeed()
    record_[scene.at.call_start] = scene.now - LATE
    assert [scene.busy(WORD), scene.busy(WORD), scene.busy(WORD)] == ["gone", "preempted", "preempted"]


def test_a_late_hold_is_counted_once_however_often_it_refuses():
    scene = Scene()
    for since in (LATE, LATE, LATE + 1):
        scene.put(0, "tdh_vp_enter", "TD_EPOCH", WORD, since)
        scene.busy(WORD)
    assert scene.count("late_holds") == 2


def test_an_operation_that_only_met_preempted_holders_is_contended_but_not_net():
    scene = Scene()
    scene.put(0, "tdh_vp_enter", "TD_EPOCH", WORD, since=LATE)
    scene.busy(WORD)
    scene.succeed()
    assert (scene.count("contended"), scene.count("contended_net")) == (1, 0)
    scene.busy(WORD)
    scene.leave(0)
    scene.busy(WORD)
    scene.succeed()
    assert (scene.count("contended"), scene.count("contended_net")) == (2, 1)


def test_every_row_of_a_call_knows_its_call_and_no_row_of_a_flow_does():
    plan = make_plan(config())
    for pc, call in enumerate(lock_holders.calls_of(plan.program)):
        place = plan.program.place_of(pc)
        assert (plan.program.calls[call] if call < len(plan.program.calls) else place) == place


def test_loops_of_a_call_and_only_they_are_found():
    """Of the calls of a run: the entry filter goes round its listed pages, an ACCEPT of 4 KiB round nothing."""
    plan = make_plan(config())
    calls = lock_holders.calls_of(plan.program)
    again = lock_holders.rows_in_loops(plan.program, calls)
    names = {plan.program.calls[calls[pc]] for pc in again}
    assert "tdh_vp_enter" in names and not names & {"tdh_mem_track", "tdh_mem_page_aug", "tdh_mem_range_block"}
    for pc in again:
        assert plan.program.listing[pc].op not in (Op.CALL_BEGIN, Op.CALL_END, Op.ENTRY_TAKE, Op.SHAREX_TAKE_SHARED)


def test_the_refused_word_is_noted_on_every_way_to_a_busy_and_on_no_other():
    """A call that goes through has not a row more than without attribution."""
    plans = [make_plan(config(checks={"attribution": on})) for on in (True, False)]
    counts = [[(row.op, row.text) for row in plan.program.listing] for plan in plans]
    extra = [row for row in counts[0] if row[1] == "which word refused"]
    assert len(counts[0]) - len(counts[1]) == len(extra) > 10
    for pc, row in enumerate(plans[0].program.listing):
        if row.text == "which word refused":
            answer = plans[0].program.listing[pc + 1]
            assert answer.op == Op.ANSWER and plans[0].program.answers[_answer(plans[0], pc + 1)].busy


def _answer(plan, pc):
    return int(plan.program.rows[pc]["mask"])


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
        monkeypatch, lambda stops: min(sum(stop.inside == kind for stop in stops) for kind in (True, False)) >= 5)
    assert {stop.inside for stop in stops} == {True, False}
    assert all(stop.noticed == stop.inside for stop in stops), stops
    assert result.busy.late_holds >= len({stop.began for stop in stops if stop.inside})


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
    keys = {"duration_s": 0.5, "warmup_s": 0.0, "restart_on_bug": True,
            "workload": {"removals_per_s": 200_000.0}, "costs_ns": {"invalidate": 2000}}
    result = document.from_measured(coordinator.run(make_plan(config("retry16", **keys))))
    assert result.invariants["conservation"] == 0
    for name, call in result.seamcalls.items():
        assert call.busy_by_cause.total() == call.busy, name
    assert result.busy.by_cause.total() == result.busy.answers
