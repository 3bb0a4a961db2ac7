"""The tables of a search: what differs from state to state, each entry once.

A scenario touches a few dozen words and a few dozen rows, so almost everything in one state is the same as in
another.  Three tables hold what differs:

    locals      an actor's registers (those that are still going to be read, and PC)
    memories    the words that have been changed so far, as they differ from the start
    states      one number per actor into locals, one into memories, one for the scheduler

and a fourth what an actor does with given locals in a given memory (`moves`).  States are stored whole: there are
no collisions to reckon with.

Of states that differ only in which of several *alike* actors is which (kernels/symmetry.py), one is kept:
the one in which their locals are in the order in which they were first met.
"""

from typing import NamedTuple

import numpy as np

from kernels.compiling import kernel
from kernels.moves import ACTORS_MAX, BRANCHES_MAX
from kernels.ops import REGISTERS, Register
from kernels.symmetry import LEADER, LEFT, NAME, ROLE, exchanged

EMPTY = 0                        # in an index; entries are row + 1

# Where an actor stands (`fanout`): how many moves it has, or
OVER, DOWN = 0, -1               # its script is over; the module is down

# Named elements of `counts`.
(N_LOCALS, N_MEMORIES, N_STATES, N_MOVES, N_ARCS, NEXT, TRANSITIONS, STEPS,
 LOCAL_MASK, MEMORY_MASK, STATE_MASK, MOVE_MASK, TOP, LEFT_OUT) = range(14)
COUNTS = 14
ROOM = ACTORS_MAX * BRANCHES_MAX                 # rows that one state may need
# With actors that are alike a move needs up to ACTORS_MAX rows more of some tables; it has two outcomes at most.
ALIKE_BRANCHES_MAX = 2
assert ACTORS_MAX * ALIKE_BRANCHES_MAX * (1 + ACTORS_MAX) <= ROOM

MIX = -7046029254386353131


class Locals(NamedTuple):
    """rows int64 (rows, REGISTERS + 1): registers, which actor's, its store buffer (buffers.py); index: for `intern`.

    fanout   int8: how many moves an actor has there; OVER or DOWN
    twins    int32 (rows, actors), of actors that are alike: see `add_twins`; 0 where not known
    """

    rows: np.ndarray
    index: np.ndarray
    fanout: np.ndarray
    twins: np.ndarray


class Memories(NamedTuple):
    """rows int64 (rows, words); swapped: int32 (rows, actors), see `exchange_names`; 0 where not known."""

    rows: np.ndarray
    index: np.ndarray
    swapped: np.ndarray


class Moves(NamedTuple):
    """key int64 (rows, 1): memory, locals, branch.

    to         int32 (rows, 2): the locals and the memory that it leads to
    flags      int64, as moves.py has them; executed: int32, rows
    """

    key: np.ndarray
    index: np.ndarray
    to: np.ndarray
    flags: np.ndarray
    executed: np.ndarray


class States(NamedTuple):
    """rows int32 (rows, actors + 2).

    parents, ways   int32, int16: the state from which each was first reached, and by which way (actor, branch)
    first_arc       int64: where a state's arcs begin
    arcs, movers    int32: the state that a move leads to; int8: which actor moves, + ACTORS_MAX if it is a store of its buffer
    """

    rows: np.ndarray
    index: np.ndarray
    parents: np.ndarray
    ways: np.ndarray
    first_arc: np.ndarray
    arcs: np.ndarray
    movers: np.ndarray


class Tables(NamedTuple):
    """All tables; counts: int64 (COUNTS,), elements named above."""

    locals: Locals
    memories: Memories
    moves: Moves
    states: States
    counts: np.ndarray


@kernel
def is_full(tables):
    """Whether a table may have no room for what comes of one state."""
    counts = tables.counts
    return (counts[N_LOCALS] + ROOM > tables.locals.rows.shape[0]
            or counts[N_MEMORIES] + ROOM > tables.memories.rows.shape[0]
            or counts[N_MOVES] + ROOM > tables.moves.key.shape[0]
            or counts[N_STATES] + ROOM > tables.states.rows.shape[0]
            or counts[N_ARCS] + ROOM > tables.states.arcs.shape[0])


