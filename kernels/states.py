"""The tables of a search: what differs from state to state, each entry once.

A scenario touches a few dozen words and a few dozen rows, so almost everything in one state is the same as in
another.  Three tables hold what differs:

    locals      an actor's registers (those that are still going to be read, and PC)
    memories    the words that have been changed so far, as they differ from the start
    states      one number per actor into locals, one into memories, one for the scheduler

and a fourth what an actor does with given locals in a given memory (`moves`).  States are stored whole: there are
no collisions to reckon with.

Of states that differ only in which of several *alike* actors is which (kernels/symmetry.py), one is kept:
the one in which their own words are in order, as numbers, and then their locals, as these were first met.  (Words
first: then memory alone says most of the order, and there are fewer different memories.)
"""

from typing import NamedTuple

import numpy as np

from kernels.compiling import kernel
from kernels.moves import ACTORS_MAX, BRANCHES_MAX, in_kicks
from kernels.ops import REGISTERS, Register
from kernels.symmetry import KICK_AT, LEADER, LEFT, NAME, OWN, OWN_AT, PICKS, ROLE, exchanged

EMPTY = 0                        # in an index; entries are row + 1

# Where an actor stands (`fanout`): how many moves it has, or
OVER, DOWN = 0, -1               # its script is over; the module is down

# Named elements of `counts`.
(N_LOCALS, N_MEMORIES, N_STATES, N_MOVES, N_ARCS, NEXT, TRANSITIONS, STEPS,
 LOCAL_MASK, MEMORY_MASK, STATE_MASK, MOVE_MASK, TOP, LEFT_OUT) = range(14)
COUNTS = 14
ROOM = 4 * ACTORS_MAX * BRANCHES_MAX             # rows that one state may need
# With actors that are alike a move needs up to ACTORS_MAX rows more of some tables; it has two outcomes at most, or is
# made for each of the vCPUs that a loop may come to next.
ALIKE_BRANCHES_MAX = 2
assert ACTORS_MAX * ALIKE_BRANCHES_MAX * (ACTORS_MAX + ACTORS_MAX * ACTORS_MAX) <= ROOM

MIX = -7046029254386353131
SELF = 0x7FFF                     # in place of an actor's own name


class Locals(NamedTuple):
    """rows int64 (rows, REGISTERS + 1): registers, which actor's, its store buffer (buffers.py); index: for `intern`.

    fanout   int8: how many moves an actor has there; OVER or DOWN
    twins    int32 (rows, actors), of actors that are alike: see `add_twins`; 0 where not known
    told     int64: see `told_up_to`
    """

    rows: np.ndarray
    index: np.ndarray
    fanout: np.ndarray
    twins: np.ndarray
    told: np.ndarray


class Memories(NamedTuple):
    """rows int64 (rows, words); 0 where not known: swapped, int32 (rows, actors), see `exchange_memory`; ordered, int8
    (rows, actors), see `compare`."""

    rows: np.ndarray
    index: np.ndarray
    swapped: np.ndarray
    ordered: np.ndarray


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
    slot = slot_of(table, index, fresh, counts[mask_at])
    if index[slot] != EMPTY:
        return np.int64(index[slot]) - 1
    index[slot] = fresh + 1
    counts[count_at] = fresh + 1
    return fresh


@kernel
def slot_of(table, index, fresh, mask):
    """Where the index has the row that equals the first unused one, or has nothing and would have it."""
    slot = hash_of(table, fresh) & mask
    while index[slot] != EMPTY:
        row = np.int64(index[slot]) - 1
        same = True
        for column in range(table.shape[1]):
            same &= table[row, column] == table[fresh, column]
        if same:
            return slot
        slot = slot + 1 & mask
    return slot


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
def told_up_to(world, known, registers, pc):
    """Where a loop over all vCPUs stands that an actor is in, or 0: twice the place of the next one's word, + 1
    if the loop has begun with that one."""
    cursor = registers[Register.CURSOR]
    if world.live[pc] >> Register.CURSOR & 1 == 0 or not in_kicks(known, cursor):
        return np.int64(0)
    return 2 * cursor + (0 if known.loops[pc] == PICKS else 1)


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
            if rows[local, Register.ROLE] != 0:
                rows[fresh, Register.ROLE] = alike[place, ROLE]
            for number in range(OWN.shape[0]):
                if rows[local, OWN[number]] != 0:
                    rows[fresh, OWN[number]] = alike[place, OWN_AT + number]
            rows[fresh, REGISTERS] = place
            row = intern(rows, table.index, counts, N_LOCALS, LOCAL_MASK)
            table.fanout[row] = table.fanout[local]
            table.told[row] = table.told[local]
        twins[local, place] = row + 1
    for place in range(alike.shape[0]):
        if twins[local, place] != 0:
            for other in range(alike.shape[0]):
                twins[twins[local, place] - 1, other] = twins[local, other]


@kernel
def value_at(table, known, memory, cell):
    """A word of memory itself."""
    return table.rows[memory, cell] ^ known.initial[cell]


@kernel
def partner(known, cell, place):
    """The cell of another actor's own word that an actor's is in the place of."""
    return np.int64(known.cell_of[known.own[place, known.part[known.cell_at[cell] >> 3]]]) - 1


