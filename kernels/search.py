"""Every interleaving of a few actors: breadth-first over stored states, each move made once.

What an actor does next depends on its own registers and on the memory, not on the others' registers.
So a move (kernels/moves.py) is made once for each pair of those (a row of the table of moves), and the product
over the other actors, which is where the states are, costs one look into a hash table each (kernels/states.py).

The scheduler is an argument: every move in turn (BREADTH), a random one (RANDOM), by priorities that
change a few times (PCT), or as given (GIVEN).
"""

from typing import NamedTuple

import numpy as np

from kernels import atomics
from kernels.buffers import HELD
from kernels.compiling import kernel
from kernels.moves import (
    ACTORS_MAX, ALIKE, BUFFER, CANNOT, DIFFER, DRAIN, FINISHED, FULL, HALTED, MOVES, PAUSE, PREEMPTIONS, UNKNOWN, move, outcomes, read_flags,
)
from kernels.ops import REGISTERS, Op, Register
from kernels.states import (
    DOWN, EMPTY, LEFT_OUT, LOCAL_MASK, MEMORY_MASK, MIX, MOVE_MASK, N_ARCS, N_LOCALS, N_MEMORIES, N_MOVES, N_STATES, NEXT,
    OVER, STATE_MASK, STEPS, TOP, TRANSITIONS, add_twins, exchange_memory, following, fold, intern, is_full, pick, picks, put_in_order, slot_of,
    told_up_to,
)
from kernels.symmetry import KICK_AT, LEADER, LEFT

# How `search` ends, besides the endings of a move.  FINISHED: there is nothing left to expand.
PAUSED, RUN_ENDED = UNKNOWN + 1, UNKNOWN + 2

BREADTH, RANDOM, PCT, GIVEN = 0, 1, 2, 3         # schedulers
PICK_SHIFT = 11                  # of a way: an outcome, the actor, and how far behind the vCPU stands that its loop goes on with


class Run(NamedTuple):
    """Where a search is, and what it has found.

    here         int32 (actors + 2,): the state to go on from
    path         int16: the ways a run has taken (or GIVEN: has to take); executed: int32, rows of each
    dice         int64 (3 + ACTORS_MAX + depth,): random state, then PCT's priorities and change points
    events       int64 (flags, 3): the first state (run: step) in which a move had the flag, + 1; its way, its move
    registers    int64 (REGISTERS,) scratch; candidates: int64 (ROOM, 5): way, move, and what `list_candidates` says
    who          int64 (actors,): after `follow`, which place each actor of the new state had in the one before
    """

    here: np.ndarray
    path: np.ndarray
    executed: np.ndarray
    dice: np.ndarray
    events: np.ndarray
    registers: np.ndarray
    candidates: np.ndarray
    who: np.ndarray


# --- moves, each made once ------------------------------------------------------------------------

@kernel
def put(world, known, tables, registers, local, memory):
    """Put the world into a state, as far as one actor sees it."""
    for cell in range(known.cells[0]):
        atomics.store64(world.base + known.cell_at[cell], known.initial[cell] ^ tables.memories.rows[memory, cell])
    for register in range(REGISTERS):
        registers[register] = tables.locals.rows[local, register]
    for column in range(HELD, tables.locals.rows.shape[1]):
        registers[column] = tables.locals.rows[local, column]


@kernel
def keep_locals(world, known, tables, registers, actor, pc):
    """The row of the locals that an actor has come to, but for registers that are not read any more."""
    fresh, rows = tables.counts[N_LOCALS], tables.locals.rows
    for register in range(REGISTERS):
        keep = world.live[pc] >> register & 1 != 0 if register < 64 else register != Register.CONTENDED
        rows[fresh, register] = registers[register] if keep else 0
    rows[fresh, REGISTERS] = actor
    for column in range(HELD, rows.shape[1]):
        rows[fresh, column] = registers[column]
    local = intern(rows, tables.locals.index, tables.counts, N_LOCALS, LOCAL_MASK)
    row = world.rows[pc]
    tables.locals.fanout[local] = (
        OVER if row.op == Op.STOP else DOWN if row.op == Op.HALT else outcomes(world, row, np.int64(row.op)))
    tables.locals.told[local] = told_up_to(world, known, registers, pc)
    if row.op != Op.HALT and holds_stores(tables, local):
        tables.locals.fanout[local] += 1
    return local


