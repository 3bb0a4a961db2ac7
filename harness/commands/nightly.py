"""The command `nightly`: run a folder of configs in blocks, judge each, look for changes, confirm and report them.

    load        configs; one at least breaks something on purpose: the canary, which must fail
    measure     the canaries once, then all others in interleaved blocks (session.py)
    judge       invariants and [expect] of every block, each watched number against its history, and what
                looks changed measured again (judging.py)
    report      one line per series, a summary, and files for other tools (reports/ci.py)

Two thirds of a budget are for the blocks, the rest for reruns; a suspicion for which no time is left is
reported as such and looked at again the next night.  History is written when everything is known, so a
night that was interrupted leaves none.

Exit code: 3 if the canary did not fail or a run cannot be believed, 1 for a failed expectation or a
confirmed change, better or worse, 4 if only something that was expected did not occur, 0 otherwise.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from harness import stops
from harness.commands import arguments, cluster, jobs, judging, running, session as sessions
from harness.commands.judging import Judged, Tonight
from harness.errors import DONE, INTERRUPTED, UNTRUSTWORTHY, UsageError, escaped, gravest
from harness.files import read_text, reason, saved, write_file
from harness.experiment import config_file
from harness.experiment.config import Config
from harness.reports import ci
from harness.reports.ci import ERROR, PASS, Case
from harness.reports.text import count, wrap
from harness.results import expectations
from harness.results.metrics import WATCHED
from harness.results.pruning import prune
from harness.results.schema import Result

BLOCKS = 5                       # a night, unless --blocks says otherwise
CANARY_RUNS = 5                  # at most
SHARE_OF_RERUNS = 1 / 3
BUDGET_KEPT = 0.2                # of a budget, to either side
COMMIT_MOST = 64                 # characters

now = time.time                  # a night's clock, by name so that tests can live through weeks


class Request(NamedTuple):
    """What a night is asked to do."""

    configs: str                 # a folder
    overrides: list[str]
    history: Path
    out: Path
    blocks: int | None = None
    budget_s: float | None = None
    commit: str = ""             # what is tested; "" if unknown


class Report(NamedTuple):
    """The result of a night: exit code, text, the same for programs, and lines for stderr."""

    code: int
    text: str
    document: dict
    remarks: list[str]
    cases: list[Case] = []
    summary: list[str] = []


def add(parser) -> None:
    parser.add_argument("configs", metavar="DIR", help="such as configs/nightly; one config must be a canary")
    parser.add_argument("--budget", metavar="TIME", help="a limit such as 30m, reruns included")
    parser.add_argument("--blocks", type=int, metavar="N", help=f"blocks a night (default: {BLOCKS}, or what fits)")
    parser.add_argument("--history", default="history", metavar="DIR", help="one file per series (default: history)")
    arguments.add_out(parser)
    parser.add_argument("--keep", type=int, metavar="N", help="delete the result folders of nights before the last N")
    parser.add_argument("--commit", metavar="ID", help="what is tested tonight (default: git's HEAD)")
    arguments.add_format(parser, arguments.TABLE_OR_JSON)
    arguments.add_overrides(parser, "change a key of every config")
    jobs.add_cluster(parser)


def do(options) -> int:
    arguments.check_range("--blocks", options.blocks, 1, 1000)
    arguments.check_range("--keep", options.keep, 1, 100_000)
    request = Request(options.configs, options.overrides, Path(options.history), Path(options.out), options.blocks,
                      sessions.seconds(options.budget), escaped(options.commit or commit_of(options.configs))[:COMMIT_MOST])
    where = cluster.address(options.cluster, options.tls, options.insecure)
    try:
        report = fleet_night(request, where) if where else night(request)
    except KeyboardInterrupt:
        print(saved(options.out, "interrupted: nothing was added to the history; runs so far are in"), file=sys.stderr)
        return INTERRUPTED
    for remark in [*report.remarks, *(prune(request.out, options.keep) if options.keep else [])]:
        print(remark, file=sys.stderr)
    print(json.dumps(report.document, indent=1) if options.format == "json" else report.text)
    return report.code


def commit_of(folder: str) -> str:
    """What is tested tonight, if the arguments do not say: GITHUB_SHA, or git's HEAD where the configs are."""
    if os.environ.get("GITHUB_SHA"):
        return os.environ["GITHUB_SHA"][:12]
    try:
        found = subprocess.run(["git", "-C", folder, "rev-parse", "--short=12", "HEAD"],
                               capture_output=True, text=True, errors="backslashreplace", timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return found.stdout.strip() if found.returncode == 0 else ""


# --- before ----------------------------------------------------------------------------------

def load(folder: str, overrides: list[str]) -> tuple[list[Config], list[Config]]:
    """(canaries, the others).  Raises UsageError."""
    paths = sorted(Path(folder).glob("*.toml"))
    if not paths:
        raise UsageError(f"{folder}: no configs here; must be a folder of TOML files")
    loaded = [config_file.load(path, overrides) for path in paths]
    twice = [name for name, times in Counter(config.name for config in loaded).items() if times > 1]
    if twice:
        raise UsageError(f"{folder}: two configs are named {twice[0]}; must each have a name of its own")
    canaries = [config for config in loaded if config.checks.busted]
    others = [config for config in loaded if not config.checks.busted]
    if not canaries:
        raise UsageError(f"{folder}: no canary; one config must break something on purpose (checks.busted),"
                         " so that a night shows that failures are seen")
    if not others:
        raise UsageError(f"{folder}: only canaries; at least one config must be to be judged")
    return canaries, others


def make_session(canaries, others, wanted, budget_s) -> sessions.Session:
    """The session of all configs but the canaries, within a budget.  Raises UsageError."""
    if budget_s is None:
        return sessions.make_session(others, repeats=wanted or BLOCKS)
    canaries_s, block_s = sum(map(sessions.run_s, canaries)), sum(map(sessions.run_s, others))
    for_blocks_s = (budget_s - canaries_s) * (1 - SHARE_OF_RERUNS)
    if for_blocks_s < block_s:
        least = block_s / (1 - SHARE_OF_RERUNS) + canaries_s
        raise UsageError(f"--budget {budget_s:g}s: one block, the canaries and reruns take about {least:.0f} s;"
                         " raise it, or shorten duration_s")
    return sessions.make_session(others, repeats=min(wanted or BLOCKS * 2, int(for_blocks_s / block_s)))


# --- the night -------------------------------------------------------------------------------

class Runner:
    """Runs sessions within one budget and keeps the results."""

    def __init__(self, out: Path, budget_s: float | None):
        self.out, self.budget, self.code = out, sessions.Budget(budget_s), DONE

    def run(self, session: sessions.Session) -> Iterator[tuple[sessions.Run, Result]]:
        """Yields (run, result); raises KeyboardInterrupt after a run that was interrupted."""
        for run, result in running.run_session(session, {}, self.budget):
            self.code = gravest(self.code, running.keep(result, self.out))
            if result.interrupted:
                raise KeyboardInterrupt
            yield run, result


def night(request: Request) -> Report:
    """Everything of one night.  Raises UsageError, KeyboardInterrupt."""
    return spend(request, *load(request.configs, request.overrides))


def spend(request: Request, canaries: list[Config], others: list[Config]) -> Report:
    """The same, of configs that are loaded."""
    session = make_session(canaries, others, request.blocks, request.budget_s)
    for config in (*canaries, *others):
        running.prepare(config)
    arguments.check_folder("--history", request.history)
    arguments.check_folder("--out", request.out)
    began = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now()))
    tonight = Tonight(began, request.commit, request.history, len(others) * len(WATCHED))
    out = request.out / f"nightly-{began.replace(':', '').replace('-', '')}"
    runner, judged = Runner(out, request.budget_s), [Judged(config) for config in others]
    with running.only_one((*canaries, *session.configs), f"nightly {request.configs}"):
        cases = [judge_canary(canary, runner) for canary in canaries]
        for run, result in runner.run(session):
            judged[run.config].results.append(result)
        ran = [each for each in judged if each.results]
        for each in ran:
            judging.look_for_changes(each, tonight)
        rerun([each for each in ran if each.suspicions], runner, session.blocks, tonight)
    cases += [judging.case_of(each) for each in ran]
    cases += [Case(each.config.name, ERROR, ["the budget was spent before it ran"])
              for each in judged if not each.results]
    with stops.noted():                  # the history has the whole night or nothing of it
        return report_on(ran, cases, runner, tonight, session)


