"""The tables of a search: what differs from state to state, each entry once.

A scenario touches a few dozen words and a few dozen rows, so almost everything in one state is the same as in
another.  Three tables hold what differs:

    locals      an actor's registers (those that are still going to be read, and PC)
    memories    the words that have been changed so far, as they differ from the start
    states      one number per actor into locals, one into memories, one for the scheduler

and a fourth what an actor does with given locals in a given memory (`moves`).  All are kept whole (interned.py), memories
and states in a few bits a number (packed.py): a state is one word as long as its numbers fit there.  Where its moves lead is
kept as numbers of states, for judging.py, as long as there is room; who makes them is in the tables of moves and states.

Of states that differ only in which of several *alike* actors is which (kernels/symmetry.py), one is kept:
the one in which their own words are in order, as numbers, and then their locals, as these were first met.  (Words
first: then memory alone says most of the order, and there are fewer different memories.)
"""

from typing import NamedTuple

import numpy as np

from kernels import atomics
from kernels.compiling import kernel
from kernels.interned import Table, index_again, intern
from kernels.moves import ACTORS_MAX, BRANCHES_MAX, ROWS_MAX, in_kicks
from kernels.ops import REGISTERS, Register
from kernels.packed import BITS, SHIFT, WHAT, WIDER_STATE, WORD, Dictionary, pack, unpack
from kernels.symmetry import KICK_AT, LEADER, LEFT, NAME, OWN, OWN_AT, PICKS, ROLE, exchanged

# Where an actor stands (`fanout`): how many moves it has, or
OVER, DOWN = 0, -1               # its script is over; the module is down

# Named elements of `counts`, on three cache lines: rows of the tables, which each new row changes; slots of their indexes in the same
# order, and what else each look-up or each state reads and hardly anything changes; what a search is at.
TABLES, SLOTS = 4, 8
N_LOCALS, N_MEMORIES, N_MOVES, N_STATES = range(TABLES)
LOCAL_SLOTS, MEMORY_SLOTS, MOVE_SLOTS, STATE_SLOTS = range(SLOTS, SLOTS + TABLES)
STOPS, NO_ARCS, GOES_BACK, ANEW = range(SLOTS + TABLES, 16)
NEXT, TRANSITIONS, STEPS, TOP, LEFT_OUT, N_ENDED, LEVEL_ENDS, N_ARCS = range(16, 24)
COUNTS = 24
SLOTS_FIRST, SLOTS_SMALL = 1 << 10, 1 << 18      # of an index: at first, and up to when it is doubled
ROOM = ACTORS_MAX * BRANCHES_MAX                 # rows that one state may need
# With actors that are alike a move needs up to ACTORS_MAX rows more of some tables; it has two outcomes at most, or is
# made for each of the vCPUs that a loop may come to next.
ALIKE_BRANCHES_MAX = 2
ALIKE_ROOM = 4 * ROOM
assert ACTORS_MAX * ALIKE_BRANCHES_MAX * (ACTORS_MAX + ACTORS_MAX * ACTORS_MAX) <= ALIKE_ROOM
LAST = 1 << 30                   # of an arc: it is the last of its state; states have lower numbers
SELF = 0x7FFF                    # in place of an actor's own name

# A row of the table of moves is two words of numbers: memory, locals, branch and 12 flags; locals, memory, rows and 4 flags.
MEMORY_BITS, LOCAL_BITS, BRANCH_BITS, ROWS_BITS = 28, 17, 7, 15
FLAGS_LOW, FLAGS_HIGH = 12, 4
assert 2 * ROWS_MAX + 1 < 1 << ROWS_BITS
assert MEMORY_BITS + LOCAL_BITS + BRANCH_BITS + FLAGS_LOW == MEMORY_BITS + LOCAL_BITS + ROWS_BITS + FLAGS_HIGH == 64
MOVE_WORDS = 2


class Locals(NamedTuple):
    """table: columns REGISTERS + 1: registers, which actor's, its store buffer (buffers.py); rows: the table's.

    fanout   int8: how many moves an actor has there; OVER or DOWN
    number   int32 (rows,): the how manieth of its actor's rows it is, + 1; 0: not said yet
    of       int32 (actors, rows): and which row that is;  met: int64 (actors,), how many an actor has
    twins    int32 (rows, actors), of actors that are alike: see `add_twins`; 0 where not known
    kicked   int64: see `kicked_up_to`
    context  int32: the context it stands in, or -1 (kernels/contexts.py)
    """

    table: Table
    rows: np.ndarray
    fanout: np.ndarray
    number: np.ndarray
    of: np.ndarray
    met: np.ndarray
    twins: np.ndarray
    kicked: np.ndarray
    context: np.ndarray


class Memories(NamedTuple):
    """dictionary: of the words; 0 where not known: swapped, int32 (rows, actors), see `exchange_memory`; ordered, int8
    (rows, actors), see `compare`.

    words    int64 (words,) scratch
    """

    table: Table
    dictionary: Dictionary
    swapped: np.ndarray
    ordered: np.ndarray
    words: np.ndarray


