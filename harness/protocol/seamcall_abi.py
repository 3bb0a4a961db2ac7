"""What a SEAMCALL answers, and what the kernel makes of it: layout, retries, decoding.  (errnos.py: which errno.)

    Status                  the fields of the 64-bit answer (RAX)
    with_entropy_retries    the one retry that the SEAMCALL wrapper itself makes
    decode_upstream         what KVM does with the answer of TDH.VP.ENTER, in its order of tests
    decode_naive            what it did when it looked at the low 16 bits first
    Faults                  what can be wrong below the module, as a config may inject it

An answer is a status of the module, a VMX exit reason in the low half under TDX_SUCCESS or one of
the non-recoverable statuses, or one of the kernel's own software errors.  Only TDH.VP.ENTER answers
with exit reasons, so only its answer needs decoding; and the low half of an error, an operand id,
can be read as a reason by mistake.  That is the naive decoding: Sean Christopherson, Re: [PATCH v19
078/130] KVM: TDX: Implement TDX vcpu enter/exit path, 15 Mar 2024.

Every decoding is a table of rules in order, the first that applies decides.  Nothing here changes
anything or looks at anything but its arguments.

Sources.  Kernel, Linux 6.16 unless a rule says otherwise: arch/x86/include/asm/tdx.h,
arch/x86/virt/vmx/tdx/tdx.c, arch/x86/kvm/vmx/tdx.c, arch/x86/kvm/vmx/tdx_errno.h.  Module, 1.5.05:
include/tdx_api_defs.h (layout).
"""

from typing import Callable, NamedTuple

from kernels import words
from kernels.words import (
    NAME_OF_SOFTWARE_ERROR, NAME_OF_STATUS, OPERAND_ID, STATUS_CLASS, STATUSES, TDX_ERROR, TDX_NON_RECOVERABLE,
    TDX_SW_ERROR, unsigned,
)

# --- layout ----------------------------------------------------------------------------------


class Field(NamedTuple):
    """Some bits of an answer, and what they say."""

    name: str
    high: int
    low: int
    text: str

    @property
    def mask(self) -> int:
        return (1 << self.high - self.low + 1) - 1

    def of(self, word: int) -> int:
        return word >> self.low & self.mask


FIELDS = (
    Field("error", 63, 63, "the call failed"),
    Field("non_recoverable", 62, 62, "trying again cannot help"),
    Field("fatal", 61, 61, "the TD is lost"),
    Field("host_recoverability_hint", 60, 60, "the host may be able to mend it"),
    Field("reserved", 59, 48, "zero"),
    Field("class_", 47, 40, "kind of status; 0xff: the kernel's own"),
    Field("details_l1", 39, 32, "which of that kind"),
    Field("details_l2", 31, 0, "operand id, or VMX exit reason"),
)
assert sum(field.mask << field.low for field in FIELDS) == (1 << 64) - 1

# Of a VMX exit reason (arch/x86/kvm/vmx/vmx.h, union vmx_exit_reason).
BASIC = 0xFFFF
FAILED_ENTRY = 1 << 31


class Status(NamedTuple):
    """An answer by its fields; include/tdx_api_defs.h:825-849 of the module."""

    error: int
    non_recoverable: int
    fatal: int
    host_recoverability_hint: int
    reserved: int
    class_: int
    details_l1: int
    details_l2: int

    @classmethod
    def of(cls, word: int) -> "Status":
        return cls(*(field.of(unsigned(word)) for field in FIELDS))

    @property
    def word(self) -> int:
        return sum(value << field.low for field, value in zip(FIELDS, self))


assert Status._fields == tuple(field.name for field in FIELDS)


def is_software_error(word: int) -> bool:
    """Whether SEAMCALL did not reach the module at all."""
    return word & TDX_SW_ERROR == TDX_SW_ERROR


def status_class(word: int) -> int:
    """The half that says what happened (TDX_SEAMCALL_STATUS_MASK)."""
    return word & STATUS_CLASS


HINT = 1 << 60


