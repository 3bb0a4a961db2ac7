"""Scenario files: read, checked, and turned into scenarios; what is wrong with one is said in one line.

scenario.py says what a file may contain.
"""

import functools
import itertools
from dataclasses import replace
from pathlib import Path

from pydantic import ValidationError

from harness.errors import UsageError, nearest
from harness.experiment.config import MODULES, KeyProblem
from harness.experiment.config_file import explain, mistake
from harness.files import read_toml
from harness.memory.layout import Layout
from harness.experiment.plan import Actor
from harness.protocol.assemble import Program
from harness.protocol.flows.script import CALLS_MAX, LOCK_STEPS, LOCK_WORDS, Step
from harness.protocol.liveness import successors
from harness.protocol.policy import FOREVER
from harness.protocol.seamcalls import TD_EXIT, entry_label
from harness.protocol.releases import BY_NAME as RELEASES
from harness.experiment.scenario import (
    FLOW_KEYS, GRADES, INVARIANTS, PAGES, PAIR_PAGE, RETRIES_MAX, File, Grade, Scenario, Script, calls_of, kind_of,
    pair_calls, pair_script,
)
from kernels.ops import Op, Register as R
from kernels.search import ACTORS_MAX
from kernels.words import EPF_LIST_SIZE, STATE


def load(path: str | Path, modules: list[str] | None = None, policy: str | None = None) -> list[Scenario]:
    """The scenarios of a file.  Raises UsageError: one line with file, key, value, what is allowed."""
    table = read_toml(path)
    if "td" in table or "workload" in table:
        raise UsageError(f"{path}: is a config, not a scenario: python -m harness run {path}")
    if policy is not None:
        table["policy"] = policy
    return parse(table, Path(path).stem, str(path), modules)


def parse(table: dict, name: str, path: str = "scenario", modules: list[str] | None = None) -> list[Scenario]:
    """The scenarios that a table says; see `load`."""
    try:
        file = File.model_validate({"name": name} | table)
    except ValidationError as errors:
        raise mistake(path, *explain(errors.errors(include_url=False)[0], File)) from None
    wanted = [module for module in file.module if modules is None or module in modules]
    try:
        _known_invariants(file)
        scenarios = [scenario for module in wanted
                     for scenario in (_pairs(file, module) if file.pairs else [_scenario(file, module)])]
        return [replace(scenario, table=table) for scenario in scenarios]
    except KeyProblem as problem:
        raise mistake(path, problem.key, problem.value, problem.message) from None


def _scenario(file: File, module: str) -> Scenario:
    if not file.actors:
        raise KeyProblem("actors", {}, "must name actors such as vcpu0 and host0, with their scripts")
    vcpus, hosts = (_count_of(file, kind) for kind in ("vcpu", "host"))
    scripts = tuple(_script(name, given, vcpus, module) for name, given in _in_order(file.actors))
    pages = []
    for key, state in file.start.pages.items():
        page, level = _page_and_level(f"start.pages.{key}", key)
        pages.append((page, level, _state(f"start.pages.{key}", state)))
    used = {page for script in scripts for page in (*(step.page for step in script.steps), *(script.flow or ()))}
    pages += [(page, 0, "FREE") for page in sorted(used - {page for page, *_ in pages})]
    for name, listed in file.start.listed.items():
        if name not in {script.actor.name for script in scripts if script.actor.kind == "vcpu"}:
            raise KeyProblem(f"start.listed.{name}", name, "is no vCPU of this scenario")
        if len(listed) > EPF_LIST_SIZE or not all(0 <= page < PAGES for page in listed):
            raise KeyProblem(f"start.listed.{name}", listed,
                             f"must be at most {EPF_LIST_SIZE} page numbers below {PAGES}")
    for name, value in file.start.words.items():
        if not 0 <= value < 1 << 64:
            raise KeyProblem(f"start.words.{name}", value, "must be at least 0 and below 2^64")
    if len(scripts) > ACTORS_MAX:
        raise KeyProblem("actors", sorted(file.actors), f"at most {ACTORS_MAX} actors are explored")
    layout = Layout(max(1, vcpus), max(1, vcpus) + max(1, hosts), PAGES, 0, content_bytes=8)
    for key, names in (("start.words", file.start.words), ("watch", file.watch)):
        for name in names:
            _word(layout, f"{key}.{name}" if key == "start.words" else key, name)
    scenario = Scenario(file.name, module, file.policy, file.primitive, scripts, file, tuple(pages), (),
                        False, max(1, vcpus), max(1, hosts))
    return _graded(scenario, file.expect)


