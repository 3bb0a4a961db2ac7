"""Every interleaving of a few actors: breadth-first over stored states, each move made once.

What an actor does next depends on its own registers and on the memory, not on the others' registers.
So a move (kernels/moves.py) is made once for each pair of those (a row of the table of moves), and the product
over the other actors, which is where the states are, costs one look into a hash table each (kernels/states.py).

Several workers, each a thread with a world and registers of its own, share the tables and a level's states: a level is
expanded before the next one begins, so that what is found first is as near as with one worker.

The scheduler is an argument: every move in turn (BREADTH), the same again of some states that have been expanded (READ), a
random move (RANDOM), by priorities that change a few times (PCT), or as given (GIVEN).  All are one entry, compiled once.
"""

from typing import NamedTuple

import numpy as np

from kernels import atomics
from kernels.buffers import HELD
from kernels.compiling import kernel
from kernels.contexts import clear, context_at
from kernels.independence import alone
from kernels.interned import ABSENT, fetch_slot, fold, intern, intern_hashed
from kernels.moves import (
    ACTORS_MAX, ALIKE, BUFFER, BYTES, CANNOT, DIFFER, DRAIN, FINISHED, FORGET, FULL, HALTED, MOVES, ORDERS, PAUSE, PREEMPTIONS, SPARE, UNKNOWN, UNTIL,
    WIDE, move, outcomes, read_flags,
)
from kernels.ops import REGISTERS, Op, Register
from kernels.packed import NOTHING, SHARED, WHAT, repack, unpack
from kernels.states import (
    ANEW, BRANCH_BITS, DOWN, FLAGS_HIGH, FLAGS_LOW, GOES_BACK, LAST, LEFT_OUT, LEVEL_ENDS, LOCAL_BITS, MEMORY_BITS, N_ARCS, N_ENDED,
    N_STATES, NEXT, NO_ARCS, OVER,
    ROWS_BITS, STEPS, STOPS, TOP, TRANSITIONS, crowded, give_all_room, give_state, index_all, is_full, load_state, pick, picks,
    note_locals, put_in_order, put_number, starts_alike, kicked_up_to,
)

# How `search` ends, besides the endings of a move.  FINISHED: there is nothing left to expand (in the level, of a worker).
# ASKS: something has to be done alone (packed.py); BROAD: a level is worth more workers.
PAUSED, RUN_ENDED, ASKING, CROWDED, BROAD, STOPPED = range(UNKNOWN + 1, UNKNOWN + 7)

BREADTH, READ, RANDOM, PCT, GIVEN = range(5)     # schedulers
ARC = WAY, MOVE, THEN, MORE = range(4)           # of a move, in `found`: the actor and so on, its row, the state that it leads to, further rows
GIVEN_STATE = 5                  # of a candidate: where the row of the state behind it begins
RUNS, ROWS_SHIFT, AT_ONCE_MOST = ACTORS_MAX, 32, 512       # of accesses that are made at once; the last: in one state (see states.ALIKE_ROOM)
CHUNK, LOOK_EVERY = 64, 16       # states that a worker takes at once; states between its looks at how full tables are
ARCS_AT_ONCE = 512               # room for so many is taken by a worker at once
MIX = -7046029254386353131
PICK_SHIFT = 11                  # of a way: an outcome, the actor, and how far behind the vCPU stands that its loop goes on with


