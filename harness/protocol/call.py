"""A call while it is being written: taking and dropping locks, and how it gets out when something fails.

What a SEAMCALL's row never says is how to get out again.  `Call` keeps what is held, and every failure
goes to unwinding code derived from that: the locks held at that point are dropped in the row's
release order (the reverse of acquisition unless the row says otherwise), as the module's EXIT:
ladders do.  Two failures that hold the same locks share that code.
"""

from typing import NamedTuple

from harness.memory.layout import Layout
from harness.protocol import releases
from harness.protocol.counted_answers import SUCCESS
from harness.protocol.assemble import HALT, Held, Listing
from harness.protocol.counters import REFUSED_FOR_PRIORITY, violation
from harness.protocol.seamcall_abi import Faults
from harness.protocol.releases import ADD_LOOK, EXCLUSIVE, LOOK_SET, SET_LOOK, SHARED, Release
from kernels.answers import AnswerKind
from kernels.locks import PRIMITIVES
from kernels.ops import Op, Register as R
from kernels.words import EXCLUSIVE as HP_EXCLUSIVE, HP, HP_READER, TDEL, status


MACHINE = (R.ZERO, R.WBT, R.KET)         # bases of words that are not a TD's


def forget_refusals(listing: Listing) -> None:
    """The vCPU's timer of refusals for host priority stops."""
    listing.end(REFUSED_FOR_PRIORITY)
    listing.row(Op.LET, register=R.REFUSED, text="not refused")


class Options(NamedTuple):
    """What the same row may be assembled with."""

    layout: Layout
    primitive: str = "cas"       # how entry bits are changed: kernels.locks.PRIMITIVES
    owners: bool = True          # check exclusive ownership with a shadow word per lock word
    costs: frozenset[str] = frozenset()      # costs that are not zero; others take no row
    busted: frozenset[str] = frozenset()     # parts broken on purpose (negative controls)
    release: Release = releases.DEFAULT
    faults: Faults = Faults()    # what goes wrong below the module; by default nothing
    attribution: bool = False    # note the word that refused, for kernels/blame.py
    pending_ve: bool = True      # whether a touch of a PENDING page is a #VE for the guest
    plain_mode: bool = False     # vcpu->mode and requests as KVM accesses them, for store buffers: flows/flow.py
    inside: bool = False         # whether the module notes who is inside it, and TDH.SYS.SHUTDOWN counts them


