"""Code as it is pasted: #define, #include, attributes, DEFINE_SPINLOCK and words between the processes; lines and columns stay."""

import pytest

from harness.engines.explore import search
from harness.errors import UsageError
from harness.experiment import litmus


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
    with pytest.raises(UsageError, match="^t:3:12: an array's length must be a number"):
        litmus.parse("C t\n{ }\nstatic int a[n];\nP0() { }\n", "t")


def test_a_macro_or_an_enum_may_stand_within_a_function():
    text = "C t\n{ }\nP0()\n{\n#define TWO (2)\n\tenum { THREE = TWO + 1 };\n\tint a = TWO + THREE;\n}\nlocations [0:a]\nforall (true)\n"
    assert outcomes(text) == {("5",)}


def test_every_process_sees_what_is_declared_between_them():
    text = "C t\n{ }\nstatic int n = 1;\nP0() { WRITE_ONCE(n, 2); }\nP1(int *n) { int r = READ_ONCE(*n); }\nlocations [1:r; n]\nforall (true)\n"
    assert outcomes(text) == {("1", "2"), ("2", "2")}


MISTAKES = {
    "#define MAX(a, b) (a)": "3:1: a #define with arguments is not understood: write it as a static function",
    "#define SUM 1 + 2": "3:1: `1 + 2` must stand in parentheses", "#ifdef CONFIG_KVM": "3:1: `#ifdef` is not understood",
    "static union u { int a; } x;": "no type that is understood", "static struct kvm kvm;": "struct kvm is not declared",
    "static int n; static int n;": "`n` is declared twice", "static spinlock_t l = 1;": "3:19: spinlock_t begins unlocked",
    "DEFINE_PER_CPU(int, n);": "3:21: `n` here is not C", "#define TWO TWO\nstatic int f(void) { return TWO; }": "3:13: `TWO` is not declared",
}


@pytest.mark.parametrize("line", MISTAKES)
def test_what_is_not_understood_has_its_place(line):
    with pytest.raises(UsageError) as mistake:
        assert litmus.parse(f"C t\n{{ }}\n{line}\nP0() {{ int r = {'f()' * ('f(void)' in line) or '1'}; }}\nforall (true)\n", "t").program
    assert str(mistake.value).startswith("t:") and MISTAKES[line] in str(mistake.value), mistake.value


def test_a_macro_does_not_move_what_stands_behind_it():
    with pytest.raises(UsageError, match="^t:5:18: `oops` is not declared"):
        assert litmus.parse("C t\n{ }\n#define A (3)\nstatic __always_inline int f(void) { return A; }\nP0() { int r = A+oops; }\nforall (true)\n", "t").program
