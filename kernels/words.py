"""What every bit and number means: SEPT entries, lock words, statuses, operand ids.

The one idea: a name here is the field's own name, and its value is the module's.  Nothing else in
the project writes such a number down; a test that needs one computes it from here or takes it from
the module's documentation.

Words are plain unsigned Python integers.  Compiled code works on signed 64-bit integers (Numba
turns a mix of signed and unsigned into floating point), so a constant that uses bit 63 goes through
`signed` on its way in and `unsigned` on its way out.

Sources, all of the Intel TDX module: x86_defs/x86_defs.h (entry layout), auto_gen/sept_state_lookup
(states), helpers/tdx_locks.h (lock words), pamt_manager.h (page types); statuses.py names its own.
Values are those of release 1.5.05 unless a comment says more.
"""

from typing import NamedTuple

from kernels.statuses import (
    CPUID_LEAF, EXIT_REASON, LEVEL, MSR, OP_STATE, OPERAND, OPERAND_ROWS, STATUS_ROWS, VCPU_STATE,
)


UNSIGNED = (1 << 64) - 1


def signed(word: int) -> int:
    """The signed 64-bit integer with the same bits as `word`, signed or not."""
    word = int(word) & UNSIGNED
    return word - (1 << 64) if word >> 63 else word


def unsigned(word: int) -> int:
    """The unsigned 64-bit integer with the same bits as `word`, signed or not."""
    return int(word) & UNSIGNED


# --- the SEPT entry, a 64-bit word -----------------------------------------------------------

RWX = 0b111                      # read, write, execute; all three or none in an L1 entry
READ, WRITE = 0b001, 0b010       # two of them
ACCESSED, DIRTY = 1 << 8, 1 << 9 # set by the processor; DIRTY is a state bit as well
XU = 1 << 10                     # execute in user mode: from 1.5.13 one more bit of full access
MEMORY_TYPE_WB = 6 << 3          # write-back; only in leaves
IPAT = 1 << 6                    # state bit: set in every leaf
PS = 1 << 7                      # state bit: leaf, set even for 4 KiB leaves
TDEL = 1 << 11                   # entry lock: set by exactly one owner
HPA_MASK = 0x000F_FFFF_FFFF_F000
TDHP = 1 << 52                   # host priority: a host lost the entry lock and wants it
SVE = 1 << 63                    # suppress #VE; set in every used entry

STATE_BITS = (9, 53, 54, 55, 56, 6, 7)           # bit i of the 7-bit state code, in this order
STATE_MASK = sum(1 << bit for bit in STATE_BITS)
LEAF_BITS = MEMORY_TYPE_WB | IPAT | PS

assert STATE_MASK == 0x01E0_0000_0000_02C0
assert LEAF_BITS == 0xF0
assert TDEL & TDHP == 0
assert (TDEL | TDHP) & (STATE_MASK | HPA_MASK | RWX | XU | SVE) == 0
assert STATE_MASK & (HPA_MASK | RWX | XU | SVE) == 0


class EntryState(NamedTuple):
    """One state of an SEPT entry.

    index   the module's own number of the state, 0 to 15; in the 2.0 line to 18
    code    the 7-bit code that its state bits spell (STATE_BITS)
    public  the state as reported to the host in bits 15:8 of RDX, or None
    access  which of the bits of full access are set; writing is blocked only by live migration
    """

    name: str
    index: int
    code: int
    public: int | None
    access: int

    @property
    def leaf(self) -> bool:
        return bool(self.word() & PS)

    def word(self, hpa: int = 0, lock: bool = False, priority: bool = False, access: int = RWX) -> int:
        """The entry in this state, mapping physical address `hpa`, with TDEL and TDHP as given.

        access   the bits of full access: RWX, from release 1.5.13 on RWX | XU
        """
        assert hpa & ~HPA_MASK == 0
        word = SVE | hpa | (TDEL if lock else 0) | (TDHP if priority else 0)
        for position, bit in enumerate(STATE_BITS):
            word |= (self.code >> position & 1) << bit
        if word & PS and word & IPAT:
            word |= MEMORY_TYPE_WB
        return word | self.access & access


