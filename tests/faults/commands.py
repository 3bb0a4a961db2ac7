"""The commands to which faults happen, and the files that they read."""

import glob
import shutil
import subprocess
import sys
from pathlib import Path

from harness.results import store
from tests.fuzz.readers import TRACE
from tests.made import made, meet_busy

ROOT = Path(__file__).parent.parent.parent

KICK = "configs/kick_vcpus.toml"
VIRTUAL = ("--set", "engine=simulate", "--set", "warmup_s=0")
BRIEF = ("--set", "duration_s=0.4", "--set", "warmup_s=0.05")
TEST = "configs/litmus/classic/SB.litmus"

# {out}: where results go; {at}: the folder of the round, for what is no result; {given}: what `prepare` has made.
RUN = ("run", KICK, *BRIEF, "--out", "{out}")
SIMULATED = ("run", KICK, *VIRTUAL, "--set", "duration_s=0.1", "--out", "{out}")
SEARCH = ("explore", "configs/explore/fault_zap_two_vcpus.toml", "--module", "1.5.05", "--out", "{out}")
SWEEP = ("sweep", KICK, *VIRTUAL, "--set", "sweep.seed=[1, 2, 3, 4]", "--set", "duration_s=0.03", "--out", "{out}")
NIGHTLY = ("nightly", "{given}/night", *BRIEF, "--blocks", "1", "--history", "{at}/history", "--out", "{out}")
SEVERAL = ((*SIMULATED, "--repeats", "4", "--jobs", "2"), (*SWEEP, "--jobs", "2"))
EVERY = (
    (*RUN, "--repeats", "2"), NIGHTLY, ("run", TEST, "--runs", "300k"), SIMULATED, *SEVERAL,
    (*RUN, "--check-outcomes", "--set", "duration_s=0.1"),
    ("explore", "configs/explore/accept_block.toml"), ("explore", TEST, "--memory-model", "tso"),
    ("explore", "configs/explore/known/priority_lost.toml", "--jobs", "2", "--out", "{out}"),
    ("replay", "{given}/schedule.json"), ("replay", "{given}/schedule.json", "--html", "{at}/page.html"),
    ("compare", "{given}/results/*"), ("report", "{given}/results/*", "--out", "{at}/report.html"), ("histograms", "{given}/results/retry16*", "--hdr", "{at}/x.hlog"),
    ("import-trace", "{given}/trace.txt", "--out", "{at}/imported"),
    ("doctor",), ("doctor", "--calibrate", "{at}/costs.toml"), ("contention",), ("contention", "--pairs"),
    ("worker", "--scheduler", "tcp://127.0.0.1:0"), ("worker", "--cores", "2", "tcp://127.0.0.1:1"),
    ("explain", "tdh_mem_track"), ("decode", "--list"), ("schema", "config"), ("seamcalls",), ("configs",), ("policies",),
)
ENDLESS_S = {command: 3.0 for command in EVERY if command[0] == "worker"}       # of these an instant within so long


def filled(command: tuple[str, ...], out: Path, at: Path, given) -> list[str]:
    """Its words, with what stands in braces and the paths that a * stands for."""
    words = [word.format(out=out, at=at, given=given) for word in command]
    return [path for word in words for path in sorted(glob.glob(word)) or [word]]


def has_workers(command: tuple[str, ...]) -> bool:
    """Whether it measures processes; what these have done is kept, whenever it is stopped."""
    return command[0] in ("run", "nightly") and "engine=simulate" not in command


def prepare(given: Path) -> None:
    """Results, a trace, a schedule, and a night that a busy machine does not fail."""
    subprocess.run([sys.executable, "-m", "harness", "explore", "configs/explore/busted_lock.toml", "--module", "1.5.05", "--out", given],
                   cwd=ROOT, check=True, capture_output=True)
    min(given.glob("*.schedule.json")).rename(given / "schedule.json")
    for block in range(7):
        for policy in ("kick_vcpus", "retry16"):
            result = made(policy, block=block, removals_per_s=1000.0 + block)
            meet_busy(result, "tdh_mem_track", attempts=1000 + block, busy=10)
            store.write(result, given / "results")
    (given / "night").mkdir()
    for name in ("canary", "kick_vcpus"):
        shutil.copy(ROOT / f"configs/nightly/{name}.toml", given / "night")
    (given / "trace.txt").write_bytes(b"\n".join(TRACE * 2000))
