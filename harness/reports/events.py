"""The first milliseconds of a run, call by call, for Chrome and Perfetto: chrome://tracing, https://ui.perfetto.dev.

    of_run(measured)   JSON: a lane per actor, spans (a fault, a removal) around the calls in them
    of_litmus(...)     the same of runs of a litmus test, one behind another; by real processes with its own accesses too

A lane holds spans that lie within one another, as the format wants it; a fault that goes on behind the touch in which it
began has a second lane of its actor.  Each actor keeps the first calls and spans that are measured, a fixed number; the trace ends where the first of them has no
more room, so that no lane is empty while its actor is at work.
"""

from functools import partial

import numpy as np

from harness.experiment.litmus_rows import PROCESS
from harness.reports.chrome_trace import Lane, Span, written
from kernels.answers import AnswerKind
from kernels.ops import OP_TABLE, Access


def of_run(measured) -> str:
    """The JSON text; time 0 is when the first call that is kept began, microseconds as the format has them."""
    plan, config = measured.plan, measured.plan.config
    return _written(f"{config.name}, {config.engine}, module {config.module}, policy {config.policy.name}", plan.actors,
                    measured.logs, partial(_call_or_span, plan.program), plan.tables.log_room, measured.ticks_per_ns, {"seed": config.seed, "engine": config.engine})


def of_litmus(test, traced, engine: str, seed: int) -> str:
    """traced: measured.Traced.  A run's span says what it came to."""
    spans, runs = traced.spans, traced.spans.index(PROCESS)

    def shown(what: int, answer: int) -> dict:
        if what >= -len(spans):
            return {"name": f"run {answer + 1}", "cat": "run", "args": {"came to": _came_to(test, traced.endings[answer])}} if what == -1 - runs \
                else _call_or_span(traced.program, what, answer)
        row = traced.program.listing[-1 - len(spans) - what]
        reads = {"args": {"read": test.names_of_addresses.get(answer, str(answer))}} if OP_TABLE[row.op].access == Access.LOAD else {}
        return {"name": row.text, "cat": "access"} | reads

    return _written(f"{test.name}, {engine}" + f", module {test.module}" * test.of_td, [script.actor for script in test.scripts], traced.logs, shown,
                    traced.room, traced.ticks_per_ns, {"seed": seed, "engine": engine} | traced.said)


def _came_to(test, ending) -> str:
    said = " ".join(f"{name}={value};" for (name, _), value in zip(test.watched(), ending.words))
    return said if ending.kind == "done" else f"{ending.kind} {said}".strip()


def _call_or_span(program, what: int, answer: int) -> dict:
    if what < 0:
        return {"name": program.spans[-1 - what], "cat": "span"}
    given = program.answers[answer]
    return {"name": program.calls[what], "cat": "call", "args": {"answer": given.name}} | ({"cname": "terrible"} if given.kind >= AnswerKind.BUSY else {})


def _written(title: str, actors, logs: dict[str, np.ndarray], shown, room: int, ticks_per_ns: float, other: dict) -> str:
    """shown: (call, span or what else it is, its answer) -> name, category and arguments of an event."""
    logs = {name: log for name, log in logs.items() if len(log)}
    first = min((int(log[:, 0].min()) for log in logs.values()), default=0)
    last = min((int(log[:, 1].max()) for log in logs.values() if len(log) == room), default=None) if room else None
    lanes = []
    for actor in actors:
        kept = [row for row in (logs[actor.name].tolist() if actor.name in logs else ()) if last is None or row[1] <= last]
        places = _lanes(kept)
        for place in range(max(places, default=0) + 1):
            spans = [Span(round((begin - first) / ticks_per_ns), round((end - first) / ticks_per_ns), shown(what, answer))
                     for (begin, end, what, answer), its in zip(kept, places) if its == place]
            lanes.append(Lane(actor.name + f" ({place + 1})" * (place > 0), actor.number, spans))
    return written(title, lanes, other)


def _lanes(rows: list) -> list[int]:
    """The lane of each (begin, end, ...): the first in which it lies within all that it meets."""
    found, around = [0] * len(rows), []
    for number in sorted(range(len(rows)), key=lambda number: (rows[number][0], -rows[number][1])):
        begin, end = rows[number][:2]
        around = [[each for each in lane if each > begin] for lane in around]
        lane = next((place for place, ends in enumerate(around) if not ends or end <= ends[-1]), len(around))
        around += [[]] * (lane == len(around))
        around[lane] = [*around[lane], end]
        found[number] = lane
    return found
