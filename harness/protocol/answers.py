"""Who can give an answer, and who may hold the lock that it names: read off the rows, nothing runs.

    givers(word)          the calls that can end with a word, each with the releases in which it can
    holders(word, ...)    for each lock that a BUSY can be about: who may hold it, and who under KVM's locks

A row says which answers a call gives for its locks and states; answers about an operand's form
(reserved bits, alignment, TDMRs) are not in the rows, nor is a call that has none.  MORE has what is
known of those.
"""

import functools
from typing import NamedTuple

from harness.memory.layout import Layout
from harness.protocol import contention
from harness.protocol.assemble import Listing
from harness.protocol.call import Options
from harness.protocol.leaves import GUEST, HOST, SHARED_ROWS, Leaf, by_name
from harness.protocol.releases import EXCLUSIVE, READ, SHARED, Release
from harness.protocol.seamcalls import Seamcall, seamcalls, write_call
from kernels.statuses import EXIT_REASON, OPERAND
from kernels.words import LOW_HALF, NAME_OF_OPERAND, NAME_OF_STATUS, OPERAND_ID, known_class

# What calls can answer that the rows do not say, by status: the calls, as the documents spell them.
_ENTER = ("TDH.VP.ENTER",)
_EXPORT_LISTS = ("TDH.EXPORT.BLOCKW", "TDH.EXPORT.RESTORE", "TDH.EXPORT.MEM")
_STREAMS = tuple(f"TDH.{way}.{what}" for way in ("EXPORT", "IMPORT")
                 for what in ("MEM", "STATE.IMMUTABLE", "STATE.TD", "STATE.VP"))
