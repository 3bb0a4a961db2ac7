"""The pages as links, headings and samples.

A sample is a fenced block that begins with `$ python -m harness ...`; what follows is what that prints.  A comment
before the block says how the two are compared:

    <!-- sample: lines -->         every line is printed, in this order; `...` stands for lines that are left out (default)
    <!-- sample: shape -->         the same, but numbers, and how wide columns are, differ from run to run
    <!-- sample: lines, slow -->   takes long: run by `make test-slow`
    <!-- sample: no, REASON -->    not run
"""

import re
import shlex
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent.parent
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
BLOCK = re.compile(r"(?:<!-- sample: (?P<how>[^>]*) -->\n)?^(?P<indent> *)```\w*\n(?P<text>.*?)^ *```$", re.DOTALL | re.MULTILINE)
PROMPT = "$ python -m harness "
NOTE = re.compile(r"\s{2,}(\(.*\)|#.*)$")        # behind a command


class Sample(NamedTuple):
    """A command with what it prints; how: lines, shape or no."""

    page: str
    arguments: list[str]
    printed: list[str]
    how: str
    slow: bool
    first: bool                          # of several in a block, those before the last print nothing here

    @property
    def name(self) -> str:
        return f"{self.page}: {' '.join(self.arguments)}"[:70]


def samples() -> list[Sample]:
    found = []
    for page in PAGES:
        for block in BLOCK.finditer(page.read_text()):
            lines = block["text"].replace(" \\\n", " ").splitlines()
            starts = [number for number, line in enumerate(lines) if line.startswith(PROMPT)]
            if not starts or starts[0]:
                continue
            how, _, rest = (block["how"] or "lines").partition(",")
            for start, end in zip(starts, [*starts[1:], len(lines)]):
                command = NOTE.sub("", lines[start]).removeprefix(PROMPT)
                found.append(Sample(page.name, shlex.split(command), lines[start + 1:end], how.strip(), "slow" in rest,
                                    end != len(lines)))
    return found


def commands() -> list[tuple[str, list[str]]]:
    """(page, arguments) of every command line in a fenced or an indented block, samples among them."""
    found = [(sample.page, sample.arguments) for sample in samples()]
    for page in PAGES:
        for line in page.read_text().replace(" \\\n", " ").splitlines():
            if line.lstrip().startswith("python -m harness "):
                found.append((page.name, shlex.split(NOTE.sub("", line.strip()), comments=True)[3:]))
    return found


def links(page: Path) -> list[str]:
    return [target for target in re.findall(r"\]\(([^)]+)\)", BLOCK.sub("", page.read_text())) if "://" not in target]


def anchors(page: Path) -> set[str]:
    """The headings of a page, as links name them."""
    heads = re.findall(r"^#+ (.*)$", BLOCK.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}
