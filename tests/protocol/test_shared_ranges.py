"""What each design of Dynamic PAMT leaves of contention for ranges: against what its row says it breaks, and against the search."""

import pytest

from harness.engines.explore import search
from harness.experiment.scenario_file import load
from harness.memory.placement import PLACEMENTS
from harness.protocol.contention import uses
from harness.protocol.dpamt import BY_NAME as DESIGNS
from harness.protocol.kvm_locks import CONTEXTS
from harness.protocol.releases import BY_NAME as RELEASES, EXCLUSIVE
from harness.protocol.shared_ranges import ADD, DEMOTE, OF_RANGES, REMOVE, conflicts
from tests.engines.test_simulate import ROOT

MODULE = "1.5.24"
FILES = ("pamt_crossed", "pamt_demote", "pamt_one_range", "placed_split")
PARTS = {"large_page_split": DEMOTE}             # of the search, by the call that they are of


def refused(design: str, placement: str = "packed") -> set[tuple[str, str]]:
    """(call, operand) of what can be BUSY, of the calls that take a 2 MiB word exclusively."""
    return {side for each in conflicts(RELEASES[MODULE], DESIGNS[design], placement)
            for side in ((each.a, each.a_operand), (each.b, each.b_operand)) if side[0] in OF_RANGES}


def found(design: str) -> set[tuple[str, str]]:
    """The same of every interleaving of small worlds; operands on the 2 MiB."""
    answered = set().union(*(search.run(load(ROOT / f"configs/explore/{name}.toml", [MODULE], dpamt=design)[0]).answered
                             for name in FILES))
    busy = {(PARTS.get(call, call), answer.partition("|")[2]) for call, answer in answered if answer.startswith("TDX_OPERAND_BUSY")}
    return {side for side in busy if side[0] in OF_RANGES}


def test_who_takes_a_2_mib_word_exclusively_with_small_pages_is_one_of_three():
    large = {"tdh_mem_page_aug", "tdh_mem_page_remove", "tdh_mem_page_promote", "tdh_phymem_page_reclaim"}     # of 2 MiB
    takers = {call for call, taken in uses(RELEASES[MODULE]).items() for use in taken
              if use.resource == "PAMT_2M" and use.mode == EXCLUSIVE}
    assert takers == {*OF_RANGES, *large}
    assert not any(use.resource == "PAMT_1G" and use.mode == EXCLUSIVE for taken in uses(RELEASES[MODULE]).values() for use in taken)


@pytest.mark.parametrize("design", DESIGNS)
def test_a_design_that_leaves_nothing_breaks_nothing_by_busy(design):
    row = DESIGNS[design]
    left = refused(design)
    assert bool(left) == bool({"pamt_busy", "pamt_get"} & {*row.breaks}), left
    assert not refused(design, "by_use") or row.lock == "none"


def test_demote_outside_the_lock_meets_add_and_remove_of_the_range_in_which_its_pair_lies():
    for design in ("dpamt_demote_bare", "dpamt_demote_tries"):
        assert refused(design) == {(ADD, "RCX"), (REMOVE, "RCX"), (DEMOTE, "R12"), (DEMOTE, "R13")}
    assert refused("dpamt_merged") == refused("dpamt_per_2m") == refused("dpamt_pool") == set()


def test_calls_of_the_kernel_all_have_a_context():
    assert {call for each in conflicts(RELEASES[MODULE], DESIGNS["dpamt_no_lock"], "random") for call in (each.a, each.b)} <= {
        *CONTEXTS, *OF_RANGES}
    assert {len(conflicts(RELEASES[MODULE], DESIGNS["dpamt_merged"], placement)) for placement in PLACEMENTS} == {0}


@pytest.mark.parametrize("design", [
    *("dpamt_merged", "dpamt_demote_bare"), *(pytest.param(name, marks=pytest.mark.slow) for name in DESIGNS
                                              if name not in ("dpamt_merged", "dpamt_demote_bare"))])
def test_the_search_is_busy_on_nothing_else(design):
    assert found(design) <= refused(design)
    assert bool(found(design)) == bool(refused(design))
