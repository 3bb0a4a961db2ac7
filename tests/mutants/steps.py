"""Mutants of micro-ops: every row that a call is assembled to, changed in one way; so of the phrases, wherever they are.

    left out; behind the one that follows it; its test always passed, or never
    its constant one more or less; a bit of its mask less, or more; another match
    another word (8 bytes on), another width, another register

Rows that are the same in two levels or releases are changed once, in the first release in which it can show.  Not
touched: marks for a driver (counters, spans, where the module has halted).  What nothing can show is made with its
reason, and not tried: class Shown.
"""

from dataclasses import replace
from typing import Iterator, NamedTuple

import tests.stage as stage
from harness.protocol.assemble import Listing, Program, Row
from harness.protocol.liveness import live_registers, successors
from harness.protocol.releases import BY_NAME
from harness.protocol.seamcalls import seamcalls
from kernels.ops import OP_TABLE, Kind, Op, Register as R
from kernels.words import TDCS_PAGES
from tests.mutants.rows import HELD
from tests.mutants.values import Values

UNTOUCHED = {Op.CALL_BEGIN, Op.CALL_END, Op.COUNT, Op.BEGIN, Op.END, Op.SPEND, Op.OVERDUE, Op.HALT, Op.STOP}
READ_VALUE = {Op.STORE, Op.EXCHANGE, Op.SWAP, Op.ADD, Op.OR, Op.AND, Op.ENTRY_REPLACE, Op.WALK, Op.ZERO_PAGE, Op.LET,
              Op.MERGE, Op.ANSWER, Op.TLB_FORGET}
READ_SOURCE = {Op.STORE, Op.EXCHANGE, Op.SWAP, Op.ADD, Op.ENTRY_REPLACE, Op.LET, Op.MERGE, Op.INDEX, Op.TEST, Op.STATE,
               Op.IN, Op.EPOCH_TRACKED}
SETS = (Op.IN, Op.LOAD_IN, Op.READ_ENTRY)                 # their mask is a set of values
TD_EXIT = "td_exit"


class StepMutant(NamedTuple):
    """A change of one row of a call: the `place`-th behind the label at which the call is entered."""

    release: str
    call: str
    label: str
    place: int
    said: str
    what: str
    unseen: str = ""             # why nothing can show it

    @property
    def name(self) -> str:
        level = self.label.removeprefix(self.call)
        return f"steps {self.release} {self.call}{level}: {self.place} {self.said}: {self.what}"

    def edit(self, listing: Listing) -> None:
        """Changes the row; a listing that has another one there, as other options have, stays as it is."""
        rows = listing.rows
        place = next(number for number, row in enumerate(rows) if self.label in row.labels) + self.place
        change = dict(_changes(rows, place)).get(self.what) if _said(rows[place]) == self.said else None
        if change:
            change(rows)


def mutants(releases: tuple[str, ...]) -> Iterator[StepMutant]:
    """Those that can be seen, and behind them the others, with `unseen`."""
    unseen: dict[tuple, StepMutant] = {}
    seen = set()
    for release in releases:
        lowest = {row.name: min(row.levels) for row in seamcalls(BY_NAME[release])}
        for call in [*(row.name for row in seamcalls(BY_NAME[release]) if row.name in HELD), TD_EXIT]:
            listing = listing_of(release, call)
            rows, shown = listing.rows, Shown(listing.program(), release, call, lowest.get(call, 0))
            first, last = span(rows, call)
            label, entered = "", first
            for place in range(first, last):
                row = rows[place]
                for each in row.labels:
                    if each == call or each.startswith(f"{call}.level"):
                        label, entered = each, place
                if row.op in UNTOUCHED or row.register == R.HALTED_AT:
                    continue
                signature = (call, row.op, row.base, row.offset, row.width, row.register, row.source, row.value, row.mask,
                             row.match, row.text, bool(row.next), bool(row.otherwise))
                if isinstance(row.value, str):
                    signature = signature[:7] + signature[8:]
                signature += tuple((neighbour.op, neighbour.text) for neighbour in rows[place + 1:place + 2])
                for what, _ in _changes(rows, place):
                    key = *signature, what
                    mutant = StepMutant(release, call, label, place - entered, _said(row), what, shown.never(place, row, what))
                    if mutant.unseen:
                        unseen[key] = mutant
                    elif key not in seen:
                        seen.add(key)
                        yield mutant
    yield from (mutant for key, mutant in unseen.items() if key not in seen)


