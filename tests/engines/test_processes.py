"""Real processes: every policy and pattern runs, and what is measured is what was done."""

import os
import time

import numpy as np
import pytest

from harness.engines.processes import coordinator
from harness.experiment.config_file import load
from harness.experiment.plan import make_plan
from harness.memory.layout import TDVPS_STEPPING
from harness.protocol.policies import POLICIES
from harness.results import document
from harness.results.expectations import failures
from kernels import stepping
from kernels.words import TDHP
from tests.command_line import ROOT
from tests.engines.real_runs import (
    LONG_S, Watched, armed_for_a_pending_page, attempts_of, nothing_violated, prepare, result_of, result_until,
)
from tests.tries import until


@pytest.mark.parametrize("policy, primitive", [
    *(pytest.param(policy, "cas", marks=[] if number % 2 == 0 else pytest.mark.slow) for number, policy in enumerate(POLICIES)),
    *(pytest.param(policy, "bts", marks=[] if policy.name == "kick_on_busy" else pytest.mark.slow)
      for policy in POLICIES),
], ids=lambda value: getattr(value, "name", value))
def test_every_policy_runs_and_breaks_only_what_it_is_known_to_break(monkeypatch, policy, primitive):
    monkeypatch.setattr(coordinator, "Coordinator", Watched)

    def always(result):
        violated = {name for name, count in result.invariants.items() if count}
        assert violated <= set(policy.breaks), result.invariants
        unchecked = {name for name, count in result.invariants.items() if count is None}
        # The mirror of a dead VM says nothing; a run that ends in a deadlock does not come to rest.
        assert unchecked == ({"quiet_mirror"} if Watched.last.vm_is_dead() else set()) \
            or "no_deadlock" in policy.breaks, result.verdict
        for name, call in result.seamcalls.items():
            assert call.attempts == call.success + call.busy + call.other, name
            assert sum(call.busy_by_operand.values()) == call.busy

    # What a policy gets done in so short a time is not asserted: all vCPUs may be armed for pending pages.
    result_until(attempts_of, policy.name, always, primitive=primitive, warmup_s=0.05)


@pytest.mark.parametrize("pattern", ["uniform", "hot", "zipf", "sequential"])
def test_every_pattern_runs(pattern):
    workload = {"pattern": pattern, "pages": 64, "removals_per_s": 0.0, "accept_first": 0.5}
    result_until(lambda result: result.counters["installs"] > 0, always=nothing_violated, workload=workload)


def test_without_hosts_pages_are_touched_and_nothing_is_removed():
    def always(result):
        nothing_violated(result)
        assert result.counters.get("removals", 0) == 0

    result_until(lambda result: result.counters["touches"] > 0, always=always, workload={"hosts": 0})


def test_many_more_workers_than_processors_run_and_say_so(monkeypatch):
    allowed = sorted(os.sched_getaffinity(0))[:2]
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(allowed))
    result = result_of(td={"vcpus": 12, "memory_mib": 2})
    assert result.verdict.status == "DEGRADED", result.verdict
    assert any("workers share" in reason for reason in result.verdict.reasons)
    nothing_violated(result)


def test_the_shadow_owner_is_a_switch():
    result = result_of(checks={"exclusive_ownership": False})
    assert result.invariants["exclusive_ownership"] is None


# Every fifth SEAMCALL is answered BUSY, so that nobody need meet anybody.
UNLUCKY = {"base": "zero_tolerance", "inject_every": 5}


def test_a_policy_of_zero_tolerance_bugs_its_vm_and_the_run_ends_there():
    result = result_of(UNLUCKY, restart_on_bug=False, duration_s=LONG_S, warmup_s=0.0)
    assert sum(result.bugs.values()) == 1
    assert result.measured_s < LONG_S and result.bug_log[0].cause in result.bugs
    nothing_violated(result)


def test_a_bug_can_come_before_the_measurement_begins():
    result = result_of(UNLUCKY, restart_on_bug=False, duration_s=1.0, warmup_s=LONG_S)
    assert sum(result.bugs.values()) == 1


@pytest.mark.slow
@pytest.mark.parametrize("name, counter", [
    ("boot_storm", "installs"), ("fault_vs_zap", "removals"), ("conversion_storm", "conversions"),
    ("memslot_delete", "slots_deleted"), ("teardown", "rebuilds"), ("accept_spam", "spammed"),
    ("zero_step_selftest", "zero_step.armed"), ("string_instruction", "helped"),
    ("huge_page_split", "splits"), ("build_race", "builds"),
])
def test_every_workload_does_what_it_is_named_after_and_breaks_nothing(name, counter):
    path = ROOT / f"configs/{name}.toml"
    expect = load(path).expect

    def always(result):
        nothing_violated(result)
        # What a config wants to be 0 must be 0 in every run; of the rest there may be too little to see.
        assert not failures(result, {key: bound for key, bound in expect.items() if bound.max == 0})

    until(lambda result: not failures(result, expect) and result.counters[counter] > 0,
          lambda duration_s: document.from_measured(coordinator.run(make_plan(load(path, [f"duration_s={duration_s}"])))),
          always, first_s=2.0)


# --- what is measured ---

@pytest.mark.slow
def test_a_hang_is_noted_with_what_each_vcpu_was_told(monkeypatch):
    """Both vCPUs are armed for a page that is pending: neither can enter and accept it."""
    prepare(monkeypatch, armed_for_a_pending_page)
    keys = {"td": {"vcpus": 2, "memory_mib": 2}, "restart_on_bug": False, "duration_s": LONG_S, "warmup_s": 0.0}
    result = result_of("kick_vcpus", **keys, workload={"pages": 1, "hot_pages": 1, "hosts": 0})
    assert result.hangs.count == 1
    [hang] = result.hangs.log
    assert len(hang.vcpus) == 2
    # Refused by the filter, or BUSY because the other vCPU is in it.
    assert all("tdh_vp_enter: " in vcpu and "TDX_SUCCESS" not in vcpu for vcpu in hang.vcpus)
    assert result.measured_s < LONG_S


