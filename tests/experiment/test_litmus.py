"""C litmus tests: the shipped ones come out as they say, C means what C means, mistakes get one line with their place."""

import re

import pytest
from hypothesis import given, settings, strategies as st

from harness.engines.explore import search
from harness.errors import UsageError
from harness.experiment import litmus
from harness.experiment.litmus_loops import endless
from harness.experiment.litmus_names import StatusClass
from harness.engines.replay.steps import execute
from harness.experiment.schedule import Schedule
from harness.reports import litmus as reports
from harness.results import litmus as verdicts
from kernels.ops import OP_TABLE, registers_of
from kernels.words import STATUSES, signed
from tests.command_line import ROOT, command

SHIPPED = sorted((ROOT / "configs/litmus").rglob("*.litmus"))
SLOW = ("split-mismatched-accept",)      # two that may write the same 512 entries


def outcomes(text: str) -> set[tuple[str, ...]]:
    return {ending.words for ending in search.run(litmus.parse(text, "t")).endings if ending.kind == "done"}


def body(statements: str, shown: str, init: str = "") -> set[tuple[str, ...]]:
    """The final values of locals of one process."""
    names = "; ".join(f"0:{name}" for name in shown.split())
    return outcomes(f"C t\n{{ {init} }}\nP0(int *x, int *y) {{ {statements} }}\nlocations [{names}]\nforall (true)\n")


def test_what_a_test_says_of_itself_is_a_comment_and_no_pointer_in_its_body():
    test = litmus.parse("C t\n(* Result: Never *)\n{}\nP0(int *x) { WRITE_ONCE(*x, (int *)0 == 0); }\n(* more *)\nexists (x=1)\n", "t")
    assert test.text.note == "Result: Never\nmore"


@pytest.mark.parametrize("path", [pytest.param(path, marks=[pytest.mark.slow] * (path.stem in SLOW)) for path in SHIPPED],
                         ids=lambda path: path.stem)
def test_a_shipped_test_comes_out_as_it_says(path):
    test = litmus.load(path)
    found = search.run(test)
    verdict = verdicts.judge(test, found.endings)
    assert verdicts.expected(test) and found.complete
    assert verdicts.unexpected(test, verdict, found.violations) == []


@pytest.mark.slow
def test_a_search_begins_again_once_for_all_that_a_move_breaks(monkeypatch):
    """Two vCPUs that may split one page: 512 entries turn out to be contested in the same move."""
    again, begins = [], search.Search._begins_again
    monkeypatch.setattr(search.Search, "_begins_again", lambda self, ending: again.append(begins(self, ending)) or again[-1])
    assert search.run(litmus.load(ROOT / "configs/litmus/kvm/split-mismatched-accept.litmus")).complete
    assert sum(again) < 100


@pytest.mark.parametrize("path", [path for path in SHIPPED if path.parent.name == "kvm"], ids=lambda path: path.stem)
def test_nothing_but_its_own_c_writes_to_a_local(path):
    """Rows that prepare a call, and the calls, leave the registers of locals alone."""
    test = litmus.load(path)
    locals_ = set(test.written[1].values())
    texts = [(test.program.listing[number].text, registers_of(row, OP_TABLE[row["op"]].writes)) for number, row in enumerate(test.program.rows)]
    assert [text for text, writes in texts if not text.startswith("P") and locals_ & writes] == []


@pytest.mark.parametrize("path", [path for path in SHIPPED if path.parent.name == "kvm"], ids=lambda path: path.stem)
def test_an_argument_of_the_list_says_where_it_comes_from(path):
    """A file of the kernel, a commit, or the date of a mail; or that it is an example of our own."""
    note = litmus.load(path).text.note
    assert re.search(r"\b(arch|virt|kernel)/\S+\.c\b|\b[0-9a-f]{12}\b|\b20(2[3-9])\b|our own", note)


def test_there_are_tests_to_ship_and_each_is_named_as_its_file():
    assert len(SHIPPED) > 60
    assert all(litmus.load(path).name == path.stem for path in SHIPPED)


