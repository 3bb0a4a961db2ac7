"""Runs mutants in forks, a few at a time: what is changed in one is gone with it, and one that crashes harms nobody."""

import os
import pickle
import selectors
import signal
import time
from typing import Callable, Iterable, Iterator, NamedTuple

KILLED, SAME, SURVIVED, UNMADE = "killed", "the same", "survived", "not made"


class Verdict(NamedTuple):
    """Of a mutant: KILLED, SAME, SURVIVED, or UNMADE where no program comes of it, and by what."""

    name: str
    verdict: str
    by: str = ""


def in_forks(mutants: Iterable, judge: Callable[[object], tuple[str, str]], jobs: int, limit_s: float) -> Iterator[Verdict]:
    """judge(mutant) in a fork of its own for each; one that ends by a signal or takes longer than limit_s is killed."""
    waiting, running = iter(mutants), {}
    selector = selectors.DefaultSelector()
    while True:
        while len(running) < jobs:
            mutant = next(waiting, None)
            if mutant is None:
                break
            reader, pid = _start(mutant, judge)
            running[reader] = (mutant, pid, time.monotonic() + limit_s, [])
            selector.register(reader, selectors.EVENT_READ)
        if not running:
            return
        for key, _ in selector.select(1.0):
            mutant, pid, _, said = running[key.fd]
            data = os.read(key.fd, 1 << 16)
            if data:
                said.append(data)
                continue
            yield _end(selector, running, key.fd)
        for reader in [reader for reader, (_, _, until, _) in running.items() if time.monotonic() > until]:
            os.kill(running[reader][1], signal.SIGKILL)
            yield _end(selector, running, reader)._replace(verdict=KILLED, by=f"not done in {limit_s:g} s")


def _start(mutant, judge) -> tuple[int, int]:
    reader, writer = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writer)
        return reader, pid
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
    _, status = os.waitpid(pid, 0)
    if status or not said:
        return Verdict(mutant.name, KILLED, f"crashed with {status}")
    return Verdict(mutant.name, *pickle.loads(b"".join(said)))
