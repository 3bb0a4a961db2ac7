"""Costs that vary in virtual time: transfers, paces and stalls come out as their distribution says, and the same every time."""

import numpy as np
import pytest

from harness.engines.simulate import prices, simulation
from harness.errors import UsageError
from harness.experiment import assumed
from harness.experiment.config import Config
from harness.experiment.plan import make_plan
from harness.results import document
from kernels import lines
from kernels.compiling import kernel
from tests.engines.test_simulate import lasting
from tests.stage import config

COSTS = """
measured_on = "a test"
[machine]
transfer_ns = 80
stall_every_ns = 50_000
stall_ns = 2_000
pace_ns = 1_000
[histograms]
transfer = [[20, 60, 3], [60, 300, 1]]
stall = [[500, 1_000, 9], [10_000, 11_000, 1]]
pace = [[0.8, 0.9, 1], [0.9, 1.1, 2], [1.1, 1.5, 1]]
"""


@pytest.fixture
def costs(tmp_path):
    path = tmp_path / "costs.toml"
    path.write_text(COSTS)
    return str(path)


def result_of(**keys):
    return document.from_measured(simulation.run(make_plan(config(**{"engine": "simulate", "warmup_s": 0.0005, **keys}))))


def touches(machine: dict, **keys) -> int:
    """How often a vCPU that does nothing but touch has touched."""
    keys = {"td": {"vcpus": 1, "memory_mib": 2}, "workload": {"hosts": 0, "pages": 1}, "duration_s": 0.005, **keys}
    return result_of(machine=machine, **keys).counters["touches"]


@kernel(entry=True)
def transfers(table, waits):
    """Ticks of so many transfers of a line to and fro, none beside another."""
    now = 1
    for index in range(len(waits)):
        waits[index] = lines.reach(table, lines.STRIDE, index & 1, True, now)
        now += 100_000


def drawn(machine, seed=0, count=20_000) -> np.ndarray:
    """What transfers take, ns."""
    table = lines.Lines(np.zeros(4 * lines.STRIDE, np.int64), np.zeros((5, 1), np.int64), np.zeros(2, np.int64),
                        prices.ticks(machine.transfer_ns), 10_000, seed, prices.make_spread(config(), machine, "transfer"))
    waits = np.zeros(count, np.int64)
    transfers(table, waits)
    return waits / prices.TICKS_PER_NS


def test_transfers_have_the_mean_that_is_given_and_the_spread_of_the_histogram(costs):
    machine, _ = prices.resolve(config(machine={"costs": costs}))
    took = drawn(machine)
    histogram_mean = (40 * 3 + 180) / 4
    assert took.mean() == pytest.approx(80, rel=0.02)
    assert np.mean(took > 60 * 80 / histogram_mean) == pytest.approx(0.25, abs=0.01)
    assert took.min() >= 20 * 80 / histogram_mean - 1 and took.max() <= 300 * 80 / histogram_mean + 1
    assert (took == drawn(machine)).all() and (took != drawn(machine, seed=1)).mean() > 0.9


def test_without_a_distribution_each_transfer_is_alike():
    assert set(drawn(config(machine={"transfer_ns": 70}).machine)) == {70.0}


def test_the_same_plan_with_costs_that_vary_gives_the_same_result_to_the_last_byte(costs, monkeypatch):
    keys = {"machine": {"costs": costs}, "td": {"vcpus": 3, "memory_mib": 2}, "duration_s": 0.001}
    whole = lasting(result_of(**keys).document())
    monkeypatch.setattr(simulation, "TURN", 777)
    assert lasting(result_of(**keys).document()) == whole
    assert lasting(result_of(seed=2, **keys).document()) != whole


def test_a_processor_that_stalls_does_less_by_the_share_of_its_stalls():
    """Stalls of 10 us, 20 us apart on average: two thirds of the time are left."""
    whole, left = touches({}), touches({"stall_every_ns": 20_000, "stall_ns": 10_000})
    assert left / whole == pytest.approx(2 / 3, rel=0.03)


def test_a_pace_is_that_of_all_rows(tmp_path):
    slow = tmp_path / "slow.csv"
    slow.write_text("from_ns,to_ns,count\n2,2,1\n")
    machine = {"distribution": {"pace": f"histogram {slow}"}}
    assert touches(machine) / touches({}) == pytest.approx(1 / 2, rel=0.01)


def test_closed_loops_that_vary_do_not_stay_in_step(costs):
    """A vCPU and a host, as in configs/: where nothing varies they never meet at an entry."""
    keys = {"td": {"vcpus": 1, "memory_mib": 2}, "duration_s": 0.01, "module": "1.5.24", "costs_ns": {"invalidate": 2_000},
            "workload": {"hot_pages": 4, "accept_first": 0.9, "removals_per_s": 500_000.0}}
    still, moved = (result.seamcalls["tdh_mem_range_block"] for result in (result_of(**keys), result_of(machine={"costs": costs}, **keys)))
    assert still.attempts > 1_000 and still.busy <= 1
    assert moved.attempts > 1_000 and 0.001 < moved.busy / moved.attempts < 0.1


def test_exits_and_entries_that_go_one_after_another_bound_what_all_vcpus_do_together():
    """16 vCPUs that do nothing but fault, 1 us of each exit and of each entry: half a million of both in a second at most."""
    keys = {"td": {"vcpus": 16, "memory_mib": 64}, "costs_ns": {"td_entry": 100, "td_exit": 100}, "duration_s": 0.005,
            "workload": {"hosts": 0, "pattern": "sequential", "accept_first": 1.0}}
    free, bound = (result_of(machine={"exit_in_turn_ns": ns}, **keys).throughput.installs_per_s for ns in (0, 1_000))
    assert free > 1_000_000 and 0.4 * 500_000 < bound <= 500_000
    one = {**keys, "td": {"vcpus": 1, "memory_mib": 64}}
    alone, slower = (result_of(machine={"exit_in_turn_ns": ns}, **one).throughput.installs_per_s for ns in (0, 1_000))
    assert 1e9 / slower - 1e9 / alone == pytest.approx(2_000, rel=0.02)       # alone it is part of the exit, no more


