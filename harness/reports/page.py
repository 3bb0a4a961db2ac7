"""The report: results as one HTML page that needs nothing else, read top down.

verdicts, comparison, BUSY by call and operand, distributions, zero-step, kick cost against retries,
history.  This file decides what stands where; page.html.jinja how it is marked up (everything from
configs and results is escaped there), plots.py how it is drawn.
"""

import statistics as python_statistics
from html import escape
from pathlib import Path
from typing import NamedTuple

from harness.results import changes, comparison, history, inference
from harness.reports import plots
from harness.errors import UsageError
from harness.files import write_file
from harness.results.metrics import BY_KEY, LESS
from harness.reports.text import invariant_line, number, one_line

TEMPLATE = "page.html.jinja"
QUANTILES = {"p50": "p50", "p90": "p90", "p99": "p99", "p99_9": "p99.9", "p99_99": "p99.99", "max": "max"}
PANELS_MAX = 6                   # calls in a plot of distributions, busiest first
SERIES_MAX = 12                  # series of nights
HISTORY_METRICS = ("removals_per_s", "busy_per_attempt_percent")


class Plot(NamedTuple):
    name: str                    # of its file, and prefix of its ids
    title: str
    text: str                    # what to look for
    figure: object


def write(results: list[dict], out: str, plots_folder: str | None = None, history_folder: str | None = None,
          baseline: str | None = None, across: tuple[str, ...] = ()) -> list[str]:
    """Write the page, and the plots where they are wanted; returns remarks.  Raises UsageError."""
    plots.load_matplotlib()
    table = comparison.make_table(results, baseline, across=across)
    series = history.folder_series(history_folder) if history_folder else []
    remarks = [problem for each in series for problem in each.problems]
    made = make_plots(table, series)
    text = page(table, made)
    try:
        paths = [write_file(text, Path(out))]
        if plots_folder:
            folder = Path(plots_folder)
            folder.mkdir(parents=True, exist_ok=True)
            paths += [path for plot in made for path in plots.save(plot.figure, folder / plot.name)]
    except OSError as problem:
        raise UsageError(f"{out}: cannot be written: {problem.strerror or problem}") from None
    return [*remarks, *(f"saved {path}" for path in paths)]


