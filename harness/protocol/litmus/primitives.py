"""The kernel's functions that a body may call, as rows of one table: name -> how it is written.

An access is a row: a plain load or store, or one locked instruction, as on x86 (include/linux/atomic,
arch/x86/include/asm; tools/memory-model/linux-kernel.def says which of them order what).  Read-modify-
writes that x86 has no single instruction for, or with a result that does not fit the word (unsigned types of
less than 64 bits), are loops of compare-and-swap, as the kernel's own are.

To add one: a line in PRIMITIVES.  What a file defines itself goes before the table.
"""

from typing import Callable, NamedTuple

from pycparser import c_ast

from harness.errors import nearest
from harness.protocol.litmus import rcu, types
from harness.protocol.litmus.body import Body, Local, Shared, Value, number, spelled
from harness.protocol.litmus.expressions import branch, decide, known, place, pointed, read, value, write
from kernels.arithmetic import Operator
from kernels.ops import Op, Register as R
from kernels.rwlock import WRITER

NOTHING = number(0)


class Primitive(NamedTuple):
    """How a function is written; `least` to `most` arguments."""

    write: Callable              # (body, node, arguments) -> Value
    least: int = 1
    most: int | None = None


def call(body: Body, node: c_ast.FuncCall) -> Value:
    """A call: of a helper function of the file, of a primitive, or of the module.  Raises LitmusError."""
    arguments = list(node.args.exprs) if node.args else []
    if isinstance(node.name, c_ast.FuncCall) and isinstance(node.name.name, c_ast.ID) and node.name.name.name == "guard":
        guard(body, node.name.args.exprs[0], arguments, node)            # guard(kind)(lock)
        return NOTHING
    if not isinstance(node.name, c_ast.ID):
        raise body.error(node, f"`{spelled(node.name)}`: functions are called by their names")
    name = node.name.name
    if name in body.world.functions:
        return _helper(body, node, body.world.functions[name], arguments)
    known_ = PRIMITIVES.get(name) or (body.world.calls.primitives.get(name) if body.world.calls else None)
    if known_ is None:
        names = [*PRIMITIVES, *body.world.functions, *(body.world.calls.primitives if body.world.calls else ())]
        raise body.error(node, f"function `{name}` is not known{nearest(name, names)}")
    most = known_.least if known_.most is None else known_.most
    if not known_.least <= len(arguments) <= most:
        wanted = str(known_.least) if most == known_.least else f"{known_.least} to {most}"
        raise body.error(node, f"{name} takes {wanted} argument{'s' * (wanted != '1')}, here {len(arguments)}")
    body.at(node)
    return known_.write(body, node, arguments)


def _helper(body: Body, node, function: c_ast.FuncDef, arguments: list) -> Value:
    from harness.protocol.litmus import statements
    name = function.decl.name
    if name in body.inlined:
        raise body.error(node, f"{name} calls itself: recursion is not understood")
    parameters = [each for each in (function.decl.type.args.params if function.decl.type.args else ())
                  if not (isinstance(each, c_ast.Typename) and body.world.structs.of(each).kind == "void")]
    if len(parameters) != len(arguments):
        raise body.error(node, f"{name} takes {len(parameters)} arguments, here {len(arguments)}")
    bound = {}
    of = body.world.structs.of(function.decl.type.type)
    result = None if of.kind == "void" else Value(of, body.take(node))
    mark, kept = body.used, len(body.kept)
    assigned = _assigned(function.body)
    for parameter, argument in zip(parameters, arguments):
        given = value(body, argument)
        type_ = body.world.structs.of(parameter)
        given = body.fitted(given, type_, node)
        if given.local is None and (given.constant is None or parameter.name in assigned):
            register = body.take(node)
            body.load_value(given, node, register)
            bound[parameter.name] = Local(parameter.name, type_, register)
        else:
            bound[parameter.name] = given
    behind = body.fresh(f"{name}.out")
    body.inlined.append(name)
    statements.function(body, function, bound, behind, result)
    body.inlined.pop()
    body.label(behind)
    if len(body.kept) == kept:
        body.used = mark
    body.at(node)
    return result or NOTHING


