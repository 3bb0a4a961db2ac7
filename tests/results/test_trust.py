"""When not to believe a run: every reason is provoked."""

from types import SimpleNamespace

import pytest

from harness.engines.processes import coordinator
from harness.experiment.plan import make_plan
from harness.results import document, store, trust
from harness.results.schema import Conditions, Result, Stream, Verdict
from harness.results.trust import DEGRADED, UNTRUSTWORTHY, VALID
from tests.command_line import inside
from tests.made import meet_busy, of
from tests.stage import config

GOOD_CONDITIONS = {
    "full_concurrency_share": 1.0, "involuntary_switches_count": 0, "steal_share": 0.0, "other_load_share": 0.0,
    "quota_processors": None, "throttled_count": 0, "throttled_s": 0.0, "speed_drift_share": 0.0, "workers": {},
    "clock": {"source": "tsc", "invariant": True, "offset_ns": 0.0, "rate_drift_share": 0.0},
}


@pytest.fixture
def good() -> Result:
    """A result that nothing is the matter with: two workers on four processors, 10,000 calls in 5 s."""
    plan = make_plan(config(td={"vcpus": 1}))
    result = document.example(plan)
    result.conditions = Conditions(**GOOD_CONDITIONS)
    result.records = {"vcpu0": "whole", "host0": "whole"}
    result.measured_s = 5.0
    result.workers.processors = [0, 1, 2, 3]
    meet_busy(result, "tdh_vp_enter", attempts=10_000, busy=0)
    return result


def change(result, key, value):
    *parents, last = key.split(".")
    for parent in parents:
        result = result[parent] if isinstance(result, dict) else getattr(result, parent)
    if isinstance(result, dict):
        result[last] = value
    else:
        setattr(result, last, value)


def test_a_result_with_nothing_the_matter_is_valid(good):
    assert trust.verdict(good, [], "") == Verdict(status=VALID, reasons=[])


# What is the matter, by the name of its row in trust.REASONS; two where there are two ways to it.
PROVOKED = [
    ("more workers than processors", DEGRADED, {"workers.processors": [0]}, "2 workers share 1 processor:"),
    ("CPU quota", DEGRADED, {"conditions.quota_processors": 1.5}, "may use 1.5 processors, the workers want 2"),
    ("CPU quota", DEGRADED, {"conditions.throttled_count": 3, "conditions.throttled_s": 0.25},
     "stopped 3 times, for 0.25 s"),
    ("steal time", DEGRADED, {"conditions.steal_share": 0.02}, "gave 2 % of"),
    ("another load", DEGRADED, {"conditions.other_load_share": 0.5}, "another load took 50 %"),
    ("clock", DEGRADED, {"conditions.clock.invariant": False}, "not invariant: the processor"),
    ("clock", DEGRADED, {"conditions.clock.rate_drift_share": -0.01}, "rate changed by -1 %"),
    ("clock", DEGRADED, {"conditions.clock.offset_ns": 5000.0}, "not synchronous: two processors are 5000 ns apart"),
    ("frequency", DEGRADED, {"conditions.speed_drift_share": 0.99}, "+99 %"),
    ("open loop", DEGRADED, {"arrivals": {
        "touches": Stream(offered_per_s=1000, served_per_s=600, since_intended_ns=of(0)),
        "faults": Stream(since_intended_ns=of(0))}},
     "of 1000 touches per s only 600"),
    ("few operations", DEGRADED, lambda result: meet_busy(result, "tdh_vp_enter", attempts=12, busy=0),
     "only 12 SEAMCALLs"),
    ("claims", DEGRADED, {"config.expect": {"spans_ns.removal.p99_9": {"max": 5}}},
     "expect.spans_ns.removal.p99_9: 0 samples, it takes at least 1000"),
    ("dead guests", DEGRADED, {"guest_deaths": {"mismatch": 1}}, "1 TD was ended by its guest"),
    ("dead guests", DEGRADED, {"guest_deaths": {"busy": 2, "mismatch": 1}}, "3 TDs were ended by their guests"),
    ("interrupted", DEGRADED, {"interrupted": True}, "interrupted"),
    ("conservation", UNTRUSTWORTHY, {"invariants.conservation": 1}, "not conserved"),
    ("contradiction", UNTRUSTWORTHY, {"busy.retries_max": 3},
     "contradicts itself: busy.retries_max = 3: must be the greatest of all SEAMCALLs"),
    ("stopped meanwhile", UNTRUSTWORTHY, lambda result: setattr(result, "measured_s", result.config["duration_s"] + 3.0),
     "in place of"),
    ("stopped meanwhile", UNTRUSTWORTHY, {"conditions.stopped_s": 3.0},
     "the run was stopped from outside for 3 s (Ctrl-Z, or a frozen control group)"),
    ("stopped meanwhile", UNTRUSTWORTHY, {"conditions.workers": {"vcpu0": SimpleNamespace(stopped_s=3.0)}},
     "worker vcpu0 was stopped from outside for 3 s"),
    ("coordinator", DEGRADED, {"conditions.unwatched_s": 3.0},
     "the coordinator was stopped for 3 s, its workers not: no hang was looked for meanwhile"),
    ("stopped meanwhile", UNTRUSTWORTHY, {"conditions.unwatched_s": 3.0, "measured_s": 9.0},
     "measured for 9 s in place of 5 s: the coordinator was stopped for 3 s"),
    ("worker record", UNTRUSTWORTHY, {"records.vcpu0": "torn"}, "the record of vcpu0 is torn"),
    ("worker record", UNTRUSTWORTHY, {"records.host0": "missing"}, "the record of host0 is missing"),
    ("negative control", UNTRUSTWORTHY, {"config.checks.busted": ["no_track"]}, "no_track was broken on purpose"),
]


