"""What `run` does with C litmus tests: real processes, litmus7's histogram, and whether explore has every outcome."""

import json
import re
import sys
from functools import partial
from pathlib import Path
from typing import NamedTuple

from harness import stops
from harness.commands import arguments
from harness.commands.progress import Progress, Sign
from harness.engines.cells import record, run as run_cells
from harness.engines.explore import search
from harness.errors import DONE, FAILED, UNTRUSTWORTHY, UsageError, gravest
from harness.experiment import config_file, litmus, litmus_loops
from harness.files import saved, write_file
from harness.reports import events, litmus as reports
from harness.reports.text import count as count_of
from harness.results import litmus as verdicts

ENGINE = "engine"                # `--set engine=simulate`: in virtual time
UNITS = {"": 1, "k": 1_000, "M": 1_000_000, "G": 1_000_000_000}
TRACED = 100                     # runs that a trace has
RUNS_MOST = 100_000_000_000


class Known(NamedTuple):
    """What a complete search has found: the final states, and the invariants that are violated."""

    states: set[tuple]
    violated: tuple[str, ...]


def runs(text: str) -> int:
    """`200000`, `200k`, `10M`.  Raises UsageError."""
    found = re.fullmatch(r"(\d{1,12})([kMG]?)", text)
    if not found or not 1 <= int(found[1]) * UNITS[found[2]] <= RUNS_MOST:
        raise UsageError(f"--runs {text}: must be a number from 1 to 100G, such as 200k or 10M")
    return int(found[1]) * UNITS[found[2]]


def run(paths: list[str], count: int, given: str | None, seed: int = 1, style: str = "table", trace: str | None = None) -> int:
    """Run every test so often, print its histogram beside what explore finds; returns the exit code.

    given   the memory model; None: x86-TSO, or sequential consistency of tests with a TD, for which there is no other
    trace   where some runs more go, step by step: recording takes longer than the accesses, so none of the histogram's is recorded
    """
    check_trace(trace, paths)
    if other := next((path for path in paths if not path.endswith(".litmus")), None):
        raise UsageError(f"{other}: is no .litmus file; litmus tests are run apart from configs")
    tests, code = [(path, litmus.load(path)) for path in paths], DONE
    documents: list[dict] = []
    for number, (path, test) in enumerate(tests):
        model = given or (verdicts.SC if test.of_td else verdicts.TSO)
        known = known_of(path, test, model)
        with stops.noted():              # what was run until a stop is printed
            with Progress(test.name, number, len(tests)) as progress:
                ran = run_cells(test, count, seed, progress)
            verdict = verdicts.judge(test, ran.endings)
            impossible, wrong = beyond(test, verdict, ran.endings, known)
            if style == "json":
                documents.append(reports.plain(test, verdict, model, ran.seconds) | {
                    "runs_count": ran.runs, "processors": list(ran.processors), "seed": seed,
                    "states_of_search_count": None if known is None else len(known.states), "wrong_ends": wrong,
                    "impossible": [dict(zip(verdict.states[0].values, each)) for each in sorted(impossible)]})
            else:
                print(reports.as_litmus(test, verdict, impossible, ran.seconds))
                print(reports.beside_runs(test, ran, verdict, impossible, wrong, known, model, seed) + "\n", flush=True)
            code = gravest(code, FAILED if impossible or wrong else UNTRUSTWORTHY if not ran.runs else DONE)
            if trace is not None and not ran.interrupted:
                traced = record(test, TRACED, seed)
                write_trace(test, traced, "processes", seed, trace)
                print(f"{count_of(len(traced.endings), 'run')} apart from those of the histogram, and slower: the clock is read around"
                      " each access", file=sys.stderr)
    if style == "json":
        print(json.dumps(documents, indent=1))
    return code


def check_trace(trace: str | None, paths: list[str]) -> None:
    """Raises UsageError for a trace of several tests, or a place that cannot be written."""
    if trace is not None and len(paths) > 1:
        raise UsageError(f"--trace {trace}: of one test, here {len(paths)}")
    if trace is not None:
        arguments.check_file("--trace", Path(trace))


