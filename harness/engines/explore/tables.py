"""A search in progress: its tables, the world it takes place in, and how to read what it has found.

`Search` owns the arrays that kernels/search.py fills (that file says what is in them), gives them more
room, and turns states, moves and memories into schedules, answers and words.  What follows from what
was found is explore.py's business.
"""

import time
from dataclasses import dataclass, field
from typing import Callable

import numpy as np

from harness.engines.explore import owned
from harness.memory.block import Memory
from harness.experiment.scenario import HALT, NOT_MADE, Scenario, answers_of
from harness.experiment.schedule import Turn
from harness.experiment.world import World
from harness.memory.tables import use_large_pages, zeros
from kernels import buffers, moves, search as kernel, states, symmetry as alike
from kernels.ops import REGISTERS, Register as R
from kernels.words import spell_entry, unsigned

MEMORY_MIB = 1024                # of tables, unless the command says more
PAUSE_STATES = 20_000            # states between looks at the keyboard
RUN_MOVES_MAX = 100_000          # of a single run; longer ones are cut off and said to be
PATH_MAX = RUN_MOVES_MAX + 1
SCOUT_MOVES = 2_000              # of a run that is made only to learn about words
WORDS_MAX = 4096
BUFFER_STORES = 2                # that a store buffer has room for at first; doubled when there are more ...
BUFFER_MOST = 64                 # ... up to so many
CHANGES_MAX = 64                 # of priorities, in a run by PCT

DONE, HALTED, DEADLOCK = "done", "halted", "deadlock"        # how a schedule ends


@dataclass
class Ending:
    """A way in which a scenario ends: its kind, answers and words."""

    kind: str
    answers: tuple[tuple[str, ...], ...]     # by script, by call; "-" where a call was not made
    words: tuple[str, ...]                   # as Scenario.watched() lists them
    count: int = 0                           # states (exhaustive) or runs (sampled)
    turns: list[Turn] = field(default_factory=list)


