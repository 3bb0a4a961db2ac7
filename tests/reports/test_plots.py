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


def test_a_panel_of_which_no_run_has_a_number_says_so_and_keeps_its_place():
    """The layout would make room at the figure's corner for a line without points."""
    panels = [("known", "linear", [("a", [(2, [1.0]), (32, [2.0])]), ("b", [(2, [])])]), ("missing", "log", [("a", [(2, []), (32, [])])])]
    made = plots.curves(panels, "vCPUs", "x", text.number)
    made.draw_without_rendering()
    known, missing, _ = made.axes
    assert missing.get_position().width == pytest.approx(known.get_position().width) and missing.get_position().width > 0.2
    assert [each.get_text() for each in missing.texts] == ["no run has it"] and not known.texts


def test_quantiles_below_1_have_an_edge_of_1_and_a_front_has_no_decade_beside_its_zero():
    made = plots.quantiles([("call", [("a", [0.0, 0.5])])], ["p50", "max"], "retries", ["a"])
    assert made.axes[0].get_ylim()[1] == 1.05
    [axis] = plots.pareto([("a", 0.9, 1), ("b", 0, 23), ("c", 200, 2)], "x", "y", ["a", "b", "c"]).axes
    assert list(axis.get_xticks()) == [0, 1, 10, 100]


def test_of_a_change_and_its_alarm_a_night_later_the_first_bad_commit_is_named():
    names = [f"c{night}" for night in range(40)]
    [axis] = plots.nights([plots.Nights("x", [1.0] * 20 + [2.0] * 20, names, [20], [21], 0.1)]).axes
    assert [label.get_text() for label in axis.get_xticklabels()] == ["c0", "c20", "c39"]


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
