"""The command `replay`: a saved schedule again, step by step and as real processes; the words must be the same."""

import json
from pathlib import Path

from harness.commands import arguments
from harness.commands.counterexamples import show_elsewhere
from harness.engines.replay import processes
from harness.engines.replay.steps import execute
from harness.errors import DONE, FAILED
from harness.experiment.schedule import Schedule
from harness.reports import exploration
from harness.reports.text import count

NO_CHANGE = "as at the start"


def add(parser) -> None:
    parser.add_argument("schedule", metavar="SCHEDULE", help="a file that explore has saved")
    parser.add_argument("--all", action="store_true", dest="everything", help="show the accesses between the steps, too")
    arguments.add_format(parser, arguments.TABLE_OR_JSON)
    parser.add_argument("--html", metavar="FILE", help="write it as a page: a lane per actor, words as they change, keys to step")
    parser.add_argument("--trace", metavar="FILE", help="write it as JSON for chrome://tracing and ui.perfetto.dev")


def do(options) -> int:
    paths = [Path(path) if path else None for path in (options.html, options.trace)]
    return replay(Schedule.read(options.schedule), options.everything, *paths, style=options.format)


def replay(schedule: Schedule, everything: bool, html: Path | None = None, trace: Path | None = None,
           style: str = "table") -> int:
    """Run a schedule twice and compare each with what was saved; returns the exit code."""
    accesses, final = execute(schedule)
    show_elsewhere(schedule, accesses, html, trace)
    if style == "table":
        print(exploration.trace(schedule, accesses, everything))
    saved, code, ended = schedule.final or {}, DONE, {}
    runs = [("step by step", final)]
    if not schedule.scenario.tso:
        runs.append(("as real processes", processes.run(schedule)))
    for how, words in runs:
        same = words == schedule.final
        code, ended[how] = code if same else FAILED, {"as_saved": same, "words": words}
        if style == "json":
            continue
        print(f"{how}: {count(len(words), 'word')} {'differs' if len(words) == 1 else 'differ'} from the start, {'all as saved' if same else 'NOT as saved'}")
        for name in sorted(words.keys() | saved.keys()):
            if words.get(name) != saved.get(name):
                print(f"  {name}: {words.get(name, NO_CHANGE)}, saved was {saved.get(name, NO_CHANGE)}")
    if schedule.scenario.tso and style == "table":
        print("not as real processes: nobody can hold back a processor's store buffer")
    if style == "json":
        print(json.dumps(schedule.as_json() | {"accesses": [access._asdict() for access in accesses], "again": ended}, indent=1))
    return code
