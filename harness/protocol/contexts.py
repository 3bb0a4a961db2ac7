"""The contexts of a program (kernels/contexts.py): which registers are still read, by row and by what decides where an actor goes on.

`contexts(program, entries, ...)` follows the program from where its actors begin, with what is known of the registers in
`CONTROL`, and then asks, of each context and not of each row, what is read from there on.
"""

import functools

import numpy as np

from harness.memory.layout import TDVPS_BYTES, TDVPS_EPOCH, TDVPS_STATE, TDVPS_STEPPING, TDVPS_TLB
from harness.protocol.assemble import Program
from harness.protocol.liveness import ALWAYS, ALWAYS_DEAD, all_successors, row_bits
from kernels.contexts import EXITS, OVER, Contexts, Walk, find_contexts, find_live
from kernels.ops import OP_TABLE, REGISTERS, Op, Register as R
from kernels.words import VCPU_READY, signed

# Where calls return to, where a guest goes on, and what a call has answered: in the end, by passes, as each new one multiplies contexts.
RETURNS, ANSWERED = (R.LINK, R.RESUME, R.RETURN), (R.STATUS, R.REFUSED, R.STOPPING, OVER)
CONTROL = RETURNS + ANSWERED
ROOM = 100_000                   # contexts; a program that has more is taken by its rows alone
NONE = Contexts(np.zeros(1, np.int32), np.zeros(0, np.int64), np.zeros((0, 0), np.int64), np.zeros((0, 0), np.int64), np.zeros((0, 4), np.int64), np.zeros(REGISTERS, np.int64),
                np.full(EXITS, -1), np.zeros(0, np.uint8), np.zeros(1, np.int32), np.zeros(0, np.int32))


def none(rows: int) -> Contexts:
    """No context for any of so many rows."""
    return NONE._replace(first=np.zeros(rows + 1, np.int32), flushes=np.zeros(rows, np.uint8))


@functools.lru_cache(maxsize=64)
def contexts(program: Program, entries: frozenset[tuple[int, tuple[int, ...]]], leave: int, live: bytes) -> Contexts:
    """The contexts that actors can come to.

    entries  the row at which each begins, and what it has in each register of CONTROL
    leave    the row at which a script that is over goes on, or 0
    live     int64 (R,) as bytes: moves.World.live
    """
    by_row = np.frombuffer(live, np.int64)
    returns = _pass(program, entries, leave, by_row, RETURNS)
    if returns is None:
        return none(len(program.rows))
    closer = np.zeros(len(program.rows), np.int64)
    np.bitwise_or.at(closer, np.repeat(np.arange(len(program.rows)), np.diff(returns.first)), returns.live[:, 0])
    return _pass(program, entries, leave, by_row & closer, CONTROL) or returns


