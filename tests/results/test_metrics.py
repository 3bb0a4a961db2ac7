"""The one table of numbers: every row can be read, and what a number comes to over several runs."""

import pytest

from harness.reports import comparison, run, sweep, validation
from harness.results.metrics import (
    BY_KEY, COMPARED, FATAL, METRICS, WATCHED, Events, chosen, events, impossible, none_of, values,
)
from tests.made import made, meet_busy

BUSY = BY_KEY["busy_per_attempt_percent"]


def runs(*busy, attempts=1000):
    """Runs that met BUSY so often in 1000 attempts each."""
    made_ = [made(block=block) for block in range(len(busy))]
    for result, times in zip(made_, busy):
        meet_busy(result, "tdh_mem_track", attempts, times)
    return made_


@pytest.mark.parametrize("key, value", [
    ("busy_per_attempt_percent", 4), ("busy_net_percent", 4), ("busy_per_operation_percent", 100 * 40 / 960),
    ("busy_net_per_operation_percent", 100 * 40 / 960), ("busy_per_1000_operations", 1000 * 40 / 960),
    ("busy_percent.tdh_mem_track", 4), ("busy_percent.tdh_vp_enter", None), ("retries_max", 1),
    ("bugs_per_s", 3 / 2), ("hangs_per_s", 2 / 2), ("invariants_violated", 2),
    ("armed_per_million_faults", 250), ("synthetic_exits_per_s", 7 / 2), ("kicks_per_removal", 30 / 60),
    ("guest_time_lost_percent", 2.5), ("removal_p50_us", 0.5), ("removal_p99_us", 0.5), ("removals_per_s", 30),
    ("busy_per_waited_ms", 0.06), ("stall_max_ms", 8), ("kick_wait_p50_us", None),
])
def test_a_number_is_what_its_name_says(key, value):
    [result] = runs(40)
    result.measured_s, result.busy.per_time = 2.0, 60.0
    result.bugs, result.hangs.count = {"a": 2, "b": 1}, 2
    result.invariants |= {"mirror_race": 5, "quiet_locks": 1, "quiet_tree": None}
    result.zero_step.private_faults, result.zero_step.armed_per_million_faults, result.zero_step.synthetic_exits = 8000, 250.0, 7
    result.kicks.broadcasts, result.counters["removals"], result.kicks.guest_time_lost_share = 30, 60, 0.025
    result.throughput.removals_per_s = 30.0
    result.spans_ns.removal.p50 = result.spans_ns.removal.p99 = 500.0
    result.spans_ns.touch_stalled.max = 8e6
    assert BY_KEY[key].get(result) == (value if value is None else pytest.approx(value))


def test_a_share_of_none_has_its_bound_in_its_own_unit():
    assert {metric.key: metric.times for metric in METRICS if metric.of} == {
        "busy_per_attempt_percent": 100, "busy_net_percent": 100, "busy_per_operation_percent": 100,
        "busy_net_per_operation_percent": 100, "busy_per_1000_operations": 1000, "armed_per_million_faults": 1e6,
        "kicks_per_removal": 1, **{key: 100 for key in BY_KEY if key.startswith("busy_percent.")}}
    assert BY_KEY["stall_max_ms"].get(made()) == 0


def test_a_name_is_parted_from_its_unit():
    assert BUSY.title == "BUSY per attempt" and BUSY.said("5") == "BUSY per attempt 5 %"
    assert BY_KEY["removals_per_s"].said("5 -> 6") == "removals per s 5 -> 6"


def test_a_net_number_leaves_out_attempts_that_met_a_preempted_holder():
    [result] = runs(40)
    result.busy.by_cause.preempted, result.busy.by_cause.running = 10, 30
    assert BY_KEY["busy_net_percent"].of(result) == 990
    result.busy.by_cause = None
    assert BY_KEY["busy_net_percent"].of(result) is None


def test_everything_that_is_shown_is_chosen_from_the_table():
    shown = [*comparison.OVERVIEW, *COMPARED, *WATCHED, *sweep.SHOWN, *sweep.OF_PAIRS, *validation.COMPARED,
             *(BY_KEY[key] for fact in (*run.LEFT, *run.RIGHT) for key in fact.keys)]
    assert set(shown) <= set(METRICS) and set(comparison.OVERVIEW) <= set(COMPARED) and set(WATCHED) <= set(COMPARED)
    assert all(metric.heading for metric in (*comparison.OVERVIEW, *sweep.SHOWN, *sweep.OF_PAIRS))
    assert chosen("removals_per_s", "bugs_per_s") == (BY_KEY["removals_per_s"], BY_KEY["bugs_per_s"])


def test_what_is_fatal_is_counted_over_runs():
    five = runs(0, 0, 0)
    five[0].bugs, five[2].bugs = {"a": 2, "b": 2}, {"a": 1}
    five[1].invariants |= {"mirror_race": 7, "quiet_tree": None}
    assert events(BY_KEY["bugs_per_s"], five) == Events(5, 2, 3)
    assert events(BY_KEY["invariants_violated"], five) == Events(7, 1, 3)
    assert events(BY_KEY["hangs_per_s"], five) == Events(0, 0, 3)
    assert {metric.key for metric in FATAL} == {"bugs_per_s", "guest_deaths_per_s", "hangs_per_s", "invariants_violated"}


@pytest.mark.parametrize("busy, of_none", [
    ([0], 1000), ([0, 0, 0], 3000),              # none in any run: of all attempts
    ([0, 0, 9], 2000), ([0, 9, 0, 9, 0], 3000),  # in the median run: of those that saw none
    ([0, 9, 9], None), ([9], None), ([0, 9], None),
])
def test_of_how_many_none_was_seen(busy, of_none):
    assert none_of(BUSY, runs(*busy)) == of_none


def test_only_a_share_is_of_something():
    assert none_of(BY_KEY["removals_per_s"], runs(0)) is None
    assert none_of(BUSY, [made()]) is None       # no attempts, no rate
    assert values(BUSY, [made(), *runs(40)]) == [4]


@pytest.mark.parametrize("key, value, must", [
    ("removals_per_s", -1, "must be at least 0"), ("removals_per_s", 0, ""), ("removals_per_s", 0.5, ""), ("removals_per_s", 1e9, ""), ("busy_net_percent", 100, ""),
    ("busy_net_percent", 100.5, "must be at most 100"), ("kicks_per_removal", 500, ""), ("guest_time_lost_percent", 101, ""),
])
def test_what_cannot_be_is_said(key, value, must):
    assert impossible(BY_KEY[key], value) == must
