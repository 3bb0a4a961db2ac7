"""One run as a person reads it."""

import csv
import io
import json

import pytest

from harness.reports import run, text
from harness.results.schema import Assumption, Bug, Conditions, Hang, MachineChecks, Simulation, Stream
from tests.made import made, meet_busy, of

WORST = 999_999


@pytest.fixture
def busy():
    """A run that met BUSY of every cause, killed its VM, and hung."""
    result = made()
    meet_busy(result, "tdh_mem_track", attempts=1000, busy=40)
    meet_busy(result, "tdh_vp_enter", attempts=300, busy=0)
    causes = result.seamcalls["tdh_mem_track"].busy_by_cause
    causes.running, causes.gone, causes.preempted, causes.host_priority, causes.recaptured = 5, 6, 20, 4, 5
    result.busy.by_cause = causes
    result.seamcalls["tdh_mem_track"].other_by_status = {"TDX_OP_STATE_INCORRECT": 3}
    return result


def row_of(rows, call):
    [row] = [row for row in rows if call in row.values()]
    return list(row.values())[1:]


def test_calls_have_rates_with_the_bound_of_none_and_net_of_preempted_holders(busy):
    assert row_of(run.call_rows(busy), "tdh_mem_track") == ["1000", "40", "4", "2.04", "0", "1", "1", "1"]     # 20 of 980
    assert row_of(run.call_rows(busy), "tdh_vp_enter") == ["300", "0", "<1", "<1", "0", "0", "0", "0"]
    busy.seamcalls["tdh_vp_enter"].busy_by_cause = None
    assert row_of(run.call_rows(busy), "tdh_vp_enter")[3] == "-"


def test_busy_is_broken_down_by_cause_and_operand_and_other_answers_are_listed(busy):
    assert row_of(run.cause_rows(busy), "tdh_mem_track") == ["40", "5", "6", "5", "4", "20"]
    assert run.operand_rows(busy) == [{"BUSY by operand": "tdh_mem_track", "TD_EPOCH": "40"}]
    assert run.other_rows(busy) == [{"other answers": "tdh_mem_track", "status": "TDX_OP_STATE_INCORRECT", "count": "3"}]


def test_latencies_are_in_microseconds_and_only_of_calls_that_were_made(busy):
    assert row_of(run.latency_rows(busy), "tdh_mem_track") == ["960", "0.04", "0.04", "0.04", "-", "-", "0.04"]
    assert len(run.latency_rows(busy)) == 2


def test_an_open_loop_has_its_table():
    result = made(loop="open", arrivals={"touches": Stream(offered_per_s=1000, served_per_s=990.5, since_intended_ns=of(5, 2000)),
                                         "faults": Stream(since_intended_ns=of(0))})
    assert [list(row.values())[:4] for row in run.arrival_rows(result)] == [["touches", "1000", "990", "5"], ["faults", "-", "-", "0"]]
    assert "what a stall delays shows in the table since intended" in run.legend([{"latency, us": ""}], "open").replace("\n    ", " ")
    assert run.legend(run.arrival_rows(result), "open") in run.run_report(result)


def test_every_header_is_explained_under_its_table(busy):
    """But the operands, which are named, and the percentiles, of which one is."""
    busy.arrivals = {"touches": Stream(offered_per_s=1000, served_per_s=990.5, since_intended_ns=of(5, 2000))}
    tables = [rows for rows in (run.call_rows(busy), run.operand_rows(busy), run.cause_rows(busy), run.latency_rows(busy), run.arrival_rows(busy),
                                run.other_rows(busy))]
    assert [next(iter(rows[0])) for rows in tables] == list(run.LEGENDS)
    known = {"TD_EPOCH", "BUSY", "samples", "per", "s", *run.PERCENTILES.values()}
    for rows in tables:
        said = run.legend(rows, "closed")
        words = {word for header in list(rows[0])[1:] for word in header.split()} - known
        assert {word for word in words if word not in said.replace(":", " ").replace(",", " ").replace(";", " ").split()} <= {"status", "count"}, said
    report = run.run_report(busy)
    assert all(run.legend(rows, "closed") in report for rows in tables) and max(map(len, report.splitlines())) <= text.WIDTH


def facts(result) -> dict:
    return {what: value for row in run.fact_rows(result) for what, value in zip(row[::2], row[1::2])}


def test_every_other_number_is_a_fact_with_its_bound(busy):
    busy.zero_step.private_faults, busy.zero_step.armed_per_million_faults = 300, 0.0
    busy.spans_ns.removal = of(500, 2500)
    found = facts(busy)
    assert found["BUSY per attempt, %"] == "3.08" and found["  per million faults"] == "<10000"
    assert found["removal us, p50 / p99"] == "2.5 / 2.5"
    meet_busy(busy, "tdh_mem_track", attempts=1000, busy=0)
    found = facts(busy)
    assert found["BUSY per attempt, %"] == found["BUSY per operation, %"] == found["  net of preempted holders"] == "<0.23"
    assert len(run.fact_rows(busy)) == len(run.LEFT) == len(run.RIGHT)


def test_bugs_are_listed_by_cause_with_when_the_first_was(busy):
    assert run.bug_lines(busy) == ["KVM_BUG_ON: none"]
    busy.bugs, busy.bug_log = {"a: b": 3, "c: d": 2}, [Bug(at_s=-0.5, actor="host0", cause="a: b")]
    assert run.bug_lines(busy) == ["KVM_BUG_ON: 5, the first 0.500000 s before it, in the warm-up, on host0",
                                   "  3 x a: b", "  2 x c: d"]


