"""Real processes: they start, count, stop and die as they should; negative controls are seen to fail."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from harness import files, results
from harness.config import load
from harness.engines import processes
from harness.judge import failures
from harness.memory import TDVPS_STEPPING
from harness.plan import make_plan
from harness.policies import POLICIES
from harness.protocol.flows.flow import MMU_PRESENT
from kernels import stepping
from kernels.words import STATE, TDHP
from tests.stage import config

ROOT = Path(__file__).parent.parent
BUSY_LOOP = {"duration_s": 0.4, "warmup_s": 0.1, "restart_on_bug": True,
             "workload": {"removals_per_s": 200_000.0, "accept_first": 0.5}, "costs_ns": {"invalidate": 2000}}


def result_of(policy="kick_on_busy", **keys) -> dict:
    return results.from_measured(processes.run(make_plan(config(policy, **{**BUSY_LOOP, **keys}))))


# --- ordinary runs ---

@pytest.mark.parametrize("policy, primitive", [
    *((policy, "cas") for policy in POLICIES),
    *(pytest.param(policy, "bts", marks=[] if policy.name == "kick_on_busy" else pytest.mark.slow)
      for policy in POLICIES),
], ids=lambda value: getattr(value, "name", value))
def test_every_policy_runs_and_breaks_only_what_it_is_known_to_break(policy, primitive):
    result = result_of(policy.name, primitive=primitive, duration_s=0.2, warmup_s=0.05)
    violated = {name for name, count in result["invariants"].items() if count}
    assert violated <= set(policy.breaks), result["invariants"]
    unchecked = {name for name, count in result["invariants"].items() if count is None}
    # A VM may be dead at the end, and its mirror says nothing then.
    assert unchecked <= ({"quiet_mirror"} if result["bugs"] or result["hangs"]["count"] else set()) or violated
    # What a policy gets done in so short a time on a busy machine is not asserted: all vCPUs may be armed
    # for pending pages, or put aside by the operating system.
    assert sum(call["attempts"] for call in result["seamcalls"].values()) > 0
    for name, call in result["seamcalls"].items():
        assert call["attempts"] == call["success"] + call["busy"] + call["other"], name
        assert sum(call["busy_by_operand"].values()) == call["busy"]


@pytest.mark.parametrize("pattern", ["uniform", "hot", "zipf", "sequential"])
def test_every_pattern_runs(pattern):
    workload = {"pattern": pattern, "pages": 64, "removals_per_s": 0.0, "accept_first": 0.5}
    result = result_of(workload=workload)
    assert not any(result["invariants"].values())
    assert result["counters"]["installs"] > 0


def test_without_hosts_pages_are_touched_and_nothing_is_removed():
    result = result_of(workload={"hosts": 0})
    assert result["counters"]["touches"] > 0 and result["counters"].get("removals", 0) == 0
    assert not any(result["invariants"].values())


def test_many_more_workers_than_processors_run_and_say_so():
    result = result_of(td={"vcpus": 12, "memory_mib": 2})
    assert result["verdict"]["status"] == "DEGRADED"
    assert any("workers share" in reason for reason in result["verdict"]["reasons"])
    assert not any(result["invariants"].values())


def test_the_shadow_owner_is_a_switch():
    result = result_of(checks={"exclusive_ownership": False})
    assert result["invariants"]["exclusive_ownership"] is None


def test_a_policy_of_zero_tolerance_bugs_its_vm_and_the_run_ends_there():
    result = result_of("zero_tolerance", restart_on_bug=False, duration_s=20.0, warmup_s=0.0)
    assert sum(result["bugs"].values()) == 1
    assert result["measured_s"] < 20 and result["bug_log"][0]["cause"] in result["bugs"]
    assert not any(result["invariants"].values())


def test_a_bug_can_come_before_the_measurement_begins():
    result = result_of("zero_tolerance", restart_on_bug=False, duration_s=1.0, warmup_s=20.0)
    assert sum(result["bugs"].values()) == 1


# --- negative controls: broken on purpose, and seen ---

ONE_ENTRY = {"pages": 1, "hot_pages": 1, "spammers": 2, "removals_per_s": 0.0}


@pytest.mark.parametrize("busted, seen, workload", [
    ("entry_lock", "exclusive_ownership", ONE_ENTRY),
    ("no_track", "stale_translation", BUSY_LOOP["workload"]), ("no_kick", "stale_translation", BUSY_LOOP["workload"]),
])
def test_what_is_busted_is_caught(busted, seen, workload):
    for _ in range(10):              # a few runs: the race needs two workers to meet
        result = result_of(checks={"busted": [busted]}, duration_s=1.0, workload=workload)
        if result["invariants"][seen]:
            return
    raise AssertionError(f"{busted}: {seen} was not violated in ten runs")


def test_without_a_kick_after_track_a_removal_is_refused_and_bugs_the_vm():
    """A vCPU that was not kicked still counts at the old epoch."""
    for _ in range(10):
        result = result_of({"kick_after_track": False, "base": "kick_on_busy"})
        if any("tdh_mem_page_remove: TDX_TLB_TRACKING_NOT_DONE" in bug for bug in result["bugs"]):
            return
    raise AssertionError("every vCPU left the guest before REMOVE in ten runs")


def prepare(monkeypatch, change) -> None:
    """Let every run begin with a TD that `change(memory)` has been at."""
    class Prepared(processes.Memory):
        def format_td(self):
            super().format_td()
            change(self)

    monkeypatch.setattr(processes, "Memory", Prepared)


def test_a_block_that_is_busy_and_ignored_bugs_the_vm_at_the_removal(monkeypatch):
    """The tree is held shared for ever, so that every BLOCK comes back BUSY."""
    prepare(monkeypatch, lambda memory: memory.set_word(memory.layout.at("secure_ept_lock"), 2, 16))
    result = result_of({"block": ["ignore"], "track": ["ignore"], "base": "kick_on_busy"})
    assert result["bugs"]["tdh_mem_page_remove: TDX_GPA_RANGE_NOT_BLOCKED|RCX"] > 0


# Each of these races comes within a second or two; a run is repeated as others may need the processors.
BROKEN = sorted(ROOT.glob("configs/broken/*.toml"))


@pytest.mark.parametrize("path", [
    path if path.stem == "no_post_kick" else pytest.param(path, marks=pytest.mark.slow)
    for path in BROKEN], ids=lambda path: path.stem)
def test_every_broken_policy_is_caught_by_what_its_config_expects(path):
    config_of = load(path, ["duration_s=6" if "deadlock" in path.read_text() else "duration_s=0.5"])
    for _ in range(10):
        result = results.from_measured(processes.run(make_plan(config_of)))
        if not (failed := failures(result, config_of.expect)):
            return
    raise AssertionError(failed)


@pytest.mark.slow
@pytest.mark.parametrize("name, counter", [
    ("boot_storm", "installs"), ("fault_vs_zap", "removals"), ("conversion_storm", "conversions"),
    ("memslot_delete", "slots_deleted"), ("teardown", "rebuilds"), ("accept_spam", "spammed"),
    ("zero_step_selftest", "zero_step.armed"), ("string_instruction", "zero_step.armed"),
    ("huge_page_split", "splits"), ("build_race", "builds"),
])
def test_every_workload_does_what_it_is_named_after_and_breaks_nothing(name, counter):
    config_of = load(ROOT / f"configs/{name}.toml", ["duration_s=2"])
    result = results.from_measured(processes.run(make_plan(config_of)))
    assert not failures(result, config_of.expect) and result["counters"][counter] > 0


def test_a_deadlock_is_found_and_says_who_waits_for_what():
    """With entry barred for whole removals the kick after TRACK meets vCPUs that spin with interrupts off."""
    policy = {"base": "reenter_irqoff", "bar": "removal"}
    result = result_of(policy, duration_s=20.0, warmup_s=0.0, restart_on_bug=False)
    assert result["invariants"]["no_deadlock"] == 1 and result["measured_s"] < 19
    [hang] = [hang for hang in result["hangs"]["log"] if hang["waiting"]]
    assert any("host0 waits in zap; it held mmu_lock (exclusive)" in line and "kick[" in line
               for line in hang["waiting"]), hang
    assert result["verdict"]["status"] != "UNTRUSTWORTHY"


def test_a_module_that_halts_ends_the_run_and_names_the_check():
    for _ in range(20):
        result = result_of(checks={"busted": ["entry_lock"]}, duration_s=2.0)
        if result["invariants"]["no_halt"]:
            [reason] = [reason for reason in result["verdict"]["reasons"] if "halted" in reason]
            assert "SEPT_ENTRY" in reason
            return
    raise AssertionError("a busted entry lock never made entry_check fail")


# --- whatever happens, nothing is lost and nothing is left ---

def start(tmp_path, *arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "harness", "run", "configs/kick_on_busy.toml", "--set", "duration_s=60",
         "--set", "warmup_s=0", "--out", tmp_path, *arguments],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)


def workers_of(process, count=5) -> list[psutil.Process]:
    """Its workers, once all are at work."""
    for _ in range(3000):
        children = psutil.Process(process.pid).children()
        if len(children) == count and all(child.cpu_times().user + child.cpu_times().system > 0
                                          for child in children):
            return children
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    raise AssertionError("the workers did not start")


def nothing_left(workers, shared_before):
    gone, alive = psutil.wait_procs(workers, timeout=5)
    assert not alive
    assert set(os.listdir("/dev/shm")) <= shared_before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_keeps_and_prints_what_was_measured(tmp_path, number):
    shared = set(os.listdir("/dev/shm"))
    process = start(tmp_path)
    workers = workers_of(process)
    time.sleep(0.5)
    os.killpg(process.pid, number) if number == signal.SIGINT else process.send_signal(number)
    stdout, stderr = process.communicate(timeout=20)
    assert process.returncode == 130, stderr
    assert "interrupted" in stdout and "tdh_vp_enter" in stdout
    [saved] = tmp_path.glob("*/result.json")
    result = files.read(saved)
    assert result["interrupted"] and result["seamcalls"]["tdh_vp_enter"]["success"] > 0
    assert not any(result["invariants"].values())
    nothing_left(workers, shared)


@pytest.mark.parametrize("victim", [0, 4, *(pytest.param(each, marks=pytest.mark.slow) for each in (1, 2, 3))])
def test_a_killed_worker_ends_the_run_and_is_named_with_its_locks(tmp_path, victim):
    shared = set(os.listdir("/dev/shm"))
    process = start(tmp_path)
    workers = sorted(workers_of(process), key=lambda worker: worker.pid)
    time.sleep(0.3)
    workers[victim].kill()
    killed = time.monotonic()
    stdout, stderr = process.communicate(timeout=20)
    assert time.monotonic() - killed < 20
    assert process.returncode == 3
    name = ["vcpu0", "vcpu1", "vcpu2", "vcpu3", "host0"][victim]
    line = next(line for line in stderr.splitlines() if "was killed" in line)
    assert f"worker {name} (pid {workers[victim].pid}) was killed by SIGKILL in " in line
    assert "it held " in line
    [saved] = tmp_path.glob("*/result.json")
    result = files.read(saved)
    assert result["verdict"]["status"] == "UNTRUSTWORTHY"
    assert result["seamcalls"]["tdh_vp_enter"]["success"] > 0
    nothing_left(workers, shared)


def test_a_worker_that_does_not_stop_is_named_and_ended(tmp_path):
    shared = set(os.listdir("/dev/shm"))
    process = start(tmp_path)
    workers = sorted(workers_of(process), key=lambda worker: worker.pid)
    workers[1].suspend()
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=20)
    assert "worker vcpu1" in stderr and "did not stop" in stderr
    assert list(tmp_path.glob("*/result.json"))
    nothing_left(workers, shared)


def test_workers_do_not_outlive_a_coordinator_that_is_killed(tmp_path):
    shared = set(os.listdir("/dev/shm"))
    process = start(tmp_path)
    workers = workers_of(process)
    process.kill()
    process.communicate(timeout=20)
    nothing_left(workers, shared)


def test_a_dead_worker_is_described_by_its_row_and_registers():
    plan = make_plan(config())
    memory = processes.Memory(plan.layout)
    for actor in plan.actors:
        memory.registers(actor.number)[:] = plan.start(actor)
    watcher = processes.Coordinator(plan, memory, None, [0], None)
    listing = plan.program.listing
    for pc, row in enumerate(listing[1:], 1):
        registers = memory.registers(0)
        registers[processes.R.PC] = pc
        text = watcher.where(plan.actors[0])
        assert all(str(lock) in text for lock in row.held)
        assert ("no lock" in text) == (not row.held)


# --- what is measured ---

def armed_for_a_pending_page(memory) -> None:
    """Page 0 is added but not accepted, and listed against both vCPUs."""
    layout = memory.layout
    for level in (2, 1):
        memory.view(f"sept.{level}")[0] = STATE["NL_MAPPED"].word(layout.hpa(("", "pt_pages", "pd_pages")[level]))
    memory.view("sept.0")[0] = STATE["PENDING"].word(layout.hpa("data"))
    for level, group in enumerate(("data", "pt_pages", "pd_pages")):
        memory.view(f"mirror.{level}")[0] = layout.hpa(group) | MMU_PRESENT
    for vcpu in range(layout.vcpus):
        stepping_words = layout.at("tdvps", vcpu) + TDVPS_STEPPING
        memory.set_word(stepping_words + stepping.EPF_LENGTH, 1, 8)


def test_a_hang_is_noted_with_what_each_vcpu_was_told(monkeypatch):
    """Both vCPUs are armed for a page that is pending: neither can enter and accept it."""
    prepare(monkeypatch, armed_for_a_pending_page)
    keys = {"td": {"vcpus": 2, "memory_mib": 2}, "restart_on_bug": False, "duration_s": 20.0, "warmup_s": 0.0}
    result = result_of("kick_vcpus", **keys, workload={"pages": 1, "hot_pages": 1, "hosts": 0})
    assert result["hangs"]["count"] == 1
    [hang] = result["hangs"]["log"]
    assert len(hang["vcpus"]) == 2
    # Refused by the filter, or BUSY because the other vCPU is in it.
    assert all("tdh_vp_enter: " in vcpu and "TDX_SUCCESS" not in vcpu for vcpu in hang["vcpus"])
    assert result["measured_s"] < 19


def test_an_orphaned_host_priority_starves_the_guest_until_its_td_exits(monkeypatch):
    """A host that lost page 0's entry never came back; each TDCALL on it is refused, for hp_lock_timeout."""
    def orphaned(memory):
        armed_for_a_pending_page(memory)
        for vcpu in range(memory.layout.vcpus):
            memory.set_word(memory.layout.at("tdvps", vcpu) + TDVPS_STEPPING + stepping.EPF_LENGTH, 0, 8)
        memory.view("sept.0")[0] |= np.uint64(TDHP)

    prepare(monkeypatch, orphaned)
    # One vCPU: two would make each other plainly BUSY, which stops the timer.
    td = {"vcpus": 1, "memory_mib": 2, "hp_lock_timeout_ms": 50}
    workload = {"pages": 1, "hot_pages": 1, "hosts": 0}
    result = result_of("kick_on_busy", td=td, duration_s=1.0, warmup_s=0.0, workload=workload)
    priority = result["host_priority"]
    assert priority["timeouts"] >= 2 and priority["orphaned"] == 1
    assert priority["guest_refused_ns"]["p50"] >= 50e6
    assert result["seamcalls"]["tdg_mem_page_accept"]["busy_by_operand"] == {"RCX (host priority)": priority_count(result)}


