"""What `explore` compares: policies, or releases of the module, invariant by invariant, over the scenarios of files."""

import json
import sys
from pathlib import Path
from typing import Callable, NamedTuple

from harness.commands.jobs import Failure, listing
from harness.engines.explore import search as engine
from harness.errors import DONE, FAILED, INTERRUPTED, UNTRUSTWORTHY, UsageError, meant
from harness.experiment.scenario import INVARIANTS, OUTCOME_INVARIANTS, Scenario
from harness.experiment.scenario_file import load
from harness.files import read_toml
from harness.protocol.dpamt import DESIGNS
from harness.protocol.guest_policies import GUESTS
from harness.protocol.invariants import OF_GUESTS
from harness.protocol.policies import POLICIES
from harness.protocol.releases import READ, Release, find, line
from harness.reports import exploration
from harness.reports.text import wrap
from harness.results import grading
from harness.results.matrix import Matrix, named

POLICIES_MODULE = "1.5.05"       # of --policies and --guests, unless --module says more
OF_GUEST = tuple(each.name for each in OF_GUESTS)


class Wanted(NamedTuple):
    """What is compared, and how it is said."""

    paths: list[str]
    modules: list[str] | None
    policy: str | None
    required: list[str]
    style: str
    each: Callable               # [(path, scenario, what it is about)] -> (place, (found, verdict)), as they end
    bounded: bool                # no search for what never ends
    model: dict = {}             # keys of a scenario in place of the file's own: of the memory model
    there: Callable | None = None        # [(path, scenario, what it is about)] -> which are kept of before: list them, search none


class Compared(NamedTuple):
    """What the rows are, and the scenarios of each.

    scenarios  (row, path, scenario)
    about      what all of it is about; "" nothing
    modules    the releases that it is about, unless they are the rows
    only       the invariants that are asked about, if not all; what a program has no way to break holds
    labels     rows as a table has them, if not by their names
    """

    by: str
    names: list[str]
    scenarios: list[tuple[str, str, Scenario]]
    about: str = ""
    modules: list[str] | None = None
    only: tuple[str, ...] = ()
    labels: dict[str, str] | None = None


def compare(wanted: Wanted, what: str) -> int:
    """Fill the matrix `what`: "policies", "guests" or "modules"; or list its searches.  Returns the exit code."""
    compared = {"policies": policies, "guests": guests, "modules": modules}[what](wanted)
    groups, about = alike(compared.scenarios)
    if wanted.there is not None:
        rows = [{"scenario": scenario.name, "module": scenario.module, compared.by: ", ".join(dict.fromkeys(compared.scenarios[number][0] for number in group))}
                for group, (_, scenario, _) in zip(groups, about)]
        print(listing(rows, wanted.there(about), wanted.style))
        return DONE
    found = Matrix(compared.by, compared.names)
    code = fill(found, compared, groups, about, wanted)
    say(found, wanted, compared.about, code, compared.labels, compared.modules)
    if compared.by == "module" and wanted.style == "table":
        print_notes(compared.names, found, wanted)
    return ended(found, wanted, code)


def required(text: str | None) -> list[str]:
    """The invariants that --require names, by the names that they have here.  Raises UsageError."""
    known = {spelled: name for name in reversed((*INVARIANTS, *OUTCOME_INVARIANTS)) for spelled in (name, named(name))}
    names = [name.strip() for name in text.split(",")] if text is not None else []
    for name in names:
        if name not in known:
            shown = ", ".join(dict.fromkeys(named(each) for each in known.values()))
            raise UsageError(f"--require {name}: no invariant; {meant(name, known)}known: {shown}")
    return list(dict.fromkeys(known[name] for name in names))


# --- what is compared --------------------------------------------------------------------------

def policies(wanted: Wanted) -> Compared:
    """Which invariants each policy keeps in the scenarios with KVM's flows."""
    if wanted.policy:
        raise UsageError(f"--policy {wanted.policy}: not together with --policies, which are all of them")
    if any(read_toml(path).get("dpamt") for path in wanted.paths):
        return designs(wanted)
    modules, names = wanted.modules or [POLICIES_MODULE], [policy.name for policy in POLICIES]
    scenarios = [(name, path, scenario) for name in names for path in wanted.paths
                 for scenario in load(path, modules, name, keys=wanted.model) if scenario.uses_flows and not scenario.must_violate]
    if not scenarios:
        raise UsageError(f"{wanted.paths[0]}: no scenario with KVM's flows (touch, remove) for --policies")
    shorter = dict.fromkeys(scenario.policy.name for name, _, scenario in scenarios if scenario.policy.name != name)
    return Compared("policy", names, scenarios, "; ".join([f"module {', '.join(modules)}", *shorter]), modules)


