"""The report page: complete, self-contained, and safe against what results say."""

import html.parser
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from harness.engines import RUN_A_PLAN
from harness.results import store, history
from harness.results.comparison import make_table
from harness.results.schema import Assumption, Simulation, Summary, Verdict
from harness.reports import page, plots
from harness.__main__ import main
from tests.made import made, meet_busy
from tests.results.test_history import key, night

ROOT = Path(__file__).parent.parent.parent
NASTY = '<script>alert("x")</script> & $\\frac{1}{0}$ \'"'


def busy_session(policy, speed, name=None, **keys):
    results = []
    for block in range(4):
        result = made(policy, name=name, block=block, removals_per_s=speed + block, lost_share=0.01 * (block + 1),
                      armed=100.0 * block, **keys)
        meet_busy(result, "tdh_mem_track", attempts=1000, busy=10)
        call = result.seamcalls["tdh_mem_track"]
        call.latency_ns = Summary(count=990, p50=300.0, p90=400.0, p99=900.0, p99_9=2000.0, p99_99=None, max=9000.0)
        call.retries = Summary(count=990, p50=0, p90=0, p99=1, p99_9=1, p99_99=None, max=3)
        results.append(result)
    return results


def history_folder(tmp_path) -> Path:
    series = history.open_series(tmp_path / "history", key())
    random = np.random.default_rng(1)
    for index in range(40):
        history.append(series, night(key(), index, (100 + 20 * (index >= 20)) * (1 + 0.02 * random.standard_normal(5))))
    return tmp_path / "history"