def _assigned(node) -> set[str]:
    """Names that a function assigns to."""
    found = set()
    if isinstance(node, c_ast.Assignment) and isinstance(node.lvalue, c_ast.ID):
        found.add(node.lvalue.name)
    if isinstance(node, c_ast.UnaryOp) and node.op in ("p++", "p--", "++", "--", "&") and isinstance(node.expr, c_ast.ID):
        found.add(node.expr.name)
    for _, child in node.children():
        found |= _assigned(child)
    return found


# --- arguments ---

def shared(body: Body, argument, node) -> Shared:
    """The shared word that a pointer argument points to."""
    found = pointed(body, value(body, argument), argument)
    if isinstance(found, Local):
        raise body.error(node, f"`{spelled(argument)}` must point to a shared word")
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


def _same(body: Body, node, arguments) -> Value:
    return value(body, arguments[0])


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


def _refcount_inc(body: Body, node, arguments) -> Value:
    target = shared(body, arguments[-1], node)
    old, _ = change(body, target, Operator.ADD, number(1), node)
    _must(body, body.compute(Operator.LT, number(0, types.LONG), old, types.LONG, node), "warn_on")
    return NOTHING


def _refcount_dec_and_test(body: Body, node, arguments) -> Value:
    target = shared(body, arguments[-1], node)
    old, _ = change(body, target, Operator.SUB, number(1), node)
    _must(body, body.compute(Operator.LT, number(0, types.LONG), old, types.LONG, node), "warn_on")
    return body.compute(Operator.EQ, old, number(1), types.LONG, node)._replace(type=types.BOOL)


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


# --- locks ---

EXCLUSIVE, SHARED = "exclusive", "shared"


def _domain(body: Body, node, arguments) -> Shared:
    if arguments:
        return lock(body, arguments[0], node, "srcu")
    of, place_ = body.world.variables[rcu.RCU]
    return Shared(of, R.ZERO, place_)


def _rcu(what: str) -> Callable:
    def written(body: Body, node, arguments) -> Value:
        domain = _domain(body, node, arguments)
        if what == "enter":
            rcu.enter(body, domain)
        elif what == "leave":
            rcu.leave(body, domain, node)
        else:
            rcu.synchronize(body, domain, body.world.processes, node)
        return NOTHING
    return written



def _take(mode: str, *kinds: str, irq: bool = False) -> Callable:
    def written(body: Body, node, arguments) -> Value:
        found = lock(body, arguments[0], node, *kinds)
        if irq:
            irqs(body, 1)
        take(body, found, mode)
        return NOTHING
    return written


def _drop(mode: str, *kinds: str, irq: bool = False) -> Callable:
    def written(body: Body, node, arguments) -> Value:
        drop(body, lock(body, arguments[0], node, *kinds), mode)
        if irq:
            irqs(body, -1)
        return NOTHING
    return written


def take(body: Body, found: Shared, mode: str) -> None:
    """Wait for a lock."""
    if mode == EXCLUSIVE:
        body.row(Op.MMU_TAKE_EXCLUSIVE, **where(found))
    else:
        next_in, taken = body.fresh("readers"), body.fresh("taken")
        body.row(Op.MMU_TAKE_SHARED, otherwise=next_in, **where(found))
        with body.listing.aside(next_in):
            body.row(Op.WAIT_IS, mask=WRITER, match=0, next=taken, **where(found))
        body.label(taken)
    note(body, found, mode, 1)


def drop(body: Body, found: Shared, mode: str) -> None:
    body.row(Op.MMU_DROP_EXCLUSIVE if mode == EXCLUSIVE else Op.MMU_DROP_SHARED, **where(found))
    note(body, found, mode, -1)


def _try(*kinds: str) -> Callable:
    """A look, then one compare-and-swap."""
    def written(body: Body, node, arguments) -> Value:
        found = lock(body, arguments[0], node, *kinds)
        old, answer = body.take(node), body.take(node)
        failed, done = body.fresh("failed"), body.fresh("done")
        body.row(Op.LOAD, register=old, mask=-1, match=0, otherwise=failed, **where(found))
        body.row(Op.SWAP, register=old, value=WRITER, otherwise=failed, **where(found))
        note(body, found, EXCLUSIVE, 1)
        body.row(Op.LET, register=answer, value=1, next=done)
        body.label(failed)
        body.row(Op.LET, register=answer)
        body.label(done)
        return Value(types.INT, answer)
    return written


def _is_locked(body: Body, node, arguments) -> Value:
    word = read(body, lock(body, arguments[0], node, *types.LOCKS)._replace(type=types.LONG), node)
    return body.compute(Operator.NE, word, number(0), types.LONG, node)._replace(type=types.INT)


