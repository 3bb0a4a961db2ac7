"""A night from end to end, with a stage in place of workers: what is judged, reported, kept and written."""

import contextlib
import json
import time
import xml.etree.ElementTree as xml
from pathlib import Path

import numpy as np
import pytest

from harness.commands import nightly, running, session as sessions
from harness.reports import ci
from harness.results import history
from harness.results.schema import Conditions, Verdict
from harness.__main__ import main
from harness.errors import UsageError
from tests.made import made
from tests.results.test_trust import GOOD_CONDITIONS

ROOT = Path(__file__).parent.parent.parent
EPOCH, DAY_S = 1.8e9, 86_400
WORK = "duration_s = 0.3\nwarmup_s = 0.1\n[td]\nvcpus = 2\n"
CONFIGS = {
    "canary": f'policy = "kick_on_busy"\n{WORK}[checks]\nbusted = ["entry_lock"]\n',
    "steady": f'policy = "kick_vcpus"\n{WORK}[expect]\n"bugs.total" = 0\n',
    "other": f'policy = "kick_on_busy"\n{WORK}',
}


class Theatre:
    """Nights on a stage: `speed(name, night, seed)` is what each run would measure."""

    def __init__(self, folder: Path, speed):
        self.folder, self.speed, self.night = folder, speed, 0
        self.ran, self.change = [], lambda result: None
        (folder / "configs").mkdir()
        for name, text in CONFIGS.items():
            (folder / "configs" / f"{name}.toml").write_text(text)

    def run_session(self, session, done, budget):
        for run in session.runs:
            config = session.config(run)
            self.ran.append((config.name, config.seed))
            result = made(config.policy.name, name=config.name, session=session.name, block=run.block,
                          seed=config.seed, removals_per_s=self.speed(config.name, self.night, config.seed))
            if config.checks.busted:
                result.invariants["exclusive_ownership"] = 3
            self.change(result)
            budget.ran(0.1)
            yield run, result

    def __call__(self, **keys) -> nightly.Report:
        asked = nightly.Request(str(self.folder / "configs"), [], self.folder / "history", self.folder / "results",
                                blocks=5, commit=f"c{self.night}")
        report = nightly.night(asked._replace(**keys))
        self.night += 1
        return report

    def quiet_nights(self, count: int) -> None:
        """One night as it is, and the rest of them straight into the history."""
        self()
        for series in history.folder_series(self.folder / "history"):
            for night in range(1, count):
                values = [self.speed(series.key.name, night, seed) for seed in range(1, 6)]
                history.append(series, series.nights[0].model_copy(update={
                    "night": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(EPOCH + DAY_S * night)),
                    "commit": f"c{night}", "values": {"removals_per_s": values}}))
        self.night = count

    def written(self, name: str) -> str:
        newest = max((self.folder / "results").glob("nightly-*"))
        return (newest / name).read_text()


def noisy(level=lambda name, night: 1.0):
    random = np.random.default_rng(11)
    return lambda name, night, seed: 1e4 * level(name, night) * (1 + 0.02 * random.standard_normal())


@pytest.fixture
def theatre(tmp_path, monkeypatch):
    """Makes a theatre, with a day between two nights."""
    def make(level=lambda name, night: 1.0, checked=False):
        stage = Theatre(tmp_path, noisy(level))
        if not checked:                                      # the same three configs, each time
            monkeypatch.setattr(running, "prepare", lambda config: None)
        monkeypatch.setattr(running, "run_session", lambda *arguments: stage.run_session(*arguments))
        monkeypatch.setattr(running, "only_one", lambda *_: contextlib.nullcontext())
        monkeypatch.setattr(running, "keep", lambda *_: 0)
        monkeypatch.setattr(nightly, "now", lambda: EPOCH + DAY_S * stage.night)
        return stage
    return make


def test_a_quiet_night_exits_0_and_has_one_line_for_each_config(theatre):
    report = theatre()()
    assert report.code == 0
    lines = report.text.splitlines()
    assert [line.split()[:2] for line in lines if line[:4] in ("PASS", "FAIL", "ERRO")] == [
        ["PASS", "canary:"], ["PASS", "other:"], ["PASS", "steady:"]]
    assert "entry_lock is broken, and is seen: exclusive_ownership 3" in report.text
    assert lines[-1] == "3 as expected; confirmed changes: 0 worse, 0 better"
    assert max(map(len, lines)) <= 100


