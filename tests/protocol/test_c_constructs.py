"""C means here what C means: a case for each construct, atomic, lock and assertion, held against hand-written values and the compiler."""

import re
import shutil
import subprocess

import pytest

from harness.engines.explore import search
from harness.errors import UsageError
from harness.experiment import litmus
from harness.protocol.litmus.functions import PRIMITIVES
from tests.protocol.constructs import CASES, HELPERS, KERNEL, WORDS


def ours(statements: str, count: int) -> tuple[int, ...]:
    """The values of a, b, c of a process alone."""
    parameters = ", ".join(f"{of.removesuffix(' [4]')} {'' if of.endswith(']') else '*'}{name}{'[4]' * of.endswith(']')}" for name, of in WORDS.items())
    names = [f"0:{name}" for name in "abc"[:count]]
    text = f"C t\n{{ }}\n{HELPERS}\nP0({parameters})\n{{ {statements} }}\nlocations [{'; '.join(names)}]\nforall (true)\n"
    found = search.run(litmus.parse(text, "t"))
    may = {"quiet_locks"} if "lock" in statements else set()             # one that was got may be held at the end
    assert set(found.violations) <= may and [ending.kind for ending in found.endings] == ["done"]
    return tuple(int(word) for word in found.endings[0].words)


@pytest.mark.parametrize("statements, values", CASES)
def test_each_construct_and_function_does_what_it_does_in_c(statements, values):
    assert ours(statements, len(values)) == values


