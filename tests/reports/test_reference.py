"""docs/result.md says what the tables say, of every key that a result has."""

from pathlib import Path

from harness.protocol.counters import COUNTERS, HOST_PRIORITY, SPANS
from harness.protocol.invariants import NAMES
from harness.reports import reference
from harness.results import schema

ROOT = Path(__file__).parents[2]


def test_the_page_is_as_the_tables_are_now():
    assert (ROOT / reference.PAGE).read_text() == reference.page(), "make docs"


def test_the_page_names_every_key_of_the_shape_and_everything_that_is_counted_timed_or_checked():
    page = reference.page()
    for name in (*schema.Result.model_fields, *schema.Busy.model_fields, *schema.Call.model_fields,
                 *COUNTERS, *SPANS, *HOST_PRIORITY, *NAMES):
        assert f"| `{name}` | " in page, name
    assert "`(host priority)`" in page and "`(injected)`" in page
    assert "Annotated" not in page and "typing" not in page and "[NoneType]" not in page


def test_every_link_of_the_page_leads_to_a_heading():
    page = reference.page()
    headings = {line.lstrip("# ").lower() for line in page.splitlines() if line.startswith("#")}
    links = {part.split(")")[0] for part in page.split("](#")[1:]}
    assert len(links) > 10 and links <= headings