def test_a_canary_that_does_not_fail_makes_the_night_worthless(theatre):
    stage = theatre()
    stage.change = lambda result: result.invariants.update(exclusive_ownership=0)
    report = stage()
    assert report.code == 3 and "nothing that passes tonight means anything" in report.text.replace("\n    ", " ")
    assert len([name for name, _ in stage.ran if name == "canary"]) == nightly.CANARY_RUNS


def test_a_canary_that_is_not_seen_says_how_much_was_tried_and_what_was_in_the_way(theatre):
    stage = theatre()

    def unseen(result):
        result.invariants.update(exclusive_ownership=0)
        result.verdict = Verdict(status="DEGRADED", reasons=["5 workers share 2 processors"])
    stage.change = unseen
    text = stage().text.replace("\n    ", " ")
    assert " removals" in text and "; 5 workers share 2 processors): nothing that passes" in text


def test_a_night_beside_another_load_is_marked_says_so_everywhere_and_does_not_alarm(theatre):
    stage = theatre(lambda name, night: 0.5 if night >= 30 else 1.0)
    stage.quiet_nights(30)

    def loaded(result):
        result.conditions = Conditions(**GOOD_CONDITIONS | {"other_load_share": 0.5})
        result.measured_s, result.workers.processors = 5.0, [0, 1]
        result.verdict = Verdict(status="DEGRADED", reasons=["another load took 50 % of the workers' processors"])
    stage.change = loaded
    for _ in range(2):
        report = stage()
        reason = "DEGRADED: another load took 50 % of the workers' processors (5 of 5 runs)"
        assert report.code == 0 and reason in report.text.replace("\n    ", " ")
        assert reason in stage.written("junit.xml") and "another load took 50 %" in stage.written("summary.md")
        assert "no change is looked for in this night" in report.text.replace("\n    ", " ")
    for series in history.folder_series(stage.folder / "history"):
        assert [night.disturbed for night in series.nights] == [False] * 30 + [True] * 2
        assert len(series.known("removals_per_s")) == 30
    stage.change = lambda result: None
    assert 1 in [stage().code for _ in range(5)]             # the same step in quiet nights is an alarm


def test_a_night_that_does_not_count_puts_off_the_night_from_which_changes_are_looked_for(theatre):
    stage = theatre()

    def loaded(result):
        result.conditions = Conditions(**GOOD_CONDITIONS | {"other_load_share": 0.5})
        result.measured_s, result.workers.processors = 5.0, [0, 1]
    said = []
    for change in (lambda result: None, loaded, loaded, lambda result: None):
        stage.change = change
        said.append(stage().text.replace("\n    ", " ").split("changes are looked for from night ")[1].split()[0])
    assert said == ["8", "9", "10", "10"]


def test_an_expectation_that_fails_is_exit_code_1_and_says_in_how_many_blocks(theatre):
    stage = theatre()
    stage.change = lambda result: result.bugs.update({"x: y": 2}) if result.seed == 2 else None
    report = stage()
    assert report.code == 1
    assert "FAIL  steady: expected bugs.total at least 0 and at most 0, got 2 in 1 of 5 runs" in report.text
    assert "PASS  other" in report.text                    # expects nothing of bugs


def test_what_did_not_occur_is_exit_code_4_as_of_run_and_says_how_much_was_tried(theatre):
    stage = theatre()
    (stage.folder / "configs/steady.toml").write_text(CONFIGS["steady"].replace('"bugs.total" = 0', '"bugs.total" = { min = 1 }'))
    stage.change = lambda result: result.bugs.update({"x: y": 1}) if result.seed == 2 else None
    report = stage()
    assert report.code == 4 and "exit code 4" in report.text
    text = report.text.replace("\n    ", " ")
    assert "FAIL  steady: expected bugs.total at least 1, got 0 in 4 of 5 runs (the last: " in text and " a run of " in text
    stage.change = lambda result: result.invariants.update(mirror_agrees=1)
    assert stage().code == 1                               # something else is wrong, too


