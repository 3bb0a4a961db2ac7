"""The command `policies`: each with its responses, its meaning and its source; or the guests'."""

from harness.errors import DONE
from harness.reports.policies import guest_report, policy_report


def add(parser) -> None:
    parser.add_argument("--guests", action="store_true",
                        help="what guests make of the answers of TDG.MEM.PAGE.ACCEPT, in place of hosts' policies")


def do(options) -> int:
    print(guest_report() if options.guests else policy_report())
    return DONE
