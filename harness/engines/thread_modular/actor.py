"""One actor: from one row at which others matter to the next, by `step` on every word it may find.

A *stand* is where an actor is: its row, its registers that will still be read, its private words, and
what it holds.  An actor stops at rows that access what is followed or collected, that take or drop a
lock that an actor takes exclusively, or that wait for others; it runs over all other rows at once.

A register is a number, or None: unknown.  A row that reads an unknown one, or a word that is unknown,
goes to each of its outcomes and leaves what it writes unknown; every other row is executed by
kernels.machine.step_once.  PAGE stands for the page that is followed wherever an address is made of it,
and is unknown to every comparison, as any page could be this one.

What an actor holds is what the rows say (assemble.Held), what its caller holds, and a few things more:

    a frozen mirror entry        from the write that froze it to the next one
    one that was empty           where no entry is frozen: from the swap that published it until mmu_lock is dropped
    ALIVE                        shared, unless parked; exclusively: all others are parked
    INSIDE                       shared by a vCPU from the look at the bar until it leaves guest mode;
                                 exclusively by who has barred entry and kicked all vCPUs
"""

from collections import defaultdict
from typing import NamedTuple

import numpy as np

from harness.engines.thread_modular.words import (
    COLLECTED, FOLLOWED, FROZEN, PARKING, PRIVATE, SPIN, Words,
)
from harness.experiment.plan import Actor, Plan
from harness.protocol.liveness import live_registers
from harness.protocol.releases import EXCLUSIVE
from kernels.machine import BLOCKED, step_once
from kernels.ops import OP_TABLE, REGISTERS, Fact, Kind, Op, Register as R, registers_of

ALIVE, INSIDE = -1, -2           # in place of a lock's offset
BARRED, CALLER = -3, -4          # marks that are no locks: entry is barred; a lock of KVM's around a call
# Pages, and how far each is from the one that is followed where an address is made of it.
PAGES = {R.PAGE: 0, R.GUEST_PAGE: 0, R.RANGE_END: 512}
# Never looked at: counts of tries and of choices, times.
IGNORED = (R.TRIES, R.GUEST_TRIES, R.RIP, R.DRAWS, R.SINCE, R.LOST_SWAPS, R.SINK, R.STOPPING, R.CONTENDED, R.HALTED_AT)
TRACKING = (R.EPOCH_WORD, R.BEPOCH)      # hold what words.py derives of the words, for the two ops that test them

# Ops on lock words: which holders of a lock refuse who takes it.
SOME, ANY = (True,), (True, False)       # those who hold it exclusively; all
REFUSED_BY = {
    Op.SHAREX_TAKE_SHARED: SOME, Op.HP_TAKE_SHARED: SOME,
    Op.SHAREX_TAKE_EXCLUSIVE: ANY, Op.HP_TAKE_EXCLUSIVE: ANY, Op.HP_PROMOTE: ANY, Op.MUTEX_TAKE: ANY,
    Op.HP_TAKE_OVER_PRIORITY: ANY, Op.HP_PROMOTE_OVER_PRIORITY: ANY,
}
OVER_PRIORITY = (Op.HP_TAKE_OVER_PRIORITY, Op.HP_PROMOTE_OVER_PRIORITY)
EXCLUSIVELY = (Op.SHAREX_TAKE_EXCLUSIVE, Op.HP_TAKE_EXCLUSIVE, Op.HP_PROMOTE, Op.MUTEX_TAKE)
LOCKS = {*REFUSED_BY, Op.SHAREX_DROP_SHARED, Op.SHAREX_DROP_EXCLUSIVE, Op.HP_CLEAR, Op.HP_REQUEST, Op.HP_DROP_SHARED,
         Op.HP_DROP_EXCLUSIVE, Op.MUTEX_DROP}
CHECKS = (Op.HP_CHECK_EXCLUSIVE, Op.ENTRY_CHECK)         # a check that fails would halt the module
MMU_LOCK = (Op.MMU_TAKE_SHARED, Op.MMU_TAKE_EXCLUSIVE, Op.MMU_DROP_SHARED, Op.MMU_DROP_EXCLUSIVE)
# Of the mitigation and of translations nothing is known.
HIDDEN = (Op.STEPPING_ENTER, Op.STEPPING_LISTED, Op.STEPPING_EXIT, Op.STEPPING_LOG, Op.TLB_FIND, Op.TLB_REMEMBER,
          Op.TLB_FORGET, Op.SIGN)


class Contended(Exception):
    """Something that was passed over turns out to matter: begin again."""


class Row(NamedTuple):
    """A row of the program, in Python's numbers."""

    op: int
    base: int
    offset: int
    register: int
    source: int
    value: int
    next: int
    otherwise: int
    priority: int
    reads: tuple[int, ...]
    writes: tuple[int, ...]
    targets: tuple[int, ...]
    live: tuple[int, ...]