def priority_count(result) -> int:
    accept = result["seamcalls"]["tdg_mem_page_accept"]
    return accept["attempts"] - accept["other"]


def test_the_same_td_does_not_hang_when_faults_are_retried_in_the_host():
    """A machine that runs nobody for a while looks like a hang: one run of three without one will do."""
    keys = {"td": {"vcpus": 2, "memory_mib": 2}, "duration_s": 2.0, "warmup_s": 0.0}
    workload = {"pages": 1, "hot_pages": 1, "accept_first": 0.0, "removals_per_s": 50_000.0}
    hangs = []
    while not hangs or (hangs[-1] and len(hangs) < 3):
        result = result_of("kick_on_busy", **keys, workload=workload, costs_ns={"invalidate": 20_000})
        hangs.append(result["hangs"]["count"])
    assert not all(hangs)


def test_time_that_is_configured_is_spent():
    """A removal holds BLOCK's work, so no removal can be quicker than it."""
    result = result_of(costs_ns={"tdh_mem_range_block": 50_000}, workload={"removals_per_s": 0.0})
    assert result["seamcalls"]["tdh_mem_range_block"]["latency_ns"]["p50"] > 50_000 * 0.95
    assert result["spans_ns"]["removal"]["p50"] > 50_000 * 0.95