@kernel
def holds_stores(tables, local):
    """Whether an actor's store buffer is not empty: the last of its moves is DRAIN then."""
    return tables.locals.rows.shape[1] > HELD and tables.locals.rows[local, HELD] != 0


@kernel
def keep_memory(world, known, tables):
    """The row of memory as it is now."""
    fresh, rows = tables.counts[N_MEMORIES], tables.memories.rows
    for cell in range(known.cells[0]):
        rows[fresh, cell] = atomics.load64(world.base + known.cell_at[cell]) ^ known.initial[cell]
    return intern(rows, tables.memories.index, tables.counts, N_MEMORIES, MEMORY_MASK)


@kernel
def find_move(world, known, tables, registers, limits, actor, local, memory, branch):
    """(the row of a move, ending): made now if it has not been made before."""
    moves, fresh = tables.moves, tables.counts[N_MOVES]
    moves.key[fresh, 0] = memory << 33 | local << 7 | branch
    found = intern(moves.key, moves.index, tables.counts, N_MOVES, MOVE_MASK)
    if found != fresh:
        return found, FINISHED
    put(world, known, tables, registers, local, memory)
    pc, cannot, executed, ending = move(world, known, registers, actor, branch, limits)
    flags = read_flags(world)
    if ending != FINISHED:
        return found, ending
    registers[Register.PC] = pc
    moves.to[found, 0] = keep_locals(world, known, tables, registers, actor, pc)
    moves.to[found, 1] = keep_memory(world, known, tables)
    halted = HALTED if world.rows[pc].op == Op.HALT else 0
    moves.flags[found] = CANNOT if cannot else flags | halted
    moves.executed[found] = executed
    return found, FINISHED


@kernel
def find_candidates(scheduler, world, known, tables, run, limits):
    """(how many moves can be made here, ending); run.candidates are these."""
    found = 0
    for each in range(list_candidates(scheduler, world, known, tables, run, limits)):
        way, place, local, memory = run.candidates[each, 0], run.candidates[each, 2], run.candidates[each, 3], run.candidates[each, 4]
        move_row, ending = find_move(world, known, tables, run.registers, limits, place, local, memory, way & 0xFF)
        if ending != FINISHED:
            return found, ending
        found = keep_candidate(tables, run, found, way, move_row)
    return found, FINISHED


@kernel
def made_candidates(world, known, tables, run, limits):
    """As `find_candidates`, of a state that a search has gone on from: how many; -1 if a move has not been made."""
    found = 0
    for each in range(list_candidates(BREADTH, world, known, tables, run, limits)):
        way, local, memory = run.candidates[each, 0], run.candidates[each, 3], run.candidates[each, 4]
        tables.moves.key[tables.counts[N_MOVES], 0] = memory << 33 | local << 7 | way & 0xFF
        slot = slot_of(tables.moves.key, tables.moves.index, tables.counts[N_MOVES], tables.counts[MOVE_MASK])
        if tables.moves.index[slot] == EMPTY:
            return -1
        found = keep_candidate(tables, run, found, way, np.int64(tables.moves.index[slot]) - 1)
    return found


@kernel
def keep_candidate(tables, run, found, way, move_row):
    if tables.moves.flags[move_row] & CANNOT != 0:
        return found
    run.candidates[found, 0] = way
    run.candidates[found, 1] = move_row
    return found + 1


