"""Interrupts: off and on, and a process that interrupts another on its processor.

    P1 interrupts P0;            in the initial state

An interrupt comes between two instructions, not while interrupts are off, and what it interrupts goes on when it is over.
So the processor has a word of its own here, a lock: the process that may be interrupted holds it for each access, all
through a call of the module's (which interrupts do not leave half made), and while its interrupts are off; the
interrupt holds it from its beginning to its end.  Both are on one processor, which sees its own accesses in their order.

    IRQ + number of the process      the word
"""

from typing import Callable

from harness.protocol.litmus import types
from harness.protocol.litmus.body import Body, Local, Value, number, spelled
from harness.protocol.litmus.primitives import NOTHING, Primitive
from harness.protocol.litmus.expressions import place, value
from kernels.arithmetic import Operator
from kernels.ops import Op, Register as R

IRQ = "irq."
ASSERTED = {"lockdep_assert_irqs_disabled", "lockdep_assert_irqs_enabled", "irqs_disabled"}
KEPT = "irqs off"                # the register that says whether interrupts are off


def _counts(body: Body) -> bool:
    """Whether anything asks if interrupts are off."""
    return bool(body.gate is not None or body.world.names_used & ASSERTED)


def gated(body: Body, write: Callable[[], None]) -> None:
    """Rows between which no interrupt comes."""
    if body.gate is None:
        write()
        return
    _hold(body)
    write()
    _let_go(body)


def _hold(body: Body) -> None:
    on, held = body.fresh("irq.on"), body.fresh("irq.held")
    body.listing.row(Op.TEST, register=body.counter(KEPT), mask=-1, match=0, next=on, otherwise=held, text="interrupts on?")
    body.label(on)
    body.listing.row(Op.MMU_TAKE_EXCLUSIVE, base=R.ZERO, offset=body.gate, text="no interrupt meanwhile")
    body.label(held)


def _let_go(body: Body, then: str | None = None) -> None:
    on, off = body.fresh("irq.on"), then or body.fresh("irq.off")
    body.listing.row(Op.TEST, register=body.counter(KEPT), mask=-1, match=0, next=on, otherwise=off, text="interrupts on?")
    body.label(on)
    body.listing.row(Op.STORE, width=8, base=R.ZERO, offset=body.gate, text="an interrupt may come", next=then)
    if then is None:
        body.label(off)


def row(body: Body, op: Op, fields: dict) -> None:
    """A row that others see, of a process that may be interrupted."""
    behind, other = fields.pop("next", None), fields.pop("otherwise", None)
    _hold(body)
    failed = body.fresh("irq.otherwise")
    body.listing.row(op, **fields, **({"otherwise": failed} if other else {}))
    _let_go(body, behind)
    if other:
        with body.listing.aside(failed):
            _let_go(body, other)


def begin(body: Body) -> None:
    """An interrupt comes: its processor's own are off."""
    body.listing.row(Op.MMU_TAKE_EXCLUSIVE, base=R.ZERO, offset=body.interrupts, text="the interrupt comes")
    if _counts(body):
        body.listing.row(Op.LET, register=body.counter(KEPT), value=1)


def end(body: Body) -> None:
    body.listing.row(Op.STORE, width=8, base=R.ZERO, offset=body.interrupts, text="the interrupt is over")


def off(body: Body, kept: int | None = None) -> None:
    """Interrupts off; `kept`: the register that takes whether they were."""
    if not _counts(body):
        return
    if kept is not None:
        body.row(Op.LET, register=kept, source=body.counter(KEPT))
    if body.gate is not None:
        _hold(body)
    body.row(Op.LET, register=body.counter(KEPT), value=1)


def on(body: Body, kept: int | None = None) -> None:
    """Interrupts on; or, by what `off` kept, as they were."""
    if not _counts(body):
        return
    were, on_, done = (body.fresh(f"irq.{part}") for part in ("were", "restore", "done"))
    if kept is not None:
        body.row(Op.TEST, register=kept, mask=-1, match=0, next=were, otherwise=done)
        body.label(were)
    body.row(Op.TEST, register=body.counter(KEPT), mask=-1, match=0, next=done, otherwise=on_)
    body.label(on_)
    body.row(Op.LET, register=body.counter(KEPT))
    if body.gate is not None:
        body.listing.row(Op.STORE, width=8, base=R.ZERO, offset=body.gate, text="an interrupt may come")
    body.label(done)


def _off(body: Body, node, arguments) -> Value:
    kept = place(body, arguments[0]) if arguments else None
    if kept is not None and not isinstance(kept, Local):
        raise body.error(node, f"{node.name.name}: `{spelled(arguments[0])}` must be a local")
    off(body, kept.register if kept is not None else None)
    return NOTHING


def _on(body: Body, node, arguments) -> Value:
    on(body, body.load_value(value(body, arguments[0]), node) if arguments else None)
    return NOTHING


def _asserted(disabled: bool) -> Callable:
    def written(body: Body, node, arguments) -> Value:
        with body.temporaries():
            found = Value(types.LONG, body.counter(KEPT))
            body.must(found if disabled else body.compute(Operator.EQ, found, number(0), types.LONG, node), "lockdep")
        return NOTHING
    return written


def _disabled(body: Body, node, arguments) -> Value:
    return Value(types.INT, body.load_value(Value(types.INT, body.counter(KEPT)), node, body.take(node)))


INTERRUPTS: dict[str, Primitive] = {
    "local_irq_disable": Primitive(_off, 0), "local_irq_enable": Primitive(_on, 0),
    "local_irq_save": Primitive(_off), "local_irq_restore": Primitive(_on), "irqs_disabled": Primitive(_disabled, 0),
    "lockdep_assert_irqs_disabled": Primitive(_asserted(True), 0), "lockdep_assert_irqs_enabled": Primitive(_asserted(False), 0),
    **{name: Primitive(lambda body, node, arguments: NOTHING, 0) for name in (
        "preempt_disable", "preempt_enable", "local_bh_disable", "local_bh_enable")},
}
