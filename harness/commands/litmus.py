"""What `explore` does with C litmus tests: search each, print herd7's report and what herd7 does not say."""

import json
import sys
from typing import NamedTuple

from harness.commands import counterexamples, jobs
from harness.engines.explore.search import PRIVATE_LOOP
from harness.errors import DONE, FAILED, INTERRUPTED, UNTRUSTWORTHY, UsageError
from harness.experiment import litmus, litmus_loops, litmus_refused
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


    @property
    def never(self) -> list[litmus_refused.Refused]:
        """Calls of the module that succeed in no interleaving; a search that is not complete cannot tell."""
        return litmus_refused.refused(self.test, self.found.answered) if self.found.complete else []


class Asked(NamedTuple):
    """A test to be searched: its text in place of the file, so that another host can read it; keys in place of its own."""

    path: str
    text: str
    given: dict

    def test(self) -> litmus.Test:
        return litmus.parse(self.text, self.path, self.given)


def asked(paths: list[str], modules: list[str] | None, given: dict) -> list[Asked]:
    """Every test, for each release if any are named.  Raises UsageError."""
    if any(not path.endswith(SUFFIX) for path in paths):
        raise UsageError(f"{next(path for path in paths if not path.endswith(SUFFIX))}: is no {SUFFIX} file; scenarios and"
                         " litmus tests are explored apart")
    texts = {path: litmus.load(path).table["litmus"] for path in paths}
    return [Asked(path, texts[path], given | ({"module": module} if module else {})) for path in paths for module in modules or [None]]


def explore(of: list[Asked], each, show: int | None, destination: counterexamples.Destination, style: str = "table",
            whole: bool = False) -> int:
    """Judge every test, in their order; returns the exit code.

    each    (tests) -> (place, what was found or jobs.Failure) as they end
    whole   every interleaving is asked for: a search that is not complete is no answer
    """
    if show is not None and len(of) > 1:
        raise UsageError(f"--show {show}: these are {len(of)} litmus tests; name one")
    tests = [one.test() for one in of]
    if any(one.given.get("policy") for one in of) and not any(test.uses_flows for test in tests):
        raise UsageError(f"--policy {of[0].given['policy']}: of tests with fault() or zap(), which follow it; {of[0].path} has neither")
    code, failed, part, done = DONE, [], 0, 0
    documents: list[dict] = []
    for number, found in jobs.in_order(each(tests)):
        test, done = tests[number], done + 1
        if isinstance(found, jobs.Failure):
            print(found.why, file=sys.stderr)
            code, part = UNTRUSTWORTHY, part + 1
            continue
        if found.stopped == PRIVATE_LOOP:
            raise litmus_loops.endless(test)
        model = test.file.memory_model
        judged = Judged(test, found, verdicts.judge(test, found.endings), model)
        if style == "json":
            documents.append(reports.plain(test, judged.verdict, model, found.seconds) | {
                "complete": found.complete, "states_searched_count": found.states, "deadlocks_count": judged.verdict.deadlocks,
                "violated": list(found.violations), "unexpected": judged.unexpected,
                "never_succeeds": [each._asdict() for each in judged.never]})
        else:
            print(reports.as_herd(test, judged.verdict, found.seconds))
            print(reports.besides(test, judged.verdict, found, judged.unexpected, model, judged.never))
        destination = present(judged, show, destination, say=style == "table")
        print(end="" if style == "json" else "\n", flush=True)
        failed += [test.name] if judged.unexpected else []
        part += not found.complete and not judged.unexpected
        if found.interrupted:
            print(f"interrupted in test {number + 1} of {len(tests)}", file=sys.stderr)
            code = INTERRUPTED
            break
    if done < len(tests) and code == DONE:
        print(f"interrupted behind test {done} of {len(tests)}", file=sys.stderr)
        code = INTERRUPTED
    destination.say_unwritten()
    if style == "json":
        print(json.dumps(documents, indent=1))
        return code or (FAILED if failed else UNTRUSTWORTHY if part and whole else DONE)
    print(f"{count(done, 'litmus test')}: {done - len(failed) - part} passed, {len(failed)} failed"
          + f" ({', '.join(failed)})" * bool(failed) + f", {part} not searched completely" * bool(part))
    return code or (FAILED if failed else UNTRUSTWORTHY if part and whole else DONE)


def present(judged: Judged, show: int | None, destination: counterexamples.Destination, say: bool = True) -> counterexamples.Destination:
    """The way to each violated invariant, and to the first state that the condition is about; returns what is left to be written."""
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
            chosen.append(counterexamples.Way(reports.spelled(judged.test, state.values) or "the end", state.ending.turns))
            break
    return counterexamples.present_ways(judged.test, chosen, destination, say)
