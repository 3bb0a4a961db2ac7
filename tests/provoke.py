"""Are the broken configs caught every time?  `python -m tests.provoke [--times N] [--load N] [--cut S] [CONFIG...]`

Each config is run as a user runs it, N times on N seeds, beside busy loops if wanted, and shortened if
wanted; every run must end with exit code 0, which says that all it is to show was seen.  Prints a line a
config and exits with 1 if any was missed.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from harness.engines.processes.watchdog import HANG_S

ROOT = Path(__file__).parent.parent
BUSY = "while True: pass"


def caught(config: Path, seed: int, cut_s: float | None, out: str) -> subprocess.CompletedProcess:
    if cut_s is not None and "hangs.count" in config.read_text():        # a hang is judged so late
        cut_s = max(cut_s, HANG_S + 1)
    cut = [] if cut_s is None else ["--set", f"duration_s={cut_s}"]
    return subprocess.run([sys.executable, "-m", "harness", "run", str(config), "--set", f"seed={seed}", *cut, "--out", out],
                          cwd=ROOT, capture_output=True, text=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("configs", nargs="*", type=Path, help="default: all of configs/broken/")
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--load", type=int, default=0, help="busy loops beside it")
    parser.add_argument("--cut", type=float, metavar="SECONDS", help="in place of the config's duration_s; more where a hang is expected")
    options = parser.parse_args()
    configs = options.configs or sorted((ROOT / "configs/broken").glob("*.toml"))
    loops = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(options.load)]
    missed = 0
    try:
        with tempfile.TemporaryDirectory() as out:
            for config in configs:
                runs = [caught(config, seed, options.cut, out) for seed in range(1, options.times + 1)]
                bad = [run for run in runs if run.returncode]
                missed += len(bad)
                why = bad[0].stderr.strip().splitlines()[-1] if bad else ""
                print(f"{config.stem}: caught {len(runs) - len(bad)} of {len(runs)} {why}", flush=True)
    finally:
        for loop in loops:
            loop.kill()
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
