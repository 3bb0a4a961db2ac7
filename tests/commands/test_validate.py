"""Calibration and validation: files that can be used, tables that say what they are worth."""

import itertools
import signal
from pathlib import Path
from types import SimpleNamespace

import pytest

from harness.commands import calibrate, running, validate
from harness.engines.simulate import prices
from harness.experiment import assumed, config_file, plan
from harness.reports.run import assumption_lines
from harness.reports.validation import COMPARED, Row, validation_report
from harness.__main__ import main
from tests import stage
from tests.made import made


@pytest.mark.slow
def test_what_is_measured_here_can_be_used_by_a_config(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(calibrate, "HANDOVERS_S", 0.2)
    path = tmp_path / "costs.toml"
    assert main(["doctor", "--calibrate", str(path)]) == 0
    assert capsys.readouterr().out == path.read_text()
    values, where, histograms = assumed.read_costs(str(path))
    assert {"local_ns", "load_ns", "store_ns", "locked_ns", "mark_ns", "page_zero_ns"} <= set(values)
    assert 0 < values["locked_ns"] < 10_000 and values["page_zero_ns"] > values["store_ns"]
    machine, provenance = prices.resolve(stage.config(engine="simulate", machine={"costs": str(path)}))
    assert machine.locked_ns == values["locked_ns"] and provenance["locked_ns"] == f"measured {where}"
    assert provenance["switch_ns"].startswith("assumption")


@pytest.mark.parametrize("arguments, says", [
    (["--calibrate", "{}/nowhere/costs.toml"], "nowhere"), (["--validate", "{}/none.toml"], "no such file"),
])
def test_a_mistake_is_one_line(tmp_path, capsys, monkeypatch, arguments, says):
    monkeypatch.setattr(calibrate, "Calibrator", lambda: 1 / 0)      # said before anything is measured
    assert main(["doctor", *(argument.format(tmp_path) for argument in arguments)]) == 2
    printed = capsys.readouterr()
    assert says in printed.err and printed.err.count("\n") == 1 and not printed.out


UNFITTED = '[machine]\nlocal_ns = 1.0\n[notes]\nfree_misfit_share = 1\n'


def test_costs_that_were_not_fitted_to_free_calls_are_told_by_all_who_use_them(tmp_path, capsys, monkeypatch):
    """A busy machine leaves too few of them: one line of doctor --calibrate, of a run and of doctor --validate."""
    path = tmp_path / "costs.toml"
    monkeypatch.setattr(calibrate, "run", lambda path: Path(path).write_text(UNFITTED) and UNFITTED)
    assert main(["doctor", "--calibrate", str(path)]) == 0
    assert capsys.readouterr().err == f"doctor: {path}: {assumed.NOT_FITTED}\n"
    ran = running.measure(running.prepare(stage.config(engine="simulate", duration_s=0.0001, warmup_s=0, machine={"costs": str(path)})))
    assert assumed.NOT_FITTED in " ".join("\n".join(assumption_lines(ran)).split())
    row = Row("case", COMPARED[0], [ran], [ran], None, "agree", 1.0)
    assert "1 runs in virtual time had costs that were not fitted" in " ".join(validation_report([row]).split())
    path.write_text(UNFITTED.replace("= 1\n", "= 0.04\n"))
    assert assumed.NOT_FITTED not in assumed.read_costs(str(path)).where


def test_ctrl_c_while_costs_are_measured_leaves_no_file_and_no_traceback(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(calibrate, "Calibrator", lambda: SimpleNamespace(measure=lambda: signal.raise_signal(signal.SIGINT)))
    assert main(["doctor", "--calibrate", str(tmp_path / "costs.toml")]) == 130
    assert not list(tmp_path.iterdir()) and "Traceback" not in capsys.readouterr().err


def test_what_only_processes_do_is_not_part_of_what_is_compared():
    """Looking for a holder halves the pace of a guest that is refused; a shadow owner lengthens each call."""
    config = config_file.load(validate.shipped()[0], [*validate.SETTINGS, "engine=processes"])
    assert not plan.attributes(config) and not config.checks.exclusive_ownership


def test_a_stop_prints_what_was_compared_as_a_whole(monkeypatch, capsys):
    """It takes minutes; the third pair of runs is stopped, when two workloads have been compared."""
    runs = itertools.count(1)

    def result(path, seed, settings):
        if next(runs) == 5:
            signal.raise_signal(signal.SIGTERM)
        return made(removals_per_s=1000.0)
    monkeypatch.setattr(validate, "_result", result)
    monkeypatch.setattr(validate, "RUNS", 1)
    monkeypatch.setattr(validate, "quiet_share", lambda result: 1.0)
    monkeypatch.setattr(calibrate, "Calibrator", lambda: SimpleNamespace(measure=lambda: None))
    monkeypatch.setattr(calibrate, "costs_file", lambda measured: "")
    assert main(["doctor", "--validate", validate.shipped()[0]]) == 130
    printed = capsys.readouterr()
    assert "its own workload, 1.5.24;" in printed.out and "its own workload, 1.5.34;" in printed.out and "one page" not in printed.out
    assert printed.err.splitlines()[-1] == "doctor: stopped; 2 workloads were compared as a whole"      # behind progress, maybe


@pytest.mark.slow
def test_a_validation_says_what_it_is_worth(monkeypatch):
    monkeypatch.setattr(validate, "TRIES", 2)             # too few, so the best of them count
    monkeypatch.setattr(validate, "RUNS", 2)
    rows = validate.run([validate.shipped()[0]])
    keys = {row.metric.key for row in rows}
    assert {"removals_per_s", "installs_per_s", "removal_p50_us"} <= keys
    text = validation_report([row._replace(workers_ran=0.5) for row in rows])
    assert "DEGRADED: other work" in text and "50 %" in text
    assert "DEGRADED" not in validation_report([row._replace(workers_ran=0.95) for row in rows])
    assert max(map(len, text.splitlines())) <= 100
