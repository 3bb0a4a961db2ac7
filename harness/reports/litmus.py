"""A litmus test's verdict as herd7 prints it, and a histogram of real runs as litmus7 does."""

import numpy as np

from kernels.words import STATUS_CLASS, STATUSES, status_name, unsigned
from harness.reports.text import count, number, table_of, wrap
from harness.results.litmus import HEADINGS, MODEL_NAMES, SC, Verdict, allowed

KNOWN = {word & STATUS_CLASS for word in STATUSES.values()} - {0}
QUANTILES = (("least, ns", 0), ("median", 0.5), ("99 %", 0.99), ("most", 1))


def spelled(test, values: dict[str, str]) -> str:
    """`0:r0=1; 0:r1=x; [x]=2;`, registers first; addresses of words and what can only be a status by their names."""
    return " ".join(f"{name if ':' in name else f'[{name}]'}={named(test, value)};" for name, value in values.items())


def named(test, value: str) -> str:
    """What is a status of the module by its name, but for 0, and addresses by theirs; other numbers stay numbers."""
    word = int(value) if value.removeprefix("-").isdigit() else 0
    if test.of_td and word and unsigned(word) & STATUS_CLASS in KNOWN:
        return status_name(word)
    return test.names_of_addresses.get(word, value)


def condition(test) -> str:
    """The condition as it stands in the file, on one line."""
    return f"{test.text.quantifier or 'forall'} {' '.join(test.text.condition.text.split()) or '(true)'}"


def as_herd(test, verdict: Verdict, seconds: float) -> str:
    """herd7's report."""
    positive, negative = verdict.positive
    lines = [f"Test {test.name} {HEADINGS[verdict.quantifier]}", f"States {len(verdict.states)}",
             *(spelled(test, state.values) for state in verdict.states), "Ok" if verdict.ok else "No", "Witnesses",
             f"Positive: {positive} Negative: {negative}", f"Condition {condition(test)}",
             f"Observation {test.name} {verdict.observation} {verdict.hits} {verdict.misses}",
             f"Time {test.name} {seconds:.2f}"]
    return "\n".join(lines)


def plain(test, verdict: Verdict, model: str, seconds: float) -> dict:
    """A test's verdict for programs."""
    return {"name": test.name, "module": test.module, "memory_model": model, "condition": condition(test), "ok": verdict.ok,
            "observation": verdict.observation, "hits_count": verdict.hits, "misses_count": verdict.misses, "seconds": seconds,
            "states": [{"values": {name: named(test, value) for name, value in state.values.items()}, "count": state.count,
                        "satisfies": bool(state.satisfies)} for state in verdict.states]}


def besides(test, verdict: Verdict, found, unexpected: list[str], model: str = SC, never=()) -> str:
    """What herd7 does not say: how far the search went, invariants, deadlocks, and whether all is as the file says.

    never   calls of the module that succeed in no interleaving (litmus_refused.Refused)
    """
    lines = [f"Searched: {found.how}, {count(found.states, 'state')}, {MODEL_NAMES[model]}, module {test.module}"
             + ("" if found.complete else f"; NOT complete ({found.stopped})")]
    lines += test.remarks
    if verdict.deadlocks:
        lines.append(f"Deadlock: {count(verdict.deadlocks, 'state')} in which processes wait for one another, not among the states above")
    if order := getattr(found, "lock_order", ""):
        lines.append(f"Lock order: {order}")
    lines += [f"Never succeeds: {_never(each)}" for each in never]
    violated = [f"{name} ({'expected' if name in allowed(test) else 'VIOLATED'})" for name in found.violations]
    lines.append(f"Invariants: {', '.join(violated) or 'all hold'}")
    lines.append("As the file says" if not unexpected else f"NOT as the file says: {'; '.join(unexpected)}")
    return "\n".join(map(wrap, lines))


def _never(refused) -> str:
    """`P0's and P1's tdh_mem_page_aug (lines 12, 14): TDX_EPT_WALK_FAILED|RCX`."""
    who = " and ".join(f"{process}'s" for process in refused.processes)
    where = f"line{'s' * (len(refused.lines) > 1)} {', '.join(map(str, refused.lines))}"
    return f"{who} {refused.call} ({where}): {', '.join(refused.answers)}"


