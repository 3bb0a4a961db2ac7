/* What the kernel's headers would bring into a pasted function, as macros: only #define lines, read by preprocess.py.

   A macro may use the functions of primitives.py, tdx.py and assertions.py, which are no macros here.  */

/* include/linux/compiler_attributes.h, compiler_types.h, init.h, cache.h, export.h: nothing that a test shows */
#define __must_check
#define __always_inline
#define __maybe_unused
#define __always_unused
#define __used
#define __cold
#define __weak
#define __pure
#define __packed
#define __deprecated
#define noinline
#define noinline_for_stack
#define notrace
#define asmlinkage
#define fallthrough
#define __init
#define __exit
#define __initdata
#define __ro_after_init
#define __read_mostly
#define __percpu
#define __user
#define __iomem
#define __rcu
#define __force
#define __private
#define __cacheline_aligned
#define __cacheline_aligned_in_smp
#define ____cacheline_aligned
#define ____cacheline_aligned_in_smp
#define __aligned(n)
#define __acquires(l)
#define __releases(l)
#define __must_hold(l)
#define __cond_acquires(...)
#define __acquires_shared(l)
#define __releases_shared(l)
#define __printf(...)
#define __counted_by(n)
#define __guarded_by(l)
#define __attribute__(x)
#define EXPORT_SYMBOL(name)
#define EXPORT_SYMBOL_GPL(name)
#define EXPORT_SYMBOL_FOR_KVM(name)
#define EXPORT_SYMBOL_FOR_KVM_INTERNAL(name)
#define EXPORT_SYMBOL_FOR_MODULES(name, of)
#define EXPORT_SYMBOL_NS_GPL(name, of)

/* include/linux/spinlock_types.h, rwlock_types.h, mutex.h, rwsem.h, srcutree.h */
#define DEFINE_SPINLOCK(name) spinlock_t name
#define DEFINE_RAW_SPINLOCK(name) raw_spinlock_t name
#define DEFINE_RWLOCK(name) rwlock_t name
#define DEFINE_MUTEX(name) struct mutex name
#define DECLARE_RWSEM(name) struct rw_semaphore name
#define DEFINE_SRCU(name) struct srcu_struct name
#define DEFINE_STATIC_SRCU(name) static struct srcu_struct name

/* include/linux/cleanup.h: statements.py knows the `if` */
#define scoped_guard(...) if (__guard__(__VA_ARGS__))

/* include/asm-generic/bug.h, include/linux/build_bug.h: _Static_assert is C's */
#define BUG() BUG_ON(1)
#define static_assert(claim, ...) _Static_assert(claim, "")

/* include/linux/container_of.h: expressions.py */
#define container_of(ptr, type, member) container_of(ptr, &((type *)0)->member)

/* include/linux/err.h; minmax.h: what is swapped has 64 bits at most */
#define IS_ERR_VALUE(x) ((u64)(x) >= (u64)-4095)
#define abs(x) ((x) < 0 ? -(x) : (x))
#define swap(a, b) do { u64 __swapped = (a); (a) = (b); (b) = __swapped; } while (0)

/* include/linux/minmax.h, align.h, math.h, bits.h */
#define min_t(type, a, b) min((type)(a), (type)(b))
#define max_t(type, a, b) max((type)(a), (type)(b))
#define min3(a, b, c) min(min(a, b), c)
#define max3(a, b, c) max(max(a, b), c)
#define clamp(v, lo, hi) min(max(v, lo), hi)
#define clamp_t(type, v, lo, hi) min_t(type, max_t(type, v, lo), hi)
#define ALIGN(x, a) (((x) + ((a) - 1)) & ~((u64)(a) - 1))
#define ALIGN_DOWN(x, a) ((x) & ~((u64)(a) - 1))
#define IS_ALIGNED(x, a) (((x) & ((u64)(a) - 1)) == 0)
#define DIV_ROUND_UP(n, d) (((n) + (d) - 1) / (d))
#define GENMASK_ULL(h, l) ((~0ULL << (l)) & (~0ULL >> (63 - (h))))
#define GENMASK(h, l) GENMASK_ULL(h, l)

/* arch/x86/include/asm/page_types.h, include/linux/pfn.h, sizes.h; a page's struct, its frame's number and the number of the
   guest page that it belongs to are one number here */
