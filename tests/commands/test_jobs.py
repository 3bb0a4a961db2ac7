"""`--jobs N`: the same results as one after the other, nothing left running, and real time refused."""

import json
import os
import signal
import subprocess
import sys
import time

from tests.command_line import ROOT, command

GRID = ("--set", "sweep={seed=[1, 2, 3]}", "--set", "engine=simulate", "--set", "warmup_s=0")
CONFIG = ROOT / "configs/kick_on_busy.toml"


def saved(folder):
    documents = [json.loads(path.read_text()) for path in folder.glob("*/result.json")]
    for document in documents:
        for key in ("started_at", "machine"):
            del document[key]
    return sorted(documents, key=lambda document: document["seed"])


def test_results_are_those_of_one_job(tmp_path, capsys):
    outs = [command(capsys, "sweep", CONFIG, *GRID, "--set", "duration_s=0.002", "--out", tmp_path / jobs, "--jobs", jobs)
            for jobs in ("1", "2")]
    assert outs[0][0] == outs[1][0] == 0 and outs[0][1] == outs[1][1]
    assert len(saved(tmp_path / "1")) == 3 and saved(tmp_path / "1") == saved(tmp_path / "2")


def test_real_time_and_no_job_are_refused(capsys, tmp_path):
    for arguments, says in ((("--set", "engine=processes", "--jobs", "2"), "must be 'simulate'"), (("--jobs", "0"), "at least 1")):
        code, out, err = command(capsys, "sweep", CONFIG, *GRID, "--out", tmp_path, *arguments)
        assert (code, out) == (2, "") and says in err and err.count("\n") == 1


def children(pid):
    return [int(each) for each in subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True).stdout.split()]


def test_an_interrupt_leaves_nothing_running(tmp_path):
    process = subprocess.Popen([sys.executable, "-m", "harness", "sweep", str(CONFIG), *GRID, "--set", "duration_s=600", "--jobs", "2",
                                "--out", str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                               start_new_session=True)
    try:
        while len(children(process.pid)) < 3 and process.poll() is None:         # two, and Python's resource tracker
            time.sleep(0.05)
        mine = children(process.pid)
        os.killpg(process.pid, signal.SIGINT)            # as a terminal does
        _, said = process.communicate(timeout=60)
        assert process.returncode == 130 and "Traceback" not in said
        for pid in mine:
            for _ in range(100):
                if not os.path.exists(f"/proc/{pid}"):
                    break
                time.sleep(0.05)
            assert not os.path.exists(f"/proc/{pid}")
    finally:
        process.kill()
