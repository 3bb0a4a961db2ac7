"""docs/columns.md: every number that a table can have a column of, from results/metrics.py."""

from pathlib import Path

from harness.files import write_file
from harness.reports.text import markdown
from harness.results.metrics import COMPARED, METRICS, WATCHED, Metric

PAGE = Path("docs/columns.md")


def page() -> str:
    return "\n".join([
        "# Columns", "",
        "Every number that is made of a result, with the key that `compare --columns`, `--sort`, `--format csv`, history files and"
        " real.json use. Made by `make docs` from harness/results/metrics.py; [result.json](result.md) has what they are made"
        " of.", "",
        *markdown(("key", "is", "column's heading", "better", "nothing seen is shown as", "used by"), [_row(metric) for metric in METRICS]),
        "*Nothing seen*: where none of n was seen, `<` 3/n in the unit of the column, the upper bound with 95 % confidence (rule of"
        " three); over several blocks n is that of all. *Totals*: of what is fatal a median would hide the one run in which it"
        " happened, so it is shown as a total and in how many runs.", "",
        "*compare* and *nightly* show and watch these by default; any other key can be asked for by `--columns`.",
    ]) + "\n"


def _row(metric: Metric) -> tuple[str, ...]:
    heading = " ".join(metric.heading.split())
    bound = "total, in how many runs" if metric.events else "a bound" if metric.of else ""
    users = [name for name, rows in (("compare", COMPARED), ("nightly", WATCHED)) if metric in rows]
    return f"`{metric.key}`", metric.name, heading, metric.better, bound, ", ".join(users)


def write(root: Path = Path()) -> None:
    write_file(page(), root / PAGE)