def page(table: comparison.Table, made: list[Plot]) -> str:
    """The page as text."""
    try:
        import jinja2
    except ImportError:
        raise UsageError("report: jinja2 is not installed; `pip install '.[report]'` does it") from None
    environment = jinja2.Environment(loader=jinja2.PackageLoader("harness.reports", "."), autoescape=True,
                                     undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    drawn = [{"name": plot.name, "title": plot.title, "text": plot.text,
              # matplotlib escapes what it draws, and the label is escaped here
              "svg": jinja2.utils.markupsafe.Markup(plots.inline(plot.figure, plot.name, escape(plot.title)))}
             for plot in made]
    overview = comparison.overview_rows(table)
    return environment.get_template(TEMPLATE).render(
        title=comparison.title(table).replace("\n   ", ""), verdicts=verdict_rows(table),
        overview=[{one_line(heading): value for heading, value in row.items()} for row in overview],
        differences=difference_sections(table), notes=[*table.notes, comparison.planner_line(table)],
        means=comparison.mean_lines(table), baseline=table.baselines[0].label, plots=drawn,
        machines=machine_rows(table), variables=plots.VARIABLES)


# --- tables ----------------------------------------------------------------------------------

def verdict_rows(table: comparison.Table) -> list[dict]:
    """A row per policy: the worst verdict of its runs, with reasons; invariants; bugs; hangs."""
    rows = []
    for group in table.groups:
        order = ("VALID", "DEGRADED", "UNTRUSTWORTHY")
        worst = max((result["verdict"]["status"] for result in group.results), key=order.index)
        reasons = dict.fromkeys(reason for result in group.results for reason in result["verdict"]["reasons"])
        violated = [_invariants(result) for result in group.results if any(result["invariants"].values())]
        bugs: dict[str, int] = {}
        for result in group.results:
            for cause, count in result["bugs"].items():
                bugs[cause] = bugs.get(cause, 0) + count
        rows.append({
            "label": group.label, "name": group.name, "runs": len(group.results), "status": worst,
            "reasons": list(reasons), "violated": violated, "invariants": _invariants(group.results[0]),
            "bugs": sorted(bugs.items(), key=lambda item: -item[1]),
            "hangs": sum(result["hangs"]["count"] for result in group.results)})
    return rows


def _invariants(result: dict) -> str:
    return invariant_line(result).removeprefix("invariants: ").replace("\n   ", "")


def difference_sections(table: comparison.Table) -> list[dict]:
    """A section per metric that is not the same in every run."""
    settled = comparison.settled(table)
    sections: dict[str, dict] = {}
    for line in table.lines:
        if line.metric in settled:
            continue
        section = sections.setdefault(line.metric.key, {"name": line.metric.name, "rows": []})
        verdict = line.difference.verdict if line.difference else "baseline"
        section["rows"].append({
            "label": line.group.label, "median": number(line.middle and line.middle.median),
            "interval": comparison.range_text(line.middle), "told": comparison.told(line.difference),
            "kind": _direction(line) if verdict == inference.DIFFERENT else "plain"})
    return list(sections.values())


def _direction(line: comparison.Line) -> str:
    percent = line.difference.percent
    less = percent is not None and percent < 0
    if not line.metric.better:
        return "plain"
    return "better" if less == (line.metric.better == LESS) else "worse"


def machine_rows(table: comparison.Table) -> list[tuple[str, str]]:
    """What made the results, each fact once."""
    facts: dict[str, dict[str, None]] = {}
    for group in table.groups:
        for result in group.results:
            for key, value in result["machine"].items():
                if key != "conditions" and not isinstance(value, dict):
                    facts.setdefault(key, {})[str(value)] = None
    return [(key.replace("_", " "), ", ".join(values)) for key, values in facts.items()]


# --- plots -----------------------------------------------------------------------------------

def make_plots(table: comparison.Table, series: list[history.Series]) -> list[Plot]:
    """The plots that these results have something to show in, in the page's order."""
    made = [busy_map(table), distribution(table, "latency_ns"), distribution(table, "retries"),
            zero_step(table), kick_cost(table), night_plot(series)]
    return [plot for plot in made if plot is not None]


def labels(table: comparison.Table) -> list[str]:
    return [group.label for group in table.groups]


def _median(values) -> float | None:
    values = [value for value in values if value is not None]
    return python_statistics.median(values) if values else None


def busy_map(table: comparison.Table) -> Plot | None:
    panels = []
    for group in table.groups:
        cells = {}
        for result in group.results:
            for name, call in result["seamcalls"].items():
                for operand, count in call["busy_by_operand"].items():
                    cells.setdefault((name, operand), []).append(100 * count / call["attempts"])
        if cells:
            mean = {key: sum(values) / len(group.results) for key, values in cells.items()}
            panels.append((group.label, mean))
    if not panels:
        return None
    return Plot("busy", "BUSY by call and operand",
                "Where calls are refused, and which resource they were refused for: BUSY answers in percent of"
                " the call's attempts, mean over blocks. A policy without a panel met no BUSY. The depth of"
                " colour is logarithmic.",
                plots.heat_map(panels, "BUSY, % of attempts"))


def distribution(table: comparison.Table, what: str) -> Plot | None:
    """Latency or retries of the calls that met BUSY, by quantile."""
    busy: dict[str, int] = {}
    for group in table.groups:
        for result in group.results:
            for name, call in result["seamcalls"].items():
                busy[name] = busy.get(name, 0) + call["busy"]
    calls = [name for name, count in sorted(busy.items(), key=lambda item: -item[1]) if count][:PANELS_MAX]
    names = [key for key in QUANTILES if any(key in call[what] for group in table.groups
                                             for call in group.results[0]["seamcalls"].values())]
    scale = 1000 if what == "latency_ns" else 1
    panels = []
    for call in calls:
        lines = []
        for group in table.groups:
            values = [_median(result["seamcalls"].get(call, {}).get(what, {}).get(name)
                              for result in group.results) for name in names]
            lines.append((group.label, [None if value is None else value / scale for value in values]))
        if any(value for _, values in lines for value in values):
            panels.append((call, lines))
    if not panels:
        return None
    title, unit = {"latency_ns": ("Latency of an operation", "us"),
                   "retries": ("Retries of an operation", "retries")}[what]
    return Plot(what.removesuffix("_ns"), title,
                "By quantile, from the first attempt to the end of the operation, all attempts included;"
                " medians over blocks. Calls that met BUSY, busiest first; the axis is logarithmic above 1.",
                plots.quantiles(panels, [QUANTILES[name] for name in names], unit, labels(table)))


def zero_step(table: comparison.Table) -> Plot | None:
    key = "armed_per_million_faults"
    middles = [(group.label, inference.interval(group.values[key])) for group in table.groups]
    values = [(label, middle.median, middle.low, middle.high)
              for label, middle in middles if middle is not None]
    if not values:
        return None
    return Plot("zero-step", "Zero-step mitigation armed",
                "How often the module took repeated faults at one instruction for an attack, per million"
                " private faults. An armed vCPU takes the SEPT tree lock at each entry. Zero is the number to want.",
                plots.bars(values, "armed per million faults", labels(table)))


def kick_cost(table: comparison.Table) -> Plot | None:
    points = []
    for group in table.groups:
        retries = _median(_retries_per_thousand(result) for result in group.results)
        lost = _median(group.values["guest_time_lost_percent"])
        if retries is not None and lost is not None:
            points.append((group.label, retries, lost))
    if not points:
        return None
    return Plot("pareto", "Kick cost against retries saved",
                "Left: fewer refused attempts (retries saved); down: less guest time lost to kicks. The dashed"
                " line joins the policies that no other betters in both; hollow ones are bettered.",
                plots.pareto(points, "BUSY answers per 1000 operations", "guest time lost to kicks, %",
                             labels(table)))


def _retries_per_thousand(result: dict) -> float | None:
    """BUSY answers of SEAMCALLs by operations; a guest's TDCALLs are its own affair."""
    host = [call for name, call in result["seamcalls"].items() if not name.startswith("tdg_")]
    operations = sum(call["operations"] for call in host)
    return 1000 * sum(call["busy"] for call in host) / operations if operations else None


def night_plot(series: list[history.Series]) -> Plot | None:
    panels = []
    for each in series:
        for key in HISTORY_METRICS:
            told = each.told(key)
            if len(told) < 2 or len(panels) >= SERIES_MAX:
                continue
            numbers = [value for _, value in told]
            nights = [night.night for night, _ in told]
            alarms = [nights.index(night.night) for night, _ in told
                      if any(alarm.metric == key for alarm in night.alarms)]
            panels.append((f"{each.key.name}, module {each.key.module}: {BY_KEY[key].name}", numbers,
                           changes.change_points(numbers), alarms))
    if not panels:
        return None
    return Plot("history", "History",
                "Each dot is a night; the level lines are medians between change points (dotted). A solid"
                " vertical line is the night of an alarm, which was confirmed by a rerun.", plots.nights(panels))
