"""Policies side by side: medians over blocks, differences to a baseline, and what cannot be said.

    select    results -> groups, one for each config that was run, with its blocks
    table     groups -> lines, one for each (metric, policy), with an interval and a verdict
    report    the same as text

Results that cannot be compared (another engine, release, primitive, workload or machine) are refused,
unless `across` names what may differ, or they were interleaved in one session: then the table says
what differs.  Interrupted and UNTRUSTWORTHY runs are left out and named.
"""

import fnmatch
import json
from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

from tabulate import tabulate

from harness.results import identity, inference
from harness.errors import ResultError, UsageError, nearest
from harness.experiment.config import dotted
from harness.results.metrics import BY_KEY, METRICS, Metric
from harness.reports.text import assumption_lines, count, formatted, number, wrap

BLOCKS_MAX = 1000                # a plan for more is no plan
EFFECT = 0.10                    # the difference for which the planner proposes a number of blocks


@dataclass
class Group:
    """The runs of one config, in order of time; `key` tells it from all others."""

    key: tuple
    results: list[dict]
    label: str = ""
    values: dict[str, list[float]] = field(default_factory=dict)     # of each metric, without its nulls
    blocks: dict[str, list] = field(default_factory=dict)            # which block each of them is of

    @property
    def identity(self) -> identity.Identity:
        return self.key[1]

    @property
    def name(self) -> str:
        return self.results[0]["name"]

    @property
    def policy(self) -> str:
        return self.results[0]["policy"]


class Line(NamedTuple):
    """One line of the table."""

    metric: Metric
    group: Group
    middle: inference.Interval | None
    difference: inference.Difference | None     # None: the baseline itself


@dataclass
class Table:
    groups: list[Group]
    baselines: list[Group]                       # of each group, in the same order
    lines: list[Line]
    means: list[tuple[Metric, str, float, int]]  # (metric, policy, geometric mean ratio, workloads)
    notes: list[str]


# --- selecting -------------------------------------------------------------------------------

def select(results: list[dict], across: tuple[str, ...] = ()) -> tuple[list[Group], list[str]]:
    """(groups in the order they first appear, what was left out or differs, as sentences).

    Raises UsageError for results that cannot be compared.
    """
    used, notes = [], []
    for result in results:
        reason = "interrupted" if result["interrupted"] else \
            "UNTRUSTWORTHY" if result["verdict"]["status"] == "UNTRUSTWORTHY" else ""
        if reason and len(results) > 1:
            notes.append(f"left out: {result['name']} of {result['started_at']}: {reason}")
        else:
            used.append(result)
    if not used:
        raise ResultError("nothing to compare: every result is interrupted or UNTRUSTWORTHY")
    groups: dict[tuple, Group] = {}
    for result in used:
        key = (result["name"], identity.identity(result))
        groups.setdefault(key, Group(key, [])).results.append(result)
    chosen = list(groups.values())
    notes += _differences(chosen, across)
    for group, label in zip(chosen, _labels(chosen)):
        group.label = label
        for metric in METRICS:
            pairs = [(_block(result), value) for result in group.results
                     if (value := metric.get(result)) is not None]
            group.blocks[metric.key] = [block for block, _ in pairs]
            group.values[metric.key] = [value for _, value in pairs]
    return chosen, notes


def _block(result: dict):
    """(session, block), or the seed of a run that has none."""
    block = result.get("block")
    return (block["session"], block["number"]) if block else ("", result["seed"])


def _differences(groups: list[Group], across) -> list[str]:
    """What differs that should not, as notes; raises UsageError where that was not asked for."""
    sessions = {result["block"]["session"] if result.get("block") else id(result)
                for group in groups for result in group.results}
    notes = []
    for key in identity.COMPARABLE:
        if len({getattr(group.identity, key) for group in groups}) == 1:
            continue
        told = _told(groups, key)
        if len(sessions) > 1 and key not in across:
            raise UsageError(f"results differ in {key}: {told}; `--across {key}` compares them all the same")
        notes.append(f"differ in {key}: {told}")
    return notes


