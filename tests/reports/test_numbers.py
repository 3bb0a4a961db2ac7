"""A number over several runs: totals of what is fatal, bounds of none, medians of all else."""

import pytest

from harness.reports.numbers import events_text, over_runs, reasons_of, shown
from harness.reports.summary import summary
from harness.results.metrics import BY_KEY, Events
from harness.results.schema import Verdict
from tests.made import made, meet_busy

BUSY, ARMED, KICKS = (BY_KEY[key] for key in ("busy_per_attempt_percent", "armed_per_million_faults", "kicks_per_removal"))


@pytest.mark.parametrize("found, said, narrow", [
    (Events(5, 2, 7), "5 in 2 of 7 runs", "5 2/7"), (Events(0, 0, 7), "0 in 7 runs", "0"),
    (Events(5, 1, 1), "5", "5"), (Events(0, 0, 1), "0", "0"),
])
def test_what_is_fatal_is_a_total_and_in_how_many_runs(found, said, narrow):
    assert (events_text(found), events_text(found, narrow=True)) == (said, narrow)


@pytest.mark.parametrize("metric, value, of_none, said", [
    (BUSY, 0.0, 1000, "<0.3"), (BUSY, 0.0, 3, "<100"), (BUSY, 0.0, 0, "<100"), (BUSY, 0.0, None, "0"), (BUSY, 1.5, None, "1.5"),
    (BUSY, None, None, "-"), (ARMED, 0.0, 208, "<14000"), (ARMED, 0, 3_000_000, "<1"), (KICKS, 0.0, 100, "<0.03"),
])
def test_none_of_n_has_its_bound_in_the_unit_of_the_number(metric, value, of_none, said):
    assert shown(metric, value, of_none) == said


def test_over_runs_a_number_is_its_median_and_a_policy_that_killed_its_vm_five_times_is_no_zero():
    runs = [made(block=block, removals_per_s=float(block)) for block in range(7)]
    runs[2].bugs, runs[5].bugs = {"a": 4}, {"a": 1}
    assert over_runs(BY_KEY["removals_per_s"], runs) == "3"
    assert over_runs(BY_KEY["bugs_per_s"], runs) == "5 in 2 of 7 runs"
    assert over_runs(BUSY, runs) == "-"
    for result in runs:
        meet_busy(result, "tdh_mem_track", attempts=1000, busy=0)
    assert over_runs(BUSY, runs) == "<0.043"                 # 300 / 7000


def doubtful(*reasons):
    return made(verdict=Verdict(status="DEGRADED", reasons=list(reasons)))


def test_reasons_that_differ_in_numbers_only_are_one_with_least_and_greatest():
    runs = [doubtful("steal", "another load took 9.5 % of 2"), doubtful("another load took 72 % of 2"),
            doubtful("another load took 10 % of 2"), made()]
    assert reasons_of(runs) == [("DEGRADED: steal", 1), ("DEGRADED: another load took 9.5 to 72 % of 2", 3)]
    assert reasons_of([made()]) == []


def test_numbers_within_names_are_not_numbers_that_differ():
    runs = [doubtful("the record of vcpu1 is torn"), doubtful("the record of vcpu2 is torn"), doubtful("expect.x.p99_9: 5 samples"),
            doubtful("expect.x.p99: 7 samples")]
    assert [reason for reason, _ in reasons_of(runs)] == [
        "DEGRADED: the record of vcpu1 is torn", "DEGRADED: the record of vcpu2 is torn",
        "DEGRADED: expect.x.p99_9: 5 samples", "DEGRADED: expect.x.p99: 7 samples"]


def test_what_went_wrong_is_said_before_what_allowance_is_made_for():
    """A summary shows three reasons: a worker that was stopped must not be behind "and 2 more reasons"."""
    bad = made(verdict=Verdict(status="UNTRUSTWORTHY", reasons=["worker vcpu2 was stopped", "5 workers share 2", "another load", "few"]))
    said = [reason for reason, _ in reasons_of([doubtful("a steal"), bad])]
    assert said[0] == "UNTRUSTWORTHY: worker vcpu2 was stopped" and said[-1] == "DEGRADED: a steal"
    assert "UNTRUSTWORTHY: worker vcpu2 was stopped" in summary(bad)
