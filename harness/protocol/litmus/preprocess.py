"""What a C preprocessor does to pasted code of the kernel, so that pycparser can parse the rest: pcpp, with kernel.h.

    #define, #ifdef, #if ...  as in C, also with arguments; `#include` is skipped, no file is ever read
    kernel.h                  macros that the kernel's headers would bring: attributes, DEFINE_SPINLOCK, scoped_guard, min_t ...
    a ?: b                    a ? IT : b, where IT is what `a` came to

What no macro has touched stays where it is, line and column.  Where a piece had to move, `Prepared.moved` says where it
stands in the file; what a macro brings stands where the macro is named.
"""

import functools
import re
from pathlib import Path
from typing import Iterator, NamedTuple

from pcpp.preprocessor import Action, OutputDirective, Preprocessor

from harness.protocol.litmus.text import LitmusError, Place, Text

KERNEL = Path(__file__).with_name("kernel.h")
IT = "__it__"
SCOPED = "__guard__"             # what scoped_guard(kind, lock) is for statements.py
TOKENS_MOST = 100_000            # that a file's macros may bring
SKIPPED = ("include", "pragma", "line", "warning", "ident")
KNOWN = ("define", "undef", "ifdef", "ifndef", "if", "elif", "else", "endif")


# A function that the file has itself, which goes before a macro of kernel.h.
_DEFINED = re.compile(r"\b(\w+)\s*\((?:[^(){};]|\([^(){};]*\))*\)\s*\{")
_TYPE_BEFORE = re.compile(r"(?:\*|\b(?!(?:else|do|return)\b)\w+)\Z")


class Prepared(NamedTuple):
    """C for pycparser, from the file's first line on; (line, column) in it -> the place in the file, where they differ."""

    text: str
    moved: dict[tuple[int, int], Place]


def prepare(text: Text) -> Prepared:
    """What is between the initial state and the condition, without preprocessing.  Raises LitmusError."""
    first = text.place(text.functions.start)
    whole = "\n" * (first.line - 1) + " " * (first.column - 1) + text.functions.text
    if not _needed().search(whole):
        return Prepared(whole, {})
    macros = _Macros(text)
    try:
        return _laid_out(macros.expanded(whole), macros)
    except RecursionError:
        raise macros.error(macros.line, "macros within one another too deeply") from None
    except (IndexError, KeyError, TypeError, ValueError, AttributeError, ArithmeticError):       # pcpp on what is no C
        raise macros.error(macros.line, "not understood by the preprocessor") from None


def _own(functions: str) -> set[str]:
    """Names of the functions that a file has."""
    return {found[1] for found in _DEFINED.finditer(functions) if _TYPE_BEFORE.search(functions[max(0, found.start() - 99):found.start()].rstrip())}


@functools.cache
def _needed() -> re.Pattern:
    """What a text has that needs preprocessing at all."""
    return re.compile(rf"^[ \t]*\#|\?\s*:|\b(?:{'|'.join(map(re.escape, _headers()))})\b", re.MULTILINE)


@functools.cache
def _headers() -> dict:
    """kernel.h's macros."""
    made = _Macros(None)
    list(made.expanded(KERNEL.read_text()))
    return made.macros


