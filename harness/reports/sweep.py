"""A sweep, as one table or one picture: a line, or a curve, for each combination of the values that were varied."""

import itertools
from pathlib import Path

from harness.errors import UsageError
from harness.reports import plots
from harness.reports.numbers import over_runs, reasons_of
from harness.reports.run import assumption_lines
from harness.reports.text import number, table_of, wrap
from harness.results.metrics import chosen, legend, values
from harness.results.schema import Result

# In the table and in the picture; of runs with page pairs (td.dpamt) what their place costs.
SHOWN = chosen("busy_per_attempt_percent", "bugs_per_s", "hangs_per_s", "removals_per_s",
               "removal_p50_us", "removal_p99_us", "armed_per_million_faults", "guest_time_lost_percent", "touches_per_s")
OF_PAIRS = chosen("bugs_per_s", "invariants_violated", "installs_per_s", "fault_p99_us", "removal_p50_us", "removal_p99_us",
                  "pamt_wait_percent")
AXES = {"td.vcpus": "vCPUs", "td.count": "TDs"}               # what a key is called below a plot
PICTURES = (".svg", ".png", ".pdf")

Runs = list[tuple[dict, Result]]                              # (the values that were varied, what came of it)


def sweep_report(keys: list[str], runs: Runs, style: str = "table") -> str:
    """All runs of a sweep as one table, with what made it and what it rests on."""
    first, table = runs[0][1], table_of(rows(keys, runs), style)
    if style in ("csv", "json"):                              # for a program: nothing beside it
        return table
    reasons = [reason for reason, _ in reasons_of([result for _, result in runs])]
    means = f"{legend(_shown(runs))}; 2/5: in 2 of 5 runs; -: no run has enough of it to say"
    return "\n".join([summary(keys, first), table, wrap(means), *map(wrap, reasons), *assumption_lines(first)])


def rows(keys: list[str], runs: Runs) -> list[dict]:
    """A row per combination: the values that were varied, then what is shown of them."""
    return [{**{key.rpartition(".")[2]: str(point[key]) for key in keys},
             **{metric.heading: over_runs(metric, results, narrow=True) for metric in _shown(runs)}}
            for point, results in by_point(runs)]


def _shown(runs: Runs):
    return OF_PAIRS if all(result.pamt_pairs for _, result in runs) else SHOWN


def by_point(runs: Runs) -> list[tuple[dict, list[Result]]]:
    """The results of each combination together."""
    groups = itertools.groupby(runs, key=lambda run: run[0])
    return [(point, [result for _, result in group]) for point, group in groups]


def summary(keys: list[str], first: Result) -> str:
    """What is the same for all runs of a sweep, from the first of them."""
    same = [f"{key} {getattr(first, key)}" for key in ("engine", "module") if key not in keys]
    repeats = first.config["repeats"]
    if not {"seed", "repeats"} & set(keys):
        same.append(f"medians of seeds {first.seed} to {first.seed + repeats - 1}" if repeats > 1 else f"seed {first.seed}")
    if "duration_s" not in keys:
        same.append(f"{first.config['duration_s']:g} s each")
    return f"{first.name}: {', '.join(same)}"


# --- the picture ------------------------------------------------------------------------------

def picture(keys: list[str], runs: Runs, path: str) -> None:
    """A plot per number that the table shows, over the last key, a line per value of the others.

    path   as check_picture wants it
    Raises UsageError for a path that cannot be written.
    """
    first, last = runs[0][1], keys[-1]
    rests = "; times rest on assumptions" if assumption_lines(first) else ""
    panels = [(metric.name, metric.scale,
               [(label, [(point[last], values(metric, results)) for point, results in points])
                for label, points in _curves(keys, runs)]) for metric in _shown(runs)]
    made = plots.curves(panels, AXES.get(last, last), f"{summary(keys, first)}{rests}", number)
    try:
        plots.write(made, Path(path))
    except (OSError, ValueError) as problem:
        raise UsageError(f"--picture {path}: {problem}") from None


def _curves(keys: list[str], runs: Runs):
    """[(label, [(point, results)])] by the values of all keys but the last."""
    curves: dict[str, list] = {}
    for point, results in by_point(runs):
        curves.setdefault(", ".join(str(point[key]) for key in keys[:-1]), []).append((point, results))
    return list(curves.items())


def check_picture(path: str) -> None:
    """Refuse a picture that cannot be, before anything is run.  Raises UsageError."""
    plots.load_matplotlib("--picture")
    if Path(path).suffix not in PICTURES:
        raise UsageError(f"--picture {path}: must end in one of {', '.join(PICTURES)}")
    if not Path(path).absolute().parent.is_dir():
        raise UsageError(f"--picture {path}: {Path(path).parent} is no folder")
