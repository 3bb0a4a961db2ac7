"""The command `policies`: each with its responses, its meaning and its source; or the guests'."""

from harness.commands import arguments
from harness.errors import DONE, UsageError
from harness.reports.policies import guest_report, policy_report


def add(parser) -> None:
    parser.add_argument("names", nargs="*", metavar="NAME", help="these only (default: all, after a table)")
    arguments.add_format(parser)
    parser.add_argument("--guests", action="store_true",
                        help="what guests make of the answers of TDG.MEM.PAGE.ACCEPT, in place of hosts' policies")


def do(options) -> int:
    if options.guests and options.names:
        raise UsageError("--guests: prints all guests; not together with names")
    print(guest_report(options.format) if options.guests else policy_report(options.names, options.format))
    return DONE
