"""C litmus tests as scenarios: a .litmus file -> the small world that `explore` searches.

    C SB
    { int x = 0; int y = 0; }
    P0(int *x, int *y) { int r0; WRITE_ONCE(*x, 1); r0 = READ_ONCE(*y); }
    P1(int *x, int *y) { int r0; WRITE_ONCE(*y, 1); r0 = READ_ONCE(*x); }
    exists (0:r0=0 /\\ 1:r0=0)

The initial state says values as herd7 has them.  A final state is what the names of the condition and
of `locations` come to.  Locals are registers; a search looks at those of a process that has ended, in other
runs (`leaves`) it leaves the locals that are named in words of their own when it ends.
"""

import functools
import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from pycparser import c_ast

from harness.errors import UsageError, nearest
from harness.experiment.plan import Actor
from harness.experiment import scenario_file
from harness import files
from harness.experiment.litmus_start import CONSTANTS, INTERRUPTS, Variable, initial
from harness.experiment.scenario import PAGES, Scenario, Script, calls_of
from harness.memory.block import Memory
from harness.memory.layout import VARIABLE, Layout
from harness.protocol.assemble import Program
from harness.protocol.litmus import conditions, interrupts, kvm, locks, rcu, scripted, source, tdx, types
from harness.protocol.litmus.body import REGISTER, Body, Value, World, spelled
from harness.protocol.litmus.statements import function
from harness.protocol.litmus.text import LitmusError, Text, take_apart
from harness.protocol.litmus.types import Type
from harness.protocol.call import Options
from harness.protocol.flows import write_flows
from harness.protocol.flows.flow import Flow
from harness.protocol.flows.pamt import RANGES
from harness.protocol.flows.script import LEAVE, write_leave
from harness.protocol.liveness import live_registers
from harness.protocol import releases
from harness.protocol.seamcalls import write_call, write_calls
from kernels.ops import OP_TABLE, REGISTERS, Kind, Op, Register as R, registers_of
from kernels.moves import ACTORS_MAX
from kernels.words import EXIT_REASONS, STATUS_CLASS, STATUSES, signed, spell_entry, unsigned

PROCESS = "process"              # the span of one process
END = ".over"                    # behind a process's name: the label of its last row
RESULT = "result."               # before the words in which a process leaves its locals
BYTES_MOST = 1 << 20
GIVEN = ("module", "policy", "memory_model", "seamcall_drains")  # keys of the initial state that a command may give instead
# Registers that mean something to rows of a process that makes no calls.
TD_WORDS = {"kick", "KVM_BUG_ON", "kvm_make_all_cpus_request", "enter_guest_mode", "leave_guest_mode", "kvm_request_pending",
            "kvm_make_request", "kvm_check_request", "kvm_test_request", "vcpu_mode", tdx.TD_EXIT}
TD_CALLS = ("tdh_", "tdg_")      # how calls of the module begin, also ones that there are not
# Registers that calls need besides those that their rows name.
TAKEN_BY_CALLS = {R.STATUS, R.ANSWER, R.CALL, R.LEVEL, R.LINK, R.PAGE, R.GUEST_PAGE, R.CONTENT, R.CURSOR, R.OLD, R.KICK, R.TD, R.TD_HPA,
                  *range(R.TDR_4K, R.KICK + 1), R.ENTRY_PT, R.ENTRY_PD, R.ENTRY_PDPT, R.ENTRY, R.TARGET_4K, R.TARGET_2M,
                  R.TARGET_1G, R.HPA, R.CHILDREN, R.MIRROR, R.WBT, R.KET, R.PACKAGE, R.KOT_ENTRY, R.ROLE, R.OUTCOMES, R.RESUME,
                  R.RETURN, R.PAMT, R.NODE}
TAKEN = {R.LOST_SWAPS, R.ZERO, R.SINK, R.PC, R.ME, R.STOPPING, R.DRAWS, R.HALTED_AT, R.TD}


class StatusClass(int):
    """A status that a condition names: whichever operand an answer gives beside it."""

    def __eq__(self, other) -> bool:
        return isinstance(other, int) and (other & STATUS_CLASS if self else other) == int(self) & STATUS_CLASS

    __hash__ = int.__hash__


@dataclass(frozen=True)
class Process(Script):
    """A process as a script of the search: its program begins at its name."""

    @property
    def label(self) -> str:
        return self.actor.kind if self.flow is not None else self.actor.name


