"""Conditions: `exists (0:r0=1 /\\ x=2)` and what else herd7 takes, parsed and held against a final state.

    PROP    PROP \\/ PROP | PROP /\\ PROP | PROP => PROP | ~PROP | not PROP | (PROP) | true | false | ATOM
    ATOM    NAME = VALUE | NAME == VALUE | NAME != VALUE | NAME <> VALUE
    NAME    0:r1   x   [x]   a[1]   p->f   page 3
    VALUE   a number, a NAME, or a word such as PENDING, TDX_OPERAND_BUSY or TDX_OPERAND_BUSY|RCX

`~` binds tightest, then `/\\`, then `\\/`, then `=>`, which goes to the right.
"""

import re
from typing import Callable, NamedTuple

from harness.protocol.litmus.text import Part, Text
from harness.protocol.litmus.types import NAMES

_TOKEN = re.compile(r"""\s*(?:
    (?P<symbol> /\\ | \\/ | => | == | != | <> | && | \|\| | [=~!()] )
  | (?P<register> \d+ \s* : \s* [A-Za-z_]\w* (?: (?:->|\.) \w+ | \[ \s* \d+ \s* \] )* )
  | (?P<number> -? (?: 0[xX][0-9a-fA-F]+ | \d+ ) )
  | (?P<name> [A-Z][A-Z0-9_]+ \|(?!\|) (?: level [ \t]+ \d+ | \w+ )
            | \[ \s* [A-Za-z_]\w* \s* \]
            | [A-Za-z_][\w+]* (?: \s*(?:->|\.)\s*\w+ | \[ \s* \d+ \s* \] )* (?: [ \t]+ \d+ (?: [ \t]+ level [ \t]+ \d+ )? )? )
)""", re.VERBOSE)
# `int x`, `x int`, `int *p`: in `locations`, before or behind a name.
_TYPED = re.compile(rf"^\s*(?:{'|'.join(map(re.escape, NAMES))})(?:\s*\*|\s(?=\s*\w))|(?<=\w)\s+(?:{'|'.join(map(re.escape, NAMES))})\s*\*?\s*$")
SPELT = {"&&": "/\\", "||": "\\/", "!": "~", "==": "=", "<>": "!="}


class Atom(NamedTuple):
    """left = right, or != ; each a name (str) or a number."""

    left: str
    equal: bool
    right: str | int
    offset: int                  # in the file


class All(NamedTuple):
    parts: tuple


class Any(NamedTuple):
    parts: tuple


class Not(NamedTuple):
    part: object


class Constant(NamedTuple):
    value: bool


class _Reader:
    """Tokens of one part, with their offsets in the file."""

    def __init__(self, text: Text, part: Part):
        self.text, self.tokens, at = text, [], 0
        while part.text[at:].strip():
            found = _TOKEN.match(part.text, at)
            if not found:
                at += len(part.text[at:]) - len(part.text[at:].lstrip())
                raise text.error(part.start + at, f"`{part.text[at]}`: not understood in a condition")
            word, start = found.group().strip(), found.end() - len(found.group().lstrip())
            self.tokens.append((found.lastgroup, SPELT.get(word, word), part.start + start))
            at = found.end()
        self.end = part.start + len(part.text.rstrip())
        self.at = 0

    def peek(self) -> tuple[str, str, int]:
        return self.tokens[self.at] if self.at < len(self.tokens) else ("end", "", self.end)

    def take(self, *words: str) -> bool:
        if self.peek()[1] in words:
            self.at += 1
            return True
        return False

    def wrong(self, what: str):
        kind, word, offset = self.peek()
        return self.text.error(offset, f"{f'`{word}`' if word else 'the end'} here, where {what} is expected")


def parse(text: Text, part: Part):
    """A proposition.  Raises LitmusError."""
    reader = _Reader(text, part)
    found = _proposition(reader)
    if reader.peek()[0] != "end":
        raise reader.wrong("`/\\`, `\\/`, `=>` or the end")
    return found


def _proposition(reader):
    return _chain(reader, "\\/", Any, lambda: _chain(reader, "/\\", All, lambda: _implication(reader)))


