"""What run, sweep and nightly share: configs made ready, one run after the other, results kept and judged.

The only file that runs a plan on an engine.  What loads the compiler waits until a run is prepared, so
that `--help` of these commands is quick.
"""

import contextlib
import itertools
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Sequence

from harness import engines, stops
from harness.commands import jobs
from harness.commands.progress import Progress, Silence
from harness.commands.session import REAL_TIME, SEEDS, Budget, Run, Session, run_s
from harness.errors import DONE, FAILED, NOT_SEEN, UNTRUSTWORTHY, UsageError
from harness.files import reason, saved, write_file
from harness.experiment import config_file
from harness.experiment.config import Bound, Config
from harness.host import lock
from harness.results import store, trust
from harness.results.expectations import check_expectations, failures, only_unseen, tried
from harness.results.schema import Provoked, Result

LOG_ROOM = 4096                  # calls and spans of each actor that a trace keeps


def load(paths: list[str], overrides: list[str], policies: list[str]) -> list[Config]:
    """Each config, under each of the policies if there are any.  Raises UsageError."""
    chosen = [[f"policy={name}"] for name in policies] or [[]]
    return [config_file.load(path, [*overrides, *policy]) for path in paths for policy in chosen]


def prepare(config: Config):
    """The plan of a config.  Raises UsageError if there can be none, or for what no result of it can have."""
    from harness.experiment.plan import make_plan
    from harness.results.document import example
    plan = make_plan(config)
    if config.expect:
        check_expectations(plan, example(plan))
    return plan


def measure(plan, progress=lambda *_: None, look=lambda measured: None) -> Result:
    """Run a plan on its engine: the result.  `look` is given what the engine has measured."""
    from harness.results.document import from_measured
    measured = engines.load(plan.config.engine).run(plan, progress)
    look(measured)
    return from_measured(measured)


def provoke(plan, progress=lambda *_: None, look=None) -> Result:
    """Run a plan; one with `until_seen_s` again, on the next seeds, until what it expects has occurred.

    What is seen ends it, and so does anything that is wrong besides; an interrupt too.
    """
    from harness.experiment.plan import make_plan
    config, limit_s = plan.config, plan.config.until_seen_s
    once = partial(measure, look=look) if look else measure
    result, began, runs, measured_s = once(plan, progress), time.monotonic(), 1, 0.0
    while limit_s:
        measured_s += result.measured_s
        failed = failures(result, config.expect)
        result.provoked = Provoked(runs=runs, measured_s=round(measured_s, 6), seen=not failed)
        if not only_unseen(failed) or result.interrupted or time.monotonic() - began + result.measured_s > limit_s:
            break
        again = config.model_copy(update={"seed": (config.seed + runs) % SEEDS})
        result, runs = once(make_plan(again, plan.tables.log_room if look else 0), progress), runs + 1
    if runs > 1:
        trust.degrade(result, f"run {runs} times until it was seen what it provokes: that it occurs, not how often")
    return result


def measured(config: Config) -> Result:
    """The result of one run, in a process that knows nothing of the others."""
    return provoke(prepare(config))


def only_one(configs: tuple[Config, ...], what: str):
    """The lock that a measurement needs; nothing for engines that do not measure this machine."""
    real = any(config.engine in REAL_TIME for config in configs)
    return lock.only_one(what) if real else contextlib.nullcontext()


def run_session(session: Session, done: dict[Run, Result], budget: Budget, trace: Path | None = None,
                plans: Sequence = (), quiet: bool = False) -> Iterator[tuple[Run, Result]]:
    """Run what is not done, block by block, as long as the budget lasts; yields (run, result).

    trace   where the calls and spans of the first milliseconds of the last run go, one by one
    plans   of the configs, where they have been made: the first block has their seeds
    quiet   without a line of progress
    """
    from harness.experiment.plan import make_plan
    left = [run for run in session.runs if run not in done]
    for block, runs in itertools.groupby(list(left), key=lambda run: run.block):
        block_runs = list(runs)
        if not budget.fits(expected_s(session, block_runs)):
            print(f"budget spent after {block} of {session.blocks} blocks", file=sys.stderr)
            return
        for run in block_runs:
            left.remove(run)
            with stops.noted():          # from the first that is measured until whoever asked for it has kept it
                there = plans and not (run.block or trace)
                plan = plans[run.config] if there else make_plan(session.config(run), LOG_ROOM if trace else 0)
                began = time.monotonic()
                with Silence() if quiet else _progress(session, run, left) as progress:
                    result = provoke(plan, progress, partial(write_trace, path=trace) if trace else None)
                result.block = session.mark(run)
                took_s = time.monotonic() - began
                budget.ran(took_s, took_s - run_s(session.configs[run.config]))
                yield run, result


def whole_session(session: Session, done: dict[Run, Result]) -> Iterator[tuple[Run, Result]]:
    """All that is not done of a session that measures a machine, on this one, run by run.  Raises UsageError."""
    with only_one(session.configs, "run " + " ".join(config.name for config in session.configs)):
        yield from run_session(session, done, Budget(None))


def write_trace(measured, path: Path) -> None:
    """Raises UsageError for a place that cannot be written."""
    from harness.reports import events
    try:
        write_file(events.of_run(measured), path)
    except OSError as problem:
        raise UsageError(f"--trace {path}: cannot be written: {reason(problem)}") from None
    print(saved(path, "wrote"), file=sys.stderr)


def expected_s(session: Session, runs: list[Run]) -> float:
    return sum(run_s(session.configs[run.config]) for run in runs)


def _progress(session: Session, run: Run, behind: list[Run]) -> Progress:
    config = session.configs[run.config]
    known_s = (run_s(config), expected_s(session, behind)) if config.engine in REAL_TIME else ()
    return Progress(config.name, session.runs.index(run), len(session.runs), run.block, session.blocks, *known_s)


# --- results -----------------------------------------------------------------------------------

def keep(result: Result, out: Path, say: bool = True, key: str = "", settings: Sequence[str] = ()) -> int:
    """Save a result, and say where; if that fails, put it where it is not lost and say where.

    key        of its task (jobs.key), beside a result that is whole
    settings   what was set beside its config, as `KEY=VALUE`
    """
    try:
        path = store.write(result, out, settings)
        if key and not result.interrupted:
            write_file(key, path.parent / jobs.KEY_FILE)
        if say:
            print(saved(path), file=sys.stderr)
        return DONE
    except OSError as problem:
        try:
            where = f"{saved(store.write(result, tempfile.gettempdir(), settings))} instead"
        except OSError:
            print(json.dumps(result.document()))
            where = "printed it instead"
        print(f"{saved(out, '--out')}: cannot write the result: {reason(problem)}; {where}", file=sys.stderr)
        return UNTRUSTWORTHY


def exit_code(result: Result, expect: dict[str, Bound]) -> int:
    """The exit code that one result deserves; says why on stderr."""
    if result.verdict.status == trust.UNTRUSTWORTHY:
        problems, code = result.verdict.reasons, UNTRUSTWORTHY
    else:
        problems = failures(result, expect)
        code = DONE if not problems else NOT_SEEN if only_unseen(problems) else FAILED
    for problem in problems:
        print(f"{result.name}: {problem}" + f" in {tried(result)}" * (code == NOT_SEEN), file=sys.stderr)
    return code