@dataclass(frozen=True)
class Test(Scenario):
    """A litmus test as a small world."""

    text: Text = None
    variables: tuple[Variable, ...] = ()
    tree: c_ast.FileAST = field(default=None, repr=False)
    proposition: object = None
    filter: object = None
    shown: tuple[str, ...] = ()              # names of a final state, in the order in which they are printed
    registers: tuple[tuple[int, str, object], ...] = ()      # (process, local, value) at the start
    structs: source.Structs = None
    interrupts: tuple[tuple[int, int], ...] = ()             # (process, the one that it interrupts)
    file_scope: frozenset[str] = frozenset()                 # shared words that are declared between the processes
    timed: bool = False                      # whether its rows say how long each process takes (span PROCESS)
    leaves: bool = False                     # whether a process leaves the locals that are shown in memory when it ends

    may_never_end = True

    # --- as a scenario ---

    def locks_held(self, memory: Memory) -> int:
        return sum(memory.word(self.at(each.name, word)) != 0 for each in self.variables for word in types.lock_words(each.type))

    @property
    def uses_flows(self) -> bool:
        return any(script.flow is not None for script in self.scripts)

    @functools.cached_property
    def calls(self) -> tuple[str, ...]:
        """The module's calls that the file makes."""
        return tuple(sorted({row for name in _called(self.tree) for row in tdx.rows_of(name)} & set(calls_of(self.module))))

    @functools.cached_property
    def parts(self) -> tuple[str, ...]:
        """The parts of calls that use a page and give it back, which the file calls (Dynamic PAMT)."""
        return tuple(sorted(_called(self.tree) & set(tdx.PARTS))) if self.file.dynamic_pamt else ()

    @functools.cached_property
    def of_td(self) -> bool:
        """Whether there is a TD in this world at all."""
        called = _called(self.tree)
        return bool(self.parts or self.uses_flows or called & TD_WORDS or self.pages or any(name.startswith(TD_CALLS) for name in called))

    @functools.cached_property
    def layout(self) -> Layout:
        words = [(each.name, [types.word_name(each.type, word) for word in range(each.type.words)])
                 for each in self.variables if each.name not in self.of_vm]
        words += [(f"{RESULT}{name}", [""]) for name in self.shown if ":" in name]
        pages = PAGES * (RANGES if self.file.dynamic_pamt else 1)
        return Layout(self.vcpus, self.vcpus + self.hosts, pages, record_words=0, content_bytes=8, variables=words,
                      dynamic_pamt=self.file.dynamic_pamt)

    @functools.cached_property
    def of_vm(self) -> set[str]:
        """Shared words of the file that are the VM's own, at which KVM's flows look too."""
        return {each.name for each in self.variables if each.name == tdx.BAR} if self.of_td else set()

    def at(self, name: str, word: int = 0) -> int:
        """Where a shared object lies in memory."""
        return self.layout.at(name if name in self.of_vm else f"{VARIABLE}{name}", word)

    @functools.cached_property
    def written(self) -> tuple[Program, dict, dict]:
        """(the program, the registers of locals by process and name, held_locks)."""
        return _write(self)

    @property
    def program(self) -> Program:
        return self.written[0]

    @property
    def remarks(self) -> list[str]:
        """What is taken otherwise than a compiler would, to be said."""
        return self.written and self.structs.undeclared

    @functools.cached_property
    def live(self) -> np.ndarray:
        labels = self.program.labels
        kept = {labels[f"{script.label}{END}"]: {register for process, register in self.shown_registers().values() if process == place}
                for place, script in enumerate(self.scripts) if script.flow is None}
        return live_registers(self.program, (labels[LEAVE],) if LEAVE in labels else (), kept)

    @property
    def held_locks(self) -> dict[int, tuple[int, dict]]:
        return self.written[2]

    @property
    def at_once(self) -> frozenset[int]:
        return frozenset(number for label, number in self.program.labels.items() if rcu.AT_ONCE in label)

    def shown_registers(self) -> dict[str, tuple[int, int]]:
        """(process, register) of each local that is shown, by its name; none where processes leave them in memory."""
        if self.leaves:
            return {}
        locals_ = [(name, *name.split(":")) for name in self.shown if ":" in name]
        return {name: (int(process), self.written[1][int(process), local]) for name, process, local in locals_}

    def outcome(self, word_at, register_at) -> tuple[str, ...]:
        registers = self.shown_registers()
        return tuple(self.spell(name, register_at(*registers[name]) if name in registers else word_at(offset))
                     for name, offset in self.watched())

    def by_name(self) -> dict[str, Variable]:
        return {each.name: each for each in self.variables}

    @functools.cached_property
    def names_of_addresses(self) -> dict[int, str]:
        """Each word of the test by its address, as `x`, `a[1]` or `o.f`."""
        found = {}
        for each in self.variables:
            for word in range(each.type.words):
                found[self.at(each.name, word)] = each.name + types.word_name(each.type, word)
        return found

    def watched(self) -> list[tuple[str, int]]:
        found = []
        for name in self.shown:
            if name == HALTED:                   # no word, but how it ends
                continue
            entry = _entry(name) if name.partition("[")[0] not in self.by_name() else None
            if ":" in name:
                found.append((name, self.at(f"{RESULT}{name}")))
            elif entry:
                found.append((name, self.layout.at(f"sept.{entry[1]}", entry[0] >> 9 * entry[1])))
            elif name in FLAGS:
                found.append((name, self.layout.at(FLAGS[name])))
            else:
                object_, word, _ = word_of(self.by_name(), name)
                found.append((name, self.at(object_, word)))
        return found

    def spell(self, name: str, word: int) -> str:
        if name.partition("[")[0] not in self.by_name() and _entry(name):
            return spell_entry(word)
        return str(signed(word))

    def value_in(self, values: dict[str, str]):
        """What a name of the condition comes to in a final state; for conditions.holds."""
        def value_of(name: str, right: bool = False):
            if right and name in self.by_name() and ":" not in name:
                return self.at(name)             # `0:r1=x`: the address of x
            found = values.get(name, name)
            if right and found in EXITS:
                return EXITS[found]
            if right and found in STATUSES:
                return StatusClass(signed(STATUSES[found]))
            return int(found) if isinstance(found, str) and re.fullmatch(r"-?\d+", found) else found
        return value_of

    @staticmethod
    def order_of(value: str) -> tuple:
        return (0, int(value), "") if re.fullmatch(r"-?\d+", value) else (1, 0, value)

    @property
    def parts_of_flows(self) -> dict[int, scripted.Part]:
        """By place: the processes that are KVM's own flows, where their scripts are rows."""
        places = [place for place, script in enumerate(self.scripts) if script.flow is not None] * self.timed
        return dict(zip(places, scripted.parts((self.scripts[place].flow, self.scripts[place].actor.kind == "vcpu") for place in places)))

    def start(self, memory: Memory) -> list[np.ndarray]:
        actors = super().start(memory)
        for place, part in self.parts_of_flows.items():
            actors[place][R.DRAWS] = part.first
        for each in self.variables:
            of = each.type.to if each.type.kind == "array" else each.type
            for word, value in enumerate(each.values):
                memory.set_word(self.at(each.name, word), unsigned(self._number(value, of)))
        for process, local, value in self.registers:
            actors[process][self.written[1][process, local]] = self._number(value, types.LONG)
        return actors

    def _number(self, value, of: Type) -> int:
        if isinstance(value, str):
            return self.at(value)
        return of.fit(value) if of.kind in ("integer", "atomic") else types.LONG.fit(value)


