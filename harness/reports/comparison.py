"""Policies side by side, in words: one line per policy, what is fatal, differences, and what cannot be said.

The values are results/comparison.py's; here they are laid out.
"""

import json
from typing import NamedTuple, Sequence

from harness.reports.numbers import events_text, reasons_of, shown
from harness.reports.run import assumption_lines
from harness.reports.text import count, formatted, number, signed_percent, wrap
from harness.results import identity, inference
from harness.results.comparison import Line, Table, make_table, settled
from harness.results.metrics import Metric, chosen, legend
from harness.results.schema import Result

BLOCKS_MAX = 1000                # a plan for more is no plan
EFFECT = 0.10                    # the difference for which the planner proposes a number of blocks

# The table of one line per policy, among the metrics that were asked for.
OVERVIEW = chosen("busy_per_attempt_percent", "busy_net_percent", "armed_per_million_faults", "synthetic_exits_per_s",
                  "kicks_per_removal", "guest_time_lost_percent", "removal_p99_us", "removals_per_s")


def comparison_report(table: Table, style: str = "table") -> str:
    """The comparison as text."""
    if style == "json":
        return json.dumps([plain(line) for line in table.lines], indent=1)
    if style == "csv":
        return formatted([plain(line) for line in table.lines], style)
    parts = [title(table)]
    if any(line.metric in OVERVIEW for line in table.lines):
        parts.append(formatted(overview_rows(table), style))
        parts.append(wrap(legend(dict.fromkeys(line.metric for line in table.lines if line.metric in OVERVIEW))))
    parts += fatal_parts(table, style)
    if any(len(group.results) > 1 for group in table.groups) and len(table.groups) > 1:
        parts += ["", differences_text(table, style)]
        parts += mean_lines(table)
    notes = [*table.notes, *reason_lines(table)]
    if len(table.groups) > 1 and all(len(group.results) == 1 for group in table.groups):
        notes.append("one block each cannot show a difference from chance; `run --repeats 7` can")
    elif planned := planner_line(table):
        notes.append(planned)
    return "\n".join([*parts, *map(wrap, notes), *assumed_lines(table)])


def assumed_lines(table: Table) -> list[str]:
    """What simulated results rest on: stands under every table of them."""
    return list(dict.fromkeys(line for group in table.groups for result in group.results for line in assumption_lines(result)))


def overview(results: Sequence[Result], style: str = "table") -> str:
    """What `run` prints at its end."""
    return comparison_report(make_table(results, across=identity.COMPARABLE), style)