def _dec_and_lock(kind: str) -> Callable:
    """1 with the lock held if the count came to zero; include/linux/spinlock.h, lib/dec_and_lock.c."""
    def written(body: Body, node, arguments) -> Value:
        target, found = shared(body, arguments[0], node), lock(body, arguments[1], node, kind)
        answer = body.take(node)
        slow, zero, more, done = (body.fresh(part) for part in ("slow", "zero", "more", "done"))
        with body.temporaries():
            went = unless_equal(body, target, number(-1), number(1, types.LONG), node)
            decide(body, went, more, slow)
        body.label(slow)
        take(body, found, EXCLUSIVE)
        with body.temporaries():
            old, _ = change(body, target, Operator.SUB, number(1), node)
            last = body.compute(Operator.EQ, old, number(1), types.LONG, node)
            unlock = body.fresh("unlock")
            decide(body, last, zero, unlock)
        body.label(unlock)
        drop(body, found, EXCLUSIVE)
        body.label(more)
        body.row(Op.LET, register=answer, next=done)
        body.label(zero)
        body.row(Op.LET, register=answer, value=1)
        body.label(done)
        return Value(types.INT, answer)
    return written


def note(body: Body, found: Shared, mode: str, by: int) -> None:
    """Keep count of what this process holds, where an assertion of the test looks at it."""
    for key in ((f"{found.offset} {mode}" if found.base == R.ZERO else "", LOCKDEP),
                ("spinning" if found.type.kind != "mutex" else "", RESCHED)):
        name, readers = key
        if name and body.world.names_used & readers:
            register = counter(body, name)
            body.row(Op.LET, register=register, source=register, value=by)


def counter(body: Body, name: str) -> int:
    """A register of this process that counts; it stays with it."""
    if name not in body.notes:
        body.notes[name] = body.world.free[len(body.world.free) - 1 - len(body.notes)]
    return body.notes[name]


def irqs(body: Body, by: int) -> None:
    if body.world.names_used & IRQS:
        register = counter(body, "irqs off")
        body.row(Op.LET, register=register, source=register, value=by)


def _irq(by: int) -> Callable:
    def written(body: Body, node, arguments) -> Value:
        irqs(body, by)
        return NOTHING
    return written


GUARDS = {
    "spinlock": (EXCLUSIVE, ("spinlock",), False), "raw_spinlock": (EXCLUSIVE, ("spinlock",), False),
    "spinlock_irq": (EXCLUSIVE, ("spinlock",), True), "spinlock_irqsave": (EXCLUSIVE, ("spinlock",), True),
    "raw_spinlock_irq": (EXCLUSIVE, ("spinlock",), True), "raw_spinlock_irqsave": (EXCLUSIVE, ("spinlock",), True),
    "spinlock_bh": (EXCLUSIVE, ("spinlock",), False), "mutex": (EXCLUSIVE, ("mutex",), False),
    "read_lock": (SHARED, ("rwlock",), False), "write_lock": (EXCLUSIVE, ("rwlock",), False),
    "rwsem_read": (SHARED, ("rwlock",), False), "rwsem_write": (EXCLUSIVE, ("rwlock",), False),
}


def guard(body: Body, kind, arguments: list, node) -> None:
    """guard(kind)(lock): taken now, released at the end of the block, on every way out."""
    name = kind.name if isinstance(kind, c_ast.ID) else spelled(kind)
    if name not in GUARDS:
        raise body.error(node, f"guard({name}) is not known{nearest(name, GUARDS)}")
    if len(arguments) != 1:
        raise body.error(node, f"guard({name}) takes one lock")
    mode, kinds, irq = GUARDS[name]
    body.at(node)
    found = lock(body, arguments[0], node, *kinds)
    if irq:
        irqs(body, 1)
    take(body, found, mode)

    def release() -> None:
        drop(body, found, mode)
        if irq:
            irqs(body, -1)
    body.scopes[-1].guards.append(release)


# --- assertions ---

def _must(body: Body, found: Value, invariant: str) -> None:
    """Count a violation where a value is zero."""
    ok, bad = body.fresh("ok"), body.fresh("violated")
    decide(body, found, ok, bad)
    with body.listing.aside(bad):
        body.violation(invariant)
        body.goto(ok)
    body.label(ok)