def _told(groups: list[Group], key: str) -> str:
    """What differs, in words a person can act on."""
    describe = {"workload": identity.workload, "machine": identity.machine}.get(key)
    if describe is None:
        return ", ".join(dict.fromkeys(getattr(group.identity, key) for group in groups))
    tables = [dict(dotted(describe(group.results[0]))) for group in groups]
    keys = sorted({inner for table in tables for inner in table})
    parts = []
    for inner in keys:
        values = list(dict.fromkeys(str(table.get(inner)) for table in tables))
        if len(values) > 1:
            parts.append(f"{inner} {', '.join(values[:5])}{', ...' if len(values) > 5 else ''}")
    return "; ".join(parts[:4]) + ("; ..." if len(parts) > 4 else "")


def _labels(groups: list[Group]) -> list[str]:
    """The shortest of policy, config name, both, or both with a digest that tells all groups apart."""
    for label in (lambda g: g.policy, lambda g: g.name, lambda g: f"{g.name}/{g.policy}",
                  lambda g: f"{g.name}/{g.policy}/{identity.digest(g.key)[:4]}"):
        labels = [label(group) for group in groups]
        if max(Counter(labels).values()) == 1:
            return labels
    raise AssertionError("groups differ in their keys")


# --- the table -------------------------------------------------------------------------------

def metrics_named(text: str | None, option: str) -> tuple[Metric, ...]:
    """Metrics from `a,b`; all of them for None.  Raises UsageError."""
    if text is None:
        return METRICS
    return tuple(_metric(key.strip(), option) for key in text.split(","))


def _metric(key: str, option: str) -> Metric:
    if key not in BY_KEY:
        raise UsageError(f"{option} {key}: must be of {', '.join(BY_KEY)}{nearest(key, BY_KEY)}")
    return BY_KEY[key]


def make_table(results: list[dict], baseline: str | None = None, columns: str | None = None,
               rows: str | None = None, sort: str | None = None, across: tuple[str, ...] = ()) -> Table:
    """Everything `compare` says, before it is laid out.

    baseline   the label of the group to compare with; default: the first
    columns    keys of metrics; rows: patterns of labels (`kick*,retry16`); sort: key of a metric
    """
    metrics = metrics_named(columns, "--columns")
    groups, notes = select(results, across)
    labels = [group.label for group in groups]
    if baseline is not None and baseline not in labels:
        raise UsageError(f"--baseline {baseline}: must be one of {', '.join(labels)}"
                         f"{nearest(baseline, labels)}")
    base = groups[labels.index(baseline)] if baseline is not None else groups[0]
    if rows is not None:
        patterns = [pattern.strip() for pattern in rows.split(",")]
        for pattern in patterns:
            if not fnmatch.filter(labels, pattern):
                raise UsageError(f"--rows {pattern}: matches none of {', '.join(labels)}"
                                 f"{nearest(pattern, labels)}")
        groups = [group for group in groups
                  if group is base or any(fnmatch.fnmatchcase(group.label, pattern) for pattern in patterns)]
    if sort is not None:
        by = _metric(sort, "--sort")
        middles = {group.label: inference.interval(group.values[by.key]) for group in groups}
        groups.sort(key=lambda group: (middles[group.label] is None,
                                       middles[group.label].median if middles[group.label] else 0))
    baselines = [_baseline_of(group, groups, base) for group in groups]
    return _fill(groups, baselines, metrics, notes)


def _baseline_of(group: Group, groups: list[Group], base: Group) -> Group:
    """The baseline's policy over the same workload if there is one, else the baseline."""
    twins = [other for other in groups if other.identity.workload == group.identity.workload
             and (other.policy, other.identity.words) == (base.policy, base.identity.words)]
    return base if base.identity.workload == group.identity.workload else (twins or [base])[0]


def _fill(groups, baselines, metrics, notes) -> Table:
    wanted = [(metric, group, against) for metric in metrics for group, against in zip(groups, baselines)]
    pairs = [_pair(metric, group, against) for metric, group, against in wanted if group is not against]
    found = iter(inference.compare_all(pairs))
    lines = [Line(metric, group, inference.interval(group.values[metric.key]),
                  None if group is against else next(found)) for metric, group, against in wanted]
    return Table(groups, baselines, lines, _means(lines, groups, baselines), notes)


