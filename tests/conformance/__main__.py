"""`python -m tests.conformance FILE...`: our rows beside results of the module's own code.

Prints, per call or scenario, how many were compared, how many of them agree, differ as an abstraction covers
(abstractions.py), or differ otherwise, with one example; and how many differences each abstraction covers.  Exit code
0: all agree; 1: some differ; 2: a file cannot be read (the others are compared all the same).
"""

import argparse
import sys
import time
from collections import Counter

from tabulate import tabulate

from harness.errors import UsageError
from tests.conformance import calls, interleavings, lock_words
from tests.conformance.dynamic_pamt import calls as dpamt_calls, interleavings as dpamt_interleavings
from tests.conformance.abstractions import ABSTRACTIONS
from tests.conformance.reading import CALLS, DPAMT_CALLS, DPAMT_INTERLEAVINGS, INTERLEAVINGS, LOCK_WORDS, Vectors, read

COMPARE = {CALLS: calls.compare, INTERLEAVINGS: interleavings.compare, DPAMT_CALLS: dpamt_calls.compare,
           DPAMT_INTERLEAVINGS: dpamt_interleavings.compare, LOCK_WORDS: lock_words.compare}
KIND = {CALLS: "call", DPAMT_CALLS: "call", LOCK_WORDS: "operation"}         # what is compared; else scenarios
EXAMPLE_WIDTH = 400


def report(vectors: Vectors, examples: int = 1) -> int:
    """Compare a file and print what came of it; returns how many differ."""
    compared, differ, covered, reasons, shown = Counter(), Counter(), Counter(), Counter(), {}
    began = time.perf_counter()
    for each in COMPARE[vectors.form](vectors):
        compared[each.group] += 1
        if each.covered:
            covered[each.group] += 1
            reasons[each.covered] += 1
        elif each.difference:
            differ[each.group] += 1
            shown.setdefault(each.group, []).append(each.difference)
    release = f"release {vectors.release}, " if vectors.release else ""
    print(f"{vectors.path}: {release}{compared.total()} compared, {differ.total()} differ,"
          f" {covered.total()} covered by an abstraction ({time.perf_counter() - began:.0f} s)")
    if not compared:
        raise UsageError(f"{vectors.path}: nothing in it could be compared")
    rows = [(group, count, count - covered[group] - differ[group], covered[group], differ[group])
            for group, count in compared.items()]
    print(tabulate(rows, headers=(KIND.get(vectors.form, "scenario"), "compared", "agree", "covered", "differ")))
    for group, differences in shown.items():
        for difference in differences[:examples]:
            print(f"  {group}: {difference[:EXAMPLE_WIDTH]}")
    for abstraction in ABSTRACTIONS:
        if reasons[abstraction.name]:
            print(f"  {reasons[abstraction.name]} x {abstraction.name}: {abstraction.reason}")
    return differ.total()


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="+", metavar="FILE")
    parser.add_argument("--examples", type=int, default=1, help="differences to show of each call or scenario")
    parser.add_argument("--release", default="", metavar="R",
                        help="of single calls, if not the one that the file's name or explanation says")
    options = parser.parse_args(arguments)
    code = 0
    for path in options.files:
        try:
            code = max(code, int(report(read(path, options.release), options.examples) > 0))
        except UsageError as problem:
            sys.stdout.flush()
            print(f"conformance: {problem}", file=sys.stderr)
            code = 2
    return code


if __name__ == "__main__":
    sys.exit(main())
