"""What a person can mend, as one exception each, and the exit codes; only commands print and exit.

    UsageError        a mistake in the arguments or in a config           exit code 2
    ResultError       a result file that cannot be used                   exit code 2

Of many runs the gravest code is that of the command (`gravest`).
"""

import difflib

DONE = 0                         # and as expected
FAILED = 1                       # an expectation or an invariant
USAGE = 2                        # a mistake in the arguments, a config or a file
UNTRUSTWORTHY = 3                # the numbers cannot be trusted, or a result could not be kept
NOT_SEEN = 4                     # what a config provokes did not occur, or not often enough; nothing was violated
INTERRUPTED = 130                # by Ctrl-C; what was measured is kept
GRAVITY = (DONE, NOT_SEEN, FAILED, USAGE, UNTRUSTWORTHY, INTERRUPTED)


def gravest(*codes: int) -> int:
    """Of several exit codes the one that a command ends with."""
    return max(codes, key=GRAVITY.index)


class UsageError(Exception):
    """One line: where, what was given, what is allowed."""


class ResultError(UsageError):
    """A result file that is missing, damaged, or not one of ours."""


def nearest(word, known) -> str:
    """`; did you mean X?`, or nothing when nothing is near."""
    close = difflib.get_close_matches(str(word), list(known), 1, cutoff=0.5)
    return f"; did you mean {close[0]}?" if close else ""