def test_who_waits_notices_later():
    """Where two wait for each other's locks all the time, less is done the later they notice."""
    keys = {"td": {"vcpus": 2, "memory_mib": 2}, "workload": {"removals_per_s": 0.0, "pages": 2, "hosts": 2}, "duration_s": 0.004}
    soon, late = (result_of(machine={"noticed_ns": ns}, **keys).throughput.removals_per_s for ns in (0, 500))
    assert late < 0.8 * soon


def test_spending_has_a_price_of_its_own():
    work = {"costs_ns": {"guest_work": 1_000}}
    alone, dearer = touches({}, **work), touches({"spend_ns": 1_000}, **work)
    assert dearer / alone == pytest.approx(0.5, rel=0.05)


def test_each_number_of_a_costs_file_says_where_it_was_measured(costs):
    rows = {row["key"]: row for row in prices.assumptions(config(engine="simulate", machine={"costs": costs}))}
    assert rows["machine.transfer_ns"]["provenance"] == "measured a test"
    assert rows["machine.distribution.pace"] == {
        "key": "machine.distribution.pace", "value": f"histogram {costs}:pace", "unit": "", "provenance": "measured a test"}
    own = config(engine="simulate", machine={"costs": costs, "transfer_ns": 5, "distribution": {"stall": "exponential"}})
    machine, _ = prices.resolve(own)
    assert machine.distribution["stall"] == "exponential" and "transfer" not in machine.distribution


@pytest.mark.parametrize("text, says", [
    ("[histograms]\npase = [[1, 2, 3]]\n", "histograms.pase: unknown key; did you mean pace? known: transfer, stall, pace"),
    ("histograms = 3\n", "histograms = 3: must be a table"),
    ("[machine]\npace_ns = 5\n[histograms]\npace = [[3, 2, 1]]\n", "pace: not a histogram"),
    ("[machine]\npace_ns = 5\n[histograms]\npace = 'x'\n", "pace: not a histogram"),
    ("[machine]\npace_ns = 5\n[histograms]\npace = []\n", "pace: not a histogram"),
])
def test_a_histogram_that_is_none_is_one_line(tmp_path, text, says):
    path = tmp_path / "costs.toml"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        simulation.Simulation(make_plan(config(engine="simulate", machine={"costs": str(path)})))
    assert says in str(caught.value) and "\n" not in str(caught.value)


def test_every_default_is_without_spread_and_says_so():
    """What is assumed varies by nothing that is not in the list of assumptions."""
    machine = Config.model_validate({"name": "t", "policy": "kick_on_busy"}).machine
    assert not machine.distribution and set(assumed.SPREAD) <= {key.removesuffix("_ns") for key in assumed.MACHINE}


def test_who_waits_beside_others_on_its_processor_gives_way_at_once_if_it_is_said_so(costs):
    """Four on two processors, as the processes of this harness: a removal does not wait for the end of a time slice.

    Its pauses of 2 us are spun, so that the host keeps its processor.
    """
    keys = {"td": {"vcpus": 3, "memory_mib": 2}, "duration_s": 0.008, "module": "1.5.24", "costs_ns": {"invalidate": 2_000},
            "workload": {"hot_pages": 4, "accept_first": 0.9, "removals_per_s": 500_000.0}}
    spins, gives_way = (result_of(machine={"costs": costs, "processors": 2, "preempt": rule}, **keys) for rule in ("anywhere", "yielding"))
    assert gives_way.counters["removals"] > 5 * spins.counters["removals"] > 0
    assert not any(gives_way.invariants.values())


def test_a_guest_with_nothing_to_do_gives_way_without_leaving(costs):
    """As a process that waits for an arrival: of two on one processor neither is asked out, so each TD entry is the first or a fault's."""
    ran = result_of(machine={"costs": costs, "processors": 1, "preempt": "yielding", "time_slice_ns": 4e6}, duration_s=0.008,
                    td={"vcpus": 2, "memory_mib": 2}, workload={"hosts": 0, "loop": "open", "touches_per_s": 100_000.0, "pages": 8})
    assert ran.counters["touches"] > 1_000
    assert ran.seamcalls["tdh_vp_enter"].attempts <= ran.counters["private_faults"] + 4


def test_who_waits_looks_for_a_while_before_it_gives_way(costs):
    """A kick that is answered at once on another processor costs no switch."""
    keys = {"td": {"vcpus": 3, "memory_mib": 2}, "duration_s": 0.008, "module": "1.5.24", "policy": "kick_vcpus",
            "workload": {"hot_pages": 4, "accept_first": 0.9, "removals_per_s": 0.0}}
    at_once, patient = (result_of(machine={"costs": costs, "processors": 2, "preempt": "yielding", "patience_ns": ns}, **keys) for ns in (1, 400))
    assert patient.counters["removals"] > 1.5 * at_once.counters["removals"] > 0


def test_a_config_may_name_a_histogram_of_a_costs_file(costs):
    named = {"distribution": {"transfer": f"histogram {costs}:transfer"}}
    assert (drawn(config(machine={**named, "transfer_ns": 80}).machine) == drawn(prices.resolve(config(machine={"costs": costs}))[0])).all()
    with pytest.raises(UsageError, match="Makefile"):
        prices.read_histogram("Makefile:pace")
