"""Real processes: they start, count, stop and die as they should; negative controls are seen to fail."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from harness.results import store, document
from harness.experiment.config_file import load
from harness.engines.processes import coordinator, watchdog
from harness.engines.processes.patience import LIMIT_S as LIMIT_OF_PATIENCE_S, TURN_S, Patience, Seen, see
from harness.results.expectations import failures
from harness.results.schema import Result
from harness.memory.layout import TDVPS_STEPPING
from harness.experiment.plan import make_plan
from harness.protocol.policies import POLICIES
from harness.protocol.flows.flow import MMU_PRESENT
from kernels import stepping
from kernels.words import STATE, TDHP
from tests.stage import config
from tests.tries import LIMIT_S, until

ROOT = Path(__file__).parent.parent.parent
BUSY_LOOP = {"duration_s": 0.2, "warmup_s": 0.05, "restart_on_bug": True,
             "workload": {"removals_per_s": 200_000.0, "accept_first": 0.5}, "costs_ns": {"invalidate": 2000}}


LONG_S = 3600.0                  # of a run that ends for another reason


def result_of(policy="kick_on_busy", **keys) -> Result:
    return document.from_measured(coordinator.run(make_plan(config(policy, **{**BUSY_LOOP, **keys}))))


def result_until(seen, policy="kick_on_busy", always=lambda result: None, longest_s=5.0, **keys) -> Result:
    return until(seen, lambda duration_s: result_of(policy, **{**keys, "duration_s": duration_s}), always,
                 longest_s=longest_s)


def nothing_violated(result) -> None:
    assert not any(result.invariants.values()), result.invariants


def attempts_of(result) -> int:
    return sum(call.attempts for call in result.seamcalls.values())


class Watched(coordinator.Coordinator):
    """A coordinator that tests can look at when its run is over."""

    last: "Watched"

    def __init__(self, *arguments):
        super().__init__(*arguments)
        Watched.last = self

    def vm_is_dead(self) -> bool:
        return self.memory.word(self.plan.layout.at("vm_dead")) != 0

    def counted(self, name: str) -> tuple[int, int]:
        """A counter of all actors: in the warm-up, and measured."""
        tables, program = self.plan.tables, self.plan.program
        at = tables.counters + program.counters.index(name)
        records = [self.memory.record(actor.number) for actor in self.plan.actors]
        return tuple(int(sum(record[half + at] for record in records)) for half in (0, tables.half))


# --- ordinary runs ---

@pytest.mark.parametrize("policy, primitive", [
    *(pytest.param(policy, "cas", marks=[] if number % 2 == 0 else pytest.mark.slow) for number, policy in enumerate(POLICIES)),
    *(pytest.param(policy, "bts", marks=[] if policy.name == "kick_on_busy" else pytest.mark.slow)
      for policy in POLICIES),
], ids=lambda value: getattr(value, "name", value))
def test_every_policy_runs_and_breaks_only_what_it_is_known_to_break(monkeypatch, policy, primitive):
    monkeypatch.setattr(coordinator, "Coordinator", Watched)

    def always(result):
        violated = {name for name, count in result.invariants.items() if count}
        assert violated <= set(policy.breaks), result.invariants
        unchecked = {name for name, count in result.invariants.items() if count is None}
        # The mirror of a dead VM says nothing; a run that ends in a deadlock does not come to rest.
        assert unchecked == ({"quiet_mirror"} if Watched.last.vm_is_dead() else set()) \
            or "no_deadlock" in policy.breaks, result.verdict
        for name, call in result.seamcalls.items():
            assert call.attempts == call.success + call.busy + call.other, name
            assert sum(call.busy_by_operand.values()) == call.busy

    # What a policy gets done in so short a time is not asserted: all vCPUs may be armed for pending pages.
    result_until(attempts_of, policy.name, always, primitive=primitive, warmup_s=0.05)


@pytest.mark.parametrize("pattern", ["uniform", "hot", "zipf", "sequential"])
def test_every_pattern_runs(pattern):
    workload = {"pattern": pattern, "pages": 64, "removals_per_s": 0.0, "accept_first": 0.5}
    result_until(lambda result: result.counters["installs"] > 0, always=nothing_violated, workload=workload)


def test_without_hosts_pages_are_touched_and_nothing_is_removed():
    def always(result):
        nothing_violated(result)
        assert result.counters.get("removals", 0) == 0

    result_until(lambda result: result.counters["touches"] > 0, always=always, workload={"hosts": 0})


def test_many_more_workers_than_processors_run_and_say_so(monkeypatch):
    allowed = sorted(os.sched_getaffinity(0))[:2]
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(allowed))
    result = result_of(td={"vcpus": 12, "memory_mib": 2})
    assert result.verdict.status == "DEGRADED", result.verdict
    assert any("workers share" in reason for reason in result.verdict.reasons)
    nothing_violated(result)


def test_the_shadow_owner_is_a_switch():
    result = result_of(checks={"exclusive_ownership": False})
    assert result.invariants["exclusive_ownership"] is None


# Every fifth SEAMCALL is answered BUSY, so that nobody need meet anybody.
UNLUCKY = {"base": "zero_tolerance", "inject_every": 5}


def test_a_policy_of_zero_tolerance_bugs_its_vm_and_the_run_ends_there():
    result = result_of(UNLUCKY, restart_on_bug=False, duration_s=LONG_S, warmup_s=0.0)
    assert sum(result.bugs.values()) == 1
    assert result.measured_s < LONG_S and result.bug_log[0].cause in result.bugs
    nothing_violated(result)


def test_a_bug_can_come_before_the_measurement_begins():
    result = result_of(UNLUCKY, restart_on_bug=False, duration_s=1.0, warmup_s=LONG_S)
    assert sum(result.bugs.values()) == 1


# --- negative controls: broken on purpose, and seen ---

# All vCPUs do nothing but ACCEPT one page: even where they share a processor they come between one another.
ONE_ENTRY = {"pages": 1, "hot_pages": 1, "spammers": 4, "hosts": 0}


@pytest.mark.parametrize("busted, seen, workload", [
    ("entry_lock", "exclusive_ownership", ONE_ENTRY),
    ("no_track", "stale_translation", BUSY_LOOP["workload"]), ("no_kick", "stale_translation", BUSY_LOOP["workload"]),
])
def test_what_is_busted_is_caught(busted, seen, workload):
    """Mostly by the first run: the race needs two workers to meet."""
    result_until(lambda result: result.invariants[seen], checks={"busted": [busted]}, workload=workload)


def test_without_a_kick_after_track_a_removal_is_refused_and_bugs_the_vm():
    """A vCPU that was not kicked still counts at the old epoch."""
    result_until(
        lambda result: any("tdh_mem_page_remove: TDX_TLB_TRACKING_NOT_DONE" in bug for bug in result.bugs),
        {"kick_after_track": False, "base": "kick_on_busy"})


def prepare(monkeypatch, change) -> None:
    """Let every run begin with a TD that `change(memory)` has been at."""
    class Prepared(coordinator.Memory):
        def format_td(self):
            super().format_td()
            change(self)

    monkeypatch.setattr(coordinator, "Memory", Prepared)


def test_a_block_that_is_busy_and_ignored_bugs_the_vm_at_the_removal(monkeypatch):
    """The tree is held shared for ever, so that every BLOCK comes back BUSY."""
    prepare(monkeypatch, lambda memory: memory.set_word(memory.layout.at("secure_ept_lock"), 2, 16))
    result_until(lambda result: result.bugs.get("tdh_mem_page_remove: TDX_GPA_RANGE_NOT_BLOCKED|RCX"),
                 {"block": ["ignore"], "track": ["ignore"], "base": "kick_on_busy"})


BROKEN = sorted(ROOT.glob("configs/broken/*.toml"))
# What makes workers meet even on one processor: a call that holds its lock for longer than a time slice.
MET_FOR_SURE = {"no_tdx_lock": ["costs_ns.tdh_phymem_cache_wb=5000000"]}


@pytest.mark.parametrize("path", [
    path if path.stem == "no_post_kick" else pytest.param(path, marks=pytest.mark.slow)
    for path in BROKEN], ids=lambda path: path.stem)
def test_every_broken_policy_is_caught_by_what_its_config_expects(path):
    """Each of these races comes within a second or two, where there are processors to run on."""
    def run(duration_s):
        settings = MET_FOR_SURE.get(path.stem, []) if duration_s > 2 else []
        return document.from_measured(coordinator.run(make_plan(load(path, [f"duration_s={duration_s}", *settings]))))

    expect = load(path).expect
    first_s = 6.0 if "deadlock" in path.read_text() else 0.5
    until(lambda result: not failures(result, expect), run, first_s=first_s, longest_s=20.0)


@pytest.mark.slow
@pytest.mark.parametrize("name, counter", [
    ("boot_storm", "installs"), ("fault_vs_zap", "removals"), ("conversion_storm", "conversions"),
    ("memslot_delete", "slots_deleted"), ("teardown", "rebuilds"), ("accept_spam", "spammed"),
    ("zero_step_selftest", "zero_step.armed"), ("string_instruction", "helped"),
    ("huge_page_split", "splits"), ("build_race", "builds"),
])
def test_every_workload_does_what_it_is_named_after_and_breaks_nothing(name, counter):
    path = ROOT / f"configs/{name}.toml"
    expect = load(path).expect

    def always(result):
        nothing_violated(result)
        # What a config wants to be 0 must be 0 in every run; of the rest there may be too little to see.
        assert not failures(result, {key: bound for key, bound in expect.items() if bound.max == 0})

    until(lambda result: not failures(result, expect) and result.counters[counter] > 0,
          lambda duration_s: document.from_measured(coordinator.run(make_plan(load(path, [f"duration_s={duration_s}"])))),
          always, first_s=2.0)


def test_a_deadlock_is_found_and_says_who_waits_for_what():
    """With entry barred for whole removals the kick after TRACK meets vCPUs that spin with interrupts off."""
    policy = {"base": "reenter_irqoff", "bar": "removal"}
    result = result_of(policy, duration_s=LONG_S, warmup_s=0.0, restart_on_bug=False)
    assert result.invariants["no_deadlock"] == 1 and result.measured_s < LONG_S
    [hang] = [hang for hang in result.hangs.log if hang.waiting]
    assert any("host0 waits in zap; it held mmu_lock (exclusive)" in line and "kick[" in line
               for line in hang.waiting), hang
    assert result.verdict.status != "UNTRUSTWORTHY"


def test_a_module_that_halts_ends_the_run_and_names_the_check():
    result = result_until(lambda result: result.invariants["no_halt"], checks={"busted": ["entry_lock"]},
                          workload=ONE_ENTRY)
    [reason] = [reason for reason in result.verdict.reasons if "halted" in reason]
    assert "SEPT_ENTRY" in reason


# --- whatever happens, nothing is lost and nothing is left ---

class Started:
    """`harness run` as a process that goes on until it is ended, and its workers once they have worked."""

    def __init__(self, out):
        self.out = out
        self.process = subprocess.Popen(
            [sys.executable, "-m", "harness", "run", "configs/kick_on_busy.toml", "--set", f"duration_s={LONG_S}",
             "--set", "warmup_s=0", "--out", out],
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
        self.workers: list[psutil.Process] = []
        self.shared: set[str] = set()

    def work(self, worked_s=0.1) -> list[psutil.Process]:
        """The workers, in the order of actors, once each vCPU has worked for so long: in its own processor's time.

        (That of the host is not asked for, as it sleeps most of the time.)
        """
        limit = time.monotonic() + LIMIT_S
        while time.monotonic() < limit:
            assert self.process.poll() is None, self.process.communicate()
            children = psutil.Process(self.process.pid).children()
            # One is forked behind the other; but process ids may start again from the lowest.
            most = int(Path("/proc/sys/kernel/pid_max").read_text())
            children.sort(key=lambda each: (each.pid - self.process.pid) % most)
            if len(children) == 5 and all(sum(each.cpu_times()[:2]) >= worked_s for each in children[:4]):
                self.workers = children
                self.shared = {line.split(maxsplit=5)[5] for each in children
                               for line in Path(f"/proc/{each.pid}/maps").read_text().splitlines() if "/dev/shm/" in line}
                return children
            time.sleep(0.01)
        raise AssertionError("the workers did not start")

    def end(self) -> tuple[str, str]:
        return self.process.communicate(timeout=LIMIT_S)

    def result(self) -> Result:
        [saved] = self.out.glob("*/result.json")
        return store.read(saved)

    def nothing_is_left(self) -> bool:
        alive = psutil.wait_procs(self.workers, timeout=LIMIT_S)[1]
        return not alive and not any(Path(path).exists() for path in self.shared)


@pytest.fixture
def started(tmp_path):
    run = Started(tmp_path)
    yield run
    if run.process.poll() is None:               # the test has failed
        os.killpg(run.process.pid, signal.SIGKILL)
        run.process.communicate()


@pytest.mark.parametrize("number", [pytest.param(signal.SIGINT, marks=pytest.mark.slow), signal.SIGTERM])
def test_an_interrupt_keeps_and_prints_what_was_measured(started, number):
    started.work()
    os.killpg(started.process.pid, number) if number == signal.SIGINT else started.process.send_signal(number)
    stdout, stderr = started.end()
    assert started.process.returncode == 128 + number, stderr
    assert "interrupted" in stdout and "BUSY" in stdout
    result = started.result()
    assert result.interrupted and result.seamcalls["tdh_vp_enter"].success > 0
    nothing_violated(result)
    assert started.nothing_is_left()


@pytest.mark.parametrize("victim", [4, *(pytest.param(each, marks=pytest.mark.slow) for each in (0, 1, 2, 3))])
def test_a_killed_worker_ends_the_run_and_is_named_with_its_locks(started, victim):
    workers = started.work()
    workers[victim].kill()
    stdout, stderr = started.end()
    assert started.process.returncode == 3
    name = ["vcpu0", "vcpu1", "vcpu2", "vcpu3", "host0"][victim]
    line = next(line for line in stderr.splitlines() if "was killed" in line)
    assert f"worker {name} (pid {workers[victim].pid}) was killed by SIGKILL in " in line
    assert "it held " in line
    result = started.result()
    assert result.verdict.status == "UNTRUSTWORTHY"
    assert result.seamcalls["tdh_vp_enter"].success > 0
    assert started.nothing_is_left()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["local_retry_616", "reenter_irqoff"])
def test_a_deadlock_in_a_run_that_is_shorter_than_its_finding_is_found(tmp_path, name):
    """A stop would dissolve it, or be ignored: the run goes on, uncounted, until it is known."""
    ended = subprocess.run([sys.executable, "-m", "harness", "run", f"configs/broken/{name}.toml", "--set", "duration_s=0.3",
                            "--out", str(tmp_path)], cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    results = [store.read(path) for path in tmp_path.glob("*/result.json")]
    assert sum(result.hangs.deadlocks for result in results) == 1
    assert all(result.measured_s < 0.3 + 1.0 for result in results)


STOPPED_S = 3.0                  # longer than it takes to find a deadlock


@pytest.mark.slow
def test_a_worker_that_is_stopped_from_outside_is_no_deadlock_and_is_named_with_how_long(started):
    worker = started.work()[1]
    worker.suspend()
    time.sleep(STOPPED_S)
    worker.resume()
    time.sleep(0.2)
    started.process.send_signal(signal.SIGINT)
    stdout, stderr = started.end()
    result = started.result()
    assert not result.hangs.count and not result.invariants["no_deadlock"]
    assert STOPPED_S / 2 < result.conditions.workers["vcpu1"].stopped_s
    assert result.verdict.status == "UNTRUSTWORTHY"
    assert "worker vcpu1 was stopped from outside for " in stderr


@pytest.mark.slow
def test_a_run_that_is_stopped_and_goes_on_says_so_and_for_how_long(started):
    started.work()
    os.killpg(started.process.pid, signal.SIGSTOP)
    time.sleep(0.5)                                      # far less than what duration_s leaves to a busy machine
    os.killpg(started.process.pid, signal.SIGCONT)
    time.sleep(0.2)
    started.process.send_signal(signal.SIGINT)
    stdout, stderr = started.end()
    result = started.result()
    assert result.verdict.status == "UNTRUSTWORTHY" and result.conditions.stopped_s >= 0.4
    assert "the run was stopped from outside for " in stderr and not result.hangs.count


def test_a_worker_that_does_not_stop_is_named_and_ended(started):
    started.work()[1].suspend()
    started.process.send_signal(signal.SIGINT)
    stdout, stderr = started.end()
    assert "worker vcpu1" in stderr and "is stopped from outside (state T)" in stderr
    assert started.result().verdict.status == "UNTRUSTWORTHY"
    assert started.nothing_is_left()


def test_workers_do_not_outlive_a_coordinator_that_is_killed(started):
    started.work()
    started.process.kill()
    started.end()
    assert started.nothing_is_left()


def test_a_dead_worker_is_described_by_its_row_and_registers():
    plan = make_plan(config())
    memory = coordinator.Memory(plan.layout)
    for actor in plan.actors:
        memory.registers(actor.number)[:] = plan.start(actor)
    watcher = coordinator.Coordinator(plan, memory, None, [0], None)
    listing = plan.program.listing
    for pc, row in enumerate(listing[1:], 1):
        registers = memory.registers(0)
        registers[coordinator.R.PC] = pc
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


@pytest.mark.slow
def test_a_hang_is_noted_with_what_each_vcpu_was_told(monkeypatch):
    """Both vCPUs are armed for a page that is pending: neither can enter and accept it."""
    prepare(monkeypatch, armed_for_a_pending_page)
    keys = {"td": {"vcpus": 2, "memory_mib": 2}, "restart_on_bug": False, "duration_s": LONG_S, "warmup_s": 0.0}
    result = result_of("kick_vcpus", **keys, workload={"pages": 1, "hot_pages": 1, "hosts": 0})
    assert result.hangs.count == 1
    [hang] = result.hangs.log
    assert len(hang.vcpus) == 2
    # Refused by the filter, or BUSY because the other vCPU is in it.
    assert all("tdh_vp_enter: " in vcpu and "TDX_SUCCESS" not in vcpu for vcpu in hang.vcpus)
    assert result.measured_s < LONG_S


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
    # (Not longer, as this TD hangs for good, and would be ended for that.)
    result = result_until(lambda result: result.host_priority.timeouts >= 2, td=td, warmup_s=0.0,
                          workload=workload, longest_s=1.0)
    priority = result.host_priority
    assert priority.orphaned == 1
    assert priority.guest_refused_ns.p50 >= 50e6 * 63 / 64     # as exact as a histogram is
    assert result.seamcalls["tdg_mem_page_accept"].busy_by_operand == {"RCX (host priority)": priority_count(result)}


def priority_count(result) -> int:
    accept = result.seamcalls["tdg_mem_page_accept"]
    return accept.attempts - accept.other


@pytest.mark.slow
def test_the_same_td_does_not_hang_when_faults_are_retried_in_the_host():
    """A machine that runs nobody for a while could look like a hang: one run without one will do."""
    keys = {"td": {"vcpus": 2, "memory_mib": 2}, "warmup_s": 0.0, "costs_ns": {"invalidate": 20_000},
            "workload": {"pages": 1, "hot_pages": 1, "accept_first": 0.0, "removals_per_s": 50_000.0}}
    until(lambda result: not result.hangs.count, lambda _: result_of(duration_s=2.0, **keys))


def test_time_that_is_configured_is_spent():
    """A removal holds BLOCK's work, so no removal can be quicker than it."""
    result = result_until(lambda result: result.spans_ns.removal.count,
                          costs_ns={"tdh_mem_range_block": 50_000}, workload={"removals_per_s": 0.0})
    assert result.seamcalls["tdh_mem_range_block"].latency_ns.p50 > 50_000 * 0.95
    assert result.spans_ns.removal.p50 > 50_000 * 0.95


