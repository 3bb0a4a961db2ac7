"""The first milliseconds of a run, call by call, for Chrome and Perfetto: chrome://tracing, https://ui.perfetto.dev.

    of_run(measured)   JSON: a lane per actor, spans (a fault, a removal) around the calls in them

Each actor keeps the first calls and spans that are measured, a fixed number; the trace ends where the first of them has no
more room, so that no lane is empty while its actor is at work.
"""

import json

from kernels.answers import AnswerKind


def of_run(measured) -> str:
    """The JSON text; time 0 is when the first call that is kept began, microseconds as the format has them."""
    plan, logs = measured.plan, {name: log for name, log in measured.logs.items() if len(log)}
    config, room = plan.config, plan.tables.log_room
    first = min((int(log[:, 0].min()) for log in logs.values()), default=0)
    last = min((int(log[:, 1].max()) for log in logs.values() if len(log) == room), default=None)
    per_us = 1000 * measured.ticks_per_ns
    names = f"{config.name}, {config.engine}, module {config.module}, policy {config.policy.name}"
    events = [{"ph": "M", "pid": 0, "name": "process_name", "args": {"name": names}}]
    for actor in plan.actors:
        events.append({"ph": "M", "pid": 0, "tid": actor.number, "name": "thread_name", "args": {"name": actor.name}})
        for begin, end, what, answer in logs.get(actor.name, ()).tolist() if actor.name in logs else ():
            if last is not None and end > last:
                continue
            event = {"ph": "X", "pid": 0, "tid": actor.number, "ts": round((begin - first) / per_us, 4),
                     "dur": round((end - begin) / per_us, 4)}
            if what < 0:
                event |= {"name": plan.program.spans[-1 - what], "cat": "span"}
            else:
                given = plan.program.answers[answer]
                event |= {"name": plan.program.calls[what], "cat": "call", "args": {"answer": given.name}}
                if given.kind >= AnswerKind.BUSY:
                    event["cname"] = "terrible"
            events.append(event)
    return json.dumps({"traceEvents": events, "displayTimeUnit": "ns",
                       "otherData": {"seed": config.seed, "engine": config.engine}}, indent=1) + "\n"
