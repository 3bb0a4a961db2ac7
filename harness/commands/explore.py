"""The command `explore`: search the scenarios of files, judge each, save and show what should not be."""

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

from harness.commands import arguments, cluster, counterexamples, jobs, litmus, matrices
from harness.commands.progress import Sign, say_compiling
from harness.engines.explore import kept, search as engine
from harness.errors import DONE, FAILED, INTERRUPTED, UNTRUSTWORTHY, UsageError, gravest
from harness.experiment import shipped
from harness.experiment.scenario import Scenario
from harness.experiment.scenario_file import load
from harness.files import read_json, reason, write_file
from harness.reports import exploration
from harness.reports.named import find_release
from harness.results import grading
from harness.results.litmus import MODELS, SC, TSO
from kernels.search import search as compiled_search

KEPT = "explored"                # a folder of --out
BRIEF = 4                        # more scenarios than that get a line each
PCT_RUNS = 1000
SEED = 1
SAMPLING, MATRICES, WAYS = ("random", "pct"), ("policies", "guests", "modules"), ("as_test", "html", "trace")
FULL_SEARCH = "preemptions", "no_reduction", "no_symmetry", "spill"
PREEMPTIONS_ANY = -1             # the engine's word for no bound


class Files(NamedTuple):
    """Which scenarios: those of these files, for some releases only, under another policy."""

    paths: list[str]
    modules: list[str] | None = None
    policy: str | None = None
    model: dict = {}             # keys of a scenario in place of the file's own: of the memory model

    def scenarios(self) -> list[tuple[str, Scenario]]:
        """(path, scenario).  Raises UsageError."""
        return [(path, scenario) for path in self.paths for scenario in load(path, self.modules, self.policy, keys=self.model)]


class Here(NamedTuple):
    """A search in this process: by so many threads; where it is kept when Ctrl-C ends it, whether it goes on from there."""

    threads: int = 1
    kept: Path | None = None
    resume: bool = False


class Bounds(NamedTuple):
    """Every interleaving, within bounds."""

    memory_mib: int
    preemptions: int = PREEMPTIONS_ANY
    reduce: bool = True          # accesses are one step where their order does not show
    symmetry: bool = True        # actors that are alike: one order of them
    spill: Path | None = None    # where tables lie in files

    @property
    def bounded(self) -> bool:
        return self.preemptions != PREEMPTIONS_ANY

    @property
    def on_disk(self) -> bool:
        return self.spill is not None

    @property
    def option(self) -> str:
        return f"--preemptions {self.preemptions}"

    def search(self, scenario: Scenario, sign: Sign, how: "Here" = Here()) -> engine.Found:
        return engine.run(scenario, self.memory_mib, self.reduce, self.preemptions, partial(sign, of="states"),
                          symmetry=self.symmetry, jobs=how.threads, spill=self.spill, kept=how.kept, resume=how.resume)


class Sampling(NamedTuple):
    """So many single runs: any actor's step next, or by priorities that change `depth` - 1 times."""

    memory_mib: int
    runs: int
    seed: int
    depth: int = 0
    bounded, on_disk = True, False

    @property
    def option(self) -> str:
        return f"--pct {self.depth}" if self.depth else f"--random {self.runs}"

    def search(self, scenario: Scenario, sign: Sign, how: "Here" = Here()) -> engine.Found:
        return engine.sample(scenario, self.runs, self.seed, self.depth, self.memory_mib, partial(sign, of="runs"))


