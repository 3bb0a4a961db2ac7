"""Counters and histograms."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from kernels import record
from kernels.compiling import for_python

bucket_of = for_python(record.bucket_of)
add_value = for_python(record.add_value)


def histogram(values):
    table = np.zeros(record.HISTOGRAM, np.int64)
    for value in values:
        add_value(table.ctypes.data, value)
    return table


@given(st.integers(0, (1 << record.VALUE_BITS) - 1))
def test_a_value_lies_in_its_bucket_which_is_narrow(value):
    bucket = bucket_of(value)
    first, after = record.bucket_range(bucket)
    assert first <= value < after
    assert after - first == 1 or (after - first) / first <= 1 / record.SUB_BUCKETS


def test_buckets_follow_on_each_other_without_gap():
    edges = [record.bucket_range(bucket) for bucket in range(record.BUCKETS)]
    assert edges[0][0] == 0
    assert all(one[1] == other[0] for one, other in zip(edges, edges[1:]))
    assert edges[-1][1] == 1 << record.VALUE_BITS


@pytest.mark.parametrize("value, bucket", [(-5, 0), (1 << 60, record.BUCKETS - 1)])
def test_values_out_of_range_are_counted_at_the_edge(value, bucket):
    assert bucket_of(value) == bucket


@settings(max_examples=50)
@given(st.lists(st.integers(0, 1 << 40), min_size=1, max_size=300), st.sampled_from([0.5, 0.9, 0.99, 0.999]))
def test_quantiles_are_within_a_64th(values, share):
    exact = sorted(values)[min(len(values) - 1, int(share * len(values)))]
    got = record.quantile(histogram(values), share)
    assert abs(got - exact) <= exact / 64 + 1e-9


def test_sum_and_greatest_value_are_exact():
    table = histogram([3, 1_000_003, 77])
    assert table[record.SUM] == 1_000_083 and table[record.MAX] == 1_000_003
    assert np.isnan(record.quantile(histogram([]), 0.5))


def test_small_values_are_exact():
    assert record.quantile(histogram([17] * 5 + [16] * 3), 0.99) == 17


def test_tables_do_not_overlap():
    at = record.tables(calls=9, answers=26, counters=20, spans=6)
    starts = [at.attempts, at.answered, at.bugs, at.operations, at.contended, at.waited, at.retries,
              at.latency, at.causes, at.late_holds, at.contended_net, at.counters, at.spans, at.half]
    sizes = [9, 9 * 26, 9 * 26, 9, 9, 9, 9 * record.HISTOGRAM, 9 * record.HISTOGRAM,
             9 * record.CAUSES, 9, 9, 20, 6 * record.HISTOGRAM]
    assert [other - one for one, other in zip(starts, starts[1:])] == sizes
    assert at.busy_count == 2 * at.half < at.words
