"""The report: results as one HTML page that needs nothing else, read top down.

verdicts, comparison, BUSY by call and operand, distributions, zero-step, kick cost against retries,
history.  This file decides what stands where; page.html.jinja how it is marked up (everything from
configs and results is escaped there), plots.py how it is drawn.
"""

import statistics
from collections import Counter
from collections.abc import Callable
from functools import partial
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

from harness.errors import UsageError
from harness.files import reason, saved, write_file
from harness.reports import comparison, plots
from harness.reports.numbers import events_text, kind_of, reasons_of
from harness.reports.run import PERCENTILES, invariant_line
from harness.reports.templates import as_it_is, filled
from harness.reports.text import count, one_line
from harness.results import changes, history, inference, trust
from harness.results.comparison import Line, Table, make_table
from harness.results.metrics import BY_KEY, FATAL, LESS, Metric, events, none_of, values
from harness.results.schema import Result

TEMPLATE = "page.html.jinja"
PANELS_MAX = 6                   # calls in a plot of distributions, busiest first
SERIES_MAX = 12                  # series of nights that are drawn
HISTORY_METRICS = ("removals_per_s", "busy_per_attempt_percent")
HISTORY_TEXT = ("Each dot is a night; the level lines are medians between change points (dotted), the band around them is two standard"
                " deviations from night to night. A solid vertical line is the night of an alarm, which was confirmed by a rerun. Dates"
                " and commits are those of the first and last night, of changes (the first night behind each) and, where there is room,"
                " of alarms.")
ARMED, LOST, RETRIES = (BY_KEY[key] for key in (
    "armed_per_million_faults", "guest_time_lost_percent", "busy_per_1000_operations"))


# What of the numbers is a model's, by engine: the caption of the page.
MODEL = {
    "processes": "Real processes of this machine run the module's and KVM's lock protocol on shared memory, and were timed. What is compared"
                 " is policies; no absolute time is a TDX host's.",
    "simulate": "Virtual time: every number comes from a model, with costs that are listed below the comparison.",
}


class Plot(NamedTuple):
    name: str                    # of its file, and prefix of its ids
    title: str
    text: str                    # what to look for; "" of one that goes on with what the one before it shows, without a heading
    draw: Callable[..., Any]     # a function of plots.py; takes the width


def write(results: list[Result], out: str, plots_folder: str | None = None, history_folder: str | None = None,
          baseline: str | None = None, across: tuple[str, ...] = ()) -> list[str]:
    """Write the page, and the plots where they are wanted; returns remarks.  Raises UsageError."""
    plots.load_matplotlib()
    table = make_table(results, baseline, across=across)
    series = history.folder_series(history_folder) if history_folder else []
    remarks = [problem for each in series for problem in each.problems]
    made = make_plots(table, series)
    if history_folder and not any(plot.name == "history" for plot in made):
        remarks.append(f"--history {history_folder}: no plot of it: no series there has two nights without other load beside them")
    text = page(table, made)
    try:
        paths = [write_file(text, Path(out))]
        if plots_folder:
            folder = Path(plots_folder)
            folder.mkdir(parents=True, exist_ok=True)
            paths += [path for plot in made for path in plots.save(plot.draw(), folder / plot.name)]
    except OSError as problem:
        raise UsageError(f"{problem.filename or out}: cannot be written: {reason(problem)}") from None
    return [*remarks, *map(saved, paths)]


def page(table: Table, made: list[Plot]) -> str:
    """The page as text."""
    drawn = [{"name": plot.name, "title": plot.title, "text": plot.text,
              # matplotlib escapes what it draws, and the label is escaped here
              "svgs": {place: as_it_is(plots.inline(plot.draw(width=width), prefix + plot.name, escape(plot.title)))
                       for place, width, prefix in (("broad", plots.WIDE, ""), ("narrow", plots.NARROW, "n-"))}}
             for plot in made]
    overview = comparison.overview_rows(table)
    return filled(
        TEMPLATE, "report", title=comparison.title(table).replace("\n   ", ""), model=model_lines(table), verdicts=verdict_rows(table),
        together=[reason.partition(": ")[2] for reason in common_reasons(table).values()],
        overview=[{one_line(heading): value for heading, value in row.items()} for row in overview],
        differences=difference_sections(table), notes=[*table.notes, comparison.planner_line(table), *(line.replace("\n   ", "") for line in comparison.assumed_lines(table))],
        means=comparison.mean_lines(table), baseline=table.baselines[0].label, plots=drawn,
        machines=machine_rows(table), variables=plots.VARIABLES)


