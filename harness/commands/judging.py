"""One config's night: what was not as expected, what looks changed, whether a rerun confirms it, and all in words."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from harness.experiment.config import Config
from harness.files import reason
from harness.reports.ci import ERROR, FAIL, PASS, Case
from harness.reports.numbers import reasons_of
from harness.reports.text import count, number
from harness.results import changes, expectations, history, identity, trust
from harness.results.metrics import BY_KEY, COMPARED, LESS, WATCHED, Metric, values
from harness.results.schema import Result

NOISE_METRIC = "removals_per_s"  # its noise from night to night is reported


class Tonight(NamedTuple):
    began: str
    commit: str                  # what is tested; "" if unknown
    history: Path
    watched: int                 # numbers that changes are looked for in, of all configs


@dataclass
class Suspicion:
    """A number that looks changed."""

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
        return trust.worst(self.results)

    def disturbed(self) -> bool:
        """Whether most blocks ran beside another load."""
        return 2 * sum(bool(trust.disturbed(result)) for result in self.results) > len(self.results)

    def used(self) -> list[Result]:
        """The results that can be believed, or all if none can."""
        return trusted(self.results) or self.results


def trusted(results: list[Result]) -> list[Result]:
    return [result for result in results if result.verdict.status != trust.UNTRUSTWORTHY]


def numbers_of(results: list[Result]) -> dict[str, list[float]]:
    """The numbers of each metric, of those results that have it."""
    found = {metric.key: list(map(float, values(metric, results))) for metric in COMPARED}
    return {key: numbers for key, numbers in found.items() if numbers}


# --- changes ---------------------------------------------------------------------------------

def look_for_changes(judged: Judged, tonight: Tonight) -> None:
    """Open the series, make tonight's line (not yet written), and suspect what looks changed."""
    first = judged.results[0]
    judged.series = history.open_series(tonight.history, history.key_of(judged.config.name, identity.identity(first)))
    judged.night = history.Night(series=judged.series.key, night=tonight.began, commit=tonight.commit,
                                 verdict=judged.status(), disturbed=judged.disturbed(), values=numbers_of(judged.used()), machine=first.machine)
    if judged.night.verdict != trust.UNTRUSTWORTHY:
        with_tonight = judged.series._replace(nights=[*judged.series.nights, judged.night])
        suspected = (suspect(with_tonight, metric, tonight.watched) for metric in WATCHED)
        judged.suspicions = [suspicion for suspicion in suspected if suspicion]


def suspect(series: history.Series, metric: Metric, watched: int) -> Suspicion | None:
    """A change in a number of which the last night has a value."""
    known = series.known(metric.key)
    if not known or known[-1][0] is not series.nights[-1]:
        return None
    nights, numbers = map(list, zip(*known))
    start = series.start(metric.key)
    change = changes.suspect(numbers, start, watched)
    return change and Suspicion(metric, change, start, nights, numbers)


def confirm(judged: Judged, tonight: Tonight) -> None:
    """Keep as alarms what the rerun confirms."""
    again = numbers_of(trusted(judged.reruns))
    for suspicion in judged.suspicions:
        if suspicion.metric.key in again:
            _confirm(judged.night, suspicion, again[suspicion.metric.key], tonight.watched)


def _confirm(night: history.Night, suspicion: Suspicion, again: list[float], watched: int) -> None:
    key, change = suspicion.metric.key, suspicion.change
    night.rerun[key] = again
    tonight = changes.night_value(again, rare=bool(suspicion.metric.events))
    if not changes.confirmed(suspicion.numbers, suspicion.start, change, tonight, watched):
        suspicion.verdict = "not confirmed by a rerun"
        return
    suspicion.verdict = "confirmed"
    bad, good = suspicion.nights[change.since], suspicion.nights[change.since - 1]
    night.alarms.append(history.Alarm(
        metric=key, kind=change.kind, since=bad.night, before=change.before, after=change.after,
        first_bad=bad.commit, last_good=good.commit))


def remember(judged: Judged) -> str:
    """Append tonight to the history; returns why that was not possible."""
    try:
        history.append(judged.series, judged.night)
        return ""
    except OSError as problem:
        return f"{judged.series.path}: cannot be written: {reason(problem)}; this night is not in the history"


# --- in words --------------------------------------------------------------------------------

def case_of(judged: Judged) -> Case:
    """The verdict on one config: what was not as expected, what changed, and the night's numbers."""
    failed = [failure for result in judged.results for failure in expectations.failures(result, judged.config.expect)]
    unseen = expectations.only_unseen(failed) and not judged.night.alarms
    lines = [*failure_lines(judged), *map(alarm_text, judged.night.alarms)]
    if unseen:
        lines[-1] += f" (the last: {expectations.tried(judged.results[-1])})"
    status = FAIL if lines else PASS
    if judged.status() == trust.UNTRUSTWORTHY:
        reasons = [reason for result in judged.results if result.verdict.status == trust.UNTRUSTWORTHY
                   for reason in result.verdict.reasons]
        status, lines, unseen = ERROR, [*dict.fromkeys(reasons), *lines], False
    first = judged.results[0]
    return Case(judged.config.name, status, lines, notes(judged),
                sum(result.measured_s for result in judged.results), first.engine, first.module, judged.used(), unseen)


