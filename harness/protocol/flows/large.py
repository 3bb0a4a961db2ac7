"""Large pages: KVM maps 2 MiB as one page where it may, and splits them where it must.

A fault asks for the largest page that fits (`choose_size`): where no page table is and 2 MiB are not inhibited, AUG of
2 MiB.  What is mapped so and must become 512 pages is split: BLOCK, TRACK and kick, DEMOTE, all under mmu_lock write
(`under_write`), as in the RFC for huge pages (v5, Jan 2026).  Once there is a page table it stays: nothing is merged.

    a part is removed       KVM splits before it zaps (zap.py), unless `split_before_removal = false`
    a guest ACCEPTs 4 KiB   of what is mapped as 2 MiB: an EPT violation each time, whatever state the page is in, so that
                            what KVM does decides whether the guest gets on (`mismatch`; tdx_handle_mismatched_accept)

With `accept_mismatch = "split"` KVM looks without a lock whether 2 MiB are inhibited here; if not, it takes mmu_lock for
write, looks again, splits what is mapped as one page, and inhibits the 2 MiB for good; then the fault is handled as any
other.  With "ignore" it does nothing, and the guest's ACCEPT repeats for ever.

With `split_lock = "read"` a mismatch is met as was proposed on 22 May 2025 and rejected in RFC v2 (Aug 2025): the vCPU
notes which 2 MiB it wants in small pages (one range, until it wants another) and splits under mmu_lock read.  There nobody can
be kept out by a kick, so what is BUSY is rolled back with UNBLOCK, and the guest comes again; UNBLOCK can be BUSY too, and the
page then stays blocked: KVM_BUG_ON.  TRACK, which only entries make BUSY, is made until it succeeds: the proposal kept them out
by a lock of its own (`no_vcpu_enter_lock`), and the module refuses UNBLOCK before it.

DEMOTE is made at the policy's site `remove`.  One that a pending interrupt has ended, in releases where it gives way, is made
again.  With Dynamic PAMT it is given the pair of what was one page, and the range then counts as many pages as it has; with
a design (protocol/dpamt.py, `demote`) under pamt_lock, without it, or first without it.  The pair comes out of a cache that was
topped up before mmu_lock was taken ([RFC PATCH v2 22/23], Aug 2025; a VM's in v3, Jan 2026).

Abstracted away: KVM maps 2 MiB only if the memory behind them is one folio, which it always is here; 2 MiB of which a part is
shared stay of 4 KiB pages for good, where KVM would go back to 2 MiB once they are all private and nothing of them is mapped.
"""

import functools

from harness.memory.layout import ENTRIES, KICK_SMALL, LINE, MMU_NONPRESENT
from harness.protocol.locate import index, locate, locate_pair
from harness.protocol.flows import seam
from harness.protocol.flows.flow import FROZEN_SPTE, MMU_LARGE, MMU_PRESENT, REQUEST, SIGN, Flow
from harness.protocol.flows.steps import bar, bar_is_off, step
from harness.protocol.releases import NOTHING
from kernels.ops import Op, Register as R
from kernels.words import status

LEAF = MMU_PRESENT | MMU_LARGE   # of a mirror entry


# --- which size ------------------------------------------------------------------------------

def choose_size(flow: Flow, install) -> None:
    """In a fault on PAGE at level 1: a large page that is there is enough (to fault.mapped), one that may be is added.

    Falls through where a page table is wanted.  install(flow, 1, large=True) writes the rest of a large one.
    """
    free, empty, mapped = (flow.fresh(f"fault.{part}") for part in ("not_large", "no_entry", "as_one"))
    index(flow.listing, R.MIRROR, flow.layout.at("mirror.1"), 9, 8, text="mirror entry")
    flow.row(Op.LOAD, base=R.MIRROR, register=R.OLD, text="mirror entry")
    flow.row(Op.TEST, register=R.OLD, mask=LEAF, match=LEAF, next=mapped, otherwise=free, text="mapped as 2 MiB")
    with flow.aside(mapped):
        flow.row(Op.SETTLE, value=flow.listing.call_number("tdh_mem_page_aug"), text="tdh_mem_page_aug", next="fault.mapped")
    flow.label(free)
    flow.row(Op.TEST, register=R.OLD, mask=-1, match=MMU_NONPRESENT, next=empty, otherwise="fault.small", text="nothing there")
    flow.label(empty)
    _may_be_large(flow, "fault.large", "fault.small")
    with flow.aside("fault.large"):
        install(flow, 1, large=True)
        flow.goto("fault.mapped")
    flow.label("fault.small")


