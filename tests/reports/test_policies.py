"""The policies listed: each with its meaning, its source and what it answers where, within the page."""

from harness.protocol.policies import POLICIES
from harness.protocol.policy import SWITCHES
from harness.reports.policies import policy_report
from harness.reports.text import WIDTH


def test_every_policy_and_switch_is_listed_and_the_list_fits():
    said = policy_report()
    assert max(map(len, said.splitlines())) <= WIDTH
    assert said.count("source: ") == len(POLICIES) and all(f"{policy.name}: " in said for policy in POLICIES)
    assert all(switch.name in said for switch in SWITCHES)


def test_a_switch_is_written_as_a_config_writes_it():
    said = policy_report()
    words = said.split()
    assert "True" not in words and "False" not in words and {"true", "false"} <= set(words)
