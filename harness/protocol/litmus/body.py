"""What expressions and statements of one process share: its registers, names, labels, and rows.

Locals are registers: those that the calls of the program do not use.  What a pointer points to is a
shared word; an address that is not known while rows are written is looked at before it is used, so that
no access leaves the words of the test.
"""

import re
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

from pycparser import c_ast, c_generator

from harness.protocol.assemble import Listing
from harness.protocol.counters import violation
from harness.protocol.litmus import types
from harness.protocol.litmus.preprocess import IT
from harness.protocol.litmus.source import Structs, place_of
from harness.protocol.litmus.text import LitmusError
from harness.protocol.litmus.types import Type
from kernels.arithmetic import Operator
from kernels.ops import OP_TABLE, Kind, Op, Register as R

WORD = 8
REGISTER = re.compile(r"r\d+")
_GENERATOR = c_generator.CGenerator()


class Value(NamedTuple):
    """What an expression comes to: a number known now, or a register; `local`: the address of a local."""

    type: Type
    register: int = R.ZERO
    constant: int | None = None
    local: "Local | None" = None


class Local(NamedTuple):
    """A variable of one process."""

    name: str
    type: Type
    register: int


class Shared(NamedTuple):
    """A shared word as a row names it: a register that holds where it begins, and bytes from there."""

    type: Type
    base: int
    offset: int


def number(value: int, type_: Type = types.INT) -> Value:
    return Value(type_, constant=type_.fit(value))


@dataclass
class Scope:
    """A block while it is written: its names, and what is released at its end, last first."""

    names: dict[str, Local | Value] = field(default_factory=dict)
    guards: list = field(default_factory=list)
    node: object = None
    breaks: str = ""             # where `break` goes, where this block is a loop's or a switch's
    continues: str = ""
    labels: dict = field(default_factory=dict)   # of a function: name -> (label, blocks around it)
    placed: set[str] = field(default_factory=set)                # ... and those of them that are written
    assigned: frozenset[str] | None = None       # of a function: names that it assigns to


@dataclass
class World:
    """What all processes of a test share.

    variables   shared objects by name: (type, where they lie in memory)
    first, end  the stretch of memory that pointers may point into
    functions   helper functions by name
    of_vm       words of the file that are the VM's own, by name: where they lie
    file_scope  shared objects that are declared between the processes, which every function sees
    free        registers that processes may use, in order
    names_used  names of all functions that the file calls anywhere
    noted       calls of the module, of which answers are counted by place too
    specials    further names of constants
    """

    text: object
    structs: Structs
    listing: Listing
    variables: dict[str, tuple[Type, int]]
    first: int
    end: int
    functions: dict[str, c_ast.FuncDef]
    free: tuple[int, ...]
    names_used: set[str]
    constants: dict[str, int]
    processes: int
    file_scope: frozenset[str] = frozenset()
    noted: frozenset[str] = frozenset()
    of_vm: dict[str, int] = field(default_factory=dict)
    calls: object = None         # tdx.Calls, or nothing where the test makes none


