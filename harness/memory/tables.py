"""Large tables that are seldom filled: zeroed arrays that take memory as they are written.

np.zeros does that too, but below 32 MiB only by chance: what was freed before may be given out again, and is then
filled with zeroes from end to end.
"""

import ctypes
import math
import mmap
import os
import tempfile
from pathlib import Path

import numpy as np

MAP_NORESERVE, MADV_DONTNEED, MADV_HUGEPAGE = 0x4000, 4, 14        # Linux mman.h
APART = 128                      # bytes: a cache line, and the next one, which the processor fetches along

_libc = ctypes.CDLL(None)
_libc.madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)


def zeros(shape: int | tuple[int, ...], dtype, folder: Path | None = None) -> np.ndarray:
    """A private array of zeroes, or one in a file of a folder that has no name: what is not in use may then lie on the disk.

    Raises OSError where there is no address space for it, or no file can be made.
    """
    size = math.prod(shape) if isinstance(shape, tuple) else shape
    length = max(1, size * np.dtype(dtype).itemsize)
    if folder:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.truncate(length)
            block = mmap.mmap(file.fileno(), length)
    else:
        block = mmap.mmap(-1, length, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_NORESERVE)
    return np.frombuffer(block, dtype, size).reshape(shape)


def apart(array: np.ndarray) -> np.ndarray:
    """A copy that has cache lines of its own: what one thread writes all the time is not next to what another does."""
    room = np.zeros(array.nbytes + 2 * APART, np.uint8)
    begin = -room.ctypes.data % APART
    copy = room[begin:begin + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


def free_bytes(folder: Path) -> int:
    """Of a disk, for whoever is not root."""
    disk = os.statvfs(folder)
    return disk.f_bavail * disk.f_frsize


def use_large_pages(table: np.ndarray) -> None:
    """Let what is still to be written of a table of `zeros` come in pages of 2 MiB: it is going to be large."""
    _libc.madvise(table.ctypes.data, table.nbytes, MADV_HUGEPAGE)


def give_back(table: np.ndarray) -> None:
    """Give back the memory of a table of `zeros` that nobody reads any more."""
    _libc.madvise(table.ctypes.data, table.nbytes, MADV_DONTNEED)
