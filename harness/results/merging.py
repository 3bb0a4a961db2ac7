"""Histograms of several results added up, and written as a log that HdrHistogram's tools read.

The log (format 1.2, by the hdrhistogram package) has a line for each histogram, tagged with its name,
such as `latency_ns.tdh_vp_enter`; values are those of the result, nanoseconds or counts.
"""

import calendar
import io
import re
import time
from pathlib import Path

from hdrh.histogram import HdrHistogram
from hdrh.log import HistogramLogWriter

from harness.errors import ResultError, escaped
from harness.files import write_file
from harness.results.histogram import Histogram, from_stored, middle
from harness.results.schema import Histograms, Result
from kernels.record import VALUE_BITS

SIGNIFICANT_DIGITS = 3           # of HdrHistogram: it adds at most 0.1 % to a value's error
OF_ONE_KIND = ("policy", "loop", "module", "engine")


def histograms(result: Result) -> dict[str, Histogram]:
    """All histograms of a result by name; raises ResultError for one with buckets that none has."""
    found = {}
    for kind in Histograms.model_fields:
        for name, stored in getattr(result.histograms, kind).items():
            try:
                found[f"{kind}.{name}"] = from_stored(stored)
            except ValueError as problem:
                raise ResultError(f"result {result.name!r} of {result.started_at}: histograms.{kind}.{name}: {problem}"
                                  " (damaged, or of another version)") from None
    return found


def merged(results: list[Result]) -> dict[str, Histogram]:
    """The histograms of all results, added up by name.

    Raises ResultError if they are not OF_ONE_KIND: their sum would mean nothing.
    """
    for key in OF_ONE_KIND:
        different = sorted({getattr(result, key) for result in results})
        if len(different) > 1:
            raise ResultError(f"results differ in {key}: {', '.join(different)}; must be of one kind"
                              " to be added up")
    total: dict[str, Histogram] = {}
    for result in results:
        for name, histogram in histograms(result).items():
            total[name] = total.get(name, Histogram()) + histogram
    return total


def write_log(results: list[Result], path: Path) -> None:
    """Write the merged histograms of results to a new HdrHistogram log.  Raises OSError."""
    started_s = min(_seconds(result.started_at) for result in results)
    measured_s = sum(result.measured_s for result in results)
    text = io.StringIO()
    writer = HistogramLogWriter(text)
    writer.output_log_format_version()
    first = results[0]
    writer.output_comment(f"{first.name}: policy {first.policy}, module {first.module},"
                          f" engine {first.engine}, {first.loop} loop, {len(results)} runs")
    writer.output_base_time(1000 * started_s)
    writer.output_legend()
    for name, histogram in merged(results).items():
        tag = re.sub(r"[,\s]", "_", escaped(name))      # they part the fields of a line
        text.write(f"Tag={tag},")
        writer.output_interval_histogram(as_hdr(histogram), 1e-6, measured_s)
    write_file(text.getvalue(), path)


def as_hdr(histogram: Histogram) -> HdrHistogram:
    """The same counts; the greatest value exactly."""
    hdr = HdrHistogram(1, 1 << VALUE_BITS, SIGNIFICANT_DIGITS)
    buckets = sorted(histogram.counts)
    for bucket in buckets:
        count = histogram.counts[bucket]
        if bucket == buckets[-1]:
            hdr.record_value(round(histogram.greatest))
            count -= 1
        if count:
            hdr.record_value(round(min(middle(bucket), histogram.greatest)), count)
    return hdr


def _seconds(stamp: str) -> int:
    return calendar.timegm(time.strptime(stamp, "%Y-%m-%dT%H:%M:%SZ"))