class Shown:
    """Why a change of a row cannot show, by where a program goes, which registers it reads and which values they have."""

    def __init__(self, program: Program, release: str, call: str, lowest: int):
        """lowest: of the levels at which the call can be made"""
        self.rows, self.live, self.lowest = program.rows, live_registers(program), lowest
        self.values = Values(program, release, call)

    def never(self, place: int, row: Row, what: str) -> str:
        """The reason; "" if it may show."""
        if place not in self.values.before:
            return "no call gets to the row"
        if row.op == Op.WALK and (row.value < self.lowest or row.value == self.lowest and "its test" in what):
            return "the lowest step of a walk always ends it"
        if row.op == Op.TEST and row.mask == -1 and what == "mask without its highest bit":
            return "bit 63 of a number that is counted"
        bit = changed_bit(row, what)
        if bit is not None and (bit >= 64 or row.op in SETS and not self.values.asked(place) >> bit & 1):
            return "no word or register has that value there"
        if row.op == Op.IN and row.text == "enough" and bit == TDCS_PAGES:
            return "with so many pages the TD is ready, and the row is not asked"
        if bit is not None and row.op in (Op.MERGE, Op.INDEX, Op.ENTRY_REPLACE) \
                and (bit >= ADDRESS_BITS or row.op == Op.MERGE and bit == GUEST_BITS):
            return "no memory of the model lies so high"
        if row.op == Op.LOAD and row.width == 8 and bit == 7:
            return "the numbers in a byte are small"
        if what == "another register" or what == "left out" and row.op in (Op.LET, Op.INDEX, Op.MERGE, Op.STATE) and not row.next:
            behind = [self.live[target] for target in successors(self.rows[place], self.rows)]
            if row.register < 64 and not any(int(live) >> row.register & 1 for live in behind):
                return "nothing reads the register any more"
        return ""


def changed_bit(row: Row, what: str) -> int | None:
    """The bit of a row's mask that a change is about."""
    mask = row.mask & (1 << _width(row)) - 1
    if what.startswith("mask with bit "):
        return int(what.split()[3])
    return {"mask without its lowest bit": (mask & -mask).bit_length() - 1, "mask without its highest bit": mask.bit_length() - 1,
            "mask with a higher bit": mask.bit_length()}.get(what)


# Addresses lie below this bit (harness.memory.layout); 1 GiB is the most that a guest of a stage has.
ADDRESS_BITS, GUEST_BITS = 52, 30


def span(rows: list[Row], call: str) -> tuple[int, int]:
    """Where the rows of a call lie in a listing: TD exits are written last."""
    exit_at = next(place for place, row in enumerate(rows) if TD_EXIT in row.labels)
    return (exit_at, len(rows)) if call == TD_EXIT else (1, exit_at)


def needed(call: str) -> tuple[str, ...]:
    """The calls that a program must have to ask about one."""
    return ("tdh_vp_enter",) if call == TD_EXIT else (call,)


def listing_of(release: str, call: str) -> Listing:
    """The calls as tests/stage.py writes them, not linked."""
    kept = {}
    only, edit = stage.ONLY, stage.EDIT
    stage.ONLY, stage.EDIT = needed(call), lambda listing, _: kept.update(listing=listing)
    try:
        stage.stage_program.cache_clear()
        stage.Stage(release=release)
    finally:
        stage.ONLY, stage.EDIT = only, edit
        stage.stage_program.cache_clear()
    return kept["listing"]


def _said(row: Row) -> str:
    parts = [row.op.name, row.text]
    return " ".join(part for part in parts if part)