class Call:
    """One call being written: its listing, what it holds, and how it gets out."""

    def __init__(self, listing: Listing, name: str, options: Options, order: tuple[str, ...] = (),
                 level: int = 0, guest: bool = False):
        self.listing, self.name, self.options = listing, name, options
        self.order = order               # resources in release order, if not the reverse
        self.level, self.guest = level, guest
        self.primitive = PRIMITIVES[options.primitive]
        self._unwinding: dict[tuple[tuple[Held, ...], bool], str] = {}
        self.held_before: tuple[Held, ...] = ()      # what was held when this step began
        self.leaves = None               # writes what is done as the module is left, if anything is

    @property
    def release(self) -> Release:
        """The module's release that this call is written for."""
        return self.options.release

    @property
    def dynamic_pamt(self) -> bool:
        """Whether the PAMT entries of 4 KiB pages lie in pages that the host gives and takes."""
        return self.options.layout.dynamic_pamt

    def td(self, field: str) -> int:
        """The offset of one of the TD's own words from Register.TD."""
        return self.options.layout.at(field)

    def fresh(self, part: str) -> str:
        return self.listing.fresh(f"{self.name}.{part}")

    def row(self, op, **fields):
        self.listing.row(op, **fields)

    # --- taking and dropping locks ---

    def take(self, lock: Held, busy: int | str, promoted: bool = False, refused: str = "") -> Held:
        """One try to take a lock; a lost try ends the call with status `busy`, or goes on at the label `busy`.

        refused    a label where a guest goes on that is refused for host priority, in place of its BUSY
        promoted   first shared, then from that to exclusive, as the PAMT walk does with a large page
        Returns the lock as it is held, with its place.
        """
        lock = self.placed(lock)
        self._refused = refused
        if promoted:
            shared = lock._replace(mode=SHARED)
            self._take(shared, busy, self._take_hp_shared)
            self._take(lock, busy, self._promote_hp)
        else:
            self._take(lock, busy, {
                ("hp", SHARED): self._take_hp_shared_guest if self.guest else self._take_hp_shared,
                ("hp", EXCLUSIVE): self._take_hp_exclusive_guest if self.guest else self._take_hp_exclusive,
                ("sharex", SHARED): self._take_sharex,
                ("sharex", EXCLUSIVE): self._take_sharex,
                ("mutex", EXCLUSIVE): self._take_mutex,
                ("entry", EXCLUSIVE): self._take_entry_guest if self.guest else self._take_entry_host,
            }[lock.discipline, lock.mode])
        self.check_owner(lock, taking=True)
        return lock

    def promote(self, lock: Held, busy: int | str) -> Held:
        """A lock that is held shared becomes exclusive, in one try."""
        lock = self.placed(lock)._replace(mode=EXCLUSIVE)
        self._take(lock, busy, self._promote_hp)
        self.check_owner(lock, taking=True)
        return lock

    def placed(self, lock: Held) -> Held:
        """A lock of the TD or of the machine that is named by its word, with the word's offset."""
        if isinstance(lock.offset, str):
            return lock._replace(offset=self.options.layout.at(lock.offset))
        return lock

    def _take(self, lock: Held, busy: int, how) -> None:
        place = {"base": lock.base, "offset": lock.offset, "text": str(lock)}
        how(lock, place, self.fresh("lost"), busy)

    def _take_hp_shared(self, lock, place, lost, busy):
        clear, taken = self.fresh("clear"), self.fresh("taken")
        self.row(Op.HP_TAKE_SHARED, otherwise=lost, priority=clear, **place)
        self._request_hp(lost, place, busy)
        self.listing.hold(lock)
        with self.listing.aside(clear):
            self.row(Op.HP_CLEAR, **place)
            self.listing.count("host_priority.locks_cleared", next=taken)
        self.listing.label(taken)

    def _take_hp_exclusive(self, lock, place, lost, busy):
        self._over_priority(lock, place, lost, busy, Op.HP_TAKE_EXCLUSIVE, Op.HP_TAKE_OVER_PRIORITY)
        self.listing.hold(lock)

    def _take_hp_shared_guest(self, lock, place, lost, busy):
        refused = self.fresh("refused")
        with self.listing.aside(refused):
            self._refuse_for_priority(busy)
        self.take_shared_as_guest(lock, busy, refused)

    def take_shared_as_guest(self, lock: Held, busy: int, refused: str) -> None:
        """A sharex_hp lock from the guest's side; at `refused` if a host has asked for it first.  tdx_locks.h:325-347

        Up to 1.5.25 a guest that finds host priority takes back what it has added; then it looks before it adds.
        """
        place = {"base": lock.base, "offset": lock.offset, "width": 16, "text": f"{lock} (guest)"}
        priority, lost, asked, taken = (self.fresh(part) for part in ("priority", "lost", "asked", "taken"))
        adds_first = self.release.guest_shared == ADD_LOOK
        add = {"op": Op.ADD, "register": R.OLD, "value": HP_READER, **place}
        self.row(**add if adds_first else {**place, "op": Op.LOAD, "register": R.OLD})
        self.row(Op.TEST, register=R.OLD, mask=HP, match=0, next=asked, otherwise=priority, text="host priority")
        with self.listing.aside(priority):
            if adds_first:
                self.row(Op.ADD, value=-HP_READER, **place)
            self.row(Op.LET, next=refused)
        self.listing.label(asked)
        if not adds_first:
            self.row(**add)
        self.row(Op.TEST, register=R.OLD, mask=HP_EXCLUSIVE, match=0, next=taken, otherwise=lost, text="exclusive")
        with self.listing.aside(lost):
            self.answer_busy(busy, place)
        self.listing.label(taken)
        self.listing.hold(lock)

    def _take_hp_exclusive_guest(self, lock, place, lost, busy):
        """One try, and the word stays as it is if that is lost.  tdx_locks.h:385-404"""
        refused = self.fresh("refused")
        self.row(Op.HP_TAKE_EXCLUSIVE, otherwise=lost, priority=refused, **place)
        with self.listing.aside(lost):
            self.answer_busy(busy, place)
        with self.listing.aside(refused):
            self._refuse_for_priority(busy)
        self.listing.hold(lock)

    def _promote_hp(self, lock, place, lost, busy):
        self._over_priority(lock, place, lost, busy, Op.HP_PROMOTE, Op.HP_PROMOTE_OVER_PRIORITY)
        self.listing.release(lock.resource)
        self.listing.hold(lock)

    def _over_priority(self, lock, place, lost, busy, take, take_over):
        over, taken, refused = self.fresh("over"), self.fresh("taken"), self.fresh("refused")
        self.row(take, otherwise=lost, priority=over, **place)
        self._request_hp(lost, place, busy, refused)
        with self.listing.aside(over):
            self.row(take_over, otherwise=refused, **place)
            self.listing.count("host_priority.locks_cleared", next=taken)
        self.listing.label(taken)

    def _request_hp(self, lost, place, busy, refused=None):
        """Behind a lost try; `refused` labels what a try that may not ask for priority goes on with."""
        with self.listing.aside(lost):
            self.row(Op.HP_REQUEST, **place)
            self.listing.count("host_priority.locks_set")
            if refused:
                self.listing.label(refused)
            self.answer_busy(busy, place)

    def _take_sharex(self, lock, place, lost, busy):
        self.row(Op.SHAREX_TAKE_SHARED if lock.mode == SHARED else Op.SHAREX_TAKE_EXCLUSIVE, otherwise=lost, **place)
        with self.listing.aside(lost):
            self.answer_busy(busy, place)
        self.listing.hold(lock)

    def _take_mutex(self, lock, place, lost, busy):
        self.row(Op.MUTEX_TAKE, otherwise=lost, **place)
        with self.listing.aside(lost):
            self.answer_busy(busy, place)
        self.listing.hold(lock)

    def _take_entry(self, place, lost):
        if "entry_lock" not in self.options.busted:
            self.row(Op.ENTRY_TAKE, value=self.primitive, otherwise=lost, **place)
            return
        # BUSTED on purpose: test and set as two steps, so that two takers can both win.
        self.row(Op.LOAD, register=R.OLD, mask=TDEL, match=0, otherwise=lost, **place)
        self.row(Op.OR, value=TDEL, **place)

    def _take_entry_host(self, lock, place, lost, busy):
        self._take_entry(place, lost)
        with self.listing.aside(lost):
            self.request_priority(place)
            self.answer_busy(busy, place)
        self.listing.hold(lock)
        self.clear_priority(place)

    def request_priority(self, place):
        """A host that lost an entry asks for priority; counted if no host had asked before."""
        known = self.fresh("known")
        self.row(Op.ENTRY_REQUEST_PRIORITY, otherwise=known, **{"value": self.primitive} | place)
        self.listing.count("host_priority.set")
        self.listing.label(known)

    def clear_priority(self, place):
        """A host that got an entry clears its priority; counted if there was one."""
        cleared, clear = self.fresh("cleared"), self.fresh("clear")
        self.row(Op.ENTRY_CLEAR_PRIORITY, otherwise=cleared, **{"value": self.primitive} | place)
        with self.listing.aside(cleared):
            self.listing.count("host_priority.cleared", next=clear)
        self.listing.label(clear)

    def _take_entry_guest(self, lock, place, lost, busy):
        """Up to 1.5.28 a guest that has set TDEL looks for host priority, and gives back; then it looks first."""
        refused = self.fresh("refused")
        if self.release.guest_entry == LOOK_SET:
            self.row(Op.ENTRY_SEE_PRIORITY, priority=refused, **place)
        with self.listing.aside(refused):
            if self.release.guest_entry == SET_LOOK:
                self.listing.hold(lock)
                self.row(Op.ENTRY_DROP, value=self.primitive, **place)
                self.listing.release(lock.resource)
            self._refuse_for_priority(busy)
        self._take_entry(place, lost)
        with self.listing.aside(lost):
            self.answer_busy(busy, place)
        self.listing.hold(lock)
        if self.release.guest_entry == SET_LOOK:
            self.row(Op.ENTRY_SEE_PRIORITY, priority=refused, **place)

    def _refuse_for_priority(self, busy):
        """A guest is refused for host priority; after hp_lock_timeout of that the TD exits.

        The dispatcher turns the refusal into a plain BUSY before the guest sees it
        (tdx_td_dispatcher.c:399-417); it is counted under its own name.  The timer is the vCPU's own: the first
        refusal only starts it, and it stops with any other outcome of a TDCALL (:408-437) but an EPT violation, which
        leaves the module on another way.
        """
        if self._refused:
            self.row(Op.LET, next=self._refused)
            return
        out, overdue, first, again = (self.fresh(part) for part in ("out", "overdue", "first", "again"))
        self.listing.answer(busy, AnswerKind.BUSY_FOR_PRIORITY)
        self.row(Op.TEST, register=R.REFUSED, mask=-1, match=1, next=again, otherwise=first, text="refused before?")
        with self.listing.aside(first):
            self.row(Op.LET, register=R.REFUSED, value=1)
            self.listing.begin(REFUSED_FOR_PRIORITY, next=out)
        self.listing.label(again)
        self.listing.overdue(R.OLD, REFUSED_FOR_PRIORITY, "hp_lock_timeout_ns")
        self.row(Op.TEST, register=R.OLD, mask=-1, next=out, otherwise=overdue, text="hp_lock_timeout")
        with self.listing.aside(overdue):
            forget_refusals(self.listing)
            self.listing.answer(status("TDX_HOST_PRIORITY_BUSY_TIMEOUT"), next=out)
        self.listing.label(out)
        if self.listing.held:
            self.listing.jump(self.unwinding(forgets=False))
        else:
            self._return()

    def answer_busy(self, busy: int | str, place: dict) -> None:
        """End the call with a BUSY about the lock word at `place` (`base`, and `offset` unless 0).

        A label in place of the status: go on there.
        """
        if isinstance(busy, str):
            self.row(Op.LET, next=busy, text="note that it was busy")
            return
        if self.options.attribution:
            # Only a lost try comes here, so a call that goes through has not a row more.
            self.row(Op.INDEX, register=R.CONTENDED, base=place["base"], offset=place.get("offset", 0),
                     text="which word refused")
        self.listing.answer(busy, AnswerKind.BUSY, next=self.unwinding())

    def drop(self, lock: Held) -> None:
        """Give a lock back."""
        place = {"base": lock.base, "offset": lock.offset, "text": str(lock)}
        self.check_owner(lock, taking=False)
        shared = lock.mode == SHARED
        if lock.discipline == "hp" and shared:
            self.row(Op.HP_DROP_SHARED, **place)
        elif lock.discipline == "hp":
            self.row(Op.HP_CHECK_EXCLUSIVE, **place)
            self.row(Op.HP_DROP_EXCLUSIVE, **place)
        elif lock.discipline == "sharex":
            self.row(Op.SHAREX_DROP_SHARED if shared else Op.SHAREX_DROP_EXCLUSIVE, **place)
        elif lock.discipline == "mutex":
            self.row(Op.MUTEX_DROP, **place)
        elif lock.discipline == "entry":
            self.row(Op.ENTRY_CHECK, **place)
            self.row(Op.ENTRY_DROP, value=self.primitive, **place)
        elif lock.discipline == "entries":
            self._drop_entries(place)
        else:
            self.row(Op.ADD, width=16, value=-1, **place)
        self.listing.release(lock.resource)

    def _drop_entries(self, place):
        """The first INDEX entries of the page at CHILDREN."""
        again, more, done = self.fresh("entries"), self.fresh("more"), self.fresh("dropped")
        self.row(Op.LET, register=R.CURSOR, source=R.CHILDREN)
        self.listing.label(again)
        self.row(Op.TEST, register=R.INDEX, mask=-1, next=done, otherwise=more, text="entries left")
        self.listing.label(more)
        self.row(Op.ENTRY_CHECK, **place)
        self.row(Op.ENTRY_DROP, value=self.primitive, **place)
        self.row(Op.LET, register=R.CURSOR, source=R.CURSOR, value=8)
        self.row(Op.LET, register=R.INDEX, source=R.INDEX, value=-1, next=again)
        self.listing.label(done)

    def check_owner(self, lock: Held, taking: bool) -> None:
        """Exclusive ownership: a shadow of each lock word holds its exclusive owner.

        An exclusive holder puts its number there and must find none there, and takes it away and must
        find its own; a shared holder must find no number, when it takes and when it drops.  Words of the
        machine (KOT, key table, write-back mutexes) have no shadow.
        """
        if not self.options.owners or lock.discipline in ("count", "entries") or lock.base in MACHINE:
            return
        violated, ok = (self.fresh(part) for part in ("violated", "owned"))
        shadow = {
            "base": lock.base, "offset": lock.offset + self.options.layout.shadow_delta,
            "width": 64 if lock.discipline == "entry" else 16, "register": R.OLD, "mask": -1,
            "otherwise": violated, "text": f"owner of {lock.resource}",
        }
        if lock.mode == SHARED:
            self.row(Op.LOAD, match=0, **shadow)
        elif taking:
            self.row(Op.EXCHANGE, source=R.ME, match=0, **shadow)
        else:
            # The owner's number differs by actor, so it is compared in a row of its own.
            self.row(Op.EXCHANGE, **(shadow | {"mask": 0, "otherwise": None}))
            self.row(Op.TEST, register=R.OLD, source=R.ME, mask=-1, otherwise=violated)
        with self.listing.aside(violated):
            self.listing.count(violation("exclusive_ownership"), next=ok)
        self.listing.label(ok)

    # --- getting out ---

    def unwinding(self, forgets: bool = True) -> str:
        """The label of code that drops what is held here, and returns.

        A step that fails gives back its own locks, the last one first; then the call's are dropped in release order.
        forgets   whether a guest's call that ends so stops the timer of refusals for host priority
        """
        held = self.listing.held
        own = [lock for lock in held if lock not in self.held_before] if self.order else held
        rank = {name: place for place, name in enumerate(self.order)}
        rest = sorted((lock for lock in held if lock not in own), key=lambda lock: rank[lock.resource])
        return self._unwind((*reversed(own), *rest), forgets and self.guest)

    def step(self, phrase) -> None:
        """Write one phrase: a step of the call, or several."""
        self.end_step()
        phrase.emit(self)
        self.end_step()

    def end_step(self) -> None:
        """What is held now is the call's: what fails from here on drops it in release order."""
        self.held_before = self.listing.held

    def _unwind(self, order: tuple[Held, ...], forgets: bool) -> str:
        if (order, forgets) not in self._unwinding:
            label = self.listing.fresh(f"{self.name}.unwind")
            self._unwinding[order, forgets] = label
            outer = self.listing.held
            self.listing.held = tuple(reversed(order))
            with self.listing.aside(label):
                self._unwind_rows(order, forgets)
            self.listing.held = outer
        return self._unwinding[order, forgets]

    def _unwind_rows(self, order: tuple[Held, ...], forgets: bool) -> None:
        if not order:
            if forgets:
                forget_refusals(self.listing)
            self._return()
            return
        self.drop(order[0])
        self.listing.jump(self._unwind(order[1:], forgets))

    def fail(self, name: str, operand: str | int = "RAX", carries: R | None = None) -> str:
        """The label of code that ends the call with a status that is not BUSY.

        carries   a register: what is in it is added to the status, as its lower half
        """
        label = self.listing.fresh(f"{self.name}.fails")
        with self.listing.aside(label):
            self.listing.answer(status(name, operand), next=self.unwinding(),
                                **({"source": carries} if carries is not None else {}))
        return label

    def succeed(self, keeping: bool = False, status: int = SUCCESS.status) -> None:
        """End the call: drop what is held (or, with `keeping`, return with it)."""
        self.listing.answer(status, SUCCESS.kind)
        if keeping:
            self.leaves = None           # a vCPU is inside until its TD exit
            self._return()
        else:
            self.listing.jump(self.unwinding())

    def _return(self) -> None:
        if self.leaves:
            self.leaves(self)
        self.row(Op.CALL_END, text=self.name)
        self.row(Op.GO, register=R.LINK, text="return")

    def halt(self) -> None:
        """A sanity check of the module has failed here: it shuts itself down."""
        here = self.listing.label(self.fresh("halts"))
        self.row(Op.LET, register=R.HALTED_AT, value=here, next=HALT)

    def work(self, cost: str) -> None:
        if cost in self.options.costs:
            self.listing.spend(cost)
