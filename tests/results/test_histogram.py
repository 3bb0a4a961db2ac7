"""Histograms outside a run: converted, written, added up."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from harness.results import histogram, schema
from harness.results.histogram import Histogram
from kernels import record
from kernels.compiling import for_python

kernel_bucket_of = for_python(record.bucket_of)
add_value = for_python(record.add_value)
VALUES = st.lists(st.integers(1, 1 << 40), min_size=1, max_size=200)


def recorded(values):
    words = np.zeros(record.HISTOGRAM, np.int64)
    for value in values:
        add_value(words.ctypes.data, value)
    return words


@given(st.integers(-5, 1 << 62))
def test_both_floors_put_a_value_into_the_same_bucket(value):
    assert histogram.bucket_of(value) == kernel_bucket_of(value)


@settings(max_examples=50)
@given(VALUES, st.sampled_from([1.0, 2.445, 0.7, 3.9]), st.sampled_from(list(schema.SHARES.values())))
def test_a_quantile_in_nanoseconds_is_off_by_no_more_than_is_stated(values, ticks_per_ns, share):
    converted = histogram.from_record(recorded(values), ticks_per_ns)
    exact = sorted(values)[min(len(values) - 1, int(share * len(values)))] / ticks_per_ns
    assert abs(converted.quantile(share) - exact) <= histogram.ERROR * exact + 1
    assert converted.count == len(values) and converted.total == pytest.approx(sum(values) / ticks_per_ns)


@settings(max_examples=50)
@given(VALUES, VALUES)
def test_added_up_is_the_same_as_counted_together(one, other):
    together = histogram.from_record(recorded(one + other))
    assert histogram.from_record(recorded(one)) + histogram.from_record(recorded(other)) == together


@settings(max_examples=50)
@given(VALUES)
def test_what_is_written_is_read_again(values):
    one = histogram.from_record(recorded(values))
    assert histogram.from_stored(histogram.to_stored(one)) == one


def test_nothing_has_no_quantile():
    assert Histogram().quantile(0.5) is None
    assert (Histogram().total, Histogram().greatest) == (0, 0)


def test_below_the_whole_of_it_lie_all_values_up_to_the_greatest():
    assert histogram.from_record(recorded([1, 7, 5000])).quantile(1.0) == 5000


def test_a_bucket_that_no_histogram_has_is_refused():
    last = histogram.BUCKETS - 1
    assert histogram.from_stored(schema.StoredHistogram(buckets=f"{last}:3", sum=0, max=0)).counts == {last: 3}
    with pytest.raises(ValueError, match=f"bucket {last + 1}: must be below {last + 1}"):
        histogram.from_stored(schema.StoredHistogram(buckets=f"{last + 1}:3", sum=0, max=0))


# --- how many samples a percentile takes ---

@pytest.mark.parametrize("percentile, needed", [
    ("p50", 2), ("p90", 10), ("p99", 100), ("p99_9", 1000), ("p99_99", 10_000),
])
def test_a_percentile_takes_as_many_samples_as_have_one_beyond_it(percentile, needed):
    assert schema.samples_needed(percentile) == needed
    for count in (needed - 1, needed):
        assert (getattr(histogram.summary(recorded([7] * count)), percentile) is None) == (count < needed)


def test_a_summary_in_another_unit_has_one_decimal_and_in_ticks_none():
    words = np.zeros(record.HISTOGRAM, np.int64)
    words[histogram.bucket_of(20)], words[record.MAX] = 1, 20
    assert histogram.summary(words, 3).max == 6.7
    ticks = histogram.summary(words).max
    assert ticks == 20 and isinstance(ticks, int)
