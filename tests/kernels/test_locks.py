"""Whole lock operations: the expected words, and a plain statement of each rule on arbitrary words."""

import csv
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from kernels import locks
from kernels.compiling import for_python
from kernels.words import TDEL, TDHP

VECTORS = defaultdict(list)
with open(Path(__file__).parent.parent / "vectors" / "lock_words.csv", newline="") as file:
    for row in csv.DictReader(file):
        VECTORS[row["operation"]].append(row)


@pytest.mark.parametrize("primitive", ["cas", "bts"])
@pytest.mark.parametrize("operation", VECTORS)
def test_operations_agree_with_the_vectors(operation, primitive):
    rows = VECTORS[operation]
    results, words, halts = locks.apply(operation, [int(row["word"], 16) for row in rows], primitive)
    assert list(results) == [row["result"] for row in rows]
    assert [int(word) for word in words] == [int(row["word_after"], 16) for row in rows]
    assert list(halts) == [row["halts"] == "1" for row in rows]


def test_every_operation_has_vectors_and_they_are_all_there():
    assert set(VECTORS) == set(locks.OPERATIONS)
    assert sum(map(len, VECTORS.values())) == 1130


# Each rule in plain Python: word -> (result, word after, halts), for 16-bit words as Python integers.

def low16(word):
    return word & 0xFFFF


def rule_sharex_acquire_shared(word):
    return ("BUSY" if word & 1 else "SUCCESS"), low16(word + 2), word == 0xFFFE


def rule_sharex_acquire_exclusive(word):
    return ("SUCCESS", 1, False) if word == 0 else ("BUSY", word, False)


def rule_sharex_release_shared(word):
    return "SUCCESS", low16(word - 2), bool(word & 1) or word >> 1 == 0


def rule_sharex_release_exclusive(word):
    return "SUCCESS", 0, not word & 1


def rule_sharex_promote(word):
    result = "SUCCESS" if word >> 1 == 1 else "BUSY"
    return result, 1 if word == 2 else word, bool(word & 1) or word == 0


def rule_sharex_demote(word):
    return "SUCCESS", 2, not word & 1


def rule_hp_acquire_shared_host(word):
    added = low16(word + 4)
    if word & 1:
        return "BUSY", added | 2, False
    return "SUCCESS", added & ~2 if word & 2 else added, word >> 2 == 0x3FFF


def rule_hp_acquire_shared_guest(word):
    if word & 2:
        return "BUSY_HOST_PRIORITY", word, False
    return ("BUSY" if word & 1 else "SUCCESS"), low16(word + 4), not word & 1 and word >> 2 == 0x3FFF


def rule_hp_acquire_exclusive_host(word):
    return ("SUCCESS", 1, False) if word in (0, 2) else ("BUSY", word | 2, False)


def rule_hp_acquire_exclusive_guest(word):
    result = {0: "SUCCESS", 2: "BUSY_HOST_PRIORITY"}.get(word, "BUSY")
    return result, 1 if word == 0 else word, False


def rule_hp_release_shared(word):
    return "SUCCESS", low16(word - 4), bool(word & 1) or word >> 2 == 0


def rule_hp_release_exclusive(word):
    return "SUCCESS", word & 2, not word & 1


def rule_hp_promote(word):
    if word in (4, 6):
        return "SUCCESS", 1, False
    return "BUSY", word | 2, bool(word & 1) or word == 0


def rule_entry_acquire_host(word):
    return ("BUSY", word | TDHP, False) if word & TDEL else ("SUCCESS", (word | TDEL) & ~TDHP, False)


def rule_entry_acquire_guest(word):
    if word & TDEL:
        return "BUSY", word, False
    return ("BUSY_HOST_PRIORITY", word, False) if word & TDHP else ("SUCCESS", word | TDEL, False)


def rule_entry_release(word):
    return "SUCCESS", word & ~TDEL, not word & TDEL


def rule_mutex_acquire(word):
    return ("SUCCESS", 1, False) if word == 0 else ("BUSY", word, False)


def rule_mutex_release(word):
    return "SUCCESS", 0 if word == 1 else word, word != 1


@pytest.mark.parametrize("primitive", ["cas", "bts"])
@pytest.mark.parametrize("operation", locks.OPERATIONS)
def test_operations_follow_their_rule_on_arbitrary_words(operation, primitive):
    width, _ = locks.OPERATIONS[operation]
    rule = globals()[f"rule_{operation}"]

    @settings(max_examples=60)
    @given(st.lists(st.integers(0, (1 << width) - 1), min_size=1, max_size=50))
    def follows(words):
        results, after, halts = locks.apply(operation, words, primitive)
        for word, got in zip(words, zip(results, map(int, after), map(bool, halts))):
            assert got == rule(word), hex(word)

    follows()


