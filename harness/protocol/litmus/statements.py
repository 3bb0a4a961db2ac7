"""C statements -> rows."""

from pycparser import c_ast

from harness.protocol.litmus import types
from harness.protocol.litmus.assertions import static_assert
from harness.protocol.litmus.body import Body, Scope, Value, number, spelled
from harness.protocol.litmus.expressions import branch, known, value
from harness.protocol.litmus.preprocess import SCOPED
from harness.protocol.litmus.source import AUTO, assigned
from kernels.ops import Op

INLINED_MOST = 32                # helper functions within one another


def function(body: Body, node: c_ast.FuncDef, arguments: dict[str, Value], returns: str, result: Value | None) -> None:
    """A function's body, where it is called: arguments are bound, `return` goes to `returns`."""
    scope = Scope(node=node, assigned=assigned(node.body))
    body.scopes.append(scope)
    for name, argument in arguments.items():
        scope.names[name] = argument
    body.returns.append((returns, result, len(body.scopes) - 1))
    labels = _labels(node.body)
    scope.labels = {name: (body.fresh(name), chain) for name, chain in labels.items()}
    block(body, node.body)
    body.leave(len(body.scopes) - 1)
    body.scopes.pop()
    body.returns.pop()


def _labels(node, chain=()) -> dict[str, tuple]:
    """The labels of a function and the blocks around each."""
    found = {}
    inner = (*chain, node) if isinstance(node, c_ast.Compound) else chain
    for _, child in node.children():
        found |= _labels(child, inner)
    if isinstance(node, c_ast.Label):
        found[node.name] = inner
    return found


def block(body: Body, node: c_ast.Compound) -> None:
    body.scopes.append(Scope(node=node))
    for each in node.block_items or ():
        statement(body, each)
    body.leave(len(body.scopes) - 1)
    body.scopes.pop()


def block_value(body: Body, node: c_ast.Compound) -> Value:
    """`({ ... })`: the value of its last expression."""
    items = node.block_items or []
    if not items:
        raise body.error(node, "`({ })` has no value")
    kept = body.take(node)
    body.scopes.append(Scope(node=node))
    for each in items[:-1]:
        statement(body, each)
    if _WRITERS.get(type(items[-1])):
        statement(body, items[-1])
        found = number(0)
    else:
        found = value(body, items[-1])
        if found.constant is None and found.local is None:
            body.load_value(found, node, kept)
            found = found._replace(register=kept)
    body.leave(len(body.scopes) - 1)
    body.scopes.pop()
    return found


def statement(body: Body, node) -> None:
    """Raises LitmusError."""
    write = _WRITERS.get(type(node))
    body.at(node)
    if write is not None:
        write(body, node)
        return
    with body.temporaries():
        value(body, node)


# --- declarations ---

def _declaration(body: Body, node: c_ast.Decl) -> None:
    if isinstance(node.type, (c_ast.Struct, c_ast.Enum)) and node.name is None:
        body.world.structs.of(node.type)
        return
    if isinstance(node.type, c_ast.FuncDecl):
        raise body.error(node, f"`{node.name}`: functions are declared outside processes")
    for word in ("static", "extern"):
        if word in node.storage:
            raise body.error(node, f"`{node.name}`: no {word} locals; what stays lies between the processes")
    auto = node.init is not None and getattr(getattr(node.type, "type", None), "names", None) == [AUTO]
    of = body.type_of(node.init) if auto else body.world.structs.of(node.type)
    if of.kind in ("array", "opaque") and (node.init is None or isinstance(node.init, c_ast.InitList)):
        body.scopes[-1].names[node.name] = Value(types.pointer(of.to or of), constant=0)         # can be passed on, not looked into
        return
    if of.kind not in ("integer", "pointer"):
        raise body.error(node, f"`{node.name}`: a local must be an integer or a pointer, {of} is a shared word's type")
    given = None
    if node.init is not None:
        if isinstance(node.init, c_ast.InitList):
            raise body.error(node, f"`{node.name}`: a local takes one value")
        # Taken before the local exists, so that the local's register lies below.
        free = body.used
        local = body.declare(node, node.name, of)
        body.at(node)
        mark = body.used
        given = body.converted(value(body, node.init), of, node)
        if given.local is not None:
            raise body.error(node, "the address of a local can be passed on, not kept")
        if given.constant is not None and body.stays(node.name):     # known beforehand wherever it is read
            body.scopes[-1].names[node.name] = given
            if body.inlined:
                body.used = free
                return
        body.load_value(given, node, local.register)
        body.used = mark
        return
    local = body.declare(node, node.name, of)
    if len(body.scopes) > 2 or body.inlined:     # may be reached again: what it held is gone
        body.load_value(number(0, of), node, local.register)


def _declarations(body: Body, node: c_ast.DeclList) -> None:
    for each in node.decls:
        statement(body, each)


# --- branches and loops ---

def _if(body: Body, node: c_ast.If) -> None:
    if isinstance(node.cond, c_ast.FuncCall) and isinstance(node.cond.name, c_ast.ID) and node.cond.name.name == SCOPED:
        _scoped_guard(body, node)
        return
    yes, no, done = body.fresh("then"), body.fresh("else"), body.fresh("endif")
    branch(body, node.cond, yes, no)
    body.label(yes)
    _inside(body, node.iftrue)
    if node.iffalse is not None:
        body.goto(done)
    body.label(no)
    if node.iffalse is not None:
        _inside(body, node.iffalse)
        body.label(done)


def _inside(body: Body, node, **scope) -> None:
    """A statement in a block of its own."""
    body.scopes.append(Scope(**scope))
    if node is not None:
        statement(body, node)
    body.leave(len(body.scopes) - 1)
    body.scopes.pop()


