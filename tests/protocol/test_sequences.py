"""Every sequence that was worked out from the module's source is a test, and is tried with both primitives.

A sequence is S1 ... S30 (release 1.5.05) or N1 ... N28 (later releases); its tests are called test_s1_..., test_n1_...
The primitive says how the bits of an SEPT entry are changed (`cas`, `bts`): a test of lock words alone has none.
"""

import functools
import importlib
import inspect
import re
from pathlib import Path

import pytest

HERE = Path(__file__).parent
NAME = re.compile(r"test_([sn]\d+)(?=[a-c]?_)")
EVERY = [f"s{number}" for number in range(1, 31)] + [f"n{number}" for number in range(1, 29)]
BOTH = {"primitive", "stage", "dynamic", "both_primitives"}          # fixtures that try each primitive
# Of lock words alone: sharex and sharex_hp locks, on which the primitives are the same instructions.
NO_ENTRY = {"s1", "s2", "s3", "s4", "s5", "s6", "s7", "s9", "s10"}


@functools.cache
def sequences() -> list[tuple[str, str, bool]]:
    """(sequence, name of the test, whether it is run once with each primitive) of every such test of this room."""
    found = []
    for path in sorted(HERE.glob("test_*.py")):
        if not NAME.search(path.read_text()):
            continue
        module = importlib.import_module(f"tests.protocol.{path.stem}")
        marks = {name for mark in marks_of(module) if mark.name == "usefixtures" for name in mark.args}
        for name, function in inspect.getmembers(module, inspect.isfunction):
            if (match := NAME.match(name)) and function.__module__ == module.__name__:
                found.append((match[1], name, bool(BOTH & ({*inspect.signature(function).parameters} | marks))))
    return found


def marks_of(module) -> list:
    marks = getattr(module, "pytestmark", [])
    return marks if isinstance(marks, list) else [marks]


@pytest.mark.parametrize("sequence", EVERY)
def test_a_sequence_is_tested_with_both_primitives(sequence):
    tries = [both for found, _, both in sequences() if found == sequence]
    assert tries and any(tries) == (sequence not in NO_ENTRY)


def test_no_other_sequence_is_named():
    assert {found for found, _, _ in sequences()} == set(EVERY)