def _warn_on(body: Body, node, arguments) -> Value:
    kept = body.take(node)
    yes, no, done = body.fresh("warned"), body.fresh("fine"), body.fresh("done")
    branch(body, arguments[0], yes, no)
    body.label(yes)
    body.violation("warn_on")
    body.row(Op.LET, register=kept, value=1, next=done)
    body.label(no)
    body.row(Op.LET, register=kept)
    body.label(done)
    return Value(types.BOOL, kept)


def _bug_on(body: Body, node, arguments) -> Value:
    yes, no = body.fresh("bug"), body.fresh("fine")
    branch(body, arguments[0], yes, no)
    with body.listing.aside(yes):
        body.violation("bug_on")
        body.row(Op.STOP)
    body.label(no)
    return NOTHING


def _held(*modes: str, negated: bool = False) -> Callable:
    def written(body: Body, node, arguments) -> Value:
        found = lock(body, arguments[0], node, *types.LOCKS)
        if found.base != R.ZERO:
            raise body.error(node, "lockdep needs a lock that is known beforehand")
        with body.temporaries():
            sum_ = number(0)
            for mode in modes:
                sum_ = body.compute(Operator.ADD, sum_, Value(types.LONG, counter(body, f"{found.offset} {mode}")),
                                    types.LONG, node)
            if negated:
                sum_ = body.compute(Operator.EQ, sum_, number(0), types.LONG, node)
            _must(body, sum_, "lockdep")
        return NOTHING
    return written


def _cond_resched(body: Body, node, arguments) -> Value:
    """May sleep: no spinlock may be held."""
    with body.temporaries():
        free = body.compute(Operator.EQ, Value(types.LONG, counter(body, "spinning")), number(0), types.LONG, node)
        _must(body, free, "sleeps_in_atomic")
    return NOTHING


LOCKDEP = {"lockdep_assert_held", "lockdep_assert_held_read", "lockdep_assert_held_write", "lockdep_assert_not_held"}
RESCHED = {"cond_resched", "might_sleep"}
IRQS = {"local_irq_disable", "local_irq_enable", "local_irq_save", "local_irq_restore", "lockdep_assert_irqs_disabled"}


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
            f"{family}_dec_and_lock": Primitive(_dec_and_lock("spinlock"), 2),
            f"{family}_dec_and_mutex_lock": Primitive(_dec_and_lock("mutex"), 2),
        }
        for order in ("", "_relaxed", "_acquire", "_release"):
            table[f"{family}_xchg{order}"] = Primitive(_exchange, 2)
            table[f"{family}_cmpxchg{order}"] = Primitive(_cmpxchg, 3)
            table[f"{family}_try_cmpxchg{order}"] = Primitive(_try_cmpxchg, 3)
    return table


def _locks() -> dict[str, Primitive]:
    table = {}
    for prefix in ("spin", "raw_spin"):
        for suffix, irq, extra in (("", False, 0), ("_irq", True, 0), ("_irqsave", True, 1), ("_bh", False, 0)):
            back = suffix.replace("save", "restore")
            table[f"{prefix}_lock{suffix}"] = Primitive(_take(EXCLUSIVE, "spinlock", irq=irq), 1 + extra)
            table[f"{prefix}_unlock{back}"] = Primitive(_drop(EXCLUSIVE, "spinlock", irq=irq), 1 + extra)
        table[f"{prefix}_trylock"] = Primitive(_try("spinlock"))
        table[f"{prefix}_is_locked"] = Primitive(_is_locked)
    for name, mode in (("read", SHARED), ("write", EXCLUSIVE)):
        table[f"{name}_lock"] = Primitive(_take(mode, "rwlock"))
        table[f"{name}_unlock"] = Primitive(_drop(mode, "rwlock"))
        table[f"down_{name}"] = Primitive(_take(mode, "rwlock"))
        table[f"up_{name}"] = Primitive(_drop(mode, "rwlock"))
    return table | {
        "write_trylock": Primitive(_try("rwlock")),
        "mutex_lock": Primitive(_take(EXCLUSIVE, "mutex")), "mutex_unlock": Primitive(_drop(EXCLUSIVE, "mutex")),
        "mutex_trylock": Primitive(_try("mutex")), "mutex_is_locked": Primitive(_is_locked),
    }


