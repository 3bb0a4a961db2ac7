"""Litmus tests in virtual time: what they cost is what the machine says, and what comes is what the search has."""


import numpy as np
import pytest

from harness.commands.litmus_run import machine
from harness.engines.explore import search
from harness.engines.simulate import small
from harness.experiment import litmus
from harness.reports.events import of_litmus
from tests.command_line import ROOT, command
from tests.reports.chrome_trace import checked

COSTS = ["engine=simulate", "machine.store_ns=3", "machine.load_ns=5", "machine.locked_ns=7", "machine.transfer_ns=100", "machine.local_ns=0"]


def timed(text: str, runs: int = 1, costs=COSTS):
    return small.run(litmus.parse(text, "t"), machine(costs), runs, 1)


@pytest.mark.parametrize("statements, ns", [
    ("WRITE_ONCE(*x, 1);", 103), ("WRITE_ONCE(*x, 1); WRITE_ONCE(*x, 2); int r = *x;", 111), ("atomic_inc(x); int r = *y;", 212),
    ("int r = 0; r++;", 0),
])
def test_a_process_alone_takes_what_its_accesses_cost(statements, ns):
    """A line comes from elsewhere the first time, and is there afterwards."""
    assert timed(f"C t\n{{ }}\nP0(int *x, int *y) {{ {statements} }}\nforall (true)\n").took_ns.tolist() == [[ns]]


def test_waiting_for_another_takes_its_time():
    ran = timed("C t\n{ spinlock_t l; int x; }\n" + "".join(
        f"P{n}(spinlock_t *l, int *x) {{ spin_lock(l); *x += 1; spin_unlock(l); }}\n" for n in (0, 1)) + "forall (x=2)\n", 50)
    alone = 107 + 105 + 3 + 3
    assert ran.runs == 50 and (ran.took_ns >= alone).all() and ran.took_ns.max() > alone + 100
    assert len({tuple(row) for row in ran.took_ns}) > 5 and (ran.whole_ns >= ran.took_ns.max(axis=1)).all()


def test_a_trace_has_the_first_runs_one_behind_another():
    test = litmus.load(ROOT / "configs/litmus/kvm/mirror-race.litmus")
    ran = small.run(test, machine(COSTS), 5, 7, traced=3)
    events = checked(of_litmus(test, ran.traced, "simulate", 7))
    lanes = {event["args"]["name"]: event["tid"] for event in events if event["name"] == "thread_name"}
    for place, lane in enumerate(lanes[name] for name in ("P0", "P1")):
        spans = [each for each in events if each.get("cat") == "run" and each["tid"] == lane]
        assert [(each["name"], each["args"]["came to"]) for each in spans] == [
            (f"run {number + 1}", " ".join(f"{name}={word};" for (name, _), word in zip(test.watched(), ending.words)))
            for number, ending in enumerate(ran.traced.endings)]
        assert [each["dur"] for each in spans] == pytest.approx([took / 1000 for took in ran.took_ns[:3, place]], abs=1e-3)
        assert all(one["ts"] + one["dur"] < other["ts"] for one, other in zip(spans, spans[1:]))
    assert [each["name"] for each in events if each.get("cat") == "call"].count("tdh_mem_page_aug") == 3


def test_a_run_that_does_not_end_has_no_span_but_the_others_keep_their_numbers():
    text = "C t\n{ }\nP0(spinlock_t *l) { int r = need_resched(); if (r) { spin_lock(l); spin_lock(l); } }\nlocations [0:r]\nforall (true)\n"
    test = litmus.parse(text, "t")
    ran = small.run(test, machine(COSTS), 12, 1, traced=12)
    kinds = [ending.kind for ending in ran.traced.endings]
    assert set(kinds) == {"done", "deadlock"} and kinds.index("deadlock") < 11 - kinds[::-1].index("done")
    runs = [event["name"] for event in checked(of_litmus(test, ran.traced, "simulate", 1)) if event.get("cat") == "run"]
    assert runs == [f"run {number}" for number, kind in enumerate(kinds, 1) if kind == "done"]


def test_the_same_seed_gives_the_same_times():
    test = litmus.load(ROOT / "configs/litmus/kvm/mirror-race.litmus")
    one, other = (small.run(test, machine(COSTS), 20, 7) for _ in range(2))
    assert one.endings == other.endings and np.array_equal(one.took_ns, other.took_ns)
    assert {ending.words for ending in one.endings} <= {ending.words for ending in search.run(test).endings}
    assert one.took_ns.min() > 0


@pytest.mark.parametrize("body, kind", [
    ("spin_lock(l); spin_lock(l);", "deadlock"), ("while (!READ_ONCE(*x)) cpu_relax();", "endless")])
def test_what_does_not_end_is_counted_by_itself(body, kind):
    ran = timed(f"C t\n{{ }}\nP0(spinlock_t *l, int *x) {{ {body} }}\nforall (true)\n", 30)
    assert {ending.kind for ending in ran.endings} == {kind} and len(ran.whole_ns) == 0
    assert ran.given_up == (kind == "endless")


