"""Who is stuck, and who only waits for a processor."""

import os
import subprocess
import sys
import threading
import time

import numpy as np
import psutil
import pytest

from harness.engines.processes import coordinator, watchdog
from harness.engines.processes.patience import LIMIT_S as LIMIT_OF_PATIENCE_S, TURN_S, Patience, Seen, see
from harness.experiment.plan import make_plan
from tests.stage import config


def test_time_counts_for_who_has_it():
    """`a` runs all the time, `b` is kept off its processor and then sleeps; of `c` the kernel says nothing."""
    seen = {"a": Seen(True, 5.0, 9), "b": Seen(True, 1.0, 3), "c": None}
    patience = Patience(0.0, "abc", seen.get)
    seen["a"] = Seen(True, 5.9, 10)
    assert patience.look(1.0, "ac") == pytest.approx(0.9)
    assert patience.look(1.0, "abc") == 0
    seen["b"] = Seen(True, 1.25, 4)
    assert patience.look(2.0, "abc") == pytest.approx(0.25)
    seen["a"], seen["b"] = Seen(True, 6.9, 10), Seen(False, 1.25, 4)     # asleep, or stopped
    assert patience.look(3.0, "abc") == pytest.approx(1.25)
    assert patience.look(3.0, "c") == patience.look(3.0, "") == 3.0  # the others have ended
    assert patience.look(LIMIT_OF_PATIENCE_S + 4, "abc") == LIMIT_OF_PATIENCE_S + 4


def test_who_gives_its_processor_up_at_once_has_had_it_all_the_same():
    seen = {"a": Seen(True, 1.0, 100)}
    patience = Patience(0.0, "a", seen.get)
    seen["a"] = Seen(True, 1.001, 140)
    assert patience.look(1.0, "a") == pytest.approx(40 * TURN_S)
    seen["a"] = Seen(True, 1.002, 10_000)
    assert patience.look(1.5, "a") == pytest.approx(40 * TURN_S + 0.5)   # no more than there was


def test_a_process_is_seen_as_it_is():
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    process = psutil.Process(child.pid)
    try:
        me = see(threading.get_native_id())
        assert me.ready and me.ran_s > 0
        process.suspend()
        while process.status() != psutil.STATUS_STOPPED:
            time.sleep(0.01)
        assert not see(child.pid).ready
    finally:
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert see(child.pid) is None                                # it has ended, and nobody has asked for its code
        child.communicate()
    assert see(child.pid) is None


def test_nothing_hangs_before_everybody_has_had_a_chance(monkeypatch):
    had_s = []

    class Had:
        def __init__(self, now, workers):
            had_s[:] = [0.0]

        def look(self, now, workers):
            return had_s[0]

    monkeypatch.setattr(watchdog, "Patience", Had)
    plan = make_plan(config())
    memory = coordinator.Memory(plan.layout)
    for actor in plan.actors:
        memory.registers(actor.number)[:] = plan.start(actor)
    touches = memory.record(0)[plan.tables.half + plan.tables.counters + plan.program.counters.index("touches"):]
    looks = iter(np.arange(1.0, 100.0, watchdog.BLIND_S / 2))
    dog = watchdog.Watchdog(plan, memory, lambda: [])

    def looked(count):
        return [dog.look(now) for now, _ in zip(looks, range(count))]

    longer = int(2 * watchdog.HANG_S / (watchdog.BLIND_S / 2))
    assert not any(looked(longer)) and had_s == [0.0]    # suspected, and nobody ran
    had_s[0] = watchdog.CHANCE_S / 2
    assert not any(looked(longer))
    touches[0] += 1                                      # one did get on
    had_s.clear()
    assert not any(looked(2)) and not had_s
    assert not any(looked(longer)) and had_s == [0.0]    # it begins again
    had_s[0] = watchdog.CHANCE_S
    [hang] = looked(1)
    assert len(hang.vcpus) == 4 and not hang.waiting and dog.deadlocks == 0
