"""What an actor of a scenario does next: one move of a search, or one turn of a schedule.

A *move* is one access to a contested word and all that follows up to the next one: registers, marks,
and accesses without a visible order.  Which those are is assumed and held against
what happens: a byte is contested once two actors have accessed it, one of them has changed it, and the
accesses are not all additions with unused results (readers that count in and out).  A move with an
access that breaks an assumption ends with RESTART, and the search begins again knowing better.
(Why nothing is missed: take any order of the actors in which an assumption breaks, up to the access
that breaks it.  Uncontested accesses in it can be moved up to the contested one they follow without
anybody reading anything else, so the search meets the same access.)

A *turn* is so many rows, as a move had them when it was found; `take` executes it in memory as it is and
notes each access, step by step or with each actor a real process.

Both execute a row in the same way: by `step`, or by `perform` where only a driver knows.  What the drivers of
runs draw by dice is a choice here: taken from the actor's script, or tried one outcome after the other
(`outcomes`).  Time is not modelled: whatever may take its time has passed, or not yet.
"""

from typing import NamedTuple

import numpy as np

from kernels import atomics, buffers, marks, record, stepping
from kernels.buffers import HELD
from kernels.compiling import kernel
from kernels.contexts import ANSWERED_BITS, EXIT_AT, EXIT_STATE, Contexts, forget_own
from kernels.guest import PAGE_MASK
from kernels.independence import note_touch
from kernels.machine import BLOCKED, load_word, step
from kernels.marks import MEASURED, STOP
from kernels.packed import ALONE, SHARED, WHAT
from kernels.ops import (
    NOTHING, OF_ROW, OP_TABLE, REGISTERS, STEPPING, TRANSLATION, TRANSLATIONS, ZEROED, Fact, Kind, Op, Order, Register,
)
from kernels.record import WORD
from kernels.symmetry import ELSEWHERE, GHOST, LEADER, NOTHING_READ, PEERS, minds, uses_cursor, uses_own_place
from kernels.words import HP_READER, SHAREX_READER

# How a move ends; FINISHED is well.  A search that ends with DIFFER or NARROW is to begin again: some actors
# that it took for alike differ; its table of memories is too narrow for all words that change.  CRAMPED: so are buffers.
FINISHED, RESTART, FULL, ENDLESS, DIFFER, NARROW, CRAMPED, UNKNOWN = range(8)

# Flags of a move.
CANNOT = 1                       # the actor has to wait
BUG = 2                          # KVM_BUG_ON
HALTED = 4                       # a sanity check of the module failed
COUNTED = 8                      # first of the flags of `violations`, one each

# What bounds a search: states to expand before it pauses; preemptions allowed, or -1; length of a run; what it
# forgets; words that a memory has room for; actors if some are alike, or 0; stores that a buffer has room for, or 0: without buffers; rows that a table has to have room for; bytes of all tables; the state before
# which to end; how many states a level has for which more workers are of use.
# An array, as LLVM would make copies of each loop by what it knows not to change.
PAUSE, PREEMPTIONS, MOVES, FORGET, WORDS, ALIKE, BUFFER, SPARE, BYTES, UNTIL, WIDE = range(11)
LIMITS = 11

# What nobody can tell any more, as bits of limits[FORGET]: the counts that lost tries leave in a lock word; the RIP of an entry;
# registers that are not read where an actor goes on from here, though they may be elsewhere (kernels/contexts.py).
LOST_TRIES, ENTRIES, CONTEXTS = 1, 2, 4
# Of the same: orders of accesses that nobody else can still tell (kernels/independence.py).
ORDERS = 8

ACTORS_MAX = 8
BRANCHES_MAX = 64                # outcomes of one choice
ROWS_MAX = 16_383                # rows of one move; more is a loop that no other actor can end
SETTLE = BRANCHES_MAX            # a move that makes no access of its own: up to the first contested one
# Of store buffers, in place of an outcome: the oldest store leaves the buffer; the first row's store goes into it (schedules).
DRAIN, HOLD = SETTLE + 1, SETTLE + 2
UNORDERED = np.int64(Order.NONE.value)
REFUSED = -1                     # in place of a row: this driver does not know the op

SPANS = np.array([info.bytes for info in OP_TABLE], np.int64)
KINDS = np.array([info.kind for info in OP_TABLE], np.int64)
COUNTING = np.array([Fact.COUNTS in info.facts for info in OP_TABLE])        # where all are such, order does not show