def test_its_times_are_printed_and_what_is_no_setting_of_the_machine_is_one_line(capsys):
    code, out, _ = command(capsys, "run", "SB", "--set", "engine=simulate", "--set", "machine.transfer_ns=90", "--runs", "50")
    assert code == 0 and "least, ns" in out and "assumptions, but for transfer_ns" in out
    for setting, said in (("td.vcpus=3", "--set td.vcpus=3: not of C litmus tests; allowed: engine=simulate, machine.KEY, costs_ns.KEY"),
                          ("engine=processes", "--set engine=processes: C litmus tests run as real processes unless")):
        code, out, err = command(capsys, "run", "SB", "--set", setting)
        assert code == 2 and not out and said in err and err.count("\n") == 1


def test_kvms_own_flows_do_their_pages_one_after_the_other_and_end():
    """The pages of each process, also of two of a kind: what is made of each, and by whom."""
    text = ("C t\n{ module = 1.5.24; page 3 = FREE; page 4 = FREE; page 5 = MAPPED; page 6 = MAPPED; page 7 = MAPPED; policy = kick_on_busy; }\n"
            "P0() { fault(0x3000); fault(0x4000); }\nP1() { zap(0x5000); zap(0x6000); }\nP2() { u64 err = tdh_mem_track(td); }\nP3() { zap(0x7000); }\n"
            "locations [sept[3]; sept[4]; sept[5]; sept[6]; sept[7]; bugged]\nforall (true)\n")
    test = litmus.parse(text, "t")
    ran = small.run(test, machine(COSTS), 5, 7, traced=1)
    assert [(ending.kind, ending.words) for ending in ran.endings] == [("done", ("0", "MAPPED", "MAPPED", "FREE", "FREE", "FREE"))]
    assert (ran.took_ns[:, [0, 1, 3]] > 1000).all() and (ran.took_ns[:, 1] > ran.took_ns[:, 3]).all()
    events = checked(of_litmus(test, ran.traced, "simulate", 7))
    made = [(each["tid"], each["name"]) for each in events if each.get("cat") == "call" and each["args"]["answer"] == "TDX_SUCCESS"]
    lanes = {event["args"]["name"]: event["tid"] for event in events if event["name"] == "thread_name"}
    actors = [lanes[script.actor.name] for script in test.scripts]
    for name, counts in (("tdh_mem_page_aug", (2, 0, 0, 0)), ("tdg_mem_page_accept", (2, 0, 0, 0)), ("tdh_mem_page_remove", (0, 2, 0, 1))):
        assert [made.count((actor, name)) for actor in actors] == list(counts)


def test_a_vm_that_is_dead_ends_kvms_flows_too():
    """The zap finds the page blocked already: a KVM_BUG_ON, and both processes end."""
    text = ("C t\n{ module = 1.5.24; page 3 = MAPPED; page 4 = FREE; policy = kick_on_busy; }\nP0() { fault(0x4000); }\n"
            "P1() { u64 err = tdh_mem_range_block(td, 0x3000, 0); }\nP2() { zap(0x3000); }\nlocations [bugged]\nforall (true)\n")
    ran = small.run(litmus.parse(text, "t"), machine(COSTS), 20, 7)
    assert {ending.kind for ending in ran.endings} == {"done"} and ("1",) in {ending.words for ending in ran.endings}


# Tests of which a search is short, of classic locks and of KVM's and the module's calls.
SEARCHED = ("classic/SB", "classic/LB", "classic/MP", "kvm/mirror-race", "kvm/track-no-requests", "kvm/pamt-v1", "kvm/retry-clobbered",
            "kvm/sept-zap-no-kick", "kvm/accept-retry-beside-zap", pytest.param("kvm/draft-track-beside-fault", marks=pytest.mark.slow))


def outcomes_beyond_the_search(path, runs: int, seed: int) -> tuple[set, int]:
    """(outcomes in virtual time that a search does not have, how many different ones came); costs vary, so that much comes."""
    test = litmus.load(path)
    spread = [*COSTS, "machine.stall_every_ns=700", "machine.stall_ns=400", 'machine.distribution={transfer="exponential",stall="exponential"}']
    found = search.run(test)
    assert found.complete
    seen = {(ending.kind, ending.words) for ending in small.run(test, machine(spread), runs, seed).endings if ending.kind != "endless"}
    return seen - {(ending.kind, ending.words) for ending in found.endings}, len(seen)


@pytest.mark.parametrize("name", SEARCHED)
def test_what_comes_with_costs_that_vary_is_what_the_search_has(name):
    beyond, different = outcomes_beyond_the_search(ROOT / f"configs/litmus/{name}.litmus", 400, 3)
    assert not beyond and different >= 1


@pytest.mark.slow
@pytest.mark.parametrize("name", SEARCHED)
def test_what_the_search_calls_impossible_never_comes_in_many_runs(name):
    assert not outcomes_beyond_the_search(ROOT / f"configs/litmus/{name}.litmus", 100_000, 4)[0]
