"""What a search found, held against what the scenario expects: grades, invariants, failures.

    acceptable    may happen                 interesting   may happen, and is what the scenario is about
    forbidden     must not happen            ungraded      has no grade: counts as a failure

A scenario that must violate invariants (a negative control) fails if it does not.
"""

import itertools
from dataclasses import dataclass, replace
from typing import Callable

from harness.experiment.scenario import Grade, Scenario
from harness.protocol.counted_answers import REFUSAL_NAMES

NOT_DONE = {"halted": "no_halt", "deadlock": "deadlock"}      # endings that an invariant speaks of


@dataclass
class Verdict:
    """Grades of the endings in their order (grade, note), and why the scenario fails."""

    grades: list[tuple[str, str]]
    failures: list[str]


def judge(found, explore: Callable) -> Verdict:
    """The verdict on what was found.

    explore   searches a scenario that is derived from this one: explore(scenario, preemptions)
    """
    scenario: Scenario = found.scenario
    serial = serial_endings(scenario, explore) if scenario.serial else set()
    met: set[int] = set()
    grades, failures = [], []
    for ending in found.endings:
        grade, note = _grade(scenario, ending, serial, met)
        grades.append((grade, note))
        if grade in ("ungraded", "forbidden"):
            failures.append(f"{grade} outcome: {describe(scenario, ending)}" + f" ({note})" * bool(note))
    for name in found.violations:
        if name not in scenario.may_violate:
            failures.append(f"{name} is violated")
    if found.complete:
        failures += [f"{name} was to be violated and holds" for name in scenario.must_violate
                     if name not in found.violations]
        failures += [f"expected and never reached: {_row(scenario, row)}" for number, row in enumerate(scenario.grades)
                     if number not in met and row.grade != "forbidden" and row.must and not scenario.serial]
    return Verdict(grades, failures)


def _grade(scenario: Scenario, ending, serial: set, met: set[int]) -> tuple[str, str]:
    if scenario.serial and ending.kind == "done" and _serial_key(scenario, ending) in serial:
        return "acceptable", "as one after the other"
    for number, row in enumerate(scenario.grades):
        if ending.kind == "done" and _matches(scenario, row, ending):
            met.add(number)
            return row.grade, row.note
    if ending.kind != "done":
        # Judged by the invariant of that name.
        return ("interesting" if NOT_DONE[ending.kind] in scenario.may_violate else "forbidden"), ending.kind
    if not scenario.grades and scenario.uses_flows:
        return "acceptable", ""          # of KVM's flows, invariants are what is asked
    return "ungraded", ""


def _matches(scenario: Scenario, row: Grade, ending) -> bool:
    for script, answers in zip(scenario.scripts, ending.answers):
        wanted = row.actors.get(script.actor.name)
        if wanted is not None and not all(map(_answer_matches, wanted, answers)):
            return False
    if row.anyone and row.anyone not in itertools.chain(*ending.answers):
        return False
    words = {name: word for (name, _), word in zip(scenario.watched(), ending.words)}
    return all(_word_matches(wanted, words[name]) for name, wanted in row.words.items())


def _answer_matches(wanted: str, answer: str) -> bool:
    return wanted == "*" or wanted == answer or wanted == "BUSY" and answer in REFUSAL_NAMES


def _word_matches(wanted: str, word: str) -> bool:
    if wanted.endswith("+*"):
        wanted, word = wanted.removesuffix("+*"), word.partition("+")[0]
    return wanted == "*" or wanted == word


def checked_outcomes(scenario: Scenario) -> list[str]:
    """The invariants of outcomes that a scenario asks about."""
    return list(dict.fromkeys(row["breaks"] for row in scenario.file.expect if row.get("breaks")))


def broken_outcomes(found) -> dict[str, list]:
    """Invariants of outcomes, each with the shortest way to an outcome that breaks it."""
    ways: dict[str, list] = {}
    for ending in found.endings:
        for row in found.scenario.grades:
            if row.breaks and ending.kind == "done" and _matches(found.scenario, row, ending):
                ways[row.breaks] = min(ways.get(row.breaks, ending.turns), ending.turns, key=len)
    return ways


def serial_endings(scenario: Scenario, explore: Callable) -> set:
    """Endings of the calls made one after the other, in any order, by any of the actors."""
    keys = set()
    for size in range(1, len(scenario.scripts) + 1):
        for scripts in itertools.combinations(scenario.scripts, size):
            for ending in explore(replace(scenario, scripts=scripts), 0).endings:
                answered = {script.actor.name: answers for script, answers in zip(scripts, ending.answers)}
                busy = frozenset(script.actor.name for script in scenario.scripts if script not in scripts)
                keys.add((frozenset(answered.items()), busy, _plain(ending.words)))
    return keys


def _serial_key(scenario: Scenario, ending) -> tuple:
    """The same of an ending, where a call that was BUSY has not been made at all."""
    busy = frozenset(script.actor.name for script, answers in zip(scenario.scripts, ending.answers)
                     if REFUSAL_NAMES.issuperset(answers))
    answered = {script.actor.name: answers for script, answers in zip(scenario.scripts, ending.answers)
                if script.actor.name not in busy}
    if not answered:
        return "all were busy"
    return frozenset(answered.items()), busy, _plain(ending.words)


def _plain(words) -> tuple[str, ...]:
    """Words without host priority, which a call that was BUSY leaves."""
    return tuple(word.replace("+HP", "") for word in words)


def describe(scenario: Scenario, ending) -> str:
    """An ending in one line."""
    parts = [f"{script.actor.name} {', '.join(answers)}"
             for script, answers in zip(scenario.scripts, ending.answers) if answers]
    parts += [f"{name} = {word}" for (name, _), word in zip(scenario.watched(), ending.words)]
    return "; ".join(parts)


def _row(scenario: Scenario, row: Grade) -> str:
    parts = [f"{name} {', '.join(answers)}" for name, answers in row.actors.items()]
    parts += [f"{name} = {word}" for name, word in row.words.items()]
    return "; ".join(parts) + f" ({row.note})" * bool(row.note)
