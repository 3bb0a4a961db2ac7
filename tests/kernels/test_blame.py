"""Who caused a BUSY: each cause on a stage, where every holder stands still."""

from pathlib import Path

import numpy as np
import pytest

from harness.engines.processes import lock_holders
from harness.experiment.config_file import load
from harness.memory.block import Memory
from harness.experiment.plan import make_plan
from harness.protocol.liveness import successors
from harness.protocol.seamcall_abi import NO_FAULT
from kernels import blame, record
from kernels.answers import AnswerKind
from kernels.compiling import for_python
from kernels.ops import OP_TABLE, Fact, Op, Register as R
from tests.stage import config

note_busy = for_python(blame.note_busy)
begin_call, end_call = for_python(record.begin_call), for_python(record.end_call)
LATE, IN_TIME = 1_000_000, 100       # ticks since the holder's call began (a tick is a nanosecond here)


class Scene:
    """Actors of a real plan, put at rows by hand; `me` is refused, the others hold or do not."""

    def __init__(self, vcpus=3, hosts=1, processors=None, costs=None, workload=None):
        self.plan = make_plan(config(td={"vcpus": vcpus}, workload={"hosts": hosts} | (workload or {}),
                                     costs_ns=costs or {}))
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
        rows = [(pc, lock) for pc, row in enumerate(self.program.listing)
                for lock in row.held if row.call == (call or "") and lock.resource == resource]
        pc, lock = rows[-1]
        self.stand(actor, pc, lock.base, word - lock.offset, since)

    def stand(self, actor, pc, base, word, since):
        """An actor at a row, with one register set."""
        registers = self.memory.registers(actor)
        registers[:] = self.plan.start(self.plan.actors[actor])
        registers[R.PC], registers[base] = pc, word
        self.memory.record(actor)[self.at.call_start] = self.now - since

    def leave(self, actor):
        self.memory.registers(actor)[R.PC] = self.program.labels["vcpu.run"]

    def busy(self, word, call="tdh_mem_track", kind=AnswerKind.BUSY) -> str:
        """`me` is refused once; returns the cause that was counted."""
        address = self.memory.record(self.me).ctypes.data
        before = self.causes()
        begin_call(address, address, self.at, self.call(call), self.now)
        note_busy(address, self.at, self.others, self.me, self.call(call), kind, word, self.now)
        end_call(address, self.at, self.call(call), 1, True, self.now)
        [cause] = np.flatnonzero(self.causes() - before)
        return blame.CAUSE_NAMES[cause]

    def succeed(self, call="tdh_mem_track"):
        address = self.memory.record(self.me).ctypes.data
        begin_call(address, address, self.at, self.call(call), self.now)
        end_call(address, self.at, self.call(call), 0, False, self.now)

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
    assert Scene().busy(WORD, kind=AnswerKind.BUSY_FOR_PRIORITY) == "host_priority"


def test_a_refusal_that_the_policy_has_injected_is_nobodys_fault():
    """The word that refused last says nothing of it, whoever holds that now."""
    scene = Scene()
    scene.put(0, "tdh_vp_enter", "TD_EPOCH", WORD, since=LATE)
    assert scene.busy(WORD, kind=AnswerKind.INJECTED) == "gone"


def test_who_holds_it_again_in_another_call_has_recaptured_it():
    scene = Scene()
    scene.put(1, "tdh_mem_page_aug", "SEPT_ENTRY", WORD)
    assert scene.busy(WORD) == "running"
    assert scene.busy(WORD) == "running"                 # the same hold
    scene.put(1, "tdh_mem_page_aug", "SEPT_ENTRY", WORD, since=IN_TIME - 50)
    assert scene.busy(WORD) == "recaptured"
    scene.leave(1)
    scene.put(2, "tdh_mem_page_aug", "SEPT_ENTRY", WORD, since=IN_TIME - 60)
    assert scene.busy(WORD) == "running"                 # another actor
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


CONFIGS = [path for path in sorted(Path("configs").rglob("*.toml")) if not {"explore", "scale"} & set(path.parts)]


