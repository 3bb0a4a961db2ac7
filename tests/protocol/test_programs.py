"""Programs as they are linked: every row can be reached, what cannot be is refused, one config is always one program."""

import pytest

from harness.experiment.plan import make_plan
from harness.protocol.assemble import AssemblyError, Listing
from harness.protocol.policies import POLICIES
from kernels.ops import OP_TABLE, Kind, Op
from tests.scene import label_at
from tests.stage import config

WORKLOADS = ({}, {"removal": "conversion", "removal_pages": 8, "may_sleep": False}, {"removal": "memslot_delete"},
             {"removal": "teardown"}, {"map_gpa_share": 0.1, "map_gpa_retries": 3}, {"string_pages": 8},
             {"spammers": 1}, {"removal": "build"}, {"migrate_share": 0.1})


@pytest.mark.parametrize("policy, workload, owners", [
    *((policy.name, {}, True) for policy in POLICIES), ("kick_on_busy", {}, False), ("spinlock_vm", {}, False),
    *(("kick_on_busy", workload, True) for workload in WORKLOADS[1:]),
    *((name, WORKLOADS[2], True) for name in ("kick_on_busy_618", "mmu_local2")),
])
def test_every_row_of_a_program_can_be_reached(policy, workload, owners):
    plan = make_plan(config(policy, restart_on_bug=True, checks={"exclusive_ownership": owners},
                            workload=workload, costs_ns={"invalidate": 1000}))
    program, reached = plan.program, set()
    targets = {row.value for row in program.listing if isinstance(row.value, str)}
    todo = [program.labels[name] for name in ("vcpu", "host", "fault.retry", "td_exit", *program.calls, *targets)]
    while todo:
        pc = todo.pop()
        if pc in reached:
            continue
        reached.add(pc)
        row, entry = program.listing[pc], program.rows[pc]
        if OP_TABLE[row.op].outcomes:
            todo.append(int(entry["next"]))
        if row.otherwise:
            todo.append(int(entry["otherwise"]))
        if row.priority:
            todo.append(int(entry["priority"]))
    unreached = [f"{pc}: {program.listing[pc].op.name} {program.listing[pc].text} near {label_at(program, pc)}"
                 for pc in range(1, len(program.rows)) if pc not in reached]
    assert not unreached


def test_a_row_makes_at_most_one_shared_access():
    """By its kind: only ops listed as SHARED or WAIT touch shared words, and each calls one access."""
    assert {info.kind for info in OP_TABLE} == set(Kind)
    assert all(info.text for info in OP_TABLE)


@pytest.mark.parametrize("write, message", [
    (lambda listing: listing.row(Op.ENTRY_TAKE), "no target for `otherwise`"),
    (lambda listing: listing.row(Op.STORE, otherwise="x"), "an outcome it does not have"),
    (lambda listing: listing.row(Op.HP_TAKE_SHARED, otherwise="x"), "no target for `priority`"),
    (lambda listing: listing.row(Op.LET, next="nowhere"), "no label 'nowhere'"),
    (lambda listing: listing.row(Op.LET), "runs off the end"),
    (lambda listing: (listing.label("x"), listing.label("x")), "defined twice"),
    (lambda listing: listing.label("x"), "names no row"),
    (lambda listing: listing.release("SEPT_TREE"), "not held"),
])
def test_the_linker_refuses_programs_that_cannot_be(write, message):
    listing = Listing()
    with pytest.raises(AssemblyError, match=message):
        write(listing)
        listing.program()


def test_plans_from_one_config_are_the_same_bit_for_bit():
    one, other = make_plan(config(seed=7)), make_plan(config(seed=7))
    assert one.program.rows.tobytes() == other.program.rows.tobytes()
    assert one.choices.thresholds.tobytes() == other.choices.thresholds.tobytes()
    assert [one.random_key(actor) for actor in one.actors] == [other.random_key(actor) for actor in other.actors]
    assert one.random_key(one.actors[0]) != make_plan(config(seed=8)).random_key(one.actors[0])