def designs(wanted: Wanted) -> Compared:
    """The same of designs of the kernel's Dynamic PAMT, in the scenarios that use page pairs."""
    names = [design.name for design in DESIGNS]
    scenarios = [(name, path, scenario) for name in names for path in wanted.paths
                 for scenario in load(path, wanted.modules, dpamt=name, keys=wanted.model)]
    modules = list(dict.fromkeys(scenario.module for _, _, scenario in scenarios))
    if not scenarios:
        raise UsageError(f"--module {', '.join(wanted.modules or [])}: no scenario of these files is for it")
    return Compared("design", names, scenarios, f"module {', '.join(modules)}", modules)


def guests(wanted: Wanted) -> Compared:
    """Which guest can end itself because of which answer, under each policy and release that is named."""
    modules, under = wanted.modules or [POLICIES_MODULE], wanted.policy.split(",") if wanted.policy else [None]
    rows = {(guest.name, policy, module): ", ".join(filter(None, [
        guest.name, policy if len(under) > 1 else None, module if len(modules) > 1 else None]))
        for policy in under for module in modules for guest in GUESTS}
    scenarios = [(rows[guest, policy, module], path, scenario) for guest, policy, module in rows for path in wanted.paths
                 for scenario in load(path, [module], policy, anywhere=True, guest=guest, keys=wanted.model) if scenario.uses_flows]
    if not scenarios:
        raise UsageError(f"{wanted.paths[0]}: no scenario with KVM's flows (touch, remove) for --guests")
    policies_of = dict.fromkeys(scenario.policy.name for _, _, scenario in scenarios)
    return Compared("guest", list(rows.values()), scenarios, f"policy {', '.join(policies_of)}; module {', '.join(modules)}", modules, OF_GUEST)


def modules(wanted: Wanted) -> Compared:
    """Which invariants each release keeps, whichever releases the files name."""
    names = list(dict.fromkeys(wanted.modules or [release.name for release in READ]))
    scenarios = [(name, path, scenario) for path in wanted.paths for name in names
                 for scenario in load(path, [name], wanted.policy, anywhere=True, keys=wanted.model)]
    broken = dict.fromkeys(Path(path).stem for _, path, scenario in scenarios if scenario.file.busted)
    scenarios = [each for each in scenarios if not each[2].file.busted]
    if not scenarios:
        raise UsageError(f"{wanted.paths[0]}: no scenario for --modules: " + (
            "busted is what a release is not" if broken else f"{', '.join(names)} has not got its calls"))
    about = f"left out, as busted: {', '.join(broken)}" if broken else ""
    return Compared("module", names, scenarios, about, labels={name: label(find(name), not wanted.modules) for name in names})


def alike(scenarios: list[tuple[str, str, Scenario]]) -> tuple[list[list[int]], list[tuple[str, Scenario, str]]]:
    """(places of those that behave the same, and (path, scenario, what it is about) of the first of each)."""
    groups: dict[tuple, list[int]] = {}
    for number, (_, path, scenario) in enumerate(scenarios):
        groups.setdefault((path, scenario.behaviour()), []).append(number)
    return list(groups.values()), [(scenarios[first][1], scenarios[first][2], f"{place} of {len(groups)}, {scenarios[first][0]}")
                                   for place, (first, *_) in enumerate(groups.values(), 1)]


def fill(found: Matrix, compared: Compared, groups: list[list[int]], about: list, wanted: Wanted) -> int:
    """Search every scenario, those that behave the same once; returns the exit code."""
    scenarios = compared.scenarios
    asked = [list(compared.only) or invariants(scenario, wanted.bounded) for _, _, scenario in scenarios]
    for (name, *_), names in zip(scenarios, asked):
        found.ask(name, names)
    for name in wanted.required:
        if name not in found.invariants:
            known = [named(each) for each in found.invariants]
            raise UsageError(f"--require {named(name)}: no search of these files looks for it;"
                             f" known: {', '.join(known)}")
    left, code = {number: None for group in groups for number in group}, DONE
    try:
        for place, each in wanted.each(about):
            if isinstance(each, Failure):            # not decided: ?
                print(each.why, file=sys.stderr)
                code = UNTRUSTWORTHY
                continue
            decided, ways, interrupted = outcome(each[0], asked[groups[place][0]])
            for number in groups[place]:
                found.decide(scenarios[number][0], asked[number], decided, ways)
            if interrupted:
                if each[0].kept:
                    print(f"kept in {each[0].kept}: --resume goes on from there", file=sys.stderr)
                raise KeyboardInterrupt
            for number in groups[place]:
                del left[number]
    except KeyboardInterrupt:
        found.unfinished = list(dict.fromkeys(scenarios[number][0] for number in left))
        print(f"interrupted in {found.by} {scenarios[next(iter(left), 0)][0]}", file=sys.stderr)
        return INTERRUPTED
    return code


