"""The command `policies` as a user meets it."""

from harness.protocol.guest_policies import GUESTS
from harness.protocol.policies import POLICIES
from harness.protocol.policy import SWITCHES
from tests.command_line import harness


def test_policies_lists_every_policy_with_its_source():
    text = harness("policies").stdout
    for policy in POLICIES:
        assert f"\n{policy.name}: " in text and f"\n{policy.name}  " in text
    assert text.count("source: ") == len(POLICIES)
    for switch in SWITCHES:
        assert f"\n{switch.name}  " in text


def test_guests_are_listed_with_what_they_do_and_their_sources():
    text = harness("policies", "--guests").stdout
    assert text.count("source: ") == len(GUESTS) and max(map(len, text.splitlines())) <= 100
    assert all(f"\n{guest.name}: " in text and f"\n{guest.name} " in text for guest in GUESTS)
    assert "linux_boot     down            panic " in text