class Searching(NamedTuple):
    """How scenarios are searched: by which method, in which processes, and where what is found is kept."""

    method: Bounds | Sampling
    where: jobs.Where
    kept: Path | None = None     # nothing is, and nothing of before is used
    wanted: bool = False         # what is kept of before
    judge: bool = True           # or only what is found
    begun: Path | None = None    # where a search is kept that Ctrl-C ends

    def key(self, scenario: Scenario, source: str) -> str:
        """Of a search: it is another one where the scenario, the method or the source is another; with more memory, or on a disk, it is the
        same one."""
        method = self.method._replace(memory_mib=0, spill=None) if isinstance(self.method, Bounds) else self.method
        said = [scenario.table, scenario.file.expect, scenario.name, scenario.module, scenario.file.memory_model, scenario.file.seamcall_drains]
        return jobs.digest("explore", *said, type(method).__name__, method, self.judge, source)

    def how(self, scenario: Scenario) -> Here:
        """Of a search in this process."""
        if not self.begun or not isinstance(self.method, Bounds):
            return Here(self.where.jobs)
        return Here(self.where.jobs, self.begun / f"{self._replace(judge=True).key(scenario, jobs.source())[:32]}.npz", self.wanted)

    def path(self, key: str) -> Path:
        return self.kept / f"{key[:32]}.json"

    def keys(self, scenarios: list[tuple[str, Scenario, str]]) -> list[str]:
        source = jobs.source() if self.kept else ""
        return [self.key(scenario, source) if self.kept else "" for _, scenario, _ in scenarios]

    def of_before(self, key: str, scenario: Scenario):
        """What is kept of a search, and the verdict on it; None if nothing whole is, or not all was found with less memory."""
        try:
            document = read_json(self.path(key))
            verdict = grading.Verdict([tuple(each) for each in document["grades"]], document["failures"])
            found = kept.from_json(document["found"], scenario)
            as_far = found.complete or document["memory_mib"] >= self.method.memory_mib and not self.method.on_disk
            return (found, verdict) if document["key"] == key and as_far else None
        except (UsageError, KeyError, TypeError, ValueError):
            return None

    def there(self, scenarios: list[tuple[str, Scenario, str]]) -> list[bool]:
        """Which searches are kept of before."""
        return [self.of_before(key, scenario) is not None for key, (_, scenario, _) in zip(self.keys(scenarios), scenarios)]

    def each(self, scenarios: list[tuple[str, Scenario, str]]) -> Iterator[tuple[int, tuple]]:
        """(place, (found, verdict) or jobs.Failure) of (path, scenario, what it is about), as they end.  Raises UsageError."""
        if weak := [scenario.name for _, scenario, _ in scenarios if scenario.tso and self.method.bounded]:
            raise UsageError(f"{self.method.option}: not of a scenario under x86-TSO, which {weak[0]} is by its file; --memory-model sc searches"
                             " it without store buffers")
        keys, there = self.keys(scenarios), {}
        if self.wanted:
            there = {place: known for place, (key, (_, scenario, _)) in enumerate(zip(keys, scenarios))
                     if (known := self.of_before(key, scenario))}
            print(f"{len(there)} of {len(scenarios)} searches are there already", file=sys.stderr)
        yield from there.items()
        left, sign = [place for place in range(len(scenarios)) if place not in there], Sign()
        if left:
            say_compiling(compiled_search, "the search")
        tasks = [(path, replace(scenario), self.method, self.judge, about) for path, scenario, about in (scenarios[place] for place in left)]
        names = [f"{scenarios[place][1].name}, module {scenarios[place][1].module}" for place in left]
        if self.where.here or len(left) == 1 and self.where.jobs > 1:    # Ctrl-C ends a search, which says what it has
            found = ((number, searched(*task[:-1], sign.estimated(task[-1], number, len(tasks)), sign, self.how(task[1])))
                     for number, task in enumerate(tasks))
        else:
            found = jobs.results(self.where, searched, tasks, names=names)
        ended: dict[int, tuple] = {}
        try:
            for number, each in found:
                place = left[number]
                if isinstance(each, jobs.Failure):
                    yield place, each._replace(why=f"{names[number]}: {each.why}")
                    continue
                each[0].scenario = scenarios[place][1]
                if each[0].interrupted:
                    self.keep_ended(scenarios, ended)
                elif self.kept:
                    self.keep(keys[place], *each)
                else:
                    ended[place] = each
                yield place, each
        except KeyboardInterrupt:            # between two searches
            self.keep_ended(scenarios, ended)
            raise

    def keep_ended(self, scenarios: list[tuple[str, Scenario, str]], ended: dict[int, tuple]) -> None:
        """What has ended before the search that Ctrl-C ends, so that --resume has it."""
        if self.begun and ended:
            keeping = self._replace(kept=self.begun)
            keys = keeping.keys(scenarios)
            for place, each in ended.items():
                keeping.keep(keys[place], *each)

    def keep(self, key: str, found: engine.Found, verdict: grading.Verdict) -> None:
        """Raises UsageError."""
        document = {"key": key, "memory_mib": self.method.memory_mib, "found": kept.as_json(found), "grades": verdict.grades, "failures": verdict.failures}
        try:
            self.kept.mkdir(parents=True, exist_ok=True)
            write_file(json.dumps(document, default=int) + "\n", self.path(key))
        except OSError as problem:
            raise UsageError(f"--out {self.kept}: cannot be written: {reason(problem)}") from None


