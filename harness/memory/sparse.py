"""Shared memory for one process, in which a TD of a terabyte costs what is touched of it.

The block of memory.py, mapped so that a page of it takes memory only once it is written.  Zeroes are
easy: that is what an anonymous mapping begins with.  But an SEPT entry that maps nothing is FREE and
a mirror entry SHADOW_NONPRESENT_VALUE, which are not zero.  So a small file is filled with that word
and mapped again and again, privately, over the whole table: all of its pages are the same pages of
the file until they are written.  The file has no name and ends with the process.

`view` of a large table with an element per guest page gives only what was touched (in runs of 512,
a page of SEPT entries), all such tables in the same order; so that what checks them at the end of a
run (invariants.py) costs what was touched too.  The kernel's own page tables know what that is.
"""

import ctypes
import mmap
import os

import numpy as np

from harness.errors import UsageError
from harness.memory.layout import ENTRIES, MMU_NONPRESENT, PAGE
from harness.memory.block import Memory
from kernels.atomics import address_of
from kernels.ops import LEVELS
from kernels.words import HKID_ASSIGNED, STATE

MAP_NORESERVE, MAP_FIXED, MADV_DONTNEED, MADV_NOHUGEPAGE = 0x4000, 0x10, 4, 15    # Linux mman.h
PATTERN_BYTES = 32 << 20         # of the file: large enough that few mappings are needed
GATHERED_PAGES = 1 << 20         # with fewer pages than that, a view is of all of them
PAGEMAP_WRITTEN, PAGEMAP_FILE = 1 << 63 | 1 << 62, 1 << 61     # Documentation/admin-guide/mm/pagemap.rst

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long)
_libc.madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)


def reserve(size: int, scattered: bool) -> mmap.mmap:
    """A private zeroed mapping that takes memory as it is written.  Raises UsageError.

    scattered   whether words far apart are written: one of them must not take 2 MiB
    """
    try:
        block = mmap.mmap(-1, max(size, PAGE), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_NORESERVE)
    except (OSError, OverflowError):
        raise UsageError(f"engine simulate: these TDs need {size >> 30} GiB of address space at once, more than a"
                         " process has; td.count, td.vcpus or td.memory_mib must be smaller") from None
    if scattered:
        _libc.madvise(address_of(block), max(size, PAGE), MADV_NOHUGEPAGE)
    return block


class SparseMemory(Memory):
    """Memory that is private to this process and takes what is written of it."""

    def __init__(self, layout):
        self.layout = layout
        self.block = reserve(layout.size, scattered=True)
        self.base = address_of(self.block)
        self._bytes = np.frombuffer(self.block, np.uint8)
        self._patterns: dict[int, object] = {}
        self._touched = [np.zeros(0, np.int64)] * layout.tds
        for td in range(layout.tds):
            self._begin(td)
        self.format_host()

    def _begin(self, td: int) -> None:
        for level in range(LEVELS):
            self._fill(f"sept.{level}", td, STATE["FREE"].word())
            self._fill(f"mirror.{level}", td, MMU_NONPRESENT)
        self.format_control(td)
        if self.layout.created:
            self.set_word(self.layout.at("kot", td), HKID_ASSIGNED)

    def _fill(self, name: str, td: int, word: int) -> None:
        """Make every word of a TD's region `word`: whole pages by mapping, what is left by writing."""
        words, begin = super().view(name, td=td), self.layout.at(name, td=td)
        first, end = -(-begin // PAGE) * PAGE, (begin + words.nbytes) // PAGE * PAGE
        if end - first < PATTERN_BYTES:
            words[:] = word
            return
        words[:(first - begin) // 8] = word
        words[(end - begin) // 8:] = word
        file = self._patterns.get(word) or self._pattern(word)
        for at in range(first, end, PATTERN_BYTES):
            self._map(file.fileno(), at, min(PATTERN_BYTES, end - at))

    def _pattern(self, word: int):
        """A file without a name, full of `word`."""
        file = self._patterns[word] = open(os.memfd_create("pattern"), "r+b")
        file.write(np.full(PATTERN_BYTES // 8, word, np.uint64))
        file.flush()
        return file

    def _map(self, file: int, at: int, size: int) -> None:
        where = _libc.mmap(self.base + at, size, mmap.PROT_READ | mmap.PROT_WRITE,
                           mmap.MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE, file, 0)
        if where != self.base + at:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

    def reset(self, td: int = 0) -> None:
        """A fresh TD: forget every page of it that was written."""
        start = self.layout.td_start + td * self.layout.td_stride
        _libc.madvise(self.base + start, self.layout.td_bytes, MADV_DONTNEED)
        self._begin(td)

    # --- what was touched ---

    def view(self, name: str, dtype=np.uint64, td: int = 0) -> np.ndarray:
        """As Memory.view; of a large table with an element per guest page, the touched ones."""
        whole = super().view(name, dtype, td)
        pages = self.layout.pages
        if pages < GATHERED_PAGES or self.layout.by_name[name].count < pages:
            return whole
        runs = whole[:pages].reshape(-1, ENTRIES, *whole.shape[1:])
        gathered = runs[self._touched[td]].reshape(-1, *whole.shape[1:])
        return np.concatenate([gathered, whole[pages:]]) if len(whole) > pages else gathered

    def page_numbers(self, td: int = 0) -> np.ndarray:
        if self.layout.pages < GATHERED_PAGES:
            return super().page_numbers(td)
        return (self._touched[td][:, None] * ENTRIES + np.arange(ENTRIES)).ravel()

    def look(self) -> None:
        """Find out what was touched since the beginning; `view` tells of that."""
        if self.layout.pages >= GATHERED_PAGES:
            self._touched = [self._find_touched(td) for td in range(self.layout.tds)]

    def _find_touched(self, td: int) -> np.ndarray:
        """Which runs of 512 guest pages have an SEPT, mirror or PAMT entry that was written."""
        chunks = np.zeros(self.layout.pages // ENTRIES, bool)
        for name in ("sept.0", "mirror.0", "pamt_4k.data"):
            begin, stride = self.layout.at(name, td=td), self.layout.by_name[name].stride
            assert begin % PAGE == 0, name
            end = begin + stride * self.layout.pages
            chunks[self._written_pages(begin, end) * PAGE // (stride * ENTRIES)] = True
        return np.flatnonzero(chunks)

    def _written_pages(self, begin: int, end: int) -> np.ndarray:
        """Numbers, from `begin` on, of the pages that are this process's own copies."""
        with open("/proc/self/pagemap", "rb", buffering=0) as pagemap:
            pagemap.seek((self.base + begin) // PAGE * 8)
            flags = np.frombuffer(pagemap.read((end - begin) // PAGE * 8), np.uint64)
        return np.flatnonzero((flags & np.uint64(PAGEMAP_WRITTEN) != 0) & (flags & np.uint64(PAGEMAP_FILE) == 0))
