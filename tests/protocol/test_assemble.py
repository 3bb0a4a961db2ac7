"""Rows as they are written: none shifts by as many bits as a register has."""

import pytest

from harness.experiment import config_file
from harness.experiment.plan import make_plan
from harness.protocol.assemble import Listing
from kernels.ops import Op, Register as R
from tests.command_line import ROOT


def test_index_shifts_by_nothing_unless_it_says_so():
    listing = Listing()
    listing.row(Op.INDEX, register=R.OLD, source=R.PAGE, mask=-1, match=8)
    listing.row(Op.LOAD, register=R.OLD)
    assert [row.width for row in listing.rows[-2:]] == [0, 64]


@pytest.mark.parametrize("sets", [(), ("machine.placement=packed", "td.dpamt=dpamt_merged")])
def test_no_row_shifts_by_64_which_is_undefined(sets):
    given = config_file.read(ROOT / "configs/scale/dpamt.toml", ["td.dpamt=dpamt_fast_v6", *sets])
    given.table.pop("sweep")
    shifts = {row.width for row in make_plan(config_file.check(given)).program.listing if row.op == Op.INDEX}
    assert {0, 9} <= shifts and max(shifts) < 64
