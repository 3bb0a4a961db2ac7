"""Atomic access to shared words, by address; the pause, the clock, and giving up the processor.

The one idea: a shared word is an address (a 64-bit integer) and a width.  Plain loads are of no
use on shared memory, because the compiler moves them out of loops: `while word & TDEL` became an
endless loop.  Every access to a word that another process may change goes through a function of
this file, and each is one machine instruction:

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

This is the only file that knows llvmlite.  There is no inline assembly: llvmlite aborts the process
on it.
"""

import ctypes
import platform
import time

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from kernels.compiling import kernel

X86 = platform.machine() in ("x86_64", "AMD64")
INT64 = ir.IntType(64)


def _pointer(builder, address, bits):
    return builder.inttoptr(address, ir.IntType(bits).as_pointer())


def _narrow(builder, value, bits):
    return value if bits == 64 else builder.trunc(value, ir.IntType(bits))


def _widen(builder, value, bits):
    return value if bits == 64 else builder.zext(value, INT64)


def _load(bits):
    @intrinsic
    def load(typing_context, address):
        def generate(context, builder, signature, arguments):
            pointer = _pointer(builder, arguments[0], bits)
            return _widen(builder, builder.load_atomic(pointer, "acquire", bits // 8), bits)
        return types.int64(types.int64), generate
    return load


def _store(bits):
    @intrinsic
    def store(typing_context, address, value):
        def generate(context, builder, signature, arguments):
            pointer = _pointer(builder, arguments[0], bits)
            builder.store_atomic(_narrow(builder, arguments[1], bits), pointer, "release", bits // 8)
            return context.get_dummy_value()
        return types.void(types.int64, types.int64), generate
    return store


def _read_modify_write(operation, bits):
    @intrinsic
    def read_modify_write(typing_context, address, value):
        """Apply `value` to the word and return what the word was before."""
        def generate(context, builder, signature, arguments):
            pointer = _pointer(builder, arguments[0], bits)
            value = _narrow(builder, arguments[1], bits)
            return _widen(builder, builder.atomic_rmw(operation, pointer, value, "seq_cst"), bits)
        return types.int64(types.int64, types.int64), generate
    return read_modify_write


def _compare_swap(bits):
    @intrinsic
    def compare_swap(typing_context, address, expected, new):
        """Store `new` if the word is `expected`; return what the word was before."""
        def generate(context, builder, signature, arguments):
            pointer = _pointer(builder, arguments[0], bits)
            expected, new = (_narrow(builder, value, bits) for value in arguments[1:])
            outcome = builder.cmpxchg(pointer, expected, new, "seq_cst", "seq_cst")
            return _widen(builder, builder.extract_value(outcome, 0), bits)
        return types.int64(types.int64, types.int64, types.int64), generate
    return compare_swap


load8, load16, load32, load64 = (_load(bits) for bits in (8, 16, 32, 64))
store8, store16, store32, store64 = (_store(bits) for bits in (8, 16, 32, 64))
fetch_add8, fetch_add16, fetch_add32, fetch_add64 = (_read_modify_write("add", bits) for bits in (8, 16, 32, 64))
fetch_or16, fetch_or64 = (_read_modify_write("or", bits) for bits in (16, 64))
fetch_and16, fetch_and64 = (_read_modify_write("and", bits) for bits in (16, 64))
exchange8, exchange16, exchange32, exchange64 = (_read_modify_write("xchg", bits) for bits in (8, 16, 32, 64))
compare_swap8, compare_swap16, compare_swap32, compare_swap64 = (
    _compare_swap(bits) for bits in (8, 16, 32, 64))


def _bit_operation(operation, bit):
    """`lock bts` or `lock btr` of one constant bit of a 64-bit word.

    LLVM makes the same instruction of a fetch_or with a tested result, but only where it sees
    through what happens to the result; asked by name it always does.
    """
    fetch = {"bts": "or", "btr": "and"}[operation]
    mask = 1 << bit

    @intrinsic
    def bit_operation(typing_context, address):
        """Set or reset the bit; return what it was, as 0 or not 0."""
        def generate(context, builder, signature, arguments):
            pointer = _pointer(builder, arguments[0], 64)
            if X86:
                byte = ir.IntType(8)
                function = builder.module.declare_intrinsic(
                    f"llvm.x86.atomic.{operation}", [INT64], ir.FunctionType(INT64, [pointer.type, byte]))
                return builder.call(function, [pointer, byte(bit)])
            value = INT64(mask if fetch == "or" else ~mask)
            return builder.and_(builder.atomic_rmw(fetch, pointer, value, "seq_cst"), INT64(mask))
        return types.int64(types.int64), generate
    return bit_operation


def bit_set64(bit):
    """An operation that sets one bit of the 64-bit word at an address: `operation(address)`."""
    return _bit_operation("bts", bit)


def bit_reset64(bit):
    """An operation that resets one bit of the 64-bit word at an address: `operation(address)`."""
    return _bit_operation("btr", bit)


@intrinsic
def fence(typing_context):
    """A full barrier: no load behind it is done before the stores ahead of it are visible to others."""
    def generate(context, builder, signature, arguments):
        builder.fence("seq_cst")
        return context.get_dummy_value()
    return types.void(), generate


@intrinsic
def pause(typing_context):
    """Tell the processor that this is a spin loop; nothing where there is no such hint."""
    def generate(context, builder, signature, arguments):
        if X86:
            hint = ir.FunctionType(ir.VoidType(), [])
            builder.call(builder.module.declare_intrinsic("llvm.x86.sse2.pause", (), hint), [])
        return context.get_dummy_value()
    return types.void(), generate


@intrinsic
def _cycle_counter(typing_context):
    def generate(context, builder, signature, arguments):
        clock = ir.FunctionType(INT64, [])
        return builder.call(builder.module.declare_intrinsic("llvm.readcyclecounter", (), clock), [])
    return types.int64(), generate


@intrinsic
def monotonic_ns(typing_context):
    """CLOCK_MONOTONIC in nanoseconds; several times dearer than ticks()."""
    def generate(context, builder, signature, arguments):
        timespec = builder.alloca(INT64, 2)
        function = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(ir.IntType(32), [ir.IntType(32), timespec.type]),
            "clock_gettime")
        builder.call(function, [ir.Constant(ir.IntType(32), time.CLOCK_MONOTONIC), timespec])
        seconds = builder.load(timespec)
        nanoseconds = builder.load(builder.gep(timespec, [ir.Constant(ir.IntType(32), 1)]))
        return builder.add(builder.mul(seconds, ir.Constant(INT64, 1_000_000_000)), nanoseconds)
    return types.int64(), generate


@intrinsic
def leading_zeros(typing_context, value):
    """How many zero bits stand above the highest set bit of a 64-bit value (64 for zero)."""
    def generate(context, builder, signature, arguments):
        return builder.ctlz(arguments[0], ir.Constant(ir.IntType(1), 0))
    return types.int64(types.int64), generate


@intrinsic
def trailing_zeros(typing_context, value):
    """How many zero bits stand below the lowest set bit of a 64-bit value (64 for zero)."""
    def generate(context, builder, signature, arguments):
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 0))
    return types.int64(types.int64), generate


