"""The command `policies` as a user meets it."""

import json

import pytest

from harness.protocol.guest_policies import GUESTS
from harness.protocol.policies import POLICIES
from harness.protocol.policy import SWITCHES
from tests.command_line import inside


def test_policies_lists_every_policy_with_its_source():
    text = inside("policies").stdout
    for policy in POLICIES:
        assert f"\n{policy.name}: " in text and f"\n{policy.name}  " in text
    assert text.count("source: ") == len(POLICIES)
    for switch in SWITCHES:
        assert f"\n{switch.name}  " in text


def test_guests_are_listed_with_what_they_do_and_their_sources():
    text = inside("policies", "--guests").stdout
    assert text.count("source: ") == len(GUESTS) and max(map(len, text.splitlines())) <= 100
    assert all(f"\n{guest.name}: " in text and f"\n{guest.name} " in text for guest in GUESTS)
    assert "linux_boot     down            panic " in text


def test_one_policy_is_printed_in_full_and_every_one_as_json():
    text = inside("policies", "retry16").stdout
    assert text.startswith("retry16: ") and text.count("source: ") == 1 and "kick_on_busy" not in text
    rows = json.loads(inside("policies", "--format", "json").stdout)
    assert [row["name"] for row in rows] == [policy.name for policy in POLICIES]
    assert rows[0]["sites"]["install"] == str(POLICIES[0].ladder("install")) and set(rows[0]["switches"]) == {
        switch.name for switch in SWITCHES}
    assert len(inside("policies", "retry16", "inject47", "--format", "csv").stdout.splitlines()) == 3


def test_one_call_is_printed_with_its_locks():
    text = inside("seamcalls", "tdh_mem_track", "--module", "1.5.34").stdout
    assert "tdh_mem_track  (SEAMCALL leaf 38)" in text and "tdh_mem_page_aug" not in text


@pytest.mark.parametrize("arguments, said", [
    (["policies", "kick_on_buzy"], "no such policy; did you mean kick_on_busy? known: spinlock_vm, "), (["seamcalls", "tdh_mem_trac"], "did you mean tdh_mem_track?"),
    (["policies", "--guests", "kick_on_busy"], "--guests: prints all guests"),
])
def test_what_there_is_not_is_one_line(arguments, said):
    done = inside(*arguments)
    assert done.returncode == 2 and not done.stdout and said in done.stderr and done.stderr.count("\n") == 1
