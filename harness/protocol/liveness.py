"""Which registers are still going to be read: at each row of a program, as a set of bits.

Two states of an actor that differ only in a register that nobody reads any more are one state.  The
search through all interleavings (engines/explore.py) clears such registers, so what is said here
must be right or say too much: READS and WRITES are what `machine.step` does, op by op.

A row that goes on at an address in a register may go on wherever such an address is made: behind any
CALL (R.LINK), or at any label that was put into that register.
"""

import numpy as np

from harness.protocol.assemble import Program
from kernels.ops import OP_TABLE, Kind, Op, Register as R
from kernels.words import signed

BASE, SOURCE, REGISTER = "base", "source", "register"        # the register that the row names

ALWAYS = (R.PC, R.ME, R.DRAWS)             # R.OUTCOMES, beyond the 64 bits, is kept as well
ALWAYS_DEAD = (R.LOST_SWAPS, R.SINK)

_WORD = {op: (BASE,) for op in (
    Op.SHAREX_TAKE_SHARED, Op.SHAREX_TAKE_EXCLUSIVE, Op.SHAREX_DROP_SHARED, Op.SHAREX_DROP_EXCLUSIVE,
    Op.HP_TAKE_SHARED, Op.HP_CLEAR, Op.HP_REQUEST, Op.HP_TAKE_EXCLUSIVE, Op.HP_TAKE_OVER_PRIORITY,
    Op.HP_DROP_SHARED, Op.HP_CHECK_EXCLUSIVE, Op.HP_DROP_EXCLUSIVE, Op.ENTRY_TAKE,
    Op.ENTRY_CLEAR_PRIORITY, Op.ENTRY_REQUEST_PRIORITY, Op.ENTRY_SEE_PRIORITY, Op.ENTRY_CHECK,
    Op.HP_PROMOTE, Op.HP_PROMOTE_OVER_PRIORITY, Op.MUTEX_TAKE, Op.MUTEX_DROP, Op.ENTRY_DROP, Op.LOAD, Op.LOAD_IN, Op.READ_ENTRY, Op.OR,
    Op.AND, Op.ZERO_PAGE, Op.MMU_TAKE_SHARED, Op.MMU_TAKE_EXCLUSIVE,
    Op.MMU_DROP_SHARED, Op.MMU_DROP_EXCLUSIVE)}
READS = {
    **_WORD,
    **dict.fromkeys((Op.STORE, Op.EXCHANGE, Op.ADD, Op.ENTRY_REPLACE, Op.WAIT_IS, Op.WAIT_NOT, Op.INDEX, Op.COMPUTE), (BASE, SOURCE)),
    Op.SWAP: (BASE, SOURCE, REGISTER),
    Op.WALK: (BASE, R.LEVEL),
    **dict.fromkeys((Op.LET, Op.MERGE, Op.STATE, Op.IN), (SOURCE,)),
    **dict.fromkeys((Op.TEST, Op.EPOCH_TRACKED), (REGISTER, SOURCE)),
    **dict.fromkeys((Op.GO, Op.EPOCH_PREVIOUS), (REGISTER,)),
    Op.CALL: (), Op.ANSWER: (),
    Op.STEPPING_ENTER: (BASE, R.RIP), Op.STEPPING_LISTED: (BASE, R.INDEX),
    Op.STEPPING_EXIT: (BASE, R.RIP), Op.STEPPING_LOG: (BASE, R.RIP, R.PAGE),
    Op.TLB_FIND: (BASE, R.GUEST_PAGE), Op.TLB_REMEMBER: (BASE, R.GUEST_PAGE, R.GENERATION),
    Op.TLB_FORGET: (BASE,), Op.SIGN: (R.GUEST_PAGE, R.GENERATION),
    **{info.op: () for info in OP_TABLE if info.kind == Kind.DRIVER},
    Op.BUG: (R.CALL, R.ANSWER), Op.CALL_END: (R.CALL, R.ANSWER),
}
# What an op certainly writes; STEPPING_LISTED does not always write what it may.
WRITES = {
    **dict.fromkeys((Op.LOAD, Op.LOAD_IN, Op.EXCHANGE, Op.SWAP, Op.ADD, Op.OR, Op.AND, Op.LET, Op.MERGE, Op.INDEX, Op.COMPUTE,
                     Op.STATE, Op.ENTRY_REPLACE, Op.OVERDUE), (REGISTER,)),
    Op.WALK: (R.COPY, R.WALK), Op.READ_ENTRY: (R.COPY, R.STATE), Op.CALL: (R.LINK,), Op.ANSWER: (R.STATUS, R.ANSWER),
    Op.TLB_FIND: (R.GENERATION,), Op.SIGN: (R.SIGNATURE,), Op.POLL: (R.STOPPING,),
    Op.CALL_BEGIN: (R.CALL,), Op.CHOOSE: (REGISTER,),
}


def _bits(row, what) -> int:
    return sum({1 << (int(row[name]) if isinstance(name, str) else int(name)) for name in what})


def live_registers(program: Program, leave: tuple[int, ...] = ()) -> np.ndarray:
    """int64 (R,): bit r of element n is set if register r may be read at row n or behind it.

    leave   rows that a driver may go on at instead of making a choice
    """
    rows = program.rows
    reads = [_bits(row, READS.get(row["op"], (BASE, SOURCE, REGISTER))) for row in rows]
    writes = [_bits(row, WRITES.get(row["op"], ())) for row in rows]
    behind = [successors(row, rows) + (list(leave) if row["op"] == Op.CHOOSE else []) for row in rows]
    before: list[list[int]] = [[] for _ in rows]
    for number, targets in enumerate(behind):
        for target in targets:
            before[target].append(number)
    live = list(reads)
    waiting = list(range(len(rows)))
    while waiting:
        number = waiting.pop()
        out = 0
        for target in behind[number]:
            out |= live[target]
        now = reads[number] | out & ~writes[number]
        if now != live[number]:
            live[number] = now
            waiting += before[number]
    always, never = (sum(1 << register for register in some) for some in (ALWAYS, ALWAYS_DEAD))
    return np.array([signed((bits | always) & ~never) for bits in live], np.int64)


def successors(row, rows) -> list[int]:
    """The rows that a row may go on at."""
    op = Op(row["op"])
    if op == Op.GO:
        if row["register"] == R.LINK:
            return sorted({int(other["otherwise"]) for other in rows if other["op"] == Op.CALL})
        return sorted({int(other["value"]) for other in rows
                       if other["op"] == Op.LET and other["register"] == row["register"]
                       and other["source"] == R.ZERO})
    if op in (Op.HALT, Op.STOP):
        return []
    if op == Op.CALL:
        return [int(row["next"])]        # `otherwise` is where it comes back: reached by GO
    outcomes = OP_TABLE[op].outcomes
    targets = [int(row["next"])] + [int(row[field]) for field in ("otherwise", "priority")[:outcomes - 1]]
    return sorted(set(targets))
