"""Is what OP_TABLE says of each micro-op true?  Each is run on random words, and its line held against that.

What an op reads is found by changing everything else: registers that it does not read may hold anything,
and it does the same.  What it accesses is written down by tests/recording.py; that run has to end as the
compiled one does.  Each claim is seen to fail: a line with one entry too few, or too many, is a lie.

Ops of kind DRIVER are not `step`'s; they are held against the search's driver at the end.
"""

import functools
import random

import numpy as np
import pytest

from harness.protocol import contexts
from kernels import moves, record, rwlock, symmetry
from kernels.compiling import for_python
from kernels.machine import BLOCKED, CONTINUE
from kernels.ops import (
    NOTHING, OF_ROW, OP_TABLE, REGISTERS, STEPPING, TRANSLATION, TRANSLATIONS, ZEROED, Access, Fact, Kind, Op,
    OpInfo, Price, Register as R, registers_of,
)
from kernels.stepping import STEPPING_BYTES
from kernels.words import (
    EXCLUSIVE, HP_READER, MUTEX_LOCKED, SHAREX_READER, TDEL, TDHP, signed,
)
from tests.kernels.op_samples import (
    ARENA, ELSEWHERE, NAMES, NEXT, OTHERWISE, Outcome, PC, PRIORITY, SAMPLES, SLACK, STEPPED, Sample, others,
    outcomes, run, sample, samples, scrambled, word,
)
from tests.recording import Recorder

RECORDER = Recorder()
HALT = 0


# --- what is a lie about an op ---------------------------------------------------------------

def lies_of_writes(info: OpInfo) -> str:
    """Registers that change and are not in `writes`, or are in it and stay as they were."""
    source = np.random.default_rng(1)
    may = set()
    for given, came in zip(samples(info.op), outcomes(info.op)):
        writes, reads = registers_of(given.row, info.writes), registers_of(given.row, info.reads)
        maybe = registers_of(given.row, info.may_write) | ({R.HALTED_AT} if Fact.HALTS in info.facts else set())
        changed = {number for number in others(set()) if came.registers[number] != given.registers[number]}
        if changed - writes - maybe:
            return f"changes {changed - writes - maybe}"
        may |= {field for field in (*info.may_write, R.HALTED_AT) if registers_of(given.row, (field,)) & changed}
        free = writes - reads
        again = run(given, scrambled(given, free, source))
        for number in free:
            if again.registers[number] != came.registers[number]:
                return f"does not always write {number}"
    if set(info.may_write) - may:
        return "never writes what it may write"
    if Fact.HALTS in info.facts and R.HALTED_AT not in may:
        return "never halts"
    return ""


def lies_of_reads(info: OpInfo) -> str:
    """Registers on which something depends and which are not in `reads`, or the reverse."""
    source = np.random.default_rng(2)
    for given, came in zip(samples(info.op), outcomes(info.op)):
        writes, reads = registers_of(given.row, info.writes), registers_of(given.row, info.reads)
        free = others(reads)
        registers = scrambled(given, free, source)
        again = run(given, registers)
        if not same(came, again, writes):
            return f"depends on more than {sorted(reads)}"
        for number in others(writes):
            written = came.registers[number] != given.registers[number]
            if again.registers[number] not in (registers[number], came.registers[number]) or \
                    written and again.registers[number] != came.registers[number]:
                return f"writes {number}, depending on more than {sorted(reads)}"
    for field in info.reads:
        if not any(matters(info, given, came, field, source)
                   for given, came in zip(samples(info.op), outcomes(info.op))):
            return f"nothing depends on {field}"
    return ""


def same(one: Outcome, other: Outcome, registers) -> bool:
    return (one.pc == other.pc and one.signal == other.signal and np.array_equal(one.memory, other.memory)
            and all(one.registers[number] == other.registers[number] for number in registers))


def matters(info: OpInfo, given: Sample, came: Outcome, field, source) -> bool:
    """Whether another word in this one register leads elsewhere."""
    [number] = registers_of(given.row, (field,))
    if any(number in registers_of(given.row, (other,)) for other in info.reads if other != field):
        return False                     # it is named twice
    written = registers_of(given.row, info.writes + info.may_write)
    again = run(given, scrambled(given, [number], source))
    return not same(came, again, written if number in registers_of(given.row, info.writes) else written - {number})


