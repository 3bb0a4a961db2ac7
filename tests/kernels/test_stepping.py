"""The zero-step mitigation on hand-made streams of exits."""

import numpy as np
import pytest

from kernels import stepping
from kernels.compiling import for_python
from kernels.words import EPF_LIST_SIZE, EPF_THRESHOLD


class Vcpu:
    """The mitigation's words of one vCPU."""

    def __init__(self):
        self.words = np.zeros(stepping.STEPPING_BYTES // 8, np.int64)

    def _call(self, function, *arguments):
        return for_python(function)(self.words.ctypes.data, *arguments)

    def enter(self, rip):
        return self._call(stepping.enter, rip)

    def exits(self, rip):
        self._call(stepping.exit_filter, rip)

    def faults(self, rip, page):
        self.exits(rip)
        return bool(self._call(stepping.log_fault, rip, page))

    @property
    def listed(self):
        return [self._call(stepping.listed, index) for index in range(self._call(stepping.listed_count))]

    @property
    def count(self):
        return int(self.words.view(np.uint8)[stepping.EPF_COUNT])


def test_six_faults_do_not_arm_the_seventh_does():
    vcpu = Vcpu()
    for fault in range(1, EPF_THRESHOLD + 1):
        assert vcpu.enter(rip=100) == 0
        assert not vcpu.faults(rip=100, page=7)
        assert (vcpu.count, vcpu.listed) == (fault, [])
    assert vcpu.enter(rip=100) == 0
    assert vcpu.faults(rip=100, page=7)
    assert (vcpu.count, vcpu.listed) == (EPF_THRESHOLD, [7])
    assert vcpu.enter(rip=100) == 1


def test_the_usual_first_fault_after_progress_is_one_of_the_six():
    vcpu = Vcpu()
    vcpu.enter(rip=100)
    assert not vcpu.faults(rip=104, page=7)              # progress since entry
    assert vcpu.count == 1
    for _ in range(EPF_THRESHOLD - 1):
        vcpu.enter(rip=104)
        assert not vcpu.faults(rip=104, page=7)
    vcpu.enter(rip=104)
    assert vcpu.faults(rip=104, page=7)


def test_progress_empties_counter_and_list():
    vcpu = Vcpu()
    for _ in range(EPF_THRESHOLD + 1):
        vcpu.enter(rip=100)
        vcpu.faults(rip=100, page=7)
    vcpu.enter(rip=100)
    vcpu.exits(rip=100)                                  # an interrupt at the same RIP changes nothing
    assert vcpu.listed == [7]
    vcpu.exits(rip=101)
    assert (vcpu.count, vcpu.listed) == (0, [])


def test_a_page_is_listed_once_and_the_33rd_is_dropped():
    vcpu = Vcpu()
    vcpu.enter(rip=100)
    armed = [vcpu.faults(rip=100, page=page) for page in [0] * EPF_THRESHOLD + [*range(40), 5, 39]]
    assert vcpu.listed == list(range(EPF_LIST_SIZE))
    assert armed.count(True) == 1 and armed.index(True) == EPF_THRESHOLD


def test_exits_that_are_no_faults_do_not_count():
    """An ACCEPT that raises a violation leaves through another routine: S29."""
    vcpu = Vcpu()
    vcpu.enter(rip=100)
    for _ in range(100):
        vcpu.exits(rip=100)
    assert (vcpu.count, vcpu.listed) == (0, [])


@pytest.mark.parametrize("streak", range(1, 20))
def test_a_streak_arms_exactly_when_it_is_longer_than_the_threshold(streak):
    vcpu = Vcpu()
    vcpu.enter(rip=100)
    assert [vcpu.faults(100, 1) for _ in range(streak)].count(True) == (streak > EPF_THRESHOLD)


def test_an_entry_that_is_forgotten_is_never_missed():
    """A thousand random lives of a vCPU: whatever comes back is the same, and so are the count and the list."""
    source = np.random.default_rng(1)
    kept, forgetful, rip = Vcpu(), Vcpu(), 0
    forget = for_python(stepping.forget_entry)
    wiped = 0
    for _ in range(1_000):
        rip += int(source.random() < 0.1)
        page, ways_out = int(source.integers(3)), source.integers(3, size=source.integers(1, 4))
        assert kept.enter(rip) == forgetful.enter(rip)
        for way_out in ways_out:                             # exits that the TD comes back from by itself, then one to the host
            forget(forgetful.words.ctypes.data, False)
            rip += int(source.random() < 0.2)
            if way_out:
                kept.exits(rip), forgetful.exits(rip)
            else:
                assert kept.faults(rip, page) == forgetful.faults(rip, page)
                forget(forgetful.words.ctypes.data, True)
                break
        wiped += int(kept.words[0] != forgetful.words[0])
        assert (kept.count, kept.listed) == (forgetful.count, forgetful.listed)
    assert wiped > 500 and kept.words[0]


def test_a_page_is_listed_once_wherever_in_the_list_it_is():
    vcpu = Vcpu()
    for page in (*[1] * EPF_THRESHOLD, 7, 8, 9, 8, 9, 7):
        vcpu.enter(rip=100)
        vcpu.faults(rip=100, page=page)
    assert vcpu.listed == [7, 8, 9]
