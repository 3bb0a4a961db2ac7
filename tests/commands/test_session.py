"""Sessions: what runs when, on which seed, for how long; and what is left after an interruption."""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import psutil
import pytest

from harness.commands import session as sessions
from harness.results import store
from harness.host import fingerprint, lock
from harness.__main__ import main
from harness.errors import UsageError
from tests.made import made
from tests.stage import config
from tests.tries import LIMIT_S

ROOT = Path(__file__).parent.parent.parent
NAMES = ("a", "b", "c", "d", "e")


def configs(**keys):
    return [config(name=name, **keys) for name in NAMES]


def test_every_config_runs_once_in_every_block_on_the_seed_of_the_block():
    session = sessions.make_session(configs(seed=40), repeats=8)
    assert Counter((run.block, run.config) for run in session.runs) == Counter(
        {(block, index): 1 for block in range(8) for index in range(5)})
    assert {(run.block, run.seed) for run in session.runs} == {(block, 40 + block) for block in range(8)}
    assert session.config(session.runs[-1]).seed == 47


def test_the_order_is_drawn_for_each_block_and_is_the_same_each_time():
    session = sessions.make_session(configs(), repeats=20)
    orders = {tuple(run.config for run in session.runs if run.block == block) for block in range(20)}
    assert len(orders) > 5
    first = Counter(run.config for run in session.runs if run.order == 0)
    assert len(first) == 5                       # each goes first now and then
    assert sessions.make_session(configs(), repeats=20).runs == session.runs


def test_a_config_that_asks_for_fewer_blocks_is_left_out_of_the_later_ones():
    mixed = [config(name="a", repeats=1), config(name="b", repeats=3)]
    session = sessions.make_session(mixed)
    assert Counter(run.config for run in session.runs) == {0: 1, 1: 3}


def test_the_time_of_the_start_names_a_session_in_real_time_only():
    for engine, same in (("processes", False), ("simulate", True)):
        one, other = (sessions.make_session(configs(engine=engine), repeats=2, now=now) for now in (1000.0, 2000.0))
        assert (one.name == other.name) == same and one.plan == other.plan
        assert (one.mark(one.runs[0]) == other.mark(other.runs[0])) == same


def test_a_budget_without_repeats_is_spent_on_as_many_blocks_as_fit():
    """Five runs of 2 + 0.5 s and an overhead of 1 s are 17.5 s a block: three in a minute."""
    session = sessions.make_session(configs(duration_s=2.0, warmup_s=0.5), budget_s=60)
    assert sessions.OVERHEAD_S == 1 and session.blocks == 3
    assert {each.duration_s for each in session.configs} == {2.0}


def test_a_budget_with_repeats_is_spread_over_them():
    """Twenty runs in 60 s: 3 s each, of which 1.5 are warm-up and overhead."""
    session = sessions.make_session(configs(duration_s=9.0, warmup_s=0.5), repeats=4, budget_s=60)
    assert session.blocks == 4 and {each.duration_s for each in session.configs} == {1.5}


@pytest.mark.parametrize("keys, says", [
    ({"budget_s": 10}, "one block of these configs takes about 32 s; raise it"),
    ({"budget_s": 10, "repeats": 5}, "leaves 0 s to a run of which 25 are wanted"),
])
def test_a_budget_that_cannot_be_kept_is_refused_with_what_would_do(keys, says):
    with pytest.raises(UsageError) as caught:
        sessions.make_session(configs(), **keys)
    assert says in str(caught.value)


@pytest.mark.parametrize("text, wanted", [("90", 90), ("90s", 90), ("10m", 600), ("1.5h", 5400), (" 2m ", 120)])
def test_times_have_units(text, wanted):
    assert sessions.seconds(text) == wanted


@pytest.mark.parametrize("text", ["", "m", "10 minutes", "-5m", "0", "1e9h", "nan", "169h"])
def test_a_time_that_is_none_is_refused_with_an_example(text):
    with pytest.raises(UsageError, match="must be a time such as 90s, 10m or 1.5h"):
        sessions.seconds(text)


def test_what_the_first_run_compiles_takes_nothing_from_the_budget():
    now = [0.0]
    budget = sessions.Budget(40, clock=lambda: now[0])
    now[0] = 30
    budget.ran(30, 27)
    assert (budget.used_s(), budget.left_s(), budget.compiled_s) == (3, 37, 27) and budget.fits(37) and not budget.fits(38)


def test_a_block_that_does_not_fit_what_is_left_is_not_begun():
    now = [0.0]
    budget = sessions.Budget(100, clock=lambda: now[0])
    assert budget.fits(500)                   # the first always
    budget.ran(10, 2)                            # the first compiles
    budget.ran(12, 4)                            # ... so that this one is slow: 20 s for what was planned as 16
    now[0] = 42
    assert budget.left_s() == 60 and budget.fits(48) and not budget.fits(49)
    assert sessions.Budget(None).fits(10**9)


