"""Seeds: an interval over some seeds has the number that all seeds come to as often as it says."""

from dataclasses import replace

import numpy as np
import pytest

from harness.engines.simulate import simulation
from harness.experiment.plan import make_plan
from harness.results import document, inference, metrics
from tests.stage import config

PLANS, RUNS = 200, 7


@pytest.mark.slow
@pytest.mark.parametrize("key", ["removals_per_s", "touches_per_s"])
def test_intervals_over_seeds_cover_at_their_nominal_rate(key):
    """Of 200 plans of seven seeds each, the 95 % interval has the median of all 1,400 runs in 190 (three deviations: 9)."""
    plan = make_plan(config(engine="simulate", duration_s=0.0004, warmup_s=0.0001, td={"vcpus": 2, "memory_mib": 2},
                            workload={"removals_per_s": 100_000.0, "loop": "open", "touches_per_s": 500_000.0}))
    metric = metrics.BY_KEY[key]

    def value(seed: int) -> float:
        seeded = replace(plan, config=plan.config.model_copy(update={"seed": seed}))
        return metric.get(document.from_measured(simulation.run(seeded)))

    values = np.array([[value(plan_number * RUNS + run) for run in range(RUNS)] for plan_number in range(PLANS)])
    middle = float(np.median(values))
    intervals = [inference.interval(list(row)) for row in values]
    covering = sum(each.low <= middle <= each.high for each in intervals)
    assert covering >= inference.LEVEL * PLANS - 3 * (PLANS * inference.LEVEL * (1 - inference.LEVEL)) ** 0.5, covering
    assert sum(each.low < each.high for each in intervals) > PLANS / 2, "the numbers do not vary"
