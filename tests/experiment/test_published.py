"""Published timings: what a config takes of them, and where a result says they come from."""

import tomllib

from harness.engines.simulate import prices, simulation
from harness.experiment import published
from harness.experiment.config import Config, Costs, Machine
from harness.experiment.plan import make_plan
from harness.results import document
from tests import stage
from tests.command_line import ROOT


def test_a_config_takes_what_it_does_not_give_itself():
    config = stage.config(engine="simulate", machine={"costs": "published"}, costs_ns={"seamcall": 70})
    costs = make_plan(config).config.costs_ns
    assert costs.seamcall == 70 and costs.tdh_phymem_pamt_add == 3_000 and costs.tdh_mem_page_aug == 0
    assert make_plan(stage.config(engine="simulate")).config.costs_ns.tdh_phymem_pamt_add == 0


def test_a_result_says_which_number_is_published_and_by_whom():
    config = stage.config(engine="simulate", machine={"costs": "published"}, costs_ns={"seamcall": 70})
    said = {row["key"]: row["provenance"] for row in prices.assumptions(config)}
    assert said["costs_ns.seamcall"] == "this config, an assumption"
    assert said["costs_ns.tdh_phymem_pamt_add"].startswith("published: 4 us") and "Yan Zhao" in said["costs_ns.tdh_phymem_pamt_add"]
    assert said["machine.transfer_ns"].startswith("assumption")


def test_each_row_says_what_was_timed_where_and_by_whom():
    for row in published.ROWS:
        assert row.number and row.timed and row.machine and row.source and (row.ns is not None) == (row.key in Costs.model_fields or row.key in Machine.model_fields), row
    assert len(published.BY_KEY) + len(published.ON_MACHINE) == sum(bool(row.key) for row in published.ROWS)


def test_the_page_has_the_table():
    assert published.table() in (ROOT / "docs/real_hosts.md").read_text()


def test_the_comment_of_the_config_comes_out():
    """Seconds for so many GiB are the microseconds for a page of 4 KiB that the config's comment says."""
    text = (ROOT / "configs/scale/published.toml").read_text()
    for whole, torn_down, gib in ((72, 24, 18), (517, 134, 107), (5539, 467, 400)):
        for seconds in (whole, torn_down):
            assert str(seconds) in text and f"{seconds * 1e6 / (gib * 2**18):.1f}" in text, (seconds, gib)


def test_all_published_numbers_are_held_beside_one_set_of_costs():
    """No config of them has a cost of its own for what was published."""
    for name in ("published", "accept_boot"):
        table = tomllib.loads((ROOT / f"configs/scale/{name}.toml").read_text())
        assert table["machine"]["costs"] == published.NAME, name
        assert not set(table.get("costs_ns", {})) & set(published.BY_KEY) and not set(table["machine"]) & set(published.ON_MACHINE), name


def test_what_was_published_of_the_machine_is_taken_and_named_and_may_be_given():
    taken = published.applied(stage.config(machine={"costs": "published"}))
    assert taken.machine.exit_in_turn_ns == published.ON_MACHINE["exit_in_turn_ns"].ns
    said = {row["key"]: row["provenance"] for row in prices.assumptions(taken)}
    assert said["machine.exit_in_turn_ns"].startswith("published: 160 to 200 us") and "248 vCPUs" in said["machine.exit_in_turn_ns"]
    given = published.applied(stage.config(machine={"costs": "published", "exit_in_turn_ns": 5}))
    assert given.machine.exit_in_turn_ns == 5
    assert {row["key"]: row["provenance"] for row in prices.assumptions(given)}["machine.exit_in_turn_ns"].startswith("this config")


def test_exits_that_go_one_after_another_bound_the_speed_up_of_accepting_by_32_vcpus():
    """Published are 5.7 to 8.2 times as fast with 32 vCPUs as with one; with exits that do not hinder each other it is 15."""
    table = tomllib.loads((ROOT / "configs/scale/accept_boot.toml").read_text())
    del table["sweep"]

    def rate(vcpus, **machine):
        keys = {**table, "name": "boot", "guest": "linux_boot", "duration_s": 0.003, "td": {"vcpus": vcpus, "memory_mib": 256},
                "machine": {**table["machine"], **machine}}
        return document.from_measured(simulation.run(make_plan(Config.model_validate(keys)))).throughput.installs_per_s

    assert 5.7 <= rate(32) / rate(1) <= 8.3 and rate(32, exit_in_turn_ns=0) / rate(1, exit_in_turn_ns=0) > 12
