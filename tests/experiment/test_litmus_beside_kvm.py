"""C beside KVM's own flows: words that both name are one word."""

import pytest

from harness.engines.explore import search
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
