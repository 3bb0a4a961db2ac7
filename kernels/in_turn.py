"""The driver of calibration: actors take turns, so that what a processor needs for their rows can be timed.

Rows are executed by `step` and marks.interpreter, as by the driver of real processes, in the order in which calls and
flows have them.  One actor goes on until it has to wait or has nothing in progress (POLL, YIELD); then the next has its
turn.  Nobody is ever met, so the same plan executes the same rows in every repetition.  Costs that a config spends take
no time here: only rows do.

`counted` executes the same turns and counts rows instead.
"""

import numpy as np

from kernels import atomics, dice as dices, marks, realtime
from kernels.compiling import kernel
from kernels.dice import Dice
from kernels.machine import BLOCKED, CONTINUE, step
from kernels.marks import MEASURED
from kernels.ops import Op, Register

DONE, ENDED = 0, 1               # how it came to its end: all turns are over; an actor met what has no place here

interpret = marks.interpreter(realtime.clock, dices.draw, marks.by_the_clock)


def driver(note):
    """The driver that calls note(counts[block], row) before each row."""
    @kernel(entry=True)
    def run(rows, files, base, records, at, answer_kinds, dice, keys, block, stamps, counts):
        """Execute `block` turns for each element of `stamps`, from each actor's Register.PC on.

        rows, base, at, answer_kinds, dice    as for realtime.run
        files, records, keys    of each actor: int64 (actors, REGISTERS) registers; addresses of records; random keys
        block, stamps           turns between two of the times, int64, that are put into stamps
        counts                  for `note`
        Returns DONE or ENDED.  Changed in place: registers, memory, records, stamps, counts.
        """
        count = len(files)
        for turn in range(block * len(stamps)):
            if turn % block == 0:
                stamps[turn // block] = atomics.ticks()
            actor = turn % count
            registers, half = files[actor], records[actor]
            drawn = Dice(keys[actor], dice.choices, dice.thresholds, dice.aliases, dice.ticks, dice.logarithms)
            pc = np.uint32(registers[Register.PC])
            while True:
                here = pc
                note(counts[turn // block], rows[here])
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
        return DONE

    return run


@kernel
def nothing(counts, row):
    pass


@kernel
def count(counts, row):
    """Count a row by its op."""
    counts[row.op] += 1


timed, counted = driver(nothing), driver(count)
