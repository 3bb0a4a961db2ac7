"""What rows cost in their sequences: the fit finds prices that are there, and the same turns are executed every time."""

import numpy as np
import pytest

from harness.commands import sequences
from kernels import in_turn
from kernels.ops import REGISTERS, Op, Register


@pytest.fixture(scope="module")
def sequence():
    return sequences.Sequence("kick_on_busy", sequences.HOT)


def test_prices_that_are_there_are_found_and_overlap_is_what_remains(monkeypatch):
    monkeypatch.setattr(sequences, "PULL", 0.001)
    random = np.random.default_rng(1)
    alone = np.array([4.0, 5.0, 4.0, 6.0, 17.0])
    true = alone * [0.5, 0.7, 0.6, 0.4, 0.8]
    rows = random.integers(5, 200, (300, len(alone)))
    found, overlap = sequences.fit(rows, rows @ true, alone)
    assert found == pytest.approx(true, rel=0.05)
    assert overlap == pytest.approx(np.median(rows @ true / (rows @ alone)))


def test_rows_in_the_same_proportions_everywhere_are_drawn_to_what_they_take_alone():
    """Times do not tell two kinds apart that always come together: each then has its share of what is left."""
    rows = np.outer(np.arange(1, 60), [3, 1])
    found, _ = sequences.fit(rows, rows @ np.array([2.0, 5.0]), np.array([4.0, 10.0]))
    assert found == pytest.approx([2.0, 5.0], rel=0.01)


def test_no_row_is_free():
    rows = np.array([[10, 1], [1, 10], [5, 5]])
    assert (sequences.fit(rows, rows @ np.array([3.0, -2.0]) + 25, np.array([3.0, 3.0]))[0] > 0).all()


@pytest.mark.slow
def test_a_repetition_executes_the_same_rows(sequence):
    """Timed or counted, together or again: actors end at the same rows with the same registers, and records alike."""
    def end(driver):
        sequence.again()
        sequence.run(driver)
        return sequence.files.copy()

    one, other, counted = (end(driver) for driver in (in_turn.timed, in_turn.timed, in_turn.counted))
    assert (one == other).all() and (one == counted).all() and one.shape[1] == REGISTERS
    assert one[0, Register.DRAWS] > sequences.BLOCKS


@pytest.mark.slow
def test_what_is_counted_is_what_a_vcpu_and_a_host_do(sequence):
    """Each row has its kind; faults and removals come."""
    assert sequence.rows.shape == (sequences.BLOCKS, len(sequences.KINDS)) and (sequence.rows[1:].sum(axis=1) > 20).all()
    assert (sequence._count() == sequence.rows).all()
    ops = sequence.counts.sum(axis=0)
    assert ops[Op.ENTRY_TAKE] > 100 and ops[Op.MMU_TAKE_EXCLUSIVE] > 100 and ops[Op.CALL_BEGIN] == ops[Op.CALL_END] > 500
