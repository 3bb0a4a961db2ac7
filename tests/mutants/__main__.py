"""The command: python -m tests.mutants [--only PATTERN] [--list] [--jobs N] [--kind KIND] [--releases A,B]"""

import argparse
import collections
import re
import sys
import time

from tests.mutants import calls, equivalents, rows, steps
from tests.mutants.running import KILLED, SAME, SURVIVED, in_forks

KINDS = {
    "rows": lambda releases: rows.mutants(releases),
    "steps": lambda releases: steps.mutants(releases),
}
LIMIT_S = 300


def main(arguments: list[str]) -> int:
    options = _parser().parse_args(arguments)
    pattern = re.compile(options.only)
    tally, survived, seen = collections.Counter(), [], set()
    started = time.monotonic()
    calls.warm_up()
    for kind in options.kind.split(","):
        mutants = (mutant for mutant in KINDS[kind](tuple(options.releases.split(","))) if pattern.search(mutant.name))
        if options.list:
            for mutant in mutants:
                print(mutant.name)
            continue
        for verdict in in_forks(mutants, calls.judge, options.jobs, LIMIT_S):
            known = equivalents.reason(verdict.name) if verdict.verdict == SURVIVED else ""
            outcome = "equivalent" if known else verdict.verdict
            tally[kind, outcome] += 1
            seen.add(equivalents.entry(verdict.name))
            if outcome == SURVIVED:
                survived.append(verdict.name)
                print(f"survived  {verdict.name}", flush=True)
            elif options.verbose:
                print(f"{outcome:10}{verdict.name}: {known or verdict.by}", flush=True)
    if options.list:
        return 0
    for kind in options.kind.split(","):
        print(f"{kind:10}{sum(count for (each, _), count in tally.items() if each == kind)} tried: "
              + ", ".join(f"{tally[kind, outcome]} {outcome}" for outcome in (KILLED, SAME, "equivalent", SURVIVED)))
    print(f"{time.monotonic() - started:.0f} s")
    return 1 if survived else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description="mutants that tests must kill")
    parser.add_argument("--only", default="", metavar="PATTERN", help="a regular expression on the mutants' names")
    parser.add_argument("--list", action="store_true", help="names only")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--kind", default=",".join(KINDS), help=f"of {', '.join(KINDS)}")
    parser.add_argument("--releases", default="1.5.05,1.5.24", help="whose rows are changed")
    parser.add_argument("--verbose", action="store_true", help="what became of each")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