class Search:
    """The tables of one search, and the world it takes place in."""

    def __init__(self, scenario: Scenario, memory_mib: int = MEMORY_MIB, reduce: bool = True,
                 preemptions: int = -1, forget: bool | None = None, symmetry: bool | None = None):
        self.scenario, self.preemptions = scenario, preemptions
        self.forget = reduce if forget is None else forget
        self.world = World(scenario)
        self.actors, self.memory, self.violations = self.world.actors, self.world.memory, self.world.violations
        layout, block = scenario.layout, self.world.block
        size = layout.at("image")                        # what comes behind is of real processes
        cell_at, initial = np.zeros((2, WORDS_MAX), np.int64)
        self.known = moves.Known(
            *np.zeros((5, len(block) * 8), np.uint8), *np.zeros((2, len(block)), np.int32), owned.words(scenario, self.world),
            owned.loops(scenario.program), owned.kicks(scenario), np.zeros(1, np.int64), cell_at,
            np.zeros(len(block), np.int32), initial)
        for region in (layout.by_name["shadow"], layout.by_name["mmu_owner"]):
            self.known.ghosts[region.offset:region.end] = alike.GHOST
        if not reduce:
            self.known.contested[:size] = 1 - self.known.ghosts[:size]
        symmetry = reduce if symmetry is None else symmetry
        self._tell_alike(owned.groups(scenario, self.world, self.known) if symmetry and preemptions < 0 else [])
        self.counts = np.zeros(states.COUNTS, np.int64)
        self.events = np.zeros((2 + len(self.violations), 3), np.int64)
        self.width, self.room = 64, BUFFER_STORES if scenario.tso else 0
        self.memory_bytes = memory_mib << 20
        self._allocate()
        self.seconds, self.interrupted = 0.0, False

    # --- actors that are alike (kernels/symmetry.py) ---

    def _tell_alike(self, groups: list[list[int]]) -> None:
        self.groups = groups
        owned.tell(groups, self.scenario, self.known)
        for places in groups + [[place] for place in range(self.actors) if not any(place in each for each in groups)]:
            for left, place in zip([-1, *places], places):
                registers = self.world.start_registers[place]
                self.world.arrays.alike[place] = (places[0], left, sum(1 << each for each in places),
                                     registers[R.ME], registers[R.ROLE], *registers[alike.OWN])

    def _nobody_is_alike(self) -> None:
        self._tell_alike([])
        for noted in (self.known.contested, self.known.accessors, self.known.changed, self.known.ordered):
            noted[:] = 0

    def stands(self, local: int, place: int) -> int:
        """Where an actor stands, as a number that is the same for all those that are alike."""
        if not self.groups:
            return local
        return int(self.tables.locals.twins[local, self.world.arrays.alike[place, alike.LEADER]]) - 1

    # --- tables ---

    def _allocate(self) -> None:
        """Tables as large as the memory limit allows; pages of them that are never touched cost nothing."""
        actors = self.actors
        per_state = 4 * (actors + 2) + 4 + 2 + 8 + 4 * 4 + 5 * actors       # states, index, arcs
        per_move = 8 + 8 + 8 + 4 + 4 * 4
        per_memory = 8 * self.width + 4 * 4 + 5 * actors
        rows = max(4096, int(self.memory_bytes / (per_state + per_move + per_memory / 8)))
        locals_, memories = min(rows, 1 << 17), max(4096, rows // 8)

        def index(count):
            return zeros(4 << 2 * ((2 * count).bit_length() // 2 + 1), np.int32)

        self.tables = states.Tables(
            states.Locals(zeros((locals_, buffers.columns(self.room)), np.int64), index(locals_), zeros(locals_, np.int8),
                          zeros((locals_, actors), np.int32), zeros(locals_, np.int64)),
            states.Memories(zeros((memories, self.width), np.int64), index(memories),
                            zeros((memories, actors), np.int32), zeros((memories, actors), np.int8)),
            states.Moves(zeros((rows, 1), np.int64), index(rows), zeros((rows, 2), np.int32),
                         zeros(rows, np.int64), zeros(rows, np.int32)),
            states.States(zeros((rows, actors + 2), np.int32), index(rows), zeros(rows, np.int32),
                          zeros(rows, np.int16), zeros(rows + 1, np.int64),
                          zeros(actors * rows, np.int32), zeros(actors * rows, np.int8)),
            self.counts)
        self.large = False
        self.run = kernel.Run(
            np.zeros(actors + 2, np.int32), zeros(PATH_MAX + 1, np.int16), zeros(PATH_MAX + 1, np.int32),
            np.zeros(3 + moves.ACTORS_MAX + CHANGES_MAX, np.int64), self.events, np.zeros(buffers.registers_with(self.room), np.int64),
            np.zeros((states.ROOM, 5), np.int64), np.zeros(actors, np.int64))

    def _grow_large(self) -> None:
        """There are more states than a small search has: let the tables come in large pages."""
        if not self.large:
            for table in (*self.tables.memories, *self.tables.moves, *self.tables.states):
                use_large_pages(table)
        self.large = True

    def _reset(self) -> None:
        """Begin again, knowing which words there are and which bytes are contested."""
        known, tables = self.known, self.tables
        cells = known.cells[0]
        tables.locals.twins[:self.counts[states.N_LOCALS]] = 0
        tables.memories.swapped[:self.counts[states.N_MEMORIES]] = 0
        tables.memories.ordered[:self.counts[states.N_MEMORIES]] = 0
        self.counts[:] = self.events[:] = 0
        self.world.block[known.cell_at[:cells] >> 3] = known.initial[:cells]
        tables.memories.rows[0] = 0
        for place, registers in enumerate(self.world.start_registers):
            tables.locals.rows[place] = 0
            tables.locals.rows[place, :REGISTERS], tables.locals.rows[place, REGISTERS] = registers, place
            tables.locals.fanout[place] = 1
        self.counts[states.N_LOCALS] = self.actors
        self.counts[states.N_MEMORIES] = 1

    def _call(self, scheduler: int, pause: int = PAUSE_STATES, length: int = RUN_MOVES_MAX) -> int:
        limits = np.zeros(moves.LIMITS, np.int64)
        limits[moves.PAUSE], limits[moves.PREEMPTIONS], limits[moves.MOVES] = pause, self.preemptions, length
        limits[moves.FORGET], limits[moves.WORDS], limits[moves.BUFFER] = self.forget, self.width, self.room
        limits[moves.ALIKE] = self.actors if self.groups else 0
        self.limits = limits
        ending = kernel.search(scheduler, self.world.arrays, self.known, self.tables, self.run, limits)
        assert ending != moves.UNKNOWN, f"{self.scenario.name}: a row that a search has no driver for"
        return ending

    def _begins_again(self, ending: int) -> bool:
        """Whether a search has to begin again, for which all is ready then; what it has learned is kept."""
        if ending == moves.DIFFER:
            self._nobody_is_alike()
        elif ending == moves.NARROW:
            self.width *= 2
            self._allocate()
        elif ending == moves.CRAMPED and self.room < BUFFER_MOST:
            self.room *= 2
            self._allocate()
            return True
        return ending in (moves.RESTART, moves.DIFFER, moves.NARROW)

    def settle(self) -> int:
        """Each actor up to its first contested access; `first` is then the state to start from.

        Returns RUN_ENDED, or what has kept the search from coming so far: FULL or ENDLESS.
        """
        ending = moves.RESTART
        while self._begins_again(ending):
            self._reset()
            self.run.here[:] = [*range(self.actors), 0, 0]
            self.run.path[:self.actors] = [place << 8 | moves.SETTLE for place in range(self.actors)]
            ending = self._call(kernel.GIVEN, length=self.actors)
        self.settling = [Turn(place, int(self.run.executed[place]), 0) for place in range(self.actors)]
        self.first = self.run.here.copy()
        self.settling_met = self.events[:, 0].copy()     # by flag: after how many of these turns it was met; 0: not
        self.events[:] = 0
        self.counts[states.STEPS] = self.counts[states.TRANSITIONS] = 0
        return ending

    # --- searching ---

    def scout(self, runs: int = 16) -> None:
        """Random runs, only to learn which words there are and which are contested."""
        for seed in range(runs):
            ending = moves.RESTART
            while self._begins_again(ending):
                ending = self.settle()
                if ending == kernel.RUN_ENDED:
                    self.run.dice[0] = seed
                    ending = self._call(kernel.RANDOM, length=SCOUT_MOVES)
            if ending == moves.FULL:
                return                           # the search itself will say so

    def search(self, tick: Callable[[int, int], None] = lambda *_: None) -> int:
        """Everything that can happen.  Returns how it ended: FINISHED, FULL or ENDLESS; or PAUSED, if
        it was interrupted."""
        began, ending = time.perf_counter(), moves.RESTART
        try:
            while self._begins_again(ending):
                ending = self.settle()
                if ending == kernel.RUN_ENDED:
                    self.tables.states.rows[0] = self.first
                    self.counts[states.N_STATES] = 1
                    ending = kernel.PAUSED
                    while ending == kernel.PAUSED:
                        ending = self._call(kernel.BREADTH)
                        if ending == kernel.PAUSED:
                            self._grow_large()
                            tick(int(self.counts[states.NEXT]), int(self.counts[states.N_STATES]))
        except KeyboardInterrupt:
            self.interrupted, ending = True, kernel.PAUSED
        self.tables.states.first_arc[self.counts[states.NEXT]] = self.counts[states.N_ARCS]
        self.seconds = time.perf_counter() - began
        return ending

    # --- single runs ---

    def sample(self, scheduler: int, dice: np.ndarray) -> bool:
        """One run; returns whether there was room for it.  `dice`: Run.dice at its start."""
        while True:
            self.run.dice[:] = dice
            self.run.here[:] = self.first
            self.counts[states.STEPS] = self.events[:] = 0
            if self._call(scheduler) == kernel.RUN_ENDED:
                return True
            if self.settle() != kernel.RUN_ENDED:        # knowing better, or with empty tables
                return False

    def turns(self, steps: int) -> list[Turn]:
        """The run that has just been made, as a schedule."""
        return self.settling + [
            Turn(int(way) >> 8, int(rows), int(way) & 0xFF)
            for way, rows in zip(self.run.path[:steps], self.run.executed[:steps]) if rows]

    def follow(self, ways: np.ndarray) -> bool:
        """Run as `ways` say, passing over what cannot be done; whether the run came to its end there."""
        if len(ways) >= len(self.run.path):
            self.run = self.run._replace(path=np.zeros(len(ways) + 1, np.int16),
                                         executed=np.zeros(len(ways) + 1, np.int32))
        while True:
            self.run.here[:] = self.first
            self.counts[states.STEPS] = self.events[:] = 0
            self.run.path[:len(ways)] = ways
            if self._call(kernel.GIVEN, length=len(ways)) == kernel.RUN_ENDED:
                return True
            if self.settle() != kernel.RUN_ENDED:
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

    def bytes_used(self) -> int:
        """What of the tables is in use; a page of them that was never touched is no memory."""
        counts, tables = self.counts, self.tables
        filled = ((states.N_LOCALS, states.LOCAL_MASK, tables.locals), (states.N_MEMORIES, states.MEMORY_MASK, tables.memories),
                  (states.N_MOVES, states.MOVE_MASK, tables.moves), (states.N_STATES, states.STATE_MASK, tables.states))
        used = 0
        for rows, mask, table in filled:
            for name, array in table._asdict().items():
                share = {"index": counts[mask] + 1, "arcs": counts[states.N_ARCS], "movers": counts[states.N_ARCS]}
                used += int(share.get(name, counts[rows])) * array[:1].nbytes
        return used

    def held(self, local: int) -> int:
        """How many stores an actor has in its buffer."""
        return int(self.tables.locals.rows[local, buffers.HELD]) if self.room else 0

    def buffered(self) -> int:
        """The most stores that one buffer has held."""
        return int(self.tables.locals.rows[:self.counts[states.N_LOCALS], buffers.HELD].max()) if self.room else 0

    def depth(self) -> int:
        """Moves of the longest of the shortest ways."""
        count = int(self.counts[states.N_STATES])
        state, moves = count - 1, 0
        while state > 0:
            state, moves = int(self.tables.states.parents[state]), moves + 1
        return moves

    def ending_of(self, state) -> Ending:
        """What a state without moves is; state: a row of `states`."""
        fans = [int(self.tables.locals.fanout[state[place]]) for place in range(self.actors)]
        kind = HALTED if states.DOWN in fans else DONE if not any(fans) else DEADLOCK
        answers = tuple(self._answers(place, int(state[place]), fans[place]) for place in range(self.actors))
        memory, at = int(state[self.actors]), self.tables.locals.rows
        words = self.scenario.outcome(lambda offset: self.word(memory, offset),
                                      lambda place, register: unsigned(at[state[place], register]))
        return Ending(kind, answers, words)

    def _answers(self, place: int, local: int, fan: int) -> tuple[str, ...]:
        """What an actor's calls have answered; HALT for the one that has shut the module down."""
        answers = list(answers_of(self.scenario, place, int(self.tables.locals.rows[local, R.OUTCOMES])))
        if fan == states.DOWN and NOT_MADE in answers:
            answers[answers.index(NOT_MADE)] = HALT
        return tuple(answers)

    def word(self, memory: int, offset: int) -> int:
        """The 64-bit word at an offset (moved down so that byte `offset` is its lowest)."""
        cell = offset >> 3
        value = int(self.world.start[cell])
        if self.known.cell_of[cell]:
            value ^= int(self.tables.memories.rows[memory, self.known.cell_of[cell] - 1])
        return unsigned(value) >> 8 * (offset & 7)

    def answers(self) -> set[tuple[str, str]]:
        """(call, answer) of all that has been answered."""
        program = self.scenario.program
        return {(program.calls[call], program.answers[answer].name) for call, answer in self.world.answered()}

    def entries(self) -> set[str]:
        """What the SEPT entries of 4K pages have spelled, in all memories that are in the table."""
        region, count = self.scenario.layout.by_name["sept.0"], self.counts[states.N_MEMORIES]
        words = {int(word) for word in np.unique(self.world.start[region.offset >> 3:region.end >> 3])}
        for cell in range(self.known.cells[0]):
            if region.offset <= self.known.cell_at[cell] < region.end:
                words |= {int(word) for word in np.unique(self.tables.memories.rows[:count, cell] ^ self.known.initial[cell])}
        return {spell_entry(unsigned(word)) for word in words}

    def put(self, memory: int) -> Memory:
        """Memory itself, as it is in a state."""
        self.world.block[:] = self.world.start
        cells = self.known.cells[0]
        at = self.known.cell_at[:cells] >> 3
        self.world.block[at] ^= self.tables.memories.rows[memory, :cells]
        return self.memory
