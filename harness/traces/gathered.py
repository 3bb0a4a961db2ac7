"""What a trace comes to, gathered line by line: the memory does not grow with the trace.

Pages are counted by Misra and Gries' method: with PAGES_MOST counters a count is too low by at most one in
PAGES_MOST of all faults, and `page_error` says by how much it can be.  A vCPU, a thread, a call beyond its limit is
not counted but as a line that was not used.
"""

import io
from collections import Counter
from pathlib import Path

from harness.errors import UsageError, escaped, shortened
from harness.files import open_regular, reason
from harness.traces import bpftrace, kernel_text
from harness.traces.events import Event
from kernels.words import status_name

PAGES_MOST = 1 << 14
VCPUS_MOST, THREADS_MOST, CALLS_MOST, ANSWERS_MOST = 4096, 8192, 64, 256
LINE_MOST = 1 << 24              # characters; what is longer is read as several lines
EXAMPLES, EXAMPLE_LENGTH = 5, 90
SHARED_BITS = 1 << 47 | 1 << 51  # of a GPA: which one depends on the guest's width
BATCH_NS = 1_000_000             # a removal goes on while the next pages follow within this time
LEAF = 1 << 7
PARTS = 32                       # of a power of two, so that a median is within 1/32 of its value


class Times:
    """A histogram of durations by powers of two, each in PARTS; or of the buckets of another tool."""

    def __init__(self):
        self.buckets: Counter[tuple[int, int]] = Counter()

    def add(self, value_ns: int) -> None:
        part = 1 << max(0, value_ns.bit_length() - PARTS.bit_length())
        begin = value_ns // part * part
        self.buckets[begin, begin + part - 1] += 1

    @property
    def count(self) -> int:
        return sum(self.buckets.values())

    def quantile(self, share: float) -> float:
        """Within its bucket values are taken to be spread evenly."""
        rank, seen = share * self.count, 0
        for (begin, end), count in sorted(self.buckets.items()):
            if count and seen + count >= rank:
                return begin + (end - begin) * (rank - seen) / count
            seen += count
        raise ValueError("no values")


