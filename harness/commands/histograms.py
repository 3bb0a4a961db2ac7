"""The command `histograms`: those of several results added up, and exported."""

from pathlib import Path

from harness.commands import arguments
from harness.errors import DONE, UsageError
from harness.files import reason
from harness.results import store


def add(parser) -> None:
    arguments.add_results(parser)
    parser.add_argument("--hdr", metavar="FILE", help="write them to FILE as an HdrHistogram log, too")
    arguments.add_format(parser)


def do(options) -> int:
    if options.hdr:
        arguments.check_file("--hdr", Path(options.hdr))
    from harness.reports.histograms import histograms_report       # loads the compiler
    from harness.results import merging
    results = [store.read(path) for path in options.results]
    text = histograms_report(results, options.format)
    if options.hdr:
        try:
            merging.write_log(results, Path(options.hdr))
        except OSError as problem:
            raise UsageError(f"--hdr {options.hdr}: cannot be written: {reason(problem)}") from None
    print(text)
    return DONE