def _may_be_large(flow: Flow, large: str, small: str) -> None:
    inhibited(flow, free=large if flow.policy.split_lock == "write" else (asked := flow.fresh("fault.asked")), otherwise=small)
    if flow.policy.split_lock == "read":
        flow.label(asked)
        _wanted_small(flow)
        flow.row(Op.LOAD, base=R.KICK, offset=KICK_SMALL, register=R.OLD, text="2 MiB that this vCPU wants small, + 1")
        flow.row(Op.TEST, register=R.OLD, source=R.NEW, mask=-1, next=small, otherwise=large, text="these")


def _wanted_small(flow: Flow) -> None:
    flow.row(Op.INDEX, register=R.NEW, offset=1, source=R.PAGE, width=9, mask=-1, match=1, text="which 2 MiB, + 1")


def inhibited(flow: Flow, free: str, otherwise: str) -> None:
    """Whether the 2 MiB around PAGE are not to be mapped as one page (kvm_lpage_info)."""
    index(flow.listing, R.CURSOR, flow.layout.at("inhibited"), 9, LINE)
    flow.row(Op.LOAD, base=R.CURSOR, mask=-1, match=0, next=free, otherwise=otherwise, text="2 MiB inhibited?")


def inhibit(flow: Flow) -> None:
    """They are not, from now on."""
    index(flow.listing, R.CURSOR, flow.layout.at("inhibited"), 9, LINE)
    flow.row(Op.STORE, base=R.CURSOR, value=1, text="2 MiB inhibited")


def inhibit_range(flow: Flow) -> None:
    """None of the 2 MiB of which a part lies between PAGE and RANGE_END are."""
    again, done = flow.fresh("inhibit.next"), flow.fresh("inhibit.done")
    flow.row(Op.LET, register=R.NEW, source=R.PAGE)
    flow.label(again)
    index(flow.listing, R.CURSOR, flow.layout.at("inhibited"), 9, LINE, source=R.NEW)
    flow.row(Op.STORE, base=R.CURSOR, value=1, text="2 MiB inhibited")
    flow.row(Op.LET, register=R.NEW, source=R.NEW, value=ENTRIES)
    flow.row(Op.TEST, register=R.NEW, source=R.RANGE_END, mask=SIGN, match=SIGN, next=again, otherwise=done, text="more")
    flow.label(done)


def other_size(flow: Flow, large: bool, name: str, same: str) -> None:
    """A fault that wants one size finds the entry at level 1 (OLD) taken by now: to `same`, or on as for the other size."""
    other = flow.fresh("fault.other_size")
    flow.row(Op.TEST, register=R.OLD, mask=MMU_LARGE, match=MMU_LARGE if large else 0, next=same, otherwise=other, text="of this size")
    flow.label(other)
    flow.row(Op.SETTLE, value=flow.listing.call_number(name), text=name, next="fault.small" if large else "fault.mapped")


# --- an ACCEPT of 4 KiB ------------------------------------------------------------------------

def write(flow: Flow) -> None:
    """`mismatch`: where a vCPU comes out of the guest by an EPT violation of an ACCEPT of 4 KiB; on to the fault."""
    if not flow.mismatches:
        return
    flow.label("mismatch")
    (_met_under_write if flow.policy.split_lock == "write" else _met_under_read)(flow)
    flow.goto("fault")
    flow.listing.flush()


def _met_under_write(flow: Flow) -> None:
    inhibited(flow, free="mismatch.locks", otherwise="fault")
    flow.label("mismatch.locks")
    flow.count("mismatched_accepts")
    if pairs := seam.page_pairs(flow):
        pairs.top_up()
    with flow.mmu_lock("exclusive"):
        inhibited(flow, free="mismatch.looks", otherwise="mismatch.done")
        flow.label("mismatch.looks")
        is_large(flow, otherwise="mismatch.inhibits")
        under_write(flow, "mismatch.split")
        flow.label("mismatch.inhibits")
        inhibit(flow)
        flow.label("mismatch.done")
        bar_is_off(flow)


