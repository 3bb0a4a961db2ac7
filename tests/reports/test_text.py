"""Numbers and tables as a person reads them."""

import pytest

from harness.reports import text


@pytest.mark.parametrize("part, whole, shown", [
    (0, 0, "-"), (None, None, "-"), (0, 3, "<100"), (0, 1000, "<0.3"), (0, 208_366, "<0.0014"),
    (5, 1000, "0.5"),
])
def test_none_of_n_is_shown_with_its_upper_bound(part, whole, shown):
    """Rule of three: none seen in n says, with 95 % confidence, that the share is at most 3/n."""
    assert text.share_of(part, whole) == shown
