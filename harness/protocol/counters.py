"""What programs count and what they time, each with its meaning; nothing else is counted or timed.

A flow names a counter or a span by a string (`Listing.count`, `begin`, `end`), and whoever reads a result
does.  Both are held to these tables, so that a name that is misspelt is refused where it is written and
does not read as 0.  docs/result.md is made from them.
"""

from harness.errors import nearest
from harness.protocol.invariants import INVARIANTS, OF_C, OF_GUESTS, OF_PAMT, RUNNING

REFUSED_FOR_PRIORITY = "host_priority_refused"
REBUILT_OVER_PRIORITY = "host_priority.rebuilt_over"

# Of the part of a run that is measured, all actors together.
COUNTERS = {
    "touches": "guest instructions that touched their page and found what must be there",
    "private_faults": "touches that ended in a private EPT violation, which the zero-step mitigation counts",
    "unaccepted_touches": "touches of a page that was not accepted, with pending #VE off: KVM ends the VM",
    "accept_faults": "ACCEPTs that ended in an EPT violation; the mitigation does not count these",
    "accepts": "pages that a guest accepted",
    "accepts_given_up": "ACCEPTs that a guest gave up: an error to its own caller, which leaves the page alone",
    "vcpus_halted": "vCPUs that their guest stopped for good because of an answer",
    "accepts_of_1g": "ACCEPTs of 1 GiB, each refused by the module before it looks at the SEPT",
    "accepts_lost": "ACCEPTs that failed and that the guest took for done",
    "helped": "ACCEPTs that a vCPU made for the vCPU before it, while a string instruction faults there",
    "spammed": "ACCEPTs of vCPUs that do nothing else",
    "installs": "pages put into the SEPT and the mirror by a fault",
    "removals": "pages taken back",
    "removals_skipped": "pages to be taken back that were not there",
    "touch_arrivals": "touches begun in an open loop, each meant to begin at a time of its own",
    "removal_arrivals": "removals begun in an open loop",

    "kick_broadcasts": "kicks or requests sent to all vCPUs of a VM at once",
    "kicks_sent": "vCPUs that a kick found in the guest",
    "kicks_taken": "interrupts that took a vCPU out of the guest between two instructions",
    "entries_refused": "entries refused because entry was barred",
    "migrations": "vCPUs that came back on another processor",
    "flush_ipis": "vCPUs that came out of the guest because their processor had to flush one that had moved",
    "userspace_exits": "exits to userspace",
    "internal_errors": "exits with KVM_EXIT_INTERNAL_ERROR after a SEAMCALL that did not reach the module",
    "memory_fault_exits": "exits with KVM_EXIT_MEMORY_FAULT: the page is shared by its attributes",

    "local_retries": "faults handled again without entering the guest",
    "frozen_met": "mirror entries that a fault found frozen by another",
    "invalidations_met": "faults on a page that was being invalidated",
    "invalid_slots_met": "faults on a memslot that was being deleted",
    "mmu_lock_drained": "mmu_lock taken for write and dropped, so that whoever held it was done",
    "zap_yields": "mmu_lock dropped in the middle of a removal because another waited for it",
    "retry_limit_doubled": "the VM's limit of retries doubled",
    "clobbered_calls": "retries with the operands that the failed try had returned",
    "other_errors_taken_for_busy": "failures that were not BUSY but shared a bit with it",
    "pamt_pairs_taken": "page pairs that gets of faults took out of their vCPU's cache (td.pamt_cache)",
    "pamt_pairs_unused": "pairs of these that were freed again: the range had one, or the get failed",
    "pamt_pairs_topped_up": "page pairs that were allocated before a fault, for its vCPU's cache",
    "rebuilds": "fresh TDs in place of one that had died or ended",

    "zero_step.armed": "vCPUs that the mitigation began to suspect",
    "zero_step.entries_with_lock": "entries of a suspected vCPU that took the SEPT tree lock",
    "zero_step.synthetic_exits": "entries that it ended with an EPT violation, without entering",
    "zero_step_answers": "entries BUSY on the SEPT tree that a policy answered at its site zero_step",

    "host_priority.set": "TDHP set in an SEPT entry by a host that lost it",
    "host_priority.cleared": "TDHP cleared by a host that got the entry",
    "host_priority.timeouts": "TD exits because a TDCALL was refused for host priority for too long",
    "host_priority.locks_set": "the same bit set in another lock (PAMT entries, op_state, from 1.5.20 the tree)",
    "host_priority.locks_cleared": "the same bit cleared there",
    REBUILT_OVER_PRIORITY: "TDHP bits that a fresh TD wiped out",

    "map_gpa_calls": "MapGPA calls of guests",
    "map_gpa_status_retry": "MapGPA calls that KVM broke off between two pieces: the guest is to call again",
    "conversions": "ranges that a guest converted to shared and back",
    "conversions_given_up": "conversions that a guest gave up after so many repeats",
    "conversions_skipped": "faults on a shared page after which userspace did not yet convert it",
    "slots_deleted": "memslots deleted and created again",
    "large_installs": "pages of 2 MiB put into the SEPT and the mirror by a fault (td.large_pages)",
    "large_accepts": "pages of 2 MiB that a guest accepted as one",
    "large_removals": "pages of 2 MiB taken back as one",
    "mismatched_accepts": "ACCEPTs of 4 KiB that ended in an EPT violation where 2 MiB may still be mapped as one: KVM takes mmu_lock",
    "demotes_interrupted": "DEMOTEs that a pending interrupt ended",
    "splits": "large pages split",
    "splits_rolled_back": "splits under mmu_lock read that were given up, as a call was BUSY: the page is mapped as before",
    "builds": "TDs finalized",
    "vcpus_created": "vCPUs initialized while their TD was built",
    "destroyed": "TDs taken apart",
    "destroy_failures": "calls that failed while a TD was taken apart; KVM leaks the page or the key",

    "machine_checks": "machine checks, each of which asks the module about a page",
    "machine_check.private": "the module said: private",
    "machine_check.not_private": "the module said: not private",
    "machine_check.not_in_vmx_operation": "#UD, taken for not private",
    "machine_check.no_module": "#GP or VMfailInvalid, taken for not private",
    "machine_check.busy": "a lock was lost, taken for not private",
}

