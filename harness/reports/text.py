"""Numbers as a person reads them, and the layout of all tables: nothing here is wider than 100 columns.

Layout of tables is tabulate's.
"""

import csv
import io
import json
import re

import tabulate as tabulate_module
from tabulate import tabulate

from harness.errors import escaped

tabulate_module.MIN_PADDING = 0      # columns as narrow as their contents, so that tables fit

WIDTH = 100
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

def wrap(text: str, width: int = WIDTH) -> str:
    """Break a line at spaces; the rest is indented, and blanks before the first word stay."""
    words = text.lstrip(" ").split(" ")
    lines, line = [], " " * (len(text) - len(text.lstrip(" "))) + words[0]
    for word in words[1:]:
        if len(line) + 1 + len(word) > width:
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
    return tabulate(rows, headers="keys", tablefmt="github" if style == "github" else "simple",
                    disable_numparse=True, preserve_whitespace=True, colalign=align)


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
