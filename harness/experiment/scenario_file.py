"""Scenario files: read, checked, and turned into scenarios; what is wrong with one is said in one line.

scenario_keys.py says what a file may contain, scenario_scripts.py and scenario_grades.py read its words.
"""

import itertools
from dataclasses import replace
from pathlib import Path

from pydantic import ValidationError

from harness.errors import UsageError, meant, nearest, program
from harness.experiment.config import KeyProblem, check_design, check_dynamic_pamt
from harness.experiment.config_file import explain, mistake
from harness.protocol.flows.pamt import RANGES
from harness.experiment.scenario import (
    INVARIANTS, PAGES, PAIR_PAGE, TYPE, Scenario, Script, calls_of, kind_of, layout_of, of_release, pair_calls, pair_script,
)
from harness.experiment.scenario_keys import ALL, NO_BARRIER, File
from harness.experiment.scenario_grades import check_release, graded
from harness.experiment.scenario_scripts import lacks, make_scripts
from harness.files import read_toml, stem
from harness.memory.layout import Layout
from harness.memory.placement import BY_USE
from harness.protocol.policy import at_most
from harness.protocol.releases import BY_NAME as RELEASES, between, find
from kernels.moves import ACTORS_MAX
from kernels.ops import LEVELS
from kernels.words import EPF_LIST_SIZE, STATE


def load(path: str | Path, modules: list[str] | None = None, policy: str | None = None,
         anywhere: bool = False, guest: str | None = None, dpamt: str | None = None, keys: dict | None = None) -> list[Scenario]:
    """The scenarios of a file.  Raises UsageError: one line with file, key, value, what is allowed.

    modules    of the file's releases these only
    anywhere   of these releases, whichever the file names; not of those that have not got its calls
    keys       in place of the file's own
    """
    table = read_toml(path)
    if "td" in table or "workload" in table:
        raise UsageError(f"{path}: is a config, not a scenario: {program()} run {path}")
    if policy is not None:
        table["policy"] = policy
    if guest is not None:
        table["guest"] = guest
    if dpamt is not None:
        table["dpamt"] = dpamt
    table |= keys or {}
    if anywhere:
        return parse(table | {"module": modules}, stem(path), str(path), anywhere=True)
    return parse(table, stem(path), str(path), modules)


def parse(table: dict, name: str, path: str = "scenario", modules: list[str] | None = None,
          anywhere: bool = False) -> list[Scenario]:
    """The scenarios that a table says; see `load`."""
    file = _file(table, name, path)
    wanted = [module for module in file.module if modules is None or module in modules]
    if anywhere or table.get("module") == ALL:
        wanted = [module for module in wanted if _has_calls(file, module)]
    if anywhere:                         # nothing else is asked there
        file = file.model_copy(update={"expect": [row for row in file.expect if "breaks" in row]})
    try:
        for module in wanted if file.dynamic_pamt else ():
            check_dynamic_pamt("dynamic_pamt", module)
        _check_invariants(file)
        _check_model(file)
        scenarios = [scenario for module in wanted
                     for scenario in (_pairs(file, module) if file.pairs else [_scenario(file, module)])]
        return [replace(scenario, table=table) for scenario in scenarios]
    except KeyProblem as problem:
        raise mistake(path, problem.key, problem.value, problem.message) from None


def declared(path: str | Path) -> dict[str, list[str]]:
    """By invariant, the releases of which a file says that they have to break it.  Raises UsageError."""
    table, says = read_toml(path), {}
    file = _file(table, stem(path), str(path))
    for module in file.module:
        if not _has_calls(file, module):
            continue
        rows = [row["breaks"] for row in file.expect if row.get("breaks") and module in _modules(row, module)]
        for name in dict.fromkeys((*of_release(file.must_violate, module), *rows)):
            says.setdefault(name, []).append(module)
    return says


def _modules(row: dict, module: str) -> list[str]:
    given = row.get("module", module)
    return [name for each in (given if isinstance(given, list) else [given]) for name in between(each)]


def _has_calls(file: File, module: str) -> bool:
    """Whether a release has what the scripts call, and Dynamic PAMT if it is on."""
    return not lacks(file.actors, module) and (find(module).dynamic_pamt or not file.dynamic_pamt)


def _file(table: dict, name: str, path: str) -> File:
    try:
        implied = {"dynamic_pamt": True} if table.get("dpamt") else {}
        file = File.model_validate({"name": name} | table | implied)
        return file.model_copy(update={"policy": at_most(file.policy, file.retries_most)}) if file.retries_most else file
    except ValidationError as errors:
        raise mistake(path, *explain(errors.errors(include_url=False)[0], File)) from None


