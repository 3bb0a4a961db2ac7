"""One search by several threads: a level's states are shared out, and the next level begins when all of them are expanded.
So are those that are looked up again, for judging.

Each worker has a world, registers and notes of accesses of its own; tables are shared (kernels/interned.py). What cannot be
done while others work - a value that no field has room for, a word that changes for the first time, an index that is
crowded - stops all of them, is done by one alone, and they go on. Who has nothing left to do waits asleep.
"""

from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Callable

import numpy as np

from harness.engines.explore.stored import Stored
from harness.experiment.world import World
from harness.memory.tables import apart
from kernels import atomics, moves, packed, search as kernel, states, symmetry

ALONE = kernel.ASKING, kernel.CROWDED            # endings of a worker after which it goes on alone, for one state
GATHERED_AT = 1.25               # times as many states: when what the workers have noted is put together again
TICK_S = 0.25                    # between signs of life


@dataclass(eq=False)
class Worker:
    """One thread's own: memory and record, and what kernels/search.py is given."""

    block: np.ndarray
    record: np.ndarray
    world: moves.World
    known: moves.Known
    tables: states.Tables
    run: kernel.Run
    ending: int = kernel.STOPPED


class Workers:
    """So many threads for the levels of one search."""

    def __init__(self, jobs: int, world: World, known: moves.Known, stored: Stored, run: kernel.Run):
        self.world, self.known, self.stored, self.run = world, known, stored, run
        self.laid_out, self.gathered = stored.tables, 0
        self.workers = [self._worker() for _ in range(jobs)]
        self.pool = ThreadPoolExecutor(jobs)

    def _worker(self) -> Worker:
        block, record = self.world.start.copy(), self.world.new_record()
        asks = apart(np.zeros(len(packed.ASKS), np.int64))
        arrays = self.world.arrays._replace(base=atomics.address_of(block), own=record.ctypes.data)
        known = self.known._replace(**{name: apart(getattr(self.known, name)) for name in NOTED}, asks=asks)
        run = kernel.Run(*(apart(each) for each in self.run))
        run.events[:] = run.made[:] = run.mine[:] = 0
        return Worker(block, record, arrays, known, self.stored.for_thread(asks), run)

    def level(self, limits: np.ndarray, give: Callable[[np.ndarray], None], tick: Callable[[int, int], None]) -> int:
        """Expand all states that have been found so far.  Returns an ending of kernels/search.py; FINISHED is well.

        give   gives a worker what it asks for
        """
        counts = self.stored.counts
        limits[moves.UNTIL], limits[moves.PAUSE] = counts[states.N_STATES], -1
        limits[moves.SPARE] *= kernel.LOOK_EVERY * len(self.workers)
        self._lay_out()
        for worker in self.workers:
            worker.run.mine[:], worker.ending = 0, kernel.STOPPED
        while any(worker.ending in (kernel.STOPPED, *ALONE) for worker in self.workers):
            for worker in self.workers:
                if worker.ending in ALONE:
                    self._alone(worker, limits, give)
            counts[states.STOPS] = any(worker.ending not in (kernel.STOPPED, moves.FINISHED) for worker in self.workers)
            if counts[states.STOPS]:
                break
            left = {self.pool.submit(self._go_on, worker, limits) for worker in self.workers}
            while left:
                done, left = wait(left, TICK_S)
                for each in done:
                    each.result()
                tick(int(min(counts[states.NEXT], limits[moves.UNTIL])), int(counts[states.N_STATES]))
            counts[states.STOPS] = 0
        begun = [int(worker.run.mine[0]) for worker in self.workers if worker.run.mine[0] < worker.run.mine[1]]
        counts[states.NEXT] = min([*begun, counts[states.NEXT], limits[moves.UNTIL]])
        ending = next((worker.ending for worker in self.workers if worker.ending not in (kernel.STOPPED, moves.FINISHED)), moves.FINISHED)
        if ending == moves.FINISHED and counts[states.N_STATES] > GATHERED_AT * self.gathered and self.gather():
            return moves.RESTART
        return ending

    def _lay_out(self) -> None:
        """Give each worker the tables as they lie now."""
        if self.laid_out is not self.stored.tables:
            self.laid_out = self.stored.tables
            for worker in self.workers:
                worker.tables = self.stored.for_thread(worker.known.asks)

    def _go_on(self, worker: Worker, limits: np.ndarray) -> None:
        worker.known.asks[packed.SHARED] = 1
        worker.ending = kernel.search(kernel.BREADTH, worker.world, worker.known, worker.tables, worker.run, limits)
        if worker.ending != moves.FINISHED:
            self.stored.counts[states.STOPS] = 1

    def read(self, asking: Callable[[kernel.Run, np.ndarray], kernel.Run], numbers: np.ndarray, limits: np.ndarray) -> tuple:
        """(ending, first, arcs, came) of some states, as kernels/search.py READ finds them: a share by each worker.

        asking   a worker's Run with room for what is found of some states
        """
        def of(worker: Worker, share: np.ndarray) -> tuple[int, kernel.Run]:
            run = asking(worker.run, share)
            return kernel.search(kernel.READ, worker.world, worker.known, worker.tables, run, limits), run

        with self.pool:
            found = list(self.pool.map(of, self.workers, np.array_split(numbers, len(self.workers))))
        counts = [int(run.first[-1]) for _, run in found]
        firsts = [run.first[1:] + before for (_, run), before in zip(found, np.cumsum([0, *counts]))]
        return (max(ending for ending, _ in found), np.concatenate([[0], *firsts]),
                *(np.concatenate([getattr(run, name)[:count] for (_, run), count in zip(found, counts)]) for name in ("found", "came")))

    def _alone(self, worker: Worker, limits: np.ndarray, give: Callable[[np.ndarray], None]) -> None:
        """One state by one worker while nobody else is at work; STOPPED if all can go on then."""
        limits, asks = limits.copy(), worker.known.asks
        limits[moves.PAUSE] = 1
        worker.ending = kernel.ASKING
        while worker.ending == kernel.ASKING:
            give(asks)
            self._lay_out()
            worker.block[:] = self.world.start       # a word that nobody knew to change may have been
            asks[packed.SHARED] = 0
            worker.ending = kernel.search(kernel.BREADTH, worker.world, worker.known, worker.tables, worker.run, limits)
        if worker.ending in (kernel.PAUSED, moves.FINISHED):
            worker.ending = kernel.STOPPED

    def gather(self) -> bool:
        """Put together what the workers have found; whether by all that they have noted bytes are contested that none knew to be.

        No level waits for this: what a worker does not know yet is found at the end at the latest, and then the search begins again.
        """
        self.gathered = int(self.stored.counts[states.N_STATES])
        answered = self.world.words_answered()
        for worker in self.workers:
            self.world.record[answered] |= worker.record[answered]
            for mine, all_ in zip(worker.run.events, self.run.events):
                if mine[0] and not 0 < all_[0] <= mine[0]:
                    all_[:] = mine
        return any(differs(getattr(worker.known, name), getattr(self.known, name)) for worker in self.workers for name in NOTED) and self._share_notes()

    def _share_notes(self) -> bool:
        """Whether bytes are contested by what the workers have noted together."""
        known = self.known
        for worker in self.workers:
            for name in NOTED:
                getattr(known, name)[:] |= getattr(worker.known, name)
        several = known.accessors & known.accessors - 1 != 0
        news = several & (known.changed != 0) & (known.ordered != 0) & (known.ghosts != symmetry.GHOST) & (known.contested == 0)
        known.contested[news] = 1
        for worker in self.workers:
            for name in NOTED:
                getattr(worker.known, name)[:] = getattr(known, name)
        return bool(news.any())


def differs(one: np.ndarray, other: np.ndarray) -> bool:
    """Of bytes, eight at once: seldom do any."""
    return bool((one.view(np.int64) != other.view(np.int64)).any())


NOTED = "contested", "accessors", "changed", "ordered"       # of each byte; a worker has its own until they are gathered