@pytest.mark.parametrize("statements, shown, values", [
    ("u8 a = 300; s8 b = 200;", "a b", ("44", "-56")),
    ("unsigned int a = 0; a--; long b = a;", "a b", ("4294967295", "4294967295")),
    ("int a = -7 / 2; int b = -7 % 2;", "a b", ("-3", "-1")),
    ("int a = -1 < 1u; int b = -1 < 1;", "a b", ("0", "1")),
    ("int a = 1 ? 2 : 3; int b = (a == 2) && !(a > 2) || 0;", "a b", ("2", "1")),
    ("int a = 0, i; for (i = 0; i < 5; i++) { if (i == 1) continue; if (i == 4) break; a += i; }", "a i", ("5", "4")),
    ("int a = 0; while (1) { if (++a == 3) break; }", "a", ("3",)),
    ("int a = 2, b = 0; switch (a) { case 1: b = 1; case 2: b += 10; case 3: b += 100; break; default: b = 7; }", "a b", ("2", "110")),
    ("int a = 0; again: a++; if (a < 3) goto again;", "a", ("3",)),
    ("int a = ({ int c = 4; c * 2; });", "a", ("8",)),
    ("int a; int b = 5; a = b++ + ++b;", "a b", ("12", "7")),
    ("bool a = 256; u64 b = ~0UL >> 60;", "a b", ("1", "15")),
    ("*x = 3; *x += 4; int a = *x; int b = atomic_fetch_add(2, x);", "a b", ("7", "7")),
    ("int old = 5; int a = atomic_try_cmpxchg(x, &old, 9);", "a old", ("0", "0")),
    ("int a = test_and_set_bit(3, x); int b = test_bit(3, x);", "a b", ("0", "1")),
    ("int a = refcount_inc_not_zero(x); int b = atomic_add_unless(x, 5, 1);", "a b", ("0", "1")),
], ids=lambda value: value if isinstance(value, str) and len(value) > 12 else None)
def test_c_means_what_c_means(statements, shown, values):
    order = sorted(shown.split())
    [found] = body(statements, shown)
    assert dict(zip(order, found)) == dict(zip(shown.split(), values))


def test_functions_stand_as_in_the_kernel():
    """Levels and masks that are known beforehand through locals, a lock behind a pointer in a local, words named without a pointer."""
    text = r"""C t
    { module = 1.5.05; page 3 = MAPPED; struct kvm kvm = {}; spinlock_t pamt_lock; int pairs = 1; int table[4] = {0, 0, 7, 0}; }
    struct kvm { rwlock_t mmu_lock; int state; };
    static int zap(struct kvm *kvm, gfn_t gfn, enum pg_level level)
    {
        int tdx_level = pg_level_to_tdx_sept_level(level);
        struct kvm *kvm_tdx = to_kvm_tdx(kvm);
        gpa_t gpa = gfn_to_gpa(gfn) & KVM_HPAGE_MASK(level);
        u64 err, entry, level_state;

        lockdep_assert_held_write(&kvm_tdx->mmu_lock);
        err = tdh_mem_range_block(&kvm_tdx->td, gpa, tdx_level, &entry, &level_state);
        if (TDX_BUG_ON_2(err, TDH_MEM_RANGE_BLOCK, entry, level_state, kvm)) {
            pr_tdx_error_2(TDH_MEM_RANGE_BLOCK, err, entry, level_state);
            return -EIO;
        }
        return 0;
    }
    static void put(void)
    {
        int *slot = &table[2];

        scoped_guard(spinlock, &pamt_lock) {
            if (!pairs)
                return;
            pairs--;
            table[1] = *slot;
        }
    }
    P0(struct kvm *kvm) { int r; write_lock(&kvm->mmu_lock); r = zap(kvm, 3, PG_LEVEL_4K); write_unlock(&kvm->mmu_lock); put(); }
    P1() { put(); }
    forall (0:r=0 /\ sept[3]=BLOCKED /\ pairs=0 /\ table[1]=7)"""
    test = litmus.parse(text, "t")
    found = search.run(test)
    assert verdicts.judge(test, found.endings).observation == "Always" and not found.violations


def test_guards_are_released_on_every_way_out():
    text = """C t
    { spinlock_t l; int x; }
    static int locked(spinlock_t *l, int *x) { guard(spinlock)(l); if (*x) return 1; scoped_guard(mutex_, l) { } return 0; }
    P0(spinlock_t *l, int *x) { int a; a = locked(l, x); lockdep_assert_not_held(l); }
    P1(spinlock_t *l, int *x) { int i; for (i = 0; i < 2; i++) { guard(spinlock)(l); *x = 1; if (i == 0) continue; break; } lockdep_assert_not_held(l); }
    forall (true)""".replace("scoped_guard(mutex_, l) { }", "")
    found = search.run(litmus.parse(text, "t"))
    assert not found.violations and {ending.kind for ending in found.endings} == {"done"}


