"""What a file says is shown without a control character: in tables, csv, hlog, html, ktap; none forges a line."""

import json
import re

import pytest

from harness.commands import nightly, running
from harness.errors import UNSAFE
from harness.experiment.schedule import Schedule
from harness.reports import ci, page
from harness.reports.comparison import comparison_report
from harness.reports.histograms import histograms_report
from harness.results import merging, store
from harness.results.comparison import make_table
from tests.command_line import command
from tests.fuzz.damage import CONTROL
from tests.fuzz.readers import schedules
from tests.made import made
from tests.results.test_store import document


@pytest.fixture
def result(tmp_path):
    """Read from a file that has control characters, a line break and a comma in names, keys and values."""
    given = document()
    given["name"] = given["config"]["name"] = given["policy"] = f"x{CONTROL}"
    given["verdict"] = {"status": "DEGRADED", "reasons": [CONTROL]}
    for table in (given["seamcalls"], given["histograms"]["latency_ns"], given["histograms"]["retries"]):
        table[f"tdh_a,b{CONTROL}"] = table.pop("tdh_mem_track")
    given["bugs"] = {CONTROL: 1}
    given["machine"][f"k{CONTROL}"] = CONTROL
    path = tmp_path / "result.json"
    path.write_text(json.dumps(given))
    return store.read(path)


def plain(text: str) -> bool:
    """Whether there is neither a control character nor a line of the file's own."""
    return not UNSAFE.search(re.sub(r"[\n\r]", "", text)) and not re.search(r"^\W*forged: line", text, re.MULTILINE)


@pytest.mark.parametrize("style", ["table", "github", "csv"])
def test_names_and_values_of_a_result_are_escaped_in_tables(result, style):
    said = comparison_report(make_table([result]), style) + "\n" + histograms_report([result], style)
    assert plain(said) and "\\x1b[31m" in said


def test_names_and_values_of_a_result_are_escaped_in_a_page(result):
    said = page.page(make_table([result]), [])
    assert plain(said) and "\\x1b[31m" in said


def test_names_of_a_result_forge_neither_a_field_nor_a_line_of_a_log(result, tmp_path):
    merging.write_log([result], tmp_path / "x.hlog")
    said = (tmp_path / "x.hlog").read_text()
    assert plain(said) and "Tag=latency_ns.tdh_a_b" in said
    assert all(line.startswith("#") or line.count(",") == (4 if line.startswith("Tag=") else 3) for line in said.splitlines())


def test_names_and_reasons_are_escaped_in_ktap_and_junit(result):
    case = ci.Case(result.name, ci.FAIL, list(result.verdict.reasons), notes=[CONTROL], results=[result])
    for said in (ci.ktap([case]), ci.junit([case], "2026-11-21T03:00:00Z")):
        assert plain(said) and "x1b[31m" in said


def test_the_reason_of_a_schedule_is_escaped_but_a_test_in_it_keeps_its_lines(tmp_path):
    path, given = tmp_path / "s.json", schedules()[1]
    path.write_text(json.dumps(given | {"reason": CONTROL}))
    schedule = Schedule.read(path)
    assert plain(schedule.reason) and "\\x1b[31m" in schedule.reason and "\n" in schedule.scenario.table.get("litmus", given["scenario"]["litmus"])


def test_a_path_and_a_commit_forge_no_line(tmp_path, capsys):
    odd = tmp_path / f"a{CONTROL}"
    assert running.keep(made(), odd) == 0 and capsys.readouterr().err.count("\n") == 1
    (tmp_path / "file").write_text("")
    assert running.keep(made(), tmp_path / "file" / CONTROL) == 3 and capsys.readouterr().err.count("\n") == 1
    assert command(capsys, "configs", "explore/accept", "--copy", tmp_path / f"b{CONTROL}")[1].count("\n") == 1
    assert nightly.commit_of(str(tmp_path / "no-such-\udc80")) == ""          # of which git says something that is no text
    asked = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nightly, "night", lambda request: asked.append(request.commit) or nightly.Report(0, "", []))
        assert command(capsys, "nightly", "configs/nightly", "--commit", CONTROL * 20)[0] == 0
    assert plain(asked[0]) and asked[0].isprintable() and len(asked[0]) <= 64
