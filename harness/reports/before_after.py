"""A policy before and after a change: a line per metric with old, new and the change, as benchstat lays it out."""

import json

from harness.reports.comparison import difference_text
from harness.reports.numbers import events_text
from harness.reports.text import count, formatted, number, wrap
from harness.results import inference
from harness.results.before_after import BeforeAfter, Line
from harness.results.inference import Interval


def against_report(table: BeforeAfter, style: str = "table") -> str:
    """style   table, github, csv or json"""
    if style in ("csv", "json"):
        rows = [plain(line) for line in table.lines]
        return json.dumps(rows, indent=1) if style == "json" else formatted(rows, style)
    runs = sorted({(len(old.results), len(new.results)) for old, new in table.pairs})
    title = "; ".join(f"{count(old, 'block')} before, {new} after" for old, new in runs)
    shown = [line for line in table.lines if not same(line)]
    parts = [wrap(f"{title}; they differ in " + ("; ".join(table.differs) if table.differs else "nothing that a result knows"))]
    if shown:
        parts.append(formatted(_rows(shown, len(table.pairs) > 1), style, words=(0, -1)))
    alike: dict[str, list[str]] = {}
    for line in table.lines:
        if same(line):
            alike.setdefault(line.metric.title, []).append(line.policy)
    if alike:
        names = [name if len(of) == len(table.pairs) else f"{name} ({', '.join(of)})" for name, of in alike.items()]
        parts.append(wrap(f"the same before and after: {', '.join(names)}"))
    parts += [wrap(note) for note in table.notes]
    if max(max(pair) for pair in runs) < 6:
        parts.append("few blocks show large differences only; `run --repeats 7` on each side")
    return "\n".join(parts)


def same(line: Line) -> bool:
    """Whether there is nothing to say: every value of both sides is the same number, or nothing fatal occurred."""
    if line.events:
        return not any(side.total for side in line.events)
    return line.difference.verdict in (inference.EQUAL, inference.NOTHING)


def _rows(lines: list[Line], several: bool) -> list[dict]:
    rows, metric = [], None
    for line in lines:
        if several and line.metric is not metric:
            rows.append({"": line.metric.name, "before": "", "after": "", "change": ""})
        metric = line.metric
        if line.events:
            before, after, change = *map(events_text, line.events), ""
        else:
            (before, after), change = map(_middle, line.middles), difference_text(line.difference)
        rows.append({"": f"  {line.policy}" if several else line.metric.name, "before": before, "after": after, "change": change})
    return rows


def _middle(middle: Interval | None) -> str:
    """A median and how far its 95 % interval goes from it at most, in percent of it."""
    if middle is None:
        return "-"
    if middle.low is None or middle.low == middle.high or not middle.median:
        return number(middle.median)
    wide = 100 * max(middle.high - middle.median, middle.median - middle.low) / middle.median
    return f"{number(middle.median)} ±{max(wide, 1):.0f} %"


def plain(line: Line) -> dict:
    """A line for programs, in the keys of `compare`."""
    before, after = line.middles
    fatal = line.events or (None, None)
    difference = line.difference
    sides = {}
    for side, middle, found in (("before", before, fatal[0]), ("after", after, fatal[1])):
        sides |= {f"{side}_median": None if found else middle and middle.median, f"{side}_low": None if found else middle and middle.low,
                  f"{side}_high": None if found else middle and middle.high,
                  f"{side}_blocks_count": found.runs if found else middle.count if middle else 0,
                  f"{side}_total_count": found and found.total}
    return {"metric": line.metric.key, "policy": line.policy, **sides, "verdict": difference and difference.verdict,
            "difference_percent": difference and difference.percent, "difference_low_percent": difference and difference.low,
            "difference_high_percent": difference and difference.high, "p_corrected": difference and difference.p,
            "more_blocks_count": difference.more if difference else 0}
