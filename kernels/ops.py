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
    mask match the test: the row goes on at `next` if (word & mask) == match
    next otherwise priority   rows to go to, by outcome (machine.py)

OP_TABLE says of each micro-op all that anybody has to know beyond what it does: what it reads, writes
and touches, what it costs, whether it takes a lock.  Whoever needs to know takes it from there.  That
its lines are true is held by tests/kernels/test_ops.py, which runs each micro-op on random words.

To add a micro-op - which must earn its place: a member of Op, its line in OP_TABLE, and its branch in
machine.step or, if it is of kind DRIVER, in the drivers.
"""

from enum import Enum, IntEnum, IntFlag, StrEnum
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
    HALTED_AT = 55               # the row of the sanity check that failed
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
    REFUSED = 70                 # whether the vCPU's last TDCALL was refused for host priority
    STREAM = 71                  # the migration stream that a call is about
    NODE = 72                    # PAMT 2M entry above PAMT's page: how many of its pages are in use (Dynamic PAMT)
    HINT = 73                    # whether the page that was given back was the last in use of its 2 MiB
    PAIR0_4K = 74                # PAMT words of the two pages that hold, or are to hold, the PAMT entries of 2 MiB
    PAIR0_2M = 75
    PAIR0_1G = 76
    PAIR1_4K = 77
    PAIR1_2M = 78
    PAIR1_1G = 79


class Kind(IntEnum):
    """What a micro-op touches, which is what a driver has to know about it."""

    SHARED = 0                   # one access to one shared word
    WAIT = 1                     # the same, and it may have to be tried again
    LOCAL = 2                    # registers and words that only this actor uses
    DRIVER = 3                   # time, choice, or a mark: step only reports it


class Access(Enum):
    """What a micro-op does to memory."""

    NONE = "nothing"
    LOAD = "reads it"
    STORE = "writes it, whatever it was"
    CHANGE = "reads and writes it"


class Order(IntEnum):
    """What a store buffer has to do with a micro-op (x86-TSO): the machine's instruction, not what we execute."""

    NONE = 0                     # accesses nothing that other actors access
    LOAD = 1                     # a plain load: sees the actor's own stores before others do
    STORE = 2                    # a plain store: waits in the actor's store buffer
    LOCKED = 3                   # a locked instruction or a full barrier: the buffer has to be empty


class Price(StrEnum):
    """What a micro-op costs on the simulated machine: a key of [machine], or nothing."""

    FREE = ""                    # takes no time, or a time of its own
    LOGIC = "local_ns"           # a few instructions on registers
    READ = "load_ns"
    WRITE = "store_ns"
    LOCKED = "locked_ns"         # a locked instruction
    ZEROING = "page_zero_ns"
    MARK = "mark_ns"             # bookkeeping that no real machine does


class Fact(IntFlag):
    """What else is true of a micro-op."""

    TAKES = 1                    # it is one try to take a lock
    COUNTS = 2                   # an addition that another one undoes: their order is not visible
    CHECKS = 4                   # within a call, its text names what the module checks
    SLEEPS = 8                   # the thread may leave its processor meanwhile (SPEND, ARRIVE: if `width` says idle)
    HALTS = 16                   # a sanity check of the module may fail: HALTED_AT is written then, and PC is 0


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
    FENCE = 76


BASE, SOURCE, REGISTER = "base", "source", "register"        # the register that the row names there

# How many bytes a micro-op touches, from its address on, if that is no constant.
OF_ROW = 0                       # as many as the row's width says
NOTHING = -1
STEPPING = -2                    # words of this vCPU's zero-step mitigation (kernels/stepping.py)
TRANSLATION = -3                 # the word of one of this vCPU's translations (kernels/guest.py) ...
TRANSLATIONS = -4                # ... or all `value` of them
ZEROED = -5                      # `value` bytes, of which others access the first word only

EVERY_WORD = -1                  # a mask that lets every word pass where it is a set


