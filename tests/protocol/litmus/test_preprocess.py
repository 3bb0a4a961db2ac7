"""Code as it is pasted: #define, #include, attributes, DEFINE_SPINLOCK and words between the processes; lines and columns stay."""

import pytest

from harness.engines.explore import search
from harness.errors import UsageError
from harness.experiment import litmus
from harness.protocol.litmus import preprocess


def outcomes(text: str) -> set[tuple[str, ...]]:
    return {ending.words for ending in search.run(litmus.parse(text, "t")).endings}


PASTED = """C t
{ }
#include <linux/kvm_host.h>
#define TRIES\t3
#define FROZEN\t(BIT_ULL(11) | \\
\t\t 0x5a0)
#define EMPTY
enum { RET_RETRY = 4, RET_FIXED, };
enum pg_level { LEVEL_4K = 1, LEVEL_2M };
typedef u64 word_t;
static DEFINE_SPINLOCK(pamt_lock);
static DEFINE_MUTEX(tdx_lock);
static DEFINE_RAW_SPINLOCK(raw);
static DEFINE_RWLOCK(rw);
static DECLARE_RWSEM(sem);
DEFINE_STATIC_SRCU(srcu);
static int users __read_mostly;
static atomic_t nr = ATOMIC_INIT(1);
static u64 table[3] = { 1, 2, 0x10 };
static struct { spinlock_t lock; int v; } s = { .lock = __SPIN_LOCK_UNLOCKED(s.lock), .v = 4 };
static __always_inline int __must_check count(int by) __must_hold(&pamt_lock)
{
\tusers += by;
\tswitch (by) {
\tcase TRIES:
\t\tfallthrough;
\tcase LEVEL_2M:
\t\treturn RET_FIXED;
\t}
\treturn RET_RETRY;
}
EXPORT_SYMBOL_GPL(count);
P0()
{
\tword_t a = FROZEN;
\tint b, idx;

\tspin_lock(&pamt_lock);
\tb = count(TRIES) + count(LEVEL_4K);
\tspin_unlock(&pamt_lock);
\tscoped_guard(mutex, &tdx_lock) {
\t\tguard(raw_spinlock)(&raw);
\t\tatomic_inc(&nr);
\t}
\tread_lock(&rw); read_unlock(&rw);
\tdown_read(&sem); up_read(&sem);
\tidx = srcu_read_lock(&srcu); srcu_read_unlock(&srcu, idx);
\tspin_lock(&s.lock);
\ts.v += table[2];
\tspin_unlock(&s.lock);
}
locations [0:a; 0:b; users; nr; table[1]; s.v]
forall (true)
"""


def test_what_the_kernel_writes_before_a_function_is_understood():
    assert outcomes(PASTED) == {("3488", "9", "2", "20", "2", "4")}          # 0:a, 0:b, nr, s.v, table[1], users


def test_a_macro_may_be_an_arrays_length_and_a_case():
    text = ("C t\n{ }\n#define SLOTS (3)\n#define ALSO SLOTS\nenum { ONE, TWO, COUNT };\nstatic int a[ALSO];\nstatic int b[COUNT];\n"
            "P0() { int i; for (i = 0; i < SLOTS; i++) a[i] = i; b[TWO] = a[2]; }\nlocations [a[2]; b[1]]\nforall (true)\n")
    assert outcomes(text) == {("2", "2")}
    with pytest.raises(UsageError, match="^t:3:14: an array's length must be a number"):
        litmus.parse("C t\n{ }\nstatic int a[n];\nP0() { }\n", "t")


def test_a_macro_or_an_enum_may_stand_within_a_function():
    text = "C t\n{ }\nP0()\n{\n#define TWO (2)\n\tenum { THREE = TWO + 1 };\n\tint a = TWO + THREE;\n}\nlocations [0:a]\nforall (true)\n"
    assert outcomes(text) == {("5",)}