class Run(NamedTuple):
    """Where a search is, and what it has found: one thread's own.

    here         int32 (actors + 2,): the state to go on from
    path         int16: the ways a run has taken (or GIVEN: has to take); executed: int32, rows of each
    dice         int64 (3 + ACTORS_MAX + depth,): random state, then PCT's priorities and change points
    events       int64 (flags, 3): the first state (run: step) in which a move had the flag, + 1; its way, its move
    registers    int64 (REGISTERS,) scratch; candidates: int64 (ALIKE_ROOM, GIVEN_STATE + actors + 2): way, move, and what `list_candidates`
                 says; after `reach` way, move, the state behind it, what else the chain of independent accesses has, and the state's row
    chain        int64 (4,): of the accesses that were made at once: rows of the actor itself, flags; an ending of the search; how many
                 may be made still in this state
    further      int64 (RUNS,): and then of others, one after the other: place << ROWS_SHIFT | rows
    who          int64 (actors,): after `state_behind`, which place each actor of the new state had in the one before
    mine         int64 (4,): of a level's states those from here to here are this worker's to expand; of the room for arcs from here to
                 here is its own
    made         int64 (2,): moves made and left out that `counts` does not have yet

    Of READ: the states, and what is filled with what can be done there:
    asked        int64 (states,); first: int64 (states + 1,): where each one's arcs begin
    turns        int64 (arcs, RUNS): `further` of each arc, if there is room
    found        int64 (arcs, ARC); came: int8 (arcs, actors): which place each actor of the state behind an arc has here
    """

    here: np.ndarray
    path: np.ndarray
    executed: np.ndarray
    dice: np.ndarray
    events: np.ndarray
    registers: np.ndarray
    candidates: np.ndarray
    chain: np.ndarray
    further: np.ndarray
    who: np.ndarray
    mine: np.ndarray
    made: np.ndarray
    asked: np.ndarray
    first: np.ndarray
    turns: np.ndarray
    found: np.ndarray
    came: np.ndarray


# --- moves, each made once ------------------------------------------------------------------------

@kernel
def put(world, known, tables, registers, local, memory):
    """Put the world into a state, as far as one actor sees it."""
    memories = tables.memories
    row = memories.table.rows[memory]
    for cell in range(known.cells[0]):
        word = unpack(memories.dictionary, row, cell)
        memories.words[cell] = word
        atomics.store64(world.base + known.cell_at[cell], known.initial[cell] ^ word)
    for register in range(REGISTERS):
        registers[register] = tables.locals.rows[local, register]
    for column in range(HELD, tables.locals.rows.shape[1]):
        registers[column] = tables.locals.rows[local, column]


@kernel
def keep_locals(world, known, tables, registers, actor, pc):
    """The row of the locals that an actor has come to, but for registers that are not read any more."""
    given = tables.locals.table.given
    context = np.int64(-1)
    if world.contexts.live.shape[0] > 0:
        context = context_at(world.contexts, pc, registers, world.scripts[actor, 1])
    for register in range(REGISTERS):
        keep = world.live[pc] >> register & 1 != 0 if register < 64 else register != Register.CONTENDED
        given[register] = registers[register] if keep else 0
    if context >= 0:
        clear(world.contexts, context, given)
    given[REGISTERS] = actor
    for column in range(HELD, given.shape[0]):
        given[column] = registers[column]
    local, new = intern(tables.locals.table, True)
    row = world.rows[pc]
    fanout = OVER if row.op == Op.STOP else DOWN if row.op == Op.HALT else outcomes(world, row, np.int64(row.op))
    fanout += 1 if row.op != Op.HALT and holds_stores(tables, local) else 0
    note_locals(tables.locals, local, fanout, context, kicked_up_to(known, given[Register.CURSOR], pc))
    if new:
        put_number(tables.locals, local, actor)
    return local


@kernel
def holds_stores(tables, local):
    """Whether an actor's store buffer is not empty: the last of its moves is DRAIN then."""
    return tables.locals.rows.shape[1] > HELD and tables.locals.rows[local, HELD] != 0


@kernel
def keep_memory(world, known, tables, before):
    """The row of memory as it is now; of no use if something is asked for.  before: the one that was `put`."""
    memories = tables.memories
    given, row = memories.table.given, memories.table.rows[before]
    for column in range(given.shape[0]):
        given[column] = row[column]
    for cell in range(known.cells[0]):
        word = atomics.load64(world.base + known.cell_at[cell]) ^ known.initial[cell]
        if word != memories.words[cell]:
            memories.words[cell] = word
            repack(memories.dictionary, given, cell, word, tables.asks)
    if tables.asks[WHAT] != NOTHING:
        return np.int64(ABSENT)
    memory, _ = intern(memories.table, True)
    return memory


@kernel
def look_for_move(moves, local, memory, branch):
    """The row of a move, or ABSENT; it is the one that is given then."""
    give_move(moves, local, memory, branch)
    row, _ = intern(moves, False)
    return row


@kernel
def give_move(moves, local, memory, branch):
    moves.given[0] = ((memory << LOCAL_BITS | local) << BRANCH_BITS | branch) << FLAGS_LOW