@kernel
def exchange_memory(memory, place, alike, table, known, counts):
    """Memory with the actor at `place` and the one before it that it is alike to exchanged: names and own words."""
    rows, swapped = table.rows, table.swapped
    if swapped[memory, place] != 0:
        return np.int64(swapped[memory, place]) - 1
    fresh, left = counts[N_MEMORIES], alike[place, LEFT]
    one, other = alike[place, NAME], alike[left, NAME]
    for cell in range(known.cells[0]):
        owner, source = known.owner[known.cell_at[cell] >> 3] - 1, cell
        if owner == place:
            source = partner(known, cell, left)
        elif owner == left:
            source = partner(known, cell, place)
        word = value_at(table, known, memory, source)
        if known.ghosts[known.cell_at[cell]] != 0:
            word = exchanged(word, one, other)
        rows[fresh, cell] = word ^ known.initial[cell]
    row = intern(rows, table.index, counts, N_MEMORIES, MEMORY_MASK)
    swapped[memory, place], swapped[row, place] = row + 1, memory + 1
    return row


@kernel
def compare(memory, place, alike, table, known):
    """Own words of the actor at `place` and of the one before it that it is alike to: 1 if in order, 2 if equal, 3 if not
    in order.  Each one's own name is the same name."""
    if table.ordered[memory, place] != 0:
        return table.ordered[memory, place]
    left, says = alike[place, LEFT], 2
    for cell in range(known.cells[0]):
        if known.owner[known.cell_at[cell] >> 3] - 1 != left:
            continue
        word, behind = value_at(table, known, memory, cell), value_at(table, known, memory, partner(known, cell, place))
        if known.ghosts[known.cell_at[cell]] != 0:
            word, behind = exchanged(word, alike[left, NAME], SELF), exchanged(behind, alike[place, NAME], SELF)
        if word != behind:
            says = 1 if word < behind else 3
            break
    table.ordered[memory, place] = says
    return table.ordered[memory, place]


@kernel
def parted(state, place, alike, tables):
    """Whether a loop over all vCPUs has told one of two actors that are alike only: that at `place`, the one before it."""
    behind, before = alike[place, KICK_AT], alike[alike[place, LEFT], KICK_AT]
    for actor in range(alike.shape[0]):
        told = tables.locals.told[tables.states.rows[state, actor]]
        if told != 0:
            cursor = told >> 1
            if before < cursor <= behind or told & 1 != 0 and before <= cursor < behind:
                return True
    return False


@kernel
def exchange(state, right, alike, tables, known, who):
    """Exchange the actor at a place of a state with the one before it that it is alike to."""
    rows, twins, counts, actors = tables.states.rows, tables.locals.twins, tables.counts, alike.shape[0]
    left = alike[right, LEFT]
    mine, other = np.int64(rows[state, right]), np.int64(rows[state, left])
    for local in (mine, other):
        if twins[local, left] == 0:
            add_twins(local, alike, tables.locals, counts)
    rows[state, left], rows[state, right] = twins[mine, left] - 1, twins[other, right] - 1
    rows[state, actors] = exchange_memory(np.int64(rows[state, actors]), right, alike, tables.memories, known, counts)
    who[left], who[right] = who[right], who[left]


@kernel
def put_in_order(state, alike, tables, known, who):
    """Exchange actors that are alike in a state until they are in order.

    who   int64 (actors,): who is where; changed along
    """
    rows, twins, counts, actors = tables.states.rows, tables.locals.twins, tables.counts, alike.shape[0]
    for place in range(actors):
        if twins[rows[state, place], place] == 0:
            add_twins(np.int64(rows[state, place]), alike, tables.locals, counts)
    for place in range(actors):
        right = place
        while alike[right, LEFT] >= 0 and not parted(state, right, alike, tables):
            left, leader = alike[right, LEFT], alike[right, LEADER]
            says = compare(np.int64(rows[state, actors]), right, alike, tables.memories, known)
            if says == 1 or says == 2 and twins[rows[state, left], leader] <= twins[rows[state, right], leader]:
                break
            exchange(state, right, alike, tables, known, who)
            right = left


@kernel
def picks(state, actor, alike, tables):
    """How many vCPUs the loop that an actor is in may come to next, and the place of the first.

    One, if the loop has begun with it, or if no other is alike; the place is -1 then, or if the actor is in no loop.
    """
    told = tables.locals.told[tables.states.rows[state, actor]]
    if told == 0 or told & 1 != 0:
        return 1, -1
    for first in range(alike.shape[0]):
        if alike[first, KICK_AT] == told >> 1:
            count, place = 1, first
            while True:
                then = following(alike, place)
                if then < 0 or parted(state, then, alike, tables):
                    return count, first
                count, place = count + 1, then
    return 1, -1


@kernel
def following(alike, place):
    for other in range(alike.shape[0]):
        if alike[other, LEFT] == place:
            return other
    return -1


@kernel
def pick(state, first, number, alike, tables, known, who):
    """Put the actor that stands so many places behind `first`, of those alike, to that place; the others move up."""
    place = first
    for _ in range(number):
        place = following(alike, place)
    for _ in range(number):
        exchange(state, place, alike, tables, known, who)
        place = alike[place, LEFT]
