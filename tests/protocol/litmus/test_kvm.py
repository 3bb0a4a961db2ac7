"""Functions as KVM has them: struct kvm and struct kvm_tdx, what calls go through, pages, PAMT's get and put; pasted, not edited."""

import pytest

from harness.engines.explore import search
from harness.errors import UsageError
from harness.experiment import litmus
from harness.memory.layout import MMU_NONPRESENT
from harness.protocol.flows.flow import FROZEN_SPTE, MMU_PRESENT
from harness.protocol.litmus import kvm, preprocess
from kernels.words import signed


def found(text: str):
    return search.run(litmus.parse(text, "t"))


def outcomes(text: str) -> set[tuple[str, ...]]:
    return {ending.words for ending in found(text).endings}


REMOVAL = """C removal
{ module = 1.5.24; page 3 = MAPPED; }
static void track(struct kvm *kvm)
{
	struct kvm_tdx *kvm_tdx = to_kvm_tdx(kvm);
	u64 err;

	if (unlikely(kvm_tdx->state != TD_STATE_RUNNABLE))
		return;
	lockdep_assert_held_write(&kvm->mmu_lock);
	err = tdh_do_no_vcpus(tdh_mem_track, kvm, &kvm_tdx->td);
	TDX_BUG_ON(err, TDH_MEM_TRACK, kvm);
	kvm_make_all_cpus_request(kvm, KVM_REQ_OUTSIDE_GUEST_MODE);
}
static int remove(struct kvm *kvm, gfn_t gfn, enum pg_level level, u64 old_spte)
{
	struct kvm_tdx *kvm_tdx = to_kvm_tdx(kvm);
	struct page *page = pfn_to_page(spte_to_pfn(old_spte));
	u64 err, entry, level_state;

	if (KVM_BUG_ON(!is_hkid_assigned(kvm_tdx) || level != PG_LEVEL_4K, kvm))
		return -EIO;
	err = tdh_do_no_vcpus(tdh_mem_range_block, kvm, &kvm_tdx->td, gfn_to_gpa(gfn), level, &entry, &level_state);
	if (TDX_BUG_ON_2(err, TDH_MEM_RANGE_BLOCK, entry, level_state, kvm))
		return -EIO;
	track(kvm);
	err = tdh_do_no_vcpus(tdh_mem_page_remove, kvm, &kvm_tdx->td, gfn_to_gpa(gfn), level, &entry, &level_state);
	if (TDX_BUG_ON_2(err, TDH_MEM_PAGE_REMOVE, entry, level_state, kvm))
		return -EIO;
	err = tdh_phymem_page_wbinvd_hkid((u16)kvm_tdx->hkid, page);
	tdx_quirk_reset_paddr(PFN_PHYS(page), PAGE_SIZE);
	return err ? -EIO : 0;
}
P0(struct kvm *kvm)
{
	int ret;

	write_lock(&kvm->mmu_lock);
	ret = remove(kvm, 3, PG_LEVEL_4K, PFN_PHYS(3) | SPTE_MMU_PRESENT_MASK);
	write_unlock(&kvm->mmu_lock);
}
locations [0:ret; sept[3]; kvm.state]
forall (bugged=0)
"""


def test_a_removal_of_linux_7_runs_as_it_stands():
    ended = found(REMOVAL)
    assert {ending.words for ending in ended.endings} == {("0", "0", str(kvm.RUNNABLE), "FREE")} and not ended.violations


def test_it_wants_mmu_lock_for_write():
    assert set(found(REMOVAL.replace("write_lock", "read_lock").replace("write_unlock", "read_unlock")).violations) == {"lockdep"}


def test_a_td_that_is_not_runnable_is_not_tracked():
    assert {words[-1] for words in outcomes(REMOVAL.replace("page 3 = MAPPED;", "page 3 = MAPPED; struct kvm kvm = {.state = 1};"))} != {"FREE"}


def test_words_of_a_struct_have_its_fields_names():
    test = litmus.parse(REMOVAL, "t")
    assert set(test.names_of_addresses.values()) >= {"kvm.mmu_lock", "kvm.state"}
    assert test.layout.name_of(test.at("kvm", 0)) in ("kvm.mmu_lock", "kvm.state")


