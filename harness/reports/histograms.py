"""Percentiles over the histograms of several results, as a table."""

from harness.reports.run import PERCENTILES
from harness.reports.text import count, formatted, microseconds, number, wrap
from harness.results.histogram import ERROR, Histogram
from harness.results.merging import merged
from harness.results.schema import SHARES, Result, samples_needed


def histograms_report(results: list[Result], style: str = "table") -> str:
    """Percentiles over all results; raises ResultError as `merged` does."""
    rows = [_row(name, histogram) for name, histogram in merged(results).items()]
    first, seeds = results[0], sorted({result.seed for result in results})
    head = (f"{count(len(results), 'result')}, policy {first.policy}, engine {first.engine}, module {first.module},"
            f" seed {', '.join(map(str, seeds))}; {first.loop} loop, values within {100 * ERROR:.1f} %")
    table = formatted(rows, style)
    return table if style in ("json", "csv") else f"{wrap(head)}\n{table}"


def _row(name: str, histogram: Histogram) -> dict:
    """Times in microseconds, counts as they are; a percentile with nothing beyond it is left out."""
    as_text = microseconds if "_ns." in name else number
    quantiles = {key: histogram.quantile(share) if histogram.count >= samples_needed(key) else None
                 for key, share in SHARES.items()}
    return {"us (retries: count)": name.replace("_ns", ""), "samples": number(histogram.count),
            **{PERCENTILES[key]: as_text(value) for key, value in quantiles.items()},
            "max": as_text(histogram.greatest)}
