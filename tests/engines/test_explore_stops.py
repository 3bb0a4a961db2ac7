"""A search that stops early says so: at Ctrl-C, when its tables are full, and where only a part was asked for."""

import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from harness.__main__ import main
from harness.engines.explore import checkpoint, search as explore
from harness.experiment.scenario_file import load
from kernels import states
from tests.tries import LIMIT_S

ROOT = Path(__file__).parent.parent.parent
TWO_VCPUS = [str(ROOT / "configs/explore/fault_zap_two_vcpus.toml"), "--module", "1.5.05"]

# A real SIGINT to a real process, at the first (or a later) look at the keyboard, however slow the machine is.
INTERRUPTED = """
import itertools, os, signal, sys
from harness.commands import explore as exploring
from harness.__main__ import main
from harness.engines.explore import search as explore

looks = itertools.count(1)
def tick(self, done=0, known=0, of=""):
    if of == "states" and next(looks) == int(sys.argv[1]):
        os.kill(os.getpid(), signal.SIGINT)
exploring.Sign.__call__ = tick
explore.Search._call.__defaults__ = (500, *explore.Search._call.__defaults__[1:])
sys.exit(main(sys.argv[2:]))
"""


def interrupted(at: int, *arguments: str) -> subprocess.CompletedProcess:
    done = subprocess.run([sys.executable, "-c", INTERRUPTED, str(at), "explore", *arguments], cwd=ROOT,
                          capture_output=True, text=True)
    assert done.returncode == 130 and "Traceback" not in done.stderr, done.stderr
    return done


@pytest.mark.slow
def test_ctrl_c_prints_what_is_known_of_the_scenario_so_far(tmp_path):
    done = interrupted(30, *TWO_VCPUS, "--out", str(tmp_path))
    assert "NOT complete (interrupted)" in done.stdout and "were not expanded" in done.stdout
    assert "no_bug not violated" in done.stdout and "holds" not in done.stdout
    assert done.stderr.splitlines()[-1] == "interrupted in scenario 1 of 1"


@pytest.mark.slow
def test_ctrl_c_prints_the_line_of_every_scenario_that_was_searched():
    files = [str(ROOT / f"configs/explore/{name}.toml") for name in ("accept_block", "fault_zap", "two_hosts")]
    done = interrupted(2, *files)
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines if line.startswith(("accept_block ", "fault_zap ", "two_hosts "))] == [
        "accept_block"] * 5 + ["fault_zap"]
    assert any(line.startswith("fault_zap ") and line.endswith("part") for line in lines)
    assert lines[-1].startswith("6 scenarios")


@pytest.mark.parametrize("name, at, jobs, says", [
    ("fault_zap", 2, "1", ["1909 states", "3350 transitions, depth 114"]),
    pytest.param("fault_zap_two_vcpus", 40, "2", ["58321 states", "starvation VIOLATED (expected)"],
                 marks=pytest.mark.slow)])
