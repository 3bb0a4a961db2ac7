"""C's arithmetic in a kernel, against the same in Python's numbers, which do not overflow."""

import numpy as np
import pytest
from hypothesis import given, strategies as st

from kernels.arithmetic import Operator, compute
from kernels.compiling import for_python

NUMBERS = st.one_of(st.integers(-3, 70), st.integers(-(1 << 63), (1 << 63) - 1),
                    st.sampled_from([1 << bits for bits in range(63)] + [-1 << bits for bits in range(64)]))
in_python = for_python(compute)


def fit(value: int, bits: int, signed: bool) -> int:
    value %= 1 << bits
    return value - (1 << bits) if (signed or bits == 64) and value >> bits - 1 else value


@pytest.mark.parametrize("signed", [True, False], ids=["signed", "unsigned"])
@pytest.mark.parametrize("bits", [8, 16, 32, 64])
@given(left=NUMBERS, right=NUMBERS)
def test_every_operator_gives_what_c_says(bits, signed, left, right):
    for operator in Operator:
        one = fit(left, bits, signed)
        other = right % 70 if operator in (Operator.SHL, Operator.SHR) else fit(right, bits, signed)
        found = in_python(int(operator), np.int64(one), np.int64(other), np.int64(bits), np.int64(signed))
        assert found == operator.of(one, other, bits, signed), (operator.name, one, other)
