"""Where compiled code is kept, and what of it is believed: this user's own, whole, and not writable by other users.

Compiled code is unpickled and executed, so a file of it is read only if it is a regular file of this user, is
not writable by other users and holds what was written (a digest stands before it).  Anything else is said in one
line on stderr, not used, and made anew.  What cannot be kept is compiled for this process only.

Deleted is only what was made here: files of compiled code in a folder with MARK in it, which no process
has in use (each holds a shared lock on MARK) and none has used for a day.

Commands that start at once after a change of the sources need the same code: one compiles an entry, and the others
wait for it and load it.  Each entry has a byte of MARK, which is locked while it is compiled; a process that ends
lets go of its bytes, and nobody waits longer than WAIT_S.
"""

import atexit
import contextlib
import fcntl
import hashlib
import io
import logging
import os
import pickle
import re
import shutil
import stat
import tempfile
import time
import zlib
from pathlib import Path

from numba.core.caching import CompileResultCacheImpl, FunctionCache, IndexDataCacheFile, UserProvidedCacheLocator

CACHED_VERSIONS = 4              # folders of other sources that are kept however old they are
UNUSED_S = 86_400
WAIT_S = 60.0                    # for another process that compiles the same; as long as any entry takes, and some
POLL_S = 0.02
MARK = ".tdx-sept-harness"
VERSION = re.compile("[0-9a-f]{12}")
COMPILED = re.compile(r".+\.nb[ic](\.tmp\.[0-9a-f]+)?")
DIGEST = hashlib.sha256().digest_size
LOG = logging.getLogger(__name__)
said: set[str] = set()           # each once
in_use: list[int] = []           # handles of locks that last as long as this process


def say(line: str) -> None:
    """Of a folder."""
    if line not in said:
        said.add(line)
        LOG.warning("compiled code: %s", line)           # to stderr, unless logging is set up otherwise


def say_of_file(path, why: str, then: str) -> None:
    """In one line for all of which the same is true: a damaged disk or a hand that opened one opened many."""
    if why not in said:
        said.add(why)
        LOG.warning("compiled code: %s: %s; %s (said once for all such files)", path, why, then)


def unsafe(about: os.stat_result) -> str:
    """Why nothing is believed that is kept so; "" if it may be."""
    if about.st_uid != os.geteuid():
        return "belongs to another user"
    return "can be written by others" if about.st_mode & 0o022 else ""


# --- the folder --------------------------------------------------------------------------------

def choose(name: str) -> str:
    """The folder for the sources with this hash; a temporary one, which goes with this process, if it cannot be had."""
    root = None
    try:
        given = os.environ.get("XDG_CACHE_HOME", "")
        root = Path(given if os.path.isabs(given) else Path.home() / ".cache") / "tdx-sept-harness"      # as XDG has it
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        _own(root, root.stat())
        folder = root / name
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        about = folder.lstat()
        if not stat.S_ISDIR(about.st_mode):
            raise PermissionError(1, "is no folder", str(folder))
        _own(folder, about)
        in_use.append(_use(folder))
        os.utime(folder)
        forget_old(root, name)
        return str(folder)
    except (OSError, RuntimeError) as problem:
        where, why = getattr(problem, "filename", None) or root or "~", getattr(problem, "strerror", None) or problem
        return _temporary(f"{where}: {why}; not used, compiled for this run only")


def _own(folder: Path, about: os.stat_result) -> None:
    """Raises OSError for a folder of another user; one that others could write is emptied of compiled code and closed."""
    if why := unsafe(about):
        if about.st_uid != os.geteuid():
            raise PermissionError(1, why, str(folder))
        say(f"{folder}: {why}; what is in it is not used, and is made anew")
        os.chmod(folder, stat.S_IMODE(about.st_mode) & ~0o022)
        for version in [folder] if VERSION.fullmatch(folder.name) else _versions(folder):
            _empty(version)


