"""What rows cost in their sequences: whole calls and flows, timed, and taken apart into a price for each kind of row.

A row alone in a loop takes longer than among others, as a processor works on several at once.  So a vCPU and a host thread
take turns (kernels/in_turn.py) through the flows of several policies, faults, removals and kicks, and are timed in blocks of
some turns, again and again, on one processor; each block's median counts, as the quickest are moments in which the machine was
faster than it is.  The same turns are executed once more to count the rows of each block by what their price goes by.  The
prices are what fits the times of all blocks best.

Rows come in much the same proportions everywhere, so the times alone do not tell all prices apart: a price is drawn
towards what the row takes alone, times what overlap leaves of all rows (`PULL`).
"""

from dataclasses import dataclass
from typing import Mapping

import numpy as np

from harness.experiment.config import Config
from harness.experiment.plan import make_plan
from harness.memory.block import Memory
from kernels import durations, in_turn
from kernels.dice import Dice
from kernels.ops import OP_TABLE, REGISTERS, Op, Price

BLOCK, BLOCKS = 2, 400           # turns of a block, one of each actor; blocks of a sequence
REPEATS = 20
PACE_MOST = 2                    # a block that takes longer than so many times its median has been interrupted
PULL = 0.2                       # how much a price's share of distance weighs against a block's
LEAST = 0.1                      # of what a row takes alone, less what overlap gives back: no row is free
SWEEPS = 400                     # of coordinate descent, by which the fit is found

KINDS = tuple(price for price in Price if price not in (Price.FREE, Price.ZEROING))
NEVER_NS = 10**12                # costs are not spent here, and no limit of time is reached

# The rows of a flow depend on the policy and on how touches and removals meet.
HOT, ONE = {"pattern": "hot", "hot_pages": 4, "accept_first": 0.9}, {"pattern": "hot", "hot_pages": 1, "hot_share": 1.0, "accept_first": 1.0}
FEW = {"pattern": "uniform", "pages": 8, "accept_first": 0.5}
SEQUENCES = (("kick_on_busy", HOT), ("kick_on_busy", ONE), ("kick_on_busy", FEW), ("kick_vcpus", HOT), ("kick_vcpus", FEW),
             ("resume_guest", ONE))


def make() -> list["Sequence"]:
    return [Sequence(policy, workload) for policy, workload in SEQUENCES]


class Sequence:
    """The turns of a vCPU and a host thread under a policy and a workload, to be executed as often as one likes."""

    def __init__(self, policy: str, workload: dict):
        self.plan = plan = make_plan(Config.model_validate({
            "name": "calibrate", "policy": policy, "module": "1.5.24", "td": {"vcpus": 1, "memory_mib": 2},
            "checks": {"exclusive_ownership": False}, "workload": {"hosts": 1, "removals_per_s": 0.0, **workload}}))
        self.memory = memory = Memory(plan.layout)
        for actor in plan.actors:
            memory.registers(actor.number)[:] = plan.start(actor)
        self.bytes = np.frombuffer(memory.block, np.uint8)
        self.image = self.bytes.copy()
        self.files = memory.view("registers", np.int64).reshape(len(plan.actors), REGISTERS)
        self.records = np.array([memory.base + plan.layout.at("records", actor.number) for actor in plan.actors])
        self.keys = np.array([plan.random_key(actor) for actor in plan.actors])
        self.answer_kinds = np.array([answer.kind for answer in plan.program.answers], np.int64)
        self.dice = Dice(0, *plan.choices, np.full(len(plan.costs_ns()) + 1, NEVER_NS), durations.logarithms())
        self.counts = np.zeros((BLOCKS, len(Op)), np.int64)              # of `count`
        self.rows = self._count()

    def run(self, driver) -> np.ndarray:
        """Execute all turns; returns ticks at the beginning of each block, int64 (BLOCKS,)."""
        stamps = np.zeros(BLOCKS, np.int64)
        ended = driver(self.plan.program.rows, self.files, self.memory.base, self.records, self.plan.tables, self.answer_kinds,
                       self.dice, self.keys, BLOCK, stamps, self.counts)
        assert ended == in_turn.DONE, "an actor has halted"
        return stamps

    def again(self) -> None:
        """Put everything back to the beginning."""
        self.bytes[:] = self.image

    def _count(self) -> np.ndarray:
        """Rows of each block by kind, (BLOCKS, KINDS)."""
        self.again()
        self.counts[:] = 0
        self.run(in_turn.counted)
        return self.counts @ np.array([[info.price == kind for kind in KINDS] for info in OP_TABLE], np.int64)

    def ticks(self) -> np.ndarray:
        """Ticks that each block but the last has taken, (REPEATS, BLOCKS - 1)."""
        return np.array([self._once() for _ in range(REPEATS)])

    def _once(self) -> np.ndarray:
        self.again()
        return np.diff(self.run(in_turn.timed))


@dataclass(frozen=True)
class Found:
    """Prices of rows in sequences.

    prices         ns of a row by kind
    overlap_share  what the rows take together, of what they would take one by one
    misfit_share   how far the prices are off a block, the median
    block_ns       how long a block takes, the median
    paces          of blocks: how many times their median they have taken
    """

    prices: dict[str, float]
    overlap_share: float
    misfit_share: float
    block_ns: float
    paces: np.ndarray


def measure(timed: list[Sequence], alone: Mapping[str, float], ticks_per_ns: float) -> Found:
    """Time all sequences; `alone` has ns of a row by kind, one after another in a loop."""
    rows, took, paces = [], [], []
    for sequence in timed:
        ticks = sequence.ticks()
        median = np.median(ticks, axis=0)
        paces.append(ticks / median)
        rows.append(sequence.rows[:-1])
        took.append(median / ticks_per_ns)
    before = np.array([alone[kind] for kind in KINDS])
    fitted, overlap = fit(np.concatenate(rows), np.concatenate(took), before)
    pace = np.concatenate([each.ravel() for each in paces])
    misfit = np.median(abs(np.concatenate(rows) @ fitted / np.concatenate(took) - 1))
    return Found({str(kind): float(price) for kind, price in zip(KINDS, fitted)}, overlap, float(misfit),
                 float(np.median(np.concatenate(took))), pace[pace <= PACE_MOST])


def fit(rows: np.ndarray, took: np.ndarray, alone: np.ndarray) -> tuple[np.ndarray, float]:
    """(prices, what overlap leaves): the prices, none below LEAST, that come nearest to rows @ prices = took, relatively.

    rows   (blocks, kinds)   took (blocks,)   alone (kinds,): what a row takes alone, above 0
    """
    overlap = float(np.median(took / (rows @ alone)))
    pulled = overlap * alone
    # In units of `pulled`; blocks together weigh 1, and so does each pull, times PULL.
    table = np.concatenate([rows * pulled / took[:, None] / np.sqrt(len(took)), PULL * np.eye(len(alone))])
    goal = np.concatenate([np.ones(len(took)) / np.sqrt(len(took)), np.full(len(alone), PULL)])
    square, side, found = table.T @ table, table.T @ goal, np.ones(len(alone))
    for _ in range(SWEEPS):
        for kind in range(len(found)):
            found[kind] = max(LEAST, found[kind] - (square[kind] @ found - side[kind]) / square[kind, kind])
    return found * pulled, overlap
