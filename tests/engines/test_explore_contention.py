"""The contention matrix, read off the rows, against the search, which runs them: the same pairs, the same operands.

Two calls about the same page start from a TD in which the first (or the second) would succeed alone; the
BUSY answers that any interleaving gives must be those that the matrix says, no more and no fewer.

A conflict is *masked* where both calls take something else before, on which they conflict too, and hold
it meanwhile: two BLOCKs never meet at the entry, because one of them is refused at the tree.  Not
compared: what a call does not get to because the start's op_state refuses it; PAMT_2M and PAMT_1G, which the matrix shares among all pages and this memory among pages of
one use; and TDVPR, because the callers here are two vCPUs.
"""

import functools
import itertools
from dataclasses import dataclass

import pytest

from harness.engines.explore import search
from harness.memory.block import Memory
from harness.protocol import contention
from harness.protocol.phrases.locking import OpState
from harness.protocol.phrases.services import Target
from harness.protocol.seamcalls import TD_EXIT
from harness.protocol.releases import BY_NAME as RELEASES
from harness.experiment.scenario import Scenario, Script, calls_of, kind_of
from harness.experiment.scenario_keys import File
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


# Calls of migration, of service TDs, of measurements and of devices; in pairs by default, all in slow tests.
NEWER = ("tdh_export_blockw", "tdh_export_unblockw", "tdh_export_mem", "tdh_export_track", "tdh_export_pause",
         "tdh_export_abort", "tdh_import_mem", "tdh_import_mem_cancel", "tdh_import_track", "tdh_servtd_bind", "tdh_servtd_prebind", "tdg_servtd_rd",
         "tdg_mr_rtmr_extend", "tdg_mr_report", "tdh_mmio_map", "tdh_mmio_block", "tdg_tdi_mmio_accept")
NEWER_PAIRS = (
    ("tdh_export_blockw", "tdg_mem_page_accept"), ("tdh_export_unblockw", "tdh_mem_range_block"),
    ("tdh_export_mem", "tdh_export_track"), ("tdh_export_mem", "tdh_export_mem"), ("tdh_import_mem", "tdh_mem_range_block"),
    ("tdh_import_mem_cancel", "tdh_phymem_page_rdmd"),
    ("tdh_export_pause", "tdh_vp_enter"), ("tdh_export_abort", "tdh_vp_enter"), ("tdh_import_track", "tdh_mem_page_aug"),
    ("tdh_servtd_bind", "tdg_mr_rtmr_extend"), ("tdg_mr_rtmr_extend", "tdg_mr_report"),
    ("tdg_servtd_rd", "tdh_servtd_prebind"), ("tdg_servtd_rd", "tdh_export_track"),
    ("tdh_mmio_map", "tdg_tdi_mmio_accept"), ("tdh_mmio_block", "tdh_mem_page_aug"),
)


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
            if (each.a, each.b) == ordered and not each.resource.startswith("PAMT") and each.resource != "TDVPR"
            and not any(of_a_service_td(call, operand) for call, operand in (
                (each.a, each.a_operand), (each.b, each.b_operand)))
            and any({each.resource} <= reached(module, one, start) & reached(module, other, start)
                    for start in (one, other))]
    found = [each for each in pair
             if not any(all(order.index(first.resource) < order.index(each.resource) for order in taken)
                        for first in pair)]
    sets = {each.a_operand for each in found} - NOTED, {each.b_operand for each in found} - NOTED
    if one == other:
        return (sets[0] | sets[1],) * 2
    return sets if ordered == (one, other) else sets[::-1]


@functools.cache
def reached(module: str, call: str, start: str) -> set[str]:
    """The resources that a call gets to where another would succeed: its op_state may refuse the call."""
    stage, found = Stage(release=module), set()
    ready(stage, start, 0)
    op_state = stage.word("op_state", width=64)
    for phrase in calls_of(module)[call].phrases:
        for lock in phrase.locks(0, RELEASES[module]) if hasattr(phrase, "locks") else ():
            found.add(contention.resource_of(lock, 0))
        if isinstance(phrase, (OpState, Target)) and op_state not in phrase.allowed:
            break
    return found


# What is busy of a list is no BUSY answer.
NOTED = {"GPA_LIST_ENTRY", "NEW_PAGE_LIST_ENTRY"}


def of_a_service_td(call: str, operand: str) -> bool:
    """Whether a lock lies in a service TD: here nobody makes calls on that."""
    return call == "tdh_servtd_bind" and operand == "RDX"


def check(module, calls):
    check_pairs(module, itertools.combinations_with_replacement(calls, 2))


def check_pairs(module, pairs):
    wrong = {}
    known = calls_of(module)
    for one, other in pairs:
        if one not in known or other not in known:
            continue
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


@pytest.mark.parametrize("module", ["1.5.24", "2.0.18"])
def test_so_it_is_for_calls_of_migration_services_and_devices(module):
    check_pairs(module, NEWER_PAIRS)


@pytest.mark.slow
@pytest.mark.parametrize("module", RELEASES)
def test_so_it_is_for_all_pairs_of_these_and_the_others(module):
    check_pairs(module, itertools.product(NEWER, (*CALLS, *NEWER)))


def test_every_call_of_these_is_about_no_page_of_its_own():
    assert not {*CALLS, *NEWER} & set(ABOUT_PAGES)
