"""Tables by which an actor that was refused finds out who holds the lock (kernels/blame.py).

From the program: which locks are held at each row, and which call the row is in.  From the plan: how
long a call may take before it must have been preempted, which is the work that the config gives it,
the time that its loops and zeroing pages take, and SLACK_NS for everything else.
"""

import numpy as np

from harness.memory.layout import ENTRIES
from harness.memory.block import Memory
from harness.experiment.plan import Plan
from harness.protocol.assemble import Program
from kernels import blame
from kernels.ops import OP_TABLE, Fact, Op

# What a call takes beyond its programmed work: ten times a contended call's p99 (about 1 us), far
# below any scheduler's slice (0.7 ms).
SLACK_NS = 10_000
LOOP_ROW_NS = 5                  # a micro-op, each time round; `make bench` measures 4
NEVER_NS = 1 << 50               # 13 days
ZEROING_BYTES_PER_NS = 2         # slower than any memory that this runs on


MODES = {"shared": blame.SHARED, "exclusive": blame.EXCLUSIVE}


def others(plan: Plan, memory: Memory, processors: list[int], ticks_per_ns: float) -> blame.Others:
    """Where a worker of this memory finds all that; it is not to look if the plan does not want it.

    processors   what the actors are pinned to, in turn
    """
    holds, locks = rows_and_locks(plan.program)
    limits = np.array([round(limit * ticks_per_ns) for limit in limits_ns(plan)], np.int64)
    pinned = np.array([processors[plan.processor_of(actor, len(processors))] for actor in plan.actors], np.int64)
    registers, records = (plan.layout.by_name[name] for name in ("registers", "records"))
    return blame.Others(
        len(plan.actors) if plan.attributes() else 0, holds, locks, limits, pinned,
        memory.base + registers.offset, registers.stride, memory.base + records.offset, records.stride)


def rows_and_locks(program: Program) -> tuple[np.ndarray, np.ndarray]:
    """(int64 (rows, HOLD_WORDS), int64 (locks, LOCK_WORDS)) of a program."""
    first_of: dict[tuple, int] = {}
    locks, holds = [], []
    for row in program.listing:
        found = [(lock.base, lock.offset, MODES[lock.mode]) for lock in row.held]
        if Fact.TAKES in OP_TABLE[row.op].facts:
            found.append((row.base, row.offset, blame.PERHAPS))
        first = first_of.setdefault(tuple(found), len(locks))
        locks += found if first == len(locks) else []
        holds.append((first, first + len(found), program.call_number(row)))
    return (np.array(holds, np.int64).reshape(-1, blame.HOLD_WORDS),
            np.array(locks, np.int64).reshape(-1, blame.LOCK_WORDS))


def limits_ns(plan: Plan) -> list[int]:
    """By call: how long it takes if it is not preempted; last, for rows that are in none.

    A vCPU holds locks while its guest runs, for as long as it likes.
    """
    limits = [SLACK_NS] * len(plan.program.calls) + [NEVER_NS]
    costs, again = plan.costs_ns(), rows_in_loops(plan.program)
    for pc, row in enumerate(plan.program.listing):
        call, times = plan.program.call_number(row), ENTRIES if pc in again else 1
        if row.op == Op.SPEND:
            limits[call] += costs[row.value]
        elif row.op == Op.ZERO_PAGE:
            limits[call] += times * row.value // ZEROING_BYTES_PER_NS
        limits[call] += (times - 1) * LOOP_ROW_NS
    return limits


def rows_in_loops(program: Program) -> set[int]:
    """The rows of calls that can be reached again from themselves (and what lies between two loops).

    What nothing leads to, or what leads nowhere, is in no loop; that is taken away until nothing is.
    """
    calls = [row.call for row in program.listing]
    leads_to = {pc: set() for pc, call in enumerate(calls) if call in program.calls}
    comes_from = {pc: set() for pc in leads_to}
    for pc in leads_to:
        outcomes = OP_TABLE[program.listing[pc].op].outcomes
        for target in [int(program.rows[pc][name]) for name in ("next", "otherwise", "priority")[:outcomes]]:
            if target in leads_to and calls[target] == calls[pc]:
                leads_to[pc].add(target)
                comes_from[target].add(pc)
    ends = [pc for pc in leads_to if not leads_to[pc] or not comes_from[pc]]
    while ends:
        pc = ends.pop()
        for target in leads_to.pop(pc, ()):
            comes_from[target].discard(pc)
            ends += [target] if not comes_from[target] else []
        for source in comes_from.pop(pc, ()):
            leads_to[source].discard(pc)
            ends += [source] if not leads_to[source] else []
    return set(leads_to)
