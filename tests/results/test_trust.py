"""When not to believe a run: every reason is provoked, and what Linux says is read right."""

import copy
import os
import threading

import numpy as np
import pytest

from harness.host import clocks, conditions, procfs
from harness.results import store, trust, document
from harness.engines.processes import record_seal
from harness.experiment.config import Bound
from harness.engines.processes import coordinator
from harness.results.trust import DEGRADED, UNTRUSTWORTHY, VALID
from harness.memory.block import Memory
from harness.experiment.plan import make_plan
from kernels import clock_checks
from tests.stage import config
from tests.command_line import harness
from tests.tries import until

GOOD_CONDITIONS = {
    "full_concurrency_share": 1.0, "involuntary_switches_count": 0, "steal_share": 0.0, "other_load_share": 0.0,
    "quota_processors": None, "throttled_count": 0, "throttled_s": 0.0, "speed_drift_share": 0.0, "workers": {},
    "clock": {"source": "tsc", "invariant": True, "offset_ns": 0.0, "rate_drift_share": 0.0},
}


@pytest.fixture
def good() -> dict:
    """A result that nothing is the matter with: two workers on four processors, 10,000 calls in 5 s."""
    plan = make_plan(config(td={"vcpus": 1}))
    result = document.example(plan)
    result |= {"conditions": copy.deepcopy(GOOD_CONDITIONS), "records": {"vcpu0": "whole", "host0": "whole"},
               "measured_s": 5.0}
    result["workers"]["processors"] = [0, 1, 2, 3]
    result["seamcalls"]["tdh_vp_enter"] |= {"attempts": 10_000, "success": 10_000}
    return result


def change(result, key, value):
    *parents, last = key.split(".")
    for parent in parents:
        result = result[parent]
    result[last] = value


def test_a_result_with_nothing_the_matter_is_valid(good):
    assert trust.verdict(good, [], "") == {"status": VALID, "reasons": []}


# What is the matter, by the name of its row in judge.REASONS; two where there are two ways to it.
PROVOKED = [
    ("more workers than processors", DEGRADED, {"workers.processors": [0]}, "2 workers share 1 processors"),
    ("CPU quota", DEGRADED, {"conditions.quota_processors": 1.5}, "may use 1.5 processors, the workers want 2"),
    ("CPU quota", DEGRADED, {"conditions.throttled_count": 3, "conditions.throttled_s": 0.25},
     "stopped 3 times, for 0.25 s"),
    ("steal time", DEGRADED, {"conditions.steal_share": 0.02}, "gave 2 % of"),
    ("another load", DEGRADED, {"conditions.other_load_share": 0.5}, "another load took 50 %"),
    ("clock", DEGRADED, {"conditions.clock.invariant": False}, "not invariant: the processor"),
    ("clock", DEGRADED, {"conditions.clock.rate_drift_share": -0.01}, "rate changed by -1 %"),
    ("clock", DEGRADED, {"conditions.clock.offset_ns": 5000.0}, "not synchronous: two processors are 5000 ns apart"),
    ("frequency", DEGRADED, {"conditions.speed_drift_share": 0.2}, "+20 %"),
    ("open loop", DEGRADED, {"arrivals": {"touches": {"offered_per_s": 1000, "served_per_s": 600}, "faults": {}}},
     "of 1000 touches per s only 600"),
    ("few operations", DEGRADED, {"seamcalls.tdh_vp_enter.attempts": 12}, "only 12 SEAMCALLs"),
    ("claims", DEGRADED, {"config.expect": {"seamcalls.tdh_mem_track.latency_ns.p99_9": {"max": 5}},
                          "seamcalls.tdh_mem_track.latency_ns.count": 999}, "999 samples, it takes at least 1000"),
    ("interrupted", DEGRADED, {"interrupted": True}, "interrupted"),
    ("conservation", UNTRUSTWORTHY, {"invariants.conservation": 1}, "not conserved"),
    ("worker record", UNTRUSTWORTHY, {"records.vcpu0": "torn"}, "the record of vcpu0 is torn"),
    ("worker record", UNTRUSTWORTHY, {"records.host0": "missing"}, "the record of host0 is missing"),
    ("negative control", UNTRUSTWORTHY, {"config.checks.busted": ["no_track"]}, "no_track was broken on purpose"),
]


