"""What a sweep's numbers depend on: a line for each number, how far it goes over the stated ranges, and what decides it."""

import statistics
from typing import NamedTuple

from harness.experiment.sensitivity import BASE, DESIGN, LEAST, MOST, Variant
from harness.reports.numbers import shown
from harness.reports.sweep import summary
from harness.reports.text import formatted, number, one_line, wrap
from harness.results.metrics import Metric, chosen, none_of, values
from harness.results.schema import Result

SHOWN = chosen("busy_per_attempt_percent", "removal_p50_us", "removal_p99_us", "armed_per_million_faults",
               "guest_time_lost_percent", "touches_per_s")
CHANCE, ANOTHER = "chance", "*"  # for a cost that decides: there is none; it is another one in the design

Runs = list[tuple[Variant, Result]]


class Effect(NamedTuple):
    """What one cost does to a number: alone, from its least to its most; and on average in the design."""

    key: str
    least: float
    most: float
    average: float

    @property
    def size(self) -> float:
        return abs(self.most - self.least)


def sensitivity_report(keys: list[str], points: list[tuple[dict, Runs]], ranges: dict[str, tuple[float, float]],
                       style: str = "table") -> str:
    """All numbers of all combinations as one table; what the columns and the ranges mean."""
    found = [row for point, runs in points for row in rows(point, runs)]
    names = list(found[0]) if found else []
    table = formatted(found, style, tuple(names.index(name) for name in (*names[:1], "number", "decides") if name in names))
    if style in ("csv", "json"):
        return table
    first = points[0][1][0][1]
    once = "" if first.config["repeats"] > 1 else " One seed: chance is in every number; --set repeats=5 tells it from a cost."
    return "\n".join([summary(keys, first), table, wrap(
        "range: least .. most of all runs: each cost alone at its least and its most, then all at once (a two-level design)."
        " decides: the cost that alone moves the number most; alone: the number at that cost's least .. most."
        f" {ANOTHER}: where all vary at once another cost moves it more. {CHANCE}: no cost moves it by more than another seed does."
        + once), wrap("ranges (ns): " + ", ".join(f"{short(key)} {least:g} .. {most:g}" for key, (least, most) in ranges.items()))])


def rows(point: dict, runs: Runs) -> list[dict]:
    """A row per number that the runs of a combination have."""
    found = []
    for metric in SHOWN:
        base = [result for variant, result in runs if variant.kind == BASE]
        known = [value for _, result in runs for value in values(metric, [result])]
        here = values(metric, base)
        if not here or not any(known):
            continue
        first, agreed = deciding(effects_of(metric, runs), max(here) - min(here))
        found.append({**{key.rpartition(".")[2]: str(value) for key, value in point.items()}, "number": one_line(metric.heading or metric.name),
                      "here": shown(metric, statistics.median(here), none_of(metric, base)),
                      "range": f"{number(min(known))} .. {number(max(known))}",
                      "decides": short(first.key) + ("" if agreed else f" {ANOTHER}") if first else CHANCE,
                      "alone": f"{number(first.least)} .. {number(first.most)}" if first else "-"})
    return found


def deciding(effects: list[Effect], by_chance: float) -> tuple[Effect | None, bool]:
    """The cost that alone moves a number most, if by more than chance does; whether it does in the design too."""
    first = max(effects, key=lambda effect: effect.size, default=None)
    if first is None or first.size <= by_chance:
        return None, True
    return first, first.key == max(effects, key=lambda effect: abs(effect.average)).key


def effects_of(metric: Metric, runs: Runs) -> list[Effect]:
    """Of each cost, over the seeds' medians."""
    by_variant: dict[tuple, list[float]] = {}
    for variant, result in runs:
        by_variant.setdefault((variant.kind, variant.key), []).extend(values(metric, [result]))
    middle = {which: statistics.median(found) for which, found in by_variant.items() if found}
    design = [(variant.values, middle[DESIGN, variant.key]) for variant in {variant.key: variant for variant, _ in runs if variant.kind == DESIGN}.values()
              if (DESIGN, variant.key) in middle]
    effects = []
    for kind, key in middle:
        if kind == LEAST and (MOST, key) in middle:
            most = max((given[key] for given, _ in design), default=0)
            high = [value for given, value in design if given[key] == most]
            low = [value for given, value in design if given[key] != most]
            average = statistics.fmean(high) - statistics.fmean(low) if high and low else 0.0
            effects.append(Effect(key, middle[LEAST, key], middle[MOST, key], average))
    return effects


def short(key: str) -> str:
    """The name of a cost without its table."""
    return key.partition(".")[2]
