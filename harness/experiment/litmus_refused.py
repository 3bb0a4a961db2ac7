"""Calls of the module that a litmus test makes and that succeed in no interleaving: mostly the world is not the one that is meant.

What a call answers is collected by its name: one that succeeds in one place of the file, or in KVM's own flows, is not listed.
"""

import re
from typing import TYPE_CHECKING, NamedTuple

from pycparser import c_ast

from harness.protocol.litmus import tdx
from harness.protocol.litmus.source import place_of
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


def refused(test: "Test", answered: set[tuple[str, str]]) -> list[Refused]:
    """Of a complete search, which has seen `answered`: (call, answer).  Calls that nothing answers are not there."""
    good = {answer.name for answer in test.program.answers if answer.kind in SUCCEEDED}
    busy = {answer.name for answer in test.program.answers if answer.busy}
    found = []
    for name, sites in _sites(test).items():
        answers = sorted((answer for call, answer in answered if call in tdx.rows_of(name)), key=lambda answer: (answer in busy, answer))
        if answers and not good.intersection(answers):
            processes, lines = zip(*sites)
            found.append(Refused(name, tuple(dict.fromkeys(processes)), tuple(sorted(set(lines))), tuple(dict.fromkeys(answers))))
    return found


def _sites(test: "Test") -> dict[str, list[tuple[str, int]]]:
    """By call: (process, line) of each place in which a process makes it, itself or in a helper function."""
    functions = {node.decl.name: node for node in test.tree.ext if isinstance(node, c_ast.FuncDef)}
    calls, found = {*test.calls, *test.parts}, {}
    for process in sorted(name for name in functions if re.fullmatch(r"P\d+", name)):
        for name in _reached(functions, process, set()):
            for call, line in _calls(functions[name].body):
                if calls.intersection(tdx.rows_of(call)):
                    found.setdefault(call, []).append((process, line))
    return found


def _reached(functions: dict, name: str, seen: set[str]) -> set[str]:
    """A function and all that it calls, themselves or by others."""
    seen.add(name)
    for other in tdx.called(functions[name]) & functions.keys() - seen:
        _reached(functions, other, seen)
    return seen


def _calls(node) -> list[tuple[str, int]]:
    """(name, line) of the calls in a piece of C."""
    own = sorted(tdx.called_here(node))
    return [(name, place_of(node).line) for name in own] + [call for _, child in node.children() for call in _calls(child)]
