"""What a result says of the machine it was made on.

`fingerprint` holds what stays the same from run to run, so that results of one machine can be told
from another's; `conditions` holds what may differ each time.
"""

import importlib.metadata
import os
import platform
from pathlib import Path

import psutil

PACKAGES = ("numba", "llvmlite", "numpy")


def fingerprint() -> dict:
    """Stable facts: processor, how many of them, memory, kernel, versions."""
    return {
        "processor": _processor_name(),
        "architecture": platform.machine(),
        "processors_count": psutil.cpu_count(logical=True),
        "cores_count": psutil.cpu_count(logical=False),
        "memory_mib": psutil.virtual_memory().total >> 20,
        "kernel": platform.release(),
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in PACKAGES},
    }


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
