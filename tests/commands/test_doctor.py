"""The doctor: each thing that can be wrong with a machine has its advice, and a good machine none."""

import json

import pytest

from harness.commands import doctor
from harness.results import trust
from harness.reports import text
from harness.reports.doctor import doctor_report
from harness.host.procfs import Quota
from tests.command_line import harness

GOOD = doctor.Facts(
    processors=[0, 1, 2, 3], siblings=[], quota=Quota(None, 0, 0.0), throttled_count=0, steal_share=0.0,
    load_share=0.01, clock_source="tsc", clock_invariant=True, clock_offset_ns=0.0, clock_reading_ns=10.0,
    governors={"performance"}, speed_drift_share=0.001, scheduler_statistics=True, control_caught=True)


def advised(facts) -> set[str]:
    return {row.check for row in doctor.rows(facts) if row.advice}


def test_a_good_machine_gets_no_advice_but_how_many_workers_it_has_room_for():
    assert advised(GOOD) == {"processors"}


@pytest.mark.parametrize("check, changes, finding", [
    ("threads of one core", {"siblings": [[0, 2], [1, 3]]}, "share a core: 0+2, 1+3"),
    ("CPU quota", {"quota": Quota(1.5, 0, 0.0)}, "1.5 processors"),
    ("CPU quota", {"quota": Quota(0.5, 0, 0.0), "throttled_count": 9}, "ran out 9 times"),
    ("steal time", {"steal_share": 2 * trust.STEAL_SHARE}, "2 %"),
    ("other load", {"load_share": 0.5}, "50 %"),
    ("clock", {"clock_invariant": False}, "not invariant"),
    ("clocks agree", {"clock_offset_ns": 5000.0}, "5000 ns"),
    ("clocks agree", {"clock_offset_ns": None}, "unknown"),
    ("frequency", {"governors": {"powersave"}}, "powersave"),
    ("frequency", {"speed_drift_share": 0.3}, "+30.0 %"),
    ("scheduler statistics", {"scheduler_statistics": False}, "not kept"),
    ("negative control", {"control_caught": False}, "was not caught"),
])
def test_each_thing_that_is_wrong_is_named_and_has_an_advice(check, changes, finding):
    facts = GOOD._replace(**changes)
    assert advised(facts) == {"processors", check}
    [row] = [row for row in doctor.rows(facts) if row.check == check]
    assert finding in row.finding


@pytest.mark.parametrize("changes", [
    {"quota": None}, {"steal_share": None}, {"load_share": None}, {"governors": None}, {"clock_invariant": None},
    {"control_caught": None}, {"quota": Quota(4.0, 0, 0.0)},
])
def test_what_is_not_known_is_said_and_asks_for_nothing(changes):
    assert advised(GOOD._replace(**changes)) == {"processors"}


def test_threads_of_a_core_are_left_out_of_the_advice():
    rows = doctor.rows(GOOD._replace(siblings=[[0, 2], [1, 3]]))
    [row] = [row for row in rows if row.check == "threads of one core"]
    assert "taskset -c 0,1`" in row.advice


def test_one_processor_is_not_enough():
    [row] = [row for row in doctor.rows(GOOD._replace(processors=[5])) if row.check == "processors"]
    assert row.finding == "1 allowed: 5" and "another machine" in row.advice


def test_doctor_prints_every_check_of_this_machine():
    run = harness("doctor", "--format", "json")
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout)
    assert [row["check"] for row in found] == [row.check for row in doctor.rows(GOOD)]
    assert all(row["finding"] for row in found)


def test_the_table_fits_100_columns():
    facts = GOOD._replace(siblings=[[number, number + 64] for number in range(64)], load_share=0.5,
                          quota=Quota(1.0, 5, 1.0), clock_invariant=False, control_caught=False)
    for line in doctor_report(doctor.rows(facts)).splitlines():
        assert len(line) <= text.WIDTH
