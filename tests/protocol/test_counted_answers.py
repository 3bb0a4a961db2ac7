"""Answers: the kind is said where the answer is written, and every name follows from it."""

import pytest

from harness.experiment.plan import make_plan
from harness.protocol.counted_answers import REFUSAL_NAMES, REFUSALS, SUCCESS, Answer
from harness.protocol.policies import POLICIES
from kernels.answers import AnswerKind
from kernels.words import OPERANDS, status
from tests.stage import config

HOST_PRIORITY = "TDX_OPERAND_BUSY_HOST_PRIORITY"


@pytest.mark.parametrize("policy", [policy.name for policy in POLICIES])
def test_what_is_busy_in_a_program_is_a_lost_lock_and_nothing_else_is(policy):
    """A call that answers another status has not lost a lock, and one that lost a lock answers BUSY."""
    program = make_plan(config(policy, workload={"removal": "build"})).program
    assert program.answers[0] == SUCCESS
    assert [answer.busy for answer in program.answers] == [
        answer.status_name in ("TDX_OPERAND_BUSY", HOST_PRIORITY) for answer in program.answers]
    assert len({answer.name for answer in program.answers}) == len(program.answers)
    injects = any(answer.kind == AnswerKind.INJECTED for answer in program.answers)
    assert injects == any(each.inject_every for each in POLICIES if each.name == policy)


def test_an_answer_is_counted_under_its_kind_and_the_caller_sees_its_status():
    busy = status("TDX_OPERAND_BUSY", "RCX")
    named = {kind: (Answer(busy, kind).name, Answer(busy, kind).refusal) for kind in AnswerKind
             if kind >= AnswerKind.BUSY}
    assert named == {
        AnswerKind.BUSY: ("TDX_OPERAND_BUSY|RCX", "RCX"),
        AnswerKind.BUSY_FOR_PRIORITY: (f"{HOST_PRIORITY}|RCX", "RCX (host priority)"),
        AnswerKind.INJECTED: ("TDX_OPERAND_BUSY|RCX (injected)", "RCX (injected)"),
    }
    assert Answer(status(HOST_PRIORITY), AnswerKind.BUSY_FOR_PRIORITY).name == HOST_PRIORITY
    assert (SUCCESS.name, SUCCESS.busy) == ("TDX_SUCCESS", False)
    assert Answer(status("TDX_OP_STATE_INCORRECT"), AnswerKind.OTHER).name == "TDX_OP_STATE_INCORRECT"


def test_a_refusal_is_found_by_the_name_that_a_result_has_for_it():
    assert len(REFUSALS) == len(REFUSAL_NAMES) == len(OPERANDS) * sum(
        kind >= AnswerKind.BUSY for kind in AnswerKind)
    for name, answer in REFUSALS.items():
        assert answer.refusal == name and answer.name in REFUSAL_NAMES
    assert "TDX_PREVIOUS_TLB_EPOCH_BUSY" not in REFUSAL_NAMES and "TDX_SUCCESS" not in REFUSAL_NAMES
