"""A few rounds with a fixed seed; and that each thing that can be wrong with the end of a command is seen."""

import json
import math
import mmap
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import psutil
import pytest

from harness import __main__ as program
from tests.faults.commands import EVERY
from tests.faults.faults import FAULTS
from tests.faults.judging import Lengths, one, wrong
from tests.faults.loaded import Loaded
from tests.faults.started import LIMIT_S, ROOT, SHARED, mapped, shared
from tests.results.test_store import document

BY_NAME = {fault.name: fault for fault in FAULTS}
SEED = 12
SHORT = ("Ctrl-C twice", "no reader of either", "results removed")             # a worker is killed in test_run_endings.py
LONGEST_S = 1.5                  # a round of RUN on a quiet machine


@pytest.mark.parametrize("name", SHORT)
def test_a_fault_at_a_random_instant_is_well_met(tmp_path, name):
    fault = BY_NAME[name]
    found = one(fault, 0, random.Random(f"{SEED} {name}"), tmp_path, Lengths(dict.fromkeys(fault.commands, LONGEST_S)))
    assert not found.wrong


@pytest.fixture
def ended(tmp_path):
    """A command that has ended as it should."""
    for name in ("out/kick_vcpus-20261126-120000", "tmp"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "out/kick_vcpus-20261126-120000/result.json").write_text(json.dumps(document()))
    return SimpleNamespace(out=tmp_path / "out", temporary=tmp_path / "tmp", measuring=True, said="", has_workers=True,
                           left_over=lambda grace_s: 0, shared_left=lambda grace_s: set())


WELL = (BY_NAME["TERM"], 143, "saved out/kick_vcpus-20261126-120000/result.json")


def change(key, value):
    def act(ended):
        [path] = ended.out.glob("*/result.json")
        found = json.loads(path.read_text())
        *above, last = key.split(".")
        place = found
        for each in above:
            place = place[each]
        place[last] = value
        path.write_text(json.dumps(found))
    return act


@pytest.mark.parametrize("fault, code, text, act, says", [
    (*WELL, None, ""),
    (WELL[0], 1, WELL[2], None, "exit code 1: saved"),
    (WELL[0], 143, WELL[2] + "\nTraceback (most recent call last):\nKeyError: 1", None, "a traceback: KeyError: 1"),
    (WELL[0], 1, f"Traceback:\n  File \"{ROOT}/harness/x.py\"\nKeyboardInterrupt", lambda ended: setattr(ended, "measuring", False),
     "a traceback: KeyboardInterrupt"),
    (WELL[0], 1, f"{WELL[2][6:]} Traceback:\n  File \"/usr/lib/python3.11/site.py\"\nKeyboardInterrupt",
     lambda ended: setattr(ended, "measuring", False), ""),
    (WELL[0], 143, "", None, "kick_vcpus-20261126-120000 is not named"),
    (*WELL, lambda ended: next(ended.out.glob("*/result.json")).unlink(), "kick_vcpus-20261126-120000 holds no result"),
    (*WELL, lambda ended: next(ended.out.glob("*/result.json")).rename(ended.out / "x"), "what was measured is lost"),
    (*WELL, lambda ended: next(ended.out.glob("*/result.json")).write_text("{"), "a result is damaged: "),
    (*WELL, lambda ended: (ended.temporary / "x").mkdir(), "left over among the temporary files: x"),
    (*WELL, lambda ended: setattr(ended, "left_over", lambda grace_s: 2), "2 processes live on"),
    (*WELL, lambda ended: setattr(ended, "shared_left", lambda grace_s: {"sem.mp-x"}), "left over in /dev/shm: sem.mp-x"),
    (*WELL, lambda ended: vars(ended).update(said="saved x\na\nb\n", has_workers=False), "2 lines: a / b"),
    (*WELL, lambda ended: vars(ended).update(said="saved x\nb\n", has_workers=False), ""),
    (*WELL, lambda ended: vars(ended).update(said="kept in x.npz: --resume goes on from there\ninterrupted\n", has_workers=False), ""),
    (*WELL, lambda ended: next(ended.out.glob("*/result.json")).rename(ended.out / "kick_vcpus-20261126-120000/x.npz"), "what was measured is lost"),
    (*WELL, change("invariants.no_deadlock", 1), "a hang or a deadlock is claimed"),
    (*WELL, change("measured_s", 9.0), "measured for 9 s, and believed"),
    (WELL[0], 0, WELL[2], change("verdict", {"status": "UNTRUSTWORTHY", "reasons": []}), "exit code 0 of an untrustworthy result"),
    (BY_NAME["a worker killed"], 3, WELL[2], None, "the verdict is "),
])
def test_what_is_wrong_is_seen(ended, fault, code, text, act, says):
    if act:
        act(ended)
    found = list(wrong(fault, ended, code, text))
    assert not found if not says else any(sentence.startswith(says) for sentence in found), found