@kernel
def fold(hash_, word):
    """A hash of everything so far and `word`."""
    hash_ = (hash_ ^ word) * MIX
    return hash_ ^ (hash_ >> 29 & 0x7FFFFFFFF)


@kernel
def intern(table, index, counts, count_at, mask_at):
    """The row of a table that equals its first unused row; that row itself, now used, if none does.

    table    (rows, columns); a column that is 0 may as well not be there
    index    hashed rows + 1 (int32, EMPTY where there is none); of it mask + 1 elements are in use
    counts   [count_at]: rows in use; [mask_at]: the mask; both are kept here
    """
    fresh = counts[count_at]
    if 2 * (fresh + 1) > counts[mask_at]:
        while 2 * (fresh + 1) > counts[mask_at]:
            counts[mask_at] = 4 * counts[mask_at] + 3
        for slot in range(counts[mask_at] + 1):
            index[slot] = EMPTY
        for row in range(fresh):
            slot = hash_of(table, row) & counts[mask_at]
            while index[slot] != EMPTY:
                slot = slot + 1 & counts[mask_at]
            index[slot] = row + 1
    slot = hash_of(table, fresh) & counts[mask_at]
    while index[slot] != EMPTY:
        row = np.int64(index[slot]) - 1
        same = True
        for column in range(table.shape[1]):
            same &= table[row, column] == table[fresh, column]
        if same:
            return row
        slot = slot + 1 & counts[mask_at]
    index[slot] = fresh + 1
    counts[count_at] = fresh + 1
    return fresh


@kernel
def hash_of(table, row):
    hash_ = np.int64(0)
    for column in range(table.shape[1]):
        word = np.int64(table[row, column])
        if word != 0:
            hash_ += fold(column + 1, word)
    return fold(0, hash_)


# --- actors that are alike ----------------------------------------------------------------------

@kernel
def add_twins(local, alike, table, counts):
    """Note for an actor's locals what each actor alike would have in its place: twins[local, place], + 1."""
    rows, twins = table.rows, table.twins
    mine = rows[local, REGISTERS]
    for place in range(alike.shape[0]):
        if alike[place, LEADER] != alike[mine, LEADER]:
            continue
        row = local
        if place != mine:
            fresh = counts[N_LOCALS]
            for column in range(rows.shape[1]):
                rows[fresh, column] = rows[local, column]
            rows[fresh, Register.ME] = alike[place, NAME]
            rows[fresh, Register.ROLE] = alike[place, ROLE]
            rows[fresh, REGISTERS] = place
            row = intern(rows, table.index, counts, N_LOCALS, LOCAL_MASK)
            table.fanout[row] = table.fanout[local]
        twins[local, place] = row + 1
    for place in range(alike.shape[0]):
        if twins[local, place] != 0:
            for other in range(alike.shape[0]):
                twins[twins[local, place] - 1, other] = twins[local, other]


@kernel
def exchange_names(memory, place, alike, table, known, counts):
    """Memory with the names of the actor at `place` and of the one before it that it is alike to exchanged."""
    rows, swapped = table.rows, table.swapped
    if swapped[memory, place] != 0:
        return np.int64(swapped[memory, place]) - 1
    fresh = counts[N_MEMORIES]
    one, other = alike[place, NAME], alike[alike[place, LEFT], NAME]
    for cell in range(known.cells[0]):
        word = rows[memory, cell]
        rows[fresh, cell] = exchanged(word, one, other) if known.ghosts[known.cell_at[cell]] != 0 else word
    row = intern(rows, table.index, counts, N_MEMORIES, MEMORY_MASK)
    swapped[memory, place], swapped[row, place] = row + 1, memory + 1
    return row


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
            rows[state, actors] = exchange_names(memory, right, alike, tables.memories, known, counts)
            right = left