NONE, ALL, NO_WRITE = 0, RWX | XU, (RWX | XU) & ~WRITE

ENTRY_STATES = (
    #           name                       index  code  public access
    EntryState("FREE",                        0, 0x0E,    0, NONE),
    EntryState("REMOVED",                     1, 0x0C,    5, NONE),
    EntryState("NL_MAPPED",                   2, 0x00,  132, ALL),
    EntryState("NL_BLOCKED",                  3, 0x08,  129, NONE),
    EntryState("MAPPED",                      4, 0x60,    4, ALL),
    EntryState("BLOCKED",                     5, 0x68,    1, NONE),
    EntryState("BLOCKEDW",                    6, 0x64,    8, NO_WRITE),
    EntryState("EXP_BLOCKEDW",                7, 0x66,    9, NO_WRITE),
    EntryState("EXP_DIRTY",                   8, 0x63,   11, ALL),
    EntryState("EXP_DIRTY_BLOCKEDW",          9, 0x67,   12, NO_WRITE),
    EntryState("PENDING",                    10, 0x70,    2, NONE),
    EntryState("PEND_BLOCKED",               11, 0x78,    3, NONE),
    EntryState("PEND_BLOCKEDW",              12, 0x74,   16, NONE),
    EntryState("PEND_EXP_BLOCKEDW",          13, 0x76,   17, NONE),
    EntryState("PEND_EXP_DIRTY",             14, 0x73,   19, NONE),
    EntryState("PEND_EXP_DIRTY_BLOCKEDW",    15, 0x77,   20, NONE),
)
# Of the 2.0 line: leaves that map a device's memory.  What the host learns of them was not read.
MMIO_STATES = (
    EntryState("MMIO_MAPPED",                16, 0x40, None, RWX),
    EntryState("MMIO_BLOCKED",               17, 0x48, None, NONE),
    EntryState("MMIO_PENDING",               18, 0x50, None, NONE),
)
STATE = {state.name: state for state in (*ENTRY_STATES, *MMIO_STATES)}
UNKNOWN_STATE = 19               # index of a word that spells no state; a run that meets one is broken

INDEX_OF_CODE = [UNKNOWN_STATE] * 128
for _state in STATE.values():
    INDEX_OF_CODE[_state.code] = _state.index

assert [state.index for state in STATE.values()] == list(range(UNKNOWN_STATE)) and len(ENTRY_STATES) == 16
assert len({state.code for state in STATE.values()}) == UNKNOWN_STATE
assert STATE["MMIO_MAPPED"].word(0x1_2345_6000, access=RWX | XU) == 0x8000_0001_2345_6087
assert STATE["FREE"].word() == 0x80E0_0000_0000_0000
assert STATE["MAPPED"].word(0x1_2345_6000) == 0x8000_0001_2345_60F7
assert STATE["MAPPED"].word(0x1_2345_6000, access=RWX | XU) == 0x8000_0001_2345_64F7
assert STATE["PENDING"].word(0x1_2345_6000) == 0x8100_0001_2345_60F0


def state_of(word: int) -> EntryState | None:
    """The state that an entry's bits spell, or None if they spell none."""
    code = sum((word >> bit & 1) << position for position, bit in enumerate(STATE_BITS))
    index = INDEX_OF_CODE[code]
    return None if index == UNKNOWN_STATE else (*ENTRY_STATES, *MMIO_STATES)[index]


def spell_entry(word: int) -> str:
    """An SEPT entry's state, with its lock bits behind it: MAPPED+HP."""
    state = state_of(word)
    return (state.name if state else "?") + "+EL" * bool(word & TDEL) + "+HP" * bool(word & TDHP)


def states(*names: str) -> int:
    """A set of states as the bit mask that compiled code tests (bit = index)."""
    return sum(1 << STATE[name].index for name in names)