@pytest.mark.parametrize("statements, invariant", [
    ("WARN_ON_ONCE(1);", "warn_on"), ("BUG_ON(1);", "bug_on"), ("lockdep_assert_held(l);", "lockdep"),
    ("spin_lock(l); cond_resched(); spin_unlock(l);", "sleeps_in_atomic"), ("int *q = p; WRITE_ONCE(*q, 1);", "dereference"),
    ("spin_lock(l); spin_lock(l);", "deadlock"), ("refcount_inc(p);", "warn_on"), ("spin_lock(l);", "quiet_locks"),
    ("while (!READ_ONCE(*p)) cpu_relax();", "livelock"), ("mutex_lock_nested(m, 1); cond_resched(); mutex_unlock(m); spin_lock(l); mutex_lock(m);"
     " mutex_unlock(m); spin_unlock(l);", "sleeps_in_atomic"), ("lockdep_assert_irqs_disabled();", "lockdep"),
    ("local_irq_disable(); lockdep_assert_irqs_enabled();", "lockdep"), ("refcount_dec(p);", "warn_on"),
    ("spin_unlock(l);", "lock_balance"), ("spin_lock(l); spin_unlock(l); spin_unlock(l);", "lock_balance"),
    ("read_lock(w); write_unlock(w);", "lock_balance"), ("write_lock(w); read_unlock(w);", "lock_balance"),
    ("mutex_unlock(m);", "lock_balance"), ("if (!spin_trylock(l)) spin_unlock(l); else { spin_unlock(l); spin_unlock(l); }", "lock_balance"),
    ("{ guard(spinlock)(l); spin_unlock(l); }", "lock_balance"),
])
def test_what_herd7_is_silent_about_is_found(statements, invariant):
    statements = statements.replace("int *q = p;", "int *q = 0; if (*p == 0) q = (int *)8; else q = p;")
    text = (f"C t\n{{ spinlock_t l; int p; struct mutex m; rwlock_t w; }}\n"
            f"P0(spinlock_t *l, int *p, struct mutex *m, rwlock_t *w) {{ {statements} }}\nforall (true)\n")
    assert invariant in search.run(litmus.parse(text, "t")).violations


def test_who_lets_go_of_anothers_lock_is_told_from_who_holds_it():
    """P1 lets go of what P0 holds, so that both are inside at once; with the lock its own nothing is wrong."""
    names = "spinlock_t *l, int *x"
    inside = "spin_lock(l); WRITE_ONCE(*x, READ_ONCE(*x) + 1); spin_unlock(l);"
    for first, wrong in (("spin_unlock(l);", True), ("", False)):
        found = search.run(litmus.parse(f"C t\n{{ spinlock_t l; int x; }}\nP0({names}) {{ {inside} }}\n"
                                        f"P1({names}) {{ {first} {inside} }}\nexists (x=1)\n", "t"))
        assert ("lock_balance" in found.violations) == wrong
        assert (("1",) in {ending.words for ending in found.endings if ending.kind == "done"}) == wrong


ORDERED = """C t
{{ {init} spinlock_t a; rwlock_t r; int x; }}
P0(spinlock_t *a, rwlock_t *r, int *x) {{ spin_lock(a); read_lock(r); read_unlock(r); spin_unlock(a); {between} }}
P1(spinlock_t *a, rwlock_t *r, int *x) {{ if (smp_load_acquire(x)) {{ {other} }} }}
forall (true)
"""


@pytest.mark.parametrize("other, between, violated", [
    ("write_lock(r); spin_lock(a); spin_unlock(a); write_unlock(r);", "smp_store_release(x, 1);", {"lock_order"}),
    ("read_lock(r); spin_lock(a); spin_unlock(a); read_unlock(r);", "smp_store_release(x, 1);", set()),
    ("write_lock(r); if (spin_trylock(a)) spin_unlock(a); write_unlock(r);", "smp_store_release(x, 1);", set()),
    ("write_lock(r); spin_lock(a); spin_unlock(a); write_unlock(r);", "", set()),              # where no schedule comes to
])
def test_locks_in_both_orders_are_a_cycle_also_where_a_flag_keeps_the_processes_apart(other, between, violated):
    found = search.run(litmus.parse(ORDERED.format(init="", other=other, between=between), "t"))
    assert set(found.violations) == violated
    assert bool(violated) == ("a is held where r is taken (P0:3 read_lock(r))" in found.lock_order)


def test_a_cycle_of_locks_has_its_way_and_can_be_expected():
    """A deadlock that is found is that cycle, and is not said twice."""
    other = "write_lock(r); spin_lock(a); spin_unlock(a); write_unlock(r);"
    test = litmus.parse(ORDERED.format(init="must_violate = {lock_order};", other=other, between="smp_store_release(x, 1);"), "t")
    found = search.run(test)
    assert execute(Schedule(test, found.violations["lock_order"]))[0][-1].text.endswith("write_lock(r)")
    assert verdicts.unexpected(test, verdicts.judge(test, found.endings), found.violations) == []
    at_once = ORDERED.format(init="", other=other, between="").replace("if (smp_load_acquire(x))", "")
    assert set(search.run(litmus.parse(at_once, "t")).violations) == {"deadlock"}


IRQ = "C t\n{ P1 interrupts P0; int x; int y; spinlock_t l; rwlock_t w; }\n"


