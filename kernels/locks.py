"""The module's four locks, bit for bit: single steps, and the whole operations composed of them.

No lock in the TDX module waits.  Every acquisition is one try; a lost try goes back to the caller
as TDX_OPERAND_BUSY.  But a try may be several steps, and another processor can come between any two
of them, so the *steps* are what a stress harness must have right.  Each step here is one function
with at most one atomic access to one word.  It answers with an outcome:

    DONE       the step did what it was for; go on
    BUSY       another holds the lock
    PRIORITY   a host-priority bit was in the word; what follows depends on who asks
    + HALTS    added when the module's own sanity check fails here and shuts the module down

The machine executes these steps one at a time (machine.py).  The whole operations at the end run a
lock's steps in order with no other actor in between; `apply` maps one of them over an array of words.

    lock        width  word                                users (release 1.5.05)
    sharex      16     bit 0 exclusive, 15:1 readers       SEPT tree, TD epoch, KOT
    sharex_hp   16     bit 0 exclusive, bit 1 host         every PAMT entry (TDR, TDVPR, pages),
                       priority, 15:2 readers              op_state
    entry       64     bit 11 TDEL, bit 52 TDHP of an      each SEPT entry, always exclusive
                       SEPT entry
    mutex        8     0 free, 1 locked                    write-back table, per package

Worth knowing before reading on: a failed shared try leaves its count in the word (the exclusive
holder's release wipes it); a host that fails sets host priority in a *second* step, which may land
on a lock that is free by then; the guest never sets or clears host priority.

Bit operations on an entry exist twice with the same meaning: `cas`, a compare-and-swap of the whole
word, repeated until no other actor came between; and `bts`, the locked bit instruction that the module uses.
A repeat of `cas` is invisible to others, so either way the step is one atomic access.

Source: src/common/helpers/tdx_locks.h (1.5.01 to 1.5.25: unchanged).
"""

import numpy as np

from kernels import atomics
from kernels.compiling import for_python, kernel
from kernels.words import (
    EXCLUSIVE, HP, HP_READER, LOCK_WORD, MUTEX_FREE, MUTEX_LOCKED, SHAREX_READER, TDEL, TDHP,
)

DONE, BUSY, PRIORITY, HALTS = 0, 1, 2, 4

CAS, BTS = 0, 1
PRIMITIVES = {"cas": CAS, "bts": BTS}
LOST_SWAPS = 0                   # element of `tally` that counts lost compare-and-swaps

assert (DONE | BUSY | PRIORITY) & HALTS == 0


# --- sharex ----------------------------------------------------------------------------------

@kernel
def sharex_take_shared(address):
    """DONE, or BUSY with the count left in the word.  tdx_locks.h:136-148"""
    old = atomics.fetch_add16(address, SHAREX_READER)
    if old & EXCLUSIVE:
        return BUSY
    return DONE + HALTS if old == LOCK_WORD - EXCLUSIVE else DONE


@kernel
def sharex_take_exclusive(address):
    """DONE, or BUSY with the word unchanged.  tdx_locks.h:150-159"""
    return DONE if atomics.compare_swap16(address, 0, EXCLUSIVE) == 0 else BUSY


@kernel
def sharex_drop_shared(address):
    """DONE.  tdx_locks.h:178-188"""
    old = atomics.fetch_add16(address, -SHAREX_READER)
    return DONE + HALTS if old & EXCLUSIVE or old < SHAREX_READER else DONE


@kernel
def sharex_drop_exclusive(address):
    """DONE; wipes every leftover count of failed shared tries as well.  tdx_locks.h:190-200"""
    return DONE if atomics.exchange16(address, 0) & EXCLUSIVE else DONE + HALTS


@kernel
def sharex_promote(address):
    """One reader alone becomes the exclusive holder, or BUSY.  tdx_locks.h:218-230"""
    old = atomics.compare_swap16(address, SHAREX_READER, EXCLUSIVE)
    outcome = DONE if old // SHAREX_READER == 1 else BUSY
    return outcome + HALTS if old & EXCLUSIVE or old == 0 else outcome


@kernel
def sharex_demote(address):
    """The exclusive holder becomes the one reader; wipes leftover counts.  tdx_locks.h:232-244"""
    return DONE if atomics.exchange16(address, SHAREX_READER) & EXCLUSIVE else DONE + HALTS


