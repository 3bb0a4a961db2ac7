"""`make bench`: how close to the hardware, as ratios measured side by side in one run.

Each row times the harness and a yardstick in turn, many short rounds.  What else goes on in the
machine can only make a round slower, so `ratio` is that of each side's fastest round; the median of
the rounds' own ratios and their range stand beside it, and tell how quiet the machine was.  The
yardstick of the first rows is straight-line C with the same locked instructions on the same words
(straight_line.c, built with the system's cc).  Nothing here passes or fails; the limits the project
has set itself stand beside the numbers.
"""

import ctypes
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from tabulate import tabulate

from harness.memory.layout import PAMT_TYPE, TDR_READY
from kernels import realtime
from kernels.locks import PRIMITIVES
from kernels.machine import step_once
from kernels.ops import Op, Register as R
from kernels.words import STATE, signed
from tests.bench import exploring, kernels_under_test as ours, simulation
from tests.stage import Stage

ROUNDS = 100
ROUND_S = 0.005
PAGE = 3
SOURCE = Path(__file__).with_name("straight_line.c")
ROOT = SOURCE.parent.parent.parent


def seconds(work, count) -> float:
    began = time.perf_counter()
    wrong = work(count)
    assert wrong == 0, f"{wrong} of {count} went wrong"
    return (time.perf_counter() - began) / count


def measure(name, unit, one, other, limit="") -> list:
    """[name, ns of one, ns of other, ratio, median ratio, range of ratios, limit]"""
    for work in (one, other):
        seconds(work, 1)                 # loads or compiles it
    count = max(1, int(ROUND_S / seconds(one, 1000)))
    rounds = [(seconds(one, count), seconds(other, count)) for _ in range(ROUNDS)]
    ratios = sorted(a / b for a, b in rounds)
    best = [1e9 * min(column) for column in zip(*rounds)]
    return [name, *(f"{value:.1f}" for value in best),
            f"{best[0] / best[1]:.2f}", f"{statistics.median(ratios):.2f}",
            f"{ratios[0]:.2f} .. {ratios[-1]:.2f}", limit]


# --- the harness's side ---

def pair_work(primitive):
    memory, tally = Stage().memory, np.zeros(1, np.int64)
    address = memory.base + memory.layout.at("sept.0", PAGE)
    return lambda count: ours.pairs(address, count, PRIMITIVES[primitive], tally), address, memory


class Aug:
    """tdh_mem_page_aug on a stage, again and again."""

    def __init__(self, primitive="cas", owners=False):
        self.stage = stage = Stage(primitive=primitive, owners=owners)
        stage.build_tables(PAGE)
        self.player = stage.actor("host0").begin("tdh_mem_page_aug", PAGE)
        self.registers = self.player.registers
        self.start = stage.program.labels["tdh_mem_page_aug"] + 1          # behind CALL_BEGIN

    def micro_ops(self) -> int:
        """Of the call, which must be done on a stage of its own: it is not undone."""
        self.registers[R.PC], count = self.start, 1
        while step_once(self.stage.program.rows, self.registers, self.stage.memory.base) != Op.CALL_END:
            count += 1
        return count

    def __call__(self, count) -> int:
        layout = self.stage.layout
        return ours.augs(
            self.stage.program.rows, self.start, self.registers, self.stage.memory.base, R.STATUS,
            layout.at("sept.0", PAGE), signed(STATE["FREE"].word()),
            layout.at("pamt_4k.data", PAGE) + PAMT_TYPE, count)

    def words(self):
        """The addresses of the same words, as straight_line.c wants them."""
        base, layout, registers = self.stage.memory.base, self.stage.layout, self.registers
        at = [registers[R.TDR_1G], registers[R.TDR_2M], registers[R.TDR_4K], layout.at("tdr_state"),
              layout.at("op_state_lock"), layout.at("op_state"), layout.at("secure_ept_lock"),
              registers[R.ENTRY_PDPT], registers[R.ENTRY_PD], registers[R.ENTRY],
              registers[R.TARGET_1G], registers[R.TARGET_2M], registers[R.TARGET_4K], layout.at("chldcnt")]
        values = [base + int(offset) for offset in at]
        values += [int(registers[R.HPA]), STATE["FREE"].word(), STATE["PENDING"].word(), TDR_READY]
        return (ctypes.c_uint64 * len(values))(*values)


# --- the yardstick ---

