"""Folders of old nights, deleted on request; of them only what a night has written, and nothing behind a link.

A folder that holds anything else stays as it is, and is named.
"""

import re
from pathlib import Path

NIGHT = re.compile(r"nightly-\d{8}T\d{6}Z")
FILES = {"junit.xml", "nightly.ktap", "summary.md", "benchmark-smaller.json", "benchmark-bigger.json"}
RESULTS = {"result.json"}


def prune(out: Path, keep: int) -> list[str]:
    """Delete all but the last `keep` nights under `out`; what became of them, a line each that is worth one."""
    nights = sorted(path for path in out.iterdir() if NIGHT.fullmatch(path.name) and path.is_dir() and not path.is_symlink())
    lines, gone = [], 0
    for night in nights[:-keep] if keep else nights:
        if other := _foreign(night):
            lines.append(f"{night}: kept, as {other.name} in it is none of a night's files")
            continue
        try:
            _delete(night)
            gone += 1
        except OSError as problem:
            lines.append(f"{night}: cannot be deleted: {problem.strerror}")
    return [*lines, f"deleted {gone} night{'s' * (gone != 1)} before the last {keep}"] if gone else lines


def _delete(night: Path) -> None:
    """What `_foreign` has let pass, file by file: a folder that has got another one meanwhile stays.  Raises OSError."""
    for path in sorted(night.iterdir()):
        if path.name in FILES:
            path.unlink()
        else:
            for name in RESULTS:
                (path / name).unlink(missing_ok=True)
            path.rmdir()
    night.rmdir()


def _foreign(night: Path) -> Path | None:
    """Something in a night's folder that no night writes."""
    for path in sorted(night.iterdir()):
        if path.is_symlink():
            return path
        if path.is_file() and path.name in FILES:
            continue
        if not path.is_dir():
            return path
        for inner in sorted(path.iterdir()):
            if inner.is_symlink() or not inner.is_file() or inner.name not in RESULTS:
                return inner
    return None
