"""A policy before and after a change: two commits, two modules, two kernels' flows, two hosts.

Runs of one side are those of one policy (and of one config, where a side has several of them).  A policy of the old side
is laid beside the policy of that name on the new side, or beside the only one there is.  What is fatal has totals; the
other metrics a difference, by the same test as `compare`'s and with all of them corrected together.
"""

from typing import NamedTuple

from harness.errors import UsageError
from harness.results import identity, inference
from harness.results.comparison import Group, differing, metrics_named, select
from harness.results.metrics import Events, Metric, events
from harness.results.schema import Result

MUST_AGREE = ("engine", "workload", "machine")       # or a difference is not the change's; `across` names exceptions
MAY_DIFFER = ("module", "primitive")


class Line(NamedTuple):
    """One metric of one policy; middles: medians with their intervals; events: totals of what is fatal."""

    metric: Metric
    policy: str
    middles: tuple[inference.Interval | None, inference.Interval | None]
    events: tuple[Events, Events] | None
    difference: inference.Difference | None


class BeforeAfter(NamedTuple):
    """pairs: (old, new) of each policy; differs: what differs between the two sides, in words."""

    pairs: list[tuple[Group, Group]]
    lines: list[Line]
    differs: list[str]
    notes: list[str]


def before_after(old: list[Result], new: list[Result], columns: str | None = None, across: tuple[str, ...] = ()) -> BeforeAfter:
    """Raises UsageError for sides that have no policy in common, or differ in what must agree."""
    metrics = metrics_named(columns, "--columns")
    everything = identity.COMPARABLE
    (before, old_notes), (after, new_notes) = select(old, everything), select(new, everything)
    pairs = _pairs(before, after)
    differs = _differs(pairs, across)
    tested = [(metric, first, second) for metric in metrics for first, second in pairs if not metric.events]
    found = iter(inference.compare_all([(first.values(metric), second.values(metric), False) for metric, first, second in tested]))
    lines = []
    for metric in metrics:
        for first, second in pairs:
            middles = tuple(inference.interval(side.values(metric)) for side in (first, second))
            fatal = (events(metric, first.results), events(metric, second.results)) if metric.events else None
            lines.append(Line(metric, first.label, middles, fatal, None if metric.events else next(found)))
    left_out = [note for note in old_notes + new_notes if note.startswith("left out")]
    return BeforeAfter(pairs, lines, differs, left_out)


def _pairs(before: list[Group], after: list[Group]) -> list[tuple[Group, Group]]:
    if len(before) == len(after) == 1:
        return [(before[0], after[0])]
    names = {(group.name, group.policy): group for group in after}
    pairs = [(group, names[group.name, group.policy]) for group in before if (group.name, group.policy) in names]
    if not pairs:
        has = " and ".join(", ".join(dict.fromkeys(group.policy for group in side)) for side in (before, after))
        raise UsageError(f"--against: no policy is on both sides: {has}")
    return pairs


def _differs(pairs: list[tuple[Group, Group]], across: tuple[str, ...]) -> list[str]:
    found = []
    for key in (*MUST_AGREE, *MAY_DIFFER):
        for first, second in pairs:
            if getattr(first.identity, key) == getattr(second.identity, key):
                continue
            words = f"{key}: {differing([first, second], key)}"
            if key in MUST_AGREE and key not in across:
                raise UsageError(f"old and new differ in {words}; `--across {key}` compares them all the same")
            if words not in found:
                found.append(words)
    policies = {f"policy: {first.policy}, {second.policy}" for first, second in pairs if first.policy != second.policy}
    edited = {f"the words of policy {first.policy}" for first, second in pairs
              if first.policy == second.policy and first.identity.words != second.identity.words}
    programs = {tuple(dict.fromkeys(str(result.machine.get("program")) for result in group.results))
                for pair in pairs for group in pair}
    said = ["program"] if len(programs) > 1 else []
    return [*found, *sorted(policies), *sorted(edited), *said]