@pytest.mark.parametrize("one, other, shown, states, violated", [
    # Between two accesses, and not while interrupts are off.
    ("WRITE_ONCE(*x, 1); r = READ_ONCE(*x);", "WRITE_ONCE(*x, 2);", "0:r", {("1",), ("2",)}, set()),
    ("local_irq_disable(); WRITE_ONCE(*x, 1); r = READ_ONCE(*x); local_irq_enable();", "WRITE_ONCE(*x, 2);", "0:r", {("1",)}, set()),
    ("unsigned long f; local_irq_save(f); WRITE_ONCE(*x, 1); local_irq_restore(f); r = READ_ONCE(*x);", "WRITE_ONCE(*x, 2);", "0:r",
     {("1",), ("2",)}, set()),
    # What it interrupts goes on when it is over: it never sees half of it.
    ("s = READ_ONCE(*y); r = READ_ONCE(*x);", "WRITE_ONCE(*x, 1); WRITE_ONCE(*y, 1);", "0:r; 0:s", {("0", "0"), ("1", "0"), ("1", "1")}, set()),
    # A lock that both take needs interrupts off; a reader does not wait for a writer that waits.
    ("spin_lock(l); spin_unlock(l);", "spin_lock(l); spin_unlock(l);", "0:r", {("0",)}, {"deadlock"}),
    ("unsigned long f; spin_lock_irqsave(l, f); spin_unlock_irqrestore(l, f);", "spin_lock(l); spin_unlock(l);", "0:r", {("0",)}, set()),
    ("guard(spinlock_irqsave)(l); r = 1;", "lockdep_assert_irqs_disabled(); spin_lock(l); spin_unlock(l);", "0:r", {("1",)}, set()),
    ("read_lock(w); r = 1; read_unlock(w);", "read_lock(w); read_unlock(w);", "0:r", {("1",)}, set()),
    # While it waits for a lock it can be interrupted.
    ("spin_lock(l); r = *x; spin_unlock(l);", "WRITE_ONCE(*x, 1);", "0:r", {("1",)}, set()),
])
def test_an_interrupt_comes_between_two_accesses_of_its_processor(one, other, shown, states, violated):
    third = {"read_lock(w); r = 1; read_unlock(w);": "write_lock(w); write_unlock(w);",
             "spin_lock(l); r = *x; spin_unlock(l);": "while (!READ_ONCE(*x)) cpu_relax();"}.get(one, "")
    names = "int *x, int *y, spinlock_t *l, rwlock_t *w"
    text = IRQ + f"P0({names}) {{ int r = 0, s = 0; {one} }}\nP1({names}) {{ {other} }}\n" + (
        f"P2({names}) {{ {'spin_lock(l);' * ('x' in third)} {third} {'spin_unlock(l);' * ('x' in third)} }}\n" if third else "")
    found = search.run(litmus.parse(f"{text}locations [{shown}]\nforall (true)\n", "t"))
    done = {ending.words for ending in found.endings if ending.kind == "done"}
    if "x" in third:                             # who comes first to the lock is open
        assert states <= done and "deadlock" not in found.violations
    else:
        assert done == states
    assert set(found.violations) == violated


@pytest.mark.parametrize("model", [verdicts.SC, verdicts.TSO])
@pytest.mark.parametrize("path", sorted((ROOT / "tests/vectors/litmus").glob("*.litmus")), ids=lambda path: path.stem)
def test_the_kernels_own_form_runs_unchanged(path, model):
    """Headers with and without `void`, comments in both places, generators' lines, volatile, filter, pointers to pointers,
    words that only the initial state names, RCU under both memory models, and the `DEADLOCK` that some files promise."""
    test = litmus.load(path, {"memory_model": model})
    found = search.run(test)
    verdict = verdicts.judge(test, found.endings)
    assert verdict.observation == "Never" and not verdicts.unexpected(test, verdict, found.violations, model)


def test_a_register_that_is_declared_nowhere_is_said(tmp_path, capsys):
    """The kernel's own tests have such; a name that is none of herd7's registers is a mistake (MISTAKES)."""
    path = ROOT / "tests/vectors/litmus/failed-cmpxchg+undeclared.litmus"
    code, out, _ = command(capsys, "explore", str(path), "--out", str(tmp_path))
    assert code == 0 and out.count("P1: `r1` is not declared; taken as an int, as herd7 does\n") == 1 and "P0: " not in out


def test_an_address_is_printed_by_its_name():
    test = litmus.load(ROOT / "tests/vectors/litmus/RCU+free.litmus")
    said = reports.as_herd(test, verdicts.judge(test, search.run(test).endings), 0)
    assert {"1:p=fresh; 1:v=9;", "1:p=old; 1:v=7;"} <= set(said.splitlines())