def judge_canary(canary: Config, runner: Runner) -> Case:
    """A canary passes by failing: an invariant must be found violated, in one of a few runs, as a race
    needs two workers that meet."""
    broken, measured_s = ", ".join(canary.checks.busted), 0.0
    for attempt in range(CANARY_RUNS):
        again = canary.model_copy(update={"seed": (canary.seed + attempt) % sessions.SEEDS})
        [(_, result)] = runner.run(sessions.make_session([again], repeats=1))
        measured_s += result.measured_s
        violated = [f"{name} {times}" for name, times in result.invariants.items() if times]
        if violated:
            status, line = PASS, f"canary: {broken} is broken, and is seen: {', '.join(violated)}"
            break
    else:
        status, line = ERROR, (f"canary: {broken} is broken, and no invariant said so in {CANARY_RUNS} runs"
                               f" ({why_not_seen(result)}): nothing that passes tonight means anything")
    return Case(canary.name, status, [line], seconds=measured_s, engine=result.engine, module=result.module)


def why_not_seen(result: Result) -> str:
    """How much the last run of a canary did, and what kept it from doing more."""
    return "; ".join([f"the last: {expectations.tried(result)}", *result.verdict.reasons])


def rerun(suspected: list[Judged], runner: Runner, blocks: int, tonight: Tonight) -> None:
    """Measure again what looks changed, on seeds of its own, if there is time left for it."""
    again = [each.config.model_copy(update={"seed": (each.config.seed + blocks) % sessions.SEEDS})
             for each in suspected]
    if not again or blocks * sum(map(sessions.run_s, again)) > runner.budget.left_s():
        return
    for run, result in runner.run(sessions.make_session(again, repeats=blocks)):
        suspected[run.config].reruns.append(result)
    for each in suspected:
        judging.confirm(each, tonight)