def write_trace(test: litmus.Test, traced, engine: str, seed: int, trace: str) -> None:
    write_file(events.of_litmus(test, traced, engine, seed), Path(trace))
    print(saved(trace, "wrote"), file=sys.stderr)


def simulate(paths: list[str], count: int, overrides: list[str], seed: int = 1, style: str = "table", trace: str | None = None) -> int:
    """Run every test so often in virtual time, print what came and how long it took; returns the exit code.

    trace   where the calls of the first runs go, one by one
    """
    from harness.engines.simulate import small
    check_trace(trace, paths)
    config, code = machine(overrides), DONE
    documents: list[dict] = []
    tests = [(path, litmus.load(path)) for path in paths]
    for number, (path, test) in enumerate(tests):
        known = known_of(path, test, verdicts.SC)
        with stops.noted(), Progress(test.name, number, len(tests)) as progress:
            ran = small.run(test, config, count, seed, progress, TRACED if trace else 0)
            if trace is not None:
                write_trace(test, ran.traced, "simulate", seed, trace)
            verdict = verdicts.judge(test, ran.endings)
            impossible, wrong = beyond(test, verdict, ran.endings, known)
            if style == "json":
                documents.append(reports.plain(test, verdict, verdicts.SC, ran.seconds) | {
                    "runs_count": ran.runs, "seed": seed, "states_of_search_count": None if known is None else len(known.states), "wrong_ends": wrong,
                    "impossible": [dict(zip(verdict.states[0].values, each)) for each in sorted(impossible)],
                    "took_ns": reports.times_in_virtual_time(test, ran)})
            else:
                print(reports.as_litmus(test, verdict, impossible, ran.seconds))
                print(reports.in_virtual_time(test, ran, verdict, wrong, known, seed, config) + "\n", flush=True)
            code = gravest(code, FAILED if impossible or wrong else UNTRUSTWORTHY if not ran.runs else DONE)
    if style == "json":
        print(json.dumps(documents, indent=1))
    return code


def beyond(test: litmus.Test, verdict, endings, known: Known | None) -> tuple[set[tuple], list[str]]:
    """(final states that a search does not find, what runs without one break); nothing of either without a complete search."""
    if known is None:
        return set(), []
    return {tuple(state.values.values()) for state in verdict.states} - known.states, verdicts.wrong_ends(test, endings, known.violated)


def machine(overrides: list[str]):
    """A config of nothing but [machine] and costs_ns.  Raises UsageError."""
    table = {"name": "litmus", "policy": "kick_on_busy", "engine": "simulate"}
    for override in overrides:
        key, value = config_file.parse_override(override)
        if key != ENGINE and key.partition(".")[0] not in ("machine", "costs_ns"):
            raise UsageError(f"--set {override}: not of C litmus tests; allowed: {ENGINE}=simulate, machine.KEY, costs_ns.KEY")
        config_file.put(table, key, value, f"--set {override}")
    if table["engine"] != "simulate":
        raise UsageError(f"--set engine={table['engine']}: C litmus tests run as real processes unless it is simulate")
    return config_file.check(config_file.Given(table, "--set", {}))


def known_of(path: str, test: litmus.Test, model: str) -> Known | None:
    """What a search finds; None if it is not complete.  Raises UsageError.

    A call of the module is executed by other instructions here than by a processor, so a store in it is not delayed as there.
    """
    if model == verdicts.TSO and test.of_td:
        raise UsageError(f"{path}: is about a TD; allowed with --memory-model tso: litmus tests without one")
    test = litmus.load(path, {"memory_model": model})
    sign = Sign()
    with sign.about(test.name):
        tick = partial(sign, of="states")
        found = search.run(test, tick=tick)
    if found.interrupted:
        raise KeyboardInterrupt
    if found.stopped == search.PRIVATE_LOOP:
        raise litmus_loops.endless(test)
    if not found.complete:
        return None
    return Known({tuple(state.values.values()) for state in verdicts.judge(test, found.endings).states}, tuple(found.violations))
