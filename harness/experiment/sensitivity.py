"""How far a number in virtual time depends on costs that nobody has measured.

harness/experiment/assumed.py says how far each assumed cost may lie from its value.  `variants` makes a plan of
experiments of that for one config: the config as it is; each cost alone at its least and its most; and a two-level design
in which all of them vary at once (columns of a Hadamard matrix, so that each cost is at its most in half of the runs, and
any two are at all four combinations equally often).  The first says which cost moves a number, the second whether that
holds when the others are not what they were assumed to be.

What a costs file gives is not varied.  All runs have the seed of the config.
"""

from typing import NamedTuple

from harness.experiment import assumed, published
from harness.experiment.config import Config

BASE, LEAST, MOST, DESIGN = "base", "least", "most", "design"
WITH_SOCKETS = ("transfer_far_ns",)                      # nothing without a second socket
WITH_SHARED_PROCESSORS = ("switch_ns", "time_slice_ns", "patience_ns")   # nothing with a processor for each thread
WITH_YIELDING = ("patience_ns",)         # nothing unless who waits gives way
OF_CHOICE = ("exit_in_turn_ns",)         # a part of the model that a config takes or leaves
UNVARIED = ("guest_work", "invalidate")                  # the workload's own, no cost of the machine


class Variant(NamedTuple):
    """A run of the plan of experiments."""

    kind: str                    # BASE, LEAST, MOST, DESIGN
    key: str                     # which cost, of LEAST and MOST; the number of the run, of DESIGN
    values: dict[str, float]     # what is set, by dotted key

    @property
    def name(self) -> str:
        """In few words: `machine.transfer_ns=30`, `design 3`; nothing of the base."""
        return {BASE: "", DESIGN: f"design {self.key}"}.get(self.kind, f"{self.key}={self.values.get(self.key, 0):g}")


def ranges(config: Config) -> dict[str, tuple[float, float]]:
    """{dotted key: (least, most)} of the assumed costs that matter to a config, in ns; its own value is always within.

    Raises UsageError for a costs file that cannot be read.
    """
    config = published.applied(config)
    machine, found = config.machine, {}
    measured = assumed.read_costs(machine.costs).values if machine.costs not in ("", published.NAME) else {}
    measured = {key: value for key, value in measured.items() if key not in machine.model_fields_set}
    unused = (*measured, *(() if machine.exit_in_turn_ns else OF_CHOICE), *(WITH_SOCKETS if machine.sockets == 1 else ()),
              *(() if machine.processors else WITH_SHARED_PROCESSORS), *(() if machine.preempt == "yielding" else WITH_YIELDING))
    for key, row in assumed.MACHINE.items():
        if row.least is not None and key not in unused:
            found[f"machine.{key}"] = _around(row.least, row.most, getattr(machine, key))
    for key, value in config.costs_ns:
        if value and key not in UNVARIED:
            row = assumed.COSTS.get(key)
            found[f"costs_ns.{key}"] = _around(row.least, row.most, value) if row else (value / 2, 2 * value)
    return found


def _around(least: float, most: float, value: float) -> tuple[float, float]:
    return min(least, value), max(most, value)


def variants(config: Config) -> list[Variant]:
    """The plan of experiments for a config: the base first."""
    varied_keys = ranges(config)
    found = [Variant(BASE, "", {})]
    for key, (least, most) in varied_keys.items():
        found += [Variant(LEAST, key, {key: least}), Variant(MOST, key, {key: most})]
    for run in range(1 << len(varied_keys).bit_length()):        # a power of 2 above the number of costs
        found.append(Variant(DESIGN, str(run), {key: ends[_sign(run, column)] for column, (key, ends) in enumerate(varied_keys.items(), 1)}))
    return found


def _sign(row: int, column: int) -> int:
    """Of Sylvester's Hadamard matrix: 0 for -1, 1 for +1."""
    return 1 - (row & column).bit_count() % 2


def varied(config: Config, variant: Variant) -> Config:
    """The config with the costs of a variant."""
    config = published.applied(config)
    for part in ("machine", "costs_ns"):
        values = {key.partition(".")[2]: round(value) if part == "costs_ns" else value
                  for key, value in variant.values.items() if key.startswith(part)}
        config = config.model_copy(update={part: getattr(config, part).model_copy(update=values)})
    return config
