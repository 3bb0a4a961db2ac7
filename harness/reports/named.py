"""The release that `--module` names; known without the rows of the calls."""

from harness.errors import UsageError
from harness.files import read_toml
from harness.protocol import releases
from harness.protocol.releases import Release


def find_release(name: str, option: str) -> Release:
    """A release by name, or the one that a config or scenario (FILE.toml) names; raises UsageError."""
    try:
        return releases.find(_named_in(name, option) if name.endswith(".toml") else name)
    except releases.ReleaseError as problem:
        key = f"module.{problem.key} = {problem.value!r}: " if problem.key else ""
        raise UsageError(f"{option} {name}: {key}{problem.message}") from None


def _named_in(path: str, option: str) -> str:
    """The release of a file: a name, a table, or a list with one of them."""
    given = read_toml(path).get("module")
    if given is None:
        raise UsageError(f"{option} {path}: names no module; must have module = \"RELEASE\" or a table [module]")
    if isinstance(given, list) and len(given) == 1:
        [given] = given
    if not isinstance(given, str | dict):
        raise UsageError(f"{option} {path}: module = {given!r}: must be one release, or a table")
    return releases.spell(given) if isinstance(given, dict) else given
