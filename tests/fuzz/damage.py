"""What is done to a valid document: values of another shape at any place, missing keys, damaged bytes."""

import copy
import json
from random import Random


class Raw(str):
    """Stands in a document as it is, for what a serializer would not write."""


def nested(depth: int) -> Raw:
    return Raw("[" * depth + "]" * depth)


CONTROL = "a\x1b[31m\x07\x85\u202e\nforged: line\r\t"
# Of every kind that a document can hold; most are wrong wherever they stand.
VALUES = (
    Raw("9" * 5_000), Raw("-" + "9" * 5_000), nested(1_500), nested(90), Raw("1e400"), Raw("-1e400"), Raw("1" + "0" * 400),
    10 ** 400, 10 ** 30, 1 << 64, (1 << 63) - 1, -(1 << 63), -1, 0, 1, 3, 0.5, 1e308, 5e-324, True, False,
    "", "x", CONTROL, "=HYPERLINK(\"x\")", "x" * 5_000, "\u0661", "\u00b2", "1.5.06+a=" + "9" * 5_000, "../" * 2_000, "a\0b", "9" * 5_000,
    [], [[]], [0], [""], [{}], {}, {"a": 1}, {"": ""}, {CONTROL: CONTROL}, {"base": "kick_on_busy", "name": CONTROL}, ["x"] * 3_000,
)
JSON_ONLY = (Raw("NaN"), Raw("Infinity"), Raw("-Infinity"), Raw('"\\ud800"'), Raw('{"\\udfff": 1}'), None)
TOML_ONLY = (Raw("nan"), Raw("inf"), Raw("-inf"), Raw('"\\ud800"'), Raw("1979-05-27"), Raw("1979-05-27T07:32:00Z"), Raw("07:32:00"))
NAMES = ("", "x", CONTROL, "x" * 5_000, "__proto__", "=1", "9" * 5_000)
BYTES = (b"\0", b"\xff", b"\xed\xa0\x80", b"\n", b"\r", b"=", b"[", b"{", b"}", b"]", b'"', b"'", b",", b"\x1b[31m", b"9" * 5_000,
         b"[" * 1_500, b"(" * 1_500, b"\xef\xbb\xbf", b"NaN", b"-", b"/*", b"#", b";", b"*", b"\\", "\u0661\u00b2".encode())


def places(document, path=()):
    """The path of every value in a document, itself among them."""
    yield path
    inner = document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    for key, value in inner:
        yield from places(value, (*path, key))


def changed(document, random: Random, values) -> object:
    """A copy of which one to three places are other values, missing, or have a further key."""
    document = copy.deepcopy(document)
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        *above, last = random.choice([path for path in places(document) if path] or [("x",)])
        parent = document
        for key in above:
            parent = parent[key]
        kind = random.choice(("value", "value", "value", "missing", "further", "renamed"))
        if kind == "missing":
            parent.pop(last, *(() if isinstance(parent, list) else (None,)))
        elif kind == "value" or isinstance(parent, list):
            parent[last] = copy.deepcopy(random.choice(values))
        elif kind == "further":
            parent[random.choice(NAMES)] = copy.deepcopy(random.choice(values))
        else:
            parent[random.choice(NAMES)] = parent.pop(last, 0)
    return document


def as_json(value) -> str:
    if isinstance(value, Raw):
        return str(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)}: {as_json(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(as_json, value)) + "]"
    return _number(value)


def as_toml(table) -> str:
    """Each key of the top table on a line, with what it holds inline."""
    return "".join(f"{_quoted(key)} = {inline(value)}\n" for key, value in table.items())


def inline(value) -> str:
    if isinstance(value, Raw):
        return str(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_quoted(key)} = {inline(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(inline, value)) + "]"
    return _quoted(value) if isinstance(value, str) else _number(value)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _number(value) -> str:
    return "1" + "0" * 400 if value == 10 ** 400 and not isinstance(value, float) else json.dumps(value)


def damaged(raw: bytes, random: Random) -> bytes:
    """Bytes cut off, changed, doubled or put in."""
    for _ in range(random.choice((1, 1, 2, 4))):
        at = random.randint(0, len(raw))
        kind = random.choice(("cut", "put in", "put in", "changed", "left out", "doubled"))
        if kind == "cut":
            raw = raw[:at]
        elif kind == "put in":
            raw = raw[:at] + random.choice(BYTES) + raw[at:]
        elif kind == "changed":
            raw = raw[:at] + bytes([random.randrange(256)]) + raw[at + 1:]
        elif kind == "left out":
            raw = raw[:at] + raw[at + random.randint(1, 40):]
        else:
            raw = raw[:at] + raw[at:at + 400] + raw[at:]
    return raw
