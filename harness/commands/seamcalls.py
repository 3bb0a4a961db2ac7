"""The command `seamcalls`: the calls of a release, or what differs between two."""

from harness.commands import arguments
from harness.errors import DONE
from harness.reports import module


def add(parser) -> None:
    parser.add_argument("names", nargs="*", metavar="NAME", help="these calls only, such as tdh_mem_page_aug")
    arguments.add_module(parser)
    parser.add_argument("--diff", nargs=2, metavar="RELEASE", help="what changed between two releases")
    arguments.add_format(parser)


def do(options) -> int:
    if options.diff:
        print(module.difference_report(*options.diff, options.format))
    else:
        print(module.seamcall_report(options.module, options.format, options.names))
    return DONE
