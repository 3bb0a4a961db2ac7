"""The commands `explore` and `replay` as a user meets them."""

import io
import json
import subprocess
import sys

import pytest

from harness.engines.explore import search as explore
from harness.experiment.scenario_file import load
from harness.experiment.schedule import Schedule
from harness.protocol.policies import POLICIES
from harness.protocol.releases import READ
from tests.command_line import ROOT, command


def test_explore_prints_outcomes_and_a_counterexample_that_replays(tmp_path, capsys):
    file = "configs/explore/accept_block.toml"
    test = tmp_path / "test_found.py"
    code, out, err = command(capsys, "explore", str(ROOT / file), "--module", "1.5.05", "--show", "4",
                             "--out", str(tmp_path), "--as-test", str(test))
    assert code == 0 and "explored completely" in out and "host priority is lost" in out
    assert max(map(len, out.splitlines())) <= 100
    [saved] = tmp_path.glob("*.schedule.json")
    code, out, err = command(capsys, "replay", str(saved))
    assert code == 0 and out.count("all as saved") == 2
    ran = subprocess.run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(test)], cwd=ROOT,
                         capture_output=True, text=True)
    assert "1 passed" in ran.stdout
    saved.write_text(saved.read_text().replace("80000400000030f7", "80100400000030f7"))
    code, out, err = command(capsys, "replay", str(saved))
    assert code == 1 and "NOT as saved" in out


def test_a_scenario_comes_by_standard_input(monkeypatch):
    raw = (ROOT / "configs/explore/accept_block.toml").read_bytes()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(raw)))
    assert {scenario.name for scenario in load("-")} == {"stdin"}


def test_a_forbidden_or_ungraded_outcome_fails_with_its_counterexample(tmp_path, capsys):
    file = tmp_path / "s.toml"
    text = (ROOT / "configs/explore/accept_block.toml").read_text()
    file.write_text(text.replace('"1.5.16", "1.5.20"]\ngrade = "interesting"', '"1.5.16", "1.5.20"]\ngrade = "forbidden"'))
    code, out, _ = command(capsys, "explore", str(file), "--module", "1.5.05", "--out", str(tmp_path))
    assert code == 1 and "FAILED: forbidden outcome" in out and "entry_request_priority" in out
    file.write_text(text[:text.index('[[expect]]\nvcpu0 = "TDX_SUCCESS"\nhost0 = "TDX_OPERAND_BUSY|RCX"')])
    code, out, _ = command(capsys, "explore", str(file), "--module", "1.5.05", "--out", str(tmp_path))
    assert code == 1 and "FAILED: ungraded outcome" in out


@pytest.mark.parametrize("others", ["", 'host1 = "tdh_mem_page_aug 3"', 'host1 = "tdh_mem_track 0 retry forever"'])
def test_a_script_that_cannot_end_is_refused(tmp_path, capsys, others):
    file = tmp_path / "never.toml"
    file.write_text(f'start.words = {{ epoch_lock = 1 }}\n[actors]\nhost0 = "tdh_mem_track 0 retry forever"\n{others}\n')
    code, out, err = command(capsys, "explore", str(file))
    assert code == 2 and not out and len(err.splitlines()) == 1
    assert err.startswith(f"{file}: never: actors: no schedule lets all scripts end")


@pytest.mark.parametrize("arguments, sentence", [
    (["--module", "1.5.07"], "did you mean 1.5.06?"), (["--module", "1.5.06"], "no scenario of these files"),
    (["--module", "1.5.34+epf_threshold=x"], "module.epf_threshold = 'x': must be a number from 1 to 255"),
    (["--module", "1.5.34+guest_entri=x"], "did you mean guest_entry?"),
    (["--random", "0"], "must be at least 1"),
    (["--preemptions", "1", "--random", "5"], "not together"), (["--show", "99"], "these are 2 scenarios"),
    (["--show", "99", "--module", "1.5.05"], "at most"), (["--show", "0", "--module", "1.5.05"], "must be at least 1"),
])
def test_a_mistake_in_the_arguments_is_one_line(capsys, arguments, sentence):
    code, _, err = command(capsys, "explore", str(ROOT / "configs/explore/two_hosts.toml"), *arguments)
    assert code == 2 and sentence in err and len(err.splitlines()) == 1


