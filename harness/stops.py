"""Requests to stop: Ctrl-C, TERM, HUP and QUIT, in one place.

Outside of `noted` the first of them is raised as KeyboardInterrupt, wherever the program is.  Inside, where something
has been measured and is not kept yet, it is only noted: whoever works there looks at `asked()`, keeps what there is,
and the end of the block raises it.  Those that come behind the first change nothing, so that no second Ctrl-C can
disturb what the first has begun; KILL remains.  The exit code is that of the first: 128 and its number.  (Of two that
come while Python cannot look, as in compiled code, Python hears the lower number first.)

Where Python ignores exceptions (in a callback of a compiled library, in `__del__`) it is not lost: it is raised again
a moment later.

Handlers belong to the main thread; in another nothing here does anything.
"""

import contextlib
import os
import signal
import sys
import threading
import time

AGAIN_S = 0.005                  # until a request is raised again that came where exceptions are ignored
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)

_first = 0                       # the signal that came first
_raised = False
_noting = 0                      # blocks of `noted` that are open
_in_hook = False


def _heard(number, _frame) -> None:
    global _first, _raised
    _first = _first or number
    if not _noting and not _raised:
        _raised = True
        raise KeyboardInterrupt


def _ignored(what) -> None:
    """Python's hook for exceptions that it ignores.  (Python does not look for signals behind its last assignment.)"""
    global _in_hook
    if what.exc_type is KeyboardInterrupt and _raised:
        _in_hook = True
        threading.Thread(target=_raise_again, daemon=True).start()
        _in_hook = False
    else:
        sys.__unraisablehook__(what)


def _raise_again() -> None:
    """Behind the hook: what is raised in it is lost, and on a busy machine the thread runs before it is seen to have begun."""
    global _raised
    time.sleep(AGAIN_S)
    while _in_hook:
        time.sleep(AGAIN_S)
    _raised = False
    os.kill(os.getpid(), _first)


def asked() -> bool:
    """Whether a stop has been asked for."""
    return _first != 0


def raised() -> bool:
    """Whether it has been raised."""
    return _raised


def exit_code(otherwise: int) -> int:
    """The exit code of what was stopped."""
    return 128 + _first if _first else otherwise


def hear() -> dict:
    """Hear requests from now on; returns the handlers of before."""
    global _first, _raised
    _first, _raised = 0, False
    sys.unraisablehook = _ignored
    # What is ignored stays so, as nohup wants it.
    return {number: signal.signal(number, _heard) for number in SIGNALS if signal.getsignal(number) != signal.SIG_IGN}


@contextlib.contextmanager
def listen():
    """Hear requests until the end of the block."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    hook, before = sys.unraisablehook, hear()
    try:
        yield
    finally:
        sys.unraisablehook = hook
        for number, handler in before.items():
            if signal.getsignal(number) is _heard:           # not one that is ignored by now
                signal.signal(number, handler)


@contextlib.contextmanager
def noted():
    """A block in which a request to stop is only noted; it is raised at the end of the outermost one.

    Where no handler is set, as with an engine that is called by a script, the block listens itself and raises nothing.
    """
    global _noting, _raised
    alone = not any(signal.getsignal(number) is _heard for number in SIGNALS)
    with listen() if alone else contextlib.nullcontext():
        _noting += 1
        try:
            yield
        finally:
            _noting -= 1
    if not alone and not _noting and _first and not _raised:
        _raised = True
        raise KeyboardInterrupt


def ignore() -> None:
    """For a process of ours, as its parent decides what a request means; and for the end, when all is kept.

    (What is ignored stays ignored while the interpreter ends, in whichever thread it comes.)
    """
    if threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)
