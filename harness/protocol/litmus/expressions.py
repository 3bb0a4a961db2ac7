"""C expressions -> rows.  `value` writes the rows that compute one; `branch` those that decide by it."""

from pycparser import c_ast

from harness.protocol.litmus import kvm, types
from harness.protocol.litmus.preprocess import IT
from harness.protocol.litmus.body import WORD, Body, Local, Shared, Value, number, spelled
from harness.protocol.litmus.types import Type
from kernels.arithmetic import Operator
from kernels.ops import Op, Register as R

BINARY = {"+": Operator.ADD, "-": Operator.SUB, "*": Operator.MUL, "/": Operator.DIV, "%": Operator.MOD,
          "&": Operator.AND, "|": Operator.OR, "^": Operator.XOR, "<<": Operator.SHL, ">>": Operator.SHR}
COMPARED = {"==": Operator.EQ, "!=": Operator.NE, "<": Operator.LT, "<=": Operator.LE, ">": Operator.GT, ">=": Operator.GE}


def value(body: Body, node) -> Value:
    """Write what computes an expression; where its value is.  Raises LitmusError."""
    write = _WRITERS.get(type(node))
    if write is None:
        raise body.error(node, f"`{spelled(node)}`: this kind of expression is not understood")
    return write(body, node)


def known(body: Body, node, what: str) -> int:
    """The value of an expression that has to be a number while rows are written."""
    found = value(body, node)
    if found.constant is None:
        raise body.error(node, f"`{spelled(node)}`: {what} must be a number that is known beforehand")
    return found.constant


def branch(body: Body, node, yes: str, no: str) -> None:
    """Go on at `yes` where an expression is not zero, at `no` where it is."""
    if isinstance(node, c_ast.UnaryOp) and node.op == "!":
        return branch(body, node.expr, no, yes)
    if isinstance(node, c_ast.BinaryOp) and node.op in ("&&", "||"):
        between = body.fresh("and" if node.op == "&&" else "or")
        branch(body, node.left, between if node.op == "&&" else yes, no if node.op == "&&" else between)
        body.label(between)
        return branch(body, node.right, yes, no)
    if isinstance(node, c_ast.FuncCall) and isinstance(node.name, c_ast.ID) and node.name.name in ("likely", "unlikely") and node.args:
        return branch(body, node.args.exprs[0], yes, no)
    body.at(node)
    with body.temporaries():
        found = value(body, node)
        decide(body, found, yes, no)


def decide(body: Body, found: Value, yes: str, no: str) -> None:
    if found.constant is not None or found.local is not None:
        body.goto(yes if found.constant or found.local else no)
    else:
        body.row(Op.TEST, register=found.register, mask=-1, match=0, next=no, otherwise=yes)


# --- names and places ---

def place(body: Body, node, assigned: bool = False) -> Local | Shared:
    """What can stand to the left of `=`; `assigned`: it does.  Raises LitmusError."""
    if isinstance(node, c_ast.ID):
        found = body.find(node.name)
        found = found or body.shared_by_name(node.name) or (body.undeclared(node) if assigned else None)
        if isinstance(found, (Local, Shared)):
            return found
        if found is None:
            raise _unknown(body, node)
        if found.type.kind == "pointer" and found.constant == 0:
            raise body.error(node, f"`{node.name}`: an array or a struct among the locals can be passed on, not looked into")
        raise body.error(node, f"`{node.name}` is a pointer to a shared word and stays so; its word is `*{node.name}`,"
                               f" its address `{node.name}`, without `&`")
    if isinstance(node, c_ast.UnaryOp) and node.op == "*":
        return pointed(body, value(body, node.expr), node)
    if isinstance(node, c_ast.StructRef):
        return _field(body, node)
    if isinstance(node, c_ast.ArrayRef):
        return _element(body, node)
    if isinstance(node, c_ast.Cast):
        return place(body, node.expr)
    if isinstance(node, c_ast.UnaryOp) and node.op == "&":
        word = f"*{node.expr.name}" if isinstance(node.expr, c_ast.ID) and isinstance(body.find(node.expr.name), Value) else spelled(node.expr)
        raise body.error(node, f"`{spelled(node)}` is an address, where the word itself is wanted: write `{word}`")
    raise body.error(node, f"`{spelled(node)}` is nothing that can be assigned to or pointed to")


