"""Read sides of srcu_down_read: another process may end them, and a grace period waits for them."""

import pytest

from harness.engines.explore import search
from harness.experiment import litmus
from harness.results.litmus import judge

HANDED_ON = """C t
{ struct srcu_struct s; int x; int y; int handed; int full; }
P0(struct srcu_struct *s, int *x, int *handed, int *full)
{
\tint before, which;

\twhich = srcu_down_read(s);
\tbefore = READ_ONCE(*x);
\tWRITE_ONCE(*handed, which);
\tsmp_store_release(full, 1);
}
P1(struct srcu_struct *s, int *y, int *handed, int *full)
{
\tint after;

\tsmp_cond_load_acquire(full, VAL);
\tafter = READ_ONCE(*y);
\tsrcu_up_read(s, READ_ONCE(*handed));
}
P2(struct srcu_struct *s, int *x, int *y)
{
\tWRITE_ONCE(*x, 1);
\tsynchronize_srcu(s);
\tWRITE_ONCE(*y, 1);
}
exists (0:before=0 /\\ 1:after=1)
"""
EARLY = HANDED_ON.replace("\tafter = READ_ONCE(*y);\n\tsrcu_up_read(s, READ_ONCE(*handed));\n",
                          "\tsrcu_up_read(s, READ_ONCE(*handed));\n\tafter = READ_ONCE(*y);\n")


def found(text: str, model: str = "sc") -> tuple[int, set[str]]:
    """(states that the condition is about, invariants violated)"""
    test = litmus.parse(text, "t", {"memory_model": model})
    searched = search.run(test)
    return judge(test, searched.endings).hits, set(searched.violations)


@pytest.mark.parametrize("model", ["sc", "tso"])
def test_a_grace_period_waits_for_a_read_side_that_another_process_ends(model):
    assert EARLY != HANDED_ON
    assert found(HANDED_ON, model) == (0, set())
    assert found(EARLY, model)[0] > 0            # the control: what is read behind the end may be new


def test_two_grace_periods_and_a_reader_that_comes_again_all_end():
    text = ("C t\n{ struct srcu_struct s; }\nP0(struct srcu_struct *s) { int i; for (i = 0; i < 2; i++) srcu_up_read(s, srcu_down_read(s)); }\n"
            "P1(struct srcu_struct *s) { synchronize_srcu(s); }\nP2(struct srcu_struct *s) { synchronize_srcu(s); }\nforall (true)\n")
    assert found(text)[1] == set()


def test_both_kinds_of_read_side_are_waited_for():
    text = ("C t\n{ struct srcu_struct s; int x; int y; }\nP0(struct srcu_struct *s, int *x, int *y) { int i = srcu_read_lock(s); int a = READ_ONCE(*x);"
            " int b = READ_ONCE(*y); srcu_read_unlock(s, i); i = srcu_down_read(s); srcu_up_read(s, i); }\n"
            "P1(struct srcu_struct *s, int *x, int *y) { WRITE_ONCE(*x, 1); synchronize_srcu(s); WRITE_ONCE(*y, 1); }\nexists (0:a=0 /\\ 0:b=1)\n")
    assert found(text) == (0, set())


def test_an_end_without_a_beginning_is_a_violation():
    assert "lock_balance" in found("C t\n{ struct srcu_struct s; }\nP0(struct srcu_struct *s) { srcu_up_read(s, 1); }\nforall (true)\n")[1]


def test_a_read_side_that_never_ends_is_a_deadlock_of_who_waits():
    text = "C t\n{ struct srcu_struct s; }\nP0(struct srcu_struct *s) { int i = srcu_down_read(s); }\nP1(struct srcu_struct *s) { synchronize_srcu(s); }\nforall (true)\n"
    assert "deadlock" in found(text)[1]
