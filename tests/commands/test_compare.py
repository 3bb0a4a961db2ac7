"""The command `compare` as a user meets it."""

import csv
import io
import json

import pytest

from harness.results import store
from harness.results.metrics import COMPARED
from tests.command_line import inside
from tests.made import made


def test_compare_has_a_row_for_each_result_in_the_order_given(tmp_path):
    policies = ["retry16", "kick_vcpus", "kick_on_busy"]
    text = inside("compare", *[store.write(made(policy), tmp_path) for policy in policies]).stdout
    rows = [line.split()[0] for line in text.splitlines() if line.split() and line.split()[0] in policies]
    assert rows == policies


@pytest.mark.slow
def test_compare_in_other_formats(finished):
    """A line for each metric of each policy; the policies in the order given."""
    _, saved = finished
    rows = list(csv.DictReader(io.StringIO(inside("compare", *saved, "--format", "csv").stdout)))
    assert list(dict.fromkeys(row["policy"] for row in rows)) == [store.read(path).policy for path in saved]
    assert len(rows) == len(saved) * len(COMPARED)
    assert len(json.loads(inside("compare", *saved, "--format", "json").stdout)) == len(rows)
    github = inside("compare", *saved, "--format", "github").stdout
    overview = github.partition("\n\n")[0]
    assert sum(line.startswith("|") for line in overview.splitlines()) == 2 + len(saved)


@pytest.mark.parametrize("text, says", [
    ('{"schema": "tdx-sept-harness/result/1"', "damaged or cut off"), ("[]", "schema = None"),
    ('{"schema": "tdx-sept-harness/result/9"}', "must be 'tdx-sept-harness/result/1'"), ("", "not JSON"),
])
def test_results_that_are_damaged_foreign_or_of_the_future_are_refused(tmp_path, text, says):
    (tmp_path / "result.json").write_text(text)
    result = inside("compare", tmp_path)
    assert result.returncode == 2 and says in result.stderr and result.stderr.count("\n") == 1
