"""Splitting a large page: BLOCK, TRACK and kick, DEMOTE, all under mmu_lock write.

As in the RFC for huge pages (v5, Jan 2026).  DEMOTE is made at the policy's site `remove`.  With `split_lock = "read"` it is the
design that was proposed on 22 May 2025 and rejected in RFC v2 (Aug 2025): under mmu_lock read nobody can be kept out by a
kick, so what is BUSY is rolled back with UNBLOCK; that can be BUSY too, and the page then stays blocked: KVM_BUG_ON.

All memory behind the first 2 MiB is of large pages: faults there add a whole one, and the spammers'
ACCEPT is of the first of them, at level 1: the module zeroes 2 MiB under that entry's lock.

With Dynamic PAMT DEMOTE is given the pair of what was one page, and the range then counts as many pages as it has; with a
design (protocol/dpamt.py, `demote`) it is made under pamt_lock, without it, or first without it.  The pair comes out of a
cache that was topped up before mmu_lock was taken ([RFC PATCH v2 22/23], Aug 2025; a VM's in v3, Jan 2026).

    host.start   add the next large page, as KVM_PRE_FAULT_MEMORY would, and split it; when all are
                 split, the VM is closed and the next one begins with whole pages
"""

from harness.protocol.locate import index, locate, locate_pair
from harness.protocol.flows import fault, seam, zap
from harness.protocol.flows.guests import FIRST_LARGE
from harness.protocol.flows.flow import CLOSING, FROZEN_SPTE, MMU_LARGE, MMU_PRESENT, Flow
from kernels.ops import LEVELS, Op, Register as R

PARTS = 512


def large_pages(flow: Flow) -> int:
    return flow.layout.pages // PARTS - 1


def write(flow: Flow) -> None:
    flow.listing.choose(R.COIN, "split")
    flow.label("host.start")
    flow.row(Op.INDEX, register=R.PAGE, offset=FIRST_LARGE, source=R.COIN, width=0, mask=-1, match=PARTS,
             text="first page of a large one")
    if pairs := seam.page_pairs(flow):
        pairs.top_up()
    with flow.mmu_lock("shared"):
        fault.install(flow, LEVELS - 1, out="host.next", retry="host.next")
        fault.install(flow, 1, large=True, out="host.next", retry="host.next")
    shared = flow.policy.split_lock == "read"
    with flow.mmu_lock("shared" if shared else "exclusive"), flow.listing.within(flow="split"):
        (_split_or_unblock if shared else _split)(flow)
    if large_pages(flow) > 1:
        last = flow.fresh("host.last_split")
        flow.row(Op.TEST, register=R.COIN, mask=-1, next=last, otherwise="host.next", text="all split")
        flow.label(last)
    flow.row(Op.STORE, value=CLOSING, **flow.at("vm_dead"))
    flow.tell_all()
    flow.goto("host.dead")


def _split(flow: Flow) -> None:
    locate(flow.listing, flow.layout, 1, leaf=True)
    index(flow.listing, R.MIRROR, flow.layout.at("mirror.1"), 9, 8, text="mirror entry")
    flow.row(Op.LOAD, base=R.MIRROR, register=R.OLD, mask=MMU_PRESENT | MMU_LARGE, match=MMU_PRESENT | MMU_LARGE,
             otherwise="split.none", text="mirror entry")
    with flow.aside("split.none"):
        flow.back_out("host.next")
    flow.begin("split")
    flow.row(Op.STORE, base=R.MIRROR, value=FROZEN_SPTE, text="mirror entry: freeze")
    seam.own_mirror(flow, taking=True)
    seam.covered(flow)
    if flow.policy.bar == "removal":
        zap.bar(flow, True)
        flow.kick_all()
    step = {"mode": "exclusive", "stem": "split", "finish": "split.failed"}
    zap.step(flow, site="block", name="tdh_mem_range_block", level=1, **step)
    zap.step(flow, site="track", name="tdh_mem_track", **step)
    if flow.policy.kick_after_track:
        flow.kick_all()
    locate(flow.listing, flow.layout, 1)         # the SEPT page that will map the parts
    if flow.layout.dynamic_pamt:
        locate_pair(flow.listing, flow.layout)
    pairs = seam.page_pairs(flow)
    if pairs:
        pairs.take_for_split(empty="split.failed")

    def attempt(flow: Flow, name: str, behind: str, level: int) -> None:
        make = lambda behind: seam.attempt(flow, name, behind, level)      # noqa: E731
        pairs.demote(make, behind) if pairs else make(behind)

    zap.step(flow, site="remove", name="tdh_mem_page_demote", level=1, attempt=attempt, **step)
    if pairs:
        pairs.count_parts()
    _publish(flow)
    flow.count("splits")
    flow.label("split.finish")
    seam.own_mirror(flow, taking=False)
    if flow.policy.bar == "removal":
        zap.bar(flow, False)
    flow.end("split")
    with flow.aside("split.failed"):
        # The VM is dead; its mirror will not be looked at again.
        flow.row(Op.STORE, base=R.MIRROR, value=MMU_PRESENT | MMU_LARGE, next="split.finish",
                 text="mirror entry: as it was")