@kernel
def list_candidates(scheduler, world, known, tables, run, limits):
    """How many moves there are to be tried here; run.candidates are these: way, -, place of the actor, its locals, memory."""
    actors, here = world.scripts.shape[0], run.here
    memory, listed = np.int64(here[actors]), 0
    for actor in range(actors):
        if tables.locals.fanout[here[actor]] == DOWN:
            return 0
    for actor in range(actors):
        local = np.int64(here[actor])
        if scheduler == GIVEN:
            way = np.int64(run.path[tables.counts[STEPS]])
            if way >> 8 == actor and tables.locals.fanout[local] > 0:
                listed = list_move(run, listed, way, actor, local, memory)
            continue
        listed = list_branches(tables, run, limits, listed, actor << 8, actor, local, memory)
        if scheduler == BREADTH and limits[ALIKE] != 0 and tables.locals.told[local] != 0:
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


@kernel
def list_picks(world, known, tables, run, limits, actor, listed):
    """The moves in which a loop over all vCPUs goes on with another than the first that is left: as `list_candidates`."""
    actors, fresh = world.scripts.shape[0], tables.counts[N_STATES]
    stand(tables, run, actors)
    several, first = picks(fresh, actor, world.alike, tables)
    for number in range(1, several):
        stand(tables, run, actors)
        pick(fresh, first, number, world.alike, tables, known, run.who)
        now = place_now(run, actors, actor)
        local, memory = np.int64(tables.states.rows[fresh, now]), np.int64(tables.states.rows[fresh, actors])
        listed = list_branches(tables, run, limits, listed, number << PICK_SHIFT | actor << 8, now, local, memory)
    return listed


@kernel
def stand(tables, run, actors):
    """Begin a new state with the one to go on from."""
    for column in range(actors + 2):
        tables.states.rows[tables.counts[N_STATES], column] = run.here[column]
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
        if flags >> flag & 1 and run.events[flag, 0] == 0:
            run.events[flag, 0] = at + 1
            run.events[flag, 1] = way
            run.events[flag, 2] = move_row


@kernel
def reach(world, known, tables, run, limits, at, way, move_row, note):
    """Note the state that a move leads to from the state `at`."""
    states, counts = tables.states, tables.counts
    fresh = counts[N_STATES]
    follow(world, known, tables, run, limits, way, move_row, note)
    reached = intern(states.rows, states.index, counts, N_STATES, STATE_MASK)
    if reached == fresh:
        states.parents[reached] = at
        states.ways[reached] = way
    states.arcs[counts[N_ARCS]] = reached
    states.movers[counts[N_ARCS]] = actor_of(way) + (ACTORS_MAX if way & 0xFF == DRAIN else 0)
    counts[N_ARCS] += 1


@kernel
def actor_of(way):
    return way >> 8 & ACTORS_MAX - 1


@kernel
def follow(world, known, tables, run, limits, way, move_row, note):
    """Write the state that a move leads to from run.here as the first unused row; run.who says who is where."""
    rows, actors, fresh = tables.states.rows, world.scripts.shape[0], tables.counts[N_STATES]
    stand(tables, run, actors)
    actor = actor_of(way)
    if way >> PICK_SHIFT != 0:
        _, first = picks(fresh, actor, world.alike, tables)
        pick(fresh, first, way >> PICK_SHIFT, world.alike, tables, known, run.who)
        actor = place_now(run, actors, actor)
    rows[fresh, actor], rows[fresh, actors] = tables.moves.to[move_row, 0], tables.moves.to[move_row, 1]
    rows[fresh, actors + 1] = note
    if limits[ALIKE] != 0:
        put_in_order(fresh, world.alike, tables, known, run.who)


