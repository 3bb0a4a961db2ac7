"""Result files: a folder for each run, with result.json in it, written whole or not at all."""

import json
import os
import tempfile
from pathlib import Path

from harness import shape
from harness.errors import ResultError

SCHEMA = "tdx-sept-harness/result/1"


def write(result: dict, out: str | Path) -> Path:
    """Write result.json into a new folder under `out`; returns its path.

    The file is there whole or not at all.  Raises OSError.
    """
    stamp = result["started_at"].replace(":", "").replace("-", "").replace("T", "-").removesuffix("Z")
    stem = f"{result['name']}-{stamp}"
    for number in range(1, 10_000):
        folder = Path(out) / (stem if number == 1 else f"{stem}-{number}")
        try:
            folder.mkdir(parents=True)
            break
        except FileExistsError:
            continue
    return write_file(json.dumps(result, indent=1) + "\n", folder / "result.json")


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


def read(path: str | Path) -> dict:
    """A result from its file, or from the folder that holds it.  Raises ResultError."""
    path = Path(path)
    if path.is_dir():
        path /= "result.json"
    result = read_json(path)
    schema = result.get("schema") if isinstance(result, dict) else None
    if schema != SCHEMA:
        raise ResultError(f"{path}: schema = {schema!r}: must be {SCHEMA!r}")
    shape.check(result, path)
    return result
