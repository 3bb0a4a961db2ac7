"""The first milliseconds of a run as a trace: what is kept is what the run counted, within its spans, and cut where one is full."""

import numpy as np
import pytest

from harness.engines.simulate import simulation
from harness.experiment.plan import make_plan
from harness.reports.events import of_run
from tests.command_line import command
from tests.reports.chrome_trace import checked
from tests.stage import config

SMALL = {"engine": "simulate", "duration_s": 0.0003, "warmup_s": 0.0001, "td": {"vcpus": 2, "memory_mib": 2},
         "workload": {"hosts": 1, "removals_per_s": 50_000.0, "accept_first": 0.9, "hot_pages": 8}}


@pytest.fixture(scope="module")
def measured():
    return simulation.run(make_plan(config("kick_vcpus", **SMALL), 4096))


def spans_of(text: str, category: str) -> list[dict]:
    return [event for event in checked(text) if event.get("cat") == category]


def test_every_call_that_was_measured_is_there_with_its_answer(measured):
    plan, tables = measured.plan, measured.plan.tables
    half = np.sum(measured.halves, axis=0)
    answered = half[tables.answered:][:len(plan.program.calls) * tables.answers].reshape(-1, tables.answers)
    calls = spans_of(of_run(measured), "call")
    assert calls and 0.9 * answered.sum() <= len(calls) <= answered.sum() + 2 * len(plan.actors)
    assert {event["name"] for event in calls} == {name for name, row in zip(plan.program.calls, answered) if row.any()}
    assert {event["args"]["answer"] for event in calls} <= {answer.name for answer in plan.program.answers}
    assert all(event["ts"] >= 0 and event["dur"] >= 0 and event["ts"] + event["dur"] <= 320 for event in calls)


def test_calls_of_an_actor_come_one_after_the_other_and_lie_within_its_spans(measured):
    text = of_run(measured)
    for lane in {event["tid"] for event in spans_of(text, "call")}:
        calls = sorted((event["ts"], event["ts"] + event["dur"]) for event in spans_of(text, "call") if event["tid"] == lane)
        assert all(end <= begin + 1e-3 for (_, end), (begin, _) in zip(calls, calls[1:]))
    removals = [event for event in spans_of(text, "span") if event["name"] == "removal"]
    removed = [event for event in spans_of(text, "call") if event["name"] == "tdh_mem_page_remove"]
    assert removals and all(any(one["ts"] <= call["ts"] and call["ts"] + call["dur"] <= one["ts"] + one["dur"] + 1e-3 for one in removals)
                            for call in removed)


def test_it_ends_where_an_actor_has_no_more_room():
    few = simulation.run(make_plan(config("kick_vcpus", **SMALL), 10))
    kept = spans_of(of_run(few), "call") + spans_of(of_run(few), "span")
    assert 10 <= len(kept) <= 30 and all(len(log) <= 10 for log in few.logs.values())
    full = min(log[:, 1].max() for log in few.logs.values() if len(log) == 10)
    first = min(log[:, 0].min() for log in few.logs.values() if len(log))
    assert max(event["ts"] + event["dur"] for event in kept) * 10_000 <= full - first + 10


def test_run_writes_it_and_only_of_one_run(tmp_path, capsys):
    trace = tmp_path / "t.json"
    settings = ("--set", "engine=simulate", "--set", "duration_s=0.0002", "--set", "warmup_s=0", "--out", str(tmp_path), "-q")
    code, _, err = command(capsys, "run", "kick_vcpus", *settings, "--trace", str(trace))
    assert code == 0 and f"wrote {trace}" in err and checked(trace.read_text())
    code, out, err = command(capsys, "run", "kick_vcpus", *settings, "--trace", str(trace), "--repeats", "2")
    assert code == 2 and not out and "--trace" in err and "of one run, here 2" in err
    code, out, err = command(capsys, "run", "kick_vcpus", *settings, "--trace", str(tmp_path / "no/such/file"))
    assert code == 2 and not out and "--trace" in err and err.count("\n") == 1
