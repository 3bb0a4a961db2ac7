"""Tables of rows that are distinguished by what is in them, each row once; several threads may add to one.

A table has an open index: a slot is 0 or has a row's number + 1, and above it as many bits of the row's hash as
there is room for, so that other rows are seldom looked at.  Who adds a row claims its slot first (compare and swap),
then writes it, then publishes its number; who meets a claimed slot waits for that moment.  Rows are whole, so
there are no collisions to reckon with; numbers are given out in the order in which rows come.
"""

from typing import NamedTuple

import numpy as np

from kernels import atomics
from kernels.compiling import kernel

EMPTY, CLAIMED = 0, 0xFFFFFFFF   # in a slot
ABSENT = -1                      # in place of a row
LOOKS = 1 << 6                   # at a claimed slot, before the processor is given up
AHEAD = 8                        # of so many rows the slots are on their way while an index is made again
MIX = -7046029254386353131


class Table(NamedTuple):
    """rows int64 (rows, columns); index: uint32, of it `slots` are in use.

    index_at, count_at, slots_at   addresses: of the index; of how many rows there are, and slots (int64)
    bits     of a slot that are a row's number + 1: 2 ** bits > rows + 2
    columns  how many columns distinguish rows; of each the lowest `spare` bits do not
    given    int64 (columns): the row that is looked for, one thread's own
    """

    rows: np.ndarray
    index: np.ndarray
    index_at: int
    count_at: int
    slots_at: int
    bits: int
    columns: int
    spare: int
    given: np.ndarray


@kernel
def fold(hash_, word):
    """A hash of everything so far and `word`."""
    hash_ = (hash_ ^ word) * MIX
    return hash_ ^ (hash_ >> 29 & 0x7FFFFFFFF)


@kernel
def hash_of(table, row):
    """The hash of a row that is given; a column that is 0 may as well not be there."""
    hash_ = np.int64(0)
    for column in range(table.columns):
        word = row[column] >> table.spare
        if word != 0:
            hash_ += fold(column + 1, word)
    return fold(0, hash_)


@kernel
def first_slot(hash_, slots):
    return (hash_ >> 32 & 0xFFFFFFFF) * slots >> 32


@kernel
def tag_of(table, hash_):
    """The bits of a hash that are in its slot."""
    return (hash_ & 0xFFFFFFFF) >> table.bits << table.bits


@kernel
def published(address):
    """The slot at an address, once it is not claimed."""
    looks = 0
    slot = atomics.load32(address)
    while slot == CLAIMED:
        atomics.pause()
        looks += 1
        if looks % LOOKS == 0:
            atomics.sched_yield()
        slot = atomics.load32(address)
    return slot


@kernel
def fetch_slot(table):
    """Have the slot on its way at which the given row is looked for; returns the row's hash."""
    hash_ = hash_of(table, table.given)
    atomics.prefetch(table.index_at + 4 * first_slot(hash_, atomics.load64(table.slots_at)))
    return hash_


@kernel
def intern(table, adds):
    """(the row that is as the given one, whether it is a new one); with adds = False (ABSENT, False) if there is none."""
    return intern_hashed(table, hash_of(table, table.given), adds)


@kernel
def intern_hashed(table, hash_, adds):
    """As `intern`, of a row with this hash."""
    slots = atomics.load64(table.slots_at)
    place, tag, numbers = first_slot(hash_, slots), tag_of(table, hash_), (1 << table.bits) - 1
    while True:
        address = table.index_at + 4 * place
        slot = published(address)
        if slot == EMPTY:
            if not adds:
                return np.int64(ABSENT), False
            if atomics.compare_swap32(address, EMPTY, CLAIMED) == EMPTY:
                fresh = atomics.fetch_add64(table.count_at, 1)
                for column in range(table.given.shape[0]):
                    table.rows[fresh, column] = table.given[column]
                atomics.store32(address, tag | fresh + 1)
                return fresh, True
            slot = published(address)
        if slot & ~numbers == tag:
            row, same = (slot & numbers) - 1, True
            for column in range(table.columns):
                same &= table.rows[row, column] >> table.spare == table.given[column] >> table.spare
            if same:
                return row, False
        place = place + 1 if place + 1 < slots else 0


@kernel
def index_again(table, slots):
    """An index of so many slots in place of the one there is.  Nobody else may be at work."""
    for slot in range(max(slots, atomics.load64(table.slots_at))):
        table.index[slot] = EMPTY
    atomics.store64(table.slots_at, slots)
    rows = atomics.load64(table.count_at)
    for row in range(rows):
        ahead = min(row + AHEAD, rows - 1)
        atomics.prefetch(table.index_at + 4 * first_slot(hash_of(table, table.rows[ahead]), slots))
        hash_ = hash_of(table, table.rows[row])
        place = first_slot(hash_, slots)
        while table.index[place] != EMPTY:
            place = place + 1 if place + 1 < slots else 0
        table.index[place] = tag_of(table, hash_) | row + 1


@kernel(entry=True)
def index_anew(table, slots):
    """As index_again, for Python; rows may be others now."""
    index_again(table, slots)
