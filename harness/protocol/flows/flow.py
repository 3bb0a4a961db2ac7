"""The words that flows share: a kick, mmu_lock, KVM_BUG_ON, the end of a VM.

A kick.  KVM interrupts every vCPU that is in the guest or on its way there, then waits until each has
taken the interrupt (kvm_make_all_cpus_request with KVM_REQ_OUTSIDE_GUEST_MODE); a vCPU that is out
gets none.  Here a vCPU has one word with a byte of each, so that "I enter" and "have I been asked to
leave" can be one access, as KVM's memory barriers make them.  With store buffers (Options.plain_mode) they are what KVM
has: a plain store of vcpu->mode, smp_mb__after_srcu_read_unlock, and a look at the requests (x86.c, vcpu_enter_guest);
the barrier can be left out (`no_entry_barrier`), which loses kicks.  The interrupt is taken where interrupts
are on: before each of the guest's instructions, and once tdh_vp_enter has come back
(`leave_guest_mode`).  Between the two a vCPU that tries again keeps it waiting.  A vCPU still counts as in the guest.

Requests that a vCPU must see before it enters (a signal, KVM_REQ_VM_DEAD) set the same bit whether it
is in the guest or not (`tell_all`).
"""

from contextlib import contextmanager
from typing import NamedTuple

from harness.memory.layout import LINE, MMU_NONPRESENT, SLOT_PAGES
from harness.protocol.dpamt import Design
from harness.protocol.guest_policies import BY_NAME as GUESTS, DEFAULT, GuestPolicy
from harness.protocol.policy import Policy
from harness.protocol.assemble import Held, Listing
from harness.protocol.call import Options, forget_refusals
from harness.protocol.counters import REBUILT_OVER_PRIORITY, violation
from harness.protocol.faults import call_with_entropy_retries
from harness.protocol.seamcalls import by_name, draws_random, entry_label, held_in_guest
from kernels import rwlock
from kernels.ops import Op, Register as R

MODE = 1                         # the byte of a vCPU's kick word that is vcpu->mode; the lowest are its requests
REQUEST, IN_GUEST = 1, 1 << 8 * MODE             # bits of the word

DEAD, CLOSING = 1, 2             # vm_dead of a VM that is not alive: KVM_BUG_ON; its file is being closed

SIGN = 1 << 63                   # of a difference: which of two numbers is greater

# Mirror entries (arch/x86/kvm/mmu/spte.h, 2024): bit 11 is SPTE_MMU_PRESENT_MASK.
MMU_PRESENT = 1 << 11
MMU_LARGE = 1 << 7               # PT_PAGE_SIZE_MASK
FROZEN_SPTE = MMU_NONPRESENT | 0x5A0

assert FROZEN_SPTE & MMU_PRESENT == 0 and FROZEN_SPTE != MMU_NONPRESENT
assert REQUEST & IN_GUEST == 0


SMALL_ACCEPT_EXITS = "guest.exit_accept"         # where an ACCEPT of 4 KiB leaves the guest, if KVM maps 2 MiB too (large.py)


class Behaviour(NamedTuple):
    """What a workload wants of flows, beside plain touches and removals page by page.

    removal          what host threads do: "punch_hole", "conversion", "memslot_delete", "split", "teardown",
                     "build"
    removal_pages    pages per removal, a power of two
    slot_pages       pages of a memslot, a power of two
    may_sleep        whether the caller of a removal may sleep (an MMU notifier may not)
    userspace_skips  how often userspace returns to the guest before it converts a page that faults
    map_gpa_share    share of the guest's steps that convert map_gpa_pages to shared and back
    map_gpa_retries  how often the guest repeats MapGPA when it gets RETRY; None: without limit
    string_pages     pages that one instruction touches
    migrate_share    share of entries at which the vCPU has come from another processor
    build_pages      pages of initial memory ("build")
    spammers         how many vCPUs do nothing but ACCEPT page 0
    acceptors        how many vCPUs touch and accept memory, the first ones; the others halt; None: all do
    large_pages      whether KVM maps 2 MiB as one page where it may (large.py)
    accept_2m        whether guests that know 2 MiB try them: at each first page of 2 MiB, or, with large_pages, the 2 MiB
                     around any page
    accept_parts     with both: the share of ACCEPTs that are of 4 KiB all the same
    guest            what the guest makes of the answers of ACCEPT
    design           how page pairs of data pages are got and put (dpamt.py); None: every 2 MiB keep theirs
    pamt_cache       page pairs to which a vCPU's cache is topped up before each try of a fault; 0: there always is a pair
    pamt_queue       whether who waits for pamt_lock queues, as many processors do; otherwise it is a plain word
    loop             "closed", or "open": touches and removals arrive, instead of following each other
    """

    removal: str = "punch_hole"
    removal_pages: int = 1
    slot_pages: int = SLOT_PAGES
    may_sleep: bool = True
    userspace_skips: int = 0
    map_gpa_share: float = 0.0
    map_gpa_pages: int = 512
    map_gpa_retries: int | None = None
    string_pages: int = 1
    migrate_share: float = 0.0
    build_pages: int = 64
    spammers: int = 0
    acceptors: int | None = None
    large_pages: bool = False
    accept_2m: bool = False
    accept_parts: float = 0.0
    guest: GuestPolicy = GUESTS[DEFAULT]
    design: Design | None = None
    pamt_cache: int = 0
    pamt_queue: bool = True
    loop: str = "closed"


