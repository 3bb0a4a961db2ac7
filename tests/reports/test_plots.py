"""Plots: what stands on their axes, and that they are the same each time."""

import re

import pytest

from harness.reports import plots, text


@pytest.mark.parametrize("steps", [(2, 8, 512), ("none", "hot")], ids=["numbers", "words"])
def test_a_plot_is_over_numbers_or_words_and_shows_a_zero_on_a_scale_of_decades(steps, tmp_path):
    low = [("a line", [(step, [0, 0.03]) for step in steps]), ("nothing", [(steps[0], [])])]
    high = [("a line", [(step, [5, 70]) for step in steps])]
    panels = [("linear", "linear", low), ("symlog", "symlog", low), ("log", "log", high)]
    plots.write(plots.curves(panels, "steps", "a title", text.number), tmp_path / "plot.svg")
    texts = re.findall(r">([^<>\n]+)</text>", (tmp_path / "plot.svg").read_text())
    assert {*map(str, steps), "steps", "a title", "a line", "0", "0.01", "10"} <= set(texts)


def test_the_same_results_make_the_same_picture_to_the_last_byte(tmp_path):
    for name in ("one.svg", "other.svg"):
        plots.write(plots.curves([("x", "log", [("a", [(1, [2.0])])])], "x", "x"), tmp_path / name)
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "other.svg").read_bytes()
