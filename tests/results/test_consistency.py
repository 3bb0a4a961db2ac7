"""Counts that do not add up are refused with the key; what a lost worker leaves open is not."""

import functools

import pytest

from harness.results import schema
from harness.results.consistency import CALL_RULES, RULES, contradictions
from tests.made import made, stored
from tests.results.test_store import document, read_by_all, refused

TRACK = "seamcalls.tdh_mem_track."
# (the rule's key, what is changed); two where a rule has two sides.
CONTRADICTIONS = [
    (TRACK + "success", {TRACK + "success": 1001}), (TRACK + "busy", {TRACK + "busy": 1001}),
    (TRACK + "other", {TRACK + "other": 1001}),
    (TRACK + "attempts", {TRACK + "other": 5, TRACK + "other_by_status": {"X": 5}}),
    (TRACK + "attempts", {TRACK + "attempts": 999}), (TRACK + "attempts", {TRACK + "attempts": 1001}),
    (TRACK + "busy_by_operand", {TRACK + "busy_by_operand": {"TD_EPOCH": 39}}),
    (TRACK + "busy_by_cause", {TRACK + "busy_by_cause.running": 41}),
    (TRACK + "other_by_status", {TRACK + "other_by_status": {"TDX_OP_STATE_INCORRECT": 1}}),
    (TRACK + "contended", {TRACK + "contended": 961}), (TRACK + "retries.count", {TRACK + "retries.count": 959}),
    (TRACK + "latency_ns.count", {TRACK + "latency_ns.count": 961}),
    ("busy.answers", {"busy.answers": 41}), ("busy.attempts", {"busy.attempts": 1501}),
    ("busy.operations", {"busy.operations": 1461}),
    ("busy.per_attempt", {"busy.per_attempt": 0.5}), ("busy.per_attempt", {"busy.per_attempt": None}),
    ("busy.per_operation", {"busy.per_operation": 0.5}), ("busy.retries_max", {"busy.retries_max": 2}),
    ("busy.by_cause", {"busy.by_cause.running": 39}),
    ("busy.net.per_attempt", {"busy.net.per_attempt": 0.5}),
    ("busy.net.per_operation", {"busy.net.per_operation": 0.9}), ("busy.net.per_operation", {"busy.net.per_operation": None}),
    ("busy.late_holds", {"busy.late_holds": None}),
    ("zero_step.armed_per_million_faults", {"zero_step.armed": 3}),
    ("zero_step.armed_per_million_faults", {"zero_step.armed_per_million_faults": None}),
    ("kicks.guest_time_lost_share", {"kicks.guest_time_lost_share": 1.1}),
    (TRACK + "retries", {TRACK + "retries.p99": None}), (TRACK + "retries", {TRACK + "retries.p99": 0.5}),
    ("spans_ns.fault", {"spans_ns.fault.max": 3}), ("kicks.wait_ns", {"kicks.wait_ns.count": 3}),
    ("hangs.count", {"hangs.deadlocks": 1}), ("hangs.log", {"hangs.count": 1}),
    ("histograms.latency_ns", {"histograms.latency_ns.tdh_mem_track.buckets": "40:1"}),
    ("histograms.retries", {"histograms.retries.tdh_mem_track.buckets": "40:1"}),
    ("histograms.span_ns", {"histograms.span_ns.removal.buckets": "40:1"}),
    ("histograms.span_ns", {"spans_ns.fault.count": 7}),
]


def contradicting(changes: dict) -> dict:
    damaged = document()
    for key, value in changes.items():
        *parents, last = key.split(".")
        functools.reduce(lambda table, parent: table[parent], parents, damaged)[last] = value
    return damaged


@pytest.mark.parametrize("key, changes", CONTRADICTIONS, ids=lambda value: str(value).replace(TRACK, ""))
def test_counts_that_do_not_add_up_are_refused_with_the_key(key, changes):
    result = schema.Result.model_validate({name: value for name, value in contradicting(changes).items() if name != "schema"})
    assert key in [sentence.partition(":")[0].partition(" = ")[0] for sentence in contradictions(result)]
    assert "(damaged, or of another version)" in refused(contradicting(changes))


