"""What the words in the comparison of policies are."""

import copy
import csv
import io
import json

import pytest

from harness.reports import text
from harness.reports.comparison import comparison_report, difference_text, overview
from harness.results.comparison import make_table
from harness.results.metrics import COMPARED
from harness.results.schema import Verdict
from tests.made import made, meet_busy
from tests.results.test_comparison import line_of, session, two    # noqa: F401 - `two` is a fixture


def test_a_difference_is_said_with_its_interval(two):
    assert difference_text(line_of(make_table(two), "kick_on_busy").difference).startswith("-19.9 % (")
    few = [result for result in two if result.block.number < 2]
    assert difference_text(line_of(make_table(few), "kick_on_busy").difference) == "undecided, about 2 more blocks"


def test_one_block_says_what_would_help(two):
    one = [result for result in two if result.block.number == 0]
    assert "cannot show a difference from chance" in comparison_report(make_table(one))


def test_a_table_has_every_metric_for_every_policy_and_fits(two):
    table = make_table(two)
    assert len(table.lines) == 2 * len(COMPARED)
    said = comparison_report(table)
    assert max(map(len, said.splitlines())) <= text.WIDTH, max(said.splitlines(), key=len)
    for word in ("engine processes", "module 1.5.05", "seeds 1 to 7", "7 blocks", "against kick_vcpus", "baseline"):
        assert word in said, word


def test_the_planner_says_how_many_blocks_would_show_10_percent(two):
    """Ten differences are tested together; six blocks are the fewest with a floor below 5 % / 10."""
    assert "blocks that would show a difference of 10 %: removals per s 6" in comparison_report(make_table(two))


def test_reasons_to_doubt_are_said_with_how_many_runs_they_are_of(two):
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


def test_a_policy_that_killed_its_vm_five_times_is_no_zero_with_a_tilde(two):
    """In 2 of 7 runs: its median is 0, and no test of seven blocks finds a difference to none."""
    two = copy.deepcopy(two)
    two[8].bugs, two[11].bugs = {"tdh_mem_track: TDX_OPERAND_BUSY|TD_EPOCH": 4}, {"tdh_mem_track: TDX_OPERAND_BUSY|TD_EPOCH": 1}
    two[9].invariants["mirror_race"] = 3
    for said in (comparison_report(make_table(two)), overview(two), comparison_report(make_table(two), "github")):
        lines = [" ".join(line.replace("|", " ").split()) for line in said.splitlines()]
        assert "kick_on_busy 5 in 2 of 7 runs 0 in 7 runs 0 in 7 runs 3 in 1 of 7 runs" in lines
        assert "KVM_BUG_ONs, dead guests, hangs, violations of invariants: 0 in 7 runs (kick_vcpus)" in lines
        assert not any(line.startswith("KVM_BUG_ONs, per s") for line in lines)
    bugs = [line for line in json.loads(comparison_report(make_table(two), "json")) if line["metric"] == "bugs_per_s"]
    assert [(line["total_count"], line["in_runs_count"], line["blocks_count"], line["median"], line["verdict"]) for line in bugs] == [
        (0, 0, 7, None, None), (5, 2, 7, None, None)]
    assert [group.label for group in make_table(two, sort="bugs_per_s").groups] == ["kick_vcpus", "kick_on_busy"]
    assert [group.label for group in make_table(list(reversed(two)), sort="bugs_per_s").groups] == ["kick_vcpus", "kick_on_busy"]


def test_where_nothing_fatal_happened_one_line_says_in_how_many_runs(two):
    assert "KVM_BUG_ONs, dead guests, hangs, violations of invariants: 0 in 14 runs" in comparison_report(make_table(two)).splitlines()
    assert "KVM_BUG_ONs: 0 in 14 runs" in comparison_report(make_table(two, columns="bugs_per_s,removals_per_s")).splitlines()
    assert "in 14 runs" not in comparison_report(make_table(two, columns="removals_per_s"))


def test_none_of_n_has_its_bound_in_the_overview_the_differences_and_what_is_the_same_in_every_run(two):
    two = copy.deepcopy(two)
    for result in two:
        met = result.block.number if result.policy == "kick_on_busy" else 0
        meet_busy(result, "tdh_mem_track", attempts=1000, busy=met)
        result.zero_step.private_faults, result.zero_step.armed_per_million_faults = 300, 0.0
    said = comparison_report(make_table(two))
    lines = said.splitlines()
    assert any(line.split()[:2] == ["kick_vcpus", "<0.043"] for line in lines)                   # 3 of 7000
    assert any(line.split()[:5] == ["kick_vcpus", "<0.043", "0", "..", "0.043"] for line in lines)
    assert "zero-step armed per million faults <1400" in said.replace("\n    ", " ")              # 3 of 7 * 300


@pytest.mark.parametrize("ones, twos", [([1.0], [1.0, 2.0]), ([2.0], [2.0, 2.0]), ([0.0], [0.0, 1.0]), ([1.0, 2.0], [2.0])])
def test_one_run_beside_two_is_undecided_whatever_is_tied(ones, twos):
    results = session(speeds=ones) + session("kick_on_busy", twos)
    for result, p99 in zip(results, (1000.0, None, 1000.0)):
        result.spans_ns.removal.p99 = p99
    said = comparison_report(make_table(results))
    assert "undecided, about 3 more blocks" in said or len({*ones, *twos}) == 1
