"""Numbers as a person reads them, and the layout of all tables: nothing is wider than the terminal, or 100 columns without one.

Layout of tables is tabulate's.  A table that is too wide has its longest words on several lines; if that is not enough,
it goes on below, with its first column again.
"""

import csv
import io
import json
import re
import textwrap

import tabulate as tabulate_module
from tabulate import tabulate

from harness import printing
from harness.errors import escaped

tabulate_module.MIN_PADDING = 0      # columns as narrow as their contents, so that tables fit

WIDTH = 100                      # of sentences, and of tables where there is no terminal
NARROWEST, WORDS_LEAST = 40, 12  # no terminal, and no column of words, is taken to be narrower
FORMULAS = tuple("=+-@\t\r")     # what a spreadsheet takes for the beginning of a formula
# What begins like one and is none: a sign alone, a number with its sign, an errno.
NO_FORMULA = re.compile(r"[=+-]|[+-]\d+(\.\d+)?([eE][+-]?\d+)?( ?%|[MG]| times)?|-E[A-Z]+")


# --- one number ------------------------------------------------------------------------------

def number(value) -> str:
    """A count or a rate in at most six characters; `-` for nothing."""
    if value is None:
        return "-"
    if abs(value) >= 999_999.5:
        return f"{value / 1e6:.3g}M" if abs(value) < 999.5e6 else f"{value / 1e9:.3g}G"
    if isinstance(value, int) or value == int(value):
        return str(int(value))
    if abs(value) < 0.01:
        return "<.01"
    return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"


def percent(share) -> str:
    """A share of one in percent."""
    return number(None if share is None else 100 * share)


def none_seen(whole: int, times: float = 100) -> str:
    """None of `whole`, in multiples of 1 / `times`: at most 3 / whole (rule of three, 95 %), shown as `<` that."""
    bound = float(f"{times * min(1, 3 / whole) if whole > 0 else times:.2g}")
    return f"<{bound:g}" if bound < 10 else f"<{number(bound)}"


def share_of(part: int | None, whole: int | None) -> str:
    """`part` of `whole` in percent; none of n with its bound."""
    if not whole or part is None:
        return "-"
    return percent(part / whole) if part else none_seen(whole)


def microseconds(nanoseconds) -> str:
    return "-" if nanoseconds is None else number(nanoseconds / 1000)


def count(number_of: int, noun: str) -> str:
    """A number of things: `1 vCPU`, `2 vCPUs`."""
    return f"{number_of} {noun}{'s' * (number_of != 1)}"


def signed_percent(value: float) -> str:
    """A change in percent; from ten times on, as a ratio."""
    return f"{value:+.1f} %" if value < 900 else f"{1 + value / 100:.3g} times"


# --- layout ----------------------------------------------------------------------------------

def width() -> int:
    """The columns of the terminal that standard output is; WIDTH where it is none."""
    return max(NARROWEST, printing.columns() or WIDTH)


def spare() -> int:
    """How many columns more than WIDTH there are; below 0 on a narrow terminal."""
    return width() - WIDTH


def wrap(text: str, most: int | None = None) -> str:
    """Break a line at spaces; the rest is indented, and blanks before the first word stay.

    most   columns; default: WIDTH, or those of a terminal that is narrower
    """
    most = min(WIDTH, width()) if most is None else most
    words = text.lstrip(" ").split(" ")
    lines, line = [], " " * (len(text) - len(text.lstrip(" "))) + words[0]
    for word in words[1:]:
        if len(line) + 1 + len(word) > most:
            lines.append(line)
            line = f"    {word}"
        else:
            line += f" {word}"
    return "\n".join([*lines, line])


def table_of(rows: list[dict], style: str) -> str:
    """Rows as `formatted` prints them, with headings of one line where they are keys."""
    if style == "json":
        rows = [{one_line(heading): value for heading, value in row.items()} for row in rows]
    return formatted(rows, style)


