"""RCU and SRCU: read sides, and a wait for all readers that began before.

Each process has two words of its own in each SRCU domain (and in the one of RCU): how many read sides it has begun,
and how many have ended, modulo 8.  Who waits reads the first and waits until the second has come so far.

Under x86-TSO a reader's beginning is seen at once, as the grace period waits for a reader even if no store of that
has left its processor; its end is seen behind the stores of the read side, as the grace period promises.  srcu_read_lock
and srcu_read_unlock are full barriers themselves, the wait is one at its beginning and at its end.

A read side of srcu_down_read may be ended by another process, which is given what that answered.  So those of a domain are
counted in one more word: which of two counts is in use (bit 0), and both counts.  Who waits takes the other count into
use once nobody is left in it, and then waits until nobody is left in the one that was.

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
DOWN = "srcu_down_read"
IN_USE, COUNT = 1, 8             # of the word of srcu_down_read: the count that is in use, bits of a count
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
    if DOWN in body.world.names_used:
        _wait_for_others(body, domain, node)
    body.row(Op.FENCE)


# --- read sides that another process may end ---

def _word(domain: Shared) -> dict:
    return {"base": domain.base, "offset": domain.offset + WORD * 2 * types.READERS}


def _one(body: Body, which: Value, node) -> Value:
    """One reader, in the count number 0 or 1."""
    by = body.compute(Operator.MUL, which, number(COUNT), types.LONG, node)
    by = body.compute(Operator.ADD, by, number(COUNT), types.LONG, node)
    return body.compute(Operator.SHL, number(1, types.LONG), by, types.LONG, node)


def down(body: Body, domain: Shared, node) -> Value:
    """srcu_down_read: the number of the count that it is in."""
    old, which, again = body.take(node), body.take(node), body.fresh("down")
    body.row(Op.LOAD, register=old, **_word(domain))
    body.label(again)
    with body.temporaries():
        body.compute(Operator.AND, Value(types.LONG, old), number(IN_USE), types.LONG, node, which)
        new = body.compute(Operator.ADD, Value(types.LONG, old), _one(body, Value(types.LONG, which), node), types.LONG, node)
        body.row(Op.SWAP, register=old, source=new.register, otherwise=again, **_word(domain))
    return Value(types.INT, which)


def up(body: Body, domain: Shared, which: Value, node) -> None:
    """srcu_up_read; that nobody is in that count is a violation, and is not counted below zero."""
    with body.temporaries():
        which = body.compute(Operator.AND, which, number(1), types.LONG, node)
        one = _one(body, which, node)
        less = body.compute(Operator.SUB, number(0, types.LONG), one, types.LONG, node)
        old = body.take(node)
        body.row(Op.ADD, register=old, **body.operand(less), **_word(domain))
        held = body.compute(Operator.MUL, one, number((1 << COUNT) - 1, types.LONG), types.LONG, node)
        body.must(body.compute(Operator.AND, Value(types.LONG, old), held, types.LONG, node), "lock_balance")


def _wait_for_others(body: Body, domain: Shared, node) -> None:
    """Until all that are in a count now have left it."""
    with body.temporaries():
        old, which, again, turn, full = body.take(node), body.take(node), body.fresh("turn"), body.fresh("taken"), body.fresh("full")
        body.row(Op.LOAD, register=old, **_word(domain))
        body.label(again)
        body.compute(Operator.AND, Value(types.LONG, old), number(IN_USE), types.LONG, node, which)
        with body.temporaries():
            other = body.compute(Operator.XOR, Value(types.LONG, which), number(IN_USE), types.LONG, node)
            left = body.compute(Operator.MUL, _one(body, other, node), number((1 << COUNT) - 1), types.LONG, node)
            left = body.compute(Operator.AND, Value(types.LONG, old), left, types.LONG, node)
            body.row(Op.TEST, register=left.register, mask=-1, match=0, next=turn, otherwise=full)
        with body.listing.aside(full):
            body.row(Op.WAIT_NOT, source=old, mask=-1, match=0, **_word(domain))
            body.row(Op.LOAD, register=old, next=again, **_word(domain))
        body.label(turn)
        with body.temporaries():
            new = body.compute(Operator.XOR, Value(types.LONG, old), number(IN_USE), types.LONG, node)
            body.row(Op.SWAP, register=old, source=new.register, otherwise=again, **_word(domain))
        for number_ in (0, 1):
            waits, over = body.fresh("drain"), body.fresh("drained")
            body.row(Op.TEST, register=which, mask=-1, match=number_, next=waits, otherwise=over)
            body.label(waits)
            body.row(Op.WAIT_IS, mask=((1 << COUNT) - 1) << COUNT * (1 + number_), match=0, **_word(domain))
            body.label(over)


def names() -> frozenset[str]:
    """Functions that need the domain of RCU."""
    return frozenset(("rcu_read_lock", "rcu_read_unlock", "synchronize_rcu", "synchronize_rcu_expedited"))
