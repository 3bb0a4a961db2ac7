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
    INVALIDATE_COUNT, INVALIDATE_END, INVALIDATE_SEQUENCE, INVALIDATE_START, LINE, MMU_NONPRESENT,
)
from harness.protocol.locate import index, locate
from harness.protocol.flows import seam
from harness.protocol.flows.flow import FROZEN_SPTE, MMU_PRESENT, SIGN, Flow
from harness.protocol.flows.responses import Responses
from kernels.guest import POISON
from kernels.ops import Op, Register as R
from kernels.words import OPERAND_BUSY, STATUS_CLASS
from kernels import rwlock

REMOVAL_SITES = ("block", "track", "remove")


def write(flow: Flow) -> None:
    mode = "exclusive" if flow.policy.zap_lock == "write" else "shared"
    flow.label("zap")
    if flow.invalidates and mode == "shared":
        with flow.mmu_lock("exclusive"):
            _invalidate_begin(flow)
    flow.take_mmu_lock(mode)
    if flow.invalidates and mode == "exclusive":
        _invalidate_begin(flow)
    flow.label("zap.page")
    _page(flow, mode)
    if _many_pages(flow):
        _next_page(flow, mode)
    _bar_is_off(flow)
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
                _bar_is_off(flow)
                _yield(flow, mode)
                flow.goto("zap.page")
        else:
            flow.goto("zap.page")
    flow.label(done)


def _page(flow: Flow, mode: str) -> None:
    policy = flow.policy
    locate(flow.listing, flow.layout, 0, comes_back=flow.behaviour.design is not None)
    index(flow.listing, R.MIRROR, flow.layout.at("mirror.0"), 0, 8, text="mirror entry")
    index(flow.listing, R.PAGE_GENERATION, flow.layout.at("generation"), 0, LINE)
    index(flow.listing, R.CONTENT, flow.layout.at("content"), 0, flow.layout.content_bytes)
    # While a removal can drop mmu_lock half-way, faults must find the entry frozen.
    freezes = policy.freeze and (mode == "shared" or _drops_lock(flow))
    taken = FROZEN_SPTE if freezes else MMU_NONPRESENT
    look = flow.label(flow.fresh("zap.look"))
    flow.row(Op.LOAD, base=R.MIRROR, register=R.OLD, mask=MMU_PRESENT, match=MMU_PRESENT,
             otherwise="zap.absent", text="mirror entry")
    with flow.aside("zap.absent"):
        flow.count("removals_skipped", next="zap.page_done")
    if mode == "shared":
        flow.row(Op.SWAP, base=R.MIRROR, register=R.OLD, value=taken, otherwise=look,
                 text="mirror entry: away")
    flow.begin("removal")
    if policy.bar == "removal":
        bar(flow, True)
        flow.kick_all()
    if mode == "exclusive":
        flow.row(Op.STORE, base=R.MIRROR, value=taken, text="mirror entry: away")
    seam.own_mirror(flow, taking=True)
    seam.covered(flow)
    step(flow, mode, "block", "tdh_mem_range_block")
    if not flow.busted("no_track"):
        step(flow, mode, "track", "tdh_mem_track")
    if policy.kick_after_track and not flow.busted("no_kick"):
        flow.kick_all()
    step(flow, mode, "remove", "tdh_mem_page_remove")
    if pairs := seam.page_pairs(flow):
        pairs.put()
    flow.row(Op.ADD, base=R.PAGE_GENERATION, value=1, text="page's generation")
    flow.row(Op.STORE, base=R.CONTENT, value=POISON, text="page is the host's again")
    flow.count("removals")
    flow.label("zap.finish")
    seam.own_mirror(flow, taking=False)
    if freezes:
        flow.row(Op.STORE, base=R.MIRROR, value=MMU_NONPRESENT, text="mirror entry: publish")
    if policy.bar == "removal":
        bar(flow, False)
    flow.end("removal")
    if flow.open_loop:
        flow.end("removal_since_intended")
    flow.label("zap.page_done")


def _drops_lock(flow: Flow) -> bool:
    return flow.behaviour.may_sleep and any(
        flow.policy.answers(site, "drop_lock_and_yield") for site in REMOVAL_SITES)


