"""Published timings: what a config takes of them, and where a result says they come from."""

from harness.engines.simulate import prices
from harness.experiment import published
from harness.experiment.config import Costs
from harness.experiment.plan import make_plan
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
        assert row.number and row.timed and row.machine and row.source and (row.ns is not None) == (row.key in Costs.model_fields), row
    assert len(published.BY_KEY) == sum(bool(row.key) for row in published.ROWS)


def test_the_page_has_the_table():
    assert published.table() in (ROOT / "docs/real_hosts.md").read_text()


def test_the_comment_of_the_config_comes_out():
    """Seconds for so many GiB are the microseconds for a page of 4 KiB that the config's comment says."""
    text = (ROOT / "configs/scale/published.toml").read_text()
    for whole, torn_down, gib in ((72, 24, 18), (517, 134, 107), (5539, 467, 400)):
        for seconds in (whole, torn_down):
            assert str(seconds) in text and f"{seconds * 1e6 / (gib * 2**18):.1f}" in text, (seconds, gib)
