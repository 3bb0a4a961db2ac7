"""What each event of a trace means: one row an event, whichever tool wrote the line.

    fault     a vCPU's EPT violation that KVM handles: an arrival, with its guest page
    spte      an entry of KVM's TDP MMU has changed; one that becomes 0 is a removal
    entry     a vCPU enters the guest        exit      and leaves it
    call      a wrapper of a SEAMCALL is called       answer    and returns, with the status where it was recorded

Sources: include/trace/events and arch/x86/kvm/trace.h, mmu/mmutrace.h of Linux 6.8 to 6.16 for the texts of events;
kprobes have the text of Documentation/trace/kprobetrace.rst, and `perf probe` names a return NAME__return.
"""

import re
from typing import NamedTuple

CALL = re.compile(r"tdh_[a-z]+(?:_[a-z0-9]+)+?(?=__return|[^a-z0-9_]|$)")
RETURNED = re.compile(r"<-|__return\b")
ANSWER = re.compile(r"\b(?:ret|retval|arg1|err)=(0x[0-9a-fA-F]+|-?\d+)")
HEX = "(?:0x)?([0-9a-fA-F]+)"


class Row(NamedTuple):
    """An event: its name, its kind, and the text behind `name:` of which the groups are named `fields`."""

    name: str
    kind: str
    text: re.Pattern
    fields: tuple[str, ...]
    bases: tuple[int, ...]


EVENTS = {row.name: row for row in (
    Row("kvm_page_fault", "fault", re.compile(rf"vcpu (\d+) rip {HEX} address {HEX} error_code"), ("vcpu", "rip", "address"),
        (10, 16, 16)),
    Row("kvm_tdp_mmu_spte_changed", "spte", re.compile(
        rf"as id \d+ gfn {HEX} level (\d+) old_spte {HEX} new_spte {HEX}"), ("gfn", "level", "old", "new"), (16, 10, 16, 16)),
    Row("kvm_entry", "entry", re.compile(r"vcpu (\d+)"), ("vcpu",), (10,)),
    Row("kvm_exit", "exit", re.compile(r"vcpu (\d+)"), ("vcpu",), (10,)),
)}


class Event(NamedTuple):
    """One line: when (ns), by which thread, what."""

    at_ns: int
    thread: int
    kind: str
    values: dict


def event(at_ns: int, thread: int, name: str, text: str) -> Event | None:
    """None for an event that is not in the table, or has a damaged text."""
    name = name.rpartition(":")[2]
    if row := EVENTS.get(name):
        found = row.text.match(text)
        return found and Event(at_ns, thread, row.kind, dict(zip(
            row.fields, (int(value, base) for value, base in zip(found.groups(), row.bases)))))
    call = CALL.search(name) or CALL.search(text.rpartition("<-")[2])
    if call is None or not text.startswith("("):
        return None
    if not RETURNED.search(f"{name} {text}"):
        return Event(at_ns, thread, "call", {"call": call[0]})
    answer = ANSWER.search(text)
    return Event(at_ns, thread, "answer", {"call": call[0], "status": int(answer[1], 16 if "x" in answer[1] else 10) & (1 << 64) - 1 if answer else None})
