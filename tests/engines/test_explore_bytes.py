"""What a search stores: no more bytes than it says, and each number whole in its few bits."""

import numpy as np
import pytest

from harness.engines.explore import search as explore
from harness.engines.explore.tables import Search
from harness.experiment.scenario_file import load
from harness.reports.exploration import coverage
from kernels import packed, states
from kernels.compiling import for_python
from tests.command_line import ROOT

WIDE = [0, 1, 2, 300, -5, 1 << 62, -(1 << 63)]


def searched(name: str, module: str, **options) -> Search:
    [scenario] = load(ROOT / f"configs/explore/{name}.toml", [module])
    search = Search(scenario, memory_mib=64, symmetry=False, **options)
    search.scout()
    search.search()
    return search


@pytest.mark.parametrize("name, module", [("fault_zap", "1.5.24"), ("accept_block", "1.5.05")])
def test_each_row_is_stored_once_and_found_by_its_index(name, module):
    search = searched(name, module)
    counts, used = search.counts, 0
    for kind, table in enumerate(search.stored.tables_by_kind()):
        count, slots = counts[kind], counts[states.SLOTS + kind]
        rows = table.rows[:count, :table.columns] >> table.spare
        numbers = table.index[:slots][table.index[:slots] != 0] & (1 << table.bits) - 1
        assert len(np.unique(rows, axis=0)) == count == len(numbers) and set(numbers) == set(range(1, count + 1))
        assert 4 * count <= 3 * slots
        used += int(count * search.tables.row_bytes[kind]) + 4 * int(slots)
    assert search.bytes_used() == used + 4 * int(counts[states.N_ENDED])


def test_a_state_is_one_word_until_its_numbers_ask_for_two():
    search = searched("fault_zap", "1.5.24")
    count = int(search.counts[states.N_STATES])
    before = search.stored.rows(slice(0, count))
    assert search.tables.states.table.columns == 1 and len(np.unique(before, axis=0)) == count
    search.tables.locals.met[:2] = 1 << 28, 1 << 27          # as if there were so many locals
    search.stored.lay_out_states()
    assert search.tables.states.table.columns == 2
    assert (search.stored.rows(slice(0, count)) == before).all()
    first, arcs, _ = search.successors(np.arange(count))        # all are still found by their index
    assert len(arcs) == search.counts[states.TRANSITIONS] and search.counts[states.N_STATES] == count


def test_memories_keep_their_words_when_fields_are_laid_out_anew():
    search = searched("fault_zap", "1.5.24")
    count, cells = int(search.counts[states.N_MEMORIES]), int(search.known.cells[0])
    before, columns = search.stored.words(slice(0, count), cells), search.tables.memories.table.columns
    search.stored.dictionary.codes[0] = packed.CODES_MAX     # as if one word had very many values, and the others more
    search.stored.spare = 3
    search.stored.lay_out_memories(cells)
    assert search.tables.memories.table.columns > columns
    assert search.stored.dictionary.fields[0, packed.BITS] == packed.WHOLE
    assert (search.stored.words(slice(0, count), cells) == before).all()


def dictionary(*bits: int) -> packed.Dictionary:
    fields, shift = np.zeros((len(bits), 3), np.int64), 0
    for field, width in zip(fields, bits):
        field[:] = (1, 0, width) if width == packed.WHOLE else (0, shift, width)
        shift += width if width != packed.WHOLE else 0
    return packed.Dictionary(fields, np.array([2, 0, 1]), np.ones(len(bits), np.int64), np.zeros((len(bits), packed.CODES_MAX), np.int64))


def test_a_packed_row_gives_back_each_word_whole():
    of, row, asks = dictionary(3, packed.WHOLE, 3), np.zeros(2, np.int64), np.zeros(2, np.int64)
    pack, unpack = for_python(packed.pack), for_python(packed.unpack)
    for first in WIDE:
        for second in WIDE:
            words = np.array([first, second, -first - 1], np.int64)
            pack(of, words, 3, row, asks)
            assert [unpack(of, row, word) for word in range(3)] == words.tolist() and not asks.any()


def test_a_value_that_no_field_has_room_for_is_asked_for_and_never_stored():
    of, row, asks = dictionary(1, 1, 1), np.zeros(1, np.int64), np.zeros(2, np.int64)
    pack = for_python(packed.pack)
    pack(of, np.array([7, 0, 0]), 3, row, asks)
    assert not asks.any()
    pack(of, np.array([8, 0, 0]), 3, row, asks)              # a second value: codes 0, 1, 2 in one bit
    assert asks[packed.WHAT] == packed.WIDER_MEMORY
    asks[:] = 0, 1
    pack(of, np.array([0, 9, 0]), 3, row, asks)              # a value that is new, while others are at work
    assert asks[packed.WHAT] == packed.ALONE and of.codes[1] == 1


def test_a_search_is_the_same_when_its_fields_have_to_grow(monkeypatch):
    wide = searched("fault_zap", "1.5.24")
    monkeypatch.setattr("harness.engines.explore.tables.Search.scout", lambda self: None)        # so that it knows nothing
    narrow = searched("fault_zap", "1.5.24")
    numbers = [states.N_STATES, states.N_MOVES, states.N_MEMORIES, states.N_LOCALS, states.TRANSITIONS]
    assert narrow.counts[numbers].tolist() == wide.counts[numbers].tolist() and narrow.depth() == wide.depth()


def test_bytes_a_state_are_printed():
    [scenario] = load(ROOT / "configs/explore/fault_zap.toml", ["1.5.24"])
    found = explore.run(scenario)
    assert found.bytes / found.states == pytest.approx(177, rel=0.3)          # few states: rows of locals are most
    assert f"{found.states} states, {round(found.bytes / found.states)} B each, " in coverage(found)


@pytest.mark.slow
def test_at_most_forty_bytes_a_state():
    """Three vCPUs and a removal, no symmetry: 31 million states."""
    [scenario] = load(ROOT / "configs/explore/fault_zap_two_vcpus.toml", ["1.5.24"], keys={
        "actors": {**{f"vcpu{place}": {"touch": [3]} for place in range(3)}, "host0": {"remove": [3]}}})
    search = Search(scenario, symmetry=False, memory_mib=256)
    search.scout()
    search.search()
    assert search.counts[states.N_STATES] > 5_000_000
    assert search.bytes_used() / int(search.counts[states.N_STATES]) <= 40


def test_tables_in_files_find_the_same_and_leave_nothing(tmp_path):
    [scenario] = load(ROOT / "configs/explore/fault_zap.toml", ["1.5.24"])
    memory, files = explore.run(scenario), explore.run(scenario, spill=tmp_path)
    assert files.endings == memory.endings and (files.states, files.bytes) == (memory.states, memory.bytes)
    search = Search(scenario, spill=tmp_path)
    mapped = [line for line in open("/proc/self/maps") if str(tmp_path) in line]
    assert len(mapped) >= 8 and not list(tmp_path.iterdir())         # deleted while they are in use
    assert search.memory_bytes > 1024 << 20
