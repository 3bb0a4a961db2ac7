"""Questions to the actors' clock, asked by the coordinator before and after a run.

    calibrate   ticks per nanosecond, what a reading costs, how fast a fixed piece of work is
    compared    what has changed since, and how far the clocks of the processors are apart
"""

import functools
import mmap
import multiprocessing
import os
import time
from typing import NamedTuple

from harness import stops
from harness.host import procfs
from harness.host.conditions import Clocks
from kernels import clock_checks, realtime
from kernels.atomics import address_of

CALIBRATION_S = 0.02
ROUNDS = 500                     # exchanges between two processors, some 0.1 ms
PATIENCE_TICKS = 150_000_000     # some 50 ms, for processors that are busy with something else
COMPARED_MAX = 16                # so many processors are compared with the first


class Calibration(NamedTuple):
    """The clock at one moment."""

    at_ticks: int
    at_ns: int
    ticks_per_ns: float
    reading_ticks: int           # what one reading of the clock costs
    pace_ticks: int              # what a fixed piece of work takes


def calibrate() -> Calibration:
    """Takes CALIBRATION_S."""
    ticks, nanoseconds, pace, _ = clock_checks.observe(1)
    time.sleep(CALIBRATION_S)
    later, later_ns, *_ = clock_checks.observe(1)
    rate = (later - ticks) / (later_ns - nanoseconds)
    return Calibration(ticks, nanoseconds, rate, realtime.read_clock()[1], pace)


def compared(start: Calibration, processors: list[int]) -> Clocks:
    """The clock since `start`, to be asked when the workers have ended."""
    ticks, nanoseconds, pace, _ = clock_checks.observe(1)
    offset_ticks = offset(tuple(processors))
    return Clocks(
        procfs.clock_source(), procfs.clock_is_invariant(),
        None if offset_ticks is None else offset_ticks / start.ticks_per_ns,
        (ticks - start.at_ticks) / (nanoseconds - start.at_ns) / start.ticks_per_ns - 1,
        pace / start.pace_ticks - 1)


@functools.cache
def offset(processors: tuple[int, ...]) -> int | None:
    """Ticks that a processor's clock is at least apart from the first one's: the greatest of all.

    Measured once in the life of a process.  None if no two processors could be compared in time.
    """
    if len(processors) == 1:
        return 0
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {processors[0]})
        found = [_compare(processor) for processor in processors[1:1 + COMPARED_MAX]]
    finally:
        os.sched_setaffinity(0, allowed)
    return max((max(0, abs(ahead) - error) for ahead, error in found if error >= 0), default=None)


def _compare(processor: int) -> tuple[int, int]:
    """kernels.clock_checks.exchange with a process on another processor."""
    block = mmap.mmap(-1, mmap.PAGESIZE)
    word = address_of(block)
    clock_checks.exchange(word, False, 0, 0)                # compiled before there are two processes
    block[:8] = bytes(8)

    def answer():
        stops.ignore()
        os.sched_setaffinity(0, {processor})
        clock_checks.exchange(word, True, 0, PATIENCE_TICKS)
        os._exit(0)

    other = multiprocessing.get_context("fork").Process(target=answer)
    other.start()
    try:
        return clock_checks.exchange(word, False, ROUNDS, PATIENCE_TICKS)
    finally:
        other.join()