class Flow:
    """The flows of one TD under one policy, being written.

    converts     pages can be shared as well as private
    memslots     memslots can be deleted
    large        KVM maps 2 MiB where it may
    mismatches   ... and splits them for a guest that accepts 4 KiB of them
    splits       memory behind the first 2 MiB is of large pages
    builds       a TD is built, vCPU by vCPU and page by page, before it runs
    invalidates  faults can find that their page is being invalidated
    fault_done   where a fault goes that is over
    guest        what the guest makes of the answers of ACCEPT
    """

    def __init__(self, options: Options, policy: Policy, hosts: int, seed: int,
                 accept_first: float, restart_on_bug: bool, behaviour: Behaviour = Behaviour()):
        self.listing = Listing()
        self.options, self.layout, self.policy = options, options.layout, policy
        self.hosts, self.seed = hosts, seed
        self.accept_first, self.behaviour, self.guest = accept_first, behaviour, behaviour.guest
        self.open_loop = behaviour.loop == "open"
        self.splits, self.builds = behaviour.removal == "split", behaviour.removal == "build"
        self.large = behaviour.large_pages
        self.mismatches = self.large and policy.accept_mismatch == "split"
        self.rebuilds = restart_on_bug or behaviour.removal in ("teardown", "split", "build")
        self.converts = behaviour.removal == "conversion" or behaviour.map_gpa_share > 0
        self.memslots = behaviour.removal == "memslot_delete"
        self.invalidates = self.converts or self.costs("invalidate_ns")
        self.fault_done = "fault.out" if self.memslots else "vcpu.run"
        self.row, self.label, self.fresh = self.listing.row, self.listing.label, self.listing.fresh
        self.goto, self.aside, self.count = self.listing.jump, self.listing.aside, self.listing.count
        self.begin, self.end = self.listing.begin, self.listing.end
        self.rows = by_name(options.release)
        self.held_in_guest = held_in_guest(options.release)
        self.calls: list[tuple[str, int]] = []       # the calls that are made, with their levels

    def at(self, name: str, **fields) -> dict:
        """Fields of a row about one of the VM's own words."""
        return {"base": R.TD, "offset": self.layout.at(name), "text": name} | fields

    def busted(self, part: str) -> bool:
        return part in self.options.busted

    def costs(self, cost: str) -> bool:
        return cost in self.options.costs

    def spend(self, cost: str, **fields) -> None:
        if self.costs(cost):
            self.listing.spend(cost, **fields)

    def call(self, name: str, behind: str, level: int = 0, text: str = "") -> None:
        """Make a call on an entry at `level`; it comes back at `behind`, the label of the next row.  `text`: what makes it."""
        self.calls.append((name, level))
        entry = entry_label(self.rows[name], level)
        if self.options.faults.no_entropy_share and draws_random(name):
            call_with_entropy_retries(self.listing, name, entry, behind)
            return
        self.row(Op.CALL, next=entry, otherwise=behind, text=text or name)
        self.label(behind)

    def succeeded(self, otherwise: str) -> None:
        self.row(Op.TEST, register=R.STATUS, mask=-1, otherwise=otherwise, text="TDX_SUCCESS")

    def first_try(self, *sites: str, tries: R = R.TRIES) -> None:
        """Before the first attempt of an operation: no retries so far, if the policy counts them."""
        if any(response.attempts > 0 for site in sites for response in self.policy.ladder(site).responses):
            self.row(Op.LET, register=tries)

    def violation(self, invariant: str, back: str) -> str:
        """The label of code that counts a violation and goes on at `back`."""
        label = self.fresh(f"violated.{invariant}")
        with self.aside(label):
            self.count(violation(invariant), next=back)
        return label

    def exit_of_accept(self, level: int) -> str:
        """Where an ACCEPT at a level goes that ends in an EPT violation."""
        return SMALL_ACCEPT_EXITS if self.mismatches and level == 0 else "guest.exit"

    def poll(self, who: str, leave=None) -> None:
        """Nothing is in progress: is the run over, is the VM dead?  `leave` writes what must be done first."""
        stop, dead = f"{who}.stop", f"{who}.dead"
        if leave and self.memslots:
            stop, dead = self._leaving(stop, leave), self._leaving(dead, leave)
        self.row(Op.POLL)
        self.row(Op.TEST, register=R.STOPPING, mask=-1, otherwise=stop, text="go on?")
        self.row(Op.LOAD, **self.at("vm_dead", mask=-1, match=0, otherwise=dead))

    def _leaving(self, then: str, leave) -> str:
        label = self.fresh("leaving")
        with self.aside(label):
            leave(self)
            self.goto(then)
        return label

    # --- kicks ---

    def leave_guest_mode(self) -> None:
        """vcpu->mode = OUTSIDE_GUEST_MODE, which acknowledges a kick."""
        if not self.options.plain_mode:
            self.row(Op.AND, base=R.KICK, value=~(IN_GUEST | REQUEST), text="vcpu->mode = OUTSIDE_GUEST_MODE")
            return
        # x86.c, vcpu_enter_guest: a plain store and smp_wmb(); then interrupts are on, so that one that was sent is taken, and
        # kvm_vcpu_srcu_read_lock() has a full barrier (kernel/rcu/srcutree.c, __srcu_read_lock): nothing overtakes the store.
        self.row(Op.STORE, base=R.KICK, offset=MODE, width=8, text="vcpu->mode = OUTSIDE_GUEST_MODE")
        self.row(Op.AND, base=R.KICK, value=~REQUEST, text="interrupt taken; srcu_read_lock")

    def enter_guest_mode(self, otherwise: str) -> None:
        """vcpu->mode = IN_GUEST_MODE, and whether there are requests, in one access or as KVM does it."""
        if not self.options.plain_mode:
            self.row(Op.OR, base=R.KICK, value=IN_GUEST, register=R.OLD, mask=REQUEST, match=0, otherwise=otherwise,
                     text="vcpu->mode = IN_GUEST_MODE")
            return
        self.row(Op.STORE, base=R.KICK, offset=MODE, width=8, value=IN_GUEST >> 8 * MODE, text="vcpu->mode = IN_GUEST_MODE")
        if not self.busted("no_entry_barrier"):
            self.row(Op.FENCE, text="smp_mb__after_srcu_read_unlock")
        self.row(Op.LOAD, base=R.KICK, width=8, mask=REQUEST, match=0, otherwise=otherwise, text="requests")

    def not_requested(self, otherwise: str) -> None:
        self.row(Op.LOAD, base=R.KICK, mask=REQUEST, match=0, otherwise=otherwise, text="asked to leave?")

    def kick_all(self) -> None:
        """Interrupt every vCPU that is in the guest, and wait until none is that was."""
        self.count("kick_broadcasts")
        self.begin("kick_wait")
        with self.each_vcpu():
            sent = self.fresh("kick.sent")
            self.row(Op.LET, register=R.OLD, value=IN_GUEST)
            self.row(Op.SWAP, base=R.CURSOR, register=R.OLD, value=IN_GUEST | REQUEST, otherwise=sent,
                     text="in the guest: IPI")
            self.count("kicks_sent")
            self.label(sent)
        self.spend("kick_ns")
        with self.each_vcpu():
            self.row(Op.WAIT_NOT, base=R.CURSOR, mask=REQUEST | IN_GUEST, match=REQUEST | IN_GUEST,
                     text="acknowledged")
        self.end("kick_wait")

    def tell_all(self) -> None:
        """A request that every vCPU must see before it enters; the sender does not wait for it."""
        self.count("kick_broadcasts")
        with self.each_vcpu():
            self.row(Op.OR, base=R.CURSOR, value=REQUEST, text="request, IPI")
        self.spend("kick_ns")

    @contextmanager
    def each_vcpu(self):
        """Rows that are executed with CURSOR at each vCPU's kick word."""
        again, done = self.fresh("kick.next"), self.fresh("kick.done")
        self.row(Op.LET, register=R.CURSOR, source=R.TD, value=self.layout.at("kick"))
        self.label(again)
        yield
        self.row(Op.LET, register=R.CURSOR, source=R.CURSOR, value=LINE)
        self.row(Op.TEST, register=R.CURSOR, source=R.TD, mask=-1, match=self.layout.by_name["kick"].end,
                 next=done, otherwise=again, text="all vCPUs")
        self.label(done)

    # --- mmu_lock ---

    @contextmanager
    def mmu_lock(self, mode: str):
        """Hold mmu_lock "shared" or "exclusive" around the rows written inside."""
        self.take_mmu_lock(mode)
        yield
        self.drop_mmu_lock()

    def take_mmu_lock(self, mode: str) -> None:
        held = Held("mmu_lock", mode, "mmu", R.TD, self.layout.at("mmu_lock"))
        exclusive = mode == "exclusive"
        if exclusive:
            self.row(Op.MMU_TAKE_EXCLUSIVE, **self.at("mmu_lock"))
        else:
            next_in, taken = self.fresh("mmu.next"), self.fresh("mmu.taken")
            self.row(Op.MMU_TAKE_SHARED, **self.at("mmu_lock", otherwise=next_in))
            with self.aside(next_in):
                self.row(Op.WAIT_IS, **self.at("mmu_lock", mask=rwlock.WRITER, match=0, next=taken))
            self.label(taken)
        self.listing.hold(held)
        self.own_mmu_lock(source=R.ME if exclusive else None, expected=R.ZERO)

    def drop_mmu_lock(self) -> None:
        exclusive = any(held.resource == "mmu_lock" and held.mode == "exclusive" for held in self.listing.held)
        self.own_mmu_lock(source=R.ZERO if exclusive else None, expected=R.ME if exclusive else R.ZERO)
        self.row(Op.MMU_DROP_EXCLUSIVE if exclusive else Op.MMU_DROP_SHARED, **self.at("mmu_lock"))
        self.listing.release("mmu_lock")

    def back_out(self, then: str) -> None:
        self.drop_mmu_lock()
        self.goto(then)

    def own_mmu_lock(self, source, expected) -> None:
        """The same check of exclusive ownership as for the module's locks (Call.check_owner)."""
        if not self.options.owners:
            return
        violated, ok = self.fresh("mmu.violated"), self.fresh("mmu.owned")
        access = {"op": Op.LOAD} if source is None else {"op": Op.EXCHANGE, "source": source}
        self.row(register=R.OLD, **access, **self.at("mmu_owner"))
        self.row(Op.TEST, register=R.OLD, source=expected, mask=-1, next=ok, otherwise=violated)
        with self.aside(violated):
            self.count(violation("exclusive_ownership"), next=ok)
        self.label(ok)

    def spin_lock(self, name: str, base: R = R.TD) -> None:
        """A plain lock of the host's own; `name` is its word, of the VM or (base ZERO) of all VMs."""
        again = self.label(self.fresh(f"{name}.again"))
        self.row(Op.WAIT_IS, **self.at(name, base=base, mask=-1, match=0))
        self.row(Op.LET, register=R.OLD)
        self.row(Op.SWAP, register=R.OLD, source=R.ME, **self.at(name, base=base, otherwise=again))
        self.listing.hold(Held(name, "exclusive", "spin", base, self.layout.at(name)))

    def spin_unlock(self, name: str, base: R = R.TD) -> None:
        self.row(Op.STORE, **self.at(name, base=base))
        self.listing.release(name)

    # --- the end of a VM ---

    def bug(self, then: str, before=lambda: None) -> None:
        """KVM_BUG_ON: the VM is dead, all vCPUs get a request.  What fails after the first bug is no news."""
        dead = self.fresh("bug.dead")
        self.row(Op.EXCHANGE, value=DEAD, register=R.OLD, **self.at("vm_dead", mask=DEAD, match=0,
                 otherwise=dead))
        self.row(Op.BUG, text="KVM_BUG_ON")
        self.label(dead)
        self._let_go()
        self.tell_all()
        before()
        self.goto(then)

    def kill(self, then: str) -> None:
        """kvm_vm_dead, without a call of the module's that failed."""
        self.row(Op.STORE, value=DEAD, **self.at("vm_dead"))
        self.tell_all()
        self.goto(then)

    def guest_dies(self, counter: str, then: str) -> None:
        """The guest tells the host that it has ended itself, and userspace ends the VM.  The first one counts."""
        dead = self.fresh("guest.dead")
        self.row(Op.EXCHANGE, value=DEAD, register=R.OLD, **self.at("vm_dead", mask=DEAD, match=0, otherwise=dead))
        self.count(counter)
        self.label(dead)
        self._let_go()
        self.tell_all()
        self.goto(then)

    def _let_go(self) -> None:
        """Nobody need wait any more for a TD that is being built."""
        for word in ("created", "built") if self.builds else ():
            self.row(Op.STORE, value=1, **self.at(word))

    def exit_userspace(self, then: str) -> None:
        self.count("userspace_exits")
        self.spend("userspace_exit_ns")
        self.goto(then)

    def park(self, who: str, may_rebuild: bool, leave=lambda: None, destroy=lambda: None,
             begin_again=lambda: None) -> None:
        """End, and what to do when the VM is dead: end too, or have a fresh one built.

        One actor, the rebuilder, waits until all others are parked, makes the TD fresh and lets them go
        by a new vm_generation.  One that ends counts as parked, so that no kick waits for it.  When the
        rebuilder itself ends, there will be no fresh TD: it lets go whoever is parked, to end as well.
        Nobody else may: an actor that is let go early ends and is counted a second time, in place of one
        that is still in the old TD.  Where the workload is teardown, the rebuilder first removes all
        memory of the TD that has ended.

        leave, destroy, begin_again   write what an actor of a dead VM, the one that rebuilds before and
                                      after it makes the TD fresh, do besides
        """
        self.label(f"{who}.stop")
        if who == "vcpu":
            forget_refusals(self.listing)
        leave()
        self._let_go()
        if self.builds:
            self.row(Op.ADD, value=1, **self.at("vcpus_created"))
        if may_rebuild:
            rebuilder = (self.layout.vcpus if self.hosts else 0) + 1     # first host, or first vCPU
            others, ended = self.fresh(f"{who}.others"), self.fresh(f"{who}.ended")
            self.row(Op.TEST, register=R.ROLE, mask=-1, match=rebuilder, otherwise=others, text="rebuilder")
            self.row(Op.ADD, value=1, **self.at("vm_generation", next=ended))
            self.label(others)
        self.row(Op.ADD, value=1, **self.at("parked"))
        if may_rebuild:
            self.label(ended)
        self.row(Op.STOP)
        self.label(f"{who}.dead")
        if who == "vcpu":
            forget_refusals(self.listing)
        for number, name in enumerate(self.listing.calls):
            self.row(Op.SETTLE, value=number, text=name)
        leave()
        if not self.rebuilds:
            self.row(Op.STOP)
            return
        parked = self.fresh(f"{who}.parked")
        if may_rebuild:
            self.row(Op.TEST, register=R.ROLE, mask=-1, match=rebuilder, otherwise=parked, text="rebuilder")
            others = self.layout.actors // self.layout.tds - 1
            self.row(Op.WAIT_IS, **self.at("parked", mask=-1, match=others))
            if self.behaviour.removal in ("teardown", "build"):
                self.row(Op.LET, register=R.PAGE)
                self.row(Op.LET, register=R.RANGE_END, value=self.layout.pages)
                self.row(Op.LET, register=R.RETURN, value=f"{who}.torn_down")
                self.begin("teardown", next="zap")
                self.label(f"{who}.torn_down")
                self.end("teardown")
            destroy()
            entries = self.layout.by_name["sept.0"].offset, self.layout.by_name["sept.2"].end
            self.listing.count_in(REBUILT_OVER_PRIORITY, Op.RESET, text="a fresh TD", base=R.TD, offset=entries[0],
                                  mask=entries[1] - entries[0])
            begin_again()
            self.count("rebuilds")
            self.row(Op.STORE, **self.at("parked"))
            self.row(Op.STORE, **self.at("vm_dead"))
            self.row(Op.ADD, value=1, **self.at("vm_generation"))
            self.row(Op.LET, register=R.SINCE, source=R.SINCE, value=1, next=who)
        self.label(parked)
        self.row(Op.ADD, value=1, **self.at("parked"))
        self.row(Op.WAIT_NOT, source=R.SINCE, **self.at("vm_generation", mask=-1, match=0))
        self.row(Op.LET, register=R.SINCE, source=R.SINCE, value=1, next=who)