def _use(folder: Path) -> int:
    """A handle that holds the folder's mark: it is in use."""
    handle = os.open(folder / MARK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    fcntl.flock(handle, fcntl.LOCK_SH)
    return handle


def _temporary(line: str) -> str:
    say(line)
    folder, maker = tempfile.mkdtemp(prefix="tdx-sept-harness-"), os.getpid()
    atexit.register(lambda: os.getpid() == maker and shutil.rmtree(folder, ignore_errors=True))
    return folder


def _versions(root: Path) -> list[Path]:
    """The folders in a root that were made here."""
    return [path for path in root.iterdir() if VERSION.fullmatch(path.name) and not path.is_symlink()
            and path.is_dir() and (path / MARK).is_file() and not (path / MARK).is_symlink()]


def forget_old(root: Path, own: str, now: float | None = None) -> None:
    """Delete compiled code of other sources that is not in use."""
    others = sorted((path for path in _versions(root) if path.name != own), key=lambda path: path.stat().st_mtime, reverse=True)
    limit = (time.time() if now is None else now) - UNUSED_S
    for folder in others[CACHED_VERSIONS - 1:]:
        with contextlib.suppress(OSError):
            if folder.stat().st_mtime > limit:
                continue
            handle = os.open(folder / MARK, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)       # OSError: in use
                if _empty(folder):
                    (folder / MARK).unlink()
                    folder.rmdir()
            finally:
                os.close(handle)


def _empty(folder: Path) -> bool:
    """Delete files of compiled code and folders left empty by that; whether nothing but the mark is left."""
    for place, _folders, files in os.walk(folder, topdown=False, followlinks=False):
        ours = [os.path.join(place, name) for name in files if COMPILED.fullmatch(name)]
        for path in ours:
            os.unlink(path)                              # of a symbolic link the link
        if ours and place != str(folder):
            with contextlib.suppress(OSError):
                os.rmdir(place)
    return os.listdir(folder) == [MARK]


# --- the files ---------------------------------------------------------------------------------

class SealedFile(IndexDataCacheFile):
    """Numba's index and data files of a function, each behind its digest."""

    def _read(self, path: str):
        """What was written; None if there is no such file or it is not believed."""
        try:
            with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
                about = os.fstat(file.fileno())
                why, raw = unsafe(about) or "" if stat.S_ISREG(about.st_mode) else "is no file", b""
                raw = b"" if why else file.read()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as problem:
            why, raw = problem.strerror, b""
        if not why and hashlib.sha256(raw[DIGEST:]).digest() != raw[:DIGEST]:
            why = "damaged"
        if why:
            say_of_file(path, why, "not used, compiled anew")
            return None
        return pickle.loads(raw[DIGEST:])

    def _load_index(self):
        version, stamp, overloads = self._read(self._index_path) or (None, None, {})
        return overloads if (version, stamp) == (self._version, self._source_stamp) else {}

    def _load_data(self, name):
        return self._read(self._data_path(name))

    def _save_index(self, overloads):
        self._write(self._index_path, pickle.dumps((self._version, self._source_stamp, overloads)))

    def _save_data(self, name, data):
        self._write(self._data_path(name), self._dump(data))

    def _write(self, path: str, raw: bytes) -> None:
        with self._open_for_write(path) as file:
            os.fchmod(file.fileno(), 0o600)
            shutil.copyfileobj(io.BytesIO(hashlib.sha256(raw).digest() + raw), file)


class Chosen(UserProvidedCacheLocator):
    """The chosen folder, whether or not it can be written: else Numba would take one beside the sources, without a word."""

    @classmethod
    def from_function(cls, function, path):
        return cls(function, path)


class InChosen(CompileResultCacheImpl):
    _locator_classes = [Chosen]


class KernelCache(FunctionCache):
    """Numba's cache of a function, in sealed files; what cannot be kept is said, and the run goes on."""

    _impl_class = InChosen

    def __init__(self, function):
        super().__init__(function)
        old = self._cache_file
        self._cache_file = SealedFile.__new__(SealedFile)
        self._cache_file.__dict__.update(old.__dict__)

    def load_overload(self, sig, target_context):
        """What Numba knows of operators and of arrays is for compiling; an entry that is loaded needs none of it.

        None: this process is to compile the entry, and `save_overload` follows.
        """
        found = self._load_overload(sig, target_context)
        if found is None and in_use:
            self.claim()
            if (found := self._load_overload(sig, target_context)) is not None:
                self.release()
        return found

    def save_overload(self, sig, data):
        try:
            super().save_overload(sig, data)
        except OSError as problem:
            say_of_file(problem.filename or self.cache_path, problem.strerror, "compiled for this run only")
        finally:
            self.release()

    def claim(self) -> None:
        """Wait until no other process compiles a function of this name, and let the others wait for this one."""
        limit = time.monotonic() + WAIT_S
        while time.monotonic() < limit:
            try:
                return fcntl.lockf(in_use[0], fcntl.LOCK_EX | fcntl.LOCK_NB, 1, self._byte())
            except BlockingIOError:
                time.sleep(POLL_S)
            except OSError:                              # no such locks there: each for itself
                return None

    def release(self) -> None:
        with contextlib.suppress(OSError, IndexError):
            fcntl.lockf(in_use[0], fcntl.LOCK_UN, 1, self._byte())

    def _byte(self) -> int:
        """Where in MARK; that two entries may share one makes the second wait without need."""
        return zlib.crc32(self._cache_file._index_path.encode())
