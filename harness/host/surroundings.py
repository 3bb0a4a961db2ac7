"""What of its surroundings an unexpected failure is due to, as one line: what is missing, and what to do about it.

Asked only when something has failed, so that surroundings which do no harm are not refused.
"""

import errno
import math
import os
import resource
import sys
import tempfile
from pathlib import Path

MIB = 1 << 20
NEEDED_MIB = 1024                # address space: a run of a shipped config, with Numba and LLVM, ends with 400 MiB already
LEAST_MIB = 192                  # below it OpenBLAS, which NumPy loads, ends the process itself, by exit(1) or SIGINT
TOO_MANY = {
    errno.EMFILE: "more files would be open than this process may have (ulimit -n); allow 256",
    errno.ENFILE: "more files are open than this machine allows (fs.file-max); raise it, or end what holds them",
    errno.EAGAIN: "no more processes can be started (ulimit -u, pids.max); allow one for each worker, and 16",
}
NUMBA_OFF = "NUMBA_DISABLE_JIT"
SHARED = "/dev/shm"              # where the semaphores of Python's multiprocessing lie; their errors name no file


class NoNumpy:
    """A finder of modules that refuses NumPy, where OpenBLAS would end the process without a word of ours."""

    @staticmethod
    def find_spec(name, _path=None, _target=None):
        if name == "numpy":
            raise MemoryError


def prepare() -> None:
    """Before anything large is loaded."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")       # nothing here uses it, and it takes memory for each
    if _address_space_mib() < LEAST_MIB:
        sys.meta_path.insert(0, NoNumpy)


def _address_space_mib() -> float:
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    return math.inf if limit == resource.RLIM_INFINITY else limit // MIB


def _folder_is_gone() -> bool:
    try:
        return not os.getcwd()
    except FileNotFoundError:
        return True


def _why_unwritable(folder: str) -> str:
    """"" if a file can be written there."""
    try:
        with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
            file.write(bytes(os.sysconf("SC_PAGE_SIZE")))
    except OSError as problem:
        return problem.strerror or str(problem)
    return ""


def missing(problem: BaseException) -> str | None:
    """The line; None if the surroundings are not to blame."""
    if os.environ.get(NUMBA_OFF, "0") not in ("", "0"):
        return f"{NUMBA_OFF}={os.environ[NUMBA_OFF]}: this program runs compiled code only; unset it"
    no_memory, limit_mib = isinstance(problem, MemoryError) or getattr(problem, "errno", None) == errno.ENOMEM, _address_space_mib()
    if no_memory and limit_mib < math.inf or isinstance(problem, OSError | ImportError) and limit_mib < NEEDED_MIB:
        return (f"address space is limited to {limit_mib} MiB (ulimit -v), which does not hold Numba and this command;"
                f" allow {'more' if limit_mib >= NEEDED_MIB else f'{NEEDED_MIB} MiB'}, and give a search a smaller --memory-mib, such as 64")
    if isinstance(problem, OSError) and problem.errno in TOO_MANY:
        return TOO_MANY[problem.errno]
    if isinstance(problem, FileNotFoundError) and "temporary directory" in str(problem):        # tempfile's words
        return "no folder for temporary files can be written; TMPDIR names one"
    if isinstance(problem, FileNotFoundError) and _folder_is_gone():
        return "the folder that this was started in has been removed; start in another"
    if isinstance(problem, OSError) and problem.filename is None and (why := _why_unwritable(SHARED)):
        return f"{SHARED} cannot be written, which --jobs needs: {why}"
    if no_memory:
        return "out of memory: fewer vCPUs, a smaller memory_mib, or --memory-mib for a search"
    if isinstance(problem, OSError) and not Path("/proc/self").exists():
        return f"/proc is not mounted, which {problem.filename or 'this command'} needs"
    return None