def test_an_orphaned_host_priority_starves_the_guest_until_its_td_exits(monkeypatch):
    """A host that lost page 0's entry never came back; each TDCALL on it is refused, for hp_lock_timeout."""
    def orphaned(memory):
        armed_for_a_pending_page(memory)
        for vcpu in range(memory.layout.vcpus):
            memory.set_word(memory.layout.at("tdvps", vcpu) + TDVPS_STEPPING + stepping.EPF_LENGTH, 0, 8)
        memory.view("sept.0")[0] |= np.uint64(TDHP)

    prepare(monkeypatch, orphaned)
    # One vCPU: two would make each other plainly BUSY, which stops the timer.
    td = {"vcpus": 1, "memory_mib": 2, "hp_lock_timeout_ms": 50}
    workload = {"pages": 1, "hot_pages": 1, "hosts": 0}
    # (Not longer, as this TD hangs for good, and would be ended for that.)
    result = result_until(lambda result: result.host_priority.timeouts >= 2, td=td, warmup_s=0.0,
                          workload=workload, longest_s=1.0)
    priority = result.host_priority
    assert priority.orphaned == 1
    assert priority.guest_refused_ns.p50 >= 50e6 * 63 / 64     # as exact as a histogram is
    assert result.seamcalls["tdg_mem_page_accept"].busy_by_operand == {"RCX (host priority)": priority_count(result)}


def priority_count(result) -> int:
    accept = result.seamcalls["tdg_mem_page_accept"]
    return accept.attempts - accept.other


@pytest.mark.slow
def test_the_same_td_does_not_hang_when_faults_are_retried_in_the_host():
    """A machine that runs nobody for a while could look like a hang: one run without one will do."""
    keys = {"td": {"vcpus": 2, "memory_mib": 2}, "warmup_s": 0.0, "costs_ns": {"invalidate": 20_000},
            "workload": {"pages": 1, "hot_pages": 1, "accept_first": 0.0, "removals_per_s": 50_000.0}}
    until(lambda result: not result.hangs.count, lambda _: result_of(duration_s=2.0, **keys))


def test_time_that_is_configured_is_spent():
    """A removal holds BLOCK's work, so no removal can be quicker than it."""
    result = result_until(lambda result: result.spans_ns.removal.count,
                          costs_ns={"tdh_mem_range_block": 50_000}, workload={"removals_per_s": 0.0})
    assert result.seamcalls["tdh_mem_range_block"].latency_ns.p50 > 50_000 * 0.95
    assert result.spans_ns.removal.p50 > 50_000 * 0.95


def test_warm_up_is_not_in_the_result(monkeypatch):
    """It lasts until all pages are installed, and nobody removes one: none is left to be installed later."""
    pages = 64

    class Warm(Watched):
        def _watch(self, duration_s, report):
            if report:
                return super()._watch(duration_s, report)
            self.warm_up_began = time.perf_counter()
            while self.counted("installs")[0] < pages:
                assert super()._watch(0.05, report=False)
            self.warm_up_s = time.perf_counter() - self.warm_up_began
            return True

    monkeypatch.setattr(coordinator, "Coordinator", Warm)
    result = result_until(lambda result: result.counters["touches"] > 0, always=nothing_violated,
                          workload={"hosts": 0, "pattern": "sequential", "pages": pages})
    warm_up, measured = Watched.last.counted("touches")
    assert warm_up >= pages and result.counters["touches"] == measured
    assert Watched.last.counted("installs") == (pages, 0) and result.counters["installs"] == 0
    over_s = time.perf_counter() - Watched.last.warm_up_began
    assert result.measured_s <= over_s - Watched.last.warm_up_s


def test_without_a_warm_up_nothing_is_counted_as_one(monkeypatch):
    monkeypatch.setattr(coordinator, "Coordinator", Watched)
    result_until(attempts_of, warmup_s=0.0)
    half = Watched.last.plan.tables.half
    assert not any(Watched.last.memory.record(actor.number)[:half].any() for actor in Watched.last.plan.actors)


@pytest.mark.slow
def test_shipped_configs_show_what_they_say():
    """Counts, not rates: whatever the machine, these policies differ in kind."""
    def run_until(seen, name, always):
        def run(duration_s):
            return document.from_measured(coordinator.run(make_plan(load(
                ROOT / f"configs/{name}.toml", [f"duration_s={duration_s}", "warmup_s=0.2"]))))
        return until(seen, run, always, first_s=1.5)

    def no_bugs(result):
        assert not result.bugs

    def kicked(result):
        no_bugs(result)
        for name in ("tdh_mem_range_block", "tdh_mem_track", "tdh_mem_page_remove"):
            assert result.seamcalls[name].busy == 0
        # A broadcast for each removal there, one after each TRACK here; the bar is up only there.
        assert result.counters["kick_broadcasts"] >= result.counters["removals"]

    run_until(lambda result: result.counters["removals"] > 0, "kick_on_busy", no_bugs)
    run_until(lambda result: result.counters["removals"] > 0 and result.kicks.entries_refused > 0,
              "kick_vcpus", kicked)
    run_until(lambda result: sum(result.bugs.values()), "zero_tolerance", lambda result: None)
