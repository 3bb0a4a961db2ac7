"""`python -m tests.fuzz --examples N --seed S`: N inputs for every reader, and what was badly met."""

import argparse
import sys
import tempfile
from collections import Counter
from pathlib import Path

from tests.fuzz.readers import READERS, run

parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
parser.add_argument("--examples", type=int, default=1_000, metavar="N", help="for each reader")
parser.add_argument("--seed", type=int, default=1, metavar="S")
parser.add_argument("--reader", choices=READERS)
options = parser.parse_args()
first, bad = options.seed * 1_000_000, 0
for name in [options.reader] if options.reader else READERS:
    with tempfile.TemporaryDirectory() as folder:
        found = run(name, range(first, first + options.examples), Path(folder))
    bad += len(found)
    print(f"{name}: {options.examples} inputs, {len(found)} badly met", flush=True)
    for wrong, count in Counter(found.values()).most_common(12):
        print(f"    {count} times, such as input {next(seed for seed in found if found[seed] == wrong)}: {wrong}")
sys.exit(1 if bad else 0)
