"""Which calls can make each other BUSY, on what, and what each would see: read off the rows, nothing runs.

Two calls contend for a resource if both take it and at least one takes it exclusively; whichever comes
second gets TDX_OPERAND_BUSY with the operand that its row names.  Not where a lock that both take before it and
drop behind it keeps them apart (ABOVE): of two such calls the second is BUSY on that one.

    resource     what it is                                              they meet if it is the same
    TDR          PAMT 4K entry of the TDR page                           TD
    OP_STATE     lock of the TDCS ("TDCS" in the lock report)            TD
    TDVPR        PAMT 4K entry of the TDVPR page                         vCPU
    TD_EPOCH     lock of td_epoch and its counts                         TD
    SEPT_TREE    secure_ept_lock                                         TD
    SEPT_ENTRY   TDEL of one SEPT entry                                  GPA and level
    PAGE         PAMT entry of a page that is added, removed, ...        page
    PAMT_2M      PAMT 2M entry above a page, or of a large page          2 MiB of physical memory
    PAMT_1G      PAMT 1G entry above a page                              1 GiB of physical memory
    KOT          Key Ownership Table                                     machine
    KET, WBT     key table, write-back mutex                             package
    MIG          lock of the TD's migration context                      TD
    MIGSC        a migration stream                                      stream
    RTMR         run-time measurement registers                          TD
    SERVTD_BINDINGS   table of a TD's service TDs                        TD
    MMIOMT, DEVIFCS, IOMMU   tables of devices, of the 2.0 line          device
    GLOBAL       the module's global lock                                machine
    TDMR         a TDMR that is initialized                              TDMR

What KVM's own locks leave of that is `under_kvm` (kvm_locks.py has the table).
"""

import functools
from typing import Mapping, NamedTuple

from harness.protocol.kvm_locks import RUN, SMALL_PAGES_ONLY, excluded
from harness.protocol.releases import BY_NAME, EXCLUSIVE, Release

RESOURCES = ("TDR", "OP_STATE", "TDVPR", "TD_EPOCH", "SEPT_TREE", "SEPT_ENTRY", "PAGE", "PAMT_2M", "PAMT_1G", "KOT",
             "KET", "WBT", "MIG", "MIGSC", "RTMR", "SERVTD_BINDINGS", "GLOBAL", "TDMR",
             "MMIOMT", "DEVIFCS", "IOMMU")
# Locks of a TD, and which others of the same TD every call takes before them and drops behind them.
ABOVE = {"OP_STATE": ("TDR",), "SEPT_TREE": ("TDR", "OP_STATE"), "SEPT_ENTRY": ("TDR", "OP_STATE", "SEPT_TREE"),
         "TD_EPOCH": ("TDR", "OP_STATE"), "MIG": ("TDR", "OP_STATE"), "MIGSC": ("TDR", "OP_STATE", "MIG")}
# The lock report's words for them.
SYNONYMS = {"TDCS": "OP_STATE", "TDCS EPOCH": "TD_EPOCH", "EPOCH": "TD_EPOCH", "SECURE_EPT_LOCK": "SEPT_TREE",
            "SEPT ENTRY": "SEPT_ENTRY", "SEPT TREE": "SEPT_TREE", "PAMT": "PAGE"}


class Use(NamedTuple):
    """One way in which a call takes a resource."""

    resource: str
    mode: str
    operand: str                 # of the BUSY that it answers if it loses


class Conflict(NamedTuple):
    """Two calls that can make each other BUSY on a resource; a <= b."""

    a: str
    b: str
    resource: str
    a_mode: str
    b_mode: str
    a_operand: str
    b_operand: str


