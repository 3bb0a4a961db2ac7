"""Ways through a finished search, as schedules with each actor's true number, that can be run again.

Where actors are alike, a state of the search stands for all in which they are exchanged.  A way keeps book of who is at
which place.  A loop over all vCPUs tells them in the order of their numbers, while the search tries each that is left
(kernels/symmetry.py); so a way takes only such moves as the loop itself would make, and where the first way found
has another, a way as short that has none is looked for among all.  If there is none, what was found is not
proved: `Unproved`, and the search has to be made without all this.
"""

import itertools
from bisect import bisect_right
from functools import cached_property
from typing import Callable, Iterator, NamedTuple

import numpy as np

from harness.engines.explore.tables import Search
from harness.experiment.schedule import Turn
from kernels import judging, moves, search as kernel, states, symmetry as alike, unwinding

Stands = tuple[int, ...]                 # by place: the actor that is there


class Unproved(Exception):
    """No schedule that takes vCPUs in the order of their numbers leads as shortly to what was found."""


class Arc(NamedTuple):
    """A move out of a state of the search.

    turns  by places: of the actor that moves, and then of others at accesses that nobody can tell any more when they are made
    then: the state it leads to;  came: by place of that state, the place here
    alone  places of which the actor with the lowest number has to be at `picked`, or none: for what a loop comes to next
    """

    turns: tuple[Turn, ...]
    then: int
    came: tuple[int, ...]
    alone: tuple[int, ...]
    picked: int

    def is_own(self, stands: Stands) -> bool:
        """Whether a loop itself would make this move."""
        return not self.alone or stands[self.picked] == min(stands[place] for place in self.alone)

    def by(self, stands: Stands) -> list[Turn]:
        """Its turns, by actors."""
        return [turn._replace(actor=stands[turn.actor]) for turn in self.turns]

    def after(self, stands: Stands) -> Stands:
        return tuple(stands[place] for place in self.came)


