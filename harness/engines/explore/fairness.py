"""Runs that never end although everybody who can move does, again and again: cycles of a finished search.

A set of states is *fair* if each can be reached from each within it, and every actor that can move
somewhere in it has a move that stays in it.  A run that goes round in there for ever, by all those
moves, is fair to each actor: one that is able to move again and again does move (strong fairness).  There is such
a run only if there is such a set (Emerson and Lei 1985): take the strongly connected components,
take away the states in which an actor can move that has no move inside, and begin again.
"""

from collections import deque
from typing import Iterator

import numpy as np

from kernels import connected as graph


def fair_states(first_arc: np.ndarray, arcs: np.ndarray, movers: np.ndarray, alive: np.ndarray) -> np.ndarray:
    """The fair set that the shortest way leads to, as sorted states; empty if there is none.

    first_arc   (states + 1,): where each state's moves begin, of states in the order in which they were found
    arcs        where each move leads to;  movers: the actor of each move
    alive       bool (states,): the states to look among
    """
    found, best = len(alive), np.zeros(0, np.int64)
    for component, fair in _fair(first_arc, arcs, movers, alive):
        if len(fair) and fair[0] < found:
            found, best = fair[0], np.flatnonzero(component == component[fair[0]])
    return best


def in_fair_sets(first_arc: np.ndarray, arcs: np.ndarray, movers: np.ndarray, alive: np.ndarray) -> np.ndarray:
    """Whether each state is in a fair set, bool: as `fair_states`."""
    inside = np.zeros(len(alive), bool)
    for _, fair in _fair(first_arc, arcs, movers, alive):
        inside[fair] = True
    return inside


def _fair(first_arc, arcs, movers, alive) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(the component of each state, the states of those that are fair), again for what is left of the others."""
    alive = alive.astype(np.uint8)
    while graph.has_cycle(first_arc, arcs, alive):
        component = np.full(len(alive), graph.NONE, np.int32)
        count = graph.components(first_arc, arcs, alive, component, *np.zeros((4, len(alive)), np.int32),
                                 np.zeros(len(alive), np.int16))
        able, can, stays = np.zeros(len(alive), np.uint16), *np.zeros((2, count), np.uint16)
        graph.weigh(first_arc, arcs, movers, component, able, can, stays)
        unfair = can & ~stays
        cycles = (component != graph.NONE) & (stays != 0)[component]
        yield component, np.flatnonzero(cycles & (unfair == 0)[component])
        # Of what is not fair, take away where an actor could move that has no move inside.
        alive = (cycles & (unfair != 0)[component] & (able & unfair[component] == 0)).astype(np.uint8)


def round_trip(first_arc: np.ndarray, arcs: np.ndarray, movers: np.ndarray,
               members: np.ndarray) -> list[tuple[int, int]]:
    """From the first of a fair set's states back to it, everybody moving who can: (state, which of its moves)."""
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
