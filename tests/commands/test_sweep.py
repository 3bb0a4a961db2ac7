"""Sweeps, scale, and what a person can get wrong or interrupt in virtual time."""

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

from harness.experiment import invariants
from harness.reports import plots, text
from harness.results import document
from harness.commands import sweep
from harness.__main__ import chosen_policies, main
from harness.engines.simulate import simulation
from harness.experiment.plan import make_plan
from harness.memory.sparse import SparseMemory
from kernels.words import STATE
from tests import stage

ROOT = Path(__file__).parent.parent.parent
SCALE = sorted(ROOT.glob("configs/scale/*.toml"))
SMALL = 'engine = "simulate"\nduration_s = 0.001\nwarmup_s = 0\n[costs_ns]\nguest_work = 1000\n' \
        '[sweep]\npolicy = ["kick_vcpus", "kick_on_busy"]\n"td.vcpus" = [2, 4]\n'


@pytest.fixture
def small(tmp_path):
    path = tmp_path / "small.toml"
    path.write_text(SMALL)
    return path


def test_a_sweep_has_every_combination_in_the_order_of_the_file(small):
    keys, configs = sweep.load(small)
    assert keys == ["policy", "td.vcpus"]
    assert [(each.policy.name, each.td.vcpus) for _, each in configs] == [
        ("kick_vcpus", 2), ("kick_vcpus", 4), ("kick_on_busy", 2), ("kick_on_busy", 4)]


@pytest.mark.parametrize("asked", ["retry16,inject47", "all"])
def test_a_sweep_is_of_other_policies_where_they_are_asked_for(small, asked):
    names = chosen_policies(asked)
    keys, configs = sweep.load(small, policies=names)
    assert keys == ["policy", "td.vcpus"]
    assert [(each.policy.name, each.td.vcpus) for _, each in configs] == [
        (name, vcpus) for name in names for vcpus in (2, 4)]


@pytest.mark.slow
def test_a_sweep_is_one_table_and_one_picture(small, tmp_path, capsys):
    assert main(["sweep", str(small), "--out", str(tmp_path / "out"), "--picture", str(tmp_path / "small.svg")]) == 0
    printed = capsys.readouterr().out
    lines = printed.splitlines()
    assert [line.split()[:2] for line in lines if line.startswith("kick")] == [
        ["kick_vcpus", "2"], ["kick_vcpus", "4"], ["kick_on_busy", "2"], ["kick_on_busy", "4"]]
    assert "assumptions (ns): " in printed and max(map(len, lines)) <= text.WIDTH
    assert "engine simulate" in lines[0] and "seed 1" in lines[0]
    assert len(list(tmp_path.glob("out/*/result.json"))) == 4
    assert "<svg" in (tmp_path / "small.svg").read_text()


@pytest.mark.parametrize("path", SCALE, ids=lambda path: path.stem)
def test_every_shipped_sweep_makes_plans_and_says_what_it_shows(path):
    _, configs = sweep.load(path)
    assert len(configs) >= 3 and "Shows:" in path.read_text()
    for _, each in (configs[0], configs[-1]):
        make_plan(each)


@pytest.mark.parametrize("arguments, says", [
    (["configs/kick_vcpus.toml"], "sweep: is missing"),
    (["{small}", "--set", "sweep.policy=3"], "must be a list of values"),
    (["{small}", "--set", 'sweep.policy=["kick_vcpu"]'], "did you mean kick_vcpus?"),
    (["{small}", "--picture", "x.gif"], "must end in one of .svg, .png, .pdf"),
    (["{small}", "--picture", "nowhere/x.svg"], "is no folder"),
])
def test_a_mistake_in_a_sweep_is_one_line(small, tmp_path, capsys, arguments, says):
    code = main(["sweep", *(argument.format(small=small) for argument in arguments), "--out", str(tmp_path / "new")])
    printed = capsys.readouterr()
    assert code == 2 and says in printed.err and printed.err.count("\n") == 1 and not printed.out
    assert not (tmp_path / "new").exists()


def test_a_config_with_a_sweep_is_refused_as_one_run(small, tmp_path, capsys):
    assert main(["run", str(small), "--out", str(tmp_path / "new")]) == 2
    assert capsys.readouterr().err == f"{small}: sweep: this config is for `python -m harness sweep {small}`\n"


@pytest.mark.parametrize("phases", [
    {"duration_s": 1000.0, "warmup_s": 0.0}, {"duration_s": 1.0, "warmup_s": 60.0}], ids=["measured", "warm-up"])
def test_an_interrupt_keeps_what_was_simulated_and_the_td_comes_to_rest(phases):
    before = signal.getsignal(signal.SIGINT)
    running = simulation.Simulation(make_plan(stage.config(engine="simulate", **phases)))
    move, moves = running.move, iter(range(100))

    def moved(turn):
        if next(moves) == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return move(20_000)

    running.move = moved
    running.run()
    result = document.from_measured(running.measured())
    assert result.interrupted and 0 < result.measured_s < 1 and result.counters["touches"] > 0
    assert not any(result.invariants.values()) and None not in result.invariants.values()
    assert signal.getsignal(signal.SIGINT) == before


LIMIT_S = 120                    # a test that waits for another process gives up after so long


