"""The processes of a litmus test as rows, one program for all of them, with the module's calls and KVM's flows that they use."""

import re
from typing import TYPE_CHECKING

import numpy as np
from pycparser import c_ast

from harness.experiment import litmus_refused
from harness.experiment.litmus_processes import parameters
from harness.experiment.litmus_start import CONSTANTS
from harness.experiment.scenario import calls_of
from harness.memory.layout import VARIABLE
from harness.protocol import releases
from harness.protocol.assemble import Program
from harness.protocol.call import Options
from harness.protocol.flows import write_flows
from harness.protocol.flows.flow import Flow
from harness.protocol.flows.script import write_leave
from harness.protocol.litmus import interrupts, locks, scripted, tdx, types
from harness.protocol.litmus.assertions import static_assert
from harness.protocol.litmus.body import Body, Value, World
from harness.protocol.litmus.statements import function
from harness.protocol.seamcalls import write_call, write_calls
from kernels.ops import OP_TABLE, REGISTERS, Op, Order, Register as R, registers_of

if TYPE_CHECKING:
    from harness.experiment.litmus import Test

PROCESS = "process"              # the span of one process
SCRIPT = "script"                # where the rows of a process in C are
END = ".over"                    # behind a process's name: the label of its last row
RESULT = "result."               # before the words in which a process leaves its locals
# Registers that calls need besides those that their rows name.
TAKEN_BY_CALLS = {R.STATUS, R.ANSWER, R.CALL, R.LEVEL, R.LINK, R.PAGE, R.GUEST_PAGE, R.CONTENT, R.CURSOR, R.OLD, R.KICK, R.TD, R.TD_HPA,
                  *range(R.TDR_4K, R.KICK + 1), R.ENTRY_PT, R.ENTRY_PD, R.ENTRY_PDPT, R.ENTRY, R.TARGET_4K, R.TARGET_2M,
                  R.TARGET_1G, R.HPA, R.CHILDREN, R.MIRROR, R.WBT, R.KET, R.PACKAGE, R.KOT_ENTRY, R.ROLE, R.OUTCOMES, R.RESUME,
                  R.RETURN, R.PAMT, R.NODE}
TAKEN = {R.LOST_SWAPS, R.ZERO, R.SINK, R.PC, R.ME, R.STOPPING, R.DRAWS, R.HALTED_AT, R.TD}


def write(test: "Test") -> tuple[Program, dict, dict]:
    """All processes as rows.  Raises LitmusError."""
    layout = test.layout
    flow, free = _surroundings(test)
    listing = flow.listing
    if test.timed:
        listing.declared_spans = {**listing.declared_spans, PROCESS: "one process, from its begin to its end"}
    variables = {each.name: (each.type, test.at(each.name)) for each in test.variables}
    regions = [region for region in layout.regions if region.name.startswith(VARIABLE)]
    nodes = {node.decl.name: node for node in test.tree.ext if isinstance(node, c_ast.FuncDef)}
    constants = CONSTANTS | tdx.constants()
    world = World(test.text, test.structs, listing, variables, min((each.offset for each in regions), default=0),
                  max((each.end for each in regions), default=0),
                  {name: node for name, node in nodes.items() if not re.fullmatch(r"P\d+", name)}, free,
                  tdx.called(test.tree), constants, len(test.scripts), test.file_scope, litmus_refused.noted(test),
                  {name: test.at(name) for name in test.of_vm}, tdx.Calls(flow.options, flow, test.file.crossed) if test.of_td else None)
    for node in test.tree.ext:
        if isinstance(node, c_ast.StaticAssert):
            static_assert(Body(world, 0), node)
    registers, held = {}, {}
    for place, script in enumerate(test.scripts):
        if script.flow is not None:
            continue
        body, node = Body(world, place), nodes[script.label]
        for one, other in test.interrupts:
            if place == other:
                body.gate = test.at(f"{interrupts.IRQ}{other}")
            elif place == one:
                body.interrupts = test.at(f"{interrupts.IRQ}{other}")
        arguments = {name: Value(types.pointer(variables[name][0] if variables[name][0].kind != "array" else variables[name][0].to),
                                 constant=variables[name][1])
                     for name, _ in parameters(test.structs, node)}
        with listing.within(flow=SCRIPT):
            listing.label(script.label)
            _write_process(test, body, node, arguments)
            listing.flush()
        registers |= {(place, name): local.register for name, local in body.kept.items()}
        if locks.HELD in body.notes:
            held[place] = body.notes[locks.HELD], {lock: (shift, locks.MOST) for lock, shift in body.held.items() if shift < 64}
    for process, local, _ in test.registers:
        if (process, local) not in registers:
            raise test.text.error(test.text.init.start, f"`{process}:{local}`: P{process} has no such local")
    if test.of_td:
        write_calls(listing, flow.options, list(dict.fromkeys(flow.calls)))
        for name in test.parts:
            write_call(listing, tdx.PARTS[name], flow.options, tdx.PARTS[name].levels[-1])
    if test.parts_of_flows:
        scripted.write(listing, list(test.parts_of_flows.values()), PROCESS)
    return listing.program(), registers, held


