"""What programs are made of: rows, registers, and the table of micro-ops.

A row says what to do, to which word, and where to go next:

    op         which micro-op (Op)
    base       register that holds where the word lies, in bytes from the start of shared memory
    offset     added to base
    width      bits of the word (generic accesses), or a small number (INDEX: a shift; SPEND: idle)
    straight   whether `next` is the row behind; see machine.step
    register   register that is written, or that is tested
    source     register that is read
    value      a constant operand
    mask match the test: an outcome is DONE if (word & mask) == match
    next otherwise priority   rows to go to, by outcome: DONE, BUSY, PRIORITY

To add a micro-op - which must earn its place: a member of Op, its line in OP_TABLE, its branch in
machine.step.
"""

from enum import IntEnum
from typing import NamedTuple

import numpy as np

from kernels.locks import LOST_SWAPS

LEVELS = 3                       # PT 0, PD 1, PDPT 2; the entry above the PDPT is always mapped

ROW = np.dtype({
    "names": ["op", "base", "width", "straight", "register", "source", "next", "otherwise", "priority",
              "offset", "value", "mask", "match"],
    "formats": ["u4"] * 2 + ["u2"] * 2 + ["u4"] * 5 + ["i8"] * 4,
})
assert ROW.itemsize == 64        # a row is a cache line


class Register(IntEnum):
    """The register file of an actor."""

    LOST_SWAPS = LOST_SWAPS    # compare-and-swaps of the `cas` primitive that were repeated
    ZERO = 1                     # always 0
    SINK = 2                     # written, never read
    PC = 3                       # the next row
    STATUS = 4                   # what the call in progress answers, a status word
    ANSWER = 5                   # the same as an index into the program's answers
    CALL = 6                     # which call is in progress, an index into the program's calls
    LINK = 7                     # where the call returns to
    RESUME = 8                   # where the guest goes on after the next entry
    ME = 9                       # this actor's number + 1: shadow owner, and logical processor
    TD = 10                      # where the TD's own words lie
    TDR_4K = 11                  # PAMT words of the TDR page
    TDR_2M = 12
    TDR_1G = 13
    TDVPS = 14                   # this vCPU's words
    TDVPR_4K = 15                # PAMT words of its TDVPR page
    TDVPR_2M = 16
    TDVPR_1G = 17
    KICK = 18                    # KVM's word about this vCPU
    PAGE = 19                    # guest page number that a flow or call is about
    GUEST_PAGE = 20              # guest page number of the guest's current instruction
    LEVEL = 21                   # level of the SEPT entry that a call is about
    WALK = 22                    # level that a walk has reached
    ENTRY_PT = 23                # SEPT entries that map PAGE at level 0, 1, 2
    ENTRY_PD = 24
    ENTRY_PDPT = 25
    ENTRY = 26                   # the one of them that the call is about
    TARGET_4K = 27               # PAMT words of the page that is added, blocked or removed
    TARGET_2M = 28
    TARGET_1G = 29
    HPA = 30                     # its physical address
    CHILDREN = 31                # first SEPT entry in that page, if it is an SEPT page
    MIRROR = 32                  # KVM's mirror entry
    CONTENT = 33                 # the page itself
    PAGE_GENERATION = 34         # where the page's generation lies
    COPY = 35                    # an SEPT entry as read
    UNLOCKED = 36                # the same, as read before its lock was taken
    NEW = 37                     # an SEPT entry as it will be written
    STATE = 38                   # state index of COPY
    OLD = 39                     # a word as read or as it was before
    EPOCH_WORD = 40
    VCPU_EPOCH = 41              # epoch at which the vCPU entered
    REFCOUNT = 42                # where the count for that epoch lies
    BEPOCH = 43
    RIP = 44                     # guest instruction pointer: a number that grows
    GENERATION = 45              # generation of the page that a translation was made for
    SIGNATURE = 46
    INDEX = 47                   # loop counter
    CURSOR = 48                  # loop address
    TRIES = 49                   # attempts of the policy so far
    COIN = 50                    # last choice
    STOPPING = 51                # 1 once the driver wants actors to end
    SINCE = 52                   # generation of the TD that this actor works on
    DRAWS = 53                   # choices made so far
    OP_STATE = 54                # the TD's op_state as read
    HALTED_AT = 55               # the row whose sanity check failed
    PAMT = 56                    # PAMT entry, of its own size, of the page that an SEPT entry maps
    TD_HPA = 57                  # physical address from which on the TD's pages lie
    WBT = 58                     # write-back mutex of this actor's package
    KET = 59                     # key table of this actor's package
    PACKAGE = 60                 # that package's number
    KOT_ENTRY = 61               # the Key Ownership Table's word for the TD's HKID
    OWN_SIZE = 62                # PAMT entry of a large page that is merged or split
    FIRST = 63                   # SEPT entry of its first part
    GUEST_TRIES = 64             # attempts of the guest's own policy so far
    RETURN = 65                  # where a flow that several others use goes back to
    RANGE_END = 66               # page number behind the range that is removed or converted
    CONTENDED = 67               # where the lock word lies that refused last (kernels/blame.py)
    ROLE = 68                    # this actor's number + 1 among those of its TD
    OUTCOMES = 69                # answers of a script's calls so far (harness/experiment/scenario.py)


