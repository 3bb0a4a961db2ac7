"""The line that says how far a long run is."""

import os
import sys
from types import SimpleNamespace

import pytest

from harness.commands import jobs
from harness.commands.progress import Progress, Sign, interval, say_compiling


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


def test_in_a_log_long_runs_and_many_short_ones_give_a_sign_of_life_every_half_minute(capsys, monkeypatch):
    clock = Time()
    monkeypatch.setattr(Progress, "said", None)
    for number in range(5):
        with Progress("x", number, 5, duration_s=18.0, clock=clock) as progress:
            for step in range(10):
                clock.now += 2
                progress(step / 10, {"removals": clock.now})
    assert capsys.readouterr().err.splitlines() == [
        "x, run 2 of 5: 40 %, 00:10 left, removals 30", "x, run 3 of 5: 90 %, 00:01 left, removals 60",
        "x, run 5 of 5: 40 %, 00:10 left, removals 90"]


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


class Time:
    """A clock that stands until it is set."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def test_a_search_in_a_log_gives_a_sign_of_life_every_half_minute(capsys):
    clock = Time()
    sign = Sign(clock)
    with sign.about("2 of 9, 1.5.20: a"):
        for clock.now in range(0, 100, 5):
            sign(10 * clock.now, 2000, of="states")
    assert capsys.readouterr().err.splitlines() == [
        f"2 of 9, 1.5.20: a: {states} of 2000 states" for states in (300, 600, 900)]


def test_on_a_terminal_the_line_is_written_over_and_is_gone_in_the_end(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    clock = Time()
    sign = Sign(clock)
    with sign.about("a"):
        sign(1, 2, of="states")          # too soon
        clock.now = 1.0
        sign(2, 4, of="states")
    assert capsys.readouterr().err == "\ra\x1b[K\ra: 2 of 4 states\x1b[K\r\x1b[K"


def test_a_bar_is_drawn_on_a_terminal_in_its_width_and_is_gone_in_the_end(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setattr(sys.stderr, "fileno", lambda: 2)
    monkeypatch.setattr(os, "get_terminal_size", lambda _: os.terminal_size((50, 24)))
    clock = Time()
    with Progress("kick_vcpus", 0, 1, duration_s=5.0, clock=clock) as progress:
        progress(0.43, {"removals": 5120})
    first, second, end = capsys.readouterr().err.split("\r")[1:]
    assert first == "kick_vcpus   0% |            | 00:05 left\x1b[K"
    assert second == "kick_vcpus  43% |#####       | 00:02 left, remova\x1b[K" and end == "\x1b[K"


def test_hours_are_said_where_there_are_some():
    assert [interval(seconds) for seconds in (0, 72.9, 3723)] == ["00:00", "01:12", "1:02:03"]


def test_of_several_searches_that_take_long_the_time_that_is_left_is_said():
    now = iter([0.0, 20.0, 20.0, 20.0])
    sign = Sign(lambda: next(now))
    assert [sign.estimated("a", done, of) for done, of in ((0, 9), (2, 9), (8, 9))] == ["a", "a, about 01:10 left", "a"]


def test_of_tasks_of_which_several_are_at_work_it_is_said_too(capsys, monkeypatch):
    """As explore --policies --jobs 2 has them."""
    clock = Time()

    def of_pool(number_of_jobs, function, tasks, look):
        for place in tasks:
            for _ in range(4):
                clock.now += 5
                assert not look()
            yield place, function(*tasks[place])
    monkeypatch.setattr(jobs, "_of_pool", of_pool)
    monkeypatch.setattr(jobs, "Sign", lambda: Sign(clock))
    assert dict(jobs.results(jobs.Where(2), abs, [(-1,), (-2,), (-3,), (-4,)])) == {0: 1, 1: 2, 2: 3, 3: 4}
    assert capsys.readouterr().err.splitlines() == ["4 tasks, about 01:30 left: 1 of 4 tasks", "4 tasks, about 01:00 left: 2 of 4 tasks"]


@pytest.mark.parametrize("kept, signatures, said", [("", (), True), ("search.search-5.nbi", (), False), ("search.searches-5.nbi", (), True),
                                                    ("", ("known",), False)])
def test_that_compiled_code_has_to_be_made_is_said_where_it_is_not_there(tmp_path, capsys, kept, signatures, said):
    """It takes as long as many a search, and nothing else is printed meanwhile."""
    def search():
        pass
    search.__module__ = "kernels.search"
    if kept:
        (tmp_path / kept).touch()
    say_compiling(SimpleNamespace(py_func=search, made=SimpleNamespace(signatures=signatures, _cache=SimpleNamespace(cache_path=str(tmp_path)))), "it")
    assert capsys.readouterr().err == "compiling it, once for this version of the program: about half a minute\n" * said
