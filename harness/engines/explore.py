"""The engine that tries every interleaving of a scenario: breadth-first, states kept whole.

`run(scenario)` searches (kernels/search.py says how) and says what was found: the outcomes with the
shortest way to each, deadlocks, livelocks, violated invariants, and how much of everything was seen.
`sample(scenario, ...)` makes many single runs instead, for scenarios that are too large.

Three ways not to end.  A deadlock is a state in which somebody is not done and nobody can move.  A livelock
is a state from which no schedule whatever leads to an end, though somebody can always move: BUSY for
ever.  Starvation is a schedule that never ends although it is fair - everybody who is able to move again and
again does - where another would end: two that get into each other's way each time, a hold as short as
it may be (fairness.py).  A schedule that only stops giving somebody turns is none of these.
"""

import itertools
import time
from dataclasses import dataclass, field
from typing import Callable

import numpy as np

from harness import invariants
from harness.engines import fairness
from harness.errors import UsageError
from harness.memory import Memory
from harness.scenario import Scenario, answers_of
from harness.schedule import Turn, leave_of
from kernels import alike, search as kernel
from kernels.ops import REGISTERS, Register as R
from kernels.words import spell_entry, unsigned

MEMORY_MIB = 1024                # of tables, unless the command says more
PAUSE_STATES = 200_000           # states between looks at the keyboard
RUN_MOVES_MAX = 100_000          # of a single run; longer ones are cut off and said to be
PATH_MAX = RUN_MOVES_MAX + 1
WORDS_MAX = 4096

DONE, HALTED, DEADLOCK, LIVELOCK, STARVATION = "done", "halted", "deadlock", "livelock", "starvation"


@dataclass
class Ending:
    """A way in which a scenario ends, told apart by kind, answers and words."""

    kind: str
    answers: tuple[tuple[str, ...], ...]     # by script, by call; "-" where a call was not made
    words: tuple[str, ...]                   # as Scenario.watched() lists them
    count: int = 0                           # states (exhaustive) or runs (sampled)
    turns: list[Turn] = field(default_factory=list)


@dataclass
class Found:
    """What a search has found."""

    scenario: Scenario
    how: str                                 # "every interleaving", "10000 random runs" ...
    complete: bool
    stopped: str = ""                        # why it is not complete
    states: int = 0
    expanded: int = 0                        # states that the search has gone on from
    transitions: int = 0
    left_out: int = 0                        # moves that would have been one preemption too many
    executed: int = 0                        # moves that `step` was called for
    depth: int = 0
    runs: int = 0
    seconds: float = 0.0
    endings: list[Ending] = field(default_factory=list)
    violations: dict[str, list[Turn]] = field(default_factory=dict)      # invariant -> a way there
    checked: tuple[str, ...] = ()
    cycles: dict[str, list[Turn]] = field(default_factory=dict)      # what repeats for ever behind a violation
    interrupted: bool = False
    answered: set = field(default_factory=set)       # (call, answer) of every call that has ended
    entries: set[str] = field(default_factory=set)   # what SEPT entries of 4K pages have spelled
    alike: list[tuple[str, ...]] = field(default_factory=list)       # actors of which one order was searched


