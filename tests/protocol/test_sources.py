"""Where a row is to be read in a release, and how it is said that it was not read there."""

import pytest

from harness.protocol.releases import BY_NAME, READ, find
from harness.protocol.seamcalls import seamcalls
from harness.protocol.sources import Place, in_release, places

SOURCE = "a.c:10-20; 1.5.05:30; 1.5.24 c1200; 1.5.34 = 2.0.18; 2.0.18 c400; write: src/b.c 1.5.20 c99"


def test_a_source_is_a_list_of_places():
    assert places(SOURCE) == [
        Place("a.c", "1.5.01", "10-20"), Place("a.c", "1.5.05", "30"), Place("a.c", "1.5.24", "c1200"),
        Place("a.c", "2.0.18", "c400"), Place("src/b.c", "1.5.20", "c99"), Place("a.c", "1.5.34", "c400", "2.0.18")]


@pytest.mark.parametrize("release, says", [
    ("1.5.01", "a.c:10-20"), ("1.5.05", "a.c:30"), ("1.5.06", "a.c:30 (of 1.5.05, which shares this row)"),
    ("1.5.24", "a.c at character 1200"), ("1.5.20", "src/b.c at character 99"),
    ("1.5.34", "a.c at character 400 of 2.0.18, the same text (derived)"),
    ("1.5.13", f"not read in 1.5.13 itself: {SOURCE}"), ("1.5.24+epf_threshold=12", "a.c at character 1200"),
])
def test_what_is_said_of_a_release(release, says):
    assert in_release(SOURCE, BY_NAME.get(release) or find(release)) == says


def test_every_row_was_read_in_some_release_and_each_place_names_one_that_there_is():
    for release in READ:
        for row in seamcalls(release):
            found = places(row.source)
            assert found and {place.release for place in found} <= set(BY_NAME), row.name
