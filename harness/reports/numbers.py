"""A number of a result, or of the results of one config, as a person reads it.

The median over runs; but what is fatal and rare as a total and in how many runs, and a share of which
none was seen as its upper bound.
"""

import statistics
from typing import Sequence

from harness.reports.text import none_seen, number
from harness.results.metrics import Events, Metric, events, none_of, values
from harness.results.schema import Result


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
    """`5 in 2 of 7 runs`; `0 in 7 runs`; of one run the total.  In a narrow column `5 in 2/7` and `0`."""
    if found.runs == 1 or narrow and not found.total:
        return str(found.total)
    if narrow:
        return f"{found.total} in {found.in_runs}/{found.runs}"
    return f"{found.total} in {found.in_runs} of {found.runs} runs" if found.total else f"0 in {found.runs} runs"