class Search:
    """The tables of one search, and the world it takes place in."""

    def __init__(self, scenario: Scenario, memory_mib: int = MEMORY_MIB, reduce: bool = True,
                 preemptions: int = -1, forget: bool | None = None, symmetry: bool | None = None):
        self.scenario, self.preemptions = scenario, preemptions
        self.forget = reduce if forget is None else forget
        program, self.actors = scenario.program, len(scenario.scripts)
        assert self.actors <= kernel.ACTORS_MAX
        self.memory = Memory(scenario.layout)
        self.start_registers = scenario.start(self.memory)
        layout, block = scenario.layout, np.frombuffer(self.memory.block, np.int64)
        size = layout.at("image")                        # what comes behind is of real processes
        self.block, self.initial_block = block, block.copy()
        self.leave = np.array([leave_of(scenario, place) for place in range(self.actors)], np.int64)
        self.scripts, values = np.zeros((self.actors, 2), np.int64), [0]
        for place, script in enumerate(scenario.scripts):
            self.scripts[place] = len(values), len(script.flow or ())
            values += script.flow or ()
        self.script_values = np.array(values, np.int64)
        self.choices = np.array([2 if name == "accept_first" else 0 for name in program.choices] or [0], np.int64)
        self.counters = [name for name in program.counters if name.startswith("violation: ")]
        self.counted = np.array([kernel.COUNTED << self.counters.index(name) if name in self.counters else 0
                                 for name in program.counters] or [0], np.int64)
        self.contested, self.accessors, self.changed, self.ordered, self.ghosts = np.zeros(
            (5, len(block) * 8), np.uint8)
        shadow = layout.by_name["shadow"]
        for region in (shadow, layout.by_name["mmu_owner"]):
            self.ghosts[region.offset:region.end] = 1
        if not reduce:
            self.contested[:size] = 1 - self.ghosts[:size]
        symmetry = reduce if symmetry is None else symmetry
        self._tell_alike(self._groups() if symmetry and preemptions < 0 else [])
        self.cell_of = np.zeros(len(block), np.int32)
        self.cell_at, self.initial = np.zeros((2, WORDS_MAX), np.int64)
        self.answered = np.zeros((max(1, len(program.calls)), len(program.answers)), np.uint8)
        self.counts = np.zeros(kernel.COUNTS, np.int64)
        self.width = 64
        self.memory_bytes = memory_mib << 20
        self._allocate()
        self.seconds, self.interrupted = 0.0, False

    # --- actors that are alike (kernels/alike.py) ---

    def _groups(self) -> list[list[int]]:
        """Places of actors with the same script and start, but for their number; none where numbers show."""
        scenario, groups = self.scenario, {}
        shown = any(self.ghosts[offset] for _, offset in scenario.watched())
        if shown or self.initial_block.view(np.uint8)[self.ghosts != 0].any():
            return []
        for place, (script, registers) in enumerate(zip(scenario.scripts, self.start_registers)):
            start = registers.copy()
            live = int(scenario.live[start[R.PC]])
            start[[register for register in range(64) if not live >> register & 1]] = 0
            start[[R.ME, R.ROLE]] = 0
            key = script.actor.kind, script.steps, script.flow, start.tobytes()
            groups.setdefault(key, []).append(place)
        return [places for places in groups.values() if len(places) > 1]

    def _tell_alike(self, groups: list[list[int]]) -> None:
        self.groups = groups
        self.alike = np.zeros((self.actors, len(alike.COLUMNS)), np.int64)
        for places in groups + [[place] for place in range(self.actors) if not any(place in each for each in groups)]:
            for left, place in zip([-1, *places], places):
                registers = self.start_registers[place]
                self.alike[place] = (places[0], left, sum(1 << each for each in places),
                                     registers[R.ME], registers[R.ROLE])

    def _nobody_is_alike(self) -> None:
        self._tell_alike([])
        for noted in (self.contested, self.accessors, self.changed, self.ordered):
            noted[:] = 0

    def _settled_alike(self) -> bool:
        """Whether the first state stays the same whoever of those alike is who."""
        same = [register for register in range(REGISTERS) if register not in (R.ME, R.ROLE)]
        ghosts = self.ghosts[self.cell_at[:self.counts[kernel.N_CELLS]]] != 0
        return not self.memories[self.first[self.actors], :len(ghosts)][ghosts].any() and all(
            (self.locals[self.first[place], same] == self.locals[self.first[places[0]], same]).all()
            for places in self.groups for place in places)

    def stands(self, local: int, place: int) -> int:
        """Where an actor stands, as a number that is the same for all those that are alike."""
        return int(self.twins[local, self.alike[place, alike.LEADER]]) - 1 if self.groups else local

    def reorder(self, who: list[int], state: int, turn: Turn, local: int) -> list[int]:
        """Which actor is at each place after a move; who: before it.  As the search puts them in order."""
        who = who[:]
        for places in self.groups:
            if turn.actor in places:
                stands = [self.stands(local if place == turn.actor else int(self.states[state, place]), place)
                          for place in places]
                behind = [who[place] for _, place in sorted(zip(stands, places), key=lambda pair: pair[0])]
                for place, actor in zip(places, behind):
                    who[place] = actor
        return who

    def arrangements(self) -> list[list[int]]:
        """The ways to exchange those that are alike: for each place, where the actor goes that is there."""
        found = [list(range(self.actors))]
        for places in self.groups:
            found = [[order[places.index(place)] if place in places else to[place] for place in range(self.actors)]
                     for to in found for order in itertools.permutations(places)]
        return found

    def rearranged(self, state, to: list[int]) -> tuple[tuple[int, ...], bytes]:
        """A state with its actors exchanged: where each stands, and memory (its names, exchanged too)."""
        stands = [0] * self.actors
        for place in range(self.actors):
            stands[to[place]] = self.stands(int(state[place]), place)
        memory = self.memories[state[self.actors], :self.counts[kernel.N_CELLS]]
        ghosts = self.ghosts[self.cell_at[:len(memory)]] != 0
        if memory[ghosts].any():
            names = np.arange(1 << 16, dtype=np.uint16)
            names[self.alike[:, alike.NAME]] = self.alike[to, alike.NAME]
            memory = memory.copy()
            memory[ghosts] = names[memory[ghosts].view(np.uint16)].view(np.int64)
        return tuple(stands), memory.tobytes()

    # --- tables ---

    def _allocate(self) -> None:
        """Tables as large as the memory limit allows; pages of them that are never touched cost nothing."""
        per_state = 4 * (self.actors + 2) + 4 + 2 + 8 + 4 * 4 + 5 * self.actors     # states, index, arcs
        per_move = 8 + 8 + 8 + 4 + 4 * 4
        per_memory = 8 * self.width + 4 * 4 + 4 * self.actors
        rows = max(4096, int(self.memory_bytes / (per_state + per_move + per_memory / 8)))
        locals_, memories = min(rows, 1 << 17), max(4096, rows // 8)
        index = lambda count: np.zeros(4 << 2 * ((2 * count).bit_length() // 2 + 1), np.int32)
        self.locals = np.zeros((locals_, REGISTERS + 1), np.int64)
        self.fanout, self.local_index = np.zeros(locals_, np.int8), index(locals_)
        self.memories, self.memory_index = np.zeros((memories, self.width), np.int64), index(memories)
        self.twins = np.zeros((locals_, self.actors), np.int32)
        self.swapped = np.zeros((memories, self.actors), np.int32)
        self.states = np.zeros((rows, self.actors + 2), np.int32)
        self.parents, self.ways = np.zeros(rows, np.int32), np.zeros(rows, np.int16)
        self.first_arc, self.state_index = np.zeros(rows + 1, np.int64), index(rows)
        self.move_key, self.move_to = np.zeros((rows, 1), np.int64), np.zeros((rows, 2), np.int32)
        self.move_flags, self.move_rows = np.zeros(rows, np.int64), np.zeros(rows, np.int32)
        self.move_index = index(rows)
        self.arcs, self.movers = np.zeros(self.actors * rows, np.int32), np.zeros(self.actors * rows, np.int8)
        self.events = np.zeros((2 + len(self.counters), 3), np.int64)
        self.here = np.zeros(self.actors + 2, np.int32)
        self.path, self.path_rows = np.zeros(PATH_MAX + 1, np.int16), np.zeros(PATH_MAX + 1, np.int32)
        self.dice = np.zeros(3 + kernel.ACTORS_MAX + 64, np.int64)
        self.registers = np.zeros(REGISTERS, np.int64)
        self.candidates = np.zeros((kernel.ROOM, 2), np.int64)

    def _reset(self) -> None:
        """Begin again, knowing which words there are and which bytes are contested."""
        if self.counts[kernel.TOLD_APART]:
            self._nobody_is_alike()
        cells = self.counts[kernel.N_CELLS]
        self.twins[:self.counts[kernel.N_LOCALS]] = self.swapped[:self.counts[kernel.N_MEMORIES]] = 0
        self.counts[:] = 0
        self.counts[kernel.N_CELLS] = cells
        self.events[:] = 0
        self.block[self.cell_at[:cells] >> 3] = self.initial[:cells]
        self.memories[0] = 0
        for place, registers in enumerate(self.start_registers):
            self.locals[place, :REGISTERS], self.locals[place, REGISTERS] = registers, place
            self.fanout[place] = 1
        self.counts[kernel.N_LOCALS] = self.actors
        self.counts[kernel.N_MEMORIES] = 1

    def _call(self, scheduler: int, pause: int = PAUSE_STATES, moves: int = RUN_MOVES_MAX) -> int:
        limits = np.zeros(len(kernel.LIMITS), np.int64)
        limits[kernel.PAUSE_STATES], limits[kernel.RUN_MOVES] = pause, moves
        limits[kernel.PREEMPTIONS], limits[kernel.FORGET] = self.preemptions, self.forget
        limits[kernel.TIME_OUTCOMES] = 2 if self.scenario.file.timeouts else 1
        limits[kernel.WORDS], limits[kernel.ALIKE] = self.width, bool(self.groups)
        return kernel.search(
            self.scenario.program.rows, self.scenario.live, self.memory.base, self.initial_block,
            self.actors, self.scripts, self.script_values, self.choices, self.leave, self.alike,
            self.contested, self.accessors, self.changed, self.ordered, self.ghosts,
            self.cell_at, self.cell_of, self.initial,
            self.locals, self.fanout, self.local_index, self.twins, self.memories, self.memory_index, self.swapped,
            self.states, self.parents, self.ways, self.first_arc, self.state_index,
            self.move_key, self.move_to, self.move_flags, self.move_rows, self.move_index,
            self.arcs, self.movers, self.counts, self.events, self.counted, self.answered,
            scheduler, limits, self.here, self.path, self.path_rows, self.dice, self.registers, self.candidates)

    def _settle(self) -> int:
        """Each actor up to its first contested access; `here` is then the state to start from."""
        self._reset()
        self.here[:] = [*range(self.actors), 0, 0]
        self.path[:self.actors] = [place << 8 | kernel.SETTLE for place in range(self.actors)]
        ending = self._call(kernel.GIVEN, moves=self.actors)
        self.settling = [Turn(place, int(self.path_rows[place]), 0) for place in range(self.actors)]
        self.first = self.here.copy()
        self.counts[kernel.STEPS] = self.counts[kernel.TRANSITIONS] = 0
        return ending

    # --- searching ---

    def scout(self, runs: int = 16) -> None:
        """Random runs, only to learn which words there are and which are contested."""
        for seed in range(runs):
            ending = kernel.RESTART
            while ending in (kernel.RESTART, kernel.FULL):
                ending = self._settle()
                if ending == kernel.RUN_ENDED:
                    self.dice[0] = seed
                    ending = self._call(kernel.RANDOM, moves=2_000)
                if ending == kernel.FULL and not self._widen(ending):
                    return                   # the search itself will say so

    def _widen(self, ending: int) -> bool:
        """Whether the table of memories was too narrow, and has been made wider."""
        if ending == kernel.FULL and self.counts[kernel.FULL_TABLE]:
            self.width *= 2
            self._allocate()
            return True
        return False

    def search(self, tick: Callable[[int, int], None] = lambda *_: None) -> int:
        """Everything that can happen.  Returns how it ended: FINISHED, FULL or ENDLESS; or PAUSED, if
        it was interrupted."""
        began = time.perf_counter()
        try:
            while True:
                ending = self._settle()
                if ending == kernel.RUN_ENDED and self.groups and not self._settled_alike():
                    self._nobody_is_alike()
                    continue
                while ending == kernel.RUN_ENDED:
                    self.states[0] = self.first
                    self.counts[kernel.N_STATES] = 1
                    ending = self._call(kernel.BREADTH)
                    while ending == kernel.PAUSED:
                        tick(int(self.counts[kernel.NEXT]), int(self.counts[kernel.N_STATES]))
                        ending = self._call(kernel.BREADTH)
                if ending != kernel.RESTART and not self._widen(ending):
                    break
        except KeyboardInterrupt:
            self.interrupted, ending = True, kernel.PAUSED
        self.first_arc[self.counts[kernel.NEXT]] = self.counts[kernel.N_ARCS]
        self.seconds = time.perf_counter() - began
        return ending

    # --- single runs ---

    def settle_again(self) -> bool:
        """Ready for a run, with tables emptied."""
        while (ending := self._settle()) != kernel.RUN_ENDED:
            if ending == kernel.FULL and not self._widen(ending):
                return False
        return True

    def turns(self, steps: int) -> list[Turn]:
        """The run that has just been made, as a schedule."""
        return self.settling + [
            Turn(int(way) >> 8, int(rows), int(way) & 0xFF)
            for way, rows in zip(self.path[:steps], self.path_rows[:steps]) if rows]

    def follow(self, ways: np.ndarray) -> bool:
        """Run as `ways` say, passing over what cannot be done; whether the run came to its end there."""
        if len(ways) >= len(self.path):
            self.path, self.path_rows = np.zeros(len(ways) + 1, np.int16), np.zeros(len(ways) + 1, np.int32)
        while True:
            self.here[:] = self.first
            self.counts[kernel.STEPS] = 0
            self.events[:] = 0
            self.path[:len(ways)] = ways
            ending = self._call(kernel.GIVEN, moves=len(ways))
            if ending == kernel.RUN_ENDED:
                return True
            if not self.settle_again():
                return False

    def shrink(self, ways: np.ndarray, fails: Callable[[], int]) -> list[Turn]:
        """A failing run without any step that it does not need.

        fails   after how many steps the run just made has failed in the way that is wanted; 0: it has not

        Pieces are left out that get smaller and smaller (ddmin, Zeller and Hildebrandt 2002), but going on
        behind a piece that was not needed instead of from the beginning: long runs lose nearly all at once.
        """
        def failing(some: np.ndarray) -> np.ndarray | None:
            return some[:fails()] if len(some) and self.follow(some) and fails() else None

        ways = failing(ways)
        assert ways is not None
        turns, size, needed = self.turns(len(ways)), len(ways), False
        while not needed:
            size, start = max(1, size // 2), 0
            needed = size == 1
            while start < len(ways):
                rest = failing(np.concatenate([ways[:start], ways[start + size:]]))
                if rest is None:
                    start += size
                else:
                    # As turns at once: a way is one of the moves that are known now, and there may be finer ones.
                    ways, turns, needed = rest, self.turns(len(rest)), False
        return turns

    # --- reading the tables ---

    def move_of(self, local: int, memory: int, branch: int) -> int:
        key = memory << 33 | local << 7 | branch
        return int(np.flatnonzero(self.move_key[:self.counts[kernel.N_MOVES], 0] == key)[0])

    def move(self, state: int, way: int) -> tuple[Turn, int]:
        """A move out of a state, by places; and where the actor then stands."""
        actor, branch = way >> 8, way & 0xFF
        move = self.move_of(int(self.states[state, actor]), int(self.states[state, self.actors]), branch)
        return Turn(actor, int(self.move_rows[move]), branch), int(self.move_to[move, 0])

    def walk_to(self, state: int) -> tuple[list[Turn], list[int]]:
        """The shortest schedule that leads to a state; and which actor is at each place of it."""
        states = []
        while state:
            states.append(state)
            state = int(self.parents[state])
        turns, who, parent = [], list(range(self.actors)), 0
        for state in reversed(states):
            turn, local = self.move(parent, int(self.ways[state]))
            turns.append(turn._replace(actor=who[turn.actor]))
            who, parent = self.reorder(who, parent, turn, local), state
        return self.settling + turns, who

    def way_to(self, state: int, way: int | None = None) -> list[Turn]:
        """The shortest schedule that leads to a state, and one move further."""
        turns, who = self.walk_to(state)
        if way is None:
            return turns
        turn, _ = self.move(state, way)
        return turns + [turn._replace(actor=who[turn.actor])]

    def depth(self) -> int:
        """Moves of the longest of the shortest ways."""
        count = int(self.counts[kernel.N_STATES])
        state, moves = count - 1, 0
        while state > 0:
            state, moves = int(self.parents[state]), moves + 1
        return moves

    def ending_of(self, state) -> Ending:
        """What a state without moves is; state: a row of `states`."""
        fans = [int(self.fanout[state[place]]) for place in range(self.actors)]
        kind = HALTED if kernel.DOWN in fans else DONE if not any(fans) else DEADLOCK
        answers = tuple(answers_of(self.scenario, place, int(self.locals[state[place], R.OUTCOMES]))
                        for place in range(self.actors))
        words = self.words(int(state[self.actors]))
        return Ending(kind, answers, words)

    def words(self, memory: int) -> tuple[str, ...]:
        scenario = self.scenario
        return tuple(scenario.spell(name, self.word(memory, offset)) for name, offset in scenario.watched())

    def word(self, memory: int, offset: int) -> int:
        """The 64-bit word at an offset (moved down so that byte `offset` is its lowest)."""
        cell = offset >> 3
        value = int(self.initial_block[cell])
        if self.cell_of[cell]:
            value ^= int(self.memories[memory, self.cell_of[cell] - 1])
        return unsigned(value) >> 8 * (offset & 7)

    def answers(self) -> set[tuple[str, str]]:
        """(call, answer) of all that has been answered."""
        program = self.scenario.program
        return {(program.calls[call], program.answers[answer].name) for call, answer in np.argwhere(self.answered)}

    def entries(self) -> set[str]:
        """What the SEPT entries of 4K pages have spelled, in all memories that are in the table."""
        region, count = self.scenario.layout.by_name["sept.0"], self.counts[kernel.N_MEMORIES]
        words = {int(word) for word in np.unique(self.initial_block[region.offset >> 3:region.end >> 3])}
        for cell in range(self.counts[kernel.N_CELLS]):
            if region.offset <= self.cell_at[cell] < region.end:
                words |= {int(word) for word in np.unique(self.memories[:count, cell] ^ self.initial[cell])}
        return {spell_entry(unsigned(word)) for word in words}

    def put(self, memory: int) -> Memory:
        """Memory itself, as it is in a state."""
        self.block[:] = self.initial_block
        cells = self.counts[kernel.N_CELLS]
        at = self.cell_at[:cells] >> 3
        self.block[at] ^= self.memories[memory, :cells]
        return self.memory


def run(scenario: Scenario, memory_mib: int = MEMORY_MIB, reduce: bool = True, preemptions: int = -1,
        tick=lambda *_: None, forget: bool | None = None, symmetry: bool | None = None) -> Found:
    """Everything that can happen in a scenario.

    reduce   whether accesses that nobody can tell the order of are part of the step before
    forget   whether the counts that lost tries leave in a lock word are told apart (default: as `reduce`)
    symmetry whether of actors that are alike one order is enough (default: as `reduce`)
    """
    search = Search(scenario, memory_mib, reduce, preemptions, forget, symmetry)
    if reduce:
        search.scout()
    ending = search.search(tick)
    how = "every interleaving" if preemptions < 0 else f"every interleaving with at most {preemptions} preemptions"
    counts = search.counts
    cut = bool(counts[kernel.LEFT_OUT])
    found = Found(scenario, how, ending == kernel.FINISHED and not cut,
                  _why(ending, memory_mib) or f"at most {preemptions} preemptions" * cut)
    found.expanded, found.left_out = int(counts[kernel.NEXT]), int(counts[kernel.LEFT_OUT])
    found.states, found.transitions = int(counts[kernel.N_STATES]), int(counts[kernel.TRANSITIONS])
    found.executed, found.seconds, found.depth = int(counts[kernel.N_MOVES]), search.seconds, search.depth()
    found.interrupted = search.interrupted
    found.alike = [tuple(scenario.scripts[place].actor.name for place in places) for places in search.groups]
    found.answered = search.answers()
    found.entries = search.entries()
    _judge(search, found)
    return found


def sample(scenario: Scenario, runs: int, seed: int, depth: int = 0, memory_mib: int = MEMORY_MIB) -> Found:
    """Many single runs: each step any actor's, or (with a depth) that of the highest priority.

    depth   of PCT (Burckhardt et al., ASPLOS 2010): priorities are drawn for each run and change at
            depth - 1 steps; a run hits a bug of that depth with probability 1 / (n k^(depth - 1)) or
            more, for n actors and k steps
    """
    search = Search(scenario, memory_mib)
    search.scout()
    found = Found(scenario, f"{runs} random runs, seed {seed}", False, runs=runs)
    source, began, longest, cut, newest = np.random.default_rng(seed), time.perf_counter(), 1, 0, 0
    endings: dict[tuple, Ending] = {}
    ready = search.settle_again()
    try:
        for number in range(runs):
            _deal(search, source, depth, longest)
            dealt = search.dice.copy()
            while True:
                search.dice[:] = dealt
                search.here[:] = search.first
                search.counts[kernel.STEPS] = 0
                search.events[:] = 0
                ending = search._call(kernel.PCT if depth else kernel.RANDOM)
                if ending == kernel.RUN_ENDED:
                    break
                ready = search.settle_again()        # knowing better, or with empty tables
            longest, new = max(longest, int(search.counts[kernel.STEPS])), _note(search, found, endings)
            cut += search.counts[kernel.STEPS] >= RUN_MOVES_MAX
            newest = number + 1 if new else newest
    except KeyboardInterrupt:
        found.interrupted, found.runs = True, number
    found.seconds, found.depth = time.perf_counter() - began, longest
    found.transitions = int(search.counts[kernel.TRANSITIONS])
    found.endings = sorted(endings.values(), key=lambda ending: (ending.kind, ending.answers, ending.words))
    # A run says nothing of all schedules.
    found.checked = tuple(name for name in _checked(search) if name not in (LIVELOCK, STARVATION))
    found.answered, found.entries = search.answers(), search.entries()
    share = _share([ending.count for ending in found.endings])
    found.stopped = (f"{len(endings)} endings, the last new one in run {newest}; {share} of runs would end in one"
                     " not met yet")
    if cut:
        found.stopped += f"; {cut} of the runs {'was' if cut == 1 else 'were'} cut off after {RUN_MOVES_MAX} steps"
    if depth:
        chance = 1 / (search.actors * longest ** (depth - 1))
        found.how = f"{runs} runs by priorities that change {depth - 1} times, seed {seed}"
        found.stopped += (f"; a bug of depth {depth} is hit with probability {1 - (1 - chance) ** runs:.3g} or more"
                          f" ({search.actors} actors, {longest} steps)")
    return found


def _share(counts: list[int]) -> str:
    """Of runs, those whose ending has not been met, from what has been met once (Good and Turing, 1953)."""
    once, runs = counts.count(1), sum(counts)
    if not runs:
        return "an unknown share"
    return f"about {100 * once / runs:.2g} %" if once else f"probably less than {100 / runs:.2g} %"


def _deal(search: Search, source, depth: int, steps: int) -> None:
    """Random state of one run, and PCT's priorities and change points."""
    search.dice[:] = 0
    search.dice[0] = source.integers(1 << 62)
    search.dice[1] = max(0, depth - 1)
    search.dice[3:3 + search.actors] = 1 + source.permutation(search.actors)
    first = 3 + kernel.ACTORS_MAX
    search.dice[first:first + max(0, depth - 1)] = np.sort(source.integers(steps, size=max(0, depth - 1)))


def _note(search: Search, found: Found, endings: dict) -> bool:
    """Note how a run has ended and what it has violated; whether the ending is new."""
    steps = int(search.counts[kernel.STEPS])
    names = ["no_bug", "no_halt", *(name.removeprefix("violation: ") for name in search.counters)]
    for flag, (name, (step, _, _)) in enumerate(zip(names, search.events)):
        if step and name not in found.violations:
            ways = search.path[:int(step)].copy()
            found.violations[name] = search.shrink(ways, lambda flag=flag: int(search.events[flag, 0]))
    if steps >= RUN_MOVES_MAX:
        return False
    ending = search.ending_of(search.here)
    key = (ending.kind, ending.answers, ending.words)
    kept = endings.setdefault(key, ending)
    kept.count += 1
    if kept.turns:
        return False
    kept.turns = search.turns(steps)
    memory, bad = int(search.here[search.actors]), []
    if ending.kind == DEADLOCK:
        bad.append(DEADLOCK)
    elif ending.kind == DONE:
        real = search.put(memory)
        dead = real.word(search.scenario.layout.at("vm_dead"))
        bad += [name for name, check in QUIET.items() if check(search, real) and not (
            name == "quiet_mirror" and (dead or not search.scenario.uses_flows))]
    for name in bad:
        found.violations.setdefault(name, kept.turns)
    return True


def _why(ending: int, memory_mib: int) -> str:
    return {kernel.FINISHED: "", kernel.PAUSED: "interrupted",
            kernel.FULL: f"the tables are full; --memory-mib {memory_mib} is the limit",
            kernel.ENDLESS: "an actor runs in a loop that touches nothing"}[ending]


def _judge(search: Search, found: Found) -> None:
    ended = np.flatnonzero(np.diff(search.first_arc[:int(search.counts[kernel.NEXT]) + 1]) == 0)
    _endings(search, found, ended)
    fair = False
    if search.preemptions < 0:           # within a bound, what spins is kept from who could end it
        fair = _starvation(search, found, _livelock(search, found, ended))
    names = ["no_bug", "no_halt", *(name.removeprefix("violation: ") for name in search.counters)]
    for name, (state, way, _) in zip(names, search.events):
        if state:
            found.violations[name] = search.way_to(int(state) - 1, int(way))
    left = {LIVELOCK: search.preemptions >= 0, STARVATION: not fair}
    found.checked = tuple(name for name in _checked(search) if not left.get(name))


def _livelock(search: Search, found: Found, ended) -> np.ndarray:
    """Look for states that cannot end; returns whether each state can."""
    ends = _can_end(search, ended)
    doomed = np.flatnonzero(~ends)
    if len(doomed):
        state = int(doomed[0])
        if state == 0 and LIVELOCK not in search.scenario.must_violate:
            raise UsageError(f"{search.scenario.name}: actors: no schedule lets all scripts end;"
                             ' if that is what is to be shown, must_violate = ["livelock"]')
        found.violations[LIVELOCK], found.cycles[LIVELOCK] = _cycle(search, state)
    return ends


def _can_end(search: Search, ended) -> np.ndarray:
    """Whether some schedule leads from each state to an end, or to where the search has not been."""
    expanded = int(search.counts[kernel.NEXT])
    ends = np.zeros(int(search.counts[kernel.N_STATES]), np.uint8)
    ends[ended] = 1
    ends[expanded:] = 1
    kernel.mark_ending(expanded, search.first_arc, search.arcs, ends)
    return ends != 0


def _starvation(search: Search, found: Found, can_end: np.ndarray) -> bool:
    """Look for a fair cycle in what can end; whether that was possible."""
    expanded = int(search.counts[kernel.NEXT])
    first_arc = search.first_arc[:expanded + 1]
    arcs, movers = (table[:first_arc[-1]] for table in (search.arcs, search.movers))
    if search.groups and expanded < search.counts[kernel.N_STATES]:
        return False
    if search.groups:
        # Whether all of those that are alike have a turn is asked of each of them, not of one order.
        if not (arcs <= np.repeat(np.arange(expanded), np.diff(first_arc))).any():
            return True
        unused = 1 - search.counts[kernel.N_STATES] / len(search.states)
        whole = Search(search.scenario, int(search.memory_bytes * unused) >> 20, forget=search.forget, symmetry=False)
        whole.scout()
        ending = whole.search()
        found.interrupted |= whole.interrupted
        if ending != kernel.FINISHED:
            return False
        ended = np.flatnonzero(np.diff(whole.first_arc[:int(whole.counts[kernel.NEXT]) + 1]) == 0)
        return _starvation(whole, found, _can_end(whole, ended))
    members = fairness.fair_states(first_arc, arcs, movers, can_end[:expanded])
    if len(members):
        found.violations[STARVATION] = search.way_to(int(members[0]))
        found.cycles[STARVATION] = [_moves(search, state)[place][0] for state, place in
                                    fairness.round_trip(first_arc, arcs, movers, members)]
    return True


def _checked(search: Search) -> tuple[str, ...]:
    counted = tuple(name.removeprefix("violation: ") for name in search.counters)
    names = ("no_bug", "no_halt", DEADLOCK, LIVELOCK, STARVATION, *counted, *QUIET)
    if not search.scenario.uses_flows:
        names = tuple(name for name in names if name not in ("no_bug", "quiet_mirror"))
    return names


# With everybody done: see invariants.py.  Each takes (search, memory) and counts violations.
QUIET = {
    "quiet_locks": lambda search, memory: invariants.locks_held(search.scenario, memory),
    "quiet_counts": lambda search, memory: invariants.counts_left(search.scenario, memory),
    "quiet_mirror": lambda search, memory: invariants.mirror_differs(memory),
}


def _endings(search: Search, found: Found, ended) -> None:
    """Endings, told apart; and the invariants of quiet memory, in each memory that an ending has."""
    actors = search.actors
    rows = search.states[ended]
    unique, first, counts = np.unique(rows[:, :actors + 1], axis=0, return_index=True, return_counts=True)
    by_key: dict[tuple, Ending] = {}
    shortest: dict[tuple, tuple] = {}            # a state, and where its actors have to go
    rearranged: set[tuple] = set()
    quiet_bad: dict[str, int] = {}
    looked: set[int] = set()
    for row, where, count in zip(unique, first, counts):
        state, kind = int(ended[where]), ""
        for to, ending in _each(search, row, rearranged):
            kind = ending.kind
            key = (ending.kind, ending.answers, ending.words)
            kept = by_key.setdefault(key, ending)
            kept.count += int(count)
            shortest[key] = min(shortest.get(key, (state, to)), (state, to))
        if kind == DEADLOCK:
            found_at = quiet_bad.setdefault(DEADLOCK, state)
            quiet_bad[DEADLOCK] = min(found_at, state)
        memory = int(row[actors])
        if kind == DONE and memory not in looked:
            looked.add(memory)
            real = search.put(memory)
            dead = real.word(search.scenario.layout.at("vm_dead"))
            for name, check in QUIET.items():
                if name == "quiet_mirror" and (dead or not search.scenario.uses_flows):
                    continue
                if check(search, real) and state < quiet_bad.get(name, state + 1):
                    quiet_bad[name] = state
    for key, ending in by_key.items():
        state, to = shortest[key]
        turns, who = search.walk_to(state)
        goes = dict(zip(who, to))
        ending.turns = [turn._replace(actor=goes[turn.actor]) for turn in turns]
        found.endings.append(ending)
    found.endings.sort(key=lambda ending: (ending.kind, ending.answers, ending.words))
    for name, state in quiet_bad.items():
        found.violations[name] = search.way_to(state)


def _each(search: Search, row, rearranged: set):
    """An ending, and those in which actors that are alike are exchanged, unless they have been `rearranged` to
    before: (for each place, where its actor goes; the ending)."""
    if not search.groups:
        yield list(range(search.actors)), search.ending_of(row)
        return
    for to in search.arrangements():
        stands, memory = search.rearranged(row, to)
        if (stands, memory) not in rearranged:
            rearranged.add((stands, memory))
            yield to, search.ending_of((*stands, row[search.actors]))


def _cycle(search: Search, state: int) -> tuple[list[Turn], list[Turn]]:
    """Of a state that cannot end: (the way into a cycle behind it, the cycle), everybody taking turns fairly."""
    turns, who = search.walk_to(state)
    seen, last = {}, -1
    while (state, *who, last) not in seen:
        seen[state, *who, last] = len(turns)
        moves = [(turn._replace(actor=who[turn.actor]), then, search.reorder(who, state, turn, local))
                 for turn, local, then in _moves(search, state)]
        last = next(actor for actor in [*range(last + 1, search.actors), *range(last + 1)]
                    if any(turn.actor == actor for turn, *_ in moves))
        turn, state, who = next(move for move in moves if move[0].actor == last)
        turns.append(turn)
    begin = seen[state, *who, last]
    return turns[:begin], turns[begin:]


def _moves(search: Search, state: int) -> list[tuple[Turn, int, int]]:
    """What can be done in a state, by places: the turn, where the actor then stands, the state it leads to."""
    here, memory = search.states[state], int(search.states[state, search.actors])
    arcs = iter(search.arcs[search.first_arc[state]:search.first_arc[state + 1]])
    found = []
    for actor in range(search.actors):
        for branch in range(max(0, int(search.fanout[here[actor]]))):
            move = search.move_of(int(here[actor]), memory, branch)
            if search.move_flags[move] & kernel.CANNOT == 0:
                found.append((Turn(actor, int(search.move_rows[move]), branch), int(search.move_to[move, 0]),
                              int(next(arcs))))
    return found


def interleavings(search: Search) -> int:
    """How many different schedules there are, of a finished search without cycles."""
    assert not search.groups, "of alike actors one order was searched"
    ways = {}
    for state in range(int(search.counts[kernel.N_STATES]) - 1, -1, -1):
        arcs = search.arcs[search.first_arc[state]:search.first_arc[state + 1]]
        assert all(arc > state for arc in arcs), "a cycle"
        ways[state] = sum(ways[int(arc)] for arc in arcs) if len(arcs) else 1
    return ways[0]

