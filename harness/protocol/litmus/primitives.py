"""Accesses, barriers and read-modify-writes of the kernel that a body may call: name -> how it is written.

An access is a row: a plain load or store, or one locked instruction, as on x86 (include/linux/atomic,
arch/x86/include/asm; tools/memory-model/linux-kernel.def says which of them order what).  Read-modify-
writes that x86 has no single instruction for, or with a result that does not fit the word (unsigned types of
less than 64 bits), are loops of compare-and-swap, as the kernel's own are.

To add one: a line in ACCESSES; locks, interrupts and assertions have tables of their own (locks.py, interrupts.py,
assertions.py).  What a file defines itself goes before them (functions.py).
"""

from typing import Callable, NamedTuple

from pycparser import c_ast

from harness.protocol.litmus import types
from harness.protocol.litmus.body import Body, Local, Scope, Shared, Value, number, spelled
from harness.protocol.litmus.expressions import branch, decide, known, place, pointed, read, value, write
from kernels.arithmetic import Operator
from kernels.ops import Op

NOTHING = number(0)


class Primitive(NamedTuple):
    """How a function is written; `least` to `most` arguments."""

    write: Callable              # (body, node, arguments) -> Value
    least: int = 1
    most: int | None = None


# --- arguments ---

def shared(body: Body, argument, node) -> Shared:
    """The shared word that a pointer argument points to."""
    given = value(body, argument)
    if given.type.kind not in ("pointer", "array"):
        raise body.error(node, f"`{spelled(argument)}` must be a pointer to a shared word")
    found = pointed(body, given, argument)
    if isinstance(found, Local):
        already = f"; `{found.name}` does: write it without `&`" * (found.type.kind == "pointer")
        raise body.error(node, f"`{spelled(argument)}` must point to a shared word{already}")
    return found


def lock(body: Body, argument, node, *kinds: str) -> Shared:
    found = shared(body, argument, node)
    if found.type.kind not in kinds:
        raise body.error(node, f"`{spelled(argument)}` points to {found.type}; must be a {' or '.join(kinds)}")
    return found


def where(found: Shared) -> dict:
    return {"base": found.base, "offset": found.offset}


# --- plain accesses and fences ---

def _read_once(body: Body, node, arguments) -> Value:
    bound = body.find(arguments[0].name) if isinstance(arguments[0], c_ast.ID) else None
    if isinstance(bound, Value):                 # an argument of a helper: a pointer that is passed on
        return bound
    return read(body, place(body, arguments[0]), node)


def _write_once(body: Body, node, arguments) -> Value:
    target = place(body, arguments[0])
    write(body, target, value(body, arguments[1]), node)
    return NOTHING


def _load(body: Body, node, arguments) -> Value:
    return read(body, shared(body, arguments[0], node), node)


def _store(body: Body, node, arguments) -> Value:
    target = shared(body, arguments[0], node)
    what = body.fitted(value(body, arguments[1]), target.type, node)
    body.row(Op.STORE, **where(target), **body.operand(what))
    return NOTHING


def _reversed(write_: Callable) -> Callable:
    """For functions that name the word last (atomic_add(1, v))."""
    return lambda body, node, arguments: write_(body, node, arguments[::-1])


def _nothing(body: Body, node, arguments) -> Value:
    """Barriers of the compiler, and those that on x86 are nothing more."""
    return NOTHING


def _fence(body: Body, node, arguments) -> Value:
    """A full barrier: an instruction on x86; nothing where accesses are sequentially consistent."""
    body.row(Op.FENCE, text=node.name.name)
    return NOTHING


def _truth(body: Body, node, arguments) -> Value:
    """likely(x) is !!(x); where it decides, `branch` looks at x itself."""
    return body.compute(Operator.NE, value(body, arguments[0]), number(0), types.LONG, node)._replace(type=types.INT)


def _store_mb(body: Body, node, arguments) -> Value:
    target = place(body, arguments[0])
    if isinstance(target, Local):
        raise body.error(node, "smp_store_mb is about a shared word")
    body.row(Op.EXCHANGE, **where(target), **body.operand(body.fitted(value(body, arguments[1]), target.type, node)))
    return NOTHING


