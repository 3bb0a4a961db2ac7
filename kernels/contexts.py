"""Which registers are still going to be read, where an actor stands with what it knows.

By the row alone (moves.World.live) a call is read as if it could return to whoever calls it, and a guest that enters as if it
could go on anywhere.  A *context* is a row and bits of a few registers that decide where the actor goes on (a return address, a
status that has been answered); harness/protocol/contexts.py lists those that a program can come to.  Any context that a file of
registers agrees with says enough: all that can follow is among what follows from there.
"""

from typing import NamedTuple

import numpy as np

from kernels import atomics
from kernels.compiling import kernel
from kernels.ops import REGISTERS, Op, Register


class Contexts(NamedTuple):
    """The contexts of a program, by row.

    first    int32 (R + 1,): where those of each row begin
    control  int64 (control,): the registers that are known; values, bits: int64 (contexts, control): what these hold, and in which bits
    live     int64 (contexts, 4): bit r is set where register r is still read (two words), and where it is otherwise than by tests of some bits (two)
    tested   int64 (REGISTERS,): the bits that such tests look at
    exits    int64 (EXITS,): where a vCPU stores its state when it comes out, and what; where its epoch is, and what of it is its own alone
    flushes  uint8 (R,): 1 where a row is part of what an entry does only if the epoch is not that of the vCPU's last one; a move does not count
             these rows, as that may be forgotten (`forget_own`; harness/engines/explore/counted.py counts them)
    first_edge, edges   int32 (contexts + 1,) and int32: the contexts that each may go on to
    """

    first: np.ndarray
    control: np.ndarray
    values: np.ndarray
    bits: np.ndarray
    live: np.ndarray
    tested: np.ndarray
    exits: np.ndarray
    flushes: np.ndarray
    first_edge: np.ndarray
    edges: np.ndarray


EXIT_AT, EXIT_STATE, EPOCH_AT, OWN_AT, TLB_AT, OWN_END = range(6)        # of Contexts.exits, in bytes of a TDVPS
EXITS = 6
# In place of how many choices an actor has made: 1 if its script is over.
OVER = Register.DRAWS


# An answer's details are below this; `move` holds that against what happens.
ANSWERED_BITS = np.int64(0xFFFFFFFF)


@kernel(inline=False)
def context_at(contexts, pc, registers, length):
    """The number of a context that a file of registers agrees with; -1 if there is none.  length: of the actor's script."""
    over = np.int64(1 if registers[OVER] > length else 0)
    for each in range(contexts.first[pc], contexts.first[pc + 1]):
        agrees = True
        for number in range(contexts.control.shape[0]):
            word = over if contexts.control[number] == OVER else registers[contexts.control[number]]
            if (word ^ contexts.values[each, number]) & contexts.bits[each, number] != 0:
                agrees = False
                break
        if agrees:
            return np.int64(each)
    return np.int64(-1)


class Walk(NamedTuple):
    """What is filled while the contexts of a program are looked for; each array has room for as many as are allowed.

    count    int64 (2,): contexts and edges so far
    pcs      int32 (room,); values, bits: int64 (room, control), as Contexts has them
    same     int32 (room,): the context before of the same row, + 1; last: int32 (R,): the last one of each row, + 1
    first    int32 (room + 1,): where the edges of each begin; edges: int32: where it goes on, or ~ of that where nothing is written before
    live     int64 (room, 4)
    then     int64 (2, control) scratch: values and bits
    """

    count: np.ndarray
    pcs: np.ndarray
    values: np.ndarray
    bits: np.ndarray
    same: np.ndarray
    last: np.ndarray
    first: np.ndarray
    edges: np.ndarray
    live: np.ndarray
    then: np.ndarray


@kernel
def known_of(walk, at, control, register):
    """(value, bits that are known) of a register in a context."""
    if register == Register.ZERO:
        return np.int64(0), np.int64(-1)
    for number in range(control.shape[0]):
        if control[number] == register:
            return walk.values[at, number], walk.bits[at, number]
    return np.int64(0), np.int64(0)


