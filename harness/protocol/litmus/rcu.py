"""RCU and SRCU: read sides, and a wait for all readers that began before.

Each process has two words of its own in each SRCU domain (and in the one of RCU): how many read sides it has begun,
and how many have ended, modulo 8.  Who waits reads the first and waits until the second has come so far.

Under x86-TSO a reader's beginning is seen at once, as the grace period waits for a reader even if no store of that
has left its processor; its end is seen behind the stores of the read side, as the grace period promises.  srcu_read_lock
and srcu_read_unlock are full barriers themselves, the wait is one at its beginning and at its end.

Source: kernel/rcu/srcutree.c, include/linux/srcu.h, Documentation/RCU/Design/Memory-Ordering; of the grace period only
what it promises is kept.
"""


from harness.protocol.litmus import types
from harness.protocol.litmus.body import WORD, Body, Shared, Value, number
from kernels.arithmetic import Operator
from kernels.ops import Op

DEPTH, TURN = 0xFFFF, 1 << 16    # in the register of a reader: read sides within one another, and those begun
TURNS, BEHIND = 7 * TURN, 4 * TURN
RCU = "rcu"                      # the domain of rcu_read_lock
AT_ONCE = ".at_once"             # within the label of a row that stores past the store buffer


def _own(domain: Shared, process: int, ended: int) -> dict:
    """Where a process's word is: of read sides begun (0) or ended (1)."""
    return {"base": domain.base, "offset": domain.offset + WORD * (2 * process + ended)}


def _kept(body: Body, domain: Shared) -> int:
    """A register in which a process keeps what its own words hold; no other process writes those."""
    return body.counter(f"reads {domain.offset}")


def _barrier(body: Body, domain: Shared) -> None:
    """That of SRCU's read sides; RCU's have none."""
    if domain.offset != body.world.variables.get(RCU, ("", -1))[1]:
        body.row(Op.FENCE)


def enter(body: Body, domain: Shared) -> None:
    kept, first, inside = _kept(body, domain), body.fresh("first"), body.fresh("inside")
    body.row(Op.TEST, register=kept, mask=DEPTH, match=0, next=first, otherwise=inside)
    body.label(first)
    body.compute(Operator.ADD, Value(types.LONG, kept), number(TURN), types.LONG, None, kept)
    body.compute(Operator.AND, Value(types.LONG, kept), number(TURNS), types.LONG, None, kept)
    body.label(body.fresh(f"reader{AT_ONCE}"))
    body.row(Op.EXCHANGE, source=kept, **_own(domain, body.number, 0))
    body.label(inside)
    body.row(Op.LET, register=kept, source=kept, value=1)
    _barrier(body, domain)


def leave(body: Body, domain: Shared, node) -> None:
    kept, over, inside = _kept(body, domain), body.fresh("over"), body.fresh("inside")
    _barrier(body, domain)
    body.row(Op.LET, register=kept, source=kept, value=-1)
    body.row(Op.TEST, register=kept, mask=DEPTH, match=0, next=over, otherwise=inside)
    body.label(over)
    body.row(Op.STORE, source=kept, **_own(domain, body.number, 1))
    body.label(inside)


def synchronize(body: Body, domain: Shared, processes: int, node) -> None:
    """Wait until every read side that is in progress now has ended."""
    body.row(Op.FENCE)
    with body.temporaries():
        begun, ended = body.take(node), body.take(node)
        for other in range(processes):
            if other == body.number:
                continue
            look, reads, done = (body.fresh(part) for part in ("look", "reads", "quiet"))
            body.row(Op.LOAD, register=begun, **_own(domain, other, 0))
            body.label(look)
            body.row(Op.LOAD, register=ended, **_own(domain, other, 1))
            with body.temporaries():
                left = body.compute(Operator.SUB, Value(types.LONG, ended), Value(types.LONG, begun), types.LONG, node)
                body.row(Op.TEST, register=left.register, mask=BEHIND, match=0, next=done, otherwise=reads)
            body.label(reads)
            body.row(Op.WAIT_NOT, source=ended, mask=-1, match=0, next=look, **_own(domain, other, 1))
            body.label(done)
    body.row(Op.FENCE)


def names() -> frozenset[str]:
    """Functions that need the domain of RCU."""
    return frozenset(("rcu_read_lock", "rcu_read_unlock", "synchronize_rcu", "synchronize_rcu_expedited"))
