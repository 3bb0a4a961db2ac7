"""Virtual time: the same twice, nobody waits for what has happened, and prices are paid."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from harness.experiment import config_file
from harness.protocol.counters import HOST_PRIORITY
from harness.engines.simulate import prices
from harness.experiment import assumed
from harness.results import document
from harness.results.schema import Result
from harness.engines.simulate import simulation as simulate
from harness.engines.whereabouts import where
from harness.errors import UsageError
from harness.memory.layout import LINE
from harness.experiment.plan import Plan, make_plan
from harness.protocol.policies import BY_NAME, POLICIES
from kernels import lines
from kernels import simulate as loop, simulated
from kernels.compiling import for_python, kernel
from kernels.machine import BLOCKED, step_once
from kernels.ops import Register as R
from tests.stage import config
from tests.engines.real_runs import armed_for_a_pending_page
from tests.tries import LIMIT_S

ROOT = Path(__file__).parent.parent.parent
BUSY_LOOP = {"engine": "simulate", "duration_s": 0.003, "warmup_s": 0.0005, "restart_on_bug": True,
             "workload": {"removals_per_s": 200_000.0, "accept_first": 0.5}, "costs_ns": {"invalidate": 2000, "guest_work": 1000}}
# Three hosts that never pause, and guests that work for a while: calls meet.
MEETING = {"workload": {"hosts": 3, "removals_per_s": 0.0, "accept_first": 0.5},
           "costs_ns": {"guest_work": 300}}
OF_THE_MOMENT = ("started_at", "machine", "block")


def simulation(policy="kick_on_busy", **keys) -> simulate.Simulation:
    return simulate.Simulation(make_plan(config(policy, **{**BUSY_LOOP, **keys})))


def result_of(policy="kick_on_busy", **keys) -> Result:
    return document.from_measured(simulate.run(make_plan(config(policy, **{**BUSY_LOOP, **keys}))))


def lasting(document: dict) -> str:
    """All of a result but what tells of the machine and the moment."""
    return json.dumps({key: value for key, value in document.items() if key not in OF_THE_MOMENT})


# --- ordinary runs ---

@pytest.mark.parametrize("policy, primitive", [*((policy, "cas") for policy in POLICIES), (BY_NAME["kick_on_busy"], "bts")],
                         ids=lambda value: getattr(value, "name", value))
def test_every_policy_runs_and_breaks_only_what_it_is_known_to_break(policy, primitive):
    result = result_of(policy.name, primitive=primitive)
    assert {name for name, count in result.invariants.items() if count} <= set(policy.breaks), result.invariants
    # A TD can hang for some of the time (docs/policies_compared.md); a fresh one is built then.
    assert sum(call.attempts for call in result.seamcalls.values()) > 0
    assert result.measured_s == 0.003 or result.invariants["no_deadlock"]
    for name, call in result.seamcalls.items():
        assert call.attempts == call.success + call.busy + call.other, name


@pytest.mark.parametrize("pattern", ["uniform", "hot", "zipf", "sequential"])
def test_every_pattern_runs(pattern):
    workload = {"pattern": pattern, "pages": 64, "removals_per_s": 0.0, "accept_first": 0.5}
    result = result_of(workload=workload)
    assert not any(result.invariants.values()) and result.counters["installs"] > 0


def test_policies_differ_in_kind_as_they_do_in_real_time():
    kick_vcpus, zero = result_of("kick_vcpus", **MEETING), result_of("zero_tolerance", **MEETING)
    for name in ("tdh_mem_range_block", "tdh_mem_track", "tdh_mem_page_remove"):
        assert kick_vcpus.seamcalls[name].busy == 0
    assert kick_vcpus.kicks.entries_refused > 0 and not kick_vcpus.bugs
    assert sum(zero.bugs.values()) > 0 and zero.counters["rebuilds"] > 0


@pytest.mark.parametrize("busted, seen", [
    ("entry_lock", "exclusive_ownership"), ("no_track", "stale_translation"), ("no_kick", "stale_translation"),
])
def test_what_is_busted_is_caught(busted, seen):
    assert result_of(checks={"busted": [busted]}, **MEETING).invariants[seen]


def test_a_hang_is_noted_with_what_each_vcpu_was_told():
    """Both vCPUs are armed for a page that is pending: neither can enter and accept it."""
    running = simulation("kick_vcpus", td={"vcpus": 2, "memory_mib": 2}, restart_on_bug=False, duration_s=2.0,
                         warmup_s=0.0, workload={"pages": 1, "hot_pages": 1, "hosts": 0})
    armed_for_a_pending_page(running.memory)
    running.run()
    [hang] = document.from_measured(running.measured()).hangs.log
    assert len(hang.vcpus) == 2
    assert all("tdh_vp_enter: EXIT_REASON_EPT_VIOLATION" in vcpu for vcpu in hang.vcpus)
    assert hang.at_s < 0.1


def test_actors_that_wait_for_one_another_are_a_deadlock_and_are_named():
    plan = make_plan(config_file.load(ROOT / "configs/broken/reenter_irqoff.toml", ["engine=simulate", "duration_s=0.2"]))
    result = document.from_measured(simulate.run(plan))
    assert result.invariants["no_deadlock"] >= 1 and result.hangs.deadlocks >= 1
    assert any("waits in" in text for hang in result.hangs.log for text in hang.waiting)


def test_a_bug_without_restart_ends_the_run_at_its_time():
    result = result_of("zero_tolerance", restart_on_bug=False, duration_s=1.0, **MEETING)
    assert sum(result.bugs.values()) == 1 and result.measured_s < 0.5
    assert not any(result.invariants.values())


@pytest.mark.parametrize("release, halts", [("1.5.16", 0), ("1.5.20", 1), ("1.5.24", 0)])
def test_the_second_store_of_release_1_5_20_erases_a_guests_lock_and_the_module_halts(release, halts):
    """Its write of an entry is a compare-and-swap that releases the lock and then one more plain store."""
    result = result_of(module=release, **MEETING)
    assert result.invariants["no_halt"] == halts
    if halts:
        assert any("halted" in reason and "tdg_mem_page_accept" in reason for reason in result.verdict.reasons)


@pytest.mark.slow
def test_no_reference_is_counted_in_the_loop():
    """Compiled afresh, as cached code cannot be inspected."""
    fresh, original = for_python(loop.run), loop.run
    loop.run = fresh
    try:
        simulate.run(make_plan(config(**BUSY_LOOP)))
    finally:
        loop.run = original
    [assembly] = fresh.inspect_asm().values()
    assembly = assembly[:assembly.index("cpython")]
    assert "NRT" not in assembly and "incref" not in assembly


# --- the same twice ---

TDS = pytest.mark.parametrize("td", [{}, {"count": 3, "vcpus": 2}], ids=["one TD", "three TDs"])


@TDS
def test_the_same_plan_gives_the_same_result_to_the_last_byte(td):
    assert lasting(result_of(td=td).document()) == lasting(result_of(td=td).document())


@TDS
def test_how_long_a_turn_is_changes_nothing(monkeypatch, td):
    whole = lasting(result_of(td=td).document())
    monkeypatch.setattr(simulate, "TURN", 777)
    assert lasting(result_of(td=td).document()) == whole


def test_another_seed_gives_another_result_of_the_same_kind():
    one, other = result_of(seed=1, duration_s=0.01), result_of(seed=2, duration_s=0.01)
    assert lasting(one.document()) != lasting(other.document())
    for name in ("touches", "removals", "installs"):
        assert one.counters[name] == pytest.approx(other.counters[name], rel=0.1), name


SETTINGS = ["engine=simulate", "duration_s=0.001", "warmup_s=0", "costs_ns.guest_work=500"]


def run_apart(out, name, **environment) -> str:
    """A run in a process of its own, by the command line."""
    settings = [word for setting in SETTINGS for word in ("--set", setting)]
    done = subprocess.run(
        [sys.executable, "-m", "harness", "run", f"configs/{name}.toml", *settings, "--out", str(out),
         "--format", "json"], cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, timeout=LIMIT_S)
    assert done.returncode == 0, done.stderr
    return lasting(json.loads(done.stdout))


def run_here(name) -> str:
    plan = make_plan(config_file.load(ROOT / "configs" / f"{name}.toml", SETTINGS))
    return lasting(json.loads(json.dumps(document.from_measured(simulate.run(plan)).document())))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["kick_on_busy", "td_lives"])
def test_another_process_with_another_hash_seed_gives_the_same_result(tmp_path, name):
    other = str(int(os.environ.get("PYTHONHASHSEED", "0") == "0"))
    assert run_apart(tmp_path, name, PYTHONHASHSEED=other) == run_here(name)


@pytest.mark.slow
def test_another_cache_of_compiled_code_gives_the_same_result(tmp_path):
    assert run_apart(tmp_path, "td_lives", NUMBA_CACHE_DIR=str(tmp_path / "cache")) == run_here("td_lives")


# --- several TDs ---

@pytest.mark.parametrize("policy", ["kick_vcpus", "kick_on_busy", "resume_guest", "zero_tolerance"])
def test_tds_that_share_nothing_do_what_each_would_do_alone(monkeypatch, policy):
    """With the same random streams each of three TDs counts to the last tick what one alone does.

    So no kick, wake-up, interrupt or fresh TD reaches another TD's actors.
    """
    monkeypatch.setattr(Plan, "random_key", lambda plan, actor: 77 * actor.index + len(actor.kind))
    halves, priority = [], []
    for count in (1, 3):
        running = simulation(policy, td={"vcpus": 3, "count": count, "memory_mib": 2}, **MEETING)
        running.run()
        result = document.from_measured(running.measured())
        assert not any(result.invariants.values())
        halves.append(running.halves)
        priority.append([getattr(result.host_priority, name) for name in HOST_PRIORITY])
    alone, together = halves
    assert alone[0].sum() > 0 and all((each == alone[0]).all() for each in together)
    assert any(priority[0]) or policy == "kick_vcpus"        # which hardly meets anybody
    assert priority[1] == [3 * count for count in priority[0]]


@pytest.mark.parametrize("machine", [
    pytest.param({}, id="a processor each", marks=pytest.mark.slow),
    pytest.param({"processors": 4}, id="four processors", marks=pytest.mark.slow),
    pytest.param({"processors": 4, "preempt": "anywhere"}, id="preempted anywhere", marks=pytest.mark.slow),
])
def test_tds_are_created_run_and_destroyed_side_by_side(machine):
    """configs/td_lives.toml: creations meet on the key table, and nothing of a TD is left in another."""
    plan = make_plan(config_file.load(ROOT / "configs/td_lives.toml", ["engine=simulate", "duration_s=0.02"]))
    plan = make_plan(plan.config.model_copy(update={"machine": plan.config.machine.model_copy(update=machine)}))
    result = document.from_measured(simulate.run(plan))
    assert not any(result.invariants.values()) and None not in result.invariants.values()
    assert not result.bugs and not result.hangs.count and not result.counters["destroy_failures"]
    assert result.counters["builds"] == result.counters["destroyed"] > 4
    assert result.seamcalls["tdh_mng_key_config"].busy_by_operand.keys() == {"KET"}
    assert result.seamcalls["tdh_mng_create"].busy == 0      # KVM's tdx_lock


def test_a_td_that_hangs_is_ended_and_the_others_go_on():
    """The first TD's vCPUs are armed for a page that is pending, as in the test of one TD above."""
    running = simulation("kick_vcpus", td={"vcpus": 2, "count": 2, "memory_mib": 2}, restart_on_bug=False,
                         duration_s=0.2, warmup_s=0.0, workload={"pages": 1, "hot_pages": 1, "hosts": 0})
    armed_for_a_pending_page(running.memory)
    running.run()
    result = document.from_measured(running.measured())
    [hang] = result.hangs.log
    assert [text.split()[0] for text in hang.vcpus] == ["td0.vcpu0", "td0.vcpu1"]
    assert result.measured_s == 0.2 and not running.problems
    hung, well = running.tds
    assert running.touches(hung) == 0 and running.touches(well) > 10_000


