"""How long something takes, drawn from a distribution, in whole numbers only.

    CONSTANT      always the same
    EXPONENTIAL   with this mean: -ln(u), put together from a table of logarithms
    HISTOGRAM     as measured: a bucket by its weight, then evenly within it

Whole numbers, because a floating-point logarithm may differ in its last digit from one machine to
the next, and the same plan must give the same result everywhere.
"""

import functools
import math
from typing import NamedTuple

import numpy as np

from kernels import atomics
from kernels.compiling import kernel

CONSTANT, EXPONENTIAL, HISTOGRAM = 0, 1, 2

LOG_BITS = 10                    # entries of the table of logarithms, as a power of two
UNIT_BITS = 24                   # its unit: 2**-24


class Durations(NamedTuple):
    """Distributions of all costs of a program (and their tables).

    table                     int64 (costs, 5): kind, mean in ticks, first bucket, buckets, and ticks before it in
                              which the machine serves all who spend such a cost one after another
    thresholds, aliases       int64 (buckets,): as for kernels.dice.choose
    begins, widths            int64 (buckets,): ticks
    logarithms                int64: ln(1 + i / 2**LOG_BITS) in units of 2**-UNIT_BITS
    """

    table: np.ndarray
    thresholds: np.ndarray
    aliases: np.ndarray
    begins: np.ndarray
    widths: np.ndarray
    logarithms: np.ndarray


@functools.cache
def logarithms() -> np.ndarray:
    """ln(1 + i / 2**LOG_BITS), rounded the same way on every machine: none of them is near a half, where a last digit would matter."""
    return np.array([round(math.log1p(index / (1 << LOG_BITS)) * (1 << UNIT_BITS)) for index in range((1 << LOG_BITS) + 1)], np.int64)


@kernel
def exponential(logs, word):
    """-ln(u) in units of 2**-UNIT_BITS, for the u in (0, 1) that the 64 random bits of `word` stand for.

    With z leading zeros and a mantissa m in [1, 2), u = m / 2**(z + 1).
    """
    zeros = min(62, atomics.leading_zeros(word))
    mantissa = word << zeros + 1
    index = mantissa >> 64 - LOG_BITS & (1 << LOG_BITS) - 1
    fraction = mantissa >> 64 - 2 * LOG_BITS & (1 << LOG_BITS) - 1
    logarithm = logs[index] + ((logs[index + 1] - logs[index]) * fraction >> LOG_BITS)
    return (zeros + 1) * logs[1 << LOG_BITS] - logarithm


@kernel
def exponential_ticks(logs, mean, word):
    """Ticks of an exponential distribution: mean * exponential, in two parts as the product may not fit."""
    share = exponential(logs, word)
    return (mean >> UNIT_BITS) * share + ((mean & (1 << UNIT_BITS) - 1) * share >> UNIT_BITS)


@kernel
def draw(durations, cost, word):
    """Ticks of one occurrence of `cost`; `word` has 64 random bits."""
    kind, mean = durations.table[cost, 0], durations.table[cost, 1]
    if kind == EXPONENTIAL:
        return exponential_ticks(durations.logarithms, mean, word)
    if kind == HISTOGRAM:
        first, count = durations.table[cost, 2], durations.table[cost, 3]
        # Three independent numbers from one word: which bucket, it or its alias, where in it.
        bucket = first + ((word >> 44 & 0xF_FFFF) * count >> 20)
        if (word >> 20 & 0xFF_FFFF) << 8 >= durations.thresholds[bucket]:
            bucket = first + durations.aliases[bucket]
        return durations.begins[bucket] + (durations.widths[bucket] * (word & 0xF_FFFF) >> 20)
    return mean


assert 2 * UNIT_BITS < 62
