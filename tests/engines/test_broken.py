"""Negative controls in real processes: what is broken on purpose is seen, and so are deadlocks and halts."""

import pytest

from harness.engines.processes import coordinator
from harness.experiment.config_file import load
from harness.experiment.plan import make_plan
from harness.results import document
from harness.results.expectations import failures
from tests.command_line import ROOT
from tests.engines.real_runs import BUSY_LOOP, LONG_S, prepare, result_of, result_until
from tests.tries import until

# All vCPUs do nothing but ACCEPT one page: even where they share a processor they come between one another.
ONE_ENTRY = {"pages": 1, "hot_pages": 1, "spammers": 4, "hosts": 0}


@pytest.mark.parametrize("busted, seen, workload", [
    ("entry_lock", "exclusive_ownership", ONE_ENTRY),
    ("no_track", "stale_translation", BUSY_LOOP["workload"]), ("no_kick", "stale_translation", BUSY_LOOP["workload"]),
])
def test_what_is_busted_is_caught(busted, seen, workload):
    """Mostly by the first run: the race needs two workers to meet."""
    result_until(lambda result: result.invariants[seen], checks={"busted": [busted]}, workload=workload)


def test_without_a_kick_after_track_a_removal_is_refused_and_bugs_the_vm():
    """A vCPU that was not kicked still counts at the old epoch."""
    result_until(
        lambda result: any("tdh_mem_page_remove: TDX_TLB_TRACKING_NOT_DONE" in bug for bug in result.bugs),
        {"kick_after_track": False, "base": "kick_on_busy"})


def test_a_block_that_is_busy_and_ignored_bugs_the_vm_at_the_removal(monkeypatch):
    """The tree is held shared for ever, so that every BLOCK comes back BUSY."""
    prepare(monkeypatch, lambda memory: memory.set_word(memory.layout.at("secure_ept_lock"), 2, 16))
    result_until(lambda result: result.bugs.get("tdh_mem_page_remove: TDX_GPA_RANGE_NOT_BLOCKED|RCX"),
                 {"block": ["ignore"], "track": ["ignore"], "base": "kick_on_busy"})


BROKEN = sorted(ROOT.glob("configs/broken/*.toml"))
# What makes workers meet even on one processor: a call that is within its locks for longer than a time slice.
LONG_NS = 5_000_000
MET_FOR_SURE = {"no_tdx_lock": "tdh_phymem_cache_wb", "mirror_race": "tdh_mem_page_aug", "build_race_616": "tdh_mem_sept_add",
                "spinlock_vm": "tdg_mem_page_accept"}


@pytest.mark.parametrize("path", [
    path if path.stem == "no_post_kick" else pytest.param(path, marks=pytest.mark.slow)
    for path in BROKEN], ids=lambda path: path.stem)
def test_every_broken_policy_is_caught_by_what_its_config_expects(path):
    """Each of these races comes within a second or two, where there are processors to run on."""
    def run(duration_s):
        settings = [f"costs_ns.{MET_FOR_SURE[path.stem]}={LONG_NS}"] if path.stem in MET_FOR_SURE and duration_s > 2 else []
        return document.from_measured(coordinator.run(make_plan(load(path, [f"duration_s={duration_s}", *settings]))))

    expect = load(path).expect
    first_s = 6.0 if "deadlock" in path.read_text() else 0.5
    until(lambda result: not failures(result, expect), run, first_s=first_s, longest_s=20.0)


def test_a_deadlock_is_found_and_says_who_waits_for_what():
    """With entry barred for whole removals the kick after TRACK meets vCPUs that spin with interrupts off."""
    policy = {"base": "reenter_irqoff", "bar": "removal"}
    result = result_of(policy, duration_s=LONG_S, warmup_s=0.0, restart_on_bug=False)
    assert result.invariants["no_deadlock"] == 1 and result.measured_s < LONG_S
    [hang] = [hang for hang in result.hangs.log if hang.waiting]
    assert any("host0 waits in zap; it held mmu_lock (exclusive)" in line and "kick[" in line
               for line in hang.waiting), hang
    assert result.verdict.status != "UNTRUSTWORTHY"


def test_a_module_that_halts_ends_the_run_and_names_the_check():
    result = result_until(lambda result: result.invariants["no_halt"], checks={"busted": ["entry_lock"]},
                          workload=ONE_ENTRY)
    [reason] = [reason for reason in result.verdict.reasons if "halted" in reason]
    assert "SEPT_ENTRY" in reason
