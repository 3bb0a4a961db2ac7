"""Arguments -> commands.  The only place that prints errors and exits.

Heavy imports (numba) wait until a command needs them, so that --help is quick.

Exit codes: 0 done and as expected; 1 an expectation or an invariant failed; 2 a mistake in the
arguments or a config; 3 the metrics cannot be trusted; 130 interrupted (what was measured is kept).
"""

import argparse
import contextlib
import json
import os
import sys
import tempfile
import time
from pathlib import Path

from harness import engines
from harness.errors import UsageError

DONE, FAILED, USAGE, UNTRUSTWORTHY, INTERRUPTED = 0, 1, 2, 3, 130
FORMATS = ("table", "github", "csv", "json")       # of report.py
ACROSS = ("engine", "module", "primitive", "workload", "machine")      # identity.COMPARABLE


class Arguments(argparse.ArgumentParser):
    """argparse, but a mistake is a UsageError like any other."""

    def error(self, message):
        raise UsageError(f"{self.prog}: {message}")


def parser() -> Arguments:
    top = Arguments(
        prog="python -m harness",
        description="Stress harness for the Secure-EPT locks of the TDX module: what does each KVM policy"
                    " for TDX_OPERAND_BUSY really do?")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", parser_class=Arguments)

    run = commands.add_parser("run", help="run one or more configs and tabulate BUSY, retries, zero-step, kicks")
    run.add_argument("configs", nargs="+", metavar="CONFIG", help="a TOML file, such as configs/kick_vcpus.toml")
    run.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides",
                     help="change a key of the config, e.g. --set td.vcpus=8")
    run.add_argument("--policies", metavar="NAMES",
                     help="run each config under each of these policies (comma-separated, or: all)")
    run.add_argument("--repeats", type=int, metavar="N", help="N interleaved blocks: each config once per block")
    run.add_argument("--budget", metavar="TIME", help="a limit such as 10m, spread over the blocks")
    run.add_argument("--resume", action="store_true", help="go on with an interrupted run of the same configs")
    run.add_argument("--out", default="results", metavar="DIR", help="where result folders go (default: results)")
    run.add_argument("--format", choices=FORMATS, default="table", help="how to print (default: table)")
    run.add_argument("--check-outcomes", action="store_true",
                     help="fail if a call answered what no interleaving that explore tries can answer")
    run.set_defaults(do=do_run)

    explore = commands.add_parser("explore", help="try every interleaving of small scenarios, with verdicts")
    explore.add_argument("configs", nargs="+", metavar="CONFIG", help="a TOML file, such as configs/explore/pairs.toml")
    explore.add_argument("--module", action="append", metavar="RELEASE", help="only this release (may be repeated)")
    explore.add_argument("--policy", metavar="NAME", help="another policy for KVM's flows")
    explore.add_argument("--policies", action="store_true",
                         help="all policies: which invariants hold, or the shortest counterexample's steps")
    explore.add_argument("--random", type=int, metavar="N", help="N random runs instead of all interleavings")
    explore.add_argument("--pct", type=int, metavar="DEPTH", help="runs by random priorities that change DEPTH - 1"
                         " times (as many runs as --random says, or 1000)")
    explore.add_argument("--preemptions", type=int, metavar="K", help="only interleavings with at most K preemptions")
    explore.add_argument("--seed", type=int, default=1, metavar="S", help="of --random and --pct (default: 1)")
    explore.add_argument("--no-reduction", action="store_true", help="every access to shared memory is a step")
    explore.add_argument("--no-symmetry", action="store_true", help="actors that are alike in every order")
    explore.add_argument("--memory-mib", type=int, default=1024, metavar="M", help="limit of tables (default: 1024)")
    explore.add_argument("--show", type=int, metavar="N", help="print the way to the Nth outcome")
    explore.add_argument("--out", default="results", metavar="DIR", help="where schedules go (default: results)")
    explore.add_argument("--as-test", metavar="FILE", help="write the first counterexample as a pytest file")
    explore.set_defaults(do=do_explore)

    replay = commands.add_parser("replay", help="run a schedule again, step by step, and as real processes")
    replay.add_argument("schedule", metavar="SCHEDULE", help="a file that explore has saved")
    replay.add_argument("--all", action="store_true", dest="everything", help="show every access")
    replay.set_defaults(do=do_replay)

    comparison = commands.add_parser("compare", help="put results side by side, with intervals and differences")
    comparison.add_argument("results", nargs="+", metavar="RESULT", help="a result.json, or the folder that holds it")
    comparison.add_argument("--format", choices=FORMATS, default="table", help="how to print (default: table)")
    comparison.add_argument("--baseline", metavar="POLICY", help="compare with this row (default: the first)")
    comparison.add_argument("--columns", metavar="KEY,...", help="metrics, by the keys that --format csv prints")
    comparison.add_argument("--rows", metavar="PATTERN,...", help="policies, such as 'kick*,retry16'")
    comparison.add_argument("--sort", metavar="KEY", help="sort rows by a metric, least first")
    comparison.add_argument("--across", action="append", default=[], choices=ACROSS,
                         help="compare results that differ in this; may be given again")
    comparison.set_defaults(do=do_compare)

    nightly = commands.add_parser("nightly", help="run a folder of configs, judge them and look for changes")
    nightly.add_argument("configs", metavar="DIR", help="such as configs/nightly; one config must be a canary")
    nightly.add_argument("--budget", metavar="TIME", help="a limit such as 30m, reruns included")
    nightly.add_argument("--blocks", type=int, metavar="N", help="blocks a night (default: 5, or what fits)")
    nightly.add_argument("--history", default="history", metavar="DIR", help="one file per series (default: history)")
    nightly.add_argument("--out", default="results", metavar="DIR", help="where result folders go (default: results)")
    nightly.add_argument("--commit", metavar="ID", help="what is tested tonight (default: git's HEAD)")
    nightly.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides",
                         help="change a key of every config")
    nightly.set_defaults(do=do_nightly)

    report = commands.add_parser("report", help="one self-contained HTML page of results")
    report.add_argument("results", nargs="+", metavar="RESULT", help="a result.json, or the folder that holds it")
    report.add_argument("--out", default="report.html", metavar="FILE", help="the page (default: report.html)")
    report.add_argument("--history", metavar="DIR", help="show these series of nights as well")
    report.add_argument("--plots", metavar="DIR", help="write the plots here too, as SVG and PNG")
    report.add_argument("--baseline", metavar="POLICY", help="compare with this row (default: the first)")
    report.add_argument("--across", action="append", default=[], choices=ACROSS,
                        help="compare results that differ in this; may be given again")
    report.set_defaults(do=do_report)

    histograms = commands.add_parser("histograms", help="add up the histograms of results; export them")
    histograms.add_argument("results", nargs="+", metavar="RESULT", help="a result.json, or its folder")
    histograms.add_argument("--hdr", metavar="FILE", help="write them to FILE as an HdrHistogram log, too")
    histograms.add_argument("--format", choices=FORMATS, default="table", help="how to print (default: table)")
    histograms.set_defaults(do=do_histograms)
    sweep = commands.add_parser("sweep", help="run a config for every combination of its [sweep] values, as one table")
    sweep.add_argument("config", metavar="CONFIG", help="such as configs/scale/policies.toml")
    sweep.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides",
                       help="change a key of the config, e.g. --set 'sweep.td.vcpus=[2, 64]'")
    sweep.add_argument("--policies", metavar="NAMES",
                       help="sweep these policies in place of the config's (comma-separated, or: all)")
    sweep.add_argument("--out", default="results", metavar="DIR", help="where result folders go (default: results)")
    sweep.add_argument("--picture", metavar="FILE", help="draw it as well: .svg, .png or .pdf (needs matplotlib)")
    sweep.add_argument("--format", choices=FORMATS, default="table", help="how to print (default: table)")
    sweep.set_defaults(do=do_sweep)

    policies = commands.add_parser("policies", help="list the policies, with their sources")
    policies.set_defaults(do=do_policies)

    seamcalls = commands.add_parser("seamcalls", help="list the calls of the module, or what differs by release")
    seamcalls.add_argument("--module", metavar="RELEASE", default="1.5.05", help="a release (default: 1.5.05)")
    seamcalls.add_argument("--diff", nargs=2, metavar="RELEASE", help="what changed between two releases")
    seamcalls.add_argument("--format", choices=FORMATS, default="table", help="how to print (default: table)")
    seamcalls.set_defaults(do=do_seamcalls)

    contention = commands.add_parser("contention", help="which calls can make each other BUSY, on what")
    contention.add_argument("--module", metavar="RELEASE", default="1.5.05", help="a release (default: 1.5.05)")
    contention.add_argument("--resource", metavar="NAME", help="only this resource, such as SEPT_TREE")
    contention.add_argument("--under-kvm", action="store_true", help="without what KVM's own locks exclude")
    contention.add_argument("--format", choices=FORMATS, default="table", help="how to print (default: table)")
    contention.set_defaults(do=do_contention)

    doctor = commands.add_parser("doctor", help="what is wrong with this machine, and what to do about it")
    doctor.add_argument("--format", choices=FORMATS, default="table", help="how to print (default: table)")
    doctor.add_argument("--calibrate", metavar="FILE", help="measure what micro-ops cost, for a config's machine.costs")
    doctor.add_argument("--validate", nargs="*", metavar="CONFIG",
                        help="run configs in real and in virtual time, side by side (default: the five policies of configs/)")
    doctor.set_defaults(do=do_doctor)

    listing = commands.add_parser("explain", help="print the micro-ops of a call")
    listing.add_argument("name", metavar="NAME", help="a call, such as tdh_mem_range_block")
    listing.add_argument("--module", metavar="RELEASE", default="1.5.05", help="a release (default: 1.5.05)")
    listing.add_argument("--level", type=int, metavar="N", help="level of the SEPT entry: 0 4K, 1 2M, 2 1G")
    listing.set_defaults(do=do_explain)

    answer = commands.add_parser("decode", help="take one answer of a SEAMCALL apart")
    answer.add_argument("status", metavar="STATUS",
                        help="a number such as 0x8000020000000092, or a name such as 'TDX_OPERAND_BUSY|SEPT_TREE'")
    answer.set_defaults(do=do_decode)
    return top


