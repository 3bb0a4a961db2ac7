"""What may be said of a few blocks: floors, corrections, verdicts, and how often they are wrong."""

import itertools
import math
import subprocess
import sys
import warnings

import numpy as np
import pytest
import scipy                                             # scipy.stats, a second and a half, when a test first uses it
from hypothesis import given, settings, strategies as st

from harness.results import inference as s

POLICIES, METRICS = 5, 8         # of a comparison: 32 differences, tested together


def test_the_floor_of_the_exact_test_is_that_of_counting():
    """n of 2n blocks can be chosen in C(2n, n) ways; the two extremes are both as unlikely as can be."""
    assert [round(s.floor(n), 5) for n in (3, 5, 7)] == [0.1, 0.00794, 0.00058]
    for n in (3, 5, 10):
        apart = s.p_value(np.arange(n, dtype=float), 100.0 + np.arange(n))
        assert math.isclose(apart, s.floor(n))


def test_the_fewest_blocks_for_a_level_are_those_whose_floor_is_below_it():
    assert s.blocks_for_floor(0.05) == 4
    assert s.blocks_for_floor(0.05 / 44) == 7 and s.blocks_for_floor(s.floor(5)) == 6
    for alpha in (0.05, 0.01, 1e-4):
        n = s.blocks_for_floor(alpha)
        assert s.floor(n) < alpha <= s.floor(n - 1)


def test_holm_corrects_as_by_hand():
    # Sorted 0.01 x 4, 0.02 x 3, 0.03 x 2, 0.5 x 1, each at least the one before.
    assert s.holm([0.03, 0.01, 0.5, 0.02]) == pytest.approx([0.06, 0.04, 0.5, 0.06])
    # Sorted 0.001 x 4, 0.02 x 3, 0.03 x 2, 0.04 x 1: the last is no less than 0.06 either.
    assert s.holm([0.04, 0.001, 0.03, 0.02]) == pytest.approx([0.06, 0.004, 0.06, 0.06])
    assert s.holm([0.9, 0.8]) == [1.0, 1.0] and s.holm([]) == []


def test_too_few_blocks_are_undecided_however_far_apart():
    """Never `~` and never a difference: three blocks cannot show anything at 5 %."""
    [found] = s.compare_all([([1.0, 2.0, 3.0], [100.0, 200.0, 300.0], True)])
    assert found.verdict == s.UNDECIDED and found.more == 1
    pairs = [(list(np.arange(5.0)), list(100 + np.arange(5.0)), True)] * 44
    assert {each.verdict for each in s.compare_all(pairs)} == {s.UNDECIDED}
    assert {each.more for each in s.compare_all(pairs)} == {2}


def test_enough_blocks_that_are_apart_differ_and_those_that_are_not_do_not():
    apart, mixed = s.compare_all([([1.0, 2, 3, 4, 5, 6, 7], [11.0, 12, 13, 14, 15, 16, 17], True),
                                  ([1.0, 2, 3, 4, 5, 6, 7], [1.5, 2.5, 3.5, 4.5, 0.5, 5.5, 6.5], True)])
    assert apart.verdict == s.DIFFERENT and apart.percent == pytest.approx(250) and apart.low > 0
    assert mixed.verdict == s.UNKNOWN


def test_the_same_number_everywhere_is_equal_and_costs_no_correction():
    constant = ([0.0] * 4, [0.0] * 4, True)
    found = s.compare_all([constant] * 50 + [([1.0, 2, 3, 4], [11.0, 12, 13, 14], True)])
    assert {each.verdict for each in found[:-1]} == {s.EQUAL}
    assert found[-1].verdict == s.DIFFERENT


def test_a_difference_from_zero_has_no_percent():
    [found] = s.compare_all([([0.0] * 7, [5.0, 6, 7, 8, 9, 10, 11], True)])
    assert found.verdict == s.DIFFERENT and found.percent is None
    assert s.compare_all([([], [1.0], False)])[0].verdict == s.NOTHING


def test_an_interval_holds_its_median_and_says_how_many_values_made_it():
    middle = s.interval([5.0, 1.0, 3.0, 9.0, 4.0])
    assert middle.median == 4 and 1 <= middle.low <= 4 <= middle.high <= 9 and middle.count == 5
    assert s.interval([5.0]) == (5.0, None, None, 1) and s.interval([]) is None
    assert s.interval([5.0, 1.0, 3.0]) == s.interval([5.0, 1.0, 3.0])