def _pair(metric: Metric, group: Group, against: Group):
    """(values of the baseline, values, paired): paired when both have the same blocks, in one order."""
    first = dict(zip(against.blocks[metric.key], against.values[metric.key]))
    second = dict(zip(group.blocks[metric.key], group.values[metric.key]))
    if first.keys() == second.keys() and len(first) == len(against.values[metric.key]) \
            and len(second) == len(group.values[metric.key]):
        return list(first.values()), [second[block] for block in first], True
    return against.values[metric.key], group.values[metric.key], False


def _means(lines: list[Line], groups, baselines) -> list[tuple[Metric, str, float, int]]:
    """The geometric mean over workloads of each policy's ratio to its baseline, where there are several."""
    middle = {(line.metric.key, line.group.label): line.middle for line in lines}
    against = {group.label: base for group, base in zip(groups, baselines)}
    ratios: dict[tuple[Metric, str], list[float]] = {}
    for line in lines:
        base = middle.get((line.metric.key, against[line.group.label].label))
        if line.difference is None or line.middle is None or base is None or not base.median:
            continue
        ratios.setdefault((line.metric, line.group.policy), []).append(line.middle.median / base.median)
    return [(metric, policy, mean, len(values)) for (metric, policy), values in ratios.items()
            if len(values) > 1 and (mean := inference.geometric_mean(values)) is not None]


# --- words -----------------------------------------------------------------------------------

def signed_percent(value: float) -> str:
    """A change in percent; from ten times on, as a ratio."""
    return f"{value:+.1f} %" if value < 900 else f"{1 + value / 100:.3g} times"


def told(difference: inference.Difference | None) -> str:
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


def range_text(middle: inference.Interval | None) -> str:
    if middle is None or middle.low is None:
        return "-"
    return f"{number(middle.low)} .. {number(middle.high)}"


def _plain(line: Line) -> dict:
    """A line for programs: units in the keys, numbers as they are."""
    middle, difference = line.middle, line.difference
    identity_ = line.group.identity
    return {
        "metric": line.metric.key, "name": line.group.name, "policy": line.group.policy,
        "engine": identity_.engine, "module": identity_.module,
        "blocks_count": middle.count if middle else 0,
        "median": middle and middle.median, "low": middle and middle.low, "high": middle and middle.high,
        "verdict": difference.verdict if difference else "baseline",
        "difference_percent": difference and difference.percent,
        "difference_low_percent": difference and difference.low,
        "difference_high_percent": difference and difference.high,
        "p_corrected": difference and difference.p,
        "more_blocks_count": difference.more if difference else 0,
    }


def overview_rows(table: Table) -> list[dict]:
    """One row per group: medians in narrow columns."""
    rows = []
    for group in table.groups:
        row = {"policy": group.label}
        row |= {line.metric.heading: number(line.middle and line.middle.median)
                for line in table.lines if line.group is group and line.metric.heading}
        rows.append(row)
    return rows


def settled(table: Table) -> list[Metric]:
    """Metrics that are the same number in every run: one line says it."""
    metrics = dict.fromkeys(line.metric for line in table.lines)
    return [metric for metric in metrics
            if len({value for group in table.groups for value in group.values[metric.key]}) <= 1]


def difference_rows(table: Table, style: str) -> list[dict]:
    same, rows, last = settled(table), [], None
    for line in table.lines:
        if line.metric in same:
            continue
        if style == "table" and line.metric is not last:
            rows.append(dict.fromkeys(("policy", "median", "95 % interval", "blocks"), "")
                        | {"policy": line.metric.name, "against": ""})
        last = line.metric
        label = {"policy": f"  {line.group.label}"} if style == "table" else \
            {"metric": line.metric.name, "policy": line.group.label}
        rows.append(label | {
            "median": number(line.middle and line.middle.median), "95 % interval": range_text(line.middle),
            "blocks": str(line.middle.count if line.middle else 0), "against": told(line.difference)})
    return rows


