"""A way to an outcome for other eyes than a terminal's: one self-contained page, or the trace format of Chrome and Perfetto.

    page(schedule, accesses)          HTML: a lane per actor, calls as spans, words as they change; keys to step
    trace_events(schedule, accesses)  JSON for chrome://tracing and https://ui.perfetto.dev: an access lasts a microsecond

The page needs no network and no script from elsewhere; everything from files and programs is escaped (autoescape).
"""

from typing import NamedTuple

from harness.experiment.schedule import Access, Schedule
from harness.reports.chrome_trace import Lane, Span, written
from harness.reports.exploration import SHADOWS, step_numbers
from harness.reports.templates import filled
from kernels.words import spell_entry

TEMPLATE = "way.html.jinja"
ONE_PATTERN, REPEATED = 2, 16    # accesses of what is repeated, and how many of them are folded
ACCESS_NS = 1000                 # how long an access lasts in a trace


class Step(NamedTuple):
    """An access, or the end of a call: what the page and the trace show of it.

    changes   whether the word became another
    call      the call of the module that it is a part of
    step      the number of the step that it begins, as the text has it, or 0
    ends      the answer of a call that ends here, or what else is marked
    """

    number: int
    actor: str
    text: str
    word: str
    before: str
    after: str
    changes: bool
    ends: str = ""
    bad: bool = False
    call: str = ""
    step: int = 0


def steps_of(scenario, accesses: list[Access]) -> list[Step]:
    found: list[Step] = []
    for access, step in zip(accesses, step_numbers(scenario, accesses)):
        if access.word.startswith(SHADOWS) or access.begins:
            continue
        if not access.bits:
            found.append(Step(len(found) + 1, access.actor, access.text, "", "", "", False, access.mark or access.status,
                              bool(access.mark)))
            continue
        found.append(Step(len(found) + 1, access.actor, access.text, access.word, _value(access, access.before),
                          _value(access, access.after), access.after != access.before, call=access.call, step=step))
    return found


def _value(access: Access, word: int) -> str:
    """A word in hexadecimal digits; of an SEPT entry its state as well."""
    digits = f"{word:#x}" if access.bits > 8 else str(word)
    return f"{spell_entry(word)} {digits}" if access.word.startswith("SEPT ") and access.bits == 64 else digits


def folded(steps: list[Step]) -> list[Step]:
    """The same without long repetitions: what one actor reads or writes over and over, one or two kinds of access that change
    nothing (a table that is filled with what it has), is shown once, and then how often more."""
    found: list[Step] = []
    at = 0
    while at < len(steps):
        end, texts = at, dict.fromkeys([step.text for step in steps[at:at + ONE_PATTERN]])
        while end < len(steps) and (steps[end].actor, steps[end].changes, steps[end].ends) == (steps[at].actor, False, "") \
                and steps[end].text in texts:
            end += 1
        if end - at >= REPEATED:
            more = end - at - ONE_PATTERN
            found += [*steps[at:at + ONE_PATTERN], steps[end - 1]._replace(text=f"{more} more like that, of other words", word="", before="", after="",
                                                                           step=max(step.step for step in steps[at + ONE_PATTERN:end]))]
            at = end
        else:
            found.append(steps[at])
            at += 1
    return found


def inside(steps: list[Step]) -> list[set[str]]:
    """Which actors are within a call, or a flow, at each step: from its first access to the end of the call."""
    last = {step.actor: number for number, step in enumerate(steps)}
    ends = {actor: [number for number, step in enumerate(steps) if step.actor == actor and step.ends] for actor in last}
    found: list[set[str]] = []
    began: set[str] = set()
    for number, step in enumerate(steps):
        began.add(step.actor)
        found.append({actor for actor in began if any(end >= number for end in ends[actor]) or number <= last[actor]})
        if step.ends:
            began.discard(step.actor)
    return found


def page(schedule: Schedule, accesses: list[Access]) -> str:
    """The page as text.  Raises UsageError if jinja2 is not installed."""
    scenario, whole = schedule.scenario, steps_of(schedule.scenario, accesses)
    steps = folded(whole)
    actors = [script.actor.name for script in scenario.scripts]
    words = list(dict.fromkeys(step.word for step in steps if step.changes))
    first = {word: next(step.before for step in steps if step.word == word) for word in words}
    states, now = [], dict(first)
    for step in steps:
        if step.changes:
            now = now | {step.word: step.after}
        states.append([now[word] for word in words])
    return filled(
        TEMPLATE, "--html", name=scenario.name, about=_about(scenario), reason=schedule.reason, actors=actors, rows=len(whole), numbered=max((step.step for step in whole), default=0), steps=steps,
        inside=inside(steps), words=words, first=[first[word] for word in words], states=states)


def _about(scenario) -> str:
    """The module, the policy and the design, of which a scenario has any."""
    of = [("module", scenario.module, getattr(scenario, "of_td", True)), ("policy", scenario.policy.name, scenario.uses_flows),
          ("Dynamic PAMT as in", scenario.file.dpamt, bool(scenario.file.dpamt))]
    said = ", ".join(f"{what} {name}" for what, name, has in of if has)
    return f"{said[:1].upper()}{said[1:]}. " if said else ""


def trace_events(schedule: Schedule, accesses: list[Access]) -> str:
    """The JSON text."""
    scenario = schedule.scenario
    spans: dict[str, list[Span]] = {script.actor.name: [] for script in scenario.scripts}
    began: dict[str, tuple[int, str]] = {}       # by actor: the first access of the call that it is in
    steps = steps_of(scenario, accesses)
    for step in steps:
        at, mine = ACCESS_NS * step.number, spans[step.actor]
        if step.ends:
            start, _ = began.pop(step.actor, (at, ""))
            mine.append(Span(start, max(start + ACCESS_NS, at), {"name": step.text, "args": {"answer": step.ends}}))
            continue
        if step.call:
            began.setdefault(step.actor, (at, step.call))
        mine.append(Span(at, at + ACCESS_NS, {"name": step.text, "args": {"word": step.word, "before": step.before, "after": step.after}}))
    for actor, (start, call) in began.items():
        spans[actor].append(Span(start, ACCESS_NS * (len(steps) + 1), {"name": call, "args": {"answer": "none until the end"}}))
    return written(f"{scenario.name}, module {scenario.module}", [Lane(name, place, mine) for place, (name, mine) in enumerate(spans.items())],
                   {"reason": schedule.reason, "a microsecond here": "is one access"})
