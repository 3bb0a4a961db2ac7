"""How kernels are compiled: one decorator, and a disk cache that cannot be stale.

Two facts about Numba decide everything here (both are held by tests/kernels/test_compiled_code.py):

* An array that crosses a call is reference-counted, with locked instructions, and one pair costs
  several times a whole micro-op.  `_nrt=False` leaves the counting out; it also makes an allocation
  in a kernel a compile error, which is what we want.
* The on-disk cache of a function looks at that function's own file only.  A change in a helper
  that it calls, in another file, would go unseen.  So the cache lives in a directory named after a
  hash of all kernel sources: other sources, other directory (cache.py).
"""

import functools
import hashlib
import importlib
import os
import sys
from pathlib import Path

import numba
from numba.core.dispatcher import Dispatcher

from kernels import cache
from kernels.short_compiler import KernelCompiler


def source_hash() -> str:
    """Twelve hex digits that change when any file of this package changes."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]


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
    numba.config.CACHE_DIR = cache.choose(source_hash())


def kernel(function=None, *, entry=False):
    """Compile `function` with the settings that every kernel shares.

    A kernel is called by other kernels and is inlined into them.  An `entry` is also called from
    Python; only entries are kept on disk, with all that they call inside.  (What Python needs in
    order to call a function costs as much to compile as a small kernel itself.)

    No bounds or division checks: what a kernel is given has been checked before (assemble, plan).
    """
    if function is None:
        return functools.partial(kernel, entry=entry)
    compiled = numba.njit(
        function, _nrt=False, boundscheck=False, error_model="numpy", nogil=True,
        forceinline=not entry,
        no_cpython_wrapper=not entry, no_cfunc_wrapper=not entry,
        pipeline_class=KernelCompiler,
    )
    if entry:
        if not isinstance(compiled, Dispatcher):         # NUMBA_DISABLE_JIT leaves it plain Python, which counts otherwise
            return _not_compiled
        compiled._cache = cache.KernelCache(function)
    return compiled


def _not_compiled(*_given):
    raise RuntimeError("NUMBA_DISABLE_JIT is set: not compiled")


@functools.cache
def for_python(function):
    """A kernel that is no entry, for Python to call: for tests and benchmarks.  Not kept on disk."""
    return numba.njit(function.py_func, _nrt=False, boundscheck=False, error_model="numpy",
                      pipeline_class=KernelCompiler)
