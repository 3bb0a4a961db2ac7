"""KVM's own flows of a test where nobody reads their scripts: as rows that choose the pages themselves, and then end.

The search and real runs take what a process touches or removes from its script (kernels/moves.py, kernels/cells.py).  The simulated
machine has only dice for choices and a clock for the end.  So there each choice of a page becomes rows that look at R.DRAWS,
how far a process has come, and each look at the clock (POLL) rows that say whether its script is over:

    process      R.DRAWS at its pages      behind its script
    the first    0 .. n - 1                n, and n + 1 once a vCPU has left
    the next     n + 2 ...                 likewise
"""

from typing import Iterable, NamedTuple

from harness.protocol.assemble import Listing, Row
from harness.protocol.flows.script import LEAVE
from kernels.ops import Op, Register as R

CHOICES = ("touch", "remove")
FLOWS = ("vcpu", "host")         # the labels at which they begin, which are also the names of the flows that stop


class Part(NamedTuple):
    """A process's pages, where R.DRAWS begins, and whether it is a vCPU, which leaves first and then stops."""

    first: int
    pages: tuple[int, ...]
    leaves: bool

    @property
    def over(self) -> int:
        """Of R.DRAWS: stop at the next look."""
        return self.first + len(self.pages) + self.leaves


def parts(flows: Iterable[tuple[tuple[int, ...], bool]]) -> list[Part]:
    """Of each process's (pages, whether it is a vCPU)."""
    found: list[Part] = []
    for pages, leaves in flows:
        first = found[-1].first + len(found[-1].pages) + 2 if found else 0
        found.append(Part(first, pages, leaves))
    return found


def write(listing: Listing, of: list[Part], span: str) -> None:
    """Rewrite the rows of flows that have been written; `span` is put around each process."""
    listing.flush()
    behind = {id(row): listing.rows[number + 1] for number, row in enumerate(listing.rows[:-1])}
    for row in list(listing.rows):
        if row.op == Op.CHOOSE and row.text in CHOICES:
            _becomes(row, listing.fresh(f"script.{row.text}"))
            _pages(listing, row, _label(listing, behind[id(row)]), [part for part in of if part.leaves == (row.text == "touch")])
        elif row.op == Op.POLL:
            _becomes(row, listing.fresh("script.poll"))
            _over(listing, row, _label(listing, behind[id(row)]), of)
        elif row.op == Op.STOP and row.flow in FLOWS:
            _becomes(row, listing.fresh("script.over"))
            listing.label(row.next)
            listing.end(span)
            listing.row(Op.STOP, text=row.text)
    for name in FLOWS:
        first = next((row for row in listing.rows if name in row.labels), None)
        if first is not None:
            first.labels.remove(name)
            listing.begin(span, next=_label(listing, first))
            listing.rows[-1].labels.append(name)


def _becomes(row: Row, target: str) -> None:
    """A row that only goes on elsewhere; what it was is kept in its text."""
    row.op, row.next, row.value, row.source, row.mask, row.match = Op.LET, target, 0, R.ZERO, 0, 0


def _label(listing: Listing, row: Row) -> str:
    name = listing.fresh("script.on")
    row.labels.append(name)
    return name


def _pages(listing: Listing, row: Row, on: str, of: list[Part]) -> None:
    listing.label(row.next)
    register, row.register = row.register, R.SINK
    for part in of:
        for number, page in [*enumerate(part.pages), *[(len(part.pages), None)] * part.leaves]:
            here, other = listing.fresh("script.page"), listing.fresh("script.other")
            listing.row(Op.TEST, register=R.DRAWS, mask=-1, match=part.first + number, next=here, otherwise=other, text="its script")
            listing.label(here)
            listing.row(Op.LET, register=R.DRAWS, source=R.DRAWS, value=1)
            if page is None:
                listing.jump(LEAVE)
            else:
                listing.row(Op.LET, register=register, value=page, text=row.text, next=on)
            listing.label(other)
    listing.row(Op.STOP, text="no script is so long")


def _over(listing: Listing, row: Row, on: str, of: list[Part]) -> None:
    listing.label(row.next)
    stop = listing.fresh("script.stops")
    for part in of:
        other = listing.fresh("script.other")
        listing.row(Op.TEST, register=R.DRAWS, mask=-1, match=part.over, next=stop, otherwise=other, text="is it over?")
        listing.label(other)
    listing.row(Op.LET, register=R.STOPPING, next=on)
    listing.label(stop)
    listing.row(Op.LET, register=R.STOPPING, value=1, next=on)
