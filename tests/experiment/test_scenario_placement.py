"""Scenarios with a placement: uses share the host's 2 MiB, and what is not modelled there is refused."""

import tomllib

import pytest

from harness.engines.explore import search
from harness.errors import UsageError
from harness.experiment.scenario_file import load, parse
from harness.memory.block import Memory
from harness.memory.layout import HOST, PAMT_COUNT, PAMT_TYPE
from kernels.words import PT_PAMT, PT_REG, TDCS_PAGES, TDVPS_PAGES
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


@pytest.mark.parametrize("design, broken", [
    ("dpamt_merged", set()), ("dpamt_demote_bare", {"pamt_get", "pamt_put", "pamt_busy", "pamt_priority"}),
    ("dpamt_demote_tries", {"pamt_get", "pamt_put", "pamt_priority"}), ("dpamt_per_2m", set())])
def test_demote_meets_add_and_remove_of_another_td_where_its_pair_lies_beside_that_ones_pages(design, broken):
    for placement in ("random", "packed"):               # packed, the pair lies beside control pages, which keep theirs
        table = tomllib.loads((ROOT / "configs/explore/placed_split.toml").read_text()) | {"dpamt": design, "placement": placement, "expect": []}
        found = search.run(parse(table, "split")[0])
        assert found.complete and set(found.violations) == (broken if placement == "random" else set())


FLOW = tomllib.loads((ROOT / "configs/explore/placed_split_flow.toml").read_text())


@pytest.mark.parametrize("design, broken", [
    ("dpamt_merged", set()), ("dpamt_fast_v6", set()), ("dpamt_per_2m", set()), ("dpamt_pool", set()),
    ("dpamt_demote_bare", {"pamt_get", "pamt_put", "pamt_priority", "no_bug", "barred_retry"}),
    ("dpamt_demote_tries", {"pamt_get", "pamt_put", "pamt_priority"})])
def test_kvms_own_split_meets_another_tds_get_and_put_as_its_part_does(design, broken):
    found = search.run(parse(FLOW | {"dpamt": design}, "flow")[0])
    assert found.complete and set(found.violations) == broken and 10 < found.states < 2_000
    assert "no_bug" in broken or {ending.words[0] for ending in found.endings} == {"MAPPED"}


def test_kvms_flows_get_and_put_pairs_of_pages_in_use_at_the_start_too():
    """By use and placed: whoever comes last, a range has a pair exactly if a page of it is in use."""
    for placement, at in (("by_use", "data 0"), ("packed", "host 0")):
        table = {"module": "1.5.24", "dpamt": "dpamt_fast_v6", "pamt_cache": 3, "placement": placement, "guest": "svsm", "watch": [f"pamt_2m.{at} type"],
                 "start": {"pages": {"4": "MAPPED"}}, "actors": {"vcpu0": {"touch": [3]}, "host0": {"remove": [4]}}}
        found = search.run(parse(table, "flows")[0])
        assert found.complete and not found.violations and {"pamt_counted", "pamt_get", "pamt_cached"} <= set(found.checked)
        assert {ending.words[-1] for ending in found.endings} == {f"{PT_PAMT:#x}"}


@pytest.mark.parametrize("placement, words", [("by_use", ["dpamt_ref 0", "pamt_2m.data 0 type"]), ("packed", [])])
def test_a_large_page_of_kvms_flows_has_a_pair_once_it_is_split(placement, words):
    """And is counted as often as it has parts, but for the one that was removed."""
    table = tomllib.loads((ROOT / "configs/explore/huge/remove_part.toml").read_text())
    found = search.run(parse(table | {"module": "1.5.24", "dpamt": "dpamt_merged", "placement": placement, "watch": ["page 0 level 1", *words]}, "part")[0])
    [ending] = found.endings
    assert found.complete and not found.violations and ending.words == ("MAPPED", "FREE", "NL_MAPPED", *(["0x1ff", "0xf"] if words else []))


def test_more_invariants_than_a_search_tells_apart_are_one_line():
    with pytest.raises(UsageError, match="flow: moves can violate 15 invariants, and a search tells at most 13 apart; exclusive_ownership = false"):
        search.run(parse(FLOW | {"pamt_cache": 5, "actors": FLOW["actors"] | {"host1": {"control": [25]}}}, "flow")[0])


