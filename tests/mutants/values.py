"""Which values a register can have at a row, so which bits of a set no program can show.

A row asks whether a state is one of a set (IN, LOAD_IN, READ_ENTRY).  A word holds what the rows of the release write
there; a register holds, behind such a row, what that row has let through.  A bit for any other value is never looked at.
"""

import functools

import tests.stage as stage
from harness.protocol.assemble import Program, Row
from harness.protocol.liveness import successors
from kernels.ops import OP_TABLE, Op, Register as R, registers_of
from kernels.words import ENTRY_STATES, PT_RSVD, TDCS_PAGES_MAX, TDVPS_PAGES_MAX
from tests.protocol.test_fields import FIND_IT

TYPE = ("type of a page",)       # which no page with a pair of PAMT pages has here: no mutant has Dynamic PAMT
ANY = (1 << 64) - 1
# What is only ever added to, up to these numbers, by the text of the rows.
COUNTS = {"num_tdcx": TDCS_PAGES_MAX, "TDCX pages": TDVPS_PAGES_MAX - 1}
STATES = sum(1 << state.index for state in ENTRY_STATES)
LEAVES = sum(1 << state.index for state in ENTRY_STATES if not state.name.startswith("NL_"))
LEVELS = {R.ENTRY_PT: 0, R.ENTRY_PD: 1, R.ENTRY_PDPT: 2}

Known = dict[int, int]           # by register the set of its values; one that is not named may have any


@functools.cache
def written(release: str) -> dict[tuple, int]:
    """By (base, offset, width) of a word of the TD, and by TYPE: the constants that some call of the release writes there."""
    only, edit = stage.ONLY, stage.EDIT
    stage.ONLY, stage.EDIT = (), None
    stage.stage_program.cache_clear()
    try:
        rows = stage.Stage(release=release).program.listing
    finally:
        stage.ONLY, stage.EDIT = only, edit
        stage.stage_program.cache_clear()
    found: dict[tuple, int] = {TYPE: 1 << PT_RSVD}
    for row in rows:
        if row.op == Op.STORE and row.source == R.ZERO and 0 <= row.value < 64 and (word := _word(row)):
            found[word] = found.get(word, 0) | 1 << row.value
    return found


def _word(row: Row) -> tuple:
    """Of a row of a listing: which word it is about; () of one that is neither a TD's nor the type of a page."""
    if row.text.startswith("type of"):
        return TYPE
    return (int(row.base), row.offset, row.width) if row.base == R.TD else ()


class Values:
    """Of a program with one call."""

    def __init__(self, program: Program, release: str, call: str):
        self.program, self.words, self.call = program, written(release), call
        self.before: dict[int, Known] = {}
        waiting: list[tuple[int, Known]] = [(place, {}) for name, place in program.labels.items() if name.startswith("stage.")]
        while waiting:
            place, known = waiting.pop()
            if place in self.before:
                known = _either(self.before[place], known)
                if known == self.before[place]:
                    continue
            self.before[place] = known
            waiting += self._behind(place, known)

    def asked(self, place: int) -> int:
        """The set of the values about which a row with a set can be asked: 0 where no call gets there."""
        if place not in self.before:
            return 0
        row = self.program.rows[place]
        op = row["op"]
        if op == Op.IN:
            return self.before[place].get(int(row["source"]), ANY)
        if op == Op.READ_ENTRY:
            return self._states(place)
        count = COUNTS.get(self.program.listing[place].text)
        return self.words.get(_word(self.program.listing[place]), ANY) if count is None else (1 << count + 1) - 1

    def _states(self, place: int) -> int:
        """An entry of level 0 maps a page of data or none."""
        base = int(self.program.rows[place]["base"])
        level = self._level(place) if base == R.ENTRY and self.call not in FIND_IT else LEVELS.get(base, 2)
        return STATES if level else LEAVES

    def _level(self, place: int) -> int:
        """At which the call is made, by the label at which its rows begin."""
        labels = self.program.labels
        begun = [(labels[name], level) for level in range(3) for name in (f"{self.call}.level{level}", self.call * (level == 0))
                 if name in labels]
        return max((each for each in begun if each[0] <= place), default=(0, 2))[1]

    def _behind(self, place: int, known: Known) -> list[tuple[int, Known]]:
        row = self.program.rows[place]
        op, info = Op(row["op"]), OP_TABLE[row["op"]]
        targets = successors(row, self.program.rows)
        after = {register: values for register, values in known.items()
                 if register not in registers_of(row, (*info.writes, *info.may_write))}
        if op in (Op.IN, Op.LOAD_IN, Op.READ_ENTRY):
            register = {Op.IN: int(row["source"]), Op.LOAD_IN: int(row["register"]), Op.READ_ENTRY: int(R.STATE)}[op]
            asked, mask = self.asked(place), int(row["mask"]) & ANY
            ways = ((int(row["next"]), asked & mask), (int(row["otherwise"]), asked & ~mask))
            return [(target, after if register == R.SINK else after | {register: values}) for target, values in ways if values]
        if op == Op.STATE:
            after[int(row["register"])] = STATES
        if op == Op.LET and row["source"] == R.ZERO and 0 <= row["value"] < 64:
            after[int(row["register"])] = 1 << int(row["value"])
        return [(target, after) for target in targets]


def _either(first: Known, second: Known) -> Known:
    return {register: values | second[register] for register, values in first.items() if register in second}
