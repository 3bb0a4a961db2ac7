"""Progress of long work: one line on a terminal, nothing in a log.  The drawing is tqdm's.

    kick_vcpus, block 2 of 5, run 7 of 25  43% |#####       | 1:12 left, touches 81234, removals 5120
"""

import time

from tqdm import tqdm

tqdm.monitor_interval = 0        # no thread of its own: workers are forked while a bar is shown

COUNTERS = ("touches", "removals")


class Progress:
    """A bar for one run; an engine calls it with (share done, counters so far by name).

    name, number, count   what runs: the `number`-th (from 0) of so many runs
    block, blocks         in which block of how many (from 0); the same configs run once in each
    duration_s, after_s   what this run takes, and those behind it; 0: not known, as in virtual time,
                          and judged by how far it has come (those behind it may be much larger)
    """

    def __init__(self, name: str, number: int, count: int, block: int = 0, blocks: int = 1,
                 duration_s: float = 0.0, after_s: float = 0.0, clock=time.monotonic):
        self.duration_s, self.after_s, self.count = duration_s, after_s, count
        self.clock, self.began = clock, clock()
        parts = [name]
        if blocks > 1:
            parts.append(f"block {block + 1} of {blocks}")
        if count > 1:
            parts.append(f"run {number + 1} of {count}")
        self.label = ", ".join(parts)
        self.bar = tqdm(total=100, desc=self.label, disable=None, leave=False, dynamic_ncols=True,
                        bar_format="{desc} {percentage:3.0f}% |{bar:12}| {unit}", unit="")
        self(0.0, {})

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.bar.close()

    def __call__(self, share: float, counters: dict) -> None:
        self.bar.n = round(100 * share, 1)
        self.bar.unit = self.text(share, counters)
        self.bar.refresh()

    def text(self, share: float, counters: dict) -> str:
        """How long it still takes, all runs behind this one included, and the counters."""
        counted = [f"{name} {int(counters[name])}" for name in COUNTERS if name in counters]
        return ", ".join([self.left(min(1.0, share)), *counted])

    def left(self, share: float) -> str:
        if self.duration_s:
            return f"{tqdm.format_interval((1 - share) * self.duration_s + self.after_s)} left"
        if not share:
            return "?:?? left"
        left_s = (self.clock() - self.began) * (1 - share) / share
        return f"{tqdm.format_interval(left_s)} left{' of this run' if self.count > 1 else ''}"
