"""THE TABLE: every call of the TDX module that the harness makes, as a row.

A row lists, in the module's order, the locks (and the operand id that a lost try reports), the
checks and their statuses, the writes and how they are made.  The package phrases says what each word
of it becomes in micro-ops; how a call gets out when something fails is derived, not written here.

    Explicit(page, mode, operand)   a page named by the caller: PAMT 1G, 2M shared, its own in `mode`
    Implicit(page, mode, operand)   a page the module knows: its own PAMT entry only
    OpState(mode, allowed)          op_state lock, then op_state must be allowed
    Tree(mode)                      SEPT tree lock, then the walk
    Entry(allowed)                  SEPT entry lock, read again, state must be allowed
    Become(transitions, hpa, ..)    the entry's new word

Sources name files of the module's src/vmm_dispatcher/api_calls unless a directory is given; line
numbers are those of the public 1.5.01 tree.  Where releases differ, a row asks `release`
(releases.py).  What a call does besides (checks of operands, contents of control pages, L2 VMs) is
abstracted away; a phrase says what more.  The rows are in calls/, by noun; what has no row, and why, is
calls/without.py and docs/calls.md.  Here they are put together, and written as subroutines.

To add a call: add a row to a file of calls/, and its allowed states, lock order and place in the contention
matrix are tested because it is listed.
"""

import functools

from harness.protocol.assemble import Held, Listing
from harness.protocol import faults
from harness.protocol.call import SHARED, Call, Options
from harness.protocol.calls import devices, guests, large, life, memory, migration, physical, services, system, vcpus
from harness.protocol.calls.row import LEAF_LEVELS, Seamcall
from harness.protocol.phrases.life import DrawRandom
from harness.protocol.phrases.locking import Explicit, Implicit
from harness.protocol.phrases.system import enter, leave
from harness.protocol.phrases.vcpus import REFCOUNT, Exit
from harness.protocol.releases import DEFAULT, Release
from kernels.ops import Op, Register as R
from kernels.words import PT_TDVPR

# The lock report's rows, in its order.
IN_REPORT = (
    "tdh_mng_create", "tdh_mng_add_cx", "tdh_mng_init", "tdh_mng_vpflushdone", "tdh_mng_key_config",
    "tdh_mng_key_freeid", "tdh_mng_rdwr", "tdh_mr_extend", "tdh_mr_finalize", "tdh_vp_create", "tdh_vp_addcx",
    "tdh_vp_init", "tdh_vp_init_apicid", "tdh_vp_enter", "tdh_vp_flush", "tdh_vp_rd_wr", "tdh_mem_sept_add",
    "tdh_mem_sept_remove", "tdh_mem_page_add", "tdh_mem_page_aug", "tdh_mem_page_remove", "tdh_mem_range_block",
    "tdh_mem_track", "tdh_mem_range_unblock", "tdh_phymem_page_reclaim", "tdh_phymem_cache_wb",
    "tdh_phymem_page_wbinvd", "tdg_mem_page_accept",
)
# In the order in which they are printed.
PARTS = (life, vcpus, memory, large, physical, guests, migration, services, system, devices)


@functools.cache
def seamcalls(release: Release = DEFAULT) -> tuple[Seamcall, ...]:
    """All calls of a release."""
    rows = tuple(row for part in PARTS for row in part.rows(release))
    if not release.report_only:
        return rows
    # The report speaks of 4 KiB pages only.
    return tuple(row._replace(levels=(0,)) if row.levels == LEAF_LEVELS else row
                 for row in rows if row.name in IN_REPORT)


SEAMCALLS = seamcalls()
BY_NAME = {call.name: call for call in SEAMCALLS}


def by_name(release: Release) -> dict[str, Seamcall]:
    return {call.name: call for call in seamcalls(release)}


def draws_random(name: str) -> bool:
    """Whether a call draws a random number, and so may find no entropy."""
    return any(isinstance(phrase, DrawRandom) for phrase in BY_NAME[name].phrases)


def held_by(row: Seamcall, level: int = 0, release: Release = DEFAULT) -> tuple[Held, ...]:
    """The locks of a call in acquisition order, as the row says them (PAMT 1G and 2M included)."""
    return tuple(lock for phrase in row.phrases if hasattr(phrase, "locks")
                 for lock in phrase.locks(level, release))


def held_in_guest(release: Release = DEFAULT) -> tuple[Held, ...]:
    """What a vCPU holds while its guest runs, and drops when the TD exits."""
    return (*Explicit("TDVPR", release.enter_tdvpr, "RCX", PT_TDVPR).locks(release=release),
            *Implicit("TDR", SHARED, "TDR").locks(), REFCOUNT)


# --- written as subroutines ------------------------------------------------------------------

TD_EXIT = "td_exit"


def entry_label(row: Seamcall, level: int) -> str:
    """Where a call on an entry at `level` is entered."""
    return f"{row.name}.level{level}" if level and row.leveled else row.name


def write_call(listing: Listing, row: Seamcall, options: Options, level: int = 0) -> None:
    """Write a call as a subroutine: enter at its label with LINK set, it returns there."""
    guest = row.side == "guest"
    call = Call(listing, row.name, options, row.order, level, guest)
    with listing.within(call=row.name):
        listing.label(entry_label(row, level))
        listing.row(Op.CALL_BEGIN, value=listing.call_number(row.name), text=row.name)
        if not guest:
            call.work("seamcall_ns")
            faults.refuse(call)
            if options.inside:
                enter(call)
        for phrase in row.phrases:
            call.step(phrase)
        call.succeed(keeping=row.keeps, status=row.success)
    listing.flush()
    listing.held = ()


def write_exit(listing: Listing, options: Options) -> None:
    """Write the TD exit, the other half of tdh_vp_enter, as a subroutine."""
    call = Call(listing, TD_EXIT, options)
    with listing.within(call=TD_EXIT):
        listing.label(TD_EXIT)
        listing.held = held_in_guest(options.release)
        Exit().emit(call)
        if options.inside:
            leave(call)
        listing.row(Op.GO, register=R.LINK, text="return")
    listing.flush()
    listing.held = ()


def write_calls(listing: Listing, options: Options, wanted=None) -> None:
    """Write calls, each at each level where it differs, and the TD exit.

    wanted   pairs of name and level; default: all calls at all their levels
    """
    rows = by_name(options.release)
    if wanted is None:
        wanted = [(row.name, level) for row in rows.values() for level in row.levels]
    written = {}
    for name, level in wanted:
        written.setdefault(entry_label(rows[name], level), (rows[name], level))
    for row, level in written.values():
        write_call(listing, row, options, level)
    write_exit(listing, options)
