"""Cells as in cells.py, with the clock read before and behind each row: for a trace, never for a histogram.

What is noted goes to the process's record (record.py, its log): each access of the file's own lines, each call of the
module with its answer, each span of KVM's flows, and each run.  An access is logged like a span, numbered from
`first_access` down by its row; in place of an answer it has the word in the row's register, which is what a load has read.
"""

from typing import NamedTuple

import numpy as np

from kernels import atomics, cells, marks, record
from kernels.compiling import kernel
from kernels.record import WORD


class Notes(NamedTuple):
    """Where a process notes what it does.

    own           address of its record; at: record.Tables, with room for all but whole runs; whole: with room for those too
    answer_kinds  int64 (answers,): AnswerKind
    accesses      bool (rows,): the rows that are logged
    run           the number of the span that is a whole run
    spans         how many spans there are
    """

    own: int
    at: record.Tables
    whole: record.Tables
    answer_kinds: np.ndarray
    accesses: np.ndarray
    run: int
    spans: int


@kernel
def _clock(now):
    return atomics.ticks()


@kernel
def _not_here(dice, row, registers):
    return 0


@kernel
def _never(dice, row, own, at, now):
    return 0


_interpret = marks.interpreter(_clock, _not_here, _never)    # walker() decides what those two would


@kernel
def _begun(to):
    return atomics.ticks()


@kernel
def _access(to, here, row, registers, began):
    if to.accesses[here]:
        record.log(to.own, to.at, began, atomics.ticks(), -1 - to.spans - here, registers[row.register])


@kernel
def _mark(to, row, signal, registers):
    _interpret(row, signal, registers, to.own, to.own + WORD * to.at.half, to.at, to.answer_kinds, 0, 0)


_one = cells.walker(_begun, _access, _mark)


@kernel(entry=True)
def batch(rows, start, registers, script, block, cells_at, stride, count, processes, ended, random, spread, limit_ns, notes):
    """As cells.batch; `notes`: Notes."""
    for cell in range(count):
        for number in range(start.size):
            registers[number] = start[number]
        for span in range(notes.spans):          # of a run that did not end
            atomics.store64(notes.own + WORD * (notes.at.span_start + span), 0)
        if not cells.together(block, processes, cell):
            break
        random = cells.mix(random)
        for _ in range(random >> 20 & spread):
            atomics.pause()
        record.begin_span(notes.own, notes.whole, notes.run, atomics.ticks())
        ended[cell] = _one(rows, registers, block + cells_at + cell * stride, script, random, limit_ns, block + cells.STOPPED, notes)
        record.end_span(notes.own, notes.own + WORD * notes.at.half, notes.whole, notes.run, atomics.ticks())
        if ended[cell] != cells.DONE:            # one is enough to be seen
            atomics.store64(block + cells.STOPPED, 1)
    atomics.fetch_add64(block + cells.FINISHED, 1)
    return random
