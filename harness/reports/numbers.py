"""A number of a result, or of the results of one config, as a person reads it.

The median over runs; but what is fatal and rare as a total and in how many runs, and a share of which
none was seen as its upper bound.
"""

import re
import statistics
from typing import Sequence

from harness.reports.text import none_seen, number
from harness.results.metrics import Events, Metric, events, none_of, values
from harness.results.schema import STATUSES, Result


NUMBER = re.compile(r"(?<![\w.])\d+(?:\.\d+)?(?![\w.]*\w)")


def shown(metric: Metric, value: float | None, of_none: int | None) -> str:
    """A value; where none was seen of a share, its bound.

    of_none   of how many none was seen (metrics.none_of)
    """
    return none_seen(of_none, metric.times) if value == 0 and of_none is not None else number(value)


def over_runs(metric: Metric, results: Sequence[Result], narrow: bool = False) -> str:
    """What a metric comes to over the runs of one config."""
    if metric.events:
        return events_text(events(metric, results), narrow)
    found = values(metric, results)
    return shown(metric, statistics.median(found) if found else None, none_of(metric, results))


def events_text(found: Events, narrow: bool = False) -> str:
    """`5 in 2 of 7 runs`; `0 in 7 runs`; of one run the total.  In a narrow column `5 2/7` and `0`."""
    if found.runs == 1 or narrow and not found.total:
        return str(found.total)
    if narrow:
        return f"{number(found.total)} {found.in_runs}/{found.runs}"
    return f"{found.total} in {found.in_runs} of {found.runs} runs" if found.total else f"0 in {found.runs} runs"


def reasons_of(results: Sequence[Result]) -> list[tuple[str, int]]:
    """Why runs are not VALID, and of how many runs each is; reasons that differ in numbers only are one.

    `another load took 72.6 % of ...` and `... 83.1 % of ...` are `another load took 72.6 to 83.1 % of ...`.  In the order of
    the results' own, which begin with the gravest; those of the worst results come first, as not all may be shown.
    """
    alike: dict[str, list[str]] = {}
    for result in sorted(results, key=lambda result: -STATUSES.index(result.verdict.status)):
        for reason in result.verdict.reasons:
            said = f"{result.verdict.status}: {reason}"
            alike.setdefault(NUMBER.sub("#", said), []).append(said)
    return [(_as_one(said), len(said)) for said in alike.values()]


def kind_of(reason: str) -> str:
    """A reason of `reasons_of` without its numbers: the same of one run and of several."""
    return NUMBER.sub("#", reason).replace("# to #", "#")


def _as_one(sentences: list[str]) -> str:
    """Sentences that differ in numbers only, with the least and the greatest where they differ."""
    places = iter(zip(*(NUMBER.findall(sentence) for sentence in sentences)))

    def span(_) -> str:
        found = sorted(next(places), key=float)
        return found[0] if found[0] == found[-1] else f"{found[0]} to {found[-1]}"

    return NUMBER.sub(span, sentences[0])