#define PAGE_SHIFT 12
#define PAGE_SIZE 4096UL
#define PMD_SIZE 0x200000UL
#define SZ_2M 0x200000
#define PFN_PHYS(pfn) ((u64)(pfn) << PAGE_SHIFT)
#define PHYS_PFN(pa) ((u64)(pa) >> PAGE_SHIFT)
#define pfn_to_page(pfn) (pfn)
#define page_to_phys(page) PFN_PHYS(page)
#define phys_to_page(pa) PHYS_PFN(pa)
#define is_error_noslot_pfn(pfn) 0
#define get_page(page)
#define put_page(page)

/* arch/x86/kvm/mmu/spte.h, paging_tmpl.h, mmu_internal.h; arch/x86/include/asm/vmx.h: bits of an SPTE in a mirror page table */
#define SPTE_MMU_PRESENT_MASK 0x800ULL
#define SHADOW_NONPRESENT_VALUE 0x8000000000000000ULL
#define FROZEN_SPTE (SHADOW_NONPRESENT_VALUE | 0x5a0ULL)
#define REMOVED_SPTE FROZEN_SPTE
#define VMX_EPT_RWX_MASK 7ULL
#define PT_PAGE_SIZE_MASK 0x80ULL
#define SPTE_BASE_ADDR_MASK 0x000ffffffffff000ULL
#define is_frozen_spte(spte) ((spte) == FROZEN_SPTE)
#define is_removed_spte(spte) ((spte) == REMOVED_SPTE)
#define is_shadow_present_pte(spte) (((spte) & SPTE_MMU_PRESENT_MASK) != 0)
#define is_large_pte(spte) (((spte) & PT_PAGE_SIZE_MASK) != 0)
#define is_last_spte(spte, level) ((level) == PG_LEVEL_4K || is_large_pte(spte))
#define spte_to_pfn(spte) (((spte) & SPTE_BASE_ADDR_MASK) >> PAGE_SHIFT)
#define __kvm_tdp_mmu_write_spte(sptep, spte) WRITE_ONCE(*(sptep), spte)
#define kvm_tdp_mmu_read_spte(sptep) READ_ONCE(*(sptep))
#define is_mirror_sptep(sptep) 1
#define is_mirror_sp(sp) 1

/* arch/x86/kvm/vmx/main.c, tdx.c: what KVM calls through kvm_x86_ops where the VM is a TD */
#define kvm_x86_call(name) kvm_x86_ ## name
#define static_call(name) name
#define kvm_x86_set_external_spte tdx_sept_set_private_spte
#define kvm_x86_remove_external_spte tdx_sept_remove_private_spte
#define kvm_x86_link_external_spt tdx_sept_link_private_spt
#define kvm_x86_free_external_spt tdx_sept_free_private_spt
#define get_external_spt(gfn, spte, level) ((void *)1)
#define tdx_sept_link_private_spt(kvm, gfn, level, spt) 0

/* arch/x86/kvm/vmx/tdx.h, tdx.c, arch/x86/virt/vmx/tdx/tdx.c: the TD of a test has its key and is past its finalization; what
   only clears a page or frees one is nothing */
#define TD_STATE_UNINITIALIZED 0
#define TD_STATE_INITIALIZED 1
#define TD_STATE_RUNNABLE 2
#define TDX_ERROR_SEPT_BUSY (TDX_OPERAND_BUSY | TDX_OPERAND_ID_SEPT)
#define is_hkid_assigned(kvm_tdx) 1
#define is_td(kvm) 1
#define tdx_quirk_reset_paddr(base, size)
#define tdx_quirk_reset_page(page)
#define tdx_clear_page(page)
#define tdx_unpin(kvm, page)
#define tdx_supports_dynamic_pamt(sysinfo) 1
#define tdx_hpa_range_not_free(err) IS_TDX_HPA_RANGE_NOT_FREE(err)
#define alloc_pamt_array(...) 0
#define free_pamt_array(...)
#define tdx_alloc_pamt_pages(...) 0
#define tdx_free_pamt_pages(...)
#define LIST_HEAD(name) u64 name = 0
#define TDX_DPAMT_ENTRY_PAGE_CNT 2
#define MAX_NR_DPAMT_ARGS 2
