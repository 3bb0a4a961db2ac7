"""The parts of a .litmus file: name, initial state, processes, locations, filter and condition.

Comments are blanked out, not cut, so that every part keeps its lines and columns.  Outside functions a
comment is `(* ... *)` or C's, inside them and in a #define it is C's.
"""

import re
from dataclasses import dataclass
from typing import NamedTuple

from harness.errors import UNSAFE, UsageError

NAME_MOST = 200                  # letters


class Place(NamedTuple):
    """Where something stands: line and column from 1."""

    line: int
    column: int


class LitmusError(UsageError):
    """What is wrong with a litmus file, with its file, line and column."""

    def __init__(self, path: str, place: Place, what: str):
        super().__init__(f"{path}:{place.line}:{place.column}: {what}")
        self.place, self.what = place, what


class Part(NamedTuple):
    """A piece of the file, and where it begins."""

    text: str
    start: int


@dataclass(frozen=True)
class Text:
    """A file taken apart; nothing in it is understood yet.

    name        the test's name
    note        the comment blocks, as they stand
    init        what is between the first braces
    functions   everything from the first function to the last
    locations, filter, condition   "" where there is none; quantifier: exists, ~exists, forall
    """

    path: str
    whole: str
    name: str
    note: str
    init: Part
    functions: Part
    locations: Part
    filter: Part
    quantifier: str
    condition: Part

    def place(self, offset: int) -> Place:
        """Line and column of an offset into the file."""
        before = self.whole[:offset]
        return Place(before.count("\n") + 1, offset - before.rfind("\n"))

    def offset(self, place: Place) -> int:
        """The offset into the file of a line and a column."""
        lines = self.whole.split("\n", place.line - 1)
        return len(self.whole) - len(lines[-1]) + place.column - 1

    def error(self, offset: int, what: str) -> LitmusError:
        return LitmusError(self.path, self.place(offset), what)


_OUTSIDE = re.compile(r"\(\*.*?\*\)|/\*.*?\*/|//[^\n]*|\(\*|/\*", re.DOTALL)
_IN_BODY = re.compile(r"/\*.*?\*/|//[^\n]*|/\*", re.DOTALL)
_DIRECTIVE = re.compile(r"^[ \t]*#(?:\\\n|[^\n])*", re.MULTILINE)
_HEADER = re.compile(r"\s*C[ \t]+([^\s{]+)[^\n{]*")
_QUANTIFIER = re.compile(r"~[ \t]*exists\b|\bexists\b|\bforall\b|\bfinal\b|\blocations\b|\bfilter\b")
EMPTY = Part("", 0)


def blank(whole: str, start: int, lines_: Text) -> tuple[str, list[str]]:
    """Comments behind `start` as spaces, so that lines and columns stay; and what `(* ... *)` say.

    Raises LitmusError for one that does not end.
    """
    pieces, at, depth, opened, notes = [" " * start], start, 0, 0, []
    directive = start                            # the end of a `#define` or its like: what is behind it is C's, as in (*(x))
    while at < len(whole):
        if opened and at >= directive and (found := _DIRECTIVE.match(whole, at)):
            directive = found.end()
        in_body = depth and opened > 1 or at < directive         # of the braces at the outermost level, the first hold the initial state
        found = (_IN_BODY if in_body else _OUTSIDE).match(whole, at)
        if found:
            if found.group() in ("(*", "/*"):
                function = "; pointers to functions are not understood" * (found.group() == "(*" and opened > 0)
                raise lines_.error(at, f"the comment that `{found.group()}` begins does not end{function}")
            if found.group().startswith("(*"):
                notes.append(found.group()[2:-2].strip())
            pieces.append(re.sub(r"[^\n]", " ", found.group()))
            at = found.end()
            continue
        letter = whole[at]
        opened += letter == "{" and not depth
        depth += {"{": 1, "}": -1}.get(letter, 0)
        pieces.append(letter)
        at += 1
    return "".join(pieces), notes


