"""A result from what was measured: it is whole, adds up, and is the same file after it was read."""

import json

import numpy as np
import pytest

from harness.engines.simulate import simulation
from harness.experiment.config_file import load
from harness.experiment.plan import make_plan
from harness.protocol.policies import POLICIES
from harness.protocol.counters import HOST_PRIORITY
from harness.protocol.invariants import NAMES
from harness.results import document, schema, store
from harness.results.consistency import contradictions
from harness.results.measured import Hang, Measured
from harness.results.metrics import METRICS
from kernels.blame import CAUSE_NAMES
from tests.command_line import ROOT
from tests.stage import config

CONFIGS = sorted(path for path in ROOT.glob("configs/**/*.toml") if not {"explore", "scale"} & set(path.parts))


def measured(plan, **keys) -> Measured:
    half = np.zeros(plan.tables.half, np.int64)
    nothing = dict.fromkeys(NAMES, 0)
    return Measured(plan, [half], 1.0, 1.0, **{"invariants": nothing, "host_priority": dict.fromkeys(
        HOST_PRIORITY, 0), **keys})


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_the_result_of_every_shipped_config_is_read_as_it_is_written_and_has_every_number(path, tmp_path):
    result = document.example(make_plan(load(path)))
    again = store.read(store.write(result, tmp_path))
    assert json.dumps(again.document()) == json.dumps(json.loads(json.dumps(result.document())))
    assert not list(contradictions(result))
    for metric in METRICS:
        assert metric.get(result) in (0, None)


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.name)
def test_what_was_simulated_adds_up(policy, tmp_path):
    plan = make_plan(config(policy.name, engine="simulate", duration_s=0.0005, warmup_s=0.0001, restart_on_bug=True,
                            workload={"hosts": 2, "removals_per_s": 0.0, "accept_first": 0.5},
                            costs_ns={"guest_work": 300}))
    result = document.from_measured(simulation.run(plan))
    assert result.busy.attempts > 100 and not list(contradictions(result))
    assert store.read(store.write(result, tmp_path)).busy == result.busy


def test_the_causes_of_busy_are_those_that_are_counted():
    assert tuple(schema.Causes.model_fields) == CAUSE_NAMES


def test_hangs_are_counted_and_the_first_of_them_kept_in_full():
    hangs = [Hang(0.5, ("vcpu0 A: B",)), *(Hang(1.0 + n, ("vcpu0 A: B",), ("vcpu0 waits",)) for n in range(20))]
    result = document.from_measured(measured(make_plan(config()), hangs=hangs))
    assert (result.hangs.count, result.hangs.deadlocks, len(result.hangs.log)) == (21, 20, schema.HANGS_LOGGED)
    assert result.hangs.log[0].at_s == 0.5 and result.hangs.log[0].waiting == []


def test_a_rate_of_nothing_is_null():
    busy = document.from_measured(measured(make_plan(config()))).busy
    assert busy.per_attempt is busy.per_operation is busy.per_time is busy.net.per_attempt is busy.net.per_operation is None
    assert busy.by_cause.total() == busy.late_holds == 0


def test_a_run_whose_counts_do_not_add_up_is_kept_and_not_believed():
    plan = make_plan(config())
    made = measured(plan)
    made.halves[0][plan.tables.contended] = 5            # of a call that had no operation
    result = document.from_measured(made)
    assert result.verdict.status == "UNTRUSTWORTHY"
    assert any("contradicts itself: seamcalls." in reason and "contended = 5" in reason for reason in result.verdict.reasons)
