"""What a result says of the machine it was made on.

`fingerprint` holds what stays the same from run to run, so that results of one machine can be distinguished
from another's; `conditions` holds what may differ each time.
"""

import functools
import hashlib
import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path

import psutil

DISTRIBUTION = "tdx-sept-harness"
PACKAGES = ("numba", "llvmlite", "numpy")


def fingerprint() -> dict:
    """Stable facts: processor, how many of them, memory, kernel, versions, of this program its commit and sources."""
    return {
        "processor": _processor_name(),
        "architecture": platform.machine(),
        "processors_count": psutil.cpu_count(logical=True),
        "cores_count": psutil.cpu_count(logical=False),
        "memory_mib": psutil.virtual_memory().total >> 20,
        "kernel": platform.release(),
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in PACKAGES},
        "program": versions(),
    }


@functools.cache
def versions() -> str:
    """Of this program, as this process has loaded it, and of Numba, which an installed program need not load for that."""
    root = Path(__file__).parent.parent.parent
    digest = hashlib.sha256()
    for path in sorted((*root.glob("harness/**/*.py"), *root.glob("kernels/**/*.py"))):
        digest.update(path.read_bytes())
    return (f"{importlib.metadata.version(DISTRIBUTION)}, {_commit(root)}source {digest.hexdigest()[:12]},"
            f" numba {importlib.metadata.version('numba')}")


def _commit(root: Path) -> str:
    """`commit ..., ` of a checkout, or of the one that a wheel was made of; nothing where there is none, or no git."""
    made_of = root / "harness/commit"
    if made_of.exists():
        return f"commit {made_of.read_text().strip()}, "
    if not (root / ".git").exists():
        return ""
    try:
        said = subprocess.run(["git", "-C", root, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, errors="backslashreplace",
                              check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return f"commit {said.stdout.strip()}, "


def conditions() -> dict:
    """Facts of the moment."""
    return {
        "load_average_1min": os.getloadavg()[0],
        "processors_allowed": sorted(os.sched_getaffinity(0)),
    }


def _processor_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or "unknown"
