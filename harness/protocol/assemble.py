"""From rows in words to rows in numbers: `Listing` collects micro-ops, `Listing.program` links them.

A listing is written front to back, as one reads it.  Code that is rarely reached (a lost try, a
response of the policy) is written with `aside` and comes out behind the code that is in progress, so
that the ordinary path runs straight on.

    listing = Listing()
    listing.label("again")
    listing.row(Op.ENTRY_TAKE, base=R.ENTRY, otherwise="lost")
    ...

Each row remembers where it is written: what the actor *holds* when it is about to execute it (`hold`,
`release`), and which call or flow it belongs to (`within`).  That is how a killed worker's locks are
named, how whoever is refused finds out how long the holder may take, and how the unwinding of a
SEAMCALL is derived instead of written.

The linker refuses: an outcome without a target, a target for an outcome that cannot occur, a label
that is missing or defined twice, a value that does not fit.  A counter or a span that is not declared
(counters.py) is refused where it is written.
"""

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Mapping, NamedTuple

import numpy as np

from harness.protocol.counted_answers import SUCCESS, Answer
from harness.protocol.counters import COUNTERS, SPANS, declared
from kernels.answers import AnswerKind
from kernels.ops import OP_TABLE, ROW, Op, Register as R
from kernels.words import signed, unsigned


HALT = "halt"                    # label of row 0


class AssemblyError(Exception):
    """A program that cannot be: a mistake in this project or in a row added to it, not a user's."""


class Held(NamedTuple):
    """A lock that is held: what it is called, how, and in which words (register, offset)."""

    resource: str                # as in the lock report: TDR, SEPT_TREE, mmu_lock ...
    mode: str                    # "shared" or "exclusive"
    discipline: str              # "hp", "sharex", "entry", "mutex"; "entries", "count", "mmu"
    base: R
    offset: int | str = 0        # or the name of the word in the layout, until Call.take finds it

    def __str__(self) -> str:
        return f"{self.resource} ({self.mode})"


@dataclass
class Row:
    """One micro-op, targets still by name.  The fields are those of kernels.ops.ROW."""

    op: Op
    base: R = R.ZERO
    offset: int = 0
    width: int = 64
    register: R = R.SINK
    source: R = R.ZERO
    value: int | str = 0         # a label where the row number itself is wanted
    mask: int = 0
    match: int = 0
    next: str | None = None      # None: the row behind
    otherwise: str | None = None
    priority: str | None = None
    text: str = ""               # what it does here, for a person
    held: tuple[Held, ...] = ()
    call: str = ""               # the call that it is a part of, or the TD exit ...
    flow: str = ""               # ... or the flow around the calls
    labels: list[str] = field(default_factory=list)

    @property
    def place(self) -> str:
        """The call or the flow that it is a part of, for a person."""
        return self.call or self.flow or "start"


