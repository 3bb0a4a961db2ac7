"""The simulated machine in numbers: what each micro-op costs, and where each number comes from.

Every number has a provenance, which results carry and tables print:

    assumption        neither measured nor published; the text says what it leans on
    measured FILE     a file that `python -m harness doctor --calibrate` wrote
    this config       given in the config
    published         machine.costs = "published" (harness/experiment/published.py)

The table is harness/experiment/assumed.py; `make_tags` and `make_durations` turn a plan into the arrays that
kernels/simulate.py reads.  Times become whole ticks of a tenth of a nanosecond.
"""

import csv
import io

import numpy as np

from harness.protocol import releases
from harness.experiment import assumed, published
from harness.experiment.config import Config, Costs, Machine
from harness.errors import UsageError, meant
from harness.files import TOML_MOST, read_text, read_toml
from harness.experiment.choices import alias_table
from harness.experiment.plan import Plan
from harness.protocol.flows.flow import IN_GUEST, REQUEST
from harness.protocol.seamcalls import held_in_guest
from kernels import durations, lines, simulated
from kernels.ops import OP_TABLE, Access, Kind, Op, Price

TICKS_PER_NS = 10

ASSUMED = "assumption"
STALL = -1                       # where make_durations has a stall
IN_TURN = ("td_entry_ns", "td_exit_ns")  # costs of which machine.exit_in_turn_ns is a part

def ticks(nanoseconds: float) -> int:
    return round(nanoseconds * TICKS_PER_NS)


# --- values and where they come from ----------------------------------------------------------

def resolve(config: Config) -> tuple[Machine, dict[str, str]]:
    """The machine with its costs file applied, and the provenance of each of its numbers."""
    given = config.machine.model_fields_set
    provenance = {key: "this config" if key in given else f"{ASSUMED}: {row.leans_on}" for key, row in assumed.MACHINE.items()}
    if config.machine.costs in ("", published.NAME):
        if config.machine.costs:
            provenance |= {key: published.provenance(config, key) for key in published.ON_MACHINE}
        return config.machine, provenance
    values, where, histograms = assumed.read_costs(config.machine.costs)
    fresh = {key: value for key, value in values.items() if key not in given}
    provenance |= {key: f"measured {where}" for key in fresh}
    spread = {name: f"histogram {config.machine.costs}:{name}" for name in histograms if f"{name}_ns" in fresh}
    return config.machine.model_copy(update=fresh | {"distribution": spread | config.machine.distribution}), provenance


def assumptions(config: Config) -> list[dict]:
    """Every number that a simulated result rests on: key, value, unit, provenance."""
    config = published.applied(config)
    machine, provenance = resolve(config)
    given = config.machine.distribution
    found = [{"key": f"machine.{key}", "value": getattr(machine, key), "unit": "ns", "provenance": text}
             for key, text in provenance.items()]
    found += [{"key": f"costs_ns.{key}", "value": value, "unit": "ns",
               "provenance": published.provenance(config, key)}
              for key, value in config.costs_ns if value or key in config.costs_ns.model_fields_set]
    found += [{"key": f"machine.distribution.{key}", "value": value, "unit": "",
               "provenance": "this config" if key in given else provenance[f"{key}_ns"]}
              for key, value in sorted(machine.distribution.items())]
    return found


# --- arrays for the loop ----------------------------------------------------------------------

def make_tags(plan: Plan, machine: Machine) -> np.ndarray:
    """int64 (rows,): what kernels/simulate.py must know of each row, and its price.

    The shadow owners that check exclusive ownership belong to no real machine: they cost nothing, and
    are looked at together with the access that they watch.
    """
    prices = [ticks(getattr(machine, info.price)) if info.price != Price.FREE else 0 for info in OP_TABLE]
    spent = ticks(machine.spend_ns)
    in_guest = held_in_guest(releases.find(plan.config.module))
    watchers, spinning = plan.layout.at("mmu_owner"), plan.layout.at("mmu_lock")
    assert plan.layout.at("num_assoc_vcpus") < plan.layout.shadow_delta
    tags = np.zeros(len(plan.program.rows), np.int64)
    for number, row in enumerate(plan.program.listing):
        tag, price = 0, prices[row.op]
        if OP_TABLE[row.op].kind in (Kind.SHARED, Kind.WAIT):
            if plan.layout.shadow_delta <= row.offset < plan.layout.variables_from or row.offset == watchers:
                price = 0
            else:
                tag |= simulated.ORDERED | simulated.PRICED | (simulated.WRITES if OP_TABLE[row.op].access != Access.LOAD else 0)
                price = max(1, price)            # so that time goes on whatever is free
        if OP_TABLE[row.op].kind == Kind.WAIT:
            tag |= simulated.WAITS
        if row.op == Op.RESET:
            tag |= simulated.ORDERED
        elif row.op == Op.SPEND:
            price = spent if not row.width else 0
            tag |= simulated.ORDERED if machine.exit_in_turn_ns and plan.program.costs[row.value] in IN_TURN else 0
        if row.held == in_guest and not row.call:
            tag |= simulated.IN_GUEST
        elif row.held or row.call or row.offset == spinning and OP_TABLE[row.op].kind == Kind.WAIT:
            tag |= simulated.CLOSED
        tags[number] = tag | price << simulated.PRICE_SHIFT
    return tags