def _met_under_read(flow: Flow) -> None:
    flow.count("mismatched_accepts")
    _wanted_small(flow)
    flow.row(Op.STORE, base=R.KICK, offset=KICK_SMALL, source=R.NEW, text="2 MiB that this vCPU wants small, + 1")
    if pairs := seam.page_pairs(flow):
        pairs.top_up()
    with flow.mmu_lock("shared"):
        is_large(flow, otherwise="mismatch.done")
        under_read(flow, "mismatch.split", out="vcpu.run")
        flow.label("mismatch.done")


# --- a split -----------------------------------------------------------------------------------

def is_large(flow: Flow, otherwise: str) -> None:
    """To `otherwise` unless PAGE is mapped by a page of 2 MiB; OLD is its mirror entry."""
    index(flow.listing, R.MIRROR, flow.layout.at("mirror.1"), 9, 8, text="mirror entry")
    flow.row(Op.LOAD, base=R.MIRROR, register=R.OLD, mask=LEAF, match=LEAF, otherwise=otherwise,
             text="mirror entry: 2 MiB?")


def under_write(flow: Flow, stem: str) -> None:
    """Split the 2 MiB around PAGE, which are one page; mmu_lock is held for write.

    stem   what labels begin with
    """
    flow.begin("split")
    locate(flow.listing, flow.layout, 1, leaf=True)
    flow.row(Op.STORE, base=R.MIRROR, value=FROZEN_SPTE, text="mirror entry: freeze")
    seam.own_mirror(flow, taking=True)
    seam.covered(flow)
    if flow.policy.bar == "removal":
        bar(flow, True)
        flow.kick_all()
    make = functools.partial(step, flow, "exclusive", stem=stem, finish=f"{stem}.failed")
    make("block", "tdh_mem_range_block", level=1)
    make("track", "tdh_mem_track")
    if flow.policy.kick_after_track:
        flow.kick_all()
    locate(flow.listing, flow.layout, 1)         # the SEPT page that will map the parts
    if flow.layout.dynamic_pamt and not flow.layout.frames:
        locate_pair(flow.listing, flow.layout)
    if pairs := seam.page_pairs(flow):
        no_pair = flow.fresh(f"{stem}.no_pair")
        pairs.take_for_split(empty=no_pair)
        if pairs.cache or pairs.placed:
            with flow.aside(no_pair):
                flow.kill(f"{stem}.failed")
    make("remove", "tdh_mem_page_demote", level=1, attempt=_demote)
    _publish(flow)
    flow.count("splits")
    flow.label(f"{stem}.finish")
    seam.own_mirror(flow, taking=False)
    if flow.policy.bar == "removal":
        bar(flow, False)
    flow.end("split")
    with flow.aside(f"{stem}.failed"):
        # The VM is dead; its mirror will not be looked at again.
        flow.row(Op.STORE, base=R.MIRROR, value=LEAF, next=f"{stem}.finish",
                 text="mirror entry: as it was")


def _demote(flow: Flow, name: str, behind: str, level: int) -> None:
    """One try of DEMOTE, with the locks that the design of Dynamic PAMT wants around it."""
    again, pairs = flow.label(flow.fresh("split.demote")), seam.page_pairs(flow)
    make = lambda behind: seam.attempt(flow, name, behind, level)      # noqa: E731
    pairs.demote(make, behind) if pairs else make(behind)
    _again_if_interrupted(flow, again)


def _again_if_interrupted(flow: Flow, again: str) -> None:
    """A DEMOTE that an interrupt has ended has done nothing, and is made again (Yan Zhao, 22 May 2025)."""
    if flow.options.release.demote_gives_way == NOTHING:
        return
    interrupted, done = flow.fresh("split.interrupted"), flow.fresh("split.not_interrupted")
    flow.row(Op.TEST, register=R.STATUS, mask=-1, match=status("TDX_INTERRUPTED_RESTARTABLE"), next=interrupted, otherwise=done,
             text="TDX_INTERRUPTED_RESTARTABLE")
    with flow.aside(interrupted):
        flow.count("demotes_interrupted")
        if flow.policy.demote_again == "interrupts_on":
            flow.row(Op.AND, base=R.KICK, value=~REQUEST, text="interrupt taken")
        flow.goto(again)
    flow.label(done)