def add(parser) -> None:
    parser.add_argument("configs", nargs="+", metavar="CONFIG", help="a TOML file, such as configs/explore/pairs.toml, or C litmus tests (FILE.litmus)")
    parser.add_argument("--module", action="append", metavar="RELEASE",
                        help="only this release, or FILE.toml with a [module] of your own (may be repeated)")
    parser.add_argument("--policy", metavar="NAME", help="another policy for KVM's flows")
    matrix = parser.add_mutually_exclusive_group()
    matrix.add_argument("--policies", action="store_true",
                        help="all policies: which invariants hold, or the shortest counterexample's steps")
    matrix.add_argument("--guests", action="store_true",
                        help="all guests: which can end itself because of which answer of ACCEPT (under each of"
                        " --policy A,B and --module)")
    matrix.add_argument("--modules", action="store_true",
                        help="all releases of the module, or those of --module: the same, whichever the files name")
    parser.add_argument("--require", metavar="INVARIANT,...", help="of --policies and --modules: exit code 1 if one of"
                        " these does not hold in a row, 3 if that is not known; says which rows keep all")
    arguments.add_format(parser)
    parser.add_argument("--random", type=int, metavar="N", help="N random runs instead of all interleavings")
    parser.add_argument("--pct", type=int, metavar="DEPTH", help="runs by random priorities that change DEPTH - 1"
                        f" times (as many runs as --random says, or {PCT_RUNS})")
    parser.add_argument("--preemptions", type=int, metavar="K", help="only interleavings with at most K preemptions")
    parser.add_argument("--seed", type=int, metavar="S", help=f"of --random and --pct (default: {SEED})")
    parser.add_argument("--memory-model", choices=MODELS, help="sequentially consistent, or x86-TSO with store buffers (default:"
                        f" as the file says, or {SC})")
    drains = parser.add_mutually_exclusive_group()
    drains.add_argument("--seamcall-drains", action="store_true", default=None, help="with tso: a SEAMCALL or TDCALL and its return"
                        " wait until the store buffer is empty (default: as the file says, or yes)")
    drains.add_argument("--no-seamcall-drains", action="store_false", dest="seamcall_drains", default=None,
                        help="with tso: they do not wait")
    parser.add_argument("--no-reduction", action="store_true", help="every access to shared memory is a step")
    parser.add_argument("--no-symmetry", action="store_true", help="actors that are alike in every order")
    parser.add_argument("--memory-mib", type=int, default=1024, metavar="M", help="limit of tables (default: 1024)")
    parser.add_argument("--spill", metavar="DIR", help="the tables lie in files there (without names, gone at the end), so that"
                        " they may be larger than the memory; slower")
    parser.add_argument("--show", type=int, metavar="N", help="print the way to the Nth outcome")
    arguments.add_out(parser, "schedules")
    jobs.add_jobs(parser, f"use what --out has (in {KEPT}/) of the same scenarios, bounds and source; keep what is found", "searches",
                  "searches at once, each a process; of one scenario: threads that share its states")
    parser.add_argument("--as-test", metavar="FILE", help="write the first counterexample as a pytest file")
    parser.add_argument("--html", metavar="FILE", help="write it as a page: a lane per actor, words as they change, keys to step")
    parser.add_argument("--trace", metavar="FILE", help="write it as JSON for chrome://tracing and ui.perfetto.dev")


RANGES = {"random": (1, None), "pct": (1, engine.DEPTH_MAX), "seed": (0, None), "preemptions": (0, None), "memory_mib": (16, None), "show": (1, None)}


