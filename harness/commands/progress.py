"""Progress of long work: one line on a terminal (the drawing is tqdm's), in a log a line every half minute.

    kick_vcpus, block 2 of 5, run 7 of 25  43% |#####       | 1:12 left, touches 81234, removals 5120
"""

import sys
import time
from contextlib import contextmanager

from tqdm import tqdm

tqdm.monitor_interval = 0        # no thread of its own: workers are forked while a bar is shown
# A bar is closed at the end of its block.  Ctrl-C while one is collected would be lost, and print a traceback.
if "__del__" in vars(tqdm):
    del tqdm.__del__

COUNTERS = ("touches", "removals")
LOG_S = 30.0                     # at the least between two lines in a log


class Progress:
    """A bar for one run, in a log a sign of life; an engine calls it with (share done, counters so far by name).

    name, number, count   what runs: the `number`-th (from 0) of so many runs
    block, blocks         in which block of how many (from 0); the same configs run once in each
    duration_s, after_s   what this run takes, and those behind it; 0: not known, as in virtual time,
                          and judged by how far it has come (those behind it may be much larger)
    """

    said = None                  # when the last sign of life was given: many short runs are long work too

    def __init__(self, name: str, number: int, count: int, block: int = 0, blocks: int = 1,
                 duration_s: float = 0.0, after_s: float = 0.0, clock=time.monotonic):
        self.duration_s, self.after_s, self.count = duration_s, after_s, count
        self.clock, self.began = clock, clock()
        if Progress.said is None:
            Progress.said = self.began
        parts = [name]
        if blocks > 1:
            parts.append(f"block {block + 1} of {blocks}")
        if count > 1:
            parts.append(f"run {number + 1} of {count}")
        self.label = ", ".join(parts)
        self.bar = tqdm(total=100, desc=self.label, disable=None, leave=False, dynamic_ncols=True,
                        bar_format="{desc} {percentage:3.0f}% |{bar:12}| {unit}", unit="")
        if not self.bar.disable:                         # a terminal
            self(0.0, {})

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.bar.close()

    def __call__(self, share: float, counters: dict) -> None:
        if self.bar.disable:
            if self.clock() - Progress.said >= LOG_S:
                Progress.said = self.clock()
                print(f"{self.label}: {100 * share:.0f} %, {self.text(share, counters)}", file=sys.stderr, flush=True)
            return
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


class Sign:
    """That a search goes on: a line that is written over on a terminal, elsewhere one every half minute.

        7 of 18, 1.5.20: fault_zap: 400000 of 512345 states
    """

    TERMINAL_S = 0.1                     # at the least between two lines there

    def __init__(self, clock=time.monotonic):
        self.clock, self.text = clock, ""
        self.last = clock() - self.TERMINAL_S

    @contextmanager
    def about(self, text: str):
        """What goes on until the end of the block."""
        self.text = text
        self()
        try:
            yield self
        finally:
            if sys.stderr.isatty():
                print("\r\x1b[K", end="", file=sys.stderr, flush=True)

    def __call__(self, done: int = 0, known: int = 0, of: str = "") -> None:
        terminal, now = sys.stderr.isatty(), self.clock()
        if now - self.last < (self.TERMINAL_S if terminal else LOG_S):
            return
        self.last = now
        text = self.text + (f": {done} of {known} {of}" if of else "")
        print(f"\r{text}\x1b[K" if terminal else text, end="" if terminal else "\n", file=sys.stderr, flush=True)
