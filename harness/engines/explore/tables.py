"""A search in progress: its tables, the world it takes place in, and how to read what it has found.

`Search` owns the arrays that kernels/search.py fills (that file says what is in them), gives them more
room, and turns states, moves and memories into schedules, answers and words.  What follows from what
was found is explore.py's business.
"""

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable

import numpy as np

from harness import stops
from harness.errors import UsageError
from harness.memory.block import Memory
from harness.experiment.scenario import HALT, NOT_MADE, Scenario, answers_of
from harness.experiment.schedule import Turn
from harness.experiment.world import World
from harness.engines.explore import forgetting, owned, threads
from harness.engines.explore.stored import MEMORY_SPARE, WORDS_MAX, Stored
from harness.memory.tables import free_bytes, zeros
from kernels import buffers, judging, moves, packed, search as kernel, states, symmetry as alike
from kernels.ops import REGISTERS, Register as R
from kernels.words import spell_entry, unsigned

MEMORY_MIB = 1024                # of tables, unless the command says more
READ_AT_ONCE = 1_000_000         # states that arcs are looked up of again
PAUSE_STATES = 20_000            # states between looks at the keyboard
RUN_MOVES_MAX = 100_000          # of a single run; longer ones are cut off and said to be
PATH_MAX = RUN_MOVES_MAX + 1
SCOUT_MOVES = 2_000              # of a run that is made only to learn about words
BUFFER_STORES = 2                # that a store buffer has room for at first; doubled when there are more ...
BUFFER_MOST = 64                 # ... up to so many
DISK_SHARE = 0.8                 # of what is free, for tables in files: a page that finds no room on the disk would end the process
LARGE_STATES = 500_000           # from so many on, more is forgotten: a search that small takes about a second
AGAIN = -1                       # in place of an ending: the search begins again, as it is to forget more or foresees more
LEVEL_BROAD = 500                # states of a level that are worth several threads
VIOLATIONS_MAX = states.FLAGS_LOW + states.FLAGS_HIGH - 3      # beside no_bug, no_halt, and that a move cannot be made
NO_TURNS = np.zeros((0, kernel.RUNS), np.int64)
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
                 preemptions: int = -1, forget: int | None = None, symmetry: bool | None = None, spill: Path | None = None):
        self.scenario, self.preemptions, self.spill = scenario, preemptions, spill
        self.forget = (moves.LOST_TRIES | moves.ENTRIES) * reduce if forget is None else forget & ~forgetting.MORE
        self.world = World(scenario)
        self.actors, self.memory, self.violations = self.world.actors, self.world.memory, self.world.violations
        layout, block = scenario.layout, self.world.block
        size = layout.at("image")                        # what comes behind is of real processes
        cell_at, initial = np.zeros((2, WORDS_MAX), np.int64)
        self.known = moves.Known(
            *np.zeros((5, len(block) * 8), np.uint8), *np.zeros((2, len(block)), np.int32), owned.words(scenario, self.world),
            owned.loops(scenario.program), owned.kicks(scenario), np.zeros(1, np.int64), cell_at,
            np.zeros(len(block), np.int32), initial, np.zeros(len(packed.ASKS), np.int64),
            *forgetting.NOTHING)
        for region in (layout.by_name["shadow"], layout.by_name["mmu_owner"]):
            self.known.ghosts[region.offset:region.end] = alike.GHOST
        if not reduce:
            self.known.contested[:size] = 1 - self.known.ghosts[:size]
        symmetry = reduce if symmetry is None else symmetry
        self._tell_alike(owned.groups(scenario, self.world, self.known) if symmetry and preemptions < 0 else [])
        if len(self.violations) > VIOLATIONS_MAX:
            raise UsageError(f"{scenario.name}: moves can violate {len(self.violations)} invariants, and a search tells at most {VIOLATIONS_MAX} apart;"
                             " exclusive_ownership = false leaves out three, a guest that never ends itself three")
        self.events = np.zeros((2 + len(self.violations), 3), np.int64)
        self.room, self.memory_bytes, self.spare = BUFFER_STORES if scenario.tso else 0, memory_mib << 20, MEMORY_SPARE
        if spill:
            self.memory_bytes += int(DISK_SHARE * free_bytes(spill))
        self.workers: threads.Workers | None = None
        self.jobs, self._again = 1, None         # threads of the search itself; States.first and .arcs, if they had to be looked up again
        self.allocate()
        self.seconds, self.interrupted = 0.0, False
        # What else to forget once there are many states; at once, if it is asked for.
        self.more, self.news_at = forgetting.MORE * reduce if forget is None else 0, 0
        if forget is not None:
            forgetting.forget(self, forget & forgetting.MORE)

    # --- actors that are alike (kernels/symmetry.py) ---

    def _tell_alike(self, groups: list[list[int]]) -> None:
        self.groups = groups
        owned.tell(groups, self.scenario, self.known)
        for places in groups + [[place] for place in range(self.actors) if not any(place in each for each in groups)]:
            for left, place in zip([-1, *places], places):
                registers = self.world.start_registers[place]
                self.world.arrays.alike[place] = (places[0], left, sum(1 << each for each in places),
                                     registers[R.ME], registers[R.ROLE], *registers[alike.OWN])

    def fewer_are_alike(self, but: int = -1) -> None:
        """Those that are alike are fewer: not the ones that an actor with this number is one of; nobody, if it is none."""
        groups = [places for places in self.groups if all(self.world.start_registers[place][R.ME] != but for place in places)]
        self.are_alike(groups if len(groups) < len(self.groups) else [])

    def are_alike(self, groups: list[list[int]]) -> None:
        """These are alike; what has been noted with others in mind is forgotten."""
        self._tell_alike(groups)
        for noted in (self.known.contested, self.known.accessors, self.known.changed, self.known.ordered):
            noted[:] = 0

    def _has_to_begin_again(self) -> bool:
        """Whether there are so many states that more is to be forgotten; or rows have touched what they were not known to (this a while
        later, as there may be more of that)."""
        count = int(self.counts[states.N_STATES])
        if self.more and count >= LARGE_STATES:
            more, self.more = self.more, 0
            forgetting.forget(self, more)
            self.scout(forgetting.SCOUTS)
            return True
        if not self.news_at and self._has_news():
            self.news_at = count
        return bool(self.news_at) and count > 2 * self.news_at

    def _has_news(self) -> bool:
        """Whether rows have touched what they were not known to, and that makes a difference."""
        if self.known.named[1] and forgetting.is_foreseen(self):
            self.known.named[1] = 0
        return bool(self.known.named[1])

    def stands(self, local: int, place: int) -> int:
        """Where an actor stands, as a number that is the same for all those that are alike."""
        if not self.groups:
            return local
        return int(self.tables.locals.twins[local, self.world.arrays.alike[place, alike.LEADER]]) - 1

    # --- tables ---

    @property
    def tables(self) -> states.Tables:
        return self.stored.tables

    def allocate(self) -> None:
        """Tables as large as the memory limit allows; pages of them that are never touched cost nothing."""
        self.stored = Stored(self.actors, self.room, self.memory_bytes, bool(self.groups), len(self.events) + 1,
                             self.spill)
        self._forget_read()
        self.counts, self.known = self.stored.counts, self.known._replace(asks=self.stored.asks)
        self.run = kernel.Run(
            np.zeros(self.actors + 2, np.int32), zeros(PATH_MAX + 1, np.int16), zeros(PATH_MAX + 1, np.int32),
            np.zeros(3 + moves.ACTORS_MAX + CHANGES_MAX, np.int64), self.events, np.zeros(buffers.registers_with(self.room), np.int64),
            np.zeros((states.ALIKE_ROOM, kernel.GIVEN_STATE + self.actors + 2), np.int64), np.zeros(4, np.int64), np.zeros(kernel.RUNS, np.int64), np.zeros(self.actors, np.int64), *np.zeros((2, 4), np.int64),
            *np.zeros((2, 1), np.int64), np.zeros((0, kernel.RUNS), np.int64), np.zeros((1, len(kernel.ARC)), np.int64), np.zeros((1, self.actors), np.int8))

    def _forget_read(self) -> None:
        """What has been read of the tables last is not there any more: the words of a memory, a state."""
        self._read = self._looked_at = -1, np.zeros(0, np.int64)

    def _reset(self) -> None:
        """Begin again, knowing which words there are and which bytes are contested."""
        known = self.known
        cells = int(known.cells[0])
        self._forget_read()
        self._again = None
        self.stored.reset(cells, self.spare, _note_bits(self.preemptions))
        self.events[:] = 0
        self._dismiss()
        self.world.block[known.cell_at[:cells] >> 3] = known.initial[:cells]
        self.tables.memories.table.rows[0] = 0
        for place, registers in enumerate(self.world.start_registers):
            self.tables.locals.rows[place] = 0
            self.tables.locals.rows[place, :REGISTERS], self.tables.locals.rows[place, REGISTERS] = registers, place
            self.tables.locals.fanout[place] = 1
        self.stored.hold_first()

    def _limits(self, pause: int | None = None, length: int = RUN_MOVES_MAX, wide: int = 0) -> np.ndarray:
        return np.array([PAUSE_STATES if pause is None else pause, self.preemptions, length, self.forget, WORDS_MAX, self.actors if self.groups else 0, self.room,
                         states.ALIKE_ROOM if self.groups or self.forget & moves.ORDERS else states.ROOM, self.memory_bytes, 0, wide], np.int64)

    def _call(self, scheduler: int, pause: int | None = None, length: int = RUN_MOVES_MAX, wide: int = 0) -> int:
        limits, ending = self._limits(pause, length, wide), kernel.ASKING
        while ending == kernel.ASKING:
            ending = kernel.search(scheduler, self.world.arrays, self.known, self.tables, self.run, limits)
            if ending == kernel.ASKING:
                self._give(self.stored.asks)
        assert ending != moves.UNKNOWN, f"{self.scenario.name}: a row that a search has no driver for"
        return ending

    def _give(self, asks: np.ndarray) -> None:
        """Give a worker what it asks for; nobody else is at work."""
        if asks[packed.WHAT] == packed.WIDER_MEMORY:
            self.stored.lay_out_memories(int(self.known.cells[0]))
        elif asks[packed.WHAT] == packed.WIDER_STATE:
            self.stored.lay_out_states()
        asks[packed.WHAT] = packed.NOTHING

    def _begins_again(self, ending: int) -> bool:
        """Whether a search has to begin again, for which all is ready then; what it has learned is kept."""
        if ending in (moves.RESTART, moves.DIFFER):
            self.known.touches[:] = 0            # steps are others now, and so is what each touches
        if ending == moves.DIFFER:
            self.fewer_are_alike(int(self.run.registers[R.ME]))          # who has just been at work
        elif ending == moves.CRAMPED and self.room < BUFFER_MOST:
            self.room *= 2
            self.allocate()
            return True
        return ending in (moves.RESTART, moves.DIFFER, AGAIN)

    def settle(self) -> int:
        """Each actor up to its first contested access; `first` is then the state to start from.

        Returns RUN_ENDED, or what has kept the search from coming so far: FULL or ENDLESS.
        """
        ending = AGAIN
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
        ending = AGAIN
        for seed in range(runs):
            while True:
                if self._begins_again(ending):
                    ending = self.settle()
                if ending != kernel.RUN_ENDED:
                    return                       # the search itself will say why
                self._stand_at_first()
                self.run.dice[0] = seed
                ending = self._call(kernel.RANDOM, length=SCOUT_MOVES)
                if ending == kernel.RUN_ENDED:
                    break

    def _stand_at_first(self) -> None:
        """Before a run."""
        self.run.here[:] = self.first
        self.counts[states.STEPS] = self.events[:] = 0

    def search(self, tick: Callable[[int, int], None] = lambda *_: None, jobs: int = 1, goes_on: bool = False) -> int:
        """Everything that can happen, found by so many threads.  Returns how it ended: FINISHED, FULL or ENDLESS; or
        PAUSED, if it was interrupted.

        goes_on   whether another search has begun it (checkpoint.py)
        """
        began, ending, self.spare, self.jobs = time.perf_counter() - self.seconds * goes_on, AGAIN, 0, jobs
        try:
            while goes_on or self._begins_again(ending):
                ending = kernel.PAUSED if goes_on else self._begin()
                goes_on = False
                while ending == kernel.PAUSED:
                    with stops.noted():          # so that no table is left half made
                        ending = self._go_on(tick)
                    if stops.asked() and not stops.raised():
                        raise KeyboardInterrupt      # of a script, which has no handler of ours
                    if ending == kernel.PAUSED:
                        self.stored.grow_large()
                        self.stored.drop_arcs()
                        tick(int(self.counts[states.NEXT]), int(self.counts[states.N_STATES]))
                if self._gathers():
                    ending = moves.RESTART
                elif ending == moves.FINISHED and self._has_news():
                    ending = AGAIN
        except KeyboardInterrupt:
            self.interrupted, ending = True, kernel.PAUSED
            if self._gathers():
                self._begins_again(moves.RESTART)        # what is kept is a search that knows better, at its start
                self._begin()
        finally:
            self._dismiss()
        self.seconds = time.perf_counter() - began
        return ending

    def _begin(self) -> int:
        """The first state; PAUSED is well."""
        ending = self.settle()
        if ending != kernel.RUN_ENDED:
            return ending
        if self.forget & moves.ORDERS:
            forgetting.foresee(self, self.known.touches)
            self.known.named[1] = self.news_at = 0
        self.stored.hold_state(self.first)
        return kernel.PAUSED

    def _go_on(self, tick: Callable[[int, int], None]) -> int:
        """Some of what is left, up to where a broad level begins; or that level. Whether the search is to begin again is asked there
        only, so that it does not depend on how many threads there are."""
        ending = self._call(kernel.BREADTH, wide=LEVEL_BROAD)
        if ending != kernel.BROAD:
            return ending
        if self._has_to_begin_again():
            return AGAIN
        return self._share_level(tick) if self.jobs > 1 else kernel.PAUSED

    def _share_level(self, tick: Callable[[int, int], None]) -> int:
        """The level that begins, by several threads; then as _call: PAUSED is well."""
        self.stored.grow_large()
        if self.workers is None:
            self.workers = threads.Workers(self.jobs, self.world, self.known, self.stored, self.run)
        ending = self.workers.level(self._limits(), self._give, tick)
        return kernel.PAUSED if ending == moves.FINISHED else ending

    def _gathers(self) -> bool:
        """Whether the workers, if there are any, have noted bytes together that are contested and that none knew to be."""
        return self.workers is not None and self.workers.gather()

    def _dismiss(self) -> None:
        """Without workers, until a level is worth some."""
        if self.workers:
            self.workers.pool.shutdown()
        self.workers = None

    # --- single runs ---

    def sample(self, scheduler: int, dice: np.ndarray) -> bool:
        """One run; returns whether there was room for it.  `dice`: Run.dice at its start."""
        while True:
            self.run.dice[:] = dice
            self._stand_at_first()
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
            self._stand_at_first()
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
        return self.stored.bytes_used()

    def state(self, number: int) -> np.ndarray:
        """A state: locals of each actor, memory, note."""
        if self._looked_at[0] != number:
            self._looked_at = number, self.stored.rows(slice(number, number + 1))[0]
        return self._looked_at[1]

    def successors(self, numbers: np.ndarray, turns: bool = False) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(first, arcs, came) of some states that have been expanded, as kernels/search.py READ finds them.

        turns: whether `turns_read` is then to have Run.turns.  Each move and each state is there already: that none is new says that no arc is lost.
        """
        before = self.counts[:states.TABLES].copy()
        if self.jobs > 1 and len(numbers) >= LEVEL_BROAD and not turns:
            workers = threads.Workers(self.jobs, self.world, self.known, self.stored, self.run)
            found, self.turns_read = workers.read(lambda run, some: self._asking(run, some, False), numbers, self._limits(pause=-1)), NO_TURNS
        else:
            run = self._asking(self.run, numbers, turns)
            ending = kernel.search(kernel.READ, self.world.arrays, self.known, self.tables, run, self._limits(pause=-1))
            count = int(run.first[-1])
            self.turns_read, found = run.turns[:count], (ending, run.first, run.found[:count], run.came[:count])
        assert found[0] == moves.FINISHED and (self.counts[:states.TABLES] == before).all(), (
            f"{self.scenario.name}: what a search has made is not in its tables")
        return found[1:]

    def _asking(self, run: kernel.Run, numbers: np.ndarray, turns: bool) -> kernel.Run:
        """With room for what READ finds."""
        room = states.ROOM + int(self.counts[states.TRANSITIONS])
        run.mine[:] = 0
        return run._replace(
            turns=zeros((room, kernel.RUNS), np.int64) if turns else NO_TURNS, asked=np.asarray(numbers, np.int64),
            first=np.zeros(len(numbers) + 1, np.int64), found=zeros((room, len(kernel.ARC)), np.int64), came=zeros((room, self.actors), np.int8))

    def ended(self) -> np.ndarray:
        """The states without moves, in order."""
        return np.sort(self.tables.states.ended[:self.counts[states.N_ENDED]])

    def marks(self) -> np.ndarray | None:
        """Of each state, as judging.mark marks it; None where no state is on a cycle, so that all can end."""
        if not self.counts[states.GOES_BACK]:
            return None
        count, expanded, zeros_ = int(self.counts[states.N_STATES]), int(self.counts[states.NEXT]), self.stored.zeros
        first, arcs = self.arcs(expanded)
        marks = zeros_(count, np.uint8)
        judging.mark(expanded, first, arcs, *(zeros_(count, np.int32) for _ in "lpn"), marks)
        return marks

    def arcs(self, expanded: int) -> tuple[np.ndarray, np.ndarray]:
        """States.first and .arcs of so many states, all that have been expanded."""
        if not self.counts[states.NO_ARCS]:
            return self.tables.states.first, self.tables.states.arcs
        if self._again is None:
            self._again = self._arcs_again(expanded)
        return self._again

    def _arcs_again(self, expanded: int) -> tuple[np.ndarray, np.ndarray]:
        """States.first and .arcs, looked up once more."""
        first, arcs, end = self.stored.zeros(expanded, np.int32), self.stored.zeros(int(self.counts[states.TRANSITIONS]), np.int32), 0
        for begin in range(0, expanded, READ_AT_ONCE):
            numbers = np.arange(begin, min(begin + READ_AT_ONCE, expanded))
            begins, found, _ = self.successors(numbers)
            new = arcs[end:end + len(found)]
            new[:] = found[:, kernel.THEN]
            some = begins[1:] > begins[:-1]
            new[begins[1:][some] - 1] |= states.LAST
            first[numbers] = np.where(some, end + begins[:-1], -1)
            end += len(found)
        return first, arcs

    def arcs_among(self, members: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """first_arc, arcs, movers of some states (connected.py); what leads out leads behind the last of them."""
        place_of = np.full(int(self.counts[states.N_STATES]), len(members), np.int32)
        place_of[members] = np.arange(len(members))
        first, arcs, _ = self.successors(members)
        drains = arcs[:, kernel.WAY] & 0xFF == moves.DRAIN
        return first, place_of[arcs[:, kernel.THEN]], (arcs[:, kernel.WAY] >> 8 & moves.ACTORS_MAX - 1).astype(np.int8) + moves.ACTORS_MAX * drains.astype(np.int8)

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

    def words_of(self, memory: int) -> np.ndarray:
        """The words that change, as they differ from the start in a memory."""
        number, words = self._read
        if number != memory or len(words) != self.known.cells[0]:
            words = self.stored.words(slice(memory, memory + 1), int(self.known.cells[0]))[0]
            self._read = memory, words
        return words

    def word(self, memory: int, offset: int) -> int:
        """The 64-bit word at an offset (moved down so that byte `offset` is its lowest)."""
        cell = offset >> 3
        value = int(self.world.start[cell])
        if self.known.cell_of[cell]:
            value ^= int(self.words_of(memory)[self.known.cell_of[cell] - 1])
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
                words |= {int(word) for word in np.unique(self.stored.word(count, cell) ^ self.known.initial[cell])}
        return {spell_entry(unsigned(word)) for word in words}

    def put(self, memory: int) -> Memory:
        """Memory itself, as it is in a state."""
        self.world.block[:] = self.world.start
        cells = self.known.cells[0]
        at = self.known.cell_at[:cells] >> 3
        self.world.block[at] ^= self.words_of(memory)
        return self.memory


def _note_bits(preemptions: int) -> int:
    """Bits of a state's note: how many preemptions, and who moved last (kernels/search.py `note_behind`)."""
    return 0 if preemptions < 0 else (preemptions << 8 | 0xFF).bit_length()
