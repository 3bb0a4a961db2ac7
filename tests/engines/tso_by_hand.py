"""C litmus tests under x86-TSO: every interleaving, and every moment at which a store may become visible.

An actor's plain stores wait in its own store buffer, in order; it reads them itself at once, the others once they have
left the buffer.  A locked instruction and a full barrier wait until the buffer is empty.  The unlock of a spinlock and of
a writer is a plain store on x86, so it waits there as well.  (Owens, Sarkar, Sewell: A better x86 memory model: x86-TSO,
TPHOLs 2009; Linux arch/x86/include/asm, kernel/locking/qspinlock.c.)

In Python, of tests without a TD: what the compiled search (engines/explore/search.py, kernels/buffers.py) finds is held against
it.  States are kept whole; the rows are executed by `step` like anywhere else, an actor's own registers' rows as part of the
access before them.  Ways come out in words.
"""

import time
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from harness.errors import UsageError
from harness.experiment.litmus import Test
from harness.experiment.litmus_loops import endless
from harness.memory.block import Memory
from harness.memory.layout import VARIABLE
from harness.protocol.counters import EVENTS
from kernels.machine import BLOCKED, step_once
from kernels.ops import OF_ROW, OP_TABLE, Access, Kind, Op, Register as R
from kernels.words import unsigned

STATES_MOST = 400_000
DONE, DEADLOCK = "done", "deadlock"
OWN_ROWS_MOST = 1 << 12          # rows on registers alone, without an access: more is an endless loop


class Delayed(NamedTuple):
    """A store in a buffer: the `width` bits at `offset` become `value`."""

    offset: int
    width: int
    value: int


class State(NamedTuple):
    """memory: the shared words; registers and buffers by actor."""

    memory: bytes
    registers: tuple[bytes, ...]
    buffers: tuple[tuple[Delayed, ...], ...]


class Ending(NamedTuple):
    """A final state, or one in which all wait: `turns` are the moves to it, in words."""

    kind: str
    words: tuple[str, ...]
    count: int
    turns: list[str]


@dataclass
class Found:
    """What a search has found, as far as a litmus test's report asks."""

    how: str = "every interleaving"
    complete: bool = True
    stopped: str = ""
    states: int = 0
    transitions: int = 0
    buffered: int = 0                    # stores in one buffer, at most
    seconds: float = 0.0
    endings: list[Ending] = field(default_factory=list)
    violations: dict = field(default_factory=dict)
    cycles: dict = field(default_factory=dict)
    interrupted: bool = False


def run(test: Test, states_most: int = STATES_MOST, tick=lambda *_: None) -> Found:
    """Raises UsageError for a test with a TD, or one with a loop that never accesses memory."""
    if test.of_td:
        raise UsageError(f"{test.table['path']}: is about a TD; allowed with --memory-model tso: litmus tests without one")
    return _Search(test, states_most).search(tick)


