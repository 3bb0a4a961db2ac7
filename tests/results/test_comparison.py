"""What is put side by side, what is refused, and what is computed of it."""

import pytest

from harness.errors import ResultError, UsageError
from harness.reports.comparison import mean_lines
from harness.results import comparison, inference
from harness.results.schema import Verdict
from tests.made import made

FAST, SLOW = [1000.0 + n for n in range(7)], [800.0 + n for n in range(7)]


def session(policy="kick_vcpus", speeds=FAST, **keys):
    return [made(policy, block=block, removals_per_s=speed, **keys) for block, speed in enumerate(speeds)]


@pytest.fixture(scope="module")
def two():
    return session() + session("kick_on_busy", SLOW)


def line_of(table, policy, key="removals_per_s"):
    [line] = [line for line in table.lines if line.group.label == policy and line.metric.key == key]
    return line


def test_medians_and_differences_are_over_blocks(two):
    line = line_of(comparison.make_table(two), "kick_on_busy")
    assert line.middle.median == 803 and line.middle.count == 7
    assert line.difference.percent == pytest.approx(100 * (803 / 1003 - 1))
    assert line.difference.low <= line.difference.percent <= line.difference.high < 0


def test_two_blocks_are_undecided_with_how_many_more_are_wanted(two):
    few = [result for result in two if result.block.number < 2]
    difference = line_of(comparison.make_table(few), "kick_on_busy").difference
    assert (difference.verdict, difference.more) == (inference.UNDECIDED, 2)


def test_what_overlaps_is_a_tilde():
    table = comparison.make_table(session() + session("kick_on_busy", [speed + 0.5 for speed in reversed(FAST)]))
    assert line_of(table, "kick_on_busy").difference.verdict == inference.UNKNOWN


def test_rows_columns_sort_and_baseline_choose(two):
    table = comparison.make_table(two, baseline="kick_on_busy", columns="removals_per_s,bugs_per_s",
                               sort="removals_per_s")
    assert [group.label for group in table.groups] == ["kick_on_busy", "kick_vcpus"]
    assert {line.metric.key for line in table.lines} == {"removals_per_s", "bugs_per_s"}
    assert line_of(table, "kick_on_busy").difference is None
    three = two + session("retry16")
    table = comparison.make_table(three, rows="retry*")
    assert [group.label for group in table.groups] == ["kick_vcpus", "retry16"]      # the baseline stays


@pytest.mark.parametrize("keys, says", [
    ({"baseline": "kick_vcpu"}, "--baseline kick_vcpu: did you mean kick_vcpus? must be one of kick_vcpus, kick_on_busy"),
    ({"columns": "removal_per_s"}, "did you mean removals_per_s?"),
    ({"sort": "removals"}, "did you mean removals_per_s?"),
    ({"rows": "retry*"}, "--rows retry*: matches none of kick_vcpus, kick_on_busy"),
])
def test_a_mistake_is_named_with_the_nearest(two, keys, says):
    with pytest.raises(UsageError) as caught:
        comparison.make_table(two, **keys)
    assert says in str(caught.value)


@pytest.mark.parametrize("key, change", [
    ("module", {"module": "1.5.20"}), ("engine", {"engine": "simulate"}), ("primitive", {"primitive": "bts"}),
])
def test_results_that_differ_in_more_than_the_policy_are_refused_unless_asked_for(key, change):
    results = session() + session("kick_on_busy", SLOW, session="s2", **change)
    with pytest.raises(UsageError, match=f"results differ in {key}: .*--across {key}"):
        comparison.make_table(results)
    [note] = comparison.make_table(results, across=(key,)).notes
    assert note.startswith(f"differ in {key}: ")


def test_another_workload_or_machine_is_refused_by_the_keys_that_differ():
    other = session("kick_on_busy", SLOW, session="s2")
    for result in other:
        result.config["workload"]["hot_pages"] = 4
    with pytest.raises(UsageError, match="differ in workload: workload.hot_pages 16, 4; `--across workload`"):
        comparison.make_table(session() + other)
    other = session("kick_on_busy", SLOW, session="s2")
    for result in other:
        result.machine["processor"] = "Another"
    with pytest.raises(UsageError, match="differ in machine: processor .*Another"):
        comparison.make_table(session() + other)


def test_what_was_interleaved_in_one_session_is_compared_and_marked():
    """`run A B` is a wish to compare them: a hold that is 10 % longer is another workload."""
    other = session("kick_vcpus", SLOW, name="longer")
    for result in other:
        result.config["costs_ns"]["invalidate"] = 2200
    table = comparison.make_table(session(name="shorter") + other)
    assert [group.label for group in table.groups] == ["shorter", "longer"]
    assert any("differ in workload: costs_ns.invalidate" in note for note in table.notes)


def test_another_kernel_or_package_is_the_same_machine(two):
    for result in (changed := session("kick_on_busy", SLOW, session="s2")):
        result.machine = result.machine | {"kernel": "6.99", "numpy": "9.9.9", "memory_mib": 1}
    assert len(comparison.make_table(session() + changed).groups) == 2


def test_interrupted_and_untrustworthy_runs_are_left_out_and_named(two):
    bad = [made(block=8, interrupted=True, removals_per_s=1.0),
           made(block=9, verdict=Verdict(status="UNTRUSTWORTHY", reasons=["lost"]), removals_per_s=2.0)]
    table = comparison.make_table(two + bad)
    assert line_of(table, "kick_vcpus").middle == line_of(comparison.make_table(two), "kick_vcpus").middle
    assert [note.rpartition(": ")[2] for note in table.notes] == ["interrupted", "UNTRUSTWORTHY"]
    with pytest.raises(ResultError, match="nothing to compare"):
        comparison.make_table(bad)


def test_over_several_workloads_the_geometric_mean_is_that_of_the_ratios():
    """Ratios 2 and 8 make 4, that is +300 %."""
    results = []
    for pages, base, other in ((16, 100.0, 200.0), (4, 50.0, 400.0)):
        for policy, speed in (("kick_vcpus", base), ("kick_on_busy", other)):
            for result in session(policy, [speed + n / 1000 for n in range(7)], name=f"{policy}-{pages}"):
                result.config["workload"]["hot_pages"] = pages
                results.append(result)
    table = comparison.make_table(results)
    [(policy, mean, count)] = [mean[1:] for mean in table.means if mean[0].key == "removals_per_s"]
    assert (policy, count) == ("kick_on_busy", 2) and mean == pytest.approx(4, rel=1e-3)
    assert "geometric mean over 2 workloads, removals per s: kick_on_busy +300.0 %" in "\n".join(mean_lines(table))


def test_results_of_one_policy_are_named_by_what_differs_and_by_a_digest_where_that_does_not_tell_them_apart():
    results = [made("retry16", "w"), made("retry16", "w", engine="simulate"), made("retry16", "w", engine="simulate")]
    results[2].config["td"]["vcpus"] = 64
    vcpus = results[0].config["td"]["vcpus"]
    groups, _ = comparison.select(results, ("engine", "workload"))
    assert [group.label for group in groups] == [
        f"retry16/processes,vcpus={vcpus}", f"retry16/simulate,vcpus={vcpus}", "retry16/simulate,vcpus=64"]
    results[1].config["policy"] = {"name": "retry16", "block": ["retry 3"]}                  # another policy of that name
    groups, _ = comparison.select([results[1], made("retry16", "w", engine="simulate")])
    assert all(group.label.startswith("w/retry16/") for group in groups) and groups[0].label != groups[1].label
