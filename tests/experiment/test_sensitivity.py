"""Plans of experiments over assumed costs: each cost alone, then all at once in balance."""

import itertools

import pytest

from harness.errors import UsageError
from harness.experiment import assumed, sensitivity
from harness.experiment.config import Costs, Machine
from harness.experiment.sensitivity import BASE, DESIGN, LEAST, MOST
from tests.stage import config

COSTS = {"costs_ns": {"seamcall": 500, "kick": 200, "guest_work": 5_000}}


def test_every_range_holds_its_default_and_every_key_is_one_of_a_config():
    for key, row in assumed.MACHINE.items():
        assert row.least is None or row.least <= getattr(Machine(), key) <= row.most and row.least < row.most and row.range_leans_on
    assert set(assumed.COSTS) <= set(Costs.model_fields)


def test_every_price_of_the_machine_has_a_range_unless_a_machine_has_no_such_thing():
    """A key that is added to [machine] is varied, or named here: what only this harness or a measured processor has."""
    unvaried = {"mark_ns", "spend_ns", "noticed_ns", "pace_ns", "stall_every_ns", "stall_ns"}
    prices = {key for key in Machine.model_fields if key.endswith("_ns")}
    assert prices == set(assumed.MACHINE) and {key for key in prices if assumed.MACHINE[key].least is None} == unvaried


def test_what_does_not_matter_is_not_varied_and_a_value_is_within_its_range():
    ranges = sensitivity.ranges(config(engine="simulate", **COSTS))
    assert ranges["costs_ns.kick"] == (100, 400) and ranges["costs_ns.seamcall"] == (500, 1_500)
    assert not {"costs_ns.guest_work", "costs_ns.td_exit", "machine.transfer_far_ns", "machine.switch_ns"} & set(ranges)
    more = sensitivity.ranges(config(engine="simulate", machine={"sockets": 2, "processors": 2, "transfer_ns": 500}))
    assert {"machine.transfer_far_ns", "machine.switch_ns"} <= set(more) and "machine.patience_ns" not in more and more["machine.transfer_ns"] == (30, 500)


def test_what_was_measured_is_not_varied(tmp_path):
    path = tmp_path / "costs.toml"
    path.write_text("[machine]\ntransfer_ns = 80\n")
    assert "machine.transfer_ns" not in sensitivity.ranges(config(engine="simulate", machine={"costs": str(path)}))
    with pytest.raises(UsageError, match="nowhere.toml"):
        sensitivity.ranges(config(engine="simulate", machine={"costs": "nowhere.toml"}))


def test_each_cost_alone_then_any_two_at_all_four_combinations_equally_often():
    whole = config(engine="simulate", **COSTS)
    ranges, plan = sensitivity.ranges(whole), sensitivity.variants(whole)
    assert plan[0] == (BASE, "", {}) and len({variant.name for variant in plan}) == len(plan)
    for key, (least, most) in ranges.items():
        assert [variant.values for variant in plan if variant.kind in (LEAST, MOST) and variant.key == key] == [{key: least}, {key: most}]
    design = [variant.values for variant in plan if variant.kind == DESIGN]
    assert len(design) > len(ranges) and len(design) & len(design) - 1 == 0
    for one, other in itertools.combinations(ranges, 2):
        pairs = [(run[one], run[other]) for run in design]
        assert all(pairs.count(pair) == len(design) / 4 for pair in itertools.product(ranges[one], ranges[other]))


def test_a_variant_changes_its_costs_and_nothing_else():
    whole = config(engine="simulate", **COSTS)
    changed = sensitivity.varied(whole, sensitivity.Variant(LEAST, "x", {"machine.transfer_ns": 30, "costs_ns.kick": 100}))
    assert (changed.machine.transfer_ns, changed.costs_ns.kick) == (30, 100)
    back = changed.model_copy(update={"machine": whole.machine, "costs_ns": whole.costs_ns})
    assert back.resolved() == whole.resolved()
