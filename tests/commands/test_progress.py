"""The line that says how far a long run is."""

import pytest

from harness.commands.progress import Progress


@pytest.mark.parametrize("arguments, says", [
    (("kick_vcpus", 0, 1), "kick_vcpus"),
    (("kick_vcpus", 6, 25, 1, 5), "kick_vcpus, block 2 of 5, run 7 of 25"),
    (("kick_vcpus", 1, 3), "kick_vcpus, run 2 of 3"),
])
def test_it_says_what_runs_and_which_of_how_many(arguments, says):
    assert Progress(*arguments).label == says


def test_the_time_left_counts_the_runs_behind():
    assert Progress("x", 0, 3, 0, 3, 10.0, 20.0).text(0.5, {}) == "00:25 left"
    assert Progress("x", 2, 3, 2, 3, 10.0).text(1.0, {}) == "00:00 left"


def test_the_time_left_of_a_run_in_virtual_time_is_judged_by_how_far_it_has_come():
    now = iter([0.0, 30.0, 60.0, 60.0])
    progress = Progress("x", 0, 1, clock=lambda: next(now))
    assert progress.text(0.0, {}) == "?:?? left"
    assert progress.text(0.1, {}) == "04:30 left"
    assert progress.text(0.5, {}) == "01:00 left"
    assert progress.text(1.0, {}) == "00:00 left"


def test_of_several_runs_of_unknown_length_it_speaks_of_this_one():
    now = iter([0.0, 30.0])
    assert Progress("x", 0, 3, clock=lambda: next(now)).text(0.5, {}) == "00:30 left of this run"


def test_it_shows_the_counters_that_there_are():
    assert Progress("x", 0, 1, duration_s=1.0).text(1.0, {"removals": 7, "other": 8}) == "00:00 left, removals 7"
