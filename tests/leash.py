"""What a test run starts ends with it, however that ends: a run that is killed leaves no harness behind."""

import ctypes
import os
import signal
import subprocess

PR_SET_PDEATHSIG = 1             # prctl(2)
LIBC = ctypes.CDLL(None)


def end_with(parent: int) -> None:
    """In a new process: KILL when its parent has gone."""
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def as_on_a_terminal(parent: int) -> None:
    """In a new process: a shell's `&` and nohup have commands ignore requests to stop; and none outlives its parent."""
    end_with(parent)
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def hold_all() -> None:
    """From now on every process of the `subprocess` module."""
    begin = subprocess.Popen.__init__

    def held(self, *arguments, preexec_fn=None, **keys):
        parent = os.getpid()

        def before():
            end_with(parent)
            if preexec_fn:
                preexec_fn()
        begin(self, *arguments, preexec_fn=before, **keys)

    subprocess.Popen.__init__ = held