def test_warm_up_is_not_in_the_result(monkeypatch):
    """It lasts until all pages are installed, and nobody removes one: none is left to be installed later."""
    pages = 64

    class Warm(Watched):
        def _watch(self, duration_s, report):
            if report:
                return super()._watch(duration_s, report)
            self.warm_up_began = time.perf_counter()
            while self.counted("installs")[0] < pages:
                assert super()._watch(0.05, report=False)
            self.warm_up_s = time.perf_counter() - self.warm_up_began
            return True

    monkeypatch.setattr(coordinator, "Coordinator", Warm)
    result = result_until(lambda result: result.counters["touches"] > 0, always=nothing_violated,
                          workload={"hosts": 0, "pattern": "sequential", "pages": pages})
    warm_up, measured = Watched.last.counted("touches")
    assert warm_up >= pages and result.counters["touches"] == measured
    assert Watched.last.counted("installs") == (pages, 0) and result.counters["installs"] == 0
    over_s = time.perf_counter() - Watched.last.warm_up_began
    assert result.measured_s <= over_s - Watched.last.warm_up_s


def test_without_a_warm_up_nothing_is_counted_as_one(monkeypatch):
    monkeypatch.setattr(coordinator, "Coordinator", Watched)
    result_until(attempts_of, warmup_s=0.0)
    half = Watched.last.plan.tables.half
    assert not any(Watched.last.memory.record(actor.number)[:half].any() for actor in Watched.last.plan.actors)