def test_a_deadlock_in_one_td_is_told_of_its_actors_only():
    plan = make_plan(config_file.load(ROOT / "configs/broken/reenter_irqoff.toml",
                                  ["engine=simulate", "duration_s=0.2", "td.count=2"]))
    result = document.from_measured(simulate.run(plan))
    assert result.invariants["no_deadlock"] >= 1
    for hang in result.hangs.log:
        assert len({text.partition(".")[0] for text in (*hang.vcpus, *hang.waiting)}) == 1


def test_more_processors_than_the_model_can_tell_apart_are_refused_in_one_line():
    plan = make_plan(config(engine="simulate", td={"vcpus": 4096, "count": 16, "memory_mib": 2}))
    with pytest.raises(UsageError, match="machine.processors must be less than 65535") as caught:
        simulate.Simulation(plan)
    assert "\n" not in str(caught.value)


# --- waiting ---

def may_go_on(running: simulate.Simulation, actor: int) -> bool:
    """Whether the row that a waiting actor stands at would let it go on now; changes nothing."""
    registers = running.registers[actor].copy()
    row = running.plan.program.listing[registers[R.PC]]
    word = int(registers[row.base]) + row.offset
    before = running.memory.word(word)
    signal = step_once(running.plan.program.rows, registers, running.memory.base)
    running.memory.set_word(word, before)
    return signal != BLOCKED