def _unknown(body: Body, node):
    from harness.errors import nearest
    names = body.names() | set(body.world.variables)
    if node.name in body.world.variables:
        return body.error(node, f"`{node.name}` is a shared word, but no parameter of P{body.number}")
    if node.name in body.world.functions:
        return body.error(node, f"`{node.name}` is a function, which can only be called")
    return body.error(node, f"`{node.name}` is not declared{nearest(node.name, names)}")


def pointed(body: Body, pointer: Value, node) -> Local | Shared:
    if pointer.local is not None:
        return pointer.local
    if pointer.type.kind not in ("pointer", "array"):
        raise body.error(node, f"`{spelled(node)}`: what is behind the `*` must be a pointer")
    return body.word(pointer, pointer.type.to, node)


def _field(body: Body, node: c_ast.StructRef) -> Shared:
    if node.type == "->":
        pointer = value(body, node.name)
        if pointer.type.kind != "pointer":
            raise body.error(node, f"`{spelled(node.name)}` is no pointer to a struct")
        of = pointer.type.to
    else:
        inside = place(body, node.name)
        if isinstance(inside, Local):
            raise body.error(node, f"`{spelled(node.name)}`: structs are shared words, not locals")
        pointer, of = address_of(body, inside, node), inside.type
    of = body.world.structs.whole(of)
    found = of.field_at(node.field.name) if of.kind == "struct" else None
    if found is None:
        raise _no_field(body, node, of)
    if node.field.name in body.world.of_vm and kvm.is_kvm(of):
        return Shared(found[1], R.ZERO, body.world.of_vm[node.field.name])
    return body.word(pointer, found[1], node, WORD * found[0])


def _no_field(body: Body, node: c_ast.StructRef, of: Type):
    return body.error(node, f"`{node.field.name}`: {of} has the fields {', '.join(name for name, _ in of.fields) or 'none that are known'}")


def _element(body: Body, node: c_ast.ArrayRef) -> Shared:
    pointer, by = value(body, node.name), value(body, node.subscript)
    if by.type.kind in ("pointer", "array"):     # 1[a]
        pointer, by = by, pointer
    if pointer.type.kind not in ("pointer", "array") or by.type.kind in ("pointer", "array"):
        raise body.error(node, f"`{spelled(node.name)}` is no array")
    return pointed(body, _moved(body, pointer, by, node), node)


def _moved(body: Body, pointer: Value, by: Value, node, sign: int = 1) -> Value:
    of = pointer.type.to
    to = types.pointer(of)
    stride = sign * _stride(body, of)
    if by.constant is not None and pointer.constant is not None:
        return Value(to, constant=pointer.constant + stride * by.constant)
    if pointer.constant in body.world.vm_words:
        raise body.error(node, f"`{spelled(node)}`: which entry of KVM's mirror must be known beforehand")
    bytes_ = body.compute(Operator.MUL, by, number(stride, types.LONG), types.LONG, node)
    return body.compute(Operator.ADD, pointer, bytes_, types.LONG, node)._replace(type=to)


def _stride(body: Body, of: Type) -> int:
    """Bytes from an object of a type to the next one."""
    return WORD * max(1, body.world.structs.whole(of).words)


def address_of(body: Body, found: Local | Shared, node) -> Value:
    """A pointer to it; of a local it can be passed on, not kept."""
    if isinstance(found, Local):
        return Value(types.pointer(found.type), local=found)
    to = types.pointer(found.type)
    if found.base == R.ZERO:
        return Value(to, constant=found.offset)
    if not found.offset:
        return Value(to, found.base)
    moved = body.compute(Operator.ADD, Value(types.LONG, found.base), number(found.offset, types.LONG), types.LONG, node)
    return moved._replace(type=to)


