/* The yardstick of `make bench`: the same locked instructions on the same words as
 * tdh_mem_page_aug and one entry-lock pair make in the harness, written as straight-line C.
 *
 * Every function does its work `count` times and undoes it with plain stores, so that the next time
 * finds the same words.  It returns how often something was not as expected, which must be 0.
 */
#include <stdint.h>

#define TDEL (1ull << 11)
#define TDHP (1ull << 52)
#define HPA_MASK 0x000FFFFFFFFFF000ull
#define STATE_MASK 0x01E00000000002C0ull
#define SEQ __ATOMIC_SEQ_CST

static inline uint64_t load64(const void *p) { return __atomic_load_n((const uint64_t *)p, __ATOMIC_ACQUIRE); }
static inline uint16_t load16(const void *p) { return __atomic_load_n((const uint16_t *)p, __ATOMIC_ACQUIRE); }
static inline uint8_t load8(const void *p) { return __atomic_load_n((const uint8_t *)p, __ATOMIC_ACQUIRE); }
static inline void store64(void *p, uint64_t v) { __atomic_store_n((uint64_t *)p, v, __ATOMIC_RELEASE); }
static inline void store8(void *p, uint8_t v) { __atomic_store_n((uint8_t *)p, v, __ATOMIC_RELEASE); }
static inline uint16_t add16(void *p, int v) { return __atomic_fetch_add((uint16_t *)p, (uint16_t)v, SEQ); }

/* Bits of an entry, by compare-and-swap of the whole word or by one locked bit instruction. */
static inline uint64_t cas_bits(uint64_t *p, uint64_t clear, uint64_t set)
{
    uint64_t old = load64(p);
    while (!__atomic_compare_exchange_n(p, &old, (old & ~clear) | set, 0, SEQ, SEQ))
        ;
    return old;
}

static inline uint64_t set_bit(uint64_t *p, uint64_t bit, int bts)
{
    return bts ? __atomic_fetch_or(p, bit, SEQ) & bit : cas_bits(p, 0, bit) & bit;
}

static inline uint64_t reset_bit(uint64_t *p, uint64_t bit, int bts)
{
    return bts ? __atomic_fetch_and(p, ~bit, SEQ) & bit : cas_bits(p, bit, 0) & bit;
}

static inline __attribute__((always_inline)) long pairs(uint64_t *entry, long count, int bts)
{
    long wrong = 0;
    for (long i = 0; i < count; i++) {
        wrong += set_bit(entry, TDEL, bts) != 0;
        reset_bit(entry, TDHP, bts);
        wrong += (load64(entry) & TDEL) == 0;
        reset_bit(entry, TDEL, bts);
    }
    return wrong;
}

long pairs_cas(uint64_t *entry, long count) { return pairs(entry, count, 0); }
long pairs_bts(uint64_t *entry, long count) { return pairs(entry, count, 1); }

/* sharex_hp: 0 taken, 1 not */
static inline int hp_shared(void *word)
{
    uint16_t old = add16(word, 4);
    if (old & 1)
        return 1;
    if (old >= 0xFFFC)
        __builtin_trap();
    if (old & 2)
        __atomic_fetch_and((uint16_t *)word, (uint16_t)~2, SEQ);
    return 0;
}

static inline void hp_shared_drop(void *word)
{
    uint16_t old = add16(word, -4);
    if ((old & 1) || old < 4)
        __builtin_trap();
}

struct words {
    char *tdr_1g, *tdr_2m, *tdr_4k, *tdr_state, *op_state_lock, *op_state, *tree, *entry_pdpt, *entry_pd, *entry;
    char *page_1g, *page_2m, *page_4k, *chldcnt;
    uint64_t hpa, free_word, pending_word, tdr_ready;
};

static inline __attribute__((always_inline)) long one_aug(const struct words *w, int bts)
{
    uint16_t old, free_lock = 0;
    uint64_t copy;

    if (hp_shared(w->tdr_1g) || hp_shared(w->tdr_2m) || hp_shared(w->tdr_4k) || load8(w->tdr_4k + 2) != 4)
        return 1;
    if (load64(w->tdr_state) != w->tdr_ready || hp_shared(w->op_state_lock) || !(0x20E >> load64(w->op_state) & 1))
        return 2;
    old = add16(w->tree, 2);
    if (old & 1)
        return 3;
    if (old == 0xFFFE)
        __builtin_trap();
    copy = load64(w->entry_pdpt);
    if (!(copy & 7) || (copy & 0x80))
        return 4;
    copy = load64(w->entry_pd);
    if (!(copy & 7) || (copy & 0x80))
        return 5;
    copy = load64(w->entry);
    if (set_bit((uint64_t *)w->entry, TDEL, bts))
        return 6;
    reset_bit((uint64_t *)w->entry, TDHP, bts);
    copy = load64(w->entry);
    if ((copy & STATE_MASK) != (w->free_word & STATE_MASK))
        return 7;
    if (hp_shared(w->page_1g) || load8(w->page_1g + 2) != 0 || hp_shared(w->page_2m) || load8(w->page_2m + 2) != 0)
        return 8;
    if (!__atomic_compare_exchange_n((uint16_t *)w->page_4k, &free_lock, 1, 0, SEQ, SEQ) || load8(w->page_4k + 2) != 0)
        return 9;
    store64(w->entry, w->pending_word | (w->hpa & HPA_MASK));
    __atomic_fetch_add((uint64_t *)w->chldcnt, 1, SEQ);
    store8(w->page_4k + 2, 3);
    store64(w->page_4k + 8, 0);
    if (!(load16(w->page_4k) & 1))
        __builtin_trap();
    __atomic_fetch_and((uint16_t *)w->page_4k, 2, SEQ);
    hp_shared_drop(w->page_2m);
    hp_shared_drop(w->page_1g);
    old = add16(w->tree, -2);
    if ((old & 1) || old < 2)
        __builtin_trap();
    hp_shared_drop(w->op_state_lock);
    hp_shared_drop(w->tdr_4k);
    hp_shared_drop(w->tdr_2m);
    hp_shared_drop(w->tdr_1g);
    return 0;
}

static inline __attribute__((always_inline)) long augs(const struct words *w, long count, int bts)
{
    long wrong = 0;
    for (long i = 0; i < count; i++) {
        wrong += one_aug(w, bts) != 0;
        store64(w->entry, w->free_word);
        store8(w->page_4k + 2, 0);
    }
    return wrong;
}

long augs_cas(const struct words *w, long count) { return augs(w, count, 0); }
long augs_bts(const struct words *w, long count) { return augs(w, count, 1); }
