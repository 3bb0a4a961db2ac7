"""What can be said about two policies from a few blocks of runs.  The statistics are SciPy's.

A *block* is the unit: one run of every config, interleaved.  Samples within a run say nothing about
what the next run would give, so they are never used as a yardstick.

    interval      median and its 95 % interval over blocks, from one block's value to another's
    compare_all   the differences of many (baseline, other) pairs, each with a verdict, corrected
                  together by Holm's method so that the whole table is wrong in at most 5 % of cases
    floor         the smallest p that n blocks can give at all
    blocks_for    how many blocks a difference of a given size needs

The test is Mann-Whitney's, exact, two-sided.  It has a floor: with n blocks on each side p is never
below 2 / C(2n, n), that is 0.10 for 3, 0.0079 for 5, 0.00058 for 7.  Where the floor lies above what
the correction demands, no data could show a difference, and the verdict is UNDECIDED, never SAME.

SciPy is imported when it is needed: half a second that `run` of one config does not pay.
"""

import bisect
import itertools
import math
import warnings
from typing import NamedTuple, Sequence

import numpy as np

ALPHA = 0.05                     # of a whole table
LEVEL = 0.95
RESAMPLES = 2000
POWER = 0.9                      # with which a planned number of blocks finds its difference
CAUTION = 0.8                    # of a planned number of blocks, against a pilot that was quiet by chance
EXACT_UP_TO = 50                 # blocks a side; beyond it the normal approximation is as good
EFFICIENCY = 3 / math.pi         # of Mann-Whitney against the t test, normal noise (Lehmann, 1975)

DIFFERENT, UNKNOWN, UNDECIDED, EQUAL, NOTHING = "different", "~", "undecided", "=", "-"


class Interval(NamedTuple):
    """Of a median; low and high are None for a single value."""

    median: float
    low: float | None
    high: float | None
    count: int


class Difference(NamedTuple):
    """Of one metric of one policy to the baseline.

    verdict     DIFFERENT; UNKNOWN (nothing can be said); UNDECIDED (too few blocks for the test itself);
                EQUAL (every value of both is the same number); NOTHING (no values)
    p           corrected
    percent     of the medians; None where the baseline's is zero
    low, high   95 % bootstrap interval of `percent`, over blocks
    more        UNDECIDED: about how many more blocks
    """

    verdict: str
    p: float | None = None
    percent: float | None = None
    low: float | None = None
    high: float | None = None
    more: int = 0


def interval(values: Sequence[float]) -> Interval | None:
    """None for no values."""
    values = np.asarray(values, float)
    if not len(values):
        return None
    median = float(np.median(values))
    if len(values) == 1:
        return Interval(median, None, None, 1)
    if np.all(values == values[0]):
        return Interval(median, median, median, len(values))
    ordered, outside = np.sort(values), _left_out(len(values))
    return Interval(median, float(ordered[outside]), float(ordered[-1 - outside]), len(values))


def _left_out(count: int) -> int:
    """How many of the ordered values lie beyond each end of the interval of a median.

    Each value is beyond the true median by the toss of a coin, so this is exact.  (Resampled medians of seven blocks are within
    the second to the sixth in 95 % of cases, but those hold the true one in 87.5 % only.)  Of five values and less all of
    them are in, and hold it in 94 %, 88 %, 75 %.
    """
    beyond, left_out = 1, -1                     # of 2 ** count tosses: with at most `left_out + 1` on one side
    while 2 * beyond <= (1 - LEVEL) * 2 ** count:
        left_out += 1
        beyond += math.comb(count, left_out + 1)
    return max(0, left_out)


def _bootstrap(samples, statistic, paired=False) -> tuple[float, float]:
    from scipy import stats
    # A handful of values may be resampled to one and the same median, or to zero: a point, not a warning.
    with np.errstate(divide="ignore", invalid="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = stats.bootstrap(samples, statistic, paired=paired, n_resamples=RESAMPLES,
                                confidence_level=LEVEL, method="percentile", rng=np.random.default_rng(0))
    return float(found.confidence_interval.low), float(found.confidence_interval.high)


def floor(blocks: int, others: int | None = None) -> float:
    """The smallest two-sided p of the exact test on so many blocks a side."""
    return 2 / math.comb(blocks + (others or blocks), blocks)


def blocks_for_floor(alpha: float) -> int:
    """The fewest blocks with which a p below `alpha` is possible."""
    return next(blocks for blocks in itertools.count(1) if floor(blocks) < alpha)