def read(body: Body, found: Local | Shared, node) -> Value:
    """A plain load, or a local."""
    if isinstance(found, Local):
        return Value(found.type, found.register)
    if found.type.kind == "struct":
        raise body.error(node, f"`{spelled(node)}` is a {found.type}: name one of its fields, or its address with `&`")
    if found.type.kind == "array":
        return address_of(body, found, node)._replace(type=types.pointer(found.type.to))
    target = body.take(node)
    body.row(Op.LOAD, base=found.base, offset=found.offset, register=target)
    return Value(found.type, target)


def write(body: Body, found: Local | Shared, what: Value, node) -> Value:
    """A plain store, or a local; the value as it then is."""
    what = body.converted(what, found.type, node)
    if isinstance(found, Local):
        if what.local is not None:
            raise body.error(node, "the address of a local can be passed on, not kept")
        body.load_value(what, node, found.register)
        return Value(found.type, found.register)
    if found.type.kind not in ("integer", "pointer", "atomic"):
        raise body.error(node, f"`{spelled(node)}`: {found.type} cannot be assigned")
    body.row(Op.STORE, base=found.base, offset=found.offset, **body.operand(what))
    return what


# --- the kinds of expression ---

def _constant(body: Body, node: c_ast.Constant) -> Value:
    if node.type == "char" and len(node.value[1:-1].encode().decode("unicode_escape")) == 1:
        return number(types.NAMES["char"].fit(ord(node.value[1:-1].encode().decode("unicode_escape"))))
    written = types.literal(node.value)
    if written is None:
        raise body.error(node, f"{node.value}: only integers are understood")
    found, decimal, suffix = written
    if found >> 64:
        raise body.error(node, f"{node.value}: must fit 64 bits")
    of = types.UNSIGNED if "u" in suffix else types.INT
    if "l" in suffix or found >> 32 or (found >> 31 and of.signed and decimal):
        of = types.UNSIGNED_LONG if "u" in suffix or found >> 63 else types.LONG
    elif found >> 31:
        of = types.UNSIGNED
    return number(found, of)


def _name(body: Body, node: c_ast.ID) -> Value:
    found = body.find(node.name)
    if isinstance(found, Local):
        return Value(found.type, found.register)
    if found is None and (shared := body.shared_by_name(node.name)) is not None:
        return read(body, shared, node)
    if found is None:
        raise _unknown(body, node)
    return found