@kernel
def local_behind(moves, row):
    """The locals that a move leads to."""
    return moves.rows[row, 1] >> MEMORY_BITS + ROWS_BITS + FLAGS_HIGH & (1 << LOCAL_BITS) - 1


@kernel
def memory_behind(moves, row):
    return moves.rows[row, 1] >> ROWS_BITS + FLAGS_HIGH & (1 << MEMORY_BITS) - 1


@kernel
def rows_of(moves, row):
    """How many rows a move executes."""
    return moves.rows[row, 1] >> FLAGS_HIGH & (1 << ROWS_BITS) - 1


@kernel
def flags_of(moves, row):
    return moves.rows[row, 0] & (1 << FLAGS_LOW) - 1 | (moves.rows[row, 1] & (1 << FLAGS_HIGH) - 1) << FLAGS_LOW


@kernel
def find_move(world, known, tables, registers, limits, actor, local, memory, branch):
    """(the row of a move, ending): made now if it has not been made before."""
    moves = tables.moves
    found = look_for_move(moves, local, memory, branch)
    if found != ABSENT:
        return found, FINISHED
    return make_move(world, known, tables, registers, limits, actor, local, memory, branch)


@kernel(inline=False)
def make_move(world, known, tables, registers, limits, actor, local, memory, branch):
    """As `find_move`, of a move that has not been made before; moves.given is its row."""
    moves, found = tables.moves, np.int64(ABSENT)
    put(world, known, tables, registers, local, memory)
    pc, cannot, executed, ending = move(world, known, registers, actor, branch, limits)
    flags = read_flags(world)
    if ending != FINISHED:
        return found, ending
    if known.asks[WHAT] != NOTHING:
        return found, ASKING
    registers[Register.PC] = pc
    local_then, memory_then = keep_locals(world, known, tables, registers, actor, pc), keep_memory(world, known, tables, memory)
    if tables.asks[WHAT] != NOTHING:
        return found, ASKING
    halted = HALTED if world.rows[pc].op == Op.HALT else 0
    flags = CANNOT if cannot else flags | halted
    moves.given[0] |= flags & (1 << FLAGS_LOW) - 1
    moves.given[1] = (((local_then << MEMORY_BITS | memory_then) << ROWS_BITS | executed) << FLAGS_HIGH) | flags >> FLAGS_LOW
    found, _ = intern(moves, True)
    return found, FINISHED


@kernel
def is_down(tables, here, actors):
    for actor in range(actors):
        if tables.locals.fanout[here[actor]] == DOWN:
            return True
    return False


@kernel
def find_candidates(scheduler, world, known, tables, run, limits, only):
    """(how many moves can be made here, ending); run.candidates are these.  only: of this actor, or -1: of all."""
    listed, found = list_candidates(scheduler, world, known, tables, run, limits, only), 0
    if tables.asks[WHAT] != NOTHING:
        return found, ASKING
    for each in range(listed):
        give_move(tables.moves, run.candidates[each, 3], run.candidates[each, 4], run.candidates[each, 0] & 0xFF)
        run.candidates[each, 1] = fetch_slot(tables.moves)
    for each in range(listed):
        way, place, local, memory = run.candidates[each, 0], run.candidates[each, 2], run.candidates[each, 3], run.candidates[each, 4]
        give_move(tables.moves, local, memory, way & 0xFF)
        move_row, _ = intern_hashed(tables.moves, run.candidates[each, 1], False)
        if move_row == ABSENT:
            move_row, ending = make_move(world, known, tables, run.registers, limits, place, local, memory, way & 0xFF)
            if ending != FINISHED:
                return found, ending
        found = keep_candidate(tables, run, found, way, move_row)
    return found, FINISHED


@kernel
def keep_candidate(tables, run, found, way, move_row):
    if flags_of(tables.moves, move_row) & CANNOT != 0:
        return found
    run.candidates[found, 0] = way
    run.candidates[found, 1] = move_row
    return found + 1


