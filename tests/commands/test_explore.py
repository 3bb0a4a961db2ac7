"""The commands `explore` and `replay` as a user meets them."""

import json
import subprocess
import sys

import pytest

from harness.engines.explore import search as explore
from harness.experiment.scenario_file import load
from harness.experiment.schedule import Schedule
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
    (["--random", "0"], "must be at least 1"),
    (["--preemptions", "1", "--random", "5"], "not together"), (["--show", "99"], "these are 2 scenarios"),
    (["--show", "99", "--module", "1.5.05"], "at most"),
])
def test_a_mistake_in_the_arguments_is_one_line(capsys, arguments, sentence):
    code, _, err = command(capsys, "explore", str(ROOT / "configs/explore/two_hosts.toml"), *arguments)
    assert code == 2 and sentence in err and len(err.splitlines()) == 1


@pytest.mark.parametrize("damage, sentence", [
    (lambda given: given.pop("turns"), "turns = None: must be a list"),
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
