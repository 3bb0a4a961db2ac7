"""docs/keys.md: every key of configs and scenarios, from their JSON Schema."""

from pathlib import Path

from harness.experiment import schemas
from harness.files import write_file
from harness.reports.text import markdown

PAGE = Path("docs/keys.md")
WORDS = {"policy": "a name, or a table", "guest": "a name, or a table", "module": "a release, or a table"}
BOUNDS = (("minimum", "at least {}"), ("exclusiveMinimum", "more than {}"), ("maximum", "at most {}"),
          ("exclusiveMaximum", "less than {}"), ("multipleOf", "a multiple of {}"))


def page() -> str:
    lines = ["# Every key of configs and scenarios", "",
             "Made by `make docs` from the models; `python -m harness schema` (and `schema scenario`) prints them as JSON Schema,"
             " for an editor.  [config.md](config.md) is the introduction.", ""]
    for title, schema in (("Configs", schemas.of_configs()), ("Scenarios", schemas.of_scenarios())):
        lines += [f"## {title}", "", *markdown(("key", "default", "value", "meaning"), rows(schema))]
    for title, schema in (("policy, as a table", _as_table(schemas.of_configs(), "policy")),
                          ("guest, as a table", _as_table(schemas.of_configs(), "guest")),
                          ("module, as a table", _as_table(schemas.of_configs(), "module"))):
        lines += [f"## {title}", "", *markdown(("key", "meaning"), [
            (f"`{key}`", each.get("description", "")) for key, each in schema["properties"].items()])]
    return "\n".join(lines).rstrip("\n") + "\n"


def write(root: Path = Path()) -> None:
    write_file(page(), root / PAGE)


def _as_table(schema: dict, key: str) -> dict:
    return next(each for each in schema["properties"][key]["anyOf"] if "properties" in each)


def rows(schema: dict, prefix: str = "", part: dict | None = None) -> list[tuple[str, ...]]:
    """A row per key: dotted, with its default, what it may be, and what it means."""
    found = []
    for name, key in (part or schema)["properties"].items():
        inner = schema["$defs"].get(key["$ref"].rpartition("/")[2]) if "$ref" in key else None
        if inner and "properties" in inner:
            found += rows(schema, f"{prefix}{name}.", inner)
            continue
        default = key.get("default")
        shown = "" if default in (None, "", [], {}) else f"`{str(default).lower() if isinstance(default, bool) else default}`"
        found.append((f"`{prefix}{name}`", shown, WORDS.get(name, _value(key)), key.get("description", "")))
    return found


def _value(key: dict) -> str:
    """What a key may be, in words."""
    if "enum" in key:
        return ", ".join(f"`{each}`" for each in key["enum"] if each != "")
    if "const" in key:
        return f"`{key['const']}`"
    if "anyOf" in key:
        return " or ".join(dict.fromkeys(_value(each) for each in key["anyOf"] if each.get("type") != "null"))
    if "$ref" in key:
        return "table"
    bounds = [text.format(_number(key[name])) for name, text in BOUNDS if name in key]
    kind = key.get("type", "")
    if kind == "array":
        return f"list of {_value(key.get('items', {})) or 'values'}"
    names = {"integer": "whole number", "number": "number", "string": "text", "boolean": "`true`, `false`", "object": "table"}
    return ", ".join([names.get(kind, str(kind)), *bounds])


def _number(value) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