def test_a_bug_in_one_block_is_a_total_in_the_line_of_its_series(theatre):
    """It fails nothing where nothing is expected of it, and its median is 0."""
    stage = theatre()
    stage.change = lambda result: result.bugs.update({"x: y": 5}) if result.seed == 2 and result.name == "other" else None
    report = stage()
    assert report.code == 0 and "PASS  other: KVM_BUG_ONs 5 in 1 of 5 runs; " in report.text.replace("\n    ", " ")


def test_a_violated_invariant_fails_a_config_that_is_no_canary(theatre):
    stage = theatre()
    stage.change = lambda result: result.invariants.update(mirror_agrees=1)
    report = stage()
    assert report.code == 1 and "invariant mirror_agrees: 5 violations in 5 of 5 runs" in report.text.replace("\n    ", " ")


def test_a_run_that_cannot_be_believed_is_exit_code_3_and_counts_for_nothing_later(theatre):
    stage = theatre()
    lost = Verdict(status="UNTRUSTWORTHY", reasons=["worker vcpu0 was killed"])
    stage.change = lambda result: setattr(result, "verdict", lost) if result.name == "other" else None
    report = stage()
    assert report.code == 3 and "ERROR other: worker vcpu0 was killed" in report.text
    [series] = [each for each in history.folder_series(stage.folder / "history") if each.key.name == "other"]
    assert series.nights[0].verdict == "UNTRUSTWORTHY" and not series.known("removals_per_s")


@pytest.mark.parametrize("factor, word", [(0.8, "regression"), (1.25, "improvement")])
def test_a_step_alarms_once_names_the_commits_and_is_kept(theatre, factor, word):
    """Ten quiet nights, then a step in one config: better and worse alike."""
    stage = theatre(lambda name, night: factor if name == "steady" and night >= 10 else 1.0)
    stage.quiet_nights(10)
    codes = dict((stage.night, stage()) for _ in range(5))
    alarmed = [night for night, report in codes.items() if report.code == 1]
    assert len(alarmed) == 1 and 11 <= alarmed[0] <= 13
    text = codes[alarmed[0]].text.replace("\n    ", " ")
    assert f"FAIL  steady: {word}, a step: removals per s" in text and "PASS  other" in text
    assert "first bad commit c10, last good c9" in text
    assert f"confirmed changes: {int(word == 'regression')} worse, {int(word == 'improvement')} better" in text
    kept = [each for each in history.folder_series(stage.folder / "history") if each.key.name == "steady"][0].nights
    [(night, alarm)] = [(index, alarm) for index, each in enumerate(kept) for alarm in each.alarms]
    assert night == alarmed[0] and alarm.first_bad == "c10" and kept[night].rerun["removals_per_s"]
    assert (alarm.after > alarm.before) == (factor > 1)


def test_a_suspicion_is_rerun_on_seeds_of_its_own_and_dropped_if_not_confirmed(theatre, tmp_path):
    """Three bad nights, but the rerun of each is as good as ever."""
    stage = theatre()
    calm = noisy()
    stage.speed = lambda name, night, seed: calm(name, night, seed) * (0.8 if night >= 10 and seed <= 5 else 1.0)
    stage.quiet_nights(10)
    report = [stage() for _ in range(3)][-1]
    assert report.code == 0 and "not confirmed by a rerun" in report.text.replace("\n    ", " ")
    assert {seed for name, seed in stage.ran if name == "steady"} == {1, 2, 3, 4, 5, 6, 7, 8, 9, 10}


def test_a_single_wild_night_does_not_alarm(theatre):
    stage = theatre(lambda name, night: 0.5 if night == 12 else 1.0)
    stage.quiet_nights(12)
    assert [stage().code for _ in range(4)] == [0] * 4


def test_without_time_for_a_rerun_a_suspicion_is_reported_and_does_not_alarm(theatre, monkeypatch):
    stage = theatre(lambda name, night: 0.7 if night >= 10 else 1.0)
    stage.quiet_nights(10)
    monkeypatch.setattr(sessions.Budget, "left_s", lambda budget: 1.0)
    report = [stage() for _ in range(3)][-1]
    assert report.code == 0
    assert "suspected: removals per s" in report.text and "no time left to confirm it" in report.text.replace("\n    ", " ")


