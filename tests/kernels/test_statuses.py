"""The rows of statuses and operand ids, against what the headers of the releases are known to hold."""

import pytest

from kernels import statuses as rows
from kernels.words import NAME_OF_STATUS, STATUSES, status, status_name

# Statuses in the header of each release, without the mark UNINITIALIZE_ERROR.
COUNTS = {"1.5.24": 182, "1.5.25": 182, "1.5.28": 183, "1.5.34": 202, "2.0.18": 289}


@pytest.mark.parametrize("release, count", COUNTS.items())
def test_a_release_has_as_many_statuses_as_its_header(release, count):
    assert sum(rows.has(release, row) for row in rows.STATUS_ROWS) == count


@pytest.mark.parametrize("release", ["1.5.01", "1.5.05", "1.5.16", "1.5.20", "1.5.34", "2.0.08", "2.0.12", "2.0.18"])
def test_in_one_release_a_name_is_one_value_and_a_value_one_name(release):
    there = [row for row in rows.STATUS_ROWS if rows.has(release, row)]
    assert len({row.name for row in there}) == len({row.word for row in there}) == len(there)


@pytest.mark.parametrize("name, release, there", [
    ("TDX_INTERRUPTED_BUSY", "1.5.16", False), ("TDX_INTERRUPTED_BUSY", "1.5.20", True),
    ("TDX_INTERRUPTED_BUSY", "2.0.08", False), ("TDX_INTERRUPTED_BUSY", "2.0.12", True),
    ("TDX_X2APIC_ID_NOT_UNIQUE", "1.5.01", False), ("TDX_DMAR_ENTRY_NOT_PRESENT", "1.5.34", False),
    ("TDX_IOMMU_IQ_QUEUE_FULL", "2.0.18", False), ("TDX_IOMMU_IQ_FULL", "2.0.18", True),
    ("TDX_OPERAND_BUSY", "a release of my own", True), ("TDX_OPERAND_BUSY", "report-2024", True),
])
def test_releases_have_what_they_have(name, release, there):
    [row] = [row for row in rows.STATUS_ROWS if row.name == name]
    assert rows.has(release, row) == there


def test_of_a_name_or_a_value_that_changed_the_newer_holds():
    assert STATUSES["TDX_IOMMU_IOTLB_TRACKING_NOT_REQUIRED"] == 0x0000_0F3B_0000_0000
    assert NAME_OF_STATUS[0xC000_0F4E_0000_0000] == "TDX_SPDM_INVALID_MESSAGE"


def test_operand_ids_of_the_newest_releases_are_not_in_older_ones():
    named = {row.name: row for row in rows.OPERAND_ROWS}
    assert rows.has("1.5.01", named["SEPT_TREE"]) and not rows.has("1.5.28", named["MEM_SCAN_STATE"])
    assert rows.has("2.0.08", named["MMIOMT"]) and not rows.has("1.5.34", named["MMIOMT"])


@pytest.mark.parametrize("word, name", [
    (status("TDX_OPERAND_BUSY", "GPA_LIST_ENTRY") | 1 << 61, "TDX_OPERAND_BUSY|GPA_LIST_ENTRY|FATAL"),
    (0xE000_0604_0000_0000, "TDX_TD_FATAL"), (0xC000_0608_0000_0004, "TDX_OP_STATE_INCORRECT|op_state 4"),
    (0xC000_0700_0000_0004, "TDX_VCPU_STATE_INCORRECT|vCPU state 4"), (0xC000_0608_0000_0000, "TDX_OP_STATE_INCORRECT"),
    (0xC000_0920_0000_003B, "TDX_INCONSISTENT_MSR|MSR 0x3b"), (0xC000_0A12_0002_0101, "TDX_PAMT_OVERLAP|0x20101"),
    (0x2000_0000_0000_0001, "0x2000000000000001"), (0x6000_0007_0000_0000, "0x6000000700000000"),
])
def test_a_low_half_is_named_by_what_its_status_puts_there(word, name):
    assert status_name(word) == name