def test_a_fault_comes_to_every_command():
    assert {command[0] for command in EVERY} == set(program.COMMANDS) and BY_NAME["any request to any command"].commands == EVERY


@pytest.mark.slow
def test_a_command_that_is_forked_ends_as_one_that_is_started(tmp_path):
    server, environment = Loaded(None), {"TMPDIR": str(tmp_path), "HARNESS_ODD": "x"}
    try:
        listed = server.begin(["decode", "TDX_OPERAND_BUSY|RCX"], environment)
        wrong_path = server.begin(["run", "no-such.toml"], environment)
        endless = server.begin(["decode"], environment)          # reads standard input, which nobody writes
        assert os.getpgid(endless.pid) == endless.pid and os.readlink(f"/proc/{endless.pid}/cwd") == str(ROOT)
        os.killpg(endless.pid, signal.SIGKILL)
        printed, said = listed.communicate(LIMIT_S)
        assert "TDX_OPERAND_BUSY" in printed and (said, listed.returncode) == ("", 0)
        assert wrong_path.communicate(LIMIT_S) == ["", "no-such.toml: no such file; did you mean pyproject.toml?\n"]
        assert (wrong_path.returncode, endless.wait()) == (2, -signal.SIGKILL)
    finally:
        server.end()


def test_make_tries_so_many_faults_as_it_says():
    [rounds] = map(int, re.findall(r"tests\.faults --rounds (\d+)", (ROOT / "Makefile").read_text()))
    count = f"{sum(math.ceil(rounds * fault.times) for fault in FAULTS):,} faults"
    assert all(count in (ROOT / path).read_text() for path in ("Makefile", "docs/files.md"))


def test_shared_memory_that_no_process_uses_is_seen():
    used, left = (SHARED / f"faults-{os.getpid()}-{number}" for number in range(2))
    try:
        for path in (used, left):
            path.write_bytes(b"x")
        with open(used, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ):
            assert {used.name, left.name} & (shared() - mapped()) == {left.name}
    finally:
        for path in (used, left):
            path.unlink()


def test_of_two_requests_that_wait_the_lower_number_is_heard_first():
    """Why "HUP behind Ctrl-C" may end with 129: whichever was sent first.

    (Sent to this thread: of a process, another thread that blocks nothing would take them one by one.)
    """
    heard = []
    before = {number: signal.signal(number, lambda given, _: heard.append(given)) for number in (signal.SIGINT, signal.SIGHUP)}
    try:
        signal.pthread_sigmask(signal.SIG_BLOCK, before)
        for number in before:  # to this thread: another one of the process would take at once what this one holds back
            signal.pthread_kill(threading.get_ident(), number)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, before)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert heard == [signal.SIGHUP, signal.SIGINT] and {129, 130} < set(BY_NAME["HUP behind Ctrl-C"].codes)


def test_a_test_run_that_is_killed_leaves_nothing_running(tmp_path):
    (tmp_path / "test_it.py").write_text(
        "import subprocess, sys\n"
        "def test_it():\n"
        "    subprocess.run([sys.executable, '-c', 'import time; time.sleep(600)'], start_new_session=True)\n")
    run = subprocess.Popen([sys.executable, "-m", "pytest", "-q", "-p", "tests.conftest", "-p", "no:cacheprovider", tmp_path],
                           cwd=ROOT, stdout=subprocess.DEVNULL, env=os.environ | {"TMPDIR": str(tmp_path)})
    try:
        began = time.monotonic()
        while not (children := psutil.Process(run.pid).children()) and time.monotonic() - began < LIMIT_S:
            time.sleep(0.05)
        run.kill()
        assert children and not psutil.wait_procs(children, timeout=10)[1]
    finally:
        for child in children:
            if child.is_running():
                child.kill()
        run.wait()