@kernel
def list_candidates(scheduler, world, known, tables, run, limits, only):
    """How many moves there are to be tried here; run.candidates are these: way, -, place of the actor, its locals, memory."""
    actors, here = world.scripts.shape[0], run.here
    memory, listed = np.int64(here[actors]), 0
    if is_down(tables, here, actors):
        return listed
    for actor in range(actors):
        local = np.int64(here[actor])
        if only >= 0 and actor != only:
            continue
        if scheduler == GIVEN:
            way = np.int64(run.path[tables.counts[STEPS]])
            if way >> 8 == actor and tables.locals.fanout[local] > 0:
                listed = list_move(run, listed, way, actor, local, memory)
            continue
        listed = list_branches(tables, run, limits, listed, actor << 8, actor, local, memory)
        if scheduler <= READ and limits[ALIKE] != 0 and tables.locals.kicked[local] != 0:
            listed = list_picks(world, known, tables, run, limits, actor, listed)
    return listed


@kernel
def list_branches(tables, run, limits, listed, way, place, local, memory):
    branches = np.int64(tables.locals.fanout[local])
    drains = limits[BUFFER] != 0 and holds_stores(tables, local)
    for each in range(branches):
        branch = DRAIN if drains and each == branches - 1 else each
        if way >> PICK_SHIFT == 0 or branch != DRAIN:
            listed = list_move(run, listed, way | branch, place, local, memory)
    return listed


@kernel
def list_move(run, listed, way, place, local, memory):
    run.candidates[listed, 0], run.candidates[listed, 2] = way, place
    run.candidates[listed, 3], run.candidates[listed, 4] = local, memory
    return listed + 1


@kernel(inline=False)
def list_picks(world, known, tables, run, limits, actor, listed):
    """The moves in which a loop over all vCPUs goes on with another than the first that is left: as `list_candidates`."""
    actors, rows = world.scripts.shape[0], tables.states.rows
    stand(tables, run, actors)
    several, first = picks(actor, world.alike, tables)
    for number in range(1, several):
        stand(tables, run, actors)
        pick(first, number, world.alike, tables, known, run.who)
        now = place_now(run, actors, actor)
        local, memory = np.int64(rows[0, now]), np.int64(rows[0, actors])
        listed = list_branches(tables, run, limits, listed, number << PICK_SHIFT | actor << 8, now, local, memory)
    return listed


@kernel
def stand(tables, run, actors):
    """Begin a new state with the one to go on from."""
    for column in range(actors + 2):
        tables.states.rows[0, column] = run.here[column]
    for place in range(actors):
        run.who[place] = place


@kernel
def place_now(run, actors, actor):
    for place in range(actors):
        if run.who[place] == actor:
            return place
    return actor


# --- states ---------------------------------------------------------------------------------------

@kernel
def note_events(run, flags, at, way, move_row):
    """Note what a move has found for the first time, and where."""
    for flag in range(run.events.shape[0]):
        if flags >> flag & 1 and (run.events[flag, 0] == 0 or run.events[flag, 0] > at + 1):
            run.events[flag, 0] = at + 1
            run.events[flag, 1] = way
            run.events[flag, 2] = move_row


@kernel
def actor_of(way):
    return way >> 8 & ACTORS_MAX - 1


@kernel
def give_state_behind(world, known, tables, run, limits, way, move_row, note, others):
    """Give the state that a move leads to from run.here to the table of states; False if something is asked for.

    run.who says who is where.  others: whether further accesses of others may be made at once, too
    """
    rows, actors, moves = tables.states.rows, world.scripts.shape[0], tables.moves
    stand(tables, run, actors)
    actor = actor_of(way)
    if way >> PICK_SHIFT != 0:
        _, first = picks(actor, world.alike, tables)
        pick(first, way >> PICK_SHIFT, world.alike, tables, known, run.who)
        actor = place_now(run, actors, actor)
    rows[0, actor] = local_behind(moves, move_row)
    rows[0, actors] = memory_behind(moves, move_row)
    rows[0, actors + 1] = note
    run.chain[0], run.chain[1] = 0, 0
    if limits[FORGET] & ORDERS:
        for number in range(RUNS):
            run.further[number] = 0
        if alone(world.rows, tables.locals, known.foreseen, known.future, rows[0], actor, others) >= 0:
            go_on_at_once(world, known, tables, run, limits, actor, others)
        if run.chain[2] != FINISHED:
            return False
    if limits[ALIKE] != 0:
        put_in_order(world.alike, tables, known, run.who)
        if tables.asks[WHAT] != NOTHING:
            return False
    return give_state(tables)