def main(arguments: list[str] | None = None) -> int:
    top = parser()
    try:
        options = top.parse_args(arguments)
        if options.command is None:
            top.print_help()
            return DONE
        return options.do(options)
    except UsageError as mistake:
        print(mistake, file=sys.stderr)
        return USAGE
    except ModuleNotFoundError as missing:
        if (missing.name or "").partition(".")[0] in ("harness", "kernels"):
            raise
        print(f"{missing.name} is not installed for {sys.executable}: `make run` creates .venv/bin/python, which has it",
              file=sys.stderr)
        return USAGE
    except KeyboardInterrupt:
        return INTERRUPTED           # between runs; an engine keeps what it has measured itself
    except BrokenPipeError:
        sys.stderr.close()           # the reader of our output has gone; nothing is left to say
        return DONE


# --- commands --------------------------------------------------------------------------------

def do_run(options) -> int:
    from harness.commands import session as blocks
    from harness.reports import comparison
    from harness.results import document, expectations
    from harness.experiment.plan import make_plan

    if options.repeats is not None and not 1 <= options.repeats <= 10_000:
        raise UsageError(f"--repeats {options.repeats}: must be at least 1 and at most 10000")
    budget_s = None if options.budget is None else blocks.seconds(options.budget)
    session = blocks.make_session(load_configs(options.configs, options.overrides, options.policies), options.repeats, budget_s)
    for each in session.configs:
        if options.check_outcomes:
            from harness.commands import check_outcomes as outcomes
            outcomes.check_config(each)
        plan = make_plan(each)
        expectations.check_expectations(plan, document.example(plan))
    check_out(Path(options.out))
    done = {}
    if options.resume:
        session, done, skipped = blocks.resume(session, options.out)
        for problem in skipped:
            print(f"skipped {problem}", file=sys.stderr)
        print(f"{len(done)} of {len(session.runs)} runs are there already", file=sys.stderr)

    finished, code = dict(done), DONE
    with measuring(session.configs, "run " + " ".join(each.name for each in session.configs)):
        try:
            for run, result in run_session(session, done, blocks.Budget(budget_s)):
                finished[run] = result
                kept = keep(result, options.out)
                if options.format != "csv" or len(session.runs) == 1:
                    from harness.reports.run import run_report
                    print(run_report(result, options.format) + "\n", flush=True)
                code = max(code, kept, exit_code(result, session.configs[run.config]))
                if options.check_outcomes:
                    code = max(code, check_outcomes(result, session.configs[run.config]))
                if result.interrupted:
                    raise KeyboardInterrupt
        except KeyboardInterrupt:                # between runs; within one an engine keeps what it measured
            code = INTERRUPTED
            if len(session.runs) > 1:
                print("interrupted; the same command with --resume goes on", file=sys.stderr)
    if len(session.runs) > 1 and finished and options.format != "json":
        ordered = sorted(finished, key=lambda run: (run.config, run.block))
        print(comparison.overview([finished[run] for run in ordered], options.format))
    return code


