"""Large tables that are seldom filled: zeroed arrays that take memory as they are written.

np.zeros does that too, but below 32 MiB only by chance: what was freed before may be given out again, and is then
filled with zeroes from end to end.
"""

import ctypes
import math
import mmap

import numpy as np

MAP_NORESERVE, MADV_HUGEPAGE = 0x4000, 14        # Linux mman.h

_libc = ctypes.CDLL(None)
_libc.madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)


def zeros(shape: int | tuple[int, ...], dtype) -> np.ndarray:
    """A private array of zeroes.  Raises OSError where there is no address space for it."""
    size = math.prod(shape) if isinstance(shape, tuple) else shape
    block = mmap.mmap(-1, max(1, size * np.dtype(dtype).itemsize),
                      flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_NORESERVE)
    return np.frombuffer(block, dtype, size).reshape(shape)


def use_large_pages(table: np.ndarray) -> None:
    """Let what is still to be written of a table of `zeros` come in pages of 2 MiB: it is going to be large."""
    _libc.madvise(table.ctypes.data, table.nbytes, MADV_HUGEPAGE)
