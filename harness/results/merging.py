"""Histograms of several results added up, and written as a log that HdrHistogram's tools read.

The log (format 1.2, by the hdrhistogram package) has a line for each histogram, tagged with its name,
such as `latency_ns.tdh_vp_enter`; values are those of the result, nanoseconds or counts.
"""

import calendar
import io
import time
from pathlib import Path

from hdrh.histogram import HdrHistogram
from hdrh.log import HistogramLogWriter

from harness.reports import text as report
from harness.errors import ResultError
from harness.files import write_file
from harness.results.histogram import ERROR, Histogram, from_json, middle
from harness.results.trust import SHARES, samples_needed
from kernels.record import VALUE_BITS

SIGNIFICANT_DIGITS = 3           # of HdrHistogram: it adds at most 0.1 % to a value's error


def histograms(result: dict) -> dict[str, Histogram]:
    """All histograms of a result by name; raises ResultError for one that is damaged or has none."""
    try:
        return {f"{kind}.{name}": from_json(value)
                for kind, named in result["histograms"].items() for name, value in named.items()}
    except (AttributeError, KeyError, TypeError, ValueError) as problem:
        raise ResultError(f"result {result.get('name')!r}: its histograms are missing or damaged:"
                          f" {problem!r}") from None


def merged(results: list[dict]) -> dict[str, Histogram]:
    """The histograms of all results, added up by name.

    Raises ResultError if they are not of one policy, loop and release: their sum would mean nothing.
    """
    for key in ("policy", "loop", "module", "engine"):
        different = sorted({str(result.get(key)) for result in results})
        if len(different) > 1:
            raise ResultError(f"results differ in {key}: {', '.join(different)}; must be of one kind"
                              " to be added up")
    total: dict[str, Histogram] = {}
    for result in results:
        for name, histogram in histograms(result).items():
            total[name] = total.get(name, Histogram()) + histogram
    return total


def merged_report(results: list[dict], style: str = "table") -> str:
    """Percentiles over all results; raises ResultError as `merged` does."""
    rows = [_row(name, histogram) for name, histogram in merged(results).items()]
    first, seeds = results[0], sorted({result["seed"] for result in results})
    head = (f"{len(results)} result{'s' * (len(results) != 1)}, policy {first['policy']},"
            f" engine {first['engine']}, module {first['module']}, seed {', '.join(map(str, seeds))}; {first['loop']} loop,"
            f" values within {100 * ERROR:.1f} %")
    table = report.formatted(rows, style)
    return table if style in ("json", "csv") else f"{report.wrap(head)}\n{table}"


def _row(name: str, histogram: Histogram) -> dict:
    """Times in microseconds, counts as they are; a percentile with nothing beyond it is left out."""
    shown = report.microseconds if "_ns." in name else report.number
    known = {key: histogram.quantile(share) if histogram.count >= samples_needed(key) else None
             for key, share in SHARES.items()}
    return {"us (retries: count)": name.replace("_ns", ""), "samples": report.number(histogram.count),
            **{report.PERCENTILES[key]: shown(value) for key, value in known.items()},
            "max": shown(histogram.greatest)}


def write_log(results: list[dict], path: Path) -> None:
    """Write the merged histograms of results to a new HdrHistogram log.  Raises OSError."""
    started_s = min(_seconds(result["started_at"]) for result in results)
    measured_s = sum(result["measured_s"] for result in results)
    text = io.StringIO()
    writer = HistogramLogWriter(text)
    writer.output_log_format_version()
    first = results[0]
    writer.output_comment(f"{first['name']}: policy {first['policy']}, module {first['module']},"
                          f" engine {first['engine']}, {first['loop']} loop, {len(results)} runs")
    writer.output_base_time(1000 * started_s)
    writer.output_legend()
    for name, histogram in merged(results).items():
        text.write(f"Tag={name},")
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