@pytest.mark.parametrize("machine", [{}, {"processors": 2}, {"processors": 2, "preempt": "anywhere"}, {"processors": 2, "preempt": "yielding"}],
                         ids=["a processor each", "two processors", "preempted anywhere", "yielding"])
@pytest.mark.parametrize("policy, tds", [("kick_vcpus", 1), ("zero_tolerance", 1), ("kick_vcpus", 2)])
def test_nobody_ever_waits_for_what_has_already_happened(policy, tds, machine):
    """At thousands of instants: whoever is parked, the row it stands at would not let it go on."""
    running = simulation(policy, td={"vcpus": 8 // tds, "count": tds, "memory_mib": 2},
                         machine={"time_slice_ns": 20_000.0, **machine},
                         duration_s=0.002, **MEETING)
    looked = 0
    move = running.move

    def moved(_):
        nonlocal looked
        reason = move(151)
        for actor in np.flatnonzero(running.actors["place"] & simulated.PARKED):
            assert not may_go_on(running, actor), where(running.plan, running.memory, running.plan.actors[actor])
            looked += 1
        return reason

    running.move = moved
    running.run()
    assert looked > 20 and not running.problems
    assert not (running.actors["place"] & simulated.PARKED).any()


def test_a_wake_up_that_is_left_out_is_seen():
    """The control of the test above: without its wake-ups the run stands still, and says where."""
    running = simulation(**MEETING)
    move = running.move

    def forgetful(turn):
        running.lines.words[running.plan.layout.at("mmu_lock") // LINE * lines.STRIDE] &= ~lines.AWAITED
        return move(50)

    running.move = forgetful
    running.run()
    result = document.from_measured(running.measured())
    assert result.invariants["no_deadlock"] >= 1
    assert None in result.invariants.values(), "it came to rest all the same"


# --- more actors than processors ---

@pytest.mark.parametrize("preempt", ["outside", "anywhere"])
def test_more_actors_than_processors_run(preempt):
    result = result_of(td={"vcpus": 12, "memory_mib": 2}, duration_s=0.005,
                       machine={"processors": 2, "time_slice_ns": 50_000.0, "preempt": preempt}, **MEETING)
    assert result.workers.count == 13 + 2 and len(result.workers.processors) == 2
    assert not any(result.invariants.values()) and result.counters["touches"] > 0


@pytest.mark.parametrize("preempt, inside", [("outside", False), ("anywhere", True)])
def test_slices_end_with_something_held_only_where_they_may(preempt, inside):
    running = simulation(td={"vcpus": 8, "memory_mib": 2}, duration_s=0.003, **MEETING,
                         machine={"processors": 2, "time_slice_ns": 2_000.0, "switch_ns": 100.0, "preempt": preempt})
    seen, move = 0, running.move

    def moved(_):
        nonlocal seen
        reason = move(50)
        for actor in np.flatnonzero(running.actors["place"] == simulated.OFF):
            seen += bool(running.plan.program.listing[running.registers[actor, R.PC]].held)
        return reason

    running.move = moved
    running.run()
    assert bool(seen) == inside and not running.problems


# --- prices ---

def test_time_that_is_configured_is_spent():
    result = result_of(costs_ns={"tdh_mem_range_block": 50_000}, workload={"removals_per_s": 0.0})
    assert result.seamcalls["tdh_mem_range_block"].latency_ns.p50 > 50_000
    assert result.spans_ns.removal.p50 > 50_000


def test_an_interrupt_ends_the_guests_work_at_its_delivery():
    """A vCPU that works for a millisecond between touches acknowledges a kick all the same."""
    result = result_of(costs_ns={"guest_work": 1_000_000}, duration_s=0.05, workload={"removals_per_s": 10_000.0})
    wait = result.kicks.wait_ns
    assert wait.count > 20 and 1_500 <= wait.p50 and wait.max < 20_000
    # What was cut is owed: the guest cannot have touched more often than its work allows.
    assert result.counters["touches"] <= 4 * 0.0505 / 0.001


def table_for(processors, sockets, near, far) -> lines.Lines:
    """Sixteen lines that nobody has touched."""
    return lines.Lines(np.zeros(16 * lines.STRIDE, np.int64),
                       np.zeros((17, lines.words_for(processors)), np.int64), sockets, near, far, 0, np.zeros(0, np.int64))


@kernel(entry=True)
def reach_all(table, accesses, now):
    """Ticks that a list of accesses (line, processor, write) waits for, one after another."""
    waited = 0
    for index in range(len(accesses)):
        ticks = lines.reach(table, accesses[index, 0] * lines.STRIDE, accesses[index, 1],
                            accesses[index, 2] != 0, now + waited)
        waited += ticks
    return waited


@pytest.mark.parametrize("accesses, transfers", [
    ([(0, 0, 1), (0, 0, 1), (0, 0, 0)], (1, 0)),                     # mine after the first time
    ([(0, 0, 1), (0, 1, 1), (0, 0, 1)], (3, 0)),                     # to and fro
    ([(0, 0, 1), (0, 1, 0), (0, 0, 0), (0, 1, 0)], (2, 0)),          # both may read
    ([(0, 0, 1), (0, 1, 0), (0, 0, 1)], (3, 0)),                     # the reader's copy is taken away
    ([(0, 0, 1), (0, 2, 1)], (1, 1)),                                # from the other socket
    ([(0, 0, 1), (0, 2, 0), (0, 0, 1), (0, 1, 0)], (2, 2)),          # a copy over there is far to take away
    ([(0, 0, 1), (1, 1, 1), (0, 0, 1), (1, 1, 1)], (2, 0)),          # lines of their own
])
def test_a_line_costs_a_transfer_whenever_somebody_else_has_changed_it(accesses, transfers):
    table = table_for(4, np.array([0, 0, 1, 1]), 100, 1000)
    near, far = transfers
    assert reach_all(table, np.array(accesses, np.int64), 1) == 100 * near + 1000 * far


def test_processors_that_want_the_same_line_are_served_in_turn():
    table = table_for(4, np.zeros(4, np.int64), 100, 100)
    waits = [reach_all(table, np.array([(0, processor, 1)], np.int64), 50) for processor in range(4)]
    assert waits == [100, 200, 300, 400]


def test_more_than_64_processors_have_copies_of_a_line():
    table = table_for(130, np.zeros(130, np.int64), 1, 1)
    reads = [(0, processor, 0) for processor in range(130)]
    assert reach_all(table, np.array(reads + reads, np.int64), 1) == 130
    assert reach_all(table, np.array([(0, 0, 1), *reads[1:]], np.int64), 1) == 131     # the owner pays to take all copies


def test_the_price_of_every_row_that_others_see_is_more_than_nothing():
    plan = make_plan(config(engine="simulate", machine={"local_ns": 0, "load_ns": 0, "store_ns": 0, "locked_ns": 0}))
    tags = prices.make_tags(plan, plan.config.machine)
    assert (tags[tags & simulated.PRICED != 0] >> simulated.PRICE_SHIFT > 0).all()


@pytest.mark.parametrize("keys, says", [
    ({"machine": {"costs": "nowhere.toml"}}, "machine.costs = 'nowhere.toml': no such file"),
    ({"machine": {"distribution": {"guest_wrk": "exponential"}}}, "did you mean guest_work?"),
    ({"machine": {"distribution": {"guest_work": "gaussian"}}, "costs_ns": {"guest_work": 5}},
     "must be 'constant', 'exponential' or 'histogram FILE'"),
    ({"machine": {"distribution": {"guest_work": "histogram nowhere.csv"}}, "costs_ns": {"guest_work": 5}},
     "nowhere.csv: no such file"),
    ({"machine": {"distribution": {"guest_work": "histogram Makefile"}}, "costs_ns": {"guest_work": 5}},
     "must be CSV with columns from_ns, to_ns, count"),
    ({"workload": {"pattern": "zipf"}, "td": {"memory_mib": 1 << 20}}, "set workload.pages"),
])
def test_a_machine_that_cannot_be_is_refused_in_one_line(keys, says):
    with pytest.raises(UsageError) as caught:
        simulation(**keys)
    assert says in str(caught.value) and "\n" not in str(caught.value)


def test_a_costs_file_stands_in_for_defaults_but_not_for_what_the_config_says(tmp_path):
    path = tmp_path / "costs.toml"
    path.write_text('measured_on = "that machine"\n[machine]\nlocal_ns = 2.5\nlocked_ns = 7.5\n')
    machine, provenance = prices.resolve(config(machine={"costs": str(path), "locked_ns": 9.0}))
    assert (machine.local_ns, machine.locked_ns) == (2.5, 9.0)
    assert provenance["local_ns"] == "measured that machine" and provenance["locked_ns"] == "this config"
    assert provenance["ipi_ns"].startswith("assumption")


def test_a_result_names_every_number_it_rests_on():
    named = {item.key: item for item in result_of().simulation.assumptions}
    assert {f"machine.{key}" for key in assumed.MACHINE} <= set(named)
    assert "assumption" in named["machine.ipi_ns"].provenance
    assert named["costs_ns.invalidate"].value == 2000


def test_engine_simulate_may_be_shorter_than_a_run_in_real_time():
    assert config(engine="simulate", duration_s=0.0001).duration_s == 0.0001
    with pytest.raises(UsageError, match="must be at least 0.05"):
        config_file.check(config_file.Given({"name": "x", "policy": "retry16", "duration_s": 0.0001}, "x.toml"))