ANY_BLOCKED = ("NL_BLOCKED", "BLOCKED", "PEND_BLOCKED")
ACCEPTABLE = ("PENDING", "PEND_EXP_DIRTY")
NEEDS_NO_TRACKING = ("FREE", "REMOVED", "EXP_BLOCKEDW", "PEND_EXP_BLOCKEDW")
GUEST_ACCESSIBLE = ("MAPPED", "BLOCKEDW", "EXP_BLOCKEDW", "EXP_DIRTY", "EXP_DIRTY_BLOCKEDW")


# --- lock words ------------------------------------------------------------------------------

EXCLUSIVE = 1                    # bit 0 of sharex and sharex_hp
SHAREX_READER = 2                # sharex: readers are counted in bits 15:1
HP = 2                           # sharex_hp: bit 1
HP_READER = 4                    # sharex_hp: readers are counted in bits 15:2
LOCK_WORD = 0xFFFF               # both are 16 bits wide

MUTEX_FREE, MUTEX_LOCKED = 0, 1  # 8 bits wide

assert EXCLUSIVE & HP == 0 and HP & HP_READER == 0


# --- other module words ----------------------------------------------------------------------

PT_NDA, PT_RSVD, PT_REG, PT_TDR, PT_TDCX, PT_TDVPR, PT_EPT = 0, 1, 3, 4, 5, 6, 8
PT_PAMT = 15                     # of 2 MiB with the PAMT entries of their 4 KiB pages in a pair of pages (Dynamic PAMT)
PAIR_USED_MAX = 512              # pages in use of 2 MiB that have a pair

# TDR.lifecycle_state (tdr_td_management_fields), and the state of an HKID in the Key Ownership Table.
TD_HKID_ASSIGNED, TD_KEYS_CONFIGURED, TD_BLOCKED, TD_TEARDOWN = 0, 1, 2, 3
HKID_FREE, HKID_ASSIGNED, HKID_FLUSHED = 0, 1, 2

TDCS_PAGES = 6                   # MIN_NUM_TDCS_PAGES: what TDH.MNG.ADDCX adds
TDCS_PAGES_MAX = 9               # MAX_NUM_TDCS_PAGES: with one for each L2 VM
TDVPS_PAGES = 6                  # MIN_TDVPS_PAGES: the TDVPR, and five that TDH.VP.ADDCX adds
TDVPS_PAGES_MAX = 15             # MAX_TDVPS_PAGES: with three for each L2 VM

OP_STATE_UNINITIALIZED, OP_STATE_INITIALIZED, OP_STATE_RUNNABLE = 0, 1, 2
OP_STATE_LIVE_EXPORT, OP_STATE_PAUSED_EXPORT, OP_STATE_POST_EXPORT = 3, 4, 5
OP_STATE_MEMORY_IMPORT, OP_STATE_STATE_IMPORT, OP_STATE_POST_IMPORT, OP_STATE_LIVE_IMPORT = 6, 7, 8, 9
OP_STATE_FAILED_IMPORT = 10
OP_STATE_START_IMPORT, OP_STATE_START_EXPORT = 11, 12            # from 1.5.24, from 1.5.34

VCPU_UNINITIALIZED, VCPU_READY, VCPU_ACTIVE = 0, 2, 4
NO_LP = 0xFFFF_FFFF              # assoc_lpid of a vCPU that is associated with no processor

EPF_THRESHOLD = 6                # td_exit_stepping.h: faults at one RIP before GPAs are listed
EPF_LIST_SIZE = 32               # td_exit_stepping.h: distinct GPAs listed at the most


# --- statuses: class and details in 63:32, operand id (or VMX exit reason) in 31:0 ------------

# All of them, of every release, are rows in statuses.py; of a name or a value that two rows share, the newer.
STATUSES = {row.name: row.word for row in STATUS_ROWS}
NAME_OF_STATUS = {row.word: row.name for row in STATUS_ROWS}
LOW_HALF = {row.word: row.low for row in STATUS_ROWS}
TDX_FATAL = 1 << 61              # a failed import sets it in whatever error it answers

