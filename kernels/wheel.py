"""A queue of events in time: who is next, in the order (time, order of asking).

A hierarchical timing wheel.  Times are whole ticks.  Level 0 has a slot for each of the next 1,024
ticks, level 1 one for each of the next 1,024 runs of 1,024 ticks, and so on; a slot is a list in the
order of arrival, and a bit map per level finds the first slot that is not empty.  When level 0 is
empty the first slot of the level above is dealt out over it.  So `push` and `pop` cost the same
however many events wait, where a binary heap compares and moves its way through log n of them.

Order among equal times is that of the pushes, exactly: a slot is dealt out, front to back, before
anybody can push into what it becomes.  A node stands in the queue once at most.
"""

from typing import NamedTuple

import numpy as np

from kernels import atomics
from kernels.compiling import kernel

BITS = 10                        # slots per level, as a power of two
SLOTS = 1 << BITS
LEVELS = 6                       # of 10 bits: 2**60 ticks
WORDS = SLOTS // 64              # words of a level's bit map ...
MAP = WORDS + 1                  # ... and one with a bit for each of them that is not zero
NOBODY = -1
NEVER = 1 << 62                  # later than any event

TAIL = 0xFFFF_FFFF               # a slot is head << 32 | tail


class Wheel(NamedTuple):
    """The arrays of a queue, all int64; changed in place.

    ends    (LEVELS * SLOTS,): first and last node of each slot, where the map says there are any
    maps    (LEVELS * MAP,)
    links   (nodes,): the node behind, or NOBODY
    times   (nodes,): when a node in the queue is due
    clock   (1,): the time of the last pop; nothing earlier can be pushed
    """

    ends: np.ndarray
    maps: np.ndarray
    links: np.ndarray
    times: np.ndarray
    clock: np.ndarray


def make(nodes: int) -> Wheel:
    """An empty queue for nodes 0 to `nodes` - 1, at time 0."""
    return Wheel(np.zeros(LEVELS * SLOTS, np.int64), np.zeros(LEVELS * MAP, np.int64),
                 np.full(nodes, NOBODY, np.int64), np.zeros(nodes, np.int64), np.zeros(1, np.int64))


@kernel
def level_of(distance):
    """The level for a time that differs from the clock in these bits."""
    if distance < 1 << BITS:
        return 0
    if distance < 1 << 2 * BITS:
        return 1
    return (63 - atomics.leading_zeros(distance)) // BITS


@kernel
def append(wheel, node, time):
    """Behind all others of the slot that `time` belongs to, as seen from the clock."""
    level = level_of(time ^ wheel.clock[0])
    slot = time >> BITS * level & SLOTS - 1
    end, word = level * SLOTS + slot, level * MAP + (slot >> 6)
    bit = 1 << (slot & 63)
    wheel.links[node] = NOBODY
    if wheel.maps[word] & bit:
        both = wheel.ends[end]
        wheel.links[both & TAIL] = node
        wheel.ends[end] = both & ~TAIL | node
    else:
        wheel.ends[end] = node << 32 | node
        wheel.maps[word] |= bit
        wheel.maps[level * MAP + WORDS] |= 1 << (slot >> 6)


@kernel
def push(wheel, node, time):
    """Put a node that is not in the queue there, due at `time`, which must not be past."""
    wheel.times[node] = time
    append(wheel, node, time)


@kernel
def first_slot(wheel, level):
    """The first slot of a level that is not empty, or NOBODY."""
    words = wheel.maps[level * MAP + WORDS]
    if words == 0:
        return NOBODY
    word = atomics.trailing_zeros(words)
    return word << 6 | atomics.trailing_zeros(wheel.maps[level * MAP + word])


@kernel
def clear(wheel, level, slot):
    word = level * MAP + (slot >> 6)
    wheel.maps[word] &= ~(1 << (slot & 63))
    if wheel.maps[word] == 0:
        wheel.maps[level * MAP + WORDS] &= ~(1 << (slot >> 6))


@kernel
def deal_out(wheel):
    """Fill level 0 from the first slot above it; returns whether there is one."""
    for level in range(1, LEVELS):
        slot = first_slot(wheel, level)
        if slot == NOBODY:
            continue
        shift = BITS * level
        wheel.clock[0] = wheel.clock[0] >> shift + BITS << shift + BITS | slot << shift
        clear(wheel, level, slot)
        node = wheel.ends[level * SLOTS + slot] >> 32
        while node != NOBODY:
            behind = wheel.links[node]
            append(wheel, node, wheel.times[node])
            node = behind
        return True
    return False


@kernel
def pop(wheel):
    """Take the first node out of the queue; NOBODY if it is empty.  The clock becomes its time."""
    slot = first_slot(wheel, 0)
    while slot == NOBODY:
        if not deal_out(wheel):
            return NOBODY
        slot = first_slot(wheel, 0)
    both = wheel.ends[slot]
    node = both >> 32
    if node == both & TAIL:
        clear(wheel, 0, slot)
    else:
        wheel.ends[slot] = wheel.links[node] << 32 | both & TAIL
    wheel.clock[0] = wheel.clock[0] >> BITS << BITS | slot
    return node


@kernel
def horizon(wheel):
    """A time before which no actor in the queue is due: exact if one is due soon, else a bound."""
    for level in range(LEVELS):
        slot = first_slot(wheel, level)
        if slot != NOBODY:
            shift = BITS * level
            return wheel.clock[0] >> shift + BITS << shift + BITS | slot << shift
    return NEVER


@kernel
def remove(wheel, node):
    """Take a node out of the middle of the queue; costs a walk through its slot."""
    time = wheel.times[node]
    level = level_of(time ^ wheel.clock[0])
    slot = time >> BITS * level & SLOTS - 1
    end = level * SLOTS + slot
    head = wheel.ends[end] >> 32
    tail = wheel.ends[end] & TAIL
    before = NOBODY
    if head != node:
        before = head
        while wheel.links[before] != node:
            before = wheel.links[before]
    behind = wheel.links[node]
    if before == NOBODY and behind == NOBODY:
        clear(wheel, level, slot)
    elif before == NOBODY:
        wheel.ends[end] = behind << 32 | tail
    else:
        wheel.links[before] = behind
        wheel.ends[end] = head << 32 | (before if behind == NOBODY else tail)


assert LEVELS * BITS < 62 and SLOTS % 64 == 0 and WORDS <= 64
