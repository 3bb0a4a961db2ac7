"""The commands as a user meets them: what they print, where, and their exit codes."""

import contextlib
import csv
import io
import json
import os
import pty
import re
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from harness.results import store
from harness.reports import text
from harness.results.metrics import COMPARED
from harness.protocol.policies import POLICIES
from harness.protocol.policy import SWITCHES
from tests.tries import LIMIT_S

ROOT = Path(__file__).parent.parent.parent
SIDE_BY_SIDE = ("retry16", "zero_tolerance", "resume_guest", "kick_vcpus", "kick_on_busy")
SHORT = ("--set", "duration_s=0.3", "--set", "warmup_s=0.1")


def harness(*arguments, cwd=ROOT, **keys):
    return subprocess.run([sys.executable, "-m", "harness", *map(str, arguments)], cwd=cwd, timeout=LIMIT_S,
                          capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)}, **keys)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """One short run of every policy, in one go; not so short where nobody got to run in it."""
    paths = sorted(ROOT / f"configs/{name}.toml" for name in SIDE_BY_SIDE)
    for duration_s in (0.3, 1, 3, 10, 10):
        out = tmp_path_factory.mktemp("results")
        run = harness("run", *paths, *SHORT, "--set", f"duration_s={duration_s}", "--out", out)
        assert run.returncode == 0, run.stderr
        saved = sorted(out.glob("*/result.json"))
        if all(store.read(path).seamcalls["tdh_vp_enter"].success for path in saved):
            break
    return run, saved


def test_alone_it_prints_help_and_so_does_help():
    alone, help_ = harness(), harness("--help")
    assert alone.returncode == help_.returncode == 0
    assert "run" in alone.stdout and alone.stdout == help_.stdout


def test_help_is_quick():
    """Counted in imports, which do not depend on how busy the machine is (make bench has the seconds)."""
    result = harness("--help")
    assert result.returncode == 0
    timed = subprocess.run([sys.executable, "-X", "importtime", "-m", "harness", "--help"], cwd=ROOT,
                           capture_output=True, text=True, timeout=LIMIT_S)
    modules = [line.rpartition("|")[2].strip() for line in timed.stderr.splitlines()]
    assert not {"numba", "numpy", "pydantic", "llvmlite"} & set(modules)


@pytest.mark.parametrize("arguments, says", [
    (["rum"], "invalid choice: 'rum'"),
    (["run"], "CONFIG"),
    (["run", "configs/nowhere.toml"], "no such file"),
    (["run", "configs/kick_vcpus.toml", "--set", "td.vcpus=0"], "td.vcpus = 0: must be at least 1"),
    (["run", "configs/kick_vcpus.toml", "--set", "policy=kick_vcpu"], "did you mean kick_vcpus?"),
    (["run", "configs/kick_vcpus.toml", "--repeats", "0"], "--repeats 0: must be at least 1"),
    (["run", "configs/kick_vcpus.toml", "--repeats", "many"], "--repeats"),
    (["run", "configs/kick_vcpus.toml", "--out", "Makefile"], "is a file; must be a folder"),
    (["run", "configs/kick_vcpus.toml", "--format", "xml"], "xml"),
    (["run", "configs/kick_vcpus.toml", "--set", "td.memory_mib=1048576"], "must be at most"),
    (["compare", "nowhere.json"], "no such file"),
    (["explain", "tdh_mem_range_blok"], "did you mean tdh_mem_range_block?"),
])
def test_a_mistake_is_one_line_on_stderr_with_exit_code_2_and_writes_nothing(arguments, says, tmp_path):
    if arguments[0] == "run" and "--out" not in arguments:
        arguments = [*arguments, "--out", tmp_path / "new"]
    result = harness(*arguments)
    assert result.returncode == 2
    assert says in result.stderr and result.stderr.count("\n") == 1, result.stderr
    assert "Traceback" not in result.stderr and not result.stdout
    assert not (tmp_path / "new").exists()


def test_a_run_prints_a_table_and_saves_a_result(finished):
    run, saved = finished
    assert len(saved) == 5
    for path in saved:
        result = store.read(path)
        assert result["schema"] == store.SCHEMA
        assert all(call.attempts == call.success + call.busy + call.other
                   for call in result.seamcalls.values())
        assert f"policy {result['policy']}" in run.stdout
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
        assert max(map(len, text.splitlines())) <= text.WIDTH, max(text.splitlines(), key=len)


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


def test_compare_has_a_row_for_each_result_in_the_order_given(finished):
    _, saved = finished
    text = harness("compare", *reversed(saved)).stdout
    policies = [store.read(path).policy for path in reversed(saved)]
    rows = [line.split()[0] for line in text.splitlines() if line.split() and line.split()[0] in policies]
    assert rows == policies


