"""The command `sweep`: one config run for every combination of some of its values, as one table or one picture.

A config for it has a table [sweep] with a list for each key that is varied:

    [sweep]
    policy = ["kick_vcpus", "kick_on_busy"]
    "td.vcpus" = [2, 8, 32]

With `repeats` each combination runs on so many seeds; what is shown is the median.
"""

import copy
import itertools
import statistics
from pathlib import Path
from typing import Callable, NamedTuple

from harness.commands import arguments, running
from harness.commands.progress import Progress
from harness.commands.session import SEEDS
from harness.errors import DONE, INTERRUPTED, UsageError
from harness.experiment import config_file
from harness.experiment.config import Config, dotted
from harness.reports import plots
from harness.reports.text import assumption_lines, microseconds, number, percent, table_of, wrap
from harness.results.trust import lookup


class Number(NamedTuple):
    """A number that is shown of each run."""

    heading: str                 # in lines
    get: Callable[[dict], float | None]
    show: Callable[[float | None], str]
    title: str = ""              # of its plot, if it has one ...
    scale: str = "linear"        # ... and the plot's (plots.curves)

    def values(self, results: list[dict]) -> list[float]:
        """Of those results that have it."""
        return [value for result in results if (value := self.get(result)) is not None]


NUMBERS = (
    Number("BUSY %\nof at-\ntempts", lambda r: r["busy"]["per_attempt"], percent, "BUSY, % of attempts", "symlog"),
    Number("of\noper-\nations", lambda r: r["busy"]["per_operation"], percent),
    Number("bugs\n\nper s", lambda r: sum(r["bugs"].values()) / r["measured_s"], number),
    Number("hangs\n\nper s", lambda r: r["hangs"]["count"] / r["measured_s"], number),
    Number("re-\nmovals\nper s", lambda r: r["throughput"]["removals_per_s"], number),
    Number("remo-\nval us\np50", lambda r: lookup(r, "spans_ns.removal.p50"), microseconds,
           "a removal, p50, us", "log"),
    Number("remo-\nval us\np99", lambda r: lookup(r, "spans_ns.removal.p99"), microseconds,
           "a removal, p99, us", "log"),
    Number("armed\nper M\nfaults", lambda r: r["zero_step"]["armed_per_million_faults"], number,
           "zero-step armed, per M faults", "symlog"),
    Number("guest\ntime\nlost %", lambda r: r["kicks"]["guest_time_lost_share"], percent,
           "guest time lost to kicks, %"),
    Number("touch-\nes\nper s", lambda r: r["throughput"]["touches_per_s"], number, "touches per s", "log"),
)
SCALE = {percent: 100, microseconds: 1e-3, number: 1}         # from the result's unit to the plot's
AXES = {"td.vcpus": "vCPUs", "td.count": "TDs"}               # what a key is called below a plot


def add(parser) -> None:
    parser.add_argument("config", metavar="CONFIG", help="such as configs/scale/policies.toml")
    arguments.add_overrides(parser, "change a key of the config, e.g. --set 'sweep.td.vcpus=[2, 64]'")
    parser.add_argument("--policies", metavar="NAMES",
                        help="sweep these policies in place of the config's (comma-separated, or: all)")
    arguments.add_out(parser)
    parser.add_argument("--picture", metavar="FILE", help="draw it as well: .svg, .png or .pdf (needs matplotlib)")
    arguments.add_format(parser)


def do(options) -> int:
    out = Path(options.out)
    keys, configs = load(options.config, options.overrides, arguments.policies(options.policies))
    plans = [(point, running.prepare(config)) for point, config in configs]
    arguments.check_folder("--out", out)
    if options.picture:
        check_picture(options.picture)
    code, found = run(plans, out)
    print(report(keys, found, options.format))
    if options.picture:
        picture(keys, found, options.picture)
    return code


def run(plans: list, out: Path) -> tuple[int, list[tuple[dict, dict]]]:
    """Run (values, plan) one after the other, until Ctrl-C: (exit code, [(values, result)])."""
    code, found = DONE, []
    for place, (point, plan) in enumerate(plans):
        with Progress(", ".join(map(str, point.values())), place, len(plans)) as progress:
            result = running.measure(plan, progress)
        found.append((point, result))
        code = max(code, running.keep(result, out), running.exit_code(result, plan.config.expect))
        if result["interrupted"]:
            return INTERRUPTED, found
    return code, found


