"""Memory that is taken as it is touched: it begins, is looked at and is reset as the ordinary block is."""

import pytest

from harness.engines import checks
from harness.memory.sparse import SparseMemory
from kernels.words import STATE
from tests import stage


@pytest.fixture
def sparse(monkeypatch):
    """A small TD that is treated as a large one."""
    monkeypatch.setattr("harness.memory.sparse.GATHERED_PAGES", 1)
    monkeypatch.setattr("harness.memory.sparse.PATTERN_BYTES", 1 << 16)
    return SparseMemory(stage.Layout(2, 3, 1 << 17, 0, 64))


def test_a_sparse_block_begins_as_the_ordinary_one_does(sparse):
    ordinary = stage.Memory(sparse.layout)
    start, end = sparse.layout.td_start, sparse.layout.td_end
    assert bytes(sparse.block[start:end]) == bytes(ordinary.block[start:end])


def test_a_sparse_view_tells_of_what_was_touched_only(sparse):
    entries = stage.Memory.view(sparse, "sept.0")
    entries[512 * 5 + 3], stage.Memory.view(sparse, "mirror.0")[512 * 70] = 7, 9
    sparse.look()
    assert list(sparse.page_numbers()[[0, -1]]) == [512 * 5, 512 * 71 - 1]
    assert len(sparse.view("sept.0")) == len(sparse.view("mirror.0")) == 1024
    assert sparse.view("sept.0")[3] == 7 and sparse.view("mirror.0")[512] == 9


def test_the_parent_of_an_entry_is_found_though_the_view_has_gaps(sparse):
    """The only touched page table is the 71st: its entry in the directory is number 70, not 0."""
    stage.Memory.view(sparse, "sept.0")[512 * 70 + 3] = STATE["MAPPED"].word()
    sparse.view("sept.2")[0] = STATE["NL_MAPPED"].word()
    sparse.look()
    assert checks.orphaned_entries(sparse) == 1
    sparse.view("sept.1")[70] = STATE["NL_MAPPED"].word()
    assert checks.orphaned_entries(sparse) == 0


def test_a_reset_forgets_everything_that_was_written(sparse):
    start, end = sparse.layout.td_start, sparse.layout.td_end
    fresh = bytes(sparse.block[start:end])
    sparse._bytes[start:end:1000] ^= 0xFF
    assert bytes(sparse.block[start:end]) != fresh
    sparse.reset()
    assert bytes(sparse.block[start:end]) == fresh
