"""Names and types of a litmus file: a name means one thing in all of it, and a number is compared in the type of what it is held against."""

import pytest

from harness.engines.explore import search
from harness.errors import UsageError
from harness.experiment import litmus
from harness.results.litmus import judge


def observed(text: str) -> str:
    test = litmus.parse(text, "t")
    return judge(test, search.run(test).endings).observation


@pytest.mark.parametrize("of, number", [("u64", "0xffffffffffffffff"), ("u64", "18446744073709551615"), ("u64", "-1"), ("u32", "-1"), ("u32", "0xffffffff"),
                                        ("int", "0xffffffff"), ("u8", "255"), ("u8", "-1"), ("s16", "0xffff")])
def test_a_number_of_a_condition_is_one_of_the_type_of_what_it_is_compared_with(of, number):
    """An all-ones u64 was -1, and `exists (x=0xffffffffffffffff)` Never."""
    text = f"C t\n{{ }}\nP0({of} *x) {{ {of} r = -1; *x = r; }}\nexists ("
    assert observed(f"{text}x={number})\n") == observed(f"{text}0:r={number})\n") == "Always"
    assert observed(f"{text}~x={number} \\/ 0:r!={number})\n") == "Never"


def test_an_implication_binds_as_in_herd7():
    """lib/stateParser.mly: tighter than `/\\`, and to the right; it was the loosest."""
    text = "C t\n{ }\nP0(int *x, int *y) { *x = 1; }\nforall (%s)\n"
    for condition, holds in (("y=1 /\\ x=0 => x=0", False), ("(y=1 /\\ x=0) => x=0", True), ("x=1 \\/ y=1 => x=0", True), ("x=0 => x=1 => y=1", True),
                             ("~x=1 => y=1", True), ("x=1 => y=1", False), ("x=1 => y=0 /\\ y=1", False), ("x=1 => (y=0 /\\ y=1)", False)):
        assert (observed(text % condition) == "Always") == holds, condition


MISTAKES = {
    "P0(int *x) { *x = 1; }\nP0(int *x) { *x = 2; }\n": "t:4:1: `P0` is there twice, first in line 3",
    "static int f(void) { return 1; }\nstatic int f(void) { return 2; }\nP0(int *x) { *x = f(); }\n": "t:4:12: `f` is there twice, first in line 3",
    "struct s { int f; };\nstruct s { u64 f; };\nP0(struct s *x) { x->f = 1; }\n": "t:4:8: struct s is declared twice, first in line 3",
    "P0(int *x) { *x = -1; }\nP1(u64 *x) { u64 r = *x; }\n": "t:4:1: P1's `x` points to u64, elsewhere in the file it is int",
    "P0(int *x) { *x = 1; }\nexists (x=01)\n": "t:4:11: `01`: a number does not begin with 0 here, which herd7 reads as decimal and C as octal",
    "P0(int a[09]) { a[1] = 1; }\n": "t:3:10: Invalid octal constant",
    "P0(int *x) { local_irq_save(*x); }\n": "t:3:14: local_irq_save: `*x` must be a local",
    "P0(spinlock_t *l) { guard()(l); }\n": "t:3:21: guard()(): guard(KIND)(LOCK)",
    "P0(int *) { int r = y; }\n": "t:3:4: parameters of processes are shared words, by their names",
    "static int f(int) { return 1; }\nP0(int *x) { *x = f(y); }\n": "t:3:14: f: a parameter without a name",
    "P0(int *x) { int r = 1; }\nlocations [a b:r]\nexists (x=0)\n": "t:4:12: `a b:r` is not understood; a local is `0:r1`, a shared word `x`",
    "P0(int *x) { if (*x) { int r = 1; } else { int r = 2; } }\nexists (0:r=1)\n": "t:4:9: `0:r`: P0 declares `r` more than once, in lines 3, 3",
}


@pytest.mark.parametrize("text", MISTAKES)
def test_a_name_of_two_meanings_is_a_mistake(text):
    """The last one counted, so that a process pasted twice under one name was one process."""
    with pytest.raises(UsageError) as mistake:
        assert litmus.parse(f"C t\n{{ }}\n{text}" + "forall (true)\n" * ("exists" not in text), "t").program
    assert str(mistake.value).startswith(MISTAKES[text])


def test_an_initial_state_s_type_is_the_processes_type_too():
    with pytest.raises(UsageError, match="^t:3:1: P0's `x` points to u64, elsewhere in the file it is int$"):
        litmus.parse("C t\n{ int x = 3; }\nP0(u64 *x) { *x = 1; }\nforall (true)\n", "t")
    assert observed("C t\n{ x = 3; int v = 1; }\nP0(u64 *x, atomic_t *v) { *x = 1; atomic_inc(v); }\nexists (x=1 /\\ v=2)\n") == "Always"


def test_the_outermost_of_several_locals_of_one_name_is_shown():
    assert observed("C t\n{ }\nP0(int *x) { if (!*x) { int r = 1; *x = r; } int r = 2; }\nexists (0:r=2 /\\ x=1)\n") == "Always"


def test_an_array_among_the_parameters_has_all_of_its_words():
    """It had one; the others lay in what came behind."""
    assert observed("C t\n{ }\nP0(int *x, int a[16], int *y) { a[8] = 1; a[15] = 2; }\nexists (y=1 \\/ y=2 \\/ x!=0)\n") == "Never"
    assert observed("C t\n{ }\n#define N 3\nP0(int a[2][N + 1]) { a[1][3] = 7; int r = a[1][3] + a[0][3]; }\nexists (0:r=7 /\\ a[1][3]=7)\n") == "Always"
    assert observed("C t\n{ int a[2] = {4, 5}; }\nP0(int a[]) { int r = a[1]; }\nexists (0:r=5)\n") == "Always"


def test_a_file_with_a_byte_order_mark_and_carriage_returns_is_read(tmp_path):
    """As editors of Windows leave it: `must begin with C NAME`, which it did."""
    path = tmp_path / "t.litmus"
    path.write_bytes(b"\xef\xbb\xbfC t\r\n{ }\r\nP0(int *x) { *x = 1; }\r\nexists (x=1)\r\n")
    assert litmus.load(path).name == "t"


def test_a_local_of_auto_or_typeof_may_be_named_in_a_condition():
    assert observed("C t\n{ }\nP0(u8 *x) { auto a = *x + 1; typeof(*x) b = 255; typeof(x) *c; }\nexists (0:a=1 /\\ 0:b=255 /\\ 0:c!=5)\n") == "Always"


def test_what_stands_before_the_initial_state_beside_a_quoted_line_has_its_place():
    with pytest.raises(UsageError, match="^t:2:5: only comments"):
        litmus.parse('C t\n"q" )(\n{ }\nP0(int *x) { }\nforall (true)\n', "t")
