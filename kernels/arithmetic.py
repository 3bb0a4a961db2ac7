"""C's arithmetic on two registers: for programs that were written in C (harness/protocol/litmus).

Numbers are kept as signed 64-bit words, extended from the width of their type by its sign; every result
is made to fit its type again.  Where C leaves a result open it is zero here: division by zero, and a
shift by the width or more.
"""

from enum import IntEnum

import numpy as np

from kernels.compiling import kernel


class Operator(IntEnum):
    ADD = 0
    SUB = 1
    MUL = 2
    DIV = 3
    MOD = 4
    AND = 5
    OR = 6
    XOR = 7
    SHL = 8
    SHR = 9
    EQ = 10
    NE = 11
    LT = 12
    LE = 13
    GT = 14
    GE = 15

    def of(self, left: int, right: int, bits: int, signed: bool) -> int:
        """The same in Python's numbers, for what is known while rows are written (and as the test's truth)."""
        whole, half = 1 << bits, 1 << bits - 1
        if not signed:
            left, right = left % whole, right % whole if self not in (Operator.SHL, Operator.SHR) else right
        found = _IN_PYTHON[self](left, right, bits) % whole
        return (found - whole if (signed or bits == 64) and found >= half else found)


def _divided(left: int, right: int) -> int:
    """Rounded to zero, as C does."""
    return 0 if right == 0 else abs(left) // abs(right) * (1 if (left < 0) == (right < 0) else -1)


_IN_PYTHON = {
    Operator.ADD: lambda left, right, bits: left + right, Operator.SUB: lambda left, right, bits: left - right,
    Operator.MUL: lambda left, right, bits: left * right, Operator.DIV: lambda left, right, bits: _divided(left, right),
    Operator.MOD: lambda left, right, bits: left - right * _divided(left, right) if right else 0,
    Operator.AND: lambda left, right, bits: left & right, Operator.OR: lambda left, right, bits: left | right,
    Operator.XOR: lambda left, right, bits: left ^ right,
    Operator.SHL: lambda left, right, bits: left << right if 0 <= right < bits else 0,
    Operator.SHR: lambda left, right, bits: left >> right if 0 <= right < bits else 0,
    Operator.EQ: lambda left, right, bits: left == right, Operator.NE: lambda left, right, bits: left != right,
    Operator.LT: lambda left, right, bits: left < right, Operator.LE: lambda left, right, bits: left <= right,
    Operator.GT: lambda left, right, bits: left > right, Operator.GE: lambda left, right, bits: left >= right,
}
SIGN = np.int64(-1 << 63)


@kernel
def lesser(one, other):
    """What min() is in a kernel."""
    return one if one < other else other


@kernel
def greater(one, other):
    """What max() is in a kernel."""
    return one if one > other else other


@kernel
def below(left, right, signed):
    """left < right, as signed or as unsigned numbers."""
    return left < right if signed else (left ^ SIGN) < (right ^ SIGN)


@kernel
def divide_unsigned(left, right):
    """left / right of unsigned 64-bit numbers, where a signed division would not do."""
    if right < 0:
        return np.int64(0) if below(left, right, 0) else np.int64(1)
    if left >= 0:
        return left // right
    half = ((left >> 1 & 0x7FFFFFFFFFFFFFFF) // right) << 1
    return half if below(left - half * right, right, 0) else half + 1


@kernel
def divide(left, right, signed):
    """left / right, rounded to zero; 0 for a division by zero."""
    if right == 0:
        return np.int64(0)
    if not signed:
        return divide_unsigned(left, right)
    if right == -1:
        return -left
    found = left // right
    if found < 0 and found * right != left:
        found += 1
    return found


@kernel
def compute(operator, left, right, bits, signed):
    """left OPERATOR right in a type of `bits` bits; see Operator."""
    found = np.int64(0)
    if operator == Operator.ADD:
        found = left + right
    elif operator == Operator.SUB:
        found = left - right
    elif operator == Operator.MUL:
        found = left * right
    elif operator == Operator.DIV:
        found = divide(left, right, signed)
    elif operator == Operator.MOD:
        found = left - right * divide(left, right, signed) if right != 0 else np.int64(0)
    elif operator == Operator.AND:
        found = left & right
    elif operator == Operator.OR:
        found = left | right
    elif operator == Operator.XOR:
        found = left ^ right
    elif operator == Operator.SHL:
        if 0 <= right < bits:
            found = left << right
    elif operator == Operator.SHR:
        if 0 <= right < bits:
            found = left >> right
            if not signed and right > 0:
                found &= (np.int64(1) << (64 - right)) - 1
    elif operator == Operator.EQ:
        found = np.int64(left == right)
    elif operator == Operator.NE:
        found = np.int64(left != right)
    elif operator == Operator.LT:
        found = np.int64(below(left, right, signed))
    elif operator == Operator.LE:
        found = np.int64(not below(right, left, signed))
    elif operator == Operator.GT:
        found = np.int64(below(right, left, signed))
    else:
        found = np.int64(not below(left, right, signed))
    if bits < 64:
        found &= (np.int64(1) << bits) - 1
        if signed and found >> (bits - 1):
            found -= np.int64(1) << bits
    return found
