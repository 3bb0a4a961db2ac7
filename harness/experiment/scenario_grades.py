"""[[expect]]: how the outcomes of a scenario are graded, with what no outcome can be refused.

A mistake is a KeyProblem.
"""

import functools
from dataclasses import replace
from typing import NamedTuple

from harness.errors import meant, nearest
from harness.experiment.config import KeyProblem
from harness.experiment.scenario import GRADES, OUTCOME_INVARIANTS, Grade, Scenario, Script, calls_of
from harness.experiment.scenario_keys import File
from harness.protocol.assemble import Program
from harness.protocol.flows.script import Step
from harness.protocol.liveness import all_successors
from harness.protocol.releases import BY_NAME as RELEASES, between, suggestion
from harness.protocol.seamcalls import TD_EXIT, entry_label
from kernels.ops import Op, Register as R
from kernels.words import STATE

ANY_ANSWER = ("*", "BUSY", "-")          # anything; busy in some way; the call was not made
# What a row says besides actors and words, and what it says where it does not.
DEFAULTS = {"grade": None, "note": "", "module": None, "must": True, "anyone": "", "breaks": ""}


class Outcomes(NamedTuple):
    """What can be said of the outcomes of a scenario."""

    scripts: dict[str, Script]           # by actor
    words: list[str]
    answers: set[str]                    # of any call


def graded(scenario: Scenario, rows: list[dict]) -> Scenario:
    """The scenario with its [[expect]] rows."""
    if scenario.uses_flows:
        answers = {answer.name for answer in scenario.program.answers}
    else:
        answers = set().union(*(answers_of_step(scenario, step) for script in scenario.scripts for step in script.steps
                                if step.call != TD_EXIT))
    outcomes = Outcomes({script.actor.name: script for script in scenario.scripts},
                        [name for name, _ in scenario.watched()], answers)
    grades = [_grade(scenario, outcomes, f"expect[{number}]", row) for number, row in enumerate(rows)]
    return replace(scenario, grades=tuple(grade for grade in grades if grade))


def _grade(scenario: Scenario, outcomes: Outcomes, key: str, row: dict) -> Grade | None:
    """One row; None if it is about other releases, or about calls that this pair does not have."""
    given = DEFAULTS | {name: row[name] for name in DEFAULTS if name in row}
    modules = _checked(key, given, scenario)
    anyone, listed = given["anyone"], scenario.module in modules
    here = listed or bool(given["breaks"])           # of a known defect, every release is looked at
    if anyone and anyone not in outcomes.answers:
        if scenario.serial:
            return None
        raise KeyProblem(f"{key}.anyone", anyone, f"no call answers that{nearest(anyone, outcomes.answers)}")
    actors, words = {}, {}
    for name, value in row.items():
        place = f"{key}.{name}"
        if name in outcomes.words:
            words[name] = _word(place, name, value)
        elif name in outcomes.scripts and here:          # (another release may answer what this one does not)
            try:
                actors[name] = _answers(place, value, outcomes.scripts[name], scenario)
            except KeyProblem:
                if listed:
                    raise
                return None                              # a release without the defect need not know its answer
        elif name not in outcomes.scripts and name not in DEFAULTS:
            known = [*outcomes.scripts, *outcomes.words, *DEFAULTS]
            raise KeyProblem(place, value, f"no outcome has this; {meant(name, known)}known: {', '.join(known)}")
    grade = given["grade"] or ("interesting" if listed else "forbidden")
    return Grade(actors, words, grade, given["note"], given["must"], anyone, given["breaks"]) if here else None


def _checked(key: str, given: dict, scenario: Scenario) -> list[str]:
    """The releases that a row is about; what it says besides must be what it may be."""
    modules = [scenario.module] if given["module"] is None else given["module"]
    modules = [modules] if isinstance(modules, str) else modules
    breaks = given["breaks"]
    if breaks and breaks not in OUTCOME_INVARIANTS:
        raise KeyProblem(f"{key}.breaks", breaks, f"is no invariant of outcomes; {meant(breaks, OUTCOME_INVARIANTS)}known:"
                         f" {', '.join(OUTCOME_INVARIANTS)}")
    if breaks and given["grade"] is not None:
        raise KeyProblem(f"{key}.grade", given["grade"], "leave it out beside breaks: interesting in the releases of"
                         " the row, forbidden in others")
    if not isinstance(modules, list):
        raise KeyProblem(f"{key}.module", modules, f"must be of {', '.join(RELEASES)}")
    if not isinstance(given["must"], bool):
        raise KeyProblem(f"{key}.must", given["must"], "must be true or false")
    if not breaks and given["grade"] not in GRADES:
        raise KeyProblem(f"{key}.grade", given["grade"],
                         f"{meant(given['grade'], GRADES)}must be one of {', '.join(GRADES)}")
    return [name for module in modules for name in check_release(f"{key}.module", module, scenario.file)]


def check_release(key: str, name, file: File) -> tuple[str, ...]:
    """Releases that the project knows ("A", or "A to B"), or one that the file itself makes.  Raises KeyProblem."""
    own = tuple(module for module in file.module if module not in RELEASES)
    names = (name,) if name in own else between(name)
    for each in names:
        if each not in (*RELEASES, *own):
            raise KeyProblem(key, name, f"{suggestion(str(each))}must be of {', '.join((*RELEASES, *own))}, or 'A to B'")
    return names


def _answers(key: str, value, script: Script, scenario: Scenario) -> tuple[str, ...]:
    """What the calls of an actor have answered."""
    given = value if isinstance(value, list) else [value]
    steps = [step for step in script.steps if step.call != TD_EXIT]
    if len(given) != len(steps):
        raise KeyProblem(key, value, f"must be {len(steps)} answers, one for each call")
    for name, step in zip(given, steps):
        can = sorted(answers_of_step(scenario, step))
        if name not in can and name not in ANY_ANSWER:
            raise KeyProblem(key, name, f"{step.call} never answers that; {meant(name, can)}it answers {', '.join(can)}; or write"
                             " *, BUSY, - (not made)")
    return tuple(given)


def _word(key: str, name: str, value) -> str:
    """What a word spells in the end."""
    if not name.startswith("page "):
        return f"{value:#x}" if isinstance(value, int) else str(value)
    state, *bits = value.split("+") if isinstance(value, str) else ("",)
    if state not in (*STATE, "*") or any(bit not in ("EL", "HP", "*") for bit in bits):
        raise KeyProblem(key, value, f"{meant(state, STATE)}must be a state, with +EL, +HP or +* behind it")
    return value


def answers_of_step(scenario: Scenario, step: Step) -> frozenset[str]:
    """What a call of a script can answer."""
    row = calls_of(scenario.module).get(step.call)
    return _answers_of_rows(scenario.program, entry_label(row, step.level) if row else str(step))


@functools.lru_cache(maxsize=4096)
def _answers_of_rows(program: Program, entry: str) -> frozenset[str]:
    """The answers of all rows between a call's entry and its return."""
    listing, behind = program.listing, all_successors(program)
    seen, waiting, found = set(), [program.labels[entry]], set()
    while waiting:
        number = waiting.pop()
        if number in seen:
            continue
        seen.add(number)
        row = listing[number]
        if row.op == Op.ANSWER:
            found.add(program.answers[row.mask].name)
        if row.op != Op.GO or row.register != R.LINK:
            waiting += behind[number]
    return frozenset(found)