_SERVTD = ("TDG.SERVTD.RD", "TDG.SERVTD.WR")
_DYNAMIC_PAMT = ("TDH.PHYMEM.PAMT.ADD", "TDH.PHYMEM.PAMT.REMOVE")
MORE = {
    **dict.fromkeys((
        "TDX_NON_RECOVERABLE_VCPU", "TDX_NON_RECOVERABLE_TD", "TDX_NON_RECOVERABLE_TD_NON_ACCESSIBLE",
        "TDX_NON_RECOVERABLE_TD_WRONG_APIC_MODE", "TDX_NON_RECOVERABLE_TD_CORRUPTED_MD", "TDX_HOST_PRIORITY_BUSY_TIMEOUT",
        "TDX_TSC_ROLLBACK", "TDX_LIMIT_CPUID_MAXVAL_SET", "TDX_CROSS_TD_TRAP", "TDX_CROSS_TD_FAULT"), _ENTER),
    "TDX_INCONSISTENT_MSR": (*_ENTER, "TDH.VP.INIT", "TDH.SYS.LP.INIT"),
    "TDX_INCORRECT_MSR_VALUE": ("TDH.SYS.INIT", "TDH.SYS.LP.INIT", "TDH.MNG.INIT", "TDH.VP.ENTER"),
    "TDX_INCONSISTENT_CPUID_FIELD": ("TDH.SYS.LP.INIT",),
    "TDX_INCORRECT_CPUID_VALUE": ("TDH.SYS.INIT", "TDH.SYS.LP.INIT"),
    "TDX_INTERRUPTED_RESUMABLE": ("TDH.PHYMEM.CACHE.WB", "TDH.MEM.SEPT.ADD", *_STREAMS, *_EXPORT_LISTS[:2]),
    "TDX_INTERRUPTED_RESTARTABLE": ("TDH.MEM.PAGE.DEMOTE", "TDH.MEM.PAGE.PROMOTE"),
    "TDX_INTERRUPTED_BUSY": (*_EXPORT_LISTS, "TDH.IMPORT.MEM", "TDH.MEM.SCAN.RANGE"),
    "TDX_INTERRUPTED_PAMT": ("TDH.IMPORT.MEM",), "TDX_INTERRUPTED_LIST_FULL": ("TDH.MEM.SCAN.RANGE",),
    "TDX_INVALID_RESUMPTION": _STREAMS,
    "TDX_HPA_RANGE_NOT_FREE": _DYNAMIC_PAMT[:1], "TDX_PAGE_NOT_FREE": (*_DYNAMIC_PAMT[:1], "TDH.MEM.PAGE.DEMOTE"),
    "TDX_NO_PAMT_PAGE_PAIR": _DYNAMIC_PAMT[1:], "TDX_PAMT_PAGE_NOT_EMPTY": _DYNAMIC_PAMT[1:],
    "TDX_MISSING_PAMT_PAGE_PAIR": (
        "TDH.MEM.PAGE.AUG", "TDH.MEM.PAGE.ADD", "TDH.MEM.SEPT.ADD", "TDH.MEM.PAGE.RELOCATE", "TDH.MEM.PAGE.DEMOTE",
        "TDH.VP.CREATE", "TDH.VP.ADDCX", "TDH.MNG.ADDCX"),
    "TDX_TD_NON_DEBUG": ("TDH.MEM.RD", "TDH.MEM.WR"), "TDX_DEBUG_MEM_NOT_WRITABLE": ("TDH.MEM.WR",),
    "TDX_X2APIC_ID_NOT_UNIQUE": ("TDH.VP.INIT",), "TDX_MAX_VCPUS_EXCEEDED": ("TDH.VP.INIT",),
    "TDX_NO_VALID_VE_INFO": ("TDG.VP.VEINFO.GET",), "TDX_TD_VMCS_FIELD_NOT_INITIALIZED": _ENTER,
    "TDX_NO_HKID_READY_TO_WBCACHE": ("TDH.PHYMEM.CACHE.WB",), "TDX_WBCACHE_RESUME_ERROR": ("TDH.PHYMEM.CACHE.WB",),
    "TDX_TDMR_ALREADY_INITIALIZED": ("TDH.SYS.TDMR.INIT",), "TDX_CMR_LIST_INVALID": ("TDH.SYS.INIT",),
    **dict.fromkeys(("TDX_INVALID_TDMR", "TDX_NON_ORDERED_TDMR", "TDX_TDMR_OUTSIDE_CMRS", "TDX_INVALID_PAMT",
                     "TDX_PAMT_OUTSIDE_CMRS", "TDX_PAMT_OVERLAP", "TDX_INVALID_RESERVED_IN_TDMR",
                     "TDX_NON_ORDERED_RESERVED_IN_TDMR"), ("TDH.SYS.CONFIG",)),
    "TDX_SYS_BUSY": ("TDH.SYS.INIT", "TDH.SYS.LP.INIT", "TDH.SYS.CONFIG", "TDH.SYS.KEY.CONFIG", "TDH.SYS.SHUTDOWN",
                     "TDH.SYS.UPDATE"),
    "TDX_SYS_INIT_NOT_PENDING": ("TDH.SYS.INIT",), "TDX_SYS_LP_INIT_DONE": ("TDH.SYS.LP.INIT",),
    "TDX_SYS_LP_INIT_NOT_PENDING": ("TDH.SYS.LP.INIT",), "TDX_SYS_CONFIG_NOT_PENDING": ("TDH.SYS.CONFIG",),
    "TDX_SYS_KEY_CONFIG_NOT_PENDING": ("TDH.SYS.KEY.CONFIG",),
    "TDX_UPDATE_COMPATIBILITY_SENSITIVE": ("TDH.SYS.SHUTDOWN",),
    "TDX_CPUID_LEAF_NOT_SUPPORTED": ("TDH.SYS.INIT",),
    "TDX_BLOCKED_MEMORY_EXISTS": ("TDH.EXPORT.PAUSE",), "TDX_BLOCKING_DISALLOWED": ("TDH.MEM.RANGE.BLOCK",),
    **dict.fromkeys(("TDX_EXPORTED_DIRTY_PAGES_REMAIN", "TDX_MEM_SCAN_DCHECK_NOT_DONE",
                     "TDX_UNEXPORTED_MEMORY_REMAINS", "TDX_MIGRATION_EPOCH_OVERFLOW"), ("TDH.EXPORT.TRACK",)),
    "TDX_MAX_MIGS_NUM_EXCEEDED": ("TDH.MIG.STREAM.CREATE",),
    **dict.fromkeys(("TDX_SERVTD_TYPE_MISMATCH", "TDX_SERVTD_ATTR_MISMATCH", "TDX_SERVTD_INFO_HASH_MISMATCH"),
                    ("TDH.SERVTD.BIND",)),
    **dict.fromkeys(("TDX_SERVTD_ALREADY_BOUND_FOR_TYPE", "TDX_SERVTD_BOUND"), ("TDH.SERVTD.PREBIND",)),
    **dict.fromkeys(("TDX_TARGET_UUID_MISMATCH", "TDX_TARGET_UUID_UPDATED", "TDX_SERVTD_NOT_BOUND",
                     "TDX_SERVTD_UUID_MISMATCH"), _SERVTD),
    "TDX_IOMMU_IOTLB_TRACKING_NOT_DONE": ("TDH.MEM.PAGE.REMOVE", "TDH.MEM.TRACK"),
    "TDX_MMIO_ACCEPT_SIZE_MISMATCH": ("TDG.TDI.MMIO.ACCEPT",),
    "TDX_IOMMU_MT_PAGE_IN_USE": ("TDH.PHYMEM.PAGE.RECLAIM",),
}
# Who sets bit 61 in an answer: a failed import, which its TD does not survive.
IMPORTS = tuple(f"TDH.IMPORT.{what}" for what in ("MEM", "TRACK", "STATE.IMMUTABLE", "STATE.TD", "STATE.VP", "COMMIT",
                                                  "END"))