# What `take` notes of a row: its number, where it accesses memory, bits there (0: nowhere), the word before and
# after (elsewhere: the register that it names; of CALL_END: the answer), and the next row.
NOTED = ROW, WHERE, BITS, BEFORE, AFTER, THEN = range(6)


class World(NamedTuple):
    """A scenario: what is the same in all of its states.

    rows           (R,) of ops.ROW
    live           int64 (R,): bit r is set where register r is still read, at or behind the row; contexts: the same, closer
    base           address of memory; its words are changed
    start          int64: memory as it was at the start, as words
    scripts        int64 (actors, 2): where an actor's script lies in `values`, and its length
    values         int64: what the actors choose, one after the other
    branches       int64 (choices,): outcomes that are all tried, or 0: the next element of the script
    timeouts       outcomes of an OVERDUE row: 2 if time may run out there, 1 if it never does
    leave          int64 (actors,): where a vCPU goes on when its script is over; 0 for a host
    alike          int64 (actors, columns): see kernels/symmetry.py
    order          int64 (R,): Order of each row, with store buffers
    own            address of the record that marks go to; at: record.Tables; answer_kinds: int64 (answers,), AnswerKind
    violations     int64: the counters that count violations
    """

    rows: np.ndarray
    live: np.ndarray
    contexts: Contexts
    base: int
    start: np.ndarray
    scripts: np.ndarray
    values: np.ndarray
    branches: np.ndarray
    timeouts: int
    leave: np.ndarray
    alike: np.ndarray
    order: np.ndarray
    own: int
    at: record.Tables
    answer_kinds: np.ndarray
    violations: np.ndarray


class Known(NamedTuple):
    """What a search knows of memory so far.

    contested ..   uint8 by byte: known to be contested; which actors accessed it (bits); whether it was
                   changed; whether in ways of which the order shows; ghosts: words of names (symmetry.GHOST, NAMED)
    owner          int32 (words of memory): of words that are own ones of actors that are alike, the place of that actor + 1; or 0
    part           int32 (words of memory): which of its owner's words; own: int64 (actors, parts), where these lie, in words
    loops          int8 (R,): what each row has to do with loops over all vCPUs (symmetry.PICKS); kicks: int64 (TDs, 2),
                   where the words lie that these go through, and where they end
    cells          int64 (1,): how many words have been changed so far
    cell_at        int64: where they lie; cell_of: int32 (words of memory), the place in cell_at + 1
    initial        int64: their values at the start
    asks           int64 (ASKS,), of packed.py
    names ..       of kernels/independence.py
    """

    contested: np.ndarray
    accessors: np.ndarray
    changed: np.ndarray
    ordered: np.ndarray
    ghosts: np.ndarray
    owner: np.ndarray
    part: np.ndarray
    own: np.ndarray
    loops: np.ndarray
    kicks: np.ndarray
    cells: np.ndarray
    cell_at: np.ndarray
    cell_of: np.ndarray
    initial: np.ndarray
    asks: np.ndarray
    names: np.ndarray
    named: np.ndarray
    touches: np.ndarray
    foreseen: np.ndarray
    future: np.ndarray
    halves: np.ndarray


class Dice(NamedTuple):
    """How a choice comes out: as `branch` says where all outcomes are tried, else by the script from `first` on."""

    branch: int
    branches: np.ndarray
    timeouts: int
    values: np.ndarray
    first: int


# --- rows that `step` leaves to a driver --------------------------------------------------------

@kernel
def choose(dice, row, registers):
    if dice.branches[row.value] > 0:
        return dice.branch
    draws = registers[Register.DRAWS]
    registers[Register.DRAWS] = draws + 1
    return dice.values[dice.first + draws]


@kernel
def overdue(dice, row, own, at, now):
    return dice.branch if dice.timeouts > 1 else 0


interpret = marks.interpreter(marks.as_given, choose, overdue)


@kernel
def outcomes(world, row, op):
    """How many moves a row is the first of: more than one if all that a driver can decide is tried."""
    if op == Op.CHOOSE:
        return max(1, world.branches[row.value])
    return world.timeouts if op == Op.OVERDUE else 1