class States(NamedTuple):
    """fields int64 (actors + 2, packed.FIELD): where the numbers of a state lie in its row.

    rows      int32 (1, actors + 2): the state that is being made
    parents   int32: the state from which each was first reached
    ended     int32: the states without moves
    first     int32: where the arcs of each that was expanded begin, or ABSENT
    arcs      int32: the states that the moves lead to; behind the last of a state's, LAST is set
    """

    table: Table
    fields: np.ndarray
    rows: np.ndarray
    parents: np.ndarray
    ended: np.ndarray
    first: np.ndarray
    arcs: np.ndarray


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
        used += counts[each] * tables.row_bytes[each] + 4 * counts[SLOTS + each]
    if used + 4 * (counts[N_STATES] + counts[N_ARCS]) > most or counts[N_ARCS] + 2 * spare > tables.states.arcs.shape[0]:
        counts[NO_ARCS] = 1              # they are looked up once more, for judging
    return (used > most or counts[N_LOCALS] + spare > tables.locals.rows.shape[0]
            or counts[N_MEMORIES] + spare > tables.memories.table.rows.shape[0]
            or counts[N_MOVES] + spare > tables.moves.rows.shape[0]
            or counts[N_STATES] + spare > tables.states.table.rows.shape[0])


@kernel
def crowded(tables, spare):
    """Whether an index may have too few slots for `spare` rows more: they are to be filled to three quarters."""
    counts = tables.counts
    for each in range(TABLES):
        if 4 * (counts[each] + spare) > 3 * counts[SLOTS + each]:
            return True
    return False


@kernel
def give_room(table, spare):
    """A quarter more slots for an index that is crowded; twice as many for a small one."""
    slots, rows = atomics.load64(table.slots_at), atomics.load64(table.count_at) + spare
    if 4 * rows > 3 * slots:
        while 4 * rows > 3 * slots:
            slots += slots if slots < SLOTS_SMALL else slots >> 2
        index_again(table, min(slots, table.index.shape[0]))


@kernel
def give_all_room(tables, spare):
    give_room(tables.locals.table, spare)
    give_room(tables.memories.table, spare)
    give_room(tables.moves, spare)
    give_room(tables.states.table, spare)


@kernel(inline=False)
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
def note_locals(locals_, local, fanout, context, kicked):
    """What follows from an actor's locals. Whoever comes to them notes it, as who has met them may not have done so yet; but
    written is only what is not there: others look at these lines in each state."""
    if locals_.fanout[local] != fanout:
        locals_.fanout[local] = fanout
    if locals_.context[local] != context:
        locals_.context[local] = context
    if locals_.kicked[local] != kicked:
        locals_.kicked[local] = kicked


@kernel
def give_state(tables):
    """Give the state that is being made to its table; False where its numbers do not fit."""
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
            return False
        given[states.fields[column, WORD]] |= number << states.fields[column, SHIFT]
    return True


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
def kicked_up_to(known, cursor, pc):
    """Where a loop over all vCPUs stands that an actor is in, or 0: twice the place of the next one's word, + 1
    if the loop has begun with that one.  cursor: 0 where it is not read any more."""
    if not in_kicks(known, cursor):
        return np.int64(0)
    return 2 * cursor + (0 if known.loops[pc] == PICKS else 1)


@kernel(inline=False)
def add_twins(local, alike, table):
    """Note for an actor's locals what each actor alike would have in its place: twins[local, place], + 1.

    Its own place comes last: who finds that noted, finds all.
    """
    rows, twins, given = table.rows, table.twins, table.table.given
    mine = rows[local, REGISTERS]
    for place in range(alike.shape[0]):
        if place == mine or alike[place, LEADER] != alike[mine, LEADER]:
            continue
        for column in range(rows.shape[1]):
            given[column] = rows[local, column]
        given[Register.ME] = alike[place, NAME]
        if given[Register.ROLE] != 0:
            given[Register.ROLE] = alike[place, ROLE]
        for number in range(OWN.shape[0]):
            if given[OWN[number]] != 0:
                given[OWN[number]] = alike[place, OWN_AT + number]
        given[REGISTERS] = place
        row, new = intern(table.table, True)
        note_locals(table, row, np.int64(table.fanout[local]), np.int64(table.context[local]), table.kicked[local])
        if new:
            put_number(table, row, place)
        put_twin(twins, local, place, row + 1)
    for place in range(alike.shape[0]):
        if place != mine and twins[local, place] != 0:
            twin = np.int64(twins[local, place]) - 1
            for other in range(alike.shape[0]):
                if other != place and (other == mine or twins[local, other] != 0):
                    put_twin(twins, twin, other, local + 1 if other == mine else np.int64(twins[local, other]))
            put_twin(twins, twin, place, twin + 1)
    put_twin(twins, local, np.int64(mine), local + 1)


@kernel
def put_twin(twins, local, place, twin):
    """Publish a twin: what is known of its row has been written before.  Several threads may do so at once, with the same value."""
    atomics.store32(twins.ctypes.data + 4 * (local * twins.shape[1] + place), twin)