def _scenario(file: File, module: str) -> Scenario:
    if not file.actors:
        raise KeyProblem("actors", {}, "must name actors such as vcpu0 and host0, with their scripts")
    scripts = make_scripts(file.actors, module, pages_of(file))
    if len(scripts) > ACTORS_MAX:
        raise KeyProblem("actors", sorted(file.actors), f"at most {ACTORS_MAX} actors are explored")
    kinds = [script.actor.kind for script in scripts]
    vcpus, hosts = max(1, kinds.count("vcpu")), max(1, kinds.count("host"))
    _check_words(file, layout_of(vcpus, hosts, file.dynamic_pamt, pairs=bool(file.dpamt),
                                 placement=file.placement))
    _check_placed(file)
    _check_listed(file, scripts)
    _check_flows(file, scripts)
    _check_design(file, scripts)
    scenario = Scenario(file.name, module, file.policy, file.primitive, scripts, file, _pages(file, scripts), _children(file),
                        vcpus=vcpus, hosts=hosts)
    return graded(scenario, file.expect)


def start_of(table: dict, scripts: tuple[Script, ...], path: str) -> tuple[File, tuple[tuple[int, int, str], ...]]:
    """(a checked file, the pages at the start) of what a litmus test says of its TD.  Raises UsageError."""
    try:
        file = File.model_validate(table)
    except ValidationError as errors:
        raise mistake(path, *explain(errors.errors(include_url=False)[0], File)) from None
    kinds = [script.actor.kind for script in scripts]
    vcpus, hosts = max(1, kinds.count("vcpu")), max(1, kinds.count("host"))
    try:
        if file.dynamic_pamt:
            check_dynamic_pamt("dynamic_pamt", file.module[0])
        for key, given, usual in (("start.pairs", file.start.pairs, True), ("crossed", file.crossed, False)):
            if given != usual and not file.dynamic_pamt:
                raise KeyProblem(key, given, "only together with dynamic_pamt = true, without which PAMT needs no pairs")
        _check_words(file, layout_of(vcpus, hosts, file.dynamic_pamt, ranges=RANGES if file.dynamic_pamt else 1))
        for name, pages in file.start.listed.items():
            if not all(0 <= page < PAGES for page in pages) or len(pages) > EPF_LIST_SIZE:
                raise KeyProblem(f"listed {name}", pages, f"must be at most {EPF_LIST_SIZE} page numbers below {PAGES}")
        return file, _pages(file, scripts)
    except KeyProblem as problem:
        raise mistake(path, problem.key, problem.value, problem.message) from None


def _check_invariants(file: File) -> None:
    for key, given in (("must_violate", file.must_violate), ("may_violate", file.may_violate)):
        for module in given if isinstance(given, dict) else ():
            check_release(key, module, file)
        for name in itertools.chain(*given.values()) if isinstance(given, dict) else given:
            if name not in INVARIANTS:
                raise KeyProblem(key, name, f"is no invariant; {meant(name, INVARIANTS)}known: {', '.join(INVARIANTS)}")


def _check_model(file: File) -> None:
    """What is about store buffers is given only where there are some."""
    if file.memory_model == "tso":
        return
    if not file.seamcall_drains:
        raise KeyProblem("seamcall_drains", False, 'only together with memory_model = "tso", which has store buffers')
    if NO_BARRIER in file.busted:
        raise KeyProblem("busted", file.busted, f'{NO_BARRIER} only together with memory_model = "tso": KVM\'s entry is one locked'
                         " access otherwise")


# --- the start -------------------------------------------------------------------------------

def pages_of(file: File) -> int:
    """How many pages its TD has: with a design of Dynamic PAMT two ranges of them."""
    return PAGES * (RANGES if file.dpamt else 1)


def _pages(file: File, scripts: tuple[Script, ...]) -> tuple[tuple[int, int, str], ...]:
    """(page, level, state) of what the file says, and of all pages that scripts name."""
    pages = []
    for key, state in file.start.pages.items():
        page, level = _page_and_level(f"start.pages.{key}", key, pages_of(file))
        pages.append((page, level, _state(f"start.pages.{key}", state, level)))
    large = {(page >> 9 * level, level): f"{page} level {level}" for page, level, state in pages
             if level and STATE[state.partition("+")[0]].leaf}

    def above(page: int, level: int) -> str:
        """The large page, as the file names it, that has the place of a table above an entry; empty: none."""
        return next((large[page >> 9 * upper, upper] for upper in range(level + 1, LEVELS) if (page >> 9 * upper, upper) in large), "")

    for page, level, _ in pages:
        if found := above(page, level):
            raise KeyProblem("start.pages", f"{page}" + f" level {level}" * bool(level),
                             f"lies in {found!r}, which is a large page and no table; allowed: one of the two")
    used = {page for script in scripts for page in (*(step.page for step in script.steps), *(script.flow or ()))}
    if file.large_pages:                 # no page table either: a fault may map 2 MiB
        return tuple(pages)
    return (*pages, *((page, 0, "FREE") for page in sorted(used - {page for page, *_ in pages}) if not above(page, 0)))