@kernel
def perform(world, row, op, registers, actor, branch):
    """A row that only a driver can see to: the row to go on at, or REFUSED."""
    first, length = world.scripts[actor, 0], world.scripts[actor, 1]
    half = world.own + WORD * world.at.half
    if op == Op.CHOOSE and world.branches[row.value] == 0 and registers[Register.DRAWS] >= length:
        registers[Register.DRAWS] = length + 1           # the script is over: the actor leaves instead
        return world.leave[actor]
    if op == Op.POLL:
        # A vCPU stops once it has left, a host before it would choose.
        last = length - (1 if world.leave[actor] == 0 else 0)
        phase = STOP if registers[Register.DRAWS] > last else MEASURED
        marks.poll(registers, world.own, half, world.own, world.at, phase)
    elif not interpret(row, op, registers, world.own, half, world.at, world.answer_kinds, 0,
                       Dice(branch, world.branches, world.timeouts, world.values, first)) \
            and op != Op.SPEND and op != Op.YIELD and op != Op.ARRIVE:
        return REFUSED
    return np.int64(row.next)


@kernel
def read_flags(world):
    """The flags of what has been counted since the last look."""
    flags = np.int64(0)
    bugs = world.own + WORD * world.at.bug_count
    if atomics.load64(bugs) != 0:
        atomics.store64(bugs, 0)
        flags |= BUG
    for number in range(world.violations.shape[0]):
        counter = world.own + WORD * (world.at.half + world.at.counters + world.violations[number])
        if atomics.load64(counter) != 0:
            atomics.store64(counter, 0)
            flags |= COUNTED << number
    return flags


# --- what a row accesses ------------------------------------------------------------------------

@kernel
def place_of(row, op, registers):
    """(first byte, bytes, first word, words) that a row accesses; bytes are < 0 where only this actor does."""
    span = SPANS[op]
    where = registers[row.base] + row.offset
    if span == OF_ROW:
        span = np.int64(row.width) // 8
    elif span == ZEROED:
        span = row.value
    first = where >> 3
    if span == TRANSLATION:
        first += registers[Register.GUEST_PAGE] & PAGE_MASK & row.value - 1
    # A translation that is forgotten has been noted as changed when it was remembered.
    words = 0 if span == NOTHING or span == TRANSLATIONS else 3 if span == STEPPING else 1
    return where, span, first, words


@kernel
def words_at(base, first, words):
    """(the words that may change of those that a row accesses, and where the last lies, in words).

    Of the zero-step mitigation these are two, and the next one of its list.
    """
    last = first + words - 1
    if words == 3:
        last = first + 2 + stepping.listed_count(base + 8 * first)
    one, two, three = np.int64(0), np.int64(0), np.int64(0)
    if words > 0:
        one, three = atomics.load64(base + 8 * first), atomics.load64(base + 8 * last)
    if words > 1:
        two = atomics.load64(base + 8 * first + 8)
    return one, two, three, last


@kernel
def note_changes(world, known, first, words, before):
    """Make the words that differ from `before` (words_at) part of the state; whether the first one does."""
    if words == 0:
        return False
    one, two, three, last = before
    changed = atomics.load64(world.base + 8 * first) != one
    if changed:
        note_word(world, known, first)
    if atomics.load64(world.base + 8 * last) != three:
        note_word(world, known, last)
    if words > 1 and atomics.load64(world.base + 8 * first + 8) != two:
        note_word(world, known, first + 1)
    return changed


@kernel
def note_word(world, known, cell):
    """Make a word part of the state, and with an actor's own word those of all that are alike."""
    if known.cell_of[cell] != 0:
        return
    if known.asks[SHARED] != 0:
        known.asks[WHAT] = ALONE
        return
    if known.owner[cell] == 0:
        add_cell(world, known, cell)
        return
    mine = known.owner[cell] - 1
    for place in range(world.alike.shape[0]):
        if world.alike[place, LEADER] == world.alike[mine, LEADER]:
            add_cell(world, known, known.own[place, known.part[cell]])


@kernel
def add_cell(world, known, cell):
    if known.cell_of[cell] == 0:
        known.cell_at[known.cells[0]] = 8 * cell
        known.initial[known.cells[0]] = world.start[cell]
        known.cells[0] += 1
        known.cell_of[cell] = known.cells[0]


