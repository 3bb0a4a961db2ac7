"""What `explore` shows and saves of a search: the ways to what should not be, as schedules and as tests."""

import re
import sys
from pathlib import Path
from typing import NamedTuple

from harness.engines.explore.search import Found
from harness.errors import UsageError, escaped, program
from harness.files import reason, saved, write_file
from harness.engines.replay.steps import execute
from harness.experiment.schedule import Schedule, Turn
from harness.reports import exploration, way
from harness.results import grading


class Destination(NamedTuple):
    """Where counterexamples are kept."""

    folder: Path
    test: Path | None = None     # the first of all as a pytest file, too ...
    html: Path | None = None     # ... as a page ...
    trace: Path | None = None    # ... as Chrome's and Perfetto's trace

    def say_unwritten(self) -> None:
        """On stderr, when all ways have been shown: which of the files there are not."""
        for option, path in (("--as-test", self.test), ("--html", self.html), ("--trace", self.trace)):
            if path is not None:
                print(f"{option} {escaped(str(path))}: not written, as there was no way to show; --show N shows the way to the Nth outcome",
                      file=sys.stderr)


class Way(NamedTuple):
    """A way to something, and why it is shown."""

    reason: str
    turns: list[Turn]
    repeated: int = 0            # so many of the last turns repeat for ever


def ways(found: Found, judged: grading.Verdict, show: int | None) -> list[Way]:
    """To each violated invariant, to each outcome that should not be, and to the `show`th outcome, if there are so many."""
    scenario, chosen = found.scenario, []
    for name, turns in found.violations.items():
        cycle = found.cycles.get(name, [])
        expected = " (as it must be)" * (name in scenario.must_violate)
        chosen.append(Way(f"{name} is violated{expected}", turns + cycle, len(cycle)))
    for ending, (grade, _) in zip(found.endings, judged.grades):
        if grade in ("forbidden", "ungraded") and ending.kind == "done":
            chosen.append(Way(f"{grade}: {grading.describe(scenario, ending)}", ending.turns))
    if show is not None and show <= len(found.endings):
        ending = found.endings[show - 1]
        chosen.append(Way(grading.describe(scenario, ending), ending.turns))
    return chosen


def present(found: Found, judged: grading.Verdict, show: int | None, destination: Destination, say: bool = True) -> Destination:
    """Print each way access by access (`say`), and save it; returns what is left to be written."""
    return present_ways(found.scenario, ways(found, judged, show), destination, say)


def _repeats(steps: int) -> str:
    """What is to be said of a way with a cycle of so many steps at its end."""
    return "" if not steps else "\nthe last step repeats for ever" if steps == 1 else f"\nthe last {steps} steps repeat for ever"


def present_ways(scenario, chosen: list[Way], destination: Destination, say: bool = True) -> Destination:
    for number, each in enumerate(chosen, 1):
        schedule = Schedule(scenario, each.turns, each.reason)
        accesses, schedule.final = execute(schedule)
        if say:
            print("\n" + exploration.trace(schedule, accesses) + _repeats(each.repeated))
        save(schedule, number, destination)
        show_elsewhere(schedule, accesses, destination.html, destination.trace)
        destination = Destination(destination.folder)
    return destination


def save(schedule: Schedule, number: int, destination: Destination) -> None:
    """Raises UsageError for a place that cannot be written."""
    scenario, folder, test = schedule.scenario, destination.folder, destination.test
    stem = re.sub(r"[^A-Za-z0-9.]+", "-", f"{scenario.name}-{scenario.module}").strip("-")
    path = folder / f"{stem}-{number}.schedule.json"
    try:
        schedule.write(path)
        print(f"{saved(path)}; {saved(path, f'again: {program()} replay')}", file=sys.stderr)
        if test:
            write_file(as_test(schedule), test)
            print(saved(test, "wrote"), file=sys.stderr)
    except OSError as problem:
        raise UsageError(f"--out {folder}: cannot write {problem.filename or path}: {reason(problem)}") from None


def show_elsewhere(schedule: Schedule, accesses: list, html: Path | None, trace: Path | None) -> None:
    """Write a way as a page and as a trace.  Raises UsageError."""
    for option, path, make in (("--html", html, way.page), ("--trace", trace, way.trace_events)):
        if path is None:
            continue
        try:
            write_file(make(schedule, accesses), path)
        except OSError as problem:
            raise UsageError(f"{option} {path}: cannot be written: {reason(problem)}") from None
        print(saved(path, "wrote"), file=sys.stderr)


def as_test(schedule: Schedule) -> str:
    """A pytest file that runs the schedule again."""
    name = re.sub(r"\W+", "_", f"{schedule.scenario.name} {schedule.scenario.module}").strip("_").lower()
    return f'''"""{schedule.reason}: found by `explore`, kept as a schedule."""

from harness.engines.replay.steps import execute
from harness.experiment.schedule import Schedule

SCHEDULE = {schedule.as_json()!r}


def test_{name}_still_comes_out_like_this():
    schedule = Schedule.from_json(SCHEDULE)
    accesses, final = execute(schedule)
    assert final == schedule.final
'''
