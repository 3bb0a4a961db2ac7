"""The conditions of a run: differences between two readings, over the workers' processors."""

import pytest

from harness.engines.processes import coordinator
from harness.experiment.plan import make_plan
from harness.host import conditions, procfs
from harness.results import document
from tests.stage import config
from tests.tries import until


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


def test_time_in_which_a_run_neither_ran_nor_waited_nor_slept_as_it_does_is_time_in_which_it_was_stopped():
    pauses = conditions.Pauses(asleep_s=0.05)
    pauses.look(10.0, worker(1.0, 2.0))
    pauses.look(10.06, worker(1.01, 2.0))                # asleep for 0.05 s
    pauses.look(13.06, worker(1.01, 5.0))                # kept off its processor for 3 s
    assert pauses.stopped_s == 0
    pauses.look(16.11, worker(1.01, 5.0))                # stopped for 3 s
    assert pauses.stopped_s == pytest.approx(3.0)
    pauses.look(20.0, worker(1.01, 5.0), counts=False)   # a terminal that takes no more
    pauses.look(25.0, None)                              # the kernel does not say
    pauses.look(30.0, worker(1.01, 5.0))
    assert pauses.stopped_s == pytest.approx(3.0)


def test_a_gap_in_which_a_worker_was_there_is_no_stop():
    """A process that waits for a disk is neither running nor ready to, and nobody has stopped the run."""
    concurrency = conditions.Concurrency()
    concurrency.look(9.9, {"a": worker(1.0, 0.0), "b": worker(1.0, 0.0)})
    assert concurrency.there_s(10.0, {"a": worker(1.1, 0.0), "b": worker(1.3, 0.5)}) == pytest.approx(0.7)       # 0.1 s may be of before
    assert concurrency.there_s(9.0, {"a": worker(1.2, 0.0), "b": None}) == pytest.approx(0.2)
    assert concurrency.there_s(10.0, {"a": None}) == concurrency.there_s(10.0, {"a": worker(1.0, 0.0)}) == 0
    pauses = conditions.Pauses(asleep_s=0.05)
    pauses.look(10.0, worker(1.0, 0.0))
    pauses.look(11.05, worker(1.0, 0.0), others_s=lambda since_s: {10.0: 0.9}[since_s])
    assert (pauses.stopped_s, pauses.unwatched_s) == pytest.approx((0.1, 0.9))
    pauses.look(12.1, worker(1.0, 0.0), others_s=lambda since_s: 1.05)
    assert (pauses.stopped_s, pauses.unwatched_s) == pytest.approx((0.1, 1.9))


def test_conditions_are_differences_over_the_workers_processors():
    concurrency = conditions.Concurrency()
    concurrency.look(0.0, {"a": worker(1.0, 0.0, 5)})
    concurrency.look(10.0, {"a": worker(9.0, 2.0, 12)})
    start = procfs.Moment(0.0, {0: procfs.Processor(50, 0), 1: procfs.Processor(0, 0)},
                            procfs.Quota(2.0, 1, 0.1), {})
    end = procfs.Moment(10.0, {0: procfs.Processor(60, 1), 1: procfs.Processor(10, 0)},
                          procfs.Quota(2.0, 4, 0.6), {})
    found = conditions.between(start, end, [0], concurrency, conditions.Clocks("tsc", True, 12.34, 0.0, 0.01),
                               conditions.Pauses(0.05))
    assert found["other_load_share"] == 0.2              # 10 s busy, of which 8 were the worker's
    assert found["steal_share"] == 0.1 and found["involuntary_switches_count"] == 7
    assert (found["quota_processors"], found["throttled_count"], found["throttled_s"]) == (2.0, 3, 0.5)
    assert found["full_concurrency_share"] == 0.8 and found["clock"]["offset_ns"] == 12.3
    unknown = conditions.between(start._replace(processors={}, quota=None), end, [0], conditions.Concurrency(),
                                 conditions.Clocks(None, None, None, 0.0, 0.0), conditions.Pauses(0.05))
    assert unknown["other_load_share"] is None and unknown["steal_share"] is None
    assert unknown["throttled_count"] is None and unknown["full_concurrency_share"] is None


def test_every_run_says_how_its_workers_were_treated():
    def always(result):
        found = result.conditions
        assert set(found.workers) == {"vcpu0", "vcpu1", "vcpu2", "vcpu3", "host0"}
        assert all(each.ran_s >= 0 for each in found.workers.values())
        assert 0 <= found.full_concurrency_share <= 1 and found.involuntary_switches_count >= 0
        assert found.clock.offset_ns is None or found.clock.offset_ns < 1e6
        assert set(result.records.values()) == {"whole"}

    until(lambda result: all(each.ran_s > 0 for each in result.conditions.workers.values()),
          lambda duration_s: document.from_measured(coordinator.run(make_plan(config(duration_s=duration_s, warmup_s=0.0)))),
          always)
