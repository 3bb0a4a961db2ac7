"""Numba's side of compiling.py: settings, and the dispatchers that kernels become.

A fact about Numba decides the settings (tests/kernels/test_compiled_code.py holds it): an array that
crosses a call is reference-counted, with locked instructions, and one pair costs several times a whole
micro-op.  `_nrt=False` leaves the counting out; it also makes an allocation in a kernel a compile
error, which is what we want.
"""

import gc
import os
import sys

# Numba reads a settings file if there is yaml, and looks how old scipy is; nothing that is loaded is garbage.  All for
# nothing here, a tenth of its import's time.
UNUSED, COLLECTING = [name for name in ("yaml", "scipy") if name not in sys.modules], gc.isenabled()
sys.modules.update(dict.fromkeys(UNUSED))
gc.disable()
try:
    import numba
    from numba.core.dispatcher import Dispatcher
finally:
    for name in UNUSED:
        del sys.modules[name]
    if COLLECTING:
        gc.enable()

from kernels import cache
from kernels.compiling import source_hash
from kernels.short_compiler import KernelCompiler

if not os.environ.get("NUMBA_CACHE_DIR"):
    numba.config.CACHE_DIR = cache.choose(source_hash())


def dispatcher(function, entry: bool, inline: bool):
    """What Python and other kernels call."""
    compiled = numba.njit(
        function, _nrt=False, boundscheck=False, error_model="numpy", nogil=True,
        forceinline=inline and not entry,
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


def for_python(function):
    return numba.njit(function, _nrt=False, boundscheck=False, error_model="numpy", pipeline_class=KernelCompiler)