class Listing:
    """A program in the making."""

    def __init__(self, counters: Mapping[str, str] = COUNTERS, spans: Mapping[str, str] = SPANS):
        """counters, spans: the tables in which what the program counts and times is declared."""
        self.declared_counters, self.declared_spans = counters, spans
        self.rows: list[Row] = []
        self.held: tuple[Held, ...] = ()
        self.call = self.flow = ""
        self.calls: list[str] = []
        self.answers: list[Answer] = [SUCCESS]
        self.counters: list[str] = []
        self.spans: list[str] = []
        self.costs: list[str] = []
        self.choices: list[str] = []
        self._labels: set[str] = set()
        self._pending: list[str] = []
        self._aside: list = []
        self._names = 0
        self.label(HALT)
        self.row(Op.HALT, text="the module has shut itself down")

    # --- rows ---

    def label(self, name: str) -> str:
        """Name the next row."""
        if name in self._labels:
            raise AssemblyError(f"label {name!r} is defined twice")
        self._labels.add(name)
        self._pending.append(name)
        return name

    def fresh(self, stem: str) -> str:
        """A label name that is not in use yet."""
        self._names += 1
        return f"{stem}.{self._names}"

    def row(self, op: Op, **fields) -> None:
        """Add one micro-op; see Row for the fields.  INDEX shifts by nothing unless it says so: by 64 is undefined."""
        if op == Op.INDEX:
            fields.setdefault("width", 0)
        self.rows.append(Row(op, held=self.held, call=self.call, flow=self.flow, labels=self._pending, **fields))
        self._pending = []

    def jump(self, target: str) -> None:
        """Make the row just written go on at `target`."""
        last = self.rows[-1] if self.rows else None
        if last is None or self._pending or last.next is not None or not OP_TABLE[last.op].outcomes:
            self.row(Op.LET, next=target)
        else:
            last.next = target

    @contextmanager
    def aside(self, label: str):
        """Write rows that begin at `label` and come out behind the code in progress.

        What is held there is what is held here.
        """
        rows, pending, held = self.rows, self._pending, self.held
        self.rows, self._pending = [], []
        self.label(label)
        yield
        if self._pending:
            raise AssemblyError(f"label {self._pending} at the end of {label!r} names no row")
        self._aside.append(self.rows)
        self.rows, self._pending, self.held = rows, pending, held

    def flush(self) -> None:
        """Bring out what was written aside; the row before must not run on into it."""
        while self._aside:
            self.rows.extend(self._aside.pop(0))

    # --- where rows are written, and what is held there ---

    @contextmanager
    def within(self, call: str = "", flow: str = ""):
        """Rows written inside are a part of a call, or of a flow."""
        outer = self.call, self.flow
        self.call, self.flow = call, flow
        yield
        self.call, self.flow = outer

    def hold(self, held: Held) -> None:
        self.held += (held,)

    def release(self, resource: str) -> None:
        kept = tuple(held for held in self.held if held.resource != resource)
        if kept == self.held:
            raise AssemblyError(f"{resource} is released but not held")
        self.held = kept

    # --- names that become numbers ---

    @staticmethod
    def _number(names: list, name) -> int:
        if name not in names:
            names.append(name)
        return names.index(name)

    def call_number(self, name: str) -> int:
        return self._number(self.calls, name)

    def answer(self, status: int, kind: AnswerKind = AnswerKind.OTHER, **fields) -> None:
        """The call in progress will end with this status."""
        answer = Answer(unsigned(status), kind)
        self.row(Op.ANSWER, value=status, mask=self._number(self.answers, answer), text=answer.name,
                 **fields)

    def count(self, name: str, **fields) -> None:
        self.row(Op.COUNT, value=self._counter(name), text=name, **fields)

    def count_in(self, name: str, op: Op, **fields) -> None:
        """A row with which the driver adds what it finds to a counter."""
        self.row(op, value=self._counter(name), **fields)

    def _counter(self, name: str) -> int:
        return self._number(self.counters, declared(self.declared_counters, name, "counter"))

    def _span(self, name: str) -> int:
        return self._number(self.spans, declared(self.declared_spans, name, "span"))

    def begin(self, span: str, **fields) -> None:
        self.row(Op.BEGIN, value=self._span(span), text=span, **fields)

    def end(self, span: str, **fields) -> None:
        self.row(Op.END, value=self._span(span), text=span, **fields)

    def overdue(self, register: R, span: str, cost: str, **fields) -> None:
        self.row(Op.OVERDUE, register=register, value=self._span(span),
                 mask=self._number(self.costs, cost), text=f"{span} for {cost}", **fields)

    def arrive(self, span: str, interval: str, otherwise: str, idle: bool = False, ends: str = "") -> None:
        """Wait for the next arrival of an open loop: at `otherwise` while it is not yet there.

        span       begins at the intended time
        interval   the cost that is the mean time between arrivals
        ends       a span of the last arrival that is over by then
        """
        self.row(Op.ARRIVE, value=self._span(span), mask=self._number(self.costs, interval),
                 match=self._span(ends) + 1 if ends else 0, width=int(idle),
                 otherwise=otherwise, text=span)

    def begin_with(self, span: str, other: str, **fields) -> None:
        """A span that began when another did."""
        self.row(Op.BEGIN, value=self._span(span), mask=self._span(other) + 1,
                 text=span, **fields)

    def spend(self, cost: str, idle: bool = False, **fields) -> None:
        self.row(Op.SPEND, value=self._number(self.costs, cost), width=int(idle), text=cost, **fields)

    def choose(self, register: R, choice: str, **fields) -> None:
        self.row(Op.CHOOSE, register=register, value=self._number(self.choices, choice),
                 text=choice, **fields)

    # --- linking ---

    def program(self) -> "Program":
        """Everything written so far, with targets as row numbers."""
        self.flush()
        if self._pending:
            raise AssemblyError(f"label {self._pending[0]!r} at the end names no row")
        where = {name: number for number, row in enumerate(self.rows) for name in row.labels}
        table = _aligned_rows(len(self.rows))
        linked = [_link(number, row, where, len(self.rows)) for number, row in enumerate(self.rows)]
        for name, column in zip(ROW.names, zip(*linked)):
            table[name] = column
        return Program(
            rows=table, listing=tuple(self.rows), labels=where,
            calls=tuple(self.calls), answers=tuple(self.answers), counters=tuple(self.counters),
            spans=tuple(self.spans), costs=tuple(self.costs), choices=tuple(self.choices),
        )


