"""Dynamic PAMT in the kernel: get and put of a range's page pair, as a design has it (protocol/dpamt.py).

    get         before AUG, in a fault
    put         after REMOVE, in a removal; after an AUG that failed

With a placement (memory/placement.py) ranges are the host's, and every page is counted: also before SEPT.ADD, PAGE.ADD, a
split's DEMOTE (its new SEPT page) and each control page (tdx_alloc_control_page), and after each RECLAIM.

    pamt.user      a host thread that gets the pair of PAGE's range, has the page used as a fault does, given back as a
                   removal does, and puts the pair
    pamt.control   the same of a control page: a TD is created and torn down
    pamt.splitter  one that has PAGE's 2 MiB, a large page at the start, split: DEMOTE is given the range's pair

A vCPU keeps a cache of page pairs, as pages cannot be allocated under mmu_lock: it is topped up before each try of a fault
(mmu_topup_memory_caches), and a get takes a pair out of it before it asks for the lock, also where it turns out that the range
has its pair: that one is freed, not put back.  A design with a fast path takes one only behind it.  Control pages have none: they
are allocated where one may sleep.  With a cache of 0 none is modelled: there always is a pair.

Each such thread stands for a TD of its own: no lock of a VM is common to two of them.  Of the calls that use and give
back a page only the parts are made that are about the page itself (USE, GIVE_BACK).

x86's tdx_pamt_get and tdx_pamt_put; who calls them: KVM's faults before AUG, its removals after REMOVE.  The cache:
[PATCH v6 08/11] and 09/11, 25 May 2026 (tdx_topup_pamt_cache, alloc_pamt_array).
"""

from harness.memory.layout import ENTRIES, HOST, KICK_PAIRS, LINE, PAMT_BYTES, Layout
from harness.protocol.assemble import Listing
from harness.protocol.call import Options
from harness.protocol.locate import PAIR_REGISTERS, index, locate, locate_pair, locate_parts_pair, locate_placed_pair
from harness.protocol.calls.row import Seamcall
from harness.protocol.counters import violation
from harness.protocol.dpamt import Design
from harness.protocol.phrases.large import SplitPamt
from harness.protocol.phrases.locking import Explicit, Implicit, Leaf
from harness.protocol.phrases.pages import PageBecomes
from harness.protocol.releases import EXCLUSIVE
from harness.protocol.seamcalls import by_name, entry_label, write_call
from kernels.ops import Op, Register as R
from kernels.words import OPERAND_BUSY, PT_NDA, PT_REG, PT_TDCX, STATUS_CLASS, STATUSES

USERS = {"use": "pamt.user", "control": "pamt.control", "split": "pamt.splitter"}     # by the scenario's word
RANGES = 2                       # of data pages in a scenario; with `crossed` each has the other's pair in it
USE = Seamcall("page_into_use", 0, "host", (Explicit("PAGE", EXCLUSIVE, "R8", PT_NDA), PageBecomes(PT_REG, clear_bepoch=True)),
               source="the part of TDH.MEM.PAGE.AUG that is about the page: tdh_mem_page_aug.c:66-215")
GIVE_BACK = Seamcall("page_out_of_use", 0, "host", (Implicit("PAGE", EXCLUSIVE, "RCX"), PageBecomes(PT_NDA, page="found")),
                     source="the part of TDH.MEM.PAGE.REMOVE that is about the page: tdh_mem_page_remove.c:66-265")
CONTROL_USE = Seamcall("control_page_into_use", 0, "host", (Explicit("PAGE", EXCLUSIVE, "RCX", PT_NDA), PageBecomes(PT_TDCX)),
                       source="the part of TDH.VP.ADDCX that is about the page: tdh_vp_addcx.c")
RECLAIM = Seamcall("control_page_reclaimed", 0, "host", (Leaf("PAGE", EXCLUSIVE, "RCX", (PageBecomes(PT_NDA, own_size=True),)),),
                   source="the part of TDH.PHYMEM.PAGE.RECLAIM that is about the page: tdh_phymem_page_reclaim.c 1.5.24:87-153")
