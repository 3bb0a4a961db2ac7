"""C constructs and functions of the kernel, a case for each: statements, and what the locals that they declare come to.

    CASES      (statements, values): values of `a`, `b` and `c`, as many as are given
    HELPERS    functions and structs of all cases
    WORDS      the shared words of all cases, by name: their types, all zero at the start

Hand-written; where there is a compiler it has to come to the same (kernel.h, test_c_constructs.py).
"""

from pathlib import Path

KERNEL = Path(__file__).with_name("kernel.h")

WORDS = {"x": "int", "y": "u64", "b8": "u8", "h": "s16", "u": "u32", "p": "int *", "v": "atomic_t", "w": "atomic64_t", "z": "atomic_long_t",
         "r": "refcount_t", "l": "spinlock_t", "raw": "raw_spinlock_t", "rw": "rwlock_t", "m": "struct mutex", "sem": "struct rw_semaphore",
         "srcu": "struct srcu_struct", "o": "struct obj", "arr": "int [4]"}

HELPERS = """
struct inner { int first; u64 second; };
struct obj { int id; struct inner in; int many[1 + 2]; struct obj *next; };
static int twice(int n) { return n * 2; }
static int fact(int n) { int f = 1; while (n > 1) f *= n--; return f; }
static void put(int *where, int what) { WRITE_ONCE(*where, what); }
static int early(spinlock_t *l, int n) { guard(spinlock)(l); if (n) return spin_is_locked(l); return 7; }
static bool both(u64 one, u64 other) { return one && other; }
static u8 narrow(int n) { return n; }
static int nth(int a[], int n) { return a[n]; }
static int sum(int *a, int n) { int i, s = 0; for (i = 0; i < n; i++) s += a[i]; return s; }
"""

