"""What an actor is doing, and the locks it holds: for hangs, and for workers that were lost."""

from harness.experiment.plan import Plan
from harness.memory.block import Memory
from kernels.ops import OP_TABLE, Fact, Kind, Register as R


def where(plan: Plan, memory: Memory, actor) -> str:
    """What an actor is doing, and the locks it holds."""
    registers = memory.registers(actor.number)
    pc = int(registers[R.PC]) or int(registers[R.HALTED_AT])
    row = plan.program.listing[pc]
    held = [f"{lock} = {plan.layout.name_of(int(registers[lock.base]) + lock.offset)}" for lock in row.held]
    text = f"in {row.place}; it held {', '.join(held) or 'no lock'}"
    if OP_TABLE[row.op].kind == Kind.WAIT:
        word = plan.layout.name_of(int(registers[row.base]) + row.offset)
        text += f", and was waiting for {word} ({row.text})"
    elif Fact.TAKES in OP_TABLE[row.op].facts:
        text += f", and was taking {row.text}"
    return text
