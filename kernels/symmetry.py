"""Actors that are alike: which of them is which makes no difference, so one order of them is enough.

Two actors are alike if they have the same script and start from the same registers, but for the number
that each has.  Exchange the two in any state - registers, and every word that holds a number - and
whatever could happen can happen still, with the two exchanged.  That is so as long as a number is a mere
*name*: an actor leaves its own in words that nobody but checks looks at (owners of locks: the search's
ghosts), and asks of what it finds there whether it is nobody's, or its own.  A search does not take that
on trust.  It watches each row that it executes, and begins again without all this once a row does
anything else with a number: `Names` in the search's own tables, `minds` here.

(vCPUs with KVM's flows around them are never alike: each has words of its own, and a kick tells them
one after the other, in their order.)
"""

from kernels.compiling import kernel
from kernels.ops import Op, Register

# What the search knows of each actor: the first of those that it is alike to, and the one before it
# (-1: none); a bit for each of them; its number, as the registers ME and ROLE have it.
COLUMNS = LEADER, LEFT, PEERS, NAME, ROLE = range(5)

NOTHING_READ = -1
LANE = 0xFFFF                    # a word of owners holds up to four names


@kernel
def uses_own_name(row):
    """Whether a row uses its actor's number otherwise than to store it or to compare with it."""
    return (row.base == Register.ME or row.register == Register.ME or row.base == Register.ROLE
            or row.register == Register.ROLE or row.source == Register.ROLE)


@kernel
def minds(row, op, read, alive, alike, ghost):
    """Whether it can matter who is who, because a row is executed.

    read    the register that the row before has read names into, or NOTHING_READ
    alive   the registers that may be read from here on, as bits
    alike   whether the actor is one of several that are alike
    ghost   whether the row accesses a word of names
    """
    compares = op == Op.TEST and row.mask == -1 and row.match == 0
    own = row.source == Register.ME
    if read != NOTHING_READ and alive >> read & 1:
        if not (compares and row.register == read and (own or row.source == Register.ZERO)):
            return True                  # a name goes further than to the test behind the access
    if ghost:
        if op == Op.LOAD or op == Op.EXCHANGE:
            if row.mask != 0 and not (row.mask == -1 and row.match == 0):
                return True
        elif op != Op.STORE:
            return True
        if op != Op.LOAD and not (own or row.source == Register.ZERO) or op != Op.LOAD and row.value != 0:
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
