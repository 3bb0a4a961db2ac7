"""struct kvm and struct kvm_tdx, as a pasted function of KVM's has them: what of their fields a test may need.

They are one object: struct kvm_tdx begins with the struct kvm (arch/x86/kvm/vmx/tdx.h), and to_kvm_tdx() is another type for the
same address.  A file has those of the fields that it names; one that declares either struct itself has its own instead.
"""

import re

from harness.protocol.litmus import types
from harness.protocol.litmus.types import Type

NAMES = ("kvm", "kvm_tdx")
RUNNABLE = 2                     # TD_STATE_RUNNABLE of kernel.h; tests/protocol/litmus/test_kvm.py compares them
# include/linux/kvm_host.h; arch/x86/include/asm/kvm_host.h; arch/x86/kvm/vmx/tdx.h.
FIELDS = {
    "mmu_lock": types.NAMES["rwlock_t"], "slots_lock": types.STRUCTS["mutex"], "lock": types.STRUCTS["mutex"],
    "mmu_invalidate_seq": types.UNSIGNED_LONG, "mmu_invalidate_in_progress": types.LONG, "vm_bugged": types.BOOL, "vm_dead": types.BOOL,
    "state": types.INT, "hkid": types.INT, "nr_premapped": types.NAMES["atomic64_t"], "page_add_src": types.pointer(types.VOID),
    "td": types.UNSIGNED_LONG, "wait_for_sept_zap": types.BOOL,
    "arch": Type("struct kvm_arch", kind="struct", fields=(("pre_fault_allowed", types.BOOL),)),
}
START = {"state": RUNNABLE}      # a TD in a test is past its finalization
_DECLARES = re.compile(rf"\bstruct\s+(?:{'|'.join(NAMES)})\s*{{")
_FIELD = re.compile(r"(?:->|\.)\s*(\w+)")


def structs(functions: str) -> dict[str, Type]:
    """The two structs with the fields that a file's functions name; none where it declares them itself or names no field."""
    if _DECLARES.search(functions):
        return {}
    named = set(_FIELD.findall(functions))
    fields = tuple((name, of) for name, of in FIELDS.items() if name in named)
    return {name: Type(f"struct {name}", kind="struct", fields=fields) for name in NAMES} if fields else {}


def is_kvm(of: Type) -> bool:
    """Whether a type is one of the two as they stand here."""
    return of.kind == "struct" and of.name in [f"struct {name}" for name in NAMES] and all(FIELDS.get(name) == each for name, each in of.fields)


def start(of: Type) -> tuple[int, ...]:
    """What the words of one hold at the start, where the file does not say."""
    return tuple(START.get(name, 0) for name, each in of.fields for _ in range(each.words))
