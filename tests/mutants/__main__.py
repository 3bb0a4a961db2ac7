"""The command: python -m tests.mutants [--only PATTERN] [--list] [--jobs N] [--kind KIND] [--sample N --seed S]"""

import argparse
import collections
import random
import re
import sys
import tempfile
import time
from pathlib import Path

from tests.mutants import calls, equivalents, rows, sources, steps
from tests.mutants.running import KILLED, SAME, SURVIVED, UNMADE, Verdict, in_forks

LIMIT_S = 300


def _in_a_copy(mutants, options):
    """One after the other, each in the text of a copy of the tree."""
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        tree = sources.Tree(Path(folder) / "tree")
        for mutant in mutants:
            yield Verdict(mutant.name, *tree.judge(mutant, LIMIT_S))


def _in_forks(mutants, options):
    calls.warm_up()
    return in_forks(mutants, calls.judge, options.jobs, LIMIT_S)


# kind: what makes its mutants, and what judges them.
KINDS = {
    "rows": (lambda releases: rows.mutants(releases), _in_forks),
    "steps": (lambda releases: steps.mutants(releases), _in_forks),
    "sources": (lambda releases: sources.mutants(), _in_a_copy),
}


def main(arguments: list[str]) -> int:
    options = _parser().parse_args(arguments)
    tally, survived = collections.Counter(), []
    started = time.monotonic()
    for kind in options.kind.split(","):
        chosen = _chosen(kind, options)
        if options.list:
            print(*(mutant.name for mutant in chosen), sep="\n")
            continue
        for verdict in KINDS[kind][1](chosen, options):
            known = equivalents.reason(verdict.name) if verdict.verdict == SURVIVED else ""
            outcome = "equivalent" if known else verdict.verdict
            tally[kind, outcome] += 1
            if outcome == SURVIVED:
                survived.append(verdict.name)
                print(f"survived  {verdict.name}", flush=True)
            elif options.verbose:
                print(f"{outcome:10}{verdict.name}: {known or verdict.by}", flush=True)
        print(f"{kind:10}{sum(count for (each, _), count in tally.items() if each == kind)} tried: "
              + ", ".join(f"{tally[kind, outcome]} {outcome}" for outcome in (KILLED, SAME, UNMADE, "equivalent", SURVIVED))
              + (f"; a sample, seed {options.seed}" if options.sample else ""), flush=True)
    if not options.list:
        print(f"{time.monotonic() - started:.0f} s")
    return 1 if survived else 0


def _chosen(kind: str, options) -> list:
    """The mutants of a kind with names that match; of them a sample, if that is wanted."""
    pattern = re.compile(options.only)
    found = [mutant for mutant in KINDS[kind][0](tuple(options.releases.split(","))) if pattern.search(mutant.name)]
    if options.sample and options.sample < len(found):
        found = random.Random(options.seed).sample(found, options.sample)
    return found


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description="mutants that tests must kill")
    parser.add_argument("--only", default="", metavar="PATTERN", help="a regular expression on the mutants' names")
    parser.add_argument("--list", action="store_true", help="names only")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--kind", default=",".join(KINDS), help=f"of {', '.join(KINDS)}")
    parser.add_argument("--releases", default="1.5.05,1.5.24,1.5.34", help="the releases with the rows that are changed")
    parser.add_argument("--sample", type=int, default=0, metavar="N", help="N of each kind, by chance; 0: all")
    parser.add_argument("--seed", type=int, default=1, metavar="S", help="of the sample")
    parser.add_argument("--verbose", action="store_true", help="what became of each")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