def test_an_interval_holds_the_true_median_in_95_percent_of_cases():
    """Whether a value is beyond it is the toss of a coin; with one more left out at each end it would be less."""
    assert s.interval(np.arange(1.0, 18))[:3] == (9, 5, 13) and s.interval(np.arange(1.0, 8))[:3] == (4, 1, 7)
    for count in range(6, 60):
        low = int(s.interval(np.arange(float(count))).low)
        holds, fewer = (1 - 2 * sum(math.comb(count, beyond) for beyond in range(1 + left_out)) / 2 ** count for left_out in (low, low + 1))
        assert holds >= s.LEVEL > fewer


def by_counting(baseline, other):
    """Mann-Whitney's p from its definition: of all ways to deal the values out, those that are as far apart."""
    everything, size = np.concatenate([baseline, other]), len(baseline)

    def wins(chosen):
        mine = everything[list(chosen)]
        rest = np.delete(everything, list(chosen))
        return sum((each > rest).sum() + (each == rest).sum() / 2 for each in mine)

    dealt = np.array([wins(chosen) for chosen in itertools.combinations(range(len(everything)), size)])
    seen = wins(range(size))
    return min(1.0, 2 * min(np.mean(dealt <= seen), np.mean(dealt >= seen)))


SMALL = st.lists(st.integers(0, 4).map(float), min_size=1, max_size=5)


@settings(max_examples=60)
@given(SMALL, SMALL)
def test_p_is_that_of_counting_whatever_is_tied(baseline, other):
    assert s.p_value(np.array(baseline), np.array(other)) == pytest.approx(by_counting(baseline, other))


@settings(max_examples=60)
@given(st.lists(st.floats(0, 1), min_size=3, max_size=8, unique=True), st.integers(1, 7))
def test_p_is_that_of_counting_where_nothing_is_tied(numbers, size):
    baseline, other = numbers[:min(size, len(numbers) - 1)], numbers[min(size, len(numbers) - 1):]
    assert s.p_value(np.array(baseline), np.array(other)) == pytest.approx(by_counting(baseline, other))


@settings(max_examples=50)
@given(st.lists(st.tuples(st.lists(st.integers(0, 2).map(float), max_size=4), st.lists(st.integers(0, 2).map(float), max_size=4),
                          st.booleans()), max_size=4))
def test_whatever_few_values_there_are_something_is_said_of_them(pairs):
    tested = sum(bool(baseline and other) and len({*baseline, *other}) > 1 for baseline, other, _ in pairs)
    with warnings.catch_warnings():
        warnings.simplefilter("error")               # nothing of SciPy's reaches a user
        differences = s.compare_all(pairs)
    for (baseline, other, _), found in zip(pairs, differences, strict=True):
        if not baseline or not other:
            assert found == s.Difference(s.NOTHING)
        elif len({*baseline, *other}) == 1:
            assert found.verdict == s.EQUAL
        else:
            floor = 2 / math.comb(len(baseline) + len(other), len(baseline))
            assert (found.verdict == s.UNDECIDED) == (floor >= s.ALPHA / tested) == (found.more > 0)


@pytest.mark.parametrize("pair, more", [(([1.0, 2.0], [2.0]), 3), (([2.0], [1.0, 2.0]), 3), (([0.0], [1.0, 1.0]), 3),
                                        (([1.0, 1.0], [1.0, 2.0]), 2), (([1.0], [2.0]), 3)])
def test_one_run_beside_two_with_tied_values_is_undecided(pair, more):
    [found] = s.compare_all([(*pair, False)])
    assert (found.verdict, found.more) == (s.UNDECIDED, more)


@pytest.mark.parametrize("blocks, method", [(s.EXACT_UP_TO, "exact"), (s.EXACT_UP_TO + 1, "asymptotic")])
def test_p_is_exact_as_long_as_that_takes_no_time(blocks, method):
    baseline, other = np.random.default_rng(blocks).standard_normal((2, blocks))
    assert s.p_value(baseline, other) == scipy.stats.mannwhitneyu(baseline, other, method=method).pvalue
    assert s.p_value(baseline[:3], other) == scipy.stats.mannwhitneyu(baseline[:3], other, method="exact").pvalue


def test_one_value_beside_forty_can_be_decided():
    """One of 41 places, on either side: 2 / 41 is below 5 %; 2 / 40 is 5 %, and p is to be below that."""
    fewer = [float(value) for value in range(39)]
    assert s.compare_all([(fewer, [100.0], False)])[0].verdict == s.UNDECIDED
    many = [*np.arange(1.0, 40), 39.0]
    assert s.p_value(np.array([100.0]), np.array(many)) == pytest.approx(2 / 41)
    assert s.compare_all([(many, [100.0], False)])[0].verdict == s.DIFFERENT


