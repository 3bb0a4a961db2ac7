"""What an engine hands over when a run has ended: the records of its actors, and how it went."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from kernels import record


@dataclass(frozen=True)
class Ending:
    """What runs of a litmus test came to: words as Test.watched() lists them, spelled; how often."""

    kind: str
    words: tuple[str, ...]
    count: int


class Traced(NamedTuple):
    """Runs of a litmus test, of which each step that matters has its time.

    spans     names by number; behind them, a row of the program by its number: an access (in place of an answer, what it has read)
    logs      by process, as Measured.logs, one run behind another; one span of each run is the run itself, with its number in place of an answer
    endings   of each run, as they came
    room      ends that a process can keep; 0: all are there
    said      what else is to be known, by its name
    """

    program: Any
    spans: list[str]
    logs: dict[str, np.ndarray]
    endings: list[Ending]
    ticks_per_ns: float
    room: int
    said: dict[str, Any]


class Hang(NamedTuple):
    """When a TD was found hanging (seconds since the measurement began), and the last answer of each vCPU.

    waiting   who waited for what, if it was a deadlock
    """

    at_s: float
    vcpus: tuple[str, ...]
    waiting: tuple[str, ...] = ()


@dataclass
class Measured:
    """What a run left behind.

    halves          int64, the half of each actor's record that counts
    ticks_per_ns    of the clock that spans are measured with
    clock_ticks     what one reading of it costs
    invariants      violations by name; None: not checked
    host_priority   what became of host-priority bits (invariants.host_priority)
    bugs            the first KVM_BUG_ONs: (seconds since the measurement began, actor, call, answer)
    conditions      what else the machine did meanwhile (host/conditions.py); None where that does not matter
    records         how each worker's record was found (engines/processes/record_seal.py)
    hangs           times at which no vCPU had made progress for long, and the TD was given up
    problems        why the run should not be believed
    halt            how the module shut itself down, if it did; the run ended there
    extra           what only this engine has to say, by key of the result
    logs            by actor, int64 (ends, 4): begin, end (ticks), call (a span: -1 - its number), answer
    """

    plan: Any
    halves: list[np.ndarray]
    measured_s: float
    ticks_per_ns: float
    invariants: dict[str, int | None]
    clock_ticks: int = 0
    processors: list[int] = field(default_factory=list)
    started_at: float = 0.0
    host_priority: dict[str, int] = field(default_factory=dict)
    lost_swaps: int = 0
    bugs: list[tuple[float, str, int, int]] = field(default_factory=list)
    hangs: list[Hang] = field(default_factory=list)
    interrupted: bool = False
    conditions: dict | None = None
    records: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    halt: str = ""
    extra: dict = field(default_factory=dict)
    logs: dict[str, np.ndarray] = field(default_factory=dict)


def log_of(words: np.ndarray, log: int) -> np.ndarray:
    """What is logged in an actor's record from its word `log` on."""
    count = int(words[log])
    return words[log + 1:][:record.LOGGED * count].reshape(-1, record.LOGGED).copy()
