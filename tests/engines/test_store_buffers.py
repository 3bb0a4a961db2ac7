"""Store buffers in the search of scenarios: with and without each reduction, and what they show.

tests/engines/test_tso.py holds this search against the one of litmus tests.
"""

from dataclasses import replace

import numpy as np
import pytest

from harness.engines.explore import search
from harness.engines.explore.tables import HALTED
from harness.engines.replay.steps import execute
from harness.experiment import litmus
from harness.experiment.scenario_file import load, parse
from harness.experiment.schedule import Schedule
from harness.protocol import store_buffers
from harness.results.litmus import judge
from kernels.moves import DRAIN, HOLD
from kernels.ops import OP_TABLE, Op, Order
from tests.command_line import ROOT, command

SCENARIOS = ROOT / "configs/explore"


def under_tso(test: litmus.Test) -> litmus.Test:
    return replace(test, file=test.file.model_copy(update={"memory_model": "tso"}))


def says(found) -> tuple:
    """What a user reads of a verdict: outcomes, what is violated, answers."""
    return ({(ending.kind, ending.answers, ending.words) for ending in found.endings}, set(found.violations), found.answered,
            found.entries)


def verdict(found) -> tuple:
    """The same, but for how far the others had come when the module halted: that differs by how fine the steps are, under sequential
    consistency too (with --no-reduction)."""
    return ({(ending.kind, *((ending.answers, ending.words) if ending.kind != HALTED else
                             (tuple(answer == ("HALT",) for answer in ending.answers),))) for ending in found.endings}, *says(found)[1:])


WORLDS = {
    "a removal": ({"vcpu0": {"touch": [3]}, "host0": {"remove": [3]}},
                  {"policy": "kick_vcpus", "start": {"pages": {"3": "MAPPED"}}}),
    "a plain store of the module's": ({"vcpu0": "tdg_mem_page_accept 3", "host0": "tdh_mem_range_block 3"},
                                      {"start": {"pages": {"3": "PENDING"}}}),
    "alike": ({"host0": "tdh_mem_page_aug 3", "host1": "tdh_mem_page_aug 3"}, {}),
}


@pytest.mark.parametrize("name", WORLDS)
def test_no_reduction_changes_what_is_found(name, monkeypatch):
    actors, keys = WORLDS[name]
    [scenario] = parse({"actors": actors, "memory_model": "tso"} | keys, "test")
    found = search.run(scenario)
    assert found.complete and found.states > 10
    if name != "a removal":
        assert says(search.run(scenario, reduce=False)) == says(found)
    assert says(search.run(scenario, symmetry=False)) == says(found)
    # Every store that is plain waits, also where it makes no difference.
    plain = np.array([OP_TABLE[op].order for op in scenario.program.rows["op"]], np.int64)
    monkeypatch.setattr("harness.experiment.world.orders", lambda *_: plain)
    whole = search.run(scenario)
    assert says(whole) == says(found) and whole.states >= found.states


def test_without_its_barrier_kvms_entry_loses_a_kick():
    """The shortest way: the vCPU's mode waits in its buffer while the host looks for vCPUs to interrupt; and with it, no way."""
    [broken] = load(SCENARIOS / "no_entry_barrier.toml", ["1.5.24"])
    found = search.run(broken)
    assert found.complete and set(found.violations) == {"no_bug", "barred_retry"}
    turns = found.violations["barred_retry"]
    held = next(place for place, turn in enumerate(turns) if turn.actor == 0 and turn.branch == HOLD)
    drained = next(place for place, turn in enumerate(turns) if turn.actor == 0 and turn.branch == DRAIN)
    assert held < drained
    accesses, final = execute(Schedule(broken, turns))
    texts = [access.text for access in accesses if access.word]
    looked = next(place for place, text in enumerate(texts) if "in the guest: IPI" in text)
    assert texts.index("store vcpu->mode = IN_GUEST_MODE: held back") < looked < texts.index("its store arrives")
    read = Schedule.from_json(Schedule(broken, turns, final=final).as_json())
    assert read.scenario.tso and execute(read) == (accesses, final)
    mended = replace(broken, file=broken.file.model_copy(update={"busted": [], "must_violate": []}))
    assert search.run(mended).violations == {}


# A split writes the words of 512 parts by plain stores, and a plain load comes before the next locked instruction.
MORE_THAN_A_BUFFER_HOLDS = "accept_parts"


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted(path for path in SCENARIOS.glob("**/*.toml")
                                              if path.stem != "no_entry_barrier" and path.parent.name != "large"),
                         ids=lambda path: path.stem)
def test_every_shipped_scenario_comes_to_the_same_under_both_models(path):
    """The same outcomes, answers and violations: docs/exploring.md says so."""
    for scenario in load(path):
        weak = replace(scenario, file=scenario.file.model_copy(update={"memory_model": "tso"}))
        strong, found = search.run(scenario), search.run(weak)
        assert strong.complete, (scenario.name, scenario.module)
        if path.stem == MORE_THAN_A_BUFFER_HOLDS:
            assert "store buffer" in found.stopped and verdict(found)[0] <= verdict(strong)[0]
            continue
        assert found.complete and verdict(found) == verdict(strong), (scenario.name, scenario.module)