@kernel
def arcs_of(world, known, tables, run, limits, at, then, who):
    """The moves out of a state that a search has gone on from: how many; -1 if one has not been made.

    run.candidates are these; then: int32 (ROOM,), the states they lead to; who: int64 (ROOM, actors), which place each
    actor of that state has here
    """
    actors = world.scripts.shape[0]
    for column in range(actors + 2):
        run.here[column] = tables.states.rows[at, column]
    found = made_candidates(world, known, tables, run, limits)
    for candidate in range(found):
        follow(world, known, tables, run, limits, run.candidates[candidate, 0], run.candidates[candidate, 1], 0)
        then[candidate] = intern(tables.states.rows, tables.states.index, tables.counts, N_STATES, STATE_MASK)
        for place in range(actors):
            who[candidate, place] = run.who[place]
    return found


@kernel(entry=True)
def unwind(world, known, tables, run, limits, inside, number, stands, rank, then, who, first_arc, arcs, movers, alive):
    """Moves among some states of a search whose actors were exchanged, with each actor as itself: a graph as in connected.py.

    Each state comes once for each way to exchange the actors: node i * ways + j is state inside[i] with the actors as in
    stands[j], int64 (ways, actors): who is at a place.  Where a loop over all vCPUs has told another than those with the
    lowest numbers, a node is not alive; what is not the loop's own next move is left out.
    number    int32 (states,): i of each state, or -1
    rank      int32: j of each order, by `code`
    then, who scratch, as arcs_of has them
    Returns how many moves the last of the states has; -1 if one has not been made.
    """
    actors, several, filled = world.scripts.shape[0], stands.shape[0], 0
    fresh, found = tables.counts[N_STATES], 0
    for at in range(inside.shape[0]):
        found = arcs_of(world, known, tables, run, limits, inside[at], then, who)
        if found < 0:
            return found
        stand(tables, run, actors)
        for way in range(several):
            node = at * several + way
            first_arc[node] = filled
            alive[node] = 1 if is_met(world, tables, fresh, stands[way]) else 0
            for candidate in range(found):
                made = run.candidates[candidate, 0]
                if is_own_move(world, tables, fresh, stands[way], made):
                    to = np.int64(number[then[candidate]])
                    movers[filled] = stands[way, actor_of(made)] + (ACTORS_MAX if made & 0xFF == DRAIN else 0)
                    arcs[filled] = (inside.shape[0] * several if to < 0 else
                                    to * several + rank[code(stands[way], who[candidate])])
                    filled += 1
    first_arc[inside.shape[0] * several] = filled
    return found


@kernel
def code(stands, came):
    """A number for who is where after a move."""
    number = np.int64(0)
    for place in range(came.shape[0]):
        number = number * ACTORS_MAX + stands[came[place]]
    return number


@kernel
def is_met(world, tables, state, stands):
    """Whether each loop over all vCPUs has told just those that come first by their numbers."""
    for actor in range(stands.shape[0]):
        told = tables.locals.told[tables.states.rows[state, actor]]
        for place in range(stands.shape[0]):
            here, there = world.alike[place, KICK_AT], world.alike[stands[place], KICK_AT]
            if told != 0 and ((here < told >> 1) != (there < told >> 1)
                              or told & 1 != 0 and (here == told >> 1) != (there == told >> 1)):
                return False
    return True


@kernel
def is_own_move(world, tables, state, stands, way):
    """Whether a loop over all vCPUs goes on with the one that has the lowest number, if the move is one of a loop."""
    several, place = picks(state, actor_of(way), world.alike, tables)
    if several == 1:
        return True
    lowest, picked = np.int64(ACTORS_MAX), np.int64(ACTORS_MAX)
    for number in range(several):
        lowest = min(lowest, stands[place])
        if number == way >> PICK_SHIFT:
            picked = stands[place]
        place = following(world.alike, place)
    return picked == lowest


@kernel
def starts_alike(world, known, tables, first):
    """Whether a state stays the same whoever of those that are alike is who."""
    for place in range(world.alike.shape[0]):
        local = np.int64(first[place])
        add_twins(local, world.alike, tables.locals, tables.counts)
        leader = world.alike[place, LEADER]
        if tables.locals.twins[local, leader] - 1 != first[leader] or tables.locals.told[local] != 0:
            return False
        memory = np.int64(first[world.alike.shape[0]])
        if world.alike[place, LEFT] >= 0 and exchange_memory(
                memory, place, world.alike, tables.memories, known, tables.counts) != memory:
            return False
    return True


