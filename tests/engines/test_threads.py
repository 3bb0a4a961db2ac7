"""Engines in a thread that is not the main one, as in a notebook, a server or a worker: no handler is set, nothing is lost."""

import signal
import threading

import pytest

from harness import stops
from harness.commands import running
from harness.experiment import config_file
from tests.command_line import ROOT

SHORT = {"simulate": ["warmup_s=0", "duration_s=0.002"], "processes": ["warmup_s=0", "duration_s=0.1"]}


@pytest.mark.parametrize("engine", ["simulate", pytest.param("processes", marks=pytest.mark.slow)])
def test_a_run_in_a_thread_is_the_run_of_the_main_thread(engine):
    plan = running.prepare(config_file.load(ROOT / "configs/kick_on_busy.toml", [f"engine={engine}", *SHORT[engine]]))
    found, before = [], [signal.getsignal(number) for number in stops.SIGNALS]
    thread = threading.Thread(target=lambda: found.append(running.measure(plan)))
    thread.start()
    thread.join()
    assert found and not found[0].interrupted
    assert [signal.getsignal(number) for number in stops.SIGNALS] == before
    if engine == "simulate":
        assert found[0].seamcalls == running.measure(plan).seamcalls


def test_nothing_of_stops_sets_a_handler_in_a_thread():
    problems = []

    def use():
        try:
            with stops.listen(), stops.noted():
                stops.ignore()
        except ValueError as problem:                        # signal only works in main thread
            problems.append(problem)
    before = [signal.getsignal(number) for number in stops.SIGNALS]
    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert not problems and [signal.getsignal(number) for number in stops.SIGNALS] == before
