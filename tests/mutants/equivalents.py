"""Mutants that change nothing that can be seen: a pattern of their names, and why."""

import re

EQUIVALENT = (
)


def entry(name: str):
    """The first entry that a name matches, or None."""
    return next((each for each in EQUIVALENT if re.search(each[0], name)), None)


def reason(name: str) -> str:
    found = entry(name)
    return found[1] if found else ""