def _children(file: File) -> tuple[tuple[int, int, str], ...]:
    """The same of the 512 entries below an entry."""
    children = []
    for key, state in file.start.children.items():
        page, level = _page_and_level(f"start.children.{key}", key)
        if not level:
            raise KeyProblem(f"start.children.{key}", state, "an entry at level 0 has none below: write 'PAGE level 1'")
        if level > 1:
            raise KeyProblem(f"start.children.{key}", state, f"only the {PAGES} pages below an entry at level 1 are there: write"
                             " 'PAGE level 1'")
        children.append((page, level, _state(f"start.children.{key}", state, level - 1)))
    return tuple(children)


def _page_and_level(key: str, text: str, pages: int = PAGES) -> tuple[int, int]:
    words = text.split()
    if words and words[0].isdecimal() and int(words[0]) < pages and (
            len(words) == 1 or len(words) == 3 and words[1] == "level" and words[2] in ("0", "1", "2")):
        return int(words[0]), int(words[2]) if len(words) == 3 else 0
    raise KeyProblem(key, text, f"must be a page number below {pages}, or 'PAGE level N'")


def _state(key: str, name: str, level: int) -> str:
    """STATE of an entry at a level, with +EL and +HP behind it as wanted."""
    state, *bits = name.split("+")
    if state not in STATE or not set(bits) <= {"EL", "HP"}:
        raise KeyProblem(key, name, f"no such state; {meant(state, STATE)}known: {', '.join(STATE)}; behind it +EL, +HP")
    if not level and state.startswith("NL_"):
        raise KeyProblem(key, name, "an entry at level 0 maps no table: write 'PAGE level 1' or 'PAGE level 2'")
    return name


def _check_words(file: File, layout: Layout) -> None:
    """Words by name, at the start and to be watched."""
    for name, value in file.start.words.items():
        _check_word(layout, f"start.words.{name}", name)
        if not 0 <= value < 1 << 64:
            raise KeyProblem(f"start.words.{name}", value, "must be at least 0 and below 2^64")
    for name in file.watch:
        if name.startswith("page "):
            _page_and_level("watch", name.removeprefix("page "), layout.pages)
        else:
            _check_word(layout, "watch", name)


def _check_word(layout: Layout, key: str, name: str) -> None:
    region, _, index = name.removesuffix(TYPE).partition(" ")
    if name.endswith(TYPE) and not region.startswith("pamt_"):
        raise KeyProblem(key, name, "only a PAMT entry has a type: write 'pamt_4k.data 3 type'")
    if region not in layout.by_name:
        raise KeyProblem(key, name, f"no such word; {meant(region, layout.by_name)}known: {', '.join(layout.by_name)}")
    if index and not (index.isdecimal() and int(index) < layout.by_name[region].count):
        raise KeyProblem(key, name, f"{region} has {layout.by_name[region].count} of them")


def _check_design(file: File, scripts: tuple[Script, ...]) -> None:
    """Who uses page pairs needs a design for them.  KVM's flows may have one; users beside them are other TDs."""
    users = [script for script in scripts if script.uses]
    if file.dpamt:
        check_design("dpamt", file.dpamt)
    flows = [script for script in scripts if script.flow is not None and not script.uses]
    if users and not file.dpamt or file.dpamt and not (users or flows):
        raise KeyProblem("dpamt", file.dpamt, "must be given where an actor is { use = [PAGE, ...] }, and may be with KVM's flows (touch, remove)")
    if file.pamt_cache and not file.dpamt:
        raise KeyProblem("pamt_cache", file.pamt_cache, "needs dpamt, and an actor { use = [PAGE, ...] } or KVM's flows")
    if users and len(users) + len(flows) < len(scripts):
        raise KeyProblem("actors", sorted(file.actors), "those that use page pairs stand beside nobody else but KVM's flows (touch, remove)")
    own = {page for script in flows for page in script.flow}
    for script in users if flows else ():
        wrong = [page for page in script.flow if page in own or file.large_pages and page >= PAGES or script.uses == "split"]
        if wrong:
            raise KeyProblem(f"actors.{script.actor.name}.{script.uses}", wrong[0], "must be another TD's page: one that KVM's flows do not"
                             f" name, with large_pages below {PAGES}; and beside them no split")
    if flows and file.crossed:
        raise KeyProblem("crossed", True, "not together with KVM's flows (touch, remove); a placement scatters pairs")


