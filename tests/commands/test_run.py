"""The command `run` as a user meets it: what it prints, where, and its exit codes."""

import contextlib
import csv
import io
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

import pytest

from harness.__main__ import main
from harness.commands import running
from harness.reports.text import WIDTH
from harness.results import store
from harness.results.schema import Verdict
from tests.command_line import ROOT, SHORT, command, harness
from tests.commands.conftest import SIDE_BY_SIDE
from tests.tries import LIMIT_S


def test_a_run_prints_a_table_and_saves_a_result(finished):
    run, saved = finished
    assert len(saved) == len(SIDE_BY_SIDE)
    for path in saved:
        result = store.read(path)
        assert json.loads(path.read_text())["schema"] == store.SCHEMA
        assert all(call.attempts == call.success + call.busy + call.other
                   for call in result.seamcalls.values())
        assert f"policy {result.policy}" in run.stdout
        assert result.seamcalls["tdh_vp_enter"].success > 0
        assert not any(result.invariants.values()), result.invariants
        assert result.config["warmup_s"] == 0.1 and result.machine["numba"]
        assert not os.access(path, os.X_OK) and path.stat().st_mode & 0o444


@pytest.mark.slow
def test_nothing_that_is_printed_is_wider_than_100_columns(finished):
    run, saved = finished
    texts = [run.stdout, harness("policies").stdout, harness("compare", *saved).stdout]
    texts += [harness("explain", name).stdout for name in ("tdh_vp_enter", "tdh_mem_page_aug", "td_exit")]
    for text in texts:
        assert text
        assert max(map(len, text.splitlines())) <= WIDTH, max(text.splitlines(), key=len)


def test_the_tables_say_which_engine_release_and_seed_made_them(finished):
    run, saved = finished
    heads = re.findall(r"engine processes, module 1\.5\.05, seed 1", run.stdout)
    assert len(heads) == len(saved) + 1                             # one for each run, one for the comparison


def test_more_workers_than_processors_run_and_say_so(finished):
    run, saved = finished
    result = store.read(saved[0])
    if result.workers.count > len(result.workers.processors):
        assert result.verdict.status == "DEGRADED"
        assert "workers share" in run.stdout


@pytest.mark.slow
def test_a_run_in_other_formats(tmp_path):
    for style, check in (
            ("json", lambda text: json.loads(text)["schema"] == store.SCHEMA),
            ("csv", lambda text: len(list(csv.DictReader(io.StringIO(text)))) >= 5),
            ("github", lambda text: "|---" in text or "|:--" in text)):
        run = harness("run", "configs/kick_on_busy.toml", *SHORT, "--out", tmp_path, "--format", style)
        assert run.returncode == 0 and check(run.stdout), run.stdout


@pytest.mark.slow
def test_repeats_are_run_block_by_block(tmp_path):
    run = harness("run", "configs/kick_on_busy.toml", "configs/kick_vcpus.toml", "-v", *SHORT,
                  "--repeats", "2", "--out", tmp_path)
    names = re.findall(r"^(\w+): policy", run.stdout, re.MULTILINE)
    assert sorted(names[:2]) == sorted(names[2:]) == ["kick_on_busy", "kick_vcpus"]
    assert len(list(tmp_path.glob("*/result.json"))) == 4


@pytest.mark.parametrize("expected, code, said", [
    ('expect."bugs.total"={min=1}', 2, ["expect"]),                  # a quoted key is no dotted key
    ("expect.bugs.total=1", 4, ["expected bugs.total at least 1 and at most 1, got 0 in ", " removals, "]),
    ("expect.counters.touches={max=0}", 1, ["expected counters.touches at most 0, got "]),
    ("expect.bugs.total=0", 0, []),
])
def test_what_is_expected_and_does_not_occur_is_exit_code_4_and_says_how_much_was_tried(tmp_path, capsys, expected, code, said):
    ended, _, err = command(capsys, "run", str(ROOT / "configs/kick_on_busy.toml"), *SIMULATED, "--out", str(tmp_path), "--set", expected)
    assert ended == code and all(words in err for words in said), err


@pytest.mark.slow
def test_a_result_that_cannot_be_written_is_not_lost(tmp_path):
    """The folder goes away during the run; a full disk fails in the same place."""
    out = tmp_path / "full"
    out.mkdir()
    code = ("import os, sys\n"
            "from harness.__main__ import main\n"
            "from harness.engines.processes import coordinator\n"
            "watch = coordinator.Coordinator._watch\n"
            "def gone(watcher, duration_s, report):\n"
            "    if report:\n"
            "        os.rmdir(sys.argv[1])\n"
            "        open(sys.argv[1], 'w').write('in the way')\n"
            "    return watch(watcher, duration_s, report)\n"
            "coordinator.Coordinator._watch = gone\n"
            "sys.exit(main(['run', 'configs/kick_on_busy.toml', '--set', 'duration_s=0.3', '--out', sys.argv[1]]))\n")
    run = subprocess.run([sys.executable, "-c", code, out], cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_S,
                         env=os.environ | {"TMPDIR": str(tmp_path)})
    assert run.returncode == 3
    assert "cannot write the result" in run.stderr and "instead" in run.stderr
    assert "kick_on_busy: policy kick_on_busy" in run.stdout
    [saved] = tmp_path.glob("kick_on_busy-*/result.json")
    assert store.read(saved).policy == "kick_on_busy"


