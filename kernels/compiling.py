"""How kernels are compiled: one decorator, and a disk cache that cannot be stale.

Two facts about Numba decide everything here (both are held by tests/kernels/test_compiled_code.py):

* An array that crosses a call is reference-counted, with locked instructions, and one pair costs
  several times a whole micro-op.  `_nrt=False` leaves the counting out; it also makes an allocation
  in a kernel a compile error, which is what we want.
* The on-disk cache of a function looks at that function's own file only.  A change in a helper
  that it calls, in another file, would go unseen.  So the cache lives in a directory named after a
  hash of all kernel sources: other sources, other directory.
"""

import functools
import hashlib
import importlib
import os
import sys
import tempfile
from pathlib import Path

import numba

from kernels.short_compiler import KernelCompiler

CACHED_VERSIONS = 4              # directories of older sources that are kept


def source_hash() -> str:
    """Twelve hex digits that change when any file of this package changes."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]


def _cache_directory() -> str:
    """The directory for compiled code of these sources; a private temporary one if home is closed."""
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tdx-sept-harness"
    try:
        directory = root / source_hash()
        directory.mkdir(parents=True, exist_ok=True)
        if not os.access(directory, os.W_OK):
            raise PermissionError(directory)
        os.utime(directory)
        _forget_old(root)
        return str(directory)
    except (OSError, RuntimeError):
        return tempfile.mkdtemp(prefix="tdx-sept-harness-")


def _forget_old(root: Path) -> None:
    newest_first = sorted(root.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
    for directory in newest_first[CACHED_VERSIONS:]:
        for path in sorted(directory.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink(missing_ok=True)
        directory.rmdir()


def _without_blas() -> None:
    """Load the part of Numba that looks for SciPy's BLAS while there seems to be none.

    No kernel multiplies matrices, and finding out that it could takes half a second of every start.
    """
    blas = "scipy.linalg.cython_blas"
    if blas not in sys.modules:
        sys.modules[blas] = None
        try:
            importlib.import_module("numba.np.arraymath")
        finally:
            del sys.modules[blas]


_without_blas()
if not os.environ.get("NUMBA_CACHE_DIR"):
    numba.config.CACHE_DIR = _cache_directory()


def kernel(function=None, *, entry=False):
    """Compile `function` with the settings that every kernel shares.

    A kernel is called by other kernels and is inlined into them.  An `entry` is also called from
    Python; only entries are kept on disk, with all that they call inside.  (What Python needs in
    order to call a function costs as much to compile as a small kernel itself.)

    No bounds or division checks: what a kernel is given has been checked before (assemble, plan).
    """
    if function is None:
        return functools.partial(kernel, entry=entry)
    return numba.njit(
        function, _nrt=False, boundscheck=False, error_model="numpy", nogil=True,
        forceinline=not entry, cache=entry,
        no_cpython_wrapper=not entry, no_cfunc_wrapper=not entry,
        pipeline_class=KernelCompiler,
    )


@functools.cache
def for_python(function):
    """A kernel that is no entry, for Python to call: for tests and benchmarks.  Not kept on disk."""
    return numba.njit(function.py_func, _nrt=False, boundscheck=False, error_model="numpy",
                      pipeline_class=KernelCompiler)
