"""Files written whole or not at all, and read with one line for what is wrong with them.

`read_bytes`, then `read_text`, then `read_toml` or `read_json`: every file that a person gives comes this way.
Its size, kind, depth and numbers have limits here, and control characters are escaped here, so that no text of
a file can forge a line or move the cursor wherever it is shown.
"""

import errno
import json
import math
import os
import re
import stat
import sys
import tempfile
import tomllib
from pathlib import Path

from harness.errors import UNSAFE, ResultError, UsageError, escaped, nearest

STANDARD_INPUT = "-"             # in place of a path
BYTES_MOST = 256 << 20           # of any file: years of nights
TOML_MOST = 1 << 20              # of what a person has written
DEPTH_MOST = 50                  # tables and lists inside each other
DIGITS_MOST = 40                 # of a number; the greatest that means anything has 22
ENDLESS = re.compile(r"\d{1000}")                # Python refuses to make a number of 4,300 digits
TOO_MANY_DIGITS = f"must be a number of at most {DIGITS_MOST} digits"
ODD = re.compile(f"{UNSAFE.pattern}|{ENDLESS.pattern}")
KINDS = {stat.S_IFIFO: "a FIFO", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device",
         stat.S_IFSOCK: "a socket"}


def stem(path: str | Path) -> str:
    """What a file is called that says no name of its own."""
    return "stdin" if str(path) == STANDARD_INPUT else Path(path).stem


def write_file(text: str, path: Path) -> Path:
    """Raises OSError that names the file; then nothing of it is left.

    A link stays one, and what is no file (a terminal, /dev/null, a pipe to another program) is written to, not replaced.
    """
    try:
        target = Path(os.path.realpath(path))
        if target.is_symlink():          # to itself
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        if target.exists() and not target.is_file():
            _write_to(text, target)
        else:
            _replace(text, target)
    except OSError as problem:
        problem.filename = str(path)
        raise
    return path


def _replace(text: str, path: Path) -> None:
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".tmp")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)
        os.replace(temporary, path)
    finally:
        Path(temporary).unlink(missing_ok=True)


def _write_to(text: str, path: Path) -> None:
    """A FIFO that nobody reads is not waited for."""
    handle = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    os.set_blocking(handle, True)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)


def saved(path: Path | str, word: str = "saved") -> str:
    """`saved PATH`, whatever characters are in it."""
    return f"{word} {escaped(str(path))}"


def reason(problem: Exception) -> str:
    """What the system says of an error, or else what Python does."""
    return getattr(problem, "strerror", None) or str(problem) or type(problem).__name__


# --- what stands in a text --------------------------------------------------------------------

def from_json(text: str | bytes, keep: str = ""):
    """What a JSON text says.  Raises ValueError with a sentence."""
    try:
        return _checked(json.loads(text, parse_int=_whole), keep)
    except RecursionError:
        raise ValueError(f"nested too deep; must be at most {DEPTH_MOST} levels") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as problem:
        raise ValueError(f"not JSON (damaged or cut off): {problem}") from None


def from_toml(text: str) -> dict:
    """The tables of a TOML text.  Raises ValueError with a sentence, TOMLDecodeError for what is no TOML."""
    try:
        found = tomllib.loads(text)
    except RecursionError:
        raise ValueError(f"nested too deep; must be at most {DEPTH_MOST} levels") from None
    except ValueError as problem:
        # Python refuses to read so many digits, and does not say where they stand.
        shorter = re.sub(r"\d{1000,}", "9" * (DIGITS_MOST + 1), text)
        if isinstance(problem, tomllib.TOMLDecodeError) or shorter == text:
            raise
        return from_toml(shorter)        # refuses it, by its key
    return _checked(found)


def _whole(digits: str) -> int:
    return int(digits) if len(digits) <= DIGITS_MOST + 1 else 10 ** DIGITS_MOST


