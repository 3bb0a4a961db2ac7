"""Which calls can make each other BUSY on the PAMT 2M entries of real ranges, under a kernel's design of Dynamic PAMT.

In KVM 6.16, which maps 4 KiB only, no call takes the PAMT 2M or 1G entry around a page exclusively: wherever pages lie, nobody is
BUSY there.  With Dynamic PAMT three calls do, of a range X: PAMT.ADD(X), PAMT.REMOVE(X), and DEMOTE of the page that X is.
Against them stand, shared:

    page   every call that names a 4 KiB page of X: there only while X is counted, and ADD and REMOVE come at a count of
           zero, so they never meet where counts change under a lock
    pair   PAMT.ADD(Y) and DEMOTE of Y, where the pages of Y's pair lie in X: of another TD, as a rule, so that only a lock of
           the host, or pairs in memory of their own, keeps them apart

A large page's own calls (AUG, PAGE.REMOVE and RECLAIM of 2 MiB) take X exclusively too, but X is then that page: no other page, and no
page of a pair, lies in it (memory/placement.py, WholeFrames), so they meet nobody.

Two of the three on one X: ADD and REMOVE are kept apart by the design's lock; while X is one large page neither is made.  What a
design's lock covers is in dpamt.py; which words each call takes, in the rows.  Pages lie by_use (no pair in a range with
other pages) or share ranges (memory/placement.py).  That counts are right is taken for granted here: `explore` says whether they are.
"""

from harness.memory.placement import BY_USE
from harness.protocol.contention import Conflict, between, uses
from harness.protocol.dpamt import Design
from harness.protocol.kvm_locks import CONTEXTS
from harness.protocol.releases import EXCLUSIVE, Release

ADD, REMOVE, DEMOTE = "tdh_phymem_pamt_add", "tdh_phymem_pamt_remove", "tdh_mem_page_demote"
OF_RANGES = (ADD, REMOVE, DEMOTE)
PAIRS = {ADD: ("RDX", "R8"), DEMOTE: ("R12", "R13")}     # operands that name the pages of a pair


def conflicts(release: Release, design: Design, placement: str) -> list[Conflict]:
    """The pairs of calls that a design leaves, on PAMT 2M entries; none on PAMT 1G entries, which only 1 GiB pages take exclusively."""
    taken = {call: tuple(use for use in found if use.resource == "PAMT_2M" and (use.mode != EXCLUSIVE or call in OF_RANGES))
             for call, found in uses(release).items() if call in CONTEXTS or call in OF_RANGES}
    return [each for each in between(taken) if not _kept_apart(design, placement, each)]


def _kept_apart(design: Design, placement: str, found: Conflict) -> bool:
    sides = ((found.a, found.a_mode, found.a_operand), (found.b, found.b_mode, found.b_operand))
    if found.a_mode == found.b_mode:                     # two calls about one range
        return design.lock != "none" or DEMOTE in (found.a, found.b)
    (own, _, _), (other, _, operand) = sorted(sides, key=lambda side: side[1] != EXCLUSIVE)
    if own == DEMOTE:                                    # its range is one page of a TD: no other page lies in it
        return True
    if operand not in PAIRS.get(other, ()):
        return design.counts and design.lock != "none"
    if placement == BY_USE or design.own_pool:
        return True
    return design.lock == "range" or design.lock == "global" and (other != DEMOTE or design.demote == "locked")
