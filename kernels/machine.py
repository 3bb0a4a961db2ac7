"""The machine: programs of micro-ops, and `step`, which executes one.

A SEAMCALL, a KVM flow and a guest are all *programs*: rows of one table (kernels/ops.py).  A row is
one micro-op, and a micro-op makes at most one atomic access to one shared word.  That makes the row
the unit of interleaving, and lets several drivers share the same programs: they differ only in who
calls `step`, and when.

A row that needs a condition first (a wait) goes back to itself and says so: the driver of
real processes spins, the simulator parks the actor, the search does not schedule it.  What only a
driver can know - time, choices, counters - is a row too; `step` returns its op as a signal.

Which of its rows a micro-op goes on at is its *outcome*: NEXT, OTHERWISE or PRIORITY, which are the
outcomes DONE, BUSY and PRIORITY of a step of a lock (locks.py).

An actor is a file of 64-bit registers, private to it; Register.PC is its next row.  Row 0 of every
program is HALT: where an actor goes when a sanity check of the module fails.
"""

import numpy as np

from kernels import arithmetic, atomics, epoch, guest, locks, rwlock, stepping
from kernels.compiling import kernel
from kernels.locks import HALTS, PRIORITY
from kernels.ops import Op, Register
from kernels.words import PS, RWX, STATE, STATE_MASK, UNKNOWN_STATE

# The state bits, 7:6, 9 and 56:53, side by side in eight bits, and which state they spell.
LOW_SHIFT, HIGH_SHIFT, BYTE = 6, 49, 0xFF


def _folded(word) -> int:
    return (word & STATE_MASK) >> LOW_SHIFT & BYTE | (word & STATE_MASK) >> HIGH_SHIFT


STATE_INDEX = np.full(BYTE + 1, UNKNOWN_STATE, np.int64)
STATE_INDEX[[_folded(state.word()) for state in STATE.values()]] = [state.index for state in STATE.values()]
assert _folded(STATE_MASK).bit_count() == STATE_MASK.bit_count()

NEXT, OTHERWISE = locks.DONE, locks.BUSY         # outcomes: which of its rows a micro-op goes on at
ARRIVED = PRIORITY               # the same of a walk that has reached its level

CONTINUE = -1                    # signals of step: nothing to report
BLOCKED = -2                     # the row must be tried again


@kernel
def state_index(word):
    """The index of the state that an SEPT entry's bits spell (UNKNOWN_STATE for none)."""
    bits = word & STATE_MASK
    return STATE_INDEX[bits >> LOW_SHIFT & BYTE | bits >> HIGH_SHIFT]


@kernel
def load_word(address, width):
    if width == 64:
        return atomics.load64(address)
    if width == 8:
        return atomics.load8(address)
    if width == 16:
        return atomics.load16(address)
    return atomics.load32(address)


@kernel
def store_word(address, width, value):
    if width == 64:
        atomics.store64(address, value)
    elif width == 8:
        atomics.store8(address, value)
    elif width == 16:
        atomics.store16(address, value)
    else:
        atomics.store32(address, value)


@kernel
def exchange_word(address, width, value):
    if width == 64:
        return atomics.exchange64(address, value)
    if width == 8:
        return atomics.exchange8(address, value)
    if width == 16:
        return atomics.exchange16(address, value)
    return atomics.exchange32(address, value)


@kernel
def swap_word(address, width, expected, value):
    if width == 64:
        return atomics.compare_swap64(address, expected, value)
    if width == 8:
        return atomics.compare_swap8(address, expected, value)
    if width == 16:
        return atomics.compare_swap16(address, expected, value)
    return atomics.compare_swap32(address, expected, value)


@kernel
def add_to_word(address, width, value):
    if width == 64:
        return atomics.fetch_add64(address, value)
    if width == 16:
        return atomics.fetch_add16(address, value)
    if width == 8:
        return atomics.fetch_add8(address, value)
    return atomics.fetch_add32(address, value)