def test_a_promise_of_the_kernels_own_model_is_told_from_one_of_this_model():
    test = litmus.load(ROOT / "configs/litmus/classic/SB.litmus")
    verdict = verdicts.judge(test, search.run(test).endings)
    for words, weaker in (("Result: Sometimes", True), ("Result under sequential consistency: Sometimes", False)):
        text = (ROOT / "configs/litmus/classic/SB.litmus").read_text().replace("Result under sequential consistency: Never", words)
        [said] = verdicts.unexpected(litmus.parse(text.replace("under x86-TSO: Sometimes", ""), "t"), verdict, {})
        assert ("allows more" in said) == weaker


def test_a_helper_functions_lines_have_its_name():
    test = litmus.parse("C t\n{ }\nstatic void get(int *x)\n{\n\t*x = 1;\n}\nP0(int *x)\n{\n\tget(x);\n\t*x = 2;\n}\nforall (true)\n", "t")
    texts = {row.text for row in test.program.listing}
    assert {"P0:5 get: *x = 1", "P0:10 *x = 2"} <= texts


def test_a_loop_of_a_helper_function_is_named_without_it():
    with pytest.raises(UsageError, match="^t:5:9: P0 goes round at `r` for ever"):
        raise endless(litmus.parse("C t\n{ }\nstatic void get(int r)\n{\n\twhile (r)\n\t\tr = 1;\n}\nP0(int *x)\n{\n\tget(*x);\n}\nforall (true)\n", "t"))


@pytest.mark.parametrize("model", ["sc", pytest.param("tso", marks=pytest.mark.slow)])
def test_a_loop_that_accesses_nothing_is_a_mistake_with_its_line(tmp_path, capsys, model):
    path = tmp_path / "t.litmus"
    path.write_text("C t\n{ }\nP0(int *x)\n{\n\tint r = 1;\n\t*x = 1;\n\twhile (r)\n\t\tr = 1;\n}\nforall (true)\n")
    code, out, err = command(capsys, "explore", str(path), "--out", str(tmp_path), "--memory-model", model)
    assert code == 2 and not out and err == f"{path}:7:9: P0 goes round at `r` for ever without an access to shared memory\n"


def test_both_answers_of_a_hint_are_tried():
    text = ("C t\n{ rwlock_t l; }\nP0(rwlock_t *l) { int r; write_lock(l); r = rwlock_needbreak(l); if (r) r = 1 + cond_resched_rwlock_write(l);"
            " write_unlock(l); }\nlocations [0:r]\nforall (true)\n")
    assert outcomes(text) == {("0",), ("1",), ("2",)}


def test_statuses_are_printed_by_their_names_and_exit_reasons_have_theirs():
    text = ("C t\n{ module = 1.5.24; page 3 = MAPPED; }\nP0() { u64 a = tdg_mem_page_accept(0x3000, 0); }\n"
            "P1() { u64 b = tdh_mem_page_remove(td, 0x3000, 0); int n = b == EXIT_REASON_EPT_VIOLATION; }\nlocations [1:b]\n"
            "exists (0:a=EXIT_REASON_EPT_VIOLATION \\/ 0:a=TDX_PAGE_ALREADY_ACCEPTED)\n")
    test = litmus.parse(text, "t")
    verdict = verdicts.judge(test, search.run(test).endings)
    said = reports.as_herd(test, verdict, 0)
    hits = {}
    for status in ("TDX_PAGE_ALREADY_ACCEPTED|level 0", "TDX_PAGE_ALREADY_ACCEPTED|level 1", "TDX_PAGE_ALREADY_ACCEPTED"):       # as they are printed
        pasted = litmus.parse(re.sub(r"exists.*", f"exists (0:a={status} || 1:b=TDX_SUCCESS)", text), "t")
        hits[status] = verdicts.judge(pasted, search.run(pasted).endings).hits
    assert hits["TDX_PAGE_ALREADY_ACCEPTED|level 0"] == hits["TDX_PAGE_ALREADY_ACCEPTED"] > hits["TDX_PAGE_ALREADY_ACCEPTED|level 1"] == 0
    assert "0:a=TDX_PAGE_ALREADY_ACCEPTED|level 0; 1:b=TDX_GPA_RANGE_NOT_BLOCKED|RCX;" in said and verdict.hits


WRONG_WORDS = {
    "exists (0:err=TDX_OPERAND_BUSSY)": "`TDX_OPERAND_BUSSY` is no status and no state of an entry; did you mean TDX_OPERAND_BUSY",
    "exists (sept[3]=MAPED)": "`MAPED` is no status", "exists (0:err=0 /\\ FOO=1)": "`FOO` is no status", "exists (pamt[1]=PAIRED)": "`dynamic_pamt = true;`",
    "exists (pamt[2]=PAIRED)": "`pamt[2]` is no shared word",
    "exists (sept[3]=PRESENT)": "`sept[3]=PRESENT`: must be a state that it can have: FREE, REMOVED, NL_MAPPED,",
    "exists (~(mirror[3]!=MAPPED))": "`mirror[3]!=MAPPED`: must be a state that it can have: PRESENT, NONPRESENT, FROZEN",
    "exists (sept[3]=0)": "`sept[3]=0`: must be a state", "exists (page 3=TDX_SUCCESS)": "must be a state", "exists (0:err=MAPPED)": "MAPPED is a state of an entry",
    "exists (0:err=TDX_OPERAND_BUSY|FOO)": "'FOO' is no operand; must be a name such as RCX",
    "exists (0:err=TDX_OPERAND_BUSSY|RCX)": "is no status with its operand; did you mean TDX_OPERAND_BUSY?",
}