def _write_process(test: "Test", body: Body, node: c_ast.FuncDef, arguments: dict[str, Value]) -> None:
    """A process; at its end it leaves the locals that are shown in words of their own."""
    out = body.fresh("end")
    if test.timed:
        body.listing.begin(PROCESS)
    if body.interrupts is not None:
        interrupts.begin(body)
    function(body, node, arguments, out, None)
    body.label(out)
    if body.interrupts is not None:
        interrupts.end(body)
    if test.timed:
        body.listing.end(PROCESS)
    for name in test.shown:
        process, _, local = name.rpartition(":")
        if test.leaves and process == str(body.number):
            body.listing.row(Op.STORE, text=name, offset=test.at(f"{RESULT}{name}"), source=body.kept[local].register)
    body.label(f"{node.decl.name}{END}")
    body.listing.row(Op.STOP, text="the end")


def _surroundings(test: "Test") -> tuple[Flow, tuple[int, ...]]:
    """(what the module's calls and KVM's flows are written with, the registers that they leave to processes)."""
    release = releases.find(test.module)
    options = Options(test.layout, test.primitive, True, release=release, attribution=False)
    if not test.of_td:
        return (Flow(options, test.policy, test.hosts, 0, 1.0, False),
                tuple(number for number in range(REGISTERS) if number not in TAKEN))
    rows = calls_of(test.module)
    scratch = Flow(options, test.policy, test.hosts, 0, 1.0, False)
    write_calls(scratch.listing, options, [(name, level) for name in test.calls for level in rows[name].levels])
    for name in test.parts:
        write_call(scratch.listing, tdx.PARTS[name], options, tdx.PARTS[name].levels[-1])
    used = used_registers(scratch.listing.program()) | TAKEN_BY_CALLS
    if test.uses_flows:
        flow = write_flows(options, test.policy, test.hosts, accept_first=1.0)
        used |= used_registers(flow.listing.program())
        flow = write_flows(options, test.policy, test.hosts, accept_first=1.0, write_all=False)
        write_leave(flow)
    else:
        flow = Flow(options, test.policy, test.hosts, 0, 1.0, False)
    return flow, tuple(number for number in range(REGISTERS) if number not in TAKEN | used)


def own_accesses(program: Program, shown: tuple[str, ...]) -> np.ndarray:
    """bool (rows,): the accesses of the file's own lines, not those within a call or a flow, nor of locals that are left (`shown`)."""
    return np.array([row.flow == SCRIPT and not row.call and row.text not in shown and OP_TABLE[row.op].order != Order.NONE
                     for row in program.listing])


def used_registers(program: Program) -> set[int]:
    """All registers that a program's rows read or write."""
    used = set()
    for row in program.rows:
        info = OP_TABLE[row["op"]]
        used |= registers_of(row, (*info.reads, *info.writes, *info.may_write, "base", "register", "source"))
    return used
