"""Scenario files: how scripts are read, and the one line that a mistake gets."""

import pytest

from harness.errors import UsageError
from harness.experiment.scenario_file import parse
from harness.memory.block import Memory
from harness.protocol.flows.flow import MMU_LARGE, MMU_PRESENT
from harness.protocol.flows.script import Step
from harness.protocol.policy import FOREVER
from harness.protocol.releases import READ, find


@pytest.mark.parametrize("words, steps", [
    ("tdh_mem_track", [Step("tdh_mem_track")]),
    ("  tdh_mem_track   retry  2 ", [Step("tdh_mem_track", retries=2)]),
    ("tdh_mem_page_aug 3 level 1 retry forever", [Step("tdh_mem_page_aug", 3, 1, FOREVER)]),
    (["tdh_mem_range_block 511", "hp_shared op_state_lock"],
     [Step("tdh_mem_range_block", 511), Step("hp_shared", word="op_state_lock")]),
])
def test_a_script_is_read_call_by_call(words, steps):
    [scenario] = parse({"actors": {"host0": words}}, "good")
    [script] = scenario.scripts
    assert script.steps == tuple(steps)


def test_a_step_is_written_as_it_is_read():
    for words in ("tdh_mem_page_aug 3", "tdh_mem_page_aug 0 level 1 retry 16", "tdh_mem_track 0 retry forever",
                  "hp_exclusive op_state_lock"):
        [scenario] = parse({"actors": {"host0": words}}, "good")
        assert str(scenario.scripts[0].steps[0]) == words


def test_a_vcpu_that_enters_leaves_and_actors_stand_in_the_order_of_their_numbers():
    actors = {"host0": {"remove": [3]}, "vcpu1": ["tdh_vp_enter", "tdg_mem_page_accept 3"], "vcpu0": {"touch": [4, 4]}}
    [scenario] = parse({"actors": actors}, "good")
    assert [(script.actor.name, script.actor.number) for script in scenario.scripts] == [
        ("vcpu0", 0), ("vcpu1", 1), ("host0", 2)]
    assert [step.call for step in scenario.scripts[1].steps] == ["tdh_vp_enter", "tdg_mem_page_accept", "td_exit"]
    assert (scenario.scripts[0].flow, scenario.scripts[2].flow) == ((4, 4), (3,))