def _known_invariants(file: File) -> None:
    for key, given in (("must_violate", file.must_violate), ("may_violate", file.may_violate)):
        for module in given if isinstance(given, dict) else ():
            if module not in MODULES:
                raise KeyProblem(key, module, f"must be of {', '.join(MODULES)}")
        for name in itertools.chain(*given.values()) if isinstance(given, dict) else given:
            if name not in INVARIANTS:
                raise KeyProblem(key, name, f"is no invariant; known: {', '.join(INVARIANTS)}"
                                 f"{nearest(name, INVARIANTS)}")


def _in_order(actors: dict) -> list:
    """Actors in the order of their numbers: vCPUs, then hosts."""
    def place(item):
        name = item[0]
        kind = name.rstrip("0123456789")
        if kind not in FLOW_KEYS or kind == name:
            raise KeyProblem(f"actors.{name}", item[1], "must be called vcpu0, vcpu1 ..., host0, host1 ...")
        return kind != "vcpu", int(name.removeprefix(kind))
    return sorted(actors.items(), key=place)


def _count_of(file: File, kind: str) -> int:
    _in_order(file.actors)
    numbers = [int(name.removeprefix(kind)) for name in file.actors if name.startswith(kind)]
    if sorted(numbers) != list(range(len(numbers))):
        raise KeyProblem("actors", sorted(file.actors), f"{kind}s must be numbered from 0 without gaps")
    return len(numbers)


def _script(name: str, given, vcpus: int, module: str) -> Script:
    kind = name.rstrip("0123456789")
    index = int(name.removeprefix(kind))
    actor = Actor(index if kind == "vcpu" else max(1, vcpus) + index, name, kind, index)
    key = f"actors.{name}"
    if isinstance(given, dict):
        flow_key = FLOW_KEYS[kind]
        if set(given) != {flow_key}:
            raise KeyProblem(key, given, f"must be a list of calls, or {{ {flow_key} = [PAGE, ...] }}")
        pages = given[flow_key]
        if not isinstance(pages, list) or not all(isinstance(page, int) and 0 <= page < PAGES for page in pages):
            raise KeyProblem(f"{key}.{flow_key}", pages, f"must be a list of page numbers below {PAGES}")
        return Script(actor, flow=tuple(pages))
    items = [given] if isinstance(given, str) else given
    if not isinstance(items, list) or not items or not all(isinstance(item, str) for item in items):
        raise KeyProblem(key, given, "must be a call, or a list of calls")
    steps = [_step(key, item, kind, module) for item in items]
    inside = False
    for step in list(steps):
        if step.call == TD_EXIT and not inside:
            raise KeyProblem(key, given, "td_exit without a tdh_vp_enter before it")
        if step.call == "tdh_vp_enter" and inside:
            raise KeyProblem(key, given, "tdh_vp_enter without a td_exit since the last")
        inside = step.call == "tdh_vp_enter" or inside and step.call != TD_EXIT
    if inside:
        steps.append(Step(TD_EXIT))
    if len(steps) > CALLS_MAX:
        raise KeyProblem(key, given, f"a script has at most {CALLS_MAX} calls")
    return Script(actor, tuple(steps))


