"""Removing private pages: tdx_sept_remove_private_spte for each page of a range.

    zap            remove PAGE up to, not including, RANGE_END; then on at the row in R.RETURN
    zap.page       one page: mirror entry away, BLOCK, TRACK, kick, REMOVE; the page is the host's again

Whoever takes memory back comes here with nothing held: a host thread that punches a hole in
guest_memfd, converts pages or deletes a memslot (host.py), a vCPU that carries out MapGPA (map_gpa.py),
the end of the VM (Flow.park).  mmu_lock is held for write from the first page to the last, except where
the caller may sleep and another thread waits for the lock between two pages (tdp_mmu_iter_cond_resched).

A SEAMCALL that fails for good is a KVM_BUG_ON, and the zap goes on with the next page, as KVM's does.

Two mistakes can be asked for.  With `zap_lock = "read"` faults run beside the zap; it then freezes the
mirror entry as they do.  With `freeze = false` no entry is frozen, and with both a page can end up in the
SEPT that the mirror says is gone (sources: Sean Christopherson, 19 Jan 2023).
"""

from harness.memory.layout import (
    ENTRIES, INVALIDATE_COUNT, INVALIDATE_END, INVALIDATE_SEQUENCE, INVALIDATE_START, LINE, MMU_NONPRESENT,
)
from harness.protocol.frames import pass_on, pass_on_range
from harness.protocol.locate import index, locate
from harness.protocol.flows import large, seam
from harness.protocol.flows.flow import FROZEN_SPTE, MMU_PRESENT, SIGN, Flow
from harness.protocol.flows.steps import REMOVAL_SITES, bar, bar_is_off, step, yield_lock
from kernels.guest import POISON
from kernels.ops import Op, Register as R
from kernels import rwlock

WHOLE = "zap.whole"              # what labels of the removal of a whole page of 2 MiB begin with


def write(flow: Flow) -> None:
    mode = "exclusive" if flow.policy.zap_lock == "write" else "shared"
    flow.label("zap")
    if flow.invalidates and mode == "shared":
        with flow.mmu_lock("exclusive"):
            _invalidate_begin(flow)
    if flow.large and (pairs := seam.page_pairs(flow)):
        pairs.top_up()
    flow.take_mmu_lock(mode)
    if flow.large and flow.converts:     # before it is zapped: kvm_arch_pre_set_memory_attributes
        large.inhibit_range(flow)
    if flow.invalidates and mode == "exclusive":
        _invalidate_begin(flow)
    flow.label("zap.page")
    _page(flow, mode)
    if _many_pages(flow):
        _next_page(flow, mode)
    bar_is_off(flow)
    flow.drop_mmu_lock()
    flow.row(Op.GO, register=R.RETURN, text="return")
    flow.listing.flush()


def _many_pages(flow: Flow) -> bool:
    behaviour = flow.behaviour
    return (behaviour.removal_pages > 1 or behaviour.map_gpa_share > 0
            or behaviour.removal in ("memslot_delete", "teardown", "build"))


def _next_page(flow: Flow, mode: str) -> None:
    more, done = flow.fresh("zap.more"), flow.fresh("zap.done")
    flow.row(Op.LET, register=R.PAGE, source=R.PAGE, value=1)
    flow.row(Op.TEST, register=R.PAGE, source=R.RANGE_END, mask=-1, next=done, otherwise=more,
             text="all pages")
    with flow.aside(more):
        if flow.behaviour.may_sleep and mode == "exclusive":
            contended = flow.fresh("zap.contended")
            flow.row(Op.LOAD, **flow.at("mmu_lock", mask=~rwlock.WRITER, match=0, next="zap.page",
                                        otherwise=contended))
            with flow.aside(contended):
                flow.count("zap_yields")
                bar_is_off(flow)
                yield_lock(flow, mode)
                flow.goto("zap.page")
        else:
            flow.goto("zap.page")
    flow.label(done)


def _page(flow: Flow, mode: str) -> None:
    if flow.large:
        _large(flow, mode)
    locate(flow.listing, flow.layout, 0, comes_back=flow.behaviour.design is not None)
    index(flow.listing, R.MIRROR, flow.layout.at("mirror.0"), 0, 8, text="mirror entry")
    _find_page(flow)
    # While a removal can drop mmu_lock half-way, faults must find the entry frozen.
    freezes = flow.policy.freeze and (mode == "shared" or _drops_lock(flow))
    taken = FROZEN_SPTE if freezes else MMU_NONPRESENT
    look = flow.label(flow.fresh("zap.look"))
    flow.row(Op.LOAD, base=R.MIRROR, register=R.OLD, mask=MMU_PRESENT, match=MMU_PRESENT,
             otherwise="zap.absent", text="mirror entry")
    with flow.aside("zap.absent"):
        flow.count("removals_skipped", next="zap.page_done")
    if mode == "shared":
        flow.row(Op.SWAP, base=R.MIRROR, register=R.OLD, value=taken, otherwise=look,
                 text="mirror entry: away")
    if flow.large and not flow.policy.split_before_removal:
        flow.label("zap.unsplit")
    _take_away(flow, mode, 0, "zap", taken)
    if pairs := seam.page_pairs(flow):
        pairs.put()
    pass_on_page(flow)
    flow.row(Op.ADD, base=R.PAGE_GENERATION, value=1, text="page's generation")
    flow.row(Op.STORE, base=R.CONTENT, value=POISON, text="page is the host's again")
    flow.count("removals")
    _finish(flow, "zap", freezes)
    flow.label("zap.page_done")


