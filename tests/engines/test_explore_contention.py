"""The contention matrix, read off the rows, against the search, which runs them: the same pairs, the same operands.

Two calls about the same page start from a TD in which the first (or the second) would succeed alone; the
BUSY answers that any interleaving gives must be those that the matrix says, no more and no fewer.

A conflict is *masked* where both calls take something else before, on which they conflict too, and hold
it meanwhile: two BLOCKs never meet at the entry, because one of them is refused at the tree.  Not
compared: PAMT_2M and PAMT_1G, which the matrix shares among all pages and this memory among pages of
one use; and TDVPR, because the callers here are two vCPUs.
"""

import itertools
from dataclasses import dataclass

import pytest

from harness.engines.explore import search
from harness.memory.block import Memory
from harness.protocol import contention
from harness.protocol.seamcalls import TD_EXIT
from harness.protocol.releases import BY_NAME as RELEASES
from harness.experiment.scenario import File, Scenario, Script, calls_of, kind_of
from harness.protocol.flows.script import ABOUT_PAGES, Step
from harness.experiment.plan import Actor
from kernels.words import NAME_OF_OPERAND, OPERAND_ID
from tests.ready import ready
from tests.stage import Stage

# One TD, one entry.  Left out: calls that begin or end a TD or a vCPU (their starts exclude each other's)
# and those that take hundreds of entries.
CALLS = ("tdg_mem_page_accept", "tdh_mem_page_aug", "tdh_mem_page_remove", "tdh_mem_range_block",
         "tdh_mem_range_unblock", "tdh_mem_track", "tdh_vp_enter", "tdh_mng_rdwr", "tdh_vp_rd_wr")
QUICK = ("tdg_mem_page_accept", "tdh_mem_page_aug", "tdh_mem_range_block", "tdh_mem_track", "tdh_vp_enter")


@dataclass(frozen=True)
class Ready(Scenario):
    """Two calls, from a TD in which `call` succeeds."""

    call: str = ""

    def start(self, memory: Memory):
        stage = Stage.__new__(Stage)
        stage.layout, stage.memory, stage.release = memory.layout, memory, RELEASES[self.module]
        ready(stage, self.call, 0)
        for vcpu in range(2):            # the entry filter is at work
            place = memory.layout.at("tdvps", vcpu) + 64
            memory.set_word(place + 9, 1, 8)
            memory.set_word(place + 16, 9)
        return super().start(memory)


def script(call: str, kind: str, index: int) -> Script:
    steps = (Step(call, 3),) + ((Step(TD_EXIT),) if call == "tdh_vp_enter" else ())
    return Script(Actor(index if kind == "vcpu" else 2 + index, f"{kind}{index}", kind, index), steps)


def explored_operands(module: str, one: str, other: str) -> tuple[set[str], set[str]]:
    """Operands on which each of two calls is BUSY in some interleaving."""
    kinds = [kind_of(calls_of(module)[call]) for call in (one, other)]
    scripts = (script(one, kinds[0], 0), script(other, kinds[1], int(kinds[0] == kinds[1])))
    operands = (set(), set())
    for first in {one, other}:
        scenario = Ready(f"{one} / {other}", module, None, "cas", scripts, File(), vcpus=2, hosts=2, call=first)
        for ending in search.run(scenario).endings:
            for place in range(2):
                operands[place].update(operand_of(scenario, answer) for answer in ending.answers[place])
    return tuple(found - {None} for found in operands)


# REMOVE's store frees the entry before it drops the page: an AUG can get the one and miss the other.
HELD_LONGER = {("tdh_mem_page_aug", "tdh_mem_page_remove"): ({"R8"}, set())}


def operand_of(scenario, name: str) -> str | None:
    if name == "-":
        return None                      # not made, or not ended: the module has halted
    answer = next(each for each in scenario.program.answers if each.name == name)
    return NAME_OF_OPERAND[answer.status & OPERAND_ID] if answer.busy else None


def matrix_operands(module: str, one: str, other: str) -> tuple[set[str], set[str]]:
    """The same off the matrix, without what is masked."""
    release, ordered = RELEASES[module], tuple(sorted((one, other)))
    taken = [[use.resource for use in contention.uses(release)[call]] for call in ordered]
    pair = [each for each in contention.conflicts(release)
            if (each.a, each.b) == ordered and not each.resource.startswith("PAMT") and each.resource != "TDVPR"]
    found = [each for each in pair
             if not any(all(order.index(first.resource) < order.index(each.resource) for order in taken)
                        for first in pair)]
    sets = {each.a_operand for each in found}, {each.b_operand for each in found}
    if one == other:
        return (sets[0] | sets[1],) * 2
    return sets if ordered == (one, other) else sets[::-1]


def check(module, calls):
    wrong = {}
    known = calls_of(module)
    for one, other in itertools.combinations_with_replacement([call for call in calls if call in known], 2):
        explored, matrix = explored_operands(module, one, other), matrix_operands(module, one, other)
        late = HELD_LONGER.get((one, other), (set(), set()))
        matrix = matrix[0] | late[0], matrix[1] | late[1]
        if explored != matrix:
            wrong[one, other] = explored, matrix
    assert not wrong


@pytest.mark.parametrize("module", ["1.5.05", "1.5.24"])
def test_what_the_search_finds_busy_is_what_the_matrix_says(module):
    check(module, QUICK)


@pytest.mark.slow
@pytest.mark.parametrize("module", RELEASES)
def test_what_the_search_finds_busy_is_what_the_matrix_says_for_all_calls_about_an_entry(module):
    check(module, CALLS)


def test_every_call_of_these_is_about_no_page_of_its_own():
    assert not set(CALLS) & set(ABOUT_PAGES)