def _step(key: str, item: str, kind: str, module: str) -> Step:
    words, calls = item.split(), calls_of(module)
    if words[:1] and words[0] in LOCK_STEPS:
        if len(words) == 2 and words[1] in LOCK_WORDS:
            return Step(words[0], word=words[1])
        raise KeyProblem(key, item, f"write {words[0]} WORD; words: {', '.join(LOCK_WORDS)}")
    known = [*calls, TD_EXIT, *LOCK_STEPS]
    if not words or words[0] not in known:
        raise KeyProblem(key, item, f"no such call; known: {', '.join(known)}{nearest(words[0] if words else '', known)}")
    call, words = words[0], words[1:]
    if kind == "host" and (call == TD_EXIT or kind_of(calls[call]) == "vcpu"):
        raise KeyProblem(key, item, f"{call} is made by a vCPU")
    page = level = retries = 0
    if words and words[0].isdecimal():
        page, words = int(words[0]), words[1:]
        if page >= PAGES:
            raise KeyProblem(key, item, f"page numbers are below {PAGES}")
    if words[:1] == ["level"] and len(words) > 1 and words[1] in ("0", "1", "2"):
        level, words = int(words[1]), words[2:]
    if words[:1] == ["retry"] and len(words) == 2 and (words[1] == "forever" or words[1].isdecimal()):
        retries, words = FOREVER if words[1] == "forever" else int(words[1]), []
    if words or retries > RETRIES_MAX:
        raise KeyProblem(key, item, "write CALL [PAGE] [level N] [retry N | retry forever]"
                         + f"; N at most {RETRIES_MAX}" * (retries > RETRIES_MAX))
    if call in calls and level not in calls[call].levels:
        has = " or ".join(map(str, calls[call].levels))
        raise KeyProblem(key, item, f"{call} is about an entry at level {has}: write 'level N' behind the page")
    return Step(call, page, level, retries)


def _page_and_level(key, text) -> tuple[int, int]:
    words = text.split()
    if words and words[0].isdecimal() and int(words[0]) < PAGES and (
            len(words) == 1 or len(words) == 3 and words[1] == "level" and words[2] in ("0", "1", "2")):
        return int(words[0]), int(words[2]) if len(words) == 3 else 0
    raise KeyProblem(key, text, f"must be a page number below {PAGES}, or 'PAGE level N'")


def _state(key, name) -> str:
    if name not in STATE:
        raise KeyProblem(key, name, f"no such state; known: {', '.join(STATE)}{nearest(name, STATE)}")
    return name


def _word(layout: Layout, key, name) -> None:
    region, _, index = name.partition(" ")
    if region not in layout.by_name:
        raise KeyProblem(key, name, f"no such word; known: {', '.join(layout.by_name)}{nearest(region, layout.by_name)}")
    if index and not (index.isdecimal() and int(index) < layout.by_name[region].count):
        raise KeyProblem(key, name, f"{region} has {layout.by_name[region].count} of them")


def _graded(scenario: Scenario, rows: list[dict]) -> Scenario:
    """The scenario with its [[expect]] rows; refuses what no outcome can be."""
    names = {script.actor.name: script for script in scenario.scripts}
    words = [name for name, _ in scenario.watched()]
    answers = set().union(*(answers_of_step(scenario, step) for script in scenario.scripts for step in script.steps
                            if step.call != TD_EXIT))
    if scenario.uses_flows:
        answers = {answer.name for answer in scenario.program.answers}
    grades = []
    for number, row in enumerate(rows):
        key = f"expect[{number}]"
        row = dict(row)
        grade, note = row.pop("grade", None), row.pop("note", "")
        modules, must = row.pop("module", list(MODULES)), row.pop("must", True)
        anyone = row.pop("anyone", "")
        if anyone and anyone not in answers:
            if scenario.serial:
                continue                 # no call of this pair answers that
            raise KeyProblem(f"{key}.anyone", anyone, f"no call answers that{nearest(anyone, answers)}")
        modules = [modules] if isinstance(modules, str) else modules
        if not isinstance(modules, list):
            raise KeyProblem(f"{key}.module", modules, f"must be of {', '.join(MODULES)}")
        if not isinstance(must, bool):
            raise KeyProblem(f"{key}.must", must, "must be true or false")
        if grade not in GRADES:
            raise KeyProblem(f"{key}.grade", grade, f"must be one of {', '.join(GRADES)}{nearest(grade, GRADES)}")
        for module in modules:
            if module not in MODULES:
                raise KeyProblem(f"{key}.module", module, f"must be of {', '.join(MODULES)}")
        actors, final = {}, {}
        for name, value in row.items():
            if name in names and scenario.module not in modules:
                continue                 # another release may answer what this one does not
            if name in names:
                actors[name] = _answers(f"{key}.{name}", value, names[name], scenario)
            elif name in words:
                final[name] = _final(f"{key}.{name}", name, value)
            else:
                known = [*names, *words, "anyone", "grade", "note", "module", "must"]
                raise KeyProblem(f"{key}.{name}", value, f"no outcome has this; known: {', '.join(known)}{nearest(name, known)}")
        if scenario.module in modules:
            grades.append(Grade(actors, final, grade, note, must, anyone))
    return replace(scenario, grades=tuple(grades))