def pass_on_page(flow: Flow) -> None:
    """The frame of PAGE passes on; where guest memory comes in whole 2 MiB, only of a page that lies by itself."""
    layout = flow.layout
    if layout.whole and layout.whole_from:
        single, kept = flow.fresh("zap.single"), flow.fresh("zap.kept")
        flow.row(Op.TEST, register=R.PAGE, mask=-layout.whole_from, next=single, otherwise=kept, text="a page that lies by itself")
        flow.label(single)
        pass_on(flow.listing, layout)
        flow.label(kept)
    elif layout.passing and not layout.whole:
        pass_on(flow.listing, layout)


def _find_page(flow: Flow) -> None:
    index(flow.listing, R.PAGE_GENERATION, flow.layout.at("generation"), 0, LINE)
    index(flow.listing, R.CONTENT, flow.layout.at("content"), 0, flow.layout.content_bytes)


def _take_away(flow: Flow, mode: str, level: int, stem: str, taken: int) -> None:
    """BLOCK, TRACK, kick, REMOVE of the entry of PAGE at a level; its mirror entry is `taken` meanwhile."""
    flow.begin("removal")
    if flow.policy.bar == "removal":
        bar(flow, True)
        flow.kick_all()
    if mode == "exclusive":
        flow.row(Op.STORE, base=R.MIRROR, value=taken, text="mirror entry: away")
    seam.own_mirror(flow, taking=True)
    seam.covered(flow)
    step(flow, mode, "block", "tdh_mem_range_block", level, stem=stem)
    if not flow.busted("no_track"):
        step(flow, mode, "track", "tdh_mem_track", stem=stem)
    if flow.policy.kick_after_track and not flow.busted("no_kick"):
        flow.kick_all()
    step(flow, mode, "remove", "tdh_mem_page_remove", level, stem=stem)


def _finish(flow: Flow, stem: str, freezes: bool) -> None:
    flow.label(f"{stem}.finish")
    seam.own_mirror(flow, taking=False)
    if freezes:
        flow.row(Op.STORE, base=R.MIRROR, value=MMU_NONPRESENT, text="mirror entry: publish")
    if flow.policy.bar == "removal":
        bar(flow, False)
    flow.end("removal")
    if flow.open_loop:
        flow.end("removal_since_intended")


def _large(flow: Flow, mode: str) -> None:
    """Where 2 MiB are mapped as one: taken away whole if the range has all of them, and split if not.

    KVM_SET_MEMORY_ATTRIBUTES splits what crosses the borders of a range, before it is zapped (huge pages v3, Jan 2026:
    kvm_split_cross_boundary_leafs).
    """
    small, part = flow.fresh("zap.small"), flow.fresh("zap.part")
    large.is_large(flow, otherwise=small)
    if _many_pages(flow):
        long_enough = flow.fresh("zap.long_enough")
        flow.row(Op.TEST, register=R.PAGE, mask=ENTRIES - 1, next=long_enough, otherwise=part, text="first page of 2 MiB")
        flow.label(long_enough)
        flow.row(Op.LET, register=R.NEW, source=R.RANGE_END, value=-ENTRIES)
        flow.row(Op.TEST, register=R.NEW, source=R.PAGE, mask=SIGN, next=WHOLE, otherwise=part, text="all of them")
        with flow.aside(WHOLE):
            _whole(flow, mode)
        flow.label(part)
    if flow.policy.split_before_removal:
        large.under_write(flow, "zap.split")
    else:
        locate(flow.listing, flow.layout, 0)
        index(flow.listing, R.MIRROR, flow.layout.at("mirror.0"), 0, 8, text="mirror entry")
        _find_page(flow)
        flow.goto("zap.unsplit")
    flow.label(small)


def _whole(flow: Flow, mode: str) -> None:
    locate(flow.listing, flow.layout, 1, leaf=True)
    _find_page(flow)
    _take_away(flow, mode, 1, WHOLE, FROZEN_SPTE)
    if flow.layout.whole:
        pass_on_range(flow.listing, flow.layout)
    again, done = flow.label(flow.fresh(f"{WHOLE}.part")), flow.fresh(f"{WHOLE}.taken")
    flow.row(Op.ADD, base=R.PAGE_GENERATION, value=1, text="page's generation")
    flow.row(Op.STORE, base=R.CONTENT, value=POISON, text="page is the host's again")
    flow.row(Op.LET, register=R.PAGE_GENERATION, source=R.PAGE_GENERATION, value=LINE)
    flow.row(Op.LET, register=R.CONTENT, source=R.CONTENT, value=flow.layout.content_bytes)
    flow.row(Op.LET, register=R.PAGE, source=R.PAGE, value=1)
    flow.row(Op.TEST, register=R.PAGE, mask=ENTRIES - 1, next=done, otherwise=again, text="all parts")
    flow.label(done)
    flow.row(Op.LET, register=R.PAGE, source=R.PAGE, value=-ENTRIES)
    flow.count("large_removals")
    _finish(flow, WHOLE, freezes=True)
    flow.row(Op.LET, register=R.PAGE, source=R.PAGE, value=ENTRIES - 1, next="zap.page_done")