assert MORE.keys() <= set(NAME_OF_STATUS.values()) and all(by_name(call) for calls in MORE.values() for call in calls)


def rows_of(leaf: Leaf, release: Release) -> list[Seamcall]:
    """The rows of a release that are this call: none if it is not modelled, two if a version has its own."""
    rows = [row for row in seamcalls(release) if row.side == leaf.side]
    exact = [row for row in rows if row.leaf == leaf.number]
    return exact or [row for row in rows if leaf.side == HOST and row.leaf == SHARED_ROWS.get(leaf.number)]


class _Read:
    """A release that notes which of its fields are read, and what they are."""

    def __init__(self, release: Release):
        self._release, self.fields = release, {}

    def __getattr__(self, name: str):
        self.fields[name] = value = getattr(self._release, name)
        return value


# (row, fields of the release that were read, words) of each row by name and level: most releases share them.
_written: dict[tuple[str, int], list[tuple[Seamcall, dict, frozenset[int]]]] = {}


def _answers_of(row: Seamcall, level: int, release: Release) -> frozenset[int]:
    """The words that a row can end with at a level; assembled where no release before it had the same row and fields."""
    before = _written.setdefault((row.name, level), [])
    for same, fields, words in before:
        if same == row and all(getattr(release, name) == value for name, value in fields.items()):
            return words
    listing, read = Listing(), _Read(release)
    write_call(listing, row, Options(Layout(vcpus=1, actors=1, pages=512, record_words=0), owners=False, release=read), level)
    words = frozenset(answer.status for answer in listing.answers)
    before.append((row, read.fields, words))
    return words


@functools.cache
def answers(release: Release) -> dict[str, frozenset[int]]:
    """The words that each row of a release can end with, at any level."""
    return {row.name: frozenset().union(*(_answers_of(row, level, release) for level in row.levels)) for row in seamcalls(release)}


def answer_of(word: int) -> tuple[int, bool, int | None]:
    """What is the same in all words that are one answer: the status, and the low half where that names an operand."""
    upper, fatal = known_class(word)
    return upper, fatal, word & OPERAND_ID if LOW_HALF.get(upper) in (OPERAND, EXIT_REASON) else None


@functools.cache
def _rows_by_answer(release: Release) -> dict[tuple, tuple[str, ...]]:
    found: dict[tuple, dict[str, None]] = {}
    for name, words in answers(release).items():
        for word in words:
            found.setdefault(answer_of(word), {})[name] = None
    return {answer: tuple(names) for answer, names in found.items()}