FIELDS = """C t
{ page 3 = MAPPED; }
static void stop(struct kvm *kvm) { struct kvm_tdx *kvm_tdx = to_kvm_tdx(kvm); WRITE_ONCE(kvm_tdx->wait_for_sept_zap, true); }
P0(struct kvm *kvm) { u64 err; stop(kvm); err = tdh_mem_track(td); }
P1(struct kvm *kvm) { int r = READ_ONCE(to_kvm_tdx(kvm)->wait_for_sept_zap); }
locations [1:r; wait_for_sept_zap]
forall (true)
"""


def test_the_bar_of_entry_is_the_vms_own_word():
    """The one at which tdh_do_no_vcpus and KVM's flows look."""
    assert outcomes(FIELDS) == {("0", "1"), ("1", "1")}
    test = litmus.parse(FIELDS, "t")
    assert test.at("wait_for_sept_zap") == test.layout.at("wait_for_sept_zap")


def test_a_file_that_declares_struct_kvm_has_its_own():
    text = "C t\n{ }\nstruct kvm { int mine; };\nP0(struct kvm *kvm) { kvm->mine = 4; }\nlocations [kvm.mine]\nforall (true)\n"
    assert outcomes(text) == {("4",)}
    with pytest.raises(UsageError, match=r"t:4:23: `mmu_lock`: struct kvm has the fields mine"):
        assert litmus.parse(text.replace("kvm->mine", "kvm->mmu_lock"), "t").program


def test_fields_that_it_has_not_are_named():
    with pytest.raises(UsageError, match=r"t:3:23: `nowhere`: struct kvm has the fields mmu_lock"):
        assert litmus.parse("C t\n{ }\nP0(struct kvm *kvm) { kvm->nowhere = 1; read_lock(&kvm->mmu_lock); }\nforall (true)\n", "t").program


SPTE = """C t
{ page 3 = FREE; u64 spte = 0x8000000000000000; }
static int tdx_sept_set_private_spte(struct kvm *kvm, gfn_t gfn, enum pg_level level, u64 spte)
{
	u64 entry, state, err = tdh_mem_page_aug(&to_kvm_tdx(kvm)->td, gfn_to_gpa(gfn), level, spte_to_pfn(spte), &entry, &state);

	return tdx_operand_busy(err) ? -EBUSY : err ? -EIO : 0;
}
static int __must_check present(struct kvm *kvm, tdp_ptep_t sptep, gfn_t gfn, u64 *old, u64 new, int level)
{
	int ret;

	if (!try_cmpxchg64(rcu_dereference(sptep), old, FROZEN_SPTE))
		return -EBUSY;
	ret = static_call(kvm_x86_set_external_spte)(kvm, gfn, level, new);
	if (!ret)
		ret = kvm_x86_call(link_external_spt)(kvm, gfn, level, get_external_spt(gfn, new, level));
	__kvm_tdp_mmu_write_spte(sptep, ret ? *old : new);
	return ret;
}
P0(struct kvm *kvm, u64 *spte)
{
	u64 old = SHADOW_NONPRESENT_VALUE;
	int ret = present(kvm, spte, 3, &old, 0x3807, PG_LEVEL_4K);
}
locations [0:ret; spte; sept[3]]
forall (true)
"""


def test_a_mirror_entry_is_frozen_around_the_call_of_kvm_x86_ops():
    assert outcomes(SPTE) == {("0", "PENDING", str(0x3807))}
    assert outcomes(SPTE.replace("page 3 = FREE", "page 3 = MAPPED")) == {("-5", "MAPPED", str(-1 << 63))}