def _pass(program: Program, entries, leave: int, live: np.ndarray, control) -> Contexts | None:
    """The contexts by some registers; None if there are too many.  live: by row, so that a register that is not read makes no difference."""
    rows, columns, room = program.rows, len(control), ROOM
    listed = _listed(program)
    reads, writes, may = (np.array([_words(row_bits(row, fields(OP_TABLE[row["op"]]))) for row in listed], np.int64)
                          for fields in (lambda op: op.reads, lambda op: op.writes, lambda op: (*op.writes, *op.may_write)))
    may &= ~_words(1 << OVER)
    whole, tested = reads.copy(), np.zeros(REGISTERS, np.int64)
    for number, row in enumerate(listed):
        if row["op"] == Op.TEST and row["source"] == R.ZERO:
            whole[number] &= ~_words(1 << row["register"])
            tested[row["register"]] |= row["mask"]
    reads, writes = np.hstack([reads, whole]), np.hstack([writes, writes])
    behind = all_successors(program)
    first_then = np.concatenate([[0], np.cumsum([len(each) for each in behind])]).astype(np.int32)
    walk = Walk(np.zeros(2, np.int64), np.zeros(room, np.int32), np.zeros((room, columns), np.int64), np.zeros((room, columns), np.int64),
                np.zeros(room, np.int32), np.zeros(len(rows), np.int32), np.zeros(room + 1, np.int32), np.zeros(4 * room, np.int32),
                np.zeros((room, 4), np.int64), np.zeros((2, columns), np.int64))
    for number, (row, values) in enumerate(sorted(entries)):
        known = [register >= 64 or bool(int(live[row]) >> register & 1) for register in control]
        walk.pcs[number], walk.same[number], walk.last[row] = row, walk.last[row], number + 1
        walk.values[number] = [value if is_known else 0 for value, is_known in zip(values, known)]
        walk.bits[number] = [-1 if is_known else 0 for is_known in known]
        walk.count[0] += 1
    there_is_room = find_contexts(rows, may, first_then, np.array(sum(behind, []), np.int32), leave,
                                  np.array(control, np.int64), live, walk)
    if not there_is_room:
        return None
    find_live(reads, writes, walk)
    count = int(walk.count[0])
    # What is not read any more may be anything, as may bits that no test looks at.
    for column, register in enumerate(control):
        read, whole_read = (walk.live[:count, word] >> (register & 63) & 1 != 0 for word in (register >> 6, 2 + (register >> 6)))
        walk.bits[:count, column] &= np.where(whole_read | (register == OVER), -1, np.where(read, tested[register], 0))
    # Of one row those first that know most: the first one that agrees is taken.
    order = np.lexsort((-np.bitwise_count(walk.bits[:count].view(np.uint64)).sum(axis=1, dtype=np.int64), walk.pcs[:count]))
    place = np.zeros(count, np.int32)
    place[order] = np.arange(count)
    targets = np.where(walk.edges < 0, ~walk.edges, walk.edges)
    edges = [place[targets[walk.first[at]:walk.first[at + 1]]] for at in order]
    always, never = (np.tile(_words(sum(1 << register for register in some)), 2) for some in ((*ALWAYS, R.ROLE, R.OUTCOMES), ALWAYS_DEAD))
    return Contexts(np.searchsorted(walk.pcs[order], np.arange(len(rows) + 1)).astype(np.int32), np.array(control, np.int64),
                    walk.values[order], walk.bits[order], (walk.live[order] | always) & ~never, tested,
                    np.array([TDVPS_STATE, VCPU_READY, TDVPS_EPOCH, TDVPS_STEPPING, TDVPS_TLB, TDVPS_BYTES]), flushes(rows),
                    np.concatenate([[0], np.cumsum([len(each) for each in edges])]).astype(np.int32), np.concatenate(edges).astype(np.int32))


def _words(bits: int) -> np.ndarray:
    """A set of registers as two words of 64 bits."""
    return np.array([signed(bits), signed(bits >> 64)], np.int64)


def _listed(program: Program) -> list[dict]:
    return [dict(zip(program.rows.dtype.names, values)) for values in program.rows.tolist()]


def flushes(rows: np.ndarray) -> np.ndarray:
    """uint8 (R,): 1 where a row is part of a flush at an entry: phrases/vcpus.py CountIn."""
    stores_epoch = (rows["op"] == Op.STORE) & (rows["base"] == R.TDVPS) & (rows["offset"] == TDVPS_EPOCH)
    return ((rows["op"] == Op.TLB_FORGET) | stores_epoch).astype(np.uint8)


def halves(program: Program, live: np.ndarray) -> np.ndarray:
    """uint8 (R,): 1 where a row loads 8 bytes only for the row behind it to take the upper four out of them."""
    rows = program.rows
    behind = rows[rows["next"]]
    takes = (behind["op"] == Op.INDEX) & (behind["source"] == rows["register"]) & (behind["base"] != rows["register"]) & (behind["width"] >= 32)
    read_on = (live[behind["next"]] >> np.minimum(rows["register"], 63).astype(np.int64) & 1 != 0) & (behind["register"] != rows["register"])
    return ((rows["op"] == Op.LOAD) & (rows["width"] == 64) & (rows["mask"] == 0) & (rows["match"] == 0) & (rows["register"] < 64)
            & takes & ~read_on).astype(np.uint8)
