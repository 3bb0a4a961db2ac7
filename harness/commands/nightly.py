"""A night: run a folder of configs in blocks, judge each, look for changes, confirm them, and tell.

    load        configs; one at least breaks something on purpose: the canary, which must fail
    measure     the canaries once, then all others in interleaved blocks (blocks.py)
    judge       invariants and [expect] of every block
    changes     each watched number against its history (changes.py); what looks changed is rerun
    tell        one line per series, a summary, and files for other tools (exports.py)

Two thirds of a budget are for the blocks, the rest for reruns; a suspicion for which no time is left is
told as such and looked at again the next night.  History is written when everything is known, so a
night that was interrupted leaves none.

Exit code: 3 if the canary did not fail or a run cannot be believed, 1 for a failed expectation or a
confirmed change, better or worse, 0 otherwise.
"""

import os
import subprocess
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from harness.commands import session as blocks
from harness.results import changes, expectations, history, identity, trust
from harness.experiment import config as configs
from harness.reports import ci
from harness.experiment.config import Config
from harness.errors import UsageError
from harness.reports.ci import ERROR, FAIL, PASS, Case
from harness.results.metrics import BY_KEY, COMPARED, LESS, WATCHED, Metric, values
from harness.results.schema import Result
from harness.reports.text import count, number, wrap

BLOCKS = 5                       # a night, unless told otherwise
CANARY_RUNS = 5                  # at most
SHARE_OF_RERUNS = 1 / 3
CODES = {PASS: 0, FAIL: 1, ERROR: 3}

now = time.time                  # a night's clock, by name so that tests can live through weeks


@dataclass
class Suspicion:
    metric: Metric
    change: changes.Change
    start: int                   # of the search, in the nights that have this metric
    nights: list                 # those nights, tonight last
    numbers: list[float]
    verdict: str = "no time left to confirm it"


@dataclass
class Judged:
    """One config and what is known of it tonight."""

    config: Config
    results: list[Result] = field(default_factory=list)
    reruns: list[Result] = field(default_factory=list)
    series: history.Series | None = None
    night: history.Night | None = None
    suspicions: list[Suspicion] = field(default_factory=list)

    def status(self) -> str:
        return max((result.verdict.status for result in self.results),
                   key=(trust.VALID, trust.DEGRADED, trust.UNTRUSTWORTHY).index)

    def used(self) -> list[Result]:
        """The results that can be believed, or all if none can."""
        return [result for result in self.results if result.verdict.status != trust.UNTRUSTWORTHY] or self.results


class Told(NamedTuple):
    """What a night has to say: exit code, text, and lines for stderr."""

    code: int
    text: str
    remarks: list[str]


def night(options, run_session, measuring, keep) -> Told:
    """`python -m harness nightly`; the callables are __main__'s.  Raises UsageError, KeyboardInterrupt."""
    canaries, judged = load(options.configs, options.overrides)
    if options.blocks is not None and not 1 <= options.blocks <= 1000:
        raise UsageError(f"--blocks {options.blocks}: must be at least 1 and at most 1000")
    budget_s = None if options.budget is None else blocks.seconds(options.budget)
    check_configs([*canaries, *(each.config for each in judged)])
    history_folder = Path(options.history)
    for folder, option in ((history_folder, "--history"), (Path(options.out), "--out")):
        _check_folder(folder, option)
    session = make_session(canaries, [each.config for each in judged], options.blocks, budget_s)
    began = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now()))
    commit = commit_of(options)
    out = Path(options.out) / f"nightly-{began.replace(':', '').replace('-', '')}"

    with measuring([*canaries, *session.configs], f"nightly {options.configs}"):
        budget, kept = blocks.Budget(budget_s), [0]

        def measure(a_session):
            for run, result in run_session(a_session, {}, budget):
                kept.append(keep(result, out))
                if result.interrupted:
                    raise KeyboardInterrupt
                yield run, result

        cases = [judge_canary(canary, measure) for canary in canaries]
        for run, result in measure(session):
            judged[run.config].results.append(result)
        ran = [each for each in judged if each.results]
        for each in ran:
            look_for_changes(each, history_folder, began, commit, len(judged) * len(WATCHED))
        suspected = [each for each in ran if each.suspicions]
        if suspected:
            rerun(suspected, measure, budget, session.blocks, len(judged) * len(WATCHED))
    cases += [judge_series(each) for each in ran]
    cases += [Case(each.config.name, ERROR, ["the budget was spent before it ran"]) for each in judged
              if not each.results]
    code = max(*kept, *(CODES[case.status] for case in cases))
    remarks = [problem for each in ran for problem in each.series.problems]
    for each in ran:
        code = max(code, _remember(each, remarks))
    of = f"commit {commit}, " if commit else ""
    title = f"nightly {began}, {of}{count(session.blocks, 'block')}, exit code {code}"
    summary = summarize(ran, cases)
    try:
        remarks += [f"saved {path}" for path in ci.write_all(out, cases, title, summary, began)]
    except OSError as problem:
        remarks.append(f"{problem.filename or out}: cannot be written: {problem.strerror}")
        code = CODES[ERROR]
    lines = [title, *(case.line() for case in cases), *summary]
    return Told(code, "\n".join(map(wrap, lines)), remarks)


