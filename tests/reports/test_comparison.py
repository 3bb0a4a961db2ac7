"""What the words in the comparison of policies are."""

import csv
import io
import json

import pytest

from harness.reports import text
from harness.reports.comparison import comparison_report, difference_text, value_text
from harness.results import inference
from harness.results.comparison import make_table
from harness.results.metrics import COMPARED
from harness.results.schema import Verdict
from tests.made import made, meet_busy
from tests.results.test_comparison import line_of, session, two


def test_a_difference_is_said_with_its_interval(two):
    assert difference_text(line_of(make_table(two), "kick_on_busy").difference).startswith("-19.9 % (")
    few = [result for result in two if result.block.number < 2]
    assert difference_text(line_of(make_table(few), "kick_on_busy").difference) == "undecided, about 2 more blocks"


def test_one_block_says_what_would_help(two):
    one = [result for result in two if result.block.number == 0]
    assert "no difference can be told from chance" in comparison_report(make_table(one))


def test_a_table_has_every_metric_for_every_policy_and_fits(two):
    table = make_table(two)
    assert len(table.lines) == 2 * len(COMPARED)
    said = comparison_report(table)
    assert max(map(len, said.splitlines())) <= text.WIDTH, max(said.splitlines(), key=len)
    for word in ("engine processes", "module 1.5.05", "seeds 1 to 7", "7 blocks", "against kick_vcpus", "baseline"):
        assert word in said, word


def test_the_planner_says_how_many_blocks_would_show_10_percent(two):
    """Eleven differences are tested together; six blocks are the fewest whose floor is below 5 % / 11."""
    assert "blocks that would show a difference of 10 %: removals per s 6" in comparison_report(make_table(two))


def test_reasons_to_doubt_are_told_with_how_many_runs_they_are_of(two):
    doubtful = made(block=7, verdict=Verdict(status="DEGRADED", reasons=["steal"]))
    assert "DEGRADED: steal (1 of 15 runs)" in comparison_report(make_table([*two, doubtful]))


def test_every_format_says_the_same(two):
    table = make_table(two, columns="removals_per_s,retries_max")
    rows = list(csv.DictReader(io.StringIO(comparison_report(table, "csv"))))
    documents = json.loads(comparison_report(table, "json"))
    assert len(rows) == len(documents) == 4
    for row, document, line in zip(rows, documents, table.lines):
        assert row["policy"] == document["policy"] == line.group.policy
        assert float(row["median"]) == document["median"] == line.middle.median
        assert row["verdict"] == document["verdict"]
    assert documents[1]["difference_percent"] == pytest.approx(100 * (803 / 1003 - 1))
    github = comparison_report(table, "github")
    assert "| removals per s" in github and "|---" in github.replace(":", "-")