def blocks_for(spread: float, effect: float, comparisons: int = 1, pilot: int | None = None) -> int:
    """Blocks with which a relative difference `effect` is found with POWER.

    spread   relative, between blocks of one policy (standard deviation by median)
    pilot    how many blocks the spread was seen in, for a plan that allows for what they do not show.  None:
             the spread is known
    """
    from scipy import stats
    alpha = ALPHA / max(1, comparisons)
    if pilot is not None:
        spread = cautious(spread, pilot)

    def enough(blocks: int) -> bool:
        freedom = 2 * blocks * EFFICIENCY - 2
        needed = stats.t.ppf(1 - alpha / 2, freedom) + stats.t.ppf(POWER, freedom)
        return effect / (spread * math.sqrt(2 / (blocks * EFFICIENCY))) >= needed

    least = most = blocks_for_floor(alpha)
    if spread <= 0:
        return least
    while not enough(most):
        most *= 2
    return bisect.bisect_left(range(most), True, lo=least, key=enough)


def cautious(spread: float, pilot: int) -> float:
    """The upper CAUTION limit of a normal standard deviation that was seen in so many blocks."""
    from scipy import stats
    return spread * math.sqrt((pilot - 1) / stats.chi2.ppf(1 - CAUTION, pilot - 1))


def spread(values: Sequence[float]) -> float | None:
    """Relative spread between blocks; None for fewer than three, or around zero."""
    if len(values) < 3 or np.median(values) <= 0:
        return None
    return float(np.std(values, ddof=1) / np.median(values))


def p_value(baseline: np.ndarray, other: np.ndarray) -> float:
    """Of the two-sided Mann-Whitney test: exact, by permutation where values are tied."""
    from scipy import stats
    everything = np.concatenate([baseline, other])
    if len(np.unique(everything)) < len(everything):
        if min(len(baseline), len(other)) == 1:          # which SciPy's permutations do not take
            return _p_of_one(min(baseline, other, key=len)[0], everything)
        method = stats.PermutationMethod(n_resamples=9999, rng=np.random.default_rng(0))
    else:
        method = "exact" if min(len(baseline), len(other)) <= EXACT_UP_TO else "asymptotic"
    return float(stats.mannwhitneyu(baseline, other, method=method).pvalue)


def _p_of_one(value: float, everything: np.ndarray) -> float:
    """Of one value against all others: each of `everything` is as likely to be the one."""
    return min(1.0, 2 * float(min(np.mean(everything <= value), np.mean(everything >= value))))


def holm(p_values: Sequence[float]) -> list[float]:
    """Corrected by Holm's step-down method (1979), in the order given."""
    corrected, greatest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(np.argsort(p_values, kind="stable")):
        greatest = max(greatest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = greatest
    return corrected


def compare_all(pairs: Sequence[tuple[Sequence[float], Sequence[float], bool]]) -> list[Difference]:
    """A Difference for each (values of the baseline, values of the other, whether they are paired by block).

    Pairs in which every value is the same number cannot differ and take no part in the correction.
    """
    samples = [(np.asarray(baseline, float), np.asarray(other, float), paired)
               for baseline, other, paired in pairs]
    tested = [index for index, (baseline, other, _) in enumerate(samples)
              if len(baseline) and len(other) and len(np.unique(np.concatenate([baseline, other]))) > 1]
    demanded = ALPHA / max(1, len(tested))
    corrected = dict(zip(tested, holm([p_value(*samples[index][:2]) for index in tested])))
    return [_difference(*sample, corrected.get(index), demanded) for index, sample in enumerate(samples)]


def _difference(baseline, other, paired, p, demanded) -> Difference:
    if not len(baseline) or not len(other):
        return Difference(NOTHING)
    if p is None:
        return Difference(EQUAL, 1.0, 0.0 if baseline[0] else None)
    percent, low, high = change(baseline, other, paired)
    if floor(len(baseline), len(other)) >= demanded:
        more = blocks_for_floor(demanded) - min(len(baseline), len(other))
        return Difference(UNDECIDED, p, percent, low, high, max(1, more))
    return Difference(DIFFERENT if p < ALPHA else UNKNOWN, p, percent, low, high)


def change(baseline, other, paired: bool) -> tuple[float | None, float | None, float | None]:
    """(percent, low, high) by which the median of `other` differs; None around a baseline of zero."""
    def percent(base, values, axis=-1):
        return 100 * (np.median(values, axis=axis) / np.median(base, axis=axis) - 1)

    if np.median(baseline) == 0:
        return None, None, None
    middle = float(percent(baseline, other))
    if min(len(baseline), len(other)) < 2:
        return middle, None, None
    low, high = _bootstrap((baseline, other), percent, paired and len(baseline) == len(other))
    return (middle, low, high) if math.isfinite(low) and math.isfinite(high) else (middle, None, None)


def geometric_mean(ratios: Sequence[float]) -> float | None:
    """None unless all are positive."""
    from scipy import stats
    return float(stats.gmean(ratios)) if len(ratios) and min(ratios) > 0 else None