def span_of(info: OpInfo, given: Sample) -> set[int]:
    """The bytes that an op may touch, as OP_TABLE says."""
    at, row = given.address, given.row
    if info.bytes == TRANSLATION:
        first = at + 8 * (int(given.registers[R.GUEST_PAGE]) & int(row["value"]) - 1)
        return set(range(first, first + 8))
    count = {NOTHING: 0, OF_ROW: int(row["width"]) // 8, STEPPING: STEPPING_BYTES, ZEROED: int(row["value"]),
             TRANSLATIONS: 8 * int(row["value"])}.get(info.bytes, info.bytes)
    return set(range(at, at + count))


def touched(given: Sample) -> tuple[Outcome, list]:
    """The same micro-op in Python: what came of it, and its accesses."""
    registers, memory = given.registers.copy(), given.memory.copy()
    with np.errstate(over="ignore"):
        pc, signal, done = RECORDER.step(given.rows, PC, registers, memory)
    registers[R.PC] = pc
    return Outcome(pc, signal, registers, memory), done


@functools.cache
def accesses(op: Op) -> list[list]:
    return [touched(given)[1] for given in samples(op)]


def lies_of_memory(info: OpInfo) -> str:
    """Bytes and accesses that are not as the columns `access` and `bytes` say."""
    source, did = np.random.default_rng(3), set()
    for given, came, done in zip(samples(info.op), outcomes(info.op), accesses(info.op)):
        span = span_of(info, given)
        bytes_ = {byte for each in done for byte in range(each.address, each.address + each.bytes)}
        did |= {each.access for each in done}
        if bytes_ - span:
            return f"touches more than {len(span)} bytes"
        if info.bytes not in (STEPPING, NOTHING) and bytes_ != span:
            return f"touches {len(bytes_)} bytes, not {len(span)}"
        if info.kind in (Kind.SHARED, Kind.WAIT) and (
                len({each.address for each in done}) != 1 or sum(each.access != Access.LOAD for each in done) > 1):
            return "is more than one access"
        memory = source.integers(256, size=ARENA + SLACK, dtype=np.uint8)
        inside = sorted(span) if info.access != Access.STORE else []
        memory[inside] = given.memory[inside]
        again = run(given, memory=memory)
        if again.pc != came.pc or not np.array_equal(again.registers, came.registers):
            return "depends on other memory"
    found = Access.CHANGE if Access.CHANGE in did or len(did) == 2 else did.pop() if did else Access.NONE
    return "" if found == info.access else f"{found.value}, not: {info.access.value}"


PRICES = {Access.LOAD: Price.READ, Access.STORE: Price.WRITE, Access.CHANGE: Price.LOCKED}


def lies_of_price(info: OpInfo) -> str:
    """A price that does not go with what is accessed."""
    if info.op == Op.FENCE:
        due = Price.LOCKED               # what it waits for is what a locked instruction waits for
    elif info.kind == Kind.LOCAL:
        due = Price.LOGIC
    elif info.bytes == ZEROED:
        due = Price.ZEROING
    else:
        due = PRICES[info.access]
    return "" if info.price == due else f"costs {info.price}, not {due}"


def lies_of_outcomes(info: OpInfo) -> str:
    """Rows that it goes on at, and does not give; or gives, and never goes on at; signals that do not go with it."""
    reached = {came.pc for came in outcomes(info.op)}
    signals = {came.signal for came in outcomes(info.op)}
    if signals - {CONTINUE} != ({BLOCKED} if info.kind == Kind.WAIT else set()):
        return f"signals {signals}"
    if info.op == Op.GO:                 # to wherever the register says
        return "gives rows, or halts" if info.outcomes or Fact.HALTS in info.facts else ""
    if (HALT in reached) != (Fact.HALTS in info.facts):
        return "halts, or does not"
    due = set((NEXT, OTHERWISE, PRIORITY)[:info.outcomes])
    if info.op == Op.CALL:               # its other row is where the call comes back
        reached |= {int(came.registers[R.LINK]) for came in outcomes(info.op)}
    never = {OTHERWISE} if info.op == Op.ENTRY_SEE_PRIORITY else set()       # a look that cannot fail
    if reached - {HALT, PC} != due - never:
        return f"goes on at {reached}"
    passed = {came.pc for given, came in zip(samples(info.op), outcomes(info.op))
              if given.row["mask"] == info.passes and given.row["match"] == 0}
    if info.passes is not None and OTHERWISE in passed:
        return "does not let every word pass"
    every = {(mask, came.pc) for given, came in zip(samples(info.op), outcomes(info.op))
             for mask in (0, -1) if given.row["mask"] == mask and given.row["match"] == 0}
    if info.passes is None and info.outcomes >= 2 and info.op != Op.CALL and any(
            (mask, OTHERWISE) not in every and (mask, NEXT) in every for mask in (0, -1)) and info.op in TESTS:
        return "lets every word pass"
    return ""


