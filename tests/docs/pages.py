"""The pages as links, headings and blocks of commands.

Commands are lines that begin with `python -m harness`, in a fenced block behind `$ ` where it also shows what they print,
in an indented one, or in a line of text.  Those of a block are run one behind the other in a folder of their own, which
has configs/, examples/ and what the page says that a file holds.  A comment before a fenced block says what it is:

    <!-- sample: lines -->         every line is printed, in this order; `...` stands for lines that are left out (default)
    <!-- sample: shape -->         the same, but numbers, and how wide columns are, differ from run to run
    <!-- sample: lines, slow -->   takes long: run by `make test-slow`; `slow` alone of commands without what they print
    <!-- sample: no, WHERE -->     not run here; WHERE names the test or the target of make that does
    <!-- file: NAME -->            what a file of the commands of this page holds
"""

import re
import shlex
from pathlib import Path
from typing import Iterator, NamedTuple

ROOT = Path(__file__).parent.parent.parent
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
BLOCK = re.compile(r"(?:<!-- (?P<what>sample|file): (?P<how>[^>]*) -->\n)?^(?P<indent> *)```(?P<language>\w*)\n(?P<text>.*?)^ *```$",
                   re.DOTALL | re.MULTILINE)
BARE = "python -m harness "
PROMPT = f"$ {BARE}"
NOTE = re.compile(r"\s{2,}#.*$")                # behind a command
INLINE = re.compile(rf"`{BARE}([^`]+)`")
MEASURE = ("run", "sweep", "nightly", "doctor")          # those in lines of text are slow
MADE_UP = re.compile(r"\b[A-Z]{3,}\b(?!_)|\.\.\.")       # `run --out DIR` stands for many commands


class Command(NamedTuple):
    """A command, as bash reads it, and the lines that it prints; [] where they are not shown."""

    words: str
    printed: list[str]

    @property
    def arguments(self) -> list[str]:
        return shlex.split(self.words.partition(" > ")[0], comments=True)


class Block(NamedTuple):
    """Commands that belong together; how: lines, shape or no."""

    page: str
    commands: list[Command]
    how: str = "lines"
    slow: bool = False
    where: str = ""                      # of those that are not run here

    @property
    def name(self) -> str:
        return f"{self.page}: {self.commands[0].words}"[:70]


def blocks() -> list[Block]:
    """Every block of commands of every page, then those in lines of text."""
    return [block for page in PAGES for block in (*_fenced(page), *_indented(page), *_inline(page))]


def _fenced(page: Path) -> Iterator[Block]:
    for block in BLOCK.finditer(page.read_text()):
        if found := _commands(block["text"]):
            how, _, rest = (block["how"] or "").partition(",")
            yield Block(page.name, found, how if how in ("shape", "no") else "lines", "slow" in (how, rest.strip()), rest.strip())


def _indented(page: Path) -> Iterator[Block]:
    for part in re.findall(r"(?:^    .*\n?)+", BLOCK.sub("", page.read_text()), re.MULTILINE):
        if found := [command for line in part.splitlines() for command in _commands(line.strip())]:
            yield Block(page.name, found)


def _inline(page: Path) -> Iterator[Block]:
    for words in INLINE.findall(re.sub(r"\s*\n\s*", " ", BLOCK.sub("", page.read_text()))):
        if not MADE_UP.search(words):
            yield Block(page.name, [Command(words, [])], slow=words.split()[0] in MEASURE)


def _commands(text: str) -> list[Command]:
    """Of a block that begins with a command."""
    lines = text.replace(" \\\n", " ").splitlines()
    begin = next((prefix for prefix in (PROMPT, BARE) if lines and lines[0].startswith(prefix)), None)
    if begin is None:
        return []
    starts = [number for number, line in enumerate(lines) if line.startswith(begin)]
    return [Command(NOTE.sub("", lines[start]).removeprefix(begin).strip(), lines[start + 1:end])
            for start, end in zip(starts, [*starts[1:], len(lines)])]


def files(page: str) -> dict[str, str]:
    """The files that a page shows, by name."""
    text = next(path for path in PAGES if path.name == page).read_text()
    return {block["how"].strip(): block["text"] for block in BLOCK.finditer(text) if block["what"] == "file"}


def links(page: Path) -> list[str]:
    return [target for target in re.findall(r"\]\(([^)]+)\)", BLOCK.sub("", page.read_text())) if "://" not in target]


def anchors(page: Path) -> set[str]:
    """The headings of a page, as links name them."""
    heads = re.findall(r"^#+ (.*)$", BLOCK.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}
