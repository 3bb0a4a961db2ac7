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
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from pycparser import c_ast

from harness import files
from harness.errors import UsageError
from harness.experiment import litmus_names, litmus_processes, litmus_rows, scenario_file
from harness.experiment.litmus_names import EXITS, FLAGS, HALTED, StatusClass
from harness.experiment.litmus_rows import END, RESULT
from harness.experiment.litmus_start import Variable, initial, placed
from harness.experiment.litmus_td import INTERRUPTS
from harness.experiment.scenario import PAGES, Scenario, calls_of
from harness.memory.block import Memory
from harness.memory.layout import VARIABLE, Layout
from harness.protocol.assemble import Program
from harness.protocol.flows.pamt import RANGES
from harness.protocol.flows.script import LEAVE
from harness.protocol.litmus import conditions, interrupts, kvm, locks, rcu, scripted, source, tdx, types
from harness.protocol.litmus.body import spelled
from harness.protocol.litmus.text import Text, take_apart
from harness.protocol.litmus.types import Type
from harness.protocol.liveness import live_registers
from kernels.ops import Register as R
from kernels.words import STATUSES, signed, spell_entry, unsigned

BYTES_MOST = 1 << 20
UNNAMED = ((0, 0, "FREE"),)      # pages where a file names none and calls are about some: one page table holds all, and all are FREE
GIVEN = ("module", "policy", "memory_model", "seamcall_drains")  # keys of the initial state that a command may give instead
# Words of the VM's that a file may name as well: its own calls have those (KVM_BUG_ON), or only KVM's flows.
OF_CALLS = {tdx.BAR: types.BOOL, "vm_bugged": types.BOOL, "vm_dead": types.BOOL}
OF_VM = OF_CALLS | {locks.MMU_LOCK: types.NAMES["rwlock_t"]}
IN_LAYOUT = {litmus_names.MIRROR: "mirror.0", "vm_bugged": "vm_dead"}            # where the layout has another name
# Functions beside the module's calls for which there has to be a TD.
TD_WORDS = {"kick", "KVM_BUG_ON", "kvm_make_all_cpus_request", "enter_guest_mode", "leave_guest_mode", "kvm_request_pending",
            "kvm_make_request", "kvm_check_request", "kvm_test_request", "vcpu_mode", tdx.TD_EXIT}
TD_CALLS = ("tdh_", "tdg_")      # how calls of the module begin, also ones that there are not


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
    def called(self) -> set[str]:
        """Names of all functions that the file calls."""
        return tdx.called(self.tree)

    @functools.cached_property
    def calls(self) -> tuple[str, ...]:
        """The module's calls that the file makes."""
        return tuple(sorted({row for name in self.called for row in tdx.rows_of(name)} & set(calls_of(self.module))))

    @functools.cached_property
    def parts(self) -> tuple[str, ...]:
        """The parts of calls that use a page and give it back, which the file calls (Dynamic PAMT)."""
        return tuple(sorted(self.called & set(tdx.PARTS))) if self.file.dynamic_pamt else ()

    @functools.cached_property
    def of_td(self) -> bool:
        """Whether there is a TD in this world at all."""
        return bool(self.parts or self.uses_flows or self.called & TD_WORDS or self.pages or any(name.startswith(TD_CALLS) for name in self.called))

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
        own = OF_VM if self.uses_flows else OF_CALLS if self.of_td else ()
        mirrors = [each.name for each in self.variables if self.uses_flows and litmus_names.is_mirror(each)]
        return {*mirrors, *[each.name for each in self.variables if each.name in own]}

    def at(self, name: str, word: int = 0) -> int:
        """Where a shared object lies in memory."""
        return self.layout.at(IN_LAYOUT.get(name, name) if name in self.of_vm else f"{VARIABLE}{name}", word)

    @functools.cached_property
    def written(self) -> tuple[Program, dict, dict]:
        """(the program, the registers of locals by process and name, held_locks)."""
        return litmus_rows.write(self)

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

    def contexts(self, registers) -> None:
        """Not looked for: what a process shows in the end is read by no row."""

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
        """Shared objects of the file, as conditions name them; `mirror[3]` is KVM's entry, also where C names it."""
        return {each.name: each for each in self.variables if each.name != litmus_names.MIRROR or each.name not in self.of_vm}

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
            own = name.partition("[")[0] in self.by_name()
            entry, range_, page = (None, None, None) if own else (litmus_names.entry(name), litmus_names.pamt(name), litmus_names.mirror(name))
            if ":" in name:
                found.append((name, self.at(f"{RESULT}{name}")))
            elif entry:
                found.append((name, self.layout.at(f"sept.{entry[1]}", entry[0] >> 9 * entry[1])))
            elif range_ is not None:
                found.append((name, self.layout.at("pamt_2m.data", range_)))
            elif page is not None:
                found.append((name, self.layout.at("mirror.0", page)))
            elif name in FLAGS:
                found.append((name, self.layout.at(FLAGS[name])))
            else:
                object_, word, _ = litmus_names.word_of(self.by_name(), name)
                found.append((name, self.at(object_, word)))
        return found

    def spell(self, name: str, word: int) -> str:
        if name.partition("[")[0] not in self.by_name():
            if litmus_names.entry(name):
                return spell_entry(word)
            if litmus_names.mirror(name) is not None:
                return litmus_names.spell_mirror(word)
            if litmus_names.pamt(name) is not None:
                return litmus_names.spell_pamt(word)
        return str(signed(word))

    def value_in(self, values: dict[str, str]):
        """What a name of the condition comes to in a final state; for conditions.holds."""
        def value_of(name: str, right: bool = False):
            if right and name in self.by_name() and ":" not in name:
                return self.at(name)             # `0:r1=x`: the address of x
            found = values.get(name, name)
            if right and found in EXITS:
                return EXITS[found]
            if right and isinstance(found, str) and "|" in found:
                return signed(litmus_names.exact(self.text, found, self.text.condition.start))
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


