"""Policies or releases side by side: which invariants each keeps in some scenarios, or how short a counterexample is."""

from collections import Counter
from dataclasses import dataclass, field

HOLDS, OPEN, UNASKED = "holds", "?", "-"        # cells that are no number: see Matrix.cell
BROKEN = "broken"                                # of a scenario: it violates something


def named(invariant: str) -> str:
    """An invariant as what it asks for, so that it can be said to hold."""
    return f"no_{invariant}" if invariant in ("deadlock", "livelock", "starvation") else invariant


@dataclass
class Matrix:
    """Rows x invariants: the steps of the shortest counterexample in any scenario."""

    by: str                                      # what a row is: "policy", "module"
    names: list[str]
    steps: dict[tuple[str, str], int] = field(default_factory=dict)      # (row, invariant)
    open: Counter = field(default_factory=Counter)                       # (row, invariant): scenarios that may tell yet
    scenarios: Counter = field(default_factory=Counter)                  # HOLDS, BROKEN, OPEN: so many scenarios
    unfinished: list[str] = field(default_factory=list)                  # rows with scenarios that were not searched to an end, when it was interrupted

    def ask(self, name: str, invariants) -> None:
        """A scenario of this row will be searched for these."""
        self.scenarios[OPEN] += 1
        self.open.update((name, invariant) for invariant in invariants)

    def decide(self, name: str, asked, decided, ways: dict[str, list]) -> None:
        """What the search has come to: the invariants that it has decided, and the ways to what is violated."""
        self.scenarios[OPEN] -= 1
        self.scenarios[BROKEN if ways else HOLDS if set(asked) <= set(decided) else OPEN] += 1
        self.open.subtract((name, invariant) for invariant in decided)
        for invariant, way in ways.items():
            self.steps[name, invariant] = min(len(way), self.steps.get((name, invariant), len(way)))

    @property
    def invariants(self) -> list[str]:
        return list(dict.fromkeys(invariant for _, invariant in self.open))

    @property
    def decided(self) -> bool:
        """Whether nothing is left to be searched."""
        return not any(self.open.values())

    def cell(self, name: str, invariant: str) -> int | str:
        """Steps, or that it holds, or that nobody knows (not all was searched), or that nobody has asked."""
        if (name, invariant) in self.steps:
            return self.steps[name, invariant]
        if (name, invariant) not in self.open:
            return UNASKED
        return OPEN if self.open[name, invariant] else HOLDS

    def broken(self) -> list[str]:
        """Invariants that some row breaks."""
        return [invariant for invariant in self.invariants if any((name, invariant) in self.steps for name in self.names)]

    def keeping(self, required: list[str]) -> list[str]:
        """The rows that are known to keep all of these that they were asked for, and were asked for one."""
        return [name for name in self.names
                if {HOLDS} <= {self.cell(name, each) for each in required} <= {HOLDS, UNASKED}]

    def breaking(self, required: list[str]) -> list[str]:
        """The rows that break one of these."""
        return [name for name in self.names if any((name, each) in self.steps for each in required)]

    def unknown(self, required: list[str]) -> list[str]:
        """The rows of which it is not known whether they keep one of these."""
        return [name for name in self.names if any(self.cell(name, each) == OPEN for each in required)]

    def as_json(self) -> list[dict]:
        """A row each: whether each invariant holds (null: not known), and the steps of a counterexample."""
        known = {HOLDS: True, OPEN: None}
        return [{self.by: name, "invariants": {
            named(invariant): {"holds": known.get(cell, False), "steps": cell if isinstance(cell, int) else None}
            for invariant in self.invariants for cell in [self.cell(name, invariant)] if cell != UNASKED}}
            for name in self.names]
