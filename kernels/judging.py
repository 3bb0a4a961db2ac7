"""What a finished search says of runs that never end: one pass over its states, in an order in which what a state leads to comes first."""

import numpy as np

from kernels.compiling import kernel
from kernels.interned import ABSENT
from kernels.states import LAST

# Marks of a state: some schedule ends from there on; it lies on a cycle; scratch: there is a way back to one before it.
ENDS, CYCLE, BACK = 1, 2, 4
OVER_WITH = 0x7FFFFFFF           # in place of an index: its component is complete


@kernel(entry=True)
def mark(expanded, first, arcs, low, path, coming_next, marks):
    """Mark all states: ENDS, CYCLE.  One pass (Tarjan 1972; with one number a state: Pearce 2016).

    expanded     states before this one have been expanded; what is behind the others counts as an end
    first, arcs  as states.States has them
    low          int32 (states,), 0: when a state was met, then the first of those that it leads back to
    path         int32 (states,): from its start the way to where we are, from its end states of components in progress
    coming_next  int32 (states,): of each state on the way, the arc to follow next
    marks        uint8 (states,), 0
    """
    states = low.shape[0]
    met, held, root, depth, coming = 0, states, 0, -1, np.int64(ABSENT)
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
            coming_next[depth] = first[coming] if coming < expanded else ABSENT
            if coming_next[depth] == ABSENT:
                marks[coming] |= ENDS        # or nobody has been there
            coming = np.int64(ABSENT)
        state, arc = path[depth], np.int64(coming_next[depth])
        if arc != ABSENT:
            word = np.int64(arcs[arc])
            then = word & LAST - 1
            coming_next[depth] = ABSENT if word & LAST else arc + 1
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


@kernel(entry=True)
def lead_on(first, arcs, begin, end, leading):
    """Mark the states from `begin` on, before `end`, of which an arc leads to a marked one.  first, arcs: as `mark`."""
    for state in range(begin, end):
        arc = np.int64(first[state])
        while arc != ABSENT:
            word = np.int64(arcs[arc])
            leading[state] |= leading[word & LAST - 1]
            arc = ABSENT if word & LAST else arc + 1


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
