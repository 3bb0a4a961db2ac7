"""What a worker that was lost, or that hangs, was doing: said for each row of a program."""

from harness.engines.whereabouts import where
from harness.experiment.plan import make_plan
from harness.memory.block import Memory
from kernels.ops import OP_TABLE, Fact, Kind, Op, Register as R
from tests.stage import config


def test_at_each_row_it_is_said_where_that_is_what_is_held_and_what_is_being_taken():
    plan = make_plan(config(workload={"removal": "build"}))
    memory, actor, said = Memory(plan.layout), plan.actors[0], {}
    memory.registers(0)[:] = plan.start(actor)
    for pc, row in enumerate(plan.program.listing[1:], 1):
        memory.registers(0)[R.PC] = pc
        said.setdefault(row.op, []).append((row, where(plan, memory, actor)))
    for op, texts in said.items():
        for row, text in texts:
            assert text.startswith(f"in {row.call or row.flow}; it held {'no lock' if not row.held else row.held[0]}")
            assert ("was waiting for" in text) == (OP_TABLE[op].kind == Kind.WAIT)
            assert ("was taking" in text) == (Fact.TAKES in OP_TABLE[op].facts and "waiting" not in text)
    assert {Op.MUTEX_TAKE, Op.HP_TAKE_OVER_PRIORITY, Op.ENTRY_TAKE, Op.MMU_TAKE_EXCLUSIVE} <= set(said)
    [(_, text), *_] = said[Op.MMU_TAKE_EXCLUSIVE]
    assert "waiting for mmu_lock" in text
