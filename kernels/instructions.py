"""What atomics.py names, as Numba's intrinsics: for each a little of LLVM's language, which becomes one instruction.

Only this file and plain_calls.py know llvmlite.  There is no inline assembly: llvmlite aborts the process on it.
Imported when the first kernel is compiled or loaded, and not before (compiling.Deferred).
"""

import time

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from kernels.atomics import X86

INT64 = ir.IntType(64)
INT32 = ir.IntType(32)


def _pointer(builder, address, bits):
    return builder.inttoptr(address, ir.IntType(bits).as_pointer())


def _narrow(builder, value, bits):
    return value if bits == 64 else builder.trunc(value, ir.IntType(bits))


def _widen(builder, value, bits):
    return value if bits == 64 else builder.zext(value, INT64)


def load(bits):
    @intrinsic
    def load(typing_context, address):
        def generate(context, builder, signature, arguments):
            pointer = _pointer(builder, arguments[0], bits)
            return _widen(builder, builder.load_atomic(pointer, "acquire", bits // 8), bits)
        return types.int64(types.int64), generate
    return load


def store(bits):
    @intrinsic
    def store(typing_context, address, value):
        def generate(context, builder, signature, arguments):
            pointer = _pointer(builder, arguments[0], bits)
            builder.store_atomic(_narrow(builder, arguments[1], bits), pointer, "release", bits // 8)
            return context.get_dummy_value()
        return types.void(types.int64, types.int64), generate
    return store


def read_modify_write(operation, bits):
    @intrinsic
    def read_modify_write(typing_context, address, value):
        """Apply `value` to the word and return what the word was before."""
        def generate(context, builder, signature, arguments):
            pointer = _pointer(builder, arguments[0], bits)
            value = _narrow(builder, arguments[1], bits)
            return _widen(builder, builder.atomic_rmw(operation, pointer, value, "seq_cst"), bits)
        return types.int64(types.int64, types.int64), generate
    return read_modify_write


def compare_swap(bits):
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


def bit_operation(operation, bit):
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


@intrinsic
def fence(typing_context):
    def generate(context, builder, signature, arguments):
        builder.fence("seq_cst")
        return context.get_dummy_value()
    return types.void(), generate


@intrinsic
def pause(typing_context):
    def generate(context, builder, signature, arguments):
        if X86:
            hint = ir.FunctionType(ir.VoidType(), [])
            builder.call(builder.module.declare_intrinsic("llvm.x86.sse2.pause", (), hint), [])
        return context.get_dummy_value()
    return types.void(), generate


@intrinsic
def cycle_counter(typing_context):
    def generate(context, builder, signature, arguments):
        clock = ir.FunctionType(INT64, [])
        return builder.call(builder.module.declare_intrinsic("llvm.readcyclecounter", (), clock), [])
    return types.int64(), generate


@intrinsic
def monotonic_ns(typing_context):
    def generate(context, builder, signature, arguments):
        timespec = builder.alloca(INT64, 2)
        builder.call(_libc(builder, "clock_gettime", INT32, timespec.type), [INT32(time.CLOCK_MONOTONIC), timespec])
        seconds = builder.load(timespec)
        nanoseconds = builder.load(builder.gep(timespec, [INT32(1)]))
        return builder.add(builder.mul(seconds, INT64(1_000_000_000)), nanoseconds)
    return types.int64(), generate


@intrinsic
def leading_zeros(typing_context, value):
    def generate(context, builder, signature, arguments):
        return builder.ctlz(arguments[0], ir.Constant(ir.IntType(1), 0))
    return types.int64(types.int64), generate


@intrinsic
def trailing_zeros(typing_context, value):
    def generate(context, builder, signature, arguments):
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 0))
    return types.int64(types.int64), generate


@intrinsic
def zero(typing_context, address, size):
    def generate(context, builder, signature, arguments):
        byte, bit = ir.IntType(8), ir.IntType(1)
        pointer = builder.inttoptr(arguments[0], byte.as_pointer())
        memset = builder.module.declare_intrinsic("llvm.memset", [pointer.type, INT64])
        builder.call(memset, [pointer, byte(0), arguments[1], bit(1)])
        return context.get_dummy_value()
    return types.void(types.int64, types.int64), generate


@intrinsic
def copy(typing_context, to, source, size):
    def generate(context, builder, signature, arguments):
        byte, bit = ir.IntType(8), ir.IntType(1)
        to, source = (builder.inttoptr(value, byte.as_pointer()) for value in arguments[:2])
        memcpy = builder.module.declare_intrinsic("llvm.memcpy", [to.type, source.type, INT64])
        builder.call(memcpy, [to, source, arguments[2], bit(1)])
        return context.get_dummy_value()
    return types.void(types.int64, types.int64, types.int64), generate


@intrinsic
def prefetch(typing_context, address):
    def generate(context, builder, signature, arguments):
        pointer = builder.inttoptr(arguments[0], ir.IntType(8).as_pointer())
        takes = ir.FunctionType(ir.VoidType(), [pointer.type, INT32, INT32, INT32])
        fetch = builder.module.declare_intrinsic("llvm.prefetch", [pointer.type], takes)
        builder.call(fetch, [pointer, INT32(0), INT32(3), INT32(1)])         # to read, into all caches, data
        return context.get_dummy_value()
    return types.void(types.int64), generate


# --- libc: looked up by name when compiled code is loaded, so that code from the cache finds it too ---

def _libc(builder, name, *takes):
    return cgutils.get_or_insert_function(builder.module, ir.FunctionType(INT32, takes), name)


@intrinsic
def sched_yield(typing_context):
    def generate(context, builder, signature, arguments):
        builder.call(_libc(builder, "sched_yield"), [])
        return context.get_dummy_value()
    return types.void(), generate


@intrinsic
def usleep(typing_context, duration_us):
    def generate(context, builder, signature, arguments):
        builder.call(_libc(builder, "usleep", INT32), [builder.trunc(arguments[0], INT32)])
        return context.get_dummy_value()
    return types.void(types.int64), generate
