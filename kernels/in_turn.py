"""The driver of calibration: actors take turns, so that what a processor needs for their rows can be timed.

Rows are executed by `step` and marks.interpreter, as by the driver of real processes, in the order in which calls and
flows have them.  One actor goes on until it has to wait or has nothing in progress (POLL, YIELD); then the next has its
turn.  Nobody is ever met, so the same plan executes the same rows in every repetition.  Costs that a config spends take
no time here: only rows do.

All actors may take their turns on one processor, or each on its own: then whoever has had its turn hands a word over,
and finds in its next one that the lines it reaches for are at the other processor.

`counted` executes the same turns and counts rows and what would have to be transferred (kernels/lines.py) instead.
"""

import numpy as np

from kernels import atomics, dice as dices, lines, marks, realtime
from kernels.compiling import kernel
from kernels.dice import Dice
from kernels.machine import BLOCKED, CONTINUE, step
from kernels.marks import MEASURED
from kernels.ops import Op, Register
from kernels.simulated import PRICED, WRITES

DONE, ENDED = 0, 1               # how it came to its end: all turns are over; an actor met what has no place here
EVERYBODY = -1                   # `mine` of a processor that executes all actors

interpret = marks.interpreter(realtime.clock, dices.draw, marks.by_the_clock)


def driver(note):
    """The driver that calls note(counts[block], table, tags, row, pc, registers, actor) before each row."""
    @kernel(entry=True)
    def run(rows, files, base, records, at, answer_kinds, dice, keys, token, mine, block, stamps, counts, table, tags):
        """Execute `block` turns for each element of `stamps`, from each actor's Register.PC on.

        rows, base, at, answer_kinds, dice    as for realtime.run
        files, records, keys    of each actor: int64 (actors, REGISTERS) registers; addresses of records; random keys
        token                   address of the word with the number of the turn that may begin
        mine                    which actor's turns are executed here; EVERYBODY: all of them
        block, stamps           turns between two of the times, int64, that are put into stamps
        counts, table, tags     for `note`
        Returns DONE or ENDED.  Changed in place: registers, memory, records, stamps, counts, table.
        """
        count = len(files)
        for turn in range(block * len(stamps)):
            if turn % block == 0:
                stamps[turn // block] = atomics.ticks()
            actor = turn % count
            if mine != EVERYBODY:
                if actor != mine:
                    continue
                while atomics.load64(token) != turn:
                    atomics.pause()
            registers, half = files[actor], records[actor]
            drawn = Dice(keys[actor], dice.choices, dice.thresholds, dice.aliases, dice.ticks, dice.logarithms)
            pc = np.uint32(registers[Register.PC])
            while True:
                here = pc
                note(counts[turn // block], table, tags, rows[here], here, registers, actor)
                pc, signal = step(rows, here, registers, base)
                registers[Register.PC] = pc
                if signal == CONTINUE or signal == Op.SPEND:
                    continue
                if signal == BLOCKED or signal == Op.YIELD:
                    break
                if signal == Op.POLL:
                    half = marks.poll(registers, records[actor], half, records[actor], at, MEASURED)
                    break
                if not interpret(rows[here], signal, registers, records[actor], half, at, answer_kinds, 0, drawn):
                    return ENDED
            if mine != EVERYBODY:
                atomics.store64(token, turn + 1)
        return DONE

    return run


@kernel
def nothing(counts, table, tags, row, pc, registers, actor):
    pass


@kernel
def count(counts, table, tags, row, pc, registers, actor):
    """Count a row by its op; behind the ops, how many lines are transferred, a tick each, to whoever is alone at it."""
    counts[row.op] += 1
    if tags[pc] & PRICED:
        line = ((registers[row.base] + row.offset) >> lines.LINE_SHIFT) * lines.STRIDE
        counts[len(counts) - 1] += lines.reach(table, line, actor, tags[pc] & WRITES != 0, 0)
        table.words[line + lines.READY] = 0              # no transfer of before is still under way


timed, counted = driver(nothing), driver(count)