class Unwound(NamedTuple):
    """Moves with each actor as itself, as kernels/connected.py has them: fairness.py's arguments.

    nodes   states of the search, each in turn with its actors in each order of `orders` (none: everybody at his own place)
    """

    first_arc: np.ndarray
    arcs: np.ndarray
    movers: np.ndarray
    alive: np.ndarray
    nodes: np.ndarray
    orders: tuple[Stands, ...] = ()

    def state_of(self, node: int) -> tuple[int, Stands]:
        """The state of the search, and who is where in it (empty: everybody at his own place)."""
        if not self.orders:
            return int(self.nodes[node]), ()
        return int(self.nodes[node // len(self.orders)]), self.orders[node % len(self.orders)]


class Ways:
    """Ways through a search; also what its actors may be exchanged to."""

    def __init__(self, search: Search):
        self.search, self.actors = search, search.actors
        self.places = search.world.arrays.alike
        self._arcs: dict[int, tuple[list[int], list[Arc]]] = {}

    # --- arcs ---

    def arcs(self, state: int) -> list[Arc]:
        """The moves that can be made in a state, in the order in which the search made them."""
        return self._found(state)[1]

    def arc(self, state: int, way: int) -> Arc:
        """One of them, by the way that the search noted."""
        noted, arcs = self._found(state)
        return arcs[noted.index(way)]

    def moves(self, state: int, stands: Stands) -> Iterator[tuple[list[Turn], int, Stands]]:
        """What the actors can do there: the turns, by actors; the state that it leads to, and who is where in it."""
        for arc in self.arcs(state):
            if arc.is_own(stands):
                yield arc.by(stands), arc.then, arc.after(stands)

    def turns(self, state: int, stands: Stands, number: int) -> list[Turn]:
        """One of `moves`."""
        return list(self.moves(state, stands or tuple(range(self.actors))))[number][0]

    def unwound(self, inside: np.ndarray) -> Unwound:
        """The moves among some states, with each actor as itself."""
        search, orders = self.search, self.arrangements(0)
        number = np.full(int(search.counts[states.N_STATES]), -1, np.int32)
        number[inside] = np.arange(len(inside))
        rank = np.zeros(moves.ACTORS_MAX ** self.actors, np.int32)
        for place, stands in enumerate(orders):
            rank[int("".join(map(str, stands)), moves.ACTORS_MAX)] = place
        first, made, came = search.successors(inside)
        room, nodes = int(first[-1]) * len(orders), len(inside) * len(orders)
        graph = Unwound(np.zeros(nodes + 1, np.int64), np.zeros(room, np.int32), np.zeros(room, np.int8), np.zeros(nodes, np.uint8),
                        inside, tuple(orders))
        unwinding.unwind(search.world.arrays, search.tables, inside, first, made, came, number, np.array(orders, np.int64), rank, *graph[:4])
        return graph

    def _found(self, state: int) -> tuple[list[int], list[Arc]]:
        if state not in self._arcs:
            self._look_up([state])
        return self._arcs[state]

    def _look_up(self, numbers: list[int]) -> None:
        """Note the arcs of some states."""
        search = self.search
        first, arcs, came = search.successors(np.array(numbers, np.int64), turns=True)
        made_of = search.stored.moves(arcs[:, kernel.MOVE])
        made_of[:, 1] += arcs[:, kernel.MORE]
        executed = made_of.tolist()
        made = [*zip(arcs[:, kernel.WAY].tolist(), arcs[:, kernel.THEN].tolist(), executed, map(tuple, came.tolist()), search.turns_read.tolist())]
        for state, begin, end in zip(numbers, first.tolist(), first[1:].tolist()):
            found = [self._arc(state, *each) for each in made[begin:end]]
            self._arcs[state] = [way for way, *_ in made[begin:end]], found

    def _arc(self, state: int, way: int, then: int, executed: list[int], came: tuple[int, ...], further: list[int]) -> Arc:
        search, actor, branch, (local, rows) = self.search, way >> 8 & moves.ACTORS_MAX - 1, way & 0xFF, executed
        if search.room and search.held(local) > search.held(int(search.state(state)[actor])):
            branch = moves.HOLD
        alone = self._alone(state, actor) if search.groups else ()
        others = [Turn(each >> kernel.ROWS_SHIFT, each & (1 << kernel.ROWS_SHIFT) - 1, 0) for each in further if each]
        return Arc((Turn(actor, rows, branch), *others), then, came, alone, alone[way >> kernel.PICK_SHIFT] if alone else 0)

    def is_in_loop(self, state: int) -> bool:
        """Whether actors are alike and one of all actors is in a loop over all vCPUs there."""
        return bool(self.search.groups) and any(self._kicked(state))

    def _kicked(self, state: int) -> list[int]:
        """Locals.kicked of the actors there."""
        return self.search.tables.locals.kicked[self.search.state(state)[:self.actors]].tolist()

    def _alone(self, state: int, actor: int) -> tuple[int, ...]:
        """Places of the vCPUs that the loop an actor is in may come to next, in their order; none if there is one only."""
        kicked = self._kicked(state)
        if not kicked[actor] or kicked[actor] & 1:
            return ()
        first = [place for place in range(self.actors) if self.places[place, alike.KICK_AT] == kicked[actor] >> 1]
        if not first:
            return ()
        group = next((each for each in self.search.groups if first[0] in each), [])
        sides = [self._side(kicked, int(self.places[place, alike.KICK_AT])) for place in group]
        return tuple(place for place, side in zip(group, sides)
                     if side == self._side(kicked, kicked[actor] >> 1)) if len(group) > 1 else ()

    def _side(self, kicked: list[int], where: int) -> tuple:
        """On which side of each loop a vCPU's word is: not yet kicked, at it, kicked."""
        return tuple((where >= each >> 1) + (each & 1 and where > each >> 1) for each in kicked if each)

    # --- who is where ---

    def arrangements(self, state: int) -> list[Stands]:
        """Who may be where in a state: those that are alike exchanged, but nobody kicked that has not been, by his number."""
        kicked, found = self._kicked(state), [tuple(range(self.actors))]
        for places in self.search.groups:
            found = [tuple(order[places.index(place)] if place in places else to[place] for place in range(self.actors))
                     for to in found for order in itertools.permutations(places)]
        sides = [self._side(kicked, int(where)) for where in self.places[:, alike.KICK_AT]]
        return [to for to in found if all(sides[place] == sides[actor] for place, actor in enumerate(to))]

    def rearranged(self, row, to: Stands) -> tuple[tuple[int, ...], bytes]:
        """A state with its actors exchanged: where each stands, and memory (names and own words, exchanged too)."""
        search, known = self.search, self.search.known
        stands = [0] * self.actors
        for place in range(self.actors):
            stands[to[place]] = search.stands(int(row[place]), place)
        cells = known.cells[0]
        at = known.cell_at[:cells]
        memory = search.words_of(int(row[self.actors])) ^ known.initial[:cells]
        moved = memory.copy()
        for cell, where in enumerate(at >> 3):
            if known.owner[where]:
                there = known.own[to[known.owner[where] - 1], known.part[where]]
                moved[known.cell_of[there] - 1] = memory[cell]
        named = known.ghosts[at] != 0
        names = np.arange(1 << 16, dtype=np.uint16)
        names[self.places[:, alike.NAME]] = self.places[list(to), alike.NAME]
        moved[named] = names[moved[named].view(np.uint16)].view(np.int64)
        return tuple(stands), moved.tobytes()

    # --- ways ---

    def walk_to(self, state: int, suits: Callable[[Stands], bool] = lambda _: True) -> tuple[list[Turn], Stands]:
        """The shortest schedule that leads to a state with actors at places that suit; and who is where then.

        Raises Unproved.
        """
        chain = self._chain(state)
        for stands in self.arrangements(0):
            found = self._along(chain, stands)
            if found and suits(found[1]):
                return self.search.settling + found[0], found[1]
        return self._search(state, suits)

    def way_to(self, state: int, way: int | None = None) -> list[Turn]:
        """The shortest schedule that leads to a state, and one move further."""
        if way is None:
            return self.walk_to(state)[0]
        arc = self.arc(state, way)
        turns, stands = self.walk_to(state, arc.is_own)
        return turns + arc.by(stands)

    def _chain(self, state: int) -> list[Arc]:
        """The moves by which the search has come to a state first."""
        parents, walk = self.search.tables.states.parents, [state]
        while walk[-1]:
            walk.append(int(parents[walk[-1]]))
        walk.reverse()
        new = [each for each in walk[:-1] if each not in self._arcs]
        if new:
            self._look_up(new)
        return [next(arc for arc in self.arcs(at) if arc.then == then) for at, then in zip(walk, walk[1:])]

    def _along(self, chain: list[Arc], stands: Stands) -> tuple[list[Turn], Stands] | None:
        turns = []
        for arc in chain:
            if not arc.is_own(stands):
                return None
            turns += arc.by(stands)
            stands = arc.after(stands)
        return turns, stands

    @cached_property
    def _levels(self) -> list[int]:
        """Where the states of each level begin: states are numbered level by level, and so are their parents."""
        count = int(self.search.counts[states.N_STATES])
        begins, parents = [0, 1], self.search.tables.states.parents[:count]
        while begins[-1] < count:
            begins.append(int(np.searchsorted(parents[1:], begins[-1])) + 1)
        return begins

    def _level(self, state: int) -> int:
        return bisect_right(self._levels, state) - 1

    def _leading(self, state: int) -> np.ndarray:
        """uint8 (states,): which are on a shortest way to a state."""
        begins = self._levels
        leading = np.zeros(int(self.search.counts[states.N_STATES]), np.uint8)
        leading[state] = 1
        level, expanded = self._level(state), int(self.search.counts[states.NEXT])
        first, arcs = self.search.arcs(expanded)
        for begin, end in reversed([*zip(begins[:level], begins[1:level + 1])]):
            judging.lead_on(first, arcs, begin, min(end, expanded), leading)
        return leading

    def _search(self, state: int, suits: Callable[[Stands], bool]) -> tuple[list[Turn], Stands]:
        """As `walk_to`, among all shortest ways."""
        leading = self._leading(state)
        came: dict[tuple[int, Stands], tuple] = {(0, stands): () for stands in self.arrangements(0)}
        waiting = list(reversed(came))
        while waiting:
            here = at, stands = waiting.pop()
            if at == state:
                if suits(stands):
                    return self.search.settling + self._back(came, here), stands
                continue
            for made, then, after in self.moves(at, stands):
                if leading[then] and self._level(then) > self._level(at) and (then, after) not in came:
                    came[then, after] = (made, here)
                    waiting.append((then, after))
        raise Unproved

    def _back(self, came: dict, here: tuple[int, Stands]) -> list[Turn]:
        turns = []
        while came[here]:
            made, here = came[here]
            turns += reversed(made)
        return turns[::-1]
