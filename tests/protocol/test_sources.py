"""Where a row is to be read in a release, and how it is said that it was not read there."""

import pytest

from harness.protocol.releases import BY_NAME, READ, find
from harness.protocol.seamcalls import seamcalls
from harness.protocol.sources import CALLS_RUN, DERIVED, RUN, TREES, Place, in_release, places, was_read, was_run
from tests.conformance.reading import read

SOURCE = "a.c:10-20; 1.5.05:30; 1.5.24 c1200; 1.5.34 = 2.0.18; 2.0.18 c400; write: src/b.c 1.5.20 c99"


def test_a_source_is_a_list_of_places():
    assert places(SOURCE) == [
        Place("a.c", "1.5.01", "10-20"), Place("a.c", "1.5.05", "30"), Place("a.c", "1.5.24", "c1200"),
        Place("a.c", "2.0.18", "c400"), Place("src/b.c", "1.5.20", "c99", part="write"), Place("a.c", "1.5.25", "c1200", "1.5.24", TREES),
        Place("a.c", "1.5.34", "c400", "2.0.18", DERIVED)]


def test_two_releases_that_differ_in_one_file_share_the_places_in_all_others():
    assert [str(place) for place in places("a.c 1.5.25:7; b.c 1.5.24:8; 1.5.25:9; src/pamt_manager.c 1.5.24:3")
            if place.release in ("1.5.24", "1.5.25")] == [
        "a.c:7", "b.c:8", "b.c:9", "src/pamt_manager.c:3",
        "a.c:7 of 1.5.25, the same text (the trees differ in pamt_manager.c only)"]


@pytest.mark.parametrize("release, says", [
    ("1.5.01", "a.c:10-20"), ("1.5.05", "a.c:30"), ("1.5.06", "a.c:30 (of 1.5.05, which shares this row)"),
    ("1.5.24", "a.c at character 1200"),
    ("1.5.20", "write: src/b.c at character 99; the rest derived, not read in 1.5.20 itself"),
    ("1.5.34", "a.c at character 400 of 2.0.18, the same text (derived)"),
    ("1.5.13", f"derived, not read in 1.5.13 itself: {SOURCE}"), ("1.5.24+epf_threshold=12", "a.c at character 1200"),
])
def test_what_is_said_of_a_release(release, says):
    assert in_release(SOURCE, BY_NAME.get(release) or find(release)) == says


@pytest.mark.parametrize("release, read", [
    ("1.5.01", True), ("1.5.06", True), ("1.5.25", True), ("1.5.20", False), ("1.5.34", False), ("1.5.13", False),
])
def test_a_part_of_a_call_and_an_equal_text_are_not_the_call_read(release, read):
    assert was_read(SOURCE, BY_NAME[release]) == read


def test_where_the_call_itself_is_goes_before_a_part_of_it():
    source = "a.c 1.5.09:5; write: b.c 1.5.05:3"
    assert in_release(source, BY_NAME["1.5.05"]) == "a.c:5 (of 1.5.09, which shares this row)"


@pytest.mark.parametrize("release", RUN)
def test_the_calls_that_were_run_are_those_of_the_modules_results(release):
    assert {line["call"] for line in read(f"tests/vectors/module/calls-{release}.csv.gz").lines} == CALLS_RUN


@pytest.mark.parametrize("call, release, run", [
    ("tdh_mem_track", "1.5.05", "1.5.05"), ("tdh_mem_track", "1.5.09", "1.5.05"), ("tdh_mem_track", "1.5.25", "1.5.24"),
    ("tdh_mem_track", "1.5.34", ""), ("tdh_mem_track", "1.5.13", ""), ("tdh_mem_rd", "1.5.05", ""),
])
def test_a_call_that_was_run_is_said_to_be_where_it_was_not_read(call, release, run):
    assert was_run(call, BY_NAME[release]) == run
    said = in_release("a.c 2.0.08 c5", BY_NAME[release], call)
    assert said.startswith(f"agrees with {run}'s own code, which was run; not read in" if run else "derived, not read in")


def test_every_row_was_read_in_some_release_and_each_place_names_one_that_there_is():
    for release in READ:
        for row in seamcalls(release):
            found = places(row.source)
            assert found and {place.release for place in found} <= set(BY_NAME), row.name
