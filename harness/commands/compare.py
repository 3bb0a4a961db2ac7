"""The command `compare`: saved results side by side, or a policy before and after a change."""

from harness.commands import arguments
from harness.errors import DONE, UsageError
from harness.reports.before_after import against_report
from harness.reports.comparison import comparison_report
from harness.results import store
from harness.results.before_after import before_after
from harness.results.comparison import make_table


def add(parser) -> None:
    arguments.add_results(parser)
    arguments.add_format(parser)
    parser.add_argument("--against", nargs="+", metavar="NEW", help="results of the same policies after a change:"
                        " of another commit, module, kernel's flow")
    parser.add_argument("--columns", metavar="KEY,...", help="metrics, by the keys that --format csv prints")
    parser.add_argument("--rows", metavar="PATTERN,...", help="policies, such as 'kick*,retry16'")
    parser.add_argument("--sort", metavar="KEY", help="sort rows by a metric, least first")
    parser.add_argument("--real", metavar="REAL.json", help="medians beside the numbers of a real host (import-trace writes"
                        " them), in place of the comparison")
    arguments.add_comparison(parser)


def do(options) -> int:
    if options.real:
        from harness.reports.traces import beside_report         # loads the compiler
        from harness.traces.written import read_real
        print(beside_report(read_real(options.real), [store.read(path) for path in options.results], options.format))
        return DONE
    if options.against:
        for option in ("baseline", "rows", "sort"):
            if getattr(options, option):
                raise UsageError(f"--{option}: not with --against, where each policy is compared with itself")
        old, new = ([store.read(path) for path in paths] for paths in (options.results, options.against))
        print(against_report(before_after(old, new, options.columns, tuple(options.across)), options.format))
        return DONE
    table = make_table([store.read(path) for path in options.results], options.baseline,
                       options.columns, options.rows, options.sort, tuple(options.across))
    print(comparison_report(table, options.format))
    return DONE
