"""Files written whole or not at all, and read with one line for what is wrong with them."""

import json
import os
import tempfile
from pathlib import Path

from harness.errors import ResultError


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
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ResultError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as problem:
        raise ResultError(f"{path}: cannot be read: {getattr(problem, 'strerror', None) or problem}") from None
    except json.JSONDecodeError as problem:
        raise ResultError(f"{path}: not JSON (damaged or cut off): {problem}") from None