@pytest.mark.slow
def test_compare_in_other_formats(finished):
    """A line for each metric of each policy; the policies in the order given."""
    _, saved = finished
    rows = list(csv.DictReader(io.StringIO(harness("compare", *saved, "--format", "csv").stdout)))
    assert list(dict.fromkeys(row["policy"] for row in rows)) == [store.read(path).policy for path in saved]
    assert len(rows) == 5 * len(COMPARED)
    assert len(json.loads(harness("compare", *saved, "--format", "json").stdout)) == len(rows)
    github = harness("compare", *saved, "--format", "github").stdout
    assert sum(line.startswith("|") for line in github.splitlines()) == 2 + 5


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
    run = harness("run", "configs/kick_on_busy.toml", "configs/kick_vcpus.toml", *SHORT, "--repeats", "2",
                  "--out", tmp_path)
    names = re.findall(r"^(\w+): policy", run.stdout, re.MULTILINE)
    assert sorted(names[:2]) == sorted(names[2:]) == ["kick_on_busy", "kick_vcpus"]
    assert len(list(tmp_path.glob("*/result.json"))) == 4


@pytest.mark.parametrize("text, says", [
    ('{"schema": "tdx-sept-harness/result/1"', "damaged or cut off"), ("[]", "schema = None"),
    ('{"schema": "tdx-sept-harness/result/9"}', "must be 'tdx-sept-harness/result/1'"), ("", "not JSON"),
])
def test_results_that_are_damaged_foreign_or_of_the_future_are_refused(tmp_path, text, says):
    (tmp_path / "result.json").write_text(text)
    result = harness("compare", tmp_path)
    assert result.returncode == 2 and says in result.stderr and result.stderr.count("\n") == 1


def test_an_expectation_that_fails_is_exit_code_1(tmp_path):
    run = harness("run", "configs/kick_on_busy.toml", *SHORT, "--out", tmp_path, "--set",
                  'expect."bugs.total"={min=1}')
    assert run.returncode == 2                                      # a quoted key is no dotted key
    run = harness("run", "configs/kick_on_busy.toml", *SHORT, "--out", tmp_path, "--set", "expect.bugs.total=1")
    assert run.returncode == 1 and "expected bugs.total at least 1 and at most 1, got 0" in run.stderr
    run = harness("run", "configs/kick_on_busy.toml", *SHORT, "--out", tmp_path, "--set", "expect.bugs.total=0")
    assert run.returncode == 0


@pytest.mark.slow
def test_a_result_that_cannot_be_written_is_not_lost(tmp_path):
    """The folder goes away during the run; a full disk fails in the same place."""
    out = tmp_path / "full"
    out.mkdir()
    code = ("import os, sys\n"
            "from harness.__main__ import main\n"
            "from harness.engines import processes\n"
            "watch = processes.Coordinator._watch\n"
            "def gone(watcher, duration_s, report):\n"
            "    if report:\n"
            "        os.rmdir(sys.argv[1])\n"
            "        open(sys.argv[1], 'w').write('in the way')\n"
            "    return watch(watcher, duration_s, report)\n"
            "processes.Coordinator._watch = gone\n"
            "sys.exit(main(['run', 'configs/kick_on_busy.toml', '--set', 'duration_s=0.3', '--out', sys.argv[1]]))\n")
    run = subprocess.run([sys.executable, "-c", code, out], cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_S,
                         env=os.environ | {"TMPDIR": str(tmp_path)})
    assert run.returncode == 3
    assert "cannot write the result" in run.stderr and "instead" in run.stderr
    assert "tdh_mem_page_aug" in run.stdout
    [saved] = tmp_path.glob("kick_on_busy-*/result.json")
    assert store.read(saved).policy == "kick_on_busy"


@pytest.mark.slow
def test_progress_is_quiet_in_a_log(tmp_path):
    run = harness("run", "configs/kick_on_busy.toml", "--set", "duration_s=1.3", "--set", "warmup_s=0", "--out", tmp_path)
    assert run.stderr.count("\n") == 1 and "\r" not in run.stderr    # where the result was saved


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


def test_explain_prints_the_micro_ops_of_a_call():
    text = harness("explain", "tdh_mem_range_block").stdout
    for word in ("hp_take_shared", "sharex_take_exclusive", "TDX_OPERAND_BUSY|SEPT_TREE", "entry_take",
                 "tdh_mem_range_block.c"):
        assert word in text, word


def test_policies_lists_every_policy_with_its_source():
    text = harness("policies").stdout
    for policy in POLICIES:
        assert f"\n{policy.name}: " in text and f"\n{policy.name}  " in text
    assert text.count("source: ") == len(POLICIES)
    for switch in SWITCHES:
        assert f"\n{switch.name}  " in text


@pytest.mark.slow
def test_one_workload_runs_under_several_policies(tmp_path):
    run = harness("run", "configs/fault_vs_zap.toml", *SHORT, "--policies", "kick_first,kick_on_busy_618",
                  "--out", tmp_path)
    assert run.returncode == 0, run.stderr
    assert re.findall(r"^fault_vs_zap: policy (\w+)", run.stdout, re.MULTILINE) == ["kick_vcpus", "kick_on_busy_618"]
    wrong = harness("run", "configs/fault_vs_zap.toml", "--policies", "kick_on_bussy")
    assert wrong.returncode == 2 and "did you mean kick_on_busy?" in wrong.stderr
