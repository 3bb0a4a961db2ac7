"""Which cost decides a number: alone, in the design, or none beyond chance."""

import pytest

from harness.experiment.sensitivity import BASE, DESIGN, LEAST, MOST, Variant
from harness.reports import sensitivity
from harness.reports.sensitivity import ANOTHER, CHANCE, Effect, deciding, effects_of
from harness.reports.text import WIDTH
from harness.results.metrics import chosen
from tests.made import made, meet_busy

[BUSY] = chosen("busy_per_attempt_percent")
KEYS = ("machine.transfer_ns", "costs_ns.kick")


def busy(count: int):
    """A result with so many BUSY in a thousand attempts."""
    result = made()
    meet_busy(result, "tdh_mem_page_aug", 1000, count)
    return result


def plan(of, base=(10,)):
    """Runs in which `of(transfer, kick)` are BUSY; each is 0 or 1, and half way in the base."""
    runs = [(Variant(BASE, "", {}), busy(count)) for count in base]
    runs += [(Variant(kind, key, {key: high}), busy(of(*(high if key == each else 0.5 for each in KEYS))))
             for key in KEYS for kind, high in ((LEAST, 0), (MOST, 1))]
    return runs + [(Variant(DESIGN, str(number), {KEYS[0]: number & 1, KEYS[1]: number >> 1}), busy(of(number & 1, number >> 1)))
                   for number in range(4)]


def test_the_cost_that_moves_a_number_most_decides():
    effects = {effect.key: effect for effect in effects_of(BUSY, plan(lambda transfer, kick: int(10 + 20 * transfer + 2 * kick)))}
    assert effects[KEYS[0]][1:] == pytest.approx((1.1, 3.1, 2.0)) and effects[KEYS[1]][1:] == pytest.approx((2.0, 2.2, 0.2))
    assert deciding(list(effects.values()), 0.0) == (effects[KEYS[0]], True)


def test_where_another_does_so_in_the_design_that_is_marked():
    alone, together = Effect("a", 1, 3, 0.1), Effect("b", 1, 2, -5)
    assert deciding([alone, together], 0) == (alone, False)
    assert deciding([alone, together], 2) == (None, True) == deciding([], 0)


def test_the_table_fits_and_says_what_chance_is():
    runs = plan(lambda transfer, kick: int(10 + 20 * transfer), base=(10, 12, 90))
    [row] = [row for row in sensitivity.rows({"td.vcpus": 64}, runs) if row["number"].startswith("BUSY")]
    assert row["here"] == "1.2" and row["range"] == "1 .. 9" and row["decides"] == CHANCE and row["vcpus"] == "64"
    runs = plan(lambda transfer, kick: int(10 + 20 * transfer))
    text = sensitivity.sensitivity_report(["td.vcpus"], [({"td.vcpus": 64}, runs)], {KEYS[0]: (30, 120)})
    assert max(map(len, text.splitlines())) <= WIDTH and "transfer_ns" in text and "1 .. 3" in text
    assert "chance is in every number" in text and f"{ANOTHER}: where all vary" in " ".join(text.split())
