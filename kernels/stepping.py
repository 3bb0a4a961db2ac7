"""The zero-step mitigation: when the module suspects that the host never lets an instruction finish.

A host that unmaps a page again and again can make one guest instruction fault for ever and watch
it.  The module counts private EPT violations (EPFs) at one guest RIP, per vCPU:

    faults 1 to 6 at an unchanged RIP   the counter goes up to its threshold
    fault 7 and on                      the GPA is put in a list of 32 (once): the vCPU is *armed*
    any VM exit with another RIP        counter and list are emptied

An armed vCPU pays at every entry: TDH.VP.ENTER takes the SEPT tree lock exclusively, walks every
listed GPA, and if one would fault again returns an EPT-violation exit without entering.  Exits that
ACCEPT raises are not counted.  GPAs are compared with their low 12 bits; a guest here touches only
the first bytes of a page, so a page number does.

The state is a few words of the vCPU's TDVPS that only its own processor touches, hence no atomics
would be needed; they are read and written like every other word of the shared block.

Source: td_exit_stepping.c (1.5.01: filter 316-360, exit 189-194, log 362-406), tdx_tdvps.h.
"""

from kernels import atomics
from kernels.compiling import kernel
from kernels.words import EPF_LIST_SIZE, EPF_THRESHOLD

# Bytes from the start of the mitigation's part of a TDVPS.
RIP_ON_ENTRY = 0                 # 64 bits
EPF_COUNT = 8                    # 8 bits; possibly_epf_stepping
EPF_LENGTH = 9                   # 8 bits; last_epf_gpa_list_idx
EPF_LIST = 16                    # 64 bits each; last_epf_gpa_list, here page numbers
STEPPING_BYTES = EPF_LIST + 8 * EPF_LIST_SIZE


@kernel
def enter(address, rip):
    """Note the RIP at which the vCPU enters; return how many GPAs are listed against it."""
    atomics.store64(address + RIP_ON_ENTRY, rip)
    return atomics.load8(address + EPF_LENGTH)


@kernel
def exit_filter(address, rip):
    """Any VM exit: forward progress empties the counter and the list."""
    if atomics.load64(address + RIP_ON_ENTRY) != rip:
        atomics.store8(address + EPF_COUNT, 0)
        atomics.store8(address + EPF_LENGTH, 0)


@kernel
def log_fault(address, rip, page, threshold=EPF_THRESHOLD, room=EPF_LIST_SIZE):
    """A private EPT violation is about to be reported; return True if it arms the vCPU.

    threshold   faults that only count; room: GPAs that are listed at the most (a module of one's own may have others)
    """
    exit_filter(address, rip)
    count = atomics.load8(address + EPF_COUNT)
    if count < threshold:
        atomics.store8(address + EPF_COUNT, count + 1)
        return False
    length = atomics.load8(address + EPF_LENGTH)
    for index in range(length):
        if atomics.load64(address + EPF_LIST + 8 * index) == page:
            return False
    if length < room:
        atomics.store64(address + EPF_LIST + 8 * length, page)
        atomics.store8(address + EPF_LENGTH, length + 1)
    return length == 0


@kernel
def forget_entry(address, logged):
    """Wipe the RIP of the last entry where nothing can depend on it any more: for a search, which has fewer states then.

    With nothing counted and nothing listed there is nothing that another RIP could empty; and behind a fault that has
    been logged the vCPU is out, and enters again before anything looks.
    """
    if logged or atomics.load16(address + EPF_COUNT) == 0:
        atomics.store64(address + RIP_ON_ENTRY, 0)


@kernel
def listed_count(address):
    """How many GPAs are listed."""
    return atomics.load8(address + EPF_LENGTH)


@kernel
def listed(address, index):
    """The listed page number at `index`."""
    return atomics.load64(address + EPF_LIST + 8 * index)