def resource_of(lock, level: int) -> str:
    """The resource that a lock of a row is a lock of."""
    from kernels.ops import Register as R
    name, _, size = lock.resource.partition(".")
    if size:
        return f"PAMT_{size}"
    if lock.base == R.OWN_SIZE or lock.base == R.PAMT and level == 1 and name == "PAGE" and lock.mode == EXCLUSIVE:
        return "PAMT_2M"
    return {"CHILD_ENTRIES": "SEPT_ENTRY", "TARGET": "PAGE", "PAIR0": "PAGE", "PAIR1": "PAGE", "SERVICE_TDR": "TDR",
            "SERVICE_OP_STATE": "OP_STATE"}.get(name, name)


@functools.cache
def uses(release: Release, under_kvm: bool = False) -> dict[str, tuple[Use, ...]]:
    """The resources that each call takes, at any level (that KVM uses), in the order in which it takes them."""
    from harness.protocol.seamcalls import seamcalls         # the rows, and with them Numba
    from kernels.ops import Register as R
    found = {}
    for row in seamcalls(release):
        taken, small = {}, under_kvm and row.name in SMALL_PAGES_ONLY
        for level in row.levels[:1] if small else row.levels:
            for phrase in row.phrases:
                for lock in phrase.locks(level, release) if hasattr(phrase, "locks") else ():
                    sept_page = row.name in ("tdh_mem_sept_remove", "tdh_mem_page_promote") and lock.base == R.PAMT
                    resource = "PAGE" if sept_page else resource_of(lock, level)
                    if small and resource == "PAMT_2M" and lock.mode == EXCLUSIVE:
                        continue         # RECLAIM takes it so only where it finds a large page
                    operand = phrase.operand_of(lock) if hasattr(phrase, "operand_of") else phrase.operand
                    taken[Use(resource, lock.mode, operand)] = None
        found[row.name] = tuple(taken)
    return found


def conflicts(release: Release, resource: str | None = None, under_kvm: bool = False,
              phase: str | None = None, apart: bool = False) -> list[Conflict]:
    """Every pair of calls, with every pair of modes in which they contend, sorted.

    resource    only that one (RESOURCES)
    under_kvm   without what KVM 6.16's own locks exclude; with `phase`, of that part of the TD's life
    apart       instead those that would, were it not for a lock above
    """
    return between(uses(release, under_kvm), resource, under_kvm, phase, apart)


def between(taken: Mapping[str, tuple[Use, ...]], resource: str | None = None, under_kvm: bool = False,
            phase: str | None = None, apart: bool = False) -> list[Conflict]:
    """`conflicts` of calls of which is known what they take."""
    return sorted({
        _conflict(a, b, one, other)
        for a in taken for b in taken if a <= b
        for one in taken[a] for other in taken[b]
        if one.resource == other.resource and resource in (None, one.resource)
        and EXCLUSIVE in (one.mode, other.mode) and kept_apart(taken[a], taken[b], one.resource) == apart
        and not (under_kvm and excluded(a, b, one.resource, phase))})


def kept_apart(one: tuple[Use, ...], other: tuple[Use, ...], resource: str) -> bool:
    """Whether two calls never get to a resource together, as they exclude each other on a lock above it."""
    def excludes(lock: str) -> bool:
        modes = [{use.mode for use in uses if use.resource == lock} for uses in (one, other)]
        return all(modes) and any(mode == {EXCLUSIVE} for mode in modes)

    return any(excludes(lock) for lock in ABOVE.get(resource, ()))


def _conflict(a: str, b: str, one: Use, other: Use) -> Conflict:
    if a == b and (one.mode, one.operand) > (other.mode, other.operand):
        one, other = other, one
    return Conflict(a, b, one.resource, one.mode, other.mode, one.operand, other.operand)


def pairs(found: list[Conflict], resource: str) -> list[tuple[str, str]]:
    """The pairs of calls that contend for one resource."""
    return sorted({(each.a, each.b) for each in found if each.resource == resource})


# --- the lock report's conclusions, as the rows have them --------------------------------------

class Conclusion(NamedTuple):
    """One of the report's conclusions (1) to (8): what it is about, whether the rows bear it out, how."""

    number: int
    resource: str
    text: str
    holds: bool
    pairs: tuple[tuple[str, str], ...]