def under_read(flow: Flow, stem: str, out: str) -> None:
    """The same under mmu_lock read: each call once, and UNBLOCK if one is BUSY; on at `out`, mmu_lock dropped, if it is not split."""
    locate(flow.listing, flow.layout, 1, leaf=True)
    not_frozen = f"{stem}.not_frozen"
    flow.row(Op.SWAP, base=R.MIRROR, register=R.OLD, value=FROZEN_SPTE, otherwise=not_frozen, text="mirror entry: freeze")
    with flow.aside(not_frozen):
        flow.back_out(out)
    flow.begin("split")
    seam.own_mirror(flow, taking=True)
    seam.covered(flow)
    _once(flow, "tdh_mem_range_block", busy=f"{stem}.as_it_was")
    _until_done(flow, "tdh_mem_track")
    flow.kick_all()
    locate(flow.listing, flow.layout, 1)
    if flow.layout.dynamic_pamt and not flow.layout.frames:
        locate_pair(flow.listing, flow.layout)
    pairs, busy = seam.page_pairs(flow), f"{stem}.unblock"
    if pairs:
        pairs.take_for_split(empty=busy)
    if pairs and flow.layout.frames:
        busy = f"{stem}.puts"
        with flow.aside(busy):               # the pair of the SEPT page that was not needed
            seam.page_pairs(flow).put(used=False)
            flow.goto(f"{stem}.unblock")
    _once(flow, "tdh_mem_page_demote", busy=busy, attempt=_demote)
    _publish(flow)
    flow.count("splits")
    flow.label(f"{stem}.finish")
    seam.own_mirror(flow, taking=False)
    flow.end("split")
    with flow.aside(f"{stem}.unblock"):
        locate(flow.listing, flow.layout, 1, leaf=True)
        _once(flow, "tdh_mem_range_unblock", busy=f"{stem}.failed")
        flow.label(f"{stem}.as_it_was")
        flow.count("splits_rolled_back")
        flow.row(Op.STORE, base=R.MIRROR, source=R.HPA, value=LEAF, text="mirror entry: as it was")
        seam.own_mirror(flow, taking=False)
        flow.end("split")
        flow.back_out(out)
    with flow.aside(f"{stem}.failed"):
        flow.bug(f"{stem}.given_up")
        flow.label(f"{stem}.given_up")
        flow.row(Op.STORE, base=R.MIRROR, value=LEAF, next=f"{stem}.finish", text="mirror entry: as it was")


def _once(flow: Flow, name: str, busy: str, level: int = 1, attempt=seam.attempt) -> None:
    """A call without retries; to `busy` with any failure."""
    failed, behind = flow.fresh(f"split.{name}.failed"), flow.fresh(f"split.{name}.answered")
    attempt(flow, name, behind, level)
    flow.succeeded(otherwise=failed)
    with flow.aside(failed):
        flow.row(Op.SETTLE, value=flow.listing.call_number(name), text=name, next=busy)


def _until_done(flow: Flow, name: str) -> None:
    """A call that is made again until it succeeds."""
    again = flow.label(flow.fresh(f"split.{name}"))
    seam.attempt(flow, name, flow.fresh(f"split.{name}.answered"))
    flow.succeeded(otherwise=again)


def _publish(flow: Flow) -> None:
    """512 mirror entries, and the one above them, as DEMOTE has left the SEPT; a range counts as many pages as it has."""
    if pairs := seam.page_pairs(flow):
        pairs.count_parts()
    again, done = flow.fresh("split.part"), flow.fresh("split.published")
    index(flow.listing, R.CURSOR, flow.layout.at("mirror.0"), 9, 8 * ENTRIES, text="first mirror entry")
    flow.row(Op.LET, register=R.OLD, source=R.CURSOR, value=8 * ENTRIES)
    index(flow.listing, R.NEW, flow.layout.hpa("data"), 9, 4096 * ENTRIES, base=R.TD_HPA, text="physical address of a part")
    flow.label(again)
    flow.row(Op.STORE, base=R.CURSOR, source=R.NEW, value=MMU_PRESENT, text="mirror entry")
    flow.row(Op.LET, register=R.NEW, source=R.NEW, value=4096)
    flow.row(Op.LET, register=R.CURSOR, source=R.CURSOR, value=8)
    flow.row(Op.TEST, register=R.CURSOR, source=R.OLD, mask=-1, next=done, otherwise=again, text="all parts")
    flow.label(done)
    flow.row(Op.STORE, base=R.MIRROR, source=R.HPA, value=MMU_PRESENT, text="mirror entry: publish")