def test_every_process_sees_what_is_declared_between_them():
    text = "C t\n{ }\nstatic int n = 1;\nP0() { WRITE_ONCE(n, 2); }\nP1(int *n) { int r = READ_ONCE(*n); }\nlocations [1:r; n]\nforall (true)\n"
    assert outcomes(text) == {("1", "2"), ("2", "2")}


MISTAKES = {
    "#define MAX(a, b) (a)\nstatic int f(void) { return MAX(1); }": "4:1: macro MAX requires 2 arguments but was passed 1",
    "#ifdef": "3:1: `#ifdef` must be followed by a name", " #if\n#endif": "3:2: `#if` must be followed by a condition",
    "#if 1": "3:1: unterminated", "#else": "3:1: misplaced #else", "#error old draft": "3:1: #error old draft",
    "#embed 1": "3:1: `#embed` is not understood", "#if 1 +\n#endif": "3:1: ", "#define": "3:1: `#define` must be followed by a name",
    "static union u { int a; } x;": "3:8: `union` is not understood: its members are words of their own", "static struct kvm kvm;": "struct kvm is not declared",
    "static int n; static int n;": "`n` is declared twice", "static spinlock_t l = 1;": "3:19: spinlock_t begins unlocked",
    "DEFINE_PER_CPU(int, n);": "3:21: `n` here is not C", "#define TWO TWO\nstatic int f(void) { return TWO; }": "4:29: `TWO` is not declared",
    "#define A B B B B B B B B B B\n#define B C C C C C C C C C C\n#define C D D D D D D D D D D\n#define D E E E E E E E E E E\n"
    "#define E F F F F F F F F F F\n#define F 1\nstatic int x = A;": "the macros come to more than 100000 words",
}


@pytest.mark.parametrize("line", [pytest.param(line, marks=[pytest.mark.slow] if "100000" in says else []) for line, says in MISTAKES.items()])
def test_what_is_not_understood_has_its_place(line):
    with pytest.raises(UsageError) as mistake:
        assert litmus.parse(f"C t\n{{ }}\n{line}\nP0() {{ int r = {'f()' * ('f(void)' in line) or '1'}; }}\nforall (true)\n", "t").program
    assert str(mistake.value).startswith("t:") and MISTAKES[line] in str(mistake.value), mistake.value


def test_a_macro_does_not_move_what_stands_behind_it():
    with pytest.raises(UsageError, match="^t:5:18: `oops` is not declared"):
        assert litmus.parse("C t\n{ }\n#define A (3)\nstatic __always_inline int f(void) { return A; }\nP0() { int r = A+oops; }\nforall (true)\n", "t").program


def value_of(lines: str, expression: str) -> str:
    """What a process's local comes to, behind some lines at file scope."""
    (found,), = outcomes(f"C t\n{{ }}\n{lines}\nP0() {{ long a = {expression}; }}\nlocations [0:a]\nforall (true)\n")
    return found


MACROS = [
    ("#define ADD(a, b) ((a) + (b))", "ADD(1, ADD(2, 3))", "6"), ("#define F(x) x\n#define G F(2) * 3", "G", "6"), ("#define SUM 1 + 2", "SUM * 2", "5"),
    ("#define F(a, ...) a __VA_ARGS__", "F(1, + 2)", "3"), ("#define CAT(a, b) a ## b\nstatic int xy = 7;", "CAT(x, y)", "7"),
    ("#define TWICE(x) ({ int t = (x); \\\n\t t * 2; })", "TWICE(4)", "8"), ("#define f(x) (x + 1)\nstatic int g(int f) { return f; }", "g(f(1))", "2"),
    ("#ifdef CONFIG_X\n#define N 1\n#else\n#define N 2\n#endif", "N", "2"), ("#define V 3\n#if V >= 3 && defined(V)\nstatic int n = 5;\n#endif", "n", "5"),
    ("#ifndef N\n#define N 4\n#endif\n#undef N\n#define N 9", "N", "9"), ("#if NOWHERE\nnot C at all ((\n#elif 1\n#define N 6\n#endif", "N", "6"),
    ("", "min_t(u8, 300, 50)", "44"), ("", "max_t(int, -1, 1u)", "1"), ("", "clamp(7, 1, 5)", "5"), ("", "min3(3, 2, 4)", "2"), ("", "clamp_t(long, -9, -3, 3)", "-3"),
    ("", "ALIGN_DOWN(0x5fff, 0x1000UL)", str(0x5000)), ("", "ALIGN(0x5001, 0x1000UL)", str(0x6000)), ("", "DIV_ROUND_UP(9, 4)", "3"), ("", "GENMASK(7, 4)", "240"),
    ("", "PFN_PHYS(3)", str(0x3000)), ("", "is_shadow_present_pte(FROZEN_SPTE)", "0"), ("", "is_frozen_spte(FROZEN_SPTE) + is_last_spte(0x80, 3)", "2"),
]


