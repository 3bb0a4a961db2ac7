"""The command `explore`: search the scenarios of files, judge each, save and show what should not be."""

import sys
from pathlib import Path
from typing import NamedTuple

from harness.commands import arguments, counterexamples, litmus
from harness.engines.explore import search as engine
from harness.errors import DONE, FAILED, INTERRUPTED, UsageError
from harness.experiment.config import KeyProblem, resolve_module
from harness.experiment.scenario import Scenario
from harness.experiment.scenario_file import load
from harness.protocol.policies import POLICIES
from harness.reports import exploration
from harness.reports.text import wrap
from harness.results import grading

BRIEF = 4                        # more scenarios than that get a line each
PCT_RUNS = 1000
POLICIES_MODULE = "1.5.05"       # of --policies, unless --module says more
PREEMPTIONS_ANY = -1             # the engine's word for no bound


class Files(NamedTuple):
    """Which scenarios: those of these files, for some releases only, under another policy."""

    paths: list[str]
    modules: list[str] | None = None
    policy: str | None = None

    def scenarios(self) -> list[tuple[str, Scenario]]:
        """(path, scenario).  Raises UsageError."""
        return [(path, scenario) for path in self.paths for scenario in load(path, self.modules, self.policy)]


class Bounds(NamedTuple):
    """Every interleaving, within bounds."""

    memory_mib: int
    preemptions: int = PREEMPTIONS_ANY
    reduce: bool = True          # accesses are one step where their order does not show
    symmetry: bool = True        # actors that are alike: one order of them

    def search(self, scenario: Scenario) -> engine.Found:
        return engine.run(scenario, self.memory_mib, self.reduce, self.preemptions, progress(scenario),
                          symmetry=self.symmetry)


class Sampling(NamedTuple):
    """So many single runs: any actor's step next, or by priorities that change `depth` - 1 times."""

    memory_mib: int
    runs: int
    seed: int
    depth: int = 0

    def search(self, scenario: Scenario) -> engine.Found:
        return engine.sample(scenario, self.runs, self.seed, self.depth, self.memory_mib)


def add(parser) -> None:
    parser.add_argument("configs", nargs="+", metavar="CONFIG", help="a TOML file, such as configs/explore/pairs.toml, or C litmus tests (FILE.litmus)")
    parser.add_argument("--module", action="append", metavar="RELEASE", help="only this release (may be repeated)")
    parser.add_argument("--policy", metavar="NAME", help="another policy for KVM's flows")
    parser.add_argument("--policies", action="store_true",
                        help="all policies: which invariants hold, or the shortest counterexample's steps")
    parser.add_argument("--random", type=int, metavar="N", help="N random runs instead of all interleavings")
    parser.add_argument("--pct", type=int, metavar="DEPTH", help="runs by random priorities that change DEPTH - 1"
                        f" times (as many runs as --random says, or {PCT_RUNS})")
    parser.add_argument("--preemptions", type=int, metavar="K", help="only interleavings with at most K preemptions")
    parser.add_argument("--seed", type=int, default=1, metavar="S", help="of --random and --pct (default: 1)")
    parser.add_argument("--no-reduction", action="store_true", help="every access to shared memory is a step")
    parser.add_argument("--no-symmetry", action="store_true", help="actors that are alike in every order")
    parser.add_argument("--memory-mib", type=int, default=1024, metavar="M", help="limit of tables (default: 1024)")
    parser.add_argument("--show", type=int, metavar="N", help="print the way to the Nth outcome")
    arguments.add_out(parser, "schedules")
    parser.add_argument("--as-test", metavar="FILE", help="write the first counterexample as a pytest file")


def do(options) -> int:
    modules = releases(options.module)
    for option, value, least in (("--random", options.random, 1), ("--pct", options.pct, 1),
                                 ("--preemptions", options.preemptions, 0), ("--memory-mib", options.memory_mib, 16)):
        arguments.check_range(option, value, least)
    if options.random or options.pct:
        if options.preemptions is not None:
            raise UsageError("--preemptions: not together with --random or --pct")
        method = Sampling(options.memory_mib, options.random or PCT_RUNS, options.seed, options.pct or 0)
    else:
        preemptions = PREEMPTIONS_ANY if options.preemptions is None else options.preemptions
        reduce = not options.no_reduction
        method = Bounds(options.memory_mib, preemptions, reduce, reduce and not options.no_symmetry)
    files = Files(options.configs, modules, options.policy)
    destination = counterexamples.Destination(Path(options.out), Path(options.as_test) if options.as_test else None)
    if any(path.endswith(litmus.SUFFIX) for path in options.configs):
        return litmus.explore(options.configs, lambda path, test: search(path, test, method), options.show, destination)
    if options.policies:
        return compare_policies(files._replace(modules=modules or [POLICIES_MODULE]), method)
    return explore(files, method, options.show, destination)