def build_yardstick():
    """The C functions, or None with a message where there is no compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        print("no cc on this machine: the rows against C are left out\n")
        return None
    library = Path(tempfile.mkdtemp(prefix="tdx-sept-bench-")) / "straight_line.so"
    try:
        subprocess.run([compiler, "-O2", "-march=native", "-shared", "-fPIC", "-o", library, SOURCE], check=True)
        loaded = ctypes.CDLL(str(library))
    finally:
        shutil.rmtree(library.parent)
    for name in ("pairs_cas", "pairs_bts", "augs_cas", "augs_bts"):
        getattr(loaded, name).argtypes = (ctypes.c_void_p, ctypes.c_long)
        getattr(loaded, name).restype = ctypes.c_long
    return loaded


def against_c(yardstick) -> list[list]:
    rows = []
    for primitive in ("cas", "bts"):
        work, address, _memory = pair_work(primitive)
        c_pairs = getattr(yardstick, f"pairs_{primitive}")
        rows.append(measure(f"entry-lock pair, {primitive}", "ns", work,
                            lambda count: c_pairs(address, count), "at most 1.2"))
    for primitive in ("cas", "bts"):
        aug = Aug(primitive)
        words, c_augs = aug.words(), getattr(yardstick, f"augs_{primitive}")
        rows.append(measure(f"tdh_mem_page_aug, {primitive}", "ns", aug,
                            lambda count: c_augs(ctypes.addressof(words), count), "at most 1.5"))
        rows[-1][0] += f" ({Aug(primitive).micro_ops()} micro-ops)"
    return rows


def against_itself() -> list[list]:
    return [measure("the same with ownership checks, against without", "ns", Aug(owners=True), Aug())]


def recording() -> list[list]:
    """What marks and clock add to a call in a run (drive.run), measured on one actor."""
    cost = realtime.read_clock()[1]
    ticks = realtime.read_clock()[0], time.perf_counter_ns()
    time.sleep(0.02)
    per_ns = (realtime.read_clock()[0] - ticks[0]) / (time.perf_counter_ns() - ticks[1])
    return [["reading the clock, ns", f"{cost / per_ns:.1f}"]]


# --- starting up ---

def start_up() -> list[list]:
    def took(*arguments, cache=None):
        """(seconds, seconds of processor) of a command."""
        began, used = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-m", "harness", *arguments], cwd=ROOT, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                       env={**os.environ, "XDG_CACHE_HOME": cache} if cache else None)
        now = resource.getrusage(resource.RUSAGE_CHILDREN)
        return time.perf_counter() - began, now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime

    with tempfile.TemporaryDirectory() as out:
        run = ("run", "configs/kick_vcpus.toml", "--set", "duration_s=0.5", "--set", "warmup_s=0", "--out", out)
        pairs = []
        for number in range(3):
            cache = str(Path(out, f"cache{number}"))
            pairs.append([took(*run, cache=cache) for _ in ("cold", "warm")])
        return [["python -m harness --help, s", f"{min(took('--help')[0] for _ in range(5)):.2f}", "under 0.3"],
                ["a warm run beyond its duration, s", f"{min(warm[0] for _, warm in pairs) - 0.5:.2f}", "at most 2"],
                ["a cold run beyond a warm one, s of processor", f"{min(cold[1] - warm[1] for cold, warm in pairs):.2f}", "under 3"]]


def main() -> None:
    yardstick = build_yardstick()
    rows = (against_c(yardstick) if yardstick else []) + against_itself()
    print(tabulate(rows, headers=["harness against yardstick", "ns", "ns", "ratio", "median", "range", "limit"],
                   disable_numparse=True, colalign=("left", *["right"] * 5, "left")))
    print()
    print(simulation.table())
    print()
    print(tabulate(exploring.searching(), headers=["explore", "states", "bytes each", "M states/s", "M transitions/s"],
                   disable_numparse=True, colalign=("left", *["right"] * 4)))
    print()
    print(tabulate(exploring.sharing(), headers=["explore by threads", "states", "bytes each", "s", "s of processor", "M states/s"],
                   disable_numparse=True, colalign=("left", *["right"] * 5)))
    print()
    print(tabulate(exploring.litmus_beside(), headers=["litmus test against scenario", "ns a state", "ns", "ratio"], disable_numparse=True,
                   colalign=("left", *["right"] * 3)))
    print()
    print(tabulate(recording() + start_up() + exploring.assembling() + exploring.pairs(), headers=["", "", "limit"], disable_numparse=True,
                   colalign=("left", "right", "left")))


if __name__ == "__main__":
    main()
