"""What two calls at once can come to, release beside release: the newest takes away, and which pairs can halt."""

import functools

import pytest

from harness.engines.explore import search as explore
from harness.engines.explore.tables import HALTED
from harness.experiment.scenario_file import parse
from harness.files import read_toml
from harness.protocol.releases import READ, SWAP_STORE
from tests.by_release import by_release

FILES = ("pairs", "pairs_suspected", "pairs_tables")


def pairs(file: str, module: str) -> dict:
    """The scenarios of a file, in any release."""
    table = read_toml(f"configs/explore/{file}.toml") | {"module": module}
    return {scenario.name: scenario for scenario in parse(table, file)}


def outcomes(scenario) -> set:
    """(answers, words) of all endings; where the module halts, only that and by which calls."""
    return {(ending.kind, ending.answers, ending.words if ending.kind != HALTED else ()) for ending
            in explore.run(scenario).endings}


@functools.cache
def outcomes_of_pairs(file: str, module: str) -> dict[str, set]:
    return {name: outcomes(scenario) for name, scenario in pairs(file, module).items()}


def halting(file: str, module: str) -> set[str]:
    return {name for name, some in outcomes_of_pairs(file, module).items() if any(kind == HALTED for kind, *_ in some)}


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("older, newer", [("1.5.24", "1.5.34"), pytest.param("2.0.14", "2.0.18", marks=pytest.mark.slow)])
def test_every_outcome_of_the_newest_is_one_of_the_release_before_the_new_order(file, older, newer):
    before, after = outcomes_of_pairs(file, older), outcomes_of_pairs(file, newer)
    assert before.keys() == after.keys()
    assert {name: after[name] - before[name] for name in after if after[name] - before[name]} == {}
    assert any(after[name] < before[name] for name in after)                             # and not the same


# Every call about an entry at a level, and the two that watch the TLBs; an entry in each state, free or asked for by a host.
ALL = {
    0: "tdg_mem_page_accept tdg_mem_page_attr_rd tdg_mem_page_attr_wr tdh_mem_page_aug tdh_mem_range_block"
       " tdh_mem_range_unblock tdh_mem_page_remove tdh_mem_page_relocate tdh_mem_sept_rd tdh_mem_rd tdh_mem_wr"
       " tdh_mem_track tdh_vp_enter",
    1: "tdg_mem_page_accept tdg_mem_page_attr_wr tdh_mem_page_aug tdh_mem_sept_add tdh_mem_sept_remove"
       " tdh_mem_range_block tdh_mem_range_unblock tdh_mem_page_remove tdh_mem_page_demote tdh_mem_page_promote"
       " tdh_mem_sept_rd tdh_mem_track tdh_vp_enter",
    2: "tdh_mem_sept_add tdh_mem_sept_remove tdh_mem_range_block tdh_mem_range_unblock tdh_mem_sept_rd tdh_mem_track tdh_vp_enter",
}
STATES = {0: "FREE PENDING MAPPED BLOCKED PEND_BLOCKED", 1: "FREE PENDING MAPPED BLOCKED PEND_BLOCKED NL_MAPPED NL_BLOCKED",
          2: "FREE MAPPED NL_MAPPED NL_BLOCKED"}


def all_pairs(level: int, module: str, wanted: str) -> dict:
    """The pairs of a level; wanted: "", or "+HP", a host that has asked for the entry."""
    states = [state + wanted for state in STATES[level].split()]
    table = {"module": module, "pairs": {"calls": ALL[level].split(), "states": states, "level": level}}
    return {scenario.name: scenario for scenario in parse(table, "all")}


@pytest.mark.slow
@pytest.mark.parametrize("older, newer", [("1.5.24", "1.5.34"), ("2.0.14", "2.0.18")])
@pytest.mark.parametrize("wanted", ["", "+HP"])
@pytest.mark.parametrize("level", ALL)
def test_every_outcome_of_the_newest_is_an_older_one_for_all_pairs_of_calls_on_an_entry(level, wanted, older, newer):
    before, after = all_pairs(level, older, wanted), all_pairs(level, newer, wanted)
    calls = len(ALL[level].split())
    assert before.keys() == after.keys() and len(after) == len(STATES[level].split()) * calls * (calls + 1) // 2
    more = {name: outcomes(after[name]) - outcomes(before[name]) for name in after}
    assert {name: some for name, some in more.items() if some} == {}


def test_the_pairs_that_every_run_tries_are_of_calls_and_states_of_these():
    for file in FILES:
        table = read_toml(f"configs/explore/{file}.toml")["pairs"]
        level = table.get("level", 0)
        assert set(table["calls"]) <= set(ALL[level].split()) and set(table["states"]) <= set(STATES[level].split())


@pytest.mark.parametrize("module", by_release(
    [(release.name,) for release in READ if release.entry_write != SWAP_STORE],
    [release.name for release in READ if release.entry_write != SWAP_STORE]))
def test_only_a_remove_beside_an_aug_can_halt_the_module(module):
    """AUG lets go of the entry before it writes the page's type."""
    assert halting("pairs", module) == {"tdh_mem_page_aug / tdh_mem_page_remove, FREE"}
    assert halting("pairs_tables", module) == set()


LATE = {f"{pair}, {state}" for pair, states in {
    "tdg_mem_page_accept / tdh_mem_page_aug": "FREE", "tdg_mem_page_accept / tdh_mem_page_remove": "BLOCKED PEND_BLOCKED",
    "tdg_mem_page_accept / tdh_mem_range_unblock": "BLOCKED PEND_BLOCKED", "tdh_mem_page_aug / tdh_mem_page_aug": "FREE",
    "tdh_mem_page_aug / tdh_mem_page_remove": "FREE BLOCKED PEND_BLOCKED",
    "tdh_mem_page_remove / tdh_mem_page_remove": "BLOCKED PEND_BLOCKED"}.items() for state in states.split()}


@pytest.mark.parametrize("module", [release.name for release in READ if release.entry_write == SWAP_STORE])
def test_where_entries_are_written_twice_a_lock_bit_can_be_lost_and_the_module_halts(module):
    assert halting("pairs", module) == LATE