def test_the_compiler_has_the_same_values(tmp_path):
    """The table itself, in one program that cc builds."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no cc on this machine")
    words = "".join(f"static {of.removesuffix(' [4]')} word_{name}{'[4]' * of.endswith(']')};\n" for name, of in WORDS.items())
    lines = [f'#include "{KERNEL}"', HELPERS, words]
    for number, (statements, values) in enumerate(CASES):
        bound = "".join(f"{of.removesuffix(' [4]')} *{name} = {'' if of.endswith(']') else '&'}word_{name}; (void){name};"
                        f" __builtin_memset({name}, 0, sizeof(word_{name}));" for name, of in WORDS.items())
        shown = ", ".join(f"(long){name}" for name in "abc"[:len(values)])
        lines.append(f"static void case_{number}(void) {{ {bound} {{ {statements} printf(\"{'%ld ' * len(values)}\\n\", {shown}); }} }}")
    lines.append("int main(void) {" + "".join(f"case_{number}();" for number in range(len(CASES))) + "}")
    source = tmp_path / "cases.c"
    source.write_text("\n".join(lines))
    subprocess.run([compiler, "-std=gnu11", "-O0", "-w", "-o", tmp_path / "cases", source], check=True)
    printed = subprocess.run([tmp_path / "cases"], check=True, capture_output=True, text=True).stdout.splitlines()
    assert [tuple(map(int, line.split())) for line in printed] == [values for _, values in CASES]


def same(write) -> tuple:
    """What a function of the table writes: two names with the same of this are one function."""
    cells = [cell.cell_contents for cell in write.__closure__ or ()]
    return write.__code__, *(same(cell) if hasattr(cell, "__code__") else repr(cell) for cell in cells)


def test_no_function_is_without_a_case():
    """But hints, of which both answers are tried (tests/experiment/test_litmus.py)."""
    used = set(re.findall(r"\w+", " ".join(statements for statements, _ in CASES) + HELPERS))
    tried = {same(PRIMITIVES[name].write) for name in PRIMITIVES if name in used}
    assert {name for name in PRIMITIVES if same(PRIMITIVES[name].write) not in tried} == {
        "need_resched", "spin_needbreak", "rwlock_needbreak", "cond_resched_lock", "cond_resched_rwlock_read", "cond_resched_rwlock_write"}


def process(statements: str):
    words = "P0(int *x, struct obj *o, int arr[4], atomic64_t *v)"
    return litmus.parse(f"C t\n{{ }}\n{HELPERS}\n{words}\n{{ {statements} }}\nforall (true)\n", "t")


REFUSED = {
    "int a = 5 / 0;": "`5 / 0`: division by zero", "int a = 1 << 32;": "`1 << 32`: a shift of 32 bits by 32", "u64 a = 1ULL >> -1;": "a shift of 64 bits by -1",
    "static int s = 3;": "`s`: no static locals", "extern int q;": "`q`: no extern locals", "int a = 'ab';": "'ab': only integers are understood",
    "again: again: ;": "label `again` is in this function twice",
    "auto *a = x;": "write the type by its name", "switch (*x) { case 1: case 1: ; }": "`case 1` is in this switch twice",
    "switch (*x) { default: ; default: ; }": "`default` is in this switch twice", "int a = 1'000;": "1'000: only integers are understood", "asm(\"nop\");": "`asm` is not understood", "struct { int p; } s;": "`s`: a local must be an integer or a pointer, struct is",
    "int s[2]; int a = s[1];": "arrays are shared, one among the locals can only be passed on", "int (*f)(int) = twice;": "no type that is understood",
    "int a = (*twice)(3);": "functions are called by their names", "char *s = \"abc\";": "only integers are understood", "float a = 1;": "type `float` is not understood",
    "int s = 3; int *q = &s;": "the address of a local can be passed on, not kept", "struct obj t = *o;": "a local must be an integer or a pointer",
    "*o = *o;": "`*o` is a struct obj: name one of its fields, or its address with `&`", "int a = sizeof(*o);": "sizeof is understood of integers only", "int a = sizeof(struct obj);": "words of a test have no size", "int a = arr - &o->in;": "two pointers to the same type may be subtracted",
    "int i = 9; int a = arr[i];": "points to no shared word", "int a = arr[4] + *(int *)0;": "points to no shared word", "goto nowhere;": "label `nowhere` is not in this function",
    "BUILD_BUG_ON(2 > 1);": "`2 > 1` is true: the kernel would not be built", "BUILD_BUG_ON(*x);": "`*x` is not known before a run",
    "static_assert(1 == 2, \"no\");": "`1 == 2` is false", "union u { int a; } v;": "`union` is not understood",
    "struct obj *q = container_of(x, struct obj, id);": "container_of: `x` is not that member of a struct obj",
    "struct obj *q = container_of(v, struct obj, id);": "container_of: `v` must point to a shared int, as the member is one",
    "struct obj *q = container_of(x, struct obj, f);": "`f`: struct obj has the fields id, in, many, next",
    "u8 *q = (u8 *)x;": "int * as u8 *: a shared word is of one type, and has no parts", "u64 *q = x;": "int * as u64 *: a shared word is of one type",
    "int a = READ_ONCE(x);": "an address (int *) where a number (int) is wanted", "*x = o;": "an address (struct obj *) where a number (int) is wanted",
    "int a = twice(arr);": "an address (int *) where a number (int) is wanted", "int a = twice;": "`twice` is a function, which can only be called",
    "int a = *o;": "`*o` is a struct obj: name one of its fields, or its address with `&`", "struct bits { int f:3; } *q;": "no unions, no bit fields",
    "struct own { struct own f; } *q;": "`f`: a struct own within itself", "atomic_add(x, 1);": "`1` must be a pointer to a shared word",
    "case 1: ;": "`case` and `default` stand in a switch", "int n = 2; int s[n];": "an array's length must be a number", "switch (1) { case 1 ... 4: ; }": "`...` here is not C",
}


@pytest.mark.parametrize("statements", REFUSED)
def test_what_has_no_meaning_here_is_one_line(statements):
    with pytest.raises(UsageError) as mistake:
        assert process(statements).program
    assert str(mistake.value).startswith("t:") and REFUSED[statements] in str(mistake.value) and "\n" not in str(mistake.value)


def test_an_assertion_between_the_processes_is_looked_at_too():
    for claim, said in (("sizeof(u64) == 8", ""), ("0", "t:3:1: `0` is false: the kernel would not be built")):
        test = litmus.parse(f"C t\n{{ }}\nstatic_assert({claim});\nP0(int *x) {{ *x = 1; }}\nforall (x=1)\n", "t")
        if said:
            with pytest.raises(UsageError) as mistake:
                assert test.program
            assert str(mistake.value) == said
        else:
            assert search.run(test).endings[0].words == ("1",)


@pytest.mark.parametrize("statements", ["BUG();", "int a = 5 / *x;", "int a = 5 % *x;", "*x = 32; u32 a = 1 << *x;", "*x = -1; u64 a = 1UL >> *x;"])
def test_what_no_run_may_compute_ends_the_process(statements):
    found = search.run(process(statements))
    assert set(found.violations) == {"bug_on"}


def test_recursion_is_one_line_through_two_helpers_too():
    text = "C t\n{ }\nstatic int g(int n);\nstatic int f(int n) { return g(n); }\nstatic int g(int n) { return n ? f(n - 1) : 0; }\nP0() { int a = f(3); }\nforall (true)\n"
    with pytest.raises(UsageError, match="^t:5:34: f calls itself: recursion is not understood$"):
        assert litmus.parse(text, "t").program
