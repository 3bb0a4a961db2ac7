"""Tables of what `explore` and `replay` found, for a person; nothing is wider than 100 columns."""

from tabulate import tabulate

from harness.reports.text import WIDTH, count, csv_of, wrap
from harness.experiment.schedule import Access, Schedule
from harness.results.grading import Verdict
from harness.results.matrix import BROKEN, HOLDS, OPEN, Matrix, named

OP_WIDTH, WORD_WIDTH = 22, 27
SCENARIO_WIDTH = 28               # longer names take two lines


VERBS = {"use": "uses", "control": "uses for control pages", "split": "splits"}      # of users of page pairs


def scenario_report(found, verdict: Verdict) -> str:
    """One scenario: what was searched, the outcomes with their grades, invariants."""
    scenario = found.scenario
    lines = [f"{scenario.name}: module {scenario.module}, primitive {scenario.primitive}"
             + f", policy {scenario.policy.name}" * scenario.uses_flows + f", {scenario.file.dpamt}" * scenario.uses_pairs]
    for script in scenario.scripts:
        verb = VERBS[script.uses] if script.uses else "touches" if script.actor.kind == "vcpu" else "removes"
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
    lines.append(tabulate(rows, headers=[*names, *watched, "grade", counted, "steps"], tablefmt="simple",
                          disable_numparse=True))
    notes = sorted({f"  {grade}: {note}" for grade, note in verdict.grades if note and grade in ("interesting", "forbidden")})
    lines += [wrap(note) for note in notes]
    lines += ["", wrap("invariants: " + ", ".join(
        f"{named(name)} {_verdict(found, name)}" for name in found.checked))]
    lines += [wrap(f"FAILED: {failure}") for failure in verdict.failures]
    return "\n".join(lines)


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
        return f"not complete: {found.how}; {found.transitions} steps in {found.seconds:.2f} s. {found.stopped}".rstrip()
    counts = (f"{found.states} states, {round(found.bytes / max(1, found.states))} B each,"
              f" {found.transitions} transitions, depth {found.depth}, {seconds(found.seconds)}")
    counts += "".join(f"; {', '.join(names)} are alike: one order of them" for names in found.alike)
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
    """Many scenarios, a line each: (found, verdict)."""
    rows = []
    for found, verdict in results:
        grades = [grade for grade, _ in verdict.grades]
        good = [grades.count(grade) for grade in ("acceptable", "interesting")]
        rows.append([found.scenario.name, found.scenario.module, found.states, len(found.endings),
                     *(number or "" for number in (*good, len(grades) - sum(good))),
                     "FAILED" if verdict.failures else "ok" if found.complete else "part"])
    return tabulate(rows, headers=["scenario", "module", "states", "outcomes", "acceptable", "interesting",
                                   "other", ""], tablefmt="simple", disable_numparse=True,
                    maxcolwidths=[SCENARIO_WIDTH] + [None] * 7, break_long_words=False)


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


def trace(schedule: Schedule, accesses: list[Access], everything: bool = False) -> str:
    """A schedule as a table: the contested access of each step, the answers of calls, what went wrong."""
    rows, step, last = [], 0, -1
    for access in accesses:
        if access.word.startswith("owner of") or access.word.startswith("mmu_owner"):
            continue
        if access.bits:
            first = access.turn != last
            last = access.turn
            if not first and not everything or access.turn < len(schedule.scenario.scripts) and not everything:
                continue
            step += 1
            digits = access.bits // 4
            rows.append([step, access.actor, access.text, access.word, f"{access.before:0{digits}x}",
                         f"{access.after:0{digits}x}" if access.after != access.before else "="])
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
    word = min(max([len(row[3]) for row in rows], default=0), WORD_WIDTH)
    return max(OP_WIDTH, WIDTH - others - word), max(word, 4)


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
    parts = [tabulate([[row[column] for column in columns] for row in cells],
                      headers=[headers[column] for column in columns], tablefmt="simple", disable_numparse=True)
             for columns in _fitting(headers, cells)]
    kept = [name for name in found.invariants if name not in found.broken()]
    says = "not seen to be broken" if not found.decided else f"every {found.by} keeps"
    return "\n\n".join(parts) + "\n" + wrap(f"{says}: {', '.join(map(named, kept)) or 'none of these'}")


def _columns(found: Matrix, style: str) -> list[str]:
    """Of a table those that differ; of what another program reads, all."""
    return found.broken() if style == "table" else found.invariants


def _fitting(headers: list[str], cells: list[list]) -> list[list[int]]:
    """Columns by table, so that none is too wide; the first stands in each."""
    widths = [max(len(str(row[column])) for row in [headers, *cells]) for column in range(len(headers))]
    tables, left = [[0]], WIDTH - widths[0] if widths else 0
    for column, width in enumerate(widths[1:], 1):
        if left < width + 2 and len(tables[-1]) > 1:
            tables.append([0])
            left = WIDTH - widths[0]
        tables[-1].append(column)
        left -= width + 2
    return tables