class Reader(html.parser.HTMLParser):
    """Tags that stay open, ids, references, text."""

    VOID = {"meta", "br", "hr", "img", "link", "input"}

    def __init__(self, text):
        super().__init__()
        self.open, self.ids, self.tags, self.references, self.words = [], [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        attributes = dict(attributes)
        if "id" in attributes:
            self.ids.append(attributes["id"])
        self.references += [value for name, value in attributes.items()
                            if name in ("href", "xlink:href", "src", "srcset", "action", "data")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A page over two policies with hostile names, with a history and plots as files."""
    folder = tmp_path_factory.mktemp("page")
    results = busy_session("kick_vcpus", 100.0, bugs={NASTY: 3}) + busy_session("kick_on_busy", 200.0)
    results[0].verdict = Verdict(status="DEGRADED", reasons=[NASTY])
    for result in results[:4]:
        result.policy = NASTY
    for result in results:
        result.machine["processor"] = NASTY
    remarks = page.write(results, str(folder / "report.html"), str(folder / "plots"), str(history_folder(folder)))
    return folder, (folder / "report.html").read_text(), remarks


def test_the_page_is_whole_and_needs_nothing_else(written):
    _, text, _ = written
    reader = Reader(text)
    assert not reader.open and not {"script", "link", "img", "iframe", "object"} & set(reader.tags)
    assert all(reference.startswith("#") for reference in reader.references)
    assert not re.search(r"url\((?!#)|@import", text)
    assert len(reader.ids) == len(set(reader.ids))
    assert {reference.removeprefix("#") for reference in reader.references} <= set(reader.ids)


def test_everything_that_results_say_is_escaped_and_shown(written):
    _, text, _ = written
    assert "<script" not in text
    assert "".join(Reader(text).words).count(NASTY) >= 5     # verdict, table, reason, bug, plots


def test_the_sections_stand_in_the_order_a_person_reads(written):
    _, text, _ = written
    titles = re.findall(r"<h2[^>]*>(.*?)</h2>", text)
    assert titles == ["Verdicts", "Comparison", "BUSY by call and operand", "Latency of an operation",
                      "Retries of an operation", "Zero-step mitigation armed", "Kick cost against retries saved",
                      "History", "What made these numbers"]


def test_the_plots_follow_the_colours_of_the_page(written):
    _, text, _ = written
    assert "prefers-color-scheme: dark" in text
    drawn = "".join(re.findall(r"<svg.*?</svg>", text, re.DOTALL))
    assert "var(--ink)" in drawn and "var(--s0)" in drawn
    for color in plots.VARIABLES:
        assert color not in drawn, color
    assert set(re.findall(r"#[0-9a-f]{6}\b", drawn)) <= {"#ffffff", "#000000"}


def test_the_plots_are_files_too(written):
    folder, _, remarks = written
    names = {path.name for path in (folder / "plots").iterdir()}
    assert names == {f"{name}.{kind}" for name in ("busy", "latency", "retries", "zero-step", "pareto", "history")
                     for kind in ("svg", "png")}
    assert len(remarks) == 1 + len(names)
    assert (folder / "plots" / "pareto.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.slow
def test_the_same_results_make_the_same_page(written, tmp_path):
    results = busy_session("kick_vcpus", 100.0)
    table = make_table(results)
    assert page.page(table, page.make_plots(table, [])) == page.page(table, page.make_plots(table, []))


@pytest.fixture
def no_plots(monkeypatch):
    """A page without its plots, which take most of the time."""
    monkeypatch.setattr(page, "make_plots", lambda table, series: [])


def test_what_is_fatal_stands_with_each_policy_as_a_total_and_in_how_many_runs(tmp_path, no_plots):
    results = busy_session("kick_vcpus", 100.0)
    results[1].bugs, results[1].hangs.count = {"a: b": 4, "c: d": 1}, 2
    results[2].invariants["mirror_race"], results[3].invariants["mirror_race"] = 3, 5
    page.write(results, str(tmp_path / "report.html"))
    words = " ".join("".join(Reader((tmp_path / "report.html").read_text()).words).split())
    for said in ("KVM_BUG_ONs: 5 in 1 of 4 runs", "hangs: 2 in 1 of 4 runs", "violations of invariants: 8 in 2 of 4 runs",
                 "mirror_race VIOLATED 8 times in 2 of 4 runs", "4 \u00d7 a: b"):
        assert said in words, said


def test_what_a_machine_did_to_all_runs_is_said_once_and_what_killed_a_vm_first():
    results = busy_session("kick_vcpus", 100.0) + busy_session("retry16", 100.0, bugs={"tdh_mem_track: BUSY": 2})
    for number, result in enumerate(results):
        result.verdict = Verdict(status="DEGRADED", reasons=[f"another load took {70 + number} % of it", *["late"] * (number == 0)])
    table = make_table(results)
    calm, killed = page.verdict_rows(table)
    assert list(page.common_reasons(table).values()) == ["DEGRADED: another load took 70 to 77 % of it"]
    assert calm["reasons"] == ["late"] and not killed["reasons"] and not calm["fatal"] and calm["none"].startswith("KVM_BUG_ONs, ")
    text = page.page(table, [])
    assert text.count("another load took") == 1 and text.index("KVM_BUG_ONs: 8 in 4 of 4 runs") < text.index("none: dead guests")
    results[1].verdict = Verdict(status="DEGRADED", reasons=["steal time 2 %"])       # of some runs of both: once, too, with how many
    results[6].verdict = Verdict(status="DEGRADED", reasons=["steal time 3 %"])
    assert list(page.common_reasons(make_table(results)).values()) == ["DEGRADED: another load took 70 to 77 % of it (6 of 8 runs)",
                                                                      "DEGRADED: steal time 2 to 3 % (2 of 8 runs)"]
    assert not page.common_reasons(make_table(results[:4]))          # of one policy all stands with it


def test_a_caption_says_what_is_a_models_and_costs_stand_below_the_comparison():
    real, virtual = busy_session("kick_vcpus", 100.0), busy_session("kick_on_busy", 100.0)
    for result in virtual:
        result.engine = "simulate"
        result.simulation = Simulation(micro_ops=1, turns=1, wakes=1, ended_at_s=1.0, assumptions=[
            Assumption(key="machine.ipi_ns", value=1000.0, unit="ns", provenance="an assumption")])
    said = page.page(make_table([*real, *virtual], across=("engine",)), [])
    assert page.MODEL["simulate"] in said and "no absolute time is a TDX host" in said
    assert said.index("every number comes from a model") < said.index("Comparison") < said.index("assumptions (ns): ipi_ns 1000")
    assert "from a model" not in page.page(make_table(real), []) and {*page.MODEL} == {*RUN_A_PLAN}


def test_on_a_telephone_panels_stand_below_each_other_and_a_row_is_a_list(written):
    _, text, _ = written
    names = [re.findall(f'<div class="wide plot {place}"><svg role="img" aria-label="(.*?)"', text) for place in ("broad", "narrow")]
    assert names[0] == names[1] and len(names[0]) == 6
    assert '<td data-heading="removals per s">' in text and text.count("<td data-heading") % 2 == 0


def test_nights_have_dates_commits_and_a_band(tmp_path):
    series = history.folder_series(history_folder(tmp_path))
    panel = page.night_plots(series)[0].draw.args[0][0]
    night, _ = series[0].known(page.HISTORY_METRICS[0])[0]
    assert panel.names[0] == f"{night.night[:10]}\n{night.commit[:9]}" and panel.points and panel.noise > 0
    [axis, *_] = plots.nights([panel]).axes
    shown = [label.get_text() for label in axis.get_xticklabels()]
    assert panel.names[0] in shown and panel.names[-1] in shown and panel.names[panel.points[0]] in shown
    assert len(axis.collections) == 1 + len(panel.points)


def test_each_series_of_nights_is_a_plot_that_fits_a_sheet_and_the_first_has_the_heading(tmp_path):
    series = history.folder_series(history_folder(tmp_path))
    made = page.night_plots([series[0], series[0]])
    assert [plot.name for plot in made] == ["history", "history-2"] and made[0].text and not made[1].text
    assert made[0].draw().get_figheight() < 8
    made = [plot._replace(draw=lambda **_: plots.figure(height=1)[0]) for plot in made]
    assert page.page(make_table(busy_session("kick_vcpus", 100.0)), made).count(">History</h2>") == 1


def test_none_of_n_has_its_bound_on_the_page(tmp_path, no_plots):
    results = busy_session("kick_vcpus", 100.0) + busy_session("kick_on_busy", 100.0)
    for result in results[4:]:
        meet_busy(result, "tdh_mem_track", attempts=1000, busy=0)
    page.write(results, str(tmp_path / "report.html"))
    text = (tmp_path / "report.html").read_text()
    assert "<td>kick_on_busy</td><td>&lt;0.075</td>" in text and '<td class="interval">0 .. 0.075</td>' in text


@pytest.mark.slow
def test_one_run_beside_two_makes_a_page(tmp_path):
    results = busy_session("kick_vcpus", 100.0)[:1] + busy_session("kick_on_busy", 100.0)[:2]
    page.write(results, str(tmp_path / "report.html"))
    assert "undecided, about" in (tmp_path / "report.html").read_text()


def test_what_has_nothing_to_show_is_left_out(tmp_path):
    page.write([made()], str(tmp_path / "report.html"))
    titles = re.findall(r"<h2[^>]*>(.*?)</h2>", (tmp_path / "report.html").read_text())
    assert "BUSY by call and operand" not in titles and "History" not in titles and "Verdicts" in titles


@pytest.mark.parametrize("arguments, says", [
    (["nowhere.json"], "no such file"),
    (["RESULT", "--out", "/nowhere/report.html"], "--out /nowhere/report.html: /nowhere is no folder"),
    (["RESULT", "--history", "nowhere"], "--history nowhere: no such folder"),
    (["RESULT", "--baseline", "x"], "--baseline x: must be one of kick_vcpus"),
])
def test_a_mistake_is_one_line_and_exit_code_2(tmp_path, capsys, arguments, says):
    path = store.write_file(json.dumps(made().document()), tmp_path / "result.json")
    arguments = [str(path) if word == "RESULT" else word for word in arguments]
    assert main(["report", "--out", str(tmp_path / "report.html"), *arguments]) == 2
    error = capsys.readouterr().err
    assert says in error and error.count("\n") == 1, error


def test_without_matplotlib_it_says_what_to_install():
    code = ("import sys; sys.modules['matplotlib'] = None\n"
            "from harness.__main__ import main; sys.exit(main(['report', sys.argv[1]]))")
    found = subprocess.run([sys.executable, "-c", code, "x.json"], cwd=ROOT, capture_output=True, text=True)
    assert found.returncode == 2 and "no such file" in found.stderr      # the argument is looked at first
    code = "import sys; sys.modules['matplotlib'] = None\nfrom harness.reports import plots; plots.load_matplotlib()"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert "jinja2 and matplotlib are not installed" in found.stderr.splitlines()[-1]


@pytest.mark.parametrize("plotted", [True, False])
def test_a_history_of_which_nothing_can_be_drawn_is_said(tmp_path, monkeypatch, plotted):
    monkeypatch.setattr(page, "make_plots", lambda *_: [page.Plot("history", "", "", None)] if plotted else [])
    monkeypatch.setattr(page, "page", lambda *_: "")
    remarks = page.write(busy_session("kick_vcpus", 100.0), str(tmp_path / "page.html"), None, str(history_folder(tmp_path)))
    assert any("has two nights without other load beside them" in remark for remark in remarks) != plotted