def _unary(body: Body, node: c_ast.UnaryOp) -> Value:
    if node.op == "*":
        return read(body, pointed(body, value(body, node.expr), node), node)
    if node.op == "&":
        return address_of(body, place(body, node.expr), node)
    if node.op in ("p++", "p--", "++", "--"):
        return _step(body, node)
    if node.op == "sizeof":
        of = body.type_of(node.expr)
        if of.kind != "integer":
            raise body.error(node, "sizeof is understood of integers only: other words of a test have no size in bytes")
        return number(of.bits // 8, types.UNSIGNED_LONG)
    found = value(body, node.expr)
    if node.op == "!":
        return body.compute(Operator.EQ, found, number(0), types.LONG, node)._replace(type=types.INT)
    of = types.promoted(found.type)
    found = body.fitted(found, of, node)
    if node.op == "+":
        return found
    if node.op == "-":
        return body.compute(Operator.SUB, number(0, of), found, of, node)
    if node.op == "~":
        return body.compute(Operator.XOR, found, number(-1, of), of, node)
    raise body.error(node, f"`{node.op}` is not understood")


def _step(body: Body, node: c_ast.UnaryOp) -> Value:
    where = place(body, node.expr)
    before = read(body, where, node)
    if node.op.startswith("p"):                  # the value is the one before
        kept = body.take(node)
        body.load_value(before, node, kept)
        before = before._replace(register=kept)
    one = number(1 if "+" in node.op else -1)
    after = (_moved(body, before, one, node) if before.type.kind == "pointer"
             else body.compute(Operator.ADD, before, one, before.type, node))
    after = write(body, where, after, node)
    return before if node.op.startswith("p") else after


def _binary(body: Body, node: c_ast.BinaryOp) -> Value:
    if node.op in ("&&", "||"):
        return _decided(body, node, number(1), number(0), types.INT)
    left = value(body, node.left)
    right = value(body, node.right)
    return combine(body, node.op, left, right, node)


def combine(body: Body, operator: str, left: Value, right: Value, node) -> Value:
    """Two values and a binary operator, as C has it."""
    pointers = [each.type.kind in ("pointer", "array") for each in (left, right)]
    if operator in COMPARED:
        of = types.UNSIGNED_LONG if any(pointers) else types.common(left.type, right.type)
        left, right = (body.fitted(each, of, node) if not any(pointers) else each for each in (left, right))
        return body.compute(COMPARED[operator], left, right, of, node)._replace(type=types.INT)
    if operator in ("+", "-") and any(pointers):
        if pointers == [True, False]:
            return _moved(body, left, right, node, 1 if operator == "+" else -1)
        if pointers == [False, True] and operator == "+":
            return _moved(body, right, left, node)
        if pointers == [True, True] and operator == "-" and left.type.to == right.type.to:
            apart = body.compute(Operator.SUB, left, right, types.LONG, node)
            return body.compute(Operator.DIV, apart, number(_stride(body, left.type.to), types.LONG), types.LONG, node)
        raise body.error(node, f"`{spelled(node)}`: two pointers to the same type may be subtracted, a number added to one or subtracted")
    of = types.promoted(left.type) if operator in ("<<", ">>") else types.common(left.type, right.type)
    _defined(body, operator, right, of, node)
    return body.compute(BINARY[operator], body.fitted(left, of, node), right if operator in ("<<", ">>")
                        else body.fitted(right, of, node), of, node)


def _defined(body: Body, operator: str, right: Value, of: Type, node) -> None:
    """Division by zero and a shift by the width or more mean nothing in C: a mistake, or what BUG_ON is where only a run tells."""
    if operator in ("/", "%"):
        if right.constant == 0:
            raise body.error(node, f"`{spelled(node)}`: division by zero")
        if right.constant is None:
            _bug_unless(body, right)
    elif operator in ("<<", ">>"):
        if right.constant is not None and not 0 <= right.constant < of.bits:
            raise body.error(node, f"`{spelled(node)}`: a shift of {of.bits} bits by {right.constant}")
        if right.constant is None:
            with body.temporaries():
                _bug_unless(body, body.compute(Operator.LT, right, number(of.bits, types.LONG), types.UNSIGNED_LONG, node))


def _bug_unless(body: Body, found: Value) -> None:
    """BUG_ON where a value is zero: its process ends."""
    ok, bad = body.fresh("defined"), body.fresh("undefined")
    decide(body, found, ok, bad)
    with body.listing.aside(bad):
        body.violation("bug_on")
        body.row(Op.STOP)
    body.label(ok)


def _decided(body: Body, node, one: Value, other: Value, of: Type) -> Value:
    """One of two values, by a condition."""
    yes, no, done = body.fresh("yes"), body.fresh("no"), body.fresh("done")
    target = body.take(node)
    branch(body, node, yes, no)
    for label, found in ((yes, one), (no, other)):
        body.label(label)
        body.load_value(found, node, target)
        body.goto(done) if label == yes else None
    body.label(done)
    return Value(of, target)


def _ternary(body: Body, node: c_ast.TernaryOp) -> Value:
    yes, no, done = body.fresh("then"), body.fresh("else"), body.fresh("done")
    target = body.take(node)
    of, signed = None, False
    if isinstance(node.iftrue, c_ast.ID) and node.iftrue.name == IT:         # a ?: b, in which `a` is computed once
        with body.temporaries():
            found = value(body, node.cond)
            of, signed = found.type, types.promoted(found.type).signed
            body.load_value(found, node, target)
        decide(body, Value(of, target), done, no)
    else:
        branch(body, node.cond, yes, no)
    for label, each in ((yes, node.iftrue), (no, node.iffalse))[of is not None:]:
        body.label(label)
        with body.temporaries():
            found = value(body, each)
            of = found.type if of is None else found.type if found.type.kind == "pointer" else types.common(of, found.type)
            signed |= types.promoted(found.type).signed
            body.load_value(found, node, target)
        if label == yes:
            body.goto(done)
    body.label(done)
    if signed and types.promoted(of) == types.UNSIGNED:      # -1 beside 1u
        body.compute(Operator.ADD, Value(of, target), number(0), types.UNSIGNED, node, target)
    return Value(of, target)


def _assignment(body: Body, node: c_ast.Assignment) -> Value:
    where = place(body, node.lvalue, node.op == "=")
    body.at(node)
    what = value(body, node.rvalue)
    if node.op != "=":
        what = combine(body, node.op[:-1], read(body, where, node), what, node)
    return write(body, where, what, node)


def _cast(body: Body, node: c_ast.Cast) -> Value:
    of = body.world.structs.of(node.to_type)
    found = value(body, node.expr)
    return found if of.kind == "void" else body.fitted(found, of, node)


def _comma(body: Body, node: c_ast.ExprList) -> Value:
    for each in node.exprs[:-1]:
        with body.temporaries():
            value(body, each)
    return value(body, node.exprs[-1])


def _call(body: Body, node: c_ast.FuncCall) -> Value:
    from harness.protocol.litmus import functions
    return functions.call(body, node)


def container_of(body: Body, node, arguments) -> Value:
    """container_of(pointer, type, member), as kernel.h has it: (pointer, &((type *)0)->member)."""
    found, (of, before, member) = value(body, arguments[0]), _member(body, arguments[1].expr)
    if kvm.is_kvm(of) and member == of and found.type.kind == "pointer" and kvm.is_kvm(found.type.to):
        return found._replace(type=types.pointer(of))            # to_kvm_tdx
    if found.local is not None or found.type.kind != "pointer" or found.type.to.kind != "void" and found.type.to != member:
        raise body.error(node, f"container_of: `{spelled(arguments[0])}` must point to a shared {member}, as the member is one")
    if found.constant is not None and not any(each == of and place == found.constant - WORD * before for each, place in body.world.objects()):
        raise body.error(node, f"container_of: `{spelled(arguments[0])}` is not that member of a {of}")
    return body.compute(Operator.SUB, found, number(WORD * before, types.LONG), types.LONG, node)._replace(type=types.pointer(of))


def _member(body: Body, node) -> tuple[Type, int, Type]:
    """(struct, words before the member, the member's type) of ((type *)0)->member, which may be one of a member."""
    if isinstance(node, c_ast.ArrayRef):
        whole, before, of = _member(body, node.name)
        return whole, before + known(body, node.subscript, "which of them") * _stride(body, of.to) // WORD, of.to
    if node.type == "->":
        whole = of = body.world.structs.whole(body.world.structs.of(node.name.to_type).to)
        before = 0
    else:
        whole, before, of = _member(body, node.name)
    found = (0, of) if kvm.is_kvm(of) and node.field.name == "kvm" else of.field_at(node.field.name)
    if found is None:
        raise _no_field(body, node, of)
    return whole, before + found[0], found[1]


def _block(body: Body, node: c_ast.Compound) -> Value:
    from harness.protocol.litmus import statements
    return statements.block_value(body, node)


_WRITERS = {
    c_ast.Constant: _constant, c_ast.ID: _name, c_ast.UnaryOp: _unary, c_ast.BinaryOp: _binary,
    c_ast.TernaryOp: _ternary, c_ast.Assignment: _assignment, c_ast.Cast: _cast, c_ast.ExprList: _comma,
    c_ast.FuncCall: _call, c_ast.StructRef: lambda body, node: read(body, place(body, node), node),
    c_ast.ArrayRef: lambda body, node: read(body, place(body, node), node), c_ast.Compound: _block,
}
