/* The kernel's functions as this machine's compiler has them: what tests/protocol/test_c_constructs.py holds ours against. */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
typedef uint8_t u8; typedef uint16_t u16; typedef uint32_t u32; typedef uint64_t u64;
typedef int8_t s8; typedef int16_t s16; typedef int32_t s32; typedef int64_t s64;
typedef unsigned long gfn_t, gpa_t;
typedef struct { int counter; } atomic_t;
typedef struct { long counter; } atomic64_t, atomic_long_t;
typedef struct { int counter; } refcount_t;
typedef struct { int held; } spinlock_t, raw_spinlock_t;
typedef struct { int writer, readers; } rwlock_t;
struct mutex { int held; };
struct rw_semaphore { int writer, readers; };
struct srcu_struct { int depth; };
#define READ_ONCE(x) (*(volatile __typeof__(x) *)&(x))
#define WRITE_ONCE(x, v) (*(volatile __typeof__(x) *)&(x) = (v))
#define smp_load_acquire(p) __atomic_load_n(p, __ATOMIC_ACQUIRE)
#define smp_store_release(p, v) __atomic_store_n(p, v, __ATOMIC_RELEASE)
#define smp_store_mb(x, v) __atomic_store_n(&(x), v, __ATOMIC_SEQ_CST)
#define rcu_dereference(x) READ_ONCE(x)
#define rcu_assign_pointer(x, v) WRITE_ONCE(x, v)
#define smp_cond_load_acquire(p, cond) ({ __typeof__(*(p)) VAL; do VAL = READ_ONCE(*(p)); while (!(cond)); VAL; })
#define smp_mb() __atomic_thread_fence(__ATOMIC_SEQ_CST)
#define smp_rmb() smp_mb()
#define smp_wmb() smp_mb()
#define barrier() smp_mb()
#define mb() smp_mb()
#define cpu_relax() smp_mb()
#define smp_mb__before_atomic() smp_mb()
#define smp_mb__after_atomic() smp_mb()
#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)
#define BIT(n) (1UL << (n))
#define min(a, b) ({ __auto_type _a = (a); __auto_type _b = (b); _a < _b ? _a : _b; })
#define max(a, b) ({ __auto_type _a = (a); __auto_type _b = (b); _a > _b ? _a : _b; })
#define container_of(p, t, m) ((t *)((char *)(p) - __builtin_offsetof(t, m)))
#define BUG() __builtin_trap()
#define BUILD_BUG_ON(c) _Static_assert(!(c), "")
#define BUILD_BUG_ON_MSG(c, message) _Static_assert(!(c), message)
#define static_assert(c, ...) _Static_assert(c, "")
#define abs(x) __builtin_abs(x)
#define swap(a, b) do { __auto_type _s = (a); (a) = (b); (b) = _s; } while (0)
#define IS_ERR_VALUE(x) ((unsigned long)(x) >= (unsigned long)-4095)
#define EBUSY 16
#define EAGAIN 11

/* atomics: each width by the compiler's own built-ins */
#define ORDERS(M, ...) M(__VA_ARGS__, ) M(__VA_ARGS__, _relaxed) M(__VA_ARGS__, _acquire) M(__VA_ARGS__, _release)
#define SC __ATOMIC_SEQ_CST
#define FETCH(f, t, i, n, b, o) static inline i f##_fetch_##n##o(i a, t *v) { return __atomic_fetch_##b(&v->counter, a, SC); }
#define RETURN(f, t, i, n, b, o) static inline i f##_##n##_return##o(i a, t *v) { return __atomic_##b##_fetch(&v->counter, a, SC); }
#define XCHG(f, t, i, o) \
	static inline i f##_xchg##o(t *v, i n) { return __atomic_exchange_n(&v->counter, n, SC); } \
	static inline i f##_cmpxchg##o(t *v, i old, i n) { __atomic_compare_exchange_n(&v->counter, &old, n, 0, SC, SC); return old; } \
	static inline bool f##_try_cmpxchg##o(t *v, i *old, i n) { return __atomic_compare_exchange_n(&v->counter, old, n, 0, SC, SC); } \
	static inline i f##_fetch_inc##o(t *v) { return __atomic_fetch_add(&v->counter, 1, SC); } \
	static inline i f##_fetch_dec##o(t *v) { return __atomic_fetch_sub(&v->counter, 1, SC); } \
	static inline i f##_inc_return##o(t *v) { return __atomic_add_fetch(&v->counter, 1, SC); } \
	static inline i f##_dec_return##o(t *v) { return __atomic_sub_fetch(&v->counter, 1, SC); } \
	static inline i f##_fetch_andnot##o(i a, t *v) { return __atomic_fetch_and(&v->counter, ~a, SC); }
