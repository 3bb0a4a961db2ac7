"""The processes of a litmus file: which there are, what kind of actor each is, and which interrupts which."""

from dataclasses import dataclass

from pycparser import c_ast

from harness.experiment.plan import Actor
from harness.experiment.scenario import PAGES, Script
from harness.protocol.litmus import tdx, types
from harness.protocol.litmus.text import Text
from kernels.moves import ACTORS_MAX


@dataclass(frozen=True)
class Process(Script):
    """A process as a script of the search: its program begins at its name."""

    @property
    def label(self) -> str:
        return self.actor.kind if self.flow is not None else self.actor.name


def scripts(structs, processes: dict) -> tuple[Script, ...]:
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
    called = tdx.called(node)
    guest = any(name.startswith(("tdg_", "tdh_vp_", "td_exit", "enter_guest_mode", "leave_guest_mode", "kvm_check_request"))
                for name in called)
    return ("vcpu" if guest else "host"), None


def _gpa(structs, item: c_ast.FuncCall) -> int:
    arguments = item.args.exprs if item.args else []
    if len(arguments) == 1 and isinstance(arguments[0], c_ast.Constant) and (written := types.literal(arguments[0].value)):
        gpa = written[0]
        if gpa % 4096 == 0 and gpa >> 12 < PAGES:
            return gpa >> 12
    raise structs.error(item, f"{item.name.name} takes the address of one guest page, a number such as 0x3000")


def check(text: Text, processes: dict, structs) -> None:
    if not processes:
        raise text.error(text.functions.start, "no process: functions P0, P1 ... must follow the initial state")
    for place, number in enumerate(sorted(processes)):
        if number != place:
            raise structs.error(processes[number], f"P{number}: processes are numbered from 0 without gaps, P{place} is missing")
    if len(processes) > ACTORS_MAX:
        raise structs.error(processes[ACTORS_MAX], f"{len(processes)} processes: at most {ACTORS_MAX} can be explored")


def interrupts(text: Text, given: list, processes: dict) -> list[tuple[int, int]]:
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


def shared(structs, processes: dict) -> dict[str, types.Type]:
    """What the parameters of all processes point to, by name."""
    found: dict[str, types.Type] = {}
    for number in sorted(processes):
        for name, of in parameters(structs, processes[number]):
            found[name] = of if name not in found or of.kind == "array" else found[name]
    return found


def check_types(structs, processes: dict, variables: dict) -> None:
    """A shared word is of one type, in the initial state and in every process."""
    for number in sorted(processes):
        for name, of in parameters(structs, processes[number]):
            has = variables[name].type
            if not types.alike(*(each.to if each.kind == "array" else each for each in (has, of))):
                raise structs.error(processes[number], f"P{number}'s `{name}` points to {of}, elsewhere in the file it is {has}")


def parameters(structs, node: c_ast.FuncDef):
    """(name, type of what it points to) of a process's parameters; `int a[4]` is an array of four."""
    for each in (node.decl.type.args.params if node.decl.type.args else ()):
        of = structs.parameter(each)
        if of.kind == "void" and not isinstance(each, c_ast.Decl):
            continue
        if each.name is None:
            raise structs.error(each, "parameters of processes are shared words, by their names")
        if of.kind not in ("pointer", "array"):
            raise structs.error(each, f"`{each.name}`: parameters of processes are pointers to shared words, by their names")
        yield each.name, of if of.kind == "array" else of.to
