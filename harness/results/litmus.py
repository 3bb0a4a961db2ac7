"""What a search of a litmus test comes to: which final states there are, and whether the condition holds.

    exists    some final state satisfies the proposition
    ~exists   none does
    forall    every one does

Counted are final states (memory and locals of all processes) as the search distinguishes them, where
herd7 counts candidate executions.  A state in which processes wait for one another for ever is no final
state; it is counted as a deadlock, of which herd7 says nothing.
"""

import re
from typing import NamedTuple

from harness.experiment.litmus_names import HALTED
from harness.protocol.litmus import conditions
from harness.protocol.litmus.conditions import Constant

HALT_KINDS = ("halted", "halt")  # of explore, of runs
HEADINGS = {"exists": "Allowed", "~exists": "Forbidden", "forall": "Required"}


class State(NamedTuple):
    """A final state: values by name, how often it was reached, and whether the proposition holds of it."""

    values: dict[str, str]
    count: int
    satisfies: bool
    ending: object = None


class Verdict(NamedTuple):
    """A test's final states, best known order; `ok`: the condition as written holds."""

    states: list[State]
    ok: bool
    quantifier: str
    hits: int                    # of the proposition
    misses: int
    deadlocks: int

    @property
    def observation(self) -> str:
        return "Never" if not self.hits else "Sometimes" if self.misses else "Always"

    @property
    def positive(self) -> tuple[int, int]:
        """(states for which the condition as written holds, the others)."""
        return (self.misses, self.hits) if self.quantifier == "~exists" else (self.hits, self.misses)


EXPECTED = re.compile(r"\bResult[^:\n]*:\s*(Never|Sometimes|Always|Deadlock)\b", re.IGNORECASE)
BY_MODEL = re.compile(r"\bunder (sequential consistency|x86-TSO):", re.IGNORECASE)
EXPECTED_TSO = re.compile(r"\bunder x86-TSO:\s*(Never|Sometimes|Always)\b", re.IGNORECASE)
NO_END, DEADLOCK = "Deadlock", "deadlock"        # what a file promises; the invariant
# A file's promise that names no memory model may be of the kernel's own, which allows what no x86 processor does.
WEAKER = ("; a Result that names no model may be of the kernel's (all processors), which allows more; `Result under sequential"
          " consistency: ...; under x86-TSO: ...` says it by model")
SC, TSO = MODELS = "sc", "tso"
MODEL_NAMES = {SC: "sequentially consistent", TSO: "x86-TSO"}


def expected(test, model: str = SC) -> str | None:
    """The observation that the file's comment promises (`Result: Never`), as the kernel's own tests do; by memory model.

    NO_END: no final state passes the filter, as all processes wait or the filter is never true.
    """
    found = model == TSO and EXPECTED_TSO.search(test.text.note) or EXPECTED.search(test.text.note)
    return found[1].capitalize() if found else None


def allowed(test) -> set[str]:
    """The invariants that may be violated as the file has it."""
    return {*test.may_violate, *[DEADLOCK] * (expected(test) == NO_END)}


# By how a run ended without a final state: the invariants that are violated then.
NOT_ENDED = {"deadlock": {DEADLOCK, "livelock"}, "endless": {DEADLOCK, "livelock"}, "halt": {"no_halt"}}


def wrong_ends(test, endings, violated) -> list[str]:
    """What runs that came to no final state break, of what a complete search has found to be `violated` and the file does not expect.

    A halt that no search finds is one too.  A wait that none finds is not: a process can have lost its processor for so long.
    """
    kinds = {ending.kind for ending in endings}.intersection(NOT_ENDED)
    found = set().union(*(NOT_ENDED[kind] & set(violated) for kind in kinds)) - allowed(test)
    return [f"{name} is violated, in explore too" for name in sorted(found)] + [
        "no_halt is violated, which explore does not find"] * ("halt" in kinds and "no_halt" not in violated)


def unexpected(test, verdict: Verdict, violations, model: str = SC) -> list[str]:
    """What is not as the file says: its observation or its condition; an invariant that it does not list."""
    wanted, found = expected(test, model), []
    if wanted == NO_END:
        found += [f"observation {verdict.observation} in {verdict.hits + verdict.misses} final states, the file says"
                  f" {NO_END.upper()}"] * bool(verdict.hits + verdict.misses)
    elif wanted and wanted != verdict.observation:
        weaker = verdict.observation == "Never" and BY_MODEL.search(test.text.note) is None
        found.append(f"observation {verdict.observation}, the file says {wanted}{WEAKER * weaker}")
    elif not wanted and not verdict.ok:
        found.append("the condition does not hold")
    broken = [name for name in violations if name not in allowed(test)]
    found += [f"{name} is violated" for name in broken]
    if broken:
        found[-1] += f", which `must_violate = {{{', '.join([*test.must_violate, *broken])}}};` in the initial state expects"
    return found + [f"{name} is not violated, as it must be" for name in test.must_violate if name not in violations]


def judge(test, endings) -> Verdict:
    """Hold a test's endings (kind, words as Scenario.watched() lists them, count) against its condition."""
    quantifier, proposition = test.text.quantifier or "forall", test.proposition or Constant(True)
    names, found = [name for name, _ in test.watched()], {}
    deadlocks, asks = 0, HALTED in test.shown
    for ending in endings:
        halted = ending.kind in HALT_KINDS
        if ending.kind != "done" and not (asks and halted):
            deadlocks += ending.count if ending.kind == "deadlock" else 0
            continue
        values = dict(zip(names, ending.words)) | ({HALTED: str(int(halted))} if asks else {})
        if test.filter is not None and not conditions.holds(test.filter, test.value_in(values)):
            continue
        satisfies = conditions.holds(proposition, test.value_in(values))
        key = tuple(values.items())
        before = found.get(key)
        found[key] = State(values, ending.count + (before.count if before else 0), satisfies,
                           before.ending if before else ending)
    states = sorted(found.values(), key=lambda state: [test.order_of(value) for value in state.values.values()])
    hits = sum(state.count for state in states if state.satisfies)
    misses = sum(state.count for state in states if not state.satisfies)
    ok = {"exists": hits > 0, "~exists": hits == 0, "forall": misses == 0}[quantifier]
    return Verdict(states, ok, quantifier, hits, misses, deadlocks)
