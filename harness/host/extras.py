"""Packages that only some commands need (the extras of pyproject.toml): what to type where they are missing.

pip, pipx and uv add a package to a program in different ways; each leaves a mark in the environment that it has made.
"""

import importlib.metadata
import importlib.util
import re
import sys
from pathlib import Path

from harness.errors import UsageError
from harness.host.fingerprint import DISTRIBUTION

# A file of the environment -> how a package is added to it; the first that is there counts.
MARKS = {
    "pipx_metadata.json": "pipx inject {program} {packages}",
    "uv-receipt.toml": "uv pip install --python {python} {packages}",
}
WITH_PIP = "{python} -m pip install {packages}"


def missing(wanted_by: str, extra: str) -> UsageError:
    """To be raised where an import failed.  wanted_by: what a person has asked for, such as `report`; extra: as in pyproject.toml."""
    names = _packages(extra)
    verb = "is" if len(names) == 1 else "are"
    return UsageError(f"{wanted_by}: {' and '.join(names)} {verb} not installed; `{_how(names)}` does it")


def _packages(extra: str) -> list[str]:
    """Names of what the extra asks for, as the installed program's metadata have it."""
    asked = importlib.metadata.requires(DISTRIBUTION) or []
    return [re.match(r"[\w.-]+", line)[0] for line in asked if re.search(rf"extra == ['\"]{extra}['\"]", line)]


def _how(packages: list[str]) -> str:
    prefix = Path(sys.prefix)
    marked = [how for name, how in MARKS.items() if (prefix / name).exists()]
    return (marked or [WITH_PIP])[0].format(program=DISTRIBUTION, python=sys.executable, packages=" ".join(packages))
