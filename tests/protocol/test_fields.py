"""Each row of a call against the table of fields (fields.py): widths, bits that are compared; and which registers a call is given."""

import functools

import pytest

from harness.protocol.releases import BY_NAME, RELEASES
from harness.protocol.liveness import live_registers
from harness.protocol.seamcalls import by_name, entry_label
from kernels.ops import Op, Register as R
from kernels.words import unsigned
from tests.by_release import by_release
from tests.protocol.fields import ALL, BOTH, EITHER, LOADS, INDEXES, MEMBERS, NOT_PAIRS, SETS, TESTS, WRITES, field
from tests.protocol.orders import like
from tests.stage import Faults, stage_program

# What a call is given: who makes it, about which page, and where the words of both lie.  All else it has to write before it reads it.
GIVEN = {R.ZERO, R.PC, R.LINK, R.ME, R.DRAWS, R.TD, R.TDR_4K, R.TDR_2M, R.TDR_1G, R.TDVPS, R.TDVPR_4K, R.TDVPR_2M, R.TDVPR_1G, R.KICK,
         R.PAGE, R.LEVEL, R.ENTRY_PT, R.ENTRY_PD, R.ENTRY_PDPT, R.ENTRY, R.TARGET_4K, R.TARGET_2M, R.TARGET_1G, R.HPA, R.CHILDREN,
         R.CONTENT, R.PACKAGE, R.KOT_ENTRY, R.WBT, R.KET, R.RIP, R.HALTED_AT}
# They find the entry themselves: of 4 KiB, or at whatever level the page is mapped.
FIND_IT = ("tdg_mem_page_attr_rd", "tdh_mr_extend", "tdh_mem_rd", "tdh_mem_wr")
# Also seems to be read where a loop over all parts could be left before the first of them.
LOOPS = {"tdh_mem_page_promote": {R.FIRST, R.UNLOCKED}}

TABLES = {Op.LOAD: LOADS, Op.IN: SETS, Op.INDEX: INDEXES, Op.LOAD_IN: MEMBERS, Op.TEST: TESTS,
          **dict.fromkeys((Op.STORE, Op.EXCHANGE, Op.SWAP, Op.ADD), WRITES)}
CALLS = [(release.name, call) for release in RELEASES for call in by_name(release)]


def program_of(release: str, dynamic_pamt: bool):
    return stage_program((2, 5, 1024), 1, "cas", False, (), release, Faults(), dynamic_pamt, False)


@functools.lru_cache(maxsize=4)
def live_of(program):
    return live_registers(program)


def rows_of(release: str, call: str, dynamic_pamt: bool):
    _, program = program_of(release, dynamic_pamt)
    return [row for row in program.listing if row.call == call and row.op in TABLES
            and (row.op not in (Op.IN, Op.INDEX) or field(TABLES[row.op], row.text))]


def difference(row) -> str:
    """What a row has another way than its line; "" if nothing."""
    line = field(TABLES[row.op], row.text)
    if line is None:
        return "no line in fields.py"
    widths = BOTH.get(row.text, {line.bits})
    if row.width not in widths:
        return f"{row.width} bits wide, not {sorted(widths)}"
    mask = unsigned(row.mask)
    compares = {Op.LOAD: line.compared or 0, Op.TEST: line.compared if row.text else None,
                Op.EXCHANGE: EITHER, Op.IN: line.compared, Op.INDEX: line.compared}.get(row.op)
    if row.op == Op.LOAD_IN and line.compared is not None and mask | NOT_PAIRS != line.compared:
        return f"is for the numbers {mask:#x}"
    if compares is not None and mask not in ((0, ALL) if compares == EITHER else (compares,)):
        return f"compares the bits {mask:#x}"
    if row.op not in (Op.IN, Op.INDEX) and compares not in (None, EITHER) and mask and line.equal is not None and unsigned(row.match) != line.equal:
        return f"compares with {row.match:#x}"
    return ""


@pytest.mark.parametrize("release, call", by_release(CALLS, [f"{release}-{call}" for release, call in CALLS]))
def test_each_word_is_as_wide_as_it_is_and_all_of_it_is_compared(release, call):
    for dynamic_pamt in (False, True):
        for row in rows_of(release, call, dynamic_pamt):
            assert not difference(row), f"{row.op.name} {row.text}: {difference(row)}"


@pytest.mark.parametrize("release, call", by_release(CALLS, [f"{release}-{call}" for release, call in CALLS]))
def test_a_new_entry_is_written_over_what_the_call_has_read_from_1_5_28_on(release, call):
    """From 1.5.28 and 2.0.16 the module halts where more than host priority has changed meanwhile."""
    _, program = program_of(release, False)
    masks = {row.mask for row in program.listing if row.call == call and row.op == Op.ENTRY_REPLACE}
    assert masks <= {int(like(release) in ("1.5.28", "1.5.34"))}


@pytest.mark.parametrize("release, call", by_release(CALLS, [f"{release}-{call}" for release, call in CALLS]))
def test_a_call_reads_no_register_that_it_was_not_given(release, call):
    _, program = program_of(release, False)
    row = by_name(BY_NAME[release])[call]
    for level in row.levels:
        read = {register for register in R if register < 64
                and int(live_of(program)[program.labels[entry_label(row, level)]]) >> register & 1}
        given = (GIVEN | LOOPS.get(call, set())) - ({R.ENTRY} if call in FIND_IT else set())
        assert read <= given, sorted(register.name for register in read - given)