def test_hangs_say_the_last_answers_and_a_deadlock_who_waits(busy):
    assert run.hang_lines(busy) == ["hangs: none"]
    busy.hangs.count, busy.hangs.log = 1, [Hang(at_s=1.5, vcpus=["vcpu0 A: B"], waiting=[])]
    assert run.hang_lines(busy) == ["hangs (no vCPU completes a touch): 1, the first 1.5 s into the measurement:", "  vcpu0 A: B"]
    busy.hangs.log.append(Hang(at_s=2, vcpus=[], waiting=["vcpu0 waits"]))
    busy.hangs.count, busy.hangs.deadlocks = 2, 1
    assert run.hang_lines(busy) == ["hangs: 2, 1 of them deadlocks (an actor waits for ever), the first deadlock 2 s into the"
                                    " measurement:", "  vcpu0 waits"]


@pytest.mark.parametrize("invariants, said", [
    ({"a": 0, "b": 0}, "2 hold"), ({"a": 3, "b": 0}, "a VIOLATED 3 times"), ({"a": None, "b": 0}, "1 hold; not checked: a"),
    ({"a": 3, "b": None}, "a VIOLATED 3 times; not checked: b"),
])
def test_invariants_hold_are_violated_or_were_not_checked(busy, invariants, said):
    busy.invariants = invariants
    assert run.invariant_line(busy) == f"invariants: {said}"


def test_what_was_injected_is_said_and_what_the_naive_decoding_would_have_made_of_it(busy):
    assert run.fault_lines(busy) == []
    busy.faults.no_entropy, busy.faults.machine_checks = 7, MachineChecks(
        count=9, private=4, not_private=2, not_in_vmx_operation=1, no_module=1, busy=1)
    lines = run.fault_lines(busy)
    assert lines[0] == "calls without entropy: 7 attempts" and lines[1].startswith("machine checks: 9; page private 4, not private 2")
    busy.naive_decoding.nmi, busy.naive_decoding.without_exit = 5, 6
    assert "NMI 5, interrupt 0, TDCALL 0 (refused entries: 6)" in run.naive_line(busy)


def test_conditions_and_assumptions_are_said_where_there_are_any(busy):
    assert run.condition_line(busy) == "conditions: not known" and run.assumption_lines(busy) == []
    busy.conditions = Conditions(
        full_concurrency_share=0.875, involuntary_switches_count=12, steal_share=None, other_load_share=0.01, quota_processors=None,
        throttled_count=None, throttled_s=None, speed_drift_share=-0.02, workers={},
        clock={"source": None, "invariant": None, "offset_ns": None, "rate_drift_share": 0.0})
    line = run.condition_line(busy).replace("\n    ", " ")
    assert "all workers ran 87.5 % of the time or more, 12 involuntary switches; steal - %, other load 1 %, frequency drift -2 %" in line
    busy.simulation = Simulation(micro_ops=1, turns=1, wakes=1, ended_at_s=1.0, assumptions=[
        Assumption(key="machine.ipi_ns", value=1000.0, unit="ns", provenance="assumption: as published"),
        Assumption(key="machine.local_ns", value=0.5, unit="ns", provenance="measured here"),
        Assumption(key="costs_ns.kick", value="exponential", unit="ns", provenance="this config")])
    published = [Assumption(key=f"costs_ns.{name}", value=value, unit="ns", provenance=f"published: {name} by a test")
                 for name, value in (("seamcall", 1000), ("td_exit", 800))]
    busy.config["td"]["vcpus"], busy.config["workload"]["hosts"] = 1, 1
    busy.simulation.assumptions += published
    assert run.assumption_lines(busy)[1:] == [
        "measured here (ns): local_ns 0.5", "published, result.json names the source of each (ns): costs_ns.seamcall 1000, costs_ns.td_exit 800"]
    busy.simulation.assumptions = busy.simulation.assumptions[:-2]
    assert run.assumption_lines(busy) == ["assumptions (ns): ipi_ns 1000, costs_ns.kick exponential", "measured here (ns): local_ns 0.5"]
    busy.config["td"]["vcpus"] = 64                      # more than virtual time was held beside reality with
    assert run.assumption_lines(busy)[1].startswith("65 threads: virtual time was held beside real processes on 2 only")


def test_a_report_fits_whatever_the_numbers_are_and_every_format_has_the_calls(busy):
    for name in busy.seamcalls:
        meet_busy(busy, name, attempts=10 ** 9, busy=123_456_789, operand="RCX (host priority)")
    for style in ("table", "github"):
        said = run.run_report(busy, style)
        assert all(name in said for name in busy.seamcalls)
    assert max(map(len, run.run_report(busy).splitlines())) <= text.WIDTH
    assert json.loads(run.run_report(busy, "json")) == json.loads(json.dumps(busy.document()))
    rows = list(csv.DictReader(io.StringIO(run.run_report(busy, "csv"))))
    assert {row["call"] for row in rows} == set(busy.seamcalls) and rows[0]["BUSY %"] == "12.3"


def test_the_verdict_is_said_with_its_reasons(busy):
    assert run.verdict_lines(busy) == ["VALID"]
    busy.verdict.status, busy.verdict.reasons = "DEGRADED", ["one", "other"]
    assert run.verdict_lines(busy) == ["DEGRADED: one", "DEGRADED: other"]
