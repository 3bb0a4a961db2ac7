"""What Dynamic PAMT asks of every phrase about a page: is there a PAMT entry for it, and how many are in use.

The PAMT entries of 2 MiB's 4 KiB pages lie in a pair of pages that the host has given (pairs.py); the 2 MiB's own
entry, the *node*, then has the type PAMT, and counts how many of its 512 pages are in use.  pamt_manager.c and .h
of 1.5.24
"""

from harness.memory.layout import PAMT_BIT, PAMT_COUNT, PAMT_TYPE
from harness.protocol.call import Call
from kernels.ops import Op, Register as R
from kernels.words import PAIR_USED_MAX, PT_PAMT


def check_node(call: Call, node: R, page: str) -> None:
    """A page that the module names itself lies in 2 MiB with a pair, or the module halts."""
    missing = call.fresh("pairless")
    call.row(Op.LOAD, base=node, offset=PAMT_TYPE, width=8, mask=-1, match=PT_PAMT, otherwise=missing,
             text=f"type of the 2 MiB of {page}: must have a pair")
    with call.listing.aside(missing):
        call.halt()


def check_no_pamt_page(call: Call, base: R, page: str, otherwise: str) -> None:
    """A page that comes into use must not hold PAMT entries."""
    call.row(Op.LOAD, base=base, offset=PAMT_BIT, width=8, mask=-1, otherwise=otherwise,
             text=f"{page} holds no PAMT entries")


def count_used(call: Call, node: R, change: int) -> None:
    """The node's count goes up or down by a locked add; out of its bounds the module halts.

    HINT then says whether the page that was given back was the last one in use.  pamt_manager.c:83-109, .h:230
    """
    wrong, counted = call.fresh("miscounted"), call.fresh("counted")
    call.row(Op.ADD, register=R.OLD, base=node, offset=PAMT_COUNT, width=16, value=change, text="pages in use")
    with call.listing.aside(wrong):
        call.halt()
    if change > 0:
        call.row(Op.TEST, register=R.OLD, mask=PAIR_USED_MAX, otherwise=wrong, text=f"not {PAIR_USED_MAX} before")
        return
    last, some = call.fresh("last"), call.fresh("some")
    call.row(Op.LET, register=R.HINT)
    call.row(Op.TEST, register=R.OLD, mask=-1, next=wrong, otherwise=some, text="none before?")
    call.listing.label(some)
    call.row(Op.TEST, register=R.OLD, mask=-1, match=1, next=last, otherwise=counted, text="the last?")
    call.listing.label(last)
    call.row(Op.LET, register=R.HINT, value=1)
    call.listing.label(counted)
