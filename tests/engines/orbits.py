"""How many states of a search are different, if those that are alike are exchanged: counted from all states of a plain search.

Apart from the code that searches one state of each (kernels/states.py): each actor's registers and memory's words are
rewritten for every order of the actors, and the least is kept.  Actors that are kicked one after the other are only exchanged
on the same side of each loop that is in progress.
"""

import itertools

import numpy as np

from harness.engines.explore.tables import Search
from kernels import states, symmetry
from kernels.ops import REGISTERS, Register as R


def orbits(plain: Search, group: list[int]) -> tuple[int, bool]:
    """(how many there are; whether each state's every image is a state that the plain search has met)."""
    known, counts, tables, actors = plain.known, plain.counts, plain.tables, plain.actors
    rows = plain.stored.rows(slice(0, int(counts[states.N_STATES])))[:, :actors + 1]
    locals_, start = tables.locals.rows[:counts[states.N_LOCALS]], plain.world.start_registers
    changed = (known.cell_at[:known.cells[0]] >> 3).tolist()
    parts = {part for place in group for part, word in enumerate(known.own[place].tolist()) if word in changed}
    words = sorted({*changed, *(int(known.own[place, part]) for place in group for part in parts)})
    at = {word: place for place, word in enumerate(words)}
    values = np.tile(plain.world.start[words], (int(counts[states.N_MEMORIES]), 1))
    values[:, [at[word] for word in changed]] ^= plain.stored.words(slice(0, len(values)), len(changed))
    # The processor that a vCPU is associated with is the second word of its TDVPS, behind a cache line of KVM's word.
    processors = [int(known.own[place, 9]) for place in group]
    named = [place for place, word in enumerate(words) if known.ghosts[8 * word] == symmetry.GHOST or word in processors]
    kicks = [int(start[place][R.KICK]) for place in range(actors)]
    numbers: dict[bytes, int] = {}
    least = everything = None
    closed = True
    for order in itertools.permutations(group):
        to = dict(zip(range(actors), range(actors))) | dict(zip(group, order))
        stands = np.array([to[place] for place in range(actors)])
        image, mine = locals_.copy(), locals_[:, REGISTERS]
        for register in (R.ME, R.ROLE, R.TDVPS, R.TDVPR_4K, R.KICK):
            of = np.array([registers[register] for registers in start])
            image[:, register] = np.where(image[:, register] != 0, of[stands[mine]], 0)
        image[:, REGISTERS] = stands[mine]
        memory = values.copy()
        for place in group:
            for part in parts:
                memory[:, at[int(known.own[to[place], part])]] = values[:, at[int(known.own[place, part])]]
        names = np.arange(1 << 16, dtype=np.uint16)
        names[[place + 1 for place in range(actors)]] = stands + 1
        memory[:, named] = names[np.ascontiguousarray(memory[:, named]).view(np.uint16)].view(np.int64)
        local_at, memory_at = (np.array([numbers.setdefault(row.tobytes(), len(numbers)) for row in table])
                               for table in (image, memory))
        found = np.empty(rows.shape, np.int64)
        for place in range(actors):
            found[:, to[place]] = local_at[rows[:, place]]
        found[:, actors] = memory_at[rows[:, actors]]
        keys = list(map(tuple, found.tolist()))
        allowed = _allowed(locals_, rows, known, kicks, to)
        everything = everything or set(keys)
        closed &= all(key in everything for key, may in zip(keys, allowed) if may)
        least = [min(before, key) if may else before for before, key, may in zip(least or keys, keys, allowed)]
    return len(set(least or ())), closed


def _allowed(locals_, rows, known, kicks, to) -> np.ndarray:
    """Of each state, whether no loop over all vCPUs has kicked one of those that change places, and not the other."""
    allowed = np.ones(len(rows), bool)
    cursors = locals_[:, R.CURSOR]
    within = np.zeros(len(locals_), bool)
    for begin, end in known.kicks:
        within |= (begin <= cursors) & (cursors < end)
    begun = known.loops[locals_[:, R.PC]] != symmetry.PICKS
    for one, other in to.items():
        low, high = sorted((kicks[one], kicks[other]))
        bad = within & ((low < cursors) & (cursors <= high) | begun & (low <= cursors) & (cursors < high))
        for place in range(rows.shape[1] - 1):
            allowed &= ~bad[rows[:, place]]
    return allowed