def test_ctrl_c_keeps_the_search_and_resume_goes_on_from_there(name, at, jobs, says, tmp_path, capsys):
    given = [str(ROOT / f"configs/explore/{name}.toml"), "--module", "1.5.24", "--jobs", jobs, "--out", str(tmp_path)]
    done = interrupted(at, *given)
    [file] = (tmp_path / "explored").glob("*.npz")
    assert f"kept in {file}: --resume goes on from there" in done.stderr
    with np.load(file) as kept:
        assert 0 < kept["counts"][states.NEXT] < len(kept["states"]) < int(says[0].split()[0])
    assert main(["explore", *given, "--resume", "--spill", str(tmp_path / "spill")]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert all(sentence in out for sentence in says)
    assert not file.exists()


def test_a_kept_search_that_is_not_whole_is_begun_again(tmp_path):
    [scenario] = load(ROOT / "configs/explore/fault_zap.toml", ["1.5.24"])
    kept, whole = tmp_path / "kept.npz", explore.run(scenario)
    search = explore.Search(scenario)
    search.scout()
    search.search()
    checkpoint.keep(search, kept)
    content = kept.read_bytes()
    for damaged in (content[:len(content) // 2], b"", content[:100] + b"xx" + content[102:]):
        kept.write_bytes(damaged)
        found = explore.run(scenario, kept=kept, resume=True)
        assert (found.states, found.transitions, found.endings) == (whole.states, whole.transitions, whole.endings)


def test_ctrl_c_while_all_is_judged_keeps_the_search_and_resume_judges_it(tmp_path, monkeypatch):
    """Which gives a sign of life, from a thread of its own."""
    [scenario] = load(ROOT / "configs/explore/fault_zap.toml", ["1.5.24"])
    ticked, said = threading.Event(), []

    def tick(*counts, of=""):
        said.append((*counts, of))
        if of:
            ticked.set()

    def interrupted(search, found):
        assert ticked.wait(LIMIT_S)
        raise KeyboardInterrupt
    kept, whole = tmp_path / "kept.npz", explore.run(scenario)
    with monkeypatch.context() as changed:
        changed.setattr(explore, "_judge", interrupted)
        changed.setattr(explore, "JUDGED_AT_ONCE", 0)
        found = explore.run(scenario, kept=kept, tick=tick)
    assert (found.interrupted, found.complete, found.checked) == (True, False, ())
    assert found.stopped == "interrupted while it was judged" and found.kept == str(kept) and found.states == whole.states
    assert (0, whole.states, "states judged") in said
    again = explore.run(scenario, kept=kept, resume=True)
    assert (again.states, again.endings, again.checked, again.complete) == (whole.states, whole.endings, whole.checked, True)
    assert not kept.exists()


@pytest.mark.slow
def test_ctrl_c_prints_the_policies_that_are_done():
    done = interrupted(40, "--policies", str(ROOT / "configs/explore/fault_zap_pending.toml"))
    assert "interrupted in policy" in done.stderr
    rows = {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines() if line[:1].isalpha()}
    assert "?" in rows["inject47"] and "?" not in rows["spinlock_vm"]
    assert "every policy keeps" not in done.stdout


@pytest.mark.parametrize("arguments, code, says", [
    (["--memory-mib", "16", "--no-reduction"], 3, ["NOT complete (the tables are full; --memory-mib 16 is the limit)",
                              "of the states were not expanded"]),
    (["--random", "20"], 0, ["not complete: 20 random runs, seed 1", "the last new one in run",
                          "of runs would end in one not seen yet"]),
    (["--pct", "3", "--random", "20"], 0, ["not complete: 20 runs by priorities that change 2 times, seed 1",
                                        "a bug of depth 3 is hit with probability"]),
    (["--preemptions", "1"], 0, ["NOT complete (at most 1 preemptions)", "% of the moves are within the bound"]),
])
def test_a_part_of_all_says_which_part(capsys, arguments, code, says):
    """And is no answer where all was asked for."""
    assert main(["explore", *TWO_VCPUS, *arguments]) == code
    out = " ".join(capsys.readouterr().out.split())
    assert all(sentence in out for sentence in says)
    assert "explored completely" not in out and "holds" not in out


def test_a_bound_that_nothing_comes_up_against_is_complete(capsys):
    assert main(["explore", str(ROOT / "configs/explore/two_hosts.toml"), "--preemptions", "50"]) == 0
    out = capsys.readouterr().out
    assert "explored completely: every interleaving with at most 50 preemptions" in " ".join(out.split())


def test_within_a_bound_nothing_is_called_a_livelock(capsys, tmp_path):
    """Who spins within a bound may be kept from whoever could end it; the search asks for more than that."""
    arguments = ["explore", *TWO_VCPUS, "--policy", "kick_vcpus", "--out", str(tmp_path)]
    assert main([*arguments, "--preemptions", "2"]) == 0
    assert "livelock" not in capsys.readouterr().out
    assert main(arguments) == 1
    assert "no_livelock VIOLATED" in capsys.readouterr().out
