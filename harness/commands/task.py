"""A task of a cluster: this program started as a process of its own, and what starts it in a worker.

    python -m harness.commands.task      a task on standard input, what it comes to on standard output

Both are pickles, which only the source that has made them reads: a worker of another source is refused.  A task that is a
generator is a long one: each thing that it yields is passed on when it comes (PART), and at its end all of them once more.
"""

import contextlib
import ctypes
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from typing import NamedTuple

VALUE, MISTAKE, FAULT, KILLED, STOPPED, PART = "value", "mistake", "fault", "killed", "stopped", "part"
LOOK_S = 0.1                     # how often a worker looks whether a task is still wanted
SAID_MOST = 300                  # characters of what a process that ended without a word has said

running: set[subprocess.Popen] = set()   # of this worker


class Answer(NamedTuple):
    """What a task came to: VALUE pickled, or a line; on its host's clock, when it began and ended, and how long it worked."""

    kind: str
    content: bytes | str
    began: float
    ended: float
    work_s: float


# --- in a worker -------------------------------------------------------------------------------

def packed(function, arguments: tuple, source: str) -> bytes:
    """A task on its way.

    source   of whoever asks: another one would not read the rest of it
    """
    return pickle.dumps((source, pickle.dumps((function, arguments))))


def compute(work: bytes, wanted, part: Callable[[bytes], None] = lambda content: None) -> Answer:
    """Start a task as a process of its own, and wait for it, or until it is not `wanted` any more; `part` is given what comes before."""
    began, found = time.monotonic(), []
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen([sys.executable, "-m", "harness.commands.task", str(os.getpid())], stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE, stderr=said, start_new_session=True)
        running.add(process)
        listener = threading.Thread(target=_listen, args=(process, work, found, part), daemon=True)
        try:
            listener.start()
            while listener.is_alive():
                listener.join(LOOK_S)
                if listener.is_alive() and not wanted():
                    end(process)
            process.wait()
        finally:
            running.discard(process)
            end(process)
        work_s = time.monotonic() - began
        said.seek(0)
        kind, content = _read(process.returncode, found, said.read())
    return Answer(kind if wanted() else STOPPED, content, began, time.monotonic(), work_s)


def _listen(process: subprocess.Popen, work: bytes, found: list, part: Callable[[bytes], None]) -> None:
    """Give a process its task, pass on its parts, and put what it comes to into `found`; until it says no more."""
    with contextlib.suppress(BrokenPipeError), process.stdin as to:
        to.write(work)
    with process.stdout as out:
        while True:
            try:
                kind, content = pickle.load(out)
            except (EOFError, pickle.UnpicklingError):       # it has ended, or was killed while it spoke
                return
            part(content) if kind == PART else found.append((kind, content))


def _read(code: int, found: list, said: bytes) -> tuple[str, bytes | str]:
    if code < 0:
        return KILLED, signal.Signals(-code).name
    if code or not found:
        return FAULT, said.decode(errors="replace").strip()[-SAID_MOST:] or f"exit code {code}"
    return found[-1]


def end(process: subprocess.Popen) -> None:
    """Kill a task and all that it has started; nothing of one that has ended."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)


# --- the process of a task ---------------------------------------------------------------------

def main() -> None:
    """A worker that is killed takes the process with it."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)           # PR_SET_PDEATHSIG
    if os.getppid() != int(sys.argv[1]):
        os._exit(1)
    answer, sys.stdout = os.fdopen(os.dup(1), "wb"), sys.stderr
    os.dup2(2, 1)
    from harness.commands import jobs
    from harness.errors import UsageError
    try:
        source, work = pickle.load(sys.stdin.buffer)
        if jobs.source() != source:
            raise UsageError(f"source {jobs.source()}, wanted is {source}")
        function, arguments = pickle.loads(work)
        value = function(*arguments)
        found: tuple[str, bytes | str] = VALUE, pickle.dumps(_in_parts(value, answer) if isinstance(value, Iterator) else value)
    except UsageError as mistake:
        found = MISTAKE, str(mistake)
    except Exception as problem:
        found = FAULT, f"{type(problem).__name__}: {problem}"[:SAID_MOST]
        traceback.print_exc()
    with answer:
        pickle.dump(found, answer)


def _in_parts(values: Iterator, answer) -> list:
    """All of them, each said when it comes."""
    found = []
    for each in values:
        found.append(each)
        pickle.dump((PART, pickle.dumps(each)), answer)
        answer.flush()
    return found


if __name__ == "__main__":
    main()