PRIMITIVES: dict[str, Primitive] = {
    "READ_ONCE": Primitive(_read_once), "WRITE_ONCE": Primitive(_write_once, 2),
    "smp_load_acquire": Primitive(_load), "rcu_dereference": Primitive(_read_once),
    "smp_store_release": Primitive(_store, 2), "rcu_assign_pointer": Primitive(_write_once, 2),
    "smp_store_mb": Primitive(_store_mb, 2),
    "smp_mb": Primitive(_fence, 0), "mb": Primitive(_fence, 0),
    **{name: Primitive(_nothing, 0) for name in (
        "smp_rmb", "smp_wmb", "rmb", "wmb", "barrier", "smp_mb__before_atomic", "smp_mb__after_atomic",
        "smp_mb__after_spinlock", "smp_mb__after_unlock_lock", "smp_mb__after_srcu_read_unlock", "cpu_relax")},
    **{f"{name}{order}": Primitive(write_, count) for order in ("", "_relaxed", "_acquire", "_release") for name, write_, count in (
        ("xchg", _exchange, 2), ("cmpxchg", _cmpxchg, 3), ("cmpxchg64", _cmpxchg, 3), ("try_cmpxchg", _try_cmpxchg, 3),
        ("try_cmpxchg64", _try_cmpxchg, 3))},
    **_atomics(),
    "refcount_set": Primitive(_store, 2), "refcount_read": Primitive(_load),
    "refcount_inc": Primitive(_refcount_inc), "refcount_inc_not_zero": Primitive(_unless(False, 1, 0)),
    "refcount_dec_and_test": Primitive(_refcount_dec_and_test),
    "refcount_dec_and_lock": Primitive(_dec_and_lock("spinlock"), 2),
    "refcount_dec_and_mutex_lock": Primitive(_dec_and_lock("mutex"), 2),
    **{f"{name}{suffix}": Primitive(_bit(operator, answers), 2) for suffix in ("", "_lock", "_unlock")
       for name, operator, answers in (("set_bit", Operator.OR, False), ("clear_bit", Operator.AND, False),
                                       ("change_bit", Operator.XOR, False), ("test_and_set_bit", Operator.OR, True),
                                       ("test_and_clear_bit", Operator.AND, True), ("test_and_change_bit", Operator.XOR, True))
       if not suffix or f"{name}{suffix}" in ("test_and_set_bit_lock", "clear_bit_unlock")},
    **{f"__{name}": Primitive(_plain_bit(operator, answers), 2) for name, operator, answers in (
        ("set_bit", Operator.OR, False), ("clear_bit", Operator.AND, False), ("clear_bit_unlock", Operator.AND, False),
        ("test_and_set_bit", Operator.OR, True), ("test_and_clear_bit", Operator.AND, True))},
    "test_bit": Primitive(_test_bit, 2), "test_bit_acquire": Primitive(_test_bit, 2),
    **_locks(),
    "rcu_read_lock": Primitive(_rcu("enter"), 0), "rcu_read_unlock": Primitive(_rcu("leave"), 0),
    "synchronize_rcu": Primitive(_rcu("wait"), 0), "synchronize_rcu_expedited": Primitive(_rcu("wait"), 0),
    "srcu_read_lock": Primitive(_rcu("enter"), 1), "srcu_read_unlock": Primitive(_rcu("leave"), 1, 2),
    "synchronize_srcu": Primitive(_rcu("wait"), 1), "synchronize_srcu_expedited": Primitive(_rcu("wait"), 1),
    "lockdep_assert_held": Primitive(_held(EXCLUSIVE, SHARED)), "lockdep_assert_held_read": Primitive(_held(SHARED)),
    "lockdep_assert_held_write": Primitive(_held(EXCLUSIVE)),
    "lockdep_assert_not_held": Primitive(_held(EXCLUSIVE, SHARED, negated=True)),
    "WARN_ON_ONCE": Primitive(_warn_on), "WARN_ON": Primitive(_warn_on), "BUG_ON": Primitive(_bug_on),
    "cond_resched": Primitive(_cond_resched, 0), "might_sleep": Primitive(_cond_resched, 0),
    "local_irq_disable": Primitive(_irq(1), 0), "local_irq_enable": Primitive(_irq(-1), 0),
    "local_irq_save": Primitive(_irq(1)), "local_irq_restore": Primitive(_irq(-1)),
    "likely": Primitive(_same), "unlikely": Primitive(_same),
}
