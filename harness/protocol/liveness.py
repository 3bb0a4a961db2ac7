"""Which registers are still going to be read: at each row of a program, as a set of bits.

Two states of an actor that differ only in a register that is not read any more are one state.  The
search through all interleavings (engines/explore/) clears such registers, so what is said here must be
right or say too much.  What each micro-op reads and writes are columns of kernels.ops.OP_TABLE.

A row that goes on at an address in a register may go on wherever such an address is made: behind any
CALL (R.LINK), or at any label that was put into that register.
"""

import functools

import numpy as np

from harness.protocol.assemble import Program
from kernels.ops import OP_TABLE, ROW, Op, Register as R, registers_of
from kernels.words import signed

ALWAYS = (R.PC, R.ME, R.DRAWS)             # R.OUTCOMES, beyond the 64 bits, is kept as well
ALWAYS_DEAD = (R.LOST_SWAPS, R.SINK)


def row_bits(row, fields) -> int:
    return sum(1 << register for register in registers_of(row, fields))


def live_registers(program: Program, leave: tuple[int, ...] = (), kept: dict[int, set[int]] | None = None) -> np.ndarray:
    """int64 (R,): bit r of element n is set if register r may be read at row n or behind it.

    leave   rows that a driver may go on at instead of making a choice
    kept    by row: further registers that are looked at when an actor has come there
    """
    rows, kept = [dict(zip(ROW.names, values)) for values in program.rows.tolist()], kept or {}
    reads = [row_bits(row, OP_TABLE[row["op"]].reads) | sum(1 << register for register in kept.get(number, ()))
             for number, row in enumerate(rows)]
    writes = [row_bits(row, OP_TABLE[row["op"]].writes) for row in rows]
    # A driver that leaves instead of making a choice writes nothing.
    instead = [list(leave) if row["op"] == Op.CHOOSE else [] for row in rows]
    behind = all_successors(program)
    before: list[list[int]] = [[] for _ in rows]
    for number, (targets, others) in enumerate(zip(behind, instead)):
        for target in targets + others:
            before[target].append(number)
    live = list(reads)
    waiting = list(range(len(rows)))
    while waiting:
        number = waiting.pop()
        now = reads[number]
        for target in behind[number]:
            now |= live[target] & ~writes[number]
        for target in instead[number]:
            now |= live[target]
        if now != live[number]:
            live[number] = now
            waiting += before[number]
    always, never = (sum(1 << register for register in some) for some in (ALWAYS, ALWAYS_DEAD))
    return np.array([signed((bits | always) & ~never) for bits in live], np.int64)


@functools.lru_cache(maxsize=64)
def all_successors(program: Program) -> tuple[list[int], ...]:
    """`successors` of each row of a program."""
    return tuple(successors(dict(zip(ROW.names, values)), program.rows) for values in program.rows.tolist())


def successors(row, rows) -> list[int]:
    """The rows that a row may go on at."""
    op = row["op"]
    if op == Op.GO:
        if row["register"] == R.LINK:
            return np.unique(rows["otherwise"][rows["op"] == Op.CALL]).tolist()
        put = (rows["op"] == Op.LET) & (rows["register"] == row["register"]) & (rows["source"] == R.ZERO)
        return np.unique(rows["value"][put]).tolist()
    if op in (Op.HALT, Op.STOP):
        return []
    if op == Op.CALL:
        return [int(row["next"])]        # `otherwise` is where it comes back: reached by GO
    outcomes = OP_TABLE[op].outcomes
    targets = [int(row["next"])] + [int(row[field]) for field in ("otherwise", "priority")[:outcomes - 1]]
    return sorted(set(targets))
