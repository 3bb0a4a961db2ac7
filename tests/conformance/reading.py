"""Files of results of the module's own code: which of the five forms it is, its release, its rows.

Each form is a CSV table behind a line of explanation, which begins with "#".  Files may be compressed (.gz).
"""

import csv
import gzip
import re
from pathlib import Path
from typing import NamedTuple

from harness.errors import UsageError, nearest
from harness.protocol import releases

CALLS = ("call", "level", "state", "el", "hp", "before", "status", "end", "after")
INTERLEAVINGS = (
    "scenario", "set", "release", "a", "b", "c", "start", "listed", "status_a", "status_b", "status_c", "end",
    "entry", "entry_state", "tree", "page_pamt", "page_type", "epoch_lock", "td_epoch", "op_state_lock")
DPAMT_CALLS = ("call", "args", "before", "status", "end", "regs", "after")
DPAMT_INTERLEAVINGS = (
    "scenario", "what", "release", "a", "b", "c", "start", "status_a", "status_b", "status_c", "end", "words")
LOCK_WORDS = ("lock", "operation", "word", "result", "word_after", "halts")
FORMS = (CALLS, INTERLEAVINGS, DPAMT_CALLS, DPAMT_INTERLEAVINGS, LOCK_WORDS)
RELEASE = re.compile(r"\d+\.\d+\.\d+")


class Line(NamedTuple):
    """A row of a file, by column, and where it stands."""

    place: str                   # FILE:LINE
    cells: dict[str, str]

    def __getitem__(self, column: str) -> str:
        return self.cells[column]

    def refuse(self, column: str, value, allowed: str) -> UsageError:
        """What is to be raised about a cell."""
        return UsageError(f"{self.place}: {column} = {value!r}: {allowed}")


class Vectors(NamedTuple):
    """A file that has been read.

    release   of its calls; of a form with a column for it all that occur, of lock words nothing
    """

    path: Path
    form: tuple[str, ...]
    release: str
    lines: list[Line]


class Compared(NamedTuple):
    """One comparison: of which call or scenario, how it differs (nothing: it does not), what covers that."""

    group: str
    difference: str = ""
    covered: str = ""


def read(path: str | Path, release: str = "") -> Vectors:
    """A file of any of the forms.  Raises UsageError: one line with file, key, value, what is allowed.

    release   of single calls, if not the one that the file's name or explanation says
    """
    path = Path(path)
    try:
        raw = path.read_bytes()
        text = (gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw).decode("utf-8-sig")
    except FileNotFoundError:
        near = [str(other) for other in path.parent.glob("*.csv*")] if path.parent.is_dir() else []
        raise UsageError(f"{path}: no such file{nearest(path, near)}") from None
    except (OSError, EOFError, UnicodeDecodeError) as problem:
        raise UsageError(f"{path}: cannot be read: {getattr(problem, 'strerror', None) or problem}") from None
    rows = [(number, row) for number, row in enumerate(csv.reader(text.splitlines()), 1) if row]
    comments = [row for _, row in rows if row[0].startswith("#")]
    rows = [(number, row) for number, row in rows if not row[0].startswith("#")]
    if not rows or tuple(rows[0][1]) not in FORMS:
        found = ",".join(rows[0][1])[:60] if rows else ""
        raise UsageError(f"{path}: columns = {found!r}: must be those of calls-*, interleavings-*, dpamt-* or lock_words")
    form, lines = tuple(rows[0][1]), []
    for number, row in rows[1:]:
        if len(row) != len(form):
            raise UsageError(f"{path}:{number}: {len(row)} cells: must be {len(form)}")
        lines.append(Line(f"{path}:{number}", dict(zip(form, row))))
    return Vectors(path, form, _release(path, form, comments, lines, release), lines)


def _release(path: Path, form, comments, lines: list[Line], asked: str) -> str:
    if form == LOCK_WORDS:
        return ""
    if "release" in form:
        for line in lines:
            _known(f"{line.place}", line["release"])
        return ", ".join(dict.fromkeys(line["release"] for line in lines))
    # A file of single calls says its release in its name, or in its explanation.
    named = RELEASE.search(path.name) or next(filter(None, map(RELEASE.search, map(",".join, comments))), None)
    found = asked or (named.group() if named else "")
    if not found:
        raise UsageError(f"{path}: neither its name nor its explanation says a release: say --release,"
                         f" one of {', '.join(releases.BY_NAME)}")
    return _known(str(path), found)


def _known(place: str, release: str) -> str:
    if release not in releases.BY_NAME:
        raise UsageError(f"{place}: release = {release!r}: {releases.suggestion(release)}"
                         f"must be one of {', '.join(releases.BY_NAME)}")
    return release


def fields(line: Line, column: str) -> dict[str, str]:
    """NAME=VALUE;NAME=VALUE of a cell."""
    found = {}
    for item in filter(None, line[column].split(";")):
        name, equals, value = item.partition("=")
        if not equals:
            raise line.refuse(column, item, "must be NAME=VALUE")
        found[name] = value
    return found


def number(line: Line, column: str, text: str) -> int:
    try:
        return int(text, 0)
    except ValueError:
        raise line.refuse(column, text, "must be a number") from None
