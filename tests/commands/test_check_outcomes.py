"""`run --check-outcomes`: whatever a real run meets must be among what the search finds possible."""

import subprocess
import sys
from pathlib import Path

import pytest

from harness.experiment import config_file
from harness.__main__ import main
from harness.commands import check_outcomes, run
from harness.errors import DONE, FAILED, UsageError
from harness.protocol.policies import BY_NAME, POLICIES
from harness.results import store
from harness.results.schema import Result
from tests.made import made

ROOT = Path(__file__).parent.parent.parent
PAGES = 512                      # of the TD of these configs


def results_of(tmp_path, *arguments: str) -> tuple[subprocess.CompletedProcess, list[Result]]:
    command = [sys.executable, "-m", "harness", "run", "configs/fault_vs_zap.toml", *arguments, "--set",
               "duration_s=0.3", "--set", "warmup_s=0", "--check-outcomes", "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    return done, [store.read(file) for file in sorted(tmp_path.glob("*/result.json"))]


def holds(done, results, policies) -> None:
    """Not that much has happened, which is luck, but that all of it could."""
    assert "Traceback" not in done.stderr and "was not met by explore" not in done.stderr
    assert {result.policy for result in results} == set(policies)
    for result in results:
        can = check_outcomes.possible(BY_NAME[result.policy], result.module)
        seen = check_outcomes.answered(result)
        assert {call for call, _ in seen} == {call for call, counts in result.seamcalls.items()
                                              if counts.attempts} and seen
        assert seen <= can.answers
        if result.entries:            # nobody was stopped in the middle of something
            assert sum(result.entries.values()) == PAGES
            assert set(result.entries) <= can.entries


def test_what_real_contention_meets_is_among_what_is_explored(tmp_path):
    policies = "kick_on_busy,resume_guest"
    holds(*results_of(tmp_path, "--policies", policies), policies.split(","))


@pytest.mark.slow
def test_what_any_policy_meets_is_among_what_is_explored(tmp_path):
    holds(*results_of(tmp_path, "--policies", "all"), BY_NAME.keys() & {policy.name for policy in POLICIES})


def result_with(seamcalls: dict, entries: dict) -> Result:
    result = made(name="made up", entries=entries)
    for call, counts in seamcalls.items():
        for key, value in counts.items():
            setattr(result.seamcalls[call], key, value)
    return result


POSSIBLE = ({"tdh_mem_track": {"success": 1, "busy_by_operand": {"TD_EPOCH": 2}},
             "tdg_mem_page_accept": {"busy_by_operand": {"RCX (host priority)": 1}}}, {"MAPPED": 500, "FREE": 12})


@pytest.mark.parametrize("calls, entries, sentence", [
    ({"tdh_mem_track": {"busy_by_operand": {"SEPT_TREE": 2}}}, {}, "tdh_mem_track: TDX_OPERAND_BUSY|SEPT_TREE"),
    ({"tdh_mem_range_block": {"busy_by_operand": {"RCX (host priority)": 1}}}, {},
     "tdh_mem_range_block: TDX_OPERAND_BUSY_HOST_PRIORITY|RCX"),
    ({"tdh_mem_page_aug": {"other_by_status": {"TDX_PAGE_METADATA_INCORRECT|R8": 1}}}, {},
     "tdh_mem_page_aug: TDX_PAGE_METADATA_INCORRECT|R8"),
    ({"tdh_mem_page_aug": {"busy_by_operand": {"SEPT_TREE (injected)": 1}}}, {},
     "tdh_mem_page_aug: TDX_OPERAND_BUSY|SEPT_TREE (injected)"),
    ({}, {"MAPPED": 511, "MAPPED+EL": 1}, "SEPT entry: MAPPED+EL"),
    ({}, {"EXP_BLOCKEDW": 1}, "SEPT entry: EXP_BLOCKEDW"),
])
def test_an_outcome_that_cannot_be_fails_the_run(capsys, calls, entries, sentence):
    result = result_with(POSSIBLE[0] | calls, POSSIBLE[1] | entries)
    config_ = config_file.load(ROOT / "configs/fault_vs_zap.toml")
    assert run.outcomes_code(result, config_) == FAILED
    assert capsys.readouterr().err == f"made up: outcome {sentence} was not met by explore\n"


def test_an_outcome_that_can_be_passes(capsys):
    config_ = config_file.load(ROOT / "configs/fault_vs_zap.toml")
    assert run.outcomes_code(result_with(*POSSIBLE), config_) == DONE
    assert capsys.readouterr().err == ""


def test_a_world_that_is_not_explored_is_missed(monkeypatch):
    """Without the two removals at once, nobody meets a vCPU of the epoch before the last."""
    late = result_with({"tdh_mem_track": {"other_by_status": {"TDX_PREVIOUS_TLB_EPOCH_BUSY": 1}}}, {})
    assert not check_outcomes.unexplored(late, BY_NAME["no_post_kick"])
    monkeypatch.setattr(check_outcomes, "WORLDS", check_outcomes.WORLDS[:4])
    monkeypatch.setattr(check_outcomes, "possible", check_outcomes.possible.__wrapped__)
    assert check_outcomes.unexplored(late, BY_NAME["no_post_kick"])


@pytest.mark.slow
def test_answers_that_a_policy_injects_are_explored():
    can = check_outcomes.possible(BY_NAME["inject47"], "1.5.05")
    calls = {call for call, answer in can.answers if answer.endswith("(injected)")}
    assert {"tdh_mem_page_aug", "tdh_mem_range_block", "tdh_mem_track", "tdh_mem_sept_add"} <= calls


@pytest.mark.parametrize("name, overrides, sentence", [
    ("teardown", [], "workload.removal = 'teardown'"),
    ("conversion_storm", [], "workload.map_gpa_share = 0.002"),
    ("fault_vs_zap", ["workload.string_pages=4"], "workload.string_pages = 4"),
    ("faults/vmx_off", [], "faults.seamcall = 'vmx_off'"),
    ("faults/machine_check", [], "faults.machine_check_share"),
    ("fault_vs_zap", ["checks.busted=['no_kick']"], "checks.busted = ('no_kick',)"),
])
def test_a_run_that_the_worlds_are_not_like_is_refused(name, overrides, sentence):
    given = config_file.load(ROOT / f"configs/{name}.toml", overrides)
    with pytest.raises(UsageError, match="--check-outcomes knows") as caught:
        check_outcomes.check_config(given)
    assert sentence in str(caught.value) and "\n" not in str(caught.value)


def test_the_command_refuses_it_before_it_measures_anything(capsys):
    code = main(["run", str(ROOT / "configs/teardown.toml"), "--check-outcomes"])
    assert code == 2 and len(capsys.readouterr().err.splitlines()) == 1