def test_an_outcome_that_there_is_not_costs_nothing_of_what_was_found(capsys, tmp_path, monkeypatch):
    file = tmp_path / "two.toml"
    file.write_text('[actors]\nhost0 = "tdh_mem_track 0"\nhost1 = "tdh_mem_track 0"\n')
    given = "explore", str(file), "--out", str(tmp_path), "--show"
    code, out, err = command(capsys, *given, "99")
    assert code == 2 and err.splitlines()[-1].startswith("--show 99: must be at most ") and "1 failed" in out.splitlines()[-1]
    assert list(tmp_path.glob("two-*.schedule.json"))
    monkeypatch.setattr(explore, "run", lambda *_, **__: pytest.fail("searched"))
    assert command(capsys, *given, "0")[2] == "--show 0: must be at least 1\n"


# --- releases and policies side by side ---------------------------------------------------------

LOST = str(ROOT / "configs/explore/known/priority_lost.toml")


def searched(monkeypatch) -> list[str]:
    """The releases that are searched from here on, one for each search."""
    modules, run = [], explore.run
    monkeypatch.setattr(explore, "run", lambda scenario, *rest, **keys: modules.append(scenario.module) or run(
        scenario, *rest, **keys))
    return modules


def test_releases_side_by_side_and_those_that_behave_the_same_are_searched_once(capsys, monkeypatch):
    modules = searched(monkeypatch)
    code, out, err = command(capsys, "explore", "--modules", LOST)
    assert code == 0 and not err and max(map(len, out.splitlines())) <= 100
    rows = {line.split()[0].strip(",*"): line.split()[-1] for line in out.splitlines() if line[:4] in ("1.5.", "2.0.")}
    assert list(rows) == [release.name for release in READ]
    assert {name for name, cell in rows.items() if cell != "holds"} == {
        "1.5.01", "1.5.05", "1.5.13", "1.5.16", "1.5.20", "2.0.08", "2.0.12"}
    assert modules == ["1.5.01", "1.5.13", "1.5.20", "1.5.24", "1.5.28", "1.5.34", "2.0.08"]
    assert "1.5.05, .06, .08, .09" in out and "1.5.28*" in out and "docs/releases.md lists them" in out


def test_a_search_of_a_release_alone_finds_what_its_row_says(capsys):
    """That 1.5.05 is not searched when 1.5.01 has been changes nothing."""
    for module, steps in (("1.5.05", 12), ("2.0.12", 13), ("2.0.16", None)):
        code, out, _ = command(capsys, "explore", "--modules", LOST, "--module", module, "--format", "json")
        [row] = json.loads(out)["rows"]
        assert row["module"] == module and row["invariants"]["priority_kept"] == {"holds": steps is None, "steps": steps}


@pytest.mark.parametrize("modules, required, code, said", [
    ([], "priority_kept", 1, "priority_kept: kept by 1.5.24, 1.5.25, 1.5.28, 1.5.34; 2.0.14, 2.0.16, 2.0.18"),
    ([], "priority_kept", 1, "newest of each line: 1.5.34 does, 2.0.18 does"),
    (["1.5.24", "2.0.18"], "priority_kept, no_halt", 0, "priority_kept, no_halt: kept by 1.5.24; 2.0.18"),
    (["1.5.20"], "priority_kept,livelock", 1, "priority_kept, no_livelock: no module of these keeps them all"),
    (["1.5.20"], "priority_kept", 1, "newest of each line among these: 1.5.20 does not"),
    (["1.5.34+entry_write=store"], "priority_kept", 1, "priority_kept: no module of these keeps it"),
    (["1.5.05+entry_write=swap"], "priority_kept", 0, "kept by 1.5.05+entry_write=swap"),
])
def test_which_module_must_i_have(capsys, modules, required, code, said):
    chosen = [argument for module in modules for argument in ("--module", module)]
    given, out, _ = command(capsys, "explore", "--modules", LOST, *chosen, "--require", required)
    assert given == code and said in out


def test_what_was_not_searched_completely_is_not_known_and_has_a_code_of_its_own(capsys):
    arguments = ("explore", "--modules", LOST, "--module", "1.5.34", "--random", "20", "--require", "priority_kept")
    code, out, _ = command(capsys, *arguments)
    assert code == 3 and "no module of these is known to keep it" in out and "1.5.34 is not known" in out
    code, out, _ = command(capsys, *arguments, "--format", "json")
    document = json.loads(out)
    assert not document["complete"] and document["keep"] == []
    assert document["rows"][0]["invariants"]["priority_kept"] == {"holds": None, "steps": None}


@pytest.mark.parametrize("style, start", [("csv", "module,no_halt,no_deadlock,"), ("github", "| module "), ("json", "{")])
def test_other_formats_have_every_invariant_and_nothing_beside_the_table(capsys, style, start):
    code, out, _ = command(capsys, "explore", "--modules", LOST, "--module", "1.5.20", "--format", style)
    assert code == 0 and out.startswith(start) and "priority_kept" in out and "no_starvation" in out
    assert len(out.splitlines()) == {"csv": 2, "github": 3}.get(style, len(out.splitlines()))


