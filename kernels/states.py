"""The tables of a search: what differs from state to state, each entry once.

A scenario touches a few dozen words and a few dozen rows, so almost everything in one state is the same as in
another.  Three tables hold what differs:

    locals      an actor's registers (those that are still going to be read, and PC)
    memories    the words that have been changed so far, as they differ from the start
    states      one number per actor into locals, one into memories, one for the scheduler

and a fourth what an actor does with given locals in a given memory (`moves`).  All are kept whole (interned.py), memories
and states in a few bits a number (packed.py): a state is one word as long as its numbers fit there.  A state has no
arcs: where its moves lead is in the tables of moves and states.

Of states that differ only in which of several *alike* actors is which (kernels/symmetry.py), one is kept:
the one in which their locals are in the order in which they were first met.
"""

from typing import NamedTuple

import numpy as np

from kernels import atomics
from kernels.compiling import kernel
from kernels.interned import ABSENT, Table, index_again, intern
from kernels.moves import ACTORS_MAX, BRANCHES_MAX
from kernels.ops import REGISTERS, Register
from kernels.packed import BITS, SHIFT, WHAT, WIDER_STATE, WORD, Dictionary, pack, unpack
from kernels.symmetry import LEADER, LEFT, NAME, ROLE, exchanged

# Where an actor stands (`fanout`): how many moves it has, or
OVER, DOWN = 0, -1               # its script is over; the module is down

# Named elements of `counts`: rows of the tables and slots of their indexes in the same order, then what a search is at.
TABLES = 4
(N_LOCALS, N_MEMORIES, N_MOVES, N_STATES, LOCAL_SLOTS, MEMORY_SLOTS, MOVE_SLOTS, STATE_SLOTS,
 NEXT, TRANSITIONS, STEPS, TOP, LEFT_OUT, N_ENDED, GOES_BACK, LEVEL_ENDS, ANEW) = range(17)
STOPS = 32                       # on a cache line of its own: other workers read it at each state
COUNTS = 40
SLOTS_FIRST, SLOTS_SMALL = 1 << 10, 1 << 20      # of an index: at first, and up to when it is doubled
ROOM = ACTORS_MAX * BRANCHES_MAX                 # rows that one state may need
# With actors that are alike a move needs up to ACTORS_MAX rows more of some tables; it has two outcomes at most.
ALIKE_BRANCHES_MAX = 2
assert ACTORS_MAX * ALIKE_BRANCHES_MAX * (1 + ACTORS_MAX) <= ROOM

# A row of the table of moves is two words of numbers: memory, locals, branch and 12 flags; locals, memory, rows and 2 flags.
MEMORY_BITS, LOCAL_BITS, BRANCH_BITS, ROWS_BITS = 28, 17, 7, 17
FLAGS_LOW, FLAGS_HIGH = 12, 2
MOVE_WORDS = 2


class Locals(NamedTuple):
    """table: columns REGISTERS + 1: registers, which actor's, its store buffer (buffers.py); rows: the table's.

    fanout   int8: how many moves an actor has there; OVER or DOWN
    number   int32 (rows,): the how manieth of its actor's rows it is, + 1; 0: not said yet
    of       int32 (actors, rows): and which row that is;  met: int64 (actors,), how many an actor has
    twins    int32 (rows, actors), of actors that are alike: see `add_twins`; 0 where not known
    """

    table: Table
    rows: np.ndarray
    fanout: np.ndarray
    number: np.ndarray
    of: np.ndarray
    met: np.ndarray
    twins: np.ndarray


class Memories(NamedTuple):
    """dictionary: of the words; swapped: int32 (rows, actors), see `exchange_names`; 0 where not known.

    words    int64 (words,) scratch
    """

    table: Table
    dictionary: Dictionary
    swapped: np.ndarray
    words: np.ndarray


class States(NamedTuple):
    """fields int64 (actors + 2, packed.FIELD): where the numbers of a state lie in its row.

    rows      int32 (1, actors + 2): the state that is being made
    parents   int32: the state from which each was first reached
    ended     int32: the states without moves
    """

    table: Table
    fields: np.ndarray
    rows: np.ndarray
    parents: np.ndarray
    ended: np.ndarray


class Tables(NamedTuple):
    """All tables; moves: two words each, see `find_move`; counts: int64 (COUNTS,), elements named above.

    row_bytes int64 (TABLES,): of a row of each, with all that it has elsewhere but its slot
    asks      int64 (ASKS,), of packed.py: one thread's own, as are the tables' `given`, `words` and the state that is being made
    """

    locals: Locals
    memories: Memories
    moves: Table
    states: States
    counts: np.ndarray
    row_bytes: np.ndarray
    asks: np.ndarray


# --- room ---------------------------------------------------------------------------------------

@kernel
def is_full(tables, most, spare):
    """Whether a table may have no room for `spare` rows more; most: bytes of all."""
    counts = tables.counts
    used = np.int64(0)
    for each in range(TABLES):
        used += counts[each] * tables.row_bytes[each] + 4 * counts[TABLES + each]
    return (used > most or counts[N_LOCALS] + spare > tables.locals.rows.shape[0]
            or counts[N_MEMORIES] + spare > tables.memories.table.rows.shape[0]
            or counts[N_MOVES] + spare > tables.moves.rows.shape[0]
            or counts[N_STATES] + spare > tables.states.table.rows.shape[0])


@kernel
def crowded(tables, spare):
    """Whether an index may have too few slots for `spare` rows more: they are to be filled to three quarters."""
    counts = tables.counts
    for each in range(TABLES):
        if 4 * (counts[each] + spare) > 3 * counts[TABLES + each]:
            return True
    return False