SPLIT = Seamcall("large_page_split", 0, "host", (SplitPamt(),), levels=(1,),
                 source="the part of TDH.MEM.PAGE.DEMOTE that is about PAMT: pamt_manager.c 1.5.24, pamt_demote")
OWN = {row.name: row for row in (USE, GIVE_BACK, CONTROL_USE, RECLAIM, SPLIT)}
ADD, REMOVE = "tdh_phymem_pamt_add", "tdh_phymem_pamt_remove"


def locate_crossed_pair(listing: Listing, layout: Layout) -> None:
    """Registers for a pair of pages that lies in the other of the two ranges: the last two of it."""
    for number, registers in enumerate(PAIR_REGISTERS):
        page = RANGES * ENTRIES - 2 + number             # of the range behind, for the first one; minus a range each
        for register, size, shift in zip(registers, ("4k", "2m", "1g"), (0, 9, 18)):
            index(listing, register, layout.at(f"pamt_{size}.data", page >> shift), 9 + (18 if shift == 18 else 0),
                  -(PAMT_BYTES * (ENTRIES >> shift)), text=f"PAMT {size.upper()} entry of page {number} of its pair")


class Writer:
    """The flow of one design, being written.

    crossed   the pair of each of a scenario's two ranges lies in the other one
    calls     where the calls are noted that are made, of a flow that has them written
    cache     pairs to which a vCPU's cache is topped up; 0: none is modelled
    queue     whether who waits for the global lock queues
    """

    def __init__(self, listing: Listing, options: Options, design: Design, crossed: bool, calls: list | None = None, cache: int = 0,
                 queue: bool = False):
        self.listing, self.options, self.layout, self.design = listing, options, options.layout, design
        self.placed = self.layout.frames is not None
        self.crossed = self.may_cross = crossed and not design.own_pool
        self.row, self.label, self.fresh = listing.row, listing.label, listing.fresh
        self.rows, self.calls, self.cache, self.queue = by_name(options.release), calls, cache, queue
        self.around = R.TARGET_2M        # with a placement: which register has the PAMT entry of the range

    def write(self, users: tuple[str, ...], calls: bool = True) -> None:
        """calls: whether ADD and REMOVE are written here."""
        for user in users:
            # No page of a pair lies in what is a large page.
            self.crossed = self.may_cross and (user == "split" or "split" not in users)
            self.label(USERS[user])
            self.row(Op.POLL)
            self.row(Op.TEST, register=R.STOPPING, mask=-1, otherwise="pamt.stop", text="go on?")
            self.listing.choose(R.PAGE, "remove")
            {"use": self._user, "control": self._control, "split": self._splitter}[user]()
            self.listing.jump(USERS[user])
            self.listing.flush()
        self.label("pamt.stop")
        self.row(Op.STOP)
        self.listing.flush()
        made = {"use": (USE, GIVE_BACK), "control": (CONTROL_USE, RECLAIM), "split": (SPLIT,)}
        for row in [row for user in users for row in made[user]] + [self.rows[ADD], self.rows[REMOVE]] * calls:
            write_call(self.listing, row, self.options, row.levels[-1])

    def _user(self) -> None:
        locate(self.listing, self.layout, 0)
        put, not_got = self.fresh("pamt.put"), self.fresh("pamt.not_got")
        self.top_up()
        self.get(failed=not_got, cached=True)
        self._use(USE, put)
        self.row(Op.LET, register=R.PAMT, source=R.TARGET_4K)
        self.row(Op.LET, register=R.NODE, source=R.TARGET_2M)
        self._call("page_out_of_use", GIVE_BACK.name)
        self.label(put)
        self.put()
        self.label(not_got)

    def _control(self) -> None:
        locate(self.listing, self.layout, 0)
        put, not_got, leaked = self.fresh("pamt.put"), self.fresh("pamt.not_got"), self.fresh("pamt.leaked")
        self.get(failed=not_got)
        self._use(CONTROL_USE, put, busy=violation("pamt_busy"))
        self._call("reclaimed", RECLAIM.name)
        self.row(Op.TEST, register=R.STATUS, mask=-1, next=put, otherwise=leaked, text="TDX_SUCCESS")
        self.label(put)
        self.put()
        with self.listing.aside(leaked):         # tdx_reclaim_page fails: the page stays the module's, and counted
            self.listing.count(violation("pamt_busy"), next=not_got)
        self.label(not_got)

    def _use(self, row: Seamcall, put: str, busy: str = "") -> None:
        """A page comes into use; if not, the pair is put: a fault that is BUSY starts over, `busy` counts one that may not be."""
        self._call(row.name, row.name)
        missing, other, used, unused = (self.fresh(f"pamt.{part}") for part in ("missing", "busy", "used", "unused"))
        self.row(Op.TEST, register=R.STATUS, mask=-1, next=used, otherwise=unused, text="TDX_SUCCESS")
        with self.listing.aside(unused):
            self.row(Op.TEST, register=R.STATUS, mask=STATUS_CLASS, match=STATUSES["TDX_MISSING_PAMT_PAGE_PAIR"], next=missing,
                     otherwise=other, text="TDX_MISSING_PAMT_PAGE_PAIR")
            self.label(missing)
            self.listing.count(violation("pamt_present"), next=put)
            self.label(other)
            if busy:
                self.listing.count(busy)
            self.listing.jump(put)
        self.label(used)

    def _splitter(self) -> None:
        """tdx_sept_split_private_spte's DEMOTE; then the range counts as many pages as it has."""
        demote, done = self.design.demote, self.fresh("pamt.split")
        locate(self.listing, self.layout, 1, leaf=True)
        self.row(Op.LET, register=R.COPY, source=R.HPA, text="the SEPT entry")
        self._pair()
        if demote == "tries":
            locks = self.fresh("pamt.locks")
            self._call("split", SPLIT.name)
            self.row(Op.TEST, register=R.STATUS, mask=-1, next=done, otherwise=locks, text="TDX_SUCCESS")
            self.label(locks)
        if demote != "bare":
            self._lock()
            self._pairs_range(True)
        again, failed, behind = self.label(self.fresh("pamt.splits")), self.fresh("pamt.unsplit"), self.fresh("pamt.splitted")
        self._call("split", SPLIT.name)
        if demote != "bare":
            self.row(Op.LET, register=R.BEPOCH, source=R.STATUS)
            self._pairs_range(False)
            self._unlock()
            self.row(Op.LET, register=R.STATUS, source=R.BEPOCH)
        self.row(Op.TEST, register=R.STATUS, mask=-1, next=done, otherwise=failed, text="TDX_SUCCESS")
        self.label(failed)
        if self.design.retries:
            self.row(Op.TEST, register=R.STATUS, mask=STATUS_CLASS, match=OPERAND_BUSY, next=again, otherwise=behind,
                     text="TDX_OPERAND_BUSY")
        else:
            self.listing.count(violation("pamt_busy"), next=behind)
        self.label(done)
        if self.design.counts:
            self.row(Op.LET, register=R.OLD)
            self.row(Op.SWAP, register=R.OLD, value=ENTRIES, otherwise=behind, **self._at("dpamt_ref"))
        self.label(behind)

    # --- words ---

    def _page(self) -> None:
        if self.placed:
            return                       # TARGET_4K is the page's own already
        index(self.listing, R.TARGET_4K, self.layout.at("pamt_4k.data"), 0, PAMT_BYTES, text="PAMT 4K entry of the page")

    def _range(self) -> None:
        if self.placed:
            return
        index(self.listing, R.TARGET_4K, self.layout.at("pamt_4k.data"), 9, PAMT_BYTES * ENTRIES,
              text="PAMT 4K entry of the range's first page")

    def _pair(self) -> None:
        if self.placed:
            return locate_placed_pair(self.listing, self.layout, self.design.own_pool, self.around)
        if not self.crossed:
            return locate_pair(self.listing, self.layout)
        return locate_crossed_pair(self.listing, self.layout)

    def _at(self, name: str, register: R = R.CURSOR, around: R | None = None) -> dict:
        """The word of PAGE's range (with a placement: of the one that has the PAMT entry at `around`), its place in a register; a
        call in between loses it."""
        if self.placed:
            two_m = self.layout.at(f"pamt_2m.{HOST}") // PAMT_BYTES
            index(self.listing, register, self.layout.at(name) - two_m * LINE, 4, LINE, source=around or self.around, base=R.ZERO, text=name)
        else:
            index(self.listing, register, self.layout.at(name), 9, LINE, text=name)
        return {"base": register, "text": name}

    def _range_word(self, name: str, of_pair: bool) -> dict:
        """The same of PAGE's range, or of the one in which its pair lies."""
        if not of_pair:
            return self._at(name)
        index(self.listing, R.CURSOR, self.layout.at(name, RANGES - 1), 9, -LINE, text=f"{name} of its pair's range")
        return {"base": R.CURSOR, "text": f"{name} of its pair's range"}

    # --- locks ---

    def _lock(self) -> None:
        design = self.design
        if design.lock != "none":
            self.listing.begin("pamt_wait")
        if design.lock == "global" and self.queue:
            self._queue()
        elif design.lock == "global":
            again = self.label(self.fresh("pamt.lock"))
            at = {"base": R.ZERO, "offset": self.layout.at("dpamt_lock"), "text": "dpamt_lock"}
            self.row(Op.WAIT_IS, mask=-1, match=0, **at)
            self.row(Op.LET, register=R.OLD)
            self.row(Op.SWAP, register=R.OLD, value=1, otherwise=again, **at)
        elif design.lock == "range":
            self.row(Op.MMU_TAKE_EXCLUSIVE, **self._range_word("dpamt_range_lock", False))
        if design.lock != "none":
            self.listing.end("pamt_wait")

    def _unlock(self) -> None:
        if self.design.lock == "global" and self.queue:
            self._leave_queue()
        elif self.design.lock == "global":
            self.row(Op.STORE, base=R.ZERO, offset=self.layout.at("dpamt_lock"), text="dpamt_lock")
        elif self.design.lock == "range":
            self.row(Op.MMU_DROP_EXCLUSIVE, **self._range_word("dpamt_range_lock", False))

    def _queue(self) -> None:
        """The lock as many processors meet it: first come, first served, each waits on a line of its own (qspinlock).

        A scenario's actors have a plain word instead: there only who comes first matters.
        """
        self.row(Op.ADD, base=R.ZERO, offset=self.layout.at("dpamt_next"), value=1, register=R.NEW, text="ticket")
        self._slot()
        self.row(Op.WAIT_IS, base=R.CURSOR, source=R.NEW, mask=-1, match=0, text="pamt_lock: my turn")
        self.row(Op.STORE, base=R.ZERO, offset=self.layout.at("dpamt_serving"), source=R.NEW, text="pamt_lock")

    def _leave_queue(self) -> None:
        self.row(Op.LOAD, base=R.ZERO, offset=self.layout.at("dpamt_serving"), register=R.NEW, text="pamt_lock")
        self.row(Op.LET, register=R.NEW, source=R.NEW, value=1)
        self._slot()
        self.row(Op.STORE, base=R.CURSOR, source=R.NEW, text="pamt_lock: the next one's turn")

    def _slot(self) -> None:
        region = self.layout.by_name["dpamt_queue"]
        self.row(Op.INDEX, register=R.CURSOR, offset=region.offset, source=R.NEW, mask=region.count - 1, match=LINE,
                 text="where this ticket waits")

    def _pairs_range(self, take: bool) -> None:
        """While a pair is given, the ranges in which its pages lie are read-locked, but for the one that it is for."""
        if self.design.lock != "range":
            return
        if self.placed and not self.design.own_pool:
            locked = [self.around]
            for _, two_m, _ in PAIR_REGISTERS:
                behind = self.fresh("pamt.locked_range")
                for range_ in locked:
                    other = self.fresh("pamt.other_range")
                    self.row(Op.TEST, register=two_m, source=range_, mask=-1, next=behind, otherwise=other, text="locked already?")
                    self.label(other)
                locked.append(two_m)
                self._read_lock(self._at("dpamt_range_lock", around=two_m), take)
                self.label(behind)
        elif self.crossed:
            self._read_lock(self._range_word("dpamt_range_lock", True), take)

    def _read_lock(self, at: dict, take: bool) -> None:
        if not take:
            self.row(Op.MMU_DROP_SHARED, **at)
            return
        waits, taken = self.fresh("pamt.waits"), self.fresh("pamt.read_locked")
        self.row(Op.MMU_TAKE_SHARED, otherwise=waits, **at)
        with self.listing.aside(waits):
            self.row(Op.WAIT_IS, mask=1, match=0, next=taken, **at)
        self.label(taken)

    # --- get and put ---

    def _call(self, stem: str, name: str) -> None:
        if self.calls is not None:
            self.calls.append((name, 1))
        row = self.rows.get(name) or OWN[name]
        behind = self.fresh(f"{stem}.answered")
        self.row(Op.CALL, next=entry_label(row, row.levels[-1]), otherwise=behind, text=name)
        self.label(behind)

    def _made(self, name: str, failed: str) -> None:
        """PAMT.ADD or REMOVE; on behind if it succeeds, at `failed` with another answer than a BUSY that is tried again."""
        self._range()
        again, other = self.label(self.fresh(f"{name}.again")), self.fresh(f"{name}.failed")
        self._call(name, name)
        done = self.fresh(f"{name}.done")
        self.row(Op.TEST, register=R.STATUS, mask=-1, next=done, otherwise=other, text="TDX_SUCCESS")
        self.label(other)
        if self.design.retries:
            self.row(Op.TEST, register=R.STATUS, mask=STATUS_CLASS, match=OPERAND_BUSY, next=again, otherwise=failed,
                     text="TDX_OPERAND_BUSY")
        else:
            self.listing.jump(failed)
        self.label(done)

    def _inc_not_zero(self, zero: str) -> None:
        """To `zero` if the count is zero; otherwise it has gone up."""
        look, up = self.fresh("pamt.look"), self.fresh("pamt.up")
        at = self._at("dpamt_ref")
        self.label(look)
        self.row(Op.LOAD, register=R.OLD, **at)
        self.row(Op.TEST, register=R.OLD, mask=-1, next=zero, otherwise=up, text="0")
        self.label(up)
        self.row(Op.LET, register=R.NEW, source=R.OLD, value=1)
        self.row(Op.SWAP, register=R.OLD, source=R.NEW, otherwise=look, **at)

    def _store(self, value: int) -> None:
        self.row(Op.STORE, value=value, **self._at("dpamt_ref"))

    def _change(self, value: int, **fields) -> None:
        self.row(Op.ADD, value=value, **self._at("dpamt_ref"), **fields)

    def top_up(self) -> None:
        """Before a try of a fault, with no lock held: as many pairs as a fault may need (tdx_topup_pamt_cache)."""
        if not self.cache:
            return
        again, full, more = self.label(self.fresh("pamt.top_up")), self.fresh("pamt.full"), self.fresh("pamt.allocates")
        at = {"base": R.KICK, "offset": KICK_PAIRS, "text": "the vCPU's page pairs"}
        self.row(Op.LOAD, register=R.OLD, **at)
        self.row(Op.TEST, register=R.OLD, mask=-1, match=self.cache, next=full, otherwise=more, text=f"{self.cache} of them")
        self.label(more)
        self.listing.count("pamt_pairs_topped_up")
        if "page_pair_ns" in self.options.costs:
            self.listing.spend("page_pair_ns")
        self.row(Op.LET, register=R.NEW, source=R.OLD, value=1)
        self.row(Op.STORE, source=R.NEW, next=again, **at)
        self.label(full)

    def _take(self, empty: str) -> None:
        """A pair out of the vCPU's cache; to `empty` if there is none and the design has no other."""
        taken, some, none = self.fresh("pamt.taken"), self.fresh("pamt.some"), self.fresh("pamt.none")
        at = {"base": R.KICK, "offset": KICK_PAIRS, "text": "the vCPU's page pairs"}
        self.row(Op.LOAD, register=R.OLD, mask=-1, match=0, next=none, otherwise=some, **at)
        with self.listing.aside(none):
            self.listing.count(violation("pamt_cached"), next=taken if self.design.empty == "atomic" else empty)
        self.label(some)
        self.listing.count("pamt_pairs_taken")
        self.row(Op.LET, register=R.NEW, source=R.OLD, value=-1)
        self.row(Op.STORE, source=R.NEW, **at)
        self.label(taken)

    def take_for_split(self, empty: str) -> None:
        """The pair that DEMOTE is given, for the 2 MiB around PAGE; with a placement the new SEPT page's range gets its own first.

        The TARGET registers are the SEPT page's, before and after; OWN_SIZE is then the PAMT entry of the 2 MiB.
        """
        if self.placed:
            self.get(failed=empty, cached=True)
            locate_parts_pair(self.listing, self.layout, self.design.own_pool)
        if self.cache:
            self._take(empty)

    def demote(self, make, behind: str) -> None:
        """One try of DEMOTE, as the design has it; `make(label)` writes the call, which comes back there."""
        tried = self.fresh("pamt.tried")
        self.around = R.OWN_SIZE if self.placed else self.around
        if self.design.demote == "bare":
            return make(behind)
        if self.design.demote == "tries":
            locks = self.fresh("pamt.locks")
            make(self.fresh("pamt.tries"))
            self.row(Op.TEST, register=R.STATUS, mask=STATUS_CLASS, match=OPERAND_BUSY, next=locks, otherwise=tried,
                     text="TDX_OPERAND_BUSY")
            self.label(locks)
        self._lock()
        self._pairs_range(True)
        make(behind)
        self._pairs_range(False)
        self._unlock()
        self.label(tried)
        return None

    def count_parts(self) -> None:
        """Once a large page is split, its range counts as many pages as it has; with a placement, OWN_SIZE still says which range."""
        self.around = R.OWN_SIZE if self.placed else self.around
        if self.design.counts:
            self._store(ENTRIES)

    def get(self, failed: str, cached: bool = False) -> None:
        """The pair of PAGE's range, or on to `failed`; TARGET_4K is then the page's own PAMT entry.

        cached   whether this is in a fault: the pages come out of the vCPU's cache
        """
        self._pair()
        self.listing.begin("pamt_get")
        self._get(failed, cached and self.cache > 0)
        self.listing.end("pamt_get")
        self._page()

    def put(self, used: bool = True) -> None:
        """The pair of PAGE's range.

        used   whether the page was in use: if not, the module has given no hint
        """
        if not used and not self.design.counts:
            return
        self.listing.begin("pamt_put")
        self._put()
        self.listing.end("pamt_put")

    def _get(self, failed: str, cached: bool) -> None:
        design, done = self.design, self.fresh("pamt.got")
        if design.counts and design.fast_get:
            slow = self.fresh("pamt.slow")
            self._inc_not_zero(slow)
            self.listing.jump(done)
            self.label(slow)
        if cached:
            self._take(failed)
        self._lock()
        adds, unlock = self.fresh("pamt.adds"), self.fresh("pamt.unlock")
        if design.counts and design.lock != "none":
            self._inc_not_zero(adds)
            if cached:
                self.listing.count("pamt_pairs_unused")
            self.listing.jump(unlock)
            self.label(adds)
        wrong = self.fresh("pamt.not_added")
        self._pairs_range(True)
        self._made(ADD, wrong)
        self._pairs_range(False)
        if design.counts:
            self._change(1) if design.lock == "none" else self._store(1)
        self.label(unlock)
        self._unlock()
        self.label(done)
        with self.listing.aside(wrong):
            there = self.fresh("pamt.there")
            self._pairs_range(False)
            if cached:
                self.listing.count("pamt_pairs_unused")
            if design.found != "error":
                error = self.fresh("pamt.error")
                self.row(Op.TEST, register=R.STATUS, mask=STATUS_CLASS, match=STATUSES["TDX_HPA_RANGE_NOT_FREE"], next=there,
                         otherwise=error, text="has its pair")
                self.label(there)
                if design.counts:
                    self._change(1) if design.found == "inc" else self._store(1)
                self.listing.jump(unlock)
                self.label(error)
            self._unlock()
            self.listing.count(violation("pamt_get"), next=failed)

    def _put(self) -> None:
        design = self.design
        done, unlock, wrong = self.fresh("pamt.done"), self.fresh("pamt.unlock"), self.fresh("pamt.not_removed")
        if not design.counts:
            removes = self.fresh("pamt.hinted")
            self.row(Op.TEST, register=R.HINT, mask=-1, match=1, next=removes, otherwise=done, text="hint: the last one")
            self.label(removes)
        elif design.put == "dec":
            last = self.fresh("pamt.last")
            self._change(-1, register=R.OLD)
            self.row(Op.TEST, register=R.OLD, mask=-1, match=1, next=last, otherwise=done, text="1 before")
            self.label(last)
        elif design.put == "dec_unless_one":
            self._dec_unless_one(done)
        self._lock()
        if design.counts and design.lock != "none":
            self._last_under_lock(unlock)
        self._made(REMOVE, wrong)
        if design.counts and design.put == "locked":
            self._store(0)
        self.label(unlock)
        self._unlock()
        self.label(done)
        with self.listing.aside(wrong):
            self.listing.count(violation("pamt_put"))
            if design.failed == "inc":
                self._change(1)
            elif design.failed == "one":
                self._store(1)
            self.listing.jump(unlock)

    def _dec_unless_one(self, done: str) -> None:
        look, down, last = (self.fresh(f"pamt.{part}") for part in ("look", "down", "last"))
        at = self._at("dpamt_ref")
        self.label(look)
        self.row(Op.LOAD, register=R.OLD, **at)
        self.row(Op.TEST, register=R.OLD, mask=-1, match=1, next=last, otherwise=down, text="1")
        self.label(down)
        self.row(Op.LET, register=R.NEW, source=R.OLD, value=-1)
        self.row(Op.SWAP, register=R.OLD, source=R.NEW, otherwise=look, next=done, **at)
        self.label(last)

    def _last_under_lock(self, unlock: str) -> None:
        """Go on if this is the last page of the range: its count falls (or has fallen) to zero."""
        last = self.fresh("pamt.last")
        if self.design.put == "dec":
            self.row(Op.LOAD, mask=-1, match=0, next=last, otherwise=unlock, **self._at("dpamt_ref"))
        elif self.design.put == "dec_unless_one":
            self._change(-1, register=R.OLD)
            self.row(Op.TEST, register=R.OLD, mask=-1, match=1, next=last, otherwise=unlock, text="1 before")
        else:
            more = self.fresh("pamt.more")
            self.row(Op.LOAD, mask=-1, match=1, next=last, otherwise=more, **self._at("dpamt_ref"))
            self.label(more)
            self._change(-1)
            self.listing.jump(unlock)
        self.label(last)
