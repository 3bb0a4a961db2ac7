"""Entry words and statuses, against the tables of the module's documentation."""

import pytest

from kernels.machine import state_index
from kernels.compiling import for_python
from kernels.words import (
    LEAF_BITS, PS, STATE, STATE_MASK, UNKNOWN_STATE, signed, state_of, states,
    status_name, unsigned,
)

HPA = 0x1_2345_6000

WORDS = {                        # unlocked, no host priority; HPA where there is one
    "FREE": 0x80E0_0000_0000_0000, "NL_MAPPED": 0x8000_0001_2345_6007, "NL_BLOCKED": 0x8080_0001_2345_6000,
    "MAPPED": 0x8000_0001_2345_60F7, "BLOCKED": 0x8080_0001_2345_60F0, "PENDING": 0x8100_0001_2345_60F0,
    "PEND_BLOCKED": 0x8180_0001_2345_60F0,
}


@pytest.mark.parametrize("name, word", WORDS.items())
def test_words_of_the_states_that_occur_without_migration(name, word):
    assert STATE[name].word(0 if name == "FREE" else HPA) == word
    assert STATE[name].word(0 if name == "FREE" else HPA, lock=True) == word + 0x800
    assert STATE[name].word(0 if name == "FREE" else HPA, priority=True) == word + (1 << 52)


@pytest.mark.parametrize("state", STATE.values(), ids=lambda state: state.name)
def test_a_word_spells_its_state_whatever_else_is_in_it(state):
    index = for_python(state_index)
    for lock in (False, True):
        for priority in (False, True):
            word = state.word(HPA, lock, priority)
            assert state_of(word) is state
            assert index(signed(word)) == state.index
    assert state.leaf == (state.word() & LEAF_BITS in (LEAF_BITS, PS))


def test_all_other_codes_spell_nothing():
    index = for_python(state_index)
    known = {state.word() & STATE_MASK for state in STATE.values()}
    spelled = 0
    for code in range(128):
        word = sum((code >> position & 1) << bit for position, bit in enumerate((9, 53, 54, 55, 56, 6, 7)))
        spelled += word in known
        assert (state_of(word) is None) == (word not in known) == (index(word) == UNKNOWN_STATE)
    assert spelled == 19


def test_a_set_of_states_is_a_mask_of_their_indices():
    assert states("FREE", "MAPPED") == 1 << 0 | 1 << 4


@pytest.mark.parametrize("word, name", [
    (0, "TDX_SUCCESS"), (0x8000_0200_0000_0092, "TDX_OPERAND_BUSY|SEPT_TREE"),
    (0x8000_0200_0000_00A9, "TDX_OPERAND_BUSY|TD_EPOCH"), (0x8000_0200_0000_0001, "TDX_OPERAND_BUSY|RCX"),
    (0x8000_0200_0000_0080, "TDX_OPERAND_BUSY|TDR"), (0x8000_0201_0000_0000, "TDX_PREVIOUS_TLB_EPOCH_BUSY"),
    (0xC000_0B08_0000_0001, "TDX_TLB_TRACKING_NOT_DONE|RCX"),
    (0x0000_0B07_0000_0001, "TDX_GPA_RANGE_ALREADY_BLOCKED|RCX"),
    (0xC000_0B0B_0000_0000, "TDX_PAGE_SIZE_MISMATCH|level 0"), (0x30, "EXIT_REASON_EPT_VIOLATION"),
])
def test_statuses_read_as_the_field_writes_them(word, name):
    assert status_name(word) == name
    assert status_name(signed(word)) == name


def test_signed_and_unsigned_are_inverse():
    for word in (0, 1, 1 << 62, 1 << 63, (1 << 64) - 1):
        assert unsigned(signed(word)) == word
