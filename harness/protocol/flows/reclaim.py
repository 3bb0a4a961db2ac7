"""A TD has ended and a fresh one takes its place at once: the host's pages, of a placement, that it still has go back.

With Dynamic PAMT by RECLAIM, page by page, and put of each page's pair, as KVM gives back what a TD without an HKID has (tdx_reclaim_page;
the put in it: Dynamic PAMT, v6 09/11, 25 May 2026).  Frames pass on as those of a removal do; 2 MiB of which all parts are back, as one.  Control
pages stay, since the fresh TD has the same; workload.removal = "build" gives them back too, and frees the HKID.

A page that KVM would leak, as its removal ended in a KVM_BUG_ON, comes back all the same.  The pair that a failed DEMOTE leaves
behind does not (Yan Zhao, 22 Jan 2026).
"""

from contextlib import contextmanager

from harness.memory.layout import ENTRIES, PAMT_TYPE, TDR_LIFECYCLE
from harness.protocol.flows import build, seam, zap
from harness.protocol.flows.flow import Flow
from harness.protocol.frames import free_ranges, pass_on_range
from harness.protocol.locate import locate
from kernels.ops import LEVELS, Op, Register as R
from kernels.words import PT_NDA, PT_REG, TD_TEARDOWN


def write(flow: Flow) -> None:
    layout = flow.layout
    if layout.frames and layout.dynamic_pamt:
        _reclaim(flow)
    elif layout.whole:
        free_ranges(flow.listing, layout)


def _reclaim(flow: Flow) -> None:
    layout = flow.layout
    flow.row(Op.STORE, base=R.TD, offset=layout.at("tdr_state") + TDR_LIFECYCLE, width=8, value=TD_TEARDOWN, text="state of the TD: no HKID")
    with _each(flow, ENTRIES, layout.pages):
        if layout.whole:
            locate(flow.listing, layout, 1, leaf=True)
            with _if(flow, R.TARGET_2M, large=True):
                build.leaky(flow, "tdh_phymem_page_reclaim")
                pass_on_range(flow.listing, layout)
        locate(flow.listing, layout, 1)
        with _if(flow, R.TARGET_4K):
            _parts(flow)
            locate(flow.listing, layout, 1)
            _give_back(flow, data=False)
    with _each(flow, ENTRIES ** (LEVELS - 1), layout.by_name["pamt_4k.pd_pages"].count * ENTRIES ** (LEVELS - 1)):
        locate(flow.listing, layout, LEVELS - 1)
        with _if(flow, R.TARGET_4K):
            _give_back(flow, data=False)


def _parts(flow: Flow) -> None:
    """The pages of 4 KiB of the 2 MiB that begin at PAGE."""
    layout = flow.layout
    with _each(flow, 1, ENTRIES, part=True):
        locate(flow.listing, layout, 0, comes_back=True)
        with _if(flow, R.TARGET_4K):
            _give_back(flow, data=True)
            zap.pass_on_page(flow)
    flow.row(Op.LET, register=R.PAGE, source=R.PAGE, value=-ENTRIES)
    if layout.whole:
        whole, single = flow.fresh("reclaim.whole"), flow.fresh("reclaim.single")
        flow.row(Op.TEST, register=R.PAGE, mask=-layout.whole_from, next=single, otherwise=whole, text="2 MiB of single pages")
        flow.label(whole)
        pass_on_range(flow.listing, layout)
        flow.label(single)


def _give_back(flow: Flow, data: bool) -> None:
    pairs = seam.page_pairs(flow, data)
    build.leaky(flow, "tdh_phymem_page_reclaim", then=pairs.put if pairs else lambda: None)


@contextmanager
def _each(flow: Flow, step: int, end: int, part: bool = False):
    """Rows for PAGE = 0, step ... below `end`; or, of parts, from where it is up to the next multiple of `end`."""
    done, more = flow.fresh("reclaim.done"), flow.fresh("reclaim.more")
    if not part:
        flow.row(Op.LET, register=R.PAGE)
    again = flow.label(flow.fresh("reclaim.next"))
    yield
    flow.row(Op.LET, register=R.PAGE, source=R.PAGE, value=step)
    flow.row(Op.TEST, register=R.PAGE, mask=end - 1 if part else -1, match=0 if part else end, next=done, otherwise=more, text="all")
    flow.label(more)
    flow.goto(again)
    flow.label(done)


@contextmanager
def _if(flow: Flow, entry: R, large: bool = False):
    """Rows for a page in use, by its PAMT entry; or for 2 MiB that are one page."""
    used, skip = flow.fresh("reclaim.used"), flow.fresh("reclaim.unused")
    is_used, unused = (used, skip) if large else (skip, used)
    flow.row(Op.LOAD, base=entry, offset=PAMT_TYPE, width=8, mask=-1, match=PT_REG if large else PT_NDA, next=is_used, otherwise=unused,
             text="type of the 2 MiB: one page?" if large else "type of the page: unused?")
    flow.label(used)
    yield
    flow.label(skip)
