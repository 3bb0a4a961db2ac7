"""A search in progress: its tables, the world it takes place in, and how to read what it has found.

`Search` owns the arrays that kernels/search.py fills (that file says what is in them), gives them more
room, and turns states, moves and memories into schedules, answers and words.  What follows from what
was found is explore.py's business.
"""

import itertools
import time
from dataclasses import dataclass, field
from typing import Callable

import numpy as np

from harness.memory.block import Memory
from harness.experiment.scenario import HALT, NOT_MADE, Scenario, answers_of
from harness.experiment.schedule import Turn, leave_of
from harness.protocol.counters import VIOLATIONS
from kernels import symmetry as alike, search as kernel
from kernels.ops import REGISTERS, Register as R
from kernels.words import spell_entry, unsigned

MEMORY_MIB = 1024                # of tables, unless the command says more
PAUSE_STATES = 200_000           # states between looks at the keyboard
RUN_MOVES_MAX = 100_000          # of a single run; longer ones are cut off and said to be
PATH_MAX = RUN_MOVES_MAX + 1
WORDS_MAX = 4096

DONE, HALTED, DEADLOCK = "done", "halted", "deadlock"        # how a schedule ends


@dataclass
class Ending:
    """A way in which a scenario ends, told apart by kind, answers and words."""

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
        self.counters = [name for name in program.counters if name in VIOLATIONS]
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

    # --- actors that are alike (kernels/symmetry.py) ---

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
        """Where an actor stands, as a number that is the same for all those that are alike.

        Where nobody has made a move, nobody has looked for twins: all are where the first of them is.
        """
        if not self.groups:
            return local
        leader = self.alike[place, alike.LEADER]
        twin = int(self.twins[local, leader])
        return twin - 1 if twin else int(self.first[leader])

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
        answers = tuple(self._answers(place, int(state[place]), fans[place]) for place in range(self.actors))
        words = self.words(int(state[self.actors]))
        return Ending(kind, answers, words)

    def _answers(self, place: int, local: int, fan: int) -> tuple[str, ...]:
        """What an actor's calls have answered; HALT for the one that has shut the module down."""
        answers = list(answers_of(self.scenario, place, int(self.locals[local, R.OUTCOMES])))
        if fan == kernel.DOWN and NOT_MADE in answers:
            answers[answers.index(NOT_MADE)] = HALT
        return tuple(answers)

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
