"""One measurement at a time on a machine: two runs at once would measure each other.

    with only_one("run kick_vcpus"):
        ...

The lock is the kernel's (flock), so it goes with its holder however that ends; the file only says
who the holder is.  It is one path for the whole machine and all users, and TDX_HARNESS_LOCK names
another, for machines that are parted (cpusets, containers) and for tests.
"""

import contextlib
import fcntl
import json
import os
import stat
import time

from harness.errors import UsageError
from harness.files import from_json, reason

PATH = "/tmp/tdx-sept-harness.lock"
VARIABLE = "TDX_HARNESS_LOCK"


@contextlib.contextmanager
def only_one(what: str):
    """Hold the machine's lock.  Raises UsageError that names the holder if another does."""
    path = os.environ.get(VARIABLE, PATH)
    try:
        handle = _open(path)
    except OSError as problem:
        raise UsageError(f"{path}: cannot be opened: {reason(problem)};"
                         f" {VARIABLE} names another file") from None
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(f"another run is measuring on this machine: {_holder(handle)}; two at once would"
                             f" measure each other ({path})") from None
        if not _is_ours(handle):
            raise UsageError(f"{path}: is not a lock file of this program, and is left as it is; {VARIABLE} must name a"
                             " file that is new, empty or one")
        _sign(handle, what)
        yield
        _sign(handle, None)
    finally:
        os.close(handle)


def _open(path: str) -> int:
    """For reading at least: the file may be another user's, and a lock needs no more."""
    flags = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    for mode in (os.O_RDWR, os.O_RDONLY):
        try:
            return os.open(path, mode | flags)
        except FileNotFoundError:
            handle = os.open(path, os.O_RDWR | os.O_CREAT | flags, 0o666)
            with contextlib.suppress(OSError):
                os.fchmod(handle, 0o666)             # whatever the umask: the next user signs too
            return handle
        except PermissionError:
            continue
    raise PermissionError(13, "Permission denied")


def _is_ours(handle: int) -> bool:
    """Whether a file may be signed: a regular one that is empty, or that this program has signed."""
    about = os.fstat(handle)
    if not stat.S_ISREG(about.st_mode) or about.st_nlink > 1:
        return False
    held = os.pread(handle, 4096, 0)
    return not held.strip(b"\0") or held.startswith(b'{"process": ')


def _sign(handle: int, what: str | None) -> None:
    text = json.dumps({"process": os.getpid(), "what": what,
                       "since": time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())}) if what else ""
    with contextlib.suppress(OSError):               # opened for reading only
        os.ftruncate(handle, 0)
        os.pwrite(handle, text.encode(), 0)


def _holder(handle: int) -> str:
    try:
        holder = from_json(os.pread(handle, 4096, 0))
        what, since = str(holder["what"])[:80], str(holder["since"])[:30]
        return f"process {int(holder['process'])}, {what!r}, since {since}"
    except (ValueError, KeyError, TypeError, OSError):
        return "a process that left no name"