@pytest.mark.parametrize("path", CONFIGS, ids=str)
def test_the_limit_of_each_row_that_holds_a_lock_is_that_of_its_own_call(path):
    """A call is what its entry leads to, up to where it returns; found here without asking any row."""
    plan = make_plan(load(str(path)))
    program, limits = plan.program, lock_holders.limits_ns(plan)
    holds, _ = lock_holders.rows_and_locks(program)
    called = {row.next: row.text for row in program.listing if row.op == Op.CALL}
    entered = {}
    for label, call in called.items():
        for pc in rows_behind(program, program.labels[label]):
            assert entered.setdefault(pc, call) == call
    left = {pc for pc, row in enumerate(program.listing) if row.call} - set(entered)
    assert not left or plan.config.faults.seamcall != NO_FAULT        # then calls end where they begin
    for pc, row in enumerate(program.listing):
        assert pc == 0 or bool(row.flow) != bool(row.call)
        assert pc in left or row.call == entered.get(pc, "")
        own = program.calls.index(row.call) if row.call in program.calls else -1
        if row.held:
            assert limits[holds[pc, 2]] == limits[own], f"row {pc} of {row.place}"
    assert all(lock_holders.SLACK_NS <= limit < lock_holders.NEVER_NS for limit in limits[:-1])
    assert limits[-1] >= lock_holders.NEVER_NS


def rows_behind(program, entry) -> set[int]:
    """The rows that a subroutine can come to."""
    found, waiting = set(), [entry]
    while waiting:
        pc = waiting.pop()
        if pc in found or pc == 0:       # row 0 is HALT
            continue
        found.add(pc)
        waiting += successors(program.rows[pc], program.rows) if program.rows[pc]["op"] != Op.GO else []
    return found


@pytest.mark.parametrize("workload", [pytest.param({}, id="run"), pytest.param({"removal": "build"}, id="build", marks=pytest.mark.slow)])
def test_who_is_stopped_at_any_row_of_a_call_that_holds_a_lock_was_preempted(workload):
    """At each row, for each lock: one held refuses at once, one that is being taken is found out the second time."""
    scene, kinds = Scene(workload=workload), set()
    for pc, row in enumerate(scene.program.listing):
        if row.call not in scene.program.calls:
            continue
        for lock in row.held:
            scene.stand(0, pc, lock.base, WORD - lock.offset, since=LATE)
            assert scene.busy(WORD) == "preempted", f"row {pc} of {row.call}: {row.op.name} with {lock}"
            scene.succeed()
            scene.stand(0, pc, lock.base, WORD - lock.offset, since=IN_TIME)
            assert scene.busy(WORD) == "running", f"row {pc} of {row.call}: {row.op.name} with {lock}"
            scene.succeed()
        kinds |= {(row.call, row.op)} if row.held else set()
        if Fact.TAKES in OP_TABLE[row.op].facts and not any(
                (lock.base, lock.offset) == (row.base, row.offset) for lock in row.held):
            scene.stand(0, pc, row.base, WORD - row.offset, since=LATE)
            assert [scene.busy(WORD), scene.busy(WORD)] == ["gone", "preempted"], f"row {pc} of {row.call}"
            scene.succeed()
    calls = {call for call, _ in kinds}
    assert calls >= {"tdh_vp_enter", "tdh_mem_sept_add"} and len(calls) >= 7
    for call in ("tdh_mem_sept_add", "tdh_mem_page_aug", "tdh_mem_range_block", "tdh_mem_page_remove"):
        if call in calls:
            assert {(call, Op.ENTRY_TAKE), (call, Op.ENTRY_CLEAR_PRIORITY)} <= kinds


def test_loops_of_a_call_and_only_they_are_found():
    """Of the calls of a run: the entry filter goes round its listed pages, an ACCEPT of 4 KiB round nothing."""
    plan = make_plan(config())
    again = lock_holders.rows_in_loops(plan.program)
    names = {plan.program.listing[pc].call for pc in again}
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