@pytest.mark.parametrize("lines, expression, value", MACROS)
def test_macros_mean_what_they_mean_in_c(lines, expression, value):
    assert value_of(lines, expression) == value


def test_no_file_is_included(tmp_path):
    secret = tmp_path / "secret.h"
    secret.write_text("static int a = 1;")
    assert value_of(f'#include "{secret}"\n#include <{secret}>\n#define HERE "{secret}"\n#include HERE', "2") == "2"


PLACES = {
    "#define ID(x) x\nP0() { int r = ID(oops); }": "4:19: `oops`", "#define BAD oops\nP0() { int r = 1 + BAD; }": "4:20: `oops`",
    "#define LONG (1 + 2 + 3 + 4)\nP0() { int r = LONG + oops; }": "4:23: `oops`", "#define ID(x) x\nP0() { int r = ID(1 +\n\t2) +\n oops; }": "6:2: `oops`",
    "#define ID(x) x\nP0() { int r = ID(1 +\n\toops); }": "5:2: `oops`", "#define BAD )\nP0() { int r = 1 BAD; }": "4:18: `)`",
    "#define BAD oops\nP0() { int r = ({ BAD; }) + BAD; }": "4:19: `oops`", "P0() { int r = min_t(int, 1, oops); }": "3:30: `oops`",
    "P0() { int r = 1 ?: oops; }": "3:21: `oops`", "P0()\n{\n#if 0\n\tnothing;;( )\n#endif\n\tint r = oops;\n}": "8:10: `oops`",
}


@pytest.mark.parametrize("lines", PLACES)
def test_a_mistake_has_its_place_in_the_file_beside_macros(lines):
    with pytest.raises(UsageError) as mistake:
        assert litmus.parse(f"C t\n{{ }}\n{lines}\nforall (true)\n", "t").program
    assert str(mistake.value).startswith(f"t:{PLACES[lines]}"), mistake.value


def test_a_long_file_is_not_what_its_macros_bring(monkeypatch):
    """All of its words were counted, so that a megabyte with one #define was refused."""
    monkeypatch.setattr(preprocess, "TOKENS_MOST", 20)
    assert outcomes("C t\n{ }\n#define ONE 1\nP0(int *x)\n{\n" + "\t*x = *x + ONE;\n" * 9 + "}\nlocations [x]\nforall (true)\n") == {("9",)}


def test_a_macro_begins_with_what_is_a_comment_of_herd7_elsewhere():
    """`(*` of `#define word(x) (*(x))` began a comment that did not end."""
    text = "C t\n{ (* one *) }\n(* two *)\n#define word(x) (*(x))\n#define put(x, to) \\\n\t(*(x) = (to)) /* three */\n(* four *)\nP0(int *x) { put(x, word(x) + 4); }\n(* five *)\nlocations [x]\nforall (true)\n"
    assert outcomes(text) == {("4",)} and litmus.parse(text, "t").text.note.split() == ["one", "two", "four", "five"]


def test_a_macro_that_is_defined_behind_its_use_is_said_to_be():
    with pytest.raises(UsageError, match="^t:3:14: function `one` is not known: its `#define` in line 4 stands behind$"):
        outcomes("C t\n{ }\nP0(int *x) { one(x); }\n#define one(x) (*(x) = 1)\nP1(int *x) { one(x); }\nforall (true)\n")