# From when to when; a span that is in progress does not begin again.
SPANS = {
    "touch_stalled": "from a touch's private EPT violation to the end of the touch",
    "fault": "KVM's handling of a violation, from the exit to the page's being there, retries included",
    "removal": "one page: from the mirror entry's removal to the page's being the host's again",
    "touch_since_intended": "open loop: from a touch's intended start to its end",
    "fault_since_intended": "open loop: the same, of touches that faulted",
    "removal_since_intended": "open loop: from a removal's intended start to its end",
    "kick_wait": "from a kick to the last vCPU's taking it",
    "entry_barred": "while entry is barred (wait_for_sept_zap)",
    "guest_time_lost": "from a kick taken, or an entry refused by the bar, to the vCPU's next entry",
    REFUSED_FOR_PRIORITY: "from a TDCALL's first refusal for host priority to the next of another outcome",
    "map_gpa": "one MapGPA call, until it is done or broken off",
    "slot_deletion": "one memslot: invalid, zapped, created again",
    "srcu_wait": "synchronize_srcu: until every vCPU that was a reader has left",
    "pamt_get": "getting the PAMT page pair of a page's range, the wait for its lock and PAMT.ADD included",
    "pamt_put": "putting it, PAMT.REMOVE included",
    "pamt_wait": "from asking for pamt_lock, or a range's, to having it",
    "split": "one large page: from the freeze to the publication of its parts",
    "teardown": "removing all memory of a TD that has ended",
    "build": "from TDH.MNG.CREATE to TDH.MR.FINALIZE, or to the failure of a call between",
    "destroy": "from TDH.MNG.VPFLUSHDONE to the last page's reclaim",
}

# What became of host priority over the whole run (host_priority of a result), beside the counters of that name.
HOST_PRIORITY = {
    **{name: COUNTERS[f"host_priority.{name}"] for name in ("set", "cleared", "timeouts", "locks_set", "locks_cleared")},
    "orphaned": "TDHP left on an unlocked entry when its TD ended: no host came back, and the guest is refused",
    "lost": "TDHP set, and neither cleared nor there at the end: overwritten by a plain store",
    "locks_left": "the same bit left in PAMT entries",
}


def died_of(kind: str) -> str:
    """The counter of guests that died of a kind of answer.  Raises LookupError."""
    return declared(COUNTERS, f"guest_deaths.{kind}", "counter")


def violation(invariant: str) -> str:
    """The counter of an invariant's violations.  Raises LookupError."""
    return declared(COUNTERS, f"violation: {invariant}", "counter")


# The counters of violations, and the invariant of each.
_COUNTED = (*(each for each in INVARIANTS if each.name in RUNNING),
            *(each for each in (*OF_C, *OF_PAMT) if each.found == "running"))
VIOLATIONS = {f"violation: {each.name}": each.name for each in _COUNTED}
COUNTERS |= {f"violation: {each.name}": f"not so: {each.meaning}" for each in _COUNTED}
# Guests that ended themselves because of an answer of ACCEPT, by its kind; a search looks for these as for violations.
DEATHS = {f"guest_deaths.{each.name.removeprefix('guest_outlives_')}": each.name for each in OF_GUESTS}
COUNTERS |= {name: f"TDs ended by their guest; not so: {each.meaning}" for name, each in zip(DEATHS, OF_GUESTS)}
EVENTS = VIOLATIONS | DEATHS


def declared(table, name: str, what: str) -> str:
    """The name, if a table has it.  Raises LookupError."""
    if name not in table:
        raise LookupError(f"{what} {name!r} is not declared in harness/protocol/counters.py{nearest(name, table)}")
    return name
