"""RCU and SRCU: read sides, and a wait for all readers that began before.

Each process has a word of its own in each SRCU domain (and in the one of RCU): how deeply it reads, and a
bit that turns with each read side that ends, so that a waiter sees that the read side it waits for is over.

    15:0 read sides within one another     16 turns when the outermost ends

Source: kernel/rcu/srcutree.c, include/linux/srcu.h; of the grace period only what it promises is kept.
"""


from harness.protocol.litmus import types
from harness.protocol.litmus.body import WORD, Body, Shared, Value, number
from harness.protocol.litmus.expressions import decide
from kernels.arithmetic import Operator
from kernels.ops import Op

DEPTH, TURN = 0xFFFF, 1 << 16
RCU = "rcu"                      # the domain of rcu_read_lock


def _own(body: Body, domain: Shared) -> Shared:
    return Shared(types.LONG, domain.base, domain.offset + WORD * body.number)


def _kept(body: Body, domain: Shared) -> int:
    """A register in which a process keeps what its own word holds; no other process writes that."""
    return body.counter(f"reads {domain.offset}")


def enter(body: Body, domain: Shared) -> None:
    kept, own = _kept(body, domain), _own(body, domain)
    body.row(Op.LET, register=kept, source=kept, value=1)
    body.row(Op.STORE, base=own.base, offset=own.offset, source=kept)


def leave(body: Body, domain: Shared, node) -> None:
    kept, own = _kept(body, domain), _own(body, domain)
    over, inside = body.fresh("over"), body.fresh("inside")
    body.row(Op.LET, register=kept, source=kept, value=-1)
    body.row(Op.TEST, register=kept, mask=DEPTH, match=0, next=over, otherwise=inside)
    body.label(over)
    body.compute(Operator.XOR, Value(types.LONG, kept), number(TURN), types.LONG, node, kept)
    body.label(inside)
    body.row(Op.STORE, base=own.base, offset=own.offset, source=kept)


def synchronize(body: Body, domain: Shared, processes: int, node) -> None:
    """Wait until every read side that is in progress now has ended."""
    with body.temporaries():
        met, seen = body.take(node), body.take(node)
        for other in range(processes):
            if other == body.number:
                continue
            word = {"base": domain.base, "offset": domain.offset + WORD * other}
            again, reads, same, done = (body.fresh(part) for part in ("again", "reads", "same", "quiet"))
            body.row(Op.LOAD, register=met, **word)
            body.row(Op.TEST, register=met, mask=DEPTH, match=0, next=done, otherwise=again)
            body.label(again)
            body.row(Op.LET, register=seen, source=met)
            body.label(reads)
            body.row(Op.WAIT_NOT, source=seen, mask=-1, match=0, **word)
            body.row(Op.LOAD, register=seen, **word)
            # Another depth of the same read side: it goes on.
            body.row(Op.TEST, register=seen, mask=DEPTH, match=0, next=done, otherwise=same)
            body.label(same)
            with body.temporaries():
                turned = body.compute(Operator.XOR, Value(types.LONG, seen), Value(types.LONG, met), types.LONG, node)
                turned = body.compute(Operator.AND, turned, number(TURN), types.LONG, node)
                decide(body, turned, done, reads)
            body.label(done)


def names() -> frozenset[str]:
    """Functions that need the domain of RCU."""
    return frozenset(("rcu_read_lock", "rcu_read_unlock", "synchronize_rcu", "synchronize_rcu_expedited"))