CASES = [
    # integers: width, sign, conversions
    ("u8 a = 300; s8 b = 200;", (44, -56)),
    ("u16 a = -1; s16 b = 40000;", (65535, -25536)),
    ("u32 a = -1; s32 b = 4294967295;", (4294967295, -1)),
    ("unsigned int t = 0; t--; long a = t;", (4294967295,)),
    ("bool a = 256; bool b = 0; int c = (bool)5 + 1;", (1, 0, 2)),
    ("char a = -1; unsigned char b = -1; signed char c = 200;", (-1, 255, -56)),
    ("short a = 32768; unsigned short b = 65537;", (-32768, 1)),
    ("int a = -1 < 1u; int b = -1 < 1; int c = -1L < 1u;", (0, 1, 1)),
    ("int a = (u8)(255 + 1); int b = (s8)128; long c = (u32)-1;", (0, -128, 4294967295)),
    ("u8 s = 200; int a = s + s; u8 t = s + s; int b = t;", (400, 144)),
    ("int a = 'A'; int b = '\\n'; int c = 010;", (65, 10, 8)),
    ("long a = 0x7fffffffffffffff; u64 s = a; s += 1; int b = s >> 63;", (9223372036854775807, 1)),
    ("gfn_t s = 3; gpa_t a = s << 12;", (12288,)),
    ("int64_t a = -5; uint64_t s = a; int b = s > 5;", (-5, 1)),
    ("int a = '\\377'; int b = -020000000000 > 0; int c = 2147483648 > 0x80000000 - 1L;", (-1, 1, 1)),
    ("signed long a = -3; long signed int b = 4; signed short c = 70000;", (-3, 4, 4464)),
    ("short unsigned s = -1; long a = s; int unsigned long t = -1; int b = t == s; int c = (u32)(s << 16) >> 31;", (65535, 0, 1)),
    # typeof, container_of, sizeof
    ("typeof(*x) s = 5; typeof(s) t = s + 1; int a = t; typeof(*b8) w = 300; int b = w; typeof(1 ? 1u : 2) r = -1; long c = r;", (6, 44, 4294967295)),
    ("typeof(*o) *q = o; q->id = 3; __typeof__(o->in) *r = &q->in; r->first = 5; int a = o->id * 10 + o->in.first; typeof(typeof(int)) b = 7;", (35, 7)),
    ("u8 s = 7; int a = (typeof(s))511; typeof(xchg(b8, 3)) t = 300; int b = t; int c = *b8;", (255, 44, 0)),
    ("__auto_type s = *u; s--; long a = s; __auto_type q = x; *q = 3; int b = *x; __auto_type t = *b8 + 1ul; int c = t;", (4294967295, 3, 1)),
    ("struct inner *t = &o->in; struct obj *s = container_of(t, struct obj, in); s->id = 7; int a = o->id; int b = s == o;", (7, 1)),
    ("u64 *t = &o->in.second; int *s = &o->many[1]; int a = container_of(t, struct obj, in.second) == o;"
     " int b = container_of(s, struct obj, many[1]) == o; *p = s; int c = container_of(*p, struct obj, many[1]) == o;", (1, 1, 1)),
    ("int a = sizeof(*x) + sizeof(*b8) * 10; int b = sizeof(o->in.second) + sizeof(*x + 1ul); int c = sizeof(u16);", (14, 16, 2)),
    # operators
    ("int a = 7 + 3 * 2 - 1; int b = (7 + 3) * 2 - 1;", (12, 19)),
    ("int a = -7 / 2; int b = -7 % 2; int c = 7 % -2;", (-3, -1, 1)),
    ("unsigned s = 4294967295; unsigned a = s / 2; unsigned b = s % 10;", (2147483647, 5)),
    ("int a = 6 & 3; int b = 6 | 3; int c = 6 ^ 3;", (2, 7, 5)),
    ("int a = ~5; int b = -5; int c = +5;", (-6, -5, 5)),
    ("int a = !5; int b = !0; int c = !!7;", (0, 1, 1)),
    ("int a = 1 << 4; int b = -16 >> 2; u32 s = 0x80000000; u32 t = s >> 31; int c = t;", (16, -4, 1)),
    ("u64 s = 1UL << 63; int a = s >> 63; u64 t = ~0UL; int b = t >> 60;", (1, 15)),
    ("int a = 3 < 4; int b = 3 > 4; int c = (3 <= 3) + (3 >= 3) + (3 == 3) + (3 != 3);", (1, 0, 3)),
    ("int a = 5 && 0 || 3; int b = 0 && (*x = 9); int c = *x;", (1, 0, 0)),
    ("int a = 1 || (*x = 9); int b = *x;", (1, 0)),
    ("int a = 1 ? 2 : 3; int b = 0 ? 2 : 3 ? 4 : 5;", (2, 4)),
    ("int s = 0; int a = ++s ?: 9; int b = *x ?: s + 7; u8 t = 200; long c = t ? : -1L;", (1, 8, 200)),
    ("int s = 5; int a = s++ * 2; int b = ++s; int c = s--;", (10, 7, 7)),
    ("int a = 10; a += 5; a -= 3; a *= 4; a /= 3; a %= 9;", (7,)),
    ("int a = 12; a &= 10; a |= 5; a ^= 1; a <<= 3; a >>= 1;", (48,)),
    ("int a, b; a = b = 4; int c = (a = 6, a + b);", (6, 4, 10)),
    ("int s = 2; int a = s + (s = 5, s);", None),
    ("int a = ({ int s = 4; s * 2; }); int b = ({ *x = 3; *x; });", (8, 3)),
    # statements
    ("int a = 0; if (*x == 0) a = 1; else a = 2;", (1,)),
    ("int a = 0; if (*x) a = 1; else if (!*y) a = 2; else a = 3;", (2,)),
    ("int a = 0; while (a < 5) a++;", (5,)),
    ("int a = 0; while (1) { if (++a == 3) break; }", (3,)),
    ("int a = 0; do a += 2; while (a < 5);", (6,)),
    ("int a = 0; do { a++; if (a == 2) continue; } while (a < 2);", (2,)),
    ("int a = 0, i; for (i = 0; i < 5; i++) { if (i == 1) continue; if (i == 4) break; a += i; } int b = i;", (5, 4)),
    ("int a = 0; for (int i = 0, j = 10; i < j; i++, j--) a++;", (5,)),
    ("int a = 0; for (;;) if (a++ > 2) break;", (4,)),
    ("int a = 0, i, j; for (i = 0; i < 3; i++) for (j = 0; j < 3; j++) { if (j > i) break; a++; }", (6,)),
    ("int s = 2, a = 0; switch (s) { case 1: a = 1; case 2: a += 10; case 3: a += 100; break; default: a = 7; }", (110,)),
    ("int s = 9, a = 0; switch (s) { case 1: a = 1; break; default: a = 7; case 3: a += 2; }", (9,)),
    ("int s = 3, a = 5; switch (s) { case 1: a = 1; }", (5,)),
    ("u32 s = -1; int a = 0, b = 0; switch (s) { case -1: a = 1; break; default: a = 2; } switch (3) { case 0x100000003: b = 1; }", (1, 1)),
    ("int s = 2, a = 0; switch (s) { int t; case 1: { a = 1; case 2: a += 5; } t = a; a = t + 1; }", (6,)),
    ("int a = 0, i = 5; switch (i) { case 3: do { a += 10; case 5: a++; } while (--i > 2); } int b = i;", (23, 2)),
    ("int s = 2, a = 0; switch (s) case 2: a = 3; int b = 0; switch (s) { case 1: switch (s) { case 2: b = 1; } default: b += 4; }", (3, 4)),
    ("int a = 0; again: a++; if (a < 3) goto again;", (3,)),
    ("int a = 1; goto out; a = 2; out: a += 10;", (11,)),
    ("int a = 0, i; for (i = 0; i < 3; i++) { switch (i) { case 1: continue; } a += 10; }", (20,)),
    ("int a = 1; { int a = 2; *x = a; } int b = *x;", (1, 2)),
    ("int a = 0; ; { } if (a) ; else a = 4;", (4,)),
    # functions
    ("int a = twice(21); int b = twice(twice(3)) + fact(5);", (42, 132)),
    ("put(x, 8); int a = *x; put(&arr[2], 5); int b = arr[2];", (8, 5)),
    ("int a = narrow(511); int b = both(4, 0) + both(1UL << 40, 2);", (255, 1)),
    ("arr[0] = 3; arr[1] = 4; int a = sum(arr, 4);", (7,)),
    # pointers, arrays, structs
    ("*x = 3; *x += 4; int a = *x; int b = (*x)++; int c = *x;", (7, 7, 8)),
    ("int i; for (i = 0; i < 4; i++) arr[i] = i * i; int a = arr[3]; int b = *(arr + 2);", (9, 4)),
    ("int *q = arr; q++; *q = 6; q += 1; *q = 8; int a = arr[1]; int b = arr[2];", (6, 8)),
    ("int *q = &arr[3]; *q-- = 2; *q = 1; int a = arr[3] * 10 + arr[2];", (21,)),
    ("int *q = x; int a = q == x; int b = q != 0; int c = !q;", (1, 1, 0)),
    ("*p = x; **p = 4; int a = *x; int *q = *p; int b = *q;", (4, 4)),
    ("o->id = 4; o->in.second = 1UL << 40; o->many[1] = 6; int a = o->id + o->many[1]; int b = o->in.second >> 40;", (10, 1)),
    ("struct obj *q = o; q->many[2] = 3; int i = 2; int a = o->many[i]; int *s = &q->in.first; *s = 9; int b = o->in.first;", (3, 9)),
    ("(*o).id = 2; int a = o->id; int b = (&o->in)->first;", (2, 0)),
    ("*b8 = 300; int a = *b8; *h = 70000; int b = *h; *u = -1; long c = *u;", (44, 4464, 4294967295)),
    ("*b8 = 255; (*b8)++; int a = *b8; *b8 -= 1; int b = *b8;", (0, 255)),
    ("int *s = &o->many[2]; int *t = o->many; int a = s - t; int b = &arr[1] - &arr[3]; int c = 1[arr] + *(1 + arr);", (2, -2, 0)),
    ("struct obj *s = o + 1; int a = s - o; long b = (&o->many[1] - o->many) * -1L; int c = s > o;", (1, -1, 1)),
    ("arr[1] = 4; arr[2] = 6; int a = nth(arr, 2); int b = nth(arr + 1, 0);", (6, 4)),
    ("o->next = o; o->next->id = 5; int a = o->next->next->id; struct obj *s = o->next + 1; int b = s - o;", (5, 1)),
    ("int s = 3; WRITE_ONCE(s, 4); int a = s; int t = 1; WRITE_ONCE(t, READ_ONCE(s) + t); int b = t;", (4, 5)),
    # plain accesses, barriers
    ("WRITE_ONCE(*x, 5); int a = READ_ONCE(*x); barrier(); smp_mb(); smp_rmb(); smp_wmb(); int b = READ_ONCE(*y);", (5, 0)),
    ("smp_store_release(x, 4); int a = smp_load_acquire(x); smp_store_mb(*x, 6); int b = *x;", (4, 6)),
    ("rcu_assign_pointer(*p, x); *x = 5; int *q = rcu_dereference(*p); int a = *q;", (5,)),
    ("*x = 3; int a = smp_cond_load_acquire(x, VAL > 2);", (3,)),
    ("smp_mb__before_atomic(); atomic_inc(v); smp_mb__after_atomic(); cpu_relax(); int a = atomic_read(v);", (1,)),
    ("int a = likely(5); int b = unlikely(0); int c = !likely(256);", (1, 0, 0)),
    ("long a = 1 ? -1 : 1u; long b = *x ? 1u : -1; long c = 0 ? 1L : -1;", (4294967295, 4294967295, -1)),
    ("int s = 2; if (likely(s & 2)) s = 9; int a = s; int t = 4; int b = 9 / t % t; u32 u = 1; u32 c = u << t >> 3;", (9, 2, 2)),
    ("int a = likely(*x == 0); int b = unlikely(*x);", (1, 0)),
    ("int a = min(3, 5) + max(2, 9); u64 b = BIT(40) >> 38;", (12, 4)),
    # xchg and cmpxchg of plain words
    ("*x = 1; int a = xchg(x, 5); int b = cmpxchg(x, 5, 6); int c = cmpxchg(x, 5, 7) * 10 + *x;", (1, 5, 66)),
    ("u64 s = 0; int a = try_cmpxchg64(y, &s, 9); int b = try_cmpxchg64(y, &s, 10); int c = s + *y;", (1, 0, 18)),
    ("*y = 1; u64 s = 5; int a = try_cmpxchg(y, &s, 2); int b = s; do { } while (!try_cmpxchg(y, &s, s + 3)); int c = *y;", (0, 1, 4)),
    ("*b8 = 250; int a = xchg(b8, 260); int b = *b8; int c = cmpxchg(b8, 4, 7) + xchg_relaxed(b8, 1);", (250, 4, 11)),
    ("int a = xchg_acquire(x, 2) + xchg_release(x, 3) * 10; int b = cmpxchg_relaxed(x, 3, 4); int c = cmpxchg64(y, 0, 5);", (20, 3, 0)),
    # bits
    ("set_bit(3, y); set_bit(63, y); clear_bit(3, y); set_bit(1, y); change_bit(2, y); int a = *y; int b = *y >> 63;", (6, 1)),
    ("int a = test_and_set_bit(3, y); int b = test_and_set_bit(3, y); int c = test_bit(3, y) + test_bit(4, y);", (0, 1, 1)),
    ("int a = test_and_clear_bit(1, y); set_bit(1, y); int b = test_and_clear_bit(1, y); int c = test_and_change_bit(5, y) + *y;", (0, 1, 32)),
    ("int a = test_and_set_bit_lock(0, y); int b = test_bit_acquire(0, y); clear_bit_unlock(0, y); int c = *y;", (0, 1, 0)),
    ("__set_bit(4, y); int a = __test_and_set_bit(4, y); int b = __test_and_clear_bit(4, y); __set_bit(1, y); __clear_bit(1, y); int c = *y;",
     (1, 1, 0)),
    # refcounts
    ("refcount_set(r, 1); refcount_inc(r); refcount_add(3, r); int a = refcount_read(r); refcount_dec(r); int b = refcount_read(r);", (5, 4)),
    ("refcount_set(r, 2); int a = refcount_dec_and_test(r); int b = refcount_dec_and_test(r); int c = refcount_inc_not_zero(r);", (0, 1, 0)),
    ("refcount_set(r, 2); int a = refcount_dec_not_one(r); int b = refcount_dec_not_one(r); int c = refcount_sub_and_test(1, r);", (1, 0, 1)),
    ("refcount_set(r, 1); int a = refcount_inc_not_zero(r); int b = refcount_read(r); int c = refcount_sub_and_test(2, r);", (1, 2, 1)),
    # locks: what they answer, and that each is free again
    *[(f"{take}({lock}); int a = {look}({lock}); {drop}({lock}); int b = {look}({lock});", (1, 0)) for take, drop, look, lock in (
        ("spin_lock", "spin_unlock", "spin_is_locked", "l"), ("spin_lock_irq", "spin_unlock_irq", "spin_is_locked", "l"),
        ("spin_lock_bh", "spin_unlock_bh", "spin_is_locked", "l"), ("mutex_lock", "mutex_unlock", "mutex_is_locked", "m"))],
    *[(f"int a = {take}({lock}); int b = {take}({lock}); {drop}({lock}); int c = {take}({lock});", (1, 0, 1)) for take, drop, lock in (
        ("spin_trylock", "spin_unlock", "l"), ("raw_spin_trylock", "raw_spin_unlock", "raw"), ("mutex_trylock", "mutex_unlock", "m"),
        ("write_trylock", "write_unlock", "rw"), ("down_write_trylock", "up_write", "sem"))],
    ("unsigned long f; spin_lock_irqsave(l, f); int a = spin_is_locked(l); spin_unlock_irqrestore(l, f); int b = spin_is_locked(l);", (1, 0)),
    ("spin_lock_nested(l, 1); int a = spin_trylock(l); spin_unlock(l); raw_spin_lock(raw); int b = raw_spin_trylock(raw);", (0, 0)),
    ("read_lock(rw); int a = read_trylock(rw); int b = write_trylock(rw); read_unlock(rw); read_unlock(rw); int c = write_trylock(rw);",
     (1, 0, 1)),
    ("write_lock(rw); int a = read_trylock(rw); write_unlock(rw); int b = read_trylock(rw); read_unlock(rw);", (0, 1)),
    ("read_lock_irq(rw); int a = write_trylock(rw); read_unlock_irq(rw); unsigned long f; write_lock_irqsave(rw, f);"
     " int b = read_trylock(rw); write_unlock_irqrestore(rw, f); int c = read_trylock(rw);", (0, 0, 1)),
    ("unsigned long f; read_lock_irqsave(rw, f); int a = write_trylock(rw); read_unlock_irqrestore(rw, f); write_lock_irq(rw);"
     " int b = read_trylock(rw); write_unlock_irq(rw); int c = read_trylock(rw);", (0, 0, 1)),
    ("down_read(sem); int a = down_write_trylock(sem); up_read(sem); down_write(sem); int b = down_read_trylock(sem); downgrade_write(sem);"
     " int c = down_read_trylock(sem);", (0, 0, 1)),
    ("int a = mutex_lock_interruptible(m); int b = mutex_trylock(m);", (0, 0)),
    ("int a; { guard(spinlock)(l); a = spin_is_locked(l); } int b = spin_is_locked(l);", (1, 0)),
    ("int a = early(l, 1); int b = spin_is_locked(l); int c = early(l, 0) + spin_is_locked(l);", (1, 0, 7)),
    ("int a = 0; scoped_guard(spinlock, l) { a = spin_is_locked(l); } int b = spin_is_locked(l);", (1, 0)),
    ("int a = 0, i; for (i = 0; i < 3; i++) { guard(mutex)(m); if (i == 1) continue; a += mutex_is_locked(m); } int b = mutex_is_locked(m);",
     (2, 0)),
    ("int a = 0; { guard(read_lock)(rw); a = write_trylock(rw); } int b = write_trylock(rw);", (0, 1)),
    ("int a = 0; { guard(write_lock)(rw); a = read_trylock(rw); } int b = read_trylock(rw);", (0, 1)),
    ("int a; { guard(spinlock_irqsave)(l); a = spin_is_locked(l); } int b; { guard(raw_spinlock)(raw); b = raw_spin_trylock(raw); }"
     " int c = spin_is_locked(l) + raw_spin_trylock(raw);", (1, 0, 1)),
    ("atomic_set(v, 2); int a = atomic_dec_and_lock(v, l); int b = atomic_dec_and_lock(v, l); int c = spin_is_locked(l);", (0, 1, 1)),
    ("atomic_set(v, 2); unsigned long f; int a = atomic_dec_and_lock_irqsave(v, l, f); int b = atomic_dec_and_lock_irqsave(v, l, f);"
     " int c = spin_is_locked(l); spin_unlock_irqrestore(l, f);", (0, 1, 1)),
    ("refcount_set(r, 2); int a = refcount_dec_and_lock(r, l); int b = refcount_dec_and_mutex_lock(r, m); int c = mutex_is_locked(m) +"
     " spin_is_locked(l);", (0, 1, 1)),
    ("atomic_set(v, 1); int a = atomic_dec_and_mutex_lock(v, m); int b = mutex_is_locked(m);", (1, 1)),
    ("rcu_read_lock(); int a = *x; rcu_read_unlock(); synchronize_rcu(); int i = srcu_read_lock(srcu); srcu_read_unlock(srcu, i);"
     " synchronize_srcu(srcu); int b = 3;", (0, 3)),
    ("int a = srcu_down_read(srcu); srcu_up_read(srcu, a); synchronize_srcu(srcu);", (0,)),
    ("unsigned long f; local_irq_save(f); local_irq_restore(f); local_irq_disable(); lockdep_assert_irqs_disabled(); local_irq_enable();"
     " cond_resched(); int a = 1;", (1,)),
    ("read_lock(rw); lockdep_assert_held_read(rw); read_unlock(rw); write_lock(rw); lockdep_assert_held_write(rw); lockdep_assert_held(rw);"
     " int a = irqs_disabled(); local_irq_disable(); int b = irqs_disabled(); local_irq_enable(); lockdep_assert_irqs_enabled(); int c = irqs_disabled();",
     (0, 1, 0)),
    ("atomic64_set(w, 1); int a = atomic64_dec_and_lock(w, l); assert_spin_locked(l); int b = BIT_ULL(3); preempt_disable(); preempt_enable();", (1, 8)),
    # assertions
    ("spin_lock(l); lockdep_assert_held(l); spin_unlock(l); lockdep_assert_not_held(l); BUG_ON(*x); int a = 1;", (1,)),
    ("int a = WARN_ON_ONCE(*x); int b = WARN_ON(*x > 3); int c = WARN(*x, \"%d\", 3);", (0, 0, 0)),
    ("BUILD_BUG_ON(sizeof(u64) != 8); BUILD_BUG_ON_MSG(sizeof(s8) == 2, \"no\"); static_assert(1 + 1 == 2, \"two\"); static_assert(sizeof(int) == 4);"
     " if (*x) BUG(); int a = sizeof(u16) + sizeof(unsigned long);", (10,)),
    ("int a = abs(-3); int b = 4; swap(a, b); int c = IS_ERR_VALUE((long)-EBUSY) + IS_ERR_VALUE(0UL);", (4, 3, 1)),
    ("pr_warn(\"x is %d\\n\", *x); int a = -EBUSY; int b = a == -EAGAIN; int c = true + false;", (-16, 0, 1)),
]
CASES = [case for case in CASES if case[1] is not None]


