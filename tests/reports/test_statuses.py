"""The list of statuses, and the page of it in docs/."""

import csv
import io
import json
from pathlib import Path

from harness.protocol.releases import BY_NAME
from harness.reports.statuses import listed
from kernels.statuses import OPERAND_ROWS, STATUS_ROWS, has

PAGE = Path(__file__).parent.parent.parent / "docs" / "statuses.md"


def test_the_page_is_current():
    assert PAGE.read_text() == listed(style="github") + "\n", "python -m harness decode --list --format github > docs/statuses.md"


def test_each_style_lists_all_rows():
    rows = json.loads(listed(style="json"))
    assert [row.get("status") or row.get("operand") for row in rows] == [row.name for row in (*STATUS_ROWS, *OPERAND_ROWS)]
    statuses, operands = (list(csv.DictReader(io.StringIO(part))) for part in listed(style="csv").split("\n\n"))
    assert len(statuses) == len(STATUS_ROWS) and len(operands) == len(OPERAND_ROWS)
    text = listed()
    assert all(f"{row.word:#018x}  {row.name}" in text for row in STATUS_ROWS) and max(map(len, text.splitlines())) <= 80


def test_a_release_lists_what_it_has():
    text = listed(BY_NAME["1.5.05"])
    assert text.startswith(f"{sum(has('1.5.05', row) for row in STATUS_ROWS)} statuses of module 1.5.05\n")
    assert "TDX_OPERAND_BUSY\n" in text and "TDX_INTERRUPTED_BUSY" not in text and "DMAR" not in text
