"""Actors that are alike: which of them is which makes no difference, so one order of them is enough.

Two actors are alike if they have the same script and start from the same registers, but for the number
that each has.  Exchange the two in any state - registers, and every word that holds a number - and
whatever could happen can happen still, with the two exchanged.  That is so as long as a number is a mere
*name*: an actor leaves its own in words that nobody but checks looks at (owners of locks: the search's
ghosts), and asks of what it finds there whether it is nobody's, or its own.  A search does not take that
on trust.  It watches each row that it executes, and begins again without all this once a row does
anything else with a number: `Names` in the search's own tables, `minds` here.

An actor may have words of its own: KVM's word about the vCPU, the PAMT words of its TDVPR page, its TDVPS with
epoch and translations.  These change places with it, and so do the registers that say where they lie (`OWN`).
A search watches that nobody reaches such a word in another way, or makes another address of such a register.

A loop over all vCPUs (a kick) goes from one to the next by CURSOR, so that those behind it have been kicked and
those before it not.  Only vCPUs on the same side change places then.  The loop tells them in their order; which
one is next is tried for each that is left (`picks`), as the order in which they stand is no longer the one that the loop
would have met.  So a search with actors that are alike has every order of telling: no run is missed, and a way that it
prints is looked for among those with the loop's own order (harness/engines/explore/ways.py).
"""

import numpy as np

from kernels.compiling import kernel
from kernels.ops import Op, Register
from kernels.words import NO_LP

# What the search knows of each actor: the first of those that it is alike to, and the one before it
# (-1: none); a bit for each of them; its number, as the registers ME and ROLE have it; where its own words lie, as the
# registers of OWN have it.
LEADER, LEFT, PEERS, NAME, ROLE, OWN_AT = range(6)
OWN = np.array([Register.TDVPS, Register.TDVPR_4K, Register.KICK], np.int64)
KICK_AT = OWN_AT + 2             # OWN_AT is the first of their columns
COLUMNS = range(OWN_AT + 3)

# How a word is watched (Known.ghosts): names that nobody but checks looks at; names that the module compares.
GHOST, NAMED = 1, 2

# What a row has to do with a loop over all vCPUs: nothing; it is within; it is the first access to the next one's word.
ELSEWHERE, WITHIN, PICKS = range(3)

NOTHING_READ = -1
LANE = 0xFFFF                    # a word of owners holds up to four names


@kernel
def uses_own_name(row):
    """Whether a row uses its actor's number otherwise than to store it or to compare with it."""
    return (row.base == Register.ME or row.register == Register.ME or row.base == Register.ROLE
            or row.register == Register.ROLE or row.source == Register.ROLE)


@kernel
def uses_own_place(row, accesses):
    """Whether a row uses a register that says where its actor's own words lie otherwise than to access them."""
    for register in OWN:
        if row.register == register or row.source == register or row.base == register and not accesses:
            return True
    return False


@kernel
def uses_cursor(row, op, accesses):
    """Whether a row reads CURSOR otherwise than to access a word."""
    return (row.source == Register.CURSOR or row.base == Register.CURSOR and not accesses
            or row.register == Register.CURSOR and op == Op.TEST)


@kernel
def minds(row, op, read, alive, alike, ghost):
    """Whether it can matter who is who, because a row is executed.

    read    the register that the row before has read names into, or NOTHING_READ
    alive   the registers that may be read from here on, as bits
    alike   whether the actor is one of several that are alike
    ghost   whether the row accesses a word of names (0: none; GHOST, NAMED)
    """
    compares = op == Op.TEST and row.mask == -1 and row.match == 0
    nobody = row.source == Register.ZERO and (row.value == 0 or ghost == NAMED and row.value == NO_LP)
    own = row.source == Register.ME
    if read != NOTHING_READ and alive >> read & 1:
        if not (compares and row.register == read and (own or row.source == Register.ZERO)):
            return True                  # a name goes further than to the test behind the access
    if ghost:
        if op == Op.LOAD or op == Op.EXCHANGE:
            if row.mask != 0 and not (row.mask == -1 and row.match == 0):
                return True
        elif op != Op.STORE and not (ghost == NAMED and op == Op.SWAP):
            return True
        if op != Op.LOAD and not (own and row.value == 0 or nobody):
            return True                  # something that is no name is left
    if not alike:
        return False
    if uses_own_name(row):
        return True
    return own and not ghost and not (compares and row.register == read)


@kernel
def exchanged(word, one, other):
    """A word of names with two of them exchanged."""
    for lane in range(0, 64, 16):
        name = word >> lane & LANE
        if name == one or name == other:
            word ^= (one ^ other) << lane
    return word
