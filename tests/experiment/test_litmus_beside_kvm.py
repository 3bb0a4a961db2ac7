"""C beside KVM's own flows: words that both name are one word."""

import pytest

from harness.engines.explore import search
from harness.errors import UsageError
from harness.experiment import litmus
from harness.results.litmus import judge

HELD = ("C t\n{ page 3 = FREE; policy = kick_on_busy; %s }\nP0() { fault(0x3000); }\n"
        "P1(%s)\n{\n\tu64 e;\n\n\twrite_lock(%s);\n\te = tdh_mem_range_block(td, 0x4000, 0, NULL, NULL);\n\twrite_unlock(%s);\n}\nexists (1:e=TDX_OPERAND_BUSY)\n")


@pytest.mark.parametrize("declared, parameter, lock", [("", "struct kvm *kvm", "&kvm->mmu_lock"), ("", "rwlock_t *mmu_lock", "mmu_lock"),
                                                       ("rwlock_t mmu_lock;", "rwlock_t *mmu_lock", "mmu_lock")])
def test_mmu_lock_keeps_a_fault_of_kvm_s_out(declared, parameter, lock):
    """It was another word than the one that the fault takes, so that its AUG made the BLOCK of who held it for write BUSY."""
    test = litmus.parse(HELD % (declared, parameter, lock, lock), "t")
    found = search.run(test)
    assert judge(test, found.endings).observation == "Never" and not found.violations


def test_another_lock_does_not():
    test = litmus.parse(HELD % ("", "rwlock_t *other", "other", "other"), "t")
    assert judge(test, search.run(test).endings).observation == "Sometimes"


DRAFT = """C t
{ page 3 = MAPPED; policy = kick_on_busy; }
P0() { fault(0x3000); }
P1(struct kvm *kvm, u64 mirror[512])
{
	u64 err = 0, *sptep = &mirror[%s];

	write_lock(&kvm->mmu_lock);
	if (is_shadow_present_pte(READ_ONCE(*sptep))) {
		%s;
		err = tdh_do_no_vcpus(tdh_mem_range_block, kvm, td, 0x3000, 0, NULL, NULL);
		if (!err) {
			tdh_do_no_vcpus(tdh_mem_track, kvm, td);
			kvm_make_all_cpus_request(kvm, KVM_REQ_OUTSIDE_GUEST_MODE);
			err = tdh_do_no_vcpus(tdh_mem_page_remove, kvm, td, 0x3000, 0, NULL, NULL);
		}
		KVM_BUG_ON(err, kvm);
		%s;
	}
	write_unlock(&kvm->mmu_lock);
}
exists (mirror[3]=PRESENT)
"""
FREEZE, CLEAR = "WRITE_ONCE(*sptep, FROZEN_SPTE)", "WRITE_ONCE(*sptep, SHADOW_NONPRESENT_VALUE)"


def test_a_draft_takes_a_page_away_beside_a_fault_of_kvm_s_with_kvm_s_mirror():
    test = litmus.parse(DRAFT % ("3", FREEZE, CLEAR), "t")
    found = search.run(test)
    assert judge(test, found.endings).observation == "Sometimes" and not found.violations       # touched before, or again behind
    assert {ending.words for ending in found.endings} == {("PRESENT",), ("NONPRESENT",)}


def test_a_draft_that_leaves_the_mirror_as_it_is_is_accused():
    found = search.run(litmus.parse(DRAFT % ("3", ";", ";"), "t"))
    assert set(found.violations) == {"livelock", "quiet_mirror"}


def test_an_entry_of_the_mirror_that_only_a_run_knows_is_a_mistake():
    with pytest.raises(UsageError, match="^t:6:.*which entry of KVM's mirror must be known beforehand"):
        assert litmus.parse(DRAFT % ("kvm->mmu_invalidate_seq", FREEZE, CLEAR), "t").program


@pytest.mark.parametrize("field", ["vm_bugged", "vm_dead"])
def test_a_bug_of_the_vm_is_in_its_struct(field):
    """KVM_BUG_ON of one process was nothing that another saw there."""
    text = f"C t\n{{ may_violate = {{no_bug}}; }}\nP0(struct kvm *kvm) {{ int r = KVM_BUG_ON(1, kvm); int a = kvm->{field}; }}\nexists (0:a=1 /\\ bugged=1)\n"
    test = litmus.parse(text, "t")
    assert judge(test, search.run(test).endings).observation == "Always"


def test_to_kvm_tdx_may_be_pasted_too():
    text = ("C t\n{ }\nstatic struct kvm_tdx *to_kvm_tdx(struct kvm *kvm)\n{\n\treturn container_of(kvm, struct kvm_tdx, kvm);\n}\n"
            "P0(struct kvm *kvm) { struct kvm_tdx *t = to_kvm_tdx(kvm); t->state = 5; int a = to_kvm_tdx(kvm)->state; }\nexists (0:a=5)\n")
    test = litmus.parse(text, "t")
    assert judge(test, search.run(test).endings).observation == "Always"
