"""Files written whole or not at all, and read with one line for what is wrong with them."""

import json
import os
import tempfile
import tomllib
from pathlib import Path

from harness.errors import ResultError, UsageError, nearest


def write_file(text: str, path: Path) -> Path:
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".tmp")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)
        os.replace(temporary, path)
    except OSError:
        Path(temporary).unlink(missing_ok=True)
        if not any(path.parent.iterdir()):
            path.parent.rmdir()
        raise
    return path


def read_json(path: str | Path):
    """What a JSON file says.  Raises ResultError."""
    try:
        return json.loads(read_text(path, ResultError))
    except json.JSONDecodeError as problem:
        raise ResultError(f"{path}: not JSON (damaged or cut off): {problem}") from None


def read_toml(path: str | Path, named: str = "") -> dict:
    """The tables of a TOML file; `named` is how a message calls it.  Raises UsageError."""
    try:
        return tomllib.loads(read_text(path, UsageError, named, "*.toml"))
    except tomllib.TOMLDecodeError as problem:
        raise UsageError(f"{named or path}: not TOML: {problem}") from None


def read_text(path: str | Path, error: type[UsageError], named: str = "", pattern: str = "") -> str:
    """The text of a file.  Raises `error`; where there is no such file, with the nearest of those like `pattern`."""
    path = Path(path)
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        near = map(str, path.parent.glob(pattern)) if pattern else ()
        raise error(f"{named or path}: no such file{nearest(path, near)}") from None
    except (OSError, UnicodeDecodeError) as problem:
        raise error(f"{named or path}: cannot be read: {getattr(problem, 'strerror', None) or problem}") from None
