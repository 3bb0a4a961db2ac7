"""The command `contention`: which calls can make each other BUSY, on what."""

from harness.commands import arguments
from harness.errors import DONE, UsageError
from harness.memory.placement import PACKED, PLACEMENTS
from harness.reports import module


def add(parser) -> None:
    arguments.add_module(parser)
    parser.add_argument("--resource", metavar="NAME", help="only this resource, such as SEPT_TREE")
    parser.add_argument("--under-kvm", action="store_true", help="without what KVM's own locks exclude")
    parser.add_argument("--dpamt", metavar="DESIGN",
                        help="on the PAMT 2M entries of real ranges, under a design of Dynamic PAMT such as dpamt_merged")
    parser.add_argument("--placement", choices=PLACEMENTS, help="with --dpamt: where pages lie (default: packed)")
    parser.add_argument("--pairs", action="store_true", help="every pair of calls in a line of its own")
    arguments.add_format(parser)


def do(options) -> int:
    if options.placement and not options.dpamt:
        raise UsageError(f"--placement {options.placement}: needs --dpamt: without Dynamic PAMT KVM takes no PAMT 2M or 1G entry"
                         " exclusively, wherever pages lie")
    if options.dpamt:
        if options.under_kvm or options.resource:
            raise UsageError("--dpamt: not together with --under-kvm or --resource: it is of the kernel, and about PAMT_2M")
        print(module.ranges_report(options.module, options.dpamt, options.placement or PACKED, options.format, options.pairs))
        return DONE
    print(module.contention_report(options.module, options.resource, options.under_kvm, options.format,
                                   options.pairs))
    return DONE
