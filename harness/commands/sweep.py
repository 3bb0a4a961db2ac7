"""The command `sweep`: one config run for every combination of some of its values, as one table or one picture.

A config for it has a table [sweep] with a list for each key that is varied:

    [sweep]
    policy = ["kick_vcpus", "kick_on_busy"]
    "td.vcpus" = [2, 8, 32]

With `repeats` each combination runs on so many seeds; what is shown is the median.

`--sensitivity` runs each combination (or a config without [sweep]) also with its assumed costs at their least and their
most, and says which of them decides each number (harness/experiment/sensitivity.py).
"""

import contextlib
import copy
import itertools
import math
import sys
from pathlib import Path

from harness import stops
from harness.commands import arguments, cluster, jobs, running
from harness.commands.progress import Progress
from harness.commands.session import SEEDS
from harness.errors import DONE, INTERRUPTED, UNTRUSTWORTHY, UsageError, gravest
from harness.experiment import config_file, sensitivity, shipped
from harness.experiment.config import Config, dotted
from harness.reports.sensitivity import sensitivity_report
from harness.reports.sweep import Runs, check_picture, picture, sweep_report
from harness.results.schema import Result

POINTS_MOST = 10_000             # combinations
COSTS = "costs"                  # the key that names a variant of the assumed costs


def add(parser) -> None:
    parser.add_argument("config", metavar="CONFIG", help="such as configs/scale/policies.toml")
    arguments.add_overrides(parser, "change a key of the config, e.g. --set 'sweep.td.vcpus=[2, 64]'")
    parser.add_argument("--policies", metavar="NAMES",
                        help="sweep these policies in place of the config's (comma-separated, or: all)")
    arguments.add_out(parser)
    jobs.add_jobs(parser, "what --out has of the same config and source is not run again", "runs")
    parser.add_argument("--sensitivity", action="store_true",
                        help="vary the assumed costs too, and say which of them each number depends on (engine simulate)")
    parser.add_argument("--picture", metavar="FILE", help="draw it as well: .svg, .png or .pdf (needs matplotlib)")
    arguments.add_format(parser)


def one_file(word: str) -> str:
    """The config that a word means.  Raises UsageError."""
    found = shipped.paths([word])
    if len(found) > 1:
        raise UsageError(f"{word}: {len(found)} files; a sweep is of one config")
    return found[0]


def do(options) -> int:
    out = Path(options.out)
    given = one_file(options.config), options.overrides, arguments.policies(options.policies)
    keys, configs = load(*given, options.sensitivity)
    if options.sensitivity:
        check_sensitivity([config for _, config in configs], options.picture)
    where = jobs.where(options.jobs, cluster.address(options.cluster, options.tls, options.insecure))
    jobs.check(where, [config for _, config in configs])
    plans = [(point, running.prepare(config)) for point, config in configs]
    arguments.check_folder("--out", out)
    source = jobs.source()
    keys_of = [jobs.key(config, source) for _, config in configs]
    done = jobs.there(out) if options.resume or options.list else {}
    if options.list:
        print(jobs.listing([{**point, "seed": config.seed} for point, config in configs], [key in done for key in keys_of],
                           options.format))
        return DONE
    if options.picture:
        check_picture(options.picture)
        arguments.check_file("--picture", Path(options.picture))
    if options.resume:
        print(f"{sum(key in done for key in keys_of)} of {len(keys_of)} runs are there already", file=sys.stderr)
    code, found = run(plans, out, keys_of, done, where)
    if not found:                        # all were given up
        return code
    if options.sensitivity:
        print(sensitivity_report(keys, _by_point(found, configs), sensitivity.ranges(configs[0][1]), options.format))
        return code
    print(sweep_report(keys, found, options.format))
    if options.picture:
        picture(keys, found, options.picture)
    return code


def check_sensitivity(configs: list[Config], picture_file: str | None) -> None:
    """Raises UsageError."""
    real = next((config for config in configs if config.engine != "simulate"), None)
    if real:
        raise UsageError(f"--sensitivity: {real.name} has engine = {real.engine!r}; costs are assumed in virtual time only: must be 'simulate'")
    if picture_file:
        raise UsageError("--sensitivity: not together with --picture")


