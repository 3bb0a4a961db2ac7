"""Strongly connected components of a graph of states, and who can move in each: for fair cycles.

What is made of them is harness/engines/explore/fairness.py's.

A graph is the tables of `search`: first_arc (states + 1,), arcs, movers.  `alive` (uint8) says which of its
states are looked at; an arc to any other leads out.
"""

from kernels.compiling import kernel

NONE = -1


@kernel(entry=True)
def has_cycle(first_arc, arcs, alive):
    """Whether there may be a cycle: states are numbered as they were found, so it has an arc to one before."""
    for state in range(alive.shape[0]):
        for arc in range(first_arc[state], first_arc[state + 1]):
            if arcs[arc] <= state and alive[state] and alive[arcs[arc]]:
                return True
    return False


@kernel(entry=True)
def components(first_arc, arcs, alive, component, order, low, stack, path, taken):
    """Number the strongly connected components (Tarjan 1972, without recursion); returns how many there are.

    component   int32 (states,): NONE; changed to the number of each living state's
    order ..    int32 (states,) scratch; order and taken (int16) have to be 0
    """
    states = alive.shape[0]
    met, found, top = 0, 0, 0
    for root in range(states):
        if not alive[root] or order[root] != 0:
            continue
        depth = 0
        path[0] = root
        while depth >= 0:
            state = path[depth]
            if order[state] == 0:
                met += 1
                order[state] = met
                low[state] = met
                stack[top] = state
                top += 1
            arc = first_arc[state] + taken[state]
            if arc < first_arc[state + 1]:
                taken[state] += 1
                then = arcs[arc]
                if then < states and alive[then]:
                    if order[then] == 0:
                        depth += 1
                        path[depth] = then
                    elif component[then] == NONE:
                        low[state] = min(low[state], order[then])
                continue
            if low[state] == order[state]:
                while component[state] == NONE:
                    top -= 1
                    component[stack[top]] = found
                found += 1
            depth -= 1
            if depth >= 0:
                low[path[depth]] = min(low[path[depth]], low[state])
    return found


@kernel(entry=True)
def weigh(first_arc, arcs, movers, component, able, can, stays):
    """Who moves where, as bits.

    able    uint16 (states,): changed to who can move in a state, wherever to
    can     uint16 (components,): who can move somewhere in a component
    stays   uint16 (components,): who has a move that stays in it
    """
    states = component.shape[0]
    for state in range(states):
        mine = component[state]
        for arc in range(first_arc[state], first_arc[state + 1]):
            able[state] |= 1 << movers[arc]
            if mine != NONE and arcs[arc] < states and component[arcs[arc]] == mine:
                stays[mine] |= 1 << movers[arc]
        if mine != NONE:
            can[mine] |= able[state]
