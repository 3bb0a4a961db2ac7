"""A call in C: of a helper function of the file, of one of the kernel's, or of the module's.

    PRIMITIVES   every function of the kernel's that is understood, by name, but what is KVM's and TDX's (tdx.py)
"""

import re

from pycparser import c_ast

from harness.errors import nearest
from harness.protocol.litmus import tdx
from harness.protocol.litmus.assertions import ASSERTIONS
from harness.protocol.litmus.body import Body, Local, Value, spelled
from harness.protocol.litmus.expressions import container_of, value
from harness.protocol.litmus.interrupts import INTERRUPTS
from harness.protocol.litmus.locks import LOCKS, guard
from harness.protocol.litmus.primitives import ACCESSES, NOTHING, Primitive
from harness.protocol.litmus.source import assigned

PRIMITIVES: dict[str, Primitive] = ACCESSES | LOCKS | INTERRUPTS | ASSERTIONS | {"container_of": Primitive(container_of, 2)}


def call(body: Body, node: c_ast.FuncCall) -> Value:
    """A call: of a helper function of the file, of a primitive, or of the module.  Raises LitmusError."""
    arguments = list(node.args.exprs) if node.args else []
    if isinstance(node.name, c_ast.FuncCall) and isinstance(node.name.name, c_ast.ID) and node.name.name.name == "guard":
        if node.name.args is None:
            raise body.error(node, "guard()(): guard(KIND)(LOCK), such as guard(spinlock)(&lock)")
        guard(body, node.name.args.exprs[0], arguments, node)            # guard(kind)(lock)
        return NOTHING
    if not isinstance(node.name, c_ast.ID):
        raise body.error(node, f"`{spelled(node.name)}`: functions are called by their names")
    name = node.name.name
    if name in body.world.functions:
        return _helper(body, node, body.world.functions[name], arguments)
    of_td = body.world.calls.primitives if body.world.calls else {}
    known_ = PRIMITIVES.get(name) or tdx.PLAIN.get(name) or of_td.get(name)
    if known_ is None:
        names = [*PRIMITIVES, *tdx.PLAIN, *body.world.functions, *of_td]
        behind = re.search(rf"^[ \t]*#[ \t]*define[ \t]+{name}\b", body.world.text.whole, re.MULTILINE)
        where = f": its `#define` in line {body.world.text.place(behind.start()).line} stands behind" if behind else nearest(name, names)
        raise body.error(node, f"function `{name}` is not known{where}")
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
        raise body.error(node, f"{name} takes {len(parameters)} argument{'s' * (len(parameters) != 1)}, here {len(arguments)}")
    unnamed = next((each for each in parameters if each.name is None), None)
    if unnamed is not None:
        raise body.error(unnamed, f"{name}: a parameter without a name")
    bound = {}
    of = body.world.structs.of(function.decl.type.type)
    result = None if of.kind == "void" else Value(of, body.take(node))
    mark, kept = body.used, len(body.kept)
    assigned_ = assigned(function.body)
    for parameter, argument in zip(parameters, arguments):
        given = value(body, argument)
        type_ = body.world.structs.parameter(parameter)
        given = body.converted(given, type_, argument)
        if given.local is None and (given.constant is None or parameter.name in assigned_):
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