# --- going on ---

def finished(session, run, **keys):
    result = made(name=NAMES[run.config], **keys)
    result.machine = fingerprint.fingerprint()
    result.block = session.mark(run)
    return result


def keep(result, out):
    return store.write(result, out)


def test_what_is_there_is_not_run_again(tmp_path):
    session = sessions.make_session(configs(), repeats=3, now=1000.0)
    for run in session.runs[:7]:
        keep(finished(session, run), tmp_path)
    keep(finished(session, session.runs[7], interrupted=True), tmp_path)
    later = sessions.make_session(configs(), repeats=3, now=2000.0)
    resumed, done, skipped = sessions.resume(later, tmp_path)
    assert resumed.name == session.name != later.name and not skipped
    assert set(done) == set(session.runs[:7])


def test_only_the_same_plan_on_the_same_machine_counts(tmp_path):
    session = sessions.make_session(configs(), repeats=3, now=1000.0)
    other = sessions.make_session(configs(duration_s=7.0), repeats=3, now=1000.0)
    keep(finished(other, other.runs[0]), tmp_path)
    foreign = finished(session, session.runs[0])
    foreign.machine["processor"] = "Another"
    keep(foreign, tmp_path)
    assert sessions.resume(session, tmp_path)[1] == {}


def test_the_newest_of_several_sessions_goes_on(tmp_path):
    old, new = (sessions.make_session(configs(), repeats=3, now=now) for now in (1000.0, 1000.5))
    for run in old.runs[:5]:
        keep(finished(old, run), tmp_path)
    keep(finished(new, new.runs[0]), tmp_path)
    resumed, done, _ = sessions.resume(sessions.make_session(configs(), repeats=3), tmp_path)
    assert resumed.name == new.name and set(done) == {new.runs[0]}


def test_a_damaged_result_is_named_and_skipped(tmp_path):
    session = sessions.make_session(configs(), repeats=3)
    path = keep(finished(session, session.runs[0]), tmp_path)
    path.write_text(path.read_text()[:500])
    _, done, [skipped] = sessions.resume(session, tmp_path)
    assert not done and str(path) in skipped and "damaged or cut off" in skipped


# --- one at a time ---

def test_a_second_run_says_who_holds_the_machine_and_writes_nothing(tmp_path, capsys):
    with lock.only_one("run something_else"):
        assert main(["run", str(ROOT / "configs/kick_vcpus.toml"), "--out", str(tmp_path / "new")]) == 2
    out, error = capsys.readouterr()
    assert not out and error.count("\n") == 1
    assert f"process {os.getpid()}, 'run something_else', since 20" in error
    assert not (tmp_path / "new").exists()
    with lock.only_one("again"):
        pass                                     # and it was let go


# --- as a user meets it ---

SHORT = ("--set", "duration_s=0.15", "--set", "warmup_s=0.05")


@pytest.mark.slow
def test_an_interrupted_session_goes_on_where_it_was(tmp_path, capsys):
    command = ["run", str(ROOT / "configs/kick_on_busy.toml"), str(ROOT / "configs/kick_vcpus.toml"), *SHORT, "-v", "--repeats", "2",
               "--out", str(tmp_path)]
    # Of four runs the third is interrupted, by itself: nobody else could be sure to be in time.
    code = ("import os, signal, sys\n"
            "from harness.__main__ import main\n"
            "from harness.engines.processes import coordinator\n"
            "runs, watch = [], coordinator.Coordinator._watch\n"
            "def interrupted(watcher, duration_s, report):\n"
            "    runs.extend([watcher] * report)\n"
            "    if report and len(runs) == 3: os.kill(os.getpid(), signal.SIGINT)\n"
            "    return watch(watcher, duration_s, report)\n"
            "coordinator.Coordinator._watch = interrupted\n"
            "sys.exit(main(sys.argv[1:]))\n")
    first = subprocess.run([sys.executable, "-c", code, *command], cwd=ROOT, text=True, capture_output=True,
                           timeout=LIMIT_S)
    out, error = first.stdout, first.stderr
    assert first.returncode == 130 and "--resume goes on" in error and "policy kick" in out
    assert main([*command, "--resume"]) == 0
    out, error = capsys.readouterr()
    assert "2 of 4 runs are there already" in error
    saved = [store.read(path) for path in tmp_path.glob("*/result.json")]
    whole = Counter((result.block.number, result.name) for result in saved if not result.interrupted)
    assert whole == {(block, name): 1 for block in range(2) for name in ("kick_on_busy", "kick_vcpus")}
    assert len({result.block.session for result in saved}) == 1
    assert {result.seed for result in saved} == {1, 2}
    assert "medians of 2 blocks" in out and "undecided, about" in out
    assert not psutil.Process().children()