# --- before ----------------------------------------------------------------------------------

def load(folder: str, overrides: list[str]) -> tuple[list[Config], list[Judged]]:
    """(canaries, the others).  Raises UsageError."""
    paths = sorted(Path(folder).glob("*.toml"))
    if not paths:
        raise UsageError(f"{folder}: no configs here; must be a folder of TOML files")
    loaded = [configs.load(path, overrides) for path in paths]
    twice = [name for name, times in Counter(each.name for each in loaded).items() if times > 1]
    if twice:
        raise UsageError(f"{folder}: two configs are named {twice[0]}; must each have a name of its own")
    canaries = [each for each in loaded if each.checks.busted]
    judged = [Judged(each) for each in loaded if not each.checks.busted]
    if not canaries:
        raise UsageError(f"{folder}: no canary; one config must break something on purpose (checks.busted),"
                         " so that a night shows that failures are seen")
    if not judged:
        raise UsageError(f"{folder}: only canaries; at least one config must be to be judged")
    return canaries, judged


def check_configs(chosen: list[Config]) -> None:
    """What `run` would refuse is refused before the night begins."""
    from harness.results import document
    from harness.experiment.plan import make_plan
    for each in chosen:
        plan = make_plan(each)
        expectations.check_expectations(plan, document.example(plan))


def make_session(canaries, judged, wanted, budget_s) -> blocks.Session:
    """The session of all configs but the canaries, within a budget.  Raises UsageError."""
    if budget_s is None:
        return blocks.make_session(judged, repeats=wanted or BLOCKS)
    canaries_s, block_s = sum(map(blocks.run_s, canaries)), sum(map(blocks.run_s, judged))
    for_blocks_s = (budget_s - canaries_s) * (1 - SHARE_OF_RERUNS)
    if for_blocks_s < block_s:
        least = block_s / (1 - SHARE_OF_RERUNS) + canaries_s
        raise UsageError(f"--budget {budget_s:g}s: one block, the canaries and reruns take about {least:.0f} s;"
                         " raise it, or shorten duration_s")
    return blocks.make_session(judged, repeats=min(wanted or BLOCKS * 2, int(for_blocks_s / block_s)))


