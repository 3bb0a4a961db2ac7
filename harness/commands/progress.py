"""Progress of long work: one line on a terminal, which is written over, in a log a line every half minute.

    kick_vcpus, block 2 of 5, run 7 of 25  43% |#####       | 1:12 left, touches 81234, removals 5120
"""

import os
import sys
import time
from contextlib import contextmanager
from pathlib import Path

from harness.reports.text import count

COUNTERS = ("touches", "removals")
LOG_S = 30.0                     # at the least between two lines in a log
BAR = 12                         # characters of a bar


def draw(text: str = "") -> None:
    """The line of standard error, a terminal, in place of what stands there; cut to its width."""
    try:
        columns = os.get_terminal_size(sys.stderr.fileno()).columns
    except (OSError, ValueError):        # it has gone
        columns = 0
    print(f"\r{text[:columns - 1] if columns else text}\x1b[K", end="", file=sys.stderr, flush=True)


def say_compiling(entry, what: str) -> None:
    """Says that compiled code (a kernel's `entry`) has to be made first, where neither this process nor its cache has it."""
    made = entry.made
    folder = Path(made._cache.cache_path) if hasattr(made, "_cache") else None
    name = f"{entry.py_func.__module__.rpartition('.')[2]}.{entry.py_func.__name__}-"
    if folder and not made.signatures and not any(folder.glob(f"{name}*.nbi")):
        print(f"compiling {what}, once for this version of the program: about half a minute", file=sys.stderr, flush=True)


def interval(seconds: float) -> str:
    """01:12, or 1:02:03."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes:02d}:{rest:02d}"


class Silence:
    """In place of Progress where nothing is to be said."""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def __call__(self, share: float, counters: dict) -> None:
        pass


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
        self.terminal = sys.stderr.isatty()
        if self.terminal:
            self(0.0, {})

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.terminal:
            draw()

    def __call__(self, share: float, counters: dict) -> None:
        if not self.terminal:
            if self.clock() - Progress.said >= LOG_S:
                Progress.said = self.clock()
                print(f"{self.label}: {100 * share:.0f} %, {self.text(share, counters)}", file=sys.stderr, flush=True)
            return
        done = "#" * round(BAR * min(1.0, share))
        draw(f"{self.label} {100 * share:3.0f}% |{done:{BAR}}| {self.text(share, counters)}")

    def text(self, share: float, counters: dict) -> str:
        """How long it still takes, all runs behind this one included, and the counters."""
        counted = [f"{name} {int(counters[name])}" for name in COUNTERS if name in counters]
        return ", ".join([self.left(min(1.0, share)), *counted])

    def left(self, share: float) -> str:
        if self.duration_s:
            return f"{interval((1 - share) * self.duration_s + self.after_s)} left"
        if not share:
            return "?:?? left"
        left_s = (self.clock() - self.began) * (1 - share) / share
        return f"{interval(left_s)} left{' of this run' if self.count > 1 else ''}"


class Sign:
    """That a search goes on: a line that is written over on a terminal, elsewhere one every half minute.

        7 of 18, 1.5.20, about 02:10 left: fault_zap: 400000 of 512345 states
        18 tasks, about 02:10 left: 7 of 18 tasks
    """

    TERMINAL_S = 0.1                     # at the least between two lines there

    def __init__(self, clock=time.monotonic, beside: bool = False):
        """beside: another process has the line of the terminal, where nothing is said then."""
        self.clock, self.beside, self.text = clock, beside, ""
        self.began = clock()
        self.last = self.began - self.TERMINAL_S

    def estimated(self, text: str, done: int, of: int) -> str:
        """A text about one of several, with how long they all take yet, as long as those before: of what is long only."""
        left_s = (self.clock() - self.began) * (of - done) / max(1, done)
        return f"{text}, about {interval(left_s)} left" if done and left_s >= LOG_S else text

    def of_tasks(self, done: int, of: int, more: str = "") -> None:
        """The same of tasks of which several are at work at once."""
        self.text = self.estimated(count(of, "task"), done, of)
        self(done, of, f"tasks{more}")

    @contextmanager
    def about(self, text: str):
        """What goes on until the end of the block."""
        self.text = text
        self()
        try:
            yield self
        finally:
            if sys.stderr.isatty() and not self.beside:
                draw()

    def __call__(self, done: int = 0, known: int = 0, of: str = "") -> None:
        terminal, now = sys.stderr.isatty(), self.clock()
        if now - self.last < (self.TERMINAL_S if terminal else LOG_S) or terminal and self.beside:
            return
        self.last = now
        text = self.text + (f": {done} of {known} {of}" if of else "")
        if terminal:
            draw(text)
        else:
            print(text, file=sys.stderr, flush=True)
