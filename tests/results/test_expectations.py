"""Whether a result is as expected: invariants and bounds."""

import pytest

from harness.experiment.config import Bound
from harness.results import expectations
from tests.made import made


@pytest.mark.parametrize("count, bound, fails", [
    (3, None, True), (0, None, False), (None, None, False),
    (3, {}, False), (None, {}, False),               # an empty bound asks nothing, not even that it was checked
    (3, {"min": 1}, False), (0, {"min": 1}, True), (None, {"min": 1}, True), (3, {"max": 2}, True),
])
def test_an_invariant_is_judged_by_its_bound_if_it_has_one(count, bound, fails):
    expect = {} if bound is None else {"invariants.quiet_mirror": Bound(**bound)}
    result = made(invariants={"quiet_mirror": count})
    assert bool(expectations.failures(result, expect)) == fails
