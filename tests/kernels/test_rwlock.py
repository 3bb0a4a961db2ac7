"""mmu_lock: what each function makes of each kind of word."""

import numpy as np
import pytest

from kernels import rwlock
from kernels.compiling import for_python
from kernels.rwlock import NOT_YET, QUEUED, READER, TAKEN, WAITING, WRITER
from tests.kernels.test_locks import Busy


@pytest.mark.parametrize("function, word, answer, after", [
    ("take_shared", 0, TAKEN, READER),
    ("take_shared", 2 * READER, TAKEN, 3 * READER),
    ("take_shared", WRITER, QUEUED, WRITER + READER),
    ("take_shared", WRITER + WAITING, QUEUED, WRITER + WAITING + READER),
    ("take_shared", WAITING, NOT_YET, WAITING),
    ("take_shared", READER + WAITING, NOT_YET, READER + WAITING),
    ("take_exclusive", 0, TAKEN, WRITER),
    ("take_exclusive", WAITING, TAKEN, WRITER),
    ("take_exclusive", READER, NOT_YET, READER + WAITING),
    ("take_exclusive", WRITER, NOT_YET, WRITER + WAITING),
    ("take_exclusive", READER + WAITING, NOT_YET, READER + WAITING),
    ("take_exclusive", WRITER + WAITING, NOT_YET, WRITER + WAITING),
    ("drop_shared", 2 * READER + WAITING, None, READER + WAITING),
    ("drop_exclusive", WRITER + WAITING + READER, None, WAITING + READER),
])
def test_a_function_answers_and_leaves_the_word(function, word, answer, after):
    cell = np.array([word], np.uint64)
    assert for_python(getattr(rwlock, function))(cell.ctypes.data) == answer
    assert cell[0] == after


def test_the_bits_are_linuxs_and_the_answers_differ():
    """A byte that says a writer holds it, a bit that one waits, and readers above."""
    assert (WRITER, WAITING, READER) == (0x001, 0x100, 0x200)
    assert len({TAKEN, QUEUED, NOT_YET}) == 3 and TAKEN == 0


@pytest.mark.parametrize("function, others, answer, after", [
    ("take_shared", [READER], TAKEN, 2 * READER),                    # another reader came first
    ("take_shared", [WRITER], QUEUED, WRITER + READER),
    ("take_shared", [WAITING], NOT_YET, WAITING),
    ("take_exclusive", [WRITER], NOT_YET, WRITER + WAITING),
    ("take_exclusive", [READER, 0], TAKEN, WRITER),
])
def test_a_taker_looks_again_at_what_came_between(monkeypatch, function, others, answer, after):
    busy = Busy(0, *others)
    monkeypatch.setattr(rwlock, "atomics", busy)
    assert getattr(rwlock, function).py_func(0) == answer
    assert busy.word == after


@pytest.mark.parametrize("function, word", [
    ("take_shared", WAITING), ("take_shared", READER + WAITING), ("take_exclusive", READER + WAITING), ("take_exclusive", WRITER + WAITING),
])
def test_a_taker_that_waits_and_is_noted_only_reads(monkeypatch, function, word):
    """As Linux's atomic_cond_read: the line stays with the one who has to drop the lock."""
    busy = Busy(word)
    monkeypatch.setattr(busy, "compare_swap64", lambda *_: pytest.fail("it writes"), raising=True)
    monkeypatch.setattr(rwlock, "atomics", busy)
    assert getattr(rwlock, function).py_func(0) == NOT_YET
