"""The command `explain`: the micro-ops of a call."""

from harness.commands import arguments
from harness.errors import DONE
from harness.reports import listing


def add(parser) -> None:
    parser.add_argument("name", metavar="NAME", help="a call, such as tdh_mem_range_block")
    arguments.add_module(parser)
    arguments.add_format(parser, arguments.TABLE_OR_JSON)
    parser.add_argument("--level", type=int, metavar="N", help="level of the SEPT entry: 0 4K, 1 2M, 2 1G")


def do(options) -> int:
    print(listing.explanation(options.name, options.module, options.level, options.format))
    return DONE
