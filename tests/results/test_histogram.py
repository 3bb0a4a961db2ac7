"""Histograms outside a run: converted, written, added up, exported."""

import numpy as np
import pytest
from hdrh.log import HistogramLogReader
from hdrh.histogram import HdrHistogram
from hypothesis import given, settings, strategies as st

from harness.results import store, histogram, trust, merging, document
from harness.reports import text
from harness.errors import ResultError
from harness.results.histogram import Histogram
from kernels import record
from kernels.compiling import for_python
from tests.command_line import harness

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
@given(VALUES, st.sampled_from([1.0, 2.445, 0.7, 3.9]), st.sampled_from(list(trust.SHARES.values())))
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
    assert histogram.from_json(histogram.to_json(one)) == one


@pytest.mark.parametrize("damaged", [
    {"buckets": "1:2 3", "sum": 1, "max": 1}, {"buckets": "9999:1", "sum": 1, "max": 1}, {"sum": 1, "max": 1},
    {"buckets": "1:-2", "sum": 1, "max": 1}, {"buckets": "1:1", "sum": None, "max": 1}, None, {"buckets": 5},
])
def test_a_damaged_histogram_is_refused(damaged):
    with pytest.raises(ResultError, match="missing or damaged"):
        merging.histograms({"name": "x", "histograms": {"latency_ns": {"tdh_mem_track": damaged}}})


def test_nothing_has_no_quantile():
    assert Histogram().quantile(0.5) is None


# --- how many samples a percentile takes ---

@pytest.mark.parametrize("percentile, needed", [
    ("p50", 2), ("p90", 10), ("p99", 100), ("p99_9", 1000), ("p99_99", 10_000),
])
def test_a_percentile_takes_as_many_samples_as_have_one_beyond_it(percentile, needed):
    assert trust.samples_needed(percentile) == needed
    for count in (needed - 1, needed):
        assert (document.summary(recorded([7] * count))[percentile] is None) == (count < needed)


@pytest.mark.parametrize("part, whole, shown", [
    (0, 0, "-"), (None, None, "-"), (0, 3, "<100"), (0, 1000, "<0.3"), (0, 208_366, "<0.0014"),
    (5, 1000, "0.5"),
])
def test_none_of_n_is_shown_with_its_upper_bound(part, whole, shown):
    """Rule of three: none seen in n says, with 95 % confidence, that the share is at most 3/n."""
    assert text.share_of(part, whole) == shown


# --- results ---

@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Two short runs of one policy, one of another."""
    out = tmp_path_factory.mktemp("results")
    for policy in ("kick_on_busy", "kick_on_busy", "kick_vcpus"):
        run = harness("run", f"configs/{policy}.toml", "--set", "duration_s=0.3", "--set", "warmup_s=0", "--out", out)
        assert run.returncode == 0, run.stderr
    return sorted(out.glob("*/result.json"))


@pytest.mark.slow
def test_histograms_of_a_result_hold_every_operation(saved):
    result = store.read(saved[0])
    for name, call in result["seamcalls"].items():
        if call["latency_ns"]["count"]:
            merged = merging.merged([result])[f"latency_ns.{name}"]
            assert merged.count == call["latency_ns"]["count"]
            assert merged.quantile(0.5) == pytest.approx(call["latency_ns"]["p50"], rel=histogram.ERROR, abs=2)
            assert merged.greatest == pytest.approx(call["latency_ns"]["max"], abs=0.2)


@pytest.mark.slow
def test_results_are_added_up_and_written_as_a_log_that_hdrhistogram_reads(saved, tmp_path):
    log = tmp_path / "latencies.hlog"
    run = harness("histograms", *saved[:2], "--hdr", log)
    assert run.returncode == 0, run.stderr
    assert "2 results, policy kick_on_busy" in run.stdout and "closed loop" in run.stdout
    assert max(map(len, run.stdout.splitlines())) <= text.WIDTH
    merged = merging.merged([store.read(path) for path in saved[:2]])
    reference, seen = HdrHistogram(1, 1 << record.VALUE_BITS, 3), {}
    reader = HistogramLogReader(str(log), reference)
    while (each := reader.get_next_interval_histogram()) is not None:
        seen[each.get_tag()] = each
    assert set(seen) == set(merged)
    for name, each in seen.items():
        assert each.get_total_count() == merged[name].count
        assert each.get_mean_value() == pytest.approx(merged[name].total / merged[name].count, rel=0.04, abs=1)
        assert each.get_max_value() == pytest.approx(merged[name].greatest, rel=0.001, abs=1)


@pytest.mark.slow
def test_results_of_different_policies_are_not_added_up(saved):
    run = harness("histograms", *saved)
    assert run.returncode == 2 and "differ in policy: kick_on_busy, kick_vcpus" in run.stderr
    assert run.stderr.count("\n") == 1


@pytest.mark.slow
def test_an_hdr_log_that_cannot_be_written_is_a_mistake(saved, tmp_path):
    run = harness("histograms", saved[0], "--hdr", tmp_path / "nowhere" / "x.hlog")
    assert run.returncode == 2 and "cannot be written" in run.stderr and run.stderr.count("\n") == 1


@pytest.mark.slow
def test_a_result_without_histograms_is_named(saved, tmp_path):
    result = store.read(saved[0])
    del result["histograms"]
    with pytest.raises(ResultError, match="missing or damaged"):
        merging.merged([result])
