"""Calls of the module that a litmus test makes and that succeed in no interleaving: mostly the world is not the one that is meant.

What a call answers is collected by its name, and where a name does not tell (several places of the file, KVM's own flows) by place too.
"""

import re
from typing import TYPE_CHECKING, NamedTuple

from pycparser import c_ast

from harness.protocol.litmus import tdx
from harness.protocol.litmus.source import place_of
from harness.protocol.litmus.text import Place
from kernels.answers import AnswerKind

if TYPE_CHECKING:
    from harness.experiment.litmus import Test

SUCCEEDED = (AnswerKind.SUCCESS, AnswerKind.NOTED)


class Refused(NamedTuple):
    """A call that never succeeds: by its name, who makes it, the lines of the file, and all that it answers."""

    call: str
    processes: tuple[str, ...]
    lines: tuple[int, ...]
    answers: tuple[str, ...]


class Site(NamedTuple):
    """A process, and the place at which it makes a call, itself or in a helper function."""

    process: str
    place: Place


def refused(test: "Test", answered: set[tuple[str, str]]) -> list[Refused]:
    """Of a complete search, which has seen `answered`: (call, answer).  Calls that nothing answers are not there."""
    good = {answer.name for answer in test.program.answers if answer.kind in SUCCEEDED}
    busy = {answer.name for answer in test.program.answers if answer.busy}
    by_place, found = noted(test), []

    def answers(names: list[str]) -> tuple[str, ...]:
        given = {answer for call, answer in answered if call in names}
        return tuple(sorted(given, key=lambda answer: (answer in busy, answer)))

    for name, sites in _sites(test).items():
        rows = tdx.rows_of(name)
        places = {site.place: answers([tdx.at(row, site.place) if row in by_place else row for row in rows]) for site in sites}
        never = [place for place, given in places.items() if given and not good.intersection(given)]
        # All that never succeed in a line of their own; where none does, in one.
        groups = [[place] for place in never] if any(good.intersection(given) for given in places.values()) else [never]
        for group in filter(None, groups):
            given = answers([tdx.at(row, place) if row in by_place else row for row in rows for place in group])
            found.append(Refused(name, tuple(dict.fromkeys(site.process for site in sites if site.place in group)),
                                 tuple(sorted({place.line for place in group})), given))
    return found


def noted(test: "Test") -> frozenset[str]:
    """Calls of which answers have to be collected by place; runs do not ask."""
    sites = {} if test.leaves else _sites(test)
    return frozenset(row for name, of in sites.items() if test.uses_flows or len({site.place for site in of}) > 1 for row in tdx.rows_of(name))


def _sites(test: "Test") -> dict[str, list[Site]]:
    """By call: who makes it, and where."""
    functions = {node.decl.name: node for node in test.tree.ext if isinstance(node, c_ast.FuncDef)}
    calls, found = {*test.calls, *test.parts}, {}
    for process in sorted(name for name in functions if re.fullmatch(r"P\d+", name)):
        for name in _reached(functions, process, set()):
            for call, place in _calls(functions[name].body):
                if calls.intersection(tdx.rows_of(call)):
                    found.setdefault(call, []).append(Site(process, place))
    return found


def _reached(functions: dict, name: str, seen: set[str]) -> set[str]:
    """A function and all that it calls, themselves or by others."""
    seen.add(name)
    for other in tdx.called(functions[name]) & functions.keys() - seen:
        _reached(functions, other, seen)
    return seen


def _calls(node) -> list[tuple[str, Place]]:
    """(name, place) of the calls in a piece of C."""
    own = sorted(tdx.called_here(node))
    return [(name, place_of(node)) for name in own] + [call for _, child in node.children() for call in _calls(child)]
