"""A finished search of which actors that are alike were exchanged, with each actor as itself: a graph, as kernels/connected.py has them.

Each state comes once for each way to exchange the actors.  Where a loop over all vCPUs has kicked another than those with the
lowest numbers, no run comes to that; what is not the loop's own next move is left out.
"""

import numpy as np

from kernels.compiling import kernel
from kernels.moves import ACTORS_MAX, DRAIN
from kernels.search import PICK_SHIFT, THEN, WAY, actor_of
from kernels.states import following, load_state, picks
from kernels.symmetry import KICK_AT


@kernel(entry=True)
def unwind(world, tables, inside, first, made, came, number, stands, rank, first_arc, arcs, movers, alive):
    """Fill a graph: node i * ways + j is state inside[i] with the actors as in stands[j], int64 (ways, actors): who is at a place.

    first, made, came: of these states, as Search.successors has them
    number    int32 (states,): i of each state, or -1
    rank      int32: j of each order, by `code`
    """
    several, filled = stands.shape[0], 0
    for at in range(inside.shape[0]):
        load_state(tables, inside[at], tables.states.rows[0])
        for way in range(several):
            node = at * several + way
            first_arc[node] = filled
            alive[node] = 1 if is_met(world, tables, stands[way]) else 0
            for arc in range(first[at], first[at + 1]):
                turn = made[arc, WAY]
                if is_own_move(world, tables, stands[way], turn):
                    to = np.int64(number[made[arc, THEN]])
                    movers[filled] = stands[way, actor_of(turn)] + (ACTORS_MAX if turn & 0xFF == DRAIN else 0)
                    arcs[filled] = inside.shape[0] * several if to < 0 else to * several + rank[code(stands[way], came[arc])]
                    filled += 1
    first_arc[inside.shape[0] * several] = filled


@kernel
def code(stands, came):
    """A number for who is where after a move."""
    number = np.int64(0)
    for place in range(stands.shape[0]):
        number = number * ACTORS_MAX + stands[came[place]]
    return number


@kernel
def is_met(world, tables, stands):
    """Whether each loop over all vCPUs has kicked just those that come first by their numbers."""
    for actor in range(stands.shape[0]):
        kicked = tables.locals.kicked[tables.states.rows[0, actor]]
        for place in range(stands.shape[0]):
            here, there = world.alike[place, KICK_AT], world.alike[stands[place], KICK_AT]
            if kicked != 0 and ((here < kicked >> 1) != (there < kicked >> 1)
                              or kicked & 1 != 0 and (here == kicked >> 1) != (there == kicked >> 1)):
                return False
    return True


@kernel
def is_own_move(world, tables, stands, way):
    """Whether a loop over all vCPUs goes on with the one that has the lowest number, if the move is one of a loop."""
    several, place = picks(actor_of(way), world.alike, tables)
    if several == 1:
        return True
    lowest, picked = np.int64(ACTORS_MAX), np.int64(ACTORS_MAX)
    for number in range(several):
        lowest = min(lowest, stands[place])
        if number == way >> PICK_SHIFT:
            picked = stands[place]
        place = following(world.alike, place)
    return picked == lowest