# --- read-modify-writes ---

def change(body: Body, target: Shared, operator: Operator, operand: Value, node) -> tuple[Value, Value]:
    """word = word OPERATOR operand, at once: (the word before, a register that is free).

    A single locked instruction where x86 has one; else a loop of compare-and-swap.
    """
    old = body.take(node)
    of = target.type
    if operator in (Operator.ADD, Operator.SUB) and (of.bits == 64 or of.signed):
        if operator == Operator.SUB:
            operand = body.compute(Operator.SUB, number(0, types.LONG), operand, types.LONG, node)
        body.row(Op.ADD, register=old, **where(target), **body.operand(operand))
        return Value(of, old), operand
    if operator in (Operator.OR, Operator.AND) and operand.constant is not None:
        body.row(Op.OR if operator == Operator.OR else Op.AND, register=old, value=operand.constant, **where(target))
        return Value(of, old), operand
    body.row(Op.LOAD, register=old, **where(target))
    again = body.fresh("cmpxchg")
    new = body.take(node)
    body.label(again)
    body.compute(operator, Value(of, old), operand, of, node, new)
    body.row(Op.SWAP, register=old, source=new, otherwise=again, **where(target))
    return Value(of, old), operand


def _rmw(operator: Operator, answers: str, one: bool, complement: bool = False) -> Callable:
    """atomic_OP: `answers` "" nothing, "old", "new", "zero" (whether the new value is), "negative"."""
    def written(body: Body, node, arguments) -> Value:
        pointer = arguments[0] if one else arguments[1]
        operand = number(1) if one else value(body, arguments[0])
        target = shared(body, pointer, node)
        if complement:
            operand = body.compute(Operator.XOR, operand, number(-1), types.LONG, node)
        operand = body.fitted(operand, target.type, node)
        old, _ = change(body, target, operator, operand, node)
        if answers in ("", "old"):
            return old if answers else NOTHING
        new = body.compute(operator, old, operand, target.type, node)
        if answers == "new":
            return new
        test = (Operator.EQ, types.LONG) if answers == "zero" else (Operator.LT, types.LONG)
        return body.compute(test[0], new, number(0), test[1], node)._replace(type=types.INT)
    return written


def _exchange(body: Body, node, arguments) -> Value:
    target = shared(body, arguments[0], node)
    what = body.fitted(value(body, arguments[1]), target.type, node)
    old = body.take(node)
    body.row(Op.EXCHANGE, register=old, **where(target), **body.operand(what))
    return Value(target.type, old)


def _cmpxchg(body: Body, node, arguments) -> Value:
    target = shared(body, arguments[0], node)
    expected, new = (body.fitted(value(body, each), target.type, node) for each in arguments[1:])
    old = body.take(node)
    body.load_value(expected, node, old)
    _swap(body, target, old, new)
    return Value(target.type, old)


def _swap(body: Body, target: Shared, old: int, new: Value, failed: str | None = None) -> None:
    """Whether it succeeded decides where to go on, if `failed` is given."""
    done = failed or body.fresh("swapped")
    body.row(Op.SWAP, register=old, otherwise=done, **where(target), **body.operand(new))
    if failed is None:
        body.label(done)


def _try_cmpxchg(body: Body, node, arguments) -> Value:
    target = shared(body, arguments[0], node)
    expected = pointed(body, value(body, arguments[1]), node)
    new = body.fitted(value(body, arguments[2]), target.type, node)
    old, answer = body.take(node), body.take(node)
    failed, done = body.fresh("failed"), body.fresh("done")
    body.load_value(body.fitted(read(body, expected, node), target.type, node), node, old)
    _swap(body, target, old, new, failed)
    body.row(Op.LET, register=answer, value=1, next=done)
    body.label(failed)
    write(body, expected, Value(target.type, old), node)
    body.row(Op.LET, register=answer)
    body.label(done)
    return Value(types.BOOL, answer)