@kernel
def value_at(table, known, memory, cell):
    """A word of memory itself."""
    return unpack(table.dictionary, table.table.rows[memory], cell) ^ known.initial[cell]


@kernel
def partner(known, cell, place):
    """The cell of another actor's own word that an actor's is in the place of."""
    return np.int64(known.cell_of[known.own[place, known.part[known.cell_at[cell] >> 3]]]) - 1


@kernel
def exchange_memory(memory, place, alike, table, known, asks):
    """Memory with the actor at `place` and the one before it that it is alike to exchanged: names and own words.

    If something is asked for, what is returned is of no use, as is the state that is being made.
    """
    swapped = table.swapped
    if swapped[memory, place] != 0:
        return np.int64(swapped[memory, place]) - 1
    left = alike[place, LEFT]
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
        table.words[cell] = word ^ known.initial[cell]
    pack(table.dictionary, table.words, known.cells[0], table.table.given, asks)
    if asks[WHAT] != 0:
        return memory
    found, _ = intern(table.table, True)
    swapped[memory, place], swapped[found, place] = found + 1, memory + 1
    return found


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
def parted(place, alike, tables):
    """Whether a loop over all vCPUs has kicked one of two actors that are alike only: that at `place`, the one before it."""
    behind, before = alike[place, KICK_AT], alike[alike[place, LEFT], KICK_AT]
    for actor in range(alike.shape[0]):
        kicked = tables.locals.kicked[tables.states.rows[0, actor]]
        if kicked != 0:
            cursor = kicked >> 1
            if before < cursor <= behind or kicked & 1 != 0 and before <= cursor < behind:
                return True
    return False


@kernel
def exchange(right, alike, tables, known, who):
    """Exchange the actor at a place of the state that is being made with the one before it that it is alike to."""
    rows, twins, actors = tables.states.rows, tables.locals.twins, alike.shape[0]
    left = alike[right, LEFT]
    mine, other = np.int64(rows[0, right]), np.int64(rows[0, left])
    for each in range(2):                # a loop over both would be compiled twice
        local, place = (mine, right) if each == 0 else (other, left)
        if twins[local, place] == 0:
            add_twins(local, alike, tables.locals)
    rows[0, left], rows[0, right] = twins[mine, left] - 1, twins[other, right] - 1
    rows[0, actors] = exchange_memory(np.int64(rows[0, actors]), right, alike, tables.memories, known, tables.asks)
    who[left], who[right] = who[right], who[left]


@kernel(inline=False)
def put_in_order(alike, tables, known, who):
    """Exchange actors that are alike in the state that is being made until they are in order.

    who   int64 (actors,): who is where; changed along
    """
    rows, twins, actors = tables.states.rows, tables.locals.twins, alike.shape[0]
    for place in range(actors):
        if twins[rows[0, place], place] == 0:
            add_twins(np.int64(rows[0, place]), alike, tables.locals)
    for place in range(actors):
        right = place
        while alike[right, LEFT] >= 0 and not parted(right, alike, tables):
            left, leader = alike[right, LEFT], alike[right, LEADER]
            says = compare(np.int64(rows[0, actors]), right, alike, tables.memories, known)
            if says == 1 or says == 2 and twins[rows[0, left], leader] <= twins[rows[0, right], leader]:
                break
            exchange(right, alike, tables, known, who)
            right = left


@kernel
def picks(actor, alike, tables):
    """How many vCPUs the loop that an actor is in may come to next, and the place of the first.

    One, if the loop has begun with it, or if no other is alike; the place is -1 then, or if the actor is in no loop.
    """
    kicked = tables.locals.kicked[tables.states.rows[0, actor]]
    if kicked == 0 or kicked & 1 != 0:
        return 1, -1
    for first in range(alike.shape[0]):
        if alike[first, KICK_AT] == kicked >> 1:
            count, place = 1, first
            while True:
                then = following(alike, place)
                if then < 0 or parted(then, alike, tables):
                    return count, first
                count, place = count + 1, then
    return 1, -1


@kernel
def following(alike, place):
    for other in range(alike.shape[0]):
        if alike[other, LEFT] == place:
            return other
    return -1


@kernel(inline=False)
def pick(first, number, alike, tables, known, who):
    """Put the actor that stands so many places behind `first`, of those alike, to that place; the others move up."""
    place = first
    for _ in range(number):
        place = following(alike, place)
    for _ in range(number):
        exchange(place, alike, tables, known, who)
        place = alike[place, LEFT]


@kernel(inline=False)
def starts_alike(world, known, tables, first):
    """Whether a state stays the same whoever of those that are alike is who."""
    for place in range(world.alike.shape[0]):
        local = np.int64(first[place])
        add_twins(local, world.alike, tables.locals)
        leader = world.alike[place, LEADER]
        if tables.locals.twins[local, leader] - 1 != first[leader] or tables.locals.kicked[local] != 0:
            return False
        memory = np.int64(first[world.alike.shape[0]])
        if world.alike[place, LEFT] >= 0 and exchange_memory(
                memory, place, world.alike, tables.memories, known, tables.asks) != memory:
            return False
    return True