# --- sharex_hp -------------------------------------------------------------------------------

@kernel
def hp_take_shared(address):
    """Host.  DONE; PRIORITY (taken, hp_clear follows); BUSY (hp_request follows).  :348-370"""
    old = atomics.fetch_add16(address, HP_READER)
    if old & EXCLUSIVE:
        return BUSY
    outcome = PRIORITY if old & HP else DONE
    return outcome + HALTS if old > LOCK_WORD - HP_READER else outcome


@kernel
def hp_take_shared_guest(address):
    """Guest.  DONE; PRIORITY (not taken, hp_withdraw follows); BUSY, count left.  :325-347"""
    old = atomics.fetch_add16(address, HP_READER)
    if old & HP:
        return PRIORITY
    if old & EXCLUSIVE:
        return BUSY
    return DONE + HALTS if old > LOCK_WORD - HP_READER else DONE


@kernel
def hp_withdraw(address):
    """A guest that saw host priority takes its count back; it can underflow.  :325-347"""
    atomics.fetch_add16(address, -HP_READER)
    return DONE


@kernel
def hp_clear(address):
    """A host that got in clears host priority.  :348-370"""
    atomics.fetch_and16(address, ~HP)
    return DONE


@kernel
def hp_request(address):
    """A host that lost asks for priority, even if the lock is free by now.  :348-411"""
    atomics.fetch_or16(address, HP)
    return DONE


@kernel
def hp_take_exclusive(address):
    """Host or guest.  DONE; PRIORITY (free but for that bit); BUSY.  The word changes only on DONE.

    Then a host goes on with hp_take_exclusive_over_priority or hp_request; a guest gives up.
    :373-411
    """
    old = atomics.compare_swap16(address, 0, EXCLUSIVE)
    if old == 0:
        return DONE
    return PRIORITY if old == HP else BUSY


@kernel
def hp_take_exclusive_over_priority(address):
    """Host.  DONE, or BUSY without asking for priority.  :373-411"""
    return DONE if atomics.compare_swap16(address, HP, EXCLUSIVE) == HP else BUSY


@kernel
def hp_drop_shared(address):
    """DONE; host priority stays.  :432-442"""
    old = atomics.fetch_add16(address, -HP_READER)
    return DONE + HALTS if old & EXCLUSIVE or old < HP_READER else DONE


@kernel
def hp_check_exclusive(address):
    """The sanity check before hp_drop_exclusive, a plain load.  :444-452"""
    return DONE if atomics.load16(address) & EXCLUSIVE else DONE + HALTS


@kernel
def hp_drop_exclusive(address):
    """DONE; clears the count as well, keeps host priority.  :444-452"""
    atomics.fetch_and16(address, HP)
    return DONE


@kernel
def hp_promote(address):
    """Host.  DONE; PRIORITY (alone but for that bit, hp_promote_over_priority follows); BUSY.

    After BUSY hp_request follows; the caller keeps its shared hold and must drop it.  :470-507
    """
    old = atomics.compare_swap16(address, HP_READER, EXCLUSIVE)
    if old == HP_READER:
        return DONE
    if old == HP_READER | HP:
        return PRIORITY
    return BUSY + HALTS if old & EXCLUSIVE or old == 0 else BUSY


@kernel
def hp_promote_over_priority(address):
    """Host.  DONE (host priority is gone), or BUSY without asking for priority.  :470-507"""
    old = atomics.compare_swap16(address, HP_READER | HP, EXCLUSIVE)
    if old == HP_READER | HP:
        return DONE
    return BUSY + HALTS if old & EXCLUSIVE or old == 0 else BUSY


# --- SEPT entry lock -------------------------------------------------------------------------

set_tdel, reset_tdel = atomics.bit_set64(TDEL.bit_length() - 1), atomics.bit_reset64(TDEL.bit_length() - 1)
set_tdhp, reset_tdhp = atomics.bit_set64(TDHP.bit_length() - 1), atomics.bit_reset64(TDHP.bit_length() - 1)