def _unless(answer_old: bool, add: int | None = None, unless: int | None = None) -> Callable:
    """add_unless and relatives: a load, then compare-and-swap until it succeeds or the value is `unless`."""
    def written(body: Body, node, arguments) -> Value:
        target = shared(body, arguments[0], node)
        by = number(add) if add is not None else value(body, arguments[1])
        stop = number(unless) if unless is not None else value(body, arguments[2])
        return unless_equal(body, target, by, stop, node, answer_old)
    return written


def unless_equal(body: Body, target: Shared, by: Value, stop: Value, node, answer_old: bool = False,
                 operator: Operator = Operator.EQ) -> Value:
    """word += by, unless word OPERATOR stop; whether it was added (or the word before)."""
    old, new, answer = body.take(node), body.take(node), body.take(node)
    again, added, out, done = (body.fresh(part) for part in ("again", "added", "unless", "done"))
    body.row(Op.LOAD, register=old, **where(target))
    body.label(again)
    with body.temporaries():
        decide(body, body.compute(operator, Value(target.type, old), stop, types.LONG, node), out, added)
    body.label(added)
    body.compute(Operator.ADD, Value(target.type, old), by, target.type, node, new)
    body.row(Op.SWAP, register=old, source=new, otherwise=again, **where(target))
    body.row(Op.LET, register=answer, value=1, next=done)
    body.label(out)
    body.row(Op.LET, register=answer)
    body.label(done)
    return Value(target.type, old) if answer_old else Value(types.BOOL, answer)


def _dec_if_positive(body: Body, node, arguments) -> Value:
    """The value less one; stored unless that is negative."""
    target = shared(body, arguments[0], node)
    found = unless_equal(body, target, number(-1), number(0, types.LONG), node, True, Operator.LE)
    return body.compute(Operator.SUB, found, number(1), target.type, node)


def _unless_sign(add: int, operator: Operator, limit: int) -> Callable:
    """word += add, unless word OPERATOR limit."""
    return lambda body, node, arguments: unless_equal(
        body, shared(body, arguments[0], node), number(add), number(limit, types.LONG), node, False, operator)


def _refcount(add: int | None, answers: bool = False, least: int = 0) -> Callable:
    """refcount_inc, _add, _dec and relatives (lib/refcount.c): a warning where the count was `least` or less before.

    add       1 or -1; None: the first argument; answers: whether it has come to zero
    """
    def written(body: Body, node, arguments) -> Value:
        target = shared(body, arguments[-1], node)
        by = number(abs(add)) if add is not None and len(arguments) == 1 else value(body, arguments[0])
        operator = Operator.SUB if add == -1 else Operator.ADD
        old, _ = change(body, target, operator, by, node)
        with body.temporaries():
            body.must(body.compute(Operator.LT, number(least, types.LONG), old, types.LONG, node), "warn_on")
        if not answers:
            return NOTHING
        return body.compute(Operator.EQ, old, by, types.LONG, node)._replace(type=types.BOOL)
    return written


def _cond_load(body: Body, node, arguments) -> Value:
    """smp_cond_load_relaxed(p, VAL != 0): load until the condition holds of VAL; the value."""
    target = shared(body, arguments[0], node)
    val, again, done = body.take(node), body.fresh("cond_load"), body.fresh("met")
    body.label(again)
    body.row(Op.LOAD, register=val, **where(target))
    body.scopes.append(Scope(names={"VAL": Local("VAL", target.type, val)}))
    branch(body, arguments[1], done, again)
    body.scopes.pop()
    body.label(done)
    return Value(target.type, val)


def _bit_of(body: Body, node, arguments) -> Value:
    return body.compute(Operator.SHL, number(1, types.UNSIGNED_LONG), value(body, arguments[0]), types.UNSIGNED_LONG, node)


def _of_two(operator: Operator) -> Callable:
    """min and max: the one of two values, each evaluated once."""
    def written(body: Body, node, arguments) -> Value:
        left, right = (value(body, each) for each in arguments)
        of = types.common(left.type, right.type)
        kept, other, done = body.take(node), body.fresh("other"), body.fresh("done")
        left, right = body.fitted(left, of, node), body.fitted(right, of, node)
        body.load_value(left, node, kept)
        with body.temporaries():
            decide(body, body.compute(operator, Value(of, kept), right, of, node), done, other)
        body.label(other)
        body.load_value(right, node, kept)
        body.label(done)
        return Value(of, kept)
    return written