def planner_line(table: Table) -> str:
    """How many blocks would show a difference of EFFECT, from the spread that these blocks have."""
    comparisons = sum(line.difference is not None for line in table.lines)
    needed = {}
    for line in table.lines:
        values = line.group.values[line.metric.key]
        spread = inference.spread(values)
        if spread is not None and comparisons:
            blocks = inference.blocks_for(spread, EFFECT, comparisons, len(values))
            name = line.metric.name.partition(",")[0]
            needed[name] = max(needed.get(name, 0), blocks)
    if not needed:
        return ""
    can = [f"{name} {blocks}" for name, blocks in sorted(needed.items(), key=lambda item: item[1])
           if blocks <= BLOCKS_MAX]
    beyond = len(needed) - len(can)
    if beyond:
        can.append(f"more than {BLOCKS_MAX}" + (f" for {count(beyond, 'other')}" if can else ""))
    return f"blocks that would show a difference of {100 * EFFECT:.0f} %: {', '.join(can)}"


def title(table: Table) -> str:
    """Engine, release, seeds, workers, and which blocks."""
    results = [result for group in table.groups for result in group.results]
    parts = []
    for key in ("engine", "module", "primitive"):
        parts.append(f"{key} " + " and ".join(dict.fromkeys(result[key] for result in results)))
    seeds = sorted({result["seed"] for result in results})
    parts.insert(2, f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {seeds[0]} to {seeds[-1]}")
    workers = {(result["workers"]["vcpus"], result["workers"]["hosts"], len(result["workers"]["processors"]))
               for result in results}
    text = ", ".join(parts)
    if len(workers) == 1:
        vcpus, hosts, processors = map(count, workers.pop(), ("vCPU", "host", "processor"))
        text += f"; {vcpus} + {hosts} on {processors}"
    most = max(len(group.results) for group in table.groups)
    return wrap(text if most == 1 else f"medians of {most} blocks; {text}")


def reasons(table: Table) -> list[str]:
    """Why runs are DEGRADED, each once, and of how many runs."""
    results = [result for group in table.groups for result in group.results]
    told_ = Counter(f"{result['verdict']['status']}: {reason}" for result in results
                    for reason in result["verdict"]["reasons"])
    return [f"{reason}" + (f" ({count} of {len(results)} runs)" if count < len(results) else "")
            for reason, count in sorted(told_.items())]


def report(table: Table, style: str = "table") -> str:
    """The comparison as text."""
    if style == "json":
        return json.dumps([_plain(line) for line in table.lines], indent=1)
    if style == "csv":
        return formatted([_plain(line) for line in table.lines], style)
    parts = [title(table), formatted(overview_rows(table), style)]
    if any(len(group.results) > 1 for group in table.groups) and len(table.groups) > 1:
        parts += ["", _differences_text(table, style)]
        parts += mean_lines(table)
    notes = [*table.notes, *reasons(table)]
    if len(table.groups) > 1 and all(len(group.results) == 1 for group in table.groups):
        notes.append("one block each: no difference can be told from chance; `run --repeats 7` can")
    elif planned := planner_line(table):
        notes.append(planned)
    # What simulated results rest on stands under every table of them.
    assumed = dict.fromkeys(line for group in table.groups for result in group.results
                            for line in assumption_lines(result))
    return "\n".join([*parts, *map(wrap, notes), *assumed])


def _differences_text(table: Table, style: str) -> str:
    against = table.baselines[0].label if len(set(map(id, table.baselines))) == 1 else \
        f"{table.baselines[0].policy} on the same workload"
    rows = difference_rows(table, style)
    rename = {"against": f"against {against}"}
    rows = [{rename.get(key, key): value for key, value in row.items()} for row in rows]
    left = 1 if style == "table" else 2
    lines = []
    if rows:
        lines.append(tabulate(rows, headers="keys", tablefmt="github" if style == "github" else "simple",
                              disable_numparse=True, preserve_whitespace=True,
                              colalign=["left"] * left + ["right"] * 3 + ["left"]))
    if same := settled(table):
        lines.append(wrap("the same in every run: " + ", ".join(
            f"{metric.name} {number(_any_value(table, metric))}" for metric in same)))
    return "\n".join(lines)


def _any_value(table: Table, metric: Metric) -> float | None:
    return next((value for group in table.groups for value in group.values[metric.key]), None)


def mean_lines(table: Table) -> list[str]:
    return [wrap(f"geometric mean over {workloads} workloads, {metric.name}: {policy}"
                 f" {signed_percent(100 * (mean - 1))}") for metric, policy, mean, workloads in table.means]


def overview(results: list[dict], style: str = "table") -> str:
    """What `run` prints at its end."""
    return report(make_table(results, across=identity.COMPARABLE), style)

