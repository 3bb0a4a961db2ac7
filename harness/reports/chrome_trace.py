"""The trace format of Chrome, which Perfetto reads too: chrome://tracing, https://ui.perfetto.dev.

    written(title, lanes, other) -> JSON text

Perfetto takes the thread 0 and the process 0 for the idle task, puts the number of a thread behind its name, orders threads
by it, and counts whole nanoseconds: spans that cross by less are dropped, and said to be lost.  So nothing has the number 0,
an actor's lanes have the hundreds (the first 100, 101 ...), and times are whole nanoseconds.
"""

import json
from typing import NamedTuple

PROCESS = 1
ACTOR = 100                      # the first thread number, and how far those of two actors are apart at least


class Span(NamedTuple):
    """From begin to end (ns); `shown`: its name, and what else the format has of an event (cat, args, cname)."""

    begin: int
    end: int
    shown: dict


class Lane(NamedTuple):
    """Spans that lie within one another or apart; lanes with the same actor's number follow one another."""

    name: str
    actor: int
    spans: list[Span]


def written(title: str, lanes: list[Lane], other: dict) -> str:
    """lanes: in the order in which they are to be shown; other: what else is to be known, by its name."""
    events, number, last = [{"ph": "M", "pid": PROCESS, "name": "process_name", "args": {"name": title}}], 0, None
    for order, lane in enumerate(lanes):
        number = number + 1 if lane.actor == last else (number // ACTOR + 1) * ACTOR
        last, where = lane.actor, {"pid": PROCESS, "tid": number}
        events.append({"ph": "M"} | where | {"name": "thread_name", "args": {"name": lane.name}})
        events.append({"ph": "M"} | where | {"name": "thread_sort_index", "args": {"sort_index": order}})
        # What lies within another comes behind it: viewers nest by the order, where two begin at once.
        for begin, end, shown in sorted(lane.spans, key=lambda span: (span.begin, -span.end)):
            events.append({"ph": "X"} | where | {"ts": begin / 1000, "dur": (end - begin) / 1000} | shown)
    return json.dumps({"traceEvents": events, "displayTimeUnit": "ns", "otherData": other}, indent=1) + "\n"
