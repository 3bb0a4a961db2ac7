"""The large searches of configs/explore/large/, as `make explore-large` makes them: states, time and memory of each.

Each is a process of its own, `explore --jobs 2`. Livelock and starvation are judged; what is not complete fails. docs/exploring.md has
the table.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tabulate import tabulate

ROOT = Path(__file__).parent.parent
LARGE = "configs/explore/large"
MEMORY_MIB = 4_000

FILES = {
    "four_vcpus": ("1.5.24", "1.5.34"), "four_vcpus_kicked": ("1.5.24", "1.5.34"), "three_vcpus": ("1.5.24", "1.5.34"),
    "three_vcpus_two_pages": ("1.5.24", "1.5.34"), "three_vcpus_two_hosts": ("1.5.24", "1.5.34"), "three_vcpus_again": ("1.5.34",),
    "three_vcpus_suspected": ("1.5.24",), "three_vcpus_slot": ("1.5.24",), "two_vcpus_slot": ("1.5.24",),
    "pamt_two_each": ("1.5.24",)}                                                # their releases
ALSO = {"three_vcpus_suspected": ("zero_step_exit",), "three_vcpus_slot": ("zero_step_exit", "do_no_vcpus_619")}      # policies, beside their own


def run(arguments: tuple[str, ...], out) -> tuple[int, float, float]:
    """(exit code, s by the clock, largest memory in MiB) of the program, which prints to `out`."""
    began = time.monotonic()
    process = subprocess.Popen([sys.executable, "-m", "harness", *arguments], cwd=ROOT, stdout=out)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, time.monotonic() - began, used.ru_maxrss / 1024


def searched(name: str, module: str, policy: str, jobs: int) -> list:
    """A line of the table."""
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "answer.json"
        given = ("explore", f"{LARGE}/{name}.toml", "--module", module, *(["--policy", policy] if policy else []), "--jobs", str(jobs),
                 "--memory-mib", str(MEMORY_MIB), "--format", "json", "--out", folder)
        with open(answer, "w") as out:
            code, took_s, memory_mib = run(given, out)
        [found] = json.loads(answer.read_text())
    violated = ", ".join(key.removeprefix("no_") for key, says in found["invariants"].items() if says.startswith("VIOLATED")) or "-"
    return [name, found["policy"], module, found["states_count"], found["transitions_count"], found["bytes_each"], f"{found['seconds']:.0f}", f"{took_s:.0f}",
            f"{memory_mib:.0f}", violated, "ok" if code == 0 and found["complete"] else "FAILED"]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.large", description=__doc__)
    parser.add_argument("--only", metavar="NAME", help="the file of this name")
    parser.add_argument("--module", metavar="RELEASE", help="for this release")
    parser.add_argument("--policy", metavar="NAME", help="under this policy, one of those beside the file's own (own: that one)")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="threads (default: 2)")
    options, lines = parser.parse_args(), []
    rows = [(name, module, policy) for name, modules in FILES.items() for module in modules for policy in ("", *ALSO.get(name, ()))]
    for name, module, policy in rows:
        if options.only in (None, name) and options.module in (None, module) and options.policy in (None, policy or "own"):
            lines.append(searched(name, module, policy, options.jobs))
            print(" ".join(map(str, lines[-1])), file=sys.stderr, flush=True)
    print(tabulate(lines, headers=["configs/explore/large", "policy", "module", "states", "transitions", "B each", "search s", "all s", "MiB", "violated", ""],
                   disable_numparse=True, colalign=("left", "left", "left", *["right"] * 6, "left", "left")), flush=True)
    return int(any(line[-1] == "FAILED" for line in lines))


if __name__ == "__main__":
    sys.exit(main())
