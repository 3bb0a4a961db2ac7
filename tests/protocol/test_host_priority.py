"""What becomes of a host's priority that is set on an entry while a call has it locked: by call, moment and release.

    before the copy    after the entry is locked, before it is read again
    before the write   after that, before the new word is written
    after the write    while the entry is still locked
"""

import pytest

from kernels.words import HP, HPA_MASK, OP_STATE_PAUSED_EXPORT, STATE, TDEL, TDHP
from tests.by_release import by_release
from tests.protocol.alone import Try
from tests.protocol.order_lines import LOOK, WRITE
from tests.protocol.orders import TRAITS, differences_of, like
from tests.protocol.test_orders import LINES, line_of

# Up to 1.5.16: the word is built anew, or it is the copy that was read under the lock.  sept_manager.c:412-470,
# tdg_mem_page_accept.c:97-302, tdh_mem_range_block.c:236, tdh_mem_range_unblock.c:225, tdh_mem_page_relocate.c:273
ANEW = ("tdh_mem_page_aug", "tdh_mem_sept_add", "tdh_mem_page_demote", "tdh_mem_page_remove", "tdh_mem_sept_remove")
COPIES = ("tdg_mem_page_accept", "tdh_mem_range_block", "tdh_mem_range_unblock", "tdh_mem_page_relocate")
CASES = [(release, order, level) for release, order, level in LINES if order.call in (*ANEW, *COPIES)]
IDS = [f"{release}-{order.call}-{level}" for release, order, level in CASES]


def kept(release: str, call: str, moment: str) -> bool:
    """Whether the priority is still on the entry at the end of the call."""
    if moment == "after the write" or TRAITS[like(release)].writes != ("store",):
        return True                                      # from 1.5.20 the write keeps what is there
    return call in COPIES and moment == "before the copy"


def moments(line) -> dict:
    """Accesses just before which it is set."""
    numbers, done = {}, 0
    for part in line.parts:
        word = part.accesses[0][1]
        if word == "ENTRY" and part.kind == LOOK and part.token.startswith("ENT"):
            numbers["before the copy"] = done
        elif word == "ENTRY" and part.kind == WRITE:
            numbers["before the write"] = done
            if part.token.endswith("+EL"):
                numbers["after the write"] = done + len(part.accesses)
        done += len(part.accesses)
    return numbers


@pytest.mark.parametrize("release, order, level", by_release(CASES, IDS))
def test_a_hosts_priority_is_kept_or_lost_as_the_release_writes(release, order, level):
    found = moments(line_of(release, order, level))
    assert len(found) >= 2
    for moment, number in found.items():
        tried = Try(release, order.call, level)
        tried.run({number: lambda: tried.set("ENTRY", tried.get("ENTRY") | TDHP)})
        assert bool(tried.get("ENTRY") & TDHP) == kept(release, order.call, moment), moment


RELOCATES = [case for case in CASES if case[1].call == "tdh_mem_page_relocate"]
UNBLOCKED = {"BLOCKED": "MAPPED", "PEND_BLOCKED": "PENDING"}


@pytest.mark.parametrize("release, order, level", RELOCATES, ids=[case[0] for case in RELOCATES])
def test_a_relocated_page_keeps_its_state_and_a_losers_priority_in_every_state(release, order, level):
    """The new entry is the copy with another address; a blocked one is blocked no longer."""
    number = moments(line_of(release, order, level))["before the copy"]
    for state in (state for state in STATE.values() if state.leaf and "MMIO" not in state.name):
        for priority in (0, TDHP):
            tried = Try(release, order.call, level)
            tried.stage.set_entry(tried.page, state.name)
            _, answer = tried.run({number: lambda: tried.set("ENTRY", tried.get("ENTRY") | priority)})
            if answer != "TDX_SUCCESS":          # as it must be blocked, in a TD that runs
                assert answer.startswith(("TDX_GPA_RANGE_NOT_BLOCKED", "TDX_EPT_ENTRY_STATE_INCORRECT")), (state.name, answer)
                tried = Try(release, order.call, level)
                tried.stage.set_entry(tried.page, state.name)
                tried.set("op_state", OP_STATE_PAUSED_EXPORT)
                _, answer = tried.run({number: lambda: tried.set("ENTRY", tried.get("ENTRY") | priority)})
            word = tried.stage.as_state(UNBLOCKED.get(state.name, state.name), tried.page)
            new = tried.stage.layout.hpa("data", tried.stage.layout.pages)
            assert answer == "TDX_SUCCESS" and tried.get("ENTRY") == word & ~HPA_MASK | new | priority, state.name