def without_hint(word: int) -> tuple[int, bool]:
    """An error without bit 60, if that is the host's hint and no part of a status; and whether it is.

    A TD exit that is marked with bit 60 itself (TDX_HOST_PRIORITY_BUSY_TIMEOUT, TDX_CROSS_TD_TRAP) ends the guest's TDCALL:
    the TDCALL's status is in the guest's RAX, with bit 60 as the host says at the next TDH.VP.ENTER (RCX, bit 52).
    tdh_vp_enter.c:859-867 of 1.5.01.
    """
    upper = status_class(word)
    bare = upper & ~HINT
    hinted = upper & HINT != 0 and upper not in NAME_OF_STATUS and bare in NAME_OF_STATUS and bare & TDX_ERROR != 0
    return (word & ~HINT, True) if hinted else (word, False)


# Two constants of arch/x86/kvm/vmx/tdx_errno.h that are not the module's.  KVM compares all of 63:32,
# so the module's own values fall into its default.
KVM_STATUSES = {
    "TDX_NON_RECOVERABLE_TD":                 0x4000_0002_0000_0000,
    "TDX_NON_RECOVERABLE_TD_WRONG_APIC_MODE": 0x6000_0007_0000_0000,
}
assert all(STATUSES[name] != value for name, value in KVM_STATUSES.items())


# --- the one retry in the wrapper --------------------------------------------------------------

ENTROPY_ATTEMPTS = 10            # RDRAND_RETRY_LOOPS, arch/x86/include/asm/archrandom.h


def with_entropy_retries(make_call: Callable[[], int]) -> int:
    """Make a call again while it answers exactly TDX_RND_NO_ENTROPY; at most ENTROPY_ATTEMPTS attempts.

    sc_retry, arch/x86/include/asm/tdx.h.  It is in seamcall(), seamcall_ret() and
    seamcall_saved_ret(); TDH.VP.ENTER and the machine-check probe go past it.  BUSY is not retried
    here, and neither is TDX_KEY_GENERATION_FAILED, as which TDH.MNG.KEY.CONFIG reports that PCONFIG
    had no entropy (helpers.c, program_mktme_keys).
    """
    for _ in range(ENTROPY_ATTEMPTS):
        answer = unsigned(make_call())
        if answer != STATUSES["TDX_RND_NO_ENTROPY"]:
            break
    return answer


# --- VMX exit reasons ------------------------------------------------------------------------

# arch/x86/include/uapi/asm/vmx.h.  No name, no exit: what is not here KVM does not know.
EXIT_REASONS = {
    0: "EXCEPTION_NMI", 1: "EXTERNAL_INTERRUPT", 2: "TRIPLE_FAULT", 3: "INIT_SIGNAL", 4: "SIPI_SIGNAL",
    6: "OTHER_SMI", 7: "INTERRUPT_WINDOW", 8: "NMI_WINDOW", 9: "TASK_SWITCH", 10: "CPUID", 12: "HLT",
    13: "INVD", 14: "INVLPG", 15: "RDPMC", 16: "RDTSC", 18: "VMCALL", 19: "VMCLEAR", 20: "VMLAUNCH",
    21: "VMPTRLD", 22: "VMPTRST", 23: "VMREAD", 24: "VMRESUME", 25: "VMWRITE", 26: "VMOFF", 27: "VMON",
    28: "CR_ACCESS", 29: "DR_ACCESS", 30: "IO_INSTRUCTION", 31: "MSR_READ", 32: "MSR_WRITE",
    33: "INVALID_STATE", 34: "MSR_LOAD_FAIL", 36: "MWAIT_INSTRUCTION", 37: "MONITOR_TRAP_FLAG",
    39: "MONITOR_INSTRUCTION", 40: "PAUSE_INSTRUCTION", 41: "MCE_DURING_VMENTRY",
    43: "TPR_BELOW_THRESHOLD", 44: "APIC_ACCESS", 45: "EOI_INDUCED", 46: "GDTR_IDTR", 47: "LDTR_TR",
    48: "EPT_VIOLATION", 49: "EPT_MISCONFIG", 50: "INVEPT", 51: "RDTSCP", 52: "PREEMPTION_TIMER",
    53: "INVVPID", 54: "WBINVD", 55: "XSETBV", 56: "APIC_WRITE", 57: "RDRAND", 58: "INVPCID", 59: "VMFUNC",
    60: "ENCLS", 61: "RDSEED", 62: "PML_FULL", 63: "XSAVES", 64: "XRSTORS", 67: "UMWAIT", 68: "TPAUSE",
    74: "BUS_LOCK", 75: "NOTIFY", 77: "TDCALL",
}
assert list(EXIT_REASONS) == sorted(EXIT_REASONS)
assert all(f"EXIT_REASON_{EXIT_REASONS[reason]}" == name for reason, name in words.EXIT_REASONS.items())
EXCEPTION_NMI, EXTERNAL_INTERRUPT, TRIPLE_FAULT, MCE_DURING_VMENTRY = 0, 1, 2, 41
EPT_MISCONFIG, TDCALL = 49, 77


