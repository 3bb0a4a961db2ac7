"""Store buffers of x86-TSO: an actor's plain stores wait there, in order; it sees them at once, others once they have left.

A buffer lies behind an actor's registers, so that what an actor does next depends on its registers and on memory, as it
does without buffers (kernels/moves.py):

    registers[HELD]              how many stores wait
    registers[FIRST + 2 n ..]    where the n-th oldest goes (byte << 8 | bits; 0 bits: the unlock of a writer), and its value
    behind those                 scratch

What fills and empties a buffer are rows by their memory order (ops.Order), and a move of its own: DRAIN.
(Owens, Sarkar, Sewell: A better x86 memory model: x86-TSO, TPHOLs 2009.)
"""

from kernels import atomics, rwlock
from kernels.compiling import kernel
from kernels.machine import load_word, store_word
from kernels.ops import REGISTERS

HELD = REGISTERS + 1             # behind the column with the actor of a row of the table of locals
FIRST = HELD + 1
UNLOCK = 0                       # in place of a width


def columns(room: int) -> int:
    """Of the table of locals, with buffers of so many stores; 0: without."""
    return FIRST + 2 * room if room else HELD


def registers_with(room: int) -> int:
    """Of an actor's registers, scratch among them."""
    return FIRST + 3 * room if room else REGISTERS


@kernel
def word_of(base, place):
    return base + (place >> 11 << 3)


@kernel
def deliver(base, place, value):
    """A store reaches memory."""
    address = base + (place >> 8)
    if place & 0xFF == UNLOCK:
        rwlock.drop_exclusive(address)
    else:
        store_word(address, place & 0xFF, value)


@kernel
def see_own(base, registers):
    """Memory as an actor sees it, until `unsee`."""
    scratch = (registers.shape[0] - FIRST) // 3 * 2 + FIRST
    for each in range(registers[HELD]):
        place = registers[FIRST + 2 * each]
        registers[scratch + each] = atomics.load64(word_of(base, place))
        deliver(base, place, registers[FIRST + 2 * each + 1])


@kernel
def unsee(base, registers):
    scratch = (registers.shape[0] - FIRST) // 3 * 2 + FIRST
    for each in range(registers[HELD] - 1, -1, -1):
        atomics.store64(word_of(base, registers[FIRST + 2 * each]), registers[scratch + each])


@kernel
def hold(base, registers, where, bits, word):
    """A store that has just been made is taken back, and waits.  word: what its 64-bit word was before."""
    at = FIRST + 2 * registers[HELD]
    registers[at] = where << 8 | bits
    registers[at + 1] = load_word(base + where, bits) if bits != UNLOCK else 0
    registers[HELD] += 1
    atomics.store64(base + (where >> 3 << 3), word)


@kernel
def drain(base, registers):
    """The oldest store leaves: (its first byte, its bytes)."""
    place, last = registers[FIRST], FIRST + 2 * (registers[HELD] - 1)
    deliver(base, place, registers[FIRST + 1])
    for column in range(FIRST, last):
        registers[column] = registers[column + 2]
    registers[last] = registers[last + 1] = 0
    registers[HELD] -= 1
    return place >> 8, (place & 0xFF) // 8 if place & 0xFF != UNLOCK else 8