def _write(test: Test) -> tuple[Program, dict, dict]:
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
                  _called(test.tree), constants, len(test.scripts), test.file_scope,
                  {name: test.at(name) for name in test.of_vm}, tdx.Calls(flow.options, flow, test.file.crossed) if test.of_td else None)
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
                     for name, _ in _parameters(test.structs, node)}
        with listing.within(flow="script"):
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


def _write_process(test: Test, body: Body, node: c_ast.FuncDef, arguments: dict[str, Value]) -> None:
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


def _surroundings(test: Test) -> tuple[Flow, tuple[int, ...]]:
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


def private_loop(test: Test) -> str:
    """The first row, as `P0:3 while (r)`, of a loop that accesses no shared memory and may never end."""
    rows, safe = test.program.rows, set()
    for start in range(len(rows)):
        way, at = {}, start
        stack = [(start, iter(_private(rows, start)))]
        way[start] = True
        while stack:
            at, onwards = stack[-1]
            then = next(onwards, None)
            if then is None:
                safe.add(at)
                way.pop(at)
                stack.pop()
            elif then in way:
                loop = [row for row in list(way)[list(way).index(then):] if test.program.listing[row].text.startswith("P")]
                return test.program.listing[min(loop)].text if loop else ""
            elif then not in safe:
                way[then] = True
                stack.append((then, iter(_private(rows, then))))
    return ""