def step(flow: Flow, mode: str, site: str, name: str, level: int = 0, stem: str = "zap",
         finish: str = "zap.finish", attempt=seam.attempt) -> None:
    """One SEAMCALL of a removal, with the policy's responses.

    mode     how mmu_lock is held
    stem     what labels begin with; `{stem}.{site}` makes the call
    finish   where the removal goes on that a KVM_BUG_ON has ended
    attempt  writes one try of the call
    """
    again, done = f"{stem}.{site}", f"{stem}.{site}.done"
    failed, behind = f"{again}.failed", flow.fresh(f"{again}.answered")
    seam.begin_operation(flow, site)
    flow.label(again)
    attempt(flow, name, behind, level)
    flow.succeeded(otherwise=failed)
    with flow.aside(failed):
        if flow.policy.bar == "removal":
            _refused_behind_bar(flow, again)
        Responses(
            flow, site, again=again, done=done, call=name, behind=behind,
            without=() if flow.behaviour.may_sleep else ("drop_lock_and_yield",),
            respond={
                "kick": lambda: _kick_and_repeat(flow, name, level, again, done),
                "drop_lock_and_yield": lambda: (flow.count("zap_yields"), _yield(flow, mode), flow.goto(again)),
                "bug_vm": lambda: _bug(flow, site, done, finish),
            },
        ).write()
    flow.label(done)
    seam.end_operation(flow)


def _bug(flow: Flow, site: str, done: str, finish: str) -> None:
    """tdx_track has nothing to return: after a TRACK that failed the removal goes on, and fails again."""
    if site == "track":
        flow.bug(done)
    else:
        seam.end_operation(flow)
        flow.bug(finish)


def _yield(flow: Flow, mode: str) -> None:
    """Drop mmu_lock, let others run, take it again."""
    flow.drop_mmu_lock()
    flow.row(Op.YIELD, text="cond_resched()")
    flow.take_mmu_lock(mode)


def _kick_and_repeat(flow: Flow, name: str, level: int, stem: str, done: str) -> None:
    """tdx_no_vcpus_enter_start, the call once more, tdx_no_vcpus_enter_stop.

    Falls through if the call failed again.
    """
    bar_call = flow.policy.bar == "call"
    if bar_call:
        bar(flow, True)
    flow.kick_all()
    seam.attempt(flow, name, flow.fresh(f"{stem}.repeated"), level)
    if bar_call:
        bar(flow, False)
    failed = flow.fresh(f"{stem}.failed_again")
    flow.row(Op.TEST, register=R.STATUS, mask=-1, next=done, otherwise=failed, text="TDX_SUCCESS")
    flow.label(failed)
    _refused_behind_bar(flow, stem)


def _refused_behind_bar(flow: Flow, stem: str) -> None:
    """I6: with entry barred and all vCPUs out, no actor is left that could make a call BUSY."""
    other = flow.fresh(f"{stem}.not_barred")
    flow.row(Op.TEST, register=R.STATUS, mask=STATUS_CLASS, match=OPERAND_BUSY, otherwise=other,
             next=flow.violation("barred_retry", other), text="BUSY all the same")
    flow.label(other)


# --- kvm_tdx->wait_for_sept_zap ---

def bar(flow: Flow, on: bool) -> None:
    """Set or clear the bar; only who holds mmu_lock for write may (I7)."""
    if on and flow.options.owners:
        fine = flow.fresh("bar.locked")
        flow.row(Op.LOAD, register=R.OLD, **flow.at("mmu_owner"))
        flow.row(Op.TEST, register=R.OLD, source=R.ME, mask=-1, next=fine,
                 otherwise=flow.violation("bar_under_lock", fine), text="this actor")
        flow.label(fine)
    flow.row(Op.STORE, value=int(on), **flow.at("wait_for_sept_zap"))
    (flow.begin if on else flow.end)("entry_barred")


def _bar_is_off(flow: Flow) -> None:
    """I7: mmu_lock is not released while entry is barred."""
    bars = flow.policy.bar == "removal" or any(flow.policy.answers(site, "kick") for site in REMOVAL_SITES)
    if bars and flow.options.owners:
        fine = flow.fresh("bar.off")
        flow.row(Op.LOAD, **flow.at("wait_for_sept_zap", mask=-1, match=0,
                                    otherwise=flow.violation("bar_under_lock", fine)))
        flow.label(fine)


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
