"""TLB tracking: the TD epoch, its two reference counts, and what "tracked" means.

After a page is blocked, translations to it may still sit in the TLBs of running vCPUs.  The module
waits for them by counting, not by asking:

    td_epoch         goes up by one with each TDH.MEM.TRACK
    refcount[2]      how many vCPUs run that entered at an even, an odd epoch
    vcpu_epoch       the epoch at which this vCPU entered; another one than td_epoch at entry: flush
    bepoch           the epoch at which a page was blocked, kept in the page's PAMT entry

The module keeps td_epoch (64 bits) and the counts (16 bits each) in one 16-byte unit and reads it
with one CMPXCHG16B.  Here they share one 64-bit word, so that it too is read in one access:

    bits 63:32 td_epoch     31:16 refcount[1]     15:0 refcount[0]

Entry and exit change one count with a 16-bit XADD, TRACK stores the upper 32 bits plainly while it
holds the epoch lock exclusively, as the module does.

Source: helpers.c:2504-2546 (entry), helpers.h:1218-1248 (tracked, revert), td_exit.c:498-500,
tdh_mem_track.c.
"""

from kernels.compiling import kernel

EPOCH_SHIFT = 32
EPOCH_BYTE = 4                   # where td_epoch lies in the word
REFCOUNT_BYTES = 2               # refcount[i] lies at byte i * REFCOUNT_BYTES
REFCOUNT_MASK = 0xFFFF
FIRST_EPOCH = 1                  # tdh_mng_init.c:597-599


def epoch_word(epoch: int, even: int = 0, odd: int = 0) -> int:
    """The word for a td_epoch and the counts of vCPUs that entered at an even and an odd epoch."""
    assert 0 <= even <= REFCOUNT_MASK and 0 <= odd <= REFCOUNT_MASK
    return epoch << EPOCH_SHIFT | odd << 16 | even


@kernel
def refcount(word, epoch):
    """How many running vCPUs the word counts at an epoch of the same parity as `epoch`."""
    return word >> (16 * (epoch & 1)) & REFCOUNT_MASK


@kernel
def previous_epoch_busy(word):
    """Whether a vCPU still runs that entered before the current epoch: TRACK must fail then."""
    return refcount(word, (word >> EPOCH_SHIFT) + 1) != 0


@kernel
def is_tracked(word, bepoch):
    """Whether no TLB can hold a translation to a page that was blocked at `bepoch`."""
    epoch = word >> EPOCH_SHIFT
    if bepoch == epoch - 1:
        return refcount(word, bepoch) == 0
    return bepoch < epoch - 1
