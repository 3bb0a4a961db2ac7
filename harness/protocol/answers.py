"""Who can give an answer, and who may hold the lock that it names: read off the rows, nothing runs.

What this needs of the rows is kept in answers.json (kept_answers.py writes it, `make docs` runs that), so that nothing
need be assembled or compiled to explain an answer.  Of a release of one's own the rows themselves are asked.

    givers(word)          the calls that can end with a word, each with the releases in which it can
    operands(word, ...)   the operands with which calls give a status
    holders(word, ...)    for each lock that a BUSY can be about: who may hold it, and who under KVM's locks

A row says which answers a call gives for its locks and states; answers about an operand's form
(reserved bits, alignment, TDMRs) are not in the rows, nor is a call that has none.  MORE has what is
known of those.
"""

import functools
import json
from pathlib import Path
from typing import Mapping, NamedTuple, Protocol, Sequence, TypeVar

from harness.protocol import contention
from harness.protocol.contention import Use
from harness.protocol.leaves import GUEST, HOST, SHARED_ROWS, Leaf, by_name
from harness.protocol.releases import BY_NAME as RELEASE_NAMED, EXCLUSIVE, READ, SHARED, Release
from kernels.statuses import EXIT_REASON, OPERAND
from kernels.words import LOW_HALF, NAME_OF_OPERAND, NAME_OF_STATUS, OPERAND_ID, OPERANDS, TDX_ERROR, known_class

# What calls can answer that no row of theirs says, by status: the calls, as the documents spell them.
_ENTER = ("TDH.VP.ENTER",)
_SERVTD = ("TDG.SERVTD.RD", "TDG.SERVTD.WR")
MORE = {
    **dict.fromkeys((
        "TDX_NON_RECOVERABLE_VCPU", "TDX_NON_RECOVERABLE_TD", "TDX_NON_RECOVERABLE_TD_NON_ACCESSIBLE",
        "TDX_NON_RECOVERABLE_TD_WRONG_APIC_MODE", "TDX_NON_RECOVERABLE_TD_CORRUPTED_MD", "TDX_HOST_PRIORITY_BUSY_TIMEOUT",
        "TDX_TSC_ROLLBACK", "TDX_LIMIT_CPUID_MAXVAL_SET", "TDX_CROSS_TD_TRAP", "TDX_CROSS_TD_FAULT"), _ENTER),
    "TDX_INCONSISTENT_MSR": (*_ENTER, "TDH.VP.INIT", "TDH.SYS.LP.INIT"),
    "TDX_INCORRECT_MSR_VALUE": ("TDH.SYS.INIT", "TDH.SYS.LP.INIT", "TDH.MNG.INIT", "TDH.VP.ENTER"),
    "TDX_INCONSISTENT_CPUID_FIELD": ("TDH.SYS.LP.INIT",),
    "TDX_INCORRECT_CPUID_VALUE": ("TDH.SYS.INIT", "TDH.SYS.LP.INIT"),
    "TDX_INTERRUPTED_RESUMABLE": ("TDH.MEM.SEPT.ADD",),          # with SEPT pages of L2 VMs
    "TDX_INTERRUPTED_BUSY": ("TDH.MEM.SCAN.RANGE",), "TDX_INTERRUPTED_LIST_FULL": ("TDH.MEM.SCAN.RANGE",),
    "TDX_INVALID_RESUMPTION": tuple(f"TDH.{way}.{what}" for way in ("EXPORT", "IMPORT")
                                    for what in ("MEM", "STATE.IMMUTABLE", "STATE.TD", "STATE.VP")),
    "TDX_TD_NON_DEBUG": ("TDH.MEM.RD", "TDH.MEM.WR"), "TDX_DEBUG_MEM_NOT_WRITABLE": ("TDH.MEM.WR",),
    "TDX_X2APIC_ID_NOT_UNIQUE": ("TDH.VP.INIT",), "TDX_MAX_VCPUS_EXCEEDED": ("TDH.VP.INIT",),
    "TDX_NO_VALID_VE_INFO": ("TDG.VP.VEINFO.GET",), "TDX_TD_VMCS_FIELD_NOT_INITIALIZED": _ENTER,
    "TDX_CMR_LIST_INVALID": ("TDH.SYS.INIT",),
    **dict.fromkeys(("TDX_INVALID_TDMR", "TDX_NON_ORDERED_TDMR", "TDX_TDMR_OUTSIDE_CMRS", "TDX_INVALID_PAMT",
                     "TDX_PAMT_OUTSIDE_CMRS", "TDX_PAMT_OVERLAP", "TDX_INVALID_RESERVED_IN_TDMR",
                     "TDX_NON_ORDERED_RESERVED_IN_TDMR"), ("TDH.SYS.CONFIG",)),
    "TDX_UPDATE_COMPATIBILITY_SENSITIVE": ("TDH.SYS.SHUTDOWN",),
    "TDX_CPUID_LEAF_NOT_SUPPORTED": ("TDH.SYS.INIT",),
    "TDX_BLOCKED_MEMORY_EXISTS": ("TDH.EXPORT.PAUSE",), "TDX_BLOCKING_DISALLOWED": ("TDH.MEM.RANGE.BLOCK",),
    **dict.fromkeys(("TDX_MEM_SCAN_DCHECK_NOT_DONE", "TDX_UNEXPORTED_MEMORY_REMAINS", "TDX_MIGRATION_EPOCH_OVERFLOW"),
                    ("TDH.EXPORT.TRACK",)),
    **dict.fromkeys(("TDX_SERVTD_TYPE_MISMATCH", "TDX_SERVTD_ATTR_MISMATCH", "TDX_SERVTD_INFO_HASH_MISMATCH"),
                    ("TDH.SERVTD.BIND",)),
    "TDX_SERVTD_ALREADY_BOUND_FOR_TYPE": ("TDH.SERVTD.PREBIND",),
    **dict.fromkeys(("TDX_TARGET_UUID_MISMATCH", "TDX_TARGET_UUID_UPDATED", "TDX_SERVTD_NOT_BOUND",
                     "TDX_SERVTD_UUID_MISMATCH"), _SERVTD),
    "TDX_IOMMU_IOTLB_TRACKING_NOT_DONE": ("TDH.MEM.PAGE.REMOVE", "TDH.MEM.TRACK"),
    "TDX_IOMMU_MT_PAGE_IN_USE": ("TDH.PHYMEM.PAGE.RECLAIM",),
}
# Who sets bit 61 in an answer: a failed import, which its TD does not survive.
IMPORTS = tuple(f"TDH.IMPORT.{what}" for what in ("MEM", "TRACK", "STATE.IMMUTABLE", "STATE.TD", "STATE.VP", "COMMIT",
                                                  "END"))