def take_apart(whole: str, path: str) -> Text:
    """Raises LitmusError."""
    lines_ = Text(path, whole, "", "", EMPTY, EMPTY, EMPTY, EMPTY, "", EMPTY)
    header = _HEADER.match(whole)
    if not header:
        raise lines_.error(len(whole) - len(whole.lstrip()), "must begin with `C NAME`")
    if len(header[1]) > NAME_MOST or UNSAFE.search(header[1]):
        raise lines_.error(header.start(1), f"the name must be at most {NAME_MOST} printable letters")
    bare, notes = blank(whole, header.end(), lines_)
    opening = bare.find("{")
    if opening < 0:
        raise lines_.error(len(whole.rstrip()), "no initial state: `{ }` must follow the name")
    before = re.sub(r'"[^"\n]*"|^[\w-]+=.*$', lambda known: " " * len(known[0]), bare[header.end():opening], flags=re.MULTILINE)
    if before.strip():
        at = header.end() + len(before) - len(before.lstrip())
        directive = before.strip().startswith("#")
        raise lines_.error(at, "only comments, a quoted line and KEY=VALUE lines may stand before the initial state"
                               + "; `#define` and relatives go behind its `}`, before the processes" * directive)
    closing = _matching(bare, opening, lines_)
    end = _functions_end(bare, closing + 1, lines_)
    parts = _tail(bare, end, lines_)
    return Text(path, whole, header.group(1), "\n".join(notes), Part(bare[opening + 1:closing], opening + 1),
                Part(bare[closing + 1:end], closing + 1), *parts)


def _matching(bare: str, opening: int, lines_: Text) -> int:
    """The offset of the bracket that closes the one at `opening`."""
    pairs, depth = {"{": "}", "(": ")", "[": "]"}, []
    for offset in range(opening, len(bare)):
        letter = bare[offset]
        if letter in pairs:
            depth.append((pairs[letter], offset))
        elif depth and letter in pairs.values():
            if letter != depth[-1][0]:
                wanted, opened = depth[-1][0], lines_.place(depth[-1][1])
                raise lines_.error(offset, f"`{letter}` here, where `{wanted}` closes what is open: the `{bare[depth[-1][1]]}` in line"
                                           f" {opened.line}, column {opened.column}")
            depth.pop()
            if not depth:
                return offset
    raise lines_.error(opening, f"this `{bare[opening]}` is never closed")


def _functions_end(bare: str, start: int, lines_: Text) -> int:
    """Behind the last function body."""
    at = end = start
    while True:
        brace = bare.find("{", at)
        if brace < 0 or _QUANTIFIER.search(bare, at, brace):
            break
        at = end = _matching(bare, brace, lines_) + 1
        while bare[at:at + 1] in (";", " ", "\n", "\t"):         # a struct's end
            at += 1
            if bare[at - 1] == ";":
                end = at
    return end


def _tail(bare: str, end: int, lines_: Text) -> tuple[Part, Part, str, Part]:
    """(locations, filter, quantifier, condition) behind the functions."""
    found = {"locations": EMPTY, "filter": EMPTY}
    quantifier, condition = "", EMPTY
    at = end
    while at < len(bare):
        rest = bare[at:]
        if not rest.strip():
            break
        start = at + len(rest) - len(rest.lstrip())
        word = _QUANTIFIER.match(bare, start)
        if not word and bare[start] != "(":
            raise lines_.error(start, "`locations`, `filter`, `exists`, `~exists` or `forall` must follow the processes")
        name = re.sub(r"\s", "", word.group()) if word else "exists"
        begin = word.end() if word else start
        if name in found:
            opening = begin + len(bare[begin:]) - len(bare[begin:].lstrip())
            if bare[opening:opening + 1] != ("[" if name == "locations" else "("):
                raise lines_.error(begin, f"`{name}` must be followed by `{'[' if name == 'locations' else '('}`")
            at = _matching(bare, opening, lines_) + 1
            found[name] = Part(bare[opening + 1:at - 1], opening + 1)
        else:
            quantifier, condition, at = {"final": "exists"}.get(name, name), Part(bare[begin:], begin), len(bare)
    return found["locations"], found["filter"], quantifier, condition
