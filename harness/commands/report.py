"""The command `report`: results as one HTML page."""

import sys
from pathlib import Path

from harness.commands import arguments
from harness.errors import DONE
from harness.reports import page
from harness.results import store


def add(parser) -> None:
    arguments.add_results(parser)
    parser.add_argument("--out", default="report.html", metavar="FILE", help="the page (default: report.html)")
    parser.add_argument("--history", metavar="DIR", help="show these series of nights as well")
    parser.add_argument("--plots", metavar="DIR", help="write the plots here too, as SVG and PNG")
    arguments.add_comparison(parser)


def do(options) -> int:
    results = [store.read(path) for path in options.results]
    arguments.check_file("--out", Path(options.out))
    if options.plots:
        arguments.check_folder("--plots", Path(options.plots))
    for remark in page.write(results, options.out, options.plots, options.history, options.baseline,
                             tuple(options.across)):
        print(remark, file=sys.stderr)
    return DONE