@pytest.mark.parametrize("keys, sentence", [
    ({"large_pages": True, "dynamic_pamt": True, "actors": {"vcpu0": {"touch": [3]}}}, "large_pages = true: needs dpamt where dynamic_pamt is on"),
    ({"dpamt": "dpamt_merged", "actors": {"host0": "tdh_mem_track"}}, "dpamt = 'dpamt_merged': must be given where"),
    ({"dpamt": "dpamt_merged", "actors": {"vcpu0": {"touch": [3]}, "host0": {"use": [3]}}}, "actors.host0.use = 3: must be another TD's page"),
    ({"dpamt": "dpamt_merged", "large_pages": True, "actors": {"vcpu0": {"touch": [3]}, "host0": {"use": [600]}}}, "with large_pages below 512"),
    ({"dpamt": "dpamt_merged", "actors": {"vcpu0": {"touch": [3]}, "host0": {"split": [512]}}}, "beside them no split"),
    ({"dpamt": "dpamt_merged", "crossed": True, "actors": {"vcpu0": {"touch": [3]}}}, "crossed = true: not together with KVM's flows"),
    ({"actors": {"vcpu0": {"touch": [600]}}}, "must be a list of page numbers below 512"),
])
def test_what_kvms_flows_cannot_do_with_page_pairs_is_one_line(keys, sentence):
    with pytest.raises(UsageError) as refused:
        parse({"module": "1.5.24"} | keys, "flows")
    assert sentence in str(refused.value) and "\n" not in str(refused.value) and len(str(refused.value)) <= 300


@pytest.mark.parametrize("design, broken", [("dpamt_per_2m", {"deadlock"}), ("dpamt_merged", set()), ("dpamt_pool", set())])
def test_a_lock_for_each_range_deadlocks_where_the_pairs_of_two_scattered_ranges_lie_in_each_other(design, broken):
    """Of the host's 2 MiB number 63 and 497, where pages 482 and 872 lie, nothing arranged."""
    table = PLACED | {"placement": "random", "dpamt": design, "actors": {"host0": {"use": [482]}, "host1": {"use": [872]}}}
    found = search.run(parse(table, "crossed")[0])
    assert found.complete and set(found.violations) == broken


@pytest.mark.parametrize("placement", ["packed", "random"])
def test_large_pages_of_kvms_flows_come_to_the_same_on_placed_memory(placement):
    """The words around them are the host's; what can happen is the same."""
    table = tomllib.loads((ROOT / "configs/explore/huge/remove_part.toml").read_text())
    by_use, placed = (search.run(parse(table | more, "part")[0]) for more in ({}, {"placement": placement}))
    assert placed.complete and not placed.violations and placed.states == by_use.states > 100
    assert [ending.words for ending in placed.endings] == [ending.words for ending in by_use.endings]


@pytest.mark.parametrize("placement", ["packed", "random"])
def test_calls_on_a_large_page_take_the_hosts_words_and_demote_a_pair_of_another_2_mib(placement):
    table = PLACED | {"placement": placement, "dynamic_pamt": True, "start": {"pages": {"0 level 1": "MAPPED"}},
                      "actors": {"host0": ["tdh_mem_range_block 0 level 1", "tdh_mem_track", "tdh_mem_page_demote 0 level 1"]}}
    scenario = parse(table, "demote")[0]
    layout, own = scenario.layout, scenario.layout.pamt("2m", "data", 0)
    memory = Memory(layout)
    scenario.start(memory)
    assert memory.word(own + PAMT_TYPE, 8) == PT_REG and layout.name_of(own).startswith("PAMT 2M entry of the host's")
    found = search.run(scenario)
    assert {answer for call, answer in found.answered if "demote" in call} == {"TDX_SUCCESS"}
    [ending] = search.run(parse(table | {"watch": [f"pamt_2m.host {(own - layout.at('pamt_2m.host')) // 16} type"]}, "demote")[0]).endings
    assert ending.words[-1] == f"{PT_PAMT:#x}"


@pytest.mark.parametrize("keys, part", [
    ({"start": {"pages": {"0 level 2": "MAPPED"}}, "actors": {"host0": "tdh_mem_track"}}, "pages of 1 GiB at the start (0 level 2)"),
    ({"actors": {"host0": {"use": [3]}}, "dpamt": "dpamt_merged", "crossed": True}, "crossed"),
])
def test_what_is_not_modelled_with_a_placement_is_refused(keys, part):
    with pytest.raises(UsageError, match="placement = 'packed': cannot be together with") as refused:
        parse(PLACED | keys, "placed")
    assert part in str(refused.value) and "\n" not in str(refused.value)
