"""What differs between releases of the TDX module, as rows.

A call in seamcalls.py is written once; where releases differ it asks the row of the release it is
written for.  `python -m harness seamcalls --diff 1.5.16 1.5.20` prints what that changes.

The first five are releases of Intel's module, read as source.  From 1.5.20 on a single public copy
of the source was available; what rests on it alone is marked so in `source`.  `report-2024` is the
table of the lock report taken literally, so that what the source says otherwise shows as a difference.

To add a release: a row here; the tests run every table over all rows.
"""

from typing import NamedTuple

SHARED, EXCLUSIVE = "shared", "exclusive"

# How the new word of an entry is written, after which nobody else's change of TDHP is lost or is.
STORE = "store"                          # one plain store: a TDHP that came since is lost
SWAP_STORE = "swap, store"               # compare-and-swap that keeps TDHP, and the plain store as well
SWAP = "swap"                            # compare-and-swap that keeps TDHP


class Release(NamedTuple):
    """A release; each field is read by the call or the phrase that it is about.

    enter_tdvpr          mode in which TDH.VP.ENTER holds the TDVPR
    tree                 kind of lock of the SEPT tree: "sharex", or "hp" (sharex_hp, host side only)
    filter_tree          mode in which the entry filter of TDH.VP.ENTER takes the tree
    filter_pending       whether a listed page that is PENDING refuses entry
    entry_write          how the new word of an SEPT entry is written: STORE, SWAP_STORE, SWAP
    promote_tree         mode in which TDH.MEM.PAGE.PROMOTE takes the tree
    promote_children     whether it locks the 512 entries of the page that it merges
    interrupted_busy     whether long calls give way with TDX_INTERRUPTED_BUSY to a host that wants the
                         tree exclusively
    unblock_operand      operand of TDH.MEM.RANGE.UNBLOCK's TDX_TLB_TRACKING_NOT_DONE
    init_apicid_tdr      mode in which TDH.VP.INIT version 1 (with an x2APIC id) takes the TDR
    pamt_parents         whether pages named by address hold the PAMT 1G and 2M entries above them
    key_table            whether TDH.MNG.KEY.CONFIG contends for the hardware's key table
    report_only          whether only the calls of the lock report exist
    """

    name: str
    source: str
    enter_tdvpr: str = SHARED
    tree: str = "sharex"
    filter_tree: str = EXCLUSIVE
    filter_pending: bool = True
    entry_write: str = STORE
    promote_tree: str = SHARED
    promote_children: bool = True
    interrupted_busy: bool = False
    unblock_operand: str = "RCX"
    init_apicid_tdr: str = EXCLUSIVE
    pamt_parents: bool = True
    key_table: bool = True
    report_only: bool = False


_TREE_WITH_PRIORITY = dict(
    tree="hp", filter_tree=SHARED, filter_pending=False, promote_tree=EXCLUSIVE, promote_children=False,
    interrupted_busy=True)

RELEASES = (
    Release("1.5.01", "intel/tdx-module, tag TDX_1.5.01", unblock_operand="SEPT_TREE", init_apicid_tdr=SHARED),
    Release("1.5.05", "intel/tdx-module, branch tdx_1.5, release 1.5.05"),
    Release("1.5.16", "release 1.5.16, one public copy (murrowow/tdx-concurrency)"),
    Release("1.5.20", "release 1.5.20, one public copy (murrowow/tdx-concurrency)",
            entry_write=SWAP_STORE, **_TREE_WITH_PRIORITY),
    Release("1.5.24", "release 1.5.24, one public copy (murrowow/tdx-concurrency)",
            entry_write=SWAP, **_TREE_WITH_PRIORITY),
    Release("report-2024", "lock status report, Yan Zhao, 13 Sep 2024, its table taken literally",
            enter_tdvpr=EXCLUSIVE, pamt_parents=False, key_table=False, report_only=True),
)
BY_NAME = {release.name: release for release in RELEASES}
NAMES = tuple(BY_NAME)
READ = tuple(release for release in RELEASES if not release.report_only)       # as source, not from a report
DEFAULT = BY_NAME["1.5.05"]
