"""Runs mutants in forks, a few at a time: what is changed in one is gone with it, and one that crashes harms nobody.

Each is a process group of its own, which is killed when its time is up and when this process ends, however that ends.
"""

import contextlib
import itertools
import os
import pickle
import selectors
import signal
import time
from typing import Callable, Iterable, Iterator, NamedTuple

from tests.leash import as_on_a_terminal

KILLED, SAME, SURVIVED = "killed", "the same", "survived"
UNMADE = "not made"              # no program comes of it
UNIMPORTED = "did not import"    # no test has begun, as the changed file cannot be imported


class Verdict(NamedTuple):
    """Of a mutant: one of the above, and by what."""

    name: str
    verdict: str
    by: str = ""


def in_forks(mutants: Iterable, judge: Callable[[object], tuple[str, str]], jobs: int, limit_s: float) -> Iterator[Verdict]:
    """judge(mutant) in a fork of its own for each; one that ends by a signal or takes longer than limit_s is killed."""
    waiting, running = iter(mutants), {}
    selector = selectors.DefaultSelector()
    try:
        while True:
            for mutant in itertools.islice(waiting, jobs - len(running)):
                reader, pid = _start(mutant, judge)
                running[reader] = (mutant, pid, time.monotonic() + limit_s, [])
                selector.register(reader, selectors.EVENT_READ)
            if not running:
                return
            for key, _ in selector.select(min(1.0, limit_s)):
                data = os.read(key.fd, 1 << 16)
                if data:
                    running[key.fd][3].append(data)
                else:
                    yield _end(selector, running, key.fd)
            for reader in [reader for reader, (_, _, until, _) in running.items() if time.monotonic() > until]:
                yield _end(selector, running, reader)._replace(verdict=KILLED, by=f"not done in {limit_s:g} s")
    finally:
        for reader in list(running):
            _end(selector, running, reader)


def _start(mutant, judge) -> tuple[int, int]:
    reader, writer = os.pipe()
    parent, pid = os.getpid(), os.fork()
    if pid:
        with contextlib.suppress(PermissionError):       # it is over already
            os.setpgid(pid, pid)                         # here and there: whoever is first
        os.close(writer)
        return reader, pid
    os.setpgid(0, 0)
    as_on_a_terminal(parent)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.close(reader)
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    try:
        answer = judge(mutant)
    except BaseException as failure:                     # no judge could look at it
        answer = UNMADE, f"{type(failure).__name__}: {failure}"
    os.write(writer, pickle.dumps(answer))
    os._exit(0)


def _end(selector, running, reader) -> Verdict:
    mutant, pid, _, said = running.pop(reader)
    selector.unregister(reader)
    os.close(reader)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)                   # one that has answered is a zombie, what it has started may be alive
    _, status = os.waitpid(pid, 0)
    if status or not said:
        return Verdict(mutant.name, KILLED, f"crashed with {status}")
    return Verdict(mutant.name, *pickle.loads(b"".join(said)))