@pytest.mark.slow
def test_progress_is_quiet_in_a_log(tmp_path):
    run = harness("run", "configs/kick_on_busy.toml", "--set", "duration_s=1.3", "--set", "warmup_s=0", "--out", tmp_path)
    assert run.stderr.count("\n") == 1 and "\r" not in run.stderr    # where the result was saved


@pytest.mark.slow
def test_progress_is_drawn_on_a_terminal(tmp_path):
    terminal, inside = pty.openpty()
    termios.tcsetwinsize(inside, (24, 100))
    process = subprocess.Popen(
        [sys.executable, "-m", "harness", "run", "configs/kick_on_busy.toml", "--set", "duration_s=1.5",
         "--set", "warmup_s=0", "--out", tmp_path], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=inside)
    os.close(inside)
    drawn = b""
    with contextlib.suppress(OSError):                              # the terminal's end
        while chunk := os.read(terminal, 4096):
            drawn += chunk
    assert process.wait(LIMIT_S) == 0
    assert b"kick_on_busy" in drawn and b"%" in drawn and b"removals" in drawn and b" left" in drawn


@pytest.mark.slow
def test_one_workload_runs_under_several_policies(tmp_path):
    run = harness("run", "configs/fault_vs_zap.toml", *SHORT, "--policies", "kick_first,kick_on_busy_618",
                  "-v", "--out", tmp_path)
    assert run.returncode == 0, run.stderr
    names = re.findall(r"^fault_vs_zap: policy (\w+)", run.stdout, re.MULTILINE)
    assert sorted(names) == ["kick_on_busy_618", "kick_vcpus"]       # in the order drawn for the block
    wrong = harness("run", "configs/fault_vs_zap.toml", "--policies", "kick_on_bussy")
    assert wrong.returncode == 2 and "did you mean kick_on_busy?" in wrong.stderr


def test_ctrl_c_at_a_terminal_keeps_prints_and_marks_what_there_is_and_leaves_no_process(tmp_path):
    """A run that would take hours; it is interrupted once its line on the terminal shows that it has begun."""
    terminal, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (40, 120))
    run = subprocess.Popen(
        [sys.executable, "-m", "harness", "run", "configs/kick_on_busy.toml", "--set", "engine=simulate",
         "--set", "td.vcpus=32", "--set", "duration_s=10000", "--out", str(tmp_path / "out")],
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
    assert "DEGRADED: interrupted" in printed and "32 vCPUs" in printed
    with pytest.raises(ProcessLookupError):
        os.killpg(run.pid, 0)                        # nobody is left of the group


def test_two_results_of_one_plan_in_virtual_time_differ_in_when_and_where_only(tmp_path, capsys):
    for out in ("one", "other"):
        assert main(["run", str(ROOT / "configs/kick_on_busy.toml"), "--set", "engine=simulate", "--set",
                     "duration_s=0.001", "--set", "warmup_s=0", "--repeats", "2", "--out", str(tmp_path / out)]) == 0
    capsys.readouterr()
    results = [{store.read(path).block.number: json.loads(path.read_text()) for path in tmp_path.glob(f"{out}/*/result.json")}
               for out in ("one", "other")]
    for block in range(2):
        one, other = (found[block] for found in results)
        assert {key for key in one if one[key] != other[key]} <= {"started_at", "machine"}


SIMULATED = ("--set", "engine=simulate", "--set", "duration_s=0.001", "--set", "warmup_s=0")


def test_one_run_is_a_summary_several_are_the_comparison_and_more_or_less_on_request(tmp_path, capsys):
    one, two = "configs/kick_vcpus.toml", "configs/kick_on_busy.toml"
    code, out, _ = command(capsys, "run", one, *SIMULATED, "--out", tmp_path / "one")
    assert code == 0 and len(out.splitlines()) <= 26 and "next: " in out and "latency, us" not in out
    code, out, _ = command(capsys, "run", one, two, *SIMULATED, "--repeats", "3", "--out", tmp_path / "several")
    assert code == 0 and "medians of 3 blocks" in out and ": policy kick" not in out and "next: " not in out
    code, out, _ = command(capsys, "run", one, two, *SIMULATED, "-v", "--out", tmp_path / "all")
    assert code == 0 and out.count(": policy kick") == 2 and "latency, us" in out
    code, out, error = command(capsys, "run", one, two, *SIMULATED, "-q", "--out", tmp_path / "none")
    assert code == 0 and not out and not error
    assert len(list((tmp_path / "none").glob("*/result.json"))) == 2


@pytest.mark.parametrize("more, said", [((), True), (("-q",), False)])
def test_quiet_has_no_line_of_progress_either(tmp_path, capsys, monkeypatch, more, said):
    asked, make = [], running._progress
    monkeypatch.setattr(running, "_progress", lambda *given: asked.append(given) or make(*given))
    code, out, err = command(capsys, "run", str(ROOT / "configs/kick_on_busy.toml"), *SIMULATED, "--out", str(tmp_path), *more)
    assert code == 0 and bool(asked) == said == bool(out + err)
