"""The command: python -m tests.faults [--rounds N] [--minutes M] [--seed S] [--only NAME] [--jobs J]"""

import argparse
import collections
import concurrent.futures
import math
import os
import random
import sys
import tempfile
import time
from pathlib import Path

from tests.faults.commands import prepare
from tests.faults.faults import FAULTS
from tests.faults.judging import Lengths, Round, one, undisturbed_s
from tests.faults.loaded import LOADING, Loaded

LONG_S = 10.0                    # a command that took so long has compiled


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--rounds", type=int, default=50, help="of each fault (default: 50)")
    parser.add_argument("--minutes", type=float, default=math.inf, help="begin no round later than that; fewer rounds are exit code 1")
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
    until, wanted = began + 60 * options.minutes, sum(math.ceil(options.rounds * fault.times) for fault in faults)
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool, tempfile.TemporaryDirectory(prefix="faults-") as folder:
        given = Path(folder) / "given"
        prepare(given)
        loaded = Loaded(given)                           # and what is compiled is kept
        longest_s = _lengths(pool, list(dict.fromkeys(command for fault in faults for command in fault.commands)), given, loaded)
        print(f"{(time.monotonic() - began) / 60:.1f} minutes to load, to compile and to try each command", flush=True)
        tried = {fault.name: [pool.submit(_round, fault, options.seed, number, longest_s, given, loaded, until)
                              for number in range(math.ceil(options.rounds * fault.times))] for fault in faults}
        for name, waiting in tried.items():
            found = [each for each in (one.result() for one in waiting) if each]
            for number, each in enumerate(found):
                for sentence in each.wrong:
                    bad += 1
                    print(f"{name}, round {number}, {each.after_s:.3f} s after the start: {sentence}", flush=True)
            rounds, measuring = rounds + len(found), measuring + sum(each.measuring for each in found)
            print(_line(name, found), flush=True)
        loaded.end()
    print(f"{rounds} faults{'' if rounds == wanted else f' of {wanted}'}, {measuring} of them while something was measured,"
          f" {bad} badly met, {(time.monotonic() - began) / 60:.1f} minutes")
    return 1 if bad or rounds < wanted else 0


def _lengths(pool, commands: list, given: Path, loaded: Loaded) -> Lengths:
    """What was still to be compiled is left out: a command that took long is tried once more."""
    forked = [command for command in commands if command in LOADING]
    tries = [(command, None) for command in commands] + [(command, loaded) for command in forked]
    took_s = list(pool.map(lambda each: _in_folder(lambda folder: undisturbed_s(each[0], folder, given, each[1])), tries))
    again = [number for number, each in enumerate(took_s) if each > LONG_S]
    for number, each in zip(again, pool.map(
            lambda number: _in_folder(lambda folder: undisturbed_s(tries[number][0], folder, given, tries[number][1])), again)):
        took_s[number] = min(took_s[number], each)
    return Lengths(dict(zip(commands, took_s)), dict(zip(forked, took_s[len(commands):])))


def _round(fault, seed: int, number: int, longest_s: Lengths, given: Path, loaded: Loaded, until: float) -> Round | None:
    """A round has a seed of its own: it comes to the same instant whatever runs beside it.  None when the time is over."""
    if time.monotonic() > until:
        return None
    return _in_folder(lambda folder: one(fault, number, random.Random(f"{seed} {fault.name} {number}"), folder, longest_s, given, loaded))


def _in_folder(do):
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        return do(Path(folder))


def _line(name: str, found: list[Round]) -> str:
    codes = collections.Counter(each.code for each in found)
    counted = ", ".join(f"{count} ended with {code}" for code, count in sorted(codes.items(), key=str))
    return (f"{name}: {len(found)} rounds, {sum(each.measuring for each in found)} while it was measured;"
            f" {sum(each.took_s for each in found) / max(1, len(found)):.1f} s each; {counted}")


if __name__ == "__main__":
    sys.exit(main())