# --- who is stuck, and who only waits for a processor ---

def test_time_counts_for_who_has_it():
    """`a` runs all the time, `b` is kept off its processor and then sleeps; of `c` the kernel says nothing."""
    seen = {"a": Seen(True, 5.0, 9), "b": Seen(True, 1.0, 3), "c": None}
    patience = Patience(0.0, "abc", seen.get)
    seen["a"] = Seen(True, 5.9, 10)
    assert patience.look(1.0, "ac") == pytest.approx(0.9)
    assert patience.look(1.0, "abc") == 0
    seen["b"] = Seen(True, 1.25, 4)
    assert patience.look(2.0, "abc") == pytest.approx(0.25)
    seen["a"], seen["b"] = Seen(True, 6.9, 10), Seen(False, 1.25, 4)     # asleep, or stopped
    assert patience.look(3.0, "abc") == pytest.approx(1.25)
    assert patience.look(3.0, "c") == patience.look(3.0, "") == 3.0  # the others have ended
    assert patience.look(LIMIT_OF_PATIENCE_S + 4, "abc") == LIMIT_OF_PATIENCE_S + 4


def test_who_gives_its_processor_up_at_once_has_had_it_all_the_same():
    seen = {"a": Seen(True, 1.0, 100)}
    patience = Patience(0.0, "a", seen.get)
    seen["a"] = Seen(True, 1.001, 140)
    assert patience.look(1.0, "a") == pytest.approx(40 * TURN_S)
    seen["a"] = Seen(True, 1.002, 10_000)
    assert patience.look(1.5, "a") == pytest.approx(40 * TURN_S + 0.5)   # no more than there was


