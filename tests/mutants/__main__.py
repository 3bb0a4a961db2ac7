"""The command: python -m tests.mutants [--only PATTERN] [--list] [--jobs N] [--kind KIND] [--sample N --seed S]"""

import argparse
import collections
import random
import re
import signal
import sys
import tempfile
import time
from pathlib import Path

from tests.mutants import calls, equivalents, rows, sources, steps
from tests.mutants.running import KILLED, SAME, SURVIVED, UNIMPORTED, UNMADE, in_forks

EQUIVALENT = "equivalent"
LIMIT_S = 300                    # of one mutant
EVERY_S = 30                     # between two lines of progress


def _in_forks(mutants, options, folder):
    calls.warm_up()
    return in_forks(mutants, calls.judge, options.jobs, LIMIT_S)


def _in_copies(mutants, options, folder):
    """Each in a copy of the tree of its own."""
    if refused := sources.refused(folder, {mutant.target for mutant in mutants}):
        print(refused, file=sys.stderr)
        sys.exit(2)
    return in_forks(mutants, sources.judge, options.jobs, LIMIT_S)


# kind: what makes its mutants, and what judges them.
KINDS = {
    "rows": (lambda releases: rows.mutants(releases), _in_forks),
    "steps": (lambda releases: steps.mutants(releases), _in_forks),
    "sources": (lambda releases: sources.mutants(), _in_copies),
}
OUTCOMES = (KILLED, UNIMPORTED, SAME, UNMADE, EQUIVALENT, SURVIVED)


def main(arguments: list[str]) -> int:
    options = _parser().parse_args(arguments)
    started, survived = time.monotonic(), 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        tempfile.tempdir = folder                        # also of a fork that is killed
        try:
            for kind in options.kind.split(","):
                chosen, unseen = _chosen(kind, options)
                if options.list:
                    print(*(mutant.name for mutant in chosen), sep="\n")
                else:
                    survived += _try(kind, chosen, unseen, options, Path(folder))
        except KeyboardInterrupt:
            print("stopped", file=sys.stderr)
            return 130
    if not options.list:
        print(f"{time.monotonic() - started:.0f} s")
    return 1 if survived else 0


def _try(kind: str, chosen: list, unseen: list, options, folder: Path) -> int:
    """Tries the mutants of a kind, and says what became of them; returns how many have survived."""
    tally, started = collections.Counter(), time.monotonic()
    shown = started
    sample = f", a sample of seed {options.seed}" if options.sample else ""
    print(f"{kind:10}{len(chosen)} to try{sample}, {options.jobs} at a time", flush=True)
    for number, verdict in enumerate(KINDS[kind][1](chosen, options, folder), 1):
        known = equivalents.reason(verdict.name) if verdict.verdict == SURVIVED else ""
        outcome = EQUIVALENT if known else verdict.verdict
        tally[outcome] += 1
        if outcome == SURVIVED or options.verbose:
            print(f"{outcome:10}{verdict.name}{': ' * bool(known or verdict.by)}{known or verdict.by}", flush=True)
        if time.monotonic() > shown + EVERY_S:
            shown = time.monotonic()
            print(f"{kind:10}{number} of {len(chosen)}, {tally[SURVIVED]} survived, {shown - started:.0f} s", file=sys.stderr, flush=True)
    print(f"{kind:10}{sum(tally.values())} tried: " + ", ".join(f"{tally[outcome]} {outcome}" for outcome in OUTCOMES), flush=True)
    for reason, count in collections.Counter(mutant.unseen for mutant in unseen).most_common():
        print(f"{kind:10}{count} not seen: {reason}", flush=True)
    if options.verbose:
        print(*(f"not seen  {mutant.name}: {mutant.unseen}" for mutant in unseen), sep="\n")
    return tally[SURVIVED]


def _chosen(kind: str, options) -> tuple[list, list]:
    """The mutants of a kind with names that match, of them a sample if that is wanted; and those that nothing can show."""
    pattern = re.compile(options.only)
    found = [mutant for mutant in KINDS[kind][0](tuple(options.releases.split(","))) if pattern.search(mutant.name)]
    unseen = [mutant for mutant in found if getattr(mutant, "unseen", "")]
    chosen = [mutant for mutant in found if not getattr(mutant, "unseen", "")]
    if options.sample and options.sample < len(chosen):
        chosen = random.Random(options.seed).sample(chosen, options.sample)
    return chosen, unseen


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
