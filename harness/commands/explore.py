"""The commands `explore` and `replay`, from their arguments to what they print.

    explore   search each scenario of each file, judge it, save and show what should not be
    replay    a saved schedule again: step by step, and as real processes; the words must be the same
"""

import re
import sys
from pathlib import Path

from harness.reports import exploration
from harness.results import grading
from harness.engines.explore import search as engine
from harness.engines.replay import processes
from harness.errors import UsageError
from harness.protocol.policies import POLICIES
from harness.experiment.config import KeyProblem, resolve_module
from harness.experiment.scenario import Scenario
from harness.experiment.scenario_file import load
from harness.reports.text import wrap
from harness.experiment.schedule import Schedule, execute

DONE, FAILED, INTERRUPTED = 0, 1, 130
BRIEF = 4                        # more scenarios than that get a line each
PCT_RUNS = 1000
POLICIES_MODULE = "1.5.05"       # of --policies, unless --module says more


def explore(options) -> int:
    _check(options)
    if options.policies:
        return _policies(options)
    scenarios = [(path, scenario) for path in options.configs
                 for scenario in load(path, options.module, options.policy)]
    if not scenarios:
        raise UsageError(f"--module {', '.join(options.module)}: no scenario of these files is for it")
    if options.show is not None and len(scenarios) > 1:
        raise UsageError(f"--show {options.show}: these are {len(scenarios)} scenarios; name one file, and one release"
                         " by --module")
    brief, results, code = len(scenarios) > BRIEF, [], DONE
    try:
        for path, scenario in scenarios:
            found = _search(scenario, options, path)
            judged = grading.judge(found, _derived)
            results.append((found, judged))
            if judged.failures or not brief:
                print(exploration.scenario_report(found, judged))
                code = max(code, _counterexamples(found, judged, options))
                print(flush=True)
            if found.interrupted:
                raise KeyboardInterrupt
    except KeyboardInterrupt:
        code = INTERRUPTED
        print(f"interrupted in scenario {max(1, len(results))} of {len(scenarios)}", file=sys.stderr)
    if brief and results:
        print(exploration.summary(results))
        print(f"{len(results)} scenarios, {sum(found.states for found, _ in results)} states,"
              f" {sum(bool(judged.failures) for _, judged in results)} failed")
    return code


def _derived(scenario: Scenario, preemptions: int):
    """A search that a verdict asks for."""
    found = engine.run(scenario, preemptions=preemptions)
    if found.interrupted:
        raise KeyboardInterrupt
    return found


def _check(options) -> None:
    try:
        options.module = options.module and [resolve_module(module) for module in options.module]
    except KeyProblem as problem:
        raise UsageError(f"--module {problem.value}: {problem.message}") from None
    for name, least in (("random", 1), ("pct", 1), ("preemptions", 0), ("memory_mib", 16)):
        value = getattr(options, name)
        if value is not None and value < least:
            raise UsageError(f"--{name.replace('_', '-')} {value}: must be at least {least}")
    if options.preemptions is not None and (options.random or options.pct):
        raise UsageError("--preemptions: not together with --random or --pct")


def _search(scenario: Scenario, options, path: str):
    """What was found in a scenario of a file.  Raises UsageError."""
    try:
        return _found(scenario, options)
    except UsageError as problem:
        raise UsageError(f"{path}: {problem}") from None


def _found(scenario: Scenario, options):
    if options.pct is not None:
        return engine.sample(scenario, options.random or PCT_RUNS, options.seed, options.pct, options.memory_mib)
    if options.random is not None:
        return engine.sample(scenario, options.random, options.seed, 0, options.memory_mib)
    tick = _progress(scenario)
    preemptions = -1 if options.preemptions is None else options.preemptions
    reduce = not options.no_reduction
    return engine.run(scenario, options.memory_mib, reduce, preemptions, tick,
                      symmetry=reduce and not options.no_symmetry)


def _progress(scenario: Scenario):
    """A line on a terminal while a search takes long."""
    def tick(expanded: int, known: int) -> None:
        if sys.stderr.isatty():
            print(f"\r{scenario.name}: {expanded} of {known} states", end="\r", file=sys.stderr, flush=True)
    return tick