def _aligned_rows(count: int) -> np.ndarray:
    """Zeroed rows, each in a cache line of its own."""
    raw = np.zeros((count + 1) * ROW.itemsize, np.uint8)
    start = -raw.ctypes.data % ROW.itemsize
    return raw[start:start + count * ROW.itemsize].view(ROW)


def _link(number, row, where, rows_count) -> tuple:
    """The fields of a row, in the order of kernels.ops.ROW."""
    def target(name):
        if name not in where:
            raise AssemblyError(f"row {number} ({row.op.name}): no label {name!r}")
        return where[name]

    info = OP_TABLE[row.op]
    outcomes = info.outcomes
    if outcomes < 2 and (row.otherwise is not None or row.priority is not None) or row.priority and outcomes < 3:
        raise AssemblyError(f"row {number} ({row.op.name}): a target for an outcome it does not have")
    if outcomes == 3 and row.priority is None:
        raise AssemblyError(f"row {number} ({row.op.name}): no target for `priority`")
    if outcomes >= 2 and row.otherwise is None and row.mask != info.passes:
        raise AssemblyError(f"row {number} ({row.op.name}): no target for `otherwise`")
    if row.next is None and outcomes and number + 1 == rows_count:
        raise AssemblyError(f"row {number} ({row.op.name}) runs off the end")

    following = target(row.next) if row.next else number + 1 if outcomes else number
    return (row.op, row.base, row.width, following == number + 1, row.register, row.source, following,
            target(row.otherwise) if row.otherwise else 0, target(row.priority) if row.priority else 0, row.offset,
            target(row.value) if isinstance(row.value, str) else signed(row.value), signed(row.mask), signed(row.match))


@dataclass(frozen=True, eq=False)        # compared by identity, so that results derived from a program can be cached
class Program:
    """Rows that `step` executes, with the names of everything in them.

    rows      (R,) of kernels.ops.ROW
    listing   the same rows as they were written, for explanations and post-mortems
    labels    row number of each label
    calls, answers, counters, spans, costs, choices: the names that row values are indices of
    """

    rows: np.ndarray
    listing: tuple[Row, ...]
    labels: dict[str, int]
    calls: tuple[str, ...]
    answers: tuple[Answer, ...]
    counters: tuple[str, ...]
    spans: tuple[str, ...]
    costs: tuple[str, ...]
    choices: tuple[str, ...]

    def call_number(self, row: Row) -> int:
        """The number of the call that a row is a part of; their count for rows of flows and of the TD exit."""
        return self.calls.index(row.call) if row.call in self.calls else len(self.calls)