def test_ctrl_c_at_a_terminal_keeps_prints_and_marks_what_there_is_and_leaves_nobody(tmp_path):
    """A run that would take hours; it is interrupted once its line on the terminal shows that it has begun."""
    terminal, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (40, 120))
    run = subprocess.Popen(
        [sys.executable, "-m", "harness", "run", "configs/kick_on_busy.toml", "--set", "engine=simulate",
         "--set", "td.vcpus=256", "--set", "duration_s=10000", "--out", str(tmp_path / "out")],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=theirs, text=True, start_new_session=True)
    os.close(theirs)
    try:
        shown, limit = b"", time.monotonic() + LIMIT_S
        while b"touches" not in shown and time.monotonic() < limit:
            if select.select([terminal], [], [], 1)[0]:
                shown += os.read(terminal, 65536)
        os.killpg(run.pid, signal.SIGINT)            # as a terminal does: to all of the foreground
        printed, _ = run.communicate(timeout=LIMIT_S)
    finally:
        run.kill()
        os.close(terminal)
    assert re.search(rb"kick_on_busy +0%.* \d+:\d\d:\d\d left, touches \d+", shown), shown
    assert run.returncode == 130
    [saved] = tmp_path.glob("out/*/result.json")
    result = store.read(saved)
    assert result.interrupted and result.counters["touches"] > 0 and 0 < result.measured_s < 10_000
    assert result.verdict == Verdict(status="DEGRADED", reasons=["interrupted"])
    assert "DEGRADED: interrupted" in printed and "256 vCPUs" in printed
    with pytest.raises(ProcessLookupError):
        os.killpg(run.pid, 0)                        # nobody is left of the group


def test_a_log_is_spared_the_line_of_progress(small, tmp_path):
    run = subprocess.run(
        [sys.executable, "-m", "harness", "sweep", str(small), "--set", "sweep.policy=['kick_vcpus']",
         "--out", str(tmp_path)], cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_S)
    assert run.returncode == 0
    assert [line.split()[0] for line in run.stderr.splitlines()] == ["saved", "saved"]


@pytest.mark.slow
def test_4096_vcpus_and_a_terabyte_take_what_is_touched():
    """In a process of its own, as the greatest memory ever used is asked for."""
    code = ("import resource, json\n"
            "from harness.results import document as results\n"
            "from harness.engines import simulate\n"
            "from harness.plan import make_plan\n"
            "from tests.stage import config\n"
            "plan = make_plan(config('kick_on_busy', engine='simulate', duration_s=0.0001, warmup_s=0.0,\n"
            "    td={'vcpus': 4096, 'memory_mib': 1 << 20}, workload={'pattern': 'uniform', 'hosts': 1},\n"
            "    costs_ns={'guest_work': 1000}))\n"
            "result = results.from_measured(simulate.run(plan))\n"
            "result['mib'] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10\n"
            "result['layout_mib'] = plan.layout.size >> 20\n"
            "print(json.dumps(result))\n")
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    result = json.loads(run.stdout)
    assert result["layout_mib"] > 50_000 and result["mib"] < 1_500
    assert not any(result.invariants.values()) and result.counters["private_faults"] + \
        result.counters["accept_faults"] > 100


# --- memory that is taken as it is touched ---

@pytest.fixture
def sparse(monkeypatch):
    """A small TD that is treated as a large one."""
    monkeypatch.setattr("harness.memory.sparse.GATHERED_PAGES", 1)
    monkeypatch.setattr("harness.memory.sparse.PATTERN_BYTES", 1 << 16)
    return SparseMemory(stage.Layout(2, 3, 1 << 17, 0, 64))


def test_a_sparse_block_begins_as_the_ordinary_one_does(sparse):
    ordinary = stage.Memory(sparse.layout)
    start, end = sparse.layout.td_start, sparse.layout.td_end
    assert bytes(sparse.block[start:end]) == bytes(ordinary.block[start:end])


def test_a_sparse_view_tells_of_what_was_touched_only(sparse):
    entries = stage.Memory.view(sparse, "sept.0")
    entries[512 * 5 + 3], stage.Memory.view(sparse, "mirror.0")[512 * 70] = 7, 9
    sparse.look()
    assert list(sparse.page_numbers()[[0, -1]]) == [512 * 5, 512 * 71 - 1]
    assert len(sparse.view("sept.0")) == len(sparse.view("mirror.0")) == 1024
    assert sparse.view("sept.0")[3] == 7 and sparse.view("mirror.0")[512] == 9


def test_the_parent_of_an_entry_is_found_though_the_view_has_gaps(sparse):
    """The only touched page table is the 71st: its entry in the directory is number 70, not 0."""
    stage.Memory.view(sparse, "sept.0")[512 * 70 + 3] = STATE["MAPPED"].word()
    sparse.view("sept.2")[0] = STATE["NL_MAPPED"].word()
    sparse.look()
    assert invariants.orphaned_entries(sparse) == 1
    sparse.view("sept.1")[70] = STATE["NL_MAPPED"].word()
    assert invariants.orphaned_entries(sparse) == 0


def test_a_reset_forgets_everything_that_was_written(sparse):
    start, end = sparse.layout.td_start, sparse.layout.td_end
    fresh = bytes(sparse.block[start:end])
    sparse._bytes[start:end:1000] ^= 0xFF
    assert bytes(sparse.block[start:end]) != fresh
    sparse.reset()
    assert bytes(sparse.block[start:end]) == fresh