@kernel
def note_bytes(world, known, where, span, actor, change, shows):
    """Note an access; whether a byte turns out to be contested that was not known to be.

    Whoever is alike makes it too: to the same bytes, or, of an actor's own words, to those of each.
    """
    news, peers = False, world.alike[actor, PEERS]
    for byte in range(where, where + span):
        mine = known.owner[byte >> 3] - 1
        if mine < 0:
            news |= note_byte(known, byte, peers, change, shows)
            continue
        for place in range(world.alike.shape[0]):
            if world.alike[place, LEADER] == world.alike[mine, LEADER]:
                who = (peers if world.alike[actor, LEADER] != world.alike[mine, LEADER]
                       else 1 << place if actor == mine else peers & ~(1 << place))
                news |= note_byte(known, own_byte(known, place, byte), who, change, shows)
    return news


@kernel
def own_byte(known, place, byte):
    """Where the byte of another actor's own words lies that one of an actor's is in the place of."""
    return known.own[place, known.part[byte >> 3]] << 3 | byte & 7


@kernel
def note_byte(known, byte, who, change, shows):
    known.accessors[byte] |= who
    known.changed[byte] |= change
    known.ordered[byte] |= shows
    several = known.accessors[byte] & known.accessors[byte] - 1
    if (several != 0 and known.changed[byte] != 0 and known.ordered[byte] != 0 and known.ghosts[byte] != GHOST
            and known.contested[byte] == 0):
        known.contested[byte] = 1
        return True
    return False


@kernel
def is_contested(known, where, span, kind):
    if kind == Kind.WAIT:
        return True
    for byte in range(where, where + span):
        if known.contested[byte] != 0:
            return True
    return False


@kernel
def contest(world, known, where, span):
    for byte in range(where, where + span):
        known.contested[byte] = 1
        mine = known.owner[byte >> 3] - 1
        for place in range(world.alike.shape[0]):
            if mine >= 0 and world.alike[place, LEADER] == world.alike[mine, LEADER]:
                known.contested[own_byte(known, place, byte)] = 1


@kernel
def shows_order(row, op, signal, after):
    """Whether the order of an access is visible: not that of an addition with an unused result."""
    if COUNTING[op] and signal != BLOCKED and after == row.next:
        return op == Op.ADD and row.register != Register.SINK
    return True


@kernel
def forget_lost_try(row, op, address, after):
    """A lost try leaves its count under the exclusive holder.  That one's release wipes it, and
    nothing shows how many there were: take it back at once."""
    if after == row.otherwise and (op == Op.SHAREX_TAKE_SHARED or op == Op.HP_TAKE_SHARED):
        lost = HP_READER if op == Op.HP_TAKE_SHARED else SHAREX_READER
        atomics.store16(address, atomics.load16(address) - lost)


@kernel
def misplaced(world, known, registers, row, op, pc, actor, first, span, several):
    """Watch over own words: whether a row reaches one, or makes an address, in a way that tells actors apart."""
    accesses = span != NOTHING
    if several and uses_own_place(row, accesses):
        return True
    looping = known.loops[pc] != ELSEWHERE
    if not looping and uses_cursor(row, op, accesses) and in_kicks(known, registers[Register.CURSOR]):
        return True
    if not accesses:
        return False
    mine, by_own = known.owner[first] - 1, is_own(row.base)
    if mine < 0:
        return several and by_own
    return not (by_own and mine == actor or looping and row.base == Register.CURSOR)


@kernel
def is_own(register):
    return register == Register.TDVPS or register == Register.TDVPR_4K or register == Register.KICK


@kernel
def in_kicks(known, where):
    """Whether a loop over all vCPUs may be there."""
    for td in range(known.kicks.shape[0]):
        if known.kicks[td, 0] <= where < known.kicks[td, 1]:
            return True
    return False


@kernel
def name_read(world, known, registers, row, op, pc, actor, where, first, span, read):
    """Watch over names: (the register that names are in behind a row, whether it matters who is who)."""
    ghost = np.int64(known.ghosts[where]) if span > 0 else np.int64(0)
    several = world.alike[actor, PEERS] & world.alike[actor, PEERS] - 1 != 0
    if misplaced(world, known, registers, row, op, pc, actor, first, span, several):
        return read, True
    if minds(row, op, read, world.live[pc], several, ghost):
        return read, True
    if ghost != 0 and op != Op.STORE:
        return np.int64(row.register), False
    return read if read != NOTHING_READ and world.live[pc] >> read & 1 else np.int64(NOTHING_READ), False


