"""The order in which the processes of a C litmus test take its locks, and a cycle in it.

    found = cycle(search)        of a finished search: the edges of a shortest cycle, none if there is no cycle

An edge is a lock that is held where another is waited for, as lockdep notes it.  With a cycle the processes can wait for one
another, if not in this test (a flag may keep them apart) then where nothing keeps them apart.  Two readers do not wait for
each other; who only tries a lock waits for none.  What a process holds is read from its register (protocol/litmus/locks.py)
wherever the search has seen it about to wait, so that an order which no schedule comes to is none.
"""

from typing import NamedTuple

import numpy as np

from kernels import states
from kernels.ops import REGISTERS, Op, Register as R

EXCLUSIVE, SHARED = "exclusive", "shared"
WAITS = {Op.MMU_TAKE_EXCLUSIVE: EXCLUSIVE, Op.MMU_TAKE_SHARED: SHARED}


class Edge(NamedTuple):
    """A process that holds one lock and waits for another; `local`: where it stands, as the search numbers it."""

    held: int
    held_as: str
    wanted: int
    wanted_as: str
    process: int
    row: int
    local: int


def edges(search) -> list[Edge]:
    """Each once, the first that the search has come to."""
    scenario, found = search.scenario, {}
    rows = search.tables.locals.rows[:search.counts[states.N_LOCALS]]
    takes = [number for number, row in enumerate(scenario.program.rows) if row["op"] in WAITS]
    for local in np.flatnonzero(np.isin(rows[:, R.PC], takes)).tolist():
        registers = rows[local]
        process, pc = int(registers[REGISTERS]), int(registers[R.PC])
        register, fields = scenario.held_locks.get(process, (0, {}))
        row = scenario.program.rows[pc]
        wanted, mode = int(row["offset"]), WAITS[Op(row["op"])]
        if row["base"] != R.ZERO or wanted not in {lock for lock, _ in fields}:
            continue
        for (lock, held_as), (shift, bits) in fields.items():
            if int(registers[register]) >> shift & bits and lock != wanted:
                found.setdefault((lock, held_as, wanted, mode, process), Edge(lock, held_as, wanted, mode, process, pc, local))
    return list(found.values())


def cycle(search) -> list[Edge]:
    """A shortest one."""
    known = edges(search)
    ways = [[edge] for edge in known]
    while ways:
        closed = next((way for way in ways if _waits_for(way[-1], way[0])), None)
        if closed:
            return closed
        ways = [[*way, edge] for way in ways for edge in known
                if _waits_for(way[-1], edge) and edge.held not in {each.held for each in way}]
    return []


def _waits_for(one: Edge, other: Edge) -> bool:
    """Whether who stands at one edge waits for who stands at the other."""
    return one.wanted == other.held and EXCLUSIVE in (one.wanted_as, other.held_as)


def spelled(scenario, found: list[Edge]) -> str:
    """`a is held where b is taken (P0:6 spin_lock(b)), b where a is (P1:14 spin_lock(a))`."""
    names = scenario.names_of_addresses
    return ", ".join(f"{names[edge.held]} is held where {names[edge.wanted]} is taken ({scenario.program.listing[edge.row].text})"
                     for edge in found)