@kernel(inline=False)
def go_on_at_once(world, known, tables, run, limits, actor, others):
    """Make the accesses that follow in the state that is being made and that nobody else can tell when they are made: first of the
    actor that has moved, and then, as it may have come further, of others."""
    rows, actors, moves, runs, now = tables.states.rows, world.scripts.shape[0], tables.moves, 0, np.int64(actor)
    while run.chain[3] > 0:
        run.chain[3] -= 1
        if is_down(tables, rows[0], actors):
            return
        then = alone(world.rows, tables.locals, known.foreseen, known.future, rows[0], now, others and runs < RUNS)
        if then < 0:
            return
        if then != now:
            now, runs = then, runs + 1
            run.further[runs - 1] = run.who[now] << ROWS_SHIFT
        row, ending = find_move(world, known, tables, run.registers, limits, now, np.int64(rows[0, now]), np.int64(rows[0, actors]), 0)
        if ending != FINISHED:
            run.chain[2] = ending
            return
        if flags_of(moves, row) & CANNOT != 0:
            return
        if runs == 0:
            run.chain[0] += rows_of(moves, row)
        else:
            run.further[runs - 1] += rows_of(moves, row)
        run.chain[1] |= flags_of(moves, row)
        rows[0, now], rows[0, actors] = local_behind(moves, row), memory_behind(moves, row)


@kernel
def moves_on(run, found, last):
    """Whether the actor that moved last could go on."""
    for candidate in range(found):
        if actor_of(run.candidates[candidate, 0]) == last:
            return True
    return False


@kernel
def note_behind(limits, actor, last, used, could):
    """A state's note behind a move of an actor: preemptions and who moved last, + 1; ABSENT: one preemption too many."""
    if limits[PREEMPTIONS] < 0:
        return np.int64(0)
    spent = used + (1 if could and actor != last else 0)
    return np.int64(ABSENT) if spent > limits[PREEMPTIONS] else spent << 8 | actor + 1


@kernel
def reach(world, known, tables, run, limits, at, found, keeps, others):
    """Make all the moves that can be made in a state, but for those that would be a preemption too many: what is left of
    run.candidates has the states behind them.

    keeps    whether run.came is to say who comes from where
    Returns how many there are; ABSENT if something is asked for: then all over again.
    """
    actors = world.scripts.shape[0]
    last, used = np.int64(run.here[actors + 1] & 0xFF) - 1, np.int64(run.here[actors + 1] >> 8)
    could, left, arc = moves_on(run, found, last), 0, run.first[run.mine[0]] if keeps else np.int64(0)
    for candidate in range(found):
        way, move_row = run.candidates[candidate, 0], run.candidates[candidate, 1]
        note = note_behind(limits, actor_of(way), last, used, could)
        if note == ABSENT:
            continue
        if not give_state_behind(world, known, tables, run, limits, way, move_row, note, others):
            return np.int64(ABSENT)
        run.candidates[left, 0], run.candidates[left, 1], run.candidates[left, 2] = way, move_row, fetch_slot(tables.states.table)
        for column in range(tables.states.table.columns):
            run.candidates[left, GIVEN_STATE + column] = tables.states.table.given[column]
        run.candidates[left, 3], run.candidates[left, 4] = run.chain[0], run.chain[1]
        if keeps:
            for place in range(actors):
                run.came[arc + left, place] = run.who[place]
            if run.turns.shape[0] > 0:
                for number in range(RUNS):
                    run.turns[arc + left, number] = run.further[number]
        left += 1
    for each in range(left):             # all lines that are looked at are on their way by now
        for column in range(tables.states.table.columns):
            tables.states.table.given[column] = run.candidates[each, GIVEN_STATE + column]
        then, new = intern_hashed(tables.states.table, run.candidates[each, 2], True)
        if new:
            tables.states.parents[then] = at
        run.candidates[each, 2] = then
    return np.int64(left)