BAD = [
    ({"actors": {"vcpu0": "tdg_mem_page_acept 3"}}, "did you mean tdg_mem_page_accept"),
    ({"actors": {"host0": "tdg_mem_page_accept 3"}}, "is made by a vCPU"),
    ({"actors": {"guest0": "tdh_mem_track"}}, "must be called vcpu0"),
    ({"actors": {"host00": "tdh_mem_track"}}, "must be called vcpu0"),
    ({"actors": {"host1": "tdh_mem_track"}}, "numbered from 0"),
    ({"actors": {"host0": "tdh_mem_page_aug 3 retry often"}}, "write CALL"),
    ({"actors": {"host0": {"touch": [3]}}}, "remove = [PAGE"),
    ({"actors": {"host0": "tdh_mem_page_aug 512"}}, "below 512"),
    ({"actors": {"vcpu0": "td_exit"}}, "without a tdh_vp_enter"),
    ({"actors": {}}, "must name actors"),
    ({"actors": {"host0": "tdh_mem_page_aug 3"}, "start": {"pages": {"3": "MAPED"}}}, "did you mean MAPPED"),
    ({"actors": {"host0": "tdh_mem_page_aug 3"}, "start": {"pages": {"3": "NL_MAPPED"}}}, "an entry at level 0 maps no table"),
    ({"pairs": {"calls": ["tdh_mem_range_block"], "states": ["NL_BLOCKED"]}}, "an entry at level 0 maps no table"),
    ({"actors": {"host0": "tdh_mem_track"}, "start": {"children": {"0 level 1": "NL_MAPPED"}}}, "an entry at level 0 maps no table"),
    ({"actors": {"host0": "tdh_mem_track"}, "start": {"children": {"0 level 2": "MAPPED"}}}, "below an entry at level 1 are there"),
    ({"actors": {"host0": "tdh_mem_page_aug 3"}, "expect": [{"grade": "fine"}]}, "must be one of acceptable"),
    ({"actors": {"host0": "tdh_mem_page_aug 3"}, "expect": [{"grade": "forbidden", "host0": "TDX_SUCCES"}]},
     "tdh_mem_page_aug never answers that; did you mean TDX_SUCCESS? it answers T"),
    ({"actors": {"host0": "tdh_mem_page_aug 3", "vcpu0": "tdg_mem_page_accept 3"},
      "expect": [{"grade": "forbidden", "host0": "TDX_PAGE_SIZE_MISMATCH|level 0"}]},      # only ACCEPT answers that
     "tdh_mem_page_aug never answers that"),
    ({"actors": {"host0": "tdh_mem_page_aug 3"}, "expect": [{"grade": "acceptable", "host0": 7}]}, "never answers that"),
    ({"actors": {"host0": "tdh_mem_page_aug 3"}, "expect": [{"grade": "acceptable", "page 3": 4}]}, "must be a state"),
    ({"actors": {"host0": "tdh_mem_page_aug 3"}, "expect": [{"grade": "acceptable", "module": 5}]}, "must be of 1.5.01"),
    ({"actors": {"host0": "tdh_mem_page_aug 3"}, "expect": [{"grade": "acceptable", "must": 5}]}, "true or false"),
    ({"actors": {f"host{place}": "tdh_mem_track" for place in range(9)}}, "at most 8 actors"),
    ({"actors": {"host0": "tdh_mem_track 0 retry 100001"}}, "at most 100000"),
    ({"actors": {"host0": "tdh_mem_page_demote 3"}}, "tdh_mem_page_demote is about an entry at level 1: write 'level N'"),
    ({"actors": {"vcpu0": "tdh_vp_enter"}, "start": {"listed": {"vcpu0": [512]}}}, "page numbers below 512"),
    ({"actors": {"host0": {"remove": []}}}, "page numbers below 512, at least one"),
    ({"actors": {"vcpu0": {"touch": [True]}}}, "page numbers below 512, at least one"),
    ({"actors": {"vcpu0": "tdh_vp_enter"}, "start": {"listed": {"vcpu0": list(range(33))}}}, "at most 32 page numbers"),
    ({"actors": {"host0": "tdh_mem_track"}, "start": {"listed": {"host0": [3]}}}, "is no vCPU"),
    ({"actors": {"host0": "tdh_mem_track"}, "start": {"words": {"epoch": 1 << 64}}}, "below 2^64"),
    ({"actors": {"host0": "tdh_mem_track"}, "start": {"words": {"epoch": -1}}}, "below 2^64"),
    ({"actors": {"host0": "tdh_mem_track"}, "must_violate": 5}, "must be a list of invariants"),
    ({"actors": {"host0": "tdh_mem_track"}, "may_violate": {"1.5.05": "no_bug"}}, "must be a list of invariants"),
    ({"pairs": {"calls": ["tdh_mem_page_demote"], "states": ["MAPPED"]}}, "pairs.level = 0: tdh_mem_page_demote is about an entry at level 1"),
    ({"pairs": {"calls": ["tdh_mem_page_aug"], "states": ["FREE"], "level": 2}}, "tdh_mem_page_aug is about an entry at level 0 or 1"),
    ({"actors": {"host0": "tdh_mem_page_aug 3"}, "expect": [{"grade": "forbidden", "page 4": "FREE"}]},
     "no outcome has this"),
    ({"actors": {"host0": "tdh_mem_track"}, "must_violate": ["no_bugs"]}, "did you mean no_bug"),
    ({"actors": {"host0": "tdh_mem_track"}, "modul": "1.5.05"}, "did you mean module"),
    ({"actors": {"host0": "tdh_mem_track"}, "watch": ["epok"]}, "no such word"),
    ({"actors": {"host0": "tdh_mem_track"}, "watch": ["epoch type"]}, "only a PAMT entry has a type"),
    ({"actors": {"host0": "tdh_mem_track"}, "start": {"pages": {"3": "MAPPED+XX"}}}, "behind it +EL, +HP"),
    ({"actors": {"host0": "tdh_mem_track"}, "start": {"children": {"3": "MAPPED"}}}, "has none below"),
    ({"actors": {"host0": "tdh_mem_track"}, "dynamic_pamt": True}, "1.5.05 has no Dynamic PAMT; releases that have it: 1.5.20"),
    ({"actors": {"host0": "tdh_mem_track"}, "module": {"base": "1.5.34", "epf_treshold": 1}}, "did you mean epf_threshold"),
    ({"actors": {"host0": "tdh_mem_track"}, "watch": ["page 512"]}, "must be a page number below 512"),
    ({"actors": {"host0": "tdh_mem_track"}, "expect": [{"breaks": "priority_kep"}]}, "did you mean priority_kept"),
    ({"actors": {"host0": "tdh_mem_track"}, "expect": [{"breaks": "priority_kept", "grade": "acceptable"}]}, "leave it out"),
    ({"actors": {"host0": "tdh_mem_track"}, "expect": [{"breaks": "priority_kept", "module": "1.5.24 to 1.5.05"}]},
     "must be of 1.5.01"),
    ({"actors": {"host0": "tdh_mem_track"}, "must_violate": {"1.5.05 to 2.0.18": ["no_halt"]}}, "or 'A to B'"),
]


