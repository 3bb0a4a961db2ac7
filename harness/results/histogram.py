"""Histograms that outlive their run: in nanoseconds or counts, so that those of other runs and machines fit.

The kernels count in ticks of their own machine's clock (kernels/record.py).  Here each bucket becomes
the bucket of the same scale that holds its middle in nanoseconds, and histograms of the same thing can
be added up: over workers, repeats, machines.  A value is off by at most ERROR: by half a bucket when it
was recorded, and by half a bucket again when it was converted.

As text a histogram is `bucket:count bucket:count ...`, buckets ascending, where bucket 64 is the first
that is not exact: see `bucket_range`.
"""

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from harness.results.schema import SHARES, StoredHistogram, Summary, samples_needed
from kernels.record import BUCKETS, MAX, SUB_BITS, SUB_BUCKETS, SUM, VALUE_BITS, bucket_range, quantile

ERROR = 2 / (2 * SUB_BUCKETS)    # a bucket is at most 1/32 of its value wide, so twice 1/64


def bucket_of(value: int) -> int:
    """The bucket that counts `value`; the same as the kernels' bucket_of."""
    value = min(max(0, value), (1 << VALUE_BITS) - 1)
    if value < 2 * SUB_BUCKETS:
        return value
    shift = value.bit_length() - 1 - SUB_BITS
    return shift * SUB_BUCKETS + (value >> shift)


def middle(bucket: int) -> float:
    first, after = bucket_range(bucket)
    return (first + after - 1) / 2


@dataclass
class Histogram:
    """Counts by bucket, with the sum and the greatest value."""

    counts: Counter = field(default_factory=Counter)
    total: float = 0.0
    greatest: float = 0.0

    @property
    def count(self) -> int:
        return sum(self.counts.values())

    def __add__(self, other: "Histogram") -> "Histogram":
        return Histogram(self.counts + other.counts, self.total + other.total,
                         max(self.greatest, other.greatest))

    def quantile(self, share: float) -> float | None:
        """The value below which `share` of the values lie; None for nothing."""
        if not self.counts:
            return None
        rank, seen = min(self.count - 1, int(share * self.count)), 0
        for bucket in sorted(self.counts):
            seen += self.counts[bucket]
            if seen > rank:
                return min(middle(bucket), self.greatest)
        raise AssertionError("a rank below the count lies in a bucket")


def from_record(words: np.ndarray, ticks_per_unit: float = 1) -> Histogram:
    """From an actor's histogram (kernels.record), or the sum of several.

    words            int64 (HISTOGRAM,)
    ticks_per_unit   ticks per nanosecond, or 1 for what was counted in its own unit
    """
    counts: Counter = Counter()
    for bucket in np.flatnonzero(words[:BUCKETS]):
        value = middle(int(bucket)) / ticks_per_unit
        counts[bucket_of(round(value)) if ticks_per_unit != 1 else int(bucket)] += int(words[bucket])
    return Histogram(counts, float(words[SUM]) / ticks_per_unit, float(words[MAX]) / ticks_per_unit)


def to_stored(histogram: Histogram) -> StoredHistogram:
    return StoredHistogram(
        buckets=" ".join(f"{bucket}:{count}" for bucket, count in sorted(histogram.counts.items())),
        sum=round(histogram.total, 1), max=round(histogram.greatest, 1))


def from_stored(stored: StoredHistogram) -> Histogram:
    """Raises ValueError for buckets that no histogram has."""
    counts: Counter = Counter()
    for part in stored.buckets.split():
        bucket, count = map(int, part.split(":"))
        if not bucket < BUCKETS:
            raise ValueError(f"bucket {bucket}: must be below {BUCKETS}")
        counts[bucket] += count
    return Histogram(counts, float(stored.sum), float(stored.max))


def summary(histogram: np.ndarray, unit: float = 1) -> Summary:
    """Count, quantiles and greatest value of an actor's histogram, in multiples of `unit` ticks.

    A quantile beyond which less than one sample is expected is null: it would be the greatest value
    under another name.
    """
    def scaled(value):
        return round(value / unit, 1) if unit != 1 else int(value)

    count = int(histogram[:BUCKETS].sum())
    values = {name: scaled(quantile(histogram, share)) if count >= samples_needed(name) else None
              for name, share in SHARES.items()}
    return Summary(count=count, **values, max=scaled(float(histogram[MAX])) if count else None)