@kernel
def step(rows, pc, registers, base):
    """Execute one micro-op: at most one access to one shared word.

    rows        (R,) of ROW, from assemble; read only
    pc          uint32, the row to execute
    registers   int64 (REGISTERS,), this actor's; changed in place
    base        address of shared memory; changed in place, atomically
    Returns (pc, signal): the next row, and CONTINUE, BLOCKED (the same row again) or the Op that
    the driver has to see to.
    Not checked: pc and registers in range, addresses inside memory.  assemble and plan see to that.
    """
    row = rows[pc]
    op = row.op
    address = base + registers[row.base] + row.offset
    outcome = NEXT

    if op == Op.SHAREX_TAKE_SHARED:
        outcome = locks.sharex_take_shared(address)
    elif op == Op.SHAREX_TAKE_EXCLUSIVE:
        outcome = locks.sharex_take_exclusive(address)
    elif op == Op.SHAREX_DROP_SHARED:
        outcome = locks.sharex_drop_shared(address)
    elif op == Op.SHAREX_DROP_EXCLUSIVE:
        outcome = locks.sharex_drop_exclusive(address)
    elif op == Op.HP_TAKE_SHARED:
        outcome = locks.hp_take_shared(address)
    elif op == Op.HP_CLEAR:
        outcome = locks.hp_clear(address)
        if registers[Register.HALTED_AT]:
            outcome |= HALTS
    elif op == Op.HP_REQUEST:
        outcome = locks.hp_request(address)
    elif op == Op.HP_TAKE_EXCLUSIVE:
        outcome = locks.hp_take_exclusive(address)
    elif op == Op.HP_TAKE_OVER_PRIORITY:
        outcome = locks.hp_take_exclusive_over_priority(address)
    elif op == Op.HP_DROP_SHARED:
        outcome = locks.hp_drop_shared(address)
    elif op == Op.HP_CHECK_EXCLUSIVE:
        outcome = locks.hp_check_exclusive(address)
    elif op == Op.HP_DROP_EXCLUSIVE:
        outcome = locks.hp_drop_exclusive(address)
    elif op == Op.HP_PROMOTE:
        outcome = locks.hp_promote(address)
    elif op == Op.HP_PROMOTE_OVER_PRIORITY:
        outcome = locks.hp_promote_over_priority(address)
    elif op == Op.ENTRY_TAKE:
        outcome = locks.entry_take(address, row.value, registers)
    elif op == Op.ENTRY_CLEAR_PRIORITY:
        outcome = locks.entry_clear_priority(address, row.value, registers)
    elif op == Op.ENTRY_REQUEST_PRIORITY:
        outcome = locks.entry_request_priority(address, row.value, registers)
    elif op == Op.ENTRY_SEE_PRIORITY:
        outcome = locks.entry_see_priority(address)
    elif op == Op.ENTRY_CHECK:
        outcome = locks.entry_check(address)
    elif op == Op.ENTRY_DROP:
        outcome = locks.entry_drop(address, row.value, registers)
    elif op == Op.ENTRY_REPLACE:
        word = registers[row.source] + row.value
        if row.mask:
            outcome, word = locks.entry_replace_checked(address, word, registers[Register.COPY], registers)
        else:
            word = locks.entry_replace(address, word, registers)
        registers[row.register] = word
    elif op == Op.MUTEX_TAKE:
        outcome = locks.mutex_take(address)
    elif op == Op.MUTEX_DROP:
        outcome = locks.mutex_drop(address)

    elif op == Op.LOAD:
        word = load_word(address, row.width)
        registers[row.register] = word
        outcome = NEXT if word & row.mask == row.match else OTHERWISE
    elif op == Op.LOAD_IN:
        word = load_word(address, row.width)
        registers[row.register] = word
        outcome = NEXT if row.mask >> word & 1 else OTHERWISE
    elif op == Op.STORE:
        store_word(address, row.width, registers[row.source] + row.value)
    elif op == Op.EXCHANGE:
        word = exchange_word(address, row.width, registers[row.source] + row.value)
        registers[row.register] = word
        outcome = NEXT if word & row.mask == row.match else OTHERWISE
    elif op == Op.SWAP:
        expected = registers[row.register]
        word = swap_word(address, row.width, expected, registers[row.source] + row.value)
        registers[row.register] = word
        outcome = NEXT if (word ^ expected) << 64 - row.width == 0 else OTHERWISE
    elif op == Op.ADD:
        registers[row.register] = add_to_word(address, row.width, registers[row.source] + row.value)
    elif op == Op.OR:
        word = atomics.fetch_or64(address, row.value)
        registers[row.register] = word
        outcome = NEXT if word & row.mask == row.match else OTHERWISE
    elif op == Op.AND:
        word = atomics.fetch_and64(address, row.value)
        registers[row.register] = word
        outcome = NEXT if word & row.mask == row.match else OTHERWISE
    elif op == Op.WALK:
        word = atomics.load64(address)
        registers[Register.COPY] = word
        registers[Register.WALK] = row.value
        if row.value != registers[Register.LEVEL]:
            if word & RWX == 0 or word & PS:
                outcome = OTHERWISE
        elif row.value:                  # at level 0 that is the row behind anyway
            outcome = ARRIVED
    elif op == Op.READ_ENTRY:
        word = atomics.load64(address)
        state = state_index(word)
        registers[Register.COPY] = word
        registers[Register.STATE] = state
        outcome = NEXT if row.mask >> state & 1 else OTHERWISE
    elif op == Op.ZERO_PAGE:
        atomics.zero(address, row.value)

    elif op == Op.WAIT_IS:
        if (atomics.load64(address) - registers[row.source]) & row.mask != row.match:
            return pc, BLOCKED
    elif op == Op.WAIT_NOT:
        if (atomics.load64(address) - registers[row.source]) & row.mask == row.match:
            return pc, BLOCKED
    elif op == Op.MMU_TAKE_SHARED:
        outcome = rwlock.take_shared(address)
        if outcome == rwlock.NOT_YET:
            return pc, BLOCKED
    elif op == Op.MMU_TAKE_EXCLUSIVE:
        if rwlock.take_exclusive(address) == rwlock.NOT_YET:
            return pc, BLOCKED
    elif op == Op.MMU_DROP_SHARED:
        rwlock.drop_shared(address)
    elif op == Op.MMU_DROP_EXCLUSIVE:
        rwlock.drop_exclusive(address)

    elif op == Op.LET:
        registers[row.register] = registers[row.source] + row.value
    elif op == Op.MERGE:
        registers[row.register] = row.value | registers[row.source] & row.mask
    elif op == Op.COMPUTE:
        registers[row.register] = arithmetic.compute(
            row.match, registers[row.base], registers[row.source] + row.value, np.int64(row.width), row.mask)
    elif op == Op.INDEX:
        scaled = (registers[row.source] >> row.width & row.mask) * row.match
        registers[row.register] = registers[row.base] + row.offset + scaled
    elif op == Op.TEST:
        difference = registers[row.register] - registers[row.source]
        outcome = NEXT if difference & row.mask == row.match else OTHERWISE
    elif op == Op.STATE:
        registers[row.register] = state_index(registers[row.source])
    elif op == Op.IN:
        outcome = NEXT if row.mask >> registers[row.source] & 1 else OTHERWISE
    elif op == Op.CALL:
        registers[Register.LINK] = row.otherwise
    elif op == Op.GO:
        return np.uint32(registers[row.register]), CONTINUE
    elif op == Op.ANSWER:
        registers[Register.STATUS] = registers[row.source] + row.value
        registers[Register.ANSWER] = row.mask
    elif op == Op.EPOCH_PREVIOUS:
        outcome = OTHERWISE if epoch.previous_epoch_busy(registers[row.register]) else NEXT
    elif op == Op.EPOCH_TRACKED:
        tracked = epoch.is_tracked(registers[row.register], registers[row.source])
        outcome = NEXT if tracked else OTHERWISE
    elif op == Op.STEPPING_ENTER:
        outcome = OTHERWISE if stepping.enter(address, registers[Register.RIP]) != 0 else NEXT
    elif op == Op.STEPPING_LISTED:
        index = registers[Register.INDEX]
        if index < stepping.listed_count(address):
            registers[row.register] = stepping.listed(address, index)
        else:
            outcome = OTHERWISE
    elif op == Op.STEPPING_EXIT:
        stepping.exit_filter(address, registers[Register.RIP])
    elif op == Op.STEPPING_LOG:
        armed = stepping.log_fault(
            address, registers[Register.RIP], registers[Register.PAGE], row.value, row.mask)
        outcome = OTHERWISE if armed else NEXT
    elif op == Op.TLB_FIND:
        found = guest.find_translation(address, row.value, registers[Register.GUEST_PAGE])
        registers[Register.GENERATION] = found
        outcome = NEXT if found >= 0 else OTHERWISE
    elif op == Op.TLB_REMEMBER:
        guest.remember_translation(
            address, row.value, registers[Register.GUEST_PAGE], registers[Register.GENERATION])
    elif op == Op.TLB_FORGET:
        guest.forget_translations(address, row.value)
    elif op == Op.FENCE:
        atomics.fence()
    elif op == Op.SIGN:
        registers[Register.SIGNATURE] = guest.signature(
            registers[Register.GUEST_PAGE], registers[Register.GENERATION], row.value)
    else:
        return row.next, op

    if outcome == NEXT:
        if row.straight:             # a processor foresees this branch, so it need not wait for row.next
            return np.uint32(pc + 1), CONTINUE
        return row.next, CONTINUE
    if outcome == OTHERWISE:
        return row.otherwise, CONTINUE
    if outcome & PRIORITY:
        if outcome & HALTS:              # a count that overflows over host priority: clear that, then halt
            registers[Register.HALTED_AT] = pc
        return row.priority, CONTINUE
    registers[Register.HALTED_AT] = pc
    return np.uint32(0), CONTINUE


@kernel(entry=True)
def steps(rows, registers, base, most, before):
    """`step` for Python to call, from Register.PC on, which moves on; returns the last signal.

    Until a step has a signal, `most` steps are done, or the next row's op is one of `before`.

    before   bool (ops,)
    """
    pc = np.uint32(registers[Register.PC])
    while True:
        pc, signal = step(rows, pc, registers, base)
        registers[Register.PC] = pc
        most -= 1
        if signal != CONTINUE or not most or before[rows[pc].op]:
            return signal


NO_OP = np.zeros(len(Op), np.bool_)          # `before` of steps that stop before none


def step_once(rows, registers, base) -> int:
    """One step of `steps`."""
    return steps(rows, registers, base, 1, NO_OP)


assert HALTS > PRIORITY > OTHERWISE > NEXT
assert (rwlock.TAKEN, rwlock.QUEUED) == (NEXT, OTHERWISE)
