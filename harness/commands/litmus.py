"""What `explore` does with C litmus tests: search each, print herd7's report and what herd7 does not say."""

import sys
from typing import NamedTuple

from harness.commands import counterexamples
from harness.engines.explore.search import PRIVATE_LOOP
from harness.errors import DONE, FAILED, INTERRUPTED, UsageError
from harness.experiment import litmus
from harness.reports import litmus as reports
from harness.reports.text import count
from harness.results import litmus as verdicts

SUFFIX = ".litmus"


class Judged(NamedTuple):
    """A test searched, and what it comes to."""

    test: litmus.Test
    found: object                # of the engine
    verdict: verdicts.Verdict
    model: str = verdicts.SC

    @property
    def unexpected(self) -> list[str]:
        """What is not as the file says, in words."""
        return verdicts.unexpected(self.test, self.verdict, self.found.violations, self.model)


def explore(paths: list[str], search, show: int | None, destination: counterexamples.Destination, model: str = verdicts.SC) -> int:
    """Search and judge every test; `search` is (path, test, what it is about) -> what was found.  Returns the exit code."""
    if show is not None and len(paths) > 1:
        raise UsageError(f"--show {show}: these are {len(paths)} litmus tests; name one")
    if any(not path.endswith(SUFFIX) for path in paths):
        raise UsageError(f"{next(path for path in paths if not path.endswith(SUFFIX))}: is no {SUFFIX} file; scenarios and"
                         " litmus tests are explored apart")
    tests, code, failed, part = [(path, litmus.load(path)) for path in paths], DONE, [], 0
    for number, (path, test) in enumerate(tests, 1):
        found = search(path, test, f"{number} of {len(tests)}" * (len(tests) > 1))
        if found.stopped == PRIVATE_LOOP:
            raise litmus.endless(test)
        judged = Judged(test, found, verdicts.judge(test, found.endings), model)
        print(reports.as_herd(test, judged.verdict, found.seconds))
        print(reports.besides(test, judged.verdict, found, judged.unexpected, model))
        present(judged, show, destination)
        print(flush=True)
        failed += [test.name] if judged.unexpected else []
        part += not found.complete and not judged.unexpected
        if found.interrupted:
            print(f"interrupted in test {number} of {len(tests)}", file=sys.stderr)
            code = INTERRUPTED
            break
    print(f"{count(number, 'litmus test')}: {number - len(failed) - part} passed, {len(failed)} failed"
          + f" ({', '.join(failed)})" * bool(failed) + f", {part} not searched completely" * bool(part))
    return code or (FAILED if failed else DONE)


def present(judged: Judged, show: int | None, destination: counterexamples.Destination) -> None:
    """The way to each violated invariant, and to the first state that the condition is about."""
    found, chosen = judged.found, []
    for name, turns in found.violations.items():
        cycle = found.cycles.get(name, [])
        chosen.append(counterexamples.Way(f"{name} is violated", turns + cycle, len(cycle)))
    wanted = judged.verdict.quantifier != "forall"
    states = judged.verdict.states
    if show is not None:
        if not 1 <= show <= len(states):
            raise UsageError(f"--show {show}: must be at least 1 and at most {len(states)}")
        states = [states[show - 1]]
    for state in states:
        if show is not None or state.satisfies == wanted:
            chosen.append(counterexamples.Way(reports.spelled(state.values) or "the end", state.ending.turns))
            break
    if judged.model == verdicts.TSO:
        for way in chosen:
            print("\n" + reports.way_under_tso(way.reason, way.turns))
        return
    counterexamples.present_ways(judged.test, chosen, destination)