def test_tied_values_are_tested_by_permutation():
    """All zero against five of seven: C(14,7) ways, and the exact test without ties would be wrong."""
    few = s.p_value(np.zeros(7), np.array([0, 0, 1.0, 1, 1, 1, 1]))
    # All five ones on one side: 2 * C(9,2) / C(14,7) = 72 / 3432
    assert few == pytest.approx(72 / 3432, rel=0.02)


# --- how large a difference, how many blocks ---

def test_a_difference_is_that_of_the_medians_with_its_interval():
    base, other = np.array([90.0, 100, 110, 100, 100]), np.array([190.0, 200, 210, 200, 200])
    percent, low, high = s.change(base, other, paired=False)
    assert percent == pytest.approx(100) and low < 100 < high
    assert s.change(base[:1], other, False) == (pytest.approx(122.2, abs=0.1), None, None)
    assert s.change(np.zeros(5), other, False) == (None, None, None)
    assert s.change(np.array([1.0, 2]), np.array([3.0, 6]), True) == pytest.approx((200, 200, 200))


def test_a_baseline_whose_resampled_median_may_be_zero_has_a_difference_without_an_interval():
    """Two of three are zero in 7 of 27 resamples."""
    assert s.change(np.array([0.0, 1, 1]), np.array([1.0, 2, 3]), False) == (pytest.approx(100), None, None)
    assert None not in s.change(np.array([1.0, 1, 2]), np.array([0.0, 2, 3]), False)


def test_blocks_that_are_paired_share_what_all_of_a_block_met():
    shared = np.array([1.0, 2, 4, 8, 16, 32, 64])
    assert s.change(shared, 2 * shared, paired=True) == pytest.approx((100, 100, 100))
    _, low, high = s.change(shared, 2 * shared, paired=False)
    assert low < 0 and high > 300


def test_the_same_number_everywhere_is_no_percent_of_change_but_of_zero():
    same, zero = s.compare_all([([5.0, 5], [5.0, 5], True), ([0.0, 0], [0.0, 0], True)])
    assert same == (s.EQUAL, 1.0, 0.0, None, None, 0) and zero == (s.EQUAL, 1.0, None, None, None, 0)


def test_p_is_corrected_for_all_that_are_compared_and_a_table_of_more_needs_more_blocks():
    seven, apart = list(np.arange(7.0) + 1), list(np.arange(7.0) + 100)
    one, = s.compare_all([(seven, apart, True)])
    assert one.p == pytest.approx(s.floor(7))
    several = s.compare_all([(seven, apart, True)] * 10)
    assert [each.p for each in several] == [pytest.approx(10 * s.floor(7))] * 10
    assert {each.verdict for each in several} == {s.DIFFERENT}
    assert {each.verdict for each in s.compare_all([(seven, apart, True)] * 86)} == {s.UNDECIDED}       # 86 floors are 0.0501


@pytest.mark.parametrize("values, relative", [([1.0, 2, 3], 0.5), ([2.0, 4, 6, 8], 2.582 / 5), ([1.0, 2], None), ([-1.0, 0, 1], None),
                                              ([-3.0, -2, -1], None)])
def test_the_spread_is_relative_to_the_median(values, relative):
    assert s.spread(values) == (relative if relative is None else pytest.approx(relative, abs=1e-3))


def blocks_of_the_t_test(spread, effect, comparisons=1):
    """With the noncentral t distribution, which the planner does not use; blocks count by EFFICIENCY."""
    alpha = s.ALPHA / comparisons
    for blocks in range(2, 1000):
        counted = blocks * 3 / math.pi
        freedom, shift = 2 * counted - 2, effect / spread * math.sqrt(counted / 2)
        if freedom > 0 and 1 - scipy.stats.nct.cdf(scipy.stats.t.ppf(1 - alpha / 2, freedom), freedom, shift) >= 0.9:
            return blocks


@pytest.mark.parametrize("spread", [0.0375, 0.04, 0.0425, 0.045, 0.0475, 0.05, 0.0525, 0.055, 0.0575, 0.06, 0.0625, 0.065, 0.07,
                                    0.08, 0.1, 0.2])
def test_the_planner_asks_for_as_many_blocks_as_the_t_test_by_the_rank_tests_efficiency(spread):
    assert s.blocks_for(spread, 0.1) == blocks_of_the_t_test(spread, 0.1)