def as_litmus(test, verdict: Verdict, impossible: set[tuple], seconds: float) -> str:
    """litmus7's report of real runs; `impossible`: values of the states that the search does not have."""
    ordered = sorted(verdict.states, key=lambda state: [test.order_of(value) for value in reversed(state.values.values())])
    lines = [f"Test {test.name} {HEADINGS[verdict.quantifier]}", f"Histogram ({len(ordered)} states)"]
    width = max((len(str(state.count)) for state in ordered), default=0) + 1
    for state in ordered:
        mark = "  <- not among the outcomes that explore finds" * (tuple(state.values.values()) in impossible)
        lines.append(f"{state.count:<{width}}{'*' if state.satisfies else ':'}>{spelled(test, state.values)}{mark}")
    positive, negative = verdict.positive
    lines += ["Ok" if verdict.ok else "No", "", "Witnesses", f"Positive: {positive}, Negative: {negative}",
              f"Condition {condition(test)} is {'validated' if verdict.ok else 'NOT validated'}",
              f"Observation {test.name} {verdict.observation} {verdict.hits} {verdict.misses}",
              f"Time {test.name} {seconds:.2f}"]
    return "\n".join(lines)


def beside_runs(test, ran, verdict: Verdict, impossible: set[tuple], wrong: list[str], known, model: str, seed: int) -> str:
    """What litmus7 does not say: how it was run, deadlocks, and how it compares with the search (`known`; `wrong`: what runs without a final state break)."""
    processors = ", ".join(map(str, ran.processors))
    lines = [f"Ran: {count(ran.runs, 'run')} of {of_processes(test)} on processors {processors}, seed {seed},"
             f" {number(ran.runs / ran.seconds)} runs a second", *test.remarks]
    if ran.crowded:
        lines.append(f"DEGRADED: {of_processes(test)} share {count(len(ran.processors), 'processor')}: most orders need two at once")
    lines += _not_ended(ran.endings)
    lines += [f"FAILED: {each}" for each in wrong]
    if ran.given_up:
        lines.append("Given up there: so many runs did not end")
    if known is None:
        lines.append(f"Not held against explore ({MODEL_NAMES[model]}): that search was not complete")
    elif impossible:
        lines.append(f"NOT as explore finds ({MODEL_NAMES[model]}): {len(impossible)} of {count(len(verdict.states), 'state')}")
    else:
        lines.append(f"As explore finds ({MODEL_NAMES[model]}): {len(verdict.states)} of its {count(len(known.states), 'state')} {were(verdict)} seen")
    return "\n".join(map(wrap, lines))


def in_virtual_time(test, ran, verdict: Verdict, wrong: list[str], known, seed: int, config) -> str:
    """How long the processes of simulated runs took, and what does not end."""
    rows = [{head: value if head == "process" else number(value) for head, value in row.items()} for row in times_in_virtual_time(test, ran)]
    lines = [table_of(rows, "table")] * bool(rows)
    given = sorted(key for key in config.machine.model_fields_set if key != "distribution")
    lines.append(wrap(f"Simulated: {count(ran.runs, 'run')} of {of_processes(test)}, a processor each, begun up to 200 ns apart, seed {seed};"
                      f" costs of the machine are assumptions{f', but for {chr(44).join(given)}' * bool(given)} (docs/virtual_time.md)"))
    lines += map(wrap, [*_not_ended(ran.endings), *(f"FAILED: {each}" for each in wrong)])
    if ran.given_up:
        lines.append("Given up there: so many runs did not end")
    lines.append(wrap("Not held against explore: that search was not complete" if known is None else
                      f"Of the {count(len(known.states), 'state')} that explore finds (sequentially consistent) {len(verdict.states)} {were(verdict)} seen"))
    return "\n".join(lines)


def of_processes(test) -> str:
    """`1 process`, `2 processes`."""
    return f"{len(test.scripts)} process{'es' * (len(test.scripts) != 1)}"


def were(verdict: Verdict) -> str:
    return "was" if len(verdict.states) == 1 else "were"


def times_in_virtual_time(test, ran) -> list[dict]:
    """How long each process and all of them took, in ns: least, median and so on."""
    took = [(script.actor.name, ran.took_ns[:, place]) for place, script in enumerate(test.scripts)] + [("all", ran.whole_ns)]
    return [{"process": name, **{head: float(np.quantile(each, share)) for head, share in QUANTILES}} for name, each in took if len(each)]


def _not_ended(endings) -> list[str]:
    """What to say of runs that came to no final state."""
    said = []
    for kind, meaning in (("deadlock", "processes waited for one another"), ("halt", "a check of the module failed"),
                          ("endless", "a process went round for ever")):
        if times := sum(ending.count for ending in endings if ending.kind == kind):
            said.append(f"{kind.capitalize()}: in {count(times, 'run')} {meaning}, not among the states above")
    return said
