"""Scenarios with a placement: uses share the host's 2 MiB, and what is not modelled there is refused."""

import pytest

from harness.engines.explore import search
from harness.errors import UsageError
from harness.experiment.scenario_file import load, parse
from harness.memory.block import Memory
from harness.memory.layout import HOST, PAMT_COUNT, PAMT_TYPE
from kernels.words import PT_PAMT, TDCS_PAGES, TDVPS_PAGES
from tests.engines.test_simulate import ROOT

PLACED = {"module": "1.5.24", "placement": "packed"}
PAGES = {"start": {"pages": {"3": "MAPPED"}}, "actors": {"host0": "tdh_mem_range_block 3"}}


def nodes(scenario) -> list[tuple[int, int]]:
    """(type, count) of the host's 2 MiB."""
    memory = Memory(scenario.layout)
    scenario.start(memory)
    return [(memory.word(scenario.layout.at(f"pamt_2m.{HOST}", number) + PAMT_TYPE, 8),
             memory.word(scenario.layout.at(f"pamt_2m.{HOST}", number) + PAMT_COUNT, 16)) for number in range(3)]


def test_at_the_start_each_2_mib_count_the_pages_of_all_uses_and_have_a_pair():
    scenario = parse(PLACED | PAGES | {"dynamic_pamt": True}, "placed")[0]
    control, sept, data = 2, 2, 1                        # TDR and TDVPR; a PD page and a PT page; page 3
    tdcx_and_service = TDCS_PAGES + TDVPS_PAGES - 1 + 1
    found = nodes(scenario)
    assert found[0] == (PT_PAMT, control + sept + data) and sum(count for _, count in found) == control + sept + data + tdcx_and_service
    without = parse(PLACED | PAGES | {"dynamic_pamt": True, "start": PAGES["start"] | {"pairs": False}}, "placed")[0]
    assert [count for _, count in nodes(without)] == [count for _, count in found]
    assert [kind == PT_PAMT for kind, _ in nodes(without)] == [count > 0 for _, count in found] != [True] * 3


def test_a_running_vcpu_makes_pamt_add_of_its_pages_2_mib_busy():
    """By use these pages are far apart, and it is not."""
    actors = {"vcpu0": ["tdh_vp_enter", "td_exit"], "host0": "tdh_phymem_pamt_add 3 level 1"}
    for placement, busy in (("packed", True), ("by_use", False)):
        found = search.run(parse(PLACED | {"placement": placement, "dynamic_pamt": True, "actors": actors}, "add")[0])
        answered = {answer for call, answer in found.answered if call == "tdh_phymem_pamt_add"}
        assert answered - {"TDX_OPERAND_BUSY|RCX"} and ("TDX_OPERAND_BUSY|RCX" in answered) == busy


@pytest.mark.parametrize("design, broken", [("dpamt_merged", set()), ("dpamt_v4", {"pamt_counted"}),
                                            pytest.param("dpamt_no_lock", {"pamt_present", "pamt_priority", "starvation"},
                                                         marks=pytest.mark.slow)])
def test_designs_on_shared_2_mib(design, broken):
    found = search.run(load(ROOT / "configs/explore/placed_users.toml", dpamt=design)[0])
    assert found.complete and broken <= set(found.violations) and bool(broken) == bool(found.violations)


def test_kvms_flows_run_on_placed_pages():
    for placement in ("packed", "random"):
        found = search.run(parse({"placement": placement, "actors": {"vcpu0": {"touch": [3]}, "host0": {"remove": [3]}}}, "flows")[0])
        assert found.complete and not found.violations and len(found.endings) == 2


@pytest.mark.parametrize("keys, part", [
    ({"start": {"pages": {"0 level 1": "MAPPED"}}, "actors": PAGES["actors"]}, "large pages at the start (0 level 1)"),
    ({"actors": {"host0": "tdh_mem_page_aug 0 level 1"}}, "calls on large pages"),
    ({"actors": {"host0": {"split": [512]}}, "dpamt": "dpamt_merged"}, "an actor that splits (host0)"),
    ({"actors": {"vcpu0": {"touch": [3]}}, "large_pages": True}, "large_pages"),
    ({"actors": {"host0": {"use": [3]}}, "dpamt": "dpamt_merged", "crossed": True}, "crossed"),
])
def test_what_is_not_modelled_with_a_placement_is_refused(keys, part):
    with pytest.raises(UsageError, match="placement = 'packed': cannot be together with") as refused:
        parse(PLACED | keys, "placed")
    assert part in str(refused.value) and "\n" not in str(refused.value)
