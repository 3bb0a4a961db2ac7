"""However a run of real processes ends, nothing is lost and nothing is left."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from harness.engines.processes import coordinator
from harness.experiment.plan import make_plan
from harness.results import store
from harness.results.schema import Result
from tests.command_line import ROOT
from tests.engines.real_runs import LONG_S, nothing_violated
from tests.stage import config
from tests.tries import LIMIT_S


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

    def work(self, worked_s=0.02) -> list[psutil.Process]:
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


@pytest.mark.slow
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
