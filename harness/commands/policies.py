"""The command `policies`: each with its responses, its meaning and its source."""

from harness.errors import DONE
from harness.reports.policies import policy_report


def add(parser) -> None:
    """It takes no arguments."""


def do(_) -> int:
    print(policy_report())
    return DONE
