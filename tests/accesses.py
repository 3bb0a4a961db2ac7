"""What an actor does to shared memory, in order: each access with its word and what became of it.

    accesses = recorded(actor)           # to the end of its call
    [str(access) for access in accesses] # "xadd+4 pamt_4k.control[0]: 0x0 -> 0x4"

One access is one row that touches shared memory, however the module's own instruction is called; reads and
writes of words that only the vCPU's processor uses are not recorded, but for the two that a TLB or the
zero-step mitigation is about.
"""

import functools
from typing import NamedTuple

from kernels.ops import OP_TABLE, Kind, Op
from tests.stage import stopping_at

# The instruction of the module that an op stands for.  Those of one lock discipline are distinguished.
VERBS = {
    Op.SHAREX_TAKE_SHARED: "xadd+2", Op.SHAREX_TAKE_EXCLUSIVE: "cmpxchg 0>1",
    Op.SHAREX_DROP_SHARED: "xadd-2", Op.SHAREX_DROP_EXCLUSIVE: "xchg 0",
    Op.HP_TAKE_SHARED: "xadd+4", Op.HP_CLEAR: "and ~2", Op.HP_REQUEST: "or 2",
    Op.HP_TAKE_EXCLUSIVE: "cmpxchg 0>1", Op.HP_TAKE_OVER_PRIORITY: "cmpxchg 2>1",
    Op.HP_DROP_SHARED: "xadd-4", Op.HP_CHECK_EXCLUSIVE: "load", Op.HP_DROP_EXCLUSIVE: "and 2",
    Op.HP_PROMOTE: "cmpxchg 4>1", Op.HP_PROMOTE_OVER_PRIORITY: "cmpxchg 6>1",
    Op.ENTRY_TAKE: "bts EL", Op.ENTRY_CLEAR_PRIORITY: "btr HP", Op.ENTRY_REQUEST_PRIORITY: "bts HP",
    Op.ENTRY_SEE_PRIORITY: "load", Op.ENTRY_CHECK: "load", Op.ENTRY_DROP: "btr EL", Op.ENTRY_REPLACE: "cas",
    Op.MUTEX_TAKE: "cmpxchg 0>1", Op.MUTEX_DROP: "cmpxchg 1>0",
    Op.LOAD: "load", Op.LOAD_IN: "load", Op.WALK: "load", Op.READ_ENTRY: "load",
    Op.STORE: "store", Op.EXCHANGE: "xchg", Op.SWAP: "cas", Op.ADD: "add", Op.OR: "or", Op.AND: "and",
    Op.ZERO_PAGE: "zero", Op.TLB_FORGET: "invept", Op.STEPPING_ENTER: "filter",
}
# How wide a lock's word is; a generic access says it in its row.
WIDTHS = {**{op: 16 for op in VERBS if op.name.startswith(("SHAREX", "HP"))},
          **{op: 8 for op in VERBS if op.name.startswith("MUTEX")}}
GENERIC = {Op.LOAD, Op.LOAD_IN, Op.STORE, Op.EXCHANGE, Op.SWAP, Op.ADD}
STEPS_MAX = 30_000


class Halted(Exception):
    """A sanity check of the module has failed; `args[0]` are the accesses up to there."""


class Access(NamedTuple):
    """verb: of VERBS; offset, width: of the word; before, after: its values."""

    verb: str
    offset: int
    width: int
    before: int
    after: int


@functools.cache
def _stops(until: Op):
    seen = [op for op in Op if OP_TABLE[op].kind in (Kind.SHARED, Kind.WAIT)]
    return stopping_at(until, Op.HALT, *VERBS, *seen)


def recorded(actor, until=Op.CALL_END, changes=None) -> list[Access]:
    """Move an actor to its next row with op `until`; what it accesses on the way.

    changes   {number: function}: what another actor does just before the access of that number, from 0
    """
    memory, found, changes, stops = actor.stage.memory, [], dict(changes or {}), _stops(until)
    for _ in range(STEPS_MAX):
        row = actor.row
        if row.op == until:
            assert not changes, f"the call ends after {len(found)} accesses"
            return found
        if row.op == Op.HALT:
            raise Halted(found)
        if row.op not in VERBS and OP_TABLE[row.op].kind in (Kind.SHARED, Kind.WAIT):
            raise AssertionError(f"{row.op.name} is no access of a call of the module")
        if row.op not in VERBS:
            actor.run(stops)
            continue
        if len(found) in changes:
            changes.pop(len(found))()
        offset, width = int(actor.registers[row.base]) + row.offset, WIDTHS.get(row.op, 64)
        if row.op in GENERIC:
            width = row.width
        before = memory.word(offset, width)
        actor.step()
        found.append(Access(VERBS[row.op], offset, width, before, memory.word(offset, width)))
    raise AssertionError(f"no {until.name} within {STEPS_MAX} rows")
