"""Random words for each micro-op to be run on, and what the compiled one makes of them."""

import functools
import random
from typing import NamedTuple

import numpy as np

from harness.memory.layout import TLB_ENTRIES
from kernels.guest import PAGE_MASK
from kernels.machine import step_once
from kernels.ops import (
    OP_TABLE, REGISTERS, ROW, STEPPING, TRANSLATION, Access, Kind, Op,
    OpInfo, Register as R,
)
from kernels.stepping import EPF_COUNT, EPF_LENGTH
from kernels.words import (
    ENTRY_STATES, PS, RWX, TDEL, TDHP, signed,
)
from kernels.rwlock import READER, WAITING, WRITER

SAMPLES = 60                     # random words that each op is run on
ARENA, SLACK = 1 << 12, 1 << 12  # bytes: places for words, and what lies behind the last of them
LISTED_MAX = 40                  # the list of GPAs has 32 places
PC, NEXT, OTHERWISE, PRIORITY, ELSEWHERE = 1, 2, 3, 4, 5         # rows of the table that a sample runs in

STEPPED = [info for info in OP_TABLE if info.kind != Kind.DRIVER]
NAMES = [info.op.name for info in STEPPED]
DATA = set(range(REGISTERS)) - {int(R.PC), int(R.LOST_SWAPS)}      # registers that hold data of a program

WORDS = [
    0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 0xFF, 0x100, 0xFFFF, 0xFFFE, 0xFFFD, -1, -2, 1 << 16, 1 << 32,
    (5 << 32) + 1, (5 << 32) + (1 << 16), (6 << 32), TDEL, TDHP, TDEL | TDHP, RWX, RWX | PS,
    *(state.word(0x1234000) for state in ENTRY_STATES), *(state.word(0x1234000, lock=True) for state in ENTRY_STATES),
]


class Sample(NamedTuple):
    """An input of one micro-op."""

    rows: np.ndarray
    registers: np.ndarray
    memory: np.ndarray

    @property
    def row(self):
        return self.rows[PC]

    @property
    def address(self) -> int:
        return int(self.registers[self.row["base"]] + self.row["offset"])


class Outcome(NamedTuple):
    """What came of it."""

    pc: int
    signal: int
    registers: np.ndarray
    memory: np.ndarray


def word(source) -> int:
    return signed(source.choice(WORDS) if source.random() < 0.7 else source.getrandbits(source.choice((4, 16, 33, 64))))