def load(path: str, overrides: list[str] = (),
         policies: list[str] = ()) -> tuple[list[str], list[tuple[dict, Config]]]:
    """(keys that are varied, [(their values, config)]), in the order of the file, a seed after the other.

    policies   in place of those that the file varies
    Raises UsageError.
    """
    given = config_file.read(path, overrides)
    where, axes = given.path, given.table.pop("sweep", None)
    if not isinstance(axes, dict) or not axes:
        raise UsageError(f"{where}: sweep: is missing; must be a table with a list for each key that is varied")
    axes = dict(dotted(axes))
    if policies:
        axes = {"policy": list(policies)} | {key: values for key, values in axes.items() if key != "policy"}
    for key, values in axes.items():
        if not isinstance(values, list) or not values:
            raise UsageError(f"{where}: sweep.{key} = {values!r}: must be a list of values")
    configs = []
    for values in itertools.product(*axes.values()):
        point = dict(zip(axes, values))
        whole = copy.deepcopy(given.table)
        for key, value in point.items():
            config_file.put(whole, key, value, f"sweep.{key}")
        each = config_file.check(given._replace(table=whole))
        configs += [(point, each.model_copy(update={"seed": (each.seed + block) % SEEDS}))
                    for block in range(each.repeats)]
    return list(axes), configs


# --- the table --------------------------------------------------------------------------------

def rows(keys: list[str], found: list[tuple[dict, dict]]) -> list[dict]:
    """A row per combination: the values that were varied, then NUMBERS."""
    return [{**{key.rpartition(".")[2]: str(point[key]) for key in keys},
             **{each.heading: each.show(median(each.values(results))) for each in NUMBERS}}
            for point, results in by_point(found)]


def by_point(found: list[tuple[dict, dict]]) -> list[tuple[dict, list[dict]]]:
    """The results of each combination together."""
    groups = itertools.groupby(found, key=lambda run: run[0])
    return [(point, [result for _, result in runs]) for point, runs in groups]


def median(values: list[float]) -> float | None:
    return statistics.median(values) if values else None


def report(keys: list[str], found: list[tuple[dict, dict]], style: str = "table") -> str:
    """All runs of a sweep as one table, with what made it and what it rests on."""
    first = found[0][1]
    reasons = sorted({f"{result['verdict']['status']}: {reason}" for _, result in found
                      for reason in result["verdict"]["reasons"]})
    lines = [] if style == "csv" else [wrap(reason) for reason in reasons] + assumption_lines(first)
    table = table_of(rows(keys, found), style)
    return table if style == "csv" else "\n".join([summary(keys, first), table, *lines])


def summary(keys: list[str], first: dict) -> str:
    """What is the same for all runs of a sweep, from the first of them."""
    same = [f"{key} {first[key]}" for key in ("engine", "module") if key not in keys]
    seed, repeats = first["seed"], first["config"]["repeats"]
    if not {"seed", "repeats"} & set(keys):
        same.append(f"medians of seeds {seed} to {seed + repeats - 1}" if repeats > 1 else f"seed {seed}")
    if "duration_s" not in keys:
        same.append(f"{first['config']['duration_s']:g} s each")
    return f"{first['name']}: {', '.join(same)}"


# --- the picture ------------------------------------------------------------------------------

def picture(keys: list[str], found: list[tuple[dict, dict]], path: str) -> None:
    """A plot per number that has a title, over the last key, a line per value of the others.

    path   as check_picture wants it
    Raises UsageError for a path that cannot be written.
    """
    first, last = found[0][1], keys[-1]
    rests = "; times rest on assumptions" if assumption_lines(first) else ""
    panels = [(each.title, each.scale,
               [(label, [(point[last], [value * SCALE[each.show] for value in each.values(results)])
                         for point, results in points])
                for label, points in _curves(keys, found)]) for each in NUMBERS if each.title]
    made = plots.curves(panels, AXES.get(last, last), f"{summary(keys, first)}{rests}", number)
    try:
        plots.write(made, Path(path))
    except (OSError, ValueError) as problem:
        raise UsageError(f"--picture {path}: {problem}") from None


def _curves(keys, found):
    """[(label, [(point, results)])] by the values of all keys but the last."""
    curves: dict[str, list] = {}
    for point, results in by_point(found):
        curves.setdefault(", ".join(str(point[key]) for key in keys[:-1]), []).append((point, results))
    return list(curves.items())


def check_picture(path: str) -> None:
    """Refuse a picture that cannot be, before anything is run.  Raises UsageError."""
    plots.load_matplotlib("--picture")
    allowed = (".svg", ".png", ".pdf")
    if Path(path).suffix not in allowed:
        raise UsageError(f"--picture {path}: must end in one of {', '.join(allowed)}")
    if not Path(path).absolute().parent.is_dir():
        raise UsageError(f"--picture {path}: {Path(path).parent} is no folder")
