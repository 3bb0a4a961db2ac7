"""`--jobs N`: the same results as one after the other, nothing left running, and real time refused."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import pytest

from harness import stops
from harness.commands import jobs
from harness.host import fingerprint
from harness.results import store
from tests.command_line import ROOT, command
from tests.made import made

GRID = ("--set", "sweep={seed=[1, 2, 3]}", "--set", "engine=simulate", "--set", "warmup_s=0")
CONFIG = ROOT / "configs/kick_on_busy.toml"


def saved(folder):
    documents = [json.loads(path.read_text()) for path in folder.glob("*/result.json")]
    for document in documents:
        for key in ("started_at", "machine"):
            del document[key]
    return sorted(documents, key=lambda document: document["seed"])


def test_results_are_those_of_one_job(tmp_path, capsys):
    outs = [command(capsys, "sweep", CONFIG, *GRID, "--set", "duration_s=0.002", "--out", tmp_path / count, "--jobs", count)
            for count in ("1", "2")]
    assert outs[0][0] == outs[1][0] == 0 and outs[0][1] == outs[1][1]
    assert len(saved(tmp_path / "1")) == 3 and saved(tmp_path / "1") == saved(tmp_path / "2")


def test_a_key_that_is_no_file_is_not_waited_for(tmp_path):
    os.mkfifo(store.write(made(), tmp_path).parent / "key")
    assert jobs.there(tmp_path) == {}


def test_runs_of_virtual_time_are_not_repeated_but_after_a_change_of_source(tmp_path, capsys, monkeypatch):
    def runs(*more):
        return command(capsys, "run", CONFIG, "--set", "engine=simulate", "--set", "warmup_s=0", "--set", "duration_s=0.002",
                       "--repeats", "2", "--out", tmp_path, *more)
    _, table, _ = runs()
    code, out, err = runs("--resume")
    assert (code, out) == (0, table) and "2 of 2 runs are there already" in err and len(saved(tmp_path)) == 2
    code, out, _ = runs("--list")
    assert code == 0 and [line.split()[-1] for line in out.splitlines()[2:]] == ["yes", "yes"]
    monkeypatch.setattr("harness.commands.jobs.source", lambda: "another")
    assert [line.split()[-1] for line in runs("--list")[1].splitlines()[2:]] == ["no", "no"]


def test_a_real_session_of_another_source_is_not_gone_on_with(tmp_path, monkeypatch):
    from harness.commands import session as sessions
    from harness.experiment import config_file
    session = sessions.make_session([config_file.load(CONFIG)], repeats=2)
    result = made(session=session.name, block=0)
    result.block, result.machine = session.mark(session.runs[0]), fingerprint.fingerprint()
    store.write(result, tmp_path)
    assert list(sessions.resume(session, tmp_path)[1]) == [session.runs[0]]
    monkeypatch.setattr(fingerprint, "versions", lambda: "0.1.0, source another, numba 0")
    assert sessions.resume(session, tmp_path)[1] == {}


def test_what_was_explored_is_not_searched_again_and_says_the_same(tmp_path, capsys, monkeypatch):
    def explored(*more):
        return command(capsys, "explore", "configs/explore/known/priority_lost.toml", "--module", "1.5.05", "--out", tmp_path, *more)
    first = explored("--resume")
    monkeypatch.setattr("harness.engines.explore.search.run", None)
    again = explored("--resume")
    assert again[:2] == first[:2] and "1 of 1 searches are there already" in again[2]
    assert explored("--list")[1].split()[-1] == "yes"
    for path in (tmp_path / "explored").glob("*.json"):
        path.write_text(path.read_text()[:-40])
    assert explored("--list")[1].split()[-1] == "no"         # damaged


def test_the_searches_of_a_matrix_are_listed_with_their_rows(tmp_path, capsys, monkeypatch):
    """Rows that behave the same are one search; nothing is searched."""
    def explored(*more):
        return command(capsys, "explore", "--modules", "configs/explore/known/priority_lost.toml", "--module", "1.5.01", "--module", "1.5.05",
                       "--module", "1.5.34", "--out", tmp_path, *more)
    assert explored("--resume")[0] == 0
    monkeypatch.setattr("harness.engines.explore.search.run", None)
    code, out, _ = explored("--module", "2.0.08", "--list", "--format", "json")
    there = {row["module"]: row["there"] for row in json.loads(out)}
    assert code == 0 and there.pop("2.0.08") == "no" and there == {"1.5.01, 1.5.05": "yes", "1.5.34": "yes"}
    rows = [line.split()[-1] for line in explored("--list")[1].splitlines()[2:]]
    assert set(rows) == {"yes"} and len(rows) < 4
    code, out, _ = command(capsys, "explore", "--policies", "configs/explore/fault_zap.toml", "--list", "--out", tmp_path)
    assert code == 0 and out.split()[0] == "scenario" and out.count("fault_zap") > 10 and "yes" not in out


@pytest.mark.slow
def test_two_jobs_explore_and_run_as_one_does(tmp_path, capsys):
    for words in (("explore", "configs/explore/known/priority_lost.toml"), ("explore", "--modules", "configs/explore/known/priority_lost.toml"),
                  ("run", CONFIG, "--set", "engine=simulate", "--set", "warmup_s=0", "--set", "duration_s=0.002", "--repeats", "3")):
        outs = [command(capsys, *words, "--out", tmp_path / count, "--jobs", count) for count in ("1", "2")]
        timeless = [re.sub(r"[\d.]+ m?s\b", "", out) for _, out, _ in outs]
        assert outs[0][0] == outs[1][0] and timeless[0] == timeless[1]


def test_real_time_and_no_job_are_refused(capsys, tmp_path):
    for arguments, says in ((("--set", "engine=processes", "--jobs", "2"), "must be 'simulate'"), (("--jobs", "0"), "at least 1")):
        code, out, err = command(capsys, "sweep", CONFIG, *GRID, "--out", tmp_path, *arguments)
        assert (code, out) == (2, "") and says in err and err.count("\n") == 1


def children(pid):
    return [int(each) for each in subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True).stdout.split()]


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGHUP, marks=pytest.mark.slow)])
def test_a_request_to_stop_leaves_nothing_running_and_no_helper_complains(tmp_path, number):
    process = subprocess.Popen([sys.executable, "-m", "harness", "sweep", str(CONFIG), *GRID, "--set", "duration_s=600", "--jobs", "2",
                                "--out", str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                               start_new_session=True)
    try:
        while len(children(process.pid)) < 3 and process.poll() is None:         # two, and Python's resource tracker
            time.sleep(0.05)
        mine = children(process.pid)
        os.killpg(process.pid, number)                   # as a terminal does
        _, said = process.communicate(timeout=60)
        assert process.returncode == 128 + number
        assert re.fullmatch(r"(interrupted: \d of 3 runs are there; the same command with --resume goes on\n)?", said), said
        for pid in mine:
            for _ in range(100):
                if not os.path.exists(f"/proc/{pid}"):
                    break
                time.sleep(0.05)
            assert not os.path.exists(f"/proc/{pid}")
    finally:
        process.kill()


@pytest.mark.slow
def test_what_has_ended_behind_a_task_that_has_not_is_kept_at_a_request_to_stop(tmp_path):
    tasks = [("__import__('time').sleep(600)",), *((f"open({str(tmp_path / name)!r}, 'w').close() or {name!r}",) for name in "ab")]

    def stop():
        while len(list(tmp_path.iterdir())) < 2:
            time.sleep(0.05)
        time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGINT)
    found, waiting = [], threading.Thread(target=stop)
    with stops.listen(), pytest.raises(KeyboardInterrupt):
        waiting.start()
        for each in jobs.results(jobs.Where(3), eval, tasks):
            found.append(each)
    waiting.join()
    assert sorted(found) == [(1, "a"), (2, "b")]


@pytest.mark.slow
def test_a_process_that_is_killed_costs_only_the_task_that_it_dies_of(tmp_path):
    """Its neighbours hear no TERM, by which Python would end them: whoever waits for the end of a task would wait for ten minutes."""
    began = str(tmp_path / "began")
    os_, sleep = "__import__('os')", "__import__('time').sleep"
    killer = f"[[{sleep}(0.05) for _ in iter(lambda: {os_}.path.exists({began!r}), True)], {os_}.kill({os_}.getpid(), 9)]"
    neighbour = f"open({began!r}, 'a').write('x') and {sleep}(600 if {os_}.path.getsize({began!r}) == 1 else 0) or 7"
    tasks = [("6 * 7",), (killer,), (neighbour,), ("8",)]
    assert dict(jobs.results(jobs.Where(2), eval, tasks)) == {0: 42, 1: jobs.KILLED, 2: 7, 3: 8}


def test_a_process_of_a_parent_that_was_killed_while_it_was_loading_ends(monkeypatch):
    """The kernel says nothing any more, and no pipe of its own would ever end."""
    ended = []
    monkeypatch.setattr(jobs.ctypes, "CDLL", lambda name: SimpleNamespace(prctl=lambda *_: 0))
    monkeypatch.setattr(jobs.os, "_exit", ended.append)
    for pid in (os.getppid(), os.getppid() + 1):
        monkeypatch.setattr(jobs.multiprocessing, "parent_process", lambda pid=pid: SimpleNamespace(pid=pid))
        jobs._begin()
    assert ended == [1]


def test_what_is_there_is_not_run_again_but_after_a_change_of_config_or_source(tmp_path, capsys, monkeypatch):
    def runs(*more):
        before = len(saved(tmp_path))
        code, out, err = command(capsys, "sweep", CONFIG, *GRID, "--set", "duration_s=0.002", "--out", tmp_path, "--resume", *more)
        assert code == 0, err
        return len(saved(tmp_path)) - before, out, next(line for line in err.splitlines() if "already" in line)
    first, table, none = runs()
    again, same, all_of_them = runs("--jobs", "2")
    assert (first, again) == (3, 0) and table == same
    assert (none, all_of_them) == ("0 of 3 runs are there already", "3 of 3 runs are there already")
    assert runs("--set", "sweep={seed=[3, 4]}")[0] == 1
    listed = command(capsys, "sweep", CONFIG, *GRID, "--set", "sweep={seed=[1, 9]}", "--set", "duration_s=0.002", "--out", tmp_path, "--list")
    assert listed[0] == 0 and [row.split()[-1] for row in listed[1].splitlines()[2:]] == ["yes", "no"]
    monkeypatch.setattr("harness.commands.jobs.source", lambda: "another")
    assert runs()[0] == 3


def test_a_sweep_that_was_interrupted_says_how_it_goes_on(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("harness.commands.sweep.stops.asked", lambda: True)
    code, _, err = command(capsys, "sweep", CONFIG, *GRID, "--set", "duration_s=0.002", "--out", tmp_path)
    assert code == 130 and re.search(r"^interrupted: [0-3] of 3 runs are there; the same command with --resume goes on$", err, re.MULTILINE)
