"""Bodies in C, preprocessed (preprocess.py) and parsed by pycparser; lines and columns are those of the file.

Types that the kernel's headers would bring are declared.
"""

import re
from typing import Any

from pycparser import c_ast, c_parser

from harness.protocol.litmus import kvm, preprocess, types
from harness.protocol.litmus.text import LitmusError, Place, Text
from harness.protocol.litmus.types import Type

_TYPE = "write the type by its name"
REFUSED = {"typeof": _TYPE, "__typeof__": _TYPE, "__auto_type": _TYPE, "auto": _TYPE, "container_of": "pass the object itself",
           "offsetof": "words of a test have no bytes", "asm": "the module's calls and the kernel's primitives have names",
           "__asm__": "the module's calls and the kernel's primitives have names", "_Generic": _TYPE, "union": "its members are words of their own"}
_REFUSED = re.compile(rf"\b({'|'.join(REFUSED)})\b")
_WHERE = re.compile(r"^(?P<file>.*?):(?P<line>\d+)(?::(?P<column>\d+))?:?\s*(?P<what>.*)$", re.DOTALL)


def parse(text: Text) -> c_ast.FileAST:
    """The functions and structs of a file.  Raises LitmusError."""
    prepared = preprocess.prepare(text)
    _refuse(text, prepared)
    head = "".join(f"typedef int {name};" for name in types.TYPEDEFS)
    parser = c_parser.CParser()
    try:
        tree = parser.parse(f'{head}\n#line 1 "{_plain(text.path)}"\n{prepared.text}', _plain(text.path))
    except c_parser.ParseError as problem:
        wrong = _wording(text, str(problem), _token(parser))
        raise LitmusError(text.path, prepared.moved.get(wrong.place, wrong.place), wrong.what) from None
    except RecursionError:
        raise text.error(text.functions.start, "nested too deeply") from None
    if prepared.moved:
        _put_back(tree, prepared.moved)
    return tree


def _refuse(text: Text, prepared: preprocess.Prepared) -> None:
    """What pycparser would say less well."""
    for found in _REFUSED.finditer(prepared.text):
        before = prepared.text[:found.start()]
        place = Place(before.count("\n") + 1, found.start() - before.rfind("\n"))
        raise LitmusError(text.path, prepared.moved.get(place, place), f"`{found[1]}` is not understood: {REFUSED[found[1]]}")


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
    return frozenset(found.union(*(assigned(child) for _, child in node.children())))


class Structs:
    """What a file declares by name.

    known     structs
    typedefs  other names of types
    macros    enumerators and #defines: (what is written, what is to be added, type or None as it is written)
    undeclared  what is to be said of locals that are assigned to without a declaration
    places    where a piece of C stands that rows are written of, by what they say
    """

    def __init__(self, text: Text):
        self.text, self.known = text, types.STRUCTS | kvm.structs(text.functions.text)
        self.typedefs: dict[str, Type] = {}
        self.macros: dict[str, tuple[Any, int, Type | None]] = {}
        self.places: dict[str, Place] = {}
        self.undeclared: list[str] = []

    def error(self, node, what: str) -> LitmusError:
        return LitmusError(self.text.path, place_of(node), what)

    def declare(self, node: c_ast.Struct) -> Type:
        fields = []
        for each in node.decls or ():
            if not isinstance(each, c_ast.Decl) or each.name is None:
                raise self.error(each, "a struct's fields must have names; no unions, no bit fields")
            fields.append((each.name, self.of(each.type)))
        made = Type(f"struct {node.name or ''}".strip(), kind="struct", fields=tuple(fields))
        if not made.words:
            raise self.error(node, f"struct {node.name} has no fields")
        self.known[node.name] = made
        return made

    def _enumerators(self, node: c_ast.Enum) -> None:
        given, more = c_ast.Constant("int", "0", node.coord), 0
        for each in node.values.enumerators if node.values else ():
            given, more = (each.value, 0) if each.value is not None else (given, more)
            self.macros[each.name] = given, more, types.enum(node.name) if node.name else None
            more += 1

    def of(self, node) -> Type:
        """The type that a declaration says.  Raises LitmusError."""
        if isinstance(node, (c_ast.Typename, c_ast.TypeDecl, c_ast.Decl)):
            return self.of(node.type)
        if isinstance(node, c_ast.PtrDecl):
            return types.pointer(self.of(node.type))
        if isinstance(node, c_ast.ArrayDecl):
            count = self._length(node)
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

    def _length(self, node: c_ast.ArrayDecl) -> int:
        """Of an array: a number, or a macro that stands for one."""
        given, more = node.dim, 0
        for _ in self.macros:
            if isinstance(given, c_ast.ID) and given.name in self.macros:
                given, more = self.macros[given.name][0], more + self.macros[given.name][1]
        if not isinstance(given, c_ast.Constant):
            raise self.error(node, "an array's length must be a number")
        return int(given.value.rstrip("uUlL"), 0) + more

    def named(self, name: str, node) -> Type:
        words = sorted(word for word in name.split() if word not in ("const", "volatile", "int") or name == "int")
        for known in (name, " ".join(words), " ".join(sorted(words, key=lambda word: word not in ("unsigned", "signed")))):
            if known in types.NAMES:
                return types.NAMES[known]
        if name in self.typedefs:
            return self.typedefs[name]
        raise self.error(node, f"type `{name}` is not understood; integers of 8 to 64 bits, atomic_t and"
                               " relatives, locks, structs of these and pointers to them are")