def _answers(key, value, script: Script, scenario: Scenario) -> tuple[str, ...]:
    given = value if isinstance(value, list) else [value]
    steps = [step for step in script.steps if step.call != TD_EXIT]
    if len(given) != len(steps):
        raise KeyProblem(key, value, f"must be {len(steps)} answers, one for each call")
    for name, step in zip(given, steps):
        can = sorted(answers_of_step(scenario, step))
        if name not in can and name not in ("*", "BUSY", "-"):
            raise KeyProblem(key, name, f"{step.call} never answers that; it answers {', '.join(can)}; or write"
                             f" *, BUSY, - (not made){nearest(name, can)}")
    return tuple(given)


def answers_of_step(scenario: Scenario, step: Step) -> frozenset[str]:
    row = calls_of(scenario.module).get(step.call)
    return _answers_of_rows(scenario.program, entry_label(row, step.level) if row else str(step))


@functools.lru_cache(maxsize=4096)
def _answers_of_rows(program: Program, entry: str) -> frozenset[str]:
    """What a call can answer: of all rows between its entry and its return."""
    seen, waiting, found = set(), [program.labels[entry]], set()
    while waiting:
        number = waiting.pop()
        if number in seen:
            continue
        seen.add(number)
        row = program.rows[number]
        if row["op"] == Op.ANSWER:
            found.add(program.answers[row["mask"]].name)
        if row["op"] != Op.GO or row["register"] != R.LINK:
            waiting += successors(row, program.rows)
    return frozenset(found)


def _final(key, name, value) -> str:
    if name.startswith("page ") and isinstance(value, str):
        state, *bits = value.split("+")
        if state in (*STATE, "*") and all(bit in ("EL", "HP", "*") for bit in bits):
            return value
        raise KeyProblem(key, value, f"must be a state, with +EL, +HP or +* behind it{nearest(state, STATE)}")
    if name.startswith("page "):
        raise KeyProblem(key, value, "must be a state, with +EL, +HP or +* behind it")
    return f"{value:#x}" if isinstance(value, int) else str(value)


# --- pairs -----------------------------------------------------------------------------------

def _pairs(file: File, module: str):
    """Scenarios for each two calls that the release has, and each state."""
    every = {name for release in RELEASES for name in calls_of(release)}
    for call in file.pairs.calls:
        if call not in every:
            raise KeyProblem("pairs.calls", call, f"no such call{nearest(call, every)}")
    for state in file.pairs.states:
        _state("pairs.states", state)
    for one, other in itertools.combinations_with_replacement(pair_calls(file, module), 2):
        for state in file.pairs.states:
            yield pair_scenario(file, module, one, other, state)


def pair_scenario(file: File, module: str, one: str, other: str, state: str) -> Scenario:
    """Two calls about the same page, one each, from a start state."""
    level, scripts, counts = file.pairs.level, [], {"vcpu": 0, "host": 0}
    for call in (one, other):
        kind = kind_of(calls_of(module)[call])
        scripts.append(pair_script(call, kind, counts[kind], level, module))
        counts[kind] += 1
    scripts.sort(key=lambda script: script.actor.number)
    scenario = Scenario(f"{one} / {other}, {state}", module, file.policy, file.primitive, tuple(scripts), file,
                        ((PAIR_PAGE, level, state),), (), True, 2, 2)
    return _graded(scenario, file.expect)


