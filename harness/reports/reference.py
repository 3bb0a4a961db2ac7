"""docs/result.md: every key of result.json, every counter, span and invariant, from the tables that make them."""

import inspect
import types
import typing
from pathlib import Path

from pydantic import BaseModel

from harness.files import write_file
from harness.protocol import counters, invariants
from harness.protocol.counted_answers import NOTES
from harness.reports.text import markdown
from harness.results import schema
from kernels.answers import AnswerKind

PAGE = Path("docs/result.md")
# What the kinds of values of results/schema.py are, and Python's.
WORDS = {"Count": "count", "Number": "number", "Share": "share (0 to 1)", "Seconds": "seconds", str: "text",
         bool: "true or false", int: "whole number", float: "number", dict: "table", type(None): "null",
         typing.Any: "anything"}


def page() -> str:
    """The whole page."""
    parts = _parts(schema.Result)
    return "\n".join([
        "# result.json", "",
        "What a run came to, as `python -m harness run --out DIR` saves it.  This page is made by `make docs` from"
        " harness/results/schema.py, harness/protocol/counters.py and harness/protocol/invariants.py.", "",
        "A rate or a share that there is nothing to divide by is null, and so is what nobody has looked at.", "",
        "## Keys", "",
        *(line for part in parts for line in _section(part)),
        "## busy_by_operand: BUSY by operand", "",
        "The operand that the answer names; behind it, where there is more to say:", "",
        *markdown(("behind it", "is"), [
            (f"`{NOTES[AnswerKind.BUSY_FOR_PRIORITY].strip()}`", "a guest's call: a host had asked for the lock first"),
            (f"`{NOTES[AnswerKind.INJECTED].strip()}`", "the policy has answered in the module's place")]),
        "## counters", "",
        "Of the measured part of a run, all actors together; a counter that the program of this run does not have is"
        " left out.", "",
        *markdown(("counter", "counts"), [(f"`{name}`", text) for name, text in counters.COUNTERS.items()]),
        "## spans_ns", "", "Each a summary.  A span that is in progress does not begin again.", "",
        *markdown(("span", "lasts"), [(f"`{name}`", text) for name, text in counters.SPANS.items()]),
        "## host_priority", "",
        "Over the whole run, the warm-up included.", "",
        *markdown(("key", "counts"), [(f"`{name}`", text) for name, text in counters.HOST_PRIORITY.items()]),
        "## invariants", "",
        "Violations of each; null: not checked.", "",
        *markdown(("invariant", "", "must be true", "found"), _invariants()),
    ]).rstrip() + "\n"


def _invariants() -> list[tuple[str, ...]]:
    of_all = [(each, invariants.FOUND[each.found]) for each in invariants.INVARIANTS]
    of_pamt = [(each, "with td.dpamt") for each in invariants.OF_PAMT if each.found == "running"]
    return [(f"`{each.name}`", each.number, each.meaning, found) for each, found in of_all + of_pamt]


def write(path: Path = PAGE) -> None:
    path.parent.mkdir(exist_ok=True)
    write_file(page(), path)


def _parts(model: type[BaseModel]) -> list[type[BaseModel]]:
    """A model and those that it is made of, each once, in the order of the file."""
    found = [model]
    for part in found:
        found += [each for hint in _hints(part).values() for each in _models(hint) if each not in found]
    return found


def _hints(part: type[BaseModel]) -> dict[str, typing.Any]:
    hints = typing.get_type_hints(part, include_extras=True)
    return {name: hints[name] for name in part.model_fields}


def _models(hint) -> list[type[BaseModel]]:
    if isinstance(hint, type) and not typing.get_args(hint) and issubclass(hint, BaseModel):
        return [hint]
    return [each for argument in typing.get_args(hint) for each in _models(argument)]


def _section(part: type[BaseModel]) -> list[str]:
    said = inspect.cleandoc(vars(part).get("__doc__") or "")
    rows = [(f"`{name}`", _spell(hint), _meaning(hint)) for name, hint in _hints(part).items()]
    heads = ("key", "is", "meaning") if any(meaning for _, _, meaning in rows) else ("key", "is")
    return [f"### {part.__name__}", "", *([said, ""] if said else []),
            *markdown(heads, [row[:len(heads)] for row in rows])]


def _meaning(hint) -> str:
    """What is said of a key: the text in Annotated[kind, text]."""
    return next((each for each in getattr(hint, "__metadata__", ()) if isinstance(each, str)), "")


def _spell(hint) -> str:
    """A type in words; a part by the link to its section."""
    if text := _meaning(hint):
        kinds = [each for each in hint.__metadata__ if each != text]
        return _spell(typing.Annotated[hint.__origin__, *kinds] if kinds else hint.__origin__)
    for name, alias in vars(schema).items():
        if name in WORDS and alias == hint:
            return WORDS[name]
    arguments = typing.get_args(hint)
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(map(_spell, arguments))
    if origin is typing.Annotated:
        return _spell(arguments[0])
    if origin is dict:
        return f"by name: {_spell(arguments[1])}"
    if origin is list:
        return f"list: {_spell(arguments[0])}"
    if hint in WORDS:
        return WORDS[hint]
    return f"[{hint.__name__}](#{hint.__name__.lower()})"