class Kind(IntEnum):
    """What a micro-op touches, which is what a driver has to know about it."""

    SHARED = 0                   # one access to one shared word
    WAIT = 1                     # the same, and it may have to be tried again
    LOCAL = 2                    # registers and words that only this actor uses
    DRIVER = 3                   # time, choice, or a mark: step only reports it


class Op(IntEnum):
    """The micro-ops.  OP_TABLE below says what each does."""

    HALT = 0
    SHAREX_TAKE_SHARED = 1
    SHAREX_TAKE_EXCLUSIVE = 2
    SHAREX_DROP_SHARED = 3
    SHAREX_DROP_EXCLUSIVE = 4
    HP_TAKE_SHARED = 5
    HP_CLEAR = 6
    HP_REQUEST = 7
    HP_TAKE_EXCLUSIVE = 8
    HP_TAKE_OVER_PRIORITY = 9
    HP_DROP_SHARED = 10
    HP_CHECK_EXCLUSIVE = 11
    HP_DROP_EXCLUSIVE = 12
    HP_PROMOTE = 13
    HP_PROMOTE_OVER_PRIORITY = 14
    ENTRY_TAKE = 15
    ENTRY_CLEAR_PRIORITY = 16
    ENTRY_REQUEST_PRIORITY = 17
    ENTRY_SEE_PRIORITY = 18
    ENTRY_CHECK = 19
    ENTRY_DROP = 20
    ENTRY_REPLACE = 21
    MUTEX_TAKE = 22
    MUTEX_DROP = 23
    LOAD = 24
    LOAD_IN = 25
    STORE = 26
    EXCHANGE = 27
    SWAP = 28
    ADD = 29
    OR = 30
    AND = 31
    WALK = 32
    READ_ENTRY = 33
    ZERO_PAGE = 34
    WAIT_IS = 35
    WAIT_NOT = 36
    MMU_TAKE_SHARED = 37
    MMU_TAKE_EXCLUSIVE = 38
    MMU_DROP_SHARED = 39
    MMU_DROP_EXCLUSIVE = 40
    LET = 41
    MERGE = 42
    INDEX = 43
    TEST = 44
    STATE = 45
    IN = 46
    CALL = 47
    GO = 48
    ANSWER = 49
    EPOCH_PREVIOUS = 50
    EPOCH_TRACKED = 51
    STEPPING_ENTER = 52
    STEPPING_LISTED = 53
    STEPPING_EXIT = 54
    STEPPING_LOG = 55
    TLB_FIND = 56
    TLB_REMEMBER = 57
    TLB_FORGET = 58
    SIGN = 59
    SPEND = 60
    CHOOSE = 61
    POLL = 62
    YIELD = 63
    OVERDUE = 64
    COUNT = 65
    BEGIN = 66
    END = 67
    CALL_BEGIN = 68
    CALL_END = 69
    SETTLE = 70
    BUG = 71
    RESET = 72
    STOP = 73
    ARRIVE = 74
    COMPUTE = 75


class OpInfo(NamedTuple):
    op: Op
    kind: Kind
    outcomes: int                # how many of next, otherwise, priority the row must give
    text: str


