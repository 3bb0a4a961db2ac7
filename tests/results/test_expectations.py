"""Whether a result is as expected: invariants, bounds, and the dotted keys that they name."""

import pytest

from harness.errors import UsageError
from harness.experiment.config import Bound
from harness.experiment.plan import make_plan
from harness.results import document, expectations
from harness.results.expectations import Failure, failures, lookup
from tests.made import made, meet_busy
from tests.stage import config


@pytest.fixture
def result():
    found = made()
    meet_busy(found, "tdh_mem_track", attempts=1000, busy=40)
    found.seamcalls["tdh_mem_track"].other_by_status = {"TDX_OP_STATE_INCORRECT": 3}
    found.bugs = {"a: b": 2, "c: d.e": 5}
    found.invariants = {"mirror_race": 3, "quiet_tree": None, "quiet_locks": 0}
    found.counters = {"removals": 9, "zero_step.armed": 4, "zero_step": 1}
    return found


@pytest.mark.parametrize("key, value", [
    ("bugs.total", 7), ("bugs.a: b", 2), ("bugs.c: d.e", 5), ("bugs.not this one", 0),
    ("invariants.total", 3), ("invariants.mirror_race", 3), ("invariants.quiet_tree", None),
    ("seamcalls.tdh_mem_track.busy", 40), ("seamcalls.tdh_mem_track.busy_by_operand.TD_EPOCH", 40),
    ("seamcalls.tdh_mem_track.busy_by_operand.RCX", None), ("seamcalls.tdh_vp_enter.busy_by_operand.RCX", 0),
    ("seamcalls.tdh_mem_track.other_by_status.TDX_OP_STATE_INCORRECT", 3),
    ("seamcalls.tdh_mem_track.other_by_status.TDX_NEVER", 0), ("seamcalls.tdh_no_such.other_by_status.X", None),
    ("seamcalls.tdh_mem_track.latency_ns.p50", 40), ("busy.per_attempt", 0.04), ("busy.by_cause.running", 40),
    ("counters.zero_step.armed", 4), ("counters.zero_step", 1), ("counters.zero_step.other", None),
    ("faults.refused", 0), ("arrivals.touches.served_per_s", None), ("workers", None), ("interrupted", None), ("policy", None),
    ("policy.name", None), ("no.such.key", None), ("measured_s", 1.0), ("spans_ns.removal.count", 0),
])
def test_a_number_is_found_by_its_key(result, key, value):
    assert lookup(result, key) == value


@pytest.mark.parametrize("bound, fails", [
    ({"min": 40}, False), ({"min": 41}, True), ({"max": 40}, False), ({"max": 39}, True), ({"min": 40, "max": 40}, False),
    ({"min": 0, "max": 39}, True), ({"min": 41, "max": 50}, True), ({}, False),
])
def test_a_bound_may_be_met_exactly(result, bound, fails):
    expect = {"seamcalls.tdh_mem_track.busy": Bound(**bound), "invariants.total": Bound()}
    assert bool(failures(result, expect)) == fails


@pytest.mark.parametrize("count, bound, fails", [
    (3, None, True), (0, None, False), (None, None, False),
    (3, {}, False), (None, {}, False),               # an empty bound asks nothing, not even that it was checked
    (3, {"min": 1}, False), (0, {"min": 1}, True), (None, {"min": 1}, True), (3, {"max": 2}, True),
])
def test_an_invariant_is_judged_by_its_bound_if_it_has_one(count, bound, fails):
    expect = {} if bound is None else {"invariants.quiet_mirror": Bound(**bound)}
    result = made(invariants={"quiet_mirror": count})
    assert bool(expectations.failures(result, expect)) == fails


def test_a_failure_says_what_was_expected_and_what_was_found(result):
    expect = {"bugs.total": Bound(min=0, max=1.5), "busy.per_operation": Bound(max=0.01), "faults.no_such": Bound(min=1)}
    found = failures(result, expect)
    assert found[0] == Failure("invariant mirror_race", 3, True)
    assert list(map(str, found)) == [
        "invariant mirror_race: 3 violations", "expected bugs.total at least 0 and at most 1.5, got 7",
        f"expected busy.per_operation at most 0.01, got {40 / 960}", "expected faults.no_such at least 1, got 0"]
    assert not any(failure.violation for failure in found[1:])


def test_a_bound_on_all_invariants_judges_them_all(result):
    assert [str(failure) for failure in failures(result, {"invariants.total": Bound(max=2)})] == [
        "expected invariants.total at most 2, got 3"]


@pytest.mark.parametrize("key, near", [("bugs.totle", "bugs.total"), ("busy.per_attemt", "busy.per_attempt"),
                                       ("seamcalls.tdh_mem_track.bussy", "seamcalls.tdh_mem_track.busy")])
def test_a_key_that_no_result_can_have_is_refused_with_the_nearest(key, near):
    plan = make_plan(config(expect={key: {"max": 0}}))
    with pytest.raises(UsageError, match=f"test: expect.{key}: no result has this number; did you mean {near}\\?"):
        expectations.check_expectations(plan, document.example(plan))


@pytest.mark.parametrize("key", ["bugs.total", "invariants.total", "bugs.tdh_mem_track: TDX_OPERAND_BUSY|TD_EPOCH",
                                 "seamcalls.tdh_mem_track.other_by_status.TDX_OP_STATE_INCORRECT|level 0",
                                 "seamcalls.tdh_mem_track.busy", "spans_ns.removal.p99", "invariants.quiet_tree"])
def test_a_key_that_a_result_can_have_is_taken(key):
    plan = make_plan(config())
    statuses = [answer.name for answer in plan.program.answers]
    key = key.replace("TDX_OP_STATE_INCORRECT|level 0", statuses[-1])
    plan = make_plan(config(expect={key: {"max": 0}}))
    expectations.check_expectations(plan, document.example(plan))
