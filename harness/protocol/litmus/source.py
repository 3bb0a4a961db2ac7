"""Bodies in C, preprocessed (preprocess.py) and parsed by pycparser; lines and columns are those of the file.

Types that the kernel's headers would bring are declared.
"""

import operator
import re
from typing import Any, Callable

from pycparser import c_ast, c_parser

from harness.errors import nearest
from harness.protocol.litmus import kvm, preprocess, types
from harness.protocol.litmus.text import LitmusError, Place, Text
from harness.protocol.litmus.types import Type

_LENGTHS = {"+": operator.add, "-": operator.sub, "*": operator.mul, "<<": lambda one, other: one << min(other, 64), ">>": operator.rshift,
            "/": lambda one, other: one // other if other else 0}
KEYWORDS = ("static", "const", "volatile", "struct", "enum", "return", "goto", "case", "else", "do", "sizeof", "inline")
_TYPE = "write the type by its name"
REFUSED = {"offsetof": "words of a test have no bytes", "asm": "the module's calls and the kernel's primitives have names",
           "__asm__": "the module's calls and the kernel's primitives have names", "_Generic": _TYPE, "union": "its members are words of their own"}
TYPEOF = re.compile(r"(__t\d+)_")         # what x stands in, where typeof(x) is a type, __t0 and so on; AUTO is that of what a local begins with
AUTO = "__at"
_TYPEOF = re.compile(r"\b(?:__typeof__|__typeof|typeof|typeof_unqual)\s*(?=\()")
_AUTO = re.compile(r"\b(?:__auto_type|auto(?=[\s*]+\w+\s*=))\b")
_REFUSED = re.compile(rf"\b({'|'.join(REFUSED)})\b")
_WHERE = re.compile(r"^(?P<file>.*?):(?P<line>\d+)(?::(?P<column>\d+))?:?\s*(?P<what>.*)$", re.DOTALL)


def parse(text: Text) -> c_ast.FileAST:
    """The functions and structs of a file.  Raises LitmusError."""
    prepared = preprocess.prepare(text)
    _refuse(text, prepared)
    prepared, typeofs = _types_of_expressions(text, prepared)
    head = "".join(f"typedef int {name};" for name in (*types.TYPEDEFS, AUTO, *typeofs))
    parser = c_parser.CParser()
    try:
        tree = parser.parse(f'{head}\n#line 1 "{_plain(text.path)}"\n{prepared.text}{"".join(typeofs.values())}', _plain(text.path))
    except c_parser.ParseError as problem:
        wrong = _unknown_type(text, prepared.text, _wording(text, str(problem), _token(parser)))
        raise LitmusError(text.path, prepared.moved.get(wrong.place, wrong.place), wrong.what) from None
    except RecursionError:
        raise text.error(text.functions.start, "nested too deeply") from None
    if prepared.moved:
        _put_back(tree, prepared.moved)
    return tree


def _unknown_type(text: Text, whole: str, wrong: LitmusError) -> LitmusError:
    """An error at what follows a name that stands where only a type can, as one about that name."""
    line = whole.split("\n")[wrong.place.line - 1] if wrong.place.line <= whole.count("\n") + 1 else ""
    before, behind = line[:wrong.place.column - 1], line[wrong.place.column - 1:]
    if "Missing type" in wrong.what:
        before, behind = before + re.match(r"\w*", behind)[0], "*"
    found = re.search(r"(?:^|[({,;]|\b(?:static|const|struct)\b)\s*([A-Za-z_]\w*)\s*$", before)
    if not found or not re.match(r"\*|[A-Za-z_]", behind) or found[1] in types.NAMES or found[1] in KEYWORDS:
        return wrong
    return LitmusError(text.path, Place(wrong.place.line, found.start(1) + 1), f"type `{found[1]}` is not understood{nearest(found[1], types.NAMES)}")


def _refuse(text: Text, prepared: preprocess.Prepared) -> None:
    """What pycparser would say less well."""
    for found in _REFUSED.finditer(prepared.text):
        before = prepared.text[:found.start()]
        place = Place(before.count("\n") + 1, found.start() - before.rfind("\n"))
        raise LitmusError(text.path, prepared.moved.get(place, place), f"`{found[1]}` is not understood: {REFUSED[found[1]]}")


def _types_of_expressions(text: Text, prepared: preprocess.Prepared) -> tuple[preprocess.Prepared, dict[str, str]]:
    """typeof(x) as the name of a type, in its place; by name, a function in which x stands, behind the others."""
    whole, found = _AUTO.sub(lambda auto: AUTO.ljust(len(auto[0])), prepared.text), {}
    while (typeof := max(_TYPEOF.finditer(whole), key=lambda each: each.start(), default=None)) is not None:     # those within others first
        depth = 0
        for end in range(typeof.end(), len(whole)):
            depth += {"(": 1, ")": -1}.get(whole[end], 0)
            if not depth:
                break
        inside, name = whole[typeof.end():end + 1], f"__t{len(found)}"
        before = whole[:typeof.start()]
        line, column = before.count("\n") + 1, typeof.end() - before.rfind("\n")
        begin = f"void {name}_(void){{sizeof"
        found[name] = f'\n#line {line} "{_plain(text.path)}"\n{" " * (column - len(begin) - 1)}{begin}{inside};}}'
        whole = before + name + re.sub(r"[^\n]", " ", whole[typeof.start():end + 1])[len(name):] + whole[end + 1:]
    return prepared._replace(text=whole), found


def made_up(of: str | c_ast.Decl) -> bool:
    """Whether a type's name, or that of a declaration, stands for `auto` or a typeof."""
    if isinstance(of, str):
        return of == AUTO or TYPEOF.fullmatch(f"{of}_") is not None
    of = of.type
    while isinstance(of, (c_ast.PtrDecl, c_ast.ArrayDecl, c_ast.TypeDecl)):
        of = of.type
    return any(made_up(name) for name in getattr(of, "names", ()))


def _put_back(node, moved: dict) -> None:
    """Places of a tree as they are in the file."""
    coord = getattr(node, "coord", None)
    where = moved.get((coord.line, coord.column)) if coord else None
    if where:
        node.coord = type(coord)(coord.file, *where)
    for _, child in node.children():
        _put_back(child, moved)


def _plain(path: str) -> str:
    """A file name that can stand in a #line."""
    return re.sub(r'[^\w./ -]', "_", path)


def _token(parser: c_parser.CParser):
    """The token at which a parser has stopped, or nothing: not all of its messages say where (pycparser 3.0)."""
    tokens = getattr(parser, "_tokens", None)
    read, at = getattr(tokens, "_buffer", ()), getattr(tokens, "_index", 0)
    return read[min(at, len(read) - 1)] if read else None


def _wording(text: Text, problem: str, token) -> LitmusError:
    """pycparser's message as one of ours."""
    found = _WHERE.match(problem)
    if not found and token is not None:
        where = "at the end" if "end of input" in problem else "here"
        return LitmusError(text.path, Place(token.lineno, token.column), f"`{token.value}` {where} is not C that is understood")
    if not found:
        what = problem.removeprefix(f"{_plain(text.path)}:").strip()
        return text.error(text.functions.start, f"something here is not C that is understood ({what})")
    place = Place(int(found["line"]), int(found["column"] or 1))
    what = found["what"].strip()
    word = re.match(r"before: (.*)", what, re.DOTALL)
    if word:
        what = f"`{word[1].strip()}` here is not C that is understood"
    return LitmusError(text.path, place, what or "not C that is understood")


def place_of(node) -> Place:
    coord = getattr(node, "coord", None)
    return Place(coord.line, coord.column or 1) if coord else Place(1, 1)


def assigned(node) -> frozenset[str]:
    """Names that a piece of C assigns to after their declaration, or may: also by their addresses and as `flags` of a lock."""
    found: set[str] = set()
    if isinstance(node, c_ast.Assignment) and isinstance(node.lvalue, c_ast.ID):
        found.add(node.lvalue.name)
    if isinstance(node, c_ast.UnaryOp) and node.op in ("p++", "p--", "++", "--", "&") and isinstance(node.expr, c_ast.ID):
        found.add(node.expr.name)
    if isinstance(node, c_ast.FuncCall) and isinstance(node.name, c_ast.ID) and node.name.name.endswith(("irqsave", "irq_save")):
        found |= {each.name for each in (node.args.exprs if node.args else ()) if isinstance(each, c_ast.ID)}
    if isinstance(node, c_ast.FuncCall) and isinstance(node.name, c_ast.ID) and node.name.name == "WRITE_ONCE" and node.args \
            and isinstance(node.args.exprs[0], c_ast.ID):
        found.add(node.args.exprs[0].name)
    return frozenset(found.union(*(assigned(child) for _, child in node.children())))


class Structs:
    """What a file declares by name.

    known     structs
    typedefs  other names of types
    enumerators  (what is written, what is to be added, type or None as it is written)
    typeofs   what typeof is of, by the names of source.parse; of_expression: its type, while a process is written
    undeclared  what is to be said of locals that are assigned to without a declaration
    places    where a piece of C stands that rows are written of, by what they say
    """

    def __init__(self, text: Text):
        self.text, self.known = text, types.STRUCTS | kvm.structs(text.functions.text)
        self.typedefs: dict[str, Type] = {}
        self.enumerators: dict[str, tuple[Any, int, Type | None]] = {}
        self.places: dict[str, Place] = {}
        self.typeofs: dict[str, Any] = {}
        self.of_expression: Callable[[Any], Type] | None = None
        self.undeclared: list[str] = []
        self._declared: dict[str, Any] = {}      # structs by name: where

    def error(self, node, what: str) -> LitmusError:
        return LitmusError(self.text.path, place_of(node), what)

    def declare(self, node: c_ast.Struct) -> Type:
        fields = []
        for each in node.decls or ():
            if not isinstance(each, c_ast.Decl) or each.name is None or each.bitsize is not None:
                raise self.error(each, "a struct's fields must have names; no unions, no bit fields")
            of = self.of(each.type)
            if of.kind == "opaque" and of.name == f"struct {node.name}":
                raise self.error(each, f"`{each.name}`: a {of} within itself")
            fields.append((each.name, of))
        if self._declared.setdefault(node.name, node) is not node and node.name is not None:
            raise self.error(node, f"struct {node.name} is declared twice, first in line {place_of(self._declared[node.name]).line}")
        made = Type(f"struct {node.name or ''}".strip(), kind="struct", fields=tuple(fields))
        if not made.words:
            raise self.error(node, f"struct {node.name} has no fields")
        self.known[node.name] = made
        return made

    def _enumerators(self, node: c_ast.Enum) -> None:
        given, more = c_ast.Constant("int", "0", node.coord), 0
        for each in node.values.enumerators if node.values else ():
            given, more = (each.value, 0) if each.value is not None else (given, more)
            self.enumerators[each.name] = given, more, types.enum(node.name) if node.name else None
            more += 1

    def of(self, node) -> Type:
        """The type that a declaration says.  Raises LitmusError."""
        if isinstance(node, (c_ast.Typename, c_ast.TypeDecl, c_ast.Decl)):
            return self.of(node.type)
        if isinstance(node, c_ast.PtrDecl):
            return types.pointer(self.of(node.type))
        if isinstance(node, c_ast.ArrayDecl):
            if node.dim is None:
                raise self.error(node, "an array's length must be a number")
            count = self._length(node.dim)
            if not 1 <= count <= 512:
                raise self.error(node, f"an array of {count}: must have 1 to 512 elements")
            return types.array(self.of(node.type), count)
        if isinstance(node, c_ast.Struct):
            if node.decls:
                return self.declare(node)
            # A struct that is only pointed to (struct kvm *kvm) need not be declared.
            return self.known.get(node.name) or Type(f"struct {node.name}", kind="opaque")
        if isinstance(node, c_ast.Enum):
            self._enumerators(node)
            return types.enum(node.name) if node.name else types.INT
        if isinstance(node, c_ast.IdentifierType):
            return self.named(" ".join(node.names), node)
        raise self.error(node, f"{type(node).__name__.lower()}: no type that is understood")

    def _length(self, node) -> int:
        """Of an array: a number, or what is computed from numbers, enumerators and macros."""
        if isinstance(node, c_ast.Constant) and (written := types.literal(node.value)):
            return written[0]
        if isinstance(node, c_ast.ID) and node.name in self.enumerators:
            given, more, _ = self.enumerators[node.name]
            return self._length(given) + more
        if isinstance(node, c_ast.BinaryOp) and node.op in _LENGTHS:
            return _LENGTHS[node.op](self._length(node.left), self._length(node.right))
        raise self.error(node, "an array's length must be a number")

    def whole(self, of: Type) -> Type:
        """A struct that was only pointed to where it was named, with its fields if the file has them."""
        return self.known.get(of.name.removeprefix("struct "), of) if of.kind == "opaque" else of

    def parameter(self, node) -> Type:
        """The type of a parameter; `int a[]` is a pointer."""
        empty = isinstance(node, c_ast.Decl) and isinstance(node.type, c_ast.ArrayDecl) and node.type.dim is None
        return types.pointer(self.of(node.type.type)) if empty else self.of(node)

    def named(self, name: str, node) -> Type:
        words = sorted((word for word in name.split() if word not in ("const", "volatile", "int", "signed")), key=lambda word: word != "unsigned")
        for known in (name, " ".join(words) or "int"):
            if known in types.NAMES:
                return types.NAMES[known]
        if name in self.typedefs:
            return self.typedefs[name]
        if name in self.typeofs and self.of_expression is not None:
            return self.of_expression(self.typeofs[name])
        if made_up(name):
            raise self.error(node, "`auto` and typeof are understood of locals, parameters of functions and casts; write the type by its name")
        raise self.error(node, f"type `{name}` is not understood; integers of 8 to 64 bits, atomic_t and"
                               " relatives, locks, structs of these and pointers to them are")
