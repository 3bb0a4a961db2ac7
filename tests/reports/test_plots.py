"""The plots: axes, fronts, and the same picture for the same results."""

import re

import pytest

from harness.reports import plots, text


def test_a_pareto_front_holds_what_no_other_dominates():
    points = [("a", 1, 9), ("b", 5, 5), ("c", 9, 1), ("d", 6, 6), ("e", 1, 9)]
    assert plots.pareto_front(points) == {"a", "b", "c", "e"}


@pytest.mark.parametrize("steps", [(2, 8, 512), ("none", "hot")], ids=["numbers", "words"])
def test_a_plot_is_over_numbers_or_words_and_shows_a_zero_on_a_scale_of_decades(steps, tmp_path):
    low = [("a line", [(step, [0, 0.03]) for step in steps]), ("nothing", [(steps[0], [])])]
    high = [("a line", [(step, [5, 70]) for step in steps])]
    panels = [("linear", "linear", low), ("symlog", "symlog", low), ("log", "log", high)]
    plots.write(plots.curves(panels, "steps", "a title", text.number), tmp_path / "plot.svg")
    texts = re.findall(r">([^<>\n]+)</text>", (tmp_path / "plot.svg").read_text())
    assert {*map(str, steps), "steps", "a title", "a line", "0", "0.01", "10"} <= set(texts)


def test_lines_that_coincide_have_markers_around_each_other():
    made = plots.curves([("x", "linear", [(name, [(1, [0.0]), (2, [0.0])]) for name in "abc"])], "x", "x")
    sizes = [line.get_markersize() for line in made.axes[0].lines]
    assert sizes == sorted(set(sizes), reverse=True) and len(sizes) == 3
    assert all(line.get_fillstyle() == "none" and not line.get_clip_on() for line in made.axes[0].lines)


def test_the_same_results_make_the_same_picture_to_the_last_byte(tmp_path):
    for name in ("one.svg", "other.svg"):
        plots.write(plots.curves([("x", "log", [("a", [(1, [2.0])])])], "x", "x"), tmp_path / name)
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "other.svg").read_bytes()


def test_no_line_goes_across_a_missing_percentile():
    made = plots.quantiles([("call", [("a", [1.0, 2.0, None, 9.0])])], ["p50", "p90", "p99", "max"], "us", ["a"])
    [drawn] = made.axes[0].get_lines()
    assert [str(y) for y in drawn.get_ydata()] == ["1.0", "2.0", "nan", "9.0"]