def _counterexamples(found, judged, options) -> int:
    """Show and save the ways to what should not be (and to the outcome that was asked for)."""
    scenario, wanted = found.scenario, []
    for name, turns_ in found.violations.items():
        expected = name in scenario.must_violate
        wanted.append((name + " is violated" + " (as it must be)" * expected, turns_ + found.cycles.get(name, []),
                       len(found.cycles.get(name, []))))
    for ending, (grade, note) in zip(found.endings, judged.grades):
        if grade in ("forbidden", "ungraded") and ending.kind == "done":
            wanted.append((f"{grade}: {grading.describe(scenario, ending)}", ending.turns, 0))
    if options.show is not None:
        if not 1 <= options.show <= len(found.endings):
            raise UsageError(f"--show {options.show}: must be at least 1 and at most {len(found.endings)}")
        ending = found.endings[options.show - 1]
        wanted.append((grading.describe(scenario, ending), ending.turns, 0))
    for number, (reason, turns_, repeated) in enumerate(wanted):
        schedule = Schedule(scenario, turns_, reason)
        accesses, schedule.final = execute(schedule)
        print("\n" + exploration.trace(schedule, accesses))
        if repeated:
            print(f"the last {repeated} steps repeat for ever")
        _save(schedule, options, number)
    return FAILED if judged.failures else DONE


def _save(schedule: Schedule, options, number: int) -> None:
    scenario = schedule.scenario
    stem = re.sub(r"[^A-Za-z0-9.]+", "-", f"{scenario.name}-{scenario.module}").strip("-")
    path = Path(options.out) / f"{stem}-{number + 1}.schedule.json"
    try:
        schedule.write(path)
        print(f"saved {path}; again: python -m harness replay {path}", file=sys.stderr)
        if options.as_test and not number:
            Path(options.as_test).write_text(as_test(schedule), encoding="utf-8")
            print(f"wrote {options.as_test}", file=sys.stderr)
    except OSError as problem:
        raise UsageError(f"--out {options.out}: cannot write {problem.filename}: {problem.strerror}") from None


def as_test(schedule: Schedule) -> str:
    """A pytest file that runs the schedule again."""
    name = re.sub(r"\W+", "_", f"{schedule.scenario.name} {schedule.scenario.module}").strip("_").lower()
    return f'''"""{schedule.reason}: found by `explore`, kept as a schedule."""

from harness.experiment.schedule import Schedule, execute

SCHEDULE = {schedule.as_json()!r}


def test_{name}_still_comes_out_like_this():
    schedule = Schedule.from_json(SCHEDULE)
    accesses, final = execute(schedule)
    assert final == schedule.final
'''


def replay(options) -> int:
    schedule = Schedule.read(options.schedule)
    accesses, final = execute(schedule)
    print(exploration.trace(schedule, accesses, options.everything))
    real = processes.run(schedule)
    code = DONE
    for how, words in (("step by step", final), ("as real processes", real)):
        same = words == schedule.final
        print(f"{how}: {len(words)} words differ from the start, "
              + ("all as saved" if same else "NOT as saved"))
        code = code if same else FAILED
        for name in sorted(set(words) | set(schedule.final or {})):
            if words.get(name) != (schedule.final or {}).get(name):
                print(f"  {name}: {words.get(name, 'as at the start')}, saved was"
                      f" {(schedule.final or {}).get(name, 'as at the start')}")
    return code


def _policies(options) -> int:
    """policy x invariant over all scenarios with KVM's flows."""
    cells, checked, incomplete, code = {}, {}, {policy.name for policy in POLICIES}, DONE
    try:
        for policy in POLICIES:
            if _policy(policy.name, options, cells, checked):
                incomplete.discard(policy.name)
    except KeyboardInterrupt:
        code = INTERRUPTED
        print(f"interrupted in policy {policy.name}", file=sys.stderr)
        if not checked:
            return code
    if not checked:
        raise UsageError(f"{options.configs[0]}: no scenario with KVM's flows (touch, remove) for --policies")
    print(wrap(f"{' '.join(Path(path).stem for path in options.configs)}; module {', '.join(options.module or [POLICIES_MODULE])}:"
               " steps of the"
               " shortest counterexample, or holds (? where the search was not complete)"))
    print(exploration.matrix([policy.name for policy in POLICIES], list(checked), cells, incomplete))
    return code


def _policy(name: str, options, cells: dict, checked: dict) -> bool:
    """One line of the matrix; whether every search was complete."""
    complete = True
    for path in options.configs:
        for scenario in load(path, options.module or [POLICIES_MODULE], name):
            if not scenario.uses_flows or scenario.must_violate:
                continue
            found = _search(scenario, options, path)
            checked.update(dict.fromkeys(found.checked))
            complete &= found.complete
            for invariant, way in found.violations.items():
                cells[name, invariant] = min(len(way), cells.get((name, invariant), len(way)))
            if found.interrupted:
                raise KeyboardInterrupt
    return complete