def test_a_scenario_that_breaks_the_module_on_purpose_says_nothing_of_releases(capsys):
    busted = str(ROOT / "configs/explore/busted_lock.toml")
    code, out, err = command(capsys, "explore", "--modules", busted)
    assert code == 2 and "busted" in err and not out
    code, out, _ = command(capsys, "explore", "--modules", busted, LOST, "--module", "1.5.24", "--require", "no_halt")
    assert code == 0 and "left out, as busted: busted_lock" in out


@pytest.mark.slow
def test_policies_can_be_required_of_too_and_equal_ones_are_searched_once(capsys, monkeypatch):
    modules = searched(monkeypatch)
    code, out, _ = command(capsys, "explore", "--policies", str(ROOT / "configs/explore/fault_zap.toml"),
                           "--module", "1.5.24", "--require", "no_bug", "--format", "json")
    document = json.loads(out)
    assert code == 1 and document["modules"] == ["1.5.24"] and len(modules) < len(POLICIES)
    steps = {row["policy"]: row["invariants"]["no_bug"]["steps"] for row in document["rows"]}
    assert list(steps) == [policy.name for policy in POLICIES]
    assert set(document["keep"]) == {name for name, number in steps.items() if number is None}
    assert "kick_on_busy" in document["keep"] and "spinlock_vm" not in document["keep"]


@pytest.mark.parametrize("arguments, sentence", [
    (["--modules", "--require", "no_hlt"], "did you mean no_halt?"),
    (["--modules", "--require", "no_bug"], "no search of these files looks for it"),
    (["--modules", "--require", "no_livelock", "--preemptions", "1"], "no search of these files looks for it"),
    (["--modules", "--show", "1"], "--show 1: not together with"),
    (["--modules", "--as-test", "x.py"], "--as-test x.py: not together with"),
    (["--modules", "--module", "1.5.07"], "did you mean 1.5.06?"),
    (["--require", "no_halt"], "only together with --policies, --guests or --modules"),
    (["--format", "csv"], "only together with --policies, --guests or --modules"),
    (["--guests"], "no scenario with KVM's flows (touch, remove) for --guests"),
    (["--policies", "--policy", "retry16"], "not together with --policies"),
    (["--policies"], "no scenario with KVM's flows"),
])
def test_a_mistake_about_rows_is_one_line_before_anything_is_searched(capsys, monkeypatch, arguments, sentence):
    modules = searched(monkeypatch)
    code, out, err = command(capsys, "explore", LOST, *arguments)
    assert code == 2 and sentence in err and len(err.splitlines()) == 1 and not out and not modules


def test_ctrl_c_prints_what_is_known_so_far(capsys, monkeypatch):
    modules, run = [], explore.run

    def interrupted(scenario, *rest, **keys):
        modules.append(scenario.module)
        if len(modules) == 3:
            raise KeyboardInterrupt
        return run(scenario, *rest, **keys)

    monkeypatch.setattr(explore, "run", interrupted)
    code, out, err = command(capsys, "explore", "--modules", LOST, "--require", "priority_kept")
    cells = {line.split()[0].strip(",*"): line.split()[-1] for line in out.splitlines() if line[:4] in ("1.5.", "2.0.")}
    assert code == 130 and err == "interrupted in module 1.5.20\n"
    assert cells["1.5.16"] == "12" and cells["1.5.20"] == cells["2.0.18"] == "?"


@pytest.mark.parametrize("damage, sentence", [
    (lambda given: given.pop("turns"), "turns: is missing; must be a list"),
    (lambda given: given.update(scenario=5), "scenario = 5: must be a table"),
    (lambda given: given["turns"].append([2, 1, 0]), "must be [actor, rows, branch]"),
    (lambda given: given["turns"].append([0, 10 ** 9, 0]), "must be [actor, rows, branch]"),
    (lambda given: given["turns"].append([0, 1]), "must be [actor, rows, branch]"),
    (lambda given: given["turns"].append([0, 9, 0]), "vcpu0 has come to its end before"),
])
def test_a_damaged_schedule_is_one_line(tmp_path, capsys, damage, sentence):
    [scenario] = load(ROOT / "configs/explore/accept_block.toml", ["1.5.05"])
    given = Schedule(scenario, explore.run(scenario).endings[-1].turns, "shown", {}).as_json()
    given = json.loads(json.dumps(given))
    damage(given)
    file = tmp_path / "s.json"
    file.write_text(json.dumps(given))
    code, _, err = command(capsys, "replay", str(file))
    assert code == 2 and sentence in err and len(err.splitlines()) == 1