@pytest.mark.parametrize("condition", WRONG_WORDS)
def test_a_word_of_a_condition_that_nothing_can_be_is_a_mistake(condition):
    """It would never be true, without a word about it."""
    with pytest.raises(UsageError) as mistake:
        litmus.parse(f"C t\n{{ page 3 = FREE; }}\nP0() {{ u64 err = tdh_mem_track(td); }}\n{condition}\n", "t")
    assert str(mistake.value).startswith("t:4:") and WRONG_WORDS[condition] in str(mistake.value)


def test_the_pamt_entry_of_a_range_is_a_name_with_its_pair_and_its_priority():
    text = ("C t\n{ module = 1.5.24; dynamic_pamt = true; pairs = false; }\nP0() { u64 a = tdh_phymem_pamt_add(0x3000); }\n"
            "P1() { u64 b = tdh_phymem_pamt_add(0x3000); }\nlocations [pamt[0]; pamt[1]]\nexists (pamt[0]=PAIRED+HP)\n")
    test = litmus.parse(text, "t")
    assert {ending.words for ending in search.run(test).endings} >= {("PAIRED", "UNPAIRED"), ("PAIRED+HP", "UNPAIRED")}


def test_kvms_mirror_entry_is_a_name_beside_its_own_flows():
    text = "C t\n{ page 3 = FREE; policy = kick_vcpus; }\nP0() { fault(0x3000); }\nP1() { int r = 1; }\nlocations [mirror[3]; mirror[4]; sept[3]]\nexists (mirror[3]=FROZEN)\n"
    test = litmus.parse(text, "t")
    assert {ending.words for ending in search.run(test).endings} == {("PRESENT", "NONPRESENT", "MAPPED")}
    own = litmus.parse("C t\n{ u64 mirror[4] = {1, 2, 3, 4}; }\nP0(u64 *mirror) { int r = 1; }\nexists (mirror[3]=4)\n", "t")
    assert {ending.words for ending in search.run(own).endings} == {("4",)}


@pytest.mark.parametrize("item, said", [
    ("module = 9.9.9;", "module = '9.9.9'"), ("page 3 = MAPPD;", "start.pages.3 = 'MAPPD'"), ("policy = kick;", "policy = 'kick'")])
def test_what_the_initial_state_says_of_the_td_has_its_place(item, said):
    with pytest.raises(UsageError, match=f"^t:3:2: {re.escape(said)}"):
        litmus.parse(f"C t\n{{\n\t{item}\n}}\nP0() {{ u64 err = tdh_mem_track(td); }}\nforall (true)\n", "t")
    with pytest.raises(UsageError, match="^t: module = '8.8'"):              # it is not the file that says it
        litmus.parse("C t\n{\n\tmodule = 1.5.05;\n}\nP0() { u64 err = tdh_mem_track(td); }\nforall (true)\n", "t", {"module": "8.8"})


@pytest.mark.parametrize("shown", ["x; 0:r", "int x; 0:r int;", "int x; int 0:r", "x int; 0:r"])
def test_a_location_may_have_its_type(shown):
    test = litmus.parse(f"C t\n{{ }}\nP0(int *x) {{ int r = READ_ONCE(*x); }}\nlocations [{shown}]\nforall (true)\n", "t")
    assert test.shown == ("0:r", "x")


def test_lines_may_end_as_in_a_mail():
    assert litmus.parse("C t\r\n{ int x; }\r\nP0(int *x)\r\n{\r\n\tint r = 1;\r\n}\r\nexists (x=0)\r\n", "t").program
    with pytest.raises(UsageError, match="^t:5:10: `oops`"):
        assert litmus.parse("C t\r\n{ }\r\nP0(int *x)\r\n{\r\n\tint r = oops;\r\n}\r\nexists (x=0)\r\n", "t").program


@pytest.mark.parametrize("text, place", [
    ("P0(u128 *x) { }", "3:4: type `u128`"), ("P0(int *x) { gfn a = 3; }", "3:14: type `gfn`"), ("static page_t *f(int n) { return 0; }\nP0(int *x) { }", "3:8: type `page_t`")])
def test_a_type_that_is_not_known_is_named(text, place):
    with pytest.raises(UsageError, match=f"^t:{re.escape(place)} is not understood"):
        litmus.parse(f"C t\n{{ }}\n{text}\nforall (true)\n", "t")


