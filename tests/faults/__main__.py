"""The command: python -m tests.faults [--rounds N] [--seed S] [--only NAME]"""

import argparse
import collections
import random
import sys
import tempfile
from pathlib import Path

from tests.faults.faults import FAULTS, one


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--rounds", type=int, default=100, help="of each fault")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 30))
    parser.add_argument("--only", default="", help="faults with this in their names")
    options = parser.parse_args(arguments)
    print(f"seed {options.seed}")
    source, bad = random.Random(options.seed), 0
    for fault in (each for each in FAULTS if options.only in each.name):
        codes: collections.Counter = collections.Counter()
        for _ in range(options.rounds):
            with tempfile.TemporaryDirectory(prefix="faults-") as folder:
                found = one(fault, source, Path(folder))
            codes[found.code] += 1
            for sentence in found.wrong:
                bad += 1
                print(f"{fault.name}, {found.after_s:.3f} s after the start: {sentence}", flush=True)
        counted = ", ".join(f"{count} ended with {code}" for code, count in sorted(codes.items(), key=str))
        print(f"{fault.name}: {options.rounds} rounds, {counted}", flush=True)
    print(f"{bad} badly met")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
