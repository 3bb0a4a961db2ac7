"""What a guest does with its memory: translations it remembers, and what it keeps in its pages.

Translation cache, one per vCPU.  A real TLB keeps a translation until the processor flushes it, and
the module flushes only when the TD epoch has moved on since the vCPU's last entry.  So does this
cache: a removal that skips TRACK or the kick leaves a translation behind, and the next access goes
through it.  To see that, each page has a generation, which the host raises when it takes the page
back; an access through a translation of an older generation is a stale one.  Direct-mapped,
one 64-bit word per entry: generation << 32 | page + 1, zero if empty.

Page contents.  ACCEPT zeroes a page.  The vCPU then writes a signature at its start, made of page,
generation and seed, and whoever touches the page later finds zero (not signed yet), that signature,
or a fault in the harness's subject.  A removed page is poisoned.
"""

from kernels import atomics
from kernels.compiling import kernel

GENERATION_SHIFT = 32
PAGE_MASK = (1 << GENERATION_SHIFT) - 1
POISON = 0x5EED_DEAD_0BAD_F00D   # in pages that the host has taken back; no signature is equal to it


@kernel
def find_translation(address, entries, page):
    """The generation of the remembered translation of `page`, or -1."""
    entry = atomics.load64(address + 8 * (page & (entries - 1)))
    return entry >> GENERATION_SHIFT if entry & PAGE_MASK == page + 1 else -1


@kernel
def remember_translation(address, entries, page, generation):
    entry = generation << GENERATION_SHIFT | page + 1
    atomics.store64(address + 8 * (page & (entries - 1)), entry)


@kernel
def forget_translations(address, entries):
    for index in range(entries):
        atomics.store64(address + 8 * index, 0)


@kernel
def signature(page, generation, seed):
    """A word that depends on all three; never 0, never POISON."""
    word = mix(seed ^ mix(page ^ mix(generation)))
    return 1 if word == 0 or word == POISON else word


@kernel
def mix(word):
    """Scatter the bits of a 64-bit word; one to one (the finalizer of SplitMix64).

    The masks make a signed shift an unsigned one.
    """
    word = (word ^ word >> 30 & (1 << 34) - 1) * -4658895280553007687
    word = (word ^ word >> 27 & (1 << 37) - 1) * -7723592293110705685
    return word ^ word >> 31 & (1 << 33) - 1


@kernel(entry=True)
def count_foreign_contents(contents, stride, generations, generation_stride, mapped, numbers, seed):
    """How many accepted pages hold something else than zero or their signature, while no actor is at work.

    contents, generations   addresses of page 0's first word and of its generation
    mapped                  bool (pages,): which pages are MAPPED
    numbers                 int64 (pages,): their page numbers
    """
    foreign = 0
    for page in range(len(mapped)):
        if mapped[page]:
            number = numbers[page]
            word = atomics.load64(contents + number * stride)
            generation = atomics.load64(generations + number * generation_stride)
            if word != 0 and word != signature(number, generation, seed):
                foreign += 1
    return foreign