DEMOTES = [case for case in CASES if case[1].call == "tdh_mem_page_demote"]


@pytest.mark.parametrize("release, order, level", DEMOTES, ids=[case[0] for case in DEMOTES])
def test_a_demoted_page_hands_a_losers_priority_to_all_its_512_parts(release, order, level):
    """They are made from the copy, so it counts who had lost the entry by then."""
    number = moments(line_of(release, order, level))["before the copy"]
    for priority in (0, TDHP):
        tried = Try(release, order.call, level)
        tried.run({number: lambda: tried.set("ENTRY", tried.get("ENTRY") | priority)})
        assert {tried.get(f"CHILD[{index}]") & TDHP for index in range(512)} == {priority}


PROMOTES = [case for case in LINES if case[1].call == "tdh_mem_page_promote"]


@pytest.mark.parametrize("release, order, level", PROMOTES, ids=[case[0] for case in PROMOTES])
def test_a_promoted_page_keeps_its_own_priority_from_1_5_20(release, order, level):
    number = moments(line_of(release, order, level))["before the write"]
    tried = Try(release, order.call, level)
    tried.run({number: lambda: tried.set("ENTRY", tried.get("ENTRY") | TDHP)})
    assert bool(tried.get("ENTRY") & TDHP) == (TRAITS[like(release)].writes != ("store",))


UP_TO_1_5_16 = [case for case in PROMOTES if TRAITS[like(case[0])].writes == ("store",)]


@pytest.mark.parametrize("release, order, level", UP_TO_1_5_16, ids=[case[0] for case in UP_TO_1_5_16])
def test_a_promoted_page_and_the_priority_of_its_first_part_up_to_1_5_16(release, order, level):
    """When it is looked at it makes the part differ from the 511 others; afterwards it becomes the page's own."""
    line = line_of(release, order, level)
    looked = sum(len(part.accesses) for part in line.parts[:next(
        index for index, part in enumerate(line.parts) if part.kind == LOOK and part.accesses[0][1] == "CHILD[0]")])
    reads_again = not any("?CHILD" in each.module for each in differences_of(order.call, release))
    for number, answer, priority in ((looked, "TDX_EPT_INVALID_PROMOTE_CONDITIONS|RCX", False),
                                     (looked + 1, "TDX_SUCCESS", reads_again)):
        tried = Try(release, order.call, level)
        _, answered = tried.run({number: lambda: tried.set("CHILD[0]", tried.get("CHILD[0]") | TDHP)})
        assert answered == answer
        assert bool(tried.get("ENTRY") & TDHP) == priority


# --- counted ---

LOCKS_AN_ENTRY = [(release, order, level) for release, order, level in LINES
                  if " ENT " in f" {order.take} " and order.call.startswith("tdh")]


@pytest.mark.parametrize("release, order, level", by_release(
    LOCKS_AN_ENTRY, [f"{release}-{order.call}-{level}" for release, order, level in LOCKS_AN_ENTRY]))
def test_priority_that_a_host_asks_for_or_clears_is_counted_once(release, order, level):
    for priority in (0, TDHP):
        tried = Try(release, order.call, level)
        tried.set("ENTRY", tried.get("ENTRY") | priority)
        assert tried.run()[1] == "TDX_SUCCESS"
        assert tried.stage.counters == ({"host_priority.cleared": 1} if priority else {})
        tried = Try(release, order.call, level)
        tried.set("ENTRY", tried.get("ENTRY") | priority | TDEL)
        assert tried.run()[1] == "TDX_OPERAND_BUSY|RCX"
        assert tried.stage.counters == ({} if priority else {"host_priority.set": 1})


@pytest.mark.parametrize("release", ["1.5.05", "1.5.24"])
def test_priority_on_a_sharex_hp_lock_is_counted_when_it_is_asked_for_and_when_it_is_cleared(release):
    for word, mode in (("TDR", "shared"), ("PAGE", "exclusive")):
        tried = Try(release, "tdh_mem_page_aug", 0)
        tried.set(word, HP)
        assert tried.run()[1] == "TDX_SUCCESS"
        assert tried.stage.counters == {"host_priority.locks_cleared": 1}, mode
        tried = Try(release, "tdh_mem_page_aug", 0)
        tried.set(word, 1)
        tried.run()
        assert tried.stage.counters == {"host_priority.locks_set": 1}, mode
