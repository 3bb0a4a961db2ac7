"""When two engines agree on a number, and how that is shown."""

import json

import pytest

from harness.reports import text
from harness.reports.validation import AGREE, COMPARED, DIFFER, NEAR, make_row, validation_report
from harness.results.metrics import BY_KEY
from tests.made import made, meet_busy

REMOVALS = BY_KEY["removals_per_s"]


def row(real, virtual, metric=REMOVALS):
    return make_row("policy", metric, *([made(removals_per_s=value) for value in numbers] for numbers in (real, virtual)), 1.0)


@pytest.mark.parametrize("real, virtual, verdict", [
    ([1.0, 2.0, 3.0], [2.5, 4.0, 5.0], AGREE), ([1.0, 2.0, 3.0], [3.5, 4.0, 5.0], DIFFER),
    ([1.0, 2.0, 2.05], [2.1, 2.1, 5.0], NEAR), ([1.0, 2.0, 3.0], [3.0, 4.0, 5.0], AGREE),
])
def test_engines_agree_where_their_intervals_meet_and_only_there(real, virtual, verdict):
    assert row(real, virtual).verdict == verdict and row(virtual, real).verdict == verdict


def test_the_ratio_is_that_of_the_medians_and_nothing_has_no_row():
    assert row([1.0, 2.0, 3.0], [3.0, 4.0, 5.0]).ratio == 2
    assert row([0.0, 0.0], [0.0, 0.0]) is None


def test_none_of_n_has_its_bound_and_what_is_fatal_its_total():
    real, virtual = [made(), made()], [made(), made()]
    for result in real:
        meet_busy(result, "tdh_mem_track", attempts=300, busy=0)
    meet_busy(virtual[0], "tdh_mem_track", attempts=300, busy=3)
    meet_busy(virtual[1], "tdh_mem_track", attempts=300, busy=6)
    virtual[0].bugs = {"x": 4}
    rows = [make_row("policy", BY_KEY[key], real, virtual, 1.0) for key in ("busy_percent.tdh_mem_track", "bugs_per_s")]
    busy, bugs = validation_report(rows).splitlines()[5:7]
    assert "<0.5 (0..0)" in busy and "1.5 (1..2)" in busy
    assert bugs.split() == ["KVM_BUG_ONs", *"0 in 2 runs".split(), *"4 in 1 of 2 runs".split(), "-", AGREE]


def test_a_validation_on_a_busy_machine_says_so_and_every_number_fits():
    """Each number with values that take six characters, as does their ratio."""
    real, virtual = ([made(removals_per_s=value) for value in values] for values in ((0.0111, 0.0222, 0.0333), (999_991, 999_992, 999_993)))
    rows = [make_row("kick_on_busy, one page, random arrivals", metric._replace(get=REMOVALS.get, of=None, events=None), real, virtual, 0.5)
            ._replace(ratio=0.0111, verdict=NEAR) for metric in COMPARED]
    said = validation_report(rows)
    assert "DEGRADED: other work" in said and "50 %" in said and max(map(len, said.splitlines())) <= text.WIDTH
    assert "DEGRADED" not in validation_report([row._replace(workers_ran=0.95) for row in rows])


def test_as_json_it_has_the_value_of_every_run_and_the_real_host_beside_them():
    said = json.loads(validation_report([row([1.0, 2.0, 3.0], [3.0, 4.0, 5.0])], {"removals_per_s": 2.5}, "json"))
    assert said == [{"case": "policy", "metric": "removals_per_s", "processes": [1.0, 2.0, 3.0], "simulate": [3.0, 4.0, 5.0], "real_host": 2.5,
                     "ratio": 2.0, "verdict": AGREE, "workers_ran_share": 1.0}]
