"""One round: a command is started, a fault happens at a random instant, and what is left is judged."""

import json
import random
import signal
import time
from pathlib import Path
from typing import NamedTuple

from harness.errors import DONE, FAILED, NOT_SEEN, UNTRUSTWORTHY, UsageError
from harness.results import store
from harness.results.schema import Result
from tests.faults.commands import ENDLESS_S
from tests.faults.faults import Fault
from tests.faults.loaded import Loaded
from tests.faults.started import LIMIT_S, ROOT, SHARED, Started

OURS = ("harness", "kernels")
KEPT = ("saved ", "kept in ")            # how a line begins that names a result, or what a search goes on from
RESULTS = (".json", ".npz")
GRACE_S = 3.0
UNTOUCHED = (DONE, FAILED, UNTRUSTWORTHY, NOT_SEEN)      # what commands may end with beside other loads, if nothing is done to them
AT_WORK, WORK_S = 0.5, 0.45      # so many of the instants are looked for in the work; workers are at it for so long


class Round(NamedTuple):
    """When it happened, the exit code, what was wrong; whether something was being measured; how long it took in all."""

    after_s: float
    code: int | None
    wrong: list[str]
    measuring: bool
    took_s: float


class Lengths(NamedTuple):
    """Of each command how long it takes if nothing happens, in seconds."""

    started: dict[tuple[str, ...], float]
    loaded: dict[tuple[str, ...], float] = {}


def one(fault: Fault, number: int, source: random.Random, folder: Path, longest_s: Lengths,
        given: Path | None = None, loaded: Loaded | None = None) -> Round:
    """Start, wait, do it, judge.

    number   of the round
    given    what the commands read (commands.prepare)
    loaded   rounds within the work are forked of it
    """
    command = fault.commands[number % len(fault.commands)]
    in_work = source.random() < AT_WORK
    loaded = loaded if in_work and command in longest_s.loaded and not fault.own_cache else None
    began, started = time.monotonic(), Started(command, folder, given, fault.own_cache, loaded)
    try:
        within_s = WORK_S if in_work and started.wait_for_workers() else (longest_s.loaded if loaded else longest_s.started)[command]
        time.sleep(source.random() * within_s)
        started.look()
        after_s = time.monotonic() - began
        fault.act(started, source)
        text = started.end()
        if text is None:
            return Round(after_s, None, [f"{' '.join(command)}: not ended after {LIMIT_S:g} s"], started.measuring, LIMIT_S)
        code = started.process.returncode
        found = [f"{' '.join(command)}: {sentence}" for sentence in wrong(fault, started, code, text)]
        return Round(after_s, code, found, started.measuring, time.monotonic() - began)
    finally:
        started.kill()


def undisturbed_s(command: tuple[str, ...], folder: Path, given: Path, loaded: Loaded | None = None) -> float:
    """How long a command takes if nothing happens to it."""
    if command in ENDLESS_S:
        return ENDLESS_S[command]
    began, started = time.monotonic(), Started(command, folder, given, loaded=loaded)
    try:
        text = started.end()
        if started.process.returncode not in UNTOUCHED:
            raise RuntimeError(f"{' '.join(command)} ends with {started.process.returncode}: {text}")
        return time.monotonic() - began
    finally:
        started.kill()


def wrong(fault: Fault, started: Started, code: int, text: str):
    """What is not as it should be, in words."""
    # Before the interpreter had come to our first line; nothing was measured, and nothing said but by Python.
    early = -code in [right - 128 for right in fault.codes] or code == 1 and "\nKeyboardInterrupt" in text
    before_us = early and not started.measuring and "saved" not in text and not any(f"{ROOT}/{ours}/" in text for ours in OURS)
    if code not in fault.codes and not before_us:
        yield f"exit code {code}: {text.strip()[-200:]}"
    if "Traceback" in text and not before_us:
        yield f"a traceback: {text.strip().splitlines()[-1]}"
    if code > 128 and not started.has_workers and len(said := [line for line in started.said.splitlines() if not line.startswith(KEPT)]) > 1:
        yield f"{len(said)} lines: {' / '.join(said)[:200]}"
    yield from wrong_with_results(fault, started, code, text)
    if odd := sorted(path.name for path in started.temporary.iterdir() if not (path / "result.json").is_file()):
        if fault.kept or code != -signal.SIGKILL:
            yield f"left over among the temporary files: {', '.join(odd)[:100]}"
    if left := started.left_over(GRACE_S):
        yield f"{left} processes live on"
    if shared := started.shared_left(GRACE_S):
        yield f"left over in {SHARED}: {', '.join(sorted(shared))[:100]}"


def wrong_with_results(fault: Fault, started: Started, code: int, text: str):
    folders = [path.parent for place in (started.out, started.temporary) for path in place.rglob("result.json")]
    for folder in started.out.glob("*/"):
        if not any(path.suffix in RESULTS for path in folder.rglob("*")) and fault.kept:
            yield f"{folder.name} holds no result"
    found = []
    for folder in folders:
        try:
            found.append(store.read(folder))
        except UsageError as problem:
            yield f"a result is damaged: {problem}"
        if folder.name not in text and fault.said:
            yield f"{folder.name} is not named"
    if started.measuring and fault.kept and not found and '"schema": "tdx-sept-harness/result' not in text:
        yield "what was measured is lost"
    for result in found:
        yield from wrong_with(result, fault, started, code)


def wrong_with(result: Result, fault: Fault, started: Started, code: int):
    if started.measuring and fault.verdict and code and result.verdict.status != fault.verdict:
        yield f"the verdict is {result.verdict.status}: {json.dumps(result.verdict.reasons)[:200]}"
    # (A control that a run has not shown is run again by `nightly`.)
    if result.verdict.status == "UNTRUSTWORTHY" and code == 0 and not result.config["checks"]["busted"]:
        yield f"exit code 0 of an untrustworthy result: {json.dumps(result.verdict.reasons)[:200]}"
    if result.engine == "processes" and (result.hangs.count or result.invariants["no_deadlock"]):
        yield "a hang or a deadlock is claimed"
    stopped_s = result.conditions.stopped_s + result.conditions.unwatched_s if result.conditions else 0.0
    if result.engine == "processes" and not result.interrupted and result.verdict.status != "UNTRUSTWORTHY" \
            and result.measured_s - result.config["duration_s"] > 0.5 > stopped_s:
        yield f"measured for {result.measured_s:.3g} s, and believed"