def failure_lines(judged: Judged) -> list[str]:
    """What was not as expected, each once: what was found, and in how many of the runs."""
    runs, found = len(judged.results), {}
    for result in judged.results:
        for failure in expectations.failures(result, judged.config.expect):
            found.setdefault((failure.what, failure.violation), []).append(failure)
    if runs == 1:
        return [str(failure) for failures in found.values() for failure in failures]
    return [(f"{what}: {sum(failure.found for failure in failures)} violations" if violation else
             f"{what}, got {', '.join(dict.fromkeys(str(failure.found) for failure in failures))}")
            + f" in {len(failures)} of {runs} runs" for (what, violation), failures in found.items()]


def alarm_text(alarm: history.Alarm) -> str:
    metric = BY_KEY.get(alarm.metric)
    percent = changes.Change(0, alarm.kind, alarm.before, alarm.after).percent
    moved = f"{number(alarm.before)} -> {number(alarm.after)}"
    text = f"{direction(alarm)}, a {alarm.kind}: {metric.said(moved) if metric else moved}"
    text += "" if percent is None else f" ({percent:+.1f} %)"
    text += f" since {alarm.since}"
    if alarm.first_bad or alarm.last_good:
        text += f"; first bad commit {alarm.first_bad or '?'}, last good {alarm.last_good or '?'}"
    return text


def direction(alarm: history.Alarm) -> str:
    metric = BY_KEY.get(alarm.metric)
    if metric is None or not metric.better:
        return "change"
    return "improvement" if (alarm.after < alarm.before) == (metric.better == LESS) else "regression"


def notes(judged: Judged) -> list[str]:
    """How much history there is, its noise, and what was suspected in vain."""
    nights = len(judged.series.nights) + 1
    lines = [count(nights, "night"), noise_note(judged.series, judged.disturbed())]
    if nights == 1 and (others := nights_elsewhere(judged.series)):
        lines.append(f"a new series: {others} nights of this config are of another machine, workload, policy or"
                     " release")
    runs = len(judged.results)
    lines += [f"{reason} ({times} of {runs} runs)" for reason, times in reasons_of(judged.results)
              if reason.startswith(trust.DEGRADED)]
    if judged.disturbed():
        lines.append("no change is looked for in this night, now or later: another load ran beside it")
    for suspicion in judged.suspicions:
        if suspicion.verdict != "confirmed":
            change = suspicion.change
            moved = suspicion.metric.said(f"{number(change.before)} -> {number(change.after)}")
            lines.append(f"suspected: {moved}, {suspicion.verdict}")
    return [line for line in lines if line]


def noise_note(series: history.Series, disturbed: bool) -> str:
    """How much a number differs from night to night, or from when on that is known; "" of a number that is 0.

    disturbed   whether this night counts for nothing, as others in the series may
    """
    numbers = [value for _, value in series.known(NOISE_METRIC)]
    if len(numbers) < changes.MIN_NIGHTS:
        return f"changes are looked for from night {changes.MIN_NIGHTS + len(series.nights) - len(numbers) + disturbed} on"
    middle = sorted(numbers)[len(numbers) // 2]
    if not middle:
        return ""
    return f"noise {100 * changes.noise_floor(numbers) / middle:.1f} % from night to night (removals per s)"


def nights_elsewhere(series: history.Series) -> int:
    """Nights in other series of the same config name."""
    if not series.path.parent.is_dir():
        return 0
    return sum(len(other.nights) for other in history.folder_series(series.path.parent)
               if other.key is not None and other.key.name == series.key.name and other.path != series.path)


def summarize(ran: list[Judged], cases: list[Case]) -> list[str]:
    """The lines that a tired reader reads first."""
    counts = Counter(case.status for case in cases)
    alarms = [alarm for judged in ran for alarm in judged.night.alarms]
    kinds = Counter(map(direction, alarms))
    words = ((PASS, "as expected"), (FAIL, "failed"), (ERROR, "not to be believed"))
    lines = [", ".join(f"{counts[status]} {word}" for status, word in words if counts[status])
             + f"; confirmed changes: {kinds['regression']} worse, {kinds['improvement']} better"]
    if alarms:
        first = min(alarms, key=lambda alarm: alarm.since)
        lines.append(f"first bad: commit {first.first_bad or '?'} in the night of {first.since};"
                     f" last good: commit {first.last_good or '?'}")
    return lines
