"""Every status and every operand id as a table: `decode --list`, and docs/statuses.md."""

from harness.protocol.releases import Release
from harness.protocol.statuses import CLASSES, MEANING, OPERAND, again
from harness.reports.answer import operand_since, releases_of
from harness.reports.explained import paragraphs
from harness.reports.text import formatted
from kernels import statuses as rows

HEAD = """# Statuses of the TDX module

Every status that a SEAMCALL or a TDCALL can answer in the releases 1.5.01 to 1.5.34 and 2.0.08 to 2.0.18, and
every operand id.  This page is printed by `python -m harness decode --list --format github`; the rows are
`kernels/statuses.py` and `harness/protocol/statuses.py`, which name their sources.  `decode` explains one
answer: who gives it, who may hold the lock, what KVM does.

A status is bits 63:32 of an answer: 63 error, 62 non-recoverable, 61 fatal, 60 host recoverability hint, 47:40
class, 39:32 which of it.  Bits 31:0 say what the column says, or nothing.  A failed import sets bit 61 in
whatever error it answers.

A release before the first of its line that has a row cannot answer it.  2.0.08 stands for it or an earlier one,
2.0.16 for one of 2.0.12 to 2.0.16.  "unseen": the name is in the header, no place that returns it was found.
"again": whether the same call can do better by itself; `decode` says after what.
"""


ALL = "all"


def _releases(row: rows.Status) -> str:
    return ALL if (row.since, row.until) == (rows.FIRST, rows.LAST) else releases_of(row)


def _status_rows(release: Release | None) -> list[dict]:
    return [{"status": row.name, "value": f"{row.word:#018x}", "bits 31:0": row.low, "releases": _releases(row),
             "again": again(row.word, row.name)[0], "what has happened": MEANING.get(row.name, "")}
            for row in rows.STATUS_ROWS if release is None or rows.has(release.name, row)]


def _operand_rows(release: Release | None) -> list[dict]:
    return [{"operand": row.name, "id": f"{row.id:#04x}", "releases": operand_since(row) or ALL,
             "what it is": OPERAND[row.name]}
            for row in rows.OPERAND_ROWS if release is None or rows.has(release.name, row)]


def listed(release: Release | None = None, style: str = "table") -> str:
    """All statuses and operand ids, of a release if one is given."""
    statuses, operands = _status_rows(release), _operand_rows(release)
    if style == "json":
        return formatted([*statuses, *operands], style)
    if style == "csv":
        return "\n\n".join(formatted(table, style) for table in (statuses, operands))
    if style == "github":
        return _page(statuses, operands)
    parts = [f"{len(statuses)} statuses" + (f" of module {release.name}" if release else "")]
    for row in statuses:
        parts += [f"{row['value']}  {row['status']}", *paragraphs([
            f"{row['what has happened'] or '-'}; bits 31:0: {row['bits 31:0']}; {row['releases']}"], "    ")]
    parts += ["", f"{len(operands)} operand ids"]
    for row in operands:
        parts += [f"{row['id']}  {row['operand']}", *paragraphs([f"{row['what it is']}; {row['releases']}"], "    ")]
    return "\n".join(parts)


def _page(statuses: list[dict], operands: list[dict]) -> str:
    parts = [HEAD]
    for number, subject in CLASSES.items():
        table = [row for row in statuses if int(row["value"], 16) >> 40 & 0xFF == number]
        if table:
            parts += [f"## Class {number:#04x}: {subject}", "", *_markdown(table), ""]
    return "\n".join([*parts, "## Operand ids", "", *_markdown(operands)])


def _markdown(table: list[dict]) -> list[str]:
    """A table in Markdown, its cells not padded: the page is long."""
    cells = [list(table[0]), ["---"] * len(table[0]), *(row.values() for row in table)]
    return [f"| {' | '.join(row)} |" for row in cells]
