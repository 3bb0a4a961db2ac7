"""How a call can end, as far as its caller goes by it: the kind of an answer.

The word that a caller sees and the name under which it is counted are harness/protocol/counted_answers.py's.
"""

from enum import IntEnum


class AnswerKind(IntEnum):
    """From BUSY on: the call has done nothing, and may be made again."""

    SUCCESS = 0
    OTHER = 1
    NOTED = 2                    # a call about a list has gone through it; what was wrong is noted in the list
    BUSY = 3                     # another holds the lock
    BUSY_FOR_PRIORITY = 4        # a guest's call: a host has asked for the lock first
    INJECTED = 5                 # the policy has answered BUSY in the module's place
