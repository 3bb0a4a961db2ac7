"""Policies side by side: medians over blocks, differences to a baseline, and what cannot be said.

    select        results -> groups, one for each config that was run, with its blocks
    make_table    groups -> lines, one for each (metric, policy), with an interval and a verdict; what is
                  fatal (metrics.FATAL) has totals, and no verdict

Results that cannot be compared (another engine, release, primitive, workload or machine) are refused,
unless `across` names what may differ, or they were interleaved in one session: then the table says
what differs.  Interrupted and UNTRUSTWORTHY runs are left out and named.
"""

import fnmatch
from collections import Counter
from dataclasses import dataclass
from typing import NamedTuple

from harness.errors import ResultError, UsageError, meant
from harness.experiment.config import dotted
from harness.results import identity, inference
from harness.results.metrics import BY_KEY, COMPARED, Events, Metric, events, none_of, values
from harness.results.schema import UNTRUSTWORTHY, Result


APART_MOST = 2                   # settings of a workload in a label


@dataclass
class Group:
    """The runs of one config, in order of time; `key` tells it from all others."""

    key: tuple
    results: list[Result]
    label: str = ""

    @property
    def identity(self) -> identity.Identity:
        return self.key[1]

    @property
    def name(self) -> str:
        return self.results[0].name

    @property
    def policy(self) -> str:
        return self.results[0].policy

    def values(self, metric: Metric) -> list[float]:
        return values(metric, self.results)

    def by_block(self, metric: Metric) -> list[tuple]:
        """(block, value) of each run that has one."""
        return [(_block(result), value) for result in self.results if (value := metric.get(result)) is not None]


class Line(NamedTuple):
    """One line of the table.

    middle        None: no run has this number, or it is of what is fatal
    of_none       of how many none was seen, where the median of a share is 0
    events        of what is fatal
    difference    None: the baseline itself, or what is fatal
    """

    metric: Metric
    group: Group
    middle: inference.Interval | None
    of_none: int | None
    events: Events | None
    difference: inference.Difference | None


@dataclass
class Table:
    groups: list[Group]
    baselines: list[Group]                       # of each group, in the same order
    lines: list[Line]
    means: list[tuple[Metric, str, float, int]]  # (metric, policy, geometric mean ratio, workloads)
    notes: list[str]


# --- selecting -------------------------------------------------------------------------------

def select(results: list[Result], across: tuple[str, ...] = ()) -> tuple[list[Group], list[str]]:
    """(groups in the order they first appear, what was left out or differs, as sentences).

    Raises UsageError for results that cannot be compared.
    """
    used, notes = [], []
    for result in results:
        reason = "interrupted" if result.interrupted else \
            UNTRUSTWORTHY if result.verdict.status == UNTRUSTWORTHY else ""
        if reason and len(results) > 1:
            notes.append(f"left out: {result.name} of {result.started_at}: {reason}")
        else:
            used.append(result)
    if not used:
        raise ResultError("nothing to compare: every result is interrupted or UNTRUSTWORTHY")
    groups: dict[tuple, Group] = {}
    for result in used:
        key = (result.name, identity.identity(result))
        groups.setdefault(key, Group(key, [])).results.append(result)
    chosen = list(groups.values())
    notes += _differences(chosen, across)
    for group, label in zip(chosen, _labels(chosen)):
        group.label = label
    return chosen, notes


def _block(result: Result) -> tuple:
    """(session, block), or the seed of a run that has none."""
    return (result.block.session, result.block.number) if result.block else ("", result.seed)


def _differences(groups: list[Group], across) -> list[str]:
    """What differs that should not, as notes; raises UsageError where that was not asked for."""
    sessions = {result.block.session if result.block else id(result) for group in groups for result in group.results}
    notes = []
    for key in identity.COMPARABLE:
        if len({getattr(group.identity, key) for group in groups}) == 1:
            continue
        found = differing(groups, key)
        if len(sessions) > 1 and key not in across:
            raise UsageError(f"results differ in {key}: {found}; `--across {key}` compares them all the same")
        notes.append(f"differ in {key}: {found}")
    return notes


def differing(groups: list[Group], key: str) -> str:
    """The values that differ, with their keys where the identity is a digest of several."""
    describe = {"workload": identity.workload, "machine": lambda result: identity.stable(result.machine)}.get(key)
    if describe is None:
        return ", ".join(dict.fromkeys(getattr(group.identity, key) for group in groups))
    tables = [dict(dotted(describe(group.results[0]))) for group in groups]
    keys = sorted({inner for table in tables for inner in table})
    parts = []
    for inner in keys:
        found = list(dict.fromkeys(str(table.get(inner)) for table in tables))
        if len(found) > 1:
            parts.append(f"{inner} {', '.join(found[:5])}{', ...' if len(found) > 5 else ''}")
    return "; ".join(parts[:4]) + ("; ..." if len(parts) > 4 else "")


def _labels(groups: list[Group]) -> list[str]:
    """The shortest of policy, config name, both, policy and what differs, or all with a digest that tells all groups apart."""
    apart = _apart(groups)
    for label in (lambda g: g.policy, lambda g: g.name, lambda g: f"{g.name}/{g.policy}", lambda g: f"{g.policy}/{apart[g.key]}",
                  lambda g: f"{g.name}/{g.policy}/{identity.digest(g.key)[:4]}"):
        labels = [label(group) for group in groups]
        if max(Counter(labels).values()) == 1:
            return labels
    raise AssertionError("groups differ in their keys")


