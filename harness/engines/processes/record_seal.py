"""A worker's record is whole, or it is not used: a sequence number and a checksum behind its tables.

The sequence is 0 before the worker has begun, odd while it writes, even once it has ended by itself
and put the checksum beside.  So what a killed worker leaves is seen to be torn, and what another process
wrote into is seen to be damaged.
"""

import zlib

import numpy as np

from kernels.record import Tables

WHOLE, MISSING, TORN, DAMAGED = "whole", "missing", "torn", "damaged"


def begin(record: np.ndarray, at: Tables) -> None:
    """The worker is about to write."""
    record[at.seal] = 1


def end(record: np.ndarray, at: Tables) -> None:
    """The worker will not write any more."""
    record[at.seal + 1] = checksum(record, at)
    record[at.seal] = 2


def state(record: np.ndarray, at: Tables) -> str:
    """WHOLE, MISSING (never begun), TORN (not ended), DAMAGED (changed since).

    record   int64 (at.words,)
    """
    sequence = int(record[at.seal])
    if sequence == 0:
        return MISSING
    if sequence % 2:
        return TORN
    return WHOLE if int(record[at.seal + 1]) == checksum(record, at) else DAMAGED


def checksum(record: np.ndarray, at: Tables) -> int:
    return zlib.crc32(np.ascontiguousarray(record[:at.seal]))