def _private(rows, number: int) -> list[int]:
    """Where a row that touches an actor's own registers only goes on."""
    row = rows[number]
    info = OP_TABLE[row["op"]]
    if info.kind in (Kind.SHARED, Kind.WAIT) or not info.outcomes or row["op"] in (Op.CALL, Op.GO):
        return []
    return [int(row["next"]), int(row["otherwise"])][:min(2, info.outcomes)]


def endless(test: Test) -> UsageError:
    """What is to be said of a test with a process that goes round for ever on its own."""
    text = private_loop(test)
    found = re.match(r"P(\d+):\d+ ?(.*)", text, re.DOTALL)
    if not found:
        return UsageError(f"{test.table['path']}: must access shared memory, or end")
    return LitmusError(test.table["path"], test.structs.places[text],
                       f"P{found[1]} goes round at `{found[2]:.80}` for ever without an access to shared memory")


def used_registers(program: Program) -> set[int]:
    """All registers that a program's rows read or write."""
    used = set()
    for row in program.rows:
        info = OP_TABLE[row["op"]]
        used |= registers_of(row, (*info.reads, *info.writes, *info.may_write, "base", "register", "source"))
    return used


def _called(node) -> set[str]:
    """Names of the functions that a piece of C calls, also as tdh_do_no_vcpus(function, ...)."""
    found = {node.name.name} if isinstance(node, c_ast.FuncCall) and isinstance(node.name, c_ast.ID) else set()
    if tdx.NO_VCPUS in found and node.args is not None and isinstance(node.args.exprs[0], c_ast.ID):
        found.add(node.args.exprs[0].name)
    for _, child in node.children():
        found |= _called(child)
    return found


def load(path: str | Path, given: dict | None = None) -> Test:
    """Read a litmus file; `given`: keys of its initial state in place of its own.  Raises UsageError."""
    return parse(files.read_text(path, UsageError, pattern="*.litmus", most=BYTES_MOST), str(path), given)


def parse(whole: str, path: str, given: dict | None = None) -> Test:
    """A test from a file's text.  Raises LitmusError, or UsageError for what no compiler would take."""
    if files.ENDLESS.search(whole):
        raise UsageError(f"{path}: {files.TOO_MANY_DIGITS}")
    try:
        return _parse(whole, path, given or {})
    except RecursionError:
        raise UsageError(f"{path}: nested too deeply; must be at most some hundred levels") from None


def _parse(whole: str, path: str, given: dict) -> Test:
    text = take_apart(whole, path)
    tree = source.parse(text)
    structs = source.Structs(text)
    processes, functions, declared = {}, {}, []
    for node in tree.ext:
        if isinstance(node, c_ast.Typedef):
            if node.name not in types.TYPEDEFS:
                structs.typedefs[node.name] = structs.of(node.type)
        elif isinstance(node, c_ast.FuncDef):
            found = re.fullmatch(r"P(\d+)", node.decl.name)
            if found:
                processes[int(found[1])] = node
            else:
                functions[node.decl.name] = node
        elif isinstance(node, c_ast.Decl) and isinstance(node.type, (c_ast.Struct, c_ast.Enum)) and node.name is None:
            structs.of(node.type)
        elif isinstance(node, c_ast.Decl) and isinstance(node.type, c_ast.FuncDecl):
            continue                             # declared beforehand
        elif isinstance(node, c_ast.Decl) and node.name is not None:
            declared.append(_declared(text, structs, node, {name for name, *_ in declared}))
        else:
            raise structs.error(node, "not understood between processes; functions, structs, enums and shared words are")
    _check_processes(text, processes, structs)
    parameters = {name: of for number in sorted(processes) for name, of in _parameters(structs, processes[number])}
    variables, registers, table = initial(text, structs, parameters, declared)
    pairs = _interrupts(text, table.pop(INTERRUPTS, []), processes)
    variables += [Variable(f"{interrupts.IRQ}{other}", types.NAMES["spinlock_t"]) for other in sorted({other for _, other in pairs})]
    if any(kvm.is_kvm(each.type) and each.type.field_at(tdx.BAR) for each in variables) and tdx.BAR not in {each.name for each in variables}:
        variables.append(Variable(tdx.BAR, types.BOOL))
    if _called(tree) & rcu.names():
        variables.append(Variable(rcu.RCU, types.STRUCTS["srcu_struct"]))
    proposition = conditions.parse(text, text.condition) if text.quantifier else None
    filter_ = conditions.parse(text, text.filter) if text.filter.text.strip() else None
    named = conditions.names(proposition) + conditions.names(filter_) + conditions.listed(text, text.locations)
    shown = _shown(text, named, processes, {each.name: each for each in variables})
    scripts = _scripts(structs, processes)
    kinds = [script.actor.kind for script in scripts]
    file, pages = scenario_file.start_of(table | given, scripts, text.path)
    return Test(name=text.name, module=file.module[0], policy=file.policy, primitive=file.primitive, scripts=scripts,
                file=file, pages=pages, vcpus=max(1, kinds.count("vcpu")), hosts=max(1, kinds.count("host")), text=text,
                variables=tuple(variables), tree=tree, proposition=proposition, filter=filter_, shown=shown,
                registers=tuple(registers), structs=structs, interrupts=tuple(pairs), file_scope=frozenset(name for name, *_ in declared), table={"litmus": whole, "path": path} | given)