@kernel
def room_for_arcs(counts, run, made, shared):
    """Where to put so many arcs.  shared: other workers take room, too; then some is left at the end of a level."""
    if not shared:
        return add(counts, N_ARCS, made)
    if run.mine[2] + made > run.mine[3]:
        several = max(made, ARCS_AT_ONCE)
        run.mine[2] = add(counts, N_ARCS, several)
        run.mine[3] = run.mine[2] + several
    run.mine[2] += made
    return run.mine[2] - made


@kernel
def note_arcs(tables, run, at, found, made, shared):
    """What has been found in a state: where its moves lead, and what they have met.  found: moves, of which `made` were made."""
    counts, moves, of = tables.counts, tables.moves, tables.states
    begins, keeps = np.int64(0), counts[NO_ARCS] == 0
    if keeps:
        begins = room_for_arcs(counts, run, made, shared)
        of.first[at] = begins if made > 0 else ABSENT
    for arc in range(made):
        way, move_row, then = run.candidates[arc, 0], run.candidates[arc, 1], run.candidates[arc, 2]
        flags = (flags_of(moves, move_row) | run.candidates[arc, 4]) >> 1
        if flags != 0:
            note_events(run, flags, at, way, move_row)
        if then <= at and counts[GOES_BACK] == 0:
            counts[GOES_BACK] = 1
        if keeps:
            of.arcs[begins + arc] = then if arc < made - 1 else then | LAST
    run.made[0] += made
    run.made[1] += found - made
    if made == 0:
        tables.states.ended[add(counts, N_ENDED, 1)] = at


@kernel
def copy_arcs(run, made):
    """Of READ: what has been found in a state, behind what was before."""
    number = run.mine[0]
    first = run.first[number]
    for arc in range(made):
        for column in range(4):
            run.found[first + arc, column] = run.candidates[arc, column]
    run.first[number + 1] = first + made


@kernel
def add(counts, which, number):
    return atomics.fetch_add64(counts.ctypes.data + 8 * which, number)


@kernel
def go(tables, run, actors, candidate):
    """Make one move of a run."""
    counts, moves = tables.counts, tables.moves
    way, move_row = run.candidates[candidate, 0], run.candidates[candidate, 1]
    counts[TRANSITIONS] += 1
    note_events(run, flags_of(moves, move_row) >> 1, counts[STEPS], way, move_row)
    run.path[counts[STEPS]] = way
    run.executed[counts[STEPS]] = rows_of(moves, move_row)
    counts[STEPS] += 1
    run.here[way >> 8] = local_behind(moves, move_row)
    run.here[actors] = memory_behind(moves, move_row)


@kernel
def next_state(scheduler, counts, run, until):
    """The state to expand next, or ABSENT.  until: the end of the level that workers share, or 0: all states, in turn."""
    if scheduler == READ:
        return run.asked[run.mine[0]] if run.mine[0] < run.asked.shape[0] else np.int64(ABSENT)
    if until == 0:
        return counts[NEXT] if counts[NEXT] < counts[N_STATES] else np.int64(ABSENT)
    if run.mine[0] == run.mine[1]:
        first = add(counts, NEXT, CHUNK)
        run.mine[0], run.mine[1] = min(first, until), min(first + CHUNK, until)
    return run.mine[0] if run.mine[0] < run.mine[1] else np.int64(ABSENT)


@kernel(inline=False)
def keeps_from_going_on(tables, run, limits, first):
    """An ending, if there is no room for what comes of one state or another worker has stopped."""
    counts, spare = tables.counts, limits[SPARE]
    if atomics.load64(counts.ctypes.data + 8 * STOPS) != 0:
        return STOPPED
    if limits[UNTIL] != 0 and run.mine[0] % LOOK_EVERY != 0 and not first:
        return FINISHED                  # other workers change what is looked at below: seldom
    if is_full(tables, limits[BYTES], spare):
        return FULL
    if crowded(tables, spare):
        if tables.asks[SHARED] != 0:
            return CROWDED
        give_all_room(tables, spare)
    return FINISHED


@kernel(entry=True)
def search(scheduler, world, known, tables, run, limits):
    """Search until something is to be said; call again to go on.  Returns an ending.

    world    moves.World; known: moves.Known; tables: states.Tables.  Arrays in them, and memory, are changed.
    limits   int64 (LIMITS,), see moves.py
    """
    ending = search_on(scheduler, world, known, tables, run, limits)
    add(tables.counts, TRANSITIONS, run.made[0])
    add(tables.counts, LEFT_OUT, run.made[1])
    run.made[0], run.made[1] = 0, 0
    return ending