@kernel
def shifted(value, bits, more):
    """What is known of the sum of a number of which some bits are known and a constant: no less, if the constant begins above
    all bits that are not known, and nothing otherwise."""
    if bits == -1:
        return value + more, np.int64(-1)
    below, unknown = np.int64(0), ~bits
    while unknown != 0:
        below, unknown = below << 1 | 1, unknown >> 1 & np.int64(0x7FFFFFFFFFFFFFFF)
    if more & below != 0:
        return np.int64(0), np.int64(0)
    return value + more, bits


@kernel
def come_to(walk, pc, values, bits, control, live):
    """The number of a context, which is a new one if need be; -1 if there is no room for it.  Registers that are not read are unknown."""
    for number in range(control.shape[0]):
        if not may_be_read(live[pc], control[number]):
            values[number], bits[number] = 0, 0
    at = np.int64(walk.last[pc]) - 1
    while at >= 0:
        same = walk.pcs[at] == pc
        for number in range(control.shape[0]):
            same &= walk.values[at, number] == values[number] and walk.bits[at, number] == bits[number]
        if same:
            return at
        at = np.int64(walk.same[at]) - 1
    at = walk.count[0]
    if at == walk.pcs.shape[0]:
        return np.int64(-1)
    walk.count[0] += 1
    walk.pcs[at], walk.same[at], walk.last[pc] = pc, walk.last[pc], at + 1
    for number in range(control.shape[0]):
        walk.values[at, number], walk.bits[at, number] = values[number], bits[number]
    return at


@kernel
def may_be_read(live, register):
    """By the row alone, which says nothing of registers from 64 on."""
    return register >= 64 or live >> register & 1 != 0


@kernel
def put_known(control, values, bits, register, value, known):
    for number in range(control.shape[0]):
        if control[number] == register:
            values[number], bits[number] = value & known, known


@kernel
def is_over(walk, at, control):
    value, bits = known_of(walk, at, control, np.int64(OVER))
    return value == 1 and bits == -1


@kernel
def decided(walk, at, control, row):
    """Where a test goes on by what is known: 1 next, 2 otherwise; 0: either."""
    one, one_bits = known_of(walk, at, control, np.int64(row.register))
    other, other_bits = known_of(walk, at, control, np.int64(row.source))
    if other != 0 or other_bits != -1:
        if one_bits != -1 or other_bits != -1:
            return 0
        one = one - other
    bits = one_bits & row.mask
    if (one ^ row.match) & bits != 0 or row.match & ~row.mask != 0:
        return 2
    return 1 if bits == row.mask else 0


@kernel(entry=True)
def find_contexts(rows, writes, first_then, thens, leaves, control, live, walk):
    """Expand the contexts that `walk` begins with; whether there was room.

    writes      int64 (R, 2): registers that a row writes or may write, but for OVER
    first_then, thens   int32 (R + 1,) and int32: the rows that each may go on at; leaves: the row at which a script that is over goes on, or 0
    live        int64 (R,): by the row alone
    """
    values, bits = walk.then[0], walk.then[1]
    at = np.int64(0)
    while at < walk.count[0]:
        pc = np.int64(walk.pcs[at])
        row = rows[pc]
        op = np.int64(row.op)
        begins, ends, only = np.int64(first_then[pc]), np.int64(first_then[pc + 1]), np.int64(-1)
        if op == Op.GO:
            value, known = known_of(walk, at, control, np.int64(row.register))
            only = value if known == -1 else only
        elif op == Op.TEST:
            way = decided(walk, at, control, row)
            only = np.int64(row.next) if way == 1 else np.int64(row.otherwise) if way == 2 else only
        walk.first[at] = walk.count[1]
        extra = 1 if op == Op.CHOOSE and leaves != 0 else 0
        count = (1 if only >= 0 else ends - begins) + extra
        if walk.count[1] + count > walk.edges.shape[0]:
            return False
        for number in range(count):
            leaving = extra == 1 and number == count - 1
            target = leaves if leaving else only if only >= 0 else np.int64(thens[begins + number])
            for each in range(control.shape[0]):
                values[each], bits[each] = walk.values[at, each], walk.bits[at, each]
                if writes[pc, control[each] >> 6] >> (control[each] & 63) & 1 and not leaving:
                    values[each], bits[each] = 0, 0
            if op == Op.LET:
                value, known = known_of(walk, at, control, np.int64(row.source))
                value, known = shifted(value, known, row.value)
                put_known(control, values, bits, np.int64(row.register), value, known)
            elif op == Op.CALL:
                put_known(control, values, bits, np.int64(Register.LINK), np.int64(row.otherwise), np.int64(-1))
            elif op == Op.POLL and is_over(walk, at, control):
                put_known(control, values, bits, np.int64(Register.STOPPING), np.int64(1), np.int64(-1))
            elif op == Op.ANSWER:
                low = np.int64(0) if row.source == Register.ZERO else ANSWERED_BITS
                value, known = shifted(np.int64(0), ~low, row.value)
                put_known(control, values, bits, np.int64(Register.STATUS), value, known)
                put_known(control, values, bits, np.int64(Register.ANSWER), row.mask, np.int64(-1))
            if leaving:
                put_known(control, values, bits, np.int64(OVER), np.int64(1), np.int64(-1))
            then = come_to(walk, target, values, bits, control, live)
            if then < 0:
                return False
            walk.edges[walk.count[1]] = ~then if leaving else then
            walk.count[1] += 1
        at += 1
    walk.first[at] = walk.count[1]
    return True