def test_a_process_is_seen_as_it_is():
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    process = psutil.Process(child.pid)
    try:
        me = see(threading.get_native_id())
        assert me.ready and me.ran_s > 0
        process.suspend()
        while process.status() != psutil.STATUS_STOPPED:
            time.sleep(0.01)
        assert not see(child.pid).ready
    finally:
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert see(child.pid) is None                                # it has ended, and nobody has asked for its code
        child.communicate()
    assert see(child.pid) is None


def test_nothing_hangs_before_everybody_has_had_a_chance(monkeypatch):
    had_s = []

    class Had:
        def __init__(self, now, workers):
            had_s[:] = [0.0]

        def look(self, now, workers):
            return had_s[0]

    monkeypatch.setattr(watchdog, "Patience", Had)
    plan = make_plan(config())
    memory = coordinator.Memory(plan.layout)
    for actor in plan.actors:
        memory.registers(actor.number)[:] = plan.start(actor)
    touches = memory.record(0)[plan.tables.half + plan.tables.counters + plan.program.counters.index("touches"):]
    looks = iter(np.arange(1.0, 100.0, watchdog.BLIND_S / 2))
    dog = watchdog.Watchdog(plan, memory, lambda: [])

    def looked(count):
        return [dog.look(now) for now, _ in zip(looks, range(count))]

    longer = int(2 * watchdog.HANG_S / (watchdog.BLIND_S / 2))
    assert not any(looked(longer)) and had_s == [0.0]    # suspected, and nobody ran
    had_s[0] = watchdog.CHANCE_S / 2
    assert not any(looked(longer))
    touches[0] += 1                                      # one did get on
    had_s.clear()
    assert not any(looked(2)) and not had_s
    assert not any(looked(longer)) and had_s == [0.0]    # it begins again
    had_s[0] = watchdog.CHANCE_S
    [hang] = looked(1)
    assert len(hang.vcpus) == 4 and not hang.waiting and dog.deadlocks == 0


@pytest.mark.slow
def test_shipped_configs_show_what_they_say():
    """Counts, not rates: whatever the machine, these policies differ in kind."""
    def run_until(seen, name, always):
        def run(duration_s):
            return document.from_measured(coordinator.run(make_plan(load(
                ROOT / f"configs/{name}.toml", [f"duration_s={duration_s}", "warmup_s=0.2"]))))
        return until(seen, run, always, first_s=1.5)

    def no_bugs(result):
        assert not result.bugs

    def kicked(result):
        no_bugs(result)
        for name in ("tdh_mem_range_block", "tdh_mem_track", "tdh_mem_page_remove"):
            assert result.seamcalls[name].busy == 0
        # A broadcast for each removal there, one after each TRACK here; the bar is up only there.
        assert result.counters["kick_broadcasts"] >= result.counters["removals"]

    run_until(lambda result: result.counters["removals"] > 0, "kick_on_busy", no_bugs)
    run_until(lambda result: result.counters["removals"] > 0 and result.kicks.entries_refused > 0,
              "kick_vcpus", kicked)
    run_until(lambda result: sum(result.bugs.values()), "zero_tolerance", lambda result: None)