@kernel
def search_on(scheduler, world, known, tables, run, limits):
    """As `search`."""
    counts, actors, expanded = tables.counts, world.scripts.shape[0], 0
    if counts[ANEW] != 0:
        index_all(tables)
        counts[ANEW] = 0
    while True:
        at = np.int64(0)
        if scheduler <= READ:
            at = next_state(scheduler, counts, run, limits[UNTIL])
            if at == ABSENT:
                return FINISHED
            if expanded == limits[PAUSE]:
                return PAUSED
            if scheduler == BREADTH and limits[UNTIL] == 0 and at == counts[LEVEL_ENDS]:
                counts[LEVEL_ENDS] = counts[N_STATES]
                if limits[WIDE] > 0 and counts[N_STATES] - at >= limits[WIDE]:
                    return BROAD
            load_state(tables, at, run.here)
        elif counts[STEPS] >= limits[MOVES]:
            return RUN_ENDED
        if scheduler != READ:
            ending = keeps_from_going_on(tables, run, limits, expanded == 0)
            if ending != FINISHED:
                return ending
        if scheduler == BREADTH and at == 0 and limits[ALIKE] != 0 and not starts_alike(world, known, tables, run.here):
            return ASKING if tables.asks[WHAT] != NOTHING else DIFFER
        only = np.int64(-1)
        if scheduler <= READ and limits[FORGET] & ORDERS:
            only, run.chain[3] = alone(world.rows, tables.locals, known.foreseen, known.future, run.here, -1, True), AT_ONCE_MOST
        found, ending = find_candidates(scheduler, world, known, tables, run, limits, only)
        if ending != FINISHED:
            return ending
        if scheduler <= READ:
            made = reach(world, known, tables, run, limits, at, found, scheduler == READ, only < 0)
            if made != ABSENT and only >= 0 and (made == 0 or run.candidates[0, 2] <= at):
                # Nobody may be kept from moving for ever: where it leads back, or nowhere, all moves are tried.
                found, ending = find_candidates(scheduler, world, known, tables, run, limits, np.int64(-1))
                if ending != FINISHED:
                    return ending
                made = reach(world, known, tables, run, limits, at, found, scheduler == READ, False)
            if made == ABSENT:
                ending = run.chain[2]
                run.chain[2] = FINISHED
                return ASKING if ending == FINISHED else ending
            expanded += 1
            if scheduler == READ:
                copy_arcs(run, made)
            else:
                note_arcs(tables, run, at, found, made, limits[UNTIL] != 0)
            if scheduler == READ or limits[UNTIL] != 0:
                run.mine[0] += 1
            else:
                counts[NEXT] += 1
        elif found > 0:
            chosen = 0 if scheduler == GIVEN else choose(scheduler, found, run.candidates, counts, run.dice)
            go(tables, run, actors, chosen)
        elif scheduler == GIVEN:
            run.executed[counts[STEPS]] = 0              # a way that cannot be taken is passed over
            counts[STEPS] += 1
        else:
            return RUN_ENDED


@kernel
def choose(scheduler, found, candidates, counts, dice):
    """The candidate that a run goes on with: any one (RANDOM), or one of the highest priority (PCT)."""
    first, several = 0, found
    if scheduler == PCT:
        # At a change point, the actor that has moved last drops below all others.
        for change in range(dice[1]):
            if counts[STEPS] == dice[3 + ACTORS_MAX + change]:
                dice[3 + counts[TOP]] = -1 - change
        for candidate in range(found):
            if dice[3 + (candidates[candidate, 0] >> 8)] > dice[3 + (candidates[first, 0] >> 8)]:
                first = candidate
        counts[TOP] = candidates[first, 0] >> 8
        several = 0
        for candidate in range(found):
            several += 1 if candidates[candidate, 0] >> 8 == counts[TOP] else 0
    dice[0] = fold(dice[0] + MIX, counts[STEPS])
    return first + ((dice[0] >> 20 & 0xFFFFFFFF) * several >> 32)
