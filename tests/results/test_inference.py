"""What may be said of a few blocks: floors, corrections, verdicts, and how often they are wrong."""

import math
import subprocess
import sys

import numpy as np
import pytest

from harness.results import inference as s

POLICIES, METRICS = 5, 8         # of a comparison: 32 differences, tested together


def test_the_floor_of_the_exact_test_is_that_of_counting():
    """n of 2n blocks can be chosen in C(2n, n) ways; the two extremes are both as unlikely as can be."""
    assert [round(s.floor(n), 5) for n in (3, 5, 7)] == [0.1, 0.00794, 0.00058]
    for n in (3, 5):
        apart = s.p_value(np.arange(n, dtype=float), 100.0 + np.arange(n))
        assert math.isclose(apart, s.floor(n))


def test_the_fewest_blocks_for_a_level_are_those_whose_floor_is_below_it():
    assert s.blocks_for_floor(0.05) == 4
    assert s.blocks_for_floor(0.05 / 44) == 7
    for alpha in (0.05, 0.01, 1e-4):
        n = s.blocks_for_floor(alpha)
        assert s.floor(n) <= alpha < s.floor(n - 1)


def test_holm_corrects_as_by_hand():
    # Sorted 0.01 x 4, 0.02 x 3, 0.03 x 2, 0.5 x 1, each at least the one before.
    assert s.holm([0.03, 0.01, 0.5, 0.02]) == pytest.approx([0.06, 0.04, 0.5, 0.06])
    assert s.holm([]) == []


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


def test_tied_values_are_tested_by_permutation():
    """All zero against five of seven: C(14,7) ways, and the exact test without ties would be wrong."""
    few = s.p_value(np.zeros(7), np.array([0, 0, 1.0, 1, 1, 1, 1]))
    # All five ones on one side: 2 * C(9,2) / C(14,7) = 72 / 3432
    assert few == pytest.approx(72 / 3432, rel=0.02)


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
