"""docs/calls.md: every call of the newest releases, with the locks that its row takes, or why it has no row."""

from pathlib import Path

from harness.files import write_file
from harness.protocol import answers, contention
from harness.protocol.calls.without import PARTLY, WITHOUT
from harness.protocol.leaves import INSTRUCTION, LEAVES, Leaf
from harness.protocol.releases import BY_NAME, Release
from harness.protocol.seamcalls import Seamcall, seamcalls
from harness.protocol.sources import was_read
from harness.reports.text import markdown

PAGE = Path("docs/calls.md")
NEWEST = ("1.5.34", "2.0.18")
INITIALS = {"shared": "SH", "exclusive": "EX"}
# Leaves that came with the 2.0 line.
ONLY_2_0 = {"host": set(range(128, 167)), "guest": set(range(64, 73))}


def page() -> str:
    """The whole page."""
    parts = [
        "# Calls of the TDX module", "",
        "Every leaf that 1.5.34 and 2.0.18 have: which locks it takes, in which mode and order, and behind each the"
        " operand that a lost try reports; or why it has no row, and what a row leaves out of locks.  This page is made by `make docs` from"
        " harness/protocol/calls/ and harness/protocol/leaves.py."
        "  `python -m harness contention` says who can make whom BUSY.", "",
        "SH shared, EX exclusive.  PAMT_2M, PAMT_1G: the PAMT entries above a page.  Where a list is given, what is"
        " busy is noted in the list.  A * marks a release in which the call was not read: what is said of it is derived from the"
        " places under *source*, which are of other releases.", ""]
    for side, leaves in LEAVES.items():
        parts += [f"## {INSTRUCTION[side]}", "",
                  *markdown(("leaf", "call", "in", "locks, or why none", "source"),
                            [_line(Leaf(side, number, name)) for number, name in sorted(leaves.items())])]
    return "\n".join(parts).rstrip() + "\n"


def write(path: Path = PAGE) -> None:
    write_file(page(), path)


def rows_of(leaf: Leaf) -> tuple[Release | None, list[Seamcall]]:
    """The rows of a call in the newest release that has any, and that release."""
    for name in NEWEST:
        release = BY_NAME[name]
        if rows := answers.rows_of(seamcalls(release), leaf):
            return release, rows
    return None, []


def _line(leaf: Leaf) -> tuple[str, ...]:
    release, rows = rows_of(leaf)
    only = leaf.number in ONLY_2_0[leaf.side]
    there = NEWEST[1:] if only else NEWEST
    if release is None:
        return str(leaf.number), leaf.name, ", ".join(there), WITHOUT[leaf.side][leaf.number], ""
    locks = [*(_locks(row, release, len(rows) > 1) for row in rows), *filter(None, [PARTLY[leaf.side].get(leaf.number)])]
    marked = ", ".join(name + "*" * (not all(was_read(row.source, BY_NAME[name]) for row in rows)) for name in there)
    return (str(leaf.number), leaf.name, marked, "<br>".join(locks),
            "<br>".join(dict.fromkeys(row.source for row in rows)))


def _locks(row: Seamcall, release: Release, named: bool) -> str:
    uses = ", ".join(f"{use.resource} {INITIALS[use.mode]} {use.operand}" for use in contention.uses(release)[row.name])
    return f"{row.name}: {uses}" if named else uses