# --- store buffers ------------------------------------------------------------------------------

@kernel
def waits_for_drain(world, known, registers, order, where, span):
    """Whether a row cannot be executed before the actor's buffer is empty."""
    return order == Order.LOCKED and registers[HELD] != 0 and not (span > 0 and known.ghosts[where] == GHOST)


@kernel
def drain(world, known, registers, actor, limits):
    """The move in which an actor's oldest store reaches memory: as `move`."""
    pc = np.uint32(registers[Register.PC])
    if registers[HELD] == 0:
        return pc, True, 0, FINISHED
    if known.cells[0] + 3 * max(1, limits[ALIKE]) > limits[WORDS]:
        return pc, False, 0, NARROW
    cell = registers[buffers.FIRST] >> 11
    before = words_at(world.base, cell, 1)
    where, span = buffers.drain(world.base, registers)
    changed = note_changes(world, known, cell, 1, before)
    if note_bytes(world, known, where, span, actor, 1 if changed else 0, 1):
        return pc, False, 1, RESTART
    return pc, False, 1, FINISHED


# --- moves and turns ----------------------------------------------------------------------------

@kernel
def move(world, known, registers, actor, branch, limits):
    """One move of an actor, in registers and memory: (row it stops at, whether it cannot be made, rows, ending).

    A move that breaks an assumption goes on to where it ends, so that all that it breaks is known at once (512 entries
    that a split writes, say); the state that it comes to is of no use then.
    """
    pc, ending = np.uint32(registers[Register.PC]), FINISHED
    executed, read = 0, np.int64(NOTHING_READ)
    fresh = branch != SETTLE             # the one contested access is still to come
    began = np.int64(-1)                 # the row of that access
    buffered = limits[BUFFER] != 0
    if branch == DRAIN:
        return drain(world, known, registers, actor, limits)
    while executed <= 2 * ROWS_MAX:
        row = world.rows[pc]
        op = np.int64(row.op)
        kind = KINDS[op]
        where, span, first, words = place_of(row, op, registers)
        if limits[ALIKE] != 0:
            read, differ = name_read(world, known, registers, row, op, pc, actor, where, first, span, read)
            if differ:
                return pc, False, executed, DIFFER
        order = world.order[pc] if buffered else UNORDERED
        if buffered and waits_for_drain(world, known, registers, order, where, span):
            return pc, executed == 0, executed, ending
        if kind == Kind.DRIVER:
            several = outcomes(world, row, op) > 1
            if op == Op.STOP or op == Op.HALT or several and not fresh:
                return pc, False, executed, ending
            then = perform(world, row, op, registers, actor, branch)
            if then == REFUSED:
                return pc, False, executed, UNKNOWN
            fresh, pc = fresh and not several and not buffered, np.uint32(then)
            executed += 1
            continue

        contests = span > 0 and is_contested(known, where, span, kind)
        if contests and not fresh:
            return pc, False, executed, ending
        if known.cells[0] + 3 * max(1, limits[ALIKE]) > limits[WORDS]:
            return pc, False, executed, NARROW
        before = words_at(world.base, first, words)
        holds = contests and order == Order.STORE
        sees = contests and order == Order.LOAD and registers[HELD] != 0
        if holds and registers[HELD] == limits[BUFFER]:
            return pc, False, executed, CRAMPED
        word = atomics.load64(world.base + (where >> 3 << 3)) if holds else 0
        if sees:
            buffers.see_own(world.base, registers)
        after, signal = step(world.rows, pc, registers, world.base)
        if sees:
            buffers.unsee(world.base, registers)
        elif holds:
            bits = buffers.UNLOCK if op == Op.MMU_DROP_EXCLUSIVE else 8 * span
            buffers.hold(world.base, registers, where, bits, word)
        executed += 1
        if limits[FORGET] & LOST_TRIES:
            forget_lost_try(row, op, world.base + where, after)
        if span == STEPPING and limits[FORGET] & ENTRIES:
            stepping.forget_entry(world.base + where, op == Op.STEPPING_LOG)
        if limits[FORGET] & (CONTEXTS | ORDERS):
            if op == Op.ANSWER and registers[row.source] & ~ANSWERED_BITS != 0:
                return pc, False, executed, UNKNOWN
            if (op == Op.STORE and row.base == Register.TDVPS and row.offset == world.contexts.exits[EXIT_AT]
                    and row.value == world.contexts.exits[EXIT_STATE]):
                forget_own(world, known, registers[Register.TDVPS], actor, registers[Register.DRAWS] > world.scripts[actor, 1])
            executed -= np.int64(world.contexts.flushes[pc])
            began = np.int64(pc) if contests else began
            if limits[FORGET] & ORDERS and began >= 0 and span > 0 and (contests or known.ghosts[where] == GHOST):
                note_touch(world, known, pc, began, where, span, actor)
        changed = note_changes(world, known, first, words, before)
        if span > 0 and note_bytes(world, known, where, span, actor, 1 if changed else 0,
                                   1 if shows_order(row, op, signal, after) else 0):
            ending = RESTART
        if signal == BLOCKED:
            return pc, not changed, executed, ending
        if contests or buffered:
            fresh = False
        if not contests and executed > ROWS_MAX and span > 0 and known.ghosts[where] != GHOST:
            contest(world, known, where, span)          # so that a long loop becomes moves that can be seen
            return pc, False, executed, RESTART
        pc = after
    return pc, False, executed, ENDLESS if ending == FINISHED else ending