@pytest.mark.parametrize("spread, effect, comparisons, blocks", [(0.1, 0.05, 4, 122), (0.05, 0.1, 10, 11), (0.3, 0.1, 1, 200), (0.035, 0.1, 1, 4)])
def test_the_planner_allows_for_what_is_compared_beside(spread, effect, comparisons, blocks):
    assert s.blocks_for(spread, effect, comparisons) == blocks == pytest.approx(blocks_of_the_t_test(spread, effect, comparisons), abs=1)


def test_a_plan_has_at_least_the_blocks_without_which_nothing_can_be_shown():
    assert s.blocks_for(0.0, 0.1) == s.blocks_for(0.001, 0.1) == s.blocks_for_floor(0.05) == 4
    assert s.blocks_for(0.001, 0.1, comparisons=44) == 7


def test_a_plan_from_a_pilot_allows_for_a_pilot_that_was_quiet_by_chance():
    """In CAUTION of all pilots the spread that is planned with is no less than the true one."""
    random = np.random.default_rng(1)
    seen = np.std(random.standard_normal((4000, 7)), axis=1, ddof=1)
    assert np.mean([s.cautious(spread, 7) >= 1 for spread in seen]) == pytest.approx(s.CAUTION, abs=0.02)
    assert s.blocks_for(0.1, 0.1, pilot=7) == s.blocks_for(s.cautious(0.1, 7), 0.1) > s.blocks_for(0.1, 0.1)


def test_a_geometric_mean_is_of_positive_ratios_only():
    assert s.geometric_mean([2.0, 8.0]) == pytest.approx(4) and s.geometric_mean([0.5, 2.0]) == pytest.approx(1)
    assert s.geometric_mean([2.0, 0.0]) is s.geometric_mean([2.0, -1.0]) is s.geometric_mean([]) is None


# --- how often it is wrong ---

def noisy(random, level=1.0, blocks=7, spread=0.05):
    """Blocks of one policy: lognormal, as rates and times are."""
    return level * np.exp(spread * random.standard_normal(blocks))


def false_differences(trials: int, blocks: int) -> int:
    """Trials of five identical policies in which the table claims any difference at all.

    All share what a block does to everybody, as interleaved runs do.
    """
    wrong = 0
    for seed in range(trials):
        random = np.random.default_rng(seed)
        shared = np.exp(0.03 * random.standard_normal((METRICS, 1, blocks)))
        values = shared * np.exp(0.05 * random.standard_normal((METRICS, POLICIES, blocks)))
        pairs = [(metric[0], metric[policy], False) for metric in values for policy in range(1, POLICIES)]
        p_values = s.holm([s.p_value(first, second) for first, second, _ in pairs])
        wrong += min(p_values) < s.ALPHA
    return wrong


def found_with_the_plan(trials: int, effect=0.10, spread=0.05) -> int:
    """Trials in which a hold that is `effect` longer is found with as many blocks as the planner asks for."""
    found = 0
    for seed in range(trials):
        random = np.random.default_rng(seed)
        pilot = noisy(random, spread=spread, blocks=9)
        blocks = s.blocks_for(s.spread(pilot), effect, comparisons=4, pilot=len(pilot))
        pairs = [(noisy(random, blocks=blocks, spread=spread), noisy(random, blocks=blocks, spread=spread), False)
                 for _ in range(3)]
        pairs.append((noisy(random, blocks=blocks, spread=spread),
                      noisy(random, 1 + effect, blocks=blocks, spread=spread), False))
        found += s.compare_all(pairs)[-1].verdict == s.DIFFERENT
    return found


def test_identical_policies_rarely_differ():
    assert false_differences(20, blocks=7) <= 2


def test_what_is_planned_for_is_usually_found():
    assert found_with_the_plan(10) >= 7


@pytest.mark.slow
@pytest.mark.parametrize("blocks", [7, 10, 20])
def test_five_identical_policies_differ_in_at_most_5_percent_of_200_trials(blocks):
    wrong = false_differences(200, blocks)
    print(f"A/A: {wrong} of 200 trials with {blocks} blocks")
    assert wrong <= 10


@pytest.mark.slow
@pytest.mark.parametrize("spread", [0.02, 0.05, 0.10])
def test_a_10_percent_longer_hold_is_found_with_the_planned_blocks(spread):
    found = found_with_the_plan(100, spread=spread)
    print(f"10 % at a spread of {spread:.0%}: found in {found} of 100 trials")
    assert found >= 80           # POWER is for the true spread; the pilot's is an estimate from nine blocks


def test_scipy_is_imported_only_when_it_is_needed():
    code = "import sys, harness.results.inference, harness.results.comparison; print('scipy' in sys.modules, 'ruptures' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["False", "False"]