def model_lines(table: Table) -> list[str]:
    """What of the numbers is a model's."""
    return [MODEL[engine] for engine in dict.fromkeys(result.engine for group in table.groups for result in group.results)]


# --- tables ----------------------------------------------------------------------------------

def common_reasons(table: Table) -> dict[str, str]:
    """{reason without its numbers: reason, and in how many runs} of what runs of several policies say: of the machine, not of a policy."""
    results = [result for group in table.groups for result in group.results]
    policies = Counter(kind_of(reason) for group in table.groups for reason, _ in reasons_of(group.results))
    return {kind: reason + f" ({runs} of {len(results)} runs)" * (runs < len(results))
            for reason, runs in reasons_of(results) if policies[kind := kind_of(reason)] > 1}


def verdict_rows(table: Table) -> list[dict]:
    """A row per policy: what it did to the VM, by what; the worst verdict of its runs, with reasons of its own; invariants."""
    rows, common = [], common_reasons(table)
    for group in table.groups:
        reasons = [reason.partition(": ")[2] for reason, _ in reasons_of(group.results) if kind_of(reason) not in common]
        causes: Counter = Counter()
        for result in group.results:
            causes.update(result.bugs)
        found = {metric.title: events(metric, group.results) for metric in FATAL}
        rows.append({
            "label": group.label, "name": group.name, "runs": count(len(group.results), "run"), "status": trust.worst(group.results),
            "reasons": reasons, "violated": violated_lines(group.results),
            "invariants": invariant_line(group.results[0]).removeprefix("invariants: ").replace("\n   ", ""),
            "fatal": {title: events_text(each) for title, each in found.items() if each.total},
            "none": ", ".join(title for title, each in found.items() if not each.total),
            "bugs": causes.most_common()})
    return rows


def violated_lines(results: list[Result]) -> list[str]:
    """Each invariant that was violated: how often, and in how many of the runs."""
    lines = []
    for name in dict.fromkeys(name for result in results for name in result.invariants):
        times = [result.invariants.get(name) or 0 for result in results]
        if any(times):
            lines.append(f"{name} VIOLATED {sum(times)} times in {sum(map(bool, times))} of {count(len(times), 'run')}")
    return lines


def difference_sections(table: Table) -> list[dict]:
    """A section per metric that is not the same in every run."""
    return [{"name": metric.name, "rows": [{
        "label": line.group.label, "median": comparison.value_text(line), "interval": comparison.range_text(line),
        "difference": comparison.difference_text(line.difference), "kind": _direction(line)} for line in lines]}
        for metric, lines in comparison.sections(table)]


def _direction(line: Line) -> str:
    """Whether a difference is for the better: how it is coloured."""
    if line.difference is None or line.difference.verdict != inference.DIFFERENT:
        return "plain"
    percent = line.difference.percent
    less = percent is not None and percent < 0
    if not line.metric.better:
        return "plain"
    return "better" if less == (line.metric.better == LESS) else "worse"


def machine_rows(table: Table) -> list[tuple[str, str]]:
    """What made the results, each fact once."""
    facts: dict[str, dict[str, None]] = {}
    for group in table.groups:
        for result in group.results:
            for key, value in result.machine.items():
                if key != "conditions" and not isinstance(value, dict):
                    facts.setdefault(key, {})[str(value)] = None
    return [(key.replace("_", " "), ", ".join(values)) for key, values in facts.items()]


# --- plots -----------------------------------------------------------------------------------

def make_plots(table: Table, series: list[history.Series]) -> list[Plot]:
    """The plots that these results have something to show in, in the page's order."""
    made = [busy_map(table), distribution(table, "latency_ns"), distribution(table, "retries"),
            zero_step(table), kick_cost(table), *night_plots(series)]
    return [plot for plot in made if plot is not None]


def labels(table: Table) -> list[str]:
    return [group.label for group in table.groups]


def _median(numbers) -> float | None:
    known = [value for value in numbers if value is not None]
    return statistics.median(known) if known else None