@pytest.mark.parametrize("operation", [name for name, (width, _) in locks.OPERATIONS.items() if width == 16])
def test_sixteen_bit_operations_follow_their_rule_on_every_word(operation):
    """All 65,536 words, by the compiled function itself rather than through apply."""
    function = for_python(locks.OPERATIONS[operation][1])
    rule = globals()[f"rule_{operation}"]
    cell = np.zeros(1, np.uint16)
    for word in range(0, 1 << 16, 1 if operation == "hp_promote" else 3):
        cell[0] = word
        outcome = function(cell.ctypes.data)
        got = locks.RESULTS[outcome & ~locks.HALTS], int(cell[0]), bool(outcome & locks.HALTS)
        assert got == rule(word), hex(word)


def test_a_wrong_name_or_a_word_too_wide_is_refused():
    with pytest.raises(ValueError, match="sharex_acquire_shared"):
        locks.apply("sharex_acquire", [0])
    with pytest.raises(ValueError, match="16-bit"):
        locks.apply("sharex_acquire_shared", [0x10000])
    with pytest.raises(ValueError, match="cas, bts"):
        locks.apply("sharex_acquire_shared", [0], primitive="btr")


@pytest.mark.parametrize("step, takes, checks", [("hp_take_exclusive_over_priority", 2, False), ("hp_promote_over_priority", 6, True)])
def test_a_second_try_takes_only_what_has_priority_and_no_other_holder(step, takes, checks):
    """Whatever has come between the tries; a promotion also checks that its own count is there still."""
    function, cell = for_python(getattr(locks, step)), np.zeros(1, np.uint16)
    for word in (*range(16), 0xFFFE, 0xFFFF):
        cell[0] = word
        halts = locks.HALTS if checks and (word & 1 or word == 0) else 0
        assert function(cell.ctypes.data) == (locks.DONE if word == takes else locks.BUSY + halts), word
        assert cell[0] == (1 if word == takes else word)


@pytest.mark.parametrize("operation", locks.OPERATIONS)
def test_a_word_may_be_as_wide_as_the_lock_and_no_wider(operation):
    width = {"mutex": 8, "sharex": 16, "hp": 16, "entry": 64}[operation.partition("_")[0]]
    assert len(locks.apply(operation, [(1 << width) - 1])[0]) == 1
    with pytest.raises(ValueError, match=f"{width}-bit"):
        locks.apply(operation, [1 << width])


# --- what nobody sees in the word: which instruction it was, and how often another actor came between ---

BITS = {"entry_take": "set_tdel", "entry_clear_priority": "reset_tdhp", "entry_request_priority": "set_tdhp", "entry_drop": "reset_tdel"}


@pytest.mark.parametrize("step", BITS)
@pytest.mark.parametrize("primitive", locks.PRIMITIVES)
def test_each_primitive_uses_its_own_instruction(monkeypatch, step, primitive):
    used = []
    for name in ("swap_bits", *BITS.values()):
        monkeypatch.setattr(locks, name, lambda *_, name=name: used.append(name) or 0)
    assert getattr(locks, step).py_func(0, locks.PRIMITIVES[primitive], None) == locks.DONE
    assert used == ["swap_bits" if primitive == "cas" else BITS[step]]


class Busy:
    """Atomics of one word into which others write, one value before each of the first swaps."""

    def __init__(self, word, *others):
        self.word, self.others = word, list(others)

    def load64(self, _address):
        return self.word

    def compare_swap64(self, _address, expected, new):
        if self.others:
            self.word = self.others.pop(0)
        seen = self.word
        if seen == expected:
            self.word = new
        return seen


NEW, OTHER = 0x1000, 0x2000


@pytest.mark.parametrize("others, answer, after, lost", [
    ([], (locks.DONE, NEW), NEW, 0),
    ([TDHP], (locks.DONE, NEW | TDHP), NEW | TDHP, 1),           # priority that came between stays
    ([TDHP, 0], (locks.DONE, NEW), NEW, 2),
    ([OTHER], (locks.DONE + locks.HALTS, OTHER), OTHER, 1),      # more than that came between
])
def test_an_entry_is_replaced_if_only_priority_came_between(monkeypatch, others, answer, after, lost):
    busy, tally = Busy(0, *others), [0]
    monkeypatch.setattr(locks, "atomics", busy)
    assert locks.entry_replace_checked.py_func(0, NEW, 0, tally) == answer
    assert busy.word == after and tally == [lost]


@pytest.mark.parametrize("others, lost", [([], 0), ([OTHER], 1), ([OTHER, TDHP], 2)])
def test_bits_are_changed_in_what_came_between(monkeypatch, others, lost):
    busy, tally = Busy(NEW, *others), [0]
    monkeypatch.setattr(locks, "atomics", busy)
    before = others[-1] if others else NEW
    assert locks.swap_bits.py_func(0, TDHP, TDEL, tally) == before
    assert busy.word == before & ~TDHP | TDEL and tally == [lost]


def test_neighbouring_words_are_left_alone():
    cells = np.full(4, 0xABCD, np.uint16)
    cells[1] = 1
    for_python(locks.hp_drop_exclusive)(cells[1:].ctypes.data)
    assert list(cells) == [0xABCD, 0, 0xABCD, 0xABCD]