assert MORE.keys() <= set(NAME_OF_STATUS.values()) and all(by_name(call) for calls in MORE.values() for call in calls)


# --- what of the rows is needed ------------------------------------------------------------------

KEPT = Path(__file__).with_suffix(".json")


class _Numbered(Protocol):
    """A row: which instruction makes the call, and the number of its leaf."""

    @property
    def side(self) -> str: ...
    @property
    def leaf(self) -> int: ...


_Row = TypeVar("_Row", bound=_Numbered)


def rows_of(rows: Sequence[_Row], leaf: Leaf) -> list[_Row]:
    """Those of a release's rows that are this call: none if it is not modelled, two if a version has its own."""
    rows = [row for row in rows if row.side == leaf.side]
    exact = [row for row in rows if row.leaf == leaf.number]
    return exact or [row for row in rows if leaf.side == HOST and row.leaf == SHARED_ROWS.get(leaf.number)]


class Answering(NamedTuple):
    """A row of a release, as far as its answers go.

    keeps       whether it keeps locks when it has gone through
    words       that it can end with, at any level
    uses        the locks that it takes (contention.uses), at any level, and at those that KVM uses
    """

    name: str
    side: str
    leaf: int
    keeps: bool
    words: frozenset[int]
    uses: tuple[Use, ...]
    uses_under_kvm: tuple[Use, ...]


@functools.cache
def rows(release: Release) -> tuple[Answering, ...]:
    """The rows of a release: as they are kept, or else read anew."""
    named = next((each.name for each in READ if release.name in (each.name, *each.also)), None)
    if named is None or release != RELEASE_NAMED[release.name]:
        from harness.protocol import kept_answers                # the rows, and with them Numba
        return kept_answers.read(release)
    return _kept()[named]


@functools.cache
def _kept() -> Mapping[str, tuple[Answering, ...]]:
    document = json.loads(KEPT.read_text())
    return {name: tuple(_row(call, said, 1 << number) for call, said in document["calls"].items()
                        if int(said["in"], 16) >> number & 1)
            for number, name in enumerate(document["releases"])}


