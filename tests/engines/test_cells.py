"""Litmus tests by real processes: the outcomes are those that the search has, the processor's weak one among them."""

import os
import time

import numpy as np
import psutil
import pytest

from harness.engines import cells
from harness.engines.explore import search
from harness.experiment import litmus
from harness.reports.events import of_litmus
from harness.results.litmus import judge
from kernels import cells as kernels_cells
from kernels.atomics import X86
from tests.command_line import ROOT
from tests.reports.chrome_trace import checked

RUNS, TRIES = 100_000, 20
SEVERAL = len(os.sched_getaffinity(0)) > 1
CLASSIC = ROOT / "configs/litmus/classic"
KVM = ROOT / "configs/litmus/kvm"


def load(path):
    return litmus.load(path)


def seen(test, ran) -> set:
    return {tuple(state.values.values()) for state in judge(test, ran.endings).states}


def weak(name: str, tries: int) -> int:
    """How often the condition of a test held, until it did."""
    test, hits = load(CLASSIC / f"{name}.litmus"), 0
    for seed in range(tries):
        hits += judge(test, cells.run(test, RUNS, seed).endings).hits
        if hits:
            break
    return hits


def test_a_store_is_seen_late_without_a_fence_and_never_with_one():
    if X86 and SEVERAL:
        assert weak("SB", TRIES)
    assert weak("SB+mbs", 1) == 0


def test_what_cells_come_to_is_counted_as_by_the_order_of_whole_rows():
    random = np.random.default_rng(3)
    for columns in (1, 2, 11, 300):                    # 300: more than there are words to tell rows apart by
        rows = random.integers(-2, 2, (500, 3))[:, np.arange(columns) % 3]
        assert counted(*cells._distinct(rows)) == counted(*np.unique(rows, axis=0, return_counts=True))


def test_two_rows_of_one_word_are_not_one_row():
    first, second = (int(each) for each in cells._ODD[:2])
    rows = np.array([[second, 0], [0, first], [second, 0]])
    assert len(set(rows @ cells._ODD[:2])) == 1        # so the shorter way would take the two for one
    assert counted(*cells._distinct(rows)) == {(second, 0): 2, (0, first): 1}


def counted(rows, counts) -> dict:
    return {tuple(row): times for row, times in zip(rows.tolist(), counts.tolist())}


@pytest.mark.slow
def test_so_are_other_stores_and_those_of_kvm():
    if X86 and SEVERAL:
        assert weak("R", TRIES) and weak("../kvm/mode-requests-no-barrier", TRIES)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SB+mbs", "SB+xchgs", "MP", "LB", "../kvm/mode-requests"])
def test_what_x86_excludes_never_comes(name):
    assert weak(name, TRIES) == 0


@pytest.mark.parametrize("name", ["SB", "n6", "SB+two-locks", "counter+lock", "MP+locked-writer-flag-first",
                                  *(pytest.param(name, marks=pytest.mark.slow) for name in ("IRIW", "CoRR2"))])
def test_what_comes_is_what_the_search_has(name):
    test = load(CLASSIC / f"{name}.litmus")
    ran = cells.run(test, 20_000, 3)
    assert ran.runs == 20_000 == sum(ending.count for ending in ran.endings)
    weak_too = litmus.load(CLASSIC / f"{name}.litmus", {"memory_model": "tso"})
    assert seen(test, ran) <= {tuple(state.values.values()) for state in judge(test, search.run(weak_too).endings).states}
    assert ran.crowded == (len(test.scripts) > len(ran.processors)) and not ran.given_up


@pytest.mark.parametrize("name", ["mirror-race", "retry-and-accept"])
def test_the_modules_calls_run_too(name):
    test = load(KVM / f"{name}.litmus")
    ran = cells.run(test, 2_000, 1)
    assert ran.runs == 2_000 and seen(test, ran) <= {
        tuple(state.values.values()) for state in judge(test, search.run(test).endings).states}


def spans(test, traced, process: str) -> list[dict]:
    events = checked(of_litmus(test, traced, "processes", 1))
    lane = next(event["tid"] for event in events if event["name"] == "thread_name" and event["args"]["name"] == process)
    return [event for event in events if event["ph"] == "X" and event["tid"] == lane]


def test_recorded_runs_have_each_access_of_the_file_within_its_run():
    test = load(CLASSIC / "SB.litmus")
    traced = cells.record(test, 30, 1)
    assert len(traced.endings) == 30 and {ending.kind for ending in traced.endings} == {"done"}
    for place, (process, store, load_) in enumerate((("P0", "P0:15 WRITE_ONCE(*x, 1)", "P0:16 READ_ONCE(*y)"),
                                                     ("P1", "P1:23 WRITE_ONCE(*y, 1)", "P1:24 READ_ONCE(*x)"))):
        events = spans(test, traced, process)
        assert [event["name"] for event in events] == [name for run in range(1, 31) for name in (f"run {run}", store, load_)]
        whole, reads = events[::3], events[2::3]
        assert [event["args"]["read"] for event in reads] == [ending.words[place] for ending in traced.endings]
        assert all(f"{place}:r0={read['args']['read']};" in run["args"]["came to"] for run, read in zip(whole, reads))
        assert all(run["ts"] <= step["ts"] and step["ts"] + step["dur"] <= run["ts"] + run["dur"] + 1e-6
                   for run, *steps in zip(*(events[part::3] for part in range(3))) for step in steps)