#define FAMILY(f, t, i) \
	ORDERS(FETCH, f, t, i, add, add) ORDERS(FETCH, f, t, i, sub, sub) ORDERS(FETCH, f, t, i, and, and) ORDERS(FETCH, f, t, i, or, or) \
	ORDERS(FETCH, f, t, i, xor, xor) ORDERS(RETURN, f, t, i, add, add) ORDERS(RETURN, f, t, i, sub, sub) ORDERS(XCHG, f, t, i) \
	static inline i f##_read(t *v) { return __atomic_load_n(&v->counter, SC); } \
	static inline i f##_read_acquire(t *v) { return f##_read(v); } \
	static inline void f##_set(t *v, i n) { __atomic_store_n(&v->counter, n, SC); } \
	static inline void f##_set_release(t *v, i n) { f##_set(v, n); } \
	static inline void f##_add(i a, t *v) { f##_fetch_add(a, v); } static inline void f##_sub(i a, t *v) { f##_fetch_sub(a, v); } \
	static inline void f##_inc(t *v) { f##_fetch_add(1, v); } static inline void f##_dec(t *v) { f##_fetch_sub(1, v); } \
	static inline void f##_and(i a, t *v) { f##_fetch_and(a, v); } static inline void f##_or(i a, t *v) { f##_fetch_or(a, v); } \
	static inline void f##_xor(i a, t *v) { f##_fetch_xor(a, v); } static inline void f##_andnot(i a, t *v) { f##_fetch_and(~a, v); } \
	static inline bool f##_sub_and_test(i a, t *v) { return f##_sub_return(a, v) == 0; } \
	static inline bool f##_dec_and_test(t *v) { return f##_sub_return(1, v) == 0; } \
	static inline bool f##_inc_and_test(t *v) { return f##_add_return(1, v) == 0; } \
	static inline bool f##_add_negative(i a, t *v) { return f##_add_return(a, v) < 0; } \
	static inline i f##_fetch_add_unless(t *v, i a, i u) { i old = f##_read(v); if (old != u) f##_set(v, old + a); return old; } \
	static inline bool f##_add_unless(t *v, i a, i u) { return f##_fetch_add_unless(v, a, u) != u; } \
	static inline bool f##_inc_not_zero(t *v) { return f##_add_unless(v, 1, 0); } \
	static inline i f##_dec_if_positive(t *v) { i d = f##_read(v) - 1; if (d >= 0) f##_set(v, d); return d; } \
	static inline bool f##_dec_unless_positive(t *v) { i old = f##_read(v); if (old > 0) return false; f##_set(v, old - 1); return true; } \
	static inline bool f##_inc_unless_negative(t *v) { i old = f##_read(v); if (old < 0) return false; f##_set(v, old + 1); return true; }
