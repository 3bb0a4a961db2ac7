"""Virtual time: an interrupt keeps what was simulated; a large TD takes what is touched of it."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from harness.engines.simulate import simulation
from harness.experiment.plan import make_plan
from harness.reports.summary import summary
from harness.results import document
from tests import stage

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.parametrize("phases", [
    {"duration_s": 1000.0, "warmup_s": 0.0}, {"duration_s": 1.0, "warmup_s": 60.0}], ids=["measured", "warm-up"])
def test_an_interrupt_keeps_what_was_simulated_and_the_td_comes_to_rest(phases):
    before = signal.getsignal(signal.SIGINT)
    running = simulation.Simulation(make_plan(stage.config(engine="simulate", **phases)))
    move, moves = running.move, iter(range(100))

    def moved(turn):
        if next(moves) == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return move(20_000)

    running.move = moved
    running.run()
    result = document.from_measured(running.measured())
    assert result.interrupted and 0 < result.measured_s < 1 and result.counters["touches"] > 0
    assert not any(result.invariants.values()) and None not in result.invariants.values()
    assert signal.getsignal(signal.SIGINT) == before


@pytest.mark.parametrize("warmup_s", [0.0, 0.001])
def test_an_interrupt_before_anything_was_simulated_is_a_result_too(warmup_s):
    running = simulation.Simulation(make_plan(stage.config(engine="simulate", duration_s=1000.0, warmup_s=warmup_s)))
    move = running.move

    def moved(turn):
        os.kill(os.getpid(), signal.SIGINT)
        return move(1)

    running.move = moved
    running.run()
    result = document.from_measured(running.measured())
    assert result.interrupted and result.measured_s > 0 and "BUSY: none of 0 attempts" in summary(result)


@pytest.mark.slow
def test_4096_vcpus_and_a_terabyte_take_what_is_touched():
    """In a process of its own, as the greatest memory ever used is asked for."""
    code = ("import resource, json\n"
            "from harness.results import document as results\n"
            "from harness.engines.simulate import simulation\n"
            "from harness.experiment.plan import make_plan\n"
            "from tests.stage import config\n"
            "plan = make_plan(config('kick_on_busy', engine='simulate', duration_s=0.0001, warmup_s=0.0,\n"
            "    td={'vcpus': 4096, 'memory_mib': 1 << 20}, workload={'pattern': 'uniform', 'hosts': 1},\n"
            "    costs_ns={'guest_work': 1000}))\n"
            "result = results.from_measured(simulation.run(plan))\n"
            "document = result.document()\n"
            "document['mib'] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10\n"
            "document['layout_mib'] = plan.layout.size >> 20\n"
            "print(json.dumps(document))\n")
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    result = json.loads(run.stdout)
    assert result["layout_mib"] > 50_000 and result["mib"] < 1_500
    assert not any(result["invariants"].values())
    assert result["counters"]["private_faults"] + result["counters"]["accept_faults"] > 100
