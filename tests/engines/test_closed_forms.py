"""Virtual time against queueing theory: where the answer is known, the simulator gives it.

Actors here run a few rows written for the purpose, with micro-ops that cost next to nothing.
"""

import dataclasses

import numpy as np
import pytest

from harness.engines.simulate import simulation as simulate
from harness.experiment.plan import make_plan
from harness.protocol.assemble import Listing
from harness.protocol.counters import COUNTERS
from kernels import record, rwlock
from kernels.ops import Op, Register as R
from kernels.words import HP_READER
from tests.stage import config

WRITER_REST = 20                 # holds between two tries of a rare writer
FREE = {key: 0.0 for key in ("local_ns", "load_ns", "store_ns", "locked_ns", "transfer_ns", "transfer_far_ns")}


def simulate_rows(write, actors: int, duration_s: float, away_s: float, hold_ns: int, seed=1):
    """Run so many actors through rows that write(listing, layout) writes.

    Cost "removal_interval_ns" is exponential with mean `away_s`, "tdh_mem_track_ns" is `hold_ns`.
    Returns the finished simulation.
    """
    plan = make_plan(config(
        engine="simulate", duration_s=duration_s, warmup_s=duration_s / 10, seed=seed,
        td={"vcpus": actors, "memory_mib": 2}, costs_ns={"tdh_mem_track": hold_ns},
        workload={"hosts": 0, "removals_per_s": 1 / away_s},
        machine={**FREE, "distribution": {"removal_interval": "exponential"}}))
    own = {name: "this test's own" for name in ("wait", *(f"saw {number}" for number in range(8)))}
    listing = Listing(counters={**COUNTERS, **own}, spans=own)
    listing.label("vcpu")
    listing.row(Op.POLL)
    listing.row(Op.TEST, register=R.STOPPING, mask=-1, otherwise="stop")
    write(listing, plan.layout)
    listing.jump("vcpu")
    listing.count("touches")             # what the engine asks for; never reached
    listing.label("stop")
    listing.row(Op.STOP)
    program = listing.program()
    tables = record.tables(0, len(program.answers), len(program.counters), len(program.spans))
    simulation = simulate.Simulation(dataclasses.replace(plan, program=program, tables=tables))
    simulation.hang_ticks = 1 << 55        # nobody touches a page here
    simulation.run()
    assert not simulation.problems and not simulation.halt, simulation.halt
    return simulation


def span(simulation, name) -> np.ndarray:
    at = simulation.plan.tables.spans + simulation.plan.program.spans.index(name) * record.HISTOGRAM
    return simulation.halves[0, 1, at:at + record.HISTOGRAM]


@pytest.mark.parametrize("load", [0.3, 0.6])
def test_waiting_for_one_exclusive_lock_is_that_of_an_m_d_1_queue(load):
    """Poisson arrivals, a hold that is always the same: the mean wait is load * hold / (2 (1 - load))."""
    actors, hold_ns = 500, 1000

    def write(listing, layout):
        listing.spend("removal_interval_ns", idle=True)
        listing.begin("wait")
        listing.row(Op.MMU_TAKE_EXCLUSIVE, offset=layout.at("mmu_lock"))
        listing.end("wait")
        listing.spend("tdh_mem_track_ns")
        listing.row(Op.MMU_DROP_EXCLUSIVE, offset=layout.at("mmu_lock"))

    simulation = simulate_rows(write, actors, 0.6, actors * hold_ns / load / 1e9, hold_ns)
    waits = span(simulation, "wait")
    count = waits[:record.BUCKETS].sum()
    assert count > 100_000
    # An actor that holds or waits does not arrive, so the load is a little less than what was asked for.
    load = count * hold_ns / 0.6e9
    assert waits[record.SUM] / count / 10 == pytest.approx(load * hold_ns / (2 * (1 - load)), rel=0.03)