def _declared(text: Text, structs, node: c_ast.Decl, known: set[str]) -> tuple[str, Type, str | None, int]:
    """(name, type, value, where it stands) of a shared word between the processes."""
    of = structs.of(node.type)
    if node.name in known:
        raise structs.error(node, f"`{node.name}` is declared twice")
    if of.kind in ("opaque", "void"):
        raise structs.error(node, f"`{node.name}`: {of} is not declared")
    given = None if node.init is None else spelled(node.init)
    return node.name, of, f"{{{given}}}" if isinstance(node.init, c_ast.InitList) else given, text.offset(source.place_of(node))


def _scripts(structs, processes: dict) -> tuple[Script, ...]:
    """An actor for each process: a vCPU if it makes calls that only a vCPU makes, else a host thread."""
    kinds = [_kind(structs, processes[number]) for number in sorted(processes)]
    vcpus = max(1, sum(kind == "vcpu" for kind, _ in kinds))
    counts, scripts = {"vcpu": 0, "host": 0}, []
    for number, (kind, flow) in zip(sorted(processes), kinds):
        index = counts[kind]
        counts[kind] += 1
        actor = Actor(index if kind == "vcpu" else vcpus + index, f"P{number}", kind, index)
        scripts.append(Process(actor, flow=flow))
    return tuple(scripts)


def _kind(structs, node: c_ast.FuncDef) -> tuple[str, tuple[int, ...] | None]:
    """(kind of actor, pages of KVM's own flow if the process is one)."""
    items = node.body.block_items or []
    names = [item.name.name for item in items if isinstance(item, c_ast.FuncCall) and isinstance(item.name, c_ast.ID)]
    if items and len(names) == len(items) and set(names) <= set(tdx.FLOWS):
        if len(set(names)) > 1:
            raise structs.error(node, f"{node.decl.name}: a process is a vCPU's faults or a host's zaps, not both")
        return tdx.FLOWS[names[0]], tuple(_gpa(structs, item) for item in items)
    called = _called(node)
    guest = any(name.startswith(("tdg_", "tdh_vp_", "td_exit", "enter_guest_mode", "leave_guest_mode", "kvm_check_request"))
                for name in called)
    return ("vcpu" if guest else "host"), None


def _gpa(structs, item: c_ast.FuncCall) -> int:
    arguments = item.args.exprs if item.args else []
    if len(arguments) == 1 and isinstance(arguments[0], c_ast.Constant) and "int" in arguments[0].type:
        gpa = int(arguments[0].value.rstrip("uUlL"), 0)
        if gpa % 4096 == 0 and gpa >> 12 < PAGES:
            return gpa >> 12
    raise structs.error(item, f"{item.name.name} takes the address of one guest page, a number such as 0x3000")


def _check_processes(text: Text, processes: dict, structs) -> None:
    if not processes:
        raise text.error(text.functions.start, "no process: functions P0, P1 ... must follow the initial state")
    for place, number in enumerate(sorted(processes)):
        if number != place:
            raise structs.error(processes[number], f"P{number}: processes are numbered from 0 without gaps, P{place} is missing")
    if len(processes) > ACTORS_MAX:
        raise structs.error(processes[ACTORS_MAX], f"{len(processes)} processes: at most {ACTORS_MAX} can be explored")