class _Search:
    """Breadth first, so that the way to each ending is a shortest one."""

    def __init__(self, test: Test, states_most: int):
        self.test, self.most = test, states_most
        self.rows, self.listing, self.at_once = test.program.rows, test.program.listing, test.at_once
        self.memory = Memory(test.layout)
        self.actors = [np.ascontiguousarray(each) for each in test.start(self.memory)]
        regions = [region for region in test.layout.regions if region.name.startswith(VARIABLE)]
        self.first = min((region.offset for region in regions), default=0)
        self.last = max((region.end for region in regions), default=0)
        self.bytes = np.frombuffer(self.memory.block, np.uint8)
        self.work, self.counters = np.zeros_like(self.actors[0]), test.program.counters

    def search(self, tick) -> Found:
        found, began = Found(), time.perf_counter()
        start = State(self.bytes[self.first:self.last].tobytes(), tuple(self._settled(each) for each in self.actors),
                      ((),) * len(self.actors))
        seen: dict[State, tuple[State | None, str]] = {start: (None, "")}
        queue, at, endings = [start], 0, {}
        numbers, reached_from, ended = {start: 0}, [[]], []
        try:
            while at < len(queue):
                state = queue[at]
                moves = list(self._moves(state))
                found.transitions += len(moves)
                found.buffered = max(found.buffered, *(len(each) for each in state.buffers))
                if not moves:
                    self._note(state, seen, endings, found.violations)
                    ended.append(at)
                for text, behind, violates in moves:
                    if behind not in seen:
                        seen[behind], numbers[behind] = (state, text), len(queue)
                        queue.append(behind)
                        reached_from.append([])
                    reached_from[numbers[behind]].append(at)
                    if violates:
                        found.violations.setdefault(violates, [*_way(seen, state), text])
                at += 1
                if at % 4096 == 0:
                    tick(len(seen), self.most)
                if len(seen) > self.most:
                    found.complete, found.stopped = False, f"more than {self.most} states"
                    break
        except KeyboardInterrupt:
            found.complete, found.stopped, found.interrupted = False, "interrupted", True
        if found.complete and (doomed := _doomed(reached_from, ended)) is not None:
            found.violations["livelock"] = _way(seen, queue[doomed])
        found.states, found.seconds, found.endings = len(seen), time.perf_counter() - began, list(endings.values())
        return found

    def _note(self, state: State, seen, endings, violations: dict) -> None:
        """A state without a move: all are done and their buffers empty, or they wait for one another."""
        registers = [np.frombuffer(each, np.int64) for each in state.registers]
        kind = DONE if all(self._op(each) == Op.STOP for each in registers) else DEADLOCK
        self._put(state.memory)
        bad = [DEADLOCK] if kind == DEADLOCK else ["quiet_locks"] * bool(self.test.locks_held(self.memory))
        words = self.test.outcome(self.memory.word, lambda actor, register: unsigned(registers[actor][register]))
        if (kind, words) in endings:
            endings[kind, words] = endings[kind, words]._replace(count=endings[kind, words].count + 1)
        else:
            endings[kind, words] = Ending(kind, words, 1, _way(seen, state))
        for name in bad:
            violations.setdefault(name, _way(seen, state))

    # --- moves ---

    def _moves(self, state: State):
        """(what it is, the state behind it, what it violates): a row of an actor, or its oldest store becomes visible."""
        for actor, buffer in enumerate(state.buffers):
            if buffer:
                oldest = buffer[0]
                self._put(state.memory)
                self._apply(oldest)
                memory = self.bytes[self.first:self.last].tobytes()
                yield (f"P{actor}'s store of {self._named(oldest.offset)} becomes visible",
                       State(memory, state.registers, _with(state.buffers, actor, buffer[1:])), "")
            yield from self._row(state, actor, buffer)

    def _row(self, state: State, actor: int, buffer: tuple[Delayed, ...]):
        """An actor's next access or mark, with its own rows behind it; nothing if it is done, or has to wait."""
        registers = np.frombuffer(state.registers[actor], np.int64)
        row = self.rows[registers[R.PC]]
        op = Op(row["op"])
        if op in (Op.STOP, Op.HALT):
            return
        at_once = int(registers[R.PC]) in self.at_once
        locked = op == Op.FENCE or OP_TABLE[op].access == Access.CHANGE
        if locked and buffer and not at_once:
            return
        self._put(state.memory)
        for each in buffer if not at_once else ():       # an actor reads its own stores
            self._apply(each)
        self.work[:] = registers
        if step_once(self.rows, self.work, self.memory.base) == BLOCKED:
            return
        text = f"P{actor}: {op.name.lower()} {self.listing[registers[R.PC]].text}".rstrip()
        violates = EVENTS.get(self.counters[row["value"]], "") if op == Op.COUNT else ""
        memory = state.memory
        if locked:
            memory = self.bytes[self.first:self.last].tobytes()
        elif OP_TABLE[op].access == Access.STORE:
            buffer = (*buffer, self._delayed(row, registers))
            text += " (into its store buffer)"
        for answer in range(2 if op == Op.CHOOSE else 1):        # both answers of a hint are tried
            if op == Op.CHOOSE:
                self.work[row["register"]] = answer
            yield text, State(memory, _with(state.registers, actor, self._settled(self.work)),
                              _with(state.buffers, actor, buffer)), violates

    def _delayed(self, row, registers) -> Delayed:
        """What a store has just written, which is in memory now as its actor sees it."""
        info = OP_TABLE[Op(row["op"])]
        offset = int(registers[row["base"]]) + int(row["offset"])
        width = int(row["width"]) if info.bytes == OF_ROW else 8 * info.bytes
        return Delayed(offset, width, self._word(offset, width))

    def _settled(self, registers: np.ndarray) -> bytes:
        """Registers once an actor has executed the rows that touch none but its own."""
        registers = registers.copy()
        for _ in range(OWN_ROWS_MOST):
            op = Op(self.rows[registers[R.PC]]["op"])
            if OP_TABLE[op].kind != Kind.LOCAL or op == Op.FENCE:
                registers[R.SINK] = 0
                return registers.tobytes()
            step_once(self.rows, registers, self.memory.base)
        raise endless(self.test)

    # --- memory ---

    def _op(self, registers) -> Op:
        return Op(self.rows[registers[R.PC]]["op"])

    def _put(self, memory: bytes) -> None:
        self.bytes[self.first:self.last] = np.frombuffer(memory, np.uint8)

    def _apply(self, store: Delayed) -> None:
        self.memory.set_word(store.offset, store.value, store.width)

    def _word(self, offset: int, width: int) -> int:
        return self.memory.word(offset, width)

    def _named(self, offset: int) -> str:
        return self.test.layout.name_of(offset).removeprefix(VARIABLE)


def _way(seen: dict, state: State) -> list[str]:
    """The moves that lead to a state."""
    turns = []
    while seen[state][0] is not None:
        state, text = seen[state]
        turns.append(text)
    return turns[::-1]


def _doomed(reached_from: list[list[int]], ended: list[int]) -> int | None:
    """The first state from which none without a move is reached."""
    ends, stack = set(ended), list(ended)
    while stack:
        fresh = [state for state in reached_from[stack.pop()] if state not in ends]
        ends.update(fresh)
        stack += fresh
    return next((state for state in range(len(reached_from)) if state not in ends), None)


def _with(items: tuple, place: int, item) -> tuple:
    return (*items[:place], item, *items[place + 1:])