@kernel
def swap_bits(address, clear, set_, tally):
    """Change bits of a 64-bit word by compare-and-swap; return the word before."""
    old = atomics.load64(address)
    while True:
        seen = atomics.compare_swap64(address, old, old & ~clear | set_)
        if seen == old:
            return old
        tally[LOST_SWAPS] += 1
        old = seen


@kernel
def entry_take(address, primitive, tally):
    """Host or guest.  DONE or BUSY.  Then a host clears or requests priority.  :246-297"""
    if primitive == BTS:
        return BUSY if set_tdel(address) else DONE
    return BUSY if swap_bits(address, 0, TDEL, tally) & TDEL else DONE


@kernel
def entry_clear_priority(address, primitive, tally):
    """A host that got the entry clears TDHP, also one that another host has just set.  :246-297

    DONE if there was none, BUSY if there was: only those who count ask.
    """
    if primitive == BTS:
        return BUSY if reset_tdhp(address) else DONE
    return BUSY if swap_bits(address, TDHP, 0, tally) & TDHP else DONE


@kernel
def entry_request_priority(address, primitive, tally):
    """A host that lost sets TDHP, even if the entry is free by now.  :246-297

    DONE if it was clear, BUSY if it was set already: only those who count ask.
    """
    if primitive == BTS:
        return BUSY if set_tdhp(address) else DONE
    return BUSY if swap_bits(address, 0, TDHP, tally) & TDHP else DONE


@kernel
def entry_see_priority(address):
    """A guest that got the entry looks for TDHP, a plain load.  PRIORITY: entry_drop follows."""
    return PRIORITY if atomics.load64(address) & TDHP else DONE


@kernel
def entry_check(address):
    """The sanity check before entry_drop, a plain load.  :246-297"""
    return DONE if atomics.load64(address) & TDEL else DONE + HALTS


@kernel
def entry_drop(address, primitive, tally):
    """DONE; everything but TDEL stays.  :246-297"""
    if primitive == BTS:
        reset_tdel(address)
    else:
        swap_bits(address, TDEL, 0, tally)
    return DONE


@kernel
def entry_replace(address, word, tally):
    """Write a whole entry but keep the TDHP that is in it; return the word written.

    Releases from 1.5.20 on, in place of a plain store: compare-and-swap until no other actor came between.
    """
    old = swap_bits(address, ~TDHP, word & ~TDHP, tally)
    return old & TDHP | word & ~TDHP


@kernel
def entry_replace_checked(address, word, expected, tally):
    """As entry_replace, and an outcome: it halts where more than TDHP is not as `expected`.  From 1.5.28 on."""
    old = atomics.load64(address)
    while True:
        if (old ^ expected) & ~TDHP:
            return DONE + HALTS, old
        seen = atomics.compare_swap64(address, old, old & TDHP | word & ~TDHP)
        if seen == old:
            return DONE, old & TDHP | word & ~TDHP
        tally[LOST_SWAPS] += 1
        old = seen


# --- mutex -----------------------------------------------------------------------------------

@kernel
def mutex_take(address):
    """DONE or BUSY.  tdx_locks.h:54-104"""
    old = atomics.compare_swap8(address, MUTEX_FREE, MUTEX_LOCKED)
    return DONE if old == MUTEX_FREE else BUSY


@kernel
def mutex_drop(address):
    """DONE.  tdx_locks.h:54-104"""
    old = atomics.compare_swap8(address, MUTEX_LOCKED, MUTEX_FREE)
    return DONE if old == MUTEX_LOCKED else DONE + HALTS


# --- whole operations: an outcome, with nobody in between -------------------------------------
# PRIORITY now means TDX_OPERAND_BUSY_HOST_PRIORITY.  `+ HALTS` is carried through: in the module the
# processor would have stopped at that step, here the remaining steps are done all the same, so that
# the word shows what the whole operation writes.

@kernel
def hp_acquire_shared_host(address):
    outcome = hp_take_shared(address)
    if outcome & BUSY:
        hp_request(address)
    elif outcome & PRIORITY:
        hp_clear(address)
    return outcome & ~PRIORITY


@kernel
def hp_acquire_shared_guest(address):
    outcome = hp_take_shared_guest(address)
    if outcome == PRIORITY:
        hp_withdraw(address)
    return outcome


