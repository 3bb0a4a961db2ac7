"""The command: python -m tests.faults [--rounds N] [--seed S] [--only NAME] [--jobs J]"""

import argparse
import collections
import concurrent.futures
import os
import random
import sys
import tempfile
import time
from pathlib import Path

from tests.faults.commands import prepare
from tests.faults.faults import FAULTS
from tests.faults.judging import Round, one, undisturbed_s


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--rounds", type=int, default=50, help="of each fault (default: 50)")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 30))
    parser.add_argument("--only", default="", help="faults of these names, separated by commas, or with these words in their names")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)), help="rounds at once (default: one a processor)")
    options = parser.parse_args(arguments)
    print(f"seed {options.seed}", flush=True)
    words, names = options.only.split(","), {fault.name for fault in FAULTS}
    faults = [fault for fault in FAULTS if any(fault.name == word if word in names else word in fault.name for word in words)]
    if not faults:
        parser.error(f"--only {options.only}: no such fault; known: {', '.join(names)}")
    began, bad, rounds, measuring = time.monotonic(), 0, 0, 0
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool, tempfile.TemporaryDirectory(prefix="faults-") as folder:
        given = Path(folder) / "given"
        prepare(given)
        commands = list(dict.fromkeys(command for fault in faults for command in fault.commands))
        _all_s(pool, commands, given)                    # compiles
        longest_s = _all_s(pool, commands, given)
        for fault in faults:
            found = list(pool.map(lambda number, fault=fault: _round(fault, options.seed, number, longest_s, given),
                                  range(options.rounds * fault.times)))
            for number, each in enumerate(found):
                for sentence in each.wrong:
                    bad += 1
                    print(f"{fault.name}, round {number}, {each.after_s:.3f} s after the start: {sentence}", flush=True)
            rounds, measuring = rounds + len(found), measuring + sum(each.measuring for each in found)
            print(_line(fault.name, found), flush=True)
    print(f"{rounds} faults, {measuring} of them while something was measured, {bad} badly met,"
          f" {(time.monotonic() - began) / 60:.1f} minutes")
    return 1 if bad else 0


def _all_s(pool, commands, given: Path) -> dict:
    return dict(zip(commands, pool.map(lambda command: _in_folder(lambda folder: undisturbed_s(command, folder, given)), commands)))


def _round(fault, seed: int, number: int, longest_s: dict, given: Path) -> Round:
    """A round has a seed of its own: it comes to the same instant whatever runs beside it."""
    return _in_folder(lambda folder: one(fault, number, random.Random(f"{seed} {fault.name} {number}"), folder, longest_s, given))


def _in_folder(do):
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        return do(Path(folder))


def _line(name: str, found: list[Round]) -> str:
    codes = collections.Counter(each.code for each in found)
    counted = ", ".join(f"{count} ended with {code}" for code, count in sorted(codes.items(), key=str))
    return f"{name}: {len(found)} rounds, {sum(each.measuring for each in found)} while it was measured; {counted}"


if __name__ == "__main__":
    sys.exit(main())