class Giver(NamedTuple):
    """A call that can give an answer, and in which of the releases READ; in none if only MORE says so.

    name   of its row, or as the kernel spells it if it has none
    """

    name: str
    leaf: Leaf
    releases: tuple[str, ...]


def givers(word: int, releases: tuple[Release, ...] = READ) -> list[Giver]:
    """The calls that can end with a word, host calls first, in the order of their leaves."""
    found: dict[tuple[str, Leaf], dict[str, None]] = {}
    for release in releases:
        for name in _rows_by_answer(release).get(answer_of(word), ()):
            found.setdefault((name, by_name(name)), {})[release.name] = None
    upper, fatal = known_class(word)
    modelled = {leaf for _, leaf in found}
    for call in (IMPORTS if upper else ()) if fatal else MORE.get(NAME_OF_STATUS.get(upper, ""), ()):
        if (leaf := by_name(call)) not in modelled:
            found[leaf.spelled, leaf] = {}
    return sorted((Giver(name, leaf, tuple(names)) for (name, leaf), names in found.items()),
                  key=lambda giver: (giver.leaf.side == GUEST, giver.leaf.number, giver.name))


# --- who may hold a lock -------------------------------------------------------------------------

# What a vCPU holds while its guest runs: its TDVPR and its TD's root page, with the PAMT entries above.
HELD_IN_GUEST = ("TDR", "TDVPR", "PAMT_2M", "PAMT_1G")


class Lock(NamedTuple):
    """A lock that a BUSY can be about.

    losers      who can be refused by it with that operand
    exclusive   who may hold it exclusively, and shared where that refuses a loser
    under_kvm   those of them that KVM's own locks do not keep apart from a loser
    in_guest    whether it may be held for as long as a guest runs
    """

    resource: str
    losers: tuple[str, ...]
    exclusive: tuple[str, ...]
    shared: tuple[str, ...]
    under_kvm: tuple[str, ...]
    in_guest: bool


@functools.cache
def locks(operand: str, release: Release, leaf: Leaf | None = None) -> list[Lock]:
    """The locks that a BUSY with this operand can be about: of any call, or of one."""
    wanted = {row.name for row in rows_of(leaf, release)} if leaf else set(contention.uses(release))
    keeping = {row.name for row in seamcalls(release) if row.keeps}
    met = {(side.resource, side.loser, side.holder) for side in _sides(release, under_kvm=True)}
    found = []
    for resource in contention.RESOURCES:
        refused = [side for side in _sides(release) if side.resource == resource and side.operand == operand
                   and side.loser in wanted]
        by_mode = {mode: tuple(sorted({side.holder for side in refused if side.mode == mode}))
                   for mode in (EXCLUSIVE, SHARED)}
        if refused:
            found.append(Lock(
                resource, tuple(sorted({side.loser for side in refused})), by_mode[EXCLUSIVE], by_mode[SHARED],
                tuple(sorted({side.holder for side in refused if (resource, side.loser, side.holder) in met})),
                resource in HELD_IN_GUEST and not keeping.isdisjoint(by_mode[EXCLUSIVE] + by_mode[SHARED])))
    return found


class _Side(NamedTuple):
    """A conflict as one of the two meets it: who loses what, with which operand, who holds it and how."""

    resource: str
    loser: str
    operand: str
    holder: str
    mode: str


@functools.cache
def _sides(release: Release, under_kvm: bool = False) -> tuple[_Side, ...]:
    return tuple(side for each in contention.conflicts(release, under_kvm=under_kvm) for side in (
        _Side(each.resource, each.a, each.a_operand, each.b, each.b_mode),
        _Side(each.resource, each.b, each.b_operand, each.a, each.a_mode)))


def holders(word: int, release: Release, leaf: Leaf | None = None) -> list[Lock]:
    """The locks that an answer can be about: none unless it is BUSY with a known operand."""
    upper, _ = known_class(word)
    operand = NAME_OF_OPERAND.get(word & OPERAND_ID)
    return locks(operand, release, leaf) if NAME_OF_STATUS.get(upper) == "TDX_OPERAND_BUSY" and operand else []
