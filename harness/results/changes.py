"""Has a series of nights changed?  Pure functions over numbers; nothing here runs or reads anything.

One night against the night before cannot tell: with 5 % from run to run, such a test raises a false alarm
every third night, and a threshold high enough to be quiet finds nothing.  So evidence is gathered over
nights, and what is found is measured once more before it is an alarm:

    1. noise floor     from differences of neighbouring nights over the whole history: a step adds one
                       large difference among many, so the floor does not follow what is to be found
    2. clipping        values further than CLIP floors from the middle count as CLIP: a single wild
                       night is a night, not a proof
    3. change point    kernel change point detection (ruptures, C, deterministic) over the nights since
                       the last alarm, no segment shorter than MIN_SEGMENT nights, each change point
                       charged PENALTY floors squared
    4. confirmation    a rerun tonight must lie beyond the middle between before and after, and the
                       change must still stand with the rerun counted as one more night

Improvements and regressions are treated alike.  A change that a straight line explains better than a
step is called a drift.

The constants were chosen on simulated histories (tests/results/test_changes.py); docs/nightly.md has the table.
"""

import math
from typing import NamedTuple, Sequence

import numpy as np

MIN_SEGMENT = 3                  # nights on either side of a change
MIN_NIGHTS = 8                   # fewer nights than that say nothing
WINDOW = 60                      # nights that are looked at, at most
CLIP = 3.0                       # noise floors
PENALTY = 12.0                   # noise floors squared, for each change point in one watched number;
                                 # 2 ln(n) more for n of them (the tail of a normal is exp(-x^2 / 2))
FLOOR_MIN = 1e-4                 # relative: a simulated series has no noise at all
UNCERTAIN = 2.5                  # the noise floor of n nights counts as 1 + UNCERTAIN / n of what it seems
RERUN = 0.3                      # of the change, that the rerun must show at least
PLAIN = 9.0                      # noise floors squared, that a change is worth without its best night
NORMAL = 1.4826                  # from median absolute deviation to standard deviation, normal noise


class Change(NamedTuple):
    """A change within a series.

    since           index of the first night after it; the last good night is the one before
    kind            "step" or "drift"
    before, after   medians of the two segments
    percent         from before to after; None from zero
    """

    since: int
    kind: str
    before: float
    after: float

    @property
    def percent(self) -> float | None:
        return 100 * (self.after / self.before - 1) if self.before else None


def night_value(blocks: Sequence[float], rare: bool = False) -> float:
    """What stands for a night: the mean of its blocks without the least and the greatest fifth.

    Nearly as sharp as the mean, and a wild block or two do not move it (the median needs half as many
    blocks again for the same noise).  Of what is `rare` every block counts: it may have happened in one.
    """
    ordered = np.sort(np.asarray(blocks, float))
    cut = 0 if rare else round(len(ordered) / 5)
    return float(np.mean(ordered[cut:len(ordered) - cut]))


def noise_floor(values: Sequence[float]) -> float:
    """Standard deviation from night to night, in the unit of the values; robust against steps and spikes."""
    values = np.asarray(values, float)
    if len(values) < 2:
        return 0.0
    steps = np.abs(np.diff(values))
    uncertain = 1 + UNCERTAIN / len(steps)
    floor = uncertain * NORMAL * float(np.median(steps)) / 2 ** 0.5
    return max(floor, FLOOR_MIN * float(np.max(np.abs(values))))


def suspect(history: Sequence[float], start: int = 0, among: int = 1) -> Change | None:
    """The latest change among the nights from index `start` on, if there is one.

    history   all nights of the series, oldest first, one number each
    start     the first night since the last alarm
    among     how many numbers are watched, so that all of them together raise no more false alarms than one
    """
    values = np.asarray(history, float)
    segment = values[start:][-WINDOW:]
    offset = len(values) - len(segment)
    if len(values) < MIN_NIGHTS or len(segment) < 2 * MIN_SEGMENT:
        return None
    floor = noise_floor(values)
    if floor == 0:
        return None
    scaled = _scaled(segment, floor)
    point = _change_point(scaled, PENALTY + 2 * math.log(among))
    if point is None:
        return None
    before, after = float(np.median(segment[:point])), float(np.median(segment[point:]))
    if before == after:
        return None
    return Change(offset + point, _kind(values, offset + point, floor), before, after)


def _scaled(segment: np.ndarray, floor: float) -> np.ndarray:
    """In noise floors around the middle, clipped."""
    return np.clip((segment - np.median(segment)) / floor, -CLIP, CLIP)


def _change_point(scaled: np.ndarray, penalty: float) -> int | None:
    """Index of the last change point; None if there is none worth its penalty."""
    points = _change_points(scaled, penalty)
    return points[-1] if points else None


def _change_points(scaled: np.ndarray, penalty: float) -> list[int]:
    import ruptures
    search = ruptures.KernelCPD(kernel="linear", min_size=MIN_SEGMENT).fit(scaled.reshape(-1, 1))
    return [int(point) for point in search.predict(pen=penalty)[:-1]]


def _kind(values: np.ndarray, since: int, floor: float) -> str:
    """Do steps or one straight line tell the last nights better, by Schwarz's criterion (BIC)?

    Nights before the last alarm count here: a drift alarms again and again, and is one drift.
    """
    window = values[-WINDOW:]
    scaled, point = _calm(window, floor) / floor, since - (len(values) - len(window))
    points = sorted({point, *_change_points(scaled, PENALTY)})
    steps = sum(float(np.sum((part - np.mean(part)) ** 2)) for part in np.split(scaled, points))
    nights = np.arange(len(scaled))
    line = float(np.sum((scaled - np.polyval(np.polyfit(nights, scaled, 1), nights)) ** 2))
    parameter = math.log(len(scaled))
    return "drift" if line + 2 * parameter < steps + (2 * len(points) + 1) * parameter else "step"


def confirmed(history: Sequence[float], start: int, change: Change, rerun: float, among: int = 1) -> bool:
    """Whether a rerun tonight confirms a change that `suspect` found.

    The rerun must lie beyond the middle; the change must stand with the rerun as one more night; and
    it must be plain without the night that speaks most for it, as that night's rerun met the same
    neighbours.
    """
    shift = change.after - change.before
    if (rerun - change.before) / shift < RERUN:
        return False
    again = suspect([*history, rerun], start, among)
    if again is None or (again.after - again.before) * shift <= 0:
        return False
    return _without_best(history, start, change)


def _without_best(history: Sequence[float], start: int, change: Change) -> bool:
    values = np.asarray(history, float)
    segment = values[start:][-WINDOW:]
    scaled = _scaled(segment, noise_floor(values)) * np.sign(change.after - change.before)
    point = change.since - (len(values) - len(segment))
    before, after = scaled[:point], np.sort(scaled[point:])[:-1]
    weight = len(before) * len(after) / (len(before) + len(after))
    difference = np.mean(after) - np.mean(before)
    return bool(difference > 0 and weight * difference ** 2 > PLAIN)


def change_points(history: Sequence[float]) -> list[int]:
    """All change points of a history, for a plot: the first night after each."""
    values = np.asarray(history, float)
    if len(values) < MIN_NIGHTS or not (floor := noise_floor(values)):
        return []
    calm = _calm(values, floor)
    return _change_points((calm - np.median(calm)) / floor, PENALTY)


def _calm(values: np.ndarray, floor: float) -> np.ndarray:
    """The values, with nights that are wild among their neighbours put back among them."""
    around = np.array([np.median(values[max(0, night - 3):night + 4]) for night in range(len(values))])
    return np.where(np.abs(values - around) > CLIP * floor, around, values)
