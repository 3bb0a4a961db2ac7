"""What a finished search says of runs that never end: one pass over its states, in an order in which what a state leads to comes first.

The arcs are not stored: where a state's moves lead is looked up once more, in the tables of moves and states.
"""

import numpy as np

from kernels.compiling import kernel
from kernels.interned import ABSENT
from kernels.search import BREADTH, actor_of, keep_candidate, list_candidates, look_for_move, moves_on, note_behind, state_behind
from kernels.states import load_state

# Marks of a state: some schedule ends from there on; it lies on a cycle; scratch: there is a way back to one before it.
ENDS, CYCLE, BACK = 1, 2, 4
OVER_WITH = 0x7FFFFFFF           # in place of an index: its component is complete
ARC = WAY, MOVE, THEN = range(3)
FRAME = -1                       # in `pending`: below it lies what a state before leads to


@kernel
def look_up(world, known, tables, run, limits, at):
    """How many moves an expanded state has; run.candidates: way, move, state that it leads to; run.came: who comes from where.

    ABSENT stands for a state that would be one preemption too many.
    """
    actors, here, found = world.scripts.shape[0], run.here, 0
    load_state(tables, at, here)
    for each in range(list_candidates(BREADTH, world, known, tables, run, limits)):
        way, local, memory = run.candidates[each, 0], run.candidates[each, 3], run.candidates[each, 4]
        row = look_for_move(tables.moves, local, memory, way & 0xFF)
        if row != ABSENT:
            found = keep_candidate(tables, run, found, way, row)
    last, used = np.int64(here[actors + 1] & 0xFF) - 1, np.int64(here[actors + 1] >> 8)
    could = moves_on(run, found, last)
    for each in range(found):
        way, row = run.candidates[each, 0], run.candidates[each, 1]
        note, then = note_behind(limits, actor_of(way), last, used, could), np.int64(ABSENT)
        if note != ABSENT:
            then, _ = state_behind(world, known, tables, run, limits, way, row, note)
            for place in range(actors):
                run.came[each, place] = run.who[place]
        run.candidates[each, 2] = then
    return found


@kernel(entry=True)
def successors(world, known, tables, run, limits, numbers, first, arcs, came):
    """What can be done in some states that have been expanded.

    numbers    (states,);  first: int64 (states + 1,), filled: where each one's arcs begin
    arcs       int64 (arcs, ARC), filled: way, row of the move, the state that it leads to
    came       int8 (arcs, actors), filled: which place each actor of that state has here
    """
    count = 0
    for place in range(numbers.shape[0]):
        first[place] = count
        for each in range(look_up(world, known, tables, run, limits, numbers[place])):
            if run.candidates[each, 2] != ABSENT:
                for column in range(3):
                    arcs[count, column] = run.candidates[each, column]
                for column in range(came.shape[1]):
                    came[count, column] = run.came[each, column]
                count += 1
    first[numbers.shape[0]] = count


@kernel(entry=True)
def mark(world, known, tables, run, limits, expanded, low, path, marks, pending):
    """Mark all states: ENDS, CYCLE.  One pass (Tarjan 1972; with one number a state: Pearce 2016).

    expanded   states before this one have been expanded; what is behind the others counts as an end
    low        int32 (states,), 0: when a state was met, then the first of those that it leads back to
    path       int32 (states,): from its start the way to where we are, from its end states of components in progress
    marks      uint8 (states,), 0
    pending    int32, as long as there are arcs, and states: where those on the way lead, a FRAME below each one's
    """
    states = low.shape[0]
    met, held, top, root, depth, coming = 0, states, 0, 0, -1, np.int64(ABSENT)
    while True:
        if depth < 0:                    # from another state on
            while root < states and low[root] != 0:
                root += 1
            if root == states:
                return
            coming = np.int64(root)
        if coming != ABSENT:             # to a state for the first time
            depth += 1
            met += 1
            path[depth] = coming
            low[coming] = met
            pending[top] = FRAME
            top += 1
            found = look_up(world, known, tables, run, limits, coming) if coming < expanded else 0
            if found == 0:
                marks[coming] |= ENDS        # or nobody has been there
            for each in range(found - 1, -1, -1):
                pending[top] = run.candidates[each, 2]
                top += 1
            coming = np.int64(ABSENT)
            continue
        state = path[depth]
        top -= 1
        then = np.int64(pending[top])
        if then != FRAME:
            if low[then] == 0:
                coming = then
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
