"""Histograms of several results: added up, exported, refused."""

import pytest
from hdrh.histogram import HdrHistogram
from hdrh.log import HistogramLogReader

from harness.errors import ResultError
from harness.reports import text
from harness.results import histogram, merging, store
from kernels import record
from tests.command_line import inside
from tests.made import made, stored


def test_histograms_are_added_up_by_name():
    one, other = made(), made()
    one.histograms.retries["tdh_mem_track"], other.histograms.retries["tdh_mem_track"] = stored(5), stored(3, value=2)
    total = merging.merged([one, other])["retries.tdh_mem_track"]
    assert (dict(total.counts), total.total, total.greatest) == ({0: 5, 2: 3}, 6, 2)


def test_buckets_that_no_histogram_has_are_refused_by_name():
    result = made()
    result.histograms.latency_ns["tdh_mem_track"] = stored(1, value=9999)
    with pytest.raises(ResultError, match="histograms.latency_ns.tdh_mem_track: bucket 9999: must be below"):
        merging.merged([result])


@pytest.mark.parametrize("key", merging.OF_ONE_KIND)
def test_results_of_two_kinds_are_not_added_up(key):
    one, other = made(), made()
    setattr(other, key, "another")
    with pytest.raises(ResultError, match=f"differ in {key}: .*another.*; must be of one kind"):
        merging.merged([one, other])


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Two short runs of one policy, one of another."""
    out = tmp_path_factory.mktemp("results")
    for policy in ("kick_on_busy", "kick_on_busy", "kick_vcpus"):
        run = inside("run", f"configs/{policy}.toml", "--set", "duration_s=0.3", "--set", "warmup_s=0", "--out", out)
        assert run.returncode == 0, run.stderr
    return sorted(out.glob("*/result.json"))


@pytest.mark.slow
def test_histograms_of_a_result_hold_every_operation(saved):
    result = store.read(saved[0])
    for name, call in result.seamcalls.items():
        if call.latency_ns.count:
            merged = merging.merged([result])[f"latency_ns.{name}"]
            assert merged.count == call.latency_ns.count
            assert merged.quantile(0.5) == pytest.approx(call.latency_ns.p50, rel=histogram.ERROR, abs=2)
            assert merged.greatest == pytest.approx(call.latency_ns.max, abs=0.2)


@pytest.mark.slow
def test_results_are_added_up_and_written_as_a_log_that_hdrhistogram_reads(saved, tmp_path):
    log = tmp_path / "latencies.hlog"
    run = inside("histograms", *saved[:2], "--hdr", log)
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
    run = inside("histograms", *saved)
    assert run.returncode == 2 and "differ in policy: kick_on_busy, kick_vcpus" in run.stderr
    assert run.stderr.count("\n") == 1


@pytest.mark.slow
def test_an_hdr_log_that_cannot_be_written_is_a_mistake(saved, tmp_path):
    run = inside("histograms", saved[0], "--hdr", tmp_path / "nowhere" / "x.hlog")
    assert run.returncode == 2 and "cannot be written" in run.stderr and run.stderr.count("\n") == 1
