"""Every op that `step` leaves to a driver, under every driver: one program, and the same comes of it.

The program is of one host.  It ends in STOP; the second one ends in HALT.  In real and in virtual time it is run by
the whole engine's driver, and for the search by `take`.
"""

from typing import NamedTuple

import numpy as np
import pytest

from harness.engines.processes.worker import Drive
from harness.engines.simulate.simulation import Simulation
from harness.experiment import plan as plans
from harness.memory.block import Memory
from harness.protocol import contexts
from harness.protocol.assemble import Listing
from kernels import marks, moves, realtime, record, symmetry
from kernels.answers import AnswerKind
from kernels.ops import OP_TABLE, Kind, Op, Register as R
from kernels.record import HISTOGRAM
from kernels.words import status
from tests.stage import config

BUSY = status("TDX_OPERAND_BUSY", "RCX")
DRIVEN = {info.op for info in OP_TABLE if info.kind == Kind.DRIVER}


def program(end: Op, rebuilds: bool):
    """All ops of a driver, one after the other; what is decided goes into registers of its own."""
    listing = Listing()
    call = listing.call_number("tdh_mem_track")
    listing.label("vcpu")
    listing.row(Op.STOP)
    listing.label("host")
    listing.row(Op.POLL)
    listing.label("early")
    listing.arrive("removal_since_intended", "removal_interval_ns", otherwise="early")
    for answer, kind in ((BUSY, AnswerKind.BUSY), (BUSY, AnswerKind.BUSY), (0, AnswerKind.SUCCESS),
                         (BUSY, AnswerKind.BUSY)):
        listing.row(Op.CALL_BEGIN, value=call)
        listing.answer(answer, kind)
        listing.row(Op.CALL_END)
    listing.row(Op.SETTLE, value=call)
    listing.row(Op.BUG)
    listing.count("host_priority.set")
    listing.begin("removal")
    listing.begin("fault")
    listing.begin_with("split", "removal")
    listing.spend("1000 ns")
    listing.row(Op.YIELD)
    listing.overdue(R.OLD, "fault", "500 ns")
    listing.choose(R.COIN, "split")
    for span in ("fault", "split", "removal", "removal"):
        listing.end(span)
    if rebuilds:
        listing.count_in("host_priority.rebuilt_over", Op.RESET, base=R.TD, mask=8)
    listing.row(Op.LET, register=R.INDEX, value=7, next="halt" if end == Op.HALT else None)
    if end == Op.STOP:
        listing.row(Op.STOP)
    return listing.program()


class Came(NamedTuple):
    """What a driver has made of the program."""

    end: Op
    registers: np.ndarray
    half: np.ndarray             # what was counted


def make_plan(monkeypatch, engine: str, end: Op) -> plans.Plan:
    monkeypatch.setattr(plans, "_program", lambda config, layout: program(end, rebuilds=True))
    workload = {"hosts": 1, "removal": "split", "removals_per_s": 1e9}
    return plans.make_plan(config(engine=engine, td={"vcpus": 1, "memory_mib": 8}, workload=workload, warmup_s=0.0))


def in_real_time(monkeypatch, end: Op) -> Came:
    plan = make_plan(monkeypatch, "processes", end)
    memory, host = Memory(plan.layout), plan.actors[1]
    memory.registers(host.number)[:] = plan.start(host)
    memory.set_word(realtime.PHASE, marks.MEASURED)
    ended = Drive(plan, memory, 1.0, False)(host)
    return Came({realtime.DONE: Op.STOP, realtime.HALTED: Op.HALT}[ended], memory.registers(host.number),
                memory.record(host.number)[plan.tables.half:][:plan.tables.half])


def in_virtual_time(monkeypatch, end: Op) -> Came:
    simulation = Simulation(make_plan(monkeypatch, "simulate", end))
    simulation.run()
    return Came(Op.HALT if simulation.halt else Op.STOP, simulation.registers[1], simulation.halves[0, 1])


def as_a_search_does(monkeypatch, end: Op) -> Came:
    code, registers, second = program(end, rebuilds=False), np.zeros(len(R), np.int64), 1
    at = record.tables(len(code.calls), len(code.answers), len(code.counters), len(code.spans))
    own, memory = np.zeros(at.words, np.int64), np.zeros(8, np.int64)
    world = moves.World(
        rows=code.rows, live=np.full(len(code.rows), -1), contexts=contexts.none(len(code.rows)), base=memory.ctypes.data, start=memory.copy(),
        scripts=np.array([[0, 1]]), values=np.array([1]), branches=np.zeros(1, np.int64), timeouts=2,
        leave=np.zeros(1, np.int64), alike=np.zeros((1, len(symmetry.COLUMNS)), np.int64), order=np.zeros(1, np.int64),
        own=own.ctypes.data, at=at,
        answer_kinds=np.array([answer.kind for answer in code.answers]), violations=np.zeros(0, np.int64))
    registers[R.PC] = code.labels["host"]
    noted = np.zeros((100, len(moves.NOTED)), np.int64)
    executed = moves.take(world, registers, 0, second, len(noted), noted)
    assert executed < len(noted)
    return Came(Op(code.rows["op"][registers[R.PC]]), registers, own[at.half:][:at.half])


DRIVERS = {driver.__name__: driver for driver in (in_real_time, in_virtual_time, as_a_search_does)}


@pytest.mark.parametrize("driver", DRIVERS.values(), ids=DRIVERS)
@pytest.mark.parametrize("end", [Op.STOP, Op.HALT], ids=["stop", "halt"])
def test_every_op_of_a_driver_comes_to_the_same_under_every_driver(monkeypatch, driver, end):
    came = driver(monkeypatch, end)
    code = program(end, rebuilds=True)
    at = record.tables(len(code.calls), len(code.answers), len(code.counters), len(code.spans))
    assert {row.op for row in code.listing} >= DRIVEN
    assert came.end == end
    assert came.registers[[R.OLD, R.COIN, R.INDEX]].tolist() == [1, 1, 7]
    assert came.half[at.attempts] == 4 and came.half[at.answered:][:2].tolist() == [1, 3]
    assert came.half[at.operations] == came.half[at.contended] == 2
    assert came.half[at.bugs:][:2].tolist() == [0, 1]
    assert came.half[at.counters] == 1 and code.counters[0] == "host_priority.set"
    spans = {name: int(came.half[at.spans + number * HISTOGRAM:][:HISTOGRAM - 2].sum())
             for number, name in enumerate(code.spans)}
    timed = 0 if driver is as_a_search_does else 1           # a search has no time, so nothing lasts
    assert spans == {"removal_since_intended": 0, "removal": timed, "fault": timed, "split": timed}


def test_a_span_that_began_with_another_has_lasted_as_long_in_real_and_in_virtual_time(monkeypatch):
    for driver in (in_real_time, in_virtual_time):
        came, code = driver(monkeypatch, Op.STOP), program(Op.STOP, rebuilds=True)
        at = record.tables(len(code.calls), len(code.answers), len(code.counters), len(code.spans))
        longest = {name: int(came.half[at.spans + number * HISTOGRAM + record.MAX])
                   for number, name in enumerate(code.spans)}
        assert longest["split"] >= longest["fault"] > 0
