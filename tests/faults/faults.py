"""The faults, one row each, and the judgement on a round."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Callable, NamedTuple

import psutil

ROOT = Path(__file__).parent.parent.parent
RUN = ("run", "configs/kick_vcpus.toml", "--set", "duration_s=0.6", "--set", "warmup_s=0.05")
LONGEST_S = 4.0                  # a command and its start, on a quiet machine; the instants lie in between
LIMIT_S = 120.0
GRACE_S = 2.0                    # what a killed parent's children have to end


class Fault(NamedTuple):
    """name; what is done to a running command (its process, a source of chance); the exit codes that are right."""

    name: str
    act: Callable
    codes: tuple[int, ...]
    command: tuple[str, ...] = RUN


def send(*numbers: int, group: bool = False):
    """Signals, a few milliseconds apart."""
    def act(process, source) -> None:
        for number in numbers:
            try:
                (os.killpg if group else os.kill)(process.pid, number)
            except ProcessLookupError:
                return
            time.sleep(source.random() * 0.05)
    return act


INT, TERM, HUP, QUIT = signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT
FAULTS = (
    Fault("Ctrl-C", send(INT, group=True), (0, 130)),
    Fault("Ctrl-C twice", send(INT, INT, group=True), (0, 130)),
    Fault("Ctrl-C ten times", send(*[INT] * 10, group=True), (0, 130)),
    Fault("TERM", send(TERM), (0, 143)),
    Fault("TERM to the group", send(TERM, group=True), (0, 143)),
    Fault("HUP", send(HUP, group=True), (0, 129)),
    Fault("QUIT", send(QUIT, group=True), (0, 131)),
    Fault("HUP behind Ctrl-C", send(INT, HUP, group=True), (0, 130)),
    Fault("Ctrl-C of a search", send(INT, INT, group=True), (0, 130), ("explore", "configs/explore/pairs.toml")),
    Fault("TERM of a simulation", send(TERM), (0, 143), (*RUN, "--set", "engine=simulate")),
    Fault("Ctrl-C of a sweep", send(INT, INT), (0, 130), ("sweep", "configs/scale/published.toml")),
)


class Round(NamedTuple):
    """One round: which fault, when, the exit code, what was wrong."""

    fault: str
    after_s: float
    code: int | None
    wrong: list[str]


def one(fault: Fault, source: random.Random, out: Path) -> Round:
    """Start, wait, do it, judge."""
    after_s = source.random() * LONGEST_S
    arguments = [sys.executable, "-m", "harness", *fault.command, "--out", str(out)]
    process = subprocess.Popen(arguments, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                               start_new_session=True)
    group = process.pid
    try:
        time.sleep(after_s)
        fault.act(process, source)
        try:
            printed, said = process.communicate(timeout=LIMIT_S)
        except subprocess.TimeoutExpired:
            return Round(fault.name, after_s, None, [f"not ended after {LIMIT_S:g} s"])
        return Round(fault.name, after_s, process.returncode, list(wrong(fault, process.returncode, printed + said, out, group)))
    finally:
        for left in members(group):
            left.kill()


def wrong(fault: Fault, code: int, text: str, out: Path, group: int):
    """What is not as it should be, in words."""
    # Before the interpreter had come to our first line, it dies, or says where in its own start it was.
    before_us = code in (-INT, -TERM, -HUP, -QUIT) or (
        code == 1 and text.rstrip().endswith("KeyboardInterrupt") and "/harness/" not in text and "/kernels/" not in text)
    if code not in fault.codes and not before_us:
        yield f"exit code {code}"
    if "Traceback" in text and not before_us:
        yield "a traceback: " + " | ".join(text[text.index("Traceback"):].strip().splitlines()[-7:])
    for folder in out.glob("*/"):
        if not (folder / "result.json").is_file():
            yield f"{folder.name} holds no result"
        elif folder.name not in text:
            yield f"{folder.name} is not named"
    began = time.monotonic()
    while members(group) and time.monotonic() - began < GRACE_S:
        time.sleep(0.05)
    if left := members(group):
        yield f"{len(left)} processes live on"


def members(group: int) -> list[psutil.Process]:
    """The living processes of a group."""
    found = []
    for process in psutil.process_iter(["pid", "status"]):
        try:
            if os.getpgid(process.info["pid"]) == group and process.info["status"] != psutil.STATUS_ZOMBIE:
                found.append(process)
        except ProcessLookupError:
            continue
    return found
