"""What makes two results comparable, and one series of nights the same series.

    workload   the config without its name, policy, seed, expectations and what has a key of its own
    policy     its name, and its words: a policy that was edited is another policy
    machine    the stable fields only: a kernel or a package that was upgraded shows as a change
               *within* a series, which is what one wants to see; another processor is another series

Digests are of sorted JSON, so that a config in another order is the same config.
"""

import hashlib
import json
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:                # most commands read no result, and the types of all its parts take a while to make
    from harness.results.schema import Result

STABLE = ("processor", "architecture", "processors_count", "cores_count")
ELSEWHERE = ("name", "policy", "seed", "repeats", "expect", "engine", "module", "primitive")


class Identity(NamedTuple):
    """Strings only; `workload`, `words` and `machine` are digests."""

    engine: str
    module: str
    primitive: str
    workload: str
    machine: str
    policy: str
    words: str

    def digest(self) -> str:
        return digest(self)


# What must be the same for a difference to be one of policies, and how to call it.
COMPARABLE = ("engine", "module", "primitive", "workload", "machine")


def digest(value) -> str:
    text = json.dumps(value, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()


def workload(result: "Result") -> dict:
    """The part of a result's config that says what work is done."""
    return {key: value for key, value in result.config.items() if key not in ELSEWHERE}


def stable(machine: dict) -> dict:
    """The part of a machine's fingerprint that is the same from run to run."""
    return {key: machine.get(key) for key in STABLE}


def identity(result: "Result") -> Identity:
    words = result.config.get("policy", {})
    if isinstance(words, dict):
        words = {key: value for key, value in words.items() if key != "name"}
    return Identity(result.engine, result.module, result.primitive, digest(workload(result)),
                    digest(stable(result.machine)), result.policy, digest(words))