def make_durations(plan: Plan, machine: Machine) -> durations.Durations:
    """How long each cost of the program takes, and behind them (STALL) a stall.

    Raises UsageError for a distribution that cannot be.
    """
    known = [*Costs.model_fields, "removal_interval", *assumed.SPREAD]
    for name in machine.distribution:
        if name not in known:
            raise UsageError(f"{plan.config.name}: machine.distribution.{name}: no such cost; {meant(name, known)}known:"
                             f" {', '.join(known)}")
    rows, buckets = [], []
    for name, value in zip((*plan.program.costs, "stall_ns"), (*plan.costs_ns(), machine.stall_ns)):
        kind, file = _distribution(plan.config, machine, name.removesuffix("_ns"))
        in_turn = ticks(machine.exit_in_turn_ns) if name in IN_TURN else 0
        if kind == durations.HISTOGRAM:
            found = _as_drawn(read_histogram(file))
            rows.append((kind, 0, len(buckets), len(found), in_turn))
            buckets += found
        else:
            rows.append((kind, ticks(value), 0, 0, in_turn))
    columns = np.array(buckets or [(0, 0, 0, 0)], np.int64)
    return durations.Durations(np.array(rows, np.int64), *np.ascontiguousarray(columns.T), durations.logarithms())


def make_spread(config: Config, machine: Machine, name: str) -> np.ndarray:
    """Quantiles of a "transfer", as multiples of its mean, or of the "pace", as kernels/lines.py has them; (0,): it never varies.

    Raises UsageError.
    """
    kind, file = _distribution(config, machine, name)
    if kind == durations.CONSTANT:
        return np.zeros(0, np.int64)
    count = 1 << lines.SPREAD_BITS
    shares = (np.arange(count) + 0.5) / count
    if kind == durations.EXPONENTIAL:
        quantiles = -np.log1p(-shares)
    else:
        found = np.array(read_histogram(file))
        edges = np.cumsum(found[:, 2]) / found[:, 2].sum()
        bucket = np.searchsorted(edges, shares)
        within = (shares - (edges - found[:, 2] / found[:, 2].sum())[bucket]) / (found[:, 2] / found[:, 2].sum())[bucket]
        quantiles = found[bucket, 0] + within * (found[:, 1] - found[:, 0])[bucket]
    mean = quantiles.mean() if name == "transfer" else 1
    return np.maximum(1, np.rint(quantiles / mean * lines.SPREAD_UNIT)).astype(np.int64) if mean else np.zeros(0, np.int64)


def _distribution(config: Config, machine: Machine, name: str) -> tuple[int, str]:
    """(kind, the file of a histogram) that machine.distribution has for a cost."""
    words = machine.distribution.get(name, "constant").split(maxsplit=1)
    if words[:1] == ["histogram"] and len(words) == 2:
        return durations.HISTOGRAM, words[1]
    if words == ["exponential"] or words == ["constant"]:
        return durations.EXPONENTIAL if words == ["exponential"] else durations.CONSTANT, ""
    raise UsageError(f"{config.name}: machine.distribution.{name} = {' '.join(words)!r}: must be 'constant', 'exponential' or"
                     " 'histogram FILE'")


def read_histogram(path: str) -> list[tuple[float, float, float]]:
    """(from ns, to ns, count) per bucket of a CSV file with columns from_ns, to_ns, count, or of COSTS.toml:NAME.

    Raises UsageError.
    """
    name = path.rpartition(":")[2]
    if name in assumed.SPREAD:
        file = path.removesuffix(f":{name}")
        if name not in assumed.read_costs(file).histograms:
            raise UsageError(f"{file}: has no histograms.{name}")
        return _checked(path, read_toml(file)["histograms"][name])
    try:
        rows = [(float(row["from_ns"]), float(row["to_ns"]), float(row["count"]))
                for row in csv.DictReader(io.StringIO(read_text(path, UsageError, most=TOML_MOST)))]
    except (KeyError, TypeError, ValueError, csv.Error):
        raise UsageError(f"{path}: not a histogram; must be CSV with columns from_ns, to_ns, count") from None
    return _checked(path, rows)


def _checked(path: str, rows) -> list[tuple[float, float, float]]:
    try:
        rows = [tuple(map(float, row)) for row in rows]
        good = all(0 <= begin <= end <= 1e9 and 0 <= count < 1e18 for begin, end, count in rows) and sum(row[2] for row in rows) > 0
    except (TypeError, ValueError):
        good = False
    if not good:
        raise UsageError(f"{path}: not a histogram; must have buckets with 0 <= from_ns <= to_ns <= 1e9 and counts")
    return rows


def _as_drawn(rows: list[tuple[float, float, float]]) -> list[tuple[int, int, int, int]]:
    """(threshold, alias, begin, width) per bucket, as kernels/durations.py draws from it."""
    thresholds, aliases = alias_table(np.array([count for _, _, count in rows]))
    return [(int(threshold), int(alias), ticks(begin), ticks(end) - ticks(begin))
            for threshold, alias, (begin, end, _) in zip(thresholds, aliases, rows)]


assert REQUEST & IN_GUEST == 0
assert all(price in assumed.MACHINE for price in Price if price != Price.FREE)
assert set(assumed.MACHINE) | {"costs", "placement", "processors", "sockets", "preempt", "distribution"} == set(Machine.model_fields)
