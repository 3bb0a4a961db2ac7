"""Choices: what is drawn from the tables has the shares that the config asks for."""

import numpy as np
import pytest

from harness.errors import UsageError
from harness.experiment import choices
from harness.experiment.choices import Choice, make_choice, make_choices, working_pages
from kernels.dice import choose
from harness.protocol.guest_policies import GUESTS
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


def walk(given, vcpu: int, steps: int) -> list[int]:
    """The pages that a vCPU touches one after the other."""
    choice, page, pages = make_choice(given, "touch"), choices.page_before(given, "vcpu", vcpu), []
    for _ in range(steps):
        page = choose.py_func(choice.kind, choice.count, choice.thresholds, choice.aliases, page, 0)
        pages.append(int(page))
    return pages


@pytest.mark.parametrize("guest", GUESTS, ids=lambda guest: guest.name)
@pytest.mark.parametrize("vcpus, mib", [(1, 2), (3, 64), (8, 256), (32, 2048)])
def test_at_boot_pieces_of_memory_go_round_the_vcpus_that_accept_and_nobody_takes_a_piece_of_another(guest, vcpus, mib):
    given = config(guest=guest, td={"vcpus": vcpus, "memory_mib": mib}, workload={"pattern": "boot", "hosts": 0})
    accepting, piece = guest.acceptors_of(vcpus, given.td.pages)
    assert 1 <= accepting <= vcpus and piece * accepting < given.td.pages + accepting * piece
    firsts = [choices.page_before(given, "vcpu", vcpu) for vcpu in range(accepting)]
    of = np.arange(given.td.pages) // piece % accepting              # which vCPU each page is for
    for vcpu in range(accepting):
        pages = np.flatnonzero(of == vcpu)
        some = min(len(pages), 20_000)
        assert walk(given, vcpu, some) == pages[:some].tolist() and len(pages)
    assert len(set(firsts)) == accepting


def test_vcpus_that_accept_at_boot_are_as_many_as_the_guest_says_and_as_there_are_pieces_for():
    mib = 256
    said = {guest.name: guest.acceptors_of(32, 4096 * mib) for guest in GUESTS}
    assert said["svsm"][0] == said["mu_msvm"][0] == said["asterinas"][0] == 1
    assert said["td_shim"] == (16, 32 * mib) and said["edk2"] == (32, 32 * mib) and said["linux_boot"] == (32, 4 * mib)
    assert said["openhcl"][0] == 31 and said["openhcl"][1] == -(-4096 * mib // 31)
    assert GUESTS[0].acceptors_of(32, 4096 * mib)[1] == 2048 * mib
    by_name = {guest.name: guest for guest in GUESTS}
    assert by_name["edk2"].acceptors_of(32, 64 * mib) == (2, 32 * mib)       # two pieces, so two vCPUs
    assert by_name["openhcl"].acceptors_of(1, 512) == (1, 512)


def test_host_threads_of_a_booting_guest_remove_from_their_share_on():
    given = config(td={"vcpus": 4}, workload={"pattern": "boot", "hosts": 1})
    assert make_choice(given, "remove") == make_choice(config(workload={"pattern": "sequential", "hosts": 1}), "remove")
    assert choices.page_before(given, "host", 2) == given.td.pages // 2 - 1


def test_removals_may_have_a_pattern_of_their_own():
    given = config(workload={"pattern": "uniform", "pages": 4, "remove_pattern": "hot", "hot_pages": 1, "hot_share": 0.7})
    assert shares(make_choice(given, "remove"))[0] == pytest.approx(0.7, abs=0.02)
    assert shares(make_choice(given, "touch"))[0] == pytest.approx(0.25, abs=0.02)


# What else a config must have for a choice to be one: of a table of keys, or of one choice.
WANTED = {"faults": {"workload": {"hosts": 1}}, "accept_part": {"td": {"large_pages": True}, "workload": {"accept_2m": True}}}


@pytest.mark.parametrize("name", choices.SHARES)
def test_every_yes_or_no_is_yes_as_often_as_its_key_says(name):
    table, key = choices.SHARES[name]
    given: dict[str, dict] = {table: {key: 0.3}}
    for needs, more in WANTED.get(name, WANTED.get(table, {})).items():
        given.setdefault(needs, {}).update(more)
    assert shares(make_choice(config(**given), name)) == pytest.approx([0.7, 0.3], abs=0.02)


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
