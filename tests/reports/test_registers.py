"""What RCX, RDX ... say after a call, in words."""

import pytest
from hypothesis import given, strategies

from harness.protocol.leaves import RETURNS, by_name
from harness.reports.registers import register_rows
from kernels.words import ENTRY_STATES

PAGE = 0x8000_0001_2345_60F7


def said(call, word=0, **registers):
    return [row["says"] for row in register_rows(tuple(registers.items()), by_name(call), word)]


@pytest.mark.parametrize("rcx, rdx, entry, state", [
    (PAGE, 0x400, "a page, access RWX, at physical address 0x123456000", "level 0 PT, 4 KiB; state MAPPED"),
    (PAGE & ~7, 0x100, "a page, access ---", "state BLOCKED"), (1 << 63, 0x001, "a FREE entry", "level 1 PD, 2 MiB; state FREE"),
    (0x7, 0x8401, "a table, access RWX", "state NL_MAPPED"), (0, 0x8101, "a table without access", "state NL_BLOCKED"),
    (PAGE, 0x1_0400, "a page", "of VM 1"), (PAGE, 0x6300, "a page", "99, which has no name"),
])
def test_an_sept_entry_and_its_state(rcx, rdx, entry, state):
    first, second = said("tdh_mem_page_aug", RCX=rcx, RDX=rdx)
    assert entry in first and state in second


def test_two_zeros_say_that_no_entry_was_reached():
    assert said("tdh_mem_range_block", RCX=0, RDX=0) == ["nothing: the call did not get as far as an SEPT entry"] * 2


def test_every_public_state_is_named():
    for state in ENTRY_STATES:
        assert said("tdh_mem_sept_rd", RCX=PAGE, RDX=state.public << 8)[1].endswith(state.name)


def test_an_exit_of_a_td():
    wanted, extended, gpa, interruption = said("tdh_vp_enter", 0x30, RCX=2, RDX=0x0000_4088_0000_0001, R8=0x1234_5000, R9=0)
    assert wanted == "wanted: write; the entry allows: none; VM 0"
    assert extended == "type 1: an ACCEPT of level 0, the walk ended at level 1 on PENDING, a page"
    assert gpa == "guest physical address, page 0x12345" and interruption == "no interruption"
    assert said("tdh_vp_enter", 0x4D, RCX=2) == ["exit qualification"]


@pytest.mark.parametrize("call", ["tdh_vp_enter", ""])
def test_what_was_wrong_with_a_service_tds_target(call):
    status, tdr = said(call, 0x9000_0009_0000_0000, RDX=0x8000_0204_0000_00AC, R8=0x12_3000)
    assert status.endswith("target: TDX_OPERAND_BUSY_HOST_PRIORITY|OP_STATE") and tdr.endswith("TDR, at physical address 0x123000")


def test_a_page_and_a_cpuid_leaf():
    assert said("tdh_phymem_page_reclaim", RCX=3, RDX=0x5000, R8=1) == \
        ["type of the page: 3 REG (data)", "owner of the page: the TDR at physical address 0x5000", "size of the page: 1 2 MiB"]
    assert said("tdh_mng_init", RCX=0xFFFF_FFFF_0000_0012) == ["CPUID leaf 0x12, no subleaf"]


def test_what_a_call_does_not_return_is_said_to_be_that_and_left_out_if_it_is_zero():
    assert said("tdh_mem_track", RCX=7, RDX=0) == ["tdh_mem_track says nothing in it"]
    assert [row["says"] for row in register_rows((("RCX", 0),), None, 0)] == ["name the call to know what it means"]


@given(strategies.sampled_from(sorted(RETURNS)), strategies.integers(0, (1 << 64) - 1), strategies.integers(0, (1 << 64) - 1))
def test_any_value_has_words(call, word, value):
    rows = register_rows(tuple((register, value) for register in ("RCX", "RDX", "R8", "R9")), by_name(call), word)
    assert all(row["says"].isascii() and row["says"].isprintable() for row in rows)