def _checked(value, keep: str = ""):
    """The same, its texts escaped but for the characters to `keep`; raises ValueError for a value that is of no use."""
    left, unsafe = [("", value, 1)], False
    while left:
        key, each, depth = left.pop()
        wrong = ""
        if isinstance(each, dict | list):
            if depth > DEPTH_MOST:
                wrong = f"nested too deep; must be at most {DEPTH_MOST} levels"
            elif isinstance(each, dict):
                left += [(f"{key}.{name}" if key else name, held, depth + 1) for name, held in each.items()]
                left += [(f"{key}.{name}" if key else name, name, depth + 1) for name in each if ODD.search(name)]
            else:
                left += [(f"{key}.{number}" if key else str(number), held, depth + 1) for number, held in enumerate(each)]
        elif isinstance(each, float) and not math.isfinite(each):
            wrong = "must be a finite number"
        elif isinstance(each, int) and abs(each) >= 10 ** DIGITS_MOST:
            wrong = TOO_MANY_DIGITS
        elif isinstance(each, str) and ODD.search(each):
            unsafe = True
            wrong = "must be whole characters (UTF-8)" if re.search("[\ud800-\udfff]", each) else TOO_MANY_DIGITS * bool(ENDLESS.search(each))
        if wrong:
            shown = str(each)[:20] if isinstance(each, float) else str(each)[:20] + "..." if isinstance(each, int) \
                and each.bit_length() < 10_000 else ""
            raise ValueError(f"{key} = {shown}: {wrong}" if shown else f"{key}: {wrong}")
    return _escaped(value, keep) if unsafe else value


def _escaped(value, keep: str):
    if isinstance(value, dict):
        return {escaped(key): _escaped(held, keep) for key, held in value.items()}
    if isinstance(value, list):
        return [_escaped(held, keep) for held in value]
    return escaped(value, keep) if isinstance(value, str) else value


# --- files -----------------------------------------------------------------------------------

def read_json(path: str | Path, keep: str = "", most: int = BYTES_MOST):
    """What a JSON file says, its texts escaped but for the characters to `keep`.  Raises ResultError."""
    try:
        return from_json(read_text(path, ResultError, most=most), keep)
    except ValueError as problem:
        raise ResultError(f"{path}: {problem}") from None


def read_toml(path: str | Path, named: str = "") -> dict:
    """The tables of a TOML file; `named` is how a message calls it.  `-` is standard input.  Raises UsageError."""
    if path == STANDARD_INPUT:
        named = named or "standard input"
    try:
        return from_toml(read_text(path, UsageError, named, "*.toml", TOML_MOST))
    except tomllib.TOMLDecodeError as problem:
        raise UsageError(f"{named or path}: not TOML: {problem}") from None
    except ValueError as problem:
        raise UsageError(f"{named or path}: {problem}") from None


def read_text(path: str | Path, error: type[UsageError], named: str = "", pattern: str = "", most: int = BYTES_MOST) -> str:
    """The text of a file, without a byte order mark.  Raises `error`; where there is no such file, with the nearest of those like `pattern`."""
    try:
        return read_bytes(path, error, named, pattern, most).decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        raise error(f"{named or path}: cannot be read: {problem}; must be text in UTF-8") from None


def open_regular(path: str | Path, error: type[UsageError], named: str = ""):
    """A regular file, open for reading bytes.  Raises `error` for another kind (a FIFO is not waited for), OSError, ValueError."""
    file = open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY), "rb")
    kind = os.fstat(file.fileno()).st_mode
    if not stat.S_ISREG(kind):
        file.close()
        raise error(f"{named or path}: cannot be read: is {KINDS.get(stat.S_IFMT(kind), 'no file')}; must be a file")
    return file


def read_bytes(path: str | Path, error: type[UsageError] = UsageError, named: str = "", pattern: str = "",
               most: int = BYTES_MOST) -> bytes:
    """What a regular file holds.  Raises `error`: missing, of another kind (a FIFO is not waited for), too long."""
    if path == STANDARD_INPUT:
        raw = sys.stdin.buffer.read(most + 1)
        if len(raw) > most:
            raise error(f"{named or 'standard input'}: is longer than {most >> 20} MiB; must be at most that")
        return raw
    path, named = Path(path), named or path
    try:
        with open_regular(path, error, named) as file:
            raw = file.read(most + 1) if os.fstat(file.fileno()).st_size <= most else None
    except FileNotFoundError:
        near = map(str, path.parent.glob(pattern)) if pattern else ()
        raise error(f"{named}: no such file{nearest(path, near)}") from None
    except IsADirectoryError:
        raise error(f"{named}: cannot be read: is a folder; must be a file") from None
    except (OSError, ValueError) as problem:             # ValueError: a NUL in the path
        raise error(f"{named}: cannot be read: {reason(problem)}") from None
    if raw is None or len(raw) > most:         # it may have grown
        raise error(f"{named}: is longer than {most >> 20} MiB; must be at most that")
    return raw
