"""The command `run`: configs in interleaved blocks; of one run a summary, of several the comparison."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from harness import stops
from harness.commands import arguments, cluster, jobs, running, session as sessions
from harness.errors import DONE, FAILED, INTERRUPTED, UNTRUSTWORTHY, UsageError, gravest
from harness.experiment import shipped
from harness.experiment.config import Config
from harness.memory.placement import BY_USE
from harness.reports.comparison import overview
from harness.reports.run import run_report
from harness.reports.summary import summary
from harness.results.schema import Result


class Wanted(NamedTuple):
    """What is printed and checked of each run, and what was set beside its config (`KEY=VALUE`)."""

    style: str
    verbose: bool
    quiet: bool
    outcomes: bool
    settings: tuple[str, ...] = ()
    policies: bool = False               # each config is run under several: which is in the folder's name


def add(parser) -> None:
    parser.add_argument("configs", nargs="+", metavar="CONFIG", help="a TOML file, a folder, a pattern, a shipped config by its name, such as kick_vcpus,"
                        " or - for a config on standard input")
    arguments.add_overrides(parser, "change a key of the config, e.g. --set td.vcpus=8")
    parser.add_argument("--policies", metavar="NAMES",
                        help="run each config under each of these policies (comma-separated, or: all)")
    parser.add_argument("--repeats", type=int, metavar="N", help="N interleaved blocks: each config once per block")
    parser.add_argument("--budget", metavar="TIME", help="a limit such as 10m, spread over the blocks")
    jobs.add_jobs(parser, "what --out has of the same configs and source is not run again", "runs")
    arguments.add_out(parser)
    arguments.add_format(parser)
    much = parser.add_mutually_exclusive_group()
    much.add_argument("-v", "--verbose", action="store_true", help="print every table of every run")
    much.add_argument("-q", "--quiet", action="store_true", help="print mistakes and failures only")
    parser.add_argument("--runs", metavar="N", help="of C litmus tests (FILE.litmus): how often each is run, such as 10M"
                        " (default: 1M; in virtual time, --set engine=simulate, 1k)")
    parser.add_argument("--memory-model", choices=("sc", "tso"), help="of litmus tests: what their outcomes are held against"
                        " (default: tso; sc for tests with a TD)")
    parser.add_argument("--trace", metavar="FILE", help="write the calls of the first measured milliseconds, one by one, as JSON for"
                        " chrome://tracing and ui.perfetto.dev (of one config; of one litmus test, 100 runs apart from the others)")
    parser.add_argument("--check-outcomes", action="store_true",
                        help="fail if a call answered what no interleaving can answer")


def outcomes_can_be_found(config: Config) -> None:
    """What no interleaving can answer is found for pages that lie by use, of 4 KiB or of a workload that splits, and that nobody counts; UsageError if not."""
    for key, value, allowed in (("machine.placement", config.machine.placement, BY_USE), ("td.large_pages", config.td.large_pages, False),
                                ("td.dynamic_pamt", config.td.dynamic_pamt, False)):
        if value != allowed:
            raise UsageError(f"{config.name}: {key} = {value!r}: not together with --check-outcomes; allowed there: {allowed!r}")


def do(options) -> int:
    arguments.check_range("--repeats", options.repeats, 1, 10_000)
    options.configs = shipped.paths(options.configs)
    if any(path.endswith(".litmus") for path in options.configs):
        for option, value in (("--repeats", options.repeats), ("--budget", options.budget), ("--policies", options.policies),
                              ("--resume", options.resume), ("--list", options.list), ("--cluster", options.cluster),
                              ("--jobs", options.jobs > 1), ("--check-outcomes", options.check_outcomes),
                              ("--out", options.out != arguments.OUT)):
            if value:
                raise UsageError(f"{option}: not of C litmus tests; allowed: --runs, --memory-model, --set")
        from harness.commands import litmus_run          # compiles
        if options.overrides:
            if options.memory_model is not None:
                raise UsageError(f"--memory-model {options.memory_model}: not in virtual time, which is sequentially consistent")
            return litmus_run.simulate(options.configs, litmus_run.runs(options.runs or "1k"), options.overrides, style=options.format,
                                       trace=options.trace)
        return litmus_run.run(options.configs, litmus_run.runs(options.runs or "1M"), options.memory_model, style=options.format,
                              trace=options.trace)
    for option, value in (("--runs", options.runs), ("--memory-model", options.memory_model)):
        if value is not None:
            raise UsageError(f"{option} {value}: is of C litmus tests (FILE.litmus)")
    out, budget_s = Path(options.out), sessions.seconds(options.budget)
    configs = running.load(options.configs, options.overrides, arguments.policies(options.policies))
    session = sessions.make_session(configs, options.repeats, budget_s)
    where = jobs.where(options.jobs, cluster.address(options.cluster, options.tls, options.insecure))
    if options.jobs > 1:
        jobs.check(where, session.configs)
    if not where.here and options.budget:
        raise UsageError(f"--budget {options.budget}: not together with --jobs or --cluster")
    if options.check_outcomes:
        for config in session.configs:
            outcomes_can_be_found(config)
    plans = [running.prepare(config) for config in session.configs]
    arguments.check_folder("--out", out)
    trace = None
    if options.trace is not None:
        if len(session.runs) > 1:
            raise UsageError(f"--trace {options.trace}: of one run, here {len(session.runs)}; name one config, without --repeats")
        trace = Path(options.trace)
        arguments.check_file("--trace", trace)
    done = {}
    if options.resume or options.list:
        session, done = resume(session, out)
    if options.list:
        print(jobs.listing([{"config": session.configs[which.config].name, "policy": session.configs[which.config].policy.name,
                             "block": which.block + 1, "seed": which.seed} for which in session.runs],
                           [which in done for which in session.runs], options.format))
        return DONE
    wanted = Wanted(options.format, options.verbose, options.quiet, options.check_outcomes, tuple(options.overrides),
                    bool(options.policies))
    if not where.here:
        if trace:
            raise UsageError(f"--trace {trace}: not together with --jobs or --cluster")
        return run(session, done, elsewhere(session, done, where), out, wanted)
    with running.only_one(session.configs, "run " + " ".join(config.name for config in session.configs)):
        return run(session, done, running.run_session(session, done, sessions.Budget(budget_s), trace, plans, options.quiet), out, wanted)


def resume(session: sessions.Session, out: Path) -> tuple[sessions.Session, dict]:
    """The session to go on with, and the results that are there already."""
    if not sessions.real(session):           # in virtual time it does not matter who ran it, and as what
        there, source = jobs.there(out), jobs.source()
        keys = {which: jobs.key(session.config(which), source) for which in session.runs}
        done = {which: there[key].model_copy(update={"block": session.mark(which)}) for which, key in keys.items() if key in there}
    else:
        session, done, skipped = sessions.resume(session, out)
        for problem in skipped:
            print(f"skipped {problem}", file=sys.stderr)
    print(f"{len(done)} of {len(session.runs)} runs are there already", file=sys.stderr)
    return session, done


def elsewhere(session: sessions.Session, done: dict, where: jobs.Where) -> Iterator[tuple]:
    """(run, result) of what is not done, in processes of their own; a session in real time is one task, for one host."""
    left = [which for which in session.runs if which not in done]
    names = [f"{session.configs[which.config].name}, block {which.block + 1}" for which in left]
    real = sessions.real(session)
    tasks = [(session, done)] if real and left else [(session.config(which),) for which in left]
    found = jobs.results(where._replace(machine=real), running.whole_session if real else running.measured, tasks, names=["the session"] if real else names)
    came: set = set()                    # of a session, run by run; one that begins anew on another host comes whole from there
    with stops.noted():
        for number, each in found:
            if isinstance(each, jobs.Failure):
                yield None, f"{'the session' if real else names[number]}: {each.why}"
            elif isinstance(each, jobs.Part):
                came = set() if each.again else came | {each.value[0]}
                if not each.again:
                    yield each.value
            elif real:
                yield from (one for one in each if one[0] not in came)
            else:
                each.block = session.mark(left[number])
                yield left[number], each


def shown(result: Result, several: bool, wanted: Wanted) -> str:
    """What is printed of a run as it ends: nothing of one among several, which are compared at the end.

    A format for other programs has every table of one run; of several, csv and json are one document, at the end.
    """
    if wanted.quiet or several and wanted.style in ("csv", "json"):
        return ""
    if wanted.verbose or not several and wanted.style != "table":
        return run_report(result, wanted.style)
    return "" if several else summary(result)


def run(session: sessions.Session, done: dict, results: Iterator[tuple], out: Path, wanted: Wanted) -> int:
    """What is not done (`results`), printed run by run and then side by side; returns the exit code."""
    finished, code, several = dict(done), DONE, len(session.runs) > 1
    virtual = not sessions.real(session)
    source = jobs.source() if virtual else ""
    try:
        for which, result in results:
            if which is None:
                print(result, file=sys.stderr)
                code = gravest(code, UNTRUSTWORTHY)
                continue
            finished[which], config = result, session.configs[which.config]
            under = (f"policy={result.policy}",) if wanted.policies else ()
            kept = running.keep(result, out, say=not wanted.quiet, settings=(*wanted.settings, *under),
                                key=jobs.key(session.config(which), source) if virtual else "")
            if text := shown(result, several, wanted):
                print(text + "\n", flush=True)
            code = gravest(code, kept, running.exit_code(result, config.expect))
            if wanted.outcomes:
                code = gravest(code, outcomes_code(result, config))
            if result.interrupted:
                raise KeyboardInterrupt
    except KeyboardInterrupt:                # between runs; within one an engine keeps what it measured
        code = INTERRUPTED
        if several:
            print("interrupted; the same command with --resume goes on", file=sys.stderr)
    if several and finished and not wanted.quiet:
        ordered = [finished[which] for which in sorted(finished, key=lambda which: (which.config, which.block))]
        print(json.dumps([result.document() for result in ordered], indent=1) if wanted.style == "json" else overview(ordered, wanted.style))
    return code


def outcomes_code(result: Result, config: Config) -> int:
    """The exit code for a run's answers; says on stderr which cannot be."""
    from harness.commands import check_outcomes      # loads the engine that finds what can be
    unjudged = check_outcomes.why_not(result)
    wrong = [] if unjudged else check_outcomes.impossible(result, config)
    for sentence in [unjudged] * bool(unjudged) + wrong:
        print(f"{result.name}: {sentence}", file=sys.stderr)
    return FAILED if wrong else DONE