def test_recorded_runs_have_the_modules_calls_with_their_answers():
    test = load(KVM / "mirror-race.litmus")
    events = spans(test, cells.record(test, 10, 1), "P0")
    called = [event for event in events if event["name"] == "tdh_mem_page_aug"]
    assert len(called) == 10 and all(event["args"]["answer"].startswith("TDX_") for event in called)
    assert {event["cat"] for event in events} == {"run", "call", "access"}


def test_a_recorded_run_that_does_not_end_is_the_last():
    test = litmus.parse(CROSSED, "crossed.litmus")
    traced = cells.record(test, 10, 1)
    kinds = [ending.kind for ending in traced.endings]
    assert kinds == ["deadlock"] and spans(test, traced, "P0")[0]["args"]["came to"].startswith("deadlock")


def test_a_loop_of_accesses_keeps_no_run_out_of_the_log():
    test = litmus.parse("""C long
{ int x = 0; }
P0(int *x) { int i = 0; int r0; while (i < 5000) { r0 = READ_ONCE(*x); i++; } }
P1(int *x) { WRITE_ONCE(*x, 1); }
forall (true)
""", "long.litmus")
    names = [event["name"] for event in spans(test, cells.record(test, 3, 1), "P0") if event["cat"] == "run"]
    assert names == ["run 1", "run 2", "run 3"]


# Each waits until the other has its first lock.
CROSSED = """C crossed
{ spinlock_t a; spinlock_t b; int x = 0; int y = 0; }
P0(spinlock_t *a, spinlock_t *b, int *x, int *y) {
    spin_lock(a); WRITE_ONCE(*x, 1); while (READ_ONCE(*y) == 0) cpu_relax(); spin_lock(b);
}
P1(spinlock_t *a, spinlock_t *b, int *x, int *y) {
    spin_lock(b); WRITE_ONCE(*y, 1); while (READ_ONCE(*x) == 0) cpu_relax(); spin_lock(a);
}
forall (true)
"""


@pytest.mark.slow
def test_processes_that_wait_for_one_another_are_counted_and_the_rest_is_given_up():
    before = psutil.Process().children()
    ran = cells.run(litmus.parse(CROSSED, "crossed.litmus"), 4_000, 1)
    assert ran.given_up and {ending.kind for ending in ran.endings} == {"deadlock"} and ran.runs < 4_000
    assert sum(ending.count for ending in ran.endings) == ran.runs
    assert set(psutil.Process().children()) <= set(before)


@pytest.mark.slow
def test_a_process_that_never_ends_is_no_final_state():
    test = litmus.parse("C e\n{ int x = 0; }\nP0(int *x) { while (READ_ONCE(*x) == 0) cpu_relax(); }\nforall (true)\n", "e.litmus")
    ran = cells.run(test, 100, 1)
    assert ran.given_up and {ending.kind for ending in ran.endings} == {"endless"} and ran.runs < 100


def test_a_lost_process_is_an_error_and_leaves_none_behind(monkeypatch):
    test, before = load(CLASSIC / "SB.litmus"), psutil.Process().children()

    def lose(self, number, parent):
        os._exit(9)

    monkeypatch.setattr(cells._Workers, "_work", lose)
    with pytest.raises(RuntimeError, match="is gone"):
        cells.run(test, 1000, 1)
    assert set(psutil.Process().children()) <= set(before)


def test_of_a_batch_that_is_given_up_one_process_may_go_before_another(monkeypatch):
    test, work = litmus.parse(CROSSED, "crossed.litmus"), cells._Workers._go

    def late(self, number, *given):
        random = work(self, number, *given)
        if number == 1 and given[1]:                       # not when it is compiled
            self.world.control[kernels_cells.FINISHED // 8] -= 1
            time.sleep(0.3)                                # its fellow has seen the end of the batch and is gone
            self.world.control[kernels_cells.FINISHED // 8] += 1
        return random

    monkeypatch.setattr(cells._Workers, "_go", late)
    monkeypatch.setattr(cells, "WAIT_NS", 10_000_000)
    ran = cells.run(test, 1000, 1)
    assert ran.given_up and {ending.kind for ending in ran.endings} == {"deadlock"}


def test_kvms_own_flows_run_to_the_end_of_their_scripts():
    text = "C f\n{ policy = kick_vcpus; module = 1.5.24; page 3 = FREE; }\nP0() { fault(0x3000); }\nP1() { zap(0x3000); }\nexists (sept[3]=FREE)\n"
    test = litmus.parse(text, "f.litmus")
    ran = cells.run(test, 300, 1)
    assert ran.runs == 300 and {ending.kind for ending in ran.endings} == {"done"}
    assert seen(test, ran) <= {tuple(state.values.values()) for state in judge(test, search.run(test).endings).states}


def test_a_hint_comes_out_both_ways():
    test = litmus.parse("C h\n{ }\nP0() { int r = need_resched(); }\nlocations [0:r]\nforall (true)\n", "h.litmus")
    assert seen(test, cells.run(test, 200, 1)) == {("0",), ("1",)}
