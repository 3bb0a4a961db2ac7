"""Result files: a folder for each run, with result.json in it, written whole or not at all.

A file that is damaged inside (a count that is a word, a missing key, NaN, a rate above 1, counts that
do not add up) is refused as a whole, with the key that is wrong, and is never half used.
"""

import contextlib
import json
import os
import re
from pathlib import Path
from typing import Sequence

from pydantic import ValidationError

from harness.errors import ResultError
from harness.files import read_json, write_file
from harness.results.consistency import contradictions
from harness.results.identity import digest
from harness.results.schema import FROM_A_FILE, SCHEMA, UNTRUSTWORTHY, Result, first_problem

STEM_MAX = 100
SAME_ANYWAY = ("seed", "repeats", "expect")      # results that differ in these are of one kind


def write(result: Result, out: str | Path, settings: Sequence[str] = ()) -> Path:
    """Write result.json into a new folder under `out`; returns its path.

    settings   what was set beside the config, as `KEY=VALUE`: in the folder's name, so that a pattern such as
               `results/kick_on_busy-*` names runs that can be compared

    The file is there whole or not at all.  Raises OSError.
    """
    stamp = result.started_at.replace(":", "").replace("-", "").replace("T", "-").removesuffix("Z")
    stem = f"{stem_of(result.name, settings)}-{stamp}"
    for number in range(1, 10_000):
        folder = Path(out) / (stem if number == 1 else f"{stem}-{number}")
        try:
            folder.mkdir(parents=True)
            break
        except FileExistsError:
            continue
    else:
        raise FileExistsError(17, "10,000 results of this name and second are there already", str(Path(out) / stem))
    try:
        return write_file(json.dumps(result.document(), indent=1) + "\n", folder / "result.json")
    except OSError:
        with contextlib.suppress(OSError):
            folder.rmdir()                               # made above, and empty
        raise


def stem_of(name: str, settings: Sequence[str]) -> str:
    """`kick_on_busy,loop=open`: the name of a config and what was set; where that is long, its digest for the rest."""
    words = []
    for setting in settings:
        key, _, value = setting.partition("=")
        if key.partition(".")[0] not in SAME_ANYWAY:
            words.append(f"{key.rpartition('.')[2]}={re.sub(r'[^A-Za-z0-9_.+]+', '_', value).strip('_')}")
    stem = ",".join([name, *words])
    return stem if len(stem) <= STEM_MAX else f"{stem[:STEM_MAX]},{digest(words)}"


def read(path: str | Path) -> Result:
    """A result from its file, or from the folder that holds it.  Raises ResultError."""
    path = Path(path)
    if os.path.isdir(path):
        path /= "result.json"
    document = read_json(path)
    schema = document.get("schema") if isinstance(document, dict) else None
    if schema != SCHEMA:
        raise ResultError(f"{path}: schema = {schema!r}: must be {SCHEMA!r}")
    return check(document, path)


def check(document: dict, path) -> Result:
    """A result from what a file says; raises ResultError naming the file and the first key that is wrong.

    A result that says of itself that it is UNTRUSTWORTHY need not add up.
    """
    try:
        result = Result.model_validate({key: value for key, value in document.items() if key != "schema"},
                                       context=FROM_A_FILE)
    except ValidationError as errors:
        raise ResultError(f"{path}: {first_problem(errors)} (damaged, or of another version)") from None
    if result.verdict.status != UNTRUSTWORTHY and (wrong := next(contradictions(result), None)):
        raise ResultError(f"{path}: {wrong} (damaged, or of another version)")
    return result