# --- bits ---

def _bit(operator: Operator, answers: bool) -> Callable:
    def written(body: Body, node, arguments) -> Value:
        number_ = known(body, arguments[0], "a bit's number")
        if not 0 <= number_ < 64:
            raise body.error(node, f"bit {number_}: must be 0 to 63 of one word")
        target = shared(body, arguments[1], node)
        bit = 1 << number_
        bit = bit - (1 << 64) if bit >> 63 else bit
        operand = number(~bit if operator == Operator.AND else bit, types.LONG)
        old, _ = change(body, target, operator, operand, node)
        if not answers:
            return NOTHING
        return _has_bit(body, old, bit, node)
    return written


def _has_bit(body: Body, word: Value, bit: int, node) -> Value:
    found = body.compute(Operator.AND, word, number(bit, types.LONG), types.LONG, node)
    return body.compute(Operator.NE, found, number(0), types.LONG, node)._replace(type=types.BOOL)


def _plain_bit(operator: Operator, answers: bool) -> Callable:
    """Not atomic: a load, then a store; what another processor changes between is lost."""
    def written(body: Body, node, arguments) -> Value:
        bit = 1 << known(body, arguments[0], "a bit's number")
        target = shared(body, arguments[1], node)
        old = read(body, target, node)
        new = body.compute(operator, old, number(~bit if operator == Operator.AND else bit, types.LONG), types.LONG, node)
        body.row(Op.STORE, **where(target), **body.operand(new))
        return _has_bit(body, old, bit, node) if answers else NOTHING
    return written


def _test_bit(body: Body, node, arguments) -> Value:
    bit = 1 << known(body, arguments[0], "a bit's number")
    return _has_bit(body, read(body, shared(body, arguments[1], node), node), bit, node)


# --- the table ---

def _atomics() -> dict[str, Primitive]:
    """The families of include/linux/atomic/atomic-instrumented.h, for the three widths and four orders."""
    table = {}
    operations = {"add": (Operator.ADD, False), "sub": (Operator.SUB, False), "inc": (Operator.ADD, True),
                  "dec": (Operator.SUB, True), "and": (Operator.AND, False), "or": (Operator.OR, False),
                  "xor": (Operator.XOR, False), "andnot": (Operator.AND, False)}
    for family in ("atomic", "atomic64", "atomic_long"):
        for name, (operator, one) in operations.items():
            count, negate = 1 if one else 2, name == "andnot"
            table[f"{family}_{name}"] = Primitive(_rmw(operator, "", one, negate), count)
            for order in ("", "_relaxed", "_acquire", "_release"):
                table[f"{family}_fetch_{name}{order}"] = Primitive(_rmw(operator, "old", one, negate), count)
                if name in ("add", "sub", "inc", "dec"):
                    table[f"{family}_{name}_return{order}"] = Primitive(_rmw(operator, "new", one), count)
        table |= {
            f"{family}_sub_and_test": Primitive(_rmw(Operator.SUB, "zero", False), 2),
            f"{family}_dec_and_test": Primitive(_rmw(Operator.SUB, "zero", True), 1),
            f"{family}_inc_and_test": Primitive(_rmw(Operator.ADD, "zero", True), 1),
            f"{family}_add_negative": Primitive(_rmw(Operator.ADD, "negative", False), 2),
            f"{family}_read": Primitive(_load), f"{family}_read_acquire": Primitive(_load),
            f"{family}_set": Primitive(_store, 2), f"{family}_set_release": Primitive(_store, 2),
            f"{family}_add_unless": Primitive(_unless(False), 3),
            f"{family}_fetch_add_unless": Primitive(_unless(True), 3),
            f"{family}_inc_not_zero": Primitive(_unless(False, 1, 0)),
            f"{family}_dec_if_positive": Primitive(_dec_if_positive),
            f"{family}_dec_unless_positive": Primitive(_unless_sign(-1, Operator.GT, 0)),
            f"{family}_inc_unless_negative": Primitive(_unless_sign(1, Operator.LT, 0)),
        }
        for order in ("", "_relaxed", "_acquire", "_release"):
            table[f"{family}_xchg{order}"] = Primitive(_exchange, 2)
            table[f"{family}_cmpxchg{order}"] = Primitive(_cmpxchg, 3)
            table[f"{family}_try_cmpxchg{order}"] = Primitive(_try_cmpxchg, 3)
    return table