def load_configs(paths, overrides, policies: str | None = None) -> list:
    """Each config, under each of the policies asked for; raises UsageError."""
    from harness.experiment import config
    chosen = [[f"policy={name}"] for name in chosen_policies(policies)] or [[]]
    return [config.load(path, [*overrides, *policy]) for path in paths for policy in chosen]


def measuring(configs, what: str):
    """The lock that a measurement needs; nothing for engines that do not measure this machine."""
    from harness.commands import session as blocks
    from harness.host import lock
    real = any(each.engine in blocks.REAL_TIME for each in configs)
    return lock.only_one(what) if real else contextlib.nullcontext()


def run_session(session, done, budget):
    """Run what is not done, block by block, as long as the budget lasts; yields (run, result)."""
    from harness.commands import session as blocks
    from harness.results import document
    from harness.experiment.plan import make_plan
    from harness.commands.progress import Progress

    for number, run in enumerate(session.runs):
        if run in done:
            continue
        left = [other for other in session.runs if other.block == run.block and other not in done]
        if run == left[0] and not budget.fits(len(left), sum(blocks.run_s(session.config(each)) for each in left)):
            print(f"budget spent after {run.block} of {session.blocks} blocks", file=sys.stderr)
            return
        plan = make_plan(session.config(run))
        started = time.monotonic()
        left_s = sum(blocks.run_s(session.config(each)) for each in session.runs[number + 1:] if each not in done)
        known_s = (blocks.run_s(plan.config), left_s) if plan.config.engine in blocks.REAL_TIME else ()
        with Progress(plan.config.name, number, len(session.runs), run.block, session.blocks,
                      *known_s) as progress:
            measured = engines.load(plan.config.engine).run(plan, progress)
        result = document.from_measured(measured)
        result.block = session.mark(run)
        budget.ran(time.monotonic() - started)
        yield run, result


