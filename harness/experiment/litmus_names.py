"""The names of a final state: what a condition and `locations` may name, and what their values are."""

import re

from pycparser import c_ast

from harness.errors import nearest
from harness.experiment.litmus_start import Variable
from harness.experiment.scenario import PAGES
from harness.memory.layout import PAMT_TYPE
from harness.protocol.flows.pamt import RANGES
from harness.protocol.litmus.body import REGISTER
from harness.protocol.litmus.text import Text
from harness.protocol.litmus.types import Type
from kernels.words import EXIT_REASONS, HP, PT_PAMT, STATE, STATUS_CLASS, STATUSES

HALTED = "halted"                # whether a check of the module has failed, which shuts it down
EXITS = {name: word for word, name in EXIT_REASONS.items()}      # what a call that leaves the guest answers
FLAGS = {"bugged": "vm_dead"}    # words of the VM that a condition may name
# What a name may be compared with beside numbers and names.
VALUES = {*STATUSES, *EXITS, *(f"{state}{locks}" for state in (*STATE, "PAIRED", "UNPAIRED") for locks in ("", "+EL", "+HP", "+EL+HP"))}


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
            if int(process) not in processes:
                raise text.error(offset, f"`{name}`: there is no P{process}")
            if local not in _locals(processes[int(process)].body):
                raise text.error(offset, f"`{name}`: P{process} has no local `{local}`"
                                         f"{nearest(local, _locals(processes[int(process)].body))}")
        elif word_of(variables, name) is None and name.isupper() and len(name) > 1:
            if name not in VALUES:
                raise text.error(offset, f"`{name}` is no status, no state of an SEPT entry and none of the PAMT{nearest(name, VALUES)}")
            continue                             # a value
        elif word_of(variables, name) is None and not (entry(name) or pamt(name) is not None or name in FLAGS or name == HALTED):
            raise text.error(offset, f"`{name}` is no shared word: no process has it as a parameter{nearest(name, variables)}")
        found[name] = offset
    return tuple(sorted(found, key=lambda name: (":" not in name, name)))


def entry(name: str) -> tuple[int, int] | None:
    """(page, level) of `sept[3]`, `page 3` or `page 0 level 1`."""
    found = re.fullmatch(r"sept\[(\d+)\]|page (\d+)(?: level ([012]))?", name)
    if not found:
        return None
    page = int(found[1] or found[2])
    return (page, int(found[3] or 0)) if page < PAGES else None


def pamt(name: str) -> int | None:
    """The number of 2 MiB of `pamt[1]`: the PAMT entry of a range, with Dynamic PAMT."""
    found = re.fullmatch(r"pamt\[(\d)\]", name)
    return int(found[1]) if found and int(found[1]) < RANGES else None


def spell_pamt(word: int) -> str:
    """Whether a PAMT entry of 2 MiB has a pair, and with +HP whether its lock keeps a host's priority: PAIRED+HP."""
    return ("PAIRED" if word >> 8 * PAMT_TYPE & 0xFF == PT_PAMT else "UNPAIRED") + "+HP" * bool(word & HP)


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