def reason_name(basic: int) -> str:
    return EXIT_REASONS.get(basic, "no exit reason that KVM knows")


# --- decoding of TDH.VP.ENTER's answer, upstream's order ----------------------------------------

NO_REASON = 0xFFFF_FFFF          # -1u: no VM exit took place, or none that KVM should look at


class Entered(NamedTuple):
    """An answer of TDH.VP.ENTER while it is decoded: the word, and the exit reason made of it."""

    word: int
    reason: int = NO_REASON
    rebooting: bool = False


class Rule(NamedTuple):
    """If `applies`, the outcome is this; of a table the first rule that applies decides."""

    condition: str
    applies: Callable[[Entered], bool]
    outcome: str
    source: str


def first(rules: tuple[Rule, ...], entered: Entered) -> Rule:
    return next(rule for rule in rules if rule.applies(entered))


def _always(entered: Entered) -> bool:
    return True


# Statuses under which KVM takes the low half for an exit reason, with KVM's constants.
EXITS_UNDER = tuple(KVM_STATUSES.get(name, STATUSES[name]) for name in (
    "TDX_SUCCESS", "TDX_NON_RECOVERABLE_VCPU", "TDX_NON_RECOVERABLE_TD",
    "TDX_NON_RECOVERABLE_TD_NON_ACCESSIBLE", "TDX_NON_RECOVERABLE_TD_WRONG_APIC_MODE"))


def failed_entry(entered: Entered) -> bool:
    """tdx_failed_vmentry: bit 31 of the reason, except that -1 has it too."""
    return bool(entered.reason & FAILED_ENTRY) and entered.reason != NO_REASON


NONE, LOW_HALF = "no exit reason (-1)", "the low half is the exit reason"
REASON = (                       # A.  with interrupts off, right behind the call: tdx_to_vmx_exit_reason
    Rule("the status is neither success nor non-recoverable",
         lambda e: status_class(e.word) not in EXITS_UNDER, NONE, "tdx_to_vmx_exit_reason"),
    Rule("EPT_MISCONFIG", lambda e: e.word & OPERAND_ID == EPT_MISCONFIG, NONE, "tdx_to_vmx_exit_reason"),
    # TDCALL: by R10 and R11 it becomes VMCALL, CPUID, HLT, IO, RDMSR, WRMSR or (for MMIO) EPT_MISCONFIG.
    Rule("success or non-recoverable", _always, LOW_HALF, "tdx_to_vmx_exit_reason"),
)

SLOW, HANDLED = "EXIT_FASTPATH_NONE", "EXIT_FASTPATH_EXIT_HANDLED"
MACHINE_CHECK = "EXIT_FASTPATH_NONE, machine check"
FASTPATH = (                     # B.  tdx_vcpu_run and tdx_exit_handlers_fastpath
    Rule("the whole answer is EPT_MISCONFIG", lambda e: e.word == EPT_MISCONFIG, SLOW, "tdx_vcpu_run"),
    Rule("software error", lambda e: is_software_error(e.word), SLOW, "tdx_vcpu_run"),
    Rule("reason MCE_DURING_VMENTRY", lambda e: e.reason & BASIC == MCE_DURING_VMENTRY, MACHINE_CHECK,
         "tdx_vcpu_run"),
    Rule("failed entry", failed_entry, SLOW, "tdx_vcpu_run"),
    Rule("TDX_OPERAND_BUSY, any operand", lambda e: status_class(e.word) == STATUSES["TDX_OPERAND_BUSY"],
         HANDLED, "tdx_exit_handlers_fastpath"),
    Rule("anything else", _always, SLOW, "tdx_exit_handlers_fastpath"),
)