class OpInfo(NamedTuple):
    """A line of OP_TABLE.

    outcomes   how many of next, otherwise, priority the row must give
    access     what it does to memory, and `bytes`: to how many of them (OF_ROW ...)
    reads      registers on which anything depends that it does, by name or by the row's field
    writes     registers that it writes, whatever happens
    may_write  registers that it writes in some cases.  (LOST_SWAPS, a statistic, is left out.)
    passes     the mask with which no word goes to `otherwise`, so that the row need not give it
    replaces   how it writes a whole word without a lock, if it does: for who compares releases
    ordered    the memory order, where it does not follow from access and price
    """

    op: Op
    kind: Kind
    outcomes: int
    access: Access
    bytes: int
    price: Price
    reads: tuple[str | Register, ...]
    writes: tuple[str | Register, ...]
    facts: Fact
    text: str
    may_write: tuple[str | Register, ...] = ()
    passes: int | None = None
    replaces: str = ""
    ordered: Order | None = None

    @property
    def order(self) -> Order:
        """Of real code: what is priced as locked is, and what else accesses shared words does it plainly."""
        if self.ordered is not None:
            return self.ordered
        if self.kind not in (Kind.SHARED, Kind.WAIT):
            return Order.NONE
        return {Access.LOAD: Order.LOAD, Access.STORE: Order.STORE, Access.CHANGE: Order.LOCKED}[self.access]


def registers_of(row, fields) -> set[int]:
    """The numbers of registers in a column of OP_TABLE, for a row that names some of them."""
    return {int(row[field]) if isinstance(field, str) else int(field) for field in fields}


SHARED, WAIT, LOCAL, DRIVER = Kind
NONE, LOAD, STORE, CHANGE = Access
FREE, LOGIC, READ, WRITE, LOCKED, ZEROING, MARK = Price
TAKES, COUNTS, CHECKS, SLEEPS, HALTS = Fact
PLAIN = Fact(0)
R = Register
AT, AT_SOURCE = (BASE,), (BASE, SOURCE)

