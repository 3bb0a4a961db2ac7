"""What makes two results comparable."""

import pytest

from harness.results.identity import STABLE, identity, stable, workload
from tests.made import made


def changed(change):
    result = made()
    change(result)
    return identity(result)


@pytest.mark.parametrize("differ, change", [
    ("engine", lambda r: setattr(r, "engine", "simulate")), ("module", lambda r: setattr(r, "module", "1.5.20")),
    ("primitive", lambda r: setattr(r, "primitive", "bts")), ("policy", lambda r: setattr(r, "policy", "another")),
    ("workload", lambda r: r.config["workload"].update(hot_pages=5)), ("workload", lambda r: r.config["costs_ns"].update(kick=1)),
    ("machine", lambda r: r.machine.update(processor="Another")), ("words", lambda r: r.config["policy"].update(block="kick")),
])
def test_each_part_of_an_identity_is_of_what_it_names(differ, change):
    one, other = identity(made()), changed(change)
    assert [key for key in one._fields if getattr(one, key) != getattr(other, key)] == [differ]
    assert one.digest() != other.digest()


@pytest.mark.parametrize("change", [
    lambda r: setattr(r, "seed", 99), lambda r: r.config.update(seed=99, repeats=3, expect={"bugs.total": {"max": 1}}, name="x"),
    lambda r: r.machine.update(kernel="7.0", numpy="9", memory_mib=1), lambda r: r.config["policy"].update(name="another"),
])
def test_seeds_names_expectations_kernels_and_packages_are_no_part_of_it(change):
    assert changed(change) == identity(made())


def test_a_config_in_another_order_is_the_same_config():
    result = made()
    result.config = dict(reversed(result.config.items()))
    assert identity(result) == identity(made()) and workload(result) == workload(made())


def test_a_policy_without_words_and_a_machine_without_facts_have_an_identity():
    result = made()
    result.config["policy"], result.machine = "kick_vcpus", {}
    assert identity(result).words and stable({}) == dict.fromkeys(STABLE)