class Stand(NamedTuple):
    """Where an actor is."""

    actor: int
    pc: int
    registers: tuple             # of all; 0 where it is not read any more
    private: tuple               # (word, value), ...
    marks: frozenset             # (what, exclusively): beyond what rows say is held
    held: int                    # a number of Actors.held


class Actors:
    """The actors of one TD, one at a time.

    contended   lock words that an actor takes exclusively: the others never refuse.  Which rows and locks
                may be about one is known from `exclusive`: by register and offset
    passed      lock words that were passed over as if they were not
    changing    followed words that an actor changes: the others are read in passing
    """

    def __init__(self, plan: Plan, words: Words):
        self.program, self.layout, self.words = plan.program, plan.layout, words
        self.contended: set[int] = set()
        self.passed: set[int] = set()
        self.exclusive = {(int(lock.base), lock.offset) for row in plan.program.listing for lock in row.held
                          if lock.mode == EXCLUSIVE}
        self.changing = set(range(len(words.places))) - {words.number[name] for name in ("op_state", "tdr_state", "large")}
        live = live_registers(plan.program)
        self.rows = [_row(row, int(bits)) for row, bits in zip(plan.program.rows, live)]
        self.vcpus = {actor.number for actor in plan.actors if actor.kind == "vcpu"}
        at = plan.layout.at
        self.parked, self.generation, self.bar = at("parked"), at("vm_generation"), at("wait_for_sept_zap")
        self.mmu_lock = at("mmu_lock")
        # Without freezing, a fault's entry is its own until mmu_lock is dropped, if zaps take that for write.
        self.published = not plan.policy.freeze and plan.policy.zap_lock == "write"
        spans = plan.program.spans
        self.kicked = spans.index("kick_wait") if "kick_wait" in spans else None
        self.registers = np.zeros(REGISTERS, np.int64)
        self.forget()

    def forget(self) -> None:
        """Nothing has been found yet."""
        self.stands: list[Stand] = []
        self._numbers: dict = {}
        self.held: list[tuple[int, dict[int, bool]]] = []        # (actor, {what: exclusively})
        self._held_numbers: dict = {}
        self.answers: set[tuple[int, int]] = set()
        self._moves: dict = {}

    # --- stands ---

    def begin(self, actor: Actor, registers) -> tuple:
        registers = [int(each) for each in registers]
        return self.behind(actor.number, registers[R.PC], registers, (), frozenset({(ALIVE, False)}))

    def on(self, number: int, target: int, private=None, marks=None) -> tuple:
        """Where an actor that stands at `number` comes to by row `target`."""
        key = number, target, private, marks
        if key not in self._moves:
            stand = self.stands[number]
            self._moves[key] = self.behind(
                stand.actor, target, list(stand.registers), stand.private if private is None else private,
                stand.marks if marks is None else marks)
        return self._moves[key]

    def with_word(self, number: int, word: int) -> tuple[int, tuple]:
        """The row's word as an actor leaves it that finds `word`, and where the actor comes to."""
        key = number, word
        if key not in self._moves:
            self._moves[key] = self._step_on(self.stands[number], word)
        return self._moves[key]

    def _step_on(self, stand: Stand, word: int) -> tuple[int, tuple]:
        row = self.rows[stand.pc]
        unknown = [each for each in row.reads if each not in PAGES and (stand.registers[each] is None or each in TRACKING)]
        assert not unknown, (self.program.listing[stand.pc], unknown)
        offset = self.offset(stand)
        pc, registers, after = self._execute(stand.pc, stand.registers, offset >> 3, word)
        if pc is None:
            return after, ()
        marks = stand.marks
        if offset in self.words.mirrors and (row.op == Op.STORE or row.op == Op.SWAP and pc == row.next):
            keeps = after == FROZEN or self.published and row.op == Op.SWAP
            marks = marks | {(offset, True)} if keeps else marks - {(offset, True)}
        return after, self.behind(stand.actor, pc, registers, stand.private, marks)

    def knowing(self, number: int, value: int | None) -> tuple:
        """Where an actor comes to that reads a derived word, or one that is unknown."""
        key = number, "read", value
        if key not in self._moves:
            stand = self.stands[number]
            row = self.rows[stand.pc]
            registers = self._unknown(row, stand.registers)
            registers[row.register] = value
            self._moves[key] = tuple(group for target in row.targets for group in
                                     self.behind(stand.actor, target, registers, stand.private, stand.marks))
        return self._moves[key]

    def offset(self, stand: Stand) -> int:
        row = self.rows[stand.pc]
        return stand.registers[row.base] + row.offset

    # --- running ---

    def behind(self, actor: int, pc: int, registers, private: tuple, marks: frozenset) -> tuple:
        """Where an actor comes to from row `pc` on: ((held, stands), ...), the stands as bits."""
        found, seen = defaultdict(int), set()
        waiting = [(pc, self._cleared(registers), private, marks)]
        while waiting:
            here = pc, registers, private, marks = waiting.pop()
            row = self.rows[pc]
            key = pc, tuple([registers[each] for each in row.live]), private, marks
            if key in seen:
                continue
            seen.add(key)
            ways = self._ways(actor, row, *here)
            if ways is None:
                number = self._stand(actor, key)
                found[self.stands[number].held] |= 1 << number
            else:
                waiting += ways
        return tuple(found.items())

    def _stand(self, actor: int, key) -> int:
        if (actor, key) not in self._numbers:
            pc, values, private, marks = key
            registers = [0] * REGISTERS
            for register, value in zip(self.rows[pc].live, values):
                registers[register] = value
            self._numbers[actor, key] = len(self.stands)
            self.stands.append(Stand(actor, pc, tuple(registers), private, marks,
                                     self._held(actor, pc, registers, marks)))
        return self._numbers[actor, key]

    def _held(self, actor: int, pc: int, registers, marks) -> int:
        held = {}
        for what, how in marks:
            if what == CALLER:
                held[how[0]] = how[1]
            elif what != BARRED:
                held[what] = how
        for lock in self.program.listing[pc].held:
            if lock.discipline in ("count", "entries"):
                continue
            offset = registers[lock.base] + lock.offset
            if lock.mode == EXCLUSIVE:
                self._contends(offset)
            if (lock.base, lock.offset) in self.exclusive or offset in self.contended:
                held[offset] = lock.mode == EXCLUSIVE
            else:
                self.passed.add(offset)
        key = actor, frozenset(held.items())
        if key not in self._held_numbers:
            self._held_numbers[key] = len(self.held)
            self.held.append((actor, dict(key[1])))
        return self._held_numbers[key]

    def _contends(self, offset: int) -> None:
        self.contended.add(offset)
        if offset in self.passed:
            self.passed.clear()
            raise Contended

    def _cleared(self, registers) -> list:
        registers = list(registers)
        for each in IGNORED:
            registers[each] = None
        for each, distance in PAGES.items():
            registers[each] = self.words.page + distance
        return registers

    def _unknown(self, row: Row, registers) -> list:
        registers = list(registers)
        for each in row.writes:
            registers[each] = None
        return self._cleared(registers)

    def _execute(self, pc: int, registers, word: int | None = None, value: int = 0):
        """(row behind, registers, word behind) of a row that is known; the row is None where it cannot go on."""
        self.registers[:] = [each or 0 for each in registers]
        self.registers[R.PC] = pc
        if word is not None:
            self.words.array[word] = value
        signal = step_once(self.program.rows, self.registers, self.words.memory.base)
        after = int(self.words.array[word]) if word is not None else 0
        behind = list(registers)
        for each in self.rows[pc].writes:
            behind[each] = int(self.registers[each])
        then = int(self.registers[R.PC])
        return None if signal == BLOCKED or then == 0 else then, self._cleared(behind), after

    def _ways(self, actor: int, row: Row, pc: int, registers, private: tuple, marks: frozenset):
        """The ways on from a row in passing; None where an actor has to stop."""
        kind = OP_TABLE[row.op].kind
        if row.op in (Op.HALT, Op.STOP):
            return ()
        if kind == Kind.DRIVER:
            return self._driven(row, registers, private, marks)
        if kind == Kind.LOCAL:
            return self._local(row, pc, registers, private, marks)
        if row.op == Op.ZERO_PAGE or row.base == R.REFCOUNT:         # contents, and counts of running vCPUs
            return [(each, self._unknown(row, registers), private, marks) for each in row.targets]
        if row.op in CHECKS:
            return [(row.next, registers, private, marks)]
        assert registers[row.base] is not None, self.program.listing[pc]
        offset = registers[row.base] + row.offset
        if row.op in LOCKS:
            if row.op in EXCLUSIVELY:
                self._contends(offset)
            if (row.base, row.offset) in self.exclusive or offset in self.contended:
                return None
            self.passed.add(offset)
            return [(row.next, registers, private, marks)]
        if row.op in MMU_LOCK:
            return None
        known = self.words.known(offset)
        if known == SPIN:
                return None
        if known == COLLECTED or known == PARKING and row.op in (Op.WAIT_IS, Op.WAIT_NOT):
            return None
        if known == FOLLOWED:
            place = self.words.by_word[offset >> 3]
            if place in self.changing or place in self.words.derived:
                return None
            then, behind, after = self._execute(pc, registers, offset >> 3, self.words.view[place])
            if after != self.words.view[place]:
                self.changing.add(place)
                raise Contended
            return () if then is None else [(then, behind, private, marks)]
        if known == PRIVATE:
            return self._own_word(pc, registers, private, marks, offset >> 3)
        return [(each, self._unknown(row, registers), private, behind)
                for each in row.targets for behind in [self._marked(actor, row, offset, each, marks)]]

    def _own_word(self, pc, registers, private, marks, word):
        values = dict(private)
        then, behind, after = self._execute(pc, registers, word, values.get(word, int(self.words.first[word])))
        values[word] = after
        return () if then is None else [(then, behind, tuple(sorted(values.items())), marks)]

    def _marked(self, actor: int, row: Row, offset: int, target: int, marks: frozenset) -> frozenset:
        """What an actor holds behind an access that parks it, bars entry, or has to do with the guest."""
        if row.op == Op.ADD and offset == self.parked:
            return marks - {(ALIVE, False)}
        if row.op == Op.ADD and offset == self.generation:
            return marks - {(ALIVE, True)} | {(ALIVE, False)}
        if offset == self.bar and row.op == Op.STORE:
            return marks | {(BARRED, True)} if row.value else marks - {(BARRED, True), (INSIDE, True)}
        if offset == self.bar and row.op == Op.LOAD and actor in self.vcpus and row.otherwise:
            return marks | {(INSIDE, False)} if target == row.next else marks - {(INSIDE, False)}
        if row.op == Op.AND and row.base == R.KICK:          # leave_guest_mode
            return marks - {(INSIDE, False)}
        return marks

    def _driven(self, row: Row, registers, private, marks):
        if row.op == Op.RESET or row.op == Op.END and row.value == self.kicked:
            return None
        if row.op == Op.CALL_END:
            self.answers.add((registers[R.CALL], registers[R.ANSWER]))
        if row.writes:
            registers = self._unknown(row, registers)
        if row.op == Op.CALL_BEGIN:
            registers[R.CALL] = row.value
        return [(each, registers, private, marks) for each in row.targets]

    def _local(self, row: Row, pc: int, registers, private, marks):
        targets = row.targets
        if row.op == Op.GO:
            if row.register == R.LINK:
                marks = frozenset(mark for mark in marks if mark[0] != CALLER)
            return [(registers[row.register], registers, private, marks)]
        if row.op == Op.CALL:
            registers = list(registers)
            registers[R.LINK] = row.otherwise
            around = {(CALLER, (registers[lock.base] + lock.offset, lock.mode == EXCLUSIVE))
                      for lock in self.program.listing[pc].held if lock.discipline in ("mmu", "spin")}
            return [(row.next, registers, private, marks | around)]
        if R.PAGE in row.writes and (self.mmu_lock, True) in self._locks(pc, registers):
            return None                                      # on to another page, with the lock in hand
        if row.op == Op.EPOCH_PREVIOUS and registers[row.register] == 0:
            targets = (row.next,)
        elif row.op == Op.EPOCH_TRACKED and registers[row.register] == registers[row.source] == 0:
            targets = (row.next,)
        elif row.op not in HIDDEN and all(
                registers[each] is not None and each not in TRACKING and (row.op == Op.INDEX or each not in PAGES)
                for each in row.reads):
            then, behind, _ = self._execute(pc, registers)
            return () if then is None else [(then, behind, private, marks)]
        behind = self._unknown(row, registers)
        if row.op == Op.STEPPING_LISTED:
            behind[R.INDEX] = None                           # how many are listed is not known either
        return [(each, behind, private, marks) for each in targets]

    def _locks(self, pc: int, registers) -> set:
        return {(registers[lock.base] + lock.offset, lock.mode == EXCLUSIVE)
                for lock in self.program.listing[pc].held if lock.discipline == "mmu"}


def _row(row, bits: int) -> Row:
    info = OP_TABLE[row["op"]]
    targets = dict.fromkeys(int(row[each]) for each in ("next", "otherwise", "priority")[:info.outcomes])
    live = [each for each in range(64) if bits >> each & 1 and each != R.PC] + list(range(64, len(R)))
    return Row(int(row["op"]), *(int(row[name]) for name in ("base", "offset", "register", "source", "value", "next",
                                                             "otherwise", "priority")),
               tuple(registers_of(row, info.reads)), tuple(registers_of(row, info.writes + info.may_write)),
               tuple(targets), tuple(live))


assert {info.op for info in OP_TABLE if info.facts & Fact.TAKES} == {
    *REFUSED_BY, Op.ENTRY_TAKE, Op.MMU_TAKE_SHARED, Op.MMU_TAKE_EXCLUSIVE}