def load(path: str | Path, given: dict | None = None) -> Test:
    """Read a litmus file; `given`: keys of its initial state in place of its own.  Raises UsageError."""
    return parse(files.read_text(path, UsageError, pattern="*.litmus", most=BYTES_MOST), str(path), given)


def parse(whole: str, path: str, given: dict | None = None) -> Test:
    """A test from a file's text.  Raises LitmusError, or UsageError for what no compiler would take."""
    whole = whole.replace("\r\n", "\n")
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
            if node.name not in types.TYPEDEFS and not source.made_up(node.name):
                structs.typedefs[node.name] = structs.of(node.type)
        elif isinstance(node, c_ast.FuncDef) and (of := source.TYPEOF.fullmatch(node.decl.name)):
            structs.typeofs[of[1]] = node.body.block_items[0].expr
        elif isinstance(node, c_ast.FuncDef):
            found = re.fullmatch(r"P(\d+)", node.decl.name)
            known, key = (processes, int(found[1])) if found else (functions, node.decl.name)
            if key in known:
                raise structs.error(node, f"`{node.decl.name}` is there twice, first in line {source.place_of(known[key]).line}")
            known[key] = node
        elif isinstance(node, c_ast.Decl) and isinstance(node.type, (c_ast.Struct, c_ast.Enum)) and node.name is None:
            structs.of(node.type)
        elif isinstance(node, c_ast.StaticAssert) or isinstance(node, c_ast.Decl) and isinstance(node.type, c_ast.FuncDecl):
            continue                             # looked at when rows are written; declared beforehand
        elif isinstance(node, c_ast.Decl) and node.name is not None:
            declared.append(_declared(text, structs, node, {name for name, *_ in declared}))
        else:
            raise structs.error(node, "not understood between processes; functions, structs, enums and shared words are")
    litmus_processes.check(text, processes, structs)
    parameters = litmus_processes.shared(structs, processes)
    variables, registers, table = initial(text, structs, parameters, declared)
    called = tdx.called(tree)
    of_flows = bool(called & set(tdx.FLOWS))
    pairs = litmus_processes.interrupts(text, table.pop(INTERRUPTS, []), processes)
    variables += [Variable(f"{interrupts.IRQ}{other}", types.NAMES["spinlock_t"]) for other in sorted({other for _, other in pairs})]
    for name, kind in OF_VM.items():
        if any(kvm.is_kvm(each.type) and each.type.field_at(name) for each in variables) and name not in {each.name for each in variables}:
            if name in OF_CALLS or of_flows:
                variables.append(Variable(name, kind))
    if called & rcu.names():
        variables.append(Variable(rcu.RCU, types.STRUCTS["srcu_struct"]))
    by_name = {each.name: each for each in variables if not (of_flows and litmus_names.is_mirror(each))}
    litmus_processes.check_types(structs, processes, {each.name: each for each in variables})
    of_name = litmus_names.types_of(structs, processes, by_name)
    proposition = conditions.fitted(conditions.parse(text, text.condition), of_name) if text.quantifier else None
    filter_ = conditions.fitted(conditions.parse(text, text.filter), of_name) if text.filter.text.strip() else None
    named = conditions.names(proposition) + conditions.names(filter_) + conditions.listed(text, text.locations)
    shown = litmus_names.shown(text, named, processes, by_name)
    for part in (proposition, filter_):
        litmus_names.check_values(text, part, by_name)
    scripts = litmus_processes.scripts(structs, processes)
    kinds = [script.actor.kind for script in scripts]
    try:
        file, pages = scenario_file.start_of(table | given, scripts, text.path)
    except UsageError as problem:
        raise placed(text, problem, given) from None
    for name, offset in named:
        if (litmus_names.pamt(name) or 0) and not file.dynamic_pamt:
            raise text.error(offset, f"`{name}`: the second 2 MiB are there with `dynamic_pamt = true;`")
    test = Test(name=text.name, module=file.module[0], policy=file.policy, primitive=file.primitive, scripts=scripts,
                file=file, pages=pages, vcpus=max(1, kinds.count("vcpu")), hosts=max(1, kinds.count("host")), text=text,
                variables=tuple(variables), tree=tree, proposition=proposition, filter=filter_, shown=shown,
                registers=tuple(registers), structs=structs, interrupts=tuple(pairs), file_scope=frozenset(name for name, *_ in declared),
                table={"litmus": whole, "path": path} | given)
    if not pages and any(map(tdx.about_entry, test.calls)):
        return replace(test, pages=UNNAMED)
    return test


def _declared(text: Text, structs, node: c_ast.Decl, known: set[str]) -> tuple[str, Type, str | None, int]:
    """(name, type, value, where it stands) of a shared word between the processes."""
    of = structs.of(node.type)
    if node.name in known:
        raise structs.error(node, f"`{node.name}` is declared twice")
    if of.kind in ("opaque", "void"):
        raise structs.error(node, f"`{node.name}`: {of} is not declared")
    given = None if node.init is None else spelled(node.init)
    return node.name, of, f"{{{given}}}" if isinstance(node.init, c_ast.InitList) else given, text.offset(source.place_of(node))
