"""Runs that never end although everybody who can move does, again and again: cycles of a finished search.

A set of states is *fair* if each can be reached from each within it, and every actor that can move
somewhere in it has a move that stays in it.  A run that goes round in there for ever, by all those
moves, treats nobody unfairly: who is able to move again and again does move (strong fairness).  There is such
a run only if there is such a set (Emerson and Lei 1985): take the strongly connected components,
take away the states in which somebody can move who has no move inside, and begin again.
"""

from collections import deque

import numpy as np


def fair_states(first_arc: np.ndarray, arcs: np.ndarray, movers: np.ndarray, alive: np.ndarray) -> np.ndarray:
    """The fair set that the shortest way leads to, as sorted states; empty if there is none.

    first_arc   (states + 1,): where each state's moves begin, of states in the order in which they were found
    arcs        where each move leads to;  movers: whose move it is
    alive       bool (states,): the states to look among
    """
    states = len(first_arc) - 1
    sources = np.repeat(np.arange(states), np.diff(first_arc))
    able = np.zeros((states, int(movers.max(initial=0)) + 1), bool)
    able[sources, movers] = True
    within = arcs < states
    within[within] = alive[sources[within]] & alive[arcs[within]]
    if not (arcs[within] <= sources[within]).any():
        return np.zeros(0, np.int64)     # no way back, so no cycle
    found = states
    best = np.zeros(0, np.int64)
    while within.any():
        component = _components(states, sources[within], arcs[within])
        within[within] = component[sources[within]] == component[arcs[within]]
        moves, can = (np.zeros((component.max(initial=0) + 1, able.shape[1]), bool) for _ in range(2))
        moves[component[sources[within]], movers[within]] = True
        np.logical_or.at(can, component, able)
        cycles = moves.any(axis=1)
        for each in np.flatnonzero(cycles & ~(can & ~moves).any(axis=1)):
            members = np.flatnonzero(component == each)
            if members[0] < found:
                found, best = members[0], members
        # What is fair has been looked at; in the others, take away who would be treated unfairly.
        unfair = can & ~moves
        stay = cycles & unfair.any(axis=1)
        keep = stay[component] & ~(able & unfair[component]).any(axis=1)
        within &= keep[sources] & np.append(keep, np.zeros(max(0, int(arcs.max(initial=0)) + 1 - states), bool))[arcs]
    return best


def _components(states: int, sources: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """The number of each state's strongly connected component."""
    from scipy.sparse import csr_matrix
    from scipy.sparse.csgraph import connected_components

    graph = csr_matrix((np.ones(len(sources), np.int8), (sources, targets)), shape=(states, states))
    return connected_components(graph, connection="strong")[1]


def round_trip(first_arc: np.ndarray, arcs: np.ndarray, movers: np.ndarray, members: np.ndarray) -> list[tuple[int, int]]:
    """A way from the first of a fair set's states back to it, on which everybody moves who can: (state, which of
    its moves)."""
    inside = set(members.tolist())

    def moves(state: int):
        begin = int(first_arc[state])
        return [(place, int(arcs[begin + place]), int(movers[begin + place]))
                for place in range(int(first_arc[state + 1]) - begin) if int(arcs[begin + place]) in inside]

    def shortest(state: int, there) -> list[tuple[int, int]]:
        """The shortest way to a move that `there` (state, mover, next state) says is wanted, that move with it."""
        ways, waiting = {state: []}, deque([state])
        while waiting:
            at = waiting.popleft()
            for place, then, mover in moves(at):
                way = ways[at] + [(at, place)]
                if there(mover, then):
                    return way
                if then not in ways:
                    ways[then] = way
                    waiting.append(then)
        raise AssertionError("the set is not strongly connected")

    start = at = int(members[0])
    trip: list[tuple[int, int]] = []
    for wanted in sorted({mover for state in inside for _, _, mover in moves(state)}):
        if any(movers[first_arc[state] + place] == wanted for state, place in trip):
            continue
        trip += shortest(at, lambda mover, _, wanted=wanted: mover == wanted)
        at = int(arcs[first_arc[trip[-1][0]] + trip[-1][1]])
    return trip if at == start else trip + shortest(at, lambda _, then: then == start)