def test_a_status_in_a_condition_is_its_class():
    busy = signed(STATUSES["TDX_OPERAND_BUSY"])
    assert StatusClass(busy) == busy | 0x92 and StatusClass(busy) != 0 and StatusClass(0) != 1


def test_a_condition_may_ask_whether_the_module_has_shut_down():
    """A pair that is taken while the page is in use, as with hints in place of a count (dpamt_hints)."""
    text = ("C h\n{ module = 1.5.24; dynamic_pamt = true; must_violate = {no_halt}; }\n"
            "P0() { if (!page_into_use(0x3000)) page_out_of_use(0x3000); }\n"
            "P1() { tdh_phymem_pamt_remove(0x3000); tdh_phymem_pamt_add(0x3000); }\nexists (halted=1)\n")
    test = litmus.parse(text, "t")
    found = search.run(test)
    verdict = verdicts.judge(test, found.endings)
    assert verdict.observation == "Sometimes" and not verdicts.unexpected(test, verdict, found.violations)
    other = litmus.parse(text.replace("must_violate = {no_halt};", ""), "t")
    [said] = verdicts.unexpected(other, verdict, found.violations)
    assert said == "no_halt is violated, which `must_violate = {no_halt};` in the initial state expects"


def test_500_lines_are_assembled():
    helpers = "".join(f"static int f{i}(int *x, int *y, int n)\n{{\n\tint i, r = 0;\n\n\tfor (i = 0; i < 2; i++) {{\n\t\tif (READ_ONCE(*x) == n)\n"
                      f"\t\t\tr += cmpxchg(y, {i}, n);\n\t\telse\n\t\t\tatomic_fetch_add(2, x);\n\t}}\n\treturn r;\n}}\n" for i in range(38))
    text = f"C t\n{{ }}\n{helpers}P0(int *x, int *y)\n{{\n\tint r = 0;\n" + "".join(f"\tr += f{i}(x, y, {i});\n" for i in range(38)) + "}\n"
    assert len(text.splitlines()) > 490 and len(litmus.parse(text, "t").program.rows) > 700


def test_a_way_to_a_state_is_kept_and_comes_out_again(tmp_path):
    test = litmus.load(ROOT / "configs/litmus/kvm/pamt-v4.litmus")
    state = next(state for state in verdicts.judge(test, search.run(test).endings).states if state.satisfies)
    schedule = Schedule(test, state.ending.turns, "used without PAMT")
    accesses, schedule.final = execute(schedule)
    again = Schedule.read(schedule.write(tmp_path / "way.json"))
    assert execute(again)[1] == schedule.final and any("atomic_inc_not_zero(ref)" in access.text for access in accesses)


MISTAKES = {
    "": "1:1: must begin with `C NAME`", "C t": "no initial state", "C t { x=1; ": "never closed", "C t {}": "no process",
    "C t { u65 x; } P0(int *x) {}": "type `u65`", "C t {} P1() {}": "P0 is missing",
    "C t {} P0() { int r; r = foo(1); }": "function `foo` is not known", "C t {} P0() { r = 1; }": "`r` is not declared",
    "C t {} static int f(void) { return r; } P0() { int r = 3; int q = f(); }": "`r` is not declared",
    "C t { int count; } static int count; P0() { }": "1:7: `count` is given twice",
    "C t {} P0() { float f; }": "type `float` is not understood", "C t {} P0(int x) {}": "pointers to shared words",
    "C t {} P0() { int r; } exists (0:q=1)": "P0 has no local `q`", "C t {} P0() { int r; } exists (1:r=1)": "there is no P1",
    "C t {} P0() { int r; } exists (0:r=1": "the end here, where", "C t {} P0() { int r; } exists (z=1)": "`z` is no shared word",
    "C t {} P0() { x = ; }": "is not C that is understood", "C t\n{}\nP0(int *x)\n{\n\tint r = = 3;\n}": "5:10: `=` here is not C",
    "C t\n{}\nP0()\n{\n}\nexists (x=1)": "6:9: `x` is no shared word: no process", "C t {} P0() { int r; r = READ_ONCE(1, 2); }": "takes 1 argument",
    "C t {} P0() { break; }": "stands in no loop", "C t {} P0() { goto out; }": "label `out`", "C t {} P0() { /* }": "does not end",
    "C t { int x = 99999999999999999999; } P0(int *x) {}": "64 bits", "C t { page 3 = GONE; } P0() {}": "no such state",
    "C t { module = 9.9; } P0() {}": "module", "C t {\n dynamic_pamt = true; } P0() { u64 e = tdh_phymem_pamt_add(0); }": "2:2: dynamic_pamt = true: 1.5.05 has no", "C t {} P0() { tdh_mem_page_aug(td, 0x3001, 0); }": "address of a page",
    "C t {} static int f(int a) { return f(a); } P0() { int r; r = f(1); }": "recursion",
    "C t {} P0() { __int128 r; }": "1:15: type `__int128`", "C t { P1 interrupts P0; } P0() {}": "1:7: `P1 interrupts P0`: there is no P1",
    "C t {} P0(int *x) {\n WRITE_ONC(*x, 1); }": "2:2: function `WRITE_ONC` is not known; did you mean WRITE_ONCE?",
    "C t\n{}\nP0(atomic_t *refs)\n{\n\tatomic_inc(&refs);\n}": "5:14: `refs` is a pointer to a shared word and stays so; its word is `*refs`, its address `refs`, without `&`",
    "C t {} static void get(atomic_t *r) { atomic_inc(&r); } P0(atomic_t *refs) { get(refs); }": "`&r` must point to a shared word; `r` does: write it without `&`",
    "C t {} P0(int *x) { WRITE_ONCE(&x, 1); }": "`&x` is an address, where the word itself is wanted: write `*x`",
    "C t\n#define N 3\n{}\nP0(int *x) { *x = N; }": "2:1: only comments, a quoted line and KEY=VALUE lines may stand before the initial state; `#define` and relatives go behind",
    "C t {}\nP0(int *x)\n{\n\tif (atomic_inc(x)\n\t\t*x = 1;\n}": "6:1: `}` here, where `)` closes what is open: the `(` in line 4, column 5",
    "C t {} P0(spinlock_t *l) { guard(spinlok)(l); }": "guard(spinlok) is not known; did you mean spinlock?",
    "C t {} P0(int *x) { spin_lock(x); }": "points to int; must be a spinlock",
    "C t {} " + "".join(f"P{n}() {{ }} " for n in range(9)): "9 processes",
}