OP_TABLE = (
    OpInfo(Op.HALT, Kind.DRIVER, 0, "the module has shut itself down"),

    OpInfo(Op.SHAREX_TAKE_SHARED, Kind.SHARED, 2, "xadd +2; otherwise: exclusive"),
    OpInfo(Op.SHAREX_TAKE_EXCLUSIVE, Kind.SHARED, 2, "cmpxchg 0->1; otherwise: not free"),
    OpInfo(Op.SHAREX_DROP_SHARED, Kind.SHARED, 1, "xadd -2"),
    OpInfo(Op.SHAREX_DROP_EXCLUSIVE, Kind.SHARED, 1, "xchg 0"),
    OpInfo(Op.HP_TAKE_SHARED, Kind.SHARED, 3, "xadd +4; otherwise: exclusive; priority: clear it"),
    OpInfo(Op.HP_CLEAR, Kind.SHARED, 1, "and ~2"),
    OpInfo(Op.HP_REQUEST, Kind.SHARED, 1, "or 2"),
    OpInfo(Op.HP_TAKE_EXCLUSIVE, Kind.SHARED, 3, "cmpxchg 0->1; otherwise: not free; priority: only HP"),
    OpInfo(Op.HP_TAKE_OVER_PRIORITY, Kind.SHARED, 2, "cmpxchg 2->1; otherwise: lost"),
    OpInfo(Op.HP_DROP_SHARED, Kind.SHARED, 1, "xadd -4"),
    OpInfo(Op.HP_CHECK_EXCLUSIVE, Kind.SHARED, 1, "load; halts unless exclusive"),
    OpInfo(Op.HP_DROP_EXCLUSIVE, Kind.SHARED, 1, "and 2"),
    OpInfo(Op.HP_PROMOTE, Kind.SHARED, 3, "cmpxchg 4->1; otherwise: other readers; priority: alone but for HP"),
    OpInfo(Op.HP_PROMOTE_OVER_PRIORITY, Kind.SHARED, 2, "cmpxchg 6->1; otherwise: lost"),
    OpInfo(Op.ENTRY_TAKE, Kind.SHARED, 2, "set TDEL; otherwise: it was set"),
    OpInfo(Op.ENTRY_CLEAR_PRIORITY, Kind.SHARED, 2, "clear TDHP; otherwise: it was set"),
    OpInfo(Op.ENTRY_REQUEST_PRIORITY, Kind.SHARED, 2, "set TDHP; otherwise: it was set already"),
    OpInfo(Op.ENTRY_SEE_PRIORITY, Kind.SHARED, 3, "load; priority: TDHP is set"),
    OpInfo(Op.ENTRY_CHECK, Kind.SHARED, 1, "load; halts unless TDEL is set"),
    OpInfo(Op.ENTRY_DROP, Kind.SHARED, 1, "clear TDEL"),
    OpInfo(Op.ENTRY_REPLACE, Kind.SHARED, 1, "word = register = source + value, with the word's TDHP kept"),
    OpInfo(Op.MUTEX_TAKE, Kind.SHARED, 2, "cmpxchg 0->1; otherwise: it is locked"),
    OpInfo(Op.MUTEX_DROP, Kind.SHARED, 1, "cmpxchg 1->0"),

    OpInfo(Op.LOAD, Kind.SHARED, 2, "register = word; test"),
    OpInfo(Op.LOAD_IN, Kind.SHARED, 2, "register = word; otherwise: bit number `word` of mask is not set"),
    OpInfo(Op.STORE, Kind.SHARED, 1, "word = source + value"),
    OpInfo(Op.EXCHANGE, Kind.SHARED, 2, "register = word, word = source + value; test"),
    OpInfo(Op.SWAP, Kind.SHARED, 2, "if word == register: word = source + value; register = word before"),
    OpInfo(Op.ADD, Kind.SHARED, 1, "register = word, word += source + value"),
    OpInfo(Op.OR, Kind.SHARED, 2, "register = word, word |= value; test"),
    OpInfo(Op.AND, Kind.SHARED, 2, "register = word, word &= value; test"),
    OpInfo(Op.WALK, Kind.SHARED, 3, "COPY = word, WALK = value; priority: WALK is LEVEL, not the bottom; otherwise: no way down"),
    OpInfo(Op.READ_ENTRY, Kind.SHARED, 2, "COPY = word, STATE = its state; otherwise: bit number STATE of mask is not set"),
    OpInfo(Op.ZERO_PAGE, Kind.SHARED, 1, "zero `value` bytes"),

    OpInfo(Op.WAIT_IS, Kind.WAIT, 1, "wait until (word - source) & mask == match"),
    OpInfo(Op.WAIT_NOT, Kind.WAIT, 1, "wait until (word - source) & mask != match"),
    OpInfo(Op.MMU_TAKE_SHARED, Kind.WAIT, 2, "read_lock(mmu_lock); otherwise: once the writer has gone"),
    OpInfo(Op.MMU_TAKE_EXCLUSIVE, Kind.WAIT, 1, "write_lock(mmu_lock)"),
    OpInfo(Op.MMU_DROP_SHARED, Kind.SHARED, 1, "read_unlock(mmu_lock)"),
    OpInfo(Op.MMU_DROP_EXCLUSIVE, Kind.SHARED, 1, "write_unlock(mmu_lock)"),

    OpInfo(Op.LET, Kind.LOCAL, 1, "register = source + value"),
    OpInfo(Op.MERGE, Kind.LOCAL, 1, "register = value | (source & mask)"),
    OpInfo(Op.INDEX, Kind.LOCAL, 1, "register = base + offset + ((source >> width) & mask) * match"),
    OpInfo(Op.TEST, Kind.LOCAL, 2, "test (register - source)"),
    OpInfo(Op.STATE, Kind.LOCAL, 1, "register = index of the state that source spells"),
    OpInfo(Op.IN, Kind.LOCAL, 2, "otherwise: bit number `source` of mask is not set"),
    OpInfo(Op.CALL, Kind.LOCAL, 2, "LINK = otherwise; go to next"),
    OpInfo(Op.GO, Kind.LOCAL, 0, "go to the row in register"),
    OpInfo(Op.ANSWER, Kind.LOCAL, 1, "STATUS = value, ANSWER = mask"),
    OpInfo(Op.EPOCH_PREVIOUS, Kind.LOCAL, 2, "otherwise: a vCPU of the previous epoch still runs"),
    OpInfo(Op.EPOCH_TRACKED, Kind.LOCAL, 2, "otherwise: source (bepoch) is not tracked"),
    OpInfo(Op.STEPPING_ENTER, Kind.LOCAL, 2, "note RIP; otherwise: GPAs are listed"),
    OpInfo(Op.STEPPING_LISTED, Kind.LOCAL, 2, "register = listed page number INDEX; otherwise: no more"),
    OpInfo(Op.STEPPING_EXIT, Kind.LOCAL, 1, "forward progress empties the list"),
    OpInfo(Op.STEPPING_LOG, Kind.LOCAL, 2, "count the fault on PAGE; otherwise: it arms the vCPU"),
    OpInfo(Op.TLB_FIND, Kind.LOCAL, 2, "GENERATION = remembered for GUEST_PAGE; otherwise: none"),
    OpInfo(Op.TLB_REMEMBER, Kind.LOCAL, 1, "remember GUEST_PAGE, GENERATION"),
    OpInfo(Op.TLB_FORGET, Kind.LOCAL, 1, "forget all translations"),
    OpInfo(Op.SIGN, Kind.LOCAL, 1, "SIGNATURE = signature of GUEST_PAGE, GENERATION, value"),

    OpInfo(Op.SPEND, Kind.DRIVER, 1, "spend the time that cost `value` stands for"),
    OpInfo(Op.CHOOSE, Kind.DRIVER, 1, "register = an outcome of choice `value`"),
    OpInfo(Op.POLL, Kind.DRIVER, 1, "STOPPING = whether to end; nothing is in progress here"),
    OpInfo(Op.YIELD, Kind.DRIVER, 1, "somebody else may need this processor"),
    OpInfo(Op.OVERDUE, Kind.DRIVER, 1, "register = whether span `value` has lasted for cost `mask`"),
    OpInfo(Op.COUNT, Kind.DRIVER, 1, "counter `value` goes up by one"),
    OpInfo(Op.BEGIN, Kind.DRIVER, 1, "span `value` begins, unless it has"),
    OpInfo(Op.END, Kind.DRIVER, 1, "span `value` ends, if it has begun"),
    OpInfo(Op.CALL_BEGIN, Kind.DRIVER, 1, "CALL = value; an attempt begins"),
    OpInfo(Op.CALL_END, Kind.DRIVER, 1, "the attempt ends with ANSWER"),
    OpInfo(Op.SETTLE, Kind.DRIVER, 1, "nobody will try call `value` again"),
    OpInfo(Op.BUG, Kind.DRIVER, 1, "KVM_BUG_ON because of CALL and ANSWER"),
    OpInfo(Op.RESET, Kind.DRIVER, 1, "a fresh TD; counter `value` += words with TDHP in `mask` bytes"),
    OpInfo(Op.STOP, Kind.DRIVER, 0, "this actor is done"),
    OpInfo(Op.ARRIVE, Kind.DRIVER, 2, "span `value` begins when its next arrival was meant to; otherwise: not yet"),
    OpInfo(Op.COMPUTE, Kind.LOCAL, 1, "register = base `match` (source + value), in a type of `width` bits, signed if `mask`"),
)
assert [info.op for info in OP_TABLE] == list(Op)


REGISTERS = 80
assert len(Register) <= REGISTERS
