"""Tables of what `explore` and `replay` found, for a person."""

from tabulate import tabulate

from harness.reports.text import count, csv_of, laid_out, width, wrap
from harness.experiment.schedule import Access, Schedule
from harness.results.grading import Verdict
from harness.results.matrix import BROKEN, HOLDS, OPEN, Matrix, named

OP_WIDTH, WORD_WIDTH = 22, 27
OP_LEAST, WORD_LEAST = 17, 12    # on a terminal of 80 columns
SHADOWS = ("owner of", "mmu_owner")      # words of the harness's own checks
MANY = 100                       # scenarios: of more, those that passed are counted and not shown


VERBS = {"use": "uses", "control": "uses for control pages", "split": "splits"}      # of users of page pairs


def scenario_report(found, verdict: Verdict) -> str:
    """One scenario: what was searched, the outcomes with their grades, invariants."""
    scenario = found.scenario
    lines = [f"{scenario.name}: module {scenario.module}, primitive {scenario.primitive}"
             + f", x86-TSO{'' if scenario.file.seamcall_drains else ', SEAMCALLs do not drain'}" * scenario.tso
             + f", policy {scenario.policy.name}" * scenario.uses_flows + f", {scenario.file.dpamt}" * bool(scenario.file.dpamt)]
    for script in scenario.scripts:
        verb = (VERBS[script.uses] if script.uses else "touches" if script.actor.kind == "vcpu" else
                "deletes the memory slots of" if script.deletes else "removes")
        what = (f"{verb} {', '.join(map(str, script.flow))}"
                if script.flow is not None else ", ".join(map(str, script.steps)))
        lines.append(wrap(f"  {script.actor.name}: {what}"))
    lines += [wrap(coverage(found)), ""]
    names = [script.actor.name for script in scenario.scripts]
    watched = [name for name, _ in scenario.watched()]
    rows = []
    for ending, (grade, note) in zip(found.endings, verdict.grades):
        answers = ["\n".join(answers) or "-" for answers in ending.answers]
        rows.append([*answers, *ending.words, grade, ending.count, len(ending.turns)])
        if note:
            rows[-1][-3] = f"{grade}"
    rows = [[_narrow(str(cell)) for cell in row] for row in rows]
    counted = "runs" if found.runs else "states"
    lines.append(laid_out([*names, *watched, "grade", counted, "steps"], rows))
    notes = sorted({f"  {grade}: {note}" for grade, note in verdict.grades if note and grade in ("interesting", "forbidden")})
    lines += [wrap(note) for note in notes]
    lines += ["", wrap("invariants: " + ", ".join(
        f"{named(name)} {_verdict(found, name)}".replace(" (", "\xa0(") for name in found.checked)).replace("\xa0", " ")]
    lines += [wrap(f"FAILED: {failure}") for failure in verdict.failures]
    return "\n".join(lines)


def plain(found, verdict: Verdict) -> dict:
    """A scenario for programs."""
    scenario = found.scenario
    actors, watched = [script.actor.name for script in scenario.scripts], [name for name, _ in scenario.watched()]
    return {
        "name": scenario.name, "module": scenario.module, "primitive": scenario.primitive, "policy": scenario.policy.name,
        "complete": found.complete, "how": found.how, "stopped": found.stopped, "states_count": found.states,
        "transitions_count": found.transitions, "bytes_each": round(found.bytes / max(1, found.states)), "runs_count": found.runs, "seconds": found.seconds,
        "outcomes": [{"kind": ending.kind, "answers": dict(zip(actors, map(list, ending.answers))), "words": dict(zip(watched, ending.words)),
                      "grade": grade, "note": note, "count": ending.count, "steps_count": len(ending.turns)}
                     for ending, (grade, note) in zip(found.endings, verdict.grades)],
        "invariants": {named(name): _verdict(found, name) for name in found.checked}, "failures": verdict.failures}


def _verdict(found, name: str) -> str:
    """What a search says of an invariant."""
    if name in found.violations:
        return "VIOLATED (expected)" if name in found.scenario.may_violate else "VIOLATED"
    return "holds" if found.complete else "not violated"


def _narrow(text: str) -> str:
    """Statuses as short as they can be while they differ."""
    return text.replace("TDX_OPERAND_BUSY_HOST_PRIORITY", "BUSY_HOST_PRIORITY").replace("TDX_", "").replace(
        "EXIT_REASON_EPT_VIOLATION", "EPT_VIOLATION").replace("OPERAND_BUSY", "BUSY")


def coverage(found) -> str:
    """How much of everything was looked at."""
    if found.runs:
        return f"not complete: {found.how}; {count(found.transitions, 'step')} in {found.seconds:.2f} s. {found.stopped}".rstrip()
    counts = (f"{count(found.states, 'state')}, {round(found.bytes / max(1, found.states))} B each,"
              f" {count(found.transitions, 'transition')}, depth {found.depth}, {seconds(found.seconds)}")
    counts += "".join(f"; {', '.join(names)} are alike: one order of them" for names in found.alike)
    counts += f"; at most {count(found.buffered, 'store')} in a store buffer" * found.scenario.tso
    if found.complete:
        return f"explored completely: {found.how}; {counts}"
    if found.left_out:
        share = 1000 * found.transitions // (found.transitions + found.left_out) / 10
        counts += f"; {share:g} % of the moves are within the bound"
    elif found.expanded < found.states:
        counts += f"; {found.states - found.expanded} of the states were not expanded"
    return f"NOT complete ({found.stopped}); {counts}"


def seconds(value: float) -> str:
    return f"{value:.2f} s" if value >= 0.1 else f"{1000 * value:.2f} ms"


