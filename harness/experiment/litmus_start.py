"""The initial state of a C litmus test: shared words with their types and values, and what it says of the TD."""

import errno
import re
from dataclasses import dataclass

from harness.errors import UsageError, nearest
from harness.experiment import litmus_td
from harness.protocol.litmus import kvm, types
from harness.protocol.litmus.text import Text
from harness.protocol.litmus.types import Type

CONSTANTS = {"true": 1, "false": 0, "NULL": 0}
CONSTANTS |= {f"E{name}": getattr(errno, f"E{name}") for name in "AGAIN BUSY INVAL IO NOMEM EXIST FAULT NOENT PERM INTR".split()}


@dataclass(frozen=True)
class Variable:
    """A shared object: its type, and what its words hold at the start: numbers, or names of objects."""

    name: str
    type: Type
    values: tuple = ()


_ITEM = re.compile(r"""\s*(?:
    (?P<process>\d+)\s*:\s*(?P<local>[A-Za-z_]\w*)\s*=\s*(?P<given>.+)
  | (?P<type>(?:struct\s+\w+|[A-Za-z_]\w*(?:\s+(?:int|long|char|short))*)\s*\**)\s*
    (?<=[\s*])(?P<name>[A-Za-z_]\w*)\s*(?:\[\s*(?P<count>\d+)\s*\])?\s*(?:=\s*(?P<value>.+))?
  | (?P<open>\[\s*)?(?P<bare>[A-Za-z_]\w*)(?(open)\s*\])\s*(?:=\s*(?P<bare_value>.+))?
)\s*\Z""", re.VERBOSE | re.DOTALL)


def initial(text: Text, structs, parameters: dict[str, Type], declared=()):
    """(variables, registers, what is said of the TD, as a scenario's table) of the initial state and the parameters.

    declared   (name, type, value or None, where) of what is declared between the processes
    """
    variables: dict[str, Variable] = {name: Variable(name, of) for name, of, _, _ in declared}
    registers, later, table = [], list(declared), {}
    named, unnamed = litmus_td.words_named(text), []
    for item, offset in _items(text):
        if litmus_td.take(table, item, offset):
            continue
        litmus_td.check_form(text, item, offset, parameters.keys() | variables.keys())
        found = _ITEM.match(item)
        if not found:
            raise litmus_td.not_understood(text, item, offset)
        if found["process"]:
            registers.append((int(found["process"]), found["local"], _scalar(text, found["given"], offset)))
            continue
        name = found["name"] or found["bare"]
        if name in variables:
            raise text.error(offset, f"`{name}` is given twice")
        type_ = _type(text, structs, found, offset) if found["type"] else parameters.get(name, types.INT)
        value = found["value"] or found["bare_value"]
        later.append((name, type_, value, offset))
        variables[name] = Variable(name, type_)
        named |= set(re.findall(r"[A-Za-z_]\w*", value or ""))
        unnamed.append((name, found["bare"] is not None, offset))
    for name, of in parameters.items():
        variables.setdefault(name, Variable(name, of))
    for name, bare, offset in unnamed:
        if name not in named:
            litmus_td.check_unnamed(text, name, bare, offset, named & variables.keys())
    for name, type_, value, offset in later:
        variables[name] = Variable(name, type_, _values(text, type_, value, offset, variables))
    for process, local, value in registers:
        if isinstance(value, str) and value not in variables:
            raise text.error(text.init.start, f"{process}:{local}={value}: `{value}` is no shared word")
    for each in list(variables.values()):
        if each.type.kind in ("opaque", "void"):
            variables[each.name] = Variable(each.name, types.INT)        # only its address can be used
        elif kvm.is_kvm(each.type) and not each.values:
            variables[each.name] = Variable(each.name, each.type, kvm.start(each.type))
    return list(variables.values()), registers, table


def _items(text: Text):
    """(item, where it stands in the file); items end with `;`, and braces keep theirs together."""
    depth, start = 0, 0
    body = text.init.text + ";"
    for at, letter in enumerate(body):
        depth += {"{": 1, "}": -1}.get(letter, 0)
        if letter == ";" and not depth:
            piece = body[start:at]
            if piece.strip():
                yield piece.strip(), text.init.start + start + len(piece) - len(piece.lstrip())
            start = at + 1


