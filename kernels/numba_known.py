"""What Numba's compiler knows of Python and NumPy: what kernels are made of, and no more.

By default it reads and enters everything that it can compile (strings, lists, random numbers, linear algebra) before
the first function, and looks whether there is more before each function, operator and attribute after it.  Here
that is integers, ranges, tuples and arrays, once; and intrinsics, when they are made.
"""

import functools
import importlib

from numba.core import imputils, registry
from numba.core.typing import templates

# Each enters what it knows in registries of Numba's when it is imported.
MODULES = ("numba.cpython.builtins", "numba.cpython.numbers", "numba.cpython.rangeobj", "numba.cpython.tupleobj",
           "numba.cpython.enumimpl", "numba.np.arrayobj", "numba.core.typing.builtins", "numba.core.typing.arraydecl")


@functools.cache
def load() -> None:
    """Once in a process; from then on `refresh` takes up intrinsics only."""
    types, code = registry.cpu_target.typing_context, registry.cpu_target.target_context
    for module in MODULES:
        importlib.import_module(module)

    def refresh():
        code.install_registry(imputils.builtin_registry)
        types.install_registry(templates.builtin_registry)

    code.refresh, types.refresh = refresh, lambda: None
    refresh()
