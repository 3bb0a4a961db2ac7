"""A session: configs run in interleaved blocks, with a budget, and gone on with after an interruption.

    session = make_session(configs, repeats=7, budget_s=None)
    for run in session.runs: ...             # block by block

In each block every config runs once, in an order drawn for that block, all on one seed: what drifts
(heat, neighbours) is shared by all, and what a config meets does not depend on who ran before it.
Block b uses each config's seed + b, so the first block is the run that `run` without repeats makes.

The results are the only state.  Each says which session and block it is of; to go on, a session looks
for results of the same plan (digest of configs and number of blocks) and leaves out what is there.
"""

import random
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from harness.results import store, identity
from harness.host import fingerprint
from harness.experiment.config import Config
from harness.errors import ResultError, UsageError
from harness.results.schema import Block, Result

OVERHEAD_S = 1.0                 # of a run beyond its warm-up and duration; a guess until one was made
DURATION_MIN_S = 0.2             # a budget that leaves less to a run is refused
SEEDS = 1 << 63
UNITS_S = {"": 1, "s": 1, "m": 60, "h": 3600}
REAL_TIME = ("processes",)       # engines that measure this machine, and want it for themselves


class Run(NamedTuple):
    """One run of one config; numbers from 0."""

    block: int
    order: int                   # its place in the block
    config: int
    seed: int


@dataclass(frozen=True)
class Session:
    configs: tuple[Config, ...]
    blocks: int
    plan: str                    # the same for the same configs and number of blocks
    runs: tuple[Run, ...]
    name: str                    # the plan, and the time of the start if that can matter

    def config(self, run: Run) -> Config:
        """The config of a run, with its block's seed."""
        return self.configs[run.config].model_copy(update={"seed": run.seed})

    def mark(self, run: Run) -> Block:
        """What a result says of its place."""
        return Block(session=self.name, plan=self.plan, number=run.block, order=run.order, of=self.blocks)


def seconds(text: str | None, option: str = "--budget") -> float | None:
    """`90`, `90s`, `10m`, `1.5h` -> seconds; None where no time was given.  Raises UsageError."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text.strip())
    value = float(match[1]) * UNITS_S[match[2]] if match else 0
    if not 0 < value <= 7 * 86_400:
        raise UsageError(f"{option} {text}: must be a time such as 90s, 10m or 1.5h, at most 168h")
    return value


def run_s(config: Config) -> float:
    """About how long one run takes."""
    return config.warmup_s + config.duration_s + OVERHEAD_S


def fit(configs: list[Config], repeats: int | None, budget_s: float | None, most: int = 10_000):
    """(configs, number of blocks) for a budget.

    Without `repeats`: as many blocks as fit, at most `most`.  With `repeats`: that many, and every
    measured time is shortened or stretched by one factor.  Raises UsageError where that cannot be.
    """
    if budget_s is None:
        return configs, repeats or max(config.repeats for config in configs)
    if repeats is None:
        block_s = sum(map(run_s, configs))
        if block_s > budget_s:
            raise UsageError(f"--budget {budget_s:g}s: one block of these configs takes about {block_s:.0f} s;"
                             " raise it, or shorten duration_s")
        return configs, min(most, int(budget_s / block_s))
    fixed_s = repeats * sum(config.warmup_s + OVERHEAD_S for config in configs)
    factor = (budget_s - fixed_s) / (repeats * sum(config.duration_s for config in configs))
    durations = [round(config.duration_s * factor, 3) for config in configs]
    if min(durations) < DURATION_MIN_S:
        raise UsageError(f"--budget {budget_s:g}s: leaves {max(0, min(durations)):.2g} s to a run of which"
                         f" {repeats * len(configs)} are wanted; raise it, or lower --repeats")
    return [config.model_copy(update={"duration_s": duration})
            for config, duration in zip(configs, durations)], repeats


def make_session(configs: list[Config], repeats: int | None = None, budget_s: float | None = None,
                 most: int = 10_000, now: float | None = None) -> Session:
    """Raises UsageError for a budget that cannot be kept."""
    chosen, blocks = fit(configs, repeats, budget_s, most)
    plan = identity.digest([[config.resolved() for config in chosen], blocks])
    runs = []
    for block in range(blocks):
        members = [index for index, config in enumerate(chosen)
                   if repeats or budget_s or block < config.repeats]
        random.Random(f"{plan} {block}").shuffle(members)
        runs += [Run(block, order, index, (chosen[index].seed + block) % SEEDS)
                 for order, index in enumerate(members)]
    name = plan
    if any(config.engine in REAL_TIME for config in chosen):         # in virtual time every session is the same
        started = time.time() if now is None else now
        stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime(started)) + f".{int(started * 1000) % 1000:03d}"
        name = f"{stamp}-{plan}"
    return Session(tuple(chosen), blocks, plan, tuple(runs), name)


def real(session: Session) -> bool:
    """Whether any of it measures a machine."""
    return any(config.engine in REAL_TIME for config in session.configs)


# --- going on after an interruption ------------------------------------------------------------

def resume(session: Session, out: str | Path) -> tuple[Session, dict[Run, Result], list[str]]:
    """(the newest session of the same plan under `out`, its results by run, files that were skipped).

    Only runs that were finished, on this machine, by the same source, count.  The same session and {} if there is none.
    """
    found, skipped, source = [], [], source_of(fingerprint.versions())
    here = identity.digest(identity.stable(fingerprint.fingerprint()))
    for path in sorted(Path(out).glob("*/result.json")):
        try:
            result = store.read(path)
        except ResultError as problem:
            skipped.append(str(problem))
            continue
        if result.block and result.block.plan == session.plan and not result.interrupted \
                and identity.identity(result).machine == here and source_of(result.machine.get("program", "")) == source:
            found.append(result)
    if not found:
        return session, {}, skipped
    name = max(result.block.session for result in found)
    places = {(run.block, run.order): run for run in session.runs}
    done = {places[result.block.number, result.block.order]: result
            for result in found if result.block.session == name}
    return Session(session.configs, session.blocks, session.plan, session.runs, name), done, skipped


def source_of(versions: str) -> str:
    """Of what `--version` says, what a change of code changes."""
    return versions.partition("source ")[2]


class Budget:
    """Whether the next block still fits, compiling apart: a limit is of what is measured.  The first always does."""

    def __init__(self, budget_s: float | None, clock=time.monotonic):
        self.budget_s, self.clock, self.start = budget_s, clock, clock()
        self.runs, self.spent_s, self.planned_s, self.compiled_s = 0, 0.0, 0.0, 0.0

    def ran(self, took_s: float, beyond_s: float = 0.0) -> None:
        """beyond_s   what it took beyond its plan: of the first run, which compiles, that is not counted as spent"""
        compiled_s = 0.0 if self.runs else max(0.0, beyond_s)
        self.compiled_s += compiled_s
        self.runs += 1
        self.spent_s += took_s - compiled_s
        self.planned_s += took_s - beyond_s

    def used_s(self) -> float:
        """So far, compiling apart."""
        return self.clock() - self.start - self.compiled_s

    def left_s(self) -> float:
        """Infinite without a budget."""
        return float("inf") if self.budget_s is None else self.budget_s - self.used_s()

    def fits(self, expected_s: float) -> bool:
        """Whether runs fit that were planned to take `expected_s` in all, if they go on as those before them did."""
        if self.budget_s is None or not self.runs:
            return True
        return expected_s * self.spent_s / self.planned_s <= self.left_s()