@pytest.mark.parametrize("table, sentence", BAD, ids=lambda value: value if isinstance(value, str) else "")
def test_a_mistake_in_a_scenario_is_one_line(table, sentence):
    with pytest.raises(UsageError) as caught:
        parse(table, "bad", "bad.toml")
    assert sentence in str(caught.value) and "\n" not in str(caught.value)
    assert str(caught.value).startswith("bad.toml: ")


def test_all_releases_are_every_one_that_was_read_and_has_the_calls():
    every = [name for release in READ for name in (release.name, *release.also)]
    table = {"module": "all", "actors": {"host0": "tdh_mem_track"}}
    assert [scenario.module for scenario in parse(table, "all")] == every
    table["dynamic_pamt"] = True
    assert [scenario.module for scenario in parse(table, "all")] == [name for name in every if find(name).dynamic_pamt]


def test_releases_are_named_one_by_one_or_from_one_to_another_of_the_same_line():
    table = {"module": ["1.5.05", "1.5.16", "1.5.25", "2.0.12"], "actors": {"host0": "tdh_mem_track"},
             "must_violate": {"1.5.06 to 1.5.24": ["no_halt"], "1.5.16": ["deadlock"], "2.0.12": ["livelock"]}}
    assert [scenario.must_violate for scenario in parse(table, "spans")] == [[], ["no_halt", "deadlock"], [], ["livelock"]]


def test_a_row_of_a_defect_is_interesting_where_it_is_known_and_forbidden_elsewhere():
    row = {"breaks": "priority_kept", "module": "1.5.01 to 1.5.20", "host0": "TDX_SUCCESS"}
    table = {"module": ["1.5.16", "1.5.24"], "actors": {"host0": "tdh_mem_track"}, "expect": [row]}
    assert [[(grade.grade, grade.breaks) for grade in scenario.grades] for scenario in parse(table, "defect")] == [
        [("interesting", "priority_kept")], [("forbidden", "priority_kept")]]


def test_an_entry_is_watched_by_its_page_whatever_the_scripts_are_about():
    [scenario] = parse({"actors": {"host0": "tdh_mem_track"}, "watch": ["page 7", "page 0 level 1"]}, "watched")
    layout = scenario.layout
    assert scenario.watched() == [("page 7", layout.at("sept.0", 7)), ("page 0 level 1", layout.at("sept.1", 0))]


@pytest.mark.parametrize("flow", [{"vcpu0": {"touch": [0]}}, {"vcpu0": {"touch": [7]}}, {"host0": {"remove": [0]}}])
def test_kvms_flows_below_a_large_page_are_refused_and_not_guessed(flow):
    """The fault flow would take the large page for a page table, and KVM be accused of a KVM_BUG_ON."""
    with pytest.raises(UsageError, match="start.pages.0 level 1 = 'PENDING': is a large page, and KVM's flows") as error:
        parse({"module": "1.5.05", "start": {"pages": {"0 level 1": "PENDING"}}, "actors": flow}, "t")
    assert "\n" not in str(error.value)
    parse({"module": "1.5.05", "start": {"pages": {"0 level 1": "NL_MAPPED"}}, "actors": flow}, "t")


def test_no_table_takes_the_place_of_a_large_page_at_the_start():
    """A script's page below it is left out; a page that the file itself puts there is refused."""
    table = {"module": "1.5.05", "actors": {"host0": "tdh_mem_range_block 3"}}
    [scenario] = parse(table | {"start": {"pages": {"0 level 1": "MAPPED"}}}, "t")
    assert scenario.pages == ((0, 1, "MAPPED"),)
    with pytest.raises(UsageError, match="'3': lies in '0 level 1', which is a large page and no table") as error:
        parse(table | {"start": {"pages": {"0 level 1": "MAPPED", "3": "PENDING"}}}, "t")
    assert "\n" not in str(error.value)
    [scenario] = parse(table | {"start": {"pages": {"0 level 1": "NL_MAPPED", "3": "PENDING"}}}, "t")
    assert len(scenario.pages) == 2


def test_calls_about_a_large_page_are_explored_and_its_mirror_entry_says_so():
    [scenario] = parse({"module": "1.5.05", "start": {"pages": {"0 level 1": "PENDING"}},
                        "actors": {"vcpu0": "tdg_mem_page_accept 0 level 1"}}, "t")
    memory = Memory(scenario.layout)
    scenario.start(memory)
    assert memory.word(scenario.layout.at("mirror.1", 0)) & (MMU_PRESENT | MMU_LARGE) == MMU_PRESENT | MMU_LARGE
