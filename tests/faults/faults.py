"""The faults, one row each: what is done to a running command, and the exit codes that are right."""

import random
import resource
import shutil
import signal
import time
from pathlib import Path
from typing import Callable, NamedTuple

import psutil

from tests.faults.commands import EVERY, RUN, SEARCH, SEVERAL, SIMULATED, SWEEP
from tests.faults.started import Started

INT, TERM, HUP, QUIT = signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT
PAUSES_S = (0.7, 3.0)            # less and more than it takes to find a hang
READABLE = {".nbi", ".nbc"}


class Fault(NamedTuple):
    """What happens to a command.

    act        does it, to what was started and with a source of chance
    codes      exit codes that are right
    commands   one after the other, round by round
    said       whether results are named on what can still be read
    kept       whether what was measured must be there at the end
    verdict    that a result must have which was measured when it happened; "" for any
    own_cache  the command gets a copy of the compiled code
    times      so many rounds in place of one; less than one where a round starts Python many times
    """

    name: str
    act: Callable[[Started, random.Random], None]
    codes: tuple[int, ...]
    commands: tuple[tuple[str, ...], ...] = (RUN,)
    said: bool = True
    kept: bool = True
    verdict: str = ""
    own_cache: bool = False
    times: float = 1


def send(*numbers: int, group: bool = False):
    """Signals, a few milliseconds apart."""
    def act(started, source) -> None:
        for number in numbers:
            started.send(number, group)
            time.sleep(source.random() * 0.05)
    return act


def any_request(started, source) -> None:
    send(*source.choices((INT, TERM, HUP, QUIT), k=source.choice((1, 1, 2))), group=source.random() < 0.5)(started, source)


def close(*streams: str):
    """Their reader goes."""
    return lambda started, source: started.close(*streams)


def kill_one_of_jobs(started, source) -> None:
    """A process that computes tasks of --jobs."""
    mine = [each for each in started.workers() if "spawn_main" in " ".join(each.cmdline())]
    if mine:
        source.choice(mine).kill()


def pause_worker(started, source) -> None:
    started.to_worker(source, psutil.Process.suspend, lambda worker: (time.sleep(source.choice(PAUSES_S)), worker.resume()))


def pause(group: bool):
    """Stopped, and continued: all of the run, or the process that watches its workers."""
    def act(started, source) -> None:
        if started.send(signal.SIGSTOP, group):
            time.sleep(source.choice(PAUSES_S))
            started.send(signal.SIGCONT, group)
    return act


def remove_results(started, source) -> None:
    shutil.rmtree(started.out, ignore_errors=True)


def nothing_can_be_written(started, source) -> None:
    """As on a disk that is full: no file can grow."""
    try:
        resource.prlimit(started.process.pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
    except (ProcessLookupError, PermissionError):        # it has ended
        pass


def damage_compiled_code(started, source) -> None:
    """A few files cut off, emptied, changed, or open to others."""
    files = sorted(path for path in Path(started.cache).rglob("*") if path.suffix in READABLE)
    for path in source.sample(files, min(len(files), 4)):
        kind, raw = source.choice(("cut", "emptied", "changed", "opened")), path.read_bytes()
        if kind == "opened":
            path.chmod(0o666)
        else:
            at = source.randrange(len(raw))
            path.write_bytes({"cut": raw[:at], "emptied": b""}.get(kind, raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1:]))


FAULTS = (
    Fault("Ctrl-C", send(INT, group=True), (0, 130)),
    Fault("Ctrl-C twice", send(INT, INT, group=True), (0, 130), times=10),
    Fault("Ctrl-C ten times", send(*[INT] * 10, group=True), (0, 130)),
    Fault("TERM", send(TERM), (0, 143), times=10),
    Fault("TERM to the group", send(TERM, group=True), (0, 143)),
    Fault("HUP", send(HUP, group=True), (0, 129), times=10),
    Fault("QUIT", send(QUIT, group=True), (0, 131)),
    # Of two that wait for the process, or for Python to look, the lower number is heard first: test_faults.py.
    Fault("HUP behind Ctrl-C", send(INT, HUP, group=True), (0, 129, 130)),
    Fault("Ctrl-C of a search", send(INT, INT, group=True), (0, 130), (SEARCH,)),
    Fault("TERM of a simulation", send(TERM), (0, 143), (SIMULATED,)),
    Fault("Ctrl-C of a sweep", send(INT, INT, group=True), (0, 130), (SWEEP,)),
    Fault("any request to any command", any_request, (0, 129, 130, 131, 143), EVERY, times=4),
    Fault("no reader of stdout", close("stdout"), (0,)),
    Fault("no reader of either", close("stdout", "stderr"), (0,), said=False),
    Fault("a worker killed", lambda started, source: started.to_worker(source, psutil.Process.kill), (0, 3), verdict="UNTRUSTWORTHY"),
    Fault("a worker stopped for a time", pause_worker, (0, 3)),
    Fault("all stopped for a time", pause(group=True), (0, 3)),
    Fault("the coordinator stopped for a time", pause(group=False), (0, 3)),
    Fault("a process of --jobs killed", kill_one_of_jobs, (0,), SEVERAL, times=0.5),
    Fault("the run killed", send(signal.SIGKILL), (0, -signal.SIGKILL), kept=False),
    Fault("--jobs killed", send(signal.SIGKILL), (0, -signal.SIGKILL), SEVERAL, kept=False),
    Fault("results removed", remove_results, (0,)),
    Fault("nothing can be written", nothing_can_be_written, (0, 2, 3), said=False),
    Fault("compiled code damaged", damage_compiled_code, (0,), own_cache=True),
)