def _changes(rows: list[Row], place: int):
    """(what, function on the rows) for each change of a row."""
    row, info = rows[place], OP_TABLE[rows[place].op]

    def put(**fields):
        def change(all_rows):
            all_rows[place] = replace(all_rows[place], **fields)
        return change

    if info.outcomes:
        yield "left out", put(op=Op.LET, register=R.SINK, source=R.ZERO, base=R.ZERO, offset=0, width=64, value=0, mask=0,
                              match=0, otherwise=None, priority=None)
    follower = rows[place + 1] if place + 1 < len(rows) else None
    if follower and row.next is None and info.outcomes and _can_change_places(row, follower):
        yield "behind the next", _swap(place)
    if row.otherwise and row.op != Op.CALL:
        yield "its test always passed", _always_passed(place)
        if row.next is None or row.next != row.otherwise:
            yield "its test never passed", put(next=row.otherwise)
    computes = row.op in (Op.LET, Op.MERGE, Op.INDEX)
    if computes and row.register == R.SINK:
        return                                           # a jump
    if row.op in READ_VALUE and not isinstance(row.value, str):
        yield "value + 1", put(value=row.value + 1)
        if row.value:
            yield "value = 0", put(value=0)
    if row.mask and row.op != Op.ANSWER:
        mask = row.mask & (1 << _width(row)) - 1
        yield "mask without its lowest bit", put(mask=mask & mask - 1)
        yield "mask without its highest bit", put(mask=mask & ~(1 << mask.bit_length() - 1))
        if row.op in SETS and row.mask != -1:
            ends = (mask & -mask).bit_length() - 1, mask.bit_length() - 1
            for bit in range(16):
                if bit not in ends:
                    yield f"mask with bit {bit} changed", put(mask=mask ^ 1 << bit)
        elif mask.bit_length() < _width(row):
            yield "mask with a higher bit", put(mask=mask | 1 << mask.bit_length())
    if row.op in (Op.LOAD, Op.TEST, Op.EXCHANGE, Op.WAIT_IS, Op.WAIT_NOT) and row.mask or row.op == Op.INDEX:
        yield "match + 1", put(match=row.match + 1)
    if info.kind == Kind.SHARED or row.op in (Op.INDEX, Op.TLB_FORGET, Op.STEPPING_ENTER, Op.STEPPING_LISTED):
        yield "8 bytes on", put(offset=row.offset + 8)
        if row.op in (Op.LOAD, Op.STORE, Op.LOAD_IN, Op.SWAP, Op.ADD):
            yield "another width", put(width={8: 64, 16: 64, 32: 64, 64: 32 if row.op in (Op.SWAP,) else 16}[row.width])
    if row.op == Op.INDEX:
        yield "shifted by one more", put(width=row.width + 1)
    if row.register not in (R.SINK, R.PC):
        yield "another register", put(register=R.SINK)
    if row.op in READ_SOURCE and row.source != R.ZERO:
        yield "source 0", put(source=R.ZERO)


def _width(row: Row) -> int:
    """How many bits of a word a mask is about."""
    return row.width if row.op in (Op.LOAD, Op.EXCHANGE) else 64


def _can_change_places(first: Row, second: Row) -> bool:
    """Whether the second row stands behind the first only, and it makes a difference which comes first."""
    if second.labels or second.op in UNTOUCHED or not OP_TABLE[second.op].outcomes:
        return False
    both_shared = OP_TABLE[first.op].kind == OP_TABLE[second.op].kind == Kind.SHARED
    tests = first.otherwise or second.otherwise
    depends = _written(first) & (_read(second) | _written(second)) or _read(first) & _written(second)
    return both_shared or bool(tests) or bool(depends)


def _written(row: Row) -> set:
    if row.op == Op.WALK:
        return {R.COPY, R.WALK}
    if row.op == Op.READ_ENTRY:
        return {R.COPY, R.STATE}
    if row.op == Op.ANSWER:
        return {R.STATUS, R.ANSWER}
    writes = row.op in (Op.LOAD, Op.LOAD_IN, Op.EXCHANGE, Op.SWAP, Op.ADD, Op.OR, Op.AND, Op.ENTRY_REPLACE, Op.LET, Op.MERGE,
                        Op.INDEX, Op.STATE, Op.STEPPING_LISTED)
    return {row.register} - {R.SINK} if writes else set()


def _read(row: Row) -> set:
    found = {row.source, row.base}
    if row.op in (Op.TEST, Op.SWAP, Op.GO, Op.EPOCH_PREVIOUS, Op.EPOCH_TRACKED):
        found.add(row.register)
    return found - {R.ZERO}


def _swap(place: int):
    def change(rows):
        first, second = rows[place], rows[place + 1]
        rows[place] = replace(second, labels=first.labels)
        rows[place + 1] = replace(first, labels=second.labels)
    return change


def _always_passed(place: int):
    """`otherwise` (and `priority` stays) leads where `next` leads."""
    def change(rows):
        row = rows[place]
        target = row.next
        if target is None:
            target = f"mutant.{place}"
            rows[place + 1] = replace(rows[place + 1], labels=[*rows[place + 1].labels, target])
        rows[place] = replace(row, otherwise=target)
    return change