class _Macros(Preprocessor):
    """pcpp, which reads no file, says what is wrong as a LitmusError, and knows where each token stands.

    A token of the file has `at`, its line and column; one of a macro's body has none.
    """

    def __init__(self, text: Text | None):
        super().__init__()
        self.text, self.line = text, 1
        own = _own(text.functions.text) if text else set()
        self.macros = {name: macro for name, macro in _headers().items() if name not in own} if text else {}
        self.expand_filemacro = self.expand_linemacro = self.expand_countermacro = False
        self.names: dict[tuple[int, str], list[int]] = {}        # (line, name) -> the columns where it stands

    def expanded(self, whole: str) -> Iterator:
        self.parse(whole)
        return iter(self.token, None)

    def group_lines(self, whole, abssource):
        starts = [0]
        for line in whole.splitlines():
            starts.append(starts[-1] + len(line.rstrip()) + 1)
        for line in super().group_lines(whole, abssource):
            word = next((token.value for token in line if token.value.strip()), "")
            self.line = line[0].lineno
            for token in line if word != "#" else ():
                token.at = Place(token.lineno, token.lexpos - starts[token.lineno - 1] + 1)
                if token.type == self.t_ID:
                    self.names.setdefault((token.lineno, token.value), []).append(token.at.column)
            yield line

    def expand_macros(self, tokens, expanding_from=()):
        before = len(tokens)
        found = super().expand_macros(tokens, list(expanding_from))
        if len(found) - before > TOKENS_MOST:
            raise self.error(self.line, f"the macros come to more than {TOKENS_MOST} words")
        return found

    # --- what pcpp asks ---

    def on_error(self, file, line, msg):
        raise self.error(line, msg[:1].lower() + msg[1:])

    def on_directive_handle(self, directive, toks, ifpassthru, precedingtoks):
        if directive.value in SKIPPED:
            raise OutputDirective(Action.IgnoreAndRemove)
        if directive.value in KNOWN and not toks and directive.value not in ("else", "endif"):
            raise self.error(directive.lineno, f"`#{directive.value}` must be followed by "
                                               f"{'a condition' if directive.value in ('if', 'elif') else 'a name'}")
        return True

    def on_directive_unknown(self, directive, toks, ifpassthru, precedingtoks):
        says = "".join(token.value for token in toks)
        raise self.error(directive.lineno, f"#error {says}" if directive.value == "error" else f"`#{directive.value}` is not understood")

    def on_unknown_macro_in_defined_expr(self, tok):
        return False

    def on_unknown_macro_in_expr(self, ident):
        return 0

    def on_unknown_macro_function_in_expr(self, ident):
        return lambda *given: 0

    def on_include_not_found(self, is_malformed, is_system_include, curdir, includepath):
        raise OutputDirective(Action.IgnoreAndRemove)

    def on_file_open(self, is_system_include, includepath):
        raise OSError("no file is read")

    # --- places ---

    def error(self, line: int, what: str) -> LitmusError:
        lines = self.text.whole.split("\n")
        here = lines[line - 1] if 0 < line <= len(lines) else ""
        return LitmusError(self.text.path, Place(line, len(here) - len(here.lstrip()) + 1), what)

    def place(self, token, last: Place) -> Place:
        """Where a token stands: one of a macro's body where the macro is named, behind `last`."""
        at = getattr(token, "at", None)
        if at is not None:
            return at
        name = (getattr(token, "expanded_from", None) or [""])[-1]
        columns = self.names.get((token.lineno, name), [1])
        behind = [column for column in columns if token.lineno != last.line or column > last.column]
        return Place(token.lineno, (behind or columns)[0])


def _laid_out(tokens, macros: _Macros) -> Prepared:
    """Tokens as text: each in its line, and in its column where what macros brought leaves it free."""
    pieces: list[str] = []
    moved: dict[tuple[int, int], Place] = {}
    line, column, last, before, space = 1, 1, Place(1, 0), "", False
    for token in tokens:
        if not token.value.strip() or token.type in macros.t_LINECONT:
            space = True
            continue
        where = macros.place(token, last)
        if token.lineno > line:
            pieces.append("\n" * (token.lineno - line))
            line, column, space = token.lineno, 1, False
        pad = max(where.column - column if where.line == line else 0, int(space))
        if before == "?" and token.value == ":":
            pieces.append(f" {IT} ")
            column += len(IT) + 2
        pieces += [" " * pad, token.value]
        column += pad
        if (line, column) != where:
            moved[line, column] = where
        column += len(token.value)
        last = where if getattr(token, "at", None) is not None else last
        before, space = token.value, False
    return Prepared("".join(pieces), moved)