PAMT = """C t
{ module = 1.5.24; dynamic_pamt = true; pairs = false; }
static atomic_t ref;
#define tdx_find_pamt_refcount(pfn) (&ref)
static DEFINE_SPINLOCK(pamt_lock);
static int get(kvm_pfn_t pfn)
{
	struct page *pamt_pages[TDX_DPAMT_ENTRY_PAGE_CNT];
	atomic_t *pamt_refcount = tdx_find_pamt_refcount(pfn);
	u64 status;
	int ret = alloc_pamt_array(pamt_pages);

	scoped_guard(spinlock, &pamt_lock) {
		if (atomic_read(pamt_refcount)) {
			atomic_inc(pamt_refcount);
			goto out;
		}
		status = tdh_phymem_pamt_add(pfn, pamt_pages);
		if (WARN_ON_ONCE(status != TDX_SUCCESS))
			ret = -EIO;
		else
			atomic_inc(pamt_refcount);
	}
	return ret;
out:
	free_pamt_array(pamt_pages);
	return ret;
}
P0() { int ret = get(3); }
P1() { struct page *page = pfn_to_page(4); int ret = get(page_to_phys(page) >> PAGE_SHIFT); }
locations [0:ret; 1:ret; ref]
forall (true)
"""


def test_a_get_of_dynamic_pamt_runs_as_it_stands():
    ended = found(PAMT)
    assert {ending.words for ending in ended.endings} == {("0", "0", "2")} and not ended.violations


def test_an_array_among_the_locals_can_only_be_passed_on():
    with pytest.raises(UsageError, match="t:11:13: points to no shared word; arrays are shared, one among the locals can only be passed on"):
        assert litmus.parse(PAMT.replace("int ret = alloc_pamt_array(pamt_pages)", "int ret = (pamt_pages[0] = 0)"), "t").program


def test_an_operand_is_named_beside_its_status():
    text = ("C t\n{ page 3 = MAPPED; }\nP0() { u64 err = tdh_mem_page_aug(td, 0x3000, 0, page);\n"
            "int a = err == (TDX_EPT_ENTRY_STATE_INCORRECT | TDX_OPERAND_ID_RCX), b = TDX_OPERAND_ID_SEPT; }\nlocations [0:a; 0:b]\nforall (true)\n")
    assert outcomes(text) == {("1", "146")}


def test_the_headers_agree_with_the_struct():
    """And with the mirror entries of KVM's own flows."""
    assert {"".join(token.value for token in preprocess._headers()["TD_STATE_RUNNABLE"].value)} == {str(kvm.RUNNABLE)}
    text = "C t\n{ }\nP0() { u64 a = FROZEN_SPTE, b = SPTE_MMU_PRESENT_MASK, c = SHADOW_NONPRESENT_VALUE; }\nlocations [0:a; 0:b; 0:c]\nforall (true)\n"
    assert outcomes(text) == {tuple(str(signed(word)) for word in (FROZEN_SPTE, MMU_PRESENT, MMU_NONPRESENT))}


def test_a_struct_that_calls_only_fill_may_be_among_the_locals():
    text = ("C t\n{ module = 1.5.05; page 3 = BLOCKED; }\nP0(struct kvm *kvm) { struct tdx_module_args out; u64 err;\n"
            "do { err = tdh_mem_range_unblock(to_kvm_tdx(kvm)->tdr_pa, 0x3000, 0, &out); } while (err == (TDX_TLB_TRACKING_NOT_DONE | TDX_OPERAND_ID_SEPT)); }\n"
            "locations [0:err; sept[3]]\nforall (true)\n")
    assert outcomes(text) == {("0", "MAPPED")}
    with pytest.raises(UsageError, match="^t:3:61: `out`: an array or a struct among the locals can be passed on, not looked into"):
        assert litmus.parse(text.replace("u64 err;", "u64 err = out.rcx;"), "t").program


def test_a_function_of_the_file_goes_before_a_macro_of_the_headers():
    """Whoever pastes is_td() with its body means that one."""
    text = ("C t\n{ }\nstatic inline bool is_td(struct kvm *kvm) { return READ_ONCE(kvm->mine) == 3; }\nstruct kvm { int mine; };\n"
            "static __always_inline u64\nspte_to_pfn(u64 spte)\n{\n\treturn spte + 1;\n}\n"
            "P0(struct kvm *kvm, spinlock_t *l)\n{\n\tint a = is_td(kvm), b = spte_to_pfn(1), c = 0;\n\tif (a) c = 1;\n\telse scoped_guard(spinlock, l) { c = 2; }\n}\n"
            "locations [0:a; 0:b; 0:c]\nforall (true)\n")
    assert outcomes(text) == {("0", "2", "2")}