ACCESSES: dict[str, Primitive] = {
    "READ_ONCE": Primitive(_read_once), "WRITE_ONCE": Primitive(_write_once, 2),
    "smp_load_acquire": Primitive(_load), "rcu_dereference": Primitive(_read_once),
    "smp_store_release": Primitive(_store, 2), "rcu_assign_pointer": Primitive(_write_once, 2),
    "smp_store_mb": Primitive(_store_mb, 2),
    "smp_mb": Primitive(_fence, 0), "mb": Primitive(_fence, 0), "virt_mb": Primitive(_fence, 0),
    **{f"{name}_{order}": Primitive(_cond_load, 2) for name in ("smp_cond_load", "atomic_cond_read") for order in ("relaxed", "acquire")},
    **{name: Primitive(_nothing, 0) for name in (
        "smp_rmb", "smp_wmb", "rmb", "wmb", "barrier", "smp_mb__before_atomic", "smp_mb__after_atomic",
        "smp_mb__after_spinlock", "smp_mb__after_unlock_lock", "smp_mb__after_srcu_read_unlock", "cpu_relax", "dma_rmb", "dma_wmb",
        "virt_rmb", "virt_wmb", "smp_acquire__after_ctrl_dep")},
    **{f"{name}{order}": Primitive(write_, count) for order in ("", "_relaxed", "_acquire", "_release") for name, write_, count in (
        ("xchg", _exchange, 2), ("cmpxchg", _cmpxchg, 3), ("cmpxchg64", _cmpxchg, 3), ("try_cmpxchg", _try_cmpxchg, 3),
        ("try_cmpxchg64", _try_cmpxchg, 3))},
    **_atomics(),
    "refcount_set": Primitive(_store, 2), "refcount_read": Primitive(_load),
    "refcount_inc": Primitive(_refcount(1)), "refcount_add": Primitive(_refcount(1), 2),
    "refcount_dec": Primitive(_refcount(-1, least=1)), "refcount_dec_and_test": Primitive(_refcount(-1, True)),
    "refcount_sub_and_test": Primitive(_refcount(-1, True), 2),
    "refcount_inc_not_zero": Primitive(_unless(False, 1, 0)), "refcount_dec_not_one": Primitive(_unless(False, -1, 1)),
    **{f"{name}{suffix}": Primitive(_bit(operator, answers), 2) for suffix in ("", "_lock", "_unlock")
       for name, operator, answers in (("set_bit", Operator.OR, False), ("clear_bit", Operator.AND, False),
                                       ("change_bit", Operator.XOR, False), ("test_and_set_bit", Operator.OR, True),
                                       ("test_and_clear_bit", Operator.AND, True), ("test_and_change_bit", Operator.XOR, True))
       if not suffix or f"{name}{suffix}" in ("test_and_set_bit_lock", "clear_bit_unlock")},
    **{f"__{name}": Primitive(_plain_bit(operator, answers), 2) for name, operator, answers in (
        ("set_bit", Operator.OR, False), ("clear_bit", Operator.AND, False), ("clear_bit_unlock", Operator.AND, False),
        ("test_and_set_bit", Operator.OR, True), ("test_and_clear_bit", Operator.AND, True))},
    "BIT": Primitive(_bit_of), "BIT_ULL": Primitive(_bit_of), "min": Primitive(_of_two(Operator.LE), 2),
    "max": Primitive(_of_two(Operator.GE), 2),
    "test_bit": Primitive(_test_bit, 2), "test_bit_acquire": Primitive(_test_bit, 2),
    "likely": Primitive(_truth), "unlikely": Primitive(_truth),
}
