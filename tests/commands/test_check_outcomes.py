"""`run --check-outcomes`: a correct run is never failed, a wrong answer is found."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from harness import engines
from harness.commands import check_outcomes, run
from harness.errors import DONE, FAILED, UsageError
from harness.experiment import config_file
from harness.experiment.plan import make_plan
from harness.protocol.policies import BY_NAME, POLICIES
from harness.results import document
from tests.stage import config

ROOT = Path(__file__).parent.parent.parent
PAGES = 512                      # of the TD of these configs


def results_of(tmp_path, *arguments: str) -> tuple[subprocess.CompletedProcess, list[dict]]:
    command = [sys.executable, "-m", "harness", "run", "configs/fault_vs_zap.toml", *arguments, "--set",
               "duration_s=0.3", "--set", "warmup_s=0", "--check-outcomes", "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    return done, [json.loads(file.read_text()) for file in sorted(tmp_path.glob("*/result.json"))]


def holds(done, results, policies) -> None:
    """Not that much has happened, which is luck, but that all of it could."""
    assert "Traceback" not in done.stderr and "no interleaving" not in done.stderr
    assert {result["policy"] for result in results} == set(policies)
    for result in results:
        assert any(counts["attempts"] for counts in result["seamcalls"].values())
        if result["entries"]:            # nobody was stopped in the middle of something
            assert sum(result["entries"].values()) == PAGES


@pytest.mark.slow
def test_what_real_contention_meets_can_be(tmp_path):
    policies = "kick_on_busy,kick_vcpus"
    holds(*results_of(tmp_path, "--policies", policies), policies.split(","))


@pytest.mark.slow
def test_what_any_policy_meets_can_be(tmp_path):
    holds(*results_of(tmp_path, "--policies", "all"), BY_NAME.keys() & {policy.name for policy in POLICIES})


def simulated(name: str, *overrides: str):
    config = config_file.load(ROOT / f"configs/{name}.toml", ["engine=simulate", "warmup_s=0", *overrides])
    return config, document.from_measured(engines.load("simulate").run(make_plan(config)))


@pytest.mark.parametrize("name, duration_s", [
    pytest.param(name, duration_s, marks=pytest.mark.slow) for name, duration_s in (
        ("string_instruction", 0.001), ("teardown", 0.01), ("accept_spam", 0.001), ("conversion_storm", 0.01),
        ("memslot_delete", 0.01), ("huge_page_split", 0.03), ("build_race", 0.02), ("td_lives", 0.02),
        ("boot_storm", 0.01), ("zero_step_selftest", 0.01), ("faults/machine_check", 0.005), ("faults/vmx_off", 0.01),
        ("broken/no_tdx_lock", 0.02), ("broken/mirror_race", 0.01))])
def test_what_any_workload_meets_can_be(name, duration_s, capsys):
    config, result = simulated(name, f"duration_s={duration_s}")
    assert len(check_outcomes.answered(result)) > 5
    assert run.outcomes_code(result, config) == DONE and "no interleaving" not in capsys.readouterr().err


# --- a wrong answer, planted ---

@pytest.fixture(scope="module", params=[("td.vcpus=1", "workload.hosts=1"), pytest.param((), marks=pytest.mark.slow)],
                ids=["one vCPU and one host", "as shipped"])
def measured(request):
    return simulated("fault_vs_zap", "duration_s=0.001", *request.param)


@pytest.mark.parametrize("call, answer", [
    ("tdh_mem_track", "TDX_EPT_WALK_FAILED|RCX"),                # no row of the call gives it
    ("tdh_mem_page_aug", "TDX_PAGE_METADATA_INCORRECT|R8"),      # one does, but nobody leaves a page so
    ("tdh_mem_page_aug", "TDX_EPT_ENTRY_STATE_INCORRECT|RCX"),   # only behind a KVM_BUG_ON, which this policy never meets
    ("tdh_mem_page_remove", "TDX_TLB_TRACKING_NOT_DONE|RCX"),    # everybody has been kicked
    ("tdh_mem_track", "TDX_PREVIOUS_TLB_EPOCH_BUSY"),            # the same, of the removal before
    ("tdh_mem_range_block", "TDX_GPA_RANGE_ALREADY_BLOCKED|RCX"),        # it is in the mirror, so nobody has
    ("tdh_vp_enter", "TDX_VCPU_ASSOCIATED"), ("tdh_mem_sept_add", "TDX_OP_STATE_INCORRECT"),
])
def test_an_answer_that_cannot_be_fails_the_run(measured, capsys, call, answer):
    config, result = measured
    calls = result.seamcalls | {call: result.seamcalls[call].model_copy(update={"other_by_status": {answer: 1}})}
    assert run.outcomes_code(result.model_copy(update={"seamcalls": calls}), config) == FAILED
    assert capsys.readouterr().err == f"fault_vs_zap: outcome {call}: {answer}: no interleaving gives it\n"


@pytest.mark.parametrize("call, operand, answer", [
    ("tdh_mem_track", "SEPT_TREE", "TDX_OPERAND_BUSY|SEPT_TREE"), ("tdh_mem_track", "RCX", "TDX_OPERAND_BUSY|RCX"),
    ("tdh_mem_range_block", "RCX (host priority)", "TDX_OPERAND_BUSY_HOST_PRIORITY|RCX"),
    ("tdh_mem_page_aug", "SEPT_TREE (injected)", "TDX_OPERAND_BUSY|SEPT_TREE (injected)"),
    ("tdh_mem_page_aug", "R8", "TDX_OPERAND_BUSY|R8"), ("tdh_vp_enter", "OP_STATE", "TDX_OPERAND_BUSY|OP_STATE"),
])
def test_a_lock_that_nobody_can_have_fails_the_run(measured, capsys, call, operand, answer):
    config, result = measured
    calls = result.seamcalls | {call: result.seamcalls[call].model_copy(update={"busy_by_operand": {operand: 2}})}
    assert run.outcomes_code(result.model_copy(update={"seamcalls": calls}), config) == FAILED
    assert capsys.readouterr().err == f"fault_vs_zap: outcome {call}: {answer}: no interleaving gives it\n"


@pytest.mark.parametrize("entry, code", [("EXP_BLOCKEDW", FAILED), ("MAPPED+EL", FAILED), ("REMOVED", FAILED),
                                         ("PEND_BLOCKED+HP", DONE)])
def test_an_entry_that_cannot_be_at_the_end_fails_the_run(measured, capsys, entry, code):
    config, result = measured
    assert run.outcomes_code(result.model_copy(update={"entries": {"MAPPED": 511, entry: 1}}), config) == code
    sentence = f"fault_vs_zap: outcome SEPT entry: {entry}: no interleaving gives it\n"
    assert capsys.readouterr().err == sentence * (code == FAILED)


@pytest.mark.slow
def test_what_a_run_does_that_is_broken_on_purpose_is_held_against_one_that_is_not(capsys):
    """Without the kick a vCPU is still at the epoch before when the next TRACK is made."""
    config, result = simulated("fault_vs_zap", "duration_s=0.02", "checks.busted=['no_kick']", "workload.hot_pages=2",
                               "workload.pages=4")
    assert run.outcomes_code(result, config) == FAILED
    assert "tdh_mem_track: TDX_PREVIOUS_TLB_EPOCH_BUSY: no interleaving" in capsys.readouterr().err


def test_a_run_that_violates_what_is_taken_for_granted_is_not_judged(measured, capsys):
    config, result = measured
    broken = result.model_copy(update={"invariants": result.invariants | {"exclusive_ownership": 3, "no_halt": 1},
                                       "entries": {"EXP_BLOCKEDW": 1}})
    assert run.outcomes_code(broken, config) == DONE
    assert capsys.readouterr().err == ("fault_vs_zap: outcomes are not judged, as they take for granted what was violated:"
                                       " exclusive_ownership 3, no_halt 1\n")


@pytest.mark.parametrize("setting, allowed", [({"machine": {"placement": "packed"}}, "machine.placement = 'packed'"),
                                              ({"td": {"large_pages": True, "memory_mib": 4}}, "td.large_pages = True"),
                                              ({"module": "1.5.24", "td": {"dynamic_pamt": True}}, "td.dynamic_pamt = True")])
def test_what_it_cannot_follow_is_refused_before_the_run(setting, allowed):
    """It came as a fault of the program after the run, or did not come to its end."""
    with pytest.raises(UsageError, match=f"{allowed}: not together with --check-outcomes; allowed there: ") as refused:
        run.outcomes_can_be_found(config("do_no_vcpus_619", **setting))
    assert "\n" not in str(refused.value)
    run.outcomes_can_be_found(config("do_no_vcpus_619"))
