"""Configs, scenarios and litmus tests that come with the program: where they lie, and which one a word means.

In a checkout they are the folder configs/; in an installed program the same folder lies in the package.
"""

import os
from pathlib import Path

from harness.errors import UsageError, nearest
from harness.files import STANDARD_INPUT, reason

SUFFIXES = (".toml", ".litmus")
FOLDER = "configs"


def folder() -> Path:
    """The folder of what is shipped."""
    package = Path(__file__).parent.parent
    checkout = package.parent / FOLDER
    return checkout if (package.parent / "pyproject.toml").is_file() and checkout.is_dir() else package / FOLDER


def all_files() -> list[Path]:
    return sorted(path for path in folder().rglob("*") if path.suffix in SUFFIXES)


def name_of(path: Path) -> str:
    """How a shipped file is called: its path in the folder, without `.toml`."""
    inside = path.relative_to(folder())
    return str(inside.with_suffix("") if inside.suffix == ".toml" else inside)


def paths(words: list[str]) -> list[str]:
    """The files that the words of a command line mean, in their order.

    A word is `-` (standard input), a file, a folder (all files in it), a pattern, or the name of a shipped file.  Raises UsageError.
    """
    return [path for word in words for path in _paths(word)]


def _paths(word: str) -> list[str]:
    if word == STANDARD_INPUT:
        return [word]
    here = Path(word)
    if os.path.isdir(here):
        if found := sorted(path for path in here.iterdir() if path.suffix in SUFFIXES):
            return [str(path) for path in found]
        raise UsageError(f"{word}: a folder without *.toml and *.litmus")
    if os.path.exists(here):
        return [word]
    if "*" in word or "?" in word:
        try:
            found = sorted(Path().glob(word)) if not here.is_absolute() else []
            if not found:
                found = sorted(folder().glob(word.removeprefix(f"{FOLDER}/")))
        except (OSError, ValueError, NotImplementedError) as problem:        # `**x`; a pattern that begins with /
            raise UsageError(f"{word}: {reason(problem)}; must be a pattern such as explore/*.toml") from None
        if found := [str(path) for path in found if path.suffix in SUFFIXES]:
            return found
        raise UsageError(f"{word}: no file is like that, here or among those that are shipped")
    return [_named(word)]


def _named(word: str) -> str:
    """The shipped file of this name; the word itself if there is none, or none can be meant."""
    asked = word.removeprefix(f"{FOLDER}/").removesuffix(".toml")
    known = {name_of(path): path for path in all_files()}
    if asked in known:
        return str(known[asked])
    alike = [name for name in known if f"/{name}".removesuffix(".litmus").endswith(f"/{asked.removesuffix('.litmus')}")]
    if len(alike) == 1:
        return str(known[alike[0]])
    if alike:
        raise UsageError(f"{word}: several shipped files are called so: {', '.join(sorted(alike))}")
    if "/" not in word and "." not in word:
        names = {name.rpartition("/")[2]: name for name in known}
        raise UsageError(f"{word}: no such file, and no shipped config or scenario is called so{nearest(word, names)}")
    return word