LOOP = "back to the vCPU loop, which enters again"
BUG = "KVM_BUG_ON, -EIO"
BUG_AND_INTERNAL = "KVM_BUG_ON; KVM_EXIT_INTERNAL_ERROR"
INTERNAL = "KVM_EXIT_INTERNAL_ERROR"
INTERNAL_WARNED = "WARN; KVM_EXIT_INTERNAL_ERROR"
FAIL_ENTRY, SHUTDOWN = "KVM_EXIT_FAIL_ENTRY", "KVM_EXIT_SHUTDOWN"
FAIL_ENTRY_WARNED = "WARN, unless it is a debug TD; KVM_EXIT_FAIL_ENTRY"


def _reason(basic: int, outcome: str) -> Rule:
    return Rule(f"reason {reason_name(basic)}", lambda e: e.reason & BASIC == basic, outcome,
                "tdx_handle_exit")


EXIT = (                         # C.  tdx_handle_exit, with interrupts on
    Rule("the fast path has handled it", lambda e: first(FASTPATH, e).outcome == HANDLED, LOOP,
         "tdx_handle_exit"),
    Rule("the whole answer is EPT_MISCONFIG", lambda e: e.word == EPT_MISCONFIG, BUG, "tdx_handle_exit"),
    Rule("software error while rebooting", lambda e: is_software_error(e.word) and e.rebooting, INTERNAL,
         "tdx_handle_exit"),
    Rule("software error", lambda e: is_software_error(e.word), BUG_AND_INTERNAL, "tdx_handle_exit"),
    Rule("failed entry without bit 62", lambda e: failed_entry(e) and not e.word & TDX_NON_RECOVERABLE,
         FAIL_ENTRY_WARNED, "tdx_handle_exit"),
    Rule("failed entry", failed_entry, FAIL_ENTRY, "tdx_handle_exit"),
    Rule("bit 63 or 62, and not a triple fault",
         lambda e: bool(e.word & (TDX_ERROR | TDX_NON_RECOVERABLE)) and e.reason & BASIC != TRIPLE_FAULT,
         INTERNAL, "tdx_handle_exit"),
    Rule("neither an error nor success, and not a triple fault",
         lambda e: status_class(e.word) != STATUSES["TDX_SUCCESS"] and e.reason & BASIC != TRIPLE_FAULT,
         INTERNAL_WARNED, "tdx_handle_exit"),
    _reason(TRIPLE_FAULT, SHUTDOWN),
    _reason(EXCEPTION_NMI, "exception or NMI handled"),
    _reason(EXTERNAL_INTERRUPT, "interrupt counted, back to the vCPU loop"),
    _reason(10, "CPUID emulated"),
    _reason(12, "halt"),
    _reason(TDCALL, "hypercall handled"),
    _reason(18, "KVM hypercall"),
    _reason(30, "port I/O"),
    _reason(31, "RDMSR"),
    _reason(32, "WRMSR"),
    _reason(48, "EPT violation handled"),
    _reason(6, "SMI has been handled, back to the vCPU loop"),
    Rule("any other reason", _always, INTERNAL, "tdx_handle_exit"),
)


class Upstream(NamedTuple):
    """What KVM makes of an answer.

    reason       exit reason, 32 bits; NO_REASON if there is none
    looks_nmi    whether the NMI handler looks at it (it then still asks whether R9 says NMI)
    fastpath     what tdx_vcpu_run returns
    outcome      what comes of it in the end
    rules        the rules that decided, one of each of REASON, FASTPATH, EXIT
    """

    reason: int
    looks_nmi: bool
    fastpath: str
    outcome: str
    rules: tuple[Rule, Rule, Rule]

    @property
    def bugs(self) -> bool:
        return self.outcome in (BUG, BUG_AND_INTERNAL)


def decode_upstream(word: int, rebooting: bool = False) -> Upstream:
    """What KVM does with what TDH.VP.ENTER answered, tests in its order (Linux 6.16)."""
    entered = Entered(unsigned(word), rebooting=rebooting)
    reason = first(REASON, entered)
    if reason.outcome == LOW_HALF:
        entered = entered._replace(reason=entered.word & OPERAND_ID)
    fastpath, outcome = first(FASTPATH, entered), first(EXIT, entered)
    return Upstream(entered.reason, entered.reason & BASIC == EXCEPTION_NMI, fastpath.outcome,
                    outcome.outcome, (reason, fastpath, outcome))