def check_outcomes(result: dict, config) -> int:
    """The exit code for what explore says of a run's answers; says on stderr which it does not know."""
    from harness.commands import check_outcomes as outcomes
    unknown = outcomes.unexplored(result, config.policy)
    for sentence in unknown:
        print(f"{result.name}: {sentence}", file=sys.stderr)
    return FAILED if unknown else DONE


def chosen_policies(names: str | None) -> list[str]:
    """The policies that --policies asks for, none where it was not given.  Raises UsageError."""
    from harness.errors import nearest
    from harness.protocol.policies import BY_NAME, POLICIES
    if names is None:
        return []
    chosen = [policy.name for policy in POLICIES] if names == "all" else names.split(",")
    for name in chosen:
        if name not in BY_NAME:
            raise UsageError(f"--policies {names}: {name!r} is not a policy; known: all,"
                             f" {', '.join(BY_NAME)}{nearest(name, BY_NAME)}")
    return chosen


def check_out(out: Path) -> None:
    """Refuse a place for results that cannot be one, before anything is measured."""
    existing = next(path for path in (out, *out.absolute().parents) if path.exists())
    if not existing.is_dir():
        raise UsageError(f"--out {out}: {existing} is a file; must be a folder")
    if not os.access(existing, os.W_OK):
        raise UsageError(f"--out {out}: {existing} cannot be written; must be a folder that can")


def keep(result: dict, out: str) -> int:
    """Save a result; if that fails, put it where it is not lost and say where."""
    from harness.results import store
    try:
        path = store.write(result, out)
        print(f"saved {path}", file=sys.stderr)
        return DONE
    except OSError as problem:
        elsewhere = tempfile.gettempdir()
        try:
            saved = f"saved {store.write(result, elsewhere)} instead"
        except OSError:
            print(json.dumps(result.document()))
            saved = "printed it instead"
        print(f"--out {out}: cannot write the result: {problem.strerror}; {saved}", file=sys.stderr)
        return UNTRUSTWORTHY


def exit_code(result: dict, config) -> int:
    """The exit code that one result deserves; says why on stderr."""
    from harness.results import expectations, trust
    if result.verdict.status == trust.UNTRUSTWORTHY:
        for reason in result.verdict.reasons:
            print(f"{result.name}: {reason}", file=sys.stderr)
        return UNTRUSTWORTHY
    failed = expectations.failures(result, config.expect)
    for failure in failed:
        print(f"{result.name}: {failure}", file=sys.stderr)
    return FAILED if failed else DONE


