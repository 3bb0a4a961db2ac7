"""A process that has loaded and compiled all, of which commands are forked: they begin with the program's own `run`.

    server = Loaded(given)
    command = server.begin(["run", ...], {"TMPDIR": ...})     # as of subprocess.Popen: pid, poll, wait, communicate

To load Numba and the compiled code takes a second and a half of a processor, most of what a round takes.  Rounds that
look for an instant within the work begin here; those that look for one within the start begin with Python's own.

Each request is one datagram: a command to begin, or a process to ask the exit code of.
"""

import functools
import gc
import io
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

from tests.faults.commands import EVERY, ROOT, RUN, SEARCH, SWEEP, filled
from tests.leash import as_on_a_terminal, end_with

REQUEST_MOST = 1 << 20
POLL_S = 0.01
# (What --jobs starts and a scheduler listens on would be shared by all.)
LOADING = tuple(command for command in (RUN, SEARCH, SWEEP, *EVERY) if "--jobs" not in command and command[0] != "worker")


class Loaded:
    """The process, as its parent sees it; threads may share it.

    given   what commands.prepare has made; None if nothing is to be loaded but the first line of the program
    """

    def __init__(self, given: Path | None):
        ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.connection, self.turn = ours, threading.Lock()
        # (Pipes, as those that will take their places: what Python's streams have found out about them stays true.)
        self.process = subprocess.Popen([sys.executable, "-m", __name__, str(its.fileno()), given or ""], cwd=ROOT, pass_fds=[its.fileno()],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                        preexec_fn=functools.partial(end_with, os.getpid()))
        its.close()
        if not ours.recv(REQUEST_MOST):
            raise RuntimeError(f"the process that loads all has ended: {self.process.communicate()[1][-500:]}")

    def ask(self, request: dict, *files: int):
        with self.turn:
            socket.send_fds(self.connection, [json.dumps(request).encode()], files)
            return json.loads(self.connection.recv(REQUEST_MOST))

    def begin(self, words: list[str], environment: dict[str, str]) -> "Begun":
        return Begun(self, words, environment)

    def end(self) -> None:
        self.connection.close()
        self.process.communicate()


class Begun:
    """A command that was forked; what subprocess.Popen has of it."""

    def __init__(self, server: Loaded, words: list[str], environment: dict[str, str]):
        (out, its_out), (err, its_err) = os.pipe(), os.pipe()
        self.server, self.returncode = server, None
        self.stdout, self.stderr = open(out), open(err)
        self.pid = server.ask({"words": words, "environment": environment}, its_out, its_err)
        os.close(its_out)
        os.close(its_err)

    def poll(self) -> int | None:
        if self.returncode is None:
            self.returncode = self.server.ask({"ended": self.pid})
        return self.returncode

    def wait(self) -> int:
        while self.poll() is None:
            time.sleep(POLL_S)
        return self.returncode

    def communicate(self, timeout: float) -> list[str]:
        """What is printed on stdout and stderr, "" for one that is closed.  Raises subprocess.TimeoutExpired."""
        until, printed = time.monotonic() + timeout, ["", ""]

        def read(number, stream):
            with stream:
                printed[number] = stream.read()

        readers = [threading.Thread(target=read, args=each, daemon=True) for each in enumerate((self.stdout, self.stderr)) if each[1]]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join(max(0.0, until - time.monotonic()))
        if any(reader.is_alive() for reader in readers):
            raise subprocess.TimeoutExpired(str(self.pid), timeout)
        self.wait()
        return printed


def load(given: str) -> None:
    """Run what there is to be loaded and compiled."""
    from harness.__main__ import main
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        os.environ["TDX_HARNESS_LOCK"] = f"{folder}/lock"
        for command in LOADING:
            with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
                main(filled(command, Path(folder) / "out", Path(folder), given))
    gc.collect()
    gc.freeze()


def next_command(connection: socket.socket) -> list[str]:
    """Answer requests; returns the words of a command in the process that is forked for it."""
    me = os.getpid()
    while True:
        raw, files, _flags, _from = socket.recv_fds(connection, REQUEST_MOST, 2)
        if not raw:
            os._exit(0)
        request = json.loads(raw)
        if "ended" in request:
            pid, status = os.waitpid(request["ended"], os.WNOHANG)
            connection.send(json.dumps(os.waitstatus_to_exitcode(status) if pid else None).encode())
        elif os.fork():
            for file in files:
                os.close(file)
        else:
            as_on_a_terminal(me)
            os.setsid()
            os.environ.update(request["environment"])
            for file, number in zip(files, (1, 2)):
                os.dup2(file, number)
                os.close(file)
            connection.send(json.dumps(os.getpid()).encode())        # only now: it has its group
            connection.close()
            return request["words"]


if __name__ == "__main__":
    _connection = socket.socket(fileno=int(sys.argv[1]))
    if sys.argv[2]:
        load(sys.argv[2])
    _connection.send(b"1")
    sys.argv = [str(ROOT / "harness/__main__.py"), *next_command(_connection)]
    tempfile.tempdir = None              # it has a folder of its own
    from harness.__main__ import run
    run()