class Gathered:
    """The sums over a trace."""

    def __init__(self):
        self.lines = self.used = self.shared = self.not_kept = self.page_error = 0
        self.unknown, self.examples = 0, []
        self.kinds: Counter[str] = Counter()
        self.first_ns = self.last_ns = None
        self.given_seconds = 0.0
        self.faults: Counter[int] = Counter()            # by vCPU
        self.pages: Counter[int] = Counter()
        self.vcpus: set[int] = set()
        self.removal_sizes: Counter[int] = Counter()     # pages -> removals
        self.removal_gaps, self.guest_times = Times(), Times()
        self.times: dict[str, Times] = {}
        self.answers: dict[str, Counter[str]] = {}
        self._calls: dict[int, tuple[str, int]] = {}     # thread -> (call, since)
        self._entered: dict[int, int] = {}               # vCPU -> since
        self._run = None                                 # (first page, page behind it, first, last time) of a removal
        self._maps: dict = {}

    # --- lines ---

    def line(self, text: str) -> None:
        self.lines += 1
        if text.lstrip().startswith("{"):
            found = bpftrace.read(text)
            if found is None:
                self._unknown(text)
            for each in found or ():
                if isinstance(each, str):
                    for part in each.splitlines():
                        self._text(part)
                else:
                    key = each.call if isinstance(each, bpftrace.Times) else each.name
                    if len(self._maps) < CALLS_MOST or key in self._maps:
                        self._maps[key] = each
            self.used += bool(found)
        else:
            self._text(text)

    def _text(self, text: str) -> None:
        if kernel_text.SAID.match(text):
            return
        found = kernel_text.read(text)
        if found is None:
            self._unknown(text)
        else:
            self.used += 1
            self.event(found)

    def _unknown(self, text: str) -> None:
        self.unknown += 1
        if len(self.examples) < EXAMPLES:
            self.examples.append(shortened(escaped(text.strip()), EXAMPLE_LENGTH))

    # --- events ---

    def event(self, event: Event) -> None:
        self.kinds[event.kind] += 1
        self.first_ns = event.at_ns if self.first_ns is None else min(self.first_ns, event.at_ns)
        self.last_ns = event.at_ns if self.last_ns is None else max(self.last_ns, event.at_ns)
        getattr(self, f"_{event.kind}")(event, **event.values)

    def _vcpu(self, vcpu: int) -> bool:
        kept = vcpu in self.vcpus or len(self.vcpus) < VCPUS_MOST
        if kept:
            self.vcpus.add(vcpu)
        self.not_kept += not kept
        return kept

    def _fault(self, event, vcpu, rip, address) -> None:
        if address & SHARED_BITS:
            self.shared += 1
        elif self._vcpu(vcpu):
            self.faults[vcpu] += 1
            self.page(address >> 12, 1)

    def page(self, page: int, times: int) -> None:
        if not times:
            return
        self.pages[page] += times
        if len(self.pages) > PAGES_MOST:
            least = min(self.pages.values())
            self.page_error += least
            self.pages = Counter({page: count - least for page, count in self.pages.items() if count > least})

    def _spte(self, event, gfn, level, old, new) -> None:
        if new or not old or level > 2 or level == 2 and not old & LEAF:
            return
        after = gfn + 512 ** (level - 1)
        if self._run and gfn == self._run[1] and event.at_ns - self._run[3] < BATCH_NS:
            self._run = (self._run[0], after, self._run[2], event.at_ns)
            return
        if self._run:
            self.removal_gaps.add(max(0, event.at_ns - self._run[2]))
        self._removed()
        self._run = (gfn, after, event.at_ns, event.at_ns)

    def _removed(self) -> None:
        if self._run:
            pages = self._run[1] - self._run[0]
            self.removal_sizes[1 << pages.bit_length() - 1] += 1
        self._run = None

    def _entry(self, event, vcpu) -> None:
        if self._vcpu(vcpu):
            self._entered[vcpu] = event.at_ns

    def _exit(self, event, vcpu) -> None:
        if self._vcpu(vcpu) and (since := self._entered.pop(vcpu, None)) is not None and since <= event.at_ns:
            self.guest_times.add(event.at_ns - since)

    def _call(self, event, call) -> None:
        if event.thread in self._calls or len(self._calls) < THREADS_MOST:
            self._calls[event.thread] = (call, event.at_ns)
        else:
            self.not_kept += 1

    def _answer(self, event, call, status) -> None:
        begun, since = self._calls.pop(event.thread, (None, 0))
        if begun == call and since <= event.at_ns and (call in self.times or len(self.times) < CALLS_MOST):
            self.times.setdefault(call, Times()).add(event.at_ns - since)
        if status is not None:
            self.answer(call, status, 1)

    def answer(self, call: str, status: int, times: int) -> None:
        if call not in self.answers and len(self.answers) >= CALLS_MOST:
            self.not_kept += times
            return
        counts = self.answers.setdefault(call, Counter())
        name = status_name(status)
        counts[name if name in counts or len(counts) < ANSWERS_MOST else "others"] += times

    # --- the end ---

    def end(self) -> "Gathered":
        """Puts in what waits for the end of the trace: an open removal, the last state of bpftrace's maps."""
        self._removed()
        for held in self._maps.values():
            if isinstance(held, bpftrace.Times):
                mine = self.times.setdefault(held.call, Times())
                for begin, end, count in held.buckets:
                    mine.buckets[begin, end] += count
            else:
                for key, count in held.counts.items():
                    self._count(held.name, key, count)
        return self

    def _count(self, name: str, key: str, count: int) -> None:
        words = key.split(",")
        try:
            if name == "status":
                self.answer(words[0], int(words[1], 0) & (1 << 64) - 1, count)
            elif name == "vcpu_faults" and self._vcpu(int(key)):
                self.faults[int(key)] += count
            elif name == "page_faults" and int(key, 0) << 12 & SHARED_BITS:
                self.shared += count
            elif name == "page_faults":
                self.page(int(key, 0), count)
            elif name == "removed" and int(key) <= 2:
                self.removal_sizes[512 ** (int(key) - 1)] += count
            elif name == "seconds":
                self.given_seconds = float(count)
        except (ValueError, IndexError):
            self._unknown(f"@{name}[{key}]")

    @property
    def seconds(self) -> float:
        return self.given_seconds or ((self.last_ns - self.first_ns) / 1e9 if self.first_ns is not None else 0.0)


def gather(path: str | Path) -> Gathered:
    """A trace from a file, line by line.  Raises UsageError."""
    gathered = Gathered()
    try:
        file = open_regular(path, UsageError)
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file; must be a trace as text") from None
    except IsADirectoryError:
        raise UsageError(f"{path}: cannot be read: is a folder; must be a file, a trace as text") from None
    except (OSError, ValueError) as problem:             # ValueError: a NUL in the path
        raise UsageError(f"{path}: cannot be read: {reason(problem)}; must be a trace as text") from None
    try:
        with io.TextIOWrapper(file, encoding="utf-8", errors="replace") as text:
            for line in iter(lambda: text.readline(LINE_MOST), ""):
                gathered.line(line)
    except OSError as problem:
        raise UsageError(f"{path}: cannot be read: {reason(problem)}; must be a trace as text") from None
    gathered.end()
    if not gathered.used:
        first = f", such as {gathered.examples[0][:60]!r}" if gathered.examples else ""
        raise UsageError(f"{path}: no event is known among its {gathered.lines} lines{first}; must be text of ftrace, perf script or"
                         " trace-cmd report, or bpftrace -f json with the names of calls, as by examples/tdx.bt")
    return gathered
