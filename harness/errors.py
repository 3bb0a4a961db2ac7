"""What can go wrong for a person, as one exception each; only __main__ prints them and exits.

    UsageError        a mistake in the arguments or in a config           exit code 2
    ResultError       a result file that cannot be used                   exit code 2
"""

import difflib


class UsageError(Exception):
    """One line: where, what was given, what is allowed."""


class ResultError(UsageError):
    """A result file that is missing, damaged, or not one of ours."""


def nearest(word, known) -> str:
    """`; did you mean X?`, or nothing when nothing is near."""
    close = difflib.get_close_matches(str(word), list(known), 1, cutoff=0.5)
    return f"; did you mean {close[0]}?" if close else ""
