"""Rows of small numbers in few words: a field each, as wide as what has been met so far asks for.

A memory's words have few values each, so a field has the number of a value among those (its *code*; the value 0 has code 0);
a word with very many has a field of 64 bits, the value itself.  What a field has no room for is not stored: whoever owns the
table lays it out anew (harness/engines/explore/stored.py) and the step that met it is made again.
"""

from typing import NamedTuple

import numpy as np

from kernels.compiling import kernel

FIELD = WORD, SHIFT, BITS = range(3)     # of a field: in which word of the row, from which bit on, how many; 0 bits: none yet
CODES_MAX = 256                  # values of a word that have codes; a word with more has its value itself
WHOLE = 64
NONE_FREE = 1 << 62              # in place of a code: fits no field

# What a worker asks for (`asks[WHAT]`), for which all others have to stop: a wider field of memories, of states; a step
# alone.  asks[SHARED]: whether others are at work.
NOTHING, WIDER_MEMORY, WIDER_STATE, ALONE = range(4)
ASKS = WHAT, SHARED = range(2)


class Dictionary(NamedTuple):
    """fields int64 (words, FIELD); codes: int64 (words,), how many values have been met; values: int64 (words, CODES_MAX).

    end      int64 (FIELD,): where the next field may lie, and how many bits it is to have
    """

    fields: np.ndarray
    end: np.ndarray
    codes: np.ndarray
    values: np.ndarray


@kernel
def code_of(dictionary, word, value, asks):
    """The code of a value that is not 0: a new one if it has not been met; 0 if that cannot be done while others work."""
    codes = dictionary.codes[word]
    for code in range(1, codes):
        if dictionary.values[word, code] == value:
            return np.int64(code)
    if asks[SHARED] != 0:
        asks[WHAT] = ALONE
        return np.int64(0)
    if codes == CODES_MAX:
        return np.int64(NONE_FREE)
    dictionary.values[word, codes] = value
    dictionary.codes[word] = codes + 1
    return np.int64(codes)


@kernel
def place(fields, end, word, columns):
    """Give a word that had none a field behind the others, if there is room in so many columns.  Nobody else may be at work."""
    if end[SHIFT] + end[BITS] > WHOLE:
        end[WORD], end[SHIFT] = end[WORD] + 1, 0
    if end[WORD] < columns:
        for each in range(3):
            fields[word, each] = end[each]
        end[SHIFT] += end[BITS]


@kernel
def pack(dictionary, words, count, row, asks):
    """Put words into a row; something is asked for where that cannot be done."""
    for column in range(row.shape[0]):
        row[column] = 0
    for word in range(count):
        if words[word] != 0:
            repack(dictionary, row, word, words[word], asks)


@kernel
def repack(dictionary, row, word, value, asks):
    """Put another value of a word into a row; something is asked for where that cannot be done."""
    bits, shift, column = dictionary.fields[word, BITS], dictionary.fields[word, SHIFT], dictionary.fields[word, WORD]
    if bits == WHOLE:
        row[column] = value
        return
    code = code_of(dictionary, word, value, asks) if value != 0 else np.int64(0)
    if bits == 0 and code != 0:
        place(dictionary.fields, dictionary.end, word, row.shape[0])
        bits, shift, column = dictionary.fields[word, BITS], dictionary.fields[word, SHIFT], dictionary.fields[word, WORD]
    if code >> bits != 0:
        asks[WHAT] = WIDER_MEMORY
    else:
        row[column] = row[column] & ~((1 << bits) - 1 << shift) | code << shift


@kernel
def unpack(dictionary, row, word):
    """A word of a row."""
    bits = dictionary.fields[word, BITS]
    if bits == 0:
        return np.int64(0)
    field = row[dictionary.fields[word, WORD]]
    if bits == WHOLE:
        return field
    return dictionary.values[word, field >> dictionary.fields[word, SHIFT] & (1 << bits) - 1]