def _drops_lock(flow: Flow) -> bool:
    return flow.behaviour.may_sleep and any(
        flow.policy.answers(site, "drop_lock_and_yield") for site in REMOVAL_SITES)


# --- kvm_mmu_invalidate_begin and _end ---

def _word(flow: Flow, byte: int, text: str, **fields) -> dict:
    return {"base": R.TD, "offset": flow.layout.at("invalidate") + byte, "text": text} | fields


def _invalidate_begin(flow: Flow) -> None:
    """One more invalidation is in progress; of several KVM keeps the range that holds them all."""
    first, done = flow.fresh("invalidate.first"), flow.fresh("invalidate.begun")
    later, last = flow.fresh("invalidate.later"), flow.fresh("invalidate.last")
    before, behind = flow.fresh("invalidate.before"), flow.fresh("invalidate.behind")
    flow.row(Op.ADD, value=1, register=R.OLD, **_word(flow, INVALIDATE_COUNT, "mmu_invalidate_in_progress"))
    flow.row(Op.TEST, register=R.OLD, mask=-1, next=first, otherwise=later, text="the only one")
    flow.label(first)
    flow.row(Op.STORE, source=R.PAGE, **_word(flow, INVALIDATE_START, "mmu_invalidate_range_start"))
    flow.row(Op.STORE, source=R.RANGE_END, **_word(flow, INVALIDATE_END, "mmu_invalidate_range_end"))
    with flow.aside(later):
        flow.row(Op.LOAD, register=R.OLD, **_word(flow, INVALIDATE_START, "mmu_invalidate_range_start"))
        flow.row(Op.TEST, register=R.PAGE, source=R.OLD, mask=SIGN, match=SIGN, next=before, otherwise=last)
        flow.label(before)
        flow.row(Op.STORE, source=R.PAGE, **_word(flow, INVALIDATE_START, "mmu_invalidate_range_start"))
        flow.label(last)
        flow.row(Op.LOAD, register=R.OLD, **_word(flow, INVALIDATE_END, "mmu_invalidate_range_end"))
        flow.row(Op.TEST, register=R.OLD, source=R.RANGE_END, mask=SIGN, match=SIGN,
                 next=behind, otherwise=done)
        flow.label(behind)
        flow.row(Op.STORE, source=R.RANGE_END,
                 next=done, **_word(flow, INVALIDATE_END, "mmu_invalidate_range_end"))
    flow.label(done)


def invalidate_end(flow: Flow) -> None:
    with flow.mmu_lock("exclusive"):
        flow.row(Op.ADD, value=1, **_word(flow, INVALIDATE_SEQUENCE, "mmu_invalidate_seq"))
        flow.row(Op.ADD, value=-1, **_word(flow, INVALIDATE_COUNT, "mmu_invalidate_in_progress"))


def stale(flow: Flow, met: str) -> None:
    """To `met` if PAGE is being invalidated (mmu_invalidate_retry_gfn).

    Where pages can be converted, also if any invalidation has ended since R.INDEX was read
    (`read_sequence`): what the fault has seen of the page's attributes may no longer be so.
    """
    check, not_before, fine = (flow.fresh(f"fault.{part}") for part in ("check", "not_before", "fresh"))
    flow.row(Op.LOAD, **_word(flow, INVALIDATE_COUNT, "mmu_invalidate_in_progress", mask=-1, match=0,
             otherwise=check))
    with flow.aside(check):
        flow.row(Op.LOAD, register=R.OLD, **_word(flow, INVALIDATE_START, "mmu_invalidate_range_start"))
        flow.row(Op.TEST, register=R.PAGE, source=R.OLD, mask=SIGN, next=not_before, otherwise=fine,
                 text="not before")
        flow.label(not_before)
        flow.row(Op.LOAD, register=R.OLD, **_word(flow, INVALIDATE_END, "mmu_invalidate_range_end"))
        flow.row(Op.TEST, register=R.PAGE, source=R.OLD, mask=SIGN, match=SIGN, next=met, otherwise=fine,
                 text="in it")
    flow.label(fine)
    if flow.converts:
        flow.row(Op.LOAD, register=R.OLD, **_word(flow, INVALIDATE_SEQUENCE, "mmu_invalidate_seq"))
        flow.row(Op.TEST, register=R.OLD, source=R.INDEX, mask=-1, otherwise=met, text="as it was")


def read_sequence(flow: Flow) -> None:
    if flow.converts:
        flow.row(Op.LOAD, register=R.INDEX, **_word(flow, INVALIDATE_SEQUENCE, "mmu_invalidate_seq"))