def _implication(reader):
    """`a => b` binds tighter than `/\\`, as herd7 has it (lib/stateParser.mly)."""
    left = _unary(reader)
    if reader.take("=>"):
        return Any((Not(left), _implication(reader)))
    return left


def _chain(reader, symbol: str, kind: type, below: Callable):
    parts = [below()]
    while reader.take(symbol):
        parts.append(below())
    return parts[0] if len(parts) == 1 else kind(tuple(parts))


def _unary(reader):
    if reader.take("~", "not"):
        return Not(_unary(reader))
    if reader.take("("):
        inside = _proposition(reader)
        if not reader.take(")"):
            raise reader.wrong("`)`")
        return inside
    if reader.take("true"):
        return Constant(True)
    if reader.take("false"):
        return Constant(False)
    kind, word, offset = reader.peek()
    if kind not in ("register", "name"):
        raise reader.wrong("a name such as 0:r0, x or a[1]")
    reader.at += 1
    for symbol in ("=", "!="):
        if reader.take(symbol):
            break
    else:
        raise reader.wrong("`=` or `!=`")
    kind, value, at = reader.peek()
    if kind not in ("number", "register", "name"):
        raise reader.wrong("a number or a name")
    if kind == "number" and re.match(r"-?0\d", value):
        raise reader.text.error(at, f"`{value}`: a number does not begin with 0 here, which herd7 reads as decimal and C as octal")
    reader.at += 1
    return Atom(normal(word), symbol == "=", int(value, 0) if kind == "number" else normal(value), offset)


def normal(name: str) -> str:
    """A name as it is kept: `0:r1`, `x`, `a[1]`, `page 3`."""
    name = re.sub(r"\s*(->|\.|:|\[|\])\s*", r"\1", name.strip())
    return re.sub(r"\s+", " ", name[1:-1] if name.startswith("[") else name.replace("->", "."))


def fitted(proposition, type_of: Callable):
    """The same with each number as it is in the type of what it is compared with: 0xffffffff of a u32 is -1 of it, too."""
    if isinstance(proposition, Atom) and isinstance(proposition.right, int):
        return proposition._replace(right=type_of(proposition.left).fit(proposition.right))
    if isinstance(proposition, (All, Any)):
        return type(proposition)(tuple(fitted(part, type_of) for part in proposition.parts))
    return Not(fitted(proposition.part, type_of)) if isinstance(proposition, Not) else proposition


def atoms(proposition) -> list[Atom]:
    """All comparisons of a proposition, in order."""
    if isinstance(proposition, (All, Any)):
        return [atom for part in proposition.parts for atom in atoms(part)]
    return [proposition] if isinstance(proposition, Atom) else atoms(proposition.part) if isinstance(proposition, Not) else []


def names(proposition) -> list[tuple[str, int]]:
    """(name, offset) of all that a proposition looks at, in order."""
    return [(name, atom.offset) for atom in atoms(proposition) for name in (atom.left, atom.right) if isinstance(name, str)]


def holds(proposition, value_of: Callable) -> bool:
    """Whether a proposition is true of a final state.

    value_of   (name, whether it stands to the right of `=`) -> the value, or the name itself where it is one
    """
    if isinstance(proposition, Constant):
        return proposition.value
    if isinstance(proposition, Not):
        return not holds(proposition.part, value_of)
    if isinstance(proposition, (All, Any)):
        return (all if isinstance(proposition, All) else any)(holds(part, value_of) for part in proposition.parts)
    right = value_of(proposition.right, True) if isinstance(proposition.right, str) else proposition.right
    return (value_of(proposition.left) == right) == proposition.equal


def listed(text: Text, part: Part) -> list[tuple[str, int]]:
    """(name, offset) of what `locations [ ... ]` names; a type before or behind a name is passed over."""
    found, at = [], 0
    for piece in part.text.split(";"):
        name = _TYPED.sub(lambda typed: " " * len(typed[0]), piece)
        if name.strip():
            found.append((normal(name), part.start + at + len(name) - len(name.lstrip())))
        at += len(piece) + 1
    return found