class Body:
    """One process being written."""

    def __init__(self, world: World, number_: int):
        self.world, self.number, self.listing = world, number_, world.listing
        self.scopes: list[Scope] = []
        self.used = 0                            # of world.free
        self.inlined: list[str] = []             # names of the functions that are being written
        self.returns: list[tuple[str, Value | None, int]] = []       # where `return` goes, its value, depth of scopes
        self.expanding: set[str] = set()         # names of enumerators within one another
        self.kept: dict[str, Local] = {}         # locals by name, for conditions
        self.notes: dict[str, int] = {}          # registers that count or keep something (`counter`)
        self.held: dict[tuple[int, str], int] = {}       # (lock, mode) -> its place in a register (locks.py)
        self.where = ""
        self.gate: int | None = None             # where the word of its processor lies, if it may be interrupted ...
        self.interrupts: int | None = None       # ... or if it is the interrupt (interrupts.py)

    @property
    def interrupted(self) -> bool:
        return self.gate is not None

    def stays(self, name: str) -> bool:
        """Whether a local keeps the value of its declaration, in the function that is being written."""
        return name not in next(scope.assigned for scope in reversed(self.scopes) if scope.assigned is not None)

    # --- errors, rows, labels ---

    def error(self, node, what: str) -> LitmusError:
        return self.world.structs.error(node, what)

    def at(self, node) -> None:
        """The rows that follow are of this piece of C."""
        place = place_of(node)
        function = f"{self.inlined[-1]}: " if self.inlined else ""
        self.where = f"P{self.number}:{place.line} {function}{spelled(node)}"
        self.world.structs.places.setdefault(self.where, place)

    def row(self, op: Op, text: str = "", **fields) -> None:
        fields["text"] = text or self.where
        if self.interrupted and OP_TABLE[op].kind == Kind.SHARED:
            from harness.protocol.litmus import interrupts
            interrupts.row(self, op, fields)
        else:
            self.listing.row(op, **fields)

    def fresh(self, stem: str) -> str:
        return self.listing.fresh(f"P{self.number}.{stem}")

    def label(self, name: str) -> None:
        self.listing.label(name)

    def goto(self, name: str) -> None:
        self.row(Op.LET, next=name)

    # --- registers ---

    def take(self, node) -> int:
        """A register that is free."""
        room = len(self.world.free) - len(self.notes)
        if self.used >= room:
            raise self.error(node, f"P{self.number} needs more than {room} registers: fewer locals, please,"
                                   " or simpler expressions")
        self.used += 1
        return self.world.free[self.used - 1]

    @contextmanager
    def temporaries(self):
        """Registers taken inside are free again behind."""
        mark, names = self.used, len(self.kept)
        yield
        if len(self.kept) == names:              # a local declared inside stays where it is
            self.used = mark

    def counter(self, name: str) -> int:
        """A register of this process's own, zero at the start, that stays with it: what it counts or keeps."""
        if name not in self.notes:
            self.notes[name] = self.world.free[len(self.world.free) - 1 - len(self.notes)]
        return self.notes[name]

    def declare(self, node, name: str, type_: Type) -> Local:
        if name in self.scopes[-1].names:
            raise self.error(node, f"`{name}` is declared twice")
        local = Local(name, type_, self.take(node))
        self.scopes[-1].names[name] = local
        if not self.inlined:
            self.kept.setdefault(name, local)
        return local

    def undeclared(self, node) -> Local | None:
        """A register of herd7's (r0, r1 ...) that a process assigns to without a declaration, as some of the kernel's tests do."""
        if self.inlined or not REGISTER.fullmatch(node.name) or node.name in self.world.variables:
            return None
        scope = next(scope for scope in self.scopes if scope.assigned is not None)
        local = Local(node.name, types.INT, self.take(node))
        scope.names[node.name] = self.kept[node.name] = local
        said = f"P{self.number}: `{node.name}` is not declared; taken as an int, as herd7 does"
        self.world.structs.undeclared += [said] * (said not in self.world.structs.undeclared)
        return local

    def find(self, name: str):
        """A local, an argument, a shared object's address or a constant; None if there is none."""
        for scope in reversed(self.scopes):
            if name in scope.names:
                return scope.names[name]
            if scope.assigned is not None:       # a function does not see its caller's names
                break
        if name in self.world.structs.enumerators:
            return self._enumerator(name)
        if name in types.PG_LEVELS:
            return number(types.PG_LEVELS[name], types.PG_LEVEL)
        if name in self.world.constants:
            return number(self.world.constants[name], types.UNSIGNED_LONG)
        return None

    def _enumerator(self, name: str) -> Value | None:
        """What an enumerator stands for, here; None within itself."""
        from harness.protocol.litmus.expressions import value
        if name in self.expanding:
            return None
        self.expanding.add(name)
        given, more, of = self.world.structs.enumerators[name]
        found = value(self, given)
        if more:
            found = self.compute(Operator.ADD, found, number(more), types.INT, given)
        self.expanding.discard(name)
        return found if of is None else self.fitted(found, of, given)

    def names(self) -> set[str]:
        """The locals and arguments that can be named here."""
        found: set[str] = set()
        for scope in reversed(self.scopes):
            found |= set(scope.names)
            if scope.assigned is not None:
                break
        return found

    def shared_by_name(self, name: str) -> Shared | None:
        """A shared word that is named as in the kernel, a variable of the file: by helper functions, and wherever it is declared
        between the processes; those of the initial state P0, P1 ... have as parameters."""
        if name not in self.world.variables or not self.inlined and name not in self.world.file_scope:
            return None
        of, place = self.world.variables[name]
        return Shared(of, R.ZERO, place)

    # --- values ---

    def load_value(self, value: Value, node, register: int | None = None) -> int:
        """The register that holds a value; a number is put into one."""
        if value.constant is None and register is None:
            return value.register
        if value.constant == 0 and register is None:
            return R.ZERO
        target = self.take(node) if register is None else register
        if value.constant is not None:
            self.row(Op.LET, register=target, value=value.constant)
        elif target != value.register:
            self.row(Op.LET, register=target, source=value.register)
        return target

    def operand(self, value: Value) -> dict:
        """A value as `source + value` of a row."""
        if value.constant is not None:
            return {"source": R.ZERO, "value": value.constant}
        return {"source": value.register}

    def compute(self, operator: Operator, left: Value, right: Value, type_: Type, node, register: int | None = None) -> Value:
        """left OPERATOR right, in a type."""
        if left.constant is not None and right.constant is not None and register is None:
            return number(operator.of(left.constant, right.constant, type_.bits, type_.signed), type_)
        base = self.load_value(left, node)
        target = self.take(node) if register is None else register
        self.row(Op.COMPUTE, register=target, base=base, match=operator, width=type_.bits, mask=int(type_.signed),
                 **self.operand(right))
        return Value(type_, target)

    def fitted(self, value: Value, type_: Type, node) -> Value:
        """A value as it is in another type."""
        if value.local is not None or type_.kind in ("pointer", "void", "opaque"):
            return value._replace(type=type_) if type_.kind == "pointer" else value
        if value.constant is not None:
            return number(bool(value.constant) if type_.name in ("bool", "_Bool") else value.constant, type_)
        if type_.name in ("bool", "_Bool"):
            return self.compute(Operator.NE, value, number(0), types.INT, node)._replace(type=type_)
        wide = value.type.bits < type_.bits and (type_.signed or not value.type.signed)
        if wide or (value.type.bits, value.type.signed) == (type_.bits, type_.signed) or type_.bits == 64:
            return value._replace(type=type_)
        return self.compute(Operator.ADD, value, number(0), type_, node)

    def word(self, pointer: Value, type_: Type, node, offset: int = 0) -> Shared:
        """What a pointer points to, `offset` bytes further; looked at first, where it is not known."""
        if pointer.local is not None:
            raise self.error(node, "a local is no shared word")
        if pointer.constant is not None:
            where = pointer.constant + offset
            if not self.world.first <= where < self.world.end and where not in self.world.of_vm.values():
                raise self.error(node, "points to no shared word; arrays are shared, one among the locals can only be passed on")
            return Shared(type_, R.ZERO, where)
        inside, bad = self.fresh("inside"), self.fresh("nowhere")
        with self.temporaries():
            within = self.compute(Operator.SUB, pointer, number(self.world.first - offset, types.LONG), types.UNSIGNED_LONG, node)
            within = self.compute(Operator.LT, within, number(self.world.end - self.world.first, types.LONG), types.UNSIGNED_LONG, node)
            self.row(Op.TEST, register=within.register, mask=-1, match=1, next=inside, otherwise=bad)
        with self.listing.aside(bad):
            self.violation("dereference")
            self.row(Op.STOP)
        self.label(inside)
        return Shared(type_, pointer.register, offset)

    def violation(self, invariant: str) -> None:
        self.listing.count(violation(invariant))

    def must(self, found: Value, invariant: str) -> None:
        """Count a violation where a value is zero."""
        from harness.protocol.litmus.expressions import decide
        ok, bad = self.fresh("ok"), self.fresh("violated")
        decide(self, found, ok, bad)
        with self.listing.aside(bad):
            self.violation(invariant)
            self.goto(ok)
        self.label(ok)

    # --- guards ---

    def leave(self, depth: int, back_to=()) -> None:
        """Release what the blocks from `depth` on have to, last first."""
        for scope in reversed(self.scopes[depth:]):
            if scope.node is None or scope.node not in back_to:
                for release in reversed(scope.guards):
                    release()


def spelled(node) -> str:
    """A piece of C on one line."""
    try:
        text = " ".join(_GENERATOR.visit(node).split())
    except (AttributeError, TypeError):
        return ""
    return text.replace("__guard__", "guard").replace(f"? {IT} :", "?:")
