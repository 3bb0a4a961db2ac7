"""`run FILE.litmus` and `explore --memory-model`: reports, exit codes, what is refused."""

import os
import re

import pytest

from harness.experiment import litmus
from harness.results.litmus import wrong_ends
from harness.results.measured import Ending
from kernels.atomics import X86
from tests.command_line import ROOT, command
from tests.reports.chrome_trace import checked

SB, MBS = (str(ROOT / f"configs/litmus/classic/{name}.litmus") for name in ("SB", "SB+mbs"))
FAST = ("--runs", "2k")


def test_a_histogram_is_printed_beside_what_explore_finds(capsys):
    code, out, _ = command(capsys, "run", SB, MBS, *FAST)
    assert code == 0 and out.count("As explore finds (x86-TSO)") == 2
    counts = [int(line.split()[0]) for line in out.splitlines() if re.match(r"\d+ +[*:]>", line)]
    assert sum(counts) == 4_000 and "Observation SB+mbs Never 0 2000" in out


def test_what_only_store_buffers_explain_fails_against_sequential_consistency(capsys):
    """The control: a processor is not sequentially consistent, and the tool sees it."""
    if not X86 or len(os.sched_getaffinity(0)) < 2:
        return
    for _ in range(20):
        code, out, _ = command(capsys, "run", SB, "--memory-model", "sc", "--runs", "100k")
        if code:
            break
    assert code == 1 and "<- not among the outcomes that explore finds" in out
    assert "NOT as explore finds (sequentially consistent): 1 of" in out


ABBA = """C abba
{ spinlock_t a; spinlock_t b;%s }
P0(spinlock_t *a, spinlock_t *b) { spin_lock(a); spin_lock(b); spin_unlock(b); spin_unlock(a); }
P1(spinlock_t *a, spinlock_t *b) { spin_lock(b); spin_lock(a); spin_unlock(a); spin_unlock(b); }
forall (true)
"""


def test_runs_that_deadlock_are_exit_code_1_unless_the_file_expects_it(tmp_path, capsys):
    file = tmp_path / "abba.litmus"
    for promise, wanted in ("", 1), (" must_violate = {deadlock};", 0):
        file.write_text(ABBA % promise)
        code, out, _ = command(capsys, "run", str(file), "--runs", "200", "--set", "engine=simulate")
        assert code == wanted and ("FAILED: deadlock is violated, in explore too" in out) == bool(wanted)
        assert re.search(r"Deadlock: in \d+ runs", out)


def test_a_wait_that_no_search_finds_may_be_the_machines_and_a_halt_is_not():
    test = litmus.parse(ABBA % "", "abba.litmus")
    ended = {kind: [Ending(kind, (), 1)] for kind in ("done", "deadlock", "endless", "halt")}
    assert not any(wrong_ends(test, ended[kind], ()) for kind in ("done", "deadlock", "endless"))
    assert wrong_ends(test, ended["halt"], ()) == ["no_halt is violated, which explore does not find"]
    assert wrong_ends(test, ended["halt"], ("no_halt",)) == ["no_halt is violated, in explore too"]
    assert wrong_ends(test, ended["endless"], ("livelock",)) == ["livelock is violated, in explore too"]
    assert not wrong_ends(test, ended["done"], ("livelock",))


def test_a_trace_is_of_runs_apart_from_the_histogram_and_says_so(tmp_path, capsys):
    code, out, err = command(capsys, "run", SB, "--runs", "5k", "--trace", tmp_path / "t.json")
    assert code == 0 and sum(int(line.split()[0]) for line in out.splitlines() if re.match(r"\d+ +[*:]>", line)) == 5000
    assert "100 runs apart from those of the histogram" in err
    runs = [event for event in checked((tmp_path / "t.json").read_text()) if event.get("cat") == "run"]
    assert len(runs) == 200


def test_one_of_a_kind_is_said_in_the_singular(tmp_path, capsys):
    path = tmp_path / "t.litmus"
    path.write_text("C t\n{ }\nP0(int *x) { WRITE_ONCE(*x, 1); }\nforall (x=1)\n")
    for arguments, said in ((["explore", path], "every interleaving, 1 state,"), (["run", path, "--runs", "1"], "Ran: 1 run of 1 process on"),
                            (["run", path, "--runs", "1"], "1 of its 1 state was seen"),
                            (["run", path, "--runs", "1", "--set", "engine=simulate"], "Simulated: 1 run of 1 process, a processor each")):
        code, out, _ = command(capsys, *arguments)
        assert code == 0 and said in " ".join(out.split())


def test_explore_has_both_memory_models(capsys):
    code, out, _ = command(capsys, "explore", SB, "--memory-model", "tso")
    assert code == 0 and "Observation SB Sometimes 1 3" in out and "x86-TSO" in out and "its store arrives" in out
    code, out, _ = command(capsys, "explore", SB)
    assert code == 0 and "Observation SB Never 0 3" in out


@pytest.mark.parametrize("arguments, said", [
    (["run", SB, "--runs", "ten"], "--runs ten: must be a number from 1 to 100G"),
    (["run", SB, "--runs", "0"], "--runs 0: must be"),
    (["run", SB, MBS, "--trace", "x.json"], "--trace x.json: of one test, here 2"),
    (["run", SB, "--trace", "no/such/x.json"], "--trace no/such/x.json"),
    (["run", SB, MBS, "--set", "engine=simulate", "--trace", "x.json"], "--trace x.json: of one test, here 2"),
    (["run", SB, "--repeats", "3"], "--repeats: not of C litmus tests"),
    (["run", SB, "configs/kick_on_busy.toml"], "kick_on_busy.toml: is no .litmus file"),
    (["run", "configs/kick_on_busy.toml", "--runs", "3"], "--runs 3: is of C litmus tests"),
    (["explore", SB, "--memory-model", "tso", "--random", "3"], "--random 3: not together with --memory-model tso"),
    (["run", str(ROOT / "configs/litmus/kvm/mirror-race.litmus"), "--memory-model", "tso"], "mirror-race.litmus: is about a TD"),
])
def test_what_is_not_of_litmus_tests_is_one_line(capsys, arguments, said):
    code, out, err = command(capsys, *arguments)
    assert code == 2 and not out and said in err and err.count("\n") == 1