@pytest.mark.parametrize("name, status, changes, says", PROVOKED)
def test_each_reason_makes_its_verdict_and_says_so(good, name, status, changes, says):
    if callable(changes):
        changes(good)
    else:
        for key, value in changes.items():
            change(good, key, value)
    verdict = trust.verdict(good, [], "")
    assert verdict.status == status
    [reason] = verdict.reasons
    assert says in reason


def test_every_reason_is_provoked():
    assert {name for name, *_ in PROVOKED} == {reason.name for reason in trust.REASONS}


@pytest.mark.parametrize("key, value", [
    ("conditions", None), ("conditions.steal_share", None), ("conditions.other_load_share", None),
    ("conditions.quota_processors", None), ("conditions.throttled_count", None),
    ("conditions.speed_drift_share", None), ("conditions.clock.offset_ns", None),
    ("conditions.clock.invariant", None),
    ("conditions.quota_processors", 2.0),                # enough for two workers
])
def test_what_is_not_known_or_enough_is_no_reason(good, key, value):
    change(good, key, value)
    assert trust.verdict(good, [], "").status == VALID


# What may be measured before it is a reason, and a little more; the good result is of 5 s, of two workers on four processors.
LIMITS = [
    ("conditions.steal_share", 0.01, 0.0101),
    ("conditions.other_load_share", 0.05, 0.0501),
    ("conditions.clock.offset_ns", 1000, 1001),
    ("conditions.clock.rate_drift_share", -0.001, -0.00101),
    ("conditions.speed_drift_share", -0.05, -0.0501),
    ("conditions.stopped_s", 0.1, 0.101),
    ("conditions.unwatched_s", 0.5, 0.501),
    ("measured_s", 6.5, 6.51),
    ("arrivals", 907.6, 907.5),
]


@pytest.mark.parametrize("key, allowed, beyond", LIMITS, ids=[key for key, *_ in LIMITS])
def test_a_reason_begins_just_beyond_its_limit(good, key, allowed, beyond):
    for value, reasons in ((allowed, 0), (beyond, 1)):
        if key == "arrivals":                            # 5000 are offered: 95 % of them, and three times their root
            value = {"touches": Stream(offered_per_s=1000, served_per_s=value, since_intended_ns=of(0))}
        change(good, key, value)
        assert len(trust.verdict(good, [], "").reasons) == reasons, value


@pytest.mark.parametrize("attempts, reasons", [(999, 1), (1000, 0)])
def test_a_thousand_calls_are_enough(good, attempts, reasons):
    meet_busy(good, "tdh_vp_enter", attempts=attempts, busy=0)
    assert len(trust.verdict(good, [], "").reasons) == reasons


@pytest.mark.parametrize("share, reasons", [(0.06, 0), (0.065, 1)])
def test_another_load_of_a_short_run_is_counted_in_hundredths_of_a_second(good, share, reasons):
    """0.05 s of 0.2 s on four processors."""
    good.measured_s = 0.2
    change(good, "conditions.other_load_share", share)
    assert len(trust.verdict(good, [], "").reasons) == reasons


def test_a_negative_control_that_failed_as_it_should_is_no_reason(good):
    change(good, "config.checks.busted", ["no_track"])
    change(good, "invariants.stale_translation", 7)
    assert trust.verdict(good, [], "").status == VALID


def test_a_problem_of_the_run_outweighs_everything(good):
    change(good, "interrupted", True)
    assert trust.verdict(good, ["worker vcpu0 was killed"], "").status == UNTRUSTWORTHY


def test_a_record_that_somebody_else_wrote_into_makes_a_run_untrustworthy(monkeypatch):
    original = coordinator.Coordinator.measured

    def meddle(watcher, calibration):
        watcher.memory.record(0)[watcher.plan.tables.half] += 1
        return original(watcher, calibration)

    monkeypatch.setattr(coordinator.Coordinator, "measured", meddle)
    result = document.from_measured(coordinator.run(make_plan(config(duration_s=0.1, warmup_s=0.0))))
    assert result.verdict.status == UNTRUSTWORTHY
    assert any("the record of vcpu0 is damaged" in reason for reason in result.verdict.reasons)


def test_a_negative_control_that_does_not_fail_is_exit_code_3(tmp_path):
    """Without a host nothing is ever removed, so that leaving out TRACK cannot show."""
    run = inside("run", "configs/kick_on_busy.toml", "--set", "duration_s=0.1", "--set", "warmup_s=0", "--set", "workload.hosts=0",
                  "--set", "checks.busted=['no_track']", "--out", tmp_path)
    assert run.returncode == 3, run.stderr
    assert "negative control did not fail: no_track" in run.stderr
    [saved] = tmp_path.glob("*/result.json")
    assert store.read(saved).verdict.status == UNTRUSTWORTHY