@kernel(entry=True)
def take(world, registers, actor, branch, rows, noted):
    """A turn: so many rows of an actor, in memory and registers as they are, each noted.

    noted    int64 (rows, columns): see NOTED
    Registers may have a buffer behind them; branch DRAIN is then a row of its own, noted as row -1.
    Returns how many rows have been executed: fewer if the actor comes to its end before.
    """
    buffered = registers.shape[0] > REGISTERS
    if branch == DRAIN:
        return note_drain(world, registers, noted) if buffered else 0
    for number in range(rows):
        pc = np.uint32(registers[Register.PC])
        row = world.rows[pc]
        op = np.int64(row.op)
        if op == Op.STOP or op == Op.HALT:
            return number
        where, span, _, _ = place_of(row, op, registers)
        bits = min(8 * span, 64) if span > 0 else 0
        holds = number == 0 and branch == HOLD and buffered
        sees = buffered and not holds and world.order[pc] == Order.LOAD
        word = atomics.load64(world.base + (where >> 3 << 3)) if holds else 0
        if sees:
            buffers.see_own(world.base, registers)
        before = load_word(world.base + where, bits) if bits else 0
        if KINDS[op] == Kind.DRIVER:
            then = perform(world, row, op, registers, actor, branch)
            if then == REFUSED:
                return number
        else:
            after, _ = step(world.rows, pc, registers, world.base)
            then = np.int64(after)
        registers[Register.PC] = then
        if holds:
            if registers[HELD] == (registers.shape[0] - buffers.FIRST) // 3:
                return number
            buffers.hold(world.base, registers, where, buffers.UNLOCK if op == Op.MMU_DROP_EXCLUSIVE else bits, word)
        noted[number, ROW], noted[number, WHERE], noted[number, BITS] = pc, where, bits
        noted[number, BEFORE], noted[number, THEN] = before, then
        noted[number, AFTER] = (load_word(world.base + where, bits) if bits else
                                registers[Register.ANSWER if op == Op.CALL_END else row.register])
        if sees:
            buffers.unsee(world.base, registers)
    return rows


@kernel
def note_drain(world, registers, noted):
    """The turn in which an actor's oldest store reaches memory: as `take`."""
    if registers[HELD] == 0:
        return 0
    place = registers[buffers.FIRST]
    where, bits = place >> 8, place & 0xFF if place & 0xFF != buffers.UNLOCK else np.int64(64)
    noted[0, ROW], noted[0, WHERE], noted[0, BITS] = -1, where, bits
    noted[0, BEFORE], noted[0, THEN] = load_word(world.base + where, bits), registers[Register.PC]
    buffers.drain(world.base, registers)
    noted[0, AFTER] = load_word(world.base + where, bits)
    return 1


assert HOLD < 1 << 7 and ACTORS_MAX << 8 <= 1 << 15       # a way (actor, branch) fits 16 bits
assert BLOCKED < 0 and len(OP_TABLE) == len(SPANS)