@kernel
def expand(world, known, tables, run, limits, at, found):
    """Make all the moves that can be made in a state, but for those that would be a preemption too many."""
    counts, actors = tables.counts, world.scripts.shape[0]
    last, used = np.int64(run.here[actors + 1] & 0xFF) - 1, np.int64(run.here[actors + 1] >> 8)
    could = False                        # whether the actor that moved last could go on
    for candidate in range(found):
        could |= run.candidates[candidate, 0] >> 8 == last
    for candidate in range(found):
        way, move_row = run.candidates[candidate, 0], run.candidates[candidate, 1]
        actor, note = actor_of(way), np.int64(0)
        if limits[PREEMPTIONS] >= 0:
            spent = used + (1 if could and actor != last else 0)
            if spent > limits[PREEMPTIONS]:
                counts[LEFT_OUT] += 1
                continue
            note = spent << 8 | actor + 1
        counts[TRANSITIONS] += 1
        flags = tables.moves.flags[move_row] >> 1
        if flags != 0:
            note_events(run, flags, at, way, move_row)
        reach(world, known, tables, run, limits, at, way, move_row, note)
    counts[NEXT] += 1


@kernel
def go(tables, run, actors, candidate):
    """Make one move of a run."""
    counts = tables.counts
    way, move_row = run.candidates[candidate, 0], run.candidates[candidate, 1]
    counts[TRANSITIONS] += 1
    note_events(run, tables.moves.flags[move_row] >> 1, counts[STEPS], way, move_row)
    run.path[counts[STEPS]] = way
    run.executed[counts[STEPS]] = tables.moves.executed[move_row]
    counts[STEPS] += 1
    run.here[way >> 8] = tables.moves.to[move_row, 0]
    run.here[actors] = tables.moves.to[move_row, 1]


@kernel(entry=True)
def search(scheduler, world, known, tables, run, limits):
    """Search until something is to be said; call again to go on.  Returns an ending.

    world    moves.World; known: moves.Known; tables: states.Tables.  Arrays in them, and memory, are changed.
    limits   int64 (LIMITS,), see moves.py
    """
    counts, actors = tables.counts, world.scripts.shape[0]
    paused_at = counts[NEXT] + limits[PAUSE]
    while True:
        at = counts[NEXT]
        if scheduler == BREADTH:
            if at == 0 and limits[ALIKE] != 0 and not starts_alike(world, known, tables, tables.states.rows[0]):
                return DIFFER
            if at == counts[N_STATES]:
                return FINISHED
            if at == paused_at:
                return PAUSED
            tables.states.first_arc[at] = counts[N_ARCS]
            for column in range(actors + 2):
                run.here[column] = tables.states.rows[at, column]
        elif counts[STEPS] >= limits[MOVES]:
            return RUN_ENDED
        if is_full(tables):
            return FULL
        found, ending = find_candidates(scheduler, world, known, tables, run, limits)
        if ending != FINISHED:
            return ending
        if scheduler == BREADTH:
            expand(world, known, tables, run, limits, at, found)
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


@kernel(entry=True)
def mark_ending(states_count, first_arc, arcs, ends):
    """ends[s] becomes 1 wherever some schedule leads from state s to one that is marked 1 already.

    first_arc   (states + 1,): where a state's arcs begin;  arcs: the states they lead to
    Returns how often the arcs were gone through.
    """
    rounds = 0
    more = True
    while more:
        more = False
        rounds += 1
        for state in range(states_count - 1, -1, -1):
            if ends[state] == 0:
                for arc in range(first_arc[state], first_arc[state + 1]):
                    if ends[arcs[arc]] != 0:
                        ends[state] = 1
                        more = True
                        break
    return rounds
