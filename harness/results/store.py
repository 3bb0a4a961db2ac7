"""Result files: a folder for each run, with result.json in it, written whole or not at all."""

import json
from pathlib import Path

from harness.errors import ResultError
from harness.files import read_json, write_file
from harness.results.schema import SCHEMA, Result, check


def write(result: Result, out: str | Path) -> Path:
    """Write result.json into a new folder under `out`; returns its path.

    The file is there whole or not at all.  Raises OSError.
    """
    stamp = result.started_at.replace(":", "").replace("-", "").replace("T", "-").removesuffix("Z")
    stem = f"{result.name}-{stamp}"
    for number in range(1, 10_000):
        folder = Path(out) / (stem if number == 1 else f"{stem}-{number}")
        try:
            folder.mkdir(parents=True)
            break
        except FileExistsError:
            continue
    return write_file(json.dumps(result.document(), indent=1) + "\n", folder / "result.json")


def read(path: str | Path) -> Result:
    """A result from its file, or from the folder that holds it.  Raises ResultError."""
    path = Path(path)
    if path.is_dir():
        path /= "result.json"
    document = read_json(path)
    schema = document.get("schema") if isinstance(document, dict) else None
    if schema != SCHEMA:
        raise ResultError(f"{path}: schema = {schema!r}: must be {SCHEMA!r}")
    return check(document, path)