def _row(name: str, said: dict, release: int) -> Answering:
    """What answers.json says of a call in a release, which is a bit of its numbers."""
    words, uses, under_kvm = ([text for text, there in said[what].items() if int(there, 16) & release]
                              for what in ("words", "uses", "uses_under_kvm"))
    return Answering(name, said["side"], said["leaf"], said["keeps"], frozenset(int(word, 16) for word in words),
                     *(tuple(Use(*text.split(" ", 2)) for text in texts) for texts in (uses, under_kvm)))


def answer_of(word: int) -> tuple[int, bool, int | None]:
    """What is the same in all words that are one answer: the status, and the low half where that names an operand."""
    upper, fatal = known_class(word)
    return upper, fatal, word & OPERAND_ID if LOW_HALF.get(upper) in (OPERAND, EXIT_REASON) else None


@functools.cache
def _rows_by_answer(release: Release) -> dict[tuple, tuple[str, ...]]:
    found: dict[tuple, dict[str, None]] = {}
    for row in rows(release):
        for word in row.words:
            found.setdefault(answer_of(word), {})[row.name] = None
    return {answer: tuple(names) for answer, names in found.items()}


class Giver(NamedTuple):
    """A call that can give an answer, and in which of the releases READ; in none if only MORE says so.

    name   of its row, or as the kernel spells it if it has none
    """

    name: str
    leaf: Leaf
    releases: tuple[str, ...]


def givers(word: int, releases: tuple[Release, ...] = READ) -> list[Giver]:
    """The calls that can end with a word, host calls first, in the order of their leaves.

    Of a status that names an operand, without one and never given so: those that give it with any.
    """
    wanted = answer_of(word)
    found = _givers(wanted, releases)
    if not found and wanted[-1] == 0:
        for operand in operands(word, releases=releases):
            for giver, names in _givers((*wanted[:-1], OPERANDS[operand]), releases).items():
                found.setdefault(giver, {}).update(names)
    upper, fatal = known_class(word)
    modelled = {leaf for _, leaf in found}
    spoilt = IMPORTS if upper & TDX_ERROR and not found else ()
    for call in spoilt if fatal else MORE.get(NAME_OF_STATUS.get(upper, ""), ()):
        if (leaf := by_name(call)) not in modelled:
            found[leaf.spelled, leaf] = {}
    return sorted((Giver(name, leaf, tuple(names)) for (name, leaf), names in found.items()),
                  key=lambda giver: (giver.leaf.side == GUEST, giver.leaf.number, giver.name))


def _givers(wanted: tuple, releases: tuple[Release, ...]) -> dict[tuple[str, Leaf], dict[str, None]]:
    """Rows that give an answer (answer_of), and the releases in which they do."""
    found: dict[tuple[str, Leaf], dict[str, None]] = {}
    for release in releases:
        for name in _rows_by_answer(release).get(wanted, ()):
            found.setdefault((name, by_name(name)), {})[release.name] = None
    return found


def operands(word: int, leaf: Leaf | None = None, releases: tuple[Release, ...] = READ) -> list[str]:
    """The operands with which rows give a status, of any call or of one; none if its low half names no operand."""
    upper, fatal = known_class(word)
    if LOW_HALF.get(upper) != OPERAND:
        return []
    return list(dict.fromkeys(
        NAME_OF_OPERAND[operand] for release in releases
        for (answer, lost, operand), names in sorted(_rows_by_answer(release).items(), key=repr)
        if (answer, lost) == (upper, fatal) and operand
        and (leaf is None or any(by_name(name) == leaf for name in names))))


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
    wanted = {row.name for row in (rows_of(rows(release), leaf) if leaf else rows(release))}
    keeping = {row.name for row in rows(release) if row.keeps}
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
    taken = {row.name: row.uses_under_kvm if under_kvm else row.uses for row in rows(release)}
    return tuple(side for each in contention.between(taken, under_kvm=under_kvm) for side in (
        _Side(each.resource, each.a, each.a_operand, each.b, each.b_mode),
        _Side(each.resource, each.b, each.b_operand, each.a, each.a_mode)))


def holders(word: int, release: Release, leaf: Leaf | None = None) -> list[Lock]:
    """The locks that an answer can be about: none unless it is BUSY with a known operand."""
    upper, _ = known_class(word)
    operand = NAME_OF_OPERAND.get(word & OPERAND_ID)
    return locks(operand, release, leaf) if NAME_OF_STATUS.get(upper) == "TDX_OPERAND_BUSY" and operand else []
