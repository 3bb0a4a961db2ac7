"""Cases of tests that every release has: in each run those of the releases that differ most, of the others in slow runs."""

import pytest

DIFFER = ("1.5.05", "1.5.34", "report-2024")


def by_release(cases: list, ids: list[str]) -> list:
    """pytest parameters of cases that begin with a release's name."""
    return [pytest.param(*case, id=name, marks=[] if case[0] in DIFFER else [pytest.mark.slow])
            for case, name in zip(cases, ids)]