# What the kernel answers itself when SEAMCALL does not reach the module (arch/x86/include/asm/tdx.h,
# Linux 6.16): class 0xFF, which the module never uses, and behind it the trap number or VMfailInvalid.
TDX_ERROR, TDX_NON_RECOVERABLE = 1 << 63, 1 << 62
TDX_SW_ERROR = TDX_ERROR | 0xFF << 40
TRAP_UD, TRAP_GP = 6, 13
SOFTWARE_ERRORS = {
    "TDX_SEAMCALL_UD":            TDX_SW_ERROR | TRAP_UD,
    "TDX_SEAMCALL_GP":            TDX_SW_ERROR | TRAP_GP,
    "TDX_SEAMCALL_VMFAILINVALID": TDX_SW_ERROR | 0xFFFF_0000,
}
NAME_OF_SOFTWARE_ERROR = {value: name for name, value in SOFTWARE_ERRORS.items()}

OPERANDS = {row.name: row.id for row in OPERAND_ROWS}
NAME_OF_OPERAND = {row.id: row.name for row in OPERAND_ROWS}

STATUS_CLASS = 0xFFFF_FFFF_0000_0000
OPERAND_ID = 0x0000_0000_FFFF_FFFF
OPERAND_BUSY = STATUSES["TDX_OPERAND_BUSY"]      # to be compared with a status' class, whatever the operand

# The whole of RAX when TDH.VP.ENTER or a TDCALL ends as an ordinary TD exit: the VMX exit reason.
EXIT_REASON_EXTERNAL_INTERRUPT = 0x01
EXIT_REASON_EPT_VIOLATION = 0x30
EXIT_REASONS = {
    EXIT_REASON_EXTERNAL_INTERRUPT: "EXIT_REASON_EXTERNAL_INTERRUPT",
    EXIT_REASON_EPT_VIOLATION: "EXIT_REASON_EPT_VIOLATION",
}

assert not any(value & STATUS_CLASS in NAME_OF_STATUS for value in SOFTWARE_ERRORS.values())


def status(name: str, operand: str | int = "RAX") -> int:
    """The status word for a status name and an operand (by name, or a number such as a level).

    A software error is a whole word already and takes no operand.
    """
    if name in SOFTWARE_ERRORS:
        assert operand == "RAX"
        return SOFTWARE_ERRORS[name]
    low = OPERANDS[operand] if isinstance(operand, str) else operand
    return STATUSES[name] + low


def known_class(word: int) -> tuple[int, bool]:
    """The status that an answer's upper half is, and whether it is one only without bit 61.

    Of a word that is neither, its upper half.
    """
    upper = unsigned(word) & STATUS_CLASS
    spoilt = upper == TDX_FATAL and unsigned(word) != TDX_FATAL              # an exit reason, with bit 61
    fatal = upper not in NAME_OF_STATUS and upper & ~TDX_FATAL in NAME_OF_STATUS and not spoilt
    return (upper & ~TDX_FATAL, True) if fatal else (upper, False)


def status_name(word: int) -> str:
    """A status word as a person reads it: `TDX_OPERAND_BUSY|SEPT_TREE`."""
    word = unsigned(word)
    if word in EXIT_REASONS:
        return EXIT_REASONS[word]
    if word in NAME_OF_SOFTWARE_ERROR:
        return NAME_OF_SOFTWARE_ERROR[word]
    upper, fatal = known_class(word)
    name = NAME_OF_STATUS.get(upper)
    if name is None:
        return f"{word:#018x}"
    detail = low_half(LOW_HALF[upper], word & OPERAND_ID)
    return "|".join([name, *[detail] * bool(detail and (upper or word & OPERAND_ID)), *["FATAL"] * fatal])


def low_half(kind: str, low: int) -> str:
    """What bits 31:0 say behind a status of that kind, in short; often nothing."""
    if kind in (LEVEL, EXIT_REASON):
        return f"level {low}" if kind == LEVEL else f"exit reason {low:#x}"
    if low == 0:
        return ""
    if kind == OPERAND:
        return NAME_OF_OPERAND.get(low, hex(low))
    if kind in (OP_STATE, VCPU_STATE):
        return f"{kind} {low}"
    return f"{kind} {low:#x}" if kind in (MSR, CPUID_LEAF) else hex(low)
