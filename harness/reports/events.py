"""The first milliseconds of a run, call by call, for Chrome and Perfetto: chrome://tracing, https://ui.perfetto.dev.

    of_run(measured)   JSON: a lane per actor, spans (a fault, a removal) around the calls in them
    of_litmus(...)     the same of the first runs of a litmus test in virtual time, one behind another

A lane holds spans that lie within one another, as the format wants it; a fault that goes on behind the touch in which it
began has a second lane of its actor.  Each actor keeps the first calls and spans that are measured, a fixed number; the trace ends where the first of them has no
more room, so that no lane is empty while its actor is at work.
"""

import json

import numpy as np

from kernels.answers import AnswerKind


def of_run(measured) -> str:
    """The JSON text; time 0 is when the first call that is kept began, microseconds as the format has them."""
    plan, config = measured.plan, measured.plan.config
    return _written(f"{config.name}, {config.engine}, module {config.module}, policy {config.policy.name}", plan.actors, plan.program,
                    measured.logs, plan.tables.log_room, measured.ticks_per_ns, {"seed": config.seed, "engine": config.engine})


def of_litmus(test, program, logs: dict[str, np.ndarray], ticks_per_ns: float, seed: int) -> str:
    """program: the one that was run, of which calls and spans are numbered."""
    return _written(f"{test.name}, simulate, module {test.module}", [script.actor for script in test.scripts], program, logs, 0,
                    ticks_per_ns, {"seed": seed, "engine": "simulate"})


def _written(title: str, actors, program, logs: dict[str, np.ndarray], room: int, ticks_per_ns: float, other: dict) -> str:
    logs = {name: log for name, log in logs.items() if len(log)}
    first = min((int(log[:, 0].min()) for log in logs.values()), default=0)
    last = min((int(log[:, 1].max()) for log in logs.values() if len(log) == room), default=None) if room else None
    per_us = 1000 * ticks_per_ns
    events = [{"ph": "M", "pid": 0, "name": "process_name", "args": {"name": title}}]
    for actor in actors:
        kept = [row for row in (logs[actor.name].tolist() if actor.name in logs else ()) if last is None or row[1] <= last]
        lanes = _lanes(kept)
        for lane in range(max(lanes, default=0) + 1):
            tid = {"ph": "M", "pid": 0, "tid": actor.number + lane * len(actors)}
            events.append(tid | {"name": "thread_name", "args": {"name": f"{actor.name}{f' ({lane + 1})' * (lane > 0)}"}})
            events.append(tid | {"name": "thread_sort_index", "args": {"sort_index": actor.number}})
        for (begin, end, what, answer), lane in zip(kept, lanes):
            event = {"ph": "X", "pid": 0, "tid": actor.number + lane * len(actors), "ts": round((begin - first) / per_us, 4),
                     "dur": round((end - begin) / per_us, 4)}
            if what < 0:
                event |= {"name": program.spans[-1 - what], "cat": "span"}
            else:
                given = program.answers[answer]
                event |= {"name": program.calls[what], "cat": "call", "args": {"answer": given.name}}
                if given.kind >= AnswerKind.BUSY:
                    event["cname"] = "terrible"
            events.append(event)
    return json.dumps({"traceEvents": events, "displayTimeUnit": "ns",
                       "otherData": other}, indent=1) + "\n"


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
