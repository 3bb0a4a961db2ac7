"""A sweep: one config run for every combination of some of its values, as one table or one picture.

A config for it has a table [sweep] with a list for each key that is varied:

    [sweep]
    policy = ["kick_vcpus", "kick_on_busy"]
    "td.vcpus" = [2, 8, 32]
"""

import itertools
from pathlib import Path

from harness import config
from harness.errors import UsageError
from harness.judge import lookup
from harness.report import assumption_lines, microseconds, number, percent, table_of, wrap

# What is shown of each run: heading (in lines), title of its plot or None, value, how it is printed.
NUMBERS = (
    ("BUSY %\nof at-\ntempts", "BUSY per attempt, %", lambda r: r["busy"]["per_attempt"], percent),
    ("of\noper-\nations", None, lambda r: r["busy"]["per_operation"], percent),
    ("bugs\n\nper s", None, lambda r: sum(r["bugs"].values()) / r["measured_s"], number),
    ("hangs\n\nper s", None, lambda r: r["hangs"]["count"] / r["measured_s"], number),
    ("re-\nmovals\nper s", None, lambda r: r["throughput"]["removals_per_s"], number),
    ("removal\np50\nus", "removal, p50, us", lambda r: lookup(r, "spans_ns.removal.p50"), microseconds),
    ("removal\np99\nus", "removal, p99, us", lambda r: lookup(r, "spans_ns.removal.p99"), microseconds),
    ("armed\nper M\nfaults", "zero-step arms per million faults", lambda r: r["zero_step"]["armed_per_million_faults"],
     number),
    ("guest\ntime\nlost %", "guest time lost to kicks, %", lambda r: r["kicks"]["guest_time_lost_share"], percent),
    ("touches\nper s", "touches per second", lambda r: r["throughput"]["touches_per_s"], number),
)
SCALE = {percent: 100, microseconds: 1e-3, number: 1}         # from the result's unit to the plot's


def load(path: str, overrides: list[str] = ()) -> tuple[list[str], list[tuple[dict, config.Config]]]:
    """(keys that are varied, [(their values, config)]), in the order of the file.  Raises UsageError."""
    table, where, origins = config.load_table(path, overrides)
    axes = table.pop("sweep", None)
    if not isinstance(axes, dict) or not axes:
        raise UsageError(f"{where}: sweep: is missing; must be a table with a list for each key that is varied")
    axes = dict(_flat(axes))
    for key, values in axes.items():
        if not isinstance(values, list) or not values:
            raise UsageError(f"{where}: sweep.{key} = {values!r}: must be a list of values")
    configs = []
    for values in itertools.product(*axes.values()):
        point = dict(zip(axes, values))
        whole = _copy(table)
        for key, value in point.items():
            config.put(whole, key, value, f"sweep.{key}")
        configs.append((point, config.check(whole, where, origins)))
    return list(axes), configs


def _flat(table, prefix=""):
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _copy(table):
    return {key: _copy(value) for key, value in table.items()} if isinstance(table, dict) else table


# --- the table --------------------------------------------------------------------------------

def rows(keys: list[str], found: list[tuple[dict, dict]]) -> list[dict]:
    """A row per run: the values that were varied, then NUMBERS."""
    return [{**{key.rpartition(".")[2]: str(point[key]) for key in keys},
             **{heading: show(get(result)) for heading, _, get, show in NUMBERS}} for point, result in found]


def report(keys: list[str], found: list[tuple[dict, dict]], style: str = "table") -> str:
    """All runs of a sweep as one table, with what made it and what it rests on."""
    first = found[0][1]
    head = f"{first['name']}: engine {first['engine']}, module {first['module']}, seed {first['seed']};" \
           f" {first['measured_s']:g} s each"
    reasons = sorted({f"{result['verdict']['status']}: {reason}" for _, result in found
                      for reason in result["verdict"]["reasons"]})
    lines = [] if style == "csv" else [wrap(reason) for reason in reasons] + assumption_lines(first)
    table = table_of(rows(keys, found), style)
    return table if style == "csv" else "\n".join([head, table, *lines])


# --- the picture ------------------------------------------------------------------------------

def picture(keys: list[str], found: list[tuple[dict, dict]], path: str) -> None:
    """A plot per number that has a title, over the last key, a line per value of the others.

    path   ends in .svg, .png or .pdf
    Raises UsageError without the optional packages, or for a path that cannot be written.
    """
    try:
        import matplotlib
    except ImportError:
        raise UsageError("--picture: needs matplotlib: pip install 'tdx-sept-harness[report]'") from None
    matplotlib.use("Agg")
    from matplotlib.figure import Figure

    plots = [(title, get, SCALE[show]) for _, title, get, show in NUMBERS if title]
    figure = Figure(figsize=(11, 6.5), layout="constrained")
    for axes, (title, get, scale) in zip(figure.subplots(2, 3).flat, plots):
        for label, points in _curves(keys, found):
            drawn = [(point[keys[-1]], get(result)) for point, result in points]
            drawn = [(x, y * scale) for x, y in drawn if y is not None]
            axes.plot(*zip(*drawn), marker="o", markersize=3, label=label) if drawn else None
        values = sorted({point[keys[-1]] for point, _ in found})
        axes.set_xscale("log", base=2)
        axes.set_xticks(values, values)
        axes.set_title(title, fontsize=10)
        axes.set_xlabel(keys[-1])
        axes.grid(alpha=0.3)
    first = found[0][1]
    axes.legend(fontsize=8)
    figure.suptitle(f"{first['name']}: engine {first['engine']}, module {first['module']}, seed {first['seed']};"
                    " times rest on assumptions", fontsize=10)
    try:
        figure.savefig(path)
    except (OSError, ValueError) as problem:
        raise UsageError(f"--picture {path}: {problem}") from None


def _curves(keys, found):
    """[(label, [(point, result)])] by the values of all keys but the last."""
    curves: dict[str, list] = {}
    for point, result in found:
        curves.setdefault(", ".join(str(point[key]) for key in keys[:-1]), []).append((point, result))
    return list(curves.items())


def check_picture(path: str) -> None:
    """Refuse a picture that cannot be, before anything is run."""
    allowed = (".svg", ".png", ".pdf")
    if Path(path).suffix not in allowed:
        raise UsageError(f"--picture {path}: must end in one of {', '.join(allowed)}")
    if not Path(path).absolute().parent.is_dir():
        raise UsageError(f"--picture {path}: {Path(path).parent} is no folder")
