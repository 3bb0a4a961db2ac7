"""A night for other tools: lines and files that say totals of what is fatal."""

import json
import xml.etree.ElementTree as xml

from harness.reports import ci
from harness.results.metrics import LESS, MORE
from tests.made import made, meet_busy

BEGAN = "2026-11-21T03:00:00Z"


def case(**keys) -> ci.Case:
    results = [made(block=block, removals_per_s=1000.0 + block) for block in range(5)]
    for result in results:
        meet_busy(result, "tdh_mem_track", attempts=1000, busy=0)
        result.measured_s = 2.0
    results[1].bugs, results[4].bugs = {"a": 4}, {"a": 1}
    results[2].hangs.count = 1
    return ci.Case("steady", **{"status": ci.PASS, "lines": [], "notes": ["3 nights"], "results": results, **keys})


def test_a_line_says_what_failed_what_is_fatal_and_two_numbers():
    assert case(status=ci.FAIL, lines=["expected x"]).line() == (
        "FAIL  steady: expected x; KVM_BUG_ONs 5 in 2 of 5 runs; hangs 1 in 1 of 5 runs; BUSY per attempt <0.06 %,"
        " removals per s 1002; 3 nights")
    assert ci.Case("canary", ci.PASS, ["seen"]).line() == "PASS  canary: seen"


def test_every_format_has_the_totals():
    assert "| &lt;0.06 | 1002 | KVM\\_BUG\\_ONs 5 in 2 of 5 runs; " in ci.step_summary([case()], "t", [])
    assert "# KVM_BUG_ONs 5 in 2 of 5 runs" in ci.ktap([case()]).splitlines()
    [element] = xml.fromstring(ci.junit([case()], BEGAN)).iter("system-out")
    assert "KVM_BUG_ONs 5 in 2 of 5 runs" in element.text


def test_the_benchmark_has_medians_and_of_what_is_fatal_the_mean():
    smaller = {entry["name"]: entry for entry in json.loads(ci.benchmark([case()], LESS))}
    bugs = smaller["steady: KVM_BUG_ONs, per s"]
    assert bugs["value"] == 5 / 2 / 5 and bugs["extra"].startswith("mean of 5 blocks") and "5 in 2 of 5 runs" in bugs["extra"]
    assert "range" not in bugs
    [bigger] = json.loads(ci.benchmark([case()], MORE))
    assert (bigger["value"], bigger["extra"][:18], bigger["unit"]) == (1002, "median of 5 blocks", "1/s") and "range" in bigger