def place(source) -> int:
    """A word of the arena, in bytes."""
    return 8 * source.randrange(8, ARENA // 8)


POOL = np.array([word(random.Random(number)) for number in range(4096)], np.int64)
IN = int(Op.IN)


@functools.cache
def samples(op: Op) -> list[Sample]:
    source = random.Random(int(op))
    return [sample(source, OP_TABLE[op]) for _ in range(SAMPLES)]


def sample(source, info: OpInfo) -> Sample:
    op = info.op
    registers = np.array([word(source) for _ in range(REGISTERS)], np.int64)
    names = source.sample([number for number in range(R.PAGE, 64) if number not in (R.LEVEL, R.INDEX)], 3)
    if source.random() < 0.2:
        names[1] = names[2]              # the same register twice
    base, register, source_register = names
    mask = source.choice((0, -1, 1, 0xFF, TDEL, RWX, word(source)))
    if info.passes is not None and source.random() < 0.5:
        mask = info.passes
    match = source.choice((0, mask, word(source) & mask))
    if op == Op.INDEX:
        match = source.choice((1, 8, 64))
    rows = np.zeros(8, ROW)
    width = {Op.LOAD: (8, 16, 32, 64), Op.LOAD_IN: (8, 16, 32, 64), Op.STORE: (8, 16, 32, 64), Op.SWAP: (8, 16, 32, 64),
             Op.EXCHANGE: (8, 16, 32, 64), Op.ADD: (8, 16, 32, 64), Op.INDEX: (0, 9, 32)}.get(op, (64,))
    value = {Op.TLB_FIND: TLB_ENTRIES, Op.TLB_REMEMBER: TLB_ENTRIES, Op.TLB_FORGET: TLB_ENTRIES,
             Op.ZERO_PAGE: 8 * source.randrange(1, 9), Op.WALK: source.randrange(3)}.get(op, word(source))
    if OP_TABLE[op].access == Access.CHANGE and info.bytes == 8 and "ENTRY" in op.name and op != Op.ENTRY_REPLACE:
        value = source.randrange(2)      # the primitive
    if op == Op.STEPPING_LOG:            # the threshold, and how many GPAs are listed at the most
        value, mask = source.randrange(8), source.choice((0, 4, 32))
    rows[PC] = (op, base, source.choice(width), 1, register, source_register, NEXT, OTHERWISE, PRIORITY,
                8 * source.randrange(4), signed(value), signed(mask), signed(match))
    memory = np.frombuffer(bytearray(source.randbytes(ARENA + SLACK)), np.uint8)
    registers[base] = place(source)
    registers[R.LEVEL] = source.randrange(3)
    registers[R.INDEX] = source.randrange(6)
    at = int(registers[base] + rows[PC]["offset"])
    words = memory.view(np.int64)
    words[at >> 3] = source.randrange(64) if op == Op.LOAD_IN else word(source)        # number of a bit
    if info.bytes in (1, 2) and source.random() < 0.5:
        words[at >> 3] = source.choice((*range(8), 0xFFFC, 0xFFFE))       # of a lock: few holders, or the most
    if op.name.startswith("MMU") and source.random() < 0.5:
        words[at >> 3] = source.choice((0, WRITER, WAITING, WRITER | WAITING, READER, READER | WAITING))
    if op == Op.IN:
        registers[source_register] = source.randrange(64)
    if info.bytes == STEPPING:
        words[at >> 3] = source.choice((int(registers[R.RIP]), word(source)))
        memory[at + EPF_COUNT], memory[at + EPF_LENGTH] = source.randrange(8), source.choice((0, 1, 4, 31, 32))
        words[(at >> 3) + 2] = source.choice((int(registers[R.PAGE]), word(source)))
    if info.bytes == TRANSLATION and source.random() < 0.5:
        page = int(registers[R.GUEST_PAGE])
        words[(at >> 3) + (page & TLB_ENTRIES - 1)] = signed(word(source) << 32 | page + 1 & PAGE_MASK)
    if op == Op.SWAP and source.random() < 0.7:
        registers[register] = words[at >> 3] & (1 << int(rows[PC]["width"])) - 1 if rows[PC]["width"] < 64 \
            else words[at >> 3]
    if op in (Op.WAIT_IS, Op.WAIT_NOT, Op.TEST) and source.random() < 0.5:
        rows[PC]["match"] = 0
        registers[source_register] = words[at >> 3] if op != Op.TEST else registers[register]
    registers[R.PC] = PC
    return Sample(rows, registers, memory)


def run(given: Sample, registers=None, memory=None) -> Outcome:
    """The compiled micro-op, on copies."""
    registers = (given.registers if registers is None else registers).copy()
    memory = (given.memory if memory is None else memory).copy()
    signal = step_once(given.rows, registers, memory.ctypes.data)
    return Outcome(int(registers[R.PC]), signal, registers, memory)


@functools.cache
def outcomes(op: Op) -> list[Outcome]:
    return [run(given) for given in samples(op)]


def others(registers: set[int]) -> set[int]:
    return DATA - registers


def scrambled(given: Sample, numbers, source) -> np.ndarray:
    """Registers with other words in some of them; what an address is made of stays one in memory."""
    registers, row = given.registers.copy(), given.row
    numbers = list(numbers)
    registers[numbers] = POOL[source.integers(len(POOL), size=len(numbers))]
    for number, limit, unit in ((row["base"], ARENA, 8), (R.INDEX, LISTED_MAX, 1),
                                *([(row["source"], 64, 1)] if row["op"] == IN else [])):
        if number in numbers:
            registers[number] = unit * source.integers(limit // unit)
    return registers
