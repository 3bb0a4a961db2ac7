"""What is counted and timed is declared, and what is declared is counted and timed by some program."""

import itertools

import numpy as np
import pytest

from harness.commands import progress
from harness.experiment import litmus
from harness.experiment.plan import make_plan
from harness.experiment.scenario_file import parse
from harness.protocol.assemble import Listing
from harness.protocol.counters import COUNTERS, HOST_PRIORITY, SPANS, VIOLATIONS, violation
from harness.protocol.invariants import INVARIANTS, OF_C, OF_PAMT, RUNNING
from harness.protocol.policies import POLICIES
from harness.results.document import Measured, Sums, example
from tests.stage import config

WORKLOADS = (
    {}, {"map_gpa_share": 0.1, "map_gpa_retries": 3}, {"removal": "conversion"}, {"removal": "memslot_delete"},
    {"removal": "split"}, {"removal": "teardown"}, {"removal": "build"}, {"string_pages": 8}, {"spammers": 1},
    {"migrate_share": 0.1}, {"loop": "open", "touches_per_s": 1000.0}, {"removal_pages": 8},
)
FAULTS = ({}, {"seamcall": "vmx_off"}, {"machine_check_share": 0.5})


def programs():
    for policy in POLICIES:
        yield make_plan(config(policy.name, restart_on_bug=True, costs_ns={"invalidate": 1000})).program
    for workload in WORKLOADS:
        yield make_plan(config(restart_on_bug=True, td={"memory_mib": 4}, workload={"hosts": 1} | workload)).program
    for faults in FAULTS:
        yield make_plan(config(faults=faults)).program
    yield make_plan(config(td={"pending_ve": False})).program
    yield litmus.parse("C t\n{ int x; spinlock_t l; }\nP0(int *x, int **p, spinlock_t *l) { WARN_ON(*x); BUG_ON(*x);"
                       " lockdep_assert_held(l); spin_unlock(l); cond_resched(); WRITE_ONCE(**p, 1); }\nforall (true)\n", "t").program
    yield parse({"module": "1.5.24", "dpamt": "dpamt_v4", "actors": {"host0": {"use": [3]}, "host1": {"split": [512]}}}, "t")[0].program
    yield make_plan(config(module="1.5.24", td={"dynamic_pamt": True, "dpamt": "dpamt_merged", "pamt_cache": 5})).program
    yield make_plan(config({"base": "kick_on_busy", "split_lock": "read"}, td={"memory_mib": 4}, workload={"hosts": 1, "removal": "split"})).program
    yield make_plan(config(td={"memory_mib": 4, "large_pages": True}, workload={"hosts": 1, "accept_2m": True, "removal_pages": 512})).program
    yield make_plan(config(guest="linux_boot", td={"memory_mib": 1024}, workload={"accept_2m": True})).program
    for guest in ("linux_boot", "edk2_release", "tdvf_old_ap"):
        yield make_plan(config(guest=guest, workload={"accept_2m": True})).program


def test_every_declared_counter_and_span_is_counted_and_timed_somewhere():
    written = list(programs())
    counted = set(itertools.chain(*(program.counters for program in written)))
    timed = set(itertools.chain(*(program.spans for program in written)))
    assert sorted(set(COUNTERS) - counted) == [] and sorted(set(SPANS) - timed) == []


@pytest.mark.parametrize("write", [
    lambda listing: listing.count("toches"), lambda listing: listing.begin("toches"), lambda listing: listing.end("toches"),
    lambda listing: listing.begin_with("fault", "toches"), lambda listing: listing.overdue(0, "toches", "kick_ns"),
    lambda listing: listing.arrive("toches", "touch_interval_ns", "again"),
    lambda listing: listing.arrive("fault", "touch_interval_ns", "again", ends="toches"),
], ids=["count", "begin", "end", "begin_with", "overdue", "arrive", "arrive, ends"])
def test_one_that_is_not_declared_is_refused_where_it_is_written(write):
    with pytest.raises(LookupError, match="'toches' is not declared"):
        write(Listing())


def test_one_that_is_not_declared_is_refused_where_it_is_read():
    plan = make_plan(config())
    sums = Sums(Measured(plan, [np.zeros(plan.tables.half, np.int64)], 1.0, 1.0, {}))
    assert sums.counter("splits") == 0 and sums.span("split").sum() == 0        # this program has neither
    for read in (sums.counter, sums.span):
        with pytest.raises(LookupError, match="'touchs' is not declared"):
            read("touchs")


def test_violations_are_those_of_the_invariants_that_are_counted():
    assert {violation(name) for name in (*RUNNING, *(each.name for each in (*OF_C, *OF_PAMT) if each.found == "running"))} == set(VIOLATIONS) <= set(COUNTERS)
    for invariant in INVARIANTS:
        if invariant.name not in RUNNING:
            with pytest.raises(LookupError):
                violation(invariant.name)


def test_names_that_others_know_are_declared():
    assert set(progress.COUNTERS) <= set(COUNTERS)
    result = example(make_plan(config())).model_dump()
    assert set(result["counters"]) <= set(COUNTERS) and set(result["spans_ns"]) <= set(SPANS)
    assert set(result["host_priority"]) == {*HOST_PRIORITY, "guest_refused_ns"}
    assert all(text and text == text.strip() for text in (*COUNTERS.values(), *SPANS.values()))