def title(table: Table) -> str:
    """Engine, release, seeds, workers, and which blocks."""
    results = [result for group in table.groups for result in group.results]
    parts = []
    for key in ("engine", "module", "primitive"):
        parts.append(f"{key} " + " and ".join(dict.fromkeys(getattr(result, key) for result in results)))
    seeds = sorted({result.seed for result in results})
    parts.insert(2, f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {seeds[0]} to {seeds[-1]}")
    workers = {(result.workers.vcpus, result.workers.hosts, len(result.workers.processors)) for result in results}
    text = ", ".join(parts)
    if len(workers) == 1:
        vcpus, hosts, processors = map(count, workers.pop(), ("vCPU", "host", "processor"))
        text += f"; {vcpus} + {hosts} on {processors}"
    most = max(len(group.results) for group in table.groups)
    return wrap(text if most == 1 else f"medians of {most} blocks; {text}")


# --- one line per policy ---------------------------------------------------------------------

def value_text(line: Line) -> str:
    """The median of a line, or the total of what is fatal."""
    if line.events:
        return events_text(line.events)
    return shown(line.metric, line.middle and line.middle.median, line.of_none)


def range_text(line: Line) -> str:
    """The interval of a median; where none was seen of a share, up to its bound."""
    middle = line.middle
    if middle is None or middle.low is None:
        return "-"
    high = shown(line.metric, middle.high, line.of_none).removeprefix("<") if middle.high == 0 else number(middle.high)
    return f"{number(middle.low)} .. {high}"


def overview_rows(table: Table) -> list[dict]:
    """One row per group: medians in narrow columns."""
    return [{"policy": group.label} | {line.metric.heading: value_text(line) for line in table.lines
                                       if line.group is group and line.metric in OVERVIEW} for group in table.groups]


def fatal_rows(table: Table) -> list[dict]:
    """One row per group that something fatal happened to: totals, and in how many runs."""
    rows = []
    for group in table.groups:
        lines = [line for line in table.lines if line.group is group and line.events]
        if any(line.events.total for line in lines):
            rows.append({"policy": group.label} | {line.metric.title: events_text(line.events) for line in lines})
    return rows


def fatal_parts(table: Table, style: str) -> list[str]:
    """What is fatal as a table, and one line for the policies that it did not happen to."""
    rows = fatal_rows(table)
    names = [name.title for name in dict.fromkeys(line.metric for line in table.lines if line.events)]
    spared = [group for group in table.groups if group.label not in {row["policy"] for row in rows}]
    parts = ["", formatted(rows, style)] if rows else []
    if names and spared:
        of = f" ({', '.join(group.label for group in spared)})" if rows else ""
        runs = sum(len(group.results) for group in spared)
        parts.append(wrap(f"{', '.join(names)}: 0 in {count(runs, 'run')}{of}"))
    return parts


# --- differences -----------------------------------------------------------------------------

def difference_text(difference: inference.Difference | None) -> str:
    """A difference in the words of the table."""
    if difference is None:
        return "baseline"
    if difference.verdict == inference.UNDECIDED:
        return f"undecided, about {count(difference.more, 'more block')}"
    if difference.verdict != inference.DIFFERENT:
        return difference.verdict
    if difference.percent is None:
        return "more than zero"
    if difference.low is None:
        return signed_percent(difference.percent)
    if difference.percent >= 900:
        ends = (f"{1 + end / 100:.3g}" for end in (difference.low, difference.high))
    else:
        ends = (f"{end:+.3g}" for end in (difference.low, difference.high))
    return f"{signed_percent(difference.percent)} ({' .. '.join(ends)})"


class Section(NamedTuple):
    """The lines of one metric that is not the same in every run."""

    metric: Metric
    lines: list[Line]


def sections(table: Table) -> list[Section]:
    """What there is to say on differences; nothing on what is fatal, which has totals."""
    same, found = settled(table), {}
    for line in table.lines:
        if line.metric not in same and not line.events:
            found.setdefault(line.metric, []).append(line)
    return [Section(*item) for item in found.items()]


def difference_rows(table: Table, style: str) -> list[dict]:
    rows, against = [], against_text(table)
    for metric, lines in sections(table):
        if style == "table":
            rows.append({"policy": metric.name, "median": "", "95 % interval": "", "blocks": "", against: ""})
        for line in lines:
            label = {"policy": f"  {line.group.label}"} if style == "table" else \
                {"metric": metric.name, "policy": line.group.label}
            rows.append(label | {
                "median": value_text(line), "95 % interval": range_text(line),
                "blocks": str(line.middle.count if line.middle else 0), against: difference_text(line.difference)})
    return rows


def against_text(table: Table) -> str:
    one = len(set(map(id, table.baselines))) == 1
    return f"against {table.baselines[0].label if one else f'{table.baselines[0].policy} on the same workload'}"


def differences_text(table: Table, style: str) -> str:
    rows, lines = difference_rows(table, style), []
    if rows:
        lines.append(formatted(rows, style, words=(0, -1) if style == "table" else (0, 1, -1)))
    if same := settled(table):
        lines.append(wrap("the same in every run: " + ", ".join(
            f"{metric.name} {_settled_text(table, metric)}" for metric in same)))
    return "\n".join(lines)


def _settled_text(table: Table, metric: Metric) -> str:
    """The one number; where none was seen in any run, the widest bound."""
    lines = [line for line in table.lines if line.metric is metric and line.middle]
    return value_text(min(lines, key=lambda line: line.of_none or 0)) if lines else "-"


def mean_lines(table: Table) -> list[str]:
    return [wrap(f"geometric mean over {workloads} workloads, {metric.name}: {policy}"
                 f" {signed_percent(100 * (mean - 1))}") for metric, policy, mean, workloads in table.means]


def planner_line(table: Table) -> str:
    """How many blocks would show a difference of EFFECT, from the spread that these blocks have."""
    comparisons = sum(line.difference is not None for line in table.lines)
    needed = {}
    for line in table.lines:
        values = [] if line.events else line.group.values(line.metric)
        spread = inference.spread(values)
        if spread is not None and comparisons:
            blocks = inference.blocks_for(spread, EFFECT, comparisons, len(values))
            needed[line.metric.title] = max(needed.get(line.metric.title, 0), blocks)
    if not needed:
        return ""
    can = [f"{name} {blocks}" for name, blocks in sorted(needed.items(), key=lambda item: item[1])
           if blocks <= BLOCKS_MAX]
    beyond = len(needed) - len(can)
    if beyond:
        can.append(f"more than {BLOCKS_MAX}" + (f" for {count(beyond, 'other')}" if can else ""))
    return f"blocks that would show a difference of {100 * EFFECT:.0f} %: {', '.join(can)}"


def reason_lines(table: Table) -> list[str]:
    """Why runs are DEGRADED, each once, and of how many runs."""
    results = [result for group in table.groups for result in group.results]
    return [reason + (f" ({runs} of {len(results)} runs)" if runs < len(results) else "")
            for reason, runs in reasons_of(results)]


# --- for programs ----------------------------------------------------------------------------

def plain(line: Line) -> dict:
    """A line for programs: units in the keys, numbers as they are; of what is fatal totals, and no median."""
    middle, difference, found = line.middle, line.difference, line.events
    made_by = line.group.identity
    return {
        "metric": line.metric.key, "name": line.group.name, "policy": line.group.policy,
        "engine": made_by.engine, "module": made_by.module,
        "blocks_count": found.runs if found else middle.count if middle else 0,
        "median": middle and middle.median, "low": middle and middle.low, "high": middle and middle.high,
        "total_count": found and found.total, "in_runs_count": found and found.in_runs,
        "verdict": None if found else difference.verdict if difference else "baseline",
        "difference_percent": difference and difference.percent,
        "difference_low_percent": difference and difference.low,
        "difference_high_percent": difference and difference.high,
        "p_corrected": difference and difference.p,
        "more_blocks_count": difference.more if difference else 0,
    }
