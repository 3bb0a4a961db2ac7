"""A litmus test's verdict as herd7 prints it, and a histogram of real runs as litmus7 does."""

from kernels.words import status_name
from harness.reports.text import wrap
from harness.results.litmus import HEADINGS, Verdict


def spelled(values: dict[str, str]) -> str:
    """`0:r0=1; [x]=2;`, registers first; what can only be a status by its name."""
    return " ".join(f"{name if ':' in name else f'[{name}]'}={_named(value)};" for name, value in values.items())


def _named(value: str) -> str:
    """A status has its highest bit set; small numbers stay numbers."""
    word = int(value) if value.removeprefix("-").isdigit() else 0
    return status_name(word) if word < -(1 << 62) else value


def condition(test) -> str:
    """The condition as it stands in the file, on one line."""
    return f"{test.text.quantifier or 'forall'} {' '.join(test.text.condition.text.split()) or '(true)'}"


def as_herd(test, verdict: Verdict, seconds: float) -> str:
    """herd7's report."""
    positive, negative = verdict.positive
    lines = [f"Test {test.name} {HEADINGS[verdict.quantifier]}", f"States {len(verdict.states)}",
             *(spelled(state.values) for state in verdict.states), "Ok" if verdict.ok else "No", "Witnesses",
             f"Positive: {positive} Negative: {negative}", f"Condition {condition(test)}",
             f"Observation {test.name} {verdict.observation} {verdict.hits} {verdict.misses}",
             f"Time {test.name} {seconds:.2f}"]
    return "\n".join(lines)


def besides(test, verdict: Verdict, found, unexpected: list[str]) -> str:
    """What herd7 does not say: how far the search went, invariants, deadlocks, and whether all is as the file says."""
    lines = [f"Searched: {found.how}, {found.states} states, sequentially consistent, module {test.module}"
             + ("" if found.complete else f"; NOT complete ({found.stopped})")]
    if verdict.deadlocks:
        lines.append(f"Deadlock: {verdict.deadlocks} state{'s' * (verdict.deadlocks != 1)} in which processes wait for one"
                     " another; they are not among the states above")
    violated = [f"{name} ({'expected' if name in test.may_violate else 'VIOLATED'})" for name in found.violations]
    lines.append(f"Invariants: {', '.join(violated) or 'all hold'}")
    lines.append("As the file says" if not unexpected else f"NOT as the file says: {'; '.join(unexpected)}")
    return "\n".join(map(wrap, lines))


def as_litmus(test, verdict: Verdict, impossible: set[tuple], seconds: float) -> str:
    """litmus7's report of real runs; `impossible`: values of the states that the search does not have."""
    ordered = sorted(verdict.states, key=lambda state: [test.order_of(value) for value in reversed(state.values.values())])
    lines = [f"Test {test.name} {HEADINGS[verdict.quantifier]}", f"Histogram ({len(ordered)} states)"]
    for state in ordered:
        mark = "  <- not among the outcomes that explore finds" * (tuple(state.values.values()) in impossible)
        lines.append(f"{state.count:<6}{'*' if state.satisfies else ':'}>{spelled(state.values)}{mark}")
    positive, negative = verdict.positive
    lines += ["Ok" if verdict.ok else "No", "", "Witnesses", f"Positive: {positive}, Negative: {negative}",
              f"Condition {condition(test)} is {'validated' if verdict.ok else 'NOT validated'}",
              f"Observation {test.name} {verdict.observation} {verdict.hits} {verdict.misses}",
              f"Time {test.name} {seconds:.2f}"]
    return "\n".join(lines)