PAGE_CALLS = ("tdh_mem_sept_add", "tdh_mem_page_aug", "tdh_mem_page_remove", "tdh_mem_sept_remove",
              "tdh_mem_range_block", "tdh_mem_range_unblock")


def conclusions(release: Release) -> list[Conclusion]:
    """The conclusions of the lock report (Yan Zhao, 13 Sep 2024) for a release, computed from its rows.

    Of the running TD, under KVM's locks.  Two suspected vCPUs against each other and two guests on one
    entry follow from the rows too, though the report does not mention them; they are not held against it.
    """
    left = conflicts(release, under_kvm=True, phase=RUN)
    host = [each for each in left if (each.a, each.b) != ("tdh_vp_enter", "tdh_vp_enter")]

    def one(number, resource, text, expected=()):
        found = tuple(pairs(host, resource))
        known = tuple(pair for pair in found if not all(call.startswith("tdg") for call in pair)
                      and not any("attr" in call for call in pair))
        wanted = {tuple(sorted(pair)) for pair in expected}
        return Conclusion(number, resource, text, set(known) == wanted, tuple(pairs(left, resource)))

    return [
        one(1, "TDR", "only shared while the TD runs; no contention"),
        one(2, "KOT", "KVM avoids contention"),
        one(3, "OP_STATE", "TDCS: shared, or not taken; no contention"),
        one(4, "TDVPR", "one vCPU's thread at a time; KVM avoids contention"),
        one(5, "TD_EPOCH", "tdh_mem_track contends with tdh_vp_enter", [("tdh_mem_track", "tdh_vp_enter")]),
        one(6, "SEPT_TREE", "tdh_vp_enter that suspects zero-stepping contends with tdh_mem*",
            [("tdh_vp_enter", call) for call in PAGE_CALLS]),
        one(7, "SEPT_ENTRY", "tdg_mem_page_accept contends with tdh_mem*",
            [("tdg_mem_page_accept", call) for call in PAGE_CALLS]),
        one(8, "PAGE", "different pages, different PAMT entries: no contention"),
    ]


class Disagreement(NamedTuple):
    """Where the source says otherwise than the report's table, for calls that both have."""

    resource: str
    pairs: tuple[tuple[str, str], ...]
    in_report: bool              # the report has these pairs, the source does not; or the reverse
    reason: str


REASONS = {
    ("TDVPR", True): "TDH.VP.ENTER holds the TDVPR shared (tdh_vp_enter.c:602-608): one vCPU on two processors is"
                     " refused by its state or association, not by the lock",
    ("PAMT_2M", False): "pages named by address hold the PAMT 2M entry too, a large AUG, REMOVE or RECLAIM exclusively"
                        " (pamt_manager.c:191-284)",
    ("PAMT_1G", False): "pages named by address hold the PAMT 1G entry too (pamt_manager.c:191-284)",
    ("KET", False): "TDH.MNG.KEY.CONFIG contends for the hardware's key table (helpers.c:86-91)",
    ("SEPT_TREE", True): "from 1.5.20 the entry filter takes the SEPT tree shared",
    ("TDR", True): "TDH.VP.INIT version 1 takes the TDR shared in 1.5.01, exclusively from 1.5.05",
}


def disagreements(release: Release) -> list[Disagreement]:
    """What the report's table says otherwise than a release's rows, pair by pair, with the reason."""
    report, source = conflicts(BY_NAME["report-2024"]), conflicts(release)
    known = set(uses(BY_NAME["report-2024"]))
    found = []
    for resource in RESOURCES:
        said = set(pairs(report, resource))
        true = {pair for pair in pairs(source, resource) if known.issuperset(pair)}
        for difference, in_report in ((said - true, True), (true - said, False)):
            if difference:
                found.append(Disagreement(resource, tuple(sorted(difference)), in_report,
                                          REASONS.get((resource, in_report), "")))
    return found