def order_of(listing_text: str, program, orders) -> set:
    return {Order(order) for order, row in zip(orders, program.listing) if row.text == listing_text}


def test_a_store_waits_only_where_a_plain_load_may_overtake_it():
    [scenario] = load(SCENARIOS / "no_entry_barrier.toml", ["1.5.24"])
    program = scenario.program
    orders = store_buffers.orders(program)
    assert order_of("vcpu->mode = IN_GUEST_MODE", program, orders) == {Order.STORE}
    assert order_of("vcpu->mode = OUTSIDE_GUEST_MODE", program, orders) == {Order.LOCKED}         # srcu_read_lock follows
    assert Order.STORE in order_of("mmu_lock", program, orders)                                   # write_unlock, then vm_dead
    [fenced] = load(SCENARIOS / "no_entry_barrier.toml", ["1.5.24"], keys={"busted": [], "must_violate": []})
    program = fenced.program
    assert order_of("vcpu->mode = IN_GUEST_MODE", program, store_buffers.orders(program)) == {Order.LOCKED}
    drains, runs_on = (store_buffers.orders(program, drains) for drains in (True, False))
    changed = {Op(row["op"]) for row, one, other in zip(program.rows, drains, runs_on) if one != other}
    assert {Op.CALL_BEGIN, Op.CALL_END} <= changed


LOOKS_FIRST = """C accept-looks-first
{ module = 1.5.34; page 3 = PENDING; word "sept.0 3" = 0x81100400000030f0; int x = 0; }
P0(int *x) { u64 err; WRITE_ONCE(*x, 1); err = tdg_mem_page_accept(0x3000, 0); }
P1(int *x) { u64 err; int r1; err = tdh_mem_range_block(td, 0x3000, 0, NULL, NULL); r1 = READ_ONCE(*x); }
exists (0:err=TDX_OPERAND_BUSY /\\ 1:err=TDX_SUCCESS /\\ 1:r1=0)
"""


@pytest.mark.parametrize("keys, answer", [
    ({"memory_model": "sc"}, "Never"), ({"memory_model": "tso"}, "Never"), ({"memory_model": "tso", "seamcall_drains": False}, "Sometimes")])
def test_a_store_in_front_of_a_call_waits_in_it_only_if_calls_do_not_drain(keys, answer):
    """ACCEPT sees the host's priority by a plain load, and takes nothing; the guest's own store before it is not there yet."""
    test = litmus.parse(LOOKS_FIRST, "x.litmus")
    test = replace(test, file=test.file.model_copy(update=keys))
    found = search.run(test)
    assert found.complete and judge(test, found.endings).observation == answer


def test_orders_are_of_the_machines_instructions():
    """write_unlock is a byte store, what is priced as locked is locked, and no row that touches shared words has no order."""
    table = {info.op: info.order for info in OP_TABLE}
    assert table[Op.MMU_DROP_EXCLUSIVE] == Order.STORE and table[Op.MMU_DROP_SHARED] == Order.LOCKED
    assert table[Op.FENCE] == table[Op.ZERO_PAGE] == Order.LOCKED and table[Op.STORE] == Order.STORE
    assert table[Op.WAIT_IS] == table[Op.HP_CHECK_EXCLUSIVE] == Order.LOAD and table[Op.TEST] == Order.NONE


def test_a_buffer_grows_as_far_as_a_program_fills_it_and_a_limit_is_said(monkeypatch, capsys, tmp_path):
    stores = " ".join(f"WRITE_ONCE(*x, {number});" for number in range(1, 8))
    text = f"C x\n{{ int x = 0; int y = 0; }}\nP0(int *x, int *y) {{ int r0; {stores} r0 = READ_ONCE(*y); }}\n" \
           "P1(int *x, int *y) { int r1; WRITE_ONCE(*y, 1); r1 = READ_ONCE(*x); }\nexists (0:r0=0 /\\ 1:r1=0)\n"
    test = under_tso(litmus.parse(text, "x.litmus"))
    found = search.run(test)
    assert found.complete and found.buffered == 7 and judge(test, found.endings).observation == "Sometimes"
    monkeypatch.setattr("harness.engines.explore.tables.BUFFER_MOST", 4)
    cut = search.run(test)
    assert not cut.complete and "store buffer" in cut.stopped
    (tmp_path / "x.litmus").write_text(text.replace("exists", "~exists"))        # of which it has seen nothing
    code, out, _ = command(capsys, "explore", tmp_path / "x.litmus", "--memory-model", "tso", "--out", tmp_path)
    assert code == 3 and out.splitlines()[-1] == "1 litmus test: 0 passed, 0 failed, 1 not searched completely"