def _check_placed(file: File) -> None:
    """With a placement no page is of 1 GiB (no call makes one), and where the pair of a range lies is the placement's to say."""
    if file.placement == BY_USE:
        return
    large = [key for key, state in file.start.pages.items()
             if key.endswith(" level 2") and STATE[_state(f"start.pages.{key}", state, 2).partition("+")[0]].leaf]
    for found, what in ((large, "pages of 1 GiB at the start"), ([True] * file.crossed, "crossed"), ([True] * bool(file.pairs), "pairs")):
        if found:
            raise KeyProblem("placement", file.placement, f"cannot be together with {what}"
                             + (f" ({found[0]})" if found[0] is not True else "") + "; allowed there: by_use")


def _check_flows(file: File, scripts: tuple[Script, ...]) -> None:
    """Without large_pages KVM's flows are of 4 KiB pages: below a large page they would go on as if it were a page table.

    So they would below a page of 1 GiB with large_pages too, which nothing makes: TDH.MEM.PAGE.AUG and TDG.MEM.PAGE.ACCEPT know 4 KiB
    and 2 MiB, and KVM's series is about 2 MiB only (cover letter of RFC v2, 7 Aug 2025).
    """
    flows = any(script.flow is not None and not script.uses for script in scripts)
    if file.accept_2m == "either" and not file.large_pages:
        raise KeyProblem("accept_2m", file.accept_2m, "needs large_pages = true; allowed without: true, false")
    if any(script.deletes for script in scripts):
        mixed = [script.actor.name for script in scripts if script.actor.kind == "host" and not script.deletes]
        if mixed or file.large_pages:
            raise KeyProblem(f"actors.{mixed[0]}" if mixed else "large_pages", file.actors[mixed[0]] if mixed else True,
                             "not together with { delete = [PAGE] }, the end of memory slots of two pages each")
    if file.large_pages:
        wrong = next((message for bad, message in (
            (not flows, "an actor with KVM's flows: { touch = [PAGE] } or { remove = [PAGE] }"),
            (file.dynamic_pamt and not file.dpamt, "dpamt where dynamic_pamt is on: no large page has a pair"),
            (file.policy.zap_lock != "write" or not file.policy.freeze, "a policy with zap_lock = 'write' and freeze = true"),
        ) if bad), "")
        if wrong:
            raise KeyProblem("large_pages", True, f"needs {wrong}")
    for key, state in file.start.pages.items():
        page, level = _page_and_level(f"start.pages.{key}", key, pages_of(file))
        if level < 2 and file.large_pages:
            continue
        below = [each for script in scripts for each in script.flow or () if each >> 9 * level == page >> 9 * level]
        if level and below and STATE[_state(f"start.pages.{key}", state, level).partition("+")[0]].leaf:
            raise KeyProblem(f"start.pages.{key}", state, f"is a large page, and KVM's flows (touch, remove) of page {below[0]} in it " + (
                "need large_pages = true; allowed without: calls, or NL_MAPPED there" if level < 2 else
                "have none of 1 GiB, nor has KVM's series for TDX; allowed there: NL_MAPPED"))


def _check_listed(file: File, scripts: tuple[Script, ...]) -> None:
    """The zero-step lists of vCPUs."""
    vcpus = {script.actor.name for script in scripts if script.actor.kind == "vcpu"}
    for name, pages in file.start.listed.items():
        if name not in vcpus:
            raise KeyProblem(f"start.listed.{name}", name, "is no vCPU of this scenario")
        if len(pages) > EPF_LIST_SIZE or not all(0 <= page < PAGES for page in pages):
            raise KeyProblem(f"start.listed.{name}", pages,
                             f"must be at most {EPF_LIST_SIZE} page numbers below {PAGES}")


# --- pairs -----------------------------------------------------------------------------------

def _pairs(file: File, module: str):
    """Scenarios for each two calls that the release has, and each state."""
    every = {name for release in RELEASES for name in calls_of(release)}
    for call in file.pairs.calls:
        if call not in every:
            raise KeyProblem("pairs.calls", call, f"no such call{nearest(call, every)}")
    for call in pair_calls(file, module):
        row = calls_of(module)[call]
        if row.leveled and file.pairs.level not in row.levels:
            raise KeyProblem("pairs.level", file.pairs.level, f"{call} is about an entry at level"
                             f" {' or '.join(map(str, row.levels))}")
    for state in file.pairs.states:
        _state("pairs.states", state, file.pairs.level)
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
                        ((PAIR_PAGE, level, state),), serial=True, vcpus=2, hosts=2)
    return graded(scenario, file.expect)