def test_warm_up_is_not_in_the_result():
    long_warm_up = result_of(warmup_s=1.0, duration_s=0.1)
    short = result_of(warmup_s=0.1, duration_s=1.0)
    assert long_warm_up["measured_s"] < 1 <= short["measured_s"]
    assert long_warm_up["counters"]["touches"] < short["counters"]["touches"]


@pytest.mark.slow
def test_shipped_configs_show_what_they_say():
    """Counts, not rates: whatever the machine, these policies differ in kind."""
    def run(name):
        return results.from_measured(processes.run(make_plan(load(
            ROOT / f"configs/{name}.toml", ["duration_s=1.5", "warmup_s=0.2"]))))

    kick_on_busy, kick_vcpus, zero = run("kick_on_busy"), run("kick_vcpus"), run("zero_tolerance")
    assert not kick_on_busy["bugs"] and not kick_vcpus["bugs"]
    for name in ("tdh_mem_range_block", "tdh_mem_track", "tdh_mem_page_remove"):
        assert kick_vcpus["seamcalls"][name]["busy"] == 0
    # A broadcast for each removal there, one after each TRACK here; the bar is up only there.
    assert kick_vcpus["counters"]["kick_broadcasts"] >= kick_vcpus["counters"]["removals"] > 0
    assert kick_vcpus["kicks"]["entries_refused"] > 0
    assert sum(zero["bugs"].values()) > 0
