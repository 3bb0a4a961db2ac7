"""Atomic access to shared words, by address; the pause, the clock, and giving up the processor.

The one idea: a shared word is an address (a 64-bit integer) and a width.  Plain loads are of no
use on shared memory, because the compiler moves them out of loops: `while word & TDEL` became an
endless loop.  Every access to a word that another process may change goes through a function of
this file, and each is one machine instruction (instructions.py):

    load  store                   mov
    fetch_add                     lock xadd (lock add where the old value is not used)
    fetch_or  fetch_and           lock or, lock and (a lock cmpxchg loop where the old value is used)
    bit_set64(n)  bit_reset64(n)  lock bts, lock btr
    exchange                      xchg
    compare_swap                  lock cmpxchg
    fence                         mfence, or a locked instruction on the stack

The width is in the name, `load16(address)`; there are those that programs need.  Values narrower
than 64 bits come back zero-extended; a value to store is truncated.  The address must be aligned to
the width; that is not checked.  On x86 loads acquire, stores release, and read-modify-writes are full
barriers.
"""

import ctypes
import importlib
import platform

from kernels.compiling import Deferred, kernel

X86 = platform.machine() in ("x86_64", "AMD64")


def _instruction(name, *which):
    """The intrinsic of that name in instructions.py, or what the function of that name there makes of `which`."""
    def make():
        found = getattr(importlib.import_module("kernels.instructions"), name)
        return found(*which) if which else found
    return Deferred(make)


load8, load16, load32, load64 = (_instruction("load", bits) for bits in (8, 16, 32, 64))
store8, store16, store32, store64 = (_instruction("store", bits) for bits in (8, 16, 32, 64))
fetch_add8, fetch_add16, fetch_add32, fetch_add64 = (_instruction("read_modify_write", "add", bits) for bits in (8, 16, 32, 64))
fetch_or16, fetch_or64 = (_instruction("read_modify_write", "or", bits) for bits in (16, 64))
fetch_and16, fetch_and64 = (_instruction("read_modify_write", "and", bits) for bits in (16, 64))
exchange8, exchange16, exchange32, exchange64 = (_instruction("read_modify_write", "xchg", bits) for bits in (8, 16, 32, 64))
compare_swap8, compare_swap16, compare_swap32, compare_swap64 = (_instruction("compare_swap", bits) for bits in (8, 16, 32, 64))


def bit_set64(bit):
    """An operation that sets one bit of the 64-bit word at an address: `operation(address)`."""
    return _instruction("bit_operation", "bts", bit)


def bit_reset64(bit):
    """An operation that resets one bit of the 64-bit word at an address: `operation(address)`."""
    return _instruction("bit_operation", "btr", bit)


fence = _instruction("fence")                     # no load behind it is done before the stores ahead of it can be seen
pause = _instruction("pause")                     # tells the processor that this is a spin loop
monotonic_ns = _instruction("monotonic_ns")       # CLOCK_MONOTONIC; several times dearer than ticks()
leading_zeros = _instruction("leading_zeros")     # above the highest set bit of a 64-bit value: 64 for zero
trailing_zeros = _instruction("trailing_zeros")   # below the lowest set bit
zero = _instruction("zero")                       # (address, size): in no particular order, and never left out
copy = _instruction("copy")                       # (to, source, size): between places that do not overlap
prefetch = _instruction("prefetch")               # have a line on its way, which is looked at later; any address may be given
_cycle_counter = _instruction("cycle_counter")
_sched_yield = _instruction("sched_yield")
_usleep = _instruction("usleep")


@kernel
def sched_yield():
    """Let another process run on this processor."""
    _sched_yield()


@kernel
def sleep_us(duration_us):
    """Sleep; wakes a few microseconds late."""
    _usleep(duration_us)


@kernel
def ticks():
    """A clock in ticks of its own: the time-stamp counter on x86, monotonic_ns() elsewhere.

    (Arm lets the kernel alone read the counter that llvm.readcyclecounter stands for there.)
    """
    if X86:
        return _cycle_counter()
    return monotonic_ns()


def address_of(buffer) -> int:
    """The address of a writable buffer's first byte (an mmap, a numpy array, a bytearray).

    The caller keeps the buffer alive for as long as the address is used.
    """
    return ctypes.addressof(ctypes.c_char.from_buffer(buffer))
