"""Answers: the ways in which a call can end, and the names under which they are counted.

What kind an answer is, is said where it is written (Call, flows/seam.py) and kept; its name follows from
that.  Two answers can be one word for the caller: a guest that is refused for host priority sees a plain
BUSY, and a BUSY that the policy has injected is the module's to all that look at it.
"""

from typing import NamedTuple

from kernels.answers import AnswerKind
from kernels.words import NAME_OF_OPERAND, NAME_OF_STATUS, OPERAND_ID, OPERANDS, STATUS_CLASS, STATUSES, status, status_name

# What is said of an answer beside its status and operand.
NOTES = {AnswerKind.NOTED: " (entries noted)", AnswerKind.BUSY_FOR_PRIORITY: " (host priority)", AnswerKind.INJECTED: " (injected)"}


class Answer(NamedTuple):
    """A way a call can end: the status the caller sees, and what kind of answer that is."""

    status: int
    kind: AnswerKind

    @property
    def busy(self) -> bool:
        return self.kind >= AnswerKind.BUSY

    @property
    def status_name(self) -> str:
        """The name of its status, without the operand."""
        return NAME_OF_STATUS.get(self.status & STATUS_CLASS, "")

    @property
    def name(self) -> str:
        """Its name, unique among all answers: `TDX_OPERAND_BUSY|SEPT_TREE`."""
        if self.kind == AnswerKind.BUSY_FOR_PRIORITY:
            return status_name(STATUSES["TDX_OPERAND_BUSY_HOST_PRIORITY"] | self.status & OPERAND_ID)
        return status_name(self.status) + NOTES.get(self.kind, "")

    @property
    def refusal(self) -> str:
        """Of one that is BUSY: the operand, and what else is said of it (`busy_by_operand` of a result)."""
        return NAME_OF_OPERAND[self.status & OPERAND_ID] + NOTES.get(self.kind, "")


SUCCESS = Answer(0, AnswerKind.SUCCESS)

# Every answer that is BUSY, by the name that `busy_by_operand` has for it; and all their names.
REFUSALS = {answer.refusal: answer for answer in (
    Answer(status("TDX_OPERAND_BUSY", operand), kind) for operand in OPERANDS for kind in AnswerKind
    if kind >= AnswerKind.BUSY)}
REFUSAL_NAMES = frozenset(answer.name for answer in REFUSALS.values())