@pytest.mark.parametrize("text", MISTAKES, ids=lambda text: MISTAKES[text][:30])
def test_a_mistake_is_one_line_with_its_place_and_exit_code_2(tmp_path, capsys, text):
    path = tmp_path / "t.litmus"
    path.write_text(text)
    code, out, err = command(capsys, "explore", str(path), "--out", str(tmp_path))
    assert code == 2 and len(err.splitlines()) == 1 and MISTAKES[text] in err and not out, err
    assert err.startswith(f"{path}:")


@settings(max_examples=150)
@given(st.lists(st.sampled_from(
    ["C t", "{", "}", "(", ")", "P0(int *x)", "int r;", "r = *x;", "*x = 1;", ";", "exists", "0:r=1", "/\\", "while (1)", "x", "=", "1",
     "if (r)", "else", "goto a;", "a:", "spin_lock(x);", "int x = 1;", "forall", "(*", "*)", "//", "guard(spinlock)(x);", "return;",
     "scoped_guard(", "\n#define A", "(1 + A)", "\n", "DEFINE_SPINLOCK(l);", "enum { B, C };", "static int n = B;", "?:", "&", "[", "]", "struct s { int a; };", "switch (r) {", "case 1:", "~", "\x00", "\ud800".encode("utf-8", "replace").decode()]),
    max_size=25))
def test_any_text_is_a_test_or_one_line(words):
    try:
        assert litmus.parse(" ".join(["C t {} "] + words), "t").program is not None
    except UsageError as mistake:
        assert len(str(mistake).splitlines()) == 1 and len(str(mistake)) < 400


def test_explore_prints_what_herd7_prints_and_exits_with_1_if_it_is_not_as_the_file_says(tmp_path, capsys):
    path = tmp_path / "sb.litmus"
    text = (ROOT / "configs/litmus/classic/SB.litmus").read_text()
    path.write_text(text)
    code, out, _ = command(capsys, "explore", str(path), "--out", str(tmp_path))
    assert code == 0 and "Test SB Allowed\nStates 3\n0:r0=0; 1:r0=1;\n" in out and "Observation SB Never 0 3" in out
    path.write_text(text.replace("Result under", "Outcome under"))
    code, out, _ = command(capsys, "explore", str(path), "--out", str(tmp_path))
    assert code == 1 and "NOT as the file says: the condition does not hold" in out


def test_a_warning_before_the_first_shared_access_is_found_with_its_way():
    test = litmus.parse("C t\n{ }\nP0(int *x) { int r = 1; WARN_ON_ONCE(r); WRITE_ONCE(*x, 1); }\n"
                        "P1(int *x) { WRITE_ONCE(*x, 2); }\nexists (x=1)\n", "t")
    for found in (search.run(test), search.sample(test, 3, 1)):
        accesses, _ = execute(Schedule(test, found.violations["warn_on"]))
        assert [access.mark for access in accesses if access.mark] == ["violation: warn_on"]
        assert all(not access.word for access in accesses)