def commit_of(options) -> str:
    """What is tested tonight: --commit, GITHUB_SHA, or git's HEAD where the configs are."""
    if options.commit:
        return options.commit
    if os.environ.get("GITHUB_SHA"):
        return os.environ["GITHUB_SHA"][:12]
    try:
        found = subprocess.run(["git", "-C", options.configs, "rev-parse", "--short=12", "HEAD"],
                               capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return found.stdout.strip() if found.returncode == 0 else ""


def _check_folder(folder: Path, option: str) -> None:
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not existing.is_dir():
        raise UsageError(f"{option} {folder}: {existing} is a file; must be a folder")
    if not os.access(existing, os.W_OK):
        raise UsageError(f"{option} {folder}: {existing} cannot be written; must be a folder that can")


# --- judging ---------------------------------------------------------------------------------

def judge_canary(canary: Config, measure) -> Case:
    """A canary passes by failing: an invariant must be found violated, in one of a few runs, as a race
    needs two workers that meet."""
    broken, seconds_ = ", ".join(canary.checks.busted), 0.0
    for attempt in range(CANARY_RUNS):
        again = canary.model_copy(update={"seed": (canary.seed + attempt) % blocks.SEEDS})
        [(_, result)] = measure(blocks.make_session([again], repeats=1))
        seconds_ += result.measured_s
        violated = {name: times for name, times in result.invariants.items() if times}
        if violated:
            found = ", ".join(f"{name} {times}" for name, times in violated.items())
            return Case(canary.name, PASS, [f"canary: {broken} is broken, and is seen: {found}"],
                        seconds=seconds_, engine=result.engine, module=result.module)
    missed = (f"canary: {broken} is broken, and no invariant said so in {CANARY_RUNS} runs: nothing that passes"
              " tonight means anything")
    return Case(canary.name, ERROR, [missed], seconds=seconds_, engine=result.engine, module=result.module)


def look_for_changes(each: Judged, folder: Path, began: str, commit: str, among: int) -> None:
    """Open the series, make tonight's line (not yet written), and suspect what looks changed."""
    first = each.results[0]
    each.series = history.open_series(folder, history.key_of(each.config.name, identity.identity(first)))
    each.night = history.Night(series=each.series.key, night=began, commit=commit, verdict=each.status(),
                               values=_values(each.used()), machine=first.machine)
    if each.night.verdict == trust.UNTRUSTWORTHY:
        return
    tonight = each.series._replace(nights=[*each.series.nights, each.night])
    for metric in WATCHED:
        known = tonight.known(metric.key)
        if not known or known[-1][0] is not each.night:
            continue
        numbers = [value for _, value in known]
        start = tonight.start(metric.key)
        change = changes.suspect(numbers, start, among)
        if change is not None:
            each.suspicions.append(Suspicion(metric, change, start, [night for night, _ in known], numbers))


def _values(results: list[Result]) -> dict[str, list[float]]:
    found = {metric.key: list(map(float, values(metric, results))) for metric in COMPARED}
    return {key: numbers for key, numbers in found.items() if numbers}


def rerun(suspected: list[Judged], measure, budget: blocks.Budget, blocks_count: int, among: int) -> None:
    """Measure again what looks changed, on seeds of its own, and keep what is confirmed as alarms."""
    chosen = [each.config.model_copy(update={"seed": (each.config.seed + blocks_count) % blocks.SEEDS})
              for each in suspected]
    needed_s = blocks_count * sum(map(blocks.run_s, chosen))
    if needed_s > budget.left_s():
        return
    for run, result in measure(blocks.make_session(chosen, repeats=blocks_count)):
        suspected[run.config].reruns.append(result)
    for each in suspected:
        believed = [result for result in each.reruns if result.verdict.status != trust.UNTRUSTWORTHY]
        again = _values(believed)
        for suspicion in each.suspicions:
            confirm(each, suspicion, again.get(suspicion.metric.key, []), among)


def confirm(each: Judged, suspicion: Suspicion, again: list[float], among: int) -> None:
    key, change = suspicion.metric.key, suspicion.change
    if not again:
        return
    each.night.rerun[key] = again
    if not changes.confirmed(suspicion.numbers, suspicion.start, change,
                             changes.night_value(again, bool(suspicion.metric.events)), among):
        suspicion.verdict = "not confirmed by a rerun"
        return
    suspicion.verdict = "confirmed"
    bad, good = suspicion.nights[change.since], suspicion.nights[change.since - 1]
    each.night.alarms.append(history.Alarm(
        metric=key, kind=change.kind, since=bad.night, before=change.before, after=change.after,
        first_bad=bad.commit, last_good=good.commit))


def judge_series(each: Judged) -> Case:
    """The verdict on one config: what was not as expected, what changed, and the night's numbers."""
    lines = failure_lines(each)
    lines += [told_alarm(alarm) for alarm in each.night.alarms]
    status = FAIL if lines else PASS
    untrusted = [reason for result in each.results if result.verdict.status == trust.UNTRUSTWORTHY
                 for reason in result.verdict.reasons]
    if untrusted:
        status, lines = ERROR, [*dict.fromkeys(untrusted), *lines]
    first = each.results[0]
    return Case(each.config.name, status, lines, notes(each),
                sum(result.measured_s for result in each.results), first.engine, first.module, each.used())


def failure_lines(each: Judged) -> list[str]:
    """What was not as expected, each once: what was found, and in how many of the runs."""
    runs, found = len(each.results), {}
    for result in each.results:
        for failure in expectations.failures(result, each.config.expect):
            found.setdefault((failure.what, failure.violation), []).append(failure)
    if runs == 1:
        return [str(failure) for failures in found.values() for failure in failures]
    return [(f"{what}: {sum(failure.found for failure in failures)} violations" if violation else
             f"{what}, got {', '.join(dict.fromkeys(str(failure.found) for failure in failures))}")
            + f" in {len(failures)} of {runs} runs" for (what, violation), failures in found.items()]


def told_alarm(alarm: history.Alarm) -> str:
    metric = BY_KEY.get(alarm.metric)
    change = changes.Change(0, alarm.kind, alarm.before, alarm.after).percent
    percent = "" if change is None else f" ({change:+.1f} %)"
    commits = f"; first bad commit {alarm.first_bad or '?'}, last good {alarm.last_good or '?'}"
    moved = f"{number(alarm.before)} -> {number(alarm.after)}"
    return f"{direction(alarm)}, a {alarm.kind}: {metric.said(moved) if metric else moved}{percent}" \
           f" since {alarm.since}{commits if alarm.first_bad or alarm.last_good else ''}"


def direction(alarm: history.Alarm) -> str:
    metric = BY_KEY.get(alarm.metric)
    if metric is None or not metric.better:
        return "change"
    return "improvement" if (alarm.after < alarm.before) == (metric.better == LESS) else "regression"


def notes(each: Judged) -> list[str]:
    """How much history there is, its noise, and what was suspected in vain."""
    nights = len(each.series.nights) + 1
    said = [count(nights, "night")]
    known = each.series.known("removals_per_s")
    if len(known) >= changes.MIN_NIGHTS:
        numbers = [value for _, value in known]
        middle = sorted(numbers)[len(numbers) // 2]
        if middle:
            noise = 100 * changes.noise_floor(numbers) / middle
            said.append(f"noise {noise:.1f} % from night to night (removals per s)")
    else:
        said.append(f"changes are looked for from night {changes.MIN_NIGHTS} on")
    if nights == 1 and (others := _other_machines(each.series)):
        said.append(f"a new series: {others} nights of this config are of another machine, workload, policy or"
                    " release")
    for suspicion in each.suspicions:
        if suspicion.verdict != "confirmed":
            change = suspicion.change
            moved = suspicion.metric.said(f"{number(change.before)} -> {number(change.after)}")
            said.append(f"suspected: {moved}, {suspicion.verdict}")
    return said


def _other_machines(series: history.Series) -> int:
    """Nights in other series of the same config name."""
    if not series.path.parent.is_dir():
        return 0
    return sum(len(other.nights) for other in history.folder_series(series.path.parent)
               if other.key is not None and other.key.name == series.key.name and other.path != series.path)


def summarize(judged: list[Judged], cases: list[Case]) -> list[str]:
    """The lines that a tired reader reads first."""
    counts = Counter(case.status for case in cases)
    alarms = [alarm for each in judged for alarm in each.night.alarms]
    kinds = Counter(map(direction, alarms))
    words = ((PASS, "as expected"), (FAIL, "failed"), (ERROR, "not to be believed"))
    lines = [", ".join(f"{counts[status]} {word}" for status, word in words if counts[status])
             + f"; confirmed changes: {kinds['regression']} worse, {kinds['improvement']} better"]
    if alarms:
        first = min(alarms, key=lambda alarm: alarm.since)
        lines.append(f"first bad: commit {first.first_bad or '?'} in the night of {first.since};"
                     f" last good: commit {first.last_good or '?'}")
    return lines


def _remember(each: Judged, remarks: list[str]) -> int:
    """Append tonight to the history; returns an exit code."""
    try:
        history.append(each.series, each.night)
        return 0
    except OSError as problem:
        remarks.append(f"{each.series.path}: cannot be written: {problem.strerror}; this night is not in the"
                       " history")
        return CODES[ERROR]