def do(options) -> int:
    options.configs = shipped.paths(options.configs)
    modules = releases(options.module)
    of_litmus = any(path.endswith(litmus.SUFFIX) for path in options.configs)
    _check_together(vars(options), of_litmus)
    method: Bounds | Sampling
    if options.random or options.pct:
        method = Sampling(options.memory_mib, options.random or PCT_RUNS, SEED if options.seed is None else options.seed,
                          options.pct or 0)
    else:
        preemptions = PREEMPTIONS_ANY if options.preemptions is None else options.preemptions
        reduce = not options.no_reduction
        method = Bounds(options.memory_mib, preemptions, reduce, reduce and not options.no_symmetry,
                        Path(options.spill) if options.spill else None)
    if options.spill:
        arguments.check_folder("--spill", Path(options.spill))
        Path(options.spill).mkdir(parents=True, exist_ok=True)
    required = matrices.required(options.require)
    where, kept_in = jobs.where(options.jobs, cluster.address(options.cluster, options.tls, options.insecure)), Path(options.out) / KEPT
    searching = Searching(method, where, kept_in if options.resume or options.list or not where.here else None, options.resume, begun=kept_in)
    model = {"memory_model": options.memory_model, "seamcall_drains": options.seamcall_drains}
    files = Files(options.configs, modules, options.policy, {key: value for key, value in model.items() if value is not None})
    if options.out != arguments.OUT or searching.kept:   # which it may never need
        arguments.check_folder("--out", Path(options.out))
    destination = _destination(options.out, {name: getattr(options, name) for name in WAYS})
    if of_litmus:
        of = litmus.asked(options.configs, modules, files.model | ({"policy": options.policy} if options.policy else {}))
        return litmus.explore(of, partial(each_litmus, of, method, where), options.show, destination, options.format, not method.bounded)
    matrix = next((name for name in MATRICES if getattr(options, name)), None)
    if matrix:
        searching = searching._replace(judge=False)
        return matrices.compare(matrices.Wanted(
            options.configs, modules, options.policy, required, options.format, searching.each, method.bounded, files.model,
            searching.there if options.list else None), matrix)
    if options.list:
        return listed(files, searching, options.format)
    return explore(files, searching.each, options.show, destination, options.format, not method.bounded)


def _check_together(given: dict, of_litmus: bool) -> None:
    """Raises UsageError for a number out of its range, and for options that would say nothing beside another one."""
    for name, (least, most) in RANGES.items():
        arguments.check_range(f"--{name.replace('_', '-')}", given[name], least, most)
    sampled, under, matrix = bool(given["random"] or given["pct"]), given["memory_model"] == TSO, any(given[name] for name in MATRICES)
    plain = given["format"] not in arguments.TABLE_OR_JSON and not given["list"]
    for applies, names, why in (
            (sampled, FULL_SEARCH, "not together with --random or --pct"), (not sampled, ("seed",), "only together with --random or --pct"),
            (under, (*SAMPLING, "preemptions"), "not together with --memory-model tso"),
            (not under, ("seamcall_drains",), "only together with --memory-model tso"),
            (of_litmus, (*MATRICES, "resume", "list"), "not of C litmus tests"),
            (matrix, ("show", *WAYS), "not together with --policies, --guests or --modules, which show no single way"),
            (not matrix, ("require",), "only together with --policies, --guests or --modules"),
            (not matrix and plain, ("format",), "only together with --policies, --guests or --modules; allowed: table, json")):
        if applies:
            arguments.check_not_given({name: given[name] for name in names}, why)


def _destination(out: str, written: dict) -> counterexamples.Destination:
    """Where counterexamples are written: the folder, and files by the names of WAYS.  Raises UsageError."""
    for name, path in written.items():
        if path:
            arguments.check_file(f"--{name.replace('_', '-')}", Path(path))
    return counterexamples.Destination(Path(out), *(Path(path) if path else None for path in written.values()))


def listed(files: Files, searching: Searching, style: str) -> int:
    """Prints which scenarios there are, and which have been searched before; returns the exit code."""
    scenarios = [(path, scenario, "") for path, scenario in files.scenarios()]
    print(jobs.listing([{"scenario": scenario.name, "module": scenario.module} for _, scenario, _ in scenarios],
                       searching.there(scenarios), style))
    return DONE


def releases(names: list[str] | None) -> list[str] | None:
    """The releases that --module names, some as the file of a module of one's own.  Raises UsageError."""
    return names and [find_release(name, "--module").name for name in names]


def search(path: str, scenario: Scenario, about: str = "", *, method: Bounds | Sampling,
           sign: Sign, how: Here = Here()) -> engine.Found:
    """What is found in a scenario of a file; `about` goes before its name.  Raises UsageError, with the file's name."""
    try:
        with sign.about(f"{about}: {scenario.name}" if about else scenario.name):
            return method.search(scenario, sign, how)
    except UsageError as problem:
        said = str(problem)
        raise UsageError(said if said.startswith(f"{path}:") else f"{path}: {said}") from None


