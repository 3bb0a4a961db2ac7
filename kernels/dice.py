"""Dice: how an actor's choices come out, and when the next thing of an open loop arrives.

Every draw is a word of the actor's own random stream, numbered by Register.DRAWS: the same plan draws the
same words whatever the other actors do, and whichever driver asks.
"""

from typing import NamedTuple

import numpy as np

from kernels import durations
from kernels.compiling import kernel
from kernels.guest import mix
from kernels.ops import Register

GOLDEN = -7046029254386353131    # 2**64 / golden ratio, odd: the step of SplitMix64's counter

WEIGHTED, SEQUENCE, SPLIT = 0, 1, 2      # kinds of choice


class Dice(NamedTuple):
    """What an actor's choices and costs are drawn from; int64 arrays, the same for all actors of a plan.

    key          of the actor's own random stream
    choices      (choices, 3): kind, first element in the two arrays below, number of outcomes
    thresholds   of all choices, one after the other: see `choose`
    aliases      likewise
    ticks        (costs,): how long each cost lasts, on average
    logarithms   durations.logarithms()
    """

    key: int
    choices: np.ndarray
    thresholds: np.ndarray
    aliases: np.ndarray
    ticks: np.ndarray
    logarithms: np.ndarray


@kernel
def choose(kind, count, thresholds, aliases, previous, word):
    """One outcome below `count`.

    SEQUENCE   the next one; behind each thresholds[0] of them aliases[0] are left out
    WEIGHTED   with weights, by Walker's alias method: outcome i is i if the lower half of the random
               `word` is below thresholds[i], else aliases[i]
    SPLIT      evenly among the first aliases[0] if the lower half is below thresholds[0], else evenly
               among the others
    """
    if kind == SEQUENCE:
        following = previous + 1
        if aliases[0] and following % thresholds[0] == 0:
            following += aliases[0]
        return following % count
    fraction = word >> 32 & 0xFFFFFFFF
    if kind == SPLIT:
        first = aliases[0]
        if word & 0xFFFFFFFF < thresholds[0]:
            return fraction * first >> 32
        return first + (fraction * (count - first) >> 32)
    index = fraction * count >> 32
    return index if word & 0xFFFFFFFF < thresholds[index] else aliases[index]


@kernel
def draw(dice, row, registers):
    """CHOOSE: the next outcome of the row's choice."""
    registers[Register.DRAWS] += 1
    start, count = dice.choices[row.value, 1], dice.choices[row.value, 2]
    return choose(dice.choices[row.value, 0], count, dice.thresholds[start:], dice.aliases[start:],
                  registers[row.register], mix(dice.key + registers[Register.DRAWS] * GOLDEN))


@kernel
def interval(dice, row, registers):
    """ARRIVE: ticks between the next arrival and the one behind it; the draw is not used up."""
    word = mix(dice.key + (registers[Register.DRAWS] + 1) * GOLDEN)
    return durations.exponential_ticks(dice.logarithms, dice.ticks[row.mask], word)
