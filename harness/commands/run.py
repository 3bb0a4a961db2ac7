"""The command `run`: configs in interleaved blocks; of one run a summary, of several the comparison."""

import sys
from pathlib import Path
from typing import NamedTuple

from harness.commands import arguments, running, session as sessions
from harness.errors import DONE, FAILED, INTERRUPTED, UsageError, gravest
from harness.experiment import shipped
from harness.experiment.config import Config
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
    parser.add_argument("--resume", action="store_true", help="go on with an interrupted run of the same configs")
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
                        " chrome://tracing and ui.perfetto.dev (of one config)")
    parser.add_argument("--check-outcomes", action="store_true",
                        help="fail if a call answered what no interleaving can answer")


def do(options) -> int:
    arguments.check_range("--repeats", options.repeats, 1, 10_000)
    options.configs = shipped.paths(options.configs)
    if any(path.endswith(".litmus") for path in options.configs):
        for option, value in (("--repeats", options.repeats), ("--budget", options.budget), ("--policies", options.policies),
                              ("--resume", options.resume), ("--check-outcomes", options.check_outcomes), ("--trace", options.trace),
                              ("--out", options.out != arguments.OUT)):
            if value:
                raise UsageError(f"{option}: not of C litmus tests; allowed: --runs, --memory-model, --set")
        from harness.commands import litmus_run          # compiles
        if options.overrides:
            if options.memory_model is not None:
                raise UsageError(f"--memory-model {options.memory_model}: not in virtual time, which is sequentially consistent")
            return litmus_run.simulate(options.configs, litmus_run.runs(options.runs or "1k"), options.overrides, style=options.format)
        return litmus_run.run(options.configs, litmus_run.runs(options.runs or "1M"), options.memory_model, style=options.format)
    for option, value in (("--runs", options.runs), ("--memory-model", options.memory_model)):
        if value is not None:
            raise UsageError(f"{option} {value}: is of C litmus tests (FILE.litmus)")
    out, budget_s = Path(options.out), sessions.seconds(options.budget)
    configs = running.load(options.configs, options.overrides, arguments.policies(options.policies))
    session = sessions.make_session(configs, options.repeats, budget_s)
    for config in session.configs:
        running.prepare(config)
    arguments.check_folder("--out", out)
    trace = None
    if options.trace is not None:
        if len(session.runs) > 1:
            raise UsageError(f"--trace {options.trace}: of one run, here {len(session.runs)}; name one config, without --repeats")
        trace = Path(options.trace)
        arguments.check_file("--trace", trace)
    done = {}
    if options.resume:
        session, done = resume(session, out)
    with running.only_one(session.configs, "run " + " ".join(config.name for config in session.configs)):
        return run(session, done, sessions.Budget(budget_s), out,
                   Wanted(options.format, options.verbose, options.quiet, options.check_outcomes, tuple(options.overrides),
                          bool(options.policies)), trace)


def resume(session: sessions.Session, out: Path) -> tuple[sessions.Session, dict]:
    """The session to go on with, and the results that are there already."""
    session, done, skipped = sessions.resume(session, out)
    for problem in skipped:
        print(f"skipped {problem}", file=sys.stderr)
    print(f"{len(done)} of {len(session.runs)} runs are there already", file=sys.stderr)
    return session, done


def shown(result: Result, several: bool, wanted: Wanted) -> str:
    """What is printed of a run as it ends: nothing of one among several, which are compared at the end.

    A format for other programs has every table of one run, and json every result.
    """
    if wanted.quiet or several and wanted.style == "csv":
        return ""
    if wanted.verbose or wanted.style == "json" or not several and wanted.style != "table":
        return run_report(result, wanted.style)
    return "" if several else summary(result)


def run(session: sessions.Session, done: dict, budget: sessions.Budget, out: Path, wanted: Wanted, trace: Path | None = None) -> int:
    """What is not done, printed run by run and then side by side; returns the exit code."""
    finished, code, several = dict(done), DONE, len(session.runs) > 1
    try:
        for which, result in running.run_session(session, done, budget, trace):
            finished[which], config = result, session.configs[which.config]
            under = (f"policy={result.policy}",) if wanted.policies else ()
            kept = running.keep(result, out, say=not wanted.quiet, settings=(*wanted.settings, *under))
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
    if several and finished and wanted.style != "json" and not wanted.quiet:
        ordered = sorted(finished, key=lambda which: (which.config, which.block))
        print(overview([finished[which] for which in ordered], wanted.style))
    return code


def outcomes_code(result: Result, config: Config) -> int:
    """The exit code for a run's answers; says on stderr which cannot be."""
    from harness.commands import check_outcomes      # loads the engine that finds what can be
    unjudged = check_outcomes.why_not(result)
    wrong = [] if unjudged else check_outcomes.impossible(result, config)
    for sentence in [unjudged] * bool(unjudged) + wrong:
        print(f"{result.name}: {sentence}", file=sys.stderr)
    return FAILED if wrong else DONE
