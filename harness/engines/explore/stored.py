"""What a search stores: its tables as arrays, how wide each number is in them, and how to read them.

`Stored` owns the arrays of kernels/states.py and gives memories and states the fields of kernels/packed.py: as wide as what
has been met so far asks for.  Where a number does not fit any more, all rows are laid out anew.
"""

from functools import partial
from pathlib import Path

import numpy as np

from harness.memory.tables import apart, give_back, use_large_pages, zeros
from kernels import buffers, interned, packed, states
from kernels.moves import ACTORS_MAX

LOCALS_MAX = 1 << states.LOCAL_BITS
MEMORIES_MAX = 1 << states.MEMORY_BITS
STATES_MAX = 1 << 30
ARCS_MAX, ARCS_EACH = (1 << 31) - 1, 8   # that are kept; a state of five actors has 4 to 5
WORDS_MAX = 4096                 # that change, of a scenario's
SMALL_MIB = 64                   # tables of less than that come in small pages
MEMORY_SPARE, MEMORY_COLUMNS = 2, 4      # bits of each field, and words of a row, while words are only learned about
NUMBER_BITS = 63


class Stored:
    """The tables of one search, of so many actors, with store buffers for `room` stores, in so many bytes.

    spill    a folder in which the large ones lie in files (without names, gone with the process), or None: in memory
    """

    def __init__(self, actors: int, room: int, memory_bytes: int, alike: bool, flags: int, spill: Path | None = None):
        assert flags <= states.FLAGS_LOW + states.FLAGS_HIGH
        self.zeros = partial(zeros, folder=spill)
        self.actors, self.memory_bytes, self.alike = actors, memory_bytes, alike
        self.counts, self.asks = apart(np.zeros(states.COUNTS, np.int64)), np.zeros(len(packed.ASKS), np.int64)
        self.large, self.dropped, self.spare, self.note_bits = False, False, MEMORY_SPARE, 0
        self.said: tuple[int, ...] = ()          # what the fields of memories were laid out for
        self.dictionary = packed.Dictionary(np.zeros((WORDS_MAX, len(packed.FIELD)), np.int64), np.array([0, 0, 1 + MEMORY_SPARE]), np.ones(WORDS_MAX, np.int64),
                                            zeros((WORDS_MAX, packed.CODES_MAX), np.int64))
        self.state_fields = np.zeros((actors + 2, len(packed.FIELD)), np.int64)
        self.most = [LOCALS_MAX, *(max(4 * states.ALIKE_ROOM, min(most, memory_bytes // least)) for most, least in (
            (MEMORIES_MAX, 48), (STATES_MAX, 20), (STATES_MAX, 16)))]        # rows of each table; bytes of a row: at least so many
        locals_ = self._table(states.N_LOCALS, buffers.columns(room))
        memories, moves, rows = (self._table(kind, columns) for kind, columns in (
            (states.N_MEMORIES, MEMORY_COLUMNS), (states.N_MOVES, states.MOVE_WORDS), (states.N_STATES, 1)))
        count, most = locals_.rows.shape[0], rows.rows.shape[0]
        parents, ended, first, arcs = (self.zeros(length, np.int32) for length in (most, most, most, min(ARCS_MAX, ARCS_EACH * most)))
        self.tables = states.Tables(
            states.Locals(locals_, locals_.rows, zeros(count, np.int8), zeros(count, np.int32), zeros((actors, count), np.int32),
                          np.zeros(ACTORS_MAX, np.int64), zeros((count, actors), np.int32), zeros(count, np.int64), zeros(count, np.int32)),
            states.Memories(memories, self.dictionary, zeros((memories.rows.shape[0], actors), np.int32),
                            zeros((memories.rows.shape[0], actors), np.int8), np.zeros(WORDS_MAX, np.int64)),
            moves._replace(columns=1, spare=states.FLAGS_LOW),
            states.States(rows, self.state_fields, np.zeros((1, actors + 2), np.int32), parents, ended, first, arcs),
            self.counts, np.zeros(states.TABLES, np.int64), self.asks)
        self.tables.locals.of[:, 0] = range(actors)      # as hold_first has them
        self._weigh()

    def _table(self, kind: int, columns: int) -> interned.Table:
        rows, at = self.most[kind], self.counts.ctypes.data
        index = self.zeros(max(states.SLOTS_FIRST, rows * 4 // 3 + 1), np.uint32)
        return interned.Table(self.zeros((rows, columns), np.int64), index, index.ctypes.data, at + 8 * kind, at + 8 * (states.SLOTS + kind),
                              (rows + 2).bit_length(), columns, 0, np.zeros(columns, np.int64))

    def _weigh(self) -> None:
        """Of each table how many bytes a row has."""
        tables, exchanged = self.tables, self.actors * self.alike
        self.tables.row_bytes[:] = (tables.locals.rows[0].nbytes + 1 + 4 + 4 + 8 + 4 + 4 * exchanged,
                                    tables.memories.table.rows[0].nbytes + 5 * exchanged,
                                    tables.moves.rows[0].nbytes, tables.states.table.rows[0].nbytes + 4)

    def tables_by_kind(self) -> tuple[interned.Table, ...]:
        """In the order of `counts`."""
        tables = self.tables
        return tables.locals.table, tables.memories.table, tables.moves, tables.states.table

    def for_thread(self, asks: np.ndarray) -> states.Tables:
        """The same tables, with what each thread has of its own."""
        locals_, memories, moves, rows = (table._replace(given=apart(table.given)) for table in self.tables_by_kind())
        tables = self.tables
        return states.Tables(
            tables.locals._replace(table=locals_), tables.memories._replace(table=memories, words=apart(tables.memories.words)),
            moves, tables.states._replace(table=rows, rows=apart(tables.states.rows)), self.counts, tables.row_bytes,
            asks)

    def reset(self, cells: int, spare: int, note_bits: int) -> None:
        """Empty all tables; the fields are as wide as what is known by now asks for."""
        counts, tables = self.counts, self.tables
        used = int(counts[states.N_LOCALS])
        tables.locals.number[:used] = 0
        if self.alike:
            tables.locals.twins[:used] = 0
            tables.memories.swapped[:counts[states.N_MEMORIES]] = 0
            tables.memories.ordered[:counts[states.N_MEMORIES]] = 0
        met = tables.locals.met[:self.actors].tolist()
        counts[:states.SLOTS] = counts[states.SLOTS + states.TABLES:] = 0
        self.dropped = False
        counts[states.ANEW] = 1              # the indexes are emptied by who uses them next: what they had is in `slots`
        self.spare, self.note_bits = spare, note_bits
        if not spare:
            self.lay_out_memories(cells)
            self.lay_out_states(met)

    def hold_first(self) -> None:
        """The first rows have been written: locals of each actor, and memory as it is at the start."""
        locals_ = self.tables.locals
        self.counts[states.N_LOCALS], self.counts[states.N_MEMORIES] = self.actors, 1
        locals_.number[:self.actors] = locals_.met[:self.actors] = 1
        self.asks[:] = 0

    def hold_state(self, state: np.ndarray) -> None:
        """The state to start from, as rows of the other tables."""
        numbers = [*(self.tables.locals.number[state[:-2]] - 1), *state[-2:]]
        row = self.tables.states.table.rows[0]
        row[:] = 0
        for field, number in zip(self.state_fields, numbers):
            assert number >> field[packed.BITS] == 0
            row[field[packed.WORD]] |= int(number) << int(field[packed.SHIFT])
        self.counts[states.N_STATES] = 1
        self.counts[states.ANEW] = 1

    # --- fields ---

    def lay_out_memories(self, cells: int) -> None:
        """Give each word a field that has room for the values met so far."""
        codes = self.dictionary.codes[:cells]
        said = cells, self.spare, int(codes.sum())
        if said == self.said:
            return
        self.said = said
        bits = np.maximum(1, np.ceil(np.log2(codes)).astype(np.int64)) + self.spare
        bits[codes >= packed.CODES_MAX] = packed.WHOLE
        fields = self.dictionary.fields
        if (fields[:cells, packed.BITS] == bits).all():
            return
        before, rows, count = fields.copy(), self.tables.memories.table.rows, int(self.counts[states.N_MEMORIES])
        columns = _place(fields[:cells], bits)
        last = fields[cells - 1] if cells else np.zeros(3, np.int64)
        self.dictionary.end[:] = last[packed.WORD], last[packed.SHIFT] + last[packed.BITS], 1 + self.spare
        columns = max(columns, MEMORY_COLUMNS if self.spare else 1)
        new = rows if not count and columns == rows.shape[1] else self.zeros((len(rows), columns), np.int64)
        if count:
            whole = (bits == packed.WHOLE) & (before[:cells, packed.BITS] < packed.WHOLE) & (before[:cells, packed.BITS] > 0)
            _relay(rows[:count], before[:cells][~whole], fields[:cells][~whole], new)
            for cell in np.flatnonzero(whole):
                new[:count, fields[cell, packed.WORD]] = self.dictionary.values[cell][_field(rows[:count], before[cell])]
        if new is not rows:
            self._replace("memories", new, columns, states.N_MEMORIES)

    def lay_out_states(self, met: list[int] | None = None) -> None:
        """Give each number of a state a field: one word if they fit, with what is left of it for the memory."""
        known = self.tables.locals.met[:self.actors] if met is None else met
        before, table, count = self.state_fields.copy(), self.tables.states.table, int(self.counts[states.N_STATES])
        memory = max(10, int(self.counts[states.N_MEMORIES]).bit_length() + 1)
        for roomy in (1, 0):             # each actor's twice as many as have been met, or just those
            actors = [max(4, (int(each) << roomy).bit_length()) for each in known]
            left = NUMBER_BITS - sum(actors) - self.note_bits
            if left >= memory:
                break
        bits = [*actors, min(left, states.MEMORY_BITS) if left >= memory else states.MEMORY_BITS, self.note_bits]
        columns = _place(self.state_fields, np.array(bits))
        if not count and columns == table.rows.shape[1]:
            return
        new = self.zeros((len(table.rows), columns), np.int64)
        _relay(table.rows[:count], before, self.state_fields, new)
        self._replace("states", new, columns, states.N_STATES)

    def give_columns(self, of_memory: int, of_state: int) -> None:
        """Rows of so many words, of tables that are empty: fields of those widths are going to be put in."""
        for name, columns, kind in (("memories", of_memory, states.N_MEMORIES), ("states", of_state, states.N_STATES)):
            self._replace(name, self.zeros((self.most[kind], columns), np.int64), columns, kind)

    def _replace(self, name: str, rows: np.ndarray, columns: int, kind: int) -> None:
        if self.large:
            use_large_pages(rows)
        of = getattr(self.tables, name)
        table = of.table._replace(rows=rows, columns=columns, given=np.zeros(columns, np.int64))
        self.tables = self.tables._replace(**{name: of._replace(table=table)})
        self._weigh()
        if self.counts[kind]:
            interned.index_anew(table, int(self.counts[states.SLOTS + kind]))

    def grow_large(self) -> None:
        """There are more states than a small search has: let the tables come in large pages."""
        if not self.large and self.memory_bytes >> 20 >= SMALL_MIB:
            for table in self.tables_by_kind():
                use_large_pages(table.rows)
                use_large_pages(table.index)
            for each in (self.tables.states.parents, self.tables.states.first, self.tables.states.arcs):
                use_large_pages(each)
        self.large = True

    def drop_arcs(self) -> None:
        """Give back the memory of arcs that are not kept any more."""
        if self.counts[states.NO_ARCS] and not self.dropped:
            self.dropped = True
            for each in (self.tables.states.first, self.tables.states.arcs):
                give_back(each)

    # --- reading ---

    def bytes_used(self) -> int:
        """What of the tables is in use, but for arcs; a page of them that was never touched is no memory."""
        rows, slots = self.counts[:states.TABLES], self.counts[states.SLOTS:states.SLOTS + states.TABLES]
        return int((rows * self.tables.row_bytes).sum() + 4 * slots.sum() + 4 * self.counts[states.N_ENDED])

    def moves(self, rows: np.ndarray) -> np.ndarray:
        """(moves, 2): the locals that each leads to, and how many rows it executes."""
        word = self.tables.moves.rows[rows, 1] >> states.FLAGS_HIGH
        local = word >> states.ROWS_BITS + states.MEMORY_BITS & (1 << states.LOCAL_BITS) - 1
        return np.stack([local, word & (1 << states.ROWS_BITS) - 1], axis=1)

    def word(self, memories: int, cell: int) -> np.ndarray:
        """One word of the first so many memories."""
        codes = _field(self.tables.memories.table.rows[:memories], self.dictionary.fields[cell])
        return codes if self.dictionary.fields[cell, packed.BITS] == packed.WHOLE else self.dictionary.values[cell][codes]

    def rows(self, numbers) -> np.ndarray:
        """States by their numbers: (states, actors + 2): locals, memory, note."""
        rows, of = self.tables.states.table.rows[numbers], self.tables.locals.of
        found = np.stack([_field(rows, field) for field in self.state_fields], axis=1)
        for actor in range(self.actors):
            found[:, actor] = of[actor][found[:, actor]]
        return found

    def words(self, memories, cells: int) -> np.ndarray:
        """Memories by their numbers: (memories, words that change, of which there are so many), as they differ from the start."""
        rows = self.tables.memories.table.rows[memories]
        found = np.zeros((len(rows), cells), np.int64)
        for cell, field in enumerate(self.dictionary.fields[:cells]):
            codes = _field(rows, field)
            found[:, cell] = codes if field[packed.BITS] == packed.WHOLE else self.dictionary.values[cell][codes]
        return found


def _place(fields: np.ndarray, bits: np.ndarray) -> int:
    """Lay fields of so many bits into words, one after the other; returns how many words there are."""
    word = shift = 0
    for field, width in zip(fields, bits.tolist()):
        if shift + width > packed.WHOLE:
            word, shift = word + 1, 0
        field[:] = word, shift, width
        shift += width
    return word + 1


def _relay(rows: np.ndarray, before: np.ndarray, fields: np.ndarray, new: np.ndarray) -> None:
    """Put the fields of rows that lie as `before` says where `fields` has them: at once all that go as far, from one word to another."""
    masks: dict[tuple[int, int, int], int] = {}
    for (word, shift, bits), (to, shift_to, _) in zip(before.tolist(), fields.tolist()):
        way = word, to, shift_to - shift
        masks[way] = masks.get(way, 0) | (1 << bits) - 1 << shift
    for (word, to, further), mask in masks.items():
        part = rows[:, word].view(np.uint64) & np.uint64(mask)
        new[:len(rows), to].view(np.uint64)[:] |= part << np.uint64(further) if further >= 0 else part >> np.uint64(-further)


def _field(rows: np.ndarray, field: np.ndarray) -> np.ndarray:
    """What a field has in rows."""
    word, shift, bits = field.tolist()
    return rows[:, word] if bits == packed.WHOLE else rows[:, word] >> shift & (1 << bits) - 1