def _families():
    """A case for each function of each family of atomics, for each order."""
    orders = ("", "_relaxed", "_acquire", "_release")
    for family, word in (("atomic", "v"), ("atomic64", "w"), ("atomic_long", "z")):
        yield f"{family}_set({word}, 5); int a = {family}_read({word}); {family}_set_release({word}, 6); int b = {family}_read_acquire({word});", (5, 6)
        yield (f"{family}_add(7, {word}); {family}_sub(2, {word}); {family}_inc({word}); {family}_dec({word}); int a = {family}_read({word});"
               f" {family}_or(8, {word}); {family}_and(12, {word}); int b = {family}_read({word}); {family}_xor(6, {word});"
               f" {family}_andnot(2, {word}); int c = {family}_read({word});", (5, 12, 8))
        for order in orders:
            yield (f"int a = {family}_fetch_add{order}(3, {word}) * 100 + {family}_fetch_sub{order}(1, {word});"
                   f" int b = {family}_fetch_inc{order}({word}) * 10 + {family}_fetch_dec{order}({word}); int c = {family}_read({word});", (3, 23, 2))
            yield (f"int a = {family}_fetch_or{order}(7, {word}); int b = {family}_fetch_and{order}(6, {word}) * 10 +"
                   f" {family}_fetch_xor{order}(3, {word}); int c = {family}_fetch_andnot{order}(1, {word}) * 10 + {family}_read({word});", (0, 76, 54))
            yield (f"int a = {family}_add_return{order}(9, {word}); int b = {family}_sub_return{order}(4, {word});"
                   f" int c = {family}_inc_return{order}({word}) * 10 + {family}_dec_return{order}({word});", (9, 5, 65))
            kind = "int" if family == "atomic" else "long"
            yield (f"{kind} s = 1; int a = {family}_xchg{order}({word}, 1) * 10 + {family}_cmpxchg{order}({word}, 1, 2);"
                   f" int b = {family}_try_cmpxchg{order}({word}, &s, 3) * 10 + s; int c = {family}_try_cmpxchg{order}({word}, &s, 3);", (1, 2, 1))
        yield (f"{family}_set({word}, 2); int a = {family}_dec_and_test({word}) * 10 + {family}_dec_and_test({word});"
               f" int b = {family}_sub_and_test(1, {word}) * 10 + {family}_inc_and_test({word}); int c = {family}_add_negative(-3, {word});", (1, 1, 1))
        yield (f"int a = {family}_add_unless({word}, 5, 0) * 10 + {family}_add_unless({word}, 5, 1); int b = {family}_fetch_add_unless({word}, 2, 5)"
               f" * 10 + {family}_read({word}); int c = {family}_inc_not_zero({word});", (1, 55, 1))
        yield (f"int a = {family}_inc_not_zero({word}) * 10 - {family}_dec_if_positive({word}); int b = {family}_dec_unless_positive({word}) * 10 +"
               f" {family}_inc_unless_negative({word}); {family}_set({word}, 3); int c = {family}_dec_if_positive({word}) * 10 +"
               f" {family}_dec_unless_positive({word}) + {family}_inc_unless_negative({word});", (1, 10, 21))


CASES += list(_families())
