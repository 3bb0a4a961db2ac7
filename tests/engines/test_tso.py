"""Litmus tests under x86-TSO: the published answer of each classic test, and the rules one by one."""

from dataclasses import replace

import pytest

from harness.engines.explore import search
from harness.errors import UsageError
from harness.experiment import litmus
from harness.results.litmus import SC, TSO, expected, judge
from tests.command_line import ROOT
from tests.engines import tso_by_hand as tso

# Those that say what they expect under x86-TSO: the classic ones, and KVM's own patterns.
CLASSIC = sorted(path for path in ROOT.glob("configs/litmus/*/*.litmus") if "x86-TSO" in path.read_text())
IDS = [path.stem for path in CLASSIC]


def states(test, found) -> set:
    return {tuple(state.values.values()) for state in judge(test, found.endings).states}


@pytest.mark.parametrize("path", CLASSIC, ids=IDS)
def test_a_classic_test_has_its_published_answer(path):
    """By two searches that share the rows alone; and nothing that is sequentially consistent is lost."""
    test = litmus.load(path)
    found = tso.run(test)
    assert found.complete and judge(test, found.endings).observation == expected(test, TSO)
    assert states(test, found) >= states(test, search.run(test))
    compiled = search.run(replace(test, file=test.file.model_copy(update={"memory_model": TSO})))
    assert compiled.complete and {(each.kind, each.words) for each in compiled.endings} == {
        (each.kind, each.words) for each in found.endings}


def test_without_its_barrier_kvms_entry_loses_a_kick():
    """The control: the vCPU's mode waits in its buffer while it looks for requests."""
    for name, answer in (("mode-requests", "Never"), ("mode-requests-no-barrier", "Sometimes")):
        test = litmus.load(ROOT / f"configs/litmus/kvm/{name}.litmus")
        assert judge(test, tso.run(test).endings).observation == answer
    lost = next(state for state in judge(test, tso.run(test).endings).states if state.satisfies)
    turns = lost.ending.turns
    seen = next(place for place, turn in enumerate(turns) if "store of mode becomes visible" in turn)
    assert seen > next(place for place, turn in enumerate(turns) if "READ_ONCE(*mode)" in turn)


def test_both_answers_are_asked_for():
    wanted = [(expected(test, SC), expected(test, TSO)) for test in map(litmus.load, CLASSIC)]
    assert wanted.count(("Never", "Sometimes")) >= 15 and wanted.count(("Never", "Never")) >= 25


def parse(body: str, condition: str = "exists (0:r0=0)"):
    return litmus.parse(f"C x\n{{ int x = 0; int y = 0; spinlock_t l; rwlock_t m; }}\n{body}\n{condition}\n", "x.litmus")


def observed(body: str, condition: str) -> str:
    test = parse(body, condition)
    return judge(test, tso.run(test).endings).observation


SB = "P0(int *x, int *y, spinlock_t *l, rwlock_t *m) {{ int r0; {0} r0 = READ_ONCE(*y); }}\n" \
     "P1(int *x, int *y, spinlock_t *l, rwlock_t *m) {{ int r1; {1} r1 = READ_ONCE(*x); }}"
BOTH = "exists (0:r0=0 /\\ 1:r1=0)"


@pytest.mark.parametrize("between, answer", [
    ("", "Sometimes"), ("smp_wmb();", "Sometimes"), ("smp_rmb();", "Sometimes"), ("barrier();", "Sometimes"), ("smp_mb();", "Never"),
    ("mb();", "Never"), ("spin_lock(l); spin_unlock(l);", "Never"), ("read_lock(m); read_unlock(m);", "Never"),
])
def test_what_empties_a_store_buffer(between, answer):
    store = ("WRITE_ONCE(*x, 1);", "WRITE_ONCE(*y, 1);")
    assert observed(SB.format(*(each + between for each in store)), BOTH) == answer


def test_the_unlock_of_a_writer_waits_in_the_buffer_and_that_of_a_reader_does_not():
    locked = {lock: SB.format(*(f"{lock}_lock(m); WRITE_ONCE(*{word}, 1); {lock}_unlock(m);" for word in "xy")) for lock in ("read",)}
    assert observed(locked["read"], BOTH) == "Never"
    two = "P0(int *x, int *y, spinlock_t *l) { int r0; spin_lock(l); WRITE_ONCE(*x, 1); spin_unlock(l); r0 = READ_ONCE(*y); }\n" \
          "P1(int *x, int *y, rwlock_t *m) { int r1; write_lock(m); WRITE_ONCE(*y, 1); write_unlock(m); r1 = READ_ONCE(*x); }"
    assert observed(two, BOTH) == "Sometimes"


def test_an_actor_reads_its_own_store_at_once_and_stores_leave_in_order():
    own = "P0(int *x, int *y) { int r0; WRITE_ONCE(*x, 1); WRITE_ONCE(*x, 2); r0 = READ_ONCE(*x); }"
    assert observed(own, "forall (0:r0=2 /\\ x=2)") == "Always"
    order = "P0(int *x, int *y) { WRITE_ONCE(*x, 1); WRITE_ONCE(*y, 1); }\n" \
            "P1(int *x, int *y) { int r0; int r1; r0 = READ_ONCE(*y); r1 = READ_ONCE(*x); }"
    assert observed(order, "exists (1:r0=1 /\\ 1:r1=0)") == "Never"


def test_the_way_says_when_a_store_becomes_visible():
    test = litmus.load(ROOT / "configs/litmus/classic/SB.litmus")
    weak = next(state for state in judge(test, tso.run(test).endings).states if state.satisfies)
    assert "into its store buffer" in weak.ending.turns[0]
    assert sum("becomes visible" in turn for turn in weak.ending.turns) == 2
    loads = [place for place, turn in enumerate(weak.ending.turns) if ": load" in turn]
    visible = {turn.split()[3]: place for place, turn in enumerate(weak.ending.turns) if "becomes visible" in turn}
    assert visible["x"] > loads[-1] or visible["y"] > loads[0]


def test_a_deadlock_is_an_ending_of_its_own():
    test = litmus.parse("C d\n{ spinlock_t a; spinlock_t b; }\n"
                        "P0(spinlock_t *a, spinlock_t *b) { spin_lock(a); spin_lock(b); spin_unlock(b); spin_unlock(a); }\n"
                        "P1(spinlock_t *a, spinlock_t *b) { spin_lock(b); spin_lock(a); spin_unlock(a); spin_unlock(b); }\n"
                        "forall (true)\n", "d.litmus")
    assert {ending.kind for ending in tso.run(test).endings} == {"done", "deadlock"}


def test_a_search_that_does_not_fit_says_so():
    found = tso.run(litmus.load(ROOT / "configs/litmus/classic/IRIW.litmus"), states_most=100)
    assert not found.complete and found.stopped == "more than 100 states"


def test_a_test_with_a_td_is_refused():
    with pytest.raises(UsageError, match="mirror-race.litmus: is about a TD"):
        tso.run(litmus.load(ROOT / "configs/litmus/kvm/mirror-race.litmus"))
