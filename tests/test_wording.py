"""Words for which the field has a better one: none is left in code, configs, docs or tests."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
INSTEAD = {"put aside": "preempted", "told": "reported, distinguished", "whose": "a sentence of its own", "somebody": "the actor"}
WORD = re.compile(r"\b(" + "|".join(INSTEAD) + r")\b", re.IGNORECASE)
KINDS = (".py", ".md", ".toml", ".litmus")


@pytest.mark.parametrize("folder", ["harness", "kernels", "configs", "docs", "tests", "."])
def test_the_field_has_a_better_word(folder):
    paths = ROOT.glob("*") if folder == "." else (ROOT / folder).rglob("*")
    found = [f"{path.relative_to(ROOT)}:{number}: {match[0]}: rather {INSTEAD[match[0].lower()]}"
             for path in sorted(paths) if path.suffix in KINDS and path != Path(__file__)
             for number, line in enumerate(path.read_text().splitlines(), 1) if (match := WORD.search(line))]
    assert not found, "\n".join(found)
