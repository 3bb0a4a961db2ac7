"""Arguments that several commands take, and the refusals that several share."""

import errno
import os
import tempfile
from pathlib import Path

from harness.errors import UsageError, meant
from harness.files import reason
from harness.protocol.policies import BY_NAME, POLICIES
from harness.results.identity import COMPARABLE

OUT = "results"
ROOM = 64 << 10                  # bytes that a place for results must have; a result has some 20,000
FORMATS = ("table", "github", "csv", "json")       # of reports/text.py
TABLE_OR_JSON = ("table", "json")                   # of what is no single table


def add_format(parser, formats: tuple[str, ...] = FORMATS) -> None:
    """What every command has that prints an answer; tests/commands/test_format.py names those that have none, and why."""
    parser.add_argument("--format", choices=formats, default="table", help="how to print (default: table)")


def add_overrides(parser, text: str) -> None:
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides", help=text)


def add_out(parser, what: str = "result folders") -> None:
    parser.add_argument("--out", default=OUT, metavar="DIR", help=f"where {what} go (default: {OUT})")


def add_results(parser) -> None:
    parser.add_argument("results", nargs="+", metavar="RESULT", help="a result.json, or the folder that holds it")


def add_comparison(parser) -> None:
    """What a comparison is against, and what may differ in it."""
    parser.add_argument("--baseline", metavar="POLICY", help="compare with this row (default: the first)")
    parser.add_argument("--across", action="append", default=[], choices=COMPARABLE,
                        help="compare results that differ in this; may be given again")


def add_module(parser) -> None:
    parser.add_argument("--module", metavar="RELEASE", default="1.5.05", help="a release (default: 1.5.05)")


# --- refusals, before anything is measured -----------------------------------------------------

def check_range(option: str, value: int | None, least: int, most: int | None = None) -> None:
    """Raises UsageError for a number out of its range."""
    if value is not None and (value < least or most is not None and value > most):
        limit = "" if most is None else f" and at most {most}"
        raise UsageError(f"{option} {value}: must be at least {least}{limit}")


def check_not_given(given: dict, why: str) -> None:
    """Raises UsageError for the first of these options that was given: it would say nothing."""
    for name, value in given.items():
        if value is not None and value is not False:
            shown = "" if value is True else f" {', '.join(value) if isinstance(value, list) else value}"
            raise UsageError(f"--{name.replace('_', '-')}{shown}: {why}")


def check_folder(option: str, folder: Path) -> None:
    """Raises UsageError for a place where no folder can be made or filled: one is made there, with a file, and removed."""
    existing = next(path for path in (folder, *folder.absolute().parents) if os.path.lexists(path))
    if not os.path.isdir(existing):
        raise UsageError(f"{option} {folder}: {existing} is a file; must be a folder")
    try:
        made = tempfile.mkdtemp(prefix=".", dir=existing)
        try:
            for name in folder.absolute().relative_to(existing.absolute()).parts:
                os.mkdir(os.path.join(made, name))       # a name may be too long, or hold what none can
                os.rmdir(os.path.join(made, name))
            with tempfile.TemporaryFile(dir=made) as file:
                file.write(bytes(ROOM))                  # a disk may be full
        finally:
            os.rmdir(made)
    except (OSError, ValueError) as problem:
        raise UsageError(f"{option} {folder}: {existing} cannot be written: {reason(problem)}; must be a folder that can") from None


def check_file(option: str, path: Path) -> None:
    """Raises UsageError for a file that cannot be written beside what is there."""
    try:
        if os.path.islink(os.path.realpath(path)):
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        os.lstat(path)
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as problem:             # a name that is too long, or holds what none can
        raise UsageError(f"{option} {path}: {reason(problem)}; must be a file that can be written") from None
    if os.path.isdir(path):
        raise UsageError(f"{option} {path}: is a folder; must be a file")
    if os.path.exists(path) and not os.path.isfile(path) and os.access(path, os.W_OK):
        return                                           # a device, or a pipe to another program
    if not os.path.isdir(path.parent):
        raise UsageError(f"{option} {path}: {path.parent} is no folder; must be one that can be written")
    try:
        check_folder("", path.parent)
    except UsageError as problem:
        raise UsageError(f"{option} {path}:{problem.args[0].partition(':')[2]}") from None


def policies(names: str | None) -> list[str]:
    """The policies that --policies asks for, none where it was not given.  Raises UsageError."""
    if names is None:
        return []
    chosen = [policy.name for policy in POLICIES] if names == "all" else names.split(",")
    for name in chosen:
        if name not in BY_NAME:
            raise UsageError(f"--policies {names}: {name!r} is not a policy; {meant(name, BY_NAME)}known: all,"
                             f" {', '.join(BY_NAME)}")
    return chosen
