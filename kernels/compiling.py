"""How kernels are compiled: one decorator, and a disk cache that cannot be stale.

Numba is imported when the first kernel is called or compiled, not when a module with kernels in it is
imported: most commands look at rows and constants only, and Numba takes longer to import than they take.
So what the decorator gives is `Deferred`, and numba_side.py, which knows Numba, makes the real thing.

A fact about Numba decides how the cache is kept (tests/kernels/test_compiled_code.py holds it): the on-disk
cache of a function looks at that function's own file only.  A change in a helper that it calls, in
another file, would go unseen.  So the cache lives in a directory named after a hash of all kernel
sources: other sources, other directory (cache.py).
"""

import functools
import hashlib
import importlib
from pathlib import Path


def source_hash() -> str:
    """Twelve hex digits that change when any file of this package changes."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]


class Deferred:
    """Something of Numba's, made by `make()` when it is first called or asked for an attribute.

    A kernel that names one gets what it stands for (short_compiler.LookUpNames).
    """

    def __init__(self, make):
        self.make = make

    @functools.cached_property
    def made(self):
        return self.make()

    @property
    def is_made(self) -> bool:
        return "made" in vars(self)

    def __call__(self, *arguments):
        return self.made(*arguments)

    def __getattr__(self, name):
        if name.startswith("__"):                        # Python asks every object for these
            raise AttributeError(name)
        return getattr(self.made, name)


def _numba_side():
    return importlib.import_module("kernels.numba_side")


def kernel(function=None, *, entry=False, inline=True):
    """Compile `function` with the settings that every kernel shares, when it is first needed.

    A kernel is called by other kernels and is inlined into them.  An `entry` is also called from
    Python; only entries are kept on disk, with all that they call inside.  (What Python needs in
    order to call a function costs as much to compile as a small kernel itself.)  With inline = False it
    is called: for what is long and not called at each step.

    No bounds or division checks: what a kernel is given has been checked before (assemble, plan).
    """
    if function is None:
        return functools.partial(kernel, entry=entry, inline=inline)
    compiled = functools.update_wrapper(Deferred(lambda: _numba_side().dispatcher(function, entry, inline)), function)
    compiled.py_func = function
    return compiled


@functools.cache
def for_python(function):
    """A kernel that is no entry, for Python to call: for tests and benchmarks.  Not kept on disk."""
    return _numba_side().for_python(function.py_func)
