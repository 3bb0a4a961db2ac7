"""What each row of a program has to do with a store buffer: ops.Order, for this program.

A store is held back only where it can make a difference: if some way from it leads to a plain load before the next
locked instruction.  Any other store that waits is as good as an actor that has not come so far, which the search has
already; it is made at once, with the buffer empty.
"""

import numpy as np

from harness.protocol.assemble import Program
from harness.protocol.liveness import all_successors
from kernels.ops import OP_TABLE, Op, Order

# The beginning and the end of a SEAMCALL or a TDCALL, which drain the buffer or do not.  Intel's manuals do not list VM entries
# and exits among what orders memory (SDM 3A, 8.3 and 9.2), though both are serialising in effect: hence a choice.
BOUNDARIES = (Op.CALL_BEGIN, Op.CALL_END)
# Of EXCHANGE rows some are of the words of our own checks (Call.check_owner), which order nothing.
MAY_BE_OURS = (Op.EXCHANGE,)


def orders(program: Program, seamcall_drains: bool = True, at_once: frozenset[int] = frozenset()) -> np.ndarray:
    """int64 (R,): Order of each row; STORE only where the store is held back.

    at_once   rows that all see at once, while earlier stores of the actor still wait
    """
    ops, behind = program.rows["op"].tolist(), all_successors(program)
    found = [OP_TABLE[op].order for op in ops]
    if seamcall_drains:
        found = [Order.LOCKED if op in BOUNDARIES else order for op, order in zip(ops, found)]
    found = [Order.NONE if number in at_once else order for number, order in enumerate(found)]
    before: list[list[int]] = [[] for _ in ops]
    for number, targets in enumerate(behind):
        for target in targets:
            before[target].append(number)
    # Where a plain load may come before a locked instruction, from this row on.
    loads = [order == Order.LOAD for order in found]
    waiting = [number for number, load in enumerate(loads) if load]
    while waiting:
        for number in before[waiting.pop()]:
            passes = found[number] != Order.LOCKED or ops[number] in MAY_BE_OURS
            if not loads[number] and passes:
                loads[number] = True
                waiting.append(number)
    ahead = [order == Order.STORE and any(loads[target] for target in targets) for targets, order in zip(behind, found)]
    return np.array([Order.LOCKED if order == Order.STORE and not load else order for order, load in zip(found, ahead)], np.int64)
