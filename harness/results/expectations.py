"""Whether a result is what its config expects: invariants, and the bounds of [expect].

A bound names a number by its dotted key in result.json, such as `seamcalls.tdh_mem_track.busy`;
`bugs.total`, `guest_deaths.total` and `invariants.total` are sums.
"""

from typing import NamedTuple

from pydantic import BaseModel

from harness.errors import UsageError, nearest
from harness.protocol.guest_policies import KINDS
from harness.results.schema import Result

TOTALS = ("bugs.total", "guest_deaths.total", "invariants.total")
BY_CAUSE = ("bugs", "guest_deaths")      # what did not occur is left out there
TRIED = ("removals", "installs", "accepts", "touches", "builds", "splits")       # counters that say how much was tried


class Failure(NamedTuple):
    """An invariant that was violated, or a bound that was not kept, and the number that was found.

    unseen   too little of what was to occur: a lower bound that was not reached
    """

    what: str
    found: int | float | None
    violation: bool
    unseen: bool = False

    def __str__(self) -> str:
        return f"{self.what}: {self.found} violations" if self.violation else f"{self.what}, got {self.found}"


def failures(result: Result, expect: dict) -> list[Failure]:
    """What is not as it must be.

    expect   dotted key -> Bound; an invariant that has a bound is judged by that alone, and an empty
             bound asks nothing
    """
    failed = [Failure(f"invariant {name}", count, True) for name, count in result.invariants.items()
              if count and f"invariants.{name}" not in expect and "invariants.total" not in expect]
    for key, bound in expect.items():
        value = lookup(result, key)
        wanted = " and ".join(f"at {word} {limit:g}" for word, limit in (("least", bound.min), ("most", bound.max))
                              if limit is not None)
        if not wanted:
            continue                     # whatever it is, even if it could not be checked
        if value is None or not (bound.min is None or value >= bound.min) \
                or not (bound.max is None or value <= bound.max):
            failed.append(Failure(f"expected {key} {wanted}", value, False,
                                  value is not None and bound.min is not None and value < bound.min))
    return failed


def only_unseen(failed: list[Failure]) -> bool:
    """Whether nothing is wrong but that something did not occur."""
    return bool(failed) and all(failure.unseen for failure in failed)


def tried(result: Result) -> str:
    """How much there was in which it could have occurred: `353 removals, 12 installs, run of 0.5 s`."""
    counts = [f"{count} {name}" for name in TRIED if (count := result.counters.get(name))]
    runs = f"{result.provoked.runs} runs of {result.provoked.measured_s:.3g} s together" if result.provoked \
        else f"a run of {result.measured_s:.3g} s"
    load = result.conditions.other_load_share if result.conditions else None
    others = [f"another load took {100 * load:.0f} %"] if load else []
    return ", ".join([*counts, runs, *others])


def lookup(result: Result, key: str) -> int | float | None:
    """A number of a result by its dotted key; None if there is none, 0 for a cause that did not occur."""
    if key in TOTALS:
        return sum(count or 0 for count in getattr(result, key.split(".")[0]).values())
    table, dot, cause = key.partition(".")
    if dot and table in BY_CAUSE:
        return getattr(result, table).get(cause, 0)
    call, found, status = key.removeprefix("seamcalls.").partition(".other_by_status.")
    if found and call in result.seamcalls:
        return result.seamcalls[call].other_by_status.get(status, 0)
    value, parts = result, key.split(".")
    while parts:
        table = {name: inner for name, inner in value if name in value.model_fields_set} \
            if isinstance(value, BaseModel) else value
        if not isinstance(table, dict):
            return None
        # Keys of a result may hold dots themselves (counters).
        taken = next((taken for taken in range(len(parts), 0, -1) if ".".join(parts[:taken]) in table), None)
        if taken is None:
            return 0 if len(parts) == 1 and not table else None
        value, parts = table[".".join(parts[:taken])], parts[taken:]
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def check_expectations(plan, example: Result) -> None:
    """Refuse an [expect] key that no result of this plan can have.  Raises UsageError.

    example   any result of the plan
    """
    known = {*_keys(example.document()), *TOTALS, *(f"guest_deaths.{kind}" for kind in KINDS)}
    for call in plan.program.calls:
        known |= {f"bugs.{call}: {answer.name}" for answer in plan.program.answers}
        known |= {f"seamcalls.{call}.other_by_status.{answer.name}" for answer in plan.program.answers}
    for key in plan.config.expect:
        if key not in known:
            raise UsageError(f"{plan.config.name}: expect.{key}: no result has this number{nearest(key, known)}")


def _keys(value, prefix=""):
    """Dotted keys of all numbers (and nulls) in a result."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _keys(inner, f"{prefix}{key}.")
    elif not isinstance(value, str | list | bool):
        yield prefix.removesuffix(".")