# --- after -----------------------------------------------------------------------------------

def report_on(ran: list[Judged], cases: list[Case], runner: Runner, tonight: Tonight, session: sessions.Session) -> Report:
    """Write the history and the files for other tools, and put the night into words."""
    remarks = [problem for each in ran for problem in each.series.problems]
    unwritten = [sentence for each in ran if (sentence := judging.remember(each))]
    code = gravest(runner.code, *(case.code() for case in cases), UNTRUSTWORTHY if unwritten else DONE)
    commit = f"commit {tonight.commit}, " if tonight.commit else ""
    title = f"nightly {tonight.began}, {commit}{count(session.blocks, 'block')}, exit code {code}"
    summary = [*judging.summarize(ran, cases), *kept_budget(runner.budget, session, any(each.reruns for each in ran))]
    try:
        written = [saved(path) for path in ci.write_all(runner.out, cases, title, summary, tonight.began)]
    except OSError as problem:
        written = [f"{problem.filename or runner.out}: cannot be written: {reason(problem)}"]
        code = UNTRUSTWORTHY
    lines = [title, *(case.line() for case in cases), *summary]
    document = {"began": tonight.began, "commit": tonight.commit, "blocks_count": session.blocks, "exit_code": code,
                "cases": [case.plain() for case in cases], "summary": summary}
    return Report(code, "\n".join(map(wrap, lines)), document, [*remarks, *unwritten, *written], cases, summary)


