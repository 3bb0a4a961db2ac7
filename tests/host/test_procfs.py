"""What Linux says of processors, quotas, workers and clocks is read right; what it does not say is unknown."""

import os
import threading

import pytest

from harness.host import procfs

STAT = """cpu  100 0 50 900 3 1 2 4 0 0
cpu0 60 5 20 400 1 1 1 3 0 0
cpu1 40 0 30 500 2 0 1 1 0 0
intr 12345
ctxt 99
"""


def test_processor_times_are_read_by_processor():
    found = procfs.parse_stat(STAT)
    hz = procfs.TICKS_PER_S
    assert found == {0: procfs.Processor(87 / hz, 3 / hz), 1: procfs.Processor(71 / hz, 1 / hz)}


@pytest.mark.parametrize("maximum, processors", [("max 100000", None), ("150000 100000", 1.5)])
def test_a_quota_of_version_2(maximum, processors):
    quota = procfs.parse_quota_v2(maximum, "usage_usec 5\nnr_periods 9\nnr_throttled 3\nthrottled_usec 250000\n")
    assert quota == procfs.Quota(processors, 3, 0.25)


@pytest.mark.parametrize("limit, processors", [("-1\n", None), ("50000\n", 0.5)])
def test_a_quota_of_version_1(limit, processors):
    quota = procfs.parse_quota_v1(limit, "100000\n", "nr_periods 9\nnr_throttled 2\nthrottled_time 3000000\n")
    assert quota == procfs.Quota(processors, 2, 0.003)


def test_the_tightest_quota_on_the_way_to_the_root_counts(tmp_path):
    for group, limit in (("", "400000"), ("a", "50000"), ("a/b", "max")):
        (tmp_path / group).mkdir(exist_ok=True, parents=True)
        (tmp_path / group / "cpu.max").write_text(f"{limit} 100000\n")
        (tmp_path / group / "cpu.stat").write_text("nr_throttled 1\n")
    assert procfs.quota(tmp_path, "0::/a/b\n").processors == 0.5
    assert procfs.quota(tmp_path, "0::/\n").processors == 4
    assert procfs.quota(tmp_path / "nowhere", "0::/\n") is None


def test_a_quota_of_version_1_is_found_below_its_mount(tmp_path):
    group = tmp_path / "cpu" / "box"
    group.mkdir(parents=True)
    for name, text in (("cpu.cfs_quota_us", "20000"), ("cpu.cfs_period_us", "100000"),
                       ("cpu.stat", "nr_throttled 0")):
        (group / name).write_text(text)
    assert procfs.quota(tmp_path, "4:cpu,cpuacct:/box\n0::/\n").processors == 0.2


def test_a_worker_is_read_and_one_that_is_gone_is_none():
    worker = procfs.parse_worker("1500000000 20000000 7\n", "Name:\tx\nvoluntary_ctxt_switches:\t3\n"
                                                                "nonvoluntary_ctxt_switches:\t41\n")
    assert worker == procfs.Worker(1.5, 0.02, 41)
    assert procfs.worker(2 ** 22 + 1) is None
    assert procfs.worker(os.getpid()).ran_s > 0


@pytest.mark.parametrize("stat, letter", [
    ("17 (python) S 1 17 17 0", "S"), ("17 (a) R (b) T 1 17", "T"),
])
def test_the_state_of_a_process_stands_behind_its_name(stat, letter):
    assert procfs.parse_state(stat) == letter
    assert procfs.parse_turns("1500000000 20000000 7\n") == (1.5, 7)
    assert procfs.state(threading.get_native_id()) == "R" and procfs.state(2 ** 22 + 1) is None


@pytest.mark.parametrize("flags, invariant", [
    ("flags\t: fpu tsc constant_tsc nonstop_tsc", True), ("flags\t: fpu tsc constant_tsc", False),
    ("bogomips: 3", None),
])
def test_an_invariant_clock_is_promised_by_two_flags(flags, invariant):
    assert procfs.parse_clock_flags(f"processor\t: 0\n{flags}\n") is invariant


def test_lists_of_processors_are_read():
    assert procfs.parse_processor_list("0-2,8\n") == [0, 1, 2, 8]


def test_a_file_that_is_not_there_is_unknown(tmp_path, monkeypatch):
    monkeypatch.setattr(procfs, "PROC", tmp_path)
    monkeypatch.setattr(procfs, "SYS", tmp_path)
    assert procfs.worker(1) is None and procfs.clock_source() is None
    assert procfs.clock_is_invariant() is None and procfs.governors([0]) is None
    assert procfs.take(0.0, {}).processors == {}
