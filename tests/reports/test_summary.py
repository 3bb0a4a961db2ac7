"""One run in at most 25 lines."""

import pytest

from harness.protocol.guest_policies import STATUS
from harness.reports import text
from harness.reports.run import run_report
from harness.reports.summary import CALLS, LINES, summary
from harness.results.schema import Verdict
from tests.made import made, meet_busy


def worst():
    """A run in which everything happened that a run can meet."""
    result = made()
    for index, name in enumerate(result.seamcalls):
        meet_busy(result, name, attempts=1000 + index, busy=10 + index)
        result.seamcalls[name].busy_by_operand = {"RCX (host priority)": 1000000, "SEPT_TREE": 2000000, "TD_EPOCH": 3}
    result.bugs = {f"cause {index}": 1000 for index in range(20)}
    result.guest_deaths = {next(iter(STATUS)): 3}
    result.verdict = Verdict(status="DEGRADED", reasons=[f"{word} took time" for word in "abcdefgh"])
    for name in result.invariants:
        result.invariants[name] = 100
    return result


@pytest.mark.parametrize("columns, most", [(80, 3), (100, 3), (80, 3_000_000)])
def test_the_worst_run_has_a_summary_of_25_lines_that_ends_with_what_to_look_at_next(columns, most, monkeypatch):
    monkeypatch.setattr(text, "width", lambda: columns)
    result = worst()
    for call in result.seamcalls.values():
        call.busy_by_operand["RCX (host priority)"] = 1_000_000 + most            # the widest, and now and then the most frequent
    lines = summary(result).splitlines()
    assert len(run_report(result).splitlines()) > 3 * LINES
    assert len(lines) <= LINES and max(map(len, lines)) <= columns
    assert "next: an invariant is violated: -v says which and how often; explain CALL shows the call" in " ".join(" ".join(lines).split())
    assert any("KVM_BUG_ON: 20000" in line for line in lines) and any("VIOLATED 100 times" in line for line in lines)
    assert "  and 4 more reasons" in lines
    [more] = [int(line.split()[1]) for line in lines if line.endswith(" more calls that were BUSY")]
    assert len(result.seamcalls) - CALLS <= more < len(result.seamcalls)


def test_a_reason_is_never_cut_off_in_its_middle(monkeypatch):
    monkeypatch.setattr(text, "width", lambda: 80)
    long = "5 workers share 2 processors: BUSY includes lock holders that were preempted"
    result = made(verdict=Verdict(status="DEGRADED", reasons=[long, long.replace("5", "five"), long.replace("5", "V")]))
    said = " ".join(summary(result).split())
    assert said.count(long[1:]) == 2 and "preempted and 1 more reason" in said


def test_calls_are_those_most_often_busy_with_their_operands():
    result = made()
    meet_busy(result, "tdh_mem_track", attempts=1000, busy=40)
    said = summary(result)
    assert "TD_EPOCH 40" in said and "next: -v prints every table" in said


def test_a_run_without_busy_says_of_how_many_attempts():
    assert "BUSY: none of " in summary(made())


def test_numbers_that_cannot_be_trusted_are_not_to_be_used():
    result = made(verdict=Verdict(status="UNTRUSTWORTHY", reasons=["the record of vcpu1 is torn"]))
    lines = summary(result).splitlines()
    assert "UNTRUSTWORTHY: the record of vcpu1 is torn" in lines and lines[-1].startswith("next: do not use these")