def do_compare(options) -> int:
    from harness.reports.comparison import comparison_report
    from harness.results import store
    from harness.results.comparison import make_table
    table = make_table([store.read(path) for path in options.results], options.baseline,
                       options.columns, options.rows, options.sort, tuple(options.across))
    print(comparison_report(table, options.format))
    return DONE


def do_nightly(options) -> int:
    from harness.commands import nightly
    try:
        told = nightly.night(options, run_session, measuring, keep)
    except KeyboardInterrupt:
        print(f"interrupted: nothing was added to the history; runs so far are in {options.out}", file=sys.stderr)
        return INTERRUPTED
    for remark in told.remarks:
        print(remark, file=sys.stderr)
    print(told.text)
    return told.code


def do_report(options) -> int:
    from harness.results import store
    from harness.reports import page
    for remark in page.write([store.read(path) for path in options.results], options.out, options.plots,
                             options.history, options.baseline, tuple(options.across)):
        print(remark, file=sys.stderr)
    return DONE


def do_explore(options) -> int:
    from harness.commands import explore as exploring
    return exploring.explore(options)


def do_replay(options) -> int:
    from harness.commands import explore as exploring
    return exploring.replay(options)


def do_histograms(options) -> int:
    from harness.reports.histograms import histograms_report
    from harness.results import store, merging
    results = [store.read(path) for path in options.results]
    text = histograms_report(results, options.format)
    if options.hdr:
        try:
            merging.write_log(results, Path(options.hdr))
        except OSError as problem:
            raise UsageError(f"--hdr {options.hdr}: cannot be written: {problem.strerror}") from None
    print(text)
    return DONE


def do_sweep(options) -> int:
    from harness.results import document
    from harness.commands import sweep
    from harness.reports.sweep import check_picture, picture, sweep_report
    from harness.experiment.plan import make_plan
    from harness.commands.progress import Progress

    keys, configs = sweep.load(options.config, options.overrides, chosen_policies(options.policies))
    plans = [(point, make_plan(each)) for point, each in configs]
    check_out(Path(options.out))
    if options.picture:
        check_picture(options.picture)
    found, code = [], DONE
    for number, (point, plan) in enumerate(plans):
        with Progress(", ".join(map(str, point.values())), number, len(plans)) as progress:
            result = document.from_measured(engines.load(plan.config.engine).run(plan, progress))
        found.append((point, result))
        code = max(code, keep(result, options.out), exit_code(result, plan.config))
        if result.interrupted:
            code = INTERRUPTED
            break
    print(sweep_report(keys, found, options.format))
    if options.picture:
        picture(keys, found, options.picture)
    return code


def do_policies(options) -> int:
    from harness.reports.policies import policy_report
    print(policy_report())
    return DONE


def do_seamcalls(options) -> int:
    from harness.reports import module
    if options.diff:
        print(module.difference_report(*options.diff, options.format))
    else:
        print(module.seamcall_report(options.module, options.format))
    return DONE


def do_contention(options) -> int:
    from harness.reports import module
    print(module.contention_report(options.module, options.resource, options.under_kvm, options.format))
    return DONE


def do_doctor(options) -> int:
    from harness.commands import doctor
    from harness.reports.doctor import doctor_report
    if options.calibrate is None and options.validate is None:
        print(doctor_report(doctor.rows(doctor.examine()), options.format))
    if options.calibrate is not None:
        from harness.commands import calibrate
        try:
            open(options.calibrate, "a").close()         # before anything is measured
            costs = calibrate.run(options.calibrate)
        except OSError as problem:
            raise UsageError(f"--calibrate {options.calibrate}: cannot be written: {problem.strerror}") from None
        print(costs, end="")
    if options.validate is not None:
        from harness.commands import validate
        from harness.commands.progress import Progress
        from harness.reports.validation import validation_report
        with Progress("validate", 0, 1) as progress:
            rows = validate.run(options.validate or validate.shipped(), lambda share: progress(share, {}))
        print(validation_report(rows))
    return DONE


def do_explain(options) -> int:
    from harness.reports import listing
    print(listing.explanation(options.name, options.module, options.level))
    return DONE


def do_decode(options) -> int:
    from harness.reports import answer
    print(answer.explanation(options.status))
    return DONE


if __name__ == "__main__":
    sys.exit(main())
