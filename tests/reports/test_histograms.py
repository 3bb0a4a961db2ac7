"""Percentiles over several results."""

import json

from harness.reports import text
from harness.reports.histograms import histograms_report
from tests.made import made, stored


def results():
    one, other = made(block=0), made(block=1)
    for result, count in ((one, 99), (other, 1)):
        result.histograms.latency_ns["tdh_mem_track"] = stored(count, value=50)
        result.histograms.retries["tdh_mem_track"] = stored(count, value=2)
    return [one, other]


def test_percentiles_are_of_all_results_together_and_only_where_one_sample_is_beyond():
    said = histograms_report(results())
    assert said.splitlines()[0].startswith("2 results, policy kick_vcpus") and "seed 1, 2; closed loop" in said.replace("\n    ", " ")
    [latency] = [line.split() for line in said.splitlines() if line.startswith("latency.tdh_mem_track")]
    assert latency[1:] == ["100", "0.05", "0.05", "0.05", "-", "-", "0.05"]
    [retries] = [line.split() for line in said.splitlines() if line.startswith("retries.tdh_mem_track")]
    assert retries[1:4] == ["100", "2", "2"]
    assert max(map(len, said.splitlines())) <= text.WIDTH


def test_programs_get_rows_only():
    assert {row["samples"] for row in json.loads(histograms_report(results(), "json"))} == {"100"}
    assert histograms_report(results(), "csv").startswith("us (retries: count),samples,")
