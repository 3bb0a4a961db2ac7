"""A sweep as a table: a line per combination, medians over seeds, totals of what is fatal."""

import statistics

from harness.reports import sweep, text
from tests.made import made, meet_busy

KEYS = ["policy", "td.vcpus"]


def runs():
    """Two combinations, three seeds each."""
    return [({"policy": "kick_vcpus", "td.vcpus": vcpus}, made(block=block, removals_per_s=1000.0 * vcpus + block))
            for vcpus in (2, 4) for block in (2, 0, 1)]


def test_each_combination_is_a_line_of_medians():
    found = runs()
    rows = sweep.rows(KEYS, found)
    assert [(row["policy"], row["vcpus"]) for row in rows] == [("kick_vcpus", "2"), ("kick_vcpus", "4")]
    assert [row["removals\nper s"] for row in rows] == [
        text.number(statistics.median(result.throughput.removals_per_s for _, result in found[at:at + 3])) for at in (0, 3)]


def test_the_title_says_of_which_seeds():
    found = runs()
    for _, result in found:
        result.config["repeats"] = 3
    assert "medians of seeds 3 to 5" in sweep.sweep_report(KEYS, found)
    assert "seed 3, " in sweep.sweep_report(KEYS, runs())


def test_a_bug_in_one_of_three_runs_is_a_total_and_not_a_median():
    found = runs()
    found[1][1].bugs = {"tdh_mem_track: TDX_OPERAND_BUSY|TD_EPOCH": 5}
    assert [row["bugs"] for row in sweep.rows(KEYS, found)] == ["5 1/3", "0"]


def test_none_of_n_has_its_bound():
    found = runs()
    for _, result in found[:3]:
        meet_busy(result, "tdh_mem_track", attempts=1000, busy=0)
    assert sweep.rows(KEYS, found)[0]["BUSY,\n% of\ntries"] == "<0.1"         # 3 of 3 * 1000


def test_the_table_fits():
    assert max(map(len, sweep.sweep_report(KEYS, runs()).splitlines())) <= text.WIDTH


def test_a_picture_has_a_panel_for_each_number_of_the_table_bugs_and_hangs_among_them(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(sweep.plots, "curves", lambda panels, *_: drawn.extend(panels))
    monkeypatch.setattr(sweep.plots, "write", lambda *_: None)
    found = runs()
    found[0][1].bugs = {"tdh_mem_track: TDX_OPERAND_BUSY|TD_EPOCH": 5}
    sweep.picture(KEYS, found, str(tmp_path / "x.svg"))
    assert len(drawn) == len(sweep.rows(KEYS, found)[0]) - len(KEYS)
    [(_, lines)] = [(scale, lines) for name, scale, lines in drawn if name == "KVM_BUG_ONs, per s"]
    assert max(lines[0][1][0][1]) > 0 and "hangs, per s" in [name for name, *_ in drawn]
