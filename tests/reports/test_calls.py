"""docs/calls.md says of every call of the newest releases what locks it takes, or why it has no row."""

from pathlib import Path

import pytest

from harness.protocol.answers import rows, rows_of
from harness.protocol.calls.without import PARTLY, WITHOUT
from harness.protocol.leaves import GUEST, HOST, LEAVES, Leaf
from harness.protocol.releases import BY_NAME
from harness.reports import calls

ROOT = Path(__file__).parents[2]


def test_the_page_is_as_the_tables_are_now():
    assert (ROOT / calls.PAGE).read_text() == calls.page(), "make docs"


def numbers(text: str) -> set[int]:
    """Leaves as a list of numbers and ranges."""
    ranges = [each.partition("-") for each in text.split()]
    return {number for low, _, high in ranges for number in range(int(low), int(high or low) + 1)}


# tdx_api_defs.h of 1.5.34, and what 2.0.18 has besides.
LISTED = {HOST: (numbers("0-45 48 49 52 53 58 59 64-66 68 70-75 80-87 92-97"), numbers("128-140 150-166")),
          GUEST: (numbers("0-12 18 20 22-27 29 33"), numbers("64-72"))}


@pytest.mark.parametrize("side, count", [(HOST, 76), (GUEST, 23)])
def test_there_are_as_many_calls_as_the_modules_list_of_leaves_has(side, count):
    first, more = LISTED[side]
    assert len(first) == count and not first & more
    assert LEAVES[side].keys() == first | more
    assert LEAVES[side].keys() & calls.ONLY_2_0[side] == more


@pytest.mark.parametrize("side", LEAVES)
def test_every_leaf_has_a_row_or_a_reason_and_none_has_both(side):
    rowed = {number for number, name in LEAVES[side].items() if calls.rows_of(Leaf(side, number, name))[1]}
    assert rowed | WITHOUT[side].keys() == LEAVES[side].keys()
    assert not rowed & WITHOUT[side].keys(), "it has a row now: its reason in calls/without.py is to go"
    assert PARTLY[side].keys() <= rowed and all(text in calls.page() for text in PARTLY[side].values())


def test_calls_of_the_2_0_line_have_no_row_in_the_1_5_line():
    for side, numbers in calls.ONLY_2_0.items():
        for number in numbers & LEAVES[side].keys():
            assert not rows_of(rows(BY_NAME["1.5.34"]), Leaf(side, number, LEAVES[side][number])), number


def test_a_release_in_which_a_call_was_not_read_is_marked():
    lines = {line.split(" | ")[1]: line.split(" | ")[2] for line in calls.page().splitlines() if line.count(" | ") == 4}
    assert lines["TDG.MR.KEY.GET"] == "1.5.34, 2.0.18*" and lines["TDH.VP.ADDCX"] == "1.5.34*, 2.0.18*"
    assert lines["TDH.MEM.PAGE.REMOVE"] == "1.5.34, 2.0.18" and lines["TDH.SERVTD.REBIND"] == "1.5.34, 2.0.18"


def test_the_page_names_locks_modes_and_operands():
    lines = {line.split(" | ")[1]: line for line in calls.page().splitlines() if line.count(" | ") == 4}
    assert "SEPT_TREE EX SEPT_TREE, SEPT_ENTRY EX RCX" in lines["TDH.MEM.RANGE.BLOCK"]
    assert "MIG SH MIG, MIGSC EX MIGSC, SEPT_TREE SH SEPT_TREE, SEPT_ENTRY EX GPA_LIST_ENTRY" in lines["TDH.EXPORT.MEM"]
    assert "tdh_vp_init_apicid: " in lines["TDH.VP.INIT"] and "TDX Connect" in lines["TDH.SPDM.CREATE"]
    assert len(lines) == sum(map(len, LEAVES.values())) + 2       # and two lines of heads
