"""A scene for tests of flows: the actors of a plan in memory, moved by the test instead of by processes."""

import numpy as np

from harness.memory.block import Memory
from harness.experiment.plan import make_plan
from kernels.machine import BLOCKED, step_once
from kernels.ops import Op, Register as R
from kernels.words import STATE, STATE_MASK, TDHP
from tests.stage import config

STEPS_MAX = 200_000


def label_at(program, pc: int) -> str:
    """The label at or before a row: roughly, where an actor is."""
    return next((label for number in range(pc, -1, -1) for label in program.listing[number].labels), "start")


class Scene:
    """A plan's actors in memory, moved by the test instead of by processes.

    Choices are made by the test: every touch is of `page`, every first touch accepts or not.
    """

    def __init__(self, policy, page=3, accept_first=0.0, **keys):
        workload = {"hosts": 1, "accept_first": accept_first} | keys.pop("workload", {})
        td = {"vcpus": 2, "memory_mib": 2} | keys.pop("td", {})
        self.plan = make_plan(config(policy, td=td, workload=workload, **keys))
        self.memory, self.program, self.layout = Memory(self.plan.layout), self.plan.program, self.plan.layout
        self.registers = [self.memory.registers(actor.number) for actor in self.plan.actors]
        for actor, registers in zip(self.plan.actors, self.registers):
            registers[:] = self.plan.start(actor)
        self.numbers = {actor.name: actor.number for actor in self.plan.actors}
        self.page, self.stopping, self.converting, self.overdue = page, False, 0, 0
        self.counters = dict.fromkeys(self.program.counters, 0)
        self.answered, self.attempts, self.bugs = {}, dict.fromkeys(self.program.calls, 0), []
        self.trace = []

    def step(self, name) -> int:
        """One micro-op of an actor, and what a driver would do about it."""
        registers = self.registers[self.numbers[name]]
        row = self.program.listing[registers[R.PC]]
        signal = step_once(self.program.rows, registers, self.memory.base)
        if signal == Op.CHOOSE:
            name_of = self.program.choices[row.value]
            fixed = {"accept_first": 1, "map_gpa": self.converting, "migrate": 1, "split": 0}
            registers[row.register] = fixed.get(name_of, self.page)
        elif signal == Op.POLL:
            registers[R.STOPPING] = self.stopping
        elif signal == Op.OVERDUE:
            registers[row.register] = self.overdue
        elif signal == Op.COUNT:
            self.counters[self.program.counters[row.value]] += 1
        elif signal == Op.CALL_BEGIN:
            registers[R.CALL] = row.value
            self.attempts[self.program.calls[row.value]] += 1
            self.trace.append((name, self.program.calls[row.value]))
        elif signal == Op.CALL_END:
            key = self.program.calls[registers[R.CALL]], self.program.answers[registers[R.ANSWER]].name
            self.answered[key] = self.answered.get(key, 0) + 1
        elif signal == Op.BUG:
            self.bugs.append((self.program.calls[registers[R.CALL]],
                              self.program.answers[registers[R.ANSWER]].name))
        elif signal == Op.RESET:
            words = self.memory._bytes[row.offset:row.offset + row.mask].view(np.uint64)
            self.counters[self.program.counters[row.value]] += int((words & np.uint64(TDHP) != 0).sum())
            start, image = self.layout.td_start, self.layout.at("image")
            block = self.memory.block
            block[start:start + self.layout.td_bytes] = block[image:image + self.layout.td_bytes]
        elif signal == Op.HALT:
            raise AssertionError("the module has halted")
        return signal

    def until(self, name, label=None, op=None, counter=None) -> "Scene":
        """Move one actor until it is about to execute a label or op, or has counted something."""
        before = self.counters.get(counter, 0)
        registers = self.registers[self.numbers[name]]
        for moved in range(STEPS_MAX):
            row = self.program.listing[registers[R.PC]]
            if moved and (label in row.labels or row.op == op):
                return self
            signal = self.step(name)
            assert signal != BLOCKED, f"{name} is blocked at {row.op.name} {row.text}"
            if counter and self.counters[counter] > before:
                return self
        raise AssertionError(f"{name} does not get to {label or op or counter}")

    def at(self, name) -> str:
        return label_at(self.program, int(self.registers[self.numbers[name]][R.PC]))

    def blocked(self, name) -> bool:
        """Whether an actor cannot go on now."""
        return self.step(name) == BLOCKED

    def entry(self, page=None) -> str:
        word = self.memory.word(self.layout.at("sept.0", self.page if page is None else page))
        return next(state.name for state in STATE.values() if state.word() & STATE_MASK == word & STATE_MASK)

    def mirror(self, page=None) -> int:
        return self.memory.word(self.layout.at("mirror.0", self.page if page is None else page))

    def word(self, name, index=0, width=64) -> int:
        return self.memory.word(self.layout.at(name, index), width)

    def hold_tree(self, word=1):
        """An actor in an entry filter holds the SEPT tree exclusively (or, with 0, no longer)."""
        self.memory.set_word(self.layout.at("secure_ept_lock"), word, 16)

    def hold_entry(self, held=True, level=0):
        """A guest's ACCEPT holds the page's entry, or the one at a level above it."""
        place = self.layout.at(f"sept.{level}", self.page >> 9 * level)
        word = self.memory.word(place)
        self.memory.set_word(place, word | 1 << 11 if held else word & ~(1 << 11))