@kernel
def give_room(table, spare):
    """Half as many slots again for an index that is crowded; twice as many for a small one."""
    slots, rows = atomics.load64(table.slots_at), atomics.load64(table.count_at) + spare
    if 4 * rows > 3 * slots:
        while 4 * rows > 3 * slots:
            slots += slots if slots < SLOTS_SMALL else slots >> 1
        index_again(table, min(slots, table.index.shape[0]))


@kernel
def give_all_room(tables, spare):
    give_room(tables.locals.table, spare)
    give_room(tables.memories.table, spare)
    give_room(tables.moves, spare)
    give_room(tables.states.table, spare)


@kernel
def index_all(tables):
    """Put the few rows that a search begins with into the indexes."""
    index_again(tables.locals.table, SLOTS_FIRST)
    index_again(tables.memories.table, SLOTS_FIRST)
    index_again(tables.moves, SLOTS_FIRST)
    index_again(tables.states.table, SLOTS_FIRST)


# --- states as rows -----------------------------------------------------------------------------

@kernel
def number_of(locals_, local):
    """Of an actor's locals, among all of that actor's."""
    number = locals_.number[local]
    while number == 0:                   # another thread has just met them
        atomics.pause()
        number = atomics.load32(locals_.number.ctypes.data + 4 * local)
    return np.int64(number) - 1


@kernel
def put_number(locals_, local, actor):
    """Number locals that are new."""
    number = atomics.fetch_add64(locals_.met.ctypes.data + 8 * actor, 1)
    locals_.of[actor, number] = local
    atomics.store32(locals_.number.ctypes.data + 4 * local, number + 1)


@kernel
def intern_state(tables):
    """(the row of the state that is being made, whether it is new); (ABSENT, False) where its numbers do not fit."""
    states, last = tables.states, tables.states.fields.shape[0]
    given = states.table.given
    for column in range(given.shape[0]):
        given[column] = 0
    for column in range(last):
        number = np.int64(states.rows[0, column])
        if column < last - 2:
            number = number_of(tables.locals, number)
        if number >> states.fields[column, BITS] != 0:
            tables.asks[WHAT] = WIDER_STATE
            return np.int64(ABSENT), False
        given[states.fields[column, WORD]] |= number << states.fields[column, SHIFT]
    return intern(states.table, True)


@kernel
def load_state(tables, at, here):
    """Put a state's numbers into `here`."""
    fields, last = tables.states.fields, tables.states.fields.shape[0]
    for column in range(last):
        word = tables.states.table.rows[at, fields[column, WORD]]
        number = word >> fields[column, SHIFT] & (1 << fields[column, BITS]) - 1
        here[column] = tables.locals.of[column, number] if column < last - 2 else number


# --- actors that are alike ----------------------------------------------------------------------

@kernel
def add_twins(local, alike, table, counts):
    """Note for an actor's locals what each actor alike would have in its place: twins[local, place], + 1."""
    rows, twins, given = table.rows, table.twins, table.table.given
    mine = rows[local, REGISTERS]
    for place in range(alike.shape[0]):
        if alike[place, LEADER] != alike[mine, LEADER]:
            continue
        row = local
        if place != mine:
            for column in range(rows.shape[1]):
                given[column] = rows[local, column]
            given[Register.ME] = alike[place, NAME]
            given[Register.ROLE] = alike[place, ROLE]
            given[REGISTERS] = place
            row, new = intern(table.table, True)
            table.fanout[row] = table.fanout[local]
            if new:
                put_number(table, row, place)
        twins[local, place] = row + 1
    for place in range(alike.shape[0]):
        if twins[local, place] != 0:
            for other in range(alike.shape[0]):
                twins[twins[local, place] - 1, other] = twins[local, other]


@kernel
def exchange_names(memory, place, alike, table, known, asks):
    """Memory with the names of the actor at `place` and of the one before it that it is alike to exchanged."""
    swapped = table.swapped
    if swapped[memory, place] != 0:
        return np.int64(swapped[memory, place]) - 1
    one, other, row = alike[place, NAME], alike[alike[place, LEFT], NAME], table.table.rows[memory]
    for cell in range(known.cells[0]):
        word = unpack(table.dictionary, row, cell)
        table.words[cell] = exchanged(word, one, other) if known.ghosts[known.cell_at[cell]] != 0 else word
    pack(table.dictionary, table.words, known.cells[0], table.table.given, asks)
    if asks[WHAT] != 0:
        return memory                    # of no use, as the state that is being made
    found, _ = intern(table.table, True)
    swapped[memory, place], swapped[found, place] = found + 1, memory + 1
    return found


@kernel
def put_in_order(state, alike, tables, known):
    """Exchange actors that are alike in a state, until what their leader would have as locals goes up."""
    rows, twins, counts, actors = tables.states.rows, tables.locals.twins, tables.counts, alike.shape[0]
    for place in range(actors):
        if twins[rows[state, place], place] == 0:
            add_twins(np.int64(rows[state, place]), alike, tables.locals, counts)
    for place in range(actors):
        right = place
        while alike[right, LEFT] >= 0:
            left, leader = alike[right, LEFT], alike[right, LEADER]
            mine, other = np.int64(rows[state, right]), np.int64(rows[state, left])
            if twins[other, leader] <= twins[mine, leader]:
                break
            rows[state, left] = twins[mine, left] - 1
            rows[state, right] = twins[other, right] - 1
            memory = np.int64(rows[state, actors])
            rows[state, actors] = exchange_names(memory, right, alike, tables.memories, known, tables.asks)
            right = left