def test_a_budget_decides_the_number_of_blocks(theatre):
    """Run: 0.3 + 0.1 + 1 s. 44.4 s less the canary are 43, two thirds of it are ten blocks of 2.8 s."""
    stage = theatre()
    text = stage(blocks=None, budget_s=44.4).text
    assert "10 blocks" in text and "budget 44 s: " in text and "budget 44 s" in stage.written("summary.md")
    with pytest.raises(UsageError, match="--budget 5s: one block, the canaries and reruns take about 6 s"):
        stage(blocks=None, budget_s=5)


@pytest.mark.parametrize("took_s, reran, says", [
    (95, True, "budget 100 s: 85 s were used, and 10.0 s to compile"),
    (71, False, "61 s were used, and 10.0 s to compile: 39 % less than given, as nothing had to be measured again"),
    (71, True, "39 % less than given, as blocks are whole"),
    (141, True, "131 s were used, and 10.0 s to compile: 31 % more than given, as runs took 32.8 s each")])
def test_a_night_says_how_well_its_budget_was_kept_compiling_apart_and_why_not_better(took_s, reran, says):
    clock = iter([0.0, took_s])
    budget = sessions.Budget(100, lambda: next(clock))
    for _ in range(4):
        budget.ran(took_s / 4, 10.0)
    session = sessions.make_session([nightly.config_file.load(ROOT / "configs/kick_on_busy.toml")], repeats=2)
    [line] = nightly.kept_budget(budget, session, reran)
    assert says in line and line.startswith("budget 100 s: ")
    assert nightly.kept_budget(sessions.Budget(None), session, reran) == []


def test_a_config_that_the_budget_left_no_time_for_is_named_and_not_passed(theatre):
    stage = theatre()
    run_session = stage.run_session
    stage.run_session = lambda session, *rest: (
        (run, result) for run, result in run_session(session, *rest) if result.name != "other")
    report = stage()
    assert report.code == 3 and "ERROR other: the budget was spent before it ran" in report.text
    assert "PASS  steady" in report.text


def test_an_interrupted_night_leaves_no_history(theatre):
    stage = theatre()
    stage.change = lambda result: setattr(result, "interrupted", result.seed == 3)
    with pytest.raises(KeyboardInterrupt):
        stage()
    assert not (stage.folder / "history").exists()


def test_bad_history_lines_are_named_and_a_history_that_cannot_be_written_is_exit_code_3(theatre):
    stage = theatre()
    stage()
    for path in (stage.folder / "history").glob("*.jsonl"):
        path.write_text("nonsense\n" + path.read_text())
    report = stage()
    assert report.code == 0 and sum("line 1: skipped: not JSON" in remark for remark in report.remarks) == 2
    for path in (stage.folder / "history").glob("*.jsonl"):
        path.unlink()
        path.mkdir()
    with pytest.raises(UsageError, match="cannot be read"):
        stage()


@pytest.mark.parametrize("change, says", [
    (lambda folder: (folder / "canary.toml").unlink(), "no canary; one config must break something on purpose"),
    (lambda folder: [path.unlink() for path in folder.glob("*.toml")], "no configs here"),
    (lambda folder: (folder / "steady.toml").write_text('policy = "kick_vcpus"\nname = "other"\n'),
     "two configs are named other"),
    (lambda folder: (folder / "steady.toml").write_text('policy = "kick_vcpus"\n[expect]\n"bugs.totle" = 0\n'),
     "expect.bugs.totle"),
])
def test_a_folder_that_makes_no_night_is_refused(theatre, change, says):
    stage = theatre(checked=True)
    change(stage.folder / "configs")
    with pytest.raises(UsageError) as caught:
        stage()
    assert says in str(caught.value) and not stage.ran


def test_a_series_on_a_new_machine_says_that_it_is_new(theatre):
    stage = theatre()
    stage()
    stage.change = lambda result: result.machine.update(processor="Another")
    assert "a new series: 1 nights of this config are of another machine" in stage().text.replace("\n    ", " ")


# --- what other tools read ---

NASTY = 'a|b <c> & "d" #1 `e` \x1b[31m é'


@pytest.fixture
def nasty(theatre):
    stage = theatre()
    stage.change = lambda result: result.bugs.update({NASTY: 1})
    (stage.folder / "configs" / "steady.toml").write_text(CONFIGS["steady"].replace('"bugs.total" = 0', '"bugs.total" = 5'))
    stage()
    return stage