TESTS = (Op.LOAD, Op.EXCHANGE, Op.OR, Op.AND, Op.READ_ENTRY)     # their mask is that of a test of the word


# Of a lock word: (held exclusively, shared holders).
HOLDERS = {
    "SHAREX": (16, lambda word: (word & EXCLUSIVE, word // SHAREX_READER)),
    "HP": (16, lambda word: (word & EXCLUSIVE, word // HP_READER)),
    "ENTRY": (64, lambda word: (bool(word & TDEL), 0)),
    "MUTEX": (8, lambda word: (word == MUTEX_LOCKED, 0)),
    "MMU": (64, lambda word: (word & rwlock.WRITER, word // rwlock.READER)),
}


def lies_of_taking(info: OpInfo) -> str:
    """An op that takes a lock makes a holder of who executes it, and goes on; others do not."""
    lock = info.op.name.partition("_")[0]
    takes = False
    if lock in HOLDERS and info.op != Op.ENTRY_REPLACE:
        bits, holders = HOLDERS[lock]
        for given, came in zip(samples(info.op), outcomes(info.op)):
            before, after = (int(memory[given.address:given.address + bits // 8].view(f"u{bits // 8}")[0])
                             for memory in (given.memory, came.memory))
            (was, readers), (now, more) = holders(before), holders(after)
            takes |= came.pc in (NEXT, PRIORITY) and bool(now > was or more == readers + 1)
    return "" if takes == (Fact.TAKES in info.facts) else "takes a lock, or does not"


def lies_of_counting(info: OpInfo) -> str:
    """Additions in an order that nothing shows: both go on, either way round, and the word is the same."""
    if Fact.COUNTS not in info.facts:
        return ""
    family = [other for other in OP_TABLE if Fact.COUNTS in other.facts
              and (other.op.name.partition("_")[0], other.bytes) == (info.op.name.partition("_")[0], info.bytes)]
    source = random.Random(4)
    met = 0
    for other in {each.op: each for each in (*family, info)}.values():
        for one, two in zip(samples(info.op), reversed(samples(other.op))):
            word_ = word(source) if info.bytes == OF_ROW else word(source) & 0xFFFF
            if one.row["width"] != two.row["width"]:
                continue
            width = int(one.row["width"]) if info.bytes == OF_ROW else 16
            orders = [_through(word_, width, order) for order in ((one, two), (two, one))]
            alone = [_through(word_, width, (each,))[0] for each in (one, two)]
            ends = [end for pcs, _ in orders for end in pcs]
            if {pc for pcs in alone for pc in pcs} != {NEXT} or HALT in ends:
                continue
            met += 1
            if set(ends) != {NEXT} or orders[0][1] != orders[1][1]:
                return f"its order with {other.op.name} shows"
    return "" if met > 10 else "hardly ever goes on"


def _through(word_: int, width: int, given: tuple[Sample, ...]) -> tuple[list[int], int]:
    """Several ops on one word, one after the other: where each goes on, and the word that is left."""
    pcs, bytes_ = [], np.array([signed(word_)], np.int64).view(np.uint8)[:width // 8]
    for each in given:
        memory = each.memory.copy()
        memory[each.address:each.address + width // 8] = bytes_
        came = run(each, memory=memory)
        pcs.append(came.pc)
        bytes_ = came.memory[each.address:each.address + width // 8]
    return pcs, int.from_bytes(bytes_.tobytes(), "little")


CHECKS = {                       # by what the check looks at
    "writes": lies_of_writes, "reads": lies_of_reads, "memory": lies_of_memory, "price": lies_of_price,
    "outcomes": lies_of_outcomes, "taking": lies_of_taking, "counting": lies_of_counting,
}


# --- the table -------------------------------------------------------------------------------

@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("info", STEPPED, ids=NAMES)
def test_what_the_table_says_of_an_op_is_true(info, check):
    assert CHECKS[check](info) == ""


@pytest.mark.parametrize("info", STEPPED, ids=NAMES)
def test_the_op_in_python_comes_to_what_the_compiled_one_does(info):
    """So what it accesses there is what the compiled one accesses."""
    for given, came in zip(samples(info.op), outcomes(info.op)):
        again, _ = touched(given)
        assert same(came, again, range(REGISTERS))


# Ops with an order that shows.
ORDERED = (Op.SHAREX_TAKE_EXCLUSIVE, Op.SHAREX_DROP_EXCLUSIVE, Op.HP_REQUEST, Op.HP_TAKE_EXCLUSIVE, Op.STORE, Op.EXCHANGE)


def false_lines():
    """Lines with one entry too few or too many, or another one, and the check that has to find it."""
    for info in STEPPED:
        for column in ("reads", "writes", "may_write"):
            there = getattr(info, column)
            for entry in there:
                fewer = tuple(each for each in there if each != entry)
                yield info._replace(**{column: fewer}), "reads" if column == "reads" else "writes", f"{column} {entry} gone"
        yield info._replace(reads=(*info.reads, R.TDR_2M)), "reads", "reads one more"
        yield info._replace(writes=(*info.writes, R.TDR_2M)), "writes", "writes one more"
        yield info._replace(may_write=(*info.may_write, R.TDR_2M)), "writes", "may write one more"
        for access in Access:
            if access != info.access:
                yield info._replace(access=access), "memory", access.name
        for bytes_ in (1, 2, 4, 8):
            if bytes_ != info.bytes and info.bytes != OF_ROW:
                yield info._replace(bytes=bytes_), "memory", f"{bytes_} bytes"
        for price in Price:
            if price != info.price:
                yield info._replace(price=price), "price", f"price {price.name}"
        yield info._replace(facts=info.facts ^ Fact.TAKES), "taking", "takes the other way"
        yield info._replace(facts=info.facts ^ Fact.HALTS), "outcomes", "halts the other way"
        for count in range(4):
            if count != info.outcomes:
                yield info._replace(outcomes=count), "outcomes", f"{count} outcomes"
        if info.op in ORDERED:
            yield info._replace(facts=info.facts | Fact.COUNTS), "counting", "its order does not show"
        if info.op in TESTS:
            yield info._replace(passes=None), "outcomes", "passes nothing"


def test_an_op_that_replaces_a_word_leaves_what_it_is_given():
    """A compare-and-swap that keeps TDHP keeps just that."""
    kept = {Op.STORE: 0, Op.ENTRY_REPLACE: TDHP}
    assert {info.op for info in OP_TABLE if info.replaces} == set(kept)
    for op, mask in kept.items():
        for given, came in zip(samples(op), outcomes(op)):
            if came.pc == HALT:          # the word was not what the row expects of it
                continue
            bytes_ = len(span_of(OP_TABLE[op], given))
            before, after = (int.from_bytes(memory[given.address:given.address + bytes_].tobytes(), "little")
                             for memory in (given.memory, came.memory))
            new = int(given.registers[given.row["source"]]) + int(given.row["value"])
            assert after == (new & ~mask | before & mask) & (1 << 8 * bytes_) - 1


@pytest.mark.parametrize("op", [info.op for info in STEPPED], ids=NAMES)
def test_a_line_with_a_false_entry_is_found_out(op):
    lines = [(info, check, what) for info, check, what in false_lines() if info.op == op]
    assert len(lines) > 10
    assert not [what for info, check, what in lines if CHECKS[check](info) == ""]


# --- ops that `step` leaves to a driver, under the driver of the search ---

DRIVEN = [info for info in OP_TABLE if info.kind == Kind.DRIVER and info.op not in (
    Op.HALT, Op.STOP,                    # an actor's end
    Op.ARRIVE, Op.RESET)]                # of runs only
# What a driver does with these is to count: it goes into no register, and no row depends on it.
COUNTED_BY = {Op.CALL_END: (R.CALL, R.ANSWER, R.CONTENDED, R.ME), Op.BUG: (R.CALL, R.ANSWER)}
SCRIPT = np.array([11, 12, 13], np.int64)        # what the actor chooses, one after the other
SCRIPT_OVER = len(SCRIPT)
COUNTS = SCRIPT_OVER + 2             # calls, answers, counters and spans that the actor's record has room for
perform = for_python(moves.perform)


def driven(given: Sample, registers: np.ndarray, branch: int) -> Outcome:
    """What the driver of the search makes of a row of a host."""
    registers, at = registers.copy(), record.tables(*[COUNTS] * 4)
    own = np.zeros(at.words, np.int64)
    own[at.counts_in:at.counts_in + COUNTS] = own.ctypes.data        # as if each call had begun
    world = moves.World(
        rows=given.rows, live=np.zeros(len(given.rows), np.int64), contexts=contexts.none(len(given.rows)), base=0, start=np.zeros(1, np.int64),
        scripts=np.array([[0, len(SCRIPT)]]), values=SCRIPT, branches=np.array([0, 2]), timeouts=2,
        leave=np.array([ELSEWHERE]), alike=np.zeros((1, len(symmetry.COLUMNS)), np.int64), order=np.zeros(1, np.int64),
        own=own.ctypes.data, at=at,
        answer_kinds=np.zeros(COUNTS, np.int64), violations=np.zeros(1, np.int64))
    then = perform(world, given.row, int(given.row["op"]), registers, 0, branch)
    return Outcome(int(then), CONTINUE, registers, given.memory)


def driven_samples(op: Op) -> list[tuple[Sample, int]]:
    """Rows with choices from the script and with ones of which all outcomes are tried."""
    source, found = random.Random(int(op)), []
    for _ in range(SAMPLES):
        given = sample(source, OP_TABLE[op])
        given.row["value"] = source.randrange(2)
        if op == Op.BEGIN:
            given.row["mask"] = source.randrange(3)          # since another span began
        given.registers[[R.CALL, R.ANSWER]] = source.randrange(COUNTS), source.randrange(COUNTS)
        given.registers[R.DRAWS] = source.randrange(SCRIPT_OVER + 2)
        found.append((given, source.randrange(2)))
    return found


def lies_of_driver(info: OpInfo) -> str:
    """What is wrong with the columns `reads` and `writes` of an op that the driver interprets."""
    source, mattered, changed = np.random.default_rng(5), set(), set()
    for given, branch in driven_samples(info.op):
        writes, reads = registers_of(given.row, info.writes), registers_of(given.row, info.reads)
        came = driven(given, given.registers, branch)
        now = {number for number in others(set()) if came.registers[number] != given.registers[number]}
        if now - writes:
            return f"changes {now - writes}"
        changed |= {field for field in info.writes if registers_of(given.row, (field,)) & now}
        # A script that is over leaves without a choice, and writes nothing of it (see live_registers).
        certain = writes if came.pc == NEXT else writes & reads
        if not same(came, driven(given, scrambled(given, others(reads), source), branch), certain):
            return f"depends on more than {sorted(reads)}, or does not always write {sorted(writes)}"
        for field in info.reads:
            registers = given.registers.copy()
            registers[registers_of(given.row, (field,)).pop()] = source.integers(SCRIPT_OVER + 2)
            if not same(came, driven(given, registers, branch), writes):
                mattered.add(field)
    if changed != set(info.writes):
        return f"never writes {set(info.writes) - changed}"
    if mattered != set(info.reads) - set(COUNTED_BY.get(info.op, ())):
        return f"depends on {mattered}"
    return ""


@pytest.mark.parametrize("info", DRIVEN, ids=lambda info: info.op.name)
def test_what_the_table_says_of_an_op_of_the_driver_is_true(info):
    assert lies_of_driver(info) == ""
    for column in ("reads", "writes"):
        there = getattr(info, column)
        false = [tuple(each for each in there if each != entry) for entry in there
                 if entry not in COUNTED_BY.get(info.op, ())]
        for entries in (*false, (*there, R.TDR_2M)):
            assert lies_of_driver(info._replace(**{column: entries})) != "", f"{column}: {entries}"
