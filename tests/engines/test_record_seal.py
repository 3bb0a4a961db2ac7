"""A worker's record is missing, torn, whole or damaged."""

from harness.engines.processes import record_seal
from harness.experiment.plan import make_plan
from harness.memory.block import Memory
from tests.stage import config


def test_a_record_is_missing_torn_whole_or_damaged():
    plan = make_plan(config())
    memory = Memory(plan.layout)
    record = memory.record(0)
    assert record_seal.state(record, plan.tables) == record_seal.MISSING
    record_seal.begin(record, plan.tables)
    record[plan.tables.attempts] = 5
    assert record_seal.state(record, plan.tables) == record_seal.TORN
    record_seal.end(record, plan.tables)
    assert record_seal.state(record, plan.tables) == record_seal.WHOLE
    for word in (0, plan.tables.half, plan.tables.seal - 1):
        record[word] ^= 1
        assert record_seal.state(record, plan.tables) == record_seal.DAMAGED
        record[word] ^= 1
    assert record_seal.state(record, plan.tables) == record_seal.WHOLE
