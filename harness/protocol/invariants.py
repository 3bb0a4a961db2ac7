"""The invariants: what must be true of every run.  A result counts the violations of each.

Some are counted while the run goes on, by rows that flows and calls write where they belong, some follow
from the answers that calls gave, some are looked up once everybody is done; the predicates are in
harness/engines/checks.py.
"""

from typing import NamedTuple


class Invariant(NamedTuple):
    """One predicate; `number` is that of the list of KVM's invariants, I1 to I10."""

    name: str
    number: str
    found: str                   # a key of FOUND
    meaning: str


FOUND = {
    "running": "counted while the run goes on",
    "owners": "the same, by shadow words that hold owners (checks.exclusive_ownership)",
    "answers": "from the answers that calls gave",
    "quiet": "looked up once everybody is done",
    "outcomes": "an outcome that a scenario names",
    "program": "read off the program",
    "engine": "noticed by the engine",
}

INVARIANTS = (
    Invariant("exclusive_ownership", "", "owners",
              "an exclusively taken lock word had no other owner, and a shared one no exclusive owner"),
    Invariant("stale_translation", "", "running",
              "no access went through a translation to a page that the host had taken back"),
    Invariant("page_signature", "", "running",
              "an accepted page holds zero or what its vCPUs wrote, at each touch and at the end"),
    Invariant("conservation", "", "quiet",
              "per call: attempts = success + busy + other, and each BUSY has one cause"),
    Invariant("quiet_locks", "", "quiet",
              "with everybody done, every lock word is free (host priority may be left)"),
    Invariant("quiet_counts", "", "quiet", "with everybody done, no vCPU is counted as running"),
    Invariant("quiet_mirror", "I1", "quiet",
              "with everybody done and the VM alive, KVM's mirror says what the SEPT says; none is frozen"),
    Invariant("quiet_frames", "", "quiet",
              "with everybody done, no frame of the host's is lost or owned twice; 2 MiB that are one page have no other in use"),
    Invariant("mirror_race", "I1", "running", "a page that has just been put into the SEPT is in the mirror too"),
    Invariant("one_freezer", "I2", "owners", "between freeze and publish a mirror entry is one actor's"),
    Invariant("seamcall_covered", "I3", "owners",
              "who makes a SEAMCALL on an entry has frozen its mirror, or holds mmu_lock for write"),
    Invariant("quiet_tree", "I4", "quiet", "an SEPT entry that is not free lies below a mapped SEPT page"),
    Invariant("removal_tracked", "I5", "answers",
              "a page is removed once blocked and tracked, and TRACK finds no vCPU of the previous epoch"),
    Invariant("barred_retry", "I6", "running", "with entry barred and all vCPUs out, no call comes back BUSY"),
    Invariant("bar_under_lock", "I7", "owners",
              "entry is barred only by who holds mmu_lock for write, and not longer"),
    Invariant("single_mapping", "I8", "answers", "no page is added where one is mapped; no page is mapped twice"),
    Invariant("no_sleep_under_lock", "I9", "program", "nothing sleeps, yields or polls with mmu_lock held"),
    Invariant("no_deadlock", "I10", "engine", "no actor waits for ever"),
    Invariant("no_halt", "", "engine", "no sanity check of the module failed, which would have shut it down"),
)
# What only programs written in C can break, and only `explore` looks for (protocol/litmus).
OF_C = (
    Invariant("warn_on", "", "running", "no condition of WARN_ON or WARN_ON_ONCE was true, no reference count wrong"),
    Invariant("bug_on", "", "running", "no condition of BUG_ON was true, nothing was divided by zero or shifted by its width or more"),
    Invariant("lockdep", "", "running", "what lockdep_assert_held and relatives say was so"),
    Invariant("lock_balance", "", "running", "who let go of a lock held it, as a reader or as a writer"),
    Invariant("lock_order", "", "engine", "no two locks are taken in both orders"),
    Invariant("sleeps_in_atomic", "", "running", "nothing that may sleep was called with a spinlock held"),
    Invariant("dereference", "", "running", "every pointer that was followed pointed to a word of the test"),
)
# What a guest with a policy that ends it can break (guest_policies.py).  A run counts these as dead guests, not as
# violations; `explore` looks for them.
OF_GUESTS = (
    Invariant("guest_outlives_busy", "", "running", "no guest ended itself because ACCEPT was BUSY"),
    Invariant("guest_outlives_mismatch", "", "running",
              "no guest ended itself because ACCEPT answered TDX_PAGE_SIZE_MISMATCH"),
    Invariant("guest_outlives_accepted", "", "running",
              "no guest ended itself because ACCEPT answered TDX_PAGE_ALREADY_ACCEPTED"),
)
# What a design of the kernel's Dynamic PAMT can break (dpamt.py).  `explore` looks for all, a run with td.dpamt for those that
# are counted while it goes on.
OF_PAMT = (
    Invariant("pamt_present", "", "running", "no page is given to the module while its range has no PAMT page pair"),
    Invariant("pamt_get", "", "running", "no get of a range's pair fails: BUSY that nobody retries, or a pair that was there"),
    Invariant("pamt_put", "", "running",
              "no PAMT.REMOVE of a put fails: BUSY that nobody retries, no pair, or pages in use"),
    Invariant("pamt_busy", "", "running",
              "nothing that KVM cannot do again is BUSY because of another TD: a control page, RECLAIM, a split's DEMOTE"),
    Invariant("pamt_cached", "", "running", "no get of a fault finds its vCPU's cache of page pairs empty"),
    Invariant("pamt_priority", "", "quiet", "with everybody done, no 2 MiB keep a host priority that nobody will clear"),
    Invariant("pamt_counted", "", "quiet", "with everybody done, a range has a pair exactly if its count is not zero"),
)
# What a call's answer or a word at the end shows: outcomes that break one are named by the scenario ([[expect]] breaks).
OF_OUTCOMES = (
    Invariant("priority_kept", "", "outcomes",
              "who writes an SEPT entry keeps the host priority that was asked for since it was read"),
    Invariant("priority_of_others", "", "outcomes",
              "a host that takes an SEPT entry takes back no priority that another host has asked for meanwhile"),
    Invariant("priority_of_writers", "", "outcomes",
              "a host that takes a lock shared takes back no priority that a writer has asked for"),
    Invariant("priority_on_held", "", "outcomes", "host priority is set on what is held, never on what is free"),
    Invariant("priority_wins", "", "outcomes", "a guest that is refused for host priority makes no host BUSY"),
    Invariant("priority_not_copied", "", "outcomes", "host priority is on the entry that was asked for, on no other"),
    Invariant("right_size_accepted", "", "outcomes",
              "ACCEPT of a page of the right size does not answer TDX_PAGE_SIZE_MISMATCH"),
    Invariant("accepted_stays", "", "outcomes", "a page that a guest has accepted is not pending again"),
    Invariant("entries_side_by_side", "", "outcomes",
              "a suspected vCPU's entry filter makes neither another entry nor an AUG BUSY"),
    Invariant("failed_shutdown_unseen", "", "outcomes",
              "no call is refused because of a TDH.SYS.SHUTDOWN that then fails"),
    Invariant("service_td_goes_on", "", "outcomes",
              "a host that is BUSY on a lock of a TD does not take that TD's service TD out of its guest"),
    Invariant("import_goes_on", "", "outcomes", "an entry or a page that is BUSY does not end an import for good"),
)
NAMES = tuple(invariant.name for invariant in INVARIANTS)
RUNNING = tuple(each.name for each in INVARIANTS if each.found in ("running", "owners"))
OWNERS = tuple(each.name for each in INVARIANTS if each.found == "owners")

assert all(each.found in FOUND for each in INVARIANTS)
