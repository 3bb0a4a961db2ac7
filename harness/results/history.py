"""The memory of nightly jobs: one file of JSON lines per series, one line per night.

A *series* is what may be compared from night to night: workload, policy, module release, engine and
the stable fields of the machine.  Another machine is another series, with a memory of its own.

    {"schema": "tdx-sept-harness/history/1",
     "series":  {"name", "engine", "module", "primitive", "workload", "machine", "policy", "words"},
     "night":   "2026-11-21T03:00:00Z",      when the night began
     "commit":  "4f0c1d2",                   what was tested; "" if unknown
     "verdict": "VALID",                     the worst of its blocks; UNTRUSTWORTHY nights count for nothing
     "disturbed": false,                     whether most blocks ran beside another load: no changes are looked for
     "values":  {metric: [one per block]},   metrics of harness/results/metrics.py, units in their names
     "rerun":   {metric: [one per block]},   where a change was suspected
     "alarms":  [{"metric", "kind", "since", "before", "after", "first_bad", "last_good"}],
     "machine": {...}}                       all that is known of it, kernel and packages included

Lines that are damaged, cut off, of another schema or of another series are named and skipped; the
rest is used.  A line is appended whole, with one write; what was cut off before it stays one bad line.
"""

import json
import os
import re
from pathlib import Path
from typing import Annotated, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError

from harness.results.changes import night_value
from harness.errors import UsageError
from harness.files import from_json, read_bytes
from harness.results.identity import Identity, digest
from harness.results.metrics import BY_KEY, FATAL, impossible
from harness.results.schema import UNTRUSTWORTHY, Status, first_problem

RARE = {metric.key for metric in FATAL}
SCHEMA = "tdx-sept-harness/history/1"


class Part(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)


class Key(Part):
    """A series' key as it stands in each line."""

    name: str
    engine: str
    module: str
    primitive: str
    workload: str
    machine: str
    policy: str
    words: str


class Alarm(Part):
    """A confirmed change; `since` is the night that it is seen from, `first_bad` and `last_good` commits."""

    metric: str
    kind: Annotated[str, Field(pattern="^(step|drift)$")]
    since: str
    before: FiniteFloat
    after: FiniteFloat
    first_bad: str
    last_good: str


class Night(Part):
    """A line."""

    series: Key
    night: Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")]
    commit: str
    verdict: Status
    disturbed: bool = False
    values: dict[str, list[FiniteFloat]]
    rerun: dict[str, list[FiniteFloat]] = {}
    alarms: list[Alarm] = []
    machine: dict = {}


class Series(NamedTuple):
    """A key, where its nights are kept, the nights so far (oldest first), and what was skipped."""

    key: Key
    path: Path
    nights: list[Night]
    problems: list[str]

    def known(self, metric: str) -> list[tuple[Night, float]]:
        """The nights that have a number of a metric, each with it; none beside another load."""
        return [(night, night_value(night.values[metric], metric in RARE)) for night in self.nights
                if night.verdict != UNTRUSTWORTHY and not night.disturbed and night.values.get(metric)]

    def start(self, metric: str) -> int:
        """The index, in `known`, of the first night since the last alarm on a metric."""
        since = max((alarm.since for night in self.nights for alarm in night.alarms if alarm.metric == metric),
                    default="")
        return sum(night.night < since for night, _ in self.known(metric))


def key_of(name: str, identity: Identity) -> Key:
    return Key(name=name, **identity._asdict())


def path_of(folder: Path, key: Key) -> Path:
    readable = re.sub(r"[^A-Za-z0-9_.-]", "_", f"{key.name}-{key.module}-{key.engine}")[:80]
    return folder / f"{readable}-{digest(key.model_dump())}.jsonl"


def open_series(folder: str | Path, key: Key) -> Series:
    path = path_of(Path(folder), key)
    nights, problems = read(path, key)
    return Series(key, path, nights, problems)


def read(path: Path, key: Key | None = None) -> tuple[list[Night], list[str]]:
    """(nights of a file, what was skipped).  A missing file has none.  Raises UsageError if unreadable.

    key   the series that the lines must be of; None: that of the first good line
    """
    try:
        os.lstat(path)
    except FileNotFoundError:
        return [], []
    except OSError:
        pass                                         # read_bytes says which
    lines = read_bytes(path).split(b"\n")
    nights, problems = [], []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            night = _parse(line)
            if night.series != (key or night.series):
                raise ValueError("of another series")
        except ValueError as problem:
            problems.append(str(UsageError(f"{path}: line {number}: skipped: {problem}")))
            continue
        key = key or night.series
        nights.append(night)
    return nights, problems


def _parse(line: bytes) -> Night:
    """Raises ValueError with a sentence."""
    document = from_json(line)
    schema = document.get("schema") if isinstance(document, dict) else None
    if schema != SCHEMA:
        raise ValueError(f"schema = {schema!r}: must be {SCHEMA!r}")
    try:
        night = Night.model_validate(document)
    except ValidationError as errors:
        raise ValueError(first_problem(errors)) from None
    for table, numbers in (("values", night.values), ("rerun", night.rerun)):
        for key, value in ((key, value) for key, blocks in numbers.items() if key in BY_KEY for value in blocks):
            if must := impossible(BY_KEY[key], value):
                raise ValueError(f"{table}.{key} = {value:g}: {must}")
    return night


def append(series: Series, night: Night) -> None:
    """Add a night to its file, whole, on disk when this returns.  Raises OSError."""
    series.path.parent.mkdir(parents=True, exist_ok=True)
    line = json.dumps({"schema": SCHEMA, **night.model_dump()}, allow_nan=False) + "\n"
    handle = os.open(series.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
    try:
        size = os.fstat(handle).st_size
        if size and os.pread(handle, 1, size - 1) != b"\n":
            line = "\n" + line                       # what was cut off stays a line of its own
        left = line.encode()
        while left:                                  # a full disk takes a part, and then says why
            left = left[os.write(handle, left):]
        os.fsync(handle)
    finally:
        os.close(handle)
    series.nights.append(night)


def folder_series(folder: str | Path) -> list[Series]:
    """Every series in a folder, by file name.  Raises UsageError if there is no folder."""
    folder = Path(folder)
    if not folder.is_dir():
        raise UsageError(f"--history {folder}: no such folder")
    found = []
    for path in sorted(folder.glob("*.jsonl")):
        nights, problems = read(path)
        key = nights[0].series if nights else None
        found.append(Series(key, path, nights, problems))
    return found