@pytest.mark.parametrize("name, status, changes, says", PROVOKED)
def test_each_reason_makes_its_verdict_and_says_so(good, name, status, changes, says):
    for key, value in changes.items():
        change(good, key, value)
    verdict = trust.verdict(good, [], "")
    assert verdict["status"] == status
    [reason] = verdict["reasons"]
    assert says in reason


def test_every_reason_is_provoked():
    assert {name for name, *_ in PROVOKED} == {reason.name for reason in trust.REASONS}


@pytest.mark.parametrize("key, value", [
    ("conditions", None), ("conditions.steal_share", None), ("conditions.other_load_share", None),
    ("conditions.quota_processors", None), ("conditions.throttled_count", None),
    ("conditions.speed_drift_share", None), ("conditions.clock.offset_ns", None),
    ("conditions.clock.invariant", None),
    ("conditions.quota_processors", 2.0),                # enough for two workers
])
def test_what_is_not_known_or_enough_is_no_reason(good, key, value):
    change(good, key, value)
    assert trust.verdict(good, [], "")["status"] == VALID


def test_a_negative_control_that_failed_as_it_should_is_no_reason(good):
    change(good, "config.checks.busted", ["no_track"])
    change(good, "invariants.stale_translation", 7)
    assert trust.verdict(good, [], "")["status"] == VALID


def test_a_problem_of_the_run_outweighs_everything(good):
    change(good, "interrupted", True)
    assert trust.verdict(good, ["worker vcpu0 was killed"], "")["status"] == UNTRUSTWORTHY


# --- records ---

def test_a_record_is_missing_torn_whole_or_damaged():
    plan = make_plan(config())
    memory = Memory(plan.layout)
    record = memory.record(0)
    assert record_seal.state(record, plan.tables) == record_seal.MISSING
    record_seal.begin(record, plan.tables)
    record[plan.tables.attempts] = 5
    assert record_seal.state(record, plan.tables) == record_seal.TORN
    record_seal.end(record, plan.tables)
    assert record_seal.state(record, plan.tables) == record_seal.WHOLE
    for word in (0, plan.tables.half, plan.tables.seal - 1):
        record[word] ^= 1
        assert record_seal.state(record, plan.tables) == record_seal.DAMAGED
        record[word] ^= 1
    assert record_seal.state(record, plan.tables) == record_seal.WHOLE


def test_a_record_that_somebody_else_wrote_into_makes_a_run_untrustworthy(monkeypatch):
    original = coordinator.Coordinator.measured

    def meddle(watcher, calibration):
        watcher.memory.record(0)[watcher.plan.tables.half] += 1
        return original(watcher, calibration)

    monkeypatch.setattr(coordinator.Coordinator, "measured", meddle)
    result = document.from_measured(coordinator.run(make_plan(config(duration_s=0.1, warmup_s=0.0))))
    assert result["verdict"]["status"] == UNTRUSTWORTHY
    assert any("the record of vcpu0 is damaged" in reason for reason in result["verdict"]["reasons"])


def test_a_negative_control_that_does_not_fail_is_exit_code_3(tmp_path):
    """Without a host nothing is ever removed, so that leaving out TRACK cannot show."""
    run = harness("run", "configs/kick_on_busy.toml", "--set", "duration_s=0.3", "--set", "workload.hosts=0",
                  "--set", "checks.busted=['no_track']", "--out", tmp_path)
    assert run.returncode == 3, run.stderr
    assert "negative control did not fail: no_track" in run.stderr
    [saved] = tmp_path.glob("*/result.json")
    assert store.read(saved)["verdict"]["status"] == UNTRUSTWORTHY


# --- what Linux says ---

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


# --- what that means for a run ---

def worker(ran_s, waited_s=0.0, switches=0):
    return procfs.Worker(ran_s, waited_s, switches)


def test_the_share_in_which_all_ran_leaves_out_what_any_waited():
    concurrency = conditions.Concurrency()
    assert concurrency.share() is None
    concurrency.look(10.0, {"a": worker(0), "b": worker(0)})
    concurrency.look(11.0, {"a": worker(0.9, 0.1), "b": worker(0.8, 0.2)})
    concurrency.look(12.0, {"a": worker(1.9, 0.1), "b": None})           # b has ended: nothing is known
    concurrency.look(13.0, {"a": worker(2.9, 0.1), "b": worker(2.8, 0.2)})
    assert concurrency.share() == pytest.approx((0.7 + 2.0) / 3)
    concurrency.look(14.0, {"a": worker(2.9, 1.1), "b": worker(2.8, 1.2)})
    assert concurrency.share() == pytest.approx(2.7 / 4)                 # never less than nothing