def _interrupts(text: Text, given: list, processes: dict) -> list[tuple[int, int]]:
    """(process, the one that it interrupts), of `P1 interrupts P0;`."""
    pairs = []
    for one, other, offset in given:
        says = f"`P{one} interrupts P{other}`"
        for number in (one, other):
            if number not in processes:
                raise text.error(offset, f"{says}: there is no P{number}")
        taken = {one for one, _ in pairs}
        if one == other or one in taken or other in taken or one in {other for _, other in pairs}:
            raise text.error(offset, f"{says}: an interrupt interrupts one process, and is not interrupted itself")
        pairs.append((one, other))
    return pairs


def _parameters(structs, node: c_ast.FuncDef):
    """(name, type of what it points to) of a process's parameters."""
    for each in (node.decl.type.args.params if node.decl.type.args else ()):
        of = structs.of(each)
        if of.kind == "void" and not isinstance(each, c_ast.Decl):
            continue
        if of.kind not in ("pointer", "array"):
            raise structs.error(each, f"`{each.name}`: parameters of processes are pointers to shared words, by their names")
        yield each.name, of.to


# --- what is shown ---------------------------------------------------------------------------

def _shown(text: Text, named, processes: dict, variables: dict[str, Variable]) -> tuple[str, ...]:
    """The names of a final state: registers by process first, then shared words, as herd7 sorts them."""
    found = {}
    for name, offset in named:
        process, _, local = name.rpartition(":")
        if process:
            if int(process) not in processes:
                raise text.error(offset, f"`{name}`: there is no P{process}")
            if local not in _locals(processes[int(process)].body):
                raise text.error(offset, f"`{name}`: P{process} has no local `{local}`"
                                         f"{nearest(local, _locals(processes[int(process)].body))}")
        elif _entry(name) or name in FLAGS or name == HALTED:
            pass
        elif word_of(variables, name) is None and not _is_word(name):
            raise text.error(offset, f"`{name}` is no shared word: no process has it as a parameter{nearest(name, variables)}")
        elif _is_word(name) and word_of(variables, name) is None:
            continue
        found[name] = offset
    return tuple(sorted(found, key=lambda name: (":" not in name, name)))


HALTED = "halted"                # whether a check of the module has failed, which shuts it down
EXITS = {name: word for word, name in EXIT_REASONS.items()}      # what a call that leaves the guest answers
FLAGS = {"bugged": "vm_dead"}    # words of the VM that a condition may name


def _entry(name: str) -> tuple[int, int] | None:
    """(page, level) of `sept[3]`, `page 3` or `page 0 level 1`."""
    found = re.fullmatch(r"sept\[(\d+)\]|page (\d+)(?: level ([012]))?", name)
    if not found:
        return None
    page = int(found[1] or found[2])
    return (page, int(found[3] or 0)) if page < PAGES else None


def _is_word(name: str) -> bool:
    """Whether a name can only be a value: a status, a state of an entry."""
    return name.isupper() and len(name) > 1


def _locals(node) -> set[str]:
    """The locals of a process, with those of REGISTER that it only assigns to."""
    found = {node.name} if isinstance(node, c_ast.Decl) and node.name else set()
    if isinstance(node, c_ast.Assignment) and isinstance(node.lvalue, c_ast.ID) and REGISTER.fullmatch(node.lvalue.name):
        found.add(node.lvalue.name)
    for _, child in node.children():
        found |= _locals(child)
    return found


def word_of(variables: dict[str, Variable], name: str) -> tuple[str, int, Type] | None:
    """(object, word in it, type) that a name such as `x`, `a[1]` or `s.f` stands for."""
    found = re.match(r"[A-Za-z_]\w*", name)
    if not found or found.group() not in variables:
        return None
    of, words, rest = variables[found.group()].type, 0, name[found.end():]
    while rest:
        part = re.match(r"\.(\w+)|\[(\d+)\]", rest)
        if not part:
            return None
        if part[1]:
            at = of.field_at(part[1])
            if at is None:
                return None
            words, of = words + at[0], at[1]
        else:
            if of.kind != "array" or int(part[2]) >= of.count:
                return None
            words, of = words + int(part[2]) * of.to.words, of.to
        rest = rest[part.end():]
    return found.group(), words, of