FAMILY(atomic, atomic_t, int)
FAMILY(atomic64, atomic64_t, long)
FAMILY(atomic_long, atomic_long_t, long)
#define SWAP(n, o) n##o
#define xchg(p, v) __atomic_exchange_n(p, v, SC)
#define xchg_relaxed xchg
#define xchg_acquire xchg
#define xchg_release xchg
#define cmpxchg(p, old, n) ({ __typeof__(*(p)) _o = (old); __atomic_compare_exchange_n(p, &_o, n, 0, SC, SC); _o; })
#define cmpxchg_relaxed cmpxchg
#define cmpxchg64 cmpxchg
#define try_cmpxchg(p, old, n) __atomic_compare_exchange_n(p, old, n, 0, SC, SC)
#define try_cmpxchg64 try_cmpxchg
#define try_cmpxchg_acquire try_cmpxchg
#define refcount_set(r, n) ((r)->counter = (n))
#define refcount_read(r) ((r)->counter)
#define refcount_inc(r) ((void)(r)->counter++)
#define refcount_add(n, r) ((void)((r)->counter += (n)))
#define refcount_dec(r) ((void)(r)->counter--)
#define refcount_dec_and_test(r) (--(r)->counter == 0)
#define refcount_sub_and_test(n, r) (((r)->counter -= (n)) == 0)
#define refcount_inc_not_zero(r) ((r)->counter ? (r)->counter++, 1 : 0)
#define refcount_dec_not_one(r) ((r)->counter == 1 ? 0 : ((r)->counter--, 1))

/* bits */
#define set_bit(n, p) ((void)(*(p) |= BIT(n)))
#define clear_bit(n, p) ((void)(*(p) &= ~BIT(n)))
#define change_bit(n, p) ((void)(*(p) ^= BIT(n)))
#define test_bit(n, p) (!!(*(p) & BIT(n)))
#define test_bit_acquire test_bit
#define CHANGED(n, p, op) ({ bool _was = test_bit(n, p); op(n, p); _was; })
#define test_and_set_bit(n, p) CHANGED(n, p, set_bit)
#define test_and_clear_bit(n, p) CHANGED(n, p, clear_bit)
#define test_and_change_bit(n, p) CHANGED(n, p, change_bit)
#define test_and_set_bit_lock test_and_set_bit
#define clear_bit_unlock clear_bit
#define __set_bit set_bit
#define __clear_bit clear_bit
#define __clear_bit_unlock clear_bit
#define __test_and_set_bit test_and_set_bit
#define __test_and_clear_bit test_and_clear_bit

