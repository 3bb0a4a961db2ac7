"""`compare OLD --against NEW`: a policy before and after a change."""

import csv
import io
import json

import pytest

from tests.command_line import command

WORDS = ("--set", "engine=simulate", "--set", "duration_s=0.0008", "--set", "warmup_s=0.0002", "--repeats", "6", "-q")
POLICIES = ("configs/kick_on_busy.toml", "configs/kick_vcpus.toml")


@pytest.fixture(scope="module")
def sides(tmp_path_factory):
    """Folders of results: of 1.5.05, of 1.5.34, and of another workload."""
    from harness.__main__ import main
    folders = []
    for words in ((), ("--set", "module=1.5.34"), ("--set", "workload.pages=8")):
        folder = tmp_path_factory.mktemp("side")
        assert main(["run", *POLICIES, *WORDS, *words, "--out", str(folder)]) in (0, 1, 3)
        folders.append(sorted(folder.iterdir()))
    return folders


def of(side, policy):
    return [path for path in side if path.name.startswith(policy)]


def test_each_policy_is_laid_beside_itself(capsys, sides):
    old, new, _ = sides
    code, out, _ = command(capsys, "compare", *old, "--against", *new)
    assert code == 0 and out.startswith("6 blocks before, 6 after; they differ in module: 1.5.05, 1.5.34\n")
    assert "removals per s\n  kick_on_busy" in out and "  kick_vcpus" in out and "the same before and after" in out
    assert max(map(len, out.splitlines())) <= 100


def test_a_side_against_itself_has_no_difference(capsys, sides):
    old, _, _ = sides
    code, out, _ = command(capsys, "compare", *of(old, "kick_on"), "--against", *of(old, "kick_on"), "--format", "json")
    assert code == 0
    for row in json.loads(out):
        assert row["before_median"] == row["after_median"] and row["verdict"] in (None, "~", "equal", "=", "nothing") or \
            row["difference_percent"] in (None, 0.0), row


def test_a_difference_is_that_of_the_medians(capsys, sides):
    old, new, _ = sides
    code, out, _ = command(capsys, "compare", *of(old, "kick_vcpus"), "--against", *of(new, "kick_vcpus"),
                           "--columns", "removals_per_s", "--format", "csv")
    [row] = csv.DictReader(io.StringIO(out))
    before, after, percent = (float(row[key]) for key in ("before_median", "after_median", "difference_percent"))
    assert percent == pytest.approx(100 * (after / before - 1)) and row["verdict"] == "different"
    assert row["before_blocks_count"] == row["after_blocks_count"] == "6"


def test_one_policy_may_be_compared_with_another(capsys, sides):
    old, new, _ = sides
    code, out, _ = command(capsys, "compare", *of(old, "kick_on"), "--against", *of(old, "kick_vcpus"))
    assert code == 0 and "policy: kick_on_busy, kick_vcpus" in out


@pytest.mark.parametrize("arguments, said", [
    (lambda old, new, other: [*old, "--against", *other], "old and new differ in workload: workload.pages None, 8"),
    (lambda old, new, other: [*old, "--against", *new, "--sort", "bugs_per_s"], "--sort: not with --against"),
    (lambda old, new, other: [*old, "--against", *new, "--columns", "bugs_per"], "--columns bugs_per: did you mean bugs_per_s? must be of"),
    (lambda old, new, other: [*old, "--against", "nowhere"], "nowhere"),
])
def test_what_cannot_be_compared_is_one_line(capsys, sides, arguments, said):
    code, out, err = command(capsys, "compare", *arguments(*sides))
    assert code == 2 and not out and said in err and err.count("\n") == 1


def test_another_workload_is_compared_if_that_is_asked_for(capsys, sides):
    old, _, other = sides
    code, out, _ = command(capsys, "compare", *old, "--against", *other, "--across", "workload")
    assert code == 0 and "they differ in workload: workload.pages None, 8" in out
