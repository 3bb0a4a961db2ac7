"""A task of a cluster: this program started as a process of its own, and what starts it in a worker.

    python -m harness.commands.task      a task on standard input, what it comes to on standard output

Both are pickles, which only the source that has made them reads: a worker of another source is refused.
"""

import ctypes
import os
import pickle
import signal
import subprocess
import sys
import time
import traceback
from typing import NamedTuple

VALUE, MISTAKE, FAULT, KILLED, STOPPED = "value", "mistake", "fault", "killed", "stopped"
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


def compute(work: bytes, wanted) -> Answer:
    """Start a task as a process of its own, and wait for it, or until it is not `wanted` any more."""
    began = time.monotonic()
    process = subprocess.Popen([sys.executable, "-m", "harness.commands.task", str(os.getpid())], stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)
    running.add(process)
    try:
        out, said, given = None, b"", work
        while out is None:
            try:
                out, said = process.communicate(given, timeout=LOOK_S)
            except subprocess.TimeoutExpired:
                given = None                             # it goes on with what it was given
                if not wanted():
                    end(process)
    finally:
        running.discard(process)
        end(process)
    work_s = time.monotonic() - began
    kind, content = _read(process.returncode, out, said)
    return Answer(kind if wanted() else STOPPED, content, began, time.monotonic(), work_s)


def _read(code: int, out: bytes, said: bytes) -> tuple[str, bytes | str]:
    if code < 0:
        return KILLED, signal.Signals(-code).name
    if code:
        return FAULT, said.decode(errors="replace").strip()[-SAID_MOST:] or f"exit code {code}"
    return pickle.loads(out)


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
        found: tuple[str, bytes | str] = VALUE, pickle.dumps(function(*arguments))
    except UsageError as mistake:
        found = MISTAKE, str(mistake)
    except Exception as problem:
        found = FAULT, f"{type(problem).__name__}: {problem}"[:SAID_MOST]
        traceback.print_exc()
    with answer:
        pickle.dump(found, answer)


if __name__ == "__main__":
    main()