/* locks of one process: what they answer, and who holds them */
#define LOCK1(l) ((void)((l)->held = 1))
#define UNLOCK1(l) ((void)((l)->held = 0))
#define TRY1(l) ((l)->held ? 0 : ((l)->held = 1))
#define spin_lock LOCK1
#define spin_unlock UNLOCK1
#define spin_lock_irq LOCK1
#define spin_unlock_irq UNLOCK1
#define spin_lock_bh LOCK1
#define spin_unlock_bh UNLOCK1
#define spin_lock_nested(l, n) LOCK1(l)
#define spin_lock_irqsave(l, f) ((f) = 0, LOCK1(l))
#define spin_unlock_irqrestore(l, f) ((void)(f), UNLOCK1(l))
#define spin_trylock TRY1
#define spin_is_locked(l) ((l)->held)
#define raw_spin_lock LOCK1
#define raw_spin_unlock UNLOCK1
#define raw_spin_trylock TRY1
#define mutex_lock LOCK1
#define mutex_unlock UNLOCK1
#define mutex_trylock TRY1
#define mutex_is_locked(l) ((l)->held)
#define mutex_lock_interruptible(l) (LOCK1(l), 0)
#define read_lock(l) ((void)(l)->readers++)
#define read_unlock(l) ((void)(l)->readers--)
#define read_trylock(l) ((l)->writer ? 0 : ((l)->readers++, 1))
#define write_lock(l) ((void)((l)->writer = 1))
#define write_unlock(l) ((void)((l)->writer = 0))
#define write_trylock(l) ((l)->writer || (l)->readers ? 0 : ((l)->writer = 1))
#define read_lock_irq read_lock
#define read_unlock_irq read_unlock
#define write_lock_irqsave(l, f) ((f) = 0, write_lock(l))
#define write_unlock_irqrestore(l, f) ((void)(f), write_unlock(l))
#define read_lock_irqsave(l, f) ((f) = 0, read_lock(l))
#define read_unlock_irqrestore(l, f) ((void)(f), read_unlock(l))
#define write_lock_irq write_lock
#define write_unlock_irq write_unlock
#define down_read read_lock
#define up_read read_unlock
#define down_write write_lock
#define up_write write_unlock
#define down_read_trylock read_trylock
#define down_write_trylock write_trylock
#define downgrade_write(l) ((l)->writer = 0, (l)->readers++)
#define DEC_AND(v, take) ({ int _last = --(v)->counter == 0; if (_last) take; _last; })
#define atomic_dec_and_lock(v, l) DEC_AND(v, LOCK1(l))
#define refcount_dec_and_lock(v, l) DEC_AND(v, LOCK1(l))
#define atomic_dec_and_lock_irqsave(v, l, f) ((f) = 0, DEC_AND(v, LOCK1(l)))
#define refcount_dec_and_mutex_lock(v, l) DEC_AND(v, LOCK1(l))
#define atomic_dec_and_mutex_lock(v, l) DEC_AND(v, LOCK1(l))
static inline void let_go1(void *l) { ((spinlock_t *)(*(void **)l))->held = 0; }
static inline void let_go_reader(void *l) { ((rwlock_t *)(*(void **)l))->readers--; }
static inline void let_go_writer(void *l) { ((rwlock_t *)(*(void **)l))->writer = 0; }
#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)
#define GUARD_spinlock(l) void *JOIN(_g, __COUNTER__) __attribute__((cleanup(let_go1))) = (LOCK1(l), (void *)(l))
#define GUARD_mutex GUARD_spinlock
#define GUARD_raw_spinlock GUARD_spinlock
#define GUARD_spinlock_irqsave GUARD_spinlock
#define GUARD_read_lock(l) void *JOIN(_g, __COUNTER__) __attribute__((cleanup(let_go_reader))) = (read_lock(l), (void *)(l))
#define GUARD_write_lock(l) void *JOIN(_g, __COUNTER__) __attribute__((cleanup(let_go_writer))) = (write_lock(l), (void *)(l))
#define guard(kind) GUARD_##kind
#define scoped_guard(kind, l) for (int _once = 1; _once;) for (GUARD_##kind(l); _once; _once = 0)
#define rcu_read_lock() ((void)0)
#define rcu_read_unlock() ((void)0)
#define synchronize_rcu() ((void)0)
#define srcu_read_lock(s) ((s)->depth++)
#define srcu_read_unlock(s, i) ((void)(i), (void)(s)->depth--)
#define synchronize_srcu(s) ((void)0)
#define srcu_down_read(s) ((s)->depth++)
#define srcu_up_read(s, i) ((void)(i), (void)(s)->depth--)
#define lockdep_assert_held(l) ((void)0)
#define lockdep_assert_not_held(l) ((void)0)
#define lockdep_assert_irqs_disabled() ((void)0)
#define local_irq_disable() ((void)(irqs_off = 1))
#define local_irq_enable() ((void)(irqs_off = 0))
#define local_irq_save(f) ((f) = 0)
#define local_irq_restore(f) ((void)(f))
#define cond_resched() ((void)0)
static bool irqs_off;
#define irqs_disabled() irqs_off
#define lockdep_assert_irqs_enabled() ((void)0)
#define lockdep_assert_held_read(l) ((void)0)
#define lockdep_assert_held_write(l) ((void)0)
#define assert_spin_locked(l) ((void)0)
#define preempt_disable() ((void)0)
#define preempt_enable() ((void)0)
#define BIT_ULL BIT
#define atomic64_dec_and_lock(v, l) DEC_AND(v, LOCK1(l))
#define WARN_ON_ONCE(c) (!!(c))
#define WARN_ON(c) (!!(c))
#define WARN(c, ...) (!!(c))
#define BUG_ON(c) ((void)(c))
#define pr_warn(...) ((void)0)