OP_TABLE = (
    #      op                   kind outcomes access bytes price  reads writes  facts  what it does
    OpInfo(Op.HALT, DRIVER, 0, NONE, NOTHING, FREE, (), (), PLAIN, "the module has shut itself down"),

    OpInfo(Op.SHAREX_TAKE_SHARED, SHARED, 2, CHANGE, 2, LOCKED, AT, (), TAKES | COUNTS | HALTS,
           "xadd +2; otherwise: exclusive"),
    OpInfo(Op.SHAREX_TAKE_EXCLUSIVE, SHARED, 2, CHANGE, 2, LOCKED, AT, (), TAKES, "cmpxchg 0->1; otherwise: not free"),
    OpInfo(Op.SHAREX_DROP_SHARED, SHARED, 1, CHANGE, 2, LOCKED, AT, (), COUNTS | HALTS, "xadd -2"),
    OpInfo(Op.SHAREX_DROP_EXCLUSIVE, SHARED, 1, CHANGE, 2, LOCKED, AT, (), HALTS, "xchg 0"),
    OpInfo(Op.HP_TAKE_SHARED, SHARED, 3, CHANGE, 2, LOCKED, AT, (), TAKES | COUNTS | HALTS,
           "xadd +4; otherwise: exclusive; priority: clear it"),
    OpInfo(Op.HP_CLEAR, SHARED, 1, CHANGE, 2, LOCKED, (BASE, R.HALTED_AT), (), HALTS,
           "and ~2; halts if the count has overflowed"),
    OpInfo(Op.HP_REQUEST, SHARED, 1, CHANGE, 2, LOCKED, AT, (), PLAIN, "or 2"),
    OpInfo(Op.HP_TAKE_EXCLUSIVE, SHARED, 3, CHANGE, 2, LOCKED, AT, (), TAKES,
           "cmpxchg 0->1; otherwise: not free; priority: only HP"),
    OpInfo(Op.HP_TAKE_OVER_PRIORITY, SHARED, 2, CHANGE, 2, LOCKED, AT, (), TAKES, "cmpxchg 2->1; otherwise: lost"),
    OpInfo(Op.HP_DROP_SHARED, SHARED, 1, CHANGE, 2, LOCKED, AT, (), COUNTS | HALTS, "xadd -4"),
    OpInfo(Op.HP_CHECK_EXCLUSIVE, SHARED, 1, LOAD, 2, READ, AT, (), HALTS, "load; halts unless exclusive"),
    OpInfo(Op.HP_DROP_EXCLUSIVE, SHARED, 1, CHANGE, 2, LOCKED, AT, (), PLAIN, "and 2"),
    OpInfo(Op.HP_PROMOTE, SHARED, 3, CHANGE, 2, LOCKED, AT, (), TAKES | HALTS,
           "cmpxchg 4->1; otherwise: other readers; priority: alone but for HP"),
    OpInfo(Op.HP_PROMOTE_OVER_PRIORITY, SHARED, 2, CHANGE, 2, LOCKED, AT, (), TAKES | HALTS,
           "cmpxchg 6->1; otherwise: lost"),
    OpInfo(Op.ENTRY_TAKE, SHARED, 2, CHANGE, 8, LOCKED, AT, (), TAKES, "set TDEL; otherwise: it was set"),
    OpInfo(Op.ENTRY_CLEAR_PRIORITY, SHARED, 2, CHANGE, 8, LOCKED, AT, (), PLAIN, "clear TDHP; otherwise: it was set"),
    OpInfo(Op.ENTRY_REQUEST_PRIORITY, SHARED, 2, CHANGE, 8, LOCKED, AT, (), PLAIN,
           "set TDHP; otherwise: it was set already"),
    OpInfo(Op.ENTRY_SEE_PRIORITY, SHARED, 3, LOAD, 8, READ, AT, (), PLAIN, "load; priority: TDHP is set", passes=0),
    OpInfo(Op.ENTRY_CHECK, SHARED, 1, LOAD, 8, READ, AT, (), HALTS, "load; halts unless TDEL is set"),
    OpInfo(Op.ENTRY_DROP, SHARED, 1, CHANGE, 8, LOCKED, AT, (), PLAIN, "clear TDEL"),
    OpInfo(Op.ENTRY_REPLACE, SHARED, 1, CHANGE, 8, LOCKED, (BASE, SOURCE, R.COPY), (REGISTER,), HALTS,
           "word = register = source + value, with the word's TDHP kept; mask: halts unless word was COPY",
           replaces="compare-and-swap that keeps TDHP"),
    OpInfo(Op.MUTEX_TAKE, SHARED, 2, CHANGE, 1, LOCKED, AT, (), TAKES, "cmpxchg 0->1; otherwise: it is locked"),
    OpInfo(Op.MUTEX_DROP, SHARED, 1, CHANGE, 1, LOCKED, AT, (), HALTS, "cmpxchg 1->0"),

    OpInfo(Op.LOAD, SHARED, 2, LOAD, OF_ROW, READ, AT, (REGISTER,), CHECKS, "register = word; test", passes=0),
    OpInfo(Op.LOAD_IN, SHARED, 2, LOAD, OF_ROW, READ, AT, (REGISTER,), CHECKS,
           "register = word; otherwise: bit number `word` of mask is not set"),
    OpInfo(Op.STORE, SHARED, 1, STORE, OF_ROW, WRITE, AT_SOURCE, (), PLAIN, "word = source + value",
           replaces="plain store"),
    OpInfo(Op.EXCHANGE, SHARED, 2, CHANGE, OF_ROW, LOCKED, AT_SOURCE, (REGISTER,), PLAIN,
           "register = word, word = source + value; test", passes=0),
    OpInfo(Op.SWAP, SHARED, 2, CHANGE, OF_ROW, LOCKED, (BASE, SOURCE, REGISTER), (REGISTER,), PLAIN,
           "if word == register: word = source + value; register = word before"),
    OpInfo(Op.ADD, SHARED, 1, CHANGE, OF_ROW, LOCKED, AT_SOURCE, (REGISTER,), COUNTS,
           "register = word, word += source + value"),
    OpInfo(Op.OR, SHARED, 2, CHANGE, 8, LOCKED, AT, (REGISTER,), PLAIN,
           "register = word, word |= value; test", passes=0),
    OpInfo(Op.AND, SHARED, 2, CHANGE, 8, LOCKED, AT, (REGISTER,), PLAIN,
           "register = word, word &= value; test", passes=0),
    OpInfo(Op.WALK, SHARED, 3, LOAD, 8, READ, (BASE, R.LEVEL), (R.COPY, R.WALK), PLAIN,
           "COPY = word, WALK = value; priority: WALK is LEVEL, not the bottom; otherwise: no way down"),
    OpInfo(Op.READ_ENTRY, SHARED, 2, LOAD, 8, READ, AT, (R.COPY, R.STATE), CHECKS,
           "COPY = word, STATE = its state; otherwise: bit number STATE of mask is not set", passes=EVERY_WORD),
    OpInfo(Op.ZERO_PAGE, SHARED, 1, STORE, ZEROED, ZEROING, AT, (), PLAIN, "zero `value` bytes",
           ordered=Order.LOCKED),        # MOVDIR64B, then MFENCE: intel/tdx-module, helpers.h, fill_cachelines

    OpInfo(Op.WAIT_IS, WAIT, 1, LOAD, 8, READ, AT_SOURCE, (), PLAIN, "wait until (word - source) & mask == match"),
    OpInfo(Op.WAIT_NOT, WAIT, 1, LOAD, 8, READ, AT_SOURCE, (), PLAIN, "wait until (word - source) & mask != match"),
    OpInfo(Op.MMU_TAKE_SHARED, WAIT, 2, CHANGE, 8, LOCKED, AT, (), TAKES,
           "read_lock(mmu_lock); otherwise: once the writer has gone"),
    OpInfo(Op.MMU_TAKE_EXCLUSIVE, WAIT, 1, CHANGE, 8, LOCKED, AT, (), TAKES, "write_lock(mmu_lock)"),
    OpInfo(Op.MMU_DROP_SHARED, SHARED, 1, CHANGE, 8, LOCKED, AT, (), PLAIN, "read_unlock(mmu_lock)"),
    OpInfo(Op.MMU_DROP_EXCLUSIVE, SHARED, 1, CHANGE, 8, LOCKED, AT, (), PLAIN, "write_unlock(mmu_lock)",
           ordered=Order.STORE),         # a byte: include/asm-generic/qrwlock.h, queued_write_unlock

    OpInfo(Op.LET, LOCAL, 1, NONE, NOTHING, LOGIC, (SOURCE,), (REGISTER,), PLAIN, "register = source + value"),
    OpInfo(Op.MERGE, LOCAL, 1, NONE, NOTHING, LOGIC, (SOURCE,), (REGISTER,), PLAIN,
           "register = value | (source & mask)"),
    OpInfo(Op.INDEX, LOCAL, 1, NONE, NOTHING, LOGIC, AT_SOURCE, (REGISTER,), PLAIN,
           "register = base + offset + ((source >> width) & mask) * match"),
    OpInfo(Op.TEST, LOCAL, 2, NONE, NOTHING, LOGIC, (REGISTER, SOURCE), (), PLAIN, "test (register - source)"),
    OpInfo(Op.STATE, LOCAL, 1, NONE, NOTHING, LOGIC, (SOURCE,), (REGISTER,), PLAIN,
           "register = index of the state that source spells"),
    OpInfo(Op.IN, LOCAL, 2, NONE, NOTHING, LOGIC, (SOURCE,), (), CHECKS,
           "otherwise: bit number `source` of mask is not set"),
    OpInfo(Op.CALL, LOCAL, 2, NONE, NOTHING, LOGIC, (), (R.LINK,), PLAIN, "LINK = otherwise; go to next"),
    OpInfo(Op.GO, LOCAL, 0, NONE, NOTHING, LOGIC, (REGISTER,), (), PLAIN, "go to the row in register"),
    OpInfo(Op.ANSWER, LOCAL, 1, NONE, NOTHING, LOGIC, (SOURCE,), (R.STATUS, R.ANSWER), PLAIN,
           "STATUS = source + value, ANSWER = mask"),
    OpInfo(Op.EPOCH_PREVIOUS, LOCAL, 2, NONE, NOTHING, LOGIC, (REGISTER,), (), PLAIN,
           "otherwise: a vCPU of the previous epoch still runs"),
    OpInfo(Op.EPOCH_TRACKED, LOCAL, 2, NONE, NOTHING, LOGIC, (REGISTER, SOURCE), (), PLAIN,
           "otherwise: source (bepoch) is not tracked"),
    OpInfo(Op.STEPPING_ENTER, LOCAL, 2, CHANGE, STEPPING, LOGIC, (BASE, R.RIP), (), PLAIN,
           "note RIP; otherwise: GPAs are listed"),
    OpInfo(Op.STEPPING_LISTED, LOCAL, 2, LOAD, STEPPING, LOGIC, (BASE, R.INDEX), (), PLAIN,
           "register = listed page number INDEX; otherwise: no more", may_write=(REGISTER,)),
    OpInfo(Op.STEPPING_EXIT, LOCAL, 1, CHANGE, STEPPING, LOGIC, (BASE, R.RIP), (), PLAIN,
           "forward progress empties the list"),
    OpInfo(Op.STEPPING_LOG, LOCAL, 2, CHANGE, STEPPING, LOGIC, (BASE, R.RIP, R.PAGE), (), PLAIN,
           "count the fault on PAGE (threshold value, room for mask); otherwise: it arms the vCPU"),
    OpInfo(Op.TLB_FIND, LOCAL, 2, LOAD, TRANSLATION, LOGIC, (BASE, R.GUEST_PAGE), (R.GENERATION,), PLAIN,
           "GENERATION = remembered for GUEST_PAGE; otherwise: none"),
    OpInfo(Op.TLB_REMEMBER, LOCAL, 1, STORE, TRANSLATION, LOGIC, (BASE, R.GUEST_PAGE, R.GENERATION), (), PLAIN,
           "remember GUEST_PAGE, GENERATION"),
    OpInfo(Op.TLB_FORGET, LOCAL, 1, STORE, TRANSLATIONS, LOGIC, AT, (), PLAIN, "forget all translations"),
    OpInfo(Op.SIGN, LOCAL, 1, NONE, NOTHING, LOGIC, (R.GUEST_PAGE, R.GENERATION), (R.SIGNATURE,), PLAIN,
           "SIGNATURE = signature of GUEST_PAGE, GENERATION, value"),

    OpInfo(Op.SPEND, DRIVER, 1, NONE, NOTHING, FREE, (), (), SLEEPS, "spend the time that cost `value` stands for"),
    OpInfo(Op.CHOOSE, DRIVER, 1, NONE, NOTHING, LOGIC, (R.DRAWS,), (REGISTER, R.DRAWS), PLAIN,
           "register = an outcome of choice `value`"),
    OpInfo(Op.POLL, DRIVER, 1, NONE, NOTHING, LOGIC, (R.DRAWS,), (R.STOPPING,), SLEEPS,
           "STOPPING = whether to end; nothing is in progress here"),
    OpInfo(Op.YIELD, DRIVER, 1, NONE, NOTHING, LOGIC, (), (), SLEEPS, "another actor may need this processor"),
    OpInfo(Op.OVERDUE, DRIVER, 1, NONE, NOTHING, LOGIC, (), (REGISTER,), PLAIN,
           "register = whether span `value` has lasted for cost `mask`"),
    OpInfo(Op.COUNT, DRIVER, 1, NONE, NOTHING, MARK, (), (), PLAIN, "counter `value` goes up by one"),
    OpInfo(Op.BEGIN, DRIVER, 1, NONE, NOTHING, MARK, (), (), PLAIN, "span `value` begins, unless it has"),
    OpInfo(Op.END, DRIVER, 1, NONE, NOTHING, MARK, (), (), PLAIN, "span `value` ends, if it has begun"),
    OpInfo(Op.CALL_BEGIN, DRIVER, 1, NONE, NOTHING, MARK, (), (R.CALL,), PLAIN, "CALL = value; an attempt begins"),
    OpInfo(Op.CALL_END, DRIVER, 1, NONE, NOTHING, MARK, (R.CALL, R.ANSWER, R.CONTENDED, R.ME), (), PLAIN,
           "the attempt ends with ANSWER"),
    OpInfo(Op.SETTLE, DRIVER, 1, NONE, NOTHING, MARK, (), (), PLAIN, "call `value` will not be tried again"),
    OpInfo(Op.BUG, DRIVER, 1, NONE, NOTHING, MARK, (R.CALL, R.ANSWER), (), PLAIN,
           "KVM_BUG_ON because of CALL and ANSWER"),
    OpInfo(Op.RESET, DRIVER, 1, NONE, NOTHING, FREE, (BASE, R.TD), (), PLAIN,
           "a fresh TD; counter `value` += words with TDHP in `mask` bytes", ordered=Order.LOCKED),
    OpInfo(Op.STOP, DRIVER, 0, NONE, NOTHING, FREE, (), (), PLAIN, "this actor is done"),
    OpInfo(Op.ARRIVE, DRIVER, 2, NONE, NOTHING, MARK, (R.DRAWS,), (R.DRAWS,), SLEEPS,
           "span `value` begins when its next arrival was meant to; otherwise: not yet"),
    OpInfo(Op.COMPUTE, LOCAL, 1, NONE, NOTHING, LOGIC, AT_SOURCE, (REGISTER,), PLAIN,
           "register = base `match` (source + value), in a type of `width` bits, signed if `mask`"),
    OpInfo(Op.FENCE, LOCAL, 1, NONE, NOTHING, LOCKED, (), (), PLAIN, "wait until this actor's own stores are visible",
           ordered=Order.LOCKED),
)
assert [info.op for info in OP_TABLE] == list(Op)


REGISTERS = 80
assert len(Register) <= REGISTERS