@intrinsic
def zero(typing_context, address, size):
    """Zero `size` bytes, in no particular order; the compiler may not leave it out."""
    def generate(context, builder, signature, arguments):
        byte, bit = ir.IntType(8), ir.IntType(1)
        pointer = builder.inttoptr(arguments[0], byte.as_pointer())
        memset = builder.module.declare_intrinsic("llvm.memset", [pointer.type, INT64])
        builder.call(memset, [pointer, byte(0), arguments[1], bit(1)])
        return context.get_dummy_value()
    return types.void(types.int64, types.int64), generate


@intrinsic
def copy(typing_context, to, source, size):
    """Copy `size` bytes between places that do not overlap."""
    def generate(context, builder, signature, arguments):
        byte, bit = ir.IntType(8), ir.IntType(1)
        to, source = (builder.inttoptr(value, byte.as_pointer()) for value in arguments[:2])
        memcpy = builder.module.declare_intrinsic("llvm.memcpy", [to.type, source.type, INT64])
        builder.call(memcpy, [to, source, arguments[2], bit(1)])
        return context.get_dummy_value()
    return types.void(types.int64, types.int64, types.int64), generate


# libc functions are looked up by name when compiled code is loaded, so cached code finds them too.
_sched_yield = types.ExternalFunction("sched_yield", types.int32())
_usleep = types.ExternalFunction("usleep", types.int32(types.uint32))


@kernel
def sched_yield():
    """Let another process run on this processor."""
    _sched_yield()


@kernel
def sleep_us(duration_us):
    """Sleep; wakes a few microseconds late."""
    _usleep(types.uint32(duration_us))


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
