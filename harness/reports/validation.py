"""Real and virtual time over the same workloads, number by number, as a table.

Each number is the median of its runs with the least and the greatest; the two engines *agree* on it
if those intervals meet.  What is fatal is shown as a total, and compared run by run all the same.
"""

import json
import statistics
from typing import NamedTuple

from harness.experiment.assumed import NOT_FITTED
from harness.reports.numbers import events_text, shown
from harness.reports.text import number, table_of, wrap
from harness.results.metrics import Metric, chosen, events, none_of, values
from harness.results.schema import Result

RUNS = 7                         # that count, by each engine
DURATION_S = 0.1                 # of each
QUIET_SHARE = 0.95               # of the time that both workers must have run
CLOSE = 0.1                      # medians that differ by no more are called close
AGREE, NEAR, DIFFER = "agree", f"within {100 * CLOSE:g} %", "differ"

COMPARED = chosen(
    "busy_percent.tdh_mem_page_aug", "busy_percent.tdh_vp_enter", "busy_percent.tdh_mem_range_block",
    "busy_percent.tdh_mem_track", "busy_percent.tdh_mem_page_remove", "busy_percent.tdg_mem_page_accept",
    "busy_per_attempt_percent", "retries_max", "removals_per_s", "installs_per_s", "touches_per_s", "removal_p50_us",
    "removal_p99_us", "bugs_per_s", "armed_per_million_faults", "guest_time_lost_percent")


class Row(NamedTuple):
    """One number of one workload under both engines.

    workers_ran   the least share of the time that all workers of a run had the processors to themselves
    """

    case: str
    metric: Metric
    processes: list[Result]
    simulate: list[Result]
    ratio: float | None
    verdict: str
    workers_ran: float


def make_row(case: str, metric: Metric, processes: list[Result], simulate: list[Result], workers_ran: float) -> Row | None:
    """One number compared; None where neither engine has anything to say."""
    real, virtual = values(metric, processes), values(metric, simulate)
    if not real or not virtual or not any(real) and not any(virtual):
        return None
    meet = min(real) <= max(virtual) and min(virtual) <= max(real)
    one, other = statistics.median(real), statistics.median(virtual)
    ratio = other / one if one else None
    verdict = AGREE if meet else NEAR if ratio and abs(ratio - 1) <= CLOSE else DIFFER
    return Row(case, metric, processes, simulate, ratio, verdict, workers_ran)


def is_narrow(row: Row) -> bool:
    """Whether the runs of both engines lie within CLOSE of their median, so that to agree means something."""
    return all(max(found) - min(found) <= CLOSE * statistics.median(found)
               for found in (values(row.metric, row.processes), values(row.metric, row.simulate)))


def validation_report(rows: list[Row], real: dict[str, float] | None = None, style: str = "table") -> str:
    """The comparison as a table, with the numbers of a real host if they are given.

    How much of the time the workers ran says what it is worth.
    """
    if style == "json":
        return json.dumps([_plain(row, real) for row in rows], indent=1)
    shape = rows[0].processes[0].config if rows else {}
    parts = [f"vCPUs: {shape['td']['vcpus']}, hosts: {shape['workload']['hosts']}, processors: 2;"
             f" median (least..greatest) of {len(rows[0].processes)} runs of {DURATION_S:g} s"] if rows else []
    for case in dict.fromkeys(row.case for row in rows):
        mine = [row for row in rows if row.case == case]
        parts.append(f"\n{case}; workers ran for {100 * mine[0].workers_ran:.0f} % of the time or more")
        parts.append(table_of([
            {"": row.metric.title if row.metric.events else row.metric.name,
             "processes": _range(row.metric, row.processes), "simulate": _range(row.metric, row.simulate),
             **({} if real is None else {"real host": number(real.get(row.metric.key))}),
             "ratio": "-" if row.metric.events else number(row.ratio), "verdict": row.verdict} for row in mine], "table"))
    counts = {verdict: sum(row.verdict == verdict for row in rows) for verdict in (AGREE, NEAR, DIFFER)}
    parts.append("\n" + ", ".join(f"{times} {verdict}" for verdict, times in counts.items()) + f" of {len(rows)} numbers;"
                 f" of {sum(map(is_narrow, rows))} both intervals are narrower than {100 * CLOSE:g} %")
    unfitted = sum(map(_is_unfitted, {id(result): result for row in rows for result in row.simulate}.values()))
    if unfitted:
        parts.append(wrap(f"\n{unfitted} runs in virtual time had costs that were {NOT_FITTED}"))
    if min(row.workers_ran for row in rows) < QUIET_SHARE:
        parts.append(wrap("\nDEGRADED: other work kept the workers from their processors; virtual time knows none."
                          " Repeat this on a quiet machine"))
    return "\n".join(parts)


def _is_unfitted(result: Result) -> bool:
    return result.simulation is not None and any(NOT_FITTED in item.provenance for item in result.simulation.assumptions)


def _range(metric: Metric, results: list[Result]) -> str:
    if metric.events:
        return events_text(events(metric, results))
    found, of_none = values(metric, results), none_of(metric, results)
    middle = shown(metric, statistics.median(found), of_none)
    return f"{middle} ({number(min(found))}..{number(max(found))})"


def _plain(row: Row, real: dict[str, float] | None) -> dict:
    """A row for programs: the value of each run."""
    return {"case": row.case, "metric": row.metric.key, "processes": list(values(row.metric, row.processes)),
            "simulate": list(values(row.metric, row.simulate)), "real_host": (real or {}).get(row.metric.key),
            "ratio": row.ratio, "verdict": row.verdict, "workers_ran_share": row.workers_ran}