def invariants(scenario: Scenario, bounded: bool) -> list[str]:
    """What a search of a scenario can tell."""
    return [name for name in (*engine.checked(scenario), *grading.checked_outcomes(scenario))
            if not (bounded and name in engine.CYCLES)]


def outcome(found: engine.Found, asked: list[str]) -> tuple[list[str], dict[str, list], bool]:
    """The invariants that a search has decided, the ways to what is violated, and whether it was interrupted."""
    ways = {name: way for name, way in (found.violations | grading.broken_outcomes(found)).items() if name in asked}
    absent = set(OF_GUEST) - set(engine.checked(found.scenario))
    decided = [name for name in asked if found.complete and name in (*found.checked, *OUTCOME_INVARIANTS, *absent)]
    return decided, ways, found.interrupted


# --- what is said ------------------------------------------------------------------------------

def say(found: Matrix, wanted: Wanted, about: str, code: int, labels: dict[str, str] | None = None,
        modules: list[str] | None = None) -> None:
    """The matrix, in the format that was asked for."""
    files = [Path(path).stem for path in wanted.paths]
    if wanted.style == "json":
        rows = found.as_json()
        for row in rows if found.by == "module" else ():
            release = find(row["module"])
            row |= {"same": [] if wanted.modules else list(release.also), "derived": list(release.derived)}
        print(json.dumps({"files": wanted.paths, **({"modules": modules} if modules else {}), "complete": found.decided and code == DONE, "rows": rows,
                          "unfinished": found.unfinished,
                          "required": [named(name) for name in wanted.required],
                          "keep": kept_by(found, wanted) if wanted.required else None}, indent=1))
        return
    if wanted.style == "table":
        about = f"; {about}" * bool(about)
        print(wrap(f"{' '.join(files)}{about}: steps of the shortest counterexample, or holds (? where the search was not"
                   " complete)"))
    print(exploration.matrix(found, wanted.style, labels))
    if wanted.style == "table" and found.unfinished:
        print("\n" + wrap(f"not finished: {', '.join(found.unfinished)}"))
    if wanted.style == "table" and wanted.required:
        names = kept_by(found, wanted)
        some = " of these" * (found.by == "module" and bool(wanted.modules))
        none = (f"no {found.by}{some} {'is known to keep' if found.unknown(wanted.required) else 'keeps'}"
                f" {'them all' if len(wanted.required) > 1 else 'it'}")
        print("\n" + wrap(f"{', '.join(map(named, wanted.required))}: " + (
            f"kept by {by_line(names) if found.by == 'module' else ', '.join(names)}" if names else none)))


def label(release: Release, also: bool) -> str:
    """A release, with those that behave the same if wanted; * where some of it was not read in its own source."""
    return ", ".join([release.name, *(name[3:] for name in release.also if also)]) + "*" * bool(release.derived)


def kept_by(found: Matrix, wanted: Wanted) -> list[str]:
    """The policies, or the releases with those that behave the same, that keep all that is required."""
    names = found.keeping(wanted.required)
    if found.by != "module" or wanted.modules:
        return names
    return [each for name in names for each in (name, *find(name).also)]


def by_line(names: list[str]) -> str:
    """Releases of a line behind each other: `1.5.28, 1.5.34; 2.0.18`."""
    lines: dict[str, list[str]] = {}
    for name in names:
        lines.setdefault(line(name), []).append(name)
    return "; ".join(", ".join(each) for each in lines.values())


def print_notes(names: list[str], found: Matrix, wanted: Wanted) -> None:
    """What the newest of each line comes to, and that some of it was not read in a release's own source."""
    if wanted.required:
        newest = {line(name): name for name in names}
        keeping, unknown = found.keeping(wanted.required), found.unknown(wanted.required)
        print(wrap(f"newest of each line{' among these' * bool(wanted.modules)}: " + ", ".join(
            f"{name} {'does' if name in keeping else 'is not known' if name in unknown else 'does not'}"
            for name in newest.values())))
    if any(find(name).derived for name in names):
        print(wrap("* some of its fields are derived, not read in its own source: docs/releases.md lists them"))


def ended(found: Matrix, wanted: Wanted, code: int) -> int:
    """Say how many scenarios kept all; the exit code: whether what is required holds in every row that was searched."""
    if wanted.style == "table":
        print("\n" + exploration.kept(found))
    if code != DONE or not wanted.required:
        return code
    if found.breaking(wanted.required):
        return FAILED
    return UNTRUSTWORTHY if found.unknown(wanted.required) else DONE
