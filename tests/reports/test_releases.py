"""docs/releases.md says what the rows and the scenarios of known defects say."""

import re
from pathlib import Path

from harness.protocol.invariants import OF_OUTCOMES
from harness.protocol.releases import FIELDS, READ
from harness.reports import releases

ROOT = Path(__file__).parents[2]
KNOWN = sorted((ROOT / releases.KNOWN).glob("*.toml"))


def test_the_page_is_as_the_rows_and_the_scenarios_are_now():
    assert (ROOT / releases.PAGE).read_text() == releases.page(ROOT), "make docs"


def test_the_page_has_every_release_every_field_and_every_defect():
    page = (ROOT / releases.PAGE).read_text()
    for release in READ:
        assert f"\n| {release.name} | " in page
    for name in (*FIELDS, *(path.name for path in KNOWN), *(each.name for each in OF_OUTCOMES)):
        assert f"`{name}`" in page, name


def test_a_field_of_a_row_that_has_no_meaning_would_be_noticed():
    assert set(FIELDS) <= set(releases.meanings())


def test_every_known_defect_says_what_it_is_and_where_that_is_read():
    for path in KNOWN:
        header = re.match(r"(?:#.*\n)+", path.read_text())[0]
        assert re.match(r"# .{20,130}\.\n#\n", header) and "# Source: " in header, path


def test_spans_name_the_releases_that_behave_the_same_as_their_last():
    names = ("1.5.05", "1.5.13", "1.5.24", "2.0.08")
    assert releases._spans(names, "1.5") == "1.5.05 to 1.5.13, 1.5.24 to 1.5.25"
    assert releases._spans(names, "2.0") == "2.0.08"
    assert releases._spans((), "2.0") == "-"
    assert releases._spans(tuple(each.name for each in READ), "1.5") == "all"
