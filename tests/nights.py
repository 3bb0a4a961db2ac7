"""Simulated nights: histories of known truth, judged night by night as `nightly` judges them.

Noise: blocks differ by 5 % (process to process), nights by another 1 % that all blocks and the rerun of
a night share; a night is the median of 7 blocks.  Figures as in published nightly jobs on virtual machines.
"""

from dataclasses import dataclass

import numpy as np

from harness.results.changes import confirmed, night_value, suspect

NIGHTS, BLOCKS = 200, 7
BLOCK_NOISE, NIGHT_NOISE = 0.05, 0.01


@dataclass
class Alarm:
    night: int
    kind: str
    since: int
    percent: float


def watch(truth: np.ndarray, seed: int, spikes=(), among: int = 1) -> list[Alarm]:
    """The alarms over a history with these true levels; a spike lifts its night and that night's rerun by 30 %."""
    random = np.random.default_rng(seed)
    history, start, alarms = [], 0, []
    for night, level in enumerate(truth):
        level *= (1 + NIGHT_NOISE * random.standard_normal()) * (1.3 if night in spikes else 1)
        blocks = level * (1 + BLOCK_NOISE * random.standard_normal((2, BLOCKS)))
        value, rerun = map(night_value, blocks)
        history.append(value)
        change = suspect(history, start, among)
        if change is not None and confirmed(history, start, change, rerun, among):
            alarms.append(Alarm(night, change.kind, change.since, change.percent))
            start = change.since
    return alarms


def flat() -> np.ndarray:
    return np.ones(NIGHTS)


def stepped(step: float, at: int = 100) -> np.ndarray:
    truth = flat()
    truth[at:] *= 1 + step
    return truth


def drifting(percent_per_100_nights: float) -> np.ndarray:
    return 1 + percent_per_100_nights / 100 * np.arange(NIGHTS) / 100


def spikes(seed: int, count: int = 8) -> set[int]:
    return set(np.random.default_rng(seed + 10_000).choice(np.arange(15, NIGHTS), count, replace=False).tolist())
