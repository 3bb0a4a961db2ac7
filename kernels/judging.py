"""What a finished search says of runs that never end: one pass over its states, in an order in which what a state leads to comes first.

The arcs are not stored: where a state's moves lead is looked up once more, in the tables of moves and states.
"""

import numpy as np

from kernels.compiling import kernel
from kernels.interned import ABSENT
from kernels.moves import ACTORS_MAX, BUFFER, CANNOT, DRAIN
from kernels.search import branch_at, flags_of, is_down, look_for_move, moves_on, note_behind, state_behind
from kernels.states import load_state

# Marks of a state: some schedule ends from there on; it lies on a cycle; scratch: there is a way back to one before it.
ENDS, CYCLE, BACK = 1, 2, 4
OVER_WITH = 0x7FFFFFFF           # in place of an index: its component is complete
FRAME = -1                       # in `pending`: below it lies what a state before leads to


@kernel
def look_up(world, known, tables, run, limits, at):
    """How many moves an expanded state has; run.candidates: way, state that it leads to (ABSENT: one preemption too many)."""
    actors, here, found = world.scripts.shape[0], run.here, 0
    load_state(tables, at, here)
    if is_down(tables, here, actors):
        return 0
    for actor in range(actors):
        local = np.int64(here[actor])
        for each in range(np.int64(tables.locals.fanout[local])):
            branch = branch_at(tables, local, each, limits[BUFFER] != 0)
            row = look_for_move(tables.moves, local, np.int64(here[actors]), branch)
            if row != ABSENT and flags_of(tables.moves, row) & CANNOT == 0:
                run.candidates[found, 0] = actor << 8 | branch
                run.candidates[found, 1] = row
                found += 1
    last, used = np.int64(here[actors + 1] & 0xFF) - 1, np.int64(here[actors + 1] >> 8)
    could = moves_on(run, found, last)
    for each in range(found):
        way, row = run.candidates[each, 0], run.candidates[each, 1]
        note, then = note_behind(limits, way >> 8, last, used, could), np.int64(ABSENT)
        if note != ABSENT:
            then, _ = state_behind(world, known, tables, here, limits, way, row, note)
        run.candidates[each, 1] = then
    return found


@kernel(entry=True)
def successors(world, known, tables, run, limits, at):
    """As look_up, for Python."""
    return look_up(world, known, tables, run, limits, at)


@kernel
def begin(world, known, tables, run, limits, expanded, state, marks, pending, top):
    """Come to a state for the first time: what it leads to is pending now; returns the new top."""
    pending[top] = FRAME
    top += 1
    found = look_up(world, known, tables, run, limits, state) if state < expanded else 0
    if found == 0:
        marks[state] |= ENDS             # or nobody has been there
    for each in range(found - 1, -1, -1):
        pending[top] = run.candidates[each, 1]
        top += 1
    return top


@kernel(entry=True)
def mark(world, known, tables, run, limits, expanded, low, path, marks, pending):
    """Mark all states: ENDS, CYCLE.  One pass (Tarjan 1972; with one number a state: Pearce 2016).

    expanded   states before this one have been expanded; what is behind the others counts as an end
    low        int32 (states,), 0: when a state was met, then the first of those that it leads back to
    path       int32 (states,): from its start the way to where we are, from its end states of components in progress
    marks      uint8 (states,), 0;  pending: int32, as long as there are arcs, and states
    """
    states = low.shape[0]
    met, held, top = 0, states, 0
    for root in range(states):
        if low[root] != 0:
            continue
        depth = 0
        path[0] = root
        met += 1
        low[root] = met
        top = begin(world, known, tables, run, limits, expanded, root, marks, pending, top)
        while depth >= 0:
            state = path[depth]
            then = np.int64(pending[top - 1])
            top -= 1
            if then != FRAME:
                if low[then] == 0:
                    depth += 1
                    path[depth] = then
                    met += 1
                    low[then] = met
                    top = begin(world, known, tables, run, limits, expanded, then, marks, pending, top)
                else:
                    note_arc(low, marks, state, then)
                continue
            if marks[state] & BACK:
                held -= 1
                path[held] = state
            else:
                held = close(low, path, marks, held, state)
            depth -= 1
            if depth >= 0:
                note_arc(low, marks, np.int64(path[depth]), state)


@kernel
def note_arc(low, marks, state, then):
    """An arc to a state that has been met."""
    marks[state] |= marks[then] & ENDS
    if then == state:
        marks[state] |= CYCLE
    if low[then] < low[state]:
        low[state] = low[then]
        marks[state] |= BACK


@kernel
def close(low, path, marks, held, state):
    """A component is complete, of which `state` was met first: mark all of it; returns the new end of those in progress."""
    first, states = low[state], low.shape[0]
    if held < states and low[path[held]] >= first:
        marks[state] |= CYCLE
    while held < states and low[path[held]] >= first:
        other = path[held]
        marks[other] = marks[state] & ENDS | CYCLE
        low[other] = OVER_WITH
        held += 1
    low[state] = OVER_WITH
    return held


@kernel(entry=True)
def arcs_among(world, known, tables, run, limits, members, place_of, first_arc, arcs, movers):
    """The graph of some states: for connected.py.

    members    the states, in order; place_of: int32 (states,), where each is among them, or how many there are
    first_arc  (members + 1,), arcs, movers: filled; an arc that leads out leads behind the last of them
    """
    count = 0
    for place in range(members.shape[0]):
        first_arc[place] = count
        for each in range(look_up(world, known, tables, run, limits, members[place])):
            way = run.candidates[each, 0]
            arcs[count] = place_of[run.candidates[each, 1]]
            movers[count] = (way >> 8) + (ACTORS_MAX if way & 0xFF == DRAIN else 0)
            count += 1
    first_arc[members.shape[0]] = count