def placed(text: Text, problem: UsageError, given: dict) -> UsageError:
    """What is wrong with a scenario's table, `FILE: start.pages.3 = ...`, with the place of the item that says it, if the file does."""
    found = re.match(rf"{re.escape(text.path)}: (?:start\.)?(\w+?)s?(?:\.(?:vcpu)?(\d+))?\b(.*)", str(problem), re.DOTALL)
    for item, offset in _items(text) if found and found[1] not in given else ():
        words = re.findall(r"\w+", item)
        if words[0].rstrip("s") == found[1] and (not found[2] or any(found[2] in word for word in words[1:2])):
            return text.error(offset, str(problem).removeprefix(f"{text.path}: "))
    return problem


def _type(text: Text, structs, found, offset: int) -> Type:
    name = " ".join(found["type"].replace("*", " ").split())
    if name.startswith("struct "):
        of = structs.known.get(name.removeprefix("struct ").strip()) or Type(name, kind="opaque")
    elif name in types.NAMES:
        of = types.NAMES[name]
    else:
        raise text.error(offset, f"type `{name}` is not understood{nearest(name, types.NAMES)}")
    for _ in range(found["type"].count("*")):
        of = types.pointer(of)
    if found["count"]:
        if not 1 <= int(found["count"]) <= 512:
            raise text.error(offset, f"`{found['name']}[{found['count']}]`: must have 1 to 512 elements")
        of = types.array(of, int(found["count"]))
    return of


# What the kernel writes for a lock that is free (include/linux/spinlock_types.h, rwlock_types.h, mutex.h).
_UNLOCKED = re.compile(r"(?:__)?(?:RAW_)?(?:SPIN|RW)_LOCK_UNLOCKED(?:\s*\(.*\))?|__(?:MUTEX|RWSEM)_INITIALIZER\s*\(.*\)|__SRCU_STRUCT_INIT\s*\(.*\)")


def _scalar(text: Text, given: str, offset: int):
    """A number, or the name of the shared object at that address."""
    given = given.strip()
    if _UNLOCKED.fullmatch(given):
        return 0
    wrapped = re.fullmatch(r"(?:ATOMIC_INIT|ATOMIC64_INIT|REFCOUNT_INIT)\s*\((.*)\)|\(\s*(-?\w+)\s*\)", given)
    given = next(part for part in wrapped.groups() if part is not None).strip() if wrapped else given
    if re.fullmatch(r"-?(0[xX][0-9a-fA-F]+|\d+)", given):
        value = int(given, 0) if not re.fullmatch(r"-?0\d+", given) else int(given, 8)
        if not -(1 << 63) <= value < 1 << 64:
            raise text.error(offset, f"`{given:.40}`: must fit 64 bits")
        return value
    if given in CONSTANTS:
        return CONSTANTS[given]
    name = given.removeprefix("&").strip()
    if re.fullmatch(r"[A-Za-z_]\w*", name):
        return name
    raise text.error(offset, f"`{given:.40}`: must be a number or the name of a shared word")


def _values(text: Text, type_: Type, value: str | None, offset: int, variables) -> tuple:
    if value is None:
        return ()
    if value.startswith("{"):
        inside = value.strip()[1:-1].replace("{", "").replace("}", "")
        pieces = [re.sub(r"^\s*\.\w+\s*=", "", piece) for piece in inside.split(",") if piece.strip()]
        if re.search(r"\.\w+\s*=", inside):
            return _by_field(text, type_, inside, offset)
    else:
        pieces = [value]
    values = tuple(_scalar(text, piece, offset) for piece in pieces)
    if type_.kind in types.LOCKS and any(values):
        raise text.error(offset, f"{type_} begins unlocked")
    if len(values) > type_.words:
        raise text.error(offset, f"{len(values)} values for {type_.words} word{'s' * (type_.words != 1)}")
    for each in values:
        if isinstance(each, str):                # `int *x = &a;`: a word that no process has by name
            variables.setdefault(each, Variable(each, type_.to if type_.kind == "pointer" else types.INT))
    return values


def _by_field(text: Text, type_: Type, inside: str, offset: int) -> tuple:
    values = [0] * type_.words
    for piece in inside.split(","):
        if not piece.strip():
            continue
        found = re.fullmatch(r"\s*\.(\w+)\s*=\s*(.+?)\s*", piece)
        at = type_.field_at(found[1]) if found and type_.kind == "struct" else None
        if at is None:
            raise text.error(offset, f"`{piece.strip()}`: {type_} has no such field")
        values[at[0]] = _scalar(text, found[2], offset)
    return tuple(values)
