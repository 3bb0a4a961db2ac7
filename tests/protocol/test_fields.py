"""Each row of a call against the table of fields: how wide the word is, and which bits are compared (fields.py)."""

import pytest

from harness.protocol.releases import RELEASES
from harness.protocol.seamcalls import by_name
from kernels.ops import Op
from kernels.words import unsigned
from tests.by_release import by_release
from tests.protocol.fields import ALL, BOTH, EITHER, LOADS, MEMBERS, TESTS, WRITES, field
from tests.stage import Faults, stage_program

TABLES = {Op.LOAD: LOADS, Op.LOAD_IN: MEMBERS, Op.TEST: TESTS,
          **dict.fromkeys((Op.STORE, Op.EXCHANGE, Op.SWAP, Op.ADD), WRITES)}
CALLS = [(release.name, call) for release in RELEASES for call in by_name(release)]


def rows_of(release: str, call: str, dynamic_pamt: bool):
    _, program = stage_program((2, 5, 1024), 1, "cas", False, (), release, Faults(), dynamic_pamt, False)
    return [row for row in program.listing if row.call == call and row.op in TABLES]


def difference(row) -> str:
    """What a row has another way than its line; "" if nothing."""
    line = field(TABLES[row.op], row.text)
    if line is None:
        return "no line in fields.py"
    widths = BOTH.get(row.text, {line.bits})
    if row.width not in widths:
        return f"{row.width} bits wide, not {sorted(widths)}"
    mask = unsigned(row.mask)
    compares = {Op.LOAD: line.compared or 0, Op.TEST: line.compared if row.text else None, Op.EXCHANGE: EITHER}.get(row.op)
    if compares is not None and mask not in ((0, ALL) if compares == EITHER else (compares,)):
        return f"compares the bits {mask:#x}"
    if compares not in (None, EITHER) and mask and line.equal is not None and unsigned(row.match) != line.equal:
        return f"compares with {row.match:#x}"
    return ""


@pytest.mark.parametrize("release, call", by_release(CALLS, [f"{release}-{call}" for release, call in CALLS]))
def test_each_word_is_as_wide_as_it_is_and_all_of_it_is_compared(release, call):
    for dynamic_pamt in (False, True):
        for row in rows_of(release, call, dynamic_pamt):
            assert not difference(row), f"{row.op.name} {row.text}: {difference(row)}"
