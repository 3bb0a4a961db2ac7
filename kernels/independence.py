"""Accesses in an order that nobody can tell any more, because of what the others are still going to do.

A search notes which contested words each row touches, of each actor, and how.  By the contexts of a program (contexts.py) that says
what an actor may still touch from where it stands.  An access that conflicts with nothing that any other actor may still do comes
to the same before and after all of that, so it is made at once, as part of the step before; and where an actor stands at such an access
because another one has come further, that is the only move that is tried (a persistent set of one).  So each order of accesses that
conflict is tried still, and all ends are reached: from each state that the search keeps, those that can be reached by all orders.

What rows touch is learned from what happens, and held against it: a row that touches more than has been noted has the search begin again.
(Why nothing is missed: up to the first such access all orders are covered, so the search meets it.)

Checks look at words that the module does not have (who owns a lock). Whether two hold a lock at once depends on the order of these, too: they
count as touched by the step in which they are accessed.

An actor that goes round a loop of accesses of which nobody can tell does not keep the others from being tried: such a loop is left after
so many accesses (search.py, AT_ONCE_MOST), and where the one move that is tried leads to no later state than the one that it begins in, all moves
are tried; each round of a loop has such a state.

Words are named by bits, each half of 8 bytes for itself; those that find no name share the last one.
"""

import numpy as np

from kernels.compiling import kernel
from kernels.ops import OP_TABLE, Access, Fact, Kind, Op, Register
from kernels.packed import ALONE, SHARED, WHAT
from kernels.symmetry import LEADER

# How a row touches a word: columns of Known.touches (what is noted), .foreseen (what was noted when the search began) and .future (of that).
TOUCH_READ, TOUCH_CHANGE, TOUCH_COUNT = range(3)
TOUCHES = 3
NAMES_MAX = 62                   # the last bit but the sign
COUNTS = np.array([Fact.COUNTS in info.facts for info in OP_TABLE])
CHANGES = np.array([info.access in (Access.STORE, Access.CHANGE) for info in OP_TABLE])
WAITS = np.array([info.kind == Kind.WAIT for info in OP_TABLE])


@kernel
def bit_of(known, half):
    """The name of four bytes, as a bit; 0 if they have none and it cannot be given while others work."""
    if known.names[half] == 0:
        if known.asks[SHARED] != 0:
            known.asks[WHAT] = ALONE
            return np.int64(0)
        known.named[0] += 1
        known.names[half] = min(known.named[0], NAMES_MAX)
    return np.int64(1) << known.names[half] - 1


@kernel
def how_it_touches(row):
    """Readers that count in and out do so in any order, also where they are refused; an addition, if nobody looks at what was there."""
    op = np.int64(row.op)
    if COUNTS[op] and (op != Op.ADD or row.register == Register.SINK):
        return TOUCH_COUNT
    return TOUCH_CHANGE if CHANGES[op] else TOUCH_READ


@kernel(inline=False)
def note_touch(world, known, pc, began, where, span, actor):
    """Note what a row touches as part of the step that has begun with another one, of the actor and of all that are alike; known.named
    says whether something was not known."""
    alike, how = world.alike, how_it_touches(world.rows[pc])
    for half in range(where >> 2, (where + max(span, 1) - 1 >> 2) + 1):
        mine = np.int64(known.owner[half >> 1]) - 1
        for place in range(alike.shape[0]):
            if alike[place, LEADER] != alike[actor, LEADER]:
                continue
            if known.halves[pc] != 0 and half & 1 == 0:
                continue
            if mine < 0:
                add_touch(known, place, began, how, bit_of(known, half))
                continue
            for other in range(alike.shape[0]):
                if alike[other, LEADER] == alike[mine, LEADER] and (
                        alike[actor, LEADER] != alike[mine, LEADER] or (other == place) == (mine == actor)):
                    own = np.int64(known.own[other, known.part[half >> 1]]) << 1 | half & 1
                    add_touch(known, place, began, how, bit_of(known, own))


@kernel
def add_touch(known, place, pc, how, bit):
    """Note one; while others work nothing is written, as they write to the same words: the step is made again alone."""
    if known.touches[place, pc, how] & bit != bit:
        if known.asks[SHARED] != 0:
            known.asks[WHAT] = ALONE
            return
        known.touches[place, pc, how] |= bit
        known.named[1] = 1


@kernel
def is_independent(rows, locals_, touches, future, here, actor):
    """Whether the next access of an actor conflicts with nothing that any other may still do.  here: locals by place."""
    local = np.int64(here[actor])
    pc = locals_.rows[local, Register.PC]
    if locals_.fanout[local] != 1 or locals_.kicked[local] != 0 or WAITS[rows[pc].op]:
        return False
    read, change, count = touches[actor, pc, TOUCH_READ], touches[actor, pc, TOUCH_CHANGE], touches[actor, pc, TOUCH_COUNT]
    if read | change | count == 0:
        return False
    for other in range(touches.shape[0]):
        if other == actor:
            continue
        context = np.int64(locals_.context[here[other]])
        if context < 0:
            return False
        reads, changes, counts = future[other, context, TOUCH_READ], future[other, context, TOUCH_CHANGE], future[other, context, TOUCH_COUNT]
        if (read & (changes | counts)) | (change & (reads | changes | counts)) | (count & (reads | changes)):
            return False
    return True


@kernel(inline=False)
def alone(rows, locals_, touches, future, here, first, others):
    """The place of an actor that has an access of which nobody else can tell when it is made; -1 if there is none.

    first    this one, if it has; others: or any other
    """
    if first >= 0 and is_independent(rows, locals_, touches, future, here, first):
        return np.int64(first)
    if others:
        for actor in range(touches.shape[0]):
            if is_independent(rows, locals_, touches, future, here, actor):
                return np.int64(actor)
    return np.int64(-1)
