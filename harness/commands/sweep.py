"""A sweep: one config run for every combination of some of its values, as one table or one picture.

A config for it has a table [sweep] with a list for each key that is varied:

    [sweep]
    policy = ["kick_vcpus", "kick_on_busy"]
    "td.vcpus" = [2, 8, 32]

With `repeats` each combination runs on so many seeds; what is shown is the median.
"""

import itertools

from harness.experiment import config
from harness.commands.session import SEEDS
from harness.errors import UsageError


def load(path: str, overrides: list[str] = (),
         policies: list[str] = ()) -> tuple[list[str], list[tuple[dict, config.Config]]]:
    """(keys that are varied, [(their values, config)]), in the order of the file, a seed after the other.

    policies   in place of those that the file varies
    Raises UsageError.
    """
    table, where, origins = config.load_table(path, overrides)
    axes = table.pop("sweep", None)
    if not isinstance(axes, dict) or not axes:
        raise UsageError(f"{where}: sweep: is missing; must be a table with a list for each key that is varied")
    axes = dict(_flat(axes))
    if policies:
        axes = {"policy": list(policies)} | {key: values for key, values in axes.items() if key != "policy"}
    for key, values in axes.items():
        if not isinstance(values, list) or not values:
            raise UsageError(f"{where}: sweep.{key} = {values!r}: must be a list of values")
    configs = []
    for values in itertools.product(*axes.values()):
        point = dict(zip(axes, values))
        whole = _copy(table)
        for key, value in point.items():
            config.put(whole, key, value, f"sweep.{key}")
        each = config.check(whole, where, origins)
        configs += [(point, each.model_copy(update={"seed": (each.seed + block) % SEEDS}))
                    for block in range(each.repeats)]
    return list(axes), configs


def _flat(table, prefix=""):
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _copy(table):
    return {key: _copy(value) for key, value in table.items()} if isinstance(table, dict) else table