def test_junit_is_xml_with_a_testcase_for_each_line(nasty):
    suite = xml.fromstring(nasty.written("junit.xml")).find("testsuite")
    assert {case.get("name"): case.find("failure") is not None for case in suite} == {
        "canary": False, "other": False, "steady": True}
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("3", "1", "0")


def test_ktap_counts_its_lines(nasty):
    lines = nasty.written("nightly.ktap").splitlines()
    assert lines[:2] == ["KTAP version 1", "1..3"]
    results = [line for line in lines[2:] if not line.startswith("#")]
    assert results == ["ok 1 canary", "ok 2 other", "not ok 3 steady"]


def test_every_format_escapes_what_a_result_says():
    cases = [ci.Case(NASTY, ci.FAIL, [NASTY], [NASTY], 1.0, "processes", "1.5.05"),
             ci.Case(NASTY, ci.ERROR, [NASTY])]
    suite = xml.fromstring(ci.junit(cases, "2026-11-21T03:00:00Z")).find("testsuite")
    assert suite[0].get("name") == NASTY.replace("\x1b", "\\x1b")
    ktap = ci.ktap(cases).splitlines()
    assert sum(line.startswith("not ok") for line in ktap) == 2 and all(line.count("#") <= 2 for line in ktap if line[0] != "#")
    rows = [line for line in ci.step_summary(cases, NASTY, [NASTY]).splitlines() if line.startswith("|")]
    for row in rows:
        assert row.replace("\\|", "").count("|") == 6 and "<c>" not in row


def test_the_benchmark_files_hold_each_metric_in_the_direction_that_is_better(nasty):
    smaller, bigger = (json.loads(nasty.written(f"benchmark-{which}.json")) for which in ("smaller", "bigger"))
    assert {entry["name"] for entry in bigger} == {"other: removals per s", "steady: removals per s"}
    assert all(set(entry) >= {"name", "unit", "value"} for entry in smaller + bigger)
    assert bigger[0]["unit"] == "1/s" and " .. " in bigger[0]["range"]
    assert not {entry["name"] for entry in smaller} & {entry["name"] for entry in bigger}


def test_the_step_summary_is_added_where_github_wants_it(theatre, tmp_path, monkeypatch):
    target = tmp_path / "summary"
    target.write_text("before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(target))
    stage = theatre()
    stage()
    assert target.read_text() == "before\n" + stage.written("summary.md")


# --- as a user meets it ---

@pytest.mark.parametrize("arguments, says", [
    (["--blocks", "0"], "--blocks 0: must be at least 1 and at most 1000"),
    (["--budget", "soon"], "--budget soon: must be a time such as"),
    (["--history", str(ROOT / "Makefile")], "is a file; must be a folder"),
    (["--out", str(ROOT / "Makefile/x")], "is a file; must be a folder"),
])
def test_a_mistake_is_one_line_before_anything_runs(tmp_path, capsys, arguments, says):
    places = ["--history", str(tmp_path / "history"), "--out", str(tmp_path / "results")]
    assert main(["nightly", str(ROOT / "configs/nightly"), *places, *arguments]) == 2
    printed = capsys.readouterr()
    assert says in printed.err and printed.err.count("\n") == 1 and not printed.out and not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_real_night_judges_the_shipped_configs(tmp_path, capsys):
    code = main(["nightly", str(ROOT / "configs/nightly"), "--blocks", "1", "--set", "duration_s=0.1", "--set",
                 "warmup_s=0.05", "--history", str(tmp_path / "history"), "--out", str(tmp_path / "results"),
                 "--commit", "abc"])
    assert code in (0, 1, 3, 4)                              # a busy machine may miss what is expected
    text = capsys.readouterr().out
    assert "commit abc, 1 block," in text
    names = {path.stem for path in ROOT.glob("configs/nightly/*.toml")}
    assert all(f" {name}: " in text for name in names)
    assert len(list((tmp_path / "history").glob("*.jsonl"))) == len(names) - 1        # none of the canary
    [suite] = xml.fromstring(next((tmp_path / "results").glob("*/junit.xml")).read_text())
    assert {case.get("name") for case in suite} == names
