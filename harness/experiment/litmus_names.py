"""The names of a final state: what a condition and `locations` may name, and what their values are."""

import re
from typing import Callable

from pycparser import c_ast

from harness.errors import UsageError, nearest
from harness.experiment.litmus_start import Variable
from harness.experiment.scenario import PAGES
from harness.memory.layout import PAMT_TYPE
from harness.protocol.flows.flow import FROZEN_SPTE, MMU_PRESENT
from harness.protocol.flows.pamt import RANGES
from harness.protocol import spelling
from harness.protocol.litmus import conditions, types
from harness.protocol.litmus.body import REGISTER
from harness.protocol.litmus.source import made_up, place_of
from harness.protocol.litmus.text import Text
from harness.protocol.litmus.types import Type
from kernels.words import EXIT_REASONS, HP, PT_PAMT, STATE, STATUS_CLASS, STATUSES

MIRROR = "mirror"                # KVM's own entries of 4 KiB pages
HALTED = "halted"                # whether a check of the module has failed, which shuts it down
EXITS = {name: word for word, name in EXIT_REASONS.items()}      # what a call that leaves the guest answers
FLAGS = {"bugged": "vm_dead"}    # words of the VM that a condition may name
# What entries may be compared with: those of the SEPT, KVM's own of the mirror, and of PAMT.
STATES = {f"{state}{locks}" for state in STATE for locks in ("", "+EL", "+HP", "+EL+HP")}
OF_MIRROR = {"FROZEN", "PRESENT", "NONPRESENT"}
OF_PAMT = {f"{state}{lock}" for state in ("PAIRED", "UNPAIRED") for lock in ("", "+HP")}
# What anything may be compared with beside numbers and names.
VALUES = {*STATUSES, *EXITS, *STATES, *OF_MIRROR, *OF_PAMT}


class StatusClass(int):
    """A status that a condition names: whichever operand an answer gives beside it."""

    def __eq__(self, other) -> bool:
        return isinstance(other, int) and (other & STATUS_CLASS if self else other) == int(self) & STATUS_CLASS

    __hash__ = int.__hash__


def shown(text: Text, named, processes: dict, variables: dict[str, Variable]) -> tuple[str, ...]:
    """The names of a final state: registers by process first, then shared words, as herd7 sorts them."""
    found = {}
    for name, offset in named:
        process, _, local = name.rpartition(":")
        if process:
            if not process.isdecimal():
                raise text.error(offset, f"`{name}` is not understood; a local is `0:r1`, a shared word `x`")
            if int(process) not in processes:
                raise text.error(offset, f"`{name}`: there is no P{process}")
            declared = _locals_of(processes[int(process)])
            if local not in declared:
                raise text.error(offset, f"`{name}`: P{process} has no local `{local}`{nearest(local, declared)}")
            if len(declared[local]) > 1:
                lines = ", ".join(str(place_of(each).line) for each in declared[local])
                raise text.error(offset, f"`{name}`: P{process} declares `{local}` more than once, in lines {lines}: give each a name of its own")
        elif word_of(variables, name) is None and name.partition("|")[0].isupper() and len(name) > 1:
            if "|" in name:
                exact(text, name, offset)
            elif name not in VALUES:
                raise text.error(offset, f"`{name}` is no status and no state of an entry{nearest(name, VALUES)}")
            continue                             # a value
        elif word_of(variables, name) is None and not (entry(name) or pamt(name) is not None or mirror(name) is not None or name in FLAGS or name == HALTED):
            raise text.error(offset, f"`{name}` is no shared word: no process has it as a parameter{nearest(name, variables)}")
        found[name] = offset
    return tuple(sorted(found, key=lambda name: (":" not in name, name)))


def exact(text: Text, name: str, offset: int) -> int:
    """The status word that a status with its operand is, as states print it: TDX_OPERAND_BUSY|RCX.  Raises LitmusError."""
    try:
        found = spelling.one(name)
    except UsageError as problem:
        raise text.error(offset, f"`{name}`: {problem}") from None
    if found is None or found.word is None:
        raise text.error(offset, f"`{name}` is no status with its operand{nearest(name.partition('|')[0], STATUSES)}")
    return found.word