@kernel
def hp_acquire_exclusive_host(address):
    outcome = hp_take_exclusive(address)
    if outcome == PRIORITY:
        return hp_take_exclusive_over_priority(address)
    if outcome == BUSY:
        hp_request(address)
    return outcome


@kernel
def hp_acquire_promote(address):
    outcome = hp_promote(address)
    if outcome == PRIORITY:
        return hp_promote_over_priority(address)
    if outcome & BUSY:
        hp_request(address)
    return outcome


@kernel
def hp_release_exclusive(address):
    outcome = hp_check_exclusive(address)
    hp_drop_exclusive(address)
    return outcome


@kernel
def entry_acquire_host(address, primitive, tally):
    outcome = entry_take(address, primitive, tally)
    if outcome == BUSY:
        entry_request_priority(address, primitive, tally)
    else:
        entry_clear_priority(address, primitive, tally)
    return outcome


@kernel
def entry_acquire_guest(address, primitive, tally):
    if entry_take(address, primitive, tally) == BUSY:
        return BUSY
    outcome = entry_see_priority(address)
    if outcome == PRIORITY:
        entry_drop(address, primitive, tally)
    return outcome


@kernel
def entry_release(address, primitive, tally):
    outcome = entry_check(address)
    entry_drop(address, primitive, tally)
    return outcome


OPERATIONS = {
    # name                         width, function
    "mutex_acquire":                (8, mutex_take),
    "mutex_release":                (8, mutex_drop),
    "sharex_acquire_shared":        (16, sharex_take_shared),
    "sharex_acquire_exclusive":     (16, sharex_take_exclusive),
    "sharex_release_shared":        (16, sharex_drop_shared),
    "sharex_release_exclusive":     (16, sharex_drop_exclusive),
    "sharex_promote":               (16, sharex_promote),
    "sharex_demote":                (16, sharex_demote),
    "hp_acquire_shared_host":       (16, hp_acquire_shared_host),
    "hp_acquire_shared_guest":      (16, hp_acquire_shared_guest),
    "hp_acquire_exclusive_host":    (16, hp_acquire_exclusive_host),
    "hp_acquire_exclusive_guest":   (16, hp_take_exclusive),
    "hp_release_shared":            (16, hp_drop_shared),
    "hp_release_exclusive":         (16, hp_release_exclusive),
    "hp_promote":                   (16, hp_acquire_promote),
    "entry_acquire_host":           (64, entry_acquire_host),
    "entry_acquire_guest":          (64, entry_acquire_guest),
    "entry_release":                (64, entry_release),
}
RESULTS = {DONE: "SUCCESS", BUSY: "BUSY", PRIORITY: "BUSY_HOST_PRIORITY"}


def apply(operation, words, primitive="cas"):
    """Run one whole operation on each word of an array, alone.

    operation   a name in OPERATIONS
    words       integers that fit the width of the lock; not changed
    primitive   "cas" or "bts"; only entry operations differ, and only inside
    Returns (results, words_after, halts): arrays as long as `words`, of the names in RESULTS, of
    words (dtype uint64), and of bool (the module would have shut itself down).
    Raises ValueError for an unknown operation or primitive, or a word that is too wide.
    """
    if operation not in OPERATIONS:
        raise ValueError(f"operation {operation!r} is not one of {', '.join(OPERATIONS)}")
    if primitive not in PRIMITIVES:
        raise ValueError(f"primitive {primitive!r} is not one of {', '.join(PRIMITIVES)}")
    width, function = OPERATIONS[operation]
    function = for_python(function)
    cell, tally = np.zeros(1, np.uint64), np.zeros(1, np.int64)
    arguments = (cell.ctypes.data,) + ((PRIMITIVES[primitive], tally) if width == 64 else ())
    results, words_after, halts = [], [], []
    for word in words:
        word = int(word)
        if not 0 <= word < 1 << width:
            raise ValueError(f"{operation}: {word:#x} does not fit the {width}-bit lock word")
        cell[0] = word
        outcome = function(*arguments)
        results.append(RESULTS[outcome & ~HALTS])
        words_after.append(int(cell[0]))
        halts.append(bool(outcome & HALTS))
    return np.array(results), np.array(words_after, np.uint64), np.array(halts, bool)