def releases(names: list[str] | None) -> list[str] | None:
    """The releases that --module names.  Raises UsageError."""
    try:
        return names and [resolve_module(name) for name in names]
    except KeyProblem as problem:
        raise UsageError(f"--module {problem.value}: {problem.message}") from None


def progress(scenario: Scenario):
    """A line on a terminal while a search takes long."""
    def tick(expanded: int, known: int) -> None:
        if sys.stderr.isatty():
            print(f"\r{scenario.name}: {expanded} of {known} states", end="\r", file=sys.stderr, flush=True)
    return tick


def search(path: str, scenario: Scenario, method: Bounds | Sampling) -> engine.Found:
    """What is found in a scenario of a file.  Raises UsageError, with the file's name."""
    try:
        return method.search(scenario)
    except UsageError as problem:
        raise UsageError(f"{path}: {problem}") from None


def search_derived(scenario: Scenario, preemptions: int) -> engine.Found:
    """A search that a verdict asks for."""
    found = engine.run(scenario, preemptions=preemptions)
    if found.interrupted:
        raise KeyboardInterrupt
    return found


# --- scenario by scenario ----------------------------------------------------------------------

def explore(files: Files, method: Bounds | Sampling, show: int | None, destination: counterexamples.Destination) -> int:
    """Search and judge every scenario; what fails is shown and saved; returns the exit code."""
    scenarios = files.scenarios()
    if not scenarios:
        raise UsageError(f"--module {', '.join(files.modules)}: no scenario of these files is for it")
    if show is not None and len(scenarios) > 1:
        raise UsageError(f"--show {show}: these are {len(scenarios)} scenarios; name one file, and one release"
                         " by --module")
    brief, results, code = len(scenarios) > BRIEF, [], DONE
    try:
        for path, scenario in scenarios:
            found = search(path, scenario, method)
            judged = grading.judge(found, search_derived)
            results.append((found, judged))
            if judged.failures or not brief:
                print(exploration.scenario_report(found, judged))
                counterexamples.present(found, judged, show, destination)
                print(flush=True)
            code = max(code, FAILED if judged.failures else DONE)
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


# --- policy by policy --------------------------------------------------------------------------

class Matrix:
    """Policy x invariant: the steps of the shortest counterexample in any scenario."""

    def __init__(self):
        self.steps: dict[tuple[str, str], int] = {}      # (policy, invariant) -> steps
        self.checked: dict[str, None] = {}               # invariants, in the order in which they were met
        self.complete: set[str] = set()                  # policies of which every search was complete

    def add(self, policy: str, found: engine.Found) -> None:
        self.checked |= dict.fromkeys(found.checked)
        for invariant, way in found.violations.items():
            self.steps[policy, invariant] = min(len(way), self.steps.get((policy, invariant), len(way)))


def compare_policies(files: Files, method: Bounds | Sampling) -> int:
    """Which invariants each policy keeps in the scenarios with KVM's flows; returns the exit code."""
    matrix, code, names = Matrix(), DONE, [policy.name for policy in POLICIES]
    try:
        for name in names:
            search_policy(name, files, method, matrix)
    except KeyboardInterrupt:
        code = INTERRUPTED
        print(f"interrupted in policy {name}", file=sys.stderr)
        if not matrix.checked:
            return code
    if not matrix.checked:
        raise UsageError(f"{files.paths[0]}: no scenario with KVM's flows (touch, remove) for --policies")
    print(wrap(f"{' '.join(Path(path).stem for path in files.paths)}; module {', '.join(files.modules)}: steps of the"
               " shortest counterexample, or holds (? where the search was not complete)"))
    print(exploration.matrix(names, list(matrix.checked), matrix.steps, set(names) - matrix.complete))
    return code


def search_policy(name: str, files: Files, method: Bounds | Sampling, matrix: Matrix) -> None:
    complete = True
    for path, scenario in files._replace(policy=name).scenarios():
        if not scenario.uses_flows or scenario.must_violate:
            continue
        found = search(path, scenario, method)
        matrix.add(name, found)
        complete &= found.complete
        if found.interrupted:
            raise KeyboardInterrupt
    if complete:
        matrix.complete.add(name)