def busy_map(table: Table) -> Plot | None:
    panels = []
    for group in table.groups:
        cells: Counter = Counter()
        for result in group.results:
            for name, call in result.seamcalls.items():
                for operand, times in call.busy_by_operand.items():
                    cells[name, operand] += 100 * times / max(1, call.attempts)
        if cells:
            panels.append((group.label, {key: percent / len(group.results) for key, percent in cells.items()}))
    if not panels:
        return None
    return Plot("busy", "BUSY by call and operand",
                "Where calls are refused, and which resource they were refused for: BUSY answers in percent of"
                " the call's attempts, mean over blocks. A policy without a panel met no BUSY. The depth of"
                " colour is logarithmic.",
                partial(plots.heat_map, panels, "BUSY, % of attempts"))


def distribution(table: Table, what: str) -> Plot | None:
    """Latency or retries of the calls that met BUSY, by quantile; `what` is a Summary of each call."""
    busy: Counter = Counter()
    for group in table.groups:
        for result in group.results:
            busy.update({name: call.busy for name, call in result.seamcalls.items() if call.busy})
    scale = 1000 if what == "latency_ns" else 1
    panels = []
    for name, _ in busy.most_common(PANELS_MAX):
        lines = []
        for group in table.groups:
            summaries = [getattr(result.seamcalls[name], what) for result in group.results if name in result.seamcalls]
            middles = [_median(getattr(summary, key) for summary in summaries) for key in PERCENTILES]
            lines.append((group.label, [None if value is None else value / scale for value in middles]))
        if any(value for _, middles in lines for value in middles):
            panels.append((name, lines))
    if not panels:
        return None
    title, unit = {"latency_ns": ("Latency of an operation", "us"),
                   "retries": ("Retries of an operation", "retries")}[what]
    return Plot(what.removesuffix("_ns"), title,
                "By quantile, from the first attempt to the end of the operation, all attempts included;"
                " medians over blocks. Calls that met BUSY, busiest first; the axis is logarithmic above 1.",
                partial(plots.quantiles, panels, list(PERCENTILES.values()), unit, labels(table)))


def zero_step(table: Table) -> Plot | None:
    bars = [(group.label, *_bar(ARMED, group.results)) for group in table.groups if values(ARMED, group.results)]
    if not bars:
        return None
    return Plot("zero-step", "Zero-step mitigation armed",
                "How often the module took repeated faults at one instruction for an attack, per million"
                " private faults. An armed vCPU takes the SEPT tree lock at each entry. Zero is the number to want;"
                " where none was seen, the thin line goes up to the 95 % bound.",
                partial(plots.bars, bars, "armed per million faults", labels(table)))


def _bar(metric: Metric, results: list[Result]) -> tuple[float, float | None, float | None]:
    """(median, low, high); where none was seen of a share, up to its bound."""
    middle, of_none = inference.interval(values(metric, results)), none_of(metric, results)
    if middle.median == 0 and of_none and not middle.high:
        return 0.0, 0.0, metric.times * min(1, 3 / of_none)
    return middle.median, middle.low, middle.high


def kick_cost(table: Table) -> Plot | None:
    points = [(group.label, _median(values(RETRIES, group.results)), _median(values(LOST, group.results)))
              for group in table.groups]
    points = [point for point in points if None not in point]
    if not points:
        return None
    return Plot("pareto", "Kick cost against retries saved",
                "Left: fewer refused attempts (retries saved); down: less guest time lost to kicks. The dashed"
                " line joins the policies that no other dominates; hollow ones are dominated.",
                partial(plots.pareto, points, RETRIES.name, LOST.name, labels(table)))


def night_plots(series: list[history.Series]) -> list[Plot]:
    """A plot per series, so that none is longer than a sheet of paper; the first has the heading."""
    made: list[Plot] = []
    for each in series:
        panels = [_nights(each, key) for key in HISTORY_METRICS if len(each.known(key)) > 1]
        if not panels or len(made) == SERIES_MAX:
            continue
        draw = partial(plots.nights, panels)
        made.append(Plot(f"history-{len(made) + 1}", f"History of {each.key.name}", "", draw) if made
                    else Plot("history", "History", HISTORY_TEXT, draw))
    return made


def _nights(series: history.Series, key: str) -> plots.Nights:
    known = series.known(key)
    numbers = [value for _, value in known]
    alarms = [place for place, (night, _) in enumerate(known) if any(alarm.metric == key for alarm in night.alarms)]
    return plots.Nights(f"{series.key.name}, module {series.key.module}: {BY_KEY[key].name}", numbers,
                        [f"{night.night[:10]}\n{night.commit[:9]}" for night, _ in known],
                        changes.change_points(numbers), alarms, changes.noise_floor(numbers))