def summary(results: list) -> str:
    """Many scenarios, a line each: (found, verdict); of more than MANY only those that did not pass, and what the others come to."""
    rows, unseen = [], []
    for found, verdict in results:
        grades = [grade for grade, _ in verdict.grades]
        good = [grades.count(grade) for grade in ("acceptable", "interesting")]
        rows.append([found.scenario.name, found.scenario.module, found.states, len(found.endings),
                     *(number or "" for number in (*good, len(grades) - sum(good))),
                     "FAILED" if verdict.failures else "ok" if found.complete else "part"])
    if len(rows) > MANY:
        unseen, rows = [row for row in rows if row[-1] == "ok"], [row for row in rows if row[-1] != "ok"]
    lines = [laid_out(["scenario", "module", "states", "outcomes", "acceptable", "interesting", "other", ""], rows)] if rows else []
    if unseen:
        outcomes, acceptable, interesting, other = (sum(row[column] or 0 for row in unseen) for column in range(3, 7))
        lines.append(wrap(f"{len(unseen)} that passed are not shown, with {count(outcomes, 'outcome')}: {acceptable} acceptable,"
                          f" {interesting} interesting, {other} other (--format json has each)"))
    return "\n".join(lines)


def passed(results: list) -> str:
    """How many scenarios passed and failed: (found, verdict) of each."""
    failed = sum(bool(verdict.failures) for _, verdict in results)
    part = sum(not found.complete and not verdict.failures for found, verdict in results)
    states = sum(found.states for found, _ in results)
    counted = f"{count(len(results), 'scenario')}" + f", {count(states, 'state')}" * bool(states)
    return f"{counted}: {len(results) - failed - part} passed, {failed} failed" + f", {part} not searched completely" * bool(part)


def kept(found: Matrix) -> str:
    """How many of the scenarios behind a matrix keep all that they were asked for."""
    tally = found.scenarios
    return (f"{count(tally.total(), 'scenario')}: {tally[HOLDS]} keep every invariant, {tally[BROKEN]} do not"
            + f", {tally[OPEN]} not known" * bool(tally[OPEN]))


def step_numbers(scenario, accesses: list[Access]) -> list[int]:
    """By access: the number, from 1, of the step that it begins, or 0: of each turn the first access that is not of the harness's
    own checks, but for the turns before any has begun, in which actors come to their first step."""
    numbers, steps, last = [], 0, -1
    for access in accesses:
        shown = bool(access.bits) and not access.word.startswith(SHADOWS)
        begins = shown and access.turn != last and access.turn >= len(scenario.scripts)
        last = access.turn if shown else last
        steps += begins
        numbers.append(steps if begins else 0)
    return numbers


def trace(schedule: Schedule, accesses: list[Access], everything: bool = False) -> str:
    """A schedule as a table: the contested access of each step, where calls begin and what they answer, what went wrong.

    everything   the accesses between as well, which begin no step and have no number
    """
    rows = []
    for access, number in zip(accesses, step_numbers(schedule.scenario, accesses)):
        if access.word.startswith(SHADOWS):
            continue
        if access.bits:
            if not number and not everything:
                continue
            digits = access.bits // 4
            rows.append([number or "", access.actor, access.text, access.word, f"{access.before:0{digits}x}",
                         f"{access.after:0{digits}x}" if access.after != access.before else "="])
        elif access.begins:
            rows.append(["", access.actor, access.begins if access.begins != access.text else "", f"-> {access.text}", "", ""])
        else:
            rows.append(["", access.actor, access.mark or _narrow(access.status), "" if access.mark else f"<- {access.text}", "", ""])
    head = f"{schedule.scenario.name}, module {schedule.scenario.module}: {schedule.reason}" if schedule.reason else ""
    table = tabulate(rows, headers=["step", "actor", "micro-op", "word", "before", "after"], tablefmt="simple",
                     disable_numparse=True, colalign=("right", "left", "left", "left", "right", "right"),
                     maxcolwidths=[None, None, *_widths(rows), None, None])
    return f"{wrap(head)}\n{table}" if head else table


def _widths(rows: list[list]) -> tuple[int, int]:
    """Of a trace's columns micro-op and word: what the others leave of a line; longer text goes on in the next line."""
    others = 2 * 5 + len("step") + sum(max([len(str(row[column])) for row in rows], default=0) for column in (1, 4, 5))
    room, longest = width() - others, max([len(row[3]) for row in rows], default=0)
    word = max(4, min(longest, WORD_WIDTH, max(WORD_LEAST, room - OP_WIDTH)))
    return max(OP_LEAST, room - word), word


def matrix(found: Matrix, style: str = "table", labels: dict[str, str] | None = None) -> str:
    """Row x invariant: holds, or the steps of the shortest counterexample; what all keep is said once.

    labels   how rows are called, where that is more than their names
    """
    rows = [{found.by: (labels or {}).get(name, name),
             **{named(invariant): found.cell(name, invariant) for invariant in _columns(found, style)}}
            for name in found.names]
    if style == "csv":
        return csv_of(rows)
    cells = [list(row.values()) for row in rows]
    headers = list(rows[0]) if rows else []
    if style == "github":
        return tabulate(cells, headers=headers, tablefmt="github", disable_numparse=True)
    kept = [name for name in found.invariants if name not in found.broken()]
    says = "not seen to be broken" if not found.decided else f"every {found.by} keeps"
    return laid_out(headers, cells) + "\n" + wrap(f"{says}: {', '.join(map(named, kept)) or 'none of these'}")


def _columns(found: Matrix, style: str) -> list[str]:
    """Of a table those that differ; of what another program reads, all."""
    return found.broken() if style == "table" else found.invariants