def kept_budget(budget: sessions.Budget, session: sessions.Session, reran: bool) -> list[str]:
    """How much of a budget was used, compiling apart; of more than BUDGET_KEPT besides, how much that is and why."""
    if budget.budget_s is None:
        return []
    used_s, given_s = budget.used_s(), budget.budget_s
    said, off = f"budget {given_s:.0f} s: {used_s:.0f} s were used, and {budget.compiled_s:.1f} s to compile", used_s / given_s - 1
    if abs(off) <= BUDGET_KEPT:
        return [said]
    planned_s = sum(sessions.run_s(session.configs[run.config]) for run in session.runs)
    block_s = planned_s / session.blocks
    if off > 0:
        why = f"runs took {budget.spent_s / max(1, budget.runs):.1f} s each, and a block that has begun is finished"
    elif not reran:
        why = f"nothing had to be measured again (a third is kept for that), and blocks are whole (about {block_s:.0f} s each)"
    else:
        why = f"blocks are whole (about {block_s:.0f} s each)"
    return [f"{said}: {abs(100 * off):.0f} % {'more' if off > 0 else 'less'} than given, as {why}"]


# --- a fleet ---------------------------------------------------------------------------------

class Abroad(NamedTuple):
    """A night on another host: its report, what it adds to the history {file: lines}, and its results {folder: text}."""

    report: Report
    history: dict[str, str]
    results: dict[str, str]


def night_abroad(request: Request, canaries: list[Config], others: list[Config], history: dict[str, str]) -> Abroad:
    """A night on this host for another one, which has the history: a task.  Raises UsageError."""
    with tempfile.TemporaryDirectory(prefix="sept-night-") as folder:
        here = request._replace(history=Path(folder) / "history", out=Path(folder) / "results")
        here.history.mkdir()
        for name, text in history.items():
            (here.history / name).write_text(text)
        report = spend(here, canaries, others)
        added = {path.name: path.read_text()[len(history.get(path.name, "")):] for path in here.history.glob("*.jsonl")}
        results = {path.parent.name: path.read_text() for path in here.out.glob("*/*/result.json")}
    return Abroad(report, {name: text for name, text in added.items() if text}, results)


def fleet_night(request: Request, where: cluster.Address) -> Report:
    """A night on every host that measures: a history for each machine, one summary.  Raises UsageError, KeyboardInterrupt."""
    canaries, others = load(request.configs, request.overrides)
    make_session(canaries, others, request.blocks, request.budget_s)         # a budget that is too small is refused here
    for config in (*canaries, *others):
        running.prepare(config)
    for option, folder in (("--history", request.history), ("--out", request.out)):
        arguments.check_folder(option, folder)
    history = {path.name: read_text(path, UsageError) for path in sorted(request.history.glob("*.jsonl"))}
    began = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now()))
    out = request.out / f"nightly-{began.replace(':', '').replace('-', '')}"
    code, cases, summary, remarks, hosts = DONE, [], [], [], 0
    for host, each in cluster.fleet(where, night_abroad, (request, canaries, others, history)):
        hosts += 1
        if isinstance(each, jobs.Failure):
            cases.append(Case(f"{host}: the night", ERROR, [each.why]))
            code = gravest(code, UNTRUSTWORTHY)
            continue
        remarks += bring_home(host, each, request.history, out)
        code = gravest(code, each.report.code)
        cases += [replace(case, name=f"{host}: {case.name}") for case in each.report.cases]
        summary += [f"{host}: {line}" for line in each.report.summary]
    title = f"nightly {began}, {f'commit {request.commit}, ' * bool(request.commit)}{count(hosts, 'host')}, exit code {code}"
    remarks += [saved(path) for path in ci.write_all(out, cases, title, summary, began)]
    document = {"began": began, "commit": request.commit, "hosts_count": hosts, "exit_code": code,
                "cases": [case.plain() for case in cases], "summary": summary}
    return Report(code, "\n".join(map(wrap, [title, *(case.line() for case in cases), *summary])), document, remarks, cases, summary)


def bring_home(host: str, night: Abroad, history: Path, out: Path) -> list[str]:
    """Keep what a host has measured, when it comes; where it was kept."""
    history.mkdir(parents=True, exist_ok=True)
    for name, lines in night.history.items():
        with (history / Path(name).name).open("a") as file:
            file.write(lines)
    for name, text in night.results.items():
        folder = out / f"{host},{Path(name).name}"
        folder.mkdir(parents=True, exist_ok=True)
        write_file(text, folder / "result.json")
    return [f"{host}: {saved(out, f'{len(night.results)} results in')}"]