@pytest.mark.parametrize("holders", [2, 4])
def test_how_many_independent_holders_overlap_is_binomial(holders):
    """Holders come and go by themselves; one who looks at random instants counts them."""
    hold_ns, away_s = 1000, 2e-6

    def write(listing, layout):
        lock = layout.at("secure_ept_lock")
        listing.row(Op.TEST, register=R.ME, mask=-1, match=1, next="look", otherwise="hold")
        listing.label("hold")
        listing.spend("removal_interval_ns", idle=True)
        listing.row(Op.HP_TAKE_SHARED, offset=lock, otherwise="stop", priority="stop")
        listing.spend("tdh_mem_track_ns")
        listing.row(Op.HP_DROP_SHARED, offset=lock, next="vcpu")
        listing.label("look")
        listing.spend("removal_interval_ns", idle=True)
        listing.row(Op.LOAD, offset=lock, width=16, register=R.OLD)
        for number in range(holders + 1):
            other = listing.fresh("other")
            seen = listing.fresh("seen")
            listing.row(Op.TEST, register=R.OLD, mask=-1, match=number * HP_READER, next=seen, otherwise=other)
            listing.label(seen)
            listing.count(f"saw {number}", next="vcpu")
            listing.label(other)
        listing.row(Op.STOP)

    simulation = simulate_rows(write, holders + 1, 0.4, away_s, hold_ns)
    seen = simulation.counters()
    looks = sum(seen[f"saw {number}"] for number in range(holders + 1))
    assert looks > 100_000
    share = hold_ns / (hold_ns + away_s * 1e9)
    overlap = 1 - (1 - share) ** holders - holders * share * (1 - share) ** (holders - 1)
    found = sum(seen[f"saw {number}"] for number in range(2, holders + 1)) / looks
    assert found == pytest.approx(overlap, rel=0.03)
    assert seen["saw 0"] / looks == pytest.approx((1 - share) ** holders, rel=0.03)


def test_a_writer_waits_for_the_last_of_the_readers_that_it_finds():
    """Readers come at random and hold for the same time; a writer that comes seldom finds a Poisson number of them.

    Later readers queue behind it, so it waits for the greatest of n residual times, each even over the hold:
    hold * E[n / (n + 1)] = hold * (1 - (1 - exp(-load)) / load).
    """
    readers, hold_ns, load = 200, 1000, 1.0

    def write(listing, layout):
        lock = layout.at("mmu_lock")
        listing.row(Op.TEST, register=R.ME, mask=-1, match=1, next="writer", otherwise="reader")
        listing.label("reader")
        listing.spend("removal_interval_ns", idle=True)
        listing.row(Op.MMU_TAKE_SHARED, offset=lock, next="in", otherwise="queued")
        listing.label("queued")
        listing.row(Op.WAIT_IS, offset=lock, source=R.ZERO, mask=rwlock.WRITER, match=0)
        listing.label("in")
        listing.spend("tdh_mem_track_ns")
        listing.row(Op.MMU_DROP_SHARED, offset=lock, next="vcpu")
        listing.label("writer")
        for _ in range(WRITER_REST):
            listing.spend("tdh_mem_track_ns")
        listing.begin("wait")
        listing.row(Op.MMU_TAKE_EXCLUSIVE, offset=lock)
        listing.end("wait")
        listing.row(Op.MMU_DROP_EXCLUSIVE, offset=lock)

    simulation = simulate_rows(write, readers + 1, 0.2, readers * hold_ns / load / 1e9, hold_ns)
    waits = span(simulation, "wait")
    count = waits[:record.BUCKETS].sum()
    assert count > 8_000
    found_ns, expected_ns = waits[record.SUM] / count / 10, hold_ns * (1 - (1 - np.exp(-load)) / load)
    assert found_ns == pytest.approx(expected_ns, rel=0.05)


@pytest.mark.parametrize("vcpus", [1, 4, 16])
def test_a_broadcast_waits_for_the_slowest_of_all(vcpus):
    """Each vCPU answers when its piece of work ends, and pieces are exponential: the mean wait is that mean times H(vcpus)."""
    work_ns = 1_000

    def write(listing, layout):
        listing.row(Op.TEST, register=R.ME, mask=-1, match=1, next="host", otherwise="work")
        listing.label("work")
        listing.spend("removal_interval_ns")
        listing.row(Op.LOAD, base=R.TDVPS, offset=0, width=64, mask=1, match=1, register=R.OLD, otherwise="vcpu")
        listing.row(Op.STORE, base=R.TDVPS, offset=0, width=64, source=R.ZERO, value=0, next="vcpu")
        listing.label("host")
        listing.spend("tdh_mem_track_ns")
        listing.begin("wait")
        for index in range(1, vcpus + 1):
            listing.row(Op.STORE, offset=layout.at("tdvps", index), width=64, source=R.ZERO, value=1)
        for index in range(1, vcpus + 1):
            listing.row(Op.WAIT_IS, offset=layout.at("tdvps", index), source=R.ZERO, mask=1, match=0)
        listing.end("wait")

    simulation = simulate_rows(write, vcpus + 1, 0.06, work_ns / 1e9, 3 * work_ns)
    waits = span(simulation, "wait")
    count = waits[:record.BUCKETS].sum()
    assert count > 5_000
    harmonic = sum(1 / number for number in range(1, vcpus + 1))
    assert waits[record.SUM] / count / 10 == pytest.approx(work_ns * harmonic, rel=0.05)
