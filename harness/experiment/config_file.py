"""Configs as TOML files: read, changed by `--set KEY=VALUE`, and checked before anything is started.

Whatever is wrong is said in one line that names file, key, value and what is allowed.  Checking and its
bookkeeping are pydantic's; the sentences are ours.
"""

import tomllib
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from harness.errors import UsageError, meant, program
from harness.experiment.config import Bound, Config, KeyProblem, Table
from harness.files import DEPTH_MOST, STANDARD_INPUT, from_toml, read_toml, stem

# What a kind of pydantic's errors says is allowed.
LIMITS = {
    "greater_than_equal": "must be at least {ge}",
    "greater_than": "must be more than {gt}",
    "less_than_equal": "must be at most {le}",
    "less_than": "must be less than {lt}",
    "multiple_of": "must be a multiple of {multiple_of}",
    "int_type": "must be a whole number", "float_type": "must be a number",
    "bool_type": "must be true or false", "string_type": "must be a string",
    "tuple_type": "must be a list",
    "model_type": "must be a table", "dict_type": "must be a table",
    "string_pattern_mismatch": "must be letters, digits, '_', '-' or '.', at most 64",
    "missing": "every config names a policy",
}


class Given(NamedTuple):
    """The tables of a config, not yet checked."""

    table: dict
    path: str
    origins: dict[str, str] = {}             # dotted key -> the override that set it


def load(path: str | Path, overrides: list[str] = ()) -> Config:
    """The config in a TOML file, with `KEY=VALUE` overrides (dotted keys, TOML values).  Raises UsageError."""
    return check(read(path, overrides))


def read(path: str | Path, overrides: list[str] = ()) -> Given:
    """A TOML file with overrides put in.  Raises UsageError."""
    table = read_toml(path)
    if "actors" in table or "pairs" in table:
        raise UsageError(f"{path}: is a scenario, not a config: {program()} explore {path}")
    origins = {}
    for override in overrides:
        key, value = parse_override(override)
        put(table, key, value, f"--set {override}")
        origins[key] = f"--set {override}"
    table.setdefault("name", stem(path))
    return Given(table, "standard input" if path == STANDARD_INPUT else str(path), origins)


def parse_override(text: str) -> tuple[str, Any]:
    """`td.vcpus=8` -> ("td.vcpus", 8).  A value that is no TOML is taken as a string."""
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise UsageError(f"--set {text}: must be KEY=VALUE, with a dotted KEY such as td.vcpus")
    try:
        found = from_toml(f"value = {value}")
    except tomllib.TOMLDecodeError:
        found = {}
    except ValueError as problem:
        raise UsageError(f"--set {key.strip()}: {problem}") from None
    return key.strip(), found["value"] if len(found) == 1 else value.strip()


def put(table: dict, key: str, value, override: str) -> None:
    """Set a dotted key in nested tables.  A release that was only named becomes the base of one of your own."""
    *parents, last = key.split(".")
    if len(parents) >= DEPTH_MOST:
        raise UsageError(f"{override}: nested too deep; must be at most {DEPTH_MOST} levels")
    if parents == ["module"] and isinstance(table.get("module"), str):
        table["module"] = {"base": table["module"]}
    for parent in parents:
        table = table.setdefault(parent, {})
        if not isinstance(table, dict):
            raise UsageError(f"{override}: {parent} is a value, not a table")
    table[last] = value


def check(given: Given) -> Config:
    """A Config from tables.  Raises UsageError for the first problem found."""
    path = given.path
    if "sweep" in given.table:
        raise UsageError(f"{path}: sweep: this config is for `{program()} sweep {path}`")
    try:
        return Config.model_validate(given.table)
    except ValidationError as errors:
        # What is missing may be there under a name that is misspelled, which is the better thing to say.
        error = min(errors.errors(include_url=False), key=lambda error: error["type"] == "missing")
    key, value, message = explain(error)
    if error["type"] == "missing":
        raise UsageError(f"{path}: {key}: is missing; {message}")
    raise mistake(given.origins.get(key, path), key, value, message)


def mistake(where: str, key: str, value, message: str) -> UsageError:
    """The line about a key of a file."""
    text = repr(value) if not isinstance(value, bool) else str(value).lower()
    return UsageError(f"{where}: {key} = {text if len(text) <= 60 else text[:57] + '...'}: {message}")


def explain(error: dict, model: type[Table] = Config) -> tuple[str, Any, str]:
    """(dotted key, value given, what is wrong and what is allowed) of a pydantic error about `model`."""
    problem = error.get("ctx", {}).get("error")
    if isinstance(problem, KeyProblem):
        return problem.key, problem.value, problem.message
    location = [part for part in error["loc"] if not isinstance(part, int)]
    key, context = ".".join(map(str, location)), error.get("ctx", {})
    if error["type"] == "extra_forbidden":
        known, given = known_keys(location[:-1], model), error["input"]
        within = next((name for name in given if name in known), None) if isinstance(given, dict) else None     # `run.duration_s`
        return key, given, f"unknown key; {meant(within or location[-1], known)}known: {', '.join(known)}"
    if error["type"] == "literal_error":
        allowed = [part.strip("' ") for part in context["expected"].replace(" or ", ", ").split(",")]
        return key, error["input"], f"{meant(error['input'], allowed)}must be one of {', '.join(allowed)}"
    message = LIMITS.get(error["type"], error["msg"])
    if error["type"].endswith("_type") and key.endswith("_s"):
        message += " of seconds"
    return key, error["input"], message.format(**context)


def known_keys(location, model: type[Table] = Config) -> list[str]:
    """The keys that a table of a config may have."""
    for part in location:
        field = model.model_fields.get(part)
        if field is None or not isinstance(field.annotation, type) or not issubclass(field.annotation, Table):
            return list(Bound.model_fields)
        model = field.annotation
    return list(model.model_fields)
