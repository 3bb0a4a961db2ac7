"""One run in at most 25 lines."""

from harness.protocol.guest_policies import STATUS
from harness.reports.run import run_report
from harness.reports.summary import CALLS, LINES, summary
from harness.reports.text import WIDTH
from harness.results.schema import Verdict
from tests.made import made, meet_busy


def worst():
    """A run in which everything happened that a run can meet."""
    result = made()
    for index, name in enumerate(result.seamcalls):
        meet_busy(result, name, attempts=1000 + index, busy=10 + index)
    result.bugs = {f"cause {index}": 1000 for index in range(20)}
    result.guest_deaths = {next(iter(STATUS)): 3}
    result.verdict = Verdict(status="DEGRADED", reasons=[f"{word} took time" for word in "abcdefgh"])
    for name in result.invariants:
        result.invariants[name] = 100
    return result


def test_the_worst_run_has_a_summary_of_25_lines_that_ends_with_what_to_look_at_next():
    result = worst()
    lines = summary(result).splitlines()
    assert len(run_report(result).splitlines()) > 3 * LINES
    assert len(lines) <= LINES and max(map(len, lines)) <= WIDTH
    assert lines[-1].startswith("next: an invariant is violated")
    assert any("KVM_BUG_ON: 20000" in line for line in lines) and any("VIOLATED 100 times" in line for line in lines)
    assert "  and 5 more reasons" in lines
    assert f"and {len(result.seamcalls) - CALLS} more calls that were BUSY" in lines


def test_calls_are_those_most_often_busy_with_their_operands():
    result = made()
    meet_busy(result, "tdh_mem_track", attempts=1000, busy=40)
    text = summary(result)
    assert "TD_EPOCH 40" in text and "next: -v prints every table" in text


def test_a_run_without_busy_says_of_how_many_attempts():
    assert "BUSY: none of " in summary(made())


def test_numbers_that_cannot_be_trusted_are_not_to_be_used():
    result = made(verdict=Verdict(status="UNTRUSTWORTHY", reasons=["the record of vcpu1 is torn"]))
    lines = summary(result).splitlines()
    assert "UNTRUSTWORTHY: the record of vcpu1 is torn" in lines and lines[-1].startswith("next: do not use these")