def _scoped_guard(body: Body, node: c_ast.If) -> None:
    """The kernel's is a `for` that runs once: `break` leaves it."""
    from harness.protocol.litmus import locks
    done = body.fresh("unguarded")
    body.scopes.append(Scope(breaks=done, continues=done))
    kind, *arguments = node.cond.args.exprs
    locks.guard(body, kind, arguments, node.cond)
    _inside(body, node.iftrue)
    body.leave(len(body.scopes) - 1)
    body.scopes.pop()
    body.label(done)


def _while(body: Body, node: c_ast.While) -> None:
    again, inside, done = body.fresh("while"), body.fresh("body"), body.fresh("wend")
    body.label(again)
    branch(body, node.cond, inside, done)
    body.label(inside)
    _inside(body, node.stmt, breaks=done, continues=again)
    body.goto(again)
    body.label(done)


def _do(body: Body, node: c_ast.DoWhile) -> None:
    again, test, done = body.fresh("do"), body.fresh("while"), body.fresh("dend")
    body.label(again)
    _inside(body, node.stmt, breaks=done, continues=test)
    body.label(test)
    branch(body, node.cond, again, done)
    body.label(done)


def _for(body: Body, node: c_ast.For) -> None:
    again, inside, step, done = (body.fresh(part) for part in ("for", "body", "step", "fend"))
    body.scopes.append(Scope())
    if node.init is not None:
        statement(body, node.init)
    body.label(again)
    if node.cond is not None:
        branch(body, node.cond, inside, done)
        body.label(inside)
    _inside(body, node.stmt, breaks=done, continues=step)
    body.label(step)
    if node.next is not None:
        statement(body, node.next)
    body.goto(again)
    body.label(done)
    body.scopes.pop()


def _switch(body: Body, node: c_ast.Switch) -> None:
    done, mark = body.fresh("send"), body.used
    found = value(body, node.cond)
    register, of = body.load_value(found, node), types.promoted(found.type)
    cases, numbers, otherwise = {}, set(), done
    for each in _cases(node.stmt):
        cases[each] = label = body.fresh("case")
        number_ = None if isinstance(each, c_ast.Default) else of.fit(known(body, each.expr, "a case"))
        if number_ in numbers:
            raise body.error(each, f"`{'default' if number_ is None else f'case {spelled(each.expr)}'}` is in this switch twice")
        numbers.add(number_)
        if number_ is None:
            otherwise = label
        else:
            inside = body.fresh("cases")
            body.row(Op.TEST, register=register, mask=-1, match=number_, next=label, otherwise=inside)
            body.label(inside)
    body.goto(otherwise)
    body.label(body.fresh("unreached"))
    body.used = mark
    _inside(body, node.stmt, breaks=done, cases=cases)
    body.label(done)


def _cases(node) -> list:
    """The `case` and `default` of a switch, wherever they stand in it, but for those of a switch within."""
    own = [node] if isinstance(node, (c_ast.Case, c_ast.Default)) else []
    return own + [each for _, child in node.children() if not isinstance(child, c_ast.Switch) for each in _cases(child)]


def _case(body: Body, node) -> None:
    label = next((scope.cases[node] for scope in reversed(body.scopes) if node in scope.cases), None)
    if label is None:
        raise body.error(node, "`case` and `default` stand in a switch")
    body.label(label)
    for each in node.stmts or ():
        statement(body, each)


def _jump(kind: str):
    def write(body: Body, node) -> None:
        for depth in range(len(body.scopes) - 1, body.returns[-1][2] - 1, -1):
            target = body.scopes[depth].breaks if kind == "break" else body.scopes[depth].continues
            if target:
                body.leave(depth if kind == "break" else depth)
                body.goto(target)
                body.label(body.fresh("unreached"))
                return
        raise body.error(node, f"`{kind}` stands in no loop{' or switch' if kind == 'break' else ''}")
    return write


def _goto(body: Body, node: c_ast.Goto) -> None:
    first = body.returns[-1][2]
    found = body.scopes[first].labels.get(node.name)
    if found is None:
        raise body.error(node, f"label `{node.name}` is not in this function")
    label, chain = found
    body.leave(first, back_to=chain)
    body.goto(label)
    body.label(body.fresh("unreached"))


def _label(body: Body, node: c_ast.Label) -> None:
    first = body.returns[-1][2]
    if node.name in body.scopes[first].placed:
        raise body.error(node, f"label `{node.name}` is in this function twice")
    body.scopes[first].placed.add(node.name)
    body.label(body.scopes[first].labels[node.name][0])
    if node.stmt is not None:
        statement(body, node.stmt)


def _return(body: Body, node: c_ast.Return) -> None:
    target, result, depth = body.returns[-1]
    if node.expr is not None:
        with body.temporaries():
            found = value(body, node.expr)
            if result is not None:
                body.load_value(body.converted(found, result.type, node), node, result.register)
    elif result is not None:
        raise body.error(node, "this function must return a value")
    body.leave(depth)
    body.goto(target)
    body.label(body.fresh("unreached"))


_WRITERS = {
    c_ast.Decl: _declaration, c_ast.DeclList: _declarations, c_ast.Compound: block, c_ast.If: _if, c_ast.While: _while,
    c_ast.DoWhile: _do, c_ast.For: _for, c_ast.Switch: _switch, c_ast.Break: _jump("break"),
    c_ast.Continue: _jump("continue"), c_ast.Goto: _goto, c_ast.Label: _label, c_ast.Return: _return,
    c_ast.Case: _case, c_ast.Default: _case, c_ast.EmptyStatement: lambda body, node: None, c_ast.StaticAssert: static_assert,
}
