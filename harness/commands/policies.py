"""The command `policies`: each with its responses, its meaning and its source."""

from harness.errors import DONE
from harness.reports import text


def add(parser) -> None:
    """It takes no arguments."""


def do(_) -> int:
    print(text.policy_report())
    return DONE