def test_every_rule_is_provoked():
    keys = {key for key, _ in CONTRADICTIONS}
    assert {TRACK + rule.key for rule in CALL_RULES} | {rule.key for rule in RULES} <= keys


def test_a_call_that_was_never_answered_is_no_contradiction_where_a_worker_was_lost():
    """conservation is then not checked; but more answers than attempts are one still."""
    lost = {"invariants.conservation": None, TRACK + "attempts": 1001, "busy.attempts": 1501, "busy.per_attempt": 40 / 1501}
    assert not refused(contradicting(lost))
    assert "success + busy + other" in refused(contradicting(lost | {"invariants.conservation": 0}))
    assert "success + busy + other" in refused(contradicting(lost | {TRACK + "attempts": 999}))
    causes = {TRACK + "busy_by_cause.running": 39, "busy.by_cause.running": 39, "busy.net.per_operation": 0.9}
    assert not refused(contradicting(lost | causes)) and refused(contradicting(causes))


def test_a_result_that_says_itself_that_it_is_untrustworthy_can_be_read():
    damaged = contradicting({TRACK + "attempts": 999, "verdict.status": "UNTRUSTWORTHY"})
    assert not refused(damaged)
    read_by_all(damaged)


# --- what is no contradiction ---

@pytest.mark.parametrize("changes", [
    {},
    {"busy.by_cause": None, "busy.late_holds": None, "busy.net.per_attempt": None, "busy.net.per_operation": None,
     TRACK + "busy_by_cause": None},                                     # causes were not looked for
    {TRACK + "success": 955, TRACK + "other": 5, TRACK + "other_by_status": {"X": 2, "Y": 3}},
    {"zero_step.private_faults": 0, "zero_step.armed": 0, "zero_step.armed_per_million_faults": None},
    {"zero_step.private_faults": 3, "zero_step.armed": 1, "zero_step.armed_per_million_faults": 333333.3},
    {"kicks.guest_time_lost_share": 1.0}, {"kicks.guest_time_lost_share": 1 + 4 * 60e-9},
    {"kicks.guest_time_lost_ns.max": 5e8, "kicks.guest_time_lost_share": 2.9},
    {"spans_ns.fault": {"count": 1, "p50": None, "p90": None, "p99": None, "p99_9": None, "p99_99": None, "max": 7},
     "histograms.span_ns.fault": {"buckets": "7:1", "sum": 7, "max": 7}},
    {"spans_ns.fault": {"count": 2, "p50": 7, "p90": None, "p99": None, "p99_9": None, "p99_99": None, "max": 7},
     "histograms.span_ns.fault": {"buckets": "7:2", "sum": 14, "max": 7}},
    {"hangs": {"count": 17, "deadlocks": 17, "log": [{"at_s": 1, "vcpus": [], "waiting": []}] * 16}},
], ids=lambda changes: ", ".join(changes) or "nothing")
def test_what_can_be_is_not_refused(changes):
    assert not refused(contradicting(changes))


def test_a_run_in_which_nothing_happened_is_no_contradiction():
    result = made()
    assert not list(contradictions(result))
    result.busy.per_attempt = 0.0                        # of no attempts
    assert list(contradictions(result)) == ["busy.per_attempt = 0.0: must be answers / attempts"]
    result = made()
    result.busy.net.per_operation = 0.0
    assert list(contradictions(result)) == ["busy.net.per_operation = 0.0: must be at most per_operation"]


def test_a_histogram_of_what_no_summary_knows_is_a_contradiction():
    result = made()
    result.histograms.latency_ns["tdh_no_such"] = stored(1)
    assert list(contradictions(result)) == ["histograms.latency_ns: must hold as many values as seamcalls say"]
