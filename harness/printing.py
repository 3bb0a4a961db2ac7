"""Standard output and error that never decide: what cannot be printed is lost, and everything else goes on.

A stream that is closed, full, or a pipe without a reader takes what it is given and forgets it; `lost()` says why,
for whoever has nothing else to say.
"""

import errno
import os
import re
import shutil
import sys

DESCRIPTORS = {"stdin": 0, "stdout": 1, "stderr": 2}
GREEN, YELLOW, RED = 32, 33, 31
# Words at the beginning of a line that say how something came out.
COLOURS = {"PASS": GREEN, "Ok": GREEN, "DEGRADED": YELLOW, "FAILED": RED, "FAIL": RED, "UNTRUSTWORTHY": RED, "NOT as": RED,
           "Deadlock": RED}
VERDICT = re.compile(rf"^({'|'.join(COLOURS)})\b", re.MULTILINE)


def coloured(text: str) -> str:
    """A text with its verdicts in colour, for a terminal."""
    return VERDICT.sub(lambda found: f"\x1b[{COLOURS[found[0]]}m{found[0]}\x1b[0m", text)


def in_colour(stream) -> bool:
    """Whether a stream is a terminal that wants colour (https://no-color.org)."""
    try:
        return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    except ValueError:                                   # it is closed
        return False


class Lossy:
    """A text stream of which a write that fails is the last one that is tried."""

    def __init__(self, stream, descriptor: int):
        self._stream, self._descriptor = stream, descriptor
        self._colour = in_colour(stream)
        self.problem: OSError | None = None

    def __getattr__(self, name):
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        self._try(lambda: self._stream.write(coloured(text) if self._colour else text))
        return len(text)

    def writelines(self, lines) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        self._try(self._stream.flush)

    def _try(self, act) -> None:
        if self.problem is not None:
            return
        try:
            act()
        except UnicodeEncodeError:
            raise
        except (OSError, ValueError) as problem:                 # ValueError: it has been closed
            self.problem = problem if isinstance(problem, OSError) else OSError(errno.EBADF, os.strerror(errno.EBADF))
            self._forget()

    def _forget(self) -> None:
        """Nothing is left in a buffer that would be tried again when the interpreter ends."""
        try:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._descriptor)
            os.close(nowhere)
        except OSError:
            pass


def prepare() -> None:
    """Make the standard streams lossy; one that is closed becomes nothing, so that no file of ours gets its number."""
    for name, descriptor in DESCRIPTORS.items():
        try:
            os.fstat(descriptor)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != descriptor:
                os.dup2(opened, descriptor)
                os.close(opened)
            stream = open(descriptor, "r" if name == "stdin" else "w", encoding="utf-8", closefd=False)
            setattr(sys, name, stream)
            if name != "stdin":
                lossy = Lossy(stream, descriptor)
                lossy.problem = OSError(errno.EBADF, os.strerror(errno.EBADF))
                setattr(sys, name, lossy)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if not isinstance(stream, Lossy):
            if hasattr(stream, "reconfigure"):           # what the terminal cannot show is shown as its number
                stream.reconfigure(errors="backslashreplace")
            setattr(sys, name, Lossy(stream, DESCRIPTORS[name]))


def columns() -> int | None:
    """How wide the terminal is that standard output is; None if it is none."""
    return shutil.get_terminal_size().columns if getattr(sys.stdout, "isatty", bool)() else None


def lost() -> OSError | None:
    """Why standard output could not be written; None if all of it was."""
    sys.stdout.flush()
    return getattr(sys.stdout, "problem", None)
