"""A scenario in which a memory slot is deleted: what tells 6.16's local retry from 6.18's; and what cannot stand beside it."""

import pytest

from harness.engines.explore import search
from harness.errors import UsageError
from harness.experiment.scenario_file import load, parse
from tests.command_line import ROOT

FILE = ROOT / "configs/explore/slot_deleted.toml"
ACTORS = {"vcpu0": {"touch": [3]}, "host0": {"delete": [3]}}


@pytest.mark.parametrize("policy, waits_for_itself", [
    ("kick_on_busy", True), ("zero_step_exit", True), ("kick_on_busy_618", False), ("do_no_vcpus_619", False), ("kick_vcpus", False)])
def test_a_retry_on_an_invalid_slot_waits_for_ever_unless_it_ends_there(policy, waits_for_itself):
    [scenario] = load(FILE, ["1.5.24"], policy)
    found = search.run(scenario)
    assert found.complete and set(found.violations) == ({"livelock"} if waits_for_itself else set())
    assert {ending.words for ending in found.endings} == {("MAPPED",), ("FREE",)}


@pytest.mark.parametrize("table, key", [
    ({"actors": ACTORS | {"host1": {"remove": [4]}}}, "actors.host1"), ({"actors": ACTORS | {"host1": "tdh_mem_track"}}, "actors.host1"),
    ({"actors": ACTORS, "large_pages": True}, "large_pages"), ({"actors": {"vcpu0": {"delete": [3]}}}, "actors.vcpu0"),
    ({"actors": ACTORS, "retries_most": -1}, "retries_most")])
def test_what_cannot_stand_beside_a_deletion_is_said(table, key):
    with pytest.raises(UsageError, match=key):
        parse(table, "slot")


TWELVE = {"base": "adaptive_1024"} | {site: ["retry 12"] for site in ("install", "block", "track", "remove")}


@pytest.mark.parametrize("policy, limit", [("adaptive_1024", 1024), (TWELVE, 12)])
def test_a_smaller_limit_of_retries_comes_to_the_same_and_each_retry_adds_as_much(policy, limit):
    """docs/exploring.md says why; a limit that is doubled is in memory, too, and has states of its own."""
    def counted(most: int) -> tuple[set, int, int]:
        [scenario] = load(ROOT / "configs/explore/fault_zap.toml", ["1.5.24"], keys={"policy": policy, "retries_most": most})
        found = search.run(scenario)
        assert found.complete and ("at most" in scenario.policy.name) == bool(most) and set(found.violations) == {"no_bug"}
        return {(ending.answers, ending.words) for ending in found.endings}, len(found.violations["no_bug"]), found.states
    whole, two, three = counted(0), counted(2), counted(3)
    assert whole[0] == two[0] == three[0]
    assert whole[1] == two[1] + (three[1] - two[1]) * (limit - 2)
    assert limit == 1024 or whole[2] == two[2] + (three[2] - two[2]) * (limit - 2)