def test_conditions_are_differences_over_the_workers_processors():
    concurrency = conditions.Concurrency()
    concurrency.look(0.0, {"a": worker(1.0, 0.0, 5)})
    concurrency.look(10.0, {"a": worker(9.0, 2.0, 12)})
    start = procfs.Moment(0.0, {0: procfs.Processor(50, 0), 1: procfs.Processor(0, 0)},
                            procfs.Quota(2.0, 1, 0.1), {})
    end = procfs.Moment(10.0, {0: procfs.Processor(60, 1), 1: procfs.Processor(10, 0)},
                          procfs.Quota(2.0, 4, 0.6), {})
    found = conditions.between(start, end, [0], concurrency, conditions.Clocks("tsc", True, 12.34, 0.0, 0.01))
    assert found["other_load_share"] == 0.2              # 10 s busy, of which 8 were the worker's
    assert found["steal_share"] == 0.1 and found["involuntary_switches_count"] == 7
    assert (found["quota_processors"], found["throttled_count"], found["throttled_s"]) == (2.0, 3, 0.5)
    assert found["full_concurrency_share"] == 0.8 and found["clock"]["offset_ns"] == 12.3
    unknown = conditions.between(start._replace(processors={}, quota=None), end, [0], conditions.Concurrency(),
                                 conditions.Clocks(None, None, None, 0.0, 0.0))
    assert unknown["other_load_share"] is None and unknown["steal_share"] is None
    assert unknown["throttled_count"] is None and unknown["full_concurrency_share"] is None


def test_every_run_says_how_its_workers_were_treated():
    def always(result):
        found = result["conditions"]
        assert set(found["workers"]) == {"vcpu0", "vcpu1", "vcpu2", "vcpu3", "host0"}
        assert all(each["ran_s"] >= 0 for each in found["workers"].values())
        assert 0 <= found["full_concurrency_share"] <= 1 and found["involuntary_switches_count"] >= 0
        assert found["clock"]["offset_ns"] is None or found["clock"]["offset_ns"] < 1e6
        assert set(result["records"].values()) == {"whole"}

    until(lambda result: all(each["ran_s"] > 0 for each in result["conditions"]["workers"].values()),
          lambda duration_s: document.from_measured(coordinator.run(make_plan(config(duration_s=duration_s, warmup_s=0.0)))),
          always)


# --- the clock itself ---

def test_two_clocks_are_found_as_far_apart_as_they_are():
    """The other side is played by a thread, whose clock is ten thousand million ticks ahead."""
    word, stop = np.zeros(8, np.int64), []

    def answer():
        while not stop:
            if word[0] == clock_checks.ASKED:
                word[0] = clock_checks.observe(1)[0] + 10_000_000_000

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    # Some minutes, for a thread that is put aside.
    ahead, error = clock_checks.exchange(word.ctypes.data, False, 3, 500_000_000_000)
    stop.append(True)
    thread.join()
    assert error > 0 and abs(ahead - 10_000_000_000) <= error


def test_nobody_who_answers_is_noticed():
    word = np.zeros(8, np.int64)
    assert clock_checks.exchange(word.ctypes.data, False, 3, 1_000_000)[1] == -1


def test_one_processor_agrees_with_itself():
    assert clocks.offset((0,)) == 0


def test_a_clock_runs_and_work_takes_time():
    one, other = clock_checks.observe(1), clock_checks.observe(1)
    assert other[0] > one[0] and other[1] > one[1] and one[2] > 0
    calibration = clocks.calibrate()
    assert calibration.ticks_per_ns > 0 and calibration.pace_ticks > 0


@pytest.mark.parametrize("count, bound, fails", [
    (3, None, True), (0, None, False), (None, None, False),
    (3, {}, False), (None, {}, False),               # an empty bound asks nothing, not even that it was checked
    (3, {"min": 1}, False), (0, {"min": 1}, True), (None, {"min": 1}, True), (3, {"max": 2}, True),
])
def test_an_invariant_is_judged_by_its_bound_if_it_has_one(count, bound, fails):
    expect = {} if bound is None else {"invariants.quiet_mirror": Bound(**bound)}
    assert bool(trust.failures({"invariants": {"quiet_mirror": count}}, expect)) == fails