# --- the naive decoding ------------------------------------------------------------------------

NMI, INTERRUPT, CALL, OTHER = "nmi", "external_interrupt", "tdcall", "other"
NAIVE = (                        # on bits 15:0 alone, whatever the other 48 say
    Rule("EXCEPTION_NMI", lambda e: e.word & BASIC == EXCEPTION_NMI, NMI,
         "[PATCH v19 078/130] and the handling of NMIs behind it, tdx_vcpu_enter_exit, Feb 2024"),
    Rule("EXTERNAL_INTERRUPT", lambda e: e.word & BASIC == EXTERNAL_INTERRUPT, INTERRUPT,
         "the same series, tdx_handle_exit_irqoff, Feb 2024"),
    Rule("TDCALL", lambda e: e.word & BASIC == TDCALL, CALL, "the same series, tdx_vcpu_run, Feb 2024"),
    Rule("any other", _always, OTHER, "the same series"),
)
SYNTHESIZED = (NMI, INTERRUPT, CALL)


class Naive(NamedTuple):
    """What the naive decoding makes of an answer.

    reason     bits 15:0
    handler    one of NMI, INTERRUPT, CALL (what it would run on the strength of that), or OTHER
    spurious   whether it runs one of the three although no VM exit took place
    """

    reason: int
    handler: str
    spurious: bool


def decode_naive(word: int) -> Naive:
    """What a decoding that looks at the low 16 bits first does with what TDH.VP.ENTER answered.

    The NMI and interrupt handlers also look at R9, which holds an exit's interruption information; an
    error leaves in R9 whatever was there, so that they may or may not act on it.
    """
    entered = Entered(unsigned(word))
    handler = first(NAIVE, entered).outcome
    real = first(REASON, entered).outcome != NONE
    return Naive(entered.word & BASIC, handler, handler in SYNTHESIZED and not real)


# --- what can be wrong below the module --------------------------------------------------------

class Fault(NamedTuple):
    """A state of the machine in which SEAMCALL does not reach the module.

    status    what the kernel's wrapper answers (tdxcall.S)
    cause     what the processor does, and why
    init      what loading kvm_intel with tdx=1 comes to, behind errno_of(status)
    """

    status: str
    cause: str
    init: str


# tdx_cpu_enable, try_init_module_global (virt/vmx/tdx/tdx.c); tdx_bringup (kvm/vmx/tdx.c)
FAULTS = {
    "bios_off": Fault(
        # A BIOS that reports no private KeyIDs is met before any SEAMCALL: "no TDX private KeyIDs available".
        "TDX_SEAMCALL_GP", "#GP, the BIOS did not enable TDX (though it reported private KeyIDs)",
        "kvm_intel fails to load and nothing is printed"),
    "vmx_off": Fault(
        "TDX_SEAMCALL_UD", "#UD, the processor is not in VMX operation",
        "kvm_intel fails to load and nothing is printed"),
    "not_loaded": Fault(
        "TDX_SEAMCALL_VMFAILINVALID", "CF=1, no module is loaded, or it has been shut down",
        'the kernel prints "module not loaded", kvm_intel loads without TDX'),
}
NO_FAULT = "none"
assert {fault.status for fault in FAULTS.values()} == set(NAME_OF_SOFTWARE_ERROR.values())


# What a machine check's probe of a page comes to (flows/machine_check.py says what each means).
PROBED = ("private", "not_private", "not_in_vmx_operation", "no_module", "busy")


class Faults(NamedTuple):
    """What a config injects; the defaults inject nothing and leave a program as it is.

    seamcall              of FAULTS, or NO_FAULT
    seamcall_share        share of the SEAMCALLs that meet it
    rebooting             kvm_rebooting: a software error at entry is then no bug
    no_entropy_share      share of random draws in the module that find no entropy
    machine_check_share   share of a host thread's turns in which a machine check hits its page first
    """

    seamcall: str = NO_FAULT
    seamcall_share: float = 1.0
    rebooting: bool = False
    no_entropy_share: float = 0.0
    machine_check_share: float = 0.0

    @property
    def status(self) -> str:
        """The name of what SEAMCALLs answer, or nothing."""
        return "" if self.seamcall == NO_FAULT else FAULTS[self.seamcall].status