def searched(path: str, scenario: Scenario, method: Bounds | Sampling, judge: bool, about: str = "",
             sign: Sign | None = None, how: Here = Here()) -> tuple[engine.Found, grading.Verdict]:
    """What is found in a scenario, and the verdict on it: a task, if it is not given a sign.  Raises UsageError."""
    found = search(path, scenario, about, method=method, sign=sign or Sign(beside=True), how=how)
    judged = grading.judge(found, search_derived) if judge else grading.Verdict([], [])
    if sign is None:
        found.scenario = None            # whoever asked for it has it
    return found, judged


def each_litmus(of: list[litmus.Asked], method: Bounds | Sampling, where: jobs.Where, tests: list) -> Iterator[tuple[int, object]]:
    """(place, what is found in a litmus test) as they end; of a single one --jobs are threads."""
    alone = len(of) == 1 and where.cluster is None
    say_compiling(compiled_search, "the search")
    if alone or where.here:
        for number, (one, test) in enumerate(zip(of, tests)):
            yield number, in_litmus(one.path, test, method, f"{number + 1} of {len(of)}" * (not alone), Sign(), Here(where.jobs))
        return
    names = [f"{test.name}, module {test.module}" for test in tests]
    for number, found in jobs.results(where, litmus_task, [(*one, method) for one in of], names=names):
        if not isinstance(found, jobs.Failure) and hasattr(found, "scenario"):
            found.scenario = tests[number]
        yield number, found


def litmus_task(path: str, text: str, given: dict, method: Bounds | Sampling):
    """What is found in a litmus test: a task."""
    found = in_litmus(path, litmus.Asked(path, text, given).test(), method)
    if hasattr(found, "scenario"):
        found.scenario = None
    return found


def in_litmus(path: str, test, method: Bounds | Sampling, about: str = "", sign: Sign | None = None, how: Here = Here()):
    """What is found in a litmus test."""
    return search(path, test, about, method=method, sign=sign or Sign(beside=True), how=how)


def search_derived(scenario: Scenario, preemptions: int) -> engine.Found:
    """A search that a verdict asks for."""
    found = engine.run(scenario, preemptions=preemptions)
    if found.interrupted:
        raise KeyboardInterrupt
    return found


# --- scenario by scenario ----------------------------------------------------------------------

def explore(files: Files, each, show: int | None, destination: counterexamples.Destination,
            style: str = "table", whole: bool = False) -> int:
    """Search (`each`, of Searching) and judge every scenario; what fails is shown and saved; returns the exit code.

    whole   every interleaving is asked for: a search that is not complete is no answer
    """
    scenarios = files.scenarios()
    if not scenarios:
        raise UsageError(f"--module {', '.join(files.modules)}: no scenario of these files is for it")
    if show is not None and len(scenarios) > 1:
        raise UsageError(f"--show {show}: these are {len(scenarios)} scenarios; name one file, and one release"
                         " by --module")
    brief, results, code, came = len(scenarios) > BRIEF, [], DONE, 0
    about = [(path, scenario, f"{number} of {len(scenarios)}" * (len(scenarios) > 1))
             for number, (path, scenario) in enumerate(scenarios, 1)]
    try:
        for _, outcome in jobs.in_order(each(about)):
            came += 1
            if isinstance(outcome, jobs.Failure):
                print(outcome.why, file=sys.stderr)
                code = gravest(code, UNTRUSTWORTHY)
                continue
            found, judged = outcome
            results.append((found, judged))
            if style == "json":
                destination = counterexamples.present(found, judged, show, destination, say=False)
            elif judged.failures or not brief:
                print(exploration.scenario_report(found, judged))
                destination = counterexamples.present(found, judged, show, destination)
                print(flush=True)
            code = gravest(code, FAILED if judged.failures else UNTRUSTWORTHY if whole and not found.complete else DONE)
            if found.interrupted:
                if found.kept:
                    print(f"kept in {found.kept}: --resume goes on from there", file=sys.stderr)
                raise KeyboardInterrupt
    except KeyboardInterrupt:
        code = INTERRUPTED
        print(f"interrupted in scenario {max(1, came)} of {len(scenarios)}", file=sys.stderr)
    destination.say_unwritten()
    if style == "json":
        print(json.dumps([exploration.plain(*each) for each in results], indent=1))
    elif results:
        if brief:
            print(exploration.summary(results))
        print(exploration.passed(results))
    if show is not None and results and code != INTERRUPTED and show > (outcomes := sum(len(found.endings) for found, _ in results)):
        raise UsageError(f"--show {show}: must be at most {outcomes}, as there are not more outcomes")
    return code
