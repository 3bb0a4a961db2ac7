"""The command `contention`: which calls can make each other BUSY, on what."""

from harness.commands import arguments
from harness.errors import DONE
from harness.reports import module


def add(parser) -> None:
    arguments.add_module(parser)
    parser.add_argument("--resource", metavar="NAME", help="only this resource, such as SEPT_TREE")
    parser.add_argument("--under-kvm", action="store_true", help="without what KVM's own locks exclude")
    parser.add_argument("--pairs", action="store_true", help="every pair of calls in a line of its own")
    arguments.add_format(parser)


def do(options) -> int:
    print(module.contention_report(options.module, options.resource, options.under_kvm, options.format,
                                   options.pairs))
    return DONE