def _by_point(found: Runs, configs: list[tuple[dict, Config]]) -> list[tuple[dict, list]]:
    """[(values that were varied, [(variant, result)])] of the runs that there are."""
    variants = {variant.name: variant for _, config in configs for variant in sensitivity.variants(config)}
    points: dict[str, tuple[dict, list]] = {}
    for point, result in found:
        rest = {key: value for key, value in point.items() if key != COSTS}
        points.setdefault(repr(rest), (rest, []))[1].append((variants[point[COSTS]], result))
    return list(points.values())


def run(plans: list, out: Path, keys: list[str], done: dict[str, Result], where: jobs.Where) -> tuple[int, Runs]:
    """Run (values, plan) but those that are done, until Ctrl-C: (exit code, [(values, result)])."""
    code, found = DONE, {place: done[key] for place, key in enumerate(keys) if key in done}
    for place, result in found.items():
        code = gravest(code, running.exit_code(result, plans[place][1].config.expect))
    left = [place for place in range(len(plans)) if place not in found]
    names = [", ".join(map(str, plans[place][0].values())) for place in left]

    def here(number: int) -> Result:
        with Progress(names[number], left[number], len(plans)) as progress:
            return running.provoke(plans[left[number]][1], progress)
    with stops.noted() if not where.here else contextlib.nullcontext():
        for number, result in jobs.results(where, running.measured, [(plans[place][1].config,) for place in left], here, names):
            place = left[number]
            if isinstance(result, jobs.Failure):
                print(f"{names[number]}: {result.why}", file=sys.stderr)
                code = gravest(code, UNTRUSTWORTHY)
                continue
            found[place] = result
            settings = [f"{name}={value}" for name, value in plans[place][0].items() if value != ""]
            code = gravest(code, running.keep(result, out, key=keys[place], settings=settings), running.exit_code(result, plans[place][1].config.expect))
        if stops.asked() and (len(found) < len(plans) or where.here):
            code = INTERRUPTED
            print(f"interrupted: {len(found)} of {len(plans)} runs are there; the same command with --resume goes on", file=sys.stderr)
        return code, [(plans[place][0], result) for place, result in sorted(found.items())]


def load(path: str, overrides: list[str] = (), policies: list[str] = (),
         costs: bool = False) -> tuple[list[str], list[tuple[dict, Config]]]:
    """(keys that are varied, [(their values, config)]), in the order of the file, a seed after the other.

    policies   in place of those that the file varies
    costs      each once more for every variant of its assumed costs; COSTS then has the variant's name
    Raises UsageError.
    """
    given = config_file.read(path, overrides)
    where, axes = given.path, given.table.pop("sweep", None)
    if costs and axes is None and not policies:
        axes = {"seed": [config_file.check(given).seed]}
    if not isinstance(axes, dict) or not axes:
        raise UsageError(f"{where}: sweep: is missing; must be a table with a list for each key that is varied")
    axes = dict(dotted(axes))
    if policies:
        axes = {"policy": list(policies)} | {key: values for key, values in axes.items() if key != "policy"}
    for key, values in axes.items():
        if not isinstance(values, list) or not values:
            raise UsageError(f"{where}: sweep.{key} = {values!r}: must be a list of values")
    if (points := math.prod(map(len, axes.values()))) > POINTS_MOST:
        raise UsageError(f"{where}: sweep: its lists have {points} combinations; must be at most {POINTS_MOST}")
    configs = []
    for values in itertools.product(*axes.values()):
        point = dict(zip(axes, values))
        whole = copy.deepcopy(given.table)
        for key, value in point.items():
            config_file.put(whole, key, value, f"{where}: sweep.{key}")
        each = config_file.check(given._replace(table=whole))
        configs += [(point, each.model_copy(update={"seed": (each.seed + block) % SEEDS}))
                    for block in range(each.repeats)]
    if costs:
        configs = [({**point, COSTS: variant.name}, sensitivity.varied(each, variant))
                   for point, each in configs for variant in sensitivity.variants(each)]
    return list(axes), configs