def check_values(text: Text, proposition, variables: dict[str, Variable]) -> None:
    """Refuse a comparison that can never be true: of an entry with what is no state of it, of anything else with a state."""
    for atom in conditions.atoms(proposition):
        own = word_of(variables, atom.left) is not None
        of, known, most = next((kind for kind in _KINDS if not own and kind[0](atom.left) is not None), (None, set(), ""))
        says = f"`{atom.left}{'=' if atom.equal else '!='}{atom.right}`"
        right = atom.right if isinstance(atom.right, int) or word_of(variables, atom.right) is None else None
        if of and right not in known and (isinstance(right, int) or right is not None and right.partition("|")[0] in VALUES):
            raise text.error(atom.offset, f"{says}: must be a state that it can have: {most}")
        if not of and right in VALUES - STATUSES.keys() - EXITS.keys():
            raise text.error(atom.offset, f"{says}: {right} is a state of an entry, such as `sept[3]`, `mirror[3]` or `pamt[0]`")


def entry(name: str) -> tuple[int, int] | None:
    """(page, level) of `sept[3]`, `page 3` or `page 0 level 1`."""
    found = re.fullmatch(r"sept\[(\d+)\]|page (\d+)(?: level ([012]))?", name)
    if not found:
        return None
    page = int(found[1] or found[2])
    return (page, int(found[3] or 0)) if page < PAGES else None


def is_mirror(variable: Variable) -> bool:
    """Whether a shared object of a file is KVM's own mirror beside KVM's flows: `u64 mirror[512]`."""
    return variable.name == MIRROR and variable.type.kind == "array"


def mirror(name: str) -> int | None:
    """The page of `mirror[3]`: KVM's own mirror entry of 4 KiB, at which its flows look."""
    found = re.fullmatch(r"mirror\[(\d{1,3})\]", name)
    return int(found[1]) if found and int(found[1]) < PAGES else None


def spell_mirror(word: int) -> str:
    return "FROZEN" if word == FROZEN_SPTE else "PRESENT" if word & MMU_PRESENT else "NONPRESENT"


def pamt(name: str) -> int | None:
    """The number of 2 MiB of `pamt[1]`: the PAMT entry of a range, with Dynamic PAMT."""
    found = re.fullmatch(r"pamt\[(\d)\]", name)
    return int(found[1]) if found and int(found[1]) < RANGES else None


def spell_pamt(word: int) -> str:
    """Whether a PAMT entry of 2 MiB has a pair, and with +HP whether its lock keeps a host's priority: PAIRED+HP."""
    return ("PAIRED" if word >> 8 * PAMT_TYPE & 0xFF == PT_PAMT else "UNPAIRED") + "+HP" * bool(word & HP)


# (what a name of the kind is, what it may be compared with, that in words)
_KINDS = ((entry, STATES, f"{', '.join(state for state in STATE if 'EXP' not in state)}, those of export; behind it +EL, +HP"),
          (mirror, OF_MIRROR, "PRESENT, NONPRESENT, FROZEN"), (pamt, OF_PAMT, "PAIRED, UNPAIRED; behind it +HP"))


def _locals(node) -> dict[str, list[c_ast.Decl]]:
    """The locals of a process by name, with where each is declared; also those of REGISTER that it only assigns to, declared nowhere."""
    found: dict[str, list[c_ast.Decl]] = {}
    if isinstance(node, c_ast.Decl) and node.name and not isinstance(node.type, c_ast.FuncDecl):
        found[node.name] = [node]
    if isinstance(node, c_ast.Assignment) and isinstance(node.lvalue, c_ast.ID) and REGISTER.fullmatch(node.lvalue.name):
        found.setdefault(node.lvalue.name, [])
    for _, child in node.children():
        for name, places in _locals(child).items():
            found.setdefault(name, []).extend(places)
    return found


def _locals_of(process: c_ast.FuncDef) -> dict[str, list[c_ast.Decl]]:
    """The locals that a condition may name; one of the outermost block goes before those of blocks within that are called so."""
    outermost = {each.name: [each] for each in process.body.block_items or () if isinstance(each, c_ast.Decl)}
    return _locals(process.body) | outermost


def types_of(structs, processes: dict, variables: dict[str, Variable]) -> Callable[[str], Type]:
    """name -> the type in which a number is compared with it; 64 bits where the file says none."""
    locals_ = {number: _locals_of(node) for number, node in processes.items()}

    def of(name: str) -> Type:
        process, _, local = name.rpartition(":")
        if process:
            declared = locals_.get(int(process), {}).get(local)
            if declared and made_up(declared[0]):
                return types.LONG                # known when rows are written
            return structs.of(declared[0].type) if declared else types.INT if declared is not None else types.LONG
        found = word_of(variables, name)
        return found[2] if found and found[2].kind in ("integer", "atomic") else types.LONG
    return of


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
