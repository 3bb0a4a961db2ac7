"""A schedule again, step by step and as real processes: as the search says, also where time runs out."""

import runpy
import tomllib
from pathlib import Path

import pytest

from harness.__main__ import main
from harness.engines.explore import search as explore
from harness.engines.replay import processes
from harness.engines.replay.steps import Replay, execute
from harness.experiment.scenario_file import load, parse
from harness.experiment.schedule import Schedule

ROOT = Path(__file__).parent.parent.parent
TIMEOUT = "TDX_HOST_PRIORITY_BUSY_TIMEOUT"
# The guest is refused for a priority of a host that never comes back; at its second try its time may have run out.
REFUSED = """
timeouts = true
start.pages = {{ 3 = "PENDING" }}
start.words = {{ "sept.0 3" = 0x81100400000030f0 }}
[actors]
vcpu0 = "tdg_mem_page_accept 3 retry 1"
[[expect]]
vcpu0 = "TDX_HOST_PRIORITY_BUSY_TIMEOUT"
grade = "{grade}"
[[expect]]
grade = "acceptable"
"""


def command(capsys, *arguments: str):
    code = main(list(arguments))
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def refused(tmp_path, grade: str) -> str:
    file = tmp_path / "refused.toml"
    file.write_text(REFUSED.format(grade=grade))
    return str(file)


def test_an_outcome_in_which_time_runs_out_is_shown_saved_and_replayed(tmp_path, capsys):
    test = tmp_path / "test_found.py"
    code, out, err = command(capsys, "explore", refused(tmp_path, "acceptable"), "--show", "1", "--out", str(tmp_path),
                             "--as-test", str(test))
    shown = out[out.index("refused, module 1.5.05: vcpu0 " + TIMEOUT):]
    assert code == 0 and "time has run out" in shown and "HOST_PRIORITY_BUSY_TIMEOUT  <- tdg_mem_page_accept" in shown
    [saved] = tmp_path.glob("*.schedule.json")
    code, out, _ = command(capsys, "replay", str(saved))
    assert code == 0 and "time has run out" in out and out.count("all as saved") == 2
    [found] = [value for name, value in runpy.run_path(str(test)).items() if name.startswith("test_")]
    found()


def test_an_outcome_in_which_time_does_not_run_out_says_nothing_of_it(tmp_path, capsys):
    _, out, _ = command(capsys, "explore", refused(tmp_path, "acceptable"), "--show", "2", "--out", str(tmp_path))
    assert "BUSY_HOST_PRIORITY|RCX  <- tdg_mem_page_accept" in out and "time has run out" not in out


def test_a_forbidden_outcome_in_which_time_runs_out_fails_with_its_counterexample(tmp_path, capsys):
    code, out, err = command(capsys, "explore", refused(tmp_path, "forbidden"), "--out", str(tmp_path))
    assert code == 1 and f"FAILED: forbidden outcome: vcpu0 {TIMEOUT}" in " ".join(out.split())
    assert "time has run out" in out and err.startswith("saved ")
    [saved] = tmp_path.glob("*.schedule.json")
    assert command(capsys, "replay", str(saved))[0] == 0


def worlds():
    """Scenarios in which the guest's time may run out, and whether it does matters to what comes behind."""
    for actors, start in (
        ({"vcpu0": {"touch": [3]}, "host0": {"remove": [3]}}, {"pages": {"3": "PENDING"}}),
        ({"vcpu0": "tdg_mem_page_accept 3 retry 2", "host0": "tdh_mem_range_block 3"}, {"pages": {"3": "MAPPED"}}),
    ):
        yield from parse({"actors": actors, "start": start, "timeouts": True, "must_violate": ["livelock"]}, "timeouts")


@pytest.mark.parametrize("number", [0, 1])
def test_every_ending_is_reached_by_its_way_where_time_may_run_out(number):
    scenario = list(worlds())[number]
    found = explore.run(scenario)
    assert any(answer == TIMEOUT for _, answer in found.answered)
    for ending in found.endings:
        replay = Replay(scenario)
        for place, turn in enumerate(ending.turns):
            replay.follow(turn, place)
        answers = tuple(replay.answers(place) for place in range(len(scenario.scripts)))
        assert (answers, replay.watched()) == (ending.answers, ending.words)


def test_the_trace_of_a_way_says_what_the_search_says_of_it():
    """Also where time never runs out: a row that asks for it is answered, whatever was in its register before."""
    for name in ("orphan", "accept_block"):
        for scenario in load(ROOT / f"configs/explore/{name}.toml", ["1.5.05"]):
            for ending in explore.run(scenario).endings:
                accesses, _ = execute(Schedule(scenario, ending.turns))
                statuses = {access.status for access in accesses if access.status}
                assert {answer for answers in ending.answers for answer in answers} <= statuses
                assert TIMEOUT not in statuses


def test_real_processes_come_to_the_same_words_where_time_runs_out():
    [scenario] = parse(tomllib.loads(REFUSED.format(grade="acceptable")), "refused")
    [way] = [ending.turns for ending in explore.run(scenario).endings if ending.answers == ((TIMEOUT,),)]
    accesses, final = execute(Schedule(scenario, way))
    assert any(access.mark == "time has run out" for access in accesses)
    assert processes.run(Schedule(scenario, way)) == final
