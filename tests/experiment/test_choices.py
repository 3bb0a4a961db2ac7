"""Choices: what is drawn from the tables has the shares that the config asks for."""

import numpy as np
import pytest

from harness.errors import UsageError
from harness.experiment import choices
from harness.experiment.choices import Choice, make_choice, make_choices, working_pages
from kernels.dice import choose
from tests.stage import config

DRAWS = 20_000


def shares(choice: Choice) -> np.ndarray:
    """How often each outcome comes of evenly spread random words."""
    random = np.random.default_rng(5)
    drawn, previous = np.zeros(choice.count), -1
    thresholds, aliases = (np.array(column, np.int64) for column in (choice.thresholds, choice.aliases))
    for word in random.integers(-1 << 63, 1 << 63, DRAWS, dtype=np.int64):
        previous = choose.py_func(choice.kind, choice.count, thresholds, aliases, previous, int(word))
        drawn[previous] += 1
    return drawn / DRAWS


@pytest.mark.parametrize("workload, wanted", [
    ({"pattern": "uniform", "pages": 4}, [0.25] * 4),
    ({"pattern": "sequential", "pages": 4}, [0.25] * 4),
    ({"pattern": "hot", "pages": 4, "hot_pages": 1, "hot_share": 0.7}, [0.7, 0.1, 0.1, 0.1]),
    ({"pattern": "hot", "pages": 4, "hot_pages": 9, "hot_share": 0.7}, [0.25] * 4),
    ({"pattern": "zipf", "pages": 3, "zipf_exponent": 1.0}, [6 / 11, 3 / 11, 2 / 11]),
])
def test_pages_are_drawn_as_the_pattern_says(workload, wanted):
    assert shares(make_choice(config(workload=workload), "touch")) == pytest.approx(wanted, abs=0.02)


def test_removals_may_have_a_pattern_of_their_own():
    given = config(workload={"pattern": "uniform", "pages": 4, "remove_pattern": "hot", "hot_pages": 1, "hot_share": 0.7})
    assert shares(make_choice(given, "remove"))[0] == pytest.approx(0.7, abs=0.02)
    assert shares(make_choice(given, "touch"))[0] == pytest.approx(0.25, abs=0.02)


@pytest.mark.parametrize("name", choices.SHARES)
def test_every_yes_or_no_is_yes_as_often_as_its_key_says(name):
    table, key = choices.SHARES[name]
    hosts = {"workload": {"hosts": 1}} if table == "faults" else {}
    assert shares(make_choice(config(**{table: {key: 0.3}}, **hosts), name)) == pytest.approx([0.7, 0.3], abs=0.02)


def test_large_pages_are_split_in_turn():
    given = config(td={"memory_mib": 8}, workload={"removal": "split", "hosts": 1})
    assert make_choice(given, "split").count == 3 and working_pages(given) == 512
    assert shares(make_choice(given, "split")) == pytest.approx([1 / 3] * 3, abs=0.001)


def test_the_choices_of_a_program_lie_one_after_the_other():
    given = config(workload={"pattern": "zipf", "pages": 5, "accept_first": 0.25})
    made = make_choices(given, ("touch", "accept_first"))
    assert made.table[:, 1:].tolist() == [[0, 5], [5, 2]] and len(made.thresholds) == len(made.aliases) == 7
    alone = make_choice(given, "accept_first")
    assert made.thresholds[5:].tolist() == list(alone.thresholds) and made.aliases[5:].tolist() == list(alone.aliases)
    assert make_choices(given, ()).table.shape == (0, 3)


def test_too_many_weights_are_refused_with_the_key_to_set(monkeypatch):
    monkeypatch.setattr(choices, "WEIGHTED_PAGES", 4)
    with pytest.raises(UsageError, match="workload.pattern = 'zipf': 5 pages are in play; must be at most 4"):
        make_choice(config(workload={"pattern": "zipf", "pages": 5}), "touch")
