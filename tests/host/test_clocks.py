"""Whether the processors' clocks are one clock, and how fast the processors are."""

import threading

import numpy as np

from harness.host import clocks
from kernels import clock_checks


def test_two_clocks_are_found_as_far_apart_as_they_are():
    """The other side is played by a thread with a clock ten thousand million ticks ahead."""
    word, stop = np.zeros(8, np.int64), []

    def answer():
        while not stop:
            if word[0] == clock_checks.ASKED:
                word[0] = clock_checks.observe(1)[0] + 10_000_000_000

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    # Some minutes, for a thread that is preempted.
    ahead, error = clock_checks.exchange(word.ctypes.data, False, 3, 500_000_000_000)
    stop.append(True)
    thread.join()
    assert error > 0 and abs(ahead - 10_000_000_000) <= error


def test_nobody_who_answers_is_noticed():
    word = np.zeros(8, np.int64)
    assert clock_checks.exchange(word.ctypes.data, False, 3, 1_000_000)[1] == -1


def test_one_processor_agrees_with_itself():
    assert clocks.offset((0,)) == 0


def test_a_clock_runs_and_work_takes_time():
    one, other = clock_checks.observe(1), clock_checks.observe(1)
    assert other[0] > one[0] and other[1] > one[1] and one[2] > 0
    calibration = clocks.calibrate()
    assert calibration.ticks_per_ns > 0 and calibration.pace_ticks > 0
