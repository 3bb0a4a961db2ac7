"""Sweeps: every combination of the values of a config, as one table and one picture."""

import json

import pytest

from harness.__main__ import main
from harness.commands import arguments as shared, jobs, sweep
from harness.experiment import assumed
from harness.experiment.plan import make_plan
from harness.reports import text
from tests.command_line import ROOT, command

SCALE = sorted(ROOT.glob("configs/scale/*.toml"))
SMALL = 'engine = "simulate"\nduration_s = 0.001\nwarmup_s = 0\n[costs_ns]\nguest_work = 1000\n' \
        '[sweep]\npolicy = ["kick_vcpus", "kick_on_busy"]\n"td.vcpus" = [2, 4]\n'


@pytest.fixture
def small(tmp_path):
    path = tmp_path / "small.toml"
    path.write_text(SMALL)
    return path


def test_with_repeats_each_combination_runs_on_so_many_seeds(small):
    _, configs = sweep.load(small, ["repeats=3", 'sweep.policy=["kick_vcpus"]'])
    assert [(point["td.vcpus"], each.seed) for point, each in configs] == [
        (vcpus, seed) for vcpus in (2, 4) for seed in (1, 2, 3)]


def test_a_sweep_has_every_combination_in_the_order_of_the_file(small):
    keys, configs = sweep.load(small)
    assert keys == ["policy", "td.vcpus"]
    assert [(each.policy.name, each.td.vcpus) for _, each in configs] == [
        ("kick_vcpus", 2), ("kick_vcpus", 4), ("kick_on_busy", 2), ("kick_on_busy", 4)]


@pytest.mark.parametrize("asked", ["retry16,inject47", "all"])
def test_a_sweep_is_of_other_policies_where_they_are_asked_for(small, asked):
    names = shared.policies(asked)
    keys, configs = sweep.load(small, policies=names)
    assert keys == ["policy", "td.vcpus"]
    assert [(each.policy.name, each.td.vcpus) for _, each in configs] == [
        (name, vcpus) for name in names for vcpus in (2, 4)]


def test_a_sweep_says_which_assumption_decides_each_number(tmp_path, capsys):
    """Of a config without [sweep] too; a run for each cost at each end, and a design."""
    path = tmp_path / "one.toml"
    costs = tmp_path / "costs.toml"                      # what was measured is not varied
    costs.write_text("[machine]\n" + "".join(f"{key} = 1\n" for key in assumed.MACHINE if key != "transfer_ns"))
    path.write_text(f'policy = "kick_on_busy"\nengine = "simulate"\nduration_s = 0.0002\nwarmup_s = 0\n[machine]\ncosts = "{costs}"\n'
                    "[costs_ns]\nguest_work = 1000\n")
    out = tmp_path / "out"
    assert main(["sweep", str(path), "--sensitivity", "--out", str(out)]) == 0
    lines = capsys.readouterr().out.splitlines()
    _, configs = sweep.load(path, costs=True)
    assert len(list(out.glob("*/result.json"))) == len(configs) == 1 + 2 + 2
    assert [line for line in lines if "touches per s" in line and ".." in line] and max(map(len, lines)) <= text.WIDTH
    assert main(["sweep", str(path), "--sensitivity", "--out", str(out), "--resume", "--format", "json"]) == 0
    assert {row["number"] for row in json.loads(capsys.readouterr().out)} >= {"touches per s"}


@pytest.mark.parametrize("arguments, said", [
    (["--set", "engine=processes", "--set", "duration_s=1"], "has engine = 'processes'"), (["--picture", "x.svg"], "not together with --picture")])
def test_costs_are_assumed_in_virtual_time_only(small, capsys, arguments, said):
    assert main(["sweep", str(small), "--sensitivity", *arguments]) == 2
    err = capsys.readouterr().err
    assert said in err and err.count("\n") == 1


@pytest.mark.slow
def test_a_sweep_is_one_table_and_one_picture(small, tmp_path, capsys):
    assert main(["sweep", str(small), "--out", str(tmp_path / "out"), "--picture", str(tmp_path / "small.svg")]) == 0
    printed = capsys.readouterr().out
    lines = printed.splitlines()
    assert [line.split()[:2] for line in lines if line.startswith("kick")] == [
        ["kick_vcpus", "2"], ["kick_vcpus", "4"], ["kick_on_busy", "2"], ["kick_on_busy", "4"]]
    assert "assumptions (ns): " in printed and max(map(len, lines)) <= text.WIDTH
    assert "engine simulate" in lines[0] and "seed 1" in lines[0]
    assert len(list(tmp_path.glob("out/*/result.json"))) == 4
    assert "<svg" in (tmp_path / "small.svg").read_text()


@pytest.mark.parametrize("path", SCALE, ids=lambda path: path.stem)
def test_every_shipped_sweep_makes_plans_and_says_what_it_shows(path):
    _, configs = sweep.load(path)
    assert len(configs) >= 3 and "Shows:" in path.read_text()
    for _, each in (configs[0], configs[-1]):
        make_plan(each)


@pytest.mark.parametrize("arguments, says", [
    (["configs/kick_vcpus.toml"], "sweep: is missing"),
    (["{small}", "--set", "sweep.policy=3"], "must be a list of values"),
    (["{small}", "--set", 'sweep.policy=["kick_vcpu"]'], "did you mean kick_vcpus?"),
    (["{small}", "--picture", "x.gif"], "must end in one of .svg, .png, .pdf"),
    (["{small}", "--picture", "nowhere/x.svg"], "is no folder"),
])
def test_a_mistake_in_a_sweep_is_one_line(small, tmp_path, capsys, arguments, says):
    code = main(["sweep", *(argument.format(small=small) for argument in arguments), "--out", str(tmp_path / "new")])
    printed = capsys.readouterr()
    assert code == 2 and says in printed.err and printed.err.count("\n") == 1 and not printed.out
    assert not (tmp_path / "new").exists()


def test_a_config_with_a_sweep_is_refused_as_one_run(small, tmp_path, capsys):
    assert main(["run", str(small), "--out", str(tmp_path / "new")]) == 2
    assert capsys.readouterr().err == f"{small}: sweep: this config is for `python -m harness sweep {small}`\n"


def test_a_log_is_spared_the_line_of_progress(small, tmp_path, capsys):
    code, _, err = command(capsys, "sweep", small, "--set", "sweep.policy=['kick_vcpus']", "--out", tmp_path)
    assert code == 0
    assert [line.split()[0] for line in err.splitlines()] == ["saved", "saved"]


def test_a_sweep_of_which_all_runs_were_given_up_says_so_and_shows_no_table(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(jobs, "results", lambda *_: iter([(number, jobs.KILLED) for number in range(2)]))
    code, out, err = command(capsys, "sweep", "configs/kick_on_busy.toml", "--set", "sweep={seed=[1, 2]}", "--set", "engine=simulate",
                             "--jobs", "2", "--out", tmp_path)
    assert (code, out) == (3, "") and err == f"1: {jobs.KILLED.why}\n2: {jobs.KILLED.why}\n"
