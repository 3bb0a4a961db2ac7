"""What a trace of a real host came to, and which of its lines were not used."""

import json
import statistics
from pathlib import Path

from harness.errors import UsageError
from harness.files import saved
from harness.reports.text import count, formatted, number, table_of, wrap
from harness.results.metrics import METRICS, values
from harness.results.schema import Result


def trace_report(gathered, real: dict, paths: list[Path], style: str = "table") -> str:
    """A table of calls, and what was not read; `json`: what is in real.json, and the files."""
    if style == "json":
        return json.dumps(real | {"examples": list(gathered.examples), "written": list(map(str, paths))}, indent=1)
    lines = [f"{count(real['lines'], 'line')} in {real['seconds']:g} s of trace: {real['used']} used, {real['unknown']} not known;"
             f" {count(real['vcpus'], 'vCPU')}"]
    lines.append(f"{count(real['faults'], 'fault')} on {count(real['pages'], 'private page')} ({real['faults_of_shared_pages']} on shared"
                 f" pages left out), {count(sum(real['removal_pages'].values()), 'removal')}")
    if real["calls"]:
        lines.append("\n" + table_of([{
            "call": call, "answers": row["tries"], "BUSY": row["busy"], "BUSY %": number(real["numbers"].get(f"busy_percent.{call}")),
            "timed": row.get("timed", 0), "p50 ns": number(row.get("p50_ns")), "p99 ns": number(row.get("p99_ns"))}
            for call, row in real["calls"].items()], "table"))
    if gathered.examples:
        lines.append("\nlines that are not known, the first:")
        lines += [f"    {example}" for example in gathered.examples]
    if gathered.not_kept:
        lines.append(wrap(f"{gathered.not_kept} events of more vCPUs, threads or calls than are kept apart were not used"))
    return "\n".join([*lines, "", *(saved(path, "written:") for path in paths)])


def beside_report(real: dict[str, float], results: list[Result], style: str) -> str:
    """A row for each number of a real host: medians of results by policy and engine.  Raises UsageError."""
    metrics = [metric for metric in METRICS if metric.key in real]
    if not metrics:
        raise UsageError("--real: none of its numbers is one of a result")
    groups: dict[str, list[Result]] = {}
    for result in results:
        groups.setdefault(f"{result.policy}, {result.engine}", []).append(result)
    rows = []
    for metric in metrics:
        row = {"": metric.name, "real host": number(real[metric.key])}
        for name, mine in groups.items():
            found = values(metric, mine)
            row[name] = number(statistics.median(found)) if found else "-"
        rows.append(row)
    return formatted(rows, style)