def _split_or_unblock(flow: Flow) -> None:
    """The same under mmu_lock read: each call once, and UNBLOCK if one is BUSY."""
    locate(flow.listing, flow.layout, 1, leaf=True)
    index(flow.listing, R.MIRROR, flow.layout.at("mirror.1"), 9, 8, text="mirror entry")
    flow.row(Op.LOAD, base=R.MIRROR, register=R.OLD, mask=MMU_PRESENT | MMU_LARGE, match=MMU_PRESENT | MMU_LARGE,
             otherwise="split.none", text="mirror entry")
    flow.row(Op.SWAP, base=R.MIRROR, register=R.OLD, value=FROZEN_SPTE, otherwise="split.none", text="mirror entry: freeze")
    with flow.aside("split.none"):
        flow.back_out("host.next")
    flow.begin("split")
    seam.own_mirror(flow, taking=True)
    seam.covered(flow)
    _once(flow, "tdh_mem_range_block", busy="split.as_it_was")
    _once(flow, "tdh_mem_track", busy="split.unblock", level=0)
    flow.kick_all()
    locate(flow.listing, flow.layout, 1)
    if flow.layout.dynamic_pamt:
        locate_pair(flow.listing, flow.layout)
    _once(flow, "tdh_mem_page_demote", busy="split.unblock")
    _publish(flow)
    flow.count("splits")
    flow.label("split.finish")
    seam.own_mirror(flow, taking=False)
    flow.end("split")
    with flow.aside("split.unblock"):
        locate(flow.listing, flow.layout, 1, leaf=True)
        _once(flow, "tdh_mem_range_unblock", busy="split.failed")
        flow.label("split.as_it_was")
        flow.count("splits_rolled_back")
        flow.row(Op.STORE, base=R.MIRROR, source=R.HPA, value=MMU_PRESENT | MMU_LARGE, text="mirror entry: as it was")
        seam.own_mirror(flow, taking=False)
        flow.end("split")
        flow.back_out("host.next")
    with flow.aside("split.failed"):
        flow.bug("split.given_up")
        flow.label("split.given_up")
        flow.row(Op.STORE, base=R.MIRROR, value=MMU_PRESENT | MMU_LARGE, next="split.finish", text="mirror entry: as it was")


def _once(flow: Flow, name: str, busy: str, level: int = 1) -> None:
    """A call without retries; to `busy` with any failure."""
    failed, behind = flow.fresh(f"split.{name}.failed"), flow.fresh(f"split.{name}.answered")
    seam.attempt(flow, name, behind, level)
    flow.succeeded(otherwise=failed)
    with flow.aside(failed):
        flow.row(Op.SETTLE, value=flow.listing.call_number(name), text=name, next=busy)


def _publish(flow: Flow) -> None:
    """512 mirror entries, and the one above them, as DEMOTE has left the SEPT."""
    again, done = flow.fresh("split.part"), flow.fresh("split.published")
    index(flow.listing, R.CURSOR, flow.layout.at("mirror.0"), 0, 8, text="first mirror entry")
    flow.row(Op.LET, register=R.OLD, source=R.CURSOR, value=8 * PARTS)
    index(flow.listing, R.NEW, flow.layout.hpa("data"), 0, 4096, base=R.TD_HPA, text="physical address of a part")
    flow.label(again)
    flow.row(Op.STORE, base=R.CURSOR, source=R.NEW, value=MMU_PRESENT, text="mirror entry")
    flow.row(Op.LET, register=R.NEW, source=R.NEW, value=4096)
    flow.row(Op.LET, register=R.CURSOR, source=R.CURSOR, value=8)
    flow.row(Op.TEST, register=R.CURSOR, source=R.OLD, mask=-1, next=done, otherwise=again, text="all parts")
    flow.label(done)
    flow.row(Op.STORE, base=R.MIRROR, source=R.HPA, value=MMU_PRESENT, text="mirror entry: publish")