@kernel(entry=True)
def find_live(reads, writes, walk):
    """Fill walk.live: registers that are read in a context or behind it.  reads, writes (whatever happens): int64 (R, 4), in words as `live`."""
    count, changed = walk.count[0], True
    for at in range(count):
        for word in range(4):
            walk.live[at, word] = reads[walk.pcs[at], word]
    while changed:
        changed = False
        for at in range(count - 1, -1, -1):
            pc = np.int64(walk.pcs[at])
            for word in range(4):
                now = walk.live[at, word]
                for edge in range(walk.first[at], walk.first[at + 1]):
                    then = np.int64(walk.edges[edge])
                    now |= walk.live[~then, word] if then < 0 else walk.live[then, word] & ~writes[pc, word]
                if now != walk.live[at, word]:
                    walk.live[at, word] = now
                    changed = True


@kernel(entry=True)
def find_future(contexts, touches, future):
    """Fill what each actor may still touch, in each context and behind it.

    touches   int64 (actors, R, columns), bits: what each row has been seen to touch; future: int64 (actors, contexts, columns)
    """
    actors, rows, columns = touches.shape
    for actor in range(actors):
        for pc in range(rows):
            for at in range(contexts.first[pc], contexts.first[pc + 1]):
                for column in range(columns):
                    future[actor, at, column] = touches[actor, pc, column]
        changed = True
        while changed:
            changed = False
            for at in range(contexts.live.shape[0] - 1, -1, -1):
                for column in range(columns):
                    now = future[actor, at, column]
                    for edge in range(contexts.first_edge[at], contexts.first_edge[at + 1]):
                        now |= future[actor, contexts.edges[edge], column]
                    if now != future[actor, at, column]:
                        future[actor, at, column] = now
                        changed = True


@kernel
def clear(contexts, context, registers):
    """Leave of registers what still makes a difference."""
    for register in range(REGISTERS):
        word, bit = register >> 6, register & 63
        if contexts.live[context, word] >> bit & 1 == 0:
            registers[register] = 0
        elif contexts.live[context, 2 + word] >> bit & 1 == 0:
            registers[register] &= contexts.tested[register]


@kernel(inline=False)
def forget_own(world, known, tdvps, actor, over):
    """Put words of a vCPU that comes out back as they were at the start.  Words that others access stay.

    over    whether its script is behind it: it does not enter again, so that it has no use for any.  Otherwise the epoch of its last
            entry goes if it remembers no translation: the next entry, which alone reads it, stores another one or has nothing to flush
    """
    exits = world.contexts.exits
    if over:
        for at in range(tdvps + exits[OWN_AT], tdvps + exits[OWN_END], 8):
            put_back(world, known, at, actor)
    else:
        for at in range(tdvps + exits[TLB_AT], tdvps + exits[OWN_END], 8):
            if atomics.load64(world.base + at) != 0:
                return
    put_back(world, known, tdvps + exits[EPOCH_AT], actor)


@kernel
def put_back(world, known, at, actor):
    if known.cell_of[at >> 3] != 0 and known.accessors[at] & ~(1 << actor) == 0:
        atomics.store64(world.base + at, world.start[at >> 3])
