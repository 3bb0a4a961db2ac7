"""`run --check-outcomes`: could the answers of a run come out of any interleaving at all?

What a run has met is every (call, answer) of its SEAMCALLs and TDCALLs, and what the SEPT entries spell
when it has ended.  It is held against all that any run of its config can come to, whatever the number of
actors and however long (harness/engines/thread_modular/).  What is not among that cannot be: the run, or the
harness, does what its own rows do not.

So no correct run fails.  What a wrong answer is that this does not find: one that is possible at another
time, or for another page.  A run that has violated what the bound takes for granted is not judged; it has
failed already.
"""

from harness.engines.thread_modular.bound import TAKEN_FOR_GRANTED, bound
from harness.experiment.config import Config
from harness.protocol.counted_answers import REFUSALS
from harness.results.schema import Result


def impossible(result: Result, config: Config) -> list[str]:
    """What a run has met and no interleaving comes to, as sentences."""
    can = bound(config)
    return ([f"outcome {call}: {answer}: no interleaving gives it" for call, answer in sorted(answered(result) - can.answers)]
            + [f"outcome SEPT entry: {name}: no interleaving gives it"
               for name in sorted(set(result.entries or ()) - can.entries)])


def why_not(result: Result) -> str:
    """Why a run is not judged, as a sentence; "" if it is."""
    broken = [f"{name} {count}" for name in TAKEN_FOR_GRANTED if (count := result.invariants.get(name))]
    return f"outcomes are not judged, as they take for granted what was violated: {', '.join(broken)}" if broken else ""


def answered(result: Result) -> set[tuple[str, str]]:
    """(call, answer) of all that a run's calls were answered."""
    seen = set()
    for call, counts in result.seamcalls.items():
        seen |= {(call, "TDX_SUCCESS")} if counts.success else set()
        seen |= {(call, REFUSALS[operand].name) for operand, count in counts.busy_by_operand.items() if count}
        seen |= {(call, name) for name, count in counts.other_by_status.items() if count}
    return seen