def formatted(rows: list[dict], style: str, words: tuple[int, ...] = (0,)) -> str:
    """Rows as a table, or in another format (`github`, `csv`, `json`); or "none".

    words   columns that are words, and stand left; the others are numbers
    """
    if style == "json":
        return json.dumps(rows, indent=1)
    if style == "csv":
        return csv_of(rows)
    if not rows:
        return "none"
    if style == "github":
        rows = [{one_line(heading): value for heading, value in row.items()} for row in rows]
    columns = len(rows[0])
    align = ["left" if column in words or column - columns in words else "right" for column in range(columns)]
    heads, cells = list(rows[0]), [list(row.values()) for row in rows]
    if style == "github":
        return tabulate(cells, headers=heads, tablefmt="github", disable_numparse=True, preserve_whitespace=True, colalign=align)
    return laid_out(heads, cells, align)


def laid_out(heads: list[str], cells: list[list], align: list[str] | None = None, form: str = "simple") -> str:
    """A table that is no wider than `width()`, as far as its words allow.

    align   `left` or `right` of each column; default: all left
    """
    align = align or ["left"] * len(heads)

    def drawn(columns: list[int]) -> str:
        return tabulate([[row[column] for column in columns] for row in cells], headers=[heads[column] for column in columns] if any(heads) else (),
                        tablefmt=form, disable_numparse=True, preserve_whitespace=True, colalign=[align[column] for column in columns])

    everything = list(range(len(heads)))
    whole = drawn(everything)
    if max(map(len, whole.splitlines()), default=0) <= width():
        return whole
    cells = _narrowed(heads, cells, align)
    return "\n\n".join(map(drawn, _fitting(heads, cells)))


def _narrowed(heads: list[str], cells: list[list], align: list[str]) -> list[list]:
    """The cells with the longest columns of words on several lines, as far as is needed and possible."""
    cells = [[str(cell) for cell in row] for row in cells]
    widths = _widths(heads, cells)
    least = [max([len(word) for row in cells for word in row[column].split()] + [_of(heads[column]), WORDS_LEAST])
             if align[column] == "left" else widths[column] for column in range(len(heads))]
    goal = [*widths]
    while sum(goal) + 2 * (len(goal) - 1) > width():
        wide = max(range(len(goal)), key=lambda column: goal[column] - least[column])
        if goal[wide] <= least[wide]:
            break
        goal[wide] -= 1
    return [[cell if _of(cell) <= most else "\n".join(
        line for part in cell.splitlines() for line in textwrap.wrap(part, most, break_long_words=False, break_on_hyphens=False))
        for cell, most in zip(row, goal)] for row in cells]


def _fitting(heads: list[str], cells: list[list]) -> list[list[int]]:
    """Columns by table, so that none is too wide; the first stands in each."""
    widths = _widths(heads, cells)
    tables, left = [[0]], width() - widths[0]
    for column, wide in enumerate(widths[1:], 1):
        if left < wide + 2 and len(tables[-1]) > 1:
            tables.append([0])
            left = width() - widths[0]
        tables[-1].append(column)
        left -= wide + 2
    return tables


def _widths(heads: list[str], cells: list[list]) -> list[int]:
    return [max(_of(str(row[column])) for row in [heads, *cells]) for column in range(len(heads))]


def _of(text: str) -> int:
    """The longest of a cell's lines."""
    return max(map(len, text.splitlines()), default=0)


def one_line(heading: str) -> str:
    """A heading without its line breaks."""
    return " ".join(heading.split())


def csv_of(rows: list[dict]) -> str:
    text = io.StringIO()
    if rows:
        writer = csv.writer(text)
        writer.writerow([_cell(one_line(heading)) for heading in rows[0]])
        writer.writerows([_cell(value) for value in row.values()] for row in rows)
    return text.getvalue().rstrip("\n")


def _cell(value):
    """A value for a spreadsheet: text that would be a formula there gets an apostrophe in front."""
    if not isinstance(value, str):
        return value
    text = escaped(value, keep="\n")
    return f"'{text}" if value[:1] in FORMULAS and not NO_FORMULA.fullmatch(text) else text


def markdown(heads: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    """The lines of a table for a page of docs/, and a blank one."""
    lines = [heads, ["---"] * len(heads), *rows]
    return [*(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines), ""]