def _apart(groups: list[Group]) -> dict[tuple, str]:
    """What differs between groups, of each by its key: `simulate`, `1.5.24`, `vcpus=64`."""
    named = {group.key: {key: getattr(group.identity, key) for key in ("engine", "module", "primitive")} for group in groups}
    work = {group.key: dict(dotted(identity.workload(group.results[0]))) for group in groups}

    def differ(tables) -> list[str]:
        return [key for key in dict.fromkeys(key for table in tables.values() for key in table)
                if len({str(table.get(key)) for table in tables.values()}) > 1]
    names, keys = differ(named), differ(work)
    return {group.key: ",".join([*(named[group.key][name] for name in names),
                                 *(f"{key.rpartition('.')[2]}={work[group.key].get(key)}" for key in keys[:APART_MOST])]) for group in groups}


# --- the table -------------------------------------------------------------------------------

def metrics_named(text: str | None, option: str) -> tuple[Metric, ...]:
    """Metrics from `a,b`; COMPARED for None.  Raises UsageError."""
    if text is None:
        return COMPARED
    return tuple(_metric(key.strip(), option) for key in text.split(","))


def _metric(key: str, option: str) -> Metric:
    if key not in BY_KEY:
        raise UsageError(f"{option} {key}: {meant(key, BY_KEY)}must be of {', '.join(BY_KEY)}")
    return BY_KEY[key]


def make_table(results: list[Result], baseline: str | None = None, columns: str | None = None,
               rows: str | None = None, sort: str | None = None, across: tuple[str, ...] = ()) -> Table:
    """Everything `compare` says, before it is laid out.

    baseline   the label of the group to compare with; default: the first
    columns    keys of metrics; rows: patterns of labels (`kick*,retry16`); sort: key of a metric
    """
    metrics = metrics_named(columns, "--columns")
    groups, notes = select(results, across)
    labels = [group.label for group in groups]
    if baseline is not None and baseline not in labels:
        raise UsageError(f"--baseline {baseline}: {meant(baseline, labels)}must be one of {', '.join(labels)}")
    base = groups[labels.index(baseline)] if baseline is not None else groups[0]
    if rows is not None:
        patterns = [pattern.strip() for pattern in rows.split(",")]
        for pattern in patterns:
            if not fnmatch.filter(labels, pattern):
                raise UsageError(f"--rows {pattern}: {meant(pattern, labels)}matches none of {', '.join(labels)}")
        groups = [group for group in groups
                  if group is base or any(fnmatch.fnmatchcase(group.label, pattern) for pattern in patterns)]
    if sort is not None:
        by = _metric(sort, "--sort")
        groups.sort(key=lambda group: _least_first(by, group))
    baselines = [_baseline_of(group, groups, base) for group in groups]
    return _fill(groups, baselines, metrics, notes)


def _least_first(metric: Metric, group: Group) -> tuple:
    """By events a run, or by the median; groups that do not have the number come last."""
    if metric.events:
        found = events(metric, group.results)
        return False, found.total / found.runs
    middle = inference.interval(group.values(metric))
    return middle is None, middle.median if middle else 0


def _baseline_of(group: Group, groups: list[Group], base: Group) -> Group:
    """The baseline's policy over the same workload if there is one, else the baseline."""
    twins = [other for other in groups if other.identity.workload == group.identity.workload
             and (other.policy, other.identity.words) == (base.policy, base.identity.words)]
    return base if base.identity.workload == group.identity.workload else (twins or [base])[0]


def _fill(groups, baselines, metrics, notes) -> Table:
    wanted = [(metric, group, against) for metric in metrics for group, against in zip(groups, baselines)]
    tested = [(metric, group, against) for metric, group, against in wanted
              if group is not against and not metric.events]
    differences = iter(inference.compare_all([_pair(*each) for each in tested]))
    lines = [_fatal_line(metric, group) if metric.events else
             Line(metric, group, inference.interval(group.values(metric)), none_of(metric, group.results), None,
                  None if group is against else next(differences)) for metric, group, against in wanted]
    return Table(groups, baselines, lines, _means(lines, groups, baselines), notes)


def _fatal_line(metric: Metric, group: Group) -> Line:
    return Line(metric, group, None, None, events(metric, group.results), None)


def _pair(metric: Metric, group: Group, against: Group):
    """(values of the baseline, values, paired): paired when both have the same blocks, in one order."""
    first, second = against.by_block(metric), group.by_block(metric)
    blocks = dict(second)
    paired = len(dict(first)) == len(first) and len(blocks) == len(second) and dict(first).keys() == blocks.keys()
    return ([value for _, value in first],
            [blocks[block] for block, _ in first] if paired else [value for _, value in second], paired)


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
    return [(metric, policy, mean, len(found)) for (metric, policy), found in ratios.items()
            if len(found) > 1 and (mean := inference.geometric_mean(found)) is not None]


def settled(table: Table) -> list[Metric]:
    """Metrics that are the same number in every run; nothing that is fatal is one of them."""
    metrics = dict.fromkeys(line.metric for line in table.lines if not line.metric.events)
    return [metric for metric in metrics
            if len({value for group in table.groups for value in group.values(metric)}) <= 1]
